/* layout: where the rows of a vector file are.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TOOLS_LAYOUT_H
#define EUM_TOOLS_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#include "engram_um.h"

/* The formats are little-endian and are used in place. */
#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the tool reads little-endian files in place and needs a little-endian machine"
#endif

/* rows x dim elements. Row r is at offset + r * stride; the last row ends within the file: none of this overflows. */
typedef struct vector_layout {
    size_t offset; /* bytes from the file's start, a multiple of an element's size, as is the stride */
    uint64_t rows; /* 1 or more */
    uint64_t dim;  /* 1 or more */
    size_t stride; /* bytes, at least dim elements */
    int shape;     /* dimensions that the file declares: 1 (one vector) or 2 */
    eum_element element;
} vector_layout;

#endif
