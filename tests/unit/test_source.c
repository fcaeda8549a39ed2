/* Targets in memory of the caller's: the scores of a buffer, without one.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "scoring_problem.h"

Suite *source_suite(void);

static const char *const devices[] = {"host", "sim:maxwell", "sim:pascal", "sim:turing", "sim:ampere", "sim:hopper"};
#define DEVICES ((int)(sizeof devices / sizeof *devices))
#define SMALL (1 * MIB)

static eum_context *open_sized(int device, uint64_t budget)
{
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    config.device = devices[device];
    config.budget_bytes = device == 0 ? 0 : budget;
    config.worker_threads = 2;
    return open_with(&config);
}

/* Of a buffer, in one launch. */
static arrays expected_answer(int device, const problem *p)
{
    problem buffered = *p;
    buffered.source = false;
    buffered.offset = 0;
    arrays a = make_arrays(&buffered);
    eum_context *context = open_sized(device, 0);
    operands o = make_operands(context, &buffered, &a, false);
    eum_job job;
    OK(start_problem(default_stream(context), &buffered, &a, &o, EUM_EXECUTOR_DEVICE, &job));
    wait_job(job);
    read_answer(&o, &a);
    end_operands(&o);
    close_context(context);
    return a;
}

/* The array is gone when the call has returned. */
static void score_and_free(eum_context *context, const problem *p, arrays *a, const operands *o, eum_executor executor)
{
    eum_job job = {context, 7, 7};
    OK(start_problem(default_stream(context), p, a, o, executor, &job));
    memset(a->targets, 0xee, a->target_bytes);
    free(a->targets);
    a->targets = NULL;
    OK(eum_job_wait(job, 0));
    read_answer(o, a);
}

static bool runs_on(eum_context *context, const problem *p, eum_executor executor)
{
    eum_operation_stats stats = operation_stats(context, p->operation);
    return stats.runs[executor] == 1 && stats.timed[executor] == 1 && stats.last_executor == executor;
}

static void expect_scores_of_a_buffer(int device, problem p, uint64_t budget, bool wrapped)
{
    p.source = true;
    arrays expected = expected_answer(device, &p);
    for (eum_executor executor = EUM_EXECUTOR_CPU; executor <= EUM_EXECUTOR_DEVICE; executor++) {
        arrays a = make_arrays(&p);
        eum_context *context = open_sized(device, budget);
        operands o = make_operands(context, &p, &a, wrapped);
        score_and_free(context, &p, &a, &o, executor);
        expect_same_answer(&expected, &a);
        ck_assert(runs_on(context, &p, device == 0 ? EUM_EXECUTOR_CPU : executor));
        ck_assert_uint_eq(operation_stats(context, p.operation).chunked, device != 0 && executor == EUM_EXECUTOR_DEVICE);
        if (budget != 0 && device != 0)
            ck_assert_uint_le(info_of(context).budget_used, budget);
        end_operands(&o);
        close_context(context);
        free_arrays(&a);
    }
    free_arrays(&expected);
}

static problem drawn(uint32_t draw)
{
    problem p = {.seed = draw, .operation = (eum_operation)(1 + word_at(draw, 0) % 4), .metric = 1, .element = 1, .queries = 1};
    p.dim = 1 + word_at(draw, 4) % 300;
    if (p.operation != EUM_OPERATION_COSINE) {
        p.metric = (eum_metric)(1 + word_at(draw, 1) % 3);
        p.element = (eum_element)(1 + word_at(draw, 2) % 3);
        p.queries = word_at(draw, 3) % 3 == 0 ? 1 : 1 + word_at(draw, 3) % 30;
        p.query_gap = word_at(draw, 5) % 3 * 7;
    }
    p.row_gap = word_at(draw, 6) % 3 * 5;
    p.real = draw % 2 == 0;
    p.offset = word_at(draw, 7) % 9;
    p.k = p.operation == EUM_OPERATION_TOPK ? 1 + word_at(draw, 8) % 40 : 0;
    p.rows = word_at(draw, 9) % (7 * MIB) / (p.dim + p.row_gap) / element_size(p.element) + 1; /* one chunk or two */
    p.numbers = p.operation == EUM_OPERATION_ROWS ? 1 + word_at(draw, 10) % 5000 : 0;
    return p;
}

START_TEST(the_scores_are_the_bits_of_a_buffer)
{
    for (uint32_t seed = 1; seed <= 10; seed++)
        expect_scores_of_a_buffer(_i, drawn(100 * seed + (uint32_t)_i), 0, seed % 3 == 0);
}
END_TEST

START_TEST(so_they_are_with_little_room)
{
    for (uint32_t seed = 1; seed <= 6; seed++)
        expect_scores_of_a_buffer(_i, drawn(1000 * seed + (uint32_t)_i), SMALL, seed % 2 == 0);
}
END_TEST

START_TEST(one_row_and_none)
{
    for (eum_operation operation = EUM_OPERATION_COSINE; operation <= EUM_OPERATION_TOPK; operation++) {
        problem p = {.operation = operation, .metric = 1, .element = 1, .queries = 1, .rows = 1, .dim = 5, .source = true};
        p.k = operation == EUM_OPERATION_TOPK ? 3 : 0;
        expect_scores_of_a_buffer(_i, p, 0, false);
        p.rows = 0;
        eum_context *context = open_sized(_i, 0);
        arrays a = make_arrays(&p);
        operands o = make_operands(context, &p, &a, false);
        eum_job job;
        OK(start_problem(default_stream(context), &p, &a, &o, EUM_EXECUTOR_DEVICE, &job));
        OK(eum_job_wait(job, 0));
        read_answer(&o, &a);
        for (size_t i = 0; i < a.index_count; i++)
            ck_assert(a.indices[i] == -1 && isnan(a.scores[i]));
        end_operands(&o);
        close_context(context);
        free_arrays(&a);
    }
}
END_TEST

/* ---------------------------------------------------------------------------------------------- how it gets there --- */

/* Of little room. */
static const problem several_chunks = {
    .operation = EUM_OPERATION_COSINE, .metric = 1, .element = 1, .queries = 1, .rows = 2000, .dim = 512, .source = true};

START_TEST(staging_memory_is_allocated_once)
{
    for (uint64_t queries = 1; queries <= 10; queries += 9) {
        problem p = several_chunks;
        p.operation = EUM_OPERATION_TOPK;
        p.queries = queries;
        p.k = 4;
        eum_context *context = open_sized(_i, 8 * MIB);
        arrays a = make_arrays(&p);
        operands o = make_operands(context, &p, &a, false);
        eum_stats before = stats_of(context);
        uint64_t chunks = 0;
        for (int round = 0; round < 5; round++) { /* small blocks may have to find their places first */
            OK(start_problem(default_stream(context), &p, &a, &o, EUM_EXECUTOR_DEVICE, NULL));
            eum_stats now = stats_of(context);
            for (int kind = 1; kind < EUM_MEMORY_KINDS && round > 1; kind++)
                ck_assert_uint_eq(now.raw_allocations[kind], before.raw_allocations[kind]);
            ck_assert_uint_eq(now.buffers_live, 3);
            ck_assert_uint_eq(now.launches - before.launches, round == 0 ? now.launches : chunks);
            chunks = now.launches - before.launches;
            before = now;
        }
        end_operands(&o);
        close_context(context);
        free_arrays(&a);
    }
}
END_TEST

START_TEST(registered_memory_is_read_in_place)
{
    arrays expected = expected_answer(_i, &several_chunks);
    arrays a = make_arrays(&several_chunks);
    eum_context *context = open_sized(_i, 0);
    eum_wrap_config config = EUM_WRAP_CONFIG_INIT;
    eum_buffer *registered = NULL;
    config.address = a.targets;
    config.bytes = a.target_bytes;
    config.flags = EUM_WRAP_REGISTER;
    OK(eum_buffer_wrap(context, &config, &registered));
    operands o = make_operands(context, &several_chunks, &a, false);
    uint64_t moved = stats_of(context).bytes_to_device;
    eum_job job;
    OK(start_problem(default_stream(context), &several_chunks, &a, &o, EUM_EXECUTOR_DEVICE, &job));
    OK(eum_job_wait(job, 0));
    read_answer(&o, &a);
    expect_same_answer(&expected, &a);
    ck_assert_uint_eq(operation_stats(context, several_chunks.operation).chunked, 0);
    ck_assert_uint_le(stats_of(context).bytes_to_device - moved, a.query_bytes); /* none of the targets */
    problem many = several_chunks; /* rows that are read more than once had better be on the device */
    many.operation = EUM_OPERATION_SIMILARITY;
    many.queries = 9;
    arrays all = make_arrays(&many);
    operands more = make_operands(context, &many, &all, false);
    free(all.targets);
    all.targets = a.targets;
    OK(start_problem(default_stream(context), &many, &all, &more, EUM_EXECUTOR_DEVICE, &job));
    ck_assert_uint_eq(operation_stats(context, many.operation).chunked, _i != 0);
    all.targets = NULL;
    free_arrays(&all);
    end_operands(&more);
    OK(eum_buffer_destroy(registered));
    end_operands(&o);
    close_context(context);
    free_arrays(&a);
    free_arrays(&expected);
}
END_TEST

START_TEST(pinned_memory_of_the_librarys_own_is_read_in_place)
{
    int device = 1 + _i; /* there is none on the host */
    arrays expected = expected_answer(device, &several_chunks), a = make_arrays(&several_chunks);
    eum_context *context = open_sized(device, 0);
    operands o = make_operands(context, &several_chunks, &a, false);
    eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
    eum_buffer *mapped = NULL;
    config.backing = EUM_BACKING_MAPPED;
    OK(eum_buffer_create(context, a.target_bytes + 8, &config, &mapped));
    float *rows = map(whole(mapped), EUM_ACCESS_OVERWRITE);
    memcpy(rows, a.targets, a.target_bytes);
    arrays there = a;
    there.targets = rows;
    OK(start_problem(default_stream(context), &several_chunks, &there, &o, EUM_EXECUTOR_DEVICE, NULL));
    read_answer(&o, &a);
    expect_same_answer(&expected, &a);
    ck_assert_uint_eq(operation_stats(context, several_chunks.operation).chunked, 0);
    memcpy(rows + 1, a.targets, a.target_bytes); /* where kernels would read it otherwise, and give other bits */
    there.targets = rows + 1;
    OK(start_problem(default_stream(context), &several_chunks, &there, &o, EUM_EXECUTOR_DEVICE, NULL));
    read_answer(&o, &a);
    expect_same_answer(&expected, &a);
    ck_assert_uint_eq(operation_stats(context, several_chunks.operation).chunked, 1);
    unmap(mapped, rows);
    OK(eum_buffer_destroy(mapped));
    end_operands(&o);
    close_context(context);
    free_arrays(&a);
    free_arrays(&expected);
}
END_TEST

START_TEST(a_small_batch_is_scored_where_it_is_and_one_with_much_to_compute_streams)
{
    for (int large = 0; large < 2; large++) {
        problem p = several_chunks; /* of one query a CPU scores as fast as it copies: what is computed must pay */
        p.operation = EUM_OPERATION_SIMILARITY;
        p.queries = large ? 128 : 1;
        p.rows = large ? 4000 : 20;
        arrays a = make_arrays(&p);
        eum_context *context = open_sized(_i, 0);
        operands o = make_operands(context, &p, &a, false);
        eum_stats before = stats_of(context);
        OK(start_problem(default_stream(context), &p, &a, &o, EUM_EXECUTOR_AUTO, NULL));
        eum_operation_stats ran = operation_stats(context, p.operation);
        bool on_cpu = _i == 0 || !large;
        ck_assert_int_eq(ran.last_executor, on_cpu ? EUM_EXECUTOR_CPU : EUM_EXECUTOR_DEVICE);
        ck_assert_uint_gt(ran.last_predicted_ns[ran.last_executor], 0);
        eum_stats after = stats_of(context);
        for (int kind = 1; kind < EUM_MEMORY_KINDS && on_cpu; kind++) /* no copy of it anywhere */
            ck_assert_uint_eq(after.raw_allocations[kind], before.raw_allocations[kind]);
        ck_assert_uint_eq(after.launches > before.launches, !on_cpu);
        end_operands(&o);
        close_context(context);
        free_arrays(&a);
    }
}
END_TEST

/* -------------------------------------------------------------------------------------------------------- failures -- */

/* Each call of a kind in turn: an error or the right scores, and all is well afterwards. */
static void fail_each(int device, const problem *p, uint64_t budget, eum_sim_operation operation, eum_executor executor)
{
    arrays expected = expected_answer(device, p);
    uint64_t failed = 0;
    for (uint64_t nth = 1;; nth++) {
        arrays a = make_arrays(p);
        eum_context *context = open_sized(device, budget);
        operands o = make_operands(context, p, &a, false);
        uint64_t calls = eum_sim_calls(device_of(context), operation);
        eum_sim_fail(device_of(context), operation, nth);
        eum_status status = start_problem(default_stream(context), p, &a, &o, executor, NULL);
        bool reached = eum_sim_calls(device_of(context), operation) - calls >= nth;
        eum_sim_fail(device_of(context), operation, 0);
        failed += status != EUM_OK;
        ck_assert(status == EUM_OK || reached);
        if (status != EUM_OK) {
            eum_status read = eum_buffer_read(whole(o.scores), a.scores);
            ck_assert(read == EUM_OK || read == EUM_ERROR_UNDEFINED_DATA);
            OK(start_problem(default_stream(context), p, &a, &o, executor, NULL));
        }
        free(a.targets);
        a.targets = NULL;
        read_answer(&o, &a);
        expect_same_answer(&expected, &a);
        end_operands(&o);
        close_context(context);
        free_arrays(&a);
        if (!reached)
            break;
        ck_assert_uint_lt(nth, 200);
    }
    free_arrays(&expected);
    if (operation == EUM_SIM_SUBMIT || executor == EUM_EXECUTOR_AUTO)
        ck_assert_uint_eq(failed > 0, executor == EUM_EXECUTOR_DEVICE); /* AUTO has the CPU do it */
}

START_TEST(every_failure_of_the_device_is_an_error_or_does_no_harm)
{
    static const eum_sim_operation operations[] = {EUM_SIM_ALLOC, EUM_SIM_COPY,  EUM_SIM_SUBMIT,
                                                   EUM_SIM_MARK,  EUM_SIM_ORDER, EUM_SIM_ADOPT};
    problem best = several_chunks;
    best.operation = EUM_OPERATION_TOPK;
    best.queries = 10;
    best.k = 4;
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        fail_each(1 + _i, &several_chunks, SMALL, operations[i], EUM_EXECUTOR_DEVICE);
        fail_each(1 + _i, &best, SMALL, operations[i], EUM_EXECUTOR_DEVICE);
    }
    problem large = several_chunks;
    large.operation = EUM_OPERATION_SIMILARITY;
    large.queries = 128;
    large.rows = 4000;
    fail_each(1 + _i, &large, 0, EUM_SIM_SUBMIT, EUM_EXECUTOR_AUTO);
    fail_each(1 + _i, &large, 0, EUM_SIM_ALLOC, EUM_EXECUTOR_AUTO);
}
END_TEST

typedef struct from_callback {
    eum_stream *stream;
    const arrays *a;
    const operands *o;
    eum_status status;
} from_callback;

static int32_t score_from_callback(const eum_kernel_call *call)
{
    from_callback *f = call->user;
    f->status = start_problem(f->stream, &several_chunks, f->a, f->o, EUM_EXECUTOR_AUTO, NULL);
    return 0;
}

START_TEST(inside_a_callback_which_must_not_wait_it_is_an_error)
{
    eum_context *context = open_sized(_i, 0);
    arrays a = make_arrays(&several_chunks);
    operands o = make_operands(context, &several_chunks, &a, false);
    from_callback f = {new_stream(context), &a, &o, EUM_OK};
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.cpu = score_from_callback;
    config.user = &f;
    eum_job job;
    OK(eum_launch(default_stream(context), &config, &job));
    wait_job(job);
    GIVES(EUM_ERROR_IN_CALLBACK, f.status);
    OK(eum_stream_destroy(f.stream));
    end_operands(&o);
    close_context(context);
    free_arrays(&a);
}
END_TEST

START_TEST(jobs_that_write_the_query_or_read_the_scores_are_waited_for)
{
    eum_context *context = open_sized(_i, 0);
    arrays expected = expected_answer(_i, &several_chunks), a = make_arrays(&several_chunks);
    operands o = make_operands(context, &several_chunks, &a, false);
    eum_buffer *copy = new_buffer(context, a.query_bytes), *old = new_buffer(context, a.score_count * 4);
    eum_stream *other = new_stream(context);
    gate g = GATE_INIT;
    OK(eum_buffer_write(whole(copy), a.queries));
    cpu_fill(whole(o.queries), 5);
    cpu_fill(whole(o.scores), 6);
    eum_job writes = launch2(other, (work){.kind = WORK_COPY, .gate = &g}, reads(whole(copy)), overwrites(whole(o.queries)));
    eum_job saves = launch2(other, (work){.kind = WORK_COPY}, reads(whole(o.scores)), overwrites(whole(old)));
    await_gate(&g, 1);
    open_gate(&g);
    score_and_free(context, &several_chunks, &a, &o, EUM_EXECUTOR_AUTO);
    expect_same_answer(&expected, &a);
    wait_job(writes);
    wait_job(saves);
    cpu_expect(whole(old), 6);
    OK(eum_stream_destroy(other));
    OK(eum_buffer_destroy(copy));
    OK(eum_buffer_destroy(old));
    end_operands(&o);
    close_context(context);
    free_arrays(&a);
    free_arrays(&expected);
}
END_TEST

START_TEST(what_is_refused_is_refused_before_anything_is_written)
{
    for (eum_executor executor = EUM_EXECUTOR_AUTO; executor <= EUM_EXECUTOR_DEVICE; executor++) {
        eum_context *context = open_sized(_i, SMALL);
        arrays a = make_arrays(&several_chunks);
        operands o = make_operands(context, &several_chunks, &a, false);
        eum_stream *stream = default_stream(context);
        cpu_fill(whole(o.scores), 6);
        unsigned char *bytes = map(part(o.scores, 7900, 100), EUM_ACCESS_READ); /* of the last rows */
        GIVES(EUM_ERROR_MAPPED, start_problem(stream, &several_chunks, &a, &o, executor, NULL));
        unmap(o.scores, bytes);
        cpu_expect(whole(o.scores), 6);
        eum_buffer *both = new_buffer(context, 8000 + 2048);
        cpu_fill(whole(both), 7);
        eum_cosine_config c = EUM_COSINE_CONFIG_INIT;
        c.query = part(both, 7996, 2048);
        c.scores = part(both, 0, 8000);
        c.host_targets = a.targets;
        c.rows = several_chunks.rows;
        c.dim = several_chunks.dim;
        c.executor = executor;
        GIVES(EUM_ERROR_OVERLAP, eum_cosine(stream, &c, NULL));
        cpu_expect(whole(both), 7);
        OK(eum_buffer_destroy(both));
        end_operands(&o);
        close_context(context);
        free_arrays(&a);
    }
}
END_TEST

/* ------------------------------------------------------------------------------------------------------- arguments -- */

START_TEST(arguments_that_are_wrong_are_told)
{
    eum_context *context = open_sized(_i, 0);
    eum_stream *stream = default_stream(context);
    eum_buffer *buffer = new_buffer(context, 256);
    float rows[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    eum_cosine_config config = EUM_COSINE_CONFIG_INIT;
    config.query = part(buffer, 0, 16);
    config.scores = part(buffer, 128, 8);
    config.rows = 2;
    config.dim = 4;
    cpu_fill(part(buffer, 0, 16), 1);
    config.host_targets = rows;
    config.targets = part(buffer, 32, 32);
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_cosine(stream, &config, NULL));
    config.targets = (eum_view){NULL, 0, 4};
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_cosine(stream, &config, NULL));
    config.targets = (eum_view){NULL, 0, 0};
    OK(eum_cosine(stream, &config, NULL));
    config.host_targets = (const char *)rows + 2;
    GIVES(EUM_ERROR_MISALIGNED, eum_cosine(stream, &config, NULL));
    config.host_targets = (const void *)(UINTPTR_MAX - 15);
    GIVES(EUM_ERROR_SIZE_OVERFLOW, eum_cosine(stream, &config, NULL));
    config.host_targets = NULL;
    GIVES(EUM_ERROR_INVALID_HANDLE, eum_cosine(stream, &config, NULL));
    config.host_targets = rows;
    config.scores = part(buffer, 128, 4);
    GIVES(EUM_ERROR_BUFFER_TOO_SHORT, eum_cosine(stream, &config, NULL));
    config.scores = part(buffer, 8, 8);
    GIVES(EUM_ERROR_OVERLAP, eum_cosine(stream, &config, NULL));
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(a_caller_that_does_not_know_of_it_has_none)
{
    eum_context *context = open_sized(_i, 0);
    eum_buffer *buffer = new_buffer(context, 256);
    eum_cosine_config config = EUM_COSINE_CONFIG_INIT;
    config.struct_size = offsetof(eum_cosine_config, host_targets);
    config.query = part(buffer, 0, 16);
    config.targets = part(buffer, 32, 32);
    config.scores = part(buffer, 128, 8);
    config.rows = 2;
    config.dim = 4;
    config.host_targets = (const void *)(uintptr_t)7; /* what lies behind its struct */
    cpu_fill(part(buffer, 0, 64), 1);
    eum_job job;
    OK(eum_cosine(default_stream(context), &config, &job));
    wait_job(job);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

Suite *source_suite(void)
{
    Suite *suite = suite_create("source");
    TCase *tests = tcase_create("source");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, the_scores_are_the_bits_of_a_buffer, 0, DEVICES);
    tcase_add_loop_test(tests, so_they_are_with_little_room, 0, DEVICES);
    tcase_add_loop_test(tests, one_row_and_none, 0, DEVICES);
    tcase_add_loop_test(tests, staging_memory_is_allocated_once, 0, DEVICES);
    tcase_add_loop_test(tests, registered_memory_is_read_in_place, 0, DEVICES);
    tcase_add_loop_test(tests, pinned_memory_of_the_librarys_own_is_read_in_place, 0, DEVICES - 1);
    tcase_add_loop_test(tests, a_small_batch_is_scored_where_it_is_and_one_with_much_to_compute_streams, 0, DEVICES);
    tcase_add_loop_test(tests, every_failure_of_the_device_is_an_error_or_does_no_harm, 0, DEVICES - 1);
    tcase_add_loop_test(tests, inside_a_callback_which_must_not_wait_it_is_an_error, 0, DEVICES);
    tcase_add_loop_test(tests, jobs_that_write_the_query_or_read_the_scores_are_waited_for, 0, DEVICES);
    tcase_add_loop_test(tests, what_is_refused_is_refused_before_anything_is_written, 0, DEVICES);
    tcase_add_loop_test(tests, arguments_that_are_wrong_are_told, 0, DEVICES);
    tcase_add_loop_test(tests, a_caller_that_does_not_know_of_it_has_none, 0, DEVICES);
    suite_add_tcase(suite, tests);
    return suite;
}
