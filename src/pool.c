/* pool: see pool.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "pool.h"

#include <stdlib.h>

struct eum_pool_entry {
    eum_pool_entry *newer, *older;   /* among all */
    eum_pool_entry *previous, *next; /* in its bin */
    eum_block block;
    eum_locations where;
};

#define SMALLEST 8 /* log2 of what one bin holds at the bottom: blocks are aligned to 256 bytes anyway */

unsigned eum_pool_bin(uint64_t bytes)
{
    if (bytes <= (uint64_t)1 << SMALLEST)
        return 0;
    unsigned power = 63u - (unsigned)__builtin_clzll(bytes);
    unsigned quarter = (unsigned)(bytes >> (power - 2)) & 3u;
    return (power - SMALLEST) * 4 + quarter + 1;
}

static void unlink_entry(eum_pool *pool, eum_pool_entry *entry)
{
    *(entry->newer != NULL ? &entry->newer->older : &pool->newest) = entry->older;
    *(entry->older != NULL ? &entry->older->newer : &pool->oldest) = entry->newer;
    *(entry->previous != NULL ? &entry->previous->next : &pool->bins[eum_pool_bin(entry->block.bytes)]) = entry->next;
    if (entry->next != NULL)
        entry->next->previous = entry->previous;
    pool->bytes -= entry->block.bytes;
}

bool eum_pool_take(eum_pool *pool, eum_memory kind, uint64_t bytes, eum_locations where, eum_block *out)
{
    if (pool->newest == NULL)
        return false;
    uint64_t most = bytes + bytes / 4 < bytes + 4096 ? bytes + 4096 : bytes + bytes / 4;
    for (unsigned bin = eum_pool_bin(bytes), last = eum_pool_bin(most); bin <= last && bin < EUM_POOL_BINS; bin++) {
        for (eum_pool_entry *entry = pool->bins[bin]; entry != NULL; entry = entry->next) {
            const eum_block *block = &entry->block;
            if (block->kind != kind || entry->where != where || block->bytes < bytes || block->bytes > most)
                continue;
            *out = *block;
            unlink_entry(pool, entry);
            free(entry);
            return true;
        }
    }
    return false;
}

bool eum_pool_put(eum_pool *pool, const eum_block *block, eum_locations where)
{
    unsigned bin = eum_pool_bin(block->bytes);
    if (block->bytes > pool->cap || bin >= EUM_POOL_BINS)
        return false;
    eum_pool_entry *entry = malloc(sizeof *entry);
    if (entry == NULL)
        return false;
    *entry = (eum_pool_entry){.older = pool->newest, .next = pool->bins[bin], .block = *block, .where = where};
    *(pool->newest != NULL ? &pool->newest->newer : &pool->oldest) = entry;
    pool->newest = entry;
    if (entry->next != NULL)
        entry->next->previous = entry;
    pool->bins[bin] = entry;
    pool->bytes += block->bytes;
    return true;
}

uint64_t eum_pool_bytes_in_budget(const eum_pool *pool)
{
    uint64_t bytes = 0;
    for (const eum_pool_entry *entry = pool->newest; entry != NULL; entry = entry->older)
        if (entry->block.kind == EUM_MEMORY_DEVICE || entry->block.kind == EUM_MEMORY_MANAGED)
            bytes += entry->block.bytes;
    return bytes;
}

bool eum_pool_evict(eum_pool *pool, uint64_t keep, eum_block *out)
{
    if (pool->oldest == NULL || pool->bytes <= keep)
        return false;
    eum_pool_entry *entry = pool->oldest;
    *out = entry->block;
    unlink_entry(pool, entry);
    free(entry);
    return true;
}
