/* SPDX-License-Identifier: Apache-2.0 */
/* Connections to the simulator: how they begin, how they are refused, how they break; with libpq,
 * and byte by byte where no client does such things.
 *
 *   test_sim_connect PROGRAM auto|io_uring|epoll */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/tools/sim/rig.h"
#include "tools/sim/wire.h"

static const char *const plain[] = {NULL};

/* A rig with these options and a password file "right". */
static void start_with_password(struct rig *rig, const char *method, bool tls)
{
    char path[] = "/tmp/pgweir-sim-password-XXXXXX", ca[64];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "right\n", 6), 6);
    close(fd);
    snprintf(ca, sizeof ca, "%s.ca", path);
    const char *arguments[] = {
        "--auth", method, "--password-file", path, tls ? "--tls" : NULL, "--tls-ca-out", ca, NULL};
    rig_start(rig, arguments);
    unlink(path);
    if (tls) {
        char copy[160];
        snprintf(copy, sizeof copy, "mv %s %s/ca.pem", ca, rig->directory);
        assert_int_equal(system(copy), 0);
    }
}

/* The connection fails, and says so with these words. */
static void expect_refused(const struct rig *rig, const char *more, const char *words)
{
    PGconn *pg = rig_try(rig, more);
    assert_int_equal(PQstatus(pg), CONNECTION_BAD);
    if (strstr(PQerrorMessage(pg), words) == NULL)
        fail_msg("%s does not say: %s", PQerrorMessage(pg), words);
    PQfinish(pg);
}

/* -- authentication and TLS -- */

static void test_passwords(void **state)
{
    (void)state;
    static const char *const methods[] = {"password", "scram"};
    for (size_t i = 0; i < 2; i++) {
        struct rig rig;
        start_with_password(&rig, methods[i], false);
        PGconn *pg = rig_connect(&rig, "password=right");
        rig_sql(pg, "SELECT 1", "1");
        assert_int_equal(PQconnectionUsedPassword(pg), 1);
        PQfinish(pg);
        expect_refused(&rig, "password=wrong", "password authentication failed for user \"x\"");
        expect_refused(&rig, "", "no password supplied");
        json_t *report = rig_stop(&rig);
        assert_int_equal(rig_count(report, "errors.28P01"), 1);
        assert_int_equal(rig_count(report, "connections_refused"), 1);
        json_decref(report);
    }
}

static void test_tls(void **state)
{
    (void)state;
    struct rig rig;
    char options[256];
    start_with_password(&rig, "scram", true);
    /* The certificate is for localhost; the server answers at 127.1.0.1. */
    snprintf(options, sizeof options,
             "sslmode=verify-full host=localhost sslrootcert=%s channel_binding=require "
             "password=right",
             rig_file(&rig, "ca.pem", NULL));
    PGconn *pg = rig_connect(&rig, options);
    assert_int_equal(PQsslInUse(pg), 1);
    rig_sql(pg, "SELECT 1", "1");
    PQfinish(pg);
    pg = rig_connect(&rig, "sslmode=require channel_binding=disable password=right");
    rig_sql(pg, "SELECT 1", "1");
    PQfinish(pg);
    expect_refused(&rig, "sslmode=require channel_binding=require password=wrong",
                   "password authentication failed");
    pg = rig_connect(&rig, "sslmode=disable password=right"); /* offered, not demanded */
    assert_int_equal(PQsslInUse(pg), 0);
    PQfinish(pg);
    json_decref(rig_stop(&rig));
}

static void test_no_tls(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, plain);
    expect_refused(&rig, "sslmode=require", "server does not support SSL");
    PGconn *pg = rig_connect(&rig, "sslmode=prefer");
    assert_int_equal(PQsslInUse(pg), 0);
    PQfinish(pg);
    json_decref(rig_stop(&rig));
}

/* -- byte by byte -- */

static size_t put_startup(uint8_t *to, uint32_t version, const char *parameters, size_t bytes)
{
    wire_put32(to, (uint32_t)(8 + bytes));
    wire_put32(to + 4, version);
    memcpy(to + 8, parameters, bytes);
    return 8 + bytes;
}

/* The next message; returns its type. */
static char read_message(int fd, uint8_t *body, size_t size, uint32_t *ret_bytes)
{
    uint8_t header[5];
    rig_read(fd, header, 5);
    *ret_bytes = wire_get32(header + 1) - 4;
    assert_true(*ret_bytes <= size);
    rig_read(fd, body, *ret_bytes);
    return (char)header[0];
}

/* Sends bytes as the start of a connection; FATAL with this SQLSTATE comes back, then the end. */
static void expect_fatal(const struct rig *rig, const void *bytes, size_t count,
                         const char *sqlstate)
{
    uint8_t body[1024];
    uint32_t body_bytes;
    char wanted[8];
    int fd = rig_dial(rig);
    rig_write(fd, bytes, count);
    assert_int_equal(read_message(fd, body, sizeof body, &body_bytes), 'E');
    snprintf(wanted, sizeof wanted, "C%s", sqlstate);
    assert_non_null(memmem(body, body_bytes, wanted, 7)); /* with its NUL */
    assert_non_null(memmem(body, body_bytes, "SFATAL", 7));
    assert_int_equal(TEMP_FAILURE_RETRY(recv(fd, body, 1, 0)), 0);
    close(fd);
}

static void test_bad_starts(void **state)
{
    (void)state;
    struct rig rig;
    uint8_t bytes[256];
    rig_start(&rig, plain);
    expect_fatal(&rig, "\0\0\0\7\0\3\0\0", 8, "08P01");
    expect_fatal(&rig, "GET / HTTP/1.1\r\n\r\n", 18, "08P01");
    expect_fatal(&rig, bytes, put_startup(bytes, 2 << 16, "", 1), "0A000");
    expect_fatal(&rig, bytes, put_startup(bytes, 3 << 16, "user", 4), "08P01");
    expect_fatal(&rig, bytes, put_startup(bytes, 3 << 16, "database\0x\0", 12), "28000");
    expect_fatal(&rig, bytes, put_startup(bytes, 3 << 16, "user\0x\0replication\0on\0", 23),
                 "0A000");
    expect_fatal(&rig, bytes, put_startup(bytes, 3 << 16, "user\0x\0database\0nowhere\0", 25),
                 "3D000");
    /* A log-in, then nonsense. */
    size_t count = put_startup(bytes, 3 << 16, "user\0x\0database\0postgres\0", 26);
    static const char *const nonsense[] = {"Q\0\0\0\3", "Q\x7f\0\0\0", "z\0\0\0\4"};
    for (size_t i = 0; i < 3; i++) {
        uint8_t body[1024];
        uint32_t body_bytes;
        char type;
        int fd = rig_dial(&rig);
        rig_write(fd, bytes, count);
        do {
            type = read_message(fd, body, sizeof body, &body_bytes);
        } while (type != 'Z');
        rig_write(fd, nonsense[i], 5);
        assert_int_equal(read_message(fd, body, sizeof body, &body_bytes), 'E');
        assert_non_null(memmem(body, body_bytes, "C08P01", 7));
        assert_int_equal(TEMP_FAILURE_RETRY(recv(fd, body, 1, 0)), 0);
        close(fd);
    }
    json_decref(rig_stop(&rig));
}

/* What came in the clear behind an SSLRequest must not become part of the session (CVE-2021-23214).
 */
static void test_injection(void **state)
{
    (void)state;
    static const char *const arguments[] = {"--tls", NULL};
    struct rig rig;
    uint8_t bytes[256];
    rig_start(&rig, arguments);
    memcpy(bytes, "\0\0\0\10\4\322\26\57", 8);
    size_t count = 8 + put_startup(bytes + 8, 3 << 16, "user\0x\0", 8);
    expect_fatal(&rig, bytes, count, "08P01");
    json_decref(rig_stop(&rig));
}

/* GSS is refused with one byte, minor versions and options are negotiated, 3.2 has long keys. */
static void test_negotiation(void **state)
{
    (void)state;
    static const struct {
        uint32_t minor;
        const char *parameters;
        size_t bytes;
        bool negotiated;
        uint32_t spoken, key_bytes;
    } cases[] = {
        {0, "user\0x\0database\0postgres\0", 26, false, 0, 4},
        {2, "user\0x\0database\0postgres\0", 26, false, 2, 32},
        {9999, "user\0x\0database\0postgres\0", 26, true, 2, 32},
        {0, "user\0x\0database\0postgres\0_pq_.what\0on\0", 39, true, 0, 4},
    };
    struct rig rig;
    rig_start(&rig, plain);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t bytes[256], body[1024], n;
        uint32_t body_bytes;
        char type;
        bool negotiated = false;
        int fd = rig_dial(&rig);
        rig_write(fd, "\0\0\0\10\4\322\26\60", 8); /* GSSENCRequest */
        rig_read(fd, &n, 1);
        assert_int_equal(n, 'N');
        rig_write(
            fd, bytes,
            put_startup(bytes, 3 << 16 | cases[i].minor, cases[i].parameters, cases[i].bytes));
        do {
            type = read_message(fd, body, sizeof body, &body_bytes);
            if (type == 'v') {
                negotiated = true;
                assert_int_equal(wire_get32(body), 3 << 16 | cases[i].spoken);
                bool option = strstr("_pq_.what", "_pq_") != NULL && wire_get32(body + 4) == 1;
                assert_int_equal(option, cases[i].bytes == 39);
                if (option)
                    assert_string_equal((const char *)body + 8, "_pq_.what");
            }
            if (type == 'K')
                assert_int_equal(body_bytes, 4 + cases[i].key_bytes);
        } while (type != 'Z');
        assert_int_equal(negotiated, cases[i].negotiated);
        close(fd);
    }
    json_decref(rig_stop(&rig));
}

/* Requests that come byte by byte, answers that leave byte by byte. */
static void test_slices(void **state)
{
    (void)state;
    static const char request[] = "Q\0\0\0\15SELECT 1\0X\0\0\0\4";
    struct rig rig;
    uint8_t bytes[256], body[1024];
    uint32_t body_bytes;
    char type;
    rig_start(&rig, plain);
    rig_tell(&rig, "[{slice: {bytes: 1, every: 1ms}}]");
    int fd = rig_dial(&rig);
    size_t count = put_startup(bytes, 3 << 16, "user\0x\0database\0postgres\0", 26);
    for (size_t i = 0; i < count; i++)
        rig_write(fd, bytes + i, 1);
    do {
        type = read_message(fd, body, sizeof body, &body_bytes);
    } while (type != 'Z');
    for (size_t i = 0; i < sizeof request - 1; i++)
        rig_write(fd, request + i, 1);
    static const char types[] = "TDCZ";
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(read_message(fd, body, sizeof body, &body_bytes), types[i]);
    assert_int_equal(TEMP_FAILURE_RETRY(recv(fd, body, 1, 0)), 0);
    close(fd);
    json_t *report = rig_stop(&rig);
    assert_true(rig_count(report, "bytes_out") > 300);
    assert_int_equal(rig_count(json_array_get(json_object_get(report, "rules"), 0), "hits"), 1);
    json_decref(report);
}

/* -- on order -- */

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *rules, *words, *sqlstate;
    } cases[] = {
        {"[{refuse: full}]", "sorry, too many clients already", "errors.53300"},
        {"[{refuse: starting}]", "the database system is starting up", "errors.57P03"},
        {"[{refuse: shutdown}]", "terminating connection due to administrator", "errors.57P01"},
        {"[{refuse: password}]", "password authentication failed", "errors.28P01"},
        {"[{refuse: no_database}]", "database \"postgres\" does not exist", "errors.3D000"},
        {"[{failover: true, for: 1h}]", "the database system is starting up", "errors.57P03"},
    };
    struct rig rig;
    rig_start(&rig, plain);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *before = rig_report(&rig);
        rig_tell(&rig, cases[i].rules);
        expect_refused(&rig, "", cases[i].words);
        json_t *after = rig_report(&rig);
        assert_int_equal(rig_count(after, cases[i].sqlstate),
                         rig_count(before, cases[i].sqlstate) + 1);
        assert_int_equal(rig_count(after, "connections_refused"), i + 1);
        assert_int_equal(rig_count(json_array_get(json_object_get(after, "rules"), 0), "hits"), 1);
        json_decref(before);
        json_decref(after);
    }
    rig_tell(&rig, "[{refuse: full, database: app}]"); /* another one */
    PQfinish(rig_connect(&rig, ""));
    json_decref(rig_stop(&rig));
}

static void test_slow_start(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, plain);
    rig_tell(&rig, "[{slow_start: 250ms}]");
    uint64_t begin_ns = clock_monotonic_ns();
    PQfinish(rig_connect(&rig, ""));
    assert_true(clock_monotonic_ns() - begin_ns >= 250 * NS_PER_MS);
    json_decref(rig_stop(&rig));
}

/* A hung session goes on when its rule is taken back, or runs out; a deaf one is not cancelled. */
static void test_hang(void **state)
{
    (void)state;
    struct rig rig;
    char text[256];
    rig_start(&rig, plain);
    PGconn *pg = rig_connect(&rig, "options='-c statement_timeout=50ms'");
    PGcancel *cancel = PQgetCancel(pg);
    rig_tell(&rig, "[{hang: true, deaf: true}]");
    assert_int_equal(PQsendQuery(pg, "SELECT 1"), 1);
    assert_int_equal(PQcancel(cancel, text, sizeof text), 1);
    uint64_t begin_ns = clock_monotonic_ns();
    while (clock_monotonic_ns() - begin_ns < 200 * NS_PER_MS) {
        assert_int_equal(PQconsumeInput(pg), 1);
        assert_int_equal(PQisBusy(pg), 1);
        usleep(10000);
    }
    rig_tell(&rig, "[]");
    PGresult *result = PQgetResult(pg);
    assert_int_equal(PQresultStatus(result), PGRES_TUPLES_OK);
    PQclear(result);
    assert_null(PQgetResult(pg));
    rig_tell(&rig, "[{hang: true, deaf: true, until: 150ms}]");
    rig_sql(pg, "SELECT 1", "1");
    PQfreeCancel(cancel);
    /* A client that does not wait for it is gone at once. */
    rig_tell(&rig, "[{hang: true, deaf: true}]");
    assert_int_equal(PQsendQuery(pg, "SELECT 1"), 1);
    rig_wait(&rig, "connections_open", 1);
    PQfinish(pg);
    rig_wait(&rig, "connections_open", 0);
    json_decref(rig_stop(&rig));
}

/* Both end the connection: terminated, with its message; reset, within the answer. */
static void test_broken(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, plain);
    PGconn *pg = rig_connect(&rig, "");
    rig_tell(&rig, "[{close: true}]");
    assert_int_equal(PQsendQuery(pg, "SELECT 1"), 1);
    PGresult *result = PQgetResult(pg);
    assert_string_equal(sqlstate_of(result), "57P01");
    PQclear(result);
    while ((result = PQgetResult(pg)) != NULL)
        PQclear(result);
    assert_int_equal(PQstatus(pg), CONNECTION_BAD);
    PQfinish(pg);
    rig_tell(&rig, "[]");
    int fd = rig_dial(&rig);
    uint8_t bytes[256], body[1024];
    uint32_t body_bytes;
    char type;
    rig_write(fd, bytes, put_startup(bytes, 3 << 16, "user\0x\0database\0postgres\0", 26));
    do {
        type = read_message(fd, body, sizeof body, &body_bytes);
    } while (type != 'Z');
    rig_tell(&rig, "[{reset_after: 3}]");
    rig_write(fd, "Q\0\0\0\15SELECT 1\0", 14);
    size_t count = 0;
    ssize_t got;
    while ((got = TEMP_FAILURE_RETRY(recv(fd, body, sizeof body, 0))) > 0)
        count += (size_t)got;
    assert_int_equal(got, -1);
    assert_int_equal(errno, ECONNRESET);
    /* RowDescription is in front of the answer; RST may overtake what is unread. */
    assert_true(count <= 34 + 3);
    close(fd);
    json_decref(rig_stop(&rig));
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_passwords),  cmocka_unit_test(test_tls),
        cmocka_unit_test(test_no_tls),     cmocka_unit_test(test_bad_starts),
        cmocka_unit_test(test_injection),  cmocka_unit_test(test_negotiation),
        cmocka_unit_test(test_slices),     cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_slow_start), cmocka_unit_test(test_hang),
        cmocka_unit_test(test_broken),
    };
    if (argc != 3)
        return 2;
    rig_configure(argv[1], argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
