/* SPDX-License-Identifier: Apache-2.0 */
/* Exporters that write text: file, debug, console. Standard output goes to a file meanwhile;
 * Prometheus text is judged by promtool. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exporters/exporter.h"
#include "exporters/summary.h"
#include "exporters/walk.h"
#include "tests/exporters/rig.h"

static char path[] = "/tmp/pgweir-out-XXXXXX";

/* The exporter's output of two pages of 40 points, to be freed. */
static char *output_of(const struct component *component, const char *const *pairs)
{
    struct rig rig;
    fflush(stdout);
    int before = dup(STDOUT_FILENO), fd = open(path, O_RDWR | O_TRUNC | O_CLOEXEC);
    dup2(fd, STDOUT_FILENO);
    rig_init(&rig);
    rig_add(&rig, component, pairs);
    rig_start(&rig);
    rig_push(&rig, 40, 0);
    rig_push(&rig, 40, 0);
    bool clean = rig_stop(&rig, 5000);
    fflush(stdout);
    dup2(before, STDOUT_FILENO);
    close(before);
    assert_true(clean);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_POINTS_DELIVERED), 80);
    rig_fini(&rig);
    off_t bytes = lseek(fd, 0, SEEK_END);
    char *text = calloc(1, (size_t)bytes + 1);
    assert_int_equal(pread(fd, text, (size_t)bytes, 0), bytes);
    close(fd);
    return text;
}

static void assert_holds(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" is missing in:\n%s", part, text);
}

static void test_table(void **state)
{
    (void)state;
    const char *const pairs[] = {"format", "table", NULL};
    char *text = output_of(&console_exporter.component, pairs);
    assert_holds(text, "service.instance.id=db1:5432 server.address=db1\n");
    assert_holds(text, "METRIC");
    assert_holds(text, "{database}");
    int lines = 0;
    for (const char *c = text; *c != '\0'; c++)
        lines += *c == '\n';
    assert_int_equal(lines, 82); /* the server, the head, a line a point */
    free(text);
}

static void test_prometheus(void **state)
{
    (void)state;
    const char *const pairs[] = {"format", "prometheus", NULL};
    struct rig rig;
    char command[256];
    fflush(stdout);
    int before = dup(STDOUT_FILENO), fd = open(path, O_RDWR | O_TRUNC | O_CLOEXEC);
    dup2(fd, STDOUT_FILENO);
    rig_init(&rig);
    rig_add(&rig, &console_exporter.component, pairs);
    rig_start(&rig);
    rig_push(&rig, 32, 0); /* eight points, each with its own attributes, for each metric */
    bool clean = rig_stop(&rig, 5000);
    dup2(before, STDOUT_FILENO);
    close(before);
    rig_fini(&rig);
    assert_true(clean);
    char text[16384] = "";
    assert_true(pread(fd, text, sizeof text - 1, 0) > 0);
    close(fd);
    assert_holds(text, "# TYPE postgresql_commits_total counter\n");
    assert_holds(text, "# TYPE postgresql_database_count_value gauge\n");
    assert_holds(text,
                 "# HELP postgresql_operations_total Row operations \"by\" table (unit: 1)\n");
    assert_holds(text, "postgresql_commits_total{db_namespace=\"app\",db_collection_name="
                       "\"public.t1\\\"\\\\\",operation=\"ins\",n=\"1\"} 1\n");
    assert_holds(text, "pgweir_target_up{");
    assert_holds(text, "target_info{service_instance_id=\"db1:5432\",server_address=\"db1\"} 1\n");
    snprintf(command, sizeof command, "promtool check metrics <%s", path);
    if (system("command -v promtool >/dev/null") != 0)
        print_message("promtool is not there: not checked by it\n");
    else
        assert_int_equal(system(command), 0);
}

static void test_json(void **state)
{
    (void)state;
    const char *const pairs[] = {"format", "otlp-json", NULL};
    char *text = output_of(&console_exporter.component, pairs);
    json_t *root = json_loads(text, 0, NULL);
    assert_non_null(json_object_get(root, "resourceMetrics"));
    json_decref(root);
    free(text);
}

static void test_summary(void **state)
{
    (void)state;
    const char *const pairs[] = {"format", "summary", NULL};
    char *text = output_of(&console_exporter.component, pairs);
    assert_holds(text, "servers up 1 of 1 | points ");
    assert_holds(text, "80 in all");
    assert_holds(text, "busiest table app.public.t"); /* counters rose between the two pages */
    assert_holds(text, "busiest database app @ db1");
    assert_null(strchr(text, '\x1b')); /* no terminal, no control sequences */
    free(text);
}

static void test_debug(void **state)
{
    (void)state;
    const char *const pairs[] = {"verbosity", "detailed", NULL};
    struct debug_settings_shape {
        int verbosity;
        struct text_list output_paths;
    };
    struct rig rig;
    static const char *const stdout_path[] = {"stdout"};
    fflush(stdout);
    int before = dup(STDOUT_FILENO), fd = open(path, O_RDWR | O_TRUNC | O_CLOEXEC);
    dup2(fd, STDOUT_FILENO);
    rig_init(&rig);
    rig_add(&rig, &debug_exporter.component, pairs);
    ((struct debug_settings_shape *)rig.settings[0])->output_paths =
        (struct text_list){stdout_path, 1};
    rig_start(&rig);
    rig_push(&rig, 8, 0);
    bool clean = rig_stop(&rig, 5000);
    dup2(before, STDOUT_FILENO);
    close(before);
    rig_fini(&rig);
    assert_true(clean);
    char text[16384] = "";
    assert_true(pread(fd, text, sizeof text - 1, 0) > 0);
    close(fd);
    assert_holds(text, "{\"resource metrics\": 1, \"metrics\": 4, \"data points\": 8}\n");
    assert_holds(text, "Resource attributes:\n     -> service.instance.id: Str(db1:5432)\n");
    assert_holds(text, "     -> Name: postgresql.commits\n");
    assert_holds(text, "     -> DataType: Sum\n     -> IsMonotonic: true\n");
    assert_holds(text, "NumberDataPoints #1\n");
    assert_holds(text, "     -> n: Int(1)\n");
    assert_holds(text, "Value: 1\n");
}

/* A line of JSON a batch; appended only where asked. */
static void test_file(void **state)
{
    (void)state;
    const char *const pairs[] = {"path", path, "append", "true", NULL};
    for (int i = 0; i < 2; i++) {
        struct rig rig;
        if (i == 0)
            assert_int_equal(truncate(path, 0), 0);
        rig_init(&rig);
        rig_add(&rig, &file_exporter.component, pairs);
        rig_start(&rig);
        rig_push(&rig, 100, 0);
        assert_true(rig_stop(&rig, 5000));
        rig_fini(&rig);
    }
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t space = 0;
    int lines = 0;
    while (getline(&line, &space, file) > 0) {
        json_t *root = json_loads(line, 0, NULL);
        assert_non_null(json_object_get(root, "resourceMetrics"));
        json_decref(root);
        lines++;
    }
    assert_int_equal(lines, 2);
    free(line);
    fclose(file);
}

/* A full disk costs the batch, is counted and said, and nothing else. */
static void test_disk_full(void **state)
{
    (void)state;
    const char *const pairs[] = {"path", "/dev/full", NULL};
    struct rig rig;
    char text[256];
    rig_init(&rig);
    rig_add(&rig, &file_exporter.component, pairs);
    rig_start(&rig);
    rig_push(&rig, 100, 0);
    rig_wait(&rig, 0, TELEMETRY_DROPPED_PERMANENT, 100);
    assert_false(worker_healthy(rig.worker, 0, text, sizeof text));
    assert_holds(text, "No space left on device");
    assert_true(rig_stop(&rig, 1000));
    rig_fini(&rig);
}

static void test_no_directory(void **state)
{
    (void)state;
    const char *const pairs[] = {"path", "/nonexistent/out.json", NULL};
    void *settings = settings_create(&file_exporter.component, pairs);
    struct exporter_output output;
    struct error error;
    assert_false(file_exporter.open("file", settings, &output, &error));
    assert_holds(error.text, "cannot open /nonexistent/out.json for writing: No such file");
    settings_destroy(&file_exporter.component, settings);
}

static int group_setup(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int group_teardown(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),     cmocka_unit_test(test_prometheus),
        cmocka_unit_test(test_json),      cmocka_unit_test(test_summary),
        cmocka_unit_test(test_debug),     cmocka_unit_test(test_file),
        cmocka_unit_test(test_disk_full), cmocka_unit_test(test_no_directory),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
