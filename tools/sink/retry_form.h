/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* The forms a Retry-After header takes: those of RFC 9110 (section 10.2.3), and those that back
 * ends send all the same. */
enum retry_form_kind {
    RETRY_NONE,     /* no header */
    RETRY_SECONDS,  /* "120" */
    RETRY_DATE,     /* "Fri, 31 Dec 1999 23:59:59 GMT" */
    RETRY_PAST,     /* a date an hour ago */
    RETRY_ABSURD,   /* 1000000000: 32 years */
    RETRY_NEGATIVE, /* -5 */
    RETRY_FRACTION, /* 1.5 */
    RETRY_GARBAGE,  /* "soon" */
    RETRY_EMPTY,    /* a header without a value */
};

struct retry_form {
    enum retry_form_kind kind;
    bool rest;   /* SECONDS, DATE: the rest of the window (or of the phase) instead of `ns` */
    uint64_t ns; /* SECONDS, DATE */
};

enum { RETRY_FORM_BYTES = 48 };

/* "2s", "rest", "date 2s", "date rest", "none", "past", "absurd", "negative", "fraction",
 * "garbage", "empty"; false: another text. */
bool retry_form_parse(const char *text, struct retry_form *ret_form);

/* All forms, for messages. */
extern const char retry_form_names[];

/* The header's value; false: no header. `rest_ns` is rounded up to a second. */
bool retry_form_write(const struct retry_form *form, uint64_t wall_ns, uint64_t rest_ns,
                      char text[RETRY_FORM_BYTES]);
