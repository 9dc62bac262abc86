/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/tools/sim/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tools/sim/tell.h"

enum { ARGUMENTS_MAX = 32, WAIT_S = 20, REPORT_BYTES = 1 << 16 };

static const char *configured_program, *configured_loop;

void rig_configure(const char *program, const char *loop)
{
    configured_program = program;
    configured_loop = loop;
}

/* Reads until `end` is seen, or to the end of the file where that is NULL. */
static void read_output(int fd, char *to, size_t size, const char *end)
{
    uint64_t deadline_ns = clock_monotonic_ns() + WAIT_S * NS_PER_S;
    size_t count = 0;
    to[0] = 0;
    while (end == NULL || strstr(to, end) == NULL) {
        struct pollfd waits = {.fd = fd, .events = POLLIN};
        assert_true(clock_monotonic_ns() < deadline_ns && count + 1 < size);
        if (poll(&waits, 1, 100) <= 0)
            continue;
        ssize_t got = read(fd, to + count, size - 1 - count);
        assert_true(got >= 0);
        count += (size_t)got;
        to[count] = 0;
        if (got == 0 && end == NULL)
            return;
        if (got == 0)
            fail_msg("pgweir-sim ended: %s", to);
    }
}

void rig_start(struct rig *rig, const char *const *arguments)
{
    char line[256];
    const char *argv[ARGUMENTS_MAX] = {configured_program, "serve",   "--listen",
                                       "127.0.0.1:0",      "--loop",  configured_loop,
                                       "--admin",          rig->admin};
    int count = 8, ends[2];
    strcpy(rig->directory, "/tmp/pgweir-sim-XXXXXX");
    assert_non_null(mkdtemp(rig->directory));
    snprintf(rig->admin, sizeof rig->admin, "%s/admin", rig->directory);
    while (*arguments != NULL && count < ARGUMENTS_MAX - 1)
        argv[count++] = *arguments++;
    argv[count] = NULL;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    rig->pid = fork();
    assert_true(rig->pid >= 0);
    if (rig->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nothing behind */
        dup2(ends[1], STDOUT_FILENO);
        execv(configured_program, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(ends[1]);
    rig->output = ends[0];
    read_output(rig->output, line, sizeof line, "\n");
    assert_int_equal(sscanf(line, "listening on port %hu", &rig->port), 1);
}

json_t *rig_stop(struct rig *rig)
{
    static char text[REPORT_BYTES];
    int status;
    char command[128];
    assert_int_equal(kill(rig->pid, SIGTERM), 0);
    read_output(rig->output, text, sizeof text, NULL);
    close(rig->output);
    assert_int_equal(waitpid(rig->pid, &status, 0), rig->pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    snprintf(command, sizeof command, "rm -rf %s", rig->directory);
    assert_int_equal(system(command), 0);
    json_t *report = json_loads(text, 0, NULL);
    assert_non_null(report);
    return report;
}

static json_t *ask(const struct rig *rig, const char *text)
{
    char *answer;
    struct error error = {0};
    if (!tell(rig->admin, text, &answer, &error))
        fail_msg("%s", error.text);
    json_t *object = json_loads(answer, 0, NULL);
    assert_non_null(object);
    if (json_object_get(object, "error") != NULL)
        fail_msg("%s", answer);
    free(answer);
    return object;
}

void rig_tell(const struct rig *rig, const char *rules)
{
    json_decref(ask(rig, rules));
}

json_t *rig_report(const struct rig *rig)
{
    return ask(rig, "report");
}

json_int_t rig_count(const json_t *report, const char *key)
{
    const char *dot = strchr(key, '.');
    if (dot == NULL)
        return json_integer_value(json_object_get(report, key));
    char outer[32];
    snprintf(outer, sizeof outer, "%.*s", (int)(dot - key), key);
    return rig_count(json_object_get(report, outer), dot + 1);
}

void rig_wait(const struct rig *rig, const char *key, json_int_t value)
{
    const uint64_t deadline_ns = clock_monotonic_ns() + WAIT_S * NS_PER_S;
    json_int_t found;
    do {
        json_t *report = rig_report(rig);
        found = rig_count(report, key);
        json_decref(report);
        if (clock_monotonic_ns() > deadline_ns)
            fail_msg("%s is %lld after %d s", key, (long long)found, WAIT_S);
    } while (found != value);
}

const char *rig_file(const struct rig *rig, const char *name, const char *contents)
{
    static char path[160];
    snprintf(path, sizeof path, "%s/%s", rig->directory, name);
    if (contents == NULL)
        return path;
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(contents, file) >= 0);
    fclose(file);
    return path;
}

PGconn *rig_try(const struct rig *rig, const char *more)
{
    char dsn[512];
    snprintf(dsn, sizeof dsn,
             "hostaddr=127.1.0.1 port=%u user=x dbname=postgres connect_timeout=%d sslmode=disable "
             "%s",
             rig->port, WAIT_S, more);
    PGconn *pg = PQconnectdb(dsn);
    assert_non_null(pg);
    return pg;
}

PGconn *rig_connect(const struct rig *rig, const char *more)
{
    PGconn *pg = rig_try(rig, more);
    if (PQstatus(pg) != CONNECTION_OK)
        fail_msg("%s", PQerrorMessage(pg));
    return pg;
}

int rig_dial(const struct rig *rig)
{
    const struct timeval limit = {.tv_sec = WAIT_S};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(rig->port)};
    address.sin_addr.s_addr = htonl(0x7f010001);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

void rig_read(int fd, void *to, size_t bytes)
{
    char *at = to;
    while (bytes > 0) {
        ssize_t got = TEMP_FAILURE_RETRY(recv(fd, at, bytes, 0));
        assert_true(got > 0);
        at += got;
        bytes -= (size_t)got;
    }
}

void rig_write(int fd, const void *bytes, size_t count)
{
    assert_int_equal(send(fd, bytes, count, MSG_NOSIGNAL), count);
}

const char *sqlstate_of(const PGresult *result)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    return sqlstate == NULL ? "" : sqlstate;
}

void rig_sql(PGconn *pg, const char *sql, const char *cell)
{
    PGresult *result = PQexec(pg, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK && status != PGRES_EMPTY_QUERY)
        fail_msg("%s: %s", sql, PQerrorMessage(pg));
    if (cell != NULL)
        assert_string_equal(PQgetvalue(result, 0, 0), cell);
    PQclear(result);
}

const char *rig_sqlstate(PGconn *pg, const char *sql)
{
    static char sqlstate[8];
    PGresult *result = PQexec(pg, sql);
    assert_int_equal(PQresultStatus(result), PGRES_FATAL_ERROR);
    snprintf(sqlstate, sizeof sqlstate, "%s", sqlstate_of(result));
    PQclear(result);
    return sqlstate;
}
