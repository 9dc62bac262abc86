/* SPDX-License-Identifier: Apache-2.0 */
/* The lists of an outcome; they grow, and are as long as a run is. Main thread. */
#include "tools/load/outcome.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

struct outcome *outcome_create(void)
{
    struct outcome *outcome = xcalloc(1, sizeof *outcome);
    outcome->figures.lost = outcome->figures.doubled = -1;
    outcome->age_source = "collector";
    return outcome;
}

void outcome_destroy(struct outcome **outcome)
{
    if (*outcome == NULL)
        return;
    free((*outcome)->moments);
    free((*outcome)->spans);
    free((*outcome)->steps);
    free(*outcome);
    *outcome = NULL;
}

/* Room for one more item, zeroed; lists double. */
static void *grow(void **items, size_t *count, size_t item_bytes)
{
    if ((*count & (*count - 1)) == 0) {
        *items = xrealloc(*items, (*count == 0 ? 1 : 2 * *count) * item_bytes);
    }
    void *item = (char *)*items + *count * item_bytes;
    memset(item, 0, item_bytes);
    ++*count;
    return item;
}

struct moment *outcome_add_moment(struct outcome *outcome)
{
    void *items = outcome->moments;
    struct moment *moment = grow(&items, &outcome->moment_count, sizeof *moment);
    outcome->moments = items;
    return moment;
}

struct span *outcome_add_span(struct outcome *outcome, const char *name, double from_s)
{
    void *items = outcome->spans;
    struct span *span = grow(&items, &outcome->span_count, sizeof *span);
    outcome->spans = items;
    snprintf(span->name, sizeof span->name, "%s", name);
    span->from_s = span->to_s = from_s;
    return span;
}

struct step *outcome_add_step(struct outcome *outcome)
{
    void *items = outcome->steps;
    struct step *step = grow(&items, &outcome->step_count, sizeof *step);
    outcome->steps = items;
    return step;
}

void outcome_check(struct outcome *outcome, const char *name, bool ok, const char *format, ...)
{
    if (outcome->check_count == OUTCOME_CHECKS_MAX)
        return;
    struct check *check = &outcome->checks[outcome->check_count++];
    va_list values;
    snprintf(check->name, sizeof check->name, "%s", name);
    check->ok = ok;
    va_start(values, format);
    vsnprintf(check->detail, sizeof check->detail, format, values);
    va_end(values);
}

void outcome_note(struct outcome *outcome, const char *format, ...)
{
    if (outcome->note_count == OUTCOME_NOTES_MAX)
        return;
    va_list values;
    va_start(values, format);
    vsnprintf(outcome->notes[outcome->note_count++], OUTCOME_NOTE_BYTES, format, values);
    va_end(values);
}

bool outcome_good(const struct outcome *outcome)
{
    for (uint32_t i = 0; i < outcome->check_count; i++)
        if (!outcome->checks[i].ok)
            return false;
    return true;
}
