/* scoring_best: keeps the best k of many scores. The order is total (a better score, or the same and a lower row; NaN behind every number),
 * so what is kept does not depend on the order in which the entries come.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <math.h>
#include <stdlib.h>

#include "kernels/scoring_cpu.h"

static inline bool before(eum_best a, eum_best b, bool smaller)
{
    if (a.score < b.score)
        return smaller;
    if (a.score > b.score)
        return !smaller;
    bool a_nan = a.score != a.score, b_nan = b.score != b.score; /* isnan would do, but vectorizes worse */
    return a_nan != b_nan ? b_nan : a.row < b.row;
}

static inline void swap(eum_best *a, eum_best *b)
{
    eum_best held = *a;
    *a = *b;
    *b = held;
}

/* Moves the best k to the front, in no order, and returns how many they are. Quickselect. Pivots are drawn from a fixed sequence: no order of the scores is its worst case, short of one made for it. */
static size_t best_select(eum_best *entries, size_t count, uint64_t k, bool smaller)
{
    if (count <= k)
        return count;
    size_t wanted = (size_t)k, first = 0,
           last = count; /* entries before `first` are among the best, those from `last` on are not */
    uint32_t random = 2463534242u;
    while (last - first > 1) {
        random ^= random << 13, random ^= random >> 17, random ^= random << 5;
        swap(&entries[first], &entries[first + random % (last - first)]);
        eum_best pivot = entries[first];
        size_t low = first, high = last;
        for (;;) { /* Hoare's partition: [first, high] not behind the pivot, ]high, last[ not in front */
            while (++low < last && before(entries[low], pivot, smaller)) {
            }
            while (before(pivot, entries[--high], smaller)) {
            }
            if (low >= high)
                break;
            swap(&entries[low], &entries[high]);
        }
        swap(&entries[first], &entries[high]);
        if (high == wanted || high + 1 == wanted)
            break;
        if (high > wanted)
            last = high;
        else
            first = high + 1;
    }
    return wanted;
}

/* Drops what is not among the best k and sets the threshold to the worst of them. */
static void settle(eum_best_list *list, float *threshold, uint64_t k, bool smaller)
{
    list->count = best_select(list->entries, list->count, k, smaller);
    eum_best worst = list->entries[0];
    for (size_t i = 1; i < list->count; i++)
        if (before(worst, list->entries[i], smaller))
            worst = list->entries[i];
    list->settled = true;
    list->threshold_row = worst.row;
    *threshold = worst.score;
}

/* Few entries are kept sorted: the threshold is then always the k-th best so far, and fewer get in (of n in random order k * (1 + ln(n / k))). */
static void insert(eum_best_list *list, float *threshold, uint64_t k, bool smaller, eum_best entry)
{
    eum_best *entries = list->entries;
    size_t at = list->count < k ? list->count++ : list->count - 1;
    for (; at > 0 && before(entry, entries[at - 1], smaller); at--)
        entries[at] = entries[at - 1];
    entries[at] = entry;
    list->settled = list->count == k;
    if (list->settled) {
        list->threshold_row = entries[k - 1].row;
        *threshold = entries[k - 1].score;
    }
}

/* Whether an entry is before the k-th best so far of a settled list. */
static inline bool enters(const eum_best_list *list, float threshold, bool smaller, eum_best entry)
{
    return before(entry, (eum_best){threshold, list->threshold_row}, smaller);
}

void eum_best_add(eum_best_list *list, float *threshold, uint64_t k, bool smaller, eum_best entry)
{
    if (list->settled && !enters(list, *threshold, smaller, entry))
        return;
    if (k <= EUM_BEST_SORTED) {
        insert(list, threshold, k, smaller, entry);
        return;
    }
    list->entries[list->count++] = entry;
    if (list->count == eum_best_capacity(k) || (!list->settled && list->count == k))
        settle(list, threshold, k, smaller);
}

static int compare_larger(const void *a, const void *b)
{
    const eum_best *x = a, *y = b;
    return before(*x, *y, false) ? -1 : before(*y, *x, false);
}

static int compare_smaller(const void *a, const void *b)
{
    const eum_best *x = a, *y = b;
    return before(*x, *y, true) ? -1 : before(*y, *x, true);
}

void eum_best_join(eum_best_list *list, float *threshold, uint64_t k, bool smaller, const eum_best_list *other)
{
    for (size_t n = 0; n < other->count; n++) {
        if (k <= EUM_BEST_SORTED && list->settled && !enters(list, *threshold, smaller, other->entries[n]))
            return; /* nor do those behind it */
        eum_best_add(list, threshold, k, smaller, other->entries[n]);
    }
}

size_t eum_best_finish(eum_best_list *list, uint64_t k, bool smaller)
{
    if (k <= EUM_BEST_SORTED)
        return list->count;
    size_t count = best_select(list->entries, list->count, k, smaller);
    qsort(list->entries, count, sizeof *list->entries, smaller ? compare_smaller : compare_larger);
    return count;
}
