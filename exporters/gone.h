/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Batches that were settled while the spool may still have something to say about them. What it
 * said before their ack reached it (refused, evicted) is on its way, and must not be taken for news
 * of a batch that only the disk has.
 *
 * Every question (a put, a read) is answered once, and both lanes keep their order; so when more is
 * answered than had been asked before an ack, the ack was seen, and all that came before it as
 * well. A plain structure; runs on the worker. */
struct gone_batch {
    uint64_t sequence;
    uint64_t asked; /* when its ack left */
};

struct gone {
    uint64_t asked, answered;
    struct gone_batch *ring; /* oldest first */
    uint32_t first, count, space;
};

void gone_fini(struct gone *gone);

/* A question leaves. */
void gone_ask(struct gone *gone);

/* An answer came: forgets the batches that nothing can come of any more. */
void gone_answer(struct gone *gone);

/* The ack of a batch leaves. */
void gone_add(struct gone *gone, uint64_t sequence);

bool gone_has(const struct gone *gone, uint64_t sequence);
