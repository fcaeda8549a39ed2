/* topk: the best of a list of scores.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TOOLS_TOPK_H
#define EUM_TOOLS_TOPK_H

#include <stddef.h>
#include <stdint.h>

typedef struct topk_entry {
    uint64_t row;
    float score;
} topk_entry;

#define TOPK_SKIP_NONE UINT64_MAX

/* Writes the best k of scores[0..rows) to best, the best first, in one pass over the scores. Of equal scores the lower row is better;
 * NaN is worse than every number.
 * Parameters: skip  a row that is left out, or TOPK_SKIP_NONE
 *             best  room for k
 * Returns: how many were written: k, or fewer where there are fewer rows. */
size_t topk_select(const float *scores, uint64_t rows, uint64_t skip, size_t k, topk_entry *best);

#endif
