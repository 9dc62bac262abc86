/* SPDX-License-Identifier: Apache-2.0 */
/* Statements that need no recording: what clients say to set up a session, to keep a transaction,
 * and to ask who answers. */
#include "tools/sim/form_data.h"

#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

enum { OID_BOOL = 16, OID_NAME = 19, OID_TEXT = 25, OID_TIMESTAMPTZ = 1184, NAME_BYTES = 64 };

static void row_of_one(struct form_book *book, const char *name, uint32_t oid, int16_t size,
                       struct form_maker *maker)
{
    form_begin(maker, book, "other");
    struct form_column *column = arena_take(maker->arena, sizeof *column);
    *column = (struct form_column){arena_text(maker->arena, name), oid, size, -1};
    maker->form->columns = column;
    maker->form->column_count = 1;
    form_row_begin(maker, 1);
}

static struct form *text_form(struct form_book *book, const char *name, uint32_t oid,
                              const char *text, const char *tag)
{
    struct form_maker maker;
    row_of_one(book, name, oid, oid == OID_NAME ? NAME_BYTES : -1, &maker);
    form_put_cell(&maker, text, (uint32_t)strlen(text), 0);
    form_row_end(&maker);
    return form_finish(&maker, tag);
}

static struct form *tag_form(struct form_book *book, const char *tag)
{
    struct form_maker maker;
    form_begin(&maker, book, "other");
    return form_finish(&maker, tag);
}

/* ---- settings ---- */

static const char *setting_value(const struct recording *recording, const char *name,
                                 const char **ret_name)
{
    for (uint32_t i = 0; i < recording->setting_count; i++) {
        *ret_name = recording->settings[i].name;
        if (strcasecmp(*ret_name, name) == 0)
            return recording->settings[i].value;
    }
    for (uint32_t i = 0; i < recording->parameter_count; i++) {
        *ret_name = recording->parameters[i].name;
        if (strcasecmp(*ret_name, name) == 0)
            return recording->parameters[i].value;
    }
    return NULL;
}

/* A time as PostgreSQL reads it, in ms; other settings as they are. */
static const char *value_plain(struct arena *arena, const char *name, const char *value)
{
    static const char *const times[] = {
        "statement_timeout",    "lock_timeout",        "idle_in_transaction_session_timeout",
        "idle_session_timeout", "transaction_timeout", "client_connection_check_interval",
        "deadlock_timeout"};
    static const struct {
        const char *name;
        double ms;
    } units[] = {{"us", 0.001}, {"ms", 1},     {"s", 1000}, {"min", 60000},
                 {"h", 3.6e6},  {"d", 8.64e7}, {"", 1}};
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        if (strcmp(times[i], name) != 0)
            continue;
        char *unit;
        double number = strtod(value, &unit);
        unit += strspn(unit, " ");
        for (size_t u = 0; u < sizeof units / sizeof units[0]; u++)
            if (strcmp(units[u].name, unit) == 0 && number >= 0 &&
                number * units[u].ms < 2147483648)
                return arena_format(arena, "%.0f", number * units[u].ms);
    }
    return value;
}

static void setting_set(struct form *form, struct form_book *book, const char *name,
                        const char *value)
{
    const char *as_recorded;
    if (!value)
        value = setting_value(book->recording, name, &as_recorded);
    form->setting = arena_text(&book->arena, name);
    form->value = arena_text(&book->arena, value ? value_plain(&book->arena, name, value) : "");
}

/* SET [SESSION|LOCAL] name {=|TO} value: what the session may want to follow. */
static struct form *set_form(struct form_book *book, const char *at, const char *end)
{
    struct form *form = tag_form(book, "SET");
    struct sql_token name = sql_next(&at, end);
    if (sql_is(name, "session") || sql_is(name, "local"))
        name = sql_next(&at, end);
    if (sql_is(name, "time")) { /* TIME ZONE value */
        sql_next(&at, end);
        setting_set(form, book, "TimeZone", sql_value(&book->arena, sql_next(&at, end)));
        return form;
    }
    struct sql_token sign = sql_next(&at, end), value = sql_next(&at, end);
    bool assigns = sql_is(sign, "=") || sql_is(sign, "to");
    bool plain = value.kind == SQL_STRING || value.kind == SQL_WORD || value.kind == SQL_NAME ||
                 value.kind == SQL_NUMBER;
    if (assigns && plain && (name.kind == SQL_WORD || name.kind == SQL_NAME))
        setting_set(form, book, sql_value(&book->arena, name),
                    sql_is(value, "default") ? NULL : sql_value(&book->arena, value));
    return form;
}

static struct form *reset_form(struct form_book *book, const char *at, const char *end)
{
    struct form *form = tag_form(book, "RESET");
    struct sql_token name = sql_next(&at, end);
    if (name.kind == SQL_WORD && !sql_is(name, "all"))
        setting_set(form, book, sql_value(&book->arena, name), NULL);
    return form;
}

static struct form *show_form(struct form_book *book, const char *at, const char *end,
                              struct form_problem *problem)
{
    struct sql_token token = sql_next(&at, end);
    bool isolation = sql_is(token, "transaction") && sql_is(sql_next(&at, end), "isolation");
    const char *name = isolation ? "transaction_isolation" : sql_value(&book->arena, token);
    const char *as_recorded = NULL;
    const char *value = setting_value(book->recording, name, &as_recorded);
    if (value)
        return text_form(book, as_recorded, OID_TEXT, value, "SHOW");
    form_problem_set(problem, "42704",
                     "unrecognized configuration parameter \"%.80s\", or one that is not in the "
                     "recording",
                     name);
    return NULL;
}

/* SELECT [pg_catalog.]set_config('name', 'value', flag), of literals. */
static struct form *set_config_form(struct form_book *book, const char *at, const char *end)
{
    struct sql_token token = sql_next(&at, end);
    if (sql_is(token, "pg_catalog") && sql_is(sql_next(&at, end), "."))
        token = sql_next(&at, end);
    if (!sql_is(token, "set_config") || !sql_is(sql_next(&at, end), "("))
        return NULL;
    struct sql_token name = sql_next(&at, end), comma = sql_next(&at, end);
    struct sql_token value = sql_next(&at, end);
    if (name.kind != SQL_STRING || !sql_is(comma, ",") || value.kind != SQL_STRING)
        return NULL;
    if (!sql_is(sql_next(&at, end), ","))
        return NULL;
    sql_next(&at, end); /* true or false */
    if (!sql_is(sql_next(&at, end), ")"))
        return NULL;
    struct sql_token rest = sql_next(&at, end);
    if (rest.kind != SQL_END && !sql_is(rest, ";"))
        return NULL;
    struct form *form =
        text_form(book, "set_config", OID_TEXT, sql_value(&book->arena, value), NULL);
    setting_set(form, book, sql_value(&book->arena, name), sql_value(&book->arena, value));
    return form;
}

/* ---- who answers ---- */

static struct form *now_form(struct form_book *book, const char *name)
{
    struct form_maker maker;
    uint64_t none = 0;
    row_of_one(book, name, OID_TIMESTAMPTZ, 8, &maker);
    form_put_spot(&maker, SPOT_NOW, maker.bytes.count + sizeof(uint32_t));
    form_put_cell(&maker, &none, sizeof none, form_text_bound(OID_TIMESTAMPTZ, sizeof none));
    form_row_end(&maker);
    return form_finish(&maker, NULL);
}

static struct form *recovery_form(struct form_book *book)
{
    struct form_maker maker;
    row_of_one(book, "pg_is_in_recovery", OID_BOOL, 1, &maker);
    form_put_spot(&maker, SPOT_RECOVERY, maker.bytes.count + sizeof(uint32_t));
    form_put_cell(&maker, "", 1, form_text_bound(OID_BOOL, 1));
    form_row_end(&maker);
    return form_finish(&maker, NULL);
}

static struct form *question_form(struct form_book *book, const char *sql, size_t bytes,
                                  const char *database)
{
    struct arena arena = {0};
    char *text = sql_fold(&arena, sql, sql + bytes, false);
    const char *asked = strncmp(text, "select ", 7) == 0 ? text + 7 : "select";
    asked += strncmp(asked, "pg_catalog.", 11) == 0 ? 11 : 0;
    struct form *form = NULL;
    if (strcmp(asked, "now()") == 0 || strcmp(asked, "clock_timestamp()") == 0)
        form = now_form(book, *asked == 'n' ? "now" : "clock_timestamp");
    else if (strcmp(asked, "current_timestamp") == 0)
        form = now_form(book, "current_timestamp");
    else if (strcmp(asked, "pg_is_in_recovery()") == 0)
        form = recovery_form(book);
    else if (strcmp(asked, "current_database()") == 0)
        form = text_form(book, "current_database", OID_NAME, database, NULL);
    arena_fini(&arena);
    return form;
}

/* ---- by first word ---- */

/* Statements that only need their tag; `second`: NULL, or a second word that has one of its own. */
static const struct {
    const char *first, *second, *tag;
} tags[] = {
    {"begin", NULL, "BEGIN"},
    {"start", NULL, "START TRANSACTION"},
    {"commit", NULL, "COMMIT"},
    {"end", NULL, "COMMIT"},
    {"rollback", NULL, "ROLLBACK"},
    {"abort", NULL, "ROLLBACK"},
    {"savepoint", NULL, "SAVEPOINT"},
    {"release", NULL, "RELEASE"},
    {"deallocate", "all", "DEALLOCATE ALL"},
    {"deallocate", NULL, "DEALLOCATE"},
    {"discard", "all", "DISCARD ALL"},
    {"discard", "plans", "DISCARD PLANS"},
    {"discard", "sequences", "DISCARD SEQUENCES"},
    {"discard", NULL, "DISCARD TEMP"},
    {"listen", NULL, "LISTEN"},
    {"unlisten", NULL, "UNLISTEN"},
    {"vacuum", NULL, "VACUUM"}, /* pgbench, before it begins */
    {"truncate", NULL, "TRUNCATE TABLE"},
};

struct form *form_make_native(struct form_book *book, const char *sql, size_t bytes,
                              const char *database, struct form_problem *problem)
{
    const char *at = sql, *end = sql + bytes;
    struct sql_token word = sql_next(&at, end);
    if (sql_is(word, "set"))
        return set_form(book, at, end);
    if (sql_is(word, "reset"))
        return reset_form(book, at, end);
    if (sql_is(word, "show"))
        return show_form(book, at, end, problem);
    if (sql_is(word, "select")) {
        struct form *form = set_config_form(book, at, end);
        return form ? form : question_form(book, sql, bytes, database);
    }
    struct sql_token second = sql_next(&at, end);
    for (size_t i = 0; i < sizeof tags / sizeof tags[0]; i++)
        if (sql_is(word, tags[i].first) && (!tags[i].second || sql_is(second, tags[i].second)))
            return tag_form(book, tags[i].tag);
    return NULL;
}

/* ---- recorded ones ---- */

/* Rows of one format; the other has the same cells. */
static void extra_rows_put(struct form_maker *maker, const struct recording_extra *extra, bool text)
{
    const struct recording_bytes *cells = text ? extra->text : extra->binary;
    for (uint32_t r = 0; r < extra->row_count; r++) {
        form_row_begin(maker, extra->column_count);
        for (uint32_t c = 0; c < extra->column_count; c++) {
            size_t i = (size_t)r * extra->column_count + c;
            form_put_cell(maker, cells[i].data, cells[i].bytes, extra->text[i].bytes);
        }
        form_row_end(maker);
    }
}

struct form *form_make_extra(struct form_book *book, const struct recording_extra *extra)
{
    struct form_maker maker;
    form_begin(&maker, book, "other");
    struct form *form = maker.form;
    form->column_count = extra->column_count;
    form->columns = arena_take(maker.arena, (extra->column_count + 1) * sizeof *form->columns);
    for (uint32_t c = 0; c < extra->column_count; c++)
        form->columns[c] = (struct form_column){extra->columns[c].name, extra->columns[c].oid,
                                                extra->columns[c].size, extra->columns[c].modifier};
    extra_rows_put(&maker, extra, true);
    maker.text = maker.bytes;
    maker.bytes = (struct form_buffer){0};
    maker.bound = 0;
    form->rows = 0;
    extra_rows_put(&maker, extra, false);
    return form_finish(&maker, extra->tag);
}
