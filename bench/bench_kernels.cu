/* bench_kernels: see bench_kernels.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "bench/bench_kernels.h"

#include <cuda_runtime.h>

extern "C" {
#include "kernels/kernels.h"
}

static const unsigned RESULTS_A_ROW = 64;

/* A warp takes 32 results at a time: their groups lie one after the other, so what it reads is in order. */
__global__ static void spread_kernel(const float *targets, float *results, uint64_t count, unsigned group, float factor)
{
    for (uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; i < count; i += (uint64_t)gridDim.x * blockDim.x) {
        const float *from = targets + i * group;
        float sum = 0;
        if (group % 4 == 0) {
            for (unsigned k = 0; k < group; k += 4) {
                float4 four = *reinterpret_cast<const float4 *>(from + k);
                sum += four.x * (float)(k + 1) + four.y * (float)(k + 2) + four.z * (float)(k + 3) + four.w * (float)(k + 4);
            }
        } else {
            for (unsigned k = 0; k < group; k++)
                sum += from[k] * (float)(k + 1);
        }
        results[i] = sum * factor;
    }
}

__global__ static void edit_kernel(float *values, uint64_t count, float add)
{
    for (uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; i < count; i += (uint64_t)gridDim.x * blockDim.x)
        values[i] = values[i] * 0.5f + add;
}

__global__ static void touch_kernel(uint32_t *a, const uint32_t *b, const uint32_t *c, const uint32_t *d)
{
    if (threadIdx.x == 0)
        *a += *b + *c + *d;
}

static unsigned blocks_of(uint64_t items)
{
    uint64_t blocks = (items + 255) / 256;
    return static_cast<unsigned>(blocks < 1056 ? blocks : 1056); /* 8 for each of an H100's 132 multiprocessors */
}

int32_t bench_cosine_gpu(const eum_kernel_call *call)
{
    const bench_params *params = static_cast<const bench_params *>(call->params);
    eum_cosine_args args = {static_cast<const float *>(call->addresses[0]),
                            static_cast<const float *>(call->addresses[1]),
                            static_cast<float *>(call->addresses[2]),
                            params->rows,
                            params->dim,
                            params->dim * 4};
    eum_cosine_launch launch = {};
    const int32_t error = eum_cosine_cuda_choose(&args, &launch);
    void *parameters[] = {&args};
    return error != 0 ? error
                      : cudaLaunchKernel(launch.kernel, dim3(launch.blocks), dim3(launch.threads), parameters, launch.shared_bytes,
                                         static_cast<cudaStream_t>(call->stream));
}

int32_t bench_spread_gpu(const eum_kernel_call *call)
{
    const bench_params *params = static_cast<const bench_params *>(call->params);
    uint64_t count = params->rows * RESULTS_A_ROW;
    spread_kernel<<<blocks_of(count), 256, 0, static_cast<cudaStream_t>(call->stream)>>>(
        static_cast<const float *>(call->addresses[0]), static_cast<float *>(call->addresses[1]), count,
        static_cast<unsigned>(params->dim / RESULTS_A_ROW), params->factor);
    return cudaGetLastError();
}

int32_t bench_edit_gpu(const eum_kernel_call *call)
{
    const bench_params *params = static_cast<const bench_params *>(call->params);
    uint64_t count = params->rows * params->dim;
    edit_kernel<<<blocks_of(count), 256, 0, static_cast<cudaStream_t>(call->stream)>>>(static_cast<float *>(call->addresses[0]),
                                                                                       count, params->factor);
    return cudaGetLastError();
}

int32_t bench_touch_gpu(const eum_kernel_call *call)
{
    touch_kernel<<<1, 32, 0, static_cast<cudaStream_t>(call->stream)>>>(
        static_cast<uint32_t *>(call->addresses[0]), static_cast<const uint32_t *>(call->addresses[1]),
        static_cast<const uint32_t *>(call->addresses[2]), static_cast<const uint32_t *>(call->addresses[3]));
    return cudaGetLastError();
}
