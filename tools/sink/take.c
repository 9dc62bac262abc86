/* SPDX-License-Identifier: Apache-2.0 */
/* What the sink does with a request: reads its body, asks the service what is to happen, keeps the
 * books. A body is *taken* when it is sound and answered with 2xx, and also when a fault loses that
 * answer: then it has arrived, and its sender will send it again, which the ledger must know. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/check.h"
#include "base/clock.h"
#include "tools/sink/sink_state.h"

enum route {
    ROUTE_NONE,
    ROUTE_METRICS,
    ROUTE_REMOTE_WRITE,
    ROUTE_REPORT,
    ROUTE_TEXT,
    ROUTE_SCRIPT
};

/* Beside each connection, about the request at hand. */
struct note {
    struct service_request request;
    enum route route;
    bool decided;
    bool taken;
    uint64_t body; /* hash of the bytes as sent */
    uint64_t points;
};
_Static_assert(sizeof(struct note) <= HTTP_NOTE_BYTES, "fits into the connection");

static bool is(struct span span, const char *text)
{
    return span_bytes(span) == strlen(text) && memcmp(span.at, text, span_bytes(span)) == 0;
}

static bool has_type(const struct http_request *request, const char *type)
{
    size_t bytes = strlen(type);
    struct span given = request->content_type;
    return span_bytes(given) >= bytes && strncasecmp((const char *)given.at, type, bytes) == 0 &&
           (span_bytes(given) == bytes || given.at[bytes] == ';' || given.at[bytes] == ' ');
}

static enum route route_of(const struct http_request *request)
{
    static const struct {
        const char *method, *path;
        enum route route;
    } routes[] = {
        {"POST", "/v1/metrics", ROUTE_METRICS}, {"POST", "/api/v1/write", ROUTE_REMOTE_WRITE},
        {"GET", "/report", ROUTE_REPORT},       {"GET", "/", ROUTE_TEXT},
        {"POST", "/script", ROUTE_SCRIPT},
    };
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++)
        if (is(request->method, routes[i].method) && is(request->path, routes[i].path))
            return routes[i].route;
    return ROUTE_NONE;
}

static bool is_data(enum route route)
{
    return route == ROUTE_METRICS || route == ROUTE_REMOTE_WRITE;
}

/* -- connections and heads -- */

static enum http_welcome connected(void *owner, SSL_CTX **ret_tls)
{
    struct sink *sink = owner;
    const struct script_phase *phase = service_phase(sink->service);
    if (phase->connections == CONNECTIONS_RESET || phase->connections == CONNECTIONS_REFUSE)
        return HTTP_WELCOME_RESET;
    if (phase->connections == CONNECTIONS_BLACKHOLE)
        return HTTP_WELCOME_SWALLOW;
    if (!sink->options.tls)
        return HTTP_WELCOME;
    switch ((enum script_tls)phase->tls) {
    case TLS_GOOD:
        *ret_tls = sink->certificates.good;
        return HTTP_WELCOME;
    case TLS_EXPIRED:
        *ret_tls = sink->certificates.expired;
        return HTTP_WELCOME;
    case TLS_WRONG_HOST:
        *ret_tls = sink->certificates.wrong_host;
        return HTTP_WELCOME;
    case TLS_UNTRUSTED:
        *ret_tls = sink->certificates.untrusted;
        return HTTP_WELCOME;
    case TLS_ABORT:
        return HTTP_WELCOME_ABORT;
    case TLS_PLAIN:
        return HTTP_WELCOME_PLAIN_TEXT;
    }
    return HTTP_WELCOME;
}

static struct http_order head(void *owner, void *memory, const struct http_request *request)
{
    struct sink *sink = owner;
    struct note *note = memory;
    struct http_order order = {.go = HTTP_READ};
    note->route = route_of(request);
    if (!is_data(note->route) || request->admin)
        return order;
    service_begin(sink->service, &note->request,
                  &(struct service_head){request->now_ns, request->body_bytes, request->reused});
    if (service_phase(sink->service)->connections == CONNECTIONS_BLACKHOLE)
        order.go = HTTP_SWALLOW;
    const struct script_fault *fault = note->request.fault;
    if (fault == NULL || order.go == HTTP_SWALLOW)
        return order;
    if (fault->kind == FAULT_RESET || fault->kind == FAULT_STALL) {
        order.go = fault->kind == FAULT_RESET ? HTTP_RESET : HTTP_STALL;
        order.bytes = (size_t)fault->bytes;
    } else if (fault->kind == FAULT_BLACKHOLE) {
        order.go = HTTP_SWALLOW;
    }
    return order;
}

/* -- bodies -- */

static int note_problem(struct sink *sink, int status, const char *problem)
{
    sink->bad_bodies++;
    snprintf(sink->problem, sizeof sink->problem, "%s", problem);
    return status;
}

static int check_type(struct sink *sink, const struct http_request *request)
{
    if (has_type(request, "application/json"))
        return note_problem(sink, 415,
                            "JSON is not read here: send protobuf (Content-Type: "
                            "application/x-protobuf)");
    if (!has_type(request, "application/x-protobuf"))
        return note_problem(sink, 415, "Content-Type is not application/x-protobuf");
    if (memmem(request->content_type.at, span_bytes(request->content_type),
               "io.prometheus.write.v2", 22) != NULL)
        return note_problem(sink, 415, "remote write 2.0 is not read here: send 1.0");
    return 0;
}

/* Reads the body: 0 when it is sound, else the status to refuse it with. */
static int read_body(struct sink *sink, const struct http_request *request, enum route route,
                     const uint8_t **ret_body, size_t *ret_bytes, struct body_counts *ret_counts)
{
    const char *problem = NULL;
    char encoding[32] = "";
    int status = check_type(sink, request);
    if (status != 0)
        return status;
    size_t name_bytes = span_bytes(request->content_encoding);
    if (name_bytes < sizeof encoding && name_bytes > 0)
        memcpy(encoding, request->content_encoding.at, name_bytes);
    enum body_encoding kind =
        name_bytes < sizeof encoding ? unpack_encoding(encoding) : BODY_UNKNOWN;
    const uint8_t *body =
        unpack(sink->unpacker, kind, request->body, request->body_bytes, ret_bytes, &problem);
    if (body == NULL)
        return note_problem(sink, kind == BODY_UNKNOWN ? 415 : 400, problem);
    sink->body_bytes += *ret_bytes;
    *ret_body = body;
    problem = route == ROUTE_METRICS ? body_walk(sink->reader, body, *ret_bytes, ret_counts)
                                     : body_walk_remote(sink->reader, body, *ret_bytes, ret_counts);
    return problem == NULL ? 0 : note_problem(sink, 400, problem);
}

static void keep_body(struct sink *sink, const uint8_t *body, size_t bytes)
{
    if (sink->log != NULL) {
        uint8_t length[4] = {(uint8_t)(bytes >> 24), (uint8_t)(bytes >> 16), (uint8_t)(bytes >> 8),
                             (uint8_t)bytes};
        if (fwrite(length, 1, sizeof length, sink->log) != sizeof length ||
            fwrite(body, 1, bytes, sink->log) != bytes || fflush(sink->log) != 0)
            fprintf(stderr, "pgweir-sink: cannot write the log: %s\n", strerror(errno));
    }
    if (sink->options.dump != NULL) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%06llu.bin", sink->options.dump,
                 (unsigned long long)sink->requests);
        FILE *file = fopen(path, "we");
        if (file == NULL || fwrite(body, 1, bytes, file) != bytes)
            fprintf(stderr, "pgweir-sink: cannot write %s: %s\n", path, strerror(errno));
        if (file != NULL)
            fclose(file);
    }
}

static void note_ages(struct sink *sink, uint64_t wall_ns)
{
    size_t count;
    const struct body_time *times = body_times(sink->reader, &count);
    for (size_t i = 0; i < count; i++) {
        uint64_t age_ns = wall_ns > times[i].time_ns ? wall_ns - times[i].time_ns : 0;
        counter_add(&sink->age->buckets[histogram_index(age_ns)], times[i].points);
        counter_add(&sink->age->count, times[i].points);
        counter_add(&sink->age->sum_ns, age_ns * times[i].points);
        if (age_ns > counter_read(&sink->age->max_ns))
            counter_set(&sink->age->max_ns, age_ns);
    }
}

/* Whether this body is one whose answer was lost: then it may come this once. */
static bool excuse(struct sink *sink, uint64_t body)
{
    for (uint32_t i = 0; i < sink->lost_count; i++)
        if (sink->lost[i].body == body && sink->lost[i].times > 0) {
            sink->lost[i].times--;
            return true;
        }
    return false;
}

static void note_lost(struct sink *sink, const struct note *note)
{
    sink->lost_answers++;
    sink->lost_points += note->points;
    for (uint32_t i = 0; i < sink->lost_count; i++)
        if (sink->lost[i].body == note->body) {
            sink->lost[i].times++;
            return;
        }
    sink->lost[sink->lost_next] = (struct sink_lost){note->body, 1};
    sink->lost_next = (sink->lost_next + 1) % SINK_LOST_MAX;
    if (sink->lost_count < SINK_LOST_MAX)
        sink->lost_count++;
}

/* The body has arrived and stays. */
static void take(struct sink *sink, struct note *note, uint64_t wall_ns, uint64_t rejected)
{
    note->taken = true;
    sink->taken++;
    sink->taken_points += note->points;
    note_ages(sink, wall_ns);
    if (sink->ledger == NULL)
        return;
    struct ledger_body body = {
        .places = body_places(sink->reader),
        .wall_ns = wall_ns,
        .first_kept = rejected < UINT32_MAX ? (uint32_t)rejected : UINT32_MAX,
        .again = rejected == 0 && seen_before(sink->seen, note->body),
        .excused = excuse(sink, note->body),
    };
    body.points = body_points(sink->reader, &body.count);
    ledger_enter(sink->ledger, &body);
}

/* -- answers -- */

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
static size_t make_partial(struct sink *sink, const struct script_fault *fault)
{
    const char *message = fault->text != NULL ? fault->text : "rejected on request";
    uint8_t inner[384];
    size_t bytes = 0, length = strlen(message) < 255 ? strlen(message) : 255;
    if (fault->rejected > 0) {
        inner[bytes++] = 0x08;
        bytes += put_varint(inner + bytes, (uint64_t)fault->rejected);
    }
    inner[bytes++] = 0x12;
    bytes += put_varint(inner + bytes, length);
    memcpy(inner + bytes, message, length);
    bytes += length;
    sink->partial[0] = 0x0a;
    size_t head_bytes = 1 + put_varint(sink->partial + 1, bytes);
    memcpy(sink->partial + head_bytes, inner, bytes);
    return head_bytes + bytes;
}

/* What the fault does to an answer that is 2xx. */
static void bend_good_answer(struct sink *sink, const struct script_fault *fault,
                             struct http_reply *reply)
{
    static const enum http_act lose[] = {[HOW_CLOSE] = HTTP_NO_ANSWER_CLOSE,
                                         [HOW_RESET] = HTTP_NO_ANSWER_RESET,
                                         [HOW_NEVER] = HTTP_NO_ANSWER};
    if (fault->kind == FAULT_PARTIAL) {
        reply->body_bytes = make_partial(sink, fault);
        reply->body = sink->partial;
    } else if (fault->kind == FAULT_HUGE) {
        reply->body_bytes = (size_t)fault->bytes;
    } else if (fault->kind == FAULT_LOSE) {
        reply->act = lose[fault->how];
    } else if (fault->kind == FAULT_GARBAGE) {
        reply->act = HTTP_GARBAGE;
    }
}

static struct http_reply make_reply(struct sink *sink, const struct service_verdict *verdict,
                                    bool good)
{
    const struct script_fault *fault = verdict->fault;
    struct http_reply reply = {.status = verdict->status,
                               .delay_ns = verdict->delay_ns,
                               .has_retry_after = verdict->has_retry_after};
    memcpy(reply.retry_after, verdict->retry_after, sizeof verdict->retry_after);
    if (verdict->text != NULL) {
        reply.content_type = "text/plain";
        reply.body = verdict->text;
        reply.body_bytes = strlen(verdict->text);
    }
    if (fault == NULL)
        return reply;
    if (good)
        bend_good_answer(sink, fault, &reply);
    if (fault->kind == FAULT_REDIRECT) {
        reply.location = fault->location;
    } else if (fault->kind == FAULT_SLOW) {
        reply.slice_bytes = (uint32_t)fault->slice_bytes;
        reply.slice_interval_ns = fault->interval_ns;
    } else if (fault->kind == FAULT_CUT) {
        reply.act = HTTP_CUT;
        reply.cut_bytes = (size_t)fault->bytes;
    } else if (fault->kind == FAULT_CLOSE) {
        reply.close_after = true;
    }
    return reply;
}

static void count_body(struct sink *sink, const struct http_request *request, enum route route,
                       const struct body_counts *counts)
{
    if (sink->requests == 0)
        sink->first_request_ns = request->now_ns;
    sink->last_request_ns = request->now_ns;
    sink->requests++;
    sink->bytes += request->body_bytes;
    sink->received.resources += counts->resources;
    sink->received.metrics += counts->metrics;
    sink->received.points += counts->points;
    sink->received.own_points += counts->own_points;
    if (route == ROUTE_METRICS)
        return;
    sink->remote.requests++;
    sink->remote.series += counts->metrics;
    sink->remote.samples += counts->points;
    sink->remote.stale += counts->stale;
}

static struct http_reply answer_data(struct sink *sink, struct note *note,
                                     const struct http_request *request)
{
    struct body_counts counts = {0};
    struct service_verdict verdict;
    const uint8_t *body = NULL;
    size_t bytes = 0;
    int bad_status = read_body(sink, request, note->route, &body, &bytes, &counts);
    struct service_body arrived = {request->now_ns, clock_wall_ns(), counts.points,
                                   request->body_bytes, bad_status};
    count_body(sink, request, note->route, &counts);
    service_decide(sink->service, &note->request, &arrived, &verdict);
    note->decided = true;
    note->points = counts.points;
    note->body = XXH3_64bits(request->body, request->body_bytes);
    bool good = verdict.status >= 200 && verdict.status < 300;
    struct http_reply reply = make_reply(sink, &verdict, good);
    if (bad_status != 0) {
        reply.content_type = "text/plain";
        reply.body = sink->problem;
        reply.body_bytes = strlen(sink->problem);
    }
    if (!good)
        return reply;
    bool partial = verdict.fault != NULL && verdict.fault->kind == FAULT_PARTIAL;
    keep_body(sink, body, bytes);
    take(sink, note, arrived.wall_ns, partial ? (uint64_t)verdict.fault->rejected : 0);
    if (note->route == ROUTE_REMOTE_WRITE && reply.status == 200 && reply.body_bytes == 0)
        reply.status = 204; /* as Prometheus answers */
    return reply;
}

static struct http_reply text_reply(struct sink *sink, int status, const char *type, char *text)
{
    free(sink->answer);
    sink->answer = text;
    return (struct http_reply){
        .status = status, .content_type = type, .body = text, .body_bytes = strlen(text)};
}

static struct http_reply replace_script(struct sink *sink, const struct http_request *request)
{
    struct error error;
    struct script *script;
    bool good =
        script_read(&script, "script", (const char *)request->body, request->body_bytes, &error);
    if (good && !sink->options.tls && script_wants_tls(script)) {
        script_destroy(&script);
        good = error_set(&error, "the script has faults of TLS, so the sink needs --tls");
    }
    if (!good)
        return text_reply(sink, 400, "text/plain; charset=utf-8", strdup(error.text));
    char *before = report_json(sink);
    service_replace(sink->service, script, request->now_ns);
    sink_enter_phase(sink);
    return text_reply(sink, 200, "application/json", before);
}

static struct http_reply request(void *owner, void *memory, const struct http_request *request)
{
    struct sink *sink = owner;
    struct note *note = memory;
    switch (note->route) {
    case ROUTE_METRICS:
    case ROUTE_REMOTE_WRITE:
        if (request->admin)
            break;
        return answer_data(sink, note, request);
    case ROUTE_REPORT:
        return text_reply(sink, 200, "application/json", report_json(sink));
    case ROUTE_TEXT:
        return text_reply(sink, 200, "text/plain; charset=utf-8", report_text(sink));
    case ROUTE_SCRIPT:
        return replace_script(sink, request);
    case ROUTE_NONE:
        break;
    }
    return (struct http_reply){.status = 404, .content_type = "text/plain"};
}

/* The answer has left, or will not. */
static void over(void *owner, void *memory, int status)
{
    struct sink *sink = owner;
    struct note *note = memory;
    if (!note->request.open)
        return;
    service_end(sink->service, &note->request, status);
    if (!note->decided)
        return; /* its body never came whole: no request */
    if (status == 0)
        sink->unanswered++;
    else if (status >= 200 && status < 300)
        sink->accepted++;
    else
        sink->refused++;
    if (status >= 200 && status < 300)
        sink->accepted_points += note->points;
    else if (note->taken)
        note_lost(sink, note);
}

struct http_handler take_handler(void)
{
    return (struct http_handler){connected, head, request, over};
}
