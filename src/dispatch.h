/* dispatch: whether the CPU or the device runs a similarity operation. Pure: plain data in, plain data out.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The one that is predicted to be done sooner; with the one exception that moving targets to the device is paid once and helps later calls.
 * Nobody knows how many will come. So the CPU goes on only until what it took longer than the device would on resident targets has reached what
 * moving costs. That is counted in the same place as uses over the link (stay.h), so that whatever comes, at most twice the best is paid. */
#ifndef EUM_SRC_DISPATCH_H
#define EUM_SRC_DISPATCH_H

#include <stdbool.h>

#include "device/costs.h"
#include "engram_um.h"
#include "kernels/kernels.h"

/* What the CPU's kernels reach; by instruction set. */
typedef struct eum_cpu_costs {
    uint64_t call_ns;           /* beside the work: holding the operands, preparing the query */
    uint64_t threads_ns;        /* handing work to another thread, and waiting for it: of each */
    uint64_t cached_mbps[2];    /* one thread reading rows, MB/s: of the first MiB, of what lies within the first 32 MiB */
    uint64_t thread_mbps;       /* of the rest */
    uint64_t most_mbps;         /* all threads together */
    uint64_t few_mhz, many_mhz; /* millions of multiply-adds a second of one thread: for up to 8 queries, and for more */
} eum_cpu_costs;
eum_cpu_costs eum_cpu_costs_of(eum_cpu_isa isa);

typedef struct eum_executor_question {
    eum_executor asked;
    bool no_copy;  /* the targets find no room on the device, or are the caller's: they pass through it in chunks each time */
    bool mapped;   /* the targets do not move at all: kernels always read them over the link */
    bool in_place; /* the kernel may use over the link what the host has of targets and queries */
    bool results_in_place; /* and write the results there */
    bool by_copies;        /* bytes move by copies, or by prefetches */
    bool reused;           /* the user said that the targets are scored again and again */
    uint32_t threads;
    /* What they take, in 1024ths of what is predicted without: learned; 0: 1024. */
    uint32_t cpu_times;
    uint32_t device_times, in_place_times; /* with the targets there, and over the link */
    const eum_costs *costs;                /* of the device */
    eum_cpu_costs cpu;
    uint64_t queries, rows, dim;
    uint64_t k; /* the best that are wanted of each query; 0: all scores */
    uint64_t element_bytes;
    uint64_t missing_targets, missing_queries; /* bytes that the device lacks */
    uint64_t results;                          /* bytes that the host will want back */
    uint64_t missing_results;                  /* bytes whose pages must be made the host's before it writes them */
    uint64_t over_link;                        /* bytes of the targets that would be used over the link; mirrored: all of them */
    uint64_t spent_ns, expected_ns; /* of the targets' eum_stay: on uses that did not move them, and what is still expected */
} eum_executor_question;

typedef struct eum_executor_answer {
    eum_executor executor;      /* CPU or DEVICE */
    uint64_t cpu_ns, device_ns; /* predicted, of this call */
    uint64_t job_ns;            /* of device_ns, what the job takes: not the results that move afterwards */
    bool moves;                 /* device_ns has in it that the device is given the targets, or staging memory them */
    bool over_link;             /* they are read over the link */
    uint64_t rent_ns; /* what the CPU takes longer than the device on resident targets, if they could move there; else 0 */
} eum_executor_answer;

/* Predicted, for operands that are all on the host. */
uint64_t eum_predict_cpu(const eum_executor_question *question);

eum_executor_answer eum_choose_executor(const eum_executor_question *question);

#endif
