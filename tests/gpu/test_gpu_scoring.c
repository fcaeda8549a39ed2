/* The scoring on the GPU: all scores against float64, the best rows against a sort of all scores, over plain device memory.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <float.h>
#include <math.h>

#include "gpu_fixture.h"
#include "gpu_reference.h"
#include "kernels/scoring_cpu.h"

static const uint64_t dims[] = {1, 3, 16, 100, 128, 768, 1536, 4099, 8200};
#define DIMS ((int)(sizeof dims / sizeof *dims))
static const eum_metric metrics[] = {EUM_METRIC_COSINE, EUM_METRIC_DOT, EUM_METRIC_L2_SQUARED};
static const eum_element elements[] = {EUM_ELEMENT_FLOAT32, EUM_ELEMENT_FLOAT16, EUM_ELEMENT_BFLOAT16};
#define POISON 12345.0f

/* ------------------------------------------------------------------------------------------------------ numbers ------ */

static float value(uint32_t seed, uint64_t i)
{
    return (float)((double)gpu_hash(seed, i) / 2147483648.0 - 1.0);
}

static size_t element_bytes(eum_element element)
{
    return element == EUM_ELEMENT_FLOAT32 ? 4 : 2;
}

/* Rounds towards zero: the elements as they are stored are what is scored. */
static void store(eum_element element, void *row, uint64_t k, float x)
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

static float number_of(int kind, uint32_t seed, uint64_t i, uint64_t dim, const float *query)
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
static data make(eum_element element, uint64_t queries, uint64_t rows, uint64_t dim, uint64_t gap, uint64_t shift, uint64_t most_k)
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

static void *row_of(const data *d, uint64_t r)
{
    return d->targets + ((const char *)d->args.targets - d->device_targets) + r * d->args.row_stride;
}

static float *query_of(const data *d, uint64_t q)
{
    return d->queries + ((const float *)d->args.queries - (const float *)(const void *)d->device_queries) +
           q * (d->args.query_stride / sizeof(float));
}

static void upload(const data *d)
{
    const eum_scoring_args *a = &d->args;
    const size_t lead = (size_t)((const char *)a->targets - d->device_targets);
    CUDA(cudaMemcpy(d->device_targets, d->targets, lead + a->rows * a->row_stride, cudaMemcpyHostToDevice));
    CUDA(cudaMemcpy(d->device_queries, d->queries,
                    (size_t)((const char *)a->queries - d->device_queries) + a->query_count * a->query_stride,
                    cudaMemcpyHostToDevice));
}

/* Queries and rows of every kind, most of them ordinary. */
static void fill_with_all_kinds(const data *d, bool special_queries)
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

static void end(data *d)
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

static void poison(data *d)
{
    for (size_t i = 0; i < d->score_count; i++)
        d->scores[i] = POISON;
    for (size_t i = 0; i < d->index_count; i++)
        d->indices[i] = -12345;
    CUDA(cudaMemcpy(d->device_scores, d->scores, d->score_count * sizeof *d->scores, cudaMemcpyHostToDevice));
    CUDA(cudaMemcpy(d->device_indices, d->indices, d->index_count * sizeof *d->indices, cudaMemcpyHostToDevice));
}

/* Runs the operation on poisoned outputs and brings them home. Nothing beside them may have been written. */
static void run(data *d, bool select)
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

static const char *describe(const data *d)
{
    static char text[200];
    const eum_scoring_args *a = &d->args;
    snprintf(text, sizeof text,
             "metric %d, element %d, %llu queries (stride %llu), %llu rows (stride %llu), dim %llu, k %llu, flags %u", a->metric,
             a->element, (unsigned long long)a->query_count, (unsigned long long)a->query_stride, (unsigned long long)a->rows,
             (unsigned long long)a->row_stride, (unsigned long long)a->dim, (unsigned long long)a->k, a->flags);
    return text;
}

static double check_scores(data *d)
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

static bool before(best a, best b, bool smaller)
{
    if (isnan(a.score) || isnan(b.score))
        return isnan(a.score) && isnan(b.score) ? a.row < b.row : isnan(b.score);
    if (a.score != b.score)
        return smaller ? a.score < b.score : a.score > b.score;
    return a.row < b.row;
}

static int compare_larger(const void *a, const void *b)
{
    return before(*(const best *)a, *(const best *)b, false) ? -1 : 1;
}

static int compare_smaller(const void *a, const void *b)
{
    return before(*(const best *)a, *(const best *)b, true) ? -1 : 1;
}

/* The best rows must be those that a sort of all scores gives, with the same bits. */
static void check_best(data *d, const uint64_t *ks, size_t k_count)
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

/* ------------------------------------------------------------------------------------------------------- tests ------- */

START_TEST(the_reference_is_that_of_the_cpu)
{
    for (int e = 0; e < 3; e++) {
        data d = make(elements[e], 5, 40, 100, 0, 0, 1);
        fill_with_all_kinds(&d, true);
        for (int m = 0; m < 3; m++) {
            d.args.metric = metrics[m];
            for (uint64_t n = 0; n < 200; n++) {
                const uint64_t q = n % 5, r = n / 5;
                double exact;
                CUDA(reference_score(&d.args, q, r, &exact));
                const double squares = eum_squares_exact(EUM_ELEMENT_FLOAT32, query_of(&d, q), 100);
                const eum_prepared prepared = {.given = query_of(&d, q), .norm = sqrt(squares), .nonfinite = !isfinite(squares)};
                const float cpu = eum_score_exact(metrics[m], elements[e], &prepared, row_of(&d, r), 100);
                const double scale = isinf(cpu) ? 1 : fmax(1e-30, fabs((double)cpu));
                ck_assert_msg(isnan(cpu)   ? isnan(exact)
                              : isinf(cpu) ? (float)exact == cpu
                                           : fabs((double)cpu - exact) <= 1e-6 * scale,
                              "query %llu, row %llu: %.9g and %.9g", (unsigned long long)q, (unsigned long long)r, (double)cpu,
                              exact);
            }
        }
        end(&d);
    }
}
END_TEST

START_TEST(the_scratch_memory_does_not_grow_with_rows_and_queries)
{
    const uint64_t counts[] = {1, 8, 9, 32, 33, 1024, 1000000}, rows[] = {0, 1, 1000, 1000000, UINT64_C(1) << 40},
                   ks[] = {1, 10, 128, 1024};
    int64_t some;
    for (size_t c = 0; c < 7; c++) {
        for (size_t r = 0; r < 5; r++) {
            for (size_t k = 0; k < 4; k++) {
                eum_scoring_args args = {.query_count = counts[c], .rows = rows[r], .dim = 768, .k = ks[k]};
                ck_assert_uint_eq(eum_scoring_cuda_scratch(&args), 0);
                args.indices = &some;
                ck_assert_uint_gt(eum_scoring_cuda_scratch(&args), 0);
                ck_assert_uint_le(eum_scoring_cuda_scratch(&args), 65 * MIB);
            }
        }
    }
}
END_TEST

/* Every metric, element, dim and path; alignments and strides of every kind; numbers of every kind. */
START_TEST(the_scores_agree_with_float64)
{
    const uint64_t dim = dims[_i % DIMS], rows = dim > 2000 ? 211 : 1003, queries[] = {1, 3, 8, 9, 40, 128, 300};
    const uint64_t layouts[][2] = {{0, 0}, {1, 0}, {4, 4}, {8, 8}, {7, 1}};
    const eum_element element = elements[_i / DIMS];
    double worst = 0;
    for (size_t n = 0; n < sizeof queries / sizeof *queries; n++) {
        for (size_t l = 0; l < sizeof layouts / sizeof *layouts; l++) {
            if (queries[n] > 40 && l != 0 && l != 4)
                continue;
            data d = make(element, queries[n], rows, dim, layouts[l][0], layouts[l][1], 1);
            fill_with_all_kinds(&d, true);
            for (int m = 0; m < 3; m++) {
                d.args.metric = metrics[m];
                for (d.args.flags = 0; d.args.flags <= (queries[n] > 8 ? EUM_SCORING_NO_TENSOR_CORES : 0); d.args.flags++)
                    worst = fmax(worst, check_scores(&d));
            }
            end(&d);
        }
    }
    printf("scoring, element %d, dim %llu: worst error %.3f of what is allowed\n", element, (unsigned long long)dim, worst);
}
END_TEST

/* Also around the number of rows, with ties and NaN among the rows. */
START_TEST(the_best_rows_are_those_of_a_sort)
{
    const uint64_t queries[] = {1, 3, 8, 9, 40, 130},
                   shapes[][2] = {{0, 16}, {1, 16}, {10, 100}, {99, 3}, {1003, 768}, {2500, 100}, {700, 8200}};
    const uint64_t ks[] = {1, 9, 10, 11, 100, 128, 129, 512, 1024};
    const uint64_t rows = shapes[_i][0], dim = shapes[_i][1];
    for (size_t n = 0; n < sizeof queries / sizeof *queries; n++) {
        for (int e = 0; e < 3; e++) {
            data d = make(elements[e], queries[n], rows, dim, (uint64_t)e, 0, EUM_TOPK_MOST);
            fill_with_all_kinds(&d, true);
            for (int m = 0; m < 3; m++) {
                d.args.metric = metrics[m];
                for (d.args.flags = 0; d.args.flags <= (queries[n] > 8 ? EUM_SCORING_NO_TENSOR_CORES : 0); d.args.flags++)
                    check_best(&d, ks, sizeof ks / sizeof *ks);
            }
            end(&d);
        }
    }
}
END_TEST

/* Many slices and many settled lists: rows in ascending and descending order of score, all the same, few different ones. */
START_TEST(the_order_of_the_rows_does_not_matter)
{
    const uint64_t queries[] = {1, 8, 64, 140}, rows = 60007, dim = 8, ks[] = {1, 10, 100, 1000};
    enum { ASCENDING, DESCENDING, EQUAL, FEW_DIFFERENT, RANDOM };
    for (size_t n = 0; n < sizeof queries / sizeof *queries; n++) {
        data d = make(EUM_ELEMENT_FLOAT32, queries[n], rows, dim, 0, 0, EUM_TOPK_MOST);
        for (uint64_t i = 0; i < queries[n] * dim; i++)
            query_of(&d, i / dim)[i % dim] = i % dim == 0 ? 1.0f + (float)(i / dim % 7) : 0.0f;
        for (uint64_t r = 0; r < rows; r++) {
            const float x = _i == ASCENDING       ? (float)r
                            : _i == DESCENDING    ? (float)(rows - r)
                            : _i == EQUAL         ? 1.0f
                            : _i == FEW_DIFFERENT ? (float)(gpu_hash(3, r) % 5)
                                                  : value(4, r);
            for (uint64_t k = 0; k < dim; k++)
                store(EUM_ELEMENT_FLOAT32, row_of(&d, r), k, k == 0 ? x : value(5, r * dim + k));
        }
        upload(&d);
        d.args.metric = EUM_METRIC_DOT;
        check_best(&d, ks, queries[n] > 8 ? 3 : 4);
        d.args.metric = EUM_METRIC_L2_SQUARED;
        check_best(&d, ks, 2);
        end(&d);
    }
}
END_TEST

START_TEST(rows_by_their_numbers_score_as_they_do_in_order)
{
    const uint64_t queries[] = {1, 5, 8, 20, 128}, rows = 3001, dim = 768, numbered = 5000;
    for (size_t n = 0; n < sizeof queries / sizeof *queries; n++) {
        for (int e = 0; e < 3; e++) {
            data d = make(elements[e], queries[n], rows, dim, 0, 0, 1);
            fill_with_all_kinds(&d, false);
            float *wanted = malloc(queries[n] * rows * sizeof *wanted);
            int64_t *numbers = malloc(numbered * sizeof *numbers), *device = NULL;
            for (uint64_t i = 0; i < numbered; i++)
                numbers[i] = (int64_t)(gpu_hash(9, i) % rows);
            CUDA(cudaMalloc((void **)&device, numbered * sizeof *numbers));
            CUDA(cudaMemcpy(device, numbers, numbered * sizeof *numbers, cudaMemcpyHostToDevice));
            d.args.metric = metrics[e];
            run(&d, false);
            memcpy(wanted, d.scores + 1, queries[n] * rows * sizeof *wanted);
            d.args.numbers = device;
            d.args.rows = 2000;
            run(&d, false);
            for (uint64_t i = 0; i < queries[n] * 2000; i++) {
                const float want = wanted[i / 2000 * rows + (uint64_t)numbers[i % 2000]], got = d.scores[1 + i];
                if (!(got == want || (isnan(got) && isnan(want))))
                    ck_abort_msg("%s: number %llu of query %llu: %.9g instead of %.9g", describe(&d),
                                 (unsigned long long)(i % 2000), (unsigned long long)(i / 2000), (double)got, (double)want);
            }
            CUDA(cudaFree(device));
            free(wanted);
            free(numbers);
            end(&d);
        }
    }
}
END_TEST

/* Up to 8 queries and more than 8 each give a score one value, whichever other queries there are. */
START_TEST(a_score_does_not_depend_on_the_other_queries)
{
    const uint64_t groups[2][4] = {{1, 2, 5, 8}, {9, 33, 100, 300}}, rows = 515, dims_[] = {100, 768, 3};
    for (size_t i = 0; i < 3; i++) {
        for (int group = 0; group < 2; group++) {
            data all = make(EUM_ELEMENT_FLOAT32, groups[group][3], rows, dims_[i], 0, 0, 1);
            fill_with_all_kinds(&all, false);
            for (int m = 0; m < 3; m++) {
                all.args.metric = metrics[m];
                all.args.query_count = groups[group][3];
                run(&all, false);
                float *wanted = malloc(groups[group][3] * rows * sizeof *wanted);
                memcpy(wanted, all.scores + 1, groups[group][3] * rows * sizeof *wanted);
                for (int n = 0; n < 3; n++) {
                    all.args.query_count = groups[group][n];
                    run(&all, false);
                    ck_assert_msg(memcmp(wanted, all.scores + 1, groups[group][n] * rows * sizeof *wanted) == 0, "%s",
                                  describe(&all));
                }
                free(wanted);
            }
            end(&all);
        }
    }
}
END_TEST

START_TEST(the_same_call_gives_the_same_bits)
{
    const uint64_t queries[] = {1, 8, 128};
    for (size_t n = 0; n < 3; n++) {
        data d = make(EUM_ELEMENT_FLOAT32, queries[n], 20011, 100, 0, 0, 100);
        fill_with_all_kinds(&d, false);
        d.args.metric = EUM_METRIC_COSINE;
        d.args.k = 100;
        run(&d, true);
        const size_t found = queries[n] * 100;
        float *scores = malloc(found * sizeof *scores);
        int64_t *indices = malloc(found * sizeof *indices);
        memcpy(scores, d.scores + 1, found * sizeof *scores);
        memcpy(indices, d.indices + 1, found * sizeof *indices);
        for (int again = 0; again < 20; again++) {
            run(&d, true);
            ck_assert_mem_eq(scores, d.scores + 1, found * sizeof *scores);
            ck_assert_mem_eq(indices, d.indices + 1, found * sizeof *indices);
        }
        free(scores);
        free(indices);
        end(&d);
    }
}
END_TEST

/* A replay finds the scratch memory as the one before left it. */
START_TEST(a_captured_selection_can_be_replayed)
{
    data d = make(EUM_ELEMENT_FLOAT32, 1, 5003, 64, 0, 0, 10);
    const uint64_t ten = 10;
    fill_with_all_kinds(&d, false);
    d.args.metric = EUM_METRIC_DOT;
    check_best(&d, &ten, 1);
    int64_t wanted[10];
    memcpy(wanted, d.indices + 1, sizeof wanted);
    d.args.k = 10;
    d.args.indices = d.device_indices + 1;
    void *scratch = NULL;
    cudaStream_t on;
    cudaGraph_t graph;
    cudaGraphExec_t ready;
    CUDA(cudaMalloc(&scratch, eum_scoring_cuda_scratch(&d.args)));
    CUDA(cudaStreamCreateWithFlags(&on, cudaStreamNonBlocking));
    CUDA(cudaStreamBeginCapture(on, cudaStreamCaptureModeThreadLocal));
    ck_assert_int_eq(eum_scoring_cuda(&d.args, scratch, on), 0);
    CUDA(cudaStreamEndCapture(on, &graph));
    CUDA(cudaGraphInstantiate(&ready, graph, 0));
    for (int again = 0; again < 5; again++) {
        poison(&d);
        CUDA(cudaGraphLaunch(ready, on));
        CUDA(cudaStreamSynchronize(on));
        CUDA(cudaMemcpy(d.indices, d.device_indices, d.index_count * sizeof *d.indices, cudaMemcpyDeviceToHost));
        ck_assert_mem_eq(wanted, d.indices + 1, sizeof wanted);
    }
    CUDA(cudaGraphExecDestroy(ready));
    CUDA(cudaGraphDestroy(graph));
    CUDA(cudaStreamDestroy(on));
    CUDA(cudaFree(scratch));
    end(&d);
}
END_TEST

START_TEST(eum_topk_finds_the_same_rows_on_every_backing)
{
    const uint64_t rows = 3001, dim = 100, k = 10;
    open_context(backings[_i], 0);
    for (uint64_t queries = 1; queries <= 81; queries += 20) {
        eum_buffer *query = make_buffer(queries * dim * 4, EUM_ROLE_QUERY),
                   *targets = make_buffer(rows * dim * 4, EUM_ROLE_TARGETS);
        eum_buffer *scores = make_buffer(queries * rows * 4, EUM_ROLE_RESULTS),
                   *indices = make_buffer(queries * k * 8, EUM_ROLE_RESULTS);
        float *values = malloc(rows * dim * 4), *all = malloc(queries * rows * 4);
        int64_t *found = malloc(queries * k * 8);
        for (uint64_t i = 0; i < rows * dim; i++)
            values[i] = value(7, i);
        OK(eum_buffer_write(whole(targets), values));
        OK(eum_buffer_write(whole(query), values + 13 * dim));
        eum_similarity_config similarity = EUM_SIMILARITY_CONFIG_INIT;
        similarity.queries = whole(query), similarity.targets = whole(targets), similarity.scores = whole(scores);
        similarity.query_count = queries, similarity.rows = rows, similarity.dim = dim;
        OK(eum_similarity(stream, &similarity, NULL));
        OK(eum_buffer_read(whole(scores), all));
        eum_topk_config topk = EUM_TOPK_CONFIG_INIT;
        topk.queries = whole(query), topk.targets = whole(targets), topk.indices = whole(indices), topk.scores = whole(scores);
        topk.query_count = queries, topk.rows = rows, topk.dim = dim, topk.k = k;
        OK(eum_topk(stream, &topk, NULL));
        OK(eum_buffer_read(whole(indices), found));
        for (uint64_t q = 0; q < queries; q++) {
            ck_assert_int_eq(found[q * k], (int64_t)(13 + q)); /* the row that the query is */
            for (uint64_t i = 1; i < k; i++)
                ck_assert(all[q * rows + (uint64_t)found[q * k + i]] <= all[q * rows + (uint64_t)found[q * k + i - 1]]);
        }
        free(values);
        free(all);
        free(found);
        OK(eum_buffer_destroy(query));
        OK(eum_buffer_destroy(targets));
        OK(eum_buffer_destroy(scores));
        OK(eum_buffer_destroy(indices));
    }
    close_context();
}
END_TEST

Suite *gpu_scoring_suite(void);
Suite *gpu_scoring_suite(void)
{
    Suite *suite = suite_create("gpu_scoring");
    TCase *tests = tcase_create("gpu_scoring");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, the_reference_is_that_of_the_cpu);
    tcase_add_test(tests, the_scratch_memory_does_not_grow_with_rows_and_queries);
    tcase_add_loop_test(tests, the_scores_agree_with_float64, 0, DIMS * 3);
    tcase_add_loop_test(tests, the_best_rows_are_those_of_a_sort, 0, 7);
    tcase_add_loop_test(tests, the_order_of_the_rows_does_not_matter, 0, 5);
    tcase_add_test(tests, rows_by_their_numbers_score_as_they_do_in_order);
    tcase_add_test(tests, a_score_does_not_depend_on_the_other_queries);
    tcase_add_test(tests, the_same_call_gives_the_same_bits);
    tcase_add_test(tests, a_captured_selection_can_be_replayed);
    tcase_add_loop_test(tests, eum_topk_finds_the_same_rows_on_every_backing, 0, BACKINGS);
    suite_add_tcase(suite, tests);
    return suite;
}
