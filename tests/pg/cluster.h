/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* A real PostgreSQL of a test's own: made in a temporary directory, run as an unprivileged user,
 * reachable on 127.0.0.1 and by a Unix socket in its directory, gone with the test. Everyone is
 * trusted unless cluster_hba() says otherwise; the superuser is "postgres". Failures end the test
 * program with a message. */
struct cluster {
    char directory[64]; /* socket directory; data is below */
    uint16_t port;
    pid_t pid; /* 0: not running */
};

/* initdb and start. `settings`: lines for postgresql.conf, or NULL. */
void cluster_create(struct cluster *cluster, const char *settings);
void cluster_destroy(struct cluster *cluster);

/* Starts, and waits until it takes connections; or does not wait. */
void cluster_start(struct cluster *cluster);
void cluster_launch(struct cluster *cluster);

/* Signals the postmaster (SIGINT: fast shutdown, SIGQUIT: immediate, SIGKILL: crash) and waits for
 * its end. */
void cluster_stop(struct cluster *cluster, int signal);

/* Stops or continues the postmaster and all its children: SIGSTOP, SIGCONT. */
void cluster_signal_all(const struct cluster *cluster, int signal);

/* Replaces postgresql.conf's additions; in force after the next start or cluster_reload(). */
void cluster_configure(const struct cluster *cluster, const char *settings);

/* Rules to stand before "trust" in pg_hba.conf; in force at once. */
void cluster_hba(const struct cluster *cluster, const char *rules);
void cluster_reload(const struct cluster *cluster);

/* Runs SQL as the superuser over the Unix socket; the first cell as a number (0: none). */
int64_t cluster_sql(const struct cluster *cluster, const char *database, const char *sql);

/* Makes the data directory a standby's that follows itself, or no more (before cluster_start). */
void cluster_standby(const struct cluster *cluster, bool standby);
