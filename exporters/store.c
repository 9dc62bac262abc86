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
#include "exporters/store_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/memory.h"
#include "exporters/ledger.h"

/* Of a backlog, so often the oldest is taken; the newest in between. What comes anew is always
 * taken at once while it needs no more than the rest, three quarters of what the back end takes. */
enum { OLDEST_EVERY = 4 };

/* ---- making ---- */

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
    if (options->spool_directory != NULL && !store_open_spool(store, options, error)) {
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

struct queued *store_item_create(struct parcel *parcel, uint64_t due_ns)
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
        store_ack(store, item->parcel->sequence);
    if (item->whole != NULL && end_part(store, item->whole)) {
        if (item->whole->put)
            store_ack(store, item->whole->sequence);
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

void store_let_go(struct store *store, struct queued *item)
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
           store->queue.bytes + store->taken_bytes > STORE_MEMORY_BYTES_MAX;
}

void store_make_room(struct store *store)
{
    while (is_over(store)) {
        struct queued *item = victim(store);
        if (item != NULL) {
            store_let_go(store, item);
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

static struct queued *add(struct store *store, struct parcel *parcel, uint64_t due_ns)
{
    parcel->sequence = 0;
    struct queued *item = store_item_create(parcel, due_ns);
    if (store->spool != NULL && store_put(store, item)) {
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

void store_add(struct store *store, struct parcel *parcel, uint64_t due_ns)
{
    struct queued *item = add(store, parcel, due_ns);
    queue_put(&store->queue, item);
    if (store->plan->ordered && item->put && store->spooled_points > 0)
        store_let_go(store, item);
    store_make_room(store);
}

void store_return(struct store *store, struct queued *item)
{
    untake(store, item);
    queue_put(&store->queue, item);
    store->any_again = store->any_again || item->again;
    store_make_room(store);
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

/* Not put on disk, where it would stand behind what is newer; where nothing is, store_put_again()
 * does.
 */
static struct queued *add_part(struct store *store, struct parcel *parcel, const struct queued *of,
                               struct whole *whole)
{
    parcel->sequence = 0;
    struct queued *part = store_item_create(parcel, of->due_ns);
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
        store_ack(store, item->parcel->sequence);
    store->ahead -= item->read_back;
    item_destroy(item);
    store_make_room(store);
}

/* ---- choosing ---- */

bool store_is_behind_disk(const struct store *store)
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
    if (store_is_behind_disk(store)) {
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

bool store_safe(const struct store *store)
{
    if (store->spool == NULL || !store->working)
        return false;
    for (const struct queued *item = store->queue.oldest; item != NULL; item = item->newer)
        if (!item->put && (item->whole == NULL || !item->whole->put))
            return false;
    return store->taken_count == 0;
}

/* ---- the end ---- */

static void let_all_go(struct store *store)
{
    struct queued *newer;
    for (struct queued *item = store->queue.oldest; item != NULL; item = newer) {
        newer = item->newer;
        if (item->put)
            store_let_go(store, item);
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
        store_put_again(store);
        let_all_go(store);
        spool_stop(store->spool);
        store_take_events(store, 0);
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
