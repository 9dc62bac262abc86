/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdint.h>

/* splitmix64 (Steele, Lea, Flood 2014): one word of state, seedable, good enough for jitter. One
 * per thread or object; not for keys. */
struct random {
    uint64_t state;
};

/* A generator seeded from the kernel. */
void random_init(struct random *random);

uint64_t random_next(struct random *random);

/* Uniform in [0, bound); 0 when bound is 0. */
uint64_t random_below(struct random *random, uint64_t bound);

/* value ± up to `percent` per cent of it, uniform. */
uint64_t random_jitter(struct random *random, uint64_t value, unsigned percent);
