/* SPDX-License-Identifier: Apache-2.0 */
/* Starting and stopping of what a run consists of. The programs are looked for beside our own,
 * where they are in the build tree and where they are installed, and each can be named by an
 * environment variable. Main thread. */
#include "tools/load/rig.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "tools/load/ask.h"
#include "tools/load/files.h"

enum {
    ARGUMENTS_MAX = 128,
    NUMBER_BYTES = 24,
    DESCRIPTORS_SPARE = 4096,
    LEDGER_SERVERS_MAX = 20000, /* above, the sink proves a sample: see default_ledger_sample() */
};

static const uint64_t start_timeout_ns = 60 * NS_PER_S, ask_timeout_ns = 10 * NS_PER_S,
                      settle_ns = 300 * NS_PER_MS, stop_timeout_ns = 90 * NS_PER_S,
                      sample_timeout_ns = NS_PER_S;

/* ---- programs ---- */

static bool try_program(char path[RIG_PATH_BYTES], const char *directory, const char *relative)
{
    char joined[PATH_MAX + 64], resolved[PATH_MAX];
    snprintf(joined, sizeof joined, "%s/%s", directory, relative);
    if (realpath(joined, resolved) == NULL || access(resolved, X_OK) != 0)
        return false;
    snprintf(path, RIG_PATH_BYTES, "%s", resolved);
    return true;
}

static bool find_program(char path[RIG_PATH_BYTES], const char *variable, const char *in_tree,
                         const char *name, struct error *error)
{
    char self[PATH_MAX];
    const char *given = getenv(variable);
    if (given != NULL && *given != 0) {
        if (access(given, X_OK) != 0)
            return error_set(error, "%s=%s: no program that may be run", variable, given);
        snprintf(path, RIG_PATH_BYTES, "%s", given);
        return true;
    }
    ssize_t bytes = readlink("/proc/self/exe", self, sizeof self - 1);
    self[bytes > 0 ? bytes : 0] = 0;
    char *slash = strrchr(self, '/');
    if (slash != NULL)
        *slash = 0;
    if (try_program(path, self, in_tree) || try_program(path, self, name))
        return true;
    return error_set(error, "no program %s: looked for %s/%s and %s/%s; build it or set %s", name,
                     self, in_tree, self, name, variable);
}

static bool find_programs(struct rig *rig, struct error *error)
{
    const struct scenario *scenario = rig->scenario;
    if (scenario->collector == NULL &&
        !find_program(rig->collector_program, "PGWEIR_BIN", "../../engine/pgweir", "pgweir", error))
        return false;
    if (scenario->server == NULL &&
        !find_program(rig->sim_program, "PGWEIR_SIM", "../sim/pgweir-sim", "pgweir-sim", error))
        return false;
    return scenario->backend != NULL || find_program(rig->sink_program, "PGWEIR_SINK",
                                                     "../sink/pgweir-sink", "pgweir-sink", error);
}

/* ---- life ---- */

static bool write_password(struct rig *rig, struct error *error)
{
    uint8_t random[12];
    char text[2 * sizeof random + 1];
    CHECK(getrandom(random, sizeof random, 0) == (ssize_t)sizeof random);
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(text + 2 * i, 3, "%02x", random[i]);
    snprintf(rig->password_file, sizeof rig->password_file, "%s/password", rig->private_directory);
    return files_write(rig->password_file, text, sizeof text - 1, error);
}

/* The sink keeps 32 bytes a series; a hundred thousand servers would be several GiB. */
static uint64_t default_ledger_sample(const struct scenario *scenario)
{
    if (scenario->ledger_sample > 0)
        return (uint64_t)scenario->ledger_sample;
    return ((uint64_t)scenario->servers + LEDGER_SERVERS_MAX - 1) / LEDGER_SERVERS_MAX;
}

bool rig_check(const struct scenario *scenario, struct error *error)
{
    struct rig rig = {.scenario = scenario};
    return find_programs(&rig, error) &&
           (scenario->collector != NULL || collector_has(rig.collector_program, scenario, error));
}

bool rig_create(struct rig *rig, const struct scenario *scenario, const char *directory,
                struct error *error)
{
    memset(rig, 0, sizeof *rig);
    rig->scenario = scenario;
    rig->directory = directory;
    rig->ledger_sample = default_ledger_sample(scenario);
    const char *temporary = getenv("TMPDIR");
    snprintf(rig->private_directory, sizeof rig->private_directory, "%s/pgweir-load.XXXXXX",
             temporary != NULL && strlen(temporary) < 64 ? temporary : "/tmp");
    if (mkdtemp(rig->private_directory) == NULL)
        return error_set(error, "%s: cannot make a temporary directory: %s", rig->private_directory,
                         strerror(errno));
    snprintf(rig->sim_socket, sizeof rig->sim_socket, "%s/sim", rig->private_directory);
    snprintf(rig->sink_ca, sizeof rig->sink_ca, "%s/ca.pem", rig->private_directory);
    if (!find_programs(rig, error) || (scenario->auth != AUTH_TRUST && !write_password(rig, error)))
        return false;
    uint64_t wanted = (uint64_t)(scenario->servers * scenario->connections) + DESCRIPTORS_SPARE;
    uint64_t allowed = proc_raise_descriptors(wanted);
    uint64_t least = (uint64_t)scenario->servers + DESCRIPTORS_SPARE / 4;
    return allowed >= least ||
           error_set(error,
                     "%llu descriptors are allowed, %lld servers need %llu at least: raise "
                     "`ulimit -n` or run as root",
                     (unsigned long long)allowed, (long long)scenario->servers,
                     (unsigned long long)least);
}

void rig_destroy(struct rig *rig)
{
    process_kill(&rig->collector);
    process_kill(&rig->sim);
    process_kill(&rig->sink);
    if (rig->private_directory[0] == 0)
        return;
    unlink(rig->sim_socket);
    unlink(rig->sink_ca);
    if (rig->password_file[0] != 0)
        unlink(rig->password_file);
    rmdir(rig->private_directory);
}

/* ---- the back end and the fleet ---- */

/* Options are collected here; numbers get their text from `numbers`. */
struct arguments {
    const char *items[ARGUMENTS_MAX];
    size_t count;
    char numbers[16][NUMBER_BYTES];
    size_t number_count;
};

static void put(struct arguments *arguments, const char *text)
{
    CHECK(arguments->count < ARGUMENTS_MAX - 1);
    arguments->items[arguments->count++] = text;
}

static void put_option(struct arguments *arguments, const char *name, const char *value)
{
    put(arguments, name);
    put(arguments, value);
}

static void put_number(struct arguments *arguments, const char *name, uint64_t value)
{
    CHECK(arguments->number_count < sizeof arguments->numbers / sizeof arguments->numbers[0]);
    char *text = arguments->numbers[arguments->number_count++];
    snprintf(text, NUMBER_BYTES, "%llu", (unsigned long long)value);
    put_option(arguments, name, text);
}

static bool put_list(struct arguments *arguments, const struct text_list *list, const char *what,
                     struct error *error)
{
    if (arguments->count + list->count >= ARGUMENTS_MAX)
        return error_set(error, "more than %d %s", ARGUMENTS_MAX / 2, what);
    for (size_t i = 0; i < list->count; i++)
        put(arguments, list->items[i]);
    return true;
}

/* The number behind "listening on port ", said once it is ready. */
static bool wait_port(struct process *process, const char *prefix, uint16_t *ret_port,
                      struct error *error)
{
    char rest[64];
    if (!process_wait_line(process, prefix, start_timeout_ns, rest, sizeof rest, error))
        return false;
    *ret_port = (uint16_t)strtoul(rest, NULL, 10);
    return *ret_port != 0 || error_set(error, "%s listens on port \"%s\"?", process->name, rest);
}

static bool start_sink(struct rig *rig, struct error *error)
{
    const struct scenario *scenario = rig->scenario;
    if (scenario->backend != NULL) {
        snprintf(rig->backend_url, sizeof rig->backend_url, "%s", scenario->backend);
        return true;
    }
    struct arguments arguments = {.count = 0};
    put(&arguments, rig->sink_program);
    put_option(&arguments, "--listen", "127.0.0.1:0");
    put_option(&arguments, "--admin", "127.0.0.1:0");
    if (scenario->server == NULL) {
        put(&arguments, "--ledger");
        if (rig->ledger_sample > 1)
            put_number(&arguments, "--ledger-sample", rig->ledger_sample);
    }
    if (scenario->backend_tls) {
        put(&arguments, "--tls");
        put_option(&arguments, "--tls-ca-out", rig->sink_ca);
    }
    uint16_t port = 0, admin_port = 0;
    if (!put_list(&arguments, &scenario->sink_options, "sink_options", error) ||
        !process_start(&rig->sink, "pgweir-sink", rig->directory, arguments.items, error) ||
        !wait_port(&rig->sink, "listening on port ", &port, error) ||
        !wait_port(&rig->sink, "admin on port ", &admin_port, error))
        return false;
    snprintf(rig->sink_place, sizeof rig->sink_place, "127.0.0.1:%u", admin_port);
    snprintf(rig->backend_url, sizeof rig->backend_url, "%s://127.0.0.1:%u",
             scenario->backend_tls ? "https" : "http", port);
    return true;
}

static bool start_sim(struct rig *rig, struct error *error)
{
    static const char *const auths[] = {"trust", "password", "scram"};
    const struct scenario *scenario = rig->scenario;
    if (scenario->server != NULL)
        return true;
    struct arguments arguments = {.count = 0};
    put(&arguments, rig->sim_program);
    put(&arguments, "serve");
    put_option(&arguments, "--listen", "127.0.0.1:0");
    put_option(&arguments, "--by", "address");
    put_option(&arguments, "--admin", rig->sim_socket);
    put_number(&arguments, "--servers", (uint64_t)scenario->servers);
    put_number(&arguments, "--threads", (uint64_t)scenario->sim_threads);
    put_number(&arguments, "--seed", (uint64_t)scenario->seed);
    if (scenario->databases > 0)
        put_number(&arguments, "--databases", (uint64_t)scenario->databases);
    if (scenario->tables > 0)
        put_number(&arguments, "--tables", (uint64_t)scenario->tables);
    if (scenario->statements > 0)
        put_number(&arguments, "--statements", (uint64_t)scenario->statements);
    if (scenario->tls)
        put(&arguments, "--tls");
    if (scenario->auth != AUTH_TRUST) {
        put_option(&arguments, "--auth", auths[scenario->auth]);
        put_option(&arguments, "--password-file", rig->password_file);
    }
    return put_list(&arguments, &scenario->sim_options, "sim_options", error) &&
           put_list(&arguments, &scenario->recordings, "recordings", error) &&
           process_start(&rig->sim, "pgweir-sim", rig->directory, arguments.items, error) &&
           wait_port(&rig->sim, "listening on port ", &rig->sim_port, error);
}

bool rig_start(struct rig *rig, struct error *error)
{
    return start_sink(rig, error) && start_sim(rig, error);
}

/* ---- the collector ---- */

static bool wait_live(struct rig *rig, struct error *error)
{
    const struct timespec nap = {.tv_nsec = 20 * NS_PER_MS};
    uint64_t deadline_ns = clock_monotonic_ns() + start_timeout_ns;
    const struct ask ask = {
        .place = rig->admin, .method = "GET", .path = "/livez", .timeout_ns = NS_PER_S};
    while (clock_monotonic_ns() < deadline_ns) {
        char *text = NULL;
        bool live = ask_http(&ask, &text, error);
        free(text);
        if (live)
            return true;
        if (!process_running(&rig->collector))
            break;
        nanosleep(&nap, NULL);
    }
    process_explain(&rig->collector, error);
    return false;
}

static bool start_own(struct rig *rig, const char *config, const char *targets, struct error *error)
{
    char *command =
        collector_command(rig->scenario->collector, config, targets, rig->backend_url, error);
    if (command == NULL)
        return false;
    const char *const argv[] = {"/bin/sh", "-c", command, NULL};
    bool started = process_start(&rig->collector, "collector", rig->directory, argv, error);
    free(command);
    if (!started || rig->scenario->collector_admin == NULL)
        return started;
    snprintf(rig->admin, sizeof rig->admin, "%s", rig->scenario->collector_admin);
    return wait_live(rig, error);
}

bool rig_start_collector(struct rig *rig, uint64_t servers, struct error *error)
{
    const struct scenario *scenario = rig->scenario;
    char config[RIG_PATH_BYTES + 32], targets[RIG_PATH_BYTES + 32];
    snprintf(config, sizeof config, "%s/collector.yaml", rig->directory);
    snprintf(targets, sizeof targets, "%s/targets.txt", rig->directory);
    snprintf(rig->admin, sizeof rig->admin, "127.0.0.1:%u", ask_free_port());
    const struct collector_plan plan = {
        .scenario = scenario,
        .servers = servers,
        .server = scenario->server,
        .server_port = rig->sim_port,
        .password_file = rig->password_file[0] != 0 ? rig->password_file : NULL,
        .admin = rig->admin,
        .backend_url = rig->backend_url,
        .tuner_off =
            scenario->collector == NULL && collector_knows(rig->collector_program, "tuner.mode"),
        .backend_ca = scenario->backend_tls && scenario->backend == NULL ? rig->sink_ca : NULL,
    };
    if (!collector_write_config(&plan, config, error))
        return false;
    if (scenario->collector != NULL) {
        rig->admin[0] = 0;
        return collector_write_targets(&plan, targets, error) &&
               start_own(rig, config, targets, error);
    }
    const char *argv[] = {rig->collector_program, "run", "--config", config, NULL, NULL, NULL};
    if (scenario->collector_config != NULL) {
        argv[4] = "--config";
        argv[5] = scenario->collector_config;
        setenv("PGWEIR_LOAD_DIRECTORY", rig->directory, 1);
    }
    return process_start(&rig->collector, "pgweir", rig->directory, argv, error) &&
           wait_live(rig, error);
}

static void hold(struct process *process, bool stop)
{
    if (process->pid != 0 && stop != process->stopped)
        process_signal(process, stop ? SIGSTOP : SIGCONT);
}

/* {"ok": …} or {"error": …}; whatever has an error key is one. */
static bool send_rules(struct rig *rig, const char *rules, struct error *error)
{
    char *text = NULL;
    if (rig->sim.pid == 0)
        return error_set(error, "there is no simulator to send rules to");
    if (!ask_socket(rig->sim_socket, rules, ask_timeout_ns, &text, error))
        return false;
    json_t *answer = json_loads(text, 0, NULL);
    const char *problem = json_string_value(json_object_get(answer, "error"));
    if (problem != NULL)
        error_set(error, "pgweir-sim: %s", problem);
    json_decref(answer);
    free(text);
    return problem == NULL;
}

/* From here on no statement of the fleet ends: what was answered arrives, and nothing follows. */
static void quieten(struct rig *rig)
{
    const struct timespec settle = {.tv_nsec = (long)settle_ns};
    struct error ignored;
    hold(&rig->sink, false);
    hold(&rig->sim, false);
    if (rig->sim.pid != 0)
        send_rules(rig, "[{name: the end of the run, hang: true}]\n", &ignored);
    nanosleep(&settle, NULL);
}

bool rig_stop_collector(struct rig *rig, bool fleet_too, struct error *error)
{
    if (fleet_too)
        quieten(rig);
    return process_stop(&rig->collector, stop_timeout_ns, error);
}

struct sample_sources rig_sources(const struct rig *rig)
{
    bool sink = rig->sink.pid != 0 && !rig->sink.stopped;
    bool sim = rig->sim.pid != 0 && !rig->sim.stopped;
    return (struct sample_sources){
        .collector = rig->collector.ended ? 0 : rig->collector.pid,
        .collector_group = rig->scenario->collector != NULL,
        .sim = rig->sim.pid,
        .sink = rig->sink.pid,
        .admin = rig->admin[0] != 0 && !rig->collector.ended ? rig->admin : NULL,
        .sink_place = sink ? rig->sink_place : NULL,
        .sim_socket = sim ? rig->sim_socket : NULL,
        .timeout_ns = sample_timeout_ns,
    };
}

/* ---- phases ---- */

static bool send_script(struct rig *rig, const char *script, struct error *error)
{
    char *text = NULL;
    if (rig->sink.pid == 0)
        return error_set(error, "there is no sink of ours to send a script to");
    const struct ask ask = {.place = rig->sink_place,
                            .method = "POST",
                            .path = "/script",
                            .body = script,
                            .content_type = "application/yaml",
                            .timeout_ns = ask_timeout_ns};
    bool sent = ask_http(&ask, &text, error);
    free(text);
    return sent;
}

bool rig_begin_phase(struct rig *rig, const struct scenario_phase *phase, struct error *error)
{
    /* Programs must run to take an order. */
    if (phase->sim != NULL || !phase->stop_sim)
        hold(&rig->sim, false);
    if (phase->sink != NULL || !phase->stop_sink)
        hold(&rig->sink, false);
    if ((phase->sim != NULL && !send_rules(rig, phase->sim, error)) ||
        (phase->sink != NULL && !send_script(rig, phase->sink, error)))
        return error_prefix(error, "phase %s: ", phase->name);
    hold(&rig->sim, phase->stop_sim);
    hold(&rig->sink, phase->stop_sink);
    return true;
}

/* ---- the end ---- */

/* The simulator settles what was cut off when it sees the end of each connection. */
static void wait_closed(const struct rig *rig)
{
    const struct timespec nap = {.tv_nsec = 50 * NS_PER_MS};
    uint64_t deadline_ns = clock_monotonic_ns() + ask_timeout_ns;
    while (clock_monotonic_ns() < deadline_ns) {
        struct error ignored;
        struct sim_sample sample = {0};
        char *text = NULL;
        bool known = ask_socket(rig->sim_socket, "report\n", ask_timeout_ns, &text, &ignored) &&
                     sample_read_sim(text, &sample);
        free(text);
        if (known && sample.connections == 0)
            return;
        nanosleep(&nap, NULL);
    }
}

/* The JSON object at the end of a program's output, to be freed. */
static char *last_report(const struct process *process, struct error *error)
{
    size_t bytes = 0;
    char *text = files_read(process->output, 64 << 20, &bytes, error);
    if (text == NULL)
        return NULL;
    char *brace = *text == '{' ? text : strstr(text, "\n{");
    if (brace == NULL) {
        error_set(error, "%s: no report in %s", process->name, process->output);
        free(text);
        return NULL;
    }
    memmove(text, brace, strlen(brace) + 1);
    return text;
}

bool rig_finish(struct rig *rig, struct sample *ret_final, struct error *error)
{
    memset(ret_final, 0, sizeof *ret_final);
    if (rig->sim.pid != 0) {
        process_signal(&rig->sim, SIGCONT);
        wait_closed(rig);
        if (!process_stop(&rig->sim, stop_timeout_ns, error))
            return false;
        char *text = last_report(&rig->sim, error);
        bool read = text != NULL && sample_read_sim(text, &ret_final->sim);
        if (text != NULL && !read)
            error_set(error, "pgweir-sim: the report in %s is not what it should be",
                      rig->sim.output);
        free(text);
        if (!read)
            return false;
    }
    if (rig->sink.pid != 0) {
        if (!process_stop(&rig->sink, stop_timeout_ns, error))
            return false;
        char *text = last_report(&rig->sink, error);
        bool read = text != NULL && sample_read_sink(text, ret_final);
        if (text != NULL && !read)
            error_set(error, "pgweir-sink: the report in %s is not what it should be",
                      rig->sink.output);
        free(text);
        return read;
    }
    return true;
}
