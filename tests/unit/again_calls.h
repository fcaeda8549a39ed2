/* again_calls: launches as the C ABI makes them, which are known when they are made again.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TESTS_AGAIN_CALLS_H
#define EUM_TESTS_AGAIN_CALLS_H

#include <check.h>

#include "again.h"
#include "movement_world.h"

#define BYTES (PAGE + 100)

static uint64_t once; /* of the calls */

/* The first argument's bytes, each one more, into the second; or the first itself. */
static inline int32_t add_one(const eum_kernel_call *call)
{
    const uint8_t *from = call->addresses[0];
    uint8_t *to = call->addresses[call->count - 1];
    for (size_t i = 0; i < call->bytes[0]; i++)
        to[i] = (uint8_t)(from[i] + 1);
    return 0;
}

/* As the C ABI calls: first whether it is known, then the long way. to == from: in place. */
static inline eum_job call_with(eum_kernel_fn kernel, eum_strm *stream, eum_buf *from, eum_buf *to, bool library)
{
    const eum_range ranges[2] = {{from, 0, BYTES}, {to, 0, BYTES}};
    const eum_access two[2] = {EUM_ACCESS_READ, EUM_ACCESS_OVERWRITE}, one[1] = {EUM_ACCESS_READ_WRITE};
    const size_t count = from == to ? 1 : 2;
    const eum_call_key key = {0, count * sizeof *ranges, ranges};
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.cpu = config.gpu = kernel;
    const eum_launch_request request = {.cpu = kernel,
                                        .ranges = ranges,
                                        .accesses = count == 1 ? one : two,
                                        .count = count,
                                        .once = once,
                                        .anywhere = library,
                                        .key = &key};
    eum_job job = {NULL, 0, 0};
    eum_status status = EUM_OK;
    if (!eum_engine_again(stream, &key, &config, &job, &status))
        status = eum_engine_launch(stream, &request, &job);
    ck_assert_int_eq(status, EUM_OK);
    return job;
}

static inline eum_job call_of(eum_strm *stream, eum_buf *from, eum_buf *to, bool library)
{
    return call_with(add_one, stream, from, to, library);
}

static inline bool repeats_here(const world *w)
{
    return w->ctx->device->caps.kind == EUM_DEVICE_HOST || w->ctx->device->caps.concurrent_managed;
}

static inline void wait_job(const world *w, eum_job job)
{
    ck_assert_int_eq(eum_ctx_job_wait(w->ctx, job.stream, job.sequence, -1), EUM_OK);
}

static inline void expect_added(eum_buf *buf, uint8_t value, size_t times)
{
    static uint8_t expected[BYTES];
    pattern_into(expected, 0, BYTES, value);
    for (size_t i = 0; i < BYTES; i++)
        expected[i] = (uint8_t)(expected[i] + times);
    cpu_expect(buf, expected);
}

/* Lets the device be waited for as CUDA is: for all that a stream was given, and without a point where nobody else needs one. */
static struct eum_device_ops draining;
static const struct eum_device_ops *plain;
static uint64_t drained;

static inline eum_status drain_stream(eum_dstream *stream, uint64_t sequence, int64_t timeout_ns)
{
    eum_status status = plain->mark(stream, &drained);
    ck_assert_uint_eq(drained, sequence); /* the next one, which ends the wait if it is made meanwhile */
    return status == EUM_OK ? plain->wait(stream, drained, timeout_ns) : status;
}

static inline void mark_drained(eum_dstream *stream, uint64_t *out)
{
    (void)stream;
    *out = drained;
}

static inline void give_drain(const world *w)
{
    plain = w->ctx->device->ops;
    draining = *plain;
    draining.drain = drain_stream;
    draining.mark_passed = mark_drained;
    w->ctx->device->ops = &draining;
}

#endif
