/* SPDX-License-Identifier: Apache-2.0 */
/* pgweir-sink: a back end for tests and measurements. It takes OTLP metrics over HTTP, checks and
 * counts them, and answers as it is told to. Three parts: this file (options, answers, report),
 * sink_http.c (the server), sink_body.c (what is in a body). One thread. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "tools/sink_body.h"
#include "tools/sink_http.h"

enum { ANSWERS_MAX = 64, PROBLEM_BYTES = 128 };

/* How requests are answered: the statuses in turn, the last one for ever. */
struct answers {
    int statuses[ANSWERS_MAX];
    uint32_t count, next;
    int retry_after_s;
    uint64_t delay_ns;
    bool close_early, garbage;
    int64_t reject;
};

struct sink {
    struct sink_server *server;
    struct body_reader *reader;
    struct answers answers;
    FILE *log;
    const char *dump;
    uint64_t started_ns;
    uint64_t requests, accepted, refused, unanswered, bad_bodies;
    uint64_t bytes, body_bytes;         /* as sent, and unpacked */
    struct body_counts received, taken; /* of all requests, of those answered with 2xx */
    char problem[PROBLEM_BYTES];        /* the last one */
    const uint8_t *body;                /* of the request at hand, unpacked; NULL: cannot be */
    size_t unpacked_bytes;
    char *report;
    uint8_t partial[64];
};

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

static const char usage[] =
    "Usage: pgweir-sink [options]\n"
    "Takes OTLP metrics over HTTP (POST /v1/metrics, protobuf, plain, gzip or zstd), checks and\n"
    "counts them, and prints a JSON report at its end and on GET /report.\n"
    "\n"
    "  --listen HOST:PORT   where to listen (127.0.0.1:4318); port 0 takes a free one\n"
    "  --count-only         counts points without looking into them: faster\n"
    "  --log FILE           appends each body that is taken, unpacked, behind its length (4 bytes, "
    "big-endian)\n"
    "  --dump DIR           writes each body that is taken, unpacked, to DIR/000001.bin, "
    "DIR/000002.bin, ...\n"
    "  --answer STATUS,...  statuses to answer with, in turn, the last one for ever (200)\n"
    "  --retry-after S      Retry-After header of answers that are not 2xx\n"
    "  --delay MS           waits before each answer\n"
    "  --reject N           reports N points of each request as rejected (partial success)\n"
    "  --close-early        closes the connection instead of answering\n"
    "  --garbage            answers with bytes that are no HTTP\n"
    "  --help\n"
    "\n"
    "Example: a back end that is overloaded twice, then works; look at what it got:\n"
    "  mkdir -p got && pgweir-sink --answer 503,503,200 --retry-after 1 --dump got\n"
    "  protoc --decode=opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest \\\n"
    "      opentelemetry/proto/collector/metrics/v1/metrics_service.proto < got/000003.bin\n";

static char *make_report(const struct sink *sink)
{
    double seconds = (double)(clock_monotonic_ns() - sink->started_ns) / (double)NS_PER_S;
    double cpu = (double)clock_thread_cpu_ns() / (double)NS_PER_S;
    json_t *report =
        json_pack("{sI sI sI sI sI sI sI sI sI sI sI sI si ss sf sf}", "requests",
                  (json_int_t)sink->requests, "accepted", (json_int_t)sink->accepted, "refused",
                  (json_int_t)sink->refused, "unanswered", (json_int_t)sink->unanswered,
                  "connections", (json_int_t)sink_server_connections(sink->server), "bytes",
                  (json_int_t)sink->bytes, "body_bytes", (json_int_t)sink->body_bytes, "resources",
                  (json_int_t)sink->received.resources, "metrics",
                  (json_int_t)sink->received.metrics, "points", (json_int_t)sink->received.points,
                  "accepted_points", (json_int_t)sink->taken.points, "bad_bodies",
                  (json_int_t)sink->bad_bodies, "metric_names", (int)body_name_count(sink->reader),
                  "last_problem", sink->problem, "seconds", seconds, "cpu_seconds", cpu);
    CHECK(report != NULL);
    char *text = json_dumps(report, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    CHECK(text != NULL);
    json_decref(report);
    return text;
}

static void keep_body(struct sink *sink)
{
    const uint8_t *body = sink->body;
    size_t bytes = sink->unpacked_bytes;
    if (sink->log != NULL) {
        uint8_t length[4] = {(uint8_t)(bytes >> 24), (uint8_t)(bytes >> 16), (uint8_t)(bytes >> 8),
                             (uint8_t)bytes};
        if (fwrite(length, 1, sizeof length, sink->log) != sizeof length ||
            fwrite(body, 1, bytes, sink->log) != bytes || fflush(sink->log) != 0)
            fprintf(stderr, "pgweir-sink: cannot write the log: %s\n", strerror(errno));
    }
    if (sink->dump != NULL) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%06llu.bin", sink->dump,
                 (unsigned long long)sink->requests);
        FILE *file = fopen(path, "we");
        if (file == NULL || fwrite(body, 1, bytes, file) != bytes)
            fprintf(stderr, "pgweir-sink: cannot write %s: %s\n", path, strerror(errno));
        if (file != NULL)
            fclose(file);
    }
}

static enum body_encoding encoding_of(const char *name)
{
    if (name[0] == '\0' || strcasecmp(name, "identity") == 0)
        return BODY_IDENTITY;
    if (strcasecmp(name, "gzip") == 0)
        return BODY_GZIP;
    return strcasecmp(name, "zstd") == 0 ? BODY_ZSTD : BODY_UNKNOWN;
}

/* Reads the body; true when there is nothing wrong with it. */
static bool take_body(struct sink *sink, const struct sink_request *request,
                      struct body_counts *ret_counts)
{
    const char *problem = NULL;
    size_t bytes = 0;
    sink->body = NULL;
    if (strncmp(request->content_type, "application/x-protobuf", 22) != 0) {
        problem = "Content-Type is not application/x-protobuf";
    } else {
        const uint8_t *body = body_unpack(sink->reader, encoding_of(request->content_encoding),
                                          request->body, request->body_bytes, &bytes, &problem);
        if (body != NULL) {
            sink->body_bytes += bytes;
            sink->body = body;
            sink->unpacked_bytes = bytes;
            problem = body_walk(sink->reader, body, bytes, ret_counts);
        }
    }
    if (problem == NULL)
        return true;
    sink->bad_bodies++;
    snprintf(sink->problem, sizeof sink->problem, "%s", problem);
    return false;
}

static size_t put_varint(uint8_t *to, uint64_t value)
{
    size_t bytes = 0;
    while (value >= 0x80) {
        to[bytes++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    to[bytes++] = (uint8_t)value;
    return bytes;
}

/* ExportMetricsServiceResponse { partial_success { rejected_data_points, error_message } } */
static size_t make_partial(struct sink *sink, int64_t rejected)
{
    static const char message[] = "rejected on request";
    uint8_t inner[48] = {0x08};
    size_t bytes = 1 + put_varint(inner + 1, (uint64_t)rejected);
    inner[bytes++] = 0x12;
    inner[bytes++] = sizeof message - 1;
    memcpy(inner + bytes, message, sizeof message - 1);
    bytes += sizeof message - 1;
    sink->partial[0] = 0x0a;
    sink->partial[1] = (uint8_t)bytes;
    memcpy(sink->partial + 2, inner, bytes);
    return bytes + 2;
}

static struct sink_reply answer_metrics(struct sink *sink, const struct sink_request *request)
{
    struct answers *answers = &sink->answers;
    struct body_counts counts = {0};
    sink->requests++;
    sink->bytes += request->body_bytes;
    bool good = take_body(sink, request, &counts);
    sink->received.resources += counts.resources;
    sink->received.metrics += counts.metrics;
    sink->received.points += counts.points;
    struct sink_reply reply = {.status = good ? answers->statuses[answers->next] : 400,
                               .delay_ns = answers->delay_ns,
                               .close_early = answers->close_early,
                               .garbage = answers->garbage};
    if (good && answers->next + 1 < answers->count)
        answers->next++;
    bool taken = reply.status >= 200 && reply.status < 300;
    if (taken)
        keep_body(sink); /* also where no answer is given: it has arrived */
    if (reply.close_early || reply.garbage) {
        sink->unanswered++;
    } else if (taken) {
        sink->accepted++;
        sink->taken.points += counts.points;
        if (answers->reject > 0) {
            reply.body_bytes = make_partial(sink, answers->reject);
            reply.body = sink->partial;
        }
    } else {
        sink->refused++;
        reply.retry_after_s = answers->retry_after_s;
    }
    return reply;
}

static struct sink_reply handle(void *owner, const struct sink_request *request)
{
    struct sink *sink = owner;
    if (strcmp(request->method, "POST") == 0 && strcmp(request->path, "/v1/metrics") == 0)
        return answer_metrics(sink, request);
    if (strcmp(request->method, "GET") == 0 && strcmp(request->path, "/report") == 0) {
        free(sink->report);
        sink->report = make_report(sink);
        return (struct sink_reply){.status = 200,
                                   .content_type = "application/json",
                                   .body = sink->report,
                                   .body_bytes = strlen(sink->report)};
    }
    return (struct sink_reply){.status = 404, .content_type = "text/plain"};
}

static bool parse_number(const char *text, long long max, long long *ret_number)
{
    char *end;
    errno = 0;
    *ret_number = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *ret_number >= 0 && *ret_number <= max;
}

static bool parse_answers(const char *text, struct answers *answers)
{
    answers->count = 0;
    while (answers->count < ANSWERS_MAX) {
        char *end;
        long status = strtol(text, &end, 10);
        if (end == text || status < 200 || status > 599)
            return false;
        answers->statuses[answers->count++] = (int)status;
        if (*end == '\0')
            return true;
        if (*end != ',')
            return false;
        text = end + 1;
    }
    return false;
}

enum option_id {
    LISTEN = 1,
    COUNT_ONLY,
    LOG_FILE,
    DUMP,
    ANSWER,
    RETRY_AFTER,
    DELAY,
    REJECT,
    CLOSE_EARLY,
    GARBAGE,
    HELP,
};

static const struct option long_options[] = {
    {"listen", required_argument, NULL, LISTEN},
    {"count-only", no_argument, NULL, COUNT_ONLY},
    {"log", required_argument, NULL, LOG_FILE},
    {"dump", required_argument, NULL, DUMP},
    {"answer", required_argument, NULL, ANSWER},
    {"retry-after", required_argument, NULL, RETRY_AFTER},
    {"delay", required_argument, NULL, DELAY},
    {"reject", required_argument, NULL, REJECT},
    {"close-early", no_argument, NULL, CLOSE_EARLY},
    {"garbage", no_argument, NULL, GARBAGE},
    {"help", no_argument, NULL, HELP},
    {0},
};

struct arguments {
    const char *listen_on;
    bool count_only;
};

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

/* One option; false when its value is no good (said on standard error). */
static bool take_option(struct sink *sink, struct arguments *arguments, int id, const char *name)
{
    struct answers *answers = &sink->answers;
    long long number = 0;
    switch (id) {
    case LISTEN:
        arguments->listen_on = optarg;
        return is_place(optarg) || refuse(name, optarg, "use host:port, e.g. 127.0.0.1:4318");
    case COUNT_ONLY:
        arguments->count_only = true;
        return true;
    case LOG_FILE:
        sink->log = fopen(optarg, "ae");
        return sink->log != NULL || refuse(name, optarg, strerror(errno));
    case DUMP:
        sink->dump = optarg;
        return access(optarg, W_OK) == 0 ||
               refuse(name, optarg, "no directory that may be written to: create it first");
    case ANSWER:
        return parse_answers(optarg, answers) ||
               refuse(name, optarg, "statuses from 200 to 599, e.g. 503,503,200");
    case RETRY_AFTER:
    case DELAY:
    case REJECT:
        if (!parse_number(optarg, INT32_MAX, &number))
            return refuse(name, optarg, "a number is wanted, 0 or more");
        if (id == RETRY_AFTER)
            answers->retry_after_s = (int)number;
        else if (id == DELAY)
            answers->delay_ns = (uint64_t)number * NS_PER_MS;
        else
            answers->reject = number;
        return true;
    case CLOSE_EARLY:
        answers->close_early = true;
        return true;
    case GARBAGE:
        answers->garbage = true;
        return true;
    case HELP:
        fputs(usage, stdout);
        exit(0);
    default:
        fputs("Try: pgweir-sink --help\n", stderr);
        return false;
    }
}

int main(int argc, char **argv)
{
    static struct sink sink = {.answers = {.statuses = {200}, .count = 1}};
    struct arguments arguments = {.listen_on = "127.0.0.1:4318"};
    int id, index = 0;
    while ((id = getopt_long(argc, argv, "", long_options, &index)) != -1)
        if (!take_option(&sink, &arguments, id, long_options[index].name))
            return 2;
    if (optind < argc) {
        fprintf(stderr, "pgweir-sink: %s: not an option; try --help\n", argv[optind]);
        return 2;
    }
    struct error error;
    if (!sink_server_create(&sink.server, arguments.listen_on, handle, &sink, &error)) {
        fprintf(stderr, "pgweir-sink: %s\n", error.text);
        return 1;
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    sink.reader = body_reader_create(arguments.count_only);
    sink.started_ns = clock_monotonic_ns();
    printf("listening on port %u\n", sink_server_port(sink.server));
    fflush(stdout);
    sink_server_run(sink.server, &stop);
    char *report = make_report(&sink);
    printf("%s\n", report);
    free(report);
    free(sink.report);
    body_reader_destroy(&sink.reader);
    sink_server_destroy(&sink.server);
    if (sink.log != NULL)
        fclose(sink.log);
    return 0;
}
