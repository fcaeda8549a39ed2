/* contradiction: does a buffer's role say what is done with it? Pure.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_SRC_CONTRADICTION_H
#define EUM_SRC_CONTRADICTION_H

#include <stdbool.h>
#include <stdint.h>

#include "engram_um.h"

/* After so many cycles in a row that contradict the role it is said, and after so many that do not it is said no more. A cycle is what kernels do
 * between two rewrites by the CPU; of results, between two kernels that write them. */
#define EUM_CONTRADICTION_CYCLES 3
/* Smaller buffers are not judged: to move them takes about as long as a launch (10 us), whatever the role. */
#define EUM_CONTRADICTION_BYTES ((uint64_t)256 << 10)

/* Of one buffer. Begins as zeros, and again with each new role. */
typedef struct eum_habit {
    eum_contradiction contradiction; /* as things are now */
    bool told;                       /* there was one before */
    bool judged;                     /* this cycle has been counted already */
    bool host_looked;                /* at the results, in this cycle */
    uint8_t against, agreeing;       /* cycles in a row */
    uint8_t reads;                   /* of the results by kernels, since they were counted */
    uint8_t unseen;                  /* writes of the results by kernels, since the CPU looked */
    uint64_t rewritten, used;        /* bytes: by the CPU at the cycle's begin, by kernels since */
    uint64_t far_ns;                 /* what uses over the link cost since they were counted */
} eum_habit;

typedef struct eum_habit_use {
    uint64_t bytes;
    eum_access access;
    uint64_t far_ns;  /* predicted, if it was used over the link; else 0 */
    uint64_t move_ns; /* to move the buffer to the device */
} eum_habit_use;

/* These give whether the role has turned out, just now and for the first time, to contradict the use. */
/* The CPU rewrote most of the buffer. */
bool eum_habit_rewritten(eum_habit *habit, eum_role role, uint64_t bytes);
/* A kernel used it. */
bool eum_habit_used(eum_habit *habit, eum_role role, const eum_habit_use *use);
/* The CPU used it in any way. */
void eum_habit_host_looked(eum_habit *habit);

#endif
