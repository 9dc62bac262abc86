/* SPDX-License-Identifier: Apache-2.0 */
/* Step 6 of 9: pages cross from the shards to the worker and back.
 *
 *   shard 0:  spare → fills → [lane out] → worker encodes → [lane back] → spare
 *   shard 1:  the same, and so on; no shard touches another's lanes
 *
 * Each lane is a ConcurrencyKit ring with one producer and one consumer: no CAS, no waiting for
 * anybody. It has more slots than its shard has pages, so it cannot be full.
 *
 * Waking: a syscall per page would cost more than the page. The worker announces in `asleep` that
 * it is about to sleep, then looks at the lanes once more; a shard pushes, then looks at `asleep`.
 * With a full fence between the two steps on both sides, one of them sees the other (Dekker), so
 * no wake-up is lost, and only the shard that turns the flag back writes to the descriptor.
 *
 * Invariant: a page's `state` says who owns it, and per shard the pages are taken and given back in
 * the order of their sequence. So "returned" is one number, and everything a page borrowed may be
 * freed once that number has passed it. */
#include "ring/ring.h"

#include "base/check.h"
#include "ring/ck.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    CACHE_LINE = 64,
    PAGES_PER_SHARD_MAX = 1 << 15, /* 1 GiB of pages */
    LANE_SLOTS_MIN = 4,            /* ck_ring's own minimum */
    ROUTES_MAX = 32,
};

/* One shard's pages and lanes; each part on cache lines of its own. */
struct lane {
    /* the shard's */
    _Alignas(CACHE_LINE) struct page **spares; /* a stack: the page last returned is warmest */
    uint32_t spare_count;
    uint64_t next_sequence;
    uint64_t returned_sequence;
    /* the worker's */
    _Alignas(CACHE_LINE) uint64_t taken_sequence;
    uint64_t given_sequence;
    /* both */
    _Alignas(CACHE_LINE) ck_ring_t out;
    _Alignas(CACHE_LINE) ck_ring_t back;
    _Alignas(CACHE_LINE) ck_ring_buffer_t *out_slots; /* from here on read only */
    ck_ring_buffer_t *back_slots;
    struct page **pages;
    uint32_t page_count;
};

struct ring {
    /* the worker's */
    _Alignas(CACHE_LINE) uint32_t sweep; /* lane to look at first */
    /* shared */
    _Alignas(
        CACHE_LINE) _Atomic uint32_t asleep; /* 0: awake; else wake at so many pages in a lane */
    _Alignas(CACHE_LINE) _Atomic uint8_t pressures[ROUTES_MAX]; /* by the worker, rarely */
    _Alignas(CACHE_LINE) int wake_fd;                           /* from here on read only */
    uint32_t lane_count;
    struct lane *lanes;
};

static void *allocate(size_t bytes)
{
    size_t whole = (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    void *memory = aligned_alloc(CACHE_LINE, whole);
    if (memory)
        memset(memory, 0, whole);
    return memory;
}

/* A ring of n slots holds n − 1 entries, and n must be a power of two. */
static uint32_t lane_slots(uint32_t page_count)
{
    uint32_t slots = LANE_SLOTS_MIN;
    while (slots <= page_count)
        slots *= 2;
    return slots;
}

static bool lane_init(struct lane *lane, uint32_t shard, uint32_t page_count)
{
    uint32_t slots = lane_slots(page_count);
    ck_ring_init(&lane->out, slots);
    ck_ring_init(&lane->back, slots);
    lane->next_sequence = 1;
    lane->page_count = page_count;
    lane->out_slots = allocate(slots * sizeof *lane->out_slots);
    lane->back_slots = allocate(slots * sizeof *lane->back_slots);
    lane->spares = allocate(page_count * sizeof *lane->spares);
    lane->pages = allocate(page_count * sizeof *lane->pages);
    if (!lane->out_slots || !lane->back_slots || !lane->spares || !lane->pages)
        return false;
    for (uint32_t i = 0; i < page_count; i++) {
        struct page *page = aligned_alloc(CACHE_LINE, LIMIT_PAGE_BYTES);
        if (!page)
            return false;
        memset(page, 0, offsetof(struct page, space)); /* the rest is touched when it is used */
        page->shard = shard;
        page->state = PAGE_SPARE;
        lane->pages[i] = page;
        lane->spares[lane->spare_count++] = page;
    }
    return true;
}

static void lane_fini(struct lane *lane)
{
    if (lane->pages) {
        for (uint32_t i = 0; i < lane->page_count; i++)
            free(lane->pages[i]);
    }
    free(lane->pages);
    free(lane->spares);
    free(lane->out_slots);
    free(lane->back_slots);
}

bool ring_create(struct ring **ret_ring, uint32_t shard_count, uint32_t pages_per_shard,
                 struct error *error)
{
    if (shard_count == 0 || shard_count > LIMIT_SHARDS)
        return error_set(error, "ring: %u shards, but 1 to %d are possible: set service.shards",
                         shard_count, LIMIT_SHARDS);
    if (pages_per_shard == 0 || pages_per_shard > PAGES_PER_SHARD_MAX)
        return error_set(error, "ring: %u pages per shard, but 1 to %d are possible",
                         pages_per_shard, PAGES_PER_SHARD_MAX);
    struct ring *ring = allocate(sizeof *ring);
    if (!ring)
        goto fail;
    ring->wake_fd = -1;
    ring->lanes = allocate(shard_count * sizeof *ring->lanes);
    if (!ring->lanes)
        goto fail;
    for (; ring->lane_count < shard_count; ring->lane_count++) {
        struct lane *lane = &ring->lanes[ring->lane_count];
        if (!lane_init(lane, ring->lane_count, pages_per_shard)) {
            lane_fini(lane);
            goto fail;
        }
    }
    ring->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (ring->wake_fd < 0) {
        error_set(error, "ring: eventfd: %s: raise the limit of open files (ulimit -n)",
                  strerror(errno));
        ring_destroy(&ring);
        return false;
    }
    *ret_ring = ring;
    return true;

fail:
    ring_destroy(&ring);
    return error_set(error,
                     "ring: no memory for %u shards with %u pages of %d KiB: use fewer shards "
                     "(service.shards) or raise the memory limit",
                     shard_count, pages_per_shard, LIMIT_PAGE_BYTES / 1024);
}

void ring_destroy(struct ring **ring)
{
    struct ring *dead = *ring;
    *ring = NULL;
    if (!dead)
        return;
    for (uint32_t i = 0; i < dead->lane_count; i++)
        lane_fini(&dead->lanes[i]);
    free(dead->lanes);
    if (dead->wake_fd >= 0)
        close(dead->wake_fd);
    free(dead);
}

/* The only writer of page->state after creation. */
static void change_owner(struct page *page, enum page_state from, enum page_state to)
{
    CHECK(page->state == from);
    page->state = to;
}

static struct lane *lane_of(const struct ring *ring, uint32_t shard)
{
    CHECK(shard < ring->lane_count);
    return &ring->lanes[shard];
}

/* ---- the shard's side ---- */

static void collect_returned(struct lane *lane)
{
    struct page *page;
    while (ck_ring_dequeue_spsc(&lane->back, lane->back_slots, &page)) {
        change_owner(page, PAGE_GIVEN, PAGE_SPARE);
        CHECK(page->sequence == lane->returned_sequence + 1);
        CHECK(lane->spare_count < lane->page_count);
        lane->returned_sequence = page->sequence;
        lane->spares[lane->spare_count++] = page;
    }
}

struct page *ring_acquire(struct ring *ring, uint32_t shard)
{
    struct lane *lane = lane_of(ring, shard);
    collect_returned(lane); /* first, so that the page is one the cache still knows */
    if (lane->spare_count == 0)
        return NULL;
    struct page *page = lane->spares[--lane->spare_count];
    change_owner(page, PAGE_SPARE, PAGE_ACQUIRED);
    return page;
}

void ring_release(struct ring *ring, struct page *page)
{
    struct lane *lane = lane_of(ring, page->shard);
    change_owner(page, PAGE_ACQUIRED, PAGE_SPARE);
    CHECK(lane->spare_count < lane->page_count);
    lane->spares[lane->spare_count++] = page;
}

void ring_push(struct ring *ring, struct page *page, uint64_t now_ns)
{
    struct lane *lane = lane_of(ring, page->shard);
    page_check(page);
    change_owner(page, PAGE_ACQUIRED, PAGE_PUSHED);
    page->sequence = lane->next_sequence++;
    page->pushed_ns = now_ns;
    CHECK(ck_ring_enqueue_spsc(&lane->out, lane->out_slots, page));
    ck_pr_fence_memory(); /* the page is visible before `asleep` is read */
    uint32_t asleep = atomic_load_explicit(&ring->asleep, memory_order_relaxed);
    if (asleep != 0 && ck_ring_size(&lane->out) >= asleep && atomic_exchange(&ring->asleep, 0) != 0)
        ring_wake(ring);
}

uint64_t ring_returned_sequence(struct ring *ring, uint32_t shard)
{
    struct lane *lane = lane_of(ring, shard);
    collect_returned(lane);
    return lane->returned_sequence;
}

uint64_t ring_next_sequence(const struct ring *ring, uint32_t shard)
{
    return lane_of(ring, shard)->next_sequence;
}

/* ---- the worker's side ---- */

struct page *ring_take(struct ring *ring)
{
    uint32_t index = ring->sweep;
    for (uint32_t looked = 0; looked < ring->lane_count; looked++) {
        struct lane *lane = &ring->lanes[index];
        struct page *page;
        index = index + 1 < ring->lane_count ? index + 1 : 0;
        if (!ck_ring_dequeue_spsc(&lane->out, lane->out_slots, &page))
            continue;
        change_owner(page, PAGE_PUSHED, PAGE_TAKEN);
        CHECK(page->sequence == lane->taken_sequence + 1);
        page_check(page);
        lane->taken_sequence = page->sequence;
        ring->sweep = index;
        return page;
    }
    return NULL;
}

void ring_give(struct ring *ring, struct page *page)
{
    struct lane *lane = lane_of(ring, page->shard);
    change_owner(page, PAGE_TAKEN, PAGE_GIVEN);
    CHECK(page->sequence == lane->given_sequence + 1);
    lane->given_sequence = page->sequence;
    CHECK(ck_ring_enqueue_spsc(&lane->back, lane->back_slots, page));
}

bool ring_try_sleep(struct ring *ring, uint32_t patience)
{
    uint32_t threshold = 1 + patience;
    for (uint32_t i = 0; i < ring->lane_count; i++)
        if (threshold > ring->lanes[i].page_count / 4 + 1)
            threshold = ring->lanes[i].page_count / 4 + 1; /* never sleep while pages run out */
    atomic_store(&ring->asleep, threshold);
    ck_pr_fence_memory(); /* `asleep` is visible before the lanes are read */
    bool enough = false;
    for (uint32_t i = 0; i < ring->lane_count; i++)
        enough = enough || ck_ring_size(&ring->lanes[i].out) >= threshold;
    if (!enough)
        return true;
    atomic_store(&ring->asleep, 0);
    return false;
}

void ring_awake(struct ring *ring)
{
    uint64_t wakes;
    atomic_store(&ring->asleep, 0);
    while (read(ring->wake_fd, &wakes, sizeof wakes) < 0 && errno == EINTR)
        ;
}

int ring_wake_fd(const struct ring *ring)
{
    return ring->wake_fd;
}

void ring_wake(struct ring *ring)
{
    uint64_t one = 1;
    ssize_t written;
    do
        written = write(ring->wake_fd, &one, sizeof one);
    while (written < 0 && errno == EINTR);
    CHECK(written == sizeof one || errno == EAGAIN); /* EAGAIN: it is readable anyway */
}

void ring_put_pressure(struct ring *ring, uint32_t route, uint32_t level)
{
    CHECK(route < ROUTES_MAX && level <= RING_PRESSURE_MAX);
    atomic_store_explicit(&ring->pressures[route], (uint8_t)level, memory_order_relaxed);
}

uint32_t ring_pressure(const struct ring *ring, uint32_t route)
{
    CHECK(route < ROUTES_MAX);
    return atomic_load_explicit(&ring->pressures[route], memory_order_relaxed);
}

uint64_t ring_waiting(const struct ring *ring)
{
    uint64_t waiting = 0;
    for (uint32_t i = 0; i < ring->lane_count; i++)
        waiting += ck_ring_size(&ring->lanes[i].out);
    return waiting;
}

double ring_fill(const struct ring *ring)
{
    double most = 0;
    for (uint32_t i = 0; i < ring->lane_count; i++) {
        const struct lane *lane = &ring->lanes[i];
        double fill = (double)ck_ring_size(&lane->out) / (double)lane->page_count;
        most = fill > most ? fill : most;
    }
    return most;
}
