/* What is copied of mirrored memory: every small state, use and direction.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "placement_fixture.h"

Suite *placement_mirrored_suite(void);

/* ---------------------------------------------------------------------------------------------------- mirrored ----- */

#define SMALL 6u

static void try_mirrored(const eum_locations *valid, eum_access access, eum_location where, uint64_t begin, uint64_t end)
{
    eum_extents extents;
    eum_plan plan;
    eum_extents_init(&extents, SMALL, 0, 0);
    demand(eum_extents_reserve(&extents, 20));
    uint64_t expected = 0;
    for (uint64_t i = 0; i < SMALL; i++) {
        eum_extent_change change = EUM_EXTENT_CHANGE_NONE;
        change.valid_add = valid[i];
        eum_extents_change(&extents, i, i + 1, &change);
        bool elsewhere = valid[i] != 0 && (valid[i] & eum_at(where)) == 0;
        expected += i >= begin && i < end && elsewhere && access != EUM_ACCESS_OVERWRITE;
    }
    eum_plan_init(&plan);
    eum_use use = {begin, end,   access, where, EUM_BACKING_MIRRORED, EUM_ROLE_AUTO, 1, 0, SMALL, SMALL, false, false,
                   false, false, false,  false};
    eum_plan_use(&plan, &extents, &use);
    uint64_t moving = 0;
    for (size_t i = 0; i < plan.count; i++) {
        const eum_step *step = &plan.steps[i];
        demand((step->kind) == (EUM_STEP_COPY));
        demand((step->to_host) == (where == EUM_LOCATION_HOST));
        demand(step->begin >= begin);
        demand(step->end <= end);
        for (uint64_t k = step->begin; k < step->end; k++)
            demand(step->to_host ? (valid[k] & eum_at(step->where)) != 0 : (valid[k] & EUM_AT_HOST) != 0);
        moving += step->moving;
        eum_extent_change change = eum_step_change(step);
        eum_extents_change(&extents, step->begin, step->end, &change);
    }
    demand(moving == expected);
    eum_extent_change change = eum_use_change(&use);
    eum_extents_change(&extents, begin, end, &change);
    for (uint64_t i = 0; i < SMALL; i++) {
        eum_locations now = extents.items[eum_extents_find(&extents, i)].valid;
        if (i < begin || i >= end)
            demand(now == valid[i]);
        else if (access != EUM_ACCESS_READ)
            demand(now == eum_at(where));
        else if (valid[i] != 0)
            demand(now == (valid[i] | eum_at(where)));
    }
    eum_plan_free(&plan);
    eum_extents_free(&extents);
}

START_TEST(mirrored_bytes_are_copied_exactly_where_they_are_needed_and_not_valid)
{
    static const eum_location places[] = {EUM_LOCATION_HOST, DEVICE};
    for (unsigned state = 0; state < 4096; state++) {
        eum_locations valid[SMALL];
        for (unsigned i = 0; i < SMALL; i++)
            valid[i] = state >> (2 * i) & 3u;
        for (uint64_t begin = 0; begin < SMALL; begin++)
            for (uint64_t end = begin + 1; end <= SMALL; end++)
                for (eum_access access = EUM_ACCESS_READ; access <= EUM_ACCESS_OVERWRITE; access++)
                    try_mirrored(valid, access, places[(state + begin + end) % 2], begin, end);
    }
}
END_TEST

START_TEST(contiguous_bytes_are_one_copy)
{
    eum_extents extents;
    eum_plan plan;
    eum_extents_init(&extents, 1000, EUM_AT_HOST, 0);
    ck_assert(eum_extents_reserve(&extents, 2));
    eum_extent_change change = EUM_EXTENT_CHANGE_NONE;
    change.flags_set = EUM_EXTENT_UNDEFINED;
    eum_extents_change(&extents, 300, 400, &change); /* splits, and says nothing about where the bytes are */
    eum_plan_init(&plan);
    eum_use use = {0,
                   1000,
                   EUM_ACCESS_READ_WRITE,
                   DEVICE,
                   EUM_BACKING_MIRRORED,
                   EUM_ROLE_AUTO,
                   1,
                   0,
                   1000,
                   1000,
                   false,
                   false,
                   false,
                   false,
                   false,
                   false};
    eum_plan_use(&plan, &extents, &use);
    ck_assert_uint_eq(plan.count, 1);
    ck_assert_uint_eq(plan.steps[0].moving, 1000);
    eum_plan_free(&plan);
    eum_extents_free(&extents);
}
END_TEST

START_TEST(a_plan_of_many_pieces_grows)
{
    eum_extents extents;
    eum_plan plan;
    eum_extents_init(&extents, 1000, 0, 0);
    ck_assert(eum_extents_reserve(&extents, 500));
    eum_extent_change change = EUM_EXTENT_CHANGE_NONE;
    change.valid_add = EUM_AT_HOST;
    for (uint64_t i = 0; i < 200; i++)
        eum_extents_change(&extents, 5 * i, 5 * i + 3, &change);
    eum_plan_init(&plan);
    eum_use use = {0,     1000,  EUM_ACCESS_READ, DEVICE, EUM_BACKING_MIRRORED, EUM_ROLE_AUTO, 1, 0, 1000, 1000, false, false,
                   false, false, false,           false};
    eum_plan_use(&plan, &extents, &use);
    ck_assert(!plan.no_memory);
    ck_assert_uint_eq(plan.count, 200);
    for (size_t i = 0; i < plan.count; i++)
        ck_assert_uint_eq(plan.steps[i].begin, 5 * i);
    eum_plan_free(&plan);
    eum_extents_free(&extents);
}
END_TEST

Suite *placement_mirrored_suite(void)
{
    Suite *suite = suite_create("placement_mirrored");
    TCase *tests = tcase_create("placement_mirrored");
    tcase_set_timeout(tests, 240);
    tcase_add_test(tests, mirrored_bytes_are_copied_exactly_where_they_are_needed_and_not_valid);
    tcase_add_test(tests, contiguous_bytes_are_one_copy);
    tcase_add_test(tests, a_plan_of_many_pieces_grows);
    suite_add_tcase(suite, tests);
    return suite;
}
