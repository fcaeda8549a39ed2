/* The CPU kernels of the scoring against float64: every instruction set that this CPU has, every metric and element, every dim, every kind
 * of number; the best rows against a sort of all scores.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE 1

#include <check.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kernels/scoring_cpu.h"

Suite *scoring_kernels_suite(void);

/* ------------------------------------------------------------------------------------------------------- numbers ---- */

static uint64_t random_state = 20261123u;

static uint32_t random_bits(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 32);
}

static float random_unit(void)
{
    return (float)((double)random_bits() / 2147483648.0 - 1.0);
}

typedef enum kind {
    UNIFORM,
    CONSTANT,
    ZERO,
    LARGE,
    LARGEST,
    SMALL,
    DENORMAL,
    MIXED,
    ONE_LARGE,
    WITH_NAN,
    WITH_INFINITY,
    KINDS
} kind;

static void fill(float *x, size_t dim, kind what)
{
    for (size_t i = 0; i < dim; i++) {
        float u = random_unit();
        x[i] = what == CONSTANT    ? 0.1f
               : what == ZERO      ? 0.0f
               : what == LARGE     ? u * 3e38f
               : what == LARGEST   ? FLT_MAX
               : what == SMALL     ? u * 1e-25f
               : what == DENORMAL  ? u * 1e-38f
               : what == MIXED     ? ldexpf(u, (int)(random_bits() % 270u) - 145)
               : what == ONE_LARGE ? (i == dim / 3 ? 3e18f : u * 1e-3f)
                                   : u;
    }
    if (what == WITH_NAN)
        x[dim / 2] = NAN;
    if (what == WITH_INFINITY)
        x[dim - 1] = -INFINITY;
}

/* Rounds towards zero, which keeps the numbers of every kind what they are: elements need not be rounded well to be tested with. */
static uint16_t to_bits16(eum_element element, float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (element == EUM_ELEMENT_BFLOAT16)
        return (uint16_t)(bits >> 16 | (uint32_t)(x != x));
    uint32_t sign = bits >> 16 & 0x8000u;
    if (x != x)
        return 0x7e00u;
    double size = fabs((double)x);
    if (size >= 65520.0)
        return (uint16_t)(sign | (isinf(x) ? 0x7c00u : 0x7bffu));
    if (size < 0x1p-14)
        return (uint16_t)(sign | (uint32_t)(size * 0x1p24)); /* denormal */
    return (uint16_t)(sign | ((bits >> 23 & 255u) - 112u) << 10 | (bits >> 13 & 0x3ffu));
}

static double from_bits16(eum_element element, uint16_t x)
{
    if (element == EUM_ELEMENT_BFLOAT16) {
        uint32_t bits = (uint32_t)x << 16;
        float found;
        memcpy(&found, &bits, sizeof found);
        return (double)found;
    }
    int exponent = x >> 10 & 31, fraction = x & 1023;
    double size = exponent == 31  ? (fraction != 0 ? (double)NAN : (double)INFINITY)
                  : exponent == 0 ? ldexp(fraction, -24)
                                  : ldexp(1024 + fraction, exponent - 25);
    return x & 0x8000 ? -size : size;
}

/* --------------------------------------------------------------------------------------------------- a data set ----- */

typedef struct data {
    size_t queries, rows, dim, query_stride, row_stride; /* strides in elements */
    eum_element element;
    float *query;
    void *target;
} data;

static data make(size_t queries, size_t rows, size_t dim, size_t gap, eum_element element)
{
    data d = {queries, rows, dim, dim + gap, dim + gap, element, NULL, NULL};
    /* Exactly as much memory as is needed, so that the address sanitizer sees a read beyond it. */
    d.query = malloc(((queries - 1) * d.query_stride + dim) * sizeof(float));
    d.target = malloc(((rows - 1) * d.row_stride + dim) * eum_element_bytes(element));
    ck_assert(d.query != NULL && d.target != NULL);
    return d;
}

static void end(data *d)
{
    free(d->query);
    free(d->target);
}

static void set_row(data *d, size_t row, const float *values)
{
    for (size_t k = 0; k < d->dim; k++) {
        if (d->element == EUM_ELEMENT_FLOAT32)
            ((float *)d->target)[row * d->row_stride + k] = values[k];
        else
            ((uint16_t *)d->target)[row * d->row_stride + k] = to_bits16(d->element, values[k]);
    }
}

static double element_of(const data *d, size_t row, size_t k)
{
    return d->element == EUM_ELEMENT_FLOAT32 ? (double)((const float *)d->target)[row * d->row_stride + k]
                                             : from_bits16(d->element, ((const uint16_t *)d->target)[row * d->row_stride + k]);
}

static void fill_all(data *d, kind what)
{
    float *values = malloc(d->dim * sizeof *values);
    for (size_t q = 0; q < d->queries; q++)
        fill(d->query + q * d->query_stride, d->dim, what);
    for (size_t r = 0; r < d->rows; r++) {
        fill(values, d->dim, what);
        set_row(d, r, values);
    }
    free(values);
}

typedef struct exact {
    double score, norms;
} exact;

static exact reference(const data *d, eum_metric metric, size_t q, size_t r)
{
    double dot = 0, squares = 0, query_squares = 0, distance = 0;
    for (size_t k = 0; k < d->dim; k++) {
        double a = (double)d->query[q * d->query_stride + k], b = element_of(d, r, k);
        dot += a * b;
        query_squares += a * a;
        squares += b * b;
        distance += (a - b) * (a - b);
    }
    double norms = sqrt(query_squares) * sqrt(squares);
    if (!isfinite(query_squares) || !isfinite(squares))
        return (exact){(double)NAN, norms};
    if (metric == EUM_METRIC_COSINE)
        return (exact){query_squares == 0 || squares == 0 ? 0 : dot / norms, norms};
    return (exact){metric == EUM_METRIC_DOT ? dot : distance, norms};
}

static bool right(float found, exact expected, eum_metric metric)
{
    if (isnan(expected.score))
        return isnan(found);
    if (metric == EUM_METRIC_COSINE && !(found >= -1.0f && found <= 1.0f))
        return false;
    if (isinf(found)) /* at the edge of the range either may be right */
        return fabs(expected.score) >= (double)FLT_MAX * (1 - 1e-5) && (found > 0) == (expected.score > 0);
    double small = metric == EUM_METRIC_DOT && expected.norms > 1 ? 1e-6 * expected.norms : 1e-6;
    return fabs((double)found - expected.score) <= small + 1e-5 * fabs(expected.score);
}

/* ------------------------------------------------------------------------------------------------------- running ---- */

/* Two pieces at a time, the later first, and never the whole: what the kernels may not depend on. */
static void loop_in_pieces(void *pool, uint64_t items, uint64_t grain, bool back, void (*body)(void *, uint64_t, uint64_t),
                           void *arg)
{
    (void)back;
    (void)pool;
    (void)grain;
    uint64_t piece = items > 7 ? items / 3 : items;
    for (uint64_t done = 0; done < items;) {
        uint64_t last = items - done, first = last > piece ? last - piece : 0;
        body(arg, first, last);
        done += last - first;
    }
}

static void loop_at_once(void *pool, uint64_t items, uint64_t grain, bool back, void (*body)(void *, uint64_t, uint64_t), void *arg)
{
    (void)back;
    (void)pool;
    (void)grain;
    body(arg, 0, items);
}

static eum_scoring_args args_of(const data *d, eum_metric metric, float *scores)
{
    return (eum_scoring_args){.metric = metric,
                              .element = d->element,
                              .queries = d->query,
                              .targets = d->target,
                              .scores = scores,
                              .query_count = d->queries,
                              .rows = d->rows,
                              .dim = d->dim,
                              .query_stride = d->query_stride * sizeof(float),
                              .row_stride = d->row_stride * eum_element_bytes(d->element)};
}

#define FOR_EACH_ISA(isa)                                                                                                          \
    for (eum_cpu_isa isa = EUM_CPU_SCALAR; isa <= EUM_CPU_NEON; isa = (eum_cpu_isa)(isa + 1))                                      \
        if (eum_cpu_isa_usable(isa))
#define FOR_EACH_METRIC(metric) for (eum_metric metric = EUM_METRIC_COSINE; metric <= EUM_METRIC_L2_SQUARED; metric++)
#define FOR_EACH_ELEMENT(element) for (eum_element element = EUM_ELEMENT_FLOAT32; element <= EUM_ELEMENT_BFLOAT16; element++)

/* All scores by every metric and instruction set, against float64, and whether the cut into pieces changes a bit. */
static void check_all(const data *d, const char *what)
{
    size_t count = d->queries * d->rows;
    float *scores = malloc(count * sizeof *scores), *others = malloc(count * sizeof *others);
    FOR_EACH_METRIC(metric)
    {
        exact *expected = malloc(count * sizeof *expected);
        for (size_t i = 0; i < count; i++)
            expected[i] = reference(d, metric, i / d->rows, i % d->rows);
        FOR_EACH_ISA(isa)
        {
            eum_scoring_args args = args_of(d, metric, scores);
            ck_assert_int_eq(eum_scoring_cpu(&args, isa, loop_at_once, NULL, 1), 0);
            args.scores = others;
            ck_assert_int_eq(eum_scoring_cpu(&args, isa, loop_in_pieces, NULL, 2), 0);
            for (size_t i = 0; i < count; i++) {
                if (!right(scores[i], expected[i], metric))
                    ck_abort_msg("%s, %s, metric %d, element %d, dim %zu, query %zu of %zu, row %zu: %.9g instead of %.9g", what,
                                 eum_cpu_isa_name(isa), metric, d->element, d->dim, i / d->rows, d->queries, i % d->rows,
                                 (double)scores[i], expected[i].score);
                if (memcmp(&scores[i], &others[i], sizeof scores[i]) != 0)
                    ck_abort_msg("%s, %s: a score depends on its piece", what, eum_cpu_isa_name(isa));
            }
        }
        free(expected);
    }
    free(scores);
    free(others);
}

static const size_t dims[] = {1, 2, 3, 7, 15, 16, 17, 31, 33, 63, 100, 127, 128, 129, 255, 257, 384, 768, 1023, 1536, 2049, 4099};
#define DIMS (sizeof dims / sizeof dims[0])

START_TEST(scores_match_float64_for_every_dim_element_and_number_of_queries)
{
    static const size_t queries[] = {1, 2, 3, 4, 5, 8, 9, 17, 33, 50};
    for (size_t i = 0; i < DIMS; i++)
        FOR_EACH_ELEMENT(element)
        {
            data d = make(queries[(i + (size_t)element) % 10], 21, dims[i], i % 3, element);
            fill_all(&d, UNIFORM);
            check_all(&d, "random");
            end(&d);
        }
    for (size_t i = 0; i < 10; i++)
        FOR_EACH_ELEMENT(element)
        {
            data d = make(queries[i], 75, 100, 0, element);
            fill_all(&d, UNIFORM);
            check_all(&d, "random");
            end(&d);
        }
}
END_TEST

START_TEST(scores_match_float64_on_numbers_of_every_size)
{
    static const size_t some[] = {1, 3, 16, 100, 300, 4099};
    for (size_t i = 0; i < 6; i++)
        FOR_EACH_ELEMENT(element)
    for (int many = 0; many < 2; many++) {
        data d = make(many ? 2 * KINDS : KINDS - 3, 2 * KINDS, some[i], 0, element);
        float *values = malloc(d.dim * sizeof *values);
        for (size_t q = 0; q < d.queries; q++)
            fill(d.query + q * d.query_stride, d.dim, (kind)(q % KINDS));
        for (size_t r = 0; r < d.rows; r++) {
            fill(values, d.dim, (kind)(r % KINDS));
            set_row(&d, r, values);
        }
        check_all(&d, "every size");
        free(values);
        end(&d);
    }
}
END_TEST

START_TEST(scores_match_float64_where_products_cancel)
{
    for (size_t i = 0; i < DIMS; i++)
        for (size_t queries = 1; queries <= 11; queries += 5) {
            data d = make(queries, 5, dims[i], 0, EUM_ELEMENT_FLOAT32);
            fill_all(&d, UNIFORM);
            float *values = malloc(d.dim * sizeof *values);
            for (size_t how = 0; how < d.rows; how++) {
                for (size_t k = 0; k < d.dim; k++) {
                    float q = d.query[k];
                    values[k] = how == 0   ? q
                                : how == 1 ? -q
                                : how == 2 ? (k % 2 ? q : -q)
                                : how == 3 ? (k < d.dim / 2 ? 1e4f * q : -1e4f * d.query[d.dim - 1 - k])
                                           : q * (1.0f + 1e-3f * random_unit());
                }
                set_row(&d, how, values);
            }
            check_all(&d, "cancelling");
            free(values);
            end(&d);
        }
}
END_TEST

START_TEST(nothing_is_read_beyond_the_last_element)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *memory = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert(memory != MAP_FAILED);
    ck_assert_int_eq(mprotect(memory + page, page, PROT_NONE), 0);
    ck_assert_int_eq(mprotect(memory + 3 * page, page, PROT_NONE), 0);
    for (size_t dim = 1; dim <= 70; dim++)
        FOR_EACH_ELEMENT(element)
    for (size_t queries = 1; queries <= 10; queries += 9) {
        size_t size = eum_element_bytes(element);
        float scores[30];
        eum_scoring_args args = {.metric = EUM_METRIC_COSINE,
                                 .element = element,
                                 .queries = (const float *)(void *)(memory + page - queries * dim * 4),
                                 .targets = memory + 3 * page - 3 * dim * size,
                                 .scores = scores,
                                 .query_count = queries,
                                 .rows = 3,
                                 .dim = dim,
                                 .query_stride = dim * 4,
                                 .row_stride = dim * size};
        FOR_EACH_METRIC(metric)
        {
            args.metric = metric;
            FOR_EACH_ISA(isa) ck_assert_int_eq(eum_scoring_cpu(&args, isa, loop_at_once, NULL, 1), 0);
        }
    }
    munmap(memory, 4 * page);
}
END_TEST

/* --------------------------------------------------------------------------------------------------- the best ------- */

static eum_metric sorted_metric;

static int by_rank(const void *a, const void *b)
{
    const eum_best *x = a, *y = b;
    bool x_nan = isnan(x->score), y_nan = isnan(y->score);
    if (x_nan != y_nan)
        return x_nan ? 1 : -1;
    if (!x_nan && (x->score < y->score || x->score > y->score))
        return (x->score > y->score) == (sorted_metric == EUM_METRIC_L2_SQUARED) ? 1 : -1;
    return x->row < y->row ? -1 : x->row > y->row;
}

static void check_best_of(const data *d, eum_metric metric, eum_cpu_isa isa, size_t k, const float *all)
{
    float *scores = malloc(d->queries * k * sizeof *scores);
    int64_t *indices = malloc(d->queries * k * sizeof *indices);
    eum_best *sorted = malloc(d->rows * sizeof *sorted);
    for (int pieces = 0; pieces < 2; pieces++) {
        eum_scoring_args args = args_of(d, metric, scores);
        args.indices = indices;
        args.k = k;
        ck_assert_int_eq(eum_scoring_cpu(&args, isa, pieces ? loop_in_pieces : loop_at_once, NULL, 2), 0);
        for (size_t q = 0; q < d->queries; q++) {
            for (size_t r = 0; r < d->rows; r++)
                sorted[r] = (eum_best){all[q * d->rows + r], (int64_t)r};
            sorted_metric = metric;
            qsort(sorted, d->rows, sizeof *sorted, by_rank);
            for (size_t n = 0; n < k; n++) {
                int64_t row = n < d->rows ? sorted[n].row : -1;
                float score = n < d->rows ? sorted[n].score : NAN;
                size_t at = q * k + n;
                if (indices[at] != row || (isnan(score) ? !isnan(scores[at]) : memcmp(&scores[at], &score, sizeof score) != 0))
                    ck_abort_msg("%s, metric %d, %zu rows, k %zu, query %zu, place %zu: row %lld (%.9g) instead of %lld (%.9g)",
                                 eum_cpu_isa_name(isa), metric, d->rows, k, q, n, (long long)indices[at], (double)scores[at],
                                 (long long)row, (double)score);
            }
        }
    }
    free(scores);
    free(indices);
    free(sorted);
}

static void check_best(const data *d)
{
    static const size_t ks[] = {1, 2, 10, 100, 1024};
    float *all = malloc(d->queries * d->rows * sizeof *all);
    FOR_EACH_METRIC(metric)
    FOR_EACH_ISA(isa)
    {
        eum_scoring_args args = args_of(d, metric, all);
        ck_assert_int_eq(eum_scoring_cpu(&args, isa, loop_at_once, NULL, 1), 0);
        for (size_t i = 0; i < 5; i++)
            check_best_of(d, metric, isa, ks[i], all);
        for (size_t k = d->rows > 1 ? d->rows - 1 : 1; k <= d->rows + 1 && k <= EUM_TOPK_MOST; k++)
            check_best_of(d, metric, isa, k, all);
    }
    free(all);
}

START_TEST(the_best_rows_are_those_of_a_sort_of_all_scores)
{
    static const size_t rows[] = {1, 2, 63, 64, 65, 99, 1000, 3000}, queries[] = {1, 2, 9, 50};
    for (size_t i = 0; i < 8; i++)
        for (size_t j = 0; j < 4; j++) {
            data d = make(queries[j], rows[i], 5, 0, EUM_ELEMENT_FLOAT32);
            fill_all(&d, UNIFORM);
            check_best(&d);
            end(&d);
        }
}
END_TEST

START_TEST(equal_scores_nan_and_sorted_scores_keep_their_order)
{
    for (int how = 0; how < 5; how++)
        for (size_t queries = 1; queries <= 10; queries += 9) {
            data d = make(queries, 2500, 2, 0, EUM_ELEMENT_FLOAT32);
            fill_all(&d, CONSTANT);
            for (size_t r = 0; r < d.rows; r++) {
                float x = (float)r / 2500.0f, values[2];
                values[0] = how == 0   ? 0.1f /* all equal */
                            : how == 1 ? x    /* the worst case of a selection */
                            : how == 2 ? 1.0f - x
                            : how == 3 ? (r % 3 == 0 ? NAN : (float)(r % 5)) /* few values, and NaN */
                                       : (r == 1777 ? 1e30f : 0.0f);         /* one hot row */
                values[1] = how == 0 ? 0.1f : how == 4 ? 0.0f : 0.5f;
                set_row(&d, r, values);
            }
            check_best(&d);
            end(&d);
        }
}
END_TEST

START_TEST(rows_of_a_list_get_the_scores_they_have_among_all)
{
    int64_t numbers[200];
    float all[10 * 150], listed[10 * 200];
    for (size_t queries = 1; queries <= 10; queries += 9)
        FOR_EACH_ELEMENT(element)
    FOR_EACH_ISA(isa)
    {
        data d = make(queries, 150, 37, 1, element);
        fill_all(&d, UNIFORM);
        for (int i = 0; i < 200; i++)
            numbers[i] = random_bits() % 150;
        eum_scoring_args args = args_of(&d, EUM_METRIC_COSINE, all);
        ck_assert_int_eq(eum_scoring_cpu(&args, isa, loop_at_once, NULL, 1), 0);
        args.numbers = numbers;
        args.rows = 200;
        args.scores = listed;
        ck_assert_int_eq(eum_scoring_cpu(&args, isa, loop_in_pieces, NULL, 2), 0);
        for (size_t q = 0; q < queries; q++)
            for (size_t i = 0; i < 200; i++)
                ck_assert(memcmp(&listed[q * 200 + i], &all[q * 150 + (size_t)numbers[i]], sizeof(float)) == 0);
        end(&d);
    }
}
END_TEST

START_TEST(a_query_alone_has_the_scores_that_it_has_among_few)
{
    float among[EUM_FEW_QUERIES * 37], alone[37];
    for (size_t i = 0; i < DIMS; i++)
        for (size_t queries = 2; queries <= EUM_FEW_QUERIES; queries += 3)
            FOR_EACH_ELEMENT(element)
    FOR_EACH_METRIC(metric)
    FOR_EACH_ISA(isa)
    {
        data d = make(queries, 37, dims[i], 0, element);
        fill_all(&d, UNIFORM);
        eum_scoring_args args = args_of(&d, metric, among);
        ck_assert_int_eq(eum_scoring_cpu(&args, isa, loop_at_once, NULL, 1), 0);
        args.query_count = 1;
        args.scores = alone;
        for (size_t q = 0; q < queries; q++) {
            args.queries = d.query + q * d.query_stride;
            ck_assert_int_eq(eum_scoring_cpu(&args, isa, loop_at_once, NULL, 1), 0);
            if (memcmp(alone, among + q * d.rows, sizeof alone) != 0)
                ck_abort_msg("%s, metric %d, element %d, dim %zu, query %zu of %zu", eum_cpu_isa_name(isa), metric, element, d.dim,
                             q, queries);
        }
        end(&d);
    }
}
END_TEST

/* Rows that no cache holds are fetched further ahead, and their cosines settled as they come. */
START_TEST(many_rows_have_the_scores_that_they_have_in_small_parts)
{
    enum { DIM = 40, PART = 5000 };
    FOR_EACH_ELEMENT(element)
    {
        const size_t bytes = DIM * eum_element_bytes(element), rows = ((size_t)36 << 20) / bytes + 13;
        data d = make(1, rows, DIM, 0, element);
        static const kind kinds[] = {ZERO, WITH_NAN, WITH_INFINITY, DENORMAL, LARGE, SMALL};
        float *all = malloc(rows * sizeof *all), *parts = malloc(rows * sizeof *parts), values[DIM];
        ck_assert(all != NULL && parts != NULL);
        fill(d.query, DIM, UNIFORM);
        for (size_t r = 0; r < rows; r++) {
            if (r < 2 * PART || r % 997 == 0) /* the others are copies of these */
                fill(values, DIM, r % 31 == 0 ? kinds[r / 31 % (sizeof kinds / sizeof *kinds)] : UNIFORM);
            set_row(&d, r, values);
        }
        FOR_EACH_METRIC(metric)
        FOR_EACH_ISA(isa)
        {
            eum_scoring_args args = args_of(&d, metric, all);
            memset(all, 0x55, rows * sizeof *all);
            ck_assert_int_eq(eum_scoring_cpu(&args, isa, loop_at_once, NULL, 1), 0);
            for (size_t r = 0; r < rows; r += PART) {
                args.rows = rows - r < PART ? rows - r : PART;
                args.targets = (const char *)d.target + r * bytes;
                args.scores = parts + r;
                ck_assert_int_eq(eum_scoring_cpu(&args, isa, loop_at_once, NULL, 1), 0);
            }
            for (size_t r = 0; r < rows; r++)
                if (memcmp(&all[r], &parts[r], sizeof *all) != 0 && !(isnan(all[r]) && isnan(parts[r])))
                    ck_abort_msg("%s, metric %d, element %d, row %zu: %g and %g", eum_cpu_isa_name(isa), metric, element, r,
                                 (double)all[r], (double)parts[r]);
        }
        free(all);
        free(parts);
        end(&d);
    }
}
END_TEST

START_TEST(rows_have_the_same_scores_from_either_end_and_by_their_numbers)
{
    enum { ROWS = 200, K = 20 };
    static const size_t lengths[] = {1, 16, 100, 128, 130, 384};
    float first[ROWS], again[ROWS], best[2][K];
    int64_t numbers[ROWS], indices[2][K];
    for (int64_t r = 0; r < ROWS; r++)
        numbers[r] = r;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        FOR_EACH_ELEMENT(element)
    FOR_EACH_METRIC(metric)
    FOR_EACH_ISA(isa)
    {
        data d = make(1, ROWS, lengths[i], i % 2, element);
        fill_all(&d, UNIFORM);
        eum_scoring_args args = args_of(&d, metric, first);
        ck_assert_int_eq(eum_scoring_cpu(&args, isa, loop_at_once, NULL, 1), 0);
        for (int run = 0; run < 3; run++) { /* from the end, from the start, by their numbers */
            memset(again, 0xff, sizeof again);
            args.scores = again;
            args.numbers = run == 2 ? numbers : NULL;
            ck_assert_int_eq(eum_scoring_cpu(&args, isa, loop_at_once, NULL, 1), 0);
            if (memcmp(first, again, sizeof first) != 0)
                ck_abort_msg("%s, metric %d, element %d, dim %zu, run %d", eum_cpu_isa_name(isa), metric, element, d.dim, run);
        }
        args.numbers = NULL;
        args.k = K;
        for (int run = 0; run < 2; run++) {
            args.scores = best[run];
            args.indices = indices[run];
            ck_assert_int_eq(eum_scoring_cpu(&args, isa, loop_at_once, NULL, 1), 0);
        }
        ck_assert_int_eq(memcmp(best[0], best[1], sizeof best[0]), 0);
        ck_assert_int_eq(memcmp(indices[0], indices[1], sizeof indices[0]), 0);
        end(&d);
    }
}
END_TEST

/* The pool: whether the newest loop went back. */
static void loop_and_note(void *pool, uint64_t items, uint64_t grain, bool back, void (*body)(void *, uint64_t, uint64_t),
                          void *arg)
{
    (void)grain;
    *(bool *)pool = back;
    body(arg, 0, items);
}

START_TEST(threads_go_back_where_the_same_rows_are_scored_again)
{
    data one = make(1, 100, 32, 0, EUM_ELEMENT_FLOAT32), other = make(1, 100, 32, 0, EUM_ELEMENT_FLOAT32);
    float scores[100];
    fill_all(&one, UNIFORM);
    fill_all(&other, UNIFORM);
    const data *scored[] = {&one, &one, &one, &other, &one};
    static const bool expected[] = {false, true, false, false, false};
    for (size_t i = 0; i < sizeof scored / sizeof *scored; i++) {
        eum_scoring_args args = args_of(scored[i], EUM_METRIC_DOT, scores);
        bool back = !expected[i];
        ck_assert_int_eq(eum_scoring_cpu(&args, eum_cpu_isa_best(), loop_and_note, &back, 2), 0);
        ck_assert_msg(back == expected[i], "call %zu", i);
    }
    end(&one);
    end(&other);
}
END_TEST

static void loop_unit_by_unit(void *pool, uint64_t items, uint64_t grain, bool back, void (*body)(void *, uint64_t, uint64_t),
                              void *arg)
{
    (void)back;
    (void)pool;
    for (uint64_t first = 0; first < items; first += grain)
        body(arg, first, items - first < grain ? items : first + grain);
}

/* Few rows for many threads: they share the queries too. */
START_TEST(few_rows_of_many_queries_have_the_same_scores_and_best_on_many_threads)
{
    enum { QUERIES = 200, ROWS = 150, MOST_K = 40 };
    static const size_t ks[] = {0, 10, MOST_K};
    float *one = malloc(sizeof(float) * QUERIES * ROWS), *many = malloc(sizeof(float) * QUERIES * ROWS);
    int64_t *of_one = malloc(sizeof(int64_t) * QUERIES * MOST_K), *of_many = malloc(sizeof(int64_t) * QUERIES * MOST_K);
    for (size_t i = 0; i < 3; i++)
        FOR_EACH_METRIC(metric)
    FOR_EACH_ISA(isa)
    {
        data d = make(QUERIES, ROWS, 300, 1, EUM_ELEMENT_FLOAT32);
        fill_all(&d, UNIFORM);
        d.query[7 * d.query_stride + 3] = NAN;
        size_t results = QUERIES * (ks[i] == 0 ? ROWS : ks[i]) * sizeof(float);
        memset(one, 0x55, results);
        memset(many, 0xaa, results);
        eum_scoring_args args = args_of(&d, metric, one);
        args.k = ks[i];
        args.indices = ks[i] == 0 ? NULL : of_one;
        ck_assert_int_eq(eum_scoring_cpu(&args, isa, loop_at_once, NULL, 1), 0);
        args.scores = many;
        args.indices = ks[i] == 0 ? NULL : of_many;
        ck_assert_int_eq(eum_scoring_cpu(&args, isa, loop_unit_by_unit, NULL, 16), 0);
        if (memcmp(one, many, results) != 0 || memcmp(of_one, of_many, QUERIES * ks[i] * sizeof *of_one) != 0)
            ck_abort_msg("%s, metric %d, k %zu", eum_cpu_isa_name(isa), metric, ks[i]);
        end(&d);
    }
    free(one);
    free(many);
    free(of_one);
    free(of_many);
}
END_TEST

Suite *scoring_kernels_suite(void)
{
    Suite *suite = suite_create("scoring_kernels");
    TCase *scores = tcase_create("scores"), *best = tcase_create("best");
    tcase_set_timeout(scores, 300);
    tcase_add_test(scores, scores_match_float64_for_every_dim_element_and_number_of_queries);
    tcase_add_test(scores, scores_match_float64_on_numbers_of_every_size);
    tcase_add_test(scores, scores_match_float64_where_products_cancel);
    tcase_add_test(scores, nothing_is_read_beyond_the_last_element);
    tcase_add_test(scores, rows_of_a_list_get_the_scores_they_have_among_all);
    tcase_add_test(scores, a_query_alone_has_the_scores_that_it_has_among_few);
    tcase_add_test(scores, many_rows_have_the_scores_that_they_have_in_small_parts);
    tcase_add_test(scores, rows_have_the_same_scores_from_either_end_and_by_their_numbers);
    tcase_add_test(scores, threads_go_back_where_the_same_rows_are_scored_again);
    suite_add_tcase(suite, scores);
    tcase_set_timeout(best, 300);
    tcase_add_test(best, the_best_rows_are_those_of_a_sort_of_all_scores);
    tcase_add_test(best, equal_scores_nan_and_sorted_scores_keep_their_order);
    tcase_add_test(best, few_rows_of_many_queries_have_the_same_scores_and_best_on_many_threads);
    suite_add_tcase(suite, best);
    return suite;
}
