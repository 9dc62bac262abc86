/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <libpq-fe.h>

#include "cluster.h"
#include "rig.h"

/* What tests of a pool on a healthy server share: one PostgreSQL with a role `mon` (password
 * "sesame"), a role `plain` and databases db0 to db4, and a rig that is fresh for each test. */
extern struct cluster cluster;
extern struct rig rig;
extern const struct rig_query three[]; /* the rig's plan, unless a test makes another */

int pool_setup(void **state);
int pool_teardown(void **state);
#define POOL_CASE(test) cmocka_unit_test_setup_teardown(test, pool_setup, pool_teardown)

/* On each kind of loop there is; how many failed. */
int pool_run(const struct CMUnitTest *tests, size_t count);

void pool_on_socket(void);
void pool_on_tcp(const char *user, const char *password, const char *database);

/* Failures told of the query with this SQLSTATE. */
uint64_t count_of(const char *query, const char *sqlstate);

/* Sessions as the server sees them; those just closed linger for a moment. */
int64_t backends(int64_t expected);

/* A session of the test's own. */
PGconn *connect_beside(void);
void run_beside(PGconn *pg, const char *sql);

#define assert_has(text, part)                                                                     \
    do {                                                                                           \
        if (strstr((text), (part)) == NULL)                                                        \
            fail_msg("\"%s\" lacks \"%s\"", (text), (part));                                       \
    } while (0)
