/* engram-um: the command line over the library.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "engram_um.h"
#include "error.h"
#include "options.h"

static const char help[] = "Usage: engram-um COMMAND [OPTIONS]\n"
                           "\n"
                           "Exact similarity search over files of vectors, on a GPU where there is one.\n"
                           "\n"
                           "Commands:\n"
                           "  search VECTORS   print the rows of VECTORS that are nearest to a query\n"
                           "  calibrate        measure what movement costs on this machine\n"
                           "  info             say what this machine has and what the library makes of it\n"
                           "\n"
                           "  -h, --help       print this help; after a command, that command's\n"
                           "  -V, --version    print the version\n"
                           "\n"
                           "Exit codes: 0 done, 1 failed (a file, the device, the output), 2 wrong command line.\n";

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {{"calibrate", calibrate_main}, {"info", info_main}, {"search", search_main}};

static int print_version(void)
{
    char text[64];
    (void)snprintf(text, sizeof text, "engram-um %s\n", eum_version_string());
    return options_print_help(text);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return tool_usage_error(NULL, "a command is missing: search, info or calibrate");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return options_print_help(help);
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
        return print_version();
    if (argv[1][0] == '-')
        return tool_usage_error(NULL, "unknown option '%s'", argv[1]);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    return tool_usage_error(NULL, "unknown command '%s'; there are search, info and calibrate", argv[1]);
}
