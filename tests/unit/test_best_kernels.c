/* The best rows that the CPU kernels of the scoring choose, against a sort of all scores.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE 1
#include "scoring_fixture.h"

Suite *best_kernels_suite(void);

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

Suite *best_kernels_suite(void)
{
    Suite *suite = suite_create("best_kernels");
    TCase *best = tcase_create("best");
    tcase_set_timeout(best, 300);
    tcase_add_test(best, the_best_rows_are_those_of_a_sort_of_all_scores);
    tcase_add_test(best, equal_scores_nan_and_sorted_scores_keep_their_order);
    tcase_add_test(best, few_rows_of_many_queries_have_the_same_scores_and_best_on_many_threads);
    suite_add_tcase(suite, best);
    return suite;
}
