/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/metric.h>

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "ring/attrs.h"

/* OTLP's names as Prometheus knows them, by the rules that the Collector's exporters follow, so
 * that dashboards made for one fit the other. Pure functions.
 * Source: OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility"; the edge cases
 * as prometheus/otlptranslator has them. */
enum { PROM_NAME_BYTES = 256, PROM_NUMBER_BYTES = 40 };

struct prom_naming {
    const char *namespace; /* put in front, with "_"; NULL or "": none */
    bool suffixes;         /* unit and type: _bytes, _total, _ratio */
};

/* The Collector's option translation_strategy; NULL inside is fine, and leaves the decision to
 * add_metric_suffixes. Names that are not escaped are refused. */
bool prom_check_strategy(const char *strategy, struct error *error);
bool prom_suffixes(const char *strategy, bool add_metric_suffixes);

bool prom_is_counter(const struct metric *metric);

/* postgresql.table.size in By → postgresql_table_size_bytes; cut to fit. Returns its bytes, never
 * 0; the name ends with a NUL. */
size_t prom_metric_name(char name[PROM_NAME_BYTES], const struct metric *metric,
                        const struct prom_naming *naming);

/* db.namespace → db_namespace; a name that begins with a digit or one "_" gets "key_". Returns its
 * bytes (0: the key has no letter or digit); cut to fit, ends with a NUL. */
size_t prom_label_name(char name[PROM_NAME_BYTES], const char *key, size_t key_bytes);

/* An attribute's value as text: itself, or written into `number`. */
const char *prom_label_value(const struct attr *attr, char number[PROM_NUMBER_BYTES],
                             size_t *ret_bytes);
