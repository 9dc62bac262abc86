/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>

/* Bytes of the character at the text's start, of which at least one byte is there; 0 where it is
 * none. RFC 3629, section 4. */
size_t utf8_character(const void *start, size_t bytes);

/* Copies text so that it is valid UTF-8 (RFC 3629) and fits: every byte that is part of no valid
 * character becomes U+FFFD, and the copy ends at the last whole character within `out_bytes`.
 * Returns the bytes written; no NUL is added. */
size_t utf8_copy(char *out, size_t out_bytes, const char *text, size_t bytes);
