/* move: see move.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "move.h"

#include "trace.h"

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

static bool writers_in_flight(const eum_move *move, eum_point *out_point);

void eum_move_init(eum_move *move, eum_buf *buf, size_t offset, size_t bytes, eum_access access, eum_location where)
{
    move->buf = buf;
    move->use = eum_buf_use(buf, offset, bytes, access, where);
    eum_point writer; /* while it is in flight, pages cannot be duplicated */
    if (buf->backing == EUM_BACKING_MANAGED && (where != EUM_LOCATION_HOST || access != EUM_ACCESS_READ))
        move->use.host_holds_page = host_holds_page(buf, &move->use, !writers_in_flight(move, &writer));
    move->lease = 0;
    move->over_link = move->settled = move->started = move->seen = move->weighed = move->defines_later = false;
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

/* ---------------------------------------------------------------------------------------------------- conflicts ---- */

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

/* Managed pages that a job in flight writes, or uses over the link, would be taken from it by read-mostly advice. */
static bool writers_in_flight(const eum_move *move, eum_point *out_point)
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
    return writers_in_flight(move, out_point);
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

static bool duplicates(const eum_move *move)
{
    const eum_buf *buf = move->buf;
    const eum_use *use = &move->use;
    eum_point writer;
    uint64_t begin, end;
    if (use->access != EUM_ACCESS_READ || use->backing != EUM_BACKING_MANAGED || !use->concurrent || use->begin == use->end)
        return false;
    eum_use_footprint(use, &begin, &end);
    eum_read_question question = {.role = use->role,
                                  .bytes = use->end - use->begin,
                                  .to_device = use->where != EUM_LOCATION_HOST,
                                  .other_side_reads = other_side_reads(move, begin, end),
                                  .came_back = buf->came_back == buf->version + 1,
                                  .rewritten = buf->habit.contradiction == EUM_CONTRADICTION_QUERY_REWRITTEN,
                                  .writers = writers_in_flight(move, &writer)};
    return eum_read_duplicates(&question);
}

static eum_hazard_kind use_kind(const eum_use *use)
{
    return use->access == EUM_ACCESS_READ ? EUM_HAZARD_READ : EUM_HAZARD_WRITE;
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

/* Does the plan take bytes away from where somebody may be using them? Copies of a mirrored buffer go to a side that holds nothing valid, so
 * everybody who used it has been waited for by whoever made it invalid; read-mostly pages stay where they were. */
static bool takes_away(const eum_plan *plan)
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
    eum_hazard_kind kind = use_kind(use);
    if (move->plan.count > 0)
        eum_use_footprint(use, &begin, &end);
    if (takes_away(&move->plan))
        kind = EUM_HAZARD_MOVE;
    eum_hazards_conflicts(&move->buf->hazards, begin, end, kind, stream, visit, arg);
}

/* -------------------------------------------------------------------------------------------------------- steps ---- */

static eum_status advise(eum_buf *buf, const eum_step *step, eum_advice advice, eum_location where)
{
    eum_ctx *ctx = buf->ctx;
    eum_status status = ctx->device->ops->advise(ctx->device, &buf->memory, step->begin, step->end - step->begin, advice, where);
    if (status == EUM_OK)
        ctx->stats.hints_applied++;
    else
        ctx->stats.hints_not_applied++;
    return status;
}

/* Copies collapse to the preferred location, or to the host where there is none. It must not be the writer's side: there the driver would leave
 * the pages mapped for reading only, each one's first write would fault, and a prefetch of what is there already does not help. */
static eum_status collapse(eum_buf *buf, const eum_step *step)
{
    eum_location device = buf->ctx->device->caps.index;
    bool to_device = step->where == EUM_LOCATION_HOST && !step->keeps_host;
    eum_location to = to_device ? device : EUM_LOCATION_HOST;
    bool steer = to_device || buf->preferred;
    eum_error saved;
    eum_error_save(&saved);
    if (steer)
        (void)advise(buf, step, EUM_ADVICE_PREFERRED_LOCATION, to);
    eum_error_restore(&saved);
    eum_status status = advise(buf, step, EUM_ADVICE_UNSET_READ_MOSTLY, step->where);
    eum_error_save(&saved);
    if (steer && buf->has_preference)
        (void)advise(buf, step, EUM_ADVICE_PREFERRED_LOCATION, buf->prefers);
    else if (steer)
        (void)advise(buf, step, EUM_ADVICE_UNSET_PREFERRED_LOCATION, to);
    eum_error_restore(&saved);
    return status;
}

static eum_status submit_step(eum_buf *buf, const eum_step *step, eum_strm *stream)
{
    const struct eum_device_ops *ops = buf->ctx->device->ops;
    eum_dstream *queue = stream->device_stream;
    size_t bytes = step->end - step->begin;
    eum_status status;
    switch (step->kind) {
    case EUM_STEP_UNSET_READ_MOSTLY:
        return collapse(buf, step);
    case EUM_STEP_SET_READ_MOSTLY:
        return advise(buf, step, EUM_ADVICE_READ_MOSTLY, step->where);
    case EUM_STEP_IN_PLACE:
        status = advise(buf, step, EUM_ADVICE_PREFERRED_LOCATION, EUM_LOCATION_HOST);
        return status != EUM_OK ? status : advise(buf, step, EUM_ADVICE_ACCESSED_BY, step->where);
    case EUM_STEP_DISCARD:
        return ops->discard(queue, &buf->memory, step->begin, bytes);
    case EUM_STEP_BOUNCE:
    case EUM_STEP_PREFETCH:
        return ops->prefetch(queue, &buf->memory, step->begin, bytes, step->where);
    case EUM_STEP_COPY: {
        char *host = eum_buf_address(buf, step->begin, EUM_LOCATION_HOST), *device = eum_buf_address(buf, step->begin, step->where);
        return step->to_host ? ops->copy(queue, host, device, bytes, EUM_DEVICE_TO_HOST)
                             : ops->copy(queue, device, host, bytes, EUM_HOST_TO_DEVICE);
    }
    }
    return EUM_OK;
}

static void account(eum_buf *buf, const eum_step *step)
{
    eum_stats *stats = &buf->ctx->stats;
    if (step->moving == 0)
        return;
    bool to_host = step->kind == EUM_STEP_COPY ? step->to_host : step->where == EUM_LOCATION_HOST;
    if (to_host) {
        stats->bytes_to_host += step->moving;
        stats->moves_to_host++;
        buf->bytes_to_host += step->moving;
    } else {
        stats->bytes_to_device += step->moving;
        stats->moves_to_device++;
        buf->bytes_to_device += step->moving;
    }
    buf->last_bytes += step->moving;
    if (step->kind == EUM_STEP_COPY)
        eum_faults_copied(buf, step->moving, to_host);
}

/* A step that failed. Advice is a hint, and so is a prefetch of what was just discarded: without it the bytes are right all the same, and the
 * kernel takes faults, which is said. Everything else stops the operation. */
static eum_status forgive(eum_buf *buf, const eum_step *step, eum_status status)
{
    bool hint = step->kind == EUM_STEP_SET_READ_MOSTLY || step->kind == EUM_STEP_IN_PLACE ||
                step->kind == EUM_STEP_UNSET_READ_MOSTLY || step->kind == EUM_STEP_DISCARD || step->after_discard;
    if (!hint || status == EUM_ERROR_DEVICE_LOST)
        return status;
    eum_log_write(&buf->ctx->log, EUM_LOG_WARN, "a hint was not applied (%s): the next launch may take page faults",
                  eum_status_name(status));
    return EUM_OK;
}

#if EUM_NVTX
static const char *const step_names[EUM_STEP_KINDS] = {
    "engram_um: unset read-mostly", "engram_um: set read-mostly", "engram_um: discard", "engram_um: bounce",
    "engram_um: prefetch",          "engram_um: in place",        "engram_um: copy",
};
#endif

static eum_status run_step(eum_buf *buf, eum_step *step, eum_strm *stream)
{
    eum_error saved;
    eum_error_save(&saved);
    EUM_TRACE_PUSH(step_names[step->kind], step->end - step->begin);
    eum_status status = submit_step(buf, step, stream);
    EUM_TRACE_POP();
    if (status != EUM_OK) {
        status = forgive(buf, step, status);
        if (status != EUM_OK)
            return status;
        eum_error_restore(&saved);
        if (step->kind != EUM_STEP_UNSET_READ_MOSTLY)
            return EUM_OK; /* not done: residency stays as it was; an unset that failed leaves the pages astray at worst */
    }
    eum_extent_change change = eum_step_change(step);
    eum_extents_change(&buf->extents, step->begin, step->end, &change);
    account(buf, step);
    return EUM_OK;
}

/* TARGETS live on the device: said to the driver once for the whole buffer, and taken back when the role changes. */
static void advise_role(eum_buf *buf, const eum_use *use)
{
    if (buf->backing != EUM_BACKING_MANAGED || !use->concurrent || use->where == EUM_LOCATION_HOST ||
        buf->advised_role == buf->role)
        return;
    eum_error saved;
    eum_error_save(&saved);
    eum_step whole = {.begin = 0, .end = buf->bytes};
    if (buf->role == EUM_ROLE_TARGETS)
        (void)advise(buf, &whole, EUM_ADVICE_PREFERRED_LOCATION, use->where);
    else if (buf->advised_role == EUM_ROLE_TARGETS)
        (void)advise(buf, &whole, EUM_ADVICE_UNSET_PREFERRED_LOCATION, use->where);
    if (buf->role == EUM_ROLE_TARGETS || buf->advised_role == EUM_ROLE_TARGETS) {
        buf->preferred = true;
        buf->has_preference = buf->role == EUM_ROLE_TARGETS;
        buf->prefers = use->where;
    }
    buf->advised_role = buf->role;
    eum_error_restore(&saved);
}

/* ---------------------------------------------------------------------------------------------------------- run ---- */

/* Discards are only made where nothing is in flight, and on devices that keep them in order. */
static bool busy(const eum_move *move, const eum_strm *stream)
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
    move->use.duplicate = duplicates(move);
    move->use.busy = move->use.can_discard && move->use.access == EUM_ACCESS_OVERWRITE && busy(move, stream);
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
            status = run_step(buf, &move->plan.steps[i], stream);
    for (size_t i = 0; i < move->plan.count; i++) {
        eum_step *step = &move->plan.steps[i];
        for (size_t k = eum_extents_find(&buf->extents, step->begin);
             k < buf->extents.count && buf->extents.items[k].begin < step->end; k++)
            step->duplicates &= (buf->extents.items[k].flags & EUM_EXTENT_READ_MOSTLY) != 0;
    }
    return status;
}

static eum_status run_one(eum_move *moves, size_t count, size_t i, eum_strm *stream)
{
    eum_move *move = &moves[i];
    eum_buf *buf = move->buf;
    const eum_use *use = &move->use;
    if (use->begin == use->end)
        return EUM_OK;
    eum_status status = reserve(moves, count, i, stream);
    if (status == EUM_OK)
        status = run_advice(move, stream);
    if (status != EUM_OK)
        return status;
    ordering o = {stream, EUM_OK};
    visit_conflicts(move, stream->serial, order_after, &o);
    if (o.status != EUM_OK)
        return o.status;
    advise_role(buf, use);
    buf->last_bytes = 0;
    buf->last_movement = movement_of(move);
    for (size_t k = 0; k < move->plan.count && status == EUM_OK; k++) {
        eum_step *step = &move->plan.steps[k];
        if (is_advice(step) || step->kind == EUM_STEP_DISCARD || step->after_discard)
            continue;
        move->started = true;
        status = run_step(buf, step, stream);
        if (use->where == EUM_LOCATION_HOST && use->access == EUM_ACCESS_READ && step->moving > 0 && !step->duplicates)
            buf->came_back = buf->version + 1;
    }
    return status;
}

static eum_status run_discards(eum_move *move, eum_strm *stream)
{
    eum_status status = EUM_OK;
    for (size_t i = 0; i < move->plan.count && status == EUM_OK; i++) {
        eum_step *step = &move->plan.steps[i];
        if (step->kind != EUM_STEP_DISCARD && !step->after_discard)
            continue;
        move->started = true;
        status = run_step(move->buf, step, stream);
    }
    move->buf->ctx->stats.bytes_discarded += move->plan.discarded;
    return status;
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
    pthread_mutex_lock(&ctx->lock);
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
            eum_hazards_add(&move->buf->hazards, begin, end, takes_away(&move->plan) ? EUM_HAZARD_MOVE : EUM_HAZARD_COPY, point);
        move->started = false;
    }
    return status;
}

eum_status eum_moves_run(eum_move *moves, size_t count, eum_strm *stream)
{
    eum_status status = EUM_OK;
    for (size_t i = 0; i < count && status == EUM_OK; i++)
        status = run_one(moves, count, i, stream);
    for (size_t i = 0; i < count && status == EUM_OK; i++)
        status = run_discards(&moves[i], stream);
    if (status == EUM_OK)
        return record(moves, count, stream);
    eum_error saved;
    eum_error_save(&saved);
    (void)record(moves, count, stream);
    eum_error_restore(&saved);
    return status;
}

static void note_conflict(void *arg, eum_point point)
{
    first_open *open = arg;
    keep_open(open, point);
}

bool eum_moves_idle(eum_move *moves, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (moves[i].use.begin == moves[i].use.end)
            continue;
        if (!plan_use(&moves[i], NULL) || moves[i].plan.count > 0)
            return false;
        first_open open = {.ctx = moves[i].buf->ctx};
        visit_conflicts(&moves[i], 0, note_conflict, &open);
        if (open.found)
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
        eum_move_was_weighed(&moves[i]);
        eum_hazards_add(&buf->hazards, use->begin, use->end, use_kind(use), point);
        if (use->access == EUM_ACCESS_READ)
            continue; /* it changes nothing */
        buf->version++;
        if (moves[i].settled)
            continue;
        eum_extent_change change = eum_use_change(use, buf->version);
        if (moves[i].defines_later)
            change.flags_clear &= ~EUM_EXTENT_UNDEFINED;
        eum_extents_change(&buf->extents, use->begin, use->end, &change);
    }
}
