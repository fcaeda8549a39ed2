/* Similarity operations on a real device: the executors agree, chunks give the same bits, streams of the user's own are left to the device.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <cuda_runtime.h>

#include "scoring_problem.h"

static const eum_backing kinds[] = {EUM_BACKING_MANAGED, EUM_BACKING_MIRRORED, EUM_BACKING_MAPPED};
#define KINDS ((int)(sizeof kinds / sizeof *kinds))

static eum_context *open_cuda(eum_backing backing, uint64_t budget)
{
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    config.device = "cuda";
    config.backing = backing;
    config.budget_bytes = budget;
    return open_with(&config);
}

START_TEST(all_executors_agree_on_a_device)
{
    eum_context *context = open_cuda(kinds[_i], 0);
    for (int shape = 0; shape < 16; shape++) {
        eum_operation operation = (eum_operation)(1 + shape / 4);
        problem p = {.operation = operation, .metric = 1, .element = 1, .queries = 1, .dim = 33, .k = 5, .numbers = 100};
        p.rows = shape % 2 == 0 ? 50 : 20000; /* small and cold, and too large for the CPU */
        p.seed = (uint32_t)shape;
        if (operation != EUM_OPERATION_COSINE) {
            p.metric = (eum_metric)(1 + shape % 3);
            p.element = (eum_element)(1 + shape / 2 % 3);
            p.queries = shape % 4 < 2 ? 1 : 12;
        }
        arrays answers[EUM_EXECUTORS], a = make_arrays(&p);
        operands o = make_operands(context, &p, &a, false);
        for (eum_executor executor = EUM_EXECUTOR_AUTO; executor <= EUM_EXECUTOR_DEVICE; executor++) {
            eum_job job;
            OK(start_problem(default_stream(context), &p, &a, &o, executor, &job));
            wait_job(job);
            answers[executor] = make_arrays(&p);
            read_answer(&o, &answers[executor]);
            expect_close_answer(&answers[0], &answers[executor], 33);
        }
        for (int i = 0; i < EUM_EXECUTORS; i++)
            free_arrays(&answers[i]);
        end_operands(&o);
        free_arrays(&a);
    }
    for (eum_operation operation = EUM_OPERATION_COSINE; operation <= EUM_OPERATION_ROWS; operation++) {
        eum_operation_stats ran = operation_stats(context, operation);
        ck_assert_uint_eq(ran.runs[EUM_EXECUTOR_CPU] + ran.runs[EUM_EXECUTOR_DEVICE], 12);
        ck_assert_uint_ge(ran.runs[EUM_EXECUTOR_CPU], 4);
        ck_assert_uint_ge(ran.runs[EUM_EXECUTOR_DEVICE], 4);
        printf("operation %d: CPU %llu runs, predicted %llu us, took %llu us; device %llu, %llu, %llu\n", (int)operation,
               (unsigned long long)ran.timed[1], (unsigned long long)ran.predicted_ns[1] / 1000,
               (unsigned long long)ran.actual_ns[1] / 1000, (unsigned long long)ran.timed[2],
               (unsigned long long)ran.predicted_ns[2] / 1000, (unsigned long long)ran.actual_ns[2] / 1000);
    }
    close_context(context);
}
END_TEST

static problem drawn(uint32_t seed)
{
    problem p = {.operation = (eum_operation)(1 + seed % 4), .metric = 1, .element = 1, .queries = 1, .seed = seed, .real = true};
    p.dim = 1 + word_at(seed, 1) % 300;
    p.k = 1 + word_at(seed, 2) % 60;
    p.numbers = p.operation == EUM_OPERATION_ROWS ? 3000 : 0;
    p.offset = word_at(seed, 3) % 5;
    p.row_gap = word_at(seed, 4) % 3;
    if (p.operation != EUM_OPERATION_COSINE) {
        p.metric = (eum_metric)(1 + word_at(seed, 5) % 3);
        p.element = (eum_element)(1 + word_at(seed, 6) % 3);
        p.queries = 1 + word_at(seed, 7) % 40;
    }
    p.rows = 12 * MIB / ((p.dim + p.row_gap) * element_size(p.element));
    return p;
}

START_TEST(chunks_give_the_bits_of_one_launch_on_a_device)
{
    for (uint32_t seed = 0; seed < 12; seed++) {
        problem p = drawn(seed);
        arrays both[2];
        for (int tight = 0; tight < 2; tight++) {
            eum_context *context = open_cuda(EUM_BACKING_AUTO, tight ? 8 * MIB : 0);
            both[tight] = make_arrays(&p);
            operands o = make_operands(context, &p, &both[tight], true);
            eum_job job;
            OK(start_problem(default_stream(context), &p, &both[tight], &o, EUM_EXECUTOR_DEVICE, &job));
            wait_job(job);
            ck_assert_uint_eq(operation_stats(context, p.operation).chunked, (uint64_t)tight);
            read_answer(&o, &both[tight]);
            end_operands(&o);
            close_context(context);
        }
        expect_same_answer(&both[0], &both[1]);
        free_arrays(&both[0]);
        free_arrays(&both[1]);
    }
}
END_TEST

/* Results of a chunk would be copied back behind the next chunk's rows, and the CPU would wait for both: kernels write them over the link. */
START_TEST(results_of_chunks_of_many_queries_are_not_copied_back)
{
    for (int best = 0; best < 2; best++) {
        problem p = {.operation = best ? EUM_OPERATION_TOPK : EUM_OPERATION_SIMILARITY, .metric = 1, .element = 1, .queries = 300};
        p.dim = 100, p.k = 10, p.rows = 30011, p.seed = 5, p.real = true;
        arrays both[2];
        for (int tight = 0; tight < 2; tight++) {
            eum_context *context = open_cuda(EUM_BACKING_AUTO, tight ? 10 * MIB : 0);
            both[tight] = make_arrays(&p);
            operands o = make_operands(context, &p, &both[tight], true);
            eum_stats before, after;
            eum_stats_init(&before);
            eum_stats_init(&after);
            OK(eum_context_stats(context, &before));
            eum_job job;
            OK(start_problem(default_stream(context), &p, &both[tight], &o, EUM_EXECUTOR_DEVICE, &job));
            wait_job(job);
            OK(eum_context_stats(context, &after));
            ck_assert_uint_eq(operation_stats(context, p.operation).chunked, (uint64_t)tight);
            if (tight)
                ck_assert_uint_eq(after.bytes_to_host, before.bytes_to_host);
            read_answer(&o, &both[tight]);
            end_operands(&o);
            close_context(context);
        }
        expect_same_answer(&both[0], &both[1]);
        free_arrays(&both[0]);
        free_arrays(&both[1]);
    }
}
END_TEST

/* Pageable, registered, and with a budget that has hardly room: the array is gone when the call has returned. */
START_TEST(targets_of_the_callers_give_the_bits_of_a_buffer_on_a_device)
{
    for (uint32_t seed = 0; seed < 12; seed++) {
        problem p = drawn(seed), buffered = p;
        p.source = true;
        buffered.offset = 0;
        eum_context *context = open_cuda(EUM_BACKING_AUTO, 0);
        arrays expected = make_arrays(&buffered);
        operands first = make_operands(context, &buffered, &expected, false);
        eum_job job;
        OK(start_problem(default_stream(context), &buffered, &expected, &first, EUM_EXECUTOR_DEVICE, &job));
        wait_job(job);
        read_answer(&first, &expected);
        end_operands(&first);
        close_context(context);
        for (int way = 0; way < 3; way++) {
            context = open_cuda(EUM_BACKING_AUTO, way == 2 ? 8 * MIB : 0);
            arrays a = make_arrays(&p);
            operands o = make_operands(context, &p, &a, false);
            if (way == 1)
                ck_assert_int_eq(cudaHostRegister(a.targets, a.target_bytes, cudaHostRegisterDefault), cudaSuccess);
            OK(start_problem(default_stream(context), &p, &a, &o, EUM_EXECUTOR_DEVICE, &job));
            if (way == 1)
                ck_assert_int_eq(cudaHostUnregister(a.targets), cudaSuccess);
            memset(a.targets, 0xee, a.target_bytes);
            OK(eum_job_wait(job, 0));
            read_answer(&o, &a);
            expect_same_answer(&expected, &a);
            ck_assert_uint_le(operation_stats(context, p.operation).chunked, 1);
            ck_assert(way == 1 || operation_stats(context, p.operation).chunked == 1);
            end_operands(&o);
            close_context(context);
            free_arrays(&a);
        }
        free_arrays(&expected);
    }
}
END_TEST

START_TEST(a_stream_of_the_users_own_is_left_to_the_device)
{
    eum_context *context = open_cuda(EUM_BACKING_AUTO, 0);
    problem p = {.operation = EUM_OPERATION_COSINE, .metric = 1, .element = 1, .queries = 1, .rows = 4, .dim = 4};
    arrays a = make_arrays(&p);
    operands o = make_operands(context, &p, &a, false);
    cudaStream_t native;
    cudaGraph_t graph;
    eum_stream *wrapped = NULL;
    ck_assert_int_eq(cudaStreamCreateWithFlags(&native, cudaStreamNonBlocking), cudaSuccess);
    OK(eum_stream_wrap(context, native, &wrapped));
    eum_job job;
    OK(start_problem(wrapped, &p, &a, &o, EUM_EXECUTOR_AUTO, &job));
    wait_job(job);
    ck_assert_int_eq(operation_stats(context, p.operation).last_executor, EUM_EXECUTOR_DEVICE);
    ck_assert_int_eq(cudaStreamBeginCapture(native, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    GIVES(EUM_ERROR_CAPTURING, start_problem(wrapped, &p, &a, &o, EUM_EXECUTOR_AUTO, &job));
    ck_assert_int_eq(cudaStreamEndCapture(native, &graph), cudaSuccess);
    ck_assert_int_eq(cudaGraphDestroy(graph), cudaSuccess);
    OK(eum_stream_destroy(wrapped));
    ck_assert_int_eq(cudaStreamDestroy(native), cudaSuccess);
    end_operands(&o);
    free_arrays(&a);
    close_context(context);
}
END_TEST

Suite *gpu_dispatch_suite(void);
Suite *gpu_dispatch_suite(void)
{
    Suite *suite = suite_create("gpu_dispatch");
    TCase *tests = tcase_create("gpu_dispatch");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, all_executors_agree_on_a_device, 0, KINDS);
    tcase_add_test(tests, chunks_give_the_bits_of_one_launch_on_a_device);
    tcase_add_test(tests, results_of_chunks_of_many_queries_are_not_copied_back);
    tcase_add_test(tests, targets_of_the_callers_give_the_bits_of_a_buffer_on_a_device);
    tcase_add_test(tests, a_stream_of_the_users_own_is_left_to_the_device);
    suite_add_tcase(suite, tests);
    return suite;
}
