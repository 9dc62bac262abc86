/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"

/* One HTML file of a result (result.json, as docs/load.md describes it): template, style, script
 * and data in one, nothing loaded from anywhere, its Content-Security-Policy allows nothing else.
 * What is missing in the result is missing on the page; text in it is shown, never interpreted. */
bool report_write_html(const char *result_path, const char *html_path, struct error *error);

/* The same page for two runs: curves of both over each other, and each metric's verdict
 * (compare.h says what `tolerance` is). */
bool report_write_comparison(const char *a_path, const char *b_path, double tolerance,
                             const char *html_path, struct error *error);

/* Reads a result and checks that it is one; the caller gives it back with json_decref().
 * NULL: `error` says what is wrong with the file. */
json_t *report_read_result(const char *path, struct error *error);
