/* Contexts: what they say of their device, their accounts and their budget.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "again.h"
#include "engine.h"

Suite *context_suite(void);

START_TEST(info_says_which_device_and_backing_it_is_and_why)
{
    eum_context *context = open_context();
    eum_info info = info_of(context);
    ck_assert_int_eq(info.device_reason, EUM_REASON_ASKED);
    ck_assert_uint_gt(strlen(info.device_name), 0);
    ck_assert_uint_gt(strlen(info.device_sentence), 20);
    ck_assert_uint_gt(strlen(info.backing_sentence), 20);
    ck_assert_uint_gt(strlen(info.cpu_kernels), 0);
    ck_assert_uint_ge(info.memory_total, info.memory_free);
    ck_assert_uint_eq(info.worker_threads, 2);
    ck_assert_int_eq(info.device_kind, strcmp(device_name(), "host") == 0 ? EUM_DEVICE_HOST : EUM_DEVICE_SIM);
    if (info.device_kind == EUM_DEVICE_HOST) {
        ck_assert_int_eq(info.backing, EUM_BACKING_HOST);
        ck_assert_uint_eq(info.budget_bytes, 0);
    } else {
        ck_assert_uint_gt(info.budget_bytes, info.memory_free / 2);
        ck_assert_uint_le(info.budget_bytes, info.memory_total);
    }
    close_context(context);
}
END_TEST

START_TEST(the_backing_is_the_best_for_each_simulated_device)
{
    static const char *const names[] = {"sim:maxwell", "sim:pascal", "sim:turing", "sim:ampere", "sim:hopper"};
    unsetenv("EUM_BACKING");
    for (int i = 0; i < 5; i++) {
        eum_context *context = open_on(names[i], EUM_BACKING_AUTO);
        ck_assert_int_eq(info_of(context).backing, EUM_BACKING_MIRRORED);
        eum_buffer *buffer = new_buffer(context, 3072000);
        ck_assert_int_eq(explain(buffer).backing, EUM_BACKING_MIRRORED);
        ck_assert_int_eq(explain(buffer).backing_reason, i == 0 ? EUM_BACKING_REASON_NO_CONCURRENT : EUM_BACKING_REASON_COPIES_PAY);
        OK(eum_buffer_destroy(buffer));
        close_context(context);
    }
}
END_TEST

START_TEST(oversubscribed_memory_is_managed)
{
    unsetenv("EUM_BACKING");
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    eum_context *context = NULL;
    config.device = "sim:hopper";
    config.flags = EUM_CONTEXT_OVERSUBSCRIBE;
    OK(eum_context_create(&config, &context));
    eum_buffer *buffer = new_buffer(context, 3072000);
    ck_assert_int_eq(explain(buffer).backing, EUM_BACKING_MANAGED);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

static const char *last_sentence(void)
{
    static eum_error error = EUM_ERROR_INIT;
    OK(eum_last_error(&error));
    return error.sentence;
}

static void ignore_log(void *user, eum_log_level level, const char *message)
{
    (void)user, (void)level, (void)message;
}

START_TEST(the_environment_forces_a_backing_and_an_empty_value_does_not)
{
    setenv("EUM_BACKING", "mapped", 1);
    eum_context *context = open_on("sim:pascal", EUM_BACKING_AUTO);
    ck_assert_int_eq(info_of(context).backing, EUM_BACKING_MAPPED);
    close_context(context);
    context = open_on("sim:pascal", EUM_BACKING_MIRRORED); /* the configuration comes first */
    ck_assert_int_eq(info_of(context).backing, EUM_BACKING_MIRRORED);
    close_context(context);
    setenv("EUM_BACKING", "", 1);
    context = open_on("sim:pascal", EUM_BACKING_AUTO);
    ck_assert_int_eq(info_of(context).backing, EUM_BACKING_MIRRORED);
    close_context(context);
    setenv("EUM_BACKING", "managed", 1);
    context = open_on("sim:pascal", EUM_BACKING_AUTO);
    ck_assert_int_eq(info_of(context).backing, EUM_BACKING_MANAGED);
    close_context(context);
    setenv("EUM_BACKING", "magic", 1);
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    config.device = "sim:pascal";
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_context_create(&config, &context));
    setenv("EUM_BACKING", "host", 1);
    GIVES(EUM_ERROR_NOT_SUPPORTED, eum_context_create(&config, &context));
    ck_assert_ptr_nonnull(strstr(last_sentence(), "the backing \"host\" was asked for (by EUM_BACKING)"));
}
END_TEST

START_TEST(a_misspelt_log_level_in_the_environment_is_said_unless_a_callback_hears)
{
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    eum_context *context = NULL;
    config.device = "host";
    config.backing = EUM_BACKING_HOST; /* whatever EUM_BACKING says */
    setenv("EUM_LOG", "warning", 1);
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_context_create(&config, &context));
    ck_assert_ptr_nonnull(strstr(last_sentence(), "EUM_LOG is \"warning\"; use error, warn, info, debug or off"));
    config.log_fn = ignore_log;
    OK(eum_context_create(&config, &context));
    close_context(context);
    static const char *const fine[] = {"", "off", "error"};
    config.log_fn = NULL;
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        setenv("EUM_LOG", fine[i], 1);
        OK(eum_context_create(&config, &context));
        close_context(context);
    }
    unsetenv("EUM_LOG");
}
END_TEST

START_TEST(the_environment_says_how_long_threads_look_for_work)
{
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    eum_context *context = NULL;
    config.device = "host";
    config.backing = EUM_BACKING_HOST; /* whatever EUM_BACKING says */
    setenv("EUM_SPIN", "soon", 1);
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_context_create(&config, &context));
    setenv("EUM_SPIN", "0", 1);
    OK(eum_context_create(&config, &context));
    close_context(context);
    setenv("EUM_SPIN", "", 1);
    OK(eum_context_create(&config, &context));
    close_context(context);
}
END_TEST

START_TEST(the_environment_says_whether_launches_may_become_graphs)
{
    static const char *const good[] = {"auto", "never", ""};
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    eum_context *context = NULL;
    config.device = "host";
    config.backing = EUM_BACKING_HOST; /* whatever EUM_BACKING says */
    setenv("EUM_GRAPHS", "always", 1);
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_context_create(&config, &context));
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        setenv("EUM_GRAPHS", good[i], 1);
        OK(eum_context_create(&config, &context));
        close_context(context);
    }
    for (int i = 0; i < 2; i++) {
        bool graphs = i == 1;
        OK(eum_again_parse(i == 0 ? NULL : "never", &graphs));
        ck_assert_int_eq(graphs, i == 0);
    }
}
END_TEST

START_TEST(mapped_buffers_are_used_in_place_by_both_sides)
{
    eum_context *context = open_on("sim:pascal", EUM_BACKING_MAPPED);
    eum_stream *stream = default_stream(context);
    eum_buffer *buffer = new_buffer(context, 300 * KIB);
    for (uint32_t round = 0; round < 3; round++) {
        cpu_fill(whole(buffer), round);
        gpu_expect(stream, whole(buffer), round);
        launch1(stream, (work){.kind = WORK_ADD, .value = 1}, updates(part(buffer, 100 * KIB, 100 * KIB)));
        cpu_expect(part(buffer, 0, 100 * KIB), round);
    }
    eum_stats stats = stats_of(context);
    ck_assert_uint_eq(stats.bytes_to_device + stats.bytes_to_host, 0);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(the_statistics_count_what_lives_and_what_lived_at_most)
{
    eum_context *context = open_context();
    eum_buffer *buffers[5];
    for (size_t i = 0; i < 5; i++)
        buffers[i] = new_buffer(context, 1000 * (i + 1));
    void *address = map(whole(buffers[0]), EUM_ACCESS_OVERWRITE);
    eum_stats stats = stats_of(context);
    ck_assert_uint_eq(stats.buffers_live, 5);
    ck_assert_uint_eq(stats.bytes_live, 15000);
    ck_assert_uint_eq(stats.maps_live, 1);
    unmap(buffers[0], address);
    gpu_fill(default_stream(context), whole(buffers[1]), 1);
    for (size_t i = 0; i < 4; i++)
        OK(eum_buffer_destroy(buffers[i]));
    stats = stats_of(context);
    ck_assert_uint_eq(stats.buffers_live, 1);
    ck_assert_uint_eq(stats.buffers_peak, 5);
    ck_assert_uint_eq(stats.bytes_live, 5000);
    ck_assert_uint_eq(stats.bytes_peak, 15000);
    ck_assert_uint_eq(stats.launches, 1);
    OK(eum_buffer_destroy(buffers[4]));
    close_context(context);
}
END_TEST

/* ------------------------------------------------------------------------------------------------------ budget ----- */

static eum_context *open_small(const char *arch, eum_backing backing, uint64_t budget, uint32_t flags)
{
    char device[64];
    snprintf(device, sizeof device, "sim:%s,memory=8M", arch);
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    config.device = device;
    config.backing = backing;
    config.budget_bytes = budget;
    config.flags = flags;
    return open_with(&config);
}

START_TEST(managed_memory_beyond_the_budget_is_refused_with_the_numbers)
{
    eum_context *context = open_small("pascal", EUM_BACKING_MANAGED, 0, 0);
    eum_info info = info_of(context);
    ck_assert_uint_eq(info.memory_total, 8 * MIB);
    ck_assert_uint_ge(info.budget_bytes, 6 * MIB);
    ck_assert_uint_lt(info.budget_bytes, 7 * MIB);
    eum_buffer *first = new_buffer(context, 4 * MIB), *second = NULL;
    ck_assert_uint_eq(info_of(context).budget_used, 4 * MIB);
    GIVES(EUM_ERROR_OVER_BUDGET, eum_buffer_create(context, 4 * MIB, NULL, &second));
    ck_assert_ptr_null(second);
    eum_error error = EUM_ERROR_INIT;
    OK(eum_last_error(&error));
    char number[32];
    snprintf(number, sizeof number, "%llu", (unsigned long long)info.budget_bytes);
    ck_assert_ptr_nonnull(strstr(error.sentence, "4194304"));
    ck_assert_ptr_nonnull(strstr(error.sentence, number));
    OK(eum_buffer_destroy(first));
    OK(eum_context_trim(context, 0));
    ck_assert_uint_eq(info_of(context).budget_used, 0);
    second = new_buffer(context, 4 * MIB);
    OK(eum_buffer_destroy(second));
    close_context(context);
}
END_TEST

START_TEST(a_budget_is_never_more_than_the_device_has)
{
    eum_context *context = open_small("pascal", EUM_BACKING_MANAGED, 100 * MIB, 0);
    ck_assert_uint_eq(info_of(context).budget_bytes, 8 * MIB);
    close_context(context);
    context = open_small("pascal", EUM_BACKING_MANAGED, 2 * MIB, 0);
    eum_buffer *buffer = NULL;
    GIVES(EUM_ERROR_OVER_BUDGET, eum_buffer_create(context, 2 * MIB + 1, NULL, &buffer));
    OK(eum_buffer_create(context, 2 * MIB, NULL, &buffer));
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(oversubscription_has_to_be_asked_for_and_then_keeps_the_data)
{
    eum_context *context = open_small("ampere", EUM_BACKING_MANAGED, 0, EUM_CONTEXT_OVERSUBSCRIBE);
    eum_buffer *buffers[4];
    for (uint32_t i = 0; i < 4; i++) {
        buffers[i] = new_buffer(context, 4 * MIB);
        cpu_fill(whole(buffers[i]), i);
        wait_job(launch1(default_stream(context), (work){.kind = WORK_ADD, .value = 1}, updates(whole(buffers[i]))));
    }
    for (uint32_t i = 0; i < 4; i++) {
        cpu_expect_plus(whole(buffers[i]), i, 1);
        OK(eum_buffer_destroy(buffers[i]));
    }
    check_empty(context);
    OK(eum_context_destroy(context));
}
END_TEST

START_TEST(mirrored_buffers_that_do_not_fit_together_take_turns_on_the_device)
{
    eum_context *context = open_small("maxwell", EUM_BACKING_MIRRORED, 0, 0);
    eum_stream *stream = default_stream(context);
    eum_buffer *buffers[5];
    for (uint32_t i = 0; i < 5; i++) {
        buffers[i] = new_buffer(context, 2 * MIB);
        cpu_fill(whole(buffers[i]), i);
    }
    for (uint32_t round = 0; round < 3; round++)
        for (uint32_t i = 0; i < 5; i++)
            launch1(stream, (work){.kind = WORK_ADD, .value = 1}, updates(whole(buffers[i])));
    ck_assert_uint_le(info_of(context).budget_used, info_of(context).budget_bytes);
    for (uint32_t i = 0; i < 5; i++) {
        cpu_expect_plus(whole(buffers[i]), i, 3);
        OK(eum_buffer_destroy(buffers[i]));
    }
    close_context(context);
}
END_TEST

START_TEST(a_mirrored_buffer_larger_than_the_device_is_used_over_the_link)
{
    eum_context *context = open_small("pascal", EUM_BACKING_MIRRORED, 0, 0);
    eum_stream *stream = default_stream(context);
    eum_buffer *large = new_buffer(context, 12 * MIB), *small = new_buffer(context, MIB);
    cpu_fill(whole(large), 1);
    cpu_fill(whole(small), 2);
    for (int round = 0; round < 2; round++) {
        launch1(stream, (work){.kind = WORK_ADD, .value = 1}, updates(whole(large)));
        gpu_expect(stream, whole(small), 2);
    }
    ck_assert_int_eq(explain(large).last_movement, EUM_MOVEMENT_IN_PLACE);
    cpu_expect_plus(whole(large), 1, 2);
    OK(eum_buffer_destroy(large));
    OK(eum_buffer_destroy(small));
    close_context(context);
}
END_TEST

Suite *context_suite(void)
{
    Suite *suite = suite_create("context");
    TCase *tests = tcase_create("context");
    if (!runs_cpu_kernels())
        return suite;
    tcase_add_test(tests, info_says_which_device_and_backing_it_is_and_why);
    tcase_add_test(tests, the_backing_is_the_best_for_each_simulated_device);
    tcase_add_test(tests, oversubscribed_memory_is_managed);
    tcase_add_test(tests, the_environment_forces_a_backing_and_an_empty_value_does_not);
    tcase_add_test(tests, a_misspelt_log_level_in_the_environment_is_said_unless_a_callback_hears);
    tcase_add_test(tests, the_environment_says_how_long_threads_look_for_work);
    tcase_add_test(tests, the_environment_says_whether_launches_may_become_graphs);
    tcase_add_test(tests, mapped_buffers_are_used_in_place_by_both_sides);
    tcase_add_test(tests, the_statistics_count_what_lives_and_what_lived_at_most);
    tcase_add_test(tests, managed_memory_beyond_the_budget_is_refused_with_the_numbers);
    tcase_add_test(tests, a_budget_is_never_more_than_the_device_has);
    tcase_add_test(tests, oversubscription_has_to_be_asked_for_and_then_keeps_the_data);
    tcase_add_test(tests, mirrored_buffers_that_do_not_fit_together_take_turns_on_the_device);
    tcase_add_test(tests, a_mirrored_buffer_larger_than_the_device_is_used_over_the_link);
    suite_add_tcase(suite, tests);
    return suite;
}
