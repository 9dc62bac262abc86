/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* `pgweir spool …`: argv[0] is the word "spool". Returns an exit code (commands.h). */
int spool_command(int argc, char **argv);
