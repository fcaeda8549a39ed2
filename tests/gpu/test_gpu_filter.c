/* The filter in front of a selection of many queries: nothing that it leaves out may be among the best.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "gpu_scoring_data.h"

/* Rows enough for a sample, vectors of all kinds among them: those whose bounds say nothing must not be lost. */
START_TEST(the_filter_loses_no_row)
{
    const uint64_t queries[] = {9, 130}, dims_[] = {4, 100, 768}, ks[] = {1, 10, 100};
    const uint64_t rows = 20011;
    for (size_t n = 0; n < 2; n++) {
        data d = make(elements[_i % 3], queries[n], rows, dims_[_i / 3], 0, 0, 100);
        fill_with_all_kinds(&d, true);
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
        for (int m = 0; m < 3; m++) {
            d.args.metric = metrics[m];
            check_best(&d, ks, 3);
        }
        end(&d);
    }
}
END_TEST

Suite *gpu_filter_suite(void);
Suite *gpu_filter_suite(void)
{
    Suite *suite = suite_create("gpu_filter");
    TCase *tests = tcase_create("gpu_filter");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, the_filter_loses_no_row, 0, 9);
    tcase_add_loop_test(tests, the_filter_is_not_fooled, 0, 6);
    suite_add_tcase(suite, tests);
    return suite;
}
