/* SPDX-License-Identifier: Apache-2.0 */
/* Where a net listens, whom it refuses, and what it needs of the machine. */
#include "harness.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

static void test_any_loopback(void **state)
{
    (void)state;
    struct world *world = world_open(kind_under_test, 64, NULL, false);
    static const char *const hosts[] = {"127.0.0.1", "127.1.0.1", "127.1.39.16", "127.255.0.9"};
    for (uint32_t i = 0; i < 4; i++) {
        struct peer *peer = peer_open(world, hosts[i]);
        struct owner *owner = world_owner(world, i + 1);
        char text[INET_ADDRSTRLEN];
        assert_string_equal(inet_ntop(AF_INET, &owner->local.sin_addr, text, sizeof text),
                            hosts[i]);
        assert_int_equal(ntohs(owner->local.sin_port), world->port);
        peer_close(&peer);
    }
    world_close(world);
}

/* From outside, or by an address that outside has: never anybody's connection. */
static void test_outside_is_refused(void **state)
{
    (void)state;
    struct world *world = world_open(kind_under_test, 64, NULL, false);
    struct ifaddrs *all = NULL;
    assert_int_equal(getifaddrs(&all), 0);
    for (struct ifaddrs *one = all; one != NULL; one = one->ifa_next) {
        if (one->ifa_addr == NULL || one->ifa_addr->sa_family != AF_INET ||
            (one->ifa_flags & IFF_LOOPBACK) != 0)
            continue;
        char text[INET_ADDRSTRLEN];
        inet_ntop(AF_INET, &((struct sockaddr_in *)(void *)one->ifa_addr)->sin_addr, text,
                  sizeof text);
        struct peer *peer = peer_open(world, text); /* this machine's own: comes by lo */
        UNTIL(world, peer_look(peer)->ended || peer->error != 0);
        peer_close(&peer);
    }
    freeifaddrs(all);
    assert_int_equal(world->owner_count, 0);
    assert_int_equal(net_stats(world->net).accepted, 0);
    world_close(world);
}

static void test_one_address(void **state)
{
    (void)state;
    struct world *world = world_open(kind_under_test, 64, "127.0.0.7", false);
    struct peer *peer = peer_open(world, "127.0.0.8");
    assert_int_equal(peer->error, ECONNREFUSED);
    peer_close(&peer);
    peer = peer_open(world, "127.0.0.7");
    assert_int_equal(ntohl(world_owner(world, 1)->local.sin_addr.s_addr), 0x7f000007);
    peer_close(&peer);
    world_close(world);
}

static void test_refusal(void **state)
{
    (void)state;
    struct world *world = world_open(kind_under_test, 3, NULL, false);
    world->refuse = true;
    struct peer *refused = peer_open(world, NULL);
    UNTIL(world, peer_look(refused)->ended || refused->error != 0);
    assert_int_equal(world->owner_count, 0);
    assert_int_equal(net_stats(world->net).open, 0);
    peer_close(&refused);
    world->refuse = false;
    /* More than there may be: closed, until one goes. */
    struct peer *peers[3];
    for (uint32_t i = 0; i < 3; i++)
        peers[i] = peer_open(world, NULL);
    world_owner(world, 3);
    for (int round = 0; round < 10; round++) {
        refused = peer_open(world, NULL);
        UNTIL(world, peer_look(refused)->ended || refused->error != 0);
        assert_int_equal(net_stats(world->net).open, 3);
        peer_close(&refused);
    }
    peer_close(&peers[1]);
    UNTIL(world, world->closed_count == 1);
    peers[1] = peer_open(world, NULL);
    peer_send(peers[1], "in", 2);
    UNTIL(world, peer_look(peers[1])->got_count == 2);
    for (int i = 0; i < 3; i++)
        peer_close(&peers[i]);
    world_close(world);
}

static void test_many_listeners(void **state)
{
    (void)state;
    struct world *world = world_open(kind_under_test, 3000, NULL, false);
    enum { LISTENERS = 1500 }; /* more than a submission queue */
    struct net *net = NULL;
    struct error error;
    assert_true(net_create(&net, kind_under_test, 2, &error));
    const struct net_handler handler = {
        .opened = (void *)1, .received = (void *)1, .closed = (void *)1}; /* not called */
    uint16_t first = 0, port = 0;
    for (int i = 0; i < LISTENERS; i++) {
        struct net_place place = {.host = "127.0.0.1"};
        if (!net_listen(net, &place, &handler, NULL, &port, &error))
            fail_msg("%s", error.text);
        assert_true(port != 0);
        first = i == 0 ? port : first;
    }
    for (int i = 0; i < 10; i++)
        net_turn(net, clock_monotonic_ns() + NS_PER_MS);
    net_destroy(&net);
    world->port = first;
    struct peer *peer = peer_open(world, NULL);
    assert_int_equal(peer->error, ECONNREFUSED); /* gone with the net */
    peer_close(&peer);
    world_close(world);
}

static void test_unix(void **state)
{
    (void)state;
    char directory[] = "/tmp/test_net.XXXXXX", host[64];
    assert_non_null(mkdtemp(directory));
    snprintf(host, sizeof host, "unix:%s/socket", directory);
    const char *path = host + 5;
    struct world *world = world_open(kind_under_test, 8, host, true);
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode, S_IFSOCK | 0600);
    struct peer *peer = peer_open(world, path);
    assert_int_equal(peer->error, 0);
    uint8_t bytes[100000];
    fill(bytes, sizeof bytes, 8, 0);
    peer_send(peer, bytes, sizeof bytes);
    UNTIL(world, peer_look(peer)->got_count == sizeof bytes);
    assert_filled(peer->got, sizeof bytes, 8, 0);
    shutdown(peer->fd, SHUT_WR);
    UNTIL(world, world->owners[0]->ended);
    net_send(world->owners[0]->conn, "report", 6);
    net_reset_after(world->owners[0]->conn, 3);
    UNTIL(world, peer_look(peer)->ended || peer->error != 0);
    assert_int_equal(peer->got_count, sizeof bytes + 3);
    assert_int_equal(world->owners[0]->local.sin_family, 0);
    peer_close(&peer);
    /* Somebody listens: not taken away from him. */
    struct error error = {0};
    struct net *net = NULL;
    assert_true(net_create(&net, kind_under_test, 8, &error));
    const struct net_handler handler = {
        .opened = (void *)1, .received = (void *)1, .closed = (void *)1}; /* not called */
    struct net_place place = {.host = host};
    assert_false(net_listen(net, &place, &handler, NULL, NULL, &error));
    assert_non_null(strstr(error.text, path));
    assert_int_equal(stat(path, &status), 0);
    UNTIL(world, world->owner_count == 2); /* its question whether anybody does */
    net_destroy(&net);
    world_close(world);
    assert_int_equal(stat(path, &status), -1);
    assert_true(net_create(&net, kind_under_test, 8, &error));
    /* A leftover: replaced. A file that is not a socket: not. */
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_storage address = {.ss_family = AF_UNIX};
    strcpy((char *)&address + 2, path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, (socklen_t)(3 + strlen(path))), 0);
    close(fd);
    assert_int_equal(stat(path, &status), 0);
    assert_true(net_listen(net, &place, &handler, NULL, NULL, &error));
    net_destroy(&net);
    FILE *file = fopen(path, "w");
    fclose(file);
    assert_true(net_create(&net, kind_under_test, 8, &error));
    assert_false(net_listen(net, &place, &handler, NULL, NULL, &error));
    net_destroy(&net);
    assert_int_equal(unlink(path), 0);
    rmdir(directory);
}

static void test_shared(void **state)
{
    (void)state;
    struct net *nets[2] = {NULL};
    struct error error = {0};
    const struct net_handler handler = {
        .opened = (void *)1, .received = (void *)1, .closed = (void *)1}; /* not called */
    uint16_t port = 0;
    for (int i = 0; i < 2; i++) {
        assert_true(net_create(&nets[i], kind_under_test, 8, &error));
        struct net_place place = {.port = port, .shared = true};
        if (!net_listen(nets[i], &place, &handler, NULL, &port, &error))
            fail_msg("%s", error.text);
    }
    struct net_place alone = {.port = port};
    assert_false(net_listen(nets[0], &alone, &handler, NULL, NULL, &error));
    assert_non_null(strstr(error.text, "choose another"));
    net_destroy(&nets[0]);
    net_destroy(&nets[1]);
}

static void test_unlisten(void **state)
{
    (void)state;
    struct world *world = world_open(kind_under_test, 64, NULL, false);
    struct peer *early = peer_open(world, NULL), *waiting, *late;
    world_owner(world, 1);
    for (uint32_t round = 0; round < 3; round++) {
        waiting = peer_open(world, NULL);
        net_unlisten(world->net, world->port);
        net_unlisten(world->net, world->port);
        late = peer_open(world, NULL);
        assert_int_equal(late->error, ECONNREFUSED);
        peer_close(&late);
        world_listen(world, world->port); /* at once, the first has not even ended */
        late = peer_open(world, NULL);
        peer_send(late, "again", 5);
        UNTIL(world, peer_look(late)->got_count == 5);
        UNTIL(world, peer_look(waiting)->error != 0 || waiting->ended ||
                         world->owner_count == 3 + 2 * round);
        peer_close(&waiting);
        peer_close(&late);
    }
    peer_send(early, "still", 5);
    UNTIL(world, peer_look(early)->got_count == 5);
    net_unlisten(world->net, world->port); /* and destroyed before a turn */
    peer_close(&early);
    world_close(world);
}

static void test_bad_places(void **state)
{
    (void)state;
    static const struct {
        const char *host, *expected;
    } rows[] = {
        {"localhost", "not an IPv4 address"}, {"127.0.0.256", "not an IPv4 address"},
        {"", "not an IPv4 address"},          {"192.0.2.1", "no device"},
        {"unix:", "1 to 107 bytes"},          {"unix:/nonexistent/socket", "/nonexistent/socket"},
    };
    struct net *net = NULL;
    struct error error = {0};
    assert_true(net_create(&net, kind_under_test, 8, &error));
    const struct net_handler handler = {
        .opened = (void *)1, .received = (void *)1, .closed = (void *)1}; /* not called */
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct net_place place = {.host = rows[i].host};
        assert_false(net_listen(net, &place, &handler, NULL, NULL, &error));
        if (strstr(error.text, rows[i].expected) == NULL)
            fail_msg("no \"%s\" in \"%s\"", rows[i].expected, error.text);
    }
    net_destroy(&net);
}

/* -- the limit on open files -- */

enum { FINE, NOT_REFUSED, NO_CURE, NOT_RAISED };

static int create_with(rlim_t soft, rlim_t hard, bool as_nobody, uint32_t connections, bool fits)
{
    struct rlimit limit = {soft, hard};
    if (as_nobody && geteuid() == 0 && setuid(65534) != 0)
        return NO_CURE;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        return NO_CURE;
    if (!as_nobody) { /* root, but perhaps without CAP_SYS_RESOURCE */
        struct rlimit higher = {soft, hard + 1};
        fits = setrlimit(RLIMIT_NOFILE, &higher) == 0;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    struct net *net = NULL;
    struct error error = {0};
    bool created = net_create(&net, kind_under_test, connections, &error);
    net_destroy(&net);
    getrlimit(RLIMIT_NOFILE, &limit);
    if (!fits)
        return created ? NOT_REFUSED : strstr(error.text, "open files") == NULL ? NO_CURE : FINE;
    return created && limit.rlim_cur >= connections ? FINE : NOT_RAISED;
}

static void in_child(rlim_t soft, rlim_t hard, bool as_nobody, uint32_t connections, bool fits)
{
    pid_t child = fork();
    if (child == 0)
        _exit(create_with(soft, hard, as_nobody, connections, fits));
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), FINE);
}

static void test_open_files(void **state)
{
    (void)state;
    in_child(100, 5000, true, 2000, true);
    in_child(100, 1000, true, 2000, false);
    if (geteuid() == 0)
        in_child(100, 1000, false, 2000, true);
}

/* Accepting goes on when descriptors are there again. */
static void test_out_of_descriptors(void **state)
{
    (void)state;
    struct world *world = world_open(kind_under_test, 64, NULL, false);
    struct peer *peers[8];
    for (int i = 0; i < 8; i++)
        peers[i] = peer_open(world, NULL);
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    small = before;
    small.rlim_cur = (rlim_t)peers[7]->fd + 1; /* all below are in use */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &small), 0);
    uint64_t turns = net_stats(world->net).turns, until_ns = clock_monotonic_ns() + 60 * NS_PER_MS;
    while (clock_monotonic_ns() < until_ns)
        net_turn(world->net, until_ns);
    assert_true(net_stats(world->net).turns - turns < 30); /* does not spin */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    world_owner(world, 8);
    for (int i = 0; i < 8; i++)
        peer_close(&peers[i]);
    world_close(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_loopback),       cmocka_unit_test(test_outside_is_refused),
        cmocka_unit_test(test_one_address),        cmocka_unit_test(test_refusal),
        cmocka_unit_test(test_many_listeners),     cmocka_unit_test(test_unix),
        cmocka_unit_test(test_unlisten),           cmocka_unit_test(test_shared),
        cmocka_unit_test(test_bad_places),         cmocka_unit_test(test_open_files),
        cmocka_unit_test(test_out_of_descriptors),
    };
    return RUN_ON_BOTH(tests);
}
