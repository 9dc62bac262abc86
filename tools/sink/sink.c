/* SPDX-License-Identifier: Apache-2.0 */
/* pgweir-sink: a back end for tests and measurements, in this order of a request: http.c reads it
 * (on tools/net), take.c handles it, unpack.c and body.c (remote.c) read its body, service.c
 * decides by the script (script.c) what is to happen, ledger.c whether its points are new; report.c
 * tells. This file starts and stops, and does what a phase says about connections. One thread. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "tools/sink/sink_state.h"

enum { TURN_MS_MAX = 200, RESUME_RETRY_MS = 50, CONNECTIONS_MAX = 16384 };

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

static bool open_script(struct sink *sink, struct error *error)
{
    const struct sink_options *options = &sink->options;
    struct script *script;
    if (options->script_file != NULL) {
        if (!script_read_file(&script, options->script_file, error))
            return false;
    } else {
        CHECK(script_read(&script, "options", options->script_text, strlen(options->script_text),
                          error));
    }
    if (!options->tls && script_wants_tls(script)) {
        script_destroy(&script);
        return error_set(error, "--script %s: it has faults of TLS: give --tls too",
                         options->script_file);
    }
    sink->service = service_create(script, clock_monotonic_ns());
    return true;
}

static bool open_tls(struct sink *sink, struct error *error)
{
    const struct sink_options *options = &sink->options;
    if (!options->tls)
        return true;
    if (!certificates_open(&sink->certificates, options->tls_cert, options->tls_key, error))
        return false;
    if (options->tls_ca_out == NULL)
        return true;
    FILE *file = fopen(options->tls_ca_out, "we");
    bool written = file != NULL && fputs(sink->certificates.authority_pem, file) >= 0;
    if ((file != NULL && fclose(file) != 0) || !written)
        return error_set(error, "--tls-ca-out %s: %s", options->tls_ca_out, strerror(errno));
    return true;
}

/* As asked for; else the default, or what the limit of open files leaves. */
static uint32_t connections_max(const struct sink_options *options)
{
    enum { OTHER_FILES = 128 };
    struct rlimit limit;
    if (options->connections_max != 0)
        return (uint32_t)options->connections_max;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    if (limit.rlim_max >= CONNECTIONS_MAX + OTHER_FILES)
        return CONNECTIONS_MAX;
    return limit.rlim_max > 2 * OTHER_FILES ? (uint32_t)limit.rlim_max - OTHER_FILES : OTHER_FILES;
}

static bool open_server(struct sink *sink, struct error *error)
{
    const struct sink_options *options = &sink->options;
    struct http_handler handler = take_handler();
    uint16_t port, admin_port = 0;
    if (!http_server_create(&sink->server, options->loop, connections_max(options), &handler, sink,
                            error) ||
        !http_server_listen(sink->server, "--listen", options->listen_on, false, &port, error) ||
        (options->admin_on != NULL &&
         !http_server_listen(sink->server, "--admin", options->admin_on, true, &admin_port, error)))
        return false;
    printf("listening on port %u\n", port);
    if (options->admin_on != NULL)
        printf("admin on port %u\n", admin_port);
    fflush(stdout);
    return true;
}

static bool open_all(struct sink *sink, struct error *error)
{
    const struct sink_options *options = &sink->options;
    if (options->log_file != NULL && (sink->log = fopen(options->log_file, "ae")) == NULL)
        return error_set(error, "--log %s: %s", options->log_file, strerror(errno));
    if (!open_tls(sink, error) || !open_script(sink, error))
        return false;
    sink->unpacker = unpacker_create();
    sink->reader = body_reader_create(options->depth);
    body_reader_sample(sink->reader, (uint32_t)options->ledger_sample);
    if (options->depth == BODY_LEDGER) {
        sink->ledger = ledger_create();
        sink->seen = seen_create();
    }
    sink->age = xcalloc(1, sizeof *sink->age);
    sink->started_ns = clock_monotonic_ns();
    return open_server(sink, error);
}

static void close_all(struct sink *sink)
{
    http_server_destroy(&sink->server);
    service_destroy(&sink->service);
    certificates_close(&sink->certificates);
    unpacker_destroy(&sink->unpacker);
    body_reader_destroy(&sink->reader);
    ledger_destroy(&sink->ledger);
    seen_destroy(&sink->seen);
    free(sink->age);
    free(sink->answer);
    if (sink->log != NULL)
        fclose(sink->log);
}

static void resume(struct sink *sink)
{
    struct error error;
    if (http_server_resume(sink->server, &error))
        sink->refusing = sink->resuming = false;
    else if (!sink->resuming)
        fprintf(stderr, "pgweir-sink: %s; trying again\n", error.text);
    sink->resuming = sink->refusing; /* said once */
}

void sink_enter_phase(struct sink *sink)
{
    const struct script_phase *phase = service_phase(sink->service);
    bool refuse = phase->connections == CONNECTIONS_REFUSE;
    if (refuse && !sink->refusing)
        http_server_refuse(sink->server);
    if (refuse)
        sink->refusing = true;
    else if (sink->refusing)
        resume(sink);
    if (refuse || phase->connections == CONNECTIONS_RESET || phase->tls != TLS_GOOD ||
        phase->drop_connections)
        http_server_drop_all(sink->server);
}

static void run(struct sink *sink)
{
    uint64_t now_ns = clock_monotonic_ns();
    sink_enter_phase(sink);
    while (!stop) {
        bool resuming =
            sink->refusing && service_phase(sink->service)->connections != CONNECTIONS_REFUSE;
        uint64_t wait_ms = resuming ? RESUME_RETRY_MS : TURN_MS_MAX;
        uint64_t deadline_ns = now_ns + wait_ms * NS_PER_MS;
        if (service_next_ns(sink->service) < deadline_ns)
            deadline_ns = service_next_ns(sink->service);
        now_ns = http_server_turn(sink->server, deadline_ns);
        if (service_turn(sink->service, now_ns))
            sink_enter_phase(sink);
        else if (resuming)
            resume(sink);
    }
    http_server_turn(sink->server, 0); /* what has left, but was not heard of yet */
}

int main(int argc, char **argv)
{
    static struct sink sink;
    struct error error;
    int code = options_read(argc, argv, &sink.options);
    if (code >= 0)
        return code;
    if (sink.options.script_reference) {
        char *text = script_reference();
        fputs(text, stdout);
        free(text);
        free(sink.options.script_text);
        return 0;
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    code = 1;
    if (open_all(&sink, &error)) {
        run(&sink);
        char *report = report_json(&sink);
        printf("%s\n", report);
        free(report);
        code = 0;
    } else {
        fprintf(stderr, "pgweir-sink: %s\n", error.text);
    }
    close_all(&sink);
    free(sink.options.script_text);
    return code;
}
