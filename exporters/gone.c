/* SPDX-License-Identifier: Apache-2.0 */
/* A ring, because acks leave in the order in which they are seen. It holds what was acknowledged
 * within one way to the spool's thread and back: a handful. */
#include "exporters/gone.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"

void gone_fini(struct gone *gone)
{
    free(gone->ring);
    *gone = (struct gone){0};
}

void gone_ask(struct gone *gone)
{
    gone->asked++;
}

void gone_answer(struct gone *gone)
{
    CHECK(gone->answered < gone->asked);
    gone->answered++;
    while (gone->count > 0 && gone->ring[gone->first].asked < gone->answered) {
        gone->first = (gone->first + 1) % gone->space;
        gone->count--;
    }
}

static void grow(struct gone *gone)
{
    uint32_t space = gone->space > 0 ? 2 * gone->space : 64;
    struct gone_batch *ring = xcalloc(space, sizeof *ring);
    for (uint32_t i = 0; i < gone->count; i++)
        ring[i] = gone->ring[(gone->first + i) % gone->space];
    free(gone->ring);
    gone->ring = ring;
    gone->first = 0;
    gone->space = space;
}

void gone_add(struct gone *gone, uint64_t sequence)
{
    if (gone->count == gone->space)
        grow(gone);
    gone->ring[(gone->first + gone->count++) % gone->space] =
        (struct gone_batch){.sequence = sequence, .asked = gone->asked};
}

bool gone_has(const struct gone *gone, uint64_t sequence)
{
    for (uint32_t i = 0; i < gone->count; i++)
        if (gone->ring[(gone->first + i) % gone->space].sequence == sequence)
            return true;
    return false;
}
