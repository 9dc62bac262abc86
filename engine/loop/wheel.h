/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Hierarchical timer wheel (Varghese & Lauck 1987), 1 ms ticks, O(1) arm and cancel, for up to a
 * million timers of a shard. Timers live in their owners; one thread. A timer fires on the first
 * wheel_run() at or after its deadline, never before. */
struct timer;
typedef void timer_fn(struct timer *timer, uint64_t now_ns);

struct timer {
    struct timer *next, **previous; /* the wheel's */
    uint64_t deadline_ns;
    timer_fn *fn;
};

struct wheel;

struct wheel *wheel_create(uint64_t now_ns);
void wheel_destroy(struct wheel **wheel); /* armed timers are forgotten, not run */

/* Zeroed memory is a timer that is not armed. */
void timer_init(struct timer *timer, timer_fn *fn);
bool timer_armed(const struct timer *timer);

/* Arms, or moves an armed timer. Deadlines of any distance; the past fires on the next run. */
void wheel_arm(struct wheel *wheel, struct timer *timer, uint64_t deadline_ns);
void wheel_cancel(struct wheel *wheel, struct timer *timer);

/* A time not after the next deadline, at which wheel_run() should be called; UINT64_MAX when none
 * is armed. May be early (by one level's turn), never late. */
uint64_t wheel_next_ns(const struct wheel *wheel);

/* Fires what is due; a callback may arm and cancel any timer, itself too. Returns how many. */
uint32_t wheel_run(struct wheel *wheel, uint64_t now_ns);
