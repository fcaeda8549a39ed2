/* scoring_cuda: what the CUDA files of the scoring share: arguments, elements, sums in float64, ranks.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_SCORING_CUDA_CUH
#define EUM_SCORING_CUDA_CUH

#include <cfloat>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <cuda_runtime_api.h>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

extern "C" {
#include "kernels/scoring.h"
}

namespace eum_scoring
{

constexpr int kWarp = 32;
constexpr int kThreads = 256; /* a block of every kernel here */
constexpr int kWarps = kThreads / kWarp;
constexpr unsigned kAllLanes = 0xffffffffu;

/* By value: the caller's struct may be gone when the kernel runs. */
struct Arguments {
    eum_metric metric;
    uint32_t k;                      /* where there are indices */
    uint32_t kept;                   /* a list's sorted entries: k rounded up to a power of two (scoring_lists.cuh) */
    uint32_t fresh;                  /* and the new ones behind them: a power of two, at least as many */
    uint32_t slices;                 /* of the rows; a selection has a list for each slice and query */
    uint32_t side;                   /* places for queries side by side in shared memory (scoring_stream.cuh), */
    uint32_t query_floats;           /* and floats of all of them */
    uint32_t group;                  /* queries a block scores */
    uint32_t active;                 /* warps of a block that read rows (scoring_stream.cuh) */
    uint64_t slice_rows, slice_step; /* rows of a slice, and from the begin of one to that of the next */
    const char *queries, *targets;
    const int64_t *numbers;
    float *scores;
    int64_t *indices; /* NULL: all scores */
    uint64_t *lists;  /* of query q and slice s: at (q * slices + s) * list_stride */
    uint64_t list_stride;
    uint64_t *finished;     /* blocks that have finished, under the launch's tag */
    uint64_t tag;           /* bits above the count's; 0: the merge is a launch of its own */
    uint32_t *bounds;       /* NULL, or for each query a rank behind which no row is wanted (scoring_product.cuh) */
    uint32_t *samples;      /* NULL; else a product writes ranks of samples here, and nothing else */
    uint32_t sample_count;  /* of a query */
    const uint32_t *needed; /* NULL, or for each query whether it is wanted at all */
    uint64_t query_count, rows, dim, query_stride, row_stride;
};

/* What other blocks write and read during the launch: past the first cache, which is the multiprocessor's own. clang 14 lacks CUDA's functions. */
__device__ __forceinline__ uint64_t load_past_l1(const uint64_t *address)
{
#if defined(__clang__)
    unsigned long long value;
    asm volatile("ld.global.cg.u64 %0, [%1];" : "=l"(value) : "l"(address) : "memory");
    return value;
#else
    return __ldcg(reinterpret_cast<const unsigned long long *>(address));
#endif
}

__device__ __forceinline__ void store_past_l1(uint64_t *address, uint64_t value)
{
#if defined(__clang__)
    asm volatile("st.global.cg.u64 [%0], %1;" ::"l"(address), "l"(value) : "memory");
#else
    __stcg(reinterpret_cast<unsigned long long *>(address), static_cast<unsigned long long>(value));
#endif
}

/* ------------------------------------------------------------------------------------------------- elements --------- */

__device__ __forceinline__ float widen(float x)
{
    return x;
}
__device__ __forceinline__ float widen(__half x)
{
    return __half2float(x);
}
__device__ __forceinline__ float widen(__nv_bfloat16 x)
{
    return __bfloat162float(x);
}

/* COUNT elements that are loaded at once. The targets are only read during the kernel: loads may take the read-only path. */
template <typename Element, int COUNT> struct alignas(sizeof(Element) * COUNT) Piece {
    Element at[COUNT];

    __device__ __forceinline__ float element(int i) const
    {
        return widen(at[i]);
    }
};
/* Of 16-bit elements in words: as elements each would take a register, and an instruction to get there. */
template <int COUNT> struct alignas(2 * COUNT) Piece<__half, COUNT> {
    uint32_t at[COUNT / 2];

    __device__ __forceinline__ float element(int i) const
    {
        __half2 both;
        memcpy(&both, &at[i / 2], sizeof both);
        return i % 2 == 0 ? __low2float(both) : __high2float(both);
    }
};
template <int COUNT> struct alignas(2 * COUNT) Piece<__nv_bfloat16, COUNT> {
    uint32_t at[COUNT / 2];

    __device__ __forceinline__ float element(int i) const
    {
        return __int_as_float(static_cast<int>(i % 2 == 0 ? at[i / 2] << 16 : at[i / 2] & 0xffff0000u));
    }
};
template <> struct alignas(2) Piece<__half, 1> {
    __half at[1];

    __device__ __forceinline__ float element(int) const
    {
        return widen(at[0]);
    }
};
template <> struct alignas(2) Piece<__nv_bfloat16, 1> {
    __nv_bfloat16 at[1];

    __device__ __forceinline__ float element(int) const
    {
        return widen(at[0]);
    }
};

__device__ __forceinline__ Piece<float, 1> load(const Piece<float, 1> *address)
{
    return {{__ldg(address->at)}};
}
__device__ __forceinline__ Piece<__half, 1> load(const Piece<__half, 1> *address)
{
    return {{__ldg(address->at)}};
}
__device__ __forceinline__ Piece<__nv_bfloat16, 1> load(const Piece<__nv_bfloat16, 1> *address)
{
    return {{__ldg(address->at)}};
}
template <typename Element, int COUNT> __device__ __forceinline__ Piece<Element, COUNT> load(const Piece<Element, COUNT> *address)
{
    static_assert(sizeof(Piece<Element, COUNT>) == 16 || sizeof(Piece<Element, COUNT>) == 8, "a load of 16 or 8 bytes");
    Piece<Element, COUNT> piece;
    if constexpr (sizeof piece == 16) {
        const uint4 loaded = __ldg(reinterpret_cast<const uint4 *>(address));
        memcpy(&piece, &loaded, sizeof piece);
    } else {
        const uint2 loaded = __ldg(reinterpret_cast<const uint2 *>(address));
        memcpy(&piece, &loaded, sizeof piece);
    }
    return piece;
}
template <typename Wide> __device__ __forceinline__ Wide zeros()
{
    Wide piece;
    memset(&piece, 0, sizeof piece);
    return piece;
}

__device__ __forceinline__ float not_a_number()
{
    return __int_as_float(0x7fc00000);
}

__device__ __forceinline__ bool finite(float x)
{
    return fabsf(x) <= FLT_MAX; /* false for NaN */
}

/* ------------------------------------------------------------------------------------------------ float64 ----------- */

template <typename Number> __device__ __forceinline__ Number sum_lanes(Number x)
{
#pragma unroll
    for (int distance = kWarp / 2; distance > 0; distance /= 2)
        x += __shfl_xor_sync(kAllLanes, x, distance);
    return x; /* the same bits in every lane: addition commutes */
}

struct ExactSums {
    double sum, row, query; /* of the products or the squared differences, of the row's squares, of the query's */
};

/* Every step-th element from `first`. Products of two float32 are exact in float64 and stay within its range. */
template <typename Element>
__device__ __forceinline__ ExactSums exact_sums(bool distance, const float *query, const Element *row, uint64_t dim, unsigned first,
                                                unsigned step)
{
    ExactSums sums = {0.0, 0.0, 0.0};
    for (uint64_t k = first; k < dim; k += step) {
        double q = static_cast<double>(query[k]), x = static_cast<double>(widen(row[k]));
        sums.sum = distance ? fma(x - q, x - q, sums.sum) : fma(q, x, sums.sum);
        sums.row = fma(x, x, sums.row);
        sums.query = fma(q, q, sums.query);
    }
    return sums;
}

__device__ __forceinline__ float exact_score(eum_metric metric, const ExactSums &sums)
{
    if (!isfinite(sums.row) || !isfinite(sums.query))
        return not_a_number();
    if (metric != EUM_METRIC_COSINE)
        return static_cast<float>(sums.sum);
    if (sums.row == 0.0 || sums.query == 0.0)
        return 0.0f;
    return static_cast<float>(fmin(fmax(sums.sum / (sqrt(sums.row) * sqrt(sums.query)), -1.0), 1.0));
}

/* One score in float64, by the whole warp, which must be together. Every lane gets it. */
template <typename Element>
__device__ __noinline__ float exact_by_warp(eum_metric metric, const float *query, const Element *row, uint64_t dim)
{
    ExactSums sums = exact_sums(metric == EUM_METRIC_L2_SQUARED, query, row, dim, threadIdx.x % kWarp, kWarp);
    return exact_score(metric, {sum_lanes(sums.sum), sum_lanes(sums.row), sum_lanes(sums.query)});
}

/* ------------------------------------------------------------------------------------------------- queries ---------- */

/* What is the same for all rows. */
struct Prepared {
    float scale;   /* cosine: a power of two that brings the norm near 1, unless it is in a range where nothing needs it */
    float inverse; /* cosine: 1 / the norm of the scaled query, 0 for a zero query */
    bool finite;
};

/* Here the dot product with any row whose norm can be trusted is safe as it is. */
constexpr double kUnscaledMin = 0x1p-40, kUnscaledMax = 0x1p40;

__device__ __forceinline__ Prepared prepared_from(eum_metric metric, double squares)
{
    Prepared prepared = {1.0f, 0.0f, static_cast<bool>(isfinite(squares))};
    if (metric != EUM_METRIC_COSINE || !prepared.finite || squares == 0.0)
        return prepared;
    if (squares < kUnscaledMin || squares >= kUnscaledMax) {
        int exponent = (((__double2hiint(squares) >> 20) & 0x7ff) - 1023) >> 1; /* of the norm */
        exponent = min(max(exponent, -126), 126);                               /* keeps the scale a normal float32 */
        prepared.scale = __int_as_float((127 - exponent) << 23);
    }
    double scale = static_cast<double>(prepared.scale);
    prepared.inverse = 1.0f / sqrtf(static_cast<float>(squares * scale * scale));
    return prepared;
}

/* A query's sum of squares is made of kWarps parts, every 256th element from 32 on each, so that a warp and a block give the
 * same bits. */
__device__ __forceinline__ double part_of_squares(const float *query, uint64_t dim, int part)
{
    double squares = 0.0;
    for (uint64_t k = static_cast<uint64_t>(part) * kWarp + threadIdx.x % kWarp; k < dim; k += kThreads) {
        const double q = static_cast<double>(__ldg(query + k));
        squares = fma(q, q, squares);
    }
    return sum_lanes(squares);
}

/* By the whole warp; every lane gets it. */
__device__ __forceinline__ double squares_by_warp(const float *query, uint64_t dim)
{
    double parts[kWarps] = {}, squares = 0.0;
    for (uint64_t first = threadIdx.x % kWarp; first < dim; first += kThreads) {
#pragma unroll
        for (int part = 0; part < kWarps; part++) { /* loads that do not wait for each other */
            const uint64_t k = first + static_cast<uint64_t>(part) * kWarp;
            const double q = static_cast<double>(k < dim ? __ldg(query + k) : 0.0f);
            parts[part] = fma(q, q, parts[part]);
        }
    }
#pragma unroll
    for (int part = 0; part < kWarps; part++)
        squares += sum_lanes(parts[part]);
    return squares;
}

/* --------------------------------------------------------------------------------------------------- ranks ---------- */

constexpr uint32_t kRankOfNan = 0xfffffffeu;

/* Ranks in the order of nearness: a smaller number is nearer, NaN is behind every number. */
__device__ __forceinline__ uint32_t rank_of(float score, bool smaller_is_better)
{
    uint32_t bits = static_cast<uint32_t>(__float_as_int(score + 0.0f)); /* -0 is 0 */
    bits = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;       /* in the order of the numbers */
    bits = smaller_is_better ? bits : ~bits;
    return score != score ? kRankOfNan : bits;
}

__device__ __forceinline__ float score_of_rank(uint32_t rank, bool smaller_is_better)
{
    if (rank == kRankOfNan)
        return not_a_number();
    uint32_t bits = smaller_is_better ? rank : ~rank;
    return __int_as_float(static_cast<int>((bits & 0x80000000u) != 0 ? bits & 0x7fffffffu : ~bits));
}

} // namespace eum_scoring

#endif
