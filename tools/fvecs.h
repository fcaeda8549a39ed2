/* fvecs: the vector files of the TEXMEX data sets (http://corpus-texmex.irisa.fr): each row is its dim as an int32, then dim float32,
 * little-endian.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TOOLS_FVECS_H
#define EUM_TOOLS_FVECS_H

#include "error.h"
#include "layout.h"

/* Checks the header of every row (they lie in pages that a search reads anyway). bytes: the whole file, aligned to 4. On failure *out
 * is untouched and the error names the first row that is wrong. */
bool fvecs_parse(const void *bytes, size_t size, vector_layout *out, tool_error *error);

#endif
