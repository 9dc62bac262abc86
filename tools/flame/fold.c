/* SPDX-License-Identifier: Apache-2.0 */
/* perf script's text as folded stacks. A record is a head line, frames (innermost first) and an
 * empty line:
 *
 *     shard-0 13549   824.790033:    1003009 cpu-clock:
 *             ffffffff814232c1 do_sys_poll+0x437 ([kernel.kallsyms])
 *                        fc26f __poll+0x4f (/usr/lib/x86_64-linux-gnu/libc.so.6)
 *
 * and a switch event a head line alone: "shard-0 13549 824.790047: PERF_RECORD_SWITCH OUT preempt".
 * perf puts records in order of time, so a thread's last sample before a switch tells its stack. */
#include "tools/flame/fold.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/memory.h"
#include "tools/flame/frame.h"
#include "tools/flame/graft.h"

enum { FRAMES_MAX = 512, COMM_BYTES = 64, EVENT_BYTES = 64, NS_PER_US = 1000 };

static const char waits_for_cpu[] = "(waits for a CPU)";
static const char astray[] = "? [unknown]";

struct head {
    char comm[COMM_BYTES];
    uint64_t thread;
    uint64_t time_us;
    uint64_t period;
    char event[EVENT_BYTES];
    bool is_switch, out, preempted;
};

/* A thread of an off-CPU profile: where it stopped last, and since when. */
struct thread {
    uint64_t id;
    char *stack;
    bool off, preempted;
    uint64_t since_us;
};

struct folder {
    struct stacks *stacks;
    struct fold_counts *counts;
    bool merge_threads;
    struct thread *threads;
    size_t thread_count;
    uint64_t last_us;
    bool on_cpu, off_cpu;
    /* The record at hand. */
    struct head head;
    char frames[FRAMES_MAX][FRAME_BYTES];
    size_t frame_count;
    bool whole, open;
};

static struct thread *thread_of(struct folder *folder, uint64_t id)
{
    for (size_t i = 0; i < folder->thread_count; i++)
        if (folder->threads[i].id == id)
            return &folder->threads[i];
    folder->threads = xrealloc(folder->threads, (folder->thread_count + 1) * sizeof(struct thread));
    struct thread *thread = &folder->threads[folder->thread_count++];
    *thread = (struct thread){.id = id};
    return thread;
}

/* "824.790033" as microseconds; NULL when it is no time. */
static const char *parse_time(const char *at, uint64_t *ret_us)
{
    char *end;
    if (!isdigit((unsigned char)*at))
        return NULL;
    uint64_t seconds = strtoull(at, &end, 10);
    if (*end != '.')
        return NULL;
    uint64_t part = 0, digits = 0;
    for (end++; isdigit((unsigned char)*end); end++, digits++)
        if (digits < 6)
            part = part * 10 + (uint64_t)(*end - '0');
    if (*end != ':' || digits < 6)
        return NULL;
    *ret_us = seconds * 1000000 + part;
    return end + 1;
}

/* "13549 [001] 824.790033:", with or without "PID/" before and the CPU between. */
static const char *parse_thread_and_time(const char *at, struct head *head)
{
    char *end;
    if (!isdigit((unsigned char)*at))
        return NULL;
    head->thread = strtoull(at, &end, 10);
    if (*end == '/')
        head->thread = strtoull(end + 1, &end, 10);
    if (*end != ' ')
        return NULL;
    at = end + strspn(end, " ");
    if (*at == '[')
        at += strcspn(at, "]") + (strchr(at, ']') != NULL);
    at += strspn(at, " ");
    return parse_time(at, &head->time_us);
}

/* The thread's name may have spaces: it ends where a number and a time follow. */
static bool parse_head(const char *line, struct head *head)
{
    *head = (struct head){0};
    line += strspn(line, " ");
    for (const char *space = strchr(line, ' '); space != NULL; space = strchr(space, ' ')) {
        const char *next = space + strspn(space, " ");
        const char *rest = parse_thread_and_time(next, head);
        if (rest == NULL) {
            space = next;
            continue;
        }
        snprintf(head->comm, sizeof head->comm, "%.*s", (int)(space - line), line);
        rest += strspn(rest, " ");
        const char *event = strstr(rest, "PERF_RECORD_SWITCH");
        head->is_switch = event != NULL;
        head->out = event != NULL && strstr(event, "OUT") != NULL;
        head->preempted = event != NULL && strstr(event, "preempt") != NULL;
        char *end;
        head->period = strtoull(rest, &end, 10);
        end += strspn(end, " ");
        snprintf(head->event, sizeof head->event, "%.*s", (int)strcspn(end, ": \t"), end);
        return head->is_switch || head->event[0] != '\0';
    }
    return false;
}

static void clean_comm(const struct folder *folder, char *comm)
{
    for (char *at = comm; *at != '\0'; at++)
        if (*at == ';' || (unsigned char)*at < ' ' || (unsigned char)*at > '~')
            *at = '_';
    size_t bytes = strlen(comm);
    if (!folder->merge_threads)
        return;
    while (bytes > 1 && isdigit((unsigned char)comm[bytes - 1]))
        comm[--bytes] = '\0';
    if (bytes > 1 && strchr("-_:/", comm[bytes - 1]) != NULL)
        comm[bytes - 1] = '\0';
}

/* The record's frames, outermost first, behind the thread's name; to be freed. */
static char *join_frames(struct folder *folder, size_t *ret_bytes)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, ret_bytes);
    CHECK(out != NULL);
    clean_comm(folder, folder->head.comm);
    fputs(folder->head.comm, out);
    /* Outermost addresses that are none of code: unwinding went astray there. */
    while (folder->frame_count > 0 && strcmp(folder->frames[folder->frame_count - 1], astray) == 0)
        folder->frame_count--;
    if (!folder->whole && folder->frame_count > 0)
        fputs(";" GRAFT_UNKNOWN, out);
    for (size_t i = folder->frame_count; i-- > 0;) {
        const char *frame = folder->frames[i];
        /* Unknown ones in a row tell no more than one. */
        bool again = i + 1 < folder->frame_count && frame[0] == '?' &&
                     strcmp(frame, folder->frames[i + 1]) == 0;
        if (!again)
            fprintf(out, ";%s", frame);
    }
    CHECK(fclose(out) == 0);
    return text;
}

static bool is_time(const char *event)
{
    return strncmp(event, "cpu-clock", 9) == 0 || strncmp(event, "task-clock", 10) == 0;
}

static void end_sample(struct folder *folder)
{
    if (!folder->open)
        return;
    folder->open = false;
    folder->counts->samples++;
    folder->counts->whole += folder->whole;
    size_t bytes;
    char *text = join_frames(folder, &bytes);
    if (strncmp(folder->head.event, "context-switches", 16) == 0) {
        struct thread *thread = thread_of(folder, folder->head.thread);
        free(thread->stack);
        thread->stack = text;
        folder->off_cpu = true;
        return;
    }
    folder->on_cpu = true;
    uint64_t weight = is_time(folder->head.event) ? folder->head.period / NS_PER_US : 1;
    stacks_add(folder->stacks, text, bytes, weight, STACKS_AFTER);
    folder->counts->weight += weight;
    free(text);
}

static void end_wait(struct folder *folder, struct thread *thread, uint64_t now_us)
{
    if (thread->off && thread->stack != NULL && now_us > thread->since_us) {
        char *text = NULL;
        int bytes = asprintf(&text, "%s%s%s", thread->stack, thread->preempted ? ";" : "",
                             thread->preempted ? waits_for_cpu : "");
        CHECK(bytes >= 0);
        stacks_add(folder->stacks, text, (size_t)bytes, now_us - thread->since_us, STACKS_AFTER);
        folder->counts->weight += now_us - thread->since_us;
        folder->counts->switches++;
        free(text);
    }
    thread->off = false;
}

static void take_switch(struct folder *folder)
{
    const struct head *head = &folder->head;
    struct thread *thread = thread_of(folder, head->thread);
    if (head->out) {
        thread->off = true;
        thread->preempted = head->preempted;
        thread->since_us = head->time_us;
    } else {
        end_wait(folder, thread, head->time_us);
    }
}

static void take_frame(struct folder *folder, const char *line)
{
    char frame[FRAME_BYTES];
    if (!folder->open || folder->frame_count == FRAMES_MAX || !frame_parse(line, frame))
        return;
    if (frame_is_outermost(frame))
        folder->whole = true;
    else if (!frame_is_passage(frame))
        memcpy(folder->frames[folder->frame_count++], frame, sizeof frame);
}

static void take_line(struct folder *folder, const char *line)
{
    if (line[0] == '\0') {
        end_sample(folder);
    } else if (line[0] == '\t' || (line[0] == ' ' && folder->open)) {
        take_frame(folder, line);
    } else if (line[0] != '#') {
        end_sample(folder);
        if (!parse_head(line, &folder->head))
            return;
        folder->last_us = folder->head.time_us;
        if (folder->head.is_switch) {
            take_switch(folder);
            return;
        }
        folder->open = true;
        folder->whole = false;
        folder->frame_count = 0;
    }
}

static void end_profile(struct folder *folder)
{
    end_sample(folder);
    /* Who still waits when the profile ends has waited until then. */
    for (size_t i = 0; i < folder->thread_count; i++) {
        end_wait(folder, &folder->threads[i], folder->last_us);
        free(folder->threads[i].stack);
    }
    free(folder->threads);
    stacks_merge(folder->stacks);
    folder->counts->weight_inferred = graft_stacks(folder->stacks);
}

bool fold_script(struct stacks *stacks, const char *path, bool merge_threads,
                 struct fold_counts *ret_counts, struct error *error)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    if (file == NULL)
        return error_set(error, "%s: cannot be read: %s", path, strerror(errno));
    struct folder *folder = xcalloc(1, sizeof *folder);
    *ret_counts = (struct fold_counts){0};
    folder->stacks = stacks;
    folder->counts = ret_counts;
    folder->merge_threads = merge_threads;
    char *line = NULL;
    size_t room = 0;
    for (ssize_t bytes; (bytes = getline(&line, &room, file)) >= 0;) {
        while (bytes > 0 && isspace((unsigned char)line[bytes - 1]))
            line[--bytes] = '\0';
        take_line(folder, line);
    }
    end_profile(folder);
    bool mixed = folder->on_cpu && folder->off_cpu;
    bool failed = ferror(file) != 0;
    free(line);
    free(folder);
    if (file != stdin)
        fclose(file);
    if (failed)
        return error_set(error, "%s: cannot be read: %s", path, strerror(errno));
    if (mixed)
        return error_set(error, "%s: has context-switches beside other events; record them apart",
                         path);
    if (ret_counts->samples == 0)
        return error_set(error,
                         "%s: no samples; give what `perf script -F "
                         "comm,tid,time,period,event,ip,sym,dso` prints",
                         path);
    return true;
}
