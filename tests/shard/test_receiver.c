/* SPDX-License-Identifier: Apache-2.0 */
/* A receiver's choices of metrics and groups, against the real built-in catalogue. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/clock.h"
#include "shard/receiver.h"

static size_t metric_index(const struct receiver *receiver, const char *name)
{
    for (size_t i = 0; i < receiver->catalog->metric_count; i++)
        if (strcmp(receiver->catalog->metrics[i]->name, name) == 0)
            return i;
    fail_msg("no metric %s", name);
    return 0;
}

static void metrics_are_switched_by_name(void **state)
{
    (void)state;
    const char *keys[] = {"postgresql.deadlocks", "postgresql.commits"};
    struct metric_settings items[] = {{.enabled = true}, {.enabled = false}};
    struct postgresql_settings settings = {.collection_interval_ns = 10 * NS_PER_S,
                                           .metrics = {keys, items, 2}};
    struct receiver receiver;
    struct error error;
    assert_true(receiver_init(&receiver, "postgresql", &settings, &error));
    size_t deadlocks = metric_index(&receiver, "postgresql.deadlocks");
    size_t commits = metric_index(&receiver, "postgresql.commits");
    assert_false(receiver.catalog->metrics[deadlocks]->enabled);
    assert_true(receiver.metric_enabled[deadlocks]);
    assert_true(receiver.catalog->metrics[commits]->enabled);
    assert_false(receiver.metric_enabled[commits]);
    assert_true(receiver.metric_enabled[metric_index(&receiver, "postgresql.rollbacks")]);
    receiver_fini(&receiver);
}

static void unknown_metric_names_the_nearest(void **state)
{
    (void)state;
    const char *keys[] = {"postgresql.comits"};
    struct metric_settings items[] = {{.enabled = true}};
    struct postgresql_settings settings = {.collection_interval_ns = 10 * NS_PER_S,
                                           .metrics = {keys, items, 1}};
    struct receiver receiver;
    struct error error;
    assert_false(receiver_init(&receiver, "postgresql/a", &settings, &error));
    assert_string_equal(error.text,
                        "receivers: postgresql/a: metrics: \"postgresql.comits\" is not known; "
                        "did you mean \"postgresql.commits\"?");
}

static void groups_take_their_own_interval(void **state)
{
    (void)state;
    const char *keys[] = {"tables", "core"};
    struct group_settings items[] = {{.interval_ns = 60 * NS_PER_S, .enabled = true},
                                     {.enabled = false}};
    struct postgresql_settings settings = {.collection_interval_ns = 10 * NS_PER_S,
                                           .groups = {keys, items, 2}};
    struct receiver receiver;
    struct error error;
    assert_true(receiver_init(&receiver, "postgresql", &settings, &error));
    for (size_t i = 0; i < receiver.catalog->group_count; i++) {
        const char *group = receiver.catalog->groups[i];
        uint64_t expected_ns = strcmp(group, "tables") == 0 ? 60 * NS_PER_S
                               : strcmp(group, "core") == 0 ? 0
                                                            : 10 * NS_PER_S;
        assert_int_equal(receiver.group_interval_ns[i], expected_ns);
    }
    receiver_fini(&receiver);
    keys[0] = "tabels";
    assert_false(receiver_init(&receiver, "postgresql", &settings, &error));
    assert_non_null(
        strstr(error.text, "groups: \"tabels\" is not known; did you mean \"tables\"?"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metrics_are_switched_by_name),
        cmocka_unit_test(unknown_metric_names_the_nearest),
        cmocka_unit_test(groups_take_their_own_interval),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
