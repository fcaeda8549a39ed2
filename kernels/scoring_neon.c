/* scoring_neon: see scoring_tile.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <arm_neon.h>
#include <math.h>
#include <string.h>

#include "kernels/scoring_cpu.h"

typedef float32x4_t vec;
#define W 4
#define REDUCED 4
#define FEW_ROWS(queries, squares) ((void)(squares), (queries) <= 1 ? 8 : 4)
#define ROW_BY_ROW 0
#define PACKED_ROWS 8
#define MOST_PACKED 3
#define OPS eum_scoring_neon

#define v_zero() vdupq_n_f32(0.0f)
#define v_set(x) vdupq_n_f32(x)
#define v_load(p) vld1q_f32(p)
#define v_store(p, v) vst1q_f32(p, v)
#define v_add(a, b) vaddq_f32(a, b)
#define v_sub(a, b) vsubq_f32(a, b)
#define v_mul(a, b) vmulq_f32(a, b)
#define v_fma(a, b, c) vfmaq_f32(c, a, b)
#define v_prefetch(p) __builtin_prefetch(p)
#define v_prefetch_far(p) __builtin_prefetch(p, 0, 2)
#define v_keep(v) __asm__("" : "+w"(v))
#define v_inverse_root(v) vdivq_f32(vdupq_n_f32(1.0f), vsqrtq_f32(v))
#define v_clamp(v) vmaxq_f32(vdupq_n_f32(-1.0f), vminq_f32(vdupq_n_f32(1.0f), v)) /* NaN stays NaN */

static inline unsigned lanes_of(uint32x4_t mask)
{
    static const uint32_t bits[4] = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(mask, vld1q_u32(bits)));
}
static inline unsigned v_not_less(float32x4_t a, float32x4_t b)
{
    return lanes_of(vmvnq_u32(vcltq_f32(a, b)));
}
static inline unsigned v_not_finite(float32x4_t a)
{
    return lanes_of(vmvnq_u32(vcleq_f32(vabsq_f32(a), vdupq_n_f32(FLT_MAX))));
}
static inline float32x4_t v_load_part(const float *p, unsigned n)
{
    float part[4] = {0};
    memcpy(part, p, n * sizeof *p);
    return vld1q_f32(part);
}
static inline uint16x4_t load_16_part(const uint16_t *p, unsigned n)
{
    uint16_t part[4] = {0};
    memcpy(part, p, n * sizeof *p);
    return vld1_u16(part);
}
#define halves(x) vcvt_f32_f16(vreinterpret_f16_u16(x))
#define brains(x) vreinterpretq_f32_u32(vshll_n_u16(x, 16))
#define v_load_f16(p) halves(vld1_u16(p))
#define v_load_f16_part(p, n) halves(load_16_part(p, n))
#define v_load_bf16(p) brains(vld1_u16(p))
#define v_load_bf16_part(p, n) brains(load_16_part(p, n))

static inline __attribute__((always_inline)) void v_reduce(const float32x4_t *sums, float *out)
{
    vst1q_f32(out, vpaddq_f32(vpaddq_f32(sums[0], sums[1]), vpaddq_f32(sums[2], sums[3])));
}

#include "kernels/scoring_tile.h"
