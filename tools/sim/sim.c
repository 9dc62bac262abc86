/* SPDX-License-Identifier: Apache-2.0 */
/* The process: what its threads share, and the threads. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "tools/sim/serve.h"

/* 2000-01-01 in µs since 1970-01-01. */
static const int64_t postgres_epoch_us = 946684800ll * 1000000;

enum {
    PORT_TRIES = 20,
    SPARE_DESCRIPTORS = 128,
    CONNECTIONS_PER_SERVER = 4, /* two of a collector's, and some of those who look on */
    CONNECTIONS_MIN = 8192,
};
_Static_assert(SIM_SERVERS_MAX *CONNECTIONS_PER_SERVER + CONNECTIONS_MIN < 1 << 24,
               "a net has so many places");

/* -- TLS -- */

/* sslnegotiation=direct demands it; others do not ask. */
static int choose_alpn(SSL *tls, const unsigned char **out, unsigned char *out_bytes,
                       const unsigned char *offered, unsigned offered_bytes, void *owner)
{
    (void)tls;
    (void)owner;
    static const unsigned char ours[] = "\x0apostgresql";
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, out_bytes, ours, sizeof ours - 1, offered, offered_bytes) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static bool write_file(const char *path, const char *text, struct error *error)
{
    FILE *file = fopen(path, "we");
    bool good = file != NULL && fputs(text, file) >= 0;
    if (file != NULL && fclose(file) != 0)
        good = false;
    return good || error_set(error, "cannot write %s: %s", path, strerror(errno));
}

static bool open_tls(struct sim *sim, struct error *error)
{
    const struct sim_settings *settings = &sim->settings;
    char *pem = NULL;
    if (!settings->tls)
        return true;
    if (!net_tls_context(&sim->tls, settings->cert_file, settings->key_file, &pem, error))
        return false;
    SSL_CTX_set_alpn_select_cb(sim->tls, choose_alpn, NULL);
    bool good = settings->ca_out == NULL || pem == NULL || write_file(settings->ca_out, pem, error);
    free(pem);
    return good;
}

/* -- opening -- */

/* The first line. */
static bool read_password(const char *path, char password[AUTH_PASSWORD_BYTES_MAX],
                          struct error *error)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return error_set(error, "password file %s: %s", path, strerror(errno));
    bool good = fgets(password, AUTH_PASSWORD_BYTES_MAX, file) != NULL;
    fclose(file);
    if (!good)
        return error_set(error, "password file %s is empty: its first line is the password", path);
    password[strcspn(password, "\r\n")] = 0;
    return true;
}

/* How many steps a server has depends on the shape alone, not on whose book it is. */
static struct fleet *make_fleet(const struct sim_settings *settings, struct sim_recordings *given,
                                int64_t start_us)
{
    uint32_t step_counts[SIM_RECORDINGS_MAX];
    CHECK(given->count > 0 && given->count <= SIM_RECORDINGS_MAX);
    for (uint32_t i = 0; i < given->count; i++) {
        struct form_book *book = form_book_create(given->recordings[i], &settings->shape);
        step_counts[i] = form_book_indexes(book);
        form_book_destroy(&book);
    }
    const struct fleet_parts parts = {given->recordings, given->weights, step_counts, given->count};
    return fleet_create(settings->servers, &parts, start_us);
}

bool sim_open(struct sim *sim, const struct sim_settings *settings, struct sim_recordings *given,
              struct error *error)
{
    char password[AUTH_PASSWORD_BYTES_MAX] = "";
    *sim = (struct sim){.settings = *settings, .started_ns = clock_monotonic_ns()};
    int64_t wall_us = (int64_t)(clock_wall_ns() / NS_PER_US) - postgres_epoch_us;
    sim->wall_offset_us = wall_us - (int64_t)(sim->started_ns / NS_PER_US);
    sim->fleet = make_fleet(settings, given, wall_us);
    if (settings->password_file != NULL && !read_password(settings->password_file, password, error))
        return false;
    bool good = auth_init(&sim->auth, settings->auth, password, error) && open_tls(sim, error);
    explicit_bzero(password, sizeof password);
    struct script *script = NULL;
    if (good && settings->script_file != NULL) {
        good = script_read_file(&script, settings->script_file, sim->started_ns, error);
        atomic_store(&sim->script, script);
    }
    if (!good)
        return false;
    sim->threads = xcalloc(settings->threads, sizeof *sim->threads);
    for (uint32_t i = 0; i < settings->threads; i++)
        serve_init(&sim->threads[i], sim, i);
    return true;
}

void sim_adopt(struct sim *sim, struct script *script)
{
    atomic_store_explicit(&sim->script, script, memory_order_release);
}

/* -- listening -- */

/* As many descriptors as a fleet may need, or what there is; net_create() checks its part. */
static uint64_t raise_descriptors(uint64_t wanted)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    if (limit.rlim_cur >= wanted)
        return limit.rlim_cur;
    struct rlimit raised = {wanted, limit.rlim_max > wanted ? limit.rlim_max : wanted};
    if (setrlimit(RLIMIT_NOFILE, &raised) != 0) { /* not root, or more than the kernel's nr_open */
        raised.rlim_cur = raised.rlim_max = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &raised);
    }
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    return limit.rlim_cur;
}

/* Of each thread: all connections fit, wherever they land. */
static uint32_t connections_max(const struct sim *sim)
{
    const struct sim_settings *settings = &sim->settings;
    uint64_t listeners = settings->by == BY_PORT ? settings->servers : 1;
    uint64_t other = SPARE_DESCRIPTORS + listeners * settings->threads;
    uint64_t wanted = (uint64_t)settings->servers * CONNECTIONS_PER_SERVER + CONNECTIONS_MIN;
    uint64_t open = raise_descriptors(wanted + other);
    uint64_t most = open > other + SPARE_DESCRIPTORS ? open - other : SPARE_DESCRIPTORS;
    return most < wanted ? (uint32_t)most : (uint32_t)wanted;
}

static bool listen_at(struct serve *serve, uint16_t port, uint32_t server, uint16_t *ret_port,
                      struct error *error)
{
    const struct sim_settings *settings = &serve->sim->settings;
    struct net_place place = {
        .host = settings->by == BY_ADDRESS ? NULL : settings->host,
        .port = port,
        .shared = settings->threads > 1,
    };
    struct listener *listener = &serve->listeners[server];
    *listener = (struct listener){.serve = serve, .server = server};
    return net_listen(serve->net, &place, &session_handler, listener, ret_port, error);
}

/* All of a thread's listeners; port 0 is a free one, whose successors must be free too. */
static bool listen_all(struct serve *serve, uint16_t port, uint16_t *ret_port, struct error *error)
{
    uint32_t count = serve->listener_count;
    if (!listen_at(serve, port, 0, ret_port, error))
        return false;
    if (*ret_port + count - 1 > UINT16_MAX)
        return error_set(error, "%u servers by port do not fit above port %u: choose a lower one",
                         count, *ret_port);
    for (uint32_t i = 1; i < count; i++)
        if (!listen_at(serve, (uint16_t)(*ret_port + i), i, NULL, error))
            return false;
    return true;
}

static bool open_net(struct serve *serve, uint16_t port, uint16_t *ret_port, struct error *error)
{
    struct sim *sim = serve->sim;
    serve->listener_count = sim->settings.by == BY_PORT ? sim->settings.servers : 1;
    int tries = port == 0 && serve->listener_count > 1 ? PORT_TRIES : 1;
    for (int i = 0; i < tries; i++) {
        sim->room = connections_max(sim);
        if (!net_create(&serve->net, sim->settings.loop, sim->room, error))
            return false;
        serve->wheel = net_wheel(serve->net);
        free(serve->listeners);
        serve->listeners = xcalloc(serve->listener_count, sizeof *serve->listeners);
        if (listen_all(serve, port, ret_port, error))
            return true;
        net_destroy(&serve->net);
    }
    return false;
}

/* -- threads -- */

static void *run(void *owner)
{
    struct serve *serve = owner;
    while (!atomic_load_explicit(&serve->sim->stopping, memory_order_relaxed))
        serve_turn(serve);
    return NULL;
}

bool sim_start(struct sim *sim, uint16_t *ret_port, struct error *error)
{
    uint16_t port = sim->settings.port;
    for (uint32_t i = 0; i < sim->settings.threads; i++) {
        if (!open_net(&sim->threads[i], port, &port, error))
            return false;
    }
    struct serve *first = &sim->threads[0];
    if (sim->settings.admin_path != NULL && !admin_listen(first, sim->settings.admin_path, error))
        return false;
    *ret_port = port;
    for (uint32_t i = 0; i < sim->settings.threads; i++) {
        struct serve *serve = &sim->threads[i];
        if (atomic_load(&sim->script) != NULL)
            serve_adopt(serve, clock_monotonic_ns());
        int failed = pthread_create(&serve->thread, NULL, run, serve);
        if (failed != 0)
            return error_set(error, "cannot start a thread: %s", strerror(failed));
        serve->running = true;
    }
    return true;
}

void sim_stop(struct sim *sim)
{
    atomic_store(&sim->stopping, true);
    for (uint32_t i = 0; sim->threads != NULL && i < sim->settings.threads; i++) {
        if (sim->threads[i].running)
            pthread_join(sim->threads[i].thread, NULL);
        sim->threads[i].running = false;
    }
}

void sim_close(struct sim *sim)
{
    sim_stop(sim);
    for (uint32_t i = 0; sim->threads != NULL && i < sim->settings.threads; i++) {
        net_destroy(&sim->threads[i].net);
        serve_fini(&sim->threads[i]);
    }
    free(sim->threads);
    struct script *script = atomic_load(&sim->script);
    script_destroy(&script);
    SSL_CTX_free(sim->tls);
    fleet_destroy(&sim->fleet);
    explicit_bzero(&sim->auth, sizeof sim->auth);
}
