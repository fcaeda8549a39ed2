/* raw_cuda: by hand with the CUDA runtime. Compiled in builds with CUDA only.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "raw.h"

#include <cuda_runtime_api.h>
#include <stdlib.h>
#include <string.h>

#include "work.h"

static cudaStream_t streams[2];
static cudaEvent_t event;
static int current;

static void check(cudaError_t error, const char *what)
{
    if (error != cudaSuccess)
        bench_stop("%s: %s", what, cudaGetErrorString(error));
}
#define CUDA(call) check(call, #call)

static void cuda_close(void)
{
    for (int i = 0; i < 2; i++)
        CUDA(cudaStreamDestroy(streams[i]));
    CUDA(cudaEventDestroy(event));
}

static void cuda_alloc(eum_memory kind, size_t bytes, eum_block *out)
{
    void *address = NULL;
    *out = (eum_block){.bytes = bytes, .kind = kind};
    if (kind == EUM_MEMORY_PINNED) {
        CUDA(cudaHostAlloc(&address, bytes, cudaHostAllocMapped));
        out->host = address;
        CUDA(cudaHostGetDevicePointer(&out->device, address, 0));
    } else if (kind == EUM_MEMORY_MANAGED) {
        CUDA(cudaMallocManaged(&address, bytes, cudaMemAttachGlobal));
        out->host = out->device = address;
    } else {
        CUDA(cudaMalloc(&out->device, bytes));
    }
}

static void cuda_release(eum_block *block)
{
    if (block->kind == EUM_MEMORY_PINNED)
        CUDA(cudaFreeHost(block->host));
    else
        CUDA(cudaFree(block->device));
}

static void cuda_source(size_t bytes, eum_block *out)
{
    cuda_alloc(EUM_MEMORY_PINNED, bytes, out);
}

static void cuda_copy(int stream, void *dst, const void *src, size_t bytes, eum_direction direction)
{
    (void)direction; /* the runtime sees it by the addresses */
    CUDA(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDefault, streams[stream]));
}

#if CUDART_VERSION >= 13000
static struct cudaMemLocation place(eum_location where)
{
    return (struct cudaMemLocation){.type = where == EUM_LOCATION_HOST ? cudaMemLocationTypeHost : cudaMemLocationTypeDevice,
                                    .id = where == EUM_LOCATION_HOST ? 0 : current};
}
#define PLACE(where) place(where)
#define FLAGS 0,
#else
#define PLACE(where) ((where) == EUM_LOCATION_HOST ? cudaCpuDeviceId : current)
#define FLAGS
#endif

static void cuda_prefetch(int stream, const eum_block *block, size_t offset, size_t bytes, eum_location where)
{
    CUDA(cudaMemPrefetchAsync((char *)block->device + offset, bytes, PLACE(where), FLAGS streams[stream]));
}

static void cuda_advise(const eum_block *block, eum_advice advice, eum_location where)
{
    static const enum cudaMemoryAdvise advices[] = {
        [EUM_ADVICE_READ_MOSTLY] = cudaMemAdviseSetReadMostly,
        [EUM_ADVICE_UNSET_READ_MOSTLY] = cudaMemAdviseUnsetReadMostly,
        [EUM_ADVICE_PREFERRED_LOCATION] = cudaMemAdviseSetPreferredLocation,
        [EUM_ADVICE_UNSET_PREFERRED_LOCATION] = cudaMemAdviseUnsetPreferredLocation,
        [EUM_ADVICE_ACCESSED_BY] = cudaMemAdviseSetAccessedBy,
        [EUM_ADVICE_UNSET_ACCESSED_BY] = cudaMemAdviseUnsetAccessedBy,
    };
    CUDA(cudaMemAdvise(block->device, block->bytes, advices[advice], PLACE(where)));
}

static void cuda_run(int stream, const bench_launch *launch)
{
    eum_kernel_call call = {.struct_size = sizeof call,
                            .count = launch->count,
                            .addresses = launch->addresses,
                            .bytes = launch->bytes,
                            .params = launch->params,
                            .params_bytes = launch->params_bytes,
                            .stream = streams[stream],
                            .device = current};
    check((cudaError_t)launch->gpu(&call), "a kernel");
}

static void cuda_wait(int stream)
{
    CUDA(cudaStreamSynchronize(streams[stream]));
}

static void cuda_order(int stream, int other)
{
    CUDA(cudaEventRecord(event, streams[other]));
    CUDA(cudaStreamWaitEvent(streams[stream], event, 0));
}

const bench_raw *bench_raw_cuda(int32_t index)
{
    static bench_raw raw = {.name = "cuda",
                            .device = true,
                            .close = cuda_close,
                            .alloc = cuda_alloc,
                            .release = cuda_release,
                            .source = cuda_source,
                            .copy = cuda_copy,
                            .prefetch = cuda_prefetch,
                            .advise = cuda_advise,
                            .run = cuda_run,
                            .wait = cuda_wait,
                            .order = cuda_order,
                            .now = bench_wall_ns};
    int concurrent = 0;
    current = index;
    CUDA(cudaSetDevice(index));
    for (int i = 0; i < 2; i++)
        CUDA(cudaStreamCreateWithFlags(&streams[i], cudaStreamNonBlocking));
    CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    CUDA(cudaDeviceGetAttribute(&concurrent, cudaDevAttrConcurrentManagedAccess, index));
    raw.managed = concurrent != 0;
    return &raw;
}

bool bench_cuda_start(const char *device)
{
    int index = 0;
    if (device != NULL && strncmp(device, "cuda", 4) != 0 && strcmp(device, "auto") != 0)
        return false;
    if (device != NULL && strncmp(device, "cuda:", 5) == 0)
        index = atoi(device + 5); /* what is wrong with it, the library will say */
    bool started = cudaSetDevice(index) == cudaSuccess && cudaFree(NULL) == cudaSuccess;
    (void)cudaGetLastError();
    return started;
}

uint64_t bench_cuda_free(void)
{
    size_t left = 0, total = 0;
    CUDA(cudaMemGetInfo(&left, &total));
    return left;
}
