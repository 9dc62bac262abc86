/* SPDX-License-Identifier: Apache-2.0 */
/* Many clients, bad clients and slow ones. */
#include "client.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <curl/curl.h>

#include "base/clock.h"
#include <pgweir/telemetry.h>

enum { CROWD = 200 };

static size_t discard(char *data, size_t size, size_t count, void *owner)
{
    (void)data, (void)owner;
    return size * count;
}

static void test_crowd(void **state)
{
    (void)state;
    static const char *const paths[] = {"/", "/health", "/metrics", "/targets"};
    struct scene scene;
    scene_start(&scene, 100, NULL);
    telemetry_open(TELEMETRY_WORKER, 0, NULL);
    CURLM *multi = curl_multi_init();
    CURL *clients[CROWD];
    for (int i = 0; i < CROWD; i++) {
        char url[64];
        snprintf(url, sizeof url, "http://%s%s", scene.endpoint, paths[i % 4]);
        clients[i] = curl_easy_init();
        curl_easy_setopt(clients[i], CURLOPT_URL, url);
        curl_easy_setopt(clients[i], CURLOPT_PROXY, "");
        curl_easy_setopt(clients[i], CURLOPT_TIMEOUT, 20L);
        curl_easy_setopt(clients[i], CURLOPT_WRITEFUNCTION, discard);
        curl_multi_add_handle(multi, clients[i]);
    }
    int running = 1;
    while (running > 0) {
        assert_int_equal(curl_multi_perform(multi, &running), CURLM_OK);
        curl_multi_poll(multi, NULL, 0, 100, NULL);
    }
    for (int i = 0; i < CROWD; i++) {
        long status = 0;
        curl_easy_getinfo(clients[i], CURLINFO_RESPONSE_CODE, &status);
        assert_int_equal(status, 200);
        curl_multi_remove_handle(multi, clients[i]);
        curl_easy_cleanup(clients[i]);
    }
    curl_multi_cleanup(multi);
    scene_stop(&scene);
    telemetry_reset();
}

static void test_malformed(void **state)
{
    (void)state;
    struct scene scene;
    scene_start(&scene, 0, NULL);
    char *large = calloc(1, 200000);
    strcpy(large, "GET / HTTP/1.1\r\nHost: x\r\nX: ");
    memset(large + strlen(large), 'x', 100000);
    strcat(large, "\r\n\r\n");
    char *long_line = calloc(1, 200000);
    strcpy(long_line, "GET /");
    memset(long_line + strlen(long_line), 'y', 100000);
    strcat(long_line, " HTTP/1.1\r\nHost: x\r\n\r\n");
    const struct {
        const char *request, *answer; /* "": closed without one is fine too */
    } cases[] = {
        {"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 200"},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\nConnection: close\r\n\r\n",
         "HTTP/1.1 405"},
        {"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", "HTTP/1.1 400"},
        {large, "HTTP/1.1 431"},
        {long_line, "HTTP/1.1 414"},
        {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 no tls here \r\n\r\n", ""},
        {"\r\n\r\n\r\n\r\n", ""},
        {"GET\r\n\r\n", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char answer[4096];
        int fd = dial(&scene);
        exchange(fd, cases[i].request, answer, sizeof answer);
        close(fd);
        if (strncmp(answer, cases[i].answer, strlen(cases[i].answer)) != 0)
            fail_msg("case %zu: %s", i, answer);
        struct reply reply = http(&scene, "GET", "/livez"); /* it lives on */
        assert_int_equal(reply.status, 200);
        reply_free(&reply);
    }
    free(large);
    free(long_line);
    scene_stop(&scene);
}

/* Clients that send half a request, or never read their answer, cost the others nothing. */
static void test_slow_clients(void **state)
{
    (void)state;
    enum { SLOW = 100 };
    struct scene scene;
    scene_start(&scene, 5000, NULL);
    int fds[SLOW];
    for (int i = 0; i < SLOW; i++) {
        const char *half =
            i % 10 != 0 ? "GET / HTTP/1.1\r\nHo" : "GET /targets HTTP/1.1\r\nHost: x\r\n\r\n";
        fds[i] = dial(&scene);
        assert_true(send(fds[i], half, strlen(half), MSG_NOSIGNAL) > 0);
    }
    for (int i = 0; i < 20; i++) {
        uint64_t before_ns = clock_monotonic_ns();
        struct reply reply = http(&scene, "GET", "/livez");
        assert_int_equal(reply.status, 200);
        assert_true(clock_monotonic_ns() - before_ns < 10 * NS_PER_S);
        reply_free(&reply);
    }
    uint64_t before_ns = clock_monotonic_ns();
    scene_stop(&scene); /* nor do they hold up the end, as each could for its 30 s */
    assert_true(clock_monotonic_ns() - before_ns < 10 * NS_PER_S);
    for (int i = 0; i < SLOW; i++)
        close(fds[i]);
}

/* All places taken by clients that send a byte now and then: request_timeout frees them. */
static void test_places_come_back(void **state)
{
    (void)state;
    enum { PLACES = 8 };
    struct scene scene;
    struct health_check_settings settings = {NULL, "/", PLACES, 500 * NS_PER_MS};
    scene_start(&scene, 0, &settings);
    int fds[PLACES];
    uint64_t before_ns = clock_monotonic_ns(), waited_ns = 0;
    for (int i = 0; i < PLACES; i++)
        fds[i] = dial(&scene);
    int held = PLACES;
    while (held > 0 && waited_ns < 20 * NS_PER_S) {
        held = 0;
        for (int i = 0; i < PLACES; i++)
            held += send(fds[i], "G", 1, MSG_NOSIGNAL) == 1;
        usleep(50000);
        waited_ns = clock_monotonic_ns() - before_ns;
    }
    assert_true(waited_ns >= 400 * NS_PER_MS && held == 0);
    struct reply reply = http(&scene, "GET", "/livez");
    assert_int_equal(reply.status, 200);
    reply_free(&reply);
    for (int i = 0; i < PLACES; i++)
        close(fds[i]);
    scene_stop(&scene);
}

struct writer {
    struct scene *scene;
    struct telemetry_set *set;
    _Atomic bool stop;
};

static void *write_all_the_time(void *argument)
{
    struct writer *writer = argument;
    struct target_status status = {.name = "db", .state = TARGET_UP};
    while (!writer->stop) {
        status.scrapes++;
        status.last_points = status.scrapes;
        status_write(&writer->scene->board->slots[0], &status);
        telemetry_begin(writer->set);
        telemetry_add(writer->set, TELEMETRY_SCRAPES_OK, 1);
        telemetry_add(writer->set, TELEMETRY_STATEMENTS, 1);
        telemetry_end(writer->set);
        telemetry_record(writer->set, TELEMETRY_HISTOGRAM_SCRAPE, 1000);
        struct timespec pause = {0, 1000};
        nanosleep(&pause, NULL);
    }
    return NULL;
}

static unsigned long long number_after(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    if (at == NULL)
        fail_msg("no %s in %s", key, text);
    return strtoull(at + strlen(key), NULL, 10);
}

/* Readers see whole changes only. */
static void test_reading_while_it_is_written(void **state)
{
    (void)state;
    struct scene scene;
    scene_start(&scene, 1, NULL);
    struct telemetry_label label = {"shard", "0"};
    struct writer writer = {.scene = &scene, .set = telemetry_open(TELEMETRY_SHARD, 1, &label)};
    status_write(&scene.board->slots[0], &(struct target_status){.name = "db"});
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_all_the_time, &writer), 0);
    for (int i = 0; i < 50; i++) {
        struct reply reply = http(&scene, "GET", "/metrics");
        assert_int_equal(
            number_after(reply.body, "pgweir_scrapes_total{shard=\"0\",result=\"ok\"} "),
            number_after(reply.body, "pgweir_statements_total{shard=\"0\"} "));
        reply_free(&reply);
        reply = http(&scene, "GET", "/targets");
        assert_int_equal(number_after(reply.body, "\"points\":"),
                         number_after(reply.body, "\"scrapes\":"));
        reply_free(&reply);
    }
    writer.stop = true;
    pthread_join(thread, NULL);
    scene_stop(&scene);
    telemetry_reset();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crowd),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_slow_clients),
        cmocka_unit_test(test_places_come_back),
        cmocka_unit_test(test_reading_while_it_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
