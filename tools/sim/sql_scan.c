/* SPDX-License-Identifier: Apache-2.0 */
/* A lexer after src/backend/parser/scan.l: one token at a time, no state between tokens, so that
 * every user is a plain loop. standard_conforming_strings is taken to be on, as is the default. */
#include "tools/sim/sql_scan.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

static bool is_word_start(char c)
{
    return isalpha((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;
}

static bool is_word(char c)
{
    return is_word_start(c) || isdigit((unsigned char)c) || c == '$';
}

static const char *skip_line(const char *at, const char *end)
{
    while (at < end && *at != '\n')
        at++;
    return at;
}

static const char *skip_comment(const char *at, const char *end)
{
    size_t depth = 1;
    for (at += 2; at < end && depth > 0;) {
        bool pair = end - at >= 2;
        if (pair && at[0] == '*' && at[1] == '/') {
            depth--;
            at += 2;
        } else if (pair && at[0] == '/' && at[1] == '*') {
            depth++;
            at += 2;
        } else {
            at++;
        }
    }
    return at;
}

/* From the opening quote; a doubled quote is part of it, and so is what `escape` precedes. */
static const char *skip_quoted(const char *at, const char *end, char quote, bool escape)
{
    for (at++; at < end; at++) {
        if (escape && *at == '\\' && end - at >= 2) {
            at++;
        } else if (*at == quote) {
            if (end - at < 2 || at[1] != quote)
                return at + 1;
            at++;
        }
    }
    return end;
}

/* Behind the tag's second '$', or NULL where this is no dollar quote. */
static const char *dollar_tag(const char *at, const char *end)
{
    const char *tag = at + 1;
    if (tag < end && isdigit((unsigned char)*tag))
        return NULL;
    while (tag < end && *tag != '$' && is_word(*tag))
        tag++;
    return tag < end && *tag == '$' ? tag + 1 : NULL;
}

static const char *skip_dollar(const char *at, const char *body, const char *end)
{
    size_t tag_bytes = (size_t)(body - at);
    const char *close = memmem(body, (size_t)(end - body), at, tag_bytes);
    return close ? close + tag_bytes : end;
}

/* Digits, a point, an exponent; "1.e5" and ".5" too. */
static const char *skip_number(const char *at, const char *end)
{
    while (at < end && (isalnum((unsigned char)*at) || *at == '.' || *at == '_')) {
        bool exponent = (*at == 'e' || *at == 'E') && end - at >= 3 &&
                        (at[1] == '-' || at[1] == '+') && isdigit((unsigned char)at[2]);
        at += exponent ? 2 : 1;
    }
    return at;
}

static enum sql_kind scan_kind(const char *at, const char *end, const char **ret_after)
{
    char c = *at, next = end - at >= 2 ? at[1] : '\0';
    const char *body;
    *ret_after = at + 1;
    if (isspace((unsigned char)c)) {
        while (*ret_after < end && isspace((unsigned char)**ret_after))
            ++*ret_after;
        return SQL_SPACE;
    }
    if ((c == '-' && next == '-') || (c == '/' && next == '*')) {
        *ret_after = c == '-' ? skip_line(at, end) : skip_comment(at, end);
        return SQL_COMMENT;
    }
    if (c == '\'' || ((c == 'e' || c == 'E') && next == '\'')) {
        *ret_after = skip_quoted(c == '\'' ? at : at + 1, end, '\'', c != '\'');
        return SQL_STRING;
    }
    if (c == '"') {
        *ret_after = skip_quoted(at, end, '"', false);
        return SQL_NAME;
    }
    if (c == '$' && isdigit((unsigned char)next)) {
        while (*ret_after < end && isdigit((unsigned char)**ret_after))
            ++*ret_after;
        return SQL_PARAMETER;
    }
    if (c == '$' && (body = dollar_tag(at, end)) != NULL) {
        *ret_after = skip_dollar(at, body, end);
        return SQL_STRING;
    }
    if (isdigit((unsigned char)c) || (c == '.' && isdigit((unsigned char)next))) {
        *ret_after = skip_number(at, end);
        return SQL_NUMBER;
    }
    if (is_word_start(c)) {
        while (*ret_after < end && is_word(**ret_after))
            ++*ret_after;
        return SQL_WORD;
    }
    return c == '(' || c == '[' ? SQL_OPEN : c == ')' || c == ']' ? SQL_CLOSE : SQL_OTHER;
}

struct sql_token sql_scan(const char *at, const char *end)
{
    struct sql_token token = {SQL_END, at, 0};
    if (at >= end)
        return token;
    const char *after;
    token.kind = scan_kind(at, end, &after);
    token.bytes = (size_t)(after - at);
    return token;
}

struct sql_token sql_next(const char **at, const char *end)
{
    struct sql_token token;
    do {
        token = sql_scan(*at, end);
        *at += token.bytes;
    } while (token.kind == SQL_SPACE || token.kind == SQL_COMMENT);
    return token;
}

bool sql_is(struct sql_token token, const char *word)
{
    bool plain = token.kind == SQL_WORD || token.kind == SQL_OPEN || token.kind == SQL_CLOSE ||
                 token.kind == SQL_OTHER;
    return plain && strlen(word) == token.bytes && strncasecmp(token.text, word, token.bytes) == 0;
}

/* Between the quotes; doubled quotes are one, and backslashes of E'' stand for what follows. */
static char *quoted_value(struct arena *arena, const char *at, size_t bytes)
{
    bool escape = bytes > 0 && (*at == 'e' || *at == 'E');
    at += escape;
    bytes -= escape;
    char quote = *at, *text = arena_take(arena, bytes + 1), *to = text;
    const char *end = at + bytes;
    if (bytes >= 2 && end[-1] == quote)
        end--;
    for (at++; at < end; at++) {
        bool pair = end - at >= 2 && ((*at == quote && at[1] == quote) || (escape && *at == '\\'));
        at += pair;
        *to++ = *at;
    }
    *to = '\0';
    return text;
}

char *sql_value(struct arena *arena, struct sql_token token)
{
    if (token.kind == SQL_NAME || (token.kind == SQL_STRING && *token.text != '$'))
        return quoted_value(arena, token.text, token.bytes);
    if (token.kind == SQL_STRING) {
        const char *end = token.text + token.bytes, *body = dollar_tag(token.text, end);
        size_t tag_bytes = (size_t)(body - token.text);
        size_t bytes = token.bytes < 2 * tag_bytes ? 0 : token.bytes - 2 * tag_bytes;
        return arena_copy(arena, body, bytes);
    }
    char *text = arena_copy(arena, token.text, token.bytes);
    for (char *c = text; token.kind == SQL_WORD && *c; c++)
        *c = (char)tolower((unsigned char)*c);
    return text;
}

char *sql_normalise(struct arena *arena, const char *at, const char *end)
{
    char *text = arena_take(arena, (size_t)(end - at) + 1), *to = text;
    bool blank = false;
    for (struct sql_token token; (token = sql_scan(at, end)).kind != SQL_END; at += token.bytes) {
        if (token.kind == SQL_SPACE || token.kind == SQL_COMMENT) {
            blank = to > text;
            continue;
        }
        if (blank)
            *to++ = ' ';
        blank = false;
        memcpy(to, token.text, token.bytes);
        to += token.bytes;
    }
    *to = '\0';
    return text;
}

char *sql_fold(struct arena *arena, const char *at, const char *end, bool wild)
{
    /* Each token may get a blank in front. */
    char *text = arena_take(arena, 2 * (size_t)(end - at) + 1), *to = text;
    bool word = false; /* the last token was one: a blank keeps the next one apart */
    for (struct sql_token token; (token = sql_next(&at, end)).kind != SQL_END;) {
        bool value =
            token.kind == SQL_NUMBER || token.kind == SQL_STRING || token.kind == SQL_PARAMETER;
        bool wordy = value || token.kind == SQL_WORD || token.kind == SQL_NAME;
        if (word && wordy)
            *to++ = ' ';
        word = wordy;
        if (wild && value) {
            *to++ = '?';
            continue;
        }
        for (size_t i = 0; i < token.bytes; i++)
            *to++ = token.kind == SQL_WORD ? (char)tolower((unsigned char)token.text[i])
                                           : token.text[i];
    }
    while (to > text && to[-1] == ';')
        to--;
    *to = '\0';
    return text;
}
