/* SPDX-License-Identifier: Apache-2.0 */
/* Sandboxes: a child process in which a seccomp filter denies one system call, as Docker (EPERM)
 * and podman (ENOSYS) do, must run on epoll and say why. */
#include "loop/loop.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

enum { FINE, NO_FILTER, NO_EPOLL, NO_REASON, URING_TAKEN, NO_EVENT, WRONG_DEADLINE };

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

static void count_call(void *owner, uint32_t ready, uint64_t now_ns)
{
    (void)ready, (void)now_ns;
    ++*(int *)owner;
}

/* The loop works: an event, a wake-up, and a deadline that is not early. */
static int use(struct loop *loop)
{
    int calls = 0, fd = eventfd(1, EFD_CLOEXEC);
    loop_arm(loop, loop_open(loop, count_call, &calls), fd, LOOP_READ);
    loop_turn(loop, UINT64_MAX);
    loop_wake(loop);
    loop_turn(loop, UINT64_MAX);
    uint64_t deadline_ns = clock_monotonic_ns() + 3 * NS_PER_MS + 1;
    uint64_t after_ns = loop_turn(loop, deadline_ns);
    close(fd);
    return calls != 1 ? NO_EVENT : after_ns < deadline_ns ? WRONG_DEADLINE : FINE;
}

static int in_child(unsigned call, unsigned code, enum loop_kind kind, const char *expected)
{
    struct loop *loop = NULL;
    struct error error = {0};
    if (!deny(call, code))
        return NO_FILTER;
    if (kind == LOOP_AUTO) {
        if (loop_create(&loop, LOOP_IO_URING, 8, &error) || strstr(error.text, "epoll") == NULL)
            return URING_TAKEN;
        if (strstr(error.text, expected) == NULL)
            return NO_REASON;
    }
    if (!loop_create(&loop, kind, 8, &error) || loop_kind_used(loop) != LOOP_EPOLL)
        return NO_EPOLL;
    if (strstr(loop_fallback_reason(loop), expected) == NULL)
        return NO_REASON;
    int outcome = use(loop);
    loop_destroy(&loop);
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
    denied(SYS_io_uring_setup, ENOMEM, LOOP_AUTO, "LimitMEMLOCK");
    struct loop *loop = NULL; /* further in, only where the machine itself allows io_uring */
    struct error error;
    if (!loop_create(&loop, LOOP_IO_URING, 8, &error)) {
        printf("left out: %s\n", error.text);
        return;
    }
    loop_destroy(&loop);
    denied(SYS_io_uring_register, EPERM, LOOP_AUTO, "io_uring_register");
    denied(SYS_io_uring_enter, EACCES, LOOP_AUTO, "io_uring_enter");
}

/* Old kernels and old profiles do not know epoll_pwait2. */
static void test_epoll_in_milliseconds(void **state)
{
    (void)state;
    denied(SYS_epoll_pwait2, ENOSYS, LOOP_EPOLL, "asked for");
    denied(SYS_epoll_pwait2, EPERM, LOOP_EPOLL, "asked for");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fallback),
        cmocka_unit_test(test_epoll_in_milliseconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
