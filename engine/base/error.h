/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdarg.h>
#include <stdbool.h>

/* Why a start-up or reload step failed: one sentence for the user that names the thing, the value
 * and the likely cure. Never holds a credential. */
struct error {
    char text[1024];
};

/* Writes the text; returns false so that a failing step reads `return error_set(error, …)`. */
bool error_set(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts a place or a step in front of the text that is there ("file:1:2: "); returns false. */
bool error_prefix(struct error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
