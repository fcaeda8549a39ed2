/* hazard: see hazard.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "hazard.h"

#include <stdlib.h>
#include <string.h>

void eum_hazards_free(eum_hazards *set)
{
    free(set->items);
    memset(set, 0, sizeof *set);
}

bool eum_hazards_reserve(eum_hazards *set, size_t more)
{
    if (set->count + more <= set->capacity)
        return true;
    size_t need = set->count + more, capacity = need > 4 ? need * 2 : need; /* most buffers have few */
    eum_hazard *items = realloc(set->items, capacity * sizeof *items);
    if (items == NULL)
        return false;
    set->items = items;
    set->capacity = (uint32_t)capacity;
    return true;
}

void eum_hazards_conflicts(const eum_hazards *set, uint64_t begin, uint64_t end, eum_hazard_kind kind, uint64_t stream,
                           void (*visit)(void *arg, eum_point point), void *arg)
{
    for (size_t i = 0; i < set->count; i++) {
        const eum_hazard *h = &set->items[i];
        if (h->point.stream == stream || h->begin >= end || begin >= h->end)
            continue;
        if (h->kind == EUM_HAZARD_READ && (kind == EUM_HAZARD_READ || kind == EUM_HAZARD_COPY))
            continue;
        visit(arg, h->point);
    }
}

void eum_hazards_writers(const eum_hazards *set, uint64_t begin, uint64_t end, void (*visit)(void *arg, eum_point point), void *arg)
{
    for (size_t i = 0; i < set->count; i++) {
        const eum_hazard *h = &set->items[i];
        if (h->begin < end && begin < h->end && (h->kind == EUM_HAZARD_WRITE || h->kind == EUM_HAZARD_MOVE))
            visit(arg, h->point);
    }
}

/* Is waiting for `newer` enough to have waited for `old`, for everybody who would have waited for old? */
static bool supersedes(const eum_hazard *newer, const eum_hazard *old)
{
    if (newer->begin > old->begin || newer->end < old->end)
        return false;
    if (newer->kind == EUM_HAZARD_WRITE || newer->kind == EUM_HAZARD_MOVE)
        return true;                  /* it waited for old itself */
    if (old->kind != EUM_HAZARD_READ) /* a writer stays visible as one: see eum_hazards_writers */
        return newer->kind == EUM_HAZARD_COPY && old->kind == EUM_HAZARD_COPY;
    return old->point.stream == newer->point.stream;
}

static bool mergeable(const eum_hazard *a, const eum_hazard *b)
{
    return a->point.stream == b->point.stream && (a->kind == EUM_HAZARD_READ) == (b->kind == EUM_HAZARD_READ);
}

static void merge_streams(eum_hazards *set)
{
    for (size_t i = 0; i < set->count; i++) {
        eum_hazard *a = &set->items[i];
        for (size_t k = i + 1; k < set->count;) {
            const eum_hazard *b = &set->items[k];
            if (!mergeable(a, b)) {
                k++;
                continue;
            }
            a->begin = a->begin < b->begin ? a->begin : b->begin;
            a->end = a->end > b->end ? a->end : b->end;
            a->point.sequence = a->point.sequence > b->point.sequence ? a->point.sequence : b->point.sequence;
            if (b->kind == EUM_HAZARD_WRITE)
                a->kind = EUM_HAZARD_WRITE;
            else if (a->kind == EUM_HAZARD_COPY)
                a->kind = b->kind;
            set->items[k] = set->items[--set->count];
        }
    }
}

void eum_hazards_add(eum_hazards *set, uint64_t begin, uint64_t end, eum_hazard_kind kind, eum_point point)
{
    if (begin >= end)
        return;
    eum_hazard added = {begin, end, point, kind};
    uint32_t kept = 0;
    for (size_t i = 0; i < set->count; i++)
        if (!supersedes(&added, &set->items[i]))
            set->items[kept++] = set->items[i];
    set->count = kept;
    set->items[set->count++] = added;
    if (set->count > EUM_HAZARDS_SOFT_CAP)
        merge_streams(set);
}

void eum_hazards_prune(eum_hazards *set, bool (*passed)(void *arg, eum_point point), void *arg)
{
    uint32_t kept = 0;
    for (size_t i = 0; i < set->count; i++)
        if (!passed(arg, set->items[i].point))
            set->items[kept++] = set->items[i];
    set->count = kept;
}
