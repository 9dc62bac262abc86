/* SPDX-License-Identifier: Apache-2.0 */
/* Runs c-ares on one thread: any number of look-ups at once, so a dead name server holds up
 * nobody's name but its own. Shards leave questions in a lane and take answers from another; a lane
 * is an array behind a mutex that is held for one copy, and nothing on a point's path goes this
 * way.
 *
 * The cache belongs to the thread alone. A name is asked for once, however many wait for it; an
 * answer is kept for a minute; the last good one is given for as long as look-ups fail.
 *
 * Invariant: a client never has more than LANE_MAX questions open, so an answer always has room. */
#include "pg/resolver.h"

#include <arpa/inet.h>
#include <ares.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <pgweir/limits.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"

enum {
    LANE_MAX = 256,
    HOST_BYTES = 256, /* RFC 1035: 253 characters */
    BUCKETS = 4096,
    TIMEOUT_MS = 2000,
    TRIES = 3,
};

static const uint64_t keep_good_ns = 60 * NS_PER_S;
static const uint64_t keep_bad_ns = 2 * NS_PER_S;

/* Name servers instead of those of /etc/resolv.conf ("127.0.0.1:5353"); tests set it. */
static const char *name_servers;

struct question {
    uint64_t ticket;
    char host[HOST_BYTES];
};

struct resolver_client {
    struct resolver *resolver;
    pthread_mutex_t mutex; /* of what follows */
    void (*wake)(void *wake_owner);
    void *wake_owner;
    uint32_t question_head, question_count;
    uint32_t answer_head, answer_count;
    uint32_t open; /* asked, answer not taken yet */
    struct question questions[LANE_MAX];
    struct resolver_answer answers[LANE_MAX];
    bool answered; /* the thread's: wake at the end of the turn */
};

struct waiter {
    struct waiter *next;
    struct resolver_client *client;
    uint64_t ticket;
};

/* One name; the thread's. */
struct name {
    struct name *next;
    struct resolver *resolver;
    struct waiter *waiters;
    bool asking;
    uint64_t expires_ns;
    uint32_t address_count; /* the last good answer */
    char addresses[RESOLVER_ADDRESSES_MAX][RESOLVER_ADDRESS_BYTES];
    char error[128]; /* of the last look-up, "" when it went well */
    char host[];
};

struct resolver {
    pthread_t thread;
    int wake_fd;
    atomic_bool stop;
    ares_channel channel;
    struct name *buckets[BUCKETS];
    uint32_t name_count;
    uint64_t now_ns;
    uint32_t client_count;
    struct resolver_client clients[];
};

/* --- the lanes --- */

static void answer(struct resolver_client *client, uint64_t ticket, const struct name *name)
{
    pthread_mutex_lock(&client->mutex);
    CHECK(client->answer_count < LANE_MAX);
    uint32_t at = (client->answer_head + client->answer_count++) % LANE_MAX;
    struct resolver_answer *to = &client->answers[at];
    *to = (struct resolver_answer){.ticket = ticket, .address_count = name->address_count};
    memcpy(to->addresses, name->addresses, sizeof to->addresses);
    memcpy(to->error, name->error, sizeof to->error);
    client->answered = true;
    pthread_mutex_unlock(&client->mutex);
}

static bool take_question(struct resolver_client *client, struct question *ret_question)
{
    pthread_mutex_lock(&client->mutex);
    bool any = client->question_count > 0;
    if (any) {
        *ret_question = client->questions[client->question_head];
        client->question_head = (client->question_head + 1) % LANE_MAX;
        client->question_count--;
    }
    pthread_mutex_unlock(&client->mutex);
    return any;
}

bool resolver_ask(struct resolver_client *client, uint64_t ticket, const char *host)
{
    pthread_mutex_lock(&client->mutex);
    bool room = client->open < LANE_MAX;
    if (room) {
        uint32_t at = (client->question_head + client->question_count++) % LANE_MAX;
        client->open++;
        client->questions[at].ticket = ticket;
        snprintf(client->questions[at].host, HOST_BYTES, "%s", host);
    }
    pthread_mutex_unlock(&client->mutex);
    if (room)
        eventfd_write(client->resolver->wake_fd, 1);
    return room;
}

bool resolver_take(struct resolver_client *client, struct resolver_answer *ret_answer)
{
    pthread_mutex_lock(&client->mutex);
    bool any = client->answer_count > 0;
    if (any) {
        *ret_answer = client->answers[client->answer_head];
        client->answer_head = (client->answer_head + 1) % LANE_MAX;
        client->answer_count--;
        client->open--;
    }
    pthread_mutex_unlock(&client->mutex);
    return any;
}

/* --- the thread --- */

static void answer_waiters(struct name *name)
{
    while (name->waiters != NULL) {
        struct waiter *waiter = name->waiters;
        name->waiters = waiter->next;
        answer(waiter->client, waiter->ticket, name);
        free(waiter);
    }
}

static bool write_address(const struct ares_addrinfo_node *node, char *ret_address)
{
    const void *bytes;
    if (node->ai_family == AF_INET)
        bytes = &((const struct sockaddr_in *)(const void *)node->ai_addr)->sin_addr;
    else if (node->ai_family == AF_INET6)
        bytes = &((const struct sockaddr_in6 *)(const void *)node->ai_addr)->sin6_addr;
    else
        return false;
    return inet_ntop(node->ai_family, bytes, ret_address, RESOLVER_ADDRESS_BYTES) != NULL;
}

static void take_addresses(struct name *name, const struct ares_addrinfo *found)
{
    uint32_t count = 0;
    for (const struct ares_addrinfo_node *node = found->nodes;
         node != NULL && count < RESOLVER_ADDRESSES_MAX; node = node->ai_next)
        count += write_address(node, name->addresses[count]);
    if (count > 0)
        name->address_count = count;
}

static void on_found(void *owner, int status, int timeouts, struct ares_addrinfo *found)
{
    (void)timeouts;
    struct name *name = owner;
    name->asking = false;
    bool good = status == ARES_SUCCESS && found != NULL && found->nodes != NULL;
    if (good)
        take_addresses(name, found);
    if (found != NULL)
        ares_freeaddrinfo(found);
    if (atomic_load(&name->resolver->stop))
        return;
    snprintf(name->error, sizeof name->error, "%s",
             good ? "" : ares_strerror(status == ARES_SUCCESS ? ARES_ENODATA : status));
    name->expires_ns = name->resolver->now_ns + (good ? keep_good_ns : keep_bad_ns);
    answer_waiters(name);
}

static struct name *find_name(struct resolver *resolver, const char *host)
{
    uint64_t hash = 14695981039346656037ull; /* FNV-1a */
    for (const char *at = host; *at != 0; at++)
        hash = (hash ^ (unsigned char)*at) * 1099511628211ull;
    struct name **bucket = &resolver->buckets[hash % BUCKETS];
    for (struct name *name = *bucket; name != NULL; name = name->next)
        if (strcmp(name->host, host) == 0)
            return name;
    if (resolver->name_count >= LIMIT_TARGETS)
        return NULL;
    struct name *name = xcalloc(1, sizeof *name + strlen(host) + 1);
    strcpy(name->host, host);
    name->resolver = resolver;
    name->next = *bucket;
    *bucket = name;
    resolver->name_count++;
    return name;
}

static void ask(struct resolver *resolver, struct resolver_client *client,
                const struct question *question)
{
    struct name *name = find_name(resolver, question->host);
    if (name == NULL) {
        static const struct name none = {.error = "too many host names"};
        answer(client, question->ticket, &none);
        return;
    }
    if (!name->asking && resolver->now_ns < name->expires_ns) {
        answer(client, question->ticket, name);
        return;
    }
    struct waiter *waiter = xmalloc(sizeof *waiter);
    *waiter = (struct waiter){.next = name->waiters, .client = client, .ticket = question->ticket};
    name->waiters = waiter;
    if (name->asking)
        return;
    name->asking = true;
    struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    ares_getaddrinfo(resolver->channel, name->host, NULL, &hints, on_found, name);
}

static void wake_answered(struct resolver *resolver)
{
    for (uint32_t i = 0; i < resolver->client_count; i++) {
        struct resolver_client *client = &resolver->clients[i];
        pthread_mutex_lock(&client->mutex);
        void (*wake)(void *) = client->answered ? client->wake : NULL;
        void *owner = client->wake_owner;
        client->answered = false;
        pthread_mutex_unlock(&client->mutex);
        if (wake != NULL)
            wake(owner);
    }
}

/* Waits for the sockets of c-ares and for questions, and lets c-ares work. */
static void turn(struct resolver *resolver)
{
    ares_socket_t sockets[ARES_GETSOCK_MAXNUM];
    struct pollfd polls[ARES_GETSOCK_MAXNUM + 1];
    /* The library's own macros shift a signed 1 into the sign. */
    unsigned bits = (unsigned)ares_getsock(resolver->channel, sockets, ARES_GETSOCK_MAXNUM);
    nfds_t count = 0;
    for (int i = 0; i < ARES_GETSOCK_MAXNUM; i++) {
        bool in = (bits >> i & 1) != 0, out = (bits >> (i + ARES_GETSOCK_MAXNUM) & 1) != 0;
        short events = (short)((in ? POLLIN : 0) | (out ? POLLOUT : 0));
        if (events != 0)
            polls[count++] = (struct pollfd){.fd = sockets[i], .events = events};
    }
    polls[count] = (struct pollfd){.fd = resolver->wake_fd, .events = POLLIN};
    struct timeval due; /* of the queries under way; without any only a question wakes us */
    const struct timeval *wait = ares_timeout(resolver->channel, NULL, &due);
    int wait_ms = wait != NULL ? (int)(wait->tv_sec * 1000 + (wait->tv_usec + 999) / 1000) : -1;
    int ready = poll(polls, count + 1, wait_ms);
    resolver->now_ns = clock_monotonic_ns();
    ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    for (nfds_t i = 0; ready > 0 && i < count; i++) {
        bool in = (polls[i].revents & (POLLIN | POLLERR | POLLHUP)) != 0;
        bool out = (polls[i].revents & (POLLOUT | POLLERR)) != 0;
        if (in || out)
            ares_process_fd(resolver->channel, in ? polls[i].fd : ARES_SOCKET_BAD,
                            out ? polls[i].fd : ARES_SOCKET_BAD);
    }
    eventfd_t drained;
    if (ready > 0 && polls[count].revents != 0)
        eventfd_read(resolver->wake_fd, &drained);
    struct question question;
    for (uint32_t i = 0; i < resolver->client_count; i++)
        while (take_question(&resolver->clients[i], &question))
            ask(resolver, &resolver->clients[i], &question);
    wake_answered(resolver);
}

static void *run(void *owner)
{
    struct resolver *resolver = owner;
    pthread_setname_np(pthread_self(), "resolver");
    while (!atomic_load(&resolver->stop))
        turn(resolver);
    return NULL;
}

/* --- life --- */

static bool open_channel(struct resolver *resolver, struct error *error)
{
    struct ares_options options = {.timeout = TIMEOUT_MS, .tries = TRIES};
    int status = ares_library_init(ARES_LIB_INIT_ALL);
    if (status == ARES_SUCCESS)
        status =
            ares_init_options(&resolver->channel, &options, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES);
    if (status == ARES_SUCCESS && name_servers != NULL)
        status = ares_set_servers_ports_csv(resolver->channel, name_servers);
    if (status == ARES_SUCCESS)
        return true;
    return error_set(error, "name resolver: %s: check /etc/resolv.conf", ares_strerror(status));
}

bool resolver_create(struct resolver **ret_resolver, uint32_t client_count, struct error *error)
{
    struct resolver *resolver =
        xcalloc(1, sizeof *resolver + client_count * sizeof resolver->clients[0]);
    resolver->client_count = client_count;
    for (uint32_t i = 0; i < client_count; i++) {
        resolver->clients[i].resolver = resolver;
        pthread_mutex_init(&resolver->clients[i].mutex, NULL);
    }
    resolver->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (resolver->wake_fd < 0) {
        error_set(error, "name resolver: eventfd: %s: raise LimitNOFILE", strerror(errno));
        goto fail;
    }
    if (!open_channel(resolver, error))
        goto fail;
    int status = pthread_create(&resolver->thread, NULL, run, resolver);
    if (status == 0) {
        *ret_resolver = resolver;
        return true;
    }
    error_set(error, "name resolver: thread: %s", strerror(status));
fail:
    resolver_destroy(&resolver);
    return false;
}

void resolver_destroy(struct resolver **resolver)
{
    struct resolver *r = *resolver;
    if (r == NULL)
        return;
    atomic_store(&r->stop, true);
    if (r->thread != 0) {
        eventfd_write(r->wake_fd, 1);
        pthread_join(r->thread, NULL);
    }
    if (r->channel != NULL)
        ares_destroy(r->channel);
    ares_library_cleanup();
    if (r->wake_fd >= 0)
        close(r->wake_fd);
    for (uint32_t i = 0; i < BUCKETS; i++) {
        while (r->buckets[i] != NULL) {
            struct name *name = r->buckets[i];
            r->buckets[i] = name->next;
            while (name->waiters != NULL) {
                struct waiter *waiter = name->waiters;
                name->waiters = waiter->next;
                free(waiter);
            }
            free(name);
        }
    }
    for (uint32_t i = 0; i < r->client_count; i++)
        pthread_mutex_destroy(&r->clients[i].mutex);
    free(r);
    *resolver = NULL;
}

struct resolver_client *resolver_client(struct resolver *resolver, uint32_t index,
                                        void (*wake)(void *wake_owner), void *wake_owner)
{
    CHECK(index < resolver->client_count);
    struct resolver_client *client = &resolver->clients[index];
    pthread_mutex_lock(&client->mutex);
    client->wake = wake;
    client->wake_owner = wake_owner;
    pthread_mutex_unlock(&client->mutex);
    return client;
}
