/* ownership: memory of somebody else's becomes a buffer, and a buffer's memory becomes somebody else's; see buffer.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "buffer.h"

/* ----------------------------------------------------------------------------------------------------- wrapping ---- */

static eum_status wrapped_backing(const eum_ctx *ctx, eum_buf *buf, eum_memory memory, bool registered)
{
    bool host_only = ctx->device->caps.kind == EUM_DEVICE_HOST;
    buf->backing_reason = EUM_BACKING_REASON_WRAPPED;
    switch (memory) {
    case EUM_MEMORY_HOST:
        buf->backing = host_only ? EUM_BACKING_HOST : registered ? EUM_BACKING_MAPPED : EUM_BACKING_MIRRORED;
        return EUM_OK;
    case EUM_MEMORY_PINNED:
        buf->backing = host_only ? EUM_BACKING_HOST : EUM_BACKING_MAPPED;
        return EUM_OK;
    case EUM_MEMORY_MANAGED:
        buf->backing = EUM_BACKING_MANAGED;
        break;
    default:
        buf->backing = EUM_BACKING_DEVICE;
        break;
    }
    if (host_only)
        return eum_fail(EUM_ERROR_NOT_SUPPORTED,
                        "%s memory was wrapped in a context without a device; wrap host memory, or make the "
                        "context on the device",
                        memory == EUM_MEMORY_MANAGED ? "managed" : "device");
    return EUM_OK;
}

static void init_wrapped_extents(eum_buf *buf)
{
    switch (buf->backing) {
    case EUM_BACKING_MANAGED: /* somebody else moved its pages */
        eum_extents_init(&buf->extents, buf->bytes, 0, EUM_EXTENT_ASTRAY);
        break;
    case EUM_BACKING_DEVICE:
        eum_extents_init(&buf->extents, buf->bytes, eum_at(buf->ctx->device->caps.index), 0);
        break;
    default:
        eum_extents_init(&buf->extents, buf->bytes, EUM_AT_HOST, 0);
        break;
    }
}

eum_status eum_buf_wrap(eum_ctx *ctx, const eum_wrap_config *config, eum_buf **out)
{
    eum_status status = eum_ctx_check_device(ctx, "eum_buffer_wrap");
    if (status != EUM_OK)
        return status;
    eum_buf *buf = calloc(1, sizeof *buf);
    if (buf == NULL)
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory for a buffer; free some host memory");
    buf->ctx = ctx;
    buf->bytes = config->bytes;
    buf->role = config->role;
    buf->ownership = config->ownership;
    buf->wrapped = true;
    buf->read_only = (config->flags & EUM_WRAP_READ_ONLY) != 0;
    buf->release = config->release;
    buf->release_user = config->release_user;
    bool reg = (config->flags & EUM_WRAP_REGISTER) != 0;
    status = eum_ctx_lock(ctx, "eum_buffer_wrap");
    if (status != EUM_OK) {
        free(buf);
        return status;
    }
    status = wrapped_backing(ctx, buf, config->memory, reg);
    if (status == EUM_OK && config->bytes > 0)
        status = ctx->device->ops->adopt(ctx->device, config->memory, config->address, config->bytes, reg, &buf->memory);
    if (status == EUM_OK) {
        if (config->bytes == 0)
            buf->memory.host = config->address;
        init_wrapped_extents(buf);
        eum_ctx_hold(ctx);
        eum_buf_count_live(buf);
        *out = buf;
    }
    eum_ctx_unlock(ctx);
    if (status != EUM_OK)
        free(buf);
    return status;
}

/* ----------------------------------------------------------------------------------------------------- into_raw ---- */

static void release_nothing(void *user, void *address, size_t bytes)
{
    (void)user;
    (void)address;
    (void)bytes;
}

static void give_up(eum_buf *buf, eum_raw *raw)
{
    eum_ctx *ctx = buf->ctx;
    *raw = (eum_raw){
        .struct_size = sizeof *raw, .address = buf->memory.host, .device_address = buf->memory.device, .bytes = buf->bytes};
    raw->memory = buf->memory.bytes != 0 ? buf->memory.kind : EUM_MEMORY_HOST;
    if (buf->wrapped) {
        raw->release = buf->release;
        raw->release_user = buf->release_user;
        eum_buf_drop_mirror(buf);
        eum_buf_release(buf, &buf->memory); /* un-adopts */
    } else if (buf->memory.bytes == 0) {
        raw->release = release_nothing;
    } else {
        ctx->stats.raw_given_up[buf->memory.kind]++;
        if (buf->memory.kind == EUM_MEMORY_PINNED)
            ctx->pinned -= buf->memory.bytes;
        ctx->device->ops->give_up(ctx->device, &buf->memory, &raw->release, &raw->release_user);
        memset(&buf->memory, 0, sizeof buf->memory);
        eum_buf_drop_mirror(buf);
    }
    buf->given_up = true;
}

eum_status eum_buf_into_raw(eum_buf *buf, eum_raw *out)
{
    eum_ctx *ctx = buf->ctx;
    if (buf->wrapped && buf->ownership == EUM_BORROWED)
        return eum_fail(EUM_ERROR_NOT_OWNED, "a borrowed buffer owns no memory that could be given up; destroy it instead");
    void *mapped = NULL;
    uint64_t lease = 0;
    eum_status status = EUM_OK;
    if (buf->backing != EUM_BACKING_DEVICE)
        status = eum_buf_hold((eum_range){buf, 0, buf->bytes}, buf->read_only ? EUM_ACCESS_READ : EUM_ACCESS_READ_WRITE, &mapped,
                              &lease);
    if (status != EUM_OK)
        return status;
    status = eum_buf_enter(buf, "eum_buffer_into_raw");
    if (status != EUM_OK)
        return status;
    if (buf->lease_count != (buf->backing != EUM_BACKING_DEVICE ? 1u : 0u)) { /* an acquisition counts as well */
        eum_ctx_unlock(ctx);
        if (mapped != NULL)
            eum_buf_let_go(buf, lease);
        return eum_fail(EUM_ERROR_MAPPED,
                        "the buffer is mapped, acquired, or in another thread's call; unmap it, release it, or let the "
                        "call return before giving it up");
    }
    eum_buf_wait_until_unused(buf);
    if (buf->given_up) { /* by another thread, while this one waited */
        eum_ctx_unlock(ctx);
        return eum_fail(EUM_ERROR_INVALID_HANDLE, "the buffer's memory was given up by eum_buffer_into_raw; use the raw address");
    }
    give_up(buf, out);
    eum_ctx_unlock(ctx);
    return EUM_OK;
}
