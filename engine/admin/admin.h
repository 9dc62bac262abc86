/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/component.h>

#include "base/status.h"

/* The HTTP server for people and probes: libmicrohttpd on its own thread, loopback by default,
 * reading counters and status boards only, so it never slows collection and collection never slows
 * it. Paths: / /health /livez /readyz /metrics /targets. */
struct admin;

struct health_check_settings {
    const char *endpoint; /* localhost:13133 */
    const char *path;     /* "/", the Collector's health answer */
    int64_t connections_max;
};

extern const struct component health_check_extension;

/* What the admin asks others; called on the admin's thread, must not block. */
struct admin_sources {
    const struct status_board *targets;
    void *owner;
    /* i-th destination: id, whether it is well, and what is wrong; false past the last. */
    bool (*destination)(void *owner, uint32_t index, const char **ret_id, bool *ret_healthy,
                        char *ret_text, size_t text_bytes);
    /* Every thread that should turn has turned within the last seconds. */
    bool (*live)(void *owner, char *ret_text, size_t text_bytes);
    bool (*stopping)(void *owner);
};

bool admin_create(struct admin **ret_admin, const struct health_check_settings *settings,
                  const struct admin_sources *sources, struct error *error);
void admin_destroy(struct admin **admin);

/* The text of /metrics; also used without a server. Caller frees. */
char *admin_metrics_text(void);
