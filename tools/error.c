/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engram_um.h"

bool tool_fail(tool_error *error, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    (void)vsnprintf(error->sentence, sizeof error->sentence, format, values);
    va_end(values);
    return false;
}

bool tool_fail_library(tool_error *error, const char *doing)
{
    eum_error last = EUM_ERROR_INIT;
    (void)eum_last_error(&last);
    return tool_fail(error, "%s: %s (%s)", doing, last.sentence, eum_status_name(last.status));
}

void tool_error_print(const tool_error *error)
{
    if (error->path != NULL)
        (void)fprintf(stderr, "engram-um: %s: %s\n", error->path, error->sentence);
    else
        (void)fprintf(stderr, "engram-um: %s\n", error->sentence);
}

int tool_usage_error(const char *command, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    (void)fputs("engram-um: ", stderr);
    (void)vfprintf(stderr, format, values);
    va_end(values);
    (void)fprintf(stderr, "\nTry 'engram-um%s%s --help'.\n", command != NULL ? " " : "", command != NULL ? command : "");
    return TOOL_EXIT_USAGE;
}

const char *tool_excerpt(char out[TOOL_EXCERPT_BYTES], const char *text, size_t size)
{
    static const char more[] = "...";
    const size_t room = TOOL_EXCERPT_BYTES - sizeof more;
    const size_t kept = size <= room ? size : room;
    for (size_t i = 0; i < kept; i++)
        out[i] = (char)(text[i] >= ' ' && text[i] <= '~' ? text[i] : '?');
    out[kept] = '\0';
    if (kept < size)
        memcpy(out + kept, more, sizeof more);
    return out;
}
