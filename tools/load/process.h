/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* The programs of a run: each a child in a process group of its own, its output in two files of the
 * run's directory. A child never outlives us: it is killed when our main thread dies
 * (PR_SET_PDEATHSIG) and by process_kill_all(). Main thread. */
struct process {
    const char *name;             /* borrowed */
    pid_t pid;                    /* 0: none */
    char output[4096], log[4096]; /* paths of standard output and standard error */
    int status;                   /* of wait(2), once ended */
    bool ended, stopped;
};

/* `argv` ends with NULL; argv[0] is a path or found in PATH. */
bool process_start(struct process *process, const char *name, const char *directory,
                   const char *const *argv, struct error *error);

/* Waits until a line of the output begins with `prefix` and gives what follows it. An error when it
 * ends before or the time is over; with the log's end. */
bool process_wait_line(struct process *process, const char *prefix, uint64_t timeout_ns,
                       char *ret_rest, size_t rest_bytes, struct error *error);

/* Whether it still runs; reaps it when not. */
bool process_running(struct process *process);

/* Signals the whole group. Nothing where there is none. */
void process_signal(struct process *process, int number);

/* SIGTERM to the group, then SIGKILL when it has not ended within the time;
 * false with an error when it had to be killed or its exit code is not 0. Nothing where it was not
 * started. */
bool process_stop(struct process *process, uint64_t timeout_ns, struct error *error);

/* Ends it without asking. */
void process_kill(struct process *process);

/* All that run; async-signal-safe. */
void process_kill_all(void);

/* "ended with exit code 2; its log ends with: …" */
void process_explain(const struct process *process, struct error *error);
