/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a process that found itself broken: says where, then aborts for the core dump. */
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

void check_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "pgweir: bug: %s:%d: check failed: %s\n", file, line, condition);
    abort();
}
