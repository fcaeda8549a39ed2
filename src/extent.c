/* extent: see extent.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "extent.h"

#include <stdlib.h>
#include <string.h>

void eum_extents_init(eum_extents *set, uint64_t bytes, eum_locations valid, uint32_t flags)
{
    memset(set, 0, sizeof *set);
    set->items = &set->one;
    set->capacity = 1;
    if (bytes == 0)
        return;
    set->one = (eum_extent){.begin = 0, .end = bytes, .valid = valid, .flags = flags};
    set->count = 1;
}

void eum_extents_free(eum_extents *set)
{
    if (set->items != &set->one)
        free(set->items);
    set->items = &set->one;
    set->count = 0;
    set->capacity = 1;
}

bool eum_extents_reserve(eum_extents *set, size_t changes)
{
    return eum_extents_reserve_boundaries(set, 2 * changes);
}

size_t eum_extents_splits(const eum_extents *set, uint64_t offset)
{
    if (set->count == 0 || offset >= set->items[set->count - 1].end)
        return 0;
    return set->items[eum_extents_find(set, offset)].begin != offset;
}

/* Merging in between does not matter: each boundary that goes leaves room for it to come back. */
bool eum_extents_reserve_boundaries(eum_extents *set, size_t boundaries)
{
    size_t need = set->count + boundaries;
    if (need <= set->capacity)
        return true;
    size_t capacity = need + need / 2;
    eum_extent *items = malloc(capacity * sizeof *items);
    if (items == NULL)
        return false;
    memcpy(items, set->items, set->count * sizeof *items);
    if (set->items != &set->one)
        free(set->items);
    set->items = items;
    set->capacity = capacity;
    return true;
}

size_t eum_extents_find(const eum_extents *set, uint64_t offset)
{
    size_t low = 0, high = set->count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (set->items[middle].begin <= offset)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Makes `offset` a boundary between extents; gives the index of the extent that begins there (count, at the end). */
static size_t split_at(eum_extents *set, uint64_t offset)
{
    if (offset >= set->items[set->count - 1].end)
        return set->count;
    size_t i = eum_extents_find(set, offset);
    if (set->items[i].begin == offset)
        return i;
    memmove(&set->items[i + 2], &set->items[i + 1], (set->count - i - 1) * sizeof set->items[0]);
    set->items[i + 1] = set->items[i];
    set->items[i + 1].begin = offset;
    set->items[i].end = offset;
    set->count++;
    return i + 1;
}

static bool same_state(const eum_extent *a, const eum_extent *b)
{
    return a->valid == b->valid && a->accessed_by == b->accessed_by && a->flags == b->flags;
}

static void remove_after(eum_extents *set, size_t i)
{
    memmove(&set->items[i + 1], &set->items[i + 2], (set->count - i - 2) * sizeof set->items[0]);
    set->count--;
}

static void join_with_next(eum_extents *set, size_t i)
{
    eum_extent *a = &set->items[i];
    const eum_extent *b = &set->items[i + 1];
    a->end = b->end;
    a->valid &= b->valid;
    a->accessed_by &= b->accessed_by;
    remove_after(set, i);
}

/* Over the cap, knowledge of copies is given up: two neighbours become one that is valid where both were. Never where nothing would be
 * left, and never where the flags differ, so what is forgotten costs a movement and no data. */
static void compact(eum_extents *set)
{
    for (size_t i = 0; set->count > EUM_EXTENTS_SOFT_CAP && i + 1 < set->count;) {
        const eum_extent *a = &set->items[i], *b = &set->items[i + 1];
        if (a->flags == b->flags && (a->valid & b->valid) != 0)
            join_with_next(set, i);
        else
            i++;
    }
}

void eum_extents_change(eum_extents *set, uint64_t begin, uint64_t end, const eum_extent_change *change)
{
    if (begin >= end)
        return;
    size_t first = split_at(set, begin);
    size_t last = split_at(set, end);
    for (size_t i = first; i < last; i++) {
        eum_extent *e = &set->items[i];
        e->valid = (e->valid & change->valid_keep) | change->valid_add;
        e->accessed_by = (e->accessed_by & change->accessed_by_keep) | change->accessed_by_add;
        e->flags = (e->flags & ~change->flags_clear) | change->flags_set;
    }
    size_t i = first > 0 ? first - 1 : 0;
    for (size_t remaining = last - i + 1; remaining > 0 && i + 1 < set->count; remaining--) {
        if (same_state(&set->items[i], &set->items[i + 1]))
            join_with_next(set, i);
        else
            i++;
    }
    if (set->count > EUM_EXTENTS_SOFT_CAP)
        compact(set);
}

bool eum_extents_any_flag(const eum_extents *set, uint64_t begin, uint64_t end, uint32_t flags, uint64_t *where)
{
    if (begin >= end)
        return false;
    for (size_t i = eum_extents_find(set, begin); i < set->count && set->items[i].begin < end; i++) {
        if ((set->items[i].flags & flags) == 0)
            continue;
        if (where != NULL)
            *where = set->items[i].begin > begin ? set->items[i].begin : begin;
        return true;
    }
    return false;
}

uint64_t eum_extents_bytes_at(const eum_extents *set, uint64_t begin, uint64_t end, eum_locations where)
{
    uint64_t sum = 0;
    if (begin >= end)
        return 0;
    for (size_t i = eum_extents_find(set, begin); i < set->count && set->items[i].begin < end; i++) {
        const eum_extent *e = &set->items[i];
        if ((e->valid & where) != 0)
            sum += (e->end < end ? e->end : end) - (e->begin > begin ? e->begin : begin);
    }
    return sum;
}
