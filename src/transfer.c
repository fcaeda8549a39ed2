/* transfer: bulk writes and reads.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Where the bytes go through the host side (host, mapped, mirrored, managed that the host has) several threads copy them. The host side of a
 * mirrored buffer is pinned, so it is its own staging memory: what is to be on the device next is pushed there chunk by chunk behind the copying
 * threads, and what is read comes chunk by chunk in front of them. Managed pages that are on the device, and device memory, are never touched by
 * the CPU: pageable memory goes through a ring of pinned chunks, and pinned memory is copied straight. */
#include <string.h>

#include "buffer.h"
#include "copy.h"
#include "move.h"
#include "settled.h"
#include "threads.h"
#include "trace.h"

/* Threads that have to be woken cost some 30 us a chunk (H100's host, a virtual machine), as much as 1.5 MB on the link: so there are few chunks, and
 * only where much is moved. */
#define CHUNK_BYTES ((size_t)4 << 20)
#define LARGEST_CHUNK_BYTES ((size_t)16 << 20)
#define CHUNKS 4
#define RING 4
#define STAGE_BYTES ((size_t)4 << 20) /* of a ring: pinned memory that is held only for a while */
/* Less goes in one piece: the fixed cost of a copy is that of some 300 KiB on the link. */
#define DIRECT_BYTES ((size_t)64 << 10)

static size_t chunk_of(size_t bytes, size_t most)
{
    size_t chunk = (bytes / CHUNKS + CHUNK_BYTES - 1) / CHUNK_BYTES * CHUNK_BYTES;
    return chunk < CHUNK_BYTES ? CHUNK_BYTES : chunk > most ? most : chunk;
}

/* -------------------------------------------------------------------------------------------------- questions ------ */

/* Is the whole range on the device and not on the host? Then a transfer goes there directly: CPU access would pull pages over. */
static bool only_on_device(const eum_buf *buf, size_t offset, size_t bytes)
{
    if (buf->backing == EUM_BACKING_DEVICE)
        return true;
    if (buf->backing == EUM_BACKING_MANAGED && !buf->ctx->device->caps.concurrent_managed)
        return false;
    if (buf->backing != EUM_BACKING_MANAGED && buf->backing != EUM_BACKING_MIRRORED)
        return false;
    for (size_t i = eum_extents_find(&buf->extents, offset); i < buf->extents.count && buf->extents.items[i].begin < offset + bytes;
         i++) {
        const eum_extent *e = &buf->extents.items[i];
        if (e->valid == 0 || (e->valid & EUM_AT_HOST) != 0)
            return false;
    }
    return true;
}

static bool is_pinned(const eum_ctx *ctx, const void *memory, size_t bytes)
{
    return ctx->device->ops->is_pinned != NULL && ctx->device->ops->is_pinned(ctx->device, memory, bytes);
}

/* Was it pinned the last time? Then it is taken to be so still, and looked at when its copy is under way, for the next time: if it no longer is, the
 * copy takes longer, or is refused. */
static bool was_pinned(const eum_ctx *ctx, const void *memory, size_t bytes)
{
    return memory == ctx->pinned_source && bytes == ctx->pinned_source_bytes;
}

static bool look_again(eum_ctx *ctx, const void *memory, size_t bytes)
{
    bool pinned = is_pinned(ctx, memory, bytes);
    ctx->pinned_source = pinned ? memory : NULL;
    ctx->pinned_source_bytes = bytes;
    return pinned;
}

/* How the caller's memory and the buffer meet. */
typedef enum path {
    BY_CPU,   /* on the host side */
    CHUNKED,  /* the same in chunks, which also go to the device, or come from it */
    STRAIGHT, /* one copy between the caller's memory and the device side */
    STAGED,   /* through pinned chunks */
} path;

/* Lock held. */
static path choose_path(const eum_buf *buf, size_t offset, size_t bytes, const void *memory, bool writes)
{
    const eum_ctx *ctx = buf->ctx;
    bool on_device = only_on_device(buf, offset, bytes);
    bool pinned = bytes >= DIRECT_BYTES && (was_pinned(ctx, memory, bytes) || is_pinned(ctx, memory, bytes));
    bool mirrored = buf->backing == EUM_BACKING_MIRRORED && buf->memory.device != NULL; /* with a pinned host side */
    if (on_device && !mirrored) {
        /* Read-mostly copies that are to be written collapse at once: a map knows how to wait for that. */
        bool collapses =
            writes && buf->backing == EUM_BACKING_MANAGED &&
            eum_extents_any_flag(&buf->extents, offset, offset + bytes, EUM_EXTENT_READ_MOSTLY | EUM_EXTENT_STUCK, NULL);
        return collapses ? BY_CPU : pinned || bytes < 2 * DIRECT_BYTES ? STRAIGHT : STAGED;
    }
    if (!mirrored)
        return BY_CPU;
    if (!writes)
        return !on_device ? BY_CPU : pinned || bytes < DIRECT_BYTES ? STRAIGHT : CHUNKED;
    if (bytes < DIRECT_BYTES || ctx->device->caps.kind == EUM_DEVICE_HOST)
        return BY_CPU;
    return pinned                                                                                   ? STRAIGHT
           : (on_device && !eum_role_stays_on_host(buf->role)) || eum_buf_expects_reuse(buf, bytes) ? CHUNKED
                                                                                                    : BY_CPU;
}

/* --------------------------------------------------------------------------------------------- the device side ----- */

/* The bytes have been written, whatever jobs before that have failed to write. */
static eum_status define(eum_buf *buf, size_t offset, size_t bytes)
{
    eum_extent_change change = EUM_EXTENT_CHANGE_NONE;
    change.flags_clear = EUM_EXTENT_UNDEFINED;
    if (!eum_extents_any_flag(&buf->extents, offset, offset + bytes, EUM_EXTENT_UNDEFINED, NULL))
        return EUM_OK;
    if (!eum_extents_reserve(&buf->extents, 1))
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory to write to a buffer; free some host memory");
    eum_extents_change(&buf->extents, offset, offset + bytes, &change);
    return EUM_OK;
}

/* One transfer between the caller's memory and the device side, on the transfer stream. */
typedef struct device_transfer {
    eum_buf *buf;
    size_t offset, bytes;
    const char *src; /* to the buffer; or NULL */
    char *dst;
    eum_point point; /* after the newest copy */
    bool begun;      /* one was submitted */
} device_transfer;

static void init_move(const device_transfer *t, size_t at, size_t bytes, eum_move *out)
{
    /* Managed bytes are on the device, and edges of pages stay there; of a mirrored buffer's no stale ones are copied first. */
    bool keeps = t->src != NULL && t->buf->backing != EUM_BACKING_MIRRORED;
    eum_access access = t->src == NULL ? EUM_ACCESS_READ : keeps ? EUM_ACCESS_READ_WRITE : EUM_ACCESS_OVERWRITE;
    eum_move_init(out, t->buf, t->offset + at, bytes, access, t->buf->ctx->device->caps.index);
    out->use.role = EUM_ROLE_AUTO; /* the bytes are on the device, and the copy leaves them there */
}

/* Lock held: one copy, and a point after it. *out_marked: what the device said to the point; if it refused, the copy is in flight unseen. */
static eum_status enqueue(device_transfer *t, size_t at, size_t bytes, void *host, eum_status *out_marked)
{
    eum_ctx *ctx = t->buf->ctx;
    eum_dstream *queue = ctx->transfer->device_stream;
    char *side = eum_buf_address(t->buf, t->offset + at, ctx->device->caps.index);
    *out_marked = EUM_OK;
    eum_status status = t->src != NULL ? ctx->device->ops->copy(queue, side, host, bytes, EUM_HOST_TO_DEVICE)
                                       : ctx->device->ops->copy(queue, host, side, bytes, EUM_DEVICE_TO_HOST);
    if (status == EUM_OK)
        *out_marked = eum_strm_mark(ctx->transfer, &t->point);
    if (*out_marked != EUM_OK)
        t->point = (eum_point){0, 0};
    return status;
}

/* The caller's memory. */
static void *host_side(const device_transfer *t)
{
    return t->src != NULL ? (void *)(uintptr_t)t->src : t->dst;
}

/* The same, and what records it. If there is no point, waits for it without the lock. */
static eum_status submit(device_transfer *t, size_t at, size_t bytes, void *host, eum_move *move)
{
    eum_status marked;
    eum_error saved;
    eum_error_save(&saved);
    eum_status status = enqueue(t, at, bytes, host, &marked);
    t->begun |= status == EUM_OK;
    move->defines_later = true;
    eum_moves_commit(move, 1, t->point, status == EUM_OK);
    if (status != EUM_OK || marked == EUM_OK)
        return status;
    status = eum_moves_quiesce(t->buf->ctx, move, 1, marked); /* the memory is the caller's again when we return */
    if (status == EUM_OK)
        eum_error_restore(&saved);
    return status;
}

/* Lock held on entry and exit: one copy, between what orders it and what records it, so that others may use the rest of its pages at any time.
 * If the bytes are leased to us it waits, without the lock, for what others have in flight on their pages: copies of managed memory may wait. */
static eum_status copy_piece_of(device_transfer *t, size_t at, size_t bytes, void *host, bool leased)
{
    eum_ctx *ctx = t->buf->ctx;
    eum_move move;
    eum_point point;
    eum_status status = EUM_OK;
    init_move(t, at, bytes, &move);
    while (status == EUM_OK && leased &&
           (eum_move_must_wait_for_others(&move, ctx->transfer, &point) || eum_moves_must_wait(&move, 1, ctx->transfer, &point))) {
        eum_ctx_unlock(ctx);
        status = eum_point_wait(ctx, point, -1);
        eum_ctx_relock_to_use(ctx);
        init_move(t, at, bytes, &move);
    }
    if (status == EUM_OK)
        status = eum_moves_run(&move, 1, ctx->transfer);
    if (status == EUM_OK)
        status = submit(t, at, bytes, host, &move);
    eum_move_end(&move);
    return status;
}

/* Up to `most` pinned chunks, as many as there is memory for. *out_slots: how many. Errors: what is no want of memory. */
static eum_status make_ring(device_transfer *t, size_t chunk, size_t most, eum_block ring[RING], size_t *out_slots)
{
    eum_status status = EUM_OK;
    eum_locations nowhere;
    eum_error before;
    eum_error_save(&before);
    *out_slots = 0;
    while (*out_slots < most &&
           (status = eum_buf_allocate(t->buf, EUM_MEMORY_PINNED, chunk, &ring[*out_slots], &nowhere)) == EUM_OK)
        ++*out_slots;
    if (status != EUM_ERROR_OUT_OF_MEMORY && status != EUM_ERROR_OVER_BUDGET && status != EUM_ERROR_OUT_OF_DEVICE_MEMORY)
        return status;
    eum_error_restore(&before);
    return EUM_OK;
}

/* Lock held, given back in between. The range is leased to us. */
static eum_status staged(device_transfer *t)
{
    eum_ctx *ctx = t->buf->ctx;
    const size_t chunk = chunk_of(t->bytes, STAGE_BYTES), chunks = (t->bytes + chunk - 1) / chunk;
    eum_block ring[RING] = {{0}};
    eum_point points[RING] = {{0, 0}};
    size_t slots;
    eum_status status = make_ring(t, chunk, chunks < RING ? chunks : RING, ring, &slots);
    if (status == EUM_OK && slots == 0) /* the device can do without, if more slowly */
        return copy_piece_of(t, 0, t->bytes, host_side(t), true);
    /* Turn i fills or empties the slot that chunk i - slots used, and then gives it chunk i. */
    for (size_t i = 0; i < chunks + (t->src == NULL ? slots : 0) && status == EUM_OK; i++) {
        const size_t slot = i % slots, at = i * chunk, bytes = i >= chunks ? 0 : t->bytes - at < chunk ? t->bytes - at : chunk;
        eum_ctx_unlock(ctx);
        if (i >= slots && i - slots < chunks)
            status = eum_point_wait(ctx, points[slot], -1);
        if (status == EUM_OK && t->src != NULL)
            eum_workers_copy(ctx->workers, ring[slot].host, t->src + at, bytes, EUM_READER_DEVICE);
        if (status == EUM_OK && t->src == NULL && i >= slots && i - slots < chunks) {
            const size_t before = at - slots * chunk;
            eum_workers_copy(ctx->workers, t->dst + before, ring[slot].host, t->bytes - before < chunk ? t->bytes - before : chunk,
                             EUM_READER_CPU);
        }
        eum_ctx_relock_to_use(ctx);
        if (status == EUM_OK && bytes > 0) {
            status = copy_piece_of(t, at, bytes, ring[slot].host, true);
            points[slot] = t->point;
        }
    }
    /* The ring is in use until its copies have passed. */
    eum_error saved;
    eum_error_save(&saved);
    eum_ctx_unlock(ctx);
    eum_status passed = eum_point_wait(ctx, t->point, -1);
    eum_ctx_relock_to_use(ctx);
    for (size_t i = 0; i < slots; i++)
        eum_buf_release(t->buf, &ring[i]);
    if (status == EUM_OK && passed != EUM_OK)
        return passed;
    eum_error_restore(&saved);
    return status;
}

static void account(device_transfer *t)
{
    eum_buf *buf = t->buf;
    eum_stats *stats = &buf->ctx->stats;
    if (t->src != NULL) {
        stats->bytes_to_device += t->bytes;
        stats->moves_to_device++;
        buf->bytes_to_device += t->bytes;
    } else {
        stats->bytes_to_host += t->bytes;
        stats->moves_to_host++;
        buf->bytes_to_host += t->bytes;
    }
    eum_faults_copied(buf, t->bytes, t->src == NULL);
    buf->last_movement = EUM_MOVEMENT_COPY;
    buf->last_bytes = t->bytes;
}

/* A copy in the middle failed: what was written before it cannot be taken back. Without memory to split extents, more is marked: never less. */
static void leave_undefined(eum_buf *buf, size_t offset, size_t bytes)
{
    eum_extent_change change = EUM_EXTENT_CHANGE_NONE;
    change.flags_set = EUM_EXTENT_UNDEFINED;
    bool room = eum_extents_reserve(&buf->extents, 1);
    eum_extents_change(&buf->extents, room ? offset : 0, room ? offset + bytes : eum_buf_extent_bytes(buf), &change);
}

/* The copies, with what orders and records them. Lock held on entry and exit. */
static eum_status run_copies(device_transfer *t, path how)
{
    eum_buf *buf = t->buf;
    uint64_t lease;
    if (how == STRAIGHT)
        return copy_piece_of(t, 0, t->bytes, host_side(t), false);
    eum_access access = t->src != NULL ? EUM_ACCESS_OVERWRITE : EUM_ACCESS_READ;
    eum_status status = eum_buf_lease(buf, t->offset, t->bytes, access, &lease);
    if (status != EUM_OK)
        return status;
    status = staged(t);
    eum_buf_end_lease(buf, lease);
    if (status != EUM_OK && t->src != NULL && t->begun)
        leave_undefined(buf, t->offset, t->bytes);
    return status;
}

/* Makes room, and waits where the copies might. Lock held on entry and exit. If it had to be released, *out_again says so: others may have mapped the
 * bytes, or moved them. */
static eum_status prepare_copies(device_transfer *t, path how, eum_move *whole, bool *out_again)
{
    eum_ctx *ctx = t->buf->ctx;
    eum_status status = eum_moves_make_room(whole, 1, out_again);
    bool waits = how == STAGED || eum_copies_wait(ctx);
    if (status == EUM_OK && !*out_again && waits && eum_move_must_drain(whole, ctx->transfer, &t->point)) {
        *out_again = true;
        eum_ctx_unlock(ctx);
        status = eum_point_wait(ctx, t->point, -1);
        eum_ctx_relock_to_use(ctx);
    }
    if (status == EUM_OK && !*out_again && whole->over_link) /* no room for a device copy: the host side will do */
        return EUM_ERROR_OUT_OF_DEVICE_MEMORY;
    return status;
}

/* One copy, of bytes that are where they are used, with nothing in flight? That is what whoever writes again and again finds. */
static bool is_simple(const device_transfer *t, path how, eum_move *whole)
{
    eum_ctx *ctx = t->buf->ctx;
    const eum_strm *queue = ctx->transfer;
    return how == STRAIGHT && ctx->device->caps.concurrent_managed &&
           eum_point_passed(ctx, (eum_point){queue->serial, queue->sequence}) && eum_move_is_settled(queue, whole);
}

static eum_status run_simple(device_transfer *t, eum_move *whole)
{
    if (t->buf->backing == EUM_BACKING_MIRRORED)
        eum_buf_touch_mirror(t->buf);
    whole->settled = true;
    return submit(t, 0, t->bytes, host_side(t), whole);
}

/* Lock held on entry and exit. If it had to be released before the first copy, nothing was copied and *out_again says so. */
static eum_status move_device(device_transfer *t, path how, bool *out_again)
{
    eum_buf *buf = t->buf;
    eum_ctx *ctx = buf->ctx;
    eum_move whole;
    init_move(t, 0, t->bytes, &whole);
    bool simple = is_simple(t, how, &whole);
    bool teaches = simple && t->bytes >= EUM_LEARNED_COPY_BYTES;
    uint64_t begun = teaches ? eum_ctx_clock(ctx) : 0;
    eum_status status = simple ? EUM_OK : prepare_copies(t, how, &whole, out_again);
    if (status == EUM_OK && !*out_again) {
        t->point = (eum_point){0, 0};
        status = simple ? run_simple(t, &whole) : run_copies(t, how);
    }
    eum_move_end(&whole);
    if (*out_again || status != EUM_OK)
        return status;
    /* While the bytes are on their way: what has nothing to do with when they are there. */
    account(t);
    if (t->src != NULL)
        eum_buf_used_by_host(buf, t->offset, t->bytes, true);
    if (how == STRAIGHT && t->bytes >= DIRECT_BYTES)
        (void)look_again(ctx, host_side(t), t->bytes);
    eum_ctx_unlock(ctx);
    status = eum_point_wait(ctx, t->point, -1);
    uint64_t took = teaches ? eum_ctx_clock(ctx) - begun : 0;
    eum_ctx_relock_to_use(ctx);
    if (status == EUM_OK && teaches)
        eum_learned_copy(&ctx->learned, &ctx->costs, t->src == NULL, t->bytes, took);
    if (status == EUM_OK && t->src != NULL)
        status = define(buf, t->offset, t->bytes);
    return status;
}

/* ------------------------------------------------------------------------------------------------ the host side ---- */

/* Of bytes that are written through the host side: a kernel is what buffers are written for, and it runs on the device or here. */
static eum_reader reader_of(const eum_buf *buf)
{
    return buf->ctx->device->caps.kind == EUM_DEVICE_HOST ? EUM_READER_CPU : EUM_READER_DEVICE;
}

static eum_status by_cpu(eum_range range, const void *src, void *dst)
{
    void *address;
    uint64_t lease;
    eum_status status = eum_buf_hold(range, src != NULL ? EUM_ACCESS_OVERWRITE : EUM_ACCESS_READ, &address, &lease);
    if (status != EUM_OK)
        return status;
    if (src != NULL)
        eum_workers_copy(range.buf->ctx->workers, address, src, range.bytes, reader_of(range.buf));
    else if (dst != NULL)
        eum_workers_copy(range.buf->ctx->workers, dst, address, range.bytes, EUM_READER_CPU);
    eum_buf_let_go(range.buf, lease);
    return EUM_OK;
}

static eum_range chunk_at(eum_range range, size_t at, size_t chunk)
{
    return (eum_range){range.buf, range.offset + at, range.bytes - at < chunk ? range.bytes - at : chunk};
}

/* Others find the bytes as they were or as they are then: what is not written yet stays leased. */
static eum_status write_in_chunks(eum_range range, const char *src)
{
    eum_ctx *ctx = range.buf->ctx;
    const size_t chunk = chunk_of(range.bytes, LARGEST_CHUNK_BYTES);
    void *address;
    uint64_t lease;
    eum_status status = eum_buf_hold_for_kernel(range, EUM_ACCESS_OVERWRITE, &address, &lease); /* counted by try_device */
    if (status != EUM_OK)
        return status;
    for (size_t at = 0; at < range.bytes; at += chunk) {
        eum_range part = chunk_at(range, at, chunk);
        eum_workers_copy(ctx->workers, (char *)address + at, src + at, part.bytes, EUM_READER_DEVICE);
        if (at + part.bytes == range.bytes)
            eum_buf_let_go(range.buf, lease);
        else
            eum_buf_let_go_until(range.buf, lease, part.offset + part.bytes);
        eum_buf_start_moving(part, ctx->device->caps.index);
    }
    return EUM_OK;
}

static eum_status read_in_chunks(eum_range range, char *dst)
{
    eum_buf *buf = range.buf;
    const size_t chunk = chunk_of(range.bytes, LARGEST_CHUNK_BYTES);
    uint64_t lease;
    eum_status status = eum_buf_enter_to_use(buf, "eum_buffer_read");
    if (status != EUM_OK)
        return status;
    status = eum_buf_check_access(buf, range.offset, range.bytes, EUM_ACCESS_READ);
    if (status == EUM_OK)
        status = eum_buf_lease(buf, range.offset, range.bytes, EUM_ACCESS_READ, &lease); /* all of it is of one moment */
    eum_ctx_unlock(buf->ctx);
    if (status != EUM_OK)
        return status;
    for (size_t at = 0; at < range.bytes; at += chunk)
        eum_buf_start_moving(chunk_at(range, at, chunk), EUM_LOCATION_HOST);
    for (size_t at = 0; at < range.bytes && status == EUM_OK; at += chunk)
        status = by_cpu(chunk_at(range, at, chunk), NULL, dst + at);
    eum_ctx_relock_to_use(buf->ctx);
    eum_buf_end_lease(buf, lease);
    eum_ctx_unlock(buf->ctx);
    return status;
}

/* ------------------------------------------------------------------------------------------------------ transfer --- */

/* Does what goes between the caller's memory and the device; *out_left: what is left to do on the host side, or STRAIGHT if nothing is. */
static eum_status try_device(eum_range range, const void *src, void *dst, path *out_left)
{
    eum_buf *buf = range.buf;
    eum_access access = src != NULL ? EUM_ACCESS_OVERWRITE : EUM_ACCESS_READ;
    eum_status status = eum_buf_enter_to_use(buf, src != NULL ? "eum_buffer_write" : "eum_buffer_read");
    if (status != EUM_OK)
        return status;
    buf->references++;
    bool again;
    do {
        again = false;
        *out_left = BY_CPU;
        status = eum_buf_check_access(buf, range.offset, range.bytes, access);
        if (status != EUM_OK || range.bytes == 0)
            break;
        path how = choose_path(buf, range.offset, range.bytes, src != NULL ? src : dst, src != NULL);
        *out_left = how;
        if (how == BY_CPU || how == CHUNKED)
            break;
        *out_left = STRAIGHT;
        device_transfer t = {.buf = buf, .offset = range.offset, .bytes = range.bytes, .src = src, .dst = dst};
        bool trusted = how == STRAIGHT && was_pinned(buf->ctx, host_side(&t), t.bytes);
        eum_error before;
        eum_error_save(&before);
        status = move_device(&t, how, &again);
        if (status != EUM_OK && trusted && !look_again(buf->ctx, host_side(&t), t.bytes)) { /* that may be why */
            eum_error_restore(&before);
            status = EUM_OK;
            again = true;
        }
        bool no_room = status == EUM_ERROR_OVER_BUDGET || status == EUM_ERROR_OUT_OF_DEVICE_MEMORY;
        if (no_room && buf->backing == EUM_BACKING_MIRRORED && src != NULL) {
            eum_error_restore(&before);
            *out_left = BY_CPU;
            status = EUM_OK;
        }
    } while (status == EUM_OK && again);
    if (status == EUM_OK && dst != NULL && *out_left == STRAIGHT && range.bytes > 0 &&
        eum_extents_any_flag(&buf->extents, range.offset, range.offset + range.bytes, EUM_EXTENT_UNDEFINED, NULL))
        status = eum_fail(EUM_ERROR_UNDEFINED_DATA,
                          "a job that was to write this range failed while the read waited for it; write it again");
    if (status == EUM_OK && *out_left == CHUNKED && src != NULL)
        eum_buf_used_by_host(buf, range.offset, range.bytes, true); /* the others count for themselves */
    if (status == EUM_OK && dst != NULL && *out_left == STRAIGHT)
        eum_buf_seen_by_host(buf);
    buf->references--;
    eum_ctx_unlock(buf->ctx);
    return status;
}

eum_status eum_buf_write(eum_range range, const void *src)
{
    path left;
    EUM_TRACE_PUSH("engram_um: write", range.bytes);
    eum_status status = try_device(range, src, NULL, &left);
    if (status == EUM_OK && left != STRAIGHT)
        status = left == CHUNKED ? write_in_chunks(range, src) : by_cpu(range, src, NULL);
    EUM_TRACE_POP();
    return status;
}

eum_status eum_buf_read(eum_range range, void *dst)
{
    path left;
    EUM_TRACE_PUSH("engram_um: read", range.bytes);
    eum_status status = try_device(range, NULL, dst, &left);
    if (status == EUM_OK && left != STRAIGHT)
        status = left == CHUNKED ? read_in_chunks(range, dst) : by_cpu(range, NULL, dst);
    EUM_TRACE_POP();
    return status;
}
