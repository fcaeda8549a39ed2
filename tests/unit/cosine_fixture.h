/* What the tests of the cosine kernels share: numbers of every kind, rows related to a query, the reference in float64, and the check.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TESTS_COSINE_FIXTURE_H
#define EUM_TESTS_COSINE_FIXTURE_H

#include <check.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cosine_cpu.h"
#include "kernels/kernels.h"

#define UNUSED __attribute__((unused)) /* not every suite uses all of this */

#define SEED 20261123u
#define POISON 12345.0f /* no cosine */

/* ------------------------------------------------------------------------------------------------------- numbers ---- */

UNUSED static uint64_t random_state = SEED;

UNUSED static uint32_t random_bits(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 32);
}

UNUSED static float random_unit(void) /* in [-1, 1) */
{
    return (float)((double)random_bits() / 2147483648.0 - 1.0);
}

typedef enum kind {
    UNIFORM,
    POSITIVE,
    CONSTANT,     /* every addition rounds the same way */
    LARGE,        /* squares overflow */
    LARGEST,      /* all FLT_MAX */
    SMALL,        /* squares underflow */
    DENORMAL,     /* no normal number among them */
    SMALLEST,     /* one 2^-149 */
    MIXED,        /* all exponents */
    ONE_LARGE,    /* one element outweighs the others */
    NEAR_MINIMUM, /* sum of squares around the end of the trusted range */
    NEAR_MAXIMUM,
    KINDS
} kind;

UNUSED static void fill(float *x, size_t dim, kind what)
{
    for (size_t i = 0; i < dim; i++) {
        float u = random_unit();
        switch (what) {
        case POSITIVE:
            x[i] = fabsf(u);
            break;
        case CONSTANT:
            x[i] = 0.1f;
            break;
        case LARGE:
            x[i] = u * 3e38f;
            break;
        case LARGEST:
            x[i] = FLT_MAX;
            break;
        case SMALL:
            x[i] = u * 1e-25f;
            break;
        case DENORMAL:
            x[i] = u * 1e-38f;
            break;
        case SMALLEST:
            x[i] = i == dim / 2 ? 0x1p-149f : 0.0f;
            break;
        case MIXED:
            x[i] = ldexpf(u, (int)(random_bits() % 270u) - 145);
            break;
        case ONE_LARGE:
            x[i] = i == dim / 3 ? 3e18f : u * 1e-3f;
            break;
        case NEAR_MINIMUM:
            x[i] = u * 0x1p-30f * 1.7f / sqrtf((float)dim);
            break;
        case NEAR_MAXIMUM:
            x[i] = u * 0x1p64f * 1.7f / sqrtf((float)dim);
            break;
        default:
            x[i] = u;
        }
    }
}

/* Rows that stand in a known relation to the query. */
typedef enum relation {
    SAME,
    OPPOSITE,
    SCALED_DOWN,
    HALVES_CANCEL,
    NEIGHBOURS_CANCEL,
    BLOCKS_CANCEL,
    ALMOST_SAME,
    RELATIONS
} relation;

UNUSED static void fill_related(float *x, const float *query, size_t dim, relation how)
{
    for (size_t i = 0; i < dim; i++) {
        switch (how) {
        case OPPOSITE:
            x[i] = -query[i];
            break;
        case SCALED_DOWN:
            x[i] = query[i] * 0x1p-40f;
            break;
        case HALVES_CANCEL:
            x[i] = i < dim / 2 ? query[i] : -query[dim - 1 - i];
            break;
        case NEIGHBOURS_CANCEL:
            x[i] = i % 2 == 0 ? query[i] : -query[i];
            break;
        case BLOCKS_CANCEL:
            x[i] = i / 16 % 2 == 0 ? query[i] : -query[i];
            break;
        case ALMOST_SAME:
            x[i] = query[i] * (1.0f + 1e-3f * random_unit());
            break;
        default:
            x[i] = query[i];
        }
    }
}

UNUSED static double reference(const float *query, const float *row, size_t dim)
{
    double dot = 0.0, query_squares = 0.0, row_squares = 0.0;
    for (size_t i = 0; i < dim; i++) {
        dot += (double)query[i] * (double)row[i];
        query_squares += (double)query[i] * (double)query[i];
        row_squares += (double)row[i] * (double)row[i];
    }
    if (!isfinite(query_squares) || !isfinite(row_squares))
        return NAN;
    return query_squares == 0.0 || row_squares == 0.0 ? 0.0 : dot / (sqrt(query_squares) * sqrt(row_squares));
}

/* ------------------------------------------------------------------------------------------------------- helpers ---- */

UNUSED static float *floats(size_t count)
{
    float *x = calloc(count + 1, sizeof(float));
    if (x == NULL)
        ck_abort_msg("out of memory");
    return x;
}

UNUSED static uint32_t bits(float x)
{
    uint32_t found;
    memcpy(&found, &x, sizeof found);
    return found;
}

/* Scores rows [first, last) into scores, which the caller has poisoned. */
UNUSED static void score(const eum_cosine_args *args, uint64_t first, uint64_t last, eum_cpu_isa isa)
{
    eum_cosine_query query = eum_cosine_cpu_prepare(args);
    eum_cosine_cpu(args, &query, first, last, isa);
}

/* Computed apart from the kernels' own addresses. */
UNUSED static const float *row_of(const eum_cosine_args *args, size_t row)
{
    return args->targets + row * (size_t)(args->row_stride / sizeof(float));
}

UNUSED static void poison(float *scores, size_t count)
{
    for (size_t i = 0; i < count; i++)
        scores[i] = POISON;
}

UNUSED static int right(float found, double exact)
{
    if (isnan(exact))
        return isnan(found);
    return found >= -1.0f && found <= 1.0f && fabs((double)found - exact) <= 1e-6 + 1e-5 * fabs(exact);
}

/* All rows by every usable instruction set, against float64. */
UNUSED static void check_all(const eum_cosine_args *args, const char *what)
{
    float *scores = floats(args->rows + 2);
    for (int isa = EUM_CPU_SCALAR; isa <= EUM_CPU_NEON; isa++) {
        if (!eum_cpu_isa_usable((eum_cpu_isa)isa))
            continue;
        poison(scores, args->rows + 2);
        eum_cosine_args mine = *args;
        mine.scores = scores + 1;
        score(&mine, 0, args->rows, (eum_cpu_isa)isa);
        for (uint64_t r = 0; r < args->rows; r++) {
            double exact = reference(args->query, row_of(args, r), (size_t)args->dim);
            if (!right(scores[r + 1], exact))
                ck_abort_msg("%s, %s, dim %d, row %d: %.9g instead of %.9g (seed %u)", what, eum_cpu_isa_name((eum_cpu_isa)isa),
                             (int)args->dim, (int)r, (double)scores[r + 1], exact, SEED);
        }
        if (scores[0] != POISON || scores[args->rows + 1] != POISON)
            ck_abort_msg("%s: a score was written outside the rows", what);
    }
    free(scores);
}

#define FOR_EACH_ISA(isa)                                                                                                          \
    for (eum_cpu_isa isa = EUM_CPU_SCALAR; isa <= EUM_CPU_NEON; isa = (eum_cpu_isa)(isa + 1))                                      \
        if (eum_cpu_isa_usable(isa))

UNUSED static const size_t large_dims[] = {255, 256, 257, 768, 1023, 1024, 1025, 1536, 2047, 2048, 2049, 4096, 4099};
#define SMALL_DIMS 130
#define DIMS (SMALL_DIMS + sizeof large_dims / sizeof large_dims[0])

UNUSED static size_t dim_number(size_t i)
{
    return i < SMALL_DIMS ? i + 1 : large_dims[i - SMALL_DIMS];
}

#endif
