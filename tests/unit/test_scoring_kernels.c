/* The CPU kernels of the scoring against float64: every instruction set that this CPU has, every metric and element, every dim, every kind
 * of number.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE 1
#include "scoring_fixture.h"

Suite *scoring_kernels_suite(void);

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

/* Rows that no cache holds are fetched further ahead, their cosines settled as they come, and 7 or 8 queries scored in one pass over them. */
START_TEST(many_rows_have_the_scores_that_they_have_in_small_parts)
{
    enum { DIM = 40, PART = 5000 };
    static const size_t queries[] = {1, 2, 5, 8};
    for (size_t which = 0; which < 3 * sizeof queries / sizeof *queries; which++) {
        const eum_element element = (eum_element)(EUM_ELEMENT_FLOAT32 + which % 3);
        const size_t bytes = DIM * eum_element_bytes(element), rows = ((size_t)36 << 20) / bytes + 13, count = queries[which / 3];
        data d = make(count, rows, DIM, 0, element);
        static const kind kinds[] = {ZERO, WITH_NAN, WITH_INFINITY, DENORMAL, LARGE, SMALL};
        float *all = malloc(count * rows * sizeof *all), *parts = malloc(count * PART * sizeof *parts), values[DIM];
        ck_assert(all != NULL && parts != NULL);
        for (size_t q = 0; q < count; q++)
            fill(d.query + q * d.query_stride, DIM, UNIFORM);
        for (size_t r = 0; r < rows; r++) {
            if (r < 2 * PART || r % 997 == 0) /* the others are copies of these */
                fill(values, DIM, r % 31 == 0 ? kinds[r / 31 % (sizeof kinds / sizeof *kinds)] : UNIFORM);
            set_row(&d, r, values);
        }
        FOR_EACH_METRIC(metric)
        FOR_EACH_ISA(isa)
        {
            if (isa == EUM_CPU_SCALAR && count > 2)
                continue; /* it has one way */
            eum_scoring_args args = args_of(&d, metric, all);
            memset(all, 0x55, count * rows * sizeof *all);
            ck_assert_int_eq(eum_scoring_cpu(&args, isa, loop_at_once, NULL, 1), 0);
            for (size_t r = 0; r < rows; r += PART) {
                args.rows = rows - r < PART ? rows - r : PART;
                args.targets = (const char *)d.target + r * bytes;
                args.scores = parts;
                ck_assert_int_eq(eum_scoring_cpu(&args, isa, loop_at_once, NULL, 1), 0);
                for (size_t i = 0; i < count * args.rows; i++) {
                    const float *there = &all[i / args.rows * rows + r + i % args.rows];
                    if (memcmp(there, &parts[i], sizeof *there) != 0 && !(isnan(*there) && isnan(parts[i])))
                        ck_abort_msg("%s, metric %d, element %d, query %zu of %zu, row %zu: %g and %g", eum_cpu_isa_name(isa),
                                     metric, element, (size_t)(i / args.rows), count, (size_t)(r + i % args.rows), (double)*there,
                                     (double)parts[i]);
                }
            }
        }
        free(all);
        free(parts);
        end(&d);
    }
}
END_TEST

/* What one query is scored with over rows from memory or in cache, and seven and eight from memory, for a processor that follows them by itself and
 * for one that does not. */
START_TEST(scores_do_not_depend_on_what_the_processor_follows_by_itself)
{
    enum { PART = 300 };
    static const eum_cpu_rows following[] = {{UINT64_MAX, UINT64_MAX, 0}, {0, 0, UINT64_MAX}};
    static const size_t lengths[] = {40, 200, 1024, 1025, 1100, 1152, 1160, 2048}, counts[] = {1, 7, 8};
    const eum_cpu_rows *ours = eum_cpu_following();
    const size_t dim = lengths[_i / 3], count = counts[_i % 3];
    for (eum_element element = EUM_ELEMENT_FLOAT32; element <= (count == 1 ? EUM_ELEMENT_BFLOAT16 : EUM_ELEMENT_FLOAT32);
         element += EUM_ELEMENT_BFLOAT16 - EUM_ELEMENT_FLOAT32) {
        const size_t bytes = dim * eum_element_bytes(element), rows = ((size_t)33 << 20) / bytes + 13;
        data d = make(count, rows, dim, 0, element);
        float *scores[2] = {malloc(count * rows * sizeof(float)), malloc(count * rows * sizeof(float))},
              *values = malloc(dim * sizeof *values);
        ck_assert(scores[0] != NULL && scores[1] != NULL && values != NULL);
        for (size_t q = 0; q < count; q++)
            fill(d.query + q * d.query_stride, dim, UNIFORM);
        for (size_t r = 0; r < rows; r++) {
            if (r < PART || r % 997 == 0) /* the others are copies of these */
                fill(values, dim, r % 31 == 0 ? WITH_NAN : UNIFORM);
            set_row(&d, r, values);
        }
        const int operations = element == EUM_ELEMENT_FLOAT32 && count == 1 ? 4 : 3;
        for (int operation = 0; operation < operations; operation++) { /* the metrics, and eum_cosine */
            for (int follows = 0; follows < 2; follows++) {
                eum_scoring_args args =
                    args_of(&d, operation < 3 ? (eum_metric)(operation + 1) : EUM_METRIC_COSINE, scores[follows]);
                eum_cosine_args cosine = {d.query, d.target, scores[follows], rows, dim, bytes};
                memset(scores[follows], 0x55, count * rows * sizeof(float));
                eum_cpu_set_following(&following[follows]);
                if (operation < 3) {
                    ck_assert_int_eq(eum_scoring_cpu(&args, eum_cpu_isa_best(), loop_at_once, NULL, 1), 0);
                } else {
                    eum_cosine_query prepared = eum_cosine_cpu_prepare(&cosine);
                    eum_cosine_cpu(&cosine, &prepared, 0, rows, eum_cpu_isa_best());
                }
            }
            for (size_t i = 0; i < count * rows; i++)
                if (memcmp(&scores[0][i], &scores[1][i], sizeof(float)) != 0 && !(isnan(scores[0][i]) && isnan(scores[1][i])))
                    ck_abort_msg("operation %d, element %d, dim %zu, query %zu, row %zu: %a and %a", operation, element, dim,
                                 i / rows, i % rows, (double)scores[0][i], (double)scores[1][i]);
            for (int follows = 0; follows < 2 && operation < 3 && count == 1;
                 follows++) { /* in cache: what the first rows have alone */
                float part[PART];
                eum_scoring_args args = args_of(&d, (eum_metric)(operation + 1), part);
                args.rows = PART;
                eum_cpu_set_following(&following[follows]);
                ck_assert_int_eq(eum_scoring_cpu(&args, eum_cpu_isa_best(), loop_at_once, NULL, 1), 0);
                for (size_t r = 0; r < PART; r++)
                    ck_assert(memcmp(&part[r], &scores[0][r], sizeof(float)) == 0 || (isnan(part[r]) && isnan(scores[0][r])));
            }
        }
        free(scores[0]);
        free(scores[1]);
        free(values);
        end(&d);
    }
    eum_cpu_set_following(ours);
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

/* One query's share of a block is one panel; 1,100 queries are two blocks, the second of which reads what the first one left. */
START_TEST(kept_norms_give_the_same_bits)
{
    static const size_t queries[] = {2, 3, 5, 8, 9, 50, 1100};
    for (size_t i = 0; i < 3 * sizeof queries / sizeof *queries; i++) {
        data d = make(queries[i / 3], 150, 129, 3, (eum_element)(EUM_ELEMENT_FLOAT32 + i % 3));
        fill_all(&d, MIXED);
        for (size_t r = 0; r < 100; r++) {
            float values[129];
            fill(values, d.dim, r == 17 ? ZERO : r == 40 ? WITH_NAN : r == 70 ? DENORMAL : UNIFORM);
            set_row(&d, r, values);
        }
        size_t count = d.queries * d.rows;
        float *plain = malloc(count * sizeof *plain), *scores = malloc(count * sizeof *scores);
        float *norms = malloc(d.rows * sizeof *norms);
        FOR_EACH_ISA(isa)
        {
            if (isa == EUM_CPU_SCALAR)
                continue;
            eum_scoring_args args = args_of(&d, EUM_METRIC_COSINE, plain);
            ck_assert_int_eq(eum_scoring_cpu(&args, isa, loop_at_once, NULL, 1), 0);
            args.scores = scores;
            args.norms = norms;
            memset(norms, 0x7f, d.rows * sizeof *norms);
            for (int known = 0; known < 2; known++) {
                args.norms_known = known != 0;
                memset(scores, 0xa5, count * sizeof *scores);
                ck_assert_int_eq(eum_scoring_cpu(&args, isa, known != 0 ? loop_at_once : loop_in_pieces, NULL, 2), 0);
                for (size_t n = 0; n < count; n++)
                    if (memcmp(&scores[n], &plain[n], sizeof *scores) != 0 && !(isnan(scores[n]) && isnan(plain[n])))
                        ck_abort_msg("%s, element %d, %zu queries, known %d: query %zu, row %zu: %a instead of %a",
                                     eum_cpu_isa_name(isa), d.element, d.queries, known, n / d.rows, n % d.rows, (double)scores[n],
                                     (double)plain[n]);
            }
            for (size_t r = 0; r < d.rows; r++) { /* every one was written, and is right where float32 can carry it */
                double squares = 0;
                for (size_t k = 0; k < d.dim; k++)
                    squares += element_of(&d, r, k) * element_of(&d, r, k);
                ck_assert(!(norms[r] > 3e38f));
                if (squares > 1e-12 && squares < 1e30)
                    ck_assert_double_eq_tol((double)norms[r] * sqrt(squares), 1.0, 1e-5);
            }
        }
        free(norms);
        free(scores);
        free(plain);
        end(&d);
    }
}
END_TEST

Suite *scoring_kernels_suite(void)
{
    Suite *suite = suite_create("scoring_kernels");
    TCase *scores = tcase_create("scores");
    tcase_set_timeout(scores, 300);
    tcase_add_test(scores, scores_match_float64_for_every_dim_element_and_number_of_queries);
    tcase_add_test(scores, scores_match_float64_on_numbers_of_every_size);
    tcase_add_test(scores, scores_match_float64_where_products_cancel);
    tcase_add_test(scores, nothing_is_read_beyond_the_last_element);
    tcase_add_test(scores, rows_of_a_list_get_the_scores_they_have_among_all);
    tcase_add_test(scores, a_query_alone_has_the_scores_that_it_has_among_few);
    tcase_add_test(scores, many_rows_have_the_scores_that_they_have_in_small_parts);
    tcase_add_loop_test(scores, scores_do_not_depend_on_what_the_processor_follows_by_itself, 0, 24);
    tcase_add_test(scores, rows_have_the_same_scores_from_either_end_and_by_their_numbers);
    tcase_add_test(scores, threads_go_back_where_the_same_rows_are_scored_again);
    tcase_add_test(scores, kept_norms_give_the_same_bits);
    suite_add_tcase(suite, scores);
    return suite;
}
