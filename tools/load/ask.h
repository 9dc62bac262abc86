/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Questions to the programs under test: one connection each, blocking, with a deadline. */

/* An HTTP/1.1 request to `place` ("127.0.0.1:4318"); `body` NULL: none. On success *ret_text is the
 * answer's body with a NUL behind, to be freed. A status other than 2xx is an error. */
struct ask {
    const char *place, *method, *path;
    const char *body;
    const char *content_type;
    uint64_t timeout_ns;
};
bool ask_http(const struct ask *ask, char **ret_text, struct error *error);

/* The same to a Unix socket that takes a document until the half-close and answers with another. */
bool ask_socket(const char *path, const char *document, uint64_t timeout_ns, char **ret_text,
                struct error *error);

/* A TCP port of 127.0.0.1 that nobody uses right now; 0 when there is none. */
uint16_t ask_free_port(void);
