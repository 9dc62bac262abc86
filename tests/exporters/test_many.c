/* SPDX-License-Identifier: Apache-2.0 */
/* Exporters of every kind in one pipeline, one of them dead and one very slow: each of the others
 * gets everything as if it were alone, and each one's books balance at every moment. The sink's
 * program comes as the first argument. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "exporters/exporter.h"
#include "tests/exporters/rig.h"
#include "tests/exporters/sink.h"

enum { PAGES = 300, PAGE_POINTS = 32, POINTS = PAGES * PAGE_POINTS };

/* In this order. */
enum which { DEAD, SLOW, OTLP, REMOTE, SCRAPED, FILED, PRINTED, WHICH_COUNT };

static const char *sink_program;

#define ARGUMENTS(...) ((const char *const[]){__VA_ARGS__, NULL})

static bool is_well(int which)
{
    return which != DEAD && which != SLOW;
}

static void check_all_books(const struct rig *rig)
{
    for (int i = 0; i < WHICH_COUNT; i++)
        rig_check_books(rig->sets[i]);
}

/* Pushes while it looks at every book, then waits for those that are well. */
static void deliver(struct rig *rig)
{
    for (int i = 0; i < PAGES; i++) {
        rig_push(rig, PAGE_POINTS, 0);
        check_all_books(rig);
    }
    uint64_t deadline_ns = clock_monotonic_ns() + 30 * NS_PER_S;
    for (int i = 0; i < WHICH_COUNT; i++) {
        while (is_well(i) && rig_value(rig, (uint32_t)i, TELEMETRY_POINTS_DELIVERED) < POINTS) {
            check_all_books(rig);
            if (clock_monotonic_ns() > deadline_ns)
                fail_msg(
                    "exporter %d delivered %llu of %d points", i,
                    (unsigned long long)rig_value(rig, (uint32_t)i, TELEMETRY_POINTS_DELIVERED),
                    POINTS);
        }
    }
}

static void add_all(struct rig *rig, const struct sink *slow, const struct sink *well,
                    const char *file)
{
    static char write_url[96];
    snprintf(write_url, sizeof write_url, "%s/api/v1/write", well->url);
    rig_add(rig, &otlp_http_exporter.component, ARGUMENTS("endpoint", "http://127.0.0.1:1"));
    rig_add(rig, &newrelic_exporter.component,
            ARGUMENTS("endpoint", slow->url, "api_key", "k", "concurrency.max", "1"));
    rig_add(rig, &otlp_http_exporter.component, ARGUMENTS("endpoint", well->url));
    rig_add(rig, &prometheusremotewrite_exporter.component,
            ARGUMENTS("endpoint", write_url, "target_info.enabled", "false"));
    rig_add(rig, &prometheus_exporter.component, ARGUMENTS("endpoint", "127.0.0.1:0"));
    rig_add(rig, &file_exporter.component, ARGUMENTS("path", file, "format", "proto"));
    rig_add(rig, &debug_exporter.component, ARGUMENTS("verbosity", "normal"));
}

/* A line a point. */
static size_t count_points_printed(const char *path)
{
    static char line[4096];
    size_t count = 0;
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL)
        count += strstr(line, "postgresql.") != NULL || strstr(line, "pgweir.target") != NULL;
    fclose(file);
    return count;
}

static void test_many(void **state)
{
    (void)state;
    struct rig rig;
    struct sink slow, well;
    char file[] = "/tmp/pgweir-many-XXXXXX", printed[] = "/tmp/pgweir-printed-XXXXXX";
    int fd = mkstemp(file), out = mkstemp(printed), stderr_fd = dup(STDERR_FILENO);
    assert_true(fd >= 0 && out >= 0 && stderr_fd >= 0);
    sink_start(&slow, sink_program, ARGUMENTS("--delay", "3000"));
    sink_start(&well, sink_program, ARGUMENTS("--ledger"));
    dup2(out, STDERR_FILENO); /* where the debug exporter prints */
    rig_init(&rig);
    add_all(&rig, &slow, &well, file);
    rig.batch.send_batch_size = 10 * PAGE_POINTS;
    rig_start(&rig);
    deliver(&rig);
    dup2(stderr_fd, STDERR_FILENO);
    assert_int_equal(rig_value(&rig, DEAD, TELEMETRY_POINTS_DELIVERED), 0);
    assert_int_equal(rig_value(&rig, DEAD, TELEMETRY_POINTS_QUEUED), POINTS);
    assert_true(rig_value(&rig, SLOW, TELEMETRY_POINTS_QUEUED) > 0);
    for (int i = 0; i < WHICH_COUNT; i++) {
        bool healthy = worker_healthy(rig.worker, (uint32_t)i, (char[512]){0}, 512);
        assert_true(healthy || !is_well(i));
    }
    assert_false(rig_stop(&rig, 100)); /* something is left: it is counted */
    assert_int_equal(rig_value(&rig, DEAD, TELEMETRY_DROPPED_STOP), POINTS);
    assert_int_equal(rig_value(&rig, SLOW, TELEMETRY_DROPPED_STOP) +
                         rig_value(&rig, SLOW, TELEMETRY_POINTS_DELIVERED),
                     POINTS);
    uint64_t filed = rig_value(&rig, FILED, TELEMETRY_BYTES_ENCODED);
    rig_fini(&rig);
    json_decref(sink_stop(&slow));
    json_t *report = sink_stop(&well);
    assert_int_equal(sink_number(report, "remote_write.samples"), POINTS);
    assert_int_equal(sink_number(report, "accepted_points"), 2 * POINTS);
    assert_int_equal(sink_number(report, "bad_bodies"), 0);
    json_decref(report);
    assert_true((uint64_t)lseek(fd, 0, SEEK_END) > filed);
    assert_int_equal(count_points_printed(printed), POINTS);
    unlink(file);
    unlink(printed);
    close(fd);
    close(out);
    close(stderr_fd);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s PGWEIR-SINK\n", argv[0]);
        return 2;
    }
    sink_program = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
