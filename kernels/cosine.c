/* cosine: the query's preparation, the choice of the implementation, and the scalar one.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <math.h>

#include "kernels/cosine_cpu.h"
#include "kernels/fp_environment.h"

/* --------------------------------------------------------------------------------------------- float64 ------------- */

/* Independent partial sums: they let the compiler use vectors, and they shorten the chains in which rounding adds up. */
#define LANES 8

typedef struct sums {
    double dot, squares;
} sums;

/* Products of two float32 are exact in float64, and lie within 1e-90..1e77: they neither overflow nor underflow. */
static sums sums_in_float64(const float *query, const float *row, uint64_t dim)
{
    double dot[LANES] = {0}, squares[LANES] = {0};
    uint64_t k = 0;
    for (; k + LANES <= dim; k += LANES) {
        for (unsigned lane = 0; lane < LANES; lane++) {
            double x = (double)row[k + lane];
            dot[lane] += x * (double)query[k + lane];
            squares[lane] += x * x;
        }
    }
    for (unsigned lane = 0; k < dim; k++, lane++) {
        double x = (double)row[k];
        dot[lane] += x * (double)query[k];
        squares[lane] += x * x;
    }
    for (unsigned half = LANES / 2; half > 0; half /= 2) {
        for (unsigned lane = 0; lane < half; lane++) {
            dot[lane] += dot[lane + half];
            squares[lane] += squares[lane + half];
        }
    }
    return (sums){dot[0], squares[0]};
}

/* Not inlined: fp_enter and fp_leave order calls, not the arithmetic around them. */
__attribute__((noinline)) float eum_cosine_row_exact(const float *query, const float *row, uint64_t dim, double query_norm)
{
    sums found = sums_in_float64(query, row, dim);
    if (!isfinite(found.squares))
        return NAN;
    if (found.squares == 0.0 || query_norm == 0.0)
        return 0.0f;
    double cosine = found.dot / (query_norm * sqrt(found.squares));
    return (float)fmin(fmax(cosine, -1.0), 1.0);
}

static __attribute__((noinline)) eum_cosine_query prepare(const float *query, uint64_t dim)
{
    double squares = sums_in_float64(query, query, dim).squares;
    if (!isfinite(squares))
        return (eum_cosine_query){.norm = 0.0, .scale = 1.0f, .nonfinite = 1};

    float largest[LANES] = {0};
    uint64_t k = 0;
    for (; k + LANES <= dim; k += LANES)
        for (unsigned lane = 0; lane < LANES; lane++)
            largest[lane] = fabsf(query[k + lane]) > largest[lane] ? fabsf(query[k + lane]) : largest[lane];
    for (; k < dim; k++)
        largest[0] = fabsf(query[k]) > largest[0] ? fabsf(query[k]) : largest[0];
    for (unsigned lane = 1; lane < LANES; lane++)
        largest[0] = largest[lane] > largest[0] ? largest[lane] : largest[0];

    eum_cosine_query prepared = {.norm = sqrt(squares), .scale = 1.0f, .nonfinite = 0};
    if (largest[0] > 0.0f) {
        int exponent = ilogbf(largest[0]);
        if (exponent < -EUM_QUERY_UNSCALED_EXPONENT || exponent >= EUM_QUERY_UNSCALED_EXPONENT) {
            exponent = exponent < -126 ? -126 : exponent > 126 ? 126 : exponent; /* keeps the scale a normal float32 */
            prepared.scale = ldexpf(1.0f, -exponent);
        }
    }
    return prepared;
}

static __attribute__((noinline)) void rows_scalar(const eum_cosine_args *args, const eum_cosine_query *query, uint64_t first,
                                                  uint64_t last)
{
    for (uint64_t row = first; row < last; row++)
        args->scores[row] = eum_cosine_row_exact(args->query, eum_cosine_row(args, row), args->dim, query->norm);
}

/* --------------------------------------------------------------------------------------------- entry points -------- */

eum_cosine_query eum_cosine_cpu_prepare(const eum_cosine_args *args)
{
    fp_environment callers = fp_enter();
    eum_cosine_query prepared = prepare(args->query, args->dim);
    fp_leave(callers);
    return prepared;
}

void eum_cosine_cpu(const eum_cosine_args *args, const eum_cosine_query *query, uint64_t first, uint64_t last, eum_cpu_isa isa)
{
    if (query->nonfinite) {
        for (uint64_t row = first; row < last; row++)
            args->scores[row] = NAN;
        return;
    }
    if (!eum_cpu_isa_usable(isa))
        isa = EUM_CPU_SCALAR;

    fp_environment callers = fp_enter();
    switch (isa) {
#if defined(__x86_64__)
    case EUM_CPU_AVX2:
        eum_cosine_rows_avx2(args, query, first, last);
        break;
    case EUM_CPU_AVX512:
        eum_cosine_rows_avx512(args, query, first, last);
        break;
#elif defined(__aarch64__)
    case EUM_CPU_NEON:
        eum_cosine_rows_neon(args, query, first, last);
        break;
#endif
    default:
        rows_scalar(args, query, first, last);
        break;
    }
    fp_leave(callers);
}
