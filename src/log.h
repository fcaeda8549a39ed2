/* log: what the library says, to those who asked to hear it. Thread-safe; never fails, never prints unless EUM_LOG asks.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_SRC_LOG_H
#define EUM_SRC_LOG_H

#include "status.h"

typedef struct eum_log {
    eum_log_fn fn; /* NULL: silent */
    void *user;
    eum_log_level level;
} eum_log;

/* The log of a configuration: its callback, or stderr where EUM_LOG names a level ("error", "warn", "info", "debug") and there is
 * no callback, or silence. */
eum_log eum_log_from(eum_log_fn fn, void *user, eum_log_level level);
/* Errors: EUM_ERROR_INVALID_ARGUMENT (EUM_LOG names no level: eum_log_from then takes it as unset). */
eum_status eum_log_check_variable(void);
void eum_log_write(const eum_log *log, eum_log_level level, const char *format, ...) EUM_PRINTF(3, 4);

#endif
