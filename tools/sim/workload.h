/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <math.h>
#include <stdint.h>

/* The reproducible workload of simulated servers: what a number is, from where it stands and which
 * step it is of. A *step* is an execution of a recorded query on one server (one database, for
 * database-scope queries) since that server's simulated start: 1, 2, 3, …; every cell of the
 * execution shares it. Because a monotonic sum carries its step in the open, whoever holds a
 * series' points can tell which steps were lost and which came twice; because the rest is a hash,
 * deltas vary, and the same seed gives the same bytes.
 *
 *   monotonic sum, int8      1000 * step + r
 *   monotonic sum, float8    step + r / 1000
 *   anything else            the recorded value v > 0 plus up to a sixteenth of it (v <= 0: v)
 *   step 0                   the recorded value itself
 *
 * with 0 <= r < 1000 from workload_hash(). Everything here is pure and has no state. */

enum { WORKLOAD_SCALE = 1000 };

/* splitmix64's finaliser (Steele, Lea, Flood 2014). */
static inline uint64_t workload_mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* FNV-1a over a text's bytes, going on from `hash` (first: the seed). */
static inline uint64_t workload_text(uint64_t hash, const char *text)
{
    hash ^= 0xcbf29ce484222325u;
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    return hash;
}

/* Of one execution. `statement`: workload_text(seed, query name), for database-scope queries with
 * the database's name after it. */
static inline uint64_t workload_execution(uint64_t statement, uint64_t server, uint64_t step)
{
    return workload_mix(statement + workload_mix(server * 0x9e3779b97f4a7c15u + step));
}

/* Of a cell's place: its row in the answer before any database filter, its column in the recording
 * (so it does not depend on what else was asked). */
static inline uint32_t workload_place(uint32_t row, uint32_t column)
{
    return (uint32_t)(workload_mix((uint64_t)row << 32 | column) >> 32);
}

/* One multiplication: the execution is mixed already, and of the product only high bits are used.
 */
static inline uint64_t workload_hash(uint64_t execution, uint32_t place)
{
    return (execution ^ place) * 0xd6e8feb86659fd93u;
}

/* 0 … 999 */
static inline uint32_t workload_r(uint64_t hash)
{
    return (uint32_t)((hash >> 32) * WORKLOAD_SCALE >> 32);
}

static inline int64_t workload_count(uint64_t step, uint64_t hash)
{
    return (int64_t)(WORKLOAD_SCALE * step + workload_r(hash));
}

static inline double workload_real(uint64_t step, uint64_t hash)
{
    return (double)step + workload_r(hash) / (double)WORKLOAD_SCALE;
}

static inline int64_t workload_gauge(int64_t recorded, uint64_t hash)
{
    if (recorded <= 0)
        return recorded;
    uint64_t span = (uint64_t)recorded / 16 + 1;
    uint64_t more = (uint64_t)((unsigned __int128)hash * span >> 64);
    return recorded > INT64_MAX - (int64_t)more ? recorded : recorded + (int64_t)more;
}

static inline double workload_gauge_real(double recorded, uint64_t hash)
{
    if (!(recorded > 0) || isinf(recorded))
        return recorded;
    return recorded + recorded * (workload_r(hash) / (16.0 * WORKLOAD_SCALE));
}

/* Back: the step that a value of a monotonic sum carries. */
static inline uint64_t workload_step_of_count(int64_t value)
{
    return value < 0 ? 0 : (uint64_t)value / WORKLOAD_SCALE;
}

static inline uint64_t workload_step_of_real(double value)
{
    return value > 0 ? (uint64_t)value : 0;
}
