/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdint.h>

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

/* CLOCK_MONOTONIC in ns: for every deadline and every latency. Read once per loop turn and passed
 * down as `now_ns`. */
uint64_t clock_monotonic_ns(void);

/* CLOCK_REALTIME in ns since the Unix epoch: only for timestamps that leave the process. */
uint64_t clock_wall_ns(void);

/* CPU time of the calling thread in ns. */
uint64_t clock_thread_cpu_ns(void);
