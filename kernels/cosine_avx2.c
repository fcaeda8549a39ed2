/* cosine_avx2: four rows at a time, the query loaded once for all of them, tails by masked loads.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <immintrin.h>

#include "kernels/cosine_cpu.h"

#define ROWS 4     /* two sums each: the 8 chains that hide the latency of two fused multiply-adds a cycle */
#define WIDTH 8    /* float32 in a register */
#define CHUNK 1024 /* elements that are summed in float32: chains of 128 additions */

typedef const float *row_block[ROWS];

/* ahead: how far in front to prefetch, or the constant 0, which leaves the prefetches out of the inlined copy. */
static inline __attribute__((always_inline)) __m256 sum_chunk(const float *query, row_block rows, size_t start, size_t count,
                                                              __m256 scale, size_t ahead)
{
    __m256 sums[2 * ROWS]; /* dot products, then sums of squares */
    for (int i = 0; i < 2 * ROWS; i++)
        sums[i] = _mm256_setzero_ps();

    size_t k = start, full = start + count / WIDTH * WIDTH;
    for (; k < full; k += WIDTH) {
        if (ahead != 0)
            for (size_t line = 0; line < ROWS / 2; line++)
                _mm_prefetch((const char *)((uintptr_t)rows[0] + ahead + k * ROWS * sizeof(float) + line * 64), _MM_HINT_T0);
        __m256 q = _mm256_mul_ps(_mm256_loadu_ps(query + k), scale);
        for (int r = 0; r < ROWS; r++) {
            __m256 x = _mm256_loadu_ps(rows[r] + k);
            __asm__("" : "+x"(x)); /* loaded once: gcc would load it again as the operand of each product */
            sums[r] = _mm256_fmadd_ps(q, x, sums[r]);
            sums[ROWS + r] = _mm256_fmadd_ps(x, x, sums[ROWS + r]);
        }
    }
    if (k < start + count) {
        /* The sign bit of each lane says whether it is read; lanes that are not never touch memory. */
        static const int32_t lanes[2 * WIDTH] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
        __m256i tail = _mm256_loadu_si256((const __m256i *)(const void *)(lanes + WIDTH - (start + count - k)));
        __m256 q = _mm256_mul_ps(_mm256_maskload_ps(query + k, tail), scale);
        for (int r = 0; r < ROWS; r++) {
            __m256 x = _mm256_maskload_ps(rows[r] + k, tail);
            sums[r] = _mm256_fmadd_ps(q, x, sums[r]);
            sums[ROWS + r] = _mm256_fmadd_ps(x, x, sums[ROWS + r]);
        }
    }

    /* 8 registers of 8 partial sums to one register of 8 sums: each step halves two registers into one. */
    __m256 halves[4], quarters[2];
    for (int i = 0; i < 4; i++) {
        __m256 a = sums[i], b = sums[i + 4];
        halves[i] = _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
    }
    for (int i = 0; i < 2; i++) {
        __m256 a = halves[2 * i], b = halves[2 * i + 1];
        quarters[i] = _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x88), _mm256_shuffle_ps(a, b, 0xdd));
    }
    return _mm256_add_ps(_mm256_shuffle_ps(quarters[0], quarters[1], 0x88), _mm256_shuffle_ps(quarters[0], quarters[1], 0xdd));
}

/* Dot products in the low half, sums of squares in the high half. Chunks are added up in float64. */
static inline __attribute__((always_inline)) __m256 sum_rows(const float *query, row_block rows, size_t dim, __m256 scale,
                                                             size_t ahead)
{
    if (dim <= CHUNK)
        return sum_chunk(query, rows, 0, dim, scale, ahead);
    __m256d dots = _mm256_setzero_pd(), squares = _mm256_setzero_pd();
    for (size_t start = 0; start < dim; start += CHUNK) {
        __m256 chunk = sum_chunk(query, rows, start, dim - start < CHUNK ? dim - start : CHUNK, scale, ahead);
        dots = _mm256_add_pd(dots, _mm256_cvtps_pd(_mm256_castps256_ps128(chunk)));
        squares = _mm256_add_pd(squares, _mm256_cvtps_pd(_mm256_extractf128_ps(chunk, 1)));
    }
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(dots)), _mm256_cvtpd_ps(squares), 1);
}

static inline __attribute__((always_inline)) void rows_with(const eum_cosine_args *args, const eum_cosine_query *prepared,
                                                            uint64_t first, uint64_t last, size_t ahead)
{
    const __m256 scale = _mm256_set1_ps(prepared->scale);
    const __m128 inverse = _mm_set1_ps(eum_query_inverse_norm(prepared)), one = _mm_set1_ps(1.0f);
    for (uint64_t row = first; row < last; row += ROWS) {
        unsigned count = last - row < ROWS ? (unsigned)(last - row) : ROWS;
        row_block rows;
        for (unsigned r = 0; r < ROWS; r++)
            rows[r] = eum_cosine_row(args, row + (r < count ? r : count - 1)); /* a short block repeats its last row */

        __m256 sums = sum_rows(args->query, rows, (size_t)args->dim, scale, ahead);
        __m128 dots = _mm256_castps256_ps128(sums), squares = _mm256_extractf128_ps(sums, 1);
        __m128 scores = _mm_div_ps(_mm_mul_ps(dots, inverse), _mm_sqrt_ps(squares));
        scores = _mm_max_ps(_mm_min_ps(scores, one), _mm_sub_ps(_mm_setzero_ps(), one));
        __m128 in_range = _mm_and_ps(_mm_cmpge_ps(squares, _mm_set1_ps(EUM_ROW_SQUARES_MIN)),
                                     _mm_cmple_ps(squares, _mm_set1_ps(EUM_ROW_SQUARES_MAX)));
        unsigned trusted = (unsigned)_mm_movemask_ps(in_range);
        if (count == ROWS && trusted == (1u << ROWS) - 1u) {
            _mm_storeu_ps(args->scores + row, scores);
            continue;
        }
        float found[ROWS];
        _mm_storeu_ps(found, scores);
        for (unsigned r = 0; r < count; r++)
            args->scores[row + r] =
                (trusted >> r & 1u) != 0 ? found[r] : eum_cosine_row_exact(args->query, rows[r], args->dim, prepared->norm);
    }
}

void eum_cosine_rows_avx2(const eum_cosine_args *args, const eum_cosine_query *query, uint64_t first, uint64_t last)
{
    size_t ahead = eum_cosine_prefetch_bytes(args, last - first, ROWS);
    if (ahead != 0)
        rows_with(args, query, first, last, ahead);
    else
        rows_with(args, query, first, last, 0);
}
