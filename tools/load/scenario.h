/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/component.h>

#include <stdio.h>

#include "base/arena.h"

/* What is to be run: a kind, sizes, and for each kind its own keys. One table gives every key its
 * form in a scenario file (YAML), its flag (--KEY, --GROUP-KEY), its default and its help, so that
 * whatever can be said on the command line can be said in a file. Immutable once loaded. */
enum scenario_kind {
    SCENARIO_STEADY, /* one load, held */
    SCENARIO_RAMP,   /* more and more, until the stated condition breaks: a table and the knee */
    SCENARIO_BURST,  /* all at once: every server due in the same 100 ms, or after a stall */
    SCENARIO_CHURN,  /* servers go away and come back, in waves */
    SCENARIO_OUTAGE, /* the back end, or a share of the servers, fails for a time */
    SCENARIO_SOAK,   /* long, with slopes of memory, descriptors and lag */
    SCENARIO_KNEE,   /* bisection for the largest load that keeps the stated condition */
    SCENARIO_KIND_COUNT,
};

enum scenario_compression { COMPRESSION_NONE, COMPRESSION_GZIP, COMPRESSION_ZSTD };
enum scenario_auth { AUTH_TRUST, AUTH_PASSWORD, AUTH_SCRAM };
enum burst_how { BURST_AT_ONCE, BURST_STALL, BURST_INTERVAL };
enum outage_of { OUTAGE_BACKEND, OUTAGE_SERVERS };
enum outage_how { OUTAGE_503, OUTAGE_429, OUTAGE_RESET, OUTAGE_HANG, OUTAGE_STOP };
enum ramp_over { RAMP_SERVERS, RAMP_INTERVAL };

/* A stretch of a run. Its documents are sent when it begins. */
struct scenario_phase {
    const char *name;
    uint64_t for_ns;
    const char *sim;  /* rules for the simulator's admin socket (YAML); NULL: leave as it is */
    const char *sink; /* a script for the sink (YAML); NULL: leave as it is */
    bool stop_sim, stop_sink; /* frozen (SIGSTOP) for the length of the phase */
};

/* Something the collector must know, else the scenario cannot run with it. */
struct scenario_need {
    const char *what; /* "disk spool" */
    const char *key;  /* a word of `pgweir components` or `pgweir reference` */
};

struct scenario {
    const char *name;
    int kind;
    int64_t servers;
    uint64_t interval_ns;
    uint64_t for_ns;
    uint64_t warmup_ns; /* 0: until every server was collected once */
    struct text_list groups;
    int64_t databases, tables, statements; /* 0: as recorded */
    bool tls;                              /* to the servers */
    bool backend_tls;
    int compression;
    int64_t shards, connections;
    int loop;
    int auth;
    struct text_list recordings;
    int64_t seed;
    int64_t sim_threads;
    int64_t ledger_sample;
    const char *out;
    const char *collector, *collector_config, *collector_admin;
    const char *backend;
    const char *server, *username; /* a real server, collected `servers` times over */
    int64_t rss_baseline_kib;      /* -1: measured */
    bool syscalls;
    const char *slo;
    struct text_list sim_options, sink_options;
    struct group_list phases; /* struct scenario_phase; empty: the kind's own */
    struct group_list needs;  /* struct scenario_need */
    struct {
        int how;
        uint64_t stall_ns, every_ns;
    } burst;
    struct {
        double share;
        uint64_t every_ns, down_ns;
    } churn;
    struct {
        int of, how;
        double share;
        uint64_t after_ns, length_ns;
    } outage;
    struct {
        int over;
        double from, to, factor;
        uint64_t step_ns;
    } ramp;
    struct {
        double from, to;
        double within; /* the answer's relative width */
        uint64_t step_ns;
    } knee;
};

extern const struct option_table scenario_table;
extern const char *const scenario_kinds[];
extern const char *const scenario_compressions[];

/* A flag of the command line: "servers", "1000"; "outage-how", "reset". */
struct scenario_flag {
    const char *name, *value;
};

/* Defaults, then the file (NULL: none), then the flags. `kind` -1: the file's. All texts are the
 * arena's. Errors of the file begin with its place, those of a flag with the flag. */
bool scenario_load(struct arena *arena, int kind, const char *path,
                   const struct scenario_flag *flags, size_t flag_count,
                   struct scenario *ret_scenario, struct error *error);

/* The option a flag means, and in which group of options it stands (NULL: in none). */
const struct option *scenario_find_flag(const char *name, const struct option **ret_group);

/* Every flag with its default and meaning. */
void scenario_print_flags(FILE *out);
