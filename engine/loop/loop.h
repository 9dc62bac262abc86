/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* Readiness of many sockets, one wait with a timeout, and wake-ups from other threads; by io_uring
 * where the kernel and the sandbox allow it (proven by a real poll at start), by epoll otherwise.
 * One thread owns a loop; only loop_wake() may be called by others.
 *
 * A *watch* is a socket's place in the loop: at most one one-shot poll is armed per watch. When
 * loop_disarm() has returned, nothing of the kernel's refers to the descriptor any more and the
 * owner (libpq) may close it. Completions that come late for a watch that was closed and opened
 * again are told by their generation, counted and dropped. */
struct loop;

enum loop_kind { LOOP_AUTO, LOOP_IO_URING, LOOP_EPOLL };
/* LOOP_ERROR comes with an error, a hang-up or a bad descriptor, together with all that was asked
 * for, so that the next read or write tells what it is; also where a poll cannot be armed. */
enum { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_ERROR = 4 };

/* Runs on the loop's thread from loop_turn(); may arm, disarm, open and close any watch. The watch
 * is disarmed when it is called. */
typedef void loop_fn(void *owner, uint32_t ready, uint64_t now_ns);

struct loop_stats {
    uint64_t turns, completions, stale, overflows, arms, disarms;
};

/* May be called by another thread than the owner, which is the one that arms and turns first.
 * LOOP_AUTO takes io_uring and falls back to epoll; LOOP_IO_URING fails where it is denied, with
 * the reason. `watches_max` bounds the watches open at once. */
bool loop_create(struct loop **ret_loop, enum loop_kind kind, uint32_t watches_max,
                 struct error *error);
void loop_destroy(struct loop **loop);

/* LOOP_IO_URING or LOOP_EPOLL; and why io_uring was not taken ("" when it was). */
enum loop_kind loop_kind_used(const struct loop *loop);
const char *loop_fallback_reason(const struct loop *loop);

/* A free watch, or UINT32_MAX when all are in use. */
uint32_t loop_open(struct loop *loop, loop_fn *fn, void *owner);

/* Arms one poll for LOOP_READ and/or LOOP_WRITE on `fd`, for which no other watch is armed; an
 * armed watch is re-armed with the new fd and events. Level-triggered: what is ready already fires
 * on the next turn. */
void loop_arm(struct loop *loop, uint32_t watch, int fd, uint32_t events);

/* Returns with nothing armed. No callback will come from this watch until it is armed again. Cheap
 * when nothing is armed. */
void loop_disarm(struct loop *loop, uint32_t watch);

/* Disarms and frees the place. */
void loop_close(struct loop *loop, uint32_t watch);

/* One turn: submit, wait until something is ready, woken, or `deadline_ns` (monotonic; 0: do not
 * wait), collect everything, then run the callbacks. Returns the time after waiting. Returns early
 * when a signal interrupts it, and after an hour. */
uint64_t loop_turn(struct loop *loop, uint64_t deadline_ns);

/* Any thread, async-signal-safe: the next or the current loop_turn() returns. */
void loop_wake(struct loop *loop);

/* The loop's own thread. */
struct loop_stats loop_stats(const struct loop *loop);
