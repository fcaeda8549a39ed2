/* Similarity operations on the CPU and on the device: who runs them, that they agree, what happens when the device fails, what is counted.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "scoring_problem.h"

Suite *executors_suite(void);

typedef struct setup {
    const char *device;
    eum_backing backing;
} setup;
static const setup setups[] = {
    {"sim:maxwell", EUM_BACKING_AUTO},    {"sim:pascal", EUM_BACKING_AUTO},    {"sim:turing", EUM_BACKING_AUTO},
    {"sim:ampere", EUM_BACKING_AUTO},     {"sim:hopper", EUM_BACKING_AUTO},    {"sim:pascal", EUM_BACKING_MANAGED},
    {"sim:hopper", EUM_BACKING_MAPPED},   {"sim:hopper", EUM_BACKING_MANAGED}, {"sim:ampere", EUM_BACKING_MANAGED},
    {"sim:pascal", EUM_BACKING_MIRRORED},
};
#define SETUPS ((int)(sizeof setups / sizeof *setups))

static const problem few_rows = {
    .operation = EUM_OPERATION_SIMILARITY, .metric = 1, .element = 1, .queries = 2, .rows = 20, .dim = 50};

typedef struct scene {
    eum_context *context;
    eum_stream *stream;
    problem p;
    arrays a;
    operands o;
    char warning[512]; /* the newest one */
} scene;

static void hear_warnings(void *user, eum_log_level level, const char *message)
{
    scene *s = user;
    if (level == EUM_LOG_WARN)
        snprintf(s->warning, sizeof s->warning, "%s", message);
    else
        hear_errors(NULL, level, message);
}

static void open_scene(scene *s, int which, const char *options, problem p)
{
    char device[128];
    snprintf(device, sizeof device, "%s%s", setups[which].device, options);
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    config.device = device;
    config.backing = setups[which].backing;
    config.worker_threads = 2;
    config.log_level = EUM_LOG_WARN;
    config.log_fn = hear_warnings;
    config.log_user = s;
    s->warning[0] = '\0';
    s->context = open_with(&config);
    s->stream = default_stream(s->context);
    s->p = p;
    s->a = make_arrays(&p);
    s->o = make_operands(s->context, &p, &s->a, false);
    OK(eum_buffer_write(whole(s->o.scores), s->a.scores)); /* the pages of the results are somewhere */
}

static void close_scene(scene *s)
{
    end_operands(&s->o);
    free_arrays(&s->a);
    close_context(s->context);
}

static eum_status score(scene *s, eum_executor executor, eum_job *job)
{
    return start_problem(s->stream, &s->p, &s->a, &s->o, executor, job);
}

static eum_operation_stats stats(scene *s)
{
    return operation_stats(s->context, s->p.operation);
}

START_TEST(auto_keeps_few_rows_on_the_cpu_without_a_launch_or_a_movement)
{
    scene s;
    open_scene(&s, _i, ",schedule=step", few_rows); /* nothing runs unless somebody waits */
    eum_stats before = stats_of(s.context);
    eum_job job;
    OK(score(&s, EUM_EXECUTOR_AUTO, &job));
    OK(eum_job_wait(job, 0));
    eum_stats after = stats_of(s.context);
    ck_assert_uint_eq(after.launches, before.launches);
    ck_assert_uint_eq(after.bytes_to_device + after.bytes_to_host, before.bytes_to_device + before.bytes_to_host);
    ck_assert_uint_eq(after.maps_live, 0);
    eum_operation_stats ran = stats(&s);
    ck_assert_uint_eq(ran.runs[EUM_EXECUTOR_CPU], 1);
    ck_assert_uint_eq(ran.runs[EUM_EXECUTOR_DEVICE], 0);
    ck_assert_int_eq(ran.last_executor, EUM_EXECUTOR_CPU);
    ck_assert_uint_lt(ran.last_predicted_ns[EUM_EXECUTOR_CPU], ran.last_predicted_ns[EUM_EXECUTOR_DEVICE]);
    ck_assert_uint_eq(ran.timed[EUM_EXECUTOR_CPU], 1);
    ck_assert_uint_gt(ran.actual_ns[EUM_EXECUTOR_CPU], 0);
    ck_assert_uint_eq(ran.actual_ns[EUM_EXECUTOR_CPU], ran.last_actual_ns);
    ck_assert_uint_eq(ran.predicted_ns[EUM_EXECUTOR_CPU], ran.last_predicted_ns[EUM_EXECUTOR_CPU]);
    read_answer(&s.o, &s.a);
    arrays cpu = make_arrays(&s.p);
    memcpy(cpu.scores, s.a.scores, s.a.score_count * 4);
    OK(score(&s, EUM_EXECUTOR_DEVICE, &job));
    wait_job(job);
    read_answer(&s.o, &s.a);
    expect_close_answer(&cpu, &s.a, 1);
    free_arrays(&cpu);
    ck_assert_uint_eq(stats(&s).runs[EUM_EXECUTOR_DEVICE], 1);
    close_scene(&s);
}
END_TEST

/* Of few queries and of many: each result is written once, so over the link, and there is nothing to copy back. */
START_TEST(small_results_are_where_the_host_reads_them)
{
    problem p = {.operation = EUM_OPERATION_TOPK,
                 .metric = 2,
                 .element = 1,
                 .queries = _i % 2 == 0 ? 2 : 40,
                 .rows = 2000,
                 .dim = 768,
                 .k = 10};
    scene s;
    open_scene(&s, _i / 2, "", p);
    OK(eum_buffer_destroy(s.o.scores));
    OK(eum_buffer_destroy(s.o.indices));
    s.o.scores = new_buffer_as(s.context, s.a.score_count * 4, EUM_ROLE_AUTO);
    s.o.indices = new_buffer_as(s.context, s.a.index_count * 8, EUM_ROLE_AUTO);
    eum_stats before = stats_of(s.context);
    for (int use = 0; use < 4; use++) {
        eum_job job;
        OK(score(&s, EUM_EXECUTOR_DEVICE, &job));
        wait_job(job);
        read_answer(&s.o, &s.a);
    }
    ck_assert_uint_eq(stats_of(s.context).bytes_to_host, before.bytes_to_host);
    arrays cpu = make_arrays(&s.p);
    eum_job job;
    OK(score(&s, EUM_EXECUTOR_CPU, &job));
    wait_job(job);
    read_answer(&s.o, &cpu);
    expect_close_answer(&cpu, &s.a, 1);
    free_arrays(&cpu);
    close_scene(&s);
}
END_TEST

START_TEST(auto_moves_targets_that_are_scored_again_and_again)
{
    problem p = {.operation = EUM_OPERATION_SIMILARITY, .metric = 2, .element = 1, .queries = 1, .rows = 2000, .dim = 768};
    p.role = _i % 2 == 0 ? EUM_ROLE_AUTO : EUM_ROLE_TARGETS;
    scene s;
    open_scene(&s, _i, "", p);
    eum_job job;
    for (int use = 0; use < 40; use++) {
        OK(score(&s, EUM_EXECUTOR_AUTO, &job));
        wait_job(job);
    }
    eum_operation_stats ran = stats(&s);
    ck_assert_uint_eq(ran.runs[EUM_EXECUTOR_CPU] + ran.runs[EUM_EXECUTOR_DEVICE], 40);
    if (setups[_i].backing == EUM_BACKING_MAPPED) { /* there is nothing to move: always the one that is sooner */
        bool cpu = ran.last_predicted_ns[EUM_EXECUTOR_CPU] <= ran.last_predicted_ns[EUM_EXECUTOR_DEVICE];
        ck_assert_uint_eq(ran.runs[cpu ? EUM_EXECUTOR_CPU : EUM_EXECUTOR_DEVICE], 40);
    } else {
        ck_assert_int_eq(ran.last_executor, EUM_EXECUTOR_DEVICE);
        eum_decision decision = explain(s.o.targets);
        ck_assert_uint_eq(decision.bytes_on_device, s.a.target_bytes);
        ck_assert_uint_lt(decision.bytes_to_device, s.a.target_bytes + 65536); /* once */
    }
    close_scene(&s);
}
END_TEST

START_TEST(auto_does_not_wait_for_the_cpus_sake)
{
    scene s;
    open_scene(&s, _i, "", few_rows);
    eum_stream *other = new_stream(s.context);
    gate held = GATE_INIT;
    /* a job in flight writes the queries, then the targets, or reads the scores */
    for (int what = 0; what < 3; what++) {
        eum_buffer *buffer = what == 0 ? s.o.queries : what == 1 ? s.o.targets : s.o.scores;
        held.open = false;
        held.waiting = 0;
        launch1(other, (work){.kind = WORK_NOTHING, .gate = &held}, what == 2 ? reads(whole(buffer)) : updates(whole(buffer)));
        await_gate(&held, 1);
        eum_job job;
        OK(score(&s, EUM_EXECUTOR_AUTO, &job)); /* would hang if it waited */
        GIVES(EUM_ERROR_TIMEOUT, eum_job_wait(job, 0));
        ck_assert_int_eq(stats(&s).last_executor, EUM_EXECUTOR_DEVICE);
        open_gate(&held);
        wait_job(job);
        OK(eum_buffer_write(whole(s.o.queries), s.a.queries));
        OK(eum_buffer_write(whole(s.o.targets), s.a.targets));
    }
    OK(eum_stream_destroy(other));
    close_scene(&s);
}
END_TEST

START_TEST(the_cpu_brings_what_it_needs_if_it_is_told_to_do_it)
{
    scene s;
    open_scene(&s, _i, "", few_rows);
    eum_job job;
    OK(score(&s, EUM_EXECUTOR_CPU, NULL));
    read_answer(&s.o, &s.a);
    arrays expected = make_arrays(&s.p);
    memcpy(expected.scores, s.a.scores, s.a.score_count * 4);
    for (int i = 0; i < 2; i++) { /* everything is on the device alone, and in flight */
        launch1(s.stream, (work){.kind = WORK_ADD, .value = 0}, updates(whole(s.o.targets)));
        launch1(s.stream, (work){.kind = WORK_ADD, .value = 0}, updates(whole(s.o.queries)));
        launch1(s.stream, (work){.kind = WORK_FILL, .value = 9}, overwrites(whole(s.o.scores)));
        OK(score(&s, i == 0 ? EUM_EXECUTOR_CPU : EUM_EXECUTOR_AUTO, &job));
        if (i == 0 || setups[_i].backing != EUM_BACKING_MAPPED) /* there everything is on the host, once the jobs are done */
            ck_assert_int_eq(stats(&s).last_executor, i == 0 ? EUM_EXECUTOR_CPU : EUM_EXECUTOR_DEVICE);
        if (i == 0)
            OK(eum_job_wait(job, 0));
        read_answer(&s.o, &s.a);
        expect_close_answer(&expected, &s.a, 1);
    }
    /* and the device sees what the CPU wrote */
    OK(score(&s, EUM_EXECUTOR_CPU, NULL));
    eum_buffer *copy = new_buffer(s.context, s.a.score_count * 4);
    launch2(s.stream, (work){.kind = WORK_COPY}, reads(whole(s.o.scores)), overwrites(whole(copy)));
    OK(eum_buffer_read(whole(copy), s.a.scores));
    expect_same_answer(&expected, &s.a);
    OK(eum_buffer_destroy(copy));
    free_arrays(&expected);
    close_scene(&s);
}
END_TEST

START_TEST(all_executors_agree)
{
    for (eum_operation operation = EUM_OPERATION_COSINE; operation <= EUM_OPERATION_ROWS; operation++) {
        for (int many = 0; many < (operation == EUM_OPERATION_COSINE ? 1 : 2); many++) {
            problem p = {.operation = operation, .metric = operation == EUM_OPERATION_COSINE ? 1 : 1 + (eum_metric)operation % 3};
            p.element = operation == EUM_OPERATION_COSINE ? EUM_ELEMENT_FLOAT32 : 1 + (eum_element)operation % 3;
            p.queries = many ? 12 : 1;
            p.rows = 400;
            p.dim = 33;
            p.k = 5;
            p.numbers = 100;
            p.real = operation != EUM_OPERATION_TOPK; /* whole numbers: the indices agree as well */
            scene s;
            arrays answers[3];
            open_scene(&s, _i, "", p);
            for (eum_executor executor = EUM_EXECUTOR_AUTO; executor <= EUM_EXECUTOR_DEVICE; executor++) {
                eum_job job;
                OK(score(&s, executor, &job));
                wait_job(job);
                answers[executor] = make_arrays(&p);
                read_answer(&s.o, &answers[executor]);
                expect_close_answer(&answers[0], &answers[executor], 33);
                ck_assert_mem_eq(answers[0].indices, answers[executor].indices, answers[0].index_count * 8);
            }
            eum_operation_stats ran = stats(&s);
            ck_assert_uint_eq(ran.runs[EUM_EXECUTOR_CPU] + ran.runs[EUM_EXECUTOR_DEVICE], 3);
            ck_assert_uint_ge(ran.timed[EUM_EXECUTOR_DEVICE], 0);
            for (int i = 0; i < 3; i++)
                free_arrays(&answers[i]);
            close_scene(&s);
        }
    }
}
END_TEST

START_TEST(a_job_that_somebody_waits_for_is_timed)
{
    scene s;
    open_scene(&s, _i, ",schedule=step", few_rows); /* so it is not done before the wait */
    eum_job job;
    for (uint64_t i = 1; i <= 20; i++) {
        OK(score(&s, EUM_EXECUTOR_DEVICE, &job));
        ck_assert_uint_eq(stats(&s).timed[EUM_EXECUTOR_DEVICE], i - 1);
        wait_job(job);
        wait_job(job); /* counts once */
        eum_operation_stats ran = stats(&s);
        ck_assert_uint_eq(ran.runs[EUM_EXECUTOR_DEVICE], i);
        ck_assert_uint_eq(ran.timed[EUM_EXECUTOR_DEVICE], i);
        ck_assert_uint_gt(ran.last_actual_ns, 0);
        ck_assert_uint_ge(ran.actual_ns[EUM_EXECUTOR_DEVICE], ran.last_actual_ns);
    }
    ck_assert_uint_eq(stats(&s).predicted_ns[EUM_EXECUTOR_CPU], 0);
    for (int i = 0; i < 20; i++) /* more than are watched */
        OK(score(&s, EUM_EXECUTOR_DEVICE, &job));
    OK(eum_stream_synchronize(s.stream)); /* sees the end of the newest, if that has a point of its own */
    uint64_t timed = stats(&s).timed[EUM_EXECUTOR_DEVICE];
    ck_assert_uint_le(timed, 21);
    wait_job(job); /* done already: nobody saw when */
    ck_assert_uint_eq(stats(&s).timed[EUM_EXECUTOR_DEVICE], timed);
    close_scene(&s);
}
END_TEST

/* ------------------------------------------------------------------------------------------------------- failures --- */

/* So much work that AUTO wants the device for it. */
static const problem much_work = {
    .operation = EUM_OPERATION_SIMILARITY, .metric = 1, .element = 1, .queries = 64, .rows = 2000, .dim = 384};

START_TEST(what_the_device_cannot_do_the_cpu_does_and_says_so)
{
    scene s;
    open_scene(&s, _i, "", much_work);
    eum_job job;
    OK(score(&s, EUM_EXECUTOR_DEVICE, &job));
    read_answer(&s.o, &s.a);
    arrays expected = make_arrays(&s.p);
    memcpy(expected.scores, s.a.scores, s.a.score_count * 4);
    OK(eum_buffer_prefetch(whole(s.o.targets), 0, s.stream));
    OK(score(&s, EUM_EXECUTOR_AUTO, &job));
    ck_assert_int_eq(stats(&s).last_executor, EUM_EXECUTOR_DEVICE);
    wait_job(job);
    eum_error before = EUM_ERROR_INIT, after = EUM_ERROR_INIT;
    OK(eum_last_error(&before));
    eum_sim_fail(device_of(s.context), EUM_SIM_SUBMIT, 1);
    OK(score(&s, EUM_EXECUTOR_AUTO, &job));
    OK(eum_job_wait(job, 0));
    OK(eum_last_error(&after));
    ck_assert_mem_eq(&before, &after, sizeof before); /* a success leaves it alone */
    ck_assert_msg(strstr(s.warning, "the CPU does it") != NULL && strstr(s.warning, "EUM_ERROR_LAUNCH_FAILED") != NULL, "%s",
                  s.warning);
    eum_operation_stats ran = stats(&s);
    ck_assert_uint_eq(ran.fallbacks, 1);
    ck_assert_uint_eq(ran.runs[EUM_EXECUTOR_CPU], 1);
    ck_assert_int_eq(ran.last_executor, EUM_EXECUTOR_CPU);
    ck_assert_uint_eq(ran.rest, 0);
    read_answer(&s.o, &s.a);
    expect_close_answer(&expected, &s.a, 1);
    eum_sim_fail(device_of(s.context), EUM_SIM_SUBMIT, 1); /* whoever insists hears of it */
    GIVES(EUM_ERROR_LAUNCH_FAILED, score(&s, EUM_EXECUTOR_DEVICE, &job));
    ck_assert_uint_eq(stats(&s).fallbacks, 1);
    free_arrays(&expected);
    close_scene(&s);
}
END_TEST

START_TEST(after_three_failures_in_a_row_the_device_rests_for_64_operations)
{
    scene s;
    problem p = much_work;
    p.operation = EUM_OPERATION_TOPK;
    p.rows = 3000;
    p.queries = 200;
    p.k = 3;
    open_scene(&s, _i, "", p);
    eum_device *device = device_of(s.context);
    eum_job job;
    OK(score(&s, EUM_EXECUTOR_AUTO, &job));
    ck_assert_int_eq(stats(&s).last_executor, EUM_EXECUTOR_DEVICE);
    for (int round = 0; round < 2; round++) {
        eum_sim_fail(device, EUM_SIM_SUBMIT, EUM_SIM_FAIL_ALL);
        for (int i = 0; i < 2; i++)
            OK(score(&s, EUM_EXECUTOR_AUTO, &job));
        ck_assert_uint_eq(stats(&s).rest, 0);
        eum_sim_fail(device, EUM_SIM_SUBMIT, 0);
        OK(score(&s, EUM_EXECUTOR_AUTO, &job)); /* works: the count begins anew */
        ck_assert_int_eq(stats(&s).last_executor, EUM_EXECUTOR_DEVICE);
    }
    eum_sim_fail(device, EUM_SIM_SUBMIT, EUM_SIM_FAIL_ALL);
    for (int i = 0; i < 3; i++)
        OK(score(&s, EUM_EXECUTOR_AUTO, &job));
    ck_assert_uint_eq(stats(&s).rest, 64);
    ck_assert_msg(strstr(s.warning, "rests") != NULL, "%s", s.warning);
    uint64_t calls = eum_sim_calls(device, EUM_SIM_SUBMIT), fallbacks = stats(&s).fallbacks;
    for (int i = 0; i < 64; i++)
        OK(score(&s, EUM_EXECUTOR_AUTO, &job));
    ck_assert_uint_eq(eum_sim_calls(device, EUM_SIM_SUBMIT), calls);
    ck_assert_uint_eq(stats(&s).fallbacks, fallbacks + 64);
    ck_assert_uint_eq(stats(&s).rest, 0);
    OK(score(&s, EUM_EXECUTOR_AUTO, &job)); /* one try, which fails: it rests again */
    ck_assert_uint_eq(eum_sim_calls(device, EUM_SIM_SUBMIT), calls + 1);
    ck_assert_uint_eq(stats(&s).rest, 64);
    eum_sim_fail(device, EUM_SIM_SUBMIT, 0);
    for (int i = 0; i < 65; i++)
        OK(score(&s, EUM_EXECUTOR_AUTO, &job));
    ck_assert_int_eq(stats(&s).last_executor, EUM_EXECUTOR_DEVICE);
    wait_job(job);
    close_scene(&s);
}
END_TEST

START_TEST(every_device_call_that_fails_alone_is_survived_by_auto)
{
    static const eum_sim_operation operations[] = {EUM_SIM_ALLOC, EUM_SIM_COPY, EUM_SIM_PREFETCH, EUM_SIM_SUBMIT, EUM_SIM_ORDER};
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        for (uint64_t nth = 1; nth <= 3; nth++) {
            scene s;
            open_scene(&s, _i, "", much_work);
            eum_sim_fail(device_of(s.context), operations[i], nth);
            eum_job job;
            OK(score(&s, EUM_EXECUTOR_AUTO, &job));
            eum_sim_fail(device_of(s.context), operations[i], 0);
            wait_job(job);
            read_answer(&s.o, &s.a);
            arrays found = make_arrays(&s.p);
            memcpy(found.scores, s.a.scores, s.a.score_count * 4);
            OK(score(&s, EUM_EXECUTOR_CPU, NULL));
            read_answer(&s.o, &s.a);
            expect_close_answer(&found, &s.a, 1);
            free_arrays(&found);
            close_scene(&s);
        }
    }
}
END_TEST

/* ------------------------------------------------------------------------------------------------------- refusals --- */

static eum_status score_part(scene *s, eum_executor executor, eum_view targets, eum_view scores)
{
    eum_similarity_config config = EUM_SIMILARITY_CONFIG_INIT;
    config.queries = part(s->o.queries, 0, 40);
    config.targets = targets;
    config.scores = scores;
    config.rows = 4;
    config.dim = 10;
    config.executor = executor;
    return eum_similarity(s->stream, &config, NULL);
}

START_TEST(all_executors_refuse_the_same)
{
    scene s;
    open_scene(&s, _i, "", few_rows);
    char bytes[160] = {0};
    eum_buffer *fixed = wrap_array(s.context, bytes, sizeof bytes, EUM_ROLE_AUTO, true), *broken = new_buffer(s.context, 160);
    for (eum_executor executor = EUM_EXECUTOR_AUTO; executor <= EUM_EXECUTOR_DEVICE; executor++) {
        eum_view targets = part(s.o.targets, 0, 160), scores = part(s.o.scores, 0, 16);
        OK(score_part(&s, executor, targets, scores));
        GIVES(EUM_ERROR_OVERLAP, score_part(&s, executor, targets, part(s.o.targets, 156, 16)));
        GIVES(EUM_ERROR_READ_ONLY, score_part(&s, executor, targets, part(fixed, 0, 16)));
        void *mapped = map(part(s.o.scores, 12, 4), EUM_ACCESS_READ);
        GIVES(EUM_ERROR_MAPPED, score_part(&s, executor, targets, scores));
        unmap(s.o.scores, mapped);
        mapped = map(part(s.o.targets, 0, 4), EUM_ACCESS_READ);
        OK(score_part(&s, executor, targets, scores)); /* both read */
        unmap(s.o.targets, mapped);
        mapped = map(part(s.o.targets, 0, 4), EUM_ACCESS_READ_WRITE);
        GIVES(EUM_ERROR_MAPPED, score_part(&s, executor, targets, scores));
        unmap(s.o.targets, mapped);
        GIVES(EUM_ERROR_JOB_FAILED,
              eum_job_wait(launch1(s.stream, (work){.kind = WORK_FILL, .code = 5}, overwrites(whole(broken))), -1));
        GIVES(EUM_ERROR_UNDEFINED_DATA, score_part(&s, executor, whole(broken), scores));
        OK(score_part(&s, executor, targets, part(broken, 0, 16))); /* overwriting makes it defined */
        OK(eum_stream_synchronize(s.stream));
        OK(eum_buffer_read(part(broken, 0, 16), bytes));
    }
    GIVES(EUM_ERROR_INVALID_ENUM, score_part(&s, 3, part(s.o.targets, 0, 160), part(s.o.scores, 0, 16)));
    GIVES(EUM_ERROR_INVALID_ENUM, score_part(&s, -1, part(s.o.targets, 0, 160), part(s.o.scores, 0, 16)));
    OK(eum_buffer_destroy(fixed));
    OK(eum_buffer_destroy(broken));
    close_scene(&s);
}
END_TEST

START_TEST(memory_of_the_device_is_scored_there_and_the_cpu_says_that_it_cannot)
{
    scene s;
    open_scene(&s, _i, "", few_rows);
    eum_device *device = device_of(s.context);
    eum_block block;
    OK(device->ops->alloc(device, EUM_MEMORY_DEVICE, 4096, &block));
    eum_wrap_config wrap = EUM_WRAP_CONFIG_INIT;
    wrap.address = block.device;
    wrap.bytes = 160;
    wrap.memory = EUM_MEMORY_DEVICE;
    eum_buffer *targets = NULL;
    OK(eum_buffer_wrap(s.context, &wrap, &targets));
    OK(eum_buffer_write(whole(targets), s.a.targets));
    eum_view scores = part(s.o.scores, 0, 16);
    OK(score_part(&s, EUM_EXECUTOR_AUTO, whole(targets), scores));
    ck_assert_int_eq(stats(&s).last_executor, EUM_EXECUTOR_DEVICE);
    GIVES(EUM_ERROR_NO_HOST_ACCESS, score_part(&s, EUM_EXECUTOR_CPU, whole(targets), scores));
    OK(eum_stream_synchronize(s.stream));
    eum_sim_fail(device, EUM_SIM_SUBMIT, 1);
    GIVES(EUM_ERROR_LAUNCH_FAILED, score_part(&s, EUM_EXECUTOR_AUTO, whole(targets), scores)); /* nobody else can */
    OK(eum_buffer_destroy(targets));
    device->ops->release(device, &block);
    close_scene(&s);
}
END_TEST

static int32_t force_cpu_from_callback(const eum_kernel_call *call)
{
    scene *s = call->user;
    return score(s, EUM_EXECUTOR_CPU, NULL) == EUM_ERROR_IN_CALLBACK && score(s, EUM_EXECUTOR_AUTO, NULL) == EUM_OK ? 0 : 1;
}

START_TEST(inside_a_callback_the_cpu_is_refused_and_auto_launches)
{
    scene s;
    open_scene(&s, _i, "", few_rows);
    eum_stream *other = new_stream(s.context);
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.cpu = force_cpu_from_callback;
    config.user = &s;
    eum_job job;
    OK(eum_launch(other, &config, &job));
    wait_job(job);
    OK(eum_stream_synchronize(s.stream));
    ck_assert_int_eq(stats(&s).last_executor, EUM_EXECUTOR_DEVICE);
    OK(eum_stream_destroy(other));
    close_scene(&s);
}
END_TEST

START_TEST(a_context_on_the_host_launches_whatever_the_executor)
{
    eum_context *context = open_on("host", EUM_BACKING_AUTO);
    arrays a = make_arrays(&few_rows);
    operands o = make_operands(context, &few_rows, &a, false);
    for (eum_executor executor = EUM_EXECUTOR_AUTO; executor <= EUM_EXECUTOR_DEVICE; executor++) {
        eum_job job;
        OK(start_problem(default_stream(context), &few_rows, &a, &o, executor, &job));
        ck_assert_uint_ne(job.sequence, 0);
        wait_job(job);
    }
    eum_operation_stats ran = operation_stats(context, few_rows.operation);
    ck_assert_uint_eq(ran.runs[EUM_EXECUTOR_CPU], 3);
    ck_assert_uint_eq(ran.runs[EUM_EXECUTOR_DEVICE], 0);
    ck_assert_uint_eq(ran.last_predicted_ns[EUM_EXECUTOR_DEVICE], 0);
    ck_assert_uint_gt(ran.last_predicted_ns[EUM_EXECUTOR_CPU], 0);
    ck_assert_uint_eq(operation_stats(context, EUM_OPERATION_TOPK).runs[EUM_EXECUTOR_CPU], 0);
    end_operands(&o);
    free_arrays(&a);
    close_context(context);
}
END_TEST

Suite *executors_suite(void)
{
    Suite *suite = suite_create("executors");
    TCase *engine = tcase_create("executors");
    tcase_set_timeout(engine, 120);
    tcase_add_loop_test(engine, auto_keeps_few_rows_on_the_cpu_without_a_launch_or_a_movement, 0, SETUPS);
    tcase_add_loop_test(engine, small_results_are_where_the_host_reads_them, 0, SETUPS * 2);
    tcase_add_loop_test(engine, auto_moves_targets_that_are_scored_again_and_again, 0, SETUPS);
    tcase_add_loop_test(engine, auto_does_not_wait_for_the_cpus_sake, 0, SETUPS);
    tcase_add_loop_test(engine, the_cpu_brings_what_it_needs_if_it_is_told_to_do_it, 0, SETUPS);
    tcase_add_loop_test(engine, all_executors_agree, 0, SETUPS);
    tcase_add_loop_test(engine, a_job_that_somebody_waits_for_is_timed, 0, SETUPS);
    tcase_add_loop_test(engine, what_the_device_cannot_do_the_cpu_does_and_says_so, 0, SETUPS);
    tcase_add_loop_test(engine, after_three_failures_in_a_row_the_device_rests_for_64_operations, 0, SETUPS);
    tcase_add_loop_test(engine, every_device_call_that_fails_alone_is_survived_by_auto, 0, SETUPS);
    tcase_add_loop_test(engine, all_executors_refuse_the_same, 0, SETUPS);
    tcase_add_loop_test(engine, memory_of_the_device_is_scored_there_and_the_cpu_says_that_it_cannot, 0, SETUPS);
    tcase_add_loop_test(engine, inside_a_callback_the_cpu_is_refused_and_auto_launches, 0, SETUPS);
    tcase_add_test(engine, a_context_on_the_host_launches_whatever_the_executor);
    suite_add_tcase(suite, engine);
    return suite;
}
