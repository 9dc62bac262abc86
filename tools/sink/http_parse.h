/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "tools/sink/wire.h"

/* HTTP/1.1 requests (RFC 9112), read in place; untrusted bytes. */
enum { HTTP_HEAD_BYTES_MAX = 32 << 10, HTTP_BODY_BYTES_MAX = 64 << 20 };

struct http_head {
    size_t bytes; /* to the end of the empty line */
    struct span method, path, content_type, content_encoding;
    uint64_t body_bytes; /* Content-Length; 0 where chunked */
    bool chunked;
    bool close;   /* the client wants the connection closed, or speaks HTTP/1.0 */
    bool expects; /* 100 Continue before it sends the body */
};

/* 0: *ret_head is whole; 100: more bytes are needed; otherwise the status to refuse with. */
int http_parse_head(const uint8_t *bytes, size_t count, struct http_head *ret_head);

/* A chunked body from `bytes` on: 0 when it is whole (*ret_used bytes, *ret_body_bytes of content),
 * 100 or a status as above. Written to `to` where that is not NULL; it has room for `count`. */
int http_parse_chunks(const uint8_t *bytes, size_t count, uint8_t *to, size_t *ret_used,
                      size_t *ret_body_bytes);
