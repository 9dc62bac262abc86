/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/exporters/sink.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

void sink_start(struct sink *sink, const char *program, const char *const *arguments)
{
    enum { ARGUMENTS_MAX = 16 };
    int pipes[2];
    char line[128];
    const char *argv[ARGUMENTS_MAX + 1] = {program, "--listen", "127.0.0.1:0"};
    for (int i = 0; arguments[i] != NULL; i++) {
        assert_true(3 + i < ARGUMENTS_MAX);
        argv[3 + i] = arguments[i];
    }
    assert_int_equal(pipe(pipes), 0);
    sink->pid = fork();
    if (sink->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nothing behind */
        dup2(pipes[1], STDOUT_FILENO);
        close(pipes[0]);
        execv(program, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(pipes[1]);
    sink->output = fdopen(pipes[0], "r");
    unsigned port = 0;
    if (fgets(line, sizeof line, sink->output) == NULL ||
        sscanf(line, "listening on port %u", &port) != 1)
        fail_msg("%s did not start", program);
    snprintf(sink->url, sizeof sink->url, "http://127.0.0.1:%u", port);
}

json_t *sink_stop(struct sink *sink)
{
    int status;
    kill(sink->pid, SIGTERM);
    json_t *report = json_loadf(sink->output, JSON_DISABLE_EOF_CHECK, NULL);
    assert_non_null(report);
    fclose(sink->output);
    assert_int_equal(waitpid(sink->pid, &status, 0), sink->pid);
    assert_int_equal(status, 0);
    return report;
}

json_int_t sink_number(const json_t *report, const char *path)
{
    const json_t *at = report;
    const char *key = path;
    for (const char *dot; (dot = strchr(key, '.')) != NULL; key = dot + 1)
        at = json_object_getn(at, key, (size_t)(dot - key));
    at = json_object_get(at, key);
    if (!json_is_integer(at))
        fail_msg("the report has no %s", path);
    return json_integer_value(at);
}
