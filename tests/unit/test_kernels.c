/* The cosine kernels of the CPU against float64: accuracy, zero and non-finite numbers.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE 1

#include "cosine_fixture.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

Suite *kernels_suite(void);

/* ----------------------------------------------------------------------------------------------------- accuracy ----- */

START_TEST(scores_match_float64_on_random_data_at_every_dim)
{
    for (size_t i = 0; i < DIMS; i++) {
        size_t dim = dim_number(i), rows = 19; /* two whole blocks of 8 and a short one */
        float *query = floats(dim), *targets = floats(rows * dim);
        fill(query, dim, UNIFORM);
        fill(targets, rows * dim, UNIFORM);
        check_all(&(eum_cosine_args){query, targets, NULL, rows, dim, dim * sizeof(float)}, "random");
        free(query);
        free(targets);
    }
}
END_TEST

START_TEST(scores_match_float64_on_numbers_of_every_size)
{
    static const size_t dims[] = {1, 2, 3, 7, 16, 31, 100, 128, 300, 768, 1536, 4099};
    for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++) {
        size_t dim = dims[i];
        float *query = floats(dim), *targets = floats(KINDS * dim);
        for (int q = 0; q < KINDS; q++) {
            char what[32];
            snprintf(what, sizeof what, "query kind %d", q);
            fill(query, dim, (kind)q);
            for (size_t r = 0; r < KINDS; r++)
                fill(targets + r * dim, dim, (kind)r);
            check_all(&(eum_cosine_args){query, targets, NULL, KINDS, dim, dim * sizeof(float)}, what);
        }
        free(query);
        free(targets);
    }
}
END_TEST

START_TEST(scores_match_float64_on_same_opposite_and_cancelling_rows)
{
    for (size_t i = 0; i < DIMS; i++) {
        size_t dim = dim_number(i);
        float *query = floats(dim), *targets = floats(RELATIONS * dim);
        for (int q = 0; q < KINDS; q++) {
            char what[32];
            snprintf(what, sizeof what, "related, query kind %d", q);
            fill(query, dim, (kind)q);
            for (size_t r = 0; r < RELATIONS; r++)
                fill_related(targets + r * dim, query, dim, (relation)r);
            check_all(&(eum_cosine_args){query, targets, NULL, RELATIONS, dim, dim * sizeof(float)}, what);
        }
        free(query);
        free(targets);
    }
}
END_TEST

START_TEST(scores_match_float64_at_a_million_dims)
{
    size_t dim = ((size_t)1 << 20) + 5;
    float *query = floats(dim), *targets = floats(4 * dim);
    static const kind kinds[] = {UNIFORM, POSITIVE, CONSTANT, MIXED};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        fill(query, dim, kinds[i]);
        fill_related(targets, query, dim, SAME);
        fill_related(targets + dim, query, dim, HALVES_CANCEL);
        for (size_t k = 0; k < dim;
             k++) /* long runs that round the same way, and other ways in the dot product than in the squares */
            targets[2 * dim + k] = k < dim / 3 ? 0.3f : -0.1f;
        fill(targets + 3 * dim, dim, kinds[i]);
        check_all(&(eum_cosine_args){query, targets, NULL, 4, dim, dim * sizeof(float)}, "a million dims");
    }
    free(query);
    free(targets);
}
END_TEST

START_TEST(scores_do_not_depend_on_the_callers_floating_point_modes)
{
#if defined(__x86_64__)
    size_t dim = 100, rows = KINDS;
    float *query = floats(dim), *targets = floats(rows * dim), expected[KINDS], found[KINDS];
    static const kind queries[] = {UNIFORM, DENORMAL};
    for (size_t i = 0; i < 2; i++) {
        fill(query, dim, queries[i]);
        for (size_t r = 0; r < rows; r++)
            fill(targets + r * dim, dim, (kind)r);
        eum_cosine_args args = {query, targets, expected, rows, dim, dim * sizeof(float)};
        FOR_EACH_ISA(isa)
        {
            args.scores = expected;
            score(&args, 0, rows, isa);
            args.scores = found;
            poison(found, rows);
            unsigned int usual = _mm_getcsr(), unusual = usual | 0x8040u | 0x4000u; /* flush to zero both ways, round up */
            _mm_setcsr(unusual);
            score(&args, 0, rows, isa);
            unsigned int after = _mm_getcsr();
            _mm_setcsr(usual);
            ck_assert_uint_eq(after, unusual);
            for (size_t r = 0; r < rows; r++)
                if (bits(found[r]) != bits(expected[r]))
                    ck_abort_msg("%s, row kind %d: %.9g, then %.9g", eum_cpu_isa_name(isa), (int)r, (double)expected[r],
                                 (double)found[r]);
        }
    }
    free(query);
    free(targets);
#endif
}
END_TEST

/* ------------------------------------------------------------------------------------------- zero and non-finite ---- */

START_TEST(zero_vectors_score_zero)
{
    for (size_t i = 0; i < DIMS; i++) {
        size_t dim = dim_number(i), rows = 11;
        float *query = floats(dim), *targets = floats(rows * dim), scores[11];
        fill(query, dim, UNIFORM);
        fill(targets, rows * dim, UNIFORM);
        memset(targets + 4 * dim, 0, dim * sizeof(float));
        for (size_t k = 0; k < dim; k++)
            targets[5 * dim + k] = -0.0f;
        eum_cosine_args args = {query, targets, scores, rows, dim, dim * sizeof(float)};
        FOR_EACH_ISA(isa)
        {
            poison(scores, rows);
            score(&args, 0, rows, isa);
            ck_assert_uint_eq(bits(scores[4]), 0);
            ck_assert_uint_eq(bits(scores[5]), 0);
            ck_assert(scores[3] != 0.0f && scores[6] != 0.0f);
        }
        memset(query, 0, dim * sizeof(float));
        targets[7 * dim] = INFINITY;
        targets[8 * dim] = FLT_MAX;
        FOR_EACH_ISA(isa)
        {
            poison(scores, rows);
            score(&args, 0, rows, isa);
            for (size_t r = 0; r < rows; r++)
                ck_assert(r == 7 ? isnan(scores[r]) : scores[r] == 0.0f);
        }
        free(query);
        free(targets);
    }
}
END_TEST

static const size_t nonfinite_dims[] = {1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 130};

START_TEST(a_nonfinite_element_makes_its_row_nan_and_no_other)
{
    const float values[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof nonfinite_dims / sizeof nonfinite_dims[0]; i++) {
        size_t dim = nonfinite_dims[i], rows = 9;
        float *query = floats(dim), *targets = floats(rows * dim), expected[9], scores[9];
        fill(query, dim, UNIFORM);
        query[dim / 2] = dim > 1 ? 0.0f : 1.0f; /* 0 x infinity */
        fill(targets, rows * dim, UNIFORM);
        eum_cosine_args args = {query, targets, expected, rows, dim, dim * sizeof(float)};
        FOR_EACH_ISA(isa)
        {
            args.scores = expected;
            score(&args, 0, rows, isa);
            args.scores = scores;
            for (size_t at = 0; at < 3 * dim; at++) {
                size_t row = at % rows;
                float *element = targets + row * dim + at / 3, saved = *element;
                *element = values[at % 3];
                poison(scores, rows);
                score(&args, 0, rows, isa);
                *element = saved;
                for (size_t r = 0; r < rows; r++)
                    if (r == row ? !isnan(scores[r]) : bits(scores[r]) != bits(expected[r]))
                        ck_abort_msg("%s, dim %d: %g in row %d, element %d: row %d scores %g", eum_cpu_isa_name(isa), (int)dim,
                                     (double)values[at % 3], (int)row, (int)(at / 3), (int)r, (double)scores[r]);
            }
        }
        free(query);
        free(targets);
    }
}
END_TEST

START_TEST(a_nonfinite_query_makes_every_score_nan)
{
    const float values[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof nonfinite_dims / sizeof nonfinite_dims[0]; i++) {
        size_t dim = nonfinite_dims[i], rows = 9;
        float *query = floats(dim), *targets = floats(rows * dim), scores[9];
        fill(targets + dim, (rows - 1) * dim, UNIFORM); /* the first row is zero: NaN wins */
        eum_cosine_args args = {query, targets, scores, rows, dim, dim * sizeof(float)};
        for (size_t at = 0; at < 3 * dim; at++) {
            fill(query, dim, UNIFORM);
            query[at / 3] = values[at % 3];
            FOR_EACH_ISA(isa)
            {
                poison(scores, rows);
                score(&args, 0, rows - 1, isa);
                for (size_t r = 0; r < rows - 1; r++)
                    ck_assert(isnan(scores[r]));
                ck_assert(scores[rows - 1] == POISON);
            }
        }
        free(query);
        free(targets);
    }
}
END_TEST

/* ------------------------------------------------------------------------------------------------ preparation ------- */

START_TEST(prepare_gives_the_norm_and_a_scale_that_is_1_for_ordinary_queries)
{
    float query[3] = {3.0f, 0.0f, 4.0f};
    eum_cosine_args args = {query, NULL, NULL, 0, 3, 12};
    eum_cosine_query prepared = eum_cosine_cpu_prepare(&args);
    ck_assert(prepared.norm == 5.0 && prepared.scale == 1.0f && !prepared.nonfinite);

    const float sizes[] = {FLT_MAX, 1e30f, 1e-30f, FLT_MIN, 1e-40f, 0x1p-149f};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        query[0] = query[1] = query[2] = sizes[i];
        prepared = eum_cosine_cpu_prepare(&args);
        double exact = sqrt(3.0) * (double)sizes[i], largest = (double)sizes[i] * (double)prepared.scale;
        ck_assert(fabs(prepared.norm / exact - 1.0) < 1e-14 && !prepared.nonfinite);
        int exponent;
        ck_assert(frexpf(prepared.scale, &exponent) == 0.5f); /* a power of two: scaling is exact */
        ck_assert(largest < 4.0 && largest >= 0x1p-24);
    }

    query[0] = query[1] = query[2] = 0.0f;
    prepared = eum_cosine_cpu_prepare(&args);
    ck_assert(prepared.norm == 0.0 && prepared.scale == 1.0f && !prepared.nonfinite);
    query[1] = NAN;
    ck_assert(eum_cosine_cpu_prepare(&args).nonfinite);
    query[1] = -INFINITY;
    ck_assert(eum_cosine_cpu_prepare(&args).nonfinite);
}
END_TEST

/* -------------------------------------------------------------------------------------------------------- suite ----- */

Suite *kernels_suite(void)
{
    Suite *suite = suite_create("kernels");

    TCase *accuracy = tcase_create("accuracy");
    tcase_add_test(accuracy, scores_match_float64_on_random_data_at_every_dim);
    tcase_add_test(accuracy, scores_match_float64_on_numbers_of_every_size);
    tcase_add_test(accuracy, scores_match_float64_on_same_opposite_and_cancelling_rows);
    tcase_add_test(accuracy, scores_match_float64_at_a_million_dims);
    tcase_add_test(accuracy, scores_do_not_depend_on_the_callers_floating_point_modes);
    tcase_add_test(accuracy, prepare_gives_the_norm_and_a_scale_that_is_1_for_ordinary_queries);
    suite_add_tcase(suite, accuracy);

    TCase *special = tcase_create("zero and non-finite");
    tcase_add_test(special, zero_vectors_score_zero);
    tcase_add_test(special, a_nonfinite_element_makes_its_row_nan_and_no_other);
    tcase_add_test(special, a_nonfinite_query_makes_every_score_nan);
    suite_add_tcase(suite, special);
    return suite;
}
