/* error: what went wrong in the tool, as one sentence for people.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TOOLS_ERROR_H
#define EUM_TOOLS_ERROR_H

#include <stdbool.h>
#include <stddef.h>

#if defined(__GNUC__)
#define TOOL_PRINTF(format_index, first) __attribute__((format(printf, format_index, first)))
#else
#define TOOL_PRINTF(format_index, first)
#endif

/* Exit codes of the program: 0 when it did what was asked. */
#define TOOL_EXIT_FAILED 1 /* a file, the device or the output */
#define TOOL_EXIT_USAGE 2  /* the command line */

typedef struct tool_error {
    const char *path; /* the file that it is about, borrowed; NULL where it is about none */
    char sentence[1024];
} tool_error;

/* Records the sentence and returns false, so that a failing function ends with `return tool_fail(error, ...)`. */
bool tool_fail(tool_error *error, const char *format, ...) TOOL_PRINTF(2, 3);
/* The same for a library call that has just failed on this thread: "DOING: the library's sentence (EUM_ERROR_...)". */
bool tool_fail_library(tool_error *error, const char *doing);
/* Prints "engram-um: PATH: SENTENCE" to stderr. */
void tool_error_print(const tool_error *error);
/* Prints "engram-um: SENTENCE" and where the help is, to stderr, and returns TOOL_EXIT_USAGE. command: "search", NULL for none. */
int tool_usage_error(const char *command, const char *format, ...) TOOL_PRINTF(2, 3);

/* Text from a file, fit for a message: what is not printable ASCII is '?', what does not fit ends in "...". Returns out. */
#define TOOL_EXCERPT_BYTES 48
const char *tool_excerpt(char out[TOOL_EXCERPT_BYTES], const char *text, size_t size);

#endif
