/* scoring_stream: up to a few queries against rows that are read once; the time is that of reading the targets.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A group of LANES lanes scores ROWS rows at a time against GROUP queries in shared memory: each lane takes every LANES-th piece
 * of a row, sums in float32, and the group adds up its lanes. What float32 cannot carry is summed again in float64, by the warp.
 * A score depends on the row, the query, LANES and the piece, that is on dim, element and alignment; not on the number of rows,
 * of queries, or on whether it is selected. */
#ifndef EUM_SCORING_STREAM_CUH
#define EUM_SCORING_STREAM_CUH

#include <type_traits>

#include "kernels/scoring_lists.cuh"
#include "kernels/scoring_plan.h"

namespace eum_scoring
{

/* A row's float32 sum of squares in this range is trusted. Below, squares that underflowed could matter; above, they overflowed
 * or the row is not finite. */
constexpr float kRowSquaresMin = 0x1p-60f;

/* Where element k of query 0 is in shared memory, in floats; of query q, q parts of four (in the rest: q floats) on. For each
 * part of four elements the queries lie side by side, a.side of them: an odd number, so that 16-byte loads of neighbouring parts
 * fall into different banks. Of pieces of 8, which are two loads, the first halves of all come first. The rest, where dim is no
 * multiple of PIECE, follows element by element. */
template <int PIECE> __device__ __forceinline__ int shared_place(int k, int pieces, int side)
{
    if (PIECE == 1 || k >= pieces * PIECE)
        return k * side;
    return (k % PIECE / 4 * pieces + k / PIECE) * side * 4 + k % 4;
}
template <int PIECE> __device__ __forceinline__ int query_place(int k, int pieces, int q)
{
    return PIECE == 1 || k >= pieces * PIECE ? q : q * 4;
}

/* Brings `count` queries into shared memory, scaled. Ends with a barrier. */
template <int PIECE, int GROUP>
__device__ __forceinline__ void prepare_queries(const Arguments &a, uint64_t first, int count, float *shared, Prepared *prepared)
{
    const int dim = static_cast<int>(a.dim), pieces = dim / PIECE, side = static_cast<int>(a.side);
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    for (int q = 0; q < count; q++) {
        const float *query = reinterpret_cast<const float *>(a.queries + (first + static_cast<uint64_t>(q)) * a.query_stride);
        for (int k = static_cast<int>(threadIdx.x); k < dim; k += kThreads)
            shared[shared_place<PIECE>(k, pieces, side) + query_place<PIECE>(k, pieces, q)] = __ldg(query + k);
    }
    if (GROUP == 1) { /* a part a warp */
        __shared__ double parts[kWarps];
        const float *query = reinterpret_cast<const float *>(a.queries + first * a.query_stride);
        const double part = part_of_squares(query, a.dim, warp);
        if (threadIdx.x % kWarp == 0)
            parts[warp] = part;
        __syncthreads();
        if (threadIdx.x == 0) {
            double squares = 0.0;
#pragma unroll
            for (int n = 0; n < kWarps; n++)
                squares += parts[n];
            prepared[0] = prepared_from(a.metric, squares);
        }
    } else if (warp < GROUP) { /* a query a warp */
        const bool there = warp < count;
        const uint64_t q = first + static_cast<uint64_t>(there ? warp : 0);
        const double squares =
            there ? squares_by_warp(reinterpret_cast<const float *>(a.queries + q * a.query_stride), a.dim) : 0.0;
        if (threadIdx.x % kWarp == 0)
            prepared[warp] = prepared_from(a.metric, squares);
    }
    __syncthreads();
    bool scaled = false;
    for (int q = 0; q < count; q++) {
        const float scale = prepared[q].scale;
        scaled |= scale != 1.0f;
        if (scale != 1.0f)
            for (int k = static_cast<int>(threadIdx.x); k < dim; k += kThreads)
                shared[shared_place<PIECE>(k, pieces, side) + query_place<PIECE>(k, pieces, q)] *= scale;
    }
    if (scaled) /* for all threads */
        __syncthreads();
}

/* Adds up COUNT values over LANES lanes. Lanes halve what they hold as long as there is more than one value; a lane then holds
 * COUNT / LANES of the sums (at least one), from spread_first on. The additions are those of a butterfly, in its order. */
template <int LANES, int COUNT> __device__ __forceinline__ int spread_first(int lane)
{
    int first = 0;
#pragma unroll
    for (int distance = LANES / 2, n = COUNT; distance > 0 && n > 1; distance /= 2) {
        n /= 2;
        first += (lane & distance) != 0 ? n : 0;
    }
    return first;
}

template <int LANES, int COUNT> __device__ __forceinline__ void sum_spread(float *values, int lane)
{
#pragma unroll
    for (int distance = LANES / 2, n = COUNT; distance > 0; distance /= 2) {
        if (n > 1) {
            n /= 2;
            const bool upper = (lane & distance) != 0;
#pragma unroll
            for (int i = 0; i < n; i++) {
                const float away = upper ? values[i] : values[i + n], kept = upper ? values[i + n] : values[i];
                values[i] = kept + __shfl_xor_sync(kAllLanes, away, distance);
            }
        } else {
            values[0] += __shfl_xor_sync(kAllLanes, values[0], distance);
        }
    }
}

template <int LANES> __device__ __forceinline__ float sum_group(float x)
{
#pragma unroll
    for (int distance = LANES / 2; distance > 0; distance /= 2)
        x += __shfl_xor_sync(kAllLanes, x, distance);
    return x;
}

/* Adds one piece to a sum of products or differences, and with SQUARES to the row's own squares. Four elements are added up
 * before they are added to the running sum: less rounding. */
template <bool DISTANCE, bool SQUARES, typename Element, int PIECE>
__device__ __forceinline__ void add_piece(const Piece<Element, PIECE> &x, const float *query, int apart, float &sum, float &squares)
{
    if constexpr (PIECE == 1) {
        const float v = x.element(0), q = *query, d = v - q;
        sum = DISTANCE ? fmaf(d, d, sum) : fmaf(q, v, sum);
        squares = SQUARES ? fmaf(v, v, squares) : squares;
    } else {
#pragma unroll
        for (int part = 0; part < PIECE / 4; part++) {
            const float4 four = *reinterpret_cast<const float4 *>(query + part * apart);
            const float q[4] = {four.x, four.y, four.z, four.w};
            float own = 0.0f, own_squares = 0.0f;
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float v = x.element(part * 4 + i), d = v - q[i];
                own = i == 0 ? (DISTANCE ? d * d : q[i] * v) : DISTANCE ? fmaf(d, d, own) : fmaf(q[i], v, own);
                own_squares = i == 0 ? v * v : fmaf(v, v, own_squares);
            }
            sum += own;
            squares = SQUARES ? squares + own_squares : squares;
        }
    }
}

/* Whether one of the queries is still wanted; the same for all threads. */
__device__ __forceinline__ bool any_needed(const Arguments &a, uint64_t first_query, int count)
{
    bool needed = a.needed == nullptr;
    for (int q = 0; q < count && !needed; q++)
        needed = a.needed[first_query + static_cast<uint64_t>(q)] != 0;
    return needed;
}

/* In shared memory of every block: first this, then the queries, then the lists. */
template <int GROUP> struct StreamShared {
    Prepared prepared[GROUP];
    ListState states[GROUP];
    MergeState merge;
    int full, last;
};

/* Counts the blocks that have finished; true in the last one. The count needs no memory that was set before: it belongs to the
 * launch whose tag is in front of it, and whatever another launch left there is taken over. */
__device__ __forceinline__ bool is_last_block(const Arguments &a)
{
    unsigned long long *word = reinterpret_cast<unsigned long long *>(a.finished),
                       seen = *static_cast<volatile unsigned long long *>(word);
    constexpr uint64_t kCount = 0xffffu; /* bits of the count: kMostSlices and more */
    while ((seen & ~kCount) != a.tag) {
        const unsigned long long found = atomicCAS(word, seen, static_cast<unsigned long long>(a.tag));
        seen = found == seen ? a.tag : found;
    }
    return (atomicAdd(word, 1ull) & kCount) == a.slices - 1;
}

/* After a slice: writes its lists, and where the launch merges by itself the last block does. */
template <int GROUP>
__device__ __forceinline__ void finish_slice(const Arguments &a, uint64_t first_query, int count, uint64_t *entries,
                                             StreamShared<GROUP> &shared)
{
    const int k = static_cast<int>(a.k), kept = static_cast<int>(a.kept), fresh = static_cast<int>(a.fresh);
    for (int i = static_cast<int>(threadIdx.x); i < count * k; i += kThreads) {
        const uint64_t query = first_query + static_cast<uint64_t>(i / k);
        store_past_l1(a.lists + (query * a.slices + blockIdx.x) * a.list_stride + i % k, entries[i / k * (kept + fresh) + i % k]);
    }
    if (GROUP != 1 || a.tag == 0)
        return;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0)
        shared.last = is_last_block(a) ? 1 : 0;
    __syncthreads();
    if (shared.last == 0)
        return;
    __threadfence();
    if (threadIdx.x == 0)
        *a.finished = 0; /* for a replay of the same launch */
    merge_lists(a, first_query, entries, kept, fresh, &shared.merge);
}

/* How a kernel keeps loads on their way. One query and 16-bit rows: what is between the loads takes long, so a thread loads the next half
 * of what it holds while it sums up this one, and three blocks of a multiprocessor take turns beside, where their registers suffice: not with
 * four rows a thread, nor with the most that it holds of bfloat16, whose widening takes registers of its own. */
template <typename Element, int LANES, int GROUP> struct Flow {
    static constexpr bool kAhead = sizeof(Element) == 2 && GROUP == 1;
    static constexpr bool kSpare = LANES > 4 && (LANES != 16 || std::is_same<Element, __half>::value);
    static constexpr int kBlocks = kAhead && kSpare ? 3 : 2;
};

template <typename Element, bool DISTANCE, int PIECE, int LANES, int ROWS, int UNROLL, int GROUP>
__global__ void __launch_bounds__(kThreads, Flow<Element, LANES, GROUP>::kBlocks) stream(const Arguments a)
{
    using Wide = Piece<Element, PIECE>;
    constexpr int kWarpRows = kWarp / LANES * ROWS, kValues = ROWS * GROUP, kOwn = kValues > LANES ? kValues / LANES : 1;
    extern __shared__ float4 dynamic_shared[];
    __shared__ StreamShared<GROUP> shared;
    float *queries = reinterpret_cast<float *>(dynamic_shared);
    uint64_t *entries = reinterpret_cast<uint64_t *>(queries + a.query_floats);

    const bool select = a.indices != nullptr;
    const int dim = static_cast<int>(a.dim), pieces = dim / PIECE, k = static_cast<int>(a.k);
    const int kept = static_cast<int>(a.kept), fresh = static_cast<int>(a.fresh), active = static_cast<int>(a.active);
    const int lane = static_cast<int>(threadIdx.x) % LANES, group = static_cast<int>(threadIdx.x) % kWarp / LANES;
    const int warp = static_cast<int>(threadIdx.x) / kWarp, side = GROUP == 1 ? 1 : static_cast<int>(a.side);
    const uint64_t first_query = static_cast<uint64_t>(blockIdx.y) * a.group, left = a.query_count - first_query;
    const int count = left < a.group ? static_cast<int>(left) : static_cast<int>(a.group);
    /* Rows of 16 bits the filter leaves alone, and their kernels have no register to spare. */
    if constexpr (sizeof(Element) == sizeof(float)) {
        if (!any_needed(a, first_query, count))
            return;
    }
    /* All scores: the blocks go through the rows together. A selection: each through a slice, so that places fit in 32 bits. */
    const uint64_t begin = select ? blockIdx.x * a.slice_step : 0;
    const uint64_t end = select && begin + a.slice_rows < a.rows ? begin + a.slice_rows : a.rows;
    const uint64_t step = static_cast<uint64_t>(select ? active : static_cast<int>(gridDim.x) * active) * kWarpRows;
    uint64_t row =
        begin + static_cast<uint64_t>((select ? 0 : static_cast<int>(blockIdx.x) * active) + warp) * kWarpRows; /* of the warp */

    constexpr bool kAhead = Flow<Element, LANES, GROUP>::kAhead;
    constexpr int kPart = UNROLL * LANES;
    const Element *rows[ROWS], *next_rows[ROWS]; /* the next ones are looked up while these are scored */
    Wide x[ROWS][UNROLL];
    /* Beyond the end, the last row once more. */
    auto find_rows = [&](uint64_t first) {
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            const uint64_t at = first + static_cast<uint64_t>(group * ROWS + r), inside = at < end ? at : end - 1;
            const uint64_t number = a.numbers != nullptr ? static_cast<uint64_t>(__ldg(a.numbers + inside)) : inside;
            next_rows[r] = reinterpret_cast<const Element *>(a.targets + number * a.row_stride);
        }
    };
    auto load_pieces = [&](const Element *const(&from)[ROWS], int base, Wide(&to)[ROWS][UNROLL]) {
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            const int at = base + u * LANES + lane;
#pragma unroll
            for (int r = 0; r < ROWS; r++)
                to[r][u] = at < pieces ? load(reinterpret_cast<const Wide *>(from[r]) + at) : zeros<Wide>();
        }
    };
    float sums[kValues], squares[ROWS];
    auto add_pieces = [&](int base, const Wide(&held)[ROWS][UNROLL]) {
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            const int at = base + u * LANES + lane, inside = at < pieces ? at : 0;
            const float *query = queries + inside * side * (PIECE == 1 ? 1 : 4);
            if (DISTANCE && at >= pieces)
                continue; /* the products are 0 anyway */
#pragma unroll
            for (int q = 0; q < GROUP; q++) { /* beyond the last query, whatever is there */
                const float *its = query + q * (PIECE == 1 ? 1 : 4);
#pragma unroll
                for (int r = 0; r < ROWS; r++) {
                    if (q == 0 && !DISTANCE)
                        add_piece<DISTANCE, true, Element, PIECE>(held[r][u], its, pieces * side * 4, sums[r * GROUP], squares[r]);
                    else
                        add_piece<DISTANCE, false, Element, PIECE>(held[r][u], its, pieces * side * 4, sums[r * GROUP + q],
                                                                   squares[r]);
                }
            }
        }
    };

    /* The first pieces of the first rows are under way while the queries are prepared. */
    bool more = row < end && warp < active;
    if (more) {
        find_rows(row);
        load_pieces(next_rows, 0, x);
    }
    if (select) {
        empty_lists(entries, shared.states, static_cast<int>(a.group), kept, fresh);
        if (threadIdx.x == 0)
            shared.full = 0;
    }
    prepare_queries<PIECE, GROUP>(a, first_query, count, queries, shared.prepared);

    const int own = spread_first<LANES, kValues>(lane);
    const bool owner = kValues >= LANES || lane % (LANES / (kValues < LANES ? kValues : LANES)) == 0;
    uint64_t found[kOwn]; /* entries of a selection, and which of them still wait for a place */
    unsigned waiting = 0;
    for (bool loaded = true;;) { /* the first pieces */
        while (more && !(select && *static_cast<volatile int *>(&shared.full) != 0)) {
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                rows[r] = next_rows[r];
                squares[r] = 0.0f;
            }
#pragma unroll
            for (int n = 0; n < kValues; n++)
                sums[n] = 0.0f;
            if (!loaded)
                load_pieces(rows, 0, x);
            loaded = kAhead;
            const uint64_t now = row;
            row += step;
            more = row < end;
            if (more)
                find_rows(row);
            if constexpr (kAhead) {
                Wide y[ROWS][UNROLL];
#pragma unroll 1
                for (int base = 0; base < pieces; base += 2 * kPart) {
                    load_pieces(rows, base + kPart, y);
                    add_pieces(base, x);
                    if (base + 2 * kPart < pieces)
                        load_pieces(rows, base + 2 * kPart, x);
                    else if (more)
                        load_pieces(next_rows, 0, x);
                    add_pieces(base + kPart, y);
                }
            } else {
                for (int base = 0; base < pieces; base += kPart) {
                    if (base > 0)
                        load_pieces(rows, base, x);
                    add_pieces(base, x);
                }
            }
            for (int at = pieces * PIECE + lane; at < dim; at += LANES) {
#pragma unroll
                for (int r = 0; r < ROWS; r++) {
                    const float v = widen(rows[r][at]);
                    squares[r] = fmaf(v, v, squares[r]);
#pragma unroll
                    for (int q = 0; q < GROUP; q++) {
                        const float y = queries[at * side + q], d = v - y;
                        sums[r * GROUP + q] = DISTANCE ? fmaf(d, d, sums[r * GROUP + q]) : fmaf(y, v, sums[r * GROUP + q]);
                    }
                }
            }

            sum_spread<LANES, kValues>(sums, lane);
            if (!DISTANCE) {
#pragma unroll
                for (int r = 0; r < ROWS; r++)
                    squares[r] = sum_group<LANES>(squares[r]);
            }
#pragma unroll
            for (int i = 0; i < kOwn; i++) {
                const int r = (own + i) / GROUP, q = (own + i) % GROUP;
                const uint64_t at = now + static_cast<uint64_t>(group * ROWS + r);
                const bool mine = owner && at < end && q < count;
                const Prepared query = shared.prepared[q];
                float score = sums[i];
                bool trusted = finite(score);
                if (!DISTANCE && a.metric == EUM_METRIC_COSINE) {
                    float square = squares[0];
#pragma unroll
                    for (int other = 1; other < ROWS; other++)
                        square = r == other ? squares[other] : square;
                    score = fminf(fmaxf(score * query.inverse / sqrtf(square), -1.0f), 1.0f);
                    trusted = square >= kRowSquaresMin && square <= FLT_MAX;
                }
                unsigned untrusted = __ballot_sync(kAllLanes, mine && !trusted && query.finite);
                while (untrusted != 0) { /* the same for the whole warp */
                    const int whose = __ffs(static_cast<int>(untrusted)) - 1;
                    untrusted &= untrusted - 1;
                    const Element *its = rows[0];
#pragma unroll
                    for (int other = 1; other < ROWS; other++)
                        its = r == other ? rows[other] : its;
                    its = reinterpret_cast<const Element *>(
                        __shfl_sync(kAllLanes, static_cast<unsigned long long>(reinterpret_cast<uintptr_t>(its)), whose));
                    const uint64_t number = first_query + static_cast<uint64_t>(__shfl_sync(kAllLanes, q, whose));
                    const float exact =
                        exact_by_warp(a.metric, reinterpret_cast<const float *>(a.queries + number * a.query_stride), its, a.dim);
                    score = static_cast<int>(threadIdx.x) % kWarp == whose ? exact : score;
                }
                score = query.finite ? score : not_a_number();
                if (!select) {
                    if (mine)
                        a.scores[(first_query + static_cast<uint64_t>(q)) * a.rows + at] = score;
                } else if (mine) {
                    found[i] = static_cast<uint64_t>(rank_of(score, DISTANCE)) << 32 | (at - begin);
                    if (offer(entries + q * (kept + fresh), &shared.states[q], kept, fresh, found[i]))
                        waiting |= 1u << i;
                }
            }
            if (select && __any_sync(kAllLanes, waiting != 0)) {
                if (threadIdx.x % kWarp == 0)
                    *static_cast<volatile int *>(&shared.full) = 1;
                break;
            }
        }
        if (!select)
            return;
        const bool unfinished = __syncthreads_or(more || waiting != 0);
        if (threadIdx.x == 0)
            shared.full = 0;
        settle_lists(entries, shared.states, static_cast<int>(a.group), kept, fresh, k);
        if (!unfinished)
            break;
#pragma unroll
        for (int i = 0; i < kOwn; i++) {
            if ((waiting >> i & 1u) == 0)
                continue;
            const int q = (own + i) % GROUP;
            if (!offer(entries + q * (kept + fresh), &shared.states[q], kept, fresh, found[i]))
                waiting &= ~(1u << i);
        }
        if (waiting != 0)
            *static_cast<volatile int *>(&shared.full) = 1;
    }
    finish_slice<GROUP>(a, first_query, count, entries, shared);
}

/* ------------------------------------------------------------------------------------------- long rows -------------- */

__device__ __forceinline__ ExactSums sum_block(ExactSums sums, ExactSums *partial)
{
    sums = {sum_lanes(sums.sum), sum_lanes(sums.row), sum_lanes(sums.query)};
    __syncthreads(); /* the last partial sums have been read */
    if (threadIdx.x % kWarp == 0)
        partial[threadIdx.x / kWarp] = sums;
    __syncthreads();
    sums = partial[0];
    for (int warp = 1; warp < kWarps; warp++) {
        sums.sum += partial[warp].sum;
        sums.row += partial[warp].row;
        sums.query += partial[warp].query;
    }
    return sums;
}

/* Queries too long for shared memory are read from global memory, that is from the cache: a block a row, kRounds rounds of loads
 * in float32 before float64 takes over. */
template <typename Element, bool DISTANCE, int PIECE> __global__ void __launch_bounds__(kThreads, 3) stream_long(const Arguments a)
{
    using Wide = Piece<Element, PIECE>;
    constexpr int kRounds = 4, kUnroll = PIECE == 1 ? 8 : 2, kParts = PIECE == 1 ? 1 : PIECE / 4;
    using WideQuery = Piece<float, PIECE == 1 ? 1 : 4>;
    extern __shared__ float4 dynamic_shared[];
    __shared__ StreamShared<1> shared;
    __shared__ ExactSums partial[kWarps];
    uint64_t *entries = reinterpret_cast<uint64_t *>(dynamic_shared);
    const bool select = a.indices != nullptr;
    const int kept = static_cast<int>(a.kept), fresh = static_cast<int>(a.fresh), k = static_cast<int>(a.k);
    const uint64_t begin = select ? blockIdx.x * a.slice_step : blockIdx.x, step = select ? 1 : gridDim.x;
    const uint64_t end = select && begin + a.slice_rows < a.rows ? begin + a.slice_rows : a.rows, pieces = a.dim / PIECE;
    const float *query = reinterpret_cast<const float *>(a.queries + blockIdx.y * a.query_stride);

    if (select)
        empty_lists(entries, shared.states, 1, kept, fresh);
    __syncthreads();
    for (uint64_t at = begin; at < end; at += step) {
        const uint64_t number = a.numbers != nullptr ? static_cast<uint64_t>(a.numbers[at]) : at;
        const Element *row = reinterpret_cast<const Element *>(a.targets + number * a.row_stride);
        ExactSums sums = {0.0, 0.0, 0.0};
        for (uint64_t p = threadIdx.x; p < pieces;) {
            float sum = 0.0f, row_squares = 0.0f, query_squares = 0.0f;
            for (int round = 0; round < kRounds && p < pieces; round++, p += kUnroll * kThreads) {
                Wide x[kUnroll];
                WideQuery y[kUnroll][kParts];
#pragma unroll
                for (int u = 0; u < kUnroll; u++) {
                    const uint64_t mine = p + static_cast<uint64_t>(u) * kThreads;
                    x[u] = mine < pieces ? load(reinterpret_cast<const Wide *>(row) + mine) : zeros<Wide>();
#pragma unroll
                    for (int part = 0; part < kParts; part++)
                        y[u][part] = mine < pieces ? load(reinterpret_cast<const WideQuery *>(query) + mine * kParts + part)
                                                   : zeros<WideQuery>();
                }
#pragma unroll
                for (int u = 0; u < kUnroll; u++) {
#pragma unroll
                    for (int i = 0; i < PIECE; i++) {
                        const float v = x[u].element(i), q = y[u][i / 4].at[i % 4], d = v - q;
                        sum = DISTANCE ? fmaf(d, d, sum) : fmaf(q, v, sum);
                        row_squares = fmaf(v, v, row_squares);
                        query_squares = fmaf(q, q, query_squares);
                    }
                }
            }
            sums.sum += static_cast<double>(sum);
            sums.row += static_cast<double>(row_squares);
            sums.query += static_cast<double>(query_squares);
        }
        const ExactSums rest =
            exact_sums(DISTANCE, query + pieces * PIECE, row + pieces * PIECE, a.dim - pieces * PIECE, threadIdx.x, kThreads);
        sums = sum_block({sums.sum + rest.sum, sums.row + rest.row, sums.query + rest.query}, partial);
        /* Norms of at most 2^60 and at least 2^-30: neither products nor squares overflowed, and none that matters was lost. */
        const bool trusted = sums.row >= 0x1p-60 && sums.row <= 0x1p120 && sums.query >= 0x1p-60 && sums.query <= 0x1p120;
        if (!trusted) /* for all threads */
            sums = sum_block(exact_sums(DISTANCE, query, row, a.dim, threadIdx.x, kThreads), partial);
        if (threadIdx.x == 0) {
            const float score = exact_score(a.metric, sums);
            if (!select)
                a.scores[blockIdx.y * a.rows + at] = score;
            else
                (void)offer(entries, shared.states, kept, fresh,
                            static_cast<uint64_t>(rank_of(score, DISTANCE)) << 32 | (at - begin));
        }
        __syncthreads();
        if (select && (shared.states[0].count == fresh || at + step >= end))
            settle_lists(entries, shared.states, 1, kept, fresh, k);
    }
    if (select)
        finish_slice<1>(a, blockIdx.y, 1, entries, shared);
}

/* --------------------------------------------------------------------------------------------------- choice --------- */

/* UNROLL: pieces of a row that a lane holds, in two halves where they are loaded ahead. */
template <typename Element, bool DISTANCE, int PIECE, int LANES, int ROWS, int UNROLL, int GROUP_ROWS, int GROUP_UNROLL>
StreamKernels stream_of()
{
    constexpr int kUnroll = Flow<Element, LANES, 1>::kAhead && UNROLL > 1 ? UNROLL / 2 : UNROLL;
    return {reinterpret_cast<const void *>(&stream<Element, DISTANCE, PIECE, LANES, ROWS, kUnroll, 1>),
            reinterpret_cast<const void *>(&stream<Element, DISTANCE, PIECE, LANES, GROUP_ROWS, GROUP_UNROLL, kStreamGroup>),
            kThreads / LANES * ROWS,
            kThreads / LANES * GROUP_ROWS,
            Flow<Element, LANES, 1>::kBlocks,
            Flow<Element, LANES, kStreamGroup>::kBlocks};
}

template <typename Element, bool DISTANCE> StreamKernels stream_for(uint64_t dim, uint64_t multiple)
{
    constexpr int kWide = static_cast<int>(16 / sizeof(Element));
    constexpr bool kNarrow = sizeof(Element) == 2;
    const bool wide = multiple % 16 == 0 && (!kNarrow || dim >= kWide); /* 16-bit kernels always take a first piece */
    if (dim > kStreamDim) {
        const void *kernel = wide ? reinterpret_cast<const void *>(&stream_long<Element, DISTANCE, kWide>)
                                  : reinterpret_cast<const void *>(&stream_long<Element, DISTANCE, 1>);
        return {kernel, kernel, 1, 1, 3, 3};
    }
    if (wide) {
        constexpr int kGroupUnroll = kNarrow ? 3 : 4;
        const uint64_t pieces = dim / kWide;
        const int lanes = stream_lanes(pieces);
        if (kNarrow && lanes == 8 && pieces <= 16) /* the other half of what a lane would load is not there: it takes another row */
            return stream_of<Element, DISTANCE, kWide, 8, 2, 2, 2, 2>();
        return lanes == 4   ? stream_of<Element, DISTANCE, kWide, 4, 4, 2, 2, 2>()
               : lanes == 8 ? stream_of<Element, DISTANCE, kWide, 8, 1, 4, 2, 2>()
                            : stream_of<Element, DISTANCE, kWide, 16, 1, 6, 2, kGroupUnroll>();
    }
    if constexpr (kNarrow) { /* rows of 4 elements more than a multiple of 8, as 100 and 300 have */
        if (multiple % 8 == 0 && dim >= 4) {
            const int lanes = stream_lanes(dim / 4);
            return lanes == 4   ? stream_of<Element, DISTANCE, 4, 4, 4, 2, 2, 2>()
                   : lanes == 8 ? stream_of<Element, DISTANCE, 4, 8, 2, 4, 2, 4>()
                                : stream_of<Element, DISTANCE, 4, 16, 2, 6, 2, 4>();
        }
    }
    return dim <= 256 ? stream_of<Element, DISTANCE, 1, 8, 2, 4, 2, 4>() : stream_of<Element, DISTANCE, 1, 32, 2, 6, 2, 4>();
}

} // namespace eum_scoring

#endif
