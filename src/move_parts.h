/* move_parts: what the files of move share: move.c (plans, runs and records), move_batch.c (runs of several together),
 * move_conflicts.c (what is in the way) and move_steps.c (one step).
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The context's lock is held for all of these. */
#ifndef EUM_SRC_MOVE_PARTS_H
#define EUM_SRC_MOVE_PARTS_H

#include "move.h"

/* ---- move.c ---- */

/* Plans use `i` of a launch, reserves what recording it takes, gives the advice that comes first, and orders the stream.
 * Errors as eum_moves_run. */
eum_status eum_move_prepare(eum_move *moves, size_t count, size_t i, eum_strm *stream);
/* Then its steps, up to those that discard. Errors: device errors. */
eum_status eum_move_steps(eum_move *move, eum_strm *stream);
/* One of them. */
eum_status eum_move_step(eum_move *move, eum_step *step, eum_strm *stream);
/* One that the device has accepted: records what it changes. */
void eum_move_did(eum_move *move, const eum_step *step);

/* ---- move_batch.c ---- */

/* From how many ranges on these uses are prefetched by one call; EUM_BATCH_NONE: never. */
size_t eum_moves_least_batch(const eum_move *moves, size_t count, const eum_ctx *ctx);
/* Prepare and steps, for all uses; not with EUM_BATCH_NONE, where one use after the other is better: a copy need not wait for what the
 * next use waits for. Errors as eum_moves_run. */
eum_status eum_moves_run_together(eum_move *moves, size_t count, size_t least, eum_strm *stream);
/* What all of them discard, and populate after that. Errors: device errors. */
eum_status eum_moves_discard(eum_move *moves, size_t count, size_t least, eum_strm *stream);

/* ---- move_conflicts.c ---- */

static inline eum_hazard_kind eum_use_hazard(const eum_use *use)
{
    return use->access == EUM_ACCESS_READ ? EUM_HAZARD_READ : EUM_HAZARD_WRITE;
}

/* Does the plan take bytes away from where somebody may be using them? Copies of a mirrored buffer go to a side that holds nothing valid, so
 * everybody who used it has been waited for by whoever made it invalid; read-mostly pages stay where they were. */
bool eum_plan_takes_away(const eum_plan *plan);
/* Managed pages that a job in flight writes, or uses over the link, would be taken from it by read-mostly advice. */
bool eum_move_writers_in_flight(const eum_move *move, eum_point *out_point);
/* Does this read leave the pages where they are and make copies? */
bool eum_move_duplicates(const eum_move *move);
/* Discards are only made where nothing is in flight, and on devices that keep them in order. */
bool eum_move_busy(const eum_move *move, const eum_strm *stream);
/* Is anything in flight that the planned use conflicts with? */
bool eum_move_conflicts(const eum_move *move);
/* Orders the stream after all of that. Errors: device errors. */
eum_status eum_move_order(const eum_move *move, eum_strm *stream);

/* ---- move_steps.c ---- */

/* Submits the step and records what it changes. A hint that fails is said, and fails nothing. Errors: device errors. */
eum_status eum_step_run(eum_buf *buf, eum_step *step, eum_strm *stream);
/* The second half, for one that was submitted. */
void eum_step_did(eum_buf *buf, const eum_step *step);
/* TARGETS live on the device: said to the driver once for the whole buffer, and taken back when the role changes. */
void eum_buf_advise_role(eum_buf *buf, const eum_use *use);

#endif
