/* SPDX-License-Identifier: Apache-2.0 */
/* The console exporter, pgweir's own: what a person at a terminal wants to see. `table`,
 * `prometheus` and `otlp-json` print everything that came once, when the exporter closes (`pgweir
 * once`), or every `interval`; `summary` shows what is going on, redrawn on a terminal. Runs on the
 * worker and writes there. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "exporters/collection.h"
#include "exporters/exporter.h"
#include "exporters/otlp/json.h"
#include "exporters/summary.h"

enum { LINE_INTERVAL_S = 5 };

enum console_format { CONSOLE_TABLE, CONSOLE_PROMETHEUS, CONSOLE_OTLP_JSON, CONSOLE_SUMMARY };

struct console_settings {
    int format;
    uint64_t interval_ns;
};

struct console {
    enum console_format format;
    uint64_t interval_ns; /* 0: at the end */
    uint64_t next_ns;
    bool used; /* something came */
    bool terminal;
    bool failed; /* the last output did not go out */
    struct collection collection;
    struct otlp_json *json;
    struct summary *summary;
};

static bool open_exporter(const char *id, const void *given, struct exporter_output *ret_output,
                          struct error *error)
{
    (void)id, (void)error;
    const struct console_settings *settings = given;
    struct console *console = xcalloc(1, sizeof *console);
    console->format = (enum console_format)settings->format;
    console->interval_ns = settings->interval_ns;
    console->terminal = isatty(STDOUT_FILENO) == 1;
    if (console->format == CONSOLE_SUMMARY) {
        console->summary = summary_create(clock_monotonic_ns());
        if (console->interval_ns == 0)
            console->interval_ns = (console->terminal ? 1 : LINE_INTERVAL_S) * NS_PER_S;
    }
    if (console->format == CONSOLE_OTLP_JSON)
        console->json = otlp_json_create();
    *ret_output = (struct exporter_output){.format = BODY_NONE, .state = console};
    return true;
}

static void consume(void *state, const struct page *page, struct page_slice slice, uint32_t variant)
{
    struct console *console = state;
    console->used = true;
    switch (console->format) {
    case CONSOLE_TABLE:
    case CONSOLE_PROMETHEUS:
        collection_add(&console->collection, page, slice, variant);
        break;
    case CONSOLE_OTLP_JSON:
        otlp_json_add(console->json, page, slice, variant);
        break;
    case CONSOLE_SUMMARY:
        summary_add(console->summary, page, slice, variant);
        break;
    }
}

static void print_collection(struct console *console)
{
    struct collection *collection = &console->collection;
    collection_sort(collection);
    if (console->format == CONSOLE_TABLE)
        collection_print_table(collection, stdout);
    else
        collection_print_prometheus(collection, stdout);
    if (collection->left_out > 0)
        fprintf(stderr, "pgweir: %llu points more than can be shown\n",
                (unsigned long long)collection->left_out);
    collection_fini(collection);
}

static void print(struct console *console, uint64_t now_ns)
{
    switch (console->format) {
    case CONSOLE_TABLE:
    case CONSOLE_PROMETHEUS:
        print_collection(console);
        break;
    case CONSOLE_OTLP_JSON: {
        char *text = otlp_json_take(console->json, true);
        if (text != NULL)
            printf("%s\n", text);
        free(text);
        break;
    }
    case CONSOLE_SUMMARY:
        summary_print(console->summary, stdout, console->terminal, now_ns);
        break;
    }
    console->failed = fflush(stdout) != 0 || ferror(stdout);
    clearerr(stdout);
}

/* Batches have no meaning here; a line that could not be written fails those after it. */
static bool finish(void *state, const uint8_t *body, size_t body_bytes)
{
    (void)body, (void)body_bytes;
    const struct console *console = state;
    return !console->failed;
}

static uint64_t tick(void *state, uint64_t now_ns)
{
    struct console *console = state;
    if (console->interval_ns == 0)
        return UINT64_MAX;
    if (console->next_ns == 0)
        console->next_ns = now_ns + console->interval_ns;
    if (now_ns >= console->next_ns) {
        print(console, now_ns);
        console->next_ns = now_ns + console->interval_ns;
    }
    return console->next_ns;
}

static void close_exporter(void **ret_state)
{
    struct console *console = *ret_state;
    if (console == NULL)
        return;
    if (console->used)
        print(console, clock_monotonic_ns());
    if (console->json != NULL)
        otlp_json_destroy(&console->json);
    if (console->summary != NULL)
        summary_destroy(&console->summary);
    free(console);
    *ret_state = NULL;
}

static const char *const formats[] = {"table", "prometheus", "otlp-json", "summary", NULL};

static const struct option options[] = {
    {.key = "format",
     .type = OPTION_ENUM,
     .offset = offsetof(struct console_settings, format),
     .fallback = "summary",
     .choices = formats,
     .help = "summary: what is going on; table, prometheus, otlp-json: all points."},
    {.key = "interval",
     .type = OPTION_DURATION,
     .offset = offsetof(struct console_settings, interval_ns),
     .fallback = "0s",
     .max = 3600 * (int64_t)NS_PER_S,
     .help = "Time between two outputs; 0: once at the end, a summary every 1 s on a terminal and "
             "every 5 s elsewhere."},
    {.key = NULL},
};

const struct exporter console_exporter = {
    .component = {.kind = COMPONENT_EXPORTER,
                  .type = "console",
                  .about = "Shows a person at a terminal what is collected",
                  .stability = "beta",
                  .table = {.size = sizeof(struct console_settings), .options = options}},
    .open = open_exporter,
    .consume = consume,
    .finish = finish,
    .tick = tick,
    .close = close_exporter,
};
