/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "exporters/otlp/encode.h"

/* OTLP/JSON by jansson, for file, debug and `pgweir once`; not for the fast path. Accumulates
 * slices of pages into one ExportMetricsServiceRequest document. */
struct otlp_json;

struct otlp_json *otlp_json_create(void);
void otlp_json_destroy(struct otlp_json **json);

void otlp_json_add(struct otlp_json *json, const struct page *page, struct page_slice slice,
                   uint32_t variant);

/* The document in one line (indented where `pretty`), to be freed by the caller; the object is
 * empty again. NULL when nothing was added. */
char *otlp_json_take(struct otlp_json *json, bool pretty);
