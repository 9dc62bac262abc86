/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "exporters/otlp/split.h"

/* A WriteRequest of remote_encode() cut in two, for back ends that take less at once than a batch
 * holds (413). As otlp_split() in all: two parts in the order of the whole, each with half of its
 * points (a distribution, which is many series, is one point and stays whole; target_info is none).
 * False where there is only one point or none, or the bytes are no such request. */
bool remote_split(const uint8_t *body, size_t bytes, struct otlp_part parts[2]);
