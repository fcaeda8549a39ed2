/* move_conflicts: what a use of a buffer must wait for, or be ordered after; see move.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "move_parts.h"

typedef struct first_open {
    eum_ctx *ctx;
    eum_point point;
    bool found;
} first_open;

static void keep_open(void *arg, eum_point point)
{
    first_open *open = arg;
    if (!open->found && !eum_point_passed(open->ctx, point)) {
        open->found = true;
        open->point = point;
    }
}

static bool must_drain(const eum_move *move, eum_strm *stream, eum_point *out_point)
{
    const eum_use *use = &move->use;
    const eum_buf *buf = move->buf;
    bool pageable = buf->backing == EUM_BACKING_MIRRORED && buf->memory.adopted && buf->memory.kind == EUM_MEMORY_HOST;
    if (!pageable || !eum_copies_wait(buf->ctx) || use->access == EUM_ACCESS_OVERWRITE || use->begin == use->end ||
        eum_extents_bytes_at(&buf->extents, use->begin, use->end, eum_at(use->where)) == use->end - use->begin)
        return false;
    return eum_move_must_drain(move, stream, out_point);
}

bool eum_copies_wait(const eum_ctx *ctx)
{
    return ctx->device->caps.kind == EUM_DEVICE_CUDA;
}

bool eum_move_must_drain(const eum_move *move, eum_strm *stream, eum_point *out_point)
{
    first_open open = {.ctx = stream->ctx};
    keep_open(&open, (eum_point){stream->serial, stream->sequence});
    eum_hazards_conflicts(&move->buf->hazards, move->use.begin, move->use.end, EUM_HAZARD_MOVE, 0, keep_open, &open);
    *out_point = open.point;
    return open.found;
}

bool eum_move_must_wait_for_others(const eum_move *move, const eum_strm *stream, eum_point *out_point)
{
    uint64_t begin, end;
    eum_use_footprint(&move->use, &begin, &end);
    first_open open = {.ctx = stream->ctx};
    eum_hazards_conflicts(&move->buf->hazards, begin, end, EUM_HAZARD_MOVE, stream->serial, keep_open, &open);
    *out_point = open.point;
    return open.found;
}

bool eum_moves_must_wait(const eum_move *moves, size_t count, eum_strm *stream, eum_point *out_point)
{
    for (size_t i = 0; i < count; i++)
        if (must_drain(&moves[i], stream, out_point))
            return true;
    for (size_t i = 0; i < count; i++) {
        const eum_use *use = &moves[i].use;
        const eum_buf *buf = moves[i].buf;
        if (use->begin == use->end || use->backing != EUM_BACKING_MANAGED || !use->concurrent)
            continue;
        if (use->access == EUM_ACCESS_READ && !eum_use_in_place(use))
            continue;
        uint64_t begin, end;
        eum_use_footprint(use, &begin, &end);
        if (!eum_extents_any_flag(&buf->extents, begin, end, EUM_EXTENT_READ_MOSTLY, NULL))
            continue;
        first_open open = {.ctx = buf->ctx};
        eum_hazards_conflicts(&buf->hazards, begin, end, EUM_HAZARD_MOVE, 0, keep_open, &open);
        if (open.found) {
            *out_point = open.point;
            return true;
        }
    }
    return false;
}

bool eum_move_writers_in_flight(const eum_move *move, eum_point *out_point)
{
    const eum_use *use = &move->use;
    const eum_buf *buf = move->buf;
    if (use->access != EUM_ACCESS_READ || use->backing != EUM_BACKING_MANAGED || !use->concurrent || use->begin == use->end)
        return false;
    uint64_t begin, end;
    eum_use_footprint(use, &begin, &end);
    first_open open = {.ctx = buf->ctx};
    eum_hazards_writers(&buf->hazards, begin, end, keep_open, &open);
    for (size_t i = eum_extents_find(&buf->extents, begin); i < buf->extents.count && buf->extents.items[i].begin < end; i++)
        if (buf->extents.items[i].accessed_by != 0)
            eum_hazards_conflicts(&buf->hazards, begin, end, EUM_HAZARD_MOVE, 0, keep_open, &open);
    *out_point = open.point;
    return open.found;
}

bool eum_move_must_wait_for_writers(const eum_move *move, eum_point *out_point)
{
    const eum_use *use = &move->use;
    uint64_t begin, end;
    eum_use_footprint(use, &begin, &end);
    if (use->where != EUM_LOCATION_HOST || eum_extents_bytes_at(&move->buf->extents, begin, end, EUM_AT_HOST) == end - begin)
        return false;
    if (use->access == EUM_ACCESS_OVERWRITE && use->can_discard) { /* it may discard: see `busy` */
        first_open open = {.ctx = move->buf->ctx};
        eum_hazards_conflicts(&move->buf->hazards, begin, end, EUM_HAZARD_MOVE, 0, keep_open, &open);
        *out_point = open.point;
        return open.found;
    }
    return eum_move_writers_in_flight(move, out_point);
}

/* Does the side that does not run this use read the pages just now? */
static bool other_side_reads(const eum_move *move, uint64_t begin, uint64_t end)
{
    const eum_buf *buf = move->buf;
    bool to_host = move->use.where == EUM_LOCATION_HOST;
    for (size_t i = 0; i < buf->lease_count; i++) {
        const eum_lease *lease = &buf->leases[i];
        if (lease->external == to_host && lease->begin < lease->end && lease->begin < end && lease->end > begin)
            return true;
    }
    first_open open = {.ctx = buf->ctx};
    if (to_host)
        eum_hazards_conflicts(&buf->hazards, begin, end, EUM_HAZARD_MOVE, 0, keep_open, &open);
    return open.found;
}

bool eum_move_duplicates(const eum_move *move)
{
    const eum_buf *buf = move->buf;
    const eum_use *use = &move->use;
    eum_point writer;
    uint64_t begin, end;
    if (use->access != EUM_ACCESS_READ || use->backing != EUM_BACKING_MANAGED || !use->concurrent || use->begin == use->end)
        return false;
    eum_use_footprint(use, &begin, &end);
    eum_read_question question = {.role = use->role,
                                  .bytes = move->hint ? buf->bytes : use->end - use->begin,
                                  .to_device = use->where != EUM_LOCATION_HOST,
                                  .other_side_reads = other_side_reads(move, begin, end),
                                  .came_back = buf->came_back == buf->version + 1,
                                  .rewritten = buf->habit.contradiction == EUM_CONTRADICTION_QUERY_REWRITTEN,
                                  .writers = eum_move_writers_in_flight(move, &writer)};
    return eum_read_duplicates(&question);
}

typedef struct ordering {
    eum_strm *stream;
    eum_status status;
} ordering;

static void order_after(void *arg, eum_point point)
{
    ordering *o = arg;
    if (o->status == EUM_OK && !eum_point_passed(o->stream->ctx, point))
        o->status = eum_strm_order(o->stream, point);
}

bool eum_plan_takes_away(const eum_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        const eum_step *step = &plan->steps[i];
        bool keeps = step->kind == EUM_STEP_COPY || step->kind == EUM_STEP_SET_READ_MOSTLY ||
                     (step->kind == EUM_STEP_PREFETCH && step->duplicates);
        if (!keeps)
            return true;
    }
    return false;
}

static void visit_conflicts(const eum_move *move, uint64_t stream, void (*visit)(void *arg, eum_point point), void *arg)
{
    const eum_use *use = &move->use;
    if (use->begin == use->end)
        return;
    uint64_t begin = use->begin, end = use->end;
    eum_hazard_kind kind = eum_use_hazard(use);
    if (move->plan.count > 0)
        eum_use_footprint(use, &begin, &end);
    if (eum_plan_takes_away(&move->plan))
        kind = EUM_HAZARD_MOVE;
    eum_hazards_conflicts(&move->buf->hazards, begin, end, kind, stream, visit, arg);
}

bool eum_move_busy(const eum_move *move, const eum_strm *stream)
{
    uint64_t begin, end;
    if (move->buf->ctx->device->caps.overwrite_moves)
        return true;
    eum_use_footprint(&move->use, &begin, &end);
    first_open open = {.ctx = move->buf->ctx};
    if (stream != NULL && stream->sequence != 0)
        keep_open(&open, (eum_point){stream->serial, stream->sequence});
    eum_hazards_conflicts(&move->buf->hazards, begin, end, EUM_HAZARD_MOVE, 0, keep_open, &open);
    return open.found;
}

eum_status eum_move_order(const eum_move *move, eum_strm *stream)
{
    ordering o = {stream, EUM_OK};
    visit_conflicts(move, stream->serial, order_after, &o);
    return o.status;
}

bool eum_move_conflicts(const eum_move *move)
{
    first_open open = {.ctx = move->buf->ctx};
    visit_conflicts(move, 0, keep_open, &open);
    return open.found;
}
