/* SPDX-License-Identifier: Apache-2.0 */
/* Paths and what they answer.
 *
 * Thread: the admin's. */
#include "admin/health.h"
#include "admin/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REASON_BYTES = 512 };

static const char plain[] = "text/plain; charset=utf-8", json[] = "application/json";

static unsigned status_of(bool fine)
{
    return fine ? HTTPD_OK : HTTPD_UNAVAILABLE;
}

static struct httpd_answer collector(const struct request *request)
{
    char reason[REASON_BYTES];
    bool ready = health_ready(request, reason, sizeof reason);
    return httpd_text(status_of(ready), json, health_collector_text(request, ready));
}

static struct httpd_answer health(const struct request *request)
{
    enum health state;
    char *text = health_text(request, &state);
    return httpd_text(status_of(state < HEALTH_FAILING), json, text);
}

static struct httpd_answer probe(bool fine, const char *reason)
{
    char *text = NULL;
    if (asprintf(&text, "%s\n", fine ? "ok" : *reason != 0 ? reason : "not available") < 0)
        text = NULL;
    return httpd_text(status_of(fine), plain, text);
}

static struct httpd_answer livez(const struct request *request)
{
    char reason[REASON_BYTES];
    bool live = health_live(request, reason, sizeof reason);
    return probe(live, reason);
}

static struct httpd_answer readyz(const struct request *request)
{
    char reason[REASON_BYTES];
    bool ready = health_ready(request, reason, sizeof reason);
    return probe(ready, reason);
}

static struct httpd_answer metrics(const struct request *request)
{
    (void)request;
    return httpd_text(HTTPD_OK, "text/plain; version=0.0.4; charset=utf-8", admin_metrics_text());
}

static struct httpd_answer histograms(const struct request *request)
{
    (void)request;
    return httpd_text(HTTPD_OK, json, admin_histograms_text());
}

static struct httpd_answer status(const struct request *request)
{
    return httpd_text(HTTPD_OK, json, status_text(request));
}

static const struct {
    const char *url;
    struct httpd_answer (*answer)(const struct request *request);
} routes[] = {
    {"/", collector},    {"/health", health},          {"/livez", livez},
    {"/readyz", readyz}, {"/metrics", metrics},        {"/histograms", histograms},
    {"/status", status}, {"/targets", targets_answer},
};

struct httpd_answer route_answer(const struct request *request, const char *path, const char *url)
{
    if (strcmp(url, path) == 0)
        return collector(request);
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++)
        if (strcmp(url, routes[i].url) == 0)
            return routes[i].answer(request);
    return httpd_text(
        HTTPD_NOT_FOUND, plain,
        strdup("not found; there are / /health /livez /readyz /metrics /histograms /status "
               "/targets\n"));
}
