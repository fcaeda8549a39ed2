/* launch: one kernel, from checked arguments to a job.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_SRC_LAUNCH_H
#define EUM_SRC_LAUNCH_H

#include "move.h"

/* What the launches of one call have in common, one for each chunk of its source. Under the context's lock. */
typedef struct eum_launch_parts {
    uint32_t references; /* the call, and its launches in flight */
    bool failed;         /* one of them has: those behind it do not run, and fail as it did */
    int32_t code;        /* which is with this code of the callback; 0: what it was to read is undefined */
} eum_launch_parts;

/* Everything a launch needs until the device is done with it; let go of by its finish callback: one allocation, or on
 * CUDA, where that comes before the launch returns, the caller's stack. */
typedef struct eum_launch_record {
    eum_task task;
    eum_kernel_fn user_cpu; /* the CPU callback and its user pointer: the task calls ours, which calls it */
    void *user;
    eum_strm *stream;
    uint64_t sequence;      /* of its point, set under the lock before finish can have it */
    bool dependency_failed; /* it did not run, because what it was to read is undefined */
    size_t count;
    eum_range *ranges;
    eum_access *accesses;
    void **addresses;
    size_t *bytes;
    size_t versioned; /* of the request; */
    uint64_t version; /* that argument's, when the launch took its turn */
    eum_launch_rows rows;
    bool borrowed; /* it lies in memory of the launch's own call, which is not over before finish is */
} eum_launch_record;

/* Where the kernels of the context use their bytes. */
eum_location eum_launch_location(const eum_ctx *ctx);
/* Is there a callback for the device? */
eum_status eum_launch_check_kernel(const eum_strm *stream, const eum_launch_request *request);
/* Checks the arguments of a launch or an acquisition against each other and against the stream: contexts, overlap. */
eum_status eum_launch_check(const eum_strm *stream, const eum_launch_request *request);
/* Checks what depends on state: maps, read-only and undefined bytes. Lock held. */
eum_status eum_launch_check_state(const eum_strm *stream, const eum_launch_request *request);
/* The same, prepares the moves, makes room, and waits where a movement needs the host to have waited. Lock held on entry
 * and exit, released in between. */
eum_status eum_launch_settle(eum_strm *stream, const eum_launch_request *request, eum_move *moves);
/* The written ranges become undefined, or defined. Without memory to split extents more than the range is marked undefined: never less. Lock held for
 * these, too. */
void eum_launch_mark_written(const eum_launch_record *record, bool undefined);
bool eum_launch_reads_undefined(const eum_launch_record *record);
/* For eum_launch_mark_written, when the record is gone. */
eum_launch_record eum_launch_written_by(const eum_launch_request *request);
/* What it was to write is undefined from now on. Nothing in flight writes it. Lock held. */
void eum_launch_leave_undefined(const eum_launch_request *request);
/* Lock held. */
void eum_launch_parts_drop(eum_launch_parts *parts);

#endif
