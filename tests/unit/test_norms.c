/* Row norms that are kept with the targets: when they are made and read, and that no write is overlooked.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "scoring_problem.h"

#include "norms.h"

Suite *norms_suite(void);

static const problem many = {.operation = EUM_OPERATION_TOPK,
                             .metric = EUM_METRIC_COSINE,
                             .element = EUM_ELEMENT_FLOAT32,
                             .queries = 12,
                             .rows = 700,
                             .dim = 40,
                             .k = 9,
                             .seed = 5,
                             .real = true};
static const problem few = {.operation = EUM_OPERATION_SIMILARITY,
                            .metric = EUM_METRIC_COSINE,
                            .element = EUM_ELEMENT_BFLOAT16,
                            .queries = 3,
                            .rows = 130,
                            .dim = 33,
                            .row_gap = 3,
                            .offset = 2,
                            .seed = 6,
                            .real = true};

static eum_buf *inside(const eum_buffer *buffer)
{
    eum_buf *buf = NULL;
    OK(eum_pin_buffer(buffer, &buf));
    eum_handle_unpin(buffer);
    return buf;
}

static eum_norms *norms_of(const operands *o)
{
    return inside(o->targets)->norms;
}

static int state_of(const operands *o)
{
    return norms_of(o) == NULL ? -1 : (int)norms_of(o)->state;
}

/* The executor whose kernels keep norms: the CPU, as a job where the device's kernels run there, too. */
static eum_executor executor_of(int i)
{
    return i == 0 || !runs_cpu_kernels() ? EUM_EXECUTOR_CPU : EUM_EXECUTOR_DEVICE;
}

static bool are_kept(eum_context *context)
{
    return ctx_of(context)->isa != EUM_CPU_SCALAR;
}

static void answer(eum_context *context, const problem *p, arrays *a, const operands *o, eum_executor executor)
{
    eum_job job;
    memset(a->scores, 0xa5, a->score_count * 4);
    OK(start_problem(default_stream(context), p, a, o, executor, &job));
    OK(eum_job_wait(job, -1));
    read_answer(o, a);
}

/* What the same operands give where nothing is kept. */
static arrays first_answer(const problem *p)
{
    arrays a = make_arrays(p);
    eum_context *context = open_context();
    operands o = make_operands(context, p, &a, false);
    answer(context, p, &a, &o, EUM_EXECUTOR_CPU);
    end_operands(&o);
    close_context(context);
    return a;
}

START_TEST(they_are_kept_the_second_time_and_read_the_third)
{
    for (int which = 0; which < 4; which++) {
        const problem *p = which % 2 == 0 ? &many : &few;
        eum_context *context = open_context();
        arrays expected = first_answer(p), a = make_arrays(p);
        operands o = make_operands(context, p, &a, false);
        for (int time = 0; time < 4; time++) {
            answer(context, p, &a, &o, executor_of(which / 2));
            expect_same_answer(&a, &expected);
            if (are_kept(context))
                ck_assert_int_eq(state_of(&o), time == 0 ? EUM_NORMS_SEEN : EUM_NORMS_FULL);
        }
        if (are_kept(context)) { /* they are what the scores are made with */
            memset(norms_of(&o)->values, 0, p->rows * sizeof(float));
            answer(context, p, &a, &o, executor_of(which / 2));
            for (size_t i = 0; i < a.score_count; i++)
                ck_assert(a.scores[i] == 0.0f || isnan(a.scores[i]));
        }
        end_operands(&o);
        free_arrays(&a);
        free_arrays(&expected);
        close_context(context);
    }
}
END_TEST

/* Doubles what it is given: cosines stay as they are, and norms do not. */
static int32_t twice(const eum_kernel_call *call)
{
    float *values = call->addresses[0];
    for (size_t i = 0; i < call->bytes[0] / sizeof *values; i++)
        values[i] *= 2.0f;
    return 0;
}

static void launch_twice(eum_stream *stream, eum_buffer *targets)
{
    eum_argument argument = updates(whole(targets));
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.cpu = twice;
    config.arguments = &argument;
    config.argument_count = 1;
    OK(eum_launch(stream, &config, NULL));
}

typedef enum change { BY_WRITE, BY_MAP, BY_OVERWRITE, BY_LAUNCH, BY_ACQUISITION, CHANGES } change;

static void double_it(eum_context *context, arrays *a, eum_buffer *targets, change how)
{
    float *values = a->targets;
    for (size_t i = 0; i < a->target_bytes / 4; i++)
        values[i] *= 2.0f;
    eum_view view = whole(targets);
    void *address = NULL;
    if (how == BY_WRITE) {
        OK(eum_buffer_write(view, a->targets));
    } else if (how == BY_MAP || how == BY_OVERWRITE) {
        address = map(view, how == BY_MAP ? EUM_ACCESS_READ_WRITE : EUM_ACCESS_OVERWRITE);
        memcpy(address, a->targets, a->target_bytes);
        unmap(targets, address);
    } else if (how == BY_LAUNCH) {
        launch_twice(default_stream(context), targets);
    } else {
        eum_argument argument = updates(view);
        OK(eum_stream_acquire(default_stream(context), &argument, 1, &address));
        if (is_host(context)) /* code outside, on this device */
            memcpy(address, a->targets, a->target_bytes);
        OK(eum_stream_release(default_stream(context), &argument, 1, NULL));
        if (!is_host(context))
            OK(eum_buffer_write(view, a->targets));
    }
}

START_TEST(every_write_ends_them)
{
    for (int i = 0; i < 2 * CHANGES; i++) {
        change how = (change)(i / 2);
        if (how == BY_LAUNCH && !runs_cpu_kernels())
            continue;
        eum_context *context = open_context();
        arrays expected = first_answer(&many), a = make_arrays(&many);
        operands o = make_operands(context, &many, &a, false);
        for (int round = 0; round < 3; round++) {
            for (int time = 0; time < 3; time++) {
                answer(context, &many, &a, &o, executor_of(i % 2));
                expect_same_answer(&a, &expected);
            }
            ck_assert_int_eq(state_of(&o), are_kept(context) ? EUM_NORMS_FULL : -1);
            double_it(context, &a, o.targets, how);
        }
        end_operands(&o);
        free_arrays(&a);
        free_arrays(&expected);
        close_context(context);
    }
}
END_TEST

START_TEST(who_only_reads_ends_nothing)
{
    eum_context *context = open_context();
    arrays a = make_arrays(&many);
    operands o = make_operands(context, &many, &a, false);
    answer(context, &many, &a, &o, EUM_EXECUTOR_CPU);
    answer(context, &many, &a, &o, EUM_EXECUTOR_CPU);
    eum_norms *kept = norms_of(&o);
    void *copy = malloc(a.target_bytes), *address = map(whole(o.targets), EUM_ACCESS_READ);
    unmap(o.targets, address);
    OK(eum_buffer_read(whole(o.targets), copy));
    if (runs_cpu_kernels())
        OK(try_launch1(default_stream(context), (work){.kind = WORK_NOTHING}, reads(whole(o.targets))));
    OK(eum_buffer_prefetch(whole(o.targets), EUM_LOCATION_HOST, NULL));
    answer(context, &many, &a, &o, EUM_EXECUTOR_CPU);
    ck_assert_ptr_eq(norms_of(&o), kept);
    free(copy);
    end_operands(&o);
    free_arrays(&a);
    close_context(context);
}
END_TEST

START_TEST(calls_that_are_made_again_see_what_others_made_again_wrote)
{
    if (!runs_cpu_kernels())
        return;
    eum_context *context = open_context();
    eum_stream *stream = default_stream(context);
    arrays expected = first_answer(&many), a = make_arrays(&many);
    operands o = make_operands(context, &many, &a, false);
    for (int round = 0; round < 40; round++) {
        eum_job job;
        for (int time = 0; time < 3; time++)
            OK(start_problem(stream, &many, &a, &o, EUM_EXECUTOR_DEVICE, &job));
        launch_twice(stream, o.targets);
        OK(start_problem(stream, &many, &a, &o, EUM_EXECUTOR_DEVICE, &job));
        if (round % 8 == 7) {
            OK(eum_job_wait(job, -1));
            read_answer(&o, &a);
            expect_same_answer(&a, &expected);
        }
    }
    end_operands(&o);
    free_arrays(&a);
    free_arrays(&expected);
    close_context(context);
}
END_TEST

START_TEST(wrapped_memory_single_queries_short_rows_and_other_metrics_have_none)
{
    for (int i = 0; i < 5; i++) {
        problem p = many;
        p.queries = i == 1 ? 1 : p.queries;
        p.dim = i == 2 ? EUM_NORMS_LEAST_DIM - 1 : p.dim;
        p.metric = i == 3 ? EUM_METRIC_DOT : p.metric;
        p.operation = i == 4 ? EUM_OPERATION_ROWS : p.operation;
        p.numbers = i == 4 ? 20 : 0;
        eum_context *context = open_context();
        arrays a = make_arrays(&p);
        operands o = make_operands(context, &p, &a, i == 0);
        for (int time = 0; time < 3; time++)
            answer(context, &p, &a, &o, EUM_EXECUTOR_CPU);
        ck_assert_ptr_null(norms_of(&o));
        end_operands(&o);
        free_arrays(&a);
        close_context(context);
    }
}
END_TEST

static eum_norms *begin(eum_buf *buf, uint64_t offset, uint64_t version, eum_scoring_args *args)
{
    return eum_norms_begin(buf, offset, &version, args);
}

START_TEST(another_shape_or_version_has_others)
{
    eum_context *context = open_context();
    eum_buffer *buffer = new_buffer(context, 4096);
    eum_buf *buf = inside(buffer);
    eum_scoring_args args = {
        .metric = EUM_METRIC_COSINE, .element = EUM_ELEMENT_FLOAT32, .query_count = 2, .rows = 8, .dim = 32, .row_stride = 128};
    ck_assert(eum_norms_serve(buf, &args, EUM_CPU_AVX2));
    ck_assert_ptr_null(begin(buf, 0, 5, &args));
    ck_assert_ptr_null(args.norms);
    eum_norms *norms = begin(buf, 0, 5, &args);
    ck_assert_ptr_nonnull(norms);
    ck_assert_ptr_nonnull(args.norms);
    ck_assert(!args.norms_known);
    eum_scoring_args others = args;
    ck_assert_ptr_null(begin(buf, 0, 5, &others)); /* not yet */
    eum_norms_done(norms, &args, false);
    norms = begin(buf, 0, 5, &args); /* whoever failed leaves it to the next */
    ck_assert_ptr_nonnull(norms);
    ck_assert(!args.norms_known);
    eum_norms_done(norms, &args, true);
    ck_assert_ptr_null(begin(buf, 0, 4, &others)); /* a job that has waited long finds nothing, and does no harm */
    norms = begin(buf, 0, 5, &args);
    ck_assert(args.norms_known);
    ck_assert_ptr_null(begin(buf, 0, 6, &others));
    ck_assert_int_eq(buf->norms->state, EUM_NORMS_SEEN);
    args.norms[7] = 1; /* who has them, has them to the end */
    eum_norms_done(norms, &args, true);
    for (int i = 0; i < 5; i++) {
        others = args;
        others.rows -= i == 0;
        others.dim -= i == 1;
        others.row_stride += i == 2 ? 4 : 0;
        others.element = i == 3 ? EUM_ELEMENT_FLOAT16 : others.element;
        ck_assert_ptr_null(begin(buf, i == 4 ? 128 : 0, 7, &others));
        ck_assert_ptr_null(begin(buf, 0, 7, &args));
    }
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

typedef struct searcher {
    eum_context *context;
    eum_buffer *targets;
    const arrays *expected;
    int number;
} searcher;

static void *search_often(void *arg)
{
    const searcher *s = arg;
    arrays a = make_arrays(&many);
    operands o = make_operands(s->context, &many, &a, false);
    OK(eum_buffer_destroy(o.targets));
    o.targets = s->targets;
    for (int i = 0; i < 30; i++) {
        answer(s->context, &many, &a, &o, executor_of((i + s->number) % 2));
        expect_same_answer(&a, s->expected);
    }
    o.targets = NULL;
    OK(eum_buffer_destroy(o.queries));
    OK(eum_buffer_destroy(o.scores));
    OK(eum_buffer_destroy(o.indices));
    free_arrays(&a);
    return NULL;
}

START_TEST(threads_share_them)
{
    if (takes_turns())
        return; /* what one thread holds, another one's kernels may not use */
    eum_context *context = open_context();
    arrays expected = first_answer(&many), a = make_arrays(&many);
    operands o = make_operands(context, &many, &a, false);
    searcher searchers[4];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        searchers[i] = (searcher){context, o.targets, &expected, i};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, search_often, &searchers[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_int_eq(state_of(&o), are_kept(context) ? EUM_NORMS_FULL : -1);
    end_operands(&o);
    free_arrays(&a);
    free_arrays(&expected);
    close_context(context);
}
END_TEST

Suite *norms_suite(void)
{
    Suite *suite = suite_create("norms");
    TCase *tests = tcase_create("norms");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, they_are_kept_the_second_time_and_read_the_third);
    tcase_add_test(tests, every_write_ends_them);
    tcase_add_test(tests, who_only_reads_ends_nothing);
    tcase_add_test(tests, calls_that_are_made_again_see_what_others_made_again_wrote);
    tcase_add_test(tests, wrapped_memory_single_queries_short_rows_and_other_metrics_have_none);
    tcase_add_test(tests, another_shape_or_version_has_others);
    tcase_add_test(tests, threads_share_them);
    suite_add_tcase(suite, tests);
    return suite;
}
