/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/sink/http_parse.h"

#include <strings.h>

enum { MORE = 100, CHUNK_LINE_BYTES_MAX = 1024, CHUNK_DIGITS_MAX = 8 };

static struct span trim(struct span span)
{
    while (span.at < span.end && (*span.at == ' ' || *span.at == '\t'))
        span.at++;
    while (span.at < span.end && (span.end[-1] == ' ' || span.end[-1] == '\t'))
        span.end--;
    return span;
}

static bool is(struct span span, const char *text)
{
    size_t bytes = strlen(text);
    return span_bytes(span) == bytes && strncasecmp((const char *)span.at, text, bytes) == 0;
}

/* The line without its end, and *at moved behind it. */
static struct span next_line(const uint8_t **at, const uint8_t *end)
{
    const uint8_t *feed = memchr(*at, '\n', (size_t)(end - *at));
    struct span line = {*at, feed != NULL ? feed : end};
    *at = feed != NULL ? feed + 1 : end;
    if (line.at < line.end && line.end[-1] == '\r')
        line.end--;
    return line;
}

/* Decimal digits alone; false: none, others, or too many. */
static bool parse_length(struct span text, uint64_t *ret_number)
{
    uint64_t number = 0;
    if (text.at == text.end || span_bytes(text) > 18)
        return false;
    for (; text.at < text.end; text.at++) {
        if (*text.at < '0' || *text.at > '9')
            return false;
        number = 10 * number + (uint64_t)(*text.at - '0');
    }
    *ret_number = number;
    return true;
}

static bool parse_request_line(struct span line, struct http_head *head)
{
    const uint8_t *space = memchr(line.at, ' ', span_bytes(line));
    if (space == NULL || space == line.at)
        return false;
    head->method = (struct span){line.at, space};
    struct span rest = trim((struct span){space, line.end});
    space = memchr(rest.at, ' ', span_bytes(rest));
    if (space == NULL)
        return false;
    head->path = (struct span){rest.at, space};
    const uint8_t *query = memchr(rest.at, '?', (size_t)(space - rest.at));
    if (query != NULL)
        head->path.end = query;
    struct span version = trim((struct span){space, line.end});
    head->close = is(version, "HTTP/1.0");
    return head->close || is(version, "HTTP/1.1");
}

/* 0, or the status to refuse with. */
static int take_header(struct span name, struct span value, struct http_head *head)
{
    if (is(name, "Content-Type")) {
        head->content_type = value;
    } else if (is(name, "Content-Encoding")) {
        head->content_encoding = value;
    } else if (is(name, "Content-Length")) {
        if (!parse_length(value, &head->body_bytes))
            return 400;
        if (head->body_bytes > HTTP_BODY_BYTES_MAX)
            return 413;
    } else if (is(name, "Transfer-Encoding")) {
        head->chunked = is(value, "chunked");
        return head->chunked ? 0 : 501;
    } else if (is(name, "Connection")) {
        head->close = is(value, "close") || (head->close && !is(value, "keep-alive"));
    } else if (is(name, "Expect")) {
        head->expects = is(value, "100-continue");
    }
    return 0;
}

int http_parse_head(const uint8_t *bytes, size_t count, struct http_head *ret_head)
{
    size_t look = count < HTTP_HEAD_BYTES_MAX ? count : HTTP_HEAD_BYTES_MAX;
    const uint8_t *empty = memmem(bytes, look, "\r\n\r\n", 4);
    *ret_head = (struct http_head){0};
    if (empty == NULL)
        return count < HTTP_HEAD_BYTES_MAX ? MORE : 431;
    const uint8_t *at = bytes, *end = empty + 2;
    ret_head->bytes = (size_t)(empty - bytes) + 4;
    if (!parse_request_line(next_line(&at, end), ret_head))
        return 400;
    while (at < end) {
        struct span line = next_line(&at, end);
        const uint8_t *colon = memchr(line.at, ':', span_bytes(line));
        if (colon == NULL || colon == line.at)
            return 400;
        int status = take_header((struct span){line.at, colon},
                                 trim((struct span){colon + 1, line.end}), ret_head);
        if (status != 0)
            return status;
    }
    if (ret_head->chunked)
        ret_head->body_bytes = 0;
    return 0;
}

static int hex(uint8_t digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    digit |= 0x20;
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* The line "1f;extension": its size, and how many bytes it is long. */
static int parse_chunk_line(const uint8_t *at, size_t left, size_t *ret_chunk, size_t *ret_line)
{
    size_t look = left < CHUNK_LINE_BYTES_MAX ? left : CHUNK_LINE_BYTES_MAX, digits = 0;
    const uint8_t *end = memmem(at, look, "\r\n", 2);
    *ret_chunk = 0;
    for (; digits < look && digits <= CHUNK_DIGITS_MAX && hex(at[digits]) >= 0; digits++)
        *ret_chunk = *ret_chunk << 4 | (size_t)hex(at[digits]);
    if ((digits == 0 && look > 0) || digits > CHUNK_DIGITS_MAX)
        return 400;
    if (end == NULL)
        return left < CHUNK_LINE_BYTES_MAX ? MORE : 400;
    *ret_line = (size_t)(end - at) + 2;
    return *ret_chunk > HTTP_BODY_BYTES_MAX ? 413 : 0;
}

int http_parse_chunks(const uint8_t *bytes, size_t count, uint8_t *to, size_t *ret_used,
                      size_t *ret_body_bytes)
{
    size_t used = 0, body = 0, chunk, line;
    do {
        int status = parse_chunk_line(bytes + used, count - used, &chunk, &line);
        if (status != 0)
            return status;
        if (body + chunk > HTTP_BODY_BYTES_MAX)
            return 413;
        used += line;
        if (chunk == 0)
            break;
        if (count - used < chunk + 2)
            return MORE;
        if (bytes[used + chunk] != '\r' || bytes[used + chunk + 1] != '\n')
            return 400;
        if (to != NULL)
            memcpy(to + body, bytes + used, chunk);
        body += chunk;
        used += chunk + 2;
    } while (chunk > 0);
    for (size_t trailers = 0; trailers < 64; trailers++) {
        const uint8_t *end = memmem(bytes + used, count - used, "\r\n", 2);
        if (end == NULL)
            return count - used < HTTP_HEAD_BYTES_MAX ? MORE : 431;
        bool last = end == bytes + used;
        used = (size_t)(end - bytes) + 2;
        if (!last)
            continue;
        *ret_used = used;
        *ret_body_bytes = body;
        return 0;
    }
    return 431;
}
