/* movement_world: see movement_world.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "movement_world.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "budget.h"

const place places[] = {
    {"host", "host", EUM_BACKING_AUTO, false, false},
    {"maxwell", "sim:maxwell", EUM_BACKING_AUTO, false, false},
    {"maxwell, managed", "sim:maxwell", EUM_BACKING_MANAGED, false, false},
    {"pascal", "sim:pascal", EUM_BACKING_MANAGED, true, false},
    {"pascal, mapped", "sim:pascal", EUM_BACKING_MAPPED, true, false},
    {"turing", "sim:turing", EUM_BACKING_MANAGED, true, true},
    {"hopper", "sim:hopper", EUM_BACKING_MANAGED, true, true},
    {"hopper, mirrored", "sim:hopper", EUM_BACKING_MIRRORED, true, false},
};
const int place_count = (int)(sizeof places / sizeof places[0]);

/* ------------------------------------------------------------------------------------------------------- world ----- */

world world_open(int place_index, unsigned seed, uint64_t budget)
{
    world w = {.place = &places[place_index]};
    char device[64];
    bool host = strcmp(w.place->device, "host") == 0;
    (void)unsetenv("EUM_BACKING"); /* the place says which */
    snprintf(device, sizeof device, host ? "%s" : "%s,schedule=step,seed=%u", w.place->device, seed);
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    config.device = device;
    config.backing = w.place->backing;
    config.worker_threads = 2;
    config.budget_bytes = budget;
    ck_assert_int_eq(eum_ctx_create(&config, &w.ctx), EUM_OK);
    for (int i = 0; i < STREAMS; i++) {
        eum_stream_config stream = EUM_STREAM_CONFIG_INIT;
        ck_assert_int_eq(eum_strm_create(w.ctx, &stream, &w.streams[i]), EUM_OK);
    }
    return w;
}

void world_close(world *w)
{
    for (int i = 0; i < STREAMS; i++)
        (void)eum_strm_synchronize(w->streams[i]);
    char text[256];
    ck_assert_msg(eum_sim_violations(w->ctx->device, text, sizeof text) == 0, "%s: %s", w->place->name, text);
    eum_sim_counters counters;
    if (eum_sim_counters_get(w->ctx->device, &counters) && !w->may_fault && w->place->backing != EUM_BACKING_MANAGED) {
        ck_assert_msg(counters.gpu_faults == 0, "%s: %d page faults of kernels", w->place->name, (int)counters.gpu_faults);
        ck_assert_msg(counters.cpu_faults == 0, "%s: %d page faults of the CPU", w->place->name, (int)counters.cpu_faults);
    }
    while (w->buffer_count > 0)
        world_end_buffer(w, w->buffers[w->buffer_count / 2]); /* neither the first nor the last first */
    ck_assert_int_eq(eum_ctx_job_wait(w->ctx, 0, 0, -1), EUM_OK);
    ck_assert_int_eq(eum_ctx_trim(w->ctx, 0), EUM_OK);
    eum_stats stats = world_stats(w);
    for (int kind = 1; kind < EUM_MEMORY_KINDS; kind++)
        ck_assert_msg(stats.raw_allocations[kind] == stats.raw_frees[kind] + stats.raw_given_up[kind],
                      "%s: memory of kind %d leaks", w->place->name, kind);
    ck_assert_uint_eq(stats.maps_live, 0);
    ck_assert_uint_eq(stats.buffers_live, 0);
    uint64_t limit, used;
    eum_budget_read(w->ctx->budget, &limit, &used);
    ck_assert_msg(used == 0, "%s: %llu bytes of the budget are still in use", w->place->name, (unsigned long long)used);
    for (int i = 0; i < STREAMS; i++)
        eum_strm_end(w->streams[i]);
    eum_ctx_end(w->ctx);
}

bool world_is_simulated(const world *w)
{
    return w->ctx->device->caps.kind == EUM_DEVICE_SIM;
}

bool world_backing_is(const world *w, eum_backing backing)
{
    return w->ctx->backing == backing;
}

eum_stats world_stats(const world *w)
{
    eum_stats stats;
    ck_assert_int_eq(eum_ctx_stats(w->ctx, &stats), EUM_OK);
    return stats;
}

uint64_t world_moved(const world *w)
{
    eum_stats stats = world_stats(w);
    return stats.bytes_to_device + stats.bytes_to_host;
}

eum_buf *world_buffer_of(world *w, size_t bytes, eum_role role, eum_backing backing)
{
    eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
    config.role = role;
    config.backing = backing;
    eum_buf *buf = NULL;
    ck_assert_int_lt(w->buffer_count, MOST_BUFFERS);
    ck_assert_int_eq(eum_buf_create(w->ctx, bytes, &config, &buf), EUM_OK);
    w->buffers[w->buffer_count++] = buf;
    return buf;
}

eum_buf *world_buffer(world *w, size_t bytes, eum_role role)
{
    return world_buffer_of(w, bytes, role, EUM_BACKING_AUTO);
}

void world_end_buffer(world *w, eum_buf *buf)
{
    int i = 0;
    while (w->buffers[i] != buf)
        i++;
    w->buffers[i] = w->buffers[--w->buffer_count];
    eum_buf_end(buf);
}

/* ------------------------------------------------------------------------------------------------------ kernels ---- */

uint8_t pattern(uint8_t value, size_t at)
{
    return (uint8_t)(value * 37u + at * 11u + (at >> 8) * 5u + (at >> 16));
}

void pattern_into(uint8_t *bytes, size_t begin, size_t end, uint8_t value)
{
    for (size_t i = begin; i < end; i++)
        bytes[i] = pattern(value, i);
}

uint64_t hash_of(const uint8_t *bytes, size_t count)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < count; i++)
        hash = (hash ^ bytes[i]) * 1099511628211u;
    return hash;
}

typedef struct kernel_params {
    uint8_t value;
    size_t begin; /* of the view in its buffer */
} kernel_params;

static void take_time(const eum_kernel_call *call)
{
    if (call->device == EUM_LOCATION_HOST)
        usleep(3000);
}

static int32_t fill_kernel(const eum_kernel_call *call)
{
    const kernel_params *params = call->params;
    uint8_t *bytes = call->addresses[0];
    take_time(call);
    for (size_t i = 0; i < call->bytes[0]; i++)
        bytes[i] = pattern(params->value, params->begin + i);
    return 0;
}

static int32_t mix_kernel(const eum_kernel_call *call)
{
    uint8_t *bytes = call->addresses[0];
    take_time(call);
    for (size_t i = 0; i < call->bytes[0]; i++)
        bytes[i] = (uint8_t)~bytes[i];
    return 0;
}

static int32_t hash_kernel(const eum_kernel_call *call)
{
    take_time(call);
    uint64_t hash = hash_of(call->addresses[0], call->bytes[0]);
    memcpy(call->addresses[1], &hash, sizeof hash);
    return 0;
}

static int32_t failing_kernel(const eum_kernel_call *call)
{
    take_time(call);
    memset(call->addresses[0], 0xEE, call->bytes[0] / 2);
    return 7;
}

static eum_status launch_one(eum_strm *stream, eum_kernel_fn fn, eum_range range, eum_access access, uint8_t value, eum_job *out)
{
    kernel_params params = {value, range.offset};
    eum_launch_request request = {
        .cpu = fn, .ranges = &range, .accesses = &access, .count = 1, .params = &params, .params_bytes = sizeof params};
    return eum_engine_launch(stream, &request, out);
}

eum_status gpu_fill(eum_strm *stream, eum_buf *buf, size_t offset, size_t bytes, uint8_t value, eum_job *out)
{
    return launch_one(stream, fill_kernel, (eum_range){buf, offset, bytes}, EUM_ACCESS_OVERWRITE, value, out);
}

eum_status gpu_mix(eum_strm *stream, eum_buf *buf, size_t offset, size_t bytes)
{
    return launch_one(stream, mix_kernel, (eum_range){buf, offset, bytes}, EUM_ACCESS_READ_WRITE, 0, NULL);
}

eum_status gpu_fails(eum_strm *stream, eum_buf *buf, size_t offset, size_t bytes, eum_job *out)
{
    return launch_one(stream, failing_kernel, (eum_range){buf, offset, bytes}, EUM_ACCESS_OVERWRITE, 0, out);
}

eum_status gpu_hash(eum_strm *stream, eum_buf *buf, size_t offset, size_t bytes, eum_buf *result, eum_job *out)
{
    eum_range ranges[2] = {{buf, offset, bytes}, {result, 0, 8}};
    eum_access accesses[2] = {EUM_ACCESS_READ, EUM_ACCESS_OVERWRITE};
    eum_launch_request request = {.cpu = hash_kernel, .ranges = ranges, .accesses = accesses, .count = 2};
    return eum_engine_launch(stream, &request, out);
}

/* --------------------------------------------------------------------------------------------------------- CPU ----- */

void cpu_fill(eum_buf *buf, size_t offset, size_t bytes, uint8_t value)
{
    void *mapped;
    ck_assert_int_eq(eum_buf_map((eum_range){buf, offset, bytes}, EUM_ACCESS_OVERWRITE, &mapped), EUM_OK);
    for (size_t i = 0; i < bytes; i++)
        ((uint8_t *)mapped)[i] = pattern(value, offset + i);
    ck_assert_int_eq(eum_buf_unmap(buf, mapped), EUM_OK);
}

void cpu_expect(eum_buf *buf, const uint8_t *expected)
{
    void *mapped;
    size_t bytes = eum_buf_bytes(buf), wrong = 0;
    ck_assert_int_eq(eum_buf_map((eum_range){buf, 0, bytes}, EUM_ACCESS_READ, &mapped), EUM_OK);
    while (wrong < bytes && ((uint8_t *)mapped)[wrong] == expected[wrong])
        wrong++;
    ck_assert_msg(wrong == bytes, "byte %zu of %zu is %d, not %d", wrong, bytes, ((uint8_t *)mapped)[wrong], expected[wrong]);
    ck_assert_int_eq(eum_buf_unmap(buf, mapped), EUM_OK);
}

void expect_hash(eum_buf *result, const uint8_t *bytes, size_t count)
{
    uint64_t hash = 0;
    ck_assert_int_eq(eum_buf_read((eum_range){result, 0, 8}, &hash), EUM_OK);
    ck_assert_uint_eq(hash, hash_of(bytes, count));
}
