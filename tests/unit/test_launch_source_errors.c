/* Launches whose input is in memory of the caller's: what is refused, what fails, who is kept off meanwhile, and what is left behind.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "source_fixture.h"

Suite *launch_source_errors_suite(void);

#define SMALL (1 * MIB)

static void expect_sentence(const char *words)
{
    eum_error error = EUM_ERROR_INIT;
    OK(eum_last_error(&error));
    ck_assert_msg(strstr(error.sentence, words) != NULL, "\"%s\" is not in: %s", words, error.sentence);
}

/* A scene of several chunks. */
typedef struct scene {
    eum_context *context;
    rows r;
    operands o;
    told *t;
} scene;

static scene open_scene(int place)
{
    scene s = {.context = open_place(place, SMALL), .r = make_rows(1200, 1024, 0, 1), .t = new_told()};
    s.o = make_operands(s.context, &s.r, EUM_ROLE_RESULTS);
    return s;
}

static void close_scene(scene *s)
{
    end_operands(&s->o);
    free(s->t);
    free_rows(&s->r);
    close_context(s->context);
}

static eum_status try_scene(scene *s, eum_job *out)
{
    s->t->calls = 0;
    return stream_rows(default_stream(s->context), &s->r, &s->o, s->t, out);
}

/* All is well afterwards. */
static void expect_success(scene *s)
{
    eum_job job;
    OK(try_scene(s, &job));
    wait_job(job);
    ck_assert(!s->t->confused);
    expect_hashes(&s->r, &s->o, s->t);
}

/* ------------------------------------------------------------------------------------------------------- arguments -- */

START_TEST(sources_that_are_wrong_are_told)
{
    eum_context *context = open_place(_i, 0);
    eum_stream *stream = default_stream(context);
    char bytes[64] = {0};
    told *t = new_told();
    eum_argument arguments[64];
    eum_buffer *buffer = new_buffer(context, 64);
    cpu_fill(whole(buffer), 1);
    for (int i = 0; i < 64; i++)
        arguments[i] = reads(whole(buffer));
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.cpu = hash_kernel;
    config.user = t;
    config.host_source = bytes;
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_launch(stream, &config, NULL));
    expect_sentence("source_row_bytes is 0");
    config.host_source = NULL;
    config.source_rows = 3;
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_launch(stream, &config, NULL));
    expect_sentence("source_rows 3; pass the bytes of a row");
    config.source_row_bytes = 8;
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_launch(stream, &config, NULL));
    expect_sentence("host_source is NULL and source_rows is 3");
    config.host_source = bytes;
    config.source_rows = SIZE_MAX / 8 + 1;
    GIVES(EUM_ERROR_SIZE_OVERFLOW, eum_launch(stream, &config, NULL));
    expect_sentence("more than any array has");
    config.source_rows = SIZE_MAX / 16 + 1;
    GIVES(EUM_ERROR_SIZE_OVERFLOW, eum_launch(stream, &config, NULL));
    config.host_source = (const void *)(UINTPTR_MAX - 15);
    config.source_rows = 3;
    GIVES(EUM_ERROR_SIZE_OVERFLOW, eum_launch(stream, &config, NULL));
    expect_sentence("end beyond all memory");
    config.host_source = bytes;
    config.arguments = arguments;
    config.argument_count = 64;
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_launch(stream, &config, NULL));
    expect_sentence("argument_count is 64, at most 63 are possible beside host_source");
    config.cpu = NULL;
    config.argument_count = 0;
    GIVES(EUM_ERROR_NO_KERNEL, eum_launch(stream, &config, NULL));
    ck_assert_uint_eq(t->calls, 0);
    ck_assert_uint_eq(stats_of(context).launches, 0);
    OK(eum_buffer_destroy(buffer));
    free(t);
    close_context(context);
}
END_TEST

static int32_t count_arguments(const eum_kernel_call *call)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < call->count; i++)
        sum += *(const uint32_t *)call->addresses[i];
    return call->count == 63 && sum == 63 * word_at(1, 0) ? 0 : 9;
}

START_TEST(sixty_three_arguments_and_a_source_are_possible)
{
    eum_context *context = open_place(_i, 0);
    char bytes[64] = {0};
    eum_argument arguments[63];
    eum_buffer *buffer = new_buffer(context, 64);
    cpu_fill(whole(buffer), 1);
    for (int i = 0; i < 63; i++)
        arguments[i] = (eum_argument){whole(buffer), EUM_ACCESS_READ, EUM_ARGUMENT_ONCE};
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.cpu = count_arguments;
    config.arguments = arguments;
    config.argument_count = 63;
    config.host_source = bytes;
    config.source_rows = 8;
    config.source_row_bytes = 8;
    eum_job job;
    OK(eum_launch(default_stream(context), &config, &job));
    wait_job(job);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

typedef struct from_callback {
    eum_stream *stream;
    eum_status status;
    told *t;
} from_callback;

static int32_t launch_from_callback(const eum_kernel_call *call)
{
    from_callback *f = call->user;
    const rows r = {NULL, (char *)f, 1, 1};
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.cpu = hash_kernel;
    config.user = f->t;
    config.host_source = r.at;
    config.source_rows = r.count;
    config.source_row_bytes = r.bytes;
    f->status = eum_launch(f->stream, &config, NULL);
    return 0;
}

START_TEST(inside_a_callback_which_must_not_wait_it_is_an_error)
{
    eum_context *context = open_place(_i, 0);
    told *t = new_told();
    from_callback f = {new_stream(context), EUM_OK, t};
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.cpu = launch_from_callback;
    config.user = &f;
    eum_job job;
    OK(eum_launch(default_stream(context), &config, &job));
    wait_job(job);
    GIVES(EUM_ERROR_IN_CALLBACK, f.status);
    ck_assert_uint_eq(t->calls, 0);
    OK(eum_stream_destroy(f.stream));
    free(t);
    close_context(context);
}
END_TEST

START_TEST(what_is_refused_is_refused_before_anything_is_written)
{
    scene s = open_scene(_i);
    cpu_fill(whole(s.o.hashes), 6);
    cpu_fill(whole(s.o.totals), 7);
    void *bytes = map(part(s.o.hashes, 4700, 100), EUM_ACCESS_READ); /* of the last rows */
    GIVES(EUM_ERROR_MAPPED, try_scene(&s, NULL));
    unmap(s.o.hashes, bytes);
    bytes = map(whole(s.o.weights), EUM_ACCESS_READ_WRITE);
    GIVES(EUM_ERROR_MAPPED, try_scene(&s, NULL));
    unmap(s.o.weights, bytes);
    operands same = s.o;
    same.totals = s.o.hashes;
    GIVES(EUM_ERROR_OVERLAP, stream_rows(default_stream(s.context), &s.r, &same, s.t, NULL));
    uint32_t words[1200] = {0};
    eum_wrap_config config = EUM_WRAP_CONFIG_INIT;
    config.address = words;
    config.bytes = sizeof words;
    config.flags = EUM_WRAP_READ_ONLY;
    operands frozen = s.o;
    OK(eum_buffer_wrap(s.context, &config, &frozen.hashes));
    GIVES(EUM_ERROR_READ_ONLY, stream_rows(default_stream(s.context), &s.r, &frozen, s.t, NULL));
    OK(eum_buffer_destroy(frozen.hashes));
    eum_context *context = open_place(_i, 0);
    operands foreign = s.o;
    foreign.totals = new_buffer(context, 3 * WORD);
    GIVES(EUM_ERROR_WRONG_CONTEXT, stream_rows(default_stream(s.context), &s.r, &foreign, s.t, NULL));
    OK(eum_buffer_destroy(foreign.totals));
    close_context(context);
    ck_assert_uint_eq(s.t->calls, 0);
    ck_assert_uint_eq(stats_of(s.context).launches, 0);
    cpu_expect(whole(s.o.hashes), 6);
    cpu_expect(whole(s.o.totals), 7);
    expect_success(&s);
    close_scene(&s);
}
END_TEST

/* ---------------------------------------------------------------------------------------------------- others --------- */

typedef struct passing {
    pending p;
    scene *s;
    eum_job job;
} passing;

static eum_status call_scene(pending *p)
{
    passing *passing_ = (passing *)p;
    return try_scene(passing_->s, &passing_->job);
}

START_TEST(between_chunks_nobody_else_uses_the_results_or_writes_the_input)
{
    const int place = 1 + _i; /* on the host there is one call, and what others do waits for it */
    scene s = open_scene(place);
    gate g = GATE_INIT;
    s.t->gate = &g;
    s.t->gate_at = 1;
    passing p = {.s = &s};
    eum_stream *other = new_stream(s.context);
    void *address = NULL;
    start(&p.p, call_scene);
    await_gate(&g, 1); /* the call waits for the first stage, with chunks to come */
    GIVES(EUM_ERROR_MAPPED, try_launch1(other, (work){.kind = WORK_NOTHING}, reads(whole(s.o.totals))));
    GIVES(EUM_ERROR_MAPPED, eum_buffer_map(part(s.o.hashes, 4700, 100), EUM_ACCESS_READ, &address));
    expect_sentence("another thread's call");
    GIVES(EUM_ERROR_MAPPED, try_launch1(other, (work){.kind = WORK_FILL}, overwrites(part(s.o.hashes, 4700, 100))));
    GIVES(EUM_ERROR_MAPPED, try_launch1(other, (work){.kind = WORK_FILL}, overwrites(whole(s.o.weights))));
    GIVES(EUM_ERROR_MAPPED, eum_buffer_write(part(s.o.weights, 0, 4), &address));
    eum_raw raw = EUM_RAW_INIT;
    GIVES(EUM_ERROR_MAPPED, eum_buffer_into_raw(s.o.hashes, &raw));
    eum_job job = launch1(other, (work){.kind = WORK_EXPECT, .value = WEIGHTS_SEED}, reads(whole(s.o.weights))); /* may be read */
    ck_assert(!atomic_load(&p.p.done));
    ck_assert_uint_eq(s.t->calls, 1);
    open_gate(&g);
    OK(finish(&p.p));
    wait_job(p.job);
    wait_job(job);
    ck_assert_uint_gt(s.t->calls, 3);
    expect_hashes(&s.r, &s.o, s.t);
    cpu_fill(whole(s.o.hashes), 1); /* nobody is kept off any more */
    s.t->gate = NULL;
    expect_success(&s);
    OK(eum_stream_destroy(other));
    close_scene(&s);
}
END_TEST

START_TEST(jobs_of_other_streams_that_conflict_come_first)
{
    scene s = open_scene(_i);
    eum_stream *other = new_stream(s.context);
    gate g = GATE_INIT;
    eum_buffer *old = new_buffer(s.context, 1200 * WORD);
    cpu_fill(whole(s.o.hashes), 6);
    cpu_fill(whole(s.o.weights), 1);
    eum_job writes = launch1(other, (work){.kind = WORK_FILL, .value = WEIGHTS_SEED, .gate = &g}, overwrites(whole(s.o.weights)));
    eum_job saves = launch2(other, (work){.kind = WORK_COPY}, reads(whole(s.o.hashes)), overwrites(whole(old)));
    passing p = {.s = &s};
    start(&p.p, call_scene);
    await_gate(&g, 1);
    sleep_ms(20);
    ck_assert_uint_eq(s.t->calls, 0);
    open_gate(&g);
    OK(finish(&p.p));
    wait_job(p.job);
    wait_job(writes);
    wait_job(saves);
    expect_hashes(&s.r, &s.o, s.t);
    cpu_expect(whole(old), 6);
    OK(eum_buffer_destroy(old));
    OK(eum_stream_destroy(other));
    close_scene(&s);
}
END_TEST

START_TEST(two_threads_stream_at_once)
{
    scene s = open_scene(_i);
    rows r = make_rows(5000, 300, 0, 9);
    operands o = make_operands(s.context, &r, EUM_ROLE_AUTO);
    told *t = new_told();
    eum_stream *other = new_stream(s.context);
    for (int round = 0; round < 5; round++) {
        passing p = {.s = &s};
        eum_job job;
        t->calls = 0;
        start(&p.p, call_scene);
        OK(stream_rows(other, &r, &o, t, &job));
        OK(finish(&p.p));
        wait_job(p.job);
        wait_job(job);
        expect_hashes(&s.r, &s.o, s.t);
        expect_hashes(&r, &o, t);
    }
    OK(eum_stream_destroy(other));
    end_operands(&o);
    free(t);
    free_rows(&r);
    close_scene(&s);
}
END_TEST

/* -------------------------------------------------------------------------------------------------------- failures -- */

START_TEST(the_code_of_any_call_is_what_the_job_fails_with_and_no_call_follows)
{
    for (uint32_t nth = 1; nth <= 6; nth++) {
        scene s = open_scene(_i);
        eum_stream *stream = default_stream(s.context);
        eum_job job;
        OK(try_scene(&s, &job));
        wait_job(job);
        const uint32_t calls = s.t->calls;
        ck_assert_uint_eq(calls, _i == 0 ? 1 : 5);
        s.t->fail_at = nth;
        OK(try_scene(&s, &job));
        if (nth > calls) {
            wait_job(job);
            expect_hashes(&s.r, &s.o, s.t);
            close_scene(&s);
            continue;
        }
        GIVES(EUM_ERROR_JOB_FAILED, eum_job_wait(job, -1));
        expect_sentence("the job's kernel callback returned 42");
        ck_assert_uint_eq(s.t->calls, nth);
        OK(eum_stream_synchronize(stream)); /* it is reported once */
        ck_assert_uint_eq(stats_of(s.context).jobs_failed, 1);
        uint32_t words[1200];
        GIVES(EUM_ERROR_UNDEFINED_DATA, eum_buffer_read(whole(s.o.hashes), words));
        GIVES(EUM_ERROR_UNDEFINED_DATA, eum_buffer_read(whole(s.o.totals), words));
        cpu_expect(whole(s.o.weights), WEIGHTS_SEED);
        s.t->fail_at = 0;
        expect_success(&s); /* overwritten, they are defined again */
        close_scene(&s);
    }
}
END_TEST

START_TEST(it_fails_with_the_job_that_was_to_write_its_input)
{
    scene s = open_scene(_i);
    eum_stream *other = new_stream(s.context);
    gate g = GATE_INIT;
    eum_job writes = launch1(other, (work){.kind = WORK_FILL, .gate = &g, .code = 5}, overwrites(whole(s.o.weights)));
    passing p = {.s = &s};
    start(&p.p, call_scene);
    await_gate(&g, 1);
    sleep_ms(20);
    open_gate(&g);
    OK(finish(&p.p));
    GIVES(EUM_ERROR_JOB_FAILED, eum_job_wait(p.job, -1));
    expect_sentence("a job whose results it reads failed");
    GIVES(EUM_ERROR_JOB_FAILED, eum_job_wait(writes, -1));
    ck_assert_uint_eq(s.t->calls, 0);
    ck_assert_uint_eq(stats_of(s.context).jobs_failed, 2);
    GIVES(EUM_ERROR_UNDEFINED_DATA, try_scene(&s, NULL)); /* by now it is known */
    ck_assert_uint_eq(s.t->calls, 0);
    cpu_fill(whole(s.o.weights), WEIGHTS_SEED);
    expect_success(&s);
    OK(eum_stream_destroy(other));
    close_scene(&s);
}
END_TEST

/* Each call of a kind in turn: an error or the right results, and all is well afterwards. */
static void fail_each(int place, eum_sim_operation operation)
{
    uint64_t failed = 0;
    for (uint64_t nth = 1;; nth++) {
        scene s = open_scene(place);
        eum_device *device = device_of(s.context);
        eum_job job = {NULL, 0, 0};
        cpu_fill(whole(s.o.hashes), 6);
        uint64_t calls = eum_sim_calls(device, operation);
        eum_sim_fail(device, operation, nth);
        eum_status status = try_scene(&s, &job);
        bool reached = eum_sim_calls(device, operation) - calls >= nth;
        eum_sim_fail(device, operation, 0);
        failed += status != EUM_OK;
        ck_assert(status == EUM_OK || reached);
        if (status == EUM_OK) {
            wait_job(job);
            expect_hashes(&s.r, &s.o, s.t);
        } else {
            uint32_t words[1200];
            ck_assert_ptr_null(job.context);
            OK(eum_stream_synchronize(default_stream(s.context)));
            if (s.t->calls == 0)
                cpu_expect(whole(s.o.hashes), 6); /* nothing has changed */
            else
                GIVES(EUM_ERROR_UNDEFINED_DATA, eum_buffer_read(whole(s.o.hashes), words));
            cpu_expect(whole(s.o.weights), WEIGHTS_SEED);
            expect_success(&s);
        }
        close_scene(&s);
        if (!reached)
            break;
        ck_assert_uint_lt(nth, 200);
    }
    if (operation == EUM_SIM_SUBMIT)
        ck_assert_uint_eq(failed, 5);
}

START_TEST(every_failure_of_the_device_is_an_error_or_does_no_harm)
{
    static const eum_sim_operation operations[] = {EUM_SIM_ALLOC, EUM_SIM_COPY,  EUM_SIM_SUBMIT,  EUM_SIM_MARK,
                                                   EUM_SIM_ORDER, EUM_SIM_ADOPT, EUM_SIM_PREFETCH};
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
        fail_each(1 + _i, operations[i]);
}
END_TEST

START_TEST(a_device_that_is_lost_on_the_way_is_told)
{
    scene s = open_scene(1 + _i);
    eum_sim_fail(device_of(s.context), EUM_SIM_LOST, 2);
    eum_job job;
    eum_status status = try_scene(&s, &job);
    if (status == EUM_OK)
        status = eum_job_wait(job, -1);
    GIVES(EUM_ERROR_DEVICE_LOST, status);
    ck_assert_uint_le(s.t->calls, 1);
    close_scene(&s);
}
END_TEST

Suite *launch_source_errors_suite(void)
{
    Suite *suite = suite_create("launch_source_errors");
    TCase *tests = tcase_create("launch_source_errors");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, sources_that_are_wrong_are_told, 0, PLACES);
    tcase_add_loop_test(tests, sixty_three_arguments_and_a_source_are_possible, 0, PLACES);
    tcase_add_loop_test(tests, inside_a_callback_which_must_not_wait_it_is_an_error, 0, PLACES);
    tcase_add_loop_test(tests, what_is_refused_is_refused_before_anything_is_written, 0, PLACES);
    tcase_add_loop_test(tests, between_chunks_nobody_else_uses_the_results_or_writes_the_input, 0, PLACES - 1);
    tcase_add_loop_test(tests, jobs_of_other_streams_that_conflict_come_first, 0, PLACES);
    tcase_add_loop_test(tests, two_threads_stream_at_once, 0, PLACES);
    tcase_add_loop_test(tests, the_code_of_any_call_is_what_the_job_fails_with_and_no_call_follows, 0, PLACES);
    tcase_add_loop_test(tests, it_fails_with_the_job_that_was_to_write_its_input, 0, PLACES);
    tcase_add_loop_test(tests, every_failure_of_the_device_is_an_error_or_does_no_harm, 0, PLACES - 1);
    tcase_add_loop_test(tests, a_device_that_is_lost_on_the_way_is_told, 0, PLACES - 1);
    suite_add_tcase(suite, tests);
    return suite;
}
