/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdint.h>

/* Where bytes that are written head to tail may go: from `at` on, nowhere behind `end`. */
struct space {
    uint8_t *at;
    const uint8_t *end;
};
