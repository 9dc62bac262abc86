/* SPDX-License-Identifier: Apache-2.0 */
/* From how full queues and spools are to how much less is collected. The numbers: a level halves
 * the work of the dearest groups once more, which takes effect within one of their intervals, so
 * the first comes when half the room is left and the last while there is some. */
#include "exporters/pressure.h"

#include "base/clock.h"
#include "ring/ring.h"

_Static_assert((int)PRESSURE_LEVEL_MAX == (int)RING_PRESSURE_MAX, "one scale");

static const double begins[PRESSURE_LEVEL_MAX + 1] = {0, 0.5, 0.7, 0.85, 0.95};
static const double slack = 0.1;
static const uint64_t rise_ns = 2 * NS_PER_S, hold_ns = 10 * NS_PER_S;

static uint8_t level_of(double fill)
{
    uint8_t level = 0;
    while (level < PRESSURE_LEVEL_MAX && fill >= begins[level + 1])
        level++;
    return level;
}

uint32_t pressure_step(struct pressure *pressure, double fill, uint64_t now_ns)
{
    uint8_t before = pressure->level, level = level_of(fill);
    if (level <= before)
        pressure->above_ns = 0;
    else if (pressure->above_ns == 0)
        pressure->above_ns = now_ns;
    if (level > before && now_ns - pressure->above_ns >= rise_ns)
        pressure->level = level;
    else if (before > 0 && fill < begins[before] - slack &&
             now_ns - pressure->changed_ns >= hold_ns)
        pressure->level--;
    if (pressure->level != before) {
        pressure->changed_ns = now_ns;
        pressure->above_ns = 0;
    }
    return pressure->level;
}

void pressure_of_routes(const struct pressure_pipeline *pipelines, uint32_t pipeline_count,
                        const struct pressure *destinations, uint8_t ret_levels[32])
{
    for (uint32_t route = 0; route < 32; route++) {
        uint32_t getting = 0;
        for (uint32_t i = 0; i < pipeline_count; i++)
            if (pipelines[i].routes >> route & 1)
                getting |= pipelines[i].destinations;
        ret_levels[route] = getting != 0 ? PRESSURE_LEVEL_MAX : 0;
        for (uint32_t i = 0; i < 32; i++)
            if ((getting >> i & 1) != 0 && destinations[i].level < ret_levels[route])
                ret_levels[route] = destinations[i].level;
    }
}
