/* options: what the subcommands' command lines have in common.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TOOLS_OPTIONS_H
#define EUM_TOOLS_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"

/* Values of long options for getopt_long: outside the range of characters, so that optopt tells long options from short ones. */
enum {
    OPTION_BACKING = 256,
    OPTION_COUNT_FAULTS,
    OPTION_DEVICE,
    OPTION_DTYPE,
    OPTION_JSON,
    OPTION_LABELS,
    OPTION_METRIC,
    OPTION_OUTPUT,
    OPTION_QUERY,
    OPTION_SKIP_SELF,
    OPTION_TOP,
};

/* Where parsing the command line led. */
#define OPTIONS_GO_ON (-1) /* else the exit code of a program that has nothing left to do */

/* Reports what getopt_long refused, `result` being '?' or ':' (getopt is told to be silent). Returns TOOL_EXIT_USAGE. */
int options_refused(const char *command, char *const *argv, int result);

/* A whole number in decimal digits and nothing else. */
bool options_number(const char *text, uint64_t *out);

/* Prints the text and returns 0, or TOOL_EXIT_FAILED where standard output takes no more. */
int options_print_help(const char *text);

/* Brings what was printed to where it goes. False where it could not be written. */
bool output_finish(tool_error *error);

#endif
