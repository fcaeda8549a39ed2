/* scoring_rerank: the best rows of many queries, second pass: of a query's candidates the best k, with the exact path's own scores.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A block a query. The k-th best of the candidates' lower bounds is reached by k rows; whatever cannot reach it by its upper bound is
 * dropped, and the rest is scored as scoring_product.cuh scores it: the same operations in the same order, so the same bits. */
#ifndef EUM_SCORING_RERANK_CUH
#define EUM_SCORING_RERANK_CUH

#include "kernels/scoring_filter.cuh"
#include "kernels/scoring_sort.cuh"

namespace eum_scoring
{

/* Four elements from `at` on; those beyond the row are 0. */
template <typename Element> __device__ __forceinline__ float4 four_of(const Element *row, int at, int dim)
{
    Four<Element> four = {};
    if (at < dim)
        four = Four<Element>::read(row + at);
    return four.wide();
}

/* The scores of up to 16 rows by a warp, as the product on the tensor cores gives them: of row lane / 4 and lane / 4 + 8 in every
 * lane. row_at(n): the address of row n. */
template <typename Element, typename RowAt>
__device__ __forceinline__ void product_scores(const float *query, RowAt row_at, int dim, bool cosine, float inverse,
                                               float (&out)[2])
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    constexpr bool kExact = sizeof(Element) == 2;
    const int lane = static_cast<int>(threadIdx.x) % kWarp, part = lane % 4 * 4;
    const Element *const upper = row_at(lane / 4), *const lower = row_at(lane / 4 + 8), *const own = row_at(lane / 2);
    float totals[4], squares = 0.0f;
    uint32_t bits = 0;
    for (int chunk = 0; chunk < dim; chunk += kChunk) {
        const int chunk_end = min(chunk + kChunk, dim);
        float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f}, own_squares = 0.0f;
#pragma unroll 4
        for (int at = chunk; at < chunk_end; at += kDepth) {
            const float4 y = four_of(query, at + part, dim), u = four_of(upper, at + part, dim), l = four_of(lower, at + part, dim);
#pragma unroll
            for (int n = 0; n < 2; n++) {
                const float4 v = four_of(own, at + (lane % 2 * 2 + n) * 4, dim);
                own_squares += fmaf(v.w, v.w, fmaf(v.z, v.z, fmaf(v.y, v.y, v.x * v.x)));
                bits |=
                    static_cast<uint32_t>(__float_as_int(v.x) | __float_as_int(v.y) | __float_as_int(v.z) | __float_as_int(v.w));
            }
            uint32_t high[4], low[4];
            split(y.x, high[0], low[0]);
            split(y.y, high[1], low[1]);
            split(y.z, high[2], low[2]);
            split(y.w, high[3], low[3]);
            const float x[2][4] = {{u.x, l.x, u.y, l.y}, {u.z, l.z, u.w, l.w}};
#pragma unroll
            for (int step = 0; step < 2; step++) {
                uint32_t x_high[4], x_low[4];
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    if (kExact)
                        x_high[i] = static_cast<uint32_t>(__float_as_int(x[step][i]));
                    else
                        split(x[step][i], x_high[i], x_low[i]);
                }
                multiply_tile(sums[0], sums[1], sums[2], sums[3], x_high, low[step * 2], low[step * 2 + 1]);
                if (!kExact)
                    multiply_tile(sums[0], sums[1], sums[2], sums[3], x_low, high[step * 2], high[step * 2 + 1]);
                multiply_tile(sums[0], sums[1], sums[2], sums[3], x_high, high[step * 2], high[step * 2 + 1]);
            }
        }
        squares += own_squares;
#pragma unroll
        for (int n = 0; n < 4; n++)
            totals[n] = chunk > 0 ? totals[n] + sums[n] : sums[n];
    }
    squares += __shfl_xor_sync(kAllLanes, squares, 1);
    bits |= __shfl_xor_sync(kAllLanes, bits, 1);
    const float factor = factor_of(cosine, static_cast<double>(squares), (bits & 0x7fffffffu) == 0);
#pragma unroll
    for (int n = 0; n < 2; n++)
        out[n] = totals[n * 2] * (__shfl_sync(kAllLanes, factor, (lane / 4 + n * 8) * 2) * inverse);
#else
    (void)query, (void)row_at, (void)dim, (void)cosine, (void)inverse, (void)out;
#endif
}

/* A squared distance by one lane, as the product without tensor cores gives it. */
template <typename Element> __device__ __forceinline__ float distance_score(const float *query, const Element *row, int dim)
{
    float total = 0.0f;
    for (int chunk = 0; chunk < dim; chunk += kChunk) {
        const int chunk_end = min(chunk + kChunk, dim);
        float sum = 0.0f;
#pragma unroll 4
        for (int at = chunk; at < chunk_end; at += 4) {
            const float4 x = four_of(row, at, dim), y = four_of(query, at, dim);
            const float d[4] = {x.x - y.x, x.y - y.y, x.z - y.z, x.w - y.w};
#pragma unroll
            for (int n = 0; n < 4; n++)
                sum = fmaf(d[n], d[n], sum);
        }
        total = chunk > 0 ? total + sum : sum;
    }
    return total;
}

/* Replaces the rows in keys[0 .. count) by rank and row. */
template <typename Element>
__device__ __forceinline__ void score_candidates(const FilterArguments &a, const float *query, uint64_t *keys, int count)
{
    const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
    const int dim = static_cast<int>(a.dim);
    const bool distance = a.metric == EUM_METRIC_L2_SQUARED, cosine = a.metric == EUM_METRIC_COSINE;
    const int each = distance ? kWarp : 16;
    float inverse = 1.0f;
    if (!distance) {
        const double squares = squares_by_warp(query, a.dim);
        inverse = factor_of(cosine, squares, squares == 0.0);
    }
    for (int first = warp * each; first < count; first += kWarps * each) {
        auto row_at = [&](int n) { /* beyond the last, the last once more */
                                   const uint64_t row = keys[min(first + n, count - 1)] & UINT32_MAX;
                                   const uint64_t number =
                                       a.numbers != nullptr ? static_cast<uint64_t>(__ldg(a.numbers + row)) : row;
                                   return reinterpret_cast<const Element *>(a.targets + number * a.row_stride);
        };
        float score;
        if (distance) {
            score = distance_score(query, row_at(lane), dim);
        } else { /* of row n in lane n */
            float both[2];
            product_scores<Element>(query, row_at, dim, cosine, inverse, both);
            const float upper = __shfl_sync(kAllLanes, both[0], lane % 8 * 4),
                        lower = __shfl_sync(kAllLanes, both[1], lane % 8 * 4);
            score = lane % 16 < 8 ? upper : lower;
        }
        const bool mine = lane < each && first + lane < count;
        unsigned bad = __ballot_sync(kAllLanes, mine && !finite(score));
        while (bad != 0) {
            const int whose = __ffs(static_cast<int>(bad)) - 1;
            bad &= bad - 1;
            const float exact = exact_by_warp(a.metric, query, row_at(whose), a.dim);
            score = lane == whose ? exact : cosine && finite(score) ? fminf(fmaxf(score, -1.0f), 1.0f) : score;
        }
        if (cosine && finite(score))
            score = fminf(fmaxf(score, -1.0f), 1.0f);
        const uint64_t row = keys[min(first + lane, count - 1)] & UINT32_MAX;
        __syncwarp();
        if (mine)
            keys[first + lane] = static_cast<uint64_t>(rank_of(score, distance)) << 32 | row;
        __syncwarp();
    }
}

template <typename Element> __global__ void __launch_bounds__(kThreads, 2) rerank(const FilterArguments a)
{
    extern __shared__ uint64_t keys[]; /* a.capacity */
    __shared__ int survivors;
    uint32_t *ranks = reinterpret_cast<uint32_t *>(keys);
    const uint64_t q = blockIdx.x;
    const int thread = static_cast<int>(threadIdx.x), k = static_cast<int>(a.k);
    const bool all = a.bounds == nullptr, smaller = a.metric == EUM_METRIC_L2_SQUARED;
    int64_t *indices = a.indices + q * a.k;
    float *scores = a.scores + q * a.k;
    if (a.facts[q].w != 0.0f) { /* the query is not finite: nor is any score, and the rows are in order */
        for (int n = thread; n < k; n += kThreads) {
            indices[n] = static_cast<uint64_t>(n) < a.rows ? n : -1;
            scores[n] = not_a_number();
        }
        if (thread == 0)
            a.needed[q] = 0;
        return;
    }
    const uint32_t found = all ? static_cast<uint32_t>(a.rows) : a.counts[q];
    const bool lost = found > a.capacity || (found < a.k && found < a.rows);
    if (thread == 0) {
        a.needed[q] = lost ? 1 : 0;
        survivors = 0;
    }
    if (lost)
        return;
    const float2 *spans = a.spans + q * a.capacity;
    const int count = static_cast<int>(found);
    int size = 2;
    while (size < count)
        size *= 2;
    for (int i = thread; i < size; i += kThreads)
        ranks[i] = i < count ? rank_of(spans[i].x, false) : UINT32_MAX;
    sort_block(ranks, size);
    const uint32_t bound = k <= count ? ranks[k - 1] : UINT32_MAX;
    __syncthreads();
    for (int i = thread; i < count; i += kThreads)
        if (rank_of(spans[i].y, false) <= bound)
            keys[atomicAdd(&survivors, 1)] = all ? static_cast<uint32_t>(i) : a.places[q * a.capacity + static_cast<uint64_t>(i)];
    __syncthreads();
    const int left = survivors;
    score_candidates<Element>(a, reinterpret_cast<const float *>(a.queries + q * a.query_stride), keys, left);
    for (size = 2; size < left;)
        size *= 2;
    for (int i = left + thread; i < size; i += kThreads)
        keys[i] = kNothing;
    sort_block(keys, size);
    for (int n = thread; n < k; n += kThreads) {
        const bool there = n < left;
        indices[n] = there ? static_cast<int64_t>(keys[n] & UINT32_MAX) : static_cast<int64_t>(-1);
        scores[n] = there ? score_of_rank(static_cast<uint32_t>(keys[n] >> 32), smaller) : not_a_number();
    }
}

template <typename Element, bool DISTANCE> FilterKernels filter_of()
{
    return {reinterpret_cast<const void *>(&prepare_filter<Element>),
            reinterpret_cast<const void *>(&filter<Element, DISTANCE, 256, 128>),
            reinterpret_cast<const void *>(&filter<Element, DISTANCE, 128, 256>), reinterpret_cast<const void *>(&rerank<Element>)};
}

template <typename Element> FilterKernels filter_for(bool distance)
{
    return distance ? filter_of<Element, true>() : filter_of<Element, false>();
}

} // namespace eum_scoring

#endif
