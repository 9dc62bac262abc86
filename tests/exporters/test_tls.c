/* SPDX-License-Identifier: Apache-2.0 */
/* TLS with a certificate authority of our own, made by the openssl program. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exporters/exporter.h"
#include "tests/exporters/rig.h"
#include "tests/exporters/server.h"

static char dir[] = "/tmp/pgweir-tls-XXXXXX";

static const char make_certificates[] =
    "cd %s && exec >/dev/null 2>&1 && "
    "for ca in ca other; do openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
    "-subj /CN=$ca -keyout $ca.key -out $ca.pem -days 2 || exit 1; done && "
    "for host in 127.0.0.1 10.9.8.7; do "
    "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=$host "
    "-keyout $host.key -out $host.csr && "
    "printf 'subjectAltName=IP:%%s' $host > $host.ext && "
    "openssl x509 -req -in $host.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 "
    "-extfile $host.ext -out $host.pem || exit 1; done && "
    "for ca in ca other; do openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
    "-subj /CN=pgweir -keyout by-$ca.key -out by-$ca.csr && openssl x509 -req -in by-$ca.csr "
    "-CA $ca.pem -CAkey $ca.key -CAcreateserial -days 2 -out by-$ca.pem || exit 1; done";

static int group_setup(void **state)
{
    (void)state;
    char command[2048];
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(command, sizeof command, make_certificates, dir);
    return system(command);
}

static int group_teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

struct tls_row {
    const char *what;
    const char *ca;   /* NULL: the system's */
    const char *host; /* whose certificate the server shows */
    const char *skip; /* insecure_skip_verify */
    const char *min_version;
    bool delivered;
    const char *text; /* of health where not delivered */
};

static const struct tls_row rows[] = {
    {"our authority", "ca.pem", "127.0.0.1", "false", "1.2", true, NULL},
    {"our authority, TLS 1.3", "ca.pem", "127.0.0.1", "false", "1.3", true, NULL},
    {"the system does not know it", NULL, "127.0.0.1", "false", "1.2", false, "TLS certificate"},
    {"another authority", "other.pem", "127.0.0.1", "false", "1.2", false, "check tls::ca_file"},
    {"certificate of another host", "ca.pem", "10.9.8.7", "false", "1.2", false, "TLS certificate"},
    {"not verified at all", NULL, "10.9.8.7", "true", "1.2", true, NULL},
};

static void check_row(const struct tls_row *row)
{
    static const struct server_step steps[] = {{.status = 200}};
    struct rig rig;
    char url[64], ca[128], cert[128], key[128], text[512];
    snprintf(ca, sizeof ca, "%s/%s", dir, row->ca != NULL ? row->ca : "");
    snprintf(cert, sizeof cert, "%s/%s.pem", dir, row->host);
    snprintf(key, sizeof key, "%s/%s.key", dir, row->host);
    struct server *server = server_start(steps, 1, cert, key);
    snprintf(url, sizeof url, "https://127.0.0.1:%u", server_port(server));
    const char *pairs[] = {"endpoint",
                           url,
                           "tls.insecure_skip_verify",
                           row->skip,
                           "tls.min_version",
                           row->min_version,
                           "retry_on_failure.initial_interval",
                           "10ms",
                           "circuit_breaker.auth_pause",
                           "10ms",
                           "retry_on_failure.max_elapsed_time",
                           "20ms",
                           row->ca != NULL ? "tls.ca_file" : NULL,
                           ca,
                           NULL};
    print_message("%s\n", row->what);
    rig_init(&rig);
    rig_add(&rig, &otlp_http_exporter.component, pairs);
    rig_start(&rig);
    rig_push(&rig, 50, 0);
    if (row->delivered) {
        rig_wait_idle(&rig, 0);
        assert_int_equal(rig_value(&rig, 0, TELEMETRY_POINTS_DELIVERED), 50);
        assert_int_equal(server_requests(server), 1);
    } else { /* held, not dropped, and no byte of the request went out */
        rig_wait(&rig, 0, TELEMETRY_REQUESTS_RETRYABLE, 4);
        assert_int_equal(rig_value(&rig, 0, TELEMETRY_POINTS_QUEUED), 50);
        assert_int_equal(server_requests(server), 0);
        assert_false(worker_healthy(rig.worker, 0, text, sizeof text));
        if (strstr(text, row->text) == NULL)
            fail_msg("health says %s", text);
    }
    rig_stop(&rig, 10);
    rig_fini(&rig);
    server_stop(&server);
}

static void test_verification(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        check_row(&rows[i]);
}

/* A back end that lets in only who shows a certificate of its authority. */
struct client_row {
    const char *what;
    const char *cert; /* NULL: none */
    bool as_text;     /* cert_pem and key_pem */
    bool delivered;
};

static const struct client_row client_rows[] = {
    {"certificate as files", "by-ca", false, true},
    {"certificate as texts", "by-ca", true, true},
    {"no certificate", NULL, false, false},
    {"certificate of a stranger", "by-other", false, false},
};

static void read_text(const char *path, char text[4096])
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t bytes = fread(text, 1, 4095, file);
    text[bytes] = '\0';
    fclose(file);
}

static void check_client_row(const struct client_row *row)
{
    static const struct server_step steps[] = {{.status = 200}};
    struct rig rig;
    char url[64], ca[128], cert[128], key[128], cert_text[4096], key_text[4096];
    snprintf(ca, sizeof ca, "%s/ca.pem", dir);
    snprintf(cert, sizeof cert, "%s/127.0.0.1.pem", dir);
    snprintf(key, sizeof key, "%s/127.0.0.1.key", dir);
    struct server *server = server_start(steps, 1, cert, key);
    server_ask_certificate(server, ca);
    snprintf(url, sizeof url, "https://127.0.0.1:%u", server_port(server));
    snprintf(cert, sizeof cert, "%s/%s.pem", dir, row->cert != NULL ? row->cert : "ca");
    snprintf(key, sizeof key, "%s/%s.key", dir, row->cert != NULL ? row->cert : "ca");
    read_text(cert, cert_text);
    read_text(key, key_text);
    const char *pairs[] = {"endpoint",
                           url,
                           "tls.ca_file",
                           ca,
                           "retry_on_failure.initial_interval",
                           "10ms",
                           "circuit_breaker.auth_pause",
                           "10ms",
                           row->cert == NULL ? NULL
                           : row->as_text    ? "tls.cert_pem"
                                             : "tls.cert_file",
                           row->as_text ? cert_text : cert,
                           row->as_text ? "tls.key_pem" : "tls.key_file",
                           row->as_text ? key_text : key,
                           NULL};
    print_message("%s\n", row->what);
    rig_init(&rig);
    rig_add(&rig, &otlp_http_exporter.component, pairs);
    rig_start(&rig);
    rig_push(&rig, 50, 0);
    if (row->delivered) {
        rig_wait_idle(&rig, 0);
        assert_int_equal(rig_value(&rig, 0, TELEMETRY_POINTS_DELIVERED), 50);
    } else {
        char text[512];
        rig_wait(&rig, 0, TELEMETRY_REQUESTS_RETRYABLE, 2);
        assert_int_equal(rig_value(&rig, 0, TELEMETRY_POINTS_QUEUED), 50);
        assert_int_equal(server_requests(server), 0);
        assert_false(worker_healthy(rig.worker, 0, text, sizeof text));
        if (strstr(text, "certificate") == NULL || strstr(text, "tls::cert_file") == NULL)
            fail_msg("health says %s", text);
        assert_int_equal(rig_value(&rig, 0, TELEMETRY_AMBIGUOUS_RESENDS), 0);
    }
    rig_stop(&rig, 10);
    rig_fini(&rig);
    server_stop(&server);
}

static void test_client_certificate(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof client_rows / sizeof client_rows[0]; i++)
        check_client_row(&client_rows[i]);
}

/* What cannot work is an error at start that names the key and the file. */
static void test_bad_files(void **state)
{
    (void)state;
    const char *const pairs[] = {"endpoint", "https://127.0.0.1:1", "tls.ca_file",
                                 "/nonexistent/ca.pem", NULL};
    struct ring *ring;
    struct worker *worker = NULL;
    struct error error;
    const struct component *component = &otlp_http_exporter.component;
    void *settings = settings_create(component, pairs);
    struct worker_destination destination = {component, "otlp_http/nr", settings};
    struct worker_options options = {.destinations = &destination, .destination_count = 1};
    assert_true(ring_create(&ring, 1, 4, &error));
    assert_false(worker_create(&worker, ring, &options, &error));
    assert_null(worker);
    assert_non_null(strstr(error.text, "otlp_http/nr: tls::ca_file: cannot read "
                                       "/nonexistent/ca.pem: No such file"));
    ring_destroy(&ring);
    settings_destroy(component, settings);
    telemetry_reset();
}

struct settings_row {
    const char *pairs[9];
    const char *text; /* of the error */
};

static void test_bad_settings(void **state)
{
    (void)state;
    static const struct settings_row bad[] = {
        {{NULL}, "endpoint is missing"},
        {{"endpoint", "localhost:4318", NULL}, "endpoint: "},
        {{"endpoint", "ftp://host", NULL}, "scheme \"ftp\" is not supported"},
        {{"endpoint", "https://me:hunter2@host", NULL}, "must not hold a user name or password"},
        {{"endpoint", "http://h", "proxy_url", "http://me:hunter2/x@proxy:3128", NULL},
         "proxy_url: "},
        {{"endpoint", "http://h", "proxy_url", "gopher://me:hunter2@proxy", NULL}, "proxy_url: "},
        {{"endpoint", "http://h", "headers.bad key", "x", NULL}, "\"bad key\" is no header name"},
        {{"endpoint", "http://h", "headers.key", "a\nb", NULL}, "headers::key: the value holds a"},
        {{"endpoint", "http://h", "tls.cert_file", "x", NULL}, "needs both cert_file and key_file"},
        {{"endpoint", "http://h", "tls.ca_file", "x", "tls.ca_pem", "y", NULL}, "exclude each"},
        {{"endpoint", "http://h", "retry_on_failure.multiplier", "0.5", NULL}, "at least 1"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const struct component *component = &otlp_http_exporter.component;
        void *settings = settings_create(component, bad[i].pairs);
        struct error error;
        assert_false(component->validate(settings, &error));
        if (strstr(error.text, bad[i].text) == NULL || strstr(error.text, "hunter2") != NULL)
            fail_msg("\"%s\" instead of \"%s\"", error.text, bad[i].text);
        settings_destroy(component, settings);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verification),
        cmocka_unit_test(test_client_certificate),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_bad_settings),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
