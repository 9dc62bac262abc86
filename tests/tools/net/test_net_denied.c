/* SPDX-License-Identifier: Apache-2.0 */
/* Sandboxes: a child process in which a seccomp filter denies one system call, as Docker (EPERM)
 * and podman (ENOSYS) do, must serve by epoll, or say why it cannot. */
#include "tools/net/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

enum { FINE, NO_FILTER, NO_EPOLL, NO_REASON, URING_TAKEN, NO_PLACE, NO_ANSWER, NOT_REFUSED };

static bool deny(unsigned call, unsigned code)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | code),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static void *on_opened(void *listener, struct net_conn *conn, const struct sockaddr_in *local,
                       uint64_t now_ns)
{
    (void)listener, (void)local, (void)now_ns;
    return conn;
}

static size_t on_received(void *owner, const uint8_t *bytes, size_t count, uint64_t now_ns)
{
    (void)now_ns;
    net_send(owner, bytes, count);
    return count;
}

static void on_closed(void *owner, int error)
{
    (void)owner, (void)error;
}

static int use(struct net *net)
{
    struct error error;
    uint16_t port = 0;
    const struct net_handler handler = {
        .opened = on_opened, .received = on_received, .closed = on_closed};
    if (!net_listen(net, &(struct net_place){0}, &handler, NULL, &port, &error))
        return NO_PLACE;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        return NO_PLACE;
    uint64_t deadline_ns = clock_monotonic_ns() + 10 * NS_PER_S;
    char byte = 'x';
    ssize_t count = send(fd, &byte, 1, 0);
    for (byte = 0; byte != 'x' && clock_monotonic_ns() < deadline_ns;) {
        net_turn(net, clock_monotonic_ns() + NS_PER_MS);
        count = recv(fd, &byte, 1, MSG_DONTWAIT);
    }
    close(fd);
    return count == 1 ? FINE : NO_ANSWER;
}

static int in_child(unsigned call, unsigned code, enum loop_kind kind, const char *expected)
{
    struct net *net = NULL;
    struct error error = {0};
    if (!deny(call, code))
        return NO_FILTER;
    if (kind == LOOP_AUTO && net_create(&net, LOOP_IO_URING, 8, &error))
        return URING_TAKEN;
    if (kind == LOOP_AUTO &&
        (strstr(error.text, expected) == NULL || strstr(error.text, "epoll") == NULL))
        return NO_REASON;
    if (!net_create(&net, kind, 8, &error) || net_kind_used(net) != LOOP_EPOLL)
        return NO_EPOLL;
    int outcome = use(net);
    net_destroy(&net);
    return outcome;
}

static void denied(unsigned call, unsigned code, enum loop_kind kind, const char *expected)
{
    pid_t child = fork();
    if (child == 0)
        _exit(in_child(call, code, kind, expected));
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), FINE);
}

static void test_fallback(void **state)
{
    (void)state;
    denied(SYS_io_uring_setup, EPERM, LOOP_AUTO, "seccomp");
    denied(SYS_io_uring_setup, ENOSYS, LOOP_AUTO, "without it");
    denied(SYS_io_uring_setup, EINVAL, LOOP_AUTO, "older than");
    struct net *net = NULL; /* further in, only where the machine itself allows io_uring */
    struct error error;
    if (!net_create(&net, LOOP_IO_URING, 8, &error)) {
        printf("left out: %s\n", error.text);
        return;
    }
    net_destroy(&net);
    denied(SYS_io_uring_register, EPERM, LOOP_AUTO, "io_uring_register");
    denied(SYS_io_uring_enter, EACCES, LOOP_AUTO, "io_uring_enter");
}

/* Old kernels and old profiles do not know epoll_pwait2. */
static void test_epoll_in_milliseconds(void **state)
{
    (void)state;
    denied(SYS_epoll_pwait2, ENOSYS, LOOP_EPOLL, "");
    denied(SYS_epoll_pwait2, EPERM, LOOP_EPOLL, "");
}

/* -- SO_BINDTODEVICE forbidden -- */

static int opened_count;

static void *count_opened(void *listener, struct net_conn *conn, const struct sockaddr_in *local,
                          uint64_t now_ns)
{
    (void)listener, (void)now_ns;
    opened_count++;
    return ntohl(local->sin_addr.s_addr) >> 24 == 127 ? conn : NULL;
}

/* True: accepted by the kernel, and closed before anybody saw it. */
static bool refused_at(struct net *net, uint16_t port, struct in_addr host)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = host};
    int fd = socket(AF_INET, SOCK_STREAM, 0), before = opened_count;
    bool connected = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    char byte;
    ssize_t count = -1;
    uint64_t deadline_ns = clock_monotonic_ns() + 5 * NS_PER_S;
    while (count != 0 && opened_count == before && clock_monotonic_ns() < deadline_ns) {
        net_turn(net, clock_monotonic_ns() + NS_PER_MS);
        count = recv(fd, &byte, 1, MSG_DONTWAIT);
    }
    close(fd);
    return connected && count == 0 && opened_count == before;
}

static int outside_in_child(enum loop_kind kind, struct in_addr outside)
{
    struct net *net = NULL;
    struct error error;
    uint16_t port = 0;
    const struct net_handler handler = {
        .opened = count_opened, .received = on_received, .closed = on_closed};
    if (!deny(SYS_setsockopt, EPERM))
        return NO_FILTER;
    if (!net_create(&net, kind, 8, &error) ||
        !net_listen(net, &(struct net_place){0}, &handler, NULL, &port, &error))
        return NO_PLACE;
    if (refused_at(net, port, (struct in_addr){htonl(0x7f000309)}))
        return NO_ANSWER;
    int outcome = refused_at(net, port, outside) ? FINE : NOT_REFUSED;
    net_destroy(&net);
    return outcome;
}

static void test_outside_without_device(void **state)
{
    (void)state;
    struct ifaddrs *all = NULL, *one;
    assert_int_equal(getifaddrs(&all), 0);
    for (one = all; one != NULL; one = one->ifa_next)
        if (one->ifa_addr != NULL && one->ifa_addr->sa_family == AF_INET &&
            (one->ifa_flags & IFF_LOOPBACK) == 0)
            break;
    if (one == NULL)
        printf("left out: this machine has no address but loopback\n");
    for (int i = 0; one != NULL && i < 2; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(outside_in_child(i == 0 ? LOOP_EPOLL : LOOP_AUTO,
                                   ((struct sockaddr_in *)(void *)one->ifa_addr)->sin_addr));
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), FINE);
    }
    freeifaddrs(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fallback),
        cmocka_unit_test(test_epoll_in_milliseconds),
        cmocka_unit_test(test_outside_without_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
