/* SPDX-License-Identifier: Apache-2.0 */
/* Children: started in groups of their own, watched by polling (a run looks at them every second
 * anyway), and never left behind. Main thread; process_kill_all() from a signal handler, too. */
#include "tools/load/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "tools/load/files.h"

enum {
    CHILDREN_MAX = 16,
    POLL_NS = 10 * 1000 * 1000,
    TAIL_BYTES = 500,
    OUTPUT_BYTES_MAX = 64 << 20
};

/* For process_kill_all(): a handler may read it at any time. */
static volatile pid_t children[CHILDREN_MAX];

static void remember(pid_t before, pid_t now)
{
    for (int i = 0; i < CHILDREN_MAX; i++)
        if (children[i] == before) {
            children[i] = now;
            return;
        }
    CHECK(before != 0); /* more children than a run has */
}

void process_kill_all(void)
{
    for (int i = 0; i < CHILDREN_MAX; i++)
        if (children[i] != 0)
            kill(-children[i], SIGKILL);
}

static void nap(void)
{
    const struct timespec time = {.tv_nsec = POLL_NS};
    nanosleep(&time, NULL);
}

/* In the child; only async-signal-safe calls. */
static _Noreturn void become(const struct process *process, const char *const *argv, pid_t parent)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    int in = open("/dev/null", O_RDONLY);
    int out = open(process->output, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    int log = open(process->log, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (in >= 0 && out >= 0 && log >= 0 && dup2(in, 0) >= 0 && dup2(out, 1) >= 0 &&
        dup2(log, 2) >= 0) {
        /* execvp takes what it does not change as changeable */
        execvp(argv[0], (char *const *)(uintptr_t)argv);
    }
    const char *reason = strerror(errno);
    ssize_t written = write(2, reason, strlen(reason));
    (void)written;
    _exit(127);
}

bool process_start(struct process *process, const char *name, const char *directory,
                   const char *const *argv, struct error *error)
{
    *process = (struct process){.name = name};
    if (snprintf(process->output, sizeof process->output, "%s/%s.out", directory, name) >=
            (int)sizeof process->output ||
        snprintf(process->log, sizeof process->log, "%s/%s.log", directory, name) >=
            (int)sizeof process->log)
        return error_set(error, "%s: the path is too long", directory);
    unlink(process->output); /* an earlier run's must not be taken for this one's */
    unlink(process->log);
    pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        become(process, argv, parent);
    if (pid < 0)
        return error_set(error, "%s: cannot fork: %s", name, strerror(errno));
    setpgid(pid, pid); /* both sides do, whoever comes first */
    process->pid = pid;
    remember(0, pid);
    return true;
}

bool process_running(struct process *process)
{
    if (process->pid == 0 || process->ended)
        return false;
    int status = 0;
    pid_t pid = waitpid(process->pid, &status, WNOHANG);
    if (pid == 0)
        return true;
    process->ended = true;
    process->status = pid > 0 ? status : 0;
    remember(process->pid, 0);
    return false;
}

void process_explain(const struct process *process, struct error *error)
{
    struct error ignored;
    size_t bytes = 0;
    char *text = files_read(process->log, OUTPUT_BYTES_MAX, &bytes, &ignored);
    const char *tail = text == NULL ? "" : bytes > TAIL_BYTES ? text + bytes - TAIL_BYTES : text;
    char how[64];
    if (!process->ended)
        snprintf(how, sizeof how, "still runs");
    else if (WIFSIGNALED(process->status))
        snprintf(how, sizeof how, "was ended by signal %d", WTERMSIG(process->status));
    else
        snprintf(how, sizeof how, "ended with exit code %d", WEXITSTATUS(process->status));
    error_set(error, "%s %s; its log (%s) ends with:\n%s", process->name, how, process->log, tail);
    free(text);
}

/* The rest of the first line that begins so; false when there is none yet. */
static bool find_line(const char *path, const char *prefix, char *ret_rest, size_t rest_bytes)
{
    FILE *file = fopen(path, "re");
    char line[1024];
    bool found = false;
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL) {
        char *end = strchr(line, '\n');
        found = end != NULL && strncmp(line, prefix, strlen(prefix)) == 0;
        if (found)
            snprintf(ret_rest, rest_bytes, "%.*s", (int)(end - line - (ptrdiff_t)strlen(prefix)),
                     line + strlen(prefix));
    }
    if (file != NULL)
        fclose(file);
    return found;
}

bool process_wait_line(struct process *process, const char *prefix, uint64_t timeout_ns,
                       char *ret_rest, size_t rest_bytes, struct error *error)
{
    uint64_t deadline_ns = clock_monotonic_ns() + timeout_ns;
    for (;;) {
        bool running = process_running(process);
        if (find_line(process->output, prefix, ret_rest, rest_bytes))
            return true;
        if (!running || clock_monotonic_ns() > deadline_ns)
            break;
        nap();
    }
    process_explain(process, error);
    return error_prefix(error, "waited for \"%s…\": ", prefix);
}

void process_signal(struct process *process, int number)
{
    if (!process_running(process))
        return;
    if (kill(-process->pid, number) == 0)
        process->stopped = number == SIGSTOP || (process->stopped && number != SIGCONT);
}

void process_kill(struct process *process)
{
    if (!process_running(process))
        return;
    kill(-process->pid, SIGKILL);
    while (waitpid(process->pid, &process->status, 0) < 0 && errno == EINTR)
        continue;
    process->ended = true;
    remember(process->pid, 0);
}

bool process_stop(struct process *process, uint64_t timeout_ns, struct error *error)
{
    if (process->pid == 0)
        return true;
    uint64_t deadline_ns = clock_monotonic_ns() + timeout_ns;
    if (process_running(process)) {
        if (process->stopped)
            process_signal(process, SIGCONT);
        kill(-process->pid, SIGTERM);
    }
    while (process_running(process) && clock_monotonic_ns() < deadline_ns)
        nap();
    if (!process_running(process)) {
        if (WIFEXITED(process->status) && WEXITSTATUS(process->status) == 0)
            return true;
        process_explain(process, error);
        return false;
    }
    process_kill(process);
    return error_set(error, "%s had not ended %.0f s after SIGTERM and was killed; its log is %s",
                     process->name, (double)timeout_ns / (double)NS_PER_S, process->log);
}
