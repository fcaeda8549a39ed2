/* The streams of the CUDA device: kernels, points, order, callbacks, captures. Built with CUDA only; without a device they pass.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <pthread.h>

#include "cudart_fixture.h"

Suite *cudart_streams_suite(void);

START_TEST(a_kernel_is_enqueued_in_a_callback_and_finished_at_once)
{
    NEEDS_DEVICE();
    eum_block block = alloc(EUM_MEMORY_PINNED, 4096);
    submit_fill(stream, block.device, 4096, 7);
    ck_assert_int_eq(atomic_load(&finished), 1);
    ck_assert_int_eq(seen_depth, 1);
    ck_assert_int_eq(seen_device, device->caps.index);
    ck_assert_int_eq(eum_callback_depth, 0);
    drain(stream);
    ck_assert(all_are(block.host, 4096, 7));
    ops->release(device, &block);
}
END_TEST

START_TEST(a_kernel_callback_that_fails_is_launch_failed_with_its_code)
{
    NEEDS_DEVICE();
    eum_error error;
    fill f = {.code = (int)cudaErrorInvalidConfiguration};
    init_task(&f.task, run_fill, &f);
    ck_assert_int_eq(ops->submit(stream, &f.task), EUM_ERROR_LAUNCH_FAILED);
    eum_error_save(&error);
    ck_assert_int_eq(error.cuda_code, cudaErrorInvalidConfiguration);
    ck_assert_str_eq(error.cuda_name, "cudaErrorInvalidConfiguration");
    ck_assert_int_eq(atomic_load(&finished), 0);
}
END_TEST

START_TEST(a_launch_error_that_the_callback_overlooked_is_found)
{
    NEEDS_DEVICE();
    ck_assert_int_eq(submit(stream, run_careless), EUM_ERROR_LAUNCH_FAILED);
    ck_assert_int_eq(atomic_load(&finished), 0);
    ck_assert_int_eq(cudaPeekAtLastError(), cudaSuccess);
}
END_TEST

START_TEST(points_pass_when_the_work_is_done_and_not_before)
{
    NEEDS_DEVICE();
    uint64_t before = 0, gate = 0;
    ck_assert_int_eq(ops->mark(stream, &before), EUM_OK);
    ck_assert_uint_gt(before, 0);
    ck_assert_int_eq(submit(stream, run_gate), EUM_OK);
    ck_assert_int_eq(ops->mark(stream, &gate), EUM_OK);
    ck_assert_uint_gt(gate, before);
    ck_assert_int_eq(ops->wait(stream, before, -1), EUM_OK);
    ck_assert(ops->passed(stream, before));
    ck_assert(!ops->passed(stream, gate));
    ck_assert_int_eq(ops->wait(stream, gate, 0), EUM_ERROR_TIMEOUT);
    int64_t begin = eum_now_ns();
    ck_assert_int_eq(ops->wait(stream, gate, 20 * MS), EUM_ERROR_TIMEOUT);
    ck_assert_int_ge(eum_now_ns() - begin, 20 * MS);
    ck_assert_int_eq(cudaPeekAtLastError(), cudaSuccess);
    atomic_store(&gate_open, true);
    ck_assert_int_eq(ops->wait(stream, gate, INT64_MAX), EUM_OK);
    ck_assert(ops->passed(stream, gate));
}
END_TEST

static void *drain_until(void *arg)
{
    return (void *)(uintptr_t)ops->drain(stream, *(uint64_t *)arg, 5000 * MS);
}

START_TEST(a_wait_for_a_stream_ends_with_the_mark_that_was_made_meanwhile)
{
    NEEDS_DEVICE();
    static atomic_bool later_open;
    uint64_t sequence = 0, later = 0;
    pthread_t waiter;
    void *status = NULL;
    eum_task first, behind;
    init_task(&first, run_gate, NULL);
    init_task(&behind, run_gate, &later_open);
    first.unmarked = behind.unmarked = true;
    ck_assert_int_eq(ops->mark(stream, &sequence), EUM_OK);
    sequence++;
    ck_assert_int_eq(ops->submit(stream, &first), EUM_OK);
    ck_assert_int_eq(ops->drain(stream, sequence, 1 * MS), EUM_ERROR_TIMEOUT);
    ck_assert_int_eq(pthread_create(&waiter, NULL, drain_until, &sequence), 0);
    (void)usleep(2000);
    ck_assert_int_eq(ops->mark(stream, &later), EUM_OK);
    ck_assert_uint_eq(later, sequence);
    ck_assert_int_eq(ops->submit(stream, &behind), EUM_OK); /* somebody else's, who never stops submitting */
    atomic_store(&gate_open, true);
    ck_assert_int_eq(pthread_join(waiter, &status), 0);
    ck_assert_int_eq(ops->drain(stream, sequence, 0), EUM_OK);
    ck_assert_int_eq(ops->drain(stream, sequence + 1, 0), EUM_ERROR_TIMEOUT);
    atomic_store(&later_open, true);
    ck_assert_int_eq((eum_status)(uintptr_t)status, EUM_OK);
    ck_assert_int_eq(ops->drain(stream, sequence + 1, -1), EUM_OK);
    ck_assert_int_eq(cudaPeekAtLastError(), cudaSuccess);
}
END_TEST

START_TEST(more_points_than_there_was_room_for_pass_in_order)
{
    NEEDS_DEVICE();
    uint64_t sequences[300];
    ck_assert_int_eq(submit(stream, run_gate), EUM_OK);
    for (int i = 0; i < 300; i++)
        ck_assert_int_eq(ops->mark(stream, &sequences[i]), EUM_OK);
    ck_assert(!ops->passed(stream, sequences[0]));
    atomic_store(&gate_open, true);
    ck_assert_int_eq(ops->wait(stream, sequences[150], -1), EUM_OK);
    ck_assert(ops->passed(stream, sequences[0]));
    ck_assert_int_eq(ops->wait(stream, sequences[299], -1), EUM_OK);
    for (int i = 0; i < 2000; i++) { /* nobody asks: the stream retires them by itself */
        uint64_t sequence;
        ck_assert_int_eq(ops->mark(stream, &sequence), EUM_OK);
    }
}
END_TEST

START_TEST(order_makes_one_stream_wait_for_another)
{
    NEEDS_DEVICE();
    eum_dstream *second = NULL;
    uint64_t gate = 0, after = 0;
    eum_block block = alloc(EUM_MEMORY_PINNED, 64);
    memset(block.host, 0, 64);
    ck_assert_int_eq(ops->stream_create(device, &second), EUM_OK);
    ck_assert_int_eq(submit(stream, run_gate), EUM_OK);
    ck_assert_int_eq(ops->mark(stream, &gate), EUM_OK);
    ck_assert_int_eq(ops->order(second, stream, gate), EUM_OK);
    submit_fill(second, block.device, 64, 1);
    ck_assert_int_eq(ops->mark(second, &after), EUM_OK);
    ck_assert_int_eq(ops->wait(second, after, 20 * MS), EUM_ERROR_TIMEOUT);
    ck_assert(all_are(block.host, 64, 0));
    atomic_store(&gate_open, true);
    ck_assert_int_eq(ops->synchronize(device), EUM_OK);
    ck_assert(ops->passed(second, after));
    ck_assert(all_are(block.host, 64, 1));
    ck_assert_int_eq(ops->order(second, stream, gate), EUM_OK); /* long passed */
    ops->stream_destroy(second);
    ops->release(device, &block);
}
END_TEST

static void count_call(void *user)
{
    if (eum_callback_depth == 1)
        atomic_fetch_add((atomic_int *)user, 1);
}

START_TEST(host_calls_run_in_stream_order)
{
    NEEDS_DEVICE();
    atomic_int count = 0;
    ck_assert_int_eq(submit(stream, run_gate), EUM_OK);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(ops->host_call(stream, count_call, &count), EUM_OK);
    (void)usleep(5000);
    ck_assert_int_eq(atomic_load(&count), 0);
    atomic_store(&gate_open, true);
    drain(stream);
    ck_assert_int_eq(atomic_load(&count), 10);
}
END_TEST

START_TEST(a_stream_that_captures_is_refused_and_the_capture_survives)
{
    NEEDS_DEVICE();
    cudaStream_t native;
    cudaGraph_t graph = NULL;
    eum_dstream *wrapped = NULL, *refused = NULL;
    uint64_t sequence;
    eum_block block = alloc(EUM_MEMORY_MANAGED, 4096);
    ck_assert_int_eq(cudaStreamCreate(&native), cudaSuccess);
    ck_assert_int_eq(ops->stream_wrap(device, native, &wrapped), EUM_OK);
    submit_fill(wrapped, block.device, 4096, 2);
    drain(wrapped);
    ck_assert_int_eq(cudaStreamBeginCapture(native, cudaStreamCaptureModeGlobal), cudaSuccess);
    ck_assert_int_eq(ops->stream_wrap(device, native, &refused), EUM_ERROR_CAPTURING);
    ck_assert_ptr_null(refused);
    ck_assert_int_eq(submit(wrapped, run_fill), EUM_ERROR_CAPTURING);
    ck_assert_int_eq(ops->mark(wrapped, &sequence), EUM_ERROR_CAPTURING);
    ck_assert_int_eq(ops->copy(wrapped, block.device, block.host, 1, EUM_HOST_TO_DEVICE), EUM_ERROR_CAPTURING);
    ck_assert_int_eq(ops->host_call(wrapped, count_call, NULL), EUM_ERROR_CAPTURING);
    if (device->caps.concurrent_managed)
        ck_assert_int_eq(ops->prefetch(wrapped, &block, 0, 4096, device->caps.index), EUM_ERROR_CAPTURING);
    eum_block meanwhile = alloc(EUM_MEMORY_DEVICE, 1 * MIB); /* forbidden to others while a capture is on */
    submit_fill(stream, meanwhile.device, 100, 1);
    drain(stream);
    ops->release(device, &meanwhile);
    ck_assert_int_eq(cudaStreamEndCapture(native, &graph), cudaSuccess);
    ck_assert_int_eq(cudaGraphDestroy(graph), cudaSuccess);
    submit_fill(wrapped, block.device, 4096, 3);
    drain(wrapped);
    ops->stream_destroy(wrapped);
    ck_assert(all_are(block.host, 4096, 3));
    ck_assert_int_eq(cudaStreamSynchronize(native), cudaSuccess); /* still the caller's */
    ck_assert_int_eq(cudaStreamDestroy(native), cudaSuccess);
    ops->release(device, &block);
}
END_TEST

START_TEST(the_legacy_stream_can_be_wrapped_and_the_per_thread_one_cannot)
{
    NEEDS_DEVICE();
    eum_dstream *legacy = NULL, *per_thread = NULL;
    eum_block block = alloc(EUM_MEMORY_MANAGED, 2 * MIB);
    ck_assert_int_eq(ops->stream_wrap(device, NULL, &legacy), EUM_OK);
    submit_fill(legacy, block.device, 2 * MIB, 5);
    ck_assert_int_eq(ops->discard(legacy, &block, 0, 2 * MIB), EUM_ERROR_NOT_SUPPORTED);
    ck_assert_int_eq(ops->prefetch_many(legacy, &(eum_piece){&block, 0, 4096, device->caps.index}, 1), EUM_ERROR_NOT_SUPPORTED);
    drain(legacy);
    ck_assert(all_are(block.host, 2 * MIB, 5));
    ops->stream_destroy(legacy);
    ck_assert_int_eq(ops->stream_wrap(device, cudaStreamPerThread, &per_thread), EUM_ERROR_NOT_SUPPORTED);
    ops->release(device, &block);
}
END_TEST

static void *mark_often(void *arg)
{
    (void)arg;
    eum_dstream *own = NULL;
    ck_assert_int_eq(ops->stream_create(device, &own), EUM_OK);
    for (int i = 0; i < 500; i++) {
        uint64_t sequence = 0;
        ck_assert_int_eq(ops->mark(own, &sequence), EUM_OK);
        if (i % 3 == 0)
            ck_assert_int_eq(ops->wait(own, sequence, -1), EUM_OK);
        else
            (void)ops->passed(own, sequence);
    }
    drain(own);
    ops->stream_destroy(own);
    return NULL;
}

START_TEST(streams_of_several_threads_share_the_events)
{
    NEEDS_DEVICE();
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, mark_often, NULL), 0);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
}
END_TEST

START_TEST(the_callers_current_device_stays_current)
{
    NEEDS_DEVICE();
    int devices = 0, now = -1;
    ck_assert_int_eq(cudaGetDeviceCount(&devices), cudaSuccess);
    int chosen = devices - 1; /* another one than ours where there are several */
    ck_assert_int_eq(cudaSetDevice(chosen), cudaSuccess);
    eum_block block = alloc(EUM_MEMORY_DEVICE, 4096);
    submit_fill(stream, block.device, 4096, 1);
    drain(stream);
    ck_assert_int_eq(seen_device, device->caps.index);
    ops->release(device, &block);
    ck_assert_int_eq(cudaGetDevice(&now), cudaSuccess);
    ck_assert_int_eq(now, chosen);
}
END_TEST

Suite *cudart_streams_suite(void)
{
    Suite *suite = suite_create("cudart_streams");
    TCase *tests = tcase_create("operations");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, a_kernel_is_enqueued_in_a_callback_and_finished_at_once);
    tcase_add_test(tests, a_kernel_callback_that_fails_is_launch_failed_with_its_code);
    tcase_add_test(tests, a_launch_error_that_the_callback_overlooked_is_found);
    tcase_add_test(tests, points_pass_when_the_work_is_done_and_not_before);
    tcase_add_test(tests, a_wait_for_a_stream_ends_with_the_mark_that_was_made_meanwhile);
    tcase_add_test(tests, more_points_than_there_was_room_for_pass_in_order);
    tcase_add_test(tests, order_makes_one_stream_wait_for_another);
    tcase_add_test(tests, host_calls_run_in_stream_order);
    tcase_add_test(tests, a_stream_that_captures_is_refused_and_the_capture_survives);
    tcase_add_test(tests, the_legacy_stream_can_be_wrapped_and_the_per_thread_one_cannot);
    tcase_add_test(tests, streams_of_several_threads_share_the_events);
    tcase_add_test(tests, the_callers_current_device_stays_current);
    suite_add_tcase(suite, tests);
    return suite;
}
