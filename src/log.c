/* log: see log.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const level_names[] = {"off", "error", "warn", "info", "debug"};

/* One fprintf a message: stderr's lock keeps lines of several threads whole. */
static void write_to_stderr(void *user, eum_log_level level, const char *message)
{
    (void)user;
    (void)fprintf(stderr, "engram_um: %s: %s\n", level_names[level], message);
}

/* What EUM_LOG names; false: no level. Unset, and "": off. */
static bool level_asked(eum_log_level *out)
{
    const char *asked = getenv("EUM_LOG");
    *out = EUM_LOG_OFF;
    if (asked == NULL || *asked == 0)
        return true;
    for (eum_log_level i = EUM_LOG_OFF; i <= EUM_LOG_DEBUG; i++) {
        if (strcmp(asked, level_names[i]) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

eum_log eum_log_from(eum_log_fn fn, void *user, eum_log_level level)
{
    if (fn != NULL)
        return (eum_log){fn, user, level};
    eum_log_level asked;
    return level_asked(&asked) && asked != EUM_LOG_OFF ? (eum_log){write_to_stderr, NULL, asked}
                                                       : (eum_log){NULL, NULL, EUM_LOG_OFF};
}

eum_status eum_log_check_variable(void)
{
    eum_log_level asked;
    return level_asked(&asked)
               ? EUM_OK
               : eum_fail(EUM_ERROR_INVALID_ARGUMENT, "EUM_LOG is \"%.100s\"; use error, warn, info, debug or off, or unset it",
                          getenv("EUM_LOG"));
}

void eum_log_write(const eum_log *log, eum_log_level level, const char *format, ...)
{
    if (log == NULL || log->fn == NULL || level < EUM_LOG_ERROR || level > EUM_LOG_DEBUG || level > log->level)
        return;
    int saved_errno = errno;
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    log->fn(log->user, level, message);
    errno = saved_errno;
}
