/* scoring: the CUDA implementation's launcher. Which kernel, for which part of the work, with which memory.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Up to kStreamGroup queries read the rows once (scoring_stream.cuh); more are a product of tiles (scoring_product.cuh). In front of
 * either a selection has a filter where it can and where that pays (scoring_filter.cu). A selection cuts the rows into slices, each of
 * which has a sorted list of its best for each query; they are brought together by the last block to finish where there is one query, else
 * by a launch of their own. */
#include <ctime>

#include "kernels/scoring_filter_plan.h"
#include "kernels/scoring_lists.cuh"
#include "kernels/scoring_plan.h"

using namespace eum_scoring;

namespace
{

constexpr uint64_t kMostBlocks = 320;             /* of a selection of many queries; two for each of 160 multiprocessors */
constexpr uint64_t kMostListBytes = 64ull << 20;  /* of their lists */
constexpr uint64_t kMostProductDim = 1ull << 30;  /* places in a row are int */
constexpr size_t kFinishedBytes = 16;             /* in front of the lists */
constexpr size_t kSharedBytes = (size_t)48 << 10; /* what every device gives a block */
constexpr size_t kStaticShared = 512;             /* at least what the streaming kernels have beside */
constexpr uint64_t kSamples = 2048;               /* of each query, at most; fewer than kMostBounds */
constexpr uint64_t kSampled = 16;                 /* at most every 16th row */

__global__ void __launch_bounds__(kThreads, 2) merge(const Arguments a, int fresh)
{
    extern __shared__ uint64_t merge_entries[];
    __shared__ MergeState state;
    if (a.needed != nullptr && a.needed[blockIdx.x] == 0)
        return;
    merge_lists(a, blockIdx.x, merge_entries, static_cast<int>(a.kept), fresh, &state);
}

bool is_product(const eum_scoring_args *args)
{
    return args->query_count > kStreamGroup && args->dim <= kMostProductDim;
}

/* Long lists in shared memory and global memory alike: fewer queries at once. */
bool has_few(const eum_scoring_args *args)
{
    return args->query_count <= kTileFewQueries || (args->indices != nullptr && args->k > kTileQueries);
}

/* ------------------------------------------------------------------------------------------------- the lists --------- */

uint64_t kept_of(const eum_scoring_args *args)
{
    return power_of_two(args->k);
}

/* Lists in shared memory should not fill up often: each time the block waits for all its loads. */
uint64_t fresh_of(const eum_scoring_args *args)
{
    return most(kept_of(args), !is_product(args) && args->query_count == 1 ? kMostSlices : 64);
}

/* Blocks of a product with a selection, at most: their lists fit in kMostListBytes. */
uint64_t most_blocks(const eum_scoring_args *args)
{
    const uint64_t queries = has_few(args) ? kTileFewQueries : kTileQueries;
    return least(kMostBlocks, kMostListBytes / (queries * (kept_of(args) + fresh_of(args)) * sizeof(uint64_t)));
}

uint64_t list_bytes(const eum_scoring_args *args)
{
    if (!is_product(args))
        return args->query_count * least(kMostSlices, most(args->rows, 1)) * args->k * sizeof(uint64_t);
    const uint64_t queries = has_few(args) ? kTileFewQueries : kTileQueries, panels = divided_up(args->query_count, queries);
    const uint64_t blocks = least(most_blocks(args), least(panels, kMostBlocks) * most(divided_up(args->rows, kTileRows), 1));
    return blocks * queries * (kept_of(args) + fresh_of(args)) * sizeof(uint64_t);
}

/* A rank for each query that a product has at once, or the filter. */
uint64_t bound_bytes(const eum_scoring_args *args)
{
    return is_product(args) || filter_room(args).bytes > 0
               ? least(divided_up(args->query_count, 4) * 4, kMostBlocks * kTileQueries) * sizeof(uint32_t)
               : 0;
}

/* A word for each query that the filter has at once. */
uint64_t needed_bytes(const eum_scoring_args *args)
{
    return divided_up(filter_room(args).queries, 4) * 4 * sizeof(uint32_t);
}

/* What the lists take, or the filter, which is done before the exact path begins. */
uint64_t work_bytes(const eum_scoring_args *args)
{
    const FilterRoom room = filter_room(args);
    eum_scoring_args part = *args;
    part.query_count = room.bytes > 0 ? room.queries : args->query_count;
    return most(most(list_bytes(args), list_bytes(&part)), room.bytes);
}

/* A number that no other launch of this process has, in front of the bits that count blocks. */
uint64_t new_tag()
{
    static uint64_t last;
    uint64_t none = 0;
    if (__atomic_load_n(&last, __ATOMIC_RELAXED) == 0) { /* another copy of the library in this process starts elsewhere */
        const uint64_t start = (static_cast<uint64_t>(std::clock()) << 20 ^ reinterpret_cast<uintptr_t>(&last) << 4 ^
                                static_cast<uint64_t>(std::time(nullptr)) << 24) |
                               1;
        __atomic_compare_exchange_n(&last, &none, start, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    }
    const uint64_t tag = (__atomic_add_fetch(&last, 1, __ATOMIC_RELAXED) & 0xffffffffffffu) << 16;
    return tag != 0 ? tag : 1ull << 16;
}

/* --------------------------------------------------------------------------------------------------- launch ---------- */

bool aligned(const void *base, uint64_t stride, uint64_t to)
{
    return (reinterpret_cast<uintptr_t>(base) | stride) % to == 0;
}

cudaError_t launch_merge(const Arguments &arguments, uint64_t queries, cudaStream_t stream)
{
    Arguments copy = arguments;
    int fresh = static_cast<int>(most(arguments.kept, kMostSlices));
    void *parameters[] = {&copy, &fresh};
    return eum_cuda::launch(reinterpret_cast<const void *>(&merge), dim3(static_cast<unsigned>(queries)), kThreads, parameters,
                            (arguments.kept + static_cast<size_t>(fresh)) * sizeof(uint64_t), stream);
}

/* ------------------------------------------------------------------------------------------------ few queries -------- */

StreamKernels stream_kernels(const eum_scoring_args *args)
{
    const bool distance = args->metric == EUM_METRIC_L2_SQUARED;
    const uint64_t starts = reinterpret_cast<uintptr_t>(args->targets) | args->row_stride |
                            (args->dim > kStreamDim ? reinterpret_cast<uintptr_t>(args->queries) | args->query_stride : 0);
    const uint64_t multiple = starts & (~starts + 1);
    switch (args->element) {
    case EUM_ELEMENT_FLOAT16:
        return stream_float16(distance, args->dim, multiple);
    case EUM_ELEMENT_BFLOAT16:
        return stream_bfloat16(distance, args->dim, multiple);
    default:
        return stream_float32(distance, args->dim, multiple);
    }
}

/* Floats of shared memory for a block's queries, with what is read beyond the last one where there are fewer than the kernel
 * sums. */
uint64_t query_floats(uint64_t dim, uint64_t group)
{
    return dim > kStreamDim ? 0 : (dim + 3) / 4 * 4 * (group | 1) + (group > 1 ? 4 * kStreamGroup : 0);
}

/* Queries of a block: as many as there are and shared memory holds, with their lists. */
uint64_t stream_group(const eum_scoring_args *args, uint64_t list)
{
    uint64_t group = args->dim > kStreamDim ? 1 : least(args->query_count, kStreamGroup);
    while (group > 1 &&
           query_floats(args->dim, group) * sizeof(float) + group * list * sizeof(uint64_t) > kSharedBytes - kStaticShared)
        group--;
    return group;
}

cudaError_t launch_stream(const eum_scoring_args *args, Arguments *arguments, const Device &device, cudaStream_t stream)
{
    const bool select = args->indices != nullptr;
    const StreamKernels kernels = stream_kernels(args);
    const uint64_t list = select ? arguments->kept + arguments->fresh : 0, group = stream_group(args, list);
    const uint64_t groups = divided_up(args->query_count, group);
    const uint64_t full_rows = static_cast<uint64_t>(group == 1 ? kernels.one_rows : kernels.group_rows),
                   processors = device.processors;
    /* Where there are few rows every multiprocessor gets some of them, if only for some of a block's warps. */
    const uint64_t warp_rows = most(full_rows / kWarps, 1);
    const uint64_t active = most(1, least(kWarps, divided_up(args->rows, warp_rows * processors))),
                   block_rows = most(1, full_rows * active / kWarps);
    /* As many blocks as run at once: queries are prepared once a block, and more make the memory slower, not faster. */
    uint64_t blocks = least(divided_up(args->rows, block_rows),
                            processors * static_cast<uint64_t>(group == 1 ? kernels.one_blocks : kernels.group_blocks));
    arguments->active = static_cast<uint32_t>(active);
    if (select) {
        blocks = most(1, least(blocks, kMostSlices));
        arguments->slices = static_cast<uint32_t>(blocks);
        arguments->slice_rows = divided_up(divided_up(args->rows, block_rows), blocks) * block_rows;
        arguments->slice_step = arguments->slice_rows;
        arguments->list_stride = args->k;
        arguments->tag = args->query_count == 1 ? new_tag() : 0;
    }
    arguments->side = static_cast<uint32_t>(group | 1);
    arguments->query_floats = static_cast<uint32_t>(query_floats(args->dim, group));
    arguments->group = static_cast<uint32_t>(group);
    const size_t shared = arguments->query_floats * sizeof(float) + static_cast<size_t>(group * list) * sizeof(uint64_t);
    void *parameters[] = {arguments};
    cudaError_t error =
        eum_cuda::launch(group == 1 ? kernels.one : kernels.group,
                         dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(groups)), kThreads, parameters, shared, stream);
    if (error == cudaSuccess && select && arguments->tag == 0)
        error = launch_merge(*arguments, args->query_count, stream);
    return error;
}

/* ----------------------------------------------------------------------------------------------- many queries -------- */

const void *product_kernel(eum_element element, ProductShape shape)
{
    switch (element) {
    case EUM_ELEMENT_FLOAT16:
        return product_float16(shape);
    case EUM_ELEMENT_BFLOAT16:
        return product_bfloat16(shape);
    default:
        return product_float32(shape);
    }
}

/* The tensor cores' kernels are empty in code for devices without: what counts is for which the code that would run was
 * compiled. */
cudaError_t use_tensor_cores(const eum_scoring_args *args, const Device &device, ProductShape *shape)
{
    shape->tensor = false;
    if (device.major < 8 || shape->distance || (args->flags & EUM_SCORING_NO_TENSOR_CORES) != 0)
        return cudaSuccess;
    ProductShape wanted = *shape;
    wanted.tensor = true;
    cudaFuncAttributes attributes;
    const cudaError_t error = cudaFuncGetAttributes(&attributes, product_kernel(args->element, wanted));
    shape->tensor = error == cudaSuccess && attributes.ptxVersion >= 80;
    return error;
}

/* The best ranks of groups of rows from all over the targets tell which rows are not worth an entry in a list. They lie where
 * the lists will be. */
cudaError_t launch_samples(const Arguments &part, const void *kernel, uint64_t panels, uint64_t groups, size_t shared,
                           uint64_t room, cudaStream_t stream, bool *out_bounded)
{
    const uint64_t tiles =
        least(part.rows / (kTileRows * kSampled), least(kSamples / groups, room / (part.query_count * groups * sizeof(uint32_t))));
    *out_bounded = tiles * groups >= 2 * part.k;
    if (!*out_bounded)
        return cudaSuccess;
    Arguments sampled = part;
    sampled.samples = reinterpret_cast<uint32_t *>(part.lists);
    sampled.sample_count = static_cast<uint32_t>(tiles * groups);
    sampled.slices = static_cast<uint32_t>(tiles);
    sampled.slice_rows = kTileRows;
    sampled.slice_step = part.rows / tiles;
    void *parameters[] = {&sampled};
    cudaError_t error =
        cudaLaunchKernel(kernel, dim3(static_cast<unsigned>(panels * tiles)), dim3(kThreads), parameters, shared, stream);
    if (error == cudaSuccess)
        error = launch_bounds(sampled.samples, sampled.sample_count, part.bounds, part.k, part.query_count, stream);
    return error;
}

/* With arguments->needed: of the queries that it names. */
cudaError_t launch_exact(const eum_scoring_args *args, Arguments *arguments, const Device &device, const ProductShape &shape,
                         cudaStream_t stream)
{
    const bool select = args->indices != nullptr;
    cudaError_t error = cudaSuccess;
    const uint64_t queries = shape.few ? kTileFewQueries : kTileQueries, panels = divided_up(args->query_count, queries);
    const uint64_t tiles = most(divided_up(args->rows, kTileRows), 1);
    uint64_t blocks = static_cast<uint64_t>(device.processors * (shape.few ? kFewProductBlocks : kProductBlocks));
    blocks = select ? least(blocks, most_blocks(args)) : blocks;
    const uint64_t least_slices = select ? args->rows / (1ull << 31) + 1 : 1; /* places fit in 32 bits */
    const uint64_t at_once = select ? most(1, least(panels, blocks / least_slices)) : panels;
    const uint64_t slices = least(most(least_slices, blocks / at_once), tiles);
    const uint64_t slice_tiles = divided_up(tiles, slices);
    arguments->slices = static_cast<uint32_t>(divided_up(tiles, slice_tiles)); /* none is empty */
    arguments->slice_rows = arguments->slice_step = slice_tiles * kTileRows;
    arguments->list_stride = arguments->kept + arguments->fresh;
    const void *kernel = product_kernel(args->element, shape);
    const int steps = shape.tensor && !shape.few ? kTensorSteps : kProductSteps;
    const size_t shared = 2 * static_cast<size_t>(steps) * (kTileRows + queries) * 16 * sizeof(float) +
                          static_cast<size_t>(shape.few ? kFewSettleBytes : kSettleBytes);
    if (shared + kTileQueries * 32 > kSharedBytes) /* and what is not dynamic */
        error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
    for (uint64_t panel = 0; panel < panels && error == cudaSuccess; panel += at_once) {
        const uint64_t first = panel * queries;
        Arguments part = *arguments;
        part.query_count = least(args->query_count - first, at_once * queries);
        part.queries += first * args->query_stride;
        part.scores += first * (select ? args->k : args->rows);
        part.indices += select ? first * args->k : 0;
        part.needed = part.needed != nullptr ? part.needed + first : nullptr;
        const uint64_t grid = divided_up(part.query_count, queries) * arguments->slices;
        bool bounded = false;
        if (select && part.needed == nullptr)
            error = launch_samples(part, kernel, divided_up(part.query_count, queries),
                                   static_cast<uint64_t>(sample_groups(shape.tensor, shape.few)), shared,
                                   part.query_count * part.slices * part.list_stride * sizeof(uint64_t), stream, &bounded);
        part.bounds = bounded ? part.bounds : nullptr;
        void *parameters[] = {&part};
        if (error == cudaSuccess)
            error = cudaLaunchKernel(kernel, dim3(static_cast<unsigned>(grid)), dim3(kThreads), parameters, shared, stream);
        if (error == cudaSuccess && select)
            error = launch_merge(part, part.query_count, stream);
    }
    return error;
}

cudaError_t will_filter(const eum_scoring_args *args, const FilterPlan &plan, const Device &device, bool *out)
{
    const uint64_t size = args->element == EUM_ELEMENT_FLOAT32 ? 4 : 2,
                   to = plan.few ? 16 : 4 * size; /* as kernels demand whose bits these shall be */
    *out = plan.use && (!plan.few || args->element == EUM_ELEMENT_FLOAT32) && (args->flags & EUM_SCORING_NO_TENSOR_CORES) == 0 &&
           aligned(args->targets, args->row_stride, to) && aligned(args->queries, args->query_stride, 16);
    return *out ? filter_runs(args, device, out) : cudaSuccess;
}

cudaError_t launch_product(const eum_scoring_args *args, Arguments *arguments, const Device &device, cudaStream_t stream)
{
    const uint64_t size = args->element == EUM_ELEMENT_FLOAT32 ? 4 : 2;
    ProductShape shape = {args->metric == EUM_METRIC_L2_SQUARED,
                          aligned(args->targets, args->row_stride, 4 * size) && aligned(args->queries, args->query_stride, 16),
                          false, has_few(args)};
    const cudaError_t error = use_tensor_cores(args, device, &shape);
    return error != cudaSuccess ? error : launch_exact(args, arguments, device, shape, stream);
}

/* The exact path follows for the queries whose candidates were too many. Its lists lie where the candidates were. */
cudaError_t launch_filtered(const eum_scoring_args *args, Arguments *arguments, const FilterPlan &plan, const Device &device,
                            cudaStream_t stream)
{
    cudaError_t error = cudaSuccess;
    uint32_t *needed = reinterpret_cast<uint32_t *>(arguments->lists);
    arguments->lists += needed_bytes(args) / sizeof(uint64_t);
    for (uint64_t first = 0; first < args->query_count && error == cudaSuccess; first += plan.queries) {
        eum_scoring_args part = *args;
        part.query_count = least(args->query_count - first, plan.queries);
        part.queries = reinterpret_cast<const float *>(arguments->queries + first * args->query_stride);
        part.scores += first * args->k;
        part.indices += first * args->k;
        error = launch_filter(&part, plan, needed, arguments->bounds, arguments->lists, device, stream);
        if (error != cudaSuccess || plan.sampled == 0)
            continue; /* all rows were candidates */
        Arguments rest = *arguments;
        rest.needed = needed;
        rest.query_count = part.query_count;
        rest.queries = reinterpret_cast<const char *>(part.queries);
        rest.scores = part.scores;
        rest.indices = part.indices;
        error = is_product(args) ? launch_product(&part, &rest, device, stream) : launch_stream(&part, &rest, device, stream);
    }
    return error;
}

} // namespace

extern "C" size_t eum_scoring_cuda_scratch(const eum_scoring_args *args)
{
    if (args->indices == nullptr || args->query_count == 0)
        return 0;
    return kFinishedBytes + static_cast<size_t>(bound_bytes(args) + needed_bytes(args) + work_bytes(args));
}

extern "C" int32_t eum_scoring_cuda(const eum_scoring_args *args, void *scratch, void *cuda_stream)
{
    if (args->query_count == 0 || (args->rows == 0 && args->indices == nullptr))
        return 0;
    Device device = {};
    cudaError_t error = eum_cuda::current_device(&device);
    if (error != cudaSuccess)
        return eum_cuda::reported(error);
    if (args->processors > 0)
        device.processors = static_cast<int>(args->processors);
    Arguments arguments = {};
    arguments.metric = args->metric;
    arguments.queries = reinterpret_cast<const char *>(args->queries);
    arguments.targets = static_cast<const char *>(args->targets);
    arguments.numbers = args->numbers;
    arguments.scores = args->scores;
    arguments.query_count = args->query_count;
    arguments.rows = args->rows;
    arguments.dim = args->dim;
    arguments.query_stride = args->query_stride;
    arguments.row_stride = args->row_stride;
    if (args->indices != nullptr) {
        arguments.indices = args->indices;
        arguments.k = static_cast<uint32_t>(args->k);
        arguments.kept = static_cast<uint32_t>(kept_of(args));
        arguments.fresh = static_cast<uint32_t>(fresh_of(args));
        arguments.finished = static_cast<uint64_t *>(scratch);
        arguments.bounds = static_cast<uint32_t *>(scratch) + kFinishedBytes / sizeof(uint32_t);
        arguments.lists = arguments.finished + (kFinishedBytes + bound_bytes(args)) / sizeof(uint64_t);
    }
    cudaStream_t stream = static_cast<cudaStream_t>(cuda_stream);
    const FilterPlan plan = filter_plan(args);
    bool filtered = false;
    error = will_filter(args, plan, device, &filtered);
    if (error != cudaSuccess)
        return eum_cuda::reported(error);
    return eum_cuda::reported(filtered           ? launch_filtered(args, &arguments, plan, device, stream)
                              : is_product(args) ? launch_product(args, &arguments, device, stream)
                                                 : launch_stream(args, &arguments, device, stream));
}
