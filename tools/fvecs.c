/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "fvecs.h"

#include <inttypes.h>
#include <string.h>

static int32_t dim_at(const unsigned char *bytes, size_t offset)
{
    int32_t dim = 0;
    memcpy(&dim, bytes + offset, sizeof dim);
    return dim;
}

bool fvecs_parse(const void *bytes, size_t size, vector_layout *out, tool_error *error)
{
    if (size < sizeof(int32_t))
        return tool_fail(error, "the file has %zu bytes, too few for the dim of the first row: it is truncated, or no .fvecs file",
                         size);
    const int32_t dim = dim_at(bytes, 0);
    if (dim <= 0)
        return tool_fail(
            error, "row 0 says that its dim is %" PRId32 "; 1 or more is needed: the file is damaged, or no .fvecs file", dim);
    if ((size_t)dim > (size - sizeof(int32_t)) / sizeof(float))
        return tool_fail(
            error, "row 0 says that its dim is %" PRId32 ", but only %zu bytes follow: the file is truncated, or no .fvecs file",
            dim, size - sizeof(int32_t));
    const size_t stride = sizeof(int32_t) + (size_t)dim * sizeof(float);
    for (size_t row = 1; size - row * stride >= sizeof(int32_t); row++) {
        const int32_t other = dim_at(bytes, row * stride);
        if (other != dim)
            return tool_fail(error,
                             "row %zu (at byte %zu) says that its dim is %" PRId32 ", row 0 says %" PRId32
                             ": all rows must have the same",
                             row, row * stride, other, dim);
        if (size - row * stride < stride)
            break;
    }
    if (size % stride != 0)
        return tool_fail(error, "row %zu is truncated: it has %zu bytes of %zu (dim %" PRId32 ")", size / stride, size % stride,
                         stride, dim);
    *out = (vector_layout){sizeof(int32_t), size / stride, (uint64_t)dim, stride, 2, EUM_ELEMENT_FLOAT32};
    return true;
}
