/* SPDX-License-Identifier: Apache-2.0 */
/* The auto-tuner for people: what it holds, what it tries, and why it decided as it did. */
#include "exporters/status.h"
#include "exporters/tuning.h"

static json_t *knob_json(const struct tuning_knob_status *knob)
{
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:I, s:I}", "exporter", knob->exporter,
                     "knob", knob->name, "unit", knob->unit, "value", status_number(knob->value),
                     "configured", status_number(knob->configured), "low", status_number(knob->low),
                     "high", status_number(knob->high), "kept", (json_int_t)knob->kept,
                     "rolled_back", (json_int_t)knob->rolled_back);
}

/* "knob" and "exporter" of knob `index`, where there is one. */
static void put_knob(json_t *object, const struct tuning_status *status, uint32_t index)
{
    if (index >= status->knob_count)
        return;
    json_object_set_new(object, "exporter", json_string(status->knobs[index].exporter));
    json_object_set_new(object, "knob", json_string(status->knobs[index].name));
}

static json_t *decision_json(const struct tuning_status *status,
                             const struct tuner_decision *decision, uint64_t now_ns)
{
    json_t *object =
        json_pack("{s:o, s:s, s:s}", "ago_s", status_ago(decision->at_ns, now_ns), "decision",
                  tuner_verdict_name(decision->verdict), "reason", decision->reason);
    put_knob(object, status, decision->knob);
    if (decision->knob < status->knob_count) {
        json_object_set_new(object, "from", status_number(decision->from));
        json_object_set_new(object, "to", status_number(decision->to));
    }
    if (decision->cost_before_ns > 0) {
        json_object_set_new(object, "ns_per_point_before", status_number(decision->cost_before_ns));
        json_object_set_new(object, "ns_per_point_after", status_number(decision->cost_after_ns));
    }
    if (decision->age_before_s > 0) {
        json_object_set_new(object, "age_p99_before_s", status_number(decision->age_before_s));
        json_object_set_new(object, "age_p99_after_s", status_number(decision->age_after_s));
    }
    return object;
}

char *status_tuning_json(const struct tuning_status *status, uint64_t now_ns)
{
    static const char *const modes[] = {
        [TUNER_OFF] = "off", [TUNER_ADVISE] = "advise", [TUNER_ON] = "on"};
    json_t *knobs = json_array(), *decisions = json_array();
    for (uint32_t i = 0; i < status->knob_count; i++)
        json_array_append_new(knobs, knob_json(&status->knobs[i]));
    for (uint32_t i = status->decision_count; i-- > 0;)
        json_array_append_new(decisions, decision_json(status, &status->decisions[i], now_ns));
    json_t *object =
        json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:I}", "mode", modes[status->mode],
                  "age_target_s", status_number(status->age_target_s), "ns_per_point",
                  status_number(status->cost_ns), "noise", status_number(status->noise),
                  "points_per_s", status_number(status->points_per_s), "cpu_share",
                  status_number(status->cpu_share), "trials", (json_int_t)status->trials, "kept",
                  (json_int_t)status->kept, "rolled_back", (json_int_t)status->rolled_back);
    if (status->trying) {
        json_t *trial = json_pack("{s:o}", "value", status_number(status->trial_value));
        put_knob(trial, status, status->trial);
        json_object_set_new(object, "trial", trial);
    }
    json_object_set_new(object, "knobs", knobs);
    json_object_set_new(object, "decisions", decisions);
    return status_dump(object);
}
