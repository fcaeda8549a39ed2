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

/* One cosine operation. */
typedef struct cosine_operands {
    eum_range query, targets, scores;
    uint64_t rows, dim;
    size_t row_stride;
} cosine_operands;

static eum_status launch_cosine(eum_strm *stream, const cosine_operands *operands, eum_job *out)
{
    const eum_range ranges[3] = {operands->query, operands->targets, operands->scores};
    const eum_access accesses[3] = {EUM_ACCESS_READ, EUM_ACCESS_READ, EUM_ACCESS_OVERWRITE};
    const cosine_params params = {operands->rows, operands->dim, operands->row_stride, stream->ctx->workers, stream->ctx->isa};
    const eum_launch_request request = {.gpu = cosine_gpu,
                                        .cpu = cosine_cpu,
                                        .ranges = ranges,
                                        .accesses = accesses,
                                        .count = 3,
                                        .params = &params,
                                        .params_bytes = sizeof params,
                                        .once = 6, /* targets and scores; every block reads the query */
                                        .anywhere = true};
    return eum_engine_launch(stream, &request, out);
}

/* ------------------------------------------------------------------------------------------------------ in chunks --- */

/* Large enough that a chunk's fixed costs do not show (a copy's is about 10 us, 16 MiB take about 300 us over PCIe 5). */
#define CHUNK_BYTES ((uint64_t)16 << 20)
#define STAGES 2 /* the CPU fills one while the kernel reads the other */

/* Rows of a chunk so that two chunks fit in what is left of the budget; 0: not even single rows do. */
static uint64_t chunk_rows(eum_ctx *ctx, const cosine_operands *operands)
{
    uint64_t limit, used;
    eum_budget_read(ctx->budget, &limit, &used);
    uint64_t left = limit > used ? (limit - used) / (STAGES + 1) : 0;
    uint64_t bytes = left < CHUNK_BYTES ? left : CHUNK_BYTES;
    uint64_t rows = bytes / operands->row_stride;
    return rows < operands->rows ? rows : operands->rows;
}

static eum_status cosine_chunk(eum_strm *stream, const cosine_operands *operands, uint64_t first, uint64_t rows, const char *source,
                               eum_buf *stage, eum_job *out)
{
    size_t bytes = (size_t)((rows - 1) * operands->row_stride + operands->dim * sizeof(float));
    eum_status status = eum_buf_write((eum_range){stage, 0, bytes}, source + first * operands->row_stride);
    if (status != EUM_OK)
        return status;
    cosine_operands chunk = *operands;
    chunk.targets = (eum_range){stage, 0, bytes};
    chunk.scores.offset += (size_t)first * sizeof(float);
    chunk.scores.bytes = (size_t)rows * sizeof(float);
    chunk.rows = rows;
    return launch_cosine(stream, &chunk, out);
}

/* The targets do not fit on the device and cannot be read in place: their rows go through two staging buffers. Waits while it fills them. */
static eum_status cosine_in_chunks(eum_strm *stream, const cosine_operands *operands, uint64_t chunk, eum_job *out)
{
    eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
    config.backing = EUM_BACKING_MIRRORED;
    eum_buf *stages[STAGES] = {NULL};
    void *source = NULL;
    uint64_t lease;
    eum_status status = eum_buf_hold(operands->targets, EUM_ACCESS_READ, &source, &lease);
    if (status != EUM_OK)
        return status;
    for (int i = 0; i < STAGES && status == EUM_OK; i++)
        status = eum_buf_create(stream->ctx, (size_t)(chunk * operands->row_stride), &config, &stages[i]);
    for (uint64_t first = 0, n = 0; first < operands->rows && status == EUM_OK; first += chunk, n++) {
        uint64_t rows = operands->rows - first < chunk ? operands->rows - first : chunk;
        status = cosine_chunk(stream, operands, first, rows, source, stages[n % STAGES], out);
    }
    eum_error saved;
    eum_error_save(&saved);
    for (int i = 0; i < STAGES; i++)
        if (stages[i] != NULL)
            eum_buf_end(stages[i]); /* freed when the last chunk has passed */
    eum_buf_let_go(operands->targets.buf, lease);
    eum_error_restore(&saved);
    return status;
}

eum_status eum_engine_cosine(eum_strm *stream, eum_range query, eum_range targets, eum_range scores, uint64_t rows, uint64_t dim,
                             size_t row_stride, eum_job *out)
{
    if (rows == 0) {
        if (out != NULL)
            out->stream = out->sequence = 0;
        return EUM_OK;
    }
    cosine_operands operands = {query, targets, scores, rows, dim, row_stride};
    eum_error before;
    eum_error_save(&before);
    eum_status status = launch_cosine(stream, &operands, out);
    bool no_room = status == EUM_ERROR_OVER_BUDGET || status == EUM_ERROR_OUT_OF_DEVICE_MEMORY;
    if (!no_room || targets.buf->backing != EUM_BACKING_MIRRORED || eum_callback_depth != 0)
        return status;
    uint64_t chunk = chunk_rows(stream->ctx, &operands);
    if (chunk == 0)
        return status;
    eum_error_restore(&before);
    return cosine_in_chunks(stream, &operands, chunk, out);
}
