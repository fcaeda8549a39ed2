/* pool: memory that buffers have let go of, kept for the next ones. One a context: memory never reaches another context, so it need not be
 * zeroed in between.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Nothing in the pool is in use by anything in flight: buffers give their memory back when their last job has passed. It counts against the
 * device's budget while it is here. */
#ifndef EUM_SRC_POOL_H
#define EUM_SRC_POOL_H

#include "device/device.h"
#include "extent.h"

#define EUM_POOL_DEFAULT_BYTES ((uint64_t)256 << 20)
#define EUM_POOL_BINS 256

typedef struct eum_pool_entry eum_pool_entry;

/* Zeros are an empty pool that keeps nothing. */
typedef struct eum_pool {
    uint64_t cap, bytes;
    eum_pool_entry *newest, *oldest;     /* of all */
    eum_pool_entry *bins[EUM_POOL_BINS]; /* by size class, newest first */
} eum_pool;

/* The size class of a size: four to each doubling. Rises with the size. */
unsigned eum_pool_bin(uint64_t bytes);

/* Takes a block of this kind, of at least `bytes` and at most a quarter more (or a page more), whose pages are at `where` (managed memory; 0 for
 * the others). */
bool eum_pool_take(eum_pool *pool, eum_memory kind, uint64_t bytes, eum_locations where, eum_block *out);
/* Keeps a block. false: it is larger than the cap, or there is no memory to remember it by; then it is still the caller's. */
bool eum_pool_put(eum_pool *pool, const eum_block *block, eum_locations where);
/* Takes out the block that has been here longest, if the pool holds more than `keep` bytes. */
bool eum_pool_evict(eum_pool *pool, uint64_t keep, eum_block *out);
/* Of device and managed memory: what others get once the pool gives way. */
uint64_t eum_pool_bytes_in_budget(const eum_pool *pool);

#endif
