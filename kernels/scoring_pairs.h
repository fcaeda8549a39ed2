/* scoring_pairs: eight queries against two rows at a time; a part of scoring_tile.h, which says what it takes.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * For rows from memory on a processor that follows them by itself (eum_cpu_following). What is far ahead is prefetched into the second cache, line
 * after line, and the next two rows into the first; each query's elements are loaded once for both rows. Zen 5, 1 GB, two threads, all scores, paired:
 * as fast as four rows side by side times 1.02 to 1.04 at 100 elements, 1.06 to 1.1 at 128, 1.12 to 1.2 at 160 and 192; as one row at a time (which has
 * more of the first cache, and twice the loads of queries) times 1.00 to 1.07 from 256 to 896. */

#define PAIR_QUERIES 8
#define PAIR_ROWS (REDUCED / PAIR_QUERIES) /* at a time: their sums are reduced together */
#define PAIR_FAR ((size_t)8192)            /* bytes */

/* What is done with it stays behind what was done before: the compiler would put the prefetches and the queries' loads together (1 to 2 %). */
#define here(pointer) __asm__ volatile("" : "+r"(pointer))
#define here_loaded(v) __asm__ volatile("" : "+v"(v))

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

/* Two rows against eight queries, query i's scores to out[i * PAIR_ROWS] and the next; the additions are those of few_sums. squares: a register a
 * row, whose lanes the caller adds up. */
ALWAYS_INLINE void score_pair(const float *const *queries, size_t dim, const float *row, const float *other, few_kind kind,
                              float *out, vec *squares)
{
    const float *at[PAIR_QUERIES];
    vec sums[REDUCED], own[PAIR_ROWS] = {v_zero(), v_zero()};
    for (int i = 0; i < PAIR_QUERIES; i++) /* addresses in registers */
        at[i] = queries[i];
    for (int i = 0; i < REDUCED; i++)
        sums[i] = v_zero();
    const char *far = (const char *)((uintptr_t)row + PAIR_FAR),
               *next = (const char *)((uintptr_t)row + PAIR_ROWS * dim * sizeof *row);
    size_t k = 0;
    for (; k + W <= dim; k += W, far += PAIR_ROWS * LINE, next += PAIR_ROWS * LINE) {
        vec x = v_load(row + k), y = v_load(other + k);
        v_keep(x);
        v_keep(y);
        pair_step(at, k, x, y, kind, far, next, sums, own);
    }
    if (k < dim)
        pair_step(at, k, v_load_part(row + k, (unsigned)(dim - k)), v_load_part(other + k, (unsigned)(dim - k)), kind, far, next,
                  sums, own);
    v_reduce(sums, out);
    squares[0] = own[0];
    squares[1] = own[1];
}

ALWAYS_INLINE void score_pairs(eum_tile *tile, few_kind kind)
{
    const float *at[PAIR_QUERIES];
    for (int i = 0; i < PAIR_QUERIES; i++)
        at[i] = tile->values + (size_t)i * tile->value_stride;
    for (unsigned begin = 0; begin < tile->count; begin += REDUCED) {
        vec squares[REDUCED];
        for (unsigned r = 0; r < REDUCED; r += PAIR_ROWS) { /* rows that are not there are the last one again */
            const void *const *rows = tile->rows + begin + r;
            float out[REDUCED];
            score_pair(at, tile->dim, rows[0], rows[1], kind, out, squares + r);
            for (unsigned i = 0; i < tile->query_count; i++)
                memcpy(tile->scores + i * EUM_TILE_ROWS + begin + r, out + i * PAIR_ROWS, PAIR_ROWS * sizeof *out);
        }
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
