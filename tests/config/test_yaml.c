/* SPDX-License-Identifier: Apache-2.0 */
#include "config/yaml.h"

#include <pgweir/limits.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct yaml_node *parse(struct arena *arena, const char *text)
{
    struct error error;
    const struct yaml_node *root = NULL;
    if (!yaml_parse(arena, "f.yaml", text, strlen(text), &root, &error))
        fail_msg("%s", error.text);
    return root;
}

static void nodes_know_kind_text_and_place(void **state)
{
    (void)state;
    struct arena arena = {0};
    const struct yaml_node *root = parse(&arena, "a: 1\n"
                                                 "b: \"1\"\n"
                                                 "c: [x, {d: y}]\n"
                                                 "e:\n"
                                                 "  f: !!str 2\n"
                                                 "g:\n"
                                                 "h: |\n"
                                                 "  two\n"
                                                 "  lines\n");
    assert_int_equal(root->kind, YAML_MAPPING);
    assert_int_equal(root->count, 6);
    const struct yaml_node *a = yaml_find(root, "a"), *b = yaml_find(root, "b");
    assert_true(a->plain && !b->plain);
    assert_string_equal(b->text, "1");
    assert_int_equal(b->line, 2);
    assert_int_equal(b->column, 4);
    assert_string_equal(b->source, "f.yaml");
    const struct yaml_node *c = yaml_find(root, "c");
    assert_int_equal(c->kind, YAML_SEQUENCE);
    assert_int_equal(c->count, 2);
    assert_string_equal(yaml_find(c->items[1], "d")->text, "y");
    assert_int_equal(root->key_nodes[3]->line, 4);
    assert_false(yaml_find(yaml_find(root, "e"), "f")->plain);
    assert_true(yaml_is_null(yaml_find(root, "g")));
    assert_string_equal(yaml_find(root, "h")->text, "two\nlines\n");
    assert_null(yaml_find(root, "z"));
    assert_null(yaml_find(a, "a"));
    arena_fini(&arena);
}

static void nothing_is_null(void **state)
{
    (void)state;
    static const char *const nulls[] = {"", "# remark\n", "~", "null", "---\n"};
    for (size_t i = 0; i < sizeof nulls / sizeof nulls[0]; i++) {
        struct arena arena = {0};
        assert_true(yaml_is_null(parse(&arena, nulls[i])));
        arena_fini(&arena);
    }
    struct arena arena = {0};
    assert_false(yaml_is_null(parse(&arena, "\"null\"")));
    assert_false(yaml_is_null(parse(&arena, "0")));
    assert_false(yaml_is_null(parse(&arena, "[]")));
    arena_fini(&arena);
}

static const struct {
    const char *text, *error;
} refused[] = {
    {"a: &x 1\nb: *y\n", "f.yaml:2:4: no anchor \"&y\" before this alias: check the name"},
    {"a: &x [1, *x]\n", "f.yaml:1:11: no anchor \"&x\" before this alias: check the name"},
    {"a: 1\n<<: 2\n", "f.yaml:2:5: \"<<\" takes a map, or a list of maps, as a rule by an alias"},
    {"<<: {a: 1}\n<<: {b: 2}\n", "f.yaml:2:1: a second \"<<\" in one map: give the first a list"},
    {"a: 1\nb: 2\na: 3\n",
     "f.yaml:3:1: duplicate key \"a\", first at line 1: remove one of the two"},
    {"x: {a: 1, a: 2}\n",
     "f.yaml:1:11: duplicate key \"a\", first at line 1: remove one of the two"},
    {"a: [1\n", "f.yaml:2:1: not valid YAML: flow sequence without a closing bracket"},
    {"a: 1\n b: 2\n", "f.yaml:1:4: not valid YAML: invalid multiline plain key"},
    {"\ta: 1\n", "f.yaml:1:1: not valid YAML: invalid tab as indendation in a mapping"},
    {"a: 1\n---\nb: 2\n", "f.yaml:2:1: more than one YAML document: remove the \"---\" line"},
    {"a: \"\\0\"\n", "f.yaml:1:4: a value must not contain a NUL character"},
    {"[a]: b\n", "f.yaml:1:1: a key must be a plain word, not a list or a map"},
    {"a: !b c\n", "f.yaml:1:7: the only tag supported is !!str: write the value without a tag"},
    {"a: !b [c]\n", "f.yaml:1:7: tags (\"!…\") on lists and maps are not supported: remove it"},
    {"ok: 1\nä: \xff\n", "f.yaml:2:4: byte 0xff is not UTF-8 text: save the file as UTF-8"},
    {"a: \xc0\xaf\n", "f.yaml:1:4: byte 0xc0 is not UTF-8 text: save the file as UTF-8"},
    {"a: \xed\xa0\x80\n", "f.yaml:1:4: byte 0xed is not UTF-8 text: save the file as UTF-8"},
    {"a: \xe2\x82", "f.yaml:1:4: byte 0xe2 is not UTF-8 text: save the file as UTF-8"},
};

static void bad_text_is_refused_with_its_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct arena arena = {0};
        struct error error = {0};
        const struct yaml_node *root = NULL;
        assert_false(
            yaml_parse(&arena, "f.yaml", refused[i].text, strlen(refused[i].text), &root, &error));
        assert_string_equal(error.text, refused[i].error);
        assert_null(root);
        arena_fini(&arena);
    }
}

static void depth_and_size_are_bounded(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct error error;
    const struct yaml_node *root = NULL;
    char deep[2 * LIMIT_CONFIG_DEPTH + 2];
    memset(deep, '[', LIMIT_CONFIG_DEPTH);
    memset(deep + LIMIT_CONFIG_DEPTH, ']', LIMIT_CONFIG_DEPTH);
    assert_true(yaml_parse(&arena, "f", deep, 2 * LIMIT_CONFIG_DEPTH, &root, &error));
    memset(deep, '[', LIMIT_CONFIG_DEPTH + 1);
    memset(deep + LIMIT_CONFIG_DEPTH + 1, ']', LIMIT_CONFIG_DEPTH + 1);
    assert_false(yaml_parse(&arena, "f", deep, sizeof deep, &root, &error));
    assert_string_equal(error.text, "f:1:33: nested too deeply: 32 levels are the limit");
    /* the size is looked at before the text is */
    assert_false(yaml_parse(&arena, "f", "", (size_t)LIMIT_CONFIG_BYTES + 1, &root, &error));
    assert_string_equal(error.text, "f:1:1: larger than 64 MiB: split it into several files");
    arena_fini(&arena);
}

static void aliases_and_merge_keys_are_the_anchors_nodes(void **state)
{
    (void)state;
    struct arena arena = {0};
    const struct yaml_node *root = parse(&arena, "base: &b {a: 1, list: [x]}\n"
                                                 "more: &m {a: 9, c: &c 3}\n"
                                                 "one: {<<: *b, a: 2}\n"
                                                 "two: {<<: [*b, *m]}\n"
                                                 "same: *b\n"
                                                 "c: *c\n");
    const struct yaml_node *base = yaml_find(root, "base"), *one = yaml_find(root, "one");
    const struct yaml_node *two = yaml_find(root, "two");
    assert_ptr_equal(yaml_find(root, "same"), base);
    assert_string_equal(yaml_find(root, "c")->text, "3");
    assert_int_equal(one->count, 2);
    assert_string_equal(yaml_find(one, "a")->text, "2"); /* its own wins */
    assert_ptr_equal(yaml_find(one, "list"), yaml_find(base, "list"));
    assert_int_equal(two->count, 3);
    assert_string_equal(yaml_find(two, "a")->text, "1"); /* the earlier source wins */
    assert_string_equal(yaml_find(two, "c")->text, "3");
    assert_null(yaml_find(one, "<<"));
    arena_fini(&arena);
}

/* Each level names the one before nine times: 9^9 values if they were written out. */
static void billion_laughs_are_refused(void **state)
{
    (void)state;
    char laughs[1024] = "a: &a0 [x]\n";
    for (int level = 1; level <= 9; level++) {
        size_t used = strlen(laughs);
        int more = snprintf(laughs + used, sizeof laughs - used, "k%d: &a%d [", level, level);
        for (int i = 0; i < 9; i++)
            more += snprintf(laughs + used + (size_t)more, sizeof laughs - used - (size_t)more,
                             "*a%d%s", level - 1, i < 8 ? ", " : "]\n");
    }
    struct arena arena = {0};
    struct error error;
    const struct yaml_node *root = NULL;
    assert_false(yaml_parse(&arena, "f", laughs, strlen(laughs), &root, &error));
    assert_non_null(strstr(error.text, "too many values once aliases are written out"));
    arena_fini(&arena);
}

static void aliases_count_towards_depth(void **state)
{
    (void)state;
    char text[4096] = "a: &a ";
    strcat(text, "[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]\n"); /* 20 levels */
    strcat(text, "b: [[[[[[[[[[[*a]]]]]]]]]]]\n");               /* the root, 11 and 20 */
    struct arena arena = {0};
    struct error error;
    const struct yaml_node *root = NULL;
    assert_true(yaml_parse(&arena, "f", text, strlen(text), &root, &error));
    strcat(text, "c: [[[[[[[[[[[[*a]]]]]]]]]]]]\n");
    assert_false(yaml_parse(&arena, "f", text, strlen(text), &root, &error));
    assert_string_equal(error.text, "f:3:16: nested too deeply once this alias is written out: "
                                    "32 levels are the limit");
    arena_fini(&arena);
}

static void errors_start_with_the_place(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct error error;
    assert_false(
        yaml_error(yaml_find(parse(&arena, "a: 1\nb: 2\n"), "b"), &error, "no %s", "good"));
    assert_string_equal(error.text, "f.yaml:2:4: no good");
    arena_fini(&arena);
}

static void nearest_word(void **state)
{
    (void)state;
    static const char *const known[] = {"endpoint", "username", "password", "tls", "timeout"};
    static const struct {
        const char *word, *nearest;
    } cases[] = {
        {"endpont", "endpoint"},
        {"end_point", "endpoint"},
        {"user", "username"},
        {"TLS", "tls"},
        {"tsl", "tls"},
        {"timeouts", "timeout"},
        {"x", NULL},
        {"pasword", "password"},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *nearest = yaml_nearest(cases[i].word, known, 5);
        if (cases[i].nearest == NULL)
            assert_null(nearest);
        else
            assert_string_equal(nearest, cases[i].nearest);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_know_kind_text_and_place),
        cmocka_unit_test(nothing_is_null),
        cmocka_unit_test(bad_text_is_refused_with_its_place),
        cmocka_unit_test(depth_and_size_are_bounded),
        cmocka_unit_test(aliases_and_merge_keys_are_the_anchors_nodes),
        cmocka_unit_test(billion_laughs_are_refused),
        cmocka_unit_test(aliases_count_towards_depth),
        cmocka_unit_test(errors_start_with_the_place),
        cmocka_unit_test(nearest_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
