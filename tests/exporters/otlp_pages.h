/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/random.h"
#include "exporters/otlp/encode.h"

/* Pages with random content for the encoders' tests, and beside each attribute set a plain record
 * of what was put in, so that a test compares without reading the set back through our code. */
enum { MODEL_ATTRS_MAX = 6, MODEL_SETS = 64, MODEL_METRICS = 7, MODEL_RESOURCES = 4 };

struct model_attr {
    char key[24];
    enum attr_kind kind;
    char text[200];
    size_t text_bytes;
    int64_t number;
    double real;
};

struct model_set {
    struct attrs *attrs;
    uint32_t count;
    struct model_attr list[MODEL_ATTRS_MAX];
};

struct model {
    struct random random;
    struct model_set sets[MODEL_SETS];                  /* of points */
    struct model_set resource_sets[MODEL_RESOURCES][2]; /* variants 0 and 1 */
    struct resource resources[MODEL_RESOURCES];
};

extern const struct metric model_metrics[MODEL_METRICS];

struct model *model_create(uint64_t seed);
void model_destroy(struct model **model);

/* The record of a set of the model; NULL gives the empty one. */
const struct model_set *model_find(const struct model *model, const struct attrs *attrs);

/* Fills an empty page with up to `runs_max` runs. */
void model_fill(struct model *model, struct page *page, uint32_t runs_max, uint32_t run_points_max);

/* The part of run `index` inside the slice; false when there is none. */
bool model_part(const struct page *page, uint32_t index, struct page_slice slice,
                uint32_t *ret_first, uint32_t *ret_end);
