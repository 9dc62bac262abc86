/* SPDX-License-Identifier: Apache-2.0 */
/* /targets: one JSON object a line inside an array, made while it is sent. A hundred thousand
 * servers take no more memory than one, and a client may stop reading at any line.
 *
 * Thread: the admin's; each slot is copied out as its shard left it. */
#include "admin/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/text.h"
#include "base/clock.h"
#include "base/memory.h"

enum { NAME_BYTES = 96 };

struct listing {
    const struct status_board *board;
    size_t next;           /* slot */
    uint64_t skip, left;   /* of those that match */
    int state;             /* enum target_state, or -1: any */
    char name[NAME_BYTES]; /* part of the name, or "" */
    char *pending;         /* a line begun, from jansson */
    size_t pending_bytes, pending_used;
    bool opened, closed;
};

static json_t *target_json(const struct target_status *status)
{
    char stamp[32];
    json_t *last = json_null();
    if (status->last_scrape_wall_ns != 0) {
        time_text(status->last_scrape_wall_ns, stamp);
        last = json_string(stamp);
    }
    return json_pack("{s:o, s:s, s:o, s:b, s:i, s:i, s:i, s:o, s:f, s:I, s:I, s:I, s:o}", "name",
                     json_text(status->name), "state", target_state_name(status->state), "version",
                     json_text(status->version), "recovery", (int)status->recovery, "shard",
                     (int)status->shard, "connections", (int)status->connections, "statements",
                     (int)status->statements, "last_scrape", last, "duration_ms",
                     (double)(status->last_duration_ns / NS_PER_US) / 1e3, "points",
                     (json_int_t)status->last_points, "scrapes", (json_int_t)status->scrapes,
                     "failures", (json_int_t)status->failures, "error", json_text(status->error));
}

static bool matches(const struct listing *listing, const struct target_status *status)
{
    return (listing->state < 0 || (int)status->state == listing->state) &&
           strstr(status->name, listing->name) != NULL;
}

/* The next server that was asked for; NULL behind the last. */
static json_t *next_target(struct listing *listing)
{
    while (listing->next < listing->board->count && listing->left > 0) {
        struct target_status status;
        status_read(&listing->board->slots[listing->next++], &status);
        if (!matches(listing, &status))
            continue;
        if (listing->skip > 0) {
            listing->skip--;
            continue;
        }
        listing->left--;
        return target_json(&status);
    }
    return NULL;
}

/* False when there is nothing more, or no memory. */
static bool next_line(struct listing *listing)
{
    free(listing->pending);
    listing->pending = NULL;
    listing->pending_bytes = listing->pending_used = 0;
    if (listing->closed)
        return false;
    json_t *target = next_target(listing);
    char *text = target != NULL ? json_dumps(target, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
    int bytes;
    if (target == NULL)
        bytes = asprintf(&listing->pending, "%s", listing->opened ? "\n]\n" : "[]\n");
    else
        bytes = asprintf(&listing->pending, "%s%s", listing->opened ? ",\n" : "[\n", text);
    listing->opened = true;
    listing->closed = target == NULL;
    free(text);
    json_decref(target);
    listing->pending_bytes = bytes > 0 ? (size_t)bytes : 0;
    return bytes > 0;
}

static size_t produce(void *owner, char *buffer, size_t bytes_max)
{
    struct listing *listing = owner;
    size_t used = 0;
    while (used < bytes_max) {
        if (listing->pending_used == listing->pending_bytes && !next_line(listing))
            break;
        size_t bytes = listing->pending_bytes - listing->pending_used;
        bytes = bytes < bytes_max - used ? bytes : bytes_max - used;
        memcpy(buffer + used, listing->pending + listing->pending_used, bytes);
        listing->pending_used += bytes;
        used += bytes;
    }
    return used;
}

static void forget(void *owner)
{
    struct listing *listing = owner;
    free(listing->pending);
    free(listing);
}

static const char *argument(const struct request *request, const char *key)
{
    return httpd_argument(request->http, key);
}

static bool read_number(const struct request *request, const char *key, uint64_t *ret_number)
{
    const char *text = argument(request, key);
    if (text == NULL)
        return true;
    char *rest = NULL;
    *ret_number = strtoull(text, &rest, 10);
    return *text >= '0' && *text <= '9' && *rest == 0;
}

static bool read_state(const struct request *request, int *ret_state)
{
    const char *text = argument(request, "state");
    *ret_state = -1;
    if (text == NULL)
        return true;
    for (int state = TARGET_UNKNOWN; state <= TARGET_DOWN; state++)
        if (strcmp(text, target_state_name((enum target_state)state)) == 0)
            *ret_state = state;
    return *ret_state >= 0;
}

struct httpd_answer targets_answer(const struct request *request)
{
    static const struct status_board no_targets;
    struct listing *listing = xcalloc(1, sizeof *listing);
    listing->board = request->sources->targets != NULL ? request->sources->targets : &no_targets;
    listing->left = UINT64_MAX;
    const char *name = argument(request, "name");
    snprintf(listing->name, sizeof listing->name, "%s", name != NULL ? name : "");
    if (!read_state(request, &listing->state) || !read_number(request, "limit", &listing->left) ||
        !read_number(request, "offset", &listing->skip)) {
        free(listing);
        return httpd_text(HTTPD_BAD_REQUEST, "text/plain; charset=utf-8",
                          strdup("state is one of unknown, up, degraded, down; limit and offset "
                                 "are numbers: /targets?state=down&limit=100\n"));
    }
    return httpd_streamed(HTTPD_OK, "application/json",
                          &(struct httpd_stream){listing, produce, forget});
}
