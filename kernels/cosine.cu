/* cosine: the CUDA implementation. One launch, no allocation; the time is that of reading the targets once.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A group of lanes scores a row: each lane takes every LANES-th piece of it, sums the products and the squares in float32, and the
 * group adds up its lanes. Rows whose sum of squares float32 cannot carry (huge, tiny, zero, not finite) are summed again in float64.
 * A score depends on the row, the query and the shape of its launch's path (dim, alignment) alone, not on the number of rows. */
#include <cfloat>
#include <cstddef>
#include <cstdint>

#include "kernels/device_cuda.h"

extern "C" {
#include "kernels/kernels.h"
}

namespace
{

using Arguments = eum_cosine_args; /* by value: the caller's may be gone when the kernel runs */

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int kThreads = 128;           /* the order in which the query's norm is summed; the same for every launch */
constexpr int kBlocksPerProcessor = 6;  /* at least: leaves 80 registers a thread, some 24 of them for loads in flight */
constexpr uint64_t kSharedQuery = 8192; /* longest query in shared memory: 32 KiB, so that four blocks fit in 164 KiB */
constexpr int kLongThreads = 256;       /* for longer ones, a block a row */
constexpr int kLongBlocksPerProcessor = 4;

/* As on the CPU (cosine_cpu.h): below, squares that underflowed could matter; above, they overflowed or the row is not finite. */
constexpr float kSquaresMin = 0x1p-60f;
constexpr float kSquaresMax = FLT_MAX;
/* The query is scaled to a norm near 1 unless the squared norm is in this range, where the dot product is safe as it is. */
constexpr double kUnscaledMin = 0x1p-40, kUnscaledMax = 0x1p40;

/* ---------------------------------------------------------------------------------------------- pieces -------------- */

__device__ __forceinline__ const float *row_of(const Arguments &arguments, uint64_t row)
{
    return reinterpret_cast<const float *>(reinterpret_cast<const char *>(arguments.targets) + row * arguments.row_stride);
}

/* The targets and the query are only read during the kernel: loads may take the read-only path. */
__device__ __forceinline__ float4 load(const float4 *address)
{
    return __ldg(address);
}
__device__ __forceinline__ float load(const float *address)
{
    return __ldg(address);
}

template <typename Piece> __device__ __forceinline__ Piece nothing();
template <> __device__ __forceinline__ float4 nothing<float4>()
{
    return make_float4(0.0f, 0.0f, 0.0f, 0.0f);
}
template <> __device__ __forceinline__ float nothing<float>()
{
    return 0.0f;
}

__device__ __forceinline__ float add_products(float a, float b, float sum)
{
    return fmaf(a, b, sum);
}
__device__ __forceinline__ float add_products(float4 a, float4 b, float sum)
{
    return sum + fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, a.x * b.x))); /* a quarter of the additions to `sum`: less rounding */
}

template <int LANES, typename Number> __device__ __forceinline__ Number sum_lanes(Number x, unsigned participants)
{
#pragma unroll
    for (int distance = LANES / 2; distance > 0; distance /= 2)
        x += __shfl_xor_sync(participants, x, distance, LANES);
    return x; /* the same bits in every lane: addition commutes */
}

__device__ __forceinline__ float not_a_number()
{
    return __int_as_float(0x7fc00000);
}

/* ------------------------------------------------------------------------------------------ float64 ----------------- */

struct ExactSums {
    double dot, row, query; /* query . row, row . row, query . query */
};

/* Every step-th element from `first`. Products of two float32 are exact in float64 and stay within its range. */
__device__ __noinline__ ExactSums exact_sums(const float *query, const float *row, uint64_t dim, unsigned first, unsigned step)
{
    ExactSums sums = {0.0, 0.0, 0.0};
    for (uint64_t k = first; k < dim; k += step) {
        double q = static_cast<double>(__ldg(query + k)), x = static_cast<double>(__ldg(row + k));
        sums.dot = fma(q, x, sums.dot);
        sums.row = fma(x, x, sums.row);
        sums.query = fma(q, q, sums.query);
    }
    return sums;
}

__device__ __noinline__ float exact_score(double dot, double row, double query)
{
    if (!isfinite(row) || !isfinite(query))
        return not_a_number();
    if (row == 0.0 || query == 0.0)
        return 0.0f;
    return static_cast<float>(fmin(fmax(dot / (sqrt(row) * sqrt(query)), -1.0), 1.0));
}

/* ------------------------------------------------------------------------------------- a group of lanes a row ------- */

struct Query {
    float scale;   /* a power of two */
    float inverse; /* 1 / the norm of the scaled query, 0 for a zero query */
    bool finite;
};

/* Brings the query into shared memory, scaled, and its norm to every thread. */
__device__ __forceinline__ Query prepare(const float *query, int dim, float *shared)
{
    __shared__ double partial[kThreads / kWarp];
    const int thread = static_cast<int>(threadIdx.x);
    double squares = 0.0;
    for (int k = thread; k < dim; k += kThreads) {
        float q = __ldg(query + k);
        shared[k] = q;
        squares = fma(static_cast<double>(q), static_cast<double>(q), squares);
    }
    squares = sum_lanes<kWarp>(squares, kAllLanes);
    if (thread % kWarp == 0)
        partial[thread / kWarp] = squares;
    __syncthreads();
    squares = 0.0;
#pragma unroll
    for (int warp = 0; warp < kThreads / kWarp; warp++)
        squares += partial[warp];

    Query prepared = {1.0f, 0.0f, isfinite(squares)};
    if (squares > 0.0 && (squares < kUnscaledMin || squares >= kUnscaledMax)) {
        int exponent = (((__double2hiint(squares) >> 20) & 0x7ff) - 1023) >> 1; /* of the norm */
        exponent = min(max(exponent, -126), 126);                               /* keeps the scale a normal float32 */
        prepared.scale = __int_as_float((127 - exponent) << 23);
        for (int k = thread; k < dim; k += kThreads)
            shared[k] *= prepared.scale; /* this thread's own elements */
        __syncthreads();
    }
    if (squares > 0.0) {
        double scale = static_cast<double>(prepared.scale);
        prepared.inverse = 1.0f / sqrtf(static_cast<float>(squares * scale * scale));
    }
    return prepared;
}

/* LANES lanes a row, ROWS rows a group, UNROLL pieces of each row in flight at once. */
template <typename Piece, int LANES, int ROWS, int UNROLL>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor) score_rows(Arguments arguments)
{
    extern __shared__ float4 shared_query[];
    constexpr int kPieceFloats = static_cast<int>(sizeof(Piece) / sizeof(float));
    constexpr int kRowsPerWarp = kWarp / LANES * ROWS;
    const int dim = static_cast<int>(arguments.dim), pieces = dim / kPieceFloats, rest = dim - pieces * kPieceFloats;
    const int lane = static_cast<int>(threadIdx.x) % LANES, group = static_cast<int>(threadIdx.x) % kWarp / LANES;
    const uint64_t warps = static_cast<uint64_t>(gridDim.x) * (kThreads / kWarp);
    uint64_t warp = static_cast<uint64_t>(blockIdx.x) * (kThreads / kWarp) + threadIdx.x / kWarp;

    const float *rows[ROWS];
    Piece x[ROWS][UNROLL];
    /* Beyond the end, the last row once more. */
    auto row_at = [&](uint64_t row) {
        row = row < arguments.rows ? row : arguments.rows - 1;
        return row_of(arguments, row);
    };
    auto load_pieces = [&](int base) {
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            int k = base + u * LANES + lane;
#pragma unroll
            for (int r = 0; r < ROWS; r++)
                x[r][u] = k < pieces ? load(reinterpret_cast<const Piece *>(rows[r]) + k) : nothing<Piece>();
        }
    };

    /* The first pieces of the first rows are under way while the query is prepared. */
    uint64_t first = warp * kRowsPerWarp + static_cast<uint64_t>(group) * ROWS;
#pragma unroll
    for (int r = 0; r < ROWS; r++)
        rows[r] = row_at(first + r);
    load_pieces(0);
    const Query query = prepare(arguments.query, dim, reinterpret_cast<float *>(shared_query));
    const Piece *query_pieces = reinterpret_cast<const Piece *>(shared_query);

    for (bool loaded = true; warp * kRowsPerWarp < arguments.rows; warp += warps) { /* the same for all lanes of a warp */
        if (!loaded) {
            first = warp * kRowsPerWarp + static_cast<uint64_t>(group) * ROWS;
#pragma unroll
            for (int r = 0; r < ROWS; r++)
                rows[r] = row_at(first + r);
            load_pieces(0);
        }
        loaded = false;

        float dots[ROWS] = {}, squares[ROWS] = {};
        for (int base = 0; base < pieces; base += UNROLL * LANES) {
            if (base > 0)
                load_pieces(base);
#pragma unroll
            for (int u = 0; u < UNROLL; u++) {
                int k = base + u * LANES + lane;
                Piece q = k < pieces ? query_pieces[k] : nothing<Piece>();
#pragma unroll
                for (int r = 0; r < ROWS; r++) {
                    dots[r] = add_products(q, x[r][u], dots[r]);
                    squares[r] = add_products(x[r][u], x[r][u], squares[r]);
                }
            }
        }
        if (lane < rest) {
            int k = pieces * kPieceFloats + lane;
            float q = reinterpret_cast<const float *>(shared_query)[k];
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                float last = load(rows[r] + k);
                dots[r] = fmaf(q, last, dots[r]);
                squares[r] = fmaf(last, last, squares[r]);
            }
        }

        float mine = 0.0f;      /* lane r keeps the score of row r, so that neighbours are written together */
        unsigned untrusted = 0; /* bit r: row r; the whole group agrees */
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            float dot = sum_lanes<LANES>(dots[r], kAllLanes), square = sum_lanes<LANES>(squares[r], kAllLanes);
            float score = fminf(fmaxf(dot * query.inverse / sqrtf(square), -1.0f), 1.0f);
            mine = lane == r ? score : mine;
            if (!(square >= kSquaresMin && square <= kSquaresMax))
                untrusted |= 1u << r;
        }
        for (int r = 0; untrusted != 0; r++, untrusted >>= 1) {
            if ((untrusted & 1u) == 0)
                continue;
            const unsigned participants = (LANES == kWarp ? kAllLanes : (1u << LANES % kWarp) - 1u) << (group * LANES);
            ExactSums sums = exact_sums(arguments.query, row_at(first + r), arguments.dim, static_cast<unsigned>(lane), LANES);
            sums.dot = sum_lanes<LANES>(sums.dot, participants);
            sums.row = sum_lanes<LANES>(sums.row, participants);
            sums.query = sum_lanes<LANES>(sums.query, participants);
            float score = exact_score(sums.dot, sums.row, sums.query);
            mine = lane == r ? score : mine;
        }
        __syncwarp();
        if (lane < ROWS && first + lane < arguments.rows)
            arguments.scores[first + lane] = query.finite ? mine : not_a_number();
    }
}

/* --------------------------------------------------------------------------------------------- a block a row -------- */

__device__ __forceinline__ ExactSums sum_block(ExactSums sums)
{
    __shared__ ExactSums partial[kLongThreads / kWarp];
    sums.dot = sum_lanes<kWarp>(sums.dot, kAllLanes);
    sums.row = sum_lanes<kWarp>(sums.row, kAllLanes);
    sums.query = sum_lanes<kWarp>(sums.query, kAllLanes);
    __syncthreads(); /* the last round's partial sums have been read */
    if (threadIdx.x % kWarp == 0)
        partial[threadIdx.x / kWarp] = sums;
    __syncthreads();
    sums = partial[0];
    for (int warp = 1; warp < kLongThreads / kWarp; warp++) {
        sums.dot += partial[warp].dot;
        sums.row += partial[warp].row;
        sums.query += partial[warp].query;
    }
    return sums;
}

/* Queries too long for shared memory are read from global memory, that is from the cache, and their norm is summed along the way. */
template <typename Piece, int UNROLL>
__global__ void __launch_bounds__(kLongThreads, kLongBlocksPerProcessor) score_long_rows(Arguments arguments)
{
    constexpr uint64_t kPieceFloats = sizeof(Piece) / sizeof(float);
    constexpr int kRounds = 4; /* that are summed in float32 before float64 takes over */
    const uint64_t pieces = arguments.dim / kPieceFloats;
    const Piece *query = reinterpret_cast<const Piece *>(arguments.query);

    for (uint64_t r = blockIdx.x; r < arguments.rows; r += gridDim.x) {
        const float *row = row_of(arguments, r);
        ExactSums sums = {0.0, 0.0, 0.0};
        for (uint64_t k = threadIdx.x; k < pieces;) {
            float dot = 0.0f, row_squares = 0.0f, query_squares = 0.0f;
            for (int round = 0; round < kRounds && k < pieces; round++, k += UNROLL * kLongThreads) {
                Piece x[UNROLL], q[UNROLL];
#pragma unroll
                for (int u = 0; u < UNROLL; u++) {
                    uint64_t at = k + static_cast<uint64_t>(u) * kLongThreads;
                    x[u] = at < pieces ? load(reinterpret_cast<const Piece *>(row) + at) : nothing<Piece>();
                    q[u] = at < pieces ? load(query + at) : nothing<Piece>();
                }
#pragma unroll
                for (int u = 0; u < UNROLL; u++) {
                    dot = add_products(q[u], x[u], dot);
                    row_squares = add_products(x[u], x[u], row_squares);
                    query_squares = add_products(q[u], q[u], query_squares);
                }
            }
            sums.dot += static_cast<double>(dot);
            sums.row += static_cast<double>(row_squares);
            sums.query += static_cast<double>(query_squares);
        }
        for (uint64_t k = pieces * kPieceFloats + threadIdx.x; k < arguments.dim; k += kLongThreads) {
            float x = load(row + k), q = load(arguments.query + k);
            sums.dot += static_cast<double>(q) * static_cast<double>(x);
            sums.row += static_cast<double>(x) * static_cast<double>(x);
            sums.query += static_cast<double>(q) * static_cast<double>(q);
        }
        sums = sum_block(sums);
        /* The norms at most 2^60 each: the dot product cannot have overflowed either. False for NaN. */
        bool trusted = sums.row >= 0x1p-60 && sums.row <= 0x1p120 && sums.query >= 0x1p-60 && sums.query <= 0x1p120;
        if (!trusted)
            sums = sum_block(exact_sums(arguments.query, row, arguments.dim, threadIdx.x, kLongThreads));
        if (threadIdx.x == 0)
            arguments.scores[r] = exact_score(sums.dot, sums.row, sums.query);
    }
}

/* ------------------------------------------------------------------------------------------------ launch ------------ */

struct Plan {
    const void *kernel;
    uint64_t rows_per_block;
    unsigned threads;
    size_t shared_bytes;
    uint64_t blocks_per_processor;
};

template <typename Piece, int LANES, int ROWS, int UNROLL> Plan plan_rows(uint64_t dim, uint64_t blocks_per_processor)
{
    return {reinterpret_cast<const void *>(&score_rows<Piece, LANES, ROWS, UNROLL>), static_cast<uint64_t>(kThreads / LANES * ROWS),
            kThreads, static_cast<size_t>((dim + 3) / 4 * sizeof(float4)), blocks_per_processor};
}

/* The widest load that base, stride and (where it is not copied) the query allow; lanes enough for a row, and no more. The shapes are
 * the fastest of those measured on an H100, from 64 rows to 3 GB; more blocks than these make the memory slower, not faster. */
Plan choose_plan(const eum_cosine_args *args)
{
    const uint64_t dim = args->dim;
    const bool wide = (reinterpret_cast<uintptr_t>(args->targets) | args->row_stride) % sizeof(float4) == 0;
    if (dim > kSharedQuery) {
        const void *kernel = wide && reinterpret_cast<uintptr_t>(args->query) % sizeof(float4) == 0
                                 ? reinterpret_cast<const void *>(&score_long_rows<float4, 4>)
                                 : reinterpret_cast<const void *>(&score_long_rows<float, 8>);
        return {kernel, 1, kLongThreads, 0, kLongBlocksPerProcessor};
    }
    if (wide)
        return dim <= 16    ? plan_rows<float4, 4, 4, 1>(dim, 6)
               : dim <= 256 ? plan_rows<float4, 8, 1, 4>(dim, 6)
                            : plan_rows<float4, 16, 1, 6>(dim, 4);
    return dim <= 16    ? plan_rows<float, 4, 4, 4>(dim, 6)
           : dim <= 64  ? plan_rows<float, 8, 4, 4>(dim, 6)
           : dim <= 512 ? plan_rows<float, 32, 4, 4>(dim, 6)
                        : plan_rows<float, 32, 1, 16>(dim, 6);
}

} // namespace

extern "C" int32_t eum_cosine_cuda_choose(const eum_cosine_args *args, eum_cosine_launch *out)
{
    eum_cuda::Device device = {};
    const cudaError_t error = eum_cuda::current_device(&device);
    if (error != cudaSuccess)
        return eum_cuda::reported(error);
    const Plan plan = choose_plan(args);
    /* As many blocks as run at once, each of which strides over the rows: the query is prepared once a block. */
    uint64_t resident =
        static_cast<uint64_t>(device.processor_shared) / (plan.shared_bytes + 1024 + 256); /* 1 KiB is the system's */
    resident = resident < 1 ? 1 : resident > plan.blocks_per_processor ? plan.blocks_per_processor : resident;
    uint64_t blocks = (args->rows - 1) / plan.rows_per_block + 1, most = resident * static_cast<uint64_t>(device.processors);
    out->kernel = plan.kernel;
    out->handle = nullptr;
    out->blocks = static_cast<unsigned>(blocks < most ? blocks : most);
    out->threads = plan.threads;
    out->shared_bytes = plan.shared_bytes;
    return 0;
}

extern "C" int32_t eum_cosine_cuda_launch(const eum_cosine_args *args, eum_cosine_launch *chosen, void *cuda_stream)
{
    eum_cosine_args arguments = *args;
    void *parameters[] = {&arguments};
    return eum_cuda::reported(eum_cuda::launch(chosen->kernel, &chosen->handle, dim3(chosen->blocks), chosen->threads, parameters,
                                               chosen->shared_bytes, static_cast<cudaStream_t>(cuda_stream)));
}

extern "C" int32_t eum_cosine_cuda(const eum_cosine_args *args, void *cuda_stream)
{
    if (args->rows == 0)
        return 0;
    eum_cosine_launch launch = {};
    const int32_t error = eum_cosine_cuda_choose(args, &launch);
    return error != 0 ? error : eum_cosine_cuda_launch(args, &launch, cuda_stream);
}
