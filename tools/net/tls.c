/* SPDX-License-Identifier: Apache-2.0 */
/* The server's side of TLS on a connection, without memory of its own for idle ones: OpenSSL reads
 * its ciphertext from the receive that is being worked on and writes to the connection's send
 * buffer, through a BIO made for this. What the owner queues waits in `plain` and is encrypted when
 * the turn sends, so small pieces share a record.
 *
 * Thread: the net's. */
#include "tools/net/backend.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <string.h>

#include "base/check.h"

static int bio_write(BIO *bio, const char *bytes, int count)
{
    struct net_conn *conn = BIO_get_data(bio);
    if (count <= 0)
        return 0;
    net_buffer_append(&conn->net->pool, &conn->out, bytes, (size_t)count);
    return count;
}

static int bio_read(BIO *bio, char *bytes, int count)
{
    struct net *net = ((struct net_conn *)BIO_get_data(bio))->net;
    BIO_clear_retry_flags(bio);
    size_t taken = count < 0 ? 0 : (size_t)count;
    if (taken > net->tls_count)
        taken = net->tls_count;
    if (taken == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(bytes, net->tls_bytes, taken);
    net->tls_bytes += taken;
    net->tls_count -= taken;
    return (int)taken;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_PUSH || command == BIO_CTRL_POP;
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

static BIO *bio_for(struct net_conn *conn)
{
    struct net *net = conn->net;
    if (net->bio_method == NULL) {
        net->bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "net");
        CHECK(net->bio_method != NULL);
        BIO_meth_set_write(net->bio_method, bio_write);
        BIO_meth_set_read(net->bio_method, bio_read);
        BIO_meth_set_ctrl(net->bio_method, bio_ctrl);
        BIO_meth_set_create(net->bio_method, bio_create);
    }
    BIO *bio = BIO_new(net->bio_method);
    CHECK(bio != NULL);
    BIO_set_data(bio, conn);
    return bio;
}

void net_start_tls(struct net_conn *conn, SSL_CTX *context)
{
    CHECK(conn->ssl == NULL);
    if (conn->state != NET_CONN_OPEN)
        return;
    conn->ssl = SSL_new(context);
    CHECK(conn->ssl != NULL);
    BIO *bio = bio_for(conn);
    SSL_set_bio(conn->ssl, bio, bio);
    SSL_set_accept_state(conn->ssl);
    net_conn_mark(conn);
}

const SSL *net_tls(const struct net_conn *conn)
{
    return conn->ssl;
}

static void failed(struct net_conn *conn, int result)
{
    switch (SSL_get_error(conn->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        break;
    case SSL_ERROR_ZERO_RETURN:
        net_conn_eof(conn);
        break;
    default: /* its alert is queued */
        conn->tls_shut = true;
        net_buffer_release(&conn->net->pool, &conn->plain);
        net_conn_close(conn, EPROTO);
        break;
    }
}

void net_tls_input(struct net_conn *conn, const uint8_t *bytes, size_t count)
{
    struct net *net = conn->net;
    net->tls_bytes = bytes;
    net->tls_count = count;
    /* Every turn gives at least one byte to the owner or ends; a record is never longer than its
     * ciphertext. */
    while (conn->state == NET_CONN_OPEN || conn->state == NET_CONN_FLUSHING) {
        size_t filled = 0;
        int result = 1;
        ERR_clear_error();
        while (filled < sizeof net->tls_scratch && result > 0) {
            size_t some = 0;
            result = SSL_read_ex(conn->ssl, net->tls_scratch + filled,
                                 sizeof net->tls_scratch - filled, &some);
            filled += some;
        }
        if (filled > 0)
            net_conn_plain(conn, net->tls_scratch, filled);
        if (result <= 0) {
            failed(conn, result);
            break;
        }
    }
    net->tls_count = 0;
    net_conn_mark(conn);
}

void net_tls_output(struct net_conn *conn)
{
    if (!SSL_is_init_finished(conn->ssl)) {
        if (conn->eof) /* it never will be */
            net_buffer_release(&conn->net->pool, &conn->plain);
        return;
    }
    size_t count = net_buffer_count(conn->plain), written = 0;
    ERR_clear_error();
    if (count > 0 &&
        SSL_write_ex(conn->ssl, conn->plain->bytes + conn->plain->start, count, &written) != 1) {
        net_conn_fail(conn, EPROTO);
        return;
    }
    net_buffer_release(&conn->net->pool, &conn->plain);
}

bool net_tls_shut(struct net_conn *conn)
{
    if (!SSL_is_init_finished(conn->ssl))
        return false;
    ERR_clear_error();
    return SSL_shutdown(conn->ssl) >= 0;
}
