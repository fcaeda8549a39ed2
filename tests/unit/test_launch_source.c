/* Launches whose input is in memory of the caller's: what kernels are told, what becomes of the results, and that chunks move while kernels work.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "source_fixture.h"

Suite *launch_source_suite(void);

/* So little room that chunks are as small as they get. */
#define SMALL (1 * MIB)
#define SMALL_CHUNK (256 * KIB)

static void run_rows(eum_context *context, const rows *r, const operands *o, told *t)
{
    eum_job job = {NULL, 0, 0};
    OK(stream_rows(default_stream(context), r, o, t, &job));
    ck_assert_ptr_eq(job.context, context);
    wait_job(job);
    ck_assert(!t->confused);
}

/* ------------------------------------------------------------------------------------------ what kernels are told --- */

/* All rows, once, in order, in chunks of equal size, aligned as they are in the array. */
static void expect_calls(int place, const rows *r, const told *t, size_t most)
{
    uint64_t next = 0;
    for (uint32_t n = 0; n < t->calls; n++) {
        ck_assert_uint_eq(t->first[n], next);
        ck_assert_uint_le(t->count[n], t->count[0]);
        ck_assert(n + 1 == t->calls || t->count[n] == t->count[0]);
        ck_assert(place == 0 || t->count[n] == 1 || t->count[n] * r->bytes <= most);
        const char *there = r->at + next * r->bytes;
        if (place == 0)
            ck_assert_ptr_eq(t->source[n], there);
        else
            ck_assert_uint_eq((uintptr_t)t->source[n] % 256, (uintptr_t)there % 256);
        next += t->count[n];
    }
    ck_assert_uint_eq(next, r->count);
    if (place == 0)
        ck_assert_uint_eq(t->calls, 1);
}

START_TEST(all_rows_are_handed_over_once_in_order_in_chunks_of_equal_size)
{
    static const struct {
        size_t bytes, skew;
        uint64_t count;
    } shapes[] = {{1, 0, 700001}, {3, 1, 400000},      {16, 16, 70000},   {1000, 4, 1300},
                  {4096, 0, 300}, {200 * KIB, 250, 7}, {300 * KIB, 8, 3}, {8, 0, 5}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        rows r = make_rows(shapes[i].count, shapes[i].bytes, shapes[i].skew, (uint32_t)i);
        const bool managed = places[_i].backing == EUM_BACKING_MANAGED; /* whose results count in the budget */
        eum_context *context = open_place(_i, managed ? SMALL + 8 * shapes[i].count : SMALL);
        operands o = make_operands(context, &r, EUM_ROLE_AUTO);
        told *t = new_told();
        run_rows(context, &r, &o, t);
        expect_calls(_i, &r, t, SMALL_CHUNK * 4);
        expect_hashes(&r, &o, t);
        if (_i != 0 && r.count > 5)
            ck_assert_uint_gt(t->calls, 1);
        end_operands(&o);
        free(t);
        free_rows(&r);
        close_context(context);
    }
}
END_TEST

START_TEST(with_room_a_chunk_is_a_quarter_of_the_rows_within_4_and_16_mib)
{
    static const struct {
        size_t mib;
        uint32_t least, most; /* calls */
    } sizes[] = {{1, 1, 1}, {3, 1, 1}, {9, 3, 3}, {40, 4, 5}, {80, 5, 6}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        rows r = make_rows(sizes[i].mib * MIB / 1024, 1024, 0, 1);
        eum_context *context = open_place(1 + _i, 0);
        operands o = make_operands(context, &r, EUM_ROLE_AUTO);
        told *t = new_told();
        run_rows(context, &r, &o, t);
        ck_assert_uint_ge(t->calls, sizes[i].least);
        ck_assert_uint_le(t->calls, sizes[i].most);
        expect_calls(1 + _i, &r, t, 16 * MIB);
        expect_hashes(&r, &o, t);
        end_operands(&o);
        free(t);
        free_rows(&r);
        close_context(context);
    }
}
END_TEST

START_TEST(a_row_larger_than_a_chunk_is_a_chunk_by_itself)
{
    rows r = make_rows(4, 17 * MIB + 12, 4, 3);
    eum_context *context = open_place(_i, 0);
    operands o = make_operands(context, &r, EUM_ROLE_AUTO);
    told *t = new_told();
    run_rows(context, &r, &o, t);
    ck_assert_uint_eq(t->calls, _i == 0 ? 1 : 4);
    expect_calls(_i, &r, t, 0);
    expect_hashes(&r, &o, t);
    end_operands(&o);
    free(t);
    free_rows(&r);
    close_context(context);
}
END_TEST

START_TEST(of_no_rows_there_is_one_call_so_that_results_are_written)
{
    for (int given = 0; given < 2; given++) {
        rows r = make_rows(0, 100, 0, 3);
        char *at = r.at;
        r.at = given ? at : NULL;
        eum_context *context = open_place(_i, 0);
        operands o = make_operands(context, &r, EUM_ROLE_AUTO);
        told *t = new_told();
        cpu_fill(whole(o.totals), 9);
        run_rows(context, &r, &o, t);
        ck_assert_uint_eq(t->calls, 1);
        ck_assert_ptr_null(t->source[0]);
        expect_hashes(&r, &o, t);
        end_operands(&o);
        free(t);
        free(r.memory);
        close_context(context);
    }
}
END_TEST

START_TEST(a_kernel_may_have_no_other_input_and_no_results)
{
    rows r = make_rows(1000, 1000, 0, 4);
    eum_context *context = open_place(_i, SMALL);
    told *t = new_told();
    t->row_bytes = r.bytes;
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.cpu = hash_kernel;
    config.user = t;
    config.host_source = r.at;
    config.source_rows = r.count;
    config.source_row_bytes = r.bytes;
    eum_job job;
    OK(eum_launch(default_stream(context), &config, &job));
    wait_job(job);
    ck_assert(!t->confused);
    expect_calls(_i, &r, t, SMALL_CHUNK);
    t->calls = 0;
    t->fail_at = 1; /* nothing else tells those behind it */
    OK(eum_launch(default_stream(context), &config, &job));
    GIVES(EUM_ERROR_JOB_FAILED, eum_job_wait(job, -1));
    ck_assert_uint_eq(t->calls, 1);
    free(t);
    free_rows(&r);
    close_context(context);
}
END_TEST

START_TEST(params_are_the_same_in_each_call)
{
    rows r = make_rows(1000, 1000, 0, 4);
    eum_context *context = open_place(_i, SMALL);
    eum_buffer *buffer = new_buffer(context, 6000);
    atomic_int ran = 0;
    work w = {.kind = WORK_ADD, .value = 3, .ran = &ran};
    const eum_argument argument = updates(part(buffer, 1000, 4000));
    cpu_fill(whole(buffer), 8);
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.cpu = do_work;
    config.arguments = &argument;
    config.argument_count = 1;
    config.params = &w;
    config.params_bytes = sizeof w;
    config.host_source = r.at;
    config.source_rows = r.count;
    config.source_row_bytes = r.bytes;
    eum_job job;
    OK(eum_launch(default_stream(context), &config, &job));
    w = (work){0};
    wait_job(job);
    const uint32_t calls = (uint32_t)atomic_load(&ran);
    ck_assert_uint_eq(calls, _i == 0 ? 1 : 4);
    const uint32_t *words = map(whole(buffer), EUM_ACCESS_READ);
    for (size_t i = 0; i < 1500; i++)
        ck_assert_uint_eq(words[i], word_at(8, i) + (i >= 250 && i < 1250 ? 3 * calls : 0));
    unmap(buffer, (void *)(uintptr_t)words);
    OK(eum_buffer_destroy(buffer));
    free_rows(&r);
    close_context(context);
}
END_TEST

/* -------------------------------------------------------------------------------------------------------- results ---- */

static const eum_role roles[] = {EUM_ROLE_AUTO, EUM_ROLE_QUERY, EUM_ROLE_TARGETS, EUM_ROLE_RESULTS, EUM_ROLE_STREAM};

/* Results of 400 bytes, and of 12 MB: those are written on the device, whatever the role. */
START_TEST(what_the_first_chunks_have_written_is_there_behind_the_last)
{
    for (size_t i = 0; i < 4 * sizeof roles / sizeof *roles; i++) {
        const bool large = i % 2 == 1, once = i / 2 % 2 == 1;
        rows r = make_rows(large ? 3000000 : 100, large ? 8 : 100000, 0, (uint32_t)i);
        eum_context *context = open_place(_i, 0);
        operands o = make_operands(context, &r, roles[i / 4]);
        o.flags = once ? EUM_ARGUMENT_ONCE : 0;
        told *t = new_told();
        for (int round = 0; round < 3; round++) {
            t->calls = 0;
            if (round == 1)
                cpu_fill(whole(o.hashes), 7); /* worthless bytes where the CPU has them, */
            if (round == 2)
                gpu_fill(default_stream(context), whole(o.hashes), 8); /* and where kernels have */
            run_rows(context, &r, &o, t);
            ck_assert(_i == 0 || t->calls >= 3);
            if (round == 1)
                gpu_expect(default_stream(context), whole(o.weights), WEIGHTS_SEED);
            expect_hashes(&r, &o, t);
        }
        end_operands(&o);
        free(t);
        free_rows(&r);
        close_context(context);
    }
}
END_TEST

/* Used over the link until that has cost as much as moving, the results get another address in the middle of the launch. */
START_TEST(they_are_there_when_an_argument_moves_between_chunks)
{
    rows r = make_rows(9000, 2048, 0, 2);
    eum_context *context = open_place(_i, 2 * MIB);
    operands o = make_operands(context, &r, EUM_ROLE_AUTO);
    bool moved = false;
    o.flags = EUM_ARGUMENT_ONCE;
    told *t = new_told();
    cpu_fill(whole(o.hashes), 7);
    run_rows(context, &r, &o, t);
    ck_assert_uint_gt(t->calls, 50);
    for (uint32_t n = 1; n < t->calls; n++)
        moved |= t->addresses[n][1] != t->addresses[0][1];
    ck_assert(moved || places[_i].backing != EUM_BACKING_MIRRORED);
    expect_hashes(&r, &o, t);
    end_operands(&o);
    free(t);
    free_rows(&r);
    close_context(context);
}
END_TEST

START_TEST(bytes_beside_the_views_stay)
{
    rows r = make_rows(3000, 512, 0, 2);
    eum_context *context = open_place(_i, SMALL);
    eum_buffer *buffer = new_buffer(context, 100000), *weights = new_buffer(context, WORD);
    told *t = new_told();
    cpu_fill(whole(buffer), 3);
    cpu_fill(whole(weights), 0);
    const eum_argument arguments[2] = {reads(whole(weights)), overwrites(part(buffer, 20000, 12000))};
    t->row_bytes = r.bytes;
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.cpu = hash_kernel;
    config.arguments = arguments;
    config.argument_count = 2;
    config.user = t;
    config.host_source = r.at;
    config.source_rows = r.count;
    config.source_row_bytes = r.bytes;
    OK(eum_launch(default_stream(context), &config, NULL));
    const uint32_t *words = map(whole(buffer), EUM_ACCESS_READ);
    for (size_t i = 0; i < 25000; i++) {
        bool row = i >= 5000 && i < 8000;
        ck_assert_uint_eq(words[i], row ? hash_row(r.at + (i - 5000) * r.bytes, r.bytes, word_at(0, 0)) : word_at(3, i));
    }
    unmap(buffer, (void *)(uintptr_t)words);
    OK(eum_buffer_destroy(buffer));
    OK(eum_buffer_destroy(weights));
    free(t);
    free_rows(&r);
    close_context(context);
}
END_TEST

START_TEST(little_room_for_results_or_for_stages_changes_nothing)
{
    static const uint64_t budgets[] = {600 * KIB, 1200 * KIB, 1500 * KIB, 2500 * KIB};
    rows r = make_rows(250000, 8, 0, 6); /* a megabyte of results, and of managed memory whole pages */
    for (size_t i = 0; i < sizeof budgets / sizeof *budgets; i++) {
        if (places[_i].backing == EUM_BACKING_MANAGED && budgets[i] < 1500 * KIB)
            continue; /* the buffers themselves find none */
        eum_context *context = open_place(_i, budgets[i]);
        operands o = make_operands(context, &r, EUM_ROLE_TARGETS);
        told *t = new_told();
        run_rows(context, &r, &o, t);
        ck_assert(_i == 0 || t->calls > 3);
        expect_hashes(&r, &o, t);
        if (_i != 0)
            ck_assert_uint_le(info_of(context).budget_used, budgets[i]);
        end_operands(&o);
        free(t);
        close_context(context);
    }
    free_rows(&r);
}
END_TEST

START_TEST(registered_and_pinned_sources_give_the_same)
{
    for (int registered = 0; registered < 2; registered++) {
        rows r = make_rows(9000, 1024, 0, 7);
        eum_context *context = open_place(_i, 0);
        operands o = make_operands(context, &r, EUM_ROLE_RESULTS);
        eum_buffer *holder = NULL;
        char *memory = r.memory;
        if (registered) {
            eum_wrap_config config = EUM_WRAP_CONFIG_INIT;
            config.address = r.at;
            config.bytes = (size_t)r.count * r.bytes;
            config.flags = EUM_WRAP_REGISTER;
            OK(eum_buffer_wrap(context, &config, &holder));
        } else { /* the library's own */
            eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
            config.backing = _i == 0 ? EUM_BACKING_AUTO : EUM_BACKING_MAPPED;
            OK(eum_buffer_create(context, (size_t)r.count * r.bytes, &config, &holder));
            char *there = map(whole(holder), EUM_ACCESS_OVERWRITE);
            memcpy(there, r.at, (size_t)r.count * r.bytes);
            r.at = there;
        }
        told *t = new_told();
        run_rows(context, &r, &o, t);
        ck_assert_uint_eq(t->calls, _i == 0 ? 1 : 3);
        expect_hashes(&r, &o, t);
        if (!registered)
            unmap(holder, r.at);
        OK(eum_buffer_destroy(holder));
        end_operands(&o);
        free(t);
        free(memory);
        close_context(context);
    }
}
END_TEST

/* Nothing is known again of a launch whose input may be another one: the array is read each time. */
START_TEST(the_same_launch_with_other_rows_in_the_array_has_other_results)
{
    rows r = make_rows(100, 1000, 0, 1);
    eum_context *context = open_place(_i, 0);
    operands o = make_operands(context, &r, EUM_ROLE_AUTO);
    told *t = new_told();
    uint64_t before = ctx_of(context)->again->repeated;
    for (int round = 0; round < 5; round++) {
        memset(r.at, 10 + round, 1000 * 50);
        t->calls = 0;
        run_rows(context, &r, &o, t);
        expect_hashes(&r, &o, t);
    }
    for (int round = 0; round < 3; round++) { /* nor with nothing in between */
        memset(r.at, 20 + round, 1000 * 50);
        t->calls = 0;
        run_rows(context, &r, &o, t);
    }
    expect_hashes(&r, &o, t);
    ck_assert_uint_eq(ctx_of(context)->again->repeated, before);
    end_operands(&o);
    free(t);
    free_rows(&r);
    close_context(context);
}
END_TEST

START_TEST(a_caller_that_does_not_know_of_it_has_none)
{
    rows r = make_rows(10, 10, 0, 1);
    eum_context *context = open_place(_i, 0);
    told *t = new_told();
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.struct_size = offsetof(eum_launch_config, host_source);
    config.cpu = hash_kernel;
    config.user = t;
    config.host_source = (const void *)(uintptr_t)7; /* what lies behind its struct */
    config.source_rows = 7;
    OK(eum_launch(default_stream(context), &config, NULL));
    OK(eum_stream_synchronize(default_stream(context)));
    ck_assert(!t->confused);
    ck_assert_uint_eq(t->calls, 1);
    ck_assert_uint_eq(t->count[0], 0);
    free(t);
    free_rows(&r);
    close_context(context);
}
END_TEST

/* ------------------------------------------------------------------------------------------- what moves meanwhile --- */

/* Until the condition holds; a library that does things in turn never gets there. */
#define AWAIT(condition)                                                                                                           \
    do {                                                                                                                           \
        for (int tries = 0; !(condition) && tries < 5000; tries++)                                                                 \
            sleep_ms(1);                                                                                                           \
        ck_assert(condition);                                                                                                      \
    } while (0)

typedef struct passing {
    pending p;
    eum_stream *stream;
    const rows *r;
    const operands *o;
    told *t;
    eum_job job;
} passing;

static eum_status call_stream_rows(pending *p)
{
    passing *s = (passing *)p;
    return stream_rows(s->stream, s->r, s->o, s->t, &s->job);
}

static uint64_t copied_to_device(eum_context *context)
{
    eum_sim_counters now;
    ck_assert(eum_sim_counters_get(device_of(context), &now));
    return now.bytes_copied[EUM_HOST_TO_DEVICE];
}

START_TEST(the_next_chunks_move_while_the_kernel_works_on_the_first)
{
    const int place = 1 + _i;
    rows r = make_rows(20 * KIB, 1024, 0, 1); /* four chunks */
    eum_context *context = open_place(place, 0);
    operands o = make_operands(context, &r, EUM_ROLE_RESULTS);
    gate g = GATE_INIT;
    told *t = new_told();
    t->gate = &g;
    t->gate_at = 1;
    passing s = {.stream = new_stream(context), .r = &r, .o = &o, .t = t};
    const uint64_t before = copied_to_device(context);
    start(&s.p, call_stream_rows);
    await_gate(&g, 1);
    const uint64_t chunk = t->count[0] * r.bytes;
    AWAIT(copied_to_device(context) - before >= 3 * chunk); /* the kernel has the first one, and nothing else of it has run */
    ck_assert_uint_eq(t->calls, 1);
    ck_assert(!atomic_load(&s.p.done)); /* the fourth waits for its stage */
    open_gate(&g);
    OK(finish(&s.p));
    wait_job(s.job);
    ck_assert_uint_eq(t->calls, 4);
    expect_hashes(&r, &o, t);
    OK(eum_stream_destroy(s.stream));
    end_operands(&o);
    free(t);
    free_rows(&r);
    close_context(context);
}
END_TEST

/* By the virtual clock: a kernel takes about as long as its chunk's way, because it reads as much over the link. */
START_TEST(all_together_takes_little_longer_than_the_longer_of_the_two)
{
    static const char *const devices[] = {"sim:pascal,schedule=step", "sim:ampere,schedule=step", "sim:hopper,schedule=step"};
    rows r = make_rows(64 * KIB, 1024, 0, 1); /* 64 MiB: five chunks */
    eum_context *context = open_on(devices[_i], EUM_BACKING_MIRRORED);
    eum_device *device = device_of(context);
    eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
    eum_buffer *chunk = new_buffer(context, 16 * MIB);
    operands o = make_operands(context, &r, EUM_ROLE_RESULTS);
    OK(eum_buffer_destroy(o.weights));
    config.backing = EUM_BACKING_MAPPED;
    OK(eum_buffer_create(context, 15 * MIB, &config, &o.weights));
    cpu_fill(whole(o.weights), WEIGHTS_SEED);
    told *t = new_told();
    run_rows(context, &r, &o, t); /* the first time, memory is allocated */
    t->calls = 0;
    uint64_t begin = eum_sim_time(device);
    run_rows(context, &r, &o, t);
    const uint64_t streamed = eum_sim_time(device) - begin, calls = t->calls;
    expect_hashes(&r, &o, t);
    uint64_t moves = 0, works = 0;
    for (uint64_t i = 0; i < calls; i++) { /* one after the other */
        cpu_fill(whole(chunk), 1);
        begin = eum_sim_time(device);
        gpu_expect(default_stream(context), whole(chunk), 1);
        moves += eum_sim_time(device) - begin;
        begin = eum_sim_time(device);
        gpu_expect(default_stream(context), whole(o.weights), WEIGHTS_SEED);
        works += eum_sim_time(device) - begin;
    }
    const uint64_t longer = moves > works ? moves : works;
    ck_assert_uint_gt(calls, 3);
    ck_assert_msg(streamed < longer + (moves + works) / calls, "%llu ns; one after the other: %llu to move, %llu to work",
                  (unsigned long long)streamed, (unsigned long long)moves, (unsigned long long)works);
    OK(eum_buffer_destroy(chunk));
    end_operands(&o);
    free(t);
    free_rows(&r);
    close_context(context);
}
END_TEST

START_TEST(on_the_host_the_call_does_not_wait_and_the_kernel_reads_the_array_when_it_runs)
{
    rows r = make_rows(1000, 100, 0, 1);
    eum_context *context = open_place(0, 0);
    operands o = make_operands(context, &r, EUM_ROLE_AUTO);
    gate g = GATE_INIT;
    told *t = new_told();
    t->gate = &g;
    t->gate_at = 1;
    eum_job job;
    OK(stream_rows(default_stream(context), &r, &o, t, &job));
    GIVES(EUM_ERROR_TIMEOUT, eum_job_wait(job, 0));
    await_gate(&g, 1);
    memset(r.at, 1, 5000); /* as nobody should; it shows that there is no copy */
    open_gate(&g);
    wait_job(job);
    expect_hashes(&r, &o, t);
    end_operands(&o);
    free(t);
    free_rows(&r);
    close_context(context);
}
END_TEST

START_TEST(on_a_device_it_returns_with_the_last_kernels_in_flight_and_the_array_read)
{
    rows r = make_rows(1000, 100, 0, 1);
    eum_context *context = open_place(1 + _i, 0);
    operands o = make_operands(context, &r, EUM_ROLE_RESULTS);
    gate g = GATE_INIT;
    told *t = new_told();
    t->gate = &g;
    t->gate_at = 1;
    eum_job job;
    OK(stream_rows(default_stream(context), &r, &o, t, &job));
    await_gate(&g, 1);
    GIVES(EUM_ERROR_TIMEOUT, eum_job_wait(job, 0));
    open_gate(&g);
    wait_job(job);
    expect_hashes(&r, &o, t);
    end_operands(&o);
    free(t);
    free_rows(&r);
    close_context(context);
}
END_TEST

START_TEST(staging_memory_is_allocated_once_and_all_calls_are_one_launch)
{
    rows r = make_rows(9000, 1024, 0, 7);
    eum_context *context = open_place(_i, 0);
    operands o = make_operands(context, &r, EUM_ROLE_RESULTS);
    told *t = new_told();
    eum_stats before = stats_of(context);
    for (int round = 0; round < 5; round++) {
        t->calls = 0;
        run_rows(context, &r, &o, t);
        eum_stats now = stats_of(context);
        for (int kind = 1; kind < EUM_MEMORY_KINDS && round > 1; kind++)
            ck_assert_uint_eq(now.raw_allocations[kind], before.raw_allocations[kind]);
        ck_assert_uint_eq(now.buffers_live, 3);
        ck_assert_uint_eq(now.launches - before.launches, 1);
        ck_assert_uint_eq(explain(o.hashes).launches, (uint64_t)round + 1);
        ck_assert_int_eq(explain(o.hashes).contradiction, EUM_CONTRADICTION_NONE);
        before = now;
        expect_hashes(&r, &o, t);
    }
    end_operands(&o);
    free(t);
    free_rows(&r);
    close_context(context);
}
END_TEST

Suite *launch_source_suite(void)
{
    Suite *suite = suite_create("launch_source");
    TCase *tests = tcase_create("launch_source");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, all_rows_are_handed_over_once_in_order_in_chunks_of_equal_size, 0, PLACES);
    tcase_add_loop_test(tests, with_room_a_chunk_is_a_quarter_of_the_rows_within_4_and_16_mib, 0, PLACES - 1);
    tcase_add_loop_test(tests, a_row_larger_than_a_chunk_is_a_chunk_by_itself, 0, PLACES);
    tcase_add_loop_test(tests, of_no_rows_there_is_one_call_so_that_results_are_written, 0, PLACES);
    tcase_add_loop_test(tests, a_kernel_may_have_no_other_input_and_no_results, 0, PLACES);
    tcase_add_loop_test(tests, params_are_the_same_in_each_call, 0, PLACES);
    tcase_add_loop_test(tests, what_the_first_chunks_have_written_is_there_behind_the_last, 0, PLACES);
    tcase_add_loop_test(tests, they_are_there_when_an_argument_moves_between_chunks, 1, PLACES);
    tcase_add_loop_test(tests, bytes_beside_the_views_stay, 0, PLACES);
    tcase_add_loop_test(tests, little_room_for_results_or_for_stages_changes_nothing, 0, PLACES);
    tcase_add_loop_test(tests, registered_and_pinned_sources_give_the_same, 0, PLACES);
    tcase_add_loop_test(tests, the_same_launch_with_other_rows_in_the_array_has_other_results, 0, PLACES);
    tcase_add_loop_test(tests, a_caller_that_does_not_know_of_it_has_none, 0, PLACES);
    tcase_add_loop_test(tests, the_next_chunks_move_while_the_kernel_works_on_the_first, 0, PLACES - 1);
    tcase_add_loop_test(tests, all_together_takes_little_longer_than_the_longer_of_the_two, 0, 3);
    tcase_add_test(tests, on_the_host_the_call_does_not_wait_and_the_kernel_reads_the_array_when_it_runs);
    tcase_add_loop_test(tests, on_a_device_it_returns_with_the_last_kernels_in_flight_and_the_array_read, 0, PLACES - 1);
    tcase_add_loop_test(tests, staging_memory_is_allocated_once_and_all_calls_are_one_launch, 0, PLACES);
    suite_add_tcase(suite, tests);
    return suite;
}
