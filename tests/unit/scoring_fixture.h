/* scoring_fixture: what the suites of the CPU's scoring kernels share: numbers of every kind, sets of data, and what they are to give in float64.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TESTS_SCORING_FIXTURE_H
#define EUM_TESTS_SCORING_FIXTURE_H

#include "kernels/scoring_cpu.h"
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define UNUSED __attribute__((unused)) /* not every suite uses all of this */

/* ------------------------------------------------------------------------------------------------------- numbers ---- */

UNUSED static uint64_t random_state = 20261123u;

UNUSED static uint32_t random_bits(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 32);
}

UNUSED static float random_unit(void)
{
    return (float)((double)random_bits() / 2147483648.0 - 1.0);
}

typedef enum kind {
    UNIFORM,
    CONSTANT,
    ZERO,
    LARGE,
    LARGEST,
    SMALL,
    DENORMAL,
    MIXED,
    ONE_LARGE,
    WITH_NAN,
    WITH_INFINITY,
    KINDS
} kind;

UNUSED static void fill(float *x, size_t dim, kind what)
{
    for (size_t i = 0; i < dim; i++) {
        float u = random_unit();
        x[i] = what == CONSTANT    ? 0.1f
               : what == ZERO      ? 0.0f
               : what == LARGE     ? u * 3e38f
               : what == LARGEST   ? FLT_MAX
               : what == SMALL     ? u * 1e-25f
               : what == DENORMAL  ? u * 1e-38f
               : what == MIXED     ? ldexpf(u, (int)(random_bits() % 270u) - 145)
               : what == ONE_LARGE ? (i == dim / 3 ? 3e18f : u * 1e-3f)
                                   : u;
    }
    if (what == WITH_NAN)
        x[dim / 2] = NAN;
    if (what == WITH_INFINITY)
        x[dim - 1] = -INFINITY;
}

/* Rounds towards zero, which keeps the numbers of every kind what they are: elements need not be rounded well to be tested with. */
UNUSED static uint16_t to_bits16(eum_element element, float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (element == EUM_ELEMENT_BFLOAT16)
        return (uint16_t)(bits >> 16 | (uint32_t)(x != x));
    uint32_t sign = bits >> 16 & 0x8000u;
    if (x != x)
        return 0x7e00u;
    double size = fabs((double)x);
    if (size >= 65520.0)
        return (uint16_t)(sign | (isinf(x) ? 0x7c00u : 0x7bffu));
    if (size < 0x1p-14)
        return (uint16_t)(sign | (uint32_t)(size * 0x1p24)); /* denormal */
    return (uint16_t)(sign | ((bits >> 23 & 255u) - 112u) << 10 | (bits >> 13 & 0x3ffu));
}

UNUSED static double from_bits16(eum_element element, uint16_t x)
{
    if (element == EUM_ELEMENT_BFLOAT16) {
        uint32_t bits = (uint32_t)x << 16;
        float found;
        memcpy(&found, &bits, sizeof found);
        return (double)found;
    }
    int exponent = x >> 10 & 31, fraction = x & 1023;
    double size = exponent == 31  ? (fraction != 0 ? (double)NAN : (double)INFINITY)
                  : exponent == 0 ? ldexp(fraction, -24)
                                  : ldexp(1024 + fraction, exponent - 25);
    return x & 0x8000 ? -size : size;
}

/* --------------------------------------------------------------------------------------------------- a data set ----- */

typedef struct data {
    size_t queries, rows, dim, query_stride, row_stride; /* strides in elements */
    eum_element element;
    float *query;
    void *target;
} data;

UNUSED static data make(size_t queries, size_t rows, size_t dim, size_t gap, eum_element element)
{
    data d = {queries, rows, dim, dim + gap, dim + gap, element, NULL, NULL};
    /* Exactly as much memory as is needed, so that the address sanitizer sees a read beyond it. */
    d.query = malloc(((queries - 1) * d.query_stride + dim) * sizeof(float));
    d.target = malloc(((rows - 1) * d.row_stride + dim) * eum_element_bytes(element));
    ck_assert(d.query != NULL && d.target != NULL);
    return d;
}

UNUSED static void end(data *d)
{
    free(d->query);
    free(d->target);
}

UNUSED static void set_row(data *d, size_t row, const float *values)
{
    for (size_t k = 0; k < d->dim; k++) {
        if (d->element == EUM_ELEMENT_FLOAT32)
            ((float *)d->target)[row * d->row_stride + k] = values[k];
        else
            ((uint16_t *)d->target)[row * d->row_stride + k] = to_bits16(d->element, values[k]);
    }
}

UNUSED static double element_of(const data *d, size_t row, size_t k)
{
    return d->element == EUM_ELEMENT_FLOAT32 ? (double)((const float *)d->target)[row * d->row_stride + k]
                                             : from_bits16(d->element, ((const uint16_t *)d->target)[row * d->row_stride + k]);
}

UNUSED static void fill_all(data *d, kind what)
{
    float *values = malloc(d->dim * sizeof *values);
    for (size_t q = 0; q < d->queries; q++)
        fill(d->query + q * d->query_stride, d->dim, what);
    for (size_t r = 0; r < d->rows; r++) {
        fill(values, d->dim, what);
        set_row(d, r, values);
    }
    free(values);
}

typedef struct exact {
    double score, norms;
} exact;

UNUSED static exact reference(const data *d, eum_metric metric, size_t q, size_t r)
{
    double dot = 0, squares = 0, query_squares = 0, distance = 0;
    for (size_t k = 0; k < d->dim; k++) {
        double a = (double)d->query[q * d->query_stride + k], b = element_of(d, r, k);
        dot += a * b;
        query_squares += a * a;
        squares += b * b;
        distance += (a - b) * (a - b);
    }
    double norms = sqrt(query_squares) * sqrt(squares);
    if (!isfinite(query_squares) || !isfinite(squares))
        return (exact){(double)NAN, norms};
    if (metric == EUM_METRIC_COSINE)
        return (exact){query_squares == 0 || squares == 0 ? 0 : dot / norms, norms};
    return (exact){metric == EUM_METRIC_DOT ? dot : distance, norms};
}

UNUSED static bool right(float found, exact expected, eum_metric metric)
{
    if (isnan(expected.score))
        return isnan(found);
    if (metric == EUM_METRIC_COSINE && !(found >= -1.0f && found <= 1.0f))
        return false;
    if (isinf(found)) /* at the edge of the range either may be right */
        return fabs(expected.score) >= (double)FLT_MAX * (1 - 1e-5) && (found > 0) == (expected.score > 0);
    double small = metric == EUM_METRIC_DOT && expected.norms > 1 ? 1e-6 * expected.norms : 1e-6;
    return fabs((double)found - expected.score) <= small + 1e-5 * fabs(expected.score);
}

/* ------------------------------------------------------------------------------------------------------- running ---- */

/* Two pieces at a time, the later first, and never the whole: what the kernels may not depend on. */
UNUSED static void loop_in_pieces(void *pool, uint64_t items, uint64_t grain, bool back, void (*body)(void *, uint64_t, uint64_t),
                                  void *arg)
{
    (void)back;
    (void)pool;
    (void)grain;
    uint64_t piece = items > 7 ? items / 3 : items;
    for (uint64_t done = 0; done < items;) {
        uint64_t last = items - done, first = last > piece ? last - piece : 0;
        body(arg, first, last);
        done += last - first;
    }
}

UNUSED static void loop_at_once(void *pool, uint64_t items, uint64_t grain, bool back, void (*body)(void *, uint64_t, uint64_t),
                                void *arg)
{
    (void)back;
    (void)pool;
    (void)grain;
    body(arg, 0, items);
}

UNUSED static eum_scoring_args args_of(const data *d, eum_metric metric, float *scores)
{
    return (eum_scoring_args){.metric = metric,
                              .element = d->element,
                              .queries = d->query,
                              .targets = d->target,
                              .scores = scores,
                              .query_count = d->queries,
                              .rows = d->rows,
                              .dim = d->dim,
                              .query_stride = d->query_stride * sizeof(float),
                              .row_stride = d->row_stride * eum_element_bytes(d->element)};
}

#define FOR_EACH_ISA(isa)                                                                                                          \
    for (eum_cpu_isa isa = EUM_CPU_SCALAR; isa <= EUM_CPU_NEON; isa = (eum_cpu_isa)(isa + 1))                                      \
        if (eum_cpu_isa_usable(isa))
#define FOR_EACH_METRIC(metric) for (eum_metric metric = EUM_METRIC_COSINE; metric <= EUM_METRIC_L2_SQUARED; metric++)
#define FOR_EACH_ELEMENT(element) for (eum_element element = EUM_ELEMENT_FLOAT32; element <= EUM_ELEMENT_BFLOAT16; element++)

/* All scores by every metric and instruction set, against float64, and whether the cut into pieces changes a bit. */
UNUSED static void check_all(const data *d, const char *what)
{
    size_t count = d->queries * d->rows;
    float *scores = malloc(count * sizeof *scores), *others = malloc(count * sizeof *others);
    FOR_EACH_METRIC(metric)
    {
        exact *expected = malloc(count * sizeof *expected);
        for (size_t i = 0; i < count; i++)
            expected[i] = reference(d, metric, i / d->rows, i % d->rows);
        FOR_EACH_ISA(isa)
        {
            eum_scoring_args args = args_of(d, metric, scores);
            ck_assert_int_eq(eum_scoring_cpu(&args, isa, loop_at_once, NULL, 1), 0);
            args.scores = others;
            ck_assert_int_eq(eum_scoring_cpu(&args, isa, loop_in_pieces, NULL, 2), 0);
            for (size_t i = 0; i < count; i++) {
                if (!right(scores[i], expected[i], metric))
                    ck_abort_msg("%s, %s, metric %d, element %d, dim %zu, query %zu of %zu, row %zu: %.9g instead of %.9g", what,
                                 eum_cpu_isa_name(isa), metric, d->element, d->dim, i / d->rows, d->queries, i % d->rows,
                                 (double)scores[i], expected[i].score);
                if (memcmp(&scores[i], &others[i], sizeof scores[i]) != 0)
                    ck_abort_msg("%s, %s: a score depends on its piece", what, eum_cpu_isa_name(isa));
            }
        }
        free(expected);
    }
    free(scores);
    free(others);
}

UNUSED static const size_t dims[] = {1,   2,   3,   7,   15,  16,  17,  31,   33,   63,   100,
                                     127, 128, 129, 255, 257, 384, 768, 1023, 1536, 2049, 4099};
#define DIMS (sizeof dims / sizeof dims[0])

#endif
