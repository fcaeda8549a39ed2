/* scoring_avx2: see scoring_tile.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernels/scoring_cpu.h"

typedef __m256 vec;
#define W 8
#define REDUCED 8
#define FEW_ROWS(queries, squares) ((queries) + (squares) == 1 ? 8 : (queries) == 1 ? 4 : 2)
#define ROW_BY_ROW 0
#define PACKED_ROWS 4
#define MOST_PACKED 3
#define OPS eum_scoring_avx2

#define v_zero() _mm256_setzero_ps()
#define v_set(x) _mm256_set1_ps(x)
#define v_load(p) _mm256_loadu_ps(p)
#define v_store(p, v) _mm256_storeu_ps(p, v)
#define v_add(a, b) _mm256_add_ps(a, b)
#define v_sub(a, b) _mm256_sub_ps(a, b)
#define v_mul(a, b) _mm256_mul_ps(a, b)
#define v_fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define v_prefetch(p) _mm_prefetch(p, _MM_HINT_T0)
#define v_prefetch_far(p) _mm_prefetch(p, _MM_HINT_T1)
#define v_keep(v) __asm__("" : "+x"(v))
#define v_inverse_root(v) _mm256_div_ps(_mm256_set1_ps(1.0f), _mm256_sqrt_ps(v))
#define v_clamp(v) _mm256_max_ps(_mm256_set1_ps(-1.0f), _mm256_min_ps(_mm256_set1_ps(1.0f), v)) /* NaN: the second operand */
#define v_not_less(a, b) ((unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_NLT_UQ)))
#define v_not_finite(a)                                                                                                            \
    ((unsigned)_mm256_movemask_ps(_mm256_cmp_ps(_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a), _mm256_set1_ps(FLT_MAX), _CMP_NLE_UQ)))

static inline __m256 v_load_part(const float *p, unsigned n)
{
    __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lanes));
}
static inline __m128i load_16_part(const uint16_t *p, unsigned n)
{
    uint16_t part[8] = {0};
    memcpy(part, p, n * sizeof *p);
    return _mm_loadu_si128((const __m128i *)(const void *)part);
}
static inline __m256 brains(__m128i x)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}
#define load_16(p) _mm_loadu_si128((const __m128i *)(const void *)(p))
#define v_load_f16(p) _mm256_cvtph_ps(load_16(p))
#define v_load_f16_part(p, n) _mm256_cvtph_ps(load_16_part(p, n))
#define v_load_bf16(p) brains(load_16(p))
#define v_load_bf16_part(p, n) brains(load_16_part(p, n))

/* 8 registers of 8 partial sums to one register of 8 sums. */
static inline __attribute__((always_inline)) void v_reduce(const __m256 *sums, float *out)
{
    __m256 quad[2];
    for (int i = 0; i < 2; i++) {
        __m256 a = _mm256_hadd_ps(sums[4 * i], sums[4 * i + 1]), b = _mm256_hadd_ps(sums[4 * i + 2], sums[4 * i + 3]);
        quad[i] = _mm256_hadd_ps(a, b); /* four sums of the low halves, four of the high ones */
    }
    _mm256_storeu_ps(out,
                     _mm256_add_ps(_mm256_permute2f128_ps(quad[0], quad[1], 0x20), _mm256_permute2f128_ps(quad[0], quad[1], 0x31)));
}

#include "kernels/scoring_tile.h"
