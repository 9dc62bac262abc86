/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "tools/load/outcome.h"
#include "tools/load/rig.h"

/* System calls per collection: the collector is traced for two seconds, behind the measured time,
 * as tracing slows it down several times. Without strace, or where tracing is forbidden, the figure
 * stays unknown and a note says why. */
void syscalls_count(struct rig *rig, struct outcome *outcome);

/* The total of `strace -c`'s table: the "calls" of the line "total"; false when there is none. */
bool syscalls_read_total(const char *text, uint64_t *ret_calls);
