/* Which backing a buffer gets: a function of the device, the costs and what was asked for.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "placement.h"

Suite *placement_backing_suite(void);

/* ------------------------------------------------------------------------------------------------------ backing ---- */

static eum_costs hopper(void)
{
    return eum_costs_default(9);
}

static eum_backing_question question_of(eum_device_kind kind, bool managed, bool concurrent, eum_backing forced)
{
    static eum_costs costs;
    costs = hopper();
    return (eum_backing_question){.device_kind = kind,
                                  .managed = managed,
                                  .concurrent_managed = concurrent,
                                  .forced = forced,
                                  .bytes = 3072000,
                                  .pinned_room = (uint64_t)1 << 30,
                                  .costs = &costs};
}

START_TEST(the_backing_follows_from_what_the_device_can_do)
{
    static const struct {
        eum_device_kind kind;
        bool managed, concurrent;
        eum_backing backing;
        eum_backing_reason reason;
    } cases[] = {
        {EUM_DEVICE_HOST, false, false, EUM_BACKING_HOST, EUM_BACKING_REASON_NO_DEVICE},
        {EUM_DEVICE_CUDA, true, true, EUM_BACKING_MIRRORED, EUM_BACKING_REASON_COPIES_PAY},
        {EUM_DEVICE_CUDA, true, false, EUM_BACKING_MIRRORED, EUM_BACKING_REASON_NO_CONCURRENT},
        {EUM_DEVICE_SIM, false, false, EUM_BACKING_MIRRORED, EUM_BACKING_REASON_NO_MANAGED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        eum_backing_question q = question_of(cases[i].kind, cases[i].managed, cases[i].concurrent, EUM_BACKING_AUTO);
        eum_backing_answer a = eum_choose_backing(&q);
        ck_assert_int_eq(a.backing, cases[i].backing);
        ck_assert_int_eq(a.reason, cases[i].reason);
    }
}
END_TEST

START_TEST(memory_is_managed_where_mirroring_does_not_pay_or_is_not_possible)
{
    const eum_backing_question mirrored = question_of(EUM_DEVICE_CUDA, true, true, EUM_BACKING_AUTO);
    eum_backing_question q = mirrored;
    q.pinned_room = q.bytes; /* just enough */
    ck_assert_int_eq(eum_choose_backing(&q).backing, EUM_BACKING_MIRRORED);
    q.pinned_room = q.bytes - 1;
    ck_assert_int_eq(eum_choose_backing(&q).backing, EUM_BACKING_MANAGED);
    ck_assert_int_eq(eum_choose_backing(&q).reason, EUM_BACKING_REASON_CONCURRENT);
    q = mirrored;
    q.oversubscribe = true;
    ck_assert_int_eq(eum_choose_backing(&q).backing, EUM_BACKING_MANAGED);
    q = mirrored;
    eum_costs quick = hopper(); /* a link on which migration costs no more than a copy */
    quick.prefetch_ns = quick.copy_ns;
    quick.unit_ns = 0;
    q.costs = &quick;
    ck_assert_int_eq(eum_choose_backing(&q).backing, EUM_BACKING_MANAGED);
    q = mirrored;
    q.bytes = 0; /* any ordinary buffer */
    ck_assert_int_eq(eum_choose_backing(&q).backing, EUM_BACKING_MIRRORED);
}
END_TEST

START_TEST(a_forced_backing_is_that_one_or_none)
{
    static const struct {
        eum_device_kind kind;
        bool managed;
        eum_backing forced, answer;
    } cases[] = {
        {EUM_DEVICE_HOST, false, EUM_BACKING_HOST, EUM_BACKING_HOST},
        {EUM_DEVICE_HOST, false, EUM_BACKING_MANAGED, EUM_BACKING_AUTO},
        {EUM_DEVICE_HOST, false, EUM_BACKING_MIRRORED, EUM_BACKING_AUTO},
        {EUM_DEVICE_SIM, true, EUM_BACKING_HOST, EUM_BACKING_AUTO},
        {EUM_DEVICE_SIM, true, EUM_BACKING_MAPPED, EUM_BACKING_MAPPED},
        {EUM_DEVICE_SIM, true, EUM_BACKING_MIRRORED, EUM_BACKING_MIRRORED},
        {EUM_DEVICE_SIM, true, EUM_BACKING_MANAGED, EUM_BACKING_MANAGED},
        {EUM_DEVICE_SIM, false, EUM_BACKING_MANAGED, EUM_BACKING_AUTO},
        {EUM_DEVICE_CUDA, true, EUM_BACKING_DEVICE, EUM_BACKING_AUTO},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        eum_backing_question q = question_of(cases[i].kind, cases[i].managed, true, cases[i].forced);
        eum_backing_answer a = eum_choose_backing(&q);
        ck_assert_int_eq(a.backing, cases[i].answer);
        ck_assert_int_eq(a.reason, EUM_BACKING_REASON_FORCED);
    }
}
END_TEST

START_TEST(every_reason_has_a_sentence)
{
    for (int reason = EUM_BACKING_REASON_FORCED; reason <= EUM_BACKING_REASON_COPIES_PAY; reason++)
        for (int backing = EUM_BACKING_MANAGED; backing <= EUM_BACKING_DEVICE; backing++)
            ck_assert_uint_gt(strlen(eum_backing_sentence(backing, reason)), 20);
}
END_TEST

Suite *placement_backing_suite(void)
{
    Suite *suite = suite_create("placement_backing");
    TCase *tests = tcase_create("placement_backing");
    tcase_set_timeout(tests, 240);
    tcase_add_test(tests, the_backing_follows_from_what_the_device_can_do);
    tcase_add_test(tests, memory_is_managed_where_mirroring_does_not_pay_or_is_not_possible);
    tcase_add_test(tests, a_forced_backing_is_that_one_or_none);
    tcase_add_test(tests, every_reason_has_a_sentence);
    suite_add_tcase(suite, tests);
    return suite;
}
