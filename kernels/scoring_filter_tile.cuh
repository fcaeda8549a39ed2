/* scoring_filter_tile: the filter's product: how both sides pass through shared memory and are multiplied in float16.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A step is kFilterDepth elements of a tile's rows and queries. While the tensor cores multiply step s, the same warps copy the queries
 * of s + 3 and the rows of s + 4, and round the rows of s + 2, a little of each between two groups of products, so that neither waits for
 * the other: the rows of a group are loaded behind what is to be done before it, since the compiler would put all products first. What the
 * first ones of s + 1 take is loaded into registers before the barrier in front of it. A thread rounds what it has copied itself: rows as
 * they are need no barrier. */
#ifndef EUM_SCORING_FILTER_TILE_CUH
#define EUM_SCORING_FILTER_TILE_CUH

#include "kernels/scoring_filter_bounds.cuh"

namespace eum_scoring
{

/* Where 8 bytes (four elements, part of 8) of a row of 32 halves are, in bytes: the four 16-byte chunks of a row are swapped so that
 * the same chunk of eight neighbouring rows falls into different banks. */
__device__ __forceinline__ int half_place(int row, int part)
{
    return row * 64 + ((part >> 1 ^ (row >> 1 & 3)) << 4 | (part & 1) << 3);
}

/* A warp has 64 rows and kOwn * 8 queries of a tile; a thread's 8 x 2 kOwn sums are of rows row + 8 i and queries
 * query + j / 2 * 8 + j % 2. */
template <int ROWS, int QUERIES, int THREADS> struct FilterShape {
    static constexpr int kOwn = ROWS * QUERIES / (64 * 8 * (THREADS / kWarp));
    /* Rows of which a thread copies and rounds four elements in each step, and queries of which it copies eight. */
    static constexpr int kEach = ROWS * 8 / THREADS, kEachQuery = QUERIES * 4 / THREADS;
    static constexpr int kQueryBytes = QUERIES * 64, kRowBytes = ROWS * 64, kRounded = kQuerySlots * kQueryBytes,
                         kRaw = kRounded + kRowSlots * kRowBytes;
    static_assert(kOwn % 2 == 0 && kEach % 2 == 0, "queries are loaded 16 at a time, rows rounded in two halves at least");
};
template <int OWN> using Sums = float[4][OWN][4];

template <int OWN> __device__ __forceinline__ float sum_of(const Sums<OWN> &sums, int i, int j)
{
    return sums[i / 2][j / 2][i % 2 * 2 + j % 2];
}

template <int OWN> __device__ __forceinline__ void clear(Sums<OWN> &sums)
{
#pragma unroll
    for (int n = 0; n < 16 * OWN; n++)
        sums[n / (4 * OWN)][n / 4 % OWN][n % 4] = 0.0f;
}

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
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* Copies BYTES bytes to shared memory in the background, or zeros. The memory is read 256 bytes at a time: a step takes only 64 or 128 of
 * a row, and the next ones the rest. */
template <int BYTES> __device__ __forceinline__ void copy_or_clear(unsigned to, const void *from, bool there)
{
    if constexpr (BYTES == 16)
        asm volatile("cp.async.cg.shared.global.L2::256B [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(there ? 16 : 0) : "memory");
    else
        asm volatile("cp.async.ca.shared.global.L2::256B [%0], [%1], 8, %2;" ::"r"(to), "l"(from), "r"(there ? 8 : 0) : "memory");
}

__device__ __forceinline__ void end_of_copies()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}
/* Until all but the last N groups of copies have arrived. */
template <int N> __device__ __forceinline__ void wait_for_groups()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/* A block's panel of queries against its tiles of the rows: first, first + step and so on. */
template <typename Element, int ROWS, int QUERIES, int THREADS> struct FilterProduct : FilterShape<ROWS, QUERIES, THREADS> {
    using Shape = FilterShape<ROWS, QUERIES, THREADS>;
    using Shape::kEach, Shape::kEachQuery, Shape::kOwn;
    static constexpr int kFour = 4 * static_cast<int>(sizeof(Element)), kRawBytes = ROWS * 8 * kFour;
    struct Halves { /* what 16 elements of the products take */
        uint32_t queries[kOwn / 2][4], rows[4][4];
    };

    const FilterArguments &a;
    const char **addresses; /* of a tile's rows, in shared memory */
    char *memory;
    unsigned stages;
    int thread, part, own_row, own_query, depth;
    float scale;
    uint32_t tiles, tile_step;
    /* What is copied next: elements of the queries, and of the rows of which tile. */
    int query_at, row_at;
    uint32_t row_tile;
    bool fresh_tile;
    /* Of the rows that are being rounded: four elements in each step, and so in the others. */
    int rounded_at;
    float squares[kEach];
    uint32_t any[kEach];
    static constexpr int kHeld = kEach < 4 ? kEach : 4;
    Four<Element> held[kHeld];
    const char *fetched[kHeld];
    unsigned query_place, row_place;
    Halves even, odd;

    __device__ __forceinline__ FilterProduct(const FilterArguments &arguments, const char **row_addresses, char *shared_memory,
                                             uint32_t first_tile)
        : a(arguments), addresses(row_addresses), memory(shared_memory)
    {
        const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
        stages = static_cast<unsigned>(__cvta_generic_to_shared(memory));
        thread = static_cast<int>(threadIdx.x);
        part = thread % 8;
        own_row = warp % (ROWS / 64) * 64;
        own_query = warp / (ROWS / 64) * (kOwn * 8);
        depth = static_cast<int>(a.depth);
        scale = row_scale(a.maxima);
        tiles = static_cast<uint32_t>((a.sampled + ROWS - 1) / ROWS);
        tile_step = gridDim.x / a.panels;
        query_at = row_at = rounded_at = 0;
        row_tile = first_tile;
        fresh_tile = true;
        query_place = stages + static_cast<unsigned>(half_place(own_query + lane / 16 * 8 + lane % 8, lane / 8 % 2 * 2));
        row_place = stages + static_cast<unsigned>(Shape::kRounded + half_place(own_row + lane % 16, lane / 16 * 2));
        forget_row();
    }

    __device__ __forceinline__ void forget_row()
    {
#pragma unroll
        for (int n = 0; n < kEach; n++) {
            squares[n] = 0.0f;
            any[n] = 0;
        }
    }

    __device__ __forceinline__ int row_of(int n) const
    {
        return thread / 8 + n * (THREADS / 8);
    }

    /* Looks up the next tile's rows, where copies are about to begin one. Beyond the last row, the last once more. Each thread
     * copies of rows that its neighbours have looked up. */
    __device__ __forceinline__ void find_rows()
    {
        if (!fresh_tile)
            return; /* for all threads */
        fresh_tile = false;
        __syncwarp();
        if (part < kEach) {
            const int r = row_of(part);
            const uint64_t at = static_cast<uint64_t>(row_tile) * ROWS + static_cast<uint64_t>(r),
                           inside = at < a.sampled ? at : a.sampled - 1;
            const uint64_t row = a.samples != nullptr ? inside * a.rows / a.sampled : inside;
            const uint64_t number = a.numbers != nullptr ? static_cast<uint64_t>(__ldg(a.numbers + row)) : row;
            addresses[r] = a.targets + number * a.row_stride;
        }
        __syncwarp();
    }

    __device__ __forceinline__ void copy_queries(uint32_t first_query, int slot)
    {
        const char *from = reinterpret_cast<const char *>(a.halves + static_cast<uint64_t>(query_at) * a.padded +
                                                          (first_query * kFilterDepth + static_cast<uint32_t>(thread) * 8));
        const unsigned to = stages + static_cast<unsigned>(slot * Shape::kQueryBytes + half_place(thread / 4, thread % 4 * 2));
#pragma unroll
        for (int n = 0; n < kEachQuery; n++) /* a multiple of 8 queries on: the same place */
            copy_or_clear<16>(to + static_cast<unsigned>(n * THREADS * 16), from + n * THREADS * 16, true);
        query_at = query_at + kFilterDepth >= depth ? 0 : query_at + kFilterDepth;
    }

    template <int FROM, int TO> __device__ __forceinline__ void fetch_addresses()
    {
#pragma unroll
        for (int n = FROM; n < TO; n++)
            fetched[n % kHeld] = addresses[row_of(n)];
    }
    template <int FROM, int TO> __device__ __forceinline__ void copy_rows(int slot)
    {
        const unsigned to = stages + static_cast<unsigned>(Shape::kRaw + slot * kRawBytes + thread * kFour);
        const bool there = row_at + part * 4 < static_cast<int>(a.dim);
        const int from = there ? (row_at + part * 4) * static_cast<int>(sizeof(Element)) : 0;
#pragma unroll
        for (int n = FROM; n < TO; n++)
            copy_or_clear<kFour>(to + static_cast<unsigned>(n * THREADS * kFour), fetched[n % kHeld] + from, there);
    }
    /* Behind the last tile, that one once more: nobody will read it. */
    __device__ __forceinline__ void advance_rows()
    {
        row_at += kFilterDepth;
        if (row_at >= depth) {
            row_at = 0;
            fresh_tile = row_tile + tile_step < tiles;
            row_tile += fresh_tile ? tile_step : 0;
        }
    }

    template <int FROM, int TO> __device__ __forceinline__ void fetch_raw(int slot)
    {
        const char *raw = memory + Shape::kRaw + slot * kRawBytes + thread * kFour;
#pragma unroll
        for (int n = FROM; n < TO; n++)
            held[n % kHeld] = *reinterpret_cast<const Four<Element> *>(raw + n * THREADS * kFour);
    }
    template <int FROM, int TO> __device__ __forceinline__ void round_fetched(int slot)
    {
        char *const to = memory + Shape::kRounded + slot * Shape::kRowBytes + half_place(thread / 8, part);
#pragma unroll
        for (int n = FROM; n < TO; n++) { /* a multiple of 8 rows on: the same place */
            const float4 x = held[n % kHeld].wide(), y = make_float4(x.x * scale, x.y * scale, x.z * scale, x.w * scale);
            any[n] |= held[n % kHeld].any();
            squares[n] += fmaf(y.w, y.w, fmaf(y.z, y.z, fmaf(y.y, y.y, y.x * y.x)));
            const __half2 halves[2] = {__floats2half2_rn(y.x, y.y), __floats2half2_rn(y.z, y.w)};
            uint2 both;
            memcpy(&both, halves, sizeof both);
            *reinterpret_cast<uint2 *>(to + n * THREADS * 8) = both;
        }
    }
    /* True where a tile's rows have been rounded to their end. */
    __device__ __forceinline__ bool advance_rounded()
    {
        rounded_at += kFilterDepth;
        const bool ended = rounded_at >= depth;
        rounded_at = ended ? 0 : rounded_at;
        return ended;
    }

    /* What is known of the rows that have been rounded. A row's parts are in eight neighbouring lanes. */
    __device__ __forceinline__ void write_facts(RowFacts *rows)
    {
        const bool cosine = a.metric == EUM_METRIC_COSINE;
        const float denormals = 0.126f * rsqrtf(static_cast<float>(a.dim));
#pragma unroll
        for (int n = 0; n < kEach; n++) {
            float square = squares[n];
            uint32_t some = any[n];
#pragma unroll
            for (int distance = 1; distance < 8; distance *= 2) {
                square += __shfl_xor_sync(kAllLanes, square, distance);
                some |= __shfl_xor_sync(kAllLanes, some, distance);
            }
            const bool zero = (some & ~Four<Element>::kSigns) == 0;
            const float norm = sqrtf(square), factor = !cosine ? 1.0f : zero ? 0.0f : 1.0f / norm;
            RowFacts facts = {factor, (norm + denormals) * factor, square};
            if (!(norm <= kMostNorm) || (cosine && !zero && square < 0x1p-60f))
                facts.factor = not_a_number();
            if (part == 0)
                rows[row_of(n)] = facts;
        }
        forget_row();
    }

    __device__ __forceinline__ void load_queries(Halves &to, int slot, unsigned half)
    {
        const unsigned from = (query_place ^ half * 32) + static_cast<unsigned>(slot * Shape::kQueryBytes);
#pragma unroll
        for (int n = 0; n < kOwn / 2; n++)
            load_matrices(to.queries[n], from + static_cast<unsigned>(n * 16 * 64));
    }
    __device__ __forceinline__ void load_rows(Halves &to, int slot, unsigned half, int m)
    {
        load_matrices(to.rows[m], (row_place ^ half * 32) + static_cast<unsigned>(slot * Shape::kRowBytes + m * 16 * 64));
    }
    /* What the first products of a step take. */
    __device__ __forceinline__ void load_first(int query_slot, int row_slot)
    {
        load_queries(even, query_slot, 0);
        load_rows(even, row_slot, 0, 0);
        load_rows(even, row_slot, 0, 1);
    }
    __device__ __forceinline__ void multiply_rows(Sums<kOwn> &sums, const Halves &with, int m)
    {
#pragma unroll
        for (int n = 0; n < kOwn; n++)
            multiply_halves(sums[m][n], with.rows[m], with.queries[n / 2][n % 2 * 2], with.queries[n / 2][n % 2 * 2 + 1]);
    }

    __device__ __forceinline__ void round_rows(int slot)
    {
        fetch_raw<0, kHeld>(slot);
        round_fetched<0, kHeld>(slot);
        fetch_raw<kHeld, kEach>(slot);
        round_fetched<kHeld, kEach>(slot);
    }

    /* A step's copies, before there is anything to multiply. No queries: query_slot is negative. */
    __device__ __forceinline__ void copy(uint32_t first_query, int query_slot, int row_slot)
    {
        find_rows();
        if (query_slot >= 0)
            copy_queries(first_query, query_slot);
        fetch_addresses<0, kHeld>();
        copy_rows<0, kHeld>(row_slot);
        fetch_addresses<kHeld, kEach>();
        copy_rows<kHeld, kEach>(row_slot);
        advance_rows();
        end_of_copies();
    }

    /* Multiplies a step, whose rounded rows are in slot now, and does what the next ones need. */
    __device__ __forceinline__ void step(Sums<kOwn> &sums, uint32_t first_query, int query_slot, int now, int next, int after)
    {
        fetch_raw<0, kEach / 4>(after);
        load_queries(odd, query_slot, 1);
        multiply_rows(sums, even, 0);
        fetch_raw<kEach / 4, kEach / 2>(after);
        round_fetched<0, kEach / 4>(after);
        load_rows(even, now, 0, 2);
        multiply_rows(sums, even, 1);
        fetch_raw<kEach / 2, kEach * 3 / 4>(after);
        round_fetched<kEach / 4, kEach / 2>(after);
        load_rows(even, now, 0, 3);
        multiply_rows(sums, even, 2);
        fetch_raw<kEach * 3 / 4, kEach>(after);
        round_fetched<kEach / 2, kEach * 3 / 4>(after);
        load_rows(odd, now, 1, 0);
        multiply_rows(sums, even, 3);
        round_fetched<kEach * 3 / 4, kEach>(after);
        fetch_addresses<0, kHeld>();
        load_rows(odd, now, 1, 1);
        multiply_rows(sums, odd, 0);
        copy_queries(first_query, (query_slot + kQuerySlots - 1) % kQuerySlots);
        load_rows(odd, now, 1, 2);
        multiply_rows(sums, odd, 1);
        copy_rows<0, kHeld>(next);
        fetch_addresses<kHeld, kEach>();
        load_rows(odd, now, 1, 3);
        multiply_rows(sums, odd, 2);
        copy_rows<kHeld, kEach>(next);
        advance_rows();
        end_of_copies();
        load_first((query_slot + 1) % kQuerySlots, next);
        multiply_rows(sums, odd, 3);
    }
};
#endif

} // namespace eum_scoring

#endif
