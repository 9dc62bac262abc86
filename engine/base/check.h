/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdnoreturn.h>

/* A bug, never an operating event: on in every build. What one side checks when giving, the other
 * checks when taking. */
#define CHECK(condition)                                                                           \
    (__builtin_expect(!!(condition), 1) ? (void)0 : check_failed(#condition, __FILE__, __LINE__))

noreturn void check_failed(const char *condition, const char *file, int line);
