/* Launches and similarity in the C ABI: what their configurations may say, and what kernels get to see.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <stdatomic.h>
#include <unistd.h>

#include "abi_fixture.h"

/* ------------------------------------------------------------------------------------------------- launches -------- */

START_TEST(launch_configurations_are_checked)
{
    eum_argument arguments[65];
    char params[4097] = {0};
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    poison();
    for (size_t i = 0; i < 65; i++)
        arguments[i] = (eum_argument){whole(buffer), EUM_ACCESS_READ, 0};
    EXPECT(eum_launch(stream, &config, &out.job), EUM_ERROR_NO_KERNEL, "gpu and cpu are both NULL");
    config.cpu = do_nothing;
    config.argument_count = 1;
    EXPECT(eum_launch(stream, &config, &out.job), EUM_ERROR_INVALID_ARGUMENT, "arguments is NULL and argument_count is 1");
    config.arguments = arguments;
    config.argument_count = 65;
    EXPECT(eum_launch(stream, &config, &out.job), EUM_ERROR_INVALID_ARGUMENT, "argument_count is 65, at most 64");
    config.argument_count = SIZE_MAX;
    EXPECT(eum_launch(stream, &config, &out.job), EUM_ERROR_INVALID_ARGUMENT, "argument_count is 18446744073709551615");
    config.argument_count = 64;
    config.params_bytes = 4;
    EXPECT(eum_launch(stream, &config, &out.job), EUM_ERROR_INVALID_ARGUMENT, "params is NULL and params_bytes is 4");
    config.params = params;
    config.params_bytes = 4097;
    EXPECT(eum_launch(stream, &config, &out.job), EUM_ERROR_INVALID_ARGUMENT, "params_bytes is 4097, at most 4096");
    arguments[63].view.bytes = BYTES + 1;
    config.params_bytes = 4096;
    EXPECT(eum_launch(stream, &config, &out.job), EUM_ERROR_OUT_OF_BOUNDS, "argument 63 ");
    untouched("eum_launch");
    arguments[63].view.bytes = BYTES;
    OK(eum_launch(stream, &config, &out.job));
    OK(eum_job_wait(out.job, -1));
}
END_TEST

START_TEST(arguments_of_acquire_and_release_are_checked)
{
    eum_argument arguments[65];
    poison();
    for (size_t i = 0; i < 65; i++)
        arguments[i] = (eum_argument){whole(buffer), EUM_ACCESS_READ, 0};
    EXPECT(eum_stream_acquire(stream, NULL, 1, out.addresses), EUM_ERROR_INVALID_ARGUMENT, "arguments is NULL");
    EXPECT(eum_stream_release(stream, NULL, 1, &out.job), EUM_ERROR_INVALID_ARGUMENT, "arguments is NULL");
    EXPECT(eum_stream_acquire(stream, arguments, 65, out.addresses), EUM_ERROR_INVALID_ARGUMENT, "argument_count is 65");
    EXPECT(eum_stream_release(stream, arguments, 65, &out.job), EUM_ERROR_INVALID_ARGUMENT, "argument_count is 65");
    EXPECT(eum_stream_release(stream, arguments, 2, &out.job), EUM_ERROR_NOT_MAPPED, "");
    arguments[63].view.bytes = BYTES + 1;
    EXPECT(eum_stream_acquire(stream, arguments, 64, out.addresses), EUM_ERROR_OUT_OF_BOUNDS, "argument 63 ");
    arguments[1] = (eum_argument){{buffer, 8, 8}, EUM_ACCESS_OVERWRITE, 0};
    EXPECT(eum_stream_acquire(stream, arguments, 2, out.addresses), EUM_ERROR_OVERLAP, "");
    untouched("eum_stream_acquire and eum_stream_release");
}
END_TEST

START_TEST(acquired_views_have_addresses_until_they_are_released)
{
    const eum_argument arguments[] = {{{buffer, 8, 8}, EUM_ACCESS_READ_WRITE, 0}, {{buffer, 32, 16}, EUM_ACCESS_READ, 0}};
    eum_job job = {NULL, 0, 0};
    OK(eum_stream_acquire(stream, NULL, 0, NULL)); /* nothing */
    OK(eum_stream_release(stream, NULL, 0, NULL));
    OK(eum_stream_acquire(stream, arguments, 2, out.addresses));
    ck_assert_ptr_eq((char *)out.addresses[1] - 24, out.addresses[0]);
    EXPECT(launch_with(stream, whole(buffer), EUM_ACCESS_READ, 0), EUM_ERROR_MAPPED, "");
    OK(eum_stream_release(stream, arguments, 2, &job));
    ck_assert_ptr_eq(job.context, context);
    OK(eum_job_wait(job, -1));
    OK(launch_with(stream, whole(buffer), EUM_ACCESS_READ, 0));
}
END_TEST

typedef struct seen {
    size_t count, bytes[2], params_bytes;
    int params, device;
    void *stream;
    bool aligned;
} seen;

static int32_t look(const eum_kernel_call *call)
{
    seen *it = call->user;
    it->count = call->count;
    for (size_t i = 0; i < call->count && i < 2; i++)
        it->bytes[i] = call->bytes[i];
    it->params_bytes = call->params_bytes;
    memcpy(&it->params, call->params, sizeof it->params);
    it->aligned = (uintptr_t)call->params % 16 == 0;
    it->device = call->device;
    it->stream = call->stream;
    return call->struct_size == sizeof *call ? 0 : -1;
}

START_TEST(kernels_are_told_what_the_launch_says)
{
    seen it = {.device = 77, .stream = &it};
    int params = 4711;
    eum_argument arguments[] = {{{buffer, 4, 12}, EUM_ACCESS_READ, 0}, {{buffer, 16, EUM_WHOLE_SIZE}, EUM_ACCESS_OVERWRITE, 0}};
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    eum_job job = {NULL, 0, 0};
    config.cpu = look;
    config.arguments = arguments;
    config.argument_count = 2;
    config.params = &params;
    config.params_bytes = sizeof params;
    config.user = &it;
    OK(eum_launch(stream, &config, &job));
    params = 0; /* the launch has its own copy */
    ck_assert_ptr_eq(job.context, context);
    OK(eum_job_wait(job, -1));
    ck_assert_uint_eq(it.count, 2);
    ck_assert_uint_eq(it.bytes[0], 12);
    ck_assert_uint_eq(it.bytes[1], BYTES - 16);
    ck_assert_int_eq(it.params, 4711);
    ck_assert_uint_eq(it.params_bytes, sizeof params);
    ck_assert(it.aligned);
    ck_assert_int_eq(it.device, EUM_LOCATION_HOST);
    ck_assert_ptr_null(it.stream);
}
END_TEST

static int32_t fail_with_42(const eum_kernel_call *call)
{
    (void)call;
    return 42;
}

typedef struct told {
    atomic_int calls;
    eum_status status;
} told;

static void tell(void *user, eum_status status)
{
    told *it = user;
    it->status = status;
    atomic_fetch_add(&it->calls, 1);
}

static void wait_until_told(const told *it)
{
    while (atomic_load(&it->calls) == 0)
        usleep(100);
}

START_TEST(on_done_is_called_once_with_what_synchronize_would_return)
{
    told fine = {0, -1}, failed = {0, -1};
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.cpu = do_nothing;
    OK(eum_launch(stream, &config, NULL));
    OK(eum_stream_on_done(stream, tell, &fine));
    wait_until_told(&fine);
    ck_assert_int_eq(fine.status, EUM_OK);
    config.cpu = fail_with_42;
    OK(eum_launch(stream, &config, NULL));
    OK(eum_stream_on_done(stream, tell, &failed));
    wait_until_told(&failed);
    ck_assert_int_eq(failed.status, EUM_ERROR_JOB_FAILED);
    (void)eum_stream_synchronize(stream); /* says so too, unless the callback's news counts as the report */
    OK(eum_stream_synchronize(stream));
    ck_assert_int_eq(atomic_load(&fine.calls), 1);
    ck_assert_int_eq(atomic_load(&failed.calls), 1);
}
END_TEST

START_TEST(cudas_own_streams_and_events_are_not_on_the_host)
{
    eum_job job = {NULL, 0, 0};
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.cpu = do_nothing;
    OK(eum_launch(stream, &config, &job));
    poison();
    EXPECT(eum_stream_native(stream, &out.pointer), EUM_ERROR_NOT_SUPPORTED, "");
    EXPECT(eum_job_cuda_event(job, &out.pointer), EUM_ERROR_NOT_SUPPORTED, "");
    EXPECT(eum_stream_wrap(context, NULL, &out.stream), EUM_ERROR_NOT_SUPPORTED, "");
    untouched("calls for CUDA's own objects");
    OK(eum_job_wait(job, -1));
}
END_TEST

START_TEST(handles_of_two_contexts_do_not_mix)
{
    eum_context *other = host_context();
    eum_buffer *foreign = buffer_of(other, BYTES);
    poison();
    EXPECT(launch_with(stream, whole(foreign), EUM_ACCESS_READ, 0), EUM_ERROR_WRONG_CONTEXT, "argument 0 ");
    EXPECT(cosine_on(stream, whole(foreign), whole(buffer), whole(buffer)), EUM_ERROR_WRONG_CONTEXT, "query ");
    EXPECT(cosine_on(stream, whole(buffer), whole(foreign), whole(buffer)), EUM_ERROR_WRONG_CONTEXT, "targets ");
    EXPECT(cosine_on(stream, whole(buffer), whole(buffer), whole(foreign)), EUM_ERROR_WRONG_CONTEXT, "scores ");
    EXPECT(acquire_with(stream, whole(foreign), EUM_ACCESS_READ, 0), EUM_ERROR_WRONG_CONTEXT, "argument 0 ");
    EXPECT(eum_buffer_prefetch(whole(foreign), EUM_LOCATION_HOST, stream), EUM_ERROR_WRONG_CONTEXT, "the view ");
    untouched("calls with two contexts");
    OK(eum_buffer_destroy(foreign));
    OK(eum_context_destroy(other));
}
END_TEST

/* --------------------------------------------------------------------------------------------------- cosine -------- */

START_TEST(cosine_operands_must_fit_their_shape)
{
    const eum_view q = {buffer, 0, 8}, t = {buffer, 8, 24}, s = {buffer, 32, 12};
    struct {
        uint64_t rows, dim;
        size_t stride;
        eum_view query, targets, scores;
        eum_status status;
        const char *words;
    } wrong[] = {
        {3, 0, 0, q, t, s, EUM_ERROR_INVALID_ARGUMENT, "dim is 0"},
        {3, UINT64_MAX / 4 + 1, 0, q, t, s, EUM_ERROR_SIZE_OVERFLOW, "query: 4611686018427387904 times 4"},
        {3, UINT64_MAX, 0, q, t, s, EUM_ERROR_SIZE_OVERFLOW, "query: 18446744073709551615 times 4"},
        {UINT64_MAX / 8 + 1, 2, 0, q, t, s, EUM_ERROR_SIZE_OVERFLOW, "targets: 2305843009213693952 times 8"},
        {UINT64_MAX, 2, 0, q, t, s, EUM_ERROR_SIZE_OVERFLOW, "targets: 18446744073709551615 times 8"},
        {3, 2, 10, q, t, s, EUM_ERROR_MISALIGNED, "stride of the targets is 10"},
        {3, 2, 4, q, t, s, EUM_ERROR_INVALID_ARGUMENT, "stride of the targets is 4, shorter than 2 elements (8 bytes)"},
        {3, 2, SIZE_MAX - 3, q, t, s, EUM_ERROR_SIZE_OVERFLOW, "targets: 3 times 18446744073709551612"},
        {3, 2, 0, {buffer, 0, 7}, t, s, EUM_ERROR_BUFFER_TOO_SHORT, "query has 7 bytes, and the declared shape needs 8"},
        {3, 2, 0, q, {buffer, 8, 23}, s, EUM_ERROR_BUFFER_TOO_SHORT, "targets has 23 bytes, and the declared shape needs 24"},
        {3, 2, 12, q, {buffer, 8, 31}, s, EUM_ERROR_BUFFER_TOO_SHORT, "targets has 31 bytes, and the declared shape needs 32"},
        {3, 2, 0, q, t, {buffer, 32, 11}, EUM_ERROR_BUFFER_TOO_SHORT, "scores has 11 bytes, and the declared shape needs 12"},
        {3, 2, 0, {buffer, 2, 8}, t, s, EUM_ERROR_MISALIGNED, "query has offset 2"},
        {3, 2, 0, q, {buffer, 9, 24}, s, EUM_ERROR_MISALIGNED, "targets has offset 9"},
        {3, 2, 0, q, t, {buffer, 35, 12}, EUM_ERROR_MISALIGNED, "scores has offset 35"},
        {0, 2, 0, {buffer, 0, 4}, t, s, EUM_ERROR_BUFFER_TOO_SHORT, "query has 4 bytes"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        eum_cosine_config config = cosine_of(wrong[i].query, wrong[i].targets, wrong[i].scores, wrong[i].rows, wrong[i].dim);
        config.row_stride = wrong[i].stride;
        poison();
        expect_words("eum_cosine", eum_cosine(stream, &config, &out.job), wrong[i].status, wrong[i].words);
        untouched("eum_cosine");
    }
    eum_cosine_config config = cosine_of(q, t, s, 3, 2);
    config.executor = 3;
    EXPECT(eum_cosine(stream, &config, &out.job), EUM_ERROR_INVALID_ENUM, "executor is 3");
    config.executor = EUM_EXECUTOR_CPU;
    config.reserved = 1;
    EXPECT(eum_cosine(stream, &config, &out.job), EUM_ERROR_INVALID_ARGUMENT, "reserved is 1");
    untouched("eum_cosine");
}
END_TEST

START_TEST(wrapped_memory_that_holds_no_floats_by_its_address_is_refused)
{
    static _Alignas(64) char memory[64];
    eum_wrap_config wrap = EUM_WRAP_CONFIG_INIT;
    wrap.address = memory + 2;
    wrap.bytes = 48;
    eum_buffer *odd = NULL;
    OK(eum_buffer_wrap(context, &wrap, &odd));
    poison();
    EXPECT(cosine_on(stream, whole(odd), whole(buffer), whole(buffer)), EUM_ERROR_MISALIGNED, "query wraps memory whose address");
    EXPECT(cosine_on(stream, whole(buffer), whole(odd), whole(buffer)), EUM_ERROR_MISALIGNED, "targets wraps memory");
    untouched("eum_cosine");
    OK(eum_buffer_destroy(odd));
}
END_TEST

START_TEST(cosine_uses_exactly_the_bytes_that_it_needs)
{
    /* 3 rows of 2 floats, 12 bytes apart, without a gap after the last; query and scores in longer views */
    const float values[] = {3, 4, /**/ 3, 4, 99, 4, -3, 99, -6, -8, /**/ 7, 7, 7, 7};
    float back[16] = {0};
    OK(eum_buffer_write((eum_view){buffer, 0, sizeof values}, values));
    eum_cosine_config config = cosine_of((eum_view){buffer, 0, 8}, (eum_view){buffer, 8, 32}, (eum_view){buffer, 40, 16}, 3, 2);
    config.row_stride = 12;
    OK(eum_cosine(stream, &config, &out.job));
    ck_assert_ptr_eq(out.job.context, context);
    OK(eum_job_wait(out.job, -1));
    OK(eum_buffer_read(whole(buffer), back));
    ck_assert_float_eq_tol(back[10], 1.0f, 1e-5f);
    ck_assert_float_eq_tol(back[11], 0.0f, 1e-5f);
    ck_assert_float_eq_tol(back[12], -1.0f, 1e-5f);
    ck_assert_float_eq(back[13], 7.0f); /* beyond rows floats of scores: not written */
    /* the query's view may reach over the scores, as long as what is used of it does not */
    config.query.bytes = BYTES;
    OK(eum_cosine(stream, &config, &out.job));
    OK(eum_stream_synchronize(stream));
}
END_TEST

Suite *abi_launch_suite(void);
Suite *abi_launch_suite(void)
{
    Suite *suite = suite_create("abi_launch");
    TCase *launches = tcase_create("launches");
    tcase_add_checked_fixture(launches, set_up, tear_down);
    tcase_add_test(launches, launch_configurations_are_checked);
    tcase_add_test(launches, arguments_of_acquire_and_release_are_checked);
    tcase_add_test(launches, acquired_views_have_addresses_until_they_are_released);
    tcase_add_test(launches, kernels_are_told_what_the_launch_says);
    tcase_add_test(launches, on_done_is_called_once_with_what_synchronize_would_return);
    tcase_add_test(launches, cudas_own_streams_and_events_are_not_on_the_host);
    tcase_add_test(launches, handles_of_two_contexts_do_not_mix);
    tcase_add_test(launches, cosine_operands_must_fit_their_shape);
    tcase_add_test(launches, wrapped_memory_that_holds_no_floats_by_its_address_is_refused);
    tcase_add_test(launches, cosine_uses_exactly_the_bytes_that_it_needs);
    suite_add_tcase(suite, launches);
    return suite;
}
