/* Many ranges of managed memory prefetched by one call (CUDA 13): by force, since the driver's call may wait until the pages have moved. The data are
 * right and no kernel faults, as with a call for each range. Managed memory in use: 20 MiB at most.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "gpu_faults_fixture.h"

#define BUFFERS 32
#define MOST_BYTES ((size_t)100 << 10)
#define ROUNDS 4

static const char *const settings[] = {"always", "never", "auto"};

static void open_batching(const char *setting)
{
    setenv("EUM_PREFETCH_BATCH", setting, 1);
    open_context(EUM_BACKING_MANAGED, 0);
}

static bool has_call(void)
{
    eum_info info;
    eum_info_init(&info);
    OK(eum_context_info(context, &info));
    return info.concurrent_managed && info.driver_version >= 13000;
}

static uint64_t batches(void)
{
    eum_stats stats;
    eum_stats_init(&stats);
    OK(eum_context_stats(context, &stats));
    return stats.prefetch_batches;
}

/* By default as many as the costs say: none, where the call waits. */
static void expect_batches(const char *setting, uint64_t before, uint64_t most)
{
    eum_costs_info costs = EUM_COSTS_INFO_INIT;
    OK(eum_context_costs(context, &costs));
    bool wanted =
        has_call() && (strcmp(setting, "always") == 0 || (strcmp(setting, "auto") == 0 && costs.prefetch_batch_waits == 0));
    ck_assert_uint_eq(batches() - before, wanted ? most : 0);
}

static void fill(eum_buffer *buffer, uint32_t *words, size_t bytes, uint32_t seed)
{
    uint32_t *mapped;
    OK(eum_buffer_map((eum_view){buffer, 0, bytes}, EUM_ACCESS_OVERWRITE, (void **)&mapped));
    for (size_t i = 0; i < bytes / 4; i++)
        mapped[i] = words[i] = gpu_hash(seed, i);
    OK(eum_buffer_unmap(buffer, mapped));
}

static void compare(eum_buffer *buffer, const uint32_t *words, size_t bytes, const char *what)
{
    uint32_t *mapped;
    OK(eum_buffer_map((eum_view){buffer, 0, bytes}, EUM_ACCESS_READ, (void **)&mapped));
    expect_words(mapped, words, bytes / 4, what);
    OK(eum_buffer_unmap(buffer, mapped));
}

/* ----------------------------------------------------------------------------------------------- many buffers ------ */

static eum_buffer *buffers[BUFFERS];
static uint32_t words[BUFFERS][MOST_BYTES / 4];
static eum_argument arguments[BUFFERS];

static size_t bytes_of(size_t i)
{
    return i % 3 == 0 ? 4 * (i + 1) : MOST_BYTES - 4096 * (i % 8);
}

/* Four views each, which are there; and the same on the CPU. */
static void work_on_all(uint32_t seed)
{
    for (size_t i = 0; i < BUFFERS; i += GPU_VIEWS) {
        uint32_t *views[GPU_VIEWS];
        for (size_t v = 0; v < GPU_VIEWS; v++)
            views[v] = words[i + v];
        OK(work_on(stream, arguments + i, GPU_VIEWS, seed + (uint32_t)i, NULL, 0, NULL));
        (void)model_work(arguments + i, GPU_VIEWS, seed + (uint32_t)i, views);
    }
}

START_TEST(many_small_buffers_are_brought_by_one_call_without_faults)
{
    const eum_access access = 1 + _i % 3;
    const char *setting = settings[_i / 3];
    open_batching(setting);
    eum_context *counting = keep_counting();
    for (size_t i = 0; i < BUFFERS; i++) {
        buffers[i] = make_buffer(bytes_of(i), EUM_ROLE_AUTO);
        arguments[i] = argument(buffers[i], 0, bytes_of(i), access);
    }
    for (uint32_t round = 0; round < ROUNDS; round++) {
        void *addresses[BUFFERS];
        for (size_t i = 0; i < BUFFERS; i++)
            fill(buffers[i], words[i], bytes_of(i), 100 * round + (uint32_t)i);
        OK(eum_stream_synchronize(stream)); /* a call that waits is not made behind anything */
        const uint64_t before = batches();
        OK(eum_faults_begin(context));
        OK(eum_stream_acquire(stream, arguments, BUFFERS, addresses));
        OK(eum_stream_release(stream, arguments, BUFFERS, NULL));
        expect_batches(setting, before, 1);
        work_on_all(round);
        const eum_faults faults = end_window();
        if (round == 0)
            print_faults(setting, &faults);
        ck_assert_uint_eq(faults.gpu_faults, 0);
        for (size_t i = 0; i < BUFFERS; i++)
            compare(buffers[i], words[i], bytes_of(i), setting);
    }
    for (size_t i = 0; i < BUFFERS; i++)
        OK(eum_buffer_destroy(buffers[i]));
    stop_counting(counting);
    close_context();
}
END_TEST

/* ----------------------------------------------------------------------------------------- many ranges of a few ---- */

#define VIEW_BYTES ((size_t)4 << 20)
#define RANGE_BYTES ((size_t)64 << 10)

/* The CPU writes every other range of what the device has, so that they come back for that; then a kernel uses all of it. */
START_TEST(many_ranges_of_a_few_buffers_are_brought_by_one_call_without_faults)
{
    const char *setting = settings[_i];
    static uint32_t model[GPU_VIEWS][VIEW_BYTES / 4];
    eum_buffer *views[GPU_VIEWS];
    eum_argument uses[GPU_VIEWS];
    uint32_t *models[GPU_VIEWS];
    open_batching(setting);
    eum_context *counting = keep_counting();
    for (uint32_t v = 0; v < GPU_VIEWS; v++) {
        views[v] = make_buffer(VIEW_BYTES, EUM_ROLE_AUTO);
        uses[v] = argument(views[v], 0, VIEW_BYTES, EUM_ACCESS_READ_WRITE);
        models[v] = model[v];
        fill(views[v], model[v], VIEW_BYTES, v);
    }
    for (uint32_t round = 0; round < ROUNDS; round++) {
        OK(work_on(stream, uses, GPU_VIEWS, 10 * round, NULL, 0, NULL));
        (void)model_work(uses, GPU_VIEWS, 10 * round, models);
        for (uint32_t v = 0; v < GPU_VIEWS; v++)
            for (size_t at = RANGE_BYTES * (v % 2); at < VIEW_BYTES; at += 2 * RANGE_BYTES) {
                uint32_t *mapped;
                OK(eum_buffer_map((eum_view){views[v], at, RANGE_BYTES}, EUM_ACCESS_READ_WRITE, (void **)&mapped));
                for (size_t i = 0; i < RANGE_BYTES / 4; i++)
                    model[v][at / 4 + i] = mapped[i] += 3;
                OK(eum_buffer_unmap(views[v], mapped));
            }
        OK(eum_stream_synchronize(stream));
        const uint64_t before = batches();
        OK(eum_faults_begin(context));
        OK(work_on(stream, uses, GPU_VIEWS, 10 * round + 5, NULL, 0, NULL));
        const eum_faults faults = end_window();
        (void)model_work(uses, GPU_VIEWS, 10 * round + 5, models);
        ck_assert_uint_eq(faults.gpu_faults, 0);
        expect_batches(setting, before, 1);
    }
    for (uint32_t v = 0; v < GPU_VIEWS; v++) {
        compare(views[v], model[v], VIEW_BYTES, setting);
        OK(eum_buffer_destroy(views[v]));
    }
    stop_counting(counting);
    close_context();
}
END_TEST

/* On CUDA's legacy stream the call is not there: each range has its own. */
START_TEST(on_the_legacy_stream_each_range_has_a_call)
{
    open_batching("always");
    eum_stream *legacy = NULL;
    OK(eum_stream_wrap(context, NULL, &legacy));
    static uint32_t model[2][MOST_BYTES / 4];
    eum_buffer *two[2] = {make_buffer(MOST_BYTES, EUM_ROLE_AUTO), make_buffer(MOST_BYTES, EUM_ROLE_AUTO)};
    eum_argument uses[2];
    for (uint32_t i = 0; i < 2; i++) {
        uses[i] = argument(two[i], 0, MOST_BYTES, EUM_ACCESS_READ_WRITE);
        fill(two[i], model[i], MOST_BYTES, i);
    }
    uint32_t *models[2] = {model[0], model[1]};
    OK(work_on(legacy, uses, 2, 1, NULL, 0, NULL));
    (void)model_work(uses, 2, 1, models);
    ck_assert_uint_eq(batches(), 0);
    for (int i = 0; i < 2; i++) {
        compare(two[i], model[i], MOST_BYTES, "legacy");
        OK(eum_buffer_destroy(two[i]));
    }
    OK(eum_stream_destroy(legacy));
    close_context();
}
END_TEST

START_TEST(a_calibration_says_whether_the_call_waits)
{
    open_batching("auto");
    eum_costs_info before = EUM_COSTS_INFO_INIT, after = EUM_COSTS_INFO_INIT;
    OK(eum_context_costs(context, &before));
    ck_assert_uint_eq(before.prefetch_batch_waits, 1);
    OK(eum_context_calibrate(context, &after));
    printf("a prefetch %llu ns; a further range of one call for many %llu ns; that call waits: %llu; calibrated in %.1f ms\n",
           (unsigned long long)after.prefetch_ns, (unsigned long long)after.prefetch_batch_range_ns,
           (unsigned long long)after.prefetch_batch_waits, (double)after.calibration_ns / 1e6);
    ck_assert_uint_le(after.prefetch_batch_waits, 1);
    if (!has_call())
        ck_assert_uint_eq(after.prefetch_batch_range_ns, before.prefetch_batch_range_ns);
    ck_assert_uint_lt(after.calibration_ns, 200 * 1000 * 1000);
    close_context();
}
END_TEST

Suite *gpu_batch_suite(void);
Suite *gpu_batch_suite(void)
{
    Suite *suite = suite_create("gpu_batch");
    TCase *tests = tcase_create("gpu_batch");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, many_small_buffers_are_brought_by_one_call_without_faults, 0, 9);
    tcase_add_loop_test(tests, many_ranges_of_a_few_buffers_are_brought_by_one_call_without_faults, 0, 3);
    tcase_add_test(tests, on_the_legacy_stream_each_range_has_a_call);
    tcase_add_test(tests, a_calibration_says_whether_the_call_waits);
    suite_add_tcase(suite, tests);
    return suite;
}
