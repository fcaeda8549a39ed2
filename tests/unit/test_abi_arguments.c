/* The C ABI's arguments: every wrong pointer, value, flag, size and view has its status and a sentence with the values.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "abi_fixture.h"

/* ------------------------------------------------------------------------------------------------ pointers --------- */

START_TEST(null_outputs_are_refused)
{
    poison();
    EXPECT(eum_context_create(NULL, NULL), EUM_ERROR_INVALID_ARGUMENT, "out is NULL");
    EXPECT(eum_buffer_create(context, 8, NULL, NULL), EUM_ERROR_INVALID_ARGUMENT, "out is NULL");
    EXPECT(eum_buffer_wrap(context, NULL, NULL), EUM_ERROR_INVALID_ARGUMENT, "out is NULL");
    EXPECT(eum_buffer_into_raw(buffer, NULL), EUM_ERROR_INVALID_ARGUMENT, "eum_raw");
    EXPECT(eum_buffer_map(whole(buffer), EUM_ACCESS_READ, NULL), EUM_ERROR_INVALID_ARGUMENT, "out is NULL");
    EXPECT(eum_context_default_stream(context, NULL), EUM_ERROR_INVALID_ARGUMENT, "out is NULL");
    EXPECT(eum_stream_create(context, NULL, NULL), EUM_ERROR_INVALID_ARGUMENT, "out is NULL");
    EXPECT(eum_stream_wrap(context, NULL, NULL), EUM_ERROR_INVALID_ARGUMENT, "out is NULL");
    EXPECT(eum_context_info(context, NULL), EUM_ERROR_INVALID_ARGUMENT, "eum_info");
    EXPECT(eum_context_stats(context, NULL), EUM_ERROR_INVALID_ARGUMENT, "eum_stats");
    EXPECT(eum_context_operation_stats(context, EUM_OPERATION_TOPK, NULL), EUM_ERROR_INVALID_ARGUMENT, "eum_operation_stats");
    eum_operation_stats operations;
    eum_operation_stats_init(&operations);
    EXPECT(eum_context_operation_stats(context, 0, &operations), EUM_ERROR_INVALID_ENUM, "operation is 0");
    EXPECT(eum_context_operation_stats(context, 5, &operations), EUM_ERROR_INVALID_ENUM, "operation is 5");
    EXPECT(eum_context_costs(context, NULL), EUM_ERROR_INVALID_ARGUMENT, "eum_costs_info");
    EXPECT(eum_context_save_costs(context, NULL), EUM_ERROR_INVALID_ARGUMENT, "path is NULL");
    EXPECT(eum_context_break_even(context, NULL, NULL), EUM_ERROR_INVALID_ARGUMENT, "eum_break_even");
    EXPECT(eum_buffer_explain(buffer, NULL), EUM_ERROR_INVALID_ARGUMENT, "eum_decision");
    EXPECT(eum_buffer_get_info(buffer, NULL), EUM_ERROR_INVALID_ARGUMENT, "eum_buffer_info");
    EXPECT(eum_faults_end(context, NULL), EUM_ERROR_INVALID_ARGUMENT, "eum_faults");
    EXPECT(eum_buffer_faults(buffer, NULL), EUM_ERROR_INVALID_ARGUMENT, "eum_faults");
    EXPECT(eum_stream_native(stream, NULL), EUM_ERROR_INVALID_ARGUMENT, "out_cuda_stream is NULL");
    EXPECT(eum_job_cuda_event((eum_job){context, 1, 1}, NULL), EUM_ERROR_INVALID_ARGUMENT, "out_cuda_event is NULL");
    eum_argument argument = {whole(buffer), EUM_ACCESS_READ, 0};
    EXPECT(eum_stream_acquire(stream, &argument, 1, NULL), EUM_ERROR_INVALID_ARGUMENT, "out_addresses is NULL");
    /* and nothing happened to what the calls were about */
    OK(eum_buffer_get_info(buffer, &out.buffer_info));
    OK(eum_context_stats(context, &out.stats));
    ck_assert_uint_eq(out.buffer_info.maps, 0);
    ck_assert_uint_eq(out.stats.buffers_live, 1);
}
END_TEST

START_TEST(null_inputs_are_refused)
{
    poison();
    EXPECT(eum_buffer_write(whole(buffer), NULL), EUM_ERROR_INVALID_ARGUMENT, "src is NULL");
    EXPECT(eum_buffer_read(whole(buffer), NULL), EUM_ERROR_INVALID_ARGUMENT, "dst is NULL");
    EXPECT(eum_stream_on_done(stream, NULL, NULL), EUM_ERROR_INVALID_ARGUMENT, "fn is NULL");
    EXPECT(eum_decision_text(NULL, out.text, sizeof out.text, &out.size), EUM_ERROR_INVALID_ARGUMENT, "decision is NULL");
    EXPECT(eum_launch(stream, NULL, &out.job), EUM_ERROR_NO_KERNEL, "gpu and cpu are both NULL");
    EXPECT(eum_cosine(stream, NULL, &out.job), EUM_ERROR_INVALID_ARGUMENT, "dim is 0");
    EXPECT(eum_buffer_unmap(buffer, NULL), EUM_ERROR_NOT_MAPPED, "");
    untouched("calls with NULL inputs");
}
END_TEST

START_TEST(null_configurations_and_null_job_outputs_are_fine)
{
    eum_buffer *made = NULL, *wrapped = NULL;
    eum_stream *own = NULL;
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    eum_cosine_config cosine = cosine_of((eum_view){buffer, 0, 8}, (eum_view){buffer, 8, 8}, (eum_view){buffer, 16, 4}, 1, 2);
    config.cpu = do_nothing;
    OK(eum_buffer_create(context, 8, NULL, &made));
    OK(eum_buffer_wrap(context, NULL, &wrapped)); /* nothing, of nobody */
    OK(eum_stream_create(context, NULL, &own));
    OK(eum_launch(own, &config, NULL));
    OK(eum_cosine(own, &cosine, NULL));
    OK(eum_stream_synchronize(own));
    OK(eum_stream_destroy(own));
    OK(eum_buffer_destroy(wrapped));
    OK(eum_buffer_destroy(made));
}
END_TEST

/* -------------------------------------------------------------------------------------- enumerations and flags ----- */

static eum_status create_with(eum_role role, eum_backing backing, uint32_t flags, uint32_t reserved)
{
    eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
    config.role = role;
    config.backing = backing;
    config.flags = flags;
    config.reserved = reserved;
    return eum_buffer_create(context, 8, &config, &out.buffer);
}

static eum_status context_with(eum_backing backing, uint32_t flags, eum_log_level level)
{
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    config.device = "host";
    config.backing = backing;
    config.flags = flags;
    config.log_level = level;
    return eum_context_create(&config, &out.context);
}

static char wrapped_bytes[16];
static eum_status wrap_with(void *address, size_t bytes, eum_memory memory, eum_ownership ownership, uint32_t flags, eum_role role,
                            eum_release_fn release)
{
    eum_wrap_config config = EUM_WRAP_CONFIG_INIT;
    config.address = address;
    config.bytes = bytes;
    config.memory = memory;
    config.ownership = ownership;
    config.flags = flags;
    config.role = role;
    config.release = release;
    return eum_buffer_wrap(context, &config, &out.buffer);
}

static eum_status stream_with(int32_t device, uint32_t flags)
{
    eum_stream_config config = EUM_STREAM_CONFIG_INIT;
    config.device = device;
    config.flags = flags;
    return eum_stream_create(context, &config, &out.stream);
}

START_TEST(unknown_enumeration_values_are_named)
{
    static const int32_t unknown[] = {-1, 6, 99, INT32_MIN, INT32_MAX};
    char words[64];
    poison();
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        int32_t value = unknown[i];
        snprintf(words, sizeof words, "role is %d,", (int)value);
        EXPECT(eum_buffer_set_role(buffer, value), EUM_ERROR_INVALID_ENUM, words);
        EXPECT(create_with(value, 0, 0, 0), EUM_ERROR_INVALID_ENUM, words);
        EXPECT(wrap_with(wrapped_bytes, 16, EUM_MEMORY_HOST, EUM_BORROWED, 0, value, NULL), EUM_ERROR_INVALID_ENUM, words);
        snprintf(words, sizeof words, "backing is %d,", (int)value);
        EXPECT(create_with(0, value, 0, 0), EUM_ERROR_INVALID_ENUM, words);
        EXPECT(context_with(value, 0, 0), EUM_ERROR_INVALID_ENUM, words);
        snprintf(words, sizeof words, "log_level is %d,", (int)value);
        EXPECT(context_with(0, 0, value), EUM_ERROR_INVALID_ENUM, words);
        snprintf(words, sizeof words, "memory is %d,", (int)value);
        EXPECT(wrap_with(wrapped_bytes, 16, value, EUM_BORROWED, 0, 0, NULL), EUM_ERROR_INVALID_ENUM, words);
        snprintf(words, sizeof words, "ownership is %d,", (int)value);
        EXPECT(wrap_with(wrapped_bytes, 16, EUM_MEMORY_HOST, value, 0, 0, NULL), EUM_ERROR_INVALID_ENUM, words);
        snprintf(words, sizeof words, "access is %d,", (int)value);
        EXPECT(eum_buffer_map(whole(buffer), value, &out.pointer), EUM_ERROR_INVALID_ENUM, words);
        EXPECT(launch_with(stream, whole(buffer), value, 0), EUM_ERROR_INVALID_ENUM, words);
        EXPECT(launch_with(stream, whole(buffer), value, 0), EUM_ERROR_INVALID_ENUM, "argument 0: ");
        EXPECT(acquire_with(stream, whole(buffer), value, 0), EUM_ERROR_INVALID_ENUM, words);
        EXPECT(release_with(stream, whole(buffer), value, 0), EUM_ERROR_INVALID_ENUM, words);
    }
    /* 0 is a value of some, and 6 one of others */
    EXPECT(eum_buffer_map(whole(buffer), 0, &out.pointer), EUM_ERROR_INVALID_ENUM, "access is 0,");
    EXPECT(launch_with(stream, whole(buffer), 0, 0), EUM_ERROR_INVALID_ENUM, "access is 0,");
    EXPECT(wrap_with(wrapped_bytes, 16, 0, EUM_BORROWED, 0, 0, NULL), EUM_ERROR_INVALID_ENUM, "memory is 0,");
    EXPECT(wrap_with(wrapped_bytes, 16, EUM_MEMORY_HOST, 0, 0, 0, NULL), EUM_ERROR_INVALID_ENUM, "ownership is 0,");
    EXPECT(eum_buffer_advise(whole(buffer), 0, 0, &out.hint), EUM_ERROR_INVALID_ENUM, "advice is 0,");
    EXPECT(eum_buffer_advise(whole(buffer), 7, 0, &out.hint), EUM_ERROR_INVALID_ENUM, "advice is 7,");
    untouched("calls with unknown values");
}
END_TEST

START_TEST(device_backing_is_for_wrapped_memory_only)
{
    poison();
    EXPECT(create_with(0, EUM_BACKING_DEVICE, 0, 0), EUM_ERROR_INVALID_ARGUMENT, "EUM_BACKING_DEVICE");
    EXPECT(context_with(EUM_BACKING_DEVICE, 0, 0), EUM_ERROR_INVALID_ARGUMENT, "EUM_BACKING_DEVICE");
    untouched("calls with EUM_BACKING_DEVICE");
}
END_TEST

START_TEST(unknown_flags_and_reserved_fields_are_named)
{
    poison();
    EXPECT(create_with(0, 0, 0x80000001u, 0), EUM_ERROR_INVALID_ARGUMENT,
           "eum_buffer_config.flags is 0x80000001, of which this version "
           "does not know 0x80000000");
    EXPECT(create_with(0, 0, 0, 9), EUM_ERROR_INVALID_ARGUMENT, "eum_buffer_config.reserved is 9");
    EXPECT(context_with(0, 2, 0), EUM_ERROR_INVALID_ARGUMENT, "eum_context_config.flags is 0x2");
    EXPECT(wrap_with(wrapped_bytes, 16, EUM_MEMORY_HOST, EUM_BORROWED, 4, 0, NULL), EUM_ERROR_INVALID_ARGUMENT,
           "eum_wrap_config.flags is 0x4");
    EXPECT(stream_with(0, 1), EUM_ERROR_INVALID_ARGUMENT, "eum_stream_config.flags is 0x1");
    EXPECT(stream_with(3, 0), EUM_ERROR_INVALID_ARGUMENT, "eum_stream_config.device is 3");
    EXPECT(launch_with(stream, whole(buffer), EUM_ACCESS_READ, 5), EUM_ERROR_INVALID_ARGUMENT, "argument 0: flags is 0x5");
    EXPECT(acquire_with(stream, whole(buffer), EUM_ACCESS_READ, 5), EUM_ERROR_INVALID_ARGUMENT, "argument 0: flags is 0x5");
    EXPECT(release_with(stream, whole(buffer), EUM_ACCESS_READ, 5), EUM_ERROR_INVALID_ARGUMENT, "argument 0: flags is 0x5");
    untouched("calls with unknown flags");
}
END_TEST

START_TEST(locations_are_the_host_or_a_device_number)
{
    static const eum_location wrong[] = {-2, 63, INT32_MIN, INT32_MAX};
    char words[64];
    poison();
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        snprintf(words, sizeof words, "location is %d;", (int)wrong[i]);
        EXPECT(eum_buffer_prefetch(whole(buffer), wrong[i], NULL), EUM_ERROR_INVALID_ARGUMENT, words);
        EXPECT(eum_buffer_advise(whole(buffer), EUM_ADVICE_PREFERRED_LOCATION, wrong[i], &out.hint), EUM_ERROR_INVALID_ARGUMENT,
               words);
        EXPECT(eum_buffer_advise(whole(buffer), EUM_ADVICE_ACCESSED_BY, wrong[i], &out.hint), EUM_ERROR_INVALID_ARGUMENT, words);
        EXPECT(eum_buffer_advise(whole(buffer), EUM_ADVICE_UNSET_ACCESSED_BY, wrong[i], NULL), EUM_ERROR_INVALID_ARGUMENT, words);
    }
    untouched("calls with wrong locations");
    OK(eum_buffer_prefetch(whole(buffer), EUM_LOCATION_HOST, NULL));
    OK(eum_buffer_prefetch(whole(buffer), EUM_LOCATION_HOST, stream));
}
END_TEST

START_TEST(what_is_wrapped_must_make_sense)
{
    void *at = wrapped_bytes;
    poison();
    EXPECT(wrap_with(NULL, 16, EUM_MEMORY_HOST, EUM_BORROWED, 0, 0, NULL), EUM_ERROR_INVALID_ARGUMENT,
           "address is NULL for 16 bytes");
    EXPECT(wrap_with(at, 16, EUM_MEMORY_HOST, EUM_OWNED, 0, 0, NULL), EUM_ERROR_INVALID_ARGUMENT, "release is NULL");
    EXPECT(wrap_with(at, 16, EUM_MEMORY_HOST, EUM_BORROWED, 0, 0, release_nothing), EUM_ERROR_INVALID_ARGUMENT, "release is given");
    EXPECT(wrap_with(at, 16, EUM_MEMORY_PINNED, EUM_BORROWED, EUM_WRAP_REGISTER, 0, NULL), EUM_ERROR_INVALID_ARGUMENT,
           "memory is 2");
    EXPECT(wrap_with((void *)(UINTPTR_MAX - 15), 17, EUM_MEMORY_HOST, EUM_BORROWED, 0, 0, NULL), EUM_ERROR_SIZE_OVERFLOW,
           "+ 17 bytes");
    EXPECT(wrap_with(at, SIZE_MAX, EUM_MEMORY_HOST, EUM_BORROWED, 0, 0, NULL), EUM_ERROR_SIZE_OVERFLOW, "18446744073709551615");
    untouched("calls with senseless memory");
}
END_TEST

START_TEST(sizes_that_no_object_can_have_are_refused)
{
    poison();
    EXPECT(eum_buffer_create(context, SIZE_MAX, NULL, &out.buffer), EUM_ERROR_SIZE_OVERFLOW, "bytes is 18446744073709551615");
    EXPECT(eum_buffer_create(context, (size_t)PTRDIFF_MAX + 1, NULL, &out.buffer), EUM_ERROR_SIZE_OVERFLOW, "9223372036854775808");
    untouched("eum_buffer_create");
}
END_TEST

START_TEST(a_failed_wrap_leaves_the_memory_to_the_caller)
{
    int released = 0;
    eum_wrap_config config = EUM_WRAP_CONFIG_INIT;
    poison();
    config.address = wrapped_bytes;
    config.bytes = sizeof wrapped_bytes;
    config.ownership = EUM_OWNED;
    config.release = release_nothing;
    config.release_user = &released;
    EXPECT(eum_buffer_wrap(NULL, &config, &out.buffer), EUM_ERROR_INVALID_HANDLE, "NULL");
    config.memory = EUM_MEMORY_DEVICE;
    ck_assert_int_eq(eum_buffer_wrap(context, &config, &out.buffer), EUM_ERROR_NOT_SUPPORTED);
    untouched("eum_buffer_wrap");
    ck_assert_int_eq(released, 0);
    config.memory = EUM_MEMORY_HOST;
    OK(eum_buffer_wrap(context, &config, &out.buffer));
    ck_assert_int_eq(released, 0);
    OK(eum_buffer_destroy(out.buffer));
    ck_assert_int_eq(released, 1);
}
END_TEST

/* --------------------------------------------------------------------------------------------------- views --------- */

CALL(view_map, eum_view v, eum_buffer_map(v, EUM_ACCESS_READ, &out.pointer))
CALL(view_write, eum_view v, eum_buffer_write(v, &poisoned))
CALL(view_read, eum_view v, eum_buffer_read(v, &out))
CALL(view_prefetch, eum_view v, eum_buffer_prefetch(v, EUM_LOCATION_HOST, NULL))
CALL(view_advise, eum_view v, eum_buffer_advise(v, EUM_ADVICE_READ_MOSTLY, 0, &out.hint))
CALL(view_launch, eum_view v, launch_with(stream, v, EUM_ACCESS_READ, 0))
CALL(view_acquire, eum_view v, acquire_with(stream, v, EUM_ACCESS_READ, 0))
CALL(view_release, eum_view v, release_with(stream, v, EUM_ACCESS_READ, 0))
CALL(view_query, eum_view v, cosine_on(stream, v, whole(buffer), whole(buffer)))
CALL(view_targets, eum_view v, cosine_on(stream, whole(buffer), v, whole(buffer)))
CALL(view_scores, eum_view v, cosine_on(stream, whole(buffer), whole(buffer), v))

static eum_status (*const view_users[])(eum_view) = {view_map,    view_write,   view_read,    view_prefetch,
                                                     view_advise, view_launch,  view_acquire, view_release,
                                                     view_query,  view_targets, view_scores};

START_TEST(views_must_lie_in_their_buffer)
{
    static const struct {
        size_t offset, bytes;
        eum_status status;
        const char *words;
    } wrong[] = {
        {0, 65, EUM_ERROR_OUT_OF_BOUNDS, "offset 0 + 65 bytes, which ends at 65, after the end of its buffer of 64 bytes"},
        {60, 8, EUM_ERROR_OUT_OF_BOUNDS, "offset 60 + 8 bytes, which ends at 68"},
        {68, 0, EUM_ERROR_OUT_OF_BOUNDS, "offset 68 + 0 bytes"},
        {68, EUM_WHOLE_SIZE, EUM_ERROR_OUT_OF_BOUNDS, "offset 68, after the end of its buffer of 64 bytes"},
        {SIZE_MAX, EUM_WHOLE_SIZE, EUM_ERROR_OUT_OF_BOUNDS, "offset 18446744073709551615"},
        {SIZE_MAX, 0, EUM_ERROR_OUT_OF_BOUNDS, "offset 18446744073709551615"},
        {SIZE_MAX - 3, 8, EUM_ERROR_SIZE_OVERFLOW, "offset 18446744073709551612 + 8 bytes, which does not fit"},
        {8, SIZE_MAX - 1, EUM_ERROR_SIZE_OVERFLOW, "offset 8 + 18446744073709551614 bytes"},
        {0, SIZE_MAX - 1, EUM_ERROR_OUT_OF_BOUNDS, "18446744073709551614"},
    };
    for (size_t user = 0; user < sizeof view_users / sizeof *view_users; user++) {
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
            poison();
            expect_words("a view", view_users[user]((eum_view){buffer, wrong[i].offset, wrong[i].bytes}), wrong[i].status,
                         wrong[i].words);
            untouched("a view");
        }
    }
    EXPECT(view_launch((eum_view){buffer, 60, 8}), EUM_ERROR_OUT_OF_BOUNDS, "argument 0 has offset 60");
    EXPECT(view_targets((eum_view){buffer, 60, 8}), EUM_ERROR_OUT_OF_BOUNDS, "targets has offset 60");
}
END_TEST

START_TEST(whole_size_reaches_to_the_end)
{
    unsigned char bytes[BYTES], back[BYTES];
    for (unsigned i = 0; i < BYTES; i++)
        bytes[i] = (unsigned char)i;
    OK(eum_buffer_write(whole(buffer), bytes));
    memset(back, POISON, sizeof back);
    OK(eum_buffer_read((eum_view){buffer, 60, EUM_WHOLE_SIZE}, back));
    ck_assert_mem_eq(back, bytes + 60, 4);
    ck_assert_uint_eq(back[4], POISON);
    OK(eum_buffer_read((eum_view){buffer, BYTES, EUM_WHOLE_SIZE}, back));
    void *mapped = NULL;
    OK(eum_buffer_map((eum_view){buffer, 10, EUM_WHOLE_SIZE}, EUM_ACCESS_READ, &mapped));
    ck_assert_mem_eq(mapped, bytes + 10, BYTES - 10);
    OK(eum_buffer_unmap(buffer, mapped));
}
END_TEST

START_TEST(nothing_is_legal_everywhere)
{
    eum_buffer *empty = buffer_of(context, 0);
    eum_view views[] = {whole(empty), {empty, 0, 0}, {buffer, 0, 0}, {buffer, BYTES, 0}, {buffer, 33, 0}};
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
        void *mapped = NULL;
        poison();
        OK(eum_buffer_map(views[i], EUM_ACCESS_OVERWRITE, &mapped));
        ck_assert_ptr_nonnull(mapped);
        OK(eum_buffer_unmap(views[i].buffer, mapped));
        OK(eum_buffer_write(views[i], &poisoned));
        OK(eum_buffer_write(views[i], NULL));
        OK(eum_buffer_read(views[i], &out));
        OK(eum_buffer_read(views[i], NULL));
        OK(eum_buffer_prefetch(views[i], EUM_LOCATION_HOST, NULL));
        OK(eum_buffer_advise(views[i], EUM_ADVICE_READ_MOSTLY, 0, NULL));
        untouched("views of nothing");
        OK(launch_with(stream, views[i], EUM_ACCESS_OVERWRITE, 0));
    }
    eum_cosine_config config = cosine_of((eum_view){buffer, 0, 8}, whole(empty), whole(empty), 0, 2);
    OK(eum_cosine(stream, &config, &out.job));
    OK(eum_job_wait(out.job, -1));
    OK(eum_buffer_destroy(empty));
}
END_TEST

Suite *abi_arguments_suite(void);
Suite *abi_arguments_suite(void)
{
    Suite *suite = suite_create("abi_arguments");
    TCase *arguments = tcase_create("arguments");
    tcase_add_checked_fixture(arguments, set_up, tear_down);
    tcase_add_test(arguments, null_outputs_are_refused);
    tcase_add_test(arguments, null_inputs_are_refused);
    tcase_add_test(arguments, null_configurations_and_null_job_outputs_are_fine);
    tcase_add_test(arguments, unknown_enumeration_values_are_named);
    tcase_add_test(arguments, device_backing_is_for_wrapped_memory_only);
    tcase_add_test(arguments, unknown_flags_and_reserved_fields_are_named);
    tcase_add_test(arguments, locations_are_the_host_or_a_device_number);
    tcase_add_test(arguments, what_is_wrapped_must_make_sense);
    tcase_add_test(arguments, sizes_that_no_object_can_have_are_refused);
    tcase_add_test(arguments, a_failed_wrap_leaves_the_memory_to_the_caller);
    tcase_add_test(arguments, views_must_lie_in_their_buffer);
    tcase_add_test(arguments, whole_size_reaches_to_the_end);
    tcase_add_test(arguments, nothing_is_legal_everywhere);
    suite_add_tcase(suite, arguments);
    return suite;
}
