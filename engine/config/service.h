/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "config/config.h"

/* The `service` section as it is written: names, not yet what they name. */
struct pipeline_file {
    struct text_list receivers, processors, exporters;
};

struct service_file {
    struct service_settings settings;
    struct text_list extensions;
    struct group_map pipelines; /* of struct pipeline_file */
};

extern const struct option_table service_table;

/* Name of a section: "receivers" … "extensions"; and of one of its members: "receiver" … */
const char *section_name(enum component_kind kind);
const char *section_member(enum component_kind kind);
