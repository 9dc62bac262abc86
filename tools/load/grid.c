/* SPDX-License-Identifier: Apache-2.0 */
/* The grid. Every column of the model varies by itself at least twice (model.c): collections
 * against points by tables, connections against collections by the interval, TLS and the
 * compressors at two sizes each. The held-out runs lie between, none of them on the grid. Constant
 * data. */
#include "tools/load/grid.h"

#include "base/clock.h"

const struct grid_run grid_fit[GRID_FIT_RUNS] = {
    {"core-small", 0.02, 1, false, 0, false, COMPRESSION_GZIP},
    {"core-dense", 0.15, 1, false, 0, false, COMPRESSION_GZIP},
    {"core-large", 1.0, 5, false, 0, false, COMPRESSION_GZIP},
    {"tables-small", 0.05, 2, true, 20, false, COMPRESSION_GZIP},
    {"tables-middle", 0.15, 4, true, 50, false, COMPRESSION_GZIP},
    {"tables-large", 0.1, 4, true, 200, false, COMPRESSION_GZIP},
    {"tls-small", 0.1, 2, false, 0, true, COMPRESSION_GZIP},
    {"tls-tables", 0.15, 5, true, 100, true, COMPRESSION_GZIP},
    {"zstd", 0.2, 2, false, 0, false, COMPRESSION_ZSTD},
    {"zstd-tables", 0.1, 4, true, 100, false, COMPRESSION_ZSTD},
    {"none", 0.2, 2, false, 0, false, COMPRESSION_NONE},
    {"none-tables", 0.08, 4, true, 100, false, COMPRESSION_NONE},
};

const struct grid_run grid_held_out[GRID_HELD_OUT_RUNS] = {
    {"core", 0.5, 4, false, 0, false, COMPRESSION_GZIP},
    {"tables", 0.12, 3, true, 120, false, COMPRESSION_GZIP},
    {"tls", 0.2, 4, true, 30, true, COMPRESSION_GZIP},
    {"zstd", 0.3, 5, true, 60, false, COMPRESSION_ZSTD},
};

static const char *const core_only[] = {"core"};
static const char *const core_and_tables[] = {"core", "tables"};

void grid_scenario(const struct scenario *base, const struct grid_run *run,
                   struct scenario *ret_scenario)
{
    *ret_scenario = *base;
    ret_scenario->name = run->name;
    ret_scenario->kind = SCENARIO_STEADY;
    ret_scenario->servers = (int64_t)((double)base->servers * run->servers + 0.5);
    if (ret_scenario->servers < 1)
        ret_scenario->servers = 1;
    ret_scenario->interval_ns = (uint64_t)(run->interval_s * (double)NS_PER_S);
    ret_scenario->groups = run->tables_group ? (struct text_list){core_and_tables, 2}
                                             : (struct text_list){core_only, 1};
    ret_scenario->tables = run->tables;
    ret_scenario->tls = run->tls;
    ret_scenario->compression = run->compression;
    ret_scenario->slo = NULL;
}
