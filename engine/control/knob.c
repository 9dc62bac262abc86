/* SPDX-License-Identifier: Apache-2.0 */
/* Distances are of logarithms where steps multiply, so that a gap is "how many times". Invariant:
 * worse_below < value < worse_above, where they are known; a move leaves the value it came from on
 * the side it came from, so that no search walks in circles. */
#include "control/knob.h"

#include <math.h>

#include "base/check.h"

/* A gap to a value that was no better is closed below this many resolutions: half of it would be a
 * step too small to measure. */
static const double GAP_CLOSED = 1.5;
static const double REACH_ARMED = 2; /* resolutions: first step after conditions changed */
static const double CURE_STEPS = 2;  /* resolutions: a cure takes big steps */

enum { REST_FIRST = 6, REST_MAX = 360 }; /* intervals: a minute and an hour at 10 s */

static double position(const struct knob_plan *plan, double value)
{
    return plan->scale == KNOB_FACTOR ? log(value) : value;
}

static double distance(const struct knob_plan *plan, double step)
{
    return plan->scale == KNOB_FACTOR ? log(step) : step;
}

/* The value at a position, within the bounds. */
static double value_at(const struct knob_plan *plan, double at)
{
    double value = plan->scale == KNOB_FACTOR ? exp(at) : at;
    value = plan->whole ? round(value) : value;
    return fmin(fmax(value, plan->low), plan->high);
}

void knob_init(struct knob *knob, const struct knob_plan *plan)
{
    CHECK(plan->low <= plan->high && plan->resolution > 0);
    CHECK(plan->scale == KNOB_STEP || (plan->low > 0 && plan->start > 0 && plan->resolution > 1));
    CHECK(plan->first_side == 1 || plan->first_side == -1);
    *knob = (struct knob){
        .plan = *plan,
        .value = plan->start,
        .worse_below = NAN,
        .worse_above = NAN,
        .reach = distance(plan, plan->reach),
        .side = plan->first_side,
        .bytes_ratio = 1,
    };
}

/* From a value outside of the bounds, steps are counted from the bound, and the bound itself is the
 * last one. */
static bool propose_side(const struct knob *knob, const struct knob_limits *limits, int side,
                         double *ret_value)
{
    const struct knob_plan *plan = &knob->plan;
    double bound = fmin(fmax(knob->value, plan->low), plan->high), at = position(plan, bound);
    double worse = side > 0 ? knob->worse_above : knob->worse_below;
    double step = knob->reach;
    if (!isnan(worse)) {
        double gap = fabs(position(plan, worse) - at);
        step = gap < GAP_CLOSED * distance(plan, plan->resolution) ? 0 : gap / 2;
    }
    if (side == plan->dear)
        step = fmin(step, limits->dear_steps * distance(plan, plan->resolution));
    double value = step > 0 ? value_at(plan, at + side * step) : bound;
    if (side * (value - knob->value) <= 0)
        return false; /* at the bound, or closed */
    if (!isnan(worse) && side * (worse - value) <= 0)
        return false; /* cut to the bound, it was tried */
    *ret_value = value;
    return true;
}

bool knob_propose(const struct knob *knob, const struct knob_limits *limits, double *ret_value)
{
    if (limits->down)
        return propose_side(knob, limits, -1, ret_value);
    return propose_side(knob, limits, knob->side, ret_value) ||
           propose_side(knob, limits, -knob->side, ret_value);
}

void knob_keep(struct knob *knob, double value)
{
    int side = value > knob->value ? 1 : -1;
    if (side > 0) {
        knob->worse_below = knob->value;
        if (knob->worse_above <= value)
            knob->worse_above = NAN;
    } else {
        knob->worse_above = knob->value;
        if (knob->worse_below >= value)
            knob->worse_below = NAN;
    }
    knob->value = value;
    knob->side = knob->kept_side = side;
}

void knob_shift(struct knob *knob, double value)
{
    knob->value = value;
    if (knob->worse_above <= value)
        knob->worse_above = NAN;
    if (knob->worse_below >= value)
        knob->worse_below = NAN;
}

void knob_reject(struct knob *knob, double value)
{
    if (value > knob->value)
        knob->worse_above = value;
    else
        knob->worse_below = value;
}

bool knob_propose_cure(const struct knob *knob, double *ret_value)
{
    const struct knob_plan *plan = &knob->plan;
    if (plan->cure == 0)
        return false;
    double bound = plan->cure < 0 ? plan->high : plan->low;
    double step = CURE_STEPS * distance(plan, plan->resolution), at = position(plan, knob->value);
    bool far = plan->cure * (position(plan, bound) - at) > step; /* beyond the bound */
    double value = far ? bound : value_at(plan, at + plan->cure * step);
    if (plan->cure * (value - knob->value) <= 0)
        return false;
    *ret_value = value;
    return true;
}

void knob_rest(struct knob *knob, uint64_t interval_ns, uint64_t now_ns)
{
    uint64_t intervals = (uint64_t)REST_FIRST << (knob->rests < 10 ? knob->rests : 10);
    intervals = intervals < REST_MAX ? intervals : REST_MAX;
    knob->rests++;
    knob->resting = knob->settled = true;
    knob->rest_until_ns = now_ns + intervals * interval_ns;
}

bool knob_resting(struct knob *knob, uint64_t now_ns)
{
    if (!knob->resting)
        return false;
    if (now_ns < knob->rest_until_ns)
        return true;
    knob->resting = false;
    knob->worse_below = knob->worse_above = NAN;
    knob->reach = distance(&knob->plan, knob->plan.resolution);
    return false;
}

void knob_arm(struct knob *knob)
{
    double near = REACH_ARMED * distance(&knob->plan, knob->plan.resolution);
    knob->worse_below = knob->worse_above = NAN;
    if (knob->settled || knob->kept_side != 0)
        knob->reach = fmin(near, distance(&knob->plan, knob->plan.reach));
    knob->resting = knob->settled = false;
    knob->rests = 0;
    knob->kept_side = 0;
}
