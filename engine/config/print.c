/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration as it is in force: every default filled in, secrets as [REDACTED], and, but for
 * those, a file that loads again to the same. What is unset and has no default is left out. Main
 * thread.
 *
 * Functions here call each other as deep as tables nest, which is constant. */
#include "config/config.h"

#include "base/arena.h"
#include "base/memory.h"
#include "config/service.h"
#include "config/value.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { INDENT = 2 };

static const char redacted[] = "[REDACTED]";

static void print_table(FILE *out, const struct option_table *table, const char *settings,
                        int indent);

/* Without quotes only where no reader takes it for anything but text. */
static bool plain(const char *text)
{
    static const char *const words[] = {"true", "false", "null", "yes", "no", "on", "off"};
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-";
    bool letter = (text[0] >= 'a' && text[0] <= 'z') || (text[0] >= 'A' && text[0] <= 'Z');
    if (!(letter || text[0] == '/') || strspn(text, safe) != strlen(text))
        return false;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcasecmp(text, words[i]) == 0)
            return false;
    return true;
}

/* `keep_dollars` for keys: only values are expanded when they are read. */
static void print_text(FILE *out, const char *text, bool keep_dollars)
{
    if (plain(text)) {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    for (const unsigned char *c = (const unsigned char *)text; *c != 0; c++) {
        if (*c == '"' || *c == '\\')
            fprintf(out, "\\%c", *c);
        else if (*c == '$' && !keep_dollars)
            fputs("$$", out);
        else if (*c == '\n')
            fputs("\\n", out);
        else if (*c < 0x20 || *c == 0x7f)
            fprintf(out, "\\x%02x", *c);
        else
            fputc(*c, out);
    }
    fputc('"', out);
}

static void print_list(FILE *out, const struct text_list *list)
{
    fputs(" [", out);
    for (size_t i = 0; i < list->count; i++) {
        fputs(i == 0 ? "" : ", ", out);
        print_text(out, list->items[i], false);
    }
    fputs("]\n", out);
}

static void print_map(FILE *out, const struct text_map *map, bool secret, int indent)
{
    fputs(map->count == 0 ? " {}\n" : "\n", out);
    for (size_t i = 0; i < map->count; i++) {
        fprintf(out, "%*s", indent, "");
        print_text(out, map->items[i].key, true);
        fputs(": ", out);
        print_text(out, secret ? redacted : map->items[i].value, false);
        fputc('\n', out);
    }
}

static void print_number(FILE *out, const struct option *option, const char *field)
{
    char text[VALUE_TEXT_BYTES];
    if (option->type == OPTION_DURATION)
        value_format_duration(*(const uint64_t *)(const void *)field, text);
    else if (option->type == OPTION_BYTES)
        value_format_bytes(*(const int64_t *)(const void *)field, text);
    else if (option->type == OPTION_DOUBLE)
        value_format_double(*(const double *)(const void *)field, text);
    else
        snprintf(text, sizeof text, "%" PRId64, *(const int64_t *)(const void *)field);
    fprintf(out, " %s\n", text);
}

static void print_group_list(FILE *out, const struct option *option, const struct group_list *list,
                             int indent)
{
    fputs(list->count == 0 ? " []\n" : "\n", out);
    for (size_t i = 0; i < list->count; i++) {
        fprintf(out, "%*s-\n", indent, "");
        print_table(out, option->table, (const char *)list->items + i * option->table->size,
                    indent + INDENT);
    }
}

static void print_group_map(FILE *out, const struct option *option, const struct group_map *map,
                            int indent)
{
    fputs(map->count == 0 ? " {}\n" : "\n", out);
    for (size_t i = 0; i < map->count; i++) {
        fprintf(out, "%*s", indent, "");
        print_text(out, map->keys[i], true);
        fputs(":\n", out);
        print_table(out, option->table, (const char *)map->items + i * option->table->size,
                    indent + INDENT);
    }
}

static void print_value(FILE *out, const struct option *option, const char *settings, int indent)
{
    const char *field = settings + option->offset;
    const void *value = field;
    switch (option->type) {
    case OPTION_BOOL:
        fputs(*(const bool *)value ? " true\n" : " false\n", out);
        return;
    case OPTION_INT:
    case OPTION_DOUBLE:
    case OPTION_DURATION:
    case OPTION_BYTES:
        print_number(out, option, field);
        return;
    case OPTION_TEXT:
    case OPTION_SECRET:
        fputc(' ', out);
        print_text(out, option->type == OPTION_SECRET ? redacted : *(const char *const *)value,
                   false);
        fputc('\n', out);
        return;
    case OPTION_ENUM:
        fprintf(out, " %s\n", option->choices[*(const int *)value]);
        return;
    case OPTION_TEXT_LIST:
        print_list(out, value);
        return;
    case OPTION_TEXT_MAP:
    case OPTION_SECRET_MAP:
        print_map(out, value, option->type == OPTION_SECRET_MAP, indent + INDENT);
        return;
    case OPTION_GROUP:
        fputc('\n', out);
        print_table(out, option->table, field, indent + INDENT);
        return;
    case OPTION_GROUP_LIST:
        print_group_list(out, option, value, indent + INDENT);
        return;
    case OPTION_GROUP_MAP:
        print_group_map(out, option, value, indent + INDENT);
        return;
    case OPTION_IGNORED:
        return;
    }
}

static bool shown(const struct option *option, const char *settings)
{
    if (option->type == OPTION_IGNORED)
        return false;
    if (option->type != OPTION_TEXT && option->type != OPTION_SECRET)
        return true;
    return *(const char *const *)(const void *)(settings + option->offset) != NULL;
}

static void print_table(FILE *out, const struct option_table *table, const char *settings,
                        int indent)
{
    for (const struct option *option = table->options; option->key != NULL; option++) {
        if (!shown(option, settings))
            continue;
        fprintf(out, "%*s%s:", indent, "", option->key);
        print_value(out, option, settings, indent);
    }
}

static void print_section(FILE *out, const struct config *config, enum component_kind kind)
{
    bool headed = false;
    for (size_t i = 0; i < config->instance_count; i++) {
        const struct instance *instance = &config->instances[i];
        if (instance->component->kind != kind)
            continue;
        if (!headed)
            fprintf(out, "%s:\n", section_name(kind));
        headed = true;
        fprintf(out, "%*s", INDENT, "");
        print_text(out, instance->id, true);
        fputs(":\n", out);
        print_table(out, &instance->component->table, instance->settings, 2 * INDENT);
    }
}

static struct text_list names_of(struct arena *arena, const struct instance **instances,
                                 size_t count)
{
    const char **names = arena_take(arena, (count + 1) * sizeof *names);
    for (size_t i = 0; i < count; i++)
        names[i] = instances[i]->id;
    return (struct text_list){names, count};
}

/* Back from components to names, so that the service section prints by its table as well. */
static void print_service(FILE *out, const struct config *config)
{
    struct arena arena = {0};
    struct pipeline_file *files = arena_take(&arena, (config->pipeline_count + 1) * sizeof *files);
    const char **ids = arena_take(&arena, (config->pipeline_count + 1) * sizeof *ids);
    for (size_t i = 0; i < config->pipeline_count; i++) {
        const struct pipeline *pipeline = &config->pipelines[i];
        ids[i] = pipeline->id;
        files[i].receivers = names_of(&arena, pipeline->receivers, pipeline->receiver_count);
        files[i].processors = names_of(&arena, pipeline->processors, pipeline->processor_count);
        files[i].exporters = names_of(&arena, pipeline->exporters, pipeline->exporter_count);
    }
    struct service_file file = {
        .settings = config->service,
        .extensions = names_of(&arena, config->extensions, config->extension_count),
        .pipelines = {ids, files, config->pipeline_count},
    };
    fputs("service:\n", out);
    print_table(out, &service_table, (const char *)&file, INDENT);
    arena_fini(&arena);
}

char *config_print(const struct config *config)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    xdone(out != NULL);
    for (int kind = 0; kind < COMPONENT_KIND_COUNT; kind++)
        print_section(out, config, (enum component_kind)kind);
    print_service(out, config);
    xdone(fclose(out) == 0);
    return text;
}
