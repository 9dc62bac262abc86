/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <openssl/ssl.h>
#include <stdbool.h>

#include "base/error.h"

/* The sink's TLS identities: a good one, and the faulty ones of a script. Made now, of one
 * authority (but for `untrusted`), so that a client which trusts it finds nothing wrong but the
 * fault. */
struct certificates {
    SSL_CTX *good, *expired, *wrong_host, *untrusted;
    char *authority_pem; /* what clients are to trust; NULL where `good` is from files */
};

/* `good` is of the two PEM files, or, where both are NULL, for localhost and 127.0.0.1. */
bool certificates_open(struct certificates *ret_certificates, const char *certificate_file,
                       const char *key_file, struct error *error);
void certificates_close(struct certificates *certificates);
