/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A real admin server on a free port, and real HTTP requests to it. */
#include "admin/admin.h"

enum { TEST_DESTINATIONS = 2 };

/* What the sources answer; tests change it. */
struct scene {
    struct status_board *board;
    bool healthy[TEST_DESTINATIONS];
    bool live, stopping, tuned;
    unsigned port;
    char endpoint[32];
    struct admin *admin;
};

struct reply {
    long status; /* 0: no answer */
    char *body;
    size_t bytes;
    char content_type[96];
};

/* `settings` NULL: the defaults. */
void scene_start(struct scene *scene, size_t targets, const struct health_check_settings *settings);
void scene_stop(struct scene *scene);
struct admin_sources scene_sources(struct scene *scene);

/* Any method; free with reply_free(). */
struct reply http(const struct scene *scene, const char *method, const char *path);
void reply_free(struct reply *reply);

/* A connected socket for requests no library would send. */
int dial(const struct scene *scene);

/* Sends and reads until the server closes or is silent, for 3 s, or 0.3 s in the middle of an
 * answer; the text received. */
void exchange(int fd, const char *request, char *answer, size_t answer_bytes);
