/* SPDX-License-Identifier: Apache-2.0 */
/* All exporters. Adding one: its .c with a `struct exporter`, one line in each table here, its
 * test. (An explicit table, because the linker drops constructors of static libraries.) */
#include "exporters/exporter.h"
#include "exporters/worker.h"

static const struct exporter *const exporters[] = {
    &otlp_http_exporter,  &newrelic_exporter, &prometheusremotewrite_exporter,
    &prometheus_exporter, &file_exporter,     &debug_exporter,
    &console_exporter,
};

const struct component *const exporter_registry[] = {
    &otlp_http_exporter.component,
    &newrelic_exporter.component,
    &prometheusremotewrite_exporter.component,
    &prometheus_exporter.component,
    &file_exporter.component,
    &debug_exporter.component,
    &console_exporter.component,
    NULL,
};

const char *const exporter_temporalities[] = {"cumulative", "delta", NULL};

const struct exporter *exporter_find(const struct component *component)
{
    for (size_t i = 0; i < sizeof exporters / sizeof exporters[0]; i++)
        if (&exporters[i]->component == component)
            return exporters[i];
    return NULL;
}
