/* SPDX-License-Identifier: Apache-2.0 */
/* Requests on one connection never overlap: bytes of the next one are kept by the net until the
 * answer to this one has left. Nothing is allocated per request unless its answer has a body that
 * must wait.
 *
 * A connection's states are below; the welcome decides the first. `over` is called once for every
 * request whose head was seen, when the net says that all is sent, or that the connection is gone.
 */
#include "tools/sink/http_conn.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"

enum { KEEP_BYTES_MAX = 1 << 20, ANSWER_HEAD_BYTES_MAX = 1024, STALL_S = 60 };

static const char *reason(int status)
{
    static const struct {
        int status;
        const char *name;
    } names[] = {
        {200, "OK"},
        {204, "No Content"},
        {307, "Temporary Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {413, "Content Too Large"},
        {415, "Unsupported Media Type"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].status == status)
            return names[i].name;
    return "Answer";
}

/* -- the answer -- */

static void exchange_over(struct conn *conn, int status)
{
    free(conn->kept_body);
    conn->kept_body = NULL;
    if (!conn->exchanging)
        return;
    conn->exchanging = false;
    if (conn->state != CONN_CLOSING)
        conn->state = CONN_HEAD;
    conn->server->handler.over(conn->server->owner, conn->note, status);
}

static void close_conn(struct conn *conn)
{
    conn->state = CONN_CLOSING;
    net_close(conn->net);
}

void http_conn_reset(struct conn *conn)
{
    conn->state = CONN_CLOSING;
    conn->status = 0;
    net_reset(conn->net);
}

static int write_head(char *to, const struct http_reply *reply, bool closes)
{
    char retry[64] = "", location[512] = "";
    if (reply->has_retry_after)
        snprintf(retry, sizeof retry, "Retry-After: %s\r\n", reply->retry_after);
    if (reply->location != NULL)
        snprintf(location, sizeof location, "Location: %.480s\r\n", reply->location);
    const char *type = reply->content_type != NULL ? reply->content_type : "application/x-protobuf";
    int bytes = snprintf(to, ANSWER_HEAD_BYTES_MAX,
                         "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s%s%s\r\n",
                         reply->status, reason(reply->status), type, reply->body_bytes, retry,
                         location, closes ? "Connection: close\r\n" : "");
    CHECK(bytes > 0 && bytes < ANSWER_HEAD_BYTES_MAX);
    return bytes;
}

static void send_answer(struct conn *conn)
{
    const struct http_reply *reply = &conn->reply;
    conn->status = reply->act == HTTP_CUT ? 0 : reply->status;
    conn->state = CONN_WRITING;
    if (reply->slice_bytes > 0)
        net_slice(conn->net, reply->slice_bytes, reply->slice_interval_ns);
    uint8_t *room = net_room(conn->net, ANSWER_HEAD_BYTES_MAX + reply->body_bytes);
    size_t bytes = (size_t)write_head((char *)room, reply, conn->head.close);
    if (reply->body_bytes > 0 && reply->body != NULL)
        memcpy(room + bytes, reply->body, reply->body_bytes);
    else
        memset(room + bytes, 'x', reply->body_bytes);
    bytes += reply->body_bytes;
    if (reply->act == HTTP_CUT)
        net_reset_after(conn->net, reply->cut_bytes < bytes ? reply->cut_bytes : bytes - 1);
    net_wrote(conn->net, bytes);
    if (reply->act == HTTP_CUT)
        conn->state = CONN_CLOSING;
    else if (conn->head.close || reply->close_after)
        close_conn(conn);
}

static void act(struct conn *conn)
{
    static const char garbage[] = "\x16\x03\x01 this is not HTTP\r\n\r\n";
    switch (conn->reply.act) {
    case HTTP_ANSWER:
    case HTTP_CUT:
        send_answer(conn);
        break;
    case HTTP_GARBAGE:
        conn->status = 0;
        net_send(conn->net, garbage, sizeof garbage - 1);
        close_conn(conn);
        break;
    case HTTP_NO_ANSWER_CLOSE:
        conn->status = 0;
        close_conn(conn);
        break;
    case HTTP_NO_ANSWER_RESET:
        http_conn_reset(conn);
        break;
    case HTTP_NO_ANSWER:
        conn->state = CONN_SWALLOW;
        break;
    }
}

static void on_timer(struct timer *timer, uint64_t now_ns)
{
    struct conn *conn = (struct conn *)(void *)((char *)timer - offsetof(struct conn, timer));
    (void)now_ns;
    if (conn->state == CONN_WAITING)
        act(conn);
    else if (conn->state == CONN_STALLING)
        http_conn_reset(conn);
}

/* Now or later. */
static void answer(struct conn *conn, const struct http_reply *reply, uint64_t now_ns)
{
    conn->reply = *reply;
    if (reply->delay_ns == 0) {
        act(conn);
        return;
    }
    if (reply->body != NULL && reply->body_bytes > 0) {
        conn->kept_body = xmalloc(reply->body_bytes);
        memcpy(conn->kept_body, reply->body, reply->body_bytes);
        conn->reply.body = conn->kept_body;
    }
    conn->state = CONN_WAITING;
    wheel_arm(net_wheel(conn->server->net), &conn->timer, now_ns + reply->delay_ns);
}

static void refuse(struct conn *conn, int status, uint64_t now_ns)
{
    conn->head.close = true;
    answer(conn, &(struct http_reply){.status = status, .content_type = "text/plain"}, now_ns);
}

/* -- the request -- */

static struct http_request make_request(const struct conn *conn, const struct http_head *head,
                                        uint64_t now_ns)
{
    return (struct http_request){
        .method = head->method,
        .path = head->path,
        .content_type = head->content_type,
        .content_encoding = head->content_encoding,
        .body_bytes = (size_t)head->body_bytes,
        .reused = conn->requests > 1,
        .admin = conn->admin,
        .now_ns = now_ns,
    };
}

/* False: more bytes are needed, or the request was refused. */
static bool take_head(struct conn *conn, const uint8_t *bytes, size_t count, uint64_t now_ns)
{
    int status = http_parse_head(bytes, count, &conn->head);
    if (status == 100)
        return false;
    if (status != 0) {
        refuse(conn, status, now_ns);
        return false;
    }
    conn->requests++;
    conn->state = CONN_BODY;
    conn->exchanging = true;
    memset(conn->note, 0, sizeof conn->note);
    struct http_request request = make_request(conn, &conn->head, now_ns);
    conn->order = conn->server->handler.head(conn->server->owner, conn->note, &request);
    if (conn->order.go == HTTP_SWALLOW)
        conn->state = CONN_SWALLOW;
    if (conn->head.expects && conn->order.go != HTTP_SWALLOW)
        net_send(conn->net, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    return true;
}

/* Where a fault wants something in the midst of the body; true: it has happened. */
static bool meet_order(struct conn *conn, size_t body_count, uint64_t now_ns)
{
    size_t whole = conn->head.chunked ? SIZE_MAX : (size_t)conn->head.body_bytes;
    size_t at = conn->order.bytes < whole ? conn->order.bytes : whole;
    if (conn->order.go == HTTP_READ || body_count < at)
        return false;
    if (conn->order.go == HTTP_RESET) {
        http_conn_reset(conn);
    } else {
        conn->state = CONN_STALLING;
        net_hold(conn->net); /* so its end is not seen either: it is bounded here */
        wheel_arm(net_wheel(conn->server->net), &conn->timer, now_ns + STALL_S * NS_PER_S);
    }
    return true;
}

static const uint8_t *join_chunks(struct http_server *server, const uint8_t *bytes, size_t count)
{
    size_t used, body_bytes;
    if (server->scratch_bytes < count) {
        free(server->scratch);
        server->scratch = xmalloc(count);
        server->scratch_bytes = count;
    }
    CHECK(http_parse_chunks(bytes, count, server->scratch, &used, &body_bytes) == 0);
    return server->scratch;
}

/* The bytes of the request when it is whole, else 0. */
static size_t take_body(struct conn *conn, const uint8_t *bytes, size_t count, uint64_t now_ns)
{
    size_t head_bytes = conn->head.bytes, used = (size_t)conn->head.body_bytes;
    size_t body_bytes = used;
    if (meet_order(conn, count - head_bytes, now_ns))
        return 0;
    if (conn->head.chunked) {
        int status =
            http_parse_chunks(bytes + head_bytes, count - head_bytes, NULL, &used, &body_bytes);
        if (status > 100)
            refuse(conn, status, now_ns);
        if (status != 0)
            return 0;
    } else if (count - head_bytes < used) {
        return 0;
    }
    struct http_head again; /* for its spans, as the bytes may have moved */
    CHECK(http_parse_head(bytes, count, &again) == 0);
    struct http_request request = make_request(conn, &again, now_ns);
    request.body = bytes + head_bytes;
    request.body_bytes = body_bytes;
    if (conn->head.chunked)
        request.body = join_chunks(conn->server, bytes + head_bytes, used);
    struct http_reply reply =
        conn->server->handler.request(conn->server->owner, conn->note, &request);
    answer(conn, &reply, now_ns);
    conn->kept = count > head_bytes + used;
    return head_bytes + used;
}

/* -- the net's callbacks -- */

static void *on_opened(void *owner, struct net_conn *net, const struct sockaddr_in *local,
                       uint64_t now_ns)
{
    struct listener *listener = owner;
    struct http_server *server = listener->server;
    struct conn *conn = xcalloc(1, sizeof *conn);
    SSL_CTX *tls = NULL;
    (void)local;
    (void)now_ns;
    *conn = (struct conn){.server = server, .net = net, .admin = listener->admin};
    timer_init(&conn->timer, on_timer);
    conn->next = server->first;
    if (server->first != NULL)
        server->first->previous = conn;
    server->first = conn;
    server->admin_connections += listener->admin;
    enum http_welcome welcome =
        listener->admin ? HTTP_WELCOME : server->handler.connected(server->owner, &tls);
    switch (welcome) {
    case HTTP_WELCOME:
        if (tls != NULL)
            net_start_tls(net, tls);
        break;
    case HTTP_WELCOME_RESET:
        http_conn_reset(conn);
        break;
    case HTTP_WELCOME_SWALLOW:
        conn->state = CONN_SWALLOW;
        break;
    case HTTP_WELCOME_ABORT:
        conn->state = CONN_ABORT;
        break;
    case HTTP_WELCOME_PLAIN_TEXT:
        conn->state = CONN_PLAIN;
        break;
    }
    return conn;
}

/* The next request may have come before the net said that the answer has left. */
static void finish_writing(struct conn *conn)
{
    if (conn->state == CONN_WRITING && net_pending(conn->net) == 0) {
        if (conn->reply.slice_bytes > 0)
            net_slice(conn->net, 0, 0);
        exchange_over(conn, conn->status);
    }
}

void http_conn_settle(struct conn *conn)
{
    finish_writing(conn);
    if (conn->state == CONN_CLOSING && conn->status != 0 && net_pending(conn->net) == 0)
        exchange_over(conn, conn->status);
}

static size_t on_received(void *owner, const uint8_t *bytes, size_t count, uint64_t now_ns)
{
    struct conn *conn = owner;
    finish_writing(conn);
    switch (conn->state) {
    case CONN_HEAD:
        if (!take_head(conn, bytes, count, now_ns))
            return conn->state == CONN_HEAD ? 0 : count;
        return conn->state == CONN_SWALLOW ? count : take_body(conn, bytes, count, now_ns);
    case CONN_BODY:
        return take_body(conn, bytes, count, now_ns);
    case CONN_WAITING:
    case CONN_WRITING:
        conn->kept = true;
        if (count > KEEP_BYTES_MAX)
            net_hold(conn->net);
        return 0;
    case CONN_ABORT:
        http_conn_reset(conn);
        return count;
    case CONN_PLAIN:
        net_send(conn->net, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", 47);
        close_conn(conn);
        return count;
    case CONN_STALLING:
        return 0;
    case CONN_SWALLOW:
    case CONN_CLOSING:
        return count;
    }
    return count;
}

static void on_drained(void *owner, uint64_t now_ns)
{
    struct conn *conn = owner;
    (void)now_ns;
    if (conn->state != CONN_WRITING)
        return;
    finish_writing(conn);
    if (!conn->kept)
        return;
    conn->kept = false;
    net_hold(conn->net); /* so that it comes again */
    net_release(conn->net);
}

static void on_closed(void *owner, int error)
{
    struct conn *conn = owner;
    struct http_server *server = conn->server;
    bool left = error == 0 && (conn->state == CONN_WRITING || conn->state == CONN_CLOSING);
    conn->state = CONN_CLOSING;
    exchange_over(conn, left ? conn->status : 0);
    wheel_cancel(net_wheel(server->net), &conn->timer);
    if (conn->previous != NULL)
        conn->previous->next = conn->next;
    else
        server->first = conn->next;
    if (conn->next != NULL)
        conn->next->previous = conn->previous;
    free(conn);
}

const struct net_handler http_conn_callbacks = {
    .opened = on_opened,
    .received = on_received,
    .drained = on_drained,
    .closed = on_closed,
};
