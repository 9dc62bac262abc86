/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/sink/retry_form.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "config/value.h"

enum { PAST_S = 3600 };

const char retry_form_names[] = "2s, rest, date 2s, date rest, none, past, absurd, negative, "
                                "fraction, garbage or empty";

static bool parse_time(const char *text, struct retry_form *form)
{
    form->rest = strcmp(text, "rest") == 0;
    return form->rest || value_parse_duration(text, &form->ns);
}

bool retry_form_parse(const char *text, struct retry_form *ret_form)
{
    static const struct {
        const char *name;
        enum retry_form_kind kind;
    } names[] = {
        {"none", RETRY_NONE},         {"past", RETRY_PAST},         {"absurd", RETRY_ABSURD},
        {"negative", RETRY_NEGATIVE}, {"fraction", RETRY_FRACTION}, {"garbage", RETRY_GARBAGE},
        {"empty", RETRY_EMPTY},
    };
    *ret_form = (struct retry_form){0};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(text, names[i].name) == 0) {
            ret_form->kind = names[i].kind;
            return true;
        }
    bool date = strncmp(text, "date ", 5) == 0;
    ret_form->kind = date ? RETRY_DATE : RETRY_SECONDS;
    return parse_time(text + (date ? 5 : 0), ret_form);
}

/* RFC 9110, section 5.6.7: IMF-fixdate, in English whatever the locale. */
static void write_date(uint64_t wall_ns, char text[RETRY_FORM_BYTES])
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t seconds = (time_t)(wall_ns / NS_PER_S);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    snprintf(text, RETRY_FORM_BYTES, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT",
             days + 3 * tm.tm_wday, tm.tm_mday, months + 3 * tm.tm_mon, 1900 + tm.tm_year,
             tm.tm_hour, tm.tm_min, tm.tm_sec);
}

static uint64_t seconds_up(uint64_t ns)
{
    return ns / NS_PER_S + (ns % NS_PER_S != 0);
}

bool retry_form_write(const struct retry_form *form, uint64_t wall_ns, uint64_t rest_ns,
                      char text[RETRY_FORM_BYTES])
{
    uint64_t seconds = seconds_up(form->rest ? rest_ns : form->ns);
    text[0] = '\0';
    switch (form->kind) {
    case RETRY_NONE:
        return false;
    case RETRY_SECONDS:
        snprintf(text, RETRY_FORM_BYTES, "%" PRIu64, seconds);
        break;
    case RETRY_DATE:
        write_date(wall_ns + NS_PER_S - 1 + seconds * NS_PER_S, text); /* never too early */
        break;
    case RETRY_PAST:
        write_date(wall_ns - PAST_S * NS_PER_S, text);
        break;
    case RETRY_ABSURD:
        strcpy(text, "1000000000");
        break;
    case RETRY_NEGATIVE:
        strcpy(text, "-5");
        break;
    case RETRY_FRACTION:
        strcpy(text, "1.5");
        break;
    case RETRY_GARBAGE:
        strcpy(text, "soon");
        break;
    case RETRY_EMPTY:
        break;
    }
    return true;
}
