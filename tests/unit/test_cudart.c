/* The CUDA device. Without one, what opening it says; with one, memory of every kind, of which less than 64 MiB is managed.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <pthread.h>

#include "cudart_fixture.h"

Suite *cudart_suite(void);

#if !EUM_HAVE_CUDA

START_TEST(a_build_without_cuda_says_so)
{
    eum_device *device = NULL;
    eum_reason reason = 0;
    ck_assert_int_eq(open_index(-1, &device, &reason), EUM_ERROR_DEVICE_UNAVAILABLE);
    ck_assert_int_eq(reason, EUM_REASON_BUILT_WITHOUT);
    ck_assert_ptr_null(device);
}
END_TEST

Suite *cudart_suite(void)
{
    Suite *suite = suite_create("cudart");
    TCase *tests = tcase_create("cudart");
    tcase_add_test(tests, a_build_without_cuda_says_so);
    suite_add_tcase(suite, tests);
    return suite;
}

#else

static bool there_is_a_driver(void)
{
    int version = 0;
    return cudaDriverGetVersion(&version) == cudaSuccess && version != 0;
}

/* ------------------------------------------------------------------------------------------ with or without --------- */

START_TEST(opening_succeeds_or_says_why_not)
{
    eum_device *opened = NULL;
    eum_reason reason = 0;
    eum_error error;
    eum_status status = open_index(-1, &opened, &reason);
    if (status == EUM_OK) {
        opened->ops->close(opened);
        return;
    }
    ck_assert(status == EUM_ERROR_DRIVER || status == EUM_ERROR_DEVICE_UNAVAILABLE);
    ck_assert_int_ge(reason, EUM_REASON_NO_DRIVER);
    ck_assert_ptr_null(opened);
    eum_error_save(&error);
    ck_assert_uint_gt(strlen(error.sentence), 20);
    if (!there_is_a_driver()) {
        ck_assert_int_eq(reason, EUM_REASON_NO_DRIVER);
        ck_assert_int_eq(status, EUM_ERROR_DRIVER);
    } else {
        ck_assert_int_eq(cudaPeekAtLastError(), cudaSuccess); /* without a driver this asks for one, and that is an error */
    }
}
END_TEST

START_TEST(hidden_devices_are_told_apart_from_missing_ones)
{
    static const char *const values[] = {"", "-1"};
    eum_device *opened = NULL;
    eum_reason reason = 0;
    (void)setenv("CUDA_VISIBLE_DEVICES", values[_i], 1);
    eum_status status = open_index(-1, &opened, &reason);
    if (there_is_a_driver()) {
        ck_assert_int_eq(status, EUM_ERROR_DEVICE_UNAVAILABLE);
        ck_assert_int_eq(reason, EUM_REASON_DEVICES_HIDDEN);
    } else {
        ck_assert_int_eq(reason, EUM_REASON_NO_DRIVER);
    }
    ck_assert_ptr_null(opened);
}
END_TEST

/* Pinned ranges as the driver would tell of them. */
typedef struct told_range {
    uintptr_t begin, end;
    bool managed, elsewhere; /* elsewhere: the driver knows it by another address */
} told_range;
static const told_range told[] = {{0x10000, 0x13000, false, false},
                                  {0x13000, 0x14800, false, false},
                                  {0x16000, 0x17000, false, false},
                                  {0x17000, 0x18000, true, false},
                                  {0x20000, 0x23000, false, true}};
static int questions;

static int tell(unsigned count, const int *attributes, void **out, unsigned long long address)
{
    ck_assert_uint_eq(count, 4);
    ck_assert(attributes[0] == 2 && attributes[1] == 8 && attributes[2] == 11 && attributes[3] == 12);
    questions++;
    *(unsigned *)out[0] = 0, *(unsigned *)out[1] = 0, *(unsigned long long *)out[2] = 0, *(size_t *)out[3] = 0;
    for (size_t i = 0; i < sizeof told / sizeof *told; i++) {
        if (address < told[i].begin || address >= told[i].end)
            continue;
        *(unsigned *)out[0] = 1;
        *(unsigned *)out[1] = told[i].managed;
        *(unsigned long long *)out[2] = told[i].begin + (told[i].elsewhere ? 0x7000000 : 0);
        *(size_t *)out[3] = told[i].end - told[i].begin;
    }
    return 0;
}

static int tell_nothing(unsigned count, const int *attributes, void **out, unsigned long long address)
{
    (void)count, (void)attributes, (void)out, (void)address;
    return cudaErrorInvalidValue;
}

START_TEST(memory_is_pinned_if_all_of_it_is_whatever_registrations_it_is_in)
{
    static const struct {
        uintptr_t begin;
        size_t bytes;
        bool pinned;
        int questions;
    } table[] = {
        {0x10000, 0x3000, true, 1},  /* one registration */
        {0x11234, 0x10, true, 1},    /* a part of it */
        {0x10000, 0x4800, true, 2},  /* two side by side */
        {0x12fff, 2, true, 2},       /* */
        {0x10000, 0x4801, false, 3}, /* and a byte more */
        {0x10000, 0x6001, false, 3}, /* both ends are, the middle is not */
        {0xffff, 2, false, 1},       /* all but the first byte */
        {0x16000, 0x1001, false, 2}, /* managed memory is not pinned */
        {0x20123, 0x2000, true, 3},  /* page by page */
        {0x20000, 0x3000, true, 3},  /* */
        {0x20000, 0x3001, false, 4}, /* */
        {0x30000, 1, false, 1},      /* plain memory */
    };
    const cuda_driver calls = cuda_calls;
    cuda_calls.pointer_attributes = tell;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        questions = 0;
        ck_assert_msg(cuda_all_pinned((const void *)table[i].begin, table[i].bytes) == table[i].pinned, "line %zu", i);
        ck_assert_msg(questions == table[i].questions, "line %zu asked %d times", i, questions);
        ck_assert_msg(cuda_pinned_at_once((const void *)table[i].begin, table[i].bytes) ==
                          (table[i].pinned && table[i].questions == 1),
                      "line %zu, at once", i);
    }
    cuda_calls.pointer_attributes = tell_nothing;
    ck_assert(!cuda_all_pinned((const void *)(uintptr_t)0x10000, 1));
    cuda_calls = calls;
}
END_TEST

/* ------------------------------------------------------------------------------------------------ with one --------- */

START_TEST(the_device_says_what_it_is)
{
    NEEDS_DEVICE();
    uint64_t unused = 0, total = 0;
    const eum_device_caps *caps = &device->caps;
    ck_assert_int_eq(caps->kind, EUM_DEVICE_CUDA);
    ck_assert_uint_gt(strlen(caps->name), 0);
    ck_assert_int_ge(caps->compute_major, 5);
    ck_assert_int_ge(caps->driver_version, 12000);
    ck_assert_int_eq(caps->runtime_version, CUDART_VERSION);
    ck_assert(caps->managed || !caps->concurrent_managed);
    ck_assert_int_eq(ops->memory(device, &unused, &total), EUM_OK);
    ck_assert_uint_gt(total, unused);
    ck_assert_uint_gt(unused, 0);
}
END_TEST

START_TEST(a_device_number_that_does_not_exist_is_an_error_that_counts_them)
{
    NEEDS_DEVICE();
    eum_device *opened = NULL;
    eum_reason reason = 0;
    ck_assert_int_eq(open_index(62, &opened, &reason), EUM_ERROR_DEVICE_UNAVAILABLE);
    ck_assert_int_eq(reason, EUM_REASON_NO_DEVICE);
    ck_assert_ptr_null(opened);
}
END_TEST

START_TEST(memory_of_every_kind_is_aligned_and_usable)
{
    NEEDS_DEVICE();
    static const eum_memory kinds[] = {EUM_MEMORY_PINNED, EUM_MEMORY_MANAGED, EUM_MEMORY_DEVICE};
    static const size_t sizes[] = {1, 100, 5000, 70000, 3 * MIB + 1};
    for (size_t k = 0; k < 3; k++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            eum_block a = alloc(kinds[k], sizes[s]), b = alloc(kinds[k], sizes[s]);
            uintptr_t unit = sizes[s] >= 2 * MIB ? 2 * MIB : 256;
            ck_assert_msg((uintptr_t)a.device % unit == 0, "kind %d, %zu bytes: %p", kinds[k], sizes[s], a.device);
            if (kinds[k] == EUM_MEMORY_MANAGED) {
                ck_assert_ptr_eq(a.host, a.device);
                ck_assert_uint_ne((uintptr_t)a.host / device->caps.page, (uintptr_t)b.host / device->caps.page);
            }
            ck_assert((a.host == NULL) == (kinds[k] == EUM_MEMORY_DEVICE));
            submit_fill(stream, a.device, sizes[s], 0x5a);
            drain(stream);
            if (a.host != NULL)
                ck_assert(all_are(a.host, sizes[s], 0x5a));
            ops->release(device, &a);
            ops->release(device, &b);
        }
}
END_TEST

START_TEST(memory_that_the_device_does_not_have_is_out_of_memory)
{
    NEEDS_DEVICE();
    eum_block block = {.bytes = 77};
    ck_assert_int_eq(ops->alloc(device, EUM_MEMORY_DEVICE, SIZE_MAX, &block), EUM_ERROR_OUT_OF_DEVICE_MEMORY);
    ck_assert_int_eq(ops->alloc(device, EUM_MEMORY_PINNED, SIZE_MAX, &block), EUM_ERROR_OUT_OF_MEMORY);
    ck_assert_int_eq(ops->alloc(device, EUM_MEMORY_DEVICE, (size_t)1 << 46, &block), EUM_ERROR_OUT_OF_DEVICE_MEMORY);
    ck_assert_int_eq(ops->alloc(device, EUM_MEMORY_PINNED, (size_t)1 << 46, &block), EUM_ERROR_OUT_OF_MEMORY);
    ck_assert_int_eq(ops->alloc(device, EUM_MEMORY_HOST, 64, &block), EUM_ERROR_NOT_SUPPORTED);
    ck_assert_uint_eq(block.bytes, 77);
}
END_TEST

START_TEST(copies_go_both_ways_in_stream_order)
{
    NEEDS_DEVICE();
    eum_block host = alloc(EUM_MEMORY_PINNED, 4 * MIB), there = alloc(EUM_MEMORY_DEVICE, 4 * MIB),
              other = alloc(EUM_MEMORY_DEVICE, 4 * MIB);
    char plain[1000], back[1000];
    memset(plain, 3, sizeof plain);
    submit_fill(stream, there.device, 4 * MIB, 9);
    ck_assert_int_eq(ops->copy(stream, (char *)there.device + 100, plain, sizeof plain, EUM_HOST_TO_DEVICE), EUM_OK);
    ck_assert_int_eq(ops->copy(stream, other.device, there.device, 4 * MIB, EUM_DEVICE_TO_DEVICE), EUM_OK);
    ck_assert_int_eq(ops->copy(stream, host.host, other.device, 4 * MIB, EUM_DEVICE_TO_HOST), EUM_OK);
    ck_assert_int_eq(ops->copy(stream, back, (char *)host.host + 100, sizeof back, EUM_HOST_TO_HOST), EUM_OK);
    drain(stream);
    ck_assert(all_are(host.host, 100, 9));
    ck_assert(all_are((char *)host.host + 100, 1000, 3));
    ck_assert(all_are((char *)host.host + 1100, 4 * MIB - 1100, 9));
    ck_assert(all_are(back, sizeof back, 3));
    ops->release(device, &host);
    ops->release(device, &there);
    ops->release(device, &other);
}
END_TEST

START_TEST(a_copy_that_cuda_refuses_leaves_no_error_behind)
{
    NEEDS_DEVICE();
    eum_error error;
    ck_assert_int_eq(ops->copy(stream, NULL, NULL, 64, EUM_HOST_TO_DEVICE), EUM_ERROR_CUDA);
    eum_error_save(&error);
    ck_assert_int_eq(error.cuda_code, cudaErrorInvalidValue);
    ck_assert_str_eq(error.cuda_name, "cudaErrorInvalidValue");
    ck_assert_int_eq(cudaPeekAtLastError(), cudaSuccess);
}
END_TEST

START_TEST(managed_pages_are_prefetched_and_advised_and_keep_their_bytes)
{
    NEEDS_DEVICE();
    eum_block block = alloc(EUM_MEMORY_MANAGED, 5 * MIB + 77);
    if (!device->caps.concurrent_managed) {
        ck_assert_int_eq(ops->prefetch(stream, &block, 0, 10, 0), EUM_ERROR_NOT_SUPPORTED);
        ck_assert_int_eq(ops->advise(device, &block, 0, 10, EUM_ADVICE_READ_MOSTLY, 0), EUM_ERROR_NOT_SUPPORTED);
    } else {
        int32_t here = device->caps.index;
        memset(block.host, 6, block.bytes);
        for (eum_advice advice = EUM_ADVICE_READ_MOSTLY; advice <= EUM_ADVICE_UNSET_ACCESSED_BY; advice++) {
            ck_assert_int_eq(ops->advise(device, &block, 0, block.bytes, advice, here), EUM_OK);
            ck_assert_int_eq(ops->prefetch(stream, &block, 0, block.bytes, here), EUM_OK);
            ck_assert_int_eq(ops->prefetch(stream, &block, 4097, 1, EUM_LOCATION_HOST), EUM_OK);
        }
        ck_assert_int_eq(ops->advise(device, &block, 0, block.bytes, EUM_ADVICE_PREFERRED_LOCATION, EUM_LOCATION_HOST), EUM_OK);
        ck_assert_int_eq(ops->prefetch(stream, &block, block.bytes - 1, 1, here), EUM_OK);
        ck_assert_int_eq(ops->prefetch(stream, &block, 0, block.bytes, EUM_LOCATION_HOST), EUM_OK);
        drain(stream);
        ck_assert(all_are(block.host, block.bytes, 6));
        ck_assert_int_ne(ops->prefetch(stream, &block, 0, 4096, 61), EUM_OK); /* no such device */
    }
    ops->release(device, &block);
    eum_block small = alloc(EUM_MEMORY_MANAGED, 10);
    if (device->caps.concurrent_managed)
        ck_assert_int_eq(ops->prefetch(stream, &small, 3, 2, device->caps.index), EUM_OK);
    drain(stream);
    ops->release(device, &small);
}
END_TEST

START_TEST(many_ranges_are_prefetched_by_one_call_and_keep_their_bytes)
{
    NEEDS_DEVICE();
    const int32_t here = device->caps.index;
    if (!device->caps.managed)
        return;
    eum_block a = alloc(EUM_MEMORY_MANAGED, 8 * MIB), b = alloc(EUM_MEMORY_MANAGED, 12345);
    memset(a.host, 3, a.bytes);
    memset(b.host, 4, b.bytes);
    eum_piece pieces[34];
    for (size_t i = 0; i < 32; i++) /* every other 128 KiB, here and back in turns */
        pieces[i] = (eum_piece){&a, i * (MIB / 4), MIB / 8 + i, i % 4 == 3 ? EUM_LOCATION_HOST : here};
    pieces[32] = (eum_piece){&b, 12344, 1, here};
    pieces[33] = (eum_piece){&b, 5, 10, here};
    if (!device->caps.prefetch_many) {
        ck_assert_int_eq(ops->prefetch_many(stream, pieces, 34), EUM_ERROR_NOT_SUPPORTED);
    } else {
        ck_assert_int_eq(ops->prefetch_many(stream, pieces, 34), EUM_OK);
        submit_fill(stream, (char *)a.device + MIB / 4, MIB / 8, 5);
        drain(stream);
        pieces[1].where = 61; /* no such device */
        ck_assert_int_ne(ops->prefetch_many(stream, pieces, 34), EUM_OK);
        ck_assert_int_eq(cudaPeekAtLastError(), cudaSuccess);
        ck_assert(all_are((char *)a.host + MIB / 4, MIB / 8, 5));
        ck_assert(all_are(a.host, MIB / 4, 3) && all_are((char *)a.host + MIB / 4 + MIB / 8, 8 * MIB - MIB / 4 - MIB / 8, 3));
        ck_assert(all_are(b.host, b.bytes, 4));
    }
    ops->release(device, &a);
    ops->release(device, &b);
}
END_TEST

START_TEST(discarded_pages_are_usable_again)
{
    NEEDS_DEVICE();
    eum_block block = alloc(EUM_MEMORY_MANAGED, 4 * MIB);
    if (!device->caps.discard) {
        ck_assert_int_eq(ops->discard(stream, &block, 0, 2 * MIB), EUM_ERROR_NOT_SUPPORTED);
    } else {
        memset(block.host, 8, block.bytes);
        ck_assert_int_eq(ops->discard(stream, &block, 2 * MIB, 2 * MIB), EUM_OK);
        ck_assert_int_eq(ops->prefetch(stream, &block, 2 * MIB, 2 * MIB, device->caps.index), EUM_OK);
        submit_fill(stream, (char *)block.device + 2 * MIB, 2 * MIB, 4);
        drain(stream);
        ck_assert(all_are(block.host, 2 * MIB, 8));
        ck_assert(all_are((char *)block.host + 2 * MIB, 2 * MIB, 4));
    }
    ops->release(device, &block);
}
END_TEST

START_TEST(memory_of_others_is_taken_as_what_it_is_and_nothing_else)
{
    NEEDS_DEVICE();
    eum_block own[3] = {alloc(EUM_MEMORY_PINNED, 8192), alloc(EUM_MEMORY_MANAGED, 8192), alloc(EUM_MEMORY_DEVICE, 8192)};
    void *plain = aligned_alloc(4096, 8192);
    ck_assert_ptr_nonnull(plain);
    void *addresses[] = {NULL, plain, own[0].host, own[1].host, own[2].device};
    for (eum_memory named = EUM_MEMORY_PINNED; named <= EUM_MEMORY_DEVICE; named++)
        for (eum_memory is = EUM_MEMORY_HOST; is <= EUM_MEMORY_DEVICE; is++) {
            eum_block block = {0};
            eum_status status = ops->adopt(device, named, addresses[is], 8192, false, &block);
            ck_assert_msg((status == EUM_OK) == (named == is), "kind %d named %d gave %d", is, named, status);
            if (status != EUM_OK) {
                ck_assert_int_eq(status, EUM_ERROR_NOT_SUPPORTED);
                continue;
            }
            ck_assert(block.adopted && block.device != NULL);
            ck_assert((block.host == NULL) == (is == EUM_MEMORY_DEVICE));
            ops->unadopt(device, &block);
        }
    for (int i = 0; i < 3; i++)
        ops->release(device, &own[i]);
    free(plain);
}
END_TEST

START_TEST(registered_host_memory_is_reached_in_place_and_can_be_registered_again)
{
    NEEDS_DEVICE();
    char *plain = aligned_alloc(4096, 64 * 1024);
    ck_assert_ptr_nonnull(plain);
    for (int round = 0; round < 2; round++) {
        eum_block block = {0}, twice = {0};
        ck_assert_int_eq(ops->adopt(device, EUM_MEMORY_HOST, plain, 64 * 1024, true, &block), EUM_OK);
        ck_assert_ptr_nonnull(block.device);
        ck_assert_int_eq(ops->adopt(device, EUM_MEMORY_HOST, plain, 64 * 1024, true, &twice), EUM_OK);
        ops->unadopt(device, &twice); /* leaves the pages pinned for the first */
        submit_fill(stream, block.device, 64 * 1024, 11 + round);
        drain(stream);
        ck_assert(all_are(plain, 64 * 1024, 11 + round));
        ops->unadopt(device, &block);
    }
    eum_block unpinned = {0};
    ck_assert_int_eq(ops->adopt(device, EUM_MEMORY_HOST, plain, 64 * 1024, false, &unpinned), EUM_OK);
    ck_assert((unpinned.device != NULL) == device->caps.pageable);
    ops->unadopt(device, &unpinned);
    free(plain);
}
END_TEST

START_TEST(memory_registered_in_part_is_not_pinned_and_in_pieces_it_is_not_pinned_at_once)
{
    NEEDS_DEVICE();
    const size_t piece = 64 * 1024;
    char *plain = aligned_alloc(4096, 3 * piece);
    eum_block block = {0};
    ck_assert_ptr_nonnull(plain);
    ck_assert(!ops->is_pinned(device, plain, 3 * piece));
    ck_assert_int_eq(cudaHostRegister(plain, piece, cudaHostRegisterPortable), cudaSuccess);
    ck_assert_int_eq(cudaHostRegister(plain + 2 * piece, piece, cudaHostRegisterPortable), cudaSuccess);
    ck_assert(ops->is_pinned(device, plain, piece) && ops->is_pinned(device, plain + 2 * piece + 1, piece - 1));
    ck_assert(!ops->is_pinned(device, plain, 3 * piece)); /* both ends are */
    ck_assert(!ops->is_pinned(device, plain, piece + 1) && !ops->is_pinned(device, plain + piece, 1));
    ck_assert_int_eq(ops->adopt(device, EUM_MEMORY_PINNED, plain, 3 * piece, false, &block), EUM_ERROR_NOT_SUPPORTED);
    ck_assert_int_eq(cudaHostRegister(plain + piece, piece, cudaHostRegisterPortable), cudaSuccess);
    ck_assert(!ops->is_pinned(device, plain, 3 * piece) &&
              ops->is_pinned(device, plain + piece, piece));                                          /* no one copy can take it */
    ck_assert_int_eq(ops->adopt(device, EUM_MEMORY_PINNED, plain, 3 * piece, false, &block), EUM_OK); /* but a kernel can */
    for (size_t i = 0; i < 3; i++)
        submit_fill(stream, (char *)block.device + i * piece, piece, 7); /* nor one memset */
    drain(stream);
    ck_assert(all_are(plain, 3 * piece, 7));
    ops->unadopt(device, &block);
    for (size_t i = 0; i < 3; i++)
        ck_assert_int_eq(cudaHostUnregister(plain + i * piece), cudaSuccess);
    ck_assert_int_eq(cudaPeekAtLastError(), cudaSuccess);
    free(plain);
}
END_TEST

typedef struct given {
    eum_release_fn release;
    void *user, *address;
} given;

static void *release_given(void *arg)
{
    given *g = arg;
    g->release(g->user, g->address, 2 * MIB);
    return NULL;
}

START_TEST(memory_that_was_given_up_is_freed_after_the_device_on_another_thread)
{
    NEEDS_DEVICE();
    static const eum_memory kinds[] = {EUM_MEMORY_PINNED, EUM_MEMORY_MANAGED, EUM_MEMORY_DEVICE};
    given items[3];
    eum_device *other = NULL;
    eum_reason reason;
    ck_assert_int_eq(open_index(-1, &other, &reason), EUM_OK);
    for (int i = 0; i < 3; i++) {
        eum_block block = {0};
        ck_assert_int_eq(other->ops->alloc(other, kinds[i], 2 * MIB, &block), EUM_OK);
        other->ops->give_up(other, &block, &items[i].release, &items[i].user);
        items[i].address = block.host != NULL ? block.host : block.device;
    }
    other->ops->close(other);
    for (int i = 0; i < 3; i++) {
        pthread_t thread;
        struct cudaPointerAttributes attributes;
        ck_assert_int_eq(pthread_create(&thread, NULL, release_given, &items[i]), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        cudaError_t error = cudaPointerGetAttributes(&attributes, items[i].address);
        ck_assert(error != cudaSuccess || attributes.type == cudaMemoryTypeUnregistered);
        (void)cudaGetLastError();
    }
}
END_TEST

/* More small blocks than fit in two slabs: none overlaps another, all can be written from both sides, and they serve again once they are free. */
START_TEST(small_pinned_blocks_are_apart_and_serve_again)
{
    NEEDS_DEVICE();
    enum { BLOCKS = 400 };
    static eum_block blocks[BLOCKS];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < BLOCKS; i++) {
            size_t bytes = (size_t)(1 + i % 7) * 3000;
            blocks[i] = alloc(EUM_MEMORY_PINNED, bytes);
            memset(blocks[i].host, i & 0xff, bytes);
        }
        eum_block there = alloc(EUM_MEMORY_DEVICE, 64 * 1024);
        for (int i = 0; i < BLOCKS; i++) {
            const unsigned char *bytes = blocks[i].host;
            ck_assert_uint_eq(bytes[0], i & 0xff);
            ck_assert_uint_eq(bytes[blocks[i].bytes - 1], i & 0xff);
            ck_assert_int_eq(ops->copy(stream, there.device, blocks[i].host, blocks[i].bytes, EUM_HOST_TO_DEVICE), EUM_OK);
            ck_assert_int_eq(ops->copy(stream, blocks[i].device, there.device, blocks[i].bytes, EUM_DEVICE_TO_DEVICE), EUM_OK);
        }
        drain(stream);
        for (int i = 0; i < BLOCKS; i++)
            ck_assert_uint_eq(((const unsigned char *)blocks[i].host)[blocks[i].bytes / 2], i & 0xff);
        for (int i = 0; i < BLOCKS; i++)
            ops->release(device, &blocks[(i * 7) % BLOCKS]); /* 7 and 400 have no common divisor: each once */
        ops->release(device, &there);
    }
}
END_TEST

Suite *cudart_suite(void)
{
    Suite *suite = suite_create("cudart");
    TCase *any = tcase_create("opening");
    tcase_add_test(any, opening_succeeds_or_says_why_not);
    tcase_add_loop_test(any, hidden_devices_are_told_apart_from_missing_ones, 0, 2);
    tcase_add_test(any, memory_is_pinned_if_all_of_it_is_whatever_registrations_it_is_in);
    suite_add_tcase(suite, any);
    TCase *tests = tcase_create("operations");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, the_device_says_what_it_is);
    tcase_add_test(tests, a_device_number_that_does_not_exist_is_an_error_that_counts_them);
    tcase_add_test(tests, memory_of_every_kind_is_aligned_and_usable);
    tcase_add_test(tests, memory_that_the_device_does_not_have_is_out_of_memory);
    tcase_add_test(tests, copies_go_both_ways_in_stream_order);
    tcase_add_test(tests, a_copy_that_cuda_refuses_leaves_no_error_behind);
    tcase_add_test(tests, managed_pages_are_prefetched_and_advised_and_keep_their_bytes);
    tcase_add_test(tests, many_ranges_are_prefetched_by_one_call_and_keep_their_bytes);
    tcase_add_test(tests, discarded_pages_are_usable_again);
    tcase_add_test(tests, memory_of_others_is_taken_as_what_it_is_and_nothing_else);
    tcase_add_test(tests, registered_host_memory_is_reached_in_place_and_can_be_registered_again);
    tcase_add_test(tests, memory_registered_in_part_is_not_pinned_and_in_pieces_it_is_not_pinned_at_once);
    tcase_add_test(tests, memory_that_was_given_up_is_freed_after_the_device_on_another_thread);
    tcase_add_test(tests, small_pinned_blocks_are_apart_and_serve_again);
    suite_add_tcase(suite, tests);
    return suite;
}

#endif
