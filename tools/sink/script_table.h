/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "tools/sink/script.h"

/* The script's keys as option tables; `latency` of a phase is read by latency_read() and
 * `phases` by script.c, as their values have shapes of their own. */
extern const struct option_table script_table, script_phase_table, script_limit_table,
    script_fault_table;
