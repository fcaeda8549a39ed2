/* commands: the subcommands. Each gets its own argument vector, with its name as argv[0], and returns the program's exit code.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TOOLS_COMMANDS_H
#define EUM_TOOLS_COMMANDS_H

int calibrate_main(int argc, char **argv);
int info_main(int argc, char **argv);
int search_main(int argc, char **argv);

#endif
