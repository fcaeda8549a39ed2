/* scoring_single: one query against rows one or two at a time; a part of scoring_tile.h, which says what it takes.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */

#define HELD_STEPS 8 /* registers of a query that stays in registers */

/* What finish_few() and invert() do, for the REDUCED rows from `row`, while the next ones come from memory. In cache, where nothing has to be waited
 * for, a pass of its own is faster (1,000 x 128: 6.9 and 7.7 us). */
ALWAYS_INLINE unsigned settle_rows(eum_tile *tile, unsigned row, vec inverse, few_kind kind)
{
    vec s = v_load(tile->scores + row);
    if (kind == FEW_DOT_AND_SQUARES) {
        vec squares = v_load(tile->inverses + row);
        unsigned trusted = v_not_less(squares, v_set(EUM_ROW_SQUARES_MIN)) & v_not_less(v_set(EUM_ROW_SQUARES_MAX), squares);
        if (__builtin_expect(trusted != (unsigned)((UINT64_C(1) << W) - 1), 0)) { /* of NaN the score is NaN, and computed again */
            mend_squares(tile, row);
            squares = v_load(tile->inverses + row);
        }
        s = v_clamp(v_mul(v_mul(s, v_inverse_root(squares)), inverse));
        v_store(tile->scores + row, s);
    }
    return v_not_finite(s);
}

#define NEAR ((size_t)2048)
#define NEAR_PAIR ((size_t)4096)
#define FAR ((size_t)16384)
#define MOST_TOGETHER 4 /* rows */

/* How single_rows goes through a tile. All constants. */
typedef struct few_way {
    size_t held;       /* whole registers of the query that stay in registers, up to HELD_STEPS; 0: it has more */
    unsigned together; /* rows: 1, 2 or 4 */
    size_t near, far;  /* bytes to prefetch ahead into the first and the second cache; 0: not into that one */
    bool from_memory;
} few_way;

/* The products of way.together rows, then their squares. soon: the rows that are prefetched; from memory `far` ahead of `from`, too. q: what is held;
 * last: the last elements, and zeros. */
ALWAYS_INLINE void single_sums(const eum_tile *tile, const char *const *from, const uintptr_t *soon, few_way way, const vec *q,
                               vec last, vec *sums, few_kind kind, eum_element element)
{
    const size_t steps = way.held > 0 ? way.held : tile->dim / W, size = element == EUM_ELEMENT_FLOAT32 ? 4 : 2;
    const unsigned rest = (unsigned)(tile->dim - steps * W);
    const int rows = (int)way.together;
    for (int i = 0; i < 2 * rows; i++)
        sums[i] = v_zero();
    for (size_t i = 0; i < steps; i++) {
        vec at = way.held > 0 ? q[i] : v_load(tile->values + i * W);
        if (way.held == 0)
            v_keep(at);
        for (int r = 0; r < rows; r++) {
            if (way.near != 0)
                v_prefetch((const char *)(soon[r] + i * W * size));
            if (way.far != 0)
                v_prefetch_far((const char *)((uintptr_t)from[r] + way.far + i * W * size));
            vec x = load_element(element, from[r], i * W);
            if (kind == FEW_DOT_AND_SQUARES)
                v_keep(x);
            few_step(sums, sums + rows, &at, x, r, rows, 1, kind);
        }
    }
    for (int r = 0; r < rows && rest > 0; r++) {
        if (way.near != 0)
            v_prefetch((const char *)(soon[r] + steps * W * size));
        few_step(sums, sums + rows, &last, load_element_part(element, from[r], steps * W, rest), r, rows, 1, kind);
    }
}

/* All rows of the tile against its one query, one, two or four after the others: few streams of memory, and the processor overlaps the rows by itself.
 * Those of a list are prefetched by their numbers. The sums are those of few_chunk, addition by addition. */
ALWAYS_INLINE void single_rows(eum_tile *tile, few_way way, few_kind kind, eum_element element)
{
    vec q[HELD_STEPS], sums[REDUCED], squares[REDUCED];
    vec last = tile->dim % W > 0 ? v_load(tile->values + tile->dim / W * W) : v_zero();
    for (size_t i = 0; i < way.held; i++)
        q[i] = v_load(tile->values + i * W);
    const vec inverse = v_set(tile->queries[0].inverse);
    const size_t stride = tile->first != NULL ? tile->stride : 0, row_bytes = tile->dim * (element == EUM_ELEMENT_FLOAT32 ? 4 : 2);
    const unsigned ahead = (unsigned)((way.near + row_bytes - 1) / row_bytes + 1) / 2 * 2, end = tile->count - 1; /* rows */
    const size_t distance = stride < row_bytes + LINE ? way.near : ahead * stride;
    uintptr_t next = (uintptr_t)tile->first;
    unsigned bad = 0;
    for (unsigned row = 0; row < tile->count; row += REDUCED) {
#if defined(__clang__) /* no faster unrolled, and 16 times the code in each of 100 copies */
#pragma clang loop unroll(disable)
#else
#pragma GCC unroll 1
#endif
        for (unsigned r = 0; r < REDUCED; r += way.together) {
            const char *from[MOST_TOGETHER];
            uintptr_t soon[MOST_TOGETHER];
            vec s[2 * MOST_TOGETHER];
            for (unsigned n = 0; n < way.together; n++, next += stride) {
                const unsigned at = row + r + n;
                from[n] = stride != 0 ? (const char *)next : tile->rows[at];
                soon[n] = stride != 0 ? next + distance : (uintptr_t)tile->rows[at + ahead < end ? at + ahead : end];
            }
            single_sums(tile, from, soon, way, q, last, s, kind, element);
            for (unsigned n = 0; n < way.together; n++) {
                sums[r + n] = s[n];
                squares[r + n] = s[way.together + n];
            }
        }
        v_reduce(sums, tile->scores + row);
        if (kind == FEW_DOT_AND_SQUARES)
            v_reduce(squares, tile->inverses + row);
        if (way.from_memory)
            bad |= settle_rows(tile, row, inverse, kind);
    }
    tile->settled = way.from_memory;
    tile->bad = bad != 0;
}

/* Longer queries are loaded once for two rows (1,000 x 384 in the second cache, one thread: 20.6 us; one row 26.5, sixteen side by side 23.8). A
 * prefetcher that is left alone loses track of two rows from memory (Zen 4, 0.6 GB, dim 384, two threads: 22 GB/s, one row 33, plain loads 34; with
 * prefetches as others have them 29). In its caches four rows without prefetches are better (1,000 x 384, 768, 1,536, two threads: 18.8 to 17.2, 32.3 to
 * 29.9, 62 to 58 us; Zen 5, one thread: two rows with prefetches take 1.01 to 1.09 of the time of four without, on two threads 0.82 to 1.10).
 * Functions of their own: among the copies below the compiler kept the loop's counter in memory, a third of the speed. */
#define LONG_ROWS(name, kind, element)                                                                                             \
    static __attribute__((noinline)) void name(eum_tile *tile)                                                                     \
    {                                                                                                                              \
        if (tile->from_memory && tile->followed)                                                                                   \
            single_rows(tile, (few_way){0, 1, 0, 0, true}, kind, element);                                                         \
        else if (tile->from_memory)                                                                                                \
            single_rows(tile, (few_way){0, 2, NEAR_PAIR, FAR, true}, kind, element);                                               \
        else if (tile->followed && tile->first != NULL)                                                                            \
            single_rows(tile, (few_way){0, 4, 0, 0, false}, kind, element);                                                        \
        else                                                                                                                       \
            single_rows(tile, (few_way){0, 2, NEAR_PAIR, 0, false}, kind, element);                                                \
    }
LONG_ROWS(long_dots, FEW_DOT, EUM_ELEMENT_FLOAT32)
LONG_ROWS(long_dots_f16, FEW_DOT, EUM_ELEMENT_FLOAT16)
LONG_ROWS(long_dots_bf16, FEW_DOT, EUM_ELEMENT_BFLOAT16)
LONG_ROWS(long_dots_and_squares, FEW_DOT_AND_SQUARES, EUM_ELEMENT_FLOAT32)
LONG_ROWS(long_dots_and_squares_f16, FEW_DOT_AND_SQUARES, EUM_ELEMENT_FLOAT16)
LONG_ROWS(long_dots_and_squares_bf16, FEW_DOT_AND_SQUARES, EUM_ELEMENT_BFLOAT16)
LONG_ROWS(long_distances, FEW_DISTANCE, EUM_ELEMENT_FLOAT32)
LONG_ROWS(long_distances_f16, FEW_DISTANCE, EUM_ELEMENT_FLOAT16)
LONG_ROWS(long_distances_bf16, FEW_DISTANCE, EUM_ELEMENT_BFLOAT16)

ALWAYS_INLINE void long_rows(eum_tile *tile, few_kind kind, eum_element element)
{
    if (kind == FEW_DOT)
        (element == EUM_ELEMENT_FLOAT32 ? long_dots : element == EUM_ELEMENT_FLOAT16 ? long_dots_f16 : long_dots_bf16)(tile);
    else if (kind == FEW_DISTANCE)
        (element == EUM_ELEMENT_FLOAT32   ? long_distances
         : element == EUM_ELEMENT_FLOAT16 ? long_distances_f16
                                          : long_distances_bf16)(tile);
    else
        (element == EUM_ELEMENT_FLOAT32   ? long_dots_and_squares
         : element == EUM_ELEMENT_FLOAT16 ? long_dots_and_squares_f16
                                          : long_dots_and_squares_bf16)(tile);
}

/* From memory, rows of 16 bits wait for memory rather than for the query. */
static inline bool held_in_registers(const eum_tile *tile, eum_element element)
{
    return tile->dim / W <= HELD_STEPS && (!tile->from_memory || element == EUM_ELEMENT_FLOAT32);
}

ALWAYS_INLINE void held_rows(eum_tile *tile, size_t held, few_kind kind, eum_element element)
{
    if (!tile->from_memory)
        single_rows(tile, (few_way){held, 1, NEAR, 0, false}, kind, element);
    else if (element == EUM_ELEMENT_FLOAT32 && tile->followed)
        single_rows(tile, (few_way){held, 1, 0, 0, true}, kind, element);
    else if (element == EUM_ELEMENT_FLOAT32)
        single_rows(tile, (few_way){held, 1, NEAR, FAR, true}, kind, element);
}

#define HELD(n)                                                                                                                    \
    case n:                                                                                                                        \
        held_rows(tile, n, kind, element);                                                                                         \
        break

/* Whether it did them. */
ALWAYS_INLINE bool single_rows_of(eum_tile *tile, int queries, few_kind kind, eum_element element)
{
    if (queries != 1 || tile->query_count != 1 || tile->dim > FEW_CHUNK)
        return false;
    switch (held_in_registers(tile, element) ? tile->dim / W : 0) {
        HELD(1);
        HELD(2);
        HELD(3);
        HELD(4);
        HELD(5);
        HELD(6);
        HELD(7);
        HELD(8);
    default:
        long_rows(tile, kind, element);
        break;
    }
    return true;
}
