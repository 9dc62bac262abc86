/* SPDX-License-Identifier: Apache-2.0 */
/* One queue of what is to do for all threads, one list of what is done per shard. Both behind
 * mutexes held for a few instructions; nothing on a point's path goes this way.
 *
 * Invariant: a connection has one owner: the shard, or from handshake_begin() to handshake_take()
 * the handshaker. `owner` is the shard's field: NULL says that nobody waits. */
#include "pg/handshake.h"

#include <libpq-fe.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <pgweir/limits.h>

#include "base/check.h"
#include "base/memory.h"

/* Enough that a busy core's shard goes first, not so much that connecting starves. */
enum { NICE = 5 };

struct handshake {
    struct handshake *next;
    struct handshake_client *client;
    PGconn *connection;
    void *owner;
    PostgresPollingStatusType polled;
};

struct handshake_client {
    struct handshaker *handshaker;
    pthread_mutex_t mutex; /* of what follows */
    void (*wake)(void *wake_owner);
    void *wake_owner;
    struct handshake *first, **last; /* done, oldest first */
};

struct handshaker {
    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t arrived;
    struct handshake *first, **last; /* to do, oldest first */
    bool stop;
    uint32_t thread_count, client_count;
    pthread_t threads[LIMIT_SHARDS];
    struct handshake_client clients[];
};

static struct handshake *await_work(struct handshaker *handshaker)
{
    pthread_mutex_lock(&handshaker->mutex);
    while (handshaker->first == NULL && !handshaker->stop)
        pthread_cond_wait(&handshaker->arrived, &handshaker->mutex);
    struct handshake *handshake = handshaker->stop ? NULL : handshaker->first;
    if (handshake != NULL) {
        handshaker->first = handshake->next;
        if (handshaker->first == NULL)
            handshaker->last = &handshaker->first;
    }
    pthread_mutex_unlock(&handshaker->mutex);
    return handshake;
}

static void give_back(struct handshake *handshake)
{
    struct handshake_client *client = handshake->client;
    handshake->next = NULL;
    pthread_mutex_lock(&client->mutex);
    *client->last = handshake;
    client->last = &handshake->next;
    void (*wake)(void *) = client->wake;
    void *wake_owner = client->wake_owner;
    pthread_mutex_unlock(&client->mutex);
    wake(wake_owner);
}

static void *run(void *argument)
{
    struct handshaker *handshaker = argument;
    pthread_setname_np(pthread_self(), "handshake");
    setpriority(PRIO_PROCESS, (id_t)gettid(), NICE); /* where that is refused they are equals */
    for (;;) {
        struct handshake *handshake = await_work(handshaker);
        if (handshake == NULL)
            return NULL;
        handshake->polled = PQconnectPoll(handshake->connection);
        give_back(handshake);
    }
}

bool handshaker_create(struct handshaker **ret_handshaker, uint32_t thread_count,
                       uint32_t client_count, struct error *error)
{
    CHECK(thread_count > 0 && thread_count <= LIMIT_SHARDS);
    struct handshaker *handshaker =
        xcalloc(1, sizeof *handshaker + client_count * sizeof handshaker->clients[0]);
    pthread_mutex_init(&handshaker->mutex, NULL);
    pthread_cond_init(&handshaker->arrived, NULL);
    handshaker->last = &handshaker->first;
    handshaker->client_count = client_count;
    for (uint32_t i = 0; i < client_count; i++) {
        struct handshake_client *client = &handshaker->clients[i];
        client->handshaker = handshaker;
        client->last = &client->first;
        pthread_mutex_init(&client->mutex, NULL);
    }
    for (; handshaker->thread_count < thread_count; handshaker->thread_count++) {
        int code =
            pthread_create(&handshaker->threads[handshaker->thread_count], NULL, run, handshaker);
        if (code == 0)
            continue;
        handshaker_destroy(&handshaker);
        return error_set(error,
                         "handshakes: no thread: %s; raise the limit of processes (ulimit -u)",
                         strerror(code));
    }
    *ret_handshaker = handshaker;
    return true;
}

void handshaker_stop(struct handshaker *handshaker)
{
    pthread_mutex_lock(&handshaker->mutex);
    handshaker->stop = true;
    pthread_cond_broadcast(&handshaker->arrived);
    pthread_mutex_unlock(&handshaker->mutex);
    for (uint32_t i = 0; i < handshaker->thread_count; i++)
        pthread_join(handshaker->threads[i], NULL);
    handshaker->thread_count = 0;
}

/* Owners are gone by now, but those that keep what they had handed over to the end. */
static void forget(struct handshake *handshake)
{
    while (handshake != NULL) {
        struct handshake *next = handshake->next;
        CHECK(handshake->owner == NULL);
        PQfinish(handshake->connection);
        free(handshake);
        handshake = next;
    }
}

void handshaker_destroy(struct handshaker **handshaker_place)
{
    struct handshaker *handshaker = *handshaker_place;
    if (handshaker == NULL)
        return;
    handshaker_stop(handshaker);
    forget(handshaker->first);
    for (uint32_t i = 0; i < handshaker->client_count; i++) {
        forget(handshaker->clients[i].first);
        pthread_mutex_destroy(&handshaker->clients[i].mutex);
    }
    pthread_cond_destroy(&handshaker->arrived);
    pthread_mutex_destroy(&handshaker->mutex);
    free(handshaker);
    *handshaker_place = NULL;
}

struct handshake_client *handshake_client(struct handshaker *handshaker, uint32_t index,
                                          void (*wake)(void *wake_owner), void *wake_owner)
{
    CHECK(index < handshaker->client_count);
    struct handshake_client *client = &handshaker->clients[index];
    pthread_mutex_lock(&client->mutex);
    client->wake = wake;
    client->wake_owner = wake_owner;
    pthread_mutex_unlock(&client->mutex);
    return client;
}

struct handshake *handshake_begin(struct handshake_client *client, struct pg_conn *connection,
                                  void *owner)
{
    struct handshaker *handshaker = client->handshaker;
    struct handshake *handshake = xmalloc(sizeof *handshake);
    CHECK(owner != NULL);
    *handshake = (struct handshake){.client = client, .connection = connection, .owner = owner};
    pthread_mutex_lock(&handshaker->mutex);
    *handshaker->last = handshake;
    handshaker->last = &handshake->next;
    pthread_cond_signal(&handshaker->arrived);
    pthread_mutex_unlock(&handshaker->mutex);
    return handshake;
}

void handshake_abandon(struct handshake *handshake)
{
    handshake->owner = NULL;
}

void *handshake_take(struct handshake_client *client, int *ret_polled)
{
    for (;;) {
        pthread_mutex_lock(&client->mutex);
        struct handshake *handshake = client->first;
        if (handshake != NULL) {
            client->first = handshake->next;
            if (client->first == NULL)
                client->last = &client->first;
        }
        pthread_mutex_unlock(&client->mutex);
        if (handshake == NULL)
            return NULL;
        void *owner = handshake->owner;
        *ret_polled = (int)handshake->polled;
        if (owner == NULL)
            PQfinish(handshake->connection);
        free(handshake);
        if (owner != NULL)
            return owner;
    }
}
