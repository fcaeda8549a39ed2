/* statistics: see statistics.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "statistics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define RESAMPLES 2000

uint64_t bench_random(uint64_t *state)
{
    uint64_t x = *state += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

void bench_shuffle(size_t *items, size_t count, uint64_t *state)
{
    for (size_t left = count; left > 1; left--) {
        size_t other = (size_t)(bench_random(state) % left), last = items[left - 1];
        items[left - 1] = items[other];
        items[other] = last;
    }
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts. */
static double median_of(double *values, size_t count)
{
    qsort(values, count, sizeof *values, ascending);
    return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* The numbers among the values, to be freed; NULL if there are none. */
static double *numbers_of(const double *values, size_t count, size_t *out_count)
{
    double *numbers = malloc((count > 0 ? count : 1) * sizeof *numbers);
    size_t kept = 0;
    for (size_t i = 0; numbers != NULL && i < count; i++)
        if (!isnan(values[i]))
            numbers[kept++] = values[i];
    *out_count = kept;
    if (kept > 0)
        return numbers;
    free(numbers);
    return NULL;
}

double bench_median(const double *values, size_t count)
{
    size_t kept;
    double *numbers = numbers_of(values, count, &kept);
    double median = numbers != NULL ? median_of(numbers, kept) : (double)NAN;
    free(numbers);
    return median;
}

bench_estimate bench_estimate_median(const double *values, size_t count)
{
    bench_estimate estimate = {(double)NAN, (double)NAN, (double)NAN, 0};
    size_t kept;
    double *numbers = numbers_of(values, count, &kept);
    double *resample = malloc((kept > 0 ? kept : 1) * sizeof *resample), *medians = malloc(RESAMPLES * sizeof *medians);
    if (numbers != NULL && resample != NULL && medians != NULL) {
        uint64_t state = 20260901;
        for (size_t i = 0; i < RESAMPLES; i++) {
            for (size_t k = 0; k < kept; k++)
                resample[k] = numbers[bench_random(&state) % kept];
            medians[i] = median_of(resample, kept);
        }
        qsort(medians, RESAMPLES, sizeof *medians, ascending);
        estimate =
            (bench_estimate){median_of(numbers, kept), medians[RESAMPLES / 40], medians[RESAMPLES - 1 - RESAMPLES / 40], kept};
    }
    free(numbers);
    free(resample);
    free(medians);
    return estimate;
}

bench_estimate bench_estimate_ratio(const double *ours, const double *theirs, size_t count)
{
    double *ratios = malloc((count > 0 ? count : 1) * sizeof *ratios);
    bench_estimate estimate = {(double)NAN, (double)NAN, (double)NAN, 0};
    if (ratios == NULL)
        return estimate;
    for (size_t i = 0; i < count; i++)
        ratios[i] = theirs[i] > 0 ? ours[i] / theirs[i] : (double)NAN;
    estimate = bench_estimate_median(ratios, count);
    free(ratios);
    return estimate;
}
