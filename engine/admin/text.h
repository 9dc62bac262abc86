/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>
#include <stdint.h>

/* "2026-01-02T03:04:05.678Z" */
void time_text(uint64_t wall_ns, char text[32]);

/* A duration to the millisecond as Go prints it: "1h2m3.5s". */
void duration_text(uint64_t duration_ns, char text[48]);

/* A JSON string of a text that may not be UTF-8 (a server's message): other bytes become '?'. */
json_t *json_text(const char *text);
