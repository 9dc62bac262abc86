/* SPDX-License-Identifier: Apache-2.0 */
/* What libpq is told for which settings. */
#include "../../engine/pg/session.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static const struct session_settings times = {.connect_timeout_ns = 10 * NS_PER_S,
                                              .statement_timeout_ns = 5 * NS_PER_S,
                                              .lock_timeout_ns = 1};

struct expectation {
    const char *keyword, *value; /* value NULL: absent */
};

static void test_parameters(void **state)
{
    (void)state;
    static const struct {
        struct server_settings server;
        const char *place, *database;
        bool by_name;
        struct expectation expected[6];
    } cases[] = {
        {{.name = "db1", .endpoint = "db1.example:5433", .username = "mon", .password = "pw"},
         "target db1 (db1.example:5433)",
         "postgres",
         true,
         {{"host", "db1.example"},
          {"hostaddr", NULL},
          {"user", "mon"},
          {"password", "pw"},
          {"sslmode", "verify-full"},
          {"sslrootcert", "/etc/ssl/certs/ca-certificates.crt"}}},
        {{.endpoint = "127.0.0.1:5432", .tls.insecure = true, .database = "ops"},
         "target 127.0.0.1:5432",
         "ops",
         false,
         {{"hostaddr", "127.0.0.1"}, {"sslmode", "disable"}, {"application_name", "pgweir"}}},
        {{.endpoint = "[::1]:5432", .tls.insecure_skip_verify = true},
         "target [::1]:5432",
         "postgres",
         false,
         {{"hostaddr", "::1"}, {"sslmode", "require"}, {"sslrootcert", NULL}}},
        {{.endpoint = "/run/postgresql:5433", .transport = TRANSPORT_UNIX},
         "target /run/postgresql:5433",
         "postgres",
         false,
         {{"host", "/run/postgresql"}, {"port", "5433"}, {"gssencmode", "disable"}}},
        /* The user's own string wins, but never over what keeps the loop from blocking. */
        {{.name = "x",
          .dsn = "postgresql://u:p%40ss@a.example:6000/app?sslmode=verify-ca&application_name=me"
                 "&gssencmode=prefer&connect_timeout=3&target_session_attrs=primary",
          .username = "ignored"},
         "target x (a.example:6000)",
         "app",
         true,
         {{"user", "u"},
          {"password", "p@ss"},
          {"sslmode", "verify-ca"},
          {"application_name", "me"},
          {"gssencmode", "disable"},
          {"target_session_attrs", "any"}}},
        {{.dsn = "host=a,b port=1,2 user=u client_encoding=LATIN1", .database = "ops"},
         "target a:1",
         "ops",
         true,
         {{"host", "a"}, {"port", "1"}, {"client_encoding", "UTF8"}, {"keepalives_idle", "30"}}},
        {{.dsn = "host=a.example hostaddr=10.0.0.1 dbname=d"},
         "target a.example:5432",
         "d",
         false,
         {{"host", "a.example"}, {"hostaddr", "10.0.0.1"}}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct session session;
        struct failure problem;
        session_init(&session, &cases[i].server, &times, &problem);
        assert_string_equal(problem.text, "");
        assert_string_equal(session.place, cases[i].place);
        assert_string_equal(session.database, cases[i].database);
        assert_int_equal(session.by_name, cases[i].by_name);
        for (size_t k = 0; k < 6 && cases[i].expected[k].keyword != NULL; k++) {
            const char *value = value_of(&session, cases[i].expected[k].keyword);
            if (cases[i].expected[k].value == NULL)
                assert_null(value);
            else
                assert_string_equal(value, cases[i].expected[k].value);
        }
        session_fini(&session);
    }
}

/* What a dsn without a word about TLS means: by where the server is, and by what `tls` says. */
static void test_tls_of_a_dsn(void **state)
{
    (void)state;
    static const struct {
        const char *dsn;
        struct server_tls tls;
        const char *sslmode;
    } cases[] = {
        {"postgresql://localhost/postgres", {.insecure_skip_verify = true}, "prefer"},
        {"postgresql://127.0.0.1:6000/x", {.insecure_skip_verify = true}, "prefer"},
        {"host=127.3.2.1", {.insecure_skip_verify = true}, "prefer"},
        {"postgresql://[::1]/x", {.insecure_skip_verify = true}, "prefer"},
        {"host=/run/postgresql", {.insecure_skip_verify = true}, "prefer"},
        {"user=u", {.insecure_skip_verify = true}, "prefer"},
        {"host=db1.example hostaddr=127.0.0.1", {.insecure_skip_verify = true}, "prefer"},
        /* another machine, whatever it is called */
        {"postgresql://db1.example/x", {.insecure_skip_verify = true}, "require"},
        {"host=localhost hostaddr=10.0.0.1", {.insecure_skip_verify = true}, "require"},
        {"host=128.0.0.1", {.insecure_skip_verify = true}, "require"},
        {"host=localhost.example", {.insecure_skip_verify = true}, "require"},
        {"host=::2", {.insecure_skip_verify = true}, "require"},
        /* somebody said something */
        {"postgresql://localhost/x?sslmode=require", {.insecure_skip_verify = true}, "require"},
        {"host=localhost sslmode=disable", {.insecure_skip_verify = true}, "disable"},
        {"host=localhost sslrootcert=/ca.pem", {.insecure_skip_verify = true}, "require"},
        {"host=localhost", {.insecure = true}, "disable"},
        {"host=localhost", {.insecure_skip_verify = false}, "verify-full"},
        {"host=localhost", {.insecure_skip_verify = true, .ca_file = "/ca.pem"}, "require"},
        {"host=localhost", {true, true, NULL, NULL, NULL}, "disable"},
    };
    unsetenv("PGHOST");
    unsetenv("PGHOSTADDR");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct session session;
        struct failure problem;
        const struct server_settings server = {.dsn = cases[i].dsn, .tls = cases[i].tls};
        session_init(&session, &server, &times, &problem);
        if (strcmp(value_of(&session, "sslmode"), cases[i].sslmode) != 0)
            fail_msg("%s: %s", cases[i].dsn, value_of(&session, "sslmode"));
        session_fini(&session);
    }
}

static void test_guards(void **state)
{
    (void)state;
    struct session session;
    struct failure problem;
    const struct server_settings server = {.dsn = "host=h connect_timeout=3"};
    session_init(&session, &server, &times, &problem);
    assert_int_equal(session.connect_timeout_ns, 3 * NS_PER_S);
    assert_non_null(strstr(session.guards[0], "'statement_timeout', '5000'"));
    /* Never rounded down to 0, which would mean no limit. */
    assert_non_null(strstr(session.guards[1], "'lock_timeout', '1'"));
    session_fini(&session);
}

static void test_problems(void **state)
{
    (void)state;
    static const struct {
        struct server_settings server;
        const char *expected;
    } cases[] = {
        {{.dsn = "postgresql://u:secret@[broken/db"}, "dsn cannot be read"},
        {{.dsn = "host=h password='secret"}, "dsn cannot be read"},
        {{.dsn = "host=h port=70000 password=secret"}, "port 70000 is not in 1 to 65535"},
        {{.endpoint = "nohost", .password = "secret"}, "has no port"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct session session;
        struct failure problem;
        session_init(&session, &cases[i].server, &times, &problem);
        assert_int_equal(problem.kind, FAILURE_UNFIT);
        assert_non_null(strstr(problem.text, cases[i].expected));
        assert_null(strstr(problem.text, "secret"));
        assert_null(strstr(session.place, "secret"));
        session_fini(&session);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_tls_of_a_dsn),
        cmocka_unit_test(test_guards),
        cmocka_unit_test(test_problems),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
