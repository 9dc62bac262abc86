/* SPDX-License-Identifier: Apache-2.0 */
/* Error texts: set, prefixed, cut; and what CHECK does. */
#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"

static void test_texts(void **state)
{
    (void)state;
    struct error error;
    assert_false(error_set(&error, "no such %s", "file"));
    assert_string_equal(error.text, "no such file");
    assert_false(error_prefix(&error, "%s:%d:%d: ", "a.yaml", 3, 7));
    assert_string_equal(error.text, "a.yaml:3:7: no such file");

    char large[3000];
    memset(large, 'x', sizeof large);
    large[sizeof large - 1] = 0;
    error_set(&error, "%s", large);
    assert_int_equal(strlen(error.text), sizeof error.text - 1);
    error_prefix(&error, "place: ");
    assert_int_equal(strlen(error.text), sizeof error.text - 1);
    assert_memory_equal(error.text, "place: xxx", 10);
    error_prefix(&error, "%s", large); /* a prefix that leaves no room */
    assert_int_equal(strlen(error.text), sizeof error.text - 1);
}

/* Aborts, and says where. */
static void test_check(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        CHECK(1 + 1 == 2);
        CHECK(1 + 1 == 3);
        _exit(0);
    }
    close(ends[1]);
    char text[512];
    ssize_t bytes = read(ends[0], text, sizeof text - 1);
    assert_true(bytes > 0);
    text[bytes] = 0;
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(text, "test_error.c:"));
    assert_non_null(strstr(text, "check failed: 1 + 1 == 3"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_texts), cmocka_unit_test(test_check)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
