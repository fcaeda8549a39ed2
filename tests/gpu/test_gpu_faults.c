/* No page faults in kernels, counted by the driver: the counter itself, every transition, a cosine cycle. Every test that expects none
 * stands beside one that must count some.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Managed memory in use: 128 MiB at most. */
#include <dlfcn.h>

#include "gpu_faults_fixture.h"

/* ------------------------------------------------------------------------------------------------ the counter ------- */

START_TEST(the_counter_counts)
{
    open_context(EUM_BACKING_MANAGED, 0);
    uint32_t *raw;
    size_t bytes = 8 * MIB;
    gpu_work work = {.seed = 1, .views = 1, .accesses = {EUM_ACCESS_READ_WRITE}};
    cudaStream_t own;
    CUDA(cudaStreamCreateWithFlags(&own, cudaStreamNonBlocking));
    CUDA(cudaMallocManaged((void **)&raw, bytes, cudaMemAttachGlobal));
    memset(raw, 1, bytes);
    OK(eum_faults_begin(context));
    ck_assert_int_eq(gpu_work_enqueue(&work, (void *const *)&raw, &bytes, own), 0);
    eum_faults faults = end_window();
    print_faults("raw managed memory, no prefetch", &faults);
    ck_assert_uint_gt(faults.gpu_faults, 0);
    ck_assert_uint_gt(faults.bytes_to_device[EUM_CAUSE_FAULT], 0);
    OK(eum_faults_begin(context));
    ck_assert_int_eq(gpu_work_enqueue(&work, (void *const *)&raw, &bytes, own), 0);
    faults = end_window();
    print_faults("the same again, resident", &faults);
    ck_assert_uint_eq(faults.gpu_faults, 0);
    OK(eum_faults_begin(context));
    uint32_t sum = 0;
    for (size_t i = 0; i < bytes / 4; i += 16)
        sum += ((volatile uint32_t *)raw)[i];
    faults = end_window();
    print_faults("read by the CPU", &faults);
    ck_assert_uint_gt(faults.cpu_faults, 0);
    ck_assert_uint_eq(faults.bytes_to_host[EUM_CAUSE_FAULT], bytes);
    OK(eum_faults_begin(context));
    struct cudaMemLocation device = {.type = cudaMemLocationTypeDevice, .id = 0};
    CUDA(cudaMemPrefetchAsync(raw, bytes, device, 0, own));
    ck_assert_int_eq(gpu_work_enqueue(&work, (void *const *)&raw, &bytes, own), 0);
    faults = end_window();
    print_faults("after a prefetch by hand", &faults);
    ck_assert_uint_eq(faults.gpu_faults, 0);
    ck_assert_uint_eq(faults.bytes_to_device[EUM_CAUSE_PREFETCH], bytes);
    CUDA(cudaFree(raw));
    CUDA(cudaStreamDestroy(own));
    (void)sum;
    double begin = now_ms();
    for (int i = 0; i < 20; i++) {
        OK(eum_faults_begin(context));
        faults = end_window();
        ck_assert_uint_eq(faults.gpu_faults + faults.cpu_faults, 0);
    }
    printf("an empty window takes %.2f ms\n", (now_ms() - begin) / 20);
    close_context();
}
END_TEST

START_TEST(faults_belong_to_buffers)
{
    open_context(EUM_BACKING_MANAGED, 0);
    switch_movement_off();
    eum_buffer *used = make_buffer(3 * MIB, EUM_ROLE_AUTO), *idle = make_buffer(3 * MIB, EUM_ROLE_AUTO);
    eum_buffer *buffers[2] = {used, idle};
    void *mapped;
    for (int i = 0; i < 2; i++) {
        OK(eum_buffer_map(whole(buffers[i]), EUM_ACCESS_OVERWRITE, &mapped));
        memset(mapped, 3, 3 * MIB);
        OK(eum_buffer_unmap(buffers[i], mapped));
    }
    eum_argument reads = argument(used, 0, 3 * MIB, EUM_ACCESS_READ);
    OK(eum_faults_begin(context));
    OK(work_on(stream, &reads, 1, 1, NULL, 0, NULL));
    eum_faults all = end_window(), one = EUM_FAULTS_INIT, other = EUM_FAULTS_INIT;
    OK(eum_buffer_faults(used, &one));
    OK(eum_buffer_faults(idle, &other));
    print_faults("used", &one);
    print_faults("idle", &other);
    ck_assert_uint_gt(one.gpu_faults, 0);
    ck_assert_uint_eq(one.gpu_faults, all.gpu_faults);
    ck_assert_uint_eq(other.gpu_faults, 0);
    ck_assert_uint_eq(other.bytes_to_device[EUM_CAUSE_FAULT], 0);
    OK(eum_buffer_destroy(used));
    OK(eum_buffer_destroy(idle));
    close_context();
}
END_TEST

START_TEST(windows_of_two_contexts_and_windows_out_of_order)
{
    open_context(EUM_BACKING_MANAGED, 0);
    eum_context *first = context;
    eum_faults faults = EUM_FAULTS_INIT;
    FAILS(eum_faults_end(first, &faults), EUM_ERROR_INVALID_STATE);
    OK(eum_faults_begin(first));
    FAILS(eum_faults_begin(first), EUM_ERROR_INVALID_STATE);
    open_context(EUM_BACKING_MANAGED, 0);
    OK(eum_faults_begin(context));
    context = (eum_context *)first;
    (void)end_window();
    OK(eum_faults_begin(context));
    (void)end_window();
    OK(eum_context_destroy(first));
    /* the other one ends with its window open */
}
END_TEST

START_TEST(no_cupti_is_an_error_that_says_so)
{
    open_context(EUM_BACKING_MANAGED, 0);
    char kept[1024] = "";
    const char *was = getenv("EUM_CUPTI");
    if (was != NULL)
        snprintf(kept, sizeof kept, "%s", was);
    setenv("EUM_CUPTI", "/nowhere/libcupti.so", 1);
    FAILS(eum_faults_begin(context), EUM_ERROR_COUNTING_UNAVAILABLE);
    printf("%s\n", sentence());
    ck_assert_ptr_nonnull(strstr(sentence(), "/nowhere/libcupti.so"));
    setenv("EUM_CUPTI", kept, 1);
    OK(eum_faults_begin(context));
    (void)end_window();
    close_context();
}
END_TEST

START_TEST(another_profiler_is_an_error_that_says_so)
{
    open_context(EUM_BACKING_MANAGED, 0);
    const char *path = getenv("EUM_CUPTI");
    void *library = dlopen(path != NULL && *path != 0 ? path : "libcupti.so.13", RTLD_NOW), *subscriber = NULL;
    if (library == NULL) {
        printf("left out: %s\n", dlerror());
        close_context();
        return;
    }
    int (*subscribe)(void **, void *, void *) = NULL, (*unsubscribe)(void *) = NULL;
    *(void **)&subscribe = dlsym(library, "cuptiSubscribe");
    *(void **)&unsubscribe = dlsym(library, "cuptiUnsubscribe");
    ck_assert_int_eq(subscribe(&subscriber, (void *)(uintptr_t)now_ms, NULL), 0);
    FAILS(eum_faults_begin(context), EUM_ERROR_COUNTING_REFUSED);
    printf("%s\n", sentence());
    ck_assert_int_eq(unsubscribe(subscriber), 0);
    OK(eum_faults_begin(context));
    (void)end_window();
    close_context();
}
END_TEST

/* ------------------------------------------------------------------------------------ every transition, by itself --- */

#define MATRIX_BYTES (4 * MIB)

/* A step of a history: h the host overwrites, r reads, m changes the bytes from 100 to 5000; R, W, O the device reads, reads and writes,
 * overwrites; p, q prefetches to the device, to the host; t reads 4 bytes on the device. */
static void do_step(eum_buffer *buffer, char step, uint32_t *words)
{
    void *mapped;
    eum_argument all = argument(buffer, 0, MATRIX_BYTES, EUM_ACCESS_READ);
    switch (step) {
    case 'h':
        OK(eum_buffer_map(whole(buffer), EUM_ACCESS_OVERWRITE, &mapped));
        for (size_t i = 0; i < MATRIX_BYTES / 4; i++)
            words[i] = ((uint32_t *)mapped)[i] = gpu_hash(11, i);
        OK(eum_buffer_unmap(buffer, mapped));
        break;
    case 'r':
        OK(eum_buffer_map(whole(buffer), EUM_ACCESS_READ, &mapped));
        expect_words(mapped, words, MATRIX_BYTES / 4, "matrix");
        OK(eum_buffer_unmap(buffer, mapped));
        break;
    case 'm':
        OK(eum_buffer_map((eum_view){buffer, 100, 4900}, EUM_ACCESS_READ_WRITE, &mapped));
        for (size_t i = 0; i < 4900 / 4; i++)
            words[25 + i] = ((uint32_t *)mapped)[i] += 17;
        OK(eum_buffer_unmap(buffer, mapped));
        break;
    case 'p':
        OK(eum_buffer_prefetch(whole(buffer), 0, NULL));
        break;
    case 'q':
        OK(eum_buffer_prefetch(whole(buffer), EUM_LOCATION_HOST, NULL));
        break;
    case 't':
        all = argument(buffer, 3 * 4096 + 8, 4, EUM_ACCESS_READ);
        OK(work_on(stream, &all, 1, 5, NULL, 0, NULL));
        break;
    default:
        all.access = step == 'R' ? EUM_ACCESS_READ : step == 'W' ? EUM_ACCESS_READ_WRITE : EUM_ACCESS_OVERWRITE;
        OK(work_on(stream, &all, 1, (uint32_t)step, NULL, 0, NULL));
        (void)model_work(&all, 1, (uint32_t)step, &words);
        break;
    }
}

START_TEST(no_transition_faults)
{
    static const char *const histories[] = {"",    "h",  "hR", "hRr", "hW",   "hWr", "hRW",  "O",  "Or",  "hRm", "hWm",
                                            "hRh", "Oh", "hp", "hWq", "hRrW", "hWR", "hWRr", "Ot", "htW", "hRO", "hWhR"};
    static const eum_role roles[] = {EUM_ROLE_AUTO, EUM_ROLE_QUERY, EUM_ROLE_TARGETS, EUM_ROLE_RESULTS, EUM_ROLE_STREAM};
    static const char *const role_words[] = {"auto", "query", "targets", "results", "stream"};
    static const struct {
        size_t offset, bytes;
        bool held; /* a map for writing lives on the page where the view begins */
    } views[] = {{0, MATRIX_BYTES, false}, {5000, 3 * MIB + 100, false}, {3 * 4096 + 8, 4, false}, {5000, 3 * MIB + 100, true}};
    const eum_role role = roles[_i];
    open_context(EUM_BACKING_MANAGED, 0);
    eum_context *counting = keep_counting();
    uint32_t *words = malloc(MATRIX_BYTES);
    int windows = 0, faulting = 0;
    uint64_t cpu_faults = 0;
    for (size_t h = 0; h < sizeof histories / sizeof *histories; h++)
        for (int access = EUM_ACCESS_READ; access <= EUM_ACCESS_OVERWRITE; access++)
            for (size_t v = 0; v < sizeof views / sizeof *views; v++) {
                eum_buffer *buffer = make_buffer(MATRIX_BYTES, role);
                void *held = NULL, *mapped;
                bool defined = histories[h][0] != 0;
                for (const char *step = histories[h]; *step != 0; step++)
                    do_step(buffer, *step, words);
                if (views[v].held)
                    OK(eum_buffer_map((eum_view){buffer, 4096, 400}, EUM_ACCESS_READ_WRITE, &held));
                eum_argument use = argument(buffer, views[v].offset, views[v].bytes, access);
                uint32_t *at = words + views[v].offset / 4;
                OK(eum_faults_begin(context));
                OK(work_on(stream, &use, 1, 99, NULL, 0, NULL));
                eum_faults faults = end_window();
                (void)model_work(&use, 1, 99, &at);
                windows++;
                cpu_faults += faults.cpu_faults;
                if (faults.gpu_faults > 0) {
                    faulting++;
                    printf("FAULTS: role %s, history \"%s\", access %d, bytes %zu at %zu%s: %llu\n", role_words[_i], histories[h],
                           access, views[v].bytes, views[v].offset, views[v].held ? ", page held" : "",
                           (unsigned long long)faults.gpu_faults);
                }
                if (held != NULL)
                    OK(eum_buffer_unmap(buffer, held));
                if (defined || (access == EUM_ACCESS_OVERWRITE && v == 0)) {
                    OK(eum_buffer_map(whole(buffer), EUM_ACCESS_READ, &mapped));
                    expect_words(mapped, words, MATRIX_BYTES / 4, histories[h]);
                    OK(eum_buffer_unmap(buffer, mapped));
                }
                OK(eum_buffer_destroy(buffer));
            }
    printf("role %s: %d transitions, %d with GPU faults, %llu CPU faults\n", role_words[_i], windows, faulting,
           (unsigned long long)cpu_faults);
    ck_assert_int_eq(faulting, 0);
    free(words);
    stop_counting(counting);
    close_context();
}
END_TEST

START_TEST(a_cycle_of_the_cosine_in_every_role_has_no_faults)
{
    open_context(EUM_BACKING_MANAGED, 0);
    const size_t rows = 1000, dim = 768;
    static const eum_role roles[] = {EUM_ROLE_TARGETS, EUM_ROLE_STREAM, EUM_ROLE_AUTO};
    for (int r = 0; r < 3; r++) {
        eum_buffer *query = make_buffer(dim * 4, r == 2 ? EUM_ROLE_AUTO : EUM_ROLE_QUERY);
        eum_buffer *targets = make_buffer(rows * dim * 4, roles[r]);
        eum_buffer *scores = make_buffer(rows * 4, r == 2 ? EUM_ROLE_AUTO : EUM_ROLE_RESULTS);
        OK(eum_faults_begin(context));
        for (uint32_t round = 0; round < 5; round++) {
            float *q, *t, *s;
            OK(eum_buffer_map(whole(query), EUM_ACCESS_OVERWRITE, (void **)&q));
            for (size_t i = 0; i < dim; i++)
                q[i] = (float)gpu_hash(round, i) / 4294967296.0f - 0.5f;
            OK(eum_buffer_unmap(query, q));
            if (round == 0 || roles[r] == EUM_ROLE_STREAM) {
                OK(eum_buffer_map(whole(targets), EUM_ACCESS_OVERWRITE, (void **)&t));
                for (size_t i = 0; i < rows * dim; i++)
                    t[i] = (float)gpu_hash(round + 100, i) / 4294967296.0f - 0.5f;
                OK(eum_buffer_unmap(targets, t));
            }
            eum_cosine_config config = EUM_COSINE_CONFIG_INIT;
            config.executor = EUM_EXECUTOR_DEVICE;
            config.query = whole(query);
            config.targets = whole(targets);
            config.scores = whole(scores);
            config.rows = rows;
            config.dim = dim;
            OK(eum_cosine(stream, &config, NULL));
            OK(eum_buffer_map(whole(scores), EUM_ACCESS_READ, (void **)&s));
            for (size_t i = 0; i < rows; i++)
                if (!(s[i] >= -1 && s[i] <= 1 && s[i] != 0))
                    ck_abort_msg("score %zu is %g", i, (double)s[i]);
            OK(eum_buffer_unmap(scores, s));
        }
        eum_faults faults = end_window();
        print_faults(r == 0   ? "cosine, query + targets + results, 5 rounds"
                     : r == 1 ? "cosine, query + stream + results, 5 rounds"
                              : "cosine, auto, 5 rounds",
                     &faults);
        ck_assert_uint_eq(faults.gpu_faults, 0);
        OK(eum_buffer_destroy(query));
        OK(eum_buffer_destroy(targets));
        OK(eum_buffer_destroy(scores));
    }
    close_context();
}
END_TEST

Suite *gpu_faults_suite(void);
Suite *gpu_faults_suite(void)
{
    Suite *suite = suite_create("gpu_faults");
    TCase *tests = tcase_create("gpu_faults");
    tcase_set_timeout(tests, 150);
    tcase_add_test(tests, the_counter_counts);
    tcase_add_test(tests, faults_belong_to_buffers);
    tcase_add_test(tests, no_cupti_is_an_error_that_says_so);
    tcase_add_test(tests, another_profiler_is_an_error_that_says_so);
    tcase_add_test(tests, windows_of_two_contexts_and_windows_out_of_order);
    tcase_add_loop_test(tests, no_transition_faults, 0, 5);
    tcase_add_test(tests, a_cycle_of_the_cosine_in_every_role_has_no_faults);
    suite_add_tcase(suite, tests);
    return suite;
}
