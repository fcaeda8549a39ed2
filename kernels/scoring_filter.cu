/* scoring_filter: the filter in front of a selection of many queries: when it pays, with which sample, in which memory.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <cmath>

#include "kernels/scoring_filter_plan.h"
#include "kernels/scoring_sort.cuh"

namespace eum_scoring
{

namespace
{

constexpr uint64_t kMostQueries = 1024;    /* at once: what they take is little more than kMostCandidates * 12 bytes each */
constexpr uint64_t kMostCandidates = 4096; /* of a query */
constexpr uint64_t kMostFilterK = 128, kMostFilterDim = 4096, kLeastRows = 256;

/* A block a query. */
__global__ void __launch_bounds__(kThreads) find_bounds(const uint32_t *samples, int count, uint32_t *bounds, int k)
{
    __shared__ uint32_t ranks[kMostBounds];
    int size = 2;
    while (size < count)
        size *= 2;
    for (int i = static_cast<int>(threadIdx.x); i < size; i += kThreads)
        ranks[i] = i < count ? samples[blockIdx.x * static_cast<uint64_t>(count) + static_cast<uint64_t>(i)] : UINT32_MAX;
    sort_block(ranks, size);
    if (threadIdx.x == 0)
        bounds[blockIdx.x] = ranks[k - 1];
}

FilterKernels filter_kernels(const eum_scoring_args *args)
{
    const bool distance = args->metric == EUM_METRIC_L2_SQUARED;
    switch (args->element) {
    case EUM_ELEMENT_FLOAT16:
        return filter_float16(distance);
    case EUM_ELEMENT_BFLOAT16:
        return filter_bfloat16(distance);
    default:
        return filter_float32(distance);
    }
}

uint64_t depth_of(const eum_scoring_args *args)
{
    return divided_up(args->dim, kFilterDepth) * kFilterDepth;
}

int shared_of(const eum_scoring_args *args, bool broad)
{
    return filter_shared(broad, args->element == EUM_ELEMENT_FLOAT32 ? 4 : 2);
}

bool fits(const eum_scoring_args *args, const Device &device, bool broad)
{
    return shared_of(args, broad) + kFilterStatic <= device.shared;
}

/* Whole panels of either kernel. */
uint64_t padded_of(uint64_t queries)
{
    return divided_up(queries, filter_queries(true)) * filter_queries(true);
}

} // namespace

/* The k-th best of a sample of S of N rows has about k N / S rows of all in front of it, and more than (k + 5 sqrt(k) + 8) N / S less
 * than once in a million times. The error bounds bring in some tenths more, in random vectors. */
FilterPlan filter_plan(const eum_scoring_args *args)
{
    FilterPlan plan = {false, least(args->query_count, kMostQueries), least(kMostCandidates, power_of_two(args->rows)), 0};
    if (args->indices == nullptr || args->query_count <= kStreamGroup || args->k > kMostFilterK || args->dim > kMostFilterDim ||
        args->dim % 4 != 0 || args->rows < kLeastRows || args->rows >= UINT32_MAX)
        return plan;
    plan.use = true;
    if (args->rows <= plan.capacity)
        return plan;
    const double k = static_cast<double>(args->k), expected = k + 5.0 * std::sqrt(k) + 8.0;
    uint64_t groups = most(64, power_of_two(4 * args->k)); /* whole tiles */
    auto enough = [&]() {
        return expected * 1.3 * static_cast<double>(args->rows) <=
               static_cast<double>(plan.capacity) * static_cast<double>(groups) * static_cast<double>(kSampleRows);
    };
    while (groups < kMostBounds && !enough())
        groups *= 2;
    plan.sampled = groups * static_cast<uint64_t>(kSampleRows);
    plan.use = enough() && plan.sampled <= args->rows / 2;
    return plan;
}

uint64_t filter_bytes(const eum_scoring_args *args, const FilterPlan &plan)
{
    const uint64_t padded = padded_of(plan.queries);
    return padded * (depth_of(args) * sizeof(__half) + sizeof(float4)) + kMaxima * sizeof(float) +
           divided_up(plan.queries, 4) * 4 * sizeof(uint32_t) +
           plan.queries * most(plan.capacity * (sizeof(float2) + sizeof(uint32_t)), plan.sampled / kSampleRows * sizeof(uint32_t));
}

cudaError_t filter_runs(const eum_scoring_args *args, const Device &device, bool *out)
{
    *out = false;
    if (device.major < 8 || !fits(args, device, true))
        return cudaSuccess;
    cudaFuncAttributes attributes;
    const cudaError_t error = cudaFuncGetAttributes(&attributes, filter_kernels(args).tall);
    *out = error == cudaSuccess && attributes.ptxVersion >= 80;
    return error;
}

cudaError_t launch_bounds(const uint32_t *samples, uint64_t count, uint32_t *bounds, uint64_t k, uint64_t queries,
                          cudaStream_t stream)
{
    int counted = static_cast<int>(count), wanted = static_cast<int>(k);
    void *parameters[] = {&samples, &counted, &bounds, &wanted};
    return cudaLaunchKernel(reinterpret_cast<const void *>(&find_bounds), dim3(static_cast<unsigned>(queries)), dim3(kThreads),
                            parameters, 0, stream);
}

cudaError_t launch_filter(const eum_scoring_args *args, const FilterPlan &plan, uint32_t *needed, uint32_t *bounds, void *memory,
                          const Device &device, cudaStream_t stream)
{
    const FilterKernels kernels = filter_kernels(args);
    FilterArguments a = {};
    a.metric = args->metric;
    a.k = static_cast<uint32_t>(args->k);
    a.capacity = static_cast<uint32_t>(plan.capacity);
    a.queries = reinterpret_cast<const char *>(args->queries);
    a.targets = static_cast<const char *>(args->targets);
    a.numbers = args->numbers;
    a.scores = args->scores;
    a.indices = args->indices;
    a.query_count = args->query_count;
    a.padded = padded_of(args->query_count);
    a.rows = args->rows;
    a.dim = args->dim;
    a.depth = depth_of(args);
    a.query_stride = args->query_stride;
    a.row_stride = args->row_stride;
    char *at = static_cast<char *>(memory);
    auto take = [&](uint64_t bytes) {
        void *const taken = at;
        at += bytes;
        return taken;
    };
    a.halves = static_cast<__half *>(take(a.padded * a.depth * sizeof(__half)));
    a.facts = static_cast<float4 *>(take(a.padded * sizeof(float4)));
    a.maxima = static_cast<float *>(take(kMaxima * sizeof(float)));
    a.counts = static_cast<uint32_t *>(take(divided_up(a.query_count, 4) * 4 * sizeof(uint32_t)));
    uint32_t *const samples = reinterpret_cast<uint32_t *>(at); /* done with before there are candidates */
    a.spans = static_cast<float2 *>(take(a.query_count * a.capacity * sizeof(float2)));
    a.places = static_cast<uint32_t *>(take(a.query_count * a.capacity * sizeof(uint32_t)));
    a.needed = needed;

    void *parameters[] = {&a};
    auto launch = [&](const void *kernel, uint64_t blocks, int threads, size_t shared) {
        return cudaLaunchKernel(kernel, dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(threads)), parameters,
                                shared, stream);
    };
    auto launch_rows = [&](uint64_t rows) {
        a.sampled = rows;
        /* Tiles of fewer rows where there are many queries, or not rows enough for every multiprocessor. */
        const bool broad = a.query_count > static_cast<uint64_t>(filter_queries(false)) ||
                           rows <= static_cast<uint64_t>(filter_rows(true) * device.processors) || !fits(args, device, false);
        const void *const kernel = broad ? kernels.broad : kernels.tall;
        const int shared = shared_of(args, broad);
        const uint64_t panels = divided_up(a.query_count, static_cast<uint64_t>(filter_queries(broad))),
                       tiles = divided_up(rows, static_cast<uint64_t>(filter_rows(broad)));
        a.panels = static_cast<uint32_t>(panels);
        cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared);
        if (error == cudaSuccess)
            error = launch(kernel, panels * most(1, least(tiles, static_cast<uint64_t>(device.processors) / panels)),
                           kFilterThreads, static_cast<size_t>(shared));
        return error;
    };
    cudaError_t error = launch(kernels.prepare, a.padded + kMaxima, kThreads, 0);
    if (error == cudaSuccess && plan.sampled > 0) {
        a.samples = samples;
        a.sample_count = static_cast<uint32_t>(plan.sampled / kSampleRows);
        error = launch_rows(plan.sampled);
        if (error == cudaSuccess)
            error = launch_bounds(samples, a.sample_count, bounds, args->k, args->query_count, stream);
        a.samples = nullptr;
        a.bounds = bounds;
    }
    if (error == cudaSuccess)
        error = launch_rows(args->rows);
    if (error == cudaSuccess)
        error = launch(kernels.rerank, args->query_count, kThreads, static_cast<size_t>(most(plan.capacity, 2)) * sizeof(uint64_t));
    return error;
}

} // namespace eum_scoring
