/* SPDX-License-Identifier: Apache-2.0 */
/* Jitter for schedules, back-off and connection ages. */
#include "base/random.h"

#include <sys/random.h>

#include "base/clock.h"

void random_init(struct random *random)
{
    if (getrandom(&random->state, sizeof random->state, GRND_NONBLOCK) !=
        (ssize_t)sizeof random->state)
        random->state = clock_wall_ns() ^ clock_monotonic_ns() << 32;
}

uint64_t random_next(struct random *random)
{
    uint64_t z = random->state += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

uint64_t random_below(struct random *random, uint64_t bound)
{
    return (uint64_t)(((unsigned __int128)random_next(random) * bound) >> 64);
}

uint64_t random_jitter(struct random *random, uint64_t value, unsigned percent)
{
    uint64_t spread = value / 100 * percent;
    return value - spread + random_below(random, 2 * spread + 1);
}
