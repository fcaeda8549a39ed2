/* What is submitted to the CUDA device again and again: as a graph, with the same effect. Built with CUDA only; without a device the tests pass.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <math.h>

#include "cudart_fixture.h"
#include "kernels/kernels.h"

Suite *cudart_graphs_suite(void);

/* The kernel is the cosine's, of a query (1, 0) and rows (v / 64, sqrt(1 - (v / 64)^2)): all scores are v / 64, one v for each call. */
#define ROWS 500u
#define DIM 2u
#define CALLS 64
#define BYTES (ROWS * sizeof(float))
#define POISON 0x5a

static eum_block vectors; /* on the device: the query, then for each v its rows */
static int described;     /* how often it was asked what a task launches */

static void set_up_vectors(void)
{
    set_up();
    described = 0;
    if (device == NULL)
        return;
    const size_t count = DIM + (size_t)CALLS * ROWS * DIM, bytes = count * sizeof(float);
    eum_block near = alloc(EUM_MEMORY_PINNED, bytes);
    vectors = alloc(EUM_MEMORY_DEVICE, bytes);
    float *values = near.host;
    values[0] = 1;
    values[1] = 0;
    for (size_t i = 0; i < (size_t)CALLS * ROWS; i++) {
        double c = (double)(i / ROWS) / CALLS;
        values[DIM + i * DIM] = (float)c;
        values[DIM + i * DIM + 1] = (float)sqrt(1 - c * c);
    }
    ck_assert_int_eq(ops->copy(stream, vectors.device, near.host, bytes, EUM_HOST_TO_DEVICE), EUM_OK);
    drain(stream);
    ops->release(device, &near);
}

static void tear_down_vectors(void)
{
    if (device != NULL) {
        drain(stream);
        ops->release(device, &vectors);
    }
    tear_down();
}

static eum_cosine_args args_of(const eum_kernel_call *call)
{
    return (eum_cosine_args){.query = call->addresses[0],
                             .targets = call->addresses[1],
                             .scores = call->addresses[2],
                             .rows = ROWS,
                             .dim = DIM,
                             .row_stride = DIM * sizeof(float)};
}

static int32_t score(const eum_kernel_call *call)
{
    eum_cosine_args args = args_of(call);
    return eum_cosine_cuda(&args, call->stream);
}

static bool describe(const eum_kernel_call *call, eum_node *out)
{
    eum_cosine_args args = args_of(call);
    eum_cosine_launch launch;
    described++;
    if (eum_cosine_cuda_choose(&args, &launch) != 0)
        return false;
    *out = (eum_node){
        .kernel = launch.kernel, .blocks = launch.blocks, .threads = launch.threads, .shared_bytes = launch.shared_bytes};
    memcpy(out->parameter, &args, sizeof args);
    return true;
}

static bool describe_nothing(const eum_kernel_call *call, eum_node *out)
{
    (void)call, (void)out;
    described++;
    return false;
}

/* A kernel that no device has so many threads for. */
static bool describe_wrongly(const eum_kernel_call *call, eum_node *out)
{
    bool good = describe(call, out);
    out->threads = 1u << 20;
    return good;
}

/* Scores call v by a task that is known by it; true if it was a graph. */
static bool score_known(eum_dstream *on, eum_node_fn node, void *scores, int v)
{
    float *values = vectors.device;
    void *addresses[] = {values, values + DIM + (size_t)v * ROWS * DIM, scores};
    eum_task task;
    init_task(&task, score, NULL);
    task.own = true;
    task.call.count = 3;
    task.call.addresses = addresses;
    task.given = &v;
    task.given_bytes = sizeof v;
    task.node = node;
    ck_assert_int_eq(ops->submit(on, &task), EUM_OK);
    return task.as_graph;
}

static void expect_scores(eum_dstream *on, const eum_block *far, const eum_block *near, int v)
{
    memset(near->host, POISON, BYTES);
    ck_assert_int_eq(ops->copy(on, near->host, far->device, BYTES, EUM_DEVICE_TO_HOST), EUM_OK);
    drain(on);
    for (size_t r = 0; r < ROWS; r++)
        ck_assert_double_eq_tol((double)((const float *)near->host)[r], (double)v / CALLS, 1e-5);
}

static void expect_poison(eum_dstream *on, const eum_block *far, const eum_block *near)
{
    memset(near->host, 0, BYTES);
    ck_assert_int_eq(ops->copy(on, near->host, far->device, BYTES, EUM_DEVICE_TO_HOST), EUM_OK);
    drain(on);
    ck_assert(all_are(near->host, BYTES, POISON));
}

START_TEST(from_the_third_time_on_it_is_a_graph_that_does_the_same)
{
    NEEDS_DEVICE();
    eum_block far = alloc(EUM_MEMORY_DEVICE, BYTES), near = alloc(EUM_MEMORY_PINNED, BYTES);
    atomic_store(&finished, 0);
    for (int i = 0; i < 20; i++) {
        submit_fill(stream, far.device, BYTES, POISON);
        ck_assert_int_eq(score_known(stream, describe, far.device, 7), i >= 2);
        expect_scores(stream, &far, &near, 7);
    }
    ck_assert_int_eq(described, 1);
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
        int which = i % 2, v = 1 + i / 2 % 3;
        submit_fill(stream, far[0].device, BYTES, POISON);
        submit_fill(stream, far[1].device, BYTES, POISON);
        bool graph = score_known(stream, describe, far[which].device, v);
        ck_assert(graph || i < 30);
        expect_scores(stream, &far[which], &near, v);
        expect_poison(stream, &far[1 - which], &near);
    }
    ck_assert_int_eq(described, 6);
    ops->release(device, &near);
    ops->release(device, &far[0]);
    ops->release(device, &far[1]);
}
END_TEST

START_TEST(what_cannot_be_described_is_submitted_as_before_and_not_asked_for_again)
{
    NEEDS_DEVICE();
    eum_block far = alloc(EUM_MEMORY_DEVICE, BYTES), near = alloc(EUM_MEMORY_PINNED, BYTES);
    for (int i = 0; i < 10; i++) {
        submit_fill(stream, far.device, BYTES, POISON);
        ck_assert(!score_known(stream, describe_nothing, far.device, 9));
        expect_scores(stream, &far, &near, 9);
    }
    ck_assert_int_eq(described, 1);
    for (int i = 0; i < 10; i++) {
        submit_fill(stream, far.device, BYTES, POISON);
        ck_assert(!score_known(stream, describe_wrongly, far.device, 11));
        expect_scores(stream, &far, &near, 11);
        ck_assert_int_eq(cudaPeekAtLastError(), cudaSuccess);
    }
    ck_assert_int_eq(described, 2);
    for (int i = 0; i < 10; i++)
        ck_assert(!score_known(stream, NULL, far.device, 10));
    expect_scores(stream, &far, &near, 10);
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
        (void)score_known(stream, describe, far.device, 3);
    drain(stream);
    int (*launch)(cudaGraphExec_t, cudaStream_t) = cuda_calls.graph_launch;
    cuda_calls.graph_launch = refuse_graph;
    for (int i = 0; i < 5; i++) {
        submit_fill(stream, far.device, BYTES, POISON);
        ck_assert(!score_known(stream, describe, far.device, 3));
        expect_scores(stream, &far, &near, 3);
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
        ck_assert(!score_known(wrapped, describe, far.device, 4));
    expect_scores(wrapped, &far, &near, 4);
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
            int v = 1 + first + i % 3;
            graphs += score_known(stream, describe, far.device, v);
            if (i % 16 == 0)
                expect_scores(stream, &far, &near, v);
        }
    ck_assert_int_gt(graphs, KINDS * 10);
    ck_assert_int_ge(described, KINDS);
    drain(stream);
    ops->release(device, &near);
    ops->release(device, &far);
}
END_TEST

/* Nothing is captured for a graph, during which nobody in the process might synchronise. */
static atomic_bool stop;
static atomic_int synchronised;

static void *synchronise_all_the_time(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop)) {
        ck_assert_int_eq(cudaDeviceSynchronize(), cudaSuccess);
        atomic_fetch_add(&synchronised, 1);
    }
    return NULL;
}

START_TEST(others_may_synchronise_while_graphs_are_made)
{
    NEEDS_DEVICE();
    pthread_t other;
    eum_block far = alloc(EUM_MEMORY_DEVICE, BYTES), near = alloc(EUM_MEMORY_PINNED, BYTES);
    atomic_store(&stop, false);
    atomic_store(&synchronised, 0);
    ck_assert_int_eq(pthread_create(&other, NULL, synchronise_all_the_time, NULL), 0);
    while (atomic_load(&synchronised) == 0)
        (void)usleep(100);
    for (int round = 0; round < 40; round++)
        for (int i = 0; i < 40; i++)
            (void)score_known(stream, describe, far.device, round);
    atomic_store(&stop, true);
    ck_assert_int_eq(pthread_join(other, NULL), 0);
    ck_assert_int_gt(described, 8);
    expect_scores(stream, &far, &near, 39);
    ops->release(device, &near);
    ops->release(device, &far);
}
END_TEST

Suite *cudart_graphs_suite(void)
{
    Suite *suite = suite_create("cudart_graphs");
    TCase *tests = tcase_create("graphs");
    tcase_add_checked_fixture(tests, set_up_vectors, tear_down_vectors);
    tcase_add_test(tests, from_the_third_time_on_it_is_a_graph_that_does_the_same);
    tcase_add_test(tests, another_address_or_another_call_is_another_graph);
    tcase_add_test(tests, what_cannot_be_described_is_submitted_as_before_and_not_asked_for_again);
    tcase_add_test(tests, a_graph_that_cannot_be_launched_gives_way_to_the_kernel);
    tcase_add_test(tests, streams_of_the_callers_own_carry_no_graphs);
    tcase_add_test(tests, more_than_there_is_room_for_are_all_right);
    tcase_add_test(tests, others_may_synchronise_while_graphs_are_made);
    suite_add_tcase(suite, tests);
    return suite;
}
