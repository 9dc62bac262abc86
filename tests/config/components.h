/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "config/config.h"

/* Small components that between them have every type of option, and the real receiver. */
enum sample_mode { SAMPLE_FAST, SAMPLE_SAFE };

struct sample_item {
    const char *name;
    int64_t weight;
    struct {
        bool on;
    } nested;
};

struct sample_settings {
    bool flag;
    int64_t number;
    double ratio;
    uint64_t wait_ns;
    int64_t room_bytes;
    const char *text;
    const char *secret;
    int mode; /* enum sample_mode */
    struct text_list list;
    struct text_map map;
    struct text_map headers;
    struct sample_item base; /* group "base" */
    struct group_list items; /* of struct sample_item, each inherits base */
    struct group_list plain_items;
    struct group_map named; /* of struct sample_item */
};

struct otlp_sample_settings {
    const char *endpoint;
    struct text_map headers;
    int compression;
    uint64_t timeout_ns;
};

struct batch_sample_settings {
    int64_t send_batch_size, send_batch_max_size;
    uint64_t timeout_ns;
};

struct endpoint_sample_settings {
    const char *endpoint;
};

extern const struct component sample_exporter;
extern const struct component *const test_registry[];

/* One source; the log goes to `ret_log` (cut) where it is not NULL. */
bool load_text(struct config **ret_config, const char *text, struct error *error, char *ret_log,
               size_t log_bytes);
bool load_sources(struct config **ret_config, const char *const *sources, size_t count,
                  struct error *error, char *ret_log, size_t log_bytes);

/* The settings of the component with this id. */
const void *settings_of(const struct config *config, const char *id);
