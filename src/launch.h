/* launch: one kernel, from checked arguments to a job.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_SRC_LAUNCH_H
#define EUM_SRC_LAUNCH_H

#include "move.h"

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
    bool borrowed;    /* it lies in memory of the launch's own call, which is not over before finish is */
} eum_launch_record;

/* Where the kernels of the context use their bytes. */
eum_location eum_launch_location(const eum_ctx *ctx);
/* Checks the arguments of a launch or an acquisition against each other and against the stream: contexts, overlap. */
eum_status eum_launch_check(const eum_strm *stream, const eum_launch_request *request);
/* Checks what depends on state, prepares the moves, makes room, and waits where a movement needs the host to have waited. Lock held on entry
 * and exit, released in between. */
eum_status eum_launch_settle(eum_strm *stream, const eum_launch_request *request, eum_move *moves);

#endif
