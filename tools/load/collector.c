/* SPDX-License-Identifier: Apache-2.0 */
/* The collector's configuration. It says no more than the scenario asks for: what is not said is
 * the product's default, as that is what is to be measured. Main thread. */
#include "tools/load/collector.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"

enum {
    FIRST_ADDRESS = 0x7f010001,  /* 127.1.0.1, as pgweir-sim counts */
    CONNECTIONS_DEFAULT = 10000, /* service.connections */
    SPREAD_MS = 100, /* the smallest collection_interval: first collections spread over it */
    SHUTDOWN_S = 60,
};

static const char *const loops[] = {"auto", "io_uring", "epoll"};
static const char *const groups[] = {"core", "tables", "sizes", "statements"};

void collector_endpoint(const struct collector_plan *plan, uint64_t server, char *to, size_t bytes)
{
    if (plan->server != NULL) {
        snprintf(to, bytes, "%s", plan->server);
        return;
    }
    char text[INET_ADDRSTRLEN];
    struct in_addr address = {htonl(FIRST_ADDRESS + (uint32_t)server)};
    CHECK(inet_ntop(AF_INET, &address, text, sizeof text) != NULL);
    snprintf(to, bytes, "%s:%u", text, plan->server_port);
}

/* In YAML's single quotes a quote is doubled; a dollar would be a variable. */
static void put_text(FILE *out, const char *text)
{
    fputc('\'', out);
    for (; *text != 0; text++) {
        if (*text == '\'' || *text == '$')
            fputc(*text, out);
        fputc(*text, out);
    }
    fputc('\'', out);
}

static void put_line(FILE *out, const char *key, const char *text)
{
    fputs(key, out);
    put_text(out, text);
    fputc('\n', out);
}

static uint64_t ms(uint64_t ns)
{
    return (ns + NS_PER_MS - 1) / NS_PER_MS;
}

static bool has_group(const struct scenario *scenario, const char *group)
{
    for (size_t i = 0; i < scenario->groups.count; i++)
        if (strcmp(scenario->groups.items[i], group) == 0)
            return true;
    return false;
}

/* All due at once: the first collections of all servers lie within collection_interval, so it is
 * made tiny, and the groups keep the interval that was asked for. */
static bool at_once(const struct scenario *scenario)
{
    return scenario->kind == SCENARIO_BURST && scenario->burst.how == BURST_AT_ONCE;
}

static void write_schedule(FILE *out, const struct scenario *scenario)
{
    uint64_t interval_ms = ms(scenario->interval_ns);
    bool together = at_once(scenario);
    fprintf(out, "    collection_interval: %llums\n",
            (unsigned long long)(together ? SPREAD_MS : interval_ms));
    if (together)
        fprintf(out, "    timeout: %llums\n", (unsigned long long)interval_ms);
    fputs("    groups:\n", out);
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        if (!has_group(scenario, groups[i]))
            fprintf(out, "      %s: {enabled: false}\n", groups[i]);
        else if (together)
            fprintf(out, "      %s: {interval: %llums}\n", groups[i],
                    (unsigned long long)interval_ms);
    }
}

static void write_receiver(FILE *out, const struct collector_plan *plan)
{
    const struct scenario *scenario = plan->scenario;
    fprintf(out,
            "receivers:\n"
            "  postgresql:\n"
            "    connections: %lld\n",
            (long long)scenario->connections);
    put_line(out, "    username: ", scenario->username);
    if (plan->password_file != NULL)
        fprintf(out, "    password: ${file:%s}\n", plan->password_file);
    else if (plan->server != NULL && getenv("PGPASSWORD") != NULL)
        fputs("    password: ${env:PGPASSWORD}\n", out);
    fprintf(out, "    tls: {%s}\n",
            scenario->tls ? "insecure_skip_verify: true" : "insecure: true");
    write_schedule(out, scenario);
    if (scenario->databases > 0) {
        fputs("    databases: [app", out);
        for (int64_t i = 2; i <= scenario->databases; i++)
            fprintf(out, ", app_%lld", (long long)i);
        fputs("]\n", out);
    }
    /* By OpenTelemetry's rule every loopback address is this machine: without an attribute all
     * simulated servers would be one resource, and their series one. */
    fputs("    targets:\n", out);
    for (uint64_t i = 0; i < plan->servers; i++) {
        char endpoint[280];
        collector_endpoint(plan, i, endpoint, sizeof endpoint);
        unsigned long long number = i;
        if (plan->server != NULL) /* one place, many targets: they need names */
            fprintf(out,
                    "      - {name: t%llu, endpoint: '%s', attributes: {sim.server: '%llu'}}\n",
                    number, endpoint, number);
        else
            fprintf(out, "      - {endpoint: '%s', attributes: {sim.server: '%llu'}}\n", endpoint,
                    number);
    }
}

static void write_exporter(FILE *out, const struct collector_plan *plan)
{
    bool tls = strncmp(plan->backend_url, "https:", 6) == 0;
    fprintf(out,
            "processors:\n"
            "  batch:\n"
            "exporters:\n"
            "  otlp_http:\n"
            "    compression: %s\n",
            scenario_compressions[plan->scenario->compression]);
    put_line(out, "    endpoint: ", plan->backend_url);
    if (plan->backend_ca != NULL)
        put_line(out, "    tls:\n      ca_file: ", plan->backend_ca);
    else if (!tls)
        fputs("    tls: {insecure: true}\n", out);
}

static void write_service(FILE *out, const struct collector_plan *plan)
{
    const struct scenario *scenario = plan->scenario;
    uint64_t connections = plan->servers * (uint64_t)scenario->connections;
    fprintf(
        out,
        "extensions:\n"
        "  health_check:\n"
        "    endpoint: '%s'\n"
        "service:\n"
        "  extensions: [health_check]\n"
        "  loop: %s\n"
        "  shards: %lld\n"
        "  connections: %llu\n"
        "  shutdown_timeout: %ds\n"
        "%s"
        "  pipelines:\n"
        "    metrics:\n"
        "      receivers: [postgresql]\n"
        "      processors: [batch]\n"
        "      exporters: [otlp_http]\n",
        plan->admin, loops[scenario->loop], (long long)scenario->shards,
        (unsigned long long)(connections > CONNECTIONS_DEFAULT ? connections : CONNECTIONS_DEFAULT),
        SHUTDOWN_S, plan->tuner_off ? "  tuner: {mode: off}\n" : "");
}

static bool finish(FILE *file, const char *path, struct error *error)
{
    bool good = ferror(file) == 0;
    good = fclose(file) == 0 && good;
    return good || error_set(error, "%s: cannot be written: %s", path, strerror(errno));
}

bool collector_write_config(const struct collector_plan *plan, const char *path,
                            struct error *error)
{
    FILE *out = fopen(path, "we");
    if (out == NULL)
        return error_set(error, "%s: cannot be written: %s", path, strerror(errno));
    write_receiver(out, plan);
    write_exporter(out, plan);
    write_service(out, plan);
    return finish(out, path, error);
}

bool collector_write_targets(const struct collector_plan *plan, const char *path,
                             struct error *error)
{
    FILE *out = fopen(path, "we");
    if (out == NULL)
        return error_set(error, "%s: cannot be written: %s", path, strerror(errno));
    for (uint64_t i = 0; i < plan->servers; i++) {
        char endpoint[280];
        collector_endpoint(plan, i, endpoint, sizeof endpoint);
        fprintf(out, "%s\n", endpoint);
    }
    return finish(out, path, error);
}

char *collector_command(const char *command, const char *config, const char *targets,
                        const char *backend, struct error *error)
{
    const struct {
        const char *name, *value;
    } places[] = {{"{config}", config}, {"{targets}", targets}, {"{backend}", backend}};
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    CHECK(out != NULL);
    for (const char *at = command; *at != 0;) {
        size_t p = 0;
        while (p < 3 && strncmp(at, places[p].name, strlen(places[p].name)) != 0)
            p++;
        if (p < 3) {
            fputs(places[p].value, out);
            at += strlen(places[p].name);
            continue;
        }
        size_t word = *at == '{' ? strcspn(at, "} \t") : 0;
        if (word > 1 && at[word] == '}' && (at == command || at[-1] != '$')) {
            fclose(out);
            free(text);
            error_set(error,
                      "collector: %.*s is no placeholder: there are {config}, {targets} and "
                      "{backend}",
                      (int)word + 1, at);
            return NULL;
        }
        fputc(*at++, out);
    }
    fclose(out);
    return text;
}

/* All that a command of the program prints, to be freed. */
static char *printed(const char *program, const char *command)
{
    char line[4200], *text = NULL;
    size_t bytes = 0;
    snprintf(line, sizeof line, "'%s' %s 2>/dev/null", program, command);
    FILE *in = popen(line, "re"), *out = open_memstream(&text, &bytes);
    CHECK(out != NULL);
    char block[4096];
    size_t count;
    while (in != NULL && (count = fread(block, 1, sizeof block, in)) > 0)
        fwrite(block, 1, count, out);
    if (in != NULL)
        pclose(in);
    fclose(out);
    return text;
}

/* "name: spool" of the components; of the reference `spool`, `sending_queue.spool` and
 * `spool.directory` alike. */
static bool knows(const char *components, const char *reference, const char *key)
{
    char text[160];
    size_t bytes = strlen(key);
    snprintf(text, sizeof text, "name: %s\n", key);
    if (strstr(components, text) != NULL)
        return true;
    for (const char *at = strstr(reference, key); at != NULL; at = strstr(at + 1, key))
        if (at > reference && strchr("`.", at[-1]) != NULL && at[bytes] != 0 &&
            strchr("`.", at[bytes]) != NULL)
            return true;
    return false;
}

bool collector_has(const char *program, const struct scenario *scenario, struct error *error)
{
    if (scenario->needs.count == 0)
        return true;
    char *components = printed(program, "components"), *reference = printed(program, "reference");
    const struct scenario_need *needs = scenario->needs.items, *missing = NULL;
    for (size_t i = 0; i < scenario->needs.count && missing == NULL; i++)
        if (!knows(components, reference, needs[i].key))
            missing = &needs[i];
    free(components);
    free(reference);
    if (missing == NULL)
        return true;
    return error_set(error,
                     "scenario %s needs a collector with: %s. This one has no `%s` (looked for in "
                     "`pgweir components` and `pgweir reference`); the scenario is ready for one "
                     "that has",
                     scenario->name, missing->what, missing->key);
}

bool collector_knows(const char *program, const char *key)
{
    char *reference = printed(program, "reference");
    bool known = knows("", reference, key);
    free(reference);
    return known;
}
