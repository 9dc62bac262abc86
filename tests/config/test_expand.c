/* SPDX-License-Identifier: Apache-2.0 */
#include "config/expand.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char secret_path[] = "/tmp/test_expand_XXXXXX";

static struct yaml_node scalar(const char *text)
{
    return (struct yaml_node){.kind = YAML_SCALAR,
                              .plain = true,
                              .source = "f.yaml",
                              .line = 3,
                              .column = 5,
                              .text = text,
                              .bytes = strlen(text)};
}

static int write_secret(void **state)
{
    (void)state;
    int fd = mkstemp(secret_path);
    if (fd < 0 || write(fd, "s3cr$et\n", 8) != 8)
        return -1;
    close(fd);
    setenv("SET", "value", 1);
    setenv("EMPTY", "", 1);
    setenv("DOLLARS", "${env:SET} $$", 1);
    setenv("LIST", "[a, b]", 1);
    unsetenv("UNSET");
    return 0;
}

static int remove_secret(void **state)
{
    (void)state;
    return unlink(secret_path);
}

static void references_are_replaced(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expanded;
    } cases[] = {
        {"${env:SET}", "value"},
        {"${SET}", "value"},
        {"a-${env:SET}-${SET}-z", "a-value-value-z"},
        {"${env:UNSET:-x y}", "x y"},
        {"${UNSET:-}", ""},
        {"${env:SET:-other}", "value"},
        {"${env:EMPTY}", ""},
        {"${env:EMPTY:-other}", "other"}, /* as the shell's :- */
        {"${env:UNSET:-a:b}", "a:b"},
        {"$$", "$"},
        {"$${env:SET}/${env:SET}", "${env:SET}/value"},
        {"cost: 5$", "cost: 5$"},
        {"$SET", "$SET"},
        {"${env:DOLLARS}", "${env:SET} $$"}, /* what is put in is not read again */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct arena arena = {0};
        struct error error;
        struct yaml_node node = scalar(cases[i].text);
        const struct yaml_node *expanded = expand(&arena, &node, &error);
        assert_non_null(expanded);
        assert_string_equal(expanded->text, cases[i].expanded);
        assert_int_equal(expanded->bytes, strlen(cases[i].expanded));
        assert_int_equal(expanded->line, 3);
        arena_fini(&arena);
    }
}

static void files_lose_one_newline(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct error error;
    char text[64];
    snprintf(text, sizeof text, "${file:%s}", secret_path);
    struct yaml_node node = scalar(text);
    assert_string_equal(expand(&arena, &node, &error)->text, "s3cr$et");
    arena_fini(&arena);
}

static void bad_references_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"${env:UNSET}", "f.yaml:3:5: variable UNSET is not set: set it, or give a default: "
                         "${env:UNSET:-default}"},
        {"${UNSET}", "f.yaml:3:5: variable UNSET is not set: set it, or give a default: "
                     "${env:UNSET:-default}"},
        {"${env:SET", "f.yaml:3:5: \"${\" without \"}\": close it, or write $$ for a dollar"},
        {"${}", "f.yaml:3:5: \"\" is not the name of a variable: write ${env:NAME}, and $$ for a "
                "dollar"},
        {"${1x}", "f.yaml:3:5: \"1x\" is not the name of a variable: write ${env:NAME}, and $$ for "
                  "a dollar"},
        {"${vault:x}", "f.yaml:3:5: ${vault:…}: unknown source \"vault\": env and file are known"},
        {"${env:${SET}}", "f.yaml:3:5: ${…} inside ${…} is not supported: put the whole value into "
                          "one variable"},
        {"${file:/no/such}",
         "f.yaml:3:5: ${file:…}: /no/such: cannot be opened: No such file or directory: check the "
         "path and its permissions"},
        {"${file:/tmp}",
         "f.yaml:3:5: ${file:…}: /tmp: cannot be read: Is a directory: name a file in it"},
        {"${file:/proc/self/cmdline}", "f.yaml:3:5: ${file:/proc/self/cmdline}: has a NUL "
                                       "character: it must be text"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct arena arena = {0};
        struct error error = {0};
        struct yaml_node node = scalar(cases[i].text);
        assert_null(expand(&arena, &node, &error));
        assert_string_equal(error.text, cases[i].error);
        arena_fini(&arena);
    }
}

static void lists_come_out_of_variables(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct error error;
    struct yaml_node node = scalar("${env:LIST}");
    const struct yaml_node *list = expand_to(&arena, &node, YAML_SEQUENCE, &error);
    assert_int_equal(list->kind, YAML_SEQUENCE);
    assert_string_equal(list->items[1]->text, "b");
    assert_string_equal(list->source, "f.yaml:3:5: in ${env:LIST}");
    /* wanted as text it stays text, and what is no reference is never parsed */
    assert_string_equal(expand_to(&arena, &node, YAML_SCALAR, &error)->text, "[a, b]");
    struct yaml_node plain = scalar("[a]");
    assert_ptr_equal(expand_to(&arena, &plain, YAML_SEQUENCE, &error), &plain);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(references_are_replaced),
        cmocka_unit_test(files_lose_one_newline),
        cmocka_unit_test(bad_references_are_refused),
        cmocka_unit_test(lists_come_out_of_variables),
    };
    return cmocka_run_group_tests(tests, write_secret, remove_secret);
}
