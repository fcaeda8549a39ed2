/* Similarity operations whose operands find no room on the device: they go in chunks, and give the same bits as with room.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "scoring_problem.h"

Suite *chunks_suite(void);

/* Memory of which the device reaches only what is copied: wrapped, pageable, on every simulated architecture. */
static const char *const devices[] = {"sim:maxwell", "sim:pascal", "sim:turing", "sim:ampere", "sim:hopper"};
#define DEVICES ((int)(sizeof devices / sizeof *devices))
#define SMALL (1 * MIB)

static eum_context *open_sized(int device, uint64_t budget)
{
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    config.device = devices[device];
    config.budget_bytes = budget;
    config.worker_threads = 2;
    return open_with(&config);
}

static void answer(eum_context *context, const problem *p, arrays *a, bool chunked)
{
    operands o = make_operands(context, p, a, true);
    eum_job job;
    OK(start_problem(default_stream(context), p, a, &o, EUM_EXECUTOR_DEVICE, &job));
    if (chunked) {
        OK(eum_job_wait(job, 0)); /* done on return */
        ck_assert_uint_eq(operation_stats(context, p->operation).chunked, 1);
    }
    wait_job(job);
    ck_assert_uint_eq(operation_stats(context, p->operation).runs[EUM_EXECUTOR_DEVICE], 1);
    read_answer(&o, a);
    end_operands(&o);
}

static void expect_equal_with_and_without_room(int device, const problem *p)
{
    arrays roomy = make_arrays(p), tight = make_arrays(p);
    eum_context *context = open_sized(device, 0);
    answer(context, p, &roomy, false);
    ck_assert_uint_eq(operation_stats(context, p->operation).chunked, 0);
    close_context(context);
    context = open_sized(device, SMALL);
    answer(context, p, &tight, true);
    ck_assert_uint_le(info_of(context).budget_used, SMALL);
    close_context(context);
    expect_same_answer(&roomy, &tight);
    free_arrays(&roomy);
    free_arrays(&tight);
}

START_TEST(targets_that_do_not_fit_give_the_same_scores)
{
    for (eum_metric metric = EUM_METRIC_COSINE; metric <= EUM_METRIC_L2_SQUARED; metric++) {
        problem one = {
            .operation = EUM_OPERATION_COSINE, .metric = 1, .element = 1, .queries = 1, .rows = 5000, .dim = 77, .seed = 3};
        if (metric == EUM_METRIC_COSINE)
            expect_equal_with_and_without_room(_i, &one);
        problem few = {
            .operation = EUM_OPERATION_SIMILARITY, .metric = metric, .element = 1, .queries = 5, .rows = 4000, .dim = 100};
        few.query_gap = 3;
        few.row_gap = 28;
        few.offset = 5;
        expect_equal_with_and_without_room(_i, &few);
        problem many = few;
        few.real = true;
        expect_equal_with_and_without_room(_i, &few);
        many.queries = 21;
        many.real = true;
        many.element = metric == EUM_METRIC_COSINE ? EUM_ELEMENT_FLOAT16 : EUM_ELEMENT_BFLOAT16;
        many.rows = 9000;
        many.row_gap = metric == EUM_METRIC_DOT ? 1 : 0;
        expect_equal_with_and_without_room(_i, &many);
    }
}
END_TEST

START_TEST(the_best_rows_of_chunks_are_the_best_rows_with_ties_to_the_lower_row)
{
    for (eum_metric metric = EUM_METRIC_COSINE; metric <= EUM_METRIC_L2_SQUARED; metric++) {
        static const uint64_t best[] = {1, 10, 1024}; /* few values and short rows: most scores tie */
        for (int i = 0; i < 3; i++) {
            problem p = {.operation = EUM_OPERATION_TOPK, .metric = metric, .element = 1, .queries = i == 1 ? 12 : 3, .dim = 4};
            p.rows = 70000 + 1111 * (uint64_t)metric;
            p.k = best[i];
            p.row_gap = (size_t)i;
            expect_equal_with_and_without_room(_i, &p);
        }
    }
    /* A chunk has fewer rows than k: rows so long that one fills a stage. */
    problem p = {.operation = EUM_OPERATION_TOPK, .metric = 2, .element = 1, .queries = 1, .rows = 5, .dim = 80000, .k = 9};
    expect_equal_with_and_without_room(_i, &p);
}
END_TEST

START_TEST(listed_rows_are_gathered)
{
    for (uint64_t queries = 1; queries <= 33; queries += 16) {
        problem p = {.operation = EUM_OPERATION_ROWS, .metric = 3, .element = 1, .queries = queries, .rows = 6000, .dim = 70};
        p.numbers = 8000;
        p.row_gap = 2;
        expect_equal_with_and_without_room(_i, &p);
        p.numbers = 3;
        expect_equal_with_and_without_room(_i, &p);
    }
}
END_TEST

START_TEST(queries_and_scores_that_do_not_fit_pass_in_blocks)
{
    problem p = {.operation = EUM_OPERATION_SIMILARITY, .metric = 2, .element = 1, .queries = 6001, .rows = 90, .dim = 60};
    expect_equal_with_and_without_room(_i, &p); /* 1.4 MB of queries, 2.1 MB of scores */
    p.operation = EUM_OPERATION_TOPK;
    p.k = 30;
    expect_equal_with_and_without_room(_i, &p);
    p = (problem){
        .operation = EUM_OPERATION_SIMILARITY, .metric = 1, .element = 1, .queries = 19, .rows = 20000, .dim = 3, .real = true};
    expect_equal_with_and_without_room(_i, &p); /* 1.5 MB of scores alone; blocks of more than eight queries stay more */
    p.query_gap = 5000;                         /* far apart, but not many bytes */
    expect_equal_with_and_without_room(_i, &p);
}
END_TEST

START_TEST(random_shapes_give_the_same_with_and_without_room)
{
    for (uint32_t seed = 1; seed <= 8; seed++) {
        uint32_t draw = 100 * seed + (uint32_t)_i;
        problem p = {.seed = seed, .operation = (eum_operation)(2 + word_at(draw, 0) % 3)};
        p.metric = (eum_metric)(1 + word_at(draw, 1) % 3);
        p.element = (eum_element)(1 + word_at(draw, 2) % 3);
        p.queries = 1 + word_at(draw, 3) % 30;
        p.dim = 1 + word_at(draw, 4) % 300;
        p.query_gap = word_at(draw, 5) % 3 * 7;
        p.row_gap = word_at(draw, 6) % 3 * 5;
        p.real = seed % 2 == 0;
        p.offset = word_at(draw, 7) % 9;
        p.k = p.operation == EUM_OPERATION_TOPK ? 1 + word_at(draw, 8) % 40 : 0;
        p.rows = (SMALL + word_at(draw, 9) % SMALL) / (p.dim + p.row_gap) / element_size(p.element) + 1;
        p.numbers = p.operation == EUM_OPERATION_ROWS ? 1 + word_at(draw, 10) % 5000 : 0;
        expect_equal_with_and_without_room(_i, &p);
    }
}
END_TEST

/* ----------------------------------------------------------------------------------------- what is still refused ---- */

static const problem too_large = {
    .operation = EUM_OPERATION_SIMILARITY, .metric = 1, .element = 1, .queries = 2, .rows = 5000, .dim = 80};

START_TEST(a_kernel_of_the_users_own_is_refused_with_the_numbers)
{
    eum_context *context = open_sized(_i, SMALL);
    arrays a = make_arrays(&too_large);
    operands o = make_operands(context, &too_large, &a, true);
    GIVES(EUM_ERROR_OVER_BUDGET, try_launch1(default_stream(context), (work){.kind = WORK_NOTHING}, reads(whole(o.targets))));
    eum_error error = EUM_ERROR_INIT;
    OK(eum_last_error(&error));
    ck_assert_msg(strstr(error.sentence, "1600000") != NULL && strstr(error.sentence, "1048576") != NULL, "%s", error.sentence);
    end_operands(&o);
    free_arrays(&a);
    close_context(context);
}
END_TEST

typedef struct from_callback {
    eum_stream *stream;
    const problem *p;
    const arrays *a;
    const operands *o;
    eum_status status;
} from_callback;

static int32_t score_from_callback(const eum_kernel_call *call)
{
    from_callback *f = call->user;
    f->status = start_problem(f->stream, f->p, f->a, f->o, EUM_EXECUTOR_AUTO, NULL);
    return 0;
}

START_TEST(inside_a_callback_which_must_not_wait_it_fails_as_a_launch_would)
{
    eum_context *context = open_sized(_i, SMALL);
    arrays a = make_arrays(&too_large);
    operands o = make_operands(context, &too_large, &a, true);
    from_callback f = {new_stream(context), &too_large, &a, &o, EUM_OK};
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.cpu = score_from_callback;
    config.user = &f;
    eum_job job;
    OK(eum_launch(default_stream(context), &config, &job));
    wait_job(job);
    GIVES(EUM_ERROR_OVER_BUDGET, f.status);
    OK(eum_stream_destroy(f.stream));
    end_operands(&o);
    free_arrays(&a);
    close_context(context);
}
END_TEST

START_TEST(a_failure_midway_leaves_the_results_undefined_and_the_rest_as_it_was)
{
    eum_context *context = open_sized(_i, SMALL);
    arrays a = make_arrays(&too_large), expected = make_arrays(&too_large);
    operands o = make_operands(context, &too_large, &a, true);
    eum_stream *stream = default_stream(context);
    OK(start_problem(stream, &too_large, &a, &o, EUM_EXECUTOR_DEVICE, NULL));
    read_answer(&o, &expected);
    eum_sim_fail(device_of(context), EUM_SIM_SUBMIT, 3); /* the first chunk's results have been taken by then */
    GIVES(EUM_ERROR_LAUNCH_FAILED, start_problem(stream, &too_large, &a, &o, EUM_EXECUTOR_DEVICE, NULL));
    GIVES(EUM_ERROR_UNDEFINED_DATA, eum_buffer_read(whole(o.scores), expected.scores));
    OK(start_problem(stream, &too_large, &a, &o, EUM_EXECUTOR_DEVICE, NULL));
    read_answer(&o, &a);
    expect_same_answer(&expected, &a);
    eum_sim_fail(device_of(context), EUM_SIM_SUBMIT, 1); /* nothing had been written */
    GIVES(EUM_ERROR_LAUNCH_FAILED, start_problem(stream, &too_large, &a, &o, EUM_EXECUTOR_DEVICE, NULL));
    read_answer(&o, &a);
    expect_same_answer(&expected, &a);
    end_operands(&o);
    free_arrays(&a);
    free_arrays(&expected);
    close_context(context);
}
END_TEST

START_TEST(a_map_that_conflicts_is_an_error_before_anything_is_written)
{
    eum_context *context = open_sized(_i, SMALL);
    arrays a = make_arrays(&too_large);
    operands o = make_operands(context, &too_large, &a, true);
    const unsigned char *bytes = map(part(o.scores, 400, 40), EUM_ACCESS_READ);
    GIVES(EUM_ERROR_MAPPED, start_problem(default_stream(context), &too_large, &a, &o, EUM_EXECUTOR_AUTO, NULL));
    for (int i = 0; i < 40; i++)
        ck_assert_uint_eq(bytes[i], 0xa5);
    unmap(o.scores, (void *)(uintptr_t)bytes);
    end_operands(&o);
    free_arrays(&a);
    close_context(context);
}
END_TEST

/* Somebody who maps the results as soon as the first chunk is waited for. */
static struct eum_device_ops meddling;
static const struct eum_device_ops *plain;
static eum_buffer *meddled_with;
static atomic_int waits;
static eum_status meddled;
static void *seen;

static void *map_results(void *arg)
{
    (void)arg;
    meddled = eum_buffer_map(part(meddled_with, 0, 40), EUM_ACCESS_READ, &seen);
    return NULL;
}

static eum_status wait_and_meddle(eum_dstream *stream, uint64_t sequence, int64_t timeout_ns)
{
    eum_status status = plain->wait(stream, sequence, timeout_ns);
    if (atomic_fetch_add(&waits, 1) == 2) {
        pthread_t thread;
        ck_assert_int_eq(pthread_create(&thread, NULL, map_results, NULL), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
    }
    return status;
}

START_TEST(nobody_has_the_results_until_all_chunks_have_been_written)
{
    eum_context *context = open_sized(_i, SMALL);
    arrays a = make_arrays(&too_large), expected = make_arrays(&too_large);
    operands o = make_operands(context, &too_large, &a, true);
    OK(start_problem(default_stream(context), &too_large, &a, &o, EUM_EXECUTOR_DEVICE, NULL));
    read_answer(&o, &expected);
    meddled_with = o.scores;
    meddled = EUM_OK;
    plain = device_of(context)->ops;
    meddling = *plain;
    meddling.wait = wait_and_meddle;
    atomic_store(&waits, 0);
    device_of(context)->ops = &meddling;
    OK(start_problem(default_stream(context), &too_large, &a, &o, EUM_EXECUTOR_DEVICE, NULL));
    device_of(context)->ops = plain;
    ck_assert_int_gt(atomic_load(&waits), 2);
    ck_assert_int_eq(meddled, EUM_ERROR_MAPPED);
    ck_assert_uint_eq(operation_stats(context, too_large.operation).chunked, 2);
    read_answer(&o, &a);
    expect_same_answer(&expected, &a);
    end_operands(&o);
    free_arrays(&a);
    free_arrays(&expected);
    close_context(context);
}
END_TEST

Suite *chunks_suite(void)
{
    Suite *suite = suite_create("chunks");
    TCase *tests = tcase_create("chunks");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, targets_that_do_not_fit_give_the_same_scores, 0, DEVICES);
    tcase_add_loop_test(tests, the_best_rows_of_chunks_are_the_best_rows_with_ties_to_the_lower_row, 0, DEVICES);
    tcase_add_loop_test(tests, listed_rows_are_gathered, 0, DEVICES);
    tcase_add_loop_test(tests, queries_and_scores_that_do_not_fit_pass_in_blocks, 0, DEVICES);
    tcase_add_loop_test(tests, random_shapes_give_the_same_with_and_without_room, 0, DEVICES);
    tcase_add_loop_test(tests, a_kernel_of_the_users_own_is_refused_with_the_numbers, 0, DEVICES);
    tcase_add_loop_test(tests, inside_a_callback_which_must_not_wait_it_fails_as_a_launch_would, 0, DEVICES);
    tcase_add_loop_test(tests, a_failure_midway_leaves_the_results_undefined_and_the_rest_as_it_was, 0, DEVICES);
    tcase_add_loop_test(tests, a_map_that_conflicts_is_an_error_before_anything_is_written, 0, DEVICES);
    tcase_add_loop_test(tests, nobody_has_the_results_until_all_chunks_have_been_written, 0, DEVICES);
    suite_add_tcase(suite, tests);
    return suite;
}
