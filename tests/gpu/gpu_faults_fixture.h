/* gpu_faults_fixture: what the suites that count page faults share: windows, and movement switched off.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TESTS_GPU_FAULTS_FIXTURE_H
#define EUM_TESTS_GPU_FAULTS_FIXTURE_H

#include <time.h>

#include "context.h"
#include "gpu_fixture.h"
#include "objects.h"

UNUSED static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

UNUSED static eum_faults end_window(void)
{
    eum_faults faults = EUM_FAULTS_INIT;
    OK(eum_faults_end(context, &faults));
    ck_assert_int_eq(faults.source, EUM_FAULT_SOURCE_CUPTI);
    return faults;
}

/* Starting and stopping CUPTI takes some 50 ms; while any window is open, the others need not. Returns what ends it. */
UNUSED static eum_context *keep_counting(void)
{
    eum_context *own = context, *other;
    eum_stream *own_stream = stream;
    open_context(EUM_BACKING_MANAGED, 0);
    OK(eum_faults_begin(context));
    other = context;
    context = own;
    stream = own_stream;
    return other;
}

UNUSED static void stop_counting(eum_context *other)
{
    eum_faults faults = EUM_FAULTS_INIT;
    OK(eum_faults_end(other, &faults));
    OK(eum_context_destroy(other));
}

UNUSED static void print_faults(const char *what, const eum_faults *f)
{
    printf("%s: GPU faults %llu, CPU faults %llu; to device fault %llu prefetch %llu eviction %llu other %llu; "
           "to host fault %llu prefetch %llu eviction %llu other %llu; copied %llu / %llu\n",
           what, (unsigned long long)f->gpu_faults, (unsigned long long)f->cpu_faults, (unsigned long long)f->bytes_to_device[0],
           (unsigned long long)f->bytes_to_device[1], (unsigned long long)f->bytes_to_device[2],
           (unsigned long long)f->bytes_to_device[3], (unsigned long long)f->bytes_to_host[0],
           (unsigned long long)f->bytes_to_host[1], (unsigned long long)f->bytes_to_host[2],
           (unsigned long long)f->bytes_to_host[3], (unsigned long long)f->bytes_copied_to_device,
           (unsigned long long)f->bytes_copied_to_host);
}

/* --------------------------------------------------------------------------------------- movement switched off ------ */

/* The device table of the context, with all that moves managed pages replaced by nothing. */
UNUSED static struct eum_device_ops still;

UNUSED static eum_status no_prefetch(eum_dstream *on, const eum_block *block, size_t offset, size_t bytes, eum_location where)
{
    (void)on, (void)block, (void)offset, (void)bytes, (void)where;
    return EUM_OK;
}

UNUSED static eum_status no_prefetches(eum_dstream *on, const eum_piece *pieces, size_t count)
{
    (void)on, (void)pieces, (void)count;
    return EUM_OK;
}

UNUSED static eum_status no_discard(eum_dstream *on, const eum_block *block, size_t offset, size_t bytes)
{
    (void)on, (void)block, (void)offset, (void)bytes;
    return EUM_OK;
}

UNUSED static eum_status no_advice(eum_device *device, const eum_block *block, size_t offset, size_t bytes, eum_advice advice,
                                   eum_location where)
{
    (void)device, (void)block, (void)offset, (void)bytes, (void)advice, (void)where;
    return EUM_OK;
}

UNUSED static void switch_movement_off(void)
{
    eum_context_object *object = NULL;
    OK(eum_pin_context(context, &object));
    still = *object->ctx->device->ops;
    still.prefetch = no_prefetch;
    still.prefetch_many = no_prefetches;
    still.discard = no_discard;
    still.advise = no_advice;
    object->ctx->device->ops = &still;
    eum_handle_unpin(context);
}

#endif
