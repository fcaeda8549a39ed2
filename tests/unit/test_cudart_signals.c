/* Waiting by signals on the CUDA device. Built with CUDA only; without a device the tests pass.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "cudart_fixture.h"

Suite *cudart_signals_suite(void);

#define BYTES (4 * MIB)

static cuda_stream *of(eum_dstream *s)
{
    return (cuda_stream *)s;
}

static bool has_signals(void)
{
    return device->caps.concurrent_managed && eum_spin_ns() != 0;
}

static uint32_t sent_by(eum_dstream *s)
{
    return of(s)->signal.sent;
}

/* Fills device memory and copies it to where the CPU reads it; then waits at once, for a mark or for all of the stream. */
static void fill_copy_and_wait(eum_dstream *on, const eum_block *far, const eum_block *near, size_t bytes, int value, bool marked)
{
    uint64_t sequence = 0;
    memset(near->host, 0xa5, bytes);
    submit_fill(on, far->device, bytes, value);
    ck_assert_int_eq(ops->copy(on, near->host, far->device, bytes, EUM_DEVICE_TO_HOST), EUM_OK);
    if (marked) {
        ck_assert_int_eq(ops->mark(on, &sequence), EUM_OK);
        ck_assert_int_eq(ops->wait(on, sequence, -1), EUM_OK);
    } else {
        ck_assert_int_eq(ops->drain(on, UINT64_MAX, -1), EUM_OK);
    }
    ck_assert(all_are(near->host, bytes, value));
}

START_TEST(the_work_is_done_when_a_wait_that_follows_at_once_is_over)
{
    NEEDS_DEVICE();
    eum_block far = alloc(EUM_MEMORY_DEVICE, BYTES), near = alloc(EUM_MEMORY_PINNED, BYTES);
    uint32_t before = sent_by(stream);
    for (int i = 0; i < 300; i++)
        fill_copy_and_wait(stream, &far, &near, (size_t)64 << (i % 17), i % 100 + 1, i % 2 == 0);
    if (has_signals()) /* nearly all: what is over in no time needs none */
        ck_assert_uint_gt(sent_by(stream) - before, 100);
    ck_assert_int_eq(cudaPeekAtLastError(), cudaSuccess);
    ops->release(device, &near);
    ops->release(device, &far);
}
END_TEST

START_TEST(a_signal_that_does_not_come_is_not_waited_for)
{
    NEEDS_DEVICE();
    eum_block far = alloc(EUM_MEMORY_DEVICE, BYTES), near = alloc(EUM_MEMORY_PINNED, BYTES),
              elsewhere = alloc(EUM_MEMORY_PINNED, 64);
    unsigned long long address = of(stream)->signal.address;
    of(stream)->signal.address = (uintptr_t)elsewhere.device; /* as if another stream had written over it */
    for (int i = 0; i < 20; i++)
        fill_copy_and_wait(stream, &far, &near, BYTES, i + 1, i % 2 == 0);
    drain(stream);
    of(stream)->signal.address = address;
    ops->release(device, &elsewhere);
    ops->release(device, &near);
    ops->release(device, &far);
}
END_TEST

START_TEST(streams_without_a_signal_do_without)
{
    NEEDS_DEVICE();
    enum { STREAMS = CUDA_SIGNALS + 6 };
    static eum_dstream *streams[STREAMS];
    eum_block far = alloc(EUM_MEMORY_DEVICE, 4096), near = alloc(EUM_MEMORY_PINNED, 4096);
    int without = 0;
    for (int i = 0; i < STREAMS; i++) {
        ck_assert_int_eq(ops->stream_create(device, &streams[i]), EUM_OK);
        without += of(streams[i])->signal.word == NULL;
        for (int k = 0; k < i && of(streams[i])->signal.word != NULL; k++)
            ck_assert_ptr_ne(of(streams[i])->signal.word, of(streams[k])->signal.word);
    }
    ck_assert_int_gt(without, 0);
    ck_assert_int_le(without, has_signals() ? 7 : STREAMS); /* the fixture's stream has one */
    for (int i = 0; i < STREAMS; i++)
        fill_copy_and_wait(streams[i], &far, &near, 4096, i + 1, i % 2 == 0);
    for (int i = 0; i < STREAMS; i++)
        ops->stream_destroy(streams[i]);
    ops->release(device, &near);
    ops->release(device, &far);
}
END_TEST

START_TEST(a_stream_that_others_know_is_done_for_cuda_too)
{
    NEEDS_DEVICE();
    eum_block block = alloc(EUM_MEMORY_DEVICE, BYTES);
    cudaStream_t native = ops->native(stream);
    uint32_t before = sent_by(stream);
    for (int i = 0; i < 200; i++) {
        uint64_t sequence = 0;
        submit_fill(stream, block.device, (size_t)64 << (i % 17), i);
        ck_assert_int_eq(ops->mark(stream, &sequence), EUM_OK);
        ck_assert_int_eq(ops->wait(stream, sequence, -1), EUM_OK);
        ck_assert_int_eq(cudaStreamQuery(native), cudaSuccess);
    }
    ck_assert_uint_eq(sent_by(stream), before);
    ops->release(device, &block);
}
END_TEST

START_TEST(a_late_signal_of_an_ended_stream_ends_nobodys_wait)
{
    NEEDS_DEVICE();
    static atomic_bool second_open;
    eum_dstream *first = NULL, *second = NULL;
    uint64_t sequence = 0;
    eum_task task;
    ck_assert_int_eq(ops->stream_create(device, &first), EUM_OK);
    ck_assert_int_eq(submit(first, run_gate), EUM_OK);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(ops->drain(first, UINT64_MAX, MS), EUM_ERROR_TIMEOUT);
    uint32_t sent = sent_by(first);
    int place = of(first)->signal.place;
    ops->stream_destroy(first);
    ck_assert_int_eq(ops->stream_create(device, &second), EUM_OK);
    if (has_signals()) {
        ck_assert_uint_ge(sent, 3);
        ck_assert_int_eq(of(second)->signal.place, place);
        ck_assert_uint_eq(sent_by(second), sent);
    }
    init_task(&task, run_gate, &second_open);
    ck_assert_int_eq(ops->submit(second, &task), EUM_OK);
    ck_assert_int_eq(ops->mark(second, &sequence), EUM_OK);
    atomic_store(&gate_open, true);
    ck_assert_int_eq(ops->wait(second, sequence, 20 * MS), EUM_ERROR_TIMEOUT);
    atomic_store(&second_open, true);
    ck_assert_int_eq(ops->wait(second, sequence, -1), EUM_OK);
    ops->stream_destroy(second);
}
END_TEST

START_TEST(a_wait_for_a_mark_does_not_wait_for_what_was_submitted_after_it)
{
    NEEDS_DEVICE();
    eum_block block = alloc(EUM_MEMORY_DEVICE, BYTES);
    uint64_t sequence = 0;
    submit_fill(stream, block.device, BYTES, 1);
    ck_assert_int_eq(ops->mark(stream, &sequence), EUM_OK);
    ck_assert_int_eq(submit(stream, run_gate), EUM_OK);
    uint32_t before = sent_by(stream);
    ck_assert_int_eq(ops->wait(stream, sequence, 5000 * MS), EUM_OK);
    ck_assert_uint_eq(sent_by(stream), before);
    atomic_store(&gate_open, true);
    drain(stream);
    ops->release(device, &block);
}
END_TEST

Suite *cudart_signals_suite(void)
{
    Suite *suite = suite_create("cudart_signals");
    TCase *tests = tcase_create("waits");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, the_work_is_done_when_a_wait_that_follows_at_once_is_over);
    tcase_add_test(tests, a_signal_that_does_not_come_is_not_waited_for);
    tcase_add_test(tests, streams_without_a_signal_do_without);
    tcase_add_test(tests, a_stream_that_others_know_is_done_for_cuda_too);
    tcase_add_test(tests, a_late_signal_of_an_ended_stream_ends_nobodys_wait);
    tcase_add_test(tests, a_wait_for_a_mark_does_not_wait_for_what_was_submitted_after_it);
    suite_add_tcase(suite, tests);
    return suite;
}
