/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "labels.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BYTE_ORDER_MARK "\xEF\xBB\xBF"
#define BYTE_ORDER_MARK_BYTES 3u

/* Reads all of the stream. *text_out is malloc's, also after a failure; errno says why. */
static bool read_all(FILE *in, char **text_out, size_t *size_out)
{
    size_t capacity = 0;
    *text_out = NULL;
    *size_out = 0;
    while (!feof(in)) {
        if (*size_out == capacity) {
            if (capacity > SIZE_MAX / 2) {
                errno = ENOMEM;
                return false;
            }
            capacity = capacity == 0 ? 65536 : capacity * 2;
            char *larger = realloc(*text_out, capacity);
            if (larger == NULL)
                return false;
            *text_out = larger;
        }
        *size_out += fread(*text_out + *size_out, 1, capacity - *size_out, in);
        if (ferror(in))
            return false;
    }
    return true;
}

/* Fills l->start and l->count from the text, whose first line is at `first`. */
static bool index_lines(labels *l, size_t first, size_t size)
{
    uint64_t count = 0;
    for (size_t at = first; at < size; count++) {
        const char *end = memchr(l->text + at, '\n', size - at);
        at = end == NULL ? size : (size_t)(end - l->text) + 1;
    }
    l->start = calloc((size_t)count + 1, sizeof *l->start);
    if (l->start == NULL)
        return false;
    l->start[0] = first;
    for (l->count = 0; l->count < count; l->count++) {
        const size_t at = l->start[l->count];
        const char *end = memchr(l->text + at, '\n', size - at);
        l->start[l->count + 1] = end == NULL ? size : (size_t)(end - l->text) + 1;
    }
    return true;
}

bool labels_open(const char *path, labels *out, tool_error *error)
{
    labels l = {0};
    size_t size = 0;
    error->path = path;
    FILE *in = fopen(path, "rb");
    if (in == NULL)
        return tool_fail(error, "cannot be opened: %s", strerror(errno));
    errno = 0;
    bool done = read_all(in, &l.text, &size);
    if (done) {
        const bool mark = size >= BYTE_ORDER_MARK_BYTES && memcmp(l.text, BYTE_ORDER_MARK, BYTE_ORDER_MARK_BYTES) == 0;
        done = index_lines(&l, mark ? BYTE_ORDER_MARK_BYTES : 0, size);
    }
    if (!done)
        (void)tool_fail(error, "cannot be read: %s", strerror(errno));
    (void)fclose(in);
    if (!done) {
        labels_close(&l);
        return false;
    }
    error->path = NULL;
    *out = l;
    return true;
}

void labels_close(labels *l)
{
    free(l->text);
    free(l->start);
    *l = (labels){0};
}

const char *labels_get(const labels *l, uint64_t line, size_t *size_out)
{
    const char *text = l->text + l->start[line];
    size_t size = l->start[line + 1] - l->start[line];
    if (size > 0 && text[size - 1] == '\n')
        size--;
    if (size > 0 && text[size - 1] == '\r')
        size--;
    *size_out = size;
    return text;
}
