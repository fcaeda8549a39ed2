/* operations: where the similarity operations of a context ran, how long they took, and whether its device rests.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Guarded by the context's lock. */
#ifndef EUM_SRC_OPERATIONS_H
#define EUM_SRC_OPERATIONS_H

#include <stdbool.h>

#include "engram_um.h"
#include "hazard.h"

#define EUM_OPERATION_COUNT 4
/* Failures in a row after which the device rests, and for how many operations. In calls, not in time: a program does the same each time. */
#define EUM_DEVICE_TRIES 3
#define EUM_DEVICE_REST 64
/* Jobs whose end is watched for at once, the newest. */
#define EUM_OPERATIONS_WATCHED 8

/* One run, from its start. */
typedef struct eum_run {
    eum_operation operation;
    eum_executor executor;
    int64_t start_ns;
    uint64_t predicted_ns[EUM_EXECUTORS];
    bool chunked, fallback;
    /* On the device: */
    uint64_t job_ns; /* predicted until the job's end: what the host then brings is not in it */
    bool moves;      /* its targets move there, or pass through it */
    bool over_link;  /* they are read over the link */
    bool alone;      /* nothing was in flight on its stream, nor others on its operands, when it was started */
    uint32_t class;  /* learned.h */
    uint32_t times;  /* what was learned when it was predicted */
} eum_run;

typedef struct eum_operations {
    eum_operation_stats stats[EUM_OPERATION_COUNT]; /* by operation - 1; struct_size and rest are filled in by who reads them */
    struct {
        eum_point point; /* sequence 0: none */
        eum_run run;
    } watched[EUM_OPERATIONS_WATCHED];
    size_t next;
    uint32_t failures, rest;
} eum_operations;

/* The run was started. point: of its job; sequence 0: it is done, now. */
void eum_operations_started(eum_operations *operations, const eum_run *run, eum_point point, int64_t now_ns);
/* `runs` runs like this one were started, of which the last is at the point, if it can be told apart from the others; else sequence 0. */
void eum_operations_repeated(eum_operations *operations, const eum_run *run, uint32_t runs, eum_point point);
/* The end of this point is not watched for: others share it. */
void eum_operations_forget(eum_operations *operations, eum_point point);
/* Is the end of this point watched for? Then its place, which is forgotten with eum_operations_ended; else -1. */
int eum_operations_watched(const eum_operations *operations, eum_point point);
/* now_ns < 0: nobody saw when. Another run may have taken the place since: then nothing happens. Returns the run if it was timed, which stays until the
 * next one is watched; else NULL. */
const eum_run *eum_operations_ended(eum_operations *operations, int place, eum_point point, int64_t now_ns);

/* The device did, or failed to do, an operation that AUTO gave it. Returns true if it rests from now on. */
bool eum_operations_device(eum_operations *operations, bool failed);
/* AUTO is about to give the device an operation: does it rest? Counts that as one operation of the rest. */
bool eum_operations_resting(eum_operations *operations);

#endif
