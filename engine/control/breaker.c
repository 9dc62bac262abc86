/* SPDX-License-Identifier: Apache-2.0 */
/* Why: who is away gains nothing from being asked again and again, and what is asked of it (a
 * request slot, a connection, a deadline) is missing elsewhere. Nor may all who wait come at once
 * when it returns: half-open lets exactly one out, however many would like to.
 *
 * Pauses double from pause_ns to pause_max_ns, each ± 25 %, so that a fleet that lost the same back
 * end does not return in step. With 250 ms and 15 s an outage of a minute sees 8 to 10 probes, and
 * one that ends is noticed within a quarter of its length. The probe that fails begins the next
 * pause; the one that succeeds closes, and the next outage begins with the shortest pause again.
 *
 * What needs a person (a wrong key, an untrusted certificate) opens at the first answer, because
 * a second one would say the same, and waits pause_held_ns. Such a failure is remembered until a
 * success: "held" is what /health shows. */
#include "control/breaker.h"

#include "base/check.h"

enum {
    JITTER_PERCENT = 25,
    LEAST_JITTER_PERCENT = 10, /* on top of a pause that must not be shorter */
};

static const char *const names[] = {
    [BREAKER_CLOSED] = "closed",
    [BREAKER_OPEN] = "open",
    [BREAKER_HALF_OPEN] = "half-open",
};

void breaker_init(struct breaker *breaker)
{
    *breaker = (struct breaker){.state = BREAKER_CLOSED};
}

uint64_t breaker_ready_ns(const struct breaker *breaker)
{
    switch (breaker->state) {
    case BREAKER_CLOSED:
        return 0;
    case BREAKER_OPEN:
        return breaker->until_ns;
    case BREAKER_HALF_OPEN:
        return UINT64_MAX;
    }
    return UINT64_MAX;
}

bool breaker_probing(const struct breaker *breaker, uint64_t now_ns)
{
    return breaker->state == BREAKER_OPEN && now_ns >= breaker->until_ns;
}

bool breaker_sent(struct breaker *breaker, uint64_t now_ns)
{
    if (!breaker_probing(breaker, now_ns))
        return false;
    breaker->state = BREAKER_HALF_OPEN;
    breaker->probe_ns = now_ns;
    breaker->probes++;
    return true;
}

bool breaker_succeeded(struct breaker *breaker, uint64_t now_ns)
{
    breaker->failures = 0;
    breaker->held = false;
    if (breaker->state == BREAKER_CLOSED)
        return false;
    breaker->state = BREAKER_CLOSED;
    breaker->pauses = 0;
    breaker->last_away_ns = now_ns > breaker->open_ns ? now_ns - breaker->open_ns : 0;
    breaker->away_ns += breaker->last_away_ns;
    return true;
}

static uint64_t next_pause_ns(const struct breaker *breaker,
                              const struct breaker_settings *settings, struct random *random)
{
    uint64_t pause_ns = settings->pause_ns > 0 ? settings->pause_ns : 1;
    for (uint32_t i = 0; i < breaker->pauses && pause_ns < settings->pause_max_ns; i++)
        pause_ns *= 2;
    if (pause_ns > settings->pause_max_ns)
        pause_ns = settings->pause_max_ns;
    return random_jitter(random, pause_ns, JITTER_PERCENT);
}

bool breaker_failed(struct breaker *breaker, const struct breaker_settings *settings,
                    const struct breaker_failure *failure, struct random *random, uint64_t now_ns)
{
    if (breaker->failures < UINT32_MAX)
        breaker->failures++;
    breaker->held = failure->held;
    if (settings->failures == 0)
        return false;
    if (breaker->state == BREAKER_CLOSED) {
        if (!failure->held && breaker->failures < settings->failures)
            return false;
        breaker->open_ns = now_ns;
        breaker->trips++;
    }
    uint64_t pause_ns = next_pause_ns(breaker, settings, random);
    uint64_t least_ns = failure->least_ns;
    if (failure->held && least_ns < settings->pause_held_ns)
        least_ns = settings->pause_held_ns;
    if (pause_ns < least_ns)
        pause_ns = least_ns + random_below(random, least_ns * LEAST_JITTER_PERCENT / 100 + 1);
    breaker->state = BREAKER_OPEN;
    breaker->until_ns = now_ns + pause_ns;
    breaker->pauses++;
    return true;
}

void breaker_forgot(struct breaker *breaker, uint64_t now_ns)
{
    if (breaker->state != BREAKER_HALF_OPEN)
        return;
    breaker->state = BREAKER_OPEN;
    breaker->until_ns = now_ns;
}

void breaker_postpone(struct breaker *breaker, uint64_t until_ns)
{
    CHECK(breaker->state == BREAKER_OPEN);
    if (breaker->until_ns < until_ns)
        breaker->until_ns = until_ns;
}

const char *breaker_state_name(enum breaker_state state)
{
    CHECK((unsigned)state < sizeof names / sizeof *names);
    return names[state];
}
