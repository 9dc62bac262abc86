/* SPDX-License-Identifier: Apache-2.0 */
/* What is busy, from cumulative counters that pass by. A table of series (open addressing, by hash
 * of resource, metric and attributes) remembers the last value of each; the rate between two values
 * is added to the series' entity (a database or a table), whose sum is what is ranked. Both tables
 * have a fixed size: of what does not fit nothing is shown, and the summary says so.
 *
 * A hash that collides would mix two series: with 64 bits and 2^16 series the chance is 10^-10. */
#include "exporters/summary.h"

#include <pgweir/telemetry.h>

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "exporters/walk.h"

enum { STATE_LINES = 2 };
enum {
    SERIES_MAX = 1 << 16,
    ENTITIES_MAX = 1 << 14,
    SHOWN_MAX = 5,
    SERVERS_MAX = 1 << 14,
    GONE_AFTER_S = 300, /* not heard of for so long: not ranked */
};

enum entity_kind { ENTITY_DATABASE, ENTITY_TABLE, ENTITY_KIND_COUNT };

struct entity {
    uint64_t hash; /* 0: free */
    enum entity_kind kind;
    double rate;      /* per second */
    uint64_t time_ns; /* of its last point */
    char label[96];
};

struct series {
    uint64_t hash; /* 0: free */
    uint64_t time_ns;
    double value, rate;
    struct entity *entity;
};

struct server {
    uint64_t hash; /* 0: free */
    bool up;
};

struct summary {
    struct series series[SERIES_MAX];
    struct entity entities[ENTITIES_MAX];
    struct server servers[SERVERS_MAX];
    uint32_t series_count, entity_count, server_count;
    uint64_t points, points_shown; /* seen in all, and when last printed */
    uint64_t shown_ns;
    uint64_t newest_ns; /* time of the newest point */
    uint32_t lines;     /* of the last picture */
    bool full;
};

struct summary *summary_create(uint64_t now_ns)
{
    struct summary *summary = xcalloc(1, sizeof *summary);
    summary->shown_ns = now_ns;
    return summary;
}

void summary_destroy(struct summary **summary)
{
    free(*summary);
    *summary = NULL;
}

/* FNV-1a over 8 bytes at a time would be faster; this runs at the pace of a terminal. */
static uint64_t hash_bytes(uint64_t hash, const void *data, size_t bytes)
{
    const uint8_t *byte = data;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ byte[i]) * 0x100000001b3ull;
    return hash;
}

static uint64_t hash_attrs(uint64_t hash, const struct attrs *attrs)
{
    return attrs == NULL ? hash : hash_bytes(hash, attrs->otlp, attrs->bytes);
}

static bool find_attr(const struct attrs *attrs, const char *key, struct attr *ret_attr)
{
    size_t position = 0;
    while (attrs != NULL && attrs_next(attrs, &position, ret_attr))
        if (ret_attr->key_bytes == strlen(key) &&
            memcmp(ret_attr->key, key, ret_attr->key_bytes) == 0)
            return true;
    return false;
}

/* The first key that there is. */
static bool find_text(const struct attrs *attrs, const char *const keys[2], struct attr *ret_attr)
{
    for (int i = 0; i < 2; i++)
        if (find_attr(attrs, keys[i], ret_attr) && ret_attr->kind == ATTR_TEXT)
            return true;
    return false;
}

static const char *const database_keys[2] = {"db.namespace", "postgresql.database.name"};
static const char *const table_keys[2] = {"db.collection.name", "postgresql.table.name"};
static const char *const server_keys[2] = {"server.address", "service.instance.id"};

/* Where a point's name parts are looked for, in this order. */
struct place_of_names {
    const struct attrs *sets[3];
};

static bool find_name(const struct place_of_names *places, const char *const keys[2],
                      struct attr *ret_attr)
{
    for (int i = 0; i < 3; i++)
        if (find_text(places->sets[i], keys, ret_attr))
            return true;
    return false;
}

static struct entity *find_entity(struct summary *summary, enum entity_kind kind,
                                  const struct place_of_names *places)
{
    struct attr database, table = {0}, server = {0}, port;
    if (!find_name(places, database_keys, &database))
        return NULL;
    if (kind == ENTITY_TABLE && !find_name(places, table_keys, &table))
        return NULL;
    if (!find_text(places->sets[2], server_keys, &server))
        server = (struct attr){0};
    char port_text[16] = "";
    if (find_attr(places->sets[2], "server.port", &port) && port.kind == ATTR_INT)
        snprintf(port_text, sizeof port_text, ":%lld", (long long)port.number);
    uint64_t hash =
        hash_bytes(0xcbf29ce484222325ull + (uint64_t)kind, database.text, database.text_bytes);
    hash = hash_bytes(hash, table.text, table.text_bytes);
    hash = hash_attrs(hash, places->sets[2]) | 1;
    uint32_t slot = (uint32_t)(hash >> 32) % ENTITIES_MAX;
    while (summary->entities[slot].hash != 0 && summary->entities[slot].hash != hash)
        slot = (slot + 1) % ENTITIES_MAX;
    struct entity *entity = &summary->entities[slot];
    if (entity->hash == hash)
        return entity;
    if (summary->entity_count == ENTITIES_MAX / 2) {
        summary->full = true;
        return NULL;
    }
    summary->entity_count++;
    *entity = (struct entity){.hash = hash, .kind = kind};
    snprintf(entity->label, sizeof entity->label, "%.*s%s%.*s%s%.*s%s", (int)database.text_bytes,
             database.text, table.text_bytes > 0 ? "." : "", (int)table.text_bytes,
             table.text_bytes > 0 ? table.text : "", server.text_bytes > 0 ? " @ " : "",
             (int)server.text_bytes, server.text_bytes > 0 ? server.text : "", port_text);
    for (char *c = entity->label; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?'; /* a table's name must not steer the terminal */
    return entity;
}

static struct series *find_series(struct summary *summary, uint64_t hash)
{
    uint32_t slot = (uint32_t)(hash >> 32) % SERIES_MAX;
    while (summary->series[slot].hash != 0 && summary->series[slot].hash != hash)
        slot = (slot + 1) % SERIES_MAX;
    struct series *series = &summary->series[slot];
    if (series->hash == hash)
        return series;
    if (summary->series_count == SERIES_MAX / 4 * 3) {
        summary->full = true;
        return NULL;
    }
    summary->series_count++;
    series->hash = hash;
    return series;
}

static double value_of(const struct run *run, const struct point *point)
{
    CHECK(metric_is_number(run->metric));
    return run->metric->value == METRIC_INT ? (double)point->value.integer : point->value.real;
}

static void add_rate(struct summary *summary, enum entity_kind kind, const struct run *run,
                     const struct point *point, const struct attrs *resource)
{
    struct place_of_names places = {{point->attrs, run->fixed, resource}};
    uint64_t hash = hash_bytes(0xcbf29ce484222325ull, &run->metric, sizeof run->metric);
    hash = hash_attrs(hash_attrs(hash_attrs(hash, run->fixed), point->attrs), resource) | 1;
    struct series *series = find_series(summary, hash);
    if (series == NULL)
        return;
    double value = value_of(run, point);
    if (series->time_ns == 0)
        series->entity = find_entity(summary, kind, &places);
    if (series->time_ns != 0 && run->time_ns > series->time_ns && series->entity != NULL) {
        double seconds = (double)(run->time_ns - series->time_ns) / (double)NS_PER_S;
        double rate = value >= series->value ? (value - series->value) / seconds : 0;
        series->entity->rate += rate - series->rate;
        series->rate = rate;
    }
    series->time_ns = run->time_ns;
    series->value = value;
    if (series->entity != NULL)
        series->entity->time_ns = run->time_ns;
    if (summary->newest_ns < run->time_ns)
        summary->newest_ns = run->time_ns;
}

static void add_server(struct summary *summary, const struct attrs *resource, bool up)
{
    uint64_t hash = hash_attrs(0xcbf29ce484222325ull, resource) | 1;
    uint32_t slot = (uint32_t)(hash >> 32) % SERVERS_MAX;
    while (summary->servers[slot].hash != 0 && summary->servers[slot].hash != hash)
        slot = (slot + 1) % SERVERS_MAX;
    struct server *server = &summary->servers[slot];
    if (server->hash == 0) {
        if (summary->server_count == SERVERS_MAX / 2)
            return;
        summary->server_count++;
    }
    *server = (struct server){hash, up};
}

void summary_add(struct summary *summary, const struct page *page, struct page_slice slice,
                 uint32_t variant)
{
    struct walk walk = walk_begin(page, slice);
    const struct run *run;
    const struct point *point;
    summary->points += slice.count;
    while (walk_next(&walk, &run, &point)) {
        const char *name = run->metric->name;
        const struct attrs *resource = walk_resource(run->resource, variant);
        if (strcmp(name, "postgresql.operations") == 0)
            add_rate(summary, ENTITY_TABLE, run, point, resource);
        else if (strcmp(name, "postgresql.commits") == 0)
            add_rate(summary, ENTITY_DATABASE, run, point, resource);
        else if (strcmp(name, "pgweir.target.up") == 0)
            add_server(summary, resource, value_of(run, point) != 0);
        else /* no other metric counts: on to the next run */
            walk.index = run->first + run->count < walk.end ? run->first + run->count : walk.end;
    }
}

static void print_latency(FILE *stream, const char *name, enum telemetry_histogram histogram)
{
    struct histogram_view *view = xcalloc(1, sizeof *view);
    telemetry_merge(histogram, view);
    fprintf(stream, "%s p50 %.1f ms p99 %.1f ms", name,
            (double)histogram_quantile(view, 0.5) / (double)NS_PER_MS,
            (double)histogram_quantile(view, 0.99) / (double)NS_PER_MS);
    free(view);
}

/* The busiest entities of a kind, best first. */
static uint32_t rank(const struct summary *summary, enum entity_kind kind,
                     const struct entity *best[SHOWN_MAX])
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < ENTITIES_MAX; i++) {
        const struct entity *entity = &summary->entities[i];
        if (entity->hash == 0 || entity->kind != kind || entity->rate <= 0 ||
            entity->time_ns + GONE_AFTER_S * NS_PER_S < summary->newest_ns)
            continue;
        uint32_t place = count < SHOWN_MAX ? count++ : SHOWN_MAX;
        for (; place > 0 && best[place - 1]->rate < entity->rate; place--)
            if (place < SHOWN_MAX)
                best[place] = best[place - 1];
        if (place < SHOWN_MAX)
            best[place] = entity;
    }
    return count;
}

static uint32_t print_busiest(const struct summary *summary, FILE *stream, enum entity_kind kind,
                              const char *title, const char *what)
{
    const struct entity *best[SHOWN_MAX];
    uint32_t count = rank(summary, kind, best);
    if (count == 0)
        return 0;
    fprintf(stream, "%s\n", title);
    for (uint32_t i = 0; i < count; i++)
        fprintf(stream, "  %12.1f %s  %s\n", best[i]->rate, what, best[i]->label);
    return count + 1;
}

static void print_state(struct summary *summary, FILE *stream, uint64_t now_ns)
{
    uint32_t up = 0;
    for (uint32_t i = 0; i < SERVERS_MAX; i++)
        up += summary->servers[i].up;
    double seconds =
        now_ns <= summary->shown_ns ? 0 : (double)(now_ns - summary->shown_ns) / (double)NS_PER_S;
    double rate = seconds > 0 ? (double)(summary->points - summary->points_shown) / seconds : 0;
    fprintf(stream, "servers up %u of %u | points %.0f/s, %llu in all%s\n", up,
            summary->server_count, rate, (unsigned long long)summary->points,
            summary->full ? " | more tables than are ranked" : "");
    print_latency(stream, "scrape", TELEMETRY_HISTOGRAM_SCRAPE);
    fputs(" | ", stream);
    print_latency(stream, "delivered after", TELEMETRY_HISTOGRAM_AGE);
    fputc('\n', stream);
    summary->points_shown = summary->points;
    summary->shown_ns = now_ns;
}

void summary_print(struct summary *summary, FILE *stream, bool ansi, uint64_t now_ns)
{
    if (!ansi) {
        const struct entity *best[SHOWN_MAX];
        print_state(summary, stream, now_ns);
        if (rank(summary, ENTITY_TABLE, best) > 0)
            fprintf(stream, "  busiest table %s %.1f rows/s\n", best[0]->label, best[0]->rate);
        if (rank(summary, ENTITY_DATABASE, best) > 0)
            fprintf(stream, "  busiest database %s %.1f commits/s\n", best[0]->label,
                    best[0]->rate);
        fflush(stream);
        return;
    }
    if (summary->lines > 0)
        fprintf(stream, "\x1b[%uF\x1b[J", summary->lines); /* up, and clear what is below */
    fputs("\x1b[?7l", stream); /* a line that wrapped would not be counted */
    print_state(summary, stream, now_ns);
    summary->lines = STATE_LINES;
    summary->lines +=
        print_busiest(summary, stream, ENTITY_DATABASE, "busiest databases", "commits/s");
    summary->lines += print_busiest(summary, stream, ENTITY_TABLE, "busiest tables", "rows/s");
    fputs("\x1b[?7h", stream);
    fflush(stream);
}
