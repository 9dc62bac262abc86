/* SPDX-License-Identifier: Apache-2.0 */
#include "client.h"

#include <arpa/inet.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <curl/curl.h>

#include "base/clock.h"
#include "tests/free_port.h"

static bool destination(void *owner, uint32_t index, const char **ret_id, bool *ret_healthy,
                        char *ret_text, size_t text_bytes)
{
    static const char *const ids[TEST_DESTINATIONS] = {"otlp_http/nr", "file"};
    const struct scene *scene = owner;
    if (index >= TEST_DESTINATIONS)
        return false;
    *ret_id = ids[index];
    *ret_healthy = scene->healthy[index];
    snprintf(ret_text, text_bytes, "%s", scene->healthy[index] ? "" : "503 Service Unavailable");
    return true;
}

static bool live(void *owner, char *ret_text, size_t text_bytes)
{
    const struct scene *scene = owner;
    snprintf(ret_text, text_bytes, "%s", scene->live ? "" : "shard 1 has not turned for 42 s");
    return scene->live;
}

static bool stopping(void *owner)
{
    return ((const struct scene *)owner)->stopping;
}

static char *destination_json(void *owner, uint32_t index)
{
    (void)owner;
    return strdup(index == 0 ? "{\"limiter\": {\"rate_limit\": 5.5}, \"healthy\": \"not yours\"}"
                             : "this is no JSON");
}

static char *tuner_json(void *owner)
{
    const struct scene *scene = owner;
    return scene->tuned ? strdup("{\"mode\": \"on\"}") : NULL;
}

struct admin_sources scene_sources(struct scene *scene)
{
    return (struct admin_sources){.targets = scene->board,
                                  .owner = scene,
                                  .destination = destination,
                                  .live = live,
                                  .stopping = stopping,
                                  .destination_json = destination_json,
                                  .tuner_json = tuner_json};
}

void scene_start(struct scene *scene, size_t targets, const struct health_check_settings *settings)
{
    struct health_check_settings own = {NULL, "/", 256, 30 * NS_PER_S};
    *scene = (struct scene){.healthy = {true, true}, .live = true};
    scene->board = status_board_create(targets);
    if (settings != NULL)
        own = *settings;
    struct admin_sources sources = scene_sources(scene);
    struct error error;
    for (int tries = 0; scene->admin == NULL && tries < 5; tries++) {
        scene->port = free_port();
        snprintf(scene->endpoint, sizeof scene->endpoint, "127.0.0.1:%u", scene->port);
        own.endpoint = scene->endpoint;
        admin_create(&scene->admin, &own, &sources, &error);
    }
    if (scene->admin == NULL)
        fail_msg("%s", error.text);
}

void scene_stop(struct scene *scene)
{
    admin_destroy(&scene->admin);
    assert_null(scene->admin);
    status_board_destroy(&scene->board);
}

static size_t collect(char *data, size_t size, size_t count, void *owner)
{
    struct reply *reply = owner;
    reply->body = realloc(reply->body, reply->bytes + size * count + 1);
    assert_non_null(reply->body);
    memcpy(reply->body + reply->bytes, data, size * count);
    reply->bytes += size * count;
    reply->body[reply->bytes] = 0;
    return size * count;
}

struct reply http(const struct scene *scene, const char *method, const char *path)
{
    struct reply reply = {.body = calloc(1, 1)};
    char url[512];
    snprintf(url, sizeof url, "http://%s%s", scene->endpoint, path);
    CURL *curl = curl_easy_init();
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 20L);
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &reply);
    if (strcmp(method, "HEAD") == 0)
        curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    else
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    if (strcmp(method, "POST") == 0)
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "a body");
    const char *type = NULL;
    if (curl_easy_perform(curl) == CURLE_OK)
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &reply.status);
    curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type);
    snprintf(reply.content_type, sizeof reply.content_type, "%s", type != NULL ? type : "");
    curl_easy_cleanup(curl);
    return reply;
}

void reply_free(struct reply *reply)
{
    free(reply->body);
    *reply = (struct reply){0};
}

int dial(const struct scene *scene)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)scene->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

void exchange(int fd, const char *request, char *answer, size_t answer_bytes)
{
    size_t used = 0;
    ssize_t got = send(fd, request, strlen(request), MSG_NOSIGNAL);
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    while (got > 0 && used + 1 < answer_bytes && poll(&wait, 1, used == 0 ? 3000 : 300) == 1) {
        got = recv(fd, answer + used, answer_bytes - used - 1, 0);
        used += got > 0 ? (size_t)got : 0;
    }
    answer[used] = 0;
}
