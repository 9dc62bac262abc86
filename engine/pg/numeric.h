/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "pg/value.h"

/* The decoders of type numeric, as value.h describes decoders. NaN and infinities have no value and
 * no text. */
bool numeric_int(const uint8_t *cell, size_t bytes, int64_t *ret_value);
bool numeric_double(const uint8_t *cell, size_t bytes, double *ret_value);
bool numeric_text(const uint8_t *cell, size_t bytes, char buffer[VALUE_TEXT_BYTES],
                  const char **ret_text, size_t *ret_bytes);
