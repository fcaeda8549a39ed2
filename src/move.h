/* move: carries out the plans of placement on a stream, and keeps extents and hazards true while it does.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_SRC_MOVE_H
#define EUM_SRC_MOVE_H

#include "buffer.h"
#include "stream.h"

/* One use of one buffer by an operation: a launch has one for each argument, a map or a transfer has one. */
typedef struct eum_move {
    eum_buf *buf;
    eum_use use;
    eum_plan plan;
    eum_stay_answer answer; /* if weighed */
    uint64_t lease;         /* while it is in flight unseen: keeps others off; 0: none */
    bool started;           /* movements of the plan were submitted and are not recorded yet */
    /* mirrored, and there is no room for a device copy or it does not pay: the device uses the pinned host side in place */
    bool over_link;
    bool settled; /* nothing of it moves, and commit changes nothing about where bytes are; see settled.h */
    bool seen;    /* it was looked at whether to weigh it */
    bool weighed;
    bool hint; /* a prefetch: others may follow for the rest of the buffer */
    /* what is overwritten is defined once that has happened, not at the commit: jobs in flight still find it undefined */
    bool defines_later;
} eum_move;

/* The context's lock is held for all of these. In order: init each; while must_wait, unlock, wait for the point, lock and check again; run;
 * submit what uses the bytes; commit (or, if that failed, commit with submitted = false); end each. */
void eum_move_init(eum_move *move, eum_buf *buf, size_t offset, size_t bytes, eum_access access, eum_location where);
void eum_move_end(eum_move *move);
/* Which uses are made in place: those whose role says so, and, where the kernel reads or writes each byte once, without atomics (bit i of `once`),
 * those with EUM_ROLE_AUTO while that costs less than moving. All uses of one launch; before share_pages and make_room. */
void eum_moves_weigh(eum_move *moves, size_t count, uint64_t once);
/* The same for one of them, which may still have to give way to others on its pages. */
void eum_move_weigh(eum_move *move, bool once);
/* At commit: what was weighed was done so many times. */
void eum_move_was_weighed(const eum_move *move, uint32_t times);
/* After the commit of what a kernel did so many times, or who acquired the bytes for one: does the role of the buffer say so? */
void eum_move_judge(const eum_move *move, uint32_t times);
/* The uses of one launch, after all are initialized: where one must leave pages on the host because of a map, all that have a part in these
 * pages do. */
bool eum_moves_same_pages(const eum_move *a, const eum_move *b);
void eum_moves_share_pages(eum_move *moves, size_t count);
/* The address that the user of the bytes gets; NULL for an empty range. */
void *eum_move_address(const eum_move *move);

/* Makes the device copies that the uses need, and the library's own device memory. Where there is no room, copies that were used longest
 * ago are spilled first: their bytes go back to the host, which takes waiting (the lock is released and taken again: *out_waited says
 * so, and the caller looks at everything again). What still finds no room, or would find none on an empty device, is used over the link,
 * if the host side is pinned. Errors: EUM_ERROR_OVER_BUDGET, EUM_ERROR_OUT_OF_DEVICE_MEMORY. */
eum_status eum_moves_make_room(eum_move *moves, size_t count, bool *out_waited);

/* Do copies from and to pageable memory wait in stream order, as CUDA's do? With the lock held that could be a wait for somebody who waits for
 * the lock, so the host waits first, without it, until there is nothing left to wait for: the point is one that is still open. */
bool eum_copies_wait(const eum_ctx *ctx);
bool eum_move_must_drain(const eum_move *move, eum_strm *stream, eum_point *out_point);

/* Is anything in flight on the pages of the use but what `stream` has in order itself? */
bool eum_move_must_wait_for_others(const eum_move *move, const eum_strm *stream, eum_point *out_point);

/* Read-mostly copies collapse at once, not in stream order: before that the host must have waited for the jobs that use them. The same for
 * copies of pageable memory on `stream` that would wait. */
bool eum_moves_must_wait(const eum_move *moves, size_t count, eum_strm *stream, eum_point *out_point);
/* A read of the host's that will duplicate pages must have waited for the jobs that write them: the advice acts at once. Others move the pages
 * instead of duplicating them, which stays in stream order. */
bool eum_move_must_wait_for_writers(const eum_move *move, eum_point *out_point);

/* Orders the stream after everything the uses conflict with and submits their movements: those that keep bytes first, discards last.
 * Reserves all memory that commit needs. The movements are recorded at a point of their own, in front of what uses the bytes, also those that
 * were made before a failure (they changed no data). May release the lock for a while, if the device fails to give a point.
 * Errors: EUM_ERROR_OUT_OF_MEMORY, EUM_ERROR_OUT_OF_DEVICE_MEMORY, EUM_ERROR_OVER_BUDGET, device errors. */
eum_status eum_moves_run(eum_move *moves, size_t count, eum_strm *stream);

/* Is there nothing to run and nothing to wait for? */
bool eum_moves_idle(eum_move *moves, size_t count);

/* If submitted, records the uses as in flight until `point`. */
void eum_moves_commit(eum_move *moves, size_t count, eum_point point, bool submitted);

/* Something was submitted and the device refused to give a point for it (`status`): waits for everything instead, so that nothing is in
 * flight unseen; meanwhile others get EUM_ERROR_MAPPED for what the moves use. Lock held on entry and exit, released in between. Returns
 * EUM_OK if that went well, and `status` if it did not, or where waiting is not possible, with this thread's error detail as it was. */
eum_status eum_moves_quiesce(eum_ctx *ctx, eum_move *moves, size_t count, eum_status status);

#endif
