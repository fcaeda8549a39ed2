/* faults: the C ABI of counting windows.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "objects.h"
#include "structs.h"

eum_status eum_faults_begin(eum_context *context)
{
    eum_context_object *object = NULL;
    eum_status status = eum_check_may_wait("eum_faults_begin");
    if (status == EUM_OK)
        status = eum_pin_context(context, &object);
    if (status != EUM_OK)
        return status;
    status = eum_ctx_faults_begin(object->ctx);
    eum_handle_unpin(context);
    return status;
}

eum_status eum_faults_end(eum_context *context, eum_faults *out)
{
    eum_faults full;
    size_t size = 0;
    eum_context_object *object = NULL;
    eum_status status = eum_struct_expect(&eum_faults_type, out, &size, &full);
    if (status == EUM_OK)
        status = eum_check_may_wait("eum_faults_end");
    if (status == EUM_OK)
        status = eum_pin_context(context, &object);
    if (status != EUM_OK)
        return status;
    status = eum_ctx_faults_end(object->ctx, &full);
    if (status == EUM_OK)
        eum_struct_give(&full, out, size);
    eum_handle_unpin(context);
    return status;
}

eum_status eum_buffer_faults(eum_buffer *buffer, eum_faults *out)
{
    eum_faults full;
    size_t size = 0;
    eum_buf *buf = NULL;
    eum_status status = eum_struct_expect(&eum_faults_type, out, &size, &full);
    if (status == EUM_OK)
        status = eum_pin_buffer(buffer, &buf);
    if (status != EUM_OK)
        return status;
    status = eum_buf_faults(buf, &full);
    if (status == EUM_OK)
        eum_struct_give(&full, out, size);
    eum_handle_unpin(buffer);
    return status;
}
