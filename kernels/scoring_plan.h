/* scoring_plan: the CUDA kernels of the scoring as their launcher sees them: addresses and shapes.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_SCORING_PLAN_H
#define EUM_SCORING_PLAN_H

#include <cstdint>

#include "kernels/device_cuda.h"

namespace eum_scoring
{

/* ------------------------------------------------------------------------------------------------- for launchers ---------- */

inline uint64_t divided_up(uint64_t n, uint64_t by)
{
    return n / by + (n % by != 0);
}

inline uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

inline uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

inline uint64_t power_of_two(uint64_t at_least)
{
    uint64_t n = 1;
    while (n < at_least)
        n *= 2;
    return n;
}

using eum_cuda::Device;

/* ---------------------------------------------------------- few queries, rows that are read once (scoring_stream.cuh) ----- */

constexpr int kStreamGroup = 8; /* queries at once, at most */
constexpr uint64_t kStreamDim =
    7680; /* longest query in shared memory: 30 KiB, and 16 KiB a list; longer ones have a kernel of their own */

struct StreamKernels {
    const void *one, *group;      /* for one query at once, for kStreamGroup */
    int one_rows, group_rows;     /* that a block scores at once */
    int one_blocks, group_blocks; /* of a multiprocessor */
};

/* Lanes that share a row of so many pieces: enough for a row, and no more. */
constexpr int stream_lanes(uint64_t pieces)
{
    return pieces <= 8 ? 4 : pieces <= 64 ? 8 : 16;
}

/* multiple: rows, and beyond kStreamDim queries, start at multiples of so many bytes. */
StreamKernels stream_float32(bool distance, uint64_t dim, uint64_t multiple);
StreamKernels stream_float16(bool distance, uint64_t dim, uint64_t multiple);
StreamKernels stream_bfloat16(bool distance, uint64_t dim, uint64_t multiple);

/* ----------------------------------------------------------------- many queries: a product of tiles (scoring_product.cuh) ----- */

constexpr int kTileRows = 128, kTileQueries = 128, kTileFewQueries = 32;

/* Blocks that run at once on a multiprocessor: a thread of a large tile needs more registers than two blocks have. */
constexpr int kProductBlocks = 1, kFewProductBlocks = 2;
/* Steps of 16 elements that pass through shared memory between two barriers; twice, while the next ones come. */
constexpr int kProductSteps = 1, kTensorSteps = 2;
/* Where lists are settled: bytes of shared memory. */
constexpr int kSettleBytes = 8192, kFewSettleBytes = 16384;

/* Of a tile's rows, groups whose best ranks a sample has. */
constexpr int sample_groups(bool tensor, bool few)
{
    return few ? (tensor ? 64 : 32) : 16;
}

/* A kernel and what it takes. wide: rows and queries start at multiples of four of their elements. tensor: products on the
 * tensor cores. few: tiles of kTileFewQueries queries. */
struct ProductShape {
    bool distance, wide, tensor, few;
};
const void *product_float32(ProductShape shape);
const void *product_float16(ProductShape shape);
const void *product_bfloat16(ProductShape shape);

} // namespace eum_scoring

#endif
