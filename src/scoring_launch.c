/* scoring_launch: a similarity operation as one launch.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The row numbers of a call travel with the launch: inside its params where CPU kernels run, in a buffer of the library where the GPU must
 * read them. The same goes for the scratch memory of the GPU's selection: a buffer that ends when the job has passed. */
#include <stdlib.h>
#include <string.h>

#include "norms.h"
#include "scoring.h"

#define MOST_OPERANDS (EUM_SCORING_OPERANDS + 2) /* then, as there are: numbers, scratch */

typedef struct scoring_params {
    eum_scoring_request request; /* its ranges and numbers are not used: the call has addresses */
    eum_workers *workers;
    eum_cpu_isa isa;
    int numbers, scratch; /* which argument, -1: none */
    bool inline_numbers;  /* they follow these params */
    bool chosen;          /* what to launch is known, from the same call before; cosine only */
    eum_cosine_launch launch;
} scoring_params;

eum_scoring_operands eum_scoring_operands_of(const eum_scoring_request *request)
{
    static const char *const of_one[] = {"query", "targets", "scores", "indices"};
    static const char *const of_many[] = {"queries", "targets", "scores", "indices"};
    return (eum_scoring_operands){
        .ranges = {request->queries, request->targets, request->scores, request->indices},
        .accesses = {EUM_ACCESS_READ, EUM_ACCESS_READ, EUM_ACCESS_OVERWRITE, EUM_ACCESS_OVERWRITE},
        .count = request->indices.buf == NULL ? EUM_INDICES : EUM_SCORING_OPERANDS,
        .names = request->operation == EUM_OPERATION_COSINE ? of_one : of_many,
    };
}

size_t eum_scoring_element_bytes(const eum_scoring_request *request)
{
    return request->element == EUM_ELEMENT_FLOAT32 ? sizeof(float) : sizeof(uint16_t);
}

eum_scoring_args eum_scoring_args_of(const eum_scoring_request *request, void *const *addresses)
{
    return (eum_scoring_args){.metric = request->metric,
                              .element = request->element,
                              .queries = addresses[EUM_QUERIES],
                              .targets = addresses[EUM_TARGETS],
                              .scores = addresses[EUM_SCORES],
                              .indices = request->indices.buf == NULL ? NULL : addresses[EUM_INDICES],
                              .numbers = request->numbers,
                              .query_count = request->query_count,
                              .rows = request->rows,
                              .dim = request->dim,
                              .query_stride = request->query_stride,
                              .row_stride = request->row_stride,
                              .k = request->k};
}

/* ------------------------------------------------------------------------------------------------------ kernels ---- */

static eum_cosine_args cosine_args(const eum_scoring_args *args)
{
    return (eum_cosine_args){.query = args->queries,
                             .targets = args->targets,
                             .scores = args->scores,
                             .rows = args->rows,
                             .dim = args->dim,
                             .row_stride = args->row_stride};
}

/* Below this many bytes of targets for each piece, handing work to another thread costs more than it saves (a hand-over is a few
 * microseconds; one core reads 64 KiB from its cache in about one). */
#define GRAIN_BYTES ((uint64_t)256 << 10)

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

static void loop_on_workers(void *pool, uint64_t items, uint64_t grain, bool back, eum_loop_fn body, void *arg)
{
    (back ? eum_workers_run_back : eum_workers_run)(pool, items, grain, body, arg);
}

/* One query by cosine has kernels of its own: the norm is computed in the same pass, which in cache takes two thirds of the time. */
int32_t eum_scoring_compute(eum_operation operation, const eum_scoring_args *args, eum_cpu_isa isa, eum_workers *workers)
{
    if (operation != EUM_OPERATION_COSINE)
        return eum_scoring_cpu(args, isa, loop_on_workers, workers, eum_workers_count(workers));
    cosine_loop cosine = {.args = cosine_args(args), .isa = isa};
    cosine.query = eum_cosine_cpu_prepare(&cosine.args);
    uint64_t grain = GRAIN_BYTES / (args->dim * sizeof(float));
    eum_workers_run(workers, args->rows, grain > 0 ? grain : 1, cosine_piece, &cosine);
    return 0;
}

static eum_scoring_args args_of(const eum_kernel_call *call)
{
    const scoring_params *params = call->params;
    eum_scoring_args args = eum_scoring_args_of(&params->request, call->addresses);
    args.numbers = params->inline_numbers ? (const int64_t *)(const void *)(params + 1)
                   : params->numbers < 0  ? NULL
                                          : call->addresses[params->numbers];
    return args;
}

static int32_t scoring_cpu(const eum_kernel_call *call)
{
    const scoring_params *params = call->params;
    eum_scoring_args args = args_of(call);
    const uint64_t *version = call->user; /* of the targets; NULL: they have no norms to keep */
    eum_buf *targets = params->request.targets.buf;
    eum_norms *norms = version != NULL ? eum_norms_begin(targets, params->request.targets.offset, version, &args) : NULL;
    int32_t code = eum_scoring_compute(params->request.operation, &args, params->isa, params->workers);
    eum_norms_done(norms, &args, code == 0);
    return code;
}

#if EUM_HAVE_CUDA
static eum_cosine_args cosine_of(const eum_kernel_call *call)
{
    const scoring_params *params = call->params;
    return (eum_cosine_args){.query = call->addresses[EUM_QUERIES],
                             .targets = call->addresses[EUM_TARGETS],
                             .scores = call->addresses[EUM_SCORES],
                             .rows = params->request.rows,
                             .dim = params->request.dim,
                             .row_stride = params->request.row_stride};
}

_Static_assert(sizeof(eum_cosine_args) <= EUM_NODE_PARAMETER_BYTES, "the parameter of the kernel");

/* What scoring_gpu launches for a cosine of one query and some rows. */
static bool cosine_node(const eum_kernel_call *call, eum_node *out)
{
    eum_cosine_args cosine = cosine_of(call);
    eum_cosine_launch launch;
    if (eum_cosine_cuda_choose(&cosine, &launch) != 0)
        return false;
    *out = (eum_node){
        .kernel = launch.kernel, .blocks = launch.blocks, .threads = launch.threads, .shared_bytes = launch.shared_bytes};
    memcpy(out->parameter, &cosine, sizeof cosine);
    return true;
}

static int32_t scoring_gpu(const eum_kernel_call *call)
{
    scoring_params *params = (scoring_params *)(uintptr_t)call->params; /* a copy for this call and those that repeat it */
    if (params->request.operation != EUM_OPERATION_COSINE) {
        eum_scoring_args args = args_of(call);
        return eum_scoring_cuda(&args, params->scratch < 0 ? NULL : call->addresses[params->scratch], call->stream);
    }
    eum_cosine_args cosine = cosine_of(call);
    if (cosine.rows == 0)
        return 0;
    int32_t error = params->chosen ? 0 : eum_cosine_cuda_choose(&cosine, &params->launch);
    params->chosen = error == 0;
    return error != 0 ? error : eum_cosine_cuda_launch(&cosine, &params->launch, call->stream);
}

size_t eum_scoring_scratch(const eum_ctx *ctx, const eum_scoring_request *request)
{
    static int64_t some;
    if (ctx->device->caps.kind != EUM_DEVICE_CUDA || request->operation == EUM_OPERATION_COSINE)
        return 0;
    eum_scoring_args args = {.query_count = request->query_count, .rows = request->rows, .dim = request->dim, .k = request->k};
    args.indices = request->indices.buf != NULL ? &some : NULL;
    return eum_scoring_cuda_scratch(&args);
}
#else
#define scoring_gpu NULL
static bool cosine_node(const eum_kernel_call *call, struct eum_node *out)
{
    (void)call, (void)out;
    return false;
}
size_t eum_scoring_scratch(const eum_ctx *ctx, const eum_scoring_request *request)
{
    (void)ctx, (void)request;
    return 0;
}
#endif

/* ------------------------------------------------------------------------------------------------------- launch ---- */

typedef struct operands {
    eum_range ranges[MOST_OPERANDS];
    eum_access accesses[MOST_OPERANDS];
    size_t count;
    const char *const *names; /* of those that the request names */
    eum_buf *owned[2];        /* end after the launch */
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
    config.backing = content == NULL ? EUM_BACKING_DEVICE : EUM_BACKING_AUTO; /* scratch memory has no host side */
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
    size_t scratch = eum_scoring_scratch(ctx, request);
    if (request->numbers != NULL)
        status = add_own(ctx, all, &all->owned[0], (size_t)request->rows * sizeof *request->numbers, request->numbers,
                         EUM_ACCESS_READ, &params->numbers);
    if (status == EUM_OK && scratch > 0)
        status = add_own(ctx, all, &all->owned[1], scratch, NULL, EUM_ACCESS_OVERWRITE, &params->scratch);
    return status;
}

/* Operands whose bytes are used once each: the results, and the targets unless many queries or a list have them read again. Every block reads the
 * queries, and the numbers of a list are read for each group of queries. */
static uint64_t used_once(const eum_scoring_request *request)
{
    return (eum_scoring_streams(request) ? (uint64_t)1 << EUM_TARGETS : 0) | (uint64_t)1 << EUM_SCORES |
           (request->indices.buf != NULL ? (uint64_t)1 << EUM_INDICES : 0);
}

static eum_status launch(eum_strm *stream, const eum_scoring_request *request, const operands *all, const scoring_params *params,
                         const eum_run *run, eum_job *out)
{
    static void *const nowhere[EUM_SCORING_OPERANDS];
    const eum_scoring_args shape = eum_scoring_args_of(request, nowhere);
    bool keeps_norms =
        stream->ctx->device->caps.kind != EUM_DEVICE_CUDA && eum_norms_serve(request->targets.buf, &shape, stream->ctx->isa);
    bool kept = all->owned[0] == NULL && all->owned[1] == NULL; /* its operands live on after the call */
    eum_launch_request launch = {.gpu = scoring_gpu,
                                 .cpu = scoring_cpu,
                                 .ranges = all->ranges,
                                 .accesses = all->accesses,
                                 .count = all->count,
                                 .names = all->names,
                                 .params = params,
                                 .params_bytes = sizeof *params,
                                 .once = used_once(request),
                                 .node = request->operation == EUM_OPERATION_COSINE && request->rows > 0 ? cosine_node : NULL,
                                 .anywhere = true,
                                 .versioned = keeps_norms ? EUM_TARGETS + 1 : 0,
                                 .chosen =
                                     request->executor == EUM_EXECUTOR_AUTO && stream->ctx->device->caps.kind != EUM_DEVICE_HOST,
                                 .key = kept ? request->key : NULL,
                                 .run = run};
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

eum_status eum_scoring_launch(eum_strm *stream, const eum_scoring_request *request, const eum_run *run, eum_job *out)
{
    eum_ctx *ctx = stream->ctx;
    bool cuda = ctx->device->caps.kind == EUM_DEVICE_CUDA;
    operands all = {.count = 0, .owned = {NULL, NULL}};
    scoring_params params = {.request = *request,
                             .workers = ctx->workers,
                             .isa = ctx->isa,
                             .numbers = -1,
                             .scratch = -1,
                             .inline_numbers = request->numbers != NULL && !cuda};
    eum_scoring_operands given = eum_scoring_operands_of(request);
    all.names = given.names;
    for (size_t i = 0; i < given.count; i++)
        (void)add(&all, given.ranges[i], given.accesses[i]);
    eum_status status = cuda ? add_gpu_operands(ctx, request, &all, &params) : EUM_OK;
    if (status == EUM_OK)
        status = launch(stream, request, &all, &params, run, out);
    eum_error saved;
    eum_error_save(&saved);
    for (int i = 0; i < 2; i++)
        if (all.owned[i] != NULL)
            eum_buf_end(all.owned[i]); /* freed when the job has passed */
    eum_error_restore(&saved);
    return status;
}
