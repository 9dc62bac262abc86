/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger's table: open addressing over 32-byte slots, found by the series' hash. What a series
 * with steps needs is its first and its last step and the holes in between; nearly all have none,
 * some one (in the slot), few several (a list beside the table, freed as soon as they are filled).
 * So late and reordered points are told exactly, however late.
 *
 * A start time is no part of the key: the first one seen lives in the series' own slot, any other
 * in one whose key is mixed with all 32 bits of it. So a reset is noticed where it happens, without
 * a second table. */
#include "tools/sink/ledger.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/check.h"
#include "base/memory.h"
#include "tools/sink/holes.h"
#include "tools/sink/ledger_text.h"

enum {
    SLOTS_MIN = 1 << 14,
    AHEAD = 12, /* slots are asked for so many points before they are needed */
    TIMES = 4,
    TIME_BYTES = 6,
    START_MASK = (1 << 24) - 1,
    DOUBLED_MAX = 255,
};

enum slot_flag {
    SLOT_MANY = 1,     /* hole_from is an index into lists */
    SLOT_UNPROVEN = 2, /* carries no steps: only counted */
};

struct slot {
    uint64_t key; /* 0: free */
    union {
        struct {
            uint32_t first, last;
            uint32_t hole_from, hole_to; /* [from, to), or none */
            uint32_t start : 24, doubled : 8;
            uint16_t time; /* hash of the last step's */
            uint16_t flags;
        };
        uint8_t times[TIMES][TIME_BYTES]; /* hashes, the newest first */
    };
};
_Static_assert(sizeof(struct slot) == 32, "a series costs 32 bytes");

struct ledger {
    struct slot *slots;
    size_t slot_count, used, limit;
    struct holes *lists;
    uint32_t list_count, list_space;
    uint32_t *free_lists;
    uint32_t free_count;
    struct ledger_counts counts;
    struct ledger_text *text;
};

static struct slot *map_slots(size_t count)
{
    void *memory = mmap(NULL, count * sizeof(struct slot), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    madvise(memory, count * sizeof(struct slot), MADV_HUGEPAGE);
    return memory;
}

static void set_slots(struct ledger *ledger, size_t count)
{
    ledger->slots = map_slots(count);
    ledger->slot_count = count;
    ledger->limit = count / 20 * 17; /* 85 % */
}

struct ledger *ledger_create(void)
{
    struct ledger *ledger = xcalloc(1, sizeof *ledger);
    set_slots(ledger, SLOTS_MIN);
    ledger->text = ledger_text_create();
    return ledger;
}

void ledger_destroy(struct ledger **ret_ledger)
{
    struct ledger *ledger = *ret_ledger;
    if (ledger == NULL)
        return;
    munmap(ledger->slots, ledger->slot_count * sizeof(struct slot));
    for (uint32_t i = 0; i < ledger->list_count; i++)
        holes_fini(&ledger->lists[i]);
    free(ledger->lists);
    free(ledger->free_lists);
    ledger_text_destroy(&ledger->text);
    free(ledger);
    *ret_ledger = NULL;
}

static size_t home(const struct ledger *ledger, uint64_t key)
{
    return (size_t)(((unsigned __int128)key * ledger->slot_count) >> 64);
}

/* The key's slot, or the free one where it belongs. */
static struct slot *find(const struct ledger *ledger, uint64_t key)
{
    size_t at = home(ledger, key);
    while (ledger->slots[at].key != key && ledger->slots[at].key != 0)
        at = at + 1 < ledger->slot_count ? at + 1 : 0;
    return &ledger->slots[at];
}

static void grow(struct ledger *ledger)
{
    struct slot *old = ledger->slots;
    size_t count = ledger->slot_count;
    set_slots(ledger, count + count / 2);
    for (size_t i = 0; i < count; i++)
        if (old[i].key != 0)
            *find(ledger, old[i].key) = old[i];
    munmap(old, count * sizeof *old);
}

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    z ^= z >> 31;
    return z != 0 ? z : 1;
}

static uint32_t start_bits(uint32_t start)
{
    uint32_t bits = start & START_MASK;
    return start != 0 && bits == 0 ? 1 : bits;
}

static uint64_t restart_key(uint64_t key, uint32_t start)
{
    return mix(key + (uint64_t)start * 0x9e3779b97f4a7c15ull);
}

static struct slot *take(struct ledger *ledger, struct slot *slot, uint64_t key)
{
    if (ledger->used >= ledger->limit) {
        grow(ledger);
        slot = find(ledger, key);
    }
    ledger->used++;
    slot->key = key;
    ledger->counts.series++;
    return slot;
}

static struct holes *list_of(const struct ledger *ledger, const struct slot *slot)
{
    return &ledger->lists[slot->hole_from];
}

/* Moves the slot's hole into a list of its own. */
static struct holes *list_take(struct ledger *ledger, struct slot *slot)
{
    uint32_t index;
    if (ledger->free_count > 0) {
        index = ledger->free_lists[--ledger->free_count];
    } else {
        if (ledger->list_count == ledger->list_space) {
            ledger->list_space = ledger->list_space == 0 ? 64 : 2 * ledger->list_space;
            ledger->lists = xrealloc(ledger->lists, ledger->list_space * sizeof ledger->lists[0]);
            ledger->free_lists =
                xrealloc(ledger->free_lists, ledger->list_space * sizeof ledger->free_lists[0]);
        }
        index = ledger->list_count++;
        ledger->lists[index] = (struct holes){0};
    }
    struct holes *holes = &ledger->lists[index];
    if (slot->hole_from != slot->hole_to)
        holes_append(holes, (struct hole){slot->hole_from, slot->hole_to}, LEDGER_HOLES_MAX);
    slot->flags |= SLOT_MANY;
    slot->hole_from = index;
    slot->hole_to = 0;
    return holes;
}

static void list_give(struct ledger *ledger, struct slot *slot)
{
    struct holes *holes = list_of(ledger, slot);
    struct hole left = holes->count > 0 ? holes->items[0] : (struct hole){0};
    ledger->free_lists[ledger->free_count++] = slot->hole_from;
    holes_fini(holes);
    slot->flags &= (uint16_t)~SLOT_MANY;
    slot->hole_from = left.from;
    slot->hole_to = left.to;
}

static uint64_t missing(const struct ledger *ledger, const struct slot *slot)
{
    if ((slot->flags & SLOT_MANY) != 0)
        return holes_steps(list_of(ledger, slot));
    return slot->hole_to - slot->hole_from;
}

/* A hole above (`last` was below it) or below all others. */
static void open_hole(struct ledger *ledger, struct slot *slot, struct hole hole, bool above)
{
    ledger->counts.gaps += hole.to - hole.from;
    if ((slot->flags & SLOT_MANY) == 0 && slot->hole_from == slot->hole_to) {
        slot->hole_from = hole.from;
        slot->hole_to = hole.to;
        return;
    }
    struct holes *holes =
        (slot->flags & SLOT_MANY) != 0 ? list_of(ledger, slot) : list_take(ledger, slot);
    if (above)
        holes_append(holes, hole, LEDGER_HOLES_MAX);
    else
        holes_prepend(holes, hole, LEDGER_HOLES_MAX);
}

/* Whether the step was missing until now. */
static bool fill_hole(struct ledger *ledger, struct slot *slot, uint32_t step)
{
    if ((slot->flags & SLOT_MANY) == 0) {
        if (step < slot->hole_from || step >= slot->hole_to)
            return false;
        if (step == slot->hole_from) {
            slot->hole_from++;
            return true;
        }
        if (step == slot->hole_to - 1) {
            slot->hole_to--;
            return true;
        }
        list_take(ledger, slot);
    }
    struct holes *holes = list_of(ledger, slot);
    bool filled = holes_fill(holes, step, LEDGER_HOLES_MAX);
    if (holes->count <= 1 && holes->given_up_below == 0)
        list_give(ledger, slot);
    return filled;
}

static bool given_up(const struct ledger *ledger, const struct slot *slot, uint32_t step)
{
    return (slot->flags & SLOT_MANY) != 0 && step < list_of(ledger, slot)->given_up_below;
}

static void count_doubled(struct ledger *ledger, const struct slot *slot,
                          const struct ledger_body *body, const struct ledger_point *point)
{
    ledger->counts.doubled++;
    if (body->excused)
        ledger->counts.doubled_excused++;
    else
        ledger_text_doubled(ledger->text, &body->places[point->place], slot->key, point);
}

/* The series carries no steps after all: what was counted for it is taken back. Not where that
 * cannot be known any more. */
static bool unprove(struct ledger *ledger, struct slot *slot)
{
    if (slot->doubled == DOUBLED_MAX ||
        ((slot->flags & SLOT_MANY) != 0 && list_of(ledger, slot)->given_up_below != 0))
        return false;
    uint64_t holes = missing(ledger, slot);
    uint64_t distinct = slot->last == 0 ? 0 : slot->last - slot->first + 1 - holes;
    ledger->counts.gaps -= holes;
    ledger->counts.distinct -= distinct;
    ledger->counts.doubled -= slot->doubled;
    ledger->counts.unproven_points += distinct + slot->doubled;
    ledger->counts.unproven++;
    if ((slot->flags & SLOT_MANY) != 0)
        list_give(ledger, slot);
    slot->flags = SLOT_UNPROVEN;
    slot->hole_from = slot->hole_to = 0;
    return true;
}

static void enter_new_step(struct ledger *ledger, struct slot *slot, const struct ledger_body *body,
                           const struct ledger_point *point)
{
    uint32_t step = point->step;
    ledger->counts.distinct++;
    if (slot->last == 0) {
        slot->first = slot->last = step;
    } else if (step > slot->last) {
        if (step - slot->last > 1) {
            struct hole hole = {slot->last + 1, step};
            open_hole(ledger, slot, hole, true);
            ledger_text_gap(ledger->text, &body->places[point->place], slot->key, hole.from,
                            hole.to);
        }
        slot->last = step;
    } else {
        if (slot->first - step > 1)
            open_hole(ledger, slot, (struct hole){step + 1, slot->first}, false);
        slot->first = step;
    }
}

static void enter_step(struct ledger *ledger, struct slot *slot, const struct ledger_body *body,
                       const struct ledger_point *point)
{
    uint32_t step = point->step;
    uint16_t time = (uint16_t)mix(point->time_ns);
    bool known = slot->last != 0;
    bool far = known && (step > slot->last ? step - slot->last > LEDGER_JUMP_MAX
                                           : slot->last - step > LEDGER_JUMP_MAX);
    bool still = known && step == slot->last && time != slot->time; /* one step, two times */
    bool proven = (slot->flags & SLOT_UNPROVEN) == 0;
    if (proven && (step == LEDGER_UNPROVEN_STEP || far || still) && unprove(ledger, slot)) {
        slot->last = 1; /* anything but 0 */
        ledger_text_unproven(ledger->text, &body->places[point->place], slot->key);
    }
    if ((slot->flags & SLOT_UNPROVEN) != 0) {
        ledger->counts.unproven_points++;
    } else if (step == LEDGER_UNPROVEN_STEP) {
        ledger->counts.undecided++;
    } else if (!known || step > slot->last || step < slot->first) {
        if (!known || step > slot->last)
            slot->time = time;
        enter_new_step(ledger, slot, body, point);
    } else if (fill_hole(ledger, slot, step)) {
        ledger->counts.gaps--;
        ledger->counts.distinct++;
    } else if (given_up(ledger, slot, step)) {
        ledger->counts.undecided++;
    } else {
        if (slot->doubled < DOUBLED_MAX)
            slot->doubled++;
        count_doubled(ledger, slot, body, point);
    }
}

static void enter_time(struct ledger *ledger, struct slot *slot, const struct ledger_body *body,
                       const struct ledger_point *point)
{
    uint64_t hash = mix(point->time_ns) | 1;
    if (body->again) { /* perhaps so long ago that its times are forgotten */
        count_doubled(ledger, slot, body, point);
        return;
    }
    for (int i = 0; i < TIMES; i++)
        if (memcmp(slot->times[i], &hash, TIME_BYTES) == 0) {
            count_doubled(ledger, slot, body, point);
            return;
        }
    memmove(slot->times[1], slot->times[0], (TIMES - 1) * TIME_BYTES);
    memcpy(slot->times[0], &hash, TIME_BYTES);
    ledger->counts.distinct++;
}

static void enter(struct ledger *ledger, const struct ledger_body *body,
                  const struct ledger_point *point)
{
    struct slot *slot = find(ledger, point->series);
    ledger->counts.points++;
    if (point->step == 0) {
        if (slot->key == 0)
            slot = take(ledger, slot, point->series);
        enter_time(ledger, slot, body, point);
        return;
    }
    uint32_t start = start_bits(point->start);
    bool reset = slot->key != 0 && slot->start != start;
    uint64_t key = reset ? restart_key(point->series, point->start) : point->series;
    if (reset)
        slot = find(ledger, key);
    if (slot->key == 0) {
        slot = take(ledger, slot, key);
        slot->start = start & START_MASK;
        ledger->counts.resets += reset;
    }
    enter_step(ledger, slot, body, point);
}

static bool hole_open(const struct ledger *ledger, const struct ledger_gap *gap)
{
    const struct slot *slot = find(ledger, gap->key);
    if (slot->key == 0 || (slot->flags & SLOT_UNPROVEN) != 0)
        return false;
    struct hole own = {slot->hole_from, slot->hole_to};
    const struct hole *holes = &own;
    uint32_t count = 1;
    if ((slot->flags & SLOT_MANY) != 0) {
        holes = list_of(ledger, slot)->items;
        count = list_of(ledger, slot)->count;
        if (gap->from < list_of(ledger, slot)->given_up_below)
            return true;
    }
    for (uint32_t i = 0; i < count; i++)
        if (holes[i].from < holes[i].to && holes[i].from < gap->to && gap->from < holes[i].to)
            return true;
    return false;
}

static void forget_filled(struct ledger *ledger)
{
    const struct ledger_gap *gap;
    for (size_t i = 0; (gap = ledger_text_gap_at(ledger->text, i)) != NULL;)
        if (hole_open(ledger, gap))
            i++;
        else
            ledger_text_gap_remove(ledger->text, i);
}

void ledger_enter(struct ledger *ledger, const struct ledger_body *body)
{
    if (body->count == 0)
        return;
    if (ledger->counts.first_arrival_ns == 0)
        ledger->counts.first_arrival_ns = body->wall_ns;
    ledger->counts.last_arrival_ns = body->wall_ns;
    forget_filled(ledger);
    for (size_t i = 0; i < body->count; i++) {
        if (i + AHEAD < body->count)
            __builtin_prefetch(&ledger->slots[home(ledger, body->points[i + AHEAD].series)], 1);
        if (body->points[i].ordinal >= body->first_kept)
            enter(ledger, body, &body->points[i]);
    }
}

struct ledger_counts ledger_counts(const struct ledger *ledger)
{
    struct ledger_counts counts = ledger->counts;
    if (counts.doubled_excused > counts.doubled)
        counts.doubled_excused = counts.doubled; /* of series that turned out unproven */
    counts.bytes = ledger->slot_count * sizeof(struct slot) +
                   ledger->list_space * (sizeof(struct holes) + sizeof(uint32_t));
    for (uint32_t i = 0; i < ledger->list_count; i++)
        counts.bytes += ledger->lists[i].space * sizeof(struct hole);
    return counts;
}

const char *ledger_doubled_example(const struct ledger *ledger, size_t index)
{
    return ledger_text_doubled_at(ledger->text, index);
}

const char *ledger_unproven_example(const struct ledger *ledger, size_t index)
{
    return ledger_text_unproven_at(ledger->text, index);
}

const char *ledger_gap_example(struct ledger *ledger, size_t index)
{
    forget_filled(ledger);
    const struct ledger_gap *gap = ledger_text_gap_at(ledger->text, index);
    return gap != NULL ? gap->text : NULL;
}
