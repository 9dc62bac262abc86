/* SPDX-License-Identifier: Apache-2.0 */
/* How many scrapes a second a simulator answers: connects with libpq, prepares the plan's
 * statements, then sends each connection's whole scrape as one write and counts ReadyForQuery,
 * without decoding anything, so that this side costs less than the one measured. Servers are taken
 * in turn from 127.1.0.1 on. Prints one line of key=value.
 *
 *   scrapes PORT SERVERS CONNECTIONS SECONDS PID [group]
 */
#include <errno.h>
#include <arpa/inet.h>
#include <libpq-fe.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "catalog/catalog.h"
#include "tools/sim/wire.h"

enum { BUFFER_BYTES = 1 << 20, EVENTS = 256 };

struct client {
    int fd;
    uint8_t header[5];
    uint8_t header_bytes;
    uint32_t body_left;
};

static uint64_t answers, answer_bytes;

static unsigned address_of(unsigned server)
{
    return 0x7f010001u + server;
}

/* libpq's one connection, for the probe. */
static PGconn *dial_libpq(const char *port)
{
    char dsn[160];
    snprintf(dsn, sizeof dsn,
             "hostaddr=127.1.0.1 port=%s user=bench dbname=postgres sslmode=disable", port);
    PGconn *pg = PQconnectdb(dsn);
    if (PQstatus(pg) != CONNECTION_OK) {
        fprintf(stderr, "%s", PQerrorMessage(pg));
        exit(1);
    }
    return pg;
}

static int dial(const char *port, unsigned server)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)atoi(port)),
                                  .sin_addr.s_addr = htonl(address_of(server))};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        perror("connect");
        exit(1);
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static struct plan *make_plan(PGconn *pg, const struct catalog *catalog)
{
    PGresult *row = PQexecParams(pg, catalog_probe_sql(catalog), 0, NULL, NULL, NULL, NULL, 1);
    struct capabilities capabilities;
    struct plan *plan;
    struct error error;
    int64_t masks[16] = {0};
    CHECK(PQntuples(row) == 1);
    for (int i = 3; i < PQnfields(row) && i < 19; i++) {
        const uint8_t *cell = (const uint8_t *)PQgetvalue(row, 0, i);
        masks[i - 3] = (int64_t)((uint64_t)wire_get32(cell) << 32 | wire_get32(cell + 4));
    }
    catalog_read_capabilities((uint32_t)PQserverVersion(pg), *PQgetvalue(row, 0, 1) != 0, masks,
                              (size_t)PQnfields(row) - 3, &capabilities);
    PQclear(row);
    bool *enabled = calloc(catalog->metric_count, sizeof *enabled);
    for (size_t i = 0; i < catalog->metric_count; i++)
        enabled[i] = catalog->metrics[i]->enabled;
    struct catalog_choice choice = {.metric_enabled = enabled};
    if (!catalog_plan(catalog, &choice, &capabilities, &plan, &error)) {
        fprintf(stderr, "%s\n", error.text);
        exit(1);
    }
    free(enabled);
    return plan;
}

/* A StartupMessage, and Parse for each statement, with one Sync. */
static size_t make_start(const struct plan *plan, const char *group, uint8_t *to)
{
    static const char startup[] = "\0\0\0\46\0\3\0\0user\0bench\0database\0postgres\0";
    memcpy(to, startup, sizeof startup);
    uint8_t *at = to + sizeof startup;
    for (size_t i = 0; i < plan->statement_count; i++) {
        const struct statement *statement = &plan->statements[i];
        if (strcmp(statement->group, group) != 0)
            continue;
        size_t name_bytes = strlen(statement->prepared) + 1, bytes = strlen(statement->sql) + 1;
        *at++ = 'P';
        at = wire_put32(at, (uint32_t)(4 + name_bytes + bytes + 2));
        memcpy(at, statement->prepared, name_bytes);
        memcpy(at + name_bytes, statement->sql, bytes);
        at = wire_put16(at + name_bytes + bytes, 0);
    }
    memcpy(at, "S\0\0\0\4", 5);
    return (size_t)(at + 5 - to);
}

/* Bind, Describe, Execute for each statement, and Sync, as libpq sends them. */
static size_t make_request(const struct plan *plan, const char *group, uint8_t *to,
                           uint32_t *ret_statements)
{
    uint8_t *at = to;
    *ret_statements = 0;
    for (size_t i = 0; i < plan->statement_count; i++) {
        const struct statement *statement = &plan->statements[i];
        if (strcmp(statement->group, group) != 0)
            continue;
        size_t name_bytes = strlen(statement->prepared) + 1;
        *at++ = 'B';
        at = wire_put32(at, (uint32_t)(4 + 1 + name_bytes + 2 + 2 + 4));
        *at++ = 0;
        memcpy(at, statement->prepared, name_bytes);
        at = wire_put16(wire_put16(at + name_bytes, 0), 0);
        at = wire_put16(wire_put16(at, 1), 1);
        memcpy(at, "D\0\0\0\6P\0E\0\0\0\11\0\0\0\0\0", 17);
        at += 17;
        ++*ret_statements;
    }
    memcpy(at, "S\0\0\0\4", 5);
    return (size_t)(at + 5 - to);
}

static void send_request(const struct client *client, const uint8_t *request, size_t bytes)
{
    CHECK(write(client->fd, request, bytes) == (ssize_t)bytes);
}

/* Walks messages; true when a ReadyForQuery was the last. */
static bool walk(struct client *client, const uint8_t *at, size_t count)
{
    bool ready = false;
    while (count > 0) {
        if (client->body_left > 0) {
            size_t skip = count < client->body_left ? count : client->body_left;
            at += skip;
            count -= skip;
            client->body_left -= (uint32_t)skip;
        } else {
            client->header[client->header_bytes++] = *at++;
            count--;
            if (client->header_bytes < 5)
                continue;
            client->header_bytes = 0;
            client->body_left = wire_get32(client->header + 1) - 4;
            CHECK(client->header[0] != 'E');
        }
        ready = client->body_left == 0 && client->header[0] == 'Z' && client->header_bytes == 0;
    }
    return ready;
}

/* Up to the answer of the Sync behind the log-in's own ReadyForQuery. */
static void start(struct client *client)
{
    static uint8_t buffer[BUFFER_BYTES];
    size_t count = 0, ready = 0;
    while (ready < 2) {
        ssize_t got = read(client->fd, buffer + count, sizeof buffer - count);
        CHECK(got > 0);
        count += (size_t)got;
        ready = 0;
        for (size_t at = 0; at + 5 <= count; at += wire_get32(buffer + at + 1) + 1) {
            CHECK(buffer[at] != 'E');
            ready += buffer[at] == 'Z';
        }
    }
}

static double process_cpu_s(const char *pid)
{
    char path[64], text[1024];
    unsigned long user, system;
    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    FILE *file = fopen(path, "r");
    CHECK(file != NULL && fgets(text, sizeof text, file) != NULL);
    fclose(file);
    CHECK(sscanf(strrchr(text, ')') + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                 &user, &system) == 2);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static void run(struct client *clients, uint32_t count, double seconds, const uint8_t *request,
                size_t bytes)
{
    static uint8_t buffer[BUFFER_BYTES];
    int poll = epoll_create1(0);
    for (uint32_t i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &clients[i]};
        CHECK(epoll_ctl(poll, EPOLL_CTL_ADD, clients[i].fd, &event) == 0);
        send_request(&clients[i], request, bytes);
    }
    uint64_t end_ns = clock_monotonic_ns() + (uint64_t)(seconds * 1e9);
    while (clock_monotonic_ns() < end_ns) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(poll, events, EVENTS, 1000);
        CHECK(ready > 0);
        for (int i = 0; i < ready; i++) {
            struct client *client = events[i].data.ptr;
            ssize_t got = read(client->fd, buffer, sizeof buffer);
            CHECK(got > 0);
            answer_bytes += (uint64_t)got;
            if (!walk(client, buffer, (size_t)got))
                continue;
            answers++;
            send_request(client, request, bytes);
        }
    }
    close(poll);
}

int main(int argc, char **argv)
{
    struct catalog *catalog;
    struct error error;
    if (argc < 6) {
        fprintf(stderr, "usage: %s PORT SERVERS CONNECTIONS SECONDS PID [group]\n", argv[0]);
        return 2;
    }
    const char *port = argv[1], *pid = argv[5], *group = argc > 6 ? argv[6] : "core";
    uint32_t servers = (uint32_t)atoi(argv[2]), count = (uint32_t)atoi(argv[3]), statements;
    CHECK(catalog_load(&catalog, NULL, 0, &error));
    struct client *clients = calloc(count, sizeof *clients);
    uint8_t *request = malloc(BUFFER_BYTES);
    const struct rlimit files = {count + 64, count + 64};
    CHECK(clients != NULL && request != NULL && servers > 0 && count > 0);
    setrlimit(RLIMIT_NOFILE, &files);
    PGconn *pg = dial_libpq(port);
    struct plan *plan = make_plan(pg, catalog);
    PQfinish(pg);
    size_t start_bytes = make_start(plan, group, request);
    for (uint32_t i = 0; i < count; i++) {
        clients[i].fd = dial(port, i % servers);
        send_request(&clients[i], request, start_bytes);
        start(&clients[i]);
    }
    size_t bytes = make_request(plan, group, request, &statements);
    double cpu_s = process_cpu_s(pid);
    uint64_t begin_ns = clock_monotonic_ns(), own_ns = clock_thread_cpu_ns();
    run(clients, count, atof(argv[4]), request, bytes);
    double seconds = (double)(clock_monotonic_ns() - begin_ns) / 1e9;
    cpu_s = process_cpu_s(pid) - cpu_s;
    printf("scrapes=%llu statements=%u scrapes_per_s=%.0f sim_cpu_s=%.2f scrapes_per_s_core=%.0f "
           "bytes_per_scrape=%.0f own_cpu_s=%.2f\n",
           (unsigned long long)answers, statements, (double)answers / seconds, cpu_s,
           cpu_s > 0 ? (double)answers / cpu_s : 0.0, (double)answer_bytes / (double)answers,
           (double)(clock_thread_cpu_ns() - own_ns) / 1e9);
    for (uint32_t i = 0; i < count; i++)
        close(clients[i].fd);
    free(clients);
    free(request);
    plan_destroy(&plan);
    catalog_destroy(&catalog);
    return answers > 0 ? 0 : 1;
}
