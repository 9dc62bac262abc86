/* SPDX-License-Identifier: Apache-2.0 */
/* Writes the page of one result, or of two that are compared, for test_report_page.py. */
#include <stdio.h>

#include "tools/load/report.h"

int main(int argc, char **argv)
{
    struct error error;
    bool written = false;
    if (argc == 3)
        written = report_write_html(argv[1], argv[2], &error);
    else if (argc == 4)
        written = report_write_comparison(argv[1], argv[2], 0.1, argv[3], &error);
    else
        error_set(&error, "usage: report_page RESULT HTML | report_page A B HTML");
    if (!written)
        fprintf(stderr, "report_page: %s\n", error.text);
    return !written;
}
