/* Roles that say something else than is done with the buffer: the rules alone, and on simulated devices what is done about it, what the log hears
 * and what explain says.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "contradiction.h"

#include "engine.h"

Suite *contradiction_suite(void);

#define CYCLES EUM_CONTRADICTION_CYCLES
#define BYTES ((uint64_t)3 << 20)

/* --------------------------------------------------------------------------------------------------- the rules ----- */

/* `uses` of the whole buffer by kernels, each with this cost over the link where moving costs 100, and then a rewrite of it all. */
static bool cycle(eum_habit *habit, eum_role role, int uses, uint64_t far_ns)
{
    bool first = false;
    for (int use = 0; use < uses; use++)
        first |= eum_habit_used(habit, role, &(eum_habit_use){BYTES, EUM_ACCESS_READ, far_ns, 100});
    eum_habit_host_looked(habit);
    return first | eum_habit_rewritten(habit, role, BYTES);
}

static const struct {
    eum_role role;
    eum_contradiction contradiction;
    int uses_against, uses_agreeing;
    uint64_t far_ns;
} rules[] = {
    {EUM_ROLE_QUERY, EUM_CONTRADICTION_QUERY_REWRITTEN, 1, 2, 0},
    {EUM_ROLE_TARGETS, EUM_CONTRADICTION_TARGETS_REWRITTEN, 1, 2, 0},
    {EUM_ROLE_STREAM, EUM_CONTRADICTION_STREAM_REUSED, 3, 1, 70},
};
#define RULES ((int)(sizeof rules / sizeof rules[0]))

START_TEST(three_cycles_in_a_row_contradict_and_three_in_a_row_end_it)
{
    eum_habit habit = {0};
    eum_role role = rules[_i].role;
    int against = rules[_i].uses_against, agreeing = rules[_i].uses_agreeing;
    ck_assert(!eum_habit_rewritten(&habit, role, BYTES)); /* the first of all ends nothing */
    for (int i = 0; i < CYCLES - 1; i++)
        ck_assert(!cycle(&habit, role, against, rules[_i].far_ns));
    ck_assert(!cycle(&habit, role, agreeing, rules[_i].far_ns)); /* and the count begins anew */
    for (int i = 0; i < CYCLES - 1; i++) {
        ck_assert(!cycle(&habit, role, against, rules[_i].far_ns));
        ck_assert_int_eq(habit.contradiction, EUM_CONTRADICTION_NONE);
    }
    ck_assert(cycle(&habit, role, against, rules[_i].far_ns));
    for (int i = 0; i < CYCLES - 1; i++) {
        ck_assert_int_eq(habit.contradiction, rules[_i].contradiction);
        ck_assert(!cycle(&habit, role, agreeing, rules[_i].far_ns));
    }
    ck_assert_int_eq(habit.contradiction, rules[_i].contradiction);
    ck_assert(!cycle(&habit, role, agreeing, rules[_i].far_ns));
    ck_assert_int_eq(habit.contradiction, EUM_CONTRADICTION_NONE);
    for (int i = 0; i < CYCLES; i++)
        ck_assert(!cycle(&habit, role, against, rules[_i].far_ns)); /* it is there again, and was heard of before */
    ck_assert_int_eq(habit.contradiction, rules[_i].contradiction);
}
END_TEST

START_TEST(parts_that_are_each_used_once_count_as_one_use)
{
    eum_habit habit = {0};
    (void)eum_habit_rewritten(&habit, EUM_ROLE_QUERY, BYTES);
    for (int i = 0; i < CYCLES; i++) {
        for (int quarter = 0; quarter < 4; quarter++)
            (void)eum_habit_used(&habit, EUM_ROLE_QUERY, &(eum_habit_use){BYTES / 4, EUM_ACCESS_READ, 0, 100});
        ck_assert_int_eq(eum_habit_rewritten(&habit, EUM_ROLE_QUERY, BYTES), i == CYCLES - 1);
    }
}
END_TEST

START_TEST(rewrites_without_a_use_say_nothing)
{
    eum_habit habit = {0};
    for (int i = 0; i < 10; i++)
        ck_assert(!eum_habit_rewritten(&habit, EUM_ROLE_TARGETS, BYTES));
    ck_assert_int_eq(habit.against + habit.agreeing, 0);
}
END_TEST

START_TEST(who_is_rewritten_no_more_agrees_without_that_the_cycle_ends)
{
    eum_habit habit = {0};
    (void)eum_habit_rewritten(&habit, EUM_ROLE_QUERY, BYTES);
    for (int i = 0; i < CYCLES; i++)
        (void)cycle(&habit, EUM_ROLE_QUERY, 1, 0);
    for (int use = 0; use < CYCLES; use++) {
        (void)eum_habit_used(&habit, EUM_ROLE_QUERY, &(eum_habit_use){BYTES, EUM_ACCESS_READ, 0, 100});
        ck_assert_int_eq(habit.contradiction, EUM_CONTRADICTION_QUERY_REWRITTEN);
    }
    (void)eum_habit_used(&habit, EUM_ROLE_QUERY, &(eum_habit_use){BYTES, EUM_ACCESS_READ, 0, 100});
    ck_assert_int_eq(habit.contradiction, EUM_CONTRADICTION_NONE);
}
END_TEST

START_TEST(a_stream_that_costs_less_than_twice_the_movement_is_none_that_is_reused)
{
    eum_habit habit = {0};
    (void)eum_habit_rewritten(&habit, EUM_ROLE_STREAM, BYTES);
    for (int i = 0; i < 10; i++)
        ck_assert(!cycle(&habit, EUM_ROLE_STREAM, 2, 100));
    bool first = false; /* and one that is not rewritten any more is, after three times that */
    for (int use = 1; use <= 3 * CYCLES; use++) {
        first = eum_habit_used(&habit, EUM_ROLE_STREAM, &(eum_habit_use){BYTES, EUM_ACCESS_READ, 100, 100});
        ck_assert_int_eq(first, use == 3 * CYCLES);
    }
}
END_TEST

/* A kernel writes the results, `reads` kernels read them, and perhaps the CPU does. */
static bool result_cycle(eum_habit *habit, int reads, bool host)
{
    bool first = eum_habit_used(habit, EUM_ROLE_RESULTS, &(eum_habit_use){BYTES, EUM_ACCESS_OVERWRITE, 0, 100});
    for (int i = 0; i < reads; i++)
        first |= eum_habit_used(habit, EUM_ROLE_RESULTS, &(eum_habit_use){BYTES, EUM_ACCESS_READ, 0, 100});
    if (host)
        eum_habit_host_looked(habit);
    return first;
}

START_TEST(results_that_kernels_read_and_the_cpu_does_not_are_none)
{
    for (int reads = 0; reads <= 2; reads++) {
        for (int host = 0; host <= 1; host++) {
            eum_habit habit = {0};
            for (int i = 0; i < CYCLES + 1; i++)
                (void)result_cycle(&habit, reads, host != 0);
            bool against = reads == 2 || (reads == 1 && host == 0);
            ck_assert_int_eq(habit.contradiction, against ? EUM_CONTRADICTION_RESULTS_REREAD : EUM_CONTRADICTION_NONE);
            for (int i = 0; i < CYCLES + 1; i++)
                (void)result_cycle(&habit, 0, true);
            ck_assert_int_eq(habit.contradiction, EUM_CONTRADICTION_NONE);
        }
    }
}
END_TEST

START_TEST(results_that_nobody_looks_at_are_told_of_after_64)
{
    eum_habit habit = {0};
    for (int i = 1; i <= 200; i++)
        ck_assert_int_eq(result_cycle(&habit, 0, false), i == 64);
    habit = (eum_habit){0};
    for (int i = 1; i <= 200; i++)
        ck_assert(!result_cycle(&habit, 0, i % 60 == 0));
}
END_TEST

/* ----------------------------------------------------------------------------------------- on simulated devices ---- */

static const struct {
    const char *device;
    eum_backing backing;
} places[] = {{"sim:pascal", EUM_BACKING_MANAGED}, {"sim:hopper", EUM_BACKING_MANAGED}, {"sim:hopper", EUM_BACKING_MIRRORED}};
#define MANAGED_PLACES 2
#define PLACES ((int)(sizeof places / sizeof places[0]))

typedef struct heard {
    int warnings;
    char last[512];
} heard;

static void hear(void *user, eum_log_level level, const char *message)
{
    heard *h = user;
    if (level == EUM_LOG_ERROR)
        hear_errors(NULL, level, message);
    if (level != EUM_LOG_WARN)
        return;
    h->warnings++;
    snprintf(h->last, sizeof h->last, "%s", message);
}

static eum_context *open_hearing(int place, heard *h)
{
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    config.device = places[place].device;
    config.backing = places[place].backing;
    config.worker_threads = 2;
    config.log_fn = hear;
    config.log_user = h;
    config.log_level = EUM_LOG_WARN;
    return open_with(&config);
}

/* The CPU rewrites the buffer, and kernels read it so often. Gives the virtual time. */
static uint64_t rewrite_and_use(eum_context *context, eum_buffer *buffer, uint32_t seed, int uses)
{
    uint64_t start = eum_sim_time(device_of(context));
    cpu_fill(whole(buffer), seed);
    for (int use = 0; use < uses; use++)
        gpu_expect(default_stream(context), whole(buffer), seed);
    return eum_sim_time(device_of(context)) - start;
}

static void expect_told(const heard *h, eum_buffer *buffer, const char *role, eum_contradiction contradiction)
{
    char text[4096];
    eum_decision decision = explain(buffer);
    ck_assert_int_eq(decision.contradiction, contradiction);
    OK(eum_decision_text(&decision, text, sizeof text, NULL));
    ck_assert_msg((strstr(text, "contradicts") != NULL) == (contradiction != EUM_CONTRADICTION_NONE), "%s", text);
    ck_assert_int_eq(h->warnings, 1);
    ck_assert_msg(strstr(h->last, role) != NULL && strstr(h->last, "would suit") != NULL, "%s", h->last);
}

START_TEST(a_rewritten_query_pays_what_auto_pays_once_it_is_known_as_one)
{
    heard h = {0};
    eum_context *context = open_hearing(_i, &h);
    const size_t sizes[] = {3 * MIB, 8 * MIB};
    for (int s = 0; s < 2; s++) {
        eum_buffer *query = new_buffer_as(context, sizes[s], EUM_ROLE_QUERY), *other = new_buffer(context, sizes[s]);
        h.warnings = 0;
        const eum_costs *costs = &device_of(context)->caps.costs;
        for (uint32_t round = 0; round < 12; round++) {
            uint64_t honoured = rewrite_and_use(context, query, round, 1), by_cost = rewrite_and_use(context, other, round, 1);
            eum_movement movement = explain(query).last_movement;
            if (round < CYCLES) {
                ck_assert_int_eq(movement, EUM_MOVEMENT_DUPLICATE); /* the role is honoured first */
                ck_assert_int_eq(h.warnings, 0);
                continue;
            }
            ck_assert_int_eq(movement, EUM_MOVEMENT_PREFETCH);
            expect_told(&h, query, "EUM_ROLE_QUERY", EUM_CONTRADICTION_QUERY_REWRITTEN);
            if (round == CYCLES)
                continue; /* the last copies have collapsed */
            ck_assert_msg(honoured <= by_cost + costs->prefetch_ns, "round %u: %llu ns, and EUM_ROLE_AUTO %llu", round,
                          (unsigned long long)honoured, (unsigned long long)by_cost);
        }
        uint64_t before = stats_of(context).hints_applied; /* not even one advice */
        (void)rewrite_and_use(context, query, 99, 1);
        ck_assert_uint_eq(stats_of(context).hints_applied, before);
        for (int round = 0; round < CYCLES; round++) /* it changes: used twice between rewrites */
            (void)rewrite_and_use(context, query, 7, 2);
        expect_told(&h, query, "EUM_ROLE_QUERY", EUM_CONTRADICTION_QUERY_REWRITTEN);
        (void)rewrite_and_use(context, query, 8, 2);
        expect_told(&h, query, "EUM_ROLE_QUERY", EUM_CONTRADICTION_NONE);
        ck_assert_int_eq(explain(query).last_movement, EUM_MOVEMENT_NONE); /* the second use */
        (void)rewrite_and_use(context, query, 9, 1);
        ck_assert_int_eq(explain(query).last_movement, EUM_MOVEMENT_DUPLICATE);
        OK(eum_buffer_destroy(query));
        OK(eum_buffer_destroy(other));
    }
    close_context(context);
}
END_TEST

START_TEST(a_rewritten_query_that_kernels_touch_once_is_used_in_place)
{
    heard h = {0};
    eum_context *context = open_hearing(_i, &h);
    eum_buffer *query = new_buffer_as(context, 3 * MIB, EUM_ROLE_QUERY);
    for (uint32_t round = 0; round < CYCLES + 1; round++) {
        const work expects = {.kind = WORK_EXPECT, .value = round};
        eum_argument once = reads(whole(query));
        eum_job job;
        once.flags = EUM_ARGUMENT_ONCE;
        cpu_fill(whole(query), round);
        OK(try_launch(default_stream(context), &expects, &once, 1, &job));
        wait_job(job);
        ck_assert_int_eq(explain(query).last_movement, round < CYCLES ? EUM_MOVEMENT_DUPLICATE : EUM_MOVEMENT_IN_PLACE);
    }
    OK(eum_buffer_destroy(query));
    close_context(context);
}
END_TEST

START_TEST(a_map_that_reads_keeps_its_pages_from_a_rewritten_query)
{
    heard h = {0};
    eum_context *context = open_hearing(_i, &h);
    eum_buffer *query = new_buffer_as(context, 3 * MIB, EUM_ROLE_QUERY);
    for (uint32_t round = 0; round < CYCLES + 1; round++)
        (void)rewrite_and_use(context, query, round, 1);
    cpu_fill(whole(query), 5);
    void *address = map(whole(query), EUM_ACCESS_READ);
    gpu_expect(default_stream(context), whole(query), 5);
    ck_assert_int_eq(explain(query).last_movement, EUM_MOVEMENT_DUPLICATE);
    expect_words(address, 3 * MIB / WORD, 5, 0);
    unmap(query, address);
    OK(eum_buffer_destroy(query));
    close_context(context); /* nobody faulted */
}
END_TEST

START_TEST(targets_that_are_rewritten_for_every_use_are_told_of_once)
{
    heard h = {0};
    eum_context *context = open_hearing(_i, &h);
    eum_buffer *targets = new_buffer_as(context, 3 * MIB, EUM_ROLE_TARGETS);
    eum_buffer *small = new_buffer_as(context, 64 * KIB, EUM_ROLE_TARGETS);
    for (uint32_t round = 0; round < 10; round++) {
        (void)rewrite_and_use(context, targets, round, 1);
        (void)rewrite_and_use(context, small, round, 1);
    }
    expect_told(&h, targets, "EUM_ROLE_TARGETS", EUM_CONTRADICTION_TARGETS_REWRITTEN);
    ck_assert_int_eq(explain(small).contradiction, EUM_CONTRADICTION_NONE);
    OK(eum_buffer_set_role(targets, EUM_ROLE_TARGETS)); /* the same: nothing is forgotten */
    ck_assert_int_eq(explain(targets).contradiction, EUM_CONTRADICTION_TARGETS_REWRITTEN);
    OK(eum_buffer_set_role(targets, EUM_ROLE_STREAM));
    ck_assert_int_eq(explain(targets).contradiction, EUM_CONTRADICTION_NONE);
    for (uint32_t round = 0; round < 10; round++)
        (void)rewrite_and_use(context, targets, round, 1);
    ck_assert_int_eq(h.warnings, 1); /* as the sentence had said, that suits */
    OK(eum_buffer_destroy(targets));
    OK(eum_buffer_destroy(small));
    close_context(context);
}
END_TEST

START_TEST(a_stream_that_is_reused_is_told_of_and_still_honoured)
{
    heard h = {0};
    eum_context *context = open_hearing(_i, &h);
    eum_buffer *stream = new_buffer_as(context, 3 * MIB, EUM_ROLE_STREAM);
    for (uint32_t round = 0; round < 4; round++)
        (void)rewrite_and_use(context, stream, round, 1);
    ck_assert_int_eq(h.warnings, 0);
    for (uint32_t round = 0; round < 4; round++)
        (void)rewrite_and_use(context, stream, round, 12);
    expect_told(&h, stream, "EUM_ROLE_STREAM", EUM_CONTRADICTION_STREAM_REUSED);
    ck_assert_uint_eq(explain(stream).bytes_to_device, 0);
    for (uint32_t round = 0; round < CYCLES + 1; round++)
        (void)rewrite_and_use(context, stream, round, 1);
    expect_told(&h, stream, "EUM_ROLE_STREAM", EUM_CONTRADICTION_NONE);
    OK(eum_buffer_destroy(stream));
    close_context(context);
}
END_TEST

START_TEST(results_that_kernels_read_again_are_told_of_and_results_that_the_cpu_reads_are_not)
{
    heard h = {0};
    eum_context *context = open_hearing(_i, &h);
    eum_stream *stream = default_stream(context);
    eum_buffer *between = new_buffer_as(context, 1 * MIB, EUM_ROLE_RESULTS);
    eum_buffer *results = new_buffer_as(context, 9 * MIB, EUM_ROLE_RESULTS); /* mirrored: written on the device */
    uint32_t *read = malloc(1 * MIB);
    for (uint32_t round = 0; round < 70; round++) { /* the bytes of a few come straight from the device: that is a look, too */
        gpu_fill(stream, whole(results), round);
        OK(eum_buffer_read(part(results, 0, 4 * KIB), read));
        expect_words(read, 4 * KIB / WORD, round, 0);
    }
    ck_assert_int_eq(h.warnings, 0);
    for (uint32_t round = 0; round < CYCLES + 1; round++) {
        gpu_fill(stream, whole(between), round);
        gpu_expect(stream, whole(between), round);
    }
    expect_told(&h, between, "EUM_ROLE_RESULTS", EUM_CONTRADICTION_RESULTS_REREAD);
    ck_assert_int_eq(explain(results).contradiction, EUM_CONTRADICTION_NONE);
    free(read);
    OK(eum_buffer_destroy(between));
    OK(eum_buffer_destroy(results));
    close_context(context);
}
END_TEST

Suite *contradiction_suite(void)
{
    Suite *suite = suite_create("contradiction");
    TCase *tests = tcase_create("contradiction");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, three_cycles_in_a_row_contradict_and_three_in_a_row_end_it, 0, RULES);
    tcase_add_test(tests, parts_that_are_each_used_once_count_as_one_use);
    tcase_add_test(tests, rewrites_without_a_use_say_nothing);
    tcase_add_test(tests, who_is_rewritten_no_more_agrees_without_that_the_cycle_ends);
    tcase_add_test(tests, a_stream_that_costs_less_than_twice_the_movement_is_none_that_is_reused);
    tcase_add_test(tests, results_that_kernels_read_and_the_cpu_does_not_are_none);
    tcase_add_test(tests, results_that_nobody_looks_at_are_told_of_after_64);
    if (runs_cpu_kernels()) {
        tcase_add_loop_test(tests, a_rewritten_query_pays_what_auto_pays_once_it_is_known_as_one, 0, MANAGED_PLACES);
        tcase_add_loop_test(tests, a_rewritten_query_that_kernels_touch_once_is_used_in_place, 0, MANAGED_PLACES);
        tcase_add_loop_test(tests, a_map_that_reads_keeps_its_pages_from_a_rewritten_query, 0, MANAGED_PLACES);
        tcase_add_loop_test(tests, targets_that_are_rewritten_for_every_use_are_told_of_once, 0, PLACES);
        tcase_add_loop_test(tests, a_stream_that_is_reused_is_told_of_and_still_honoured, 0, PLACES);
        tcase_add_loop_test(tests, results_that_kernels_read_again_are_told_of_and_results_that_the_cpu_reads_are_not, 0, PLACES);
    }
    suite_add_tcase(suite, tests);
    return suite;
}
