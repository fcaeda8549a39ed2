/* options: what the subcommands' command lines have in common.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TOOLS_OPTIONS_H
#define EUM_TOOLS_OPTIONS_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#include "engram_um.h"
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

/* The options that several commands have, and that mean the same in each. */
typedef struct common_options {
    const char *device; /* NULL: the environment's */
    eum_backing backing;
    bool json;
} common_options;

/* What a command takes. */
typedef struct command_options {
    const char *command, *help;
    const struct option *longs; /* those of common_options that it has, --help (as 'h'), its own */
    /* Sets one of its own, and returns OPTIONS_GO_ON or an exit code. NULL: it has none. */
    int (*take)(void *own, int option, const char *value);
} command_options;

/* Sets what is given and leaves the arguments that are no options from `optind` on. Returns OPTIONS_GO_ON, or an exit code once the help or a usage
 * error was printed. */
int options_parse(const command_options *known, int argc, char **argv, common_options *common, void *own);
/* After it, for a command that takes no arguments. */
int options_no_more(const command_options *known, int argc, char *const *argv);

/* A whole number in decimal digits and nothing else. */
bool options_number(const char *text, uint64_t *out);

/* The value of --output: something. Returns as command_options.take does. */
int options_output(const char *command, const char *value, const char **out);

/* Prints the text and returns 0, or TOOL_EXIT_FAILED where standard output takes no more. */
int options_print_help(const char *text);

/* Brings what was printed to where it goes. False where it could not be written. */
bool output_finish(tool_error *error);

#endif
