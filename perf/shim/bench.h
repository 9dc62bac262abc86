/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
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
 *   static const struct bench_case cases[] = {
 *       {"copy_floor", copy, .unit = "point"},
 *       {"encode", encode, .unit = "point", .floor = "copy_floor"},
 *   };
 *   int main(int argc, char **argv)
 *   {
 *       bench_add_cases(cases, 2);
 *       return bench_main(argc, argv);
 *   }
 *
 * Results are in the library's own form (--benchmark_format=json and so on), with `unit` and
 * `floor` in each label; bench_main() prints below them one line `name value unit` for each
 * bench_headline().
 *
 * With --instructions the same functions run an exact number of iterations each, for perf/check to
 * count their instructions under callgrind: what comes before the first bench_next() is not
 * counted, nor are the iterations that warm up. A bare memcpy is no use there: callgrind counts a
 * byte of `rep movsb` as an instruction. */
#ifdef __cplusplus
extern "C" {
#endif

struct bench;

struct bench_case {
    const char *name; /* "/argument" is put behind it where there is one */
    void (*run)(struct bench *);
    int64_t argument;
    const void *data;  /* for bench_data() */
    const char *unit;  /* what an item is; NULL: "point" */
    const char *floor; /* name (with "/argument") of what cannot be avoided; NULL: none */
    int rounds; /* not 0: for work on several threads; wall time counts, exactly so many iterations
                 */
    int exact;  /* iterations whose instructions are counted; 0: 20; negative, or threads: none */
};

/* The table is borrowed until bench_main() returns. */
void bench_add_cases(const struct bench_case *cases, size_t count);

/* Registers `run` with a number for it, unit "point", no floor. */
void bench_add(const char *name, void (*run)(struct bench *), int64_t argument);

int bench_main(int argc, char **argv);

int64_t bench_argument(const struct bench *bench);
const void *bench_data(const struct bench *bench);
bool bench_next(struct bench *bench);
void bench_items(struct bench *bench, uint64_t items_per_iteration);
void bench_bytes(struct bench *bench, uint64_t bytes_per_iteration);
void bench_counter(struct bench *bench, const char *name, double value);

/* Nothing is reported but why; bench_next() is false from now on. */
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
