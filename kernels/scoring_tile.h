/* scoring_tile: the vector implementation of eum_scoring_ops, written once; each instruction set's file defines the operations and then
 * includes this.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * What it takes:
 *   vec, W                          a register of W float32
 *   v_zero, v_set(x), v_load(p), v_load_part(p, n), v_store(p, v), v_add, v_sub, v_mul, v_fma(a, b, c) = a * b + c
 *   v_load_f16(p), v_load_f16_part(p, n), v_load_bf16(p), v_load_bf16_part(p, n)
 *   v_inverse_root(v)               1 / sqrt(v), correctly rounded steps
 *   v_clamp(v)                      to [-1, 1]; NaN stays
 *   v_not_less(a, b), v_not_finite(a)   W bits; true where one is NaN
 *   v_reduce(sums, out)             REDUCED registers to REDUCED sums, each the sum of a register's lanes
 *   v_prefetch(p), v_prefetch_far(p)    into the first cache, into the second
 *   v_keep(v)                       keeps the compiler from loading v a second time
 *   FEW_ROWS(queries, squares)      rows that are scored side by side for 0, 1, 2, 4 queries, with the rows' squares or without; divides 16
 *   ROW_BY_ROW                      whether one query is scored row by row rather than FEW_ROWS side by side, and eight against two rows at
 *                                   a time where the processor wants it
 *   PACKED_ROWS, MOST_PACKED        rows and registers of a packed panel; PACKED_ROWS divides 8
 *   OPS                             the name of the table */

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define FEW_CHUNK ((size_t)W * 128) /* elements that are summed in float32: chains of 128 additions */
#define UP_TO_REDUCED(n) (((n) + REDUCED - 1) / REDUCED * REDUCED)
#define LINE 64
#define NEAR_GROUP ((size_t)8192) /* bytes of four rows: the next four find room beside them and the queries in the first cache */
#define MOST_FEW 4                /* queries that are scored together */
#define MOST_SUMS 16              /* registers: queries that are scored together times rows side by side */

ALWAYS_INLINE vec load_element(eum_element element, const void *row, size_t k)
{
    return element == EUM_ELEMENT_FLOAT32   ? v_load((const float *)row + k)
           : element == EUM_ELEMENT_FLOAT16 ? v_load_f16((const uint16_t *)row + k)
                                            : v_load_bf16((const uint16_t *)row + k);
}

ALWAYS_INLINE vec load_element_part(eum_element element, const void *row, size_t k, unsigned n)
{
    return element == EUM_ELEMENT_FLOAT32   ? v_load_part((const float *)row + k, n)
           : element == EUM_ELEMENT_FLOAT16 ? v_load_f16_part((const uint16_t *)row + k, n)
                                            : v_load_bf16_part((const uint16_t *)row + k, n);
}

/* ----------------------------------------------------------------------------------------------- few queries ------- */

/* What is summed: the products, the squared differences, or (0 queries) the rows' squares alone. */
typedef enum few_kind { FEW_DOT, FEW_DOT_AND_SQUARES, FEW_DISTANCE } few_kind;

/* W elements of row r. The sums are query after query, so that those of one query lie side by side; squares: one register a row. */
ALWAYS_INLINE void few_step(vec *sums, vec *squares, const vec *q, vec x, int r, int rows, int queries, few_kind kind)
{
    for (int i = 0; i < queries; i++) {
        if (kind == FEW_DISTANCE) {
            vec d = v_sub(x, q[i]);
            sums[i * rows + r] = v_fma(d, d, sums[i * rows + r]);
        } else {
            sums[i * rows + r] = v_fma(q[i], x, sums[i * rows + r]);
        }
    }
    if (kind == FEW_DOT_AND_SQUARES)
        squares[r] = v_fma(x, x, squares[r]);
}

/* What is prefetched beside W elements of the rows: `far` into the second cache, `near` into the first. The steps are constants, 0 or whole lines. */
typedef struct few_ahead {
    uintptr_t far, near;
    size_t far_step, near_step; /* bytes */
} few_ahead;

ALWAYS_INLINE void few_prefetch(few_ahead *ahead)
{
    for (size_t line = 0; line < ahead->far_step; line += LINE)
        v_prefetch_far((const char *)(ahead->far + line));
    for (size_t line = 0; line < ahead->near_step; line += LINE)
        v_prefetch((const char *)(ahead->near + line));
    ahead->far += ahead->far_step;
    ahead->near += ahead->near_step;
}

/* The lanes' sums of elements [start, start + count) of `rows` rows from `row` against `queries` queries from `values`: queries x rows registers,
 * and the rows' squares. */
ALWAYS_INLINE void few_sums(const eum_tile *tile, unsigned row, const float *values, size_t start, size_t count, int rows,
                            int queries, few_kind kind, eum_element element, few_ahead *ahead, vec *sums, vec *squares)
{
    vec q[MOST_FEW];
    const float *at[MOST_FEW];
    const void *from[16];
    const size_t end = start + count;
    for (int i = 0; i < UP_TO_REDUCED(rows * queries); i++)
        sums[i] = v_zero();
    for (int r = 0; r < rows && kind == FEW_DOT_AND_SQUARES; r++)
        squares[r] = v_zero();
    for (int i = 0; i < queries; i++) /* addresses in registers: the compiler loaded them again for each step */
        at[i] = values + (size_t)i * tile->value_stride;
    for (int r = 0; r < rows; r++)
        from[r] = tile->rows[row + (unsigned)r];
    size_t k = start;
    for (; k + W <= end; k += W) {
        few_prefetch(ahead);
        for (int i = 0; i < queries; i++)
            q[i] = v_load(at[i] + k);
        for (int r = 0; r < rows; r++) {
            vec x = load_element(element, from[r], k);
            if (queries > 1 || kind == FEW_DOT_AND_SQUARES)
                v_keep(x);
            few_step(sums, squares, q, x, r, rows, queries, kind);
        }
    }
    if (k < end) {
        few_prefetch(ahead);
        for (int i = 0; i < queries; i++) /* what the last register has too much is 0 */
            q[i] = v_load(at[i] + k);
        for (int r = 0; r < rows; r++)
            few_step(sums, squares, q, load_element_part(element, from[r], k, (unsigned)(end - k)), r, rows, queries, kind);
    }
}

ALWAYS_INLINE void reduce(const vec *sums, int n, float *out)
{
    for (int i = 0; i < n; i += REDUCED)
        v_reduce(sums + i, out + i);
}

/* Rows of more than FEW_CHUNK elements: chunk by chunk, in float64 from one to the next. */
ALWAYS_INLINE void few_wide(eum_tile *tile, unsigned row, const float *values, int rows, int queries, few_kind kind,
                            eum_element element, few_ahead *ahead, float *out)
{
    vec sums[MOST_SUMS], squares[UP_TO_REDUCED(16)];
    float part[MOST_SUMS], part_squares[UP_TO_REDUCED(16)];
    double totals[MOST_SUMS] = {0}, total_squares[16] = {0};
    for (int r = 0; r < UP_TO_REDUCED(rows); r++)
        squares[r] = v_zero();
    for (size_t start = 0; start < tile->dim; start += FEW_CHUNK) {
        size_t count = tile->dim - start < FEW_CHUNK ? tile->dim - start : FEW_CHUNK;
        few_sums(tile, row, values, start, count, rows, queries, kind, element, ahead, sums, squares);
        reduce(sums, rows * queries, part);
        for (int i = 0; i < rows * queries; i++)
            totals[i] += (double)part[i];
        if (kind == FEW_DOT_AND_SQUARES)
            reduce(squares, rows, part_squares);
        for (int r = 0; r < rows && kind == FEW_DOT_AND_SQUARES; r++)
            total_squares[r] += (double)part_squares[r];
    }
    for (int i = 0; i < rows * queries; i++)
        out[i] = (float)totals[i];
    for (int r = 0; r < rows && kind == FEW_DOT_AND_SQUARES; r++)
        tile->inverses[row + (unsigned)r] = (float)total_squares[r];
}

/* squares: registers of `rows` rows whose lanes the caller adds up, unless the rows are wide. */
ALWAYS_INLINE void few_rows(eum_tile *tile, unsigned row, unsigned first_query, int rows, int queries, few_kind kind,
                            eum_element element, few_ahead *ahead, vec *squares)
{
    const float *values = queries == 0 ? NULL : tile->values + (size_t)first_query * tile->value_stride;
    vec sums[MOST_SUMS];
    float out[MOST_SUMS];
    if (tile->dim <= FEW_CHUNK) {
        few_sums(tile, row, values, 0, tile->dim, rows, queries, kind, element, ahead, sums, squares);
        reduce(sums, rows * queries, out);
    } else {
        few_wide(tile, row, values, rows, queries, kind, element, ahead, out);
    }
    for (int i = 0; i < queries && first_query + (unsigned)i < tile->query_count; i++)
        memcpy(tile->scores + (first_query + (unsigned)i) * EUM_TILE_ROWS + row, out + i * rows, (size_t)rows * sizeof *out);
}

/* Sums of squares that are not to be trusted become infinity, for zero rows, or NaN. W of them, from `row`. */
static __attribute__((noinline)) void mend_squares(eum_tile *tile, unsigned row)
{
    for (unsigned r = row; r < row + W && r < tile->count; r++)
        if (!eum_row_squares_trusted(tile->inverses[r]))
            tile->inverses[r] = eum_squares_exact(tile->element, eum_tile_row(tile, r), tile->dim) == 0.0 ? INFINITY : NAN;
}

#if ROW_BY_ROW
#include "kernels/scoring_pairs.h"
#include "kernels/scoring_single.h"
#else
#define single_rows_of(tile, queries, kind, element) false
#define pairs_of(tile, first_query, queries, kind, element) false
#endif

/* What is prefetched during the one or two passes over rows from memory: the rows that are `far` behind, in the first pass three quarters of them,
 * since that one waits for these rows; and with `near` the next ones, the other way round. */
ALWAYS_INLINE void few_ahead_of(const eum_tile *tile, unsigned row, int rows, int queries, int more, eum_element element,
                                size_t far, bool near, few_ahead *first, few_ahead *second)
{
    const size_t size = element == EUM_ELEMENT_FLOAT32 ? 4 : 2, step = (size_t)rows * W * size;
    const size_t part = more == 0 || step < 4 * LINE ? 0 : step / 4, steps = (tile->dim + W - 1) / W;
    const uintptr_t from = (uintptr_t)tile->rows[row];
    *first = *second = (few_ahead){0, 0, 0, 0};
    if (far == 0)
        return;
    if (queries <= 1) {
        first->near = from + far;
        first->near_step = step;
        return;
    }
    first->far = from + far;
    first->far_step = step - part;
    second->far = first->far + steps * first->far_step;
    second->far_step = part;
    if (near && part > 0) {
        first->near = from + (size_t)rows * tile->dim * size;
        first->near_step = part;
        second->near = first->near + steps * part;
        second->near_step = step - part;
    }
}

/* All rows of the tile against queries from first_query on: `queries` of them, and then `more`, for which the rows are in the first cache. */
ALWAYS_INLINE void few_groups(eum_tile *tile, unsigned first_query, int queries, int more, few_kind kind, eum_element element,
                              size_t far, bool near)
{
    const unsigned rows = FEW_ROWS(queries, kind == FEW_DOT_AND_SQUARES), block = UP_TO_REDUCED(rows);
    const bool squared = kind == FEW_DOT_AND_SQUARES && tile->dim <= FEW_CHUNK;
    for (unsigned begin = 0; begin < tile->count; begin += block) {
        vec squares[UP_TO_REDUCED(16)];
        for (unsigned r = 0; r < block && squared; r++)
            squares[r] = v_zero();
        for (unsigned row = begin; row < begin + block && row < tile->count; row += rows) {
            few_ahead first, second;
            few_ahead_of(tile, row, (int)rows, queries, more, element, far, near, &first, &second);
            few_rows(tile, row, first_query, (int)rows, queries, kind, element, &first, squares + (row - begin));
            if (more > 0)
                few_rows(tile, row, first_query + (unsigned)queries, (int)rows, more, kind == FEW_DISTANCE ? kind : FEW_DOT,
                         element, &second, NULL);
        }
        if (squared)
            reduce(squares, (int)block, tile->inverses + begin);
    }
}

ALWAYS_INLINE void few_rows_of(eum_tile *tile, unsigned first_query, int queries, int more, few_kind kind, eum_element element)
{
    if (single_rows_of(tile, queries, kind, element))
        return;
    eum_tile_fill_rows(tile);
    if (pairs_of(tile, first_query, queries + more, kind, element))
        return;
    if (tile->ahead == 0 || first_query > 0) /* the next queries find the rows in cache */
        few_groups(tile, first_query, queries, more, kind, element, 0, false);
    else if (more > 0 && (size_t)queries * tile->dim * sizeof(float) <= NEAR_GROUP)
        few_groups(tile, first_query, queries, more, kind, element, tile->ahead, true);
    else
        few_groups(tile, first_query, queries, more, kind, element, tile->ahead, false);
}

#define FEW_OF(name, queries, more, kind)                                                                                          \
    static __attribute__((noinline)) void name(eum_tile *tile, unsigned first_query)                                               \
    {                                                                                                                              \
        if (tile->element == EUM_ELEMENT_FLOAT32)                                                                                  \
            few_rows_of(tile, first_query, queries, more, kind, EUM_ELEMENT_FLOAT32);                                              \
        else if (tile->element == EUM_ELEMENT_FLOAT16)                                                                             \
            few_rows_of(tile, first_query, queries, more, kind, EUM_ELEMENT_FLOAT16);                                              \
        else                                                                                                                       \
            few_rows_of(tile, first_query, queries, more, kind, EUM_ELEMENT_BFLOAT16);                                             \
    }
FEW_OF(squares_alone, 0, 0, FEW_DOT_AND_SQUARES)
FEW_OF(dots_and_squares_1, 1, 0, FEW_DOT_AND_SQUARES)
FEW_OF(dots_1, 1, 0, FEW_DOT)
FEW_OF(dots_2, 2, 0, FEW_DOT)
FEW_OF(dots_4, 4, 0, FEW_DOT)
FEW_OF(dots_and_squares_4, 4, 0, FEW_DOT_AND_SQUARES)
FEW_OF(distances_1, 1, 0, FEW_DISTANCE)
FEW_OF(distances_2, 2, 0, FEW_DISTANCE)
FEW_OF(distances_4, 4, 0, FEW_DISTANCE)
FEW_OF(dots_8, 4, 4, FEW_DOT)
FEW_OF(dots_and_squares_8, 4, 4, FEW_DOT_AND_SQUARES)
FEW_OF(distances_8, 4, 4, FEW_DISTANCE)

static void score_few(eum_tile *tile)
{
    bool distance = tile->metric == EUM_METRIC_L2_SQUARED, squares = tile->metric == EUM_METRIC_COSINE && !tile->normed;
    for (unsigned first = 0; first < tile->query_count;) {
        unsigned left = tile->query_count - first;
        if (left == 1) {
            (distance ? distances_1 : squares && first == 0 ? dots_and_squares_1 : dots_1)(tile, first);
            first += 1;
        } else if (left == 2 && !(squares && first == 0)) {
            (distance ? distances_2 : dots_2)(tile, first);
            first += 2;
        } else if (left <= 6) { /* queries that are not there are zeros */
            (distance ? distances_4 : squares && first == 0 ? dots_and_squares_4 : dots_4)(tile, first);
            first += 4;
        } else {
            (distance ? distances_8 : squares ? dots_and_squares_8 : dots_8)(tile, first);
            first += 8;
        }
    }
}

/* ---------------------------------------------------------------------------------------------- packed queries ------ */

/* Elements [0, count) of PACKED_ROWS rows against `registers` registers of queries. */
ALWAYS_INLINE void packed_chunk(const float *const *rows, const float *panel, size_t count, int registers, bool distance, vec *sums)
{
    vec q[MOST_PACKED];
    for (int i = 0; i < PACKED_ROWS * registers; i++)
        sums[i] = v_zero();
    for (size_t k = 0; k < count; k++) {
        for (int i = 0; i < registers; i++)
            q[i] = v_load(panel + (k * (size_t)registers + (size_t)i) * W);
        for (int r = 0; r < PACKED_ROWS; r++) {
            vec x = v_set(rows[r][k]);
            for (int i = 0; i < registers; i++) {
                if (distance) {
                    vec d = v_sub(q[i], x);
                    sums[r * registers + i] = v_fma(d, d, sums[r * registers + i]);
                } else {
                    sums[r * registers + i] = v_fma(q[i], x, sums[r * registers + i]);
                }
            }
        }
    }
}

/* The rows' elements [start, start + count) as float32. */
static void widen(const eum_tile *tile, size_t start, size_t count, float (*out)[EUM_PANEL_CHUNK])
{
    for (unsigned r = 0; r < tile->count; r++) {
        size_t k = 0;
        for (; k + W <= count; k += W)
            v_store(out[r] + k, load_element(tile->element, tile->rows[r], start + k));
        if (k < count) /* rows of `out` are whole registers */
            v_store(out[r] + k, load_element_part(tile->element, tile->rows[r], start + k, (unsigned)(count - k)));
    }
}

ALWAYS_INLINE void score_packed(eum_tile *tile, int registers, bool distance)
{
    float narrow[EUM_TILE_ROWS][EUM_PANEL_CHUNK] __attribute__((aligned(64))); /* rows of 16-bit elements, a chunk of each */
    double wide[EUM_TILE_ROWS * EUM_TILE_QUERIES];
    const unsigned width = (unsigned)registers * W;
    const bool chunked = tile->dim > EUM_PANEL_CHUNK, convert = tile->element != EUM_ELEMENT_FLOAT32;
    for (size_t start = 0; start < tile->dim; start += EUM_PANEL_CHUNK) {
        size_t count = tile->dim - start < EUM_PANEL_CHUNK ? tile->dim - start : EUM_PANEL_CHUNK;
        if (convert)
            widen(tile, start, count, narrow);
        for (unsigned row = 0; row < tile->count; row += PACKED_ROWS) {
            const float *rows[PACKED_ROWS];
            vec sums[PACKED_ROWS * MOST_PACKED];
            for (unsigned r = 0; r < PACKED_ROWS; r++)
                rows[r] = convert ? narrow[row + r < tile->count ? row + r : tile->count - 1]
                                  : (const float *)tile->rows[row + r] + start;
            packed_chunk(rows, tile->values + start * width, count, registers, distance, sums);
            float *scores = tile->scores + row * width;
            for (int i = 0; i < PACKED_ROWS * registers; i++)
                v_store(scores + i * W, sums[i]);
            if (chunked) {
                double *totals = wide + row * width;
                for (unsigned i = 0; i < PACKED_ROWS * width; i++)
                    totals[i] = start == 0 ? (double)scores[i] : totals[i] + (double)scores[i];
            }
        }
    }
    if (chunked)
        for (unsigned i = 0; i < (tile->count + PACKED_ROWS - 1) / PACKED_ROWS * PACKED_ROWS * width; i++)
            tile->scores[i] = (float)wide[i];
}

#define PACKED_OF(registers)                                                                                                       \
    static __attribute__((noinline)) void packed_dots_##registers(eum_tile *tile)                                                  \
    {                                                                                                                              \
        score_packed(tile, registers, false);                                                                                      \
    }                                                                                                                              \
    static __attribute__((noinline)) void packed_distances_##registers(eum_tile *tile)                                             \
    {                                                                                                                              \
        score_packed(tile, registers, true);                                                                                       \
    }
PACKED_OF(1)
PACKED_OF(2)
PACKED_OF(3)

/* ------------------------------------------------------------------------------------------------------ finish ------ */

/* Sums of squares to inverse norms; NaN where a sum is not to be trusted. */
static void invert(eum_tile *tile)
{
    unsigned trusted = 0; /* counted first: rows that are not are rare, and the count takes whole registers */
    for (unsigned r = 0; r < tile->count; r++)
        trusted += (unsigned)(tile->inverses[r] >= EUM_ROW_SQUARES_MIN) & (unsigned)(tile->inverses[r] <= EUM_ROW_SQUARES_MAX);
    for (unsigned r = 0; r < tile->count && trusted < tile->count; r += W)
        mend_squares(tile, r);
    for (unsigned r = 0; r < EUM_TILE_ROWS; r += W)
        v_store(tile->inverses + r, v_inverse_root(v_load(tile->inverses + r))); /* of infinity: 0, the score of a zero row */
}

static __attribute__((noinline)) void norms(eum_tile *tile)
{
    if (tile->metric == EUM_METRIC_COSINE && tile->packed) {
        squares_alone(tile, 0);
        invert(tile);
    }
}

/* Scales the products to cosines, and says whether all that counts is finite: of a few queries, query after query. */
static bool finish_few(eum_tile *tile)
{
    bool cosine = tile->metric == EUM_METRIC_COSINE;
    unsigned bad = 0;
    for (unsigned q = 0; q < tile->query_count; q++) {
        const vec inverse = v_set(tile->queries[q].inverse);
        float *scores = tile->scores + q * EUM_TILE_ROWS;
        for (unsigned r = 0; r < tile->count; r += W) {
            vec s = v_load(scores + r);
            if (cosine) {
                s = v_clamp(v_mul(v_mul(s, v_load(tile->inverses + r)), inverse));
                v_store(scores + r, s);
            }
            unsigned real = tile->count - r < W ? (1u << (tile->count - r)) - 1u : (unsigned)((UINT64_C(1) << W) - 1);
            bad |= v_not_finite(s) & real;
        }
    }
    return bad != 0;
}

/* The same for a panel, row after row. */
static bool finish_packed(eum_tile *tile)
{
    bool cosine = tile->metric == EUM_METRIC_COSINE;
    unsigned bad = 0;
    float inverses[EUM_TILE_QUERIES] __attribute__((aligned(64))) = {0};
    for (unsigned q = 0; q < tile->query_count; q++)
        inverses[q] = tile->queries[q].inverse;
    for (unsigned r = 0; r < tile->count; r++) {
        for (unsigned q = 0; q < tile->width; q += W) {
            float *at = tile->scores + r * tile->width + q;
            vec s = v_load(at);
            if (cosine) {
                s = v_clamp(v_mul(v_mul(s, v_set(tile->inverses[r])), v_load(inverses + q)));
                v_store(at, s);
            }
            bad |= v_not_finite(s);
        }
    }
    return bad != 0;
}

static __attribute__((noinline)) bool score(eum_tile *tile)
{
    if (!tile->packed) {
        tile->settled = false;
        score_few(tile);
        if (tile->settled)
            return tile->bad;
        if (tile->metric == EUM_METRIC_COSINE && !tile->normed)
            invert(tile);
        return finish_few(tile);
    }
    bool distance = tile->metric == EUM_METRIC_L2_SQUARED;
    switch (tile->width / W) {
    case 1:
        (distance ? packed_distances_1 : packed_dots_1)(tile);
        break;
    case 2:
        (distance ? packed_distances_2 : packed_dots_2)(tile);
        break;
    default:
        (distance ? packed_distances_3 : packed_dots_3)(tile);
        break;
    }
    return finish_packed(tile);
}

static uint64_t candidates(const float *scores, const float *thresholds, unsigned count, bool one, bool smaller_is_better)
{
    uint64_t found = 0;
    for (unsigned i = 0; i < count; i += W) {
        vec s = v_load(scores + i), t = one ? v_set(thresholds[0]) : v_load(thresholds + i);
        found |= (uint64_t)(smaller_is_better ? v_not_less(t, s) : v_not_less(s, t)) << i;
    }
    return count < 64 ? found & ((UINT64_C(1) << count) - 1) : found;
}

static uint64_t candidate_rows(const float *scores, const float *thresholds, unsigned rows, unsigned width, bool smaller_is_better)
{
    uint64_t found = 0;
    vec t[MOST_PACKED];
    for (unsigned i = 0; i * W < width; i++)
        t[i] = v_load(thresholds + i * W);
    for (unsigned r = 0; r < rows; r++) {
        unsigned any = 0;
        for (unsigned i = 0; i * W < width; i++) {
            vec s = v_load(scores + r * width + i * W);
            any |= smaller_is_better ? v_not_less(t[i], s) : v_not_less(s, t[i]);
        }
        found |= (uint64_t)(any != 0) << r;
    }
    return found;
}

const eum_scoring_ops OPS = {W, MOST_PACKED, norms, score, candidates, candidate_rows};
