/* patterns: what the benchmark's sizes and names mean, and that its patterns are whole.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "bench/patterns.h"

static bool parse(const char *text, bench_shape *out)
{
    return bench_shape_parse(text, strlen(text), out);
}

START_TEST(a_size_is_bytes_with_a_unit_or_rows_x_dim)
{
    bench_shape shape;
    ck_assert(parse("1000x768", &shape));
    ck_assert(shape.rows == 1000 && shape.dim == 768 && shape.bytes == 3072000);
    ck_assert(parse("4K", &shape)); /* small ones have short rows, so that there are several */
    ck_assert(shape.rows == 16 && shape.dim == 64 && shape.bytes == 4096);
    ck_assert(parse("64M", &shape)); /* whole rows only */
    ck_assert(shape.dim == 768 && shape.rows == ((size_t)64 << 20) / 3072 && shape.bytes == shape.rows * 3072);
    ck_assert(parse("512M", &shape));
    ck_assert(bench_shape_parse("16M,64M", 3, &shape) && shape.rows == 5461); /* one of a list */
}
END_TEST

START_TEST(what_is_no_size_is_refused)
{
    static const char *const wrong[] = {"",           "M",    "x768", "1000x", "1000x100",
                                        "1000x8192",  "0x64", "0K",   "12Q",   "4KB",
                                        "-4K",        "513M", "1G",   "100",   "99999999999999999999K",
                                        "16777217x64"};
    bench_shape shape;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        ck_assert_msg(!parse(wrong[i], &shape), "\"%s\" was taken as %zu x %zu", wrong[i], shape.rows, shape.dim);
}
END_TEST

START_TEST(patterns_are_found_by_their_whole_name)
{
    for (size_t i = 0; i < bench_pattern_count; i++)
        ck_assert_ptr_eq(bench_pattern_find(bench_patterns[i].name, strlen(bench_patterns[i].name)), &bench_patterns[i]);
    ck_assert_ptr_null(bench_pattern_find("reuse", 5));
    ck_assert_ptr_null(bench_pattern_find("produce", 4));
    ck_assert_ptr_null(bench_pattern_find("", 0));
}
END_TEST

/* Without that nothing of a cycle would be checked, or it would end before its work does. */
START_TEST(every_cycle_ends_with_the_cpu_and_uses_the_gpu)
{
    for (size_t i = 0; i < bench_pattern_count; i++) {
        const bench_pattern *pattern = &bench_patterns[i];
        bench_step last = BENCH_END;
        bool gpu = false;
        size_t parts = 0;
        for (; parts < sizeof pattern->parts / sizeof pattern->parts[0] && pattern->parts[parts].times > 0; parts++) {
            const bench_step *step = pattern->parts[parts].steps;
            for (; *step != BENCH_END; step++) {
                last = *step;
                gpu = gpu || last == BENCH_SCORE || last == BENCH_EDIT_GPU;
            }
            ck_assert_int_lt(step - pattern->parts[parts].steps, 6);
        }
        ck_assert_msg(parts < sizeof pattern->parts / sizeof pattern->parts[0], "%s has no end", pattern->name);
        ck_assert_msg(gpu, "%s does not use the GPU", pattern->name);
        ck_assert_msg(last == BENCH_GET || last == BENCH_LOOK || last == BENCH_SETTLE, "%s does not wait at its end",
                      pattern->name);
        ck_assert_ptr_nonnull(pattern->library);
    }
}
END_TEST

START_TEST(the_part_that_is_edited_lies_in_the_targets)
{
    for (size_t i = 0; i < bench_pattern_count; i++)
        for (size_t rows = 1; rows < 50; rows++) {
            bench_shape shape = {rows, 64, rows * 256};
            size_t first, count;
            bench_pattern_part(&bench_patterns[i], shape, &first, &count);
            ck_assert_uint_gt(count, 0);
            ck_assert_uint_le(first + count, rows);
            ck_assert_uint_eq(bench_results(&bench_patterns[i], shape),
                              bench_patterns[i].kernel == BENCH_SPREAD ? rows * 64 : rows);
        }
}
END_TEST

START_TEST(shapes_and_bytes_have_a_text)
{
    char text[32];
    bench_shape_text((bench_shape){1000, 768, 3072000}, text, sizeof text);
    ck_assert_str_eq(text, "1000x768");
    static const struct {
        size_t bytes;
        const char *text;
    } texts[] = {{64, "64 B"}, {4096, "4.0 KiB"}, {3072000, "2.9 MiB"}, {(size_t)64 << 20, "64 MiB"}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        bench_bytes_text(texts[i].bytes, text, sizeof text);
        ck_assert_str_eq(text, texts[i].text);
    }
}
END_TEST

Suite *bench_patterns_suite(void)
{
    Suite *suite = suite_create("bench_patterns");
    TCase *tests = tcase_create("patterns");
    tcase_add_test(tests, a_size_is_bytes_with_a_unit_or_rows_x_dim);
    tcase_add_test(tests, what_is_no_size_is_refused);
    tcase_add_test(tests, patterns_are_found_by_their_whole_name);
    tcase_add_test(tests, every_cycle_ends_with_the_cpu_and_uses_the_gpu);
    tcase_add_test(tests, the_part_that_is_edited_lies_in_the_targets);
    tcase_add_test(tests, shapes_and_bytes_have_a_text);
    suite_add_tcase(suite, tests);
    return suite;
}
