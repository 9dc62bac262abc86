/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a configuration: refused with a text, or loaded, printed and loaded again to the
 * same. */
#include "tests/config/components.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
const char *__lsan_default_suppressions(void);

/* libfyaml 0.7.12 loses a 4 KiB buffer when a quoted scalar with many doubled quotes never ends:
 * once per file that is refused, so nothing a process could die of. */
const char *__lsan_default_suppressions(void)
{
    return "leak:libfyaml";
}

static struct config *load(const char *text, size_t bytes)
{
    char *source = malloc(bytes + sizeof "yaml:");
    struct config *config = NULL;
    struct error error = {0};
    CHECK(source != NULL);
    memcpy(source, "yaml:", 5);
    memcpy(source + 5, text, bytes);
    source[bytes + 5] = 0;
    const char *sources[] = {source};
    bool good = config_load(&config, sources, 1, test_registry, &error);
    CHECK(good == (config != NULL));
    CHECK(good || (error.text[0] != 0 && memchr(error.text, 0, sizeof error.text) != NULL));
    free(source);
    return config;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    log_configure(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    if (memmem(data, bytes, "file:", 5) != NULL)
        return 0; /* would read this machine's files */
    struct config *config = load((const char *)data, bytes);
    if (config == NULL)
        return 0;
    char *text = config_print(config);
    struct config *again = load(text, strlen(text));
    if (again != NULL) { /* a secret that is checked may be refused in its masked form */
        char *text_again = config_print(again);
        CHECK(strcmp(text, text_again) == 0);
        free(text_again);
    }
    free(text);
    config_destroy(&again);
    config_destroy(&config);
    return 0;
}
