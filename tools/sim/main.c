/* SPDX-License-Identifier: Apache-2.0 */
/* pgweir-sim: a fleet of PostgreSQL servers in one process, for tests and measurements. Three
 * commands: `record` asks a real server, `serve` answers as it did, `tell` changes how, while it
 * runs. The main thread only starts the others, waits for a signal, and reports. */
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tools/sim/options.h"
#include "tools/sim/tell.h"

enum { EXIT_USAGE = 2, SCRIPT_BYTES_MAX = 1 << 20 };

static const char usage[] =
    "Usage: pgweir-sim record DSN FILE [--also DSN] [--catalog FILE]... [--sql FILE]\n"
    "       pgweir-sim serve [options] [FILE[=WEIGHT]...]\n"
    "       pgweir-sim tell PATH report|-|'rules'\n"
    "\n"
    "A fleet of PostgreSQL servers in one process: what a real server answered (a recording), "
    "played\n"
    "to any number of clients as any number of servers, with counters that move so that every lost "
    "or\n"
    "doubled point can be proven. docs/sim.md tells all.\n"
    "\n"
    "  pgweir-sim serve --servers 1000 --listen 127.0.0.1:5433 &\n"
    "  psql 'host=127.1.0.1 port=5433 user=x dbname=postgres' -c 'select version()'\n";

static const char serve_usage[] =
    "Usage: pgweir-sim serve [options] [FILE[=WEIGHT]...]\n"
    "\n"
    "Plays recordings (no FILE: the built-in one, of PostgreSQL 17; a name such as pg15: one that\n"
    "comes with the program). With several, servers are of each in proportion to the weights.\n"
    "\n"
    "  --listen HOST:PORT    where (127.0.0.1:5433); port 0: a free one\n"
    "  --servers N           how many (1)\n"
    "  --by WAY              how they are told apart (address):\n"
    "                          address   server i answers at 127.1.0.1 + i, all on one port\n"
    "                          port      server i answers at port PORT + i\n"
    "                          database  database app_7 is database app of server 7\n"
    "  --databases N, --tables N, --statements N\n"
    "                        how many each server has (as recorded)\n"
    "  --auth METHOD         trust, password or scram (trust); any user, one password\n"
    "  --password-file FILE  its first line is the password\n"
    "  --tls                 offers TLS, with a self-signed certificate or with\n"
    "  --tls-cert FILE --tls-key FILE\n"
    "  --tls-ca-out FILE     where the self-signed certificate goes\n"
    "  --script FILE         behaviour on order: rules in YAML\n"
    "  --admin PATH          Unix socket for `pgweir-sim tell`\n"
    "  --threads N           (1)\n"
    "  --loop KIND           auto, io_uring or epoll (auto)\n"
    "  --seed N              of everything random, values too (1)\n"
    "  --report FILE         the report goes there, too\n"
    "\n"
    "Prints \"listening on port N\" when ready, and a JSON report at SIGTERM or SIGINT.\n"
    "\n"
    "  pgweir-sim serve --servers 100 pg15=1 pg17=3 --script outage.yaml\n"
    "  pgweir once 'postgresql://x@127.1.0.5:5433/postgres?sslmode=disable'\n";

static const char record_usage[] =
    "Usage: pgweir-sim record DSN FILE [--also DSN] [--catalog FILE]... [--sql FILE]\n"
    "\n"
    "Asks the server the whole catalogue (any role that may read statistics will do), and writes "
    "what\n"
    "it answered to FILE.\n"
    "\n"
    "  --also DSN      a server of the other role (standby, or primary) and the same version: what "
    "only\n"
    "                  it can answer is added, so that simulated servers can change their role\n"
    "  --catalog FILE  a file of own queries, as of the collector's option; may be repeated\n"
    "  --sql FILE      further statements to be answered, one per line\n"
    "\n"
    "  pgweir-sim record 'host=db1 user=monitor dbname=app' db1.json\n";

static const char tell_usage[] =
    "Usage: pgweir-sim tell PATH report|-|'rules'\n"
    "\n"
    "Talks to a simulator that was started with --admin PATH and prints its answer: its report so\n"
    "far, or the result of putting rules in force (`-`: read from standard input). A list of "
    "rules\n"
    "replaces those there are, {add: [...]} comes behind them, [] takes them all back.\n"
    "\n"
    "  pgweir-sim tell /tmp/sim.sock '[{servers: 0-9, latency: {lognormal: {p50: 2ms, p99: "
    "80ms}}}]'\n"
    "  pgweir-sim tell /tmp/sim.sock report\n";

static int fail(const struct error *error, int code)
{
    fprintf(stderr, "pgweir-sim: %s\n", error->text);
    return code;
}

static int print_help(const char *text)
{
    fputs(text, stdout);
    return EXIT_SUCCESS;
}

/* -- record -- */

static int record(int argc, char **argv)
{
    struct record_options options;
    struct error error = {0};
    if (!record_options_read(&options, argc, argv, &error))
        return fail(&error, EXIT_USAGE);
    if (options.help)
        return print_help(record_usage);
    const struct recording_source source = {
        .dsn = options.dsn,
        .also = options.also,
        .catalogs = options.catalogs,
        .catalog_count = options.catalog_count,
        .sql_file = options.sql_file,
    };
    if (!recording_make(&source, options.path, &error))
        return fail(&error, EXIT_FAILURE);
    return EXIT_SUCCESS;
}

/* -- serve -- */

static bool write_report(const char *path, const char *report, struct error *error)
{
    FILE *file = fopen(path, "we");
    bool good = file != NULL && fprintf(file, "%s\n", report) > 0;
    if (file != NULL && fclose(file) != 0)
        good = false;
    return good || error_set(error, "cannot write the report to %s: %s", path, strerror(errno));
}

/* Not an error: not all servers need be connected to at once. */
static void warn_of_room(const struct sim *sim)
{
    if (sim->room < sim->settings.servers * 2ull)
        fprintf(stderr,
                "pgweir-sim: the limit of open files leaves room for %u connections to %u servers: "
                "raise it (ulimit -n) for more\n",
                sim->room, sim->settings.servers);
}

static bool run(struct sim *sim, const sigset_t *ends, struct error *error)
{
    uint16_t port;
    int signal_number;
    if (!sim_start(sim, &port, error))
        return false;
    warn_of_room(sim);
    printf("listening on port %u\n", port);
    fflush(stdout);
    sigwait(ends, &signal_number);
    sim_stop(sim);
    char *report = report_make(sim);
    puts(report);
    fflush(stdout);
    const char *path = sim->settings.report_file;
    bool good = path == NULL || write_report(path, report, error);
    free(report);
    return good;
}

static int serve(int argc, char **argv)
{
    struct serve_options options;
    struct error error = {0};
    struct sim sim;
    bool wrong_usage;
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, NULL); /* the threads inherit it */
    signal(SIGPIPE, SIG_IGN);
    bool good = serve_options_read(&options, argc, argv, &wrong_usage, &error);
    if (good && options.help)
        return print_help(serve_usage);
    if (!good) {
        for (uint32_t i = 0; i < options.recordings.count; i++)
            recording_destroy(&options.recordings.recordings[i]);
        return fail(&error, wrong_usage ? EXIT_USAGE : EXIT_FAILURE);
    }
    good =
        sim_open(&sim, &options.settings, &options.recordings, &error) && run(&sim, &ends, &error);
    sim_close(&sim);
    return good ? EXIT_SUCCESS : fail(&error, EXIT_FAILURE);
}

/* -- tell -- */

static int tell_sim(int argc, char **argv)
{
    struct error error = {0};
    char *answer, *input = NULL;
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
        return print_help(tell_usage);
    if (argc != 3) {
        error_set(&error, "tell wants a socket's path and what to say: see --help");
        return fail(&error, EXIT_USAGE);
    }
    const char *text = argv[2];
    if (strcmp(text, "-") == 0) {
        input = xcalloc(1, SCRIPT_BYTES_MAX);
        if (fread(input, 1, SCRIPT_BYTES_MAX - 1, stdin) == SCRIPT_BYTES_MAX - 1) {
            error_set(&error, "standard input: a script has less than %d bytes", SCRIPT_BYTES_MAX);
            free(input);
            return fail(&error, EXIT_FAILURE);
        }
        text = input;
    }
    bool good = tell(argv[1], text, &answer, &error);
    free(input);
    if (!good)
        return fail(&error, EXIT_FAILURE);
    json_t *object = json_loads(answer, 0, NULL);
    bool refused = json_object_get(object, "error") != NULL;
    json_decref(object);
    fputs(answer, refused ? stderr : stdout);
    free(answer);
    return refused ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct error error = {0};
    const char *command = argc > 1 ? argv[1] : "";
    if (strcmp(command, "record") == 0)
        return record(argc - 1, argv + 1);
    if (strcmp(command, "serve") == 0)
        return serve(argc - 1, argv + 1);
    if (strcmp(command, "tell") == 0)
        return tell_sim(argc - 1, argv + 1);
    if (strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0)
        return print_help(usage);
    error_set(&error, "%s%srecord, serve or tell is wanted: see --help", command,
              argc > 1 ? ": no such command; " : "");
    return fail(&error, EXIT_USAGE);
}
