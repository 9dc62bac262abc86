/* SPDX-License-Identifier: Apache-2.0 */
/* For people, so numbers are rounded and nothing is left to be computed. */
#include "exporters/status.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "control/breaker.h"

json_t *status_number(double value)
{
    if (!isfinite(value))
        return json_null();
    if (value == 0)
        return json_real(0);
    double unit = pow(10, 5 - floor(log10(fabs(value))));
    return json_real(round(value * unit) / unit);
}

json_t *status_ago(uint64_t at_ns, uint64_t now_ns)
{
    return status_number(now_ns > at_ns ? (double)(now_ns - at_ns) / (double)NS_PER_S : 0);
}

static json_t *json_ahead(uint64_t at_ns, uint64_t now_ns)
{
    return status_ago(now_ns, at_ns);
}

static json_t *breaker_name(double state)
{
    static const char *const names[] = {
        [BREAKER_CLOSED] = "closed", [BREAKER_OPEN] = "open", [BREAKER_HALF_OPEN] = "half_open"};
    return json_string(names[(int)state]);
}

static json_t *change_json(const struct limiter_change *change, uint64_t now_ns)
{
    bool breaker = strcmp(change->what, "breaker") == 0;
    return json_pack("{s:o, s:s, s:s, s:o, s:o}", "ago_s", status_ago(change->at_ns, now_ns),
                     "what", change->what, "reason", change->reason, "from",
                     breaker ? breaker_name(change->from) : status_number(change->from), "to",
                     breaker ? breaker_name(change->to) : status_number(change->to));
}

static json_t *limiter_json(const struct outbox_status *status, uint64_t now_ns)
{
    json_t *changes = json_array();
    for (uint32_t i = status->changes_held; i-- > 0;)
        json_array_append_new(changes, change_json(&status->changes[i], now_ns));
    return json_pack("{s:o, s:o, s:o, s:i, s:i, s:i, s:s, s:o, s:o, s:I, s:o}", "rate_limit",
                     status->rate_limit > 0 ? status_number(status->rate_limit) : json_null(),
                     "rate", status_number(status->rate), "utilisation",
                     status_number(status->utilisation), "in_flight", (int)status->in_flight,
                     "concurrency", (int)status->concurrency, "concurrency_max",
                     (int)status->concurrency_max, "circuit_breaker", status->breaker,
                     "opens_again_in_s", json_ahead(status->open_until_ns, now_ns), "gate_s",
                     json_ahead(status->gate_until_ns, now_ns), "change_count",
                     (json_int_t)status->change_count, "changes", changes);
}

static json_t *spool_json(const struct spool_status *spool)
{
    json_t *object = json_pack(
        "{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "working", (int)spool->working,
        "batches", (json_int_t)spool->records, "points", (json_int_t)spool->points, "bytes",
        (json_int_t)spool->bytes, "disk_bytes", (json_int_t)spool->disk_bytes, "recovered_points",
        (json_int_t)spool->recovered_points, "corrupt_records", (json_int_t)spool->corrupt_records,
        "corrupt_points", (json_int_t)spool->corrupt_points, "write_errors",
        (json_int_t)spool->write_errors, "sync_errors", (json_int_t)spool->sync_errors);
    if (spool->oldest_ns != 0)
        json_object_set_new(object, "oldest_s", status_ago(spool->oldest_ns, clock_wall_ns()));
    if (spool->trouble[0] != 0)
        json_object_set_new(object, "trouble", json_string(spool->trouble));
    return object;
}

char *status_dump(json_t *object)
{
    char *text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(12));
    json_decref(object);
    return text;
}

char *status_outbox_json(const struct outbox_status *status, uint64_t now_ns)
{
    json_t *object = json_pack("{s:o}", "limiter", limiter_json(status, now_ns));
    if (status->has_spool)
        json_object_set_new(object, "spool", spool_json(&status->spool));
    return status_dump(object);
}
