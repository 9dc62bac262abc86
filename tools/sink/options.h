/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "loop/loop.h"
#include "tools/sink/body.h"

/* The command line. (No option tables here: getopt's `struct option` is another.) */
struct sink_options {
    const char *listen_on, *admin_on;
    enum loop_kind loop;
    int64_t connections_max; /* 0: the default */
    enum body_depth depth;
    int64_t ledger_sample;
    const char *script_file;
    char *script_text;     /* of the simple options, to be freed; NULL: script_file */
    bool script_reference; /* only prints it */
    bool tls;
    const char *tls_cert, *tls_key, *tls_ca_out;
    const char *log_file, *dump;
};

/* Says on standard error what is wrong; returns -1 to go on, otherwise the exit code. */
int options_read(int argc, char **argv, struct sink_options *ret_options);
