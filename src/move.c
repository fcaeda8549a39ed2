/* move: see move.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "batch.h"
#include "move_parts.h"

/* ---------------------------------------------------------------------------------------------------- prepare ------ */

/* Is a live map on the same pages, and must they therefore stay on the host? Two that read share duplicates. A map that writes meets its own lease
 * here: no other can be on the bytes of the use itself. */
static bool host_holds_page(const eum_buf *buf, const eum_use *use, bool duplicates)
{
    uint64_t begin, end;
    eum_use_footprint(use, &begin, &end);
    for (size_t i = 0; i < buf->lease_count; i++) {
        const eum_lease *lease = &buf->leases[i];
        bool both_read = lease->access == EUM_ACCESS_READ && use->access == EUM_ACCESS_READ && duplicates;
        bool empty = lease->begin == lease->end;
        bool own = use->where == EUM_LOCATION_HOST && lease->begin < use->end && lease->end > use->begin;
        if (!both_read && !empty && !own && !lease->external && lease->begin < end && lease->end > begin)
            return true;
    }
    return false;
}

void eum_move_init(eum_move *move, eum_buf *buf, size_t offset, size_t bytes, eum_access access, eum_location where)
{
    move->buf = buf;
    eum_buf_use(buf, offset, bytes, access, where, &move->use);
    eum_point writer; /* while it is in flight, pages cannot be duplicated */
    if (buf->backing == EUM_BACKING_MANAGED && (where != EUM_LOCATION_HOST || access != EUM_ACCESS_READ))
        move->use.host_holds_page = host_holds_page(buf, &move->use, !eum_move_writers_in_flight(move, &writer));
    move->lease = 0;
    move->over_link = move->settled = move->started = move->seen = move->weighed = move->hint = move->defines_later = false;
    eum_plan_init(&move->plan);
}

bool eum_moves_same_pages(const eum_move *a, const eum_move *b)
{
    uint64_t a_begin, a_end, b_begin, b_end;
    eum_use_footprint(&a->use, &a_begin, &a_end);
    eum_use_footprint(&b->use, &b_begin, &b_end);
    return a->buf == b->buf && a_begin < b_end && b_begin < a_end;
}

void eum_moves_share_pages(eum_move *moves, size_t count)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = 0; i < count; i++)
            for (size_t k = 0; k < count && moves[i].use.host_holds_page; k++)
                if (!moves[k].use.host_holds_page && eum_moves_same_pages(&moves[i], &moves[k]))
                    moves[k].use.host_holds_page = changed = true;
    }
}

void *eum_move_address(const eum_move *move)
{
    const eum_use *use = &move->use;
    if (use->begin == use->end)
        return NULL;
    return move->over_link ? (char *)move->buf->memory.device + use->begin : eum_buf_address(move->buf, use->begin, use->where);
}

void eum_move_end(eum_move *move)
{
    eum_plan_free(&move->plan);
}

/* ---------------------------------------------------------------------------------------------------------- run ---- */

/* The changes of the extents that all uses of one buffer may still make. */
static size_t boundaries(const eum_move *moves, size_t count, const eum_buf *buf)
{
    const eum_extents *set = &buf->extents;
    size_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        const eum_move *move = &moves[i];
        if (move->buf != buf)
            continue;
        sum += eum_extents_splits(set, move->use.begin) + eum_extents_splits(set, move->use.end);
        for (size_t k = 0; k < move->plan.count; k++)
            sum += eum_extents_splits(set, move->plan.steps[k].begin) + eum_extents_splits(set, move->plan.steps[k].end);
    }
    return sum;
}

/* Plans use `i` of a launch. */
static bool plan_use(eum_move *move, const eum_strm *stream)
{
    move->use.duplicate = eum_move_duplicates(move);
    move->use.busy = move->use.can_discard && move->use.access == EUM_ACCESS_OVERWRITE && eum_move_busy(move, stream);
    eum_plan_free(&move->plan);
    eum_plan_use(&move->plan, &move->buf->extents, &move->use);
    return !move->plan.no_memory;
}

/* The same, and makes room for all that is recorded later. */
static eum_status reserve(eum_move *moves, size_t count, size_t i, const eum_strm *stream)
{
    eum_move *move = &moves[i];
    eum_buf *buf = move->buf;
    if (!plan_use(move, stream) || !eum_extents_reserve_boundaries(&buf->extents, boundaries(moves, count, buf)) ||
        !eum_hazards_reserve(&buf->hazards, 2 * count))
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory to plan the movement of a buffer; free some host memory");
    return EUM_OK;
}

static eum_movement movement_of(const eum_move *move)
{
    eum_movement movement = EUM_MOVEMENT_NONE;
    if (move->over_link)
        return EUM_MOVEMENT_IN_PLACE;
    if (move->use.where != EUM_LOCATION_HOST && (move->buf->backing == EUM_BACKING_MAPPED || eum_use_in_place(&move->use)))
        movement = EUM_MOVEMENT_IN_PLACE;
    if (move->plan.discarded > 0)
        movement = EUM_MOVEMENT_DISCARD;
    for (size_t i = 0; i < move->plan.count; i++) {
        const eum_step *step = &move->plan.steps[i];
        if (step->kind == EUM_STEP_COPY)
            return EUM_MOVEMENT_COPY;
        if (step->kind == EUM_STEP_PREFETCH && step->moving > 0)
            return step->duplicates ? EUM_MOVEMENT_DUPLICATE : EUM_MOVEMENT_PREFETCH;
        if (step->kind == EUM_STEP_IN_PLACE)
            movement = EUM_MOVEMENT_IN_PLACE;
    }
    return movement;
}

static bool is_advice(const eum_step *step)
{
    return step->kind == EUM_STEP_UNSET_READ_MOSTLY || step->kind == EUM_STEP_SET_READ_MOSTLY;
}

/* Advice acts at once, so it goes first; a prefetch duplicates only where the pages really are read-mostly now. */
static eum_status run_advice(eum_move *move, eum_strm *stream)
{
    eum_buf *buf = move->buf;
    eum_status status = EUM_OK;
    for (size_t i = 0; i < move->plan.count && status == EUM_OK; i++)
        if (is_advice(&move->plan.steps[i]))
            status = eum_step_run(buf, &move->plan.steps[i], stream);
    for (size_t i = 0; i < move->plan.count; i++) {
        eum_step *step = &move->plan.steps[i];
        for (size_t k = eum_extents_find(&buf->extents, step->begin);
             k < buf->extents.count && buf->extents.items[k].begin < step->end; k++)
            step->duplicates &= (buf->extents.items[k].flags & EUM_EXTENT_READ_MOSTLY) != 0;
    }
    return status;
}

eum_status eum_move_prepare(eum_move *moves, size_t count, size_t i, eum_strm *stream)
{
    eum_move *move = &moves[i];
    if (move->use.begin == move->use.end)
        return EUM_OK;
    eum_status status = reserve(moves, count, i, stream);
    if (status == EUM_OK)
        status = run_advice(move, stream);
    if (status == EUM_OK)
        status = eum_move_order(move, stream);
    if (status != EUM_OK)
        return status;
    eum_buf_advise_role(move->buf, &move->use);
    move->buf->last_bytes = 0;
    move->buf->last_movement = movement_of(move);
    return EUM_OK;
}

static void note_return(const eum_move *move, const eum_step *step)
{
    const eum_use *use = &move->use;
    if (use->where == EUM_LOCATION_HOST && use->access == EUM_ACCESS_READ && step->moving > 0 && !step->duplicates)
        move->buf->came_back = move->buf->version + 1;
}

void eum_move_did(eum_move *move, const eum_step *step)
{
    eum_step_did(move->buf, step);
    note_return(move, step);
}

eum_status eum_move_step(eum_move *move, eum_step *step, eum_strm *stream)
{
    move->started = true;
    eum_status status = eum_step_run(move->buf, step, stream);
    note_return(move, step);
    return status;
}

eum_status eum_move_steps(eum_move *move, eum_strm *stream)
{
    eum_status status = EUM_OK;
    for (size_t k = 0; k < move->plan.count && status == EUM_OK; k++) {
        eum_step *step = &move->plan.steps[k];
        if (!is_advice(step) && step->kind != EUM_STEP_DISCARD && !step->after_discard)
            status = eum_move_step(move, step, stream);
    }
    return status;
}

/* Where many uses are remembered, those of one stream are merged to the range that they are in: not with what has passed, or whoever needs bytes that
 * somebody used long ago would wait for somebody who uses others now. */
static void add_in_flight(eum_buf *buf, uint64_t begin, uint64_t end, eum_hazard_kind kind, eum_point point)
{
    if (buf->hazards.count >= EUM_HAZARDS_SOFT_CAP)
        eum_hazards_prune(&buf->hazards, eum_point_passed_in, buf->ctx);
    eum_hazards_add(&buf->hazards, begin, end, kind, point);
}

/* Nothing says what is in flight, so nobody may touch it meanwhile; where there is no memory for that, what others begin is not held off. */
static void keep_others_off(eum_move *moves, size_t count, bool off)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t begin, end;
        eum_use_footprint(&moves[i].use, &begin, &end);
        if (!off && moves[i].lease != 0)
            eum_buf_end_lease(moves[i].buf, moves[i].lease);
        moves[i].lease = 0;
        if (off && begin < end && eum_buf_lease(moves[i].buf, begin, end - begin, EUM_ACCESS_OVERWRITE, &moves[i].lease) != EUM_OK)
            moves[i].lease = 0;
    }
}

eum_status eum_moves_quiesce(eum_ctx *ctx, eum_move *moves, size_t count, eum_status status)
{
    if (eum_callback_depth > 0)
        return status; /* the wait would be for ourselves */
    eum_error saved;
    eum_error_save(&saved);
    keep_others_off(moves, count, true);
    eum_ctx_unlock(ctx);
    eum_status synchronized = ctx->device->ops->synchronize(ctx->device);
    eum_ctx_relock(ctx);
    keep_others_off(moves, count, false);
    eum_error_restore(&saved);
    return synchronized == EUM_OK ? EUM_OK : status;
}

/* The lock was released after room for what is recorded had been made: others may have used it up. */
static bool reserve_again(eum_move *moves, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!eum_extents_reserve_boundaries(&moves[i].buf->extents, boundaries(moves, count, moves[i].buf)) ||
            !eum_hazards_reserve(&moves[i].buf->hazards, 2 * count))
            return false;
    return true;
}

/* The movements have a point of their own: who only reads need not wait for the kernel that they were made for. */
static eum_status record(eum_move *moves, size_t count, eum_strm *stream)
{
    bool started = false;
    for (size_t i = 0; i < count; i++)
        started |= moves[i].started;
    if (!started)
        return EUM_OK;
    eum_point point;
    eum_error saved;
    eum_error_save(&saved);
    eum_status marked = eum_strm_mark(stream, &point), status = marked;
    if (marked != EUM_OK)
        status = eum_moves_quiesce(stream->ctx, moves, count, marked);
    if (marked != EUM_OK && status == EUM_OK && !reserve_again(moves, count))
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory to record the movement of a buffer; free some host memory");
    if (status == EUM_OK)
        eum_error_restore(&saved);
    for (size_t i = 0; i < count; i++) {
        eum_move *move = &moves[i];
        uint64_t begin, end;
        eum_use_footprint(&move->use, &begin, &end);
        if (move->started && marked == EUM_OK)
            add_in_flight(move->buf, begin, end, eum_plan_takes_away(&move->plan) ? EUM_HAZARD_MOVE : EUM_HAZARD_COPY, point);
        move->started = false;
    }
    return status;
}

static eum_status run_each(eum_move *moves, size_t count, eum_strm *stream)
{
    eum_status status = EUM_OK;
    for (size_t i = 0; i < count && status == EUM_OK; i++) {
        status = eum_move_prepare(moves, count, i, stream);
        if (status == EUM_OK)
            status = eum_move_steps(&moves[i], stream);
    }
    return status;
}

eum_status eum_moves_run(eum_move *moves, size_t count, eum_strm *stream)
{
    size_t least = eum_moves_least_batch(moves, count, stream->ctx);
    eum_status status =
        least == EUM_BATCH_NONE ? run_each(moves, count, stream) : eum_moves_run_together(moves, count, least, stream);
    if (status == EUM_OK)
        status = eum_moves_discard(moves, count, least, stream);
    if (status == EUM_OK)
        return record(moves, count, stream);
    eum_error saved;
    eum_error_save(&saved);
    (void)record(moves, count, stream);
    eum_error_restore(&saved);
    return status;
}

bool eum_moves_idle(eum_move *moves, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (moves[i].use.begin == moves[i].use.end)
            continue;
        if (!plan_use(&moves[i], NULL) || moves[i].plan.count > 0 || eum_move_conflicts(&moves[i]))
            return false;
    }
    return true;
}

void eum_moves_commit(eum_move *moves, size_t count, eum_point point, bool submitted)
{
    for (size_t i = 0; i < count; i++) {
        eum_buf *buf = moves[i].buf;
        const eum_use *use = &moves[i].use;
        if (!submitted || use->begin == use->end)
            continue;
        eum_move_was_weighed(&moves[i], 1);
        if (point.sequence != 0) /* else it is over */
            add_in_flight(buf, use->begin, use->end, eum_use_hazard(use), point);
        if (use->access == EUM_ACCESS_READ)
            continue; /* it changes nothing */
        buf->version++;
        if (moves[i].settled)
            continue;
        eum_extent_change change = eum_use_change(use);
        if (moves[i].defines_later)
            change.flags_clear &= ~EUM_EXTENT_UNDEFINED;
        eum_extents_change(&buf->extents, use->begin, use->end, &change);
    }
}
