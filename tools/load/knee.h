/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* The largest load that keeps a condition, by doubling until it breaks and then bisection. The
 * condition need not be monotonic to the last server: what is found held when it was tried, and
 * something at most `within` above it did not. */
struct knee_search {
    uint64_t from, to;
    double within; /* 0.1: the first failure is at most 10 % above the answer */
    /* Tries a load; false with the error when it cannot be tried. */
    bool (*attempt)(void *owner, uint64_t load, bool *ret_ok, struct error *error);
    void *owner;
};

struct knee_answer {
    uint64_t best;   /* 0: not even `from` held */
    uint64_t broken; /* the smallest that did not hold; 0: `to` held */
    uint32_t attempts;
};

bool knee_find(const struct knee_search *search, struct knee_answer *ret_answer,
               struct error *error);
