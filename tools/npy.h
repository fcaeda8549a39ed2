/* npy: the header of NumPy's array files, versions 1.0, 2.0 and 3.0
 * (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html).
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TOOLS_NPY_H
#define EUM_TOOLS_NPY_H

#include "error.h"
#include "layout.h"

/* True if the bytes start as an .npy file does. */
bool npy_recognize(const void *bytes, size_t size);

/* Reads the header and checks that the file holds exactly what it promises: float32, little-endian, C order, one or two dimensions,
 * none of them 0. bytes: the whole file. On failure *out is untouched and the error says what was found and what would do. */
bool npy_parse(const void *bytes, size_t size, vector_layout *out, tool_error *error);
/* The same for elements of another kind: '<f2' for float16; '<u2' or two plain bytes ('|V2') for bfloat16, of which .npy knows nothing. */
bool npy_parse_as(const void *bytes, size_t size, eum_element element, vector_layout *out, tool_error *error);

#endif
