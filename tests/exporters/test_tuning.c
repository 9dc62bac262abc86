/* SPDX-License-Identifier: Apache-2.0 */
/* The auto-tuner on a real worker: what it decides is in force, told and shown; as advice it is
 * only told; what is set reaches batches, outbox and compressor. */
#include "exporters/tuning.c" /* apply() */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/random.h"
#include "exporters/ledger.h"
#include "tests/exporters/rig.h"
#include "tests/exporters/server.h"

enum { POINTS = 50, BATCHES_AHEAD = 4, PATIENCE_S = 60 };

static const struct server_step fine[] = {{.status = 200}};

struct scene {
    struct rig rig;
    struct server *server;
    char url[64];
    struct tuner_settings settings;
};

static void scene_start(struct scene *scene, int mode, const struct batch_settings *batch)
{
    scene->server = server_start(fine, 1, NULL, NULL);
    snprintf(scene->url, sizeof scene->url, "http://127.0.0.1:%u", server_port(scene->server));
    const char *const pairs[] = {"endpoint",
                                 scene->url,
                                 "compression",
                                 "zstd",
                                 "compression_params.level",
                                 "3",
                                 "sending_queue.num_consumers",
                                 "4",
                                 "rate_limit.enabled",
                                 "false",
                                 NULL};
    rig_init(&scene->rig);
    rig_add(&scene->rig, &otlp_http_exporter.component, pairs);
    scene->settings.mode = mode;
    scene->rig.tuner = &scene->settings;
    scene->rig.batch = *batch;
    rig_start(&scene->rig);
}

static void scene_stop(struct scene *scene)
{
    assert_true(rig_stop(&scene->rig, 10000));
    rig_fini(&scene->rig);
    server_stop(&scene->server);
}

static const struct telemetry_set *knob_set(const char *knob)
{
    for (const struct telemetry_set *set = telemetry_first(); set != NULL; set = set->next)
        if (set->owner == TELEMETRY_TUNER && strcmp(set->labels[1].value, knob) == 0)
            return set;
    fail_msg("no knob %s", knob);
    return NULL;
}

static uint64_t knob_value(const char *knob, enum telemetry_value value)
{
    return counter_read(&knob_set(knob)->values[value]);
}

/* Pushes a page of POINTS points every 2 ms until one of the rows counts. Not where the back end is
 * behind: on a busy machine points would pile up, and the tuner has other things to do then. */
static void push_until(struct scene *scene, const char *knob, enum telemetry_value row,
                       enum telemetry_value other_row)
{
    uint64_t deadline_ns = clock_monotonic_ns() + PATIENCE_S * NS_PER_S;
    while (knob_value(knob, row) == 0 && knob_value(knob, other_row) == 0) {
        if (clock_monotonic_ns() > deadline_ns)
            fail_msg("%s: nothing in %s", knob, telemetry_values[row].label_value);
        if (rig_value(&scene->rig, 0, TELEMETRY_QUEUE_BATCHES) < BATCHES_AHEAD)
            rig_push(&scene->rig, POINTS, 0);
        nanosleep(&(struct timespec){.tv_nsec = 2 * NS_PER_MS}, NULL);
    }
}

static const struct tuning_knob_status *shown_knob(const struct tuning_status *status,
                                                   const char *name)
{
    for (uint32_t i = 0; i < status->knob_count; i++)
        if (strcmp(status->knobs[i].name, name) == 0)
            return &status->knobs[i];
    fail_msg("no knob %s", name);
    return NULL;
}

/* A batch a page costs a request a page: whatever the machine, more points a request cost less. */
static void test_turns(void **state)
{
    (void)state;
    static struct scene scene;
    static struct tuning_status status;
    scene = (struct scene){.settings = {.age_p99_ns = 3600 * NS_PER_S,
                                        .interval_ns = 200 * NS_PER_MS,
                                        .batch_size_min = 2000,
                                        .batch_size_max = 65536,
                                        .flush_age_min_ns = NS_PER_MS}};
    scene_start(&scene, TUNER_ON, &(struct batch_settings){10, 0, 3600 * NS_PER_S});
    assert_int_equal(knob_value("batch_size", TELEMETRY_TUNER_VALUE), 10);
    assert_int_equal(knob_value("flush_age", TELEMETRY_TUNER_VALUE), 3600 * 1000);
    assert_int_equal(knob_value("concurrency_max", TELEMETRY_TUNER_VALUE), 4);
    assert_int_equal(knob_value("compression_level", TELEMETRY_TUNER_VALUE), 3);
    /* a pile there was all the same is a reason, too */
    push_until(&scene, "batch_size", TELEMETRY_TUNER_KEPT, TELEMETRY_TUNER_CURED);
    assert_true(worker_read_tuning(scene.rig.worker, &status));
    assert_int_equal(status.mode, TUNER_ON);
    assert_int_equal(status.knob_count, 4);
    const struct tuning_knob_status *size = shown_knob(&status, "batch_size");
    assert_true(size->value >= 2000 && size->value <= 65536 && size->configured == 10);
    assert_true(size->kept > 0 && status.kept > 0 && status.trials > 0);
    assert_string_equal(size->exporter, "first");
    assert_true(status.decision_count > 0 && status.cost_ns > 0 && status.points_per_s > 0);
    bool told = false;
    for (uint32_t i = 0; i < status.decision_count; i++) {
        const struct tuner_decision *decision = &status.decisions[i];
        bool better =
            decision->verdict == TUNER_CURED ||
            (decision->verdict == TUNER_KEPT && decision->cost_after_ns < decision->cost_before_ns);
        told = told || (better && decision->from == 10 && decision->to >= 2000);
    }
    assert_true(told);
    scene_stop(&scene);
}

/* An hour's batch against a target of 1.6 s: far from what a busy machine adds to 0.8 s. */
static void test_cures(void **state)
{
    (void)state;
    static struct scene scene;
    scene = (struct scene){.settings = {.age_p99_ns = 1600 * NS_PER_MS,
                                        .interval_ns = 800 * NS_PER_MS,
                                        .batch_size_min = 256,
                                        .batch_size_max = 65536,
                                        .flush_age_min_ns = NS_PER_MS}};
    scene_start(&scene, TUNER_ON, &(struct batch_settings){1000000000, 0, 3600 * NS_PER_S});
    push_until(&scene, "flush_age", TELEMETRY_TUNER_CURED, TELEMETRY_TUNER_CURED);
    assert_in_range(knob_value("flush_age", TELEMETRY_TUNER_VALUE), 1, 800);
    rig_wait(&scene.rig, 0, TELEMETRY_POINTS_DELIVERED, 1);
    scene_stop(&scene);
}

/* The same, as advice: told, and nothing else. */
static void test_advises(void **state)
{
    (void)state;
    static struct scene scene;
    static struct tuning_status status;
    scene = (struct scene){.settings = {.age_p99_ns = 400 * NS_PER_MS,
                                        .interval_ns = 400 * NS_PER_MS,
                                        .batch_size_min = 256,
                                        .batch_size_max = 65536,
                                        .flush_age_min_ns = NS_PER_MS}};
    scene_start(&scene, TUNER_ADVISE, &(struct batch_settings){1000000000, 0, 3600 * NS_PER_S});
    push_until(&scene, "flush_age", TELEMETRY_TUNER_ADVISED, TELEMETRY_TUNER_ADVISED);
    assert_true(worker_read_tuning(scene.rig.worker, &status));
    assert_int_equal(status.mode, TUNER_ADVISE);
    assert_int_equal(status.trials, 0);
    assert_int_equal(status.decisions[0].verdict, TUNER_ADVISED);
    assert_true(status.decisions[0].from == 3600 && status.decisions[0].to <= 0.2);
    for (uint32_t i = 0; i < status.knob_count; i++)
        assert_true(status.knobs[i].value == status.knobs[i].configured);
    assert_int_equal(knob_value("flush_age", TELEMETRY_TUNER_VALUE), 3600 * 1000);
    assert_int_equal(rig_value(&scene.rig, 0, TELEMETRY_POINTS_DELIVERED), 0);
    scene_stop(&scene);
}

/* Off, and what has no batch processor or wants each page at once, has no knobs for batches. */
static void test_no_knobs(void **state)
{
    (void)state;
    static struct scene scene;
    static struct tuning_status status;
    scene = (struct scene){.settings = {.age_p99_ns = NS_PER_S, .interval_ns = NS_PER_S}};
    scene_start(&scene, TUNER_OFF, &(struct batch_settings){10, 0, NS_PER_S});
    assert_false(worker_read_tuning(scene.rig.worker, &status));
    scene_stop(&scene);
    scene = (struct scene){.settings = {.age_p99_ns = NS_PER_S, .interval_ns = NS_PER_S}};
    scene_start(&scene, TUNER_ON, &(struct batch_settings){10, 0, 0});
    assert_true(worker_read_tuning(scene.rig.worker, &status));
    assert_int_equal(status.knob_count, 2);
    scene_stop(&scene);
}

/* A batch's bounds are the user's and the tuner's, whichever is narrower. */
static void test_bounds(void **state)
{
    (void)state;
    static struct scene scene;
    static struct tuning_status status;
    scene = (struct scene){.settings = {.age_p99_ns = 8 * NS_PER_S,
                                        .interval_ns = NS_PER_S,
                                        .batch_size_min = 256,
                                        .batch_size_max = 65536,
                                        .flush_age_min_ns = 20 * NS_PER_MS}};
    scene_start(&scene, TUNER_ON, &(struct batch_settings){100, 5000, NS_PER_S});
    assert_true(worker_read_tuning(scene.rig.worker, &status));
    const struct tuning_knob_status *size = shown_knob(&status, "batch_size");
    const struct tuning_knob_status *flush = shown_knob(&status, "flush_age");
    assert_true(size->low == 256 && size->high == 5000 && size->value == 100);
    assert_true(flush->low == 0.02 && flush->high == 4 && flush->value == 1);
    scene_stop(&scene);
}

/* Each kind of knob, set by hand: it arrives. */
static void test_applies(void **state)
{
    (void)state;
    static const struct tuner_settings settings = {.mode = TUNER_ON,
                                                   .age_p99_ns = 10 * NS_PER_S,
                                                   .interval_ns = NS_PER_S,
                                                   .batch_size_min = 256,
                                                   .batch_size_max = 65536,
                                                   .flush_age_min_ns = NS_PER_MS};
    static const double values[KIND_COUNT] = {
        [KIND_FLUSH] = 0.25, [KIND_SIZE] = 4096, [KIND_REQUESTS] = 3, [KIND_LEVEL] = 1};
    const char *const pairs[] = {"endpoint", "http://127.0.0.1:1",       "compression",
                                 "zstd",     "compression_params.level", "12",
                                 NULL};
    struct batch_settings batch_settings_given = {8192, 0, NS_PER_S};
    struct http *http = NULL;
    struct error error;
    assert_true(http_create(&http, &error));
    struct worker_destination options = {&otlp_http_exporter.component, "one",
                                         settings_create(&otlp_http_exporter.component, pairs)};
    struct destination_context context = {.http = http, .wake_fd = -1};
    struct destination *destination;
    assert_true(destination_create(&destination, &context, &options, &error));
    struct batch *batch = batch_create(&batch_settings_given, destination, 0);
    struct tuning *tuning = tuning_create(&settings, telemetry_open(TELEMETRY_WORKER, 0, NULL));
    tuning_add(tuning, "one", destination, &batch, 1);
    assert_int_equal(tuning->tuner.knob_count, KIND_COUNT);

    static uint8_t body[200000];
    struct random random = {.state = 1};
    for (size_t at = 0; at + 64 < sizeof body;)
        at += (size_t)snprintf((char *)body + at, 64, "postgresql.table.%u %u\n",
                               (unsigned)random_below(&random, 900),
                               (unsigned)random_below(&random, 100000));
    struct telemetry_set *set = destination_telemetry(destination);
    ledger_collect(set, 2, 0);
    outbox_push(destination_outbox(destination), body, sizeof body, 1, clock_monotonic_ns());
    uint64_t first = counter_read(&set->values[TELEMETRY_QUEUE_BYTES]);
    for (uint32_t i = 0; i < tuning->tuner.knob_count; i++) {
        tuning->tuner.knobs[i].value = values[tuning->handles[i].kind];
        apply(tuning, i);
    }
    outbox_push(destination_outbox(destination), body, sizeof body, 1, clock_monotonic_ns());
    uint64_t other = counter_read(&set->values[TELEMETRY_QUEUE_BYTES]) - first;
    assert_true(first > 0 && other > 0 && other != first); /* another level, other bytes */
    assert_int_equal(batch_settings(batch)->send_batch_size, 4096);
    assert_int_equal(batch_settings(batch)->timeout_ns, 250 * NS_PER_MS);
    outbox_step(destination_outbox(destination), clock_monotonic_ns());
    struct outbox_status status;
    outbox_read_status(destination_outbox(destination), &status);
    assert_int_equal(status.concurrency_max, 3);
    assert_int_equal(knob_value("flush_age", TELEMETRY_TUNER_VALUE), 250);
    assert_int_equal(knob_value("batch_size", TELEMETRY_TUNER_VALUE), 4096);

    tuning_destroy(&tuning);
    batch_destroy(&batch);
    destination_destroy(&destination);
    http_destroy(&http);
    void *given = (void *)(uintptr_t)options.settings;
    settings_destroy(&otlp_http_exporter.component, given);
    telemetry_reset();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_turns),   cmocka_unit_test(test_cures),
        cmocka_unit_test(test_advises), cmocka_unit_test(test_no_knobs),
        cmocka_unit_test(test_bounds),  cmocka_unit_test(test_applies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
