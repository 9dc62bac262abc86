/* SPDX-License-Identifier: Apache-2.0 */
/* Session's thread. Messages are untrusted bytes: everything is bounded and compared by length. */
#include "tools/sim/auth.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

enum { ITERATIONS = 4096, NONCE_BYTES = 18 };

static const char plain_mechanism[] = "SCRAM-SHA-256", bound_mechanism[] = "SCRAM-SHA-256-PLUS";

static void hmac(const uint8_t key[AUTH_KEY_BYTES], const void *data, size_t bytes,
                 uint8_t out[AUTH_KEY_BYTES])
{
    unsigned length = AUTH_KEY_BYTES;
    CHECK(HMAC(EVP_sha256(), key, AUTH_KEY_BYTES, data, bytes, out, &length) != NULL);
}

/* base64 with NUL; `out` has room for 4 * ((bytes + 2) / 3) + 1. */
static size_t encode(const void *data, size_t bytes, char *out)
{
    return (size_t)EVP_EncodeBlock((unsigned char *)out, data, (int)bytes);
}

bool auth_init(struct auth *auth, enum auth_method method, const char *password,
               struct error *error)
{
    *auth = (struct auth){.method = method};
    if (method == AUTH_TRUST)
        return true;
    size_t bytes = password == NULL ? 0 : strlen(password);
    if (bytes == 0 || bytes >= AUTH_PASSWORD_BYTES_MAX)
        return error_set(error,
                         "--auth %s needs a password of 1 to %d bytes: name a file that holds it "
                         "with --password-file",
                         method == AUTH_PASSWORD ? "password" : "scram",
                         AUTH_PASSWORD_BYTES_MAX - 1);
    memcpy(auth->password, password, bytes + 1);
    uint8_t salted[AUTH_KEY_BYTES], client_key[AUTH_KEY_BYTES];
    CHECK(RAND_bytes(auth->salt, sizeof auth->salt) == 1);
    CHECK(PKCS5_PBKDF2_HMAC(password, (int)bytes, auth->salt, sizeof auth->salt, ITERATIONS,
                            EVP_sha256(), sizeof salted, salted) == 1);
    hmac(salted, "Client Key", 10, client_key);
    hmac(salted, "Server Key", 10, auth->server_key);
    SHA256(client_key, sizeof client_key, auth->stored_key);
    return true;
}

bool auth_password(const struct auth *auth, const char *password)
{
    return strcmp(auth->password, password) == 0;
}

size_t scram_mechanisms(const SSL *tls, char list[64])
{
    size_t bytes = 0;
    if (tls != NULL) {
        memcpy(list, bound_mechanism, sizeof bound_mechanism);
        bytes = sizeof bound_mechanism;
    }
    memcpy(list + bytes, plain_mechanism, sizeof plain_mechanism);
    bytes += sizeof plain_mechanism;
    list[bytes++] = 0;
    return bytes;
}

/* The certificate's hash by its own signature's function, SHA-256 for the weak ones. */
static bool hash_certificate(const SSL *tls, uint8_t out[EVP_MAX_MD_SIZE], unsigned *ret_bytes)
{
    X509 *certificate = tls == NULL ? NULL : SSL_get_certificate(tls);
    int digest_id = NID_undef;
    if (certificate == NULL)
        return false;
    int good = X509_get_signature_info(certificate, &digest_id, NULL, NULL, NULL);
    const EVP_MD *digest = good == 1 ? EVP_get_digestbynid(digest_id) : NULL;
    if (digest == NULL || digest_id == NID_md5 || digest_id == NID_sha1)
        digest = EVP_sha256();
    return X509_digest(certificate, digest, out, ret_bytes) == 1;
}

/* A printable run without a comma; its length, 0 when there is none. */
static size_t value_length(const char *at, const char *end)
{
    const char *from = at;
    while (at < end && *at != ',' && *at >= 0x21 && *at <= 0x7e)
        at++;
    return (size_t)(at - from);
}

/* gs2-header: "n,," "y,," or "p=tls-server-end-point,,"; an authzid is refused as PostgreSQL does.
 */
static const char *read_header(struct scram *scram, const SSL *tls, bool bound, const char *at,
                               const char *end)
{
    static const char bound_header[] = "p=tls-server-end-point,,";
    size_t bytes = bound ? sizeof bound_header - 1 : 3;
    if ((size_t)(end - at) < bytes)
        return NULL;
    if (bound ? memcmp(at, bound_header, bytes) != 0
              : memcmp(at, "n,,", 3) != 0 && memcmp(at, "y,,", 3) != 0)
        return NULL;
    /* "y": the client could have bound, and believes that we cannot. A downgrade, if we can. */
    if (*at == 'y' && tls != NULL)
        return NULL;
    memcpy(scram->binding, at, bytes);
    scram->binding_bytes = bytes;
    if (bound) {
        uint8_t hash[EVP_MAX_MD_SIZE];
        unsigned hash_bytes;
        if (!hash_certificate(tls, hash, &hash_bytes))
            return NULL;
        memcpy(scram->binding + bytes, hash, hash_bytes);
        scram->binding_bytes += hash_bytes;
    }
    return at + bytes;
}

bool scram_first(struct scram *scram, const struct auth *auth, const SSL *tls,
                 const char *mechanism, const char *message, size_t bytes)
{
    bool bound = strcmp(mechanism, bound_mechanism) == 0;
    const char *end = message + bytes;
    if ((!bound && strcmp(mechanism, plain_mechanism) != 0) || (bound && tls == NULL) ||
        bytes >= SCRAM_TEXT_BYTES)
        return false;
    const char *bare = read_header(scram, tls, bound, message, end);
    if (bare == NULL || end - bare < 2 || memcmp(bare, "n=", 2) != 0)
        return false;
    const char *at = bare + 2; /* the user's name is the one of the start-up packet */
    at += value_length(at, end);
    if (end - at < 3 || memcmp(at, ",r=", 3) != 0)
        return false;
    at += 3;
    size_t nonce_bytes = value_length(at, end);
    if (nonce_bytes == 0 || nonce_bytes > 128 || at + nonce_bytes != end)
        return false;
    uint8_t random[NONCE_BYTES];
    char own[32], salt[32];
    CHECK(RAND_bytes(random, sizeof random) == 1);
    encode(random, sizeof random, own);
    encode(auth->salt, sizeof auth->salt, salt);
    snprintf(scram->nonce, sizeof scram->nonce, "%.*s%s", (int)nonce_bytes, at, own);
    memcpy(scram->client_first, bare, (size_t)(end - bare));
    scram->client_first[end - bare] = 0;
    snprintf(scram->server_first, sizeof scram->server_first, "r=%s,s=%s,i=%d", scram->nonce, salt,
             ITERATIONS);
    return true;
}

/* "c=BINDING,r=NONCE,p=PROOF", no extensions. *ret_proof: the place of ",p=". */
static bool read_final(const struct scram *scram, const char *message, size_t bytes,
                       size_t *ret_proof)
{
    char expected[4 * sizeof scram->binding / 3 + 8 + sizeof scram->nonce + 8] = "c=";
    size_t count = 2 + encode(scram->binding, scram->binding_bytes, expected + 2);
    int more = snprintf(expected + count, sizeof expected - count, ",r=%s,p=", scram->nonce);
    count += (size_t)more;
    if (bytes <= count || memcmp(message, expected, count) != 0)
        return false;
    *ret_proof = count - 3;
    return true;
}

/* ClientKey = proof XOR HMAC(StoredKey, messages); right when its hash is StoredKey. */
static bool proof_holds(const struct auth *auth, const char *messages, const uint8_t *proof)
{
    uint8_t signature[AUTH_KEY_BYTES], hash[AUTH_KEY_BYTES];
    hmac(auth->stored_key, messages, strlen(messages), signature);
    for (int i = 0; i < AUTH_KEY_BYTES; i++)
        signature[i] ^= proof[i];
    SHA256(signature, sizeof signature, hash);
    return memcmp(hash, auth->stored_key, sizeof hash) == 0;
}

enum scram_result scram_final(const struct scram *scram, const struct auth *auth,
                              const char *message, size_t bytes, char answer[128])
{
    enum { PROOF_TEXT_BYTES = 44 };
    uint8_t proof[PROOF_TEXT_BYTES / 4 * 3 + 1], signature[AUTH_KEY_BYTES];
    char messages[3 * SCRAM_TEXT_BYTES];
    size_t at;
    if (bytes >= SCRAM_TEXT_BYTES || memchr(message, 0, bytes) != NULL ||
        !read_final(scram, message, bytes, &at))
        return SCRAM_MALFORMED;
    if (bytes - at - 3 != PROOF_TEXT_BYTES ||
        EVP_DecodeBlock(proof, (const unsigned char *)message + at + 3, PROOF_TEXT_BYTES) < 0)
        return SCRAM_MALFORMED;
    snprintf(messages, sizeof messages, "%s,%s,%.*s", scram->client_first, scram->server_first,
             (int)at, message);
    if (!proof_holds(auth, messages, proof))
        return SCRAM_WRONG_PASSWORD;
    hmac(auth->server_key, messages, strlen(messages), signature);
    memcpy(answer, "v=", 2);
    encode(signature, sizeof signature, answer + 2);
    return SCRAM_GOOD;
}
