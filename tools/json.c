/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "json.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Bytes of the well-formed UTF-8 sequence at the start of text (the Unicode Standard, table 3-7), 0 if there is none. */
static size_t sequence_bytes(const unsigned char *text, size_t size)
{
    const unsigned char first = text[0];
    unsigned char low = 0x80, high = 0xBF; /* what the second byte may be */
    size_t bytes = 0;
    if (first < 0x80)
        return 1;
    if (first >= 0xC2 && first <= 0xDF) {
        bytes = 2;
    } else if (first >= 0xE0 && first <= 0xEF) {
        bytes = 3;
        low = first == 0xE0 ? 0xA0 : low;   /* no overlong forms */
        high = first == 0xED ? 0x9F : high; /* no surrogates */
    } else if (first >= 0xF0 && first <= 0xF4) {
        bytes = 4;
        low = first == 0xF0 ? 0x90 : low;
        high = first == 0xF4 ? 0x8F : high; /* U+10FFFF is the last */
    }
    if (bytes == 0 || bytes > size || text[1] < low || text[1] > high)
        return 0;
    for (size_t i = 2; i < bytes; i++)
        if (text[i] < 0x80 || text[i] > 0xBF)
            return 0;
    return bytes;
}

static void put_escaped(FILE *out, const char *text, size_t size)
{
    size_t i = 0;
    (void)fputc('"', out);
    while (i < size) {
        const unsigned char *at = (const unsigned char *)text + i;
        const size_t bytes = sequence_bytes(at, size - i);
        if (bytes == 0)
            (void)fputs("\xEF\xBF\xBD", out);
        else if (*at == '"' || *at == '\\')
            (void)fprintf(out, "\\%c", *at);
        else if (*at < 0x20 || *at == 0x7F)
            (void)fprintf(out, "\\u%04x", (unsigned)*at);
        else
            (void)fwrite(at, 1, bytes, out);
        i += bytes == 0 ? 1 : bytes;
    }
    (void)fputc('"', out);
}

/* What stands before every value. */
static void put_key(json *j, const char *key)
{
    if (j->comma)
        (void)fputs(", ", j->out);
    j->comma = true;
    if (key != NULL) {
        put_escaped(j->out, key, strlen(key));
        (void)fputs(": ", j->out);
    }
}

static void begin(json *j, const char *key, int bracket)
{
    put_key(j, key);
    (void)fputc(bracket, j->out);
    j->comma = false;
}

static void end(json *j, int bracket)
{
    (void)fputc(bracket, j->out);
    j->comma = true;
}

void json_begin_object(json *j, const char *key)
{
    begin(j, key, '{');
}

void json_end_object(json *j)
{
    end(j, '}');
}

void json_begin_array(json *j, const char *key)
{
    begin(j, key, '[');
}

void json_end_array(json *j)
{
    end(j, ']');
}

void json_null(json *j, const char *key)
{
    put_key(j, key);
    (void)fputs("null", j->out);
}

void json_bool(json *j, const char *key, bool value)
{
    put_key(j, key);
    (void)fputs(value ? "true" : "false", j->out);
}

void json_unsigned(json *j, const char *key, uint64_t value)
{
    put_key(j, key);
    (void)fprintf(j->out, "%" PRIu64, value);
}

void json_float(json *j, const char *key, float value)
{
    if (!isfinite(value)) {
        json_null(j, key);
        return;
    }
    put_key(j, key);
    (void)fprintf(j->out, "%.9g", (double)value);
}

void json_milliseconds(json *j, const char *key, double value)
{
    put_key(j, key);
    (void)fprintf(j->out, "%.3f", value);
}

void json_text(json *j, const char *key, const char *text, size_t size)
{
    put_key(j, key);
    put_escaped(j->out, text, size);
}

void json_string(json *j, const char *key, const char *text)
{
    json_text(j, key, text, strlen(text));
}
