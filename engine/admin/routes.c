/* SPDX-License-Identifier: Apache-2.0 */
/* Paths and what they answer.
 *
 * Thread: the admin's. */
#include "admin/health.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REASON_BYTES = 512 };

static const char plain[] = "text/plain; charset=utf-8", json[] = "application/json";

struct answer answer_text(unsigned status, const char *content_type, char *text)
{
    struct answer answer = {.status = status};
    if (text == NULL)
        return answer;
    answer.response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
    if (answer.response == NULL)
        free(text);
    else
        MHD_add_response_header(answer.response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    return answer;
}

static unsigned status_of(bool fine)
{
    return fine ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
}

static struct answer collector(const struct request *request)
{
    char reason[REASON_BYTES];
    bool ready = health_ready(request, reason, sizeof reason);
    return answer_text(status_of(ready), json, health_collector_text(request, ready));
}

static struct answer health(const struct request *request)
{
    enum health state;
    char *text = health_text(request, &state);
    return answer_text(status_of(state < HEALTH_FAILING), json, text);
}

static struct answer probe(bool fine, const char *reason)
{
    char *text = NULL;
    if (asprintf(&text, "%s\n", fine ? "ok" : *reason != 0 ? reason : "not available") < 0)
        text = NULL;
    return answer_text(status_of(fine), plain, text);
}

static struct answer livez(const struct request *request)
{
    char reason[REASON_BYTES];
    bool live = health_live(request, reason, sizeof reason);
    return probe(live, reason);
}

static struct answer readyz(const struct request *request)
{
    char reason[REASON_BYTES];
    bool ready = health_ready(request, reason, sizeof reason);
    return probe(ready, reason);
}

static struct answer metrics(const struct request *request)
{
    (void)request;
    return answer_text(MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8",
                       admin_metrics_text());
}

static const struct {
    const char *url;
    struct answer (*answer)(const struct request *request);
} routes[] = {
    {"/", collector},    {"/health", health},   {"/livez", livez},
    {"/readyz", readyz}, {"/metrics", metrics}, {"/targets", targets_answer},
};

struct answer route_answer(const struct request *request, const char *path, const char *url)
{
    if (strcmp(url, path) == 0)
        return collector(request);
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++)
        if (strcmp(url, routes[i].url) == 0)
            return routes[i].answer(request);
    return answer_text(MHD_HTTP_NOT_FOUND, plain,
                       strdup("not found; there are / /health /livez /readyz /metrics /targets\n"));
}
