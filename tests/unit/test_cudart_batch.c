/* What the CUDA device gives the driver to prefetch many ranges by one call: a driver of the test's own stands in for CUDA's, so no device is needed.
 * Built with CUDA only.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "cudart_fixture.h"

Suite *cudart_batch_suite(void);

#define RANGES 100

static struct {
    unsigned long long addresses[RANGES];
    size_t sizes[RANGES], firsts[RANGES];
    cuda_location locations[RANGES];
    size_t count, location_count, calls;
    unsigned long long flags;
    cudaStream_t stream;
    int answer;
    int entered; /* contexts that are pushed and not popped, and modes that are exchanged and not put back */
} driver;

static int current(void **out)
{
    *out = NULL;
    return 0;
}

static int push(void *pushed)
{
    (void)pushed;
    driver.entered++;
    return 0;
}

static int pop(void **out)
{
    *out = NULL;
    driver.entered--;
    return 0;
}

static int exchange(enum cudaStreamCaptureMode *mode)
{
    driver.entered += *mode == cudaStreamCaptureModeRelaxed ? 10 : -10;
    *mode = cudaStreamCaptureModeGlobal;
    return 0;
}

static int prefetch_batch(unsigned long long *addresses, size_t *sizes, size_t count, cuda_location *locations, size_t *firsts,
                          size_t location_count, unsigned long long flags, cudaStream_t on)
{
    ck_assert_int_eq(driver.entered, 11);
    ck_assert(count <= RANGES && location_count <= count);
    memcpy(driver.addresses, addresses, count * sizeof *addresses);
    memcpy(driver.sizes, sizes, count * sizeof *sizes);
    memcpy(driver.locations, locations, location_count * sizeof *locations);
    memcpy(driver.firsts, firsts, location_count * sizeof *firsts);
    driver.count = count;
    driver.location_count = location_count;
    driver.flags = flags;
    driver.stream = on;
    driver.calls++;
    return driver.answer;
}

static cuda_driver cudas; /* put back, where tests share a process */
static cuda_primary primary = {.index = 3, .context = &primary};
static cuda_device fake;
static cuda_stream on;

static void set_up_driver(void)
{
    memset(&driver, 0, sizeof driver);
    cudas = cuda_calls;
    cuda_calls = (cuda_driver){.context_current = current,
                               .context_push = push,
                               .context_pop = pop,
                               .exchange_capture_mode = exchange,
                               .prefetch_batch = prefetch_batch};
    fake.base.caps = (eum_device_caps){.index = 3, .page = 4096, .concurrent_managed = true, .prefetch_many = true};
    fake.log = &silent;
    fake.primary = &primary;
    on.base.device = &fake.base;
    on.native = (cudaStream_t)(uintptr_t)0x5000;
}

static void tear_down_driver(void)
{
    cuda_calls = cudas;
}

#define BASE ((uintptr_t)0x7f0000000000)

static eum_block block_at(uintptr_t address, size_t bytes, bool adopted)
{
    return (eum_block){
        .host = (void *)address, .device = (void *)address, .bytes = bytes, .kind = EUM_MEMORY_MANAGED, .adopted = adopted};
}

START_TEST(each_range_is_of_whole_pages_and_each_run_to_one_place_has_one_location)
{
    const eum_block own = block_at(BASE, 20 * 4096 + 5, false), wrapped = block_at(BASE + MIB + 100, 10000, true);
    const eum_piece pieces[] = {
        {&own, 0, 4096, 3},       {&own, 5000, 10, 3},      {&own, 20 * 4096, 5, EUM_LOCATION_HOST},
        {&wrapped, 0, 10000, -1}, {&wrapped, 9000, 500, 3},
    };
    static const struct {
        uintptr_t address;
        size_t bytes;
    } wanted[] = {
        {BASE, 4096},
        {BASE + 4096, 4096},
        {BASE + 20 * 4096, 4096},
        {BASE + MIB + 100, 10000},
        {BASE + MIB + 2 * 4096, 10100 - 2 * 4096},
    };
    ck_assert_int_eq(cuda_prefetch_many(&on.base, pieces, 5), EUM_OK);
    ck_assert_uint_eq(driver.calls, 1);
    ck_assert_uint_eq(driver.count, 5);
    for (size_t i = 0; i < 5; i++)
        ck_assert_msg(driver.addresses[i] == wanted[i].address && driver.sizes[i] == wanted[i].bytes, "range %zu: %llx, %zu", i,
                      driver.addresses[i], driver.sizes[i]);
    ck_assert_uint_eq(driver.location_count, 3);
    static const size_t firsts[] = {0, 2, 4};
    for (size_t i = 0; i < 3; i++) {
        ck_assert_uint_eq(driver.firsts[i], firsts[i]);
        ck_assert_int_eq(driver.locations[i].type, i == 1 ? CUDA_LOCATION_HOST : CUDA_LOCATION_DEVICE);
        ck_assert_int_eq(driver.locations[i].id, i == 1 ? 0 : 3);
    }
    ck_assert_uint_eq(driver.flags, 0);
    ck_assert_ptr_eq(driver.stream, on.native);
    ck_assert_int_eq(driver.entered, 0);
}
END_TEST

START_TEST(places_that_change_with_every_range_have_a_location_each)
{
    const eum_block own = block_at(BASE, RANGES * 8192, false);
    eum_piece pieces[RANGES];
    for (size_t i = 0; i < RANGES; i++)
        pieces[i] = (eum_piece){&own, i * 8192, 1, i % 2 == 0 ? EUM_LOCATION_HOST : 3};
    ck_assert_int_eq(cuda_prefetch_many(&on.base, pieces, RANGES), EUM_OK);
    ck_assert_uint_eq(driver.count, RANGES);
    ck_assert_uint_eq(driver.location_count, RANGES);
    for (size_t i = 0; i < RANGES; i++)
        ck_assert(driver.firsts[i] == i && driver.addresses[i] == BASE + i * 8192 && driver.sizes[i] == 4096);
}
END_TEST

START_TEST(where_the_stream_or_the_driver_cannot_it_is_not_called)
{
    const eum_block own = block_at(BASE, 8192, false);
    const eum_piece piece = {&own, 0, 8192, 3};
    const cudaStream_t legacy[] = {NULL, cudaStreamLegacy};
    for (size_t i = 0; i < 2; i++) {
        on.native = legacy[i];
        ck_assert_int_eq(cuda_prefetch_many(&on.base, &piece, 1), EUM_ERROR_NOT_SUPPORTED);
    }
    on.native = (cudaStream_t)(uintptr_t)0x5000;
    fake.base.caps.prefetch_many = false;
    ck_assert_int_eq(cuda_prefetch_many(&on.base, &piece, 1), EUM_ERROR_NOT_SUPPORTED);
    ck_assert_uint_eq(driver.calls, 0);
    ck_assert_int_eq(driver.entered, 0);
}
END_TEST

START_TEST(what_the_driver_refuses_is_an_error_with_its_code)
{
    const eum_block own = block_at(BASE, 8192, false);
    const eum_piece piece = {&own, 0, 8192, 3};
    driver.answer = cudaErrorInvalidValue;
    ck_assert_int_eq(cuda_prefetch_many(&on.base, &piece, 1), EUM_ERROR_CUDA);
    eum_error error = EUM_ERROR_INIT;
    ck_assert_int_eq(eum_last_error(&error), EUM_OK);
    ck_assert_int_eq(error.cuda_code, cudaErrorInvalidValue);
    ck_assert_ptr_nonnull(strstr(error.sentence, "Prefetching 1 ranges by one call failed on CUDA device 3"));
    ck_assert_int_eq(driver.entered, 0);
}
END_TEST

Suite *cudart_batch_suite(void)
{
    Suite *suite = suite_create("cudart_batch");
    TCase *tests = tcase_create("cudart_batch");
    tcase_add_checked_fixture(tests, set_up_driver, tear_down_driver);
    tcase_add_test(tests, each_range_is_of_whole_pages_and_each_run_to_one_place_has_one_location);
    tcase_add_test(tests, places_that_change_with_every_range_have_a_location_each);
    tcase_add_test(tests, where_the_stream_or_the_driver_cannot_it_is_not_called);
    tcase_add_test(tests, what_the_driver_refuses_is_an_error_with_its_code);
    suite_add_tcase(suite, tests);
    return suite;
}
