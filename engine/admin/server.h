/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "admin/admin.h"
#include "httpd/httpd.h"

/* What the files of this folder share; the admin's thread. */
struct request {
    const struct admin_sources *sources;
    const struct httpd_request *http;
    struct recent *recent;
    uint64_t started_wall_ns; /* the server's start */
    uint64_t now_wall_ns;
};

/* The answer to GET `url`; `path` is the configured place of the Collector's answer. */
struct httpd_answer route_answer(const struct request *request, const char *path, const char *url);

/* /targets: made while it is sent, in constant memory whatever the fleet's size. */
struct httpd_answer targets_answer(const struct request *request);
