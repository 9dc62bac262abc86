/* SPDX-License-Identifier: Apache-2.0 */
/* Step 7 of 9. A body is encoded into one block, tail to head:
 *
 *   | space                     free | head: newest piece | … | oldest piece | end
 *
 * and handed over when the batch closes; the destination compresses it from there, so one block
 * serves for ever. It is as large as a body may be; pages never touched cost no memory. (Remote
 * write's, in which time must grow, is written head to tail.)
 *
 * A page's points are cut where a batch is full, so send_batch_max_size is met exactly. A slice
 * that does not fit into what is left of the block closes the batch and goes into the next; one
 * that does not fit into an empty block is halved, and a single point that never fits is dropped
 * as too_large. */
#include "exporters/batch.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "exporters/ledger.h"
#include "exporters/otlp/json.h"

enum batch_cause { CLOSED_BY_SIZE, CLOSED_BY_AGE, CLOSED_BY_SPACE };

enum {
    BATCH_BODY_BYTES = 8 << 20,
    BATCH_JSON_POINTS_MAX = 20000, /* a JSON tree is some KiB a point */
};
_Static_assert((int)BATCH_BODY_BYTES > 4 * (int)LIMIT_PAGE_BYTES, "a body takes more than a page");
_Static_assert((int)BATCH_BODY_BYTES > 4 * (int)LIMIT_ATTRS_BYTES,
               "a point with its attributes fits");

struct batch {
    bool processed;                 /* there is a batch processor; else settings mean nothing */
    struct batch_settings settings; /* as configured, then as tuned */
    struct batch_tally tally;
    struct destination *destination;
    struct telemetry_set *set;
    enum body_format format;
    uint32_t variant;
    uint64_t points;
    uint64_t opened_ns;    /* when the first points came */
    uint64_t due_ns;       /* when the oldest collection in it was due */
    uint8_t *space, *head; /* head: where the body begins; of BODY_REMOTE_WRITE, where it ends */
    const uint8_t *space_end;
    struct otlp_json *json;
};

struct batch *batch_create(const struct batch_settings *settings, struct destination *destination,
                           uint32_t variant)
{
    struct batch *batch = xcalloc(1, sizeof *batch);
    batch->processed = settings != NULL;
    if (settings != NULL)
        batch->settings = *settings;
    batch->destination = destination;
    batch->set = destination_telemetry(destination);
    batch->format = destination_format(destination);
    batch->variant = variant;
    if (batch->format == BODY_PROTO || batch->format == BODY_REMOTE_WRITE) {
        batch->space = mmap(NULL, BATCH_BODY_BYTES, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        xdone(batch->space != MAP_FAILED);
        size_t most = destination_body_bytes_max(destination);
        batch->space_end =
            batch->space + (most > 0 && most < BATCH_BODY_BYTES ? most : BATCH_BODY_BYTES);
        batch->head = batch->space + (batch->format == BODY_PROTO ? BATCH_BODY_BYTES : 0);
    } else if (batch->format == BODY_JSON) {
        batch->json = otlp_json_create();
        xdone(batch->json != NULL);
    }
    return batch;
}

void batch_destroy(struct batch **batch)
{
    if (*batch == NULL)
        return;
    CHECK((*batch)->points == 0);
    if ((*batch)->space != NULL)
        munmap((*batch)->space, BATCH_BODY_BYTES);
    if ((*batch)->json != NULL)
        otlp_json_destroy(&(*batch)->json);
    free(*batch);
    *batch = NULL;
}

static void close_batch(struct batch *batch, enum batch_cause cause, uint64_t now_ns)
{
    uint64_t points = batch->points;
    batch->points = 0;
    batch->tally.by_size += cause == CLOSED_BY_SIZE;
    batch->tally.by_age += cause == CLOSED_BY_AGE;
    batch->tally.by_space += cause == CLOSED_BY_SPACE;
    batch->tally.points += points;
    telemetry_record(batch->set, TELEMETRY_HISTOGRAM_BATCH_AGE, now_ns - batch->opened_ns);
    switch (batch->format) {
    case BODY_PROTO: {
        uint8_t *end = batch->space + BATCH_BODY_BYTES;
        destination_finish(batch->destination, batch->head, (size_t)(end - batch->head), points,
                           batch->due_ns);
        batch->head = end;
        break;
    }
    case BODY_JSON: {
        char *text = otlp_json_take(batch->json, false);
        xdone(text != NULL);
        destination_finish(batch->destination, (const uint8_t *)text, strlen(text), points,
                           batch->due_ns);
        free(text);
        break;
    }
    case BODY_REMOTE_WRITE:
        destination_finish(batch->destination, batch->space, (size_t)(batch->head - batch->space),
                           points, batch->due_ns);
        batch->head = batch->space;
        break;
    case BODY_NONE:
        destination_finish(batch->destination, NULL, 0, points, batch->due_ns);
        break;
    }
}

void batch_close(struct batch *batch, uint64_t now_ns)
{
    if (batch->points > 0)
        close_batch(batch, CLOSED_BY_AGE, now_ns);
}

static bool encode(struct batch *batch, const struct page *page, struct page_slice slice)
{
    uint8_t *head;
    switch (batch->format) {
    case BODY_PROTO: {
        head = otlp_encode(page, slice, batch->variant, batch->space, batch->head);
        if (head == NULL)
            return false;
        batch->head = head;
        return true;
    }
    case BODY_REMOTE_WRITE:
        head = destination_encode(batch->destination, page, slice, batch->variant,
                                  (struct space){batch->head, batch->space_end});
        batch->head = head != NULL ? head : batch->head;
        return head != NULL;
    case BODY_JSON:
        if (batch->points + slice.count > BATCH_JSON_POINTS_MAX && batch->points > 0)
            return false;
        otlp_json_add(batch->json, page, slice, batch->variant);
        return true;
    case BODY_NONE:
        destination_consume(batch->destination, page, slice, batch->variant);
        return true;
    }
    return false;
}

/* Points that may still join the batch. */
static uint64_t room(const struct batch *batch)
{
    if (!batch->processed || batch->settings.send_batch_max_size == 0)
        return UINT32_MAX;
    return (uint64_t)batch->settings.send_batch_max_size - batch->points;
}

static bool full(const struct batch *batch)
{
    const struct batch_settings *settings = &batch->settings;
    return batch->processed && (batch->points >= (uint64_t)settings->send_batch_size ||
                                settings->timeout_ns == 0 || room(batch) == 0);
}

static void join(struct batch *batch, const struct page *page, uint32_t points, uint64_t now_ns)
{
    if (batch->points == 0) {
        batch->opened_ns = now_ns;
        batch->due_ns = page->scrape_start_ns;
    }
    if (page->scrape_start_ns < batch->due_ns)
        batch->due_ns = page->scrape_start_ns;
    batch->points += points;
}

/* Closes; returns how long that took, which is no part of encoding. */
static uint64_t close_timed(struct batch *batch, enum batch_cause cause, uint64_t now_ns)
{
    uint64_t before_ns = clock_monotonic_ns();
    close_batch(batch, cause, now_ns);
    return clock_monotonic_ns() - before_ns;
}

void batch_add(struct batch *batch, const struct page *page, uint64_t now_ns)
{
    ledger_collect(batch->set, page->point_count, page->dropped_points);
    page = destination_view(batch->destination, page, batch->variant);
    uint64_t before_ns = clock_monotonic_ns();
    uint32_t first = 0, limit = UINT32_MAX;
    while (first < page->point_count) {
        uint64_t count = page->point_count - first;
        count = count < room(batch) ? count : room(batch);
        count = count < limit ? count : limit;
        struct page_slice slice = {first, (uint32_t)count};
        if (encode(batch, page, slice)) {
            join(batch, page, slice.count, now_ns);
            first += slice.count;
            limit = UINT32_MAX;
            if (full(batch))
                before_ns += close_timed(batch, CLOSED_BY_SIZE, now_ns);
        } else if (batch->points > 0) {
            before_ns += close_timed(batch, CLOSED_BY_SPACE, now_ns);
        } else if (slice.count > 1) {
            limit = slice.count / 2;
        } else {
            ledger_settle(batch->set, 0, 1, TELEMETRY_DROPPED_TOO_LARGE);
            first++;
        }
    }
    telemetry_record(batch->set, TELEMETRY_HISTOGRAM_ENCODE, clock_monotonic_ns() - before_ns);
}

uint64_t batch_deadline_ns(const struct batch *batch)
{
    if (batch->points == 0)
        return UINT64_MAX;
    return !batch->processed ? 0 : batch->opened_ns + batch->settings.timeout_ns;
}

const struct batch_settings *batch_settings(const struct batch *batch)
{
    return batch->processed ? &batch->settings : NULL;
}

void batch_set_size(struct batch *batch, int64_t points)
{
    int64_t most = batch->settings.send_batch_max_size;
    CHECK(batch->processed && points > 0);
    batch->settings.send_batch_size = most != 0 && points > most ? most : points;
}

void batch_set_timeout(struct batch *batch, uint64_t timeout_ns)
{
    CHECK(batch->processed && timeout_ns > 0);
    batch->settings.timeout_ns = timeout_ns;
}

const struct batch_tally *batch_tally(const struct batch *batch)
{
    return &batch->tally;
}

uint64_t batch_points(const struct batch *batch)
{
    return batch->points;
}

uint64_t batch_due_ns(const struct batch *batch)
{
    return batch->points == 0 ? UINT64_MAX : batch->due_ns;
}

static bool validate(const void *settings, struct error *error)
{
    const struct batch_settings *batch = settings;
    if (batch->send_batch_max_size != 0 && batch->send_batch_max_size < batch->send_batch_size)
        return error_set(error,
                         "send_batch_max_size %lld is less than send_batch_size %lld: raise it, "
                         "or set it to 0 for no bound",
                         (long long)batch->send_batch_max_size, (long long)batch->send_batch_size);
    return true;
}

static const struct option options[] = {
    {.key = "send_batch_size",
     .type = OPTION_INT,
     .offset = offsetof(struct batch_settings, send_batch_size),
     .fallback = "8192",
     .min = 1,
     .max = UINT32_MAX,
     .help = "Points after which a batch is closed and sent."},
    {.key = "send_batch_max_size",
     .type = OPTION_INT,
     .offset = offsetof(struct batch_settings, send_batch_max_size),
     .fallback = "0",
     .max = UINT32_MAX,
     .help = "Points a batch never exceeds; 0 for no bound. A body never exceeds 8 MiB."},
    {.key = "timeout",
     .type = OPTION_DURATION,
     .offset = offsetof(struct batch_settings, timeout_ns),
     .fallback = "200ms",
     .max = 3600 * (int64_t)NS_PER_S,
     .help = "Age at which a batch is sent whatever its size; 0 sends at once."},
    {.key = "metadata_keys", .type = OPTION_IGNORED, .help = "there is no metadata"},
    {.key = "metadata_cardinality_limit", .type = OPTION_IGNORED, .help = "there is no metadata"},
    {.key = NULL},
};

const struct component batch_processor = {
    .kind = COMPONENT_PROCESSOR,
    .type = "batch",
    .about = "Joins points into requests by size and age",
    .stability = "beta",
    .table = {.size = sizeof(struct batch_settings), .options = options},
    .validate = validate,
};
