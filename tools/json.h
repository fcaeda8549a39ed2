/* json: writes JSON (RFC 8259) on one line. Commas and escapes are its business, the right nesting the caller's.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TOOLS_JSON_H
#define EUM_TOOLS_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct json {
    FILE *out;  /* borrowed; its error flag tells of failed writes */
    bool comma; /* something stands before on this level */
} json;

/* In all of these `key` is the name within an object, NULL in an array and at the top. */
void json_begin_object(json *j, const char *key);
void json_end_object(json *j);
void json_begin_array(json *j, const char *key);
void json_end_array(json *j);
void json_null(json *j, const char *key);
void json_bool(json *j, const char *key, bool value);
void json_unsigned(json *j, const char *key, uint64_t value);
/* Nine digits, which give the same float32 back; null for NaN and infinities, which JSON does not have. */
void json_float(json *j, const char *key, float value);
/* Three digits after the point. */
void json_milliseconds(json *j, const char *key, double value);
/* Bytes that are not UTF-8 become U+FFFD, each its own. */
void json_text(json *j, const char *key, const char *text, size_t size);
void json_string(json *j, const char *key, const char *text);

#endif
