/* similarity: the built-in kernels in the C ABI: shapes, strides and alignment of their operands.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "arguments.h"
#include "objects.h"
#include "structs.h"

#define ELEMENT sizeof(float)

/* What each operand of a cosine needs, in bytes. */
typedef struct shape {
    size_t query, targets, scores;
    size_t stride;
} shape;

static eum_status measure(const eum_cosine_config *config, shape *out)
{
    if (config->dim == 0)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "dim is 0; a vector has at least 1 element");
    size_t row = 0, last = 0, all = 0;
    if (__builtin_mul_overflow(config->dim, ELEMENT, &row))
        return eum_fail(EUM_ERROR_SIZE_OVERFLOW, "dim is %llu: a row of as many floats does not fit in size_t",
                        (unsigned long long)config->dim);
    size_t stride = config->row_stride == 0 ? row : config->row_stride;
    if (stride % ELEMENT != 0)
        return eum_fail(EUM_ERROR_MISALIGNED, "row_stride is %zu, which is not a multiple of %zu; rows of floats start at floats",
                        stride, ELEMENT);
    if (stride < row)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT,
                        "row_stride is %zu, shorter than a row of %llu floats (%zu bytes); pass at least that, or 0", stride,
                        (unsigned long long)config->dim, row);
    if (__builtin_mul_overflow(config->rows, stride, &all) || __builtin_mul_overflow(config->rows, ELEMENT, &last))
        return eum_fail(EUM_ERROR_SIZE_OVERFLOW, "rows is %llu with row_stride %zu: their product does not fit in size_t",
                        (unsigned long long)config->rows, stride);
    *out = (shape){row, config->rows == 0 ? 0 : all - stride + row, last, stride};
    return EUM_OK;
}

/* Pins the operand, and trims its range to what is used. On failure nothing is pinned. */
static eum_status take_operand(const char *what, eum_view view, size_t needed, const eum_strm *stream, eum_range *out)
{
    eum_status status = eum_pin_view(what, view, out);
    if (status != EUM_OK)
        return status;
    if (out->offset % ELEMENT != 0)
        status = eum_fail(EUM_ERROR_MISALIGNED, "%s has offset %zu, which is not a multiple of %zu; floats start at floats", what,
                          out->offset, ELEMENT);
    else if (needed > 0 && !eum_buf_aligned(out->buf, ELEMENT))
        status = eum_fail(EUM_ERROR_MISALIGNED, "%s wraps memory whose address is not a multiple of %zu; floats start at floats",
                          what, ELEMENT);
    else if (out->bytes < needed)
        status = eum_fail(EUM_ERROR_BUFFER_TOO_SHORT,
                          "%s has %zu bytes, and the declared rows and dim need %zu; pass a longer view, or less rows", what,
                          out->bytes, needed);
    else
        status = eum_check_same_context(what, out->buf, stream);
    out->bytes = needed;
    if (status != EUM_OK)
        eum_handle_unpin(view.buffer);
    return status;
}

eum_status eum_cosine(eum_stream *stream, const eum_cosine_config *config, eum_job *out)
{
    enum { QUERY, TARGETS, SCORES, OPERANDS };
    static const char *const names[OPERANDS] = {"query", "targets", "scores"};
    eum_cosine_config full;
    shape needed = {0, 0, 0, 0};
    eum_stream_object *on = NULL;
    eum_range ranges[OPERANDS];
    int pinned = 0;
    eum_job job = {NULL, 0, 0};
    eum_status status = eum_struct_take(&eum_cosine_config_type, config, &full);
    if (status == EUM_OK)
        status = measure(&full, &needed);
    if (status == EUM_OK)
        status = eum_pin_stream(stream, &on);
    if (status != EUM_OK)
        return status;

    const eum_view views[OPERANDS] = {full.query, full.targets, full.scores};
    const size_t bytes[OPERANDS] = {needed.query, needed.targets, needed.scores};
    while (status == EUM_OK && pinned < OPERANDS) {
        status = take_operand(names[pinned], views[pinned], bytes[pinned], on->stream, &ranges[pinned]);
        if (status == EUM_OK)
            pinned++;
    }
    if (status == EUM_OK)
        status =
            eum_engine_cosine(on->stream, ranges[QUERY], ranges[TARGETS], ranges[SCORES], full.rows, full.dim, needed.stride, &job);
    if (status == EUM_OK && out != NULL)
        *out = (eum_job){on->context, job.stream, job.sequence};
    while (pinned > 0)
        eum_handle_unpin(views[--pinned].buffer);
    eum_handle_unpin(stream);
    return status;
}
