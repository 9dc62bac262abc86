/* SPDX-License-Identifier: Apache-2.0 */
/* Pages into the table. A value costs a hash, an entry of the index and the slot, each somewhere in
 * memory; so points are looked up in blocks, whose entries and then slots are prefetched. A series
 * is told by a 64-bit hash of family and attributes, seeded at random, and nothing else: two of ten
 * million are one with a chance of 1 in 400,000.
 *
 * Labels are translated when a series is new, by the parts it shares with others: its own
 * attributes, those of its run, its resource. Where parts have a name in common (seldom), the
 * series gets a text of its own in which each name stands once. Worker. */
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/clock.h"
#include "base/distribution.h"
#include "base/memory.h"
#include "base/random.h"
#include "exporters/scrape/slots.h"
#include "exporters/walk.h"

enum {
    MEMO_SETS = 1024,
    METRICS_MIN = 256,
    BLOCK = 16, /* points looked up together */
};

/* A hash, while the attribute set is borrowed. */
struct memo_set {
    const struct attrs *attrs;
    uint64_t hash, generation;
};

struct memo_metric {
    const struct metric *metric;
    struct family *family; /* NULL: too many */
};

struct table_memo {
    uint64_t seed, generation;
    struct memo_set sets[MEMO_SETS], resources[MEMO_SETS];
    struct memo_metric *metrics; /* open addressing, at most half full */
    size_t metric_count, metric_space;
    struct family *info;
    struct labels labels, other; /* scratch */
};

/* What the points of a run have in common. */
struct taking {
    struct scrape_table *table;
    const struct run *run;
    struct family *family;
    const struct attrs *resource;
    uint64_t fixed_hash, resource_hash, base; /* base: all but the points' own */
    uint64_t time_ms;
    uint32_t now_s;
    bool full;
};

/* One value and whose it is. */
struct value {
    uint64_t hash, bits;
    const struct attrs *attrs;
    uint64_t set_hash;
    const char *le; /* of a bucket */
    enum slot_form form;
    bool real;
};

static uint64_t mix(uint64_t a, uint64_t b)
{
    unsigned __int128 product =
        (unsigned __int128)(a ^ 0x9e3779b97f4a7c15ull) * (b ^ 0xe7037ed1a0b428dbull);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* ---- life ---- */

void table_memo_open(struct scrape_table *table)
{
    static const struct metric info = {.name = "target_info", .unit = ""};
    struct table_memo *memo = xcalloc(1, sizeof *memo);
    struct random random;
    char name[PROM_NAME_BYTES];
    random_init(&random);
    memo->seed = random_next(&random);
    memo->metric_space = METRICS_MIN;
    memo->metrics = xcalloc(METRICS_MIN, sizeof *memo->metrics);
    table->memo = memo;
    prom_metric_name(name, &info, &table->settings.naming);
    memo->info = table_add_family(table, name, FAMILY_INFO, "What is observed");
    memo->info->seed = memo->seed;
}

void table_memo_close(struct scrape_table *table)
{
    free(table->memo->metrics);
    free(table->memo);
}

/* ---- families ---- */

static struct family *find_family(const struct scrape_table *table, const char *name)
{
    for (uint32_t i = 0; i < table->family_count; i++)
        if (strcmp(table->families[i]->name, name) == 0)
            return table->families[i];
    return NULL;
}

static struct memo_metric *metric_slot(struct memo_metric *metrics, size_t space,
                                       const struct metric *metric)
{
    size_t slot = (size_t)(((uintptr_t)metric * 0x9e3779b97f4a7c15ull) >> 32) & (space - 1);
    while (metrics[slot].metric != NULL && metrics[slot].metric != metric)
        slot = (slot + 1) & (space - 1);
    return &metrics[slot];
}

static void metrics_grow(struct table_memo *memo)
{
    size_t space = 2 * memo->metric_space;
    struct memo_metric *metrics = xcalloc(space, sizeof *metrics);
    for (size_t i = 0; i < memo->metric_space; i++)
        if (memo->metrics[i].metric != NULL)
            *metric_slot(metrics, space, memo->metrics[i].metric) = memo->metrics[i];
    free(memo->metrics);
    memo->metrics = metrics;
    memo->metric_space = space;
}

/* Metrics that have the same name are one family, of the kind that came first. */
static struct family *family_of(struct scrape_table *table, const struct metric *metric)
{
    struct table_memo *memo = table->memo;
    struct memo_metric *known = metric_slot(memo->metrics, memo->metric_space, metric);
    if (known->metric != NULL)
        return known->family;
    if (2 * (memo->metric_count + 1) > memo->metric_space) {
        metrics_grow(memo);
        known = metric_slot(memo->metrics, memo->metric_space, metric);
    }
    char name[PROM_NAME_BYTES];
    prom_metric_name(name, metric, &table->settings.naming);
    struct family *family = find_family(table, name);
    if (family == NULL)
        family = table_add_family(table, name,
                                  !metric_is_number(metric) ? FAMILY_HISTOGRAM
                                  : prom_is_counter(metric) ? FAMILY_COUNTER
                                                            : FAMILY_GAUGE,
                                  metric->description);
    if (family != NULL)
        family->seed = XXH3_64bits_withSeed(name, family->name_bytes, memo->seed);
    memo->metric_count++;
    *known = (struct memo_metric){metric, family};
    return family;
}

/* ---- labels of a new series ---- */

static void list_attrs(struct labels *labels, const struct attrs *attrs)
{
    struct attr attr;
    size_t position = 0;
    labels_begin(labels);
    while (attrs != NULL && attrs_next(attrs, &position, &attr))
        labels_put_attr(labels, &attr);
}

static void list_resource(struct labels *labels, const struct scrape_table *table,
                          const struct attrs *resource)
{
    labels_begin(labels);
    labels_put_resource(labels, resource, table->settings.resource);
    if (table->settings.scope_labels) {
        labels_put(labels, "otel_scope_name", "pgweir", 6, LABELS_REPLACE);
        labels_put(labels, "otel_scope_version", PGWEIR_VERSION, strlen(PGWEIR_VERSION),
                   LABELS_REPLACE);
    }
}

static struct text *resource_text(struct scrape_table *table, const struct taking *taking)
{
    struct labels *labels = &table->memo->other;
    struct text *text = texts_hold(&table->texts, taking->resource_hash);
    if (text != NULL)
        return text;
    list_resource(labels, table, taking->resource);
    labels_put_map(labels, &table->settings.const_labels);
    return texts_add(&table->texts, taking->resource_hash, labels);
}

/* The run's attributes in its family; 0: none, or no place for them. */
static uint32_t fixed_place(struct scrape_table *table, const struct taking *taking)
{
    struct family *family = taking->family;
    if (taking->run->fixed == NULL)
        return 0;
    for (uint32_t i = 1; i < family->fixed_count; i++)
        if (family->fixed_hashes[i] == taking->fixed_hash)
            return i;
    if (family->fixed_count == FIXED_MAX)
        return 0;
    uint32_t place = family->fixed_count++;
    struct text *text = texts_hold(&table->texts, taking->fixed_hash);
    if (text == NULL) {
        list_attrs(&table->memo->other, taking->run->fixed);
        text = texts_add(&table->texts, taking->fixed_hash, &table->memo->other);
    }
    family->fixed_hashes[place] = taking->fixed_hash;
    atomic_store_explicit(&family->fixed[place], text, memory_order_release);
    return place;
}

/* All labels in one text, each name once: the stronger part's. `labels` are the series' own. */
static struct text *whole_text(struct scrape_table *table, const struct taking *taking,
                               uint64_t hash, const struct labels *labels)
{
    struct text *text = texts_hold(&table->texts, mix(hash, table->memo->seed));
    if (text != NULL)
        return text;
    struct labels *parts = xcalloc(3, sizeof *parts), *all = &parts[2];
    list_resource(&parts[0], table, taking->resource);
    list_attrs(&parts[1], taking->run->fixed);
    labels_begin(all);
    labels_add(all, &parts[0], LABELS_YIELD);
    labels_add(all, &parts[1], LABELS_YIELD);
    labels_add(all, labels, LABELS_YIELD);
    labels_put_map(all, &table->settings.const_labels);
    text = texts_add(&table->texts, mix(hash, table->memo->seed), all);
    free(parts);
    return text;
}

static uint64_t names_of(const struct labels *labels)
{
    uint64_t names = 0;
    for (uint32_t i = 0; i < labels->count; i++)
        names |= text_name_bit(labels->list[i].name, labels->list[i].name_bytes);
    return names;
}

/* Fills in a free slot's labels; `labels` are the series' own. */
static void label_slot(struct scrape_table *table, const struct taking *taking,
                       const struct value *value, struct slot *slot, struct labels *labels)
{
    uint32_t fixed = fixed_place(table, taking);
    struct text *fixed_text = fixed > 0 ? taking->family->fixed[fixed] : NULL;
    struct text *resource = resource_text(table, taking);
    uint64_t own = names_of(labels), run = fixed_text != NULL ? fixed_text->names : 0;
    bool no_place = fixed == 0 && taking->run->fixed != NULL;
    slot->whole = no_place || (own & run) != 0 || ((own | run) & resource->names) != 0;
    slot->fixed = slot->whole ? 0 : (uint8_t)fixed;
    slot->resource = slot->whole ? NULL : resource;
    if (slot->whole) {
        texts_release(&table->texts, resource);
        slot->set = whole_text(table, taking, value->hash, labels);
        return;
    }
    slot->set = NULL;
    if (labels->count == 0)
        return;
    slot->set = texts_hold(&table->texts, value->set_hash);
    if (slot->set == NULL)
        slot->set = texts_add(&table->texts, value->set_hash, labels);
}

static struct slot *add_series(struct scrape_table *table, const struct taking *taking,
                               const struct value *value, struct labels *labels)
{
    uint32_t number = table_take_slot(table, taking->family);
    if (number == NO_SLOT)
        return NULL;
    struct slot *slot = table_slot(table, number);
    slot->hash = value->hash;
    slot->form = (uint8_t)value->form;
    slot->real = value->real;
    label_slot(table, taking, value, slot, labels);
    index_add(&table->index, value->hash, number);
    table->series_count++;
    return slot;
}

/* ---- taking ---- */

static inline void put_value(struct slot *slot, uint64_t bits, uint64_t time_ms, uint32_t now_s)
{
    atomic_store_explicit(&slot->value, bits, memory_order_relaxed);
    atomic_store_explicit(&slot->seen_s, now_s, memory_order_relaxed);
    atomic_store_explicit(&slot->time_ms, time_ms, memory_order_release);
}

static void take_value(struct taking *taking, const struct value *value)
{
    struct scrape_table *table = taking->table;
    struct slot *slot = table_find(table, value->hash);
    if (slot == NULL) {
        struct labels *labels = &table->memo->labels;
        list_attrs(labels, value->attrs);
        if (value->le != NULL)
            labels_put(labels, "le", value->le, strlen(value->le), LABELS_REPLACE);
        slot = add_series(table, taking, value, labels);
    }
    if (slot == NULL)
        taking->full = true;
    else
        put_value(slot, value->bits, taking->time_ms, taking->now_s);
}

static struct memo_set *memo_place(struct memo_set *memo, const struct attrs *attrs)
{
    return &memo[((uintptr_t)attrs * 0x9e3779b97f4a7c15ull) >> 54];
}
_Static_assert(MEMO_SETS == 1 << (64 - 54), "the top bits choose a place");

static inline uint64_t set_hash(struct table_memo *memo, const struct attrs *attrs)
{
    struct memo_set *known = memo_place(memo->sets, attrs);
    if (known->attrs != attrs || known->generation != memo->generation)
        *known = (struct memo_set){
            attrs, XXH3_64bits_withSeed(attrs->otlp, attrs->bytes, memo->seed), memo->generation};
    return known->hash;
}

static void take_numbers(struct taking *taking, const struct point *points, uint32_t count)
{
    struct scrape_table *table = taking->table;
    struct value block[BLOCK];
    uint32_t filled = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct point *point = &points[i];
        uint64_t own = set_hash(table->memo, point->attrs);
        block[filled] = (struct value){.hash = mix(taking->base, own),
                                       .bits = (uint64_t)point->value.integer,
                                       .attrs = point->attrs,
                                       .set_hash = own,
                                       .real = taking->run->metric->value == METRIC_DOUBLE};
        index_prefetch(&table->index, block[filled++].hash);
        if (filled < BLOCK && i + 1 < count)
            continue;
        for (uint32_t k = 0; k < filled; k++) {
            uint32_t position = (uint32_t)block[k].hash;
            uint32_t number = index_next(&table->index, block[k].hash, &position);
            if (number != NO_SLOT)
                __builtin_prefetch(table_slot(table, number), 1);
        }
        for (uint32_t k = 0; k < filled; k++)
            take_value(taking, &block[k]);
        filled = 0;
    }
}

static uint64_t bits_of(double real)
{
    uint64_t bits;
    memcpy(&bits, &real, sizeof bits);
    return bits;
}

static void take_distribution(struct taking *taking, const struct point *point)
{
    const struct distribution *distribution = point->value.distribution;
    uint64_t own = set_hash(taking->table->memo, point->attrs);
    struct value value = {.attrs = point->attrs, .set_hash = own, .form = SLOT_COUNT};
    value.hash = mix(taking->base, mix(own, SLOT_COUNT));
    value.bits = distribution->count;
    take_value(taking, &value);
    value.form = SLOT_SUM;
    value.hash = mix(taking->base, mix(own, SLOT_SUM));
    value.bits = bits_of(distribution->sum);
    value.real = true;
    take_value(taking, &value);
    value.form = SLOT_BUCKET;
    value.real = false;
    for (uint32_t i = 0; i <= DISTRIBUTION_BOUNDS; i++) {
        bool last = i == DISTRIBUTION_BOUNDS;
        value.le = last ? "+Inf" : distribution_bound_names[i];
        value.set_hash = mix(own, SLOT_BUCKET + i);
        value.hash = mix(taking->base, value.set_hash);
        value.bits = last ? distribution->count
                          : distribution_count_to(distribution, distribution_bounds[i]);
        take_value(taking, &value);
    }
}

/* The series that describes the resource's target; NULL: there is nothing to say, or no place. */
static struct slot *add_info(struct scrape_table *table, const struct attrs *resource,
                             uint64_t hash)
{
    struct labels *labels = &table->memo->labels;
    labels_begin(labels);
    if (!labels_put_resource(labels, resource, LABELS_INFO))
        return NULL;
    labels_put_map(labels, &table->settings.const_labels);
    uint32_t number = table_take_slot(table, table->memo->info);
    if (number == NO_SLOT)
        return NULL;
    struct slot *slot = table_slot(table, number);
    slot->hash = hash;
    slot->whole = true;
    slot->set = texts_hold(&table->texts, hash);
    if (slot->set == NULL)
        slot->set = texts_add(&table->texts, hash, labels);
    index_add(&table->index, hash, number);
    table->series_count++;
    return slot;
}

/* Of all that labels are made of, and nothing else: a resource that changes in other respects is
 * the same series. */
static uint64_t resource_hash(const struct attrs *resource, enum labels_resource what,
                              uint64_t seed)
{
    struct attr attr;
    size_t position = 0;
    for (size_t before = 0; attrs_next(resource, &position, &attr); before = position)
        if (labels_use(&attr, what))
            seed = XXH3_64bits_withSeed(resource->otlp + before, position - before, seed);
    return seed;
}

static void take_info(const struct taking *taking)
{
    struct scrape_table *table = taking->table;
    uint64_t hash = resource_hash(taking->resource, LABELS_INFO, table->memo->info->seed);
    struct slot *slot = table_find(table, hash);
    if (slot == NULL)
        slot = add_info(table, taking->resource, hash);
    if (slot != NULL)
        put_value(slot, 1, taking->time_ms, taking->now_s);
}

/* The resource's hash; the first time in a page its target_info is kept alive. */
static void find_resource(struct taking *taking)
{
    struct table_memo *memo = taking->table->memo;
    struct memo_set *known = memo_place(memo->resources, taking->resource);
    if (known->attrs != taking->resource || known->generation != memo->generation) {
        uint64_t hash =
            resource_hash(taking->resource, taking->table->settings.resource, ~memo->seed);
        *known = (struct memo_set){taking->resource, hash, memo->generation};
        take_info(taking);
    }
    taking->resource_hash = known->hash;
}

static void begin_run(struct taking *taking, const struct run *run, uint32_t variant)
{
    struct scrape_table *table = taking->table;
    uint64_t time_ms = run->time_ns / NS_PER_MS;
    taking->run = run;
    taking->family = family_of(table, run->metric);
    taking->time_ms = time_ms > 0 ? time_ms : 1;
    taking->resource = walk_resource(run->resource, variant);
    find_resource(taking);
    taking->fixed_hash = run->fixed != NULL ? set_hash(table->memo, run->fixed) : 0;
    if (taking->family != NULL)
        taking->base = mix(mix(taking->family->seed + run->metric->value, taking->resource_hash),
                           taking->fixed_hash);
}

bool scrape_table_take(struct scrape_table *table, const struct page *page, struct page_slice slice,
                       uint32_t variant, uint64_t now_ns)
{
    struct taking taking = {.table = table, .now_s = (uint32_t)(now_ns / NS_PER_S)};
    uint32_t last = slice.first + slice.count;
    table->memo->generation++;
    for (uint32_t r = 0; r < page->run_count; r++) {
        const struct run *run = page_run_const(page, r);
        uint32_t first = run->first > slice.first ? run->first : slice.first;
        uint32_t behind = run->first + run->count < last ? run->first + run->count : last;
        if (first >= behind)
            continue;
        const struct point *points = page_points_const(page) + first;
        begin_run(&taking, run, variant);
        taking.full = taking.full || taking.family == NULL;
        if (taking.family == NULL)
            continue;
        if (metric_is_number(run->metric))
            take_numbers(&taking, points, behind - first);
        else
            for (uint32_t i = 0; i < behind - first; i++)
                take_distribution(&taking, &points[i]);
    }
    return !taking.full;
}
