/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a back end answered, out of untrusted bytes (fuzzed). */
struct otlp_response {
    int64_t rejected_points; /* ExportMetricsPartialSuccess.rejected_data_points */
    char message[256];       /* its error_message, or google.rpc.Status.message; printable, cut */
};

/* ExportMetricsServiceResponse; an empty body is full success. False when it is not that message. */
bool otlp_response_parse(const uint8_t *body, size_t bytes, struct otlp_response *ret_response);

/* google.rpc.Status of a failed request; false when it is not that message. */
bool otlp_status_parse(const uint8_t *body, size_t bytes, struct otlp_response *ret_response);
