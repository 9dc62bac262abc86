/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What the kernel says of a process. Threads of one name are added up. */
enum { PROC_THREADS_MAX = 96 };

struct proc_thread {
    char name[24];
    uint64_t cpu_ns;
};

struct proc_sample {
    bool alive;
    uint64_t cpu_ns; /* all threads, those that have ended included */
    uint64_t rss_kib;
    int64_t descriptors; /* -1: not ours to see */
    uint64_t written_bytes,
        read_bytes; /* by read(2) and write(2) and their like; 0: not ours to see */
    uint32_t thread_count;
    struct proc_thread threads[PROC_THREADS_MAX];
};

/* The process, or with `group` all of its process group (a shell and what it runs). */
void proc_read(pid_t pid, bool group, struct proc_sample *ret_sample);

/* CPU of a thread's name; 0 where there is none. */
uint64_t proc_thread_ns(const struct proc_sample *sample, const char *name);

/* The machine, for the record. */
struct machine {
    char cpu[128], kernel[128];
    uint32_t cores;
    uint64_t memory_mib;
};
void machine_read(struct machine *ret_machine);

/* CPU that all processes of the machine have used, ns; by ticks of 10 ms. */
uint64_t machine_busy_ns(void);

/* Lets this process and its children open `count` descriptors; what it is now when not allowed. */
uint64_t proc_raise_descriptors(uint64_t count);
