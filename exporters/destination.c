/* SPDX-License-Identifier: Apache-2.0 */
/* Joins an exporter with what every destination has: books (ledger), health, and for those that
 * send requests an outbox. The point of this file is that worker and batch know no kinds. */
#include "exporters/destination.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "exporters/ledger.h"
#include "exporters/outbox.h"
#include "exporters/otlp/delta.h"

struct destination {
    const struct exporter *exporter;
    struct exporter_output output;
    struct telemetry_set *set;
    struct outbox *outbox; /* NULL: finish() takes batches at once */
    struct delta *delta;   /* NULL: counters go out as they are */
    struct health health;
};

/* Where sending_queue::storage says that the queue goes to disk. */
static bool find_storage(const struct destination_context *context, const struct request_plan *plan,
                         const char **ret_directory, struct error *error)
{
    *ret_directory = plan->spool.directory;
    if (plan->storage == NULL)
        return true;
    for (uint32_t i = 0; i < context->storage_count; i++) {
        if (strcmp(context->storages[i].id, plan->storage) != 0)
            continue;
        *ret_directory = context->storages[i].settings->directory;
        return true;
    }
    return error_set(error,
                     "sending_queue::storage: there is no extension \"%s\" in use: add it to "
                     "extensions and to service.extensions, or use spool: {directory: …}",
                     plan->storage);
}

static bool open_outbox(struct destination *destination, const struct destination_context *context,
                        const char *id, struct error *error)
{
    const struct exporter_output *output = &destination->output;
    struct outbox_options options = {.id = id,
                                     .http = context->http,
                                     .plan = output->requests,
                                     .format = output->format,
                                     .set = destination->set,
                                     .health = &destination->health,
                                     .wake_fd = context->wake_fd};
    return find_storage(context, output->requests, &options.spool_directory, error) &&
           outbox_create(&destination->outbox, &options, error);
}

bool destination_create(struct destination **ret_destination,
                        const struct destination_context *context,
                        const struct worker_destination *options, struct error *error)
{
    const struct exporter *exporter = exporter_find(options->component);
    if (exporter == NULL)
        return error_set(error, "%s: %s is no exporter", options->id, options->component->type);
    struct destination *destination = xcalloc(1, sizeof *destination);
    destination->exporter = exporter;
    health_init(&destination->health, options->id);
    struct telemetry_label label = {.key = "exporter"};
    snprintf(label.value, sizeof label.value, "%s", options->id);
    destination->set = telemetry_open(TELEMETRY_DESTINATION, 1, &label);
    struct exporter_output *output = &destination->output;
    if (!exporter->open(options->id, options->settings, output, error))
        goto fail;
    if (output->requests != NULL && !open_outbox(destination, context, options->id, error))
        goto fail;
    if (output->delta)
        destination->delta = delta_create(clock_wall_ns());
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

const struct page *destination_view(struct destination *destination, const struct page *page,
                                    uint32_t variant)
{
    if (destination->delta == NULL)
        return page;
    const struct page *view = delta_page(destination->delta, page, variant);
    const struct delta_state state = delta_state(destination->delta);
    if (view->point_count < page->point_count)
        ledger_settle(destination->set, 0, page->point_count - view->point_count,
                      TELEMETRY_DROPPED_FIRST_VALUE);
    telemetry_put(destination->set, TELEMETRY_DELTA_SERIES, state.series);
    telemetry_put(destination->set, TELEMETRY_DELTA_FORGOTTEN, state.forgotten);
    telemetry_put(destination->set, TELEMETRY_DELTA_RESETS, state.resets);
    return view;
}

void destination_consume(struct destination *destination, const struct page *page,
                         struct page_slice slice, uint32_t variant)
{
    destination->exporter->consume(destination->output.state, page, slice, variant);
}

uint8_t *destination_encode(struct destination *destination, const struct page *page,
                            struct page_slice slice, uint32_t variant, struct space space)
{
    return destination->exporter->encode(destination->output.state, page, slice, variant, space);
}

size_t destination_body_bytes_max(const struct destination *destination)
{
    return destination->output.body_bytes_max;
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
    if (taken) {
        telemetry_add(destination->set, TELEMETRY_BYTES_SENT, body_bytes);
        telemetry_record(destination->set, TELEMETRY_HISTOGRAM_AGE, now_ns - due_ns);
        health_good(&destination->health, now_ns);
    } else { /* before the books: whoever sees the loss there finds the reason */
        char text[128];
        snprintf(text, sizeof text, "cannot write: %m (check free space and permissions)");
        health_bad(&destination->health, 1, text, now_ns);
    }
    ledger_settle(destination->set, taken ? points : 0, taken ? 0 : points,
                  TELEMETRY_DROPPED_PERMANENT);
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

void destination_stopping(struct destination *destination, uint64_t stop_ns, uint64_t now_ns)
{
    if (destination->outbox != NULL)
        outbox_stopping(destination->outbox, stop_ns, now_ns);
}

uint64_t destination_hope_ns(const struct destination *destination, uint64_t now_ns)
{
    return destination->outbox == NULL ? UINT64_MAX : outbox_hope_ns(destination->outbox, now_ns);
}

bool destination_close(struct destination *destination)
{
    bool whole = destination->outbox == NULL || outbox_close(destination->outbox);
    if (destination->output.state != NULL)
        destination->exporter->close(&destination->output.state);
    return whole;
}

const struct request_plan *destination_requests(const struct destination *destination)
{
    return destination->output.requests;
}

struct outbox *destination_outbox(struct destination *destination)
{
    return destination->outbox;
}

void destination_destroy(struct destination **destination)
{
    if (*destination == NULL)
        return;
    destination_close(*destination);
    outbox_destroy(&(*destination)->outbox); /* not earlier: its status may be read until here */
    delta_destroy(&(*destination)->delta);
    health_fini(&(*destination)->health);
    free(*destination);
    *destination = NULL;
}

double destination_fill(const struct destination *destination)
{
    return destination->outbox == NULL ? 0 : outbox_fill(destination->outbox);
}

bool destination_healthy(const struct destination *destination, char *ret_text, size_t text_bytes)
{
    bool well = health_read(&destination->health, ret_text, text_bytes);
    if (destination->outbox == NULL)
        return well;
    struct outbox_status status;
    outbox_read_status(destination->outbox, &status);
    if (!status.has_spool || status.spool.working)
        return well;
    size_t used = well ? 0 : strlen(ret_text);
    snprintf(ret_text + used, text_bytes - used, "%sspool: batches stay in memory: %s",
             well ? "" : "; ", status.spool.trouble);
    return false;
}
