/* SPDX-License-Identifier: Apache-2.0 */
/* /proc, as needed once a second. CPU time is read in ns from schedstat where there is one, as
 * ticks of 10 ms would be a tenth of what a small run uses; the rest of a process that lost threads
 * comes from stat. Main thread. */
#include "tools/load/proc.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/clock.h"

enum { PATH_BYTES = 320, TEXT_BYTES = 4096 };

/* The whole small file, NUL-terminated; false when there is none. */
static bool slurp(const char *path, char text[TEXT_BYTES])
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    size_t bytes = fread(text, 1, TEXT_BYTES - 1, file);
    text[bytes] = 0;
    fclose(file);
    return bytes > 0;
}

static void add_thread(struct proc_sample *sample, const char *name, uint64_t cpu_ns)
{
    uint32_t i = 0;
    while (i < sample->thread_count && strcmp(sample->threads[i].name, name) != 0)
        i++;
    if (i == PROC_THREADS_MAX)
        return;
    if (i == sample->thread_count) {
        snprintf(sample->threads[i].name, sizeof sample->threads[i].name, "%.23s", name);
        sample->threads[i].cpu_ns = 0;
        sample->thread_count++;
    }
    sample->threads[i].cpu_ns += cpu_ns;
}

static uint64_t read_threads(pid_t pid, struct proc_sample *sample)
{
    char path[PATH_BYTES], text[TEXT_BYTES];
    uint64_t total_ns = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *directory = opendir(path);
    if (directory == NULL)
        return 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%.20s/schedstat", (int)pid, entry->d_name);
        if (!slurp(path, text))
            continue;
        uint64_t cpu_ns = strtoull(text, NULL, 10);
        snprintf(path, sizeof path, "/proc/%d/task/%.20s/comm", (int)pid, entry->d_name);
        if (!slurp(path, text))
            continue;
        text[strcspn(text, "\n")] = 0;
        add_thread(sample, text, cpu_ns);
        total_ns += cpu_ns;
    }
    closedir(directory);
    return total_ns;
}

/* User and system time in ticks and the process group, behind the name, which may hold anything. */
static bool read_stat(pid_t pid, uint64_t *ret_cpu_ns, pid_t *ret_group)
{
    char path[PATH_BYTES], text[TEXT_BYTES];
    unsigned long user = 0, system = 0;
    int group = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (!slurp(path, text))
        return false;
    const char *rest = strrchr(text, ')');
    char state = 0;
    if (rest == NULL ||
        sscanf(rest + 1, " %c %*d %d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &state, &group,
               &user, &system) != 4 ||
        state == 'Z')
        return false;
    *ret_cpu_ns = (user + system) * (NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK));
    *ret_group = group;
    return true;
}

static uint64_t field(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at != NULL ? strtoull(at + strlen(name), NULL, 10) : 0;
}

static int64_t count_descriptors(pid_t pid)
{
    char path[PATH_BYTES];
    int64_t count = -2; /* . and .. */
    struct stat is;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *directory = opendir(path);
    if (directory == NULL)
        return -1;
    /* Since Linux 6.2 the size is their number, which spares listing 100,000 of them. */
    if (fstat(dirfd(directory), &is) == 0 && is.st_size > 0) {
        closedir(directory);
        return is.st_size;
    }
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

static void read_one(pid_t pid, struct proc_sample *sample)
{
    char path[PATH_BYTES], text[TEXT_BYTES];
    uint64_t ticks_ns = 0;
    pid_t group = 0;
    if (!read_stat(pid, &ticks_ns, &group))
        return;
    sample->alive = true;
    uint64_t threads_ns = read_threads(pid, sample);
    /* schedstat is exact, but forgets threads that ended; ticks count them. */
    sample->cpu_ns += threads_ns + NS_PER_S / 10 < ticks_ns ? ticks_ns : threads_ns;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    if (slurp(path, text))
        sample->rss_kib += field(text, "VmRSS:");
    int64_t descriptors = count_descriptors(pid);
    if (descriptors < 0 || sample->descriptors < 0)
        sample->descriptors = -1;
    else
        sample->descriptors += descriptors;
    snprintf(path, sizeof path, "/proc/%d/io", (int)pid);
    if (slurp(path, text)) {
        sample->read_bytes += field(text, "rchar:");
        sample->written_bytes += field(text, "wchar:");
    }
}

void proc_read(pid_t pid, bool group, struct proc_sample *ret_sample)
{
    memset(ret_sample, 0, sizeof *ret_sample);
    if (!group) {
        read_one(pid, ret_sample);
        return;
    }
    DIR *directory = opendir("/proc");
    if (directory == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        uint64_t ignored_ns;
        pid_t of = 0, member = (pid_t)strtol(entry->d_name, NULL, 10);
        if (member > 0 && read_stat(member, &ignored_ns, &of) && of == pid)
            read_one(member, ret_sample);
    }
    closedir(directory);
}

uint64_t proc_thread_ns(const struct proc_sample *sample, const char *name)
{
    for (uint32_t i = 0; i < sample->thread_count; i++)
        if (strcmp(sample->threads[i].name, name) == 0)
            return sample->threads[i].cpu_ns;
    return 0;
}

/* What stands behind the colon of the first line that begins so. */
static void read_line_of(const char *path, const char *name, char *ret_value, size_t bytes)
{
    FILE *file = fopen(path, "re");
    char line[512];
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        const char *colon = strchr(line, ':');
        if (colon == NULL || strncmp(line, name, strlen(name)) != 0)
            continue;
        colon += 1 + strspn(colon + 1, " \t");
        snprintf(ret_value, bytes, "%.*s", (int)strcspn(colon, "\n"), colon);
        break;
    }
    if (file != NULL)
        fclose(file);
}

void machine_read(struct machine *ret_machine)
{
    struct utsname name;
    char memory[64] = "0";
    memset(ret_machine, 0, sizeof *ret_machine);
    snprintf(ret_machine->cpu, sizeof ret_machine->cpu, "unknown");
    read_line_of("/proc/cpuinfo", "model name", ret_machine->cpu, sizeof ret_machine->cpu);
    read_line_of("/proc/meminfo", "MemTotal", memory, sizeof memory);
    ret_machine->memory_mib = strtoull(memory, NULL, 10) / 1024;
    ret_machine->cores = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
    if (uname(&name) == 0)
        snprintf(ret_machine->kernel, sizeof ret_machine->kernel, "%.60s %.60s", name.sysname,
                 name.release);
}

uint64_t machine_busy_ns(void)
{
    char text[TEXT_BYTES];
    /* user nice system idle iowait irq softirq steal; guest time is in user already */
    unsigned long long t[8] = {0};
    if (!slurp("/proc/stat", text) ||
        sscanf(text, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &t[0], &t[1], &t[2], &t[3],
               &t[4], &t[5], &t[6], &t[7]) != 8)
        return 0;
    return (t[0] + t[1] + t[2] + t[5] + t[6] + t[7]) * (NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK));
}

uint64_t proc_raise_descriptors(uint64_t count)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    if (limit.rlim_cur >= count)
        return limit.rlim_cur;
    struct rlimit wanted = {.rlim_cur = count,
                            .rlim_max = limit.rlim_max > count ? limit.rlim_max : count};
    if (setrlimit(RLIMIT_NOFILE, &wanted) == 0)
        return count;
    wanted = (struct rlimit){limit.rlim_max, limit.rlim_max};
    return setrlimit(RLIMIT_NOFILE, &wanted) == 0 ? limit.rlim_max : limit.rlim_cur;
}
