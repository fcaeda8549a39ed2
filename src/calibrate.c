/* calibrate: measures what movement, kernels and copies cost here, with probes that go through the device table as the library's own work does.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * On CUDA a kernel of the probes is eum_cosine's. A simulated device counts the bytes that a task declares, so its kernel does nothing. The
 * context's lock is held while memory is taken and given back, and while the costs change; not while probes run. */
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "copy.h"
#include "figures.h"
#include "threads.h"

#define SMALL_BYTES ((size_t)4 << 10)
#define LARGE_BYTES ((size_t)16 << 20)
/* Prefetched by a call each and by one call, out of LARGE_BYTES; they do not touch. */
#define RANGES 16
#define RANGE_BYTES ((size_t)64 << 10)
#define DIM ((size_t)768)
#define ROW_BYTES (DIM * sizeof(float))
/* The device's block holds a query, then scores, then targets: more than the caches of the GPUs that there are (50 MB). */
#define SCORES_AT ((size_t)64 << 10)
#define TARGETS_AT ((size_t)1 << 20)
#define MEMORY_BYTES ((size_t)64 << 20)
#define FAR_ROWS (LARGE_BYTES / ROW_BYTES)
#define NEAR_ROWS ((MEMORY_BYTES - TARGETS_AT) / ROW_BYTES)

/* The median of so many runs after a first one that does not count; of fewer when time grows short. */
#define MOST_RUNS 7
#define LEAST_RUNS 3
#define ENOUGH_NS ((int64_t)90 * 1000 * 1000)

typedef struct kernel_params {
    uint64_t rows;
} kernel_params;

typedef struct bench {
    eum_ctx *ctx;
    eum_device *device;
    const struct eum_device_ops *ops;
    eum_dstream *stream;
    eum_block pinned, memory, managed;
    char *host[2];
    int64_t begun_ns;
    uint64_t called; /* when the calls of a probe of ranges returned */
} bench;

/* What one run of a probe does. */
typedef enum probe_kind {
    TO_DEVICE,
    TO_HOST,
    PREFETCH,
    RANGES_APART,
    RANGES_TOGETHER,
    KERNEL_FAR,
    KERNEL_NEAR,
    COPY_ONE,
    COPY_ALL
} probe_kind;
typedef struct probe {
    probe_kind kind;
    size_t amount; /* bytes; of kernels: rows */
} probe;

/* ------------------------------------------------------------------------------------------------------ memory ----- */

static bool counts_in_budget(eum_memory kind)
{
    return kind == EUM_MEMORY_MANAGED || kind == EUM_MEMORY_DEVICE;
}

static eum_status take_raw(bench *b, eum_memory kind, size_t bytes, eum_block *out)
{
    bool budget = counts_in_budget(kind);
    eum_status status = budget ? eum_budget_take(b->ctx->budget, bytes, false, "the calibration") : EUM_OK;
    if (status != EUM_OK)
        return status;
    status = b->ops->alloc(b->device, kind, bytes, out);
    if (status != EUM_OK) {
        if (budget)
            eum_budget_return(b->ctx->budget, bytes);
        return status;
    }
    b->ctx->stats.raw_allocations[kind]++;
    return EUM_OK;
}

static eum_status take(bench *b, eum_memory kind, size_t bytes, eum_block *out)
{
    eum_status status = eum_ctx_lock(b->ctx, "eum_context_calibrate");
    if (status != EUM_OK)
        return status;
    eum_error before;
    eum_error_save(&before);
    status = take_raw(b, kind, bytes, out);
    bool no_room = status == EUM_ERROR_OVER_BUDGET || status == EUM_ERROR_OUT_OF_DEVICE_MEMORY || status == EUM_ERROR_OUT_OF_MEMORY;
    if (no_room && eum_ctx_trim_pool(b->ctx, 0)) {
        eum_error_restore(&before);
        status = take_raw(b, kind, bytes, out);
    }
    eum_ctx_unlock(b->ctx);
    return status;
}

/* Lock held. */
static void give(bench *b, eum_block *block)
{
    if (block->bytes == 0)
        return;
    if (counts_in_budget(block->kind))
        eum_budget_return(b->ctx->budget, block->bytes);
    b->ctx->stats.raw_frees[block->kind]++;
    b->ops->release(b->device, block);
    memset(block, 0, sizeof *block);
}

static void host_touches(bench *b, const eum_block *block, bool write)
{
    if (b->ops->host_access != NULL)
        b->ops->host_access(b->device, block, 0, block->bytes, write);
}

static void close_bench(bench *b)
{
    eum_error saved;
    eum_error_save(&saved);
    if (b->stream != NULL) {
        (void)b->ops->synchronize(b->device); /* a probe that failed midway may have left something */
        b->ops->stream_destroy(b->stream);
    }
    eum_ctx_relock(b->ctx);
    give(b, &b->pinned);
    give(b, &b->memory);
    give(b, &b->managed);
    eum_ctx_unlock(b->ctx);
    free(b->host[0]);
    free(b->host[1]);
    eum_error_restore(&saved);
}

static eum_status open_host(bench *b)
{
    for (int i = 0; i < 2; i++) {
        b->host[i] = malloc(LARGE_BYTES);
        if (b->host[i] == NULL) {
            (void)eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory for the calibration's copies (%zu bytes); free some host memory",
                           LARGE_BYTES);
            return EUM_ERROR_OUT_OF_MEMORY; /* which the analysis of this file alone cannot know of eum_fail */
        }
        memset(b->host[i], i, LARGE_BYTES); /* its pages are there */
    }
    return EUM_OK;
}

static eum_status pass(bench *b)
{
    uint64_t point = 0;
    eum_status status = b->ops->mark(b->stream, &point);
    return status == EUM_OK ? b->ops->wait(b->stream, point, -1) : status;
}

/* With ordinary numbers: kernels take longer over infinities, subnormal numbers and zero vectors. */
static eum_status fill_device(bench *b)
{
    eum_status status = EUM_OK;
    for (size_t at = 0; at < MEMORY_BYTES && status == EUM_OK; at += LARGE_BYTES)
        status = b->ops->copy(b->stream, (char *)b->memory.device + at, b->pinned.host, LARGE_BYTES, EUM_HOST_TO_DEVICE);
    return status == EUM_OK ? pass(b) : status;
}

static eum_status open_device(bench *b)
{
    eum_status status = b->ops->stream_create(b->device, &b->stream);
    if (status == EUM_OK)
        status = take(b, EUM_MEMORY_PINNED, LARGE_BYTES, &b->pinned);
    if (status == EUM_OK)
        status = take(b, EUM_MEMORY_DEVICE, MEMORY_BYTES, &b->memory);
    if (status == EUM_OK && b->device->caps.concurrent_managed)
        status = take(b, EUM_MEMORY_MANAGED, LARGE_BYTES, &b->managed);
    if (status != EUM_OK)
        return status;
    host_touches(b, &b->pinned, true);
    for (size_t i = 0; i < LARGE_BYTES / sizeof(float); i++)
        ((float *)b->pinned.host)[i] = 1;
    if (b->managed.bytes != 0) {
        host_touches(b, &b->managed, true);
        memset(b->managed.host, 0, LARGE_BYTES);
    }
    return fill_device(b);
}

/* ------------------------------------------------------------------------------------------------------ probes ----- */

#if EUM_HAVE_CUDA
static int32_t kernel_gpu(const eum_kernel_call *call)
{
    const kernel_params *params = call->params;
    eum_cosine_args args = {.query = call->addresses[0],
                            .targets = call->addresses[1],
                            .scores = call->addresses[2],
                            .rows = params->rows,
                            .dim = DIM,
                            .row_stride = ROW_BYTES};
    return eum_cosine_cuda(&args, call->stream);
}
#else
#define kernel_gpu NULL
#endif

static int32_t kernel_cpu(const eum_kernel_call *call)
{
    (void)call;
    return 0;
}

static void kernel_done(eum_task *task, eum_status status, int32_t code)
{
    (void)task, (void)status, (void)code;
}

/* Submits the kernel, and waits: the task lives here. */
static eum_status run_kernel(bench *b, void *targets, size_t rows)
{
    static const eum_access accesses[] = {EUM_ACCESS_READ, EUM_ACCESS_READ, EUM_ACCESS_OVERWRITE};
    char *memory = b->memory.device;
    void *const addresses[] = {memory, targets, memory + SCORES_AT};
    const size_t bytes[] = {ROW_BYTES, rows * ROW_BYTES, rows * sizeof(float)};
    kernel_params params = {rows};
    eum_task task = {.gpu = kernel_gpu, .cpu = kernel_cpu, .accesses = accesses, .finish = kernel_done};
    task.call = (eum_kernel_call){.struct_size = sizeof task.call,
                                  .count = 3,
                                  .addresses = addresses,
                                  .bytes = bytes,
                                  .params = &params,
                                  .params_bytes = sizeof params};
    eum_status status = b->ops->submit(b->stream, &task);
    if (status != EUM_OK)
        return status;
    uint64_t point = 0;
    status = b->ops->mark(b->stream, &point);
    if (status == EUM_OK)
        return b->ops->wait(b->stream, point, -1);
    eum_error saved; /* the task ends here */
    eum_error_save(&saved);
    (void)b->ops->synchronize(b->device);
    eum_error_restore(&saved);
    return status;
}

static eum_status prefetch(bench *b, size_t bytes, eum_location where)
{
    eum_status status = b->ops->prefetch(b->stream, &b->managed, 0, bytes, where);
    return status == EUM_OK ? pass(b) : status;
}

static eum_status prefetch_ranges(bench *b, bool together)
{
    eum_piece pieces[RANGES];
    for (size_t i = 0; i < RANGES; i++)
        pieces[i] = (eum_piece){&b->managed, i * (LARGE_BYTES / RANGES), RANGE_BYTES, b->device->caps.index};
    eum_status status = together ? b->ops->prefetch_many(b->stream, pieces, RANGES) : EUM_OK;
    for (size_t i = 0; i < RANGES && status == EUM_OK && !together; i++)
        status = b->ops->prefetch(b->stream, pieces[i].block, pieces[i].offset, pieces[i].bytes, pieces[i].where);
    b->called = eum_ctx_clock(b->ctx);
    return status == EUM_OK ? pass(b) : status;
}

static eum_status run(bench *b, const probe *p)
{
    eum_status status = EUM_OK;
    switch (p->kind) {
    case TO_DEVICE:
        status = b->ops->copy(b->stream, b->memory.device, b->pinned.host, p->amount, EUM_HOST_TO_DEVICE);
        return status == EUM_OK ? pass(b) : status;
    case TO_HOST:
        status = b->ops->copy(b->stream, b->pinned.host, b->memory.device, p->amount, EUM_DEVICE_TO_HOST);
        return status == EUM_OK ? pass(b) : status;
    case PREFETCH:
        return prefetch(b, p->amount, b->device->caps.index);
    case RANGES_APART:
    case RANGES_TOGETHER:
        return prefetch_ranges(b, p->kind == RANGES_TOGETHER);
    case KERNEL_FAR:
        return run_kernel(b, b->pinned.device, p->amount);
    case KERNEL_NEAR:
        return run_kernel(b, (char *)b->memory.device + TARGETS_AT, p->amount);
    case COPY_ONE:
        memcpy(b->host[1], b->host[0], p->amount);
        return EUM_OK;
    case COPY_ALL:
        eum_workers_copy(b->ctx->workers, b->host[1], b->host[0], p->amount, EUM_READER_DEVICE);
        return EUM_OK;
    }
    return EUM_OK;
}

/* The CPU's copies are always the machine's time. */
static uint64_t clock_of(const bench *b, const probe *p)
{
    bool hosts = p->kind == COPY_ONE || p->kind == COPY_ALL;
    return hosts ? (uint64_t)eum_now_ns() : eum_ctx_clock(b->ctx);
}

static uint64_t median(uint64_t *times, int count)
{
    for (int i = 1; i < count; i++) {
        uint64_t time = times[i];
        int at = i;
        for (; at > 0 && times[at - 1] > time; at--)
            times[at] = times[at - 1];
        times[at] = time;
    }
    return times[count / 2];
}

/* out_call: of ranges, until the calls have returned; may be NULL. */
static eum_status measure_both(bench *b, probe_kind kind, size_t amount, uint64_t *out, uint64_t *out_call)
{
    const probe p = {kind, amount};
    const bool prefetches = kind == PREFETCH || kind == RANGES_APART || kind == RANGES_TOGETHER;
    uint64_t times[MOST_RUNS], calls[MOST_RUNS] = {0};
    int count = -1; /* the first does not count */
    while (count < MOST_RUNS && (count < LEAST_RUNS || eum_now_ns() - b->begun_ns < ENOUGH_NS)) {
        eum_status status = prefetches ? prefetch(b, LARGE_BYTES, EUM_LOCATION_HOST) : EUM_OK;
        uint64_t before = clock_of(b, &p);
        if (status == EUM_OK)
            status = run(b, &p);
        if (status != EUM_OK)
            return status;
        if (count >= 0)
            times[count] = clock_of(b, &p) - before;
        if (count >= 0 && out_call != NULL)
            calls[count] = b->called - before;
        count++;
    }
    *out = median(times, count);
    if (out_call != NULL)
        *out_call = median(calls, count);
    return EUM_OK;
}

static eum_status measure(bench *b, probe_kind kind, size_t amount, uint64_t *out)
{
    return measure_both(b, kind, amount, out, NULL);
}

/* A driver that has the call and then does not support it has none. */
static eum_status measure_ranges(bench *b, eum_probes *out)
{
    eum_error before;
    eum_error_save(&before);
    eum_status status = measure(b, RANGES_APART, 0, &out->ranges_apart);
    if (status != EUM_OK)
        return status;
    status = measure_both(b, RANGES_TOGETHER, 0, &out->ranges_together, &out->together_call);
    if (status == EUM_OK)
        out->ranges = RANGES;
    else if (status == EUM_ERROR_NOT_SUPPORTED)
        eum_error_restore(&before);
    return status == EUM_ERROR_NOT_SUPPORTED ? EUM_OK : status;
}

static eum_status measure_device(bench *b, const eum_costs *now, eum_probes *out)
{
    out->small_bytes = SMALL_BYTES;
    out->large_bytes = LARGE_BYTES;
    out->far_bytes = FAR_ROWS * ROW_BYTES;
    out->near_bytes = NEAR_ROWS * ROW_BYTES;
    eum_status status = measure(b, TO_DEVICE, SMALL_BYTES, &out->to_small);
    if (status == EUM_OK)
        status = measure(b, TO_DEVICE, LARGE_BYTES, &out->to_large);
    if (status == EUM_OK)
        status = measure(b, TO_HOST, SMALL_BYTES, &out->back_small);
    if (status == EUM_OK)
        status = measure(b, TO_HOST, LARGE_BYTES, &out->back_large);
    if (status == EUM_OK)
        status = measure(b, KERNEL_NEAR, 1, &out->launch);
    if (status == EUM_OK)
        status = measure(b, KERNEL_NEAR, NEAR_ROWS, &out->near);
    if (status == EUM_OK && b->pinned.device != NULL)
        status = measure(b, KERNEL_FAR, FAR_ROWS, &out->far);
    if (status == EUM_OK && b->managed.bytes != 0 && b->device->caps.prefetch_many)
        status = measure_ranges(b, out);
    if (status != EUM_OK || b->managed.bytes == 0 || now->unit_bytes == 0 || now->unit_bytes > LARGE_BYTES / 2)
        return status;
    out->units = LARGE_BYTES / now->unit_bytes;
    status = measure(b, PREFETCH, (size_t)now->unit_bytes, &out->prefetch_one);
    if (status == EUM_OK)
        status = measure(b, PREFETCH, (size_t)(out->units * now->unit_bytes), &out->prefetch_units);
    return status;
}

static eum_status measure_host(bench *b, eum_probes *out)
{
    out->host_bytes = LARGE_BYTES;
    eum_status status = measure(b, COPY_ONE, LARGE_BYTES, &out->host_one);
    return status == EUM_OK ? measure(b, COPY_ALL, LARGE_BYTES, &out->host_all) : status;
}

/* -------------------------------------------------------------------------------------------------- the context ---- */

/* The costs now, and whether it may begin. */
static eum_status begin(eum_ctx *ctx, eum_costs *out)
{
    eum_status status = eum_ctx_check_device(ctx, "eum_context_calibrate");
    if (status == EUM_OK)
        status = eum_ctx_lock(ctx, "eum_context_calibrate");
    if (status != EUM_OK)
        return status;
    if (ctx->windows.state == EUM_WINDOW_OPEN)
        status = eum_fail(EUM_ERROR_INVALID_STATE,
                          "a window counts faults, and the calibration's would be among them; call eum_faults_end first");
    *out = ctx->costs;
    eum_ctx_unlock(ctx);
    return status;
}

eum_status eum_ctx_calibrate(eum_ctx *ctx, eum_costs_info *out)
{
    bench b = {.ctx = ctx, .device = ctx->device, .ops = ctx->device->ops, .begun_ns = eum_now_ns()};
    eum_probes probes = {0};
    eum_costs costs;
    eum_status status = begin(ctx, &costs);
    if (status != EUM_OK)
        return status;
    status = open_host(&b);
    if (status == EUM_OK)
        status = measure_host(&b, &probes);
    if (status == EUM_OK && ctx->device->caps.kind != EUM_DEVICE_HOST) {
        status = open_device(&b);
        if (status == EUM_OK)
            status = measure_device(&b, &costs, &probes);
    }
    close_bench(&b);
    if (status != EUM_OK)
        return status;
    status = eum_ctx_lock(ctx, "eum_context_calibrate");
    if (status != EUM_OK)
        return status;
    ctx->costs = eum_figures_from(&costs, &probes);
    ctx->costs_source = EUM_COSTS_MEASURED;
    eum_learned_init(&ctx->learned, &ctx->costs, true, ctx->learned.from_operations);
    ctx->calibration_ns = (uint64_t)(eum_now_ns() - b.begun_ns);
    eum_ctx_tell_costs(ctx, out);
    eum_ctx_unlock(ctx);
    return EUM_OK;
}
