/* launch: one kernel, from checked arguments to a job.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_SRC_LAUNCH_H
#define EUM_SRC_LAUNCH_H

#include "move.h"

/* Everything a launch needs until the device is done with it; one allocation, freed by its finish callback. */
typedef struct eum_launch_record {
    eum_task task;
    eum_kernel_fn user_cpu; /* the CPU callback and its user pointer: the task calls ours, which calls it */
    void *user;
    eum_strm *stream;
    uint64_t sequence;     /* of its point, set under the lock before finish can have it */
    bool dependency_failed; /* it did not run, because what it was to read is undefined */
    size_t count;
    eum_range *ranges;
    eum_access *accesses;
    void **addresses;
    size_t *bytes;
} eum_launch_record;

#endif
