/* Which submissions are worth having something ready for: the table behind CUDA graphs, without CUDA.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "device/repeats.h"

Suite *repeats_suite(void);

static eum_repeats table;
static int things[4096]; /* what is made ready: addresses that are not NULL */

static void set_up(void)
{
    memset(&table, 0, sizeof table);
}

/* One submission of number n, as the device makes it; true if something was ready for it, or was made. */
static bool submit(int n)
{
    eum_repeat *victim = NULL, *item = eum_repeats_see(&table, &n, sizeof n);
    ck_assert_ptr_nonnull(item);
    ck_assert(memcmp(item->identity, &n, sizeof n) == 0);
    if (eum_repeats_worth(&table, item, &victim)) {
        if (victim != NULL) {
            ck_assert_ptr_nonnull(victim->made);
            ck_assert_ptr_ne(victim, item);
            victim->made = NULL;
        }
        item->made = &things[n];
    }
    ck_assert(item->made == NULL || item->made == &things[n]); /* never another's */
    return item->made != NULL;
}

static size_t made(void)
{
    size_t all = 0;
    for (size_t i = 0; i < EUM_REPEATS; i++)
        all += table.items[i].made != NULL;
    return all;
}

START_TEST(the_third_time_something_is_made_ready)
{
    ck_assert(!submit(1));
    ck_assert(!submit(2));
    ck_assert(!submit(1));
    ck_assert(submit(1));
    ck_assert(!submit(2));
    ck_assert(submit(1));
    ck_assert(submit(2));
    ck_assert_uint_eq(made(), 2);
}
END_TEST

START_TEST(what_differs_in_a_byte_or_in_length_is_another)
{
    unsigned char identity[EUM_REPEAT_BYTES + 1] = {0};
    eum_repeat *first = eum_repeats_see(&table, identity, EUM_REPEAT_BYTES);
    ck_assert_ptr_nonnull(first);
    ck_assert_ptr_ne(eum_repeats_see(&table, identity, EUM_REPEAT_BYTES - 1), first);
    identity[EUM_REPEAT_BYTES - 1] = 1;
    ck_assert_ptr_ne(eum_repeats_see(&table, identity, EUM_REPEAT_BYTES), first);
    identity[EUM_REPEAT_BYTES - 1] = 0;
    ck_assert_ptr_eq(eum_repeats_see(&table, identity, EUM_REPEAT_BYTES), first);
    ck_assert_uint_eq(first->times, 2);
    ck_assert_ptr_null(eum_repeats_see(&table, identity, EUM_REPEAT_BYTES + 1));
}
END_TEST

START_TEST(a_place_that_another_has_now_is_not_taken_for_its_own)
{
    int n = 0;
    eum_repeat *item = eum_repeats_see(&table, &n, sizeof n);
    uint64_t id = item->id;
    ck_assert_ptr_eq(eum_repeats_see_again(&table, item, id), item);
    ck_assert_uint_eq(item->times, 2);
    for (n = 1; n <= (int)EUM_REPEATS; n++)
        (void)eum_repeats_see(&table, &n, sizeof n);
    ck_assert_ptr_null(eum_repeats_see_again(&table, item, id));
    ck_assert_ptr_null(eum_repeats_see_again(&table, NULL, 0));
    memset(&table, 0, sizeof table);
    ck_assert_ptr_null(eum_repeats_see_again(&table, NULL, 0));
}
END_TEST

START_TEST(the_one_that_was_not_used_for_the_longest_time_leaves)
{
    for (int n = 0; n < (int)EUM_REPEATS; n++)
        (void)submit(n);
    (void)submit(0); /* now 1 is the oldest */
    (void)submit(100);
    ck_assert(submit(0)); /* it is known still: the third time */
    ck_assert(!submit(1));
    ck_assert(!submit(1));
    ck_assert(submit(1));
}
END_TEST

static void fill(void)
{
    for (int time = 0; time < (int)EUM_REPEATS_WORTH; time++)
        for (int n = 0; n < (int)EUM_REPEATS_MADE; n++)
            (void)submit(n);
    ck_assert_uint_eq(made(), EUM_REPEATS_MADE);
}

START_TEST(what_is_in_use_stays_whatever_else_comes_a_few_times)
{
    fill();
    for (int n = 100; n < 400; n++)
        for (int time = 1; time < (int)EUM_REPEATS_REPLACE; time++) {
            ck_assert(submit(time % (int)EUM_REPEATS_MADE));
            ck_assert(!submit(n));
        }
    for (int n = 0; n < (int)EUM_REPEATS_MADE; n++)
        ck_assert(submit(n));
}
END_TEST

START_TEST(what_is_idle_gives_way_to_what_comes_the_third_time_but_not_to_many_in_a_row)
{
    fill();
    for (int time = 0; time < (int)EUM_REPEATS_IDLE; time++)
        ck_assert(!submit(100 + time)); /* each once */
    (void)submit(500);
    (void)submit(500);
    ck_assert(submit(500));
    int ready = 0, bursts = 400;
    for (int n = 1000; n < 1000 + bursts; n++)
        for (int time = 0; time < (int)EUM_REPEATS_WORTH; time++)
            ready += submit(n);
    ck_assert_int_gt(ready, bursts / 10);
    ck_assert_int_le(ready, bursts * (int)EUM_REPEATS_WORTH / (int)EUM_REPEATS_PAUSE + 1);
    ck_assert_uint_eq(made(), EUM_REPEATS_MADE);
}
END_TEST

/* One after the other, each with things of its own, as a program that is done with the last ones and goes on with others. */
START_TEST(each_of_many_phases_has_its_own_ready_soon)
{
    for (int phase = 0; phase < 100; phase++)
        for (int time = 0; time < 60; time++)
            for (int n = 0; n < 4; n++) {
                bool ready = submit(4 * phase + n);
                ck_assert_msg(ready || time < 30, "phase %d, time %d", phase, time);
            }
}
END_TEST

START_TEST(what_comes_often_replaces_the_one_that_was_not_used_for_the_longest_time)
{
    fill();
    for (int time = 1; time < (int)EUM_REPEATS_REPLACE; time++) {
        ck_assert(submit(time % (int)EUM_REPEATS_MADE)); /* all are in use; in the end number 7 was last */
        ck_assert(!submit(100));
    }
    ck_assert(submit(100)); /* in place of number 0 */
    for (int n = 1; n < (int)EUM_REPEATS_MADE; n++)
        ck_assert(submit(n));
    for (int time = 1; time < (int)EUM_REPEATS_REPLACE; time++) {
        ck_assert(submit(time % (int)EUM_REPEATS_MADE == 0 ? 100 : time % (int)EUM_REPEATS_MADE));
        ck_assert(!submit(0)); /* it begins anew */
    }
    ck_assert(submit(0));
    ck_assert_uint_eq(made(), EUM_REPEATS_MADE);
}
END_TEST

START_TEST(what_was_refused_is_not_tried_again)
{
    int n = 7;
    eum_repeat *item = NULL, *victim = NULL;
    for (uint32_t time = 0; time < 3 * EUM_REPEATS_REPLACE; time++) {
        item = eum_repeats_see(&table, &n, sizeof n);
        ck_assert_int_eq(eum_repeats_worth(&table, item, &victim), time + 1 == EUM_REPEATS_WORTH);
        item->refused = time + 1 >= EUM_REPEATS_WORTH;
    }
}
END_TEST

/* Whatever comes: nobody is given what is another's, few have something ready, and what is ready is told to be ended before it is replaced. */
START_TEST(random_submissions)
{
    srand((unsigned)_i + 1);
    size_t ready = 0;
    for (int i = 0; i < 100000; i++) {
        int range = 1 << (1 + rand() % 9);
        ready += submit(rand() % range);
        ck_assert_uint_le(made(), EUM_REPEATS_MADE);
    }
    ck_assert_uint_gt(ready, 10000);
}
END_TEST

Suite *repeats_suite(void)
{
    Suite *suite = suite_create("repeats");
    TCase *tests = tcase_create("table");
    tcase_add_checked_fixture(tests, set_up, NULL);
    tcase_add_test(tests, the_third_time_something_is_made_ready);
    tcase_add_test(tests, what_differs_in_a_byte_or_in_length_is_another);
    tcase_add_test(tests, a_place_that_another_has_now_is_not_taken_for_its_own);
    tcase_add_test(tests, the_one_that_was_not_used_for_the_longest_time_leaves);
    tcase_add_test(tests, what_is_in_use_stays_whatever_else_comes_a_few_times);
    tcase_add_test(tests, what_is_idle_gives_way_to_what_comes_the_third_time_but_not_to_many_in_a_row);
    tcase_add_test(tests, each_of_many_phases_has_its_own_ready_soon);
    tcase_add_test(tests, what_comes_often_replaces_the_one_that_was_not_used_for_the_longest_time);
    tcase_add_test(tests, what_was_refused_is_not_tried_again);
    tcase_add_loop_test(tests, random_submissions, 0, 10);
    suite_add_tcase(suite, tests);
    return suite;
}
