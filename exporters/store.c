/* SPDX-License-Identifier: Apache-2.0 */
/* Between batch and request. With a spool, every batch is handed to it when it is closed, before it
 * is sent: the disk has all that is not settled, and memory is a cache of it. So a full memory
 * costs nothing (the oldest are let go and read again later), and a killed process loses nothing
 * that was written. Without one, or while its disk fails, memory is all there is and its oldest is
 * given up.
 *
 * Where order matters (remote write), memory holds the oldest instead: while there is something on
 * disk only, new batches go there as well, behind it.
 *
 * Invariant: each batch is in exactly one place: in memory (queue or taken: points queued in the
 * ledger), on disk only (spooled), or settled. */
#include "exporters/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "exporters/gone.h"
#include "exporters/ledger.h"

/* Of a backlog, so often the oldest is taken; the newest in between. What comes anew is always
 * taken at once while it needs no more than the rest, three quarters of what the back end takes. */
enum { OLDEST_EVERY = 4 };
static const uint64_t MEMORY_BYTES_MAX = (uint64_t)512 << 20; /* whatever queue_size allows */
static const uint64_t READ_AGAIN_NS = NS_PER_S / 5;           /* after there was nothing to read */
static const uint64_t LOOK_NS = NS_PER_S / 10; /* from status to status of the spool */

struct store {
    const struct request_plan *plan;
    const char *id;
    struct telemetry_set *set;
    struct queue queue;
    struct queued **taken; /* on the wire */
    uint32_t taken_count;
    uint64_t taken_bytes;
    struct spool *spool; /* NULL: none */
    struct spool_settings spool_settings;
    char *directory;
    uint64_t next_sequence;
    uint64_t unnumbered; /* batches since the last that has a sequence */
    uint64_t spooled_points;
    uint64_t read_again_ns;
    uint64_t looked_ns; /* when the spool's status was read */
    uint32_t ahead;     /* batches read back that are still in memory */
    struct gone gone;
    uint64_t recovered_points, lost_points; /* of earlier runs, as in the ledger */
    uint64_t corrupt_points;                /* evicted as corrupt: part of the status' number */
    bool reading;
    bool working;  /* as last said in the log */
    uint32_t turn; /* of taking: see store_next() */
};

/* ---- making ---- */

static char *directory_of(const char *root, const char *id)
{
    char *path = NULL;
    xdone(asprintf(&path, "%s/%s", root, id) > 0);
    for (char *at = path + strlen(root) + 1; *at != 0; at++)
        if (*at == '/')
            *at = '_';
    return path;
}

static void recover(struct store *store, uint64_t points, uint64_t lost)
{
    store->recovered_points += points;
    store->lost_points += lost;
    store->spooled_points += points;
    ledger_recover(store->set, points, lost);
}

/* What earlier runs left: found when the spool is opened, or later where its directory could not be
 * used then. The status was read before the last events were taken, so that it counts no damage
 * whose event has not come. */
static void learn(struct store *store, const struct spool_status *status)
{
    uint64_t lost = store->lost_points + store->corrupt_points;
    uint64_t points = status->recovered_points > store->recovered_points
                          ? status->recovered_points - store->recovered_points
                          : 0;
    lost = status->corrupt_points > lost ? status->corrupt_points - lost : 0;
    if (points + lost > 0)
        recover(store, points, lost);
}

/* An event may come before the status that counts its batch. */
static void need(struct store *store, uint64_t points)
{
    if (points > store->spooled_points)
        recover(store, points - store->spooled_points, 0);
}

static bool open_spool(struct store *store, const struct store_options *options,
                       struct error *error)
{
    store->spool_settings = store->plan->spool;
    store->directory = directory_of(options->spool_directory, store->id);
    store->spool_settings.directory = store->directory;
    if (!spool_open(&store->spool, &store->spool_settings, options->wake_fd, &store->next_sequence,
                    error))
        return error_prefix(error, "spool: ");
    telemetry_put(store->set, TELEMETRY_SPOOL_CAPACITY, store->spool_settings.size_bytes);
    struct spool_status status;
    spool_read_status(store->spool, &status);
    learn(store, &status);
    if (status.recovered_records > 0 || status.corrupt_records > 0)
        LOG(LOG_LEVEL_INFO, "spool", "batches of an earlier run found on disk",
            LOG_TEXT("exporter", store->id), LOG_NUMBER("batches", status.recovered_records),
            LOG_NUMBER("points", status.recovered_points),
            LOG_NUMBER("corrupt_batches", status.corrupt_records),
            LOG_NUMBER("corrupt_points", status.corrupt_points));
    return true;
}

bool store_create(struct store **ret_store, const struct store_options *options,
                  struct error *error)
{
    struct store *store = xcalloc(1, sizeof *store);
    store->plan = options->plan;
    store->id = options->id;
    store->set = options->set;
    store->next_sequence = 1;
    store->working = true;
    store->taken = xcalloc(options->plan->sender_count, sizeof(struct queued *));
    telemetry_put(store->set, TELEMETRY_QUEUE_CAPACITY, options->plan->queue_capacity);
    if (options->spool_directory != NULL && !open_spool(store, options, error)) {
        store_destroy(&store);
        return false;
    }
    *ret_store = store;
    return true;
}

static void show_gauges(struct store *store)
{
    telemetry_put(store->set, TELEMETRY_QUEUE_BATCHES, store_count(store));
    telemetry_put(store->set, TELEMETRY_QUEUE_BYTES, store->queue.bytes + store->taken_bytes);
}

/* Age order: by the sequence, and between two sequences, of those that have none, as they came. */
static uint64_t order_of(uint64_t sequence, uint64_t unnumbered)
{
    enum { UNNUMBERED_BITS = 24 };
    uint64_t most = (1u << UNNUMBERED_BITS) - 1;
    return sequence << UNNUMBERED_BITS | (unnumbered < most ? unnumbered : most);
}

static struct queued *item_create(struct parcel *parcel, uint64_t due_ns)
{
    struct queued *item = xmalloc(sizeof *item);
    *item = (struct queued){
        .parcel = parcel, .order = order_of(parcel->sequence, UINT64_MAX), .due_ns = due_ns};
    return item;
}

static void item_destroy(struct queued *item)
{
    parcel_release(&item->parcel);
    free(item);
}

/* ---- in and out ---- */

uint32_t store_count(const struct store *store)
{
    return store->queue.count + store->taken_count;
}

void store_take(struct store *store, struct queued *item)
{
    CHECK(store->taken_count < store->plan->sender_count);
    queue_take(&store->queue, item);
    store->taken[store->taken_count++] = item;
    store->taken_bytes += item->parcel->bytes;
    store->turn++;
}

static void untake(struct store *store, const struct queued *item)
{
    uint32_t i = 0;
    while (i < store->taken_count && store->taken[i] != item)
        i++;
    CHECK(i < store->taken_count);
    store->taken[i] = store->taken[--store->taken_count];
    store->taken_bytes -= item->parcel->bytes;
}

static void ack(struct store *store, uint64_t sequence)
{
    spool_ack(store->spool, sequence);
    gone_add(&store->gone, sequence);
}

/* Forgets an item that was taken or is in no list any more. */
static void end(struct store *store, struct queued *item, uint64_t dropped,
                enum telemetry_value reason)
{
    ledger_settle(store->set, item->parcel->points - dropped, dropped, reason);
    if (item->put)
        ack(store, item->parcel->sequence);
    store->ahead -= item->read_back;
    item_destroy(item);
    show_gauges(store);
}

void store_settle(struct store *store, struct queued *item, uint64_t dropped,
                  enum telemetry_value reason)
{
    untake(store, item);
    end(store, item, dropped, reason);
}

/* From now on only the disk has it. */
static void let_go(struct store *store, struct queued *item)
{
    queue_take(&store->queue, item);
    ledger_spool(store->set, item->parcel->points);
    store->spooled_points += item->parcel->points;
    store->ahead -= item->read_back;
    spool_let_go(store->spool, item->parcel->sequence);
    item_destroy(item);
}

/* The next to be let go, NULL where the disk has none of those in memory. */
static struct queued *victim(const struct store *store)
{
    struct queued *item = store->plan->ordered ? store->queue.newest : store->queue.oldest;
    while (item != NULL && !item->put)
        item = store->plan->ordered ? item->older : item->newer;
    return item;
}

static void make_room(struct store *store)
{
    while (store->queue.count > 0 && (store_count(store) > store->plan->queue_capacity ||
                                      store->queue.bytes + store->taken_bytes > MEMORY_BYTES_MAX)) {
        struct queued *item = victim(store);
        if (item != NULL) {
            let_go(store, item);
            continue;
        }
        item = store->queue.oldest;
        queue_take(&store->queue, item);
        end(store, item, item->parcel->points, TELEMETRY_DROPPED_QUEUE_FULL);
    }
    show_gauges(store);
}

static struct queued *add(struct store *store, struct parcel *parcel, uint64_t due_ns)
{
    parcel->sequence = store->next_sequence;
    struct queued *item = item_create(parcel, due_ns);
    struct parcel *shared = store->spool == NULL ? NULL : parcel_hold(parcel);
    if (shared != NULL && spool_put(store->spool, shared)) {
        item->put = true;
        gone_ask(&store->gone);
        store->next_sequence++; /* only what the spool was given has one: gaps on disk are losses */
        store->unnumbered = 0;
        return item;
    }
    parcel_release(&shared);
    parcel->sequence = 0;
    item->order = order_of(store->next_sequence, store->unnumbered++);
    if (store->spool == NULL) {
        store->next_sequence++;
        store->unnumbered = 0;
    }
    return item;
}

void store_add(struct store *store, struct parcel *parcel, uint64_t due_ns)
{
    struct queued *item = add(store, parcel, due_ns);
    queue_put(&store->queue, item);
    if (store->plan->ordered && item->put && store->spooled_points > 0)
        let_go(store, item);
    make_room(store);
}

void store_return(struct store *store, struct queued *item)
{
    untake(store, item);
    queue_put(&store->queue, item);
    make_room(store);
}

void store_replace(struct store *store, struct queued *item, struct parcel *parts[2])
{
    untake(store, item);
    CHECK((uint64_t)parts[0]->points + parts[1]->points == item->parcel->points);
    for (int i = 0; i < 2; i++) {
        struct queued *part = add(store, parts[i], item->due_ns);
        part->order = item->order;
        part->first_ns = item->first_ns;
        part->splits = item->splits + 1;
        queue_put(&store->queue, part);
    }
    if (item->put)
        ack(store, item->parcel->sequence);
    store->ahead -= item->read_back;
    item_destroy(item);
    make_room(store);
}

/* ---- choosing ---- */

struct queued *store_next(const struct store *store, bool probe, uint64_t now_ns,
                          uint64_t *ret_next_ns)
{
    const struct queue *queue = &store->queue;
    struct queued *oldest = queue_oldest(queue, probe, now_ns, ret_next_ns);
    if (store->plan->ordered) {
        if (oldest == NULL || oldest == queue->oldest)
            return oldest;
        *ret_next_ns = queue->oldest->wait_until_ns;
        return NULL;
    }
    bool backlog = queue->count > 2 * store->plan->sender_count || store->spooled_points > 0;
    if (probe || !backlog || store->turn % OLDEST_EVERY == 0)
        return oldest;
    return queue_newest(queue, now_ns);
}

struct queued *store_fresh(const struct store *store)
{
    struct queued *item = store->plan->ordered ? NULL : store->queue.newest;
    while (item != NULL && item->attempts > 0)
        item = item->older;
    return item;
}

void store_hurry(struct store *store)
{
    queue_hurry(&store->queue);
}

/* ---- the disk ---- */

static struct queued *find(const struct store *store, uint64_t sequence)
{
    struct queued *item = queue_find(&store->queue, sequence);
    for (uint32_t i = 0; i < store->taken_count && item == NULL; i++)
        if (store->taken[i]->parcel->sequence == sequence)
            item = store->taken[i];
    return item;
}

/* From disk into memory: read, or never written. */
static void bring_back(struct store *store, const struct spool_event *event, bool on_disk)
{
    struct queued *item = item_create(event->parcel, 0);
    item->put = on_disk;
    item->read_back = true;
    store->ahead++;
    need(store, event->parcel->points);
    store->spooled_points -= event->parcel->points;
    ledger_unspool(store->set, event->parcel->points);
    queue_put(&store->queue, item);
}

static void refused(struct store *store, struct spool_event *event)
{
    struct queued *item = find(store, event->sequence);
    if (item == NULL &&
        !gone_has(&store->gone, event->sequence)) { /* let go before this was known */
        bring_back(store, event, false);
        return;
    }
    if (item != NULL)
        item->put = false;
    parcel_release(&event->parcel);
}

static void evicted(struct store *store, const struct spool_event *event)
{
    static const enum telemetry_value reasons[] = {[SPOOL_FULL] = TELEMETRY_DROPPED_SPOOL_FULL,
                                                   [SPOOL_EXPIRED] = TELEMETRY_DROPPED_TOO_OLD,
                                                   [SPOOL_CORRUPT] = TELEMETRY_DROPPED_CORRUPT};
    if (event->reason == SPOOL_CORRUPT)
        store->corrupt_points += event->points;
    struct queued *item = find(store, event->sequence);
    if (item != NULL) {
        item->put = false;
        return;
    }
    if (gone_has(&store->gone, event->sequence))
        return;
    need(store, event->points);
    store->spooled_points -= event->points;
    ledger_evict(store->set, event->points, reasons[event->reason]);
}

/* True: there were some. */
static bool take_events(struct store *store, uint64_t now_ns)
{
    struct spool_event event;
    bool any = false;
    while (spool_take_event(store->spool, &event)) {
        any = true;
        switch (event.kind) {
        case SPOOL_STORED:
            parcel_release(&event.parcel);
            break;
        case SPOOL_REFUSED:
            refused(store, &event);
            break;
        case SPOOL_READ:
            store->reading = false;
            bring_back(store, &event, true);
            break;
        case SPOOL_END:
            store->reading = false;
            store->read_again_ns = now_ns + READ_AGAIN_NS;
            break;
        case SPOOL_EVICTED:
            evicted(store, &event);
            break;
        }
        if (event.kind != SPOOL_EVICTED)
            gone_answer(&store->gone);
    }
    return any;
}

static void show_spool(struct store *store, const struct spool_status *status)
{
    telemetry_put(store->set, TELEMETRY_SPOOL_RECORDS, status->records);
    telemetry_put(store->set, TELEMETRY_SPOOL_BYTES, status->bytes);
    telemetry_put(store->set, TELEMETRY_SPOOL_DISK_BYTES, status->disk_bytes);
    telemetry_put(store->set, TELEMETRY_SPOOL_WORKING, status->working);
    telemetry_put(store->set, TELEMETRY_SPOOL_ERRORS, status->write_errors + status->sync_errors);
    if (status->working == store->working)
        return;
    store->working = status->working;
    if (status->working)
        LOG(LOG_LEVEL_INFO, "spool", "the disk takes batches again",
            LOG_TEXT("exporter", store->id));
    else
        LOG(LOG_LEVEL_WARN, "spool", "the disk takes no batches: they stay in memory",
            LOG_TEXT("exporter", store->id), LOG_TEXT("reason", status->trouble));
}

uint64_t store_step(struct store *store, uint64_t now_ns)
{
    if (store->spool == NULL)
        return UINT64_MAX;
    bool looks = now_ns - store->looked_ns >= LOOK_NS;
    struct spool_status status;
    if (looks)
        spool_read_status(store->spool, &status);
    if (take_events(store, now_ns))
        make_room(store);
    if (looks) {
        store->looked_ns = now_ns;
        learn(store, &status);
        show_spool(store, &status);
    }
    /* Read ahead as much as can be sent at once, and only into room that new batches leave. */
    if (store->spooled_points == 0 || store->reading || store->ahead >= store->plan->sender_count ||
        4 * (uint64_t)store_count(store) > 3 * (uint64_t)store->plan->queue_capacity)
        return UINT64_MAX;
    if (store->read_again_ns > now_ns)
        return store->read_again_ns;
    store->reading = true;
    gone_ask(&store->gone);
    spool_read(store->spool);
    return UINT64_MAX;
}

bool store_safe(const struct store *store)
{
    if (store->spool == NULL || !store->working)
        return false;
    for (const struct queued *item = store->queue.oldest; item != NULL; item = item->newer)
        if (!item->put)
            return false;
    return store->taken_count == 0;
}

double store_fill(const struct store *store)
{
    if (store->spool != NULL && store->working) {
        struct spool_status status;
        spool_read_status(store->spool, &status);
        return (double)status.bytes / (double)store->spool_settings.size_bytes;
    }
    /* Those on the wire are no backlog: of a queue for two, one in flight is not half full. */
    double room = (double)(store->plan->queue_capacity - store->taken_count);
    double batches = room > 0 ? (double)store->queue.count / room : 1;
    double bytes = (double)(store->queue.bytes + store->taken_bytes) / (double)MEMORY_BYTES_MAX;
    return batches > bytes ? batches : bytes;
}

bool store_spool_status(const struct store *store, struct spool_status *ret_status)
{
    if (store->spool != NULL)
        spool_read_status(store->spool, ret_status);
    return store->spool != NULL;
}

/* ---- the end ---- */

static void let_all_go(struct store *store)
{
    struct queued *newer;
    for (struct queued *item = store->queue.oldest; item != NULL; item = newer) {
        newer = item->newer;
        if (item->put)
            let_go(store, item);
    }
}

bool store_close(struct store *store)
{
    CHECK(store->taken_count == 0);
    uint64_t lost = 0;
    if (store->spool != NULL) {
        let_all_go(store);
        spool_stop(store->spool);
        take_events(store, 0);
        let_all_go(store); /* read back in the last moment */
        spool_close(&store->spool);
    }
    while (store->queue.oldest != NULL) {
        struct queued *item = store->queue.oldest;
        queue_take(&store->queue, item);
        item->put = false;
        lost += item->parcel->points;
        end(store, item, item->parcel->points, TELEMETRY_DROPPED_STOP);
    }
    show_gauges(store);
    return lost == 0;
}

void store_destroy(struct store **ret_store)
{
    struct store *store = *ret_store;
    if (store == NULL)
        return;
    CHECK(store->queue.count == 0 && store->taken_count == 0);
    spool_close(&store->spool);
    free(store->directory);
    free(store->taken);
    gone_fini(&store->gone);
    free(store);
    *ret_store = NULL;
}
