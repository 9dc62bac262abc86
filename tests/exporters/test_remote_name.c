/* SPDX-License-Identifier: Apache-2.0 */
/* OTLP's names and label names as Prometheus has them: the cases of prometheus/otlptranslator that
 * have a meaning here, and pgweir's own metrics. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "exporters/remote/name.h"

enum kind { GAUGE, COUNTER, UPDOWN };

static const struct {
    const char *name, *unit;
    enum kind kind;
    const char *namespace;
    bool bare; /* without suffixes */
    const char *expected;
} names[] = {
    {"postgresql.commits", "1", COUNTER, NULL, false, "postgresql_commits_total"},
    {"postgresql.backends", "1", UPDOWN, NULL, false, "postgresql_backends"},
    {"postgresql.table.size", "By", UPDOWN, NULL, false, "postgresql_table_size_bytes"},
    {"postgresql.replication.data_delay", "By", GAUGE, NULL, false,
     "postgresql_replication_data_delay_bytes"},
    {"postgresql.wal.age", "s", GAUGE, NULL, false, "postgresql_wal_age_seconds"},
    {"postgresql.bgwriter.duration", "ms", COUNTER, NULL, false,
     "postgresql_bgwriter_duration_milliseconds_total"},
    {"postgresql.rows", "{row}", UPDOWN, NULL, false, "postgresql_rows"},
    {"pgweir.target.up", "1", GAUGE, NULL, false, "pgweir_target_up_ratio"},
    {"postgresql.commits", "1", COUNTER, "fleet", false, "fleet_postgresql_commits_total"},
    {"postgresql.commits", "1", COUNTER, "fleet", true, "fleet_postgresql_commits"},
    {"postgresql.table.size", "By", UPDOWN, NULL, true, "postgresql_table_size"},
    {"simple_metric", "", GAUGE, NULL, true, "simple_metric"},
    {"metric@with#special$chars", "", GAUGE, NULL, true, "metric_with_special_chars"},
    {"metric__kept", "", GAUGE, NULL, true, "metric__kept"},
    {"123metric", "", GAUGE, NULL, true, "_123metric"},
    {"metric@@##$$name", "", GAUGE, NULL, true, "metric_name"},
    {"metric", "", GAUGE, "test@namespace!!?", true, "test_namespace_metric"},
    {"requests", "", COUNTER, NULL, false, "requests_total"},
    {"cpu_usage", "1", GAUGE, NULL, false, "cpu_usage_ratio"},
    {"items", "1", COUNTER, NULL, false, "items_total"},
    {"requests", "1/s", GAUGE, NULL, false, "requests_per_second"},
    {"throughput", "By/s", GAUGE, NULL, false, "throughput_bytes_per_second"},
    {"custom_metric", "custom_unit", GAUGE, NULL, false, "custom_metric_custom_unit"},
    {"custom_metric", "{custom}", GAUGE, NULL, false, "custom_metric"},
    {"custom_metric", "By/{custom}", GAUGE, NULL, false, "custom_metric_bytes"},
    {"requests_total", "", COUNTER, NULL, false, "requests_total"},
    {"total.of.requests", "", COUNTER, NULL, false, "of_requests_total"},
    {"cpu_usage_ratio", "1", GAUGE, NULL, false, "cpu_usage_ratio"},
    {"response_time_seconds", "s", GAUGE, NULL, false, "response_time_seconds"},
    {"cpu_seconds_total", "s", COUNTER, NULL, false, "cpu_seconds_total"},
    {"requests", "1/s", COUNTER, "app", false, "app_requests_per_second_total"},
    {"123_requests", "", COUNTER, "app", false, "app_123_requests_total"},
    {"metric__with__multiple", "unit__many", GAUGE, NULL, false, "metric_with_multiple_unit_many"},
    {"custom_metric", "unit@with#special/chars", GAUGE, NULL, false,
     "custom_metric_unit_with_special_per_chars"},
    {"uptime", "d", GAUGE, NULL, false, "uptime_days"},
    {"load", "%", GAUGE, NULL, false, "load_percent"},
    {"a:b", " By ", GAUGE, NULL, false, "a:b_bytes"},
    {"@#$%", "", GAUGE, NULL, false, "_"}, /* nothing is lost for its name */
    {"9", "", COUNTER, NULL, false, "_9_total"},
};

static void test_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const struct metric metric = {.name = names[i].name,
                                      .unit = names[i].unit,
                                      .instrument =
                                          names[i].kind == GAUGE ? METRIC_GAUGE : METRIC_SUM,
                                      .monotonic = names[i].kind == COUNTER};
        const struct prom_naming naming = {names[i].namespace, !names[i].bare};
        char name[PROM_NAME_BYTES];
        size_t bytes = prom_metric_name(name, &metric, &naming);
        assert_string_equal(name, names[i].expected);
        assert_int_equal(bytes, strlen(name));
    }
}

/* However long and odd, the result is a name of Prometheus and ends within its space. */
static void test_long_names(void **state)
{
    (void)state;
    static char text[1000];
    for (size_t length = 0; length < sizeof text; length += 7) {
        for (size_t i = 0; i < length; i++)
            text[i] = i % 11 == 10 ? '.' : (char)('0' + (i % 10));
        text[length] = '\0';
        const struct metric metric = {.name = text, .unit = text, .instrument = METRIC_GAUGE};
        const struct prom_naming naming = {text, length % 2 == 0};
        char name[PROM_NAME_BYTES], label[PROM_NAME_BYTES];
        size_t bytes = prom_metric_name(name, &metric, &naming);
        assert_true(bytes > 0 && bytes < PROM_NAME_BYTES && strlen(name) == bytes);
        assert_int_equal(strspn(name, "_0123456789"), bytes);
        assert_int_equal(name[0], '_');
        bytes = prom_label_name(label, text, length);
        assert_true(bytes < PROM_NAME_BYTES && strlen(label) == bytes);
    }
}

static const struct {
    const char *key, *expected;
} labels[] = {
    {"db.namespace", "db_namespace"},
    {"label:with:colons", "label_with_colons"},
    {"LabelWithCapitalLetters", "LabelWithCapitalLetters"},
    {"label!with&special$chars)", "label_with_special_chars_"},
    {"foreign_字符", "foreign___"},
    {"123label", "key_123label"},
    {"_one", "key_one"},
    {"é", ""},
    {".x", "key_x"},
    {"__reserved__", "__reserved__"},
    {"", ""},
    {"ようこそ", ""},
};

static void test_label_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof labels / sizeof labels[0]; i++) {
        char name[PROM_NAME_BYTES];
        size_t bytes = prom_label_name(name, labels[i].key, strlen(labels[i].key));
        assert_string_equal(name, labels[i].expected);
        assert_int_equal(bytes, strlen(name));
    }
}

static void test_values(void **state)
{
    (void)state;
    static const struct {
        struct attr attr;
        const char *expected;
    } rows[] = {
        {{.kind = ATTR_TEXT, .text = "abc", .text_bytes = 2}, "ab"},
        {{.kind = ATTR_INT, .number = INT64_MIN}, "-9223372036854775808"},
        {{.kind = ATTR_BOOL, .number = 1}, "true"},
        {{.kind = ATTR_BOOL, .number = 0}, "false"},
        {{.kind = ATTR_DOUBLE, .real = 0.1}, "0.1"},
        {{.kind = ATTR_DOUBLE, .real = 1.0 / 3}, "0.3333333333333333"},
        {{.kind = ATTR_DOUBLE, .real = -2}, "-2"},
        {{.kind = ATTR_DOUBLE, .real = __builtin_inf()}, "+Inf"},
        {{.kind = ATTR_DOUBLE, .real = -__builtin_inf()}, "-Inf"},
        {{.kind = ATTR_DOUBLE, .real = __builtin_nan("")}, "NaN"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char number[PROM_NUMBER_BYTES];
        size_t bytes;
        const char *value = prom_label_value(&rows[i].attr, number, &bytes);
        assert_int_equal(bytes, strlen(rows[i].expected));
        assert_memory_equal(value, rows[i].expected, bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_label_names),
        cmocka_unit_test(test_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
