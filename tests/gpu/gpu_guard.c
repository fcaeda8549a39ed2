/* gpu_guard: keeps the tests and the benchmark from asking a shared machine for too much. The linker sends every call here (--wrap): at most
 * 1 GiB of managed memory in the process at any time, and never more than half of what is free on the device. Small requests are not held up:
 * asking for what is free takes longer than an allocation, and the benchmark measures those.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <cuda_runtime_api.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define MOST ((size_t)1 << 30)
#define BLOCKS 4096
#define SMALL ((size_t)128 << 20) /* in use and asked for: nobody is left without memory by that */

cudaError_t __real_cudaMallocManaged(void **pointer, size_t bytes, unsigned flags);
cudaError_t __wrap_cudaMallocManaged(void **pointer, size_t bytes, unsigned flags);
cudaError_t __real_cudaFree(void *pointer);
cudaError_t __wrap_cudaFree(void *pointer);

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct {
    void *pointer;
    size_t bytes;
} blocks[BLOCKS];
static size_t in_use, slots; /* blocks[slots] and what follows were never used */

cudaError_t __wrap_cudaMallocManaged(void **pointer, size_t bytes, unsigned flags)
{
    pthread_mutex_lock(&mutex);
    size_t unused = 2 * SMALL, total = 0, slot = 0;
    cudaError_t error = cudaSuccess;
    if (bytes > SMALL || in_use + bytes > SMALL)
        error = cudaMemGetInfo(&unused, &total);
    while (slot < slots && blocks[slot].pointer != NULL)
        slot++;
    if (error == cudaSuccess && (bytes > MOST || in_use + bytes > MOST || bytes > unused / 2 || slot == BLOCKS)) {
        fprintf(stderr, "guard: %zu bytes of managed memory refused: %zu in use, %zu free on the device\n", bytes, in_use, unused);
        error = cudaErrorMemoryAllocation;
    }
    if (error == cudaSuccess)
        error = __real_cudaMallocManaged(pointer, bytes, flags);
    if (error == cudaSuccess) {
        blocks[slot].pointer = *pointer;
        blocks[slot].bytes = bytes;
        in_use += bytes;
        slots = slot == slots ? slots + 1 : slots;
    }
    pthread_mutex_unlock(&mutex);
    return error;
}

cudaError_t __wrap_cudaFree(void *pointer)
{
    pthread_mutex_lock(&mutex);
    for (size_t i = 0; pointer != NULL && i < slots; i++) {
        if (blocks[i].pointer == pointer) {
            in_use -= blocks[i].bytes;
            blocks[i].pointer = NULL;
            break;
        }
    }
    pthread_mutex_unlock(&mutex);
    return __real_cudaFree(pointer);
}
