/* scoring_rerank: the best rows of many queries, second pass: of a query's candidates the best k, with the exact path's own scores.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A block a query. The k-th best of the candidates' lower bounds is reached by k rows; whatever cannot reach it by its upper bound is
 * dropped, and the rest is scored as scoring_product.cuh scores it, or for few queries scoring_stream.cuh: the same operations in the same
 * order, so the same bits. */
#ifndef EUM_SCORING_RERANK_CUH
#define EUM_SCORING_RERANK_CUH

#include "kernels/scoring_filter.cuh"
#include "kernels/scoring_sort.cuh"
#include "kernels/scoring_stream.cuh"

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

template <typename Element> __device__ __forceinline__ const Element *row_of_key(const FilterArguments &a, uint64_t key)
{
    const uint64_t row = key & UINT32_MAX, number = a.numbers != nullptr ? static_cast<uint64_t>(__ldg(a.numbers + row)) : row;
    return reinterpret_cast<const Element *>(a.targets + number * a.row_stride);
}

/* What kChunk elements of a row come to; parts are added up in the order of the elements. squares: of even and odd chunks of four. */
struct ScorePart {
    float sum, squares[2];
    uint32_t bits;
};
constexpr int kPartRows = 16, kMostParts = 512; /* rows that a warp does at once; parts in shared memory */

/* Of kPartRows rows, by a warp, as the product on the tensor cores sums them up. row_at(n): the address of row n. */
template <typename Element, typename RowAt>
__device__ __forceinline__ void product_parts(const float *query, RowAt row_at, int dim, int chunk, int chunks, ScorePart *parts)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    constexpr bool kExact = sizeof(Element) == 2;
    const int lane = static_cast<int>(threadIdx.x) % kWarp, part = lane % 4 * 4, end = min(chunk * kChunk + kChunk, dim);
    const Element *const upper = row_at(lane / 4), *const lower = row_at(lane / 4 + 8), *const own = row_at(lane / 2);
    float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f}, squares = 0.0f;
    uint32_t bits = 0;
#pragma unroll 4
    for (int at = chunk * kChunk; at < end; at += kDepth) {
        const float4 y = four_of(query, at + part, dim), u = four_of(upper, at + part, dim), l = four_of(lower, at + part, dim);
#pragma unroll
        for (int n = 0; n < 2; n++) {
            const float4 v = four_of(own, at + (lane % 2 * 2 + n) * 4, dim);
            squares += fmaf(v.w, v.w, fmaf(v.z, v.z, fmaf(v.y, v.y, v.x * v.x)));
            bits |= static_cast<uint32_t>(__float_as_int(v.x) | __float_as_int(v.y) | __float_as_int(v.z) | __float_as_int(v.w));
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
    bits |= __shfl_xor_sync(kAllLanes, bits, 1);
    if (lane % 4 == 0) {
        parts[lane / 4 * chunks + chunk].sum = sums[0];
        parts[(lane / 4 + 8) * chunks + chunk].sum = sums[2];
    }
    parts[lane / 2 * chunks + chunk].squares[lane % 2] = squares;
    if (lane % 2 == 0)
        parts[lane / 2 * chunks + chunk].bits = bits;
#else
    (void)query, (void)row_at, (void)dim, (void)chunk, (void)chunks, (void)parts;
#endif
}

/* A squared distance, by a lane, as the product without tensor cores sums it up. */
template <typename Element>
__device__ __forceinline__ void distance_part(const float *query, const Element *row, int dim, int chunk, ScorePart *to)
{
    const int end = min(chunk * kChunk + kChunk, dim);
    float sum = 0.0f;
#pragma unroll 4
    for (int at = chunk * kChunk; at < end; at += 4) {
        const float4 x = four_of(row, at, dim), y = four_of(query, at, dim);
        const float d[4] = {x.x - y.x, x.y - y.y, x.z - y.z, x.w - y.w};
#pragma unroll
        for (int n = 0; n < 4; n++)
            sum = fmaf(d[n], d[n], sum);
    }
    to->sum = sum;
}

/* From a row's parts. */
__device__ __forceinline__ float score_of_parts(const ScorePart *parts, int chunks, bool distance, bool cosine, float inverse)
{
    float total = parts[0].sum, squares[2] = {parts[0].squares[0], parts[0].squares[1]};
    uint32_t bits = parts[0].bits;
    for (int n = 1; n < chunks; n++) {
        total += parts[n].sum;
        squares[0] += parts[n].squares[0];
        squares[1] += parts[n].squares[1];
        bits |= parts[n].bits;
    }
    if (distance)
        return total;
    const float factor = factor_of(cosine, static_cast<double>(squares[0] + squares[1]), (bits & 0x7fffffffu) == 0);
    return total * (factor * inverse);
}

/* Replaces the rows in keys[0 .. count) by rank and row, with the scores of the product: by the whole block, the parts of a row each by
 * another warp. */
template <typename Element>
__device__ __forceinline__ void score_as_product(const FilterArguments &a, const float *query, uint64_t *keys, int count)
{
    __shared__ ScorePart parts[kMostParts];
    const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp, dim = static_cast<int>(a.dim);
    const bool distance = a.metric == EUM_METRIC_L2_SQUARED, cosine = a.metric == EUM_METRIC_COSINE;
    const int chunks = (dim + kChunk - 1) / kChunk, most_rows = min(kMostParts / chunks, kThreads) / kPartRows * kPartRows;
    float inverse = 1.0f;
    if (!distance) {
        const double squares = squares_by_warp(query, a.dim);
        inverse = factor_of(cosine, squares, squares == 0.0);
    }
    for (int first = 0; first < count; first += most_rows) {
        const int rows = min(most_rows, count - first), groups = (rows + kPartRows - 1) / kPartRows;
        auto row_at = [&](int n) { /* beyond the last, the last once more */
                                   return row_of_key<Element>(a, keys[min(first + n, count - 1)]);
        };
        if (distance) {
            for (int task = thread; task < groups * kPartRows * chunks; task += kThreads) {
                const int row = task % kPartRows + task / (kPartRows * chunks) * kPartRows, chunk = task / kPartRows % chunks;
                distance_part(query, row_at(row), dim, chunk, &parts[row * chunks + chunk]);
            }
        } else {
            for (int task = warp; task < groups * chunks; task += kWarps) {
                const int group = task / chunks * kPartRows;
                product_parts<Element>(
                    query, [&](int n) { return row_at(group + n); }, dim, task % chunks, chunks, parts + group * chunks);
            }
        }
        __syncthreads();
        const bool mine = thread < rows;
        const uint64_t key = keys[first + (mine ? thread : 0)];
        float score = mine ? score_of_parts(parts + thread * chunks, chunks, distance, cosine, inverse) : 0.0f;
        unsigned bad = __ballot_sync(kAllLanes, !finite(score));
        while (bad != 0) {
            const int whose = __ffs(static_cast<int>(bad)) - 1;
            bad &= bad - 1;
            const uint64_t its = __shfl_sync(kAllLanes, static_cast<unsigned long long>(key), whose);
            const float exact = exact_by_warp(a.metric, query, row_of_key<Element>(a, its), a.dim);
            score = lane == whose ? exact : score;
        }
        if (cosine && finite(score))
            score = fminf(fmaxf(score, -1.0f), 1.0f);
        __syncthreads();
        if (mine)
            keys[first + thread] = static_cast<uint64_t>(rank_of(score, distance)) << 32 | (key & UINT32_MAX);
    }
    __syncthreads();
}

/* A lane's part of a score, as the kernels for few queries sum it up. */
template <bool DISTANCE, int LANES>
__device__ __forceinline__ void stream_sums(const float *query, float scale, const float *row, int dim, int lane, float &sum,
                                            float &squares)
{
    using Wide = Piece<float, 4>;
#pragma unroll 4
    for (int at = lane; at < dim / 4; at += LANES) {
        const Wide x = load(reinterpret_cast<const Wide *>(row) + at);
        const float4 q = __ldg(reinterpret_cast<const float4 *>(query) + at);
        const float4 scaled = make_float4(q.x * scale, q.y * scale, q.z * scale, q.w * scale);
        add_piece<DISTANCE, !DISTANCE>(x, reinterpret_cast<const float *>(&scaled), 0, sum, squares);
    }
}

/* Replaces the rows in keys[0 .. count) by rank and row, with the scores of the kernels for few queries. */
template <int LANES>
__device__ __forceinline__ void score_as_stream(const FilterArguments &a, const float *query, uint64_t *keys, int count)
{
    constexpr int kRows = kWarp / LANES;
    const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp,
              dim = static_cast<int>(a.dim);
    const bool distance = a.metric == EUM_METRIC_L2_SQUARED;
    const Prepared prepared = prepared_from(a.metric, squares_by_warp(query, a.dim));
    for (int first = warp * kRows; first < count; first += kWarps * kRows) {
        const int place = first + lane / LANES;
        const uint64_t key = keys[min(place, count - 1)]; /* beyond the last, the last once more */
        const float *row = row_of_key<float>(a, key);
        float score = 0.0f, square = 0.0f;
        if (distance)
            stream_sums<true, LANES>(query, prepared.scale, row, dim, lane % LANES, score, square);
        else
            stream_sums<false, LANES>(query, prepared.scale, row, dim, lane % LANES, score, square);
        score = sum_group<LANES>(score);
        square = sum_group<LANES>(square);
        bool trusted = finite(score);
        if (a.metric == EUM_METRIC_COSINE) {
            score = fminf(fmaxf(score * prepared.inverse / sqrtf(square), -1.0f), 1.0f);
            trusted = square >= kRowSquaresMin && square <= FLT_MAX;
        }
        const bool mine = lane % LANES == 0 && place < count;
        unsigned untrusted = __ballot_sync(kAllLanes, mine && !trusted);
        while (untrusted != 0) {
            const int whose = __ffs(static_cast<int>(untrusted)) - 1;
            untrusted &= untrusted - 1;
            const uint64_t its = __shfl_sync(kAllLanes, static_cast<unsigned long long>(key), whose);
            const float exact = exact_by_warp(a.metric, query, row_of_key<float>(a, its), a.dim);
            score = lane == whose ? exact : score;
        }
        __syncwarp();
        if (mine)
            keys[place] = static_cast<uint64_t>(rank_of(score, distance)) << 32 | (key & UINT32_MAX);
        __syncwarp();
    }
}

/* A rank that at least k of the candidates reach: their k-th best lower bound, or where k is small the k-th best of what each thread has
 * found to be the best of its own. In shared memory: as many ranks as there are candidates, rounded up to a power of two. */
__device__ __forceinline__ uint32_t reached_rank(const float2 *spans, int count, int k, uint32_t *ranks)
{
    const int thread = static_cast<int>(threadIdx.x);
    if (count <= kThreads * 2 || k > kThreads / 4) {
        int size = 2;
        while (size < count)
            size *= 2;
        for (int i = thread; i < size; i += kThreads)
            ranks[i] = i < count ? rank_of(spans[i].x, false) : UINT32_MAX;
        sort_block(ranks, size);
    } else {
        uint32_t best = UINT32_MAX;
        for (int i = thread; i < count; i += kThreads)
            best = min(best, rank_of(spans[i].x, false));
        ranks[thread] = best;
        sort_block(ranks, kThreads);
    }
    const uint32_t reached = k <= count ? ranks[k - 1] : UINT32_MAX;
    __syncthreads();
    return reached;
}

/* FEW: with the scores of the kernels for few queries; of float32 rows. */
template <typename Element, bool FEW> __global__ void __launch_bounds__(kThreads, 2) rerank(const FilterArguments a)
{
    extern __shared__ uint64_t keys[]; /* a.capacity */
    __shared__ int survivors;
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
    const uint32_t bound = reached_rank(spans, count, k, reinterpret_cast<uint32_t *>(keys));
    for (int i = thread; i < count; i += kThreads)
        if (rank_of(spans[i].y, false) <= bound)
            keys[atomicAdd(&survivors, 1)] = all ? static_cast<uint32_t>(i) : a.places[q * a.capacity + static_cast<uint64_t>(i)];
    __syncthreads();
    const int left = survivors;
    const float *query = reinterpret_cast<const float *>(a.queries + q * a.query_stride);
    if constexpr (!FEW)
        score_as_product<Element>(a, query, keys, left);
    else if (a.lanes == 4)
        score_as_stream<4>(a, query, keys, left);
    else if (a.lanes == 8)
        score_as_stream<8>(a, query, keys, left);
    else
        score_as_stream<16>(a, query, keys, left);
    int size = 2;
    while (size < left)
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

template <typename Element, bool DISTANCE, FilterTile TILE> const void *filter_with()
{
    return reinterpret_cast<const void *>(
        &filter<Element, DISTANCE, filter_rows(TILE), filter_queries(TILE), filter_threads(TILE, DISTANCE)>);
}

template <typename Element, bool DISTANCE> FilterKernels filter_of()
{
    FilterKernels kernels = {
        reinterpret_cast<const void *>(&prepare_filter<Element>),
        {filter_with<Element, DISTANCE, kTallTile>(), filter_with<Element, DISTANCE, kBroadTile>(),
         filter_with<Element, DISTANCE, kSmallTile>()},
        reinterpret_cast<const void *>(&rerank<Element, false>),
        nullptr,
    };
    if constexpr (sizeof(Element) == sizeof(float))
        kernels.rerank_few = reinterpret_cast<const void *>(&rerank<Element, true>);
    return kernels;
}

template <typename Element> FilterKernels filter_for(bool distance)
{
    return distance ? filter_of<Element, true>() : filter_of<Element, false>();
}

} // namespace eum_scoring

#endif
