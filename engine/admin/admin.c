/* SPDX-License-Identifier: Apache-2.0 */
/* The admin server: answers made by routes.c, on the thread of an HTTP server (httpd/). They are
 * made from counters and status boards, without waiting for anybody.
 *
 * Thread: main creates and destroys; everything between runs on the admin's own. */
#include "admin/recent.h"
#include "admin/server.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

struct admin {
    struct httpd *httpd;
    struct admin_sources sources;
    char *path;
    uint64_t started_wall_ns;
    struct recent *recent;
};

static struct httpd_answer answer(void *owner, const struct httpd_request *http, const char *url)
{
    const struct admin *admin = owner;
    struct request request = {
        .sources = &admin->sources,
        .http = http,
        .recent = admin->recent,
        .started_wall_ns = admin->started_wall_ns,
        .now_wall_ns = clock_wall_ns(),
    };
    return route_answer(&request, admin->path, url);
}

static uint64_t turn(void *owner, uint64_t now_ns)
{
    const struct admin *admin = owner;
    return recent_turn(admin->recent, false, now_ns);
}

static void warn_when_open(const struct admin *admin, const char *endpoint)
{
    if (httpd_is_local(admin->httpd))
        return;
    LOG(LOG_LEVEL_WARN, "health_check",
        "reachable from other machines without encryption or login: it shows names, versions and "
        "errors of all servers",
        LOG_TEXT("endpoint", endpoint), LOG_TEXT("cure", "bind to localhost or filter the port"));
}

bool admin_create(struct admin **ret_admin, const struct health_check_settings *settings,
                  const struct admin_sources *sources, struct error *error)
{
    struct admin *admin = xcalloc(1, sizeof *admin);
    admin->sources = *sources;
    admin->started_wall_ns = clock_wall_ns();
    admin->path = xstrdup(settings->path);
    admin->recent = recent_create();
    const struct httpd_options options = {
        .name = "health_check",
        .thread = "admin",
        .endpoint = settings->endpoint,
        .connections_max = (uint32_t)settings->connections_max,
        .request_timeout_ns = settings->request_timeout_ns,
        .owner = admin,
        .answer = answer,
        .turn = turn,
    };
    if (!httpd_create(&admin->httpd, &options, error)) {
        admin_destroy(&admin);
        return false;
    }
    warn_when_open(admin, settings->endpoint);
    *ret_admin = admin;
    return true;
}

void admin_destroy(struct admin **admin_place)
{
    struct admin *admin = *admin_place;
    if (admin == NULL)
        return;
    httpd_destroy(&admin->httpd);
    recent_destroy(&admin->recent);
    free(admin->path);
    free(admin);
    *admin_place = NULL;
}
