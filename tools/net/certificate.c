/* SPDX-License-Identifier: Apache-2.0 */
/* TLS contexts of the tools: a certificate and key from files, or one made now for localhost, which
 * is its own authority, so that a client can be told to trust exactly it.
 *
 * Any thread. */
#include "tools/net/net.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "base/check.h"

enum { VALID_DAYS = 30, BACKDATED_S = 3600, DAY_S = 86400 };

static bool openssl_error(struct error *error, const char *step)
{
    char reason[256] = "no reason given";
    unsigned long code = ERR_get_error();
    if (code != 0)
        ERR_error_string_n(code, reason, sizeof reason);
    ERR_clear_error();
    return error_set(error, "TLS: %s: %s", step, reason);
}

static bool add_extension(X509 *certificate, int id, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, id, value);
    bool added = extension != NULL && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return added;
}

static bool fill_certificate(X509 *certificate, EVP_PKEY *key)
{
    uint64_t serial;
    if (RAND_bytes((unsigned char *)&serial, sizeof serial) != 1)
        return false;
    X509_NAME *name = X509_get_subject_name(certificate);
    return X509_set_version(certificate, X509_VERSION_3) == 1 &&
           ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1) == 1 &&
           X509_gmtime_adj(X509_getm_notBefore(certificate), -BACKDATED_S) != NULL &&
           X509_gmtime_adj(X509_getm_notAfter(certificate), (long)VALID_DAYS * DAY_S) != NULL &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost",
                                      -1, -1, 0) == 1 &&
           X509_set_issuer_name(certificate, name) == 1 && X509_set_pubkey(certificate, key) == 1 &&
           add_extension(certificate, NID_basic_constraints, "critical,CA:TRUE") &&
           add_extension(certificate, NID_key_usage,
                         "critical,digitalSignature,keyEncipherment,keyCertSign") &&
           add_extension(certificate, NID_ext_key_usage, "serverAuth") &&
           add_extension(certificate, NID_subject_key_identifier, "hash") &&
           add_extension(certificate, NID_subject_alt_name,
                         "DNS:localhost,IP:127.0.0.1,IP:127.1.0.1") &&
           X509_sign(certificate, key, EVP_sha256()) > 0;
}

static char *pem_text(X509 *certificate)
{
    BIO *memory = BIO_new(BIO_s_mem());
    char *text = NULL, *bytes = NULL;
    if (memory != NULL && PEM_write_bio_X509(memory, certificate) == 1) {
        long count = BIO_get_mem_data(memory, &bytes);
        text = strndup(bytes, (size_t)count);
    }
    BIO_free(memory);
    return text;
}

static bool use_self_signed(SSL_CTX *context, char **ret_pem, struct error *error)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    char *pem = NULL;
    bool made = key != NULL && certificate != NULL && fill_certificate(certificate, key) &&
                SSL_CTX_use_certificate(context, certificate) == 1 &&
                SSL_CTX_use_PrivateKey(context, key) == 1 &&
                (ret_pem == NULL || (pem = pem_text(certificate)) != NULL);
    if (!made)
        openssl_error(error, "making a self-signed certificate");
    else if (ret_pem != NULL)
        *ret_pem = pem;
    X509_free(certificate);
    EVP_PKEY_free(key);
    return made;
}

static bool use_files(SSL_CTX *context, const char *certificate_file, const char *key_file,
                      struct error *error)
{
    if (SSL_CTX_use_certificate_chain_file(context, certificate_file) != 1) {
        openssl_error(error, "the certificate (PEM, the server's first)");
        return error_prefix(error, "%s: ", certificate_file);
    }
    if (SSL_CTX_use_PrivateKey_file(context, key_file, SSL_FILETYPE_PEM) != 1) {
        openssl_error(error, "the private key (PEM, of this certificate)");
        return error_prefix(error, "%s: ", key_file);
    }
    return true;
}

bool net_tls_context(SSL_CTX **ret_context, const char *certificate_file, const char *key_file,
                     char **ret_pem, struct error *error)
{
    if ((certificate_file == NULL) != (key_file == NULL))
        return error_set(error, "TLS: a certificate and its key belong together: give both files, "
                                "or none for a self-signed certificate");
    ERR_clear_error();
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (context == NULL)
        return openssl_error(error, "SSL_CTX_new");
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    /* As PostgreSQL: every connection is a full handshake, and no tickets fill the pipe. */
    SSL_CTX_set_options(context,
                        SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    bool ready = certificate_file != NULL ? use_files(context, certificate_file, key_file, error)
                                          : use_self_signed(context, ret_pem, error);
    if (!ready) {
        SSL_CTX_free(context);
        return false;
    }
    *ret_context = context;
    return true;
}
