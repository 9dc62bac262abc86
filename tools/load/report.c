/* SPDX-License-Identifier: Apache-2.0 */
/* The report: a template with holes (page/report.html), filled in one pass.
 *
 * Results hold texts from elsewhere (names, commands, details of checks), so everything that enters
 * the page is made harmless for its place: data as JSON in which "<" is written \u003c (no text can
 * end its element), text in markup with &, < and > as entities. The policy in the page allows the
 * one script and the one style by their hashes, so even a mistake here would not run.
 *
 * The page's script (its .js files in page/) does the drawing; readers without it get a table of
 * the summary. */
#include "tools/load/report.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "tools/load/compare.h"

/* The parts that page/CMakeLists.txt compiles in. */
extern const char page_report_html_begin[], page_report_html_end[];
extern const char page_report_css_begin[], page_report_css_end[];
extern const char page_format_js_begin[], page_format_js_end[];
extern const char page_chart_js_begin[], page_chart_js_end[];
extern const char page_bars_js_begin[], page_bars_js_end[];
extern const char page_curves_js_begin[], page_curves_js_end[];
extern const char page_report_js_begin[], page_report_js_end[];

enum { DIGEST_BYTES = 32, DIGEST_TEXT_BYTES = 4 * ((DIGEST_BYTES + 2) / 3) + 1 };

json_t *report_read_result(const char *path, struct error *error)
{
    json_error_t problem;
    json_t *result = json_load_file(path, JSON_ALLOW_NUL, &problem);
    if (result == NULL) {
        error_set(error,
                  "%s: cannot be read as JSON: line %d: %s; give a result.json of pgweir-load",
                  path, problem.line, problem.text);
        return NULL;
    }
    const json_t *version = json_object_get(result, "version");
    if (!json_is_object(json_object_get(result, "summary")) || json_integer_value(version) != 1) {
        error_set(
            error,
            "%s: not a result of pgweir-load: \"version\" must be 1 and \"summary\" an object",
            path);
        json_decref(result);
        return NULL;
    }
    return result;
}

static void write_span(FILE *out, const char *begin, const char *end)
{
    fwrite(begin, 1, (size_t)(end - begin), out);
}

/* Text as text between tags or in a double-quoted attribute. */
static void write_text(FILE *out, const char *text)
{
    for (; *text != '\0'; text++)
        switch (*text) {
        case '&':
            fputs("&amp;", out);
            break;
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        default:
            fputc(*text, out);
        }
}

/* JSON inside a script element: "<" and ">" occur in strings only, where an escape means the same.
 */
static int write_data_chunk(const char *text, size_t bytes, void *out)
{
    for (size_t i = 0; i < bytes; i++)
        if (text[i] == '<' || text[i] == '>' || text[i] == '&')
            fprintf(out, "\\u%04x", (unsigned)text[i]);
        else
            fputc(text[i], out);
    return ferror(out) ? -1 : 0;
}

static void write_style(FILE *out)
{
    write_span(out, page_report_css_begin, page_report_css_end);
}

static void write_script(FILE *out)
{
    write_span(out, page_format_js_begin, page_format_js_end);
    write_span(out, page_chart_js_begin, page_chart_js_end);
    write_span(out, page_bars_js_begin, page_bars_js_end);
    write_span(out, page_curves_js_begin, page_curves_js_end);
    write_span(out, page_report_js_begin, page_report_js_end);
}

/* The base64 SHA-256 of what `write` writes: how a policy names an inline script or style. */
static void write_digest(FILE *out, void (*write)(FILE *))
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *memory = open_memstream(&text, &bytes);
    CHECK(memory != NULL);
    write(memory);
    CHECK(fclose(memory) == 0);
    unsigned char digest[DIGEST_BYTES], encoded[DIGEST_TEXT_BYTES];
    CHECK(EVP_Digest(text, bytes, digest, NULL, EVP_sha256(), NULL) == 1);
    EVP_EncodeBlock(encoded, digest, DIGEST_BYTES);
    fprintf(out, "'sha256-%s'", (const char *)encoded);
    free(text);
}

static void write_policy(FILE *out)
{
    fputs("default-src 'none'; script-src ", out);
    write_digest(out, write_script);
    fputs("; style-src ", out);
    write_digest(out, write_style);
    fputs("; base-uri 'none'; form-action 'none'", out);
}

static const char *name_of(const json_t *result)
{
    const char *name = json_string_value(json_object_get(result, "name"));
    return name != NULL ? name : "run";
}

static void write_title(FILE *out, const json_t *results)
{
    const char *between = "";
    for (size_t i = 0; i < json_array_size(results); i++) {
        fputs(between, out);
        write_text(out, name_of(json_array_get(results, i)));
        between = " → ";
    }
    fputs(" · pgweir-load", out);
}

/* What readers without the script get. */
static void write_summary(FILE *out, json_t *results)
{
    size_t i;
    json_t *result, *value;
    const char *key;
    json_array_foreach(results, i, result)
    {
        fputs("<h1>", out);
        write_text(out, name_of(result));
        fputs("</h1>\n<table>\n", out);
        json_object_foreach(json_object_get(result, "summary"), key, value)
        {
            char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
            CHECK(text != NULL);
            fputs("<tr><th>", out);
            write_text(out, key);
            fputs("</th><td>", out);
            write_text(out, text);
            fputs("</td></tr>\n", out);
            free(text);
        }
        fputs("</table>\n", out);
    }
    fputs("<p>The charts need JavaScript.</p>\n", out);
}

static void write_hole(FILE *out, const char *name, size_t length, json_t *page)
{
    json_t *results = json_object_get(page, "results");
#define IS(text) (length == strlen(text) && memcmp(name, text, length) == 0)
    if (IS("POLICY"))
        write_policy(out);
    else if (IS("VERSION"))
        fputs(PGWEIR_VERSION, out);
    else if (IS("TITLE"))
        write_title(out, results);
    else if (IS("STYLE"))
        write_style(out);
    else if (IS("SUMMARY"))
        write_summary(out, results);
    else if (IS("DATA"))
        CHECK(json_dump_callback(page, write_data_chunk, out, JSON_COMPACT) == 0 || ferror(out));
    else {
        CHECK(IS("SCRIPT")); /* page/report.html has no other hole */
        write_script(out);
    }
#undef IS
}

static void write_page(FILE *out, json_t *page)
{
    const char *at = page_report_html_begin;
    for (const char *open; (open = strstr(at, "{{")) != NULL;) {
        const char *close = strstr(open, "}}");
        CHECK(close != NULL);
        write_span(out, at, open);
        write_hole(out, open + 2, (size_t)(close - open - 2), page);
        at = close + 2;
    }
    write_span(out, at, page_report_html_end);
}

/* What could not be written whole is removed, unless it is a device. */
static void remove_part(const char *path)
{
    struct stat status;
    if (stat(path, &status) == 0 && S_ISREG(status.st_mode))
        unlink(path);
}

/* Takes `page`. */
static bool write_file(json_t *page, const char *html_path, struct error *error)
{
    FILE *out = fopen(html_path, "we");
    if (out == NULL) {
        json_decref(page);
        return error_set(error, "%s: cannot be written: %s; give a file in a folder that exists",
                         html_path, strerror(errno));
    }
    write_page(out, page);
    json_decref(page);
    int reason = fflush(out) != 0 || ferror(out) ? errno : 0;
    if (fclose(out) != 0 && reason == 0)
        reason = errno;
    if (reason == 0)
        return true;
    remove_part(html_path);
    return error_set(error, "%s: cannot be written: %s", html_path, strerror(reason));
}

bool report_write_html(const char *result_path, const char *html_path, struct error *error)
{
    json_t *result = report_read_result(result_path, error);
    if (result == NULL)
        return false;
    json_t *page = json_pack("{s:s, s:[o]}", "version", PGWEIR_VERSION, "results", result);
    CHECK(page != NULL);
    return write_file(page, html_path, error);
}

bool report_write_comparison(const char *a_path, const char *b_path, double tolerance,
                             const char *html_path, struct error *error)
{
    json_t *a = report_read_result(a_path, error);
    json_t *b = a != NULL ? report_read_result(b_path, error) : NULL;
    if (b == NULL) {
        json_decref(a);
        return false;
    }
    json_t *rows = compare_rows(a, b, tolerance);
    json_t *page = json_pack("{s:s, s:[o,o], s:o}", "version", PGWEIR_VERSION, "results", a, b,
                             "comparison", rows);
    CHECK(page != NULL);
    return write_file(page, html_path, error);
}
