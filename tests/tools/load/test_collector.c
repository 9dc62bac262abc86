/* SPDX-License-Identifier: Apache-2.0 */
/* The collector's configuration and command; children and their end. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "config/yaml.h"
#include "tools/load/collector.h"
#include "tools/load/files.h"
#include "tools/load/process.h"

static char directory[] = "/tmp/pgweir-collector.XXXXXX";

static int make_directory(void **state)
{
    (void)state;
    return mkdtemp(directory) != NULL ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return system(command);
}

static const char *in_directory(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

/* The parsed configuration. */
static const struct yaml_node *config_of(struct arena *arena, const struct collector_plan *plan)
{
    struct error error = {{0}};
    const struct yaml_node *root = NULL;
    size_t bytes = 0;
    const char *path = in_directory("config.yaml");
    assert_true(collector_write_config(plan, path, &error));
    char *text = files_read(path, 64 << 20, &bytes, &error);
    assert_non_null(text);
    if (!yaml_parse(arena, "config.yaml", text, bytes, &root, &error))
        fail_msg("%s", error.text);
    free(text);
    return root;
}

/* "a.b.c" */
static const struct yaml_node *find(const struct yaml_node *node, const char *path)
{
    char key[64];
    while (node != NULL && *path != 0) {
        size_t bytes = strcspn(path, ".");
        snprintf(key, sizeof key, "%.*s", (int)bytes, path);
        node = node->kind == YAML_MAPPING ? yaml_find(node, key) : NULL;
        path += bytes + (path[bytes] == '.');
    }
    return node;
}

static void assert_text(const struct yaml_node *root, const char *path, const char *expected)
{
    const struct yaml_node *node = find(root, path);
    if (node == NULL)
        fail_msg("no %s", path);
    assert_string_equal(node->text, expected);
}

static struct scenario scenario_with(struct arena *arena, const struct scenario_flag *flags,
                                     size_t count)
{
    struct scenario scenario;
    struct error error;
    if (!scenario_load(arena, -1, NULL, flags, count, &scenario, &error))
        fail_msg("%s", error.text);
    return scenario;
}

static void test_config(void **state)
{
    (void)state;
    struct arena arena = {0};
    const struct scenario_flag flags[] = {{"interval", "2.5s"}, {"username", "it's $me"}};
    struct scenario scenario = scenario_with(&arena, flags, 2);
    const struct collector_plan plan = {.scenario = &scenario,
                                        .servers = 300,
                                        .server_port = 5433,
                                        .admin = "127.0.0.1:999",
                                        .backend_url = "http://127.0.0.1:4318"};
    const struct yaml_node *root = config_of(&arena, &plan);
    assert_text(root, "receivers.postgresql.collection_interval", "2500ms");
    assert_text(root, "receivers.postgresql.username", "it's $$me"); /* as it is before expansion */
    assert_text(root, "receivers.postgresql.tls.insecure", "true");
    assert_text(root, "receivers.postgresql.groups.tables.enabled", "false");
    assert_null(find(root, "receivers.postgresql.groups.core"));
    assert_null(find(root, "receivers.postgresql.password"));
    assert_text(root, "exporters.otlp_http.compression", "gzip");
    assert_text(root, "exporters.otlp_http.tls.insecure", "true");
    assert_text(root, "extensions.health_check.endpoint", "127.0.0.1:999");
    assert_text(root, "service.connections", "10000"); /* not below the default */
    const struct yaml_node *targets = find(root, "receivers.postgresql.targets");
    assert_int_equal(targets->count, 300);
    assert_text(targets->items[0], "endpoint", "127.1.0.1:5433");
    assert_string_equal(find(targets->items[255], "attributes")->items[0]->text, "255");
    assert_text(targets->items[255], "endpoint", "127.1.1.0:5433"); /* plain 32-bit addition */
    assert_text(targets->items[299], "endpoint", "127.1.1.44:5433");
    assert_null(find(root, "service.tuner"));
    struct collector_plan untuned = plan;
    untuned.tuner_off = true;
    assert_text(config_of(&arena, &untuned), "service.tuner.mode", "off");
    arena_fini(&arena);
}

static void test_config_options(void **state)
{
    (void)state;
    struct arena arena = {0};
    const struct scenario_flag flags[] = {{"groups", "core,tables"}, {"tls", "true"},
                                          {"databases", "3"},        {"compression", "zstd"},
                                          {"shards", "4"},           {"connections", "3"},
                                          {"loop", "epoll"},         {"interval", "5s"}};
    struct scenario scenario = scenario_with(&arena, flags, 8);
    const struct collector_plan plan = {.scenario = &scenario,
                                        .servers = 20000,
                                        .server_port = 5433,
                                        .password_file = "/tmp/secret",
                                        .admin = "127.0.0.1:999",
                                        .backend_url = "https://127.0.0.1:4318",
                                        .backend_ca = "/tmp/ca.pem"};
    const struct yaml_node *root = config_of(&arena, &plan);
    assert_text(root, "receivers.postgresql.tls.insecure_skip_verify", "true");
    assert_text(root, "receivers.postgresql.password", "${file:/tmp/secret}");
    assert_null(find(root, "receivers.postgresql.groups.tables"));
    assert_text(root, "receivers.postgresql.groups.sizes.enabled", "false");
    assert_int_equal(find(root, "receivers.postgresql.databases")->count, 3);
    assert_text(root, "exporters.otlp_http.compression", "zstd");
    assert_text(root, "exporters.otlp_http.tls.ca_file", "/tmp/ca.pem");
    assert_text(root, "service.connections", "60000");
    assert_text(root, "service.shards", "4");
    assert_text(root, "service.loop", "epoll");

    /* all due at once: first collections within 100 ms, the group keeps its interval */
    scenario.kind = SCENARIO_BURST;
    root = config_of(&arena, &plan);
    assert_text(root, "receivers.postgresql.collection_interval", "100ms");
    assert_text(root, "receivers.postgresql.timeout", "5000ms");
    assert_text(root, "receivers.postgresql.groups.core.interval", "5000ms");
    assert_text(root, "receivers.postgresql.groups.tables.interval", "5000ms");
    assert_text(root, "receivers.postgresql.groups.sizes.enabled", "false");
    arena_fini(&arena);
}

static void test_targets(void **state)
{
    (void)state;
    struct scenario scenario = {.servers = 2};
    const struct collector_plan plan = {.scenario = &scenario, .servers = 2, .server_port = 6};
    struct error error;
    size_t bytes;
    assert_true(collector_write_targets(&plan, in_directory("targets"), &error));
    char *text = files_read(in_directory("targets"), 1000, &bytes, &error);
    assert_string_equal(text, "127.1.0.1:6\n127.1.0.2:6\n");
    free(text);
}

static void test_command(void **state)
{
    (void)state;
    struct error error = {{0}};
    char *text =
        collector_command("otel --config '{config}' ${HOME} < {targets} {backend}{backend}", "/c",
                          "/t", "http://b", &error);
    assert_string_equal(text, "otel --config '/c' ${HOME} < /t http://bhttp://b");
    free(text);
    assert_null(collector_command("otel {confg}", "/c", "/t", "b", &error));
    assert_non_null(strstr(error.text, "{confg} is no placeholder: there are {config}, {targets}"));
    text = collector_command("awk '{ print $1 }' {}", "/c", "/t", "b", &error);
    assert_string_equal(text, "awk '{ print $1 }' {}");
    free(text);
}

/* A stand-in that prints what a pgweir with a spool would print. */
static void test_needs(void **state)
{
    (void)state;
    struct error error = {{0}};
    const char *path = in_directory("pgweir");
    FILE *script = fopen(path, "we");
    fputs("#!/bin/sh\n[ \"$1\" = components ] && echo '    - name: breaker'\n"
          "[ \"$1\" = reference ] && echo '| `sending_queue.spool` | text | | x |'\n",
          script);
    fclose(script);
    char *program = strdup(path);
    char command[160];
    snprintf(command, sizeof command, "chmod 755 %s", program);
    assert_int_equal(system(command), 0);
    struct scenario_need needs[] = {{"a breaker", "breaker"},
                                    {"disk spool", "sending_queue.spool"},
                                    {"the same", "spool"},
                                    {"limiter", "queue"}}; /* no whole word: must not do */
    struct scenario scenario = {.name = "x", .needs = {needs, 3}};
    assert_true(collector_has(program, &scenario, &error));
    assert_true(collector_knows(program, "sending_queue.spool"));
    assert_false(collector_knows(program, "tuner.mode"));
    scenario.needs.count = 4;
    assert_false(collector_has(program, &scenario, &error));
    assert_non_null(strstr(error.text, "scenario x needs a collector with: limiter. This one has "
                                       "no `queue`"));
    free(program);
}

/* ---- children ---- */

static void test_process(void **state)
{
    (void)state;
    struct error error = {{0}};
    struct process process;
    char rest[32];
    const char *const argv[] = {
        "/bin/sh", "-c",
        "trap 'echo bye; exit 0' TERM; echo noise; echo listening on port 77; echo oops >&2; "
        "while :; do sleep 0.01; done",
        NULL};
    assert_true(process_start(&process, "child", directory, argv, &error));
    assert_true(process_wait_line(&process, "listening on port ", 10 * NS_PER_S, rest, sizeof rest,
                                  &error));
    assert_string_equal(rest, "77");
    assert_true(process_running(&process));
    process_signal(&process, SIGSTOP);
    assert_true(process.stopped);
    assert_true(process_stop(&process, 10 * NS_PER_S, &error)); /* wakes it first */
    assert_false(process_running(&process));
    process_kill(&process); /* and again: nothing */
}

static void test_process_fails(void **state)
{
    (void)state;
    struct error error = {{0}};
    struct process process;
    char rest[32];
    const char *const argv[] = {"/bin/sh", "-c", "echo no such option >&2; exit 2", NULL};
    assert_true(process_start(&process, "child", directory, argv, &error));
    assert_false(process_wait_line(&process, "ready", 10 * NS_PER_S, rest, sizeof rest, &error));
    assert_non_null(strstr(error.text, "waited for \"ready…\": child ended with exit code 2"));
    assert_non_null(strstr(error.text, "no such option"));
    assert_false(process_stop(&process, NS_PER_S, &error));
    const char *const missing[] = {"/nonexistent/program", NULL};
    assert_true(process_start(&process, "child", directory, missing, &error));
    assert_false(process_wait_line(&process, "ready", 10 * NS_PER_S, rest, sizeof rest, &error));
    assert_non_null(strstr(error.text, "exit code 127"));
    assert_non_null(strstr(error.text, "No such file"));
}

/* Deaf to SIGTERM, with a child of its own: the whole group goes. */
static void test_process_deaf(void **state)
{
    (void)state;
    struct error error = {{0}};
    struct process process;
    char rest[32];
    const char *const argv[] = {
        "/bin/sh", "-c", "trap '' TERM; sleep 1000 & echo child $!; while :; do sleep 1; done",
        NULL};
    assert_true(process_start(&process, "child", directory, argv, &error));
    assert_true(process_wait_line(&process, "child ", 10 * NS_PER_S, rest, sizeof rest, &error));
    assert_false(process_stop(&process, 200 * NS_PER_MS, &error));
    assert_non_null(strstr(error.text, "was killed"));
    /* a zombie at most, until init reaps it */
    pid_t grandchild = (pid_t)atoi(rest);
    uint64_t deadline_ns = clock_monotonic_ns() + 10 * NS_PER_S;
    bool gone = false;
    while (!gone && clock_monotonic_ns() < deadline_ns) {
        char path[64], line[256] = "";
        snprintf(path, sizeof path, "/proc/%d/stat", (int)grandchild);
        FILE *file = fopen(path, "re");
        gone =
            file == NULL || fgets(line, sizeof line, file) == NULL || strstr(line, ") Z") != NULL;
        if (file != NULL)
            fclose(file);
    }
    assert_true(gone);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config),        cmocka_unit_test(test_config_options),
        cmocka_unit_test(test_targets),       cmocka_unit_test(test_command),
        cmocka_unit_test(test_needs),         cmocka_unit_test(test_process),
        cmocka_unit_test(test_process_fails), cmocka_unit_test(test_process_deaf),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
