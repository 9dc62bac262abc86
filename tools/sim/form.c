/* SPDX-License-Identifier: Apache-2.0 */
/* The book: forms by statement and database, found by one hash of the text once they are made. One
 * thread; forms live as long as the book. Statements that differ only in literals (pgbench's) share
 * one form and are not remembered, so that what clients send cannot fill memory. */
#include "tools/sim/form_data.h"

#include <ctype.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"
#include "tools/sim/workload.h"

struct form_entry {
    uint64_t hash;
    const char *sql, *database;
    size_t sql_bytes;
    struct form *form; /* NULL: free */
};

enum { ENTRIES_FIRST = 256 };

/* ---- the table ---- */

static uint64_t statement_hash(const char *sql, size_t bytes, const char *database)
{
    uint64_t hash = workload_text(bytes, database), word;
    for (; bytes >= sizeof word; sql += sizeof word, bytes -= sizeof word) {
        memcpy(&word, sql, sizeof word);
        hash = (hash ^ word) * 0x9fb21c651e98df25u;
        hash ^= hash >> 32;
    }
    for (; bytes; sql++, bytes--)
        hash = (hash ^ (unsigned char)*sql) * 0x100000001b3u;
    return workload_mix(hash);
}

/* The entry of this statement, or the free one where it belongs. */
static struct form_entry *entry_find(const struct form_book *book, uint64_t hash, const char *sql,
                                     size_t bytes, const char *database)
{
    for (uint32_t i = (uint32_t)hash;; i++) {
        struct form_entry *entry = &book->entries[i & (book->entry_room - 1)];
        if (!entry->form ||
            (entry->hash == hash && entry->sql_bytes == bytes &&
             memcmp(entry->sql, sql, bytes) == 0 && strcmp(entry->database, database) == 0))
            return entry;
    }
}

static void entries_grow(struct form_book *book)
{
    struct form_entry *old = book->entries;
    uint32_t room = book->entry_room;
    book->entry_room = room ? 2 * room : ENTRIES_FIRST;
    book->entries = xcalloc(book->entry_room, sizeof *book->entries);
    for (uint32_t i = 0; i < room; i++)
        if (old[i].form)
            *entry_find(book, old[i].hash, old[i].sql, old[i].sql_bytes, old[i].database) = old[i];
    free(old);
}

static void entry_add(struct form_book *book, uint64_t hash, const char *sql, size_t bytes,
                      const char *database, struct form *form)
{
    if (2 * book->entry_count >= book->entry_room)
        entries_grow(book);
    *entry_find(book, hash, sql, bytes, database) =
        (struct form_entry){.hash = hash,
                            .sql = arena_copy(&book->arena, sql, bytes),
                            .database = arena_text(&book->arena, database),
                            .sql_bytes = bytes,
                            .form = form};
    book->entry_count++;
}

static void form_keep(struct form_book *book, struct form *form)
{
    CHECK(book->form_count < FORMS_MAX);
    book->forms[book->form_count++] = form;
}

/* ---- the book ---- */

static void extras_fold(struct form_book *book)
{
    const struct recording *recording = book->recording;
    size_t count = recording->extra_count + 1u;
    /* Once with and once without parameters. */
    book->extras = arena_take(&book->arena, 2 * count * sizeof(struct form *));
    book->folded = arena_take(&book->arena, count * sizeof *book->folded);
    book->wild = arena_take(&book->arena, count * sizeof *book->wild);
    for (uint32_t i = 0; i < recording->extra_count; i++) {
        const char *sql = recording->extras[i].sql, *end = sql + strlen(sql);
        book->folded[i] = sql_fold(&book->arena, sql, end, false);
        book->wild[i] = sql_fold(&book->arena, sql, end, true);
    }
}

struct form_book *form_book_create(const struct recording *recording, const struct shape *shape)
{
    struct form_book *book = xcalloc(1, sizeof *book);
    book->recording = recording;
    book->shape = *shape;
    book->forms = xcalloc(FORMS_MAX, sizeof(struct form *));
    form_book_bases(book);
    extras_fold(book);
    book->query_numbers =
        arena_take(&book->arena, (recording->query_count + 1u) * sizeof *book->query_numbers);
    for (uint32_t i = 0; i < recording->query_count; i++)
        book->query_numbers[i] = recording->queries[i].scope == SCOPE_SERVER
                                     ? book->server_queries++
                                     : book->database_queries++;
    entries_grow(book);
    return book;
}

void form_book_destroy(struct form_book **book)
{
    if (!*book)
        return;
    for (uint32_t i = 0; i < (*book)->form_count; i++)
        form_free((*book)->forms[i]);
    free((*book)->forms);
    free((*book)->entries);
    arena_fini(&(*book)->arena);
    free(*book);
    *book = NULL;
}

bool form_book_database(const struct form_book *book, const char *database)
{
    return form_database_number(book, database) < book->database_count;
}

uint32_t form_book_indexes(const struct form_book *book)
{
    return book->server_queries + book->database_count * book->database_queries + 1;
}

/* ---- finding ---- */

static uint32_t parameters_count(const char *sql, size_t bytes)
{
    const char *at = sql, *end = sql + bytes;
    uint32_t most = 0;
    for (struct sql_token token; (token = sql_next(&at, end)).kind != SQL_END;) {
        unsigned long number =
            token.kind == SQL_PARAMETER && token.bytes < 8 ? strtoul(token.text + 1, NULL, 10) : 0;
        most = number > most ? (uint32_t)number : most;
    }
    return most;
}

/* A recorded statement: the same but for case and blanks, or, where it reads a table, but for its
 * literals too. */
static struct form *extra_find(struct form_book *book, const char *sql, size_t bytes)
{
    struct arena arena = {0};
    const char *end = sql + bytes;
    const char *folded = sql_fold(&arena, sql, end, false);
    const char *wild = sql_fold(&arena, sql, end, true);
    const uint32_t parameters = parameters_count(sql, bytes);
    struct form *form = NULL;
    for (int pass = 0; pass < 2 && !form; pass++) {
        for (uint32_t i = 0; i < book->recording->extra_count && !form; i++) {
            bool same = pass == 0 ? strcmp(book->folded[i], folded) == 0
                                  : strcmp(book->wild[i], wild) == 0 && strstr(wild, " from ");
            if (!same)
                continue;
            struct form **made = &book->extras[2 * i + (parameters > 0)];
            if (!*made && book->form_count < FORMS_MAX) {
                *made = form_make_extra(book, &book->recording->extras[i]);
                (*made)->parameters = parameters;
                form_keep(book, *made);
            }
            form = *made;
        }
    }
    arena_fini(&arena);
    return form;
}

static struct form *form_make(struct form_book *book, const char *sql, size_t bytes,
                              const char *database, struct form_problem *problem)
{
    struct arena arena = {0};
    const char *name = select_name(&arena, sql, bytes);
    struct form *form = NULL;
    if (book->form_count == FORMS_MAX)
        form_problem_set(problem, "54000", "more than %d different statements", FORMS_MAX);
    else if (name && strcmp(name, "probe") == 0)
        form = form_make_probe(book, sql, bytes, problem);
    else if (name)
        form = form_make_query(book, sql, bytes, database, problem);
    else
        form = form_make_native(book, sql, bytes, database, problem);
    arena_fini(&arena);
    return form;
}

const struct form *form_find(struct form_book *book, const char *sql, size_t sql_bytes,
                             const char *database, struct form_problem *ret_problem)
{
    uint64_t hash = statement_hash(sql, sql_bytes, database);
    struct form *form = entry_find(book, hash, sql, sql_bytes, database)->form;
    if (form)
        return form;
    *ret_problem = (struct form_problem){0};
    if (!form_book_database(book, database)) {
        form_problem_set(ret_problem, "3D000", "database \"%.100s\" does not exist", database);
        return NULL;
    }
    form = form_make(book, sql, sql_bytes, database, ret_problem);
    if (form) {
        form->parameters = parameters_count(sql, sql_bytes);
        form_keep(book, form);
        entry_add(book, hash, sql, sql_bytes, database, form);
        return form;
    }
    if (!*ret_problem->sqlstate)
        form = extra_find(book, sql, sql_bytes);
    if (!form && !*ret_problem->sqlstate)
        form_problem_set(ret_problem, "0A000",
                         "this is not in the recording (%.*s): record it with --sql",
                         sql_bytes < 120 ? (int)sql_bytes : 120, sql);
    return form;
}

/* ---- what a form is ---- */

const char *form_name(const struct form *form)
{
    return form->name;
}

uint32_t form_index(const struct form *form)
{
    return form->index;
}

bool form_recorded(const struct form *form)
{
    return form->recorded;
}

uint32_t form_rows(const struct form *form)
{
    return form->rows;
}

uint32_t form_values(const struct form *form)
{
    return form->values;
}

uint32_t form_parameters(const struct form *form)
{
    return form->parameters;
}

uint32_t form_columns(const struct form *form)
{
    return form->column_count;
}

const char *form_tag(const struct form *form)
{
    return form->tag;
}

const char *form_setting(const struct form *form, const char **ret_value)
{
    *ret_value = form->value;
    return form->setting;
}
