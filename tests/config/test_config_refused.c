/* SPDX-License-Identifier: Apache-2.0 */
/* Bad configurations, one mistake each: the whole message, with its place. */
#include "components.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pg/settings.h"

#define SERVICE "service: {pipelines: {metrics: {receivers: [postgresql], exporters: [sample]}}}\n"
#define RECEIVER "receivers: {postgresql: {username: u}}\n"
/* What stands in these begins in line 4 and line 3. */
#define SAMPLE(text)   RECEIVER SERVICE "exporters:\n  sample: {" text "}\n"
#define POSTGRES(text) "exporters: {sample: }\n" SERVICE "receivers: {postgresql: {" text "}}\n"
#define PIPELINES(text)                                                                            \
    RECEIVER "exporters: {sample: }\nextensions: {health_check: }\nservice: {" text "}\n"

static const struct {
    const char *text, *error;
} cases[] = {
#include "refused.inc"
};

static void bad_configurations_are_refused(void **state)
{
    (void)state;
    setenv("SECRET", "hunter2", 1);
    unsetenv("UNSET");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct config *config = NULL;
        struct error error = {0};
        if (load_text(&config, cases[i].text, &error, NULL, 0))
            fail_msg("taken: %s", cases[i].text);
        assert_null(config);
        if (strcmp(error.text, cases[i].error) != 0) print_message("@@%zu %s\n", i, error.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_configurations_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
