/* gpu_scoring_data: data sets for the scoring on a GPU, and what is checked of them: all scores against float64, the best rows against a
 * sort of all scores.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TESTS_GPU_SCORING_DATA_H
#define EUM_TESTS_GPU_SCORING_DATA_H

#include <float.h>
#include <math.h>

#include "gpu_fixture.h"
#include "gpu_reference.h"
#include "kernels/scoring.h"

static const eum_metric metrics[] = {EUM_METRIC_COSINE, EUM_METRIC_DOT, EUM_METRIC_L2_SQUARED};
static const eum_element elements[] = {EUM_ELEMENT_FLOAT32, EUM_ELEMENT_FLOAT16, EUM_ELEMENT_BFLOAT16};
#define POISON 12345.0f

/* ------------------------------------------------------------------------------------------------------ numbers ------ */

UNUSED static float value(uint32_t seed, uint64_t i)
{
    return (float)((double)gpu_hash(seed, i) / 2147483648.0 - 1.0);
}

UNUSED static size_t element_bytes(eum_element element)
{
    return element == EUM_ELEMENT_FLOAT32 ? 4 : 2;
}

/* Rounds towards zero: the elements as they are stored are what is scored. */
UNUSED static void store(eum_element element, void *row, uint64_t k, float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000u, half;
    double size = fabs((double)x);
    if (x != x)
        half = 0x7e00u;
    else if (size >= 65520.0)
        half = sign | (isinf(x) ? 0x7c00u : 0x7bffu);
    else if (size < 0x1p-14)
        half = sign | (uint32_t)(size * 0x1p24); /* denormal */
    else
        half = sign | ((bits >> 23 & 255u) - 112u) << 10 | (bits >> 13 & 0x3ffu);
    if (element == EUM_ELEMENT_FLOAT32)
        ((float *)row)[k] = x;
    else
        ((uint16_t *)row)[k] = (uint16_t)(element == EUM_ELEMENT_FLOAT16 ? half : bits >> 16 | (uint32_t)(x != x));
}

/* Vectors of all kinds. */
enum {
    ORDINARY,
    ZERO,
    WITH_NAN,
    WITH_INFINITY,
    HUGE_NUMBERS,
    TINY,
    DENORMAL,
    THE_QUERY,
    ITS_OPPOSITE,
    CONSTANT,
    ONE_LARGE,
    ALTERNATING,
    KINDS
};

UNUSED static float number_of(int kind, uint32_t seed, uint64_t i, uint64_t dim, const float *query)
{
    float v = value(seed, i);
    switch (kind) {
    case ZERO:
        return 0;
    case WITH_NAN:
        return i == dim / 2 ? NAN : v;
    case WITH_INFINITY:
        return i == dim - 1 ? -INFINITY : v;
    case HUGE_NUMBERS:
        return v * 3e38f;
    case TINY:
        return v * 1e-25f;
    case DENORMAL:
        return v * 1e-38f;
    case THE_QUERY:
        return query != NULL ? query[i] : v;
    case ITS_OPPOSITE:
        return query != NULL ? -query[i] : v;
    case CONSTANT:
        return 0.1f;
    case ONE_LARGE:
        return i == dim / 3 ? 3e4f : v * 1e-3f;
    case ALTERNATING: /* products of one sign and of the other cancel */
        return query != NULL ? (i < dim / 2 ? 1.0f : -1.0f) * fabsf(query[i]) : v;
    default:
        return v;
    }
}

/* --------------------------------------------------------------------------------------------------- a data set ------ */

typedef struct data {
    eum_scoring_args args; /* addresses on the device */
    char *targets;         /* host and device copies, from the start of their allocations */
    float *queries;
    char *device_targets, *device_queries;
    float *device_scores, *scores;
    int64_t *device_indices, *indices;
    void *scratch;
    size_t score_count, index_count;
} data;

/* gap: elements between rows; shift: elements before the first. */
UNUSED static data make(eum_element element, uint64_t queries, uint64_t rows, uint64_t dim, uint64_t gap, uint64_t shift,
                        uint64_t most_k)
{
    const size_t size = element_bytes(element);
    const uint64_t scores = queries * (rows > most_k ? rows : most_k);
    data d = {.score_count = (size_t)scores + 2, .index_count = (size_t)(queries * most_k) + 2};
    const size_t target_bytes = (size_t)(shift + rows * (dim + gap) + 8) * size,
                 query_bytes = (size_t)(shift + queries * (dim + gap) + 8) * sizeof(float);
    d.targets = malloc(target_bytes);
    d.queries = malloc(query_bytes);
    d.scores = malloc(d.score_count * sizeof *d.scores);
    d.indices = malloc(d.index_count * sizeof *d.indices);
    memset(d.targets, 0xff, target_bytes); /* NaN: what lies between the rows must not matter */
    memset(d.queries, 0xff, query_bytes);
    d.args = (eum_scoring_args){.element = element,
                                .query_count = queries,
                                .rows = rows,
                                .dim = dim,
                                .query_stride = (dim + gap) * sizeof(float),
                                .row_stride = (dim + gap) * size};
    CUDA(cudaMalloc((void **)&d.device_targets, target_bytes));
    CUDA(cudaMalloc((void **)&d.device_queries, query_bytes));
    CUDA(cudaMalloc((void **)&d.device_scores, d.score_count * sizeof *d.scores));
    CUDA(cudaMalloc((void **)&d.device_indices, d.index_count * sizeof *d.indices));
    d.args.targets = d.device_targets + shift * size;
    d.args.queries = (const float *)(const void *)d.device_queries + shift;
    d.args.scores = d.device_scores + 1;
    return d;
}

UNUSED static void *row_of(const data *d, uint64_t r)
{
    return d->targets + ((const char *)d->args.targets - d->device_targets) + r * d->args.row_stride;
}

UNUSED static float *query_of(const data *d, uint64_t q)
{
    return d->queries + ((const float *)d->args.queries - (const float *)(const void *)d->device_queries) +
           q * (d->args.query_stride / sizeof(float));
}

UNUSED static void upload(const data *d)
{
    const eum_scoring_args *a = &d->args;
    const size_t lead = (size_t)((const char *)a->targets - d->device_targets);
    CUDA(cudaMemcpy(d->device_targets, d->targets, lead + a->rows * a->row_stride, cudaMemcpyHostToDevice));
    CUDA(cudaMemcpy(d->device_queries, d->queries,
                    (size_t)((const char *)a->queries - d->device_queries) + a->query_count * a->query_stride,
                    cudaMemcpyHostToDevice));
}

/* Queries and rows of every kind, most of them ordinary. */
UNUSED static void fill_with_all_kinds(const data *d, bool special_queries)
{
    const eum_scoring_args *a = &d->args;
    for (uint64_t q = 0; q < a->query_count; q++) {
        int kind = special_queries && q % 5 == 4 ? (int)(q / 5 % KINDS) : ORDINARY;
        for (uint64_t i = 0; i < a->dim; i++)
            query_of(d, q)[i] = number_of(kind, 5 + (uint32_t)q, i, a->dim, NULL);
    }
    for (uint64_t r = 0; r < a->rows; r++) {
        int kind = r % 3 == 2 ? (int)(r / 3 % KINDS) : ORDINARY;
        const float *query = query_of(d, r % a->query_count);
        for (uint64_t i = 0; i < a->dim; i++)
            store(a->element, row_of(d, r), i, number_of(kind, 77 + (uint32_t)r, i, a->dim, query));
    }
    upload(d);
}

UNUSED static void end(data *d)
{
    CUDA(cudaFree(d->device_targets));
    CUDA(cudaFree(d->device_queries));
    CUDA(cudaFree(d->device_scores));
    CUDA(cudaFree(d->device_indices));
    free(d->targets);
    free(d->queries);
    free(d->scores);
    free(d->indices);
}

/* -------------------------------------------------------------------------------------------------------- runs ------- */

UNUSED static void poison(data *d)
{
    for (size_t i = 0; i < d->score_count; i++)
        d->scores[i] = POISON;
    for (size_t i = 0; i < d->index_count; i++)
        d->indices[i] = -12345;
    CUDA(cudaMemcpy(d->device_scores, d->scores, d->score_count * sizeof *d->scores, cudaMemcpyHostToDevice));
    CUDA(cudaMemcpy(d->device_indices, d->indices, d->index_count * sizeof *d->indices, cudaMemcpyHostToDevice));
}

/* Runs the operation on poisoned outputs and brings them home. Nothing beside them may have been written. */
UNUSED static void run(data *d, bool select)
{
    poison(d);
    d->args.indices = select ? d->device_indices + 1 : NULL;
    void *scratch = NULL;
    const size_t bytes = eum_scoring_cuda_scratch(&d->args);
    ck_assert(select ? bytes > 0 : bytes == 0);
    if (bytes > 0) {
        CUDA(cudaMalloc(&scratch, bytes));
        CUDA(cudaMemset(scratch, 0x5a, bytes)); /* in whatever state */
    }
    ck_assert_int_eq(eum_scoring_cuda(&d->args, scratch, NULL), 0);
    CUDA(cudaMemcpy(d->scores, d->device_scores, d->score_count * sizeof *d->scores, cudaMemcpyDeviceToHost));
    CUDA(cudaMemcpy(d->indices, d->device_indices, d->index_count * sizeof *d->indices, cudaMemcpyDeviceToHost));
    CUDA(cudaFree(scratch));
    const size_t written = (size_t)(d->args.query_count * (select ? d->args.k : d->args.rows));
    ck_assert_float_eq(d->scores[0], POISON);
    ck_assert_float_eq(d->scores[written + 1], POISON);
    ck_assert_int_eq(d->indices[0], -12345);
    ck_assert_int_eq(d->indices[(select ? written : 0) + 1], -12345);
}

UNUSED static const char *describe(const data *d)
{
    static char text[200];
    const eum_scoring_args *a = &d->args;
    snprintf(text, sizeof text,
             "metric %d, element %d, %llu queries (stride %llu), %llu rows (stride %llu), dim %llu, k %llu, flags %u", a->metric,
             a->element, (unsigned long long)a->query_count, (unsigned long long)a->query_stride, (unsigned long long)a->rows,
             (unsigned long long)a->row_stride, (unsigned long long)a->dim, (unsigned long long)a->k, a->flags);
    return text;
}

UNUSED static double check_scores(data *d)
{
    reference_result result;
    run(d, false);
    CUDA(reference_compare(&d->args, &result));
    if (result.wrong > 0)
        ck_abort_msg("%s: %llu scores are wrong; the first, of query %llu and row %llu, is %.9g, exactly %.9g", describe(d),
                     (unsigned long long)result.wrong, (unsigned long long)(result.first_wrong / d->args.rows),
                     (unsigned long long)(result.first_wrong % d->args.rows), (double)d->scores[1 + result.first_wrong],
                     result.exact);
    return result.worst;
}

typedef struct best {
    float score;
    int64_t row;
} best;

UNUSED static bool before(best a, best b, bool smaller)
{
    if (isnan(a.score) || isnan(b.score))
        return isnan(a.score) && isnan(b.score) ? a.row < b.row : isnan(b.score);
    if (a.score != b.score)
        return smaller ? a.score < b.score : a.score > b.score;
    return a.row < b.row;
}

UNUSED static int compare_larger(const void *a, const void *b)
{
    return before(*(const best *)a, *(const best *)b, false) ? -1 : 1;
}

UNUSED static int compare_smaller(const void *a, const void *b)
{
    return before(*(const best *)a, *(const best *)b, true) ? -1 : 1;
}

/* The best rows must be those that a sort of all scores gives, with the same bits. */
UNUSED static void check_best(data *d, const uint64_t *ks, size_t k_count)
{
    eum_scoring_args *a = &d->args;
    a->k = 0;
    run(d, false);
    best *sorted = malloc((size_t)(a->query_count * a->rows + 1) * sizeof *sorted);
    for (uint64_t q = 0; q < a->query_count; q++) {
        for (uint64_t r = 0; r < a->rows; r++)
            sorted[q * a->rows + r] = (best){d->scores[1 + q * a->rows + r], (int64_t)r};
        qsort(sorted + q * a->rows, (size_t)a->rows, sizeof *sorted,
              a->metric == EUM_METRIC_L2_SQUARED ? compare_smaller : compare_larger);
    }
    for (size_t n = 0; n < k_count; n++) {
        a->k = ks[n];
        run(d, true);
        for (uint64_t q = 0; q < a->query_count; q++) {
            for (uint64_t i = 0; i < a->k; i++) {
                const best want = i < a->rows ? sorted[q * a->rows + i] : (best){NAN, -1};
                const float score = d->scores[1 + q * a->k + i];
                const int64_t row = d->indices[1 + q * a->k + i];
                if (row != want.row || !(score == want.score || (isnan(score) && isnan(want.score))))
                    ck_abort_msg("%s: query %llu, place %llu: row %lld with %.9g instead of row %lld with %.9g", describe(d),
                                 (unsigned long long)q, (unsigned long long)i, (long long)row, (double)score, (long long)want.row,
                                 (double)want.score);
            }
        }
    }
    free(sorted);
    a->k = 0;
}

#endif
