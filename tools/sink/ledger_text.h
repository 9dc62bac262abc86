/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "tools/sink/ledger.h"

/* The ledger's findings as text for people: the first few of each sort, no more. */
struct ledger_text;

enum { LEDGER_TEXT_BYTES = 320 };

struct ledger_gap {
    uint64_t key;
    uint32_t from, to; /* [from, to) */
    char text[LEDGER_TEXT_BYTES];
};

struct ledger_text *ledger_text_create(void);
void ledger_text_destroy(struct ledger_text **text);

/* A point of this series that came twice; a series whose values carry no steps, which is no longer
 * named as doubled. */
void ledger_text_doubled(struct ledger_text *text, const struct ledger_place *place, uint64_t key,
                         const struct ledger_point *point);
void ledger_text_unproven(struct ledger_text *text, const struct ledger_place *place, uint64_t key);

void ledger_text_gap(struct ledger_text *text, const struct ledger_place *place, uint64_t key,
                     uint32_t from, uint32_t to);

/* NULL past the last. */
const char *ledger_text_doubled_at(const struct ledger_text *text, size_t index);
const char *ledger_text_unproven_at(const struct ledger_text *text, size_t index);
const struct ledger_gap *ledger_text_gap_at(const struct ledger_text *text, size_t index);
void ledger_text_gap_remove(struct ledger_text *text, size_t index);
