/* The CPU as a device: its memory, and what it says it cannot do.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <pthread.h>
#include <stdio.h>

#include "host_device_fixture.h"

Suite *host_device_suite(void);

START_TEST(memory_is_aligned_and_writable_at_every_size)
{
    static const size_t sizes[] = {1, 63, 64, 257, 4096, (2u << 20) - 1, 2u << 20, (2u << 20) + 1, 9u << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        eum_block block = {0};
        ck_assert_int_eq(ops->alloc(device, EUM_MEMORY_HOST, sizes[i], &block), EUM_OK);
        ck_assert_ptr_eq(block.host, block.device);
        ck_assert_uint_eq((uintptr_t)block.host % (sizes[i] >= 2u << 20 ? 2u << 20 : 256), 0);
        ck_assert_uint_eq(block.bytes, sizes[i]);
        ck_assert(!block.adopted);
        memset(block.host, 0xa5, sizes[i]);
        ops->release(device, &block);
    }
}
END_TEST

START_TEST(memory_that_the_machine_does_not_have_is_out_of_memory)
{
    eum_block block = {.bytes = 77};
    ck_assert_int_eq(ops->alloc(device, EUM_MEMORY_HOST, SIZE_MAX, &block), EUM_ERROR_OUT_OF_MEMORY);
    ck_assert_int_eq(ops->alloc(device, EUM_MEMORY_HOST, SIZE_MAX / 4, &block), EUM_ERROR_OUT_OF_MEMORY);
    ck_assert_uint_eq(block.bytes, 77);
}
END_TEST

START_TEST(other_kinds_of_memory_are_not_supported)
{
    eum_block block = {.bytes = 77};
    ck_assert_int_eq(ops->alloc(device, EUM_MEMORY_PINNED, 64, &block), EUM_ERROR_NOT_SUPPORTED);
    ck_assert_int_eq(ops->alloc(device, EUM_MEMORY_MANAGED, 64, &block), EUM_ERROR_NOT_SUPPORTED);
    ck_assert_int_eq(ops->alloc(device, EUM_MEMORY_DEVICE, 64, &block), EUM_ERROR_NOT_SUPPORTED);
    ck_assert_uint_eq(block.bytes, 77);
}
END_TEST

START_TEST(host_and_pinned_memory_of_others_is_used_where_it_is)
{
    static const eum_memory kinds[] = {EUM_MEMORY_HOST, EUM_MEMORY_PINNED};
    char bytes[100];
    for (int i = 0; i < 4; i++) {
        eum_block block = {0};
        ck_assert_int_eq(ops->adopt(device, kinds[i % 2], bytes, sizeof bytes, i >= 2, &block), EUM_OK);
        ck_assert_ptr_eq(block.host, bytes);
        ck_assert_ptr_eq(block.device, bytes);
        ck_assert(block.adopted);
        ops->unadopt(device, &block);
    }
    eum_block block = {0};
    ck_assert_int_eq(ops->adopt(device, EUM_MEMORY_MANAGED, bytes, 1, false, &block), EUM_ERROR_NOT_SUPPORTED);
    ck_assert_int_eq(ops->adopt(device, EUM_MEMORY_DEVICE, bytes, 1, false, &block), EUM_ERROR_NOT_SUPPORTED);
}
END_TEST

typedef struct given {
    eum_release_fn release;
    void *user;
    eum_block block;
} given;

static void *release_given(void *arg)
{
    given *g = arg;
    g->release(g->user, g->block.host, g->block.bytes);
    return NULL;
}

START_TEST(memory_that_was_given_up_is_freed_after_the_device_on_another_thread)
{
    eum_device *other = NULL;
    eum_device_config config = {.index = -1, .log = &silent};
    given items[2];
    ck_assert_int_eq(eum_host_open(&config, &other), EUM_OK);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(other->ops->alloc(other, EUM_MEMORY_HOST, i == 0 ? 100 : 3u << 20, &items[i].block), EUM_OK);
        other->ops->give_up(other, &items[i].block, &items[i].release, &items[i].user);
    }
    other->ops->close(other);
    for (int i = 0; i < 2; i++) {
        memset(items[i].block.host, 1, items[i].block.bytes);
        pthread_t thread;
        ck_assert_int_eq(pthread_create(&thread, NULL, release_given, &items[i]), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
    }
}
END_TEST

START_TEST(the_device_says_what_it_is)
{
    uint64_t unused = 0, total = 0;
    ck_assert_int_eq(device->caps.kind, EUM_DEVICE_HOST);
    ck_assert_str_eq(ops->name, "host");
    ck_assert_uint_gt(strlen(device->caps.name), 0);
    ck_assert(!device->caps.managed && !device->caps.concurrent_managed && !device->caps.discard);
    ck_assert_uint_ge(device->caps.block, device->caps.page);
    ck_assert_int_eq(ops->memory(device, &unused, &total), EUM_OK);
    ck_assert_uint_gt(unused, 0);
    ck_assert_uint_ge(total, unused);
}
END_TEST

START_TEST(movement_advice_and_cuda_streams_are_not_supported)
{
    eum_dstream *stream = make_stream(), *wrapped = NULL;
    eum_block block;
    ck_assert_int_eq(ops->alloc(device, EUM_MEMORY_HOST, 4096, &block), EUM_OK);
    ck_assert_int_eq(ops->prefetch(stream, &block, 0, 4096, 0), EUM_ERROR_NOT_SUPPORTED);
    ck_assert_int_eq(ops->prefetch_many(stream, &(eum_piece){&block, 0, 4096, 0}, 1), EUM_ERROR_NOT_SUPPORTED);
    ck_assert_int_eq(ops->discard(stream, &block, 0, 4096), EUM_ERROR_NOT_SUPPORTED);
    ck_assert_int_eq(ops->advise(device, &block, 0, 4096, EUM_ADVICE_READ_MOSTLY, 0), EUM_ERROR_NOT_SUPPORTED);
    ck_assert_int_eq(ops->stream_wrap(device, &block, &wrapped), EUM_ERROR_NOT_SUPPORTED);
    ck_assert_ptr_null(wrapped);
    ops->release(device, &block);
    ops->stream_destroy(stream);
}
END_TEST

START_TEST(options_are_refused)
{
    eum_device *other = NULL;
    eum_device_config config = {.options = "seed=1", .index = -1, .log = &silent};
    ck_assert_int_eq(eum_host_open(&config, &other), EUM_ERROR_INVALID_ARGUMENT);
    ck_assert_ptr_null(other);
}
END_TEST

Suite *host_device_suite(void)
{
    Suite *suite = suite_create("host_device");
    TCase *tests = tcase_create("host_device");
    tcase_add_checked_fixture(tests, open_device, close_device);
    tcase_add_test(tests, memory_is_aligned_and_writable_at_every_size);
    tcase_add_test(tests, memory_that_the_machine_does_not_have_is_out_of_memory);
    tcase_add_test(tests, other_kinds_of_memory_are_not_supported);
    tcase_add_test(tests, host_and_pinned_memory_of_others_is_used_where_it_is);
    tcase_add_test(tests, memory_that_was_given_up_is_freed_after_the_device_on_another_thread);
    tcase_add_test(tests, the_device_says_what_it_is);
    tcase_add_test(tests, movement_advice_and_cuda_streams_are_not_supported);
    tcase_add_test(tests, options_are_refused);
    suite_add_tcase(suite, tests);
    return suite;
}
