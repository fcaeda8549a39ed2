/* scoring_product: many queries against many rows, as a product of tiles with the scores' use fused behind it.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A block has a panel of queries and a slice of the rows, of which it takes 128 at a time. Both sides pass through shared memory
 * in steps of 16 elements, the next step on its way while the last is computed. A thread sums 8 x 8 scores (4 x 4, 2 x 8 in
 * panels of few queries) in registers: in float32 (FFMA), or on the tensor cores with each float32 split into two tf32, the
 * parts of which lose 2^-21 of a product at most. Sums of more than kChunk elements are summed up in parts, since float32 and
 * the tensor cores' sums even more lose with the length of a chain. A score depends on row, query and dim, and on whether tensor
 * cores are used.
 *
 * A selection keeps a list for each query in global memory (the cache), with its threshold in shared memory; so little enters
 * that what counts is one comparison for each score. */
#ifndef EUM_SCORING_PRODUCT_CUH
#define EUM_SCORING_PRODUCT_CUH

#include "kernels/scoring_lists.cuh"
#include "kernels/scoring_plan.h"

namespace eum_scoring
{

constexpr int kDepth = 16;  /* elements of a step: four chunks of four */
constexpr int kChunk = 128; /* elements that are summed in one go, where sqrt(dim) is not more */
/* Norms of at most 2^60 and at least 2^-30: neither products nor squares overflow, and none that matters is lost. */
constexpr double kSquaresMin = 0x1p-60, kSquaresMax = 0x1p120;

/* The four chunks of a row of 16 floats are swapped so that 16-byte loads of the same chunk of eight neighbouring rows, and
 * those of all chunks of two, fall into different banks. */
__device__ __forceinline__ int chunk_place(int row, int chunk)
{
    return row * kDepth + ((chunk ^ (row >> 1 & 3)) * 4);
}

/* ------------------------------------------------------------------------------------------ to shared memory -------- */

/* Copies four floats, of which `left` exist, or more, or none; the others are 0. Asynchronously where the device can. */
template <bool WIDE> __device__ __forceinline__ void copy_chunk(float *to, const float *from, int left)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    const unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(to));
    if (WIDE) {
        const int bytes = left >= 4 ? 16 : left > 0 ? left * 4 : 0;
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(bytes) : "memory");
    } else {
#pragma unroll
        for (int i = 0; i < 4; i++)
            asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(at + 4u * static_cast<unsigned>(i)),
                         "l"(i < left ? from + i : from), "r"(i < left ? 4 : 0)
                         : "memory");
    }
#else
    float4 four = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (WIDE && left >= 4) {
        four = __ldg(reinterpret_cast<const float4 *>(from));
    } else {
        four.x = left > 0 ? __ldg(from) : 0.0f;
        four.y = left > 1 ? __ldg(from + 1) : 0.0f;
        four.z = left > 2 ? __ldg(from + 2) : 0.0f;
        four.w = left > 3 ? __ldg(from + 3) : 0.0f;
    }
    *reinterpret_cast<float4 *>(to) = four;
#endif
}

__device__ __forceinline__ void wait_for_copies()
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

/* Four elements of 16 bits on their way, as their bits: loaded before a step is computed, widened and stored behind it. */
template <bool WIDE> __device__ __forceinline__ uint2 fetch_chunk(const void *from, int left)
{
    uint2 bits = make_uint2(0, 0);
    if (WIDE && left >= 4) {
        bits = __ldg(static_cast<const uint2 *>(from));
    } else {
        const unsigned short *each = static_cast<const unsigned short *>(from);
        bits.x = left > 0 ? __ldg(each) : 0u;
        bits.x |= left > 1 ? static_cast<unsigned>(__ldg(each + 1)) << 16 : 0u;
        bits.y = left > 2 ? __ldg(each + 2) : 0u;
        bits.y |= left > 3 ? static_cast<unsigned>(__ldg(each + 3)) << 16 : 0u;
    }
    return bits;
}

template <typename Element> __device__ __forceinline__ float4 widen_chunk(uint2 bits)
{
    if constexpr (sizeof(Element) == 2) {
        Piece<Element, 4> piece;
        memcpy(&piece, &bits, sizeof piece);
        return make_float4(piece.element(0), piece.element(1), piece.element(2), piece.element(3));
    }
    return make_float4(0.0f, 0.0f, 0.0f, 0.0f);
}

/* Where a thread's chunk of a step is: chunk thread % 4 of every 64th row. What is there is told by comparisons of what is left,
 * not by a minimum of it: of min(max(left, 0), 4) == 4 ptxas 13.0 makes one instruction that also says yes where nothing is
 * left. */
struct StepPart {
    int first, left; /* elements; none left: first is 0 */

    __device__ __forceinline__ StepPart(int at, int dim)
    {
        first = at + static_cast<int>(threadIdx.x) % 4 * 4;
        left = dim - first;
        first = left > 0 ? first : 0;
    }
};

/* What a thread brings of a matrix of ROWS rows, STEPS steps at a time; each step's floats are `apart` behind those of the one
 * before. */
template <typename Element, bool WIDE, int ROWS, int STEPS> struct Loader {
    static constexpr int kEach = (ROWS * 4 + kThreads - 1) / kThreads;
    static constexpr bool kNarrow = sizeof(Element) == 2;
    const Element *rows[kEach];
    uint2 fetched[kNarrow ? kEach * STEPS : 1];

    static __device__ __forceinline__ int row_at(int n)
    {
        return static_cast<int>(threadIdx.x) / 4 + n * (kThreads / 4);
    }
    static __device__ __forceinline__ float *place_at(float *to, int n) /* 64 rows on: the same place */
    {
        return to + chunk_place(row_at(0), static_cast<int>(threadIdx.x) % 4) + n * (kThreads / 4) * kDepth;
    }

    /* Elements from `at` on. 16-bit ones are only fetched, and stored by place(). */
    __device__ __forceinline__ void bring(float *to, int apart, int at, int dim)
    {
        if (ROWS * 4 < kThreads && row_at(0) >= ROWS)
            return;
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
            const StepPart part(at + step * kDepth, dim);
#pragma unroll
            for (int n = 0; n < kEach; n++) {
                if constexpr (kNarrow)
                    fetched[step * kEach + n] = fetch_chunk<WIDE>(rows[n] + part.first, part.left);
                else
                    copy_chunk<WIDE>(place_at(to + step * apart, n), rows[n] + part.first, part.left);
            }
        }
    }

    __device__ __forceinline__ void place(float *to, int apart)
    {
        if constexpr (kNarrow) {
#pragma unroll
            for (int step = 0; step < STEPS; step++) {
#pragma unroll
                for (int n = 0; n < kEach; n++)
                    *reinterpret_cast<float4 *>(place_at(to + step * apart, n)) = widen_chunk<Element>(fetched[step * kEach + n]);
            }
        }
    }
};

/* ----------------------------------------------------------------------------------------------- a thread's part ---- */

/* Scores (i, j) of a thread: row row + 8 * i and query query_at(j) of the block's tile. */
template <bool TENSOR, int QUERIES> struct Part {
    static constexpr bool kFew = QUERIES == kTileFewQueries;
    static constexpr int kRows = kFew ? (TENSOR ? 2 : 4) : 8, kQueries = kFew ? (TENSOR ? 8 : 4) : 8;
    int row, query;

    __device__ __forceinline__ Part()
    {
        const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
        const int across = kFew ? (TENSOR ? 8 : 4) : 2; /* warps along the rows */
        row = warp % across * (kRows * 8) + (TENSOR ? lane / 4 : lane >> 1 & 7);
        query = warp / across * (kQueries * 4) + (TENSOR ? lane % 4 * 2 : (lane & 1) | (lane >> 4) << 1);
    }
    __device__ __forceinline__ int query_at(int j) const
    {
        return query + (TENSOR ? j / 2 * 8 + j % 2 : 4 * j);
    }
};

template <bool DISTANCE, int ROWS, int QUERIES>
__device__ __forceinline__ void multiply_float32(const float *targets, const float *queries, int row, int query,
                                                 float (&sums)[ROWS][QUERIES])
{
#pragma unroll
    for (int chunk = 0; chunk < kDepth / 4; chunk++) {
        float4 q[QUERIES];
#pragma unroll
        for (int j = 0; j < QUERIES; j++)
            q[j] = *reinterpret_cast<const float4 *>(queries + chunk_place(query + j % 2 * 4, chunk) + j / 2 * 8 * kDepth);
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            const float4 x = *reinterpret_cast<const float4 *>(targets + chunk_place(row, chunk) +
                                                               i * 8 * kDepth); /* 8 rows on: the same place */
            const float from_x[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
            for (int n = 0; n < 4; n++) {
#pragma unroll
                for (int j = 0; j < QUERIES; j++) {
                    const float y = n == 0 ? q[j].x : n == 1 ? q[j].y : n == 2 ? q[j].z : q[j].w, d = from_x[n] - y;
                    sums[i][j] = DISTANCE ? fmaf(d, d, sums[i][j]) : fmaf(from_x[n], y, sums[i][j]);
                }
            }
        }
    }
}

/* The upper 11 bits of a float32, rounded, as a tf32; what is left has 12 bits, of which the tensor core drops at most the last. */
__device__ __forceinline__ void split(float x, uint32_t &high, uint32_t &low)
{
    high = (static_cast<uint32_t>(__float_as_int(x)) + 0x1000u) & 0xffffe000u;
    low = static_cast<uint32_t>(__float_as_int(x - __int_as_float(static_cast<int>(high))));
}

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
__device__ __forceinline__ void multiply_tile(float &c0, float &c1, float &c2, float &c3, const uint32_t (&a)[4], uint32_t b0,
                                              uint32_t b1)
{
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c0), "+f"(c1), "+f"(c2), "+f"(c3)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
#endif

/* A lane loads chunk lane % 4 of its rows and takes its four elements as elements lane % 4 and lane % 4 + 4 of two steps of the
 * tensor core: in which order the elements are summed does not matter as long as it is the same on both sides. EXACT: the
 * targets are tf32 as they are. */
template <bool EXACT, int ROWS, int QUERIES>
__device__ __forceinline__ void multiply_tensor(const float *targets, const float *queries, int row, int query,
                                                float (&sums)[ROWS][QUERIES])
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    const int chunk = static_cast<int>(threadIdx.x) % 4;
    targets += chunk_place(row, chunk); /* 8 rows on: the same place */
    queries += chunk_place(query, chunk);
    uint32_t high[QUERIES / 2][4], low[QUERIES / 2][4];
#pragma unroll
    for (int n = 0; n < QUERIES / 2; n++) {
        const float4 y = *reinterpret_cast<const float4 *>(queries + n * 8 * kDepth);
        split(y.x, high[n][0], low[n][0]);
        split(y.y, high[n][1], low[n][1]);
        split(y.z, high[n][2], low[n][2]);
        split(y.w, high[n][3], low[n][3]);
    }
#pragma unroll
    for (int m = 0; m < ROWS / 2; m++) {
        const float4 upper = *reinterpret_cast<const float4 *>(targets + m * 16 * kDepth);
        const float4 lower = *reinterpret_cast<const float4 *>(targets + (m * 16 + 8) * kDepth);
        const float x[2][4] = {{upper.x, lower.x, upper.y, lower.y}, {upper.z, lower.z, upper.w, lower.w}};
#pragma unroll
        for (int step = 0; step < 2; step++) {
            uint32_t x_high[4], x_low[4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                if (EXACT)
                    x_high[i] = static_cast<uint32_t>(__float_as_int(x[step][i]));
                else
                    split(x[step][i], x_high[i], x_low[i]);
            }
            auto multiply = [&](const uint32_t(&part)[4], const uint32_t(&with)[QUERIES / 2][4]) {
#pragma unroll
                for (int n = 0; n < QUERIES / 2; n++)
                    multiply_tile(sums[m * 2][n * 2], sums[m * 2][n * 2 + 1], sums[m * 2 + 1][n * 2], sums[m * 2 + 1][n * 2 + 1],
                                  part, with[n][step * 2], with[n][step * 2 + 1]);
            };
            multiply(x_high, low); /* the small ones first; neighbours do not wait for each other */
            if (!EXACT)
                multiply(x_low, high);
            multiply(x_high, high);
        }
    }
#else
    (void)targets, (void)queries, (void)row, (void)query, (void)sums; /* the launcher does not choose it */
#endif
}

/* ------------------------------------------------------------------------------------------------- the kernel ------- */

template <int QUERIES> struct ProductShared {
    float inverses[QUERIES];       /* cosine: 1 / the queries' norms, 0 of zero, NaN where float32 cannot carry them */
    float row_inverses[kTileRows]; /* the same of the rows of a tile */
    ListState states[QUERIES];
};

/* What a product is multiplied with for a side whose sum of squares this is (zero: all its elements are): NaN where float32
 * cannot carry it. A dot product is only in danger where numbers are so huge that what others lose among the denormals counts. */
__device__ __forceinline__ float factor_of(bool cosine, double squares, bool zero)
{
    if (!(squares <= kSquaresMax) || (cosine && squares < kSquaresMin && !zero))
        return not_a_number();
    return !cosine ? 1.0f : zero ? 0.0f : static_cast<float>(1.0 / sqrt(squares));
}

/* Puts a thread's scores where they can be counted through. */
template <int ROWS, int QUERIES> __device__ __forceinline__ void hold(const float (&sums)[ROWS][QUERIES], volatile float *held)
{
#pragma unroll
    for (int n = 0; n < ROWS * QUERIES; n++)
        held[n] = sums[n / QUERIES][n % QUERIES];
}

/* Settles one list in global memory by way of `space` in shared memory. Begins and ends with a barrier. */
template <int THREADS>
__device__ __forceinline__ void settle_global(const Arguments &a, uint64_t *list, ListState *state, uint64_t *space, int thread)
{
    const int kept = static_cast<int>(a.kept), count = min(state->count, static_cast<int>(a.fresh));
    for (int i = thread; i < kept + count; i += THREADS)
        space[i] = list[i];
    settle<THREADS>(space, kept, count, thread);
    for (int i = thread; i < kept; i += THREADS)
        list[i] = space[i];
    if (thread == 0)
        *state = {min(state->threshold, space[a.k - 1]), 0};
    synchronize<THREADS>();
}

/* Settles the lists of a block's queries that have more than `limit` new entries: each by a warp, long ones by the block.
 * `space`: shared memory for a list of each warp, or a long one. Begins and ends with a barrier. */
__device__ __forceinline__ void settle_global_lists(const Arguments &a, uint64_t *lists, uint64_t step, ListState *states,
                                                    int queries, int limit, uint64_t *space)
{
    const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarp, each = static_cast<int>(a.kept + a.fresh);
    __syncthreads();
    if (a.kept > kTileQueries) {
        for (int q = 0; q < queries; q++)
            if (states[q].count > limit) /* the same for all threads: it changes behind a barrier, in front of another */
                settle_global<kThreads>(a, lists + static_cast<uint64_t>(q) * step, states + q, space, thread);
    } else {
        const int settling = min(kWarps, kSettleBytes / (each * static_cast<int>(sizeof(uint64_t)))); /* warps */
        for (int q = warp; q < queries && warp < settling; q += settling)
            if (states[q].count > limit)
                settle_global<kWarp>(a, lists + static_cast<uint64_t>(q) * step, states + q, space + warp * each, thread % kWarp);
    }
    __syncthreads();
}

template <typename Element, bool DISTANCE, bool TENSOR, bool WIDE, int QUERIES>
__global__ void __launch_bounds__(kThreads, QUERIES == kTileFewQueries ? kFewProductBlocks : kProductBlocks)
    product(const Arguments a)
{
    using Own = Part<TENSOR, QUERIES>;
    constexpr bool kFew = QUERIES == kTileFewQueries;
    constexpr int kSteps = TENSOR && !kFew ? kTensorSteps : kProductSteps;
    constexpr int kTargetFloats = kTileRows * kDepth, kStep = kTargetFloats + QUERIES * kDepth, kStage = kSteps * kStep;
    extern __shared__ float4 dynamic_shared[];
    __shared__ ProductShared<QUERIES> shared;
    float *stages = reinterpret_cast<float *>(dynamic_shared); /* two, of kSteps steps each; then where lists are settled */
    uint64_t *space = reinterpret_cast<uint64_t *>(stages + 2 * kStage);
    const Own own;
    const int thread = static_cast<int>(threadIdx.x), dim = static_cast<int>(a.dim);
    const bool sample = a.samples != nullptr, select = !sample && a.indices != nullptr;
    const bool cosine = a.metric == EUM_METRIC_COSINE; /* where norms scale, and not only tell what float32 cannot carry */
    const unsigned panels =
        static_cast<unsigned>((a.query_count + QUERIES - 1) / QUERIES); /* of one slice side by side: rows are cached */
    const uint64_t panel = blockIdx.x % panels, slice = blockIdx.x / panels, first_query = panel * QUERIES;
    const int count = a.query_count - first_query < QUERIES ? static_cast<int>(a.query_count - first_query) : QUERIES;
    const uint64_t begin = slice * a.slice_step, end = begin + a.slice_rows < a.rows ? begin + a.slice_rows : a.rows;
    uint64_t *lists = select ? a.lists + (first_query * a.slices + slice) * a.list_stride : nullptr;
    const uint64_t list_step = a.slices * a.list_stride;
    if (a.needed != nullptr) {
        bool wanted = false;
        for (int q = thread; q < count; q += kThreads)
            wanted |= a.needed[first_query + static_cast<uint64_t>(q)] != 0;
        if (!__syncthreads_or(wanted))
            return;
    }
    auto query_address = [&](int q) {
        return reinterpret_cast<const float *>(a.queries + (first_query + static_cast<uint64_t>(q)) * a.query_stride);
    };
    auto row_address = [&](uint64_t row) {
        const uint64_t number = a.numbers != nullptr ? static_cast<uint64_t>(__ldg(a.numbers + row)) : row;
        return reinterpret_cast<const Element *>(a.targets + number * a.row_stride);
    };

    Loader<float, WIDE, QUERIES, kSteps> query_loader;
    Loader<Element, WIDE, kTileRows, kSteps> row_loader;
#pragma unroll
    for (int n = 0; n < query_loader.kEach; n++) /* beyond the last query or row, the last once more */
        query_loader.rows[n] = query_address(min(query_loader.row_at(n), count - 1));
    if (!DISTANCE) {
        for (int q = thread / kWarp; q < QUERIES; q += kWarps) {
            const double squares = q < count ? squares_by_warp(query_address(q), a.dim) : 0.0;
            if (thread % kWarp == 0)
                shared.inverses[q] = factor_of(cosine, squares, squares == 0.0);
        }
    }
    if (select) {
        for (int i = thread; i < count * static_cast<int>(a.kept); i += kThreads)
            lists[static_cast<uint64_t>(i) / a.kept * list_step + static_cast<uint64_t>(i) % a.kept] = kNothing;
        for (int q = thread; q < count; q += kThreads) {
            const uint64_t bound = a.bounds != nullptr ? a.bounds[first_query + static_cast<uint64_t>(q)] : UINT32_MAX;
            shared.states[q] = {bound << 32 | UINT32_MAX, 0}; /* whatever the place */
        }
    }

    int longest = kChunk; /* elements of a chunk */
    while (longest < dim / longest)
        longest += kSteps * kDepth;
    auto begin_tile = [&](uint64_t tile) {
#pragma unroll
        for (int n = 0; n < row_loader.kEach; n++) {
            const uint64_t row = tile + static_cast<uint64_t>(row_loader.row_at(n));
            row_loader.rows[n] = row_address(row < end ? row : end - 1);
        }
        query_loader.bring(stages + kTargetFloats, kStep, 0, dim);
        row_loader.bring(stages, kStep, 0, dim);
    };
    if (begin < end)
        begin_tile(begin);
    for (uint64_t tile = begin; tile < end; tile += kTileRows) {
        float sums[Own::kRows][Own::kQueries], scores[Own::kRows][Own::kQueries]; /* of a chunk, of those before and in the end */
        float squares = 0.0f;
        uint32_t bits = 0;
        row_loader.place(stages, kStep);
        float *now = stages, *next = stages + kStage;
        for (int chunk = 0; chunk < dim; chunk += longest) {
            const int chunk_end = min(chunk + longest, dim);
            float own_squares = 0.0f;
#pragma unroll
            for (int n = 0; n < Own::kRows * Own::kQueries; n++)
                sums[n / Own::kQueries][n % Own::kQueries] = 0.0f;
#pragma unroll 1
            for (int at = chunk; at < chunk_end; at += kSteps * kDepth) {
                const bool another = at + kSteps * kDepth < dim;
                wait_for_copies();
                __syncthreads();
                if (another) {
                    query_loader.bring(next + kTargetFloats, kStep, at + kSteps * kDepth, dim);
                    row_loader.bring(next, kStep, at + kSteps * kDepth, dim);
                }
#pragma unroll
                for (int step = 0; step < kSteps; step++) {
                    const float *x = now + step * kStep, *y = x + kTargetFloats;
                    if (!DISTANCE) { /* two threads a row */
#pragma unroll
                        for (int n = 0; n < 2; n++) {
                            const float4 v = *reinterpret_cast<const float4 *>(x + chunk_place(thread / 2, thread % 2 * 2 + n));
                            own_squares += fmaf(v.w, v.w, fmaf(v.z, v.z, fmaf(v.y, v.y, v.x * v.x)));
                            bits |= static_cast<uint32_t>(__float_as_int(v.x) | __float_as_int(v.y) | __float_as_int(v.z) |
                                                          __float_as_int(v.w));
                        }
                    }
                    if constexpr (TENSOR)
                        multiply_tensor<sizeof(Element) == 2>(x, y, own.row, own.query - thread % 4 * 2 + thread % kWarp / 4, sums);
                    else
                        multiply_float32<DISTANCE>(x, y, own.row, own.query, sums);
                }
                if (another)
                    row_loader.place(next, kStep);
                float *const other = now;
                now = next, next = other;
            }
            squares += own_squares;
#pragma unroll
            for (int n = 0; n < Own::kRows * Own::kQueries; n++) {
                float &total = scores[n / Own::kQueries][n % Own::kQueries];
                total = chunk > 0 ? total + sums[n / Own::kQueries][n % Own::kQueries] : sums[n / Own::kQueries][n % Own::kQueries];
            }
        }
        if (!DISTANCE) {
            squares += __shfl_xor_sync(kAllLanes, squares, 1);
            bits |= __shfl_xor_sync(kAllLanes, bits, 1);
            if (thread % 2 == 0)
                shared.row_inverses[thread / 2] = factor_of(cosine, static_cast<double>(squares), (bits & 0x7fffffffu) == 0);
        }
        __syncthreads(); /* the stages are free, the factors there */
        if (tile + kTileRows < end)
            begin_tile(tile + kTileRows);

        volatile float
            held[Own::kRows * Own::kQueries]; /* the scores once more, in local memory, where one can count through them */
        const int rows_there = end - tile < kTileRows ? static_cast<int>(end - tile) : kTileRows;
        uint64_t bad = 0;
#pragma unroll
        for (int i = 0; i < Own::kRows; i++) {
#pragma unroll
            for (int j = 0; j < Own::kQueries; j++) {
                const bool there = own.row + 8 * i < rows_there && own.query_at(j) < count;
                if (!DISTANCE)
                    scores[i][j] *= shared.row_inverses[own.row + 8 * i] * shared.inverses[own.query_at(j)];
                if (there && !finite(scores[i][j]))
                    bad |= 1ull << (i * Own::kQueries + j);
                else if (cosine)
                    scores[i][j] = fminf(fmaxf(scores[i][j], -1.0f), 1.0f);
            }
        }
        if (__any_sync(kAllLanes, bad != 0)) { /* rare */
            hold(scores, held);
            for (int n = 0; n < Own::kRows * Own::kQueries; n++) {
                unsigned lanes = __ballot_sync(kAllLanes, (bad >> n & 1) != 0);
                while (lanes != 0) {
                    const int whose = __ffs(static_cast<int>(lanes)) - 1;
                    lanes &= lanes - 1;
                    const int row = __shfl_sync(kAllLanes, own.row + 8 * (n / Own::kQueries), whose);
                    const int query = __shfl_sync(kAllLanes, own.query_at(n % Own::kQueries), whose);
                    const float exact =
                        exact_by_warp(a.metric, query_address(query), row_address(tile + static_cast<uint64_t>(row)), a.dim);
                    if (thread % kWarp == whose)
                        held[n] = exact;
                }
            }
#pragma unroll
            for (int n = 0; n < Own::kRows * Own::kQueries; n++)
                scores[n / Own::kQueries][n % Own::kQueries] = held[n];
        }

        if (!select && !sample) {
#pragma unroll
            for (int i = 0; i < Own::kRows; i++) {
#pragma unroll
                for (int j = 0; j < Own::kQueries; j++)
                    if (own.row + 8 * i < rows_there && own.query_at(j) < count)
                        a.scores[(first_query + static_cast<uint64_t>(own.query_at(j))) * a.rows + tile +
                                 static_cast<uint64_t>(own.row + 8 * i)] = scores[i][j];
            }
            continue;
        }
        if (sample) { /* of a thread's rows, the best */
            constexpr int kGroups = kTileRows / Own::kRows;
            const int rows_group = own.row / (Own::kRows * 8) * 8 + own.row % 8;
#pragma unroll
            for (int j = 0; j < Own::kQueries; j++) {
                uint32_t best = UINT32_MAX;
#pragma unroll
                for (int i = 0; i < Own::kRows; i++)
                    best = own.row + 8 * i < rows_there ? min(best, rank_of(scores[i][j], DISTANCE)) : best;
                if (own.query_at(j) < count)
                    a.samples[(first_query + static_cast<uint64_t>(own.query_at(j))) * a.sample_count + slice * kGroups +
                              static_cast<uint64_t>(rows_group)] = best;
            }
            continue;
        }
        uint64_t waiting = 0; /* candidates that have no place yet */
#pragma unroll
        for (int j = 0; j < Own::kQueries; j++) {
            const bool there = own.query_at(j) < count;
            const uint32_t threshold = there ? static_cast<uint32_t>(shared.states[own.query_at(j)].threshold >> 32) : 0;
#pragma unroll
            for (int i = 0; i < Own::kRows; i++)
                if (rank_of(scores[i][j], DISTANCE) <= threshold && there && own.row + 8 * i < rows_there)
                    waiting |= 1ull << (i * Own::kQueries + j);
        }
        if (waiting != 0)
            hold(scores, held);
        while (__syncthreads_or(waiting != 0)) {
            for (uint64_t left = waiting; left != 0; left &= left - 1) {
                const int n = __ffsll(static_cast<long long>(left)) - 1, query = own.query_at(n % Own::kQueries);
                const uint64_t place = tile - begin + static_cast<uint64_t>(own.row + 8 * (n / Own::kQueries));
                const uint64_t entry = static_cast<uint64_t>(rank_of(held[n], DISTANCE)) << 32 | place;
                if (!offer(lists + static_cast<uint64_t>(query) * list_step, &shared.states[query], static_cast<int>(a.kept),
                           static_cast<int>(a.fresh), entry))
                    waiting &= ~(1ull << n);
            }
            settle_global_lists(a, lists, list_step, shared.states, count, static_cast<int>(a.fresh) / 2 - 1, space);
        }
    }
    if (select)
        settle_global_lists(a, lists, list_step, shared.states, count, 0, space);
}

/* --------------------------------------------------------------------------------------------------- choice --------- */

template <typename Element, bool DISTANCE, bool TENSOR> const void *product_of(const ProductShape &shape)
{
    if (shape.few)
        return shape.wide ? reinterpret_cast<const void *>(&product<Element, DISTANCE, TENSOR, true, kTileFewQueries>)
                          : reinterpret_cast<const void *>(&product<Element, DISTANCE, TENSOR, false, kTileFewQueries>);
    return shape.wide ? reinterpret_cast<const void *>(&product<Element, DISTANCE, TENSOR, true, kTileQueries>)
                      : reinterpret_cast<const void *>(&product<Element, DISTANCE, TENSOR, false, kTileQueries>);
}

template <typename Element> const void *product_for(const ProductShape &shape)
{
    return shape.distance ? product_of<Element, true, false>(shape)
           : shape.tensor ? product_of<Element, false, true>(shape)
                          : product_of<Element, false, false>(shape);
}

} // namespace eum_scoring

#endif
