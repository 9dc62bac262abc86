/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a script of pgweir-sim: refused with a text that has a place, or read. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "tools/sim/script.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* See fuzz_config.c. */
const char *__lsan_default_suppressions(void)
{
    return "leak:libfyaml";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script *script = NULL;
    struct error error = {0};
    if (!script_read(&script, "s", (const char *)data, size, NULL, 5, &error)) {
        CHECK(script == NULL && strncmp(error.text, "s:", 2) == 0);
        return 0;
    }
    struct random random = {.state = size};
    uint64_t next_ns;
    CHECK(script->count <= SCRIPT_RULES_MAX);
    script_active(script, 5, &next_ns);
    for (size_t i = 0; i < script->count; i++) {
        const struct rule *rule = script->rules[i];
        CHECK(rule->name[0] != 0 && rule->until_ns > rule->from_ns);
        CHECK(rule_of_server(rule, 1, 7) || rule->server_count > 0 || rule->share < UINT64_MAX);
        if (rule->action == RULE_LATENCY)
            CHECK(latency_draw(&rule->latency, &random) <= 3600000000000);
    }
    script_destroy(&script);
    return 0;
}
