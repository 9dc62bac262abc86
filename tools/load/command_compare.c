/* SPDX-License-Identifier: Apache-2.0 */
/* The command that compares two results. */
#include <stdio.h>

#include "tools/load/commands.h"
#include "tools/load/compare.h"
#include "tools/load/report.h"

int command_compare(struct command_line *line)
{
    struct error error = {{0}};
    if (line->operand_count != 2) {
        fputs("pgweir-load compare: name two results, such as before/result.json "
              "after/result.json\nTry: pgweir-load compare --help\n",
              stderr);
        return EXIT_USAGE;
    }
    const char *a = line->operands[0], *b = line->operands[1];
    int verdict = compare_results(a, b, line->tolerance, stdout, &error);
    bool page = verdict < 0 || line->html == NULL ||
                report_write_comparison(a, b, line->tolerance, line->html, &error);
    if (verdict >= 0 && page)
        return verdict == 0 ? EXIT_FINE : EXIT_RUNNING;
    fprintf(stderr, "pgweir-load compare: %s\n", error.text);
    return verdict < 0 ? EXIT_USAGE : EXIT_RUNNING;
}
