/* SPDX-License-Identifier: Apache-2.0 */
/* One query's answer, element by element. The statement is the collector's own, with every metric
 * enabled; elements that only the other model asks for are added to its select list, so that both
 * see the same rows. */
#include "tools/sim/record.h"

#include <arpa/inet.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "tools/sim/select_list.h"

enum { OID_INT8_ARRAY = 1016, OID_FLOAT8_ARRAY = 1022, ARRAY_HEADER_BYTES = 20 };

/* One query while it is recorded. */
struct taking {
    struct recorder *recorder;
    struct select_list list, other; /* `other`: of the model whose statement is not sent */
    const char **added;             /* its elements that `list` lacks */
    uint32_t added_count;
    struct recording_answer *answer;
};

static const char *element_of(const struct select_list *list, uint32_t column, uint32_t element)
{
    CHECK(column < list->item_count);
    const struct select_item *item = &list->items[column];
    uint32_t place = element > 0 ? element - 1 : 0;
    CHECK(place < item->count);
    return list->elements[item->first + place];
}

static bool listed(const char *const *texts, uint32_t count, const char *text)
{
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(texts[i], text) == 0)
            return true;
    return false;
}

/* The statement with the added elements at the end of its select list; caller frees. */
static char *sql_join(const struct taking *taking, const char *sql)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    CHECK(out);
    fwrite(sql, 1, taking->list.list_end, out);
    for (uint32_t i = 0; i < taking->added_count; i++)
        fprintf(out, ", %s", taking->added[i]);
    fprintf(out, "\n%s", sql + taking->list.list_end);
    CHECK(fclose(out) == 0);
    return text;
}

/* ---- roles ---- */

static struct recording_column *column_find(struct taking *taking, const char *sql)
{
    for (uint32_t i = 0; i < taking->answer->column_count; i++)
        if (strcmp(taking->answer->columns[i].sql, sql) == 0)
            return &taking->answer->columns[i];
    return NULL;
}

/* What a text is by the attribute it makes; `last`: the last of several joined. */
static enum recording_role attribute_role(const char *key, bool last)
{
    static const struct {
        const char *key;
        enum recording_role role;
    } roles[] = {
        {"db.namespace", ROLE_DATABASE},
        {"postgresql.database.name", ROLE_DATABASE},
        {"db.collection.name", ROLE_TABLE},
        {"postgresql.table.name", ROLE_TABLE},
        {"postgresql.index.name", ROLE_INDEX},
        {"db.query.id", ROLE_STATEMENT},
        {"postgresql.query.id", ROLE_STATEMENT},
        {"postgresql.queryid", ROLE_STATEMENT},
        {"queryid", ROLE_STATEMENT},
    };
    for (size_t i = 0; last && i < sizeof roles / sizeof roles[0]; i++)
        if (strcmp(roles[i].key, key) == 0)
            return roles[i].role;
    return ROLE_ATTRIBUTE;
}

/* Roles by what one model makes of the columns; a role that is there stays, except that an
 * attribute may turn out to be more and a gauge a counter. */
static void roles_set(struct taking *taking, const struct select_list *list,
                      const struct statement *statement)
{
    for (size_t a = 0; a < statement->attribute_count; a++) {
        const struct statement_attribute *attribute = &statement->attributes[a];
        for (uint16_t k = 0; k < attribute->column_count; k++) {
            struct recording_column *column =
                column_find(taking, element_of(list, attribute->columns[k], 0));
            enum recording_role role =
                attribute_role(attribute->key, k + 1 == attribute->column_count);
            if (column->role != ROLE_OTHER && column->role != ROLE_ATTRIBUTE)
                continue;
            column->role = role;
            column->key = arena_text(taking->recorder->arena, attribute->key);
        }
    }
    for (size_t p = 0; p < statement->point_count; p++) {
        const struct statement_point *point = &statement->points[p];
        struct recording_column *column =
            column_find(taking, element_of(list, point->column, point->element));
        bool counter = point->metric->instrument == METRIC_SUM && point->metric->monotonic;
        if (counter || column->role == ROLE_OTHER)
            column->role = counter ? ROLE_COUNTER : ROLE_GAUGE;
    }
    if (statement->start_column >= 0)
        column_find(taking, element_of(list, (uint32_t)statement->start_column, 0))->role =
            ROLE_START;
}

/* ---- columns and cells ---- */

/* False: not a type that plan.c asks for. */
static bool type_of(Oid oid, bool array, enum recording_type *ret)
{
    if (array) {
        *ret = oid == OID_INT8_ARRAY ? TYPE_INT8 : TYPE_FLOAT8;
        return oid == OID_INT8_ARRAY || oid == OID_FLOAT8_ARRAY;
    }
    for (int i = 0; i < RECORDING_TYPES; i++) {
        *ret = (enum recording_type)i;
        if (recording_type_oids[i] == oid)
            return true;
    }
    return false;
}

static bool columns_set(struct taking *taking, const PGresult *result, struct error *error)
{
    struct recording_answer *answer = taking->answer;
    const struct select_list *list = &taking->list;
    uint32_t count = list->element_count + taking->added_count;
    if ((uint32_t)PQnfields(result) != list->item_count + taking->added_count)
        return error_set(error, "%d columns came back, not %u", PQnfields(result),
                         list->item_count + taking->added_count);
    answer->columns = arena_take(taking->recorder->arena, count * sizeof *answer->columns);
    for (uint32_t i = 0; i < list->item_count + taking->added_count; i++) {
        bool own = i < list->item_count;
        uint32_t elements = own ? list->items[i].count : 1;
        for (uint32_t k = 0; k < elements; k++) {
            struct recording_column *column = &answer->columns[answer->column_count++];
            const char *sql = own ? list->elements[list->items[i].first + k]
                                  : taking->added[i - list->item_count];
            column->sql = arena_text(taking->recorder->arena, sql);
            if (!type_of(PQftype(result, (int)i), own && list->items[i].array, &column->type))
                return error_set(error, "column %u has type %u", i + 1, PQftype(result, (int)i));
        }
    }
    return true;
}

static uint32_t load32(const char *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return ntohl(value);
}

/* A cell of `bytes`; UINT32_MAX: NULL. */
static bool cell_set(struct taking *taking, enum recording_type type, const char *at,
                     uint32_t bytes, struct recording_cell *cell)
{
    cell->null = bytes == UINT32_MAX;
    if (cell->null)
        return true;
    if (type == TYPE_TEXT) {
        cell->text = arena_copy(taking->recorder->arena, at, bytes);
        return true;
    }
    if (bytes != sizeof(uint64_t))
        return false;
    uint64_t bits;
    memcpy(&bits, at, sizeof bits);
    bits = be64toh(bits);
    memcpy(&cell->integer, &bits, sizeof bits); /* or the float8 in the same place */
    return true;
}

/* ndim | has NULLs | type of elements | count | lower bound, then length and bytes of each */
static bool array_set(struct taking *taking, enum recording_type type, const char *at,
                      const char *end, struct recording_cell *cells, uint32_t count)
{
    if (end - at < ARRAY_HEADER_BYTES || load32(at) != 1 || load32(at + 12) != count)
        return false;
    at += ARRAY_HEADER_BYTES;
    for (uint32_t i = 0; i < count; i++) {
        if (end - at < 4)
            return false;
        uint32_t bytes = load32(at);
        at += 4;
        if (bytes != UINT32_MAX && (size_t)(end - at) < bytes)
            return false;
        if (!cell_set(taking, type, at, bytes, &cells[i]))
            return false;
        at += bytes == UINT32_MAX ? 0 : bytes;
    }
    return at == end;
}

static bool rows_set(struct taking *taking, const PGresult *result, struct error *error)
{
    struct recording_answer *answer = taking->answer;
    const struct select_list *list = &taking->list;
    if (PQntuples(result) > RECORDING_ROWS_MAX)
        return error_set(error, "%d rows: more than %d", PQntuples(result), RECORDING_ROWS_MAX);
    answer->row_count = (uint32_t)PQntuples(result);
    size_t cells = (size_t)answer->row_count * answer->column_count;
    answer->cells = arena_take(taking->recorder->arena, (cells + 1) * sizeof *answer->cells);
    for (uint32_t r = 0; r < answer->row_count; r++) {
        struct recording_cell *cell = &answer->cells[r * answer->column_count];
        uint32_t at = 0;
        for (int c = 0; c < PQnfields(result); c++) {
            bool array = (uint32_t)c < list->item_count && list->items[c].array;
            uint32_t count = array ? list->items[c].count : 1;
            const char *value = PQgetvalue(result, (int)r, c);
            uint32_t bytes = PQgetisnull(result, (int)r, c)
                                 ? UINT32_MAX
                                 : (uint32_t)PQgetlength(result, (int)r, c);
            enum recording_type type = answer->columns[at].type;
            bool good = array ? bytes != UINT32_MAX &&
                                    array_set(taking, type, value, value + bytes, &cell[at], count)
                              : cell_set(taking, type, value, bytes, &cell[at]);
            if (!good)
                return error_set(error, "row %u, column %d cannot be read", r + 1, c + 1);
            at += count;
        }
    }
    return true;
}

/* ---- the whole query ---- */

static bool answer_take(struct taking *taking, struct recording_query *query, const char *sql,
                        struct error *error)
{
    struct recorder *recorder = taking->recorder;
    PGresult *result = PQexecParams(recorder->conn, sql, 0, NULL, NULL, NULL, NULL, 1);
    bool good = true;
    if (PQresultStatus(result) == PGRES_TUPLES_OK) {
        taking->answer = arena_take(recorder->arena, sizeof *taking->answer);
        query->answers = taking->answer;
        query->answer_count = 1;
        good = columns_set(taking, result, error) && rows_set(taking, result, error);
    } else {
        const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
        const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
        good = sqlstate || error_set(error, "connection lost: %s", PQerrorMessage(recorder->conn));
        if (good) {
            query->sqlstate = arena_text(recorder->arena, sqlstate);
            query->message = arena_text(recorder->arena, message ? message : "");
            fprintf(stderr, "pgweir-sim: %s fails on this server, and so it will be served: %s\n",
                    query->name, query->message);
        }
    }
    PQclear(result);
    return good;
}

bool record_query(struct recorder *recorder, const struct statement *semconv,
                  const struct statement *legacy, struct error *error)
{
    const struct statement *first = semconv ? semconv : legacy;
    const struct statement *second = semconv && legacy ? legacy : NULL;
    struct recording *recording = recorder->recording;
    struct recording_query *query = &recording->queries[recording->query_count++];
    *query = (struct recording_query){.name = arena_text(recorder->arena, first->name),
                                      .group = arena_text(recorder->arena, first->group),
                                      .scope = first->scope == QUERY_SERVER ? SCOPE_SERVER
                                                                            : SCOPE_DATABASE};
    struct taking taking = {.recorder = recorder};
    bool good = select_list_init(&taking.list, first->sql, strlen(first->sql)) &&
                (!second || select_list_init(&taking.other, second->sql, strlen(second->sql)));
    if (!good)
        error_set(error, "its select list cannot be taken apart");
    if (good) {
        taking.added =
            arena_take(&taking.list.arena, (taking.other.element_count + 1) * sizeof *taking.added);
        for (uint32_t i = 0; i < taking.other.element_count; i++)
            if (!listed(taking.list.elements, taking.list.element_count, taking.other.elements[i]))
                taking.added[taking.added_count++] = taking.other.elements[i];
        char *sql = sql_join(&taking, first->sql);
        good = answer_take(&taking, query, sql, error);
        free(sql);
    }
    if (good && taking.answer) {
        roles_set(&taking, &taking.list, first);
        if (second)
            roles_set(&taking, &taking.other, second);
    }
    select_list_fini(&taking.list);
    select_list_fini(&taking.other);
    return good || error_prefix(error, "query %s: ", query->name);
}
