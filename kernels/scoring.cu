/* scoring: the CUDA implementation. All scores in one launch; the best rows in two for each 512 blocks of work.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A warp scores a row against a group of queries: each lane takes every 32nd piece of them, sums in float32, every kChunk pieces in float64,
 * and the warp adds up its lanes. What float32 cannot carry is summed again in float64. The order does not depend on the group or the grid.
 *
 * The best: each block keeps sorted lists of its slice of the rows in shared memory, candidates behind them, and sorts when these are full.
 * A second kernel brings the slices together. An entry is one number, rank in front and place behind: the order is total, so that the
 * result does not depend on which warp came first.
 *
 * This has been compiled, and not been run or measured yet. */
#include <cfloat>
#include <cstddef>
#include <cstdint>

#include <cuda_runtime_api.h>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

extern "C" {
#include "kernels/scoring.h"
}

namespace
{

constexpr int kWarp = 32;
constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int kGroup = 8;            /* queries that a warp scores at once, where there are as many */
constexpr int kChunk = 64;           /* pieces of a lane that are summed in float32 */
constexpr int kRowsPerRound = 4;     /* of a warp, between two looks at the lists */
constexpr uint64_t kSelecting = 512; /* blocks of a selection */
constexpr int kSmallList = 128;      /* up to this k a block keeps the lists of a whole group */
/* Norms of at most 2^60 and at least 2^-30: neither products nor squares overflow, and none that matters is lost. */
constexpr double kSquaresMin = 0x1p-60, kSquaresMax = 0x1p120;

struct Arguments {
    const char *queries, *targets;
    const int64_t *numbers;
    float *scores;
    int64_t *indices;
    uint64_t *partial; /* query x slice x k */
    uint64_t query_count, rows, dim, query_stride, row_stride, k;
    uint64_t slices, slice_rows; /* of a selection */
    uint64_t groups;
};

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

/* COUNT elements that are loaded at once. */
template <typename Element, int COUNT> struct alignas(sizeof(Element) * COUNT) Piece {
    Element at[COUNT];
};

/* ----------------------------------------------------------------------------------------------------- sums --------- */

template <typename Number> __device__ __forceinline__ Number sum_lanes(Number x)
{
#pragma unroll
    for (int distance = kWarp / 2; distance > 0; distance /= 2)
        x += __shfl_xor_sync(kAllLanes, x, distance);
    return x; /* the same bits in every lane: addition commutes */
}

__device__ __forceinline__ float not_a_number()
{
    return __int_as_float(0x7fc00000);
}

template <eum_metric METRIC> __device__ __forceinline__ float score_of(double sum, double row, double query)
{
    if (!isfinite(row) || !isfinite(query))
        return not_a_number();
    if (METRIC != EUM_METRIC_COSINE)
        return static_cast<float>(sum);
    if (row == 0.0 || query == 0.0)
        return 0.0f;
    return static_cast<float>(fmin(fmax(sum / (sqrt(row) * sqrt(query)), -1.0), 1.0));
}

/* One score in float64, by the whole warp. */
template <eum_metric METRIC, typename Element>
__device__ __noinline__ float exact_score(const float *query, const Element *row, uint64_t dim, int lane)
{
    double sum = 0.0, row_squares = 0.0, query_squares = 0.0;
    for (uint64_t k = static_cast<uint64_t>(lane); k < dim; k += kWarp) {
        double q = static_cast<double>(query[k]), x = static_cast<double>(widen(row[k]));
        sum = METRIC == EUM_METRIC_L2_SQUARED ? fma(x - q, x - q, sum) : fma(q, x, sum);
        row_squares = fma(x, x, row_squares);
        query_squares = fma(q, q, query_squares);
    }
    return score_of<METRIC>(sum_lanes(sum), sum_lanes(row_squares), sum_lanes(query_squares));
}

/* Scores of one row and queries [first, first + count), by the whole warp; every lane gets them all. */
template <eum_metric METRIC, typename Element, int WIDTH, int GROUP>
__device__ __forceinline__ void score_row(const Arguments &a, uint64_t first, int count, uint64_t row_number, int lane,
                                          float *scores)
{
    using Wide = Piece<Element, WIDTH>;
    using WideQuery = Piece<float, WIDTH>;
    const Element *row = reinterpret_cast<const Element *>(a.targets + row_number * a.row_stride);
    const float *queries[GROUP];
    double sums[GROUP] = {}, query_squares[GROUP] = {}, row_squares = 0.0;
#pragma unroll
    for (int q = 0; q < GROUP; q++) /* beyond the last query, the last once more */
        queries[q] = reinterpret_cast<const float *>(a.queries +
                                                     (first + static_cast<uint64_t>(q < count ? q : count - 1)) * a.query_stride);

    const uint64_t pieces = a.dim / WIDTH;
    for (uint64_t k = static_cast<uint64_t>(lane); k < pieces;) {
        float sum[GROUP] = {}, squares[GROUP] = {}, own = 0.0f;
        for (int n = 0; n < kChunk && k < pieces; n++, k += kWarp) {
            const Wide x = reinterpret_cast<const Wide *>(row)[k];
#pragma unroll
            for (int i = 0; i < WIDTH; i++)
                own = fmaf(widen(x.at[i]), widen(x.at[i]), own);
#pragma unroll
            for (int q = 0; q < GROUP; q++) {
                const WideQuery y = reinterpret_cast<const WideQuery *>(queries[q])[k];
#pragma unroll
                for (int i = 0; i < WIDTH; i++) {
                    float d = widen(x.at[i]) - y.at[i];
                    sum[q] = METRIC == EUM_METRIC_L2_SQUARED ? fmaf(d, d, sum[q]) : fmaf(widen(x.at[i]), y.at[i], sum[q]);
                    squares[q] = fmaf(y.at[i], y.at[i], squares[q]);
                }
            }
        }
        row_squares += static_cast<double>(own);
#pragma unroll
        for (int q = 0; q < GROUP; q++) {
            sums[q] += static_cast<double>(sum[q]);
            query_squares[q] += static_cast<double>(squares[q]);
        }
    }
    for (uint64_t k = pieces * WIDTH + static_cast<uint64_t>(lane); k < a.dim; k += kWarp) {
        double x = static_cast<double>(widen(row[k]));
        row_squares = fma(x, x, row_squares);
#pragma unroll
        for (int q = 0; q < GROUP; q++) {
            double y = static_cast<double>(queries[q][k]);
            sums[q] = METRIC == EUM_METRIC_L2_SQUARED ? fma(x - y, x - y, sums[q]) : fma(x, y, sums[q]);
            query_squares[q] = fma(y, y, query_squares[q]);
        }
    }
    row_squares = sum_lanes(row_squares);
    const bool row_trusted = row_squares >= kSquaresMin && row_squares <= kSquaresMax; /* false for NaN */
#pragma unroll
    for (int q = 0; q < GROUP; q++) {
        double sum = sum_lanes(sums[q]), squares = sum_lanes(query_squares[q]);
        scores[q] = row_trusted && squares >= kSquaresMin && squares <= kSquaresMax
                        ? score_of<METRIC>(sum, row_squares, squares)
                        : exact_score<METRIC, Element>(queries[q], row, a.dim, lane);
    }
}

/* ----------------------------------------------------------------------------------------------- all scores --------- */

template <eum_metric METRIC, typename Element, int WIDTH, int GROUP>
__global__ void __launch_bounds__(kThreads) score_all(Arguments a)
{
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const uint64_t warps = static_cast<uint64_t>(gridDim.x) * kWarps;
    const uint64_t items = a.rows * a.groups; /* fits: the scores do */
    for (uint64_t item = static_cast<uint64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp; item < items; item += warps) {
        const uint64_t row = item / a.groups,
                       first = item % a.groups * GROUP; /* the groups of a row one after the other: it is cached */
        const int count = a.query_count - first < GROUP ? static_cast<int>(a.query_count - first) : GROUP;
        float scores[GROUP], mine = 0.0f;
        score_row<METRIC, Element, WIDTH, GROUP>(a, first, count,
                                                 a.numbers != nullptr ? static_cast<uint64_t>(a.numbers[row]) : row, lane, scores);
#pragma unroll
        for (int q = 0; q < GROUP; q++)
            mine = lane == q ? scores[q] : mine;
        if (lane < count)
            a.scores[(first + static_cast<uint64_t>(lane)) * a.rows + row] = mine;
    }
}

/* ------------------------------------------------------------------------------------------------- the best --------- */

constexpr uint64_t kNothing = UINT64_MAX;
constexpr uint32_t kRankOfNan = 0xfffffffeu;

/* Ranks in the order of nearness: a smaller number is nearer, NaN is behind every number. */
__device__ __forceinline__ uint32_t rank_of(float score, bool smaller_is_better)
{
    if (score != score)
        return kRankOfNan;
    uint32_t bits = static_cast<uint32_t>(__float_as_int(score + 0.0f)); /* -0 is 0 */
    bits = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;       /* in the order of the numbers */
    return smaller_is_better ? bits : ~bits;
}

__device__ __forceinline__ float score_of_rank(uint32_t rank, bool smaller_is_better)
{
    if (rank == kRankOfNan)
        return not_a_number();
    uint32_t bits = smaller_is_better ? rank : ~rank;
    return __int_as_float(static_cast<int>((bits & 0x80000000u) != 0 ? bits & 0x7fffffffu : ~bits));
}

/* Sorts `lists` lists of `size` numbers (a power of two) in shared memory, smallest first, by the whole block. */
__device__ void sort_lists(uint64_t *entries, int lists, int size)
{
    for (int span = 2; span <= size; span *= 2) {
        for (int step = span / 2; step > 0; step /= 2) {
            __syncthreads();
            for (int i = static_cast<int>(threadIdx.x); i < lists * size / 2; i += kThreads) {
                int low = (i / step) * 2 * step + i % step, high = low + step;
                bool upwards = (low % size & span) == 0 || span == size;
                uint64_t a = entries[low], b = entries[high];
                if ((a > b) == upwards) {
                    entries[low] = b;
                    entries[high] = a;
                }
            }
        }
    }
    __syncthreads();
}

/* Empties the candidates' half of each list. */
__device__ void clear_candidates(uint64_t *entries, int *counts, int lists, int half)
{
    for (int i = static_cast<int>(threadIdx.x); i < lists * half; i += kThreads)
        entries[i / half * 2 * half + half + i % half] = kNothing;
    if (static_cast<int>(threadIdx.x) < lists)
        counts[threadIdx.x] = 0;
    __syncthreads();
}

/* The best k of each slice of the rows, for each query of a group: a block each. Lists of 2 x half entries, half >= k and 64. */
template <eum_metric METRIC, typename Element, int WIDTH, int GROUP>
__global__ void __launch_bounds__(kThreads) select_slices(Arguments a, uint64_t first_query, int half)
{
    extern __shared__ uint64_t entries[];
    __shared__ int counts[GROUP];
    const int lane = static_cast<int>(threadIdx.x) % kWarp, k = static_cast<int>(a.k);
    const uint64_t slice = blockIdx.x % a.slices, first = first_query + blockIdx.x / a.slices * GROUP;
    const int count = a.query_count - first < GROUP ? static_cast<int>(a.query_count - first) : GROUP;
    const uint64_t begin = slice * a.slice_rows, end = begin + a.slice_rows < a.rows ? begin + a.slice_rows : a.rows;
    constexpr int kMostNew = kWarps * kRowsPerRound; /* of a list and round */

    for (int i = static_cast<int>(threadIdx.x); i < GROUP * 2 * half; i += kThreads)
        entries[i] = kNothing;
    if (static_cast<int>(threadIdx.x) < GROUP)
        counts[threadIdx.x] = 0;
    __syncthreads();
    for (uint64_t round = begin; round < end; round += kMostNew) {
        for (int r = 0; r < kRowsPerRound; r++) {
            const uint64_t row = round + static_cast<uint64_t>(r * kWarps) + threadIdx.x / kWarp;
            if (row >= end)
                break; /* the whole warp */
            float scores[GROUP], mine = 0.0f;
            score_row<METRIC, Element, WIDTH, GROUP>(a, first, count, row, lane, scores);
#pragma unroll
            for (int q = 0; q < GROUP; q++)
                mine = lane == q ? scores[q] : mine;
            if (lane < count) {
                uint64_t entry = static_cast<uint64_t>(rank_of(mine, METRIC == EUM_METRIC_L2_SQUARED)) << 32 | (row - begin);
                uint64_t *list = entries + lane * 2 * half;
                if (entry < list[k - 1])
                    list[half + atomicAdd(&counts[lane], 1)] = entry;
            }
        }
        __syncthreads();
        bool full = false;
        for (int q = 0; q < GROUP; q++)
            full |= counts[q] + kMostNew > half;
        if (full) {
            sort_lists(entries, GROUP, 2 * half);
            clear_candidates(entries, counts, GROUP, half);
        }
        __syncthreads();
    }
    sort_lists(entries, GROUP, 2 * half);
    for (int i = static_cast<int>(threadIdx.x); i < count * k; i += kThreads) {
        uint64_t query = first - first_query + static_cast<uint64_t>(i / k);
        a.partial[(query * a.slices + slice) * a.k + static_cast<uint64_t>(i % k)] = entries[i / k * 2 * half + i % k];
    }
}

/* Brings the slices of one query together: a block each. Equal ranks are in the order of their slices, and within one of their places. */
__global__ void __launch_bounds__(kThreads) merge_slices(Arguments a, uint64_t first_query, int half, bool smaller_is_better)
{
    extern __shared__ uint64_t entries[];
    __shared__ int counts[1];
    const uint64_t *partial = a.partial + static_cast<uint64_t>(blockIdx.x) * a.slices * a.k;
    const uint64_t found = a.slices * a.k;
    for (int i = static_cast<int>(threadIdx.x); i < 2 * half; i += kThreads)
        entries[i] = kNothing;
    if (threadIdx.x == 0)
        counts[0] = 0;
    __syncthreads();
    for (uint64_t round = 0; round < found; round += kThreads) {
        const uint64_t at = round + threadIdx.x;
        if (at < found && partial[at] != kNothing) {
            uint64_t entry = (partial[at] & 0xffffffff00000000u) | at;
            if (entry < entries[a.k - 1])
                entries[half + atomicAdd(&counts[0], 1)] = entry;
        }
        __syncthreads();
        if (counts[0] + kThreads > half) {
            sort_lists(entries, 1, 2 * half);
            clear_candidates(entries, counts, 1, half);
        }
        __syncthreads();
    }
    sort_lists(entries, 1, 2 * half);
    const uint64_t out = (first_query + blockIdx.x) * a.k;
    for (uint64_t n = threadIdx.x; n < a.k; n += kThreads) {
        const uint64_t entry = entries[n], at = entry & 0xffffffffu;
        const bool there = entry != kNothing;
        a.indices[out + n] = there ? static_cast<int64_t>(at / a.k * a.slice_rows + (partial[at] & 0xffffffffu)) : -1;
        a.scores[out + n] = there ? score_of_rank(static_cast<uint32_t>(entry >> 32), smaller_is_better) : not_a_number();
    }
}

/* ---------------------------------------------------------------------------------------------------- launch -------- */

struct Kernels {
    const void *all_one, *all_group, *select_one, *select_group;
};

template <eum_metric METRIC, typename Element, int WIDTH> Kernels kernels()
{
    return {reinterpret_cast<const void *>(&score_all<METRIC, Element, WIDTH, 1>),
            reinterpret_cast<const void *>(&score_all<METRIC, Element, WIDTH, kGroup>),
            reinterpret_cast<const void *>(&select_slices<METRIC, Element, WIDTH, 1>),
            reinterpret_cast<const void *>(&select_slices<METRIC, Element, WIDTH, kGroup>)};
}

template <eum_metric METRIC> Kernels kernels_for(eum_element element, bool wide)
{
    switch (element) {
    case EUM_ELEMENT_FLOAT16:
        return wide ? kernels<METRIC, __half, 4>() : kernels<METRIC, __half, 1>();
    case EUM_ELEMENT_BFLOAT16:
        return wide ? kernels<METRIC, __nv_bfloat16, 4>() : kernels<METRIC, __nv_bfloat16, 1>();
    default:
        return wide ? kernels<METRIC, float, 4>() : kernels<METRIC, float, 1>();
    }
}

/* Four elements at once where base and stride of both sides allow it. */
Kernels choose(const eum_scoring_args *args)
{
    const uint64_t size = args->element == EUM_ELEMENT_FLOAT32 ? 4 : 2;
    const bool wide = (reinterpret_cast<uintptr_t>(args->targets) | args->row_stride) % (4 * size) == 0 &&
                      (reinterpret_cast<uintptr_t>(args->queries) | args->query_stride) % 16 == 0;
    switch (args->metric) {
    case EUM_METRIC_DOT:
        return kernels_for<EUM_METRIC_DOT>(args->element, wide);
    case EUM_METRIC_L2_SQUARED:
        return kernels_for<EUM_METRIC_L2_SQUARED>(args->element, wide);
    default:
        return kernels_for<EUM_METRIC_COSINE>(args->element, wide);
    }
}

uint64_t divided_up(uint64_t n, uint64_t by)
{
    return n / by + (n % by != 0);
}

uint64_t group_of(const eum_scoring_args *args)
{
    if (args->indices != nullptr && args->k > kSmallList)
        return 1;
    return args->query_count > 1 ? kGroup : 1;
}

/* Slices for each group of queries: enough blocks, and places that fit in 32 bits. A slice below a few hundred rows is not worth a block. */
uint64_t slices_of(const eum_scoring_args *args)
{
    const uint64_t groups = divided_up(args->query_count, group_of(args)), worth = divided_up(args->rows, 256);
    uint64_t slices = groups >= kSelecting ? 1 : kSelecting / groups, least = args->rows >> 31;
    slices = slices < worth ? slices : worth;
    slices = slices > least ? slices : least + 1;
    return slices < 1 ? 1 : slices;
}

/* Queries whose selections run at once. */
uint64_t batch_of(const eum_scoring_args *args)
{
    const uint64_t most = kSelecting * group_of(args);
    return args->query_count < most ? args->query_count : most;
}

int power_of_two(uint64_t at_least)
{
    int n = 1;
    while (static_cast<uint64_t>(n) < at_least)
        n *= 2;
    return n;
}

/* Leaves no error behind in the runtime's per-thread state. */
int32_t reported(cudaError_t error)
{
    if (error != cudaSuccess)
        (void)cudaGetLastError();
    return static_cast<int32_t>(error);
}

cudaError_t launch_all(const eum_scoring_args *args, Arguments *arguments, const Kernels &kernels, cudaStream_t stream)
{
    int device = 0, processors = 1;
    cudaError_t error = cudaGetDevice(&device);
    if (error == cudaSuccess)
        error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    if (error != cudaSuccess)
        return error;
    uint64_t blocks = divided_up(args->rows * arguments->groups, kWarps), most = static_cast<uint64_t>(processors) * 16;
    blocks = blocks < most ? blocks : most;
    void *parameters[] = {arguments};
    return cudaLaunchKernel(group_of(args) == 1 ? kernels.all_one : kernels.all_group, dim3(static_cast<unsigned>(blocks)),
                            dim3(kThreads), parameters, 0, stream);
}

cudaError_t launch_best(const eum_scoring_args *args, Arguments *arguments, const Kernels &kernels, cudaStream_t stream)
{
    const uint64_t group = group_of(args), batch = batch_of(args);
    int half = power_of_two(args->k < 64 ? 64 : args->k), merge_half = power_of_two(args->k < kThreads ? kThreads : args->k);
    bool smaller = args->metric == EUM_METRIC_L2_SQUARED;
    for (uint64_t first = 0; first < args->query_count; first += batch) {
        const uint64_t count = args->query_count - first < batch ? args->query_count - first : batch;
        void *select[] = {arguments, &first, &half};
        cudaError_t error =
            cudaLaunchKernel(group == 1 ? kernels.select_one : kernels.select_group,
                             dim3(static_cast<unsigned>(divided_up(count, group) * arguments->slices)), dim3(kThreads), select,
                             group * 2 * static_cast<size_t>(half) * sizeof(uint64_t), stream);
        if (error != cudaSuccess)
            return error;
        void *merge[] = {arguments, &first, &merge_half, &smaller};
        error = cudaLaunchKernel(reinterpret_cast<const void *>(&merge_slices), dim3(static_cast<unsigned>(count)), dim3(kThreads),
                                 merge, 2 * static_cast<size_t>(merge_half) * sizeof(uint64_t), stream);
        if (error != cudaSuccess)
            return error;
    }
    return cudaSuccess;
}

} // namespace

extern "C" size_t eum_scoring_cuda_scratch(const eum_scoring_args *args)
{
    return args->indices == nullptr ? 0 : static_cast<size_t>(batch_of(args) * slices_of(args) * args->k * sizeof(uint64_t));
}

extern "C" int32_t eum_scoring_cuda(const eum_scoring_args *args, void *scratch, void *cuda_stream)
{
    if (args->query_count == 0 || (args->rows == 0 && args->indices == nullptr))
        return 0;
    const Kernels kernels = choose(args);
    Arguments arguments = {};
    arguments.queries = reinterpret_cast<const char *>(args->queries);
    arguments.targets = static_cast<const char *>(args->targets);
    arguments.numbers = args->numbers;
    arguments.scores = args->scores;
    arguments.indices = args->indices;
    arguments.partial = static_cast<uint64_t *>(scratch);
    arguments.query_count = args->query_count;
    arguments.rows = args->rows;
    arguments.dim = args->dim;
    arguments.query_stride = args->query_stride;
    arguments.row_stride = args->row_stride;
    arguments.k = args->k;
    arguments.groups = divided_up(args->query_count, group_of(args));
    arguments.slices = slices_of(args);
    arguments.slice_rows = divided_up(args->rows, arguments.slices);
    cudaStream_t stream = static_cast<cudaStream_t>(cuda_stream);
    return reported(args->indices == nullptr ? launch_all(args, &arguments, kernels, stream)
                                             : launch_best(args, &arguments, kernels, stream));
}
