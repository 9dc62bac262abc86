/* SPDX-License-Identifier: Apache-2.0 */
/* Step 1: ns to load the built-in catalogue (per query), and to make the plan of a server that has
 * everything (per statement), once with what is enabled by default and once with all metrics.
 * Floors: libfyaml's own events of the same documents; the statements' texts copied. */
#include <libfyaml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "catalog/builtin.h"
#include "catalog/catalog.h"
#include "perf/shim/bench.h"

static struct catalog *load_catalog(void)
{
    struct catalog *catalog = NULL;
    struct error error;
    if (!catalog_load(&catalog, NULL, 0, &error)) {
        fprintf(stderr, "%s\n", error.text);
        exit(1);
    }
    return catalog;
}

static void load(struct bench *bench)
{
    size_t queries = 0;
    while (bench_next(bench)) {
        struct catalog *catalog = load_catalog();
        queries = catalog->query_count;
        catalog_destroy(&catalog);
    }
    bench_items(bench, queries);
}

static void parse_floor(struct bench *bench)
{
    struct catalog *catalog = load_catalog();
    size_t queries = catalog->query_count;
    catalog_destroy(&catalog);
    while (bench_next(bench))
        for (size_t i = 0; i < builtin_document_count; i++) {
            const struct builtin_document *document = &builtin_documents[i];
            struct fy_parse_cfg cfg = {.flags = FYPCF_QUIET};
            struct fy_parser *parser = fy_parser_create(&cfg);
            CHECK(parser != NULL &&
                  fy_parser_set_string(parser, document->begin,
                                       (size_t)(document->end - document->begin)) == 0);
            for (struct fy_event *event; (event = fy_parser_parse(parser)) != NULL;) {
                size_t bytes = 0;
                if (event->type == FYET_SCALAR)
                    bench_keep(fy_token_get_text(event->scalar.value, &bytes));
                fy_parser_event_free(parser, event);
            }
            fy_parser_destroy(parser);
        }
    bench_items(bench, queries);
}

static struct plan *make_plan(const struct catalog *catalog, bool all)
{
    static bool enabled[LIMIT_QUERY_METRICS];
    for (size_t i = 0; i < catalog->metric_count; i++)
        enabled[i] = all || catalog->metrics[i]->enabled;
    struct catalog_choice choice = {.model = CATALOG_SEMCONV, .metric_enabled = enabled};
    struct capabilities server = {.version_num = 170003};
    memset(server.present, 0xff, sizeof server.present);
    struct plan *made = NULL;
    struct error error;
    if (!catalog_plan(catalog, &choice, &server, &made, &error)) {
        fprintf(stderr, "%s\n", error.text);
        exit(1);
    }
    return made;
}

static const bool by_default = false, all_metrics = true;

static void plan(struct bench *bench)
{
    const bool *all = bench_data(bench);
    struct catalog *catalog = load_catalog();
    size_t statements = 0;
    while (bench_next(bench)) {
        struct plan *made = make_plan(catalog, *all);
        statements = made->statement_count;
        plan_destroy(&made);
    }
    bench_items(bench, statements);
    catalog_destroy(&catalog);
}

static void text_floor(struct bench *bench)
{
    static char copy[1 << 16];
    const bool *all = bench_data(bench);
    struct catalog *catalog = load_catalog();
    struct plan *made = make_plan(catalog, *all);
    while (bench_next(bench))
        for (size_t i = 0; i < made->statement_count; i++) {
            size_t bytes = strlen(made->statements[i].sql);
            CHECK(bytes < sizeof copy);
            memcpy(copy, made->statements[i].sql, bytes + 1);
            bench_keep(copy);
        }
    bench_items(bench, made->statement_count);
    plan_destroy(&made);
    catalog_destroy(&catalog);
}

static const struct bench_case cases[] = {
    {"parse_floor", parse_floor, .unit = "query", .exact = 2},
    {"load", load, .unit = "query", .floor = "parse_floor", .exact = 2},
    {"text_floor", text_floor, .data = &by_default, .unit = "statement"},
    {"plan", plan, .data = &by_default, .unit = "statement", .floor = "text_floor"},
    {"text_floor_all", text_floor, .data = &all_metrics, .unit = "statement"},
    {"plan_all", plan, .data = &all_metrics, .unit = "statement", .floor = "text_floor_all"},
};

int main(int argc, char **argv)
{
    bench_add_cases(cases, sizeof cases / sizeof *cases);
    bench_headline("catalog_plan_statement", "plan");
    return bench_main(argc, argv);
}
