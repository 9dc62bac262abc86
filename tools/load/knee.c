/* SPDX-License-Identifier: Apache-2.0 */
/* Doubling and bisection. Pure, but for what an attempt does. */
#include "tools/load/knee.h"

#include "base/check.h"

enum { ATTEMPTS_MAX = 64 };

static uint64_t next_load(const struct knee_search *search, const struct knee_answer *answer)
{
    if (answer->best == 0)
        return search->from;
    if (answer->broken == 0)
        return answer->best > search->to / 2 ? search->to : 2 * answer->best;
    return answer->best + (answer->broken - answer->best) / 2;
}

static bool finished(const struct knee_search *search, const struct knee_answer *answer)
{
    if (answer->broken == 0)
        return answer->best >= search->to;
    if (answer->best == 0)
        return true;
    uint64_t gap = answer->broken - answer->best;
    return gap <= 1 || (double)gap <= search->within * (double)answer->best;
}

bool knee_find(const struct knee_search *search, struct knee_answer *ret_answer,
               struct error *error)
{
    CHECK(search->from > 0 && search->from <= search->to);
    *ret_answer = (struct knee_answer){0};
    while (ret_answer->attempts < ATTEMPTS_MAX) {
        uint64_t load = next_load(search, ret_answer);
        bool ok = false;
        if (!search->attempt(search->owner, load, &ok, error))
            return false;
        ret_answer->attempts++;
        if (ok)
            ret_answer->best = load;
        else
            ret_answer->broken = load;
        if (finished(search, ret_answer))
            return true;
    }
    return true;
}
