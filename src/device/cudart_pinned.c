/* cudart_pinned: pinned host memory. Large blocks are mappings of their own, hinted for huge pages and registered, which costs a fraction of what
 * cudaHostAlloc does (H100, driver 580: 64 MiB in 16 ms instead of 31, of which 14 ms are the zeroing of pages). Small blocks are cut from slabs,
 * because pinning anything takes hundreds of microseconds.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "device/device.h"

#if EUM_HAVE_CUDA

#include <stdlib.h>
#include <sys/mman.h>

#include "device/cudart.h"

#define SLAB CUDA_BLOCK
#define UNIT ((size_t)4096)
#define UNITS (SLAB / UNIT)
#define WORD_BITS 64
#define SMALL (SLAB / 2) /* most that is cut from a slab */

/* Of the process: pinned memory is every device's, and blocks that were given up are freed at any time, by their address, after their device was
 * closed too. */
typedef struct slab {
    struct slab *next;
    char *host, *device;
    uint64_t used[UNITS / WORD_BITS]; /* a bit for each unit */
    uint16_t length[UNITS];           /* of the block that begins there, in units */
    size_t count;                     /* units in use */
} slab;
typedef struct mapping {
    struct mapping *next;
    char *host;
    size_t bytes;
} mapping;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static slab *slabs;
static size_t empty_slabs; /* one is kept */
static mapping *mappings;

/* ---------------------------------------------------------------------------------------------- mappings ----------- */

/* Aligned to 2 MiB, so that huge pages fit. NULL: no memory. */
static char *map_aligned(size_t bytes)
{
    char *all = mmap(NULL, bytes + CUDA_BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED)
        return NULL;
    size_t before = (CUDA_BLOCK - (uintptr_t)all % CUDA_BLOCK) % CUDA_BLOCK;
    if (before > 0)
        (void)munmap(all, before);
    (void)munmap(all + before + bytes, CUDA_BLOCK - before);
    (void)madvise(all + before, bytes, MADV_HUGEPAGE);
    (void)madvise(all + before, bytes,
                  MADV_DONTFORK); /* a child that wrote would get a copy, or give us one that the device does not know */
    return all + before;
}

/* Inside enter and leave. */
static cudaError_t pin(size_t bytes, char **out_host, char **out_device)
{
    void *device = NULL;
    char *host = map_aligned(bytes);
    if (host == NULL)
        return cudaErrorMemoryAllocation;
    cudaError_t error = cudaHostRegister(host, bytes, cudaHostRegisterPortable | cudaHostRegisterMapped);
    if (error == cudaSuccess) {
        error = cudaHostGetDevicePointer(&device, host, 0);
        if (error != cudaSuccess)
            (void)cudaHostUnregister(host);
    }
    if (error != cudaSuccess) {
        (void)munmap(host, bytes);
        return error;
    }
    *out_host = host;
    *out_device = device;
    return cudaSuccess;
}

/* Inside enter and leave. */
static cudaError_t unpin(char *host, size_t bytes)
{
    cudaError_t error = cudaHostUnregister(host);
    if (error == cudaSuccess) /* else the device may still reach it: better to lose the address range */
        (void)munmap(host, bytes);
    return error;
}

/* ------------------------------------------------------------------------------------------------- slabs ----------- */

static bool is_used(const slab *s, size_t unit)
{
    return (s->used[unit / WORD_BITS] >> unit % WORD_BITS & 1) != 0;
}

static void mark(slab *s, size_t first, size_t count, bool used)
{
    for (size_t unit = first; unit < first + count; unit++) {
        uint64_t bit = (uint64_t)1 << unit % WORD_BITS;
        s->used[unit / WORD_BITS] = used ? s->used[unit / WORD_BITS] | bit : s->used[unit / WORD_BITS] & ~bit;
    }
    s->count = used ? s->count + count : s->count - count;
}

/* The first gap of `count` units; UNITS if there is none. */
static size_t find_gap(const slab *s, size_t count)
{
    for (size_t unit = 0, run = 0; UNITS - s->count >= count && unit < UNITS; unit++) {
        run = is_used(s, unit) ? 0 : run + 1;
        if (run == count)
            return unit + 1 - count;
    }
    return UNITS;
}

/* Under the mutex, inside enter and leave. */
static cudaError_t add_slab(void)
{
    slab *s = calloc(1, sizeof *s);
    if (s == NULL)
        return cudaErrorMemoryAllocation;
    cudaError_t error = pin(SLAB, &s->host, &s->device);
    if (error != cudaSuccess) {
        free(s);
        return error;
    }
    s->next = slabs;
    slabs = s;
    empty_slabs++;
    return cudaSuccess;
}

/* Under the mutex, inside enter and leave. */
static cudaError_t cut(size_t units, eum_block *block)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        for (slab *s = slabs; s != NULL; s = s->next) {
            size_t first = find_gap(s, units);
            if (first == UNITS)
                continue;
            empty_slabs -= s->count == 0;
            mark(s, first, units, true);
            s->length[first] = (uint16_t)units;
            block->host = s->host + first * UNIT;
            block->device = s->device + first * UNIT;
            return cudaSuccess;
        }
        cudaError_t error = attempt == 0 ? add_slab() : cudaSuccess;
        if (error != cudaSuccess)
            return error;
    }
    return cudaErrorMemoryAllocation;
}

/* Under the mutex, inside enter and leave. The slab is the one at `*at`. */
static cudaError_t give_back(slab **at, const char *address)
{
    slab *s = *at;
    size_t unit = (size_t)(address - s->host) / UNIT;
    mark(s, unit, s->length[unit], false);
    if (s->count > 0)
        return cudaSuccess;
    if (empty_slabs == 0) {
        empty_slabs = 1;
        return cudaSuccess;
    }
    *at = s->next;
    cudaError_t error = unpin(s->host, SLAB);
    free(s);
    return error;
}

/* ------------------------------------------------------------------------------------------------- blocks ---------- */

static cudaError_t map_block(size_t bytes, eum_block *block)
{
    char *host = NULL, *device = NULL;
    mapping *m = calloc(1, sizeof *m);
    if (m == NULL)
        return cudaErrorMemoryAllocation;
    m->bytes = (bytes + CUDA_BLOCK - 1) / CUDA_BLOCK * CUDA_BLOCK;
    cudaError_t error = pin(m->bytes, &host, &device);
    if (error != cudaSuccess) {
        free(m);
        return error;
    }
    m->host = block->host = host;
    block->device = device;
    (void)pthread_mutex_lock(&mutex);
    m->next = mappings;
    mappings = m;
    (void)pthread_mutex_unlock(&mutex);
    return cudaSuccess;
}

cudaError_t cuda_pinned_alloc(size_t bytes, eum_block *block)
{
    if (bytes > SMALL)
        return map_block(bytes, block);
    (void)pthread_mutex_lock(&mutex);
    cudaError_t error = cut((bytes + UNIT - 1) / UNIT, block);
    (void)pthread_mutex_unlock(&mutex);
    return error;
}

/* Takes the mapping out of the list; NULL if the address is none's. Under the mutex. */
static mapping *take_mapping(const char *address)
{
    for (mapping **at = &mappings; *at != NULL; at = &(*at)->next) {
        mapping *m = *at;
        if (m->host != address)
            continue;
        *at = m->next;
        return m;
    }
    return NULL;
}

cudaError_t cuda_pinned_free(void *address)
{
    (void)pthread_mutex_lock(&mutex);
    mapping *m = take_mapping(address);
    cudaError_t error = m != NULL ? cudaSuccess : cudaErrorInvalidValue;
    for (slab **at = &slabs; m == NULL && *at != NULL; at = &(*at)->next) {
        if ((char *)address < (*at)->host || (char *)address >= (*at)->host + SLAB)
            continue;
        error = give_back(at, address);
        break;
    }
    (void)pthread_mutex_unlock(&mutex);
    if (m != NULL)
        error = unpin(m->host, m->bytes);
    free(m);
    return error;
}

#endif
