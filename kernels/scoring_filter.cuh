/* scoring_filter: the best rows of many queries, first pass: scores in float16 on the tensor cores, each with a bound on its error.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Both sides are scaled by powers of two and rounded to float16; a row that could be among the best k, by the bounds
 * (scoring_filter_bounds.cuh), becomes a candidate of the query. The second pass (scoring_rerank.cuh) scores the candidates as the
 * exact path does.
 *
 * A block has a panel of queries, rounded beforehand, and every so-many-th tile of the rows (scoring_filter_tile.cuh). What reaches the
 * threshold is queued in shared memory and added to the candidates during the next tile. */
#ifndef EUM_SCORING_FILTER_CUH
#define EUM_SCORING_FILTER_CUH

#include "kernels/scoring_filter_tile.cuh"

namespace eum_scoring
{

/* A score on its way to the candidates. */
struct Queued {
    float sum;
    uint32_t place; /* row << 16 | query, in the tile */
};

/* Facts are there before their tile is multiplied, and until the one behind it has been: three tiles at once. */
constexpr int kFacts = 3;

template <int ROWS, int QUERIES, int THREADS> struct FilterShared {
    static constexpr int kPlaces = THREADS; /* in the queue: one a thread */
    const char *addresses[ROWS];
    RowFacts rows[kFacts][ROWS];
    QueryFacts queries[QUERIES];
    Queued queue[kPlaces];
    int queued[2]; /* of this tile and the last one */
};

struct Own {
    int row, query;
    uint32_t first_query;
    uint64_t first_row; /* of the tile */
};
__device__ __forceinline__ int query_of(const Own &own, int j)
{
    return own.query + j / 2 * 8 + j % 2;
}
/* The best lower bound of each 32 rows, for the threshold. */
template <bool DISTANCE, int OWN>
__device__ __forceinline__ void write_samples(const FilterArguments &a, const Sums<OWN> &sums, const RowFacts *rows,
                                              const QueryFacts *queries, const Own &own)
{
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
    for (int j = 0; j < 2 * OWN; j++) {
        const QueryFacts facts = queries[query_of(own, j)];
        const uint64_t q = own.first_query + static_cast<uint64_t>(query_of(own, j));
        float best = -__int_as_float(0x7f800000);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const RowFacts row = rows[own.row + 8 * i];
            const float value = value_of<DISTANCE>(sum_of(sums, i, j), row, facts);
            best = fmaxf(best, value - error_of<DISTANCE>(row, facts)); /* NaN is none */
        }
        best = fmaxf(best, __shfl_xor_sync(kAllLanes, best, 4));
        best = fmaxf(best, __shfl_xor_sync(kAllLanes, best, 8));
        if ((lane >> 2 & 3) == 0 && q < a.query_count)
            a.samples[q * a.sample_count + own.first_row / kSampleRows + static_cast<uint64_t>(own.row / 64 * 2 + lane / 16)] =
                rank_of(fminf(best, facts.most), false);
    }
}

/* All rows are candidates, each in its place. */
template <bool DISTANCE, int OWN>
__device__ __forceinline__ void write_spans(const FilterArguments &a, const Sums<OWN> &sums, const RowFacts *rows,
                                            const QueryFacts *queries, const Own &own)
{
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const RowFacts row = rows[own.row + 8 * i];
        const uint64_t number = own.first_row + static_cast<uint64_t>(own.row + 8 * i);
#pragma unroll
        for (int j = 0; j < 2 * OWN; j++) {
            const uint64_t q = own.first_query + static_cast<uint64_t>(query_of(own, j));
            float2 span;
            (void)bounds_of<DISTANCE>(sum_of(sums, i, j), row, queries[query_of(own, j)], &span);
            if (number < a.rows && q < a.query_count)
                a.spans[q * a.capacity + number] = span;
        }
    }
}

template <bool DISTANCE, typename Shared>
__device__ __forceinline__ void add_candidate(const FilterArguments &a, Shared &shared, const RowFacts *rows, Queued entry,
                                              const Own &own)
{
    const int r = static_cast<int>(entry.place >> 16), query = static_cast<int>(entry.place & 0xffffu);
    const uint64_t number = own.first_row + static_cast<uint64_t>(r), q = own.first_query + static_cast<uint64_t>(query);
    float2 span;
    if (number >= a.rows || q >= a.query_count || !bounds_of<DISTANCE>(entry.sum, rows[r], shared.queries[query], &span))
        return;
    const uint32_t place = atomicAdd(a.counts + q, 1u);
    if (place < a.capacity) {
        a.spans[q * a.capacity + place] = span;
        a.places[q * a.capacity + place] = static_cast<uint32_t>(number);
    } else {
        shared.queries[query].threshold = __int_as_float(0x7f800000); /* there will be no use for more */
    }
}

/* Adds what is queued of a tile. */
template <bool DISTANCE, int ROWS, typename Shared>
__device__ __forceinline__ void empty_queue(const FilterArguments &a, Shared &shared, const RowFacts *rows, int parity,
                                            uint32_t first_query, uint32_t tile)
{
    const int thread = static_cast<int>(threadIdx.x);
    if (thread < shared.queued[parity])
        add_candidate<DISTANCE>(a, shared, rows, shared.queue[thread], {0, 0, first_query, static_cast<uint64_t>(tile) * ROWS});
}

/* Queues those of a thread's scores that reach the threshold; at once, where the queue is full. */
template <bool DISTANCE, int OWN, typename Shared>
__device__ __forceinline__ void find_candidates(const FilterArguments &a, const Sums<OWN> &sums, Shared &shared,
                                                const RowFacts *facts_of_rows, int parity, const Own &own)
{
    constexpr int kWords = (16 * OWN + 63) / 64; /* of a bit a sum */
    RowFacts rows[8];
    uint64_t late[kWords] = {};
#pragma unroll
    for (int i = 0; i < 8; i++)
        rows[i] = facts_of_rows[own.row + 8 * i];
#pragma unroll
    for (int j = 0; j < 2 * OWN; j++) {
        const QueryFacts facts = shared.queries[query_of(own, j)];
        unsigned found = 0;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const float value = value_of<DISTANCE>(sum_of(sums, i, j), rows[i], facts);
            if (!(value + error_of<DISTANCE>(rows[i], facts) < facts.threshold)) /* NaN is one */
                found |= 1u << i;
        }
        if (found == 0)
            continue;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            if ((found >> i & 1u) == 0)
                continue;
            const int place = atomicAdd(&shared.queued[parity], 1);
            if (place < Shared::kPlaces)
                shared.queue[place] = {sum_of(sums, i, j), static_cast<uint32_t>((own.row + 8 * i) << 16 | query_of(own, j))};
            else
                late[j / 8] |= 1ull << (j % 8 * 8 + i);
        }
    }
    volatile float held[16 * OWN]; /* in local memory, where one can count through them */
    bool any = false;
#pragma unroll
    for (int n = 0; n < kWords; n++)
        any |= late[n] != 0;
    if (!any)
        return;
#pragma unroll
    for (int n = 0; n < 16 * OWN; n++)
        held[n] = sum_of(sums, n % 8, n / 8);
#pragma unroll
    for (int word = 0; word < kWords; word++) {
        for (; late[word] != 0; late[word] &= late[word] - 1) {
            const int n = __ffsll(static_cast<long long>(late[word])) - 1 + word * 64;
            add_candidate<DISTANCE>(a, shared, facts_of_rows,
                                    {held[n], static_cast<uint32_t>((own.row + n % 8 * 8) << 16 | query_of(own, n / 8))}, own);
        }
    }
}

/* 0, which the compiler does not know, nor may it move what depends on it in front of this. */
__device__ __forceinline__ int hidden_zero()
{
    int zero;
    asm volatile("mov.s32 %0, 0;" : "=r"(zero));
    return zero;
}

template <typename Element, bool DISTANCE, int ROWS, int QUERIES, int THREADS>
__global__ void __launch_bounds__(THREADS, 1) filter(const FilterArguments a)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    using Product = FilterProduct<Element, ROWS, QUERIES, THREADS>;
    extern __shared__ __align__(128) char filter_stages[];
    __shared__ FilterShared<ROWS, QUERIES, THREADS> shared;
    static_assert(sizeof shared <= kFilterStatic, "the launcher counts on it");
    const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp;
    const uint32_t first_query = blockIdx.x % a.panels * QUERIES;
    uint32_t tile = blockIdx.x / a.panels;
    Product product(a, shared.addresses, filter_stages, tile);
    for (int q = thread; q < QUERIES; q += THREADS)
        shared.queries[q] = query_facts<DISTANCE>(a, first_query + static_cast<uint32_t>(q), product.scale);
    if (thread < 2)
        shared.queued[thread] = 0;

    bool ended = false; /* the rows of a tile have been rounded, and their facts not yet written */
    int to_write = 0;
    auto write_facts = [&]() {
        if (!ended)
            return;
        product.write_facts(shared.rows[to_write]);
        to_write = to_write == kFacts - 1 ? 0 : to_write + 1;
    };
    product.copy(first_query, -1, 0);
    product.copy(first_query, 0, 1);
    product.copy(first_query, 1, 2);
    wait_for_groups<2>();
    product.round_rows(0);
    ended = product.advance_rounded();
    product.copy(first_query, 2, 0);
    wait_for_groups<2>();
    write_facts();
    product.round_rows(1);
    ended = product.advance_rounded();
    wait_for_groups<1>();
    __syncthreads();
    product.load_first(0, 0);

    Sums<Product::kOwn> sums;
    clear(sums);
    int at = 0, query_slot = 0, now = 0; /* of the step: rounded rows are in slot now, those of the next ones in next and after */
    int facts = 0, parity = 0;           /* of the tile, and of its queue */
    bool waiting = false;                /* the last tile's candidates are queued */
    while (tile < product.tiles) {
        const int next = now == kRowSlots - 1 ? 0 : now + 1, after = next == kRowSlots - 1 ? 0 : next + 1;
        const bool last = at + kFilterDepth >= product.depth;
        wait_for_groups<1>();
        __syncthreads();
        write_facts();
        product.find_rows();
        if (waiting) {
            empty_queue<DISTANCE, ROWS>(a, shared, shared.rows[facts == 0 ? kFacts - 1 : facts - 1], parity ^ 1, first_query,
                                        tile - product.tile_step);
            waiting = false;
        }
        product.step(sums, first_query, query_slot, now, next, after);
        query_slot = (query_slot + 1) % kQuerySlots;
        ended = product.advance_rounded();
        now = next;
        at = last ? 0 : at + kFilterDepth;
        if (!last)
            continue;
        if (product.depth == kFilterDepth)
            __syncthreads();            /* tiles of one step: the queue of the last one is empty */
        const int here = hidden_zero(); /* what follows is not worth registers during the multiplication */
        const Own own = {product.own_row + lane / 4 + here, product.own_query + lane % 4 * 2 + here,
                         first_query + static_cast<uint32_t>(here), static_cast<uint64_t>(tile) * ROWS};
        if (a.samples != nullptr) {
            write_samples<DISTANCE>(a, sums, shared.rows[facts], shared.queries, own);
        } else if (a.bounds == nullptr) {
            write_spans<DISTANCE>(a, sums, shared.rows[facts], shared.queries, own);
        } else {
            if (thread == 0)
                shared.queued[parity ^ 1] = 0;
            find_candidates<DISTANCE>(a, sums, shared, shared.rows[facts], parity, own);
            waiting = true;
        }
        facts = facts == kFacts - 1 ? 0 : facts + 1;
        parity ^= 1;
        tile += product.tile_step;
        clear(sums);
        product.load_first(query_slot, next); /* once more: meanwhile there were no registers for it */
    }
    __syncthreads();
    if (waiting)
        empty_queue<DISTANCE, ROWS>(a, shared, shared.rows[facts == 0 ? kFacts - 1 : facts - 1], parity ^ 1, first_query,
                                    tile - product.tile_step);
#else
    (void)a; /* the launcher does not choose it */
#endif
}

} // namespace eum_scoring

#endif
