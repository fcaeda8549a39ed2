/* vectors: one opened file of rows x dim elements, mapped read-only and never copied.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TOOLS_VECTORS_H
#define EUM_TOOLS_VECTORS_H

#include "error.h"
#include "layout.h"

typedef struct vectors {
    void *address; /* of the whole file, mapped read-only; NULL: not open */
    size_t bytes;
    vector_layout layout;
} vectors;

/* Opens an .npy file (known by its first bytes) or an .fvecs file (known by its name). Only .npy files hold other
 * elements than float32. `path` must live as long as `error` is used.
 * Memory: *out is owned; vectors_close ends it. On failure *out is untouched. */
bool vectors_open(const char *path, eum_element element, vectors *out, tool_error *error);
/* Ends the mapping. One that is all zero is fine. */
void vectors_close(vectors *v);

/* Bytes from the file's start to the row. row < rows. */
size_t vectors_row_offset(const vectors *v, uint64_t row);
/* Bytes from the first element of row 0 to the last element's end. */
size_t vectors_span(const vectors *v);

#endif
