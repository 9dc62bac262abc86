/* SPDX-License-Identifier: Apache-2.0 */
/* Timer wheel. A deadline is counted in ticks of 1 ms since the clock's zero, written in base 256:
 * six digits hold every 64-bit time in ns. A timer waits on the level of the highest digit in which
 * its tick differs from the current one, in the slot of that digit:
 *
 *     level 2  [ . . . x . . . ]   slots of 65.5 s, all later than anything on level 1
 *     level 1  [ . . x . . x . ]   slots of 256 ms, all later than anything on level 0
 *     level 0  [ . . . c x . x ]   slots of 1 ms; c is the current tick
 *
 * So the next timer is on the lowest level that has one, and when the current tick enters a slot
 * of a higher level, that slot's timers move down. Deadlines keep their nanoseconds: in the current
 * slot only those that have come fire, so none fires early, and none late by the tick.
 *
 * A bitmap per level finds the next slot; cancelling leaves its bit, and the search clears it when
 * it finds the slot empty. `next_ns` is exact after wheel_run() and may become early by cancelling.
 *
 * Thread: the owner's. */
#include "loop/wheel.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"

enum {
    DIGIT_BITS = 8,
    SLOTS = 1 << DIGIT_BITS,
    LEVELS = 6,
    WORDS = SLOTS / 64,
};
_Static_assert(UINT64_MAX / NS_PER_MS < 1ull << (DIGIT_BITS * LEVELS), "every time has its level");

struct level {
    uint64_t occupied[WORDS];
    struct timer *slots[SLOTS];
};

struct wheel {
    uint64_t tick;    /* every timer of an earlier one has fired */
    uint64_t next_ns; /* not after the next deadline */
    uint64_t armed;
    struct level levels[LEVELS];
};

static uint32_t digit(uint64_t tick, uint32_t level)
{
    return (uint32_t)(tick >> (DIGIT_BITS * level)) & (SLOTS - 1);
}

static void link_timer(struct timer **head, struct timer *timer)
{
    timer->next = *head;
    if (timer->next != NULL)
        timer->next->previous = &timer->next;
    timer->previous = head;
    *head = timer;
}

static void unlink_timer(struct timer *timer)
{
    *timer->previous = timer->next;
    if (timer->next != NULL)
        timer->next->previous = timer->previous;
    timer->previous = NULL;
    timer->next = NULL;
}

static void place(struct wheel *wheel, struct timer *timer)
{
    uint64_t tick = timer->deadline_ns / NS_PER_MS;
    if (tick < wheel->tick)
        tick = wheel->tick;
    uint64_t differing = tick ^ wheel->tick;
    uint32_t index = 0;
    if (differing != 0)
        index = (63 - (uint32_t)__builtin_clzll(differing)) / DIGIT_BITS;
    struct level *level = &wheel->levels[index];
    uint32_t slot = digit(tick, index);
    level->occupied[slot / 64] |= 1ull << (slot % 64);
    link_timer(&level->slots[slot], timer);
}

/* The first slot with a timer at or after `from`, or SLOTS. */
static uint32_t find_slot(struct level *level, uint32_t from)
{
    while (from < SLOTS) {
        uint64_t word = level->occupied[from / 64] & (UINT64_MAX << (from % 64));
        if (word == 0) {
            from = (from / 64 + 1) * 64;
            continue;
        }
        uint32_t slot = from / 64 * 64 + (uint32_t)__builtin_ctzll(word);
        if (level->slots[slot] != NULL)
            return slot;
        level->occupied[slot / 64] &= ~(1ull << (slot % 64));
        from = slot + 1;
    }
    return SLOTS;
}

/* Where the next timers are: level and slot; false when there are none. */
static bool find_next(struct wheel *wheel, uint32_t *ret_level, uint32_t *ret_slot)
{
    for (uint32_t index = 0; index < LEVELS && wheel->armed > 0; index++) {
        uint32_t from = digit(wheel->tick, index) + (index > 0);
        uint32_t slot = find_slot(&wheel->levels[index], from);
        if (slot == SLOTS)
            continue;
        *ret_level = index;
        *ret_slot = slot;
        return true;
    }
    return false;
}

/* First tick of a slot that lies ahead of the current tick. */
static uint64_t slot_tick(const struct wheel *wheel, uint32_t level, uint32_t slot)
{
    uint32_t shift = DIGIT_BITS * level;
    uint64_t above = wheel->tick >> shift >> DIGIT_BITS << DIGIT_BITS << shift;
    return above | (uint64_t)slot << shift;
}

static uint64_t find_next_ns(struct wheel *wheel)
{
    uint32_t level, slot;
    if (!find_next(wheel, &level, &slot))
        return UINT64_MAX;
    if (level > 0)
        return slot_tick(wheel, level, slot) * NS_PER_MS;
    uint64_t next_ns = UINT64_MAX;
    for (const struct timer *timer = wheel->levels[0].slots[slot]; timer; timer = timer->next)
        if (timer->deadline_ns < next_ns)
            next_ns = timer->deadline_ns;
    return next_ns;
}

/* Moves what is due from the current slot to the list whose last link is `tail`. */
static struct timer **take_due(struct wheel *wheel, uint64_t now_ns, struct timer **tail)
{
    struct timer *timer = wheel->levels[0].slots[digit(wheel->tick, 0)];
    while (timer != NULL) {
        struct timer *next = timer->next;
        if (timer->deadline_ns <= now_ns) {
            unlink_timer(timer);
            link_timer(tail, timer);
            tail = &timer->next;
        }
        timer = next;
    }
    return tail;
}

/* Moves the timers of a slot that the current tick has entered to their lower levels. */
static void move_down(struct wheel *wheel, uint32_t level, uint32_t slot)
{
    struct timer *timer = wheel->levels[level].slots[slot];
    while (timer != NULL) {
        struct timer *next = timer->next;
        unlink_timer(timer);
        place(wheel, timer);
        timer = next;
    }
}

/* Turns the wheel to `now_ns`, from one slot with timers to the next. */
static void collect_due(struct wheel *wheel, uint64_t now_ns, struct timer **tail)
{
    uint64_t now_tick = now_ns / NS_PER_MS;
    if (now_tick < wheel->tick)
        now_tick = wheel->tick;
    for (;;) {
        tail = take_due(wheel, now_ns, tail);
        if (wheel->tick == now_tick)
            return;
        uint32_t level, slot;
        bool found = find_next(wheel, &level, &slot);
        uint64_t tick = found ? slot_tick(wheel, level, slot) : UINT64_MAX;
        if (tick > now_tick) {
            wheel->tick = now_tick;
            return;
        }
        wheel->tick = tick;
        if (level > 0)
            move_down(wheel, level, slot);
    }
}

struct wheel *wheel_create(uint64_t now_ns)
{
    struct wheel *wheel = xcalloc(1, sizeof *wheel);
    wheel->tick = now_ns / NS_PER_MS;
    wheel->next_ns = UINT64_MAX;
    return wheel;
}

void wheel_destroy(struct wheel **wheel_place)
{
    struct wheel *wheel = *wheel_place;
    if (wheel == NULL)
        return;
    for (int level = 0; level < LEVELS; level++)
        for (int slot = 0; slot < SLOTS; slot++)
            while (wheel->levels[level].slots[slot] != NULL)
                unlink_timer(wheel->levels[level].slots[slot]);
    free(wheel);
    *wheel_place = NULL;
}

void timer_init(struct timer *timer, timer_fn *fn)
{
    *timer = (struct timer){.fn = fn};
}

bool timer_armed(const struct timer *timer)
{
    return timer->previous != NULL;
}

void wheel_arm(struct wheel *wheel, struct timer *timer, uint64_t deadline_ns)
{
    CHECK(timer->fn != NULL);
    wheel_cancel(wheel, timer);
    timer->deadline_ns = deadline_ns;
    place(wheel, timer);
    wheel->armed++;
    if (deadline_ns < wheel->next_ns)
        wheel->next_ns = deadline_ns;
}

void wheel_cancel(struct wheel *wheel, struct timer *timer)
{
    if (!timer_armed(timer))
        return;
    unlink_timer(timer);
    if (--wheel->armed == 0)
        wheel->next_ns = UINT64_MAX;
}

uint64_t wheel_next_ns(const struct wheel *wheel)
{
    return wheel->next_ns;
}

/* Collects before it fires: what a callback arms for now or for the past waits for the next run,
 * and what it cancels leaves the list of those to be fired. */
uint32_t wheel_run(struct wheel *wheel, uint64_t now_ns)
{
    if (now_ns < wheel->next_ns)
        return 0;
    struct timer *due = NULL;
    collect_due(wheel, now_ns, &due);
    wheel->next_ns = find_next_ns(wheel);
    uint32_t fired = 0;
    while (due != NULL) {
        struct timer *timer = due;
        wheel_cancel(wheel, timer);
        timer->fn(timer, now_ns);
        fired++;
    }
    return fired;
}
