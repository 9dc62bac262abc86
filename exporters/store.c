/* SPDX-License-Identifier: Apache-2.0 */
/* Between batch and request. With a spool, every batch is handed to it when it is closed, before it
 * is sent: the disk has all that is not settled, and memory is a cache of it. So a full memory
 * costs nothing (the oldest are let go and read again later), and a killed process loses nothing
 * that was written. Without one, or while its disk fails, memory is all there is and its oldest is
 * given up.
 *
 * Where order matters (remote write), memory holds the oldest instead: while there is something on
 * disk only, new batches go there as well, behind it, and what could not be written waits for it.
 * What is read after a restart comes in the order of writing, so nothing is written out of turn: of
 * a batch that was split the disk keeps the whole.
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

/* A batch on disk whose parts are in memory. */
struct whole {
    struct whole *next;
    uint64_t sequence;
    uint32_t parts; /* not settled */
    bool put;       /* as in struct queued */
};

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
    uint64_t disk_first; /* what is on disk only has no lower sequence */
    struct whole *wholes;
    bool any_again; /* some in memory are to be put again */
    uint64_t read_again_ns;
    uint64_t looked_ns; /* when the spool's status was read */
    uint32_t ahead;     /* batches read from disk that are still in memory */
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

static struct whole *find_whole(const struct store *store, uint64_t sequence)
{
    struct whole *whole = store->wholes;
    while (whole != NULL && whole->sequence != sequence)
        whole = whole->next;
    return whole;
}

/* A part fewer; true: it was the last. */
static bool end_part(struct store *store, struct whole *whole)
{
    if (--whole->parts > 0)
        return false;
    struct whole **at = &store->wholes;
    while (*at != whole)
        at = &(*at)->next;
    *at = whole->next;
    return true;
}

/* Forgets an item that was taken or is in no list any more. */
static void end(struct store *store, struct queued *item, uint64_t dropped,
                enum telemetry_value reason)
{
    ledger_settle(store->set, item->parcel->points - dropped, dropped, reason);
    if (item->put)
        ack(store, item->parcel->sequence);
    if (item->whole != NULL && end_part(store, item->whole)) {
        if (item->whole->put)
            ack(store, item->whole->sequence);
        free(item->whole);
    }
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
    if (store->spooled_points == 0 || item->parcel->sequence < store->disk_first)
        store->disk_first = item->parcel->sequence;
    ledger_spool(store->set, item->parcel->points);
    store->spooled_points += item->parcel->points;
    if (item->ambiguous) /* forgotten with the item, and it will be sent again */
        telemetry_add(store->set, TELEMETRY_AMBIGUOUS_RESENDS, 1);
    store->ahead -= item->read_back;
    spool_let_go(store->spool, item->parcel->sequence);
    item_destroy(item);
}

/* The next to be let go, NULL where the disk has none of those in memory. In order, not the one
 * that was read: it is the next to be sent. */
static struct queued *victim(const struct store *store)
{
    bool ordered = store->plan->ordered;
    struct queued *item = ordered ? store->queue.newest : store->queue.oldest;
    while (item != NULL && (!item->put || (ordered && item->read_back)))
        item = ordered ? item->older : item->newer;
    return item;
}

/* The next to be given up: the oldest that is in memory only; NULL: none is. */
static struct queued *oldest_in_memory_only(const struct store *store)
{
    struct queued *item = store->queue.oldest;
    while (item != NULL && item->put)
        item = item->newer;
    return item;
}

static bool is_over(const struct store *store)
{
    uint32_t count = store_count(store) - (store->plan->ordered ? store->ahead : 0);
    return count > store->plan->queue_capacity ||
           store->queue.bytes + store->taken_bytes > MEMORY_BYTES_MAX;
}

static void make_room(struct store *store)
{
    while (is_over(store)) {
        struct queued *item = victim(store);
        if (item != NULL) {
            let_go(store, item);
            continue;
        }
        item = oldest_in_memory_only(store);
        if (item == NULL)
            break;
        queue_take(&store->queue, item);
        end(store, item, item->parcel->points, TELEMETRY_DROPPED_QUEUE_FULL);
    }
    show_gauges(store);
}

/* Gives it to the spool; false: that takes none just now. Only what the spool was given has a
 * sequence: gaps on disk are losses. */
static bool put(struct store *store, struct queued *item)
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

static struct queued *add(struct store *store, struct parcel *parcel, uint64_t due_ns)
{
    parcel->sequence = 0;
    struct queued *item = item_create(parcel, due_ns);
    if (store->spool != NULL && put(store, item)) {
        item->order = order_of(parcel->sequence, UINT64_MAX);
        return item;
    }
    item->order = order_of(store->next_sequence, store->unnumbered++);
    if (store->spool == NULL) {
        store->next_sequence++;
        store->unnumbered = 0;
    }
    return item;
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

/* What the spool could not take while it did not work. */
static void put_again(struct store *store)
{
    if (!store->any_again)
        return;
    struct queued *item = first_again(store);
    store->any_again = item != store->queue.oldest; /* some are left out */
    while (item != NULL && (!item->again || put(store, item)))
        item = item->newer;
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
    store->any_again = store->any_again || item->again;
    make_room(store);
}

/* Where order matters and the disk has the whole, it stays there for the parts. */
static struct whole *keep_whole(struct store *store, const struct queued *item)
{
    if (item->whole != NULL || !store->plan->ordered || !item->put)
        return item->whole;
    struct whole *whole = xmalloc(sizeof *whole);
    *whole = (struct whole){
        .next = store->wholes, .sequence = item->parcel->sequence, .parts = 1, .put = true};
    store->wholes = whole;
    return whole;
}

/* Not put on disk, where it would stand behind what is newer; where nothing is, put_again() does.
 */
static struct queued *add_part(struct store *store, struct parcel *parcel, const struct queued *of,
                               struct whole *whole)
{
    parcel->sequence = 0;
    struct queued *part = item_create(parcel, of->due_ns);
    part->whole = whole;
    part->again = store->spool != NULL && whole == NULL;
    store->any_again = store->any_again || part->again;
    return part;
}

void store_replace(struct store *store, struct queued *item, struct parcel *parts[2])
{
    untake(store, item);
    CHECK((uint64_t)parts[0]->points + parts[1]->points == item->parcel->points);
    struct whole *whole = keep_whole(store, item);
    if (whole != NULL)
        whole->parts++;
    for (int i = 0; i < 2; i++) {
        struct queued *part = store->plan->ordered ? add_part(store, parts[i], item, whole)
                                                   : add(store, parts[i], item->due_ns);
        part->order = item->order;
        part->first_ns = item->first_ns;
        part->splits = item->splits + 1;
        queue_put(&store->queue, part);
    }
    if (item->put && whole == NULL)
        ack(store, item->parcel->sequence);
    store->ahead -= item->read_back;
    item_destroy(item);
    make_room(store);
}

/* ---- choosing ---- */

/* The disk has some that come before all that memory has. */
static bool is_behind_disk(const struct store *store)
{
    const struct queued *oldest = store->queue.oldest;
    return store->plan->ordered && store->spooled_points > 0 && oldest != NULL &&
           oldest->order > order_of(store->disk_first, UINT64_MAX);
}

struct queued *store_next(const struct store *store, bool probe, uint64_t now_ns,
                          uint64_t *ret_next_ns)
{
    const struct queue *queue = &store->queue;
    struct queued *oldest = queue_oldest(queue, probe, now_ns, ret_next_ns);
    if (is_behind_disk(store)) {
        *ret_next_ns = UINT64_MAX; /* what is read wakes the worker */
        return NULL;
    }
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
    if (take_events(store, now_ns))
        make_room(store);
    if (looks) {
        store->looked_ns = now_ns;
        learn(store, &status);
        show_spool(store, &status);
        if (status.working)
            put_again(store);
    }
    /* Read ahead as much as can be sent at once, and only into room that new batches leave, unless
     * all that is here waits for it. */
    bool wanted = store->ahead < store->plan->sender_count &&
                  4 * (uint64_t)store_count(store) <= 3 * (uint64_t)store->plan->queue_capacity;
    if (store->spooled_points == 0 || store->reading || (!wanted && !is_behind_disk(store)))
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
        if (!item->put && (item->whole == NULL || !item->whole->put))
            return false;
    return store->taken_count == 0;
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

/* Parts whose whole is on disk: there it stays, with what was delivered of it. */
static void let_parts_go(struct store *store)
{
    struct queued *newer;
    for (struct queued *item = store->queue.oldest; item != NULL; item = newer) {
        newer = item->newer;
        if (item->whole == NULL || !item->whole->put)
            continue;
        queue_take(&store->queue, item);
        ledger_spool(store->set, item->parcel->points);
        if (end_part(store, item->whole))
            free(item->whole);
        item_destroy(item);
    }
}

bool store_close(struct store *store)
{
    CHECK(store->taken_count == 0);
    uint64_t lost = 0;
    if (store->spool != NULL) {
        put_again(store);
        let_all_go(store);
        spool_stop(store->spool);
        take_events(store, 0);
        let_all_go(store); /* read back in the last moment */
        let_parts_go(store);
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
