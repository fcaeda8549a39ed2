/* scoring_turn: eight queries against rows one after the other; a part of scoring_tile.h, which says what it takes.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * For rows from memory on a processor that follows them by itself (eum_cpu_following): one stream, and what is far ahead of it prefetched into
 * the second cache. The queries, which come from the first cache for each row, leave room there for the rows. Four rows side by side are four
 * streams (Zen 5, 1 GB, dim 384 and 768, two threads: 0.85 to 0.92 of what plain loads read; this 0.93 to 1.00). */

#define TURN_QUERIES 8
#define TURN_ROWS (REDUCED / TURN_QUERIES) /* whose sums are reduced together */
#define TURN_FAR ((size_t)8192)            /* bytes */

/* few_step for one row and eight queries, which are operands from the first cache: with those in registers first, as few_step has them, 768 elements
 * were no faster than four rows side by side. */
ALWAYS_INLINE void turn_step(const float *const *at, size_t k, vec x, few_kind kind, vec *sums, vec *squares)
{
    for (int i = 0; i < TURN_QUERIES; i++) {
        if (kind == FEW_DISTANCE) {
            vec d = v_sub(x, v_load(at[i] + k));
            sums[i] = v_fma(d, d, sums[i]);
        } else {
            sums[i] = v_fma(v_load(at[i] + k), x, sums[i]);
        }
    }
    if (kind == FEW_DOT_AND_SQUARES)
        *squares = v_fma(x, x, *squares);
}

/* The lanes' sums of one row against eight queries, query i's in sums[i * TURN_ROWS]: addition by addition those of few_sums. */
ALWAYS_INLINE void turn_row(const eum_tile *tile, const float *const *at, const float *row, few_kind kind, vec *sums, vec *squares)
{
    vec s[TURN_QUERIES], own = v_zero();
    for (int i = 0; i < TURN_QUERIES; i++)
        s[i] = v_zero();
    size_t k = 0;
    for (; k + W <= tile->dim; k += W) {
        v_prefetch_far((const char *)((uintptr_t)(row + k) + TURN_FAR));
        vec x = v_load(row + k);
        v_keep(x);
        turn_step(at, k, x, kind, s, &own);
    }
    if (k < tile->dim)
        turn_step(at, k, v_load_part(row + k, (unsigned)(tile->dim - k)), kind, s, &own);
    for (int i = 0; i < TURN_QUERIES; i++)
        sums[i * TURN_ROWS] = s[i];
    *squares = own;
}

ALWAYS_INLINE void turn_rows(eum_tile *tile, few_kind kind)
{
    const float *at[TURN_QUERIES];
    for (int i = 0; i < TURN_QUERIES; i++)
        at[i] = tile->values + (size_t)i * tile->value_stride;
    for (unsigned begin = 0; begin < tile->count; begin += REDUCED) {
        vec squares[REDUCED];
        for (unsigned row = begin; row < begin + REDUCED; row += TURN_ROWS) { /* those that are not there are the last one again */
            vec sums[REDUCED];
            float out[REDUCED];
            for (unsigned r = 0; r < TURN_ROWS; r++)
                turn_row(tile, at, tile->rows[row + r], kind, sums + r, &squares[row - begin + r]);
            v_reduce(sums, out);
            for (unsigned i = 0; i < tile->query_count; i++)
                memcpy(tile->scores + i * EUM_TILE_ROWS + row, out + i * TURN_ROWS, TURN_ROWS * sizeof *out);
        }
        if (kind == FEW_DOT_AND_SQUARES)
            v_reduce(squares, tile->inverses + begin);
    }
}

/* Whether it did them. */
ALWAYS_INLINE bool turn_rows_of(eum_tile *tile, unsigned first_query, int queries, few_kind kind, eum_element element)
{
    if (!tile->in_turn || queries != TURN_QUERIES || first_query != 0 || element != EUM_ELEMENT_FLOAT32 || tile->dim > FEW_CHUNK)
        return false;
    turn_rows(tile, kind);
    return true;
}
