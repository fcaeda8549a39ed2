/* spill: room on the device for the copies that a launch needs, at the cost of those that were used longest ago.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <inttypes.h>
#include <time.h>

#include "move.h"
#include "trace.h"

static bool part_of(const eum_buf *buf, const eum_move *moves, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (moves[i].buf == buf)
            return true;
    return false;
}

/* The copy that was used longest ago and is not needed now. */
static eum_buf *victim(const eum_ctx *ctx, const eum_move *moves, size_t count)
{
    eum_buf *oldest = NULL;
    for (eum_buf *buf = ctx->mirrored; buf != NULL; buf = buf->older)
        if (!part_of(buf, moves, count) && !eum_buf_is_acquired(buf))
            oldest = buf;
    return oldest;
}

/* Another thread's call waits for nothing but the lock to go on with the buffer. Whoever looks at once again would have the lock again before it. */
static void give_way(eum_ctx *ctx)
{
    eum_ctx_unlock(ctx);
    nanosleep(&(struct timespec){0, 20000}, NULL);
    eum_ctx_relock(ctx);
}

/* Brings the buffer's bytes back and frees its copy. Lock held on entry and exit, released in between. */
static eum_status spill(eum_buf *buf)
{
    eum_ctx *ctx = buf->ctx;
    eum_log_write(&ctx->log, EUM_LOG_INFO, "spilling the device copy of a buffer of %zu bytes to make room", buf->bytes);
    buf->references++;
    eum_move move;
    eum_point point = {0, 0};
    eum_move_init(&move, buf, 0, buf->bytes, EUM_ACCESS_READ, EUM_LOCATION_HOST);
    eum_status status = EUM_OK;
    while (status == EUM_OK && !buf->ended && eum_moves_must_wait(&move, 1, ctx->transfer, &point)) {
        eum_ctx_unlock(ctx);
        status = eum_point_wait(ctx, point, -1);
        eum_ctx_relock(ctx);
    }
    if (status == EUM_OK && !buf->ended) /* nobody will read an ended one */
        status = eum_moves_run(&move, 1, ctx->transfer);
    if (status == EUM_OK && !buf->ended)
        status = eum_strm_mark(ctx->transfer, &point);
    if (status == EUM_OK && !buf->ended)
        eum_moves_commit(&move, 1, point, false);
    eum_move_end(&move);
    while (status == EUM_OK) {
        eum_hazards_prune(&buf->hazards, eum_point_passed_in, ctx);
        if (buf->hazards.count == 0)
            break;
        point = buf->hazards.items[0].point;
        eum_ctx_unlock(ctx);
        status = eum_point_wait(ctx, point, -1);
        eum_ctx_relock(ctx);
    }
    buf->references--;
    if (buf->ended) {
        eum_ctx_reap(ctx);
        return status;
    }
    /* While the lock was released a launch may have written the copy again: then it is not the oldest any more, and stays. */
    eum_locations elsewhere = ~EUM_AT_HOST;
    bool needed = eum_buf_is_acquired(buf) || buf->references != 0;
    for (size_t i = 0; i < buf->extents.count; i++)
        needed |= (buf->extents.items[i].valid & elsewhere) != 0 && (buf->extents.items[i].valid & EUM_AT_HOST) == 0;
    if (status == EUM_OK && buf->hazards.count == 0 && !needed)
        eum_buf_drop_mirror(buf);
    else if (status == EUM_OK)
        give_way(ctx);
    return status;
}

static bool no_room(eum_status status)
{
    return status == EUM_ERROR_OVER_BUDGET || status == EUM_ERROR_OUT_OF_DEVICE_MEMORY;
}

static void use_over_link(eum_move *move)
{
    move->over_link = true;
    move->use.where = EUM_LOCATION_HOST;
    eum_log_write(&move->buf->ctx->log, EUM_LOG_WARN,
                  "no room on the device for a copy of a buffer of %zu bytes: the kernel uses it over the link", move->buf->bytes);
}

static bool is_own(const eum_buf *buf)
{
    return buf->backing == EUM_BACKING_DEVICE && !buf->wrapped;
}

/* For one of them, if it needs memory on the device that may not be there yet. */
static eum_status make_room_for(eum_move *move, const eum_move *moves, size_t count, bool *out_waited)
{
    eum_buf *buf = move->buf;
    eum_error before;
    if ((buf->backing != EUM_BACKING_MIRRORED && !is_own(buf)) || move->use.where == EUM_LOCATION_HOST ||
        move->use.begin == move->use.end)
        return EUM_OK;
    eum_error_save(&before);
    eum_status status = eum_buf_need_device_side(buf);
    if (status == EUM_OK) {
        eum_buf_touch_mirror(buf);
        return EUM_OK;
    }
    bool may_help =
        no_room(status) && !eum_buf_exceeds_budget(buf, buf->bytes); /* else all would be spilled, launch after launch */
    eum_buf *other = may_help ? victim(buf->ctx, moves, count) : NULL;
    if (other != NULL && eum_callback_depth == 0) {
        eum_error_restore(&before);
        *out_waited = true;
        EUM_TRACE_PUSH("engram_um: spill", other->bytes);
        status = spill(other);
        EUM_TRACE_POP();
        return status;
    }
    if (!no_room(status) || buf->memory.device == NULL) /* pageable, or the library's own */
        return status;
    eum_error_restore(&before);
    use_over_link(move);
    return EUM_OK;
}

eum_status eum_moves_make_room(eum_move *moves, size_t count, bool *out_waited)
{
    eum_status status = EUM_OK;
    *out_waited = false;
    for (int own = 1; own >= 0; own--) /* the library's own memory first: operands may be used over the link instead */
        for (size_t i = 0; i < count && status == EUM_OK && !*out_waited; i++)
            if (is_own(moves[i].buf) == (own == 1))
                status = make_room_for(&moves[i], moves, count, out_waited);
    return status;
}
