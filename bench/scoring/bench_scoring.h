/* bench_scoring: the kernels of the benchmark. All return a cudaError_t.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_BENCH_SCORING_H
#define EUM_BENCH_SCORING_H

#include <stdint.h>

#include "engram_um.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BENCH_READS 12 /* variants of bench_read: 1, 2, 4, 8 blocks a multiprocessor; 4, 8, 12 loads in flight */

/* Random numbers from -1 to 1. */
int32_t bench_fill(void *to, uint64_t count, int32_t element, uint64_t seed);
/* Rows whose cosine with the query ascends. */
int32_t bench_fill_ascending(float *to, const float *query, uint64_t rows, uint64_t dim);
int32_t bench_read(int32_t variant, const void *from, uint64_t bytes, uint32_t *sink, int32_t processors, void *stream);
int32_t bench_empty(void *stream);

#ifdef __cplusplus
}
#endif
#endif
