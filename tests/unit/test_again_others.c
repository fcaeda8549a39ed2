/* Launches that are made again, and others: what else is in flight, what fails, and who waits.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <check.h>
#include <stdatomic.h>
#include <unistd.h>

#include "again_calls.h"

Suite *again_others_suite(void);

static int32_t hash_nothing(const eum_kernel_call *call)
{
    (void)call;
    return 0;
}

/* What nobody remembers, row numbers of the caller's for one, is in flight all the same. */
START_TEST(launches_that_are_not_remembered_are_seen_by_those_that_are)
{
    world w = world_open(_i, 9, 0);
    static uint8_t expected[BYTES];
    eum_buf *buf = world_buffer(&w, BYTES, EUM_ROLE_TARGETS), *sum = world_buffer(&w, 8, EUM_ROLE_TARGETS);
    cpu_fill(buf, 0, BYTES, 2);
    pattern_into(expected, 0, BYTES, 2);
    eum_job job;
    ck_assert_int_eq(gpu_hash(w.streams[1], buf, 0, BYTES, sum, &job), EUM_OK);
    wait_job(&w, job);
    for (int i = 0; i < 2; i++)
        wait_job(&w, call_of(w.streams[0], buf, buf, true));
    for (size_t i = 0; i < BYTES; i++)
        expected[i] = (uint8_t)(expected[i] + 2);
    ck_assert_int_eq(gpu_hash(w.streams[1], buf, 0, BYTES, sum, &job), EUM_OK);
    (void)call_of(w.streams[0], buf, buf, true);
    expect_hash(sum, expected, BYTES);
    expect_added(buf, 2, 3);
    world_close(&w);
}
END_TEST

static eum_job one_of_many(eum_strm *stream, eum_buf *buf, const size_t *begins, size_t count, eum_access access)
{
    eum_range ranges[8];
    eum_access accesses[8];
    for (size_t i = 0; i < count; i++) {
        ranges[i] = (eum_range){buf, begins[i], 32};
        accesses[i] = access;
    }
    const eum_launch_request request = {.cpu = add_one, .ranges = ranges, .accesses = accesses, .count = count, .anywhere = true};
    eum_job job;
    ck_assert_int_eq(eum_engine_launch(stream, &request, &job), EUM_OK);
    return job;
}

START_TEST(what_is_in_flight_of_others_leaves_room_for_the_repeats)
{
    static const size_t over[5] = {0, 32, 64, 96, 128};
    world w = world_open(_i, 10, 0);
    eum_buf *buf = world_buffer(&w, BYTES, EUM_ROLE_TARGETS);
    cpu_fill(buf, 0, BYTES, 2);
    const eum_range range = {buf, 0, 16};
    const eum_access access = EUM_ACCESS_READ;
    const eum_call_key key = {0, sizeof range, &range};
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.cpu = hash_nothing;
    const eum_launch_request request = {
        .cpu = hash_nothing, .ranges = &range, .accesses = &access, .count = 1, .anywhere = true, .key = &key};
    eum_job job;
    eum_status status;
    (void)one_of_many(w.streams[0], buf, (const size_t[]){8192}, 1, EUM_ACCESS_READ_WRITE);
    ck_assert_int_eq(eum_strm_synchronize(w.streams[0]), EUM_OK);
    for (int i = 0; i < 2; i++)
        if (!eum_engine_again(w.streams[0], &key, &config, &job, &status))
            ck_assert_int_eq(eum_engine_launch(w.streams[0], &request, &job), EUM_OK);
    (void)one_of_many(w.streams[0], buf, over, 5, EUM_ACCESS_READ_WRITE); /* the readers' place is theirs now */
    for (size_t at = 1024; buf->hazards.count < buf->hazards.capacity && at < 4096; at += 32)
        (void)one_of_many(w.streams[0], buf, &at, 1, EUM_ACCESS_READ_WRITE);
    if (!eum_engine_again(w.streams[0], &key, &config, &job, &status))
        ck_assert_int_eq(eum_engine_launch(w.streams[0], &request, &job), EUM_OK);
    wait_job(&w, job);
    (void)world_stats(&w); /* the repeat is recorded */
    ck_assert_uint_le(buf->hazards.count, buf->hazards.capacity);
    world_close(&w);
}
END_TEST

static atomic_int counted;

static int32_t count_slowly(const eum_kernel_call *call)
{
    (void)call;
    (void)usleep(3000);
    atomic_fetch_add(&counted, 1);
    return 0;
}

START_TEST(who_waits_for_a_repeat_waits_for_all_before_it)
{
    world w = world_open(_i, 14, 0);
    eum_buf *buf = world_buffer(&w, BYTES, EUM_ROLE_TARGETS);
    cpu_fill(buf, 0, BYTES, 2);
    atomic_store(&counted, 0);
    int calls = 0;
    for (int last = 1; last <= 6; last++) {
        eum_job job = {NULL, 0, 0};
        for (int i = 0; i < last; i++, calls++)
            job = call_with(count_slowly, w.streams[0], buf, buf, true);
        ck_assert_int_eq(eum_ctx_job_wait(w.ctx, job.stream, job.sequence, 1000000000), EUM_OK); /* who has a limit does not help */
        ck_assert_int_eq(atomic_load(&counted), calls);
    }
    world_close(&w);
}
END_TEST

static atomic_bool may_fail; /* on the host, where kernels run at once, not before others are behind it */

static int32_t fail_then(const eum_kernel_call *call)
{
    (void)call;
    while (!atomic_load(&may_fail))
        (void)usleep(100);
    return 7;
}

static eum_status outcome(const world *w, eum_job job)
{
    return eum_ctx_job_wait(w->ctx, job.stream, job.sequence, -1);
}

/* The user's launch is not remembered by its kernel, so the same call may fail the next time: alone, or with who reads what it was to write. */
START_TEST(each_repeat_fails_for_itself)
{
    world w = world_open(_i, 11, 0);
    eum_buf *own = world_buffer(&w, BYTES, EUM_ROLE_TARGETS), *of_own = world_buffer(&w, BYTES, EUM_ROLE_TARGETS),
            *other = world_buffer(&w, BYTES, EUM_ROLE_TARGETS);
    cpu_fill(own, 0, BYTES, 2);
    cpu_fill(other, 0, BYTES, 3);
    eum_job failing, reader, first, last;
    for (int i = 0; i < 2; i++) {
        (void)call_of(w.streams[0], other, other, true);
        (void)call_of(w.streams[0], own, own, false);
        (void)call_of(w.streams[0], own, of_own, true);
    }
    ck_assert_int_eq(eum_strm_synchronize(w.streams[0]), EUM_OK);
    atomic_store(&may_fail, world_is_simulated(&w));
    first = call_of(w.streams[0], other, other, true);
    failing = call_with(fail_then, w.streams[0], own, own, false);
    reader = call_of(w.streams[0], own, of_own, true);
    last = call_of(w.streams[0], other, other, true);
    atomic_store(&may_fail, true);
    ck_assert_int_eq(outcome(&w, last), EUM_OK);
    ck_assert_int_eq(outcome(&w, reader), EUM_ERROR_JOB_FAILED);
    ck_assert_int_eq(outcome(&w, failing), EUM_ERROR_JOB_FAILED);
    ck_assert_int_eq(outcome(&w, first), EUM_OK);
    expect_added(other, 3, 4);
    cpu_fill(own, 0, BYTES, 2);
    world_close(&w);
}
END_TEST

static eum_status submit_nothing(eum_dstream *stream, eum_task *task)
{
    (void)stream, (void)task;
    return EUM_OK;
}

/* For as long as it is set, the device says that it is CUDA's. */
static void pretend_cuda(const world *w, bool on)
{
    w->ctx->device->caps.kind = on ? EUM_DEVICE_CUDA : EUM_DEVICE_SIM;
}

START_TEST(inside_a_callback_of_cudas_nobody_hears_that_what_has_no_point_is_done)
{
    world w = world_open(_i, 12, 0);
    give_drain(&w);
    if (world_is_simulated(&w) && repeats_here(&w)) {
        eum_buf *buf = world_buffer(&w, BYTES, EUM_ROLE_TARGETS);
        cpu_fill(buf, 0, BYTES, 2);
        eum_job job = {NULL, 0, 0};
        for (int i = 0; i < 3; i++)
            job = call_of(w.streams[0], buf, buf, true);
        ck_assert(eum_again_is_open(w.streams[0]));
        pretend_cuda(&w, true);
        eum_callback_depth++;
        eum_status status = eum_ctx_job_wait(w.ctx, job.stream, job.sequence, 0);
        eum_callback_depth--;
        pretend_cuda(&w, false);
        ck_assert_int_eq(status, EUM_ERROR_TIMEOUT);
        wait_job(&w, job);
        expect_added(buf, 2, 3);
    }
    world_close(&w);
}
END_TEST

START_TEST(an_operation_is_not_timed_with_launches_that_came_after_it)
{
    world w = world_open(_i, 13, 0);
    give_drain(&w);
    if (world_is_simulated(&w) && repeats_here(&w)) {
        eum_operations *operations = &w.ctx->operations;
        eum_buf *own = world_buffer(&w, BYTES, EUM_ROLE_TARGETS), *buf = world_buffer(&w, BYTES, EUM_ROLE_TARGETS);
        cpu_fill(own, 0, BYTES, 2);
        cpu_fill(buf, 0, BYTES, 2);
        for (int i = 0; i < 2; i++) {
            (void)call_of(w.streams[0], own, own, false);
            (void)call_of(w.streams[0], buf, buf, true);
        }
        eum_job job = call_of(w.streams[0], buf, buf, true);
        const eum_point point = {job.stream, job.sequence};
        const eum_run run = {.operation = EUM_OPERATION_COSINE, .executor = EUM_EXECUTOR_DEVICE};
        eum_operations_started(operations, &run, point, 0);
        ck_assert_int_ge(eum_operations_watched(operations, point), 0);
        struct eum_device_ops ops = *w.ctx->device->ops; /* on CUDA they have one point */
        const struct eum_device_ops *real = w.ctx->device->ops;
        ops.submit = submit_nothing;
        w.ctx->device->ops = &ops;
        pretend_cuda(&w, true);
        eum_job later = call_of(w.streams[0], own, own, false);
        pretend_cuda(&w, false);
        w.ctx->device->ops = real;
        ck_assert_uint_eq(later.sequence, job.sequence);
        ck_assert_int_lt(eum_operations_watched(operations, point), 0);
        wait_job(&w, job);
    }
    world_close(&w);
}
END_TEST

Suite *again_others_suite(void)
{
    Suite *suite = suite_create("again_others");
    TCase *tcase = tcase_create("again_others");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, launches_that_are_not_remembered_are_seen_by_those_that_are, 0, place_count);
    tcase_add_loop_test(tcase, what_is_in_flight_of_others_leaves_room_for_the_repeats, 0, place_count);
    tcase_add_loop_test(tcase, who_waits_for_a_repeat_waits_for_all_before_it, 0, place_count);
    tcase_add_loop_test(tcase, each_repeat_fails_for_itself, 0, place_count);
    tcase_add_loop_test(tcase, inside_a_callback_of_cudas_nobody_hears_that_what_has_no_point_is_done, 0, place_count);
    tcase_add_loop_test(tcase, an_operation_is_not_timed_with_launches_that_came_after_it, 0, place_count);
    suite_add_tcase(suite, tcase);
    return suite;
}
