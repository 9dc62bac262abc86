/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "base/counter.h"
#include "base/histogram.h"

/* pgweir's own metrics: one catalogue, from which /metrics (pgweir_*), OTLP (pgweir.*), the
 * reference and the tests are made. Adding a metric is one row.
 *
 * A *set* is the metrics of one owner (a shard, a destination, …): it has one writing thread. The
 * writer brackets changes that belong together with telemetry_begin()/telemetry_end(); readers
 * take telemetry_snapshot() and never see half of one. */

enum telemetry_owner {
    TELEMETRY_PROCESS,     /* main thread; no label */
    TELEMETRY_SHARD,       /* label shard="0" */
    TELEMETRY_WORKER,      /* the worker; no label */
    TELEMETRY_DESTINATION, /* label exporter="otlp_http/nr"; written by the worker */
    TELEMETRY_TUNER,       /* a knob of the auto-tuner; labels exporter, knob; written by the worker */
    TELEMETRY_FAILURE,     /* labels shard, query, sqlstate: made when first seen */
    TELEMETRY_OWNER_COUNT,
};

enum telemetry_kind { TELEMETRY_COUNTER, TELEMETRY_GAUGE };

/* X(id, owner, name, unit, kind, label, label value, help). Rows of one name stand together. */
#define TELEMETRY_VALUES(X)                                                                        \
    X(UPTIME, PROCESS, "pgweir.uptime", "s", GAUGE, "", "", "Seconds since start")                 \
    X(START_TIME, PROCESS, "pgweir.start_time", "s", GAUGE, "", "", "Start, seconds since the Unix epoch") \
    X(MEMORY_RSS, PROCESS, "pgweir.memory.rss", "By", GAUGE, "", "", "Resident memory")            \
    X(CPU_SECONDS_MS, PROCESS, "pgweir.cpu.time", "ms", COUNTER, "", "", "CPU time, user and system") \
    X(DESCRIPTORS, PROCESS, "pgweir.descriptors", "{descriptor}", GAUGE, "", "", "Open file descriptors") \
    X(TARGETS_UP, SHARD, "pgweir.targets", "{target}", GAUGE, "state", "up", "Servers by state")   \
    X(TARGETS_DOWN, SHARD, "pgweir.targets", "{target}", GAUGE, "state", "down", "Servers by state") \
    X(TARGETS_UNKNOWN, SHARD, "pgweir.targets", "{target}", GAUGE, "state", "unknown", "Servers by state") \
    X(SCRAPES_OK, SHARD, "pgweir.scrapes", "{scrape}", COUNTER, "result", "ok", "Collections finished") \
    X(SCRAPES_PARTIAL, SHARD, "pgweir.scrapes", "{scrape}", COUNTER, "result", "partial", "Collections finished") \
    X(SCRAPES_FAILED, SHARD, "pgweir.scrapes", "{scrape}", COUNTER, "result", "failed", "Collections finished") \
    X(SCRAPES_SKIPPED, SHARD, "pgweir.scrapes", "{scrape}", COUNTER, "result", "skipped", "Collections finished") \
    X(STRETCH_LEVEL, SHARD, "pgweir.stretch.level", "1", GAUGE, "", "", "How much less is collected because back ends take less than there is: 0 nothing less, up to 4") \
    X(STRETCHED, SHARD, "pgweir.stretch.left_out", "{group}", COUNTER, "", "", "Groups that were due and left out of a collection for that") \
    X(STATEMENTS, SHARD, "pgweir.statements", "{statement}", COUNTER, "", "", "Statements executed") \
    X(ROWS, SHARD, "pgweir.rows", "{row}", COUNTER, "", "", "Result rows read")                    \
    X(ROWS_CUT, SHARD, "pgweir.rows.cut", "{row}", COUNTER, "", "", "Result rows beyond the row limit, not read") \
    X(POINTS_COLLECTED, SHARD, "pgweir.points.collected", "{point}", COUNTER, "", "", "Points written to pages") \
    X(POINTS_NO_PAGE, SHARD, "pgweir.points.no_page", "{point}", COUNTER, "", "", "Points lost because no page was free") \
    X(POINTS_SKIPPED, SHARD, "pgweir.points.skipped", "{point}", COUNTER, "", "", "Cells that gave no point: not finite, out of range, no number, or of a repeated row") \
    X(SERIES, SHARD, "pgweir.attribute_sets", "{set}", GAUGE, "", "", "Attribute sets held")       \
    X(ATTRIBUTES_CUT, SHARD, "pgweir.attributes.cut", "{attribute}", COUNTER, "", "", "Attributes of rows that were left out, or whose value was cut, for the limits of back ends") \
    X(CONNECTIONS_OPEN, SHARD, "pgweir.connections", "{connection}", GAUGE, "state", "open", "Connections by state") \
    X(CONNECTIONS_USED, SHARD, "pgweir.connections", "{connection}", GAUGE, "state", "in_use", "Connections by state") \
    X(CONNECTIONS_IDLE, SHARD, "pgweir.connections", "{connection}", GAUGE, "state", "idle", "Connections by state") \
    X(CONNECTIONS_CONNECTING, SHARD, "pgweir.connections", "{connection}", GAUGE, "state", "connecting", "Connections by state") \
    X(CONNECTION_WAITS, SHARD, "pgweir.connection.waits", "{wait}", COUNTER, "", "", "Collections that waited for a connection") \
    X(CONNECTS_OK, SHARD, "pgweir.connects", "{connect}", COUNTER, "result", "ok", "Connection attempts") \
    X(CONNECTS_FAILED, SHARD, "pgweir.connects", "{connect}", COUNTER, "result", "failed", "Connection attempts") \
    X(TARGET_BREAKERS_CLOSED, SHARD, "pgweir.target.circuit_breakers", "{target}", GAUGE, "state", "closed", "Servers by the state of the breaker that guards new connections to them") \
    X(TARGET_BREAKERS_OPEN, SHARD, "pgweir.target.circuit_breakers", "{target}", GAUGE, "state", "open", "Servers by the state of the breaker that guards new connections to them") \
    X(TARGET_BREAKERS_HALF_OPEN, SHARD, "pgweir.target.circuit_breakers", "{target}", GAUGE, "state", "half_open", "Servers by the state of the breaker that guards new connections to them") \
    X(TARGET_BREAKER_TRIPS, SHARD, "pgweir.target.circuit_breaker.trips", "{trip}", COUNTER, "", "", "Times such a breaker opened") \
    X(TARGET_BREAKER_RECOVERIES, SHARD, "pgweir.target.circuit_breaker.recoveries", "{recovery}", COUNTER, "", "", "Times it closed again") \
    X(TARGET_BREAKER_OPEN_MS, SHARD, "pgweir.target.circuit_breaker.open_time", "ms", COUNTER, "", "", "Time from opening to closing again") \
    X(CLOSED_AGED, SHARD, "pgweir.connections.closed", "{connection}", COUNTER, "reason", "aged", "Connections closed") \
    X(CLOSED_IDLE, SHARD, "pgweir.connections.closed", "{connection}", COUNTER, "reason", "idle", "Connections closed") \
    X(CLOSED_LOST, SHARD, "pgweir.connections.closed", "{connection}", COUNTER, "reason", "lost", "Connections closed") \
    X(CLOSED_DEADLINE, SHARD, "pgweir.connections.closed", "{connection}", COUNTER, "reason", "deadline", "Connections closed") \
    X(CLOSED_REUSED, SHARD, "pgweir.connections.closed", "{connection}", COUNTER, "reason", "database_change", "Connections closed") \
    X(CLOSED_STOP, SHARD, "pgweir.connections.closed", "{connection}", COUNTER, "reason", "stop", "Connections closed") \
    X(LOOP_TURNS, SHARD, "pgweir.loop.turns", "{turn}", COUNTER, "", "", "Turns of the shard's loop") \
    X(LOOP_STALE, SHARD, "pgweir.loop.stale_completions", "{completion}", COUNTER, "", "", "Completions for a watch that was closed, ignored") \
    X(LOOP_URING, SHARD, "pgweir.loop.io_uring", "1", GAUGE, "", "", "1 where the loop runs on io_uring, 0 on epoll") \
    X(FAILURES, FAILURE, "pgweir.statement.errors", "{error}", COUNTER, "", "", "Statements that failed, by query and SQLSTATE") \
    X(WORKER_PAGES, WORKER, "pgweir.worker.pages", "{page}", COUNTER, "", "", "Pages taken from the ring") \
    X(WORKER_POINTS, WORKER, "pgweir.worker.points", "{point}", COUNTER, "", "", "Points taken from the ring") \
    X(TUNER_COST, WORKER, "pgweir.tuner.cpu_per_point", "ns", GAUGE, "", "", "CPU of the worker for one point, last window of the auto-tuner") \
    X(TUNER_TRIALS, WORKER, "pgweir.tuner.trials", "{trial}", COUNTER, "", "", "Trials of the auto-tuner begun") \
    X(TUNER_ARMED, WORKER, "pgweir.tuner.armed", "{time}", COUNTER, "", "", "Times the auto-tuner began anew, as the load had changed") \
    X(TUNER_GAVE_UP, WORKER, "pgweir.tuner.gave_up", "{time}", COUNTER, "", "", "Times no knob of the auto-tuner helped an age above its target") \
    X(TUNER_VALUE, TUNER, "pgweir.tuner.value", "1", GAUGE, "", "", "Value in force of a knob: batch_size in points, flush_age in ms, concurrency_max in requests, compression_level") \
    X(TUNER_KEPT, TUNER, "pgweir.tuner.decisions", "{decision}", COUNTER, "decision", "kept", "Decisions of the auto-tuner about a knob") \
    X(TUNER_CURED, TUNER, "pgweir.tuner.decisions", "{decision}", COUNTER, "decision", "cured", "Decisions of the auto-tuner about a knob") \
    X(TUNER_ROLLED_BACK, TUNER, "pgweir.tuner.decisions", "{decision}", COUNTER, "decision", "rolled_back", "Decisions of the auto-tuner about a knob") \
    X(TUNER_ABANDONED, TUNER, "pgweir.tuner.decisions", "{decision}", COUNTER, "decision", "abandoned", "Decisions of the auto-tuner about a knob") \
    X(TUNER_ADVISED, TUNER, "pgweir.tuner.decisions", "{decision}", COUNTER, "decision", "advised", "Decisions of the auto-tuner about a knob") \
    X(POINTS_COLLECTED_FOR, DESTINATION, "pgweir.exporter.collected_points", "{point}", COUNTER, "", "", "Points meant for this exporter") \
    X(POINTS_RECOVERED, DESTINATION, "pgweir.exporter.recovered_points", "{point}", COUNTER, "", "", "Points found on disk at start") \
    X(POINTS_DELIVERED, DESTINATION, "pgweir.exporter.delivered_points", "{point}", COUNTER, "", "", "Points the back end acknowledged") \
    X(POINTS_QUEUED, DESTINATION, "pgweir.exporter.queued_points", "{point}", GAUGE, "", "", "Points batched, queued or in flight") \
    X(POINTS_SPOOLED, DESTINATION, "pgweir.exporter.spooled_points", "{point}", GAUGE, "", "", "Points that are on disk only") \
    X(DROPPED_NO_PAGE, DESTINATION, "pgweir.exporter.dropped_points", "{point}", COUNTER, "reason", "no_page", "Points given up") \
    X(DROPPED_QUEUE_FULL, DESTINATION, "pgweir.exporter.dropped_points", "{point}", COUNTER, "reason", "queue_full", "Points given up") \
    X(DROPPED_REJECTED, DESTINATION, "pgweir.exporter.dropped_points", "{point}", COUNTER, "reason", "rejected", "Points given up") \
    X(DROPPED_PERMANENT, DESTINATION, "pgweir.exporter.dropped_points", "{point}", COUNTER, "reason", "permanent_error", "Points given up") \
    X(DROPPED_EXPIRED, DESTINATION, "pgweir.exporter.dropped_points", "{point}", COUNTER, "reason", "retry_expired", "Points given up") \
    X(DROPPED_TOO_LARGE, DESTINATION, "pgweir.exporter.dropped_points", "{point}", COUNTER, "reason", "too_large", "Points given up") \
    X(DROPPED_STOP, DESTINATION, "pgweir.exporter.dropped_points", "{point}", COUNTER, "reason", "shutdown", "Points given up") \
    X(DROPPED_NO_MEMORY, DESTINATION, "pgweir.exporter.dropped_points", "{point}", COUNTER, "reason", "no_memory", "Points given up") \
    X(DROPPED_SPOOL_FULL, DESTINATION, "pgweir.exporter.dropped_points", "{point}", COUNTER, "reason", "spool_full", "Points given up") \
    X(DROPPED_TOO_OLD, DESTINATION, "pgweir.exporter.dropped_points", "{point}", COUNTER, "reason", "too_old", "Points given up") \
    X(DROPPED_CORRUPT, DESTINATION, "pgweir.exporter.dropped_points", "{point}", COUNTER, "reason", "spool_corrupt", "Points given up") \
    X(DROPPED_FIRST_VALUE, DESTINATION, "pgweir.exporter.dropped_points", "{point}", COUNTER, "reason", "first_value", "Points given up") \
    X(QUEUE_BATCHES, DESTINATION, "pgweir.exporter.queue.batches", "{batch}", GAUGE, "", "", "Batches queued or in flight") \
    X(QUEUE_BYTES, DESTINATION, "pgweir.exporter.queue.bytes", "By", GAUGE, "", "", "Bytes of the batches queued or in flight") \
    X(QUEUE_CAPACITY, DESTINATION, "pgweir.exporter.queue.capacity", "{batch}", GAUGE, "", "", "Batches the queue holds") \
    X(REQUESTS_OK, DESTINATION, "pgweir.exporter.requests", "{request}", COUNTER, "result", "ok", "Requests finished") \
    X(REQUESTS_RETRYABLE, DESTINATION, "pgweir.exporter.requests", "{request}", COUNTER, "result", "retryable", "Requests finished") \
    X(REQUESTS_PERMANENT, DESTINATION, "pgweir.exporter.requests", "{request}", COUNTER, "result", "permanent", "Requests finished") \
    X(REQUESTS_IN_FLIGHT, DESTINATION, "pgweir.exporter.requests_in_flight", "{request}", GAUGE, "", "", "Requests waiting for an answer") \
    X(AMBIGUOUS_RESENDS, DESTINATION, "pgweir.exporter.ambiguous_resends", "{request}", COUNTER, "", "", "Requests sent again although the first may have arrived") \
    X(BODIES_SPLIT, DESTINATION, "pgweir.exporter.bodies_split", "{body}", COUNTER, "", "", "Bodies cut in two because they were too large") \
    X(RATE_LIMIT, DESTINATION, "pgweir.exporter.rate_limit", "{request}/s", GAUGE, "", "", "Requests a second that may be sent now; 0: no limit") \
    X(RATE_UTILISATION, DESTINATION, "pgweir.exporter.rate_utilisation", "%", GAUGE, "", "", "Share in use of what may be sent: of the rate or of the requests at once, whichever is fuller") \
    X(CONCURRENCY_LIMIT, DESTINATION, "pgweir.exporter.concurrency_limit", "{request}", GAUGE, "", "", "Requests that may be in flight") \
    X(GATED, DESTINATION, "pgweir.exporter.gated", "1", GAUGE, "", "", "1 while the back end asked for a pause") \
    X(THROTTLED, DESTINATION, "pgweir.exporter.throttled_requests", "{request}", COUNTER, "", "", "Requests the back end refused because there were too many") \
    X(LIMIT_CHANGES, DESTINATION, "pgweir.exporter.limit_changes", "{change}", COUNTER, "", "", "Changes of rate, concurrency, gate and breaker; the log and /status say why") \
    X(BREAKER_CLOSED_NOW, DESTINATION, "pgweir.exporter.circuit_breaker", "1", GAUGE, "state", "closed", "1 for the state the breaker is in") \
    X(BREAKER_OPEN_NOW, DESTINATION, "pgweir.exporter.circuit_breaker", "1", GAUGE, "state", "open", "1 for the state the breaker is in") \
    X(BREAKER_HALF_OPEN_NOW, DESTINATION, "pgweir.exporter.circuit_breaker", "1", GAUGE, "state", "half_open", "1 for the state the breaker is in") \
    X(BREAKER_TRIPS, DESTINATION, "pgweir.exporter.circuit_breaker.trips", "{trip}", COUNTER, "", "", "Times the breaker opened") \
    X(BREAKER_OPEN_MS, DESTINATION, "pgweir.exporter.circuit_breaker.open_time", "ms", COUNTER, "", "", "Time from opening to closing again") \
    X(SPOOL_RECORDS, DESTINATION, "pgweir.spool.records", "{batch}", GAUGE, "", "", "Batches on disk, those also in memory included") \
    X(SPOOL_BYTES, DESTINATION, "pgweir.spool.bytes", "By", GAUGE, "", "", "Bytes of the batches on disk") \
    X(SPOOL_DISK_BYTES, DESTINATION, "pgweir.spool.disk", "By", GAUGE, "", "", "Size of the files") \
    X(SPOOL_CAPACITY, DESTINATION, "pgweir.spool.capacity", "By", GAUGE, "", "", "Size the files may have") \
    X(SPOOL_WORKING, DESTINATION, "pgweir.spool.working", "1", GAUGE, "", "", "1 while the disk takes batches, 0 while memory is all there is") \
    X(SPOOL_ERRORS, DESTINATION, "pgweir.spool.errors", "{error}", COUNTER, "", "", "Writes and syncs that failed") \
    X(DELTA_SERIES, DESTINATION, "pgweir.exporter.delta.series", "{series}", GAUGE, "", "", "Counters whose last value is remembered, so that only what was added is sent") \
    X(DELTA_FORGOTTEN, DESTINATION, "pgweir.exporter.delta.forgotten", "{series}", COUNTER, "", "", "Counters forgotten: not seen for long, or more than there is room for") \
    X(DELTA_RESETS, DESTINATION, "pgweir.exporter.delta.resets", "{reset}", COUNTER, "", "", "Counters that began anew") \
    X(BYTES_ENCODED, DESTINATION, "pgweir.exporter.encoded_bytes", "By", COUNTER, "", "", "Body bytes before compression") \
    X(BYTES_SENT, DESTINATION, "pgweir.exporter.sent_bytes", "By", COUNTER, "", "", "Body bytes acknowledged, as sent") \
    X(LAST_STATUS, DESTINATION, "pgweir.exporter.last_status", "1", GAUGE, "", "", "HTTP status of the last answer, 0 when there was none")

/* X(id, owner, name, help): latencies, recorded in ns, exported in seconds. */
#define TELEMETRY_HISTOGRAMS(X)                                                                    \
    X(CONNECT, SHARD, "pgweir.connect.duration", "Connect to ready session")                       \
    X(CONNECTION_WAIT, SHARD, "pgweir.connection.wait.duration", "Wait for a free connection")     \
    X(STATEMENT, SHARD, "pgweir.statement.duration", "Statement sent, or the answer before it read, until its own was read; those read at once share the time") \
    X(SCRAPE, SHARD, "pgweir.scrape.duration", "One collection, from first byte out to last row decoded") \
    X(LAG, SHARD, "pgweir.schedule.lag", "Start of a collection after it was due")                 \
    X(RING_WAIT, WORKER, "pgweir.ring.wait", "Page pushed until taken")                            \
    X(ENCODE, DESTINATION, "pgweir.encode.duration", "Encoding of one page")                       \
    X(COMPRESS, DESTINATION, "pgweir.compress.duration", "Compression of one batch")               \
    X(BATCH_AGE, DESTINATION, "pgweir.batch.age", "Age of a batch when it is closed")              \
    X(REQUEST, DESTINATION, "pgweir.request.duration", "One request, sent until answered")         \
    X(AGE, DESTINATION, "pgweir.delivery.age", "Collection due until acknowledged by the back end")

enum telemetry_value {
#define X(id, ...) TELEMETRY_##id,
    TELEMETRY_VALUES(X)
#undef X
        TELEMETRY_VALUE_COUNT
};

enum telemetry_histogram {
#define X(id, ...) TELEMETRY_HISTOGRAM_##id,
    TELEMETRY_HISTOGRAMS(X)
#undef X
        TELEMETRY_HISTOGRAM_COUNT
};

struct telemetry_value_info {
    enum telemetry_owner owner;
    const char *name, *unit;
    enum telemetry_kind kind;
    const char *label, *label_value, *help;
};

struct telemetry_histogram_info {
    enum telemetry_owner owner;
    const char *name, *help;
};

extern const struct telemetry_value_info telemetry_values[TELEMETRY_VALUE_COUNT];
extern const struct telemetry_histogram_info telemetry_histograms[TELEMETRY_HISTOGRAM_COUNT];

struct telemetry_label {
    const char *key;
    char value[64];
};

enum { TELEMETRY_LABELS_MAX = 3 };

struct telemetry_set {
    struct telemetry_set *next; /* registry's */
    enum telemetry_owner owner;
    uint32_t label_count;
    struct telemetry_label labels[TELEMETRY_LABELS_MAX];
    _Atomic uint64_t version; /* odd while the writer is inside begin/end */
    struct counter values[TELEMETRY_VALUE_COUNT];
    struct histogram *histograms[TELEMETRY_HISTOGRAM_COUNT]; /* those of this owner, else NULL */
};

/* A set of `owner` with `label_count` labels (key, value, …), put into the process's list, which
 * only grows; any thread. Lives until telemetry_reset(). Aborts when memory is out. */
struct telemetry_set *telemetry_open(enum telemetry_owner owner, uint32_t label_count,
                                     const struct telemetry_label *labels);

/* First set of the list; follow `next` (any thread). */
const struct telemetry_set *telemetry_first(void);

/* Forgets and frees all sets: at exit and between tests, when no thread uses them. */
void telemetry_reset(void);

/* The set's writer. */
void telemetry_begin(struct telemetry_set *set);
void telemetry_end(struct telemetry_set *set);

static inline void telemetry_add(struct telemetry_set *set, enum telemetry_value value, uint64_t n)
{
    counter_add(&set->values[value], n);
}

static inline void telemetry_put(struct telemetry_set *set, enum telemetry_value value, uint64_t n)
{
    counter_set(&set->values[value], n);
}

static inline void telemetry_record(struct telemetry_set *set, enum telemetry_histogram histogram,
                                    uint64_t value_ns)
{
    histogram_record(set->histograms[histogram], value_ns);
}

/* `count` times the same value. */
static inline void telemetry_record_many(struct telemetry_set *set,
                                         enum telemetry_histogram histogram, uint64_t value_ns,
                                         uint64_t count)
{
    histogram_record_many(set->histograms[histogram], value_ns, count);
}

/* All values of a set as of one instant between two changes. */
void telemetry_snapshot(const struct telemetry_set *set, uint64_t ret_values[TELEMETRY_VALUE_COUNT]);

/* Sum of one value over all sets. */
uint64_t telemetry_total(enum telemetry_value value);

/* One histogram merged over all sets into a zeroed view. */
void telemetry_merge(enum telemetry_histogram histogram, struct histogram_view *view);
