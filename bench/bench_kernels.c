/* bench_kernels: see bench_kernels.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "bench_kernels.h"

#include "kernels/kernels.h"
#include "patterns.h"
#include "work.h"
#include "workers.h"

static eum_workers *kernel_workers;

void bench_kernel_threads(uint32_t threads)
{
    OK(eum_workers_create(threads, &kernel_workers));
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

int32_t bench_cosine_cpu(const eum_kernel_call *call)
{
    const bench_params *params = call->params;
    cosine_loop loop = {
        .args = {call->addresses[0], call->addresses[1], call->addresses[2], params->rows, params->dim, params->dim * 4},
        .isa = eum_cpu_isa_best()};
    loop.query = eum_cosine_cpu_prepare(&loop.args);
    uint64_t grain = ((uint64_t)256 << 10) / (params->dim * sizeof(float)); /* as in src/similarity.c */
    eum_workers_run(kernel_workers, params->rows, grain > 0 ? grain : 1, cosine_piece, &loop);
    return 0;
}

int32_t bench_spread_cpu(const eum_kernel_call *call)
{
    const bench_params *params = call->params;
    const float *targets = call->addresses[0];
    float *results = call->addresses[1];
    size_t group = (size_t)params->dim / BENCH_RESULTS_A_ROW;
    for (size_t i = 0; i < params->rows * BENCH_RESULTS_A_ROW; i++) {
        float sum = 0;
        for (size_t k = 0; k < group; k++)
            sum += targets[i * group + k] * (float)(k + 1);
        results[i] = sum * params->factor;
    }
    return 0;
}

int32_t bench_edit_cpu(const eum_kernel_call *call)
{
    const bench_params *params = call->params;
    float *values = call->addresses[0];
    for (size_t i = 0; i < params->rows * params->dim; i++)
        values[i] = values[i] * 0.5f + params->factor;
    return 0;
}

int32_t bench_touch_cpu(const eum_kernel_call *call)
{
    uint32_t sum = 0;
    for (size_t i = 1; i < call->count; i++)
        sum += *(const uint32_t *)call->addresses[i];
    *(uint32_t *)call->addresses[0] += sum;
    return 0;
}
