/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* Allocation that does not fail: without memory the process ends (memory.c says why). As their
 * namesakes otherwise; freed with free(). */
void *xmalloc(size_t bytes) __attribute__((malloc, returns_nonnull));
void *xcalloc(size_t count, size_t bytes) __attribute__((malloc, returns_nonnull));
void *xrealloc(void *memory, size_t bytes) __attribute__((returns_nonnull));
char *xstrdup(const char *text) __attribute__((malloc, returns_nonnull));

/* `bytes` is rounded up to `alignment`; the memory is zeroed. */
void *xaligned(size_t alignment, size_t bytes) __attribute__((malloc, returns_nonnull));

/* After a step of a library that fails only for want of memory: open_memstream(), json_array(). */
void xdone(bool done);

enum { EXIT_OUT_OF_MEMORY = 71 }; /* EX_OSERR of sysexits.h */
