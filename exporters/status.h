/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "exporters/outbox.h"

/* What worker_read_outbox() and worker_read_tuning() tell, as the JSON objects that /status shows.
 * Any thread. Text for the caller to free; NULL when out of memory. Times are seconds ago or ahead
 * of `now_ns` (monotonic); the age of what is on disk is by the wall clock. */

/* {"limiter": {rate_limit, rate, utilisation, concurrency, …, changes: [{ago_s, what, reason, from,
 * to}, …]}, "spool": {…}}; no "spool" where there is none. Changes newest first. */
char *status_outbox_json(const struct outbox_status *status, uint64_t now_ns);

/* {"mode", "age_target_s", "knobs": [{exporter, knob, value, …}], "decisions": [{ago_s, decision,
 * exporter, knob, from, to, reason, …}], …}; decisions newest first. */
struct tuning_status;
char *status_tuning_json(const struct tuning_status *status, uint64_t now_ns);

/* What both are made with: six significant digits, null for what is not finite; seconds from
 * `at_ns` until `now_ns`, 0 where it is ahead; the text of an object, which is freed. */
json_t *status_number(double value);
json_t *status_ago(uint64_t at_ns, uint64_t now_ns);
char *status_dump(json_t *object);
