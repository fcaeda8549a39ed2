/* The cosine on the GPU, against float64.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <math.h>

#include "gpu_fixture.h"
#include "kernels/kernels.h"

static const uint64_t dims[] = {1, 3, 100, 128, 768, 1536, 4099};
#define DIMS ((int)(sizeof dims / sizeof *dims))

static float value(uint32_t seed, uint64_t i)
{
    return (float)((double)gpu_hash(seed, i) / 2147483648.0 - 1.0);
}

static double exact(const float *query, const float *row, uint64_t dim)
{
    double dot = 0, a = 0, b = 0;
    for (uint64_t i = 0; i < dim; i++) {
        dot += (double)query[i] * (double)row[i];
        a += (double)query[i] * (double)query[i];
        b += (double)row[i] * (double)row[i];
    }
    if (!isfinite(a) || !isfinite(b))
        return NAN;
    return a == 0 || b == 0 ? 0 : dot / (sqrt(a) * sqrt(b));
}

/* Rows of all kinds: ordinary, zero, with a NaN, with an infinity, huge, tiny, the query itself, its opposite. */
static void fill_row(float *row, const float *query, uint64_t dim, uint64_t number)
{
    for (uint64_t i = 0; i < dim; i++) {
        float v = value(77, number * dim + i);
        switch (number % 16) {
        case 3:
            v = 0;
            break;
        case 4:
            v = i == dim / 2 ? NAN : v;
            break;
        case 5:
            v = i == dim - 1 ? INFINITY : v;
            break;
        case 6:
            v *= 3e38f;
            break;
        case 7:
            v *= 1e-38f;
            break;
        case 8:
            v = query[i];
            break;
        case 9:
            v = -query[i];
            break;
        case 10:
            v = i == 0 ? -INFINITY : v;
            break;
        default:
            break;
        }
        row[i] = v;
    }
}

static double check_scores(const float *scores, const float *query, const char *targets, uint64_t rows, uint64_t dim, size_t stride,
                           const char *what)
{
    double worst = 0;
    for (uint64_t r = 0; r < rows; r++) {
        double want = exact(query, (const float *)(const void *)(targets + r * stride), dim);
        float got = scores[r];
        bool good = isnan(want) ? isnan(got) : got >= -1 && got <= 1 && fabs((double)got - want) <= 1e-6 + 1e-5 * fabs(want);
        if (!good)
            ck_abort_msg("%s: dim %llu, stride %zu, row %llu: %.9g, exactly %.9g", what, (unsigned long long)dim, stride,
                         (unsigned long long)r, (double)got, want);
        if (!isnan(want) && fabs((double)got - want) > worst)
            worst = fabs((double)got - want);
    }
    return worst;
}

/* The kernel itself, over plain device memory: alignments and strides of every kind. */
START_TEST(the_kernel_agrees_with_float64)
{
    const uint64_t dim = dims[_i], rows = dim > 2000 ? 211 : 2003;
    const size_t gaps[] = {0, 1, 4, 7}, shifts[] = {0, 1, 4};
    char *device = NULL;
    float *device_scores = NULL;
    double worst = 0;
    const size_t capacity = (size_t)(rows * (dim + 7) + dim + 16) * sizeof(float);
    CUDA(cudaMalloc((void **)&device, capacity));
    CUDA(cudaMalloc((void **)&device_scores, (rows + 2) * sizeof(float)));
    float *host = malloc(capacity), *scores = malloc((rows + 2) * sizeof(float));
    for (size_t g = 0; g < sizeof gaps / sizeof *gaps; g++)
        for (size_t s = 0; s < sizeof shifts / sizeof *shifts; s++) {
            const size_t stride = (size_t)(dim + gaps[g]) * sizeof(float), first = dim + 4 + shifts[s];
            for (size_t i = 0; i < capacity / sizeof(float); i++)
                host[i] = NAN; /* what lies between the rows must not matter */
            float *query = host + shifts[s] % 2;
            for (uint64_t i = 0; i < dim; i++)
                query[i] = value(5, i);
            for (uint64_t r = 0; r < rows; r++)
                fill_row((float *)(void *)((char *)(host + first) + r * stride), query, dim, r);
            for (uint64_t r = 0; r < rows + 2; r++)
                scores[r] = 12345.0f;
            CUDA(cudaMemcpy(device, host, capacity, cudaMemcpyHostToDevice));
            CUDA(cudaMemcpy(device_scores, scores, (rows + 2) * sizeof(float), cudaMemcpyHostToDevice));
            eum_cosine_args args = {.query = (const float *)(void *)device + shifts[s] % 2,
                                    .targets = (const float *)(void *)device + first,
                                    .scores = device_scores + 1,
                                    .rows = rows,
                                    .dim = dim,
                                    .row_stride = stride};
            ck_assert_int_eq(eum_cosine_cuda(&args, NULL), 0);
            CUDA(cudaMemcpy(scores, device_scores, (rows + 2) * sizeof(float), cudaMemcpyDeviceToHost));
            ck_assert_float_eq(scores[0], 12345.0f);
            ck_assert_float_eq(scores[rows + 1], 12345.0f);
            double w = check_scores(scores + 1, query, (const char *)(host + first), rows, dim, stride, "kernel");
            worst = w > worst ? w : worst;
        }
    printf("cosine kernel, dim %llu: worst error %.3g\n", (unsigned long long)dim, worst);
    CUDA(cudaFree(device));
    CUDA(cudaFree(device_scores));
    free(host);
    free(scores);
}
END_TEST

static void cosine_through_the_abi(uint64_t rows, uint64_t dim, size_t stride, float bad_query)
{
    eum_buffer *query = make_buffer(dim * sizeof(float), EUM_ROLE_QUERY),
               *scores = make_buffer(rows * sizeof(float), EUM_ROLE_RESULTS);
    const size_t bytes = (rows - 1) * stride + dim * sizeof(float);
    eum_buffer *targets = make_buffer(bytes, EUM_ROLE_TARGETS);
    float *q = NULL, *s = NULL;
    char *t = NULL;
    OK(eum_buffer_map(whole(query), EUM_ACCESS_OVERWRITE, (void **)&q));
    OK(eum_buffer_map(whole(targets), EUM_ACCESS_OVERWRITE, (void **)&t));
    memset(t, 0xff, bytes);
    for (uint64_t i = 0; i < dim; i++)
        q[i] = value(6, i);
    for (uint64_t r = 0; r < rows; r++)
        fill_row((float *)(void *)(t + r * stride), q, dim, r);
    if (bad_query != 0)
        q[dim / 2] = bad_query;
    OK(eum_buffer_unmap(query, q));
    OK(eum_buffer_unmap(targets, t));
    eum_cosine_config config = EUM_COSINE_CONFIG_INIT;
    config.executor = EUM_EXECUTOR_DEVICE;
    config.query = whole(query);
    config.targets = whole(targets);
    config.scores = whole(scores);
    config.rows = rows;
    config.dim = dim;
    config.row_stride = stride;
    for (int again = 0; again < 3; again++) {
        OK(eum_cosine(stream, &config, NULL));
        OK(eum_buffer_map(whole(scores), EUM_ACCESS_READ, (void **)&s));
        OK(eum_buffer_map(whole(targets), EUM_ACCESS_READ, (void **)&t));
        OK(eum_buffer_map(whole(query), EUM_ACCESS_READ, (void **)&q));
        (void)check_scores(s, q, t, rows, dim, stride, "ABI");
        OK(eum_buffer_unmap(scores, s));
        OK(eum_buffer_unmap(targets, t));
        OK(eum_buffer_unmap(query, q));
    }
    OK(eum_buffer_destroy(query));
    OK(eum_buffer_destroy(targets));
    OK(eum_buffer_destroy(scores));
}

START_TEST(eum_cosine_agrees_with_float64_on_every_backing)
{
    open_context(backings[_i], 0);
    for (int d = 0; d < DIMS; d++) {
        cosine_through_the_abi(333, dims[d], dims[d] * sizeof(float), 0);
        cosine_through_the_abi(50, dims[d], (dims[d] + 3) * sizeof(float), 0);
        cosine_through_the_abi(17, dims[d], dims[d] * sizeof(float), NAN);
        cosine_through_the_abi(17, dims[d], dims[d] * sizeof(float), INFINITY);
    }
    close_context();
}
END_TEST

Suite *gpu_cosine_suite(void);
Suite *gpu_cosine_suite(void)
{
    Suite *suite = suite_create("gpu_cosine");
    TCase *tests = tcase_create("gpu_cosine");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, the_kernel_agrees_with_float64, 0, DIMS);
    tcase_add_loop_test(tests, eum_cosine_agrees_with_float64_on_every_backing, 0, BACKINGS);
    suite_add_tcase(suite, tests);
    return suite;
}
