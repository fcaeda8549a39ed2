/* statistics: medians, ratios of pairs and how sure they are. Pure.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_BENCH_STATISTICS_H
#define EUM_BENCH_STATISTICS_H

#include <stddef.h>
#include <stdint.h>

/* A median and the interval that holds 95 % of the medians of resamples. */
typedef struct bench_estimate {
    double median, low, high;
    size_t count; /* of samples that were there; 0: the others are NaN */
} bench_estimate;

/* The next of a sequence of random 64-bit numbers (splitmix64); the same seed gives the same sequence. */
uint64_t bench_random(uint64_t *state);
/* Puts the items into a random order. */
void bench_shuffle(size_t *items, size_t count, uint64_t *state);

/* Of values in any order, which it leaves alone; of an even count the mean of the two in the middle. NaN values are left out; of no values: NaN. */
double bench_median(const double *values, size_t count);
/* The median with its percentile-bootstrap interval: 2000 resamples, drawn from a fixed seed. NaN values are left out. */
bench_estimate bench_estimate_median(const double *values, size_t count);
/* The same of ours[i] / theirs[i]. Pairs of which one is NaN, or theirs is not above 0, are left out. */
bench_estimate bench_estimate_ratio(const double *ours, const double *theirs, size_t count);

#endif
