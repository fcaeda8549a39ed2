/* What copies and operations really took refines the costs: as functions, and what the engine makes of it.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "learned.h"

#include "break_even.h"
#include "engine.h"

Suite *learned_suite(void);

#define COPY (16 * MIB)

/* Of 10,000 MB/s everywhere. */
static eum_costs some_costs(void)
{
    eum_costs costs = eum_costs_default(9);
    costs.link_mbps = costs.to_host_mbps = costs.in_place_mbps = 10000;
    costs.copy_ns = 8000;
    return costs;
}

/* What a copy takes at so many MB/s. */
static uint64_t at_rate(const eum_costs *costs, uint64_t mbps)
{
    return costs->copy_ns + eum_cost_at(COPY, mbps);
}

START_TEST(a_faster_copy_moves_the_rate_half_the_way_and_a_slower_one_an_eighth)
{
    eum_costs told = some_costs(), costs = told;
    eum_learned learned;
    eum_learned_init(&learned, &told, true, false);
    eum_learned_copy(&learned, &costs, false, COPY, at_rate(&told, 20000));
    ck_assert_uint_ge(costs.link_mbps, 14990);
    ck_assert_uint_le(costs.link_mbps, 15010);
    eum_learned_copy(&learned, &costs, false, COPY, at_rate(&told, 7000));
    ck_assert_uint_ge(costs.link_mbps, 13990);
    ck_assert_uint_le(costs.link_mbps, 14010);
    ck_assert_uint_eq(costs.to_host_mbps, 10000);
    eum_learned_copy(&learned, &costs, true, COPY, at_rate(&told, 12000));
    ck_assert_uint_ge(costs.to_host_mbps, 10990);
    ck_assert_uint_le(costs.to_host_mbps, 11010);
}
END_TEST

START_TEST(whatever_copies_take_the_rates_stay_within_a_quarter_and_four_times_of_what_was_told)
{
    eum_costs told = some_costs(), costs = told;
    eum_learned learned;
    eum_learned_init(&learned, &told, false, false);
    for (int i = 0; i < 100; i++)
        eum_learned_copy(&learned, &costs, i % 2 == 0, COPY, i % 3 == 0 ? 0 : 1);
    ck_assert_uint_eq(costs.link_mbps, 40000);
    ck_assert_uint_eq(costs.to_host_mbps, 40000);
    for (int i = 0; i < 100; i++)
        eum_learned_copy(&learned, &costs, i % 2 == 0, COPY, UINT64_MAX);
    ck_assert_uint_eq(costs.link_mbps, 2500);
    ck_assert_uint_eq(costs.to_host_mbps, 2500);
    ck_assert_uint_eq(costs.in_place_mbps, 2500);
}
END_TEST

START_TEST(defaults_that_were_not_seen_follow_what_was_and_measured_ones_do_not)
{
    eum_costs told = some_costs(), costs = told, measured = told;
    told.in_place_mbps = 8000;
    eum_learned learned;
    eum_learned_init(&learned, &told, false, false);
    eum_learned_copy(&learned, &costs, false, COPY, at_rate(&told, 30000));
    ck_assert_uint_eq(costs.in_place_mbps, costs.link_mbps * 8 / 10);
    ck_assert_uint_eq(costs.to_host_mbps, costs.link_mbps);
    eum_learned_copy(&learned, &costs, true, COPY, at_rate(&told, 20000));
    uint64_t seen = costs.to_host_mbps;
    eum_learned_copy(&learned, &costs, false, COPY, at_rate(&told, 30000));
    ck_assert_uint_eq(costs.to_host_mbps, seen);

    eum_learned_init(&learned, &told, true, false);
    eum_learned_copy(&learned, &measured, false, COPY, at_rate(&told, 30000));
    ck_assert_uint_gt(measured.link_mbps, 10000);
    ck_assert_uint_eq(measured.in_place_mbps, 10000);
    ck_assert_uint_eq(measured.to_host_mbps, 10000);
}
END_TEST

/* The CPU took so long for what was predicted just now. */
static void took(eum_learned *learned, uint32_t class, uint64_t predicted_ns, uint64_t actual_ns)
{
    eum_learned_took(learned, EUM_LEARNED_CPU, class, predicted_ns, eum_learned_times(learned, EUM_LEARNED_CPU, class), actual_ns);
}

START_TEST(operations_of_one_size_and_kind_teach_nothing_of_others)
{
    ck_assert_uint_eq(eum_learned_class(1, false, 0), 0);
    ck_assert_uint_eq(eum_learned_class(8, true, UINT64_MAX), EUM_LEARNED_SIZES * 2 - 1);
    ck_assert_uint_eq(eum_learned_class(9, true, UINT64_MAX), EUM_LEARNED_CLASSES - 1);
    ck_assert_uint_eq(eum_learned_class(1, false, 1 * MIB), eum_learned_class(8, false, 3 * MIB));
    ck_assert_uint_ne(eum_learned_class(1, false, 1 * MIB), eum_learned_class(1, false, 4 * MIB));
    eum_learned learned;
    eum_costs told = some_costs();
    eum_learned_init(&learned, &told, false, true);
    eum_learned_took(&learned, EUM_LEARNED_CPU, 5, 1000, 1024, 500);
    for (uint32_t class = 0; class < EUM_LEARNED_CLASSES; class ++)
        ck_assert_uint_eq(eum_learned_times(&learned, EUM_LEARNED_CPU, class), class == 5 ? 960 : 1024);
}
END_TEST

/* As the engine has it: each prediction has what was learned so far in it. */
START_TEST(predictions_of_the_cpu_come_to_what_it_takes)
{
    eum_learned learned;
    eum_costs told = some_costs();
    const uint64_t base = 100000, takes[] = {20000, 350000};
    for (int i = 0; i < 2; i++) {
        eum_learned_init(&learned, &told, false, true);
        for (int n = 0; n < 100; n++)
            took(&learned, 3, base * eum_learned_times(&learned, EUM_LEARNED_CPU, 3) / 1024, takes[i]);
        uint64_t now = base * eum_learned_times(&learned, EUM_LEARNED_CPU, 3) / 1024;
        ck_assert_uint_ge(now, takes[i] * 9 / 10);
        ck_assert_uint_le(now, takes[i] * 11 / 10);
    }
    for (int n = 0; n < 200; n++)
        took(&learned, 3, 1000, n < 100 ? 0 : UINT64_MAX);
    ck_assert_uint_eq(eum_learned_times(&learned, EUM_LEARNED_CPU, 3), 8 * 1024);
}
END_TEST

/* A call that is made again has the prediction of its first time. */
START_TEST(predictions_from_before_teach_the_same_as_new_ones)
{
    eum_learned learned;
    eum_costs told = some_costs();
    const uint64_t base = 100000, takes[] = {20000, 350000};
    for (int i = 0; i < 2; i++) {
        eum_learned_init(&learned, &told, false, true);
        for (int n = 0; n < 100; n++)
            eum_learned_took(&learned, EUM_LEARNED_DEVICE, 3, 2 * base, 2048, takes[i]);
        uint64_t now = base * eum_learned_times(&learned, EUM_LEARNED_DEVICE, 3) / 1024;
        ck_assert_uint_ge(now, takes[i] * 9 / 10);
        ck_assert_uint_le(now, takes[i] * 11 / 10);
        ck_assert_uint_eq(eum_learned_times(&learned, EUM_LEARNED_IN_PLACE, 3), 1024);
    }
}
END_TEST

START_TEST(what_made_the_cpu_slow_is_forgotten_while_the_device_works_and_what_made_it_fast_is_not)
{
    eum_learned learned;
    eum_costs told = some_costs();
    eum_learned_init(&learned, &told, false, true);
    for (int n = 0; n < 50; n++) {
        took(&learned, 1, 1000, 4000);
        took(&learned, 2, 1000, 700);
    }
    uint32_t slow = eum_learned_times(&learned, EUM_LEARNED_CPU, 1), fast = eum_learned_times(&learned, EUM_LEARNED_CPU, 2);
    ck_assert_uint_gt(slow, 2048);
    eum_learned_idle(&learned, EUM_LEARNED_CPU, 1);
    eum_learned_idle(&learned, EUM_LEARNED_CPU, 2);
    eum_learned_idle(&learned, EUM_LEARNED_CPU, 0);
    ck_assert_uint_lt(eum_learned_times(&learned, EUM_LEARNED_CPU, 1), slow);
    ck_assert_uint_eq(eum_learned_times(&learned, EUM_LEARNED_CPU, 2), fast);
    ck_assert_uint_eq(eum_learned_times(&learned, EUM_LEARNED_CPU, 0), 1024);
    for (int n = 0; n < 1000; n++)
        eum_learned_idle(&learned, EUM_LEARNED_CPU, 1);
    ck_assert_uint_eq(eum_learned_times(&learned, EUM_LEARNED_CPU, 1), 1024);
}
END_TEST

START_TEST(from_how_many_rows_the_device_pays_has_in_it_what_was_learned_of_the_cpu)
{
    eum_costs costs = eum_costs_default(9);
    eum_learned learned;
    eum_learned_init(&learned, &costs, false, true);
    eum_break_even_question question = {.cpu = eum_cpu_costs_of(EUM_CPU_AVX2),
                                        .threads = 2,
                                        .limit = (uint64_t)1 << 34,
                                        .streams = true,
                                        .dim = 768,
                                        .element_bytes = 4,
                                        .queries = 1,
                                        .learned = &learned,
                                        .backing = {.device_kind = EUM_DEVICE_CUDA, .concurrent_managed = true, .costs = &costs}};
    uint64_t before = eum_break_even_rows(&question, true);
    ck_assert_uint_gt(before, 1);
    ck_assert_uint_ne(before, EUM_NEVER);
    for (int n = 0; n < 100; n++)
        for (uint32_t class = 0; class < EUM_LEARNED_CLASSES; class ++)
            took(&learned, class, 1000, 500);
    ck_assert_uint_gt(eum_break_even_rows(&question, true), before * 2);
}
END_TEST

/* ---------------------------------------------------------------------------------------------------- the engine --- */

typedef struct scene {
    eum_context *context;
    eum_stream *stream;
    eum_buffer *source, *targets;
    uint32_t *memory;
} scene;

/* A context whose costs were told to be half of what its link can do. */
static scene open_misled(bool measured)
{
    scene s = {.context = open_on("sim:hopper", EUM_BACKING_MIRRORED), .memory = aligned_alloc(4 * KIB, COPY)};
    ck_assert_ptr_nonnull(s.memory);
    eum_wrap_config config = EUM_WRAP_CONFIG_INIT;
    config.address = s.memory;
    config.bytes = COPY;
    config.memory = EUM_MEMORY_HOST;
    config.flags = EUM_WRAP_REGISTER;
    OK(eum_buffer_wrap(s.context, &config, &s.source));
    s.targets = new_buffer(s.context, COPY);
    OK(eum_stream_create(s.context, NULL, &s.stream));
    eum_ctx *ctx = ctx_of(s.context);
    ctx->costs.link_mbps /= 2;
    ctx->costs.to_host_mbps /= 2;
    ctx->costs.in_place_mbps /= 2;
    eum_learned_init(&ctx->learned, &ctx->costs, measured, false);
    return s;
}

static void close_misled(scene *s)
{
    OK(eum_buffer_destroy(s->targets));
    OK(eum_buffer_destroy(s->source));
    OK(eum_stream_destroy(s->stream));
    close_context(s->context);
    free(s->memory);
}

static eum_costs_info told_by(eum_context *context)
{
    eum_costs_info info = EUM_COSTS_INFO_INIT;
    OK(eum_context_costs(context, &info));
    return info;
}

static void check_near(uint64_t value, uint64_t wanted)
{
    ck_assert_uint_ge(value, wanted * 9 / 10);
    ck_assert_uint_le(value, wanted * 11 / 10);
}

START_TEST(writes_and_reads_of_pinned_memory_correct_what_the_link_was_told_to_do)
{
    for (int measured = 0; measured < 2; measured++) {
        scene s = open_misled(measured == 1);
        eum_costs_info before = told_by(s.context);
        for (uint32_t i = 0; i < 8; i++) {
            fill_words(s.memory, COPY / WORD, i);
            OK(eum_buffer_write(whole(s.targets), s.memory));
        }
        eum_costs_info after = told_by(s.context);
        check_near(after.to_device_mbps, 2 * before.to_device_mbps);
        if (measured == 1) {
            ck_assert_uint_eq(after.in_place_mbps, before.in_place_mbps);
            ck_assert_uint_eq(after.to_host_mbps, before.to_host_mbps);
        } else {
            check_near(after.in_place_mbps, 2 * before.in_place_mbps);
        }
        for (uint32_t i = 0; i < 8; i++) {
            wait_job(launch1(s.stream, (work){.kind = WORK_ADD, .value = 1}, updates(whole(s.targets))));
            OK(eum_buffer_read(whole(s.targets), s.memory));
        }
        check_near(told_by(s.context).to_host_mbps, 2 * before.to_host_mbps);
        close_misled(&s);
    }
}
END_TEST

START_TEST(small_copies_and_those_of_pageable_memory_teach_nothing)
{
    scene s = open_misled(false);
    eum_costs_info before = told_by(s.context);
    uint32_t *pageable = calloc(COPY / WORD, WORD);
    ck_assert_ptr_nonnull(pageable);
    for (uint32_t i = 0; i < 8; i++) {
        OK(eum_buffer_write((eum_view){s.targets, 0, MIB}, s.memory));
        OK(eum_buffer_write(whole(s.targets), pageable));
    }
    ck_assert_uint_eq(told_by(s.context).to_device_mbps, before.to_device_mbps);
    free(pageable);
    close_misled(&s);
}
END_TEST

START_TEST(what_the_cpu_took_is_in_the_next_prediction)
{
    eum_context *context = open_on("sim:hopper", EUM_BACKING_MIRRORED);
    eum_ctx *ctx = ctx_of(context);
    ctx->learned.from_operations = true;
    eum_stream *stream = NULL;
    OK(eum_stream_create(context, NULL, &stream));
    float values[64] = {1.0f, 2.0f};
    eum_buffer *query = new_buffer(context, 16 * sizeof(float)), *targets = new_buffer(context, sizeof values),
               *scores = new_buffer(context, 4 * sizeof(float));
    OK(eum_buffer_write(whole(query), values));
    OK(eum_buffer_write(whole(targets), values));
    eum_cosine_config config = EUM_COSINE_CONFIG_INIT;
    config.query = whole(query);
    config.targets = whole(targets);
    config.scores = whole(scores);
    config.rows = 4;
    config.dim = 16;
    config.executor = EUM_EXECUTOR_CPU;
    OK(eum_cosine(stream, &config, NULL));
    const uint32_t class = eum_learned_class(1, false, sizeof values);
    ck_assert_uint_ne(ctx->learned.times[EUM_LEARNED_CPU][class], 0);
    ctx->learned.times[EUM_LEARNED_CPU][class] = 1024;
    eum_operation_stats stats;
    eum_operation_stats_init(&stats);
    OK(eum_cosine(stream, &config, NULL));
    OK(eum_context_operation_stats(context, EUM_OPERATION_COSINE, &stats));
    uint64_t before = stats.last_predicted_ns[EUM_EXECUTOR_CPU];
    ctx->learned.times[EUM_LEARNED_CPU][class] = 4096;
    OK(eum_cosine(stream, &config, NULL));
    OK(eum_context_operation_stats(context, EUM_OPERATION_COSINE, &stats));
    ck_assert_uint_eq(stats.last_predicted_ns[EUM_EXECUTOR_CPU], before * 4);
    uint16_t slow = ctx->learned.times[EUM_LEARNED_CPU][class];
    config.executor = EUM_EXECUTOR_DEVICE;
    OK(eum_cosine(stream, &config, NULL));
    OK(eum_stream_synchronize(stream));
    ck_assert_uint_lt(ctx->learned.times[EUM_LEARNED_CPU][class], slow);
    OK(eum_buffer_destroy(query));
    OK(eum_buffer_destroy(targets));
    OK(eum_buffer_destroy(scores));
    OK(eum_stream_destroy(stream));
    close_context(context);
}
END_TEST

/* Operations on a simulated device that teach, all the same. */
typedef struct lesson {
    eum_context *context;
    eum_ctx *ctx;
    eum_stream *stream;
    eum_buffer *query, *targets, *scores;
    eum_cosine_config config;
    uint32_t class;
} lesson;

#define LESSON_ROWS 128 /* some fewer are of the same class */
static float lesson_values[LESSON_ROWS * 16];

static void open_lesson(lesson *l, eum_role role)
{
    *l = (lesson){.context = open_on("sim:hopper", EUM_BACKING_MIRRORED), .config = EUM_COSINE_CONFIG_INIT};
    l->ctx = ctx_of(l->context);
    l->ctx->learned.from_operations = true;
    OK(eum_stream_create(l->context, NULL, &l->stream));
    for (size_t i = 0; i < LESSON_ROWS * 16; i++)
        lesson_values[i] = (float)(i % 7) + 1.0f;
    l->query = new_buffer(l->context, 16 * sizeof(float));
    l->targets = new_buffer(l->context, sizeof lesson_values);
    l->scores = new_buffer(l->context, LESSON_ROWS * sizeof(float));
    OK(eum_buffer_set_role(l->targets, role));
    OK(eum_buffer_write(whole(l->query), lesson_values));
    OK(eum_buffer_write(whole(l->targets), lesson_values));
    l->config.query = whole(l->query);
    l->config.targets = whole(l->targets);
    l->config.scores = whole(l->scores);
    l->config.rows = LESSON_ROWS;
    l->config.dim = 16;
    l->config.executor = EUM_EXECUTOR_DEVICE;
    l->class = eum_learned_class(1, false, sizeof lesson_values);
    OK(eum_cosine(l->stream, &l->config, NULL)); /* moves what it needs */
    OK(eum_stream_synchronize(l->stream));
}

static void close_lesson(lesson *l)
{
    OK(eum_buffer_destroy(l->query));
    OK(eum_buffer_destroy(l->targets));
    OK(eum_buffer_destroy(l->scores));
    OK(eum_stream_destroy(l->stream));
    close_context(l->context);
}

static uint32_t learned_of(const lesson *l, eum_learned_place place)
{
    return l->ctx->learned.times[place][l->class];
}

/* Each waited for at once; now and then one is over before its wait begins. */
static void score_until_learned(lesson *l, eum_learned_place place)
{
    for (int i = 0; i < 2000 && learned_of(l, place) == 0; i++) {
        eum_job job;
        OK(eum_cosine(l->stream, &l->config, &job));
        OK(eum_job_wait(job, -1));
    }
    ck_assert_uint_ne(learned_of(l, place), 0);
}

static uint64_t predicted_for_the_device(lesson *l)
{
    eum_operation_stats stats;
    eum_operation_stats_init(&stats);
    OK(eum_buffer_write(whole(l->query), lesson_values)); /* so that it is looked at, and has the same to move each time */
    OK(eum_cosine(l->stream, &l->config, NULL));
    OK(eum_stream_synchronize(l->stream));
    OK(eum_context_operation_stats(l->context, EUM_OPERATION_COSINE, &stats));
    return stats.last_predicted_ns[EUM_EXECUTOR_DEVICE];
}

START_TEST(what_the_device_took_is_in_the_next_prediction)
{
    static const struct {
        eum_role role;
        eum_learned_place place, other;
    } cases[] = {{EUM_ROLE_TARGETS, EUM_LEARNED_DEVICE, EUM_LEARNED_IN_PLACE},
                 {EUM_ROLE_STREAM, EUM_LEARNED_IN_PLACE, EUM_LEARNED_DEVICE}};
    lesson l;
    open_lesson(&l, cases[_i].role);
    score_until_learned(&l, cases[_i].place);
    ck_assert_uint_eq(learned_of(&l, cases[_i].other), 0);
    uint16_t *times = &l.ctx->learned.times[cases[_i].place][l.class];
    l.config.rows = LESSON_ROWS - 1; /* another call, of the same class */
    *times = 1024;
    uint64_t before = predicted_for_the_device(&l);
    l.config.rows = LESSON_ROWS - 2;
    *times = 4096;
    uint64_t after = predicted_for_the_device(&l);
    ck_assert_uint_ge(after, before * 5 / 2); /* results that move after the job are predicted as before */
    ck_assert_uint_le(after, before * 4);
    uint16_t slow = *times = 4096;
    l.config.executor = EUM_EXECUTOR_CPU; /* nobody sees whether the device still is so slow */
    OK(eum_cosine(l.stream, &l.config, NULL));
    ck_assert_uint_lt(*times, slow);
    close_lesson(&l);
}
END_TEST

START_TEST(an_end_is_seen_by_who_has_waited_for_a_good_part_of_it)
{
    ck_assert(eum_learned_saw_the_end(0, 1000, 20000));
    ck_assert(eum_learned_saw_the_end(5000, 5000, 6000));
    ck_assert(!eum_learned_saw_the_end(5000, 5000, 5999));    /* asking takes as long */
    ck_assert(!eum_learned_saw_the_end(0, 5000000, 5001300)); /* 5 ms of something else came first */
    ck_assert(!eum_learned_saw_the_end(6000, 5000, 20000));   /* the wait was for what was before it */
    ck_assert(eum_learned_saw_the_end(0, 60000, 80000));
    ck_assert(!eum_learned_saw_the_end(0, 60001, 80000));
}
END_TEST

START_TEST(what_waits_for_another_stream_teaches_nothing)
{
    lesson l;
    open_lesson(&l, EUM_ROLE_TARGETS);
    for (int i = 0; i < 100; i++) {
        eum_job job;
        gate g = GATE_INIT;
        launch1(default_stream(l.context), (work){.kind = WORK_FILL, .value = 0x3f800000, .gate = &g},
                overwrites(whole(l.targets)));
        await_gate(&g, 1);
        OK(eum_cosine(l.stream, &l.config, &job));
        open_gate(&g);
        OK(eum_job_wait(job, -1));
    }
    ck_assert_uint_eq(learned_of(&l, EUM_LEARNED_DEVICE), 0);
    close_lesson(&l);
}
END_TEST

START_TEST(what_the_device_had_others_in_front_of_or_to_move_teaches_nothing)
{
    lesson l;
    open_lesson(&l, EUM_ROLE_TARGETS);
    ck_assert_uint_eq(learned_of(&l, EUM_LEARNED_DEVICE), 0); /* the first had all to move */
    for (int i = 0; i < 300; i++) {
        eum_job job;
        l.config.rows = LESSON_ROWS;
        OK(eum_cosine(l.stream, &l.config, NULL));
        l.config.rows = LESSON_ROWS - 4;
        OK(eum_cosine(l.stream, &l.config, &job));
        OK(eum_job_wait(job, -1));
    }
    ck_assert_uint_eq(learned_of(&l, EUM_LEARNED_DEVICE), 0);
    close_lesson(&l);
}
END_TEST

Suite *learned_suite(void)
{
    Suite *suite = suite_create("learned");
    TCase *pure = tcase_create("functions"), *engine = tcase_create("engine");
    tcase_add_test(pure, a_faster_copy_moves_the_rate_half_the_way_and_a_slower_one_an_eighth);
    tcase_add_test(pure, whatever_copies_take_the_rates_stay_within_a_quarter_and_four_times_of_what_was_told);
    tcase_add_test(pure, defaults_that_were_not_seen_follow_what_was_and_measured_ones_do_not);
    tcase_add_test(pure, operations_of_one_size_and_kind_teach_nothing_of_others);
    tcase_add_test(pure, predictions_of_the_cpu_come_to_what_it_takes);
    tcase_add_test(pure, predictions_from_before_teach_the_same_as_new_ones);
    tcase_add_test(pure, what_made_the_cpu_slow_is_forgotten_while_the_device_works_and_what_made_it_fast_is_not);
    tcase_add_test(pure, from_how_many_rows_the_device_pays_has_in_it_what_was_learned_of_the_cpu);
    tcase_add_test(engine, writes_and_reads_of_pinned_memory_correct_what_the_link_was_told_to_do);
    tcase_add_test(engine, small_copies_and_those_of_pageable_memory_teach_nothing);
    tcase_add_test(engine, what_the_cpu_took_is_in_the_next_prediction);
    tcase_add_loop_test(engine, what_the_device_took_is_in_the_next_prediction, 0, 2);
    tcase_add_test(pure, an_end_is_seen_by_who_has_waited_for_a_good_part_of_it);
    tcase_add_test(engine, what_waits_for_another_stream_teaches_nothing);
    tcase_add_test(engine, what_the_device_had_others_in_front_of_or_to_move_teaches_nothing);
    suite_add_tcase(suite, pure);
    suite_add_tcase(suite, engine);
    return suite;
}
