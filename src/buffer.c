/* buffer: life and state of a buffer; see buffer.h. Wrapping and giving up are in ownership.c, leases in lease.c, maps in map.c, transfers in
 * transfer.c.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "buffer.h"
#include "norms.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "stream.h"

/* --------------------------------------------------------------------------------------------------- small things -- */

size_t eum_buf_bytes(const eum_buf *buf)
{
    return buf->bytes;
}

bool eum_buf_aligned(const eum_buf *buf, size_t to)
{
    const void *address = buf->memory.host != NULL ? buf->memory.host : buf->memory.device;
    return (uintptr_t)address % to == 0;
}

bool eum_buf_is_wrapped(const eum_buf *buf)
{
    return buf->wrapped;
}

eum_ctx *eum_buf_context(const eum_buf *buf)
{
    return buf->ctx;
}

uint64_t eum_buf_extent_bytes(const eum_buf *buf)
{
    return buf->extents.count == 0 ? 0 : buf->extents.items[buf->extents.count - 1].end;
}

static eum_status check_live(eum_buf *buf)
{
    if (!buf->given_up)
        return EUM_OK;
    eum_ctx_unlock(buf->ctx);
    return eum_fail(EUM_ERROR_INVALID_HANDLE, "the buffer's memory was given up by eum_buffer_into_raw; use the raw address");
}

eum_status eum_buf_enter(eum_buf *buf, const char *function)
{
    eum_status status = eum_ctx_lock(buf->ctx, function);
    return status == EUM_OK ? check_live(buf) : status;
}

eum_status eum_buf_enter_to_use(eum_buf *buf, const char *function)
{
    eum_status status = eum_ctx_lock_to_use(buf->ctx, function);
    return status == EUM_OK ? check_live(buf) : status;
}

void *eum_buf_address(const eum_buf *buf, size_t offset, eum_location where)
{
    const eum_block *block = &buf->memory;
    if (where != EUM_LOCATION_HOST && buf->backing == EUM_BACKING_MIRRORED)
        block = &buf->mirror;
    char *base = where == EUM_LOCATION_HOST ? block->host : block->device;
    return base == NULL ? NULL : base + offset;
}

void eum_buf_use(const eum_buf *buf, size_t offset, size_t bytes, eum_access access, eum_location where, eum_use *out)
{
    const eum_device_caps *caps = &buf->ctx->device->caps;
    bool managed = buf->backing == EUM_BACKING_MANAGED;
    *out = (eum_use){.begin = offset,
                     .end = offset + bytes,
                     .access = access,
                     .where = where,
                     .backing = buf->backing,
                     .role = buf->role,
                     .page = managed ? caps->page : 1,
                     .skew = managed ? (uintptr_t)buf->memory.host % caps->page : 0,
                     .bytes = eum_buf_extent_bytes(buf),
                     .length = buf->bytes,
                     .can_discard = (caps->discard || caps->overwrite_moves) && !buf->wrapped,
                     .concurrent = caps->concurrent_managed};
}

/* ----------------------------------------------------------------------------------------------------- creation ---- */

void eum_buf_count_live(eum_buf *buf)
{
    eum_stats *stats = &buf->ctx->stats;
    if (++stats->buffers_live > stats->buffers_peak)
        stats->buffers_peak = stats->buffers_live;
    if (!buf->wrapped)
        stats->bytes_live += buf->bytes;
    if (stats->bytes_live > stats->bytes_peak)
        stats->bytes_peak = stats->bytes_live;
}

static void link_mirror(eum_buf *buf)
{
    buf->older = buf->ctx->mirrored;
    buf->newer = NULL;
    if (buf->older != NULL)
        buf->older->newer = buf;
    buf->ctx->mirrored = buf;
}

static void unlink_mirror(eum_buf *buf)
{
    if (buf->newer != NULL)
        buf->newer->older = buf->older;
    else
        buf->ctx->mirrored = buf->older;
    if (buf->older != NULL)
        buf->older->newer = buf->newer;
    buf->newer = buf->older = NULL;
}

eum_status eum_buf_need_device_side(eum_buf *buf)
{
    bool mirrored = buf->backing == EUM_BACKING_MIRRORED;
    eum_block *block = mirrored ? &buf->mirror : &buf->memory;
    if (block->bytes != 0)
        return EUM_OK;
    eum_locations where;
    eum_status status = eum_buf_allocate(buf, EUM_MEMORY_DEVICE, buf->bytes, block, &where);
    if (status == EUM_OK && mirrored)
        link_mirror(buf);
    return status;
}

void eum_buf_drop_mirror(eum_buf *buf)
{
    if (buf->mirror.bytes == 0)
        return;
    unlink_mirror(buf);
    eum_buf_release(buf, &buf->mirror);
    eum_extent_change change = EUM_EXTENT_CHANGE_NONE;
    change.valid_keep = EUM_AT_HOST;
    if (buf->extents.count > 0) /* of all: it splits nothing, so it needs no room */
        eum_extents_change(&buf->extents, 0, buf->extents.items[buf->extents.count - 1].end, &change);
}

void eum_buf_touch_mirror(eum_buf *buf)
{
    if (buf->mirror.bytes == 0 || buf->ctx->mirrored == buf)
        return;
    unlink_mirror(buf);
    link_mirror(buf);
}

static eum_memory kind_of(eum_backing backing)
{
    switch (backing) {
    case EUM_BACKING_MANAGED:
        return EUM_MEMORY_MANAGED;
    case EUM_BACKING_HOST:
        return EUM_MEMORY_HOST;
    case EUM_BACKING_DEVICE:
        return EUM_MEMORY_DEVICE;
    default:
        return EUM_MEMORY_PINNED;
    }
}

static size_t round_up(size_t bytes, size_t granule)
{
    size_t up = (bytes + granule - 1) / granule * granule;
    return up < bytes ? bytes : up;
}

static eum_status choose_backing(eum_ctx *ctx, eum_backing asked, eum_buf *buf)
{
    eum_backing_answer answer = eum_ctx_choose_backing(ctx, asked, buf->bytes);
    if (asked == EUM_BACKING_DEVICE) /* the library's own scratch memory: users cannot ask for it */
        answer.backing = asked;
    if (answer.backing == EUM_BACKING_AUTO)
        return eum_fail(EUM_ERROR_NOT_SUPPORTED, "the backing \"%s\" does not exist on device \"%s\"; use EUM_BACKING_AUTO",
                        eum_backing_name(asked), ctx->device->caps.name);
    buf->backing = answer.backing;
    buf->backing_reason = answer.reason;
    return EUM_OK;
}

static eum_status create_locked(eum_buf *buf)
{
    eum_ctx *ctx = buf->ctx;
    const eum_device_caps *caps = &ctx->device->caps;
    if (buf->bytes == 0) {
        eum_extents_init(&buf->extents, 0, 0, 0);
        return EUM_OK;
    }
    if (buf->backing == EUM_BACKING_DEVICE) { /* allocated by its first launch, which can make room */
        eum_extents_init(&buf->extents, buf->bytes, eum_at(caps->index), 0);
        return EUM_OK;
    }
    size_t bytes = buf->bytes;
    if (buf->backing == EUM_BACKING_MANAGED)
        bytes = round_up(bytes, bytes >= caps->block ? caps->block : caps->page);
    bool managed = buf->backing == EUM_BACKING_MANAGED;
    eum_locations where;
    eum_status status = eum_buf_allocate(buf, kind_of(buf->backing), bytes, &buf->memory, &where);
    if (status != EUM_OK)
        return status;
    eum_locations valid = EUM_AT_HOST;
    if (managed)
        valid = where;
    else if (buf->backing == EUM_BACKING_MIRRORED)
        valid = 0;
    eum_extents_init(&buf->extents, managed ? buf->memory.bytes : buf->bytes, valid, 0);
    return EUM_OK;
}

static eum_status zero(eum_buf *buf)
{
    void *address;
    uint64_t lease;
    eum_status status = eum_buf_hold((eum_range){buf, 0, buf->bytes}, EUM_ACCESS_OVERWRITE, &address, &lease);
    if (status != EUM_OK)
        return status;
    memset(address, 0, buf->bytes);
    eum_buf_let_go(buf, lease);
    return EUM_OK;
}

eum_status eum_buf_create(eum_ctx *ctx, size_t bytes, const eum_buffer_config *config, eum_buf **out)
{
    if (bytes > SIZE_MAX / 2)
        return eum_fail(EUM_ERROR_SIZE_OVERFLOW,
                        "a buffer of %zu bytes is larger than any address space; check how the size was computed", bytes);
    bool zeroed = (config->flags & EUM_BUFFER_ZEROED) != 0 && bytes > 0;
    bool waits = zeroed && ctx->device->caps.kind != EUM_DEVICE_HOST; /* its pages are brought to the CPU first */
    eum_status status = waits ? eum_check_may_wait("eum_buffer_create with EUM_BUFFER_ZEROED") : EUM_OK;
    if (status == EUM_OK)
        status = eum_ctx_check_device(ctx, "eum_buffer_create");
    if (status != EUM_OK)
        return status;
    eum_buf *buf = calloc(1, sizeof *buf);
    if (buf == NULL)
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory for a buffer; free some host memory");
    buf->ctx = ctx;
    buf->bytes = bytes;
    buf->role = config->role;
    buf->ownership = EUM_OWNED;
    status = eum_ctx_lock(ctx, "eum_buffer_create");
    if (status != EUM_OK) {
        free(buf);
        return status;
    }
    eum_ctx_reap(ctx);
    status = choose_backing(ctx, config->backing, buf);
    if (status == EUM_OK)
        status = create_locked(buf);
    if (status != EUM_OK) {
        eum_ctx_unlock(ctx);
        free(buf);
        return status;
    }
    eum_ctx_hold(ctx);
    eum_buf_count_live(buf);
    eum_ctx_unlock(ctx);
    if (zeroed) {
        status = zero(buf);
        if (status != EUM_OK) {
            eum_error saved;
            eum_error_save(&saved);
            eum_buf_end(buf);
            eum_error_restore(&saved);
            return status;
        }
    }
    *out = buf;
    return EUM_OK;
}

/* -------------------------------------------------------------------------------------------------------- end ------ */

static void free_buffer(eum_buf *buf)
{
    eum_buf_drop_mirror(buf);
    eum_buf_release(buf, &buf->memory);
    if (buf->budgeted != 0)
        eum_budget_return(buf->ctx->budget, buf->budgeted);
    eum_extents_free(&buf->extents);
    eum_hazards_free(&buf->hazards);
    eum_norms_drop(buf);
    free(buf->leases);
    free(buf);
}

bool eum_buf_reap(eum_buf *buf)
{
    if (buf->references != 0)
        return false;
    eum_hazards_prune(&buf->hazards, eum_point_passed_in, buf->ctx);
    if (buf->hazards.count != 0)
        return false;
    free_buffer(buf);
    return true;
}

void eum_buf_wait_until_unused(eum_buf *buf)
{
    eum_ctx *ctx = buf->ctx;
    for (;;) {
        eum_hazards_prune(&buf->hazards, eum_point_passed_in, ctx);
        if (buf->hazards.count == 0)
            return;
        eum_point point = buf->hazards.items[0].point;
        eum_ctx_unlock(ctx);
        (void)eum_point_wait(ctx, point, -1);
        eum_ctx_relock(ctx);
    }
}

/* The owner of wrapped host memory gets in it what kernels wrote. Lock held on entry and exit. */
static void bring_home(eum_buf *buf)
{
    if (buf->backing != EUM_BACKING_MIRRORED || buf->read_only || buf->bytes == 0)
        return;
    eum_error saved;
    eum_error_save(&saved);
    eum_status status = eum_buf_bring(buf, 0, buf->bytes, EUM_ACCESS_READ);
    if (status != EUM_OK && status != EUM_ERROR_UNDEFINED_DATA)
        eum_log_write(&buf->ctx->log, EUM_LOG_ERROR,
                      "a wrapped buffer ended, and what kernels wrote could not be copied back to it: %s", eum_status_name(status));
    eum_error_restore(&saved);
}

void eum_buf_end(eum_buf *buf)
{
    eum_ctx *ctx = buf->ctx;
    eum_ctx_relock(ctx);
    uint32_t maps = (uint32_t)buf->lease_count - buf->acquired;
    ctx->stats.maps_live -= maps;
    for (size_t i = 0; i < buf->lease_count; i++)
        if (buf->backing == EUM_BACKING_MANAGED && !ctx->device->caps.concurrent_managed && !buf->leases[i].external &&
            buf->leases[i].begin != buf->leases[i].end)
            eum_budget_mapped(ctx->budget, -1);
    buf->acquired = 0;
    buf->lease_count = 0;
    buf->ended = true;
    ctx->stats.buffers_live--;
    if (!buf->wrapped)
        ctx->stats.bytes_live -= buf->bytes;
    if (!buf->wrapped || buf->given_up) {
        buf->next_dead = ctx->graveyard;
        ctx->graveyard = buf;
        if (!ctx->submitting)
            eum_ctx_reap(ctx);
        pthread_mutex_unlock(&ctx->lock);
    } else {
        bring_home(buf);
        eum_buf_wait_until_unused(buf);
        eum_release_fn release = buf->ownership == EUM_OWNED ? buf->release : NULL;
        void *user = buf->release_user;
        void *address = buf->memory.host != NULL ? buf->memory.host : buf->memory.device;
        size_t bytes = buf->bytes;
        free_buffer(buf);
        pthread_mutex_unlock(&ctx->lock);
        if (release != NULL)
            release(user, address, bytes);
    }
    eum_ctx_drop(ctx);
}

/* ------------------------------------------------------------------------------------------- role, info, explain --- */

eum_status eum_buf_set_role(eum_buf *buf, eum_role role)
{
    eum_status status = eum_buf_enter(buf, "eum_buffer_set_role");
    if (status != EUM_OK)
        return status;
    if (buf->role != role) {
        memset(&buf->habit, 0, sizeof buf->habit);
        buf->brief_times = 0;
    }
    buf->role = role;
    eum_ctx_unlock(buf->ctx);
    return EUM_OK;
}

eum_status eum_buf_explain(eum_buf *buf, eum_decision *out)
{
    eum_status status = eum_buf_enter(buf, "eum_buffer_explain");
    if (status != EUM_OK)
        return status;
    *out = (eum_decision){.struct_size = sizeof *out,
                          .role = buf->role,
                          .backing = buf->backing,
                          .backing_reason = buf->backing_reason,
                          .last_movement = buf->last_movement,
                          .last_bytes = buf->last_bytes,
                          .bytes_to_device = buf->bytes_to_device,
                          .bytes_to_host = buf->bytes_to_host,
                          .bytes_on_host = eum_extents_bytes_at(&buf->extents, 0, buf->bytes, EUM_AT_HOST),
                          .bytes_on_device = eum_extents_bytes_at(&buf->extents, 0, buf->bytes, ~EUM_AT_HOST),
                          .launches = buf->launches,
                          .maps = buf->maps,
                          .extents = (uint32_t)buf->extents.count,
                          .in_place_ns = buf->in_place_ns,
                          .move_ns = buf->move_ns,
                          .contradiction = buf->habit.contradiction};
    eum_ctx_unlock(buf->ctx);
    return EUM_OK;
}

eum_status eum_buf_info(eum_buf *buf, eum_buffer_info *out)
{
    eum_status status = eum_buf_enter(buf, "eum_buffer_get_info");
    if (status != EUM_OK)
        return status;
    *out = (eum_buffer_info){.struct_size = sizeof *out,
                             .bytes = buf->bytes,
                             .role = buf->role,
                             .backing = buf->backing,
                             .ownership = buf->ownership,
                             .read_only = buf->read_only,
                             .maps = (uint32_t)buf->lease_count - buf->acquired};
    eum_ctx_unlock(buf->ctx);
    return EUM_OK;
}
