/* scoring_filter_plan: the filter of a selection of many queries as its launcher sees it.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_SCORING_FILTER_PLAN_H
#define EUM_SCORING_FILTER_PLAN_H

#include <cstdint>

#include "kernels/scoring_cuda.cuh"
#include "kernels/scoring_plan.h"

namespace eum_scoring
{

constexpr int kMaxima = 32;     /* blocks that look for the largest element of a sample of the rows */
constexpr int kSampleRows = 32; /* of a sample for the threshold the best of 32 rows counts */

/* By value, as Arguments. */
struct FilterArguments {
    eum_metric metric;
    uint32_t k;
    uint32_t capacity;     /* candidates of a query: a power of two */
    uint32_t panels;       /* of queries */
    uint32_t sample_count; /* ranks of a query in samples */
    uint32_t lanes;        /* of a row in the kernels for few queries, whose scores are wanted; 0: the product's */
    const char *queries, *targets;
    const int64_t *numbers;
    float *scores;
    int64_t *indices;
    uint64_t query_count, padded; /* queries, and with those that fill up the last panel */
    uint64_t rows, sampled;       /* sampled: rows of a sample, or all of them */
    uint64_t dim, depth;          /* depth: elements of a rounded query, filled up to whole steps */
    uint64_t query_stride, row_stride;
    __half *halves; /* the rounded queries: for each kFilterDepth elements those of all padded queries */
    float4
        *facts; /* of each query: its error for a row of length 1, its scale, the scaled norm's square, 1 where it is not finite */
    float *maxima;     /* kMaxima */
    uint32_t *samples; /* NULL; else the filter writes ranks of lower bounds here, and nothing else */
    uint32_t *bounds;  /* of each query: the rank of a score that k rows reach; NULL: all rows are candidates, each in its place */
    uint32_t *counts;  /* candidates of each query; more than there is room for: not all are there */
    uint32_t *needed;  /* of each query, written by the second pass: 1 where the exact path must do it */
    float2 *spans;     /* capacity a query: the lower and the upper bound of each candidate */
    uint32_t *places;  /* and its row */
};

/* Tiles of rows x queries: of few rows where there are many queries, small ones where there is little of both. */
enum FilterTile { kTallTile, kBroadTile, kSmallTile };
constexpr int filter_rows(FilterTile tile)
{
    return tile == kTallTile ? 256 : tile == kBroadTile ? 128 : 64;
}
constexpr int filter_queries(FilterTile tile)
{
    return tile == kBroadTile ? 256 : 128;
}
/* Of a block. Each was slower the other way. Tall tiles come at nearly the rate of the memory, and more warps hide more of what is beside:
 * 1180 us instead of 1227 (H100, 8 queries); with squared distances registers spill (128 queries: 1433 us instead of 1238). In broad tiles
 * shared memory has most to do, and fewer warps load less (1024 queries: 6.8 ms instead of 8.1). */
constexpr int filter_threads(FilterTile tile, bool distance)
{
    return tile == kTallTile && !distance ? 512 : 256;
}

/* Kernels of one element type; a filter for each tile. */
struct FilterKernels {
    const void *prepare, *filter[3], *rerank, *rerank_few; /* the last one for float32 */
};
FilterKernels filter_float32(bool distance);
FilterKernels filter_float16(bool distance);
FilterKernels filter_bfloat16(bool distance);

/* What the launcher does; reads query_count, rows, dim, k, flags, and whether there are indices. */
struct FilterPlan {
    bool use, few;     /* few: the scores are those of the kernels for up to kStreamGroup queries */
    uint64_t queries;  /* at once */
    uint64_t capacity; /* candidates of a query */
    uint64_t sampled;  /* rows of a sample for the thresholds; 0: there is room for all rows */
};
FilterPlan filter_plan(const eum_scoring_args *args);
/* Bytes of memory for it, aligned to 16, and queries at once, at most: so many rows or fewer never take more. 0: no number of rows up to
 * these has a filter. */
struct FilterRoom {
    uint64_t bytes, queries;
};
FilterRoom filter_room(const eum_scoring_args *args);
/* Whether the code that would run here has tensor cores, and shared memory enough. */
cudaError_t filter_runs(const eum_scoring_args *args, const Device &device, bool *out);
/* Both passes. args: of plan.queries queries at most. needed, bounds: a word a query. */
cudaError_t launch_filter(const eum_scoring_args *args, const FilterPlan &plan, uint32_t *needed, uint32_t *bounds, void *memory,
                          const Device &device, cudaStream_t stream);

constexpr uint64_t kMostBounds = 8192;
/* The k-th best of each query's samples, which are `count` ranks each: no row behind it is wanted. */
cudaError_t launch_bounds(const uint32_t *samples, uint64_t count, uint32_t *bounds, uint64_t k, uint64_t queries,
                          cudaStream_t stream);

/* Elements of a step; steps of the queries, and of the rows as they are and rounded, that are in shared memory or on
 * their way there. */
constexpr int kFilterDepth = 32, kQuerySlots = 4, kRowSlots = 3;

/* Bytes of shared memory: queries and rows in float16, and rows as they are. */
constexpr int filter_shared(FilterTile tile, int element)
{
    return kFilterDepth * (kQuerySlots * filter_queries(tile) * 2 + kRowSlots * filter_rows(tile) * (2 + element));
}
constexpr int kFilterStatic = 18432; /* and at most what it has beside */

} // namespace eum_scoring

#endif
