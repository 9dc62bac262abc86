/* SPDX-License-Identifier: Apache-2.0 */
/* Start and reload: ns per target to read, check and fill the configuration of a fleet of so many
 * targets, each with a name, an endpoint, two databases and an attribute. Floor: libfyaml's own
 * events of the same text, read and thrown away. */
#include <libfyaml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "config/config.h"
#include "exporters/worker.h"
#include "perf/shim/bench.h"
#include "pg/settings.h"

/* As a source on the command line: "yaml:…". The caller frees. */
static char *make_text(int64_t targets)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    CHECK(out != NULL);
    fputs("yaml:receivers:\n  postgresql:\n    username: u\n    password: p\n    targets:\n", out);
    for (int64_t i = 0; i < targets; i++)
        fprintf(out,
                "      - name: server-%lld\n        endpoint: db%lld.example:5432\n"
                "        databases: [a, b]\n        attributes: {team: t%lld}\n",
                (long long)i, (long long)i, (long long)i % 10);
    fputs("processors:\n  batch:\nexporters:\n  otlp_http: {endpoint: 'https://otlp.example'}\n"
          "service:\n  pipelines:\n    metrics: {receivers: [postgresql], processors: [batch], "
          "exporters: [otlp_http]}\n",
          out);
    fclose(out);
    return text;
}

static void load(struct bench *bench)
{
    const struct component *registry[] = {&postgresql_receiver, &batch_processor,
                                          exporter_registry[0], NULL};
    char *text = make_text(bench_argument(bench));
    const char *sources[] = {text};
    while (bench_next(bench)) {
        struct config *config;
        struct error error;
        if (!config_load(&config, sources, 1, registry, &error)) {
            fprintf(stderr, "%s\n", error.text);
            bench_fail(bench, "the configuration does not load");
            break;
        }
        CHECK(postgresql_server_count(config->instances[0].settings) ==
              (size_t)bench_argument(bench));
        config_destroy(&config);
    }
    bench_items(bench, (uint64_t)bench_argument(bench));
    bench_bytes(bench, strlen(text));
    free(text);
}

static void parse_floor(struct bench *bench)
{
    char *text = make_text(bench_argument(bench));
    const char *yaml = text + strlen("yaml:");
    while (bench_next(bench)) {
        struct fy_parse_cfg cfg = {.flags = FYPCF_QUIET};
        struct fy_parser *parser = fy_parser_create(&cfg);
        CHECK(parser != NULL && fy_parser_set_string(parser, yaml, strlen(yaml)) == 0);
        for (struct fy_event *event; (event = fy_parser_parse(parser)) != NULL;) {
            size_t bytes = 0;
            if (event->type == FYET_SCALAR)
                bench_keep(fy_token_get_text(event->scalar.value, &bytes));
            fy_parser_event_free(parser, event);
        }
        fy_parser_destroy(parser);
    }
    bench_items(bench, (uint64_t)bench_argument(bench));
    bench_bytes(bench, strlen(yaml));
    free(text);
}

static const struct bench_case cases[] = {
    {"parse_floor", parse_floor, .argument = 300, .unit = "target", .exact = 2},
    {"load", load, .argument = 300, .unit = "target", .floor = "parse_floor/300", .exact = 2},
    {"parse_floor", parse_floor, .argument = 10000, .unit = "target", .exact = -1},
    {"load", load, .argument = 10000, .unit = "target", .floor = "parse_floor/10000", .exact = -1},
};

int main(int argc, char **argv)
{
    bench_add_cases(cases, sizeof cases / sizeof *cases);
    bench_headline("config_target", "load/10000");
    return bench_main(argc, argv);
}
