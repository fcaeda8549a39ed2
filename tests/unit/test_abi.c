/* The C ABI's versions, error details, streams, jobs and lifetimes, on a host context.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <pthread.h>
#include <stdatomic.h>

#include "abi_fixture.h"

/* ------------------------------------------------------------------------------------------ versions of structs ---- */

START_TEST(version_functions_agree_with_the_macros)
{
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", EUM_VERSION_MAJOR, EUM_VERSION_MINOR, EUM_VERSION_PATCH);
    ck_assert_int_eq(eum_version_number(), EUM_VERSION_NUMBER);
    ck_assert_str_eq(eum_version_string(), text);
    ck_assert_str_eq(EUM_VERSION_STRING, text);
}
END_TEST

#define SAME_BYTES(type, macro)                                                                                                    \
    do {                                                                                                                           \
        static const type by_macro = macro;                                                                                        \
        type by_function;                                                                                                          \
        memset(&by_function, POISON, sizeof by_function);                                                                          \
        type##_init(&by_function);                                                                                                 \
        ck_assert_msg(memcmp(&by_macro, &by_function, sizeof(type)) == 0, #macro " and " #type "_init differ");                    \
        ck_assert_uint_eq(by_function.struct_size, sizeof(type));                                                                  \
        type##_init(NULL);                                                                                                         \
    } while (0)

START_TEST(init_macros_and_init_functions_give_the_same_bytes)
{
    SAME_BYTES(eum_error, EUM_ERROR_INIT);
    SAME_BYTES(eum_context_config, EUM_CONTEXT_CONFIG_INIT);
    SAME_BYTES(eum_buffer_config, EUM_BUFFER_CONFIG_INIT);
    SAME_BYTES(eum_wrap_config, EUM_WRAP_CONFIG_INIT);
    SAME_BYTES(eum_raw, EUM_RAW_INIT);
    SAME_BYTES(eum_hint, EUM_HINT_INIT);
    SAME_BYTES(eum_stream_config, EUM_STREAM_CONFIG_INIT);
    SAME_BYTES(eum_launch_config, EUM_LAUNCH_CONFIG_INIT);
    SAME_BYTES(eum_cosine_config, EUM_COSINE_CONFIG_INIT);
    SAME_BYTES(eum_similarity_config, EUM_SIMILARITY_CONFIG_INIT);
    SAME_BYTES(eum_topk_config, EUM_TOPK_CONFIG_INIT);
    SAME_BYTES(eum_similarity_rows_config, EUM_SIMILARITY_ROWS_CONFIG_INIT);
    SAME_BYTES(eum_faults, EUM_FAULTS_INIT);
    SAME_BYTES(eum_info, {.struct_size = sizeof(eum_info)});
    SAME_BYTES(eum_stats, {.struct_size = sizeof(eum_stats)});
    SAME_BYTES(eum_operation_stats, {.struct_size = sizeof(eum_operation_stats)});
    SAME_BYTES(eum_costs_info, EUM_COSTS_INFO_INIT);
    SAME_BYTES(eum_break_even_config, EUM_BREAK_EVEN_CONFIG_INIT);
    SAME_BYTES(eum_break_even, EUM_BREAK_EVEN_INIT);
    SAME_BYTES(eum_decision, {.struct_size = sizeof(eum_decision)});
    SAME_BYTES(eum_buffer_info, {.struct_size = sizeof(eum_buffer_info)});
}
END_TEST

START_TEST(the_first_version_of_every_struct_has_the_size_it_was_released_with)
{
    /* What is released stays: change a line only together with the field that was added at the end, and never downwards. */
    ck_assert_uint_eq(sizeof(eum_error), 592);
    ck_assert_uint_eq(sizeof(eum_context_config), 64);
    ck_assert_uint_eq(sizeof(eum_buffer_config), 24);
    ck_assert_uint_eq(sizeof(eum_wrap_config), 56);
    ck_assert_uint_eq(sizeof(eum_raw), 56);
    ck_assert_uint_eq(sizeof(eum_hint), 272);
    ck_assert_uint_eq(sizeof(eum_stream_config), 16);
    ck_assert_uint_eq(sizeof(eum_launch_config), 88);
    ck_assert_uint_eq(sizeof(eum_cosine_config), 120);
    ck_assert_uint_eq(sizeof(eum_similarity_config), 144);
    ck_assert_uint_eq(sizeof(eum_topk_config), 176);
    ck_assert_uint_eq(sizeof(eum_similarity_rows_config), 160);
    ck_assert_uint_eq(sizeof(eum_info), 776);
    ck_assert_uint_eq(sizeof(eum_stats), 280);
    ck_assert_uint_eq(sizeof(eum_operation_stats), 160);
    ck_assert_uint_eq(sizeof(eum_costs_info), 136);
    ck_assert_uint_eq(sizeof(eum_break_even_config), 40);
    ck_assert_uint_eq(sizeof(eum_break_even), 56);
    ck_assert_uint_eq(sizeof(eum_decision), 112);
    ck_assert_uint_eq(sizeof(eum_buffer_info), 40);
    ck_assert_uint_eq(sizeof(eum_faults), 112);
    ck_assert_uint_eq(sizeof(eum_view), 24);
    ck_assert_uint_eq(sizeof(eum_job), 24);
    ck_assert_uint_eq(sizeof(eum_argument), 32);
    ck_assert_uint_eq(sizeof(eum_kernel_call), 96);
}
END_TEST

/* Every function that takes a struct, called with one of any size. */
CALL(size_context_config, void *s, eum_context_create(s, &out.context))
CALL(size_buffer_config, void *s, eum_buffer_create(context, 8, s, &out.buffer))
CALL(size_wrap_config, void *s, eum_buffer_wrap(context, s, &out.buffer))
CALL(size_raw, void *s, eum_buffer_into_raw(buffer, s))
CALL(size_hint, void *s, eum_buffer_advise(whole(buffer), EUM_ADVICE_READ_MOSTLY, 0, s))
CALL(size_stream_config, void *s, eum_stream_create(context, s, &out.stream))
CALL(size_launch_config, void *s, eum_launch(stream, s, &out.job))
CALL(size_cosine_config, void *s, eum_cosine(stream, s, &out.job))
CALL(size_similarity_config, void *s, eum_similarity(stream, s, &out.job))
CALL(size_topk_config, void *s, eum_topk(stream, s, &out.job))
CALL(size_similarity_rows_config, void *s, eum_similarity_rows(stream, s, &out.job))
CALL(size_info, void *s, eum_context_info(context, s))
CALL(size_operation_stats, void *s, eum_context_operation_stats(context, EUM_OPERATION_TOPK, s))
CALL(size_costs, void *s, eum_context_costs(context, s))
CALL(size_calibrate, void *s, eum_context_calibrate(context, s))
CALL(size_break_even, void *s, eum_context_break_even(context, &(eum_break_even_config){40, 1, 0, 8, 1, 0}, s))
CALL(size_break_even_config, void *s, eum_context_break_even(context, s, &(eum_break_even){.struct_size = 56}))
CALL(size_stats, void *s, eum_context_stats(context, s))
CALL(size_explain, void *s, eum_buffer_explain(buffer, s))
CALL(size_text, void *s, eum_decision_text(s, out.text, sizeof out.text, &out.size))
CALL(size_buffer_info, void *s, eum_buffer_get_info(buffer, s))
CALL(size_faults, void *s, eum_faults_end(context, s))
CALL(size_buffer_faults, void *s, eum_buffer_faults(buffer, s))
CALL(size_error, void *s, eum_last_error(s))

static const struct {
    const char *name;
    size_t size;
    eum_status (*call)(void *);
    size_t first; /* of the first version; 0: it has not grown */
} sized[] = {
    {"eum_context_config", sizeof(eum_context_config), size_context_config, 0},
    {"eum_buffer_config", sizeof(eum_buffer_config), size_buffer_config, 0},
    {"eum_wrap_config", sizeof(eum_wrap_config), size_wrap_config, 0},
    {"eum_raw", sizeof(eum_raw), size_raw, 0},
    {"eum_hint", sizeof(eum_hint), size_hint, 0},
    {"eum_stream_config", sizeof(eum_stream_config), size_stream_config, 0},
    {"eum_launch_config", sizeof(eum_launch_config), size_launch_config, 64},
    {"eum_cosine_config", sizeof(eum_cosine_config), size_cosine_config, 112},
    {"eum_similarity_config", sizeof(eum_similarity_config), size_similarity_config, 136},
    {"eum_topk_config", sizeof(eum_topk_config), size_topk_config, 168},
    {"eum_similarity_rows_config", sizeof(eum_similarity_rows_config), size_similarity_rows_config, 152},
    {"eum_info", sizeof(eum_info), size_info, 0},
    {"eum_stats", sizeof(eum_stats), size_stats, 264},
    {"eum_operation_stats", sizeof(eum_operation_stats), size_operation_stats, 0},
    {"eum_costs_info", sizeof(eum_costs_info), size_costs, 120},
    {"eum_costs_info", sizeof(eum_costs_info), size_calibrate, 120},
    {"eum_break_even", sizeof(eum_break_even), size_break_even, 0},
    {"eum_break_even_config", sizeof(eum_break_even_config), size_break_even_config, 0},
    {"eum_decision", sizeof(eum_decision), size_explain, 0},
    {"eum_decision", sizeof(eum_decision), size_text, 0},
    {"eum_buffer_info", sizeof(eum_buffer_info), size_buffer_info, 0},
    {"eum_faults", sizeof(eum_faults), size_faults, 0},
    {"eum_faults", sizeof(eum_faults), size_buffer_faults, 0},
};

START_TEST(struct_size_is_checked_by_every_function)
{
    for (size_t i = 0; i < sizeof sized / sizeof *sized; i++) {
        const size_t first = sized[i].first != 0 ? sized[i].first : sized[i].size;
        const size_t sizes[] = {0, 1, sizeof(size_t), first - 1, sized[i].size + 1, sized[i].size + 4096, SIZE_MAX};
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            /* exactly as much memory as the caller says there is, so that the address sanitizer sees a read beyond it */
            size_t room = sizes[k] < sizeof(size_t) ? sizeof(size_t) : sizes[k] > 8192 ? 8192 : sizes[k];
            char *given = malloc(room), *before = malloc(room), number[32];
            memset(given, POISON, room);
            memcpy(given, &sizes[k], sizeof(size_t));
            memcpy(before, given, room);
            snprintf(number, sizeof number, " is %zu, ", sizes[k]);
            poison();
            eum_status wanted = sizes[k] > sized[i].size ? EUM_ERROR_STRUCT_TOO_NEW : EUM_ERROR_STRUCT_TOO_SMALL;
            expect_words(sized[i].name, sized[i].call(given), wanted, number);
            expect_words(sized[i].name, wanted, wanted, sized[i].name);
            ck_assert_msg(memcmp(given, before, room) == 0, "%s was written", sized[i].name);
            untouched(sized[i].name);
            free(given);
            free(before);
        }
    }
}
END_TEST

START_TEST(last_error_never_changes_what_it_reports)
{
    struct {
        eum_error error;
        char beyond;
    } given;
    const size_t sizes[] = {0, sizeof(eum_error) - 1, sizeof(eum_error) + 1, SIZE_MAX};
    EXPECT(eum_buffer_set_role(buffer, 77), EUM_ERROR_INVALID_ENUM, "role is 77");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        memset(&given, POISON, sizeof given);
        given.error.struct_size = sizes[i];
        ck_assert_int_eq(size_error(&given), sizes[i] > sizeof(eum_error) ? EUM_ERROR_STRUCT_TOO_NEW : EUM_ERROR_STRUCT_TOO_SMALL);
        for (size_t byte = sizeof(size_t); byte < sizeof given.error; byte++)
            ck_assert_uint_eq(((unsigned char *)&given)[byte], POISON);
    }
    ck_assert_int_eq(eum_last_error(NULL), EUM_ERROR_INVALID_ARGUMENT);
    expect_words("afterwards", EUM_ERROR_INVALID_ENUM, EUM_ERROR_INVALID_ENUM, "role is 77");
}
END_TEST

static void *fresh_thread(void *unused)
{
    (void)unused;
    ck_assert_int_eq(last_status(), EUM_OK);
    ck_assert_str_eq(sentence(), "");
    EXPECT(eum_buffer_set_role(buffer, -5), EUM_ERROR_INVALID_ENUM, "role is -5");
    return NULL;
}

START_TEST(errors_belong_to_their_thread_and_successes_leave_them)
{
    pthread_t other;
    EXPECT(eum_buffer_set_role(buffer, 78), EUM_ERROR_INVALID_ENUM, "role is 78");
    ck_assert_int_eq(pthread_create(&other, NULL, fresh_thread, NULL), 0);
    ck_assert_int_eq(pthread_join(other, NULL), 0);
    poison();
    char bytes[BYTES] = {0};
    OK(eum_buffer_write(whole(buffer), bytes));
    OK(eum_buffer_read(whole(buffer), bytes));
    OK(eum_buffer_get_info(buffer, &out.buffer_info));
    OK(launch_with(stream, whole(buffer), EUM_ACCESS_READ, 0));
    OK(eum_stream_synchronize(stream));
    eum_buffer *more = buffer_of(context, 8);
    OK(eum_buffer_destroy(more));
    expect_words("afterwards", EUM_ERROR_INVALID_ENUM, EUM_ERROR_INVALID_ENUM, "role is 78");
}
END_TEST

START_TEST(outputs_keep_the_callers_struct_size_and_are_filled)
{
    poison();
    OK(eum_context_info(context, &out.info));
    ck_assert_uint_eq(out.info.struct_size, sizeof out.info);
    ck_assert_int_eq(out.info.device_kind, EUM_DEVICE_HOST);
    ck_assert_int_eq(out.info.device_reason, EUM_REASON_ASKED);
    ck_assert_ptr_nonnull(memchr(out.info.device_sentence, 0, sizeof out.info.device_sentence));
    OK(eum_context_stats(context, &out.stats));
    ck_assert_uint_eq(out.stats.struct_size, sizeof out.stats);
    ck_assert_uint_eq(out.stats.buffers_live, 1);
    OK(eum_buffer_explain(buffer, &out.decision));
    ck_assert_uint_eq(out.decision.struct_size, sizeof out.decision);
    ck_assert_int_eq(out.decision.backing, EUM_BACKING_HOST);
    ck_assert_uint_eq(out.decision.reserved, 0);
    OK(eum_buffer_get_info(buffer, &out.buffer_info));
    ck_assert_uint_eq(out.buffer_info.struct_size, sizeof out.buffer_info);
    ck_assert_uint_eq(out.buffer_info.bytes, BYTES);
    ck_assert_int_eq(out.buffer_info.ownership, EUM_OWNED);
    ck_assert_uint_eq(out.buffer_info.reserved, 0);
    OK(eum_buffer_advise(whole(buffer), EUM_ADVICE_READ_MOSTLY, 12345, &out.hint)); /* which has no location */
    ck_assert_uint_eq(out.hint.struct_size, sizeof out.hint);
    ck_assert(out.hint.applied == 0 || out.hint.applied == 1);
    OK(eum_buffer_advise(whole(buffer), EUM_ADVICE_READ_MOSTLY, 0, NULL));
}
END_TEST

START_TEST(counting_windows_come_in_pairs)
{
    poison();
    EXPECT(eum_faults_end(context, &out.faults), EUM_ERROR_INVALID_STATE, "eum_faults_begin");
    EXPECT(eum_buffer_faults(buffer, &out.faults), EUM_ERROR_INVALID_STATE, "");
    untouched("counting without a window");
    OK(eum_faults_begin(context));
    EXPECT(eum_faults_begin(context), EUM_ERROR_INVALID_STATE, "");
    OK(eum_faults_end(context, &out.faults));
    ck_assert_uint_eq(out.faults.struct_size, sizeof out.faults);
    ck_assert_int_eq(out.faults.source, EUM_FAULT_SOURCE_NONE);
    ck_assert_uint_eq(out.faults.gpu_faults, 0);
    OK(eum_buffer_faults(buffer, &out.faults));
}
END_TEST

/* -------------------------------------------------------------------------------------- streams, jobs, lifetimes --- */

START_TEST(the_default_stream_is_one_handle_and_not_the_callers_to_destroy)
{
    eum_stream *again = NULL;
    OK(eum_context_default_stream(context, &again));
    ck_assert_ptr_eq(again, stream);
    EXPECT(eum_stream_destroy(stream), EUM_ERROR_INVALID_ARGUMENT, "default stream");
    OK(eum_stream_synchronize(stream));
}
END_TEST

START_TEST(the_default_stream_ends_with_its_context)
{
    eum_context *other = host_context();
    eum_stream *its = NULL;
    OK(eum_context_default_stream(other, &its));
    OK(eum_context_destroy(other));
    EXPECT(eum_stream_synchronize(its), EUM_ERROR_INVALID_HANDLE, "this stream handle");
    EXPECT(eum_stream_destroy(its), EUM_ERROR_INVALID_HANDLE, "was destroyed");
}
END_TEST

START_TEST(buffers_and_streams_outlive_their_context)
{
    eum_context *other = host_context();
    eum_stream *own = NULL;
    eum_buffer *kept = buffer_of(other, 8), *sibling = NULL;
    char bytes[8] = "engram", back[8] = "";
    OK(eum_stream_create(other, NULL, &own));
    sibling = buffer_of(other, 8);
    OK(eum_context_destroy(other));
    EXPECT(eum_context_destroy(other), EUM_ERROR_INVALID_HANDLE, "was destroyed");
    OK(eum_buffer_write(whole(kept), bytes));
    OK(launch_with(own, whole(kept), EUM_ACCESS_READ_WRITE, 0));
    OK(eum_stream_synchronize(own));
    EXPECT(eum_job_wait(out.job, -1), EUM_ERROR_INVALID_HANDLE, "the job's context: ");
    OK(eum_buffer_destroy(sibling));
    OK(eum_stream_destroy(own));
    OK(eum_buffer_read(whole(kept), back));
    ck_assert_str_eq(back, "engram");
    OK(eum_buffer_destroy(kept));
}
END_TEST

START_TEST(jobs_of_every_stream_name_their_context)
{
    eum_stream *own = NULL;
    OK(eum_stream_create(context, NULL, &own));
    OK(launch_with(own, whole(buffer), EUM_ACCESS_READ, 0));
    ck_assert_ptr_eq(out.job.context, context);
    OK(eum_job_wait(out.job, -1));
    OK(launch_with(stream, whole(buffer), EUM_ACCESS_READ, 0));
    ck_assert_ptr_eq(out.job.context, context);
    OK(eum_job_wait(out.job, -1));
    OK(eum_stream_destroy(own));
}
END_TEST

START_TEST(a_job_of_all_zeroes_is_done)
{
    eum_job none = {NULL, 0, 0};
    OK(eum_job_wait(none, 0));
    OK(eum_job_wait(none, -1));
    OK(eum_job_wait(none, INT64_MAX));
    OK(eum_job_wait((eum_job){context, 0, 0}, 0));
    EXPECT(eum_job_wait((eum_job){NULL, 1, 0}, 0), EUM_ERROR_INVALID_HANDLE, "NULL");
    EXPECT(eum_job_wait((eum_job){NULL, 0, 1}, 0), EUM_ERROR_INVALID_HANDLE, "NULL");
    ck_assert_int_eq(eum_job_wait((eum_job){context, 123456789, 987654321}, 0), EUM_ERROR_INVALID_HANDLE);
}
END_TEST

START_TEST(into_raw_ends_the_handle_and_the_memory_lives_on)
{
    eum_context *other = host_context();
    eum_buffer *given_up = buffer_of(other, 16);
    char bytes[16] = "given up";
    eum_raw raw = EUM_RAW_INIT;
    OK(eum_buffer_write(whole(given_up), bytes));
    EXPECT(eum_buffer_set_role(given_up, 50), EUM_ERROR_INVALID_ENUM, "role is 50");
    OK(eum_buffer_into_raw(given_up, &raw));
    expect_words("a success", EUM_ERROR_INVALID_ENUM, EUM_ERROR_INVALID_ENUM, "role is 50");
    EXPECT(eum_buffer_destroy(given_up), EUM_ERROR_INVALID_HANDLE, "was destroyed");
    OK(eum_context_destroy(other));
    ck_assert_uint_eq(raw.struct_size, sizeof raw);
    ck_assert_uint_eq(raw.bytes, 16);
    ck_assert_str_eq(raw.address, "given up");
    ck_assert(raw.release != NULL);
    raw.release(raw.release_user, raw.address, raw.bytes);
}
END_TEST

static int called_back;

/* Everything that would wait, from inside a kernel callback. */
static int32_t wait_in_vain(const eum_kernel_call *call)
{
    char bytes[BYTES];
    eum_buffer *wrapped = call->user;
    poison();
    EXPECT(eum_buffer_map(whole(buffer), EUM_ACCESS_READ, &out.pointer), EUM_ERROR_IN_CALLBACK, "eum_buffer_map");
    EXPECT(eum_buffer_write(whole(buffer), &poisoned), EUM_ERROR_IN_CALLBACK, "eum_buffer_write");
    EXPECT(eum_buffer_read(whole(buffer), bytes), EUM_ERROR_IN_CALLBACK, "eum_buffer_read");
    EXPECT(eum_buffer_into_raw(buffer, &out.raw), EUM_ERROR_IN_CALLBACK, "eum_buffer_into_raw");
    EXPECT(eum_stream_synchronize(stream), EUM_ERROR_IN_CALLBACK, "eum_stream_synchronize");
    EXPECT(eum_faults_begin(context), EUM_ERROR_IN_CALLBACK, "eum_faults_begin");
    EXPECT(eum_faults_end(context, &out.faults), EUM_ERROR_IN_CALLBACK, "eum_faults_end");
    EXPECT(eum_context_calibrate(context, NULL), EUM_ERROR_IN_CALLBACK, "eum_context_calibrate");
    EXPECT(eum_context_destroy(context), EUM_ERROR_IN_CALLBACK, "eum_context_destroy");
    EXPECT(eum_buffer_destroy(wrapped), EUM_ERROR_IN_CALLBACK, "eum_buffer_destroy");
    EXPECT(eum_job_wait((eum_job){context, 1, 1}, 1), EUM_ERROR_IN_CALLBACK, "eum_job_wait");
    EXPECT(eum_job_wait((eum_job){context, 1, 1}, -1), EUM_ERROR_IN_CALLBACK, "eum_job_wait");
    OK(eum_job_wait((eum_job){NULL, 0, 0}, -1));
    OK(eum_job_wait((eum_job){context, 0, 0}, 0)); /* polling */
    OK(eum_context_destroy(NULL));
    OK(eum_buffer_destroy(NULL));
    OK(eum_stream_destroy(NULL));
    untouched("calls in a callback");
    OK(eum_buffer_get_info(buffer, &out.buffer_info));
    OK(eum_context_stats(context, &out.stats));
    OK(eum_buffer_set_role(buffer, EUM_ROLE_QUERY));
    eum_buffer *owned = buffer_of(context, 4);
    OK(eum_buffer_destroy(owned));
    called_back++;
    return 0;
}

START_TEST(calls_that_would_wait_are_refused_in_callbacks)
{
    char wrapped_bytes[16] = "borrowed";
    eum_wrap_config wrap = EUM_WRAP_CONFIG_INIT;
    eum_buffer *wrapped = NULL;
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    eum_job job = {NULL, 0, 0};
    wrap.address = wrapped_bytes;
    wrap.bytes = sizeof wrapped_bytes;
    OK(eum_buffer_wrap(context, &wrap, &wrapped));
    config.cpu = wait_in_vain;
    config.user = wrapped;
    OK(eum_launch(stream, &config, &job));
    OK(eum_job_wait(job, -1));
    ck_assert_int_eq(called_back, 1);
    OK(eum_buffer_destroy(wrapped));
}
END_TEST

static atomic_int destroy_race_running;

static void *use_while_others_destroy(void *handle)
{
    while (atomic_load(&destroy_race_running) != 0) {
        char bytes[BYTES];
        eum_buffer_info info = {.struct_size = sizeof info};
        eum_status status = eum_buffer_read(whole(handle), bytes);
        ck_assert(status == EUM_OK || status == EUM_ERROR_INVALID_HANDLE);
        if (eum_buffer_get_info(handle, &info) == EUM_OK)
            ck_assert_uint_eq(info.bytes, BYTES);
    }
    return NULL;
}

START_TEST(destroying_what_another_thread_uses_is_safe)
{
    for (int round = 0; round < 50; round++) {
        pthread_t user;
        eum_buffer *shared = buffer_of(context, BYTES);
        atomic_store(&destroy_race_running, 1);
        ck_assert_int_eq(pthread_create(&user, NULL, use_while_others_destroy, shared), 0);
        OK(launch_with(stream, whole(shared), EUM_ACCESS_READ, 0));
        OK(eum_buffer_destroy(shared));
        atomic_store(&destroy_race_running, 0);
        ck_assert_int_eq(pthread_join(user, NULL), 0);
    }
    OK(eum_stream_synchronize(stream));
}
END_TEST

Suite *abi_suite(void);
Suite *abi_suite(void)
{
    Suite *suite = suite_create("abi");
    TCase *structs = tcase_create("structs");
    tcase_add_checked_fixture(structs, set_up, tear_down);
    tcase_add_test(structs, version_functions_agree_with_the_macros);
    tcase_add_test(structs, init_macros_and_init_functions_give_the_same_bytes);
    tcase_add_test(structs, the_first_version_of_every_struct_has_the_size_it_was_released_with);
    tcase_add_test(structs, struct_size_is_checked_by_every_function);
    tcase_add_test(structs, last_error_never_changes_what_it_reports);
    tcase_add_test(structs, errors_belong_to_their_thread_and_successes_leave_them);
    tcase_add_test(structs, counting_windows_come_in_pairs);
    tcase_add_test(structs, outputs_keep_the_callers_struct_size_and_are_filled);
    suite_add_tcase(suite, structs);

    TCase *lifetimes = tcase_create("lifetimes");
    tcase_add_checked_fixture(lifetimes, set_up, tear_down);
    tcase_add_test(lifetimes, the_default_stream_is_one_handle_and_not_the_callers_to_destroy);
    tcase_add_test(lifetimes, the_default_stream_ends_with_its_context);
    tcase_add_test(lifetimes, buffers_and_streams_outlive_their_context);
    tcase_add_test(lifetimes, jobs_of_every_stream_name_their_context);
    tcase_add_test(lifetimes, a_job_of_all_zeroes_is_done);
    tcase_add_test(lifetimes, into_raw_ends_the_handle_and_the_memory_lives_on);
    tcase_add_test(lifetimes, calls_that_would_wait_are_refused_in_callbacks);
    tcase_add_test(lifetimes, destroying_what_another_thread_uses_is_safe);
    suite_add_tcase(suite, lifetimes);
    return suite;
}
