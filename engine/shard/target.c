/* SPDX-License-Identifier: Apache-2.0 */
/* Step 2 of 9: schedule. Each target has one timer. When it fires, every cadence group that is due
 * goes into one collection per database, so that all their statements travel in one round trip.
 * Due times stay on their grid (schedule.c): a late or slow collection never shifts the next one,
 * and one that is still running when it is due again is skipped and counted, never doubled. Where
 * back ends take less than there is (ring_pressure()), due times are left out, of the dearest
 * groups first.
 *
 * Runs on the shard's thread. The target owns its pool, its series tables and its resource. */
#include "shard/target.h"

#include <pgweir/telemetry.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "pg/decode.h"
#include "shard/schedule.h"

/* One database of the target: the maintenance database first, the other ones after it. */
struct branch {
    struct collection collection;
    struct target *target;
    const struct plan *plan;      /* of the tables: databases differ in extensions, so in plans */
    struct series_table **tables; /* by statement of the plan; made when first needed */
    bool running;
    enum target_state state; /* how its last collection ended */
    uint64_t points, scrapes;
};

struct target {
    struct target_context *context;
    const struct receiver *receiver;
    const struct server_settings *server;
    struct pool *pool;
    struct resource *resource;
    struct attrs *no_attributes;
    const struct plan *plan; /* of the maintenance database */
    uint64_t server_start_ns;
    struct timer timer;
    struct schedule schedule;
    struct branch *branches;
    size_t branch_count;
    struct status_slot *slot;
    struct target_status status;
    const struct branch *blamed; /* whose error the status tells; NULL: none's */
    uint64_t problem_mask;       /* statements whose decoding problem was logged */
};

static const struct metric up_metric = {
    .name = "pgweir.target.up",
    .unit = "1",
    .instrument = METRIC_GAUGE,
    .value = METRIC_INT,
    .description = "1 where the last collection of this server delivered, 0 where it failed"};

static const struct metric duration_metric = {.name = "pgweir.target.scrape.duration",
                                              .unit = "s",
                                              .instrument = METRIC_GAUGE,
                                              .value = METRIC_DOUBLE,
                                              .description =
                                                  "Time the last collection of this server took"};

/* ---- plans shared by targets that are alike ---- */

struct plan_entry {
    struct plan_entry *next;
    const struct receiver *receiver;
    const struct server_settings *server; /* whose database lists the choice holds */
    struct capabilities capabilities;
    struct catalog_choice choice;
    struct plan *plan;
};

struct plan_cache {
    struct plan_entry *first;
};

struct plan_cache *plan_cache_create(void)
{
    struct plan_cache *cache = xcalloc(1, sizeof *cache);
    return cache;
}

void plan_cache_destroy(struct plan_cache **cache)
{
    if (*cache == NULL)
        return;
    for (struct plan_entry *entry = (*cache)->first; entry != NULL;) {
        struct plan_entry *next = entry->next;
        plan_destroy(&entry->plan);
        free(entry);
        entry = next;
    }
    free(*cache);
    *cache = NULL;
}

static bool same_list(const struct text_list *a, const struct text_list *b)
{
    bool same = a->count == b->count;
    for (size_t i = 0; same && a->items != b->items && i < a->count; i++)
        same = strcmp(a->items[i], b->items[i]) == 0;
    return same;
}

static bool same_lists(const struct server_settings *a, const struct server_settings *b)
{
    return same_list(&a->databases, &b->databases) &&
           same_list(&a->exclude_databases, &b->exclude_databases);
}

static const struct plan *plan_for(void *owner, const struct capabilities *capabilities,
                                   struct error *error)
{
    const struct target *target = owner;
    struct plan_cache *cache = target->context->plans;
    for (const struct plan_entry *entry = cache->first; entry != NULL; entry = entry->next)
        if (entry->receiver == target->receiver &&
            memcmp(&entry->capabilities, capabilities, sizeof *capabilities) == 0 &&
            same_lists(entry->server, target->server))
            return entry->plan;

    struct plan_entry *entry = xcalloc(1, sizeof *entry);
    entry->receiver = target->receiver;
    entry->server = target->server;
    memcpy(&entry->capabilities, capabilities, sizeof *capabilities);
    entry->choice = (struct catalog_choice){
        .model = (enum catalog_model)target->receiver->settings->model,
        .metric_enabled = target->receiver->metric_enabled,
        .databases = target->server->databases.items,
        .database_count = target->server->databases.count,
        .exclude_databases = target->server->exclude_databases.items,
        .exclude_count = target->server->exclude_databases.count,
    };
    if (!catalog_plan(target->receiver->catalog, &entry->choice, capabilities, &entry->plan,
                      error)) {
        free(entry);
        return NULL;
    }
    entry->next = cache->first;
    cache->first = entry;
    return entry->plan;
}

/* ---- what comes back ---- */

static void forget_tables(struct branch *branch)
{
    struct target_context *context = branch->target->context;
    for (size_t s = 0; branch->tables != NULL && s < branch->plan->statement_count; s++)
        if (branch->tables[s] != NULL)
            series_table_retire(&branch->tables[s], context->writer->ring, context->writer->shard,
                                context->telemetry);
    free(branch->tables);
    branch->tables = NULL;
}

/* The table of a statement of the plan that the collection ran by. */
static struct series_table *find_table(struct branch *branch, size_t index)
{
    const struct plan *plan = branch->collection.plan;
    if (branch->plan != plan)
        forget_tables(branch);
    branch->plan = plan;
    CHECK(index < plan->statement_count);
    if (branch->tables == NULL) {
        branch->tables = xcalloc(plan->statement_count, sizeof(struct series_table *));
    }
    if (branch->tables[index] == NULL)
        branch->tables[index] = series_table_create(&plan->statements[index]);
    return branch->tables[index];
}

static void identified(void *owner, const struct plan *plan, uint64_t server_start_ns)
{
    struct target *target = owner;
    if (plan != target->plan)
        target->problem_mask = 0;
    target->plan = plan;
    target->server_start_ns = server_start_ns;
    uint32_t version = plan->capabilities.version_num;
    snprintf(target->status.version, sizeof target->status.version, "%u.%u", version / 10000,
             version % 10000);
    target->status.recovery = plan->capabilities.recovery;
    target->status.statements = (uint32_t)plan->statement_count;
}

static void on_result(struct collection *collection, const struct statement *statement,
                      const struct pg_result *rows, uint64_t time_ns)
{
    struct branch *branch = collection->owner;
    struct target *target = branch->target;
    size_t index = (size_t)(statement - collection->plan->statements);
    struct decode_context decode = {
        .writer = target->context->writer,
        .telemetry = target->context->telemetry,
        .route = target->receiver->route,
        .due_ns = collection->due_ns,
        .now_ns = clock_monotonic_ns(),
        .time_ns = time_ns,
        .server_start_ns = target->server_start_ns,
        .resource = target->resource,
    };
    const char *problem = NULL;
    uint64_t points = decode_result(find_table(branch, index), rows, &decode, &problem);
    branch->points += points;
    schedule_count(&target->schedule, statement->group_index, points);
    uint64_t bit = 1ull << (index % 64);
    if (problem != NULL && (target->problem_mask & bit) == 0) {
        target->problem_mask |= bit;
        LOG(LOG_LEVEL_WARN, "decode", problem, LOG_TEXT("target", target->status.name),
            LOG_TEXT("query", statement->name));
    }
}

static void emit_gauge(struct target *target, const struct metric *metric, struct point point,
                       uint64_t due_ns)
{
    struct writer *writer = target->context->writer;
    uint32_t room = 0;
    struct point *place =
        writer_begin(writer, target->receiver->route, due_ns, clock_monotonic_ns(), metric, NULL,
                     target->resource, clock_wall_ns(), &room);
    if (place == NULL) {
        writer_drop(writer, target->receiver->route, 1);
        return;
    }
    *place = point;
    writer_end(writer, 1);
}

/* A server that is down still delivers two points: that it is, and how long it took to find out. */
static void emit_health(struct target *target, uint64_t due_ns)
{
    struct point up = {.attrs = target->no_attributes};
    up.value.integer = target->status.state == TARGET_DOWN ? 0 : 1;
    emit_gauge(target, &up_metric, up, due_ns);
    struct point duration = {.attrs = target->no_attributes};
    duration.value.real = (double)target->status.last_duration_ns / (double)NS_PER_S;
    emit_gauge(target, &duration_metric, duration, due_ns);
}

static void log_change(const struct target *target, enum target_state before, const char *error)
{
    enum target_state after = target->status.state;
    if (after == before)
        return;
    if (after == TARGET_UP)
        LOG(LOG_LEVEL_INFO, "target", "up", LOG_TEXT("target", target->status.name),
            LOG_TEXT("version", target->status.version),
            LOG_NUMBER("statements", target->status.statements));
    else
        LOG(LOG_LEVEL_WARN, "target", target_state_name(after),
            LOG_TEXT("target", target->status.name), LOG_TEXT("error", error));
}

/* What the server's state is after a collection of the branch. One database that cannot be read
 * makes the server degraded, not down, until it is read again. */
static void judge(struct target *target, const struct branch *branch, const char *error)
{
    struct target_status *status = &target->status;
    bool main_branch = branch == target->branches;
    status->state = target->branches[0].state;
    for (size_t i = 1; i < target->branch_count && status->state == TARGET_UP; i++)
        if (target->branches[i].state > TARGET_UP)
            status->state = TARGET_DEGRADED;
    if (status->state == TARGET_UP) {
        status->error[0] = 0;
        target->blamed = NULL;
    } else if (branch->state > TARGET_UP &&
               (target->blamed == NULL || main_branch || target->blamed == branch)) {
        snprintf(status->error, sizeof status->error, "%s", error);
        target->blamed = branch;
    } else if (target->blamed == branch) {
        snprintf(status->error, sizeof status->error, "another database cannot be read completely");
        target->blamed = NULL;
    }
}

static void on_done(struct collection *collection, enum collection_outcome outcome,
                    const char *error)
{
    static const enum telemetry_value counters[] = {
        [COLLECTION_OK] = TELEMETRY_SCRAPES_OK,
        [COLLECTION_PARTIAL] = TELEMETRY_SCRAPES_PARTIAL,
        [COLLECTION_FAILED] = TELEMETRY_SCRAPES_FAILED,
    };
    static const enum target_state states[] = {
        [COLLECTION_OK] = TARGET_UP,
        [COLLECTION_PARTIAL] = TARGET_DEGRADED,
        [COLLECTION_FAILED] = TARGET_DOWN,
    };
    struct branch *branch = collection->owner;
    struct target *target = branch->target;
    uint64_t now_ns = clock_monotonic_ns();
    branch->running = false;
    branch->state = states[outcome];
    branch->scrapes++;
    telemetry_add(target->context->telemetry, counters[outcome], 1);

    struct target_status *status = &target->status;
    enum target_state before = status->state;
    bool main_branch = branch == target->branches;
    status->scrapes++;
    if (outcome == COLLECTION_FAILED)
        status->failures++;
    judge(target, branch, error);
    if (outcome != COLLECTION_FAILED)
        status->last_scrape_wall_ns = clock_wall_ns();
    status->connections = target->pool == NULL ? 0 : pool_connections(target->pool);
    if (main_branch) {
        uint64_t begun_ns =
            collection->started_ns != 0 ? collection->started_ns : collection->due_ns;
        status->last_duration_ns = now_ns > begun_ns ? now_ns - begun_ns : 0;
        status->last_points = branch->points;
        emit_health(target, collection->due_ns);
    }
    log_change(target, before, status->error);
    status_write(target->slot, status);
}

/* ---- when ---- */

static void arm(struct target *target)
{
    uint64_t next_ns = schedule_next_ns(&target->schedule);
    if (next_ns != UINT64_MAX)
        wheel_arm(target->context->pg.wheel, &target->timer, next_ns);
}

static void collect(struct target *target, struct branch *branch, uint64_t groups, uint64_t due_ns,
                    uint64_t now_ns)
{
    if (branch->running) {
        telemetry_add(target->context->telemetry, TELEMETRY_SCRAPES_SKIPPED, 1);
        return;
    }
    const struct postgresql_settings *settings = target->receiver->settings;
    uint64_t limit_ns =
        settings->timeout_ns != 0 ? settings->timeout_ns : settings->collection_interval_ns;
    struct collection *collection = &branch->collection;
    collection->groups = groups;
    collection->due_ns = due_ns;
    collection->deadline_ns = now_ns + limit_ns;
    collection->started_ns = 0;
    branch->running = true;
    branch->points = 0;
    pool_collect(target->pool, collection, now_ns);
}

static void on_timer(struct timer *timer, uint64_t now_ns)
{
    struct target *target =
        (struct target *)(void *)((char *)timer - offsetof(struct target, timer));
    uint32_t level = ring_pressure(target->context->writer->ring, target->receiver->route);
    struct schedule_due due = schedule_take(&target->schedule, level, now_ns);
    if (due.left_out > 0)
        telemetry_add(target->context->telemetry, TELEMETRY_STRETCHED, due.left_out);
    for (size_t i = 0; i < target->branch_count && due.groups != 0; i++)
        collect(target, &target->branches[i], due.groups, due.due_ns, now_ns);
    arm(target);
}

/* ---- life ---- */

static struct resource *build_resource(const struct target *target)
{
    static _Thread_local struct attrs_builder builder;
    const char *host = NULL;
    uint16_t port = 0;
    pool_endpoint(target->pool, &host, &port);
    attrs_begin(&builder, ATTRS_RESOURCE);
    if (target->receiver->settings->model == CATALOG_LEGACY) {
        char id[512];
        int length = snprintf(id, sizeof id, "%.480s:%u", resource_public_host(host), port);
        attrs_add_text(&builder, "service.instance.id", id, (size_t)length);
    } else {
        char id[37];
        resource_instance_id(host, port, id);
        attrs_add_text(&builder, "service.instance.id", id, strlen(id));
        const char *address = resource_public_host(host);
        attrs_add_text(&builder, "server.address", address, strlen(address));
        attrs_add_int(&builder, "server.port", port);
    }
    const struct text_map *extra = &target->server->resource_attributes;
    for (size_t i = 0; i < extra->count; i++)
        attrs_add_text(&builder, extra->items[i].key, extra->items[i].value,
                       strlen(extra->items[i].value));
    struct attrs *base = attrs_finish(&builder);
    struct resource *resource = resource_create(base, target->receiver->chains);
    attrs_destroy(&base);
    return resource;
}

static void add_branch(struct target *target, const char *database, bool server_only)
{
    struct branch *branch = &target->branches[target->branch_count++];
    branch->target = target;
    branch->collection.database = database;
    branch->collection.server_only = server_only;
    branch->collection.result = on_result;
    branch->collection.done = on_done;
    branch->collection.owner = branch;
}

static bool has_branch(const struct target *target, const char *database)
{
    for (size_t i = 1; i < target->branch_count; i++)
        if (strcmp(target->branches[i].collection.database, database) == 0)
            return true;
    return false;
}

/* What concerns the whole server comes from the maintenance database, and its tables with it unless
 * `databases` names others only. */
static void create_branches(struct target *target)
{
    const struct text_list *databases = &target->server->databases;
    const char *maintenance = server_database(target->server);
    bool listed = databases->count == 0;
    for (size_t i = 0; i < databases->count; i++)
        listed = listed || strcmp(databases->items[i], maintenance) == 0;
    target->branches = xcalloc(databases->count + 1, sizeof *target->branches);
    add_branch(target, NULL, !listed);
    for (size_t i = 0; i < databases->count; i++)
        if (strcmp(databases->items[i], maintenance) != 0 &&
            !has_branch(target, databases->items[i]))
            add_branch(target, databases->items[i], false);
}

struct target *target_create(struct target_context *context, const struct target_options *options)
{
    struct target *target = xcalloc(1, sizeof *target);
    target->context = context;
    target->receiver = options->receiver;
    target->server = options->server;
    target->slot = options->status;
    timer_init(&target->timer, on_timer);
    create_branches(target);
    target->pool = pool_create(&context->pg, &(struct pool_options){
                                                 .server = options->server,
                                                 .session = &options->receiver->settings->session,
                                                 .catalog = options->receiver->catalog,
                                                 .plan_for = plan_for,
                                                 .identified = identified,
                                                 .owner = target,
                                             });
    target->resource = build_resource(target);
    struct attrs_builder *builder = xmalloc(sizeof *builder);
    attrs_begin(builder, ATTRS_POINT);
    target->no_attributes = attrs_finish(builder);
    free(builder);
    snprintf(target->status.name, sizeof target->status.name, "%s", pool_target_name(target->pool));
    target->status.shard = context->pg.shard;
    status_write(target->slot, &target->status);

    const struct catalog *catalog = options->receiver->catalog;
    schedule_init(&target->schedule, catalog->groups, options->receiver->group_interval_ns,
                  catalog->group_count);
    schedule_begin(&target->schedule, target->status.name, options->first_due_ns);
    arm(target);
    return target;
}

void target_close(struct target *target)
{
    wheel_cancel(target->context->pg.wheel, &target->timer);
    pool_destroy(&target->pool);
    for (size_t i = 0; i < target->branch_count; i++)
        forget_tables(&target->branches[i]);
}

void target_free(struct target **target)
{
    if (*target == NULL)
        return;
    CHECK((*target)->pool == NULL);
    resource_destroy(&(*target)->resource);
    attrs_destroy(&(*target)->no_attributes);
    schedule_fini(&(*target)->schedule);
    free((*target)->branches);
    free(*target);
    *target = NULL;
}

uint64_t target_scrapes(const struct target *target)
{
    uint64_t fewest = target->branches[0].scrapes;
    for (size_t i = 1; i < target->branch_count; i++)
        if (target->branches[i].scrapes < fewest)
            fewest = target->branches[i].scrapes;
    return fewest;
}

enum target_state target_state(const struct target *target)
{
    return target->status.state;
}
