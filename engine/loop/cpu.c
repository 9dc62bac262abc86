/* SPDX-License-Identifier: Apache-2.0 */
/* What the machine lets us use: the affinity mask says which cores, the cgroup's quota how much of
 * them. The number of online processors, which most programs take, knows neither, and a shard per
 * online core under a quota of two is throttled for most of each period.
 *
 * Any thread. */
#include "loop/cpu.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"

enum { CPUS_MAX = 8192, PATH_BYTES = 4096, CGROUP_DEPTH = 64 };

static const char *const v1_mounts[] = {"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct",
                                        "/sys/fs/cgroup/cpuacct,cpu"};

/* The process's mask (its main thread's, as shards narrow their own); number of cores, or 0. */
static int affinity(cpu_set_t *set, size_t bytes)
{
    if (sched_getaffinity(getpid(), bytes, set) != 0)
        return 0;
    return CPU_COUNT_S(bytes, set);
}

static bool read_line(const char *path, char *line, size_t bytes)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    bool read = fgets(line, (int)bytes, file) != NULL;
    fclose(file);
    return read;
}

static uint32_t quota_cores(long long quota_us, long long period_us)
{
    if (quota_us <= 0 || period_us <= 0)
        return UINT32_MAX;
    long long cores = (quota_us + period_us - 1) / period_us;
    return cores < UINT32_MAX ? (uint32_t)cores : UINT32_MAX;
}

/* "max 100000" or "150000 100000". */
static uint32_t v2_quota(const char *folder)
{
    char path[PATH_BYTES + 32], line[128];
    long long quota_us = 0, period_us = 0;
    snprintf(path, sizeof path, "%s/cpu.max", folder);
    if (!read_line(path, line, sizeof line) ||
        sscanf(line, "%lld %lld", &quota_us, &period_us) != 2)
        return UINT32_MAX;
    return quota_cores(quota_us, period_us);
}

static uint32_t v1_quota(const char *folder)
{
    char path[PATH_BYTES + 32], quota[64], period[64];
    snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
    if (!read_line(path, quota, sizeof quota))
        return UINT32_MAX;
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
    if (!read_line(path, period, sizeof period))
        return UINT32_MAX;
    return quota_cores(atoll(quota), atoll(period));
}

/* The smallest quota from `mount``cgroup` up to the mount; folders that are not there (a container
 * sees the host's path but mounts its own cgroup as root) have none. */
static uint32_t tightest(const char *mount, const char *cgroup, uint32_t (*quota)(const char *))
{
    char folder[PATH_BYTES];
    int used = snprintf(folder, sizeof folder, "%s%s", mount, cgroup);
    if (used < 0 || (size_t)used >= sizeof folder)
        return UINT32_MAX;
    uint32_t least = UINT32_MAX;
    for (int depth = 0; depth < CGROUP_DEPTH; depth++) {
        uint32_t cores = quota(folder);
        least = cores < least ? cores : least;
        char *slash = strrchr(folder, '/');
        if (slash == NULL || slash < folder + strlen(mount))
            break;
        *slash = 0;
    }
    return least;
}

static bool has_word(const char *list, const char *word)
{
    size_t bytes = strlen(word);
    for (const char *at = list; (at = strstr(at, word)) != NULL; at += bytes)
        if ((at == list || at[-1] == ',') && (at[bytes] == 0 || at[bytes] == ','))
            return true;
    return false;
}

/* A line of /proc/self/cgroup: "0::/path" (v2) or "4:cpu,cpuacct:/path" (v1). */
static uint32_t line_quota(const char *root, char *line)
{
    char mount[PATH_BYTES];
    line[strcspn(line, "\n")] = 0;
    char *controllers = strchr(line, ':');
    char *cgroup = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
    if (cgroup == NULL)
        return UINT32_MAX;
    *cgroup++ = 0;
    controllers++;
    if (*controllers == 0) {
        snprintf(mount, sizeof mount, "%s/sys/fs/cgroup", root);
        return tightest(mount, cgroup, v2_quota);
    }
    uint32_t least = UINT32_MAX;
    for (size_t i = 0; has_word(controllers, "cpu") && i < sizeof v1_mounts / sizeof *v1_mounts;
         i++) {
        snprintf(mount, sizeof mount, "%s%s", root, v1_mounts[i]);
        uint32_t cores = tightest(mount, cgroup, v1_quota);
        least = cores < least ? cores : least;
    }
    return least;
}

uint32_t cpu_quota_count(const char *root)
{
    char path[PATH_BYTES], line[PATH_BYTES];
    uint32_t least = UINT32_MAX;
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return UINT32_MAX;
    while (fgets(line, sizeof line, file) != NULL) {
        uint32_t cores = line_quota(root, line);
        least = cores < least ? cores : least;
    }
    fclose(file);
    return least;
}

uint32_t cpu_usable_count(void)
{
    size_t bytes = CPU_ALLOC_SIZE(CPUS_MAX);
    cpu_set_t *set = CPU_ALLOC(CPUS_MAX);
    xdone(set != NULL);
    uint32_t cores = (uint32_t)affinity(set, bytes);
    CPU_FREE(set);
    uint32_t quota = cpu_quota_count("");
    cores = quota < cores ? quota : cores;
    return cores > 0 ? cores : 1;
}

bool cpu_pin_thread(uint32_t index)
{
    size_t bytes = CPU_ALLOC_SIZE(CPUS_MAX);
    cpu_set_t *set = CPU_ALLOC(CPUS_MAX);
    xdone(set != NULL);
    int count = affinity(set, bytes);
    int left = count > 0 ? (int)(index % (uint32_t)count) : -1;
    int cpu = left < 0 ? CPUS_MAX : 0;
    for (; cpu < CPUS_MAX; cpu++)
        if (CPU_ISSET_S((size_t)cpu, bytes, set) && left-- == 0)
            break;
    bool pinned = false;
    if (cpu < CPUS_MAX) {
        CPU_ZERO_S(bytes, set);
        CPU_SET_S((size_t)cpu, bytes, set);
        pinned = pthread_setaffinity_np(pthread_self(), bytes, set) == 0;
    }
    CPU_FREE(set);
    return pinned;
}

void cpu_name_thread(const char *name)
{
    char cut[16];
    snprintf(cut, sizeof cut, "%s", name);
    pthread_setname_np(pthread_self(), cut);
}
