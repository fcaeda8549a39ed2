/* observe: what the C ABI tells about contexts and buffers.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "arguments.h"
#include "objects.h"
#include "structs.h"

eum_status eum_context_info(const eum_context *context, eum_info *out)
{
    eum_info full;
    size_t size = 0;
    eum_context_object *object = NULL;
    eum_status status = eum_struct_expect(&eum_info_type, out, &size, &full);
    if (status == EUM_OK)
        status = eum_pin_context(context, &object);
    if (status != EUM_OK)
        return status;
    status = eum_ctx_info(object->ctx, &full);
    if (status == EUM_OK)
        eum_struct_give(&full, out, size);
    eum_handle_unpin(context);
    return status;
}

eum_status eum_context_stats(const eum_context *context, eum_stats *out)
{
    eum_stats full;
    size_t size = 0;
    eum_context_object *object = NULL;
    eum_status status = eum_struct_expect(&eum_stats_type, out, &size, &full);
    if (status == EUM_OK)
        status = eum_pin_context(context, &object);
    if (status != EUM_OK)
        return status;
    status = eum_ctx_stats(object->ctx, &full);
    if (status == EUM_OK)
        eum_struct_give(&full, out, size);
    eum_handle_unpin(context);
    return status;
}

eum_status eum_context_operation_stats(const eum_context *context, eum_operation operation, eum_operation_stats *out)
{
    eum_operation_stats full;
    size_t size = 0;
    eum_context_object *object = NULL;
    eum_status status = eum_struct_expect(&eum_operation_stats_type, out, &size, &full);
    if (status == EUM_OK)
        status = eum_check_enum("operation", operation, EUM_OPERATION_COSINE, EUM_OPERATION_ROWS, "EUM_OPERATION_*");
    if (status == EUM_OK)
        status = eum_pin_context(context, &object);
    if (status != EUM_OK)
        return status;
    status = eum_ctx_operation_stats(object->ctx, operation, &full);
    if (status == EUM_OK)
        eum_struct_give(&full, out, size);
    eum_handle_unpin(context);
    return status;
}

eum_status eum_context_trim(eum_context *context, uint64_t keep)
{
    eum_context_object *object = NULL;
    eum_status status = eum_pin_context(context, &object);
    if (status != EUM_OK)
        return status;
    status = eum_ctx_trim(object->ctx, keep);
    eum_handle_unpin(context);
    return status;
}

eum_status eum_buffer_explain(const eum_buffer *buffer, eum_decision *out)
{
    eum_decision full;
    size_t size = 0;
    eum_buf *buf = NULL;
    eum_status status = eum_struct_expect(&eum_decision_type, out, &size, &full);
    if (status == EUM_OK)
        status = eum_pin_buffer(buffer, &buf);
    if (status != EUM_OK)
        return status;
    status = eum_buf_explain(buf, &full);
    if (status == EUM_OK)
        eum_struct_give(&full, out, size);
    eum_handle_unpin(buffer);
    return status;
}

eum_status eum_buffer_get_info(const eum_buffer *buffer, eum_buffer_info *out)
{
    eum_buffer_info full;
    size_t size = 0;
    eum_buf *buf = NULL;
    eum_status status = eum_struct_expect(&eum_buffer_info_type, out, &size, &full);
    if (status == EUM_OK)
        status = eum_pin_buffer(buffer, &buf);
    if (status != EUM_OK)
        return status;
    status = eum_buf_info(buf, &full);
    if (status == EUM_OK)
        eum_struct_give(&full, out, size);
    eum_handle_unpin(buffer);
    return status;
}
