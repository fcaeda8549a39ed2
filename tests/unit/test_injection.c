/* Each call of the device made to fail in turn, on the simulated devices, whatever EUM_DEVICE says: data that were valid stay readable and
 * right, nothing leaks, nothing hangs.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "engine.h"

Suite *injection_suite(void);

static const struct {
    const char *device;
    eum_backing backing;
} setups[] = {
    {"sim:maxwell", EUM_BACKING_MIRRORED}, {"sim:maxwell", EUM_BACKING_MANAGED}, {"sim:pascal", EUM_BACKING_MANAGED},
    {"sim:turing", EUM_BACKING_MANAGED},   {"sim:ampere", EUM_BACKING_MIRRORED}, {"sim:hopper", EUM_BACKING_MANAGED},
};
#define SETUPS ((int)(sizeof setups / sizeof setups[0]))

#define BYTES (3 * 64 * KIB)
#define WORDS (BYTES / WORD)

/* A buffer and what it must hold: word i is word_at(seed[i], i) + plus[i]; unknown where a job that was to write it could not be started. */
typedef struct cell {
    eum_buffer *buffer;
    uint32_t model[WORDS];
    bool unknown[WORDS];
} cell;

static cell a, b, c;
static int failures; /* calls of the program that failed */

static bool went_well(eum_status status)
{
    if (status == EUM_OK)
        return true;
    failures++;
    eum_error error = EUM_ERROR_INIT;
    OK(eum_last_error(&error));
    ck_assert_int_eq(error.status, status);
    ck_assert_uint_gt(strlen(error.sentence), 10);
    return false;
}

static void set_model(cell *x, size_t first, size_t count, uint32_t seed)
{
    for (size_t i = 0; i < count; i++) {
        x->model[first + i] = word_at(seed, i);
        x->unknown[first + i] = false;
    }
}

static void forget(cell *x, size_t first, size_t count)
{
    memset(x->unknown + first, 1, count);
}

static bool any_unknown(const cell *x, size_t first, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (x->unknown[first + i])
            return true;
    return false;
}

/* What is left after a failure must be what was there, or be known to be undefined where it was to be overwritten. */
static void verify(cell *x, size_t first, size_t count)
{
    static uint32_t words[WORDS];
    eum_status status = eum_buffer_read(part(x->buffer, first * WORD, count * WORD), words);
    if (status == EUM_ERROR_UNDEFINED_DATA && any_unknown(x, first, count)) {
        if (count == 1)
            return;
        verify(x, first, count / 2);
        verify(x, first + count / 2, count - count / 2);
        return;
    }
    OK(status);
    for (size_t i = 0; i < count; i++)
        if (words[i] != x->model[first + i] && !x->unknown[first + i])
            ck_abort_msg("word %zu is %08x instead of %08x", first + i, words[i], x->model[first + i]);
}

static bool create(eum_context *context, cell *x, eum_role role)
{
    eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
    config.role = role;
    config.flags = EUM_BUFFER_ZEROED;
    x->buffer = NULL;
    memset(x, 0, sizeof *x);
    return went_well(eum_buffer_create(context, BYTES, &config, &x->buffer));
}

static void write_part(cell *x, size_t first, size_t count, uint32_t seed)
{
    static uint32_t words[WORDS];
    fill_words(words, count, seed);
    if (went_well(eum_buffer_write(part(x->buffer, first * WORD, count * WORD), words)))
        set_model(x, first, count, seed);
}

static void map_part(cell *x, size_t first, size_t count, eum_access access, uint32_t seed)
{
    void *address = NULL;
    eum_view view = part(x->buffer, first * WORD, count * WORD);
    if (!went_well(eum_buffer_map(view, access, &address))) {
        ck_assert_ptr_null(address);
        return;
    }
    if (access != EUM_ACCESS_READ) {
        fill_words(address, count, seed);
        set_model(x, first, count, seed);
    }
    OK(eum_buffer_unmap(x->buffer, address));
}

static void launch_fill(eum_stream *stream, cell *in, cell *out, size_t first, size_t count, uint32_t seed)
{
    work w = {.kind = WORK_NOTHING};
    eum_argument arguments[2] = {overwrites(part(out->buffer, first * WORD, count * WORD)), reads(whole(in->buffer))};
    (void)w;
    eum_job job;
    work fill = {.kind = WORK_FILL, .value = seed};
    eum_status status = try_launch(stream, &fill, arguments, 1, &job);
    if (went_well(status)) {
        set_model(out, first, count, seed);
        if (!went_well(eum_job_wait(job, -1)))
            forget(out, first, count);
    } else {
        forget(out, first, count);
    }
    if (in != out)
        (void)went_well(try_launch(stream, &w, &arguments[1], 1, NULL));
}

static void launch_add(eum_stream *stream, cell *x, uint32_t value)
{
    work w = {.kind = WORK_ADD, .value = value};
    eum_argument argument = updates(whole(x->buffer));
    eum_job job;
    uint64_t launches = explain(x->buffer).launches;
    eum_status status = try_launch(stream, &w, &argument, 1, &job);
    if (status == EUM_OK) {
        for (size_t i = 0; i < WORDS; i++)
            x->model[i] += value;
        return;
    }
    went_well(status);
    ck_assert_uint_eq(explain(x->buffer).launches, launches);
}

static void nothing_more(void *user, eum_status status)
{
    (void)status;
    atomic_fetch_add((atomic_int *)user, 1);
}

static void run_program(eum_context *context)
{
    static atomic_int called;
    eum_stream *first = default_stream(context), *second = NULL;
    bool have[3] = {create(context, &a, EUM_ROLE_AUTO), create(context, &b, EUM_ROLE_RESULTS),
                    create(context, &c, EUM_ROLE_TARGETS)};
    cell *cells[3] = {&a, &b, &c};
    if (!went_well(eum_stream_create(context, NULL, &second)))
        second = first;
    if (have[0] && have[1] && have[2]) {
        write_part(&a, 0, WORDS, 1);
        map_part(&b, 100, 5000, EUM_ACCESS_READ_WRITE, 2);
        launch_fill(first, &a, &c, 0, WORDS, 3);
        launch_fill(second, &c, &b, 0, WORDS, 4);
        launch_fill(first, &b, &a, 64 * KIB / WORD, 64 * KIB / WORD, 5);
        map_part(&c, 10, WORDS - 20, EUM_ACCESS_OVERWRITE, 6);
        launch_add(second, &c, 7);
        launch_add(first, &c, 8);
        (void)went_well(eum_buffer_prefetch(whole(c.buffer), EUM_LOCATION_HOST, second));
        map_part(&c, 0, WORDS, EUM_ACCESS_READ, 0);
        (void)went_well(eum_buffer_advise(whole(a.buffer), EUM_ADVICE_READ_MOSTLY, EUM_LOCATION_HOST, NULL));
        (void)went_well(eum_stream_on_done(second, nothing_more, &called));
        launch_fill(second, &a, &a, 500, 3000, 9);
        launch_add(first, &a, 10);
        write_part(&a, 1000, 100, 11);
        map_part(&a, 0, WORDS / 2, EUM_ACCESS_READ_WRITE, 12);
        launch_add(second, &b, 13);
    }
    if (second != first)
        OK(eum_stream_destroy(second));
    eum_device *device = device_of(context);
    for (int operation = 0; operation < EUM_SIM_OPERATIONS; operation++)
        eum_sim_fail(device, (eum_sim_operation)operation, 0);
    for (int i = 0; i < 3; i++) {
        if (!have[i])
            continue;
        verify(cells[i], 0, WORDS);
        cpu_fill(whole(cells[i]->buffer), 20); /* and everything can be used again */
        gpu_expect(first, whole(cells[i]->buffer), 20);
        gpu_fill(first, whole(cells[i]->buffer), 21);
        cpu_expect(whole(cells[i]->buffer), 21);
        OK(eum_buffer_destroy(cells[i]->buffer));
    }
}

static void finish_program(eum_context *context, uint64_t nth)
{
    char text[512];
    eum_stream *stream = default_stream(context);
    (void)eum_stream_synchronize(stream);
    uint64_t violations = eum_sim_violations(device_of(context), text, sizeof text);
    ck_assert_msg(violations == 0, "call %llu: %s", (unsigned long long)nth, text);
    check_empty(context);
    OK(eum_context_destroy(context));
}

START_TEST(whichever_call_of_the_device_fails_no_byte_is_lost_and_nothing_leaks)
{
    uint64_t total = 0;
    for (uint64_t nth = 0; nth == 0 || nth <= total; nth++) {
        eum_context *context = open_on(setups[_i].device, setups[_i].backing);
        eum_device *device = device_of(context);
        uint64_t before = eum_sim_calls(device, EUM_SIM_ANY);
        eum_sim_fail(device, EUM_SIM_ANY, nth);
        failures = 0;
        run_program(context);
        if (nth == 0) {
            total = eum_sim_calls(device, EUM_SIM_ANY) - before;
            ck_assert_int_eq(failures, 0);
        }
        finish_program(context, nth);
    }
    ck_assert_uint_gt(total, 25); /* orders are left out where a point has passed in time */
}
END_TEST

START_TEST(when_every_call_of_a_kind_fails_no_byte_is_lost_and_nothing_leaks)
{
    for (int operation = 0; operation < EUM_SIM_LOST; operation++) {
        eum_context *context = open_on(setups[_i].device, setups[_i].backing);
        eum_device *device = device_of(context);
        for (int armed_before = 0; armed_before < 2; armed_before++) {
            eum_sim_fail(device, (eum_sim_operation)operation, armed_before ? EUM_SIM_FAIL_ALL : 3);
            run_program(context);
        }
        finish_program(context, (uint64_t)operation);
    }
}
END_TEST

START_TEST(a_context_that_cannot_be_created_leaves_nothing_behind)
{
    for (int nth = 1; nth < 100; nth++) {
        char device[64];
        snprintf(device, sizeof device, "%s,fail=any:%d", setups[_i].device, nth);
        eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
        config.device = device;
        config.backing = setups[_i].backing;
        eum_context *context = NULL;
        eum_status status = eum_context_create(&config, &context);
        if (status == EUM_OK) {
            ck_assert_int_gt(nth, 1);
            OK(eum_context_destroy(context));
            return;
        }
        ck_assert_ptr_null(context);
    }
    ck_abort_msg("it never succeeds");
}
END_TEST

static bool lost_or_well(eum_status status, bool *lost)
{
    if (status == EUM_OK)
        return true;
    eum_error error = EUM_ERROR_INIT;
    OK(eum_last_error(&error));
    ck_assert_int_eq(error.status, status);
    /* What the lost kernel was to write is undefined; the rest of what the device had is out of reach. */
    ck_assert_msg(status == EUM_ERROR_DEVICE_LOST || (*lost && status == EUM_ERROR_UNDEFINED_DATA), "%s: %s",
                  eum_status_name(status), error.sentence);
    *lost = true;
    return false;
}

START_TEST(a_lost_device_is_an_error_everywhere_and_everything_still_ends)
{
    for (uint64_t nth = 1; nth <= 4; nth++) {
        eum_context *context = open_on(setups[_i].device, setups[_i].backing);
        eum_stream *stream = new_stream(context);
        eum_buffer *buffer = new_buffer(context, BYTES), *other = new_buffer(context, BYTES);
        static uint32_t wrapped[1024], words[WORDS];
        eum_wrap_config config = EUM_WRAP_CONFIG_INIT;
        config.address = wrapped;
        config.bytes = sizeof wrapped;
        eum_buffer *borrowed = NULL;
        OK(eum_buffer_wrap(context, &config, &borrowed));
        cpu_fill(whole(buffer), 1);
        cpu_fill(whole(other), 2);
        bool lost = false;
        eum_sim_fail(device_of(context), EUM_SIM_LOST, nth);
        for (int round = 0; round < 3; round++) {
            const work w = {.kind = WORK_ADD, .value = 1};
            eum_argument arguments[2] = {updates(whole(buffer)), updates(whole(borrowed))};
            eum_job job;
            if (lost_or_well(try_launch(stream, &w, &arguments[round % 2], 1, &job), &lost))
                (void)lost_or_well(eum_job_wait(job, -1), &lost);
            void *address = NULL;
            if (lost_or_well(eum_buffer_map(whole(buffer), EUM_ACCESS_READ, &address), &lost))
                OK(eum_buffer_unmap(buffer, address));
            (void)lost_or_well(eum_buffer_read(whole(buffer), words), &lost);
            (void)lost_or_well(try_launch(stream, &w, &arguments[round % 2], 1, NULL), &lost);
            (void)lost_or_well(eum_stream_synchronize(stream), &lost);
        }
        ck_assert(lost);
        eum_job job;
        const work w = {.kind = WORK_NOTHING};
        eum_argument argument = reads(whole(other));
        ck_assert_int_eq(try_launch(stream, &w, &argument, 1, &job), EUM_ERROR_DEVICE_LOST);
        OK(eum_buffer_destroy(borrowed));
        OK(eum_buffer_destroy(buffer));
        OK(eum_buffer_destroy(other));
        OK(eum_stream_destroy(stream));
        close_context(context);
    }
}
END_TEST

static void take_long(void *user, eum_status status)
{
    (void)status;
    sleep_ms(30);
    atomic_fetch_add((atomic_int *)user, 1);
}

START_TEST(a_context_waits_for_a_callback_behind_which_the_device_gave_no_point)
{
    eum_context *context = open_on(setups[_i].device, setups[_i].backing);
    atomic_int called = 0;
    eum_sim_fail(device_of(context), EUM_SIM_MARK, 1);
    OK(eum_stream_on_done(default_stream(context), take_long, &called));
    OK(eum_context_destroy(context));
    ck_assert_int_eq(atomic_load(&called), 1);
}
END_TEST

/* Hints are never a reason to fail. */
START_TEST(failing_hints_fail_nothing)
{
    eum_context *context = open_on(setups[_i].device, setups[_i].backing);
    eum_sim_fail(device_of(context), EUM_SIM_ADVISE, EUM_SIM_FAIL_ALL);
    eum_sim_fail(device_of(context), EUM_SIM_DISCARD, EUM_SIM_FAIL_ALL);
    failures = 0;
    run_program(context);
    ck_assert_int_eq(failures, 0);
    finish_program(context, 0);
}
END_TEST

START_TEST(an_allocation_that_fails_is_not_charged_to_the_budget)
{
    eum_context *context = open_on(setups[_i].device, setups[_i].backing);
    eum_buffer *buffer = NULL;
    eum_sim_fail(device_of(context), EUM_SIM_ALLOC, 1);
    eum_status status = eum_buffer_create(context, MIB, NULL, &buffer);
    ck_assert(status == EUM_ERROR_OUT_OF_MEMORY || status == EUM_ERROR_OUT_OF_DEVICE_MEMORY);
    ck_assert_ptr_null(buffer);
    ck_assert_uint_eq(info_of(context).budget_used, 0);
    ck_assert_uint_eq(stats_of(context).buffers_live, 0);
    close_context(context);
}
END_TEST

Suite *injection_suite(void)
{
    Suite *suite = suite_create("injection");
    TCase *tests = tcase_create("injection");
    if (!runs_cpu_kernels())
        return suite;
    tcase_set_timeout(tests, 240);
    tcase_add_loop_test(tests, whichever_call_of_the_device_fails_no_byte_is_lost_and_nothing_leaks, 0, SETUPS);
    /* qemu 7.2 loses 32 bytes of a memset to 0 (DC ZVA) whose first touch of a page is a fault that a handler resumes. */
    TCase *zeroing = tcase_create("injection, zeroing guarded pages");
    tcase_set_tags(zeroing, "native");
    tcase_set_timeout(zeroing, 240);
    tcase_add_loop_test(zeroing, when_every_call_of_a_kind_fails_no_byte_is_lost_and_nothing_leaks, 0, SETUPS);
    suite_add_tcase(suite, zeroing);
    tcase_add_loop_test(tests, a_lost_device_is_an_error_everywhere_and_everything_still_ends, 0, SETUPS);
    tcase_add_loop_test(tests, a_context_that_cannot_be_created_leaves_nothing_behind, 0, SETUPS);
    tcase_add_loop_test(tests, a_context_waits_for_a_callback_behind_which_the_device_gave_no_point, 0, SETUPS);
    tcase_add_loop_test(tests, failing_hints_fail_nothing, 0, SETUPS);
    tcase_add_loop_test(tests, an_allocation_that_fails_is_not_charged_to_the_budget, 0, SETUPS);
    suite_add_tcase(suite, tests);
    return suite;
}
