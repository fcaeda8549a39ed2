/* labels: a text file with one name a line.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TOOLS_LABELS_H
#define EUM_TOOLS_LABELS_H

#include <stdint.h>

#include "error.h"

typedef struct labels {
    char *text;    /* the file */
    size_t *start; /* of each line, count + 1 of them: line i is [start[i], start[i + 1]) with its line end */
    uint64_t count;
} labels;

/* Reads the file (a pipe will do). Lines end in LF or CRLF, the last one may go without; a byte order mark is stepped over. `path` must
 * live as long as `error` is used.
 * Memory: *out is owned; labels_close ends it. On failure *out is untouched. */
bool labels_open(const char *path, labels *out, tool_error *error);
/* One that is all zero is fine. */
void labels_close(labels *l);

/* The text of a line without its end, not terminated, borrowed. line < count. */
const char *labels_get(const labels *l, uint64_t line, size_t *size_out);

#endif
