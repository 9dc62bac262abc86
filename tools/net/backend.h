/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "tools/net/buffer.h"
#include "tools/net/net.h"

/* What the files of tools/net share; nobody else includes this. Everything belongs to the net's
 * thread. Names begin with net_, as programs have connections and buffers of their own. */

/* user_data of a kernel request: what it is for, whose place, and which use of that place. */
enum { NET_TOKEN_SLOT_BITS = 24, NET_TOKEN_GENERATION_BITS = 32 };
enum net_token_kind { NET_TOKEN_ACCEPT = 1, NET_TOKEN_RECV, NET_TOKEN_SEND, NET_TOKEN_CANCEL };

enum net_conn_state {
    NET_CONN_FREE,      /* nobody's */
    NET_CONN_OPEN,      /* the owner's: reads and writes */
    NET_CONN_FLUSHING,  /* net_close(): what is queued still leaves, what comes is dropped */
    NET_CONN_CUTTING,   /* net_reset_after() came to its end: waits until TCP has sent the rest */
    NET_CONN_LINGERING, /* FIN is out, no owner: drops what comes until the peer's FIN, so that
                           unread bytes do not turn our FIN into a reset */
    NET_CONN_ENDING,    /* the owner is told, requests in the kernel are cancelled, then freed */
};

struct net_listener {
    struct net *net;
    struct net_handler handler;
    void *owner;
    struct sockaddr_in address; /* zero: a Unix socket */
    struct timer retry;         /* accepting failed for want of descriptors or memory */
    uint32_t slot;
    int fd;
    bool any_loopback;
    bool over;  /* net_unlisten(): stays, as open connections refer to it */
    char *path; /* to be removed at the end; NULL: TCP */
};

struct net_conn {
    struct net *net;
    struct net_listener *listener;
    void *owner; /* NULL once `closed` has been called */
    SSL *ssl;
    struct net_buffer *in;       /* received (decrypted), not consumed */
    struct net_buffer *plain;    /* TLS: queued, not encrypted */
    struct net_buffer *out;      /* queued for the wire */
    struct net_buffer *flight;   /* being sent: does not move while `sending` */
    struct net_conn *dirty_next; /* on a list of net's while `dirty` or free */
    struct timer timer;          /* the nearest of limit_ns and slice_next_ns */
    uint64_t limit_ns;           /* FLUSHING, CUTTING, LINGERING: the state's end */
    uint64_t slice_interval_ns, slice_next_ns;
    uint64_t cut_bytes; /* net_reset_after(): how many more may leave; UINT64_MAX: no end */
    uint32_t slice_bytes, asked_bytes;
    uint32_t slot, generation;
    uint32_t asked_turn; /* of net_close() or net_reset(): `closed` comes from a later one */
    int fd;
    int end_error;
    uint8_t state;
    bool dirty;
    bool held;      /* net_hold() */
    bool throttled; /* too much is pending: not read until it has drained */
    bool offer;     /* `in` holds bytes that were not offered yet */
    bool eof, ended;
    bool reset;      /* ENDING: by RST */
    bool tls_primed; /* bytes that came before net_start_tls() were taken as ciphertext */
    bool tls_shut;
    bool drain_due;
    bool retry;                 /* the back end could not take a request in this turn */
    bool sending;               /* one send of asked_bytes is with the back end */
    bool receiving, cancelling; /* io_uring: a multishot receive is armed; its end is asked for */
    bool quiescing;             /* io_uring: the end of everything is asked for */
    bool readable, hung, writable; /* epoll: edges seen and not used up */
};

enum { NET_CONNS_PER_BLOCK = 256, NET_SCRATCH_BYTES = 64 << 10 };

struct net {
    const struct net_backend *backend;
    void *kernel; /* the back end's */
    struct net_conn **blocks;
    uint32_t connections_max, used, block_count, free_count;
    struct net_conn *free_first;
    struct net_conn *dirty_first, **dirty_last;
    struct net_conn *later_first, **later_last; /* for the next turn */
    struct net_listener **listeners;
    uint32_t listener_count;
    struct wheel *wheel;
    struct net_pool pool;
    const uint8_t *tls_bytes; /* ciphertext that the BIO reads from, while SSL_read() runs */
    size_t tls_count;
    BIO_METHOD *bio_method;
    uint64_t now_ns;
    uint32_t turn;
    struct net_stats stats;
    uint8_t scratch[NET_SCRATCH_BYTES], tls_scratch[NET_SCRATCH_BYTES];
};

struct net_backend {
    enum loop_kind kind;
    bool (*open)(struct net *net, struct error *error);
    void (*close)(struct net *net); /* nothing of the kernel's refers to any memory afterwards */
    bool (*listen)(struct net_listener *listener); /* accepts from now on; false: try again */
    int (*conn_open)(struct net_conn *conn);       /* 0 or errno */
    /* Reading is wanted: each delivery is a net_conn_received(). Called again in every turn that
     * has work for the connection. */
    void (*read)(struct net_conn *conn);
    void (*pause)(
        struct net_conn *conn); /* not wanted: what comes meanwhile may still be delivered */
    /* One write of `count` bytes, ended by net_conn_sent(), perhaps before this returns. False:
     * cannot now; the connection becomes dirty when it can (or `retry` is set). */
    bool (*send)(struct net_conn *conn, const uint8_t *bytes, size_t count);
    /* Cancels; true when nothing of the kernel's refers to the descriptor. Otherwise the connection
     * becomes dirty when that changes. */
    bool (*quiesce)(struct net_conn *conn);
    /* Hands over, waits up to `wait_ns` (0: not at all, UINT64_MAX: for ever) for something, sets
     * net->now_ns, then reports all there is. */
    void (*collect)(struct net *net, uint64_t wait_ns);
};

extern const struct net_backend net_uring_backend, net_epoll_backend;

static inline uint64_t net_token(enum net_token_kind kind, uint32_t slot, uint32_t generation)
{
    return (uint64_t)kind << (NET_TOKEN_SLOT_BITS + NET_TOKEN_GENERATION_BITS) |
           (uint64_t)slot << NET_TOKEN_GENERATION_BITS | generation;
}

static inline enum net_token_kind net_token_kind(uint64_t token)
{
    return (enum net_token_kind)(token >> (NET_TOKEN_SLOT_BITS + NET_TOKEN_GENERATION_BITS));
}

static inline uint32_t net_token_slot(uint64_t token)
{
    return (uint32_t)(token >> NET_TOKEN_GENERATION_BITS) & ((1u << NET_TOKEN_SLOT_BITS) - 1);
}

/* net.c */
struct net_conn *net_conn_acquire(struct net *net); /* NULL: all are in use */
void net_conn_free(struct net_conn *conn);
struct net_conn *net_conn_at(struct net *net, uint64_t token); /* NULL: a use that is over */
void net_conn_mark(struct net_conn *conn);                     /* work for it in this turn */
void net_conn_mark_later(struct net_conn *conn);               /* in the next turn */

/* accept.c */
void net_accepted(struct net_listener *listener, int fd);
void net_accept_failed(struct net_listener *listener, int error); /* accepts again, by and by */
void net_listeners_close(struct net *net);

/* conn.c */
void net_conn_work(struct net_conn *conn);
void net_conn_received(struct net_conn *conn, const uint8_t *bytes, size_t count);
void net_conn_eof(struct net_conn *conn);
void net_conn_sent(struct net_conn *conn, ssize_t result); /* bytes or -errno */
void net_conn_fail(struct net_conn *conn, int error);
void net_conn_plain(struct net_conn *conn, const uint8_t *bytes, size_t count); /* decrypted */
void net_conn_close(struct net_conn *conn, int error);

/* tls.c */
void net_tls_input(struct net_conn *conn, const uint8_t *bytes, size_t count);
void net_tls_output(struct net_conn *conn); /* encrypts what waits */
bool net_tls_shut(struct net_conn *conn);   /* close_notify; false: the handshake goes on */
