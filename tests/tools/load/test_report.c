/* SPDX-License-Identifier: Apache-2.0 */
/* What report.c writes: data that arrives unchanged and cannot leave its place, a policy that names
 * the script and style that are there, a summary without the script, errors that name the file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/load/report.h"

static char folder[] = "/tmp/pgweir-test-report-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long bytes = ftell(file);
    rewind(file);
    char *text = malloc((size_t)bytes + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, (size_t)bytes, file), bytes);
    text[bytes] = '\0';
    fclose(file);
    return text;
}

/* The page of a sample, to be freed. */
static char *page_of(const char *name)
{
    char source[512], target[512];
    struct error error;
    snprintf(source, sizeof source, DATA_DIRECTORY "/%s.json", name);
    snprintf(target, sizeof target, "%s/page.html", folder);
    if (!report_write_html(source, target, &error))
        fail_msg("%s: %s", name, error.text);
    char *page = read_file(target);
    assert_int_equal(unlink(target), 0);
    return page;
}

/* What stands between two texts, the second sought behind the first; to be freed. */
static char *between(const char *text, const char *before, const char *behind)
{
    const char *begin = strstr(text, before);
    assert_non_null(begin);
    begin += strlen(before);
    const char *end = strstr(begin, behind);
    assert_non_null(end);
    return strndup(begin, (size_t)(end - begin));
}

static uint32_t occurrences(const char *text, const char *sought)
{
    uint32_t count = 0;
    for (const char *at = text; (at = strcasestr(at, sought)) != NULL; at += strlen(sought))
        count++;
    return count;
}

static const char data_element[] = "<script type=\"application/json\" id=\"data\">";

static void data_arrives_unchanged(void **state)
{
    (void)state;
    static const char *const samples[] = {"steady", "knee", "missing", "hostile"};
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        char *page = page_of(samples[i]), path[512];
        char *data = between(page, data_element, "</script>");
        json_t *shown = json_loads(data, JSON_ALLOW_NUL, NULL);
        snprintf(path, sizeof path, DATA_DIRECTORY "/%s.json", samples[i]);
        json_t *source = json_load_file(path, JSON_ALLOW_NUL, NULL);
        assert_non_null(source);
        assert_true(json_equal(json_array_get(json_object_get(shown, "results"), 0), source));
        json_decref(shown);
        json_decref(source);
        free(data);
        free(page);
    }
}

static void no_text_becomes_markup(void **state)
{
    (void)state;
    char *page = page_of("hostile");
    /* The page's own: data and script; style; no comment opens but the licence's. */
    assert_int_equal(occurrences(page, "<script"), 2);
    assert_int_equal(occurrences(page, "</script"), 2);
    assert_int_equal(occurrences(page, "<style"), 1);
    assert_int_equal(occurrences(page, "</style"), 1);
    assert_int_equal(occurrences(page, "<!--"), 1);
    assert_int_equal(occurrences(page, "<img"), 0);
    assert_int_equal(occurrences(page, "<svg/"), 0);
    assert_int_equal(occurrences(page, "<noscript"), 1);
    /* A name that looks like a hole stays as it is. */
    assert_non_null(strstr(page, "{{DATA}} {{SCRIPT}}"));
    free(page);
}

static void policy_names_what_is_there(void **state)
{
    (void)state;
    static const struct {
        const char *directive, *before, *behind;
    } cases[] = {{"script-src ", "<script>", "</script>"}, {"style-src ", "<style>", "</style>"}};
    char *page = page_of("steady");
    assert_non_null(strstr(page, "content=\"default-src 'none'; "));
    assert_null(strstr(page, "unsafe"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *code = between(page, cases[i].before, cases[i].behind);
        unsigned char digest[32], text[64], expected[96];
        assert_int_equal(EVP_Digest(code, strlen(code), digest, NULL, EVP_sha256(), NULL), 1);
        EVP_EncodeBlock(text, digest, sizeof digest);
        snprintf((char *)expected, sizeof expected, "'sha256-%s'", (const char *)text);
        char *named = between(page, cases[i].directive, ";");
        assert_string_equal(named, (const char *)expected);
        free(named);
        free(code);
    }
    free(page);
}

/* Nothing is loaded: no address of another machine in what the page itself consists of. */
static void nothing_is_loaded(void **state)
{
    (void)state;
    char *page = page_of("missing");
    assert_int_equal(occurrences(page, " src="), 0);
    assert_int_equal(occurrences(page, " href="), 0);
    assert_int_equal(occurrences(page, "url("), 0);
    assert_int_equal(occurrences(page, "@import"), 0);
    assert_int_equal(occurrences(page, "https://"), 0);
    assert_int_equal(occurrences(page, "http://"), 1); /* the name of SVG's elements */
    free(page);
}

static void summary_without_script(void **state)
{
    (void)state;
    char *page = page_of("hostile");
    char *summary = between(page, "<noscript>", "</noscript>");
    assert_non_null(strstr(summary, "<tr><th>points_per_s</th><td>43400.0</td></tr>"));
    assert_non_null(strstr(summary, "<h1>&lt;/script&gt;&lt;script&gt;"));
    char *title = between(page, "<title>", "</title>");
    assert_non_null(strstr(title, "&lt;/script&gt;"));
    assert_non_null(strstr(title, "pgweir-load"));
    free(title);
    free(summary);
    free(page);
}

static void comparison_has_both(void **state)
{
    (void)state;
    char target[512];
    struct error error;
    snprintf(target, sizeof target, "%s/page.html", folder);
    assert_true(report_write_comparison(DATA_DIRECTORY "/steady.json",
                                        DATA_DIRECTORY "/steady_slower.json", 0.1, target, &error));
    char *page = read_file(target);
    char *text = between(page, data_element, "</script>");
    json_t *data = json_loads(text, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(data, "results")), 2);
    assert_true(json_array_size(json_object_get(data, "comparison")) > 10);
    json_decref(data);
    free(text);
    free(page);
    assert_int_equal(unlink(target), 0);
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void errors_name_the_file(void **state)
{
    (void)state;
    static const struct {
        const char *content, *complaint;
    } cases[] = {
        {NULL, "No such file"},
        {"", "cannot be read as JSON: line 1"},
        {"{\"version\":1,\n\"summary\":", "cannot be read as JSON: line 2"},
        {"[1]", "\"version\" must be 1"},
        {"{\"version\":2,\"summary\":{}}", "\"version\" must be 1"},
        {"{\"version\":1,\"summary\":[]}", "\"summary\" an object"},
        {"{\"version\":1,\"summary\":{\"a\":\"\xff\"}}", "unable to decode byte"},
    };
    char source[512], target[512];
    snprintf(source, sizeof source, "%s/result.json", folder);
    snprintf(target, sizeof target, "%s/page.html", folder);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error error;
        if (cases[i].content != NULL)
            write_text(source, cases[i].content);
        assert_false(report_write_html(source, target, &error));
        assert_non_null(strstr(error.text, source));
        assert_non_null(strstr(error.text, cases[i].complaint));
        assert_int_not_equal(access(target, F_OK), 0);
    }
    unlink(source);
    struct error error;
    assert_false(report_write_html(DATA_DIRECTORY "/steady.json", "/nowhere/page.html", &error));
    assert_non_null(strstr(error.text, "/nowhere/page.html: cannot be written: No such file"));
    /* A device without room takes nothing, and stays: it is no file to be removed. */
    assert_false(report_write_html(DATA_DIRECTORY "/steady.json", "/dev/full", &error));
    assert_non_null(strstr(error.text, "/dev/full: cannot be written: No space"));
    assert_int_equal(access("/dev/full", F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_arrives_unchanged),     cmocka_unit_test(no_text_becomes_markup),
        cmocka_unit_test(policy_names_what_is_there), cmocka_unit_test(nothing_is_loaded),
        cmocka_unit_test(summary_without_script),     cmocka_unit_test(comparison_has_both),
        cmocka_unit_test(errors_name_the_file),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
