/* bench_launch_kernels: the kernels of bench_launch.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <cstdint>
#include <cuda_runtime.h>

#include "engram_um.h"

/* Views: words to read; a 64-bit sum for each block, which the CPU adds up. */
__global__ static void sum_kernel(const uint32_t *words, uint64_t count, unsigned long long *sums)
{
    __shared__ unsigned long long shared;
    unsigned long long mine = 0;
    if (threadIdx.x == 0)
        shared = 0;
    __syncthreads();
    for (uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; i < count; i += (uint64_t)gridDim.x * blockDim.x)
        mine += words[i];
    atomicAdd(&shared, mine);
    __syncthreads();
    if (threadIdx.x == 0)
        sums[blockIdx.x] = shared;
}

__global__ static void touch_kernel(uint32_t *a, const uint32_t *b, const uint32_t *c, const uint32_t *d)
{
    if (threadIdx.x == 0)
        *a += *b + *c + *d;
}

extern "C" int32_t bench_sum(const eum_kernel_call *call)
{
    cudaStream_t stream = static_cast<cudaStream_t>(call->stream);
    sum_kernel<<<static_cast<unsigned>(call->bytes[1] / sizeof(unsigned long long)), 512, 0, stream>>>(static_cast<const uint32_t *>(call->addresses[0]), call->bytes[0] / 4,
                                        static_cast<unsigned long long *>(call->addresses[1]));
    return cudaGetLastError();
}

extern "C" int32_t bench_touch(const eum_kernel_call *call)
{
    touch_kernel<<<1, 32, 0, static_cast<cudaStream_t>(call->stream)>>>(
        static_cast<uint32_t *>(call->addresses[0]), static_cast<const uint32_t *>(call->addresses[1]),
        static_cast<const uint32_t *>(call->addresses[2]), static_cast<const uint32_t *>(call->addresses[3]));
    return cudaGetLastError();
}
