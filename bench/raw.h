/* raw: what somebody has who does it by hand. One table of operations: CUDA's own calls, or those of the device layer for the host and the
 * simulated GPU.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Whatever fails ends the program. Two streams, numbered 0 and 1. */
#ifndef EUM_BENCH_RAW_H
#define EUM_BENCH_RAW_H

#include "device/device.h"

/* A kernel and what it gets. */
typedef struct bench_launch {
    eum_kernel_fn gpu, cpu;
    size_t count;
    void *addresses[4]; /* on the device's side */
    size_t bytes[4];
    eum_access accesses[4];
    const void *params; /* read during the call */
    size_t params_bytes;
} bench_launch;

typedef struct bench_raw {
    const char *name;
    bool virtual_time;
    bool device;  /* the device has memory of its own, and there is pinned memory */
    bool managed; /* managed memory that both sides may use at once */

    void (*close)(void);
    /* kind: HOST where there is no device; PINNED, DEVICE, MANAGED otherwise. */
    void (*alloc)(eum_memory kind, size_t bytes, eum_block *out);
    void (*release)(eum_block *block);
    /* Pinned memory that the library may wrap as well; plain memory where there is no device. */
    void (*source)(size_t bytes, eum_block *out);
    void (*copy)(int stream, void *dst, const void *src, size_t bytes, eum_direction direction);
    void (*prefetch)(int stream, const eum_block *block, size_t offset, size_t bytes, eum_location where);
    void (*advise)(const eum_block *block, eum_advice advice, eum_location where);
    void (*run)(int stream, const bench_launch *launch);
    void (*wait)(int stream);
    void (*order)(int stream, int other); /* what comes next on `stream` waits for what `other` has now */
    double (*now)(void);                  /* ns */
} bench_raw;

/* For the device that a context of the library has found. device: as in its configuration. The table is valid until close. */
const bench_raw *bench_raw_open(const char *device, const eum_info *info);
/* The two tables behind it; raw_cuda only in builds with CUDA. */
const bench_raw *bench_raw_device(const char *device);
const bench_raw *bench_raw_cuda(int32_t index);

/* Starts CUDA on the device that the request means, so that its own memory is in use. false: there is none, or another kind was asked for. */
bool bench_cuda_start(const char *device);
/* Bytes of device memory that are free; 0 without CUDA. */
uint64_t bench_cuda_free(void);

/* Memory that is not managed is slow to get, so it is kept for whoever wants the same next, until keep_drop. Managed memory is not kept. */
void bench_keep_alloc(const bench_raw *raw, eum_memory kind, size_t bytes, eum_block *out);
void bench_keep_release(const bench_raw *raw, eum_block *block);
void bench_keep_drop(const bench_raw *raw);

#endif
