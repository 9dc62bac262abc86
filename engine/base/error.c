/* SPDX-License-Identifier: Apache-2.0 */
/* Error texts: formatted into the caller's struct, cut when too long, never allocated. */
#include "base/error.h"

#include <stdio.h>
#include <string.h>

bool error_set(struct error *error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    return false;
}

bool error_prefix(struct error *error, const char *format, ...)
{
    char tail[sizeof error->text];
    memcpy(tail, error->text, sizeof tail);
    va_list arguments;
    va_start(arguments, format);
    int used = vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    if (used >= 0 && (size_t)used < sizeof error->text)
        snprintf(error->text + used, sizeof error->text - (size_t)used, "%s", tail);
    return false;
}
