/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/sink/script_table.h"

#include <stddef.h>

#include "base/clock.h"

#define MINUTE_NS (60 * (int64_t)NS_PER_S)
#define DAY_NS    (24 * 60 * MINUTE_NS)

enum { BODY_MAX = 64 << 20 };

static const char *const connection_names[] = {"accept", "refuse", "reset", "blackhole", NULL};
static const char *const tls_names[] = {"good",  "expired", "wrong_host", "untrusted",
                                        "abort", "plain",   NULL};
static const char *const window_names[] = {"aligned", "bucket", NULL};
static const char *const fault_names[] = {"status",    "lose",  "reset",   "stall", "cut",
                                          "partial",   "slow",  "garbage", "huge",  "redirect",
                                          "blackhole", "close", NULL};
static const char *const on_names[] = {"any", "fresh", "reused", NULL};
static const char *const how_names[] = {"close", "reset", "never", NULL};
static const char *const begin_names[] = {"start", "request", NULL};

const char *script_fault_name(enum script_fault_kind kind)
{
    return fault_names[kind];
}

static const struct option refusal_options[] = {
    {"status", OPTION_INT, offsetof(struct script_refusal, status), "503", 200, 599,
     .help = "status of the refusal"},
    {"retry_after", OPTION_TEXT_LIST, offsetof(struct script_refusal, retry_texts), NULL,
     .help =
         "its Retry-After, in turn: 2s, rest, date 2s, date rest, none, past, absurd, negative, "
         "fraction, garbage, empty"},
    {.key = NULL},
};

static const struct option_table refusal_table = {sizeof(struct script_refusal), refusal_options};

static const struct option limit_options[] = {
    {"requests", OPTION_DOUBLE, offsetof(struct script_limit, requests), NULL,
     .help = "requests allowed in `per`"},
    {"points", OPTION_DOUBLE, offsetof(struct script_limit, points), NULL,
     .help = "data points allowed in `per`"},
    {"bytes", OPTION_DOUBLE, offsetof(struct script_limit, bytes), NULL,
     .help = "bytes of bodies, as sent, allowed in `per`"},
    {"concurrency", OPTION_INT, offsetof(struct script_limit, concurrency), NULL, 1, 1000000,
     .help = "requests allowed in flight"},
    {"per", OPTION_DURATION, offsetof(struct script_limit, per_ns), "1s", 1000000, DAY_NS,
     .help = "the window's length"},
    {"window", OPTION_ENUM, offsetof(struct script_limit, window), "aligned",
     .choices = window_names,
     .help =
         "`aligned`: windows one after another since the script began; `bucket`: a token bucket "
         "that fills evenly"},
    {"burst", OPTION_DOUBLE, offsetof(struct script_limit, burst), NULL,
     .help = "size of the bucket (what `per` allows)"},
    {"status", OPTION_INT, offsetof(struct script_limit, refusal.status), "429", 200, 599,
     .help = "status of what is over the limit"},
    {"retry_after", OPTION_TEXT_LIST, offsetof(struct script_limit, refusal.retry_texts), "[rest]",
     .help = "its Retry-After, in turn; `rest` is until the limit allows more"},
    {.key = NULL},
};

const struct option_table script_limit_table = {sizeof(struct script_limit), limit_options};

static const struct option fault_options[] = {
    {"do", OPTION_ENUM, offsetof(struct script_fault, kind), NULL, .choices = fault_names,
     .required = true, .help = "what happens (see the table of faults)"},
    {"on", OPTION_ENUM, offsetof(struct script_fault, on), "any", .choices = on_names,
     .help = "only the first request of a connection (`fresh`), or only later ones (`reused`)"},
    {"larger_than", OPTION_BYTES, offsetof(struct script_fault, larger_than), NULL, 0, BODY_MAX,
     .help = "only bodies of more bytes, as sent"},
    {"share", OPTION_DOUBLE, offsetof(struct script_fault, share), "1", 0, 1,
     .help = "share of the requests, drawn at random"},
    {"after", OPTION_INT, offsetof(struct script_fault, after), NULL, 0, INT32_MAX,
     .help = "spares so many requests first"},
    {"first", OPTION_INT, offsetof(struct script_fault, first), NULL, 0, INT32_MAX,
     .help = "ends after so many requests (0: never)"},
    {"every", OPTION_INT, offsetof(struct script_fault, every), "1", 1, INT32_MAX,
     .help = "only each so-manieth request"},
    {"status", OPTION_INT, offsetof(struct script_fault, refusal.status), "503", 200, 599,
     .help = "`status`, `redirect` (307 there): the answer's"},
    {"retry_after", OPTION_TEXT_LIST, offsetof(struct script_fault, refusal.retry_texts), NULL,
     .help = "`status`: its Retry-After, in turn"},
    {"text", OPTION_TEXT, offsetof(struct script_fault, text), NULL,
     .help = "`status`: body of the answer; `partial`: the message"},
    {"bytes", OPTION_BYTES, offsetof(struct script_fault, bytes), NULL, 0, BODY_MAX,
     .help = "`reset`, `stall`: how much of the body is read first; `cut`: how much of the answer "
             "leaves (20); `huge`: size of the answer (5 MiB)"},
    {"rejected", OPTION_INT, offsetof(struct script_fault, rejected), NULL, 0, INT64_MAX,
     .help = "`partial`: points of the request, its first, that are rejected"},
    {"slice", OPTION_BYTES, offsetof(struct script_fault, slice_bytes), "1", 1, BODY_MAX,
     .help = "`slow`: bytes per piece"},
    {"interval", OPTION_DURATION, offsetof(struct script_fault, interval_ns), "10ms", 0, MINUTE_NS,
     .help = "`slow`: pause between pieces"},
    {"location", OPTION_TEXT, offsetof(struct script_fault, location), NULL,
     .help = "`redirect`: where to"},
    {"how", OPTION_ENUM, offsetof(struct script_fault, how), "close", .choices = how_names,
     .help = "`lose`: closes, resets, or neither (`never`)"},
    {.key = NULL},
};

const struct option_table script_fault_table = {sizeof(struct script_fault), fault_options};

static const struct option phase_options[] = {
    {"name", OPTION_TEXT, offsetof(struct script_phase, name), NULL,
     .help = "for the report (phase 1, phase 2, …)"},
    {"for", OPTION_DURATION, offsetof(struct script_phase, for_ns), NULL, 0, 365 * DAY_NS,
     .help = "how long it lasts; only the last phase may be without end"},
    {"connections", OPTION_ENUM, offsetof(struct script_phase, connections), "accept",
     .choices = connection_names,
     .help =
         "`refuse`: nobody listens; `reset`: reset as soon as accepted; `blackhole`: accepted and "
         "read, but never answered"},
    {"drop_connections", OPTION_BOOL, offsetof(struct script_phase, drop_connections), "false",
     .help = "resets all connections when the phase begins (`refuse`, `reset` and faults of TLS do "
             "so anyway)"},
    {"tls", OPTION_ENUM, offsetof(struct script_phase, tls), "good", .choices = tls_names,
     .help = "what new connections meet: a certificate that is `expired`, for a `wrong_host` or "
             "`untrusted`; `abort`: a reset in the handshake; `plain`: an answer that is no TLS"},
    {"workers", OPTION_INT, offsetof(struct script_phase, workers), NULL, 0, 4096,
     .help =
         "requests worked on at once, each for as long as `latency` says; others wait their turn "
         "(0: any number)"},
    {"queue", OPTION_INT, offsetof(struct script_phase, queue), "-1", -1, 1000000,
     .help = "requests that may wait for a worker (-1: any number)"},
    {"full", OPTION_GROUP, offsetof(struct script_phase, full), .table = &refusal_table,
     .help = "answer when the queue is full"},
    {"answer", OPTION_TEXT_LIST, offsetof(struct script_phase, answer_texts), "['200']",
     .help =
         "statuses of requests that meet no limit and no fault, in turn, the last one for ever"},
    {"retry_after", OPTION_TEXT_LIST, offsetof(struct script_phase, retry_texts), NULL,
     .help = "Retry-After of those that are not 2xx, in turn"},
    {"concurrency", OPTION_INT, offsetof(struct script_phase, concurrency), NULL, 0, 1000000,
     .help = "short for `limits: [{concurrency: N}]`"},
    {"requests_per_s", OPTION_DOUBLE, offsetof(struct script_phase, requests_per_s), NULL,
     .help = "short for `limits: [{requests: N, per: 1s}]`"},
    {"requests_per_minute", OPTION_DOUBLE, offsetof(struct script_phase, requests_per_minute), NULL,
     .help = "short for `limits: [{requests: N, per: 1m}]`"},
    {"points_per_minute", OPTION_DOUBLE, offsetof(struct script_phase, points_per_minute), NULL,
     .help = "short for `limits: [{points: N, per: 1m}]`"},
    {"limits", OPTION_GROUP_LIST, offsetof(struct script_phase, limit_list),
     .table = &script_limit_table, .help = "hidden limits; a request over any of them is refused"},
    {"faults", OPTION_GROUP_LIST, offsetof(struct script_phase, fault_list),
     .table = &script_fault_table, .help = "the first that applies to a request happens to it"},
    {.key = NULL},
};

const struct option_table script_phase_table = {sizeof(struct script_phase), phase_options};

static const struct option script_options[] = {
    {"seed", OPTION_INT, offsetof(struct script, seed), "1", .help = "of everything at random"},
    {"begin", OPTION_ENUM, offsetof(struct script, begin), "start", .choices = begin_names,
     .help =
         "when the first phase begins: at once (`start`) or with the first request (`request`)"},
    {"repeat", OPTION_BOOL, offsetof(struct script, repeat), "false",
     .help = "begins anew after the last phase"},
    {.key = NULL},
};

const struct option_table script_table = {sizeof(struct script), script_options};
