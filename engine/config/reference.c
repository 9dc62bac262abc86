/* SPDX-License-Identifier: Apache-2.0 */
/* docs/configuration.md's tables, out of the option tables, so that they cannot disagree with the
 * program. Functions here call each other as deep as tables nest, which is constant. */
#include "config/config.h"

#include "base/memory.h"
#include "config/service.h"
#include "config/value.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PATH_BYTES = 256 };

static const char *type_name(enum option_type type)
{
    switch (type) {
    case OPTION_BOOL:
        return "true or false";
    case OPTION_INT:
        return "whole number";
    case OPTION_DOUBLE:
        return "number";
    case OPTION_DURATION:
        return "duration";
    case OPTION_BYTES:
        return "size";
    case OPTION_TEXT:
        return "text";
    case OPTION_SECRET:
        return "secret";
    case OPTION_ENUM:
        return "choice";
    case OPTION_TEXT_LIST:
        return "list of texts";
    case OPTION_TEXT_MAP:
        return "map of texts";
    case OPTION_SECRET_MAP:
        return "map of secrets";
    case OPTION_GROUP:
        return "group";
    case OPTION_GROUP_LIST:
        return "list of groups";
    case OPTION_GROUP_MAP:
        return "map of groups";
    case OPTION_IGNORED:
        return "no effect";
    }
    return "?";
}

static void write_type(FILE *out, const struct option *option)
{
    char low[VALUE_TEXT_BYTES], high[VALUE_TEXT_BYTES];
    if (option->type == OPTION_ENUM) {
        for (int i = 0; option->choices[i] != NULL; i++)
            fprintf(out, "%s`%s`", i == 0 ? "" : ", ", option->choices[i]);
        return;
    }
    fputs(type_name(option->type), out);
    if (option->min == 0 && option->max == 0)
        return;
    value_format_bounds(option, low, high);
    fprintf(out, ", %s to %s", low, high);
}

/* A bar would end the cell. */
static void write_help(FILE *out, const char *help)
{
    for (const char *c = help != NULL ? help : ""; *c != 0; c++)
        fprintf(out, *c == '|' ? "\\|" : "%c", *c);
}

static void write_rows(FILE *out, const struct option_table *table, const char *path)
{
    for (const struct option *option = table->options; option->key != NULL; option++) {
        char nested[PATH_BYTES];
        const char *tail = option->type == OPTION_GROUP_LIST  ? "[]."
                           : option->type == OPTION_GROUP_MAP ? ".NAME."
                                                              : ".";
        fprintf(out, "| `%s%s` | ", path, option->key);
        write_type(out, option);
        fputs(" | ", out);
        if (option->required)
            fputs("required", out);
        else if (option->fallback != NULL)
            fprintf(out, "`%s`", option->fallback);
        fputs(" | ", out);
        write_help(out, option->help);
        fputs(option->inherits ? "; keys not given are taken from the level above |\n" : " |\n",
              out);
        if (option->table == NULL || option->inherits)
            continue;
        snprintf(nested, sizeof nested, "%s%s%s", path, option->key, tail);
        write_rows(out, option->table, nested);
    }
}

static void write_table(FILE *out, const struct option_table *table)
{
    if (table->options[0].key == NULL)
        return;
    fputs("\n| key | type | default | meaning |\n|---|---|---|---|\n", out);
    write_rows(out, table, "");
}

static void write_component(FILE *out, const struct component *component)
{
    fprintf(out, "\n### %s `%s`\n\n", section_member(component->kind), component->type);
    size_t about_bytes = strlen(component->about);
    bool ended = about_bytes > 0 && component->about[about_bytes - 1] == '.';
    write_help(out, component->about);
    fprintf(out, "%s Stability: %s.", ended ? "" : ".", component->stability);
    for (const char *const *alias = component->aliases; alias != NULL && *alias != NULL; alias++)
        fprintf(out, " Old name: `%s`.", *alias);
    fputc('\n', out);
    write_table(out, &component->table);
}

char *config_reference(component_registry registry)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    xdone(out != NULL);
    for (int kind = 0; kind < COMPONENT_KIND_COUNT; kind++) {
        const char *section = section_name((enum component_kind)kind);
        fprintf(out, "%s## %s\n", kind == 0 ? "" : "\n", section);
        for (size_t i = 0; registry[i] != NULL; i++)
            if ((int)registry[i]->kind == kind)
                write_component(out, registry[i]);
    }
    fputs("\n## service\n", out);
    write_table(out, &service_table);
    xdone(fclose(out) == 0);
    return text;
}

char *config_reference_table(const struct option_table *table)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    xdone(out != NULL);
    write_table(out, table);
    xdone(fclose(out) == 0);
    return text;
}
