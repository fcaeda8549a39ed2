/* block: the memory of buffers, from the pool or from the device, and back.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <string.h>

#include "buffer.h"

static bool counts_in_budget(eum_memory kind)
{
    return kind == EUM_MEMORY_MANAGED || kind == EUM_MEMORY_DEVICE;
}

static eum_status allocate_raw(eum_buf *buf, eum_memory kind, size_t bytes, eum_block *block)
{
    eum_ctx *ctx = buf->ctx;
    bool on_device = counts_in_budget(kind);
    bool oversubscribe = kind == EUM_MEMORY_MANAGED && (ctx->flags & EUM_CONTEXT_OVERSUBSCRIBE) != 0;
    const char *what = kind == EUM_MEMORY_MANAGED ? "a managed buffer" : "the device copy of a buffer";
    eum_status status = on_device ? eum_budget_take(ctx->budget, bytes, oversubscribe, what) : EUM_OK;
    if (status != EUM_OK)
        return status;
    status = ctx->device->ops->alloc(ctx->device, kind, bytes, block);
    if (status != EUM_OK) {
        if (on_device)
            eum_budget_return(ctx->budget, bytes);
        return status;
    }
    if (on_device)
        buf->budgeted += bytes;
    if (kind == EUM_MEMORY_PINNED)
        ctx->pinned += bytes;
    ctx->stats.raw_allocations[kind]++;
    return EUM_OK;
}

/* *out_where: where the pages of a managed block are, whatever is in them; 0 for others. Windows count faults and movements by address, so while
 * one is open addresses do not change hands. */
static bool take_from_pool(eum_buf *buf, eum_memory kind, size_t bytes, eum_block *block, eum_locations *out_where)
{
    eum_ctx *ctx = buf->ctx;
    *out_where = kind == EUM_MEMORY_MANAGED ? EUM_AT_HOST : 0;
    if (ctx->windows.state == EUM_WINDOW_OPEN || !eum_pool_take(&ctx->pool, kind, bytes, *out_where, block)) {
        *out_where = 0;
        if (ctx->windows.state == EUM_WINDOW_OPEN || !eum_pool_take(&ctx->pool, kind, bytes, 0, block))
            return false;
    }
    if (counts_in_budget(kind))
        buf->budgeted += block->bytes;
    return true;
}

bool eum_buf_exceeds_budget(const eum_buf *buf, size_t bytes)
{
    uint64_t limit, used;
    eum_budget_read(buf->ctx->budget, &limit, &used);
    return bytes > limit;
}

/* From the pool, or from the device, for which the pool makes room. */
eum_status eum_buf_allocate(eum_buf *buf, eum_memory kind, size_t bytes, eum_block *block, eum_locations *out_where)
{
    eum_ctx *ctx = buf->ctx;
    if (take_from_pool(buf, kind, bytes, block, out_where)) {
        ctx->stats.pool_hits++;
        return EUM_OK;
    }
    ctx->stats.pool_misses++;
    eum_error before;
    eum_error_save(&before);
    eum_status status = allocate_raw(buf, kind, bytes, block);
    bool no_room = status == EUM_ERROR_OVER_BUDGET || status == EUM_ERROR_OUT_OF_DEVICE_MEMORY || status == EUM_ERROR_OUT_OF_MEMORY;
    bool hopeless = status == EUM_ERROR_OVER_BUDGET && eum_buf_exceeds_budget(buf, bytes);
    if (!no_room || hopeless || !eum_ctx_trim_pool(ctx, 0))
        return status;
    eum_error_restore(&before);
    return allocate_raw(buf, kind, bytes, block);
}

/* Can the next buffer use this managed block as it is? Only if all of its pages are on the host (the CPU is the first to use most buffers), or
 * none was ever touched, and they carry no advice; that of in-place use is taken back. *out_where: EUM_AT_HOST or 0. */
static bool settle(eum_buf *buf, const eum_block *block, eum_locations *out_where)
{
    const eum_device_caps *caps = &buf->ctx->device->caps;
    const struct eum_device_ops *ops = buf->ctx->device->ops;
    eum_locations all = buf->extents.items[0].valid, mapped = 0;
    bool advised = buf->preferred;
    for (size_t i = 0; i < buf->extents.count; i++) {
        const eum_extent *e = &buf->extents.items[i];
        if ((e->flags & (EUM_EXTENT_READ_MOSTLY | EUM_EXTENT_ASTRAY | EUM_EXTENT_STUCK)) != 0 || e->valid != all)
            return false;
        mapped |= e->accessed_by;
    }
    if (!caps->concurrent_managed || (all & ~EUM_AT_HOST) != 0)
        return false;
    eum_status status = EUM_OK;
    eum_error saved;
    eum_error_save(&saved);
    advised |= mapped != 0;
    if (mapped != 0)
        status = ops->advise(buf->ctx->device, block, 0, block->bytes, EUM_ADVICE_UNSET_ACCESSED_BY, caps->index);
    if (status == EUM_OK && advised)
        status = ops->advise(buf->ctx->device, block, 0, block->bytes, EUM_ADVICE_UNSET_PREFERRED_LOCATION, caps->index);
    eum_error_restore(&saved);
    *out_where = all;
    return status == EUM_OK;
}

static bool pool(eum_buf *buf, const eum_block *block)
{
    eum_ctx *ctx = buf->ctx;
    eum_locations where = 0;
    if (block->bytes > ctx->pool.cap)
        return false;
    if (block->kind == EUM_MEMORY_MANAGED) {
        if (!settle(buf, block, &where))
            return false;
    }
#ifndef NDEBUG
    if (block->kind == EUM_MEMORY_HOST || block->kind == EUM_MEMORY_PINNED)
        memset(block->host, 0xdb, block->bytes); /* who uses it after its end sees it */
#endif
    if (!eum_pool_put(&ctx->pool, block, where))
        return false;
    (void)eum_ctx_trim_pool(ctx, ctx->pool.cap);
    return true;
}

void eum_buf_release(eum_buf *buf, eum_block *block)
{
    eum_ctx *ctx = buf->ctx;
    if (block->bytes == 0)
        return;
    if (block->adopted) {
        ctx->device->ops->unadopt(ctx->device, block);
    } else {
        bool budgeted = counts_in_budget(block->kind);
        if (budgeted)
            buf->budgeted -= block->bytes;
        if (!pool(buf, block)) {
            if (budgeted)
                eum_budget_return(ctx->budget, block->bytes);
            ctx->stats.raw_frees[block->kind]++;
            if (block->kind == EUM_MEMORY_PINNED)
                ctx->pinned -= block->bytes;
            ctx->device->ops->release(ctx->device, block);
        }
    }
    memset(block, 0, sizeof *block);
}
