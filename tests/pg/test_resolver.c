/* SPDX-License-Identifier: Apache-2.0 */
/* The resolver against a name server of the test's own, on a UDP socket. */
#include "../../engine/pg/resolver.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <semaphore.h>
#include <sys/socket.h>

/* Answers A questions: "good…" with 192.0.2.7 and 192.0.2.8, "dead…" never, others: no such name.
 */
struct name_server {
    int fd;
    uint16_t port;
    pthread_t thread;
    atomic_uint questions; /* for A */
    atomic_bool down;      /* answers SERVFAIL to everything */
};

static struct name_server server;
static struct resolver *resolver;
static struct resolver_client *client;
static sem_t woken;

static size_t put_answer(unsigned char *reply, size_t at, unsigned char last)
{
    const unsigned char record[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 192, 0, 2, last};
    memcpy(reply + at, record, sizeof record);
    return at + sizeof record;
}

static void *serve(void *owner)
{
    (void)owner;
    for (;;) {
        unsigned char packet[600];
        struct sockaddr_in from;
        socklen_t from_bytes = sizeof from;
        ssize_t bytes = recvfrom(server.fd, packet, 512, 0, (struct sockaddr *)&from, &from_bytes);
        if (bytes < 17)
            return NULL;
        size_t end = 12;
        while (packet[end] != 0)
            end += packet[end] + 1u;
        bool a = packet[end + 2] == 1;
        bool good = strncmp((const char *)packet + 13, "good", 4) == 0;
        atomic_fetch_add(&server.questions, a);
        if (strncmp((const char *)packet + 13, "dead", 4) == 0)
            continue;
        bool down = atomic_load(&server.down);
        size_t length = end + 5;
        packet[2] = 0x84;
        packet[3] = (unsigned char)(down ? 2 : good ? 0 : 3);
        memset(packet + 6, 0, 6);
        if (good && a && !down) {
            packet[7] = 2;
            length = put_answer(packet, length, 7);
            length = put_answer(packet, length, 8);
        }
        sendto(server.fd, packet, length, 0, (const struct sockaddr *)&from, from_bytes);
    }
}

static void wake(void *owner)
{
    assert_ptr_equal(owner, &woken);
    sem_post(&woken);
}

static int setup(void **state)
{
    (void)state;
    static char place[32];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    struct error error;
    server.fd = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(bind(server.fd, (const struct sockaddr *)&address, bytes), 0);
    assert_int_equal(getsockname(server.fd, (struct sockaddr *)&address, &bytes), 0);
    atomic_store(&server.questions, 0);
    atomic_store(&server.down, false);
    assert_int_equal(pthread_create(&server.thread, NULL, serve, NULL), 0);
    snprintf(place, sizeof place, "127.0.0.1:%u", ntohs(address.sin_port));
    name_servers = place;
    sem_init(&woken, 0, 0);
    assert_true(resolver_create(&resolver, 2, &error));
    client = resolver_client(resolver, 1, wake, &woken);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    resolver_destroy(&resolver);
    assert_null(resolver);
    shutdown(server.fd, SHUT_RDWR);
    pthread_join(server.thread, NULL);
    close(server.fd);
    sem_destroy(&woken);
    return 0;
}

static struct resolver_answer next_answer(void)
{
    struct resolver_answer found;
    while (!resolver_take(client, &found))
        sem_wait(&woken);
    return found;
}

static struct resolver_answer look_up(uint64_t ticket, const char *host)
{
    assert_true(resolver_ask(client, ticket, host));
    struct resolver_answer found = next_answer();
    assert_int_equal(found.ticket, ticket);
    return found;
}

static void test_found_and_cached(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= 3; i++) {
        struct resolver_answer found = look_up(i, "good.example");
        assert_int_equal(found.address_count, 2);
        assert_string_equal(found.addresses[0][0] == '1' ? found.error : "x", "");
        assert_true(strcmp(found.addresses[0], "192.0.2.7") == 0 ||
                    strcmp(found.addresses[0], "192.0.2.8") == 0);
    }
    assert_int_equal(atomic_load(&server.questions), 1);
}

static void test_not_found(void **state)
{
    (void)state;
    struct resolver_answer found = look_up(1, "nobody.example");
    assert_int_equal(found.address_count, 0);
    assert_string_equal(found.error, "Domain name not found");
}

static void test_hosts_file(void **state)
{
    (void)state;
    struct resolver_answer found = look_up(1, "localhost");
    assert_true(found.address_count >= 1);
    assert_true(strcmp(found.addresses[0], "127.0.0.1") == 0 ||
                strcmp(found.addresses[0], "::1") == 0);
}

/* A name nobody answers for holds up no other, and the same name asked for twice is one query. */
static void test_dead_name_alone(void **state)
{
    (void)state;
    assert_true(resolver_ask(client, 1, "dead.example"));
    assert_true(resolver_ask(client, 2, "dead.example"));
    assert_int_equal(look_up(3, "good.example").address_count, 2);
    assert_int_equal(atomic_load(&server.questions), 2);
    /* Destroyed with questions open: nothing is left behind (AddressSanitizer watches). */
}

static void test_last_good_kept(void **state)
{
    (void)state;
    assert_int_equal(look_up(1, "good.example").address_count, 2);
    atomic_store(&server.down, true);
    /* Stop the thread to make its cache old. */
    atomic_store(&resolver->stop, true);
    eventfd_write(resolver->wake_fd, 1);
    pthread_join(resolver->thread, NULL);
    struct name *name = find_name(resolver, "good.example");
    assert_true(name->expires_ns > 59 * NS_PER_S);
    name->expires_ns = 0;
    atomic_store(&resolver->stop, false);
    assert_int_equal(pthread_create(&resolver->thread, NULL, run, resolver), 0);
    struct resolver_answer found = look_up(2, "good.example");
    assert_int_equal(found.address_count, 2);
    assert_true(found.error[0] != 0);
}

static void test_lane_is_bounded(void **state)
{
    (void)state;
    uint64_t asked = 0;
    while (resolver_ask(client, asked, "good.example"))
        asked++;
    assert_int_equal(asked, LANE_MAX);
    bool seen[LANE_MAX] = {false};
    for (uint64_t i = 0; i < asked; i++) {
        struct resolver_answer found = next_answer();
        assert_true(found.ticket < LANE_MAX && !seen[found.ticket]);
        seen[found.ticket] = true;
    }
    assert_true(resolver_ask(client, 1, "good.example"));
    assert_int_equal(next_answer().ticket, 1);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_found_and_cached), CASE(test_not_found),      CASE(test_hosts_file),
        CASE(test_dead_name_alone),  CASE(test_last_good_kept), CASE(test_lane_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
