/* SPDX-License-Identifier: Apache-2.0 */
/* The prometheus exporter as a whole: values that the worker took are what a scraper gets; who may
 * scrape, and how; and a scraper that does not read hinders nobody. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "exporters/exporter.h"
#include "tests/exporters/rig.h"
#include "tests/free_port.h"

enum { PAGE_POINTS = 32 };

struct place {
    unsigned port;
    char endpoint[32];
    const char *scheme;
};

/* `more` are further settings. */
static void start(struct rig *rig, struct place *place, const char *const *more)
{
    const char *pairs[16] = {"endpoint", place->endpoint};
    place->port = free_port();
    if (place->scheme == NULL)
        place->scheme = "http";
    snprintf(place->endpoint, sizeof place->endpoint, "127.0.0.1:%u", place->port);
    for (int i = 0; more[i] != NULL; i++)
        pairs[2 + i] = more[i];
    rig_init(rig);
    rig_add(rig, &prometheus_exporter.component, pairs);
    rig_start(rig);
}

#define MORE(...) ((const char *const[]){__VA_ARGS__, NULL})
static const char *const no_more[] = {NULL};

/* ---- a scraper ---- */

struct reply {
    long status;
    size_t bytes, wire_bytes;
    char *body;
    char content_type[96], encoding[32];
};

static size_t on_body(char *data, size_t size, size_t count, void *owner)
{
    struct reply *reply = owner;
    reply->body = realloc(reply->body, reply->bytes + size * count + 1);
    assert_non_null(reply->body);
    memcpy(reply->body + reply->bytes, data, size * count);
    reply->bytes += size * count;
    reply->body[reply->bytes] = '\0';
    return size * count;
}

static size_t on_header(char *data, size_t size, size_t count, void *owner)
{
    struct reply *reply = owner;
    sscanf(data, "Content-Encoding: %31s", reply->encoding);
    return size * count;
}

struct ask {
    const char *path, *method, *header;
    bool packed, insecure;
};

static struct reply ask(const struct place *place, struct ask ask)
{
    struct reply reply = {.body = calloc(1, 1)};
    char url[128], *type = NULL;
    CURL *curl = curl_easy_init();
    curl_off_t wire = 0;
    struct curl_slist *headers = ask.header != NULL ? curl_slist_append(NULL, ask.header) : NULL;
    snprintf(url, sizeof url, "%s://%s%s", place->scheme, place->endpoint,
             ask.path != NULL ? ask.path : "/metrics");
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 20L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &reply);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &reply);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, ask.insecure ? 0L : 1L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, ask.insecure ? 0L : 2L);
    if (ask.packed)
        curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, "gzip");
    if (ask.method != NULL)
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, ask.method);
    if (curl_easy_perform(curl) == CURLE_OK) {
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &reply.status);
        curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type);
        curl_easy_getinfo(curl, CURLINFO_SIZE_DOWNLOAD_T, &wire);
        snprintf(reply.content_type, sizeof reply.content_type, "%s", type != NULL ? type : "");
        reply.wire_bytes = (size_t)wire;
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return reply;
}

static double sample(const struct reply *reply, const char *series)
{
    const char *at = strstr(reply->body, series);
    if (at == NULL)
        fail_msg("no %s in %s", series, reply->body);
    return strtod(at + strlen(series), NULL);
}

/* ---- tests ---- */

static void test_values(void **state)
{
    (void)state;
    struct rig rig;
    struct place place = {0};
    start(&rig, &place, MORE("namespace", "fleet", "const_labels.zone", "eu"));
    for (int i = 0; i < 3; i++)
        rig_push(&rig, PAGE_POINTS, 0);
    rig_wait_idle(&rig, 0);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_POINTS_DELIVERED), 3 * PAGE_POINTS);
    struct reply reply = ask(&place, (struct ask){0});
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply.content_type, "text/plain; version=0.0.4; charset=utf-8");
    assert_string_equal(reply.encoding, "");
    /* The rig counts its values up: the first series of the third page has the third page's first.
     */
    static const char first[] = "fleet_postgresql_commits_total{db_namespace=\"app\",db_collection_"
                                "name=\"public.t0\\\"\\\\\","
                                "operation=\"ins\",n=\"0\",instance=\"db1:5432\",zone=\"eu\"} ";
    double value = sample(&reply, first);
    assert_true(value == 2 * rig.value / 3);
    assert_true(sample(&reply, "fleet_target_info{server_address=\"db1\",instance=\"db1:5432\","
                               "zone=\"eu\"} ") == 1);
    assert_non_null(strstr(reply.body, "# TYPE fleet_postgresql_commits_total counter\n"));
    assert_non_null(strstr(reply.body, "# TYPE fleet_pgweir_target_up_ratio gauge\n"));
    free(reply.body);
    rig_fini(&rig);
}

/* Packed or not, the same; and OpenMetrics where it is on and asked for. */
static void test_forms(void **state)
{
    (void)state;
    static const char open[] = "Accept: application/openmetrics-text; version=1.0.0";
    struct rig rig;
    struct place place = {0};
    start(&rig, &place, MORE("enable_open_metrics", "true"));
    rig_push(&rig, PAGE_POINTS, 0);
    rig_wait_idle(&rig, 0);
    struct reply plain = ask(&place, (struct ask){0});
    struct reply packed = ask(&place, (struct ask){.packed = true});
    struct reply metrics = ask(&place, (struct ask){.header = open});
    assert_int_equal(packed.status, 200);
    assert_int_equal(packed.bytes, plain.bytes);
    assert_string_equal(packed.body, plain.body);
#ifdef PGWEIR_HAVE_ISAL
    assert_string_equal(packed.encoding, "gzip");
    assert_true(packed.wire_bytes < plain.wire_bytes / 2);
#endif
    assert_string_equal(metrics.content_type,
                        "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert_string_equal(metrics.body + metrics.bytes - 6, "# EOF\n");
    assert_non_null(strstr(metrics.body, "# TYPE postgresql_commits counter\n"));
    free(plain.body);
    free(packed.body);
    free(metrics.body);
    rig_fini(&rig);
    start(&rig, &place, no_more); /* not on: not given */
    metrics = ask(&place, (struct ask){.header = open});
    assert_string_equal(metrics.content_type, "text/plain; version=0.0.4; charset=utf-8");
    assert_string_equal(metrics.body, ""); /* nothing came yet */
    free(metrics.body);
    rig_fini(&rig);
}

static void test_who_may(void **state)
{
    (void)state;
    static const struct {
        struct ask ask;
        long status;
    } rows[] = {
        {{.header = "Authorization: Bearer let-me-in"}, 200},
        {{.header = "Authorization: Bearer let-me-i"}, 401},
        {{.header = "Authorization: Bearer let-me-in2"}, 401},
        {{.header = "Authorization: let-me-in"}, 401},
        {{.header = "Authorization: Basic bGV0LW1lLWlu"}, 401},
        {{0}, 401},
        {{.path = "/", .header = "Authorization: Bearer let-me-in"}, 404},
        {{.path = "/"}, 401},
        {{.path = "/metrics/", .header = "Authorization: Bearer let-me-in"}, 404},
        {{.method = "POST", .header = "Authorization: Bearer let-me-in"}, 405},
        {{.path = "/metrics?x=1", .header = "Authorization: Bearer let-me-in"}, 200},
    };
    struct rig rig;
    struct place place = {0};
    start(&rig, &place, MORE("bearer_token", "let-me-in"));
    rig_push(&rig, PAGE_POINTS, 0);
    rig_wait_idle(&rig, 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct reply reply = ask(&place, rows[i].ask);
        if (reply.status != rows[i].status)
            fail_msg("row %zu: %ld", i, reply.status);
        assert_int_equal(strstr(reply.body, "postgresql_commits") != NULL, reply.status == 200);
        free(reply.body);
    }
    rig_fini(&rig);
}

static void test_tls(void **state)
{
    (void)state;
    char dir[] = "/tmp/pgweir-scrape-XXXXXX", command[512], cert[64], key[64];
    assert_non_null(mkdtemp(dir));
    snprintf(command, sizeof command,
             "cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
             "-subj /CN=x -keyout key.pem -out cert.pem -days 2 >/dev/null 2>&1",
             dir);
    assert_int_equal(system(command), 0);
    snprintf(cert, sizeof cert, "%s/cert.pem", dir);
    snprintf(key, sizeof key, "%s/key.pem", dir);
    struct rig rig;
    struct place place = {.scheme = "https"};
    start(&rig, &place, MORE("tls.cert_file", cert, "tls.key_file", key));
    rig_push(&rig, PAGE_POINTS, 0);
    rig_wait_idle(&rig, 0);
    struct reply reply = ask(&place, (struct ask){.insecure = true, .packed = true});
    assert_int_equal(reply.status, 200);
    assert_non_null(strstr(reply.body, "postgresql_commits_total{"));
    free(reply.body);
    reply = ask(&place, (struct ask){0}); /* who checks it does not trust it */
    assert_int_equal(reply.status, 0);
    free(reply.body);
    place.scheme = "http";
    reply = ask(&place, (struct ask){0});
    assert_int_not_equal(reply.status, 200);
    free(reply.body);
    rig_fini(&rig);
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

static void test_expiration(void **state)
{
    (void)state;
    struct rig rig;
    struct place place = {0};
    start(&rig, &place, MORE("metric_expiration", "2s"));
    rig_push(&rig, PAGE_POINTS, 0);
    rig_wait_idle(&rig, 0);
    uint64_t deadline_ns = clock_monotonic_ns() + 30 * NS_PER_S;
    size_t bytes = 1;
    while (bytes > 0 && clock_monotonic_ns() < deadline_ns) {
        struct reply reply = ask(&place, (struct ask){0});
        assert_int_equal(reply.status, 200);
        bytes = reply.bytes;
        free(reply.body);
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    assert_int_equal(bytes, 0);
    rig_push(&rig, PAGE_POINTS, 0); /* and comes again */
    rig_wait_idle(&rig, 0);
    struct reply reply = ask(&place, (struct ask){0});
    assert_true(reply.bytes > 0);
    free(reply.body);
    rig_fini(&rig);
}

/* Scrapers that ask and do not read, more than there are places: the worker goes on, and when they
 * are gone others are answered. */
static void test_silent_scrapers(void **state)
{
    (void)state;
    enum { SILENT = 6 };
    static const char request[] = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    struct rig rig;
    struct place place = {0};
    int fds[SILENT];
    start(&rig, &place, MORE("connections_max", "4", "request_timeout", "1s"));
    rig_push(&rig, 1000, 0);
    rig_wait_idle(&rig, 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons((uint16_t)place.port)};
    for (int i = 0; i < SILENT; i++) {
        int small = 1;
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
        assert_int_equal(connect(fds[i], (struct sockaddr *)&address, sizeof address), 0);
        assert_int_equal(write(fds[i], request, sizeof request - 1), sizeof request - 1);
    }
    for (int i = 0; i < 50; i++)
        rig_push(&rig, PAGE_POINTS, 0);
    rig_wait_idle(&rig, 0);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_POINTS_DELIVERED), rig.pushed);
    struct reply reply = ask(&place, (struct ask){0}); /* after request_timeout, a place is free */
    assert_int_equal(reply.status, 200);
    free(reply.body);
    for (int i = 0; i < SILENT; i++)
        close(fds[i]);
    rig_fini(&rig);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value, *problem;
    } rows[] = {
        {"endpoint", "localhost", "has no port"},
        {"const_labels.a-b", "x", "const_labels: \"a-b\" is no label name"},
        {"translation_strategy", "NoUTF8EscapingWithSuffixes", "not possible here"},
        {"tls.cert_file", "/nowhere.pem", "both cert_file and key_file"},
        {"bearer_token", "", "bearer_token is empty"},
        {"const_labels.a", "x", NULL},
    };
    const struct component *component = &prometheus_exporter.component;
    struct error error;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *const pairs[] = {rows[i].key, rows[i].value, NULL};
        void *settings = settings_create(component, pairs);
        bool good = component->validate(settings, &error);
        assert_int_equal(good, rows[i].problem == NULL);
        if (!good && strstr(error.text, rows[i].problem) == NULL)
            fail_msg("%s: %s", rows[i].key, error.text);
        settings_destroy(component, settings);
    }
    static const char *const bad[][4] = {
        {"endpoint", "127.0.0.1:0", "tls.cert_file", "/nowhere.pem"},
        {"endpoint", "192.0.2.1:0", "namespace", "x"},
    };
    static const char *const problems[] = {"tls::cert_file: cannot read /nowhere.pem",
                                           "this machine has no such address"};
    for (size_t i = 0; i < 2; i++) {
        struct exporter_output output = {0};
        const char *const pairs[] = {bad[i][0], bad[i][1], bad[i][2], bad[i][3], NULL};
        void *settings = settings_create(component, pairs);
        assert_false(prometheus_exporter.open("prometheus", settings, &output, &error));
        if (strstr(error.text, problems[i]) == NULL)
            fail_msg("%s", error.text);
        settings_destroy(component, settings);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),     cmocka_unit_test(test_forms),
        cmocka_unit_test(test_who_may),    cmocka_unit_test(test_tls),
        cmocka_unit_test(test_expiration), cmocka_unit_test(test_silent_scrapers),
        cmocka_unit_test(test_refused),
    };
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
