/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* Names of frames: a function, and behind it what it belongs to: nothing for the program itself,
 * "_[k]" for the kernel, " [libpq]" for a library. */
enum { FRAME_BYTES = 256 };

/* From a line of perf script ("    addr symbol+0x1 (file)"); false: it is no such line. What
 * compilers and linkers append to names (".constprop.0", "@@GLIBC_2.17") is dropped, so that two
 * builds can be compared. */
bool frame_parse(const char *line, char out[FRAME_BYTES]);

/* Whether a thread or program begins there; such frames are left out. */
bool frame_is_outermost(const char *frame);

/* Whether it says nothing: the way into the kernel, the switch itself. Left out, too. */
bool frame_is_passage(const char *frame);

/* A family of colours. */
enum frame_family {
    FAMILY_PROGRAM,
    FAMILY_KERNEL,
    FAMILY_LIBPQ,
    FAMILY_NET,      /* libcurl and TLS */
    FAMILY_COMPRESS, /* isa-l, zstd, deflate, zlib */
    FAMILY_MEMORY,   /* jemalloc */
    FAMILY_LIBC,
    FAMILY_OTHER,
    FAMILY_COUNT,
};
enum frame_family frame_family(const char *frame, size_t bytes);
const char *frame_family_name(enum frame_family family);
