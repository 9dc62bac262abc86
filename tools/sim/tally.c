/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/sim/tally.h"

#include <string.h>

void tally_error(struct tally *tally, const char *sqlstate)
{
    uint64_t count = counter_read(&tally->sqlstate_count), at = 0;
    while (at < count && strcmp(tally->sqlstates[at].sqlstate, sqlstate) != 0)
        at++;
    if (at == TALLY_SQLSTATES)
        at = TALLY_SQLSTATES - 1;
    if (at == count) {
        memcpy(tally->sqlstates[at].sqlstate, at == TALLY_SQLSTATES - 1 ? "other" : sqlstate, 6);
        atomic_store_explicit(&tally->sqlstate_count.value, count + 1, memory_order_release);
    }
    counter_add(&tally->sqlstates[at].count, 1);
}
