/* SPDX-License-Identifier: Apache-2.0 */
/* What /status says of the auto-tuner, from a record made by hand. */
#include "exporters/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include <math.h>

#include "base/clock.h"
#include "exporters/tuning.h"

static const uint64_t now_ns = 1000 * NS_PER_S;

static json_t *read_back(char *text)
{
    json_error_t error;
    assert_non_null(text);
    json_t *json = json_loads(text, 0, &error);
    if (json == NULL)
        fail_msg("%s in %s", error.text, text);
    free(text);
    return json;
}

static double real(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static const char *text(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_string(value));
    return json_string_value(value);
}

static void test_tuner(void **state)
{
    (void)state;
    struct tuning_status *status = calloc(1, sizeof *status);
    assert_non_null(status);
    *status = (struct tuning_status){.mode = TUNER_ON,
                                     .age_target_s = 5,
                                     .trying = true,
                                     .trial = 0,
                                     .trial_value = 16384,
                                     .cost_ns = 171.23,
                                     .noise = NAN,
                                     .trials = 4,
                                     .knob_count = 1,
                                     .decision_count = 2};
    status->knobs[0] = (struct tuning_knob_status){.exporter = "otlp_http/nr",
                                                   .name = "batch_size",
                                                   .unit = "points",
                                                   .value = 8192,
                                                   .configured = 10};
    status->decisions[0] = (struct tuner_decision){.at_ns = now_ns - 30 * NS_PER_S,
                                                   .verdict = TUNER_KEPT,
                                                   .knob = 0,
                                                   .from = 10,
                                                   .to = 8192,
                                                   .cost_before_ns = 900,
                                                   .cost_after_ns = 180,
                                                   .reason = "cheaper"};
    status->decisions[1] = (struct tuner_decision){
        .at_ns = now_ns, .verdict = TUNER_GAVE_UP, .knob = TUNER_KNOBS, .reason = "no knob helps"};
    json_t *json = read_back(status_tuning_json(status, now_ns));
    assert_string_equal(text(json, "mode"), "on");
    assert_true(json_is_null(json_object_get(json, "noise")));
    assert_true(real(json, "ns_per_point") == 171.23);
    const json_t *knob = json_array_get(json_object_get(json, "knobs"), 0);
    assert_string_equal(text(knob, "knob"), "batch_size");
    assert_true(real(knob, "value") == 8192 && real(knob, "configured") == 10);
    const json_t *trial = json_object_get(json, "trial");
    assert_string_equal(text(trial, "exporter"), "otlp_http/nr");
    assert_true(real(trial, "value") == 16384);
    const json_t *decisions = json_object_get(json, "decisions");
    const json_t *newest = json_array_get(decisions, 0), *kept = json_array_get(decisions, 1);
    assert_int_equal(json_array_size(decisions), 2);
    assert_null(json_object_get(newest, "knob"));
    assert_string_equal(text(newest, "reason"), "no knob helps");
    assert_string_equal(text(kept, "knob"), "batch_size");
    assert_true(real(kept, "from") == 10 && real(kept, "ns_per_point_after") == 180);
    assert_null(json_object_get(kept, "age_p99_before_s"));
    json_decref(json);
    free(status);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tuner)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
