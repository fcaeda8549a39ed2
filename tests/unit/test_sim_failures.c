/* Failures of the simulated GPU on demand, its options and its clock.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "sim_fixture.h"

Suite *sim_failures_suite(void);

static eum_status call_operation(eum_device *device, eum_dstream *stream, eum_dstream *other, eum_block *block, job *kernel,
                                 int which)
{
    static char plain[64];
    eum_block made;
    eum_dstream *fresh = NULL;
    uint64_t sequence = 0;
    eum_status status = EUM_OK;
    switch (which) {
    case EUM_SIM_ALLOC:
        status = device->ops->alloc(device, EUM_MEMORY_PINNED, 100, &made);
        if (status == EUM_OK)
            device->ops->release(device, &made);
        return status;
    case EUM_SIM_COPY:
        return device->ops->copy(stream, block->device, plain, sizeof plain, EUM_HOST_TO_DEVICE);
    case EUM_SIM_PREFETCH:
        return device->ops->prefetch(stream, block, 0, PAGE, 0);
    case EUM_SIM_PREFETCH_MANY:
        return device->ops->prefetch_many(stream, &(eum_piece){block, 0, PAGE, 0}, 1);
    case EUM_SIM_ADVISE:
        return device->ops->advise(device, block, 0, PAGE, EUM_ADVICE_PREFERRED_LOCATION, 0);
    case EUM_SIM_DISCARD:
        return device->ops->discard(stream, block, 0, PAGE);
    case EUM_SIM_SUBMIT:
        kernel->task.cpu = sum;
        kernel->task.finish = finished;
        return device->ops->submit(stream, &kernel->task);
    case EUM_SIM_MARK:
        return device->ops->mark(stream, &sequence);
    case EUM_SIM_ORDER:
        return device->ops->order(stream, other, 1);
    case EUM_SIM_STREAM_CREATE:
        status = device->ops->stream_create(device, &fresh);
        if (status == EUM_OK)
            device->ops->stream_destroy(fresh);
        return status;
    case EUM_SIM_ADOPT:
        status = device->ops->adopt(device, EUM_MEMORY_HOST, plain, sizeof plain, false, &made);
        if (status == EUM_OK)
            device->ops->unadopt(device, &made);
        return status;
    default:
        return device->ops->host_call(stream, record_call, kernel->user);
    }
}

START_TEST(the_nth_call_of_each_operation_fails_on_demand)
{
    static const char *const names[] = {"alloc",  "copy", "prefetch", "prefetch_many", "advise", "discard",
                                        "submit", "mark", "order",    "stream_create", "adopt",  "host_call"};
    eum_device *device = open_with("ampere", NULL);
    eum_dstream *stream = new_stream(device), *other = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, PAGE);
    call_record record = {0};
    job kernel = {.user = &record};
    mark(other);
    eum_sim_fail(device, (eum_sim_operation)_i, 2);
    ck_assert_int_eq(call_operation(device, stream, other, &block, &kernel, _i), EUM_OK);
    ck_assert_int_ne(call_operation(device, stream, other, &block, &kernel, _i), EUM_OK);
    eum_error error = EUM_ERROR_INIT;
    eum_error_save(&error);
    ck_assert_msg(strstr(error.sentence, "told to fail") != NULL, "%s", error.sentence);
    ck_assert_int_eq(device->ops->synchronize(device), EUM_OK);
    ck_assert_int_eq(call_operation(device, stream, other, &block, &kernel, _i), EUM_OK);
    eum_sim_fail(device, EUM_SIM_ANY, EUM_SIM_FAIL_ALL);
    for (int k = 0; k < 3; k++)
        ck_assert_int_ne(call_operation(device, stream, other, &block, &kernel, _i), EUM_OK);
    eum_sim_fail(device, EUM_SIM_ANY, 0);
    ck_assert_int_eq(device->ops->synchronize(device), EUM_OK);
    device->ops->stream_destroy(other);
    done(device, stream, &block);

    char option[64];
    snprintf(option, sizeof option, "fail=%s:1", names[_i]);
    device = open_with("ampere", option);
    ck_assert_uint_eq(eum_sim_calls(device, (eum_sim_operation)_i), 0);
    eum_sim_fail(device, (eum_sim_operation)_i, 0);
    done(device, NULL, NULL);
}
END_TEST

START_TEST(unknown_architectures_and_options_are_named)
{
    static const char *const wrong[] = {"memroy=1M",   "memory=1M", "memory=",     "memory=12Q",      "seed=x", "schedule=fast",
                                        "check=maybe", "fail=copy", "fail=copy:0", "fail=teleport:1", "step"};
    eum_error error = EUM_ERROR_INIT;
    eum_device *device = NULL;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char options[64];
        snprintf(options, sizeof options, "seed=1,%s", wrong[i]);
        eum_device_config config = {.options = options, .arch = "pascal", .log = &silent};
        ck_assert_int_eq(eum_sim_open(&config, &device), EUM_ERROR_INVALID_ARGUMENT);
        eum_error_save(&error);
        ck_assert_msg(strstr(error.sentence, wrong[i]) != NULL, "%s: %s", wrong[i], error.sentence);
    }
    eum_device_config config = {.arch = "kepler", .log = &silent};
    ck_assert_int_eq(eum_sim_open(&config, &device), EUM_ERROR_INVALID_ARGUMENT);
    eum_error_save(&error);
    ck_assert_ptr_nonnull(strstr(error.sentence, "kepler"));
    ck_assert_ptr_nonnull(strstr(error.sentence, "maxwell, pascal, turing, ampere, hopper"));
    config.arch = NULL;
    ck_assert_int_eq(eum_sim_open(&config, &device), EUM_ERROR_INVALID_ARGUMENT);
    ck_assert_ptr_null(device);
}
END_TEST

/* Virtual ns of: the CPU fills, a kernel reads after a prefetch or without. */
static uint64_t cycle_time(const char *arch, bool ahead)
{
    eum_device *device = open_with(arch, "schedule=step");
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, SEED_BYTES);
    fill(&block, 1);
    uint64_t before = eum_sim_time(device);
    if (ahead)
        prefetch(stream, &block, 0);
    run(stream, sum, &block, EUM_ACCESS_READ);
    uint64_t spent = eum_sim_time(device) - before;
    done(device, stream, &block);
    return spent;
}

START_TEST(the_virtual_clock_has_the_ratios_that_were_measured)
{
    for (int i = 0; i < 4; i++)
        ck_assert_uint_gt(cycle_time(concurrent[i], false), cycle_time(concurrent[i], true) * 7 / 5);
    ck_assert_uint_eq(cycle_time("pascal", true), cycle_time("pascal", true));
    uint64_t faulting = cycle_time("hopper", false); /* measured: 449 us */
    ck_assert_uint_ge(faulting, 400000);
    ck_assert_uint_le(faulting, 500000);
    ck_assert_uint_gt(cycle_time("turing", true) - cycle_time("ampere", true), 100000); /* link, and fewer transfers */
    eum_device *device = open_with("pascal", NULL);
    eum_sim_time_advance(device, 5);
    ck_assert_uint_eq(eum_sim_time(device), 5);
    done(device, NULL, NULL);
}
END_TEST

START_TEST(functions_for_simulated_devices_refuse_others)
{
    static const struct eum_device_ops none = {.name = "none"};
    eum_device device = {.ops = &none};
    eum_sim_counters counted;
    eum_sim_page_info info;
    ck_assert(!eum_sim_counters_get(&device, &counted) && !eum_sim_page_info_get(&device, &device, &info));
    ck_assert(!eum_sim_block_counters(NULL, &device, &counted) && !eum_sim_step(&device) && !eum_sim_schedule(&device, true, 1));
    ck_assert_uint_eq(eum_sim_violations(&device, NULL, 0) + eum_sim_time(&device) + eum_sim_blocks_live(&device, 0), 0);
    eum_sim_host_access(&device, &device, 1, true);
    eum_sim_fail(&device, EUM_SIM_ANY, 1);
}
END_TEST

Suite *sim_failures_suite(void)
{
    Suite *suite = suite_create("sim_failures");
    TCase *failures = tcase_create("failures and time");
    tcase_set_timeout(failures, 60);
    tcase_add_loop_test(failures, the_nth_call_of_each_operation_fails_on_demand, 0, EUM_SIM_LOST);
    tcase_add_test(failures, unknown_architectures_and_options_are_named);
    tcase_add_test(failures, the_virtual_clock_has_the_ratios_that_were_measured);
    tcase_add_test(failures, functions_for_simulated_devices_refuse_others);
    suite_add_tcase(suite, failures);
    return suite;
}
