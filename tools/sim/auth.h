/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* How clients prove who they are: any user name, one password for all. Immutable after auth_init()
 * and shared by all threads. SCRAM-SHA-256 as in RFC 5802, RFC 7677 and PostgreSQL's "SASL
 * Authentication", with channel binding (tls-server-end-point, RFC 5929) under TLS. The keys are
 * made once: a log-in costs two HMACs and not 4,096. The password is taken as it is (SASLprep
 * changes nothing of ASCII). */
enum auth_method { AUTH_TRUST, AUTH_PASSWORD, AUTH_SCRAM };

enum { AUTH_KEY_BYTES = 32, AUTH_SALT_BYTES = 16, AUTH_PASSWORD_BYTES_MAX = 256 };

struct auth {
    enum auth_method method;
    char password[AUTH_PASSWORD_BYTES_MAX]; /* AUTH_PASSWORD */
    uint8_t salt[AUTH_SALT_BYTES];
    uint8_t stored_key[AUTH_KEY_BYTES], server_key[AUTH_KEY_BYTES];
};

bool auth_init(struct auth *auth, enum auth_method method, const char *password,
               struct error *error);

bool auth_password(const struct auth *auth, const char *password);

/* One log-in by SCRAM. */
enum { SCRAM_TEXT_BYTES = 512 };

struct scram {
    char binding[8 + 128]; /* GS2 header and channel binding that the client must repeat, … */
    size_t binding_bytes;
    char nonce[160]; /* … and the nonce: the client's and ours */
    char client_first[SCRAM_TEXT_BYTES], server_first[SCRAM_TEXT_BYTES];
};

/* The names of the mechanisms, each with its NUL, and one more at the end; returns the bytes. */
size_t scram_mechanisms(const SSL *tls, char list[64]);

/* client-first-message; on success `scram->server_first` is the answer. False: malformed. */
bool scram_first(struct scram *scram, const struct auth *auth, const SSL *tls,
                 const char *mechanism, const char *message, size_t bytes);

/* client-final-message. The answer, server-final-message, goes to `answer`. */
enum scram_result { SCRAM_GOOD, SCRAM_WRONG_PASSWORD, SCRAM_MALFORMED };
enum scram_result scram_final(const struct scram *scram, const struct auth *auth,
                              const char *message, size_t bytes, char answer[128]);
