/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/sink/certificate.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "tools/net/net.h"

enum { HOUR_S = 3600, DAY_S = 24 * HOUR_S };

/* What a certificate says. */
struct wish {
    const char *name;     /* CN */
    const char *hosts;    /* subjectAltName; NULL: an authority */
    long from_s, until_s; /* from now */
};

struct identity {
    X509 *certificate;
    EVP_PKEY *key;
};

static void identity_close(struct identity *identity)
{
    X509_free(identity->certificate);
    EVP_PKEY_free(identity->key);
    *identity = (struct identity){0};
}

static bool add_extension(X509 *certificate, X509 *issuer, int id, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, id, value);
    bool added = extension != NULL && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return added;
}

static bool add_extensions(X509 *certificate, X509 *issuer, const struct wish *wish)
{
    bool authority = wish->hosts == NULL;
    return add_extension(certificate, issuer, NID_basic_constraints,
                         authority ? "critical,CA:TRUE" : "critical,CA:FALSE") &&
           add_extension(certificate, issuer, NID_key_usage,
                         authority ? "critical,keyCertSign,cRLSign"
                                   : "critical,digitalSignature,keyEncipherment") &&
           add_extension(certificate, issuer, NID_subject_key_identifier, "hash") &&
           (authority ||
            (add_extension(certificate, issuer, NID_authority_key_identifier, "keyid:always") &&
             add_extension(certificate, issuer, NID_ext_key_usage, "serverAuth") &&
             add_extension(certificate, issuer, NID_subject_alt_name, wish->hosts)));
}

/* Signed by `issuer`; NULL: by itself. */
static bool identity_make(struct identity *ret_identity, const struct identity *issuer,
                          const struct wish *wish)
{
    struct identity made = {X509_new(), EVP_EC_gen("P-256")};
    uint64_t serial;
    if (made.certificate == NULL || made.key == NULL ||
        RAND_bytes((unsigned char *)&serial, sizeof serial) != 1)
        goto fail;
    X509 *certificate = made.certificate, *by = issuer ? issuer->certificate : certificate;
    X509_NAME *name = X509_get_subject_name(certificate);
    if (X509_set_version(certificate, X509_VERSION_3) == 1 &&
        ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1) == 1 &&
        X509_gmtime_adj(X509_getm_notBefore(certificate), wish->from_s) != NULL &&
        X509_gmtime_adj(X509_getm_notAfter(certificate), wish->until_s) != NULL &&
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)wish->name, -1,
                                   -1, 0) == 1 &&
        X509_set_issuer_name(certificate, X509_get_subject_name(by)) == 1 &&
        X509_set_pubkey(certificate, made.key) == 1 && add_extensions(certificate, by, wish) &&
        X509_sign(certificate, issuer ? issuer->key : made.key, EVP_sha256()) > 0) {
        *ret_identity = made;
        return true;
    }
fail:
    identity_close(&made);
    return false;
}

static SSL_CTX *context_make(const struct identity *authority, const struct wish *wish)
{
    struct identity identity = {0};
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    CHECK(context != NULL);
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    if (!identity_make(&identity, authority, wish) ||
        SSL_CTX_use_certificate(context, identity.certificate) != 1 ||
        SSL_CTX_use_PrivateKey(context, identity.key) != 1) {
        SSL_CTX_free(context);
        context = NULL;
    }
    identity_close(&identity);
    return context;
}

static char *pem_of(X509 *certificate)
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

bool certificates_open(struct certificates *ret_certificates, const char *certificate_file,
                       const char *key_file, struct error *error)
{
    static const char here[] = "DNS:localhost,IP:127.0.0.1,IP:127.1.0.1";
    const struct wish root = {"pgweir-sink authority", NULL, -2 * DAY_S, 30 * DAY_S};
    const struct wish good = {"localhost", here, -HOUR_S, 30 * DAY_S};
    const struct wish expired = {"localhost", here, -2 * DAY_S, -DAY_S};
    const struct wish wrong = {"elsewhere.example", "DNS:elsewhere.example", -HOUR_S, 30 * DAY_S};
    const struct wish stranger = {"a stranger's authority", NULL, -2 * DAY_S, 30 * DAY_S};
    struct certificates made = {0};
    struct identity authority = {0}, other = {0};
    bool files = certificate_file != NULL || key_file != NULL;
    if (files && !net_tls_context(&made.good, certificate_file, key_file, NULL, error))
        return false;
    bool ready = identity_make(&authority, NULL, &root) && identity_make(&other, NULL, &stranger) &&
                 (files || ((made.good = context_make(&authority, &good)) != NULL &&
                            (made.authority_pem = pem_of(authority.certificate)) != NULL)) &&
                 (made.expired = context_make(&authority, &expired)) != NULL &&
                 (made.wrong_host = context_make(&authority, &wrong)) != NULL &&
                 (made.untrusted = context_make(&other, &good)) != NULL;
    identity_close(&authority);
    identity_close(&other);
    if (!ready) {
        certificates_close(&made);
        return error_set(error, "TLS: certificates cannot be made: %s",
                         ERR_reason_error_string(ERR_get_error()));
    }
    *ret_certificates = made;
    return true;
}

void certificates_close(struct certificates *certificates)
{
    SSL_CTX_free(certificates->good);
    SSL_CTX_free(certificates->expired);
    SSL_CTX_free(certificates->wrong_host);
    SSL_CTX_free(certificates->untrusted);
    free(certificates->authority_pem);
    *certificates = (struct certificates){0};
}
