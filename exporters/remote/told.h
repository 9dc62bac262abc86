/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* What is said once a minute (target_info of a target, metadata of a metric): when it was said
 * last. A page that does not fit is encoded again, so what was said counts only when the page is
 * whole. One thread. */
enum { TOLD_AGAIN_MS = 60000, TOLD_LATER_MAX = 64 };
#define NEVER_MS (INT64_MIN / 2)

struct told_target;

struct told {
    struct told_target *targets; /* bounded; of more targets some are told more often */
    struct {
        int64_t *place;
        int64_t now_ms;
    } later[TOLD_LATER_MAX];
    uint32_t later_count;
};

void told_init(struct told *told);
void told_fini(struct told *told);

/* Where it is noted when the target was told last; NULL: not to be told with this page. */
int64_t *told_target(struct told *told, uint64_t hash);

/* A page begins; told_end() when it is whole. */
void told_begin(struct told *told);
void told_end(struct told *told);

/* True when it is to be said now. */
bool told_due(struct told *told, int64_t *told_ms, int64_t now_ms);
