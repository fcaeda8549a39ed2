/* host_memory: aligned memory; from 2 MiB up in huge pages where the system has them.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "device/host.h"

/* token: bytes of the mapping, 0 for memory of the C library. */

static eum_status no_memory(size_t bytes)
{
    return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "The system has no %zu bytes of memory left (%s); free something or ask for less.",
                    bytes, strerror(ENOMEM));
}

/* Maps `bytes`, a multiple of HOST_BLOCK, at a multiple of HOST_BLOCK: maps one block more and gives both ends back. */
static void *map_aligned(size_t bytes)
{
    size_t mapped = bytes + HOST_BLOCK;
    char *start = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED)
        return NULL;
    size_t before = (HOST_BLOCK - (uintptr_t)start % HOST_BLOCK) % HOST_BLOCK;
    if (before != 0)
        (void)munmap(start, before);
    if (mapped - before != bytes)
        (void)munmap(start + before + bytes, mapped - before - bytes);
    (void)madvise(start + before, bytes, MADV_HUGEPAGE); /* a hint: kernels without huge pages refuse it */
    return start + before;
}

eum_status host_alloc(eum_device *device, eum_memory kind, size_t bytes, eum_block *out)
{
    (void)device;
    if (kind != EUM_MEMORY_HOST)
        return eum_fail(EUM_ERROR_NOT_SUPPORTED, "The host device has plain host memory only; memory of kind %d was asked for.",
                        kind);
    if (bytes > SIZE_MAX / 2)
        return no_memory(bytes);
    void *address = NULL;
    size_t mapped = 0;
    if (bytes >= HOST_BLOCK) {
        mapped = (bytes + HOST_BLOCK - 1) / HOST_BLOCK * HOST_BLOCK;
        address = map_aligned(mapped);
    } else {
        address = aligned_alloc(HOST_ALIGNMENT, (bytes + HOST_ALIGNMENT - 1) / HOST_ALIGNMENT * HOST_ALIGNMENT);
    }
    if (address == NULL)
        return no_memory(bytes);
    *out = (eum_block){.host = address, .device = address, .bytes = bytes, .kind = kind, .token = mapped};
    return EUM_OK;
}

static void free_memory(void *address, size_t mapped)
{
    if (mapped != 0)
        (void)munmap(address, mapped);
    else
        free(address);
}

void host_release(eum_device *device, eum_block *block)
{
    (void)device;
    free_memory(block->host, block->token);
}

/* Kernels run where the memory is: nothing needs pinning. */
eum_status host_adopt(eum_device *device, eum_memory kind, void *address, size_t bytes, bool reg, eum_block *out)
{
    (void)device, (void)reg;
    if (kind != EUM_MEMORY_HOST && kind != EUM_MEMORY_PINNED)
        return eum_fail(EUM_ERROR_NOT_SUPPORTED,
                        "The context runs on the host, which cannot reach %s memory; wrap it in a context on the CUDA device.",
                        kind == EUM_MEMORY_MANAGED ? "managed" : "device");
    *out = (eum_block){.host = address, .device = address, .bytes = bytes, .kind = kind, .adopted = true};
    return EUM_OK;
}

void host_unadopt(eum_device *device, eum_block *block)
{
    (void)device, (void)block;
}

/* user: bytes of the mapping. */
static void release_given_up(void *user, void *address, size_t bytes)
{
    (void)bytes;
    free_memory(address, (size_t)(uintptr_t)user);
}

void host_give_up(eum_device *device, eum_block *block, eum_release_fn *out_release, void **out_user)
{
    (void)device;
    *out_release = release_given_up;
    *out_user = (void *)block->token;
}
