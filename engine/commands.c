/* SPDX-License-Identifier: Apache-2.0 */
/* What each command of the command line does. This file and run.c alone know every component; all
 * other code knows its own. */
#include "commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/admin.h"
#include "base/arena.h"
#include "base/check.h"
#include "catalog/catalog.h"
#include "config/config.h"
#include "exporters/worker.h"
#include "pg/settings.h"
#include "run.h"
#include "shard/resource.h"

/* ---- components ---- */

static const struct component *all_components[64];

static component_registry registry(void)
{
    size_t count = 0;
    all_components[count++] = &postgresql_receiver;
    all_components[count++] = &batch_processor;
    all_components[count++] = &resource_processor;
    for (size_t i = 0; exporter_registry[i] != NULL; i++)
        all_components[count++] = exporter_registry[i];
    all_components[count++] = &health_check_extension;
    all_components[count++] = &file_storage_extension;
    CHECK(count < sizeof all_components / sizeof *all_components);
    return all_components;
}

int command_components(const struct arguments *arguments)
{
    (void)arguments;
    static const struct {
        enum component_kind kind;
        const char *title;
    } kinds[] = {{COMPONENT_RECEIVER, "receivers"},
                 {COMPONENT_PROCESSOR, "processors"},
                 {COMPONENT_EXPORTER, "exporters"},
                 {COMPONENT_EXTENSION, "extensions"}};
    printf("buildinfo:\n    command: pgweir\n    version: %s\n", PGWEIR_VERSION);
    component_registry all = registry();
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        printf("%s:\n", kinds[k].title);
        for (size_t i = 0; all[i] != NULL; i++) {
            if (all[i]->kind != kinds[k].kind)
                continue;
            printf("    - name: %s\n      about: %s\n      stability: %s\n", all[i]->type,
                   all[i]->about, all[i]->stability);
            for (size_t a = 0; all[i]->aliases != NULL && all[i]->aliases[a] != NULL; a++)
                printf("      alias: %s\n", all[i]->aliases[a]);
        }
    }
    return EXIT_FINE;
}

/* ---- configuration ---- */

static bool load(const struct arguments *arguments, struct config **ret_config)
{
    struct error error;
    if (arguments->source_count == 0) {
        fprintf(stderr, "pgweir: which configuration? For example:\n"
                        "  --config /etc/pgweir/pgweir.yaml\n");
        return false;
    }
    if (config_load(ret_config, arguments->sources, arguments->source_count, registry(), &error))
        return true;
    fprintf(stderr, "pgweir: %s\n", error.text);
    return false;
}

int command_run(const struct arguments *arguments)
{
    struct config *config = NULL;
    if (!load(arguments, &config))
        return EXIT_USAGE;
    log_configure((enum log_level)config->service.log_level,
                  (enum log_format)config->service.log_format);
    int code = run_engine(config, &(struct run_options){.once = false});
    config_destroy(&config);
    return code;
}

int command_validate(const struct arguments *arguments)
{
    struct config *config = NULL;
    struct error error;
    size_t targets = 0;
    if (!load(arguments, &config))
        return EXIT_USAGE;
    bool valid = run_validate(config, &targets, &error);
    if (valid)
        printf("valid: %zu target%s in %zu pipeline%s\n", targets, targets == 1 ? "" : "s",
               config->pipeline_count, config->pipeline_count == 1 ? "" : "s");
    else
        fprintf(stderr, "pgweir: %s\n", error.text);
    config_destroy(&config);
    return valid ? EXIT_FINE : EXIT_USAGE;
}

int command_print_config(const struct arguments *arguments)
{
    struct config *config = NULL;
    if (!load(arguments, &config))
        return EXIT_USAGE;
    char *text = config_print(config);
    fputs(text, stdout);
    free(text);
    config_destroy(&config);
    return EXIT_FINE;
}

/* `once` is `run` with a configuration of one target and the console exporter. */
static char *once_configuration(struct arena *arena, const char *dsn, const char *format)
{
    /* In YAML's single quotes a quote is doubled; a dollar would be expanded. */
    char *quoted = arena_take(arena, 2 * strlen(dsn) + 1);
    char *out = quoted;
    for (const char *in = dsn; *in != 0; in++) {
        if (*in == '\'' || *in == '$')
            *out++ = *in;
        *out++ = *in;
    }
    *out = 0;
    return arena_format(arena,
                        "yaml:receivers:\n"
                        "  postgresql: {dsn: '%s', collection_interval: 1h, initial_delay: 0s,"
                        " timeout: 30s}\n"
                        "exporters:\n"
                        "  console: {format: %s}\n"
                        "service:\n"
                        "  shards: 1\n"
                        "  own_metrics: {enabled: false}\n"
                        "  telemetry: {logs: {level: error}}\n"
                        "  pipelines:\n"
                        "    metrics: {receivers: [postgresql], exporters: [console]}\n",
                        quoted, format);
}

static bool known_format(const char *format)
{
    static const char *const known[] = {"table", "prometheus", "otlp-json"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(format, known[i]) == 0)
            return true;
    fprintf(stderr,
            "pgweir once: --format \"%s\" is not known: write table, prometheus or otlp-json\n",
            format);
    return false;
}

/* The place of a problem is not in a text that the user never saw. */
static const char *without_place(const char *text)
{
    int bytes = 0;
    return sscanf(text, "yaml:%*u:%*u: %n", &bytes) == 0 && bytes > 0 ? text + bytes : text;
}

static bool load_once(struct arena *arena, const char *dsn, const char *format,
                      struct config **ret_config)
{
    struct error error;
    const char *source = once_configuration(arena, dsn, format);
    if (config_load(ret_config, &source, 1, registry(), &error))
        return true;
    fprintf(stderr, "pgweir once: %s\n", without_place(error.text));
    return false;
}

int command_once(const struct arguments *arguments)
{
    if (arguments->operand == NULL) {
        fprintf(stderr, "pgweir once: which server? For example:\n"
                        "  pgweir once postgresql://monitor@db1.example/postgres\n");
        return EXIT_USAGE;
    }
    const char *format = arguments->format != NULL ? arguments->format : "table";
    if (!known_format(format))
        return EXIT_USAGE;
    struct arena arena = {0};
    struct config *config = NULL;
    int code = EXIT_USAGE;
    if (load_once(&arena, arguments->operand, format, &config)) {
        log_configure((enum log_level)config->service.log_level, LOG_FORMAT_TEXT);
        code = run_engine(config, &(struct run_options){.once = true});
    }
    config_destroy(&config);
    arena_fini(&arena);
    return code;
}

int command_catalog(const struct arguments *arguments)
{
    struct catalog *loaded = NULL;
    struct error error;
    if (!catalog_load(&loaded, arguments->operand != NULL ? &arguments->operand : NULL,
                      arguments->operand != NULL, &error)) {
        fprintf(stderr, "pgweir: %s\n", error.text);
        return EXIT_USAGE;
    }
    char *text = catalog_print(loaded);
    fputs(text, stdout);
    free(text);
    catalog_destroy(&loaded);
    return EXIT_FINE;
}

int command_reference(const struct arguments *arguments)
{
    (void)arguments;
    char *text = config_reference(registry());
    fputs(text, stdout);
    free(text);
    return EXIT_FINE;
}

int command_version(const struct arguments *arguments)
{
    (void)arguments;
    printf("pgweir %s\n", PGWEIR_VERSION);
    return EXIT_FINE;
}
