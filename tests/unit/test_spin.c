/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <check.h>
#include <stdint.h>

#include "spin.h"

#define US INT64_C(1000)

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
    return *state;
}

START_TEST(a_new_thread_looks_for_a_short_time)
{
    eum_spin spin = {.most_ns = 500 * US};
    ck_assert_int_eq(eum_spin_limit(&spin), EUM_SPIN_SHORT_NS);
}
END_TEST

START_TEST(loops_that_follow_each_other_are_looked_for_as_long_as_is_allowed)
{
    eum_spin spin = {.most_ns = 500 * US};
    int64_t before = 0;
    for (int i = 0; i < 3; i++) {
        ck_assert_int_gt(eum_spin_limit(&spin), before);
        before = eum_spin_limit(&spin);
        eum_spin_waited(&spin, 300 * US); /* longer than the first looks: the thread slept, and was told by the wake-up */
    }
    ck_assert_int_eq(eum_spin_limit(&spin), 500 * US);
    eum_spin_waited(&spin, 500 * US);
    ck_assert_int_eq(eum_spin_limit(&spin), 500 * US);
}
END_TEST

START_TEST(a_long_look_in_vain_makes_the_next_one_short)
{
    eum_spin spin = {.most_ns = 500 * US};
    for (int i = 0; i < 10; i++)
        eum_spin_waited(&spin, 10 * US);
    ck_assert_int_eq(eum_spin_limit(&spin), 500 * US);
    eum_spin_waited(&spin, 501 * US);
    ck_assert_int_le(eum_spin_limit(&spin), 2 * EUM_SPIN_SHORT_NS);
    for (int i = 0; i < 10; i++)
        eum_spin_waited(&spin, INT64_MAX);
    ck_assert_int_eq(eum_spin_limit(&spin), EUM_SPIN_SHORT_NS);
}
END_TEST

START_TEST(whatever_comes_what_is_looked_for_in_vain_was_earned)
{
    static const int64_t mosts[] = {0, 1 * US, 20 * US, 21 * US, 100 * US, 500 * US, 5000 * US, EUM_SPIN_LARGEST_NS};
    uint64_t random = 88172645463325252u;
    for (size_t m = 0; m < sizeof mosts / sizeof *mosts; m++) {
        eum_spin spin = {.most_ns = mosts[m]};
        int64_t in_vain = 0, in_time = 0;
        for (int i = 0; i < 20000; i++) {
            int64_t gap = (int64_t)(next_random(&random) % (uint64_t)(2 * mosts[m] + 40 * US)), limit = eum_spin_limit(&spin);
            if (i % 1000 < 300)
                gap %= 30 * US;
            ck_assert_int_ge(limit, 0);
            ck_assert_int_le(limit, mosts[m]);
            if (gap <= mosts[m])
                in_time++;
            else if (limit > EUM_SPIN_SHORT_NS)
                in_vain += limit - EUM_SPIN_SHORT_NS;
            eum_spin_waited(&spin, gap);
            ck_assert_int_le(in_vain, in_time * EUM_SPIN_REWARD_NS);
        }
    }
}
END_TEST

START_TEST(a_look_may_be_shorter_than_the_short_one_or_none)
{
    eum_spin spin = {.most_ns = 5 * US};
    ck_assert_int_eq(eum_spin_limit(&spin), 5 * US);
    spin.most_ns = 0;
    eum_spin_waited(&spin, 0);
    eum_spin_waited(&spin, 100);
    ck_assert_int_eq(eum_spin_limit(&spin), 0);
}
END_TEST

START_TEST(the_option_is_whole_microseconds)
{
    int64_t ns = -1;
    ck_assert_int_eq(eum_spin_parse(NULL, &ns), EUM_OK);
    ck_assert_int_eq(ns, EUM_SPIN_DEFAULT_NS);
    ns = -1;
    ck_assert_int_eq(eum_spin_parse("", &ns), EUM_OK);
    ck_assert_int_eq(ns, EUM_SPIN_DEFAULT_NS);
    ck_assert_int_eq(eum_spin_parse("0", &ns), EUM_OK);
    ck_assert_int_eq(ns, 0);
    ck_assert_int_eq(eum_spin_parse("1500", &ns), EUM_OK);
    ck_assert_int_eq(ns, 1500 * US);
    ck_assert_int_eq(eum_spin_parse("1000000", &ns), EUM_OK);
    ck_assert_int_eq(ns, EUM_SPIN_LARGEST_NS);
}
END_TEST

START_TEST(what_is_no_such_number_is_refused)
{
    static const char *const wrong[] = {"-1", "+1", " 1", "1 ", "1.5", "20us", "no", "1000001", "99999999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int64_t ns = 7;
        ck_assert_msg(eum_spin_parse(wrong[i], &ns) == EUM_ERROR_INVALID_ARGUMENT, "\"%s\" was taken", wrong[i]);
        ck_assert_int_eq(ns, 7);
    }
}
END_TEST

Suite *spin_suite(void)
{
    Suite *suite = suite_create("spin");
    TCase *tests = tcase_create("spin");
    tcase_add_test(tests, a_new_thread_looks_for_a_short_time);
    tcase_add_test(tests, loops_that_follow_each_other_are_looked_for_as_long_as_is_allowed);
    tcase_add_test(tests, a_long_look_in_vain_makes_the_next_one_short);
    tcase_add_test(tests, whatever_comes_what_is_looked_for_in_vain_was_earned);
    tcase_add_test(tests, a_look_may_be_shorter_than_the_short_one_or_none);
    tcase_add_test(tests, the_option_is_whole_microseconds);
    tcase_add_test(tests, what_is_no_such_number_is_refused);
    suite_add_tcase(suite, tests);
    return suite;
}
