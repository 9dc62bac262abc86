/* SPDX-License-Identifier: Apache-2.0 */
/* Joins an exporter with what every destination has: books (ledger), health, and for those that
 * send requests an outbox. The point of this file is that worker and batch know no kinds. */
#include "exporters/destination.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "exporters/ledger.h"
#include "exporters/outbox.h"

struct destination {
    const struct exporter *exporter;
    struct exporter_output output;
    struct telemetry_set *set;
    struct outbox *outbox; /* NULL: finish() takes batches at once */
    struct health health;
};

bool destination_create(struct destination **ret_destination, struct http *http,
                        const struct worker_destination *options, struct error *error)
{
    const struct exporter *exporter = exporter_find(options->component);
    if (exporter == NULL)
        return error_set(error, "%s: %s is no exporter", options->id, options->component->type);
    struct destination *destination = calloc(1, sizeof *destination);
    CHECK(destination != NULL);
    destination->exporter = exporter;
    health_init(&destination->health, options->id);
    struct telemetry_label label = {.key = "exporter"};
    snprintf(label.value, sizeof label.value, "%s", options->id);
    destination->set = telemetry_open(TELEMETRY_DESTINATION, 1, &label);
    struct exporter_output *output = &destination->output;
    if (!exporter->open(options->id, options->settings, output, error))
        goto fail;
    if (output->requests != NULL && !outbox_create(&destination->outbox, http, output->requests,
                                                   destination->set, &destination->health, error))
        goto fail;
    *ret_destination = destination;
    return true;
fail:
    error_prefix(error, "%s: ", options->id);
    destination_destroy(&destination);
    return false;
}

enum body_format destination_format(const struct destination *destination)
{
    return destination->output.format;
}

struct telemetry_set *destination_telemetry(struct destination *destination)
{
    return destination->set;
}

void destination_consume(struct destination *destination, const struct page *page,
                         struct page_slice slice, uint32_t variant)
{
    destination->exporter->consume(destination->output.state, page, slice, variant);
}

void destination_finish(struct destination *destination, const uint8_t *body, size_t body_bytes,
                        uint64_t points, uint64_t due_ns)
{
    telemetry_add(destination->set, TELEMETRY_BYTES_ENCODED, body_bytes);
    if (destination->outbox != NULL) {
        outbox_push(destination->outbox, body, body_bytes, points, due_ns);
        return;
    }
    bool taken = destination->exporter->finish(destination->output.state, body, body_bytes);
    uint64_t now_ns = clock_monotonic_ns();
    ledger_settle(destination->set, taken ? points : 0, taken ? 0 : points,
                  TELEMETRY_DROPPED_PERMANENT);
    if (taken) {
        telemetry_add(destination->set, TELEMETRY_BYTES_SENT, body_bytes);
        telemetry_record(destination->set, TELEMETRY_HISTOGRAM_AGE, now_ns - due_ns);
        health_good(&destination->health, now_ns);
    } else {
        char text[128];
        snprintf(text, sizeof text, "cannot write: %m (check free space and permissions)");
        health_bad(&destination->health, 1, text, now_ns);
    }
}

uint64_t destination_step(struct destination *destination, uint64_t now_ns)
{
    uint64_t next_ns = UINT64_MAX;
    if (destination->outbox != NULL)
        next_ns = outbox_step(destination->outbox, now_ns);
    if (destination->exporter->tick != NULL) {
        uint64_t tick_ns = destination->exporter->tick(destination->output.state, now_ns);
        next_ns = tick_ns < next_ns ? tick_ns : next_ns;
    }
    return next_ns;
}

uint64_t destination_hope_ns(const struct destination *destination, uint64_t now_ns)
{
    return destination->outbox == NULL ? UINT64_MAX : outbox_hope_ns(destination->outbox, now_ns);
}

void destination_close(struct destination *destination)
{
    if (destination->outbox != NULL)
        outbox_destroy(&destination->outbox);
    if (destination->output.state != NULL)
        destination->exporter->close(&destination->output.state);
}

void destination_destroy(struct destination **destination)
{
    if (*destination == NULL)
        return;
    destination_close(*destination);
    health_fini(&(*destination)->health);
    free(*destination);
    *destination = NULL;
}

bool destination_healthy(const struct destination *destination, char *ret_text, size_t text_bytes)
{
    return health_read(&destination->health, ret_text, text_bytes);
}
