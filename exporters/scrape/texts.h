/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "exporters/remote/labels.h"

/* Label lists as the text formats have them, name="value",name="value", each kept once however
 * many series have it: a table's attributes stand in a dozen series, a server's in hundreds. Found
 * by a hash of what they were made from; counted, freed with the last series. One thread writes;
 * a text never changes. */
struct text {
    uint64_t hash;
    uint64_t names; /* a bit for each name: texts without a common bit have no common name */
    uint32_t references;
    uint32_t bytes;
    char text[];
};

struct texts {
    struct text **slots; /* open addressing, at most half full */
    size_t count, space;
    size_t bytes; /* of all texts, with their heads */
};

void texts_init(struct texts *texts);
void texts_fini(struct texts *texts); /* frees all, whoever holds them */

/* The text of `hash` with one more reference; NULL: texts_add(). */
struct text *texts_hold(struct texts *texts, uint64_t hash);
struct text *texts_add(struct texts *texts, uint64_t hash, const struct labels *labels);
void texts_release(struct texts *texts, struct text *text); /* NULL inside is fine */

/* One bit of 64. */
uint64_t text_name_bit(const char *name, size_t bytes);
