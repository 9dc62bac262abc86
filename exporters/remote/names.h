/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "exporters/remote/piece.h"

/* Names of metrics as they stand in series, made when a metric is first met and kept: as many as
 * the process has metrics. One thread. */
enum name_form { NAME_PLAIN, NAME_COUNT, NAME_SUM, NAME_BUCKET, NAME_FORMS };

struct remote_name {
    const struct metric *metric;
    struct piece *pieces[NAME_FORMS]; /* of a distribution all, else the first */
    int64_t told_ms;                  /* when its metadata was written last */
};

struct remote_names {
    const struct prom_naming *naming;
    struct remote_name **slots; /* open addressing, at most half full */
    size_t count, space;
};

/* `naming` is borrowed. */
void remote_names_init(struct remote_names *names, const struct prom_naming *naming);
void remote_names_fini(struct remote_names *names);

/* `labels` is scratch for a name that is new. */
struct remote_name *remote_names_find(struct remote_names *names, const struct metric *metric,
                                      struct labels *labels);
