/* SPDX-License-Identifier: Apache-2.0 */
/* The admin socket: a client sends a script or "report", ends its half, and gets JSON. On the first
 * thread's net. An answer to a script comes when all threads go by it. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "tools/sim/serve.h"

enum { REQUEST_BYTES_MAX = 1 << 20, POLL_MS = 1 };

struct request {
    struct serve *serve;
    struct net_conn *conn;
    char *text;
    size_t bytes;
    char *answer;        /* once made */
    uint32_t generation; /* the script that all threads must have first */
    struct timer timer;
};

static char *json_answer(json_t *object)
{
    char *text = json_dumps(object, 0);
    CHECK(text != NULL);
    json_decref(object);
    return text;
}

static char *adopt(struct sim *sim, const char *text, size_t bytes, uint64_t now_ns)
{
    struct error error = {0};
    struct script *script, *before = atomic_load(&sim->script);
    if (!script_read(&script, "admin", text, bytes, before, now_ns, &error))
        return json_answer(json_pack("{s:s}", "error", error.text));
    sim_adopt(sim, script);
    return json_answer(json_pack("{s:b, s:i}", "ok", 1, "rules", (int)script->count));
}

char *admin_answer(struct sim *sim, const char *text, size_t bytes, uint64_t now_ns)
{
    while (bytes > 0 && strchr(" \r\n\t", text[bytes - 1]) != NULL)
        bytes--;
    if (bytes == 6 && memcmp(text, "report", 6) == 0)
        return report_make(sim);
    if (bytes == 0)
        return json_answer(
            json_pack("{s:s}", "error", "send \"report\" or a script, as [{latency: 5ms}]"));
    return adopt(sim, text, bytes, now_ns);
}

static void *request_opened(void *owner, struct net_conn *conn, const struct sockaddr_in *local,
                            uint64_t now_ns)
{
    (void)local;
    (void)now_ns;
    struct request *request = xcalloc(1, sizeof *request);
    request->serve = owner;
    request->conn = conn;
    return request;
}

static size_t request_received(void *owner, const uint8_t *bytes, size_t count, uint64_t now_ns)
{
    (void)now_ns;
    struct request *request = owner;
    if (request->bytes + count > REQUEST_BYTES_MAX || request->answer != NULL) {
        net_reset(request->conn);
        return count;
    }
    request->text = xrealloc(request->text, request->bytes + count);
    memcpy(request->text + request->bytes, bytes, count);
    request->bytes += count;
    return count;
}

static bool all_go_by(const struct sim *sim, uint32_t generation)
{
    for (uint32_t i = 0; i < sim->settings.threads; i++)
        if (atomic_load_explicit(&sim->threads[i].generation, memory_order_acquire) < generation)
            return false;
    return true;
}

static void answer(struct request *request, uint64_t now_ns)
{
    if (!all_go_by(request->serve->sim, request->generation)) {
        wheel_arm(request->serve->wheel, &request->timer, now_ns + POLL_MS * NS_PER_MS);
        return;
    }
    net_send(request->conn, request->answer, strlen(request->answer));
    net_send(request->conn, "\n", 1);
    net_close(request->conn);
}

static void on_timer(struct timer *timer, uint64_t now_ns)
{
    answer((struct request *)(void *)((char *)timer - offsetof(struct request, timer)), now_ns);
}

static void request_ended(void *owner, uint64_t now_ns)
{
    struct request *request = owner;
    struct sim *sim = request->serve->sim;
    timer_init(&request->timer, on_timer);
    request->answer = admin_answer(sim, request->text, request->bytes, now_ns);
    const struct script *script = atomic_load(&sim->script);
    request->generation = script == NULL ? 0 : script->generation;
    serve_adopt(request->serve, now_ns);
    answer(request, now_ns);
}

static void request_closed(void *owner, int error)
{
    (void)error;
    struct request *request = owner;
    if (request->timer.fn != NULL)
        wheel_cancel(request->serve->wheel, &request->timer);
    free(request->text);
    free(request->answer);
    free(request);
}

static const struct net_handler handler = {
    .opened = request_opened,
    .received = request_received,
    .ended = request_ended,
    .closed = request_closed,
};

bool admin_listen(struct serve *serve, const char *path, struct error *error)
{
    char host[256];
    if ((size_t)snprintf(host, sizeof host, "unix:%s", path) >= sizeof host)
        return error_set(error, "--admin %s: the path is too long", path);
    return net_listen(serve->net, &(struct net_place){.host = host}, &handler, serve, NULL, error);
}
