/* similarity: the built-in kernels as launches.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "buffer.h"
#include "stream.h"

/* Below this many bytes of targets for each piece, handing work to another thread costs more than it saves (a hand-over is a few
 * microseconds; one core reads 64 KiB from its cache in about one). */
#define GRAIN_BYTES ((uint64_t)256 << 10)

typedef struct cosine_params {
    uint64_t rows, dim, row_stride;
    eum_workers *workers;
    eum_cpu_isa isa;
} cosine_params;

static eum_cosine_args args_of(const eum_kernel_call *call)
{
    const cosine_params *params = call->params;
    return (eum_cosine_args){.query = call->addresses[0],
                             .targets = call->addresses[1],
                             .scores = call->addresses[2],
                             .rows = params->rows,
                             .dim = params->dim,
                             .row_stride = params->row_stride};
}

typedef struct cosine_loop {
    eum_cosine_args args;
    eum_cosine_query query;
    eum_cpu_isa isa;
} cosine_loop;

static void cosine_piece(void *arg, uint64_t begin, uint64_t end)
{
    const cosine_loop *loop = arg;
    eum_cosine_cpu(&loop->args, &loop->query, begin, end, loop->isa);
}

static int32_t cosine_cpu(const eum_kernel_call *call)
{
    const cosine_params *params = call->params;
    cosine_loop loop = {.args = args_of(call), .isa = params->isa};
    loop.query = eum_cosine_cpu_prepare(&loop.args);
    uint64_t grain = GRAIN_BYTES / (params->dim * sizeof(float));
    eum_workers_run(params->workers, params->rows, grain > 0 ? grain : 1, cosine_piece, &loop);
    return 0;
}

#if EUM_HAVE_CUDA
static int32_t cosine_gpu(const eum_kernel_call *call)
{
    eum_cosine_args args = args_of(call);
    return eum_cosine_cuda(&args, call->stream);
}
#else
#define cosine_gpu NULL
#endif

eum_status eum_engine_cosine(eum_strm *stream, eum_range query, eum_range targets, eum_range scores, uint64_t rows, uint64_t dim,
                             size_t row_stride, eum_job *out)
{
    if (rows == 0) {
        if (out != NULL)
            out->stream = out->sequence = 0;
        return EUM_OK;
    }
    const eum_range ranges[3] = {query, targets, scores};
    const eum_access accesses[3] = {EUM_ACCESS_READ, EUM_ACCESS_READ, EUM_ACCESS_OVERWRITE};
    const cosine_params params = {rows, dim, row_stride, stream->ctx->workers, stream->ctx->isa};
    const eum_launch_request request = {.gpu = cosine_gpu,
                                        .cpu = cosine_cpu,
                                        .ranges = ranges,
                                        .accesses = accesses,
                                        .count = 3,
                                        .params = &params,
                                        .params_bytes = sizeof params};
    return eum_engine_launch(stream, &request, out);
}
