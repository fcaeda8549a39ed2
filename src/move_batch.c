/* move_batch: the movements of several uses together, their prefetches by one call of the device where that pays; see move_parts.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Uses that have no page in common are planned first, with their advice and what they are to run after. Then their pages move: kind by
 * kind, in the order in which plans list them. What that changes is recorded when the device has accepted it, so a plan is never made of
 * what may yet fail. A use that has pages in common with one that is planned is planned when those have moved. */
#include "batch.h"
#include "move_parts.h"
#include "trace.h"

#include <stdlib.h>

/* Uses that were planned, of managed memory; what else lies between them has no steps of these kinds. */
typedef struct group {
    eum_move *moves;
    size_t count, least;
    bool after_discard; /* which prefetches: those that populate what was discarded, or the others */
    eum_strm *stream;
} group;

size_t eum_moves_least_batch(const eum_move *moves, size_t count, const eum_ctx *ctx)
{
    for (size_t i = 0; i < count; i++)
        if (moves[i].buf->backing == EUM_BACKING_MANAGED)
            return eum_batch_least(ctx->batch, ctx->device->caps.prefetch_many, &ctx->costs);
    return EUM_BATCH_NONE;
}

static bool is_wanted(const group *g, const eum_step *step, eum_step_kind kind)
{
    return step->kind == kind && (kind != EUM_STEP_PREFETCH || step->after_discard == g->after_discard);
}

/* The steps of one kind, each by a call of its own. */
static eum_status run_kind(const group *g, eum_step_kind kind)
{
    eum_status status = EUM_OK;
    for (size_t i = 0; i < g->count; i++)
        for (size_t k = 0; k < g->moves[i].plan.count && status == EUM_OK; k++)
            if (is_wanted(g, &g->moves[i].plan.steps[k], kind))
                status = eum_move_step(&g->moves[i], &g->moves[i].plan.steps[k], g->stream);
    return status;
}

/* How many prefetches there are. Writes their ranges to out, unless it is NULL; then they are about to be submitted. */
static size_t collect(const group *g, eum_piece *out)
{
    size_t count = 0;
    for (size_t i = 0; i < g->count; i++)
        for (size_t k = 0; k < g->moves[i].plan.count; k++) {
            const eum_step *step = &g->moves[i].plan.steps[k];
            if (!is_wanted(g, step, EUM_STEP_PREFETCH))
                continue;
            g->moves[i].started |= out != NULL;
            if (out != NULL)
                out[count] = (eum_piece){&g->moves[i].buf->memory, step->begin, step->end - step->begin, step->where};
            count++;
        }
    return count;
}

static void record(const group *g)
{
    for (size_t i = 0; i < g->count; i++)
        for (size_t k = 0; k < g->moves[i].plan.count; k++)
            if (is_wanted(g, &g->moves[i].plan.steps[k], EUM_STEP_PREFETCH))
                eum_move_did(&g->moves[i], &g->moves[i].plan.steps[k]);
}

/* A call that waits is only made by force. It would wait for all that is in front of it, with the lock held, which callbacks there
 * take. So nothing may be there, as far as is known. */
static bool may_call(const group *g)
{
    const eum_strm *stream = g->stream;
    eum_ctx *ctx = stream->ctx;
    if (ctx->costs.batch_waits == 0)
        return true;
    bool known = !stream->wrapped && !stream->exposed && !ctx->unmarked;
    if (!known || !eum_point_passed(ctx, (eum_point){stream->serial, stream->sequence}))
        return false;
    for (size_t i = 0; i < g->count; i++)
        if (eum_move_conflicts(&g->moves[i]))
            return false;
    return true;
}

/* All of it by one call. What fails has changed nothing. */
static eum_status submit(const group *g, size_t count)
{
    eum_ctx *ctx = g->stream->ctx;
    eum_piece *pieces = malloc(count * sizeof *pieces);
    if (pieces == NULL)
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory to prefetch %zu ranges by one call; free some host memory", count);
    (void)collect(g, pieces);
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += pieces[i].bytes;
    EUM_TRACE_PUSH("engram_um: prefetch many", bytes);
    eum_status status = ctx->device->ops->prefetch_many(g->stream->device_stream, pieces, count);
    EUM_TRACE_POP();
    free(pieces);
    if (status != EUM_OK)
        return status;
    record(g);
    ctx->stats.prefetch_batches++;
    eum_log_write(&ctx->log, EUM_LOG_DEBUG, "%zu ranges (%zu bytes) are prefetched by one call", count, bytes);
    return EUM_OK;
}

/* One call for all if they are enough. If that fails each gets its own: CUDA's legacy stream cannot have it, and its failure need not
 * be theirs. */
static eum_status prefetch(const group *g)
{
    size_t count = collect(g, NULL);
    if (count < g->least || !may_call(g))
        return run_kind(g, EUM_STEP_PREFETCH);
    eum_error saved;
    eum_error_save(&saved);
    eum_status together = submit(g, count);
    if (together == EUM_OK || together == EUM_ERROR_DEVICE_LOST)
        return together;
    eum_error_restore(&saved);
    eum_status status = run_kind(g, EUM_STEP_PREFETCH);
    if (status == EUM_OK && together != EUM_ERROR_NOT_SUPPORTED && together != EUM_ERROR_OUT_OF_MEMORY)
        eum_log_write(
            &g->stream->ctx->log, EUM_LOG_WARN,
            "%zu ranges could not be prefetched by one call (%s), and were by one each: EUM_PREFETCH_BATCH=never does so at "
            "once",
            count, eum_status_name(together));
    return status;
}

/* What the last use of a buffer moved, where several uses of one buffer have moved together. */
static void tell_bytes(const group *g)
{
    for (size_t i = 0; i < g->count; i++) {
        const eum_move *move = &g->moves[i];
        if (move->buf->backing != EUM_BACKING_MANAGED || move->use.begin == move->use.end)
            continue;
        move->buf->last_bytes = 0;
        for (size_t k = 0; k < move->plan.count; k++)
            if (!move->plan.steps[k].after_discard)
                move->buf->last_bytes += move->plan.steps[k].moving;
    }
}

static eum_status move_group(const group *g)
{
    eum_status status = run_kind(g, EUM_STEP_BOUNCE);
    if (status == EUM_OK)
        status = prefetch(g);
    if (status == EUM_OK)
        status = run_kind(g, EUM_STEP_IN_PLACE);
    if (status == EUM_OK)
        tell_bytes(g);
    return status;
}

static bool shares_pages(const group *g, const eum_move *move)
{
    for (size_t i = 0; i < g->count; i++)
        if (eum_moves_same_pages(&g->moves[i], move))
            return true;
    return false;
}

eum_status eum_moves_run_together(eum_move *moves, size_t count, size_t least, eum_strm *stream)
{
    group g = {.moves = moves, .least = least, .stream = stream};
    eum_status status = EUM_OK;
    for (size_t i = 0; i < count && status == EUM_OK; i++) {
        bool managed = moves[i].buf->backing == EUM_BACKING_MANAGED;
        if (managed && shares_pages(&g, &moves[i])) {
            status = move_group(&g);
            g.moves = &moves[i];
            g.count = 0;
        }
        if (status == EUM_OK)
            status = eum_move_prepare(moves, count, i, stream);
        if (status == EUM_OK && !managed)
            status = eum_move_steps(&moves[i], stream);
        g.count++;
    }
    return status == EUM_OK ? move_group(&g) : status;
}

eum_status eum_moves_discard(eum_move *moves, size_t count, size_t least, eum_strm *stream)
{
    const group g = {.moves = moves, .count = count, .least = least, .after_discard = true, .stream = stream};
    eum_status status = run_kind(&g, EUM_STEP_DISCARD);
    if (status == EUM_OK)
        status = prefetch(&g);
    for (size_t i = 0; i < count; i++)
        stream->ctx->stats.bytes_discarded += moves[i].plan.discarded;
    return status;
}
