/* SPDX-License-Identifier: Apache-2.0 */
/* The store's side that talks to the spool: what is put there, what it says of it, what is read
 * back and when. Runs on the worker; the spool has a thread of its own and never makes it wait. */
#include "exporters/store_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "exporters/ledger.h"

static const uint64_t READ_AGAIN_NS = NS_PER_S / 5; /* after there was nothing to read */
static const uint64_t LOOK_NS = NS_PER_S / 10;      /* from status to status of the spool */

/* ---- opening ---- */

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
    store->disk_first = 0;
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

bool store_open_spool(struct store *store, const struct store_options *options, struct error *error)
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

/* ---- putting ---- */

bool store_put(struct store *store, struct queued *item)
{
    struct parcel *parcel = item->parcel, *shared = parcel_hold(parcel);
    bool numbered = parcel->sequence != 0;
    if (!numbered)
        parcel->sequence = store->next_sequence;
    item->put = spool_put(store->spool, shared);
    item->again = !item->put;
    if (item->again) {
        store->any_again = true;
        parcel_release(&shared);
        if (!numbered)
            parcel->sequence = 0;
        return false;
    }
    gone_ask(&store->gone);
    if (!numbered) {
        store->next_sequence++;
        store->unnumbered = 0;
    }
    return true;
}

/* The first that may be put again; in order, only what would be the last on disk. */
static struct queued *first_again(const struct store *store)
{
    if (!store->plan->ordered)
        return store->queue.oldest;
    struct queued *first = NULL;
    if (store->spooled_points == 0)
        for (struct queued *item = store->queue.newest; item != NULL && !item->put;
             item = item->older)
            first = item;
    return first;
}

void store_put_again(struct store *store)
{
    if (!store->any_again)
        return;
    struct queued *item = first_again(store);
    store->any_again = item != store->queue.oldest; /* some are left out */
    while (item != NULL && (!item->again || store_put(store, item)))
        item = item->newer;
}

void store_ack(struct store *store, uint64_t sequence)
{
    spool_ack(store->spool, sequence);
    gone_add(&store->gone, sequence);
}

/* ---- what it says ---- */

static struct whole *find_whole(const struct store *store, uint64_t sequence)
{
    struct whole *whole = store->wholes;
    while (whole != NULL && whole->sequence != sequence)
        whole = whole->next;
    return whole;
}

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
    struct queued *item = store_item_create(event->parcel, 0);
    item->put = item->read_back = on_disk;
    item->again = !on_disk;
    store->any_again = store->any_again || item->again;
    store->ahead += item->read_back;
    need(store, event->parcel->points);
    store->spooled_points -= event->parcel->points;
    ledger_unspool(store->set, event->parcel->points);
    queue_put(&store->queue, item);
}

static void refused(struct store *store, struct spool_event *event)
{
    struct queued *item = find(store, event->sequence);
    struct whole *whole = find_whole(store, event->sequence);
    if (item == NULL && whole == NULL &&
        !gone_has(&store->gone, event->sequence)) { /* let go before this was known */
        bring_back(store, event, false);
        return;
    }
    if (item != NULL) {
        item->put = false;
        item->again = store->any_again = true;
    }
    if (whole != NULL)
        whole->put = false;
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
    struct whole *whole = find_whole(store, event->sequence);
    if (item != NULL)
        item->put = false;
    if (whole != NULL)
        whole->put = false;
    if (item != NULL || whole != NULL)
        return;
    if (gone_has(&store->gone, event->sequence))
        return;
    need(store, event->points);
    store->spooled_points -= event->points;
    ledger_evict(store->set, event->points, reasons[event->reason]);
}

bool store_take_events(struct store *store, uint64_t now_ns)
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
            store->disk_first = event.sequence + 1; /* they are read in order */
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
    if (store_take_events(store, now_ns))
        store_make_room(store);
    if (looks) {
        store->looked_ns = now_ns;
        learn(store, &status);
        show_spool(store, &status);
        if (status.working)
            store_put_again(store);
    }
    /* Read ahead as much as can be sent at once, and only into room that new batches leave, unless
     * all that is here waits for it. */
    bool wanted = store->ahead < store->plan->sender_count &&
                  4 * (uint64_t)store_count(store) <= 3 * (uint64_t)store->plan->queue_capacity;
    if (store->spooled_points == 0 || store->reading || (!wanted && !store_is_behind_disk(store)))
        return UINT64_MAX;
    if (store->read_again_ns > now_ns)
        return store->read_again_ns;
    store->reading = true;
    gone_ask(&store->gone);
    spool_read(store->spool);
    return UINT64_MAX;
}

double store_fill(const struct store *store)
{
    if (store->spool != NULL && store->working) {
        struct spool_status status;
        spool_read_status(store->spool, &status);
        return status.full_bytes > 0 ? (double)status.used_bytes / (double)status.full_bytes : 0;
    }
    /* Those on the wire are no backlog: of a queue for two, one in flight is not half full. */
    double room = (double)(store->plan->queue_capacity - store->taken_count);
    double batches = room > 0 ? (double)store->queue.count / room : 1;
    double bytes =
        (double)(store->queue.bytes + store->taken_bytes) / (double)STORE_MEMORY_BYTES_MAX;
    return batches > bytes ? batches : bytes;
}

bool store_spool_status(const struct store *store, struct spool_status *ret_status)
{
    if (store->spool != NULL)
        spool_read_status(store->spool, ret_status);
    return store->spool != NULL;
}
