/* weigh: what is learned from uses, and what follows: whether a kernel uses the bytes of a buffer in place, or has them moved, because of the
 * role, or by cost (the rule is in stay.h).
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "move.h"

static eum_stay_question stay_question(const eum_buf *buf, uint64_t bytes)
{
    return (eum_stay_question){
        .costs = &buf->ctx->costs, .bytes = bytes, .by_copies = buf->backing == EUM_BACKING_MIRRORED, .over_link = bytes};
}

/* A kernel that writes results over the link takes some 0.4 us longer (H100), and copying them once about 10 us: so results that kernels overwrite
 * that often before the CPU looks at them are written to the device copy. As often as the last time, or this time already. Only where there is
 * a copy, or room for one: others need not give way to it. */
#define OVERWRITES_IN_PLACE 32u

static bool are_overwritten(const eum_buf *buf)
{
    uint64_t most = buf->overwritten > buf->overwritten_last ? buf->overwritten : buf->overwritten_last, limit, used;
    if (buf->role != EUM_ROLE_RESULTS || most / OVERWRITES_IN_PLACE < buf->bytes)
        return false;
    if (buf->mirror.bytes != 0)
        return true;
    eum_budget_read(buf->ctx->budget, &limit, &used);
    return used < limit && limit - used >= buf->bytes;
}

/* Mirrored bytes are used over the link where the role says so, kernels reach the pinned host side, and it has the bytes. */
static bool in_place_by_role(const eum_move *move)
{
    const eum_use *use = &move->use;
    const eum_buf *buf = move->buf;
    if (use->backing != EUM_BACKING_MIRRORED || use->where == EUM_LOCATION_HOST || buf->memory.device == NULL ||
        use->begin == use->end || !eum_role_in_place(use) || are_overwritten(buf))
        return false;
    bool all_there = true;
    for (size_t i = eum_extents_find(&buf->extents, use->begin); i < buf->extents.count && buf->extents.items[i].begin < use->end;
         i++) {
        const eum_extent *e = &buf->extents.items[i];
        if (use->access != EUM_ACCESS_OVERWRITE && e->valid != 0 && (e->valid & EUM_AT_HOST) == 0)
            return false; /* the bytes are on the device */
        all_there &= (e->valid & eum_at(use->where)) != 0;
    }
    return use->access != EUM_ACCESS_READ || !all_there; /* a prefetch, or somebody before, has brought them */
}

static void use_host_side(eum_move *move)
{
    move->over_link = true;
    move->use.where = EUM_LOCATION_HOST;
}

/* Targets are to be used again and again. Where time after time they were not, and the link would have been cheaper, they are used as without a role,
 * until they are used more. */
#define BRIEF_TIMES 3

bool eum_buf_is_brief(const eum_buf *buf)
{
    return buf->role == EUM_ROLE_TARGETS && buf->brief_times == BRIEF_TIMES;
}

static bool is_counted(const eum_move *move)
{
    const eum_buf *buf = move->buf;
    const eum_use *use = &move->use;
    bool managed = use->backing == EUM_BACKING_MANAGED && use->concurrent;
    bool mirrored = use->backing == EUM_BACKING_MIRRORED && buf->memory.device != NULL;
    bool open = use->role == EUM_ROLE_AUTO || (use->role == EUM_ROLE_TARGETS && mirrored) ||
                (use->role == EUM_ROLE_QUERY && (mirrored || buf->habit.contradiction == EUM_CONTRADICTION_QUERY_REWRITTEN));
    return open && use->where != EUM_LOCATION_HOST && use->begin != use->end && (managed || mirrored);
}

static void weigh(eum_move *move)
{
    eum_buf *buf = move->buf;
    eum_use *use = &move->use;
    if (!is_counted(move))
        return;
    bool mirrored = use->backing == EUM_BACKING_MIRRORED;
    move->seen = true;
    if (use->role == EUM_ROLE_TARGETS && !eum_buf_is_brief(buf))
        return;
    uint64_t begin, end;
    eum_use_footprint(use, &begin, &end);
    eum_locations device = eum_at(use->where);
    for (size_t i = eum_extents_find(&buf->extents, begin); i < buf->extents.count && buf->extents.items[i].begin < end; i++) {
        const eum_extent *e = &buf->extents.items[i];
        bool only_there = e->valid != 0 && (e->valid & EUM_AT_HOST) == 0;
        if ((e->flags & (EUM_EXTENT_READ_MOSTLY | EUM_EXTENT_ASTRAY)) != 0 ||
            (only_there && (mirrored || use->access != EUM_ACCESS_READ)))
            return;
    }
    eum_stay_question question = stay_question(buf, end - begin - eum_extents_bytes_at(&buf->extents, begin, end, device));
    question.stores = use->access == EUM_ACCESS_OVERWRITE;
    if (mirrored) /* the kernel gets one address: the device copy's, or the host side's */
        question.over_link = end - begin;
    move->answer = eum_stay_choose(&buf->stay, &question);
    move->weighed = question.bytes > 0;
    if (!move->answer.stays)
        return;
    use->stay = !mirrored;
    if (mirrored)
        use_host_side(move);
}

void eum_move_was_weighed(const eum_move *move, uint32_t times)
{
    eum_buf *buf = move->buf;
    if (times == 0)
        return;
    if (move->seen) {
        eum_stay_question use = stay_question(buf, move->use.end - move->use.begin);
        use.stores = move->use.access == EUM_ACCESS_OVERWRITE;
        eum_stay_seen(&buf->stay, &use, times);
    }
    if (!move->weighed)
        return;
    buf->in_place_ns = move->answer.in_place_ns;
    buf->move_ns = move->answer.move_ns;
    eum_stay_question whole = stay_question(buf, buf->bytes);
    if (move->answer.stays)
        eum_stay_used(&buf->stay, &move->answer, &whole, times);
}

bool eum_buf_expects_reuse(const eum_buf *buf, size_t bytes)
{
    if (buf->role == EUM_ROLE_TARGETS && !eum_buf_is_brief(buf))
        return true;
    bool learns = buf->role == EUM_ROLE_AUTO || buf->role == EUM_ROLE_QUERY || buf->role == EUM_ROLE_TARGETS;
    uint64_t last =
        buf->stay.used_ns != 0 ? buf->stay.used_ns : buf->stay.last_ns; /* these bytes end a time, or begin it once more */
    return learns && last > eum_cost_copy(&buf->ctx->costs, bytes);
}

/* ------------------------------------------------------------------------------------------------- rewrites -------- */

/* Bytes that the CPU has rewritten, in one piece or in many. What it writes twice counts once where pieces lie together; a few that lie far apart and
 * are written again and again count for more. */
static uint64_t rewritten(const eum_buf *buf)
{
    uint64_t range = buf->written_end - buf->written_begin;
    return buf->written < range ? buf->written : range;
}

/* Most of it: then what kernels do is a new time of its own. */
static bool is_rewritten(const eum_buf *buf)
{
    return rewritten(buf) > buf->bytes / 2;
}

static void note_written(eum_buf *buf, uint64_t offset, uint64_t bytes)
{
    bool first = buf->written == 0;
    if (first || offset < buf->written_begin)
        buf->written_begin = offset;
    if (first || offset + bytes > buf->written_end)
        buf->written_end = offset + bytes;
    buf->written += bytes;
}

static void note_used(eum_buf *buf)
{
    if (is_rewritten(buf))
        buf->written = buf->written_begin = buf->written_end = 0;
}

/* ------------------------------------------------------------------------------------------------- judgement -------- */

/* Is its role of any consequence? */
static bool is_judged(const eum_buf *buf)
{
    bool managed = buf->backing == EUM_BACKING_MANAGED && buf->ctx->device->caps.concurrent_managed;
    bool mirrored = buf->backing == EUM_BACKING_MIRRORED && buf->memory.device != NULL;
    return (managed || mirrored) && buf->role != EUM_ROLE_AUTO && buf->bytes >= EUM_CONTRADICTION_BYTES;
}

static void tell(const eum_buf *buf)
{
    eum_log_write(&buf->ctx->log, EUM_LOG_WARN, "a buffer of %zu bytes: %s", buf->bytes,
                  eum_contradiction_sentence(buf->habit.contradiction));
}

void eum_move_judge(const eum_move *move, uint32_t times)
{
    eum_buf *buf = move->buf;
    const eum_use *use = &move->use;
    if (use->role == EUM_ROLE_RESULTS && use->access != EUM_ACCESS_READ)
        buf->overwritten += (use->end - use->begin) * times;
    if (use->begin != use->end)
        note_used(buf);
    if (use->begin != use->end && !move->seen)
        buf->brief_times = 0; /* a kernel that may not use them over the link */
    if (use->begin == use->end || !is_judged(buf))
        return;
    eum_stay_question whole = stay_question(buf, buf->bytes);
    whole.over_link = move->over_link ? use->end - use->begin : 0;
    whole.stores = use->access == EUM_ACCESS_OVERWRITE;
    if (eum_use_in_place(use)) /* what the device has it reads there */
        whole.over_link = use->end - use->begin - eum_extents_bytes_at(&buf->extents, use->begin, use->end, eum_at(use->where));
    eum_stay_answer costs = eum_stay_choose(&(eum_stay){0}, &whole);
    eum_habit_use used = {use->end - use->begin, use->access, costs.in_place_ns, costs.move_ns};
    for (uint32_t i = 0; i < times; i++)
        if (eum_habit_used(&buf->habit, buf->role, &used))
            tell(buf);
}

void eum_buf_seen_by_host(eum_buf *buf)
{
    if (buf->overwritten > 0)
        buf->overwritten_last = buf->overwritten;
    buf->overwritten = 0;
    if (is_judged(buf))
        eum_habit_host_looked(&buf->habit);
}

static void note_time(eum_buf *buf, eum_stay_time time)
{
    if (time == EUM_STAY_LONG)
        buf->brief_times = 0;
    else if (time == EUM_STAY_BRIEF && buf->brief_times < BRIEF_TIMES)
        buf->brief_times++;
}

void eum_buf_used_by_host(eum_buf *buf, size_t offset, size_t bytes, bool writes)
{
    eum_buf_seen_by_host(buf);
    if (writes)
        note_written(buf, offset, bytes);
    if (writes && is_rewritten(buf)) { /* each further piece makes it more */
        eum_stay_question whole = stay_question(buf, buf->bytes);
        note_time(buf, eum_stay_rewritten(&buf->stay, &whole));
        if (is_judged(buf) && eum_habit_rewritten(&buf->habit, buf->role, rewritten(buf)))
            tell(buf);
    }
    eum_stay_question used = stay_question(buf, bytes);
    eum_stay_credit(&buf->stay, &used);
}

/* Uses in place that were chosen one by one cannot stay where others have a part in their pages, who may choose otherwise. */
static void leave_shared(eum_move *moves, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < count && moves[i].use.stay; k++)
            if (k != i && eum_moves_same_pages(&moves[i], &moves[k]))
                moves[i].use.stay = moves[k].use.stay = moves[i].weighed = moves[k].weighed = false;
}

void eum_move_weigh(eum_move *move, bool once)
{
    if (in_place_by_role(move))
        use_host_side(move);
    else if (once)
        weigh(move);
}

void eum_moves_weigh(eum_move *moves, size_t count, uint64_t once)
{
    for (size_t i = 0; i < count; i++)
        eum_move_weigh(&moves[i], (once >> i & 1) != 0);
    if (once != 0)
        leave_shared(moves, count);
}
