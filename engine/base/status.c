/* SPDX-License-Identifier: Apache-2.0 */
/* Target states for readers outside their shard; the shard is never held up. */
#include "base/status.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { WORDS = (sizeof(struct target_status) + 7) / 8 };

struct status_board *status_board_create(size_t count)
{
    struct status_board *board = xcalloc(1, sizeof *board);
    board->slots = xcalloc(count > 0 ? count : 1, sizeof *board->slots);
    board->count = count;
    return board;
}

void status_board_destroy(struct status_board **board)
{
    if (*board != NULL)
        free((*board)->slots);
    free(*board);
    *board = NULL;
}

void status_write(struct status_slot *slot, const struct target_status *status)
{
    uint64_t words[WORDS] = {0};
    memcpy(words, status, sizeof *status);
    atomic_fetch_add_explicit(&slot->version, 1, memory_order_acq_rel);
    /* Released: a reader that sees a new word sees the odd version too, on any machine. */
    for (size_t i = 0; i < WORDS; i++)
        atomic_store_explicit(&slot->words[i], words[i], memory_order_release);
    atomic_fetch_add_explicit(&slot->version, 1, memory_order_acq_rel);
}

void status_read(const struct status_slot *slot, struct target_status *ret_status)
{
    uint64_t words[WORDS];
    for (;;) {
        uint64_t before = atomic_load_explicit(&slot->version, memory_order_acquire);
        for (size_t i = 0; i < WORDS; i++)
            words[i] = atomic_load_explicit(&slot->words[i], memory_order_acquire);
        uint64_t after = atomic_load_explicit(&slot->version, memory_order_acquire);
        if (before == after && before % 2 == 0)
            break;
        sched_yield();
    }
    memcpy(ret_status, words, sizeof *ret_status);
}

const char *target_state_name(enum target_state state)
{
    static const char *const names[] = {"unknown", "up", "degraded", "down"};
    return names[state];
}
