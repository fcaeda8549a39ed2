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
/* Up to kStreamGroup queries have kernels that read rows once, too, and need no second pass. With the filter float32 rows pass at nearly the
 * rate of the memory, which pays from this many elements on (H100, 768 elements, 8 queries: 475 us instead of 529 for 350,000 rows, 1180
 * instead of 1310 for 1,000,000). Not so those of 16 bits: 1065 us instead of 993. */
constexpr uint64_t kLeastElements = 1ull << 28;

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

int shared_of(const eum_scoring_args *args, FilterTile tile)
{
    return filter_shared(tile, args->element == EUM_ELEMENT_FLOAT32 ? 4 : 2);
}

bool fits(const eum_scoring_args *args, const Device &device, FilterTile tile)
{
    return shared_of(args, tile) + kFilterStatic <= device.shared;
}

uint64_t panels_of(FilterTile tile, uint64_t queries)
{
    return divided_up(queries, static_cast<uint64_t>(filter_queries(tile)));
}
uint64_t tiles_of(FilterTile tile, uint64_t rows)
{
    return divided_up(rows, static_cast<uint64_t>(filter_rows(tile)));
}

/* Whole panels, whichever the tile. */
uint64_t padded_of(uint64_t queries)
{
    return panels_of(kBroadTile, queries) * static_cast<uint64_t>(filter_queries(kBroadTile));
}

/* Broad tiles where queries are more than a panel of tall ones: rows are read less often. Not large ones where they would leave
 * multiprocessors without work. */
FilterTile tile_for(const eum_scoring_args *args, const Device &device, uint64_t rows)
{
    const uint64_t queries = args->query_count, processors = static_cast<uint64_t>(device.processors);
    if (queries <= static_cast<uint64_t>(filter_queries(kTallTile)) && fits(args, device, kTallTile) &&
        tiles_of(kTallTile, rows) >= processors)
        return kTallTile;
    return 2 * tiles_of(kBroadTile, rows) * panels_of(kBroadTile, queries) > processors ? kBroadTile : kSmallTile;
}

/* Whether there is a filter for so many rows, or was for fewer. */
bool may_filter(const eum_scoring_args *args)
{
    const bool few = args->query_count <= kStreamGroup && (args->flags & EUM_SCORING_FILTER) == 0;
    return args->indices != nullptr && args->query_count >= 2 && args->k <= kMostFilterK && args->dim <= kMostFilterDim &&
           args->dim % 4 == 0 && args->rows >= kLeastRows && (!few || args->rows >= divided_up(kLeastElements, args->dim));
}

} // namespace

/* The k-th best of a sample of S of N rows has about k N / S rows of all in front of it, and more than (k + 5 sqrt(k) + 8) N / S less
 * than once in a million times. The error bounds bring in some tenths more, in random vectors. */
FilterPlan filter_plan(const eum_scoring_args *args)
{
    FilterPlan plan = {false, args->query_count <= kStreamGroup, least(args->query_count, kMostQueries),
                       least(kMostCandidates, power_of_two(args->rows)), 0};
    if (!may_filter(args) || args->rows >= UINT32_MAX)
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

/* Samples are fewer than the candidates that lie in their place later. */
FilterRoom filter_room(const eum_scoring_args *args)
{
    if (!may_filter(args))
        return {0, 0};
    static_assert(kMostBounds * sizeof(uint32_t) <= kMostCandidates * (sizeof(float2) + sizeof(uint32_t)));
    const uint64_t queries = least(args->query_count, kMostQueries), capacity = least(kMostCandidates, power_of_two(args->rows));
    const uint64_t bytes = padded_of(queries) * (depth_of(args) * sizeof(__half) + sizeof(float4)) + kMaxima * sizeof(float) +
                           divided_up(queries, 4) * 4 * sizeof(uint32_t) + queries * capacity * (sizeof(float2) + sizeof(uint32_t));
    return {bytes, queries};
}

cudaError_t filter_runs(const eum_scoring_args *args, const Device &device, bool *out)
{
    *out = false;
    if (device.major < 8 || !fits(args, device, kBroadTile))
        return cudaSuccess;
    cudaFuncAttributes attributes;
    const cudaError_t error = cudaFuncGetAttributes(&attributes, filter_kernels(args).filter[kBroadTile]);
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
    if (plan.few)
        a.lanes = static_cast<uint32_t>(stream_lanes(args->dim / 4));

    void *parameters[] = {&a};
    auto launch = [&](const void *kernel, uint64_t blocks, int threads, size_t shared) {
        return cudaLaunchKernel(kernel, dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(threads)), parameters,
                                shared, stream);
    };
    auto launch_rows = [&](uint64_t rows) {
        a.sampled = rows;
        const FilterTile tile = tile_for(args, device, rows);
        const void *const kernel = kernels.filter[tile];
        const int shared = shared_of(args, tile);
        const uint64_t panels = panels_of(tile, a.query_count), tiles = tiles_of(tile, rows);
        a.panels = static_cast<uint32_t>(panels);
        cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared);
        if (error == cudaSuccess)
            error = launch(kernel, panels * most(1, least(tiles, static_cast<uint64_t>(device.processors) / panels)),
                           filter_threads(tile, args->metric == EUM_METRIC_L2_SQUARED), static_cast<size_t>(shared));
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
        error = launch(plan.few ? kernels.rerank_few : kernels.rerank, args->query_count, kThreads,
                       static_cast<size_t>(most(plan.capacity, 2)) * sizeof(uint64_t));
    return error;
}

} // namespace eum_scoring
