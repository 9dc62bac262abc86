/* SPDX-License-Identifier: Apache-2.0 */
/* Prometheus's part in perf/peers: reads each URL once per interval over a connection that is kept,
 * uncompressed, and counts samples (lines that are no comment). One thread per URL, so that a slow
 * one holds up nobody; a scrape that is not over when the next is due makes that one late, and none
 * is made up for. */
#include <curl/curl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"

enum { URLS_MAX = 64, SCRAPES_MAX = 100000 };

struct scraper {
    const char *url;
    uint64_t began_ns, interval_ns, end_ns;
    uint64_t samples, failures, late;
    char last; /* byte of the body */
    bool comment;
    uint64_t *wall_ns; /* of each scrape */
    uint32_t count;
    char error[CURL_ERROR_SIZE];
    pthread_t thread;
};
static struct scraper scrapers[URLS_MAX];

static size_t count_samples(char *data, size_t size, size_t bytes, void *owner)
{
    struct scraper *scraper = owner;
    for (size_t i = 0; i < bytes; i++) {
        if (scraper->last == '\n')
            scraper->comment = data[i] == '#';
        if (data[i] == '\n' && scraper->last != '\n' && !scraper->comment)
            scraper->samples++;
        scraper->last = data[i];
    }
    return size * bytes;
}

static void sleep_until(uint64_t due_ns)
{
    struct timespec due = {(time_t)(due_ns / NS_PER_S), (long)(due_ns % NS_PER_S)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) != 0)
        continue;
}

static void *scrape(void *owner)
{
    struct scraper *scraper = owner;
    CURL *curl = curl_easy_init();
    CHECK(curl != NULL);
    curl_easy_setopt(curl, CURLOPT_URL, scraper->url);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, count_samples);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, scraper);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, scraper->error);
    for (uint64_t due_ns = scraper->began_ns; due_ns < scraper->end_ns;
         due_ns += scraper->interval_ns) {
        uint64_t now_ns = clock_monotonic_ns();
        for (; now_ns >= due_ns + scraper->interval_ns; due_ns += scraper->interval_ns)
            scraper->late++;
        sleep_until(due_ns);
        now_ns = clock_monotonic_ns();
        scraper->last = '\n';
        if (curl_easy_perform(curl) != CURLE_OK)
            scraper->failures++;
        else if (scraper->count < SCRAPES_MAX)
            scraper->wall_ns[scraper->count++] = clock_monotonic_ns() - now_ns;
    }
    curl_easy_cleanup(curl);
    return NULL;
}

static int compare_ns(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static int report(int url_count)
{
    uint64_t *walls = xcalloc((size_t)url_count * SCRAPES_MAX, sizeof *walls);
    uint64_t samples = 0, failures = 0, late = 0, sum_ns = 0;
    size_t count = 0;
    for (int i = 0; i < url_count; i++) {
        const struct scraper *scraper = &scrapers[i];
        samples += scraper->samples;
        failures += scraper->failures;
        late += scraper->late;
        memcpy(walls + count, scraper->wall_ns, scraper->count * sizeof *walls);
        count += scraper->count;
        if (scraper->failures > 0)
            fprintf(stderr, "%s: %s\n", scraper->url, scraper->error);
    }
    for (size_t i = 0; i < count; i++)
        sum_ns += walls[i];
    qsort(walls, count, sizeof *walls, compare_ns);
    printf("scrapes %zu\nsamples %llu\nfailures %llu\nlate %llu\n", count,
           (unsigned long long)samples, (unsigned long long)failures, (unsigned long long)late);
    if (count > 0)
        printf("wall_ms %.3f\nwall_p99_ms %.3f\n", (double)sum_ns / (double)count / 1e6,
               (double)walls[count * 99 / 100] / 1e6);
    free(walls);
    return failures == 0 && count > 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    int url_count = argc - 3;
    double interval_ms = argc > 3 ? atof(argv[1]) : 0, seconds = argc > 3 ? atof(argv[2]) : 0;
    if (url_count < 1 || url_count > URLS_MAX || interval_ms < 1 || seconds <= 0) {
        fprintf(stderr,
                "usage: pgweir-scrape INTERVAL-MS SECONDS URL…   (at most %d; perf/peers runs it)\n"
                "example: pgweir-scrape 1000 10 http://127.0.0.1:9187/metrics\n",
                URLS_MAX);
        return 2;
    }
    curl_global_init(CURL_GLOBAL_ALL);
    uint64_t began_ns = clock_monotonic_ns();
    for (int i = 0; i < url_count; i++) {
        struct scraper *scraper = &scrapers[i];
        *scraper = (struct scraper){
            .url = argv[3 + i],
            .began_ns = began_ns,
            .interval_ns = (uint64_t)(interval_ms * 1e6),
            .end_ns = began_ns + (uint64_t)(seconds * 1e9),
            .wall_ns = calloc(SCRAPES_MAX, sizeof(uint64_t)),
        };
        CHECK(scraper->wall_ns != NULL);
        CHECK(pthread_create(&scraper->thread, NULL, scrape, scraper) == 0);
    }
    for (int i = 0; i < url_count; i++) {
        CHECK(pthread_join(scrapers[i].thread, NULL) == 0);
    }
    return report(url_count);
}
