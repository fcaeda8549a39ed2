/* The streams of the simulated GPU: order, waits, callbacks, and single steps.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE 1

#include <unistd.h>

#include "sim_fixture.h"

Suite *sim_streams_suite(void);

static int32_t record_order(const eum_kernel_call *call)
{
    job *self = call->user;
    atomic_int *next = self->user;
    ck_assert_int_eq(eum_callback_depth, 1);
    ck_assert_int_eq(call->device, 0);
    ck_assert_ptr_null(call->stream);
    self->code = atomic_fetch_add(next, 1);
    return self->code;
}

static void keep_code(eum_task *task, eum_status status, int32_t code)
{
    job *self = (job *)task;
    self->status = status;
    self->code = code;
    atomic_fetch_add(&self->finished, 1);
}

static void submit_recorder(job *self, eum_dstream *stream, atomic_int *next)
{
    memset(self, 0, sizeof *self);
    self->user = next;
    eum_kernel_call call = {.struct_size = sizeof call, .user = self};
    self->task = (eum_task){.cpu = record_order, .call = call, .finish = keep_code};
    ck_assert_int_eq(stream->device->ops->submit(stream, &self->task), EUM_OK);
}

START_TEST(a_stream_runs_in_order_and_finish_comes_before_passed)
{
    eum_device *device = open_with(all[_i], NULL);
    eum_dstream *stream = new_stream(device);
    static job jobs[100];
    atomic_int next = 0;
    uint64_t last = 0;
    for (int i = 0; i < 100; i++) {
        submit_recorder(&jobs[i], stream, &next);
        uint64_t sequence = mark(stream);
        ck_assert_uint_gt(sequence, last);
        last = sequence;
    }
    while (!device->ops->passed(stream, last))
        usleep(100);
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(atomic_load(&jobs[i].finished), 1);
        ck_assert_int_eq(jobs[i].code, i);
        ck_assert_int_eq(jobs[i].status, i == 0 ? EUM_OK : EUM_ERROR_JOB_FAILED); /* the callback's code is its number */
    }
    ck_assert_int_eq(device->ops->wait(stream, last + 1, -1), EUM_ERROR_INVALID_ARGUMENT);
    done(device, stream, NULL);
}
END_TEST

static int32_t wait_for_flag(const eum_kernel_call *call)
{
    job *self = call->user;
    atomic_int *flag = self->user;
    while (atomic_load(flag) == 0)
        usleep(100);
    return 0;
}

static void submit_blocker(job *self, eum_dstream *stream, atomic_int *flag)
{
    memset(self, 0, sizeof *self);
    self->user = flag;
    eum_kernel_call call = {.struct_size = sizeof call, .user = self};
    self->task = (eum_task){.cpu = wait_for_flag, .call = call, .finish = keep_code};
    ck_assert_int_eq(stream->device->ops->submit(stream, &self->task), EUM_OK);
}

START_TEST(a_wait_times_out_and_cancels_nothing)
{
    eum_device *device = open_with("pascal", NULL);
    eum_dstream *stream = new_stream(device), *other = new_stream(device);
    atomic_int flag = 0, next = 0;
    job blocker, after;
    submit_blocker(&blocker, stream, &flag);
    uint64_t sequence = mark(stream);
    ck_assert_int_eq(device->ops->wait(stream, sequence, 0), EUM_ERROR_TIMEOUT);
    ck_assert_int_eq(device->ops->wait(stream, sequence, 1000000), EUM_ERROR_TIMEOUT);
    ck_assert(!device->ops->passed(stream, sequence));
    ck_assert_int_eq(device->ops->order(other, stream, sequence), EUM_OK);
    submit_recorder(&after, other, &next);
    uint64_t later = mark(other);
    ck_assert_int_eq(device->ops->wait(other, later, 2000000), EUM_ERROR_TIMEOUT); /* it is behind the first */
    atomic_store(&flag, 1);
    ck_assert_int_eq(device->ops->wait(other, later, INT64_MAX), EUM_OK);
    ck_assert_int_eq(atomic_load(&blocker.finished), 1);
    device->ops->stream_destroy(other);
    done(device, stream, NULL);
}
END_TEST

START_TEST(host_calls_run_in_stream_order_as_callbacks)
{
    eum_device *device = open_with("turing", _i == 0 ? NULL : "schedule=step");
    eum_dstream *stream = new_stream(device);
    call_record record = {0};
    ck_assert_int_eq(device->ops->host_call(stream, record_call, &record), EUM_OK);
    ck_assert_int_eq(device->ops->synchronize(device), EUM_OK);
    ck_assert_int_eq(record.calls, 1);
    ck_assert_int_eq(record.depth, 1);
    ck_assert_int_eq(eum_callback_depth, 0);
    done(device, stream, NULL);
}
END_TEST

START_TEST(a_stream_may_be_destroyed_from_its_own_callback)
{
    eum_device *device = open_with("turing", _i == 0 ? NULL : "schedule=step");
    eum_dstream *stream = new_stream(device);
    call_record record = {.destroy = stream};
    ck_assert_int_eq(device->ops->host_call(stream, record_call, &record), EUM_OK);
    ck_assert_int_eq(device->ops->synchronize(device), EUM_OK);
    ck_assert_int_eq(record.calls, 1);
    done(device, NULL, NULL);
}
END_TEST

/* The order in which the kernels of four streams run. */
static void run_steps(const char *options, int *order, uint64_t *out_time)
{
    eum_device *device = open_with("pascal", options);
    eum_dstream *stream[4];
    static job jobs[4][6];
    atomic_int next = 0;
    for (int s = 0; s < 4; s++)
        stream[s] = new_stream(device);
    for (int k = 0; k < 6; k++)
        for (int s = 0; s < 4; s++)
            submit_recorder(&jobs[s][k], stream[s], &next);
    ck_assert_int_eq(atomic_load(&next), 0); /* nothing runs by itself */
    ck_assert_int_eq(device->ops->synchronize(device), EUM_OK);
    for (int s = 0; s < 4; s++) {
        for (int k = 0; k < 6; k++)
            order[s * 6 + k] = jobs[s][k].code;
        device->ops->stream_destroy(stream[s]);
    }
    *out_time = eum_sim_time(device);
    done(device, NULL, NULL);
}

START_TEST(single_steps_are_the_same_for_a_seed_and_others_for_another)
{
    int first[24], again[24], other[24];
    uint64_t time[3];
    run_steps("schedule=step,seed=7", first, &time[0]);
    run_steps("schedule=step,seed=7", again, &time[1]);
    run_steps("schedule=step,seed=8", other, &time[2]);
    ck_assert_mem_eq(first, again, sizeof first);
    ck_assert(memcmp(first, other, sizeof first) != 0);
    ck_assert_uint_eq(time[0], time[1]);
    ck_assert_uint_eq(time[0], 6 * 10000); /* streams do not slow each other down */
}
END_TEST

START_TEST(a_poll_takes_one_step_and_a_look_none)
{
    eum_device *device = open_with("pascal", NULL);
    ck_assert(eum_sim_schedule(device, true, 3));
    eum_dstream *stream = new_stream(device);
    atomic_int next = 0;
    job jobs[3];
    for (int i = 0; i < 3; i++)
        submit_recorder(&jobs[i], stream, &next);
    ck_assert(!eum_sim_schedule(device, false, 3));
    uint64_t sequence = mark(stream);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(atomic_load(&next), i);
        ck_assert(!device->ops->passed(stream, sequence));
        ck_assert_int_eq(atomic_load(&next), i);
        ck_assert_int_eq(device->ops->wait(stream, sequence, 0), EUM_ERROR_TIMEOUT);
    }
    ck_assert_int_eq(device->ops->wait(stream, sequence, 0), EUM_OK); /* the mark is a step too */
    ck_assert(device->ops->passed(stream, sequence));
    done(device, stream, NULL);
}
END_TEST

Suite *sim_streams_suite(void)
{
    Suite *suite = suite_create("sim_streams");
    TCase *streams = tcase_create("streams");
    tcase_add_loop_test(streams, a_stream_runs_in_order_and_finish_comes_before_passed, 0, 5);
    tcase_add_test(streams, a_wait_times_out_and_cancels_nothing);
    tcase_add_loop_test(streams, host_calls_run_in_stream_order_as_callbacks, 0, 2);
    tcase_add_loop_test(streams, a_stream_may_be_destroyed_from_its_own_callback, 0, 2);
    tcase_add_test(streams, single_steps_are_the_same_for_a_seed_and_others_for_another);
    tcase_add_test(streams, a_poll_takes_one_step_and_a_look_none);
    suite_add_tcase(suite, streams);
    return suite;
}
