/* scoring_lists: the best rows of a selection, in lists that fill up and are settled.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * An entry is one number: the rank in front, the row's place in its slice behind. So the order is total, and what is kept
 * depends neither on the order in which entries come nor on which warp was first. A list has `kept` sorted entries, k rounded up
 * to a power of two, and behind them `fresh` places for new ones. An entry enters if it is before the threshold, the k-th of
 * those kept. When no place is left the list is settled: the new entries are sorted and merged with those kept. Whoever finds no
 * place keeps the entry and offers it again afterwards. */
#ifndef EUM_SCORING_LISTS_CUH
#define EUM_SCORING_LISTS_CUH

#include "kernels/scoring_cuda.cuh"

namespace eum_scoring
{

constexpr uint64_t kNothing = UINT64_MAX;

template <int THREADS> __device__ __forceinline__ void synchronize()
{
    if (THREADS == kWarp)
        __syncwarp();
    else
        __syncthreads();
}

template <int THREADS> __device__ __forceinline__ void compare_exchange(uint64_t *entries, int size, int span, int step, int thread)
{
    synchronize<THREADS>();
    for (int i = thread; i < size / 2; i += THREADS) {
        const int low = 2 * i - (i & (step - 1)), high = low + step;
        const uint64_t a = entries[low], b = entries[high];
        if ((a > b) == ((low & span) == 0)) {
            entries[low] = b;
            entries[high] = a;
        }
    }
}

/* One list's state in shared memory. */
struct ListState {
    uint64_t threshold; /* kNothing: fewer than k have been kept */
    int count;          /* new entries; more than there are places for where some found none */
};

/* Settles `kept` sorted entries and `count` new ones behind them, by THREADS threads: a warp or the block. Begins and ends with
 * a barrier. */
template <int THREADS> __device__ __forceinline__ void settle(uint64_t *list, int kept, int count, int thread)
{
    uint64_t *fresh = list + kept;
    int size = 2;
    while (size < count)
        size *= 2;
    for (int i = count + thread; i < size; i += THREADS)
        fresh[i] = kNothing;
    for (int span = 2; span <= size; span *= 2)
        for (int step = span / 2; step > 0; step /= 2)
            compare_exchange<THREADS>(fresh, size, span, step, thread);
    synchronize<THREADS>();
    for (int i = thread; i < kept; i += THREADS) { /* the best of both, rising and then falling, or the other way round */
        const int other = kept - 1 - i;
        if (other < size && fresh[other] < list[i])
            list[i] = fresh[other];
    }
    for (int step = kept / 2; step > 0; step /= 2)
        compare_exchange<THREADS>(list, kept, kept, step, thread);
    synchronize<THREADS>();
}

/* By the whole block, before anything is offered. A barrier must follow. */
__device__ __forceinline__ void empty_lists(uint64_t *entries, ListState *states, int lists, int kept, int fresh)
{
    for (int i = static_cast<int>(threadIdx.x); i < lists * kept; i += kThreads)
        entries[i / kept * (kept + fresh) + i % kept] = kNothing;
    if (static_cast<int>(threadIdx.x) < lists)
        states[threadIdx.x] = {kNothing, 0};
}

/* Returns whether the entry must be offered again. */
__device__ __forceinline__ bool offer(uint64_t *list, ListState *state, int kept, int fresh, uint64_t entry)
{
    if (entry >= state->threshold)
        return false;
    const int place = atomicAdd(&state->count, 1);
    if (place >= fresh)
        return true;
    list[kept + place] = entry;
    return false;
}

/* Settles the lists that have new entries, by the whole block. Begins and ends with a barrier. */
__device__ __forceinline__ void settle_lists(uint64_t *entries, ListState *states, int lists, int kept, int fresh, int k)
{
    for (int n = 0; n < lists; n++) {
        uint64_t *list = entries + n * (kept + fresh);
        __syncthreads();
        const int count = min(states[n].count, fresh);
        if (count == 0)
            continue; /* for all threads */
        settle<kThreads>(list, kept, count, static_cast<int>(threadIdx.x));
        if (threadIdx.x == 0)
            states[n] = {min(states[n].threshold, list[k - 1]), 0};
    }
    __syncthreads();
}

/* ------------------------------------------------------------------------------------------------- the merge -------- */

/* What merge_lists needs in shared memory, beside a list. */
struct MergeState {
    ListState list;
    uint64_t bound;
    int full;
};

constexpr uint32_t kMostSlices = 512; /* of one query */

/* Brings the sorted lists of a query's slices together and writes its results, by the whole block. entries: a list in shared
 * memory, of at least kMostSlices entries. Equal ranks are in the order of their slices, and within one of their places: of
 * their rows. */
__device__ __forceinline__ void merge_lists(const Arguments &a, uint64_t query, uint64_t *entries, int kept, int fresh,
                                            MergeState *state)
{
    const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
    const int k = static_cast<int>(a.k), slices = static_cast<int>(a.slices);
    const bool smaller = a.metric == EUM_METRIC_L2_SQUARED;
    const uint64_t *lists = a.lists + query * a.slices * a.list_stride;
    /* Rank, slice, place: the order of the entries of all slices. */
    auto key_at = [&](int slice, int place) {
        const uint64_t entry = load_past_l1(lists + slice * a.list_stride + place);
        return entry == kNothing ? kNothing : (entry & 0xffffffff00000000u) | static_cast<uint32_t>(slice * k + place);
    };

    /* Two bounds on the k-th best of all. Of the slices' entries at one place, each of which has `place` better ones, the
     * wanted-th; and the best of the slices' k-th ones, which is what counts where the best rows are neighbours. */
    const int place = (k - 1) / slices, wanted = (k + place) / (place + 1);
    if (thread == 0)
        state->bound = kNothing;
    __syncthreads();
    for (int s = thread; s < slices; s += kThreads) {
        const uint64_t last = key_at(s, k - 1);
        entries[s] = key_at(s, place);
        if (last != kNothing)
            atomicMin(reinterpret_cast<unsigned long long *>(&state->bound), static_cast<unsigned long long>(last));
    }
    __syncthreads();
    for (int s = thread; s < slices; s += kThreads) {
        const uint64_t mine = entries[s];
        int before = 0;
        for (int other = 0; other < slices; other++)
            before += entries[other] < mine;
        if (mine != kNothing && before == wanted - 1)
            atomicMin(reinterpret_cast<unsigned long long *>(&state->bound), static_cast<unsigned long long>(mine));
    }
    __syncthreads();
    const uint64_t bound = state->bound;
    __syncthreads();
    empty_lists(entries, &state->list, 1, kept, fresh);
    if (thread == 0)
        state->full = 0;
    __syncthreads();

    /* Each warp goes through lists side by side, `width` entries of each at a time, as long as all of them are within the bound. */
    constexpr int kAtOnce = 4;
    int width = kWarp;
    while (width / 2 >= k)
        width /= 2;
    const int per_warp = kWarp / width, step = kWarps * kAtOnce * per_warp;
    int slice[kAtOnce], next[kAtOnce];
    bool waiting[kAtOnce];
    uint64_t keys[kAtOnce];
    int first = (warp * kAtOnce) * per_warp + lane / width;
    auto begin = [&]() {
#pragma unroll
        for (int n = 0; n < kAtOnce; n++) {
            slice[n] = first + n * per_warp;
            next[n] = slice[n] < slices ? 0 : k;
        }
        first += step;
    };
    begin();
#pragma unroll
    for (int n = 0; n < kAtOnce; n++)
        waiting[n] = false;
    int base = warp * kAtOnce * per_warp;
    bool more = base < slices; /* the same for all lanes of a warp */
    for (;;) {
        while (more && *static_cast<volatile int *>(&state->full) == 0) {
            bool any = false;
#pragma unroll
            for (int n = 0; n < kAtOnce; n++) {
                const int at = next[n] + lane % width;
                keys[n] = at < k ? key_at(slice[n], at) : kNothing;
            }
#pragma unroll
            for (int n = 0; n < kAtOnce; n++) {
                const bool within = keys[n] <= bound && keys[n] != kNothing;
                waiting[n] = within && offer(entries, &state->list, kept, fresh, keys[n]);
                any |= waiting[n];
                const unsigned same = width == kWarp ? kAllLanes : ((1u << width) - 1u) << (lane / width * width);
                next[n] = (__ballot_sync(kAllLanes, within) & same) == same ? next[n] + width : k;
            }
            bool left = false;
#pragma unroll
            for (int n = 0; n < kAtOnce; n++)
                left |= next[n] < k;
            if (!__any_sync(kAllLanes, left)) {
                base += step;
                more = base < slices;
                begin();
            }
            if (__any_sync(kAllLanes, any)) {
                if (lane == 0)
                    *static_cast<volatile int *>(&state->full) = 1;
                break;
            }
        }
        bool unfinished = more;
#pragma unroll
        for (int n = 0; n < kAtOnce; n++)
            unfinished |= waiting[n];
        unfinished = __syncthreads_or(unfinished);
        if (thread == 0)
            state->full = 0;
        settle_lists(entries, &state->list, 1, kept, fresh, k);
        if (!unfinished)
            break;
        bool any = false;
#pragma unroll
        for (int n = 0; n < kAtOnce; n++) {
            waiting[n] = waiting[n] && offer(entries, &state->list, kept, fresh, keys[n]);
            any |= waiting[n];
        }
        if (any)
            *static_cast<volatile int *>(&state->full) = 1;
    }

    for (int n = thread; n < k; n += kThreads) {
        const uint64_t entry = entries[n];
        const uint32_t at = static_cast<uint32_t>(entry);
        const bool there = entry != kNothing;
        const uint64_t row = there ? static_cast<uint32_t>(load_past_l1(lists + at / a.k * a.list_stride + at % a.k)) : 0;
        a.indices[query * a.k + static_cast<uint64_t>(n)] =
            there ? static_cast<int64_t>(at / a.k * a.slice_rows + row) : static_cast<int64_t>(-1);
        a.scores[query * a.k + static_cast<uint64_t>(n)] =
            there ? score_of_rank(static_cast<uint32_t>(entry >> 32), smaller) : not_a_number();
    }
}

} // namespace eum_scoring

#endif
