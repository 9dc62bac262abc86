/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether a destination is well, written by the worker, read by any thread. A line is logged when
 * it changes. The lock is taken for a change only, never for a point. */
struct health {
    const char *id;
    bool well;          /* the worker's copy */
    int kind;           /* of what is wrong: status or outcome; 0: nothing */
    uint64_t logged_ns; /* when a line was last written */
    bool logged;        /* the line written last said it is well */
    pthread_mutex_t lock;
    bool shown_well;
    char shown_text[512];
};

void health_init(struct health *health, const char *id);
void health_fini(struct health *health);

void health_good(struct health *health, uint64_t now_ns);

/* `kind` (not 0) tells one trouble from another: the text is replaced when it changes. */
void health_bad(struct health *health, int kind, const char *text, uint64_t now_ns);

/* Any thread. */
bool health_read(const struct health *health, char *ret_text, size_t text_bytes);
