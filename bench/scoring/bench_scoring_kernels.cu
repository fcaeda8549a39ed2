/* bench_scoring_kernels: data, and what the scoring is compared with: reading the same bytes and doing nothing.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "bench_scoring.h"

namespace
{

__device__ float random_at(uint64_t seed, uint64_t i)
{
    uint64_t x = (i + 1) * 0x9E3779B97F4A7C15ull ^ seed << 40;
    x ^= x >> 31;
    x *= 0xBF58476D1CE4E5B9ull;
    x ^= x >> 29;
    return static_cast<float>(static_cast<uint32_t>(x)) * 0x1p-31f - 1.0f;
}

template <typename Element> __global__ void fill_kernel(Element *to, uint64_t count, uint64_t seed)
{
    for (uint64_t i = blockIdx.x * static_cast<uint64_t>(blockDim.x) + threadIdx.x; i < count;
         i += static_cast<uint64_t>(gridDim.x) * blockDim.x)
        to[i] = static_cast<Element>(random_at(seed, i));
}

__device__ float sum_block(float x)
{
    __shared__ float sums[8];
    for (int distance = 16; distance > 0; distance /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, distance);
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        sums[threadIdx.x / 32] = x;
    __syncthreads();
    x = 0.0f;
    for (int i = 0; i < 8; i++)
        x += sums[i];
    return x;
}

/* Row r: a random vector across the query, of length 1, and 2 r / rows along it: the cosine ascends with r. */
__global__ void ascending_kernel(float *to, const float *query, uint64_t rows, uint64_t dim)
{
    for (uint64_t r = blockIdx.x; r < rows; r += gridDim.x) {
        float squares = 0.0f, dot = 0.0f, across = 0.0f;
        for (uint64_t k = threadIdx.x; k < dim; k += 256) {
            squares = fmaf(query[k], query[k], squares);
            dot = fmaf(query[k], random_at(3, r * dim + k), dot);
        }
        squares = sum_block(squares);
        dot = sum_block(dot);
        for (uint64_t k = threadIdx.x; k < dim; k += 256) {
            float x = random_at(3, r * dim + k) - dot / squares * query[k];
            across = fmaf(x, x, across);
        }
        across = sum_block(across);
        const float along = 2.0f * static_cast<float>(r) / static_cast<float>(rows) / sqrtf(squares);
        for (uint64_t k = threadIdx.x; k < dim; k += 256)
            to[r * dim + k] = (random_at(3, r * dim + k) - dot / squares * query[k]) / sqrtf(across) + along * query[k];
    }
}

/* Reads all and keeps nothing: IN_FLIGHT loads of 16 bytes a thread before the first is used. */
template <int IN_FLIGHT> __global__ void __launch_bounds__(256) read_kernel(const uint4 *from, uint64_t count, uint32_t *sink)
{
    const uint64_t threads = static_cast<uint64_t>(gridDim.x) * blockDim.x;
    uint32_t seen = 0;
    uint64_t i = blockIdx.x * static_cast<uint64_t>(blockDim.x) + threadIdx.x;
    for (; i + (IN_FLIGHT - 1) * threads < count; i += IN_FLIGHT * threads) {
        uint4 x[IN_FLIGHT];
#pragma unroll
        for (int n = 0; n < IN_FLIGHT; n++)
            x[n] = __ldg(from + i + n * threads);
#pragma unroll
        for (int n = 0; n < IN_FLIGHT; n++)
            seen ^= x[n].x ^ x[n].y ^ x[n].z ^ x[n].w;
    }
    for (; i < count; i += threads)
        seen ^= from[i].x ^ from[i].y ^ from[i].z ^ from[i].w;
    if (seen == 0x12345678u) /* the compiler does not know that this does not happen */
        *sink = seen;
}

__global__ void empty_kernel() {}

} // namespace

extern "C" int32_t bench_fill(void *to, uint64_t count, int32_t element, uint64_t seed)
{
    if (element == EUM_ELEMENT_FLOAT16)
        fill_kernel<<<1024, 256>>>(static_cast<__half *>(to), count, seed);
    else if (element == EUM_ELEMENT_BFLOAT16)
        fill_kernel<<<1024, 256>>>(static_cast<__nv_bfloat16 *>(to), count, seed);
    else
        fill_kernel<<<1024, 256>>>(static_cast<float *>(to), count, seed);
    return cudaGetLastError();
}

extern "C" int32_t bench_fill_ascending(float *to, const float *query, uint64_t rows, uint64_t dim)
{
    ascending_kernel<<<2048, 256>>>(to, query, rows, dim);
    return cudaGetLastError();
}

extern "C" int32_t bench_read(int32_t variant, const void *from, uint64_t bytes, uint32_t *sink, int32_t processors, void *stream)
{
    const unsigned blocks = static_cast<unsigned>(processors << variant % 4);
    cudaStream_t on = static_cast<cudaStream_t>(stream);
    const uint4 *pieces = static_cast<const uint4 *>(from);
    if (variant / 4 == 0)
        read_kernel<4><<<blocks, 256, 0, on>>>(pieces, bytes / 16, sink);
    else if (variant / 4 == 1)
        read_kernel<8><<<blocks, 256, 0, on>>>(pieces, bytes / 16, sink);
    else
        read_kernel<12><<<blocks, 256, 0, on>>>(pieces, bytes / 16, sink);
    return cudaGetLastError();
}

extern "C" int32_t bench_empty(void *stream)
{
    empty_kernel<<<1, 32, 0, static_cast<cudaStream_t>(stream)>>>();
    return cudaGetLastError();
}
