/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "tools/flame/stacks.h"

/* What a picture says and how it is laid out. Texts are borrowed; NULL: none. */
struct picture {
    const char *title, *subtitle;
    double width_min;   /* narrower frames are left out, pixels of 1,200 */
    bool events;        /* weights are events, not microseconds */
    bool diff;          /* colours tell the change from `before` to `after` */
    bool layout_before; /* diff: widths are of `before`, so that what is gone can be seen */
    double before_work, after_work; /* diff: what was done meanwhile (points); weights are divided
                                     * by it. Both 0: shares of the whole are compared */
};

/* Writes a flame graph as SVG: complete as a picture, and in a browser with zoom, search and
 * details by a script of its own. The stacks must be merged. False: there is nothing to draw. */
bool draw_svg(const struct stacks *stacks, const struct picture *picture, FILE *out,
              struct error *error);

/* Prints who spent how much itself: by library, then the first `rows` functions; with both sides
 * and the change where the stacks have two. */
bool print_top(const struct stacks *stacks, const struct picture *picture, uint32_t rows, FILE *out,
               struct error *error);
