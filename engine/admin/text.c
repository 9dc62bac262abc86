/* SPDX-License-Identifier: Apache-2.0 */
/* Times and texts as the answers show them. */
#include "admin/text.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

enum { TEXT_BYTES = 1024 };

void time_text(uint64_t wall_ns, char text[32])
{
    time_t seconds = (time_t)(wall_ns / NS_PER_S);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    size_t used = strftime(text, 32, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text + used, 32 - used, ".%03uZ", (unsigned)(wall_ns / NS_PER_MS % 1000));
}

/* Go leaves out units that are zero in front and zeros behind the point. */
void duration_text(uint64_t duration_ns, char text[48])
{
    uint64_t ms = duration_ns / NS_PER_MS, seconds = ms / 1000;
    if (seconds == 0) {
        snprintf(text, 48, "%llu%s", (unsigned long long)ms, ms == 0 ? "s" : "ms");
        return;
    }
    int used = 0;
    if (seconds >= 3600)
        used += snprintf(text, 48, "%lluh", (unsigned long long)(seconds / 3600));
    if (seconds >= 60)
        used += snprintf(text + used, (size_t)(48 - used), "%um", (unsigned)(seconds / 60 % 60));
    used += snprintf(text + used, (size_t)(48 - used), "%u", (unsigned)(seconds % 60));
    if (ms % 1000 != 0) {
        used += snprintf(text + used, (size_t)(48 - used), ".%03u", (unsigned)(ms % 1000));
        while (text[used - 1] == '0')
            used--;
    }
    snprintf(text + used, (size_t)(48 - used), "s");
}

json_t *json_text(const char *text)
{
    json_t *string = json_string(text);
    if (string != NULL)
        return string;
    char ascii[TEXT_BYTES];
    snprintf(ascii, sizeof ascii, "%s", text);
    for (char *c = ascii; *c != 0; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    return json_string(ascii);
}
