/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdio.h>

#include "tools/load/scenario.h"

/* What a collector is told: a configuration for pgweir, and, for a command of the user's, the list
 * of servers and the back end's URL. */
struct collector_plan {
    const struct scenario *scenario;
    uint64_t servers;
    const char *server; /* host:port of all of them; NULL: simulated, server i on its own address */
    uint16_t server_port;      /* of the simulated ones */
    const char *password_file; /* NULL: none is asked for */
    const char *admin;         /* host:port */
    const char *backend_url;
    bool tuner_off;         /* what is measured is what is configured; only where the collector
                               knows such a key */
    const char *backend_ca; /* PEM file; NULL: no TLS, or the system's */
};

/* "127.1.0.1:5433": where simulated server i answers. */
void collector_endpoint(const struct collector_plan *plan, uint64_t server, char *to, size_t bytes);

/* pgweir's configuration. Every server of the plan is a target of its own. */
bool collector_write_config(const struct collector_plan *plan, const char *path,
                            struct error *error);

/* A line a server: host:port. */
bool collector_write_targets(const struct collector_plan *plan, const char *path,
                             struct error *error);

/* The user's command with {config}, {targets} and {backend} replaced, to be freed. The error names
 * a placeholder that there is not. */
char *collector_command(const char *command, const char *config, const char *targets,
                        const char *backend, struct error *error);

/* Whether this pgweir knows all that the scenario needs: looks at what `pgweir components` and
 * `pgweir reference` print. The error names what is missing. */
bool collector_has(const char *program, const struct scenario *scenario, struct error *error);

/* Whether this pgweir has that key, by what it prints of itself. */
bool collector_knows(const char *program, const char *key);
