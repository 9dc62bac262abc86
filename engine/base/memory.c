/* SPDX-License-Identifier: Apache-2.0 */
/* What ends the process when memory is refused. Nothing is freed or flushed on the way: what is in
 * the spool is safe as it lies, as after kill -9, and a supervisor starts a process whose memory is
 * its own again. A process that went on would have to say in each of some 300 places what it left
 * out, and the next request of libpq or curl would be refused as well. Where that is not so,
 * because the size is asked for from outside, malloc() is called and the refusal is an answer. */
#include "base/memory.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <unistd.h>

static noreturn void end(const char *refused)
{
    char text[256]; /* stdio may want memory */
    int length = snprintf(text, sizeof text,
                          "%s: out of memory%s; give it more (a container's limit, ulimit -v), or "
                          "fewer targets; what is spooled is kept\n",
                          program_invocation_short_name, refused);
    ssize_t written = write(STDERR_FILENO, text, (size_t)length);
    (void)written; /* it ends whether somebody reads it or not */
    _exit(EXIT_OUT_OF_MEMORY);
}

static void *given(void *memory, size_t bytes)
{
    if (__builtin_expect(memory != NULL, 1))
        return memory;
    char text[64];
    snprintf(text, sizeof text, ": %zu bytes were refused", bytes);
    end(text);
}

void xdone(bool done)
{
    if (!done)
        end("");
}

void *xmalloc(size_t bytes)
{
    return given(malloc(bytes > 0 ? bytes : 1), bytes);
}

void *xcalloc(size_t count, size_t bytes)
{
    bool none = count == 0 || bytes == 0;
    return given(none ? calloc(1, 1) : calloc(count, bytes), count * bytes);
}

void *xrealloc(void *memory, size_t bytes)
{
    return given(realloc(memory, bytes > 0 ? bytes : 1), bytes);
}

char *xstrdup(const char *text)
{
    return given(strdup(text), strlen(text) + 1);
}

void *xaligned(size_t alignment, size_t bytes)
{
    size_t whole = (bytes + alignment - 1) / alignment * alignment;
    return memset(given(aligned_alloc(alignment, whole), whole), 0, whole);
}
