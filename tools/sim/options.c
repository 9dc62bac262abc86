/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines. Everything is checked here, so that what starts, starts as it was meant. */
#include "tools/sim/options.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

enum { MULTIPLE_MAX = 1 << 20, THREADS_MAX = 64, HOST_BYTES = 64 };

enum option_id {
    OPTION_LISTEN = 256,
    OPTION_SERVERS,
    OPTION_BY,
    OPTION_DATABASES,
    OPTION_TABLES,
    OPTION_STATEMENTS,
    OPTION_AUTH,
    OPTION_PASSWORD_FILE,
    OPTION_TLS,
    OPTION_TLS_CERT,
    OPTION_TLS_KEY,
    OPTION_TLS_CA_OUT,
    OPTION_SCRIPT,
    OPTION_ADMIN,
    OPTION_THREADS,
    OPTION_LOOP,
    OPTION_SEED,
    OPTION_REPORT,
};

static const struct option serve_table[] = {
    {"listen", required_argument, NULL, OPTION_LISTEN},
    {"servers", required_argument, NULL, OPTION_SERVERS},
    {"by", required_argument, NULL, OPTION_BY},
    {"databases", required_argument, NULL, OPTION_DATABASES},
    {"tables", required_argument, NULL, OPTION_TABLES},
    {"statements", required_argument, NULL, OPTION_STATEMENTS},
    {"auth", required_argument, NULL, OPTION_AUTH},
    {"password-file", required_argument, NULL, OPTION_PASSWORD_FILE},
    {"tls", no_argument, NULL, OPTION_TLS},
    {"tls-cert", required_argument, NULL, OPTION_TLS_CERT},
    {"tls-key", required_argument, NULL, OPTION_TLS_KEY},
    {"tls-ca-out", required_argument, NULL, OPTION_TLS_CA_OUT},
    {"script", required_argument, NULL, OPTION_SCRIPT},
    {"admin", required_argument, NULL, OPTION_ADMIN},
    {"threads", required_argument, NULL, OPTION_THREADS},
    {"loop", required_argument, NULL, OPTION_LOOP},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"report", required_argument, NULL, OPTION_REPORT},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static bool read_number(const char *name, const char *text, uint64_t low, uint64_t high,
                        uint64_t *ret, struct error *error)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)text[0]) || *end != 0 || value < low || value > high)
        return error_set(error, "--%s %s: a number from %llu to %llu is wanted", name, text,
                         (unsigned long long)low, (unsigned long long)high);
    *ret = value;
    return true;
}

static bool read_u32(const char *name, const char *text, uint32_t low, uint32_t high, uint32_t *ret,
                     struct error *error)
{
    uint64_t value;
    if (!read_number(name, text, low, high, &value, error))
        return false;
    *ret = (uint32_t)value;
    return true;
}

static bool read_choice(const char *name, const char *text, const char *const *choices, int *ret,
                        struct error *error)
{
    for (int i = 0; choices[i] != NULL; i++) {
        if (strcmp(choices[i], text) == 0) {
            *ret = i;
            return true;
        }
    }
    return error_set(error, "--%s %s: it is one of %s, %s and %s", name, text, choices[0],
                     choices[1], choices[2]);
}

/* HOST:PORT, an IPv4 address. */
static bool read_listen(const char *text, struct sim_settings *settings, struct error *error)
{
    static char host[HOST_BYTES];
    struct in_addr address;
    uint64_t port;
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon - text >= HOST_BYTES)
        return error_set(error, "--listen %s: HOST:PORT is wanted, as 127.0.0.1:5433", text);
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = 0;
    if (inet_pton(AF_INET, host, &address) != 1)
        return error_set(error, "--listen %s: the host is an IPv4 address, as 127.0.0.1", text);
    if (!read_number("listen", colon + 1, 0, UINT16_MAX, &port, error))
        return false;
    settings->host = host;
    settings->port = (uint16_t)port;
    return true;
}

static bool read_option(int id, const char *text, struct sim_settings *settings,
                        struct error *error)
{
    static const char *const ways[] = {"address", "port", "database", NULL};
    static const char *const methods[] = {"trust", "password", "scram", NULL};
    static const char *const loops[] = {"auto", "io_uring", "epoll", NULL};
    int choice = 0;
    bool good = true;
    switch (id) {
    case OPTION_LISTEN:
        return read_listen(text, settings, error);
    case OPTION_SERVERS:
        return read_u32("servers", text, 1, SIM_SERVERS_MAX, &settings->servers, error);
    case OPTION_BY:
        good = read_choice("by", text, ways, &choice, error);
        settings->by = (enum sim_by)choice;
        return good;
    case OPTION_DATABASES:
        return read_u32("databases", text, 1, MULTIPLE_MAX, &settings->shape.databases, error);
    case OPTION_TABLES:
        return read_u32("tables", text, 1, MULTIPLE_MAX, &settings->shape.tables, error);
    case OPTION_STATEMENTS:
        return read_u32("statements", text, 1, MULTIPLE_MAX, &settings->shape.statements, error);
    case OPTION_AUTH:
        good = read_choice("auth", text, methods, &choice, error);
        settings->auth = (enum auth_method)choice;
        return good;
    case OPTION_THREADS:
        return read_u32("threads", text, 1, THREADS_MAX, &settings->threads, error);
    case OPTION_LOOP:
        good = read_choice("loop", text, loops, &choice, error);
        settings->loop = (enum loop_kind)choice;
        return good;
    case OPTION_SEED:
        return read_number("seed", text, 0, UINT64_MAX, &settings->shape.seed, error);
    case OPTION_PASSWORD_FILE:
        settings->password_file = text;
        break;
    case OPTION_TLS:
        settings->tls = true;
        break;
    case OPTION_TLS_CERT:
        settings->cert_file = text;
        break;
    case OPTION_TLS_KEY:
        settings->key_file = text;
        break;
    case OPTION_TLS_CA_OUT:
        settings->ca_out = text;
        break;
    case OPTION_SCRIPT:
        settings->script_file = text;
        break;
    case OPTION_ADMIN:
        settings->admin_path = text;
        break;
    case OPTION_REPORT:
        settings->report_file = text;
        break;
    }
    return true;
}

/* What only the whole shows. */
static bool settle(const struct sim_settings *settings, struct error *error)
{
    bool pair = (settings->cert_file == NULL) == (settings->key_file == NULL);
    if (!pair)
        return error_set(error, "--tls-cert and --tls-key go together");
    if (!settings->tls && (settings->cert_file != NULL || settings->ca_out != NULL))
        return error_set(error, "%s does nothing without --tls",
                         settings->ca_out != NULL ? "--tls-ca-out" : "--tls-cert");
    if (settings->auth != AUTH_TRUST && settings->password_file == NULL)
        return error_set(error, "--auth password and --auth scram need --password-file");
    if (settings->by == BY_PORT && settings->port + (uint64_t)settings->servers - 1 > UINT16_MAX)
        return error_set(error, "%u servers by port do not fit above port %u: use --by address",
                         settings->servers, settings->port);
    return true;
}

/* FILE or FILE=WEIGHT. */
static bool add_recording(struct sim_recordings *recordings, const char *text, bool *ret_usage,
                          struct error *error)
{
    char path[4096];
    uint32_t weight = 1;
    const char *equals = text == NULL ? NULL : strrchr(text, '=');
    if (equals != NULL && !read_u32("weight", equals + 1, 1, 1 << 20, &weight, error))
        return error_prefix(error, "%s: FILE=WEIGHT: ", text);
    if (recordings->count == SIM_RECORDINGS_MAX)
        return error_set(error, "more than %d recordings", SIM_RECORDINGS_MAX);
    size_t bytes = text == NULL ? 0 : equals != NULL ? (size_t)(equals - text) : strlen(text);
    if (bytes >= sizeof path)
        return error_set(error, "the recording's path is too long");
    memcpy(path, text == NULL ? "" : text, bytes);
    path[bytes] = 0;
    *ret_usage = false;
    if (!recording_load(&recordings->recordings[recordings->count], text == NULL ? NULL : path,
                        error))
        return false;
    recordings->weights[recordings->count++] = weight;
    *ret_usage = true;
    return true;
}

/* getopt_long() says what is wrong with an option itself. */
static bool unknown_option(char **argv, struct error *error)
{
    const char *word = optind > 0 ? argv[optind - 1] : "";
    return error_set(error, "%s: no such option, or its value is missing: see --help", word);
}

bool serve_options_read(struct serve_options *options, int argc, char **argv, bool *ret_usage,
                        struct error *error)
{
    *options = (struct serve_options){
        .settings =
            {.host = "127.0.0.1", .port = 5433, .servers = 1, .threads = 1, .shape.seed = 1},
    };
    *ret_usage = true;
    optind = 1;
    opterr = 0;
    for (int id; (id = getopt_long(argc, argv, "h", serve_table, NULL)) != -1;) {
        if (id == '?')
            return unknown_option(argv, error);
        options->help = options->help || id == 'h';
        if (id != 'h' && !read_option(id, optarg, &options->settings, error))
            return false;
    }
    if (options->help)
        return true;
    if (!settle(&options->settings, error))
        return false;
    for (int i = optind; i < argc; i++)
        if (!add_recording(&options->recordings, argv[i], ret_usage, error))
            return false;
    return options->recordings.count > 0 ||
           add_recording(&options->recordings, NULL, ret_usage, error);
}

bool record_options_read(struct record_options *options, int argc, char **argv, struct error *error)
{
    static const struct option table[] = {
        {"also", required_argument, NULL, 'a'},
        {"catalog", required_argument, NULL, 'c'},
        {"sql", required_argument, NULL, 's'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    *options = (struct record_options){0};
    optind = 1;
    opterr = 0;
    for (int id; (id = getopt_long(argc, argv, "h", table, NULL)) != -1;) {
        if (id == '?')
            return unknown_option(argv, error);
        if (id == 'h')
            options->help = true;
        else if (id == 's')
            options->sql_file = optarg;
        else if (id == 'a')
            options->also = optarg;
        else if (options->catalog_count < sizeof options->catalogs / sizeof options->catalogs[0])
            options->catalogs[options->catalog_count++] = optarg;
        else
            return error_set(error, "--catalog %s: that are too many files", optarg);
    }
    if (options->help)
        return true;
    if (argc - optind != 2)
        return error_set(error, "record wants a connection string and a file: see --help");
    options->dsn = argv[optind];
    options->path = argv[optind + 1];
    return true;
}
