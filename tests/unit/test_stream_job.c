/* Streams, jobs and completion callbacks.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "engine.h"

Suite *stream_job_suite(void);

static eum_job hold_up(eum_stream *stream, gate *g)
{
    work w = {.gate = g};
    eum_job job;
    OK(try_launch(stream, &w, NULL, 0, &job));
    await_gate(g, 1);
    return job;
}

static eum_job fail_with(eum_stream *stream, int32_t code)
{
    work w = {.code = code};
    eum_job job;
    OK(try_launch(stream, &w, NULL, 0, &job));
    return job;
}

START_TEST(a_wait_of_no_time_polls_and_a_short_one_times_out)
{
    eum_context *context = open_context();
    gate g = GATE_INIT;
    eum_job job = hold_up(default_stream(context), &g);
    GIVES(EUM_ERROR_TIMEOUT, eum_job_wait(job, 0));
    GIVES(EUM_ERROR_TIMEOUT, eum_job_wait(job, 2000000));
    open_gate(&g);
    OK(eum_job_wait(job, INT64_MAX));
    OK(eum_job_wait(job, 0));
    close_context(context);
}
END_TEST

START_TEST(a_job_of_zeros_is_done_and_an_invented_one_is_none)
{
    eum_context *context = open_context();
    OK(eum_job_wait((eum_job){NULL, 0, 0}, -1));
    OK(eum_job_wait((eum_job){context, 0, 0}, -1));
    GIVES(EUM_ERROR_INVALID_HANDLE, eum_job_wait((eum_job){context, 999, 1}, -1));
    GIVES(EUM_ERROR_INVALID_HANDLE, eum_job_wait((eum_job){context, 1, UINT64_MAX}, -1));
    GIVES(EUM_ERROR_INVALID_HANDLE, eum_job_wait((eum_job){NULL, 1, 1}, -1));
    close_context(context);
}
END_TEST

/* Devices number what a stream is given, and not only jobs: waits for all of it, orders after other streams, callbacks. */
START_TEST(a_job_is_waited_for_whatever_else_its_stream_was_given)
{
    eum_context *context = open_context();
    eum_stream *stream = new_stream(context), *other = new_stream(context);
    eum_buffer *buffer = new_buffer(context, 4 * KIB);
    cpu_fill(whole(buffer), 1);
    for (int times = 0; times < 5; times++) {
        gate before = GATE_INIT, g = GATE_INIT;
        work held = {.gate = &g}, fails = {.code = 9};
        const eum_argument argument = reads(whole(buffer));
        eum_job job, failing;
        if (times % 2 == 0) {
            OK(eum_faults_begin(context));
            eum_faults faults = {.struct_size = sizeof faults};
            OK(eum_faults_end(context, &faults));
        }
        work other_held = {.gate = &before};
        OK(try_launch(other, &other_held, &argument, 1, NULL));
        await_gate(&before, 1);
        OK(eum_buffer_prefetch(whole(buffer), EUM_LOCATION_HOST,
                               stream)); /* may have to come after the other stream, and moves nothing */
        open_gate(&before);
        OK(try_launch(stream, &held, &argument, 1, &job));
        await_gate(&g, 1);
        GIVES(EUM_ERROR_TIMEOUT, eum_job_wait(job, 0));
        open_gate(&g);
        OK(eum_job_wait(job, -1));
        OK(try_launch(stream, &fails, &argument, 1, &failing));
        GIVES(EUM_ERROR_JOB_FAILED, eum_job_wait(failing, -1));
        OK(eum_stream_synchronize(other));
    }
    OK(eum_buffer_destroy(buffer));
    OK(eum_stream_destroy(stream));
    OK(eum_stream_destroy(other));
    close_context(context);
}
END_TEST

START_TEST(a_job_can_be_waited_for_after_its_stream_was_destroyed)
{
    eum_context *context = open_context();
    eum_stream *stream = new_stream(context);
    gate g = GATE_INIT;
    eum_job job = hold_up(stream, &g), failing = fail_with(stream, 3);
    OK(eum_stream_destroy(stream));
    GIVES(EUM_ERROR_TIMEOUT, eum_job_wait(job, 0));
    open_gate(&g);
    OK(eum_job_wait(job, -1));
    GIVES(EUM_ERROR_JOB_FAILED, eum_job_wait(failing, -1));
    GIVES(EUM_ERROR_JOB_FAILED, eum_job_wait(failing, -1));
    OK(eum_job_wait(job, -1));
    GIVES(EUM_ERROR_INVALID_HANDLE, eum_stream_synchronize(stream));
    close_context(context);
}
END_TEST

START_TEST(synchronize_reports_the_first_failure_that_nobody_heard_of)
{
    eum_context *context = open_context();
    eum_stream *stream = new_stream(context), *other = new_stream(context);
    eum_job first = fail_with(stream, 11);
    fail_with(stream, 22);
    fail_with(stream, 33);
    GIVES(EUM_ERROR_JOB_FAILED, eum_job_wait(first, -1));
    OK(eum_stream_synchronize(other));
    GIVES(EUM_ERROR_JOB_FAILED, eum_stream_synchronize(stream));
    eum_error error = EUM_ERROR_INIT;
    OK(eum_last_error(&error));
    ck_assert_ptr_nonnull(strstr(error.sentence, "22"));
    OK(eum_stream_synchronize(stream));
    OK(eum_stream_destroy(stream));
    OK(eum_stream_destroy(other));
    close_context(context);
}
END_TEST

START_TEST(synchronize_waits_for_everything_on_its_stream_and_for_nothing_else)
{
    eum_context *context = open_context();
    eum_stream *busy = new_stream(context), *idle = new_stream(context);
    gate g = GATE_INIT;
    atomic_int ran = 0;
    hold_up(busy, &g);
    work w = {.ran = &ran};
    OK(try_launch(idle, &w, NULL, 0, NULL));
    OK(eum_stream_synchronize(idle));
    ck_assert_int_eq(atomic_load(&ran), 1);
    OK(try_launch(busy, &w, NULL, 0, NULL));
    open_gate(&g);
    OK(eum_stream_synchronize(busy));
    ck_assert_int_eq(atomic_load(&ran), 2);
    OK(eum_stream_destroy(busy));
    OK(eum_stream_destroy(idle));
    close_context(context);
}
END_TEST

START_TEST(the_default_stream_is_borrowed)
{
    eum_context *context = open_context();
    eum_stream *stream = default_stream(context);
    ck_assert_ptr_eq(stream, default_stream(context));
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_stream_destroy(stream));
    OK(eum_stream_synchronize(stream));
    close_context(context);
    GIVES(EUM_ERROR_INVALID_HANDLE, eum_stream_synchronize(stream));
}
END_TEST

START_TEST(a_stream_that_is_destroyed_finishes_its_work)
{
    eum_context *context = open_context();
    eum_stream *stream = new_stream(context);
    eum_buffer *buffer = new_buffer(context, 100 * KIB);
    gate g = GATE_INIT;
    launch1(stream, (work){.kind = WORK_FILL, .value = 1, .gate = &g}, overwrites(whole(buffer)));
    launch1(stream, (work){.kind = WORK_ADD, .value = 1}, updates(whole(buffer)));
    OK(eum_stream_destroy(stream));
    open_gate(&g);
    cpu_expect_plus(whole(buffer), 1, 1);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

/* The launch is ordered after the job before it is refused, and no job is behind the order. With _i a mark behind it is refused, too. */
START_TEST(a_stream_ends_though_all_that_is_on_it_waits_for_a_job_of_another)
{
    eum_context *context =
        open_on(_i == 0 ? "sim:turing,fail=submit:2" : "sim:turing,fail=submit:2,fail=mark:2", EUM_BACKING_MAPPED);
    eum_stream *stream = new_stream(context);
    eum_buffer *buffer = new_buffer(context, 4 * KIB);
    cpu_fill(whole(buffer), 1);
    gate g = GATE_INIT;
    eum_job job = launch1(default_stream(context), (work){.kind = WORK_ADD, .value = 1, .gate = &g}, updates(whole(buffer)));
    await_gate(&g, 1);
    GIVES(EUM_ERROR_LAUNCH_FAILED, try_launch1(stream, (work){.kind = WORK_NOTHING}, reads(whole(buffer))));
    OK(eum_stream_destroy(stream)); /* and does not wait */
    open_gate(&g);
    wait_job(job);
    cpu_expect_plus(whole(buffer), 1, 1);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(a_context_that_is_destroyed_finishes_its_work)
{
    eum_context *context = open_context();
    eum_stream *stream = new_stream(context);
    eum_buffer *buffer = new_buffer(context, 100 * KIB);
    atomic_int ran = 0;
    for (int i = 0; i < 50; i++)
        launch1(i % 2 == 0 ? stream : default_stream(context), (work){.kind = WORK_FILL, .value = 1, .ran = &ran},
                overwrites(whole(buffer)));
    OK(eum_stream_destroy(stream));
    OK(eum_buffer_destroy(buffer));
    OK(eum_context_destroy(context));
    ck_assert_int_eq(atomic_load(&ran), 50);
}
END_TEST

START_TEST(a_stream_outlives_its_context_handle)
{
    eum_context *context = open_context();
    eum_stream *stream = new_stream(context);
    eum_buffer *buffer = new_buffer(context, 100 * KIB);
    OK(eum_context_destroy(context));
    work w = {.kind = WORK_FILL, .value = 3};
    eum_argument argument = overwrites(whole(buffer));
    OK(try_launch(stream, &w, &argument, 1, NULL));
    cpu_expect(whole(buffer), 3);
    OK(eum_stream_synchronize(stream));
    OK(eum_buffer_destroy(buffer));
    OK(eum_stream_destroy(stream));
}
END_TEST

/* ------------------------------------------------------------------------------------------- completion callbacks -- */

typedef struct done {
    atomic_int *next;
    int place;
    eum_status status, map_status, wait_status, destroy_status, sync_status;
    eum_buffer *buffer;
    eum_stream *stream;
    eum_job job;
    atomic_bool called;
} done;

static void note_place(void *user, eum_status status)
{
    done *d = user;
    d->status = status;
    d->place = atomic_fetch_add(d->next, 1);
    atomic_store(&d->called, true);
}

START_TEST(completion_callbacks_come_in_order_after_the_work_before_them)
{
    eum_context *context = open_context();
    eum_stream *stream = new_stream(context);
    atomic_int next = 0;
    gate g = GATE_INIT;
    done calls[10];
    memset(calls, 0, sizeof calls);
    hold_up(stream, &g);
    for (int i = 0; i < 10; i++) {
        calls[i].next = &next;
        OK(eum_stream_on_done(stream, note_place, &calls[i]));
        if (i == 4)
            fail_with(stream, 9);
    }
    sleep_ms(10);
    ck_assert_int_eq(atomic_load(&next), 0);
    open_gate(&g);
    eum_status status = eum_stream_synchronize(stream);
    ck_assert(status == EUM_OK || status == EUM_ERROR_JOB_FAILED);
    ck_assert_int_eq(atomic_load(&next), 10);
    for (int i = 0; i < 10; i++) {
        ck_assert_int_eq(calls[i].place, i);
        ck_assert_int_eq(calls[i].status, i == 5 ? EUM_ERROR_JOB_FAILED : EUM_OK); /* the first to hear of it */
    }
    OK(eum_stream_destroy(stream));
    close_context(context);
}
END_TEST

START_TEST(a_completion_callback_on_an_idle_stream_is_called)
{
    eum_context *context = open_context();
    atomic_int next = 0;
    done d = {.next = &next};
    OK(eum_stream_on_done(default_stream(context), note_place, &d));
    OK(eum_stream_synchronize(default_stream(context)));
    ck_assert(atomic_load(&d.called));
    close_context(context);
}
END_TEST

static void try_to_wait(void *user, eum_status status)
{
    done *d = user;
    void *address = NULL;
    d->status = status;
    d->map_status = eum_buffer_map(whole(d->buffer), EUM_ACCESS_READ, &address);
    d->wait_status = eum_job_wait(d->job, -1);
    d->sync_status = eum_stream_synchronize(d->stream);
    d->destroy_status = eum_job_wait(d->job, 0); /* polling is allowed */
    atomic_store(&d->called, true);
}

START_TEST(what_would_wait_is_an_error_inside_a_completion_callback)
{
    eum_context *context = open_context();
    eum_stream *stream = new_stream(context);
    eum_buffer *buffer = new_buffer(context, 4 * KIB);
    eum_job job = launch1(stream, (work){.kind = WORK_FILL, .value = 1}, overwrites(whole(buffer)));
    done d = {.buffer = buffer, .stream = stream, .job = job};
    OK(eum_stream_on_done(stream, try_to_wait, &d));
    OK(eum_stream_synchronize(stream));
    ck_assert(atomic_load(&d.called));
    ck_assert_int_eq(d.map_status, EUM_ERROR_IN_CALLBACK);
    ck_assert_int_eq(d.wait_status, EUM_ERROR_IN_CALLBACK);
    ck_assert_int_eq(d.sync_status, EUM_ERROR_IN_CALLBACK);
    ck_assert_int_eq(d.destroy_status, EUM_OK);
    OK(eum_buffer_destroy(buffer));
    OK(eum_stream_destroy(stream));
    close_context(context);
}
END_TEST

static void launch_more(void *user, eum_status status)
{
    done *d = user;
    d->status = status;
    work w = {.kind = WORK_FILL, .value = 6};
    eum_argument argument = overwrites(whole(d->buffer));
    d->wait_status = try_launch(d->stream, &w, &argument, 1, &d->job);
    d->map_status = eum_buffer_prefetch(whole(d->buffer), EUM_LOCATION_HOST, d->stream);
    atomic_store(&d->called, true);
}

START_TEST(a_completion_callback_may_launch_and_prefetch)
{
    eum_context *context = open_context();
    eum_stream *stream = new_stream(context);
    eum_buffer *buffer = new_buffer(context, 100 * KIB);
    gpu_fill(stream, whole(buffer), 1);
    done d = {.buffer = buffer, .stream = stream};
    OK(eum_stream_on_done(stream, launch_more, &d));
    while (!atomic_load(&d.called))
        sleep_ms(1);
    OK(d.wait_status);
    OK(d.map_status);
    cpu_expect(whole(buffer), 6);
    OK(eum_buffer_destroy(buffer));
    OK(eum_stream_destroy(stream));
    close_context(context);
}
END_TEST

static void end_everything(void *user, eum_status status)
{
    done *d = user;
    d->status = status;
    d->destroy_status = eum_buffer_destroy(d->buffer);
    d->sync_status = eum_stream_destroy(d->stream);
    atomic_store(&d->called, true);
}

START_TEST(a_completion_callback_may_destroy_its_stream_and_owned_buffers)
{
    for (int last = 0; last < 2; last++) {
        eum_context *context = open_context();
        eum_stream *stream = new_stream(context);
        eum_buffer *buffer = new_buffer(context, 100 * KIB);
        gpu_fill(stream, whole(buffer), 1);
        done *d = calloc(1, sizeof *d);
        d->buffer = buffer;
        d->stream = stream;
        gate g = GATE_INIT;
        hold_up(stream, &g);
        OK(eum_stream_on_done(stream, end_everything, d));
        if (last) /* then the callback drops the last reference to the context */
            OK(eum_context_destroy(context));
        open_gate(&g);
        while (!atomic_load(&d->called))
            sleep_ms(1);
        ck_assert_int_eq(d->destroy_status, EUM_OK);
        ck_assert_int_eq(d->sync_status, EUM_OK);
        if (!last)
            close_context(context);
        else
            sleep_ms(100); /* a thread of the library ends it: give it time to, for the leak checkers */
        free(d);
    }
}
END_TEST

/* ------------------------------------------------------------------------------------------------------ threads ---- */

typedef struct hammer {
    pthread_t thread;
    eum_context *context;
    eum_buffer *shared;
    uint32_t seed;
} hammer;

static void *hammer_run(void *arg)
{
    hammer *h = arg;
    for (uint32_t i = 0; i < 15; i++) {
        eum_stream *stream = new_stream(h->context);
        eum_buffer *own = new_buffer(h->context, 70 * KIB);
        cpu_fill(whole(own), h->seed + i);
        launch1(stream, (work){.kind = WORK_ADD, .value = 1}, updates(whole(own)));
        launch1(stream, (work){.kind = WORK_ADD, .value = 1}, updates(part(h->shared, 0, 64)));
        OK(eum_stream_destroy(stream));
        cpu_expect_plus(whole(own), h->seed + i, 1);
        OK(eum_buffer_destroy(own));
    }
    return NULL;
}

START_TEST(threads_make_use_and_destroy_streams_at_once)
{
    eum_context *context = open_context();
    eum_buffer *shared = new_buffer(context, 4 * KIB);
    hammer threads[6];
    cpu_fill(whole(shared), 1);
    for (uint32_t i = 0; i < 6; i++) {
        threads[i] = (hammer){.context = context, .shared = shared, .seed = 100 * i};
        ck_assert_int_eq(pthread_create(&threads[i].thread, NULL, hammer_run, &threads[i]), 0);
    }
    for (int i = 0; i < 6; i++)
        pthread_join(threads[i].thread, NULL);
    cpu_expect_plus(part(shared, 0, 64), 1, 90);
    OK(eum_buffer_destroy(shared));
    close_context(context);
}
END_TEST

Suite *stream_job_suite(void)
{
    Suite *suite = suite_create("stream_job");
    TCase *tests = tcase_create("stream_job");
    if (!runs_cpu_kernels())
        return suite;
    tcase_add_test(tests, a_wait_of_no_time_polls_and_a_short_one_times_out);
    tcase_add_test(tests, a_job_of_zeros_is_done_and_an_invented_one_is_none);
    tcase_add_test(tests, a_job_is_waited_for_whatever_else_its_stream_was_given);
    tcase_add_test(tests, a_job_can_be_waited_for_after_its_stream_was_destroyed);
    tcase_add_test(tests, synchronize_reports_the_first_failure_that_nobody_heard_of);
    tcase_add_test(tests, synchronize_waits_for_everything_on_its_stream_and_for_nothing_else);
    tcase_add_test(tests, the_default_stream_is_borrowed);
    tcase_add_test(tests, a_stream_that_is_destroyed_finishes_its_work);
    tcase_add_loop_test(tests, a_stream_ends_though_all_that_is_on_it_waits_for_a_job_of_another, 0, 2);
    tcase_add_test(tests, a_context_that_is_destroyed_finishes_its_work);
    tcase_add_test(tests, a_stream_outlives_its_context_handle);
    tcase_add_test(tests, completion_callbacks_come_in_order_after_the_work_before_them);
    tcase_add_test(tests, a_completion_callback_on_an_idle_stream_is_called);
    tcase_add_test(tests, what_would_wait_is_an_error_inside_a_completion_callback);
    tcase_add_test(tests, a_completion_callback_may_launch_and_prefetch);
    tcase_add_test(tests, a_completion_callback_may_destroy_its_stream_and_owned_buffers);
    if (!takes_turns())
        tcase_add_test(tests, threads_make_use_and_destroy_streams_at_once);
    suite_add_tcase(suite, tests);
    return suite;
}
