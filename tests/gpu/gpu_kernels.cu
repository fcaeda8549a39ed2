/* gpu_kernels: see gpu_kernels.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "gpu_kernels.h"

#include <cuda_runtime.h>

struct arguments {
    gpu_work work;
    uint32_t *views[GPU_VIEWS];
    uint64_t words[GPU_VIEWS];
};

__global__ static void work_kernel(arguments a)
{
    if (a.work.spin_us > 0) {
        long long until = clock64() + (long long)a.work.spin_us * 1500;
        while (clock64() < until) {
        }
    }
    uint64_t first = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x, step = (uint64_t)gridDim.x * blockDim.x, sum = 0;
    for (uint32_t v = 0; v < a.work.views; v++) {
        eum_access access = a.work.accesses[v];
        for (uint64_t i = first; i < a.words[v]; i += step) {
            uint32_t before = access == EUM_ACCESS_OVERWRITE ? 0 : a.views[v][i];
            uint32_t after = gpu_word(a.work.seed + v, access, i, before, &sum);
            if (access == EUM_ACCESS_OVERWRITE || (access == EUM_ACCESS_READ_WRITE && after != before))
                a.views[v][i] = after;
        }
    }
    if (a.work.checksum != nullptr && sum != 0)
        atomicAdd(reinterpret_cast<unsigned long long *>(a.work.checksum), (unsigned long long)sum);
}

int32_t gpu_work_enqueue(const gpu_work *work, void *const *addresses, const size_t *bytes, void *cuda_stream)
{
    arguments a = {};
    a.work = *work;
    uint64_t most = 1;
    for (uint32_t v = 0; v < work->views; v++) {
        a.views[v] = static_cast<uint32_t *>(addresses[v]);
        a.words[v] = bytes[v] / sizeof(uint32_t);
        most = a.words[v] > most ? a.words[v] : most;
    }
    uint64_t blocks = (most + 1023) / 1024;
    work_kernel<<<static_cast<unsigned>(blocks < 1024 ? blocks : 1024), 256, 0, static_cast<cudaStream_t>(cuda_stream)>>>(a);
    return static_cast<int32_t>(cudaGetLastError());
}

int32_t gpu_work_launch(const eum_kernel_call *call)
{
    return gpu_work_enqueue(static_cast<const gpu_work *>(call->params), call->addresses, call->bytes, call->stream);
}

struct row_arguments {
    gpu_rows work;
    const uint32_t *source;
    uint64_t first, rows;
    const uint32_t *plus;
    uint32_t *hashes, *counts;
};

__global__ static void rows_kernel(row_arguments a)
{
    if (a.work.spin_us > 0) {
        long long until = clock64() + (long long)a.work.spin_us * 1500;
        while (clock64() < until) {
        }
    }
    uint64_t at = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x, step = (uint64_t)gridDim.x * blockDim.x;
    for (uint64_t i = at; i < a.rows; i += step)
        a.hashes[a.first + i] = gpu_hash_row(a.source + i * a.work.row_words, a.work.row_words) + *a.plus;
    if (at == 0) {
        a.counts[0] = (a.first == 0 ? 0 : a.counts[0]) + 1;
        a.counts[1] = (a.first == 0 ? 0 : a.counts[1]) + (uint32_t)a.rows;
    }
}

int32_t gpu_rows_launch(const eum_kernel_call *call)
{
    gpu_rows_told *told = static_cast<gpu_rows_told *>(call->user);
    told->calls++;
    told->rows += call->rows;
    if (told->calls == told->fail_at || call->count != 3)
        return static_cast<int32_t>(cudaErrorInvalidValue);
    row_arguments a = {};
    a.work = *static_cast<const gpu_rows *>(call->params);
    a.source = static_cast<const uint32_t *>(call->source);
    a.first = call->first_row;
    a.rows = call->rows;
    a.plus = static_cast<const uint32_t *>(call->addresses[0]);
    a.hashes = static_cast<uint32_t *>(call->addresses[1]);
    a.counts = static_cast<uint32_t *>(call->addresses[2]);
    uint64_t blocks = (call->rows + 127) / 128;
    rows_kernel<<<static_cast<unsigned>(blocks < 1      ? 1
                                        : blocks < 4096 ? blocks
                                                        : 4096),
                  128, 0, static_cast<cudaStream_t>(call->stream)>>>(a);
    return static_cast<int32_t>(cudaGetLastError());
}
