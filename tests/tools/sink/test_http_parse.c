/* SPDX-License-Identifier: Apache-2.0 */
/* Heads of requests and chunked bodies, whole, in pieces, and wrong. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "tools/sink/http_parse.h"

#define POST "POST /v1/metrics?x=1 HTTP/1.1\r\n"

static const struct {
    const char *head;
    int status;
    uint64_t body_bytes;
    bool chunked, close, expects;
} heads[] = {
    {POST "Content-Length: 17\r\n\r\n", 0, 17, false, false, false},
    {POST "content-length:17\r\nCONNECTION: Close\r\n\r\n", 0, 17, false, true, false},
    {POST "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n", 0, 5, false, false, true},
    {POST "Transfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n", 0, 0, true, false, false},
    {"GET / HTTP/1.0\r\n\r\n", 0, 0, false, true, false},
    {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 0, 0, false, false, false},
    {"GET / HTTP/1.1\r\nConnection: keep-alive\r\n\r\n", 0, 0, false, false, false},
    {"GET / HTTP/2.0\r\n\r\n", 400, 0, false, false, false},
    {"GET /\r\n\r\n", 400, 0, false, false, false},
    {" / HTTP/1.1\r\n\r\n", 400, 0, false, false, false},
    {"nonsense\r\n\r\n", 400, 0, false, false, false},
    {POST "no colon\r\n\r\n", 400, 0, false, false, false},
    {POST ": no name\r\n\r\n", 400, 0, false, false, false},
    {POST "Content-Length: -1\r\n\r\n", 400, 0, false, false, false},
    {POST "Content-Length: 12x\r\n\r\n", 400, 0, false, false, false},
    {POST "Content-Length: 99999999999999999999\r\n\r\n", 400, 0, false, false, false},
    {POST "Content-Length: 67108865\r\n\r\n", 413, 0, false, false, false},
    {POST "Transfer-Encoding: gzip, chunked\r\n\r\n", 501, 0, false, false, false},
};

static void test_heads(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        struct http_head head;
        size_t bytes = strlen(heads[i].head);
        int status = http_parse_head((const uint8_t *)heads[i].head, bytes, &head);
        if (status != heads[i].status)
            fail_msg("%s: %d", heads[i].head, status);
        for (size_t cut = 0; cut < bytes; cut++) { /* in exact memory: nothing is read past it */
            uint8_t *prefix = malloc(cut + (cut == 0));
            memcpy(prefix, heads[i].head, cut);
            assert_int_equal(http_parse_head(prefix, cut, &head), 100);
            free(prefix);
        }
        if (status != 0)
            continue;
        http_parse_head((const uint8_t *)heads[i].head, bytes, &head);
        assert_int_equal(head.bytes, bytes);
        assert_int_equal(head.body_bytes, heads[i].body_bytes);
        assert_int_equal(head.chunked, heads[i].chunked);
        assert_int_equal(head.close, heads[i].close);
        assert_int_equal(head.expects, heads[i].expects);
    }
}

static void test_fields(void **state)
{
    (void)state;
    static const char text[] = POST "Content-Type:\t application/x-protobuf \r\n"
                                    "Content-Encoding: gzip\r\nX: y\r\n\r\nbody";
    struct http_head head;
    assert_int_equal(http_parse_head((const uint8_t *)text, sizeof text - 1, &head), 0);
    assert_int_equal(head.bytes, sizeof text - 1 - 4);
    assert_memory_equal(head.method.at, "POST", span_bytes(head.method));
    assert_int_equal(span_bytes(head.path), 11);
    assert_memory_equal(head.path.at, "/v1/metrics", 11);
    assert_int_equal(span_bytes(head.content_type), 22);
    assert_int_equal(span_bytes(head.content_encoding), 4);
}

static void test_endless_head(void **state)
{
    (void)state;
    struct http_head head;
    size_t bytes = HTTP_HEAD_BYTES_MAX;
    uint8_t *text = malloc(bytes);
    memset(text, 'a', bytes);
    assert_int_equal(http_parse_head(text, bytes - 1, &head), 100);
    assert_int_equal(http_parse_head(text, bytes, &head), 431);
    free(text);
}

static const struct {
    const char *text, *body;
    int status;
} chunks[] = {
    {"5\r\nhello\r\n0\r\n\r\n", "hello", 0},
    {"1\r\na\r\n1F\r\n0123456789012345678901234567890\r\n0\r\n\r\n",
     "a0123456789012345678901234567890", 0},
    {"3;name=value\r\nabc\r\n0;x\r\nTrailer: 1\r\n\r\n", "abc", 0},
    {"0\r\n\r\n", "", 0},
    {"\r\n", NULL, 400},
    {"x\r\n", NULL, 400},
    {"123456789\r\n", NULL, 400},
    {"5\r\nhelloXX0\r\n\r\n", NULL, 400},
    {"4000001\r\n", NULL, 413},
};

static void test_chunks(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof chunks / sizeof chunks[0]; i++) {
        size_t bytes = strlen(chunks[i].text), used = 0, body_bytes = 0;
        uint8_t out[64];
        const uint8_t *text = (const uint8_t *)chunks[i].text;
        int status = http_parse_chunks(text, bytes, out, &used, &body_bytes);
        if (status != chunks[i].status)
            fail_msg("%s: %d", chunks[i].text, status);
        if (status != 0)
            continue;
        assert_int_equal(used, bytes);
        assert_int_equal(body_bytes, strlen(chunks[i].body));
        assert_memory_equal(out, chunks[i].body, body_bytes);
        for (size_t cut = 0; cut < bytes; cut++) {
            uint8_t *prefix = malloc(cut + (cut == 0));
            memcpy(prefix, text, cut);
            assert_int_equal(http_parse_chunks(prefix, cut, NULL, &used, &body_bytes), 100);
            free(prefix);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_endless_head),
        cmocka_unit_test(test_chunks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
