/* kernels: the similarity kernels, one declaration for the CUDA and the CPU implementation of each.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The kernels know nothing of buffers, contexts or streams of ours: addresses in, numbers out. */
#ifndef EUM_KERNELS_H
#define EUM_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* scores[r] = cosine(query, row r), r in [0, rows). Zero vectors score 0, results are clamped to [-1, 1], a row with a non-finite
 * element scores NaN (that row alone), a non-finite query makes every score NaN. |error| <= 1e-6 + 1e-5 * |exact|, and squares must
 * neither overflow nor underflow to a wrong answer for any finite float32 input. */
typedef struct eum_cosine_args {
    const float *query;   /* dim float32, aligned to 4 */
    const float *targets; /* rows x dim float32, row-major, aligned to 4 */
    float *scores;        /* rows float32, aligned to 4 */
    uint64_t rows;
    uint64_t dim;        /* >= 1 */
    uint64_t row_stride; /* bytes from row to row, a multiple of 4, >= dim * 4 */
} eum_cosine_args;

typedef enum eum_cpu_isa { EUM_CPU_SCALAR = 0, EUM_CPU_AVX2 = 1, EUM_CPU_AVX512 = 2, EUM_CPU_NEON = 3 } eum_cpu_isa;
/* The best of these that was compiled in and this CPU has; EUM_CPU_ISA ("scalar", "avx2", "avx512", "neon") lowers it. Thread-safe. */
eum_cpu_isa eum_cpu_isa_best(void);
/* 1 if that implementation was compiled in and this CPU can run it. */
int eum_cpu_isa_usable(eum_cpu_isa isa);
const char *eum_cpu_isa_name(eum_cpu_isa isa);

/* What is the same for all rows: computed once, shared by the threads. */
typedef struct eum_cosine_query {
    double norm;   /* of the query, 0 for a zero vector */
    float scale;   /* power of two that brings the largest magnitude near 1; 1 where no scaling is needed */
    int nonfinite; /* the query has a NaN or an infinity */
} eum_cosine_query;
eum_cosine_query eum_cosine_cpu_prepare(const eum_cosine_args *args);
/* Rows [first, last) on the calling thread. */
void eum_cosine_cpu(const eum_cosine_args *args, const eum_cosine_query *query, uint64_t first, uint64_t last, eum_cpu_isa isa);

/* Enqueues the whole operation on cuda_stream. Returns a cudaError_t, 0 for success. Only in builds with CUDA. */
int32_t eum_cosine_cuda(const eum_cosine_args *args, void *cuda_stream);

/* The same in two steps: the first one depends on the device, the shape and the addresses' alignment, not on what is there. The kernel's one parameter
 * is an eum_cosine_args. rows >= 1. */
typedef struct eum_cosine_launch {
    const void *kernel; /* for cudaLaunchKernel */
    void *handle;       /* for the second step, NULL at first */
    unsigned blocks, threads;
    size_t shared_bytes;
} eum_cosine_launch;
int32_t eum_cosine_cuda_choose(const eum_cosine_args *args, eum_cosine_launch *out);
int32_t eum_cosine_cuda_launch(const eum_cosine_args *args, eum_cosine_launch *chosen, void *cuda_stream);

#endif
