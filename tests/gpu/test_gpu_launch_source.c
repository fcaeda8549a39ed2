/* Launches whose input is in memory of the caller's, on a real device: each backing of the results, each kind of memory of the rows; and that chunks
 * move while kernels work.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <time.h>

#include "gpu_fixture.h"

Suite *gpu_launch_source_suite(void);

enum { PAGEABLE, PINNED, REGISTERED, SOURCES };

typedef struct scene {
    uint32_t *rows;
    uint64_t count;
    gpu_rows work;
    eum_buffer *plus, *hashes, *counts;
    gpu_rows_told told;
    int kind;
} scene;

static size_t bytes_of(const scene *s)
{
    return (size_t)s->count * s->work.row_words * 4;
}

static scene open_scene(int kind, uint64_t count, uint32_t row_words, eum_role role)
{
    scene s = {.count = count, .work = {row_words, 0}, .kind = kind};
    static const uint32_t plus = 12345;
    if (kind == PINNED) {
        CUDA(cudaMallocHost((void **)&s.rows, bytes_of(&s) + 1));
    } else {
        s.rows = malloc(bytes_of(&s) + 1);
        ck_assert_ptr_nonnull(s.rows);
    }
    for (uint64_t i = 0; i < count * row_words; i++)
        s.rows[i] = gpu_hash((uint32_t)kind, i);
    if (kind == REGISTERED)
        CUDA(cudaHostRegister(s.rows, bytes_of(&s), cudaHostRegisterDefault));
    s.plus = make_buffer(4, EUM_ROLE_AUTO);
    s.hashes = make_buffer((size_t)count * 4, role);
    s.counts = make_buffer(8, role);
    OK(eum_buffer_write(whole(s.plus), &plus));
    return s;
}

static void close_scene(scene *s)
{
    OK(eum_stream_synchronize(stream));
    if (s->kind == REGISTERED)
        CUDA(cudaHostUnregister(s->rows));
    if (s->kind == PINNED)
        CUDA(cudaFreeHost(s->rows));
    else
        free(s->rows);
    OK(eum_buffer_destroy(s->plus));
    OK(eum_buffer_destroy(s->hashes));
    OK(eum_buffer_destroy(s->counts));
}

static eum_status try_scene(eum_stream *on, scene *s, eum_job *job)
{
    const eum_argument arguments[3] = {{whole(s->plus), EUM_ACCESS_READ, 0},
                                       {whole(s->hashes), EUM_ACCESS_OVERWRITE, 0},
                                       {whole(s->counts), EUM_ACCESS_OVERWRITE, 0}};
    const uint32_t fail_at = s->told.fail_at;
    s->told = (gpu_rows_told){.fail_at = fail_at};
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.gpu = gpu_rows_launch;
    config.arguments = arguments;
    config.argument_count = 3;
    config.params = &s->work;
    config.params_bytes = sizeof s->work;
    config.user = &s->told;
    config.host_source = s->rows;
    config.source_rows = s->count;
    config.source_row_bytes = (size_t)s->work.row_words * 4;
    return eum_launch(on, &config, job);
}

static void expect_results(const scene *s)
{
    uint32_t *got = malloc((size_t)s->count * 4 + 1), counts[2];
    OK(eum_buffer_read(whole(s->hashes), got));
    OK(eum_buffer_read(whole(s->counts), counts));
    for (uint64_t i = 0; i < s->count; i++)
        if (got[i] != gpu_hash_row(s->rows + i * s->work.row_words, s->work.row_words) + 12345)
            ck_abort_msg("row %llu of %llu is wrong", (unsigned long long)i, (unsigned long long)s->count);
    ck_assert_uint_eq(counts[0], s->told.calls);
    ck_assert_uint_eq(counts[1], (uint32_t)s->count);
    ck_assert_uint_eq(s->told.rows, s->count);
    free(got);
}

static const eum_role roles[] = {EUM_ROLE_AUTO, EUM_ROLE_RESULTS, EUM_ROLE_STREAM, EUM_ROLE_TARGETS};

START_TEST(every_row_has_its_result_on_every_backing_and_from_every_memory)
{
    static const struct {
        uint64_t count;
        uint32_t words;
    } shapes[] = {{0, 5}, {1, 1}, {1000, 3}, {60000, 64}, {4000000, 5}, {1500, 20001}};
    open_context(backings[_i / SOURCES], 0);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        for (size_t r = 0; r < sizeof roles / sizeof *roles; r++) {
            if (shapes[i].count == 0 && _i % SOURCES == REGISTERED)
                continue; /* CUDA registers no empty range */
            scene s = open_scene(_i % SOURCES, shapes[i].count, shapes[i].words, roles[r]);
            for (int round = 0; round < 2; round++) {
                eum_job job;
                OK(try_scene(stream, &s, &job));
                OK(eum_job_wait(job, -1));
                ck_assert_uint_ge(s.told.calls, bytes_of(&s) > 16 * MIB ? 4 : 1);
                expect_results(&s);
            }
            close_scene(&s);
        }
    }
    close_context();
}
END_TEST

START_TEST(with_little_room_the_results_are_the_same)
{
    open_context(_i == 0 ? EUM_BACKING_MIRRORED : EUM_BACKING_MANAGED, 24 * MIB);
    scene s = open_scene(PAGEABLE, 2000000, 8, EUM_ROLE_TARGETS); /* 8 MB of results, 64 MB of rows */
    eum_info info;
    eum_info_init(&info);
    OK(try_scene(stream, &s, NULL));
    expect_results(&s);
    OK(eum_context_info(context, &info));
    ck_assert_uint_le(info.budget_used, 24 * MIB);
    close_scene(&s);
    close_context();
}
END_TEST

START_TEST(a_stream_of_the_programs_own_will_do)
{
    cudaStream_t native;
    eum_stream *own = NULL;
    open_context(backings[_i], 0);
    CUDA(cudaStreamCreateWithFlags(&native, cudaStreamNonBlocking));
    OK(eum_stream_wrap(context, native, &own));
    scene s = open_scene(PAGEABLE, 100000, 100, EUM_ROLE_RESULTS);
    OK(try_scene(own, &s, NULL));
    CUDA(cudaStreamSynchronize(native));
    expect_results(&s);
    const gpu_rows_told told = s.told;
    cudaGraph_t graph;
    CUDA(cudaStreamBeginCapture(native, cudaStreamCaptureModeThreadLocal));
    FAILS(try_scene(own, &s, NULL), EUM_ERROR_CAPTURING);
    CUDA(cudaStreamEndCapture(native, &graph));
    CUDA(cudaGraphDestroy(graph));
    ck_assert_uint_eq(s.told.calls, 0);
    s.told = told;
    expect_results(&s); /* nothing has changed */
    close_scene(&s);
    OK(eum_stream_destroy(own));
    CUDA(cudaStreamDestroy(native));
    close_context();
}
END_TEST

START_TEST(a_callback_that_fails_ends_it_and_leaves_the_results_undefined)
{
    open_context(backings[_i], 0);
    scene s = open_scene(PAGEABLE, 100000, 100, EUM_ROLE_RESULTS);
    uint32_t *words = malloc(400000);
    OK(try_scene(stream, &s, NULL));
    const uint32_t calls = s.told.calls;
    ck_assert_uint_gt(calls, 3);
    for (uint32_t nth = 1; nth <= calls; nth++) {
        s.told.fail_at = nth;
        FAILS(try_scene(stream, &s, NULL), EUM_ERROR_LAUNCH_FAILED);
        ck_assert_uint_eq(s.told.calls, nth);
        FAILS(eum_buffer_read(whole(s.hashes), words), EUM_ERROR_UNDEFINED_DATA);
        FAILS(eum_buffer_read(whole(s.counts), words), EUM_ERROR_UNDEFINED_DATA);
        s.told.fail_at = 0;
        OK(try_scene(stream, &s, NULL));
        expect_results(&s);
    }
    free(words);
    close_scene(&s);
    close_context();
}
END_TEST

static int64_t now_us(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (int64_t)at.tv_sec * 1000000 + at.tv_nsec / 1000;
}

/* Kernels that take longer than their chunk's way hide it, but for the first one. */
START_TEST(chunks_move_while_kernels_work)
{
    open_context(EUM_BACKING_MIRRORED, 0);
    scene s = open_scene(_i, 128 * 1024, 256, EUM_ROLE_RESULTS); /* 128 MiB: eight chunks of 16 */
    eum_buffer *chunk = make_buffer(16 * MIB, EUM_ROLE_TARGETS);
    s.work.spin_us = 2500;
    int64_t streamed = INT64_MAX, in_turns = INT64_MAX;
    for (int round = 0; round < 4; round++) { /* the first time, memory is allocated */
        eum_job job;
        int64_t begin = now_us();
        OK(try_scene(stream, &s, &job));
        OK(eum_job_wait(job, -1));
        int64_t took = now_us() - begin;
        streamed = took < streamed ? took : streamed;
        begin = now_us();
        for (uint32_t i = 0; i < s.told.calls; i++) {
            const eum_argument read = argument(chunk, 0, 16 * MIB, EUM_ACCESS_READ);
            OK(eum_buffer_write(whole(chunk), (const char *)s.rows + i % 8 * 16 * MIB));
            OK(work_on(stream, &read, 1, 1, NULL, s.work.spin_us, &job));
            OK(eum_job_wait(job, -1));
        }
        took = now_us() - begin;
        in_turns = took < in_turns ? took : in_turns;
    }
    printf("128 MiB, source %d, %u chunks: %lld us streamed, %lld us in turns\n", _i, s.told.calls, (long long)streamed,
           (long long)in_turns);
    ck_assert_uint_ge(s.told.calls, 8);
    ck_assert_msg(streamed < in_turns, "%lld us streamed, %lld us in turns", (long long)streamed, (long long)in_turns);
    expect_results(&s);
    OK(eum_buffer_destroy(chunk));
    close_scene(&s);
    close_context();
}
END_TEST

Suite *gpu_launch_source_suite(void)
{
    Suite *suite = suite_create("gpu_launch_source");
    TCase *tests = tcase_create("gpu_launch_source");
    tcase_set_timeout(tests, 180);
    tcase_add_loop_test(tests, every_row_has_its_result_on_every_backing_and_from_every_memory, 0, BACKINGS * SOURCES);
    tcase_add_loop_test(tests, with_little_room_the_results_are_the_same, 0, 2);
    tcase_add_loop_test(tests, a_stream_of_the_programs_own_will_do, 0, BACKINGS);
    tcase_add_loop_test(tests, a_callback_that_fails_ends_it_and_leaves_the_results_undefined, 0, BACKINGS);
    tcase_add_loop_test(tests, chunks_move_while_kernels_work, 0, SOURCES);
    suite_add_tcase(suite, tests);
    return suite;
}
