/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Google Benchmark for C. A benchmark is a function that prepares, loops while bench_next(), and
 * says what one iteration moved; the library decides how often, and reports.
 *
 *   static void encode(struct bench *bench)
 *   {
 *       ...
 *       while (bench_next(bench))
 *           ...
 *       bench_items(bench, points_per_iteration);
 *   }
 *   int main(int argc, char **argv)
 *   {
 *       bench_add("encode", encode, 0);
 *       return bench_main(argc, argv);
 *   }
 *
 * Results are in the library's own form (--benchmark_format=json and so on); bench_main() prints
 * below them one line `name value unit` for each bench_headline(). */
#ifdef __cplusplus
extern "C" {
#endif

struct bench;

/* Registers `run` with a number for it. */
void bench_add(const char *name, void (*run)(struct bench *), int64_t argument);

/* For work on several threads: wall time counts, and there are exactly `rounds` iterations. */
void bench_add_rounds(const char *name, void (*run)(struct bench *), int64_t argument, int rounds);

int bench_main(int argc, char **argv);

int64_t bench_argument(const struct bench *bench);
bool bench_next(struct bench *bench);
void bench_items(struct bench *bench, uint64_t items_per_iteration);
void bench_bytes(struct bench *bench, uint64_t bytes_per_iteration);
void bench_counter(struct bench *bench, const char *name, double value);
void bench_fail(struct bench *bench, const char *why);

/* Report the ns per item of benchmark `name` as `headline` below the table. */
void bench_headline(const char *headline, const char *name);

/* The compiler must suppose that the pointer's target is read and written. */
static inline void bench_keep(const void *pointer)
{
    __asm__ volatile("" : : "r"(pointer) : "memory");
}

#ifdef __cplusplus
}
#endif
