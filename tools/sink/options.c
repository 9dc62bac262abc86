/* SPDX-License-Identifier: Apache-2.0 */
/* The simple options (--answer, --delay, …) are short for a script of one phase: they are written
 * down as one and read as any other. */
#include "tools/sink/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"

static const char usage[] =
    "Usage: pgweir-sink [options]\n"
    "A back end for tests and measurements. Takes OTLP metrics over HTTP (POST /v1/metrics, "
    "protobuf;\n"
    "plain, gzip, deflate, zstd, snappy) and Prometheus remote write 1.0 (POST /api/v1/write), "
    "checks and\n"
    "counts them, and answers as it is told to. Prints a JSON report at its end and on GET "
    "/report; text\n"
    "for people on GET /.\n"
    "\n"
    "  --listen HOST:PORT   where to listen (127.0.0.1:4318); port 0 takes a free one\n"
    "  --admin HOST:PORT    a second place for /report, / and /script, open whatever the script "
    "does\n"
    "  --loop KIND          auto, io_uring or epoll (auto)\n"
    "  --connections N      at most so many at once (16384, or what the limit of open files\n"
    "                       leaves)\n"
    "\n"
    "What is looked at:\n"
    "  --count-only         counts points without looking into them: fastest\n"
    "  --ledger             decides which points are lost and which came twice, by pgweir-sim's "
    "steps\n"
    "  --ledger-sample K    only of every K-th resource (1)\n"
    "  --log FILE           appends each body that is taken, unpacked, behind its length (4 bytes, "
    "big-endian)\n"
    "  --dump DIR           writes each body that is taken, unpacked, to DIR/000001.bin, "
    "DIR/000002.bin, ...\n"
    "\n"
    "How it answers:\n"
    "  --script FILE        a script (YAML): phases with latencies, hidden limits, outages, "
    "faults; replaced\n"
    "                       while running by POST /script. docs/sink.md describes it\n"
    "  --script-reference   prints all its keys\n"
    "  --answer STATUS,...  statuses to answer with, in turn, the last one for ever (200)\n"
    "  --retry-after S      Retry-After header of answers that are not 2xx\n"
    "  --delay MS           waits before each answer\n"
    "  --reject N           reports N points of each request as rejected (partial success)\n"
    "  --close-early        closes the connection instead of answering\n"
    "  --garbage            answers with bytes that are no HTTP\n"
    "\n"
    "TLS:\n"
    "  --tls                with a certificate for localhost and 127.0.0.1 made at start, or\n"
    "  --tls-cert FILE --tls-key FILE   with these (PEM)\n"
    "  --tls-ca-out FILE    writes the authority that clients are to trust\n"
    "  --help\n"
    "\n"
    "Example: a back end that is overloaded twice, then works; look at what it got:\n"
    "  mkdir -p got && pgweir-sink --answer 503,503,200 --retry-after 1 --dump got\n"
    "  protoc --decode=opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest \\\n"
    "      opentelemetry/proto/collector/metrics/v1/metrics_service.proto < got/000003.bin\n"
    "Example: nobody told you that it takes only 200 requests a second, and that it will be out:\n"
    "  echo 'phases: [{for: 60s, requests_per_s: 200}, {for: 30s, connections: refuse}, {}]' "
    ">s.yaml\n"
    "  pgweir-sink --script s.yaml --ledger --admin 127.0.0.1:4319\n";

enum option_id {
    LISTEN = 1,
    ADMIN,
    LOOP,
    CONNECTIONS,
    COUNT_ONLY,
    LEDGER,
    LEDGER_SAMPLE,
    LOG_FILE,
    DUMP,
    SCRIPT,
    SCRIPT_REFERENCE,
    ANSWER,
    RETRY_AFTER,
    DELAY,
    REJECT,
    CLOSE_EARLY,
    GARBAGE,
    TLS,
    CERT,
    KEY,
    CA_OUT,
    HELP,
};

static const struct option long_options[] = {
    {"listen", required_argument, NULL, LISTEN},
    {"admin", required_argument, NULL, ADMIN},
    {"loop", required_argument, NULL, LOOP},
    {"connections", required_argument, NULL, CONNECTIONS},
    {"count-only", no_argument, NULL, COUNT_ONLY},
    {"ledger", no_argument, NULL, LEDGER},
    {"ledger-sample", required_argument, NULL, LEDGER_SAMPLE},
    {"log", required_argument, NULL, LOG_FILE},
    {"dump", required_argument, NULL, DUMP},
    {"script", required_argument, NULL, SCRIPT},
    {"script-reference", no_argument, NULL, SCRIPT_REFERENCE},
    {"answer", required_argument, NULL, ANSWER},
    {"retry-after", required_argument, NULL, RETRY_AFTER},
    {"delay", required_argument, NULL, DELAY},
    {"reject", required_argument, NULL, REJECT},
    {"close-early", no_argument, NULL, CLOSE_EARLY},
    {"garbage", no_argument, NULL, GARBAGE},
    {"tls", no_argument, NULL, TLS},
    {"tls-cert", required_argument, NULL, CERT},
    {"tls-key", required_argument, NULL, KEY},
    {"tls-ca-out", required_argument, NULL, CA_OUT},
    {"help", no_argument, NULL, HELP},
    {0},
};

/* The simple options, before they are a script. */
struct simple {
    bool given;
    const char *answer;
    long long retry_after, delay_ms, reject;
    bool close_early, garbage;
};

static bool parse_number(const char *text, long long max, long long *ret_number)
{
    char *end;
    errno = 0;
    *ret_number = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *ret_number >= 0 && *ret_number <= max;
}

static bool are_statuses(const char *text)
{
    for (;;) {
        char *end;
        long status = strtol(text, &end, 10);
        if (end == text || status < 200 || status > 599)
            return false;
        if (*end == '\0')
            return true;
        if (*end != ',')
            return false;
        text = end + 1;
    }
}

static bool is_place(const char *text)
{
    long long port;
    const char *colon = strrchr(text, ':');
    return colon != NULL && parse_number(colon + 1, UINT16_MAX, &port);
}

static bool refuse(const char *name, const char *value, const char *wanted)
{
    fprintf(stderr, "pgweir-sink: --%s %s: %s\n", name, value, wanted);
    return false;
}

static bool may_append(const char *path)
{
    FILE *file = fopen(path, "ae");
    return file != NULL && fclose(file) == 0;
}

static bool take_loop(struct sink_options *options, const char *name)
{
    static const char *const kinds[] = {"auto", "io_uring", "epoll"};
    static const enum loop_kind values[] = {LOOP_AUTO, LOOP_IO_URING, LOOP_EPOLL};
    for (int i = 0; i < 3; i++)
        if (strcmp(optarg, kinds[i]) == 0) {
            options->loop = values[i];
            return true;
        }
    return refuse(name, optarg, "is none of auto, io_uring, epoll");
}

static bool take_number(struct sink_options *options, struct simple *simple, int id,
                        const char *name)
{
    long long number = 0, least = id == CONNECTIONS || id == LEDGER_SAMPLE;
    if (!parse_number(optarg, id == CONNECTIONS ? 1000000 : INT32_MAX, &number) || number < least)
        return refuse(name, optarg,
                      least ? "a number is wanted, 1 or more (up to a million)"
                            : "a number is wanted, 0 or more");
    if (id == CONNECTIONS)
        options->connections_max = number;
    else if (id == LEDGER_SAMPLE)
        options->ledger_sample = number;
    else if (id == RETRY_AFTER)
        simple->retry_after = number;
    else if (id == DELAY)
        simple->delay_ms = number;
    else
        simple->reject = number;
    return true;
}

/* An option of the answers; false when its value is no good. */
static bool take_simple(struct sink_options *options, struct simple *simple, int id,
                        const char *name)
{
    simple->given = true;
    switch (id) {
    case ANSWER:
        simple->answer = optarg;
        return are_statuses(optarg) ||
               refuse(name, optarg, "statuses from 200 to 599, e.g. 503,503,200");
    case CLOSE_EARLY:
        simple->close_early = true;
        return true;
    case GARBAGE:
        simple->garbage = true;
        return true;
    default:
        return take_number(options, simple, id, name);
    }
}

/* One option; false when its value is no good (said on standard error). */
static bool take_option(struct sink_options *options, struct simple *simple, int id,
                        const char *name)
{
    switch (id) {
    case LISTEN:
    case ADMIN:
        *(id == LISTEN ? &options->listen_on : &options->admin_on) = optarg;
        return is_place(optarg) || refuse(name, optarg, "use host:port, e.g. 127.0.0.1:4318");
    case LOOP:
        return take_loop(options, name);
    case COUNT_ONLY:
        options->depth = BODY_COUNT;
        return true;
    case LEDGER:
        options->depth = BODY_LEDGER;
        return true;
    case CONNECTIONS:
    case LEDGER_SAMPLE:
        return take_number(options, simple, id, name);
    case LOG_FILE:
        options->log_file = optarg;
        return may_append(optarg) || refuse(name, optarg, strerror(errno));
    case DUMP:
        options->dump = optarg;
        return access(optarg, W_OK) == 0 ||
               refuse(name, optarg, "no directory that may be written to: create it first");
    case SCRIPT:
        options->script_file = optarg;
        return true;
    case SCRIPT_REFERENCE:
        options->script_reference = true;
        return true;
    case TLS:
        options->tls = true;
        return true;
    case CERT:
        options->tls_cert = optarg;
        options->tls = true;
        return true;
    case KEY:
        options->tls_key = optarg;
        options->tls = true;
        return true;
    case CA_OUT:
        options->tls_ca_out = optarg;
        options->tls = true;
        return true;
    default:
        return take_simple(options, simple, id, name);
    }
}

/* The one phase that the simple options are short for; to be freed. */
static char *write_script(const struct simple *simple)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    CHECK(out != NULL);
    fprintf(out, "phases: [{name: options, answer: [%s], latency: %lldms",
            simple->answer != NULL ? simple->answer : "200", simple->delay_ms);
    if (simple->retry_after > 0)
        fprintf(out, ", retry_after: [%llds]", simple->retry_after);
    fputs(", faults: [", out);
    if (simple->close_early)
        fputs("{do: lose}, ", out);
    if (simple->garbage)
        fputs("{do: garbage}, ", out);
    if (simple->reject > 0)
        fprintf(out, "{do: partial, rejected: %lld}", simple->reject);
    fputs("]}]\n", out);
    CHECK(fclose(out) == 0);
    return text;
}

/* What no single option can tell. */
static bool check(const struct sink_options *options, bool ledger, bool count_only,
                  const struct simple *simple)
{
    const char *problem = NULL;
    if (ledger && count_only)
        problem = "--ledger looks into points and --count-only does not: use one of them";
    else if (options->ledger_sample > 1 && !ledger)
        problem = "--ledger-sample needs --ledger";
    else if (options->script_file != NULL && simple->given)
        problem = "--script says how to answer: --answer, --retry-after, --delay, --reject, "
                  "--close-early and --garbage cannot go with it";
    else if ((options->tls_cert == NULL) != (options->tls_key == NULL))
        problem = "--tls-cert and --tls-key belong together";
    else if (options->tls_ca_out != NULL && options->tls_cert != NULL)
        problem = "--tls-ca-out is of a certificate made at start: it cannot go with --tls-cert";
    if (problem != NULL)
        fprintf(stderr, "pgweir-sink: %s\nTry: pgweir-sink --help\n", problem);
    return problem == NULL;
}

int options_read(int argc, char **argv, struct sink_options *ret_options)
{
    struct simple simple = {0};
    struct sink_options options = {
        .listen_on = "127.0.0.1:4318", .loop = LOOP_AUTO, .depth = BODY_CHECK, .ledger_sample = 1};
    bool ledger = false, count_only = false;
    int id, index = 0;
    while ((id = getopt_long(argc, argv, "", long_options, &index)) != -1) {
        if (id == HELP) {
            fputs(usage, stdout);
            return 0;
        }
        if (id == '?') {
            fputs("Try: pgweir-sink --help\n", stderr);
            return 2;
        }
        ledger |= id == LEDGER;
        count_only |= id == COUNT_ONLY;
        if (!take_option(&options, &simple, id, long_options[index].name))
            return 2;
    }
    if (optind < argc) {
        fprintf(stderr, "pgweir-sink: %s: not an option; try --help\n", argv[optind]);
        return 2;
    }
    if (!check(&options, ledger, count_only, &simple))
        return 2;
    if (options.script_file == NULL)
        options.script_text = write_script(&simple);
    *ret_options = options;
    return -1;
}
