/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdio.h>

#include "base/histogram.h"
#include "tools/sink/body.h"
#include "tools/sink/certificate.h"
#include "tools/sink/http.h"
#include "tools/sink/options.h"
#include "tools/sink/seen.h"
#include "tools/sink/service.h"
#include "tools/sink/unpack.h"

/* The whole sink: what sink.c (options, main loop), take.c (requests) and report.c share. One
 * thread. */
enum { SINK_PROBLEM_BYTES = 160, SINK_LOST_MAX = 4096 };

/* A body that was taken, but whose sender does not know: how often it may come again. */
struct sink_lost {
    uint64_t body; /* hash of the bytes as sent; 0: free */
    uint64_t times;
};

struct sink_remote {
    uint64_t requests, series, samples, stale;
};

struct sink {
    struct sink_options options;
    struct http_server *server;
    struct certificates certificates;
    struct service *service;
    struct unpacker *unpacker;
    struct body_reader *reader;
    struct ledger *ledger; /* NULL: not asked for */
    struct seen *seen;     /* bodies the ledger has; NULL with it */
    struct histogram *age;
    FILE *log;
    bool refusing; /* the phase's: nobody listens */
    bool resuming; /* the port could not be had again yet */
    uint64_t started_ns, first_request_ns, last_request_ns; /* monotonic */
    uint64_t requests; /* whole ones, of OTLP and remote write */
    uint64_t accepted, refused, unanswered, bad_bodies;
    uint64_t taken, taken_points;       /* answered with 2xx, or meant to be: they have arrived */
    uint64_t bytes, body_bytes;         /* as sent, and unpacked */
    struct body_counts received;        /* of all requests */
    uint64_t accepted_points;           /* of those answered with 2xx */
    uint64_t lost_answers, lost_points; /* taken, but their senders were not told */
    struct sink_remote remote;
    char problem[SINK_PROBLEM_BYTES]; /* the last one */
    struct sink_lost lost[SINK_LOST_MAX];
    uint32_t lost_next, lost_count;
    char *answer; /* body of a GET's or POST /script's answer */
    uint8_t partial[512];
};

/* take.c */
struct http_handler take_handler(void);

/* report.c: to be freed. */
char *report_json(struct sink *sink);
char *report_text(struct sink *sink);

/* sink.c: does what the phase that has begun says about connections. */
void sink_enter_phase(struct sink *sink);
