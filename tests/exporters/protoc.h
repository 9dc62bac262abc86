/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* protoc with OTLP's own .proto files (tools/fetch-otel-proto) as a decoder that is not ours. */

/* Without them the test that calls this is skipped, or fails where PGWEIR_REQUIRE_ALL=1. */
void protoc_require(void);

/* An ExportMetricsServiceRequest as text; to be freed. Fails the test when protoc does not accept
 * it. */
char *protoc_decode(const uint8_t *body, size_t bytes);
