/* What the tests of the CPU as a device share: the device, its streams, and kernels that say what became of them.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TESTS_HOST_DEVICE_FIXTURE_H
#define EUM_TESTS_HOST_DEVICE_FIXTURE_H

#include <check.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device/device.h"
#include "threads.h"

#define UNUSED __attribute__((unused)) /* not every suite uses all of this */
#define MS INT64_C(1000000)

UNUSED static eum_device *device;
UNUSED static const struct eum_device_ops *ops;
UNUSED static eum_workers *workers;
UNUSED static eum_log silent;

UNUSED static void open_device(void)
{
    ck_assert_int_eq(eum_workers_create(2, &workers), EUM_OK);
    eum_device_config config = {.index = -1, .log = &silent, .workers = workers};
    ck_assert_int_eq(eum_host_open(&config, &device), EUM_OK);
    ops = device->ops;
}

UNUSED static void close_device(void)
{
    ops->close(device);
    eum_workers_destroy(workers);
}

UNUSED static eum_dstream *make_stream(void)
{
    eum_dstream *stream = NULL;
    ck_assert_int_eq(ops->stream_create(device, &stream), EUM_OK);
    return stream;
}

UNUSED static void drain(eum_dstream *stream)
{
    uint64_t sequence = 0;
    ck_assert_int_eq(ops->mark(stream, &sequence), EUM_OK);
    ck_assert_int_eq(ops->wait(stream, sequence, -1), EUM_OK);
}

UNUSED static void drain_and_destroy(eum_dstream *stream)
{
    drain(stream);
    ops->stream_destroy(stream);
}

/* A gate that a call on a stream waits at until the test opens it. */
UNUSED static atomic_bool gate_open;
UNUSED static atomic_int calls;

UNUSED static void wait_at_gate(void *user)
{
    (void)user;
    while (!atomic_load(&gate_open))
        (void)usleep(200);
    atomic_fetch_add(&calls, 1);
}

UNUSED static void count_call(void *user)
{
    (void)user;
    atomic_fetch_add(&calls, 1);
}

typedef struct work {
    eum_task task; /* first: the call does not know its work, finish does */
    int32_t code;
    atomic_int ran, finished;
    int depth;
    eum_status status;
    int32_t finish_code;
    eum_dstream *stream;
    bool passed_too_early;
    int32_t where;
    void *native;
} work;

UNUSED static int32_t run_work(const eum_kernel_call *call)
{
    work *w = call->user;
    w->depth = eum_callback_depth;
    w->where = call->device;
    w->native = call->stream;
    atomic_fetch_add(&w->ran, 1);
    return w->code;
}

UNUSED static void finish_work(eum_task *task, eum_status status, int32_t code)
{
    work *w = (work *)task;
    w->status = status;
    w->finish_code = code;
    w->passed_too_early = w->stream != NULL && ops->passed(w->stream, 1);
    atomic_fetch_add(&w->finished, 1);
}

UNUSED static void init_work(work *w, int32_t code)
{
    memset(w, 0, sizeof *w);
    w->code = code;
    w->task.cpu = run_work;
    w->task.finish = finish_work;
    w->task.call.struct_size = sizeof w->task.call;
    w->task.call.user = w;
}

#endif
