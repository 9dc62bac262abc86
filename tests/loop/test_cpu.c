/* SPDX-License-Identifier: Apache-2.0 */
/* Quotas read from trees like those of the two cgroup versions, and the real affinity mask. */
#include "loop/cpu.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char root[64];

static int make_root(void **state)
{
    (void)state;
    strcpy(root, "/tmp/test_cpu.XXXXXX");
    return mkdtemp(root) == NULL;
}

static int remove_root(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", root);
    return system(command);
}

static void put_file(const char *name, const char *text)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s%s", root, name);
    for (char *slash = strchr(path + strlen(root) + 1, '/'); slash;
         slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void test_no_quota(void **state)
{
    (void)state;
    assert_int_equal(cpu_quota_count(root), UINT32_MAX); /* no /proc at all */
    put_file("/proc/self/cgroup", "0::/user.slice\n");
    put_file("/sys/fs/cgroup/user.slice/cpu.max", "max 100000\n");
    assert_int_equal(cpu_quota_count(root), UINT32_MAX);
    put_file("/proc/self/cgroup", "garbage\n:\n::\n\n0:");
    assert_int_equal(cpu_quota_count(root), UINT32_MAX);
}

static void test_v2(void **state)
{
    (void)state;
    put_file("/proc/self/cgroup", "0::/a.slice/b.service\n");
    put_file("/sys/fs/cgroup/a.slice/b.service/cpu.max", "max 100000\n");
    put_file("/sys/fs/cgroup/a.slice/cpu.max", "250000 100000\n");
    assert_int_equal(cpu_quota_count(root), 3); /* the parent's 2.5, rounded up */
    put_file("/sys/fs/cgroup/a.slice/b.service/cpu.max", "50000 100000\n");
    assert_int_equal(cpu_quota_count(root), 1);
    /* In a container the path is the host's and the mount's root is the container's group. */
    put_file("/proc/self/cgroup", "0::/kubepods/pod1\n");
    put_file("/sys/fs/cgroup/cpu.max", "400000 100000\n");
    assert_int_equal(cpu_quota_count(root), 4);
}

static void test_v1(void **state)
{
    (void)state;
    put_file("/proc/self/cgroup",
             "5:cpuset:/x\n4:cpu,cpuacct:/docker/c1\n1:name=systemd:/\n0::/\n");
    put_file("/sys/fs/cgroup/cpu,cpuacct/docker/c1/cpu.cfs_quota_us", "150000\n");
    put_file("/sys/fs/cgroup/cpu,cpuacct/docker/c1/cpu.cfs_period_us", "100000\n");
    assert_int_equal(cpu_quota_count(root), 2);
    put_file("/sys/fs/cgroup/cpu,cpuacct/docker/c1/cpu.cfs_quota_us", "-1\n");
    assert_int_equal(cpu_quota_count(root), UINT32_MAX);
    put_file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "700000\n");
    put_file("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    assert_int_equal(cpu_quota_count(root), 7);
    put_file("/proc/self/cgroup", "4:cpuset:/docker/c1\n"); /* "cpu" is not "cpuset" */
    assert_int_equal(cpu_quota_count(root), UINT32_MAX);
}

static void *pin_and_look(void *argument)
{
    uint32_t index = *(uint32_t *)argument;
    cpu_set_t set;
    char name[32] = "";
    cpu_name_thread("a-name-too-long-for-linux");
    assert_int_equal(pthread_getname_np(pthread_self(), name, sizeof name), 0);
    assert_string_equal(name, "a-name-too-long");
    assert_true(cpu_pin_thread(index));
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    assert_int_equal(CPU_COUNT(&set), 1);
    for (uint32_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &set))
            *(uint32_t *)argument = cpu;
    return NULL;
}

static uint32_t pinned_cpu(uint32_t index)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, pin_and_look, &index), 0);
    pthread_join(thread, NULL);
    return index;
}

static void test_pinning(void **state)
{
    (void)state;
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    uint32_t count = (uint32_t)CPU_COUNT(&set);
    assert_in_range(cpu_usable_count(), 1, count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t cpu = pinned_cpu(i);
        assert_true(CPU_ISSET(cpu, &set));
        assert_int_equal(cpu, pinned_cpu(i + count)); /* modulo */
        assert_true(count == 1 || cpu != pinned_cpu(i + 1));
    }
}

/* With the mask narrowed to its last core, that is the only one used. */
static void test_mask_is_respected(void **state)
{
    (void)state;
    cpu_set_t all, one;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    CPU_ZERO(&one);
    uint32_t last = 0;
    for (uint32_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &all))
            last = cpu;
    CPU_SET(last, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(cpu_usable_count(), 1);
    assert_int_equal(pinned_cpu(0), last);
    assert_int_equal(pinned_cpu(5), last);
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_quota, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_v2, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_v1, make_root, remove_root),
        cmocka_unit_test(test_pinning),
        cmocka_unit_test(test_mask_is_respected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
