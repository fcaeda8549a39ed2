/* buffer: buffers in the C ABI: made, adopted, given up, ended.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "arguments.h"
#include "objects.h"
#include "structs.h"

static void finalize_buffer(void *object)
{
    eum_buf_end(object);
}

eum_status eum_buffer_create(eum_context *context, size_t bytes, const eum_buffer_config *config, eum_buffer **out)
{
    eum_buffer_config full;
    eum_context_object *owner = NULL;
    eum_buf *buf = NULL;
    void *handle = NULL;
    eum_status status = eum_check_pointer("out", out);
    if (status == EUM_OK)
        status = eum_struct_take(&eum_buffer_config_type, config, &full);
    if (status == EUM_OK)
        status = eum_check_role(full.role);
    if (status == EUM_OK)
        status = eum_check_backing(full.backing);
    if (status == EUM_OK)
        status = eum_check_flags("eum_buffer_config.flags", full.flags, EUM_BUFFER_ZEROED);
    if (status == EUM_OK)
        status = eum_check_zero("eum_buffer_config.reserved", full.reserved);
    if (status == EUM_OK)
        status = eum_check_size("bytes", bytes);
    if (status == EUM_OK)
        status = eum_pin_context(context, &owner);
    if (status != EUM_OK)
        return status;

    status = eum_handle_reserve(EUM_HANDLE_BUFFER, &handle);
    if (status == EUM_OK)
        status = eum_buf_create(owner->ctx, bytes, &full, &buf);
    if (status == EUM_OK) {
        eum_handle_publish(handle, buf, finalize_buffer);
        *out = handle;
    } else if (handle != NULL) {
        eum_handle_cancel(handle);
    }
    eum_handle_unpin(context);
    return status;
}

static eum_status check_wrapped_range(const eum_wrap_config *config)
{
    if (config->address == NULL && config->bytes != 0)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "address is NULL for %zu bytes; pass where the memory is", config->bytes);
    eum_status status = eum_check_size("eum_wrap_config.bytes", config->bytes);
    if (status == EUM_OK && config->bytes > UINTPTR_MAX - (uintptr_t)config->address)
        return eum_fail(EUM_ERROR_SIZE_OVERFLOW, "address %p + %zu bytes goes beyond the end of the address space; check both",
                        config->address, config->bytes);
    return status;
}

static eum_status check_wrap_config(const eum_wrap_config *config)
{
    eum_status status = eum_check_enum("memory", config->memory, EUM_MEMORY_HOST, EUM_MEMORY_DEVICE, "EUM_MEMORY_*");
    if (status == EUM_OK)
        status = eum_check_enum("ownership", config->ownership, EUM_OWNED, EUM_BORROWED, "EUM_OWNED, EUM_BORROWED");
    if (status == EUM_OK)
        status = eum_check_role(config->role);
    if (status == EUM_OK)
        status = eum_check_flags("eum_wrap_config.flags", config->flags, EUM_WRAP_READ_ONLY | EUM_WRAP_REGISTER);
    if (status == EUM_OK)
        status = check_wrapped_range(config);
    if (status != EUM_OK)
        return status;
    if (config->ownership == EUM_OWNED && config->release == NULL)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT,
                        "release is NULL and ownership is EUM_OWNED; pass the function that frees the memory, or "
                        "EUM_BORROWED");
    if (config->ownership == EUM_BORROWED && config->release != NULL)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT,
                        "release is given and ownership is EUM_BORROWED, so it would never be called; pass NULL, or "
                        "EUM_OWNED");
    if ((config->flags & EUM_WRAP_REGISTER) != 0 && config->memory != EUM_MEMORY_HOST)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT,
                        "EUM_WRAP_REGISTER pins plain host memory, and memory is %d; leave it out, or pass "
                        "EUM_MEMORY_HOST",
                        (int)config->memory);
    return EUM_OK;
}

eum_status eum_buffer_wrap(eum_context *context, const eum_wrap_config *config, eum_buffer **out)
{
    eum_wrap_config full;
    eum_context_object *owner = NULL;
    eum_buf *buf = NULL;
    void *handle = NULL;
    eum_status status = eum_check_pointer("out", out);
    if (status == EUM_OK)
        status = eum_struct_take(&eum_wrap_config_type, config, &full);
    if (status == EUM_OK)
        status = check_wrap_config(&full);
    if (status == EUM_OK)
        status = eum_pin_context(context, &owner);
    if (status != EUM_OK)
        return status;

    /* The handle first: once the memory is adopted there is no way back that would not call its release function. */
    status = eum_handle_reserve(EUM_HANDLE_BUFFER, &handle);
    if (status == EUM_OK)
        status = eum_buf_wrap(owner->ctx, &full, &buf);
    if (status == EUM_OK) {
        eum_handle_publish(handle, buf, finalize_buffer);
        *out = handle;
    } else if (handle != NULL) {
        eum_handle_cancel(handle);
    }
    eum_handle_unpin(context);
    return status;
}

/* Ends the handle of a buffer that has given up its memory. Somebody else may have ended it meanwhile; that is not this call's failure. */
static void retire_emptied(eum_buffer *buffer)
{
    eum_error before = EUM_ERROR_INIT;
    eum_error_save(&before);
    if (eum_handle_retire(buffer, EUM_HANDLE_BUFFER, false) != EUM_OK)
        eum_error_restore(&before);
}

eum_status eum_buffer_into_raw(eum_buffer *buffer, eum_raw *out)
{
    eum_raw full;
    size_t size = 0;
    eum_buf *buf = NULL;
    eum_status status = eum_struct_expect(&eum_raw_type, out, &size, &full);
    if (status == EUM_OK)
        status = eum_check_may_wait("eum_buffer_into_raw");
    if (status == EUM_OK)
        status = eum_pin_buffer(buffer, &buf);
    if (status != EUM_OK)
        return status;
    status = eum_buf_into_raw(buf, &full);
    if (status == EUM_OK) {
        eum_struct_give(&full, out, size);
        retire_emptied(buffer);
    }
    eum_handle_unpin(buffer);
    return status;
}

eum_status eum_buffer_destroy(eum_buffer *buffer)
{
    if (buffer == NULL)
        return EUM_OK;
    eum_buf *buf = NULL;
    eum_status status = eum_pin_buffer(buffer, &buf);
    if (status != EUM_OK)
        return status;
    bool wrapped = eum_buf_is_wrapped(buf);
    eum_handle_unpin(buffer);
    if (wrapped)
        status = eum_check_may_wait("eum_buffer_destroy of a wrapped buffer");
    return status == EUM_OK ? eum_handle_retire(buffer, EUM_HANDLE_BUFFER, wrapped) : status;
}

eum_status eum_buffer_set_role(eum_buffer *buffer, eum_role role)
{
    eum_buf *buf = NULL;
    eum_status status = eum_check_role(role);
    if (status == EUM_OK)
        status = eum_pin_buffer(buffer, &buf);
    if (status != EUM_OK)
        return status;
    status = eum_buf_set_role(buf, role);
    eum_handle_unpin(buffer);
    return status;
}
