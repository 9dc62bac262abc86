/* SPDX-License-Identifier: Apache-2.0 */
/* Times, durations, endpoints. */
#include "admin/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "admin/server.h"
#include "base/clock.h"

static void test_durations(void **state)
{
    (void)state;
    static const struct {
        uint64_t ns;
        const char *text; /* as Go prints it */
    } cases[] = {
        {0, "0s"},
        {999999, "0s"},
        {7 * NS_PER_MS, "7ms"},
        {NS_PER_S, "1s"},
        {10 * NS_PER_S, "10s"},
        {1500 * NS_PER_MS, "1.5s"},
        {60 * NS_PER_S, "1m0s"},
        {3600 * NS_PER_S + 20 * NS_PER_MS, "1h0m0.02s"},
        {(26 * 3600 + 3 * 60 + 4) * NS_PER_S + 123456789, "26h3m4.123s"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[48];
        duration_text(cases[i].ns, text);
        assert_string_equal(text, cases[i].text);
    }
    char text[32];
    time_text(1700000000123456789ull, text);
    assert_string_equal(text, "2023-11-14T22:13:20.123Z");
}

static void test_json_text(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"plain", "\"plain\""},
        {"quote \" tab \t", "\"quote \\\" tab \\t\""},
        {"Bäume", "\"Bäume\""},
        {"latin1 B\xe4ume", "\"latin1 B?ume\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *json = json_text(cases[i][0]);
        char *text = json_dumps(json, JSON_ENCODE_ANY);
        assert_string_equal(text, cases[i][1]);
        free(text);
        json_decref(json);
    }
}

static void test_endpoints(void **state)
{
    (void)state;
    static const struct {
        const char *endpoint, *host, *port; /* host NULL: refused */
    } cases[] = {
        {"localhost:13133", "localhost", "13133"},
        {":13133", "", "13133"},
        {"0.0.0.0:0", "0.0.0.0", "0"},
        {"[::1]:65535", "::1", "65535"},
        {"::1:13133", NULL, NULL},
        {"localhost", NULL, NULL},
        {"localhost:", NULL, NULL},
        {"localhost:http", NULL, NULL},
        {"localhost:-1", NULL, NULL},
        {"localhost:65536", NULL, NULL},
        {"localhost:1x", NULL, NULL},
        {"", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char host[256], port[8];
        struct error error = {0};
        bool fine = endpoint_split(cases[i].endpoint, host, port, &error);
        assert_int_equal(fine, cases[i].host != NULL);
        if (fine) {
            assert_string_equal(host, cases[i].host);
            assert_string_equal(port, cases[i].port);
        } else {
            assert_non_null(strstr(error.text, cases[i].endpoint));
            assert_non_null(strstr(error.text, ":13133")); /* the cure shows the form */
        }
    }
}

static void test_listening(void **state)
{
    (void)state;
    static const struct {
        const char *endpoint;
        bool loopback;
    } cases[] = {{"localhost:0", true}, {"127.0.0.2:0", true}, {":0", false}, {"0.0.0.0:0", false}};
    struct error error;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int fd = endpoint_listen(cases[i].endpoint, &error);
        assert_true(fd >= 0);
        assert_int_equal(endpoint_is_loopback(fd), cases[i].loopback);
        close(fd);
    }
    assert_int_equal(endpoint_listen("192.0.2.1:0", &error), -1);
    assert_non_null(strstr(error.text, "no such address"));
    assert_int_equal(endpoint_listen("no.such.host.invalid:1", &error), -1);
    assert_non_null(strstr(error.text, "does not resolve"));
}

static void test_settings_are_checked(void **state)
{
    (void)state;
    struct error error = {0};
    struct health_check_settings settings = {"localhost:1", "/healthz", 1, NS_PER_S};
    assert_true(health_check_extension.validate(&settings, &error));
    settings.path = "healthz";
    assert_false(health_check_extension.validate(&settings, &error));
    assert_non_null(strstr(error.text, "path \"healthz\" must start with /"));
    settings.path = "/a?b";
    assert_false(health_check_extension.validate(&settings, &error));
    settings = (struct health_check_settings){"nowhere", "/", 1, NS_PER_S};
    assert_false(health_check_extension.validate(&settings, &error));
    assert_non_null(strstr(error.text, "endpoint \"nowhere\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_json_text),
        cmocka_unit_test(test_endpoints),
        cmocka_unit_test(test_listening),
        cmocka_unit_test(test_settings_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
