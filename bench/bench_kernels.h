/* bench_kernels: the kernels of the benchmark, the same for the library and for those who do it by hand. Callbacks of eum_launch.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_BENCH_KERNELS_H
#define EUM_BENCH_KERNELS_H

#include "engram_um.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bench_params {
    uint64_t rows, dim;
    float factor; /* spread: the scale; edit: what is added */
    uint32_t reserved;
} bench_params;

/* cosine  query, targets; scores
 * spread  targets; 64 results a row: each the weighted sum of a 64th of the row
 * edit    values, each of which becomes x * 0.5 + factor
 * touch   four views of words: the first word of the first gets those of the others added */
/* For the CPU kernels that are started by hand, before the first of them: as many threads as a context of the library has. 0: its default. */
void bench_kernel_threads(uint32_t threads);
int32_t bench_cosine_cpu(const eum_kernel_call *call);
int32_t bench_spread_cpu(const eum_kernel_call *call);
int32_t bench_edit_cpu(const eum_kernel_call *call);
int32_t bench_touch_cpu(const eum_kernel_call *call);
#if EUM_HAVE_CUDA
int32_t bench_cosine_gpu(const eum_kernel_call *call);
int32_t bench_spread_gpu(const eum_kernel_call *call);
int32_t bench_edit_gpu(const eum_kernel_call *call);
int32_t bench_touch_gpu(const eum_kernel_call *call);
#else
#define bench_cosine_gpu NULL
#define bench_spread_gpu NULL
#define bench_edit_gpu NULL
#define bench_touch_gpu NULL
#endif

#ifdef __cplusplus
}
#endif
#endif
