/* scoring_avx512: see scoring_tile.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernels/scoring_cpu.h"

typedef __m512 vec;
#define W 16
#define REDUCED 16
#define FEW_ROWS(queries, squares) ((queries) + (squares) == 1 ? 16 : (queries) == 1 ? 8 : 4)
#define ROW_BY_ROW 1
#define PACKED_ROWS 8
#define MOST_PACKED 3
#define OPS eum_scoring_avx512

#define v_zero() _mm512_setzero_ps()
#define v_set(x) _mm512_set1_ps(x)
#define v_load(p) _mm512_loadu_ps(p)
#define v_load_part(p, n) _mm512_maskz_loadu_ps((__mmask16)((1u << (n)) - 1u), p)
#define v_store(p, v) _mm512_storeu_ps(p, v)
#define v_add(a, b) _mm512_add_ps(a, b)
#define v_sub(a, b) _mm512_sub_ps(a, b)
#define v_mul(a, b) _mm512_mul_ps(a, b)
#define v_fma(a, b, c) _mm512_fmadd_ps(a, b, c)
#define v_prefetch(p) _mm_prefetch(p, _MM_HINT_T0)
#define v_prefetch_far(p) _mm_prefetch(p, _MM_HINT_T1)
#define v_keep(v) __asm__("" : "+v"(v))
#define v_inverse_root(v) _mm512_div_ps(_mm512_set1_ps(1.0f), _mm512_sqrt_ps(v))
#define v_clamp(v) _mm512_max_ps(_mm512_set1_ps(-1.0f), _mm512_min_ps(_mm512_set1_ps(1.0f), v)) /* NaN: the second operand */
#define v_not_less(a, b) ((unsigned)_mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ))
#define v_not_finite(a) ((unsigned)_mm512_cmp_ps_mask(_mm512_abs_ps(a), _mm512_set1_ps(FLT_MAX), _CMP_NLE_UQ))

static inline __m512 halves(__m256i x)
{
    return _mm512_cvtph_ps(x);
}
static inline __m512 brains(__m256i x)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}
#define load_16(p) _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define load_16_part(p, n) _mm256_maskz_loadu_epi16((__mmask16)((1u << (n)) - 1u), p)
#define v_load_f16(p) halves(load_16(p))
#define v_load_f16_part(p, n) halves(load_16_part(p, n))
#define v_load_bf16(p) brains(load_16(p))
#define v_load_bf16_part(p, n) brains(load_16_part(p, n))

/* 16 registers of 16 partial sums to one register of 16 sums: each step halves two registers into one. */
static inline __attribute__((always_inline)) void v_reduce(const __m512 *sums, float *out)
{
    __m512 half[8], quarter[4], pair[2];
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 2; j++) {
            __m512 a = sums[i + 8 * j], b = sums[i + 8 * j + 4];
            half[2 * i + j] = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
        }
        __m512 a = half[2 * i], b = half[2 * i + 1];
        quarter[i] = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
    }
    for (int i = 0; i < 2; i++) {
        __m512 a = quarter[2 * i], b = quarter[2 * i + 1];
        pair[i] = _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xdd));
    }
    _mm512_storeu_ps(out, _mm512_add_ps(_mm512_shuffle_ps(pair[0], pair[1], 0x88), _mm512_shuffle_ps(pair[0], pair[1], 0xdd)));
}

#include "kernels/scoring_tile.h"
