/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "exporters/otlp/encode.h"

/* Walks the points of a slice in order, each with its run: for exporters that read pages themselves
 * (the wire encoders have faster ways). */
struct walk {
    const struct page *page;
    uint32_t index, end; /* points */
    uint32_t run;
};

static inline struct walk walk_begin(const struct page *page, struct page_slice slice)
{
    return (struct walk){page, slice.first, slice.first + slice.count, 0};
}

/* False at the end. */
static inline bool walk_next(struct walk *walk, const struct run **ret_run,
                             const struct point **ret_point)
{
    if (walk->index >= walk->end)
        return false;
    const struct run *run = page_run_const(walk->page, walk->run);
    while (walk->index >= run->first + run->count)
        run = page_run_const(walk->page, ++walk->run);
    *ret_run = run;
    *ret_point = &page_points_const(walk->page)[walk->index++];
    return true;
}

/* The resource's attributes in `variant`. */
static inline const struct attrs *walk_resource(const struct resource *resource, uint32_t variant)
{
    const struct attrs *attrs = resource->variants[variant];
    return attrs != NULL ? attrs : resource->variants[0];
}
