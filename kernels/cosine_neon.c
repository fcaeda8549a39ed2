/* cosine_neon: four rows at a time, the query loaded once for all of them.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <arm_neon.h>
#include <string.h>

#include "kernels/cosine_cpu.h"

#define ROWS 4
#define WIDTH 4    /* float32 in a register */
#define STEP 8     /* two registers a row: 16 chains, which hide the latency of four fused multiply-adds a cycle */
#define CHUNK 1024 /* elements that are summed in float32: chains of 128 additions */

typedef const float *row_block[ROWS];

typedef struct row_sums {
    float32x4_t dots, squares; /* one lane a row */
} row_sums;

/* Element i of the result is the sum of v[i]. */
static inline float32x4_t sum_each(const float32x4_t v[ROWS])
{
    return vpaddq_f32(vpaddq_f32(v[0], v[1]), vpaddq_f32(v[2], v[3]));
}

static inline __attribute__((always_inline)) row_sums sum_chunk(const float *query, row_block rows, size_t start, size_t count,
                                                                float scale)
{
    float32x4_t dots[2][ROWS], squares[2][ROWS];
    for (int half = 0; half < 2; half++)
        for (int r = 0; r < ROWS; r++)
            dots[half][r] = squares[half][r] = vdupq_n_f32(0.0f);

    size_t k = start, end = start + count;
    for (; k + STEP <= end; k += STEP) {
        for (int half = 0; half < 2; half++) {
            float32x4_t q = vmulq_n_f32(vld1q_f32(query + k + WIDTH * half), scale);
            for (int r = 0; r < ROWS; r++) {
                float32x4_t x = vld1q_f32(rows[r] + k + WIDTH * half);
                dots[half][r] = vfmaq_f32(dots[half][r], q, x);
                squares[half][r] = vfmaq_f32(squares[half][r], x, x);
            }
        }
    }
    while (k < end) { /* twice at most; copied, so that nothing is read beyond the row */
        size_t left = end - k < WIDTH ? end - k : WIDTH;
        float copy[WIDTH] = {0};
        memcpy(copy, query + k, left * sizeof(float));
        float32x4_t q = vmulq_n_f32(vld1q_f32(copy), scale);
        for (int r = 0; r < ROWS; r++) {
            memcpy(copy, rows[r] + k, left * sizeof(float));
            float32x4_t x = vld1q_f32(copy);
            dots[0][r] = vfmaq_f32(dots[0][r], q, x);
            squares[0][r] = vfmaq_f32(squares[0][r], x, x);
        }
        k += left;
    }
    for (int r = 0; r < ROWS; r++) {
        dots[0][r] = vaddq_f32(dots[0][r], dots[1][r]);
        squares[0][r] = vaddq_f32(squares[0][r], squares[1][r]);
    }
    return (row_sums){sum_each(dots[0]), sum_each(squares[0])};
}

/* Two float64 registers for four rows. */
typedef struct row_totals {
    float64x2_t low, high;
} row_totals;

static inline void add_to(row_totals *totals, float32x4_t sums)
{
    totals->low = vaddq_f64(totals->low, vcvt_f64_f32(vget_low_f32(sums)));
    totals->high = vaddq_f64(totals->high, vcvt_high_f64_f32(sums));
}

static inline float32x4_t to_float32(row_totals totals)
{
    return vcvt_high_f32_f64(vcvt_f32_f64(totals.low), totals.high);
}

/* Chunks are added up in float64. */
static inline row_sums sum_rows(const float *query, row_block rows, size_t dim, float scale)
{
    if (dim <= CHUNK)
        return sum_chunk(query, rows, 0, dim, scale);
    row_totals dots = {vdupq_n_f64(0.0), vdupq_n_f64(0.0)}, squares = dots;
    for (size_t start = 0; start < dim; start += CHUNK) {
        row_sums chunk = sum_chunk(query, rows, start, dim - start < CHUNK ? dim - start : CHUNK, scale);
        add_to(&dots, chunk.dots);
        add_to(&squares, chunk.squares);
    }
    return (row_sums){to_float32(dots), to_float32(squares)};
}

void eum_cosine_rows_neon(const eum_cosine_args *args, const eum_cosine_query *query, uint64_t first, uint64_t last)
{
    const float inverse = eum_query_inverse_norm(query);
    for (uint64_t row = first; row < last; row += ROWS) {
        unsigned count = last - row < ROWS ? (unsigned)(last - row) : ROWS;
        row_block rows;
        for (unsigned r = 0; r < ROWS; r++)
            rows[r] = eum_cosine_row(args, row + (r < count ? r : count - 1)); /* a short block repeats its last row */

        row_sums sums = sum_rows(args->query, rows, (size_t)args->dim, query->scale);
        float32x4_t scores = vdivq_f32(vmulq_n_f32(sums.dots, inverse), vsqrtq_f32(sums.squares));
        scores = vmaxq_f32(vminq_f32(scores, vdupq_n_f32(1.0f)), vdupq_n_f32(-1.0f));
        float found[ROWS], squares[ROWS];
        vst1q_f32(found, scores);
        vst1q_f32(squares, sums.squares);
        for (unsigned r = 0; r < count; r++)
            args->scores[row + r] =
                eum_row_squares_trusted(squares[r]) ? found[r] : eum_cosine_row_exact(args->query, rows[r], args->dim, query->norm);
    }
}
