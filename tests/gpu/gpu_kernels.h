/* gpu_kernels: the kernels of the GPU tests, and the same work on the CPU.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A kernel works on views of 32-bit words. Of a view that it reads it makes a checksum; of one that it reads and writes it changes every
 * fourth word or so; one that it overwrites it fills. What it does is a function of `seed` and of the position of a word in its view. */
#ifndef EUM_TESTS_GPU_KERNELS_H
#define EUM_TESTS_GPU_KERNELS_H

#include "engram_um.h"

#ifdef __cplusplus
extern "C" {
#endif

#define GPU_VIEWS 4

typedef struct gpu_work {
    uint32_t seed;
    uint32_t views;
    eum_access accesses[GPU_VIEWS];
    uint64_t *checksum; /* device memory, added to; NULL: nobody wants it */
    uint32_t spin_us;   /* how long the kernel waits before it starts */
} gpu_work;

/* Callbacks of eum_launch: params is a gpu_work. */
int32_t gpu_work_launch(const eum_kernel_call *call);
/* The same, enqueued by hand. Returns a cudaError_t. */
int32_t gpu_work_enqueue(const gpu_work *work, void *const *addresses, const size_t *bytes, void *cuda_stream);

/* Of launches with host_source: a hash of each row goes to argument 1 (a word a row), and argument 2 counts [calls, rows] from the call of row 0 on.
 * Argument 0 is a word that is added to the hashes. */
typedef struct gpu_rows {
    uint32_t row_words;
    uint32_t spin_us; /* how long each kernel waits before it starts */
} gpu_rows;
/* By call->user; the calls themselves are counted, and one of them may fail. */
typedef struct gpu_rows_told {
    uint32_t calls, fail_at; /* fail_at: that call, from 1, starts nothing; 0: none */
    uint64_t rows;
} gpu_rows_told;
/* Callback of eum_launch: params is a gpu_rows, user a gpu_rows_told. */
int32_t gpu_rows_launch(const eum_kernel_call *call);

static inline
#ifdef __CUDACC__
    __host__ __device__
#endif
        uint32_t
        gpu_hash_row(const uint32_t *row, uint32_t words)
{
    uint32_t hash = 17;
    for (uint32_t i = 0; i < words; i++)
        hash = hash * 31 + row[i];
    return hash;
}

static inline
#ifdef __CUDACC__
    __host__ __device__
#endif
        uint32_t
        gpu_hash(uint32_t seed, uint64_t position)
{
    uint64_t x = (position + 1) * 0x9E3779B97F4A7C15ull ^ ((uint64_t)seed << 21);
    x ^= x >> 31;
    x *= 0xBF58476D1CE4E5B9ull;
    x ^= x >> 29;
    return (uint32_t)x;
}

/* What becomes of one word; *sum is added to. */
static inline
#ifdef __CUDACC__
    __host__ __device__
#endif
        uint32_t
        gpu_word(uint32_t seed, eum_access access, uint64_t position, uint32_t word, uint64_t *sum)
{
    uint32_t random = gpu_hash(seed, position);
    if (access == EUM_ACCESS_OVERWRITE)
        return random;
    *sum += (uint64_t)word * (2 * (position % 1021) + 1);
    return access == EUM_ACCESS_READ_WRITE && random % 4 == 0 ? word * 1664525u + random : word;
}

/* The same on the CPU: the checksum is returned. */
static inline uint64_t gpu_work_model(const gpu_work *work, uint32_t *const *views, const uint64_t *words)
{
    uint64_t sum = 0;
    for (uint32_t v = 0; v < work->views; v++)
        for (uint64_t i = 0; i < words[v]; i++) {
            uint32_t before = work->accesses[v] == EUM_ACCESS_OVERWRITE ? 0 : views[v][i];
            uint32_t after = gpu_word(work->seed + v, work->accesses[v], i, before, &sum);
            if (work->accesses[v] != EUM_ACCESS_READ)
                views[v][i] = after;
        }
    return sum;
}

#ifdef __cplusplus
}
#endif
#endif
