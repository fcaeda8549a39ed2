/* placement: see placement.h. The rules are in docs/residency.md.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "placement.h"

#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------- choice of backing ----- */

static bool backing_possible(const eum_backing_question *q, eum_backing backing)
{
    bool device = q->device_kind != EUM_DEVICE_HOST;
    switch (backing) {
    case EUM_BACKING_MANAGED:
        return device && q->managed;
    case EUM_BACKING_MIRRORED:
    case EUM_BACKING_MAPPED:
        return device;
    case EUM_BACKING_HOST:
        return !device;
    default:
        return false;
    }
}

/* An ordinary buffer: what a context says of its buffers is true of this one. */
#define ORDINARY_BYTES ((uint64_t)1 << 20)

/* Pinned memory is allocated for about what populated managed memory costs (docs/backings.md), and serves kernels in place as well as managed memory
 * does. So what decides is how bytes move. */
static bool copies_pay(const eum_backing_question *q)
{
    uint64_t bytes = q->bytes != 0 ? q->bytes : ORDINARY_BYTES;
    return !q->oversubscribe && bytes <= q->pinned_room && eum_cost_copy(q->costs, bytes) < eum_cost_prefetch(q->costs, bytes);
}

eum_backing_answer eum_choose_backing(const eum_backing_question *q)
{
    if (q->forced != EUM_BACKING_AUTO) {
        eum_backing backing = backing_possible(q, q->forced) ? q->forced : EUM_BACKING_AUTO;
        return (eum_backing_answer){backing, EUM_BACKING_REASON_FORCED};
    }
    if (q->device_kind == EUM_DEVICE_HOST)
        return (eum_backing_answer){EUM_BACKING_HOST, EUM_BACKING_REASON_NO_DEVICE};
    if (!q->managed)
        return (eum_backing_answer){EUM_BACKING_MIRRORED, EUM_BACKING_REASON_NO_MANAGED};
    if (!q->concurrent_managed)
        return (eum_backing_answer){EUM_BACKING_MIRRORED, EUM_BACKING_REASON_NO_CONCURRENT};
    if (copies_pay(q))
        return (eum_backing_answer){EUM_BACKING_MIRRORED, EUM_BACKING_REASON_COPIES_PAY};
    return (eum_backing_answer){EUM_BACKING_MANAGED, EUM_BACKING_REASON_CONCURRENT};
}

const char *eum_backing_sentence(eum_backing backing, eum_backing_reason reason)
{
    switch (reason) {
    case EUM_BACKING_REASON_FORCED:
        return "The backing was asked for by configuration or EUM_BACKING; unset it to let the library choose.";
    case EUM_BACKING_REASON_CONCURRENT:
        return "Managed memory: the device lets the CPU and kernels use it at once, so pages are prefetched before each launch.";
    case EUM_BACKING_REASON_COPIES_PAY:
        return "Mirrored: the device has concurrent managed memory, but explicit copies of what changed cost less here than the "
               "migration of pages; "
               "EUM_BACKING=managed asks for managed memory all the same.";
    case EUM_BACKING_REASON_NO_CONCURRENT:
        return "Mirrored: the device has managed memory but no concurrent access to it (Windows, WSL, Jetson, or older than "
               "Pascal), so "
               "changed ranges are copied explicitly.";
    case EUM_BACKING_REASON_NO_MANAGED:
        return "Mirrored: the device has no managed memory, so changed ranges are copied explicitly.";
    case EUM_BACKING_REASON_NO_DEVICE:
        return "Host memory: kernels run on the CPU, so nothing has to move.";
    case EUM_BACKING_REASON_WRAPPED:
        switch (backing) {
        case EUM_BACKING_MANAGED:
            return "Managed: the wrapped memory is.";
        case EUM_BACKING_MAPPED:
            return "Mapped: the wrapped host memory is pinned, so kernels read it in place.";
        case EUM_BACKING_MIRRORED:
            return "Mirrored: the wrapped host memory is pageable, so kernels get a copy; wrap it with EUM_WRAP_REGISTER to have "
                   "it read in "
                   "place.";
        case EUM_BACKING_DEVICE:
            return "Device: the wrapped memory is on the device and has no host side; use eum_buffer_read and eum_buffer_write.";
        default:
            return "Host memory: it was wrapped, and kernels run on the CPU.";
        }
    default:
        return "";
    }
}

/* -------------------------------------------------------------------------------------------------------- plan ----- */

void eum_plan_init(eum_plan *plan)
{
    plan->steps = plan->few;
    plan->count = 0;
    plan->capacity = EUM_PLAN_INLINE;
    plan->discarded = 0;
    plan->no_memory = false;
}

void eum_plan_free(eum_plan *plan)
{
    if (plan->steps != plan->few)
        free(plan->steps);
    eum_plan_init(plan);
}

static void append(eum_plan *plan, eum_step step)
{
    if (plan->count > 0) {
        eum_step *last = &plan->steps[plan->count - 1];
        if (last->kind == step.kind && last->end == step.begin && last->where == step.where && last->to_host == step.to_host &&
            last->after_discard == step.after_discard && last->duplicates == step.duplicates &&
            last->keeps_host == step.keeps_host && last->maps_anew == step.maps_anew) {
            last->end = step.end;
            last->moving += step.moving;
            return;
        }
    }
    if (plan->count == plan->capacity) {
        size_t capacity = plan->capacity * 2;
        eum_step *steps = malloc(capacity * sizeof *steps);
        if (steps == NULL) {
            plan->no_memory = true;
            return;
        }
        memcpy(steps, plan->steps, plan->count * sizeof *steps);
        if (plan->steps != plan->few)
            free(plan->steps);
        plan->steps = steps;
        plan->capacity = capacity;
    }
    plan->steps[plan->count++] = step;
}

/* Where the page that holds a byte begins, or the buffer, if that is later. */
static uint64_t page_begin(const eum_use *use, uint64_t offset)
{
    uint64_t down = (offset + use->skew) / use->page * use->page;
    return down > use->skew ? down - use->skew : 0;
}

/* The first boundary of pages from an offset on, or the end of what the extents cover. */
static uint64_t page_end(const eum_use *use, uint64_t offset)
{
    uint64_t beyond = (offset + use->skew) % use->page;
    uint64_t rest = beyond == 0 ? 0 : use->page - beyond;
    return use->bytes - offset <= rest ? use->bytes : offset + rest;
}

/* Larger results are written to the device copy, and copied once, when the CPU reads them. Up to here stores over the link, which overlap with the
 * kernel, were measured to be faster (H100: a cycle with 1.4 MB of results takes 120 us instead of 158, with 5.6 MB 288 instead of 502). */
#define RESULTS_IN_PLACE ((uint64_t)8 << 20)

bool eum_role_in_place(const eum_use *use)
{
    bool large = use->end - use->begin > RESULTS_IN_PLACE;
    if (use->backing == EUM_BACKING_MIRRORED && use->role == EUM_ROLE_RESULTS && (large || use->access == EUM_ACCESS_READ))
        return false;
    return eum_role_stays_on_host(use->role);
}

bool eum_use_in_place(const eum_use *use)
{
    if (use->backing != EUM_BACKING_MANAGED || use->where == EUM_LOCATION_HOST || !use->concurrent)
        return false;
    return use->host_holds_page || use->stay || eum_role_in_place(use);
}

bool eum_read_duplicates(const eum_read_question *q)
{
    if (q->writers)
        return false;
    if (q->rewritten && !q->other_side_reads && !(q->to_device && q->came_back))
        return false;
    return q->other_side_reads || q->role == EUM_ROLE_QUERY || q->bytes <= EUM_DUPLICATE_FREELY || (q->to_device && q->came_back);
}

void eum_use_footprint(const eum_use *use, uint64_t *begin, uint64_t *end)
{
    *begin = use->begin;
    *end = use->end;
    if (use->backing != EUM_BACKING_MANAGED || use->begin >= use->end)
        return;
    *begin = page_begin(use, use->begin);
    *end = page_end(use, use->end);
}

/* What one piece (part of one extent, with the same access) needs. */
typedef struct piece_need {
    bool unset, set, discard, bounce, prefetch, in_place, travels;
    eum_location to; /* of the prefetch */
} piece_need;

/* Where the bytes are once read-mostly copies have collapsed: not where they are to be written. The driver leaves the copy that stays mapped
 * for reading only, and each page's first write faults; a movement maps it anew. move.c sees to it. */
static eum_locations collapsed(const eum_extent *e, const eum_use *use)
{
    bool copies = (e->valid & (e->valid - 1)) != 0;
    if ((e->flags & EUM_EXTENT_READ_MOSTLY) == 0 || !copies)
        return e->valid;
    return use->where == EUM_LOCATION_HOST && !use->host_holds_page ? e->valid & ~EUM_AT_HOST : EUM_AT_HOST;
}

static piece_need need_in_place(const eum_extent *e, const eum_use *use, bool worthless, bool no_old_bytes)
{
    piece_need need = {.to = EUM_LOCATION_HOST};
    bool read_mostly = (e->flags & EUM_EXTENT_READ_MOSTLY) != 0;
    need.unset = read_mostly;
    need.prefetch = read_mostly || e->valid != EUM_AT_HOST;
    need.travels = !worthless && (collapsed(e, use) & EUM_AT_HOST) == 0;
    bool may_travel = !worthless && need.prefetch && e->valid != EUM_AT_HOST;
    if (may_travel && no_old_bytes && use->can_discard && !use->busy) {
        need.discard = true;
        need.travels = false;
    }
    need.in_place = (e->accessed_by & eum_at(use->where)) == 0;
    return need;
}

static piece_need need_read(const eum_extent *e, const eum_use *use, bool worthless)
{
    eum_locations here = eum_at(use->where);
    piece_need need = {.to = use->where};
    bool read_mostly = (e->flags & EUM_EXTENT_READ_MOSTLY) != 0;
    if ((e->valid & here) != 0)
        return need;
    need.prefetch = true;
    need.set = !worthless && !read_mostly && use->duplicate;
    need.travels = !worthless;
    return need;
}

/* Would the device's first write of each page fault, although the page is there? The only copy of read-mostly pages stays mapped for reading when
 * the advice is taken back, and a prefetch to where it is does not change that. (A fault of the CPU costs less than two movements.) */
static bool is_stuck(const eum_extent *e, const eum_use *use)
{
    eum_locations here = eum_at(use->where);
    if (use->where == EUM_LOCATION_HOST || (e->valid & ~here) != 0)
        return false;
    bool may_be_here = e->valid == here || (e->flags & EUM_EXTENT_ASTRAY) != 0;
    return may_be_here && (e->flags & (EUM_EXTENT_STUCK | EUM_EXTENT_READ_MOSTLY)) != 0;
}

static bool keeps_host(const eum_extent *e, const eum_use *use)
{
    bool read_mostly = (e->flags & EUM_EXTENT_READ_MOSTLY) != 0;
    return read_mostly && use->where == EUM_LOCATION_HOST && use->host_holds_page && (e->valid & EUM_AT_HOST) != 0;
}

static piece_need need_write(const eum_extent *e, const eum_use *use, bool worthless, bool no_old_bytes)
{
    eum_locations here = eum_at(use->where);
    piece_need need = {.to = use->where};
    need.unset = (e->flags & EUM_EXTENT_READ_MOSTLY) != 0;
    need.bounce = is_stuck(e, use);
    if (e->valid == here && !need.unset && !need.bounce)
        return need;
    if (keeps_host(e, use)) /* each page's first write by the CPU may fault: better than to take it from the other map */
        return need;
    need.prefetch = true;
    need.travels = !worthless && ((collapsed(e, use) & here) == 0 || need.bounce);
    bool may_travel = !worthless && (e->valid != here || need.bounce);
    if (!may_travel || !no_old_bytes)
        return need;
    if (use->can_discard) { /* or, where it must not be done now, the worthless bytes move */
        need.discard = !use->busy;
        need.bounce = need.bounce && use->busy; /* what is populated is mapped anew */
        need.travels = need.travels && use->busy;
        return need;
    }
    /* No discard: rather than move worthless bytes to the device, let it write where they are. */
    return use->where == EUM_LOCATION_HOST ? need : need_in_place(e, use, worthless, no_old_bytes);
}

static piece_need need_of(const eum_extent *e, const eum_use *use, bool no_old_bytes)
{
    bool worthless = e->valid == 0 && (e->flags & EUM_EXTENT_ASTRAY) == 0;
    if (eum_use_in_place(use)) {
        bool duplicate_here = use->access == EUM_ACCESS_READ && (e->valid & eum_at(use->where)) != 0;
        return duplicate_here ? (piece_need){0} : need_in_place(e, use, worthless, no_old_bytes);
    }
    if (use->access == EUM_ACCESS_READ)
        return need_read(e, use, worthless);
    return need_write(e, use, worthless, no_old_bytes);
}

/* Visits the pieces of [begin, end): parts of one extent each, cut again where the overwritten interior begins and ends. */
typedef struct managed_walk {
    uint64_t begin, end;
    uint64_t inner_begin, inner_end; /* whole pages that are overwritten entirely: empty unless the access says so */
} managed_walk;

static managed_walk walk_of(const eum_use *use)
{
    managed_walk walk;
    eum_use_footprint(use, &walk.begin, &walk.end);
    walk.inner_begin = walk.inner_end = walk.begin;
    if (use->access != EUM_ACCESS_OVERWRITE)
        return walk;
    uint64_t end = use->end >= use->length ? use->bytes : use->end;
    uint64_t first = page_end(use, use->begin), last = page_begin(use, end);
    if (last > walk.end)
        last = walk.end; /* the rest is pages of padding, which nobody touches */
    if (first < last) {
        walk.inner_begin = first;
        walk.inner_end = last;
    }
    return walk;
}

static void plan_pass(eum_plan *plan, const eum_extents *extents, const eum_use *use, eum_step_kind pass)
{
    managed_walk walk = walk_of(use);
    for (size_t i = eum_extents_find(extents, walk.begin); i < extents->count && extents->items[i].begin < walk.end; i++) {
        const eum_extent *e = &extents->items[i];
        uint64_t cuts[4] = {walk.begin, walk.inner_begin, walk.inner_end, walk.end};
        for (int k = 0; k < 3; k++) {
            uint64_t begin = cuts[k] > e->begin ? cuts[k] : e->begin;
            uint64_t end = cuts[k + 1] < e->end ? cuts[k + 1] : e->end;
            if (begin >= end)
                continue;
            piece_need need = need_of(e, use, k == 1);
            eum_step step = {.begin = begin, .end = end, .kind = pass, .where = use->where};
            step.keeps_host = pass == EUM_STEP_UNSET_READ_MOSTLY && keeps_host(e, use);
            if (pass == EUM_STEP_BOUNCE) {
                step.where = EUM_LOCATION_HOST;
                step.moving = end - begin;
            }
            if (pass == EUM_STEP_PREFETCH) {
                step.where = need.to;
                step.maps_anew = need.bounce || (e->valid != 0 && (e->valid & eum_at(need.to)) == 0);
                step.moving = need.travels ? end - begin : 0;
                step.after_discard = need.discard;
                step.duplicates = need.set || ((e->flags & EUM_EXTENT_READ_MOSTLY) != 0 && !need.unset);
            }
            if (pass == EUM_STEP_DISCARD && need.discard)
                plan->discarded += end - begin;
            if ((pass == EUM_STEP_UNSET_READ_MOSTLY && need.unset) || (pass == EUM_STEP_SET_READ_MOSTLY && need.set) ||
                (pass == EUM_STEP_DISCARD && need.discard) || (pass == EUM_STEP_BOUNCE && need.bounce) ||
                (pass == EUM_STEP_PREFETCH && need.prefetch) || (pass == EUM_STEP_IN_PLACE && need.in_place))
                append(plan, step);
        }
    }
}

static void plan_mirrored(eum_plan *plan, const eum_extents *extents, const eum_use *use)
{
    eum_locations here = eum_at(use->where);
    for (size_t i = eum_extents_find(extents, use->begin); i < extents->count && extents->items[i].begin < use->end; i++) {
        const eum_extent *e = &extents->items[i];
        uint64_t begin = e->begin > use->begin ? e->begin : use->begin;
        uint64_t end = e->end < use->end ? e->end : use->end;
        if ((e->valid & here) != 0 || e->valid == 0)
            continue;
        if (use->access == EUM_ACCESS_OVERWRITE) {
            plan->discarded += end - begin;
            continue;
        }
        eum_step step = {.begin = begin, .end = end, .kind = EUM_STEP_COPY, .where = use->where, .moving = end - begin};
        if (use->where == EUM_LOCATION_HOST) {
            step.to_host = true;
            step.where = 0;
            while ((e->valid & eum_at(step.where)) == 0)
                step.where++;
        }
        append(plan, step);
    }
}

void eum_plan_use(eum_plan *plan, const eum_extents *extents, const eum_use *use)
{
    if (use->begin >= use->end)
        return;
    if (use->backing == EUM_BACKING_MIRRORED) {
        plan_mirrored(plan, extents, use);
        return;
    }
    if (use->backing != EUM_BACKING_MANAGED || !use->concurrent)
        return; /* one place, or moved by the driver itself */
    for (int pass = EUM_STEP_UNSET_READ_MOSTLY; pass <= EUM_STEP_IN_PLACE; pass++)
        plan_pass(plan, extents, use, (eum_step_kind)pass);
}

eum_extent_change eum_step_change(const eum_step *step)
{
    eum_extent_change change = EUM_EXTENT_CHANGE_NONE;
    switch (step->kind) {
    case EUM_STEP_UNSET_READ_MOSTLY:
        change.valid_keep = step->keeps_host ? EUM_AT_HOST : 0;
        change.accessed_by_keep = 0;
        change.flags_clear = EUM_EXTENT_READ_MOSTLY;
        change.flags_set = step->keeps_host ? 0 : EUM_EXTENT_ASTRAY;
        break;
    case EUM_STEP_SET_READ_MOSTLY: /* the driver takes back the mappings of accessed-by, and does not restore them afterwards */
        change.accessed_by_keep = 0;
        change.flags_set = EUM_EXTENT_READ_MOSTLY;
        break;
    case EUM_STEP_DISCARD:
        change.valid_keep = 0;
        change.flags_clear = EUM_EXTENT_ASTRAY;
        break;
    case EUM_STEP_PREFETCH:
        change.valid_keep = step->duplicates ? EUM_KEEP_ALL : 0;
        change.valid_add = eum_at(step->where);
        change.flags_clear = EUM_EXTENT_ASTRAY | (step->maps_anew ? EUM_EXTENT_STUCK : 0);
        break;
    case EUM_STEP_BOUNCE:
        change.valid_keep = 0;
        change.valid_add = eum_at(step->where);
        change.flags_clear = EUM_EXTENT_ASTRAY | EUM_EXTENT_STUCK;
        break;
    case EUM_STEP_IN_PLACE:
        change.accessed_by_add = eum_at(step->where);
        break;
    case EUM_STEP_COPY:
        change.valid_add = step->to_host ? EUM_AT_HOST : eum_at(step->where);
        break;
    }
    return change;
}

eum_extent_change eum_use_change(const eum_use *use)
{
    eum_extent_change change = EUM_EXTENT_CHANGE_NONE;
    if (use->access == EUM_ACCESS_READ)
        return change;
    change.flags_clear = EUM_EXTENT_UNDEFINED;
    if (use->backing == EUM_BACKING_MIRRORED) {
        change.valid_keep = 0;
        change.valid_add = eum_at(use->where);
    }
    return change;
}
