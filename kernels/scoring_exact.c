/* scoring_exact: scores in float64, the reference, the scalar implementation, and the way out where float32 is not enough.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <math.h>
#include <string.h>

#include "kernels/scoring_cpu.h"

/* ------------------------------------------------------------------------------------------------- elements -------- */

static float from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static float from_half(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = half >> 10 & 31u, fraction = half & 0x3ffu;
    if (exponent == 31)
        return from_bits(sign | 0x7f800000u | fraction << 13);
    if (exponent != 0)
        return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
    float small = (float)fraction * 0x1p-24f;
    return sign != 0 ? -small : small;
}

static inline double element_at(eum_element element, const void *row, uint64_t k)
{
    if (element == EUM_ELEMENT_FLOAT32)
        return (double)((const float *)row)[k];
    uint16_t bits = ((const uint16_t *)row)[k];
    return (double)(element == EUM_ELEMENT_FLOAT16 ? from_half(bits) : from_bits((uint32_t)bits << 16));
}

/* ----------------------------------------------------------------------------------------------------- sums -------- */

#define LANES 8 /* independent partial sums: vectors for the compiler, and shorter chains in which rounding adds up */

typedef struct sums {
    double dot, squares, distance;
} sums;

/* Products of two float32 are exact in float64, and lie within 1e-90..1e77: they neither overflow nor underflow. */
static inline __attribute__((always_inline)) sums sums_of(eum_element element, const float *query, const void *row, uint64_t dim)
{
    double dot[LANES] = {0}, squares[LANES] = {0}, distance[LANES] = {0};
    for (uint64_t k = 0; k < dim; k += LANES) {
        unsigned lanes = dim - k < LANES ? (unsigned)(dim - k) : LANES;
        for (unsigned lane = 0; lane < lanes; lane++) {
            double x = element_at(element, row, k + lane), q = (double)query[k + lane];
            dot[lane] += x * q;
            squares[lane] += x * x;
            distance[lane] += (x - q) * (x - q);
        }
    }
    for (unsigned half = LANES / 2; half > 0; half /= 2) {
        for (unsigned lane = 0; lane < half; lane++) {
            dot[lane] += dot[lane + half];
            squares[lane] += squares[lane + half];
            distance[lane] += distance[lane + half];
        }
    }
    return (sums){dot[0], squares[0], distance[0]};
}

static sums sums_by_element(eum_element element, const float *query, const void *row, uint64_t dim)
{
    switch (element) {
    case EUM_ELEMENT_FLOAT16:
        return sums_of(EUM_ELEMENT_FLOAT16, query, row, dim);
    case EUM_ELEMENT_BFLOAT16:
        return sums_of(EUM_ELEMENT_BFLOAT16, query, row, dim);
    default:
        return sums_of(EUM_ELEMENT_FLOAT32, query, row, dim);
    }
}

static inline __attribute__((always_inline)) double squares_of(eum_element element, const void *row, uint64_t dim)
{
    double squares[LANES] = {0};
    uint64_t k = 0;
    for (; k + LANES <= dim; k += LANES) {
        for (unsigned lane = 0; lane < LANES; lane++) {
            double x = element_at(element, row, k + lane);
            squares[lane] += x * x;
        }
    }
    for (unsigned lane = 0; k < dim; k++, lane++) {
        double x = element_at(element, row, k);
        squares[lane] += x * x;
    }
    for (unsigned lane = 1; lane < LANES; lane++)
        squares[0] += squares[lane];
    return squares[0];
}

double eum_squares_exact(eum_element element, const void *row, uint64_t dim)
{
    switch (element) {
    case EUM_ELEMENT_FLOAT16:
        return squares_of(EUM_ELEMENT_FLOAT16, row, dim);
    case EUM_ELEMENT_BFLOAT16:
        return squares_of(EUM_ELEMENT_BFLOAT16, row, dim);
    default:
        return squares_of(EUM_ELEMENT_FLOAT32, row, dim);
    }
}

__attribute__((noinline)) float eum_score_exact(eum_metric metric, eum_element element, const eum_prepared *query, const void *row,
                                                uint64_t dim)
{
    if (query->nonfinite)
        return NAN;
    sums found = sums_by_element(element, query->given, row, dim);
    if (!isfinite(found.squares))
        return NAN;
    if (metric == EUM_METRIC_DOT)
        return (float)found.dot;
    if (metric == EUM_METRIC_L2_SQUARED)
        return (float)found.distance;
    if (found.squares == 0.0 || query->norm == 0.0)
        return 0.0f;
    return (float)fmin(fmax(found.dot / (query->norm * sqrt(found.squares)), -1.0), 1.0);
}

/* --------------------------------------------------------------------------------------------------- scalar -------- */

static void norms(eum_tile *tile)
{
    (void)tile;
}

static __attribute__((noinline)) bool score(eum_tile *tile)
{
    for (unsigned r = 0; r < tile->count; r++)
        for (unsigned q = 0; q < tile->query_count; q++)
            *eum_tile_score(tile, r, q) =
                eum_score_exact(tile->metric, tile->element, &tile->queries[q], eum_tile_row(tile, r), tile->dim);
    return false;
}

static uint64_t candidates(const float *scores, const float *thresholds, unsigned count, bool one, bool smaller_is_better)
{
    uint64_t found = 0;
    for (unsigned i = 0; i < count; i++) {
        float threshold = thresholds[one ? 0 : i];
        bool worse = smaller_is_better ? scores[i] > threshold : scores[i] < threshold;
        found |= (uint64_t)!worse << i;
    }
    return found;
}

static uint64_t candidate_rows(const float *scores, const float *thresholds, unsigned rows, unsigned width, bool smaller_is_better)
{
    uint64_t found = 0;
    for (unsigned r = 0; r < rows; r++)
        found |= (uint64_t)(candidates(scores + r * width, thresholds, width, false, smaller_is_better) != 0) << r;
    return found;
}

const eum_scoring_ops eum_scoring_scalar = {1, 0, norms, score, candidates, candidate_rows};
