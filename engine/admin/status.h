/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "admin/server.h"

/* The JSON of /status, to be freed; NULL when out of memory. Everything an operator asks first,
 * indented, of the last minute and of all time:
 *
 *   version, started, uptime_s, status
 *   targets    how many are up, degraded, down, unknown
 *   shards     each with its loop, its counts, and its schedule's lag
 *   stages     latency of each stage over all threads: count, p50, p90, p99, max in ms
 *   exporters  each with its identity (collected + recovered = delivered + queued + spooled +
 *              dropped), its counts, its stages, and what limits it
 *   tuner      the auto-tuner's knobs and last decisions
 */
char *status_text(const struct request *request);
