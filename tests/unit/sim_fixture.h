/* What the tests of the simulated GPU share: devices, blocks, kernels, and what the device counted.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TESTS_SIM_FIXTURE_H
#define EUM_TESTS_SIM_FIXTURE_H

#include <check.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/sim/internal.h"

#define UNUSED __attribute__((unused)) /* not every suite uses all of this */

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define PAGE (64 * KIB)
#define SEED_BYTES ((size_t)1000 * 768 * sizeof(float)) /* the seed's example: 46.9 pages */

UNUSED static const eum_log silent;

UNUSED static eum_device *open_with(const char *arch, const char *options)
{
    eum_device_config config = {.options = options, .arch = arch, .log = &silent};
    eum_device *device = NULL;
    ck_assert_int_eq(eum_sim_open(&config, &device), EUM_OK);
    return device;
}

UNUSED static eum_block alloc(eum_device *device, eum_memory kind, size_t bytes)
{
    eum_block block;
    ck_assert_int_eq(device->ops->alloc(device, kind, bytes, &block), EUM_OK);
    return block;
}

UNUSED static eum_dstream *new_stream(eum_device *device)
{
    eum_dstream *stream = NULL;
    ck_assert_int_eq(device->ops->stream_create(device, &stream), EUM_OK);
    return stream;
}

UNUSED static uint64_t mark(eum_dstream *stream)
{
    uint64_t sequence = 0;
    ck_assert_int_eq(stream->device->ops->mark(stream, &sequence), EUM_OK);
    return sequence;
}

UNUSED static void finish_stream(eum_dstream *stream)
{
    ck_assert_int_eq(stream->device->ops->wait(stream, mark(stream), -1), EUM_OK);
}

UNUSED static void prefetch(eum_dstream *stream, const eum_block *block, eum_location where)
{
    ck_assert_int_eq(stream->device->ops->prefetch(stream, block, 0, block->bytes, where), EUM_OK);
}

UNUSED static void advise(eum_device *device, const eum_block *block, eum_advice advice, eum_location where)
{
    ck_assert_int_eq(device->ops->advise(device, block, 0, block->bytes, advice, where), EUM_OK);
}

UNUSED static eum_sim_counters counters(eum_device *device)
{
    eum_sim_counters now;
    ck_assert(eum_sim_counters_get(device, &now));
    return now;
}

UNUSED static eum_sim_page_info page_info(eum_device *device, const eum_block *block, size_t offset)
{
    eum_sim_page_info info;
    ck_assert(eum_sim_page_info_get(device, (const unsigned char *)block->host + offset, &info));
    return info;
}

UNUSED static void assert_no_violation(eum_device *device)
{
    char text[512];
    uint64_t count = eum_sim_violations(device, text, sizeof text);
    ck_assert_msg(count == 0, "%llu violations, first: %s", (unsigned long long)count, text);
}

UNUSED static void assert_violation(eum_device *device, const char *part)
{
    char text[512];
    ck_assert_uint_gt(eum_sim_violations(device, text, sizeof text), 0);
    ck_assert_msg(strstr(text, part) != NULL, "\"%s\" is not in: %s", part, text);
}

/* A kernel over one block: reads every float, or adds 1 to it. */
typedef struct job {
    eum_task task;
    void *address[4];
    size_t bytes[4];
    eum_access access[4];
    eum_status status;
    int32_t code;
    atomic_int finished;
    void *user;
} job;

UNUSED static int32_t add_one(const eum_kernel_call *call)
{
    for (size_t i = 0; i < call->count; i++) {
        volatile float *value = call->addresses[i];
        for (size_t k = 0; k < call->bytes[i] / sizeof(float); k++)
            value[k] = value[k] + 1;
    }
    return 0;
}

UNUSED static int32_t store_ones(const eum_kernel_call *call)
{
    for (size_t i = 0; i < call->count; i++) {
        volatile float *value = call->addresses[i];
        for (size_t k = 0; k < call->bytes[i] / sizeof(float); k++)
            value[k] = 1;
    }
    return 0;
}

UNUSED static int32_t sum(const eum_kernel_call *call)
{
    double total = 0;
    for (size_t i = 0; i < call->count; i++) {
        const volatile float *value = call->addresses[i];
        for (size_t k = 0; k < call->bytes[i] / sizeof(float); k++)
            total += (double)value[k];
    }
    return total == -1 ? 1 : 0;
}

UNUSED static void finished(eum_task *task, eum_status status, int32_t code)
{
    job *self = (job *)task;
    self->status = status;
    self->code = code;
    atomic_fetch_add(&self->finished, 1);
}

UNUSED static void submit(job *self, eum_dstream *stream, eum_kernel_fn kernel, const eum_block *block, eum_access access)
{
    memset(self, 0, sizeof *self);
    self->address[0] = block->device;
    self->bytes[0] = block->bytes;
    self->access[0] = access;
    self->task.cpu = kernel;
    self->task.accesses = self->access;
    self->task.finish = finished;
    eum_kernel_call call = {.struct_size = sizeof call, .count = 1, .addresses = self->address, .bytes = self->bytes, .user = self};
    self->task.call = call;
    ck_assert_int_eq(stream->device->ops->submit(stream, &self->task), EUM_OK);
}

/* Runs it to its end. */
UNUSED static void run(eum_dstream *stream, eum_kernel_fn kernel, const eum_block *block, eum_access access)
{
    job self;
    submit(&self, stream, kernel, block, access);
    finish_stream(stream);
    ck_assert_int_eq(atomic_load(&self.finished), 1);
    ck_assert_int_eq(self.status, EUM_OK);
}

UNUSED static void fill(const eum_block *block, float value)
{
    volatile float *at = block->host;
    for (size_t i = 0; i < block->bytes / sizeof(float); i++)
        at[i] = value;
}

UNUSED static void assert_all(const eum_block *block, float value)
{
    const volatile float *at = block->host;
    for (size_t i = 0; i < block->bytes / sizeof(float); i++)
        if (at[i] != value) /* Check's assertions are slow */
            ck_abort_msg("element %zu is %f, not %f", i, (double)at[i], (double)value);
}

UNUSED static void done(eum_device *device, eum_dstream *stream, eum_block *block)
{
    assert_no_violation(device);
    ck_assert_uint_eq(counters(device).unguarded_blocks, 0);
    ck_assert_int_eq(device->ops->synchronize(device), EUM_OK);
    if (block != NULL)
        device->ops->release(device, block);
    if (stream != NULL)
        device->ops->stream_destroy(stream);
    ck_assert_uint_eq(eum_sim_blocks_live(device, 0), 0);
    device->ops->close(device);
}

UNUSED static int32_t touch_first(const eum_kernel_call *call)
{
    *(volatile float *)call->addresses[0] = 5;
    return 0;
}

typedef struct call_record {
    int depth, calls;
    eum_dstream *destroy;
} call_record;

UNUSED static void record_call(void *user)
{
    call_record *record = user;
    record->depth = eum_callback_depth;
    record->calls++;
    if (record->destroy != NULL)
        record->destroy->device->ops->stream_destroy(record->destroy);
}

UNUSED static const char *const concurrent[] = {"pascal", "turing", "ampere", "hopper"};
UNUSED static const char *const all[] = {"maxwell", "pascal", "turing", "ampere", "hopper"};

#endif
