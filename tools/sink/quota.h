/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* How much of a limit is used: a pure function of the amounts taken and when. Times are since the
 * script began. */
struct quota {
    uint64_t window;      /* aligned: number of the one that `used` is of */
    double used;          /* aligned: in that window */
    double tokens;        /* bucket */
    uint64_t refilled_ns; /* bucket: `tokens` are as of then */
    bool begun;
};

struct quota_limit {
    double amount;   /* in `per_ns` */
    uint64_t per_ns; /* not 0 */
    bool bucket;     /* fills evenly, instead of windows one after another */
    double burst;    /* bucket: its size; 0: `amount` */
};

/* Whether `amount` more is allowed; if not, when it may be (0: never, it is more than the whole).
 */
bool quota_allows(struct quota *quota, const struct quota_limit *limit, double amount,
                  uint64_t now_ns, uint64_t *ret_rest_ns);

/* After quota_allows() with the same time. */
void quota_take(struct quota *quota, double amount);
