/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as a script of pgweir-sink: refused with its place, or good for a walk of simulated
 * requests in which every answer has a status and the books balance. */
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "tools/sink/service.h"

const char *__lsan_default_suppressions(void);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* libfyaml loses a buffer on some documents that it refuses: see fuzz_config.c. */
const char *__lsan_default_suppressions(void)
{
    return "leak:libfyaml";
}

enum { REQUESTS = 64, OPEN_MAX = 8 };

static void ask(struct service *service, struct service_request *request, uint64_t now_ns,
                uint64_t number)
{
    struct service_verdict verdict;
    service_turn(service, now_ns);
    CHECK(service_next_ns(service) > now_ns);
    service_begin(service, request, &(struct service_head){now_ns, number * 1000, number % 3 != 0});
    service_decide(service, request,
                   &(struct service_body){now_ns, 1700000000 * NS_PER_S, number, number * 1000,
                                          number % 10 == 9 ? 400 : 0},
                   &verdict);
    CHECK(verdict.status >= 200 && verdict.status <= 599);
    CHECK(strlen(verdict.retry_after) < sizeof verdict.retry_after);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error error;
    struct script *script;
    struct service_request open[OPEN_MAX] = {0};
    if (!script_read(&script, "s", (const char *)data, size, &error)) {
        CHECK(strncmp(error.text, "s:", 2) == 0);
        return 0;
    }
    CHECK(script->phase_count > 0);
    uint32_t phases = (uint32_t)script->phase_count;
    uint64_t now_ns = 1000 * NS_PER_S, requests = 0, ended = 0;
    struct service *service = service_create(script, now_ns);
    for (uint64_t i = 0; i < REQUESTS; i++) {
        struct service_request *request = &open[i % OPEN_MAX];
        service_end(service, request, i % 5 == 0 ? 0 : 200);
        ask(service, request, now_ns, i);
        now_ns += i * i * NS_PER_MS;
    }
    for (int i = 0; i < OPEN_MAX; i++)
        service_end(service, &open[i], 200);
    for (uint32_t i = 0; i < phases; i++) {
        const struct service_stats *stats = service_stats(service, i, now_ns);
        requests += stats->requests;
        ended += stats->answered[200] + stats->unanswered;
        CHECK(stats->peak_concurrency <= OPEN_MAX);
    }
    CHECK(requests == REQUESTS && ended == REQUESTS);
    service_destroy(&service);
    return 0;
}
