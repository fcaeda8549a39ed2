/* statistics: what the benchmark says of its samples.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "bench/statistics.h"

#define NONE ((double)NAN)

START_TEST(a_median_is_the_middle_value_or_the_mean_of_the_two_in_the_middle)
{
    const double odd[] = {9, 1, 4}, even[] = {10, 1, 4, 3}, one[] = {7};
    ck_assert_double_eq(bench_median(odd, 3), 4);
    ck_assert_double_eq(odd[0], 9); /* left alone */
    ck_assert_double_eq(bench_median(even, 4), 3.5);
    ck_assert_double_eq(bench_median(one, 1), 7);
    ck_assert(isnan(bench_median(one, 0)));
}
END_TEST

START_TEST(samples_that_are_not_there_are_left_out)
{
    const double values[] = {NONE, 5, NONE, 7, 6}, ours[] = {2, NONE, 6, 8}, theirs[] = {1, 1, NONE, 2};
    ck_assert_double_eq(bench_median(values, 5), 6);
    bench_estimate ratio = bench_estimate_ratio(ours, theirs, 4);
    ck_assert_uint_eq(ratio.count, 2);
    ck_assert_double_eq(ratio.median, 3); /* of 2 and 4 */
    bench_estimate none = bench_estimate_median(values, 1);
    ck_assert_uint_eq(none.count, 0);
    ck_assert(isnan(none.median) && isnan(none.low) && isnan(none.high));
}
END_TEST

START_TEST(ratios_are_taken_in_pairs_and_not_of_medians)
{
    /* The machine was three times as slow in the second half, for both; ours takes 10 % more each time. */
    double ours[20], theirs[20];
    for (int i = 0; i < 20; i++) {
        theirs[i] = (i < 10 ? 100 : 300) + i;
        ours[i] = theirs[i] * 1.1;
    }
    bench_estimate ratio = bench_estimate_ratio(ours, theirs, 20);
    ck_assert_double_eq_tol(ratio.median, 1.1, 1e-12);
    ck_assert_double_eq_tol(ratio.low, 1.1, 1e-12);
    ck_assert_double_eq_tol(ratio.high, 1.1, 1e-12);
}
END_TEST

START_TEST(a_rival_that_took_no_time_makes_no_ratio)
{
    const double ours[] = {1, 2}, theirs[] = {0, 4};
    bench_estimate ratio = bench_estimate_ratio(ours, theirs, 2);
    ck_assert_uint_eq(ratio.count, 1);
    ck_assert_double_eq(ratio.median, 0.5);
}
END_TEST

/* Of many experiments with a known median about 95 % must have it in their interval. */
START_TEST(the_interval_holds_the_true_median_about_95_times_in_100)
{
    uint64_t state = 1;
    int held = 0, experiments = 200;
    double width = 0;
    for (int e = 0; e < experiments; e++) {
        double values[31];
        for (int i = 0; i < 31; i++)
            values[i] = (double)(bench_random(&state) >> 11) / 9007199254740992.0; /* uniform, median 0.5 */
        bench_estimate estimate = bench_estimate_median(values, 31);
        ck_assert_double_le(estimate.low, estimate.median);
        ck_assert_double_ge(estimate.high, estimate.median);
        held += estimate.low <= 0.5 && 0.5 <= estimate.high;
        width += (estimate.high - estimate.low) / experiments;
    }
    ck_assert_int_ge(held, experiments * 88 / 100);
    ck_assert_double_lt(width, 0.5); /* and is not simply everything */
    ck_assert_double_gt(width, 0.1);
}
END_TEST

START_TEST(a_shuffle_keeps_the_items_and_gives_every_order)
{
    uint64_t state = 3;
    int seen[6] = {0};
    for (int i = 0; i < 6000; i++) {
        size_t items[3] = {0, 1, 2};
        bench_shuffle(items, 3, &state);
        ck_assert_uint_eq(items[0] + items[1] + items[2], 3);
        ck_assert_uint_eq((1u << items[0]) | (1u << items[1]) | (1u << items[2]), 7);
        seen[items[0] * 2 + (items[1] > items[2])]++;
    }
    for (int i = 0; i < 6; i++)
        ck_assert_msg(seen[i] > 850 && seen[i] < 1150, "order %d came %d times of 6000", i, seen[i]);
}
END_TEST

Suite *bench_statistics_suite(void)
{
    Suite *suite = suite_create("bench_statistics");
    TCase *tests = tcase_create("statistics");
    tcase_add_test(tests, a_median_is_the_middle_value_or_the_mean_of_the_two_in_the_middle);
    tcase_add_test(tests, samples_that_are_not_there_are_left_out);
    tcase_add_test(tests, ratios_are_taken_in_pairs_and_not_of_medians);
    tcase_add_test(tests, a_rival_that_took_no_time_makes_no_ratio);
    tcase_add_test(tests, the_interval_holds_the_true_median_about_95_times_in_100);
    tcase_add_test(tests, a_shuffle_keeps_the_items_and_gives_every_order);
    suite_add_tcase(suite, tests);
    return suite;
}
