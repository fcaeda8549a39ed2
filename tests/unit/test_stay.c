/* EUM_ROLE_AUTO under the built-in kernels: in place or on the device. The rule alone, and the library in virtual time beside the two fixed
 * choices.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "stay.h"

#include "engine.h"

Suite *stay_suite(void);

/* --------------------------------------------------------------------------------------------------- the rule ------ */

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

START_TEST(costs_are_those_that_were_measured)
{
    eum_costs costs = eum_costs_default(9);
    const uint64_t seed = 1000 * 768 * 4, large = (uint64_t)256 << 20;
    /* H100: a prefetch of 3 MB takes 1.75 times a pinned copy, of 256 MB 1.1 times; reading 3 MB in place costs 64 us more than resident. */
    double small_ratio = (double)eum_cost_prefetch(&costs, seed) / (double)eum_cost_copy(&costs, seed);
    double large_ratio = (double)eum_cost_prefetch(&costs, large) / (double)eum_cost_copy(&costs, large);
    ck_assert_double_gt(small_ratio, 1.2);
    ck_assert_double_lt(small_ratio, 2.0);
    ck_assert_double_gt(large_ratio, 1.0);
    ck_assert_double_lt(large_ratio, 1.2);
    ck_assert_uint_gt(eum_cost_in_place(&costs, seed), 50000);
    ck_assert_uint_lt(eum_cost_in_place(&costs, seed), 80000);
    /* And 0.8 us for 4 KiB, 3.4 us for 63 KiB; a kernel that only writes waits for nobody. */
    ck_assert_uint_gt(eum_cost_in_place(&costs, 4096), 600);
    ck_assert_uint_lt(eum_cost_in_place(&costs, 4096), 1000);
    ck_assert_uint_gt(eum_cost_in_place(&costs, 21 * 768 * 4), 3100);
    ck_assert_uint_lt(eum_cost_in_place(&costs, 21 * 768 * 4), 3700);
    ck_assert_uint_lt(eum_cost_store(&costs, 4096), 100);
    ck_assert_uint_eq(
        eum_cost_prefetch(&costs, 0) + eum_cost_copy(&costs, 0) + eum_cost_in_place(&costs, 0) + eum_cost_store(&costs, 0), 0);
    ck_assert_uint_gt(eum_cost_copy(&costs, (uint64_t)1 << 62), (uint64_t)1 << 55); /* no overflow */
    for (int32_t major = 5; major <= 12; major++) {
        costs = eum_costs_default(major);
        ck_assert_uint_gt(costs.link_mbps, 0);
        ck_assert_uint_gt(costs.memory_mbps, costs.link_mbps);
    }
}
END_TEST

START_TEST(what_is_paid_between_two_rewrites_is_at_most_twice_the_cheaper_choice_and_a_fixed_cost)
{
    uint64_t random = 1;
    for (int32_t major = 5; major <= 9; major++) {
        eum_costs costs = eum_costs_default(major);
        for (int run = 0; run < 300; run++) {
            bool by_copies = run % 2 == 1;
            const uint64_t bytes = (uint64_t)4 << (next_random(&random) % 28);
            const eum_stay_question whole = {&costs, bytes, by_copies, bytes, false};
            const uint64_t moving = by_copies ? eum_cost_copy(&costs, bytes) : eum_cost_prefetch(&costs, bytes);
            eum_stay stay = {0};
            for (int epoch = 0; epoch < 20; epoch++) {
                const uint64_t uses = 1 + next_random(&random) % (epoch % 3 == 0 ? 100 : 4);
                uint64_t paid = 0;
                bool moved = false;
                for (uint64_t use = 0; use < uses && !moved; use++) {
                    eum_stay_answer answer = eum_stay_choose(&stay, &whole);
                    moved = !answer.stays;
                    paid += moved ? answer.move_ns : answer.in_place_ns;
                    if (!moved)
                        eum_stay_used(&stay, &answer, &whole, 1);
                }
                const uint64_t in_place = uses * eum_cost_in_place(&costs, bytes), best = in_place < moving ? in_place : moving;
                ck_assert_msg(paid <= 2 * best + costs.prefetch_ns, "%llu bytes, %llu uses: %llu ns instead of %llu",
                              (unsigned long long)bytes, (unsigned long long)uses, (unsigned long long)paid,
                              (unsigned long long)best);
                eum_stay_credit(&stay, &whole); /* the CPU rewrites it */
            }
        }
    }
}
END_TEST

static eum_stay_time newest_time; /* what pay_for came to */

/* The whole rule over one time between two rewrites; gives what was paid. */
static uint64_t pay_for(eum_stay *stay, const eum_stay_question *whole, uint64_t uses)
{
    uint64_t paid = 0;
    bool moved = false;
    for (uint64_t use = 0; use < uses; use++) {
        if (!moved) {
            eum_stay_answer answer = eum_stay_choose(stay, whole);
            moved = !answer.stays;
            paid += moved ? answer.move_ns : answer.in_place_ns;
            if (!moved)
                eum_stay_used(stay, &answer, whole, 1);
        }
        eum_stay_seen(stay, whole, 1);
    }
    newest_time = eum_stay_rewritten(stay, whole);
    eum_stay_credit(stay, whole);
    return paid;
}

START_TEST(what_was_reused_moves_at_once_the_next_time)
{
    eum_costs costs = eum_costs_default(9);
    const eum_stay_question whole = {&costs, 3072000, true, 3072000, false};
    const uint64_t move = eum_cost_copy(&costs, whole.bytes), in_place = eum_cost_in_place(&costs, whole.bytes);
    for (uint64_t uses = 2; uses <= 256; uses *= 2) {
        eum_stay stay = {0};
        ck_assert_uint_eq(pay_for(&stay, &whole, 1), in_place);
        ck_assert_uint_gt(pay_for(&stay, &whole, uses), move);
        ck_assert_uint_eq(pay_for(&stay, &whole, uses), move); /* nothing is tried in place */
        ck_assert_uint_eq(pay_for(&stay, &whole, 1), move);    /* the pattern changes */
        ck_assert_uint_eq(pay_for(&stay, &whole, 1), in_place);
    }
}
END_TEST

START_TEST(a_time_that_was_clearly_cheaper_over_the_link_is_told_from_others)
{
    eum_costs costs = eum_costs_default(9);
    const eum_stay_question whole = {&costs, 4096, true, 4096, false};
    const uint64_t enough = eum_cost_copy(&costs, whole.bytes) / eum_cost_in_place(&costs, whole.bytes);
    eum_stay stay = {0};
    const uint64_t uses[5] = {1, 0, enough, 2,
                              100}; /* nobody's use says nothing; `enough` is cheaper over the link still, by little */
    const eum_stay_time times[5] = {EUM_STAY_BRIEF, EUM_STAY_UNUSED, EUM_STAY_LONG, EUM_STAY_BRIEF, EUM_STAY_LONG};
    for (int i = 0; i < 5; i++) {
        (void)pay_for(&stay, &whole, uses[i]);
        ck_assert_int_eq(newest_time, times[i]);
    }
}
END_TEST

/* Epochs of so many uses, of which the first is new: does the library move the bytes at once in those that follow? */
static bool moves_at_once(size_t bytes, int uses)
{
    eum_context *context = open_on("sim:hopper", EUM_BACKING_MIRRORED);
    eum_buffer *buffer = new_buffer(context, bytes);
    eum_argument once = reads(whole(buffer));
    uint64_t moved = 0;
    once.flags = EUM_ARGUMENT_ONCE;
    for (uint32_t epoch = 0; epoch < 3; epoch++) {
        cpu_fill(whole(buffer), epoch);
        moved = explain(buffer).bytes_to_device;
        for (int use = 0; use < uses; use++) {
            const work expects = {.kind = WORK_EXPECT, .value = epoch};
            eum_job job;
            OK(try_launch(default_stream(context), &expects, &once, 1, &job));
            wait_job(job);
            ck_assert(epoch < 2 || explain(buffer).bytes_to_device == moved || explain(buffer).bytes_to_device == moved + bytes);
            ck_assert(epoch < 2 || use == 0 || explain(buffer).last_movement != EUM_MOVEMENT_COPY);
        }
    }
    moved = explain(buffer).bytes_to_device - moved;
    OK(eum_buffer_destroy(buffer));
    close_context(context);
    return moved > 0;
}

/* What an H100 was faster with: 64 KiB in place for one or two uses, 4 KiB for up to four. */
START_TEST(small_bytes_move_when_they_are_used_often_enough)
{
    const size_t large = 21 * 768 * 4, small = 16 * 64 * 4, seed = 1000 * 768 * 4;
    ck_assert(!moves_at_once(large, 1) && !moves_at_once(large, 2));
    ck_assert(moves_at_once(large, 4) && moves_at_once(large, 16));
    ck_assert(!moves_at_once(small, 1) && !moves_at_once(small, 2) && !moves_at_once(small, 4));
    ck_assert(moves_at_once(small, 16));
    ck_assert(!moves_at_once(seed, 1) && moves_at_once(seed, 2));
}
END_TEST

/* One time: the CPU writes it all, kernels read it so often. Gives the bytes that moved. */
static uint64_t one_time(eum_buffer *buffer, eum_stream *stream, bool bulk, uint32_t value, int uses)
{
    static uint32_t words[64 * KIB / WORD];
    const size_t bytes = sizeof words;
    uint64_t moved = explain(buffer).bytes_to_device;
    if (bulk) {
        fill_words(words, bytes / WORD, value);
        OK(eum_buffer_write(whole(buffer), words));
    } else {
        cpu_fill(whole(buffer), value);
    }
    for (int use = 0; use < uses; use++) {
        eum_argument once = reads(whole(buffer));
        eum_job job;
        once.flags = EUM_ARGUMENT_ONCE;
        const work expects = {.kind = WORK_EXPECT, .value = value};
        OK(try_launch(stream, &expects, &once, 1, &job));
        wait_job(job);
    }
    return explain(buffer).bytes_to_device - moved;
}

START_TEST(targets_that_are_used_once_time_after_time_are_used_in_place_until_they_are_used_more)
{
    const size_t bytes = 64 * KIB;
    for (int bulk = 0; bulk < 2; bulk++) {
        eum_context *context = open_on("sim:hopper", EUM_BACKING_MIRRORED);
        eum_stream *stream = default_stream(context);
        eum_buffer *targets = new_buffer_as(context, bytes, EUM_ROLE_TARGETS);
        uint32_t value = 0;
        const int times = bulk ? 4 : 3; /* that the role is honoured: a write chooses its way before it counts as one */
        for (int time = 0; time < 5; time++)
            ck_assert_uint_eq(one_time(targets, stream, bulk == 1, ++value, 1), time < times ? bytes : 0);
        for (int time = 0; time < 3; time++) {
            ck_assert_uint_eq(one_time(targets, stream, bulk == 1, ++value, 1), 0);
            ck_assert_int_eq(explain(targets).last_movement, EUM_MOVEMENT_IN_PLACE);
        }
        ck_assert_uint_eq(one_time(targets, stream, bulk == 1, ++value, 16), bytes); /* once, when the link has cost as much */
        ck_assert_uint_eq(one_time(targets, stream, bulk == 1, ++value, 1), bytes);  /* and at once, from then on */
        for (int time = 0; time < times; time++)
            (void)one_time(targets, stream, bulk == 1, ++value, 1);
        ck_assert_uint_eq(one_time(targets, stream, bulk == 1, ++value, 1), 0);
        OK(eum_buffer_set_role(targets, EUM_ROLE_AUTO));
        OK(eum_buffer_set_role(targets, EUM_ROLE_TARGETS)); /* said anew, it is honoured anew */
        ck_assert_uint_eq(one_time(targets, stream, bulk == 1, ++value, 1), bytes);
        OK(eum_buffer_destroy(targets));
        close_context(context);
    }
}
END_TEST

/* The device's time of one more score, as predicted, after five times of one score each. */
static uint64_t predicted_after_brief_times(eum_role role)
{
    static float ones[(64 * KIB - 1024) / 4];
    eum_context *context = open_on("sim:hopper", EUM_BACKING_MIRRORED);
    eum_buffer *query = new_buffer(context, 768 * 4), *targets = new_buffer_as(context, 21 * 768 * 4, role);
    eum_buffer *scores = new_buffer(context, 21 * 4);
    eum_cosine_config config = EUM_COSINE_CONFIG_INIT;
    config.query = whole(query);
    config.targets = whole(targets);
    config.scores = whole(scores);
    config.rows = 21;
    config.dim = 768;
    for (size_t i = 0; i < sizeof ones / sizeof *ones; i++)
        ones[i] = 1;
    OK(eum_buffer_write(whole(query), ones));
    for (int time = 0; time <= 5; time++) {
        eum_job job;
        OK(eum_buffer_write(whole(targets), ones));
        config.executor = time < 5 ? EUM_EXECUTOR_DEVICE : EUM_EXECUTOR_AUTO;
        OK(eum_cosine(default_stream(context), &config, &job));
        wait_job(job);
    }
    eum_operation_stats stats;
    eum_operation_stats_init(&stats);
    OK(eum_context_operation_stats(context, EUM_OPERATION_COSINE, &stats));
    OK(eum_buffer_destroy(query));
    OK(eum_buffer_destroy(targets));
    OK(eum_buffer_destroy(scores));
    close_context(context);
    return stats.last_predicted_ns[EUM_EXECUTOR_DEVICE];
}

START_TEST(targets_in_brief_times_are_predicted_as_they_are_used)
{
    uint64_t without_role = predicted_after_brief_times(EUM_ROLE_AUTO);
    ck_assert_uint_gt(without_role, 0);
    ck_assert_uint_eq(predicted_after_brief_times(EUM_ROLE_TARGETS), without_role);
}
END_TEST

/* A kernel that may read its input more than once needs it on the device. */
START_TEST(times_in_which_other_kernels_use_targets_are_not_brief)
{
    eum_context *context = open_on("sim:hopper", EUM_BACKING_MIRRORED);
    eum_stream *stream = default_stream(context);
    eum_buffer *targets = new_buffer_as(context, 64 * KIB, EUM_ROLE_TARGETS);
    for (uint32_t time = 0; time < 8; time++) {
        ck_assert_uint_eq(one_time(targets, stream, false, time, 1), 64 * KIB);
        gpu_expect(stream, whole(targets), time);
    }
    OK(eum_buffer_destroy(targets));
    close_context(context);
}
END_TEST

/* What kernels write over the link costs next to nothing, so few bytes of results stay there, however often they are written. */
START_TEST(small_results_without_a_role_stay_on_the_host)
{
    eum_context *context = open_on("sim:hopper", EUM_BACKING_MIRRORED);
    eum_buffer *results = new_buffer(context, 84);
    eum_argument once = overwrites(whole(results));
    once.flags = EUM_ARGUMENT_ONCE;
    for (uint32_t cycle = 0; cycle < 4; cycle++) {
        for (int use = 0; use < 256; use++) {
            const work fills = {.kind = WORK_FILL, .value = cycle};
            OK(try_launch(default_stream(context), &fills, &once, 1, NULL));
        }
        cpu_expect(whole(results), cycle);
        ck_assert_uint_eq(explain(results).bytes_to_host, 0);
    }
    OK(eum_buffer_destroy(results));
    close_context(context);
}
END_TEST

START_TEST(whatever_was_learned_at_most_twice_the_cheaper_choice_and_a_fixed_cost_is_paid)
{
    uint64_t random = 5;
    for (int32_t major = 5; major <= 9; major++) {
        eum_costs costs = eum_costs_default(major);
        for (int run = 0; run < 300; run++) {
            const uint64_t bytes = (uint64_t)4 << (next_random(&random) % 28);
            const eum_stay_question whole = {&costs, bytes, run % 2 == 1, bytes, run % 5 == 4};
            const uint64_t move = run % 2 == 1 ? eum_cost_copy(&costs, bytes) : eum_cost_prefetch(&costs, bytes);
            eum_stay stay = {0};
            for (int epoch = 0; epoch < 30; epoch++) {
                const uint64_t uses = 1 + next_random(&random) % (epoch % 3 == 0 ? 100 : 4);
                const uint64_t far = whole.stores ? eum_cost_store(&costs, bytes) : eum_cost_in_place(&costs, bytes);
                const uint64_t in_place = uses * far, best = in_place < move ? in_place : move;
                const uint64_t paid = pay_for(&stay, &whole, uses);
                ck_assert_msg(paid <= 2 * best + costs.prefetch_ns + costs.unit_ns,
                              "%llu bytes, %llu uses: %llu ns instead of %llu", (unsigned long long)bytes, (unsigned long long)uses,
                              (unsigned long long)paid, (unsigned long long)best);
            }
        }
    }
}
END_TEST

START_TEST(a_row_that_changed_moves_rather_than_that_all_of_a_mirrored_buffer_is_used_in_place)
{
    eum_costs costs = eum_costs_default(9);
    eum_stay stay = {0};
    ck_assert(!eum_stay_choose(&stay, &(eum_stay_question){&costs, 3072, true, (uint64_t)1 << 30, false}).stays);
    ck_assert(eum_stay_choose(&stay, &(eum_stay_question){&costs, 3072, true, 3072, false}).stays);
}
END_TEST

START_TEST(a_look_of_the_cpu_at_a_few_bytes_does_not_begin_the_count_anew)
{
    eum_costs costs = eum_costs_default(9);
    const eum_stay_question whole = {&costs, (uint64_t)1 << 30, false, (uint64_t)1 << 30, false},
                            row = {&costs, 3072, false, 3072, false};
    eum_stay stay = {0};
    int in_place = 0;
    for (int use = 0; use < 10; use++) {
        eum_stay_answer answer = eum_stay_choose(&stay, &whole);
        if (!answer.stays)
            break;
        in_place++;
        eum_stay_used(&stay, &answer, &whole, 1);
        eum_stay_credit(&stay, &row);
    }
    ck_assert_int_eq(in_place, 1);
    ck_assert(!eum_stay_choose(&(eum_stay){0}, &(eum_stay_question){&costs, 0, false, 0, false})
                   .stays); /* nothing to move, nothing to weigh */
}
END_TEST

/* ---------------------------------------------------------------------------------------------- in virtual time ----- */

#define DIM 96
#define ROWS 8000 /* 3 MB */

typedef struct scorer {
    eum_context *context;
    eum_buffer *query, *targets, *scores;
    float results[ROWS];
} scorer;

static const struct {
    const char *device;
    eum_backing backing, in_place; /* what the rival that never moves uses */
} setups[] = {
    {"sim:pascal", EUM_BACKING_MANAGED, EUM_BACKING_MANAGED},  {"sim:turing", EUM_BACKING_MANAGED, EUM_BACKING_MANAGED},
    {"sim:ampere", EUM_BACKING_MANAGED, EUM_BACKING_MANAGED},  {"sim:hopper", EUM_BACKING_MANAGED, EUM_BACKING_MANAGED},
    {"sim:maxwell", EUM_BACKING_MIRRORED, EUM_BACKING_MAPPED}, {"sim:hopper", EUM_BACKING_MIRRORED, EUM_BACKING_MAPPED},
};
#define SETUPS ((int)(sizeof setups / sizeof setups[0]))

static eum_buffer *buffer_as(eum_context *context, size_t bytes, eum_role role, eum_backing backing)
{
    eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
    eum_buffer *buffer = NULL;
    config.role = role;
    config.backing = backing;
    OK(eum_buffer_create(context, bytes, &config, &buffer));
    return buffer;
}

static void open_scorer(scorer *s, const char *device, eum_role role, eum_backing backing)
{
    s->context = open_on(device, backing);
    s->query = buffer_as(s->context, DIM * 4, role == EUM_ROLE_TARGETS ? EUM_ROLE_QUERY : role, backing);
    s->targets = buffer_as(s->context, ROWS * DIM * 4, role, backing);
    s->scores = buffer_as(s->context, ROWS * 4, role == EUM_ROLE_TARGETS ? EUM_ROLE_RESULTS : role, backing);
    float ones[DIM];
    for (int i = 0; i < DIM; i++)
        ones[i] = 1;
    OK(eum_buffer_write(whole(s->query), ones));
}

static void close_scorer(scorer *s)
{
    OK(eum_buffer_destroy(s->query));
    OK(eum_buffer_destroy(s->targets));
    OK(eum_buffer_destroy(s->scores));
    close_context(s->context); /* no page fault in any kernel, no use out of order */
}

/* The CPU rewrites the targets, kernels score them `uses` times, the CPU reads the scores. Gives the virtual time. */
static uint64_t run_epoch(scorer *s, uint64_t seed, uint64_t uses)
{
    uint64_t start = eum_sim_time(device_of(s->context));
    void *address = NULL;
    OK(eum_buffer_map(whole(s->targets), EUM_ACCESS_OVERWRITE, &address));
    float *targets = address;
    for (size_t i = 0; i < (size_t)ROWS * DIM; i++)
        targets[i] = (float)((int64_t)(next_random(&seed) % 2001) - 1000);
    OK(eum_buffer_unmap(s->targets, address));
    eum_cosine_config config = EUM_COSINE_CONFIG_INIT;
    config.executor = EUM_EXECUTOR_DEVICE; /* the virtual clock knows nothing of the CPU's kernels */
    config.query = whole(s->query);
    config.targets = whole(s->targets);
    config.scores = whole(s->scores);
    config.rows = ROWS;
    config.dim = DIM;
    for (uint64_t use = 0; use < uses; use++) {
        eum_job job;
        OK(eum_cosine(default_stream(s->context), &config, &job));
        wait_job(job);
    }
    memset(s->results, 0xa5, sizeof s->results);
    OK(eum_buffer_read(whole(s->scores), s->results));
    return eum_sim_time(device_of(s->context)) - start;
}

START_TEST(auto_pays_at_most_twice_what_the_better_fixed_choice_pays)
{
    static scorer learning, staying, moving;
    open_scorer(&learning, setups[_i].device, EUM_ROLE_AUTO, setups[_i].backing);
    open_scorer(&staying, setups[_i].device, EUM_ROLE_STREAM, setups[_i].in_place);
    open_scorer(&moving, setups[_i].device, EUM_ROLE_TARGETS, setups[_i].backing);
    const eum_costs *costs = &device_of(learning.context)->caps.costs;
    const uint64_t fixed = 3 * (costs->prefetch_ns + costs->unit_ns); /* one for each operand */
    uint64_t random = (uint64_t)_i + 1, paid = 0, bound = 0;
    for (int epoch = 0; epoch < 12; epoch++) {
        /* phases: used once, used often, anything */
        uint64_t uses = epoch < 4 ? 1 : epoch < 8 ? 12 : 1 + next_random(&random) % 8;
        uint64_t a = run_epoch(&learning, random, uses), b = run_epoch(&staying, random, uses),
                 c = run_epoch(&moving, random, uses);
        ck_assert_mem_eq(learning.results, staying.results, sizeof learning.results);
        ck_assert_mem_eq(learning.results, moving.results, sizeof learning.results);
        paid += a;
        bound += 2 * (b < c ? b : c) + fixed;
        ck_assert_msg(paid <= bound, "epoch %d with %llu uses: %llu ns, in place %llu, moved %llu", epoch, (unsigned long long)uses,
                      (unsigned long long)a, (unsigned long long)b, (unsigned long long)c);
        if (epoch == 3) /* used once: as good as the best */
            ck_assert_uint_le(a, (b < c ? b : c) + fixed);
        random += 77;
    }
    close_scorer(&learning);
    close_scorer(&staying);
    close_scorer(&moving);
}
END_TEST

START_TEST(explain_shows_what_was_weighed)
{
    static scorer s;
    open_scorer(&s, setups[_i].device, EUM_ROLE_AUTO, setups[_i].backing);
    (void)run_epoch(&s, 5, 1);
    eum_decision first = explain(s.targets);
    ck_assert_int_eq(first.last_movement, EUM_MOVEMENT_IN_PLACE);
    ck_assert_uint_gt(first.in_place_ns, 0);
    ck_assert_uint_gt(first.move_ns, first.in_place_ns);
    ck_assert_uint_eq(first.bytes_to_device, 0);
    char text[2048];
    OK(eum_decision_text(&first, text, sizeof text, NULL));
    ck_assert_msg(strstr(text, "Weighed") != NULL, "%s", text);
    for (int use = 0; use < 4; use++) { /* scored again and again: it moves */
        eum_cosine_config config = EUM_COSINE_CONFIG_INIT;
        config.executor = EUM_EXECUTOR_DEVICE;
        eum_job job;
        config.query = whole(s.query);
        config.targets = whole(s.targets);
        config.scores = whole(s.scores);
        config.rows = ROWS;
        config.dim = DIM;
        OK(eum_cosine(default_stream(s.context), &config, &job));
        wait_job(job);
    }
    eum_decision later = explain(s.targets);
    ck_assert_uint_ge(later.bytes_to_device, (uint64_t)ROWS * DIM * 4); /* whole pages, once */
    ck_assert_uint_lt(later.bytes_to_device, (uint64_t)ROWS * DIM * 4 + 65536);
    ck_assert_uint_eq(later.bytes_on_device, (uint64_t)ROWS * DIM * 4);
    ck_assert_int_eq(later.last_movement, EUM_MOVEMENT_NONE);
    close_scorer(&s);
}
END_TEST

START_TEST(operands_that_share_pages_agree_on_where_they_are_used)
{
    eum_context *context = open_on(setups[_i].device, setups[_i].backing);
    const size_t rows = 40, bytes = 768 * 4 * (1 + rows) + rows * 4; /* targets in two pages, query and scores at their ends */
    eum_buffer *buffer = buffer_as(context, bytes, EUM_ROLE_AUTO, setups[_i].backing);
    static float floats[768 * 41], scores[40];
    uint64_t random = 3;
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
        floats[i] = (float)((int64_t)(next_random(&random) % 2001) - 1000);
    memcpy(floats + 768 * 7, floats, 768 * 4); /* row 6 is the query */
    eum_cosine_config config = EUM_COSINE_CONFIG_INIT;
    config.executor = EUM_EXECUTOR_DEVICE;
    config.query = part(buffer, 0, 768 * 4);
    config.targets = part(buffer, 768 * 4, 768 * 4 * rows);
    config.scores = part(buffer, 768 * 4 * (1 + rows), rows * 4);
    config.rows = rows;
    config.dim = 768;
    for (int round = 0; round < 12; round++) {
        if (round % 4 == 0)
            OK(eum_buffer_write(part(buffer, 0, sizeof floats), floats));
        eum_job job;
        OK(eum_cosine(default_stream(context), &config, &job));
        wait_job(job);
        memset(scores, 0xa5, sizeof scores);
        OK(eum_buffer_read(config.scores, scores));
        ck_assert_float_eq_tol(scores[6], 1.0f, 1e-5f);
        ck_assert_float_lt(scores[7], 0.5f);
    }
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

Suite *stay_suite(void)
{
    Suite *suite = suite_create("stay");
    TCase *tests = tcase_create("stay");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, costs_are_those_that_were_measured);
    tcase_add_test(tests, what_is_paid_between_two_rewrites_is_at_most_twice_the_cheaper_choice_and_a_fixed_cost);
    tcase_add_test(tests, a_time_that_was_clearly_cheaper_over_the_link_is_told_from_others);
    tcase_add_test(tests, what_was_reused_moves_at_once_the_next_time);
    tcase_add_test(tests, whatever_was_learned_at_most_twice_the_cheaper_choice_and_a_fixed_cost_is_paid);
    tcase_add_test(tests, a_row_that_changed_moves_rather_than_that_all_of_a_mirrored_buffer_is_used_in_place);
    tcase_add_test(tests, a_look_of_the_cpu_at_a_few_bytes_does_not_begin_the_count_anew);
    if (runs_cpu_kernels()) {
        tcase_add_test(tests, small_bytes_move_when_they_are_used_often_enough);
        tcase_add_test(tests, targets_that_are_used_once_time_after_time_are_used_in_place_until_they_are_used_more);
        tcase_add_test(tests, small_results_without_a_role_stay_on_the_host);
        tcase_add_test(tests, targets_in_brief_times_are_predicted_as_they_are_used);
        tcase_add_test(tests, times_in_which_other_kernels_use_targets_are_not_brief);
        tcase_add_loop_test(tests, auto_pays_at_most_twice_what_the_better_fixed_choice_pays, 0, SETUPS);
        tcase_add_loop_test(tests, operands_that_share_pages_agree_on_where_they_are_used, 0, SETUPS);
        tcase_add_loop_test(tests, explain_shows_what_was_weighed, 0, SETUPS);
    }
    suite_add_tcase(suite, tests);
    return suite;
}
