/* Extents against a model that keeps the state of every byte.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "extent.h"

Suite *extent_suite(void);

#define MODEL_BYTES 96
#define WIDE_BYTES 4096

typedef struct byte_state {
    eum_locations valid, accessed_by;
    uint32_t flags;
} byte_state;

/* Check writes to a pipe for every assertion that holds: too slow for every byte of every step. */
#define demand(condition)                                                                                                          \
    do {                                                                                                                           \
        if (!(condition))                                                                                                          \
            ck_abort_msg("%s", #condition);                                                                                        \
    } while (0)

static uint64_t seed;

static uint64_t draw(uint64_t below) /* splitmix64 */
{
    uint64_t z = seed += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (z ^ (z >> 31)) % below;
}

static void change_model(byte_state *model, uint64_t begin, uint64_t end, const eum_extent_change *change)
{
    for (uint64_t i = begin; i < end; i++) {
        model[i].valid = (model[i].valid & change->valid_keep) | change->valid_add;
        model[i].accessed_by = (model[i].accessed_by & change->accessed_by_keep) | change->accessed_by_add;
        model[i].flags = (model[i].flags & ~change->flags_clear) | change->flags_set;
    }
}

static eum_extent_change random_change(void)
{
    eum_extent_change change = EUM_EXTENT_CHANGE_NONE;
    if (draw(2) == 0)
        change.valid_keep = draw(4);
    if (draw(2) == 0)
        change.valid_add = draw(4);
    if (draw(4) == 0)
        change.accessed_by_add = eum_at(0);
    if (draw(4) == 0)
        change.accessed_by_keep = 0;
    change.flags_clear = (uint32_t)draw(8);
    change.flags_set = (uint32_t)(draw(8) & draw(8));
    return change;
}

static bool differ(const eum_extent *a, const eum_extent *b)
{
    return a->valid != b->valid || a->accessed_by != b->accessed_by || a->flags != b->flags;
}

static void assert_well_formed(const eum_extents *set, uint64_t bytes)
{
    demand(set->capacity >= set->count);
    demand((set->items[0].begin) == (0));
    demand((set->items[set->count - 1].end) == (bytes));
    for (size_t i = 0; i < set->count; i++) {
        demand(set->items[i].begin < set->items[i].end);
        if (i > 0)
            demand((set->items[i - 1].end) == (set->items[i].begin));
        if (i > 0 && set->count < EUM_EXTENTS_SOFT_CAP)
            ck_assert_msg(differ(&set->items[i - 1], &set->items[i]), "extents %zu and %zu say the same", i - 1, i);
    }
}

static void assert_agrees(const eum_extents *set, const byte_state *model, uint64_t bytes)
{
    assert_well_formed(set, bytes);
    for (uint64_t i = 0; i < bytes; i++) {
        size_t at = eum_extents_find(set, i);
        const eum_extent *e = &set->items[at];
        demand(e->begin <= i);
        demand(e->end > i);
        demand((e->valid) == (model[i].valid));
        demand((e->accessed_by) == (model[i].accessed_by));
        demand((e->flags) == (model[i].flags));
    }
}

START_TEST(a_new_set_is_one_extent_that_covers_everything)
{
    eum_extents set;
    eum_extents_init(&set, MODEL_BYTES, EUM_AT_HOST, EUM_EXTENT_ASTRAY);
    ck_assert_uint_eq(set.count, 1);
    ck_assert_uint_eq(set.items[0].end, MODEL_BYTES);
    ck_assert_uint_eq(set.items[0].valid, EUM_AT_HOST);
    ck_assert_uint_eq(set.items[0].flags, EUM_EXTENT_ASTRAY);
    eum_extents_free(&set);
}
END_TEST

START_TEST(an_empty_buffer_has_no_extents_and_every_question_has_an_answer)
{
    eum_extents set;
    eum_extents_init(&set, 0, 0, 0);
    ck_assert_uint_eq(set.count, 0);
    ck_assert(!eum_extents_any_flag(&set, 0, 0, ~0u, NULL));
    ck_assert_uint_eq(eum_extents_bytes_at(&set, 0, 0, EUM_KEEP_ALL), 0);
    ck_assert(eum_extents_reserve(&set, 3));
    eum_extent_change change = EUM_EXTENT_CHANGE_NONE;
    eum_extents_change(&set, 0, 0, &change);
    ck_assert_uint_eq(set.count, 0);
    eum_extents_free(&set);
}
END_TEST

START_TEST(every_single_change_of_a_small_set_does_what_the_byte_model_does)
{
    for (uint64_t middle = 1; middle < 8; middle++) {
        for (uint64_t begin = 0; begin <= 8; begin++) {
            for (uint64_t end = begin; end <= 8; end++) {
                eum_extents set;
                byte_state model[8] = {{0}};
                eum_extents_init(&set, 8, 0, 0);
                ck_assert(eum_extents_reserve(&set, 2));
                eum_extent_change first = EUM_EXTENT_CHANGE_NONE, second = EUM_EXTENT_CHANGE_NONE;
                first.valid_add = EUM_AT_HOST;
                second.valid_add = EUM_AT_HOST;
                eum_extents_change(&set, 0, middle, &first);
                change_model(model, 0, middle, &first);
                eum_extents_change(&set, begin, end, &second);
                change_model(model, begin, end, &second);
                assert_agrees(&set, model, 8);
                eum_extents_free(&set);
            }
        }
    }
}
END_TEST

START_TEST(random_changes_agree_with_the_byte_model)
{
    for (int round = 0; round < 300; round++) {
        seed = (uint64_t)round;
        eum_extents set;
        byte_state model[MODEL_BYTES] = {{0}};
        eum_extents_init(&set, MODEL_BYTES, 0, 0);
        for (int step = 0; step < 60; step++) {
            uint64_t begin = draw(MODEL_BYTES + 1), end = begin + draw(MODEL_BYTES + 1 - begin);
            eum_extent_change change = random_change();
            ck_assert(eum_extents_reserve(&set, 1));
            size_t capacity = set.capacity;
            eum_extents_change(&set, begin, end, &change);
            ck_assert_uint_eq(set.capacity, capacity);
            change_model(model, begin, end, &change);
            assert_agrees(&set, model, MODEL_BYTES);
        }
        eum_extents_free(&set);
    }
}
END_TEST

START_TEST(questions_about_flags_and_bytes_agree_with_the_byte_model)
{
    seed = 17;
    eum_extents set;
    byte_state model[MODEL_BYTES] = {{0}};
    eum_extents_init(&set, MODEL_BYTES, 0, 0);
    demand(eum_extents_reserve(&set, 40));
    for (int step = 0; step < 40; step++) {
        uint64_t begin = draw(MODEL_BYTES), end = begin + 1 + draw(8);
        end = end < MODEL_BYTES ? end : MODEL_BYTES;
        eum_extent_change change = random_change();
        eum_extents_change(&set, begin, end, &change);
        change_model(model, begin, end, &change);
    }
    for (uint64_t begin = 0; begin <= MODEL_BYTES; begin++) {
        for (uint64_t end = begin; end <= MODEL_BYTES; end++) {
            uint64_t there = 0, first = MODEL_BYTES;
            for (uint64_t i = begin; i < end; i++) {
                there += (model[i].valid & EUM_AT_HOST) != 0;
                if ((model[i].flags & EUM_EXTENT_UNDEFINED) != 0 && first == MODEL_BYTES)
                    first = i;
            }
            uint64_t where = MODEL_BYTES;
            bool any = eum_extents_any_flag(&set, begin, end, EUM_EXTENT_UNDEFINED, &where);
            demand((any) == (first != MODEL_BYTES));
            demand((where) == (first));
            demand((eum_extents_bytes_at(&set, begin, end, EUM_AT_HOST)) == (there));
        }
    }
    eum_extents_free(&set);
}
END_TEST

/* Alternates two states byte by byte. */
static void stripe(eum_extents *set, eum_locations even, eum_locations odd, uint32_t odd_flags)
{
    eum_extents_init(set, WIDE_BYTES, 0, 0);
    for (uint64_t i = 0; i < WIDE_BYTES; i++) {
        eum_extent_change change = EUM_EXTENT_CHANGE_NONE;
        change.valid_add = i % 2 == 0 ? even : odd;
        change.flags_set = i % 2 == 0 ? 0 : odd_flags;
        demand(eum_extents_reserve(set, 1));
        eum_extents_change(set, i, i + 1, &change);
    }
}

START_TEST(over_the_cap_copies_are_forgotten_and_data_are_not)
{
    eum_extents set;
    stripe(&set, EUM_AT_HOST, EUM_AT_HOST | eum_at(0), 0);
    ck_assert_uint_le(set.count, EUM_EXTENTS_SOFT_CAP + 2);
    ck_assert_uint_eq(eum_extents_bytes_at(&set, 0, WIDE_BYTES, EUM_AT_HOST), WIDE_BYTES);
    assert_well_formed(&set, WIDE_BYTES);
    eum_extents_free(&set);
}
END_TEST

START_TEST(over_the_cap_the_only_copy_of_a_byte_is_never_forgotten)
{
    eum_extents set;
    stripe(&set, EUM_AT_HOST, eum_at(0), 0);
    ck_assert_uint_eq(set.count, WIDE_BYTES);
    ck_assert_uint_eq(eum_extents_bytes_at(&set, 0, WIDE_BYTES, EUM_AT_HOST), WIDE_BYTES / 2);
    ck_assert_uint_eq(eum_extents_bytes_at(&set, 0, WIDE_BYTES, eum_at(0)), WIDE_BYTES / 2);
    eum_extents_free(&set);
}
END_TEST

START_TEST(over_the_cap_undefined_bytes_stay_exactly_those)
{
    eum_extents set;
    stripe(&set, EUM_AT_HOST | eum_at(0), EUM_AT_HOST, EUM_EXTENT_UNDEFINED);
    for (uint64_t i = 0; i < WIDE_BYTES; i++)
        demand((eum_extents_any_flag(&set, i, i + 1, EUM_EXTENT_UNDEFINED, NULL)) == (i % 2 == 1));
    eum_extents_free(&set);
}
END_TEST

START_TEST(over_the_cap_random_changes_only_ever_forget_copies)
{
    for (uint64_t round = 0; round < 4; round++) {
        seed = round;
        eum_extents set;
        static byte_state model[WIDE_BYTES];
        memset(model, 0, sizeof model);
        eum_extents_init(&set, WIDE_BYTES, EUM_AT_HOST, 0);
        for (size_t i = 0; i < WIDE_BYTES; i++)
            model[i].valid = EUM_AT_HOST;
        for (int step = 0; step < 1500; step++) {
            uint64_t begin = draw(WIDE_BYTES), end = begin + 1 + draw(6);
            end = end < WIDE_BYTES ? end : WIDE_BYTES;
            eum_extent_change change = EUM_EXTENT_CHANGE_NONE;
            change.valid_keep = draw(3) == 0 ? 0 : EUM_KEEP_ALL;
            change.valid_add = 1 + draw(3);
            demand(eum_extents_reserve(&set, 1));
            eum_extents_change(&set, begin, end, &change);
            change_model(model, begin, end, &change);
        }
        assert_well_formed(&set, WIDE_BYTES);
        for (uint64_t i = 0; i < WIDE_BYTES; i++) {
            const eum_extent *e = &set.items[eum_extents_find(&set, i)];
            demand((e->valid & ~model[i].valid) == (0));
            demand((e->valid) != (0));
        }
        eum_extents_free(&set);
    }
}
END_TEST

START_TEST(changes_at_boundaries_that_are_there_need_no_room)
{
    eum_extents set;
    eum_extent_change change = EUM_EXTENT_CHANGE_NONE;
    change.valid_add = EUM_AT_HOST;
    eum_extents_init(&set, 100, 0, 0);
    ck_assert_uint_eq(eum_extents_splits(&set, 0) + eum_extents_splits(&set, 100), 0);
    ck_assert(eum_extents_reserve_boundaries(&set, 0));
    eum_extents_change(&set, 0, 100, &change); /* all of it */
    ck_assert_ptr_eq(set.items, &set.one);
    ck_assert_uint_eq(eum_extents_splits(&set, 40), 1);
    ck_assert(eum_extents_reserve_boundaries(&set, 2));
    change.valid_keep = 0;
    change.valid_add = eum_at(0);
    eum_extents_change(&set, 40, 60, &change);
    ck_assert_uint_eq(set.count, 3);
    ck_assert_uint_eq(eum_extents_splits(&set, 40) + eum_extents_splits(&set, 60), 0);
    ck_assert_uint_eq(eum_extents_splits(&set, 59), 1);
    eum_extents_free(&set);
}
END_TEST

Suite *extent_suite(void)
{
    Suite *suite = suite_create("extent");
    TCase *tests = tcase_create("extent");
    tcase_add_test(tests, changes_at_boundaries_that_are_there_need_no_room);
    tcase_add_test(tests, a_new_set_is_one_extent_that_covers_everything);
    tcase_add_test(tests, an_empty_buffer_has_no_extents_and_every_question_has_an_answer);
    tcase_add_test(tests, every_single_change_of_a_small_set_does_what_the_byte_model_does);
    tcase_add_test(tests, random_changes_agree_with_the_byte_model);
    tcase_add_test(tests, questions_about_flags_and_bytes_agree_with_the_byte_model);
    tcase_add_test(tests, over_the_cap_copies_are_forgotten_and_data_are_not);
    tcase_add_test(tests, over_the_cap_the_only_copy_of_a_byte_is_never_forgotten);
    tcase_add_test(tests, over_the_cap_undefined_bytes_stay_exactly_those);
    tcase_add_test(tests, over_the_cap_random_changes_only_ever_forget_copies);
    suite_add_tcase(suite, tests);
    return suite;
}
