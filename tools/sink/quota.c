/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/sink/quota.h"

#include <math.h>

static bool allows_aligned(struct quota *quota, const struct quota_limit *limit, double amount,
                           uint64_t now_ns, uint64_t *ret_rest_ns)
{
    uint64_t window = now_ns / limit->per_ns;
    if (window != quota->window) {
        quota->window = window;
        quota->used = 0;
    }
    *ret_rest_ns = amount > limit->amount ? 0 : limit->per_ns - now_ns % limit->per_ns;
    return quota->used + amount <= limit->amount;
}

static bool allows_bucket(struct quota *quota, const struct quota_limit *limit, double amount,
                          uint64_t now_ns, uint64_t *ret_rest_ns)
{
    double size = limit->burst > 0 ? limit->burst : limit->amount;
    double per_ns = limit->amount / (double)limit->per_ns;
    if (!quota->begun) {
        quota->begun = true;
        quota->tokens = size;
    } else {
        quota->tokens += (double)(now_ns - quota->refilled_ns) * per_ns;
    }
    quota->refilled_ns = now_ns;
    if (quota->tokens > size)
        quota->tokens = size;
    double lacking = amount - quota->tokens;
    *ret_rest_ns = amount > size ? 0 : lacking > 0 ? (uint64_t)ceil(lacking / per_ns) : 1;
    return lacking <= 0;
}

bool quota_allows(struct quota *quota, const struct quota_limit *limit, double amount,
                  uint64_t now_ns, uint64_t *ret_rest_ns)
{
    return limit->bucket ? allows_bucket(quota, limit, amount, now_ns, ret_rest_ns)
                         : allows_aligned(quota, limit, amount, now_ns, ret_rest_ns);
}

void quota_take(struct quota *quota, double amount)
{
    quota->used += amount;
    quota->tokens -= amount;
}
