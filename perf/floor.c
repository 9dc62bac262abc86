/* SPDX-License-Identifier: Apache-2.0 */
/* The floor: what a collection costs when a program does nothing but the unavoidable. The same
 * statements go through a bare libpq pipeline (prepared once, binary results, one Sync, rows thrown
 * away), and bodies of the same bytes, encoded beforehand, go through the same compressor and
 * libcurl to the same sink. perf/floor runs pgweir, records what it asked and sent, replays both
 * here at the same rate, and divides.
 *
 * One thread. Prints CPU ns per scrape, one part a line: sql, compress, send. */
#include <curl/curl.h>
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <libpq-fe.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "exporters/compress.h"

enum { STATEMENTS_MAX = 512, BODIES_MAX = 65536, CONNECTIONS_MAX = 512, DATABASES_MAX = 64 };

struct query {
    const char *sql;
    size_t database;
    int64_t times; /* per scrape */
};

struct body {
    uint8_t *data;
    size_t bytes;
};

static struct {
    struct query queries[STATEMENTS_MAX];
    size_t query_count;
    const char *databases[DATABASES_MAX];
    size_t database_count;
    struct body bodies[BODIES_MAX];
    size_t body_count;
    PGconn *connections[CONNECTIONS_MAX]; /* database_count of each target, in a row */
    size_t target_count;
    uint64_t sql_ns, compress_ns, send_ns, copy_ns, rows, cells, sent_bytes, plain_bytes;
} floor_state;

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("floor: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t cpu_ns(void)
{
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

static size_t database_index(const char *name)
{
    for (size_t i = 0; i < floor_state.database_count; i++)
        if (strcmp(floor_state.databases[i], name) == 0)
            return i;
    if (floor_state.database_count == DATABASES_MAX)
        die("more than %d databases", DATABASES_MAX);
    floor_state.databases[floor_state.database_count] = name;
    return floor_state.database_count++;
}

/* [{"database": "app", "sql": "SELECT …", "times": 1}, …]; the texts live as long as the program.
 */
static void load_queries(const char *path)
{
    json_error_t error;
    json_t *list = json_load_file(path, 0, &error);
    if (!json_is_array(list))
        die("%s:%d: %s", path, error.line, error.text);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        if (floor_state.query_count == STATEMENTS_MAX)
            die("more than %d statements", STATEMENTS_MAX);
        floor_state.queries[floor_state.query_count++] = (struct query){
            .sql = json_string_value(json_object_get(entry, "sql")),
            .database = database_index(json_string_value(json_object_get(entry, "database"))),
            .times = json_integer_value(json_object_get(entry, "times")),
        };
    }
    if (floor_state.query_count == 0)
        die("%s: no statements", path);
}

static void load_body(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0)
        die("%s: %s", path, strerror(errno));
    size_t bytes = (size_t)ftell(file);
    rewind(file);
    struct body *body = &floor_state.bodies[floor_state.body_count++];
    *body = (struct body){malloc(bytes + 1), bytes};
    if (body->data == NULL || fread(body->data, 1, bytes, file) != bytes)
        die("%s: cannot read", path);
    fclose(file);
}

static void load_bodies(const char *directory)
{
    struct dirent **names;
    int count = scandir(directory, &names, NULL, alphasort);
    if (count < 0)
        die("%s: %s", directory, strerror(errno));
    for (int i = 0; i < count; i++) {
        const char *end = strrchr(names[i]->d_name, '.');
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", directory, names[i]->d_name);
        if (end != NULL && strcmp(end, ".bin") == 0 && floor_state.body_count < BODIES_MAX)
            load_body(path);
        free(names[i]);
    }
    free(names);
    if (floor_state.body_count == 0)
        die("%s: no bodies", directory);
}

static PGconn *connect_to(const char *dsn, size_t database)
{
    const char *keys[] = {"dbname", "dbname", "application_name", NULL};
    const char *values[] = {dsn, floor_state.databases[database], "floor", NULL};
    PGconn *connection = PQconnectdbParams(keys, values, 1);
    if (PQstatus(connection) != CONNECTION_OK)
        die("cannot connect: %s", PQerrorMessage(connection));
    for (size_t i = 0; i < floor_state.query_count; i++) {
        char name[32];
        if (floor_state.queries[i].database != database)
            continue;
        snprintf(name, sizeof name, "s%zu", i);
        PGresult *result = PQprepare(connection, name, floor_state.queries[i].sql, 0, NULL);
        if (PQresultStatus(result) != PGRES_COMMAND_OK)
            die("cannot prepare: %s", PQresultErrorMessage(result));
        PQclear(result);
    }
    if (PQenterPipelineMode(connection) != 1)
        die("no pipeline mode: %s", PQerrorMessage(connection));
    return connection;
}

static void send_queries(PGconn *connection, size_t database)
{
    for (size_t i = 0; i < floor_state.query_count; i++) {
        const struct query *query = &floor_state.queries[i];
        char name[32];
        if (query->database != database)
            continue;
        snprintf(name, sizeof name, "s%zu", i);
        for (int64_t n = 0; n < query->times; n++)
            if (PQsendQueryPrepared(connection, name, 0, NULL, NULL, NULL, 1) != 1)
                die("cannot send: %s", PQerrorMessage(connection));
    }
    if (PQpipelineSync(connection) != 1)
        die("cannot sync: %s", PQerrorMessage(connection));
}

/* Rows are read by libpq and thrown away. */
static void drain(PGconn *connection)
{
    for (int ended = 0; ended < 2;) {
        PGresult *result = PQgetResult(connection);
        ExecStatusType status = PQresultStatus(result);
        if (result == NULL) {
            if (++ended == 2)
                die("results ended without a sync");
            continue;
        }
        ended = 0;
        if (status != PGRES_TUPLES_OK && status != PGRES_PIPELINE_SYNC &&
            status != PGRES_COMMAND_OK)
            die("statement failed: %s", PQresultErrorMessage(result));
        floor_state.rows += (uint64_t)PQntuples(result);
        floor_state.cells += (uint64_t)PQntuples(result) * (uint64_t)PQnfields(result);
        PQclear(result);
        if (status == PGRES_PIPELINE_SYNC)
            return;
    }
}

static void scrape(size_t target)
{
    uint64_t began_ns = cpu_ns();
    for (size_t i = 0; i < floor_state.database_count; i++) {
        PGconn *connection = floor_state.connections[target * floor_state.database_count + i];
        send_queries(connection, i);
        drain(connection);
    }
    floor_state.sql_ns += cpu_ns() - began_ns;
}

static size_t discard(char *data, size_t size, size_t count, void *owner)
{
    (void)data, (void)owner;
    return size * count;
}

/* The body where the caches have it, as if it had just been encoded; this does not count. */
static const uint8_t *encoded(const struct body *body)
{
    static uint8_t *copy;
    static size_t copy_bytes;
    uint64_t began_ns = cpu_ns();
    if (body->bytes > copy_bytes && (copy = realloc(copy, copy_bytes = body->bytes)) == NULL)
        die("out of memory");
    memcpy(copy, body->data, body->bytes);
    floor_state.copy_ns += cpu_ns() - began_ns;
    return copy;
}

static void post(CURL *curl, struct compressor *compressor, const struct body *body)
{
    static uint8_t *out;
    static size_t out_bytes;
    size_t bound = compressor_bound(compressor, body->bytes);
    if (bound > out_bytes && (out = realloc(out, out_bytes = bound)) == NULL)
        die("out of memory");
    const uint8_t *data = encoded(body);
    uint64_t began_ns = cpu_ns();
    size_t bytes = compressor_run(compressor, data, body->bytes, out, out_bytes);
    uint64_t compressed_ns = cpu_ns();
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, out);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)bytes);
    CURLcode code = curl_easy_perform(curl);
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (code != CURLE_OK || status != 200)
        die("the sink answered %ld: %s", status, curl_easy_strerror(code));
    floor_state.send_ns += cpu_ns() - compressed_ns;
    floor_state.compress_ns += compressed_ns - began_ns;
    floor_state.plain_bytes += body->bytes;
    floor_state.sent_bytes += bytes;
}

static CURL *open_curl(const char *url, const char *compression)
{
    curl_global_init(CURL_GLOBAL_ALL);
    CURL *curl = curl_easy_init();
    char encoding[64];
    struct curl_slist *headers = NULL;
    headers = curl_slist_append(headers, "Content-Type: application/x-protobuf");
    snprintf(encoding, sizeof encoding, "Content-Encoding: %s", compression);
    if (strcmp(compression, "none") != 0)
        headers = curl_slist_append(headers, encoding);
    headers = curl_slist_append(headers, "Expect:");
    if (curl == NULL || headers == NULL)
        die("libcurl cannot start");
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, discard);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    return curl;
}

/* Sleeps until scrape n is due. */
static void pace(uint64_t began_ns, uint64_t n, double rate)
{
    if (rate <= 0)
        return;
    uint64_t due_ns = began_ns + (uint64_t)((double)n * 1e9 / rate);
    struct timespec due = {(time_t)(due_ns / 1000000000u), (long)(due_ns % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR)
        continue;
}

/* One request every `bodies ÷ scrapes` of pgweir's own run: `requests_per_scrape`. */
static void run(uint64_t scrapes, double rate, double requests_per_scrape, CURL *curl,
                struct compressor *compressor)
{
    uint64_t began_ns = clock_ns(CLOCK_MONOTONIC);
    double owed = 0;
    size_t next = 0;
    for (uint64_t n = 0; n < scrapes; n++) {
        pace(began_ns, n, rate);
        scrape(n % floor_state.target_count);
        for (owed += requests_per_scrape; owed >= 1; owed -= 1)
            post(curl, compressor, &floor_state.bodies[next++ % floor_state.body_count]);
    }
}

static void report(uint64_t scrapes, uint64_t total_ns)
{
    double n = (double)scrapes;
    printf("sql_ns %.0f\ncompress_ns %.0f\nsend_ns %.0f\ntotal_ns %.0f\n",
           (double)floor_state.sql_ns / n, (double)floor_state.compress_ns / n,
           (double)floor_state.send_ns / n, (double)total_ns / n);
    printf("cells %.1f\nplain_bytes %.1f\nsent_bytes %.1f\n", (double)floor_state.cells / n,
           (double)floor_state.plain_bytes / n, (double)floor_state.sent_bytes / n);
}

int main(int argc, char **argv)
{
    if (argc != 10) {
        fputs("usage: pgweir-floor DSN STATEMENTS.json BODIES-DIRECTORY URL gzip|zstd|none TARGETS "
              "SCRAPES SCRAPES-PER-SECOND REQUESTS-PER-SCRAPE\n"
              "perf/floor makes the files and runs it.\n",
              stderr);
        return 2;
    }
    const char *dsn = argv[1], *compression = argv[5];
    floor_state.target_count = strtoul(argv[6], NULL, 10);
    uint64_t scrapes = strtoull(argv[7], NULL, 10);
    double rate = strtod(argv[8], NULL), requests_per_scrape = strtod(argv[9], NULL);
    load_queries(argv[2]);
    load_bodies(argv[3]);
    if (floor_state.target_count == 0 || scrapes == 0 ||
        floor_state.target_count * floor_state.database_count > CONNECTIONS_MAX)
        die("TARGETS and SCRAPES must be at least 1, connections at most %d", CONNECTIONS_MAX);
    for (size_t i = 0; i < floor_state.target_count * floor_state.database_count; i++)
        floor_state.connections[i] = connect_to(dsn, i % floor_state.database_count);
    enum compression kind = COMPRESSION_NONE;
    for (int i = 0; i < COMPRESSION_COUNT; i++) {
        const char *name = compression_name((enum compression)i);
        if (name != NULL && strcmp(name, compression) == 0)
            kind = (enum compression)i;
    }
    struct compressor *compressor = compressor_create(kind, 0);
    CURL *curl = open_curl(argv[4], compression);
    run(floor_state.target_count * 3, rate, 1, curl, compressor); /* warm up */
    floor_state.sql_ns = floor_state.compress_ns = floor_state.send_ns = floor_state.copy_ns = 0;
    floor_state.cells = floor_state.plain_bytes = floor_state.sent_bytes = 0;
    uint64_t began_ns = cpu_ns();
    run(scrapes, rate, requests_per_scrape, curl, compressor);
    report(scrapes, cpu_ns() - began_ns - floor_state.copy_ns);
    for (size_t i = 0; i < floor_state.target_count * floor_state.database_count; i++)
        PQfinish(floor_state.connections[i]);
    curl_easy_cleanup(curl);
    compressor_destroy(&compressor);
    return 0;
}
