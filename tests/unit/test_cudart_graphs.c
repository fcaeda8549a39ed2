/* What is submitted to the CUDA device again and again: as a graph, with the same effect. Built with CUDA only; without a device the tests pass.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "cudart_fixture.h"

Suite *cudart_graphs_suite(void);

#define BYTES ((size_t)4096)
#define POISON 0x5a

static int captured; /* how often a callback was called on a stream that captures */

static bool is_capturing(cudaStream_t native)
{
    enum cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    return cudaStreamIsCapturing(native, &status) == cudaSuccess && status != cudaStreamCaptureStatusNone;
}

static int32_t fill_counted(const eum_kernel_call *call)
{
    captured += is_capturing(call->stream);
    fill *f = call->user;
    return (int32_t)cudaMemsetAsync(call->addresses[0], f->value, f->bytes, call->stream);
}

static int32_t fill_that_cannot_be_captured(const eum_kernel_call *call)
{
    if (!is_capturing(call->stream))
        return fill_counted(call);
    captured++;
    return (int32_t)cudaErrorStreamCaptureUnsupported;
}

/* Fills the bytes with the value by a task that is known by both; true if it was a graph. */
static bool fill_known(eum_dstream *on, eum_kernel_fn gpu, void *address, int value)
{
    fill f = {.bytes = BYTES, .value = value};
    void *addresses[] = {address};
    init_task(&f.task, gpu, &f);
    f.task.own = true;
    f.task.call.count = 1;
    f.task.call.addresses = addresses;
    f.task.given = &value;
    f.task.given_bytes = sizeof value;
    ck_assert_int_eq(ops->submit(on, &f.task), EUM_OK);
    return f.task.as_graph;
}

static void expect_bytes(eum_dstream *on, const eum_block *far, const eum_block *near, int value)
{
    memset(near->host, POISON, BYTES);
    ck_assert_int_eq(ops->copy(on, near->host, far->device, BYTES, EUM_DEVICE_TO_HOST), EUM_OK);
    drain(on);
    ck_assert(all_are(near->host, BYTES, value));
}

START_TEST(from_the_third_time_on_it_is_a_graph_that_does_the_same)
{
    NEEDS_DEVICE();
    eum_block far = alloc(EUM_MEMORY_DEVICE, BYTES), near = alloc(EUM_MEMORY_PINNED, BYTES);
    atomic_store(&finished, 0);
    for (int i = 0; i < 20; i++) {
        submit_fill(stream, far.device, BYTES, POISON);
        ck_assert_int_eq(fill_known(stream, fill_counted, far.device, 7), i >= 2);
        expect_bytes(stream, &far, &near, 7);
    }
    ck_assert_int_eq(captured, 1);
    ck_assert_int_eq(atomic_load(&finished), 40); /* each task once, graph or not */
    ops->release(device, &near);
    ops->release(device, &far);
}
END_TEST

START_TEST(another_address_or_another_call_is_another_graph)
{
    NEEDS_DEVICE();
    eum_block far[2] = {alloc(EUM_MEMORY_DEVICE, BYTES), alloc(EUM_MEMORY_DEVICE, BYTES)}, near = alloc(EUM_MEMORY_PINNED, BYTES);
    for (int i = 0; i < 200; i++) {
        int which = i % 2, value = 1 + i / 2 % 3;
        submit_fill(stream, far[0].device, BYTES, POISON);
        submit_fill(stream, far[1].device, BYTES, POISON);
        bool graph = fill_known(stream, fill_counted, far[which].device, value);
        ck_assert(graph || i < 30);
        expect_bytes(stream, &far[which], &near, value);
        expect_bytes(stream, &far[1 - which], &near, POISON);
    }
    ck_assert_int_eq(captured, 6);
    ops->release(device, &near);
    ops->release(device, &far[0]);
    ops->release(device, &far[1]);
}
END_TEST

START_TEST(what_cannot_be_captured_is_submitted_as_before_and_not_tried_again)
{
    NEEDS_DEVICE();
    eum_block far = alloc(EUM_MEMORY_DEVICE, BYTES), near = alloc(EUM_MEMORY_PINNED, BYTES);
    for (int i = 0; i < 10; i++) {
        submit_fill(stream, far.device, BYTES, POISON);
        ck_assert(!fill_known(stream, fill_that_cannot_be_captured, far.device, 9));
        expect_bytes(stream, &far, &near, 9);
    }
    ck_assert_int_eq(captured, 1);
    ck_assert_int_eq(cudaPeekAtLastError(), cudaSuccess);
    ops->release(device, &near);
    ops->release(device, &far);
}
END_TEST

static int refuse_graph(cudaGraphExec_t graph, cudaStream_t native)
{
    (void)graph, (void)native;
    return (int)cudaErrorInvalidValue;
}

START_TEST(a_graph_that_cannot_be_launched_gives_way_to_the_kernel)
{
    NEEDS_DEVICE();
    eum_block far = alloc(EUM_MEMORY_DEVICE, BYTES), near = alloc(EUM_MEMORY_PINNED, BYTES);
    for (int i = 0; i < 3; i++)
        (void)fill_known(stream, fill_counted, far.device, 3);
    drain(stream);
    int (*launch)(cudaGraphExec_t, cudaStream_t) = cuda_calls.graph_launch;
    cuda_calls.graph_launch = refuse_graph;
    for (int i = 0; i < 5; i++) {
        submit_fill(stream, far.device, BYTES, POISON);
        ck_assert(!fill_known(stream, fill_counted, far.device, 3));
        expect_bytes(stream, &far, &near, 3);
    }
    cuda_calls.graph_launch = launch;
    ops->release(device, &near);
    ops->release(device, &far);
}
END_TEST

START_TEST(streams_of_the_callers_own_carry_no_graphs)
{
    NEEDS_DEVICE();
    cudaStream_t native = NULL;
    eum_dstream *wrapped = NULL;
    eum_block far = alloc(EUM_MEMORY_DEVICE, BYTES), near = alloc(EUM_MEMORY_PINNED, BYTES);
    ck_assert_int_eq(cudaStreamCreateWithFlags(&native, cudaStreamNonBlocking), cudaSuccess);
    ck_assert_int_eq(ops->stream_wrap(device, native, &wrapped), EUM_OK);
    for (int i = 0; i < 10; i++)
        ck_assert(!fill_known(wrapped, fill_counted, far.device, 4));
    expect_bytes(wrapped, &far, &near, 4);
    ops->stream_destroy(wrapped);
    ck_assert_int_eq(cudaStreamDestroy(native), cudaSuccess);
    ops->release(device, &near);
    ops->release(device, &far);
}
END_TEST

START_TEST(more_than_there_is_room_for_are_all_right)
{
    NEEDS_DEVICE();
    enum { KINDS = 24 };
    eum_block far = alloc(EUM_MEMORY_DEVICE, BYTES), near = alloc(EUM_MEMORY_PINNED, BYTES);
    int graphs = 0;
    for (int first = 0; first < KINDS; first += 3) /* three at a time, until the others are idle */
        for (int i = 0; i < 240; i++) {
            int value = 1 + first + i % 3;
            graphs += fill_known(stream, fill_counted, far.device, value);
            if (i % 16 == 0)
                expect_bytes(stream, &far, &near, value);
        }
    ck_assert_int_gt(graphs, KINDS * 10);
    ck_assert_int_ge(captured, KINDS);
    drain(stream);
    ops->release(device, &near);
    ops->release(device, &far);
}
END_TEST

static atomic_bool stop;

/* A wait sends signals on the stream from its own thread, at any time. */
static void *wait_all_the_time(void *arg)
{
    while (!atomic_load(&stop))
        ck_assert_int_eq(ops->drain(arg, UINT64_MAX, -1), EUM_OK);
    return NULL;
}

START_TEST(signals_that_are_sent_meanwhile_do_not_become_part_of_a_graph)
{
    NEEDS_DEVICE();
    pthread_t waiter;
    eum_block far = alloc(EUM_MEMORY_DEVICE, BYTES), near = alloc(EUM_MEMORY_PINNED, BYTES);
    atomic_store(&stop, false);
    ck_assert_int_eq(pthread_create(&waiter, NULL, wait_all_the_time, stream), 0);
    for (int round = 0; round < 300; round++) /* each is new */
        for (int i = 0; i < 4; i++)
            (void)fill_known(stream, fill_counted, far.device, round * 256 + 5);
    atomic_store(&stop, true);
    ck_assert_int_eq(pthread_join(waiter, NULL), 0);
    drain(stream);
    cuda_stream *own = (cuda_stream *)stream;
    if (own->signal.word != NULL) {
        uint32_t sent = own->signal.sent;
        for (int i = 0; i < 50; i++)
            (void)fill_known(stream, fill_counted, far.device, 299 * 256 + 5);
        ck_assert_int_eq(ops->synchronize(device), EUM_OK);
        ck_assert_uint_eq(atomic_load(own->signal.word), sent); /* no graph has written an old number */
    }
    expect_bytes(stream, &far, &near, 5);
    ops->release(device, &near);
    ops->release(device, &far);
}
END_TEST

Suite *cudart_graphs_suite(void)
{
    Suite *suite = suite_create("cudart_graphs");
    TCase *tests = tcase_create("graphs");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, from_the_third_time_on_it_is_a_graph_that_does_the_same);
    tcase_add_test(tests, another_address_or_another_call_is_another_graph);
    tcase_add_test(tests, what_cannot_be_captured_is_submitted_as_before_and_not_tried_again);
    tcase_add_test(tests, a_graph_that_cannot_be_launched_gives_way_to_the_kernel);
    tcase_add_test(tests, streams_of_the_callers_own_carry_no_graphs);
    tcase_add_test(tests, more_than_there_is_room_for_are_all_right);
    tcase_add_test(tests, signals_that_are_sent_meanwhile_do_not_become_part_of_a_graph);
    suite_add_tcase(suite, tests);
    return suite;
}
