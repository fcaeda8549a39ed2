/* hint: prefetch and advice.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "buffer.h"
#include "move.h"

static eum_status check_location(const eum_ctx *ctx, eum_location where)
{
    if (where == EUM_LOCATION_HOST || (ctx->device->caps.kind != EUM_DEVICE_HOST && where == ctx->device->caps.index))
        return EUM_OK;
    if (ctx->device->caps.kind == EUM_DEVICE_HOST)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "location %" PRId32 ": this context has no device; use EUM_LOCATION_HOST",
                        where);
    return eum_fail(EUM_ERROR_INVALID_ARGUMENT,
                    "location %" PRId32 " is neither the host (%d) nor the context's device (%" PRId32 "); name one of them", where,
                    EUM_LOCATION_HOST, ctx->device->caps.index);
}

/* Lock held. *out_again: it was released to make room, so everything may have changed. */
static eum_status prefetch(eum_range range, eum_location where, eum_strm *stream, bool *out_again)
{
    eum_buf *buf = range.buf;
    bool movable = buf->backing == EUM_BACKING_MIRRORED || buf->backing == EUM_BACKING_MANAGED;
    *out_again = false;
    eum_status status = eum_buf_check_mapped(buf, range.offset, range.bytes, EUM_ACCESS_READ); /* undefined bytes may move */
    if (status != EUM_OK || range.bytes == 0 || !movable)
        return status;
    eum_move move;
    eum_point point;
    eum_move_init(&move, buf, range.offset, range.bytes, EUM_ACCESS_READ, where);
    move.hint = true;
    if (!eum_moves_must_wait(&move, 1, stream, &point)) { /* a hint does not wait */
        status = eum_moves_make_room(&move, 1, out_again);
        if (status == EUM_OK && !*out_again)
            status = eum_moves_run(&move, 1, stream);
    }
    eum_move_end(&move);
    return status;
}

eum_status eum_buf_prefetch(eum_range range, eum_location where, eum_strm *stream)
{
    eum_buf *buf = range.buf;
    eum_ctx *ctx = buf->ctx;
    eum_status status = check_location(ctx, where);
    if (status == EUM_OK && stream != NULL && stream->ctx != ctx)
        status = eum_fail(EUM_ERROR_WRONG_CONTEXT,
                          "the buffer and the stream belong to two contexts; use handles of one context in one call");
    if (status == EUM_OK)
        status = eum_ctx_check_device(ctx, "eum_buffer_prefetch");
    for (bool again = true; status == EUM_OK && again;) {
        status = eum_buf_enter(buf, "eum_buffer_prefetch");
        if (status != EUM_OK)
            return status;
        status = prefetch(range, where, stream == NULL ? ctx->default_stream : stream, &again);
        eum_ctx_unlock(ctx);
    }
    return status;
}

void eum_buf_start_moving(eum_range range, eum_location where)
{
    eum_error saved;
    eum_error_save(&saved);
    if (eum_buf_prefetch(range, where, range.buf->ctx->transfer) != EUM_OK)
        eum_error_restore(&saved);
}

static void hint(eum_hint *out, eum_status reason, const char *sentence)
{
    if (out == NULL)
        return;
    memset(out, 0, sizeof *out);
    out->struct_size = sizeof *out;
    out->applied = reason == EUM_OK;
    out->reason = reason;
    snprintf(out->sentence, sizeof out->sentence, "%.255s", sentence);
}

/* What the driver now does by itself, the extents must know. */
static void record_advice(eum_buf *buf, eum_range range, eum_advice advice, eum_location where)
{
    eum_extent_change change = EUM_EXTENT_CHANGE_NONE;
    if (advice == EUM_ADVICE_PREFERRED_LOCATION || advice == EUM_ADVICE_UNSET_PREFERRED_LOCATION) {
        buf->preferred = true;
        buf->has_preference = advice == EUM_ADVICE_PREFERRED_LOCATION;
        buf->prefers = where;
    }
    eum_use use;
    eum_buf_use(buf, range.offset, range.bytes, EUM_ACCESS_READ, EUM_LOCATION_HOST, &use);
    uint64_t begin, end;
    eum_use_footprint(&use, &begin, &end);
    switch (advice) {
    case EUM_ADVICE_READ_MOSTLY:
        change.flags_set = EUM_EXTENT_READ_MOSTLY;
        break;
    case EUM_ADVICE_UNSET_READ_MOSTLY:
        change.valid_keep = 0;
        change.flags_clear = EUM_EXTENT_READ_MOSTLY;
        change.flags_set = EUM_EXTENT_ASTRAY | EUM_EXTENT_STUCK;
        break;
    case EUM_ADVICE_ACCESSED_BY:
        if (where != EUM_LOCATION_HOST)
            change.accessed_by_add = eum_at(where);
        break;
    case EUM_ADVICE_UNSET_ACCESSED_BY:
        change.accessed_by_keep = ~eum_at(where);
        break;
    default:
        return;
    }
    for (size_t i = eum_extents_find(&buf->extents, begin); i < buf->extents.count && buf->extents.items[i].begin < end; i++) {
        eum_extent *e = &buf->extents.items[i];
        bool collapses = advice == EUM_ADVICE_UNSET_READ_MOSTLY;
        if (collapses && (e->flags & EUM_EXTENT_READ_MOSTLY) == 0)
            continue; /* nothing was duplicated here, so nothing collapses */
        uint64_t from = e->begin > begin ? e->begin : begin, to = e->end < end ? e->end : end;
        eum_extents_change(&buf->extents, from, to, &change);
        i = eum_extents_find(&buf->extents, to - 1);
    }
}

eum_status eum_buf_advise(eum_range range, eum_advice advice, eum_location where, eum_hint *out)
{
    eum_buf *buf = range.buf;
    eum_ctx *ctx = buf->ctx;
    eum_status status = check_location(ctx, where);
    if (status == EUM_OK)
        status = eum_ctx_check_device(ctx, "eum_buffer_advise");
    if (status == EUM_OK)
        status = eum_buf_enter(buf, "eum_buffer_advise");
    if (status != EUM_OK)
        return status;
    if (range.bytes == 0) {
        eum_ctx_unlock(ctx);
        hint(out, EUM_OK, "nothing to advise on: the view is empty");
        return EUM_OK;
    }
    if (buf->backing != EUM_BACKING_MANAGED || !ctx->device->caps.concurrent_managed) {
        eum_ctx_unlock(ctx);
        hint(out, EUM_ERROR_NOT_SUPPORTED,
             "only managed memory on a device with concurrent access takes advice; this buffer does not need it");
        return EUM_OK;
    }
    /* Advice acts at once, not in stream order, so nothing may be in flight on the buffer. */
    for (size_t i = 0; i < buf->hazards.count && status == EUM_OK;) {
        eum_point point = buf->hazards.items[i].point;
        if (eum_point_passed(ctx, point)) {
            i++;
            continue;
        }
        eum_ctx_unlock(ctx);
        status = eum_check_may_wait("eum_buffer_advise");
        if (status == EUM_OK)
            status = eum_point_wait(ctx, point, -1);
        eum_ctx_relock(ctx);
        i = 0;
    }
    if (status == EUM_OK && !eum_extents_reserve(&buf->extents, buf->extents.count + 2))
        status = eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory to record the advice; free some host memory");
    if (status != EUM_OK) {
        eum_ctx_unlock(ctx);
        return status;
    }
    eum_error saved;
    eum_error_save(&saved);
    eum_status applied = ctx->device->ops->advise(ctx->device, &buf->memory, range.offset, range.bytes, advice, where);
    if (applied == EUM_OK) {
        ctx->stats.hints_applied++;
        record_advice(buf, range, advice, where);
        hint(out, EUM_OK, "applied");
    } else {
        ctx->stats.hints_not_applied++;
        eum_error detail;
        eum_error_save(&detail);
        hint(out, applied, detail.sentence);
        eum_error_restore(&saved);
    }
    eum_ctx_unlock(ctx);
    return EUM_OK;
}
