/* Bulk writes and reads, prefetch and advice.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "engine.h"

Suite *transfer_suite(void);

static uint32_t words[MIB / WORD];

START_TEST(what_is_written_is_read_on_both_sides_wherever_the_bytes_were)
{
    static const size_t ranges[][2] = {{0, MIB},     {4, 4},  {64 * KIB, 64 * KIB}, {64 * KIB - 4, 128 * KIB + 8},
                                       {MIB - 4, 4}, {100, 0}};
    eum_context *context = open_context();
    eum_stream *stream = default_stream(context);
    eum_buffer *buffer = new_buffer(context, MIB);
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        for (int before = 0; before < 3; before++) {
            eum_view view = part(buffer, ranges[i][0], ranges[i][1]);
            if (before == 0)
                cpu_fill(whole(buffer), 1);
            else
                gpu_fill(stream, whole(buffer), 1);
            if (before == 2)
                cpu_expect(whole(buffer), 1);
            fill_words(words, ranges[i][1] / WORD, 2);
            OK(eum_buffer_write(view, words));
            memset(words, 0xCC, sizeof words);
            OK(eum_buffer_read(view, words));
            expect_words(words, ranges[i][1] / WORD, 2, 0);
            gpu_expect(stream, view, 2);
            cpu_expect(view, 2);
            OK(eum_buffer_read(whole(buffer), words));
            for (size_t k = 0; k < MIB / WORD; k++) {
                bool inside = k * WORD >= ranges[i][0] && k * WORD < ranges[i][0] + ranges[i][1];
                if (!inside && words[k] != word_at(1, k))
                    ck_abort_msg("word %zu outside range %zu changed", k, i);
            }
        }
    }
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

static eum_status call_write(pending *p)
{
    return eum_buffer_write(p->view, p->address);
}

static eum_status call_read(pending *p)
{
    return eum_buffer_read(p->view, p->address);
}

START_TEST(a_read_waits_for_the_writer_and_a_write_for_the_readers)
{
    eum_context *context = open_context();
    eum_stream *stream = default_stream(context);
    eum_buffer *buffer = new_buffer(context, MIB);
    gate first = GATE_INIT, second = GATE_INIT;
    launch1(stream, (work){.kind = WORK_FILL, .value = 1, .gate = &first}, overwrites(whole(buffer)));
    await_gate(&first, 1);
    pending p = {.view = whole(buffer), .address = words};
    start(&p, call_read);
    assert_waits(&p);
    open_gate(&first);
    OK(finish(&p));
    expect_words(words, MIB / WORD, 1, 0);
    eum_job job = launch1(stream, (work){.kind = WORK_EXPECT, .value = 1, .gate = &second}, reads(whole(buffer)));
    await_gate(&second, 1);
    memset(words, 0xAB, sizeof words);
    pending q = {.view = whole(buffer), .address = words};
    start(&q, call_write);
    assert_waits(&q);
    open_gate(&second);
    OK(finish(&q));
    wait_job(job);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(transfers_respect_live_maps)
{
    eum_context *context = open_context();
    eum_buffer *buffer = new_buffer(context, MIB);
    cpu_fill(whole(buffer), 1);
    void *address = map(part(buffer, 0, 4 * KIB), EUM_ACCESS_READ);
    GIVES(EUM_ERROR_MAPPED, eum_buffer_write(part(buffer, 4 * KIB - 4, 8), words));
    OK(eum_buffer_read(whole(buffer), words));
    OK(eum_buffer_write(part(buffer, 4 * KIB, 8), words));
    unmap(buffer, address);
    address = map(part(buffer, 0, 4 * KIB), EUM_ACCESS_READ_WRITE);
    GIVES(EUM_ERROR_MAPPED, eum_buffer_read(part(buffer, 4 * KIB - 4, 8), words));
    OK(eum_buffer_read(part(buffer, 4 * KIB, 8), words));
    unmap(buffer, address);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(undefined_bytes_cannot_be_read_until_they_are_written)
{
    eum_context *context = open_context();
    eum_buffer *buffer = new_buffer(context, MIB);
    gate g = GATE_INIT;
    launch1(default_stream(context), (work){.kind = WORK_FILL, .gate = &g, .code = 1}, overwrites(whole(buffer)));
    await_gate(&g, 1);
    pending p = {.view = part(buffer, 0, 4 * KIB), .address = words};
    start(&p, call_read);
    assert_waits(&p);
    open_gate(&g);
    GIVES(EUM_ERROR_UNDEFINED_DATA, finish(&p));
    GIVES(EUM_ERROR_UNDEFINED_DATA, eum_buffer_read(part(buffer, 0, 4), words));
    fill_words(words, 4 * KIB / WORD, 5);
    OK(eum_buffer_write(part(buffer, 0, 4 * KIB), words));
    OK(eum_buffer_read(part(buffer, 0, 4 * KIB), words));
    gpu_expect(default_stream(context), part(buffer, 0, 4 * KIB), 5);
    GIVES(EUM_ERROR_UNDEFINED_DATA, eum_buffer_read(part(buffer, 0, 4 * KIB + 1), words));
    (void)eum_stream_synchronize(default_stream(context));
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(a_bulk_write_behind_a_job_that_fails_defines_the_bytes)
{
    eum_context *context = open_context();
    eum_buffer *buffer = new_buffer(context, MIB);
    gpu_fill(default_stream(context), whole(buffer), 1);
    gate g = GATE_INIT;
    launch1(default_stream(context), (work){.kind = WORK_FILL, .gate = &g, .code = 1}, overwrites(whole(buffer)));
    await_gate(&g, 1);
    fill_words(words, 4 * KIB / WORD, 5);
    pending p = {.view = part(buffer, 0, 4 * KIB), .address = words};
    start(&p, call_write);
    assert_waits(&p);
    open_gate(&g);
    OK(finish(&p));
    cpu_expect(part(buffer, 0, 4 * KIB), 5);
    (void)eum_stream_synchronize(default_stream(context));
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(a_prefetch_of_undefined_bytes_is_a_hint_like_any_other)
{
    eum_context *context = open_context();
    eum_buffer *buffer = new_buffer(context, MIB);
    launch1(default_stream(context), (work){.kind = WORK_FILL, .code = 1}, overwrites(whole(buffer)));
    GIVES(EUM_ERROR_JOB_FAILED, eum_stream_synchronize(default_stream(context)));
    OK(eum_buffer_prefetch(whole(buffer), EUM_LOCATION_HOST, NULL));
    GIVES(EUM_ERROR_UNDEFINED_DATA, eum_buffer_read(part(buffer, 0, 4), words));
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(a_prefetch_moves_early_what_a_launch_or_a_map_would_move)
{
    eum_context *context = open_context();
    eum_stream *stream = new_stream(context);
    eum_buffer *buffer = new_buffer(context, MIB);
    cpu_fill(whole(buffer), 1);
    eum_location device = is_host(context) ? EUM_LOCATION_HOST : 0;
    OK(eum_buffer_prefetch(whole(buffer), device, stream));
    OK(eum_buffer_prefetch(part(buffer, 5, 0), device, stream));
    gpu_expect(default_stream(context), whole(buffer), 1);
    if (moves(context)) {
        ck_assert_uint_eq(explain(buffer).bytes_to_device, MIB);
        ck_assert_uint_eq(explain(buffer).last_bytes, 0); /* by the launch */
    }
    gpu_fill(stream, whole(buffer), 2);
    OK(eum_buffer_prefetch(whole(buffer), EUM_LOCATION_HOST, NULL));
    cpu_expect(whole(buffer), 2);
    if (moves(context) && explain(buffer).bytes_to_host != 0)
        ck_assert_uint_eq(explain(buffer).last_bytes, 0); /* by the map */
    OK(eum_stream_destroy(stream));
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(a_prefetch_does_not_wait_and_stays_in_order)
{
    eum_context *context = open_context();
    eum_stream *stream = new_stream(context);
    eum_buffer *buffer = new_buffer(context, MIB);
    gate g = GATE_INIT;
    cpu_fill(whole(buffer), 1);
    gpu_expect(stream, whole(buffer), 1);
    eum_job job = launch1(stream, (work){.kind = WORK_EXPECT, .value = 1, .gate = &g}, reads(whole(buffer)));
    await_gate(&g, 1);
    OK(eum_buffer_prefetch(whole(buffer), EUM_LOCATION_HOST, NULL)); /* hangs if it waits */
    open_gate(&g);
    wait_job(job);
    gate h = GATE_INIT;
    launch1(stream, (work){.kind = WORK_ADD, .value = 1, .gate = &h}, updates(whole(buffer)));
    await_gate(&h, 1);
    OK(eum_buffer_prefetch(whole(buffer), EUM_LOCATION_HOST, NULL));
    OK(eum_buffer_prefetch(whole(buffer), is_host(context) ? EUM_LOCATION_HOST : 0, NULL));
    open_gate(&h);
    cpu_expect_plus(whole(buffer), 1, 1);
    OK(eum_stream_destroy(stream));
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

typedef struct sharer {
    pthread_t thread;
    eum_buffer *buffer;
    int kind;
} sharer;

static void *share(void *arg)
{
    sharer *s = arg;
    uint32_t own[64];
    for (int i = 0; i < 300; i++) {
        void *address = NULL;
        switch (s->kind) {
        case 0:
            OK(eum_buffer_read(part(s->buffer, 0, sizeof own), own));
            break;
        case 1:
            OK(eum_buffer_map(part(s->buffer, 0, 4 * KIB), EUM_ACCESS_READ, &address));
            OK(eum_buffer_unmap(s->buffer, address));
            break;
        default:
            OK(eum_buffer_map(whole(s->buffer), EUM_ACCESS_READ, &address));
            GIVES(EUM_ERROR_MAPPED,
                  eum_buffer_write(part(s->buffer, MIB - 4, 4), own)); /* this map covers it, whoever ends another */
            OK(eum_buffer_unmap(s->buffer, address));
        }
    }
    return NULL;
}

START_TEST(maps_and_reads_of_one_address_by_several_threads_end_their_own)
{
    eum_context *context = open_context();
    eum_buffer *buffer = new_buffer(context, MIB);
    cpu_fill(whole(buffer), 1);
    sharer sharers[3];
    for (int i = 0; i < 3; i++) {
        sharers[i] = (sharer){.buffer = buffer, .kind = i == 1 ? 0 : i};
        ck_assert_int_eq(pthread_create(&sharers[i].thread, NULL, share, &sharers[i]), 0);
    }
    for (int i = 0; i < 3; i++)
        pthread_join(sharers[i].thread, NULL);
    ck_assert_uint_eq(stats_of(context).maps_live, 0);
    gpu_fill(default_stream(context), whole(buffer), 2);
    cpu_expect(whole(buffer), 2);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(a_prefetch_to_a_place_that_does_not_exist_is_an_error)
{
    eum_context *context = open_context();
    eum_buffer *buffer = new_buffer(context, 4 * KIB);
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_buffer_prefetch(whole(buffer), 7, NULL));
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_buffer_prefetch(whole(buffer), -2, NULL));
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_buffer_prefetch(whole(buffer), 63, NULL));
    if (is_host(context))
        GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_buffer_prefetch(whole(buffer), 0, NULL));
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(advice_never_fails_for_want_of_support_and_never_changes_data)
{
    eum_context *context = open_context();
    eum_stream *stream = default_stream(context);
    eum_buffer *buffer = new_buffer(context, MIB);
    eum_location device = is_host(context) ? EUM_LOCATION_HOST : 0;
    bool taken = explain(buffer).backing == EUM_BACKING_MANAGED && info_of(context).concurrent_managed;
    cpu_fill(whole(buffer), 0);
    for (uint32_t round = 0; round < 4; round++) {
        for (eum_advice advice = EUM_ADVICE_READ_MOSTLY; advice <= EUM_ADVICE_UNSET_ACCESSED_BY; advice++) {
            eum_hint hint = EUM_HINT_INIT;
            eum_view view = part(buffer, round * 100 * KIB, 200 * KIB);
            OK(eum_buffer_advise(view, advice, round % 2 == 0 ? device : EUM_LOCATION_HOST, &hint));
            ck_assert_int_eq(hint.applied, taken);
            ck_assert_int_eq(hint.reason, taken ? EUM_OK : EUM_ERROR_NOT_SUPPORTED);
            ck_assert_uint_gt(strlen(hint.sentence), 0);
            OK(eum_buffer_advise(view, advice, device, NULL));
            gpu_expect(stream, part(buffer, 0, MIB), round);
            cpu_expect(whole(buffer), round);
            launch1(stream, (work){.kind = WORK_ADD, .value = 1}, updates(whole(buffer)));
            cpu_expect_plus(whole(buffer), round, 1);
            cpu_fill(whole(buffer), round);
        }
        cpu_fill(whole(buffer), round + 1);
    }
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

Suite *transfer_suite(void)
{
    Suite *suite = suite_create("transfer");
    TCase *tests = tcase_create("transfer");
    if (!runs_cpu_kernels())
        return suite;
    tcase_add_test(tests, what_is_written_is_read_on_both_sides_wherever_the_bytes_were);
    tcase_add_test(tests, a_read_waits_for_the_writer_and_a_write_for_the_readers);
    tcase_add_test(tests, transfers_respect_live_maps);
    tcase_add_test(tests, undefined_bytes_cannot_be_read_until_they_are_written);
    tcase_add_test(tests, a_bulk_write_behind_a_job_that_fails_defines_the_bytes);
    tcase_add_test(tests, a_prefetch_of_undefined_bytes_is_a_hint_like_any_other);
    tcase_add_test(tests, a_prefetch_moves_early_what_a_launch_or_a_map_would_move);
    tcase_add_test(tests, a_prefetch_does_not_wait_and_stays_in_order);
    tcase_add_test(tests, maps_and_reads_of_one_address_by_several_threads_end_their_own);
    tcase_add_test(tests, a_prefetch_to_a_place_that_does_not_exist_is_an_error);
    tcase_add_test(tests, advice_never_fails_for_want_of_support_and_never_changes_data);
    suite_add_tcase(suite, tests);
    return suite;
}
