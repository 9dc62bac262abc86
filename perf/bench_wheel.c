/* SPDX-License-Identifier: Apache-2.0 */
/* The timer wheel of a shard with as many timers armed as the argument says, deadlines spread over
 * 10 s like the schedule of a fleet. `rearm`: an armed timer is moved (a collection ended, the next
 * is due). `arm_cancel`: armed and called off (a deadline that was met). `run`: armed, waited for
 * and fired. Floors: a link put into and taken out of a doubly linked list; the same and one call
 * through a pointer, for as many timers in any order. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "loop/wheel.h"
#include "perf/shim/bench.h"

enum { STEPS = 1000, SPREAD_S = 10, START_NS = 1000000000 };

static uint64_t fired;

static void fire(struct timer *timer, uint64_t now_ns)
{
    (void)timer, (void)now_ns;
    fired++;
}

struct fleet {
    struct wheel *wheel;
    struct timer *timers;
    uint32_t count;
    uint64_t now_ns;
    struct random random;
};

static uint64_t some_deadline(struct fleet *fleet)
{
    return fleet->now_ns + 1 + random_below(&fleet->random, SPREAD_S * NS_PER_S);
}

static struct fleet fleet_create(const struct bench *bench)
{
    struct fleet fleet = {.count = (uint32_t)bench_argument(bench), .now_ns = START_NS};
    fleet.random.state = 7;
    fleet.wheel = wheel_create(fleet.now_ns);
    fleet.timers = xcalloc(fleet.count, sizeof *fleet.timers);
    for (uint32_t i = 0; i < fleet.count; i++) {
        timer_init(&fleet.timers[i], fire);
        wheel_arm(fleet.wheel, &fleet.timers[i], some_deadline(&fleet));
    }
    return fleet;
}

static void fleet_destroy(struct fleet *fleet)
{
    wheel_destroy(&fleet->wheel);
    free(fleet->timers);
}

static void rearm(struct bench *bench)
{
    struct fleet fleet = fleet_create(bench);
    uint32_t next = 0;
    while (bench_next(bench))
        for (int i = 0; i < STEPS; i++) {
            wheel_arm(fleet.wheel, &fleet.timers[next], some_deadline(&fleet));
            next = next + 1 < fleet.count ? next + 1 : 0;
        }
    bench_items(bench, STEPS);
    fleet_destroy(&fleet);
}

static void arm_cancel(struct bench *bench)
{
    struct fleet fleet = fleet_create(bench);
    struct timer timer = {0};
    timer_init(&timer, fire);
    while (bench_next(bench))
        for (int i = 0; i < STEPS; i++) {
            wheel_arm(fleet.wheel, &timer, some_deadline(&fleet));
            wheel_cancel(fleet.wheel, &timer);
        }
    bench_items(bench, STEPS);
    fleet_destroy(&fleet);
}

struct own_timer {
    struct timer timer; /* first: its place is the whole's */
    struct wheel *wheel;
};

/* What fired is armed again 10 s later, so that the fleet stays. */
static void rearm_fired(struct timer *timer, uint64_t now_ns)
{
    const struct own_timer *own = (const struct own_timer *)(const void *)timer;
    (void)now_ns;
    wheel_arm(own->wheel, timer, timer->deadline_ns + SPREAD_S * NS_PER_S);
    fired++;
}

/* Time moves on by 1 ms a turn. */
static void run(struct bench *bench)
{
    uint32_t count = (uint32_t)bench_argument(bench);
    struct fleet fleet = {.now_ns = START_NS, .random.state = 7};
    struct own_timer *timers = xcalloc(count, sizeof *timers);
    fleet.wheel = wheel_create(fleet.now_ns);
    for (uint32_t i = 0; i < count; i++) {
        timers[i].wheel = fleet.wheel;
        timer_init(&timers[i].timer, rearm_fired);
        wheel_arm(fleet.wheel, &timers[i].timer, some_deadline(&fleet));
    }
    fired = 0;
    while (bench_next(bench)) {
        uint64_t end_ns = fleet.now_ns + SPREAD_S * NS_PER_S; /* each timer fires once */
        while (fleet.now_ns < end_ns) {
            fleet.now_ns += NS_PER_MS;
            wheel_run(fleet.wheel, fleet.now_ns);
        }
    }
    if (fired == 0)
        bench_fail(bench, "no timer fired");
    bench_items(bench, count);
    wheel_destroy(&fleet.wheel);
    free(timers);
}

static void link_floor(struct bench *bench)
{
    struct timer *head = NULL, timer = {0};
    struct fleet fleet = {.now_ns = START_NS, .random.state = 7};
    while (bench_next(bench))
        for (int i = 0; i < STEPS; i++) {
            timer.deadline_ns = some_deadline(&fleet);
            timer.next = head;
            timer.previous = &head;
            head = &timer;
            bench_keep(&head);
            *timer.previous = timer.next;
            timer.previous = NULL;
            bench_keep(&timer);
        }
    bench_items(bench, STEPS);
}

static void call_floor(struct bench *bench)
{
    struct fleet fleet = fleet_create(bench);
    uint32_t *order = xmalloc(fleet.count * sizeof *order);
    struct timer *head = NULL;
    for (uint32_t i = 0; i < fleet.count; i++)
        order[i] = (uint32_t)random_below(&fleet.random, fleet.count);
    wheel_destroy(&fleet.wheel);
    while (bench_next(bench))
        for (uint32_t i = 0; i < fleet.count; i++) {
            struct timer *timer = &fleet.timers[order[i]];
            timer->next = head;
            timer->previous = &head;
            head = timer;
            bench_keep(&head);
            *timer->previous = timer->next;
            timer->fn(timer, 0);
        }
    bench_items(bench, fleet.count);
    free(order);
    free(fleet.timers);
}

static const struct bench_case cases[] = {
    {"link_floor", link_floor, .unit = "timer"},
    {"rearm", rearm, .argument = 100, .unit = "timer", .floor = "link_floor"},
    {"rearm", rearm, .argument = 100000, .unit = "timer", .floor = "link_floor"},
    {"arm_cancel", arm_cancel, .argument = 10000, .unit = "timer", .floor = "link_floor"},
    {"call_floor", call_floor, .argument = 10000, .unit = "timer", .exact = 2},
    {"run", run, .argument = 10000, .unit = "timer", .floor = "call_floor/10000", .exact = 2},
    {"call_floor", call_floor, .argument = 100000, .unit = "timer", .exact = -1},
    {"run", run, .argument = 100000, .unit = "timer", .floor = "call_floor/100000", .exact = -1},
};

int main(int argc, char **argv)
{
    bench_add_cases(cases, sizeof cases / sizeof *cases);
    bench_headline("timer_rearm", "rearm/100000");
    return bench_main(argc, argv);
}
