/* SPDX-License-Identifier: Apache-2.0 */
/* The report: what all threads have counted. Any thread; counters are read as they are. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "tools/sim/serve.h"

static double process_cpu_s(void)
{
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static long resident_kib(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file != NULL) {
        if (fscanf(file, "%*d %ld", &pages) != 1)
            pages = 0;
        fclose(file);
    }
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static json_t *sum(const struct sim *sim, size_t offset)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < sim->settings.threads; i++)
        total += counter_read(
            (const struct counter *)(const void *)((const char *)&sim->threads[i].tally + offset));
    return json_integer((json_int_t)total);
}

static json_t *errors(const struct sim *sim)
{
    json_t *object = json_object();
    for (uint32_t i = 0; i < sim->settings.threads; i++) {
        const struct tally *tally = &sim->threads[i].tally;
        uint64_t count = atomic_load_explicit(&tally->sqlstate_count.value, memory_order_acquire);
        for (uint64_t k = 0; k < count; k++) {
            const char *sqlstate = tally->sqlstates[k].sqlstate;
            json_int_t before = json_integer_value(json_object_get(object, sqlstate));
            json_int_t more = (json_int_t)counter_read(&tally->sqlstates[k].count);
            json_object_set_new(object, sqlstate, json_integer(before + more));
        }
    }
    return object;
}

static json_t *rules(struct sim *sim)
{
    json_t *array = json_array();
    const struct script *script = atomic_load_explicit(&sim->script, memory_order_acquire);
    for (size_t i = 0; script != NULL && i < script->count; i++) {
        json_int_t hits =
            (json_int_t)atomic_load_explicit(&script->rules[i]->hits, memory_order_relaxed);
        json_array_append_new(
            array, json_pack("{s:s, s:I}", "rule", script->rules[i]->name, "hits", hits));
    }
    return array;
}

/* Answers of open connections that are with the kernel count as arrived. */
static json_t *values(const struct sim *sim)
{
    json_t *arrived = sum(sim, offsetof(struct tally, values));
    json_t *sent = sum(sim, offsetof(struct tally, sent_values));
    json_int_t total = json_integer_value(arrived) + json_integer_value(sent);
    json_decref(arrived);
    json_decref(sent);
    return json_integer(total);
}

static void add_sums(json_t *report, const struct sim *sim)
{
    static const struct {
        const char *key;
        size_t offset;
    } sums[] = {
        {"connections_open", offsetof(struct tally, open)},
        {"connections_accepted", offsetof(struct tally, accepted)},
        {"connections_refused", offsetof(struct tally, refused)},
        {"scrapes", offsetof(struct tally, scrapes)},
        {"executions", offsetof(struct tally, executions)},
        {"rows", offsetof(struct tally, rows)},
        {"void_values", offsetof(struct tally, void_values)},
        {"cancels", offsetof(struct tally, cancels)},
        {"bytes_in", offsetof(struct tally, received_bytes)},
        {"bytes_out", offsetof(struct tally, sent_bytes)},
        {"syscalls", offsetof(struct tally, syscalls)},
    };
    for (size_t i = 0; i < sizeof sums / sizeof sums[0]; i++)
        json_object_set_new(report, sums[i].key, sum(sim, sums[i].offset));
}

char *report_make(struct sim *sim)
{
    json_t *report = json_object();
    enum loop_kind kind = net_kind_used(sim->threads[0].net);
    double seconds = (double)(clock_monotonic_ns() - sim->started_ns) / 1e9;
    json_object_set_new(report, "servers", json_integer(sim->settings.servers));
    json_object_set_new(report, "threads", json_integer(sim->settings.threads));
    add_sums(report, sim);
    json_object_set_new(report, "values", values(sim));
    json_object_set_new(report, "errors", errors(sim));
    json_object_set_new(report, "rules", rules(sim));
    json_object_set_new(report, "seconds", json_real(seconds));
    json_object_set_new(report, "cpu_seconds", json_real(process_cpu_s()));
    json_object_set_new(report, "rss_kib", json_integer(resident_kib()));
    json_object_set_new(report, "loop", json_string(kind == LOOP_IO_URING ? "io_uring" : "epoll"));
    char *text = json_dumps(report, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    CHECK(text != NULL);
    json_decref(report);
    return text;
}
