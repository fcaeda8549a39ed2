/* cosine_avx512: eight rows at a time, the query loaded once for all of them, tails by masks.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <immintrin.h>

#include "kernels/cosine_cpu.h"

#define ROWS 8     /* two sums each: 16 chains, above the 8 that hide the latency of two fused multiply-adds a cycle */
#define WIDTH 16   /* float32 in a register */
#define CHUNK 2048 /* elements that are summed in float32: chains of 128 additions */

typedef const float *row_block[ROWS];

/* How the rows of a block are gone through. Constants, each with an inlined copy of its own. */
typedef enum way {
    SIDE_BY_SIDE,
    PREFETCHED, /* the same, with prefetches */
    IN_TURN     /* one after the other, for a processor that follows them by itself: the same sums */
} way;

/* Products and squares of `count` rows from `first` on, side by side. */
static inline __attribute__((always_inline)) void sum_side_by_side(const float *query, const float *const *rows, int first,
                                                                   int count_rows, size_t start, size_t count, __m512 scale,
                                                                   size_t ahead, __m512 *sums)
{
    size_t k = start, full = start + count / WIDTH * WIDTH;
    for (; k < full; k += WIDTH) {
        if (ahead != 0)
            for (size_t line = 0; line < ROWS; line++)
                _mm_prefetch((const char *)((uintptr_t)rows[0] + ahead + k * ROWS * sizeof(float) + line * 64), _MM_HINT_T0);
        __m512 q = _mm512_mul_ps(_mm512_loadu_ps(query + k), scale);
        for (int r = first; r < first + count_rows; r++) {
            __m512 x = _mm512_loadu_ps(rows[r] + k);
            __asm__("" : "+v"(x)); /* loaded once: gcc would load it again as the operand of each product */
            sums[r] = _mm512_fmadd_ps(q, x, sums[r]);
            sums[ROWS + r] = _mm512_fmadd_ps(x, x, sums[ROWS + r]);
        }
    }
    if (k < start + count) {
        __mmask16 tail = (__mmask16)((1u << (start + count - k)) - 1u);
        __m512 q = _mm512_mul_ps(_mm512_maskz_loadu_ps(tail, query + k), scale);
        for (int r = first; r < first + count_rows; r++) {
            __m512 x = _mm512_maskz_loadu_ps(tail, rows[r] + k);
            sums[r] = _mm512_fmadd_ps(q, x, sums[r]);
            sums[ROWS + r] = _mm512_fmadd_ps(x, x, sums[ROWS + r]);
        }
    }
}

/* ahead: how far in front to prefetch. */
static inline __attribute__((always_inline)) __m512 sum_chunk(const float *query, row_block rows, size_t start, size_t count,
                                                              __m512 scale, way how, size_t ahead)
{
    __m512 sums[2 * ROWS]; /* dot products, then sums of squares */
    for (int i = 0; i < 2 * ROWS; i++)
        sums[i] = _mm512_setzero_ps();
    if (how == IN_TURN)
        for (int r = 0; r < ROWS; r++)
            sum_side_by_side(query, rows, r, 1, start, count, scale, 0, sums);
    else
        sum_side_by_side(query, rows, 0, ROWS, start, count, scale, how == PREFETCHED ? ahead : 0, sums);

    /* 16 registers of 16 partial sums to one register of 16 sums: each step halves two registers into one. */
    __m512 halves[8], quarters[4], pairs[2];
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 2; j++) {
            __m512 a = sums[i + 8 * j], b = sums[i + 8 * j + 4];
            halves[2 * i + j] = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
        }
        __m512 a = halves[2 * i], b = halves[2 * i + 1];
        quarters[i] = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
    }
    for (int i = 0; i < 2; i++) {
        __m512 a = quarters[2 * i], b = quarters[2 * i + 1];
        pairs[i] = _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xdd));
    }
    return _mm512_add_ps(_mm512_shuffle_ps(pairs[0], pairs[1], 0x88), _mm512_shuffle_ps(pairs[0], pairs[1], 0xdd));
}

/* Dot products in the low half, sums of squares in the high half. Chunks are added up in float64. */
static inline __attribute__((always_inline)) __m512 sum_rows(const float *query, row_block rows, size_t dim, __m512 scale, way how,
                                                             size_t ahead)
{
    if (dim <= CHUNK)
        return sum_chunk(query, rows, 0, dim, scale, how, ahead);
    __m512d dots = _mm512_setzero_pd(), squares = _mm512_setzero_pd();
    for (size_t start = 0; start < dim; start += CHUNK) {
        __m512 chunk = sum_chunk(query, rows, start, dim - start < CHUNK ? dim - start : CHUNK, scale, how, ahead);
        dots = _mm512_add_pd(dots, _mm512_cvtps_pd(_mm512_castps512_ps256(chunk)));
        squares = _mm512_add_pd(squares, _mm512_cvtps_pd(_mm512_extractf32x8_ps(chunk, 1)));
    }
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(dots)), _mm512_cvtpd_ps(squares), 1);
}

static inline __attribute__((always_inline)) void rows_with(const eum_cosine_args *args, const eum_cosine_query *prepared,
                                                            uint64_t first, uint64_t last, way how, size_t ahead)
{
    const __m512 scale = _mm512_set1_ps(prepared->scale);
    const __m256 inverse = _mm256_set1_ps(eum_query_inverse_norm(prepared)), one = _mm256_set1_ps(1.0f);
    for (uint64_t row = first; row < last; row += ROWS) {
        unsigned count = last - row < ROWS ? (unsigned)(last - row) : ROWS;
        row_block rows;
        for (unsigned r = 0; r < ROWS; r++)
            rows[r] = eum_cosine_row(args, row + (r < count ? r : count - 1)); /* a short block repeats its last row */

        __m512 sums = sum_rows(args->query, rows, (size_t)args->dim, scale, how, ahead);
        __m256 dots = _mm512_castps512_ps256(sums), squares = _mm512_extractf32x8_ps(sums, 1);
        __m256 scores = _mm256_div_ps(_mm256_mul_ps(dots, inverse), _mm256_sqrt_ps(squares));
        scores = _mm256_max_ps(_mm256_min_ps(scores, one), _mm256_sub_ps(_mm256_setzero_ps(), one));
        unsigned written = (1u << count) - 1u;
        _mm256_mask_storeu_ps(args->scores + row, (__mmask8)written, scores);

        unsigned trusted = _mm256_cmp_ps_mask(squares, _mm256_set1_ps(EUM_ROW_SQUARES_MIN), _CMP_GE_OQ) &
                           (unsigned)_mm256_cmp_ps_mask(squares, _mm256_set1_ps(EUM_ROW_SQUARES_MAX), _CMP_LE_OQ);
        for (unsigned left = written & ~trusted; left != 0; left &= left - 1) {
            unsigned r = (unsigned)__builtin_ctz(left);
            args->scores[row + r] = eum_cosine_row_exact(args->query, rows[r], args->dim, prepared->norm);
        }
    }
}

void eum_cosine_rows_avx512(const eum_cosine_args *args, const eum_cosine_query *query, uint64_t first, uint64_t last)
{
    size_t ahead = eum_cosine_prefetch_bytes(args, last - first, ROWS);
    uint64_t row_bytes = args->dim * sizeof(float);
    int followed = row_bytes >= 1024 && row_bytes <= 8192; /* at this width the hardware keeps up (35 GB/s, 33 with prefetches) */
    if (eum_cosine_from_memory(args) && row_bytes >= eum_cpu_following()->one_from)
        rows_with(args, query, first, last, IN_TURN, 0);
    else if (ahead != 0 && !followed)
        rows_with(args, query, first, last, PREFETCHED, ahead);
    else
        rows_with(args, query, first, last, SIDE_BY_SIDE, 0);
}
