/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

typedef struct heard {
    int count;
    eum_log_level level;
    char message[2048];
} heard;

static void hear(void *user, eum_log_level level, const char *message)
{
    heard *ear = user;
    ear->count++;
    ear->level = level;
    (void)snprintf(ear->message, sizeof ear->message, "%s", message);
    errno = EIO;
}

/* What the log writes to stderr. */
static void capture_stderr(const eum_log *log, eum_log_level level, const char *message, char *out, size_t capacity)
{
    FILE *file = tmpfile();
    ck_assert_ptr_nonnull(file);
    int saved = dup(STDERR_FILENO);
    ck_assert_int_ge(dup2(fileno(file), STDERR_FILENO), 0);
    eum_log_write(log, level, "%s", message);
    ck_assert_int_ge(dup2(saved, STDERR_FILENO), 0);
    (void)close(saved);
    rewind(file);
    out[fread(out, 1, capacity - 1, file)] = 0;
    (void)fclose(file);
}

START_TEST(a_callback_hears_its_level_and_the_graver_ones)
{
    heard ear = {0};
    eum_log log = eum_log_from(hear, &ear, EUM_LOG_WARN);
    eum_log_write(&log, EUM_LOG_INFO, "no");
    eum_log_write(&log, EUM_LOG_DEBUG, "no");
    ck_assert_int_eq(ear.count, 0);
    eum_log_write(&log, EUM_LOG_WARN, "%d pages", 3);
    ck_assert_int_eq(ear.count, 1);
    ck_assert_str_eq(ear.message, "3 pages");
    ck_assert_int_eq(ear.level, EUM_LOG_WARN);
    eum_log_write(&log, EUM_LOG_ERROR, "e");
    ck_assert_int_eq(ear.count, 2);
}
END_TEST

START_TEST(a_callback_with_the_level_off_hears_nothing)
{
    heard ear = {0};
    eum_log log = eum_log_from(hear, &ear, EUM_LOG_OFF);
    eum_log_write(&log, EUM_LOG_ERROR, "e");
    eum_log_write(&log, EUM_LOG_OFF, "off is no level to speak at");
    ck_assert_int_eq(ear.count, 0);
}
END_TEST

START_TEST(without_callback_and_variable_all_is_silent)
{
    static const char *const values[] = {NULL, "", "off", "loud", "INFO", "info "};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        if (values[i] == NULL)
            (void)unsetenv("EUM_LOG");
        else
            (void)setenv("EUM_LOG", values[i], 1);
        eum_log log = eum_log_from(NULL, NULL, EUM_LOG_DEBUG);
        char text[64];
        capture_stderr(&log, EUM_LOG_ERROR, "shout", text, sizeof text);
        ck_assert_str_eq(text, "");
    }
    eum_log_write(NULL, EUM_LOG_ERROR, "nobody listens");
    (void)unsetenv("EUM_LOG");
}
END_TEST

START_TEST(the_variable_sends_its_level_to_stderr)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    for (eum_log_level asked = EUM_LOG_ERROR; asked <= EUM_LOG_DEBUG; asked++) {
        (void)setenv("EUM_LOG", names[asked - 1], 1);
        eum_log log = eum_log_from(NULL, NULL, EUM_LOG_OFF);
        for (eum_log_level level = EUM_LOG_ERROR; level <= EUM_LOG_DEBUG; level++) {
            char text[128], expected[128] = "";
            capture_stderr(&log, level, "hello", text, sizeof text);
            if (level <= asked)
                (void)snprintf(expected, sizeof expected, "engram_um: %s: hello\n", names[level - 1]);
            ck_assert_str_eq(text, expected);
        }
    }
    (void)unsetenv("EUM_LOG");
}
END_TEST

START_TEST(a_callback_wins_over_the_variable)
{
    heard ear = {0};
    (void)setenv("EUM_LOG", "debug", 1);
    eum_log log = eum_log_from(hear, &ear, EUM_LOG_ERROR);
    char text[64];
    capture_stderr(&log, EUM_LOG_ERROR, "mine", text, sizeof text);
    ck_assert_str_eq(text, "");
    ck_assert_str_eq(ear.message, "mine");
    eum_log_write(&log, EUM_LOG_INFO, "no");
    ck_assert_int_eq(ear.count, 1);
    (void)unsetenv("EUM_LOG");
}
END_TEST

START_TEST(long_messages_are_cut_and_errno_survives)
{
    heard ear = {0};
    char text[4096];
    memset(text, 'y', sizeof text - 1);
    text[sizeof text - 1] = 0;
    eum_log log = eum_log_from(hear, &ear, EUM_LOG_DEBUG);
    errno = E2BIG;
    eum_log_write(&log, EUM_LOG_DEBUG, "%s", text);
    ck_assert_int_eq(errno, E2BIG);
    ck_assert_uint_gt(strlen(ear.message), 500);
    ck_assert_uint_lt(strlen(ear.message), sizeof ear.message - 1);
}
END_TEST

Suite *log_suite(void)
{
    Suite *suite = suite_create("log");
    TCase *tests = tcase_create("log");
    tcase_add_test(tests, a_callback_hears_its_level_and_the_graver_ones);
    tcase_add_test(tests, a_callback_with_the_level_off_hears_nothing);
    tcase_add_test(tests, without_callback_and_variable_all_is_silent);
    tcase_add_test(tests, the_variable_sends_its_level_to_stderr);
    tcase_add_test(tests, a_callback_wins_over_the_variable);
    tcase_add_test(tests, long_messages_are_cut_and_errno_survives);
    suite_add_tcase(suite, tests);
    return suite;
}
