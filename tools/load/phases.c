/* SPDX-License-Identifier: Apache-2.0 */
/* From kinds to phases. Everything that happens during a run is a phase with two documents, one for
 * the simulator (docs/sim.md) and one for the sink (docs/sink.md): a scenario file that spells its
 * phases out can do whatever the kinds here can. Pure functions. */
#include "tools/load/phases.h"

#include <stdio.h>

#include "base/check.h"

enum { PHASES_MAX = 4096 };

struct maker {
    struct arena *arena;
    struct scenario_phase *items;
    size_t count;
    uint64_t total_ns;
};

static struct scenario_phase *add(struct maker *maker, const char *name, uint64_t for_ns)
{
    CHECK(maker->count < PHASES_MAX);
    struct scenario_phase *phase = &maker->items[maker->count++];
    *phase = (struct scenario_phase){.name = name, .for_ns = for_ns};
    maker->total_ns += for_ns;
    return phase;
}

static const char no_rules[] = "[]\n", no_script[] = "phases: [{name: fine}]\n";

/* ---- burst ---- */

static bool make_burst(struct maker *maker, const struct scenario *scenario, struct error *error)
{
    if (scenario->burst.how == BURST_INTERVAL)
        return error_set(error, "burst.how: interval needs a collector that takes a new "
                                "configuration while it runs (SIGHUP ends pgweir); use at_once or "
                                "stall, or run two collectors");
    if (scenario->burst.how == BURST_AT_ONCE) {
        add(maker, "burst", scenario->for_ns);
        return true;
    }
    uint64_t calm_ns = scenario->burst.every_ns;
    if (calm_ns <= scenario->burst.stall_ns)
        return error_set(error, "burst.every: must be longer than burst.stall");
    calm_ns -= scenario->burst.stall_ns;
    while (maker->total_ns < scenario->for_ns && maker->count + 2 < PHASES_MAX) {
        add(maker, "stall", scenario->burst.stall_ns)->stop_sim = true;
        add(maker, "catching up", calm_ns);
    }
    return true;
}

/* ---- churn ---- */

/* Each wave takes others away: the share is of those that the numbers pick, and the range moves. */
static const char *churn_rules(struct arena *arena, const struct scenario *scenario, uint64_t wave)
{
    uint64_t servers = (uint64_t)scenario->servers;
    uint64_t gone = (uint64_t)((double)servers * scenario->churn.share + 0.5);
    if (gone == 0)
        gone = 1;
    uint64_t first = wave * gone % servers, last = first + gone - 1;
    char ranges[96];
    if (last < servers)
        snprintf(ranges, sizeof ranges, "[\"%llu-%llu\"]", (unsigned long long)first,
                 (unsigned long long)last);
    else /* around the end */
        snprintf(ranges, sizeof ranges, "[\"%llu-%llu\", \"0-%llu\"]", (unsigned long long)first,
                 (unsigned long long)servers - 1, (unsigned long long)(last - servers));
    return arena_format(arena,
                        "- {name: gone, servers: %s, close: true}\n"
                        "- {name: away, servers: %s, refuse: shutdown}\n",
                        ranges, ranges);
}

static bool make_churn(struct maker *maker, const struct scenario *scenario, struct error *error)
{
    if (scenario->churn.every_ns <= scenario->churn.down_ns)
        return error_set(error, "churn.every: must be longer than churn.down");
    uint64_t calm_ns = scenario->churn.every_ns - scenario->churn.down_ns;
    for (uint64_t wave = 0; maker->total_ns < scenario->for_ns && maker->count + 2 < PHASES_MAX;
         wave++) {
        add(maker, "away", scenario->churn.down_ns)->sim =
            churn_rules(maker->arena, scenario, wave);
        add(maker, "back", calm_ns)->sim = no_rules;
    }
    return true;
}

/* ---- outage ---- */

static const char *backend_script(const struct scenario *scenario)
{
    switch ((enum outage_how)scenario->outage.how) {
    case OUTAGE_503:
        return "phases: [{name: outage, answer: ['503']}]\n";
    case OUTAGE_429:
        return "phases: [{name: outage, answer: ['429'], retry_after: ['1']}]\n";
    case OUTAGE_RESET:
        return "phases: [{name: outage, connections: reset}]\n";
    case OUTAGE_HANG:
        return "phases: [{name: outage, connections: blackhole}]\n";
    case OUTAGE_STOP:
        return NULL;
    }
    return NULL;
}

static const char *servers_rules(struct arena *arena, const struct scenario *scenario)
{
    double percent = scenario->outage.share * 100;
    switch ((enum outage_how)scenario->outage.how) {
    case OUTAGE_HANG:
        return arena_format(arena, "- {name: outage, share: %g%%, hang: true}\n", percent);
    case OUTAGE_RESET:
        return arena_format(arena, "- {name: outage, share: %g%%, reset_after: 0}\n", percent);
    case OUTAGE_STOP:
        return arena_format(arena,
                            "- {name: outage, share: %g%%, close: true}\n"
                            "- {name: outage of connecting, share: %g%%, refuse: shutdown}\n",
                            percent, percent);
    case OUTAGE_503:
    case OUTAGE_429:
        return NULL;
    }
    return NULL;
}

static bool make_outage(struct maker *maker, const struct scenario *scenario, struct error *error)
{
    bool backend = scenario->outage.of == OUTAGE_BACKEND;
    if (!backend && (scenario->outage.how == OUTAGE_503 || scenario->outage.how == OUTAGE_429))
        return error_set(error, "outage.how: servers cannot answer an HTTP status: use hang, reset "
                                "or stop");
    uint64_t until_ns = scenario->outage.after_ns + scenario->outage.length_ns;
    if (until_ns >= scenario->for_ns)
        return error_set(error, "outage.length: the outage must end within the measured time "
                                "(`for`), so that its end is seen");
    if (scenario->outage.after_ns > 0)
        add(maker, "before", scenario->outage.after_ns);
    struct scenario_phase *outage = add(maker, "outage", scenario->outage.length_ns);
    struct scenario_phase *after = add(maker, "after", scenario->for_ns - until_ns);
    if (!backend) {
        outage->sim = servers_rules(maker->arena, scenario);
        after->sim = no_rules;
    } else if (scenario->outage.how == OUTAGE_STOP) {
        outage->stop_sink = true;
    } else {
        outage->sink = backend_script(scenario);
        after->sink = no_script;
    }
    return true;
}

bool phases_make(struct arena *arena, const struct scenario *scenario, struct phases *ret_phases,
                 struct error *error)
{
    *ret_phases = (struct phases){.items = scenario->phases.items, .count = scenario->phases.count};
    for (size_t i = 0; i < ret_phases->count; i++)
        ret_phases->total_ns += ret_phases->items[i].for_ns;
    if (ret_phases->count > 0)
        return true;
    struct maker maker = {.arena = arena,
                          .items = arena_take(arena, PHASES_MAX * sizeof *maker.items)};
    bool made = true;
    switch ((enum scenario_kind)scenario->kind) {
    case SCENARIO_BURST:
        made = make_burst(&maker, scenario, error);
        break;
    case SCENARIO_CHURN:
        made = make_churn(&maker, scenario, error);
        break;
    case SCENARIO_OUTAGE:
        made = make_outage(&maker, scenario, error);
        break;
    case SCENARIO_STEADY:
    case SCENARIO_SOAK:
    case SCENARIO_RAMP:
    case SCENARIO_KNEE:
    case SCENARIO_KIND_COUNT:
        add(&maker, scenario_kinds[scenario->kind], scenario->for_ns);
        break;
    }
    *ret_phases =
        (struct phases){.items = maker.items, .count = maker.count, .total_ns = maker.total_ns};
    return made;
}
