/* The C ABI's handles: every function refuses every handle that is not what it takes, and touches nothing.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <pthread.h>

#include "abi_fixture.h"

/* ------------------------------------------------------------------------------------------------ handles ---------- */

typedef enum handle_kind { CONTEXT, BUFFER, STREAM } handle_kind;

CALL(use_context_destroy, void *h, eum_context_destroy(h))
CALL(use_buffer_create, void *h, eum_buffer_create(h, 8, NULL, &out.buffer))
CALL(use_buffer_wrap, void *h, eum_buffer_wrap(h, NULL, &out.buffer))
CALL(use_default_stream, void *h, eum_context_default_stream(h, &out.stream))
CALL(use_stream_create, void *h, eum_stream_create(h, NULL, &out.stream))
CALL(use_stream_wrap, void *h, eum_stream_wrap(h, NULL, &out.stream))
CALL(use_info, void *h, eum_context_info(h, &out.info))
CALL(use_stats, void *h, eum_context_stats(h, &out.stats))
CALL(use_operation_stats, void *h, eum_context_operation_stats(h, EUM_OPERATION_ROWS, &(eum_operation_stats){.struct_size = 160}))
CALL(use_costs, void *h, eum_context_costs(h, &(eum_costs_info){.struct_size = 120}))
CALL(use_calibrate, void *h, eum_context_calibrate(h, NULL))
CALL(use_save_costs, void *h, eum_context_save_costs(h, "/nowhere/costs"))
CALL(use_break_even, void *h,
     eum_context_break_even(h, &(eum_break_even_config){40, 1, 0, 8, 1, 0}, &(eum_break_even){.struct_size = 56}))
CALL(use_trim, void *h, eum_context_trim(h, 0))
CALL(use_job_wait, void *h, eum_job_wait((eum_job){h, 1, 1}, 0))
CALL(use_faults_begin, void *h, eum_faults_begin(h))
CALL(use_faults_end, void *h, eum_faults_end(h, &out.faults))
CALL(use_buffer_faults, void *h, eum_buffer_faults(h, &out.faults))
CALL(use_job_event, void *h, eum_job_cuda_event((eum_job){h, 1, 1}, &out.pointer))
CALL(use_native, void *h, eum_stream_native(h, &out.pointer))
CALL(use_acquire_argument, void *h, acquire_with(stream, whole(h), EUM_ACCESS_READ, 0))
CALL(use_release_argument, void *h, release_with(stream, whole(h), EUM_ACCESS_READ, 0))
CALL(use_acquire, void *h, acquire_with(h, whole(buffer), EUM_ACCESS_READ, 0))
CALL(use_release, void *h, release_with(h, whole(buffer), EUM_ACCESS_READ, 0))
CALL(use_into_raw, void *h, eum_buffer_into_raw(h, &out.raw))
CALL(use_buffer_destroy, void *h, eum_buffer_destroy(h))
CALL(use_set_role, void *h, eum_buffer_set_role(h, EUM_ROLE_QUERY))
CALL(use_map, void *h, eum_buffer_map(whole(h), EUM_ACCESS_READ, &out.pointer))
CALL(use_map_of_nothing, void *h, eum_buffer_map((eum_view){h, 0, 0}, EUM_ACCESS_READ, &out.pointer))
CALL(use_unmap, void *h, eum_buffer_unmap(h, &out))
CALL(use_write, void *h, eum_buffer_write(whole(h), &poisoned))
CALL(use_write_of_nothing, void *h, eum_buffer_write((eum_view){h, 0, 0}, &poisoned))
CALL(use_read, void *h, eum_buffer_read(whole(h), &out))
CALL(use_prefetch, void *h, eum_buffer_prefetch(whole(h), EUM_LOCATION_HOST, NULL))
CALL(use_advise, void *h, eum_buffer_advise(whole(h), EUM_ADVICE_READ_MOSTLY, 0, &out.hint))
CALL(use_explain, void *h, eum_buffer_explain(h, &out.decision))
CALL(use_get_info, void *h, eum_buffer_get_info(h, &out.buffer_info))
CALL(use_launch_argument, void *h, launch_with(stream, whole(h), EUM_ACCESS_READ, 0))
CALL(use_cosine_query, void *h, cosine_on(stream, whole(h), whole(buffer), whole(buffer)))
CALL(use_cosine_targets, void *h, cosine_on(stream, whole(buffer), whole(h), whole(buffer)))
CALL(use_cosine_scores, void *h, cosine_on(stream, whole(buffer), whole(buffer), whole(h)))
CALL(use_prefetch_stream, void *h, eum_buffer_prefetch(whole(buffer), EUM_LOCATION_HOST, h))
CALL(use_stream_destroy, void *h, eum_stream_destroy(h))
CALL(use_synchronize, void *h, eum_stream_synchronize(h))
CALL(use_on_done, void *h, eum_stream_on_done(h, done_nothing, NULL))
CALL(use_launch, void *h, launch_with(h, whole(buffer), EUM_ACCESS_READ, 0))
CALL(use_cosine, void *h, cosine_on(h, whole(buffer), whole(buffer), whole(buffer)))

/* The three calls of the scoring, on one of their operands and the stream; `which`: queries, targets, scores, indices. */
static eum_status score_on(eum_stream *on, int function, int which, eum_buffer *handle)
{
    static const int64_t number = 0;
    eum_similarity_config all = EUM_SIMILARITY_CONFIG_INIT;
    eum_topk_config best = EUM_TOPK_CONFIG_INIT;
    eum_similarity_rows_config listed = EUM_SIMILARITY_ROWS_CONFIG_INIT;
    eum_view views[4] = {{buffer, 0, 4}, {buffer, 4, 4}, {buffer, 8, 4}, {buffer, 16, 8}};
    if (which >= 0)
        views[which].buffer = handle;
    all.queries = best.queries = listed.queries = views[0];
    all.targets = best.targets = listed.targets = views[1];
    all.scores = best.scores = listed.scores = views[2];
    best.indices = views[3];
    all.rows = best.rows = listed.rows = all.dim = best.dim = listed.dim = 1;
    listed.numbers = &number;
    listed.number_count = 1;
    return function == 0   ? eum_similarity(on, &all, &out.job)
           : function == 1 ? eum_topk(on, &best, &out.job)
                           : eum_similarity_rows(on, &listed, &out.job);
}
CALL(use_similarity_queries, void *h, score_on(stream, 0, 0, h))
CALL(use_similarity_targets, void *h, score_on(stream, 0, 1, h))
CALL(use_similarity_scores, void *h, score_on(stream, 0, 2, h))
CALL(use_similarity, void *h, score_on(h, 0, -1, NULL))
CALL(use_topk_queries, void *h, score_on(stream, 1, 0, h))
CALL(use_topk_targets, void *h, score_on(stream, 1, 1, h))
CALL(use_topk_scores, void *h, score_on(stream, 1, 2, h))
CALL(use_topk_indices, void *h, score_on(stream, 1, 3, h))
CALL(use_topk, void *h, score_on(h, 1, -1, NULL))
CALL(use_rows_queries, void *h, score_on(stream, 2, 0, h))
CALL(use_rows_targets, void *h, score_on(stream, 2, 1, h))
CALL(use_rows_scores, void *h, score_on(stream, 2, 2, h))
CALL(use_rows, void *h, score_on(h, 2, -1, NULL))

/* Every function that takes a handle, and every place where it takes one. */
static const struct {
    const char *name;
    handle_kind kind;
    bool null_is_fine;
    eum_status (*call)(void *handle);
} users[] = {
    {"eum_context_destroy", CONTEXT, true, use_context_destroy},
    {"eum_buffer_create", CONTEXT, false, use_buffer_create},
    {"eum_buffer_wrap", CONTEXT, false, use_buffer_wrap},
    {"eum_context_default_stream", CONTEXT, false, use_default_stream},
    {"eum_stream_create", CONTEXT, false, use_stream_create},
    {"eum_stream_wrap", CONTEXT, false, use_stream_wrap},
    {"eum_context_info", CONTEXT, false, use_info},
    {"eum_context_stats", CONTEXT, false, use_stats},
    {"eum_context_operation_stats", CONTEXT, false, use_operation_stats},
    {"eum_context_costs", CONTEXT, false, use_costs},
    {"eum_context_calibrate", CONTEXT, false, use_calibrate},
    {"eum_context_save_costs", CONTEXT, false, use_save_costs},
    {"eum_context_break_even", CONTEXT, false, use_break_even},
    {"eum_context_trim", CONTEXT, false, use_trim},
    {"eum_job_wait", CONTEXT, false, use_job_wait},
    {"eum_faults_begin", CONTEXT, false, use_faults_begin},
    {"eum_faults_end", CONTEXT, false, use_faults_end},
    {"eum_buffer_faults", BUFFER, false, use_buffer_faults},
    {"eum_job_cuda_event", CONTEXT, false, use_job_event},
    {"eum_stream_native", STREAM, false, use_native},
    {"eum_stream_acquire, argument 0", BUFFER, false, use_acquire_argument},
    {"eum_stream_release, argument 0", BUFFER, false, use_release_argument},
    {"eum_stream_acquire", STREAM, false, use_acquire},
    {"eum_stream_release", STREAM, false, use_release},
    {"eum_buffer_into_raw", BUFFER, false, use_into_raw},
    {"eum_buffer_destroy", BUFFER, true, use_buffer_destroy},
    {"eum_buffer_set_role", BUFFER, false, use_set_role},
    {"eum_buffer_map", BUFFER, false, use_map},
    {"eum_buffer_map of 0 bytes", BUFFER, false, use_map_of_nothing},
    {"eum_buffer_unmap", BUFFER, false, use_unmap},
    {"eum_buffer_write", BUFFER, false, use_write},
    {"eum_buffer_write of 0 bytes", BUFFER, false, use_write_of_nothing},
    {"eum_buffer_read", BUFFER, false, use_read},
    {"eum_buffer_prefetch", BUFFER, false, use_prefetch},
    {"eum_buffer_advise", BUFFER, false, use_advise},
    {"eum_buffer_explain", BUFFER, false, use_explain},
    {"eum_buffer_get_info", BUFFER, false, use_get_info},
    {"eum_launch, argument 0", BUFFER, false, use_launch_argument},
    {"eum_cosine, query", BUFFER, false, use_cosine_query},
    {"eum_cosine, targets", BUFFER, false, use_cosine_targets},
    {"eum_cosine, scores", BUFFER, false, use_cosine_scores},
    {"eum_buffer_prefetch, stream", STREAM, true, use_prefetch_stream},
    {"eum_stream_destroy", STREAM, true, use_stream_destroy},
    {"eum_stream_synchronize", STREAM, false, use_synchronize},
    {"eum_stream_on_done", STREAM, false, use_on_done},
    {"eum_launch", STREAM, false, use_launch},
    {"eum_cosine", STREAM, false, use_cosine},
    {"eum_similarity, queries", BUFFER, false, use_similarity_queries},
    {"eum_similarity, targets", BUFFER, false, use_similarity_targets},
    {"eum_similarity, scores", BUFFER, false, use_similarity_scores},
    {"eum_topk, queries", BUFFER, false, use_topk_queries},
    {"eum_topk, targets", BUFFER, false, use_topk_targets},
    {"eum_topk, scores", BUFFER, false, use_topk_scores},
    {"eum_topk, indices", BUFFER, false, use_topk_indices},
    {"eum_similarity_rows, queries", BUFFER, false, use_rows_queries},
    {"eum_similarity_rows, targets", BUFFER, false, use_rows_targets},
    {"eum_similarity_rows, scores", BUFFER, false, use_rows_scores},
    {"eum_similarity", STREAM, false, use_similarity},
    {"eum_topk", STREAM, false, use_topk},
    {"eum_similarity_rows", STREAM, false, use_rows},
};
#define USERS (sizeof users / sizeof *users)

static void every_user_refuses(void *handle, bool (*applies)(handle_kind), const char *words)
{
    for (size_t i = 0; i < USERS; i++) {
        if (!applies(users[i].kind))
            continue;
        poison();
        expect_words(users[i].name, users[i].call(handle), EUM_ERROR_INVALID_HANDLE, words);
        untouched(users[i].name);
    }
}

static bool any_kind(handle_kind kind)
{
    (void)kind;
    return true;
}
static bool is_context(handle_kind kind)
{
    return kind == CONTEXT;
}
static bool is_buffer(handle_kind kind)
{
    return kind == BUFFER;
}
static bool is_stream(handle_kind kind)
{
    return kind == STREAM;
}
static bool is_no_context(handle_kind kind)
{
    return kind != CONTEXT;
}
static bool is_no_buffer(handle_kind kind)
{
    return kind != BUFFER;
}
static bool is_no_stream(handle_kind kind)
{
    return kind != STREAM;
}

START_TEST(null_handles_are_refused_by_every_function)
{
    static const char *const words[] = {"context handle is NULL", "buffer handle is NULL", "stream handle is NULL"};
    for (size_t i = 0; i < USERS; i++) {
        poison();
        if (users[i].null_is_fine)
            ck_assert_msg(users[i].call(NULL) == EUM_OK, "%s: %s", users[i].name, sentence());
        else
            expect_words(users[i].name, users[i].call(NULL), EUM_ERROR_INVALID_HANDLE, words[users[i].kind]);
        untouched(users[i].name);
    }
}
END_TEST

START_TEST(garbage_handles_are_refused_by_every_function)
{
    every_user_refuses(&out, any_kind, "is not a handle");
    every_user_refuses((void *)(uintptr_t)1, any_kind, "is not a handle");
    every_user_refuses((void *)UINTPTR_MAX, any_kind, "is not a handle");
    every_user_refuses((void *)((uintptr_t)buffer ^ (uintptr_t)1 << 40), any_kind, "");
}
END_TEST

START_TEST(handles_of_another_type_are_refused_by_every_function)
{
    every_user_refuses(context, is_no_context, "this is a context handle");
    every_user_refuses(buffer, is_no_buffer, "this is a buffer handle");
    every_user_refuses(stream, is_no_stream, "this is a stream handle");
}
END_TEST

START_TEST(destroyed_handles_are_refused_by_every_function)
{
    eum_context *dead_context = host_context();
    eum_buffer *dead_buffer = buffer_of(context, 8);
    eum_stream *dead_stream = NULL;
    OK(eum_stream_create(context, NULL, &dead_stream));
    OK(eum_context_destroy(dead_context));
    OK(eum_buffer_destroy(dead_buffer));
    OK(eum_stream_destroy(dead_stream));
    every_user_refuses(dead_context, is_context, "was destroyed");
    every_user_refuses(dead_buffer, is_buffer, "was destroyed");
    every_user_refuses(dead_stream, is_stream, "was destroyed");
}
END_TEST

START_TEST(sentences_say_which_of_several_handles_it_was)
{
    poison();
    EXPECT(use_launch_argument(&out), EUM_ERROR_INVALID_HANDLE, "argument 0: ");
    EXPECT(use_cosine_scores(&out), EUM_ERROR_INVALID_HANDLE, "scores: ");
    EXPECT(use_job_wait(&out), EUM_ERROR_INVALID_HANDLE, "the job's context: ");
    EXPECT(use_job_event(&out), EUM_ERROR_INVALID_HANDLE, "the job's context: ");
}
END_TEST

static void *destroy_buffer(void *handle)
{
    return (void *)(intptr_t)eum_buffer_destroy(handle);
}
static void *destroy_stream(void *handle)
{
    return (void *)(intptr_t)eum_stream_destroy(handle);
}
static void *destroy_context(void *handle)
{
    return (void *)(intptr_t)eum_context_destroy(handle);
}

static void exactly_one_succeeds(void *(*body)(void *), void *handle)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    int succeeded = 0;
    for (size_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, body, handle), 0);
    for (size_t i = 0; i < THREADS; i++) {
        void *result = NULL;
        ck_assert_int_eq(pthread_join(threads[i], &result), 0);
        succeeded += (intptr_t)result == EUM_OK;
        ck_assert((intptr_t)result == EUM_OK || (intptr_t)result == EUM_ERROR_INVALID_HANDLE);
    }
    ck_assert_int_eq(succeeded, 1);
}

START_TEST(of_several_threads_that_destroy_exactly_one_succeeds)
{
    for (int round = 0; round < 20; round++) {
        eum_context *other = host_context();
        eum_stream *made = NULL;
        OK(eum_stream_create(other, NULL, &made));
        exactly_one_succeeds(destroy_buffer, buffer_of(other, 16));
        exactly_one_succeeds(destroy_stream, made);
        exactly_one_succeeds(destroy_context, other);
    }
}
END_TEST

Suite *abi_handles_suite(void);
Suite *abi_handles_suite(void)
{
    Suite *suite = suite_create("abi_handles");
    TCase *handles = tcase_create("handles");
    tcase_add_checked_fixture(handles, set_up, tear_down);
    tcase_add_test(handles, null_handles_are_refused_by_every_function);
    tcase_add_test(handles, garbage_handles_are_refused_by_every_function);
    tcase_add_test(handles, handles_of_another_type_are_refused_by_every_function);
    tcase_add_test(handles, destroyed_handles_are_refused_by_every_function);
    tcase_add_test(handles, sentences_say_which_of_several_handles_it_was);
    tcase_add_test(handles, of_several_threads_that_destroy_exactly_one_succeeds);
    suite_add_tcase(suite, handles);
    return suite;
}
