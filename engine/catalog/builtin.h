/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>

/* The documents of engine/catalog/queries/, compiled in: CMakeLists.txt writes the table. */
struct builtin_document {
    const char *file; /* database.yaml */
    const char *begin, *end;
};

extern const struct builtin_document builtin_documents[];
extern const size_t builtin_document_count;
