/* The CUDA device. Without one, what opening it says; with one, every operation, with less than 64 MiB of managed memory.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device/device.h"
#include "threads.h"

static eum_log silent;

static eum_status open_index(int32_t index, eum_device **out, eum_reason *out_reason)
{
    eum_device_config config = {.index = index, .log = &silent};
    return eum_cudart_open(&config, out, out_reason);
}

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

#include <cuda_runtime_api.h>

#include "device/cudart.h"

#define MS INT64_C(1000000)
#define MIB ((size_t)1 << 20)

static eum_device *device;
static const struct eum_device_ops *ops;
static eum_dstream *stream;

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

static void set_up(void)
{
    eum_reason reason = 0;
    device = NULL;
    if (open_index(-1, &device, &reason) != EUM_OK)
        return;
    ops = device->ops;
    ck_assert_int_eq(ops->stream_create(device, &stream), EUM_OK);
}

static void drain(eum_dstream *on)
{
    uint64_t sequence = 0;
    ck_assert_int_eq(ops->mark(on, &sequence), EUM_OK);
    ck_assert_int_eq(ops->wait(on, sequence, -1), EUM_OK);
}

/* Nothing of ours may stay behind in CUDA's state. */
static void tear_down(void)
{
    if (device == NULL)
        return;
    ck_assert_int_eq(cudaPeekAtLastError(), cudaSuccess);
    drain(stream);
    ops->stream_destroy(stream);
    ops->close(device);
}

#define NEEDS_DEVICE()                                                                                                             \
    do {                                                                                                                           \
        if (device == NULL)                                                                                                        \
            return;                                                                                                                \
    } while (0)

static eum_block alloc(eum_memory kind, size_t bytes)
{
    eum_block block = {0};
    ck_assert_int_eq(ops->alloc(device, kind, bytes, &block), EUM_OK);
    return block;
}

/* Kernels of the test: what can be enqueued without a compiler for the device. */
static atomic_int finished;
static atomic_bool gate_open;
static int seen_depth, seen_device;

typedef struct fill {
    eum_task task;
    void *address;
    size_t bytes;
    int value, code;
} fill;

static int32_t run_fill(const eum_kernel_call *call)
{
    fill *f = call->user;
    seen_depth = eum_callback_depth;
    seen_device = call->device;
    if (f->code != 0)
        return f->code;
    return (int32_t)cudaMemsetAsync(f->address, f->value, f->bytes, call->stream);
}

/* user: NULL, or another gate. */
static void CUDART_CB hold_gate(void *user)
{
    const atomic_bool *open = user != NULL ? user : &gate_open;
    while (!atomic_load(open))
        (void)usleep(200);
}

static int32_t run_gate(const eum_kernel_call *call)
{
    return (int32_t)cudaLaunchHostFunc(call->stream, hold_gate, call->user);
}

/* A launch that fails without its callback's noticing. */
static int32_t run_careless(const eum_kernel_call *call)
{
    (void)cudaMemcpyAsync(NULL, call, 16, (enum cudaMemcpyKind)77, call->stream);
    return 0;
}

static void note_finish(eum_task *task, eum_status status, int32_t code)
{
    (void)task;
    if (status == EUM_OK && code == 0)
        atomic_fetch_add(&finished, 1);
}

static void init_task(eum_task *task, eum_kernel_fn gpu, void *user)
{
    memset(task, 0, sizeof *task);
    task->gpu = gpu;
    task->finish = note_finish;
    task->call.struct_size = sizeof task->call;
    task->call.user = user;
}

static eum_status submit(eum_dstream *on, eum_kernel_fn gpu)
{
    eum_task task;
    init_task(&task, gpu, NULL);
    return ops->submit(on, &task);
}

static void submit_fill(eum_dstream *on, void *address, size_t bytes, int value)
{
    fill f = {.address = address, .bytes = bytes, .value = value};
    init_task(&f.task, run_fill, &f);
    ck_assert_int_eq(ops->submit(on, &f.task), EUM_OK);
}

static bool all_are(const void *address, size_t bytes, int value)
{
    for (size_t i = 0; i < bytes; i++)
        if (((const unsigned char *)address)[i] != value)
            return false;
    return true;
}

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

START_TEST(a_kernel_is_enqueued_in_a_callback_and_finished_at_once)
{
    NEEDS_DEVICE();
    eum_block block = alloc(EUM_MEMORY_PINNED, 4096);
    submit_fill(stream, block.device, 4096, 7);
    ck_assert_int_eq(atomic_load(&finished), 1);
    ck_assert_int_eq(seen_depth, 1);
    ck_assert_int_eq(seen_device, device->caps.index);
    ck_assert_int_eq(eum_callback_depth, 0);
    drain(stream);
    ck_assert(all_are(block.host, 4096, 7));
    ops->release(device, &block);
}
END_TEST

START_TEST(a_kernel_callback_that_fails_is_launch_failed_with_its_code)
{
    NEEDS_DEVICE();
    eum_error error;
    fill f = {.code = (int)cudaErrorInvalidConfiguration};
    init_task(&f.task, run_fill, &f);
    ck_assert_int_eq(ops->submit(stream, &f.task), EUM_ERROR_LAUNCH_FAILED);
    eum_error_save(&error);
    ck_assert_int_eq(error.cuda_code, cudaErrorInvalidConfiguration);
    ck_assert_str_eq(error.cuda_name, "cudaErrorInvalidConfiguration");
    ck_assert_int_eq(atomic_load(&finished), 0);
}
END_TEST

START_TEST(a_launch_error_that_the_callback_overlooked_is_found)
{
    NEEDS_DEVICE();
    ck_assert_int_eq(submit(stream, run_careless), EUM_ERROR_LAUNCH_FAILED);
    ck_assert_int_eq(atomic_load(&finished), 0);
    ck_assert_int_eq(cudaPeekAtLastError(), cudaSuccess);
}
END_TEST

START_TEST(points_pass_when_the_work_is_done_and_not_before)
{
    NEEDS_DEVICE();
    uint64_t before = 0, gate = 0;
    ck_assert_int_eq(ops->mark(stream, &before), EUM_OK);
    ck_assert_uint_gt(before, 0);
    ck_assert_int_eq(submit(stream, run_gate), EUM_OK);
    ck_assert_int_eq(ops->mark(stream, &gate), EUM_OK);
    ck_assert_uint_gt(gate, before);
    ck_assert_int_eq(ops->wait(stream, before, -1), EUM_OK);
    ck_assert(ops->passed(stream, before));
    ck_assert(!ops->passed(stream, gate));
    ck_assert_int_eq(ops->wait(stream, gate, 0), EUM_ERROR_TIMEOUT);
    int64_t begin = eum_now_ns();
    ck_assert_int_eq(ops->wait(stream, gate, 20 * MS), EUM_ERROR_TIMEOUT);
    ck_assert_int_ge(eum_now_ns() - begin, 20 * MS);
    ck_assert_int_eq(cudaPeekAtLastError(), cudaSuccess);
    atomic_store(&gate_open, true);
    ck_assert_int_eq(ops->wait(stream, gate, INT64_MAX), EUM_OK);
    ck_assert(ops->passed(stream, gate));
}
END_TEST

static void *drain_until(void *arg)
{
    return (void *)(uintptr_t)ops->drain(stream, *(uint64_t *)arg, 5000 * MS);
}

START_TEST(a_wait_for_a_stream_ends_with_the_mark_that_was_made_meanwhile)
{
    NEEDS_DEVICE();
    static atomic_bool later_open;
    uint64_t sequence = 0, later = 0;
    pthread_t waiter;
    void *status = NULL;
    eum_task first, behind;
    init_task(&first, run_gate, NULL);
    init_task(&behind, run_gate, &later_open);
    first.unmarked = behind.unmarked = true;
    ck_assert_int_eq(ops->mark(stream, &sequence), EUM_OK);
    sequence++;
    ck_assert_int_eq(ops->submit(stream, &first), EUM_OK);
    ck_assert_int_eq(ops->drain(stream, sequence, 1 * MS), EUM_ERROR_TIMEOUT);
    ck_assert_int_eq(pthread_create(&waiter, NULL, drain_until, &sequence), 0);
    (void)usleep(2000);
    ck_assert_int_eq(ops->mark(stream, &later), EUM_OK);
    ck_assert_uint_eq(later, sequence);
    ck_assert_int_eq(ops->submit(stream, &behind), EUM_OK); /* somebody else's, who never stops submitting */
    atomic_store(&gate_open, true);
    ck_assert_int_eq(pthread_join(waiter, &status), 0);
    ck_assert_int_eq(ops->drain(stream, sequence, 0), EUM_OK);
    ck_assert_int_eq(ops->drain(stream, sequence + 1, 0), EUM_ERROR_TIMEOUT);
    atomic_store(&later_open, true);
    ck_assert_int_eq((eum_status)(uintptr_t)status, EUM_OK);
    ck_assert_int_eq(ops->drain(stream, sequence + 1, -1), EUM_OK);
    ck_assert_int_eq(cudaPeekAtLastError(), cudaSuccess);
}
END_TEST

START_TEST(more_points_than_there_was_room_for_pass_in_order)
{
    NEEDS_DEVICE();
    uint64_t sequences[300];
    ck_assert_int_eq(submit(stream, run_gate), EUM_OK);
    for (int i = 0; i < 300; i++)
        ck_assert_int_eq(ops->mark(stream, &sequences[i]), EUM_OK);
    ck_assert(!ops->passed(stream, sequences[0]));
    atomic_store(&gate_open, true);
    ck_assert_int_eq(ops->wait(stream, sequences[150], -1), EUM_OK);
    ck_assert(ops->passed(stream, sequences[0]));
    ck_assert_int_eq(ops->wait(stream, sequences[299], -1), EUM_OK);
    for (int i = 0; i < 2000; i++) { /* nobody asks: the stream retires them by itself */
        uint64_t sequence;
        ck_assert_int_eq(ops->mark(stream, &sequence), EUM_OK);
    }
}
END_TEST

START_TEST(order_makes_one_stream_wait_for_another)
{
    NEEDS_DEVICE();
    eum_dstream *second = NULL;
    uint64_t gate = 0, after = 0;
    eum_block block = alloc(EUM_MEMORY_PINNED, 64);
    memset(block.host, 0, 64);
    ck_assert_int_eq(ops->stream_create(device, &second), EUM_OK);
    ck_assert_int_eq(submit(stream, run_gate), EUM_OK);
    ck_assert_int_eq(ops->mark(stream, &gate), EUM_OK);
    ck_assert_int_eq(ops->order(second, stream, gate), EUM_OK);
    submit_fill(second, block.device, 64, 1);
    ck_assert_int_eq(ops->mark(second, &after), EUM_OK);
    ck_assert_int_eq(ops->wait(second, after, 20 * MS), EUM_ERROR_TIMEOUT);
    ck_assert(all_are(block.host, 64, 0));
    atomic_store(&gate_open, true);
    ck_assert_int_eq(ops->synchronize(device), EUM_OK);
    ck_assert(ops->passed(second, after));
    ck_assert(all_are(block.host, 64, 1));
    ck_assert_int_eq(ops->order(second, stream, gate), EUM_OK); /* long passed */
    ops->stream_destroy(second);
    ops->release(device, &block);
}
END_TEST

static void count_call(void *user)
{
    if (eum_callback_depth == 1)
        atomic_fetch_add((atomic_int *)user, 1);
}

START_TEST(host_calls_run_in_stream_order)
{
    NEEDS_DEVICE();
    atomic_int count = 0;
    ck_assert_int_eq(submit(stream, run_gate), EUM_OK);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(ops->host_call(stream, count_call, &count), EUM_OK);
    (void)usleep(5000);
    ck_assert_int_eq(atomic_load(&count), 0);
    atomic_store(&gate_open, true);
    drain(stream);
    ck_assert_int_eq(atomic_load(&count), 10);
}
END_TEST

START_TEST(a_stream_that_captures_is_refused_and_the_capture_survives)
{
    NEEDS_DEVICE();
    cudaStream_t native;
    cudaGraph_t graph = NULL;
    eum_dstream *wrapped = NULL, *refused = NULL;
    uint64_t sequence;
    eum_block block = alloc(EUM_MEMORY_MANAGED, 4096);
    ck_assert_int_eq(cudaStreamCreate(&native), cudaSuccess);
    ck_assert_int_eq(ops->stream_wrap(device, native, &wrapped), EUM_OK);
    submit_fill(wrapped, block.device, 4096, 2);
    drain(wrapped);
    ck_assert_int_eq(cudaStreamBeginCapture(native, cudaStreamCaptureModeGlobal), cudaSuccess);
    ck_assert_int_eq(ops->stream_wrap(device, native, &refused), EUM_ERROR_CAPTURING);
    ck_assert_ptr_null(refused);
    ck_assert_int_eq(submit(wrapped, run_fill), EUM_ERROR_CAPTURING);
    ck_assert_int_eq(ops->mark(wrapped, &sequence), EUM_ERROR_CAPTURING);
    ck_assert_int_eq(ops->copy(wrapped, block.device, block.host, 1, EUM_HOST_TO_DEVICE), EUM_ERROR_CAPTURING);
    ck_assert_int_eq(ops->host_call(wrapped, count_call, NULL), EUM_ERROR_CAPTURING);
    if (device->caps.concurrent_managed)
        ck_assert_int_eq(ops->prefetch(wrapped, &block, 0, 4096, device->caps.index), EUM_ERROR_CAPTURING);
    eum_block meanwhile = alloc(EUM_MEMORY_DEVICE, 1 * MIB); /* forbidden to others while a capture is on */
    submit_fill(stream, meanwhile.device, 100, 1);
    drain(stream);
    ops->release(device, &meanwhile);
    ck_assert_int_eq(cudaStreamEndCapture(native, &graph), cudaSuccess);
    ck_assert_int_eq(cudaGraphDestroy(graph), cudaSuccess);
    submit_fill(wrapped, block.device, 4096, 3);
    drain(wrapped);
    ops->stream_destroy(wrapped);
    ck_assert(all_are(block.host, 4096, 3));
    ck_assert_int_eq(cudaStreamSynchronize(native), cudaSuccess); /* still the caller's */
    ck_assert_int_eq(cudaStreamDestroy(native), cudaSuccess);
    ops->release(device, &block);
}
END_TEST

START_TEST(the_legacy_stream_can_be_wrapped_and_the_per_thread_one_cannot)
{
    NEEDS_DEVICE();
    eum_dstream *legacy = NULL, *per_thread = NULL;
    eum_block block = alloc(EUM_MEMORY_MANAGED, 2 * MIB);
    ck_assert_int_eq(ops->stream_wrap(device, NULL, &legacy), EUM_OK);
    submit_fill(legacy, block.device, 2 * MIB, 5);
    ck_assert_int_eq(ops->discard(legacy, &block, 0, 2 * MIB), EUM_ERROR_NOT_SUPPORTED);
    drain(legacy);
    ck_assert(all_are(block.host, 2 * MIB, 5));
    ops->stream_destroy(legacy);
    ck_assert_int_eq(ops->stream_wrap(device, cudaStreamPerThread, &per_thread), EUM_ERROR_NOT_SUPPORTED);
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

static void *mark_often(void *arg)
{
    (void)arg;
    eum_dstream *own = NULL;
    ck_assert_int_eq(ops->stream_create(device, &own), EUM_OK);
    for (int i = 0; i < 500; i++) {
        uint64_t sequence = 0;
        ck_assert_int_eq(ops->mark(own, &sequence), EUM_OK);
        if (i % 3 == 0)
            ck_assert_int_eq(ops->wait(own, sequence, -1), EUM_OK);
        else
            (void)ops->passed(own, sequence);
    }
    drain(own);
    ops->stream_destroy(own);
    return NULL;
}

START_TEST(streams_of_several_threads_share_the_events)
{
    NEEDS_DEVICE();
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, mark_often, NULL), 0);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
}
END_TEST

START_TEST(the_callers_current_device_stays_current)
{
    NEEDS_DEVICE();
    int devices = 0, now = -1;
    ck_assert_int_eq(cudaGetDeviceCount(&devices), cudaSuccess);
    int chosen = devices - 1; /* another one than ours where there are several */
    ck_assert_int_eq(cudaSetDevice(chosen), cudaSuccess);
    eum_block block = alloc(EUM_MEMORY_DEVICE, 4096);
    submit_fill(stream, block.device, 4096, 1);
    drain(stream);
    ck_assert_int_eq(seen_device, device->caps.index);
    ops->release(device, &block);
    ck_assert_int_eq(cudaGetDevice(&now), cudaSuccess);
    ck_assert_int_eq(now, chosen);
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
    tcase_add_test(tests, discarded_pages_are_usable_again);
    tcase_add_test(tests, a_kernel_is_enqueued_in_a_callback_and_finished_at_once);
    tcase_add_test(tests, a_kernel_callback_that_fails_is_launch_failed_with_its_code);
    tcase_add_test(tests, a_launch_error_that_the_callback_overlooked_is_found);
    tcase_add_test(tests, points_pass_when_the_work_is_done_and_not_before);
    tcase_add_test(tests, a_wait_for_a_stream_ends_with_the_mark_that_was_made_meanwhile);
    tcase_add_test(tests, more_points_than_there_was_room_for_pass_in_order);
    tcase_add_test(tests, order_makes_one_stream_wait_for_another);
    tcase_add_test(tests, host_calls_run_in_stream_order);
    tcase_add_test(tests, a_stream_that_captures_is_refused_and_the_capture_survives);
    tcase_add_test(tests, the_legacy_stream_can_be_wrapped_and_the_per_thread_one_cannot);
    tcase_add_test(tests, memory_of_others_is_taken_as_what_it_is_and_nothing_else);
    tcase_add_test(tests, registered_host_memory_is_reached_in_place_and_can_be_registered_again);
    tcase_add_test(tests, memory_registered_in_part_is_not_pinned_and_in_pieces_it_is_not_pinned_at_once);
    tcase_add_test(tests, memory_that_was_given_up_is_freed_after_the_device_on_another_thread);
    tcase_add_test(tests, small_pinned_blocks_are_apart_and_serve_again);
    tcase_add_test(tests, streams_of_several_threads_share_the_events);
    tcase_add_test(tests, the_callers_current_device_stays_current);
    suite_add_tcase(suite, tests);
    return suite;
}

#endif
