/* The scoring on the GPU: all scores against float64, the best rows against a sort of all scores, over plain device memory.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "gpu_scoring_data.h"
#include "kernels/scoring_cpu.h"

static const uint64_t dims[] = {1, 3, 16, 20, 50, 100, 128, 300, 768, 777, 1536, 4099, 8200};
#define DIMS ((int)(sizeof dims / sizeof *dims))

/* ------------------------------------------------------------------------------------------------------- tests ------- */

START_TEST(the_reference_is_that_of_the_cpu)
{
    for (int e = 0; e < 3; e++) {
        data d = make(elements[e], 5, 40, 100, 0, 0, 1);
        fill_with_all_kinds(&d, true);
        for (int m = 0; m < 3; m++) {
            d.args.metric = metrics[m];
            for (uint64_t n = 0; n < 200; n++) {
                const uint64_t q = n % 5, r = n / 5;
                double exact;
                CUDA(reference_score(&d.args, q, r, &exact));
                const double squares = eum_squares_exact(EUM_ELEMENT_FLOAT32, query_of(&d, q), 100);
                const eum_prepared prepared = {.given = query_of(&d, q), .norm = sqrt(squares), .nonfinite = !isfinite(squares)};
                const float cpu = eum_score_exact(metrics[m], elements[e], &prepared, row_of(&d, r), 100);
                const double scale = isinf(cpu) ? 1 : fmax(1e-30, fabs((double)cpu));
                ck_assert_msg(isnan(cpu)   ? isnan(exact)
                              : isinf(cpu) ? (float)exact == cpu
                                           : fabs((double)cpu - exact) <= 1e-6 * scale,
                              "query %llu, row %llu: %.9g and %.9g", (unsigned long long)q, (unsigned long long)r, (double)cpu,
                              exact);
            }
        }
        end(&d);
    }
}
END_TEST

START_TEST(the_scratch_memory_does_not_grow_with_rows_and_queries)
{
    const uint64_t counts[] = {1, 8, 9, 32, 33, 1024, 1000000}, rows[] = {0, 1, 1000, 1000000, UINT64_C(1) << 40},
                   ks[] = {1, 10, 128, 1024};
    int64_t some;
    for (size_t c = 0; c < 7; c++) {
        for (size_t r = 0; r < 5; r++) {
            for (size_t k = 0; k < 8; k++) {
                eum_scoring_args args = {.query_count = counts[c], .rows = rows[r], .dim = k < 4 ? 768 : 4096, .k = ks[k % 4]};
                ck_assert_uint_eq(eum_scoring_cuda_scratch(&args), 0);
                args.indices = &some;
                ck_assert_uint_gt(eum_scoring_cuda_scratch(&args), 0);
                ck_assert_uint_le(eum_scoring_cuda_scratch(&args), 65 * MIB);
            }
        }
    }
}
END_TEST

/* Chunks are made as large as the room for this allows. Every number of rows where something begins or ends, and those beside it. */
START_TEST(fewer_rows_never_need_more_scratch_memory)
{
    const uint64_t counts[] = {1, 2, 8, 9, 32, 33, 300, 1024, 1025, 5000}, dims_[] = {4, 6, 100, 768, 4096, 4100},
                   ks[] = {1, 10, 100, 128, 129, 1024};
    int64_t some;
    for (size_t n = 0; n < 10 * 6 * 6; n++) {
        eum_scoring_args args = {.query_count = counts[n % 10], .dim = dims_[n / 10 % 6], .k = ks[n / 60], .indices = &some};
        size_t last = 0;
        uint64_t most_rows = 0;
        for (args.rows = 0; args.rows < UINT64_C(1) << 34; args.rows += args.rows < 20000 ? 1 : args.rows / 97) {
            const size_t bytes = eum_scoring_cuda_scratch(&args);
            if (bytes < last)
                ck_abort_msg("%llu queries, dim %llu, k %llu: %zu bytes for %llu rows, %zu for %llu",
                             (unsigned long long)args.query_count, (unsigned long long)args.dim, (unsigned long long)args.k, bytes,
                             (unsigned long long)args.rows, last, (unsigned long long)most_rows);
            last = bytes;
            most_rows = args.rows;
        }
    }
}
END_TEST

/* Every metric, element, dim and path; alignments and strides of every kind; numbers of every kind. */
START_TEST(the_scores_agree_with_float64)
{
    const uint64_t dim = dims[_i % DIMS], rows = dim > 2000 ? 211 : 1003, queries[] = {1, 3, 8, 9, 40, 128, 300};
    const uint64_t layouts[][2] = {{0, 0}, {1, 0}, {4, 4}, {8, 8}, {7, 1}};
    const eum_element element = elements[_i / DIMS];
    double worst = 0;
    for (size_t n = 0; n < sizeof queries / sizeof *queries; n++) {
        for (size_t l = 0; l < sizeof layouts / sizeof *layouts; l++) {
            if (queries[n] > 40 && l != 0 && l != 4)
                continue;
            data d = make(element, queries[n], rows, dim, layouts[l][0], layouts[l][1], 1);
            fill_with_all_kinds(&d, true);
            for (int m = 0; m < 3; m++) {
                d.args.metric = metrics[m];
                for (d.args.flags = 0; d.args.flags <= (queries[n] > 8 ? EUM_SCORING_NO_TENSOR_CORES : 0); d.args.flags++)
                    worst = fmax(worst, check_scores(&d));
            }
            end(&d);
        }
    }
    printf("scoring, element %d, dim %llu: worst error %.3f of what is allowed\n", element, (unsigned long long)dim, worst);
}
END_TEST

/* Also around the number of rows, with ties and NaN among the rows. */
START_TEST(the_best_rows_are_those_of_a_sort)
{
    const uint64_t queries[] = {1, 3, 8, 9, 40, 130},
                   shapes[][2] = {{0, 16}, {1, 16}, {10, 100}, {99, 3}, {1003, 768}, {2500, 100}, {700, 8200}};
    const uint64_t ks[] = {1, 9, 10, 11, 100, 128, 129, 512, 1024};
    const uint64_t rows = shapes[_i][0], dim = shapes[_i][1];
    for (size_t n = 0; n < sizeof queries / sizeof *queries; n++) {
        for (int e = 0; e < 3; e++) {
            data d = make(elements[e], queries[n], rows, dim, (uint64_t)e, 0, EUM_TOPK_MOST);
            fill_with_all_kinds(&d, true);
            for (int m = 0; m < 3; m++) {
                d.args.metric = metrics[m];
                for (d.args.flags = 0; d.args.flags <= (queries[n] > 8 ? EUM_SCORING_NO_TENSOR_CORES : 0); d.args.flags++)
                    check_best(&d, ks, sizeof ks / sizeof *ks);
            }
            end(&d);
        }
    }
}
END_TEST

/* Many slices and many settled lists: rows in ascending and descending order of score, all the same, few different ones. */
START_TEST(the_order_of_the_rows_does_not_matter)
{
    const uint64_t queries[] = {1, 8, 64, 140}, rows = 60007, dim = 8, ks[] = {1, 10, 100, 1000};
    enum { ASCENDING, DESCENDING, EQUAL, FEW_DIFFERENT, RANDOM };
    for (size_t n = 0; n < sizeof queries / sizeof *queries; n++) {
        data d = make(EUM_ELEMENT_FLOAT32, queries[n], rows, dim, 0, 0, EUM_TOPK_MOST);
        for (uint64_t i = 0; i < queries[n] * dim; i++)
            query_of(&d, i / dim)[i % dim] = i % dim == 0 ? 1.0f + (float)(i / dim % 7) : 0.0f;
        for (uint64_t r = 0; r < rows; r++) {
            const float x = _i == ASCENDING       ? (float)r
                            : _i == DESCENDING    ? (float)(rows - r)
                            : _i == EQUAL         ? 1.0f
                            : _i == FEW_DIFFERENT ? (float)(gpu_hash(3, r) % 5)
                                                  : value(4, r);
            for (uint64_t k = 0; k < dim; k++)
                store(EUM_ELEMENT_FLOAT32, row_of(&d, r), k, k == 0 ? x : value(5, r * dim + k));
        }
        upload(&d);
        d.args.metric = EUM_METRIC_DOT;
        check_best(&d, ks, queries[n] > 8 ? 3 : 4);
        d.args.metric = EUM_METRIC_L2_SQUARED;
        check_best(&d, ks, 2);
        end(&d);
    }
}
END_TEST

START_TEST(rows_by_their_numbers_score_as_they_do_in_order)
{
    const uint64_t queries[] = {1, 5, 8, 20, 128}, rows = 3001, dim = 768, numbered = 5000;
    for (size_t n = 0; n < sizeof queries / sizeof *queries; n++) {
        for (int e = 0; e < 3; e++) {
            data d = make(elements[e], queries[n], rows, dim, 0, 0, 1);
            fill_with_all_kinds(&d, false);
            float *wanted = malloc(queries[n] * rows * sizeof *wanted);
            int64_t *numbers = malloc(numbered * sizeof *numbers), *device = NULL;
            for (uint64_t i = 0; i < numbered; i++)
                numbers[i] = (int64_t)(gpu_hash(9, i) % rows);
            CUDA(cudaMalloc((void **)&device, numbered * sizeof *numbers));
            CUDA(cudaMemcpy(device, numbers, numbered * sizeof *numbers, cudaMemcpyHostToDevice));
            d.args.metric = metrics[e];
            run(&d, false);
            memcpy(wanted, d.scores + 1, queries[n] * rows * sizeof *wanted);
            d.args.numbers = device;
            d.args.rows = 2000;
            run(&d, false);
            for (uint64_t i = 0; i < queries[n] * 2000; i++) {
                const float want = wanted[i / 2000 * rows + (uint64_t)numbers[i % 2000]], got = d.scores[1 + i];
                if (!(got == want || (isnan(got) && isnan(want))))
                    ck_abort_msg("%s: number %llu of query %llu: %.9g instead of %.9g", describe(&d),
                                 (unsigned long long)(i % 2000), (unsigned long long)(i / 2000), (double)got, (double)want);
            }
            CUDA(cudaFree(device));
            free(wanted);
            free(numbers);
            end(&d);
        }
    }
}
END_TEST

/* Rows that end before a first load of 8 or 16 bytes does. What the kernel before left in shared memory, here a query that is not a number, has no part
 * in their scores. */
START_TEST(short_rows_are_scored_by_what_they_have)
{
    const uint64_t gaps[] = {4, 8};
    const eum_element element = elements[_i % 3];
    data before = make(EUM_ELEMENT_FLOAT32, 1, 100000, 16, 0, 0, 1);
    fill_with_all_kinds(&before, false);
    for (uint64_t k = 0; k < 16; k++)
        query_of(&before, 0)[k] = NAN;
    upload(&before);
    before.args.metric = EUM_METRIC_COSINE;
    for (uint64_t dim = 1; dim <= 9; dim++) {
        for (size_t g = 0; g < sizeof gaps / sizeof *gaps; g++) {
            const uint64_t stride = (dim + gaps[g] - 1) / gaps[g] * gaps[g];
            data d = make(element, 1, 20011, dim, stride - dim, 0, 1);
            fill_with_all_kinds(&d, false);
            for (int m = 0; m < 3; m++) {
                run(&before, false);
                d.args.metric = metrics[m];
                (void)check_scores(&d);
            }
            end(&d);
        }
    }
    end(&before);
}
END_TEST

/* Up to 8 queries and more than 8 each give a score one value, whichever other queries there are. */
START_TEST(a_score_does_not_depend_on_the_other_queries)
{
    const uint64_t groups[2][4] = {{1, 2, 5, 8}, {9, 33, 100, 300}}, rows = 515, dims_[] = {100, 768, 3};
    for (size_t i = 0; i < 3; i++) {
        for (int group = 0; group < 2; group++) {
            data all = make(EUM_ELEMENT_FLOAT32, groups[group][3], rows, dims_[i], 0, 0, 1);
            fill_with_all_kinds(&all, false);
            for (int m = 0; m < 3; m++) {
                all.args.metric = metrics[m];
                all.args.query_count = groups[group][3];
                run(&all, false);
                float *wanted = malloc(groups[group][3] * rows * sizeof *wanted);
                memcpy(wanted, all.scores + 1, groups[group][3] * rows * sizeof *wanted);
                for (int n = 0; n < 3; n++) {
                    all.args.query_count = groups[group][n];
                    run(&all, false);
                    ck_assert_msg(memcmp(wanted, all.scores + 1, groups[group][n] * rows * sizeof *wanted) == 0, "%s",
                                  describe(&all));
                }
                free(wanted);
            }
            end(&all);
        }
    }
}
END_TEST

START_TEST(the_same_call_gives_the_same_bits)
{
    const uint64_t queries[] = {1, 8, 128};
    for (size_t n = 0; n < 3; n++) {
        data d = make(EUM_ELEMENT_FLOAT32, queries[n], 20011, 100, 0, 0, 100);
        fill_with_all_kinds(&d, false);
        d.args.metric = EUM_METRIC_COSINE;
        d.args.k = 100;
        run(&d, true);
        const size_t found = queries[n] * 100;
        float *scores = malloc(found * sizeof *scores);
        int64_t *indices = malloc(found * sizeof *indices);
        memcpy(scores, d.scores + 1, found * sizeof *scores);
        memcpy(indices, d.indices + 1, found * sizeof *indices);
        for (int again = 0; again < 20; again++) {
            run(&d, true);
            ck_assert_mem_eq(scores, d.scores + 1, found * sizeof *scores);
            ck_assert_mem_eq(indices, d.indices + 1, found * sizeof *indices);
        }
        free(scores);
        free(indices);
        end(&d);
    }
}
END_TEST

/* A replay finds the scratch memory as the one before left it: one query, and enough for the filter. */
START_TEST(a_captured_selection_can_be_replayed)
{
    const uint64_t queries = _i == 0 ? 1 : 20, ten = 10;
    data d = make(EUM_ELEMENT_FLOAT32, queries, 5003, 64, 0, 0, ten);
    fill_with_all_kinds(&d, false);
    d.args.metric = EUM_METRIC_DOT;
    check_best(&d, &ten, 1);
    const size_t found = (size_t)(queries * ten);
    int64_t *wanted = malloc(found * sizeof *wanted);
    memcpy(wanted, d.indices + 1, found * sizeof *wanted);
    d.args.k = ten;
    d.args.indices = d.device_indices + 1;
    void *scratch = NULL;
    cudaStream_t on;
    cudaGraph_t graph;
    cudaGraphExec_t ready;
    CUDA(cudaMalloc(&scratch, eum_scoring_cuda_scratch(&d.args)));
    CUDA(cudaStreamCreateWithFlags(&on, cudaStreamNonBlocking));
    CUDA(cudaStreamBeginCapture(on, cudaStreamCaptureModeThreadLocal));
    ck_assert_int_eq(eum_scoring_cuda(&d.args, scratch, on), 0);
    CUDA(cudaStreamEndCapture(on, &graph));
    CUDA(cudaGraphInstantiate(&ready, graph, 0));
    for (int again = 0; again < 5; again++) {
        poison(&d);
        CUDA(cudaGraphLaunch(ready, on));
        CUDA(cudaStreamSynchronize(on));
        CUDA(cudaMemcpy(d.indices, d.device_indices, d.index_count * sizeof *d.indices, cudaMemcpyDeviceToHost));
        ck_assert_mem_eq(wanted, d.indices + 1, found * sizeof *wanted);
    }
    CUDA(cudaGraphExecDestroy(ready));
    CUDA(cudaGraphDestroy(graph));
    CUDA(cudaStreamDestroy(on));
    CUDA(cudaFree(scratch));
    free(wanted);
    end(&d);
}
END_TEST

START_TEST(eum_topk_finds_the_same_rows_on_every_backing)
{
    const uint64_t rows = 3001, dim = 100, k = 10;
    open_context(backings[_i], 0);
    for (uint64_t queries = 1; queries <= 81; queries += 20) {
        eum_buffer *query = make_buffer(queries * dim * 4, EUM_ROLE_QUERY),
                   *targets = make_buffer(rows * dim * 4, EUM_ROLE_TARGETS);
        eum_buffer *scores = make_buffer(queries * rows * 4, EUM_ROLE_RESULTS),
                   *indices = make_buffer(queries * k * 8, EUM_ROLE_RESULTS);
        float *values = malloc(rows * dim * 4), *all = malloc(queries * rows * 4);
        int64_t *found = malloc(queries * k * 8);
        for (uint64_t i = 0; i < rows * dim; i++)
            values[i] = value(7, i);
        OK(eum_buffer_write(whole(targets), values));
        OK(eum_buffer_write(whole(query), values + 13 * dim));
        eum_similarity_config similarity = EUM_SIMILARITY_CONFIG_INIT;
        similarity.queries = whole(query), similarity.targets = whole(targets), similarity.scores = whole(scores);
        similarity.query_count = queries, similarity.rows = rows, similarity.dim = dim;
        OK(eum_similarity(stream, &similarity, NULL));
        OK(eum_buffer_read(whole(scores), all));
        eum_topk_config topk = EUM_TOPK_CONFIG_INIT;
        topk.queries = whole(query), topk.targets = whole(targets), topk.indices = whole(indices), topk.scores = whole(scores);
        topk.query_count = queries, topk.rows = rows, topk.dim = dim, topk.k = k;
        OK(eum_topk(stream, &topk, NULL));
        OK(eum_buffer_read(whole(indices), found));
        for (uint64_t q = 0; q < queries; q++) {
            ck_assert_int_eq(found[q * k], (int64_t)(13 + q)); /* the row that the query is */
            for (uint64_t i = 1; i < k; i++)
                ck_assert(all[q * rows + (uint64_t)found[q * k + i]] <= all[q * rows + (uint64_t)found[q * k + i - 1]]);
        }
        free(values);
        free(all);
        free(found);
        OK(eum_buffer_destroy(query));
        OK(eum_buffer_destroy(targets));
        OK(eum_buffer_destroy(scores));
        OK(eum_buffer_destroy(indices));
    }
    close_context();
}
END_TEST

Suite *gpu_scoring_suite(void);
Suite *gpu_scoring_suite(void)
{
    Suite *suite = suite_create("gpu_scoring");
    TCase *scratch = tcase_create("scratch"), *tests = tcase_create("gpu_scoring"); /* the first needs no GPU */
    tcase_set_timeout(tests, 120);
    tcase_add_test(scratch, the_scratch_memory_does_not_grow_with_rows_and_queries);
    tcase_add_test(scratch, fewer_rows_never_need_more_scratch_memory);
    tcase_add_test(tests, the_reference_is_that_of_the_cpu);
    tcase_add_loop_test(tests, the_scores_agree_with_float64, 0, DIMS * 3);
    tcase_add_loop_test(tests, short_rows_are_scored_by_what_they_have, 0, 3);
    tcase_add_loop_test(tests, the_best_rows_are_those_of_a_sort, 0, 7);
    tcase_add_loop_test(tests, the_order_of_the_rows_does_not_matter, 0, 5);
    tcase_add_test(tests, rows_by_their_numbers_score_as_they_do_in_order);
    tcase_add_test(tests, a_score_does_not_depend_on_the_other_queries);
    tcase_add_test(tests, the_same_call_gives_the_same_bits);
    tcase_add_loop_test(tests, a_captured_selection_can_be_replayed, 0, 2);
    tcase_add_loop_test(tests, eum_topk_finds_the_same_rows_on_every_backing, 0, BACKINGS);
    suite_add_tcase(suite, scratch);
    suite_add_tcase(suite, tests);
    return suite;
}
