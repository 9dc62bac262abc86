/* SPDX-License-Identifier: Apache-2.0 */
/* JSON into a recording, checked whole: what loads can be served without another look. Each level
 * says its own part of where an error is. */
#include "tools/sim/recording_data.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "base/check.h"

/* The value under `key`, of that type; NULL with an error. */
static json_t *member(json_t *object, const char *key, json_type type, struct error *error)
{
    static const char *const names[] = {"an object", "a list", "a text", "a number",
                                        "a number",  "true",   "a bool", "null"};
    json_t *value = json_object_get(object, key);
    bool boolean = type == JSON_TRUE && value && json_is_boolean(value);
    if (value && (json_typeof(value) == type || boolean))
        return value;
    error_set(error, "\"%s\" %s %s", key, value ? "is not" : "is missing; it is",
              type == JSON_TRUE ? "a bool" : names[type]);
    return NULL;
}

static bool text_read(struct arena *arena, json_t *object, const char *key, const char **ret_text,
                      struct error *error)
{
    json_t *value = member(object, key, JSON_STRING, error);
    if (!value)
        return false;
    *ret_text = arena_copy(arena, json_string_value(value), json_string_length(value));
    return true;
}

static bool integer_read(json_t *object, const char *key, int64_t least, int64_t most, int64_t *ret,
                         struct error *error)
{
    json_t *value = member(object, key, JSON_INTEGER, error);
    if (!value)
        return false;
    *ret = json_integer_value(value);
    if (*ret < least || *ret > most)
        return error_set(error, "\"%s\" %lld is not in %lld to %lld", key, (long long)*ret,
                         (long long)least, (long long)most);
    return true;
}

/* The index of the text under `key` in `names`. */
static bool choice_read(json_t *object, const char *key, const char *const *names, int count,
                        int *ret, struct error *error)
{
    json_t *value = member(object, key, JSON_STRING, error);
    if (!value)
        return false;
    for (*ret = 0; *ret < count; ++*ret)
        if (strcmp(names[*ret], json_string_value(value)) == 0)
            return true;
    return error_set(error, "\"%s\" is \"%.60s\", which it cannot be", key,
                     json_string_value(value));
}

/* A list of at most `most` things; room for them, zeroed. */
static bool list_begin(struct arena *arena, json_t *object, const char *key, size_t most,
                       size_t size, json_t **ret_list, void *ret_items, uint32_t *ret_count,
                       struct error *error)
{
    json_t *list = *ret_list = member(object, key, JSON_ARRAY, error);
    if (!list)
        return false;
    if (json_array_size(list) > most)
        return error_set(error, "\"%s\" has %zu items; at most %zu are possible", key,
                         json_array_size(list), most);
    *ret_count = (uint32_t)json_array_size(list);
    void *items = arena_take(arena, (*ret_count + 1) * size);
    memcpy(ret_items, &items, sizeof items);
    return true;
}

static bool names_read(struct arena *arena, json_t *object, const char *key,
                       const char ***ret_names, uint32_t *ret_count, struct error *error)
{
    json_t *list;
    if (!list_begin(arena, object, key, RECORDING_NAMES_MAX, sizeof **ret_names, &list, ret_names,
                    ret_count, error))
        return false;
    for (uint32_t i = 0; i < *ret_count; i++) {
        const char *name = json_string_value(json_array_get(list, i));
        if (!name || !*name)
            return error_set(error, "%s[%u]: no text", key, i);
        (*ret_names)[i] = arena_text(arena, name);
    }
    return true;
}

static bool pairs_read(struct arena *arena, json_t *object, const char *key,
                       struct recording_pair **ret_pairs, uint32_t *ret_count, struct error *error)
{
    json_t *map = member(object, key, JSON_OBJECT, error);
    if (!map)
        return false;
    if (json_object_size(map) > RECORDING_NAMES_MAX)
        return error_set(error, "\"%s\" has more than %d members", key, RECORDING_NAMES_MAX);
    *ret_pairs = arena_take(arena, (json_object_size(map) + 1) * sizeof **ret_pairs);
    const char *name;
    json_t *value;
    json_object_foreach(map, name, value)
    {
        if (!json_is_string(value))
            return error_set(error, "%s.%.60s: no text", key, name);
        (*ret_pairs)[(*ret_count)++] = (struct recording_pair){
            arena_text(arena, name), arena_text(arena, json_string_value(value))};
    }
    return true;
}

/* ---- answers ---- */

/* What a role needs of its column. */
static bool role_fits(enum recording_role role, enum recording_type type)
{
    switch (role) {
    case ROLE_COUNTER:
    case ROLE_GAUGE:
        return type == TYPE_INT8 || type == TYPE_FLOAT8;
    case ROLE_START:
        return type == TYPE_TIMESTAMPTZ;
    case ROLE_DATABASE:
    case ROLE_TABLE:
    case ROLE_INDEX:
    case ROLE_STATEMENT:
    case ROLE_ATTRIBUTE:
        return type == TYPE_TEXT;
    case ROLE_OTHER:
    case RECORDING_ROLES:
        break;
    }
    return true;
}

static bool column_read(struct arena *arena, json_t *value, struct recording_column *column,
                        struct error *error)
{
    int type = 0, role = 0;
    if (!json_is_object(value))
        return error_set(error, "no object");
    if (!text_read(arena, value, "sql", &column->sql, error) ||
        !choice_read(value, "type", recording_type_names, RECORDING_TYPES, &type, error) ||
        !choice_read(value, "role", recording_role_names, RECORDING_ROLES, &role, error))
        return false;
    column->type = (enum recording_type)type;
    column->role = (enum recording_role)role;
    if (json_object_get(value, "key") && !text_read(arena, value, "key", &column->key, error))
        return false;
    if (!role_fits(column->role, column->type))
        return error_set(error, "role %s cannot have type %s", recording_role_names[role],
                         recording_type_names[type]);
    return true;
}

static bool real_read(json_t *value, double *ret)
{
    const char *text = json_string_value(value);
    *ret = json_number_value(value);
    if (!text)
        return json_is_number(value);
    *ret = strcmp(text, "NaN") == 0 ? (double)NAN : *text == '-' ? -HUGE_VAL : HUGE_VAL;
    return strcmp(text, "NaN") == 0 || strcmp(text + (*text == '-'), "Infinity") == 0;
}

static bool cell_read(struct arena *arena, json_t *value, enum recording_type type,
                      struct recording_cell *cell, struct error *error)
{
    cell->null = json_is_null(value);
    if (cell->null)
        return true;
    if (type == TYPE_FLOAT8)
        return real_read(value, &cell->real) || error_set(error, "no float8");
    if (type == TYPE_TEXT) {
        if (!json_is_string(value))
            return error_set(error, "no text");
        cell->text = arena_copy(arena, json_string_value(value), json_string_length(value));
        return true;
    }
    cell->integer = json_integer_value(value);
    return json_is_integer(value) || error_set(error, "no %s", recording_type_names[type]);
}

static bool rows_read(struct arena *arena, json_t *rows, struct recording_answer *answer,
                      struct error *error)
{
    size_t cells = (size_t)answer->row_count * answer->column_count;
    answer->cells = arena_take(arena, (cells + 1) * sizeof *answer->cells);
    for (uint32_t r = 0; r < answer->row_count; r++) {
        json_t *row = json_array_get(rows, r);
        if (!json_is_array(row) || json_array_size(row) != answer->column_count)
            return error_set(error, "rows[%u]: not a list of %u cells", r, answer->column_count);
        for (uint32_t c = 0; c < answer->column_count; c++)
            if (!cell_read(arena, json_array_get(row, c), answer->columns[c].type,
                           &answer->cells[r * answer->column_count + c], error))
                return error_prefix(error, "rows[%u][%u]: ", r, c);
    }
    return true;
}

static bool answer_read(struct arena *arena, json_t *value, struct recording_answer *answer,
                        struct error *error)
{
    json_t *columns, *rows;
    if (!json_is_object(value))
        return error_set(error, "no object");
    if (!list_begin(arena, value, "columns", RECORDING_COLUMNS_MAX, sizeof *answer->columns,
                    &columns, &answer->columns, &answer->column_count, error))
        return false;
    for (uint32_t i = 0; i < answer->column_count; i++)
        if (!column_read(arena, json_array_get(columns, i), &answer->columns[i], error))
            return error_prefix(error, "columns[%u]: ", i);
    rows = member(value, "rows", JSON_ARRAY, error);
    if (!rows)
        return false;
    if (!answer->column_count || json_array_size(rows) > RECORDING_ROWS_MAX)
        return error_set(error, "no column, or more than %d rows", RECORDING_ROWS_MAX);
    answer->row_count = (uint32_t)json_array_size(rows);
    return rows_read(arena, rows, answer, error);
}

static bool failure_read(struct arena *arena, json_t *failure, struct recording_query *query,
                         struct error *error)
{
    if (!json_is_object(failure))
        return error_set(error, "\"error\" is not an object");
    if (!text_read(arena, failure, "sqlstate", &query->sqlstate, error) ||
        !text_read(arena, failure, "message", &query->message, error))
        return error_prefix(error, "error: ");
    if (strlen(query->sqlstate) != 5)
        return error_set(error, "error: sqlstate \"%.20s\" has not five characters",
                         query->sqlstate);
    return true;
}

static bool query_read(struct arena *arena, json_t *value, struct recording_query *query,
                       struct error *error)
{
    int scope = 0;
    json_t *answers;
    if (!json_is_object(value))
        return error_set(error, "no object");
    if (!text_read(arena, value, "name", &query->name, error) ||
        !text_read(arena, value, "group", &query->group, error) ||
        !choice_read(value, "scope", recording_scope_names, 2, &scope, error))
        return false;
    query->scope = (enum recording_scope)scope;
    json_t *failure = json_object_get(value, "error");
    if (failure)
        return failure_read(arena, failure, query, error);
    if (!list_begin(arena, value, "answers", 16, sizeof *query->answers, &answers, &query->answers,
                    &query->answer_count, error))
        return false;
    for (uint32_t i = 0; i < query->answer_count; i++)
        if (!answer_read(arena, json_array_get(answers, i), &query->answers[i], error))
            return error_prefix(error, "answers[%u]: ", i);
    return true;
}

/* ---- other statements ---- */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool bytes_read(struct arena *arena, json_t *value, bool hex, struct recording_bytes *cell)
{
    const char *text = json_string_value(value);
    if (!text)
        return json_is_null(value);
    size_t length = json_string_length(value);
    uint8_t *data = (uint8_t *)arena_copy(arena, text, length);
    cell->data = data;
    cell->bytes = (uint32_t)(hex ? length / 2 : length);
    if (!hex)
        return true;
    for (size_t i = 0; i < length / 2; i++) {
        int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        data[i] = (uint8_t)(high << 4 | low);
    }
    return length % 2 == 0;
}

static bool extra_cells_read(struct arena *arena, json_t *value, const char *key, bool hex,
                             struct recording_extra *extra, struct error *error)
{
    json_t *rows = member(value, key, JSON_ARRAY, error);
    if (!rows)
        return false;
    if (json_array_size(rows) > RECORDING_ROWS_MAX)
        return error_set(error, "\"%s\" has more than %d rows", key, RECORDING_ROWS_MAX);
    if (hex && json_array_size(rows) != extra->row_count)
        return error_set(error, "\"text\" and \"binary\" do not have the same rows");
    extra->row_count = (uint32_t)json_array_size(rows);
    struct recording_bytes *cells =
        arena_take(arena, ((size_t)extra->row_count * extra->column_count + 1) * sizeof *cells);
    for (uint32_t r = 0; r < extra->row_count; r++) {
        json_t *row = json_array_get(rows, r);
        if (!json_is_array(row) || json_array_size(row) != extra->column_count)
            return error_set(error, "%s[%u]: not a list of %u cells", key, r, extra->column_count);
        for (uint32_t c = 0; c < extra->column_count; c++)
            if (!bytes_read(arena, json_array_get(row, c), hex,
                            &cells[r * extra->column_count + c]))
                return error_set(error, "%s[%u][%u]: no %s", key, r, c, hex ? "hex" : "text");
    }
    if (!hex) {
        extra->text = cells;
        return true;
    }
    extra->binary = cells;
    for (size_t i = 0; i < (size_t)extra->row_count * extra->column_count; i++)
        if (!extra->text[i].data != !extra->binary[i].data)
            return error_set(error, "[%zu][%zu]: NULL in one format only", i / extra->column_count,
                             i % extra->column_count);
    return true;
}

static bool extra_read(struct arena *arena, json_t *value, struct recording_extra *extra,
                       struct error *error)
{
    json_t *columns;
    if (!json_is_object(value))
        return error_set(error, "no object");
    if (!text_read(arena, value, "sql", &extra->sql, error) ||
        !text_read(arena, value, "tag", &extra->tag, error) ||
        !list_begin(arena, value, "columns", RECORDING_COLUMNS_MAX, sizeof *extra->columns,
                    &columns, &extra->columns, &extra->column_count, error))
        return false;
    for (uint32_t i = 0; i < extra->column_count; i++) {
        json_t *column = json_array_get(columns, i);
        int64_t oid = 0, size = 0, modifier = 0;
        if (!text_read(arena, column, "name", &extra->columns[i].name, error) ||
            !integer_read(column, "oid", 0, UINT32_MAX, &oid, error) ||
            !integer_read(column, "size", -2, INT16_MAX, &size, error) ||
            !integer_read(column, "modifier", INT32_MIN, INT32_MAX, &modifier, error))
            return error_prefix(error, "columns[%u]: ", i);
        extra->columns[i].oid = (uint32_t)oid;
        extra->columns[i].size = (int16_t)size;
        extra->columns[i].modifier = (int32_t)modifier;
    }
    return extra_cells_read(arena, value, "text", false, extra, error) &&
           extra_cells_read(arena, value, "binary", true, extra, error);
}

/* ---- the whole ---- */

static bool head_read(struct arena *arena, json_t *root, struct recording *recording,
                      struct error *error)
{
    int64_t version = 0, version_num = 0;
    if (!integer_read(root, "version", INT64_MIN, INT64_MAX, &version, error))
        return false;
    if (version != RECORDING_VERSION)
        return error_set(error, "version %lld of the format; this program reads version %d",
                         (long long)version, RECORDING_VERSION);
    json_t *recovery = member(root, "recovery", JSON_TRUE, error);
    if (!recovery)
        return false;
    recording->recovery = json_is_true(recovery);
    if (!text_read(arena, root, "server_version", &recording->server_version, error) ||
        !integer_read(root, "version_num", 70000, 9999999, &version_num, error) ||
        !text_read(arena, root, "recorded", &recording->recorded, error) ||
        !text_read(arena, root, "database", &recording->database, error) ||
        !names_read(arena, root, "databases", &recording->databases, &recording->database_count,
                    error) ||
        !pairs_read(arena, root, "parameters", &recording->parameters, &recording->parameter_count,
                    error) ||
        !pairs_read(arena, root, "settings", &recording->settings, &recording->setting_count,
                    error) ||
        !names_read(arena, root, "present", &recording->present, &recording->present_count, error))
        return false;
    recording->version_num = (uint32_t)version_num;
    if (!*recording->database)
        return error_set(error, "\"database\" is empty");
    return true;
}

static bool root_read(struct arena *arena, json_t *root, struct recording *recording,
                      struct error *error)
{
    json_t *list;
    if (!json_is_object(root))
        return error_set(error, "no object");
    if (!head_read(arena, root, recording, error) ||
        !list_begin(arena, root, "queries", RECORDING_QUERIES_MAX, sizeof *recording->queries,
                    &list, &recording->queries, &recording->query_count, error))
        return false;
    for (uint32_t i = 0; i < recording->query_count; i++)
        if (!query_read(arena, json_array_get(list, i), &recording->queries[i], error))
            return error_prefix(error, "queries[%u]: ", i);
    if (!list_begin(arena, root, "extras", RECORDING_NAMES_MAX, sizeof *recording->extras, &list,
                    &recording->extras, &recording->extra_count, error))
        return false;
    for (uint32_t i = 0; i < recording->extra_count; i++)
        if (!extra_read(arena, json_array_get(list, i), &recording->extras[i], error))
            return error_prefix(error, "extras[%u]: ", i);
    return true;
}

bool recording_read(struct recording **ret_recording, const char *place, const char *json,
                    size_t bytes, struct error *error)
{
    json_error_t problem;
    json_t *root = json_loadb(json, bytes, JSON_REJECT_DUPLICATES, &problem);
    if (!root)
        return error_set(error, "%s:%d:%d: no recording: %s", place, problem.line, problem.column,
                         problem.text);
    struct arena arena = {0};
    struct recording *recording = arena_take(&arena, sizeof *recording);
    bool good = root_read(&arena, root, recording, error);
    json_decref(root);
    if (!good) {
        arena_fini(&arena);
        return error_prefix(error, "%s: ", place);
    }
    recording->arena = arena;
    *ret_recording = recording;
    return true;
}
