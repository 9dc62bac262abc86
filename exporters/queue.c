/* SPDX-License-Identifier: Apache-2.0 */
/* One list in age order serves fresh batches, those that wait for a retry, and those read back from
 * disk: a batch's age says where it goes, so nothing else must be kept in step. New ones come at
 * the newest end; what returns is mostly old, so its place is found near the oldest. */
#include "exporters/queue.h"

#include <stddef.h>

#include "base/check.h"

/* The item behind which one of `order` goes; NULL: it becomes the oldest. */
static struct queued *place_of(const struct queue *queue, uint64_t order)
{
    struct queued *older = queue->newest;
    if (older == NULL || older->order <= order)
        return older;
    if (order - queue->oldest->order > queue->newest->order - order) {
        while (older != NULL && older->order > order)
            older = older->older;
        return older;
    }
    struct queued *newer = queue->oldest;
    while (newer->order <= order)
        newer = newer->newer;
    return newer->older;
}

void queue_put(struct queue *queue, struct queued *item)
{
    struct queued *older = place_of(queue, item->order);
    struct queued *newer = older == NULL ? queue->oldest : older->newer;
    item->older = older;
    item->newer = newer;
    *(older == NULL ? &queue->oldest : &older->newer) = item;
    *(newer == NULL ? &queue->newest : &newer->older) = item;
    queue->count++;
    queue->bytes += item->parcel->bytes;
}

void queue_take(struct queue *queue, struct queued *item)
{
    CHECK(queue->count > 0);
    *(item->older == NULL ? &queue->oldest : &item->older->newer) = item->newer;
    *(item->newer == NULL ? &queue->newest : &item->newer->older) = item->older;
    item->older = item->newer = NULL;
    queue->count--;
    queue->bytes -= item->parcel->bytes;
}

struct queued *queue_oldest(const struct queue *queue, bool forced, uint64_t now_ns,
                            uint64_t *ret_next_ns)
{
    *ret_next_ns = UINT64_MAX;
    for (struct queued *item = queue->oldest; item != NULL; item = item->newer) {
        if (forced || item->wait_until_ns <= now_ns)
            return item;
        if (item->wait_until_ns < *ret_next_ns)
            *ret_next_ns = item->wait_until_ns;
    }
    return NULL;
}

struct queued *queue_newest(const struct queue *queue, uint64_t now_ns)
{
    struct queued *item = queue->newest;
    while (item != NULL && item->wait_until_ns > now_ns)
        item = item->older;
    return item;
}

struct queued *queue_find(const struct queue *queue, uint64_t sequence)
{
    struct queued *item = queue->oldest;
    while (item != NULL && item->parcel->sequence != sequence)
        item = item->newer;
    return item;
}

void queue_hurry(struct queue *queue)
{
    for (struct queued *item = queue->oldest; item != NULL; item = item->newer)
        item->wait_until_ns = 0;
}
