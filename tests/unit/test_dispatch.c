/* Whether the CPU or the device runs a similarity operation: the choice as a function. What the engine makes of it is in test_executors.c.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "dispatch.h"

#include "engine.h"
#include "stay.h"

Suite *dispatch_suite(void);

static eum_costs costs;

/* 768 floats a row, on a Hopper, two threads; nothing is on the device. */
static eum_executor_question cold(uint64_t rows)
{
    costs = eum_costs_default(9);
    return (eum_executor_question){.costs = &costs,
                                   .cpu = eum_cpu_costs_of(EUM_CPU_AVX2),
                                   .threads = 2,
                                   .in_place = true,
                                   .results_in_place = true,
                                   .queries = 1,
                                   .rows = rows,
                                   .dim = 768,
                                   .element_bytes = 4,
                                   .missing_targets = rows * 768 * 4,
                                   .over_link = rows * 768 * 4,
                                   .missing_queries = 768 * 4,
                                   .results = rows * 4};
}

static eum_executor choice(eum_executor_question question)
{
    return eum_choose_executor(&question).executor;
}

START_TEST(a_small_cold_batch_stays_on_the_cpu_and_a_large_one_goes_to_the_device)
{
    ck_assert_int_eq(choice(cold(1)), EUM_EXECUTOR_CPU);
    ck_assert_int_eq(choice(cold(50)), EUM_EXECUTOR_CPU);
    ck_assert_int_eq(choice(cold(1000000)), EUM_EXECUTOR_DEVICE);
    eum_executor before = EUM_EXECUTOR_CPU;
    for (uint64_t rows = 1; rows < 100000; rows += 1 + rows / 8) { /* one threshold, no going back */
        eum_executor_question question = cold(rows);
        question.threads = 1; /* with more, twice the rows may take the CPU less time */
        eum_executor now = choice(question);
        ck_assert(now >= before);
        before = now;
    }
}
END_TEST

START_TEST(what_the_device_was_seen_to_take_is_in_what_it_is_predicted_to)
{
    enum { RESIDENT, OVER_LINK, MOVED };
    for (int how = RESIDENT; how <= MOVED; how++) {
        eum_executor_question question = cold(10000);
        question.in_place = how == OVER_LINK;
        if (how == RESIDENT)
            question.missing_targets = 0;
        eum_executor_answer told = eum_choose_executor(&question);
        ck_assert_int_eq(told.over_link, how == OVER_LINK);
        ck_assert_int_eq(told.moves, how == MOVED);
        uint64_t moving = how == MOVED ? eum_cost_prefetch(&costs, question.missing_targets) : 0;
        question.device_times = how == OVER_LINK ? 100 : 3 * 1024;
        question.in_place_times = how == OVER_LINK ? 3 * 1024 : 100;
        eum_executor_answer learned = eum_choose_executor(&question);
        ck_assert_uint_eq(learned.job_ns - moving, 3 * (told.job_ns - moving));
        ck_assert_uint_eq(learned.device_ns - learned.job_ns, told.device_ns - told.job_ns); /* results that move afterwards */
        ck_assert_uint_eq(learned.cpu_ns, told.cpu_ns);
    }
}
END_TEST

START_TEST(resident_targets_go_to_the_device_from_fewer_rows_on)
{
    uint64_t from[2] = {0, 0};
    for (int resident = 0; resident < 2; resident++) {
        for (uint64_t rows = 1; from[resident] == 0; rows++) {
            eum_executor_question question = cold(rows);
            question.in_place = false;
            question.missing_targets = question.over_link = resident ? 0 : question.missing_targets;
            from[resident] = choice(question) == EUM_EXECUTOR_DEVICE ? rows : 0;
        }
    }
    ck_assert_uint_lt(from[1], from[0]);
    ck_assert_uint_gt(from[1], 1); /* even there, an empty launch takes longer than a few rows */
}
END_TEST

START_TEST(it_can_be_forced)
{
    eum_executor_question question = cold(1);
    question.asked = EUM_EXECUTOR_DEVICE;
    ck_assert_int_eq(choice(question), EUM_EXECUTOR_DEVICE);
    question = cold(1000000);
    question.asked = EUM_EXECUTOR_CPU;
    ck_assert_int_eq(choice(question), EUM_EXECUTOR_CPU);
}
END_TEST

START_TEST(what_the_prediction_depends_on)
{
    eum_executor_question question = cold(2000);
    eum_executor_answer base = eum_choose_executor(&question);
    question.threads = 1; /* another loop has the workers */
    ck_assert_uint_gt(eum_choose_executor(&question).cpu_ns, base.cpu_ns * 3 / 2);
    question = cold(2000);
    question.queries = 64; /* the CPU computes longer than it reads, the device does not yet */
    ck_assert_uint_gt(eum_choose_executor(&question).cpu_ns, base.cpu_ns * 5 / 2);
    question = cold(2000);
    question.element_bytes = 2;
    question.missing_targets /= 2;
    question.over_link /= 2;
    ck_assert_uint_lt(eum_choose_executor(&question).device_ns, base.device_ns);
    question = cold(2000);
    question.in_place = false; /* it must move */
    ck_assert_uint_gt(eum_choose_executor(&question).device_ns, base.device_ns);
    question = cold(2000);
    question.missing_results = 8000;
    ck_assert_uint_gt(eum_choose_executor(&question).cpu_ns, base.cpu_ns);
    question = cold(2000);
    question.cpu = eum_cpu_costs_of(EUM_CPU_SCALAR);
    ck_assert_uint_gt(eum_choose_executor(&question).cpu_ns, base.cpu_ns * 3);
    question = cold(1000000);
    question.threads = 16;
    base = eum_choose_executor(&question);
    question.threads = 64; /* the memory is not faster, and more threads are to be woken */
    ck_assert_uint_gt(eum_choose_executor(&question).cpu_ns, base.cpu_ns);
    ck_assert_uint_lt(eum_choose_executor(&question).cpu_ns, base.cpu_ns * 51 / 50);
}
END_TEST

START_TEST(targets_that_never_find_room_are_weighed_with_a_passage_each_time)
{
    eum_executor_question question = cold(100000);
    question.in_place = false;
    question.spent_ns = UINT64_MAX / 4; /* however often they were scored */
    question.threads = 256;
    ck_assert_int_eq(choice(question), EUM_EXECUTOR_DEVICE);
    question.no_copy = true;
    ck_assert_int_eq(choice(question), EUM_EXECUTOR_CPU);
    ck_assert_uint_eq(eum_choose_executor(&question).rent_ns, 0);
}
END_TEST

START_TEST(targets_of_the_callers_go_to_the_device_only_where_computing_pays)
{
    for (uint64_t rows = 1; rows < 3000000; rows += 1 + rows / 4) { /* one query: the CPU scores them while it would copy them */
        for (uint32_t threads = 1; threads <= 64; threads *= 8) {
            eum_executor_question question = cold(rows);
            question.no_copy = question.by_copies = true;
            question.cpu = eum_cpu_costs_of(EUM_CPU_AVX512);
            question.threads = threads;
            ck_assert_int_eq(choice(question), EUM_EXECUTOR_CPU);
        }
    }
    eum_executor_question question = cold(100000);
    question.no_copy = question.by_copies = true;
    question.in_place = false;
    question.queries = 256;
    eum_executor_answer many = eum_choose_executor(&question);
    ck_assert_int_eq(many.executor, EUM_EXECUTOR_DEVICE);
    ck_assert_uint_eq(many.rent_ns, 0);
    /* The slower of filling and crossing, and less than one after the other. */
    uint64_t bytes = question.missing_targets, filling = eum_cost_at(bytes, 2 * 11000), crossing = eum_cost_copy(&costs, bytes);
    question.missing_targets = 0;
    question.no_copy = false;
    uint64_t resident = eum_choose_executor(&question).device_ns;
    ck_assert_uint_ge(many.device_ns, resident + filling);
    ck_assert_uint_lt(many.device_ns, resident + filling + crossing / 2 + 20 * 40000);
}
END_TEST

START_TEST(targets_that_were_used_often_between_the_last_rewrites_move_at_once)
{
    eum_executor_question question = cold(1300);
    question.by_copies = true;
    question.threads = 4; /* sooner this once */
    ck_assert_int_eq(choice(question), EUM_EXECUTOR_CPU);
    question.expected_ns = 100 * eum_cost_in_place(&costs, question.missing_targets);
    ck_assert_int_eq(choice(question), EUM_EXECUTOR_DEVICE);
    question.expected_ns = 0;
    question.reused = true; /* said, and not seen */
    ck_assert_int_eq(choice(question), EUM_EXECUTOR_DEVICE);
}
END_TEST

/* 768 elements; microseconds. An H100; 16 threads: its host; two threads and one: two cores with AVX-512. What 16 threads took was measured with
 * kernels that shared the rows alone and had longer lists, slower than the present ones the more queries there were for few rows. */
typedef struct measured {
    uint32_t threads;
    uint64_t queries, rows, k;
    double cpu_us, device_us; /* 0: not measured */
} measured;

static bool within(double predicted, double came, double below, double above)
{
    return predicted > came / below && predicted < came * above;
}

START_TEST(predictions_for_many_queries_are_near_what_was_measured)
{
    static const measured cases[] = {
        {16, 8, 1000, 10, 54, 0},       {16, 8, 5461, 10, 116, 0},       {16, 8, 21845, 10, 412, 0},
        {16, 32, 1000, 10, 173, 0},     {16, 32, 5461, 10, 364, 0},      {16, 32, 21845, 10, 1171, 0},
        {16, 256, 1000, 10, 854, 0},    {16, 256, 5461, 10, 2399, 0},    {16, 256, 21845, 10, 7656, 0},
        {2, 8, 1000, 10, 82, 0},        {2, 32, 1000, 10, 255, 0},       {2, 256, 1000, 10, 1800, 0},
        {1, 256, 1000, 10, 3114, 0},    {16, 128, 1000, 10, 0, 95},      {16, 1024, 1000, 10, 0, 197},
        {16, 16, 1000000, 10, 0, 1312}, {16, 128, 1000000, 10, 0, 1341}, {16, 1024, 1000000, 10, 0, 8971},
        {16, 128, 1000000, 0, 0, 3423},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        eum_executor_question question = cold(cases[i].rows);
        question.cpu = eum_cpu_costs_of(EUM_CPU_AVX512);
        question.threads = cases[i].threads;
        question.queries = cases[i].queries;
        question.k = cases[i].k;
        question.missing_targets = question.over_link = question.missing_queries = question.results = 0;
        question.by_copies = true;
        eum_executor_answer answer = eum_choose_executor(&question);
        if (cases[i].cpu_us > 0)
            ck_assert_msg(within((double)answer.cpu_ns / 1000, cases[i].cpu_us, cases[i].threads == 16 ? 2.3 : 1.2,
                                 cases[i].threads == 16 ? 2.2 : 1.6),
                          "case %zu: %llu ns by the CPU", i, (unsigned long long)answer.cpu_ns);
        if (cases[i].device_us > 0)
            ck_assert_msg(within((double)answer.device_ns / 1000, cases[i].device_us, 1.25, 1.25),
                          "case %zu: %llu ns by the device", i, (unsigned long long)answer.device_ns);
    }
}
END_TEST

/* Of many queries too, whose targets are read more than once. */
START_TEST(results_that_the_host_can_take_cost_no_copy)
{
    for (uint64_t queries = 1; queries <= 64; queries *= 8) {
        eum_executor_question question = cold(5000);
        question.in_place = queries <= 8;
        question.queries = queries;
        question.k = 10;
        question.by_copies = true;
        question.results = 120 * queries;
        question.missing_targets = question.missing_queries = question.over_link = 0;
        uint64_t here = eum_choose_executor(&question).device_ns;
        question.results_in_place = false;
        uint64_t copied = eum_choose_executor(&question).device_ns;
        ck_assert_uint_ge(copied - here, costs.copy_ns / 2);
        ck_assert_uint_le(copied - here, costs.copy_ns * 2);
    }
}
END_TEST

/* One H100, the ten best of 768 elements, again and again: bench_executors. Reading and launching alone would be 11 to 32 us. */
START_TEST(a_selection_for_few_queries_is_predicted_as_it_was_measured_on_the_device)
{
    static const struct {
        uint64_t queries, rows;
        double us;
    } cases[] = {{1, 1000, 25.9}, {1, 5461, 35.7},   {1, 21845, 57.0},  {8, 1000, 44.7},
                 {8, 5461, 60.4}, {8, 21845, 110.7}, {1, 1000000, 1030}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        eum_executor_question question = cold(cases[i].rows);
        question.missing_targets = question.missing_queries = question.over_link = 0;
        question.queries = cases[i].queries;
        question.k = 10;
        question.results = 120 * cases[i].queries;
        double predicted = (double)eum_choose_executor(&question).device_ns / 1e3;
        ck_assert_msg(within(predicted, cases[i].us, 1.15, 1.15), "%llu queries, %llu rows: %.1f us, %.1f came",
                      (unsigned long long)cases[i].queries, (unsigned long long)cases[i].rows, predicted, cases[i].us);
    }
}
END_TEST

START_TEST(only_a_selection_of_many_queries_goes_through_the_devices_filter)
{
    eum_executor_question question = cold(1000000);
    question.missing_targets = question.over_link = 0;
    question.queries = 1024;
    uint64_t all = eum_choose_executor(&question).device_ns;
    question.k = 10;
    uint64_t best = eum_choose_executor(&question).device_ns;
    ck_assert_uint_lt(best, all / 2);
    question.k = 129; /* too many for it */
    ck_assert_uint_eq(eum_choose_executor(&question).device_ns, all);
    question.k = 10;
    costs = eum_costs_default(7); /* its tensor cores are not used */
    ck_assert_uint_gt(eum_choose_executor(&question).device_ns, all * 3);
}
END_TEST

START_TEST(the_largest_shapes_do_not_overflow)
{
    eum_executor_question question = cold(1);
    question.rows = question.dim = question.queries = UINT64_MAX;
    question.missing_targets = question.missing_queries = question.results = question.missing_results = UINT64_MAX >> 2;
    question.over_link = UINT64_MAX >> 2;
    question.expected_ns = UINT64_MAX;
    question.spent_ns = UINT64_MAX;
    for (int in_place = 0; in_place < 2; in_place++) {
        question.in_place = in_place != 0;
        eum_executor_answer answer = eum_choose_executor(&question);
        ck_assert_uint_gt(answer.cpu_ns, UINT64_C(1) << 40);
        ck_assert_uint_gt(answer.device_ns, UINT64_C(1) << 40);
    }
}
END_TEST

/* The policy of the engine over a number of uses of the same targets, as predicted; against each fixed choice. */
static void check_bound(eum_executor_question question, uint64_t uses)
{
    const uint64_t bytes = question.missing_targets;
    eum_executor_question there = question;
    there.missing_targets = 0;
    const uint64_t resident = eum_choose_executor(&there).device_ns, cpu = eum_choose_executor(&question).cpu_ns;
    const uint64_t far = resident + eum_cost_in_place(question.costs, bytes);
    const uint64_t move = question.by_copies ? eum_cost_copy(question.costs, bytes) : eum_cost_prefetch(question.costs, bytes);
    const eum_stay_question stay = {question.costs, bytes, question.by_copies, bytes, false};
    eum_stay spent = {0};
    uint64_t paid = 0;
    bool on_device = false;
    for (uint64_t use = 1; use <= uses; use++) {
        question.missing_targets = question.over_link = on_device ? 0 : bytes;
        question.spent_ns = spent.spent_ns;
        eum_executor_answer answer = eum_choose_executor(&question);
        if (answer.executor == EUM_EXECUTOR_CPU) {
            eum_stay_answer rent = {.in_place_ns = answer.rent_ns};
            eum_stay_used(&spent, &rent, &stay, 1);
            paid += answer.cpu_ns;
        } else if (on_device) {
            paid += resident;
        } else {
            eum_stay_answer weighed = eum_stay_choose(&spent, &stay);
            if (question.in_place && weighed.stays)
                eum_stay_used(&spent, &weighed, &stay, 1);
            on_device = !question.in_place || !weighed.stays;
            paid += resident + (on_device ? weighed.move_ns : weighed.in_place_ns);
        }
        uint64_t best = use * cpu, moved = move + use * resident;
        best = question.in_place && use * far < best ? use * far : best;
        best = moved < best ? moved : best;
        ck_assert_msg(paid <= 2 * best + 10, "after %llu uses of %llu rows: %llu ns paid, the best is %llu",
                      (unsigned long long)use, (unsigned long long)question.rows, (unsigned long long)paid,
                      (unsigned long long)best);
    }
}

START_TEST(whatever_comes_at_most_twice_the_best_fixed_choice_is_paid)
{
    for (uint32_t seed = 0; seed < 2000; seed++) {
        eum_executor_question question = cold(1 + word_at(seed, 0) % (1u << word_at(seed, 1) % 18));
        static const int32_t majors[] = {5, 6, 8, 9};
        costs = eum_costs_default(majors[word_at(seed, 2) % 4]);
        question.in_place = word_at(seed, 3) % 2 != 0;
        question.by_copies = word_at(seed, 4) % 2 != 0;
        question.queries = word_at(seed, 5) % 3 == 0 ? 100 : 1 + word_at(seed, 6) % 9;
        question.threads = 1 + word_at(seed, 7) % 32;
        check_bound(question, 1 + word_at(seed, 8) % 60);
    }
}
END_TEST

Suite *dispatch_suite(void)
{
    Suite *suite = suite_create("dispatch");
    TCase *choosing = tcase_create("choosing");
    tcase_add_test(choosing, a_small_cold_batch_stays_on_the_cpu_and_a_large_one_goes_to_the_device);
    tcase_add_test(choosing, resident_targets_go_to_the_device_from_fewer_rows_on);
    tcase_add_test(choosing, what_the_device_was_seen_to_take_is_in_what_it_is_predicted_to);
    tcase_add_test(choosing, it_can_be_forced);
    tcase_add_test(choosing, what_the_prediction_depends_on);
    tcase_add_test(choosing, targets_that_never_find_room_are_weighed_with_a_passage_each_time);
    tcase_add_test(choosing, targets_of_the_callers_go_to_the_device_only_where_computing_pays);
    tcase_add_test(choosing, targets_that_were_used_often_between_the_last_rewrites_move_at_once);
    tcase_add_test(choosing, predictions_for_many_queries_are_near_what_was_measured);
    tcase_add_test(choosing, a_selection_for_few_queries_is_predicted_as_it_was_measured_on_the_device);
    tcase_add_test(choosing, results_that_the_host_can_take_cost_no_copy);
    tcase_add_test(choosing, only_a_selection_of_many_queries_goes_through_the_devices_filter);
    tcase_add_test(choosing, the_largest_shapes_do_not_overflow);
    tcase_add_test(choosing, whatever_comes_at_most_twice_the_best_fixed_choice_is_paid);
    suite_add_tcase(suite, choosing);
    return suite;
}
