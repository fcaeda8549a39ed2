/* scoring: many queries against many rows as launches.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The row numbers of a call travel with the launch: inside its params where CPU kernels run, in a buffer of the library where the GPU must
 * read them. The same goes for the scratch memory of the GPU's selection: a buffer that ends when the job has passed. */
#include "kernels/scoring.h"

#include <stdlib.h>
#include <string.h>

#include "buffer.h"
#include "stream.h"

enum { QUERIES, TARGETS, SCORES, INDICES, OPERANDS = INDICES + 3 }; /* then, as there are: indices, numbers, scratch */

/* Each byte of these is used once; every block reads the queries. */
#define ONCE ((uint64_t)1 << TARGETS | (uint64_t)1 << SCORES | (uint64_t)1 << INDICES)

/* Queries that are scored in one pass over the targets, which are then read once. */
#define STREAMED_QUERIES 8

typedef struct scoring_params {
    eum_metric metric;
    eum_element element;
    uint64_t query_count, rows, dim, k;
    size_t query_stride, row_stride;
    eum_workers *workers;
    eum_cpu_isa isa;
    int indices, numbers, scratch; /* which argument, -1: none */
    bool inline_numbers;           /* they follow these params */
} scoring_params;

static const int64_t *numbers_after(const scoring_params *params)
{
    return (const int64_t *)(const void *)(params + 1);
}

static eum_scoring_args args_of(const eum_kernel_call *call)
{
    const scoring_params *params = call->params;
    return (eum_scoring_args){.metric = params->metric,
                              .element = params->element,
                              .queries = call->addresses[QUERIES],
                              .targets = call->addresses[TARGETS],
                              .scores = call->addresses[SCORES],
                              .indices = params->indices < 0 ? NULL : call->addresses[params->indices],
                              .numbers = params->inline_numbers ? numbers_after(params)
                                         : params->numbers < 0  ? NULL
                                                                : call->addresses[params->numbers],
                              .query_count = params->query_count,
                              .rows = params->rows,
                              .dim = params->dim,
                              .query_stride = params->query_stride,
                              .row_stride = params->row_stride,
                              .k = params->k};
}

static void loop(void *pool, uint64_t items, uint64_t grain, eum_loop_fn body, void *arg)
{
    eum_workers_run(pool, items, grain, body, arg);
}

static int32_t scoring_cpu(const eum_kernel_call *call)
{
    const scoring_params *params = call->params;
    eum_scoring_args args = args_of(call);
    return eum_scoring_cpu(&args, params->isa, loop, params->workers, eum_workers_count(params->workers));
}

#if EUM_HAVE_CUDA
static int32_t scoring_gpu(const eum_kernel_call *call)
{
    const scoring_params *params = call->params;
    eum_scoring_args args = args_of(call);
    return eum_scoring_cuda(&args, params->scratch < 0 ? NULL : call->addresses[params->scratch], call->stream);
}

static size_t scratch_bytes(const eum_scoring_request *request)
{
    static int64_t some;
    eum_scoring_args args = {.query_count = request->query_count, .rows = request->rows, .dim = request->dim, .k = request->k};
    args.indices = request->indices.buf != NULL ? &some : NULL;
    return eum_scoring_cuda_scratch(&args);
}
#else
#define scoring_gpu NULL
static size_t scratch_bytes(const eum_scoring_request *request)
{
    (void)request;
    return 0;
}
#endif

/* ------------------------------------------------------------------------------------------------------- launch ---- */

typedef struct operands {
    eum_range ranges[OPERANDS];
    eum_access accesses[OPERANDS];
    size_t count;
    eum_buf *owned[2]; /* end after the launch */
} operands;

static int add(operands *all, eum_range range, eum_access access)
{
    all->ranges[all->count] = range;
    all->accesses[all->count] = access;
    return (int)all->count++;
}

/* A buffer of the library's own for the GPU, with `bytes` bytes of `content` if that is not NULL. */
static eum_status add_own(eum_ctx *ctx, operands *all, eum_buf **slot, size_t bytes, const void *content, eum_access access,
                          int *which)
{
    eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
    eum_status status = eum_buf_create(ctx, bytes, &config, slot);
    if (status == EUM_OK && content != NULL)
        status = eum_buf_write((eum_range){*slot, 0, bytes}, content);
    if (status == EUM_OK)
        *which = add(all, (eum_range){*slot, 0, bytes}, access);
    return status;
}

static eum_status add_gpu_operands(eum_ctx *ctx, const eum_scoring_request *request, operands *all, scoring_params *params)
{
    eum_status status = EUM_OK;
    size_t scratch = scratch_bytes(request);
    if (request->numbers != NULL)
        status = add_own(ctx, all, &all->owned[0], (size_t)request->rows * sizeof *request->numbers, request->numbers,
                         EUM_ACCESS_READ, &params->numbers);
    if (status == EUM_OK && scratch > 0)
        status = add_own(ctx, all, &all->owned[1], scratch, NULL, EUM_ACCESS_OVERWRITE, &params->scratch);
    return status;
}

static eum_status launch(eum_strm *stream, const eum_scoring_request *request, const operands *all, const scoring_params *params,
                         eum_job *out)
{
    eum_launch_request launch = {.gpu = scoring_gpu,
                                 .cpu = scoring_cpu,
                                 .ranges = all->ranges,
                                 .accesses = all->accesses,
                                 .count = all->count,
                                 .params = params,
                                 .params_bytes = sizeof *params,
                                 .once = request->query_count <= STREAMED_QUERIES && request->numbers == NULL ? ONCE : 0,
                                 .anywhere = true};
    if (!params->inline_numbers)
        return eum_engine_launch(stream, &launch, out);
    size_t bytes = (size_t)request->rows * sizeof *request->numbers;
    char *extended = malloc(sizeof *params + bytes);
    if (extended == NULL)
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory for a copy of %llu row numbers; pass fewer at once",
                        (unsigned long long)request->rows);
    memcpy(extended, params, sizeof *params);
    memcpy(extended + sizeof *params, request->numbers, bytes);
    launch.params = extended;
    launch.params_bytes = sizeof *params + bytes;
    eum_status status = eum_engine_launch(stream, &launch, out);
    free(extended);
    return status;
}

eum_status eum_engine_scoring(eum_strm *stream, const eum_scoring_request *request, eum_job *out)
{
    eum_ctx *ctx = stream->ctx;
    if (request->query_count == 0 || (request->rows == 0 && request->indices.buf == NULL)) {
        if (out != NULL)
            out->stream = out->sequence = 0;
        return EUM_OK;
    }
    bool cuda = ctx->device->caps.kind == EUM_DEVICE_CUDA;
    operands all = {.count = 0, .owned = {NULL, NULL}};
    scoring_params params = {.metric = request->metric,
                             .element = request->element,
                             .query_count = request->query_count,
                             .rows = request->rows,
                             .dim = request->dim,
                             .k = request->k,
                             .query_stride = request->query_stride,
                             .row_stride = request->row_stride,
                             .workers = ctx->workers,
                             .isa = ctx->isa,
                             .indices = -1,
                             .numbers = -1,
                             .scratch = -1,
                             .inline_numbers = request->numbers != NULL && !cuda};
    (void)add(&all, request->queries, EUM_ACCESS_READ);
    (void)add(&all, request->targets, EUM_ACCESS_READ);
    (void)add(&all, request->scores, EUM_ACCESS_OVERWRITE);
    if (request->indices.buf != NULL)
        params.indices = add(&all, request->indices, EUM_ACCESS_OVERWRITE);
    eum_status status = cuda ? add_gpu_operands(ctx, request, &all, &params) : EUM_OK;
    if (status == EUM_OK)
        status = launch(stream, request, &all, &params, out);
    eum_error saved;
    eum_error_save(&saved);
    for (int i = 0; i < 2; i++)
        if (all.owned[i] != NULL)
            eum_buf_end(all.owned[i]); /* freed when the job has passed */
    eum_error_restore(&saved);
    return status;
}
