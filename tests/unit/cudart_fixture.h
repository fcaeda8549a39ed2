/* What the tests of the CUDA device share: the device where there is one, and kernels that need no compiler for it.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TESTS_CUDART_FIXTURE_H
#define EUM_TESTS_CUDART_FIXTURE_H

#include <check.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device/device.h"
#include "threads.h"

#define UNUSED __attribute__((unused)) /* not every suite uses all of this */

UNUSED static eum_log silent;

UNUSED static eum_status open_index(int32_t index, eum_device **out, eum_reason *out_reason)
{
    eum_device_config config = {.index = index, .log = &silent};
    return eum_cudart_open(&config, out, out_reason);
}

#if EUM_HAVE_CUDA

#include <cuda_runtime_api.h>

#include "device/cudart.h"

#define MS INT64_C(1000000)
#define MIB ((size_t)1 << 20)

UNUSED static eum_device *device;
UNUSED static const struct eum_device_ops *ops;
UNUSED static eum_dstream *stream;

UNUSED static void set_up(void)
{
    eum_reason reason = 0;
    device = NULL;
    if (open_index(-1, &device, &reason) != EUM_OK)
        return;
    ops = device->ops;
    ck_assert_int_eq(ops->stream_create(device, &stream), EUM_OK);
}

UNUSED static void drain(eum_dstream *on)
{
    uint64_t sequence = 0;
    ck_assert_int_eq(ops->mark(on, &sequence), EUM_OK);
    ck_assert_int_eq(ops->wait(on, sequence, -1), EUM_OK);
}

/* Nothing of ours may stay behind in CUDA's state. */
UNUSED static void tear_down(void)
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

UNUSED static eum_block alloc(eum_memory kind, size_t bytes)
{
    eum_block block = {0};
    ck_assert_int_eq(ops->alloc(device, kind, bytes, &block), EUM_OK);
    return block;
}

/* Kernels of the test: what can be enqueued without a compiler for the device. */
UNUSED static atomic_int finished;
UNUSED static atomic_bool gate_open;
UNUSED static int seen_depth, seen_device;

typedef struct fill {
    eum_task task;
    void *address;
    size_t bytes;
    int value, code;
} fill;

UNUSED static int32_t run_fill(const eum_kernel_call *call)
{
    fill *f = call->user;
    seen_depth = eum_callback_depth;
    seen_device = call->device;
    if (f->code != 0)
        return f->code;
    return (int32_t)cudaMemsetAsync(f->address, f->value, f->bytes, call->stream);
}

/* user: NULL, or another gate. */
UNUSED static void CUDART_CB hold_gate(void *user)
{
    const atomic_bool *open = user != NULL ? user : &gate_open;
    while (!atomic_load(open))
        (void)usleep(200);
}

UNUSED static int32_t run_gate(const eum_kernel_call *call)
{
    return (int32_t)cudaLaunchHostFunc(call->stream, hold_gate, call->user);
}

/* A launch that fails without its callback's noticing. */
UNUSED static int32_t run_careless(const eum_kernel_call *call)
{
    (void)cudaMemcpyAsync(NULL, call, 16, (enum cudaMemcpyKind)77, call->stream);
    return 0;
}

UNUSED static void note_finish(eum_task *task, eum_status status, int32_t code)
{
    (void)task;
    if (status == EUM_OK && code == 0)
        atomic_fetch_add(&finished, 1);
}

UNUSED static void init_task(eum_task *task, eum_kernel_fn gpu, void *user)
{
    memset(task, 0, sizeof *task);
    task->gpu = gpu;
    task->finish = note_finish;
    task->call.struct_size = sizeof task->call;
    task->call.user = user;
}

UNUSED static eum_status submit(eum_dstream *on, eum_kernel_fn gpu)
{
    eum_task task;
    init_task(&task, gpu, NULL);
    return ops->submit(on, &task);
}

UNUSED static void submit_fill(eum_dstream *on, void *address, size_t bytes, int value)
{
    fill f = {.address = address, .bytes = bytes, .value = value};
    init_task(&f.task, run_fill, &f);
    ck_assert_int_eq(ops->submit(on, &f.task), EUM_OK);
}

UNUSED static bool all_are(const void *address, size_t bytes, int value)
{
    for (size_t i = 0; i < bytes; i++)
        if (((const unsigned char *)address)[i] != value)
            return false;
    return true;
}

#endif
#endif
