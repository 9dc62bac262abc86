/* SPDX-License-Identifier: Apache-2.0 */
/* The table of a scenario's keys: form, default, bounds and help of each, for files and flags
 * alike. Constant data. */
#include "tools/load/scenario.h"

#include <stddef.h>

#include <pgweir/limits.h>

#include "base/clock.h"

const char *const scenario_kinds[] = {"steady", "ramp", "burst", "churn",
                                      "outage", "soak", "knee",  NULL};
const char *const scenario_compressions[] = {"none", "gzip", "zstd", NULL};

static const char *const loops[] = {"auto", "io_uring", "epoll", NULL};
static const char *const auths[] = {"trust", "password", "scram", NULL};
static const char *const bursts[] = {"at_once", "stall", "interval", NULL};
static const char *const outages[] = {"backend", "servers", NULL};
static const char *const hows[] = {"503", "429", "reset", "hang", "stop", NULL};
static const char *const overs[] = {"servers", "interval", NULL};

#define HOUR_NS  (3600 * (int64_t)NS_PER_S)
#define MILLI_NS ((int64_t)NS_PER_MS)

/* ---- the table ---- */

#define AT(field) offsetof(struct scenario, field)

static const struct option phase_options[] = {
    {"name", OPTION_TEXT, offsetof(struct scenario_phase, name), .required = true,
     .help = "Name in the timeline."},
    {"for", OPTION_DURATION, offsetof(struct scenario_phase, for_ns), .required = true,
     .min = 100 * MILLI_NS, .max = 720 * HOUR_NS, .help = "How long."},
    {"sim", OPTION_TEXT, offsetof(struct scenario_phase, sim),
     .help = "YAML for the simulator's admin socket, sent when the phase begins."},
    {"sink", OPTION_TEXT, offsetof(struct scenario_phase, sink),
     .help = "YAML script for the sink, sent when the phase begins."},
    {"stop_sim", OPTION_BOOL, offsetof(struct scenario_phase, stop_sim),
     .help = "All servers stand still during the phase."},
    {"stop_sink", OPTION_BOOL, offsetof(struct scenario_phase, stop_sink),
     .help = "The back end stands still during the phase."},
    {0},
};
static const struct option_table phase_table = {sizeof(struct scenario_phase), phase_options};

static const struct option need_options[] = {
    {"what", OPTION_TEXT, offsetof(struct scenario_need, what), .required = true,
     .help = "What the collector must have."},
    {"key", OPTION_TEXT, offsetof(struct scenario_need, key), .required = true,
     .help = "A word of `pgweir components` or a `key` of `pgweir reference`."},
    {0},
};
static const struct option_table need_table = {sizeof(struct scenario_need), need_options};

#define IN(group, field) (AT(group.field) - AT(group))

static const struct option burst_options[] = {
    {"how", OPTION_ENUM, IN(burst, how), "at_once", .choices = bursts,
     .help = "at_once: all servers due within 100 ms of each other; stall: all stand still, then "
             "answer; interval: collected more often for a time."},
    {"stall", OPTION_DURATION, IN(burst, stall_ns), "5s", .min = 100 * MILLI_NS, .max = HOUR_NS,
     .help = "Length of a stall."},
    {"every", OPTION_DURATION, IN(burst, every_ns), "20s", .min = MILLI_NS * 1000, .max = HOUR_NS,
     .help = "From one stall to the next."},
    {0},
};
static const struct option_table burst_table = {sizeof(((struct scenario *)0)->burst),
                                                burst_options};

static const struct option churn_options[] = {
    {"share", OPTION_DOUBLE, IN(churn, share), "0.2", .min = 0, .max = 1,
     .help = "Share of the servers that go away in each wave."},
    {"every", OPTION_DURATION, IN(churn, every_ns), "20s", .min = MILLI_NS * 1000, .max = HOUR_NS,
     .help = "From one wave to the next."},
    {"down", OPTION_DURATION, IN(churn, down_ns), "5s", .min = 100 * MILLI_NS, .max = HOUR_NS,
     .help = "How long they are away; then all of them come back at once."},
    {0},
};
static const struct option_table churn_table = {sizeof(((struct scenario *)0)->churn),
                                                churn_options};

static const struct option outage_options[] = {
    {"of", OPTION_ENUM, IN(outage, of), "backend", .choices = outages, .help = "What fails."},
    {"how", OPTION_ENUM, IN(outage, how), "503", .choices = hows,
     .help = "503, 429: the back end's answer; reset: connections are reset; hang: no answer; "
             "stop: the whole program stands still."},
    {"share", OPTION_DOUBLE, IN(outage, share), "0.2", .min = 0, .max = 1,
     .help = "Share of the servers, where servers fail."},
    {"after", OPTION_DURATION, IN(outage, after_ns), "20s", .min = 0, .max = 720 * HOUR_NS,
     .help = "When it begins."},
    {"length", OPTION_DURATION, IN(outage, length_ns), "20s", .min = 100 * MILLI_NS,
     .max = 720 * HOUR_NS, .help = "How long it lasts."},
    {0},
};
static const struct option_table outage_table = {sizeof(((struct scenario *)0)->outage),
                                                 outage_options};

static const struct option ramp_options[] = {
    {"over", OPTION_ENUM, IN(ramp, over), "servers", .choices = overs,
     .help = "What grows: servers, or the rate (the interval shrinks)."},
    {"from", OPTION_DOUBLE, IN(ramp, from), "100", .min = 0, .max = LIMIT_TARGETS,
     .help = "First step: servers, or an interval in seconds."},
    {"to", OPTION_DOUBLE, IN(ramp, to), "20000", .min = 0, .max = LIMIT_TARGETS,
     .help = "Last step at most."},
    {"factor", OPTION_DOUBLE, IN(ramp, factor), "2", .min = 1, .max = 100,
     .help = "From one step to the next."},
    {"step", OPTION_DURATION, IN(ramp, step_ns), "15s", .min = 1000 * MILLI_NS, .max = HOUR_NS,
     .help = "Measured time of a step."},
    {0},
};
static const struct option_table ramp_table = {sizeof(((struct scenario *)0)->ramp), ramp_options};

static const struct option knee_options[] = {
    {"from", OPTION_DOUBLE, IN(knee, from), "100", .min = 1, .max = LIMIT_TARGETS,
     .help = "A number of servers that surely works."},
    {"to", OPTION_DOUBLE, IN(knee, to), "50000", .min = 1, .max = LIMIT_TARGETS,
     .help = "The most that is tried."},
    {"within", OPTION_DOUBLE, IN(knee, within), "0.1", .min = 0, .max = 1,
     .help = "How exact the answer must be: 0.1 is ten per cent."},
    {"step", OPTION_DURATION, IN(knee, step_ns), "15s", .min = 1000 * MILLI_NS, .max = HOUR_NS,
     .help = "Measured time of a step."},
    {0},
};
static const struct option_table knee_table = {sizeof(((struct scenario *)0)->knee), knee_options};

static const struct option options[] = {
    {"name", OPTION_TEXT, AT(name), .help = "Name of the run; its kind where not given."},
    {"kind", OPTION_ENUM, AT(kind), "steady", .choices = scenario_kinds, .help = "Kind of load."},
    {"servers", OPTION_INT, AT(servers), "1000", .min = 1, .max = LIMIT_TARGETS,
     .help = "Simulated servers."},
    {"interval", OPTION_DURATION, AT(interval_ns), "10s", .min = 100 * MILLI_NS,
     .max = 24 * HOUR_NS, .help = "Collection interval of every server."},
    {"for", OPTION_DURATION, AT(for_ns), "60s", .min = 1000 * MILLI_NS, .max = 720 * HOUR_NS,
     .help = "Measured time."},
    {"warmup", OPTION_DURATION, AT(warmup_ns), "0s", .min = 0, .max = 24 * HOUR_NS,
     .help = "Time before measuring; 0: until every server was collected once."},
    {"groups", OPTION_TEXT_LIST, AT(groups), "[core]",
     .help = "Groups of the catalogue that are collected: core, tables, sizes, statements."},
    {"databases", OPTION_INT, AT(databases), "0", .min = 0, .max = LIMIT_DATABASES,
     .help = "Databases of each server; 0: as recorded, one of them collected."},
    {"tables", OPTION_INT, AT(tables), "0", .min = 0, .max = 100000,
     .help = "Tables of each database; 0: as recorded."},
    {"statements", OPTION_INT, AT(statements), "0", .min = 0, .max = 100000,
     .help = "Statements of pg_stat_statements; 0: as recorded."},
    {"tls", OPTION_BOOL, AT(tls), .help = "TLS to the servers."},
    {"backend_tls", OPTION_BOOL, AT(backend_tls), .help = "TLS to the back end."},
    {"compression", OPTION_ENUM, AT(compression), "gzip", .choices = scenario_compressions,
     .help = "Compression of requests."},
    {"shards", OPTION_INT, AT(shards), "0", .min = 0, .max = LIMIT_SHARDS,
     .help = "Collecting threads; 0: one per usable core."},
    {"connections", OPTION_INT, AT(connections), "2", .min = 1, .max = 64,
     .help = "Connections to one server at most."},
    {"loop", OPTION_ENUM, AT(loop), "auto", .choices = loops, .help = "The collector's loop."},
    {"auth", OPTION_ENUM, AT(auth), "trust", .choices = auths, .help = "How servers check us."},
    {"recording", OPTION_TEXT_LIST, AT(recordings),
     .help = "Recordings, each FILE or FILE=WEIGHT; none: the built-in one."},
    {"seed", OPTION_INT, AT(seed), "1", .min = 0, .max = INT64_MAX,
     .help = "Seed of the simulator's numbers."},
    {"sim_threads", OPTION_INT, AT(sim_threads), "1", .min = 1, .max = 64,
     .help = "The simulator's threads."},
    {"ledger_sample", OPTION_INT, AT(ledger_sample), "0", .min = 0, .max = 1000000,
     .help = "The sink proves every K-th server's series; 0: all where memory allows."},
    {"out", OPTION_TEXT, AT(out),
     .help = "Directory of report.html, result.json, summary.txt and logs."},
    {"collector", OPTION_TEXT, AT(collector),
     .help = "A collector of your own: a shell command with {config}, {targets}, {backend}."},
    {"collector_config", OPTION_TEXT, AT(collector_config),
     .help = "Configuration file merged over the one pgweir is given; ${env:PGWEIR_LOAD_DIRECTORY} "
             "in it is the run's directory."},
    {"collector_admin", OPTION_TEXT, AT(collector_admin),
     .help = "host:port of pgweir's admin endpoint, where your own command runs pgweir."},
    {"backend", OPTION_TEXT, AT(backend),
     .help =
         "URL of a back end of your own instead of our sink; loss is then the collector's word."},
    {"server", OPTION_TEXT, AT(server),
     .help = "host:port of a real PostgreSQL in place of the simulator, collected `servers` times "
             "over; password from PGPASSWORD."},
    {"username", OPTION_TEXT, AT(username), "pgweir", .help = "Role to log in as."},
    {"rss_baseline_kib", OPTION_INT, AT(rss_baseline_kib), "-1", .min = -1, .max = INT64_MAX,
     .help = "Memory of the collector with one server; -1: measured first."},
    {"syscalls", OPTION_BOOL, AT(syscalls),
     .help = "Count system calls for 2 s behind the measured time (strace)."},
    {"slo", OPTION_TEXT, AT(slo),
     .help = "Conditions that must hold: \"age p99 < 2 s, lag p99 < 100 ms, loss = 0\"."},
    {"sim_options", OPTION_TEXT_LIST, AT(sim_options), .help = "More options of pgweir-sim."},
    {"sink_options", OPTION_TEXT_LIST, AT(sink_options), .help = "More options of pgweir-sink."},
    {"phases", OPTION_GROUP_LIST, AT(phases), .table = &phase_table,
     .help = "The measured time as a list of phases, instead of the kind's own."},
    {"needs", OPTION_GROUP_LIST, AT(needs), .table = &need_table,
     .help = "What the collector must have for this scenario."},
    {"burst", OPTION_GROUP, AT(burst), .table = &burst_table, .help = "Of kind burst."},
    {"churn", OPTION_GROUP, AT(churn), .table = &churn_table, .help = "Of kind churn."},
    {"outage", OPTION_GROUP, AT(outage), .table = &outage_table, .help = "Of kind outage."},
    {"ramp", OPTION_GROUP, AT(ramp), .table = &ramp_table, .help = "Of kind ramp."},
    {"knee", OPTION_GROUP, AT(knee), .table = &knee_table, .help = "Of kind knee."},
    {0},
};
const struct option_table scenario_table = {sizeof(struct scenario), options};
