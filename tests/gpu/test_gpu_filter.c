/* The filter in front of a selection of many queries: nothing that it leaves out may be among the best.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "gpu_scoring_data.h"

/* So many multiprocessors that each has several tiles, of 256 rows where queries are few: what millions of rows would take otherwise. */
#define FEW_PROCESSORS 8

/* Rows enough for a sample, vectors of all kinds among them: those whose bounds say nothing must not be lost. */
START_TEST(the_filter_loses_no_row)
{
    const uint64_t queries[] = {9, 130}, dims_[] = {4, 100, 768}, ks[] = {1, 10, 100};
    const uint64_t rows = 20011;
    for (size_t n = 0; n < 2; n++) {
        data d = make(elements[_i % 3], queries[n], rows, dims_[_i / 3 % 3], 0, 0, 100);
        fill_with_all_kinds(&d, true);
        d.args.processors = _i / 9 == 0 ? 0 : FEW_PROCESSORS;
        for (int m = 0; m < 3; m++) {
            d.args.metric = metrics[m];
            check_best(&d, ks, 3);
        }
        end(&d);
    }
}
END_TEST

/* Rows whose scores in float16 are wrong by as much as they can be, in either direction; rows so alike that every one of them is a
 * candidate, and only the exact path can tell them apart; best rows where the sample has none; scales at the ends of float32. */
START_TEST(the_filter_is_not_fooled)
{
    enum { ROUNDED, ALIKE, UNSAMPLED, SMALL_SCALE, LARGE_SCALE, ONE_HUGE_ELEMENT };
    const uint64_t queries[] = {12, 140}, rows = 20011, dim = 96, ks[] = {1, 10, 100};
    for (size_t n = 0; n < 2; n++) {
        data d = make(EUM_ELEMENT_FLOAT32, queries[n], rows, dim, 0, 0, 100);
        for (uint64_t i = 0; i < queries[n] * dim; i++)
            query_of(&d, i / dim)[i % dim] =
                _i == ROUNDED ? 1.0f + (float)(gpu_hash(1, i) % 1024) / 1024 + 0x1.ffp-12f : value(1, i);
        for (uint64_t r = 0; r < rows; r++) {
            for (uint64_t k = 0; k < dim; k++) {
                const uint64_t i = r * dim + k;
                const float v = value(2, i), q = query_of(&d, 0)[k];
                const float below = (float)(gpu_hash(2, i) % 1024) / 1024 + 1.0f; /* and what is half-way to the next float16 */
                const float x = _i == ROUNDED       ? below + (r % 2 != 0 ? 0x1.ffp-12f : 0x1.01p-11f)
                                : _i == ALIKE       ? q + 1e-5f * v
                                : _i == UNSAMPLED   ? (r % 20 == 7 ? q + 0.3f * v : v)
                                : _i == SMALL_SCALE ? v * 1e-36f
                                : _i == LARGE_SCALE ? v * 1e17f
                                : k == r % dim      ? 1e6f * v
                                                    : v;
                store(EUM_ELEMENT_FLOAT32, row_of(&d, r), k, x);
            }
        }
        upload(&d);
        for (int m = 0; m < 6; m++) {
            d.args.metric = metrics[m % 3];
            d.args.processors = m < 3 ? 0 : FEW_PROCESSORS;
            check_best(&d, ks, 3);
        }
        end(&d);
    }
}
END_TEST

/* Squared distances to a zero query are squares of rows, and beside rows so huge that the filter scales them down, those of small rows are
 * lost: what is one element below has nothing left, what is many smaller ones has still less, though it is more. Others must not hide it. */
START_TEST(a_zero_query_tells_small_rows_apart)
{
    const uint64_t queries = 12, rows = 20011, dim = 96, ks[] = {1, 10};
    const float unit =
        0x1p-31f * 0.70710678f; /* its square is 2^-149 where the largest element, below 2^50, becomes one below 2^7 */
    data d = make(EUM_ELEMENT_FLOAT32, queries, rows, dim, 0, 0, 10);
    for (uint64_t i = 0; i < queries * dim; i++)
        query_of(&d, i / dim)[i % dim] = i / dim % 3 == 0 ? 0.0f : value(1, i);
    for (uint64_t r = 0; r < rows; r++) {
        for (uint64_t k = 0; k < dim; k++) {
            const bool one = r % 2001 == 1234, many = r % 20 == 7; /* squares of 0.53 to 0.6 of the unit's, and 96 of 0.4 of it */
            const float x = one    ? (k == 5 ? unit * (0.775f - 0.0045f * (float)(r / 2001)) : 0.0f)
                            : many ? unit * 0.632f
                                   : value(2, r * dim + k) * 0x1p50f;
            store(EUM_ELEMENT_FLOAT32, row_of(&d, r), k, x);
        }
    }
    upload(&d);
    d.args.metric = EUM_METRIC_L2_SQUARED;
    check_best(&d, ks, 2);
    end(&d);
}
END_TEST

/* 4,096 products that are each just less than half of the smallest float32 come to nothing in float32, and to 2,007 of it in the filter: one
 * product that is the smallest is more. Few queries: their kernels add up one product after the other. */
START_TEST(sums_that_vanish_in_float32_hide_nothing)
{
    const uint64_t queries = 2, rows = 20011, dim = 4096, ks[] = {1, 9};
    data d = make(EUM_ELEMENT_FLOAT32, queries, rows, dim, 0, 0, 9);
    for (uint64_t i = 0; i < queries * dim; i++)
        query_of(&d, i / dim)[i % dim] = 0x1p-60f;
    for (uint64_t r = 0; r < rows; r++) {
        const bool one = r % 2001 == 1234, many = r % 10 == 3;
        for (uint64_t k = 0; k < dim; k++)
            store(EUM_ELEMENT_FLOAT32, row_of(&d, r), k, one && k == 77 ? 0x1p-89f : many && !one ? 251 * 0x1p-98f : 0.0f);
    }
    upload(&d);
    d.args.metric = EUM_METRIC_DOT;
    d.args.flags = EUM_SCORING_FILTER;
    check_best(&d, ks, 2);
    end(&d);
}
END_TEST

/* On a small device the exact path does so many queries in several launches. One of the last has only candidates; those in its place in
 * the first launch do not need it. */
START_TEST(a_small_device_finishes_the_queries_that_the_filter_left)
{
    const uint64_t queries = 300, rows = 20011, dim = 64, ten = 10;
    data d = make(EUM_ELEMENT_FLOAT32, queries, rows, dim, 0, 0, ten);
    for (uint64_t i = 0; i < queries * dim; i++)
        query_of(&d, i / dim)[i % dim] = i / dim == 290 ? 0.0f : value(1, i);
    for (uint64_t i = 0; i < rows * dim; i++)
        store(EUM_ELEMENT_FLOAT32, row_of(&d, i / dim), i % dim, value(2, i));
    upload(&d);
    d.args.processors = 2;
    for (int m = 0; m < 3; m++) {
        d.args.metric = metrics[m];
        check_best(&d, &ten, 1);
    }
    end(&d);
}
END_TEST

/* Up to 8 queries have kernels of their own, whose bits the filter gives, too: vectors of all kinds, and a query for which all rows are
 * alike, so that those kernels follow. Dims that each number of lanes has. */
START_TEST(few_queries_get_the_bits_of_their_kernels)
{
    const uint64_t dims_[] = {16, 132, 768, 4096}, dim = dims_[_i], queries[] = {2, 5, 8}, rows = 20011, ks[] = {1, 10, 100};
    for (size_t n = 0; n < 3; n++) {
        for (int special = 0; special < 2; special++) {
            data d = make(EUM_ELEMENT_FLOAT32, queries[n], rows, dim, 4 * n, 0, 100);
            fill_with_all_kinds(&d, special != 0);
            if (special != 0)
                memset(query_of(&d, 1), 0, (size_t)dim * sizeof(float));
            upload(&d);
            d.args.flags = EUM_SCORING_FILTER;
            for (int m = 0; m < 6; m++) {
                d.args.metric = metrics[m % 3];
                d.args.processors = m < 3 ? 0 : FEW_PROCESSORS;
                check_best(&d, ks, 3);
            }
            end(&d);
        }
    }
}
END_TEST

Suite *gpu_filter_suite(void);
Suite *gpu_filter_suite(void)
{
    Suite *suite = suite_create("gpu_filter");
    TCase *tests = tcase_create("gpu_filter");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, the_filter_loses_no_row, 0, 18);
    tcase_add_loop_test(tests, the_filter_is_not_fooled, 0, 6);
    tcase_add_test(tests, a_zero_query_tells_small_rows_apart);
    tcase_add_test(tests, sums_that_vanish_in_float32_hide_nothing);
    tcase_add_test(tests, a_small_device_finishes_the_queries_that_the_filter_left);
    tcase_add_loop_test(tests, few_queries_get_the_bits_of_their_kernels, 0, 4);
    suite_add_tcase(suite, tests);
    return suite;
}
