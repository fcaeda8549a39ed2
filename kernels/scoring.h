/* scoring: many queries against many rows, all scores or the best of them; one declaration for the CUDA and the CPU implementation.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * As kernels.h: addresses in, numbers out. */
#ifndef EUM_KERNELS_SCORING_H
#define EUM_KERNELS_SCORING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engram_um.h"
#include "kernels/kernels.h"

/* include/engram_um.h says what each metric gives for which numbers, and how exactly. */
typedef struct eum_scoring_args {
    eum_metric metric;
    eum_element element;    /* of the targets */
    const float *queries;   /* query_count x dim */
    const void *targets;    /* rows x dim, aligned to their element */
    const int64_t *numbers; /* NULL, or the row that each of the `rows` scores is of; all in range */
    float *scores;          /* query_count x rows, or query_count x k */
    int64_t *indices;       /* NULL: all scores. Else query_count x k, the best first */
    uint64_t query_count, rows;
    uint64_t dim;                      /* >= 1 */
    uint64_t query_stride, row_stride; /* bytes from one to the next, whole elements, at least dim of them */
    uint64_t k;                        /* 1 to EUM_TOPK_MOST where there are indices */
    uint32_t flags;                    /* EUM_SCORING_*, 0: as fast as possible */
    uint32_t processors;               /* CUDA: as if the device had so many multiprocessors; 0: as it is */
    /* CPU, vector instructions, cosine, without numbers, at least two queries: NULL, or a place for each row's inverse norm, which this instruction set's
     * kernels have put there before (norms_known), or put there now. The scores are the same bits either way. */
    float *norms;
    bool norms_known;
} eum_scoring_args;

/* CUDA: more than 8 queries are multiplied in float32, where the tensor cores would do it in split tf32. The accuracy promised
 * is the same. */
#define EUM_SCORING_NO_TENSOR_CORES 1u
/* CUDA: the filter also for up to 8 queries over so few rows that their own kernels are faster. The results are the same. */
#define EUM_SCORING_FILTER 2u

/* Calls body(arg, begin, end) over disjoint pieces of [0, items), on several threads or on one, and returns when all are done. back: each thread
 * may go through its pieces from the last to the first. */
typedef void (*eum_scoring_loop)(void *pool, uint64_t items, uint64_t grain, bool back,
                                 void (*body)(void *arg, uint64_t begin, uint64_t end), void *arg);

/* The whole operation. threads: how many pieces the loop runs at once, at most. Returns 0, or ENOMEM with nothing written. */
int32_t eum_scoring_cpu(const eum_scoring_args *args, eum_cpu_isa isa, eum_scoring_loop loop, void *pool, uint32_t threads);

/* Bytes of device memory that the CUDA implementation needs beside its operands; 0 where there are no indices, and little more
 * than 64 MiB at most, whatever the rows and queries; never more for fewer rows. Reads query_count, rows, dim, k, flags, and whether there are indices. */
size_t eum_scoring_cuda_scratch(const eum_scoring_args *args);
/* Enqueues the whole operation on cuda_stream of the current device. scratch: aligned to 16, in whatever state; of no other
 * launch until this one has ended. Returns a cudaError_t, 0 for success. Only in builds with CUDA. */
int32_t eum_scoring_cuda(const eum_scoring_args *args, void *scratch, void *cuda_stream);

#endif
