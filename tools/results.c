/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "results.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define HEADER_BYTES 128u /* .npy 1.0: magic, version, length, dictionary, blanks, newline; the data are aligned to 64 */

static bool write_header(FILE *out, const char *descr, uint64_t queries, size_t top)
{
    char header[HEADER_BYTES], dictionary[HEADER_BYTES - 10];
    const int length =
        snprintf(dictionary, sizeof dictionary, "{'descr': '%s', 'fortran_order': False, 'shape': (%" PRIu64 ", %zu), }", descr,
                 queries, top); /* at most 96 bytes */
    memset(header, ' ', sizeof header);
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    header[8] = HEADER_BYTES - 10;
    header[9] = 0;
    memcpy(header + 10, dictionary, (size_t)length);
    header[HEADER_BYTES - 1] = '\n';
    return fwrite(header, 1, HEADER_BYTES, out) == HEADER_BYTES;
}

static bool write_all(FILE *out, bool scores, const topk_entry *neighbors, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        const int64_t row = (int64_t)neighbors[i].row;
        const void *value = scores ? (const void *)&neighbors[i].score : (const void *)&row;
        if (fwrite(value, scores ? sizeof neighbors[i].score : sizeof row, 1, out) != 1)
            return false;
    }
    return true;
}

static bool write_file(const char *name, bool scores, const topk_entry *neighbors, uint64_t queries, size_t top, tool_error *error)
{
    char path[4096];
    const int length = snprintf(path, sizeof path, "%s.%s.npy", name, scores ? "scores" : "indices");
    if (length < 0 || (size_t)length >= sizeof path)
        return tool_fail(error, "the name of the results is too long");
    errno = 0;
    FILE *out = fopen(path, "wb");
    bool done =
        out != NULL && write_header(out, scores ? "<f4" : "<i8", queries, top) && write_all(out, scores, neighbors, queries * top);
    const int failed = errno;
    if (out != NULL && fclose(out) != 0)
        done = false;
    return done || tool_fail(error, "%s cannot be written: %s", path, strerror(failed != 0 ? failed : errno));
}

bool results_write(const char *name, const topk_entry *neighbors, uint64_t queries, size_t top, tool_error *error)
{
    return write_file(name, false, neighbors, queries, top, error) && write_file(name, true, neighbors, queries, top, error);
}
