/* map: the CPU's turn on a range.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <stdlib.h>

#include "buffer.h"
#include "move.h"
#include "trace.h"

/* What an empty buffer's map returns: never dereferenced, never NULL. */
static char nothing[64];

static bool unmovable(const eum_buf *buf)
{
    return buf->backing == EUM_BACKING_MANAGED && !buf->ctx->device->caps.concurrent_managed;
}

static eum_status add_lease(eum_buf *buf, size_t offset, size_t bytes, eum_access access, void **out, uint64_t *out_id)
{
    eum_status status = eum_buf_reserve_lease(buf);
    if (status != EUM_OK)
        return status;
    void *address = eum_buf_address(buf, offset, EUM_LOCATION_HOST);
    if (address == NULL)
        address = nothing;
    *out_id = ++buf->lease_id;
    buf->leases[buf->lease_count++] =
        (eum_lease){.begin = offset, .end = offset + bytes, .access = access, .address = address, .id = *out_id, .held = true};
    buf->ctx->stats.maps_live++;
    if (unmovable(buf) && bytes > 0)
        eum_budget_mapped(buf->ctx->budget, 1);
    *out = address;
    return EUM_OK;
}

/* The lease with this number; or, where that is 0, the newest map with this address. */
static bool remove_lease(eum_buf *buf, uint64_t id, const void *address)
{
    for (size_t i = buf->lease_count; i-- > 0;) {
        const eum_lease *lease = &buf->leases[i];
        if (lease->external || (id != 0 ? lease->id != id : lease->held || lease->address != address))
            continue;
        bool empty = lease->begin == lease->end;
        eum_buf_remove_lease(buf, i);
        buf->ctx->stats.maps_live--;
        if (unmovable(buf) && !empty)
            eum_budget_mapped(buf->ctx->budget, -1);
        return true;
    }
    return false;
}

/* Managed memory without concurrent access: the whole device must be idle before the CPU touches it. Lock held on entry and exit. */
static eum_status wait_for_device(eum_ctx *ctx)
{
    eum_ctx_unlock(ctx);
    eum_status status = ctx->device->ops->synchronize(ctx->device);
    eum_ctx_relock_to_use(ctx);
    return status;
}

typedef struct open_points {
    eum_ctx *ctx;
    eum_point first;
    bool found;
} open_points;

static void find_open(void *arg, eum_point point)
{
    open_points *open = arg;
    if (!open->found && !eum_point_passed(open->ctx, point)) {
        open->first = point;
        open->found = true;
    }
}

/* Waits for the jobs that conflict with the use, where nothing has to move. Lock held on entry and exit. */
static eum_status wait_for_conflicts(eum_buf *buf, const eum_use *use)
{
    eum_hazard_kind kind = use->access == EUM_ACCESS_READ ? EUM_HAZARD_READ : EUM_HAZARD_WRITE;
    for (;;) {
        open_points open = {.ctx = buf->ctx};
        eum_hazards_conflicts(&buf->hazards, use->begin, use->end, kind, 0, find_open, &open);
        if (!open.found)
            return EUM_OK;
        eum_ctx_unlock(buf->ctx);
        eum_status status = eum_point_wait(buf->ctx, open.first, -1);
        eum_ctx_relock_to_use(buf->ctx);
        if (status != EUM_OK)
            return status;
    }
}

/* Movements to the host go over the transfer stream. */
eum_status eum_buf_bring(eum_buf *buf, size_t offset, size_t bytes, eum_access access)
{
    eum_ctx *ctx = buf->ctx;
    eum_move move;
    eum_point point;
    eum_status status = EUM_OK;
    eum_move_init(&move, buf, offset, bytes, access, EUM_LOCATION_HOST);
    while (status == EUM_OK &&
           (eum_moves_must_wait(&move, 1, ctx->transfer, &point) || eum_move_must_wait_for_writers(&move, &point))) {
        eum_ctx_unlock(ctx);
        status = eum_point_wait(ctx, point, -1);
        eum_ctx_relock_to_use(ctx);
    }
    if (status == EUM_OK && !eum_moves_idle(&move, 1)) {
        bool moves = move.plan.count > 0;
        status = moves ? eum_moves_run(&move, 1, ctx->transfer) : wait_for_conflicts(buf, &move.use);
        if (status == EUM_OK && moves) {
            point = (eum_point){ctx->transfer->serial, ctx->transfer->sequence}; /* the movements' own, or they are done already */
            eum_ctx_unlock(ctx);
            status = eum_point_wait(ctx, point, -1);
            eum_ctx_relock_to_use(ctx);
        }
    }
    if (status == EUM_OK && move.plan.count == 0) {
        buf->last_movement = move.plan.discarded > 0 ? EUM_MOVEMENT_DISCARD : EUM_MOVEMENT_NONE;
        buf->last_bytes = 0;
        ctx->stats.bytes_discarded += move.plan.discarded;
    }
    if (status == EUM_OK && access != EUM_ACCESS_OVERWRITE &&
        eum_extents_any_flag(&buf->extents, offset, offset + bytes, EUM_EXTENT_UNDEFINED, NULL))
        status = eum_fail(EUM_ERROR_UNDEFINED_DATA,
                          "a job that was to write this range failed while the map waited for it; write it again");
    if (status == EUM_OK && access != EUM_ACCESS_READ) { /* the CPU has the bytes now: its writes are the newest */
        buf->version++;
        eum_extent_change change = eum_use_change(&move.use);
        size_t splits = eum_extents_splits(&buf->extents, offset) + eum_extents_splits(&buf->extents, offset + bytes);
        if (eum_extents_reserve_boundaries(&buf->extents, splits))
            eum_extents_change(&buf->extents, offset, offset + bytes, &change);
        else
            status = eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory to map a buffer; free some host memory");
    }
    eum_move_end(&move);
    return status;
}

static void hand_over(eum_buf *buf, uint64_t id)
{
    for (size_t i = 0; i < buf->lease_count; i++)
        if (buf->leases[i].id == id && !buf->leases[i].external)
            buf->leases[i].held = false;
}

typedef enum map_for { MAP_FOR_USER, MAP_FOR_LIBRARY, MAP_FOR_KERNEL } map_for;

static eum_status map(eum_range range, eum_access access, map_for whom, void **out, uint64_t *out_id)
{
    eum_buf *buf = range.buf;
    eum_ctx *ctx = buf->ctx;
    eum_status status = eum_buf_enter_to_use(buf, "eum_buffer_map");
    if (status != EUM_OK)
        return status;
    void *address = NULL;
    if (buf->backing == EUM_BACKING_DEVICE)
        status = eum_fail(EUM_ERROR_NO_HOST_ACCESS,
                          "the buffer wraps device memory, which the CPU cannot reach; use eum_buffer_read and "
                          "eum_buffer_write");
    if (status == EUM_OK)
        status = eum_buf_check_access(buf, range.offset, range.bytes, access);
    if (status == EUM_OK)
        status = add_lease(buf, range.offset, range.bytes, access, &address, out_id);
    if (status != EUM_OK) {
        eum_ctx_unlock(ctx);
        return status;
    }
    buf->references++;
    if (range.bytes > 0) {
        if (unmovable(buf))
            status = wait_for_device(ctx);
        if (status == EUM_OK)
            status = eum_buf_bring(buf, range.offset, range.bytes, access);
    }
    if (status == EUM_OK && range.bytes > 0 && ctx->device->ops->host_access != NULL)
        ctx->device->ops->host_access(ctx->device, &buf->memory, range.offset, range.bytes, access != EUM_ACCESS_READ);
    buf->references--;
    buf->maps++;
    if (status == EUM_OK && whom != MAP_FOR_KERNEL)
        eum_buf_used_by_host(buf, range.offset, range.bytes, access != EUM_ACCESS_READ);
    if (status != EUM_OK)
        (void)remove_lease(buf, *out_id, NULL);
    else if (whom == MAP_FOR_USER)
        hand_over(buf, *out_id);
    eum_ctx_unlock(ctx);
    if (status == EUM_OK)
        *out = address;
    return status;
}

eum_status eum_buf_map(eum_range range, eum_access access, void **out)
{
    uint64_t id = 0;
    EUM_TRACE_PUSH("engram_um: map", range.bytes);
    eum_status status = map(range, access, MAP_FOR_USER, out, &id);
    EUM_TRACE_POP();
    return status;
}

eum_status eum_buf_hold(eum_range range, eum_access access, void **out, uint64_t *out_id)
{
    return map(range, access, MAP_FOR_LIBRARY, out, out_id);
}

eum_status eum_buf_hold_for_kernel(eum_range range, eum_access access, void **out, uint64_t *out_id)
{
    return map(range, access, MAP_FOR_KERNEL, out, out_id);
}

void eum_buf_let_go(eum_buf *buf, uint64_t id)
{
    eum_ctx_relock_to_use(buf->ctx);
    (void)remove_lease(buf, id, NULL);
    eum_ctx_unlock(buf->ctx);
}

void eum_buf_let_go_until(eum_buf *buf, uint64_t id, size_t offset)
{
    eum_ctx_relock_to_use(buf->ctx);
    for (size_t i = 0; i < buf->lease_count; i++)
        if (buf->leases[i].id == id && !buf->leases[i].external)
            buf->leases[i].begin = offset;
    eum_ctx_unlock(buf->ctx);
}

eum_status eum_buf_unmap(eum_buf *buf, void *mapped)
{
    eum_status status = eum_buf_enter_to_use(buf, "eum_buffer_unmap");
    if (status != EUM_OK)
        return status;
    bool found = remove_lease(buf, 0, mapped);
    eum_ctx_unlock(buf->ctx);
    if (found)
        return EUM_OK;
    return eum_fail(EUM_ERROR_NOT_MAPPED, "no live map of this buffer has the address %p; pass what eum_buffer_map returned",
                    mapped);
}
