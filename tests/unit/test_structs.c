/* What happens to structs that are older and newer than the library: tried with a struct that has grown, as none of the real ones has yet.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <check.h>
#include <string.h>

#include "structs.h"

typedef struct first_version {
    size_t struct_size;
    int32_t a, b;
} first_version;

typedef struct second_version {
    size_t struct_size;
    int32_t a, b;
    int64_t added;
} second_version;

static const second_version defaults = {sizeof(second_version), 1, 2, 3};
static const eum_struct_type grown = {"grown", sizeof(first_version), sizeof(second_version), &defaults};

/* An old struct with something behind it that is not the library's. */
typedef struct old_caller {
    first_version given;
    int64_t beyond;
} old_caller;

START_TEST(an_old_input_gets_the_defaults_of_what_it_does_not_know)
{
    old_caller old = {{sizeof(first_version), 10, 20}, 30};
    second_version full;
    ck_assert_int_eq(eum_struct_take(&grown, &old.given, &full), EUM_OK);
    ck_assert_uint_eq(full.struct_size, sizeof full);
    ck_assert_int_eq(full.a, 10);
    ck_assert_int_eq(full.b, 20);
    ck_assert_int_eq(full.added, 3);
}
END_TEST

START_TEST(a_current_input_is_taken_whole)
{
    second_version given = {sizeof given, 10, 20, 30}, full;
    ck_assert_int_eq(eum_struct_take(&grown, &given, &full), EUM_OK);
    ck_assert_mem_eq(&full, &given, sizeof full);
}
END_TEST

START_TEST(no_input_is_the_defaults)
{
    second_version full;
    ck_assert_int_eq(eum_struct_take(&grown, NULL, &full), EUM_OK);
    ck_assert_mem_eq(&full, &defaults, sizeof full);
}
END_TEST

START_TEST(sizes_between_two_versions_are_taken_as_far_as_they_go)
{
    second_version given = {sizeof given - 4, 10, 20, -1}, full;
    ck_assert_int_eq(eum_struct_take(&grown, &given, &full), EUM_OK);
    ck_assert_int_eq(full.a, 10);
    ck_assert_uint_eq(full.struct_size, sizeof full);
}
END_TEST

START_TEST(inputs_that_do_not_fit_are_refused)
{
    const size_t wrong[] = {0, 1, sizeof(first_version) - 1, sizeof(second_version) + 1, SIZE_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        second_version given = {wrong[i], 10, 20, 30}, full;
        size_t size = 77;
        eum_status wanted = wrong[i] > sizeof given ? EUM_ERROR_STRUCT_TOO_NEW : EUM_ERROR_STRUCT_TOO_SMALL;
        ck_assert_int_eq(eum_struct_fits(&grown, wrong[i]), wanted);
        ck_assert_int_eq(eum_struct_take(&grown, &given, &full), wanted);
        ck_assert_int_eq(eum_struct_expect(&grown, &given, &size, &full), wanted);
    }
}
END_TEST

START_TEST(an_old_output_is_written_as_far_as_it_goes_and_keeps_its_size)
{
    old_caller old = {{sizeof(first_version), -1, -1}, -1};
    second_version full;
    size_t size = 0;
    ck_assert_int_eq(eum_struct_expect(&grown, &old.given, &size, &full), EUM_OK);
    ck_assert_uint_eq(size, sizeof(first_version));
    ck_assert_mem_eq(&full, &defaults, sizeof full);
    full.a = 100;
    full.b = 200;
    full.added = 300;
    eum_struct_give(&full, &old.given, size);
    ck_assert_uint_eq(old.given.struct_size, sizeof(first_version));
    ck_assert_int_eq(old.given.a, 100);
    ck_assert_int_eq(old.given.b, 200);
    ck_assert_int_eq(old.beyond, -1);
}
END_TEST

Suite *structs_suite(void);
Suite *structs_suite(void)
{
    Suite *suite = suite_create("structs");
    TCase *versions = tcase_create("versions");
    tcase_add_test(versions, an_old_input_gets_the_defaults_of_what_it_does_not_know);
    tcase_add_test(versions, a_current_input_is_taken_whole);
    tcase_add_test(versions, no_input_is_the_defaults);
    tcase_add_test(versions, sizes_between_two_versions_are_taken_as_far_as_they_go);
    tcase_add_test(versions, inputs_that_do_not_fit_are_refused);
    tcase_add_test(versions, an_old_output_is_written_as_far_as_it_goes_and_keeps_its_size);
    suite_add_tcase(suite, versions);
    return suite;
}
