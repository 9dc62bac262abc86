/* SPDX-License-Identifier: Apache-2.0 */
/* The collector's probe: each name it asks about is looked up among those that were there, so that
 * the bits come out right whatever order a collector lists them in. engine/catalog/probe.c writes
 * the statement: rows (word, bit, 'kind', 'object', 'part') behind VALUES. */
#include "tools/sim/form_data.h"

#include <arpa/inet.h>
#include <endian.h>
#include <stdlib.h>

enum { PROBE_WORDS_MAX = 64, OID_INT4 = 23, OID_BOOL = 16, OID_INT8 = 20 };

struct probe_row {
    unsigned long word, bit;
    const char *kind, *object, *part;
};

/* The next row; false at the end, or where something else comes. */
static bool row_take(struct arena *arena, const char **at, const char *end, struct probe_row *row)
{
    const char *texts[5];
    if (!sql_is(sql_next(at, end), "("))
        return false;
    for (int i = 0; i < 5; i++) {
        struct sql_token token = sql_next(at, end);
        if (token.kind != (i < 2 ? SQL_NUMBER : SQL_STRING))
            return false;
        texts[i] = sql_value(arena, token);
        if (!sql_is(sql_next(at, end), i < 4 ? "," : ")"))
            return false;
    }
    *row = (struct probe_row){strtoul(texts[0], NULL, 10), strtoul(texts[1], NULL, 10), texts[2],
                              texts[3], texts[4]};
    return row->word < PROBE_WORDS_MAX && row->bit < 64;
}

static bool is_present(struct arena *arena, const struct recording *recording,
                       const struct probe_row *row)
{
    const char *name = NULL;
    if (strcmp(row->kind, "column") == 0)
        name = arena_format(arena, "%s.%s", row->object, row->part);
    else if (strcmp(row->kind, "function") == 0)
        name = arena_format(arena, "%s()", row->object);
    else if (strcmp(row->kind, "extension") == 0)
        name = arena_format(arena, "extension:%s", row->object);
    for (uint32_t i = 0; name && i < recording->present_count; i++)
        if (strcmp(recording->present[i], name) == 0)
            return true;
    return false;
}

/* Fills the masks; false where the rows cannot be read. */
static bool masks_read(const struct recording *recording, const char *sql, size_t bytes,
                       uint64_t masks[static PROBE_WORDS_MAX])
{
    struct arena arena = {0};
    const char *at = sql, *end = sql + bytes;
    struct sql_token token;
    do
        token = sql_next(&at, end);
    while (token.kind != SQL_END && !sql_is(token, "values"));
    bool good = token.kind != SQL_END, more = good;
    while (good && more) {
        struct probe_row row;
        good = row_take(&arena, &at, end, &row);
        if (good && is_present(&arena, recording, &row))
            masks[row.word] |= 1ull << row.bit;
        more = good && sql_is(sql_next(&at, end), ",");
    }
    arena_fini(&arena);
    return good;
}

static void columns_describe(struct form_maker *maker, const struct select_list *list)
{
    static const struct form_column first[] = {{NULL, OID_INT4, 4, -1}, {NULL, OID_BOOL, 1, -1}};
    struct form *form = maker->form;
    form->column_count = list->item_count;
    form->columns = arena_take(maker->arena, list->item_count * sizeof *form->columns);
    for (uint32_t i = 0; i < list->item_count; i++) {
        form->columns[i] = i < 2 ? first[i] : (struct form_column){NULL, OID_INT8, 8, -1};
        form->columns[i].name = arena_text(maker->arena, list->items[i].alias);
    }
}

struct form *form_make_probe(struct form_book *book, const char *sql, size_t bytes,
                             struct form_problem *problem)
{
    uint64_t masks[PROBE_WORDS_MAX] = {0};
    struct select_list list;
    bool good = select_list_init(&list, sql, bytes);
    if (!good || list.item_count < 4 || list.item_count > 3 + PROBE_WORDS_MAX ||
        !masks_read(book->recording, sql, bytes, masks)) {
        form_problem_set(problem, "0A000",
                         "a probe of the collector that this simulator cannot read");
        if (good)
            select_list_fini(&list);
        return NULL;
    }
    struct form_maker maker;
    form_begin(&maker, book, "probe");
    columns_describe(&maker, &list);
    form_row_begin(&maker, list.item_count);
    uint32_t version = htonl(book->recording->version_num);
    form_put_cell(&maker, &version, sizeof version, form_text_bound(OID_INT4, 4));
    form_put_spot(&maker, SPOT_RECOVERY, maker.bytes.count + sizeof(uint32_t));
    form_put_cell(&maker, "", 1, form_text_bound(OID_BOOL, 1));
    form_put_spot(&maker, SPOT_START, maker.bytes.count + sizeof(uint32_t));
    for (uint32_t i = 2; i < list.item_count; i++) {
        uint64_t mask = i < 3 ? 0 : htobe64(masks[i - 3]);
        form_put_cell(&maker, &mask, sizeof mask, form_text_bound(OID_INT8, sizeof mask));
    }
    form_row_end(&maker);
    select_list_fini(&list);
    return form_finish(&maker, NULL);
}
