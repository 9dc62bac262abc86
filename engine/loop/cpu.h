/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Cores this process may use: its affinity mask, capped by the cgroup's CPU quota rounded up
 * (cgroup v2 cpu.max and v1 cfs_quota_us). At least 1. */
uint32_t cpu_usable_count(void);

/* Cores that CPU quotas of the process's cgroups allow, rounded up; UINT32_MAX without a quota. The
 * tightest of the cgroup and those above it counts. `root` is "" but in tests. */
uint32_t cpu_quota_count(const char *root);

/* Pins the calling thread to the `index`-th core of the process's affinity mask (modulo its size).
 * False, and nothing changed, where the kernel refuses; the caller goes on unpinned. */
bool cpu_pin_thread(uint32_t index);

/* Name shown by top -H, cut to 15 bytes. */
void cpu_name_thread(const char *name);
