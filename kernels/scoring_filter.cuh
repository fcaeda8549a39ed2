/* scoring_filter: the best rows of many queries, first pass: scores in float16 on the tensor cores, each with a bound on its error.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Both sides are scaled by powers of two and rounded to float16; a row that could be among the best k, by the bounds
 * (scoring_filter_bounds.cuh), becomes a candidate of the query. The second pass (scoring_rerank.cuh) scores the candidates as the
 * exact path does.
 *
 * A block has a panel of queries and every so-many-th tile of the rows. Both sides pass through shared memory in steps of
 * kFilterDepth elements: queries rounded beforehand, rows as they are, rounded one step before they are multiplied. A warp multiplies 64
 * rows with 32 or 64 queries. What reaches the threshold is queued in shared memory and added to the candidates during the next tile. */
#ifndef EUM_SCORING_FILTER_CUH
#define EUM_SCORING_FILTER_CUH

#include "kernels/scoring_filter_bounds.cuh"
#include "kernels/scoring_product.cuh"

namespace eum_scoring
{

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
__device__ __forceinline__ void load_matrices(uint32_t (&to)[4], unsigned address)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address)
                 : "memory");
}

__device__ __forceinline__ void multiply_halves(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
#endif

/* Where 8 bytes (four elements, part of 8) of a row of 32 halves are, in bytes: the four 16-byte chunks of a row are swapped so that
 * the same chunk of eight neighbouring rows falls into different banks. */
__device__ __forceinline__ int half_place(int row, int part)
{
    return row * 64 + ((part >> 1 ^ (row >> 1 & 3)) << 4 | (part & 1) << 3);
}

/* Four elements as they are in memory. */
template <typename Element> struct Four {
    uint2 bits;
    static __device__ __forceinline__ Four read(const Element *from)
    {
        return {__ldg(reinterpret_cast<const uint2 *>(from))};
    }
    __device__ __forceinline__ float4 wide() const
    {
        return widen_chunk<Element>(bits);
    }
    __device__ __forceinline__ bool nonzero() const
    {
        return ((bits.x | bits.y) & 0x7fff7fffu) != 0;
    }
};
template <> struct Four<float> {
    float4 four;
    static __device__ __forceinline__ Four read(const float *from)
    {
        return {__ldg(reinterpret_cast<const float4 *>(from))};
    }
    __device__ __forceinline__ float4 wide() const
    {
        return four;
    }
    __device__ __forceinline__ bool nonzero() const
    {
        return (static_cast<uint32_t>(__float_as_int(four.x) | __float_as_int(four.y) | __float_as_int(four.z) |
                                      __float_as_int(four.w)) &
                0x7fffffffu) != 0;
    }
};

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
/* Copies BYTES bytes to shared memory in the background, or zeros. */
template <int BYTES> __device__ __forceinline__ void copy_or_clear(unsigned to, const void *from, bool there)
{
    if constexpr (BYTES == 16)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(there ? 16 : 0) : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(to), "l"(from), "r"(there ? 8 : 0) : "memory");
}
#endif

/* A score on its way to the candidates. */
struct Queued {
    float sum;
    uint32_t place; /* row << 16 | query, in the tile */
};

template <int ROWS, int QUERIES> struct FilterShared {
    const char *addresses[ROWS];
    RowFacts rows[2][ROWS]; /* of this tile and the last one, whose scores may still be queued */
    QueryFacts queries[QUERIES];
    Queued queue[kFilterThreads]; /* a place a thread */
    int queued[2];
};

/* A warp has 64 rows and kOwn * 8 queries of a tile; a thread's 8 x 2 kOwn sums are of rows row + 8 i and queries
 * query + j / 2 * 8 + j % 2. */
constexpr int kOwn = 2048 / kFilterThreads;
using Sums = float[4][kOwn][4];

struct Own {
    int row, query;
    uint32_t first_query;
    uint64_t first_row; /* of the tile */
};
__device__ __forceinline__ int query_of(const Own &own, int j)
{
    return own.query + j / 2 * 8 + j % 2;
}
__device__ __forceinline__ float sum_of(const Sums &sums, int i, int j)
{
    return sums[i / 2][j / 2][i % 2 * 2 + j % 2];
}

/* The best lower bound of each 32 rows, for the threshold. */
template <bool DISTANCE, int ROWS>
__device__ __forceinline__ void write_samples(const FilterArguments &a, const Sums &sums, const RowFacts *rows,
                                              const QueryFacts *queries, const Own &own)
{
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
    for (int j = 0; j < 2 * kOwn; j++) {
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
template <bool DISTANCE>
__device__ __forceinline__ void write_spans(const FilterArguments &a, const Sums &sums, const RowFacts *rows,
                                            const QueryFacts *queries, const Own &own)
{
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const RowFacts row = rows[own.row + 8 * i];
        const uint64_t number = own.first_row + static_cast<uint64_t>(own.row + 8 * i);
#pragma unroll
        for (int j = 0; j < 2 * kOwn; j++) {
            const uint64_t q = own.first_query + static_cast<uint64_t>(query_of(own, j));
            float2 span;
            (void)bounds_of<DISTANCE>(sum_of(sums, i, j), row, queries[query_of(own, j)], &span);
            if (number < a.rows && q < a.query_count)
                a.spans[q * a.capacity + number] = span;
        }
    }
}

template <bool DISTANCE, typename Shared>
__device__ __forceinline__ void add_candidate(const FilterArguments &a, Shared &shared, int parity, Queued entry, const Own &own)
{
    const int r = static_cast<int>(entry.place >> 16), query = static_cast<int>(entry.place & 0xffffu);
    const uint64_t number = own.first_row + static_cast<uint64_t>(r), q = own.first_query + static_cast<uint64_t>(query);
    float2 span;
    if (number >= a.rows || q >= a.query_count ||
        !bounds_of<DISTANCE>(entry.sum, shared.rows[parity][r], shared.queries[query], &span))
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
__device__ __forceinline__ void empty_queue(const FilterArguments &a, Shared &shared, int parity, uint32_t first_query,
                                            uint32_t tile)
{
    const int thread = static_cast<int>(threadIdx.x);
    if (thread < shared.queued[parity])
        add_candidate<DISTANCE>(a, shared, parity, shared.queue[thread], {0, 0, first_query, static_cast<uint64_t>(tile) * ROWS});
}

/* Queues those of a thread's scores that reach the threshold; at once, where the queue is full. */
template <bool DISTANCE, typename Shared>
__device__ __forceinline__ void find_candidates(const FilterArguments &a, const Sums &sums, Shared &shared, int parity,
                                                const Own &own)
{
    RowFacts rows[8];
    uint64_t late[kOwn / 4] = {};
#pragma unroll
    for (int i = 0; i < 8; i++)
        rows[i] = shared.rows[parity][own.row + 8 * i];
#pragma unroll
    for (int j = 0; j < 2 * kOwn; j++) {
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
            if (place < kFilterThreads)
                shared.queue[place] = {sum_of(sums, i, j), static_cast<uint32_t>((own.row + 8 * i) << 16 | query_of(own, j))};
            else
                late[j / 8] |= 1ull << (j % 8 * 8 + i);
        }
    }
    volatile float held[16 * kOwn]; /* in local memory, where one can count through them */
    bool any = false;
#pragma unroll
    for (int n = 0; n < kOwn / 4; n++)
        any |= late[n] != 0;
    if (!any)
        return;
#pragma unroll
    for (int n = 0; n < 16 * kOwn; n++)
        held[n] = sum_of(sums, n % 8, n / 8);
#pragma unroll
    for (int word = 0; word < kOwn / 4; word++) {
        for (; late[word] != 0; late[word] &= late[word] - 1) {
            const int n = __ffsll(static_cast<long long>(late[word])) - 1 + word * 64;
            add_candidate<DISTANCE>(a, shared, parity,
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

/* Steps in shared memory: kAhead are on their way, and the queries of one more are in use. Rows are rounded one step before they are
 * multiplied, each part by the thread that has copied it. */
constexpr int kAhead = kFilterSlots - 1;

template <typename Element, int ROWS, int QUERIES> struct FilterLayout {
    static constexpr int kQueryBytes = QUERIES * 64, kRowBytes = ROWS * 64,
                         kRawBytes = ROWS * kFilterDepth * static_cast<int>(sizeof(Element));
    static constexpr int kRows = kFilterSlots * kQueryBytes, kRaw = kRows + 2 * kRowBytes;
};

template <typename Element, bool DISTANCE, int ROWS, int QUERIES>
__global__ void __launch_bounds__(kFilterThreads, 1) filter(const FilterArguments a)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    using Layout = FilterLayout<Element, ROWS, QUERIES>;
    constexpr int kEach = ROWS * 8 / kFilterThreads, kEachQuery = QUERIES * 4 / kFilterThreads,
                  kFour = 4 * static_cast<int>(sizeof(Element));
    extern __shared__ __align__(128) char filter_stages[];
    __shared__ FilterShared<ROWS, QUERIES> shared;
    static_assert(sizeof shared <= kFilterStatic, "the launcher counts on it");
    const unsigned stages = static_cast<unsigned>(__cvta_generic_to_shared(filter_stages));
    const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp, part = thread % 8;
    const int dim = static_cast<int>(a.dim), depth = static_cast<int>(a.depth);
    const uint32_t tiles = static_cast<uint32_t>((a.sampled + ROWS - 1) / ROWS), first_query = blockIdx.x % a.panels * QUERIES,
                   step = gridDim.x / a.panels;
    const float scale = row_scale(a.maxima);
    const int own_row = warp % (ROWS / 64) * 64, own_query = warp / (ROWS / 64) * (kOwn * 8);
    for (int q = thread; q < QUERIES; q += kFilterThreads)
        shared.queries[q] = query_facts<DISTANCE>(a, first_query + static_cast<uint32_t>(q), scale);
    if (thread < 2)
        shared.queued[thread] = 0;

    float squares[kEach];
    Sums sums;
    unsigned nonzero = 0;                 /* a bit a row */
    auto find_rows = [&](uint32_t tile) { /* beyond the last, the last once more */
                                          __syncwarp();
                                          if (part < kEach) {
                                              const int r = thread / 8 + part * (kFilterThreads / 8);
                                              const uint64_t at = static_cast<uint64_t>(tile) * ROWS + static_cast<uint64_t>(r),
                                                             inside = at < a.sampled ? at : a.sampled - 1;
                                              const uint64_t row = a.samples != nullptr ? inside * a.rows / a.sampled : inside;
                                              const uint64_t number =
                                                  a.numbers != nullptr ? static_cast<uint64_t>(__ldg(a.numbers + row)) : row;
                                              shared.addresses[r] = a.targets + number * a.row_stride;
                                          }
                                          __syncwarp();
    };
    /* The next step's elements, of whichever tile. */
    uint32_t copied_tile = blockIdx.x / a.panels;
    int copied_at = 0, copied_slot = 0;
    auto copy_next = [&]() {
        if (copied_tile < tiles) {
            if (copied_at == 0)
                find_rows(copied_tile);
            const char *from =
                reinterpret_cast<const char *>(a.halves + (first_query + static_cast<uint64_t>(thread / 4)) * a.depth) +
                (copied_at + thread % 4 * 8) * 2;
            const unsigned to =
                stages + static_cast<unsigned>(copied_slot * Layout::kQueryBytes + half_place(thread / 4, thread % 4 * 2));
#pragma unroll
            for (int n = 0; n < kEachQuery; n++) /* a multiple of 8 queries on: the same place */
                copy_or_clear<16>(to + static_cast<unsigned>(n * kFilterThreads * 16),
                                  from + static_cast<uint64_t>(n * (kFilterThreads / 2)) * a.depth, true);
            const unsigned raw = stages + static_cast<unsigned>(Layout::kRaw + copied_slot * Layout::kRawBytes + thread * kFour);
            const bool there = copied_at + part * 4 < dim;
            const char *rows[kEach];
#pragma unroll
            for (int n = 0; n < kEach; n++)
                rows[n] = shared.addresses[thread / 8 + n * (kFilterThreads / 8)] +
                          (there ? (copied_at + part * 4) * static_cast<int>(sizeof(Element)) : 0);
#pragma unroll
            for (int n = 0; n < kEach; n++)
                copy_or_clear<kFour>(raw + static_cast<unsigned>(n * kFilterThreads * kFour), rows[n], there);
            copied_at += kFilterDepth;
            if (copied_at >= depth) {
                copied_at = 0;
                copied_tile += step;
            }
        }
        copied_slot = (copied_slot + 1) % kFilterSlots;
        asm volatile("cp.async.commit_group;" ::: "memory");
    };
    auto round_rows = [&](int slot) {
        const char *raw = filter_stages + Layout::kRaw + slot * Layout::kRawBytes + thread * kFour;
        char *const to = filter_stages + Layout::kRows + slot % 2 * Layout::kRowBytes + half_place(thread / 8, part);
        Four<Element> fours[kEach];
#pragma unroll
        for (int n = 0; n < kEach; n++)
            fours[n] = *reinterpret_cast<const Four<Element> *>(raw + n * kFilterThreads * kFour);
#pragma unroll
        for (int n = 0; n < kEach; n++) { /* a multiple of 8 rows on: the same place */
            const Four<Element> four = fours[n];
            const float4 x = four.wide(), y = make_float4(x.x * scale, x.y * scale, x.z * scale, x.w * scale);
            nonzero |= four.nonzero() ? 1u << n : 0u;
            squares[n] += fmaf(y.w, y.w, fmaf(y.z, y.z, fmaf(y.y, y.y, y.x * y.x)));
            const __half2 halves[2] = {__floats2half2_rn(y.x, y.y), __floats2half2_rn(y.z, y.w)};
            uint2 both;
            memcpy(&both, halves, sizeof both);
            *reinterpret_cast<uint2 *>(to + n * kFilterThreads * 8) = both;
        }
    };
    /* A row's parts are in eight neighbouring lanes. */
    auto write_facts = [&](int parity) {
        const bool cosine = a.metric == EUM_METRIC_COSINE;
#pragma unroll
        for (int distance = 1; distance < 8; distance *= 2)
            nonzero |= __shfl_xor_sync(kAllLanes, nonzero, distance);
#pragma unroll
        for (int n = 0; n < kEach; n++) {
            float square = squares[n];
#pragma unroll
            for (int distance = 1; distance < 8; distance *= 2)
                square += __shfl_xor_sync(kAllLanes, square, distance);
            const bool zero = (nonzero >> n & 1u) == 0;
            const float norm = sqrtf(square), factor = !cosine ? 1.0f : zero ? 0.0f : 1.0f / norm;
            RowFacts facts = {factor, (norm + 0.126f * rsqrtf(static_cast<float>(dim))) * factor, square};
            if (!(norm <= kMostNorm) || (cosine && !zero && square < 0x1p-60f))
                facts.factor = not_a_number();
            if (part == 0)
                shared.rows[parity][thread / 8 + n * (kFilterThreads / 8)] = facts;
            squares[n] = 0.0f;
        }
        nonzero = 0;
    };
    const unsigned row_place = stages + static_cast<unsigned>(Layout::kRows + half_place(own_row + lane % 16, lane / 16 * 2)),
                   query_place = stages + static_cast<unsigned>(half_place(own_query + lane / 16 * 8 + lane % 8, lane / 8 % 2 * 2));
    auto multiply = [&](int slot) {
        const unsigned row_at = static_cast<unsigned>(slot % 2 * Layout::kRowBytes),
                       query_at = static_cast<unsigned>(slot * Layout::kQueryBytes);
#pragma unroll
        for (unsigned half = 0; half < 64; half += 32) { /* 16 elements on: the other two chunks */
            uint32_t b[kOwn / 2][4];
#pragma unroll
            for (int n = 0; n < kOwn / 2; n++)
                load_matrices(b[n], (query_place ^ half) + query_at + static_cast<unsigned>(n * 16 * 64));
#pragma unroll
            for (int m = 0; m < 4; m++) {
                uint32_t x[4];
                load_matrices(x, (row_place ^ half) + row_at + static_cast<unsigned>(m * 16 * 64));
#pragma unroll
                for (int n = 0; n < kOwn; n++)
                    multiply_halves(sums[m][n], x, b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]);
            }
        }
    };
    auto clear = [&]() {
#pragma unroll
        for (int n = 0; n < 16 * kOwn; n++)
            sums[n / (4 * kOwn)][n / 4 % kOwn][n % 4] = 0.0f;
    };
#pragma unroll
    for (int n = 0; n < kEach; n++)
        squares[n] = 0.0f;
    clear();
    for (int n = 0; n < kAhead; n++)
        copy_next();
    asm volatile("cp.async.wait_group %0;" ::"n"(kAhead - 1) : "memory");
    uint32_t tile = blockIdx.x / a.panels;
    if (tile < tiles)
        round_rows(0);
    int slot = 0, parity = 0;
    bool waiting = false; /* the last tile's candidates are queued */
    for (int at = 0; tile < tiles;) {
        const bool last = at + kFilterDepth >= depth;
        at = last ? 0 : at + kFilterDepth;
        asm volatile("cp.async.wait_group %0;" ::"n"(kAhead - 2) : "memory");
        __syncthreads();
        if (last)
            write_facts(parity);
        copy_next();
        if (!last || tile + step < tiles)
            round_rows((slot + 1) % kFilterSlots);
        if (waiting) {
            empty_queue<DISTANCE, ROWS>(a, shared, parity ^ 1, first_query, tile - step);
            waiting = false;
        }
        multiply(slot);
        slot = (slot + 1) % kFilterSlots;
        if (!last)
            continue;
        __syncthreads();                /* the rows' facts are there, the queue is empty */
        const int here = hidden_zero(); /* what follows is not worth registers during the multiplication */
        const Own own = {own_row + lane / 4 + here, own_query + lane % 4 * 2 + here, first_query + static_cast<uint32_t>(here),
                         static_cast<uint64_t>(tile) * ROWS};
        if (a.samples != nullptr) {
            write_samples<DISTANCE, ROWS>(a, sums, shared.rows[parity], shared.queries, own);
        } else if (a.bounds == nullptr) {
            write_spans<DISTANCE>(a, sums, shared.rows[parity], shared.queries, own);
        } else {
            if (thread == 0)
                shared.queued[parity ^ 1] = 0;
            find_candidates<DISTANCE>(a, sums, shared, parity, own);
            waiting = true;
        }
        parity ^= 1;
        tile += step;
        clear();
    }
    __syncthreads();
    if (waiting)
        empty_queue<DISTANCE, ROWS>(a, shared, parity ^ 1, first_query, tile - step);
#else
    (void)a; /* the launcher does not choose it */
#endif
}

} // namespace eum_scoring

#endif
