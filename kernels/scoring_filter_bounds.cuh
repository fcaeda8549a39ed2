/* scoring_filter_bounds: how far a score of the filter may be off, and what is needed to tell: the certificate.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The certificate. With Q and T the norms of the scaled query and row (q, t), Q' and T' those of the rounded ones (q', t'):
 *   |q.t - q'.t'| <= |q - q'| T + Q' |t - t'|          (Cauchy-Schwarz)
 *   |q - q'|      is summed up when the query is prepared;
 *   |t - t'|      <= 2^-11 T for float32, which is rounded to 11 bits, and 0 for 16-bit elements, as long as no element overflows
 *                 (T <= kMostNorm) or is a denormal of float16; denormals cost 2^-25 each: sqrt(dim) 2^-25 in all;
 *   the sum       on the tensor cores: blocks of at least four products and the sum so far are aligned to the largest and cut off
 *                 below its 23 bits, and so is the result: six parts of 2^-23 for four elements, of a largest term that is at most
 *                 Q' T'. So dim 1.5 2^-23 Q' T' at most; kSumError dim is more than that;
 *   the score     of the exact path is itself off by less than kScoreError Q T (three products in tf32 in chunks of 128 elements:
 *                 2^-21 and 16 * 3 * 12 * 2^-23; those for few queries add up less than 100 parts in a row);
 *   the norm      of a row is a float32 sum of eight parts: dim / 8 + 16 roundings of 2^-24.
 *   denormals     of the scores are rounded to 2^-149;
 *   infinities    a score beyond float32's range is infinite, and no better or worse than another of the kind: bounds are cut off at an
 *                 eighth of that range.
 * Squared L2 is compared as q.t - t.t / 2. Its own score is off by less than 2^-16 of a distance that is at most 2 (q.q + t.t), and t.t
 * by 2^-15 (512 + 8 roundings).
 * What is left (rounding of the few operations behind the sum) is much less than 1/1000 of all that, which is added. */
#ifndef EUM_SCORING_FILTER_BOUNDS_CUH
#define EUM_SCORING_FILTER_BOUNDS_CUH

#include "kernels/scoring_filter_plan.h"
#include "kernels/scoring_product.cuh"

namespace eum_scoring
{

constexpr float kMostNorm = 60000.0f; /* no element beyond is finite in float16 */
constexpr float kSumError = 0x1p-22f, kScoreError = 0x1p-13f;

/* Four elements as they are in memory. */
template <typename Element> struct Four {
    uint2 bits;
    static __device__ __forceinline__ Four read(const Element *from)
    {
        return {__ldg(reinterpret_cast<const uint2 *>(from))};
    }
    __device__ __forceinline__ float4 wide() const
    {
        return widen_chunk<Element>(bits);
    }
    static constexpr uint32_t kSigns = 0x80008000u;
    __device__ __forceinline__ uint32_t any() const /* 0 where all are 0, beside signs */
    {
        return bits.x | bits.y;
    }
};
template <> struct Four<float> {
    float4 four;
    static __device__ __forceinline__ Four read(const float *from)
    {
        return {__ldg(reinterpret_cast<const float4 *>(from))};
    }
    __device__ __forceinline__ float4 wide() const
    {
        return four;
    }
    static constexpr uint32_t kSigns = 0x80000000u;
    __device__ __forceinline__ uint32_t any() const
    {
        return static_cast<uint32_t>(__float_as_int(four.x) | __float_as_int(four.y) | __float_as_int(four.z) |
                                     __float_as_int(four.w));
    }
};

/* What a query is multiplied with so that its norm is in [128, 256). */
__device__ __forceinline__ float query_scale(double squares)
{
    if (squares == 0.0)
        return 1.0f;
    const int exponent = (((__double2hiint(squares) >> 20) & 0x7ff) - 1023) >> 1;
    return __int_as_float((127 + min(max(7 - exponent, -126), 126)) << 23);
}

/* And the rows, so that the largest element of a sample is in [64, 128). */
__device__ __forceinline__ float row_scale(const float *maxima)
{
    float most = 0.0f;
    for (int n = 0; n < kMaxima; n++)
        most = fmaxf(most, __ldg(maxima + n));
    const int exponent = (__float_as_int(most) >> 23 & 0xff) - 127;
    return most > 0.0f ? __int_as_float((127 + min(max(6 - exponent, -126), 126)) << 23) : 1.0f;
}

/* The largest finite element of a sample of the rows, by the whole block. */
template <typename Element> __device__ __forceinline__ void sample_elements(const FilterArguments &a, int part, float *shared)
{
    constexpr int kRows = 4; /* of a warp: their loads do not wait for each other */
    const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
    float most = 0.0f;
    const Element *rows[kRows];
#pragma unroll
    for (int n = 0; n < kRows; n++) {
        const uint64_t sample = static_cast<uint64_t>((part * kWarps + warp) * kRows + n),
                       at = sample * a.rows / (kMaxima * kWarps * kRows);
        const uint64_t number = a.numbers != nullptr ? static_cast<uint64_t>(__ldg(a.numbers + at)) : at;
        rows[n] = reinterpret_cast<const Element *>(a.targets + number * a.row_stride);
    }
#pragma unroll 4
    for (uint64_t k = static_cast<uint64_t>(lane) * 4; k < a.dim; k += kWarp * 4) {
#pragma unroll
        for (int n = 0; n < kRows; n++) {
            const float4 four = Four<Element>::read(rows[n] + k).wide();
            const float x[4] = {fabsf(four.x), fabsf(four.y), fabsf(four.z), fabsf(four.w)};
#pragma unroll
            for (int i = 0; i < 4; i++)
                most = x[i] <= FLT_MAX ? fmaxf(most, x[i]) : most;
        }
    }
    for (int distance = kWarp / 2; distance > 0; distance /= 2)
        most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, distance));
    if (lane == 0)
        shared[warp] = most;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int n = 1; n < kWarps; n++)
            most = fmaxf(most, shared[n]);
        a.maxima[part] = most;
    }
}

/* A block a query, and kMaxima for the rows. Queries are filled up to whole panels with zeros. */
template <typename Element> __global__ void __launch_bounds__(kThreads) prepare_filter(const FilterArguments a)
{
    __shared__ float shared[kWarps];
    const uint64_t q = blockIdx.x;
    if (q >= a.padded) {
        sample_elements<Element>(a, static_cast<int>(q - a.padded), shared);
        return;
    }
    const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
    bool there = q < a.query_count;
    const float *query = reinterpret_cast<const float *>(a.queries + (there ? q : 0) * a.query_stride);
    double squares = there ? squares_by_warp(query, a.dim) : 0.0; /* the same in every warp */
    const bool nonfinite = !isfinite(squares);
    there = there && !nonfinite; /* the second pass needs no candidates */
    squares = nonfinite ? 0.0 : squares;
    const float scale = query_scale(squares);
    float lost = 0.0f;
    for (uint64_t k = threadIdx.x; k < a.depth; k += kThreads) {
        const float x = there && k < a.dim ? __ldg(query + k) * scale : 0.0f;
        const __half half = __float2half_rn(x);
        const float d = x - __half2float(half);
        lost = fmaf(d, d, lost);
        a.halves[(k / kFilterDepth * a.padded + q) * kFilterDepth + k % kFilterDepth] = half;
    }
    lost = sum_lanes(lost);
    if (lane == 0)
        shared[warp] = lost;
    __syncthreads();
    if (threadIdx.x != 0)
        return;
    for (int n = 1; n < kWarps; n++)
        lost += shared[n];
    lost = sqrtf(lost);
    const float norm = static_cast<float>(sqrt(squares) * static_cast<double>(scale)), dim = static_cast<float>(a.dim);
    const float rounding = sizeof(Element) == 4 ? 0x1p-11f : 0.0f;
    float error = lost + (norm + lost) * (rounding + kSumError * dim * 1.001f + kScoreError + (dim / 8.0f + 16.0f) * 0x1p-24f);
    if (squares != 0.0 && !(norm >= 64.0f && norm <= 512.0f)) /* so small or large that no scale helps */
        error = __int_as_float(0x7f800000);
    if (there && squares == 0.0 && a.metric == EUM_METRIC_L2_SQUARED) /* what rows' squares lose below float32 would stand alone */
        error = __int_as_float(0x7f800000);
    a.facts[q] = make_float4(error * 1.001f, scale, norm * norm, nonfinite ? 1.0f : 0.0f);
    if (q < a.query_count)
        a.counts[q] = 0;
}

/* A score, as the candidates are compared: in units of the scaled query. v = value(acc); exact within error(). */
struct RowFacts {
    float factor, size, squares; /* NaN where nothing is known; the error grows with size */
};
struct QueryFacts {
    float threshold, error, half, constant; /* half: squared L2 */
    float most; /* dot products beyond are as good as another: their score may be infinite; and so at the other end, or distances */
};

template <bool DISTANCE> __device__ __forceinline__ float value_of(float sum, const RowFacts &row, const QueryFacts &query)
{
    return DISTANCE ? fmaf(-row.squares, query.half, sum * row.factor) : sum * row.factor;
}
template <bool DISTANCE> __device__ __forceinline__ float error_of(const RowFacts &row, const QueryFacts &query)
{
    return fmaf(query.error, row.size, DISTANCE ? fmaf(row.squares, query.half * 0x1p-14f, query.constant) : query.constant);
}

/* Both bounds of a score. False for a row with a NaN, which is behind all others, unless k others may not be there. */
template <bool DISTANCE>
__device__ __forceinline__ bool bounds_of(float sum, const RowFacts &row, const QueryFacts &query, float2 *out)
{
    const float infinity = __int_as_float(0x7f800000);
    const float value = value_of<DISTANCE>(sum, row, query), error = error_of<DISTANCE>(row, query);
    *out = make_float2(fminf(value - error, query.most), fmaxf(value + error, -query.most));
    if (value - error <= value + error)
        return true;
    const bool last = row.squares != row.squares;
    *out = make_float2(-infinity, last ? -infinity : infinity);
    return !last || !(query.threshold >= -FLT_MAX);
}

/* Of query q, for rows multiplied with `scale`. */
template <bool DISTANCE> __device__ __forceinline__ QueryFacts query_facts(const FilterArguments &a, uint32_t q, float scale)
{
    const float infinity = __int_as_float(0x7f800000);
    const float4 facts = a.facts[q];
    const bool there = q < a.query_count && facts.w == 0.0f, cosine = a.metric == EUM_METRIC_COSINE;
    const float ratio = facts.z * (scale / facts.y),
                smallest =
                    (facts.y * 0x1p-66f) *
                    (scale * 0x1p-67f); /* 2^-133, in these units: 4096 sums that round by 2^-150 each, and the tensor cores' */
    const float most = cosine ? infinity : FLT_MAX / 8.0f * fminf(facts.y, scale) * fmaxf(facts.y, scale);
    float threshold = -infinity;
    if (there && a.samples == nullptr && a.bounds != nullptr)
        threshold = score_of_rank(a.bounds[q], false);
    threshold = threshold > -most ? threshold : -infinity;
    return {there ? threshold : infinity, DISTANCE && facts.y < 0x1p-55f ? infinity : facts.x, /* a square at float32's end */
            DISTANCE ? facts.y / (2.0f * scale) : 0.0f, cosine ? 0.0f : (DISTANCE ? ratio * 0x1p-15f : 0.0f) + smallest, most};
}

} // namespace eum_scoring

#endif
