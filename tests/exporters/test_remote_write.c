/* SPDX-License-Identifier: Apache-2.0 */
/* The prometheusremotewrite exporter as a whole, on the worker's thread, against the sink: what is
 * counted as delivered is what came, in order, in requests that are as the protocol has them. The
 * sink's program comes as the first argument. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "exporters/exporter.h"
#include "tests/exporters/remote_read.h"
#include "tests/exporters/rig.h"
#include "tests/exporters/server.h"
#include "tests/exporters/sink.h"

static const char *sink_program;

/* Eight points of each metric, so that no series stands twice in a page. */
enum { PAGE_POINTS = 8 * RIG_METRICS };

#define ARGUMENTS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void start(struct rig *rig, const char *url, const char *const *more)
{
    static char endpoint[128];
    const char *pairs[16] = {"endpoint", endpoint, "retry_on_failure.initial_interval", "5ms"};
    snprintf(endpoint, sizeof endpoint, "%s/api/v1/write", url);
    for (int i = 0; more[i] != NULL; i++)
        pairs[4 + i] = more[i];
    rig_init(rig);
    rig_add(rig, &prometheusremotewrite_exporter.component, pairs);
}

/* Pages with times of their own. */
static void push_pages(struct rig *rig, int pages)
{
    for (int i = 0; i < pages; i++) {
        rig_push(rig, PAGE_POINTS, 0);
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
}

static void test_delivers(void **state)
{
    (void)state;
    struct sink sink;
    struct rig rig;
    sink_start(&sink, sink_program, ARGUMENTS("--ledger"));
    start(&rig, sink.url, ARGUMENTS("target_info.enabled", "false"));
    rig_start(&rig);
    push_pages(&rig, 10);
    rig_wait_idle(&rig, 0);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_POINTS_DELIVERED), 10 * PAGE_POINTS);
    uint64_t encoded = rig_value(&rig, 0, TELEMETRY_BYTES_ENCODED);
    uint64_t sent = rig_value(&rig, 0, TELEMETRY_BYTES_SENT);
    assert_true(rig_stop(&rig, 1000));
    rig_fini(&rig);
    json_t *report = sink_stop(&sink);
    assert_int_equal(sink_number(report, "bad_bodies"), 0);
    assert_int_equal(sink_number(report, "remote_write.samples"), 10 * PAGE_POINTS);
    assert_int_equal(sink_number(report, "remote_write.series"), 10 * PAGE_POINTS);
    assert_int_equal(sink_number(report, "accepted_points"), 10 * PAGE_POINTS);
    assert_int_equal(sink_number(report, "body_bytes"), encoded);
    assert_int_equal(sink_number(report, "bytes"), sent);
    assert_int_equal(sink_number(report, "ledger.doubled"), 0);
    assert_true(sent < encoded);
    json_decref(report);
}

static void test_headers(void **state)
{
    (void)state;
    static const struct server_step steps[] = {{.status = 204}};
    struct server *server = server_start(steps, 1, NULL, NULL);
    char url[64];
    struct rig rig;
    snprintf(url, sizeof url, "http://127.0.0.1:%u", server_port(server));
    start(&rig, url, ARGUMENTS("headers.X-Scope-OrgID", "tenant"));
    rig_start(&rig);
    rig_push(&rig, 1, 0);
    rig_wait_idle(&rig, 0);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_POINTS_DELIVERED), 1);
    assert_true(server_saw(server, "POST /api/v1/write HTTP/1.1"));
    assert_true(server_saw(server, "Content-Encoding: snappy"));
    assert_true(server_saw(server, "Content-Type: application/x-protobuf"));
    assert_true(server_saw(server, "X-Prometheus-Remote-Write-Version: 0.1.0"));
    assert_true(server_saw(server, "X-Scope-OrgID: tenant"));
    rig_fini(&rig);
    server_stop(&server);
}

struct fault_row {
    const char *what, *answers;
    uint64_t delivered, permanent;
    json_int_t requests;
};

/* One page each. */
static const struct fault_row fault_rows[] = {
    {"204", "204", PAGE_POINTS, 0, 1},
    {"any 5xx is tried again", "500,503,599,200", PAGE_POINTS, 0, 4},
    {"too fast", "429,200", PAGE_POINTS, 0, 2},
    {"out of order, or twice: refused for ever", "400", 0, PAGE_POINTS, 1},
    {"too old", "422", 0, PAGE_POINTS, 1},
};

static void test_faults(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof fault_rows / sizeof fault_rows[0]; i++) {
        const struct fault_row *row = &fault_rows[i];
        struct sink sink;
        struct rig rig;
        print_message("%s\n", row->what);
        sink_start(&sink, sink_program, ARGUMENTS("--answer", row->answers));
        start(&rig, sink.url, ARGUMENTS("target_info.enabled", "false"));
        rig_start(&rig);
        rig_push(&rig, PAGE_POINTS, 0);
        rig_wait_idle(&rig, 0);
        assert_int_equal(rig_value(&rig, 0, TELEMETRY_POINTS_DELIVERED), row->delivered);
        assert_int_equal(rig_value(&rig, 0, TELEMETRY_DROPPED_PERMANENT), row->permanent);
        rig_fini(&rig);
        json_t *report = sink_stop(&sink);
        assert_int_equal(sink_number(report, "requests"), row->requests);
        assert_int_equal(sink_number(report, "bad_bodies"), 0);
        json_decref(report);
    }
}

static char *write_script(const char *text)
{
    char *path = strdup("/tmp/pgweir-script-XXXXXX");
    int fd = mkstemp(path);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    return path;
}

/* 413: in halves, until they are taken; none is lost. */
static void test_too_large(void **state)
{
    (void)state;
    struct sink sink;
    struct rig rig;
    char *script = write_script(
        "phases:\n  - {name: small, faults: [{do: status, status: 413, larger_than: 600B}]}\n");
    sink_start(&sink, sink_program, ARGUMENTS("--script", script));
    start(&rig, sink.url, ARGUMENTS("target_info.enabled", "true"));
    rig.batch.send_batch_size = 10 * PAGE_POINTS;
    rig.batch.timeout_ns = 500 * NS_PER_MS;
    rig_start(&rig);
    push_pages(&rig, 10);
    rig_wait_idle(&rig, 0);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_POINTS_DELIVERED), 10 * PAGE_POINTS);
    assert_true(rig_value(&rig, 0, TELEMETRY_BODIES_SPLIT) > 0);
    rig_fini(&rig);
    json_t *report = sink_stop(&sink);
    json_int_t samples = sink_number(report, "taken_points");
    assert_in_range(samples, 10 * PAGE_POINTS, 10 * PAGE_POINTS + 10); /* with target_info */
    json_decref(report);
    unlink(script);
    free(script);
}

/* max_batch_size_bytes is kept to the byte. */
static void test_body_limit(void **state)
{
    (void)state;
    struct sink sink;
    struct rig rig;
    char directory[] = "/tmp/pgweir-dump-XXXXXX";
    assert_non_null(mkdtemp(directory));
    sink_start(&sink, sink_program, ARGUMENTS("--dump", directory));
    start(&rig, sink.url,
          ARGUMENTS("target_info.enabled", "false", "max_batch_size_bytes", "1500"));
    rig.batch.send_batch_size = 10 * PAGE_POINTS;
    rig.batch.timeout_ns = 3600 * NS_PER_S;
    rig_start(&rig);
    push_pages(&rig, 10);
    assert_true(rig_stop(&rig, 10000));
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_POINTS_DELIVERED), 10 * PAGE_POINTS);
    rig_fini(&rig);
    json_t *report = sink_stop(&sink);
    json_int_t requests = sink_number(report, "requests");
    assert_true(requests >= sink_number(report, "body_bytes") / 1500);
    assert_int_equal(sink_number(report, "remote_write.samples"), 10 * PAGE_POINTS);
    json_decref(report);
    for (json_int_t i = 1; i <= requests; i++) {
        char path[64];
        snprintf(path, sizeof path, "%s/%06d.bin", directory, (int)i);
        FILE *file = fopen(path, "re");
        assert_non_null(file);
        fseek(file, 0, SEEK_END);
        assert_in_range(ftell(file), 1, 1500);
        fclose(file);
        unlink(path);
    }
    rmdir(directory);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Checks that values of each series grow from one body to the next, as they did in what was pushed,
 * and within each; returns the samples. */
static size_t check_order(const char *directory)
{
    enum { FILES_MAX = 1000, SERIES = 3 * 8 };
    static char names[FILES_MAX][32];
    double last[SERIES];
    size_t count = 0, samples = 0;
    DIR *open = opendir(directory);
    assert_non_null(open);
    for (const struct dirent *entry; (entry = readdir(open)) != NULL;)
        if (entry->d_name[0] != '.' && count < FILES_MAX)
            snprintf(names[count++], sizeof names[0], "%.31s", entry->d_name);
    closedir(open);
    qsort(names, count, sizeof names[0], compare_names);
    for (size_t i = 0; i < SERIES; i++)
        last[i] = -1;
    for (size_t f = 0; f < count; f++) {
        static uint8_t body[1 << 20];
        char path[128];
        snprintf(path, sizeof path, "%s/%s", directory, names[f]);
        FILE *file = fopen(path, "re");
        size_t bytes = fread(body, 1, sizeof body, file);
        fclose(file);
        unlink(path);
        struct read_request request;
        read_request(&request, body, bytes);
        for (size_t i = 0; i < request.series_count; i++) {
            const struct read_series *series = &request.series[i];
            const char *n = read_label(series, "n"), *name = read_label(series, "__name__");
            int metric = strstr(name, "commits") != NULL      ? 0
                         : strstr(name, "operations") != NULL ? 1
                         : strstr(name, "database") != NULL   ? 2
                                                              : 3;
            samples++;
            if (metric == 3)
                continue;
            double *before = &last[metric * 8 + atoi(n)];
            if (read_value(series) <= *before)
                fail_msg("%s %s n=%s: %g after %g", names[f], name, n, read_value(series), *before);
            *before = read_value(series);
        }
        read_request_fini(&request);
    }
    rmdir(directory);
    return samples;
}

/* Whatever fails, is slow or loses its answer on the way: a series' samples arrive in order. */
static void test_order(void **state)
{
    (void)state;
    struct sink sink;
    struct rig rig;
    char directory[] = "/tmp/pgweir-dump-XXXXXX";
    char *script = write_script("phases:\n"
                                "  - latency: {uniform: [0ms, 10ms]}\n"
                                "    faults: [{do: status, status: 500, every: 3, first: 60}]\n");
    assert_non_null(mkdtemp(directory));
    sink_start(&sink, sink_program, ARGUMENTS("--script", script, "--dump", directory));
    start(&rig, sink.url,
          ARGUMENTS("target_info.enabled", "false", "circuit_breaker.pause", "5ms",
                    "circuit_breaker.pause_max", "20ms"));
    rig.batch.send_batch_size = PAGE_POINTS;
    rig_start(&rig);
    push_pages(&rig, 200);
    rig_wait_idle(&rig, 0);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_POINTS_DELIVERED), 200 * PAGE_POINTS);
    assert_true(rig_value(&rig, 0, TELEMETRY_REQUESTS_RETRYABLE) > 0);
    rig_fini(&rig);
    json_decref(sink_stop(&sink));
    assert_int_equal(check_order(directory), 200 * PAGE_POINTS);
    unlink(script);
    free(script);
}

/* Settings that cannot be. */
static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value, *problem;
    } rows[] = {
        {"endpoint", "prometheus:9090", "endpoint: "},
        {"protobuf_message", "io.prometheus.write.v2.Request", "remote write 1.0"},
        {"translation_strategy", "NoTranslation", "is not possible here"},
        {"external_labels.a-b", "x", "\"a-b\" is no label name"},
        {"external_labels.9a", "x", "\"9a\" is no label name"},
        {"external_labels.__name__", "x", "use namespace"},
        {"translation_strategy", "UnderscoreEscapingWithoutSuffixes", NULL},
        {"external_labels.__replica__", "x", NULL},
    };
    const struct component *component = &prometheusremotewrite_exporter.component;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *const pairs[] = {"endpoint", "http://localhost/api/v1/write", rows[i].key,
                                     rows[i].value, NULL};
        void *settings = settings_create(component, pairs);
        struct error error;
        bool good = component->validate(settings, &error);
        assert_int_equal(good, rows[i].problem == NULL);
        if (!good && strstr(error.text, rows[i].problem) == NULL)
            fail_msg("%s: %s", rows[i].key, error.text);
        settings_destroy(component, settings);
    }
}

/* What would break the order of samples has no effect, and is told so. */
static void test_one_at_a_time(void **state)
{
    (void)state;
    static const struct {
        const char *path, *said;
    } keys[] = {{"concurrency.max", " key=concurrency::max"},
                {"max_conns_per_host", " key=max_conns_per_host"}};
    char said[4096];
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        struct rig rig;
        int log_fd = memfd_create("log", MFD_CLOEXEC), stderr_fd = dup(STDERR_FILENO);
        start(&rig, "http://127.0.0.1:1", ARGUMENTS(keys[i].path, "8"));
        dup2(log_fd, STDERR_FILENO);
        rig_start(&rig);
        dup2(stderr_fd, STDERR_FILENO);
        ssize_t bytes = pread(log_fd, said, sizeof said - 1, 0);
        said[bytes > 0 ? bytes : 0] = '\0';
        assert_non_null(strstr(said, "key has no effect"));
        assert_non_null(strstr(said, keys[i].said));
        rig_fini(&rig);
        close(log_fd);
        close(stderr_fd);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s PGWEIR-SINK\n", argv[0]);
        return 2;
    }
    sink_program = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_delivers),   cmocka_unit_test(test_headers),
        cmocka_unit_test(test_faults),     cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_body_limit), cmocka_unit_test(test_order),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_one_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
