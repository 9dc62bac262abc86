/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdatomic.h>
#include <stdint.h>

/* One 64-bit number with a single writing thread and any number of readers. A plain load and store
 * to the writer (no locked instruction), untorn to readers. */
struct counter {
    _Atomic uint64_t value;
};

static inline void counter_add(struct counter *counter, uint64_t n)
{
    atomic_store_explicit(&counter->value,
                          atomic_load_explicit(&counter->value, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static inline void counter_set(struct counter *counter, uint64_t value)
{
    atomic_store_explicit(&counter->value, value, memory_order_relaxed);
}

static inline uint64_t counter_read(const struct counter *counter)
{
    return atomic_load_explicit(&counter->value, memory_order_relaxed);
}
