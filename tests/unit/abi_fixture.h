/* What the tests of the C ABI share: a host context with a stream and a buffer, poisoned outputs, and failures that are checked whole.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TESTS_ABI_FIXTURE_H
#define EUM_TESTS_ABI_FIXTURE_H

#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engram_um.h"
#include "handle.h"

#define UNUSED __attribute__((unused)) /* not every suite uses all of this */

/* One function that makes one call: for tables of all functions that share a promise. */
#define CALL(name, parameter, expression)                                                                                          \
    static eum_status name(parameter)                                                                                              \
    {                                                                                                                              \
        return expression;                                                                                                         \
    }

#define BYTES 64u /* of the fixture's buffer */
#define POISON 0xa5

UNUSED static eum_context *context;
UNUSED static eum_stream *stream; /* the default one */
UNUSED static eum_buffer *buffer;

UNUSED static eum_context *host_context(void)
{
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    eum_context *made = NULL;
    config.device = "host";
    config.worker_threads = 1;
    ck_assert_int_eq(eum_context_create(&config, &made), EUM_OK);
    return made;
}

UNUSED static eum_buffer *buffer_of(eum_context *owner, size_t bytes)
{
    eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
    eum_buffer *made = NULL;
    config.flags = EUM_BUFFER_ZEROED;
    ck_assert_int_eq(eum_buffer_create(owner, bytes, &config, &made), EUM_OK);
    return made;
}

UNUSED static void set_up(void)
{
    context = host_context();
    ck_assert_int_eq(eum_context_default_stream(context, &stream), EUM_OK);
    buffer = buffer_of(context, BYTES);
}

/* Ends the three as their destroy functions would, and waits for the pins of each: a call that forgot to let go would hang the test. */
UNUSED static void tear_down(void)
{
    ck_assert_int_eq(eum_handle_retire(buffer, EUM_HANDLE_BUFFER, true), EUM_OK);
    ck_assert_int_eq(eum_handle_retire(stream, EUM_HANDLE_STREAM, true), EUM_OK);
    ck_assert_int_eq(eum_handle_retire(context, EUM_HANDLE_CONTEXT, true), EUM_OK);
}

UNUSED static const char *sentence(void)
{
    static _Thread_local eum_error error;
    eum_error_init(&error);
    ck_assert_int_eq(eum_last_error(&error), EUM_OK);
    return error.sentence;
}

UNUSED static eum_status last_status(void)
{
    eum_error error = EUM_ERROR_INIT;
    ck_assert_int_eq(eum_last_error(&error), EUM_OK);
    return error.status;
}

/* The call fails with that status, says so in the error detail, and its sentence has these words. */
UNUSED static void expect_words(const char *call, eum_status got, eum_status wanted, const char *words)
{
    ck_assert_msg(got == wanted, "%s: %s instead of %s: %s", call, eum_status_name(got), eum_status_name(wanted), sentence());
    ck_assert_msg(last_status() == wanted, "%s: the error detail has %s", call, eum_status_name(last_status()));
    ck_assert_msg(strstr(sentence(), words) != NULL, "%s: \"%s\" is not in: %s", call, words, sentence());
}
#define EXPECT(call, status, words) expect_words(#call, call, status, words)
#define OK(call) ck_assert_msg((call) == EUM_OK, "%s: %s", #call, sentence())

/* Outputs, poisoned; `untouched` checks that all of them are. */
static struct {
    void *pointer;
    eum_context *context;
    eum_buffer *buffer;
    eum_stream *stream;
    eum_job job;
    size_t size;
    eum_raw raw;
    eum_hint hint;
    eum_info info;
    eum_stats stats;
    eum_decision decision;
    eum_buffer_info buffer_info;
    eum_faults faults;
    void *addresses[64];
    char text[64];
} out, poisoned;

UNUSED static void poison(void)
{
    memset(&out, POISON, sizeof out);
    out.raw.struct_size = sizeof out.raw;
    out.hint.struct_size = sizeof out.hint;
    out.info.struct_size = sizeof out.info;
    out.stats.struct_size = sizeof out.stats;
    out.decision.struct_size = sizeof out.decision;
    out.buffer_info.struct_size = sizeof out.buffer_info;
    out.faults.struct_size = sizeof out.faults;
    memcpy(&poisoned, &out, sizeof out);
}

UNUSED static void untouched(const char *call)
{
    ck_assert_msg(memcmp(&out, &poisoned, sizeof out) == 0, "%s: an output was written by a call that failed", call);
}

UNUSED static eum_view whole(eum_buffer *of)
{
    return (eum_view){of, 0, EUM_WHOLE_SIZE};
}

UNUSED static int32_t do_nothing(const eum_kernel_call *call)
{
    (void)call;
    return 0;
}

UNUSED static void release_nothing(void *user, void *address, size_t bytes)
{
    (void)address;
    (void)bytes;
    if (user != NULL)
        ++*(int *)user;
}

UNUSED static void done_nothing(void *user, eum_status status)
{
    (void)user;
    (void)status;
}

UNUSED static eum_status launch_with(eum_stream *on, eum_view view, eum_access access, int32_t reserved)
{
    eum_argument argument = {view, access, reserved};
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.cpu = do_nothing;
    config.arguments = &argument;
    config.argument_count = 1;
    return eum_launch(on, &config, &out.job);
}

UNUSED static eum_status acquire_with(eum_stream *on, eum_view view, eum_access access, int32_t reserved)
{
    eum_argument argument = {view, access, reserved};
    return eum_stream_acquire(on, &argument, 1, out.addresses);
}

UNUSED static eum_status release_with(eum_stream *on, eum_view view, eum_access access, int32_t reserved)
{
    eum_argument argument = {view, access, reserved};
    return eum_stream_release(on, &argument, 1, &out.job);
}

UNUSED static eum_cosine_config cosine_of(eum_view query, eum_view targets, eum_view scores, uint64_t rows, uint64_t dim)
{
    eum_cosine_config config = EUM_COSINE_CONFIG_INIT;
    config.query = query;
    config.targets = targets;
    config.scores = scores;
    config.rows = rows;
    config.dim = dim;
    return config;
}

UNUSED static eum_status cosine_on(eum_stream *on, eum_view query, eum_view targets, eum_view scores)
{
    eum_cosine_config config = cosine_of(query, targets, scores, 1, 2);
    return eum_cosine(on, &config, &out.job);
}

#endif
