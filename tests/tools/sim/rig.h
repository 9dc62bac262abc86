/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>
#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A simulator as a program of its own, and libpq connections to it. Failures end the test. */
struct rig {
    pid_t pid;
    int output; /* its stdout */
    uint16_t port;
    char directory[64]; /* for files; removed by rig_stop() */
    char admin[96];     /* path of the admin socket */
};

/* `program` and `loop` are the test's arguments. */
void rig_configure(const char *program, const char *loop);

/* Starts `pgweir-sim serve --listen 127.0.0.1:0 --admin … ARGUMENTS`; the list ends with NULL. */
void rig_start(struct rig *rig, const char *const *arguments);

/* Ends it; returns its report (json_decref). */
json_t *rig_stop(struct rig *rig);

/* Puts rules in force. */
void rig_tell(const struct rig *rig, const char *rules);

/* The report so far. */
json_t *rig_report(const struct rig *rig);

/* Until the report's number is this. */
void rig_wait(const struct rig *rig, const char *key, json_int_t value);

/* Of an object of the report, "errors.57014" too; absent: 0. */
json_int_t rig_count(const json_t *report, const char *key);

/* A file in the rig's directory; its path is good until the next call. */
const char *rig_file(const struct rig *rig, const char *name, const char *contents);

/* Connects to server 0 as user x; `more`: further connection options. The connection may be bad. */
PGconn *rig_try(const struct rig *rig, const char *more);
/* The same, which must succeed. */
PGconn *rig_connect(const struct rig *rig, const char *more);

/* A plain socket to it. */
int rig_dial(const struct rig *rig);
/* Exactly that many bytes, within 10 s. */
void rig_read(int fd, void *to, size_t bytes);
void rig_write(int fd, const void *bytes, size_t count);

/* Runs SQL by the simple protocol: the first cell must be `cell` (NULL: any answer without error).
 */
void rig_sql(PGconn *pg, const char *sql, const char *cell);
/* The SQLSTATE it fails with. */
const char *rig_sqlstate(PGconn *pg, const char *sql);
const char *sqlstate_of(const PGresult *result);
