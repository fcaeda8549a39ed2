/* The built-in similarity through the engine: right on every device and backing, in every role, from several streams.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <math.h>

#include "engine.h"

Suite *cosine_suite(void);

static float value_at(uint32_t seed, size_t i)
{
    return (float)((int32_t)word_at(seed, i)) / 2147483648.0f;
}

static void fill_floats(eum_view view, size_t count, uint32_t seed)
{
    float *values = map(view, EUM_ACCESS_OVERWRITE);
    for (size_t i = 0; i < count; i++)
        values[i] = value_at(seed, i);
    unmap(view.buffer, values);
}

static double exact(const float *query, const float *row, size_t dim)
{
    double dot = 0, q = 0, r = 0;
    for (size_t i = 0; i < dim; i++) {
        dot += (double)query[i] * (double)row[i];
        q += (double)query[i] * (double)query[i];
        r += (double)row[i] * (double)row[i];
    }
    return q == 0 || r == 0 ? 0 : dot / sqrt(q * r);
}

static void check_scores(const float *scores, const float *query, const float *targets, size_t rows, size_t dim, size_t stride)
{
    for (size_t r = 0; r < rows; r++) {
        double expected = exact(query, targets + r * stride, dim);
        if (!(fabs((double)scores[r] - expected) <= 1e-6 + 1e-5 * fabs(expected)))
            ck_abort_msg("row %zu: %g instead of %g", r, (double)scores[r], expected);
    }
}

static eum_cosine_config config_of(eum_buffer *query, eum_buffer *targets, eum_buffer *scores, size_t rows, size_t dim)
{
    eum_cosine_config config = EUM_COSINE_CONFIG_INIT;
    config.query = whole(query);
    config.targets = whole(targets);
    config.scores = whole(scores);
    config.rows = rows;
    config.dim = dim;
    return config;
}

static void check_with_roles(eum_context *context, size_t rows, size_t dim, size_t stride, bool roles)
{
    eum_buffer *query = new_buffer_as(context, dim * 4, roles ? EUM_ROLE_QUERY : EUM_ROLE_AUTO);
    eum_buffer *targets = new_buffer_as(context, rows * stride * 4, roles ? EUM_ROLE_TARGETS : EUM_ROLE_AUTO);
    eum_buffer *scores = new_buffer_as(context, rows * 4, roles ? EUM_ROLE_RESULTS : EUM_ROLE_AUTO);
    fill_floats(whole(targets), rows * stride, 1);
    for (uint32_t round = 0; round < 3; round++) {
        fill_floats(whole(query), dim, 2 + round);
        cpu_fill(whole(scores), 99); /* poison */
        eum_cosine_config config = config_of(query, targets, scores, rows, dim);
        config.row_stride = stride == dim ? 0 : stride * 4;
        config.executor = (eum_executor)(EUM_EXECUTOR_DEVICE - round); /* then the CPU, then whatever is better */
        eum_job job;
        OK(eum_cosine(default_stream(context), &config, &job));
        const float *s = map(whole(scores), EUM_ACCESS_READ), *q = map(whole(query), EUM_ACCESS_READ),
                    *t = map(whole(targets), EUM_ACCESS_READ);
        check_scores(s, q, t, rows, dim, stride);
        unmap(scores, (void *)(uintptr_t)s);
        unmap(query, (void *)(uintptr_t)q);
        unmap(targets, (void *)(uintptr_t)t);
        wait_job(job);
    }
    OK(eum_buffer_destroy(query));
    OK(eum_buffer_destroy(targets));
    OK(eum_buffer_destroy(scores));
}

START_TEST(scores_agree_with_float64_in_every_shape_and_role)
{
    static const size_t shapes[][3] = {{1, 1, 1}, {7, 3, 3}, {100, 100, 128}, {1000, 768, 768}, {33, 1536, 1537}, {5, 4099, 4099}};
    eum_context *context = open_context();
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int roles = 0; roles < 2; roles++)
            check_with_roles(context, shapes[i][0], shapes[i][1], shapes[i][2], roles);
    close_context(context);
}
END_TEST

START_TEST(zero_and_non_finite_rows_have_their_scores)
{
    eum_context *context = open_context();
    eum_buffer *query = new_buffer(context, 16), *targets = new_buffer(context, 5 * 16), *scores = new_buffer(context, 5 * 4);
    float *t = map(whole(targets), EUM_ACCESS_OVERWRITE), *q = map(whole(query), EUM_ACCESS_OVERWRITE);
    for (int i = 0; i < 20; i++)
        t[i] = (float)(i % 4 + 1);
    for (int i = 0; i < 4; i++) {
        q[i] = (float)(i + 1);
        t[4 + i] = 0;
    }
    t[9] = NAN;
    t[15] = INFINITY;
    unmap(query, q);
    unmap(targets, t);
    eum_cosine_config config = config_of(query, targets, scores, 5, 4);
    config.executor = EUM_EXECUTOR_DEVICE;
    OK(eum_cosine(default_stream(context), &config, NULL));
    const float *s = map(whole(scores), EUM_ACCESS_READ);
    ck_assert(fabsf(s[0] - 1) < 1e-6f && s[1] == 0 && isnan(s[2]) && isnan(s[3]) && fabsf(s[4] - 1) < 1e-6f);
    unmap(scores, (void *)(uintptr_t)s);
    q = map(whole(query), EUM_ACCESS_READ_WRITE);
    q[3] = NAN;
    unmap(query, q);
    OK(eum_cosine(default_stream(context), &config, NULL));
    s = map(whole(scores), EUM_ACCESS_READ);
    for (int i = 0; i < 5; i++)
        ck_assert(isnan(s[i]));
    unmap(scores, (void *)(uintptr_t)s);
    OK(eum_buffer_destroy(query));
    OK(eum_buffer_destroy(targets));
    OK(eum_buffer_destroy(scores));
    close_context(context);
}
END_TEST

START_TEST(no_rows_are_legal_and_give_a_job_that_is_done)
{
    eum_context *context = open_context();
    eum_buffer *query = new_buffer(context, 16), *none = new_buffer(context, 0);
    eum_cosine_config config = config_of(query, none, none, 0, 4);
    eum_job job;
    OK(eum_cosine(default_stream(context), &config, &job));
    OK(eum_job_wait(job, 0));
    OK(eum_buffer_destroy(query));
    OK(eum_buffer_destroy(none));
    close_context(context);
}
END_TEST

START_TEST(what_does_not_fit_is_refused)
{
    eum_context *context = open_context();
    eum_buffer *query = new_buffer(context, 16), *targets = new_buffer(context, 64), *scores = new_buffer(context, 16);
    eum_cosine_config config = config_of(query, targets, scores, 5, 4);
    GIVES(EUM_ERROR_BUFFER_TOO_SHORT, eum_cosine(default_stream(context), &config, NULL));
    config = config_of(query, targets, scores, 2, 0);
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_cosine(default_stream(context), &config, NULL));
    config = config_of(query, targets, scores, UINT64_MAX / 2, 4);
    GIVES(EUM_ERROR_SIZE_OVERFLOW, eum_cosine(default_stream(context), &config, NULL));
    config = config_of(query, targets, scores, 2, 3);
    config.targets.offset = 2;
    config.targets.bytes = 40;
    GIVES(EUM_ERROR_MISALIGNED, eum_cosine(default_stream(context), &config, NULL));
    config = config_of(query, targets, scores, 2, 3);
    config.row_stride = 8;
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_cosine(default_stream(context), &config, NULL));
    config = config_of(query, targets, targets, 2, 4);
    GIVES(EUM_ERROR_OVERLAP, eum_cosine(default_stream(context), &config, NULL));
    OK(eum_buffer_destroy(query));
    OK(eum_buffer_destroy(targets));
    OK(eum_buffer_destroy(scores));
    close_context(context);
}
END_TEST

typedef struct asker {
    pthread_t thread;
    eum_context *context;
    eum_buffer *targets;
    uint32_t number;
} asker;

#define ROWS 500
#define DIM 100

static void *ask(void *arg)
{
    asker *a = arg;
    eum_stream *stream = new_stream(a->context);
    eum_buffer *query = new_buffer_as(a->context, DIM * 4, EUM_ROLE_QUERY),
               *scores = new_buffer_as(a->context, ROWS * 4, EUM_ROLE_RESULTS);
    float q[DIM], s[ROWS];
    for (uint32_t round = 0; round < 10; round++) {
        for (size_t i = 0; i < DIM; i++)
            q[i] = value_at(100 * a->number + round, i);
        OK(eum_buffer_write(whole(query), q));
        eum_cosine_config config = config_of(query, a->targets, scores, ROWS, DIM);
        config.executor = (eum_executor)((a->number + round) % EUM_EXECUTORS);
        OK(eum_cosine(stream, &config, NULL));
        OK(eum_buffer_read(whole(scores), s));
        const float *t = NULL;
        OK(eum_buffer_map(whole(a->targets), EUM_ACCESS_READ, (void **)(uintptr_t)&t));
        check_scores(s, q, t, ROWS, DIM, DIM);
        OK(eum_buffer_unmap(a->targets, (void *)(uintptr_t)t));
    }
    OK(eum_buffer_destroy(query));
    OK(eum_buffer_destroy(scores));
    OK(eum_stream_destroy(stream));
    return NULL;
}

START_TEST(eight_threads_ask_the_same_targets_at_once)
{
    eum_context *context = open_context();
    eum_buffer *targets = new_buffer_as(context, ROWS * DIM * 4, EUM_ROLE_TARGETS);
    asker askers[8];
    fill_floats(whole(targets), ROWS * DIM, 7);
    for (uint32_t i = 0; i < 8; i++) {
        askers[i] = (asker){.context = context, .targets = targets, .number = i};
        ck_assert_int_eq(pthread_create(&askers[i].thread, NULL, ask, &askers[i]), 0);
    }
    for (int i = 0; i < 8; i++)
        pthread_join(askers[i].thread, NULL);
    OK(eum_buffer_destroy(targets));
    close_context(context);
}
END_TEST

Suite *cosine_suite(void)
{
    Suite *suite = suite_create("cosine");
    TCase *tests = tcase_create("cosine");
    tcase_add_test(tests, scores_agree_with_float64_in_every_shape_and_role);
    tcase_add_test(tests, zero_and_non_finite_rows_have_their_scores);
    tcase_add_test(tests, no_rows_are_legal_and_give_a_job_that_is_done);
    tcase_add_test(tests, what_does_not_fit_is_refused);
    if (!takes_turns())
        tcase_add_test(tests, eight_threads_ask_the_same_targets_at_once);
    suite_add_tcase(suite, tests);
    return suite;
}
