/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

int options_refused(const char *command, char *const *argv, int result)
{
    const char *given = argv[optind - 1];
    if (result == ':')
        return tool_usage_error(command, "the option '%s' needs a value", given);
    if (optopt >= OPTION_BACKING || (optopt != 0 && strncmp(given, "--", 2) == 0))
        return tool_usage_error(command, "the option '%s' takes no value", given);
    if (optopt != 0)
        return tool_usage_error(command, "unknown option '-%c'", optopt);
    return tool_usage_error(command, "unknown or ambiguous option '%s'", given);
}

bool options_number(const char *text, uint64_t *out)
{
    uint64_t number = 0;
    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return false;
        const uint64_t digit = (uint64_t)(*text - '0');
        if (number > (UINT64_MAX - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    *out = number;
    return true;
}

bool output_finish(tool_error *error)
{
    errno = 0;
    if (fflush(stdout) != 0 || ferror(stdout)) {
        error->path = NULL;
        return tool_fail(error, "standard output cannot be written: %s", errno != 0 ? strerror(errno) : "an earlier write failed");
    }
    return true;
}

int options_print_help(const char *text)
{
    tool_error error = {0};
    (void)fputs(text, stdout);
    if (output_finish(&error))
        return 0;
    tool_error_print(&error);
    return TOOL_EXIT_FAILED;
}
