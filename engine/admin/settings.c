/* SPDX-License-Identifier: Apache-2.0 */
/* The options of the health_check extension: the Collector's keys, so that its files run unchanged,
 * and two of our own. */
#include "admin/server.h"

#include <stddef.h>
#include <string.h>

#define AT(field) offsetof(struct health_check_settings, field)
#define IGNORED(name, why)                                                                         \
    {                                                                                              \
        .key = (name), .type = OPTION_IGNORED, .help = (why)                                       \
    }

static const struct option options[] = {
    {.key = "endpoint",
     .type = OPTION_TEXT,
     .offset = AT(endpoint),
     .fallback = "localhost:13133",
     .help = "Address to listen on, host:port; every path is readable by whoever reaches it."},
    {.key = "path",
     .type = OPTION_TEXT,
     .offset = AT(path),
     .fallback = "/",
     .help = "Where the Collector's health answer is; the other paths stay where they are."},
    {.key = "connections_max",
     .type = OPTION_INT,
     .offset = AT(connections_max),
     .fallback = "256",
     .min = 1,
     .max = 4096,
     .help = "Connections open at once; more wait."},
    {.key = "request_timeout",
     .type = OPTION_DURATION,
     .offset = AT(request_timeout_ns),
     .fallback = "30s",
     .min = 100000000,
     .max = 3600000000000,
     .help = "A connection is closed when a request, with the wait for it, takes longer."},
    IGNORED("tls", "served in plain text; put a proxy in front where that is not enough"),
    IGNORED("auth", "not asked for; bind to loopback and put a proxy in front where it is needed"),
    IGNORED("cors", "no cross-origin headers are sent"),
    IGNORED("response_body", "the Collector's default bodies are sent"),
    IGNORED("check_collector_pipeline", "/health always looks at the exporters"),
    IGNORED("response_headers", "no extra headers are sent"),
    IGNORED("include_metadata", "there is nothing to pass metadata on to"),
    IGNORED("compression_algorithms", "requests have no bodies"),
    IGNORED("max_request_body_size", "requests have no bodies"),
    IGNORED("keep_alives_enabled", "always on"),
    IGNORED("read_timeout", "request_timeout bounds the whole"),
    IGNORED("read_header_timeout", "request_timeout bounds the whole"),
    IGNORED("write_timeout", "request_timeout bounds the whole"),
    IGNORED("idle_timeout", "request_timeout bounds the whole"),
    IGNORED("transport", "always tcp"),
    {.key = NULL},
};

static bool validate(const void *settings, struct error *error)
{
    const struct health_check_settings *own = settings;
    char host[256], port[8];
    if (!endpoint_split(own->endpoint, host, port, error))
        return false;
    if (*own->path != '/' || strpbrk(own->path, "?# \t\r\n") != NULL)
        return error_set(error, "path \"%s\" must start with / and hold no space, ? or #",
                         own->path);
    return true;
}

const struct component health_check_extension = {
    .kind = COMPONENT_EXTENSION,
    .type = "health_check",
    .about = "Health, own metrics and the state of every server, over HTTP.",
    .stability = "beta",
    .table = {sizeof(struct health_check_settings), options},
    .validate = validate,
};
