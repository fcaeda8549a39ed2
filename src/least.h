/* least: the smaller and the larger of two amounts.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_SRC_LEAST_H
#define EUM_SRC_LEAST_H

#include <stdint.h>

static inline uint64_t eum_least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t eum_most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

#endif
