/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/error.h"

/* Sends a text to the admin socket at `path` and reads the answer to the end; to be freed. */
bool tell(const char *path, const char *text, char **ret_answer, struct error *error);
