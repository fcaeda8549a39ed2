/* raw: see raw.h. Which table, and memory that is kept.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "raw.h"

#include <string.h>

#include "work.h"

#define KEPT 32

static struct {
    eum_block block;
    bool used;
} kept[KEPT];

const bench_raw *bench_raw_open(const char *device, const eum_info *info)
{
#if EUM_HAVE_CUDA
    if (info->device_kind == EUM_DEVICE_CUDA)
        return bench_raw_cuda(info->device_index);
#endif
    return bench_raw_device(info->device_kind == EUM_DEVICE_HOST ? "host" : device);
}

#if !EUM_HAVE_CUDA
bool bench_cuda_start(const char *device)
{
    (void)device;
    return false;
}

uint64_t bench_cuda_free(void)
{
    return 0;
}
#endif

void bench_keep_alloc(const bench_raw *raw, eum_memory kind, size_t bytes, eum_block *out)
{
    if (kind == EUM_MEMORY_MANAGED) {
        raw->alloc(kind, bytes, out);
        return;
    }
    int empty = -1;
    for (int i = 0; i < KEPT; i++) {
        if (kept[i].block.bytes == bytes && kept[i].block.kind == kind && !kept[i].used) {
            kept[i].used = true;
            *out = kept[i].block;
            return;
        }
        if (kept[i].block.bytes == 0 && empty < 0)
            empty = i;
    }
    if (empty < 0)
        bench_stop("more than %d blocks of memory are in use", KEPT);
    raw->alloc(kind, bytes, &kept[empty].block);
    kept[empty].used = true;
    *out = kept[empty].block;
}

void bench_keep_release(const bench_raw *raw, eum_block *block)
{
    if (block->bytes == 0)
        return;
    if (block->kind == EUM_MEMORY_MANAGED)
        raw->release(block);
    for (int i = 0; i < KEPT; i++)
        if (kept[i].used && kept[i].block.host == block->host && kept[i].block.device == block->device)
            kept[i].used = false;
    memset(block, 0, sizeof *block);
}

void bench_keep_drop(const bench_raw *raw)
{
    for (int i = 0; i < KEPT; i++) {
        if (kept[i].block.bytes == 0 || kept[i].used)
            continue;
        raw->release(&kept[i].block);
        memset(&kept[i], 0, sizeof kept[i]);
    }
}
