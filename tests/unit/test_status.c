/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "status.h"

#if EUM_HAVE_CUDA
#include <cuda_runtime_api.h>
#endif

static const eum_status every_status[] = {0,   100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112, 113, 114, 115, 116,
                                          117, 118, 119, 120, 121, 200, 201, 202, 203, 204, 205, 206, 207, 208, 209, 210, 211, 212};
#define STATUSES (sizeof every_status / sizeof *every_status)

START_TEST(every_status_has_a_name_and_a_sentence_of_its_own)
{
    for (size_t i = 0; i < STATUSES; i++) {
        const char *name = eum_status_name(every_status[i]);
        ck_assert_int_eq(strncmp(name, i == 0 ? "EUM_OK" : "EUM_ERROR_", i == 0 ? 7 : 10), 0);
        ck_assert_str_ne(name, "EUM_ERROR_UNKNOWN");
        ck_assert_uint_gt(strlen(eum_status_text(every_status[i])), 20);
        for (size_t j = 0; j < i; j++) {
            ck_assert_str_ne(name, eum_status_name(every_status[j]));
            ck_assert_str_ne(eum_status_text(every_status[i]), eum_status_text(every_status[j]));
        }
    }
    ck_assert_str_eq(eum_status_name(EUM_ERROR_MAPPED), "EUM_ERROR_MAPPED");
}
END_TEST

START_TEST(numbers_that_are_no_status_are_named_unknown)
{
    static const eum_status none[] = {-1, 1, 99, 199, 299, 1000, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        ck_assert_str_eq(eum_status_name(none[i]), "EUM_ERROR_UNKNOWN");
        ck_assert_ptr_nonnull(eum_status_text(none[i]));
    }
}
END_TEST

START_TEST(cuda_codes_become_the_statuses_that_say_what_to_do)
{
    static const struct {
        int32_t code;
        eum_status status;
    } expected[] = {
        {0, EUM_OK},
        {2, EUM_ERROR_OUT_OF_DEVICE_MEMORY},
        {3, EUM_ERROR_DRIVER},
        {35, EUM_ERROR_DRIVER},
        {100, EUM_ERROR_DEVICE_UNAVAILABLE},
        {101, EUM_ERROR_DEVICE_UNAVAILABLE},
        {209, EUM_ERROR_LAUNCH_FAILED},
        {214, EUM_ERROR_DEVICE_LOST},
        {700, EUM_ERROR_DEVICE_LOST},
        {701, EUM_ERROR_LAUNCH_FAILED},
        {702, EUM_ERROR_DEVICE_LOST},
        {710, EUM_ERROR_DEVICE_LOST},
        {712, EUM_ERROR_CUDA},
        {714, EUM_ERROR_DEVICE_LOST},
        {715, EUM_ERROR_DEVICE_LOST},
        {716, EUM_ERROR_DEVICE_LOST},
        {717, EUM_ERROR_DEVICE_LOST},
        {718, EUM_ERROR_DEVICE_LOST},
        {719, EUM_ERROR_DEVICE_LOST},
        {801, EUM_ERROR_NOT_SUPPORTED},
        {803, EUM_ERROR_DRIVER},
        {900, EUM_ERROR_CAPTURING},
        {906, EUM_ERROR_CAPTURING},
        {999, EUM_ERROR_CUDA},
        {1, EUM_ERROR_CUDA},
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        ck_assert_msg(eum_status_from_cuda(expected[i].code) == expected[i].status, "CUDA code %d gave %s", expected[i].code,
                      eum_status_name(eum_status_from_cuda(expected[i].code)));
}
END_TEST

START_TEST(unknown_cuda_codes_become_the_general_cuda_error)
{
    static const int32_t unknown[] = {-1, 10, 99, 500000, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        ck_assert_int_eq(eum_status_from_cuda(unknown[i]), EUM_ERROR_CUDA);
        ck_assert_ptr_null(eum_cuda_name(unknown[i]));
    }
}
END_TEST

START_TEST(every_cuda_code_of_the_table_is_found_in_it)
{
    int found = 0;
    for (int32_t code = 0; code < 1200; code++)
        found += eum_cuda_name(code) != NULL;
    ck_assert_int_ge(found, 130); /* the search is binary: an entry out of order would be lost */
}
END_TEST

#if EUM_HAVE_CUDA
START_TEST(the_table_agrees_with_the_cuda_runtime)
{
    for (int code = 0; code < 1200; code++) {
        const char *name = cudaGetErrorName((cudaError_t)code);
        bool known = strncmp(name, "cuda", 4) == 0; /* the others are "unrecognized error code" */
        if (known)
            ck_assert_msg(eum_cuda_name(code) != NULL, "%s (%d) is not in the table", name, code);
        if (known)
            ck_assert_str_eq(eum_cuda_name(code), name);
    }
    ck_assert_int_eq(cudaErrorMemoryAllocation, 2);
    ck_assert_int_eq(cudaErrorIllegalAddress, 700);
    ck_assert_int_eq(cudaErrorStreamCaptureImplicit, 906);
}
END_TEST
#endif

START_TEST(a_failure_is_this_threads_last_error)
{
    eum_error error;
    ck_assert_int_eq(eum_fail(EUM_ERROR_OVER_BUDGET, "%d of %s", 7, "nine"), EUM_ERROR_OVER_BUDGET);
    eum_error_save(&error);
    ck_assert_uint_eq(error.struct_size, sizeof error);
    ck_assert_int_eq(error.status, EUM_ERROR_OVER_BUDGET);
    ck_assert_str_eq(error.sentence, "7 of nine");
    ck_assert_int_eq(error.cuda_code, 0);
    ck_assert_str_eq(error.cuda_name, "");
}
END_TEST

START_TEST(a_cuda_failure_has_code_name_and_status)
{
    eum_error error;
    ck_assert_int_eq(eum_fail_cuda(2, NULL, "no room"), EUM_ERROR_OUT_OF_DEVICE_MEMORY);
    eum_error_save(&error);
    ck_assert_int_eq(error.cuda_code, 2);
    ck_assert_str_eq(error.cuda_name, "cudaErrorMemoryAllocation");
    ck_assert_int_eq(eum_fail_cuda(31337, "cudaErrorOfTomorrow", "what"), EUM_ERROR_CUDA);
    eum_error_save(&error);
    ck_assert_str_eq(error.cuda_name, "cudaErrorOfTomorrow");
    ck_assert_int_eq(eum_fail_cuda(31337, NULL, "what"), EUM_ERROR_CUDA);
    eum_error_save(&error);
    ck_assert_str_eq(error.cuda_name, "");
    ck_assert_int_eq(eum_fail_with_cuda(EUM_ERROR_LAUNCH_FAILED, 700, NULL, "said"), EUM_ERROR_LAUNCH_FAILED);
    eum_error_save(&error);
    ck_assert_int_eq(error.status, EUM_ERROR_LAUNCH_FAILED);
    ck_assert_str_eq(error.cuda_name, "cudaErrorIllegalAddress");
}
END_TEST

START_TEST(a_later_failure_without_cuda_forgets_the_cuda_code)
{
    eum_error error;
    (void)eum_fail_cuda(700, NULL, "lost");
    (void)eum_fail(EUM_ERROR_MAPPED, "mapped");
    eum_error_save(&error);
    ck_assert_int_eq(error.cuda_code, 0);
    ck_assert_str_eq(error.cuda_name, "");
}
END_TEST

START_TEST(long_sentences_are_cut_and_terminated)
{
    char text[4096];
    eum_error error;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    (void)eum_fail_cuda(1, text, "%s", text);
    eum_error_save(&error);
    ck_assert_uint_eq(strlen(error.sentence), sizeof error.sentence - 1);
    ck_assert_uint_eq(strlen(error.cuda_name), sizeof error.cuda_name - 1);
}
END_TEST

START_TEST(a_sentence_may_quote_the_one_that_it_replaces)
{
    eum_error error;
    (void)eum_fail(EUM_ERROR_SYSTEM, "inner");
    eum_error_save(&error);
    (void)eum_fail(EUM_ERROR_DRIVER, "outer: %s", error.sentence);
    eum_error_save(&error);
    ck_assert_str_eq(error.sentence, "outer: inner");
}
END_TEST

START_TEST(a_saved_error_can_be_put_back)
{
    eum_error saved, now;
    (void)eum_fail_cuda(2, NULL, "first");
    eum_error_save(&saved);
    (void)eum_fail(EUM_ERROR_TIMEOUT, "second");
    eum_error_restore(&saved);
    eum_error_save(&now);
    ck_assert_mem_eq(&saved, &now, sizeof now);
}
END_TEST

START_TEST(failing_leaves_errno_alone)
{
    errno = E2BIG;
    (void)eum_fail(EUM_ERROR_SYSTEM, "%s", "x");
    ck_assert_int_eq(errno, E2BIG);
}
END_TEST

static void *fail_on_another_thread(void *arg)
{
    eum_error *before = arg;
    eum_error_save(before);
    (void)eum_fail(EUM_ERROR_DEVICE_LOST, "elsewhere");
    return NULL;
}

START_TEST(threads_do_not_see_each_others_errors)
{
    pthread_t thread;
    eum_error theirs, mine;
    (void)eum_fail(EUM_ERROR_MAPPED, "here");
    ck_assert_int_eq(pthread_create(&thread, NULL, fail_on_another_thread, &theirs), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    eum_error_save(&mine);
    ck_assert_int_eq(theirs.status, EUM_OK);
    ck_assert_uint_eq(theirs.struct_size, sizeof theirs);
    ck_assert_str_eq(mine.sentence, "here");
}
END_TEST

START_TEST(waiting_is_refused_inside_a_callback_only)
{
    eum_error error;
    ck_assert_int_eq(eum_check_may_wait("eum_job_wait"), EUM_OK);
    eum_callback_depth++;
    ck_assert_int_eq(eum_check_may_wait("eum_job_wait"), EUM_ERROR_IN_CALLBACK);
    eum_callback_depth--;
    eum_error_save(&error);
    ck_assert_ptr_nonnull(strstr(error.sentence, "eum_job_wait"));
    ck_assert_int_eq(eum_check_may_wait("eum_job_wait"), EUM_OK);
}
END_TEST

Suite *status_suite(void)
{
    Suite *suite = suite_create("status");
    TCase *tests = tcase_create("status");
    tcase_add_test(tests, every_status_has_a_name_and_a_sentence_of_its_own);
    tcase_add_test(tests, numbers_that_are_no_status_are_named_unknown);
    tcase_add_test(tests, cuda_codes_become_the_statuses_that_say_what_to_do);
    tcase_add_test(tests, unknown_cuda_codes_become_the_general_cuda_error);
    tcase_add_test(tests, every_cuda_code_of_the_table_is_found_in_it);
#if EUM_HAVE_CUDA
    tcase_add_test(tests, the_table_agrees_with_the_cuda_runtime);
#endif
    tcase_add_test(tests, a_failure_is_this_threads_last_error);
    tcase_add_test(tests, a_cuda_failure_has_code_name_and_status);
    tcase_add_test(tests, a_later_failure_without_cuda_forgets_the_cuda_code);
    tcase_add_test(tests, long_sentences_are_cut_and_terminated);
    tcase_add_test(tests, a_sentence_may_quote_the_one_that_it_replaces);
    tcase_add_test(tests, a_saved_error_can_be_put_back);
    tcase_add_test(tests, failing_leaves_errno_alone);
    tcase_add_test(tests, threads_do_not_see_each_others_errors);
    tcase_add_test(tests, waiting_is_refused_inside_a_callback_only);
    suite_add_tcase(suite, tests);
    return suite;
}
