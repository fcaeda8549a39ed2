/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "words.h"

/* What getopt_long refused, `result` being '?' or ':' (it is told to be silent). */
static int refuse(const char *command, char *const *argv, int result)
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

static int take(const command_options *known, int option, common_options *common, void *own)
{
    switch (option) {
    case OPTION_DEVICE:
        common->device = optarg;
        return OPTIONS_GO_ON;
    case OPTION_BACKING:
        if (backing_parse(optarg, &common->backing))
            return OPTIONS_GO_ON;
        return tool_usage_error(known->command, "unknown backing '%s'; there are auto, managed, mirrored, mapped and host", optarg);
    case OPTION_JSON:
        common->json = true;
        return OPTIONS_GO_ON;
    case 'h':
        return options_print_help(known->help);
    default:
        return known->take(own, option, optarg);
    }
}

int options_parse(const command_options *known, int argc, char **argv, common_options *common, void *own)
{
    int option = 0, code = OPTIONS_GO_ON;
    while (code == OPTIONS_GO_ON && (option = getopt_long(argc, argv, ":h", known->longs, NULL)) != -1)
        code = option == '?' || option == ':' ? refuse(known->command, argv, option) : take(known, option, common, own);
    return code;
}

int options_no_more(const command_options *known, int argc, char *const *argv)
{
    return optind < argc ? tool_usage_error(known->command, "unexpected argument '%s'", argv[optind]) : OPTIONS_GO_ON;
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

int options_output(const char *command, const char *value, const char **out)
{
    *out = value;
    return *value != '\0' ? OPTIONS_GO_ON : tool_usage_error(command, "the value of '--output' is empty; name what to write");
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
