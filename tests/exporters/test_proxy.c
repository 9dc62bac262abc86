/* SPDX-License-Identifier: Apache-2.0 */
/* Through a proxy of the configuration's, never through one of the environment's. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "exporters/exporter.h"
#include "tests/exporters/rig.h"
#include "tests/exporters/server.h"

/* Requests go to the proxy with the back end's whole address; without one of our own, that of the
 * environment is not asked. */
static void test_proxy(void **state)
{
    (void)state;
    static const struct server_step steps[] = {{.status = 200}};
    struct server *proxy = server_start(steps, 1, NULL, NULL);
    struct server *backend = server_start(steps, 1, NULL, NULL);
    char proxy_url[64], url[64], line[128];
    snprintf(proxy_url, sizeof proxy_url, "http://me:hunter2@127.0.0.1:%u", server_port(proxy));
    snprintf(url, sizeof url, "http://127.0.0.1:%u", server_port(backend));
    snprintf(line, sizeof line, "POST %s/v1/metrics HTTP/1.1\r\n", url);
    setenv("http_proxy", proxy_url, 1);
    setenv("all_proxy", proxy_url, 1);
    for (int with = 0; with <= 1; with++) {
        struct rig rig;
        const char *const pairs[] = {"endpoint", url, with ? "proxy_url" : NULL, proxy_url, NULL};
        rig_init(&rig);
        rig_add(&rig, &otlp_http_exporter.component, pairs);
        rig_start(&rig);
        rig_push(&rig, 100, 0);
        rig_wait_idle(&rig, 0);
        assert_int_equal(rig_value(&rig, 0, TELEMETRY_POINTS_DELIVERED), 100);
        assert_int_equal(server_requests(proxy), with);
        assert_int_equal(server_requests(backend), 1);
        rig_fini(&rig);
    }
    assert_true(server_saw(proxy, line));
    assert_true(server_saw(proxy, "Proxy-Authorization: Basic bWU6aHVudGVyMg==\r\n"));
    unsetenv("http_proxy");
    unsetenv("all_proxy");
    server_stop(&backend);
    server_stop(&proxy);
}

/* A proxy that is not there is a back end that cannot be reached; its password is not told. */
static void test_proxy_down(void **state)
{
    (void)state;
    static const struct server_step steps[] = {{.status = 200}};
    struct server *backend = server_start(steps, 1, NULL, NULL);
    struct rig rig;
    char url[64], text[512];
    snprintf(url, sizeof url, "http://127.0.0.1:%u", server_port(backend));
    const char *const pairs[] = {"endpoint",
                                 url,
                                 "proxy_url",
                                 "http://me:hunter2@127.0.0.1:1",
                                 "retry_on_failure.initial_interval",
                                 "10ms",
                                 NULL};
    rig_init(&rig);
    rig_add(&rig, &otlp_http_exporter.component, pairs);
    rig_start(&rig);
    rig_push(&rig, 100, 0);
    rig_wait(&rig, 0, TELEMETRY_REQUESTS_RETRYABLE, 2);
    assert_false(worker_healthy(rig.worker, 0, text, sizeof text));
    assert_non_null(strstr(text, "no connection"));
    assert_null(strstr(text, "hunter2"));
    assert_int_equal(server_requests(backend), 0);
    rig_stop(&rig, 10);
    rig_fini(&rig);
    server_stop(&backend);
}

/* A proxy that wants other credentials: held until a person has cured it. */
static void test_proxy_refuses(void **state)
{
    (void)state;
    static const struct server_step steps[] = {{.status = 407}, {.status = 407}, {.status = 200}};
    struct server *proxy = server_start(steps, 3, NULL, NULL);
    struct rig rig;
    char proxy_url[64];
    snprintf(proxy_url, sizeof proxy_url, "http://me:hunter2@127.0.0.1:%u", server_port(proxy));
    const char *const pairs[] = {"endpoint",
                                 "http://127.0.0.1:1",
                                 "proxy_url",
                                 proxy_url,
                                 "retry_on_failure.initial_interval",
                                 "5ms",
                                 "retry_on_failure.max_interval",
                                 "10ms",
                                 "circuit_breaker.auth_pause",
                                 "10ms",
                                 NULL};
    rig_init(&rig);
    rig_add(&rig, &otlp_http_exporter.component, pairs);
    rig_start(&rig);
    rig_push(&rig, 100, 0);
    rig_wait_idle(&rig, 0);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_POINTS_DELIVERED), 100);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_REQUESTS_RETRYABLE), 2);
    rig_fini(&rig);
    server_stop(&proxy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_proxy),
        cmocka_unit_test(test_proxy_down),
        cmocka_unit_test(test_proxy_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
