/* Patterns of use on a real device, on each backing: who writes, who reads, who shares, who is refused.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <pthread.h>

#include "gpu_fixture.h"

#define WORDS ((size_t)1 << 20) /* 4 MiB */

static void open_backing(int i)
{
    open_context(backings[i], 0);
}

/* ------------------------------------------------------------------------------------------------ one stream -------- */

START_TEST(what_the_cpu_writes_the_gpu_reads)
{
    open_backing(_i);
    uint64_t *sums, got[4];
    CUDA(cudaMalloc((void **)&sums, sizeof got));
    CUDA(cudaMemset(sums, 0, sizeof got));
    eum_buffer *buffer = make_buffer(WORDS * 4, EUM_ROLE_AUTO);
    uint32_t *words = random_words(WORDS, 1);
    uint64_t want[4];
    for (uint32_t round = 0; round < 4; round++) {
        eum_argument reads = argument(buffer, 0, WORDS * 4, EUM_ACCESS_READ);
        if (round == 0) {
            OK(eum_buffer_write(whole(buffer), words));
        } else {
            void *mapped;
            words[round * 1000] += 1; /* one word changes, the rest stays */
            OK(eum_buffer_map((eum_view){buffer, round * 4000, 4}, EUM_ACCESS_READ_WRITE, &mapped));
            *(uint32_t *)mapped += 1;
            OK(eum_buffer_unmap(buffer, mapped));
        }
        OK(work_on(stream, &reads, 1, round, sums + round, 0, NULL));
        want[round] = model_work(&reads, 1, round, &words);
    }
    OK(eum_stream_synchronize(stream));
    CUDA(cudaMemcpy(got, sums, sizeof got, cudaMemcpyDeviceToHost));
    for (int round = 0; round < 4; round++)
        ck_assert_uint_eq(got[round], want[round]);
    CUDA(cudaFree(sums));
    free(words);
    OK(eum_buffer_destroy(buffer));
    close_context();
}
END_TEST

START_TEST(what_the_gpu_writes_the_cpu_reads)
{
    open_backing(_i);
    static const eum_role roles[] = {EUM_ROLE_AUTO, EUM_ROLE_RESULTS, EUM_ROLE_STREAM, EUM_ROLE_TARGETS, EUM_ROLE_QUERY};
    for (size_t r = 0; r < 5; r++) {
        eum_buffer *buffer = make_buffer(WORDS * 4, roles[r]);
        uint32_t *words = random_words(WORDS, 2);
        for (uint32_t round = 0; round < 3; round++) {
            eum_argument writes = argument(buffer, 0, WORDS * 4, round == 1 ? EUM_ACCESS_READ_WRITE : EUM_ACCESS_OVERWRITE);
            void *mapped;
            OK(work_on(stream, &writes, 1, 50 + round, NULL, 0, NULL));
            (void)model_work(&writes, 1, 50 + round, &words);
            OK(eum_buffer_map(whole(buffer), EUM_ACCESS_READ, &mapped));
            expect_words(mapped, words, WORDS, backing_words[_i]);
            OK(eum_buffer_unmap(buffer, mapped));
        }
        free(words);
        OK(eum_buffer_destroy(buffer));
    }
    close_context();
}
END_TEST

START_TEST(the_cpu_and_the_gpu_write_in_turns)
{
    open_backing(_i);
    eum_buffer *buffer = make_buffer(WORDS * 4 + 40, EUM_ROLE_AUTO);
    uint32_t *words = random_words(WORDS + 10, 3);
    OK(eum_buffer_write(whole(buffer), words));
    for (uint32_t round = 0; round < 12; round++) {
        size_t first = round % 3 * 1001, count = WORDS / (1 + round % 4) - 2002;
        eum_argument part = argument(buffer, first * 4, count * 4, round % 2 == 0 ? EUM_ACCESS_READ_WRITE : EUM_ACCESS_OVERWRITE);
        uint32_t *view = words + first;
        OK(work_on(stream, &part, 1, 70 + round, NULL, 0, NULL));
        (void)model_work(&part, 1, 70 + round, &view);
        uint32_t *mapped;
        size_t at = round * 5000, length = 100 + round * 321;
        OK(eum_buffer_map((eum_view){buffer, at * 4, length * 4}, EUM_ACCESS_READ_WRITE, (void **)&mapped));
        for (size_t i = 0; i < length; i++) {
            if (mapped[i] != words[at + i])
                ck_abort_msg("%s: round %u, word %zu is wrong", backing_words[_i], round, i);
            words[at + i] = mapped[i] = mapped[i] * 3 + round;
        }
        OK(eum_buffer_unmap(buffer, mapped));
    }
    uint32_t *back = malloc((WORDS + 10) * 4);
    OK(eum_buffer_read(whole(buffer), back));
    expect_words(back, words, WORDS + 10, backing_words[_i]);
    free(back);
    free(words);
    OK(eum_buffer_destroy(buffer));
    close_context();
}
END_TEST

/* --------------------------------------------------------------------------------------------- several streams ------ */

#define THREADS 8
#define ROUNDS 60
#define SHARED_WORDS ((size_t)100003)
#define OWN_WORDS ((size_t)70001)

typedef struct worker {
    pthread_t thread;
    uint32_t number;
    eum_buffer *shared;
    const uint32_t *shared_words;
    char failure[256];
} worker;

#define TRY(call)                                                                                                                  \
    if ((call) != EUM_OK) {                                                                                                        \
        snprintf(w->failure, sizeof w->failure, "%.80s: %.170s", #call, sentence());                                               \
        return NULL;                                                                                                               \
    }

static void *work_in_a_thread(void *arg)
{
    worker *w = arg;
    eum_stream *own = NULL;
    eum_buffer *buffer = NULL;
    eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
    uint32_t *words = malloc(OWN_WORDS * 4), *back = malloc(OWN_WORDS * 4);
    config.role = (eum_role)(w->number % 5);
    TRY(eum_stream_create(context, NULL, &own));
    TRY(eum_buffer_create(context, OWN_WORDS * 4, &config, &buffer));
    for (size_t i = 0; i < OWN_WORDS; i++)
        words[i] = gpu_hash(w->number, i);
    TRY(eum_buffer_write((eum_view){buffer, 0, OWN_WORDS * 4}, words));
    for (uint32_t round = 0; round < ROUNDS; round++) {
        /* the shared buffer is read by all at once; half of the own one is changed, half overwritten */
        size_t half = OWN_WORDS / 2;
        eum_argument arguments[3] = {
            argument(w->shared, 0, SHARED_WORDS * 4, EUM_ACCESS_READ), argument(buffer, 0, half * 4, EUM_ACCESS_READ_WRITE),
            argument(buffer, half * 4, (OWN_WORDS - half) * 4, round % 3 == 0 ? EUM_ACCESS_OVERWRITE : EUM_ACCESS_READ_WRITE)};
        uint32_t *views[3] = {(uint32_t *)(uintptr_t)w->shared_words, words, words + half}, seed = w->number * 1000 + round;
        eum_job job;
        TRY(work_on(own, arguments, 3, seed, NULL, round % 7 == 0 ? 50 : 0, &job));
        (void)model_work(arguments, 3, seed, views);
        if (round % 5 == w->number % 5) {
            void *mapped;
            TRY(eum_buffer_map((eum_view){w->shared, 0, SHARED_WORDS * 4}, EUM_ACCESS_READ, &mapped));
            if (memcmp(mapped, w->shared_words, SHARED_WORDS * 4) != 0)
                snprintf(w->failure, sizeof w->failure, "thread %u, round %u: the shared words are wrong", w->number, round);
            TRY(eum_buffer_unmap(w->shared, mapped));
        }
        if (round % 4 == 3) {
            TRY(eum_job_wait(job, -1));
            TRY(eum_buffer_read((eum_view){buffer, 0, OWN_WORDS * 4}, back));
            if (memcmp(back, words, OWN_WORDS * 4) != 0) {
                snprintf(w->failure, sizeof w->failure, "thread %u, round %u: the own words are wrong", w->number, round);
                return NULL;
            }
        }
    }
    TRY(eum_stream_synchronize(own));
    TRY(eum_buffer_destroy(buffer));
    TRY(eum_stream_destroy(own));
    free(words);
    free(back);
    return NULL;
}

START_TEST(eight_streams_in_eight_threads)
{
    open_backing(_i);
    worker workers[THREADS];
    uint32_t *words = random_words(SHARED_WORDS, 4);
    eum_buffer *shared = make_buffer(SHARED_WORDS * 4, EUM_ROLE_QUERY);
    OK(eum_buffer_write(whole(shared), words));
    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i] = (worker){.number = i, .shared = shared, .shared_words = words};
        ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, work_in_a_thread, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        (void)pthread_join(workers[i].thread, NULL);
    for (int i = 0; i < THREADS; i++)
        ck_assert_msg(workers[i].failure[0] == 0, "%s: %s", backing_words[_i], workers[i].failure);
    free(words);
    OK(eum_buffer_destroy(shared));
    close_context();
}
END_TEST

START_TEST(launches_on_many_streams_that_touch_the_same_bytes_are_ordered)
{
    open_backing(_i);
    eum_stream *streams[8];
    uint32_t *words = random_words(WORDS, 5), *view = words;
    eum_buffer *buffer = make_buffer(WORDS * 4, EUM_ROLE_AUTO);
    OK(eum_buffer_write(whole(buffer), words));
    for (int i = 0; i < 8; i++)
        OK(eum_stream_create(context, NULL, &streams[i]));
    for (uint32_t round = 0; round < 200; round++) {
        eum_argument all = argument(buffer, 0, WORDS * 4, EUM_ACCESS_READ_WRITE);
        OK(work_on(streams[round * 5 % 8], &all, 1, 900 + round, NULL, round % 3 * 20, NULL));
        (void)model_work(&all, 1, 900 + round, &view);
    }
    void *mapped;
    OK(eum_buffer_map(whole(buffer), EUM_ACCESS_READ, &mapped));
    expect_words(mapped, words, WORDS, backing_words[_i]);
    OK(eum_buffer_unmap(buffer, mapped));
    for (int i = 0; i < 8; i++)
        OK(eum_stream_destroy(streams[i]));
    OK(eum_buffer_destroy(buffer));
    free(words);
    close_context();
}
END_TEST

/* -------------------------------------------------------------------------------------------------- maps ------------ */

START_TEST(a_launch_that_conflicts_with_a_map_is_refused_and_readers_share)
{
    open_backing(_i);
    uint32_t *words = random_words(WORDS, 6), *view = words;
    eum_buffer *buffer = make_buffer(WORDS * 4, EUM_ROLE_AUTO);
    OK(eum_buffer_write(whole(buffer), words));
    eum_argument reads = argument(buffer, 0, WORDS * 4, EUM_ACCESS_READ),
                 writes = argument(buffer, 0, WORDS * 4, EUM_ACCESS_OVERWRITE);
    eum_argument elsewhere = argument(buffer, WORDS * 2, WORDS, EUM_ACCESS_READ_WRITE);
    uint32_t *mapped;
    OK(eum_buffer_map((eum_view){buffer, 100, 1000}, EUM_ACCESS_READ_WRITE, (void **)&mapped));
    FAILS(work_on(stream, &reads, 1, 1, NULL, 0, NULL), EUM_ERROR_MAPPED);
    FAILS(work_on(stream, &writes, 1, 1, NULL, 0, NULL), EUM_ERROR_MAPPED);
    OK(work_on(stream, &elsewhere, 1, 8, NULL, 0, NULL));
    view = words + WORDS / 2;
    (void)model_work(&elsewhere, 1, 8, &view);
    mapped[0] = words[25] = 4711;
    OK(eum_buffer_unmap(buffer, mapped));
    OK(eum_buffer_map(whole(buffer), EUM_ACCESS_READ, (void **)&mapped));
    FAILS(work_on(stream, &writes, 1, 1, NULL, 0, NULL), EUM_ERROR_MAPPED);
    uint64_t *sum, got = 0;
    CUDA(cudaMalloc((void **)&sum, 8));
    CUDA(cudaMemset(sum, 0, 8));
    OK(work_on(stream, &reads, 1, 1, sum, 300, NULL)); /* the kernel and the CPU read at once */
    expect_words(mapped, words, WORDS, backing_words[_i]);
    OK(eum_stream_synchronize(stream));
    expect_words(mapped, words, WORDS, backing_words[_i]);
    CUDA(cudaMemcpy(&got, sum, 8, cudaMemcpyDeviceToHost));
    view = words;
    ck_assert_uint_eq(got, model_work(&reads, 1, 1, &view));
    OK(eum_buffer_unmap(buffer, mapped));
    OK(work_on(stream, &writes, 1, 9, NULL, 0, NULL));
    (void)model_work(&writes, 1, 9, &view);
    OK(eum_buffer_map(whole(buffer), EUM_ACCESS_READ, (void **)&mapped));
    expect_words(mapped, words, WORDS, backing_words[_i]);
    OK(eum_buffer_unmap(buffer, mapped));
    CUDA(cudaFree(sum));
    free(words);
    OK(eum_buffer_destroy(buffer));
    close_context();
}
END_TEST

START_TEST(the_cpu_and_a_kernel_write_to_one_page_at_once)
{
    open_backing(_i);
    uint32_t *words = random_words(4096, 7), *view, *mapped;
    eum_buffer *buffer = make_buffer(4096 * 4, EUM_ROLE_AUTO);
    OK(eum_buffer_write(whole(buffer), words));
    for (uint32_t round = 0; round < 6; round++) {
        eum_argument rest = argument(buffer, 400, 4096 * 4 - 400, round % 2 == 0 ? EUM_ACCESS_READ_WRITE : EUM_ACCESS_OVERWRITE);
        OK(eum_buffer_map((eum_view){buffer, 0, 400}, EUM_ACCESS_READ_WRITE, (void **)&mapped));
        OK(work_on(stream, &rest, 1, 300 + round, NULL, 200, NULL));
        for (uint32_t i = 0; i < 100; i++)
            words[i] = mapped[i] = mapped[i] + i * round;
        view = words + 100;
        (void)model_work(&rest, 1, 300 + round, &view);
        OK(eum_buffer_unmap(buffer, mapped));
        OK(eum_buffer_map(whole(buffer), EUM_ACCESS_READ, (void **)&mapped));
        expect_words(mapped, words, 4096, backing_words[_i]);
        OK(eum_buffer_unmap(buffer, mapped));
    }
    free(words);
    OK(eum_buffer_destroy(buffer));
    close_context();
}
END_TEST

/* ------------------------------------------------------------------------------------------ memory of others -------- */

START_TEST(given_up_memory_has_the_bytes_and_outlives_the_context)
{
    open_backing(_i);
    uint32_t *words = random_words(WORDS, 8);
    eum_buffer *buffer = make_buffer(WORDS * 4, EUM_ROLE_AUTO);
    eum_argument writes = argument(buffer, 0, WORDS * 4, EUM_ACCESS_OVERWRITE);
    eum_raw raw = EUM_RAW_INIT;
    OK(work_on(stream, &writes, 1, 5, NULL, 500, NULL));
    (void)model_work(&writes, 1, 5, &words);
    OK(eum_buffer_into_raw(buffer, &raw));
    OK(eum_context_destroy(context));
    ck_assert_uint_eq(raw.bytes, WORDS * 4);
    expect_words(raw.address, words, WORDS, backing_words[_i]);
    raw.release(raw.release_user, raw.address, raw.bytes);
    CUDA(cudaPeekAtLastError());
    free(words);
}
END_TEST

static void use_wrapped(eum_buffer *buffer, const char *what)
{
    uint32_t *words = random_words(WORDS, 9), *back = malloc(WORDS * 4);
    eum_argument part = argument(buffer, 4096, WORDS * 2, EUM_ACCESS_READ_WRITE),
                 rest = argument(buffer, 40, 4000, EUM_ACCESS_OVERWRITE);
    OK(eum_buffer_write(whole(buffer), words));
    for (uint32_t round = 0; round < 3; round++) {
        uint32_t *view = words + 1024;
        OK(work_on(stream, &part, 1, round, NULL, 0, NULL));
        (void)model_work(&part, 1, round, &view);
        view = words + 10;
        OK(work_on(stream, &rest, 1, round, NULL, 0, NULL));
        (void)model_work(&rest, 1, round, &view);
        OK(eum_buffer_read(whole(buffer), back));
        expect_words(back, words, WORDS, what);
    }
    free(words);
    free(back);
}

static int released;

static void note_release(void *user, void *address, size_t bytes)
{
    (void)bytes;
    ck_assert_ptr_eq(user, address);
    released++;
}

START_TEST(wrapped_memory_of_every_kind)
{
    open_context(EUM_BACKING_AUTO, 0);
    void *pinned, *managed, *device, *registered = NULL, *pageable = NULL;
    CUDA(cudaMallocHost(&pinned, WORDS * 4));
    CUDA(cudaMallocManaged(&managed, WORDS * 4, cudaMemAttachGlobal));
    CUDA(cudaMalloc(&device, WORDS * 4));
    ck_assert_int_eq(posix_memalign(&registered, 4096, WORDS * 4), 0);
    pageable = malloc(WORDS * 4);
    const struct {
        void *address;
        eum_memory memory;
        uint32_t flags;
        eum_backing backing;
        const char *what;
    } kinds[] = {{pinned, EUM_MEMORY_PINNED, 0, EUM_BACKING_MAPPED, "pinned"},
                 {registered, EUM_MEMORY_HOST, EUM_WRAP_REGISTER, EUM_BACKING_MAPPED, "registered"},
                 {pageable, EUM_MEMORY_HOST, 0, EUM_BACKING_MIRRORED, "pageable"},
                 {managed, EUM_MEMORY_MANAGED, 0, EUM_BACKING_MANAGED, "managed"},
                 {device, EUM_MEMORY_DEVICE, 0, EUM_BACKING_DEVICE, "device"}};
    released = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        eum_wrap_config config = EUM_WRAP_CONFIG_INIT;
        eum_buffer *buffer;
        eum_buffer_info info;
        void *mapped;
        config.address = kinds[i].address;
        config.bytes = WORDS * 4;
        config.memory = kinds[i].memory;
        config.flags = kinds[i].flags;
        config.ownership = i % 2 == 0 ? EUM_OWNED : EUM_BORROWED;
        config.release = i % 2 == 0 ? note_release : NULL;
        config.release_user = kinds[i].address;
        OK(eum_buffer_wrap(context, &config, &buffer));
        eum_buffer_info_init(&info);
        OK(eum_buffer_get_info(buffer, &info));
        ck_assert_msg(info.backing == kinds[i].backing, "%s: backing %d", kinds[i].what, (int)info.backing);
        use_wrapped(buffer, kinds[i].what);
        if (kinds[i].memory == EUM_MEMORY_DEVICE) {
            FAILS(eum_buffer_map(whole(buffer), EUM_ACCESS_READ, &mapped), EUM_ERROR_NO_HOST_ACCESS);
        } else {
            OK(eum_buffer_map(whole(buffer), EUM_ACCESS_READ, &mapped));
            ck_assert_ptr_eq(mapped, kinds[i].address);
            OK(eum_buffer_unmap(buffer, mapped));
        }
        OK(eum_buffer_destroy(buffer));
    }
    ck_assert_int_eq(released, 3);
    CUDA(cudaFreeHost(pinned));
    CUDA(cudaFree(managed));
    CUDA(cudaFree(device));
    free(registered);
    free(pageable);
    close_context();
}
END_TEST

START_TEST(memory_of_another_kind_than_was_said_is_refused)
{
    open_context(EUM_BACKING_AUTO, 0);
    eum_wrap_config config = EUM_WRAP_CONFIG_INIT;
    eum_buffer *buffer = NULL;
    config.address = malloc(4096);
    config.bytes = 4096;
    config.memory = EUM_MEMORY_MANAGED;
    FAILS(eum_buffer_wrap(context, &config, &buffer), EUM_ERROR_NOT_SUPPORTED);
    config.memory = EUM_MEMORY_DEVICE;
    FAILS(eum_buffer_wrap(context, &config, &buffer), EUM_ERROR_NOT_SUPPORTED);
    free(config.address);
    close_context();
}
END_TEST

/* ------------------------------------------------------------------------------------------ streams of others ------- */

START_TEST(a_wrapped_stream_orders_with_the_others_and_refuses_while_it_captures)
{
    open_backing(_i);
    cudaStream_t native;
    cudaGraph_t graph;
    eum_stream *wrapped;
    uint32_t *words = random_words(WORDS, 10), *view = words;
    eum_buffer *buffer = make_buffer(WORDS * 4, EUM_ROLE_AUTO);
    eum_argument all = argument(buffer, 0, WORDS * 4, EUM_ACCESS_READ_WRITE);
    CUDA(cudaStreamCreateWithFlags(&native, cudaStreamNonBlocking));
    OK(eum_stream_wrap(context, native, &wrapped));
    OK(eum_buffer_write(whole(buffer), words));
    for (uint32_t round = 0; round < 10; round++) {
        OK(work_on(round % 2 == 0 ? wrapped : stream, &all, 1, round, NULL, 100, NULL));
        (void)model_work(&all, 1, round, &view);
    }
    CUDA(cudaStreamBeginCapture(native, cudaStreamCaptureModeThreadLocal));
    FAILS(work_on(wrapped, &all, 1, 1, NULL, 0, NULL), EUM_ERROR_CAPTURING);
    eum_stream *again;
    FAILS(eum_stream_wrap(context, native, &again), EUM_ERROR_CAPTURING);
    CUDA(cudaStreamEndCapture(native, &graph)); /* the capture was not spoilt */
    CUDA(cudaGraphDestroy(graph));
    OK(work_on(wrapped, &all, 1, 77, NULL, 0, NULL));
    (void)model_work(&all, 1, 77, &view);
    uint32_t *back = malloc(WORDS * 4);
    OK(eum_buffer_read(whole(buffer), back));
    expect_words(back, words, WORDS, backing_words[_i]);
    OK(eum_stream_synchronize(wrapped));
    OK(eum_stream_destroy(wrapped));
    CUDA(cudaStreamDestroy(native));
    OK(eum_buffer_destroy(buffer));
    free(back);
    free(words);
    close_context();
}
END_TEST

START_TEST(kernels_outside_eum_launch_work_on_what_was_acquired)
{
    open_backing(_i);
    cudaStream_t native;
    eum_stream *wrapped;
    uint32_t *words = random_words(WORDS, 11), *more = random_words(WORDS, 12), *views[2] = {words, more};
    eum_buffer *first = make_buffer(WORDS * 4, EUM_ROLE_AUTO), *second = make_buffer(WORDS * 4, EUM_ROLE_AUTO);
    CUDA(cudaStreamCreateWithFlags(&native, cudaStreamNonBlocking));
    OK(eum_stream_wrap(context, native, &wrapped));
    OK(eum_buffer_write(whole(first), words));
    OK(eum_buffer_write(whole(second), more));
    for (uint32_t round = 0; round < 5; round++) {
        eum_argument arguments[2] = {argument(first, 0, WORDS * 4, EUM_ACCESS_READ),
                                     argument(second, 0, WORDS * 4, EUM_ACCESS_READ_WRITE)};
        gpu_work work = {.seed = round, .views = 2, .accesses = {EUM_ACCESS_READ, EUM_ACCESS_READ_WRITE}, .spin_us = 300};
        void *addresses[2], *mapped;
        size_t bytes[2] = {WORDS * 4, WORDS * 4};
        OK(eum_stream_acquire(wrapped, arguments, 2, addresses));
        FAILS(eum_buffer_map(whole(second), EUM_ACCESS_READ, &mapped), EUM_ERROR_MAPPED);
        ck_assert_int_eq(gpu_work_enqueue(&work, addresses, bytes, native), 0);
        OK(eum_stream_release(wrapped, arguments, 2, NULL));
        FAILS(eum_stream_release(wrapped, arguments, 2, NULL), EUM_ERROR_NOT_MAPPED);
        (void)model_work(arguments, 2, round, views);
        OK(eum_buffer_map(whole(second), EUM_ACCESS_READ_WRITE, &mapped));
        expect_words(mapped, more, WORDS, backing_words[_i]);
        ((uint32_t *)mapped)[round] = more[round] = round;
        OK(eum_buffer_unmap(second, mapped));
        OK(work_on(stream, &arguments[1], 1, 40 + round, NULL, 0, NULL));
        (void)model_work(&arguments[1], 1, 40 + round, &more);
    }
    OK(eum_stream_synchronize(wrapped));
    OK(eum_stream_destroy(wrapped));
    CUDA(cudaStreamDestroy(native));
    OK(eum_buffer_destroy(first));
    OK(eum_buffer_destroy(second));
    free(words);
    free(more);
    close_context();
}
END_TEST

static int32_t refuses(const eum_kernel_call *call)
{
    (void)call;
    return (int32_t)cudaErrorInvalidConfiguration;
}

START_TEST(a_callback_that_fails_is_an_error_and_leaves_cuda_clean)
{
    open_backing(_i);
    eum_buffer *buffer = make_buffer(4096, EUM_ROLE_AUTO);
    eum_argument all = argument(buffer, 0, 4096, EUM_ACCESS_READ_WRITE), fresh = argument(buffer, 0, 4096, EUM_ACCESS_OVERWRITE);
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    OK(work_on(stream, &fresh, 1, 1, NULL, 0, NULL));
    config.gpu = refuses;
    config.arguments = &all;
    config.argument_count = 1;
    FAILS(eum_launch(stream, &config, NULL), EUM_ERROR_LAUNCH_FAILED);
    eum_error error = EUM_ERROR_INIT;
    OK(eum_last_error(&error));
    ck_assert_int_eq(error.cuda_code, cudaErrorInvalidConfiguration);
    CUDA(cudaPeekAtLastError());
    OK(work_on(stream, &fresh, 1, 1, NULL, 0, NULL));
    config.gpu = NULL;
    config.cpu = refuses;
    FAILS(eum_launch(stream, &config, NULL), EUM_ERROR_NO_KERNEL);
    OK(eum_buffer_destroy(buffer));
    close_context();
}
END_TEST

START_TEST(more_than_the_budget_is_refused_or_spilled)
{
    open_context(backings[_i], 24 * MIB);
    eum_buffer *buffers[4];
    uint32_t *words[4];
    eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
    size_t count = 0;
    for (; count < 4; count++) {
        eum_status status = eum_buffer_create(context, 8 * MIB, &config, &buffers[count]);
        if (status != EUM_OK)
            break;
        words[count] = random_words(8 * MIB / 4, (uint32_t)count);
        OK(eum_buffer_write(whole(buffers[count]), words[count]));
    }
    ck_assert_uint_eq(count, backings[_i] == EUM_BACKING_MANAGED ? 3 : 4);
    for (uint32_t round = 0; round < 12; round++) {
        eum_argument all = argument(buffers[round % count], 0, 8 * MIB, EUM_ACCESS_READ_WRITE);
        OK(work_on(stream, &all, 1, round, NULL, 0, NULL));
        (void)model_work(&all, 1, round, &words[round % count]);
    }
    for (size_t i = 0; i < count; i++) {
        void *mapped;
        OK(eum_buffer_map(whole(buffers[i]), EUM_ACCESS_READ, &mapped));
        expect_words(mapped, words[i], 8 * MIB / 4, backing_words[_i]);
        OK(eum_buffer_unmap(buffers[i], mapped));
        OK(eum_buffer_destroy(buffers[i]));
        free(words[i]);
    }
    close_context();
}
END_TEST

Suite *gpu_patterns_suite(void);
Suite *gpu_patterns_suite(void)
{
    Suite *suite = suite_create("gpu_patterns");
    TCase *tests = tcase_create("gpu_patterns");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, what_the_cpu_writes_the_gpu_reads, 0, BACKINGS);
    tcase_add_loop_test(tests, what_the_gpu_writes_the_cpu_reads, 0, BACKINGS);
    tcase_add_loop_test(tests, the_cpu_and_the_gpu_write_in_turns, 0, BACKINGS);
    tcase_add_loop_test(tests, eight_streams_in_eight_threads, 0, BACKINGS);
    tcase_add_loop_test(tests, launches_on_many_streams_that_touch_the_same_bytes_are_ordered, 0, BACKINGS);
    tcase_add_loop_test(tests, a_launch_that_conflicts_with_a_map_is_refused_and_readers_share, 0, BACKINGS);
    tcase_add_loop_test(tests, the_cpu_and_a_kernel_write_to_one_page_at_once, 0, BACKINGS);
    tcase_add_loop_test(tests, given_up_memory_has_the_bytes_and_outlives_the_context, 0, BACKINGS);
    tcase_add_test(tests, wrapped_memory_of_every_kind);
    tcase_add_test(tests, memory_of_another_kind_than_was_said_is_refused);
    tcase_add_loop_test(tests, a_wrapped_stream_orders_with_the_others_and_refuses_while_it_captures, 0, BACKINGS);
    tcase_add_loop_test(tests, kernels_outside_eum_launch_work_on_what_was_acquired, 0, BACKINGS);
    tcase_add_loop_test(tests, a_callback_that_fails_is_an_error_and_leaves_cuda_clean, 0, BACKINGS);
    tcase_add_loop_test(tests, more_than_the_budget_is_refused_or_spilled, 0, BACKINGS);
    suite_add_tcase(suite, tests);
    return suite;
}
