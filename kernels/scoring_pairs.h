/* scoring_pairs: eight queries against two rows at a time; a part of scoring_tile.h, which says what it takes.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * For rows from memory on a processor that follows them by itself (eum_cpu_following). What is far ahead is prefetched into the second cache, line
 * after line, and the next two rows into the first, in the order of their addresses too; each query's elements are loaded once for both rows. Zen 5,
 * 1 GB, two threads, all scores, paired: as fast as four rows side by side times 1.02 to 1.06 at 100 elements, 1.06 to 1.1 at 128, 1.12 to 1.2 at 160 and
 * 192, 1.06 to 1.25 at 1,536 and 1.04 to 1.09 at 2,048; as one row at a time (which has more of the first cache, and twice the loads of queries) times
 * 1.00 to 1.07 from 256 to 896. */

#define PAIR_QUERIES 8
#define PAIR_ROWS (REDUCED / PAIR_QUERIES) /* at a time: their sums are reduced together */
#define PAIR_FAR ((size_t)8192)            /* bytes */
#define PAIRS (REDUCED / PAIR_ROWS)
/* Elements of the longest rows that are scored whole, whose eight queries fit into the first cache; and of a part of longer ones. */
#define PAIR_WHOLE ((size_t)1024)
#define PAIR_PART ((size_t)W * 24)

/* What is done with it stays behind what was done before: the compiler would put the prefetches and the queries' loads together (1 to 2 %). */
#define here(pointer) __asm__ volatile("" : "+r"(pointer))
#define here_loaded(v) __asm__ volatile("" : "+v"(v))

/* An address that may be no object's: it is only prefetched. */
ALWAYS_INLINE const void *behind(const void *address, size_t bytes)
{
    return (const void *)((uintptr_t)address + bytes);
}

/* W elements of query i, which two rows share. */
ALWAYS_INLINE void pair_query(const float *values, int i, vec x, vec y, few_kind kind, vec *sums)
{
    vec q = v_load(values);
    here_loaded(q);
    few_step(sums + i * PAIR_ROWS, NULL, &q, x, 0, PAIR_ROWS, 1, kind);
    few_step(sums + i * PAIR_ROWS, NULL, &q, y, 1, PAIR_ROWS, 1, kind);
}

/* few_step for two rows and eight queries, with two lines of each prefetch in between. */
ALWAYS_INLINE void pair_step(const float *const *at, size_t k, vec x, vec y, few_kind kind, const char *far, const char *next,
                             vec *sums, vec *squares)
{
    const few_kind each = kind == FEW_DISTANCE ? kind : FEW_DOT;
    for (int i = 0; i < PAIR_QUERIES; i += 4, far += LINE, next += LINE) {
        here(far);
        v_prefetch_far(far);
        pair_query(at[i] + k, i, x, y, each, sums);
        pair_query(at[i + 1] + k, i + 1, x, y, each, sums);
        here(next);
        v_prefetch(next);
        pair_query(at[i + 2] + k, i + 2, x, y, each, sums);
        pair_query(at[i + 3] + k, i + 3, x, y, each, sums);
    }
    if (kind == FEW_DOT_AND_SQUARES) {
        squares[0] = v_fma(x, x, squares[0]);
        squares[1] = v_fma(y, y, squares[1]);
    }
}

/* Adds elements [start, end) of two rows against eight queries to the lanes' sums (query i's are sums[i * PAIR_ROWS] and the next) and to the rows' squares,
 * addition by addition as few_sums. Meanwhile it prefetches as many bytes from `far` and from `next` on. */
ALWAYS_INLINE void pair_part(const float *const *queries, const float *row, const float *other, size_t start, size_t end,
                             const void *from_far, const void *from_next, few_kind kind, vec *sums, vec *squares)
{
    const float *at[PAIR_QUERIES];
    const char *far = from_far, *next = from_next;
    for (int i = 0; i < PAIR_QUERIES; i++) /* addresses in registers */
        at[i] = queries[i];
    size_t k = start;
    for (; k + W <= end; k += W, far += PAIR_ROWS * LINE, next += PAIR_ROWS * LINE) {
        vec x = v_load(row + k), y = v_load(other + k);
        v_keep(x);
        v_keep(y);
        pair_step(at, k, x, y, kind, far, next, sums, squares);
    }
    if (k < end)
        pair_step(at, k, v_load_part(row + k, (unsigned)(end - k)), v_load_part(other + k, (unsigned)(end - k)), kind, far, next,
                  sums, squares);
}

/* The lanes' sums of two rows to scores, query after query. */
ALWAYS_INLINE void put_pair(eum_tile *tile, unsigned row, const vec *sums)
{
    float out[REDUCED];
    v_reduce(sums, out);
    for (unsigned i = 0; i < tile->query_count; i++)
        memcpy(tile->scores + i * EUM_TILE_ROWS + row, out + i * PAIR_ROWS, PAIR_ROWS * sizeof *out);
}

/* REDUCED rows; those that are not there are the last one again. */
ALWAYS_INLINE void pairs_whole(eum_tile *tile, unsigned begin, const float *const *at, few_kind kind, vec *squares)
{
    for (unsigned r = 0; r < REDUCED; r += PAIR_ROWS) {
        const float *row = tile->rows[begin + r], *other = tile->rows[begin + r + 1];
        vec sums[REDUCED], own[PAIR_ROWS] = {v_zero(), v_zero()};
        for (int i = 0; i < REDUCED; i++)
            sums[i] = v_zero();
        pair_part(at, row, other, 0, tile->dim, behind(row, PAIR_FAR), behind(row, PAIR_ROWS * tile->dim * sizeof *row), kind, sums,
                  own);
        put_pair(tile, begin + r, sums);
        squares[r] = own[0];
        squares[r + 1] = own[1];
    }
}

/* The same for long rows, part by part: as many elements of eight queries as leave room in the first cache. The rows stay in the second one
 * meanwhile, where the next ones are fetched to. */
ALWAYS_INLINE void pairs_in_parts(eum_tile *tile, unsigned begin, const float *const *at, few_kind kind, vec *squares)
{
    vec kept[PAIRS][REDUCED];
    const char *far = behind(tile->rows[begin], REDUCED * tile->dim * sizeof(float));
    for (unsigned r = 0; r < REDUCED; r++)
        squares[r] = v_zero();
    for (unsigned p = 0; p < PAIRS; p++)
        for (int i = 0; i < REDUCED; i++)
            kept[p][i] = v_zero();
    for (size_t start = 0; start < tile->dim; start += PAIR_PART) {
        const size_t end = tile->dim - start < PAIR_PART ? tile->dim : start + PAIR_PART,
                     half = start + (end - start) / (2 * W) * W;
        for (unsigned p = 0; p < PAIRS; p++) {
            const void *const *rows = tile->rows + begin + p * PAIR_ROWS;
            const bool last = p + 1 == PAIRS; /* then come the first rows' next part, or the first ones behind all */
            const void *const *next = last ? tile->rows + begin : rows + PAIR_ROWS;
            const size_t from = (!last ? start : end < tile->dim ? end : REDUCED * tile->dim) * sizeof(float);
            vec sums[REDUCED], own[PAIR_ROWS] = {squares[p * PAIR_ROWS], squares[p * PAIR_ROWS + 1]};
            for (int i = 0; i < REDUCED; i++)
                sums[i] = kept[p][i];
            pair_part(at, rows[0], rows[1], start, half, far, behind(next[0], from), kind, sums, own);
            far += (half - start) * PAIR_ROWS * sizeof(float);
            pair_part(at, rows[0], rows[1], half, end, far, behind(next[1], from), kind, sums, own);
            far += (end - half) * PAIR_ROWS * sizeof(float);
            for (int i = 0; i < REDUCED; i++)
                kept[p][i] = sums[i];
            squares[p * PAIR_ROWS] = own[0];
            squares[p * PAIR_ROWS + 1] = own[1];
        }
    }
    for (unsigned p = 0; p < PAIRS; p++)
        put_pair(tile, begin + p * PAIR_ROWS, kept[p]);
}

ALWAYS_INLINE void score_pairs(eum_tile *tile, few_kind kind)
{
    const float *at[PAIR_QUERIES];
    for (int i = 0; i < PAIR_QUERIES; i++)
        at[i] = tile->values + (size_t)i * tile->value_stride;
    for (unsigned begin = 0; begin < tile->count; begin += REDUCED) {
        vec squares[REDUCED];
        if (tile->dim <= PAIR_WHOLE)
            pairs_whole(tile, begin, at, kind, squares);
        else
            pairs_in_parts(tile, begin, at, kind, squares);
        if (kind == FEW_DOT_AND_SQUARES)
            v_reduce(squares, tile->inverses + begin);
    }
}

/* Each a function of its own: among the loops for other rows the compiler ran out of registers. */
#define PAIRS_OF(name, kind)                                                                                                       \
    static __attribute__((noinline)) void name(eum_tile *tile)                                                                     \
    {                                                                                                                              \
        score_pairs(tile, kind);                                                                                                   \
    }
PAIRS_OF(pairs_dots, FEW_DOT)
PAIRS_OF(pairs_dots_and_squares, FEW_DOT_AND_SQUARES)
PAIRS_OF(pairs_distances, FEW_DISTANCE)

/* Whether it did them. */
ALWAYS_INLINE bool pairs_of(eum_tile *tile, unsigned first_query, int queries, few_kind kind, eum_element element)
{
    if (!tile->in_pairs || queries != PAIR_QUERIES || first_query != 0 || element != EUM_ELEMENT_FLOAT32 || tile->dim > FEW_CHUNK)
        return false;
    (kind == FEW_DISTANCE ? pairs_distances : kind == FEW_DOT ? pairs_dots : pairs_dots_and_squares)(tile);
    return true;
}
