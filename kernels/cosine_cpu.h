/* cosine_cpu: what the CPU implementations of the cosine share.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Each instruction set has a fast path in float32 and hands the rows that float32 cannot carry to eum_cosine_row_exact. A score is a
 * function of the row, the query and the instruction set alone: every row goes through the same additions in the same order,
 * wherever it stands in its block and wherever the caller cut [first, last). */
#ifndef EUM_COSINE_CPU_H
#define EUM_COSINE_CPU_H

#include <float.h>
#include <stdbool.h>
#include <stddef.h>

#include "kernels/kernels.h"

/* A float32 sum of squares in this range is trusted. Below it, squares that underflowed (each loses less than 2^-126) could have
 * mattered; above it they overflowed, or the row is not finite. */
#define EUM_ROW_SQUARES_MIN 0x1p-60f
#define EUM_ROW_SQUARES_MAX FLT_MAX

/* With the query's largest magnitude inside 2^-20..2^20 a row in the range above can neither overflow the dot product nor lose
 * it: no scaling. */
#define EUM_QUERY_UNSCALED_EXPONENT 20

static inline const float *eum_cosine_row(const eum_cosine_args *args, uint64_t row)
{
    return (const float *)(const void *)((const unsigned char *)args->targets + (size_t)(row * args->row_stride));
}

static inline int eum_row_squares_trusted(float squares)
{
    return squares >= EUM_ROW_SQUARES_MIN && squares <= EUM_ROW_SQUARES_MAX; /* false for NaN */
}

/* 1 / the norm of the scaled query, 0 for a zero query. */
static inline float eum_query_inverse_norm(const eum_cosine_query *query)
{
    return query->norm > 0.0 ? (float)(1.0 / (query->norm * (double)query->scale)) : 0.0f;
}

/* Which rows from memory the processor's prefetcher follows by itself, one after the other, so that prefetches as others have them only hold it
 * up; in bytes of a row. AMD's family 25, any for one query (Zen 4, 1 GB, two threads: 0.95 to 1.01 of plain loads instead of 0.81 to
 * 0.97). Family 26 those of 640 bytes and more (Zen 5: 1.06 to 1.13 instead of 0.84 to 0.96; of 400 and 512 bytes 0.81 to 1.11 instead of 0.89
 * to 1.05), and for eight queries those of 400 bytes to 8 KiB (see scoring_pairs.h). */
typedef struct eum_cpu_rows {
    uint64_t one_from;             /* one query: rows of this size and more */
    uint64_t eight_from, eight_to; /* eight queries: rows of sizes [eight_from, eight_to) */
} eum_cpu_rows;
/* Asked once, as above. */
const eum_cpu_rows *eum_cpu_following(void);
/* For tests: what it says from now on; stays the caller's. */
void eum_cpu_set_following(const eum_cpu_rows *rows);

/* What the caches hold of rows that were read before. */
#define EUM_CACHES_BYTES (UINT64_C(32) << 20)
/* Rows without gaps, too many for the caches. */
static inline bool eum_cosine_from_memory(const eum_cosine_args *args)
{
    const uint64_t line = 64;
    return args->row_stride - args->dim * sizeof(float) < line && args->rows * args->row_stride > EUM_CACHES_BYTES;
}

/* How far ahead to prefetch, in bytes, when blocks of `block_rows` rows are read side by side; 0: not at all. Rows side by side are
 * several streams, each of which ends soon: the hardware's prefetcher is late on all of them, so the next block is fetched in the
 * order of its addresses (measured on Zen 5, one thread: 24 -> 33 GB/s at 400 bytes a row, 27 -> 33 at 16 KB). Not in cache, where it
 * costs more than it gives. */
static inline size_t eum_cosine_prefetch_bytes(const eum_cosine_args *args, uint64_t rows, uint64_t block_rows)
{
    const uint64_t page = 4096, line = 64, cached = 1u << 20;
    uint64_t stride = args->row_stride, block = block_rows * stride;
    if (stride - args->dim * sizeof(float) >= line || rows * stride <= cached)
        return 0;
    return (size_t)((page + block - 1) / block * block); /* whole blocks, a page at least: nearer is too late */
}

/* The score of one row in float64: right for every input, at a fraction of the speed. */
float eum_cosine_row_exact(const float *query, const float *row, uint64_t dim, double query_norm);

/* Rows [first, last) for a finite query, in the default floating-point environment. */
void eum_cosine_rows_avx2(const eum_cosine_args *args, const eum_cosine_query *query, uint64_t first, uint64_t last);
void eum_cosine_rows_avx512(const eum_cosine_args *args, const eum_cosine_query *query, uint64_t first, uint64_t last);
void eum_cosine_rows_neon(const eum_cosine_args *args, const eum_cosine_query *query, uint64_t first, uint64_t last);

/* The choice that EUM_CPU_ISA makes: the implementation called `wanted` if it is usable, else the best. NULL: the best. */
eum_cpu_isa eum_cpu_isa_choose(const char *wanted);

#endif
