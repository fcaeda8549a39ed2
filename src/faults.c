/* faults: see faults.h and docs/verification.md.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "faults.h"

#include "buffer.h"

static eum_status settle(eum_ctx *ctx)
{
    return ctx->device->ops->synchronize(ctx->device);
}

eum_status eum_ctx_faults_begin(eum_ctx *ctx)
{
    eum_status status = settle(ctx);
    if (status != EUM_OK)
        return status;
    status = eum_ctx_lock(ctx, "eum_faults_begin");
    if (status != EUM_OK)
        return status;
    const struct eum_device_ops *ops = ctx->device->ops;
    if (ctx->windows.state == EUM_WINDOW_OPEN)
        status = eum_fail(EUM_ERROR_INVALID_STATE, "a window is open already; call eum_faults_end first");
    else if (ops->count_begin != NULL)
        status = ops->count_begin(ctx->device);
    if (status == EUM_OK) {
        ctx->windows.number++;
        ctx->windows.state = EUM_WINDOW_OPEN;
        ctx->windows.copied = (eum_copied){.window = ctx->windows.number};
    }
    eum_ctx_unlock(ctx);
    return status;
}

static void read_counts(eum_ctx *ctx, const eum_block *block, const eum_copied *copied, eum_faults *out)
{
    *out = (eum_faults){.struct_size = sizeof *out, .source = EUM_FAULT_SOURCE_NONE};
    if (ctx->device->ops->count_read != NULL)
        ctx->device->ops->count_read(ctx->device, block, out);
    if (copied->window == ctx->windows.number) {
        out->bytes_copied_to_device = copied->to_device;
        out->bytes_copied_to_host = copied->to_host;
    }
}

eum_status eum_ctx_faults_end(eum_ctx *ctx, eum_faults *out)
{
    eum_status status = settle(ctx);
    if (status != EUM_OK)
        return status;
    status = eum_ctx_lock(ctx, "eum_faults_end");
    if (status != EUM_OK)
        return status;
    if (ctx->windows.state != EUM_WINDOW_OPEN) {
        eum_ctx_unlock(ctx);
        return eum_fail(EUM_ERROR_INVALID_STATE, "no window is open; call eum_faults_begin first");
    }
    const struct eum_device_ops *ops = ctx->device->ops;
    status = ops->count_end != NULL ? ops->count_end(ctx->device) : EUM_OK;
    ctx->windows.state = EUM_WINDOW_ENDED;
    ctx->windows.status = status;
    if (status == EUM_OK)
        read_counts(ctx, NULL, &ctx->windows.copied, out);
    eum_ctx_unlock(ctx);
    return status;
}

eum_status eum_buf_faults(eum_buf *buf, eum_faults *out)
{
    eum_ctx *ctx = buf->ctx;
    eum_status status = eum_buf_enter(buf, "eum_buffer_faults");
    if (status != EUM_OK)
        return status;
    if (ctx->windows.state != EUM_WINDOW_ENDED)
        status = eum_fail(EUM_ERROR_INVALID_STATE, "no window has ended: call eum_faults_begin, then eum_faults_end, then ask");
    else if (ctx->windows.status != EUM_OK)
        status = eum_fail(ctx->windows.status, "the counts of the last window are unknown; count again");
    else if (buf->backing == EUM_BACKING_MANAGED && buf->memory.bytes > 0)
        read_counts(ctx, &buf->memory, &buf->copied, out);
    else {
        *out = (eum_faults){.struct_size = sizeof *out, .source = EUM_FAULT_SOURCE_NONE};
        if (buf->copied.window == ctx->windows.number) {
            out->bytes_copied_to_device = buf->copied.to_device;
            out->bytes_copied_to_host = buf->copied.to_host;
        }
    }
    eum_ctx_unlock(ctx);
    return status;
}

void eum_faults_copied(eum_buf *buf, uint64_t bytes, bool to_host)
{
    eum_windows *windows = &buf->ctx->windows;
    if (windows->state != EUM_WINDOW_OPEN)
        return;
    if (buf->copied.window != windows->number)
        buf->copied = (eum_copied){.window = windows->number};
    eum_copied *both[2] = {&buf->copied, &windows->copied};
    for (int i = 0; i < 2; i++) {
        if (to_host)
            both[i]->to_host += bytes;
        else
            both[i]->to_device += bytes;
    }
}
