/* SPDX-License-Identifier: Apache-2.0 */
/* Ten thousand servers load at once, and a mistake in one of them is found at its line. */
#include "components.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "pg/settings.h"

enum { SERVERS = 10000 };

static char *fleet(size_t bad_index)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    fputs("receivers:\n  postgresql:\n    username: u\n    password: p\n    targets:\n", out);
    for (size_t i = 0; i < SERVERS; i++)
        fprintf(out,
                "      - name: server-%zu\n        endpoint: db%zu.example%s\n"
                "        databases: [a, b]\n        attributes: {team: t%zu}\n",
                i, i, i == bad_index ? "" : ":5432", i % 10);
    fputs("exporters: {debug: }\n"
          "service: {pipelines: {metrics: {receivers: [postgresql], exporters: [debug]}}}\n",
          out);
    fclose(out);
    return text;
}

static void ten_thousand_servers_load_fast(void **state)
{
    (void)state;
    char *text = fleet(SIZE_MAX);
    struct config *config = NULL;
    struct error error;
    uint64_t began_ns = clock_thread_cpu_ns();
    if (!load_text(&config, text, &error, NULL, 0))
        fail_msg("%s", error.text);
    uint64_t took_ns = clock_thread_cpu_ns() - began_ns;
    print_message("%d servers, %zu KiB: %u ms of CPU time\n", SERVERS, strlen(text) / 1024,
                  (unsigned)(took_ns / NS_PER_MS));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && defined(__OPTIMIZE__)
    assert_in_range(took_ns, 0, 500 * NS_PER_MS);
#endif
    const struct postgresql_settings *receiver = settings_of(config, "postgresql");
    assert_int_equal(postgresql_server_count(receiver), SERVERS);
    const struct server_settings *last = postgresql_server(receiver, SERVERS - 1);
    assert_string_equal(last->name, "server-9999");
    assert_string_equal(last->password, "p");
    assert_string_equal(last->databases.items[1], "b");
    config_destroy(&config);
    free(text);
}

static void one_bad_server_is_found(void **state)
{
    (void)state;
    char *text = fleet(7777);
    struct config *config = NULL;
    struct error error;
    assert_false(load_text(&config, text, &error, NULL, 0));
    assert_string_equal(error.text,
                        "yaml:31115:19: targets[7777].endpoint: \"db7777.example\" has no port: "
                        "write db7777.example:5432");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_thousand_servers_load_fast),
        cmocka_unit_test(one_bad_server_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
