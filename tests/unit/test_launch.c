/* Launches: order across streams, independence, failures and what they leave behind.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "engine.h"

Suite *launch_suite(void);

#define BYTES (300 * KIB)

static const work nothing_to_do = {WORK_NOTHING, 0, NULL, 0, NULL};

/* ------------------------------------------------------------------------------------------------------- order ----- */

START_TEST(a_launch_that_reads_runs_after_the_launch_on_another_stream_that_writes)
{
    eum_context *context = open_context();
    eum_stream *first = new_stream(context), *second = new_stream(context);
    eum_buffer *buffer = new_buffer(context, BYTES);
    gate g = GATE_INIT;
    launch1(first, (work){.kind = WORK_FILL, .value = 1, .gate = &g}, overwrites(whole(buffer)));
    await_gate(&g, 1);
    eum_job job = launch1(second, (work){.kind = WORK_EXPECT, .value = 1}, reads(whole(buffer)));
    sleep_ms(20);
    ck_assert(!is_done(job));
    open_gate(&g);
    wait_job(job);
    OK(eum_stream_destroy(first));
    OK(eum_stream_destroy(second));
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(a_launch_that_writes_runs_after_the_launches_on_other_streams_that_read)
{
    eum_context *context = open_context();
    eum_stream *readers[3], *writer = new_stream(context);
    eum_buffer *buffer = new_buffer(context, BYTES);
    gate g = GATE_INIT;
    atomic_int ran = 0;
    cpu_fill(whole(buffer), 1);
    eum_job jobs[3];
    for (int i = 0; i < 3; i++) {
        readers[i] = new_stream(context);
        jobs[i] = launch1(readers[i], (work){.kind = WORK_EXPECT, .value = 1, .gate = &g, .ran = &ran}, reads(whole(buffer)));
    }
    await_gate(&g, 3); /* all three at once: readers do not wait for each other */
    open_gate(&g);
    eum_job job = launch1(writer, (work){.kind = WORK_FILL, .value = 2}, overwrites(whole(buffer)));
    wait_job(job);
    ck_assert_int_eq(atomic_load(&ran), 3);
    for (int i = 0; i < 3; i++)
        wait_job(jobs[i]);
    cpu_expect(whole(buffer), 2);
    for (int i = 0; i < 3; i++)
        OK(eum_stream_destroy(readers[i]));
    OK(eum_stream_destroy(writer));
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

static eum_status call_launch_fill(pending *p)
{
    eum_job job;
    work w = {.kind = WORK_FILL, .value = 2};
    eum_argument argument = {p->view, EUM_ACCESS_OVERWRITE, 0};
    eum_status status = try_launch(p->address, &w, &argument, 1, &job);
    return status == EUM_OK ? eum_job_wait(job, -1) : status;
}

START_TEST(a_write_does_not_overtake_a_reader_even_when_other_readers_came_after_it)
{
    eum_context *context = open_context();
    eum_stream *first = new_stream(context), *second = new_stream(context), *third = new_stream(context);
    eum_buffer *buffer = new_buffer(context, 4 * MIB);
    gate g = GATE_INIT;
    cpu_fill(whole(buffer), 1);
    gpu_expect(first, part(buffer, 0, 2 * MIB), 1);
    eum_job blocked = launch1(first, (work){.kind = WORK_EXPECT, .value = 1, .gate = &g}, reads(part(buffer, 0, 2 * MIB)));
    await_gate(&g, 1);
    gpu_expect(second, whole(buffer), 1); /* brings the other half, and does not wait for the first reader */
    pending p = {.view = part(buffer, 0, MIB), .address = third};
    start(&p, call_launch_fill);
    assert_waits(&p);
    open_gate(&g);
    OK(finish(&p));
    wait_job(blocked);
    cpu_expect(part(buffer, 0, MIB), 2);
    OK(eum_stream_destroy(first));
    OK(eum_stream_destroy(second));
    OK(eum_stream_destroy(third));
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(writes_on_many_streams_to_the_same_bytes_keep_their_order)
{
    eum_context *context = open_context();
    eum_stream *streams[4];
    eum_buffer *buffer = new_buffer(context, BYTES);
    for (int i = 0; i < 4; i++)
        streams[i] = new_stream(context);
    cpu_fill(whole(buffer), 1);
    for (uint32_t i = 0; i < 40; i++)
        launch1(streams[i % 4], (work){.kind = WORK_ADD, .value = 1}, updates(whole(buffer)));
    cpu_expect_plus(whole(buffer), 1, 40);
    for (uint32_t i = 0; i < 20; i++)
        launch1(streams[i * 7 % 4], (work){.kind = WORK_FILL, .value = i}, overwrites(whole(buffer)));
    cpu_expect(whole(buffer), 19);
    for (int i = 0; i < 4; i++)
        OK(eum_stream_destroy(streams[i]));
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(independent_launches_run_at_the_same_time)
{
    eum_context *context = open_context();
    eum_stream *streams[4];
    eum_buffer *buffers[4];
    gate g = GATE_INIT;
    for (int i = 0; i < 4; i++) {
        streams[i] = new_stream(context);
        buffers[i] = new_buffer(context, BYTES);
        launch1(streams[i], (work){.kind = WORK_FILL, .value = (uint32_t)i, .gate = &g}, overwrites(whole(buffers[i])));
    }
    await_gate(&g, 4);
    open_gate(&g);
    for (int i = 0; i < 4; i++) {
        cpu_expect(whole(buffers[i]), (uint32_t)i);
        OK(eum_stream_destroy(streams[i]));
        OK(eum_buffer_destroy(buffers[i]));
    }
    close_context(context);
}
END_TEST

START_TEST(launches_that_read_the_same_bytes_run_at_the_same_time_though_one_of_them_brought_them)
{
    eum_context *context = open_context();
    eum_stream *first = new_stream(context), *second = new_stream(context);
    eum_buffer *buffer = new_buffer(context, BYTES);
    gate g = GATE_INIT;
    cpu_fill(whole(buffer), 3);
    eum_job a = launch1(first, (work){.kind = WORK_EXPECT, .value = 3, .gate = &g}, reads(whole(buffer)));
    eum_job b = launch1(second, (work){.kind = WORK_EXPECT, .value = 3, .gate = &g}, reads(whole(buffer)));
    await_gate(&g, 2);
    open_gate(&g);
    wait_job(a);
    wait_job(b);
    OK(eum_stream_destroy(first));
    OK(eum_stream_destroy(second));
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(launches_on_disjoint_parts_of_a_resident_page_run_at_the_same_time)
{
    eum_context *context = open_context();
    eum_stream *first = new_stream(context), *second = new_stream(context);
    eum_buffer *buffer = new_buffer(context, 64 * KIB);
    gate g = GATE_INIT;
    gpu_fill(first, whole(buffer), 1);
    launch1(first, (work){.kind = WORK_FILL, .value = 5, .gate = &g}, overwrites(part(buffer, 0, 16 * KIB)));
    launch1(second, (work){.kind = WORK_FILL, .value = 6, .gate = &g}, overwrites(part(buffer, 16 * KIB, 16 * KIB)));
    await_gate(&g, 2);
    open_gate(&g);
    cpu_expect(part(buffer, 0, 16 * KIB), 5);
    cpu_expect(part(buffer, 16 * KIB, 16 * KIB), 6);
    OK(eum_stream_destroy(first));
    OK(eum_stream_destroy(second));
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(a_reader_on_another_stream_follows_a_writer_that_works_in_place_without_faults)
{
    for (eum_role role = EUM_ROLE_AUTO; role <= EUM_ROLE_STREAM; role++) {
        eum_context *context = open_context();
        eum_stream *first = new_stream(context), *second = new_stream(context);
        eum_buffer *buffer = new_buffer_as(context, BYTES, role), *out = new_buffer(context, BYTES);
        gate g = GATE_INIT;
        cpu_fill(whole(buffer), 1);
        launch1(first, (work){.kind = WORK_FILL, .value = 2, .gate = &g}, overwrites(whole(buffer)));
        await_gate(&g, 1);
        OK(eum_buffer_set_role(buffer, EUM_ROLE_AUTO));
        eum_job job = launch2(second, (work){.kind = WORK_COPY}, reads(whole(buffer)), overwrites(whole(out)));
        sleep_ms(10);
        ck_assert(!is_done(job));
        open_gate(&g);
        wait_job(job);
        cpu_expect(whole(out), 2);
        cpu_expect(whole(buffer), 2);
        OK(eum_stream_destroy(first));
        OK(eum_stream_destroy(second));
        OK(eum_buffer_destroy(buffer));
        OK(eum_buffer_destroy(out));
        close_context(context);
    }
}
END_TEST

/* --------------------------------------------------------------------------------------------------- arguments ----- */

START_TEST(views_of_one_launch_may_overlap_only_if_all_of_them_read)
{
    eum_context *context = open_context();
    eum_stream *stream = default_stream(context);
    eum_buffer *buffer = new_buffer(context, BYTES);
    cpu_fill(whole(buffer), 1);
    eum_argument arguments[2] = {reads(part(buffer, 0, 100)), reads(part(buffer, 50, 100))};
    OK(try_launch(stream, &nothing_to_do, arguments, 2, NULL));
    for (int which = 0; which < 2; which++) {
        for (eum_access access = EUM_ACCESS_READ_WRITE; access <= EUM_ACCESS_OVERWRITE; access++) {
            arguments[0].access = arguments[1].access = EUM_ACCESS_READ;
            arguments[which].access = access;
            arguments[1].view.offset = 99;
            GIVES(EUM_ERROR_OVERLAP, try_launch(stream, &nothing_to_do, arguments, 2, NULL));
            arguments[1].view.offset = 100;
            OK(try_launch(stream, &nothing_to_do, arguments, 2, NULL));
        }
    }
    OK(eum_stream_synchronize(stream));
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

typedef struct seen {
    size_t count, params_bytes;
    void *addresses[4];
    size_t bytes[4];
    char params[40];
    uintptr_t params_at;
    void *stream, *user;
    int32_t device;
} seen;

static int32_t look(const eum_kernel_call *call)
{
    seen *s = call->user;
    s->count = call->count;
    for (size_t i = 0; i < call->count && i < 4; i++) {
        s->addresses[i] = call->addresses[i];
        s->bytes[i] = call->bytes[i];
    }
    s->params_bytes = call->params_bytes;
    s->params_at = (uintptr_t)call->params;
    if (call->params_bytes == sizeof s->params)
        memcpy(s->params, call->params, sizeof s->params);
    s->stream = call->stream;
    s->user = call->user;
    s->device = call->device;
    return call->struct_size == sizeof *call ? 0 : 1;
}

START_TEST(a_kernel_is_told_its_addresses_sizes_parameters_and_user_pointer)
{
    eum_context *context = open_context();
    eum_buffer *buffer = new_buffer(context, BYTES), *empty = new_buffer(context, 0);
    cpu_fill(whole(buffer), 1);
    char params[40] = "the launch's own copy";
    seen s = {0};
    eum_argument arguments[4] = {reads(part(buffer, 128, 256)), reads(part(buffer, 4 * KIB, EUM_WHOLE_SIZE)),
                                 updates(part(buffer, 77, 0)), overwrites(whole(empty))};
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.cpu = look;
    config.arguments = arguments;
    config.argument_count = 4;
    config.params = params;
    config.params_bytes = sizeof params;
    config.user = &s;
    gate g = GATE_INIT;
    launch1(default_stream(context), (work){.gate = &g}, reads(whole(buffer)));
    await_gate(&g, 1);
    eum_job job;
    OK(eum_launch(default_stream(context), &config, &job));
    memset(params, 'x', sizeof params);
    memset(arguments, 0, sizeof arguments);
    open_gate(&g);
    wait_job(job);
    ck_assert_uint_eq(s.count, 4);
    ck_assert_uint_eq(s.bytes[0], 256);
    ck_assert_uint_eq(s.bytes[1], BYTES - 4 * KIB);
    ck_assert_uint_eq(s.bytes[2] + s.bytes[3], 0);
    for (int i = 0; i < 4; i++)
        ck_assert_ptr_nonnull(s.addresses[i]);
    ck_assert_int_eq((char *)s.addresses[1] - (char *)s.addresses[0], 4 * KIB - 128);
    ck_assert_str_eq(s.params, "the launch's own copy");
    ck_assert_uint_eq(s.params_at % 16, 0);
    ck_assert_ptr_eq(s.user, &s);
    ck_assert_ptr_null(s.stream);
    ck_assert_int_eq(s.device, is_host(context) ? EUM_LOCATION_HOST : 0);
    OK(eum_buffer_destroy(buffer));
    OK(eum_buffer_destroy(empty));
    close_context(context);
}
END_TEST

START_TEST(a_launch_without_arguments_runs)
{
    eum_context *context = open_context();
    seen s = {.count = 9, .params_at = 1};
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.cpu = look;
    config.user = &s;
    eum_job job;
    OK(eum_launch(default_stream(context), &config, &job));
    wait_job(job);
    ck_assert_uint_eq(s.count, 0);
    ck_assert_uint_eq(s.params_at, 0);
    close_context(context);
}
END_TEST

START_TEST(many_views_of_one_buffer_that_share_pages_are_one_launch)
{
    eum_context *context = open_context();
    eum_stream *stream = default_stream(context);
    eum_buffer *buffer = new_buffer(context, MIB);
    for (int before = 0; before < 3; before++) {
        if (before == 0)
            cpu_fill(whole(buffer), 1);
        else if (before == 1)
            gpu_fill(stream, whole(buffer), 1);
        else
            cpu_expect(part(buffer, 0, 0), 0);
        eum_argument arguments[60];
        for (size_t i = 0; i < 60; i++)
            arguments[i] = (eum_argument){part(buffer, i * 17 * KIB, i % 3 == 0 ? 13 * KIB : 17 * KIB), (eum_access)(1 + i % 3), 0};
        eum_job job;
        OK(try_launch(stream, &nothing_to_do, arguments, 60, &job));
        wait_job(job);
        cpu_fill(part(buffer, 0, 13 * KIB), 2); /* ready for whatever comes next */
        cpu_fill(whole(buffer), 1);
        work fill = {.kind = WORK_FILL, .value = 50};
        eum_argument outputs[60];
        for (size_t i = 0; i < 60; i++)
            outputs[i] = overwrites(part(buffer, i * 17 * KIB, 17 * KIB));
        OK(try_launch(stream, &fill, outputs, 60, &job));
        wait_job(job);
        for (size_t i = 0; i < 60; i++)
            cpu_expect(part(buffer, i * 17 * KIB, 17 * KIB), 50 + (uint32_t)i);
    }
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(a_buffer_whose_empty_view_a_job_was_given_may_end_before_the_job)
{
    static float memory[16];
    eum_context *context = open_context();
    eum_wrap_config config = EUM_WRAP_CONFIG_INIT;
    config.address = memory;
    config.bytes = sizeof memory;
    eum_buffer *buffer = NULL;
    OK(eum_buffer_wrap(context, &config, &buffer));
    gate g = GATE_INIT;
    eum_job job = launch2(default_stream(context), (work){.kind = WORK_NOTHING, .gate = &g}, reads(part(buffer, 0, 0)),
                          updates(part(buffer, 4, 0)));
    await_gate(&g, 1);
    OK(eum_buffer_destroy(buffer)); /* frees it at once: no byte of it is in use */
    for (int i = 0; i < 100; i++) { /* takes what was freed, if anything was too early */
        OK(eum_buffer_create(context, 64, NULL, &buffer));
        OK(eum_buffer_destroy(buffer));
    }
    open_gate(&g);
    wait_job(job);
    close_context(context);
}
END_TEST

START_TEST(a_launch_without_a_callback_for_the_device_is_refused)
{
    eum_context *context = open_context();
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.gpu = look;
    GIVES(EUM_ERROR_NO_KERNEL, eum_launch(default_stream(context), &config, NULL));
    close_context(context);
}
END_TEST

START_TEST(buffers_of_another_context_are_refused)
{
    eum_context *context = open_context(), *other = open_context();
    eum_buffer *buffer = new_buffer(other, BYTES);
    GIVES(EUM_ERROR_WRONG_CONTEXT, try_launch1(default_stream(context), nothing_to_do, overwrites(whole(buffer))));
    OK(eum_buffer_destroy(buffer));
    close_context(other);
    close_context(context);
}
END_TEST

/* ---------------------------------------------------------------------------------------------------- failures ----- */

START_TEST(a_failed_job_says_which_code_its_kernel_returned)
{
    eum_context *context = open_context();
    eum_buffer *buffer = new_buffer(context, BYTES);
    eum_job job = launch1(default_stream(context), (work){.kind = WORK_FILL, .code = 4711}, overwrites(whole(buffer)));
    GIVES(EUM_ERROR_JOB_FAILED, eum_job_wait(job, -1));
    eum_error error = EUM_ERROR_INIT;
    OK(eum_last_error(&error));
    ck_assert_ptr_nonnull(strstr(error.sentence, "4711"));
    GIVES(EUM_ERROR_JOB_FAILED, eum_job_wait(job, 0)); /* and says it again */
    ck_assert_uint_eq(stats_of(context).jobs_failed, 1);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(jobs_that_read_what_a_failed_job_was_to_write_fail_themselves_and_others_run)
{
    eum_context *context = open_context();
    eum_stream *first = new_stream(context), *second = new_stream(context);
    eum_buffer *bad = new_buffer(context, BYTES), *derived = new_buffer(context, BYTES), *good = new_buffer(context, BYTES);
    gate g = GATE_INIT;
    atomic_int ran = 0;
    cpu_fill(whole(good), 4);
    eum_job failed = launch1(first, (work){.kind = WORK_FILL, .gate = &g, .code = 1}, overwrites(whole(bad)));
    await_gate(&g, 1);
    eum_job dependent = launch2(second, (work){.kind = WORK_COPY, .ran = &ran}, reads(whole(bad)), overwrites(whole(derived)));
    eum_job transitive = launch1(first, (work){.kind = WORK_ADD, .value = 1, .ran = &ran}, updates(part(derived, 0, 4 * KIB)));
    eum_job independent = launch1(second, (work){.kind = WORK_EXPECT, .value = 4}, reads(whole(good)));
    open_gate(&g);
    GIVES(EUM_ERROR_JOB_FAILED, eum_job_wait(failed, -1));
    GIVES(EUM_ERROR_JOB_FAILED, eum_job_wait(dependent, -1));
    GIVES(EUM_ERROR_JOB_FAILED, eum_job_wait(transitive, -1));
    wait_job(independent);
    ck_assert_int_eq(atomic_load(&ran), 0);
    GIVES(EUM_ERROR_UNDEFINED_DATA, try_launch1(first, nothing_to_do, reads(whole(derived))));
    GIVES(EUM_ERROR_UNDEFINED_DATA, try_launch1(first, nothing_to_do, updates(part(bad, BYTES - 4, 4))));
    gpu_fill(second, whole(derived), 7);
    cpu_expect(whole(derived), 7);
    OK(eum_stream_destroy(first));
    OK(eum_stream_destroy(second));
    OK(eum_buffer_destroy(bad));
    OK(eum_buffer_destroy(derived));
    OK(eum_buffer_destroy(good));
    close_context(context);
}
END_TEST

START_TEST(an_overwrite_that_is_queued_behind_a_failing_job_cures_what_it_left)
{
    eum_context *context = open_context();
    eum_buffer *buffer = new_buffer(context, BYTES);
    gate g = GATE_INIT;
    eum_job failed = launch1(default_stream(context), (work){.kind = WORK_FILL, .gate = &g, .code = 1}, overwrites(whole(buffer)));
    await_gate(&g, 1);
    eum_job cure = launch1(default_stream(context), (work){.kind = WORK_FILL, .value = 8}, overwrites(whole(buffer)));
    open_gate(&g);
    GIVES(EUM_ERROR_JOB_FAILED, eum_job_wait(failed, -1));
    wait_job(cure);
    cpu_expect(whole(buffer), 8);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(what_a_queued_overwrite_will_define_can_be_read_behind_it)
{
    eum_context *context = open_context();
    eum_stream *first = new_stream(context), *second = new_stream(context);
    eum_buffer *buffer = new_buffer(context, BYTES);
    gate fails = GATE_INIT, cures = GATE_INIT;
    eum_job failed = launch1(first, (work){.kind = WORK_FILL, .gate = &fails, .code = 1}, overwrites(whole(buffer)));
    launch1(second, (work){.kind = WORK_FILL, .value = 8, .gate = &cures}, overwrites(whole(buffer)));
    open_gate(&fails);
    GIVES(EUM_ERROR_JOB_FAILED, eum_job_wait(failed, -1));
    await_gate(&cures, 1); /* undefined now, and the cure is on its way */
    eum_job reader = launch1(first, (work){.kind = WORK_EXPECT, .value = 8}, reads(whole(buffer)));
    pending p = {.view = whole(buffer), .access = EUM_ACCESS_READ};
    start(&p, call_map);
    assert_waits(&p);
    open_gate(&cures);
    OK(finish(&p));
    expect_words(p.address, BYTES / WORD, 8, 0);
    unmap(buffer, p.address);
    wait_job(reader);
    OK(eum_stream_destroy(first));
    OK(eum_stream_destroy(second));
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(a_later_overwrite_does_not_make_a_queued_reader_of_undefined_bytes_run)
{
    eum_context *context = open_context();
    eum_stream *first = new_stream(context), *second = new_stream(context);
    eum_buffer *buffer = new_buffer(context, BYTES), *other = new_buffer(context, BYTES);
    gate fails = GATE_INIT, holds = GATE_INIT;
    atomic_int ran = 0;
    eum_job failed = launch1(first, (work){.kind = WORK_FILL, .gate = &fails, .code = 1}, overwrites(whole(buffer)));
    launch1(second, (work){.kind = WORK_FILL, .gate = &holds}, overwrites(whole(other)));
    eum_job reader = launch1(second, (work){.kind = WORK_NOTHING, .ran = &ran}, reads(whole(buffer)));
    open_gate(&fails);
    GIVES(EUM_ERROR_JOB_FAILED, eum_job_wait(failed, -1));
    eum_job cure = launch1(second, (work){.kind = WORK_FILL, .value = 8}, overwrites(whole(buffer)));
    open_gate(&holds);
    GIVES(EUM_ERROR_JOB_FAILED, eum_job_wait(reader, -1));
    ck_assert_int_eq(atomic_load(&ran), 0);
    wait_job(cure);
    cpu_expect(whole(buffer), 8);
    OK(eum_stream_destroy(first));
    OK(eum_stream_destroy(second));
    OK(eum_buffer_destroy(buffer));
    OK(eum_buffer_destroy(other));
    close_context(context);
}
END_TEST

START_TEST(a_failed_job_leaves_what_it_only_read_and_what_it_did_not_touch)
{
    eum_context *context = open_context();
    eum_buffer *in = new_buffer(context, BYTES), *out = new_buffer(context, BYTES);
    cpu_fill(whole(in), 1);
    cpu_fill(part(out, 0, 100 * KIB), 2);
    cpu_fill(part(out, 200 * KIB, 100 * KIB), 3);
    eum_job job = launch2(default_stream(context), (work){.kind = WORK_NOTHING, .code = 1}, reads(whole(in)),
                          updates(part(out, 100 * KIB, 100 * KIB)));
    GIVES(EUM_ERROR_JOB_FAILED, eum_job_wait(job, -1));
    cpu_expect(whole(in), 1);
    cpu_expect(part(out, 0, 100 * KIB), 2);
    cpu_expect(part(out, 200 * KIB, 100 * KIB), 3);
    gpu_expect(default_stream(context), part(out, 0, 100 * KIB), 2);
    OK(eum_buffer_destroy(in));
    OK(eum_buffer_destroy(out));
    close_context(context);
}
END_TEST

/* On a device that runs nothing by itself: the end of the job would change what is known of the bytes in the middle of the launch's plan. */
START_TEST(a_job_does_not_fail_while_the_launch_after_it_is_planned)
{
    char device[64];
    snprintf(device, sizeof device, "sim:turing,schedule=step,seed=%d", _i);
    eum_context *context = open_on(device, EUM_BACKING_AUTO);
    eum_stream *first = new_stream(context), *second = new_stream(context);
    eum_buffer *buffer = new_buffer(context, BYTES);
    cpu_fill(whole(buffer), 1);
    gpu_expect(first, whole(buffer), 1); /* so that nothing is in front of the kernels from here on */
    atomic_int ran = 0;
    const work fails = {.kind = WORK_NOTHING, .code = 1, .ran = &ran};
    eum_job failed = launch1(first, fails, updates(part(buffer, 1 * KIB, 8 * KIB)));
    eum_job dependent = launch1(second, (work){.kind = WORK_NOTHING}, updates(part(buffer, 4 * KIB, 16 * KIB)));
    ck_assert_int_eq(atomic_load(&ran), 0);
    GIVES(EUM_ERROR_JOB_FAILED, eum_job_wait(dependent, -1));
    GIVES(EUM_ERROR_JOB_FAILED, eum_job_wait(failed, -1));
    ck_assert_int_eq(atomic_load(&ran), 1);
    cpu_expect(part(buffer, 0, 1 * KIB), 1);
    OK(eum_stream_destroy(first));
    OK(eum_stream_destroy(second));
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

Suite *launch_suite(void)
{
    Suite *suite = suite_create("launch");
    TCase *tests = tcase_create("launch");
    if (!runs_cpu_kernels())
        return suite;
    tcase_add_test(tests, a_launch_that_reads_runs_after_the_launch_on_another_stream_that_writes);
    tcase_add_test(tests, a_launch_that_writes_runs_after_the_launches_on_other_streams_that_read);
    tcase_add_test(tests, a_write_does_not_overtake_a_reader_even_when_other_readers_came_after_it);
    tcase_add_test(tests, writes_on_many_streams_to_the_same_bytes_keep_their_order);
    tcase_add_test(tests, independent_launches_run_at_the_same_time);
    tcase_add_test(tests, launches_that_read_the_same_bytes_run_at_the_same_time_though_one_of_them_brought_them);
    tcase_add_test(tests, launches_on_disjoint_parts_of_a_resident_page_run_at_the_same_time);
    tcase_add_test(tests, a_reader_on_another_stream_follows_a_writer_that_works_in_place_without_faults);
    tcase_add_test(tests, views_of_one_launch_may_overlap_only_if_all_of_them_read);
    tcase_add_test(tests, a_kernel_is_told_its_addresses_sizes_parameters_and_user_pointer);
    tcase_add_test(tests, a_launch_without_arguments_runs);
    tcase_add_test(tests, many_views_of_one_buffer_that_share_pages_are_one_launch);
    tcase_add_test(tests, a_buffer_whose_empty_view_a_job_was_given_may_end_before_the_job);
    tcase_add_test(tests, a_launch_without_a_callback_for_the_device_is_refused);
    tcase_add_test(tests, buffers_of_another_context_are_refused);
    tcase_add_test(tests, a_failed_job_says_which_code_its_kernel_returned);
    tcase_add_test(tests, jobs_that_read_what_a_failed_job_was_to_write_fail_themselves_and_others_run);
    tcase_add_test(tests, an_overwrite_that_is_queued_behind_a_failing_job_cures_what_it_left);
    tcase_add_test(tests, what_a_queued_overwrite_will_define_can_be_read_behind_it);
    tcase_add_test(tests, a_later_overwrite_does_not_make_a_queued_reader_of_undefined_bytes_run);
    tcase_add_test(tests, a_failed_job_leaves_what_it_only_read_and_what_it_did_not_touch);
    tcase_add_loop_test(tests, a_job_does_not_fail_while_the_launch_after_it_is_planned, 0, 4);
    suite_add_tcase(suite, tests);
    return suite;
}
