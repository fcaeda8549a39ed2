/* scoring: the CPU's driver. Queries go in blocks that are prepared once, rows in tiles; the threads share the rows. What is kept beside the
 * results is bounded, whatever the number of queries and rows.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/fp_environment.h"
#include "kernels/scoring_cpu.h"

/* Prepared queries of a block: they are read again for every tile of rows, so they should stay in the cache that the cores share. */
#define PREPARED_BYTES ((size_t)8 << 20)
/* Lists of the best of a block, for each thread. */
#define LISTS_BYTES ((size_t)16 << 20)
#define MOST_QUERIES 1024u
/* Work for each piece, in bytes of targets read once: about a microsecond from cache, as the hand-over to another thread. */
#define GRAIN_BYTES ((uint64_t)128 << 10)
/* Less than this in all stays on one thread: it takes about as long as waking another one (5 to 10 us). */
#define SHARED_BYTES ((uint64_t)768 << 10)
/* Rows of packed queries that are scored before another thread may go on: fewer would read the queries too often. */
#define PACKED_GRAIN 16u
#define UNITS_PER_THREAD 4u
#define MERGED_ENTRIES 1024u
#define PREPARED_ELEMENTS 8192u
#define ALIGNMENT 64u
/* Where several queries are scored against rows from memory, bytes that are prefetched ahead of those that are read. */
#define SEVERAL_AHEAD ((size_t)32 << 10)
#define LINE_BYTES ((uint64_t)64) /* of a cache */
/* No cache that one process gets has more of them than this. */
#define TURNED_BYTES ((uint64_t)64 << 20)
/* On the stack of the caller: what one query of 2,000 elements, or the best of a few, need. */
#define BESIDE_BYTES ((size_t)12 << 10)

/* ------------------------------------------------------------------------------------------------------- state ----- */

/* The lists of one thread, on lines of their own. Which thread has which piece does not matter: what is kept does not depend on the order of the
 * entries. */
typedef struct lists {
    _Alignas(ALIGNMENT) atomic_bool taken;
    bool used;            /* in this block; what follows is not set before */
    eum_best_list *lists; /* one a query of the block */
    eum_best *entries;    /* of all lists */
    float *thresholds;    /* one a query, +-infinity beyond the queries, so that nothing enters there */
} lists;

typedef struct block {
    const eum_scoring_args *args;
    const eum_scoring_ops *ops;
    bool packed, smaller, backwards;
    bool normed;         /* args->norms are known: from before, or from the first block */
    uint64_t first;      /* query of the block */
    unsigned count;      /* queries */
    unsigned panel;      /* queries of a whole panel */
    unsigned most;       /* queries of the largest block */
    unsigned groups;     /* that the panels are in, where the rows are too few for the threads; else 1 */
    size_t value_stride; /* floats */
    eum_prepared *queries;
    float *values;
    lists *lists; /* `threads` of them and what they point to, NULL without indices */
    uint32_t threads;
    char *beside; /* BESIDE_BYTES, aligned; the first `room` of them are free */
    size_t room;
} block;

static unsigned round_up(unsigned n, unsigned to)
{
    return (n + to - 1) / to * to;
}

/* Of a thread's lists: whole panels may be read from any query on. */
static unsigned thresholds_of(const block *b)
{
    return round_up(b->most, EUM_TILE_QUERIES) + EUM_TILE_QUERIES;
}

static const eum_scoring_ops *ops_of(eum_cpu_isa isa)
{
    if (!eum_cpu_isa_usable(isa))
        return &eum_scoring_scalar;
    switch (isa) {
#if defined(__x86_64__)
    case EUM_CPU_AVX2:
        return &eum_scoring_avx2;
    case EUM_CPU_AVX512:
        return &eum_scoring_avx512;
#elif defined(__aarch64__)
    case EUM_CPU_NEON:
        return &eum_scoring_neon;
#endif
    default:
        return &eum_scoring_scalar;
    }
}

/* ----------------------------------------------------------------------------------------------------- prepare ----- */

/* With the largest magnitude inside 2^-20..2^20 nothing needs scaling: see cosine_cpu.h. Where the sum of squares alone says so, nobody looks for it (768
 * elements: 1 us). */
static float scale_of(const float *query, uint64_t dim, double squares)
{
    const double most = ldexp(1.0, 2 * EUM_QUERY_UNSCALED_EXPONENT - 1);
    if (squares < most && squares * most > (double)dim)
        return 1.0f;
    float largest = 0.0f;
    for (uint64_t k = 0; k < dim; k++)
        largest = fabsf(query[k]) > largest ? fabsf(query[k]) : largest;
    if (!(largest > 0.0f))
        return 1.0f;
    int exponent = ilogbf(largest);
    if (exponent >= -EUM_QUERY_UNSCALED_EXPONENT && exponent < EUM_QUERY_UNSCALED_EXPONENT)
        return 1.0f;
    exponent = exponent < -126 ? -126 : exponent > 126 ? 126 : exponent; /* keeps the scale a normal float32 */
    return ldexpf(1.0f, -exponent);
}

/* Prepares queries [begin, end) of the block. */
static __attribute__((noinline)) void prepare_queries(block *b, uint64_t begin, uint64_t end)
{
    const eum_scoring_args *args = b->args;
    for (uint64_t q = begin; q < end; q++) {
        const float *given = (const float *)(const void *)((const char *)args->queries + (b->first + q) * args->query_stride);
        eum_prepared *prepared = &b->queries[q];
        double squares = eum_squares_exact(EUM_ELEMENT_FLOAT32, given, args->dim);
        *prepared = (eum_prepared){.given = given, .scale = 1.0f, .nonfinite = !isfinite(squares)};
        if (args->metric == EUM_METRIC_COSINE && !prepared->nonfinite && squares > 0.0) {
            prepared->norm = sqrt(squares);
            prepared->scale = scale_of(given, args->dim, squares);
            prepared->inverse = (float)(1.0 / (prepared->norm * (double)prepared->scale));
        }
        /* Where its values go: a place of its own, or a lane of its panel. One that is not finite stays 0 and gets its NaN at the end. */
        unsigned panel = (unsigned)q / b->panel * b->panel, left = b->count - panel < b->panel ? b->count - panel : b->panel;
        size_t step = b->packed ? round_up(left, b->ops->lanes) : 1;
        float *values = b->packed ? b->values + panel * b->value_stride + (q - panel) : b->values + q * b->value_stride;
        for (uint64_t k = 0; k < args->dim; k++)
            values[k * step] = prepared->nonfinite ? 0.0f : given[k] * prepared->scale;
    }
}

static void prepare_piece(void *arg, uint64_t begin, uint64_t end)
{
    fp_environment callers = fp_enter();
    prepare_queries(arg, begin, end);
    fp_leave(callers);
}

/* ------------------------------------------------------------------------------------------------------- tiles ----- */

static void set_rows(eum_tile *tile, const eum_scoring_args *args, uint64_t row, unsigned count)
{
    const char *targets = args->targets, *first = targets + row * args->row_stride;
    tile->count = count;
    tile->first = NULL;
    if (args->numbers == NULL && args->query_count == 1 && count == EUM_TILE_ROWS) {
        tile->first = first;
        tile->stride = args->row_stride;
        return;
    }
    if (args->numbers == NULL)
        for (unsigned r = 0; r < count; r++)
            tile->rows[r] = first + r * args->row_stride;
    else
        for (unsigned r = 0; r < count; r++)
            tile->rows[r] = targets + (uint64_t)args->numbers[row + r] * args->row_stride;
    for (unsigned r = count; r < round_up(count, 16); r++)
        tile->rows[r] = tile->rows[count - 1];
}

/* Points the tile at a panel of the block. */
static void set_panel(eum_tile *tile, const block *b, unsigned panel)
{
    unsigned left = b->count - panel;
    tile->queries = b->queries + panel;
    tile->query_count = left < b->panel ? left : b->panel;
    tile->values = b->values + panel * b->value_stride;
    tile->width = round_up(tile->query_count, b->ops->lanes);
}

/* The rows' inverse norms, if somebody has them. */
static void take_norms(eum_tile *tile, const block *b, uint64_t row)
{
    tile->normed = b->normed;
    if (tile->normed)
        memcpy(tile->inverses, b->args->norms + row, tile->count * sizeof *tile->inverses);
}

/* For the next time. Of threads that have the same rows, one does it. */
static void give_norms(const eum_tile *tile, const block *b, uint64_t row, unsigned panel)
{
    if (b->args->norms != NULL && !b->normed && panel == 0)
        memcpy(b->args->norms + row, tile->inverses, tile->count * sizeof *tile->inverses);
}

/* Recomputes what float32 could not carry. */
static void mend(eum_tile *tile)
{
    for (unsigned q = 0; q < tile->query_count; q++) {
        for (unsigned r = 0; r < tile->count; r++) {
            float *score = eum_tile_score(tile, r, q);
            if (!(fabsf(*score) <= FLT_MAX))
                *score = eum_score_exact(tile->metric, tile->element, &tile->queries[q], eum_tile_row(tile, r), tile->dim);
        }
    }
}

static void mark_nonfinite(eum_tile *tile)
{
    for (unsigned q = 0; q < tile->query_count; q++)
        if (tile->queries[q].nonfinite)
            for (unsigned r = 0; r < tile->count; r++)
                *eum_tile_score(tile, r, q) = NAN;
}

/* Fetches the lines that the panel's scores go to, which no cache has: as many streams as queries, too many for the hardware's prefetcher (Zen 5, 1 GB,
 * two threads, 8 queries: dim 100 and 128 take 0.91 to 0.95 of the time; longer rows and more queries 0.96 to 1.02). */
static void fetch_scores(const eum_tile *tile, const block *b, uint64_t query, uint64_t row)
{
    const float *out = b->args->scores + query * b->args->rows + row;
    for (unsigned q = 0; q < tile->query_count; q++, out += b->args->rows)
        for (unsigned r = 0; r < tile->count; r += LINE_BYTES / sizeof *out)
            __builtin_prefetch(out + r, 1);
}

static void store(const eum_tile *tile, const block *b, uint64_t query, uint64_t row)
{
    float *out = b->args->scores + query * b->args->rows + row;
    if (!tile->packed) {
        for (unsigned q = 0; q < tile->query_count; q++, out += b->args->rows)
            memcpy(out, tile->scores + q * EUM_TILE_ROWS, tile->count * sizeof *out);
        return;
    }
    for (unsigned q = 0; q < tile->query_count; q++, out += b->args->rows)
        for (unsigned r = 0; r < tile->count; r++)
            out[r] = tile->scores[r * tile->width + q];
}

static void keep_few(const eum_tile *tile, const block *b, lists *mine, unsigned panel, uint64_t row)
{
    for (unsigned q = 0; q < tile->query_count; q++) {
        const float *scores = tile->scores + q * EUM_TILE_ROWS;
        float *threshold = &mine->thresholds[panel + q];
        uint64_t found = b->ops->candidates(scores, threshold, tile->count, true, b->smaller);
        for (; found != 0; found &= found - 1) {
            unsigned r = (unsigned)__builtin_ctzll(found);
            eum_best_add(&mine->lists[panel + q], threshold, b->args->k, b->smaller, (eum_best){scores[r], (int64_t)(row + r)});
        }
    }
}

/* All rows at once first: few rows have a score for a list, and the thresholds only rise. */
static void keep_packed(const eum_tile *tile, const block *b, lists *mine, unsigned panel, uint64_t row)
{
    float *thresholds = &mine->thresholds[panel];
    uint64_t rows = b->ops->candidate_rows(tile->scores, thresholds, tile->count, tile->width, b->smaller);
    for (; rows != 0; rows &= rows - 1) {
        unsigned r = (unsigned)__builtin_ctzll(rows);
        const float *scores = tile->scores + r * tile->width;
        uint64_t found = b->ops->candidates(scores, thresholds, tile->query_count, false, b->smaller);
        for (; found != 0; found &= found - 1) {
            unsigned q = (unsigned)__builtin_ctzll(found);
            eum_best_add(&mine->lists[panel + q], &thresholds[q], b->args->k, b->smaller,
                         (eum_best){scores[q], (int64_t)(row + r)});
        }
    }
}

/* Empty lists for the block. */
static void begin_lists(const block *b, lists *l)
{
    const float never = b->smaller ? -INFINITY : INFINITY;
    const size_t capacity = eum_best_capacity(b->args->k);
    for (unsigned q = 0; q < thresholds_of(b); q++)
        l->thresholds[q] = q < b->count ? NAN : never;
    for (unsigned q = 0; q < b->count; q++)
        l->lists[q] = (eum_best_list){.entries = l->entries + q * capacity};
    l->used = true;
}

static lists *take_lists(block *b)
{
    for (uint32_t i = 0;; i = (i + 1) % b->threads) { /* as many as run at once: one is free */
        if (!atomic_exchange(&b->lists[i].taken, true)) {
            if (!b->lists[i].used)
                begin_lists(b, &b->lists[i]);
            return &b->lists[i];
        }
    }
}

/* One query: rows side by side are prefetched where they have no gaps and are not in cache (cosine_cpu.h says why). Rows one after the other
 * always are, into the first cache (1,000 x 100 in the second one, Sapphire Rapids: 5.75 to 5.0 us; 1,000 x 768 by their numbers: 83 to
 * 74 us), and from memory also into the second one, further ahead than the hardware does (0.5 GB, dim 384, two threads: 0.91 to 0.96 of what
 * plain loads read; in the third cache it slows them down, 85 to 98 us for 3 MB).
 * Several queries: from memory, into the second cache, as they are read for the first of them (0.6 GB, 8 queries, two threads: dim 128, 57 to 36 ms;
 * 768, 39 to 31; from 4 KiB on the distance matters little; in the caches long rows take 5 % longer, and it is not done).
 * All this is for Intel's processors. Some of AMD's do best by themselves where one query goes through memory, and where eight do with prefetches of
 * their own (eum_cpu_following, scoring_single.h, scoring_pairs.h); for other queries and rows the same prefetches help them. */
static void set_ahead(eum_tile *tile, const block *b)
{
    const eum_scoring_args *args = b->args;
    const uint64_t page = 4096, cached = 1u << 20, row = args->dim * eum_element_bytes(args->element), rows = 16 * args->row_stride,
                   all = args->rows * args->row_stride;
    const bool dense = args->numbers == NULL && args->row_stride - row < LINE_BYTES;
    const bool followed = row >= 1024 && row <= 8192; /* by the hardware's prefetcher */
    tile->from_memory = dense && all > EUM_CACHES_BYTES;
    const eum_cpu_rows *following = eum_cpu_following();
    tile->followed = row >= following->one_from;
    tile->in_pairs = tile->from_memory && row >= following->eight_from && row < following->eight_to;
    if (b->count > 1)
        tile->ahead = tile->from_memory && !b->packed ? SEVERAL_AHEAD : 0;
    else
        tile->ahead = dense && !followed && all > cached ? (size_t)((page + rows - 1) / rows * rows) : 0;
}

/* Rows [begin, end) against queries [first, last) of the block, whole panels. */
static __attribute__((noinline)) void score_rows(block *b, eum_tile *tile, lists *mine, uint64_t begin, uint64_t end,
                                                 unsigned first, unsigned last)
{
    bool nonfinite = false;
    for (unsigned q = first; q < last; q++)
        nonfinite |= b->queries[q].nonfinite;
    const uint64_t tiles = (end - begin + EUM_TILE_ROWS - 1) / EUM_TILE_ROWS;
    for (uint64_t i = 0; i < tiles; i++) {
        const uint64_t row = begin + (b->backwards ? tiles - 1 - i : i) * EUM_TILE_ROWS;
        set_rows(tile, b->args, row, end - row < EUM_TILE_ROWS ? (unsigned)(end - row) : EUM_TILE_ROWS);
        take_norms(tile, b, row);
        if (!tile->normed)
            b->ops->norms(tile);
        for (unsigned panel = first; panel < last; panel += b->panel) {
            set_panel(tile, b, panel);
            if (mine == NULL && tile->from_memory)
                fetch_scores(tile, b, b->first + panel, row);
            if (b->ops->score(tile))
                mend(tile);
            give_norms(tile, b, row, panel);
            if (nonfinite)
                mark_nonfinite(tile);
            if (mine == NULL)
                store(tile, b, b->first + panel, row);
            else
                (tile->packed ? keep_packed : keep_few)(tile, b, mine, panel, row);
        }
    }
}

/* Tiles that several threads share: each of `groups` threads has some of the panels. */
static uint64_t units_of(const block *b)
{
    return (b->args->rows + EUM_TILE_ROWS - 1) / EUM_TILE_ROWS * b->groups;
}

/* Units one after the other are tiles against the same panels, which stay in the core's cache, and whose lists let less in with each tile. */
static void score_unit(block *b, eum_tile *tile, lists *mine, uint64_t unit)
{
    const uint64_t tiles = units_of(b) / b->groups, row = unit % tiles * EUM_TILE_ROWS, left = b->args->rows - row;
    const unsigned group = (unsigned)(unit / tiles), panels = (b->count + b->panel - 1) / b->panel;
    const unsigned first = panels * group / b->groups * b->panel, last = panels * (group + 1) / b->groups * b->panel;
    score_rows(b, tile, mine, row, row + (left < EUM_TILE_ROWS ? left : EUM_TILE_ROWS), first, last < b->count ? last : b->count);
}

/* Rows [begin, end), or such units. */
static void score_piece(void *arg, uint64_t begin, uint64_t end)
{
    block *b = arg;
    eum_tile tile;
    tile.metric = b->args->metric;
    tile.element = b->args->element;
    tile.dim = (size_t)b->args->dim;
    tile.packed = b->packed;
    tile.value_stride = b->value_stride;
    set_ahead(&tile, b);
    if (b->packed)
        memset(tile.scores, 0, sizeof tile.scores); /* lanes without a query stay 0 */
    lists *mine = b->lists != NULL ? take_lists(b) : NULL;
    fp_environment callers = fp_enter();
    if (b->groups == 1)
        score_rows(b, &tile, mine, begin, end, 0, b->count);
    else
        for (uint64_t unit = begin; unit < end; unit++)
            score_unit(b, &tile, mine, unit);
    fp_leave(callers);
    if (mine != NULL)
        atomic_store(&mine->taken, false);
}

/* ----------------------------------------------------------------------------------------------------- results ----- */

/* Brings the threads' lists of queries [begin, end) of the block together. */
static void merge(void *arg, uint64_t begin, uint64_t end)
{
    block *b = arg;
    const uint64_t k = b->args->k;
    for (uint64_t q = begin; q < end; q++) {
        eum_best_list *all = &b->lists[0].lists[q];
        float *threshold = &b->lists[0].thresholds[q];
        for (uint32_t i = 1; i < b->threads; i++)
            if (b->lists[i].used)
                eum_best_join(all, threshold, k, b->smaller, &b->lists[i].lists[q]);
        size_t count = eum_best_finish(all, k, b->smaller);
        int64_t *indices = b->args->indices + (b->first + q) * k;
        float *scores = b->args->scores + (b->first + q) * k;
        for (size_t n = 0; n < k; n++) {
            indices[n] = n < count ? all->entries[n].row : -1;
            scores[n] = n < count ? all->entries[n].score : NAN;
        }
    }
}

/* The first ones take the others in, also where there are no rows. */
static void reset_lists(block *b)
{
    for (uint32_t i = 0; b->lists != NULL && i < b->threads; i++)
        b->lists[i].used = false;
    if (b->lists != NULL)
        begin_lists(b, &b->lists[0]);
}

/* ------------------------------------------------------------------------------------------------------ memory ----- */

/* From what is beside the block as long as there is room: a small call allocates nothing. */
static void *allocate(block *b, size_t bytes)
{
    size_t whole = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (whole <= b->room) {
        b->room -= whole;
        return b->beside + b->room;
    }
    return aligned_alloc(ALIGNMENT, whole);
}

static void release(const block *b, void *memory)
{
    uintptr_t at = (uintptr_t)memory, beside = (uintptr_t)b->beside;
    if (at < beside || at >= beside + BESIDE_BYTES)
        free(memory);
}

static void free_block(block *b)
{
    release(b, b->lists);
    release(b, b->values);
    release(b, b->queries);
}

static size_t whole_lines(size_t bytes)
{
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* In one piece, which the next call finds in the heap: as many pieces as threads were given back to the system, and came as new pages. */
static bool allocate_lists(block *b)
{
    const size_t queries = whole_lines(b->most * sizeof(eum_best_list)), thresholds = whole_lines(thresholds_of(b) * sizeof(float));
    const size_t entries = whole_lines(b->most * eum_best_capacity(b->args->k) * sizeof(eum_best));
    char *at = allocate(b, b->threads * (sizeof *b->lists + queries + thresholds + entries));
    if (at == NULL)
        return false;
    b->lists = (lists *)(void *)at;
    at += b->threads * sizeof *b->lists;
    for (uint32_t i = 0; i < b->threads; i++) {
        lists *l = &b->lists[i];
        *l = (lists){.used = false};
        l->lists = (eum_best_list *)(void *)at;
        l->thresholds = (float *)(void *)(at += queries);
        l->entries = (eum_best *)(void *)(at += thresholds);
        at += entries;
    }
    return true;
}

/* Chooses the size of the blocks and allocates what they need. */
static bool allocate_block(block *b)
{
    const eum_scoring_args *args = b->args;
    uint64_t padded = (args->dim + 15) / 16 * 16, most = PREPARED_BYTES / (padded * sizeof(float));
    b->packed = b->ops->lanes > 1 && args->query_count > EUM_FEW_QUERIES;
    b->panel = b->packed ? b->ops->lanes * b->ops->most_packed : EUM_FEW_QUERIES;
    b->value_stride = b->packed ? (size_t)args->dim : (size_t)padded;
    if (args->indices != NULL) {
        uint64_t fit = LISTS_BYTES / (eum_best_capacity(args->k) * sizeof(eum_best));
        most = most < fit ? most : fit;
    }
    most = most > MOST_QUERIES ? MOST_QUERIES : most / b->panel * b->panel;
    most = most < b->panel ? b->panel : most;
    b->most = (unsigned)(most < args->query_count ? most : args->query_count);
    /* The last panel of a block is as wide as whole registers, and at most a panel. */
    size_t queries = round_up(b->most, b->panel), bytes;
    if (__builtin_mul_overflow(queries * sizeof(float), b->value_stride, &bytes) || bytes > PTRDIFF_MAX - ALIGNMENT)
        return false;
    b->queries = allocate(b, b->most * sizeof *b->queries);
    b->values = allocate(b, bytes);
    if (b->queries == NULL || b->values == NULL)
        return false;
    memset(b->values, 0, bytes);
    return args->indices == NULL || allocate_lists(b);
}

/* ---------------------------------------------------------------------------------------------------- operation ---- */

/* Queries that are prepared at once: some 10 us. Packed ones share lines. */
static uint64_t prepare_grain(const block *b)
{
    uint64_t grain = 1 + PREPARED_ELEMENTS / b->args->dim;
    return b->packed ? (grain + b->ops->lanes - 1) / b->ops->lanes * b->ops->lanes : grain;
}

static uint64_t grain_of(const block *b)
{
    uint64_t work = b->args->dim * sizeof(float) * (1 + b->count / 8); /* eight queries cost about what reading the row does */
    uint64_t grain = GRAIN_BYTES / work;
    if (b->args->rows < SHARED_BYTES / work)
        return b->args->rows;
    if (b->packed && grain < PACKED_GRAIN)
        return PACKED_GRAIN;
    return grain < 1 ? 1 : grain > EUM_TILE_ROWS ? grain / EUM_TILE_ROWS * EUM_TILE_ROWS : grain;
}

/* How many groups of panels make enough pieces for all threads: with few rows in each, a thread would read all queries for them. */
static unsigned groups_of(const block *b)
{
    uint64_t tiles = (b->args->rows + EUM_TILE_ROWS - 1) / EUM_TILE_ROWS, wanted = (uint64_t)b->threads * UNITS_PER_THREAD;
    unsigned panels = (b->count + b->panel - 1) / b->panel;
    if (!b->packed || b->threads == 1 || tiles == 0 || tiles >= wanted || grain_of(b) >= b->args->rows)
        return 1;
    uint64_t groups = (wanted + tiles - 1) / tiles;
    unsigned each = groups >= panels ? 1 : (unsigned)((panels + groups - 1) / groups); /* panels of the largest */
    return (panels + each - 1) / each;
}

/* Queries whose lists are brought together at once: some microseconds. */
static uint64_t merge_grain(const block *b)
{
    return 1 + MERGED_ENTRIES / (b->threads * b->args->k);
}

/* Whoever scores the same targets again begins where he ended: that is what the caches still have of targets that do not fit (768 elements, 3 MB, one
 * thread with 2 MB of second-level cache: 107 to 75 us). Tiles change places, and nothing else; with several threads, within
 * the share of each (1,536 elements, 6 MB, two threads: 128 to 91 us). */
static bool turn_round(const eum_scoring_args *args)
{
    static _Thread_local struct {
        const void *targets;
        uint64_t rows;
        bool backwards;
    } last;
    last.backwards = last.targets == args->targets && last.rows == args->rows && !last.backwards &&
                     args->rows <= TURNED_BYTES / args->row_stride;
    last.targets = args->targets;
    last.rows = args->rows;
    return last.backwards;
}

int32_t eum_scoring_cpu(const eum_scoring_args *args, eum_cpu_isa isa, eum_scoring_loop loop, void *pool, uint32_t threads)
{
    if (args->query_count == 0 || (args->rows == 0 && args->indices == NULL))
        return 0;
    char beside[BESIDE_BYTES] __attribute__((aligned(ALIGNMENT)));
    block b = {.beside = beside,
               .room = sizeof beside,
               .args = args,
               .ops = ops_of(isa),
               .smaller = args->metric == EUM_METRIC_L2_SQUARED,
               .threads = threads,
               .backwards = turn_round(args)};
    int32_t result = ENOMEM;
    if (allocate_block(&b)) {
        result = 0;
        for (b.first = 0; b.first < args->query_count; b.first += b.count) {
            uint64_t left = args->query_count - b.first;
            if (b.packed && left < b.most) /* lanes without a query must be 0 */
                memset(b.values, 0, round_up((unsigned)left, b.panel) * b.value_stride * sizeof(float));
            b.count = left < b.most ? (unsigned)left : b.most;
            loop(pool, b.count, prepare_grain(&b), false, prepare_piece, &b);
            reset_lists(&b);
            b.groups = groups_of(&b);
            b.normed = args->norms_known || (args->norms != NULL && b.first > 0);
            if (args->rows > 0)
                loop(pool, b.groups > 1 ? units_of(&b) : args->rows, b.groups > 1 ? 1 : grain_of(&b), b.backwards, score_piece, &b);
            if (args->indices != NULL)
                loop(pool, b.count, merge_grain(&b), false, merge, &b);
        }
    }
    free_block(&b);
    return result;
}
