/* SPDX-License-Identifier: Apache-2.0 */
#include "components.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "pg/settings.h"

#define SERVICE  "service: {pipelines: {metrics: {receivers: [postgresql], exporters: [sample]}}}\n"
#define RECEIVER "receivers: {postgresql: {username: u}}\n"

static struct config *load(const char *text)
{
    struct config *config = NULL;
    struct error error;
    if (!load_text(&config, text, &error, NULL, 0))
        fail_msg("%s", error.text);
    return config;
}

static void defaults_are_filled_in(void **state)
{
    (void)state;
    struct config *config = load(RECEIVER "exporters: {sample: }\n" SERVICE);
    const struct sample_settings *sample = settings_of(config, "sample");
    assert_false(sample->flag);
    assert_int_equal(sample->number, 8192);
    assert_true(sample->ratio == 0.5);
    assert_int_equal(sample->wait_ns, 200 * NS_PER_MS);
    assert_int_equal(sample->room_bytes, 4 << 20);
    assert_string_equal(sample->text, "*");
    assert_null(sample->secret);
    assert_int_equal(sample->mode, SAMPLE_SAFE);
    assert_int_equal(sample->list.count, 2);
    assert_string_equal(sample->list.items[1], "b");
    assert_int_equal(sample->map.count, 0);
    assert_int_equal(sample->base.weight, 1);
    assert_true(sample->base.nested.on);
    assert_int_equal(sample->items.count, 0);

    const struct service_settings *service = &config->service;
    assert_int_equal(service->loop, SERVICE_LOOP_AUTO);
    assert_int_equal(service->shards, 0);
    assert_true(service->pin);
    assert_int_equal(service->shutdown_timeout_ns, 10 * NS_PER_S);
    assert_int_equal(service->connections_max, 10000);
    assert_int_equal(service->connects_in_flight_max, 64);
    assert_int_equal(service->pages, 256);
    assert_int_equal(service->log_level, LOG_LEVEL_INFO);
    assert_int_equal(service->log_format, LOG_FORMAT_TEXT);
    assert_true(service->own_metrics);
    assert_int_equal(service->own_metrics_interval_ns, 60 * NS_PER_S);
    config_destroy(&config);
    assert_null(config);
}

static void every_type_is_read(void **state)
{
    (void)state;
    setenv("NUMBER", "42", 1);
    setenv("ITEMS", "[{name: v}]", 1);
    struct config *config =
        load(RECEIVER "exporters:\n"
                      "  sample:\n"
                      "    flag: true\n"
                      "    number: ${env:NUMBER}\n"
                      "    ratio: 0.25\n"
                      "    wait: 1m\n"
                      "    room: 1MB\n"
                      "    text: 0123\n"
                      "    secret: pa$$word\n"
                      "    mode: FAST\n"
                      "    list: [x, 2]\n"
                      "    map: {a: 1, b: two}\n"
                      "    headers: [{name: k, value: v}]\n"
                      "    base: {name: b, weight: 3, nested: {on: false}}\n"
                      "    items: [{weight: 4}, {name: i, nested: {on: true}}]\n"
                      "    plain_items: ${env:ITEMS}\n"
                      "    named: {one.two: {name: n}, other: {name: o}}\n" SERVICE);
    const struct sample_settings *sample = settings_of(config, "sample");
    assert_true(sample->flag);
    assert_int_equal(sample->number, 42);
    assert_true(sample->ratio == 0.25);
    assert_int_equal(sample->wait_ns, 60 * NS_PER_S);
    assert_int_equal(sample->room_bytes, 1000000);
    assert_string_equal(sample->text, "0123"); /* a number stays as it is written */
    assert_string_equal(sample->secret, "pa$word");
    assert_int_equal(sample->mode, SAMPLE_FAST);
    assert_string_equal(sample->list.items[1], "2");
    assert_string_equal(sample->map.items[1].key, "b");
    assert_string_equal(sample->map.items[0].value, "1");
    assert_string_equal(sample->headers.items[0].key, "k");
    const struct sample_item *items = sample->items.items, *plain = sample->plain_items.items;
    assert_int_equal(sample->items.count, 2);
    assert_string_equal(items[0].name, "b"); /* from base */
    assert_int_equal(items[0].weight, 4);
    assert_false(items[0].nested.on);
    assert_string_equal(items[1].name, "i");
    assert_int_equal(items[1].weight, 3);
    assert_true(items[1].nested.on);
    assert_string_equal(plain[0].name, "v");
    assert_int_equal(plain[0].weight, 1); /* from the table, not from base */
    assert_string_equal(sample->named.keys[0], "one.two");
    assert_string_equal(((const struct sample_item *)sample->named.items)[1].name, "o");
    config_destroy(&config);
}

static void sources_merge_in_order(void **state)
{
    (void)state;
    setenv("OVERLAY", "exporters: {sample: {number: 7, list: [z]}}", 1);
    static const char *const sources[] = {
        "yaml:" RECEIVER "exporters: {sample: {number: 1, wait: 1s, list: [a, b, c]}}\n" SERVICE,
        "env:OVERLAY",
        "yaml:exporters: {sample/two: }\nprocessors:\nservice: {shards: 3}\n",
    };
    struct config *config = NULL;
    struct error error;
    char log[2048];
    if (!load_sources(&config, sources, 3, &error, log, sizeof log))
        fail_msg("%s", error.text);
    const struct sample_settings *sample = settings_of(config, "sample");
    assert_int_equal(sample->number, 7);
    assert_int_equal(sample->wait_ns, NS_PER_S);
    assert_int_equal(sample->list.count, 1); /* lists replace */
    assert_int_equal(config->service.shards, 3);
    assert_int_equal(config->pipeline_count, 1);
    assert_non_null(strstr(log, "yaml:1:13: exporter \"sample/two\" is configured but not used"));
    config_destroy(&config);
}

static void collector_file_runs_unchanged(void **state)
{
    (void)state;
    setenv("POSTGRESQL_PASSWORD", "secret-1", 1);
    setenv("NEW_RELIC_LICENSE_KEY", "secret-2", 1);
    static const char *const sources[] = {TEST_DATA "/otel.yaml"};
    struct config *config = NULL;
    struct error error;
    char log[8192];
    if (!load_sources(&config, sources, 1, &error, log, sizeof log))
        fail_msg("%s", error.text);
    const struct postgresql_settings *receiver = settings_of(config, "postgresql");
    assert_string_equal(receiver->server.endpoint, "localhost:5432");
    assert_string_equal(receiver->server.password, "secret-1");
    assert_int_equal(receiver->server.databases.count, 2);
    assert_false(receiver->server.tls.insecure_skip_verify);
    assert_int_equal(receiver->collection_interval_ns, 10 * NS_PER_S);
    assert_int_equal(receiver->metrics.count, 2);
    assert_string_equal(receiver->metrics.keys[1], "postgresql.deadlocks");
    assert_false(((const struct metric_settings *)receiver->metrics.items)[1].enabled);
    const struct batch_sample_settings *batch = settings_of(config, "batch");
    assert_int_equal(batch->send_batch_size, 10000);
    const struct otlp_sample_settings *otlp = settings_of(config, "otlp_http/newrelic");
    assert_string_equal(otlp->headers.items[0].value, "secret-2");

    assert_int_equal(config->pipeline_count, 1);
    const struct pipeline *pipeline = &config->pipelines[0];
    assert_string_equal(pipeline->id, "metrics");
    assert_int_equal(pipeline->exporter_count, 2);
    assert_string_equal(pipeline->exporters[0]->id, "otlp_http/newrelic");
    assert_string_equal(pipeline->processors[0]->id, "batch");
    assert_int_equal(pipeline->place.line, 63);
    assert_int_equal(config->extension_count, 1);
    assert_string_equal(config->extensions[0]->component->type, "health_check");
    assert_int_equal(config->service.log_format, LOG_FORMAT_JSON);
    assert_int_equal(config->service.log_level, LOG_LEVEL_INFO);

    assert_non_null(strstr(log, "otel.yaml:49:3: exporter \"otlphttp/newrelic\" is an old name"));
    assert_non_null(strstr(log, "otel.yaml:31:5: events has no effect here"));
    assert_null(strstr(log, "secret"));
    config_destroy(&config);
}

static void fleet_file_is_read(void **state)
{
    (void)state;
    setenv("POSTGRESQL_PASSWORD", "secret-1", 1);
    static const char *const sources[] = {"file:" TEST_DATA "/fleet.yaml"};
    struct config *config = NULL;
    struct error error;
    char log[2048];
    if (!load_sources(&config, sources, 1, &error, log, sizeof log))
        fail_msg("%s", error.text);
    assert_string_equal(log, "");
    const struct postgresql_settings *receiver = settings_of(config, "postgresql/fleet");
    assert_int_equal(postgresql_server_count(receiver), 3);
    const struct server_settings *one = postgresql_server(receiver, 0);
    const struct server_settings *two = postgresql_server(receiver, 1);
    const struct server_settings *three = postgresql_server(receiver, 2);
    assert_string_equal(server_name(one), "orders");
    assert_string_equal(server_name(two), "[::1]:5433");
    assert_string_equal(server_name(three), "dsn");
    assert_string_equal(two->username, "monitor");
    assert_string_equal(two->password, "secret-1");
    assert_int_equal(one->connections, 2);
    assert_int_equal(two->connections, 1);
    assert_true(two->tls.insecure && !one->tls.insecure);
    assert_string_equal(two->tls.ca_file, "/etc/ssl/authorities.crt");
    assert_string_equal(one->resource_attributes.items[0].value, "production");
    assert_string_equal(three->resource_attributes.items[0].value, "test");
    assert_int_equal(receiver->session.statement_timeout_ns, 2 * NS_PER_S);
    assert_int_equal(receiver->session.lock_timeout_ns, 100 * NS_PER_MS);
    const struct group_settings *groups = receiver->groups.items;
    assert_int_equal(groups[0].interval_ns, 60 * NS_PER_S);
    assert_true(groups[0].enabled && !groups[1].enabled);
    assert_int_equal(receiver->model, 1);
    assert_int_equal(config->service.loop, SERVICE_LOOP_EPOLL);
    assert_int_equal(config->service.connects_in_flight_max, 16);
    assert_false(config->service.pin);
    config_destroy(&config);
}

static void ignored_keys_warn_once(void **state)
{
    (void)state;
    struct config *config = NULL;
    struct error error;
    char log[4096];
    assert_true(load_text(&config,
                          RECEIVER "exporters: {sample: {sampling: [1]}, sample/b: {sampling: }}\n"
                                   "service: {pipelines: {metrics: {receivers: [postgresql], "
                                   "exporters: [sample, sample/b]}},\n"
                                   "  telemetry: {metrics: {level: none}}}\n",
                          &error, log, sizeof log));
    const char *first = strstr(log, "yaml:2:22: sampling has no effect here: nothing is sampled");
    assert_non_null(first);
    assert_null(strstr(first, "yaml:2:47"));
    assert_non_null(strstr(log, "metrics has no effect here: own metrics are on /metrics"));
    config_destroy(&config);
}

static void print_shows_all_but_secrets(void **state)
{
    (void)state;
    struct config *config = load(RECEIVER "exporters:\n"
                                          "  sample:\n"
                                          "    text: \"a: $${b} \\\"c\\\"\\n\"\n"
                                          "    secret: hunter2\n"
                                          "    headers: {api-key: hunter3}\n"
                                          "    map: {k: 'true'}\n"
                                          "    items: [{name: x}, {name: y}]\n"
                                          "    named: {\"a b\": {name: 'null'}}\n" SERVICE);
    char *text = config_print(config);
    assert_non_null(strstr(text, "    number: 8192\n"));
    assert_non_null(strstr(text, "    wait: 200ms\n"));
    assert_non_null(strstr(text, "    room: 4MiB\n"));
    assert_non_null(strstr(text, "    text: \"a: $${b} \\\"c\\\"\\n\"\n"));
    assert_non_null(strstr(text, "    secret: \"[REDACTED]\"\n"));
    assert_non_null(strstr(text, "      api-key: \"[REDACTED]\"\n"));
    assert_non_null(strstr(text, "    endpoint: \"localhost:5432\"\n"));
    assert_non_null(strstr(text, "  loop: auto\n"));
    assert_null(strstr(text, "hunter"));

    /* what is printed loads, to the same */
    struct config *again = load(text);
    char *text_again = config_print(again);
    assert_string_equal(text, text_again);
    const struct sample_settings *sample = settings_of(again, "sample");
    assert_string_equal(sample->text, "a: ${b} \"c\"\n");
    assert_string_equal(sample->map.items[0].value, "true");
    free(text);
    free(text_again);
    config_destroy(&config);
    config_destroy(&again);
}

static void reference_has_every_option(void **state)
{
    (void)state;
    char *text = config_reference(test_registry);
    static const char *const parts[] = {
        "## receivers\n\n### receiver `postgresql`\n\n",
        "| `tls.insecure_skip_verify` | true or false | `true` | ",
        "| `session.lock_timeout` | duration, 1ms to 1m | `100ms` | ",
        "| `transport` | `tcp`, `unix` | `tcp` | ",
        "the servers of a fleet, each with the keys above; keys not given are taken from",
        "| `groups.NAME.interval` | ",
        "| `events` | no effect |",
        "Old name: `otlphttp`.",
        "| `endpoint` | text | required | where to |",
        "| `flag` | true or false |  | a \\| b |",
        "## service\n",
        "| `telemetry.logs.encoding` | `console`, `json` | `console` |",
        "| `pipelines.NAME.receivers` | list of texts | required |",
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (strstr(text, parts[i]) == NULL)
            fail_msg("missing: %s", parts[i]);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_filled_in),
        cmocka_unit_test(every_type_is_read),
        cmocka_unit_test(sources_merge_in_order),
        cmocka_unit_test(collector_file_runs_unchanged),
        cmocka_unit_test(fleet_file_is_read),
        cmocka_unit_test(ignored_keys_warn_once),
        cmocka_unit_test(print_shows_all_but_secrets),
        cmocka_unit_test(reference_has_every_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
