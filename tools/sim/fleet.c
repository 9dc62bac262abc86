/* SPDX-License-Identifier: Apache-2.0 */
/* 100,000 servers must be cheap: eight bytes each until one is connected to, then a life and four
 * bytes per query and database. Lives are never freed before the fleet is, since sessions of an
 * earlier one may still be ending. */
#include "tools/sim/fleet.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/memory.h"

enum { DATABASES_MAX = 1 << 20, DATABASE_BUCKETS = 4096 };

struct database {
    struct database *next;
    char name[];
};

struct fleet {
    pthread_mutex_t lock;
    uint32_t servers, recording_count, weight_sum, database_count;
    struct recording **recordings;
    uint32_t *weights, *step_counts;
    int64_t start_us;
    _Atomic(struct life *) *lives;
    struct database *databases[DATABASE_BUCKETS];
};

static uint32_t *copy_numbers(const uint32_t *numbers, uint32_t count)
{
    uint32_t *copy = xcalloc(count, sizeof *copy);
    memcpy(copy, numbers, count * sizeof *copy);
    return copy;
}

struct fleet *fleet_create(uint32_t servers, const struct fleet_parts *parts, int64_t start_us)
{
    CHECK(servers > 0 && parts->count > 0);
    struct fleet *fleet = xcalloc(1, sizeof *fleet);
    pthread_mutex_init(&fleet->lock, NULL);
    fleet->servers = servers;
    fleet->recording_count = parts->count;
    fleet->start_us = start_us;
    fleet->recordings = xcalloc(parts->count, sizeof *fleet->recordings);
    fleet->lives = xcalloc(servers, sizeof *fleet->lives);
    fleet->weights = copy_numbers(parts->weights, parts->count);
    fleet->step_counts = copy_numbers(parts->step_counts, parts->count);
    for (uint32_t i = 0; i < parts->count; i++) {
        fleet->recordings[i] = parts->recordings[i];
        fleet->weight_sum += parts->weights[i];
    }
    CHECK(fleet->weight_sum > 0);
    return fleet;
}

static void free_lives(struct life *life)
{
    while (life != NULL) {
        struct life *before = life->before;
        free(life);
        life = before;
    }
}

void fleet_destroy(struct fleet **fleet_place)
{
    struct fleet *fleet = *fleet_place;
    if (fleet == NULL)
        return;
    for (uint32_t i = 0; i < fleet->servers; i++)
        free_lives(atomic_load(&fleet->lives[i]));
    for (uint32_t i = 0; i < DATABASE_BUCKETS; i++) {
        while (fleet->databases[i] != NULL) {
            struct database *database = fleet->databases[i];
            fleet->databases[i] = database->next;
            free(database);
        }
    }
    for (uint32_t i = 0; i < fleet->recording_count; i++)
        recording_destroy(&fleet->recordings[i]);
    pthread_mutex_destroy(&fleet->lock);
    free(fleet->recordings);
    free(fleet->weights);
    free(fleet->step_counts);
    free(fleet->lives);
    free(fleet);
    *fleet_place = NULL;
}

uint32_t fleet_servers(const struct fleet *fleet)
{
    return fleet->servers;
}

uint32_t fleet_recordings(const struct fleet *fleet)
{
    return fleet->recording_count;
}

const struct recording *fleet_recording(const struct fleet *fleet, uint32_t index)
{
    CHECK(index < fleet->recording_count);
    return fleet->recordings[index];
}

uint32_t fleet_recording_of(const struct fleet *fleet, uint32_t server)
{
    uint32_t place = server % fleet->weight_sum, index = 0;
    while (place >= fleet->weights[index])
        place -= fleet->weights[index++];
    return index;
}

static uint32_t bucket_of(const char *name)
{
    uint32_t hash = 2166136261u;
    for (; *name != 0; name++)
        hash = (hash ^ (uint8_t)*name) * 16777619u;
    return hash % DATABASE_BUCKETS;
}

static struct database *find_database(struct fleet *fleet, const char *name)
{
    struct database **bucket = &fleet->databases[bucket_of(name)];
    for (struct database *database = *bucket; database != NULL; database = database->next)
        if (strcmp(database->name, name) == 0)
            return database;
    if (fleet->database_count == DATABASES_MAX)
        return NULL;
    size_t bytes = strlen(name) + 1;
    struct database *database = xmalloc(sizeof *database + bytes);
    memcpy(database->name, name, bytes);
    fleet->database_count++;
    database->next = *bucket;
    *bucket = database;
    return database;
}

const char *fleet_database(struct fleet *fleet, const char *name)
{
    pthread_mutex_lock(&fleet->lock);
    const struct database *database = find_database(fleet, name);
    pthread_mutex_unlock(&fleet->lock);
    return database == NULL ? NULL : database->name;
}

static struct life *begin_life(struct fleet *fleet, uint32_t server, int64_t start_us,
                               bool recovery)
{
    uint32_t count = fleet->step_counts[fleet_recording_of(fleet, server)];
    struct life *life = xcalloc(1, sizeof *life + count * sizeof life->steps[0]);
    life->count = count;
    life->before = atomic_load(&fleet->lives[server]);
    life->start_us = start_us;
    life->recovery = recovery;
    atomic_store(&fleet->lives[server], life);
    return life;
}

static struct life *first_life(struct fleet *fleet, uint32_t server)
{
    struct life *life = atomic_load(&fleet->lives[server]);
    if (life != NULL)
        return life;
    const struct recording *recording = fleet->recordings[fleet_recording_of(fleet, server)];
    return begin_life(fleet, server, fleet->start_us, recording_recovery(recording));
}

struct life *fleet_life(struct fleet *fleet, uint32_t server)
{
    CHECK(server < fleet->servers);
    struct life *life = atomic_load(&fleet->lives[server]);
    if (life != NULL)
        return life;
    pthread_mutex_lock(&fleet->lock);
    life = first_life(fleet, server);
    pthread_mutex_unlock(&fleet->lock);
    return life;
}

void fleet_fail_over(struct fleet *fleet, uint32_t server, int64_t start_us, const bool *recovery)
{
    CHECK(server < fleet->servers);
    pthread_mutex_lock(&fleet->lock);
    const struct life *life = first_life(fleet, server);
    begin_life(fleet, server, start_us, recovery != NULL ? *recovery : life->recovery);
    pthread_mutex_unlock(&fleet->lock);
}
