/* SPDX-License-Identifier: Apache-2.0 */
/* Step 5 of 9, what is remembered between results. A row's *entity* is found by the cells of its
 * attribute columns. Results mostly come back in the same order, so row i is compared with entity i
 * of the last result, cell by cell in place; only where that fails is the key put together, hashed
 * and looked up. Attributes are encoded once, when a key is first seen.
 *
 * When a counter starts (OTLP start_time): at its row's start cell, or where that is NULL or there
 * is none, at the server's start. Its start moves when it was reset, to the later of the start
 * known now and the time of the last observation. It was reset when
 *   - its value went backwards, or
 *   - the start cell changed (NULL before counts as a change, NULL now does not).
 * A new server start alone is no reset: statistics survive a clean restart. A start never moves
 * back, and is not sent later than the time of its point.
 *
 * Owner: entities are read through pages by the worker, so a retired one waits until every page
 * that was filled before has come back. The shard flushes its page before series_reclaim(), which
 * stamps what was retired since with the last pushed sequence: an exact grace period that ends even
 * when the shard never pushes again. Keys are the user's data, so hashes are seeded. */
#include "pg/series.h"

#include <pgweir/telemetry.h>

#include <libpq-fe.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/memory.h"
#include "base/random.h"
#include "pg/value.h"

enum { SLOTS_MIN = 8, ROWS_MIN = 4, PROBLEM_BYTES = 192 };

/* Twice the entities that can be alive at once: those of the last RESULTS_UNSEEN_MAX results. */
_Static_assert((uint64_t)LIMIT_ROWS *(RESULTS_UNSEEN_MAX + 1) * 4 < UINT32_MAX, "slots fit");

/* ---- the retired ---- */

/* Entities that wait for pages, per shard, oldest first; the shard's thread only. */
static struct graveyard {
    struct entity *fresh; /* retired since the last series_reclaim(), newest first */
    struct entity *first, *last;
    uint64_t padding[5];
} graveyards[LIMIT_SHARDS];

/* Its key is not needed any more; `hash` becomes the sequence to wait for. */
static void entity_retire(struct entity *entity, uint32_t shard)
{
    entity->next = graveyards[shard].fresh;
    graveyards[shard].fresh = entity;
}

void series_reclaim(struct ring *ring, uint32_t shard)
{
    CHECK(shard < LIMIT_SHARDS);
    struct graveyard *graveyard = &graveyards[shard];
    if (graveyard->fresh == NULL && graveyard->first == NULL)
        return;
    uint64_t pushed = ring_next_sequence(ring, shard) - 1;
    while (graveyard->fresh != NULL) {
        struct entity *entity = graveyard->fresh;
        graveyard->fresh = entity->next;
        entity->next = NULL;
        entity->hash = pushed;
        *(graveyard->first == NULL ? &graveyard->first : &graveyard->last->next) = entity;
        graveyard->last = entity;
    }
    uint64_t returned = ring_returned_sequence(ring, shard);
    while (graveyard->first != NULL && graveyard->first->hash <= returned) {
        struct entity *entity = graveyard->first;
        graveyard->first = entity->next;
        entity_destroy(&entity);
    }
}

/* ---- the table ---- */

static void *grow(void *block, size_t bytes)
{
    block = xrealloc(block, bytes);
    return block;
}

void series_problem(struct series_table *table, enum series_problem kind, const char *format, ...)
{
    if ((table->problems_said & kind) != 0 || table->problem != NULL)
        return;
    table->problems_said |= kind;
    va_list arguments;
    va_start(arguments, format);
    if (table->problem_text == NULL)
        table->problem_text = grow(NULL, PROBLEM_BYTES);
    vsnprintf(table->problem_text, PROBLEM_BYTES, format, arguments);
    va_end(arguments);
    table->problem = table->problem_text;
}

static void add_key_column(struct series_table *table, uint16_t column)
{
    for (uint32_t i = 0; i < table->key_column_count; i++)
        if (table->key_columns[i].column == column)
            return;
    table->key_columns[table->key_column_count++].column = column;
}

struct series_table *series_table_create(const struct statement *statement)
{
    CHECK(statement->attribute_count <= LIMIT_QUERY_ATTRIBUTES);
    CHECK(statement->column_count <= LIMIT_QUERY_COLUMNS);
    CHECK(statement->start_column < statement->column_count);
    static _Thread_local struct random random;
    if (random.state == 0)
        random_init(&random);
    size_t key_columns = 0, points_bytes = statement->point_count * sizeof(struct point_binding);
    for (size_t i = 0; i < statement->attribute_count; i++)
        key_columns += statement->attributes[i].column_count;
    struct series_table *table =
        xcalloc(1, sizeof *table + points_bytes + key_columns * sizeof table->key_columns[0]);
    table->key_columns = (struct key_column *)(void *)((uint8_t *)table->points + points_bytes);
    table->statement = statement;
    table->slot_mask = UINT32_MAX;
    table->seed = random_next(&random);
    for (size_t i = 0; i < statement->attribute_count; i++)
        for (uint16_t j = 0; j < statement->attributes[i].column_count; j++) {
            CHECK(statement->attributes[i].columns[j] < statement->column_count);
            add_key_column(table, statement->attributes[i].columns[j]);
        }
    for (size_t i = 0; i < statement->point_count; i++) {
        CHECK(statement->points[i].column < statement->column_count);
        bool counter = statement->points[i].metric->instrument == METRIC_SUM &&
                       statement->points[i].metric->monotonic;
        table->points[i].counter = counter ? (uint16_t)table->counter_count++ : COUNTER_NONE;
    }
    CHECK(table->counter_count < COUNTER_NONE);
    return table;
}

void series_clear(struct series_table *table, struct telemetry_set *telemetry)
{
    for (uint32_t i = 0; table->slots != NULL && i <= table->slot_mask; i++) {
        if (table->slots[i] != NULL)
            entity_retire(table->slots[i], table->shard);
        table->slots[i] = NULL;
    }
    telemetry_add(telemetry, TELEMETRY_SERIES, 0 - (uint64_t)table->entity_count);
    table->entity_count = 0;
    table->row_count = 0;
}

void series_table_retire(struct series_table **table, struct ring *ring, uint32_t shard,
                         struct telemetry_set *telemetry)
{
    (void)ring;
    if (*table == NULL)
        return;
    CHECK(shard < LIMIT_SHARDS && ((*table)->result == 0 || (*table)->shard == shard));
    series_clear(*table, telemetry);
    free((*table)->rows);
    free((*table)->slots);
    free((*table)->key);
    free((*table)->problem_text);
    free(*table);
    *table = NULL;
}

/* ---- keys ---- */

/* Each key column: int32 length, −1 for NULL, then the bytes, cut like the attribute will be. */
static int32_t cell_bytes(const PGresult *rows, int row, int column)
{
    int bytes = PQgetlength(rows, row, column);
    if (bytes == 0 && PQgetisnull(rows, row, column))
        return -1;
    return bytes < LIMIT_ATTRIBUTE_BYTES ? bytes : LIMIT_ATTRIBUTE_BYTES;
}

static bool row_is(const struct series_table *table, const PGresult *rows, int row,
                   const struct entity *entity)
{
    const uint8_t *key = entity->key;
    for (uint32_t i = 0; i < table->key_column_count; i++) {
        int column = table->key_columns[i].column;
        int32_t bytes = cell_bytes(rows, row, column), was;
        memcpy(&was, key, sizeof was);
        key += sizeof was;
        if (bytes != was)
            return false;
        if (bytes > 0) {
            if (memcmp(key, PQgetvalue(rows, row, column), (size_t)bytes) != 0)
                return false;
            key += bytes;
        }
    }
    return true;
}

static size_t make_key(struct series_table *table, const PGresult *rows, int row)
{
    size_t used = 0;
    for (uint32_t i = 0; i < table->key_column_count; i++) {
        int column = table->key_columns[i].column;
        int32_t bytes = cell_bytes(rows, row, column);
        size_t needed = used + sizeof bytes + (bytes > 0 ? (size_t)bytes : 0);
        if (needed > table->key_capacity) {
            table->key_capacity = 2 * needed;
            table->key = grow(table->key, table->key_capacity);
        }
        memcpy(table->key + used, &bytes, sizeof bytes);
        if (bytes > 0)
            memcpy(table->key + used + sizeof bytes, PQgetvalue(rows, row, column), (size_t)bytes);
        used = needed;
    }
    return used;
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Folded multiplication as in wyhash, with a secret per table. */
static uint64_t hash_key(const uint8_t *key, size_t bytes, uint64_t seed)
{
    uint64_t state = seed ^ mix(bytes ^ 0x9e3779b97f4a7c15ull, seed | 1);
    for (; bytes > 0; key += 16) {
        uint64_t words[2] = {0, 0};
        size_t taken = bytes < 16 ? bytes : 16;
        memcpy(words, key, taken);
        bytes -= taken;
        state = mix(words[0] ^ state ^ 0xa0761d6478bd642full, words[1] ^ seed);
    }
    return mix(state ^ 0xe7037ed1a0b428dbull, seed ^ 0x8ebc6af09c88c6e3ull);
}

/* ---- slots ---- */

static void slots_put(struct series_table *table, struct entity *entity)
{
    uint32_t slot = (uint32_t)entity->hash & table->slot_mask;
    while (table->slots[slot] != NULL)
        slot = (slot + 1) & table->slot_mask;
    table->slots[slot] = entity;
}

static struct entity *slots_find(const struct series_table *table, uint64_t hash, size_t key_bytes)
{
    if (table->slots == NULL)
        return NULL;
    uint32_t slot = (uint32_t)hash & table->slot_mask;
    for (; table->slots[slot] != NULL; slot = (slot + 1) & table->slot_mask) {
        struct entity *entity = table->slots[slot];
        if (entity->hash == hash && entity->key_bytes == key_bytes &&
            (key_bytes == 0 || memcmp(entity->key, table->key, key_bytes) == 0))
            return entity;
    }
    return NULL;
}

/* Room for one more. */
static void slots_reserve(struct series_table *table)
{
    uint32_t capacity = table->slot_mask + 1;
    if (2 * (table->entity_count + 1) <= capacity)
        return;
    struct entity **old = table->slots;
    uint32_t larger = capacity == 0 ? SLOTS_MIN : 2 * capacity;
    table->slots = xcalloc(larger, sizeof *table->slots);
    table->slot_mask = larger - 1;
    for (uint32_t i = 0; i < capacity; i++)
        if (old[i] != NULL)
            slots_put(table, old[i]);
    free(old);
}

/* Empties a slot and moves up what probed past it. */
static void slots_clear(struct series_table *table, uint32_t hole)
{
    uint32_t slot = hole;
    table->slots[hole] = NULL;
    for (;;) {
        slot = (slot + 1) & table->slot_mask;
        struct entity *entity = table->slots[slot];
        if (entity == NULL)
            return;
        uint32_t home = (uint32_t)entity->hash & table->slot_mask;
        if (((slot - home) & table->slot_mask) < ((slot - hole) & table->slot_mask))
            continue; /* its home lies behind the hole */
        table->slots[hole] = entity;
        table->slots[slot] = NULL;
        hole = slot;
    }
}

void series_sweep(struct series_table *table, struct telemetry_set *telemetry)
{
    uint32_t retired = 0;
    for (uint32_t slot = 0; table->slots != NULL && slot <= table->slot_mask;) {
        struct entity *entity = table->slots[slot];
        if (entity == NULL || table->result - entity->seen < RESULTS_UNSEEN_MAX) {
            slot++;
            continue;
        }
        slots_clear(table, slot); /* another may be in this slot now: look again */
        entity_retire(entity, table->shard);
        retired++;
    }
    table->entity_count -= retired;
    telemetry_add(telemetry, TELEMETRY_SERIES, 0 - (uint64_t)retired);
}

/* ---- entities ---- */

static void reset_counters(struct series_table *table, struct entity *entity, uint64_t start_ns)
{
    for (size_t i = 0; i < table->statement->point_count; i++) {
        if (table->points[i].counter == COUNTER_NONE)
            continue;
        struct counter_state *counter = &entity->counters[table->points[i].counter];
        if (table->statement->points[i].metric->value == METRIC_INT)
            counter->last.integer = INT64_MIN;
        else
            counter->last.real = -__builtin_inf();
        counter->start_ns = start_ns;
    }
}

static struct entity *find_or_create(struct series_table *table, const PGresult *rows, int row,
                                     const struct decode_context *context)
{
    size_t key_bytes = make_key(table, rows, row);
    uint64_t hash = hash_key(table->key, key_bytes, table->seed);
    struct entity *entity = slots_find(table, hash, key_bytes);
    if (entity != NULL)
        return entity;
    struct entity_loss loss = {0};
    struct entity_source source = {table->statement,     rows,       row,      context->resource,
                                   table->counter_count, table->key, key_bytes};
    entity = entity_create(&source, &loss);
    telemetry_add(context->telemetry, TELEMETRY_ATTRIBUTES_CUT, loss.cut);
    if (loss.full)
        series_problem(table, PROBLEM_ATTRIBUTES,
                       "attributes of a row exceed %d bytes and were left out: select less text",
                       LIMIT_ATTRS_BYTES);
    entity->hash = hash;
    entity->seen = table->result - 1;
    slots_reserve(table);
    slots_put(table, entity);
    table->entity_count++;
    telemetry_add(context->telemetry, TELEMETRY_SERIES, 1);
    return entity;
}

/* ---- one result ---- */

/* The row's start cell in ns since the epoch; 0: NULL or none. */
static uint64_t start_cell(const struct series_table *table, const PGresult *rows, int row)
{
    int64_t start_ns;
    int column = table->statement->start_column;
    if (table->start_type == NULL ||
        !table->start_type->to_int((const uint8_t *)PQgetvalue(rows, row, column),
                                   (size_t)PQgetlength(rows, row, column), &start_ns) ||
        start_ns < 0)
        return 0;
    return (uint64_t)start_ns;
}

/* The start of the row's counters is not what it was: see the rule above. */
static void entity_rebase(struct series_table *table, struct entity *entity, uint64_t cell_ns,
                          uint64_t base_ns, uint64_t known_ns)
{
    bool first = entity->time_ns == 0;
    if (first || (cell_ns != 0 && cell_ns != entity->column_ns)) {
        reset_counters(table, entity, entity->reset_ns);
    } else {
        for (uint32_t i = 0; i < table->counter_count; i++)
            if (entity->counters[i].start_ns == 0) /* not known until now */
                entity->counters[i].start_ns = known_ns;
    }
    if (cell_ns != 0)
        entity->column_ns = cell_ns;
    entity->base_ns = base_ns;
}

static void reserve_rows(struct series_table *table, uint32_t row_count)
{
    if (row_count <= table->row_capacity)
        return;
    uint32_t capacity = row_count + row_count / 4;
    table->row_capacity = capacity < ROWS_MIN ? ROWS_MIN : capacity;
    table->rows = grow(table->rows, table->row_capacity * sizeof(struct entity *));
}

uint32_t series_match(struct series_table *table, const struct pg_result *rows, uint32_t row_count,
                      const struct decode_context *context)
{
    uint32_t repeated = 0;
    reserve_rows(table, row_count);
    table->result++;
    for (uint32_t row = 0; row < row_count; row++) {
        struct entity *entity = row < table->row_count ? table->rows[row] : NULL;
        if (entity == NULL || !row_is(table, rows, (int)row, entity))
            entity = find_or_create(table, rows, (int)row, context);
        if (entity->seen == table->result) {
            table->rows[row] = NULL;
            repeated++;
            continue;
        }
        uint64_t cell_ns = start_cell(table, rows, (int)row);
        uint64_t base_ns = cell_ns != 0 ? cell_ns : context->server_start_ns;
        /* the server's clock may be ahead of ours */
        uint64_t known_ns = base_ns < context->time_ns ? base_ns : context->time_ns;
        entity->reset_ns = known_ns > entity->time_ns ? known_ns : entity->time_ns;
        if (base_ns != entity->base_ns || (cell_ns != 0 && cell_ns != entity->column_ns) ||
            entity->time_ns == 0)
            entity_rebase(table, entity, cell_ns, base_ns, known_ns);
        entity->time_ns = context->time_ns;
        entity->seen = table->result;
        table->rows[row] = entity;
    }
    table->row_count = row_count;
    if (table->entity_count > row_count - repeated)
        series_sweep(table, context->telemetry);
    return repeated;
}
