/* SPDX-License-Identifier: Apache-2.0 */
/* A client's reader of messages, written apart from the code that writes them. */
#include "tests/tools/sim/forms.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/sim/recording_data.h"

const char *const forms_recordings[] = {FORMS_RECORDINGS "/pg12.json",
                                        FORMS_RECORDINGS "/pg13.json",
                                        FORMS_RECORDINGS "/pg14.json",
                                        FORMS_RECORDINGS "/pg15.json",
                                        FORMS_RECORDINGS "/pg16.json",
                                        FORMS_RECORDINGS "/pg17.json",
                                        FORMS_RECORDINGS "/pg18.json",
                                        FORMS_RECORDINGS "/pg17-standby.json",
                                        NULL};

static const uint8_t one_code[] = {0, 1};
const struct form_formats forms_binary = {one_code, 1}, forms_text = {NULL, 0};

static uint64_t load(const uint8_t *at, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value = value << 8 | at[i];
    return value;
}

/* ---- books ---- */

static void capabilities_ask(struct forms *forms)
{
    const struct form *probe = forms_find(forms, catalog_probe_sql(forms->catalog), "postgres");
    struct form_moment moment = forms_moment(1);
    moment.recovery = recording_recovery(forms->recording);
    struct answer answer;
    forms_ask(probe, forms_binary, &moment, &answer);
    assert_int_equal(answer.row_count, 1);
    assert_string_equal(form_name(probe), "probe");
    assert_false(form_recorded(probe));
    size_t names = 0;
    catalog_probe_names(forms->catalog, &names);
    assert_int_equal(answer.column_count, 3 + (names + 63) / 64);
    int64_t masks[16];
    for (uint32_t i = 3; i < answer.column_count; i++)
        masks[i - 3] = (int64_t)load(answer_cell(&answer, 0, i)->data, 8);
    uint32_t version = (uint32_t)load(answer_cell(&answer, 0, 0)->data, 4);
    assert_int_equal(version, recording_version_num(forms->recording));
    assert_int_equal(answer_cell(&answer, 0, 1)->data[0], moment.recovery);
    assert_int_equal(load(answer_cell(&answer, 0, 2)->data, 8), moment.start_us);
    catalog_read_capabilities(version, moment.recovery, masks, answer.column_count - 3,
                              &forms->capabilities);
    answer_free(&answer);
}

static void forms_begin(struct forms *forms, struct shape shape)
{
    struct error error;
    forms->book = form_book_create(forms->recording, &shape);
    if (!catalog_load(&forms->catalog, NULL, 0, &error))
        fail_msg("%s", error.text);
    forms->enabled = calloc(forms->catalog->metric_count, sizeof *forms->enabled);
    for (size_t i = 0; i < forms->catalog->metric_count; i++)
        forms->enabled[i] = true;
    capabilities_ask(forms);
}

void forms_open(struct forms *forms, const char *path, struct shape shape)
{
    struct error error;
    *forms = (struct forms){0};
    if (!recording_load(&forms->recording, path, &error))
        fail_msg("%s", error.text);
    forms_begin(forms, shape);
}

void forms_open_text(struct forms *forms, const char *json, struct shape shape)
{
    struct error error;
    *forms = (struct forms){0};
    if (!recording_read(&forms->recording, "text", json, strlen(json), &error))
        fail_msg("%s", error.text);
    forms_begin(forms, shape);
}

void forms_close(struct forms *forms)
{
    free(forms->enabled);
    form_book_destroy(&forms->book);
    recording_destroy(&forms->recording);
    catalog_destroy(&forms->catalog);
}

struct plan *forms_plan(const struct forms *forms, enum catalog_model model, const bool *enabled)
{
    static struct catalog_choice choice; /* a plan borrows it */
    choice = (struct catalog_choice){.model = model, .metric_enabled = enabled};
    struct plan *plan = NULL;
    struct error error;
    if (!catalog_plan(forms->catalog, &choice, &forms->capabilities, &plan, &error))
        fail_msg("%s", error.text);
    return plan;
}

const struct statement *forms_statement(const struct plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->statement_count; i++)
        if (strcmp(plan->statements[i].name, name) == 0)
            return &plan->statements[i];
    fail_msg("no statement %s", name);
    return NULL;
}

const struct form *forms_find(const struct forms *forms, const char *sql, const char *database)
{
    struct form_problem problem;
    const struct form *form = form_find(forms->book, sql, strlen(sql), database, &problem);
    if (!form)
        fail_msg("%s: %s\n%s", problem.sqlstate, problem.text, sql);
    assert_ptr_equal(form, form_find(forms->book, sql, strlen(sql), database, &problem));
    assert_true(form_index(form) < form_book_indexes(forms->book));
    return form;
}

const char *forms_refusal(const struct forms *forms, const char *sql, const char *database,
                          const char **ret_sqlstate)
{
    static struct form_problem problem;
    const struct form *form = form_find(forms->book, sql, strlen(sql), database, &problem);
    if (form)
        fail_msg("there is an answer to %s", sql);
    *ret_sqlstate = problem.sqlstate;
    return problem.text;
}

struct form_moment forms_moment(uint64_t step)
{
    return (struct form_moment){
        .server = 1, .step = step, .start_us = 800000000000000, .now_us = 850000000123456};
}

/* ---- messages ---- */

/* The message at *at; returns its body and moves *at behind it. */
static const uint8_t *message_take(const uint8_t **at, const uint8_t *end, char *ret_type,
                                   const uint8_t **ret_end)
{
    assert_true(end - *at >= 5);
    *ret_type = (char)**at;
    uint64_t bytes = load(*at + 1, 4);
    assert_true(bytes >= 4 && bytes <= (size_t)(end - *at - 1));
    const uint8_t *body = *at + 5;
    *at += 1 + bytes;
    *ret_end = *at;
    return body;
}

static void row_read(struct answer *answer, const uint8_t *at, const uint8_t *end)
{
    assert_true(end - at >= 2);
    uint32_t columns = (uint32_t)load(at, 2);
    assert_true(!answer->row_count || columns == answer->column_count);
    answer->column_count = columns;
    size_t first = (size_t)answer->row_count++ * columns;
    answer->cells = realloc(answer->cells, (first + columns) * sizeof *answer->cells);
    at += 2;
    for (uint32_t i = 0; i < columns; i++) {
        assert_true(end - at >= 4);
        uint32_t bytes = (uint32_t)load(at, 4);
        at += 4;
        struct cell cell = {bytes == UINT32_MAX ? NULL : at, bytes == UINT32_MAX ? 0 : bytes};
        assert_true((size_t)(end - at) >= cell.bytes);
        answer->cells[first + i] = cell;
        at += cell.bytes;
    }
    assert_ptr_equal(at, end);
}

static void answer_read(struct answer *answer)
{
    const uint8_t *at = answer->messages, *end = at + answer->bytes, *body_end;
    char type = 0;
    while (type != 'C') {
        const uint8_t *body = message_take(&at, end, &type, &body_end);
        if (type == 'D') {
            row_read(answer, body, body_end);
        } else {
            assert_int_equal(type, 'C');
            assert_true(body_end > body && body_end[-1] == '\0');
            assert_true((size_t)(body_end - body) <= sizeof answer->tag);
            memcpy(answer->tag, body, (size_t)(body_end - body));
        }
    }
    assert_ptr_equal(at, end); /* CommandComplete is the last */
}

void forms_ask(const struct form *form, struct form_formats formats,
               const struct form_moment *moment, struct answer *ret)
{
    *ret = (struct answer){0};
    size_t most = form_bytes(form, formats);
    ret->messages = malloc(most); /* of its size, so that a sanitizer sees what is beyond */
    ret->bytes = form_write(form, formats, moment, ret->messages);
    assert_true(ret->bytes <= most);
    assert_true(formats.count != 1 || ret->bytes == most);
    answer_read(ret);
    assert_int_equal(ret->row_count, form_rows(form));
    assert_string_equal(ret->tag, form_tag(form));
    if (ret->row_count)
        assert_int_equal(ret->column_count, form_columns(form));
}

void answer_free(struct answer *answer)
{
    free(answer->messages);
    free(answer->cells);
    *answer = (struct answer){0};
}

struct column *forms_columns(const struct form *form, struct form_formats formats)
{
    static uint8_t message[65536];
    size_t bytes = form_describe(form, formats, NULL);
    assert_true(bytes <= sizeof message);
    assert_int_equal(form_describe(form, formats, message), bytes);
    const uint8_t *at = message, *end;
    char type;
    const uint8_t *body = message_take(&at, message + bytes, &type, &end);
    assert_ptr_equal(at, message + bytes);
    assert_int_equal(type, form_columns(form) ? 'T' : 'n');
    if (type == 'n')
        return NULL;
    assert_int_equal(load(body, 2), form_columns(form));
    body += 2;
    struct column *columns = calloc(form_columns(form), sizeof *columns);
    for (uint32_t i = 0; i < form_columns(form); i++) {
        columns[i].name = (const char *)body;
        body += strnlen((const char *)body, (size_t)(end - body)) + 1;
        assert_true(end - body >= 18);
        columns[i].oid = (uint32_t)load(body + 6, 4);
        columns[i].size = (int16_t)load(body + 10, 2);
        columns[i].format = (int16_t)load(body + 16, 2);
        body += 18;
    }
    assert_ptr_equal(body, end);
    return columns;
}

/* ---- cells ---- */

const struct cell *answer_cell(const struct answer *answer, uint32_t row, uint32_t column)
{
    assert_true(row < answer->row_count && column < answer->column_count);
    return &answer->cells[(size_t)row * answer->column_count + column];
}

bool answer_bits(const struct answer *answer, uint32_t row, uint32_t column, uint32_t element,
                 uint64_t *ret_bits)
{
    const struct cell *cell = answer_cell(answer, row, column);
    if (element == 0) {
        assert_true(!cell->data || cell->bytes == 8);
        *ret_bits = cell->data ? load(cell->data, 8) : 0;
        return cell->data != NULL;
    }
    assert_true(cell->data && cell->bytes >= 20);
    const uint8_t *at = cell->data, *end = at + cell->bytes;
    uint64_t count = load(at + 12, 4), nulls = 0, oid = load(at + 8, 4);
    assert_int_equal(load(at, 4), 1);      /* dimensions */
    assert_int_equal(load(at + 16, 4), 1); /* lower bound */
    assert_true(oid == 20 || oid == 701);
    assert_in_range(element, 1, count);
    bool found = false;
    at += 20;
    for (uint64_t i = 1; i <= count; i++) {
        assert_true(end - at >= 4);
        bool null = load(at, 4) == UINT32_MAX;
        assert_true(null || (load(at, 4) == 8 && end - at >= 12));
        if (i == element && !null) {
            found = true;
            *ret_bits = load(at + 4, 8);
        }
        nulls += null;
        at += null ? 4 : 12;
    }
    assert_ptr_equal(at, end);
    assert_int_equal(load(cell->data + 4, 4), nulls > 0);
    return found;
}

bool answer_is(const struct answer *answer, uint32_t row, uint32_t column, const char *text)
{
    const struct cell *cell = answer_cell(answer, row, column);
    return cell->data && cell->bytes == strlen(text) && memcmp(cell->data, text, cell->bytes) == 0;
}

const char *answer_text(const struct answer *answer, uint32_t row, uint32_t column)
{
    static char texts[8][4096];
    static unsigned turn;
    const struct cell *cell = answer_cell(answer, row, column);
    char *text = texts[turn++ % 8];
    snprintf(text, sizeof texts[0], "%.*s", (int)cell->bytes,
             cell->data ? (const char *)cell->data : "");
    return text;
}

double bits_real(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
