/* SPDX-License-Identifier: Apache-2.0 */
#include "rig.h"

#include <dirent.h>
#include <libpq-fe.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"

static const struct plan *plan_for(void *owner, const struct capabilities *capabilities,
                                   struct error *error)
{
    struct rig *rig = owner;
    if (rig->unfit != NULL) {
        error_set(error, "%s", rig->unfit);
        return NULL;
    }
    struct plan *plan = capabilities->recovery ? &rig->standby_plan : &rig->plan;
    plan->capabilities = *capabilities;
    return plan;
}

static void identified(void *owner, const struct plan *plan, uint64_t server_start_ns)
{
    struct rig *rig = owner;
    rig->identified++;
    rig->identified_plan = plan;
    rig->server_start_ns = server_start_ns;
}

static void wake(void *owner)
{
    loop_wake(owner);
}

bool rig_init(struct rig *rig, enum loop_kind kind)
{
    *rig = (struct rig){0};
    struct error error;
    if (!loop_create(&rig->loop, kind, 64, &error))
        return false;
    rig->wheel = wheel_create(clock_monotonic_ns());
    CHECK(resolver_create(&rig->resolver, 1, &error));
    CHECK(handshaker_create(&rig->handshaker, 1, 1, &error));
    CHECK(catalog_load(&rig->catalog, NULL, 0, &error));
    rig->random.state = 1;
    rig->budget.connections_max = 100;
    rig->budget.connects_in_flight_max = 100;
    rig->context = (struct pg_context){
        .loop = rig->loop,
        .wheel = rig->wheel,
        .resolver = resolver_client(rig->resolver, 0, wake, rig->loop),
        .handshakes = handshake_client(rig->handshaker, 0, wake, rig->loop),
        .telemetry = telemetry_open(TELEMETRY_SHARD, 1,
                                    &(struct telemetry_label){.key = "shard", .value = "0"}),
        .random = &rig->random,
        .budget = &rig->budget,
    };
    rig->server = (struct server_settings){.tls.insecure = true, .connections = 2};
    rig->session = (struct session_settings){
        .connect_timeout_ns = 20 * NS_PER_S,
        .statement_timeout_ns = 5 * NS_PER_S,
        .lock_timeout_ns = 100 * NS_PER_MS,
        .idle_in_transaction_session_timeout_ns = 10 * NS_PER_S,
        .client_connection_check_interval_ns = NS_PER_S,
        .connection_max_age_ns = 3600 * NS_PER_S,
        .backoff_initial_ns = 100 * NS_PER_MS,
        .backoff_max_ns = 5 * NS_PER_S,
    };
    return true;
}

void rig_fini(struct rig *rig)
{
    pool_destroy(&rig->pool);
    CHECK(atomic_load(&rig->budget.connections) == 0);
    CHECK(atomic_load(&rig->budget.connects_in_flight) == 0);
    catalog_destroy(&rig->catalog);
    resolver_destroy(&rig->resolver);
    handshaker_destroy(&rig->handshaker);
    wheel_destroy(&rig->wheel);
    loop_destroy(&rig->loop);
    telemetry_reset();
}

void rig_plan(struct rig *rig, const struct rig_query *queries)
{
    size_t count = 0;
    for (; queries[count].name != NULL; count++) {
        CHECK(count < sizeof rig->statements / sizeof rig->statements[0]);
        rig->statements[count] = (struct statement){
            .name = queries[count].name,
            .prepared = queries[count].name,
            .sql = queries[count].sql,
            .scope = queries[count].scope,
            .group_index = queries[count].group,
            .timeout_ns = queries[count].timeout_ns,
        };
    }
    rig->plan = rig->standby_plan =
        (struct plan){.statements = rig->statements, .statement_count = count};
}

void rig_pool(struct rig *rig)
{
    pool_destroy(&rig->pool);
    rig->pool = pool_create(&rig->context, &(struct pool_options){.server = &rig->server,
                                                                  .session = &rig->session,
                                                                  .catalog = rig->catalog,
                                                                  .plan_for = plan_for,
                                                                  .identified = identified,
                                                                  .owner = rig});
}

void rig_pool_dsn(struct rig *rig, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(rig->dsn, sizeof rig->dsn, format, arguments);
    va_end(arguments);
    rig->server.dsn = rig->dsn;
    rig_pool(rig);
}

static void on_result(struct collection *collection, const struct statement *statement,
                      const struct pg_result *rows, uint64_t time_ns)
{
    struct rig_collection *mine = collection->owner;
    CHECK(!mine->done && statement != NULL && time_ns != 0);
    CHECK(PQresultStatus(rows) == PGRES_TUPLES_OK && PQbinaryTuples(rows));
    mine->results++;
    mine->rows += (uint32_t)PQntuples(rows);
}

static void on_done(struct collection *collection, enum collection_outcome outcome,
                    const char *error)
{
    struct rig_collection *mine = collection->owner;
    CHECK(!mine->done);
    mine->done = true;
    mine->outcome = outcome;
    mine->done_ns = clock_monotonic_ns();
    snprintf(mine->error, sizeof mine->error, "%s", error);
    CHECK((outcome == COLLECTION_OK) == (error[0] == 0));
}

void rig_ask(struct rig *rig, struct rig_collection *collection, const char *database,
             uint64_t timeout_ms)
{
    uint64_t now_ns = clock_monotonic_ns();
    *collection = (struct rig_collection){.asked_ns = now_ns};
    collection->collection = (struct collection){.database = database,
                                                 .groups = UINT64_MAX,
                                                 .due_ns = now_ns,
                                                 .deadline_ns = now_ns + timeout_ms * NS_PER_MS,
                                                 .result = on_result,
                                                 .done = on_done,
                                                 .owner = collection};
    pool_collect(rig->pool, &collection->collection, now_ns);
    CHECK(!collection->done);
}

static void turn(struct rig *rig, uint64_t until_ns)
{
    uint64_t next_ns = wheel_next_ns(rig->wheel);
    uint64_t now_ns = loop_turn(rig->loop, next_ns < until_ns ? next_ns : until_ns);
    struct resolver_answer answer;
    while (resolver_take(rig->context.resolver, &answer))
        pool_resolved(&rig->context, &answer, now_ns);
    pool_shaken(&rig->context, now_ns);
    wheel_run(rig->wheel, now_ns);
}

void rig_wait(struct rig *rig, struct rig_collection *collections, uint32_t count)
{
    uint64_t end_ns = clock_monotonic_ns() + 60 * NS_PER_S;
    for (uint32_t i = 0; i < count; i++) {
        while (!collections[i].done) {
            CHECK(clock_monotonic_ns() < end_ns);
            turn(rig, end_ns);
        }
    }
}

void rig_collect(struct rig *rig, struct rig_collection *collection, const char *database,
                 uint64_t timeout_ms)
{
    rig_ask(rig, collection, database, timeout_ms);
    rig_wait(rig, collection, 1);
}

void rig_run_ms(struct rig *rig, uint64_t ms)
{
    uint64_t end_ns = clock_monotonic_ns() + ms * NS_PER_MS;
    while (clock_monotonic_ns() < end_ns)
        turn(rig, end_ns);
}

void rig_check_waited(const struct rig_collection *collection, const char *words, double least_s,
                      const char *more_words)
{
    const char *at = strstr(collection->error, words);
    char *end = NULL;
    double said_s = at != NULL ? strtod(at + strlen(words), &end) : 0;
    double took_s = (double)(collection->done_ns - collection->asked_ns) / 1e9;
    bool right = at != NULL && said_s > least_s - 0.06 && said_s < took_s + 0.06 &&
                 strncmp(end, more_words, strlen(more_words)) == 0;
    if (!right)
        fprintf(stderr, "after %.3f s, not \"%s%.1f%s\": %s\n", took_s, words, least_s, more_words,
                collection->error);
    CHECK(right);
}

uint64_t rig_value(const struct rig *rig, enum telemetry_value value)
{
    return counter_read(&rig->context.telemetry->values[value]);
}

uint32_t rig_descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    CHECK(directory != NULL);
    uint32_t count = 0;
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}
