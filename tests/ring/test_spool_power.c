/* SPDX-License-Identifier: Apache-2.0 */
/* Power loss and kill -9, replayed: random acts are done with every file operation recorded. Then,
 * for every point in that log, the directory is made up as it may be found after a crash there,
 * and recovered:
 *
 *   killed     all that was written is there
 *   power lost what was synced is there, of the rest any part: writes missing, torn at sectors,
 *              sizes without contents, entries of the directory come or gone, in any combination
 *
 * and it is checked that what was promised is there, nothing else is, and the books are exact.
 *
 *   test_spool_power [SEED [SEEDS [STATES]]]    more of it: states for each point of the log */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/random.h"
#include "tests/ring/spool_faults.h"
#include "tests/ring/spool_kit.h"

enum { ACTS = 70, SEQUENCES_MAX = 400, OPS_MAX = 4000 };

/* What is known of each sequence (= number + 1, as nothing is refused here), in operations of the
 * log; SIZE_MAX: never. */
struct history {
    size_t put_begun[SEQUENCES_MAX], stored[SEQUENCES_MAX];
    size_t done_begun[SEQUENCES_MAX]; /* ack or eviction */
    uint64_t count;
    /* after each act: what was promised then */
    struct {
        size_t ops;
        uint64_t synced;
    } promises[ACTS + 1];
    size_t promise_count;
};

static char live_path[256], crash_path[256];
static struct kit *live, *after;
static struct faults faults;
static struct history *history;
static uint64_t seed_at_hand;
static uint64_t states_checked, records_found, losses_seen;
static unsigned long first_seed = 1, seed_count = 3, states_per_point = 2;

static int make(void **state)
{
    (void)state;
    kit_make_directory(live_path);
    kit_make_directory(crash_path);
    live = malloc(sizeof *live);
    after = malloc(sizeof *after);
    history = malloc(sizeof *history);
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    free(live);
    free(after);
    free(history);
    kit_remove_directory(live_path);
    kit_remove_directory(crash_path);
    return 0;
}

/* ---- the run that is recorded ---- */

static void put_one(struct random *random)
{
    uint64_t sequence = ++history->count;
    history->put_begun[sequence] = faults.op_count;
    assert_int_equal(kit_put(live, sequence, (uint32_t)random_below(random, 1500)), SPOOL_STORED);
    history->stored[sequence] = faults.op_count;
}

static void ack_one(uint64_t sequence)
{
    size_t before = faults.op_count;
    if (spool_store_ack(live->store, sequence, live->now))
        history->done_begun[sequence] = before;
}

static void act(struct random *random)
{
    uint64_t last = history->count;
    switch (random_below(random, 12)) {
    case 0:
    case 1:
    case 2:
    case 3:
        for (uint64_t i = random_below(random, 4); i > 0 && history->count + 1 < SEQUENCES_MAX; i--)
            put_one(random);
        break;
    case 4:
    case 5:
        ack_one(1 + random_below(random, last + 1));
        break;
    case 6: /* the oldest few, so that segments go */
        for (uint64_t i = 1, left = random_below(random, 6); i <= last && left > 0; i++)
            if (history->done_begun[i] == SIZE_MAX) {
                ack_one(i);
                left--;
            }
        break;
    case 7:
        kit_close(live);
        assert_true(kit_open(live));
        break;
    default:
        kit_turn(live, random_below(random, 250) * NS_PER_MS);
    }
}

static void note_evictions(size_t *seen)
{
    for (; *seen < live->event_count; ++*seen)
        if (live->events[*seen].kind == SPOOL_EVICTED)
            history->done_begun[live->events[*seen].sequence] = live->counts[*seen];
}

static void record_run(uint64_t seed)
{
    struct random random = {.state = seed};
    size_t seen = 0;
    memset(history, 0, sizeof *history);
    for (size_t i = 0; i < SEQUENCES_MAX; i++)
        history->put_begun[i] = history->stored[i] = history->done_begun[i] = SIZE_MAX;
    faults_clear(&faults);
    kit_init(live, live_path);
    live->settings.files = &faults.files;
    live->counter = &faults.op_count;
    live->settings.segment_bytes = 4096;
    live->settings.size_bytes = seed % 3 == 0 ? 20000 : 1 << 20; /* every third evicts */
    assert_true(kit_open(live));
    for (int i = 0; i < ACTS; i++) {
        act(&random);
        note_evictions(&seen);
        uint64_t synced = kit_status(live).synced_sequence;
        history->promises[history->promise_count].ops = faults.op_count;
        history->promises[history->promise_count++].synced = synced;
        assert_true(kit_status(live).working);
    }
    kit_close(live);
    kit_empty_directory(live_path);
}

/* ---- what must hold afterwards ---- */

static uint64_t promised(size_t ops)
{
    uint64_t synced = 0;
    for (size_t i = 0; i < history->promise_count && history->promises[i].ops <= ops; i++)
        synced = history->promises[i].synced; /* goes back where what is newer is not synced */
    return synced;
}

/* Written to an ack log that was synced, log and name, before the crash. */
static bool ack_is_durable(uint64_t sequence, size_t ops)
{
    const char *log = NULL;
    bool synced = false;
    if (history->done_begun[sequence] == SIZE_MAX)
        return false;
    for (size_t i = history->done_begun[sequence]; i < ops; i++) {
        const struct fault_op *op = &faults.ops[i];
        bool acks = strstr(op->name, ".acks") != NULL;
        if (op->kind == FAULT_WRITE && acks && op->offset > 0 && log == NULL)
            log = op->name;
        synced = synced || (op->kind == FAULT_SYNC && log != NULL && strcmp(log, op->name) == 0);
        if (!synced || op->kind != FAULT_SYNC_DIRECTORY)
            continue;
        return true;
    }
    if (!synced)
        return false;
    for (size_t i = 0; i < ops; i++) /* the name was durable before */
        if (faults.ops[i].kind == FAULT_CREATE && strcmp(faults.ops[i].name, log) == 0)
            for (size_t j = i + 1; j < history->done_begun[sequence]; j++)
                if (faults.ops[j].kind == FAULT_SYNC_DIRECTORY)
                    return true;
    return false;
}

/* Written to an ack log after the act: that survives the process. */
static bool ack_is_written(uint64_t sequence, size_t ops)
{
    if (history->done_begun[sequence] == SIZE_MAX)
        return false;
    for (size_t i = history->done_begun[sequence]; i < ops; i++)
        if (faults.ops[i].kind == FAULT_WRITE && faults.ops[i].offset > 0 &&
            strstr(faults.ops[i].name, ".acks") != NULL)
            return true;
    return false;
}

struct verdict {
    uint64_t least_records, least_points; /* loss that must be reported */
    uint64_t most_records, most_points;   /* loss that may be */
};

/* What may and must be there, given what is. */
static struct verdict judge(size_t ops, bool killed, const bool *found)
{
    struct verdict verdict = {0};
    uint64_t synced = promised(ops), last_found = 0;
    for (uint64_t i = 1; i <= history->count; i++)
        if (found[i])
            last_found = i;
    for (uint64_t i = 1; i <= history->count; i++) {
        bool begun = history->put_begun[i] < ops, stored = history->stored[i] <= ops;
        bool done = history->done_begun[i] < ops || history->done_begun[i] == ops;
        if (found[i]) {
            assert_true(begun);
            assert_false(ack_is_durable(i, ops));
            assert_false(killed && ack_is_written(i, ops));
            continue;
        }
        if (stored && !done && (killed || i <= synced))
            fail_msg("lost: sequence %lu, promised %lu, at %zu", i, synced, ops);
        if (!begun)
            continue;
        if (!ack_is_durable(i, ops)) {
            verdict.most_records++;
            verdict.most_points += kit_points(i);
        }
        if (!done && i < last_found) {
            verdict.least_records++;
            verdict.least_points += kit_points(i);
        }
    }
    return verdict;
}

static void explain(size_t ops, bool killed, const bool *found)
{
    print_message("seed %lu, crash after %zu operations, %s, synced to %lu\n", seed_at_hand, ops,
                  killed ? "killed" : "power lost", promised(ops));
    for (uint64_t i = 1; i <= history->count && history->put_begun[i] < ops; i++)
        print_message("  %lu:%s%s%s%s\n", i, found[i] ? " found" : "",
                      history->stored[i] <= ops ? " stored" : "",
                      history->done_begun[i] <= ops ? " done" : "",
                      ack_is_durable(i, ops) ? " durably" : "");
}

static void recover_and_check(size_t ops, bool killed)
{
    bool found[SEQUENCES_MAX] = {false};
    kit_init(after, crash_path);
    after->settings.segment_bytes = 4096;
    assert_true(kit_open(after));
    struct spool_status status = kit_status(after);
    assert_true(status.working);
    uint64_t records = 0, sequence;
    while ((sequence = kit_read(after)) != 0) {
        assert_true(sequence <= history->count);
        assert_false(found[sequence]);
        found[sequence] = true;
        records++;
    }
    /* The newest segment's bodies were checked at start; others were synced before it was begun,
     * unless all in them was done with. */
    assert_int_equal(records + kit_count_events(after, SPOOL_EVICTED), status.recovered_records);
    struct verdict verdict = judge(ops, killed, found);
    status = kit_status(after);
    if (status.corrupt_records < verdict.least_records ||
        status.corrupt_records > verdict.most_records)
        explain(ops, killed, found);
    assert_in_range(status.corrupt_records, verdict.least_records, verdict.most_records);
    assert_in_range(status.corrupt_points, verdict.least_points, verdict.most_points);
    if (killed)
        assert_int_equal(status.corrupt_records, 0);
    states_checked++;
    records_found += records;
    losses_seen += status.corrupt_records;

    /* It goes on from here, and a second start finds the same and no loss a second time. */
    uint64_t next = spool_store_next(after->store);
    for (uint64_t i = 1; i <= history->count; i++)
        assert_true(!found[i] || i < next);
    assert_int_equal(kit_put(after, next, 100), SPOOL_STORED);
    kit_turn(after, NS_PER_S);
    kit_close(after);
    assert_true(kit_open(after));
    status = kit_status(after);
    assert_int_equal(status.recovered_records, records + 1);
    assert_int_equal(status.corrupt_records, 0);
    kit_close(after);
    kit_empty_directory(crash_path);
}

static void test_every_state(void **state)
{
    (void)state;
    faults_init(&faults);
    faults.record = true;
    uint64_t points = 0;
    for (uint64_t seed = first_seed; seed < first_seed + seed_count; seed++) {
        struct random random = {.state = seed * 77};
        seed_at_hand = seed;
        record_run(seed);
        assert_true(faults.op_count < OPS_MAX);
        points += faults.op_count;
        for (size_t ops = 0; ops <= faults.op_count; ops++) {
            enum fault_op_kind kind = ops > 0 ? faults.ops[ops - 1].kind : FAULT_WRITE;
            if (kind == FAULT_READ || kind == FAULT_OPEN || kind == FAULT_ALLOCATE)
                continue; /* leaves nothing behind */
            faults_materialise(&faults, ops, NULL, crash_path);
            recover_and_check(ops, true);
            for (unsigned long i = 0; i < states_per_point; i++) {
                faults_materialise(&faults, ops, &random, crash_path);
                recover_and_check(ops, false);
            }
        }
    }
    faults_fini(&faults);
    print_message("%lu operations recorded, %lu crash states, %lu records found in them, "
                  "%lu reported lost\n",
                  points, states_checked, records_found, losses_seen);
    assert_true(losses_seen > 0); /* else nothing was torn */
}

int main(int argc, char **argv)
{
    unsigned long *const options[] = {&first_seed, &seed_count, &states_per_point};
    for (int i = 1; i < argc && i <= 3; i++)
        *options[i - 1] = strtoul(argv[i], NULL, 10);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_state, make, unmake)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
