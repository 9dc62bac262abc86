/* SPDX-License-Identifier: Apache-2.0 */
/* Collects what is wrong; see the header. Main thread. */
#include "config/problem.h"

#include "base/log.h"

#include <stdio.h>
#include <string.h>

enum { TAIL_BYTES = 48 }; /* kept free for "… and 4294967295 more" */

bool problem_add_text(struct problems *problems, const char *text)
{
    char *kept = problems->error->text;
    if (problems->count == 0)
        kept[0] = 0;
    size_t used = strlen(kept), room = sizeof problems->error->text - TAIL_BYTES - used;
    bool first = problems->count++ == 0;
    if (!first && (problems->count > PROBLEMS_MAX || strlen(text) + 2 > room))
        problems->left_out++;
    else
        snprintf(kept + used, room, "%s%s", first ? "" : "\n", text);
    return false;
}

__attribute__((format(printf, 3, 0))) static void write_problem(struct error *one,
                                                                const struct yaml_node *node,
                                                                const char *format,
                                                                va_list arguments)
{
    vsnprintf(one->text, sizeof one->text, format, arguments);
    error_prefix(one, "%s:%u:%u: ", node->source, node->line, node->column);
}

bool problem_add(struct problems *problems, const struct yaml_node *node, const char *format, ...)
{
    struct error one;
    va_list arguments;
    va_start(arguments, format);
    write_problem(&one, node, format, arguments);
    va_end(arguments);
    return problem_add_text(problems, one.text);
}

bool problems_finish(struct problems *problems)
{
    size_t used = strlen(problems->error->text);
    if (problems->left_out > 0)
        snprintf(problems->error->text + used, sizeof problems->error->text - used,
                 "\n… and %u more", problems->left_out);
    return problems->count == 0;
}

void problem_warn(struct problems *problems, const struct yaml_node *node, const void *about,
                  const char *format, ...)
{
    enum { WARNED_MAX = sizeof problems->warned / sizeof problems->warned[0] };
    for (unsigned i = 0; about != NULL && i < problems->warned_count; i++)
        if (problems->warned[i] == about)
            return;
    if (about != NULL && problems->warned_count < WARNED_MAX)
        problems->warned[problems->warned_count++] = about;
    struct error one;
    va_list arguments;
    va_start(arguments, format);
    write_problem(&one, node, format, arguments);
    va_end(arguments);
    LOG(LOG_LEVEL_WARN, "config", one.text);
}
