/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a recording, edits of a good one, and a client's statements. What loads is written
 * and must read back; each form must keep to its bounds in every mix of formats, and its messages
 * must add up. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "tools/sim/form.h"
#include "tools/sim/recording_data.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static uint32_t load32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* DataRows of as many cells as there are columns, then CommandComplete, and nothing else. */
static void messages_check(const struct form *form, const uint8_t *at, size_t bytes)
{
    const uint8_t *end = at + bytes;
    for (uint32_t row = 0; row < form_rows(form); row++) {
        CHECK(end - at >= 7 && *at == 'D');
        const uint8_t *next = at + 1 + load32(at + 1);
        CHECK(next <= end && (at[5] << 8 | at[6]) == (int)form_columns(form));
        at += 7;
        for (uint32_t column = 0; column < form_columns(form); column++) {
            CHECK(next - at >= 4);
            uint32_t cell = load32(at) == UINT32_MAX ? 0 : load32(at);
            CHECK((size_t)(next - at - 4) >= cell);
            at += 4 + cell;
        }
        CHECK(at == next);
    }
    CHECK(end - at >= 6 && *at == 'C' && 1 + load32(at + 1) == (size_t)(end - at) && !end[-1]);
}

static void form_check(const struct form *form, struct form_formats formats)
{
    struct form_moment moment = {.server = 1, .step = 3, .start_us = 4, .now_us = INT64_MIN};
    size_t most = form_bytes(form, formats);
    uint8_t *answer = malloc(most);
    CHECK(answer);
    size_t written = form_write(form, formats, &moment, answer);
    CHECK(written <= most);
    messages_check(form, answer, written);
    free(answer);
    size_t described = form_describe(form, formats, NULL);
    uint8_t *description = malloc(described);
    CHECK(description && form_describe(form, formats, description) == described);
    CHECK(1 + load32(description + 1) == described);
    free(description);
}

static void statement_check(struct form_book *book, const char *sql, size_t bytes)
{
    static const uint8_t codes[] = {0, 1, 0, 0, 0, 1, 0, 1};
    static const char *const databases[] = {"app", "app_2", "postgres"};
    struct form_problem problem;
    for (size_t i = 0; i < 3; i++) {
        const struct form *form = form_find(book, sql, bytes, databases[i], &problem);
        if (!form) {
            CHECK(strlen(problem.sqlstate) == 5);
            continue;
        }
        CHECK(form_index(form) < form_book_indexes(book));
        form_check(form, (struct form_formats){NULL, 0});
        form_check(form, (struct form_formats){codes + 2, 1});
        form_check(form, (struct form_formats){codes, 1});
        form_check(form, (struct form_formats){codes, 4});
    }
}

/* Every query of the recording, by its own elements: the first alone, and all. */
static void queries_check(const struct recording *recording, struct form_book *book)
{
    for (uint32_t q = 0; q < recording->query_count && q < 8; q++) {
        const struct recording_query *query = &recording->queries[q];
        for (uint32_t a = 0; a < query->answer_count && a < 2; a++) {
            char *sql = NULL;
            size_t bytes = 0;
            FILE *out = open_memstream(&sql, &bytes);
            CHECK(out);
            fprintf(out, "/* pgweir:%s */ SELECT ", query->name);
            for (uint32_t c = 0; c < query->answers[a].column_count && c < 8; c++)
                fprintf(out, "%s%s", c ? ", " : "", query->answers[a].columns[c].sql);
            CHECK(fclose(out) == 0);
            statement_check(book, sql, bytes);
            free(sql);
        }
    }
    for (uint32_t i = 0; i < recording->extra_count && i < 8; i++)
        statement_check(book, recording->extras[i].sql, strlen(recording->extras[i].sql));
}

static void recording_check(const char *json, size_t bytes)
{
    struct recording *recording = NULL, *again = NULL;
    struct error error = {""};
    if (!recording_read(&recording, "fuzz", json, bytes, &error)) {
        CHECK(strncmp(error.text, "fuzz:", 5) == 0);
        return;
    }
    char *text = NULL;
    size_t text_bytes = 0;
    FILE *out = open_memstream(&text, &text_bytes);
    CHECK(out && recording_write(recording, out) && fclose(out) == 0);
    CHECK(recording_read(&again, "again", text, text_bytes, &error));
    recording_destroy(&again);
    free(text);
    static const struct shape shapes[] = {{0}, {.databases = 3, .tables = 7, .statements = 5}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        struct form_book *book = form_book_create(recording, &shapes[i]);
        queries_check(recording, book);
        form_book_destroy(&book);
    }
    recording_destroy(&recording);
}

/* A small recording with a bit of everything. */
static const char good[] =
    "{\"version\":1,\"server_version\":\"17\",\"version_num\":170000,\"recovery\":false,"
    "\"recorded\":\"\",\"database\":\"app\",\"databases\":[\"postgres\",\"app\"],"
    "\"parameters\":{\"a\":\"b\"},\"settings\":{\"c\":\"d\"},\"present\":[\"e.f\"],\"queries\":["
    "{\"name\":\"q\",\"group\":\"g\",\"scope\":\"server\",\"answers\":[{\"columns\":["
    "{\"sql\":\"(a)::text\",\"type\":\"text\",\"role\":\"database\",\"key\":\"k\"},"
    "{\"sql\":\"(b)::text\",\"type\":\"text\",\"role\":\"statement\"},"
    "{\"sql\":\"(c)::timestamptz\",\"type\":\"timestamptz\",\"role\":\"start\"},"
    "{\"sql\":\"(d)::int8\",\"type\":\"int8\",\"role\":\"counter\"},"
    "{\"sql\":\"(e)::float8\",\"type\":\"float8\",\"role\":\"gauge\"}],\"rows\":["
    "[\"app\",\"1\",9,8,7.5],[null,\"2\",null,null,\"NaN\"],[\"postgres\",\"1\",-9,-8,1e300]]}]},"
    "{\"name\":\"t\",\"group\":\"g\",\"scope\":\"database\",\"answers\":[{\"columns\":["
    "{\"sql\":\"(a)::text\",\"type\":\"text\",\"role\":\"database\"},"
    "{\"sql\":\"(b)::text\",\"type\":\"text\",\"role\":\"table\"},"
    "{\"sql\":\"(c)::text\",\"type\":\"text\",\"role\":\"index\"},"
    "{\"sql\":\"(d)::float8\",\"type\":\"float8\",\"role\":\"counter\"},"
    "{\"sql\":\"(e)::int8\",\"type\":\"int8\",\"role\":\"gauge\"}],\"rows\":["
    "[\"app|s\",\"t1\",\"i1\",1,2],[\"app|s\",\"t1\",null,-1,9223372036854775807]]}]},"
    "{\"name\":\"f\",\"group\":\"g\",\"scope\":\"server\",\"error\":{\"sqlstate\":\"42501\","
    "\"message\":\"no\"}}],\"extras\":[{\"sql\":\"SELECT x\",\"tag\":\"SELECT 2\",\"columns\":["
    "{\"name\":\"n\",\"oid\":23,\"size\":4,\"modifier\":-1}],\"text\":[[\"1\"],[null]],"
    "\"binary\":[[\"00000001\"],[null]]}]}";

/* Each three bytes: where, and what is put there instead. */
static void edits_check(const uint8_t *data, size_t bytes)
{
    char json[sizeof good];
    memcpy(json, good, sizeof good);
    for (; bytes >= 3; data += 3, bytes -= 3)
        json[((size_t)data[0] << 8 | data[1]) % (sizeof good - 1)] = (char)data[2];
    recording_check(json, sizeof good - 1);
}

/* A book for a thousand statements: making one is dearer than asking it. */
static struct form_book *book_borrow(void)
{
    static struct recording *builtin;
    static struct form_book *book;
    static unsigned uses;
    struct error error;
    if (!builtin)
        CHECK(recording_load(&builtin, NULL, &error));
    if (uses++ % 1000 == 0) {
        form_book_destroy(&book);
        book = form_book_create(builtin, &(struct shape){.databases = 3, .tables = 30});
    }
    return book;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes && data[0] == '{') {
        recording_check((const char *)data, bytes);
        return 0;
    }
    if (bytes && data[0] == 0) {
        edits_check(data + 1, bytes - 1);
        return 0;
    }
    char *sql = malloc(bytes ? bytes : 1); /* of its size: no NUL behind it */
    CHECK(sql);
    memcpy(sql, data, bytes);
    statement_check(book_borrow(), sql, bytes);
    free(sql);
    return 0;
}
