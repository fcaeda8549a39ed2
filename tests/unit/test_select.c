/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "device/device.h"

static eum_workers *workers;
static eum_log silent;
static eum_device *device;
static eum_reason reason;
static char sentence[256];

static void set_up(void)
{
    ck_assert_int_eq(eum_workers_create(2, &workers), EUM_OK);
    (void)unsetenv("EUM_DEVICE");
}

static void tear_down(void)
{
    (void)unsetenv("EUM_DEVICE");
    eum_workers_destroy(workers);
}

static eum_status open_device(const char *request)
{
    device = NULL;
    reason = 0;
    sentence[0] = 0;
    return eum_device_open(request, &silent, workers, &device, &reason, sentence, sizeof sentence);
}

static void close_device(void)
{
    device->ops->close(device);
}

static const char *last_sentence(void)
{
    static eum_error error;
    eum_error_save(&error);
    return error.sentence;
}

START_TEST(host_opens_when_asked_for)
{
    ck_assert_int_eq(open_device("host"), EUM_OK);
    ck_assert_int_eq(device->caps.kind, EUM_DEVICE_HOST);
    ck_assert_int_eq(reason, EUM_REASON_ASKED);
    ck_assert_ptr_nonnull(strstr(sentence, "the configuration"));
    close_device();
}
END_TEST

START_TEST(auto_opens_a_device_everywhere_and_says_why_that_one)
{
    ck_assert_int_eq(open_device("auto"), EUM_OK);
    ck_assert_uint_gt(strlen(sentence), 20);
    if (device->caps.kind == EUM_DEVICE_CUDA)
        ck_assert_int_eq(reason, EUM_REASON_BEST);
    else
        ck_assert_int_ge(reason, EUM_REASON_BUILT_WITHOUT);
    close_device();
}
END_TEST

START_TEST(auto_leaves_the_last_error_alone)
{
    (void)eum_fail(EUM_ERROR_MAPPED, "from before");
    ck_assert_int_eq(open_device("auto"), EUM_OK);
    ck_assert_str_eq(last_sentence(), "from before");
    close_device();
}
END_TEST

START_TEST(the_variable_chooses_where_the_configuration_does_not)
{
    (void)setenv("EUM_DEVICE", "host", 1);
    ck_assert_int_eq(open_device(NULL), EUM_OK);
    ck_assert_int_eq(reason, EUM_REASON_ASKED);
    ck_assert_ptr_nonnull(strstr(sentence, "EUM_DEVICE"));
    close_device();
    (void)setenv("EUM_DEVICE", "nonsense", 1);
    ck_assert_int_eq(open_device(NULL), EUM_ERROR_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(last_sentence(), "EUM_DEVICE"));
    ck_assert_int_eq(open_device("host"), EUM_OK); /* the configuration comes first */
    close_device();
}
END_TEST

START_TEST(an_empty_variable_or_request_counts_as_unset)
{
    (void)setenv("EUM_DEVICE", "", 1);
    ck_assert_int_eq(open_device(NULL), EUM_OK);
    ck_assert_int_ne(reason, EUM_REASON_ASKED);
    close_device();
    ck_assert_int_eq(open_device(""), EUM_OK);
    ck_assert_int_ne(reason, EUM_REASON_ASKED);
    close_device();
}
END_TEST

START_TEST(names_of_no_device_are_invalid_and_named_in_the_sentence)
{
    static const char *const names[] = {"gpu",       "Host",    "host ",      "host,x",    "cuda:",       "cuda:x",
                                        "cuda:-1",   "cuda:1x", "cuda:63",    "cuda0",     "cudagh",      "cuda:999999999999",
                                        "sim",       "sim:",    "sim:kepler", "sim:pasca", "sim:pascal2", "sim,pascal",
                                        "simpascal", "auto,",   "auto:0",     " "};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        ck_assert_msg(open_device(names[i]) == EUM_ERROR_INVALID_ARGUMENT, "\"%s\" was taken", names[i]);
        ck_assert_ptr_null(device);
        ck_assert_ptr_nonnull(strstr(last_sentence(), names[i]));
        ck_assert_str_eq(sentence, "");
    }
}
END_TEST

START_TEST(cuda_where_there_is_none_is_an_error_that_says_why)
{
    eum_status status = open_device("cuda");
    if (status == EUM_OK) {
        ck_assert_int_eq(device->caps.kind, EUM_DEVICE_CUDA);
        ck_assert_int_eq(reason, EUM_REASON_ASKED);
        close_device();
    } else {
        ck_assert(status == EUM_ERROR_DEVICE_UNAVAILABLE || status == EUM_ERROR_DRIVER);
        ck_assert_uint_gt(strlen(last_sentence()), 20);
    }
    status = open_device("cuda:62"); /* no machine has that many */
    ck_assert(status == EUM_ERROR_DEVICE_UNAVAILABLE || status == EUM_ERROR_DRIVER);
    ck_assert_ptr_null(device);
}
END_TEST

START_TEST(every_simulated_device_opens_with_its_options)
{
    static const char *const names[] = {"sim:maxwell", "sim:pascal", "sim:turing",
                                        "sim:ampere",  "sim:hopper", "sim:pascal,memory=64M,seed=7"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char request[64];
        strcpy(request, names[i]);
        ck_assert_int_eq(open_device(request), EUM_OK);
        memset(request, 'x', sizeof request); /* read during the call only */
        ck_assert_int_eq(device->caps.kind, EUM_DEVICE_SIM);
        ck_assert_int_eq(reason, EUM_REASON_ASKED);
        ck_assert_ptr_nonnull(strstr(sentence, "simulated"));
        close_device();
    }
    ck_assert_int_ne(open_device("sim:pascal,nonsense=1"), EUM_OK);
}
END_TEST

START_TEST(a_short_sentence_buffer_is_not_overrun)
{
    char small[8] = "1234567";
    ck_assert_int_eq(eum_device_open("host", &silent, workers, &device, &reason, small, 4), EUM_OK);
    ck_assert_uint_eq(strlen(small), 3);
    ck_assert_int_eq(small[4], '5');
    close_device();
    ck_assert_int_eq(eum_device_open("host", &silent, workers, &device, &reason, NULL, 0), EUM_OK);
    close_device();
}
END_TEST

Suite *select_suite(void)
{
    Suite *suite = suite_create("select");
    TCase *tests = tcase_create("select");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, host_opens_when_asked_for);
    tcase_add_test(tests, auto_opens_a_device_everywhere_and_says_why_that_one);
    tcase_add_test(tests, auto_leaves_the_last_error_alone);
    tcase_add_test(tests, the_variable_chooses_where_the_configuration_does_not);
    tcase_add_test(tests, an_empty_variable_or_request_counts_as_unset);
    tcase_add_test(tests, names_of_no_device_are_invalid_and_named_in_the_sentence);
    tcase_add_test(tests, cuda_where_there_is_none_is_an_error_that_says_why);
    tcase_add_test(tests, every_simulated_device_opens_with_its_options);
    tcase_add_test(tests, a_short_sentence_buffer_is_not_overrun);
    suite_add_tcase(suite, tests);
    return suite;
}
