/* SPDX-License-Identifier: Apache-2.0 */
/* A recording as JSON that people read and compare: one line for each column and each row. */
#include "tools/sim/recording_data.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/memory.h"

const char *const recording_type_names[RECORDING_TYPES] = {"text", "timestamptz", "int8", "float8"};
const uint32_t recording_type_oids[RECORDING_TYPES] = {25, 1184, 20, 701};
const char *const recording_scope_names[2] = {"server", "database"};
const char *const recording_role_names[RECORDING_ROLES] = {
    [ROLE_OTHER] = "other",     [ROLE_ATTRIBUTE] = "attribute", [ROLE_DATABASE] = "database",
    [ROLE_TABLE] = "table",     [ROLE_INDEX] = "index",         [ROLE_STATEMENT] = "statement",
    [ROLE_COUNTER] = "counter", [ROLE_GAUGE] = "gauge",         [ROLE_START] = "start",
};

/* Bytes of a server in another encoding than UTF-8 may not be text to JSON: they become "?". */
static void text_write(FILE *to, const char *text)
{
    json_t *value = json_string(text);
    if (!value) {
        char *copy = xstrdup(text);
        for (char *c = copy; *c; c++)
            *c = *c & '\x80' ? '?' : *c;
        value = json_string(copy);
        free(copy);
    }
    CHECK(value);
    json_dumpf(value, to, JSON_ENCODE_ANY);
    json_decref(value);
}

/* As few digits as read back the same. JSON has no name for what is not finite. */
static void real_write(FILE *to, double real)
{
    char text[32] = "";
    for (int digits = 15; digits <= 17 && strtod(text, NULL) != real; digits++)
        snprintf(text, sizeof text, "%.*g", digits, real);
    if (isfinite(real))
        fputs(*text ? text : "0", to);
    else
        fputs(isnan(real) ? "\"NaN\"" : real > 0 ? "\"Infinity\"" : "\"-Infinity\"", to);
}

static void cell_write(FILE *to, enum recording_type type, const struct recording_cell *cell)
{
    if (cell->null)
        fputs("null", to);
    else if (type == TYPE_TEXT)
        text_write(to, cell->text);
    else if (type == TYPE_FLOAT8)
        real_write(to, cell->real);
    else
        fprintf(to, "%lld", (long long)cell->integer);
}

static void answer_write(FILE *to, const struct recording_answer *answer)
{
    fputs("{\"columns\": [", to);
    for (uint32_t c = 0; c < answer->column_count; c++) {
        const struct recording_column *column = &answer->columns[c];
        fputs(c ? ",\n  {\"sql\": " : "\n  {\"sql\": ", to);
        text_write(to, column->sql);
        fprintf(to, ", \"type\": \"%s\", \"role\": \"%s\"", recording_type_names[column->type],
                recording_role_names[column->role]);
        if (column->key) {
            fputs(", \"key\": ", to);
            text_write(to, column->key);
        }
        fputc('}', to);
    }
    fputs("],\n \"rows\": [", to);
    for (uint32_t r = 0; r < answer->row_count; r++) {
        fputs(r ? ",\n  [" : "\n  [", to);
        for (uint32_t c = 0; c < answer->column_count; c++) {
            if (c)
                fputc(',', to);
            cell_write(to, answer->columns[c].type, &answer->cells[r * answer->column_count + c]);
        }
        fputc(']', to);
    }
    fputs("]}", to);
}

static void query_write(FILE *to, const struct recording_query *query)
{
    fputs("{\"name\": ", to);
    text_write(to, query->name);
    fputs(", \"group\": ", to);
    text_write(to, query->group);
    fprintf(to, ", \"scope\": \"%s\",", recording_scope_names[query->scope]);
    if (query->sqlstate) {
        fputs("\n \"error\": {\"sqlstate\": ", to);
        text_write(to, query->sqlstate);
        fputs(", \"message\": ", to);
        text_write(to, query->message);
        fputs("}}", to);
        return;
    }
    fputs("\n \"answers\": [", to);
    for (uint32_t i = 0; i < query->answer_count; i++) {
        if (i)
            fputs(",\n ", to);
        answer_write(to, &query->answers[i]);
    }
    fputs("]}", to);
}

static void bytes_write(FILE *to, const struct recording_bytes *cell, bool hex)
{
    if (!cell->data) {
        fputs("null", to);
    } else if (!hex) {
        text_write(to, (const char *)cell->data);
    } else {
        fputc('"', to);
        for (uint32_t i = 0; i < cell->bytes; i++)
            fprintf(to, "%02x", cell->data[i]);
        fputc('"', to);
    }
}

static void extra_rows_write(FILE *to, const struct recording_extra *extra, bool hex)
{
    const struct recording_bytes *cells = hex ? extra->binary : extra->text;
    for (uint32_t r = 0; r < extra->row_count; r++) {
        fputs(r ? ",\n  [" : "\n  [", to);
        for (uint32_t c = 0; c < extra->column_count; c++) {
            if (c)
                fputc(',', to);
            bytes_write(to, &cells[r * extra->column_count + c], hex);
        }
        fputc(']', to);
    }
}

static void extra_write(FILE *to, const struct recording_extra *extra)
{
    fputs("{\"sql\": ", to);
    text_write(to, extra->sql);
    fputs(", \"tag\": ", to);
    text_write(to, extra->tag);
    fputs(",\n \"columns\": [", to);
    for (uint32_t c = 0; c < extra->column_count; c++) {
        const struct recording_extra_column *column = &extra->columns[c];
        fputs(c ? ", {\"name\": " : "{\"name\": ", to);
        text_write(to, column->name);
        fprintf(to, ", \"oid\": %u, \"size\": %d, \"modifier\": %d}", column->oid, column->size,
                column->modifier);
    }
    fputs("],\n \"text\": [", to);
    extra_rows_write(to, extra, false);
    fputs("],\n \"binary\": [", to);
    extra_rows_write(to, extra, true);
    fputs("]}", to);
}

static void pairs_write(FILE *to, const char *name, const struct recording_pair *pairs,
                        uint32_t count)
{
    fprintf(to, "\"%s\": {", name);
    for (uint32_t i = 0; i < count; i++) {
        fputs(i ? ", " : "", to);
        text_write(to, pairs[i].name);
        fputs(": ", to);
        text_write(to, pairs[i].value);
    }
    fputs("},\n", to);
}

static void names_write(FILE *to, const char *name, const char **names, uint32_t count)
{
    fprintf(to, "\"%s\": [", name);
    for (uint32_t i = 0; i < count; i++) {
        fputs(i ? ", " : "", to);
        text_write(to, names[i]);
    }
    fputs("],\n", to);
}

bool recording_write(const struct recording *recording, FILE *to)
{
    fprintf(to, "{\"version\": %d,\n\"server_version\": ", RECORDING_VERSION);
    text_write(to, recording->server_version);
    fprintf(to, ", \"version_num\": %u, \"recovery\": %s, \"recorded\": ", recording->version_num,
            recording->recovery ? "true" : "false");
    text_write(to, recording->recorded);
    fputs(",\n\"database\": ", to);
    text_write(to, recording->database);
    fputs(", ", to);
    names_write(to, "databases", recording->databases, recording->database_count);
    pairs_write(to, "parameters", recording->parameters, recording->parameter_count);
    pairs_write(to, "settings", recording->settings, recording->setting_count);
    names_write(to, "present", recording->present, recording->present_count);
    fputs("\"queries\": [", to);
    for (uint32_t i = 0; i < recording->query_count; i++) {
        fputs(i ? ",\n" : "\n", to);
        query_write(to, &recording->queries[i]);
    }
    fputs("],\n\"extras\": [", to);
    for (uint32_t i = 0; i < recording->extra_count; i++) {
        fputs(i ? ",\n" : "\n", to);
        extra_write(to, &recording->extras[i]);
    }
    fputs("]}\n", to);
    return !ferror(to);
}
