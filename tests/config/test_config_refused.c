/* SPDX-License-Identifier: Apache-2.0 */
/* Bad configurations, one mistake each: the whole message, with its place. */
#include "components.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pg/settings.h"

#define SERVICE  "service: {pipelines: {metrics: {receivers: [postgresql], exporters: [sample]}}}\n"
#define RECEIVER "receivers: {postgresql: {username: u}}\n"
/* What stands in these begins in line 4 and line 3. */
#define SAMPLE(text)   RECEIVER SERVICE "exporters:\n  sample: {" text "}\n"
#define POSTGRES(text) "exporters: {sample: }\n" SERVICE "receivers: {postgresql: {" text "}}\n"
/* 256 bytes */
#define X8        "xxxxxxxx"
#define X64       X8 X8 X8 X8 X8 X8 X8 X8
#define LONG_NAME X64 X64 X64 X64
#define PIPELINES(text)                                                                            \
    RECEIVER "exporters: {sample: }\nextensions: {health_check: }\nservice: {" text "}\n"

static const struct {
    const char *text, *error;
} cases[] = {
    {"", "yaml:1:1: the configuration is empty: it needs receivers, exporters and service"},
    {"- a\n", "yaml:1:1: a configuration is a map with receivers, exporters and service"},
    {"a: [", "yaml:2:1: not valid YAML: flow sequence without a closing bracket"},
    {RECEIVER "exporters: {sample: }\n",
     "yaml:1:1: section \"service\" is missing: it names the pipelines to run"},
    {RECEIVER SERVICE "exporters: {sample: }\nexporter: {}\n",
     "yaml:4:1: unknown key \"exporter\": did you mean \"exporters\"?"},
    {RECEIVER SERVICE "exporters: {sample: }\nconnectors: {forward: }\n",
     "yaml:4:14: unknown connector \"forward\": pgweir has no connectors: remove it"},
    {RECEIVER SERVICE "exporters: [sample]\n",
     "yaml:3:12: exporters: expected a map of components"},
    {RECEIVER SERVICE "exporters: {smaple: }\n",
     "yaml:3:13: unknown exporter \"smaple\": did you mean \"sample\"? known are otlp_http, debug, "
     "sample"},
    {RECEIVER SERVICE "exporters: {kafka: }\n",
     "yaml:3:13: unknown exporter \"kafka\": known are otlp_http, debug, sample"},
    {RECEIVER SERVICE "exporters: {sample: , sample/: }\n",
     "yaml:3:23: \"sample/\" is not a component's id: write type or type/name"},
    {RECEIVER SERVICE
     "exporters: {sample: , otlp_http: {endpoint: e},\n  otlphttp: {endpoint: e}}\n",
     "yaml:4:3: duplicate exporter \"otlp_http\", first at line 3: remove one, or name it "
     "\"otlp_http/other\""},
    {RECEIVER SERVICE "exporters: {sample: , otlp_http: }\n",
     "yaml:3:23: key \"endpoint\" is missing: where to"},
    {SAMPLE("flagg: true"), "yaml:4:12: unknown key \"flagg\": did you mean \"flag\"?"},
    {SAMPLE("zzzzzzzz: true"),
     "yaml:4:12: unknown key \"zzzzzzzz\": known here: flag, number, ratio, wait, room, text, "
     "secret, mode, list, map, headers, base, …"},
    {SAMPLE("number: 1, number: 2"),
     "yaml:4:23: duplicate key \"number\", first at line 4: remove one of the two"},
    {SAMPLE("flag: yes"), "yaml:4:18: flag: \"yes\" is neither true nor false"},
    {SAMPLE("flag: \"true\""), "yaml:4:18: flag: \"true\" is text: remove the quotation marks"},
    {SAMPLE("flag: [true]"), "yaml:4:18: flag: expected a single value, not a list"},
    {SAMPLE("number: ten"),
     "yaml:4:20: number: \"ten\" is not a whole number: write one such as 10"},
    {SAMPLE("number: 0"), "yaml:4:20: number: 0 is out of range: it must be from 1 to 10000"},
    {SAMPLE("number: 1.5"),
     "yaml:4:20: number: \"1.5\" is not a whole number: write one such as 10"},
    {SAMPLE("ratio: 2"), "yaml:4:19: ratio: 2 is out of range: it must be from 0 to 1"},
    {SAMPLE("ratio: half"), "yaml:4:19: ratio: \"half\" is not a number: write one such as 0.5"},
    {SAMPLE("wait: 10"), "yaml:4:18: wait: \"10\" is not a duration: write a number and a unit, "
                         "such as 10s, 500ms or 1h30m"},
    {SAMPLE("wait: 2h"), "yaml:4:18: wait: 2h is out of range: it must be from 0s to 1h"},
    {SAMPLE("room: 1"), "yaml:4:18: room: 1 is out of range: it must be from 1KiB to 1GiB"},
    {SAMPLE("room: big"), "yaml:4:18: room: \"big\" is not a size: write one such as 64MiB"},
    {SAMPLE("mode: slow"), "yaml:4:18: mode: \"slow\" is none of fast, safe"},
    {SAMPLE("text: {a: b}"), "yaml:4:18: text: expected a single value, not a map"},
    {SAMPLE("list: a"), "yaml:4:18: list: expected a list, such as [a, b], not a single value"},
    {SAMPLE("list: [[a]]"), "yaml:4:19: list: expected a single value here, not a list"},
    {SAMPLE("map: [a]"), "yaml:4:18: map: expected a map, or a list of {name: …, value: …}"},
    {SAMPLE("map: {a: [b]}"), "yaml:4:21: map: expected a single value here, not a list"},
    {SAMPLE("headers: a"),
     "yaml:4:21: headers: expected a map, such as {key: value}, not a single value"},
    {SAMPLE("base: 1"), "yaml:4:18: base: expected a map of keys and values, not a single value"},
    {SAMPLE("base: {nested: {off: true}}"), "yaml:4:28: unknown key \"off\": known here: on"},
    {SAMPLE("items: {a: b}"), "yaml:4:19: items: expected a list, such as [a, b], not a map"},
    {SAMPLE("items: [a]"),
     "yaml:4:20: items: expected a map of keys and values, not a single value"},
    {SAMPLE("items: [{weight: 3}, {weight: 10}]"),
     "yaml:4:42: weight: 10 is out of range: it must be from 1 to 9"},
    {SAMPLE("items: [{weight: 3}, {weight: 9}]"), "yaml:4:42: items[1].weight: 9 is taken"},
    {SAMPLE("named: {x: {}}"), "yaml:4:23: key \"name\" is missing: a name"},
    {SAMPLE("named: {x: {name: }}"), "yaml:4:23: key \"name\" is missing: a name"},
    {SAMPLE("text: \"${env:UNSET}\""),
     "yaml:4:18: variable UNSET is not set: set it, or give a default: ${env:UNSET:-default}"},
    {SAMPLE("number: \"${env:SECRET}\""),
     "yaml:4:20: number: \"${env:SECRET}\" is not a whole number: write one such as 10"},
    {SAMPLE("list: \"${env:SECRET}\""),
     "yaml:4:18: list: expected a list, such as [a, b], not a single value"},
    {SAMPLE("plain_items: \"${file:/no/such}\""),
     "yaml:4:25: ${file:…}: /no/such: cannot be opened: No such file or directory: check the path "
     "and its permissions"},
    {SAMPLE("number: 0, wait: 5, mode: x"),
     "yaml:4:20: number: 0 is out of range: it must be from 1 to 10000\nyaml:4:29: wait: \"5\" is "
     "not a duration: write a number and a unit, such as 10s, 500ms or 1h30m\nyaml:4:38: mode: "
     "\"x\" is none of fast, safe"},
    {PIPELINES(""),
     "yaml:4:10: key \"pipelines\" is missing: pipelines by name: metrics, or metrics/NAME"},
    {PIPELINES("pipelines: {}"), "yaml:4:22: service.pipelines is empty: add a pipeline, such as "
                                 "metrics: {receivers: [postgresql], exporters: [debug]}"},
    {PIPELINES("pipelines: [metrics]"),
     "yaml:4:22: pipelines: expected a map, such as {key: value}, not a list"},
    {PIPELINES("pipelines: {metrics: }"),
     "yaml:4:23: key \"receivers\" is missing: receivers whose points enter this "
     "pipeline\nyaml:4:23: key \"exporters\" is missing: exporters that each get every point"},
    {PIPELINES("pipelines: {metrics: {receivers: [], exporters: [sample]}}"),
     "yaml:4:32: pipeline \"metrics\": no receiver: a pipeline needs at least one receiver and one "
     "exporter"},
    {PIPELINES("pipelines: {metrics: {receivers: [postgres], exporters: [sample]}}"),
     "yaml:4:45: pipeline \"metrics\": receiver \"postgres\" is not configured: did you mean "
     "\"postgresql\"?"},
    {PIPELINES("pipelines: {metrics: {receivers: [postgresql], exporters: [sample, debug]}}"),
     "yaml:4:78: pipeline \"metrics\": exporter \"debug\" is not configured: add it under "
     "exporters, or remove it here"},
    {PIPELINES("pipelines: {metrics: {receivers: [postgresql], processors: [batch], exporters: "
               "[sample]}}"),
     "yaml:4:71: pipeline \"metrics\": processor \"batch\" is not configured: add it under "
     "processors, or remove it here"},
    {PIPELINES("pipelines: {metrics: {receivers: [postgresql], exporters: [sample, sample]}}"),
     "yaml:4:78: pipeline \"metrics\": exporter \"sample\" stands there twice: remove one"},
    {PIPELINES("pipelines: {logs: {receivers: [postgresql], exporters: [sample]}}"),
     "yaml:4:23: pipeline \"logs\": pgweir carries metrics only: remove this pipeline, or leave it "
     "to another collector"},
    {PIPELINES("pipelines: {traces/a: {receivers: [postgresql], exporters: [sample]}}"),
     "yaml:4:23: pipeline \"traces/a\": pgweir carries metrics only: remove this pipeline, or "
     "leave it to another collector"},
    {PIPELINES("pipelines: {metric: {receivers: [postgresql], exporters: [sample]}}"),
     "yaml:4:23: pipeline \"metric\": unknown signal: name it metrics or metrics/NAME"},
    {PIPELINES("extensions: [zpages], pipelines: {metrics: {receivers: [postgresql], exporters: "
               "[sample]}}"),
     "yaml:4:24: service.extensions: extension \"zpages\" is not configured: add it under "
     "extensions, or remove it here"},
    {PIPELINES("shard: 1, pipelines: {metrics: {receivers: [postgresql], exporters: [sample]}}"),
     "yaml:4:11: unknown key \"shard\": did you mean \"shards\"?"},
    {PIPELINES("shards: 65, pipelines: {metrics: {receivers: [postgresql], exporters: [sample]}}"),
     "yaml:4:19: shards: 65 is out of range: it must be from 0 to 64"},
    {PIPELINES("telemetry: {logs: {level: loud}}, pipelines: {metrics: {receivers: [postgresql], "
               "exporters: [sample]}}"),
     "yaml:4:37: level: \"loud\" is none of debug, info, warn, error"},
    {POSTGRES(""), "yaml:3:13: username: is missing: name the role to log in as, or give a dsn"},
    {POSTGRES("username: "),
     "yaml:3:26: username: is missing: name the role to log in as, or give a dsn"},
    {POSTGRES("username: u, endpoint: db1"),
     "yaml:3:49: endpoint: \"db1\" has no port: write db1:5432"},
    {POSTGRES("username: u, endpoint: \"db1:port\""),
     "yaml:3:49: endpoint: \"db1:port\": the port must be a number from 1 to 65535"},
    {POSTGRES("username: u, endpoint: \"db1:70000\""),
     "yaml:3:49: endpoint: \"db1:70000\": the port must be a number from 1 to 65535"},
    {POSTGRES("username: u, endpoint: \"::1:5432\""),
     "yaml:3:49: endpoint: \"::1:5432\": put an IPv6 address into brackets: [::1]:5432"},
    {POSTGRES("username: u, endpoint: \":5432\""),
     "yaml:3:49: endpoint: \":5432\": the host is missing: write host:5432"},
    {POSTGRES("username: u, endpoint: \"postgresql://db1:5432\""),
     "yaml:3:49: endpoint: is not host:port; for a connection string use dsn"},
    {POSTGRES("dsn: \"postgresql://u:hunter2@db1/x\", endpoint: \"db1:5432\""),
     "yaml:3:73: endpoint: excludes dsn: remove one of the two"},
    {POSTGRES("dsn: hunter2"), "yaml:3:31: dsn: is no connection string: write "
                               "postgresql://user@host:5432/postgres or \"host=… user=…\""},
    {POSTGRES("username: u, transport: udp"), "yaml:3:50: transport: \"udp\" is none of tcp, unix"},
    {POSTGRES("username: u, tls: {cert_file: x}"),
     "yaml:3:44: tls: cert_file and key_file go together: give both or none"},
    {POSTGRES("username: u, databases: [a, \"\"]"),
     "yaml:3:54: databases[1]: is empty: name a database"},
    {POSTGRES("username: u, collection_interval: 10"),
     "yaml:3:60: collection_interval: \"10\" is not a duration: write a number and a unit, such as "
     "10s, 500ms or 1h30m"},
    {POSTGRES("username: u, connections: 0"),
     "yaml:3:52: connections: 0 is out of range: it must be from 1 to 64"},
    {POSTGRES("username: u, password: [hunter2]"),
     "yaml:3:49: password: expected a single value, not a list"},
    {POSTGRES("username: u, attributes: {" LONG_NAME ": x}"),
     "yaml:3:51: attributes: the name \"" X8 X8 X8 X8 X8 "…\" has over 255 bytes"},
    {POSTGRES("username: u, targets: [{attributes: {a: x}}, {attributes: {" LONG_NAME
              ": x}}]"),
     "yaml:3:84: targets[1].attributes: the name \"" X8 X8 X8 X8 X8 "…\" has over 255 bytes"},
    {POSTGRES("username: u, session: {backoff_initial: 2m}"),
     "yaml:3:66: session.backoff_initial: is longer than backoff_max"},
    {POSTGRES("targets: [{username: u}, {endpoint: \"db2:5432\"}]"),
     "yaml:3:51: targets[1].username: is missing: name the role to log in as, or give a dsn"},
    {POSTGRES("username: u, targets: [{}, {dsn: \"host=x\", endpoint: \"db2:5432\"}]"),
     "yaml:3:79: targets[1].endpoint: excludes dsn: remove one of the two"},
    {POSTGRES("username: u, targets: [{endpont: \"db2:5432\"}]"),
     "yaml:3:50: unknown key \"endpont\": did you mean \"endpoint\"?"},
    {POSTGRES("username: u, metrics: {postgresql.deadlocks: false}"),
     "yaml:3:71: postgresql.deadlocks: expected a map of keys and values, not a single value"},
    {POSTGRES("username: u, query_sample: {}"),
     "yaml:3:39: unknown key \"query_sample\": did you mean \"query_sample_collection\"?"},
    {SAMPLE("mode: \"${env:SECRET}\""), "yaml:4:18: mode: \"${env:SECRET}\" is none of fast, safe"},
    {SAMPLE("wait: \"${env:SECRET}\""), "yaml:4:18: wait: \"${env:SECRET}\" is not a duration: "
                                        "write a number and a unit, such as 10s, 500ms or 1h30m"},
    {SAMPLE("headers: {k: \"${vault:x}\"}"),
     "yaml:4:25: ${vault:…}: unknown source \"vault\": env and file are known"},
    {POSTGRES("dsn: \"${env:SECRET}\""),
     "yaml:3:31: dsn: is no connection string: write postgresql://user@host:5432/postgres or "
     "\"host=… user=…\""},
    {POSTGRES("username: u, databases: postgres"),
     "yaml:3:50: databases: expected a list, such as [a, b], not a single value"},
    {RECEIVER SERVICE "exporters: ${env:SECRET}\n",
     "yaml:3:12: exporters: expected a map of components"},
};

static void bad_configurations_are_refused(void **state)
{
    (void)state;
    setenv("SECRET", "hunter2", 1);
    unsetenv("UNSET");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct config *config = NULL;
        struct error error = {0};
        if (load_text(&config, cases[i].text, &error, NULL, 0))
            fail_msg("taken: %s", cases[i].text);
        assert_null(config);
        assert_null(strstr(error.text, "hunter2"));
        assert_string_equal(error.text, cases[i].error);
    }
}

static void sources_that_cannot_be_read_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *source, *error;
    } sources[] = {
        {"/no/such.yaml", "/no/such.yaml: cannot be opened: No such file or directory: check the "
                          "path and its permissions"},
        {"file:/tmp", "/tmp: cannot be read: Is a directory: name a file in it"},
        {"env:UNSET", "env:UNSET: variable UNSET is not set: it should hold YAML text"},
    };
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
        struct config *config = NULL;
        struct error error;
        assert_false(config_load(&config, &sources[i].source, 1, test_registry, &error));
        assert_string_equal(error.text, sources[i].error);
    }
    struct config *config = NULL;
    struct error error;
    assert_false(config_load(&config, NULL, 0, test_registry, &error));
    assert_string_equal(error.text, "no configuration given: name a file with --config=FILE");
}

/* Ten are written out, the others counted. */
static void many_problems_are_cut(void **state)
{
    (void)state;
    static const char text[] = RECEIVER SERVICE
        "exporters: {sample: {a1: , a2: , a3: , a4: , a5: , a6: , a7: , a8: , number: x, wait: x, "
        "room: x, flag: x}}\n";
    struct config *config = NULL;
    struct error error;
    assert_false(load_text(&config, text, &error, NULL, 0));
    size_t lines = 1;
    for (const char *c = error.text; *c != 0; c++)
        lines += *c == '\n';
    const char *last = strrchr(error.text, '\n');
    unsigned more = 0;
    assert_int_equal(sscanf(last, "\n… and %u more", &more), 1);
    assert_int_equal(lines - 1 + more, 12);
    assert_in_range(lines - 1, 5, 10);
}

static void endpoints(void **state)
{
    (void)state;
    static const struct {
        const char *endpoint;
        int transport;
        const char *host;
        uint16_t port;
    } good[] = {
        {"localhost:5432", TRANSPORT_TCP, "localhost", 5432},
        {"[::1]:5433", TRANSPORT_TCP, "::1", 5433},
        {"10.0.0.1:65535", TRANSPORT_TCP, "10.0.0.1", 65535},
        {"/run/postgresql:5433", TRANSPORT_UNIX, "/run/postgresql", 5433},
        {"/run/postgresql", TRANSPORT_UNIX, "/run/postgresql", 5432},
        {"tmp:5432", TRANSPORT_UNIX, "/tmp", 5432}, /* the OTel receiver adds the slash */
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct server_settings server = {.endpoint = good[i].endpoint,
                                         .transport = good[i].transport};
        struct server_endpoint endpoint;
        struct error error;
        assert_true(server_endpoint_parse(&server, &endpoint, &error));
        assert_string_equal(endpoint.host, good[i].host);
        assert_int_equal(endpoint.port, good[i].port);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_configurations_are_refused),
        cmocka_unit_test(sources_that_cannot_be_read_are_named),
        cmocka_unit_test(many_problems_are_cut),
        cmocka_unit_test(endpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
