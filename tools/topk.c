/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "topk.h"

#include <math.h>
#include <stdbool.h>

static bool is_better(topk_entry a, topk_entry b)
{
    if (isnan(a.score) || isnan(b.score)) {
        if (isnan(a.score) && isnan(b.score))
            return a.row < b.row;
        return isnan(b.score);
    }
    if (a.score < b.score || a.score > b.score)
        return a.score > b.score;
    return a.row < b.row;
}

/* The heap has the worst entry at its root. Puts `entry` in at `hole` or below it. */
static void sift_down(topk_entry *heap, size_t count, size_t hole, topk_entry entry)
{
    for (;;) {
        size_t child = 2 * hole + 1;
        if (child >= count)
            break;
        if (child + 1 < count && is_better(heap[child], heap[child + 1]))
            child++;
        if (!is_better(entry, heap[child]))
            break;
        heap[hole] = heap[child];
        hole = child;
    }
    heap[hole] = entry;
}

size_t topk_select(const float *scores, uint64_t rows, uint64_t skip, size_t k, topk_entry *best)
{
    size_t count = 0;
    uint64_t row = 0;
    if (k == 0)
        return 0;
    for (; row < rows && count < k; row++)
        if (row != skip)
            best[count++] = (topk_entry){row, scores[row]};
    for (size_t i = count / 2; i-- > 0;)
        sift_down(best, count, i, best[i]);
    for (; row < rows; row++) {
        /* A later row never wins a tie, so most scores cost this one comparison, which NaN fails. */
        const float score = scores[row];
        const bool enters = isnan(best[0].score) ? !isnan(score) : score > best[0].score;
        if (enters && row != skip)
            sift_down(best, count, 0, (topk_entry){row, score});
    }
    for (size_t left = count; left > 1; left--) { /* the worst goes to the end */
        const topk_entry worst = best[0];
        sift_down(best, left - 1, 0, best[left - 1]);
        best[left - 1] = worst;
    }
    return count;
}
