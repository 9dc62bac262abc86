/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>
#include <stdio.h>
#include <sys/types.h>

/* pgweir-sink as a child of a test: a back end of its own code, which checks every body. */
struct sink {
    pid_t pid;
    FILE *output;
    char url[64]; /* without a path */
};

/* `arguments` are further options, NULL-terminated. */
void sink_start(struct sink *sink, const char *program, const char *const *arguments);

/* Ends it; its report, to be freed. Fails the test where it did not end well. */
json_t *sink_stop(struct sink *sink);

/* A whole number of the report, by keys with dots: "remote_write.samples". */
json_int_t sink_number(const json_t *report, const char *path);
