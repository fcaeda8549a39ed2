/* The scoring through the engine: right on every device and backing, from several streams, with its row numbers copied.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <math.h>

#include "engine.h"

Suite *scoring_suite(void);

#define QUERIES 12
#define ROWS 300
#define DIM 20
#define BEST 7

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

static double exact(eum_metric metric, uint32_t query_seed, size_t q, size_t row)
{
    double dot = 0, squares = 0, query_squares = 0, distance = 0;
    for (size_t k = 0; k < DIM; k++) {
        double a = (double)value_at(query_seed, q * DIM + k), b = (double)value_at(1, row * DIM + k);
        dot += a * b;
        query_squares += a * a;
        squares += b * b;
        distance += (a - b) * (a - b);
    }
    return metric == EUM_METRIC_DOT ? dot : metric == EUM_METRIC_COSINE ? dot / sqrt(query_squares * squares) : distance;
}

static void check_near(float found, double expected)
{
    if (!(fabs((double)found - expected) <= 1e-5 + 1e-5 * fabs(expected)))
        ck_abort_msg("%g instead of %g", (double)found, expected);
}

typedef struct set {
    eum_context *context;
    eum_buffer *queries, *targets, *scores, *indices;
} set;

static set open_set(void)
{
    set s = {.context = open_context()};
    s.queries = new_buffer_as(s.context, QUERIES * DIM * 4, EUM_ROLE_QUERY);
    s.targets = new_buffer_as(s.context, ROWS * DIM * 4, EUM_ROLE_TARGETS);
    s.scores = new_buffer_as(s.context, QUERIES * ROWS * 4, EUM_ROLE_RESULTS);
    s.indices = new_buffer_as(s.context, QUERIES * BEST * 8, EUM_ROLE_RESULTS);
    fill_floats(whole(s.targets), ROWS * DIM, 1);
    return s;
}

static void close_set(set *s)
{
    OK(eum_buffer_destroy(s->queries));
    OK(eum_buffer_destroy(s->targets));
    OK(eum_buffer_destroy(s->scores));
    OK(eum_buffer_destroy(s->indices));
    close_context(s->context);
}

/* On the device, unless a test says otherwise. */
static eum_similarity_config all_of(const set *s, eum_metric metric)
{
    eum_similarity_config config = EUM_SIMILARITY_CONFIG_INIT;
    config.executor = EUM_EXECUTOR_DEVICE;
    config.metric = metric;
    config.queries = whole(s->queries);
    config.targets = whole(s->targets);
    config.scores = whole(s->scores);
    config.query_count = QUERIES;
    config.rows = ROWS;
    config.dim = DIM;
    return config;
}

static void start_best(const set *s, eum_metric metric, size_t rows, eum_job *job)
{
    eum_topk_config config = EUM_TOPK_CONFIG_INIT;
    config.executor = EUM_EXECUTOR_DEVICE;
    config.metric = metric;
    config.queries = whole(s->queries);
    config.targets = whole(s->targets);
    config.scores = whole(s->scores);
    config.indices = whole(s->indices);
    config.query_count = QUERIES;
    config.rows = rows;
    config.dim = DIM;
    config.k = BEST;
    OK(eum_topk(default_stream(s->context), &config, job));
}

START_TEST(scores_of_many_queries_agree_with_float64_again_and_again)
{
    set s = open_set();
    for (uint32_t round = 0; round < 6; round++) {
        eum_metric metric = (eum_metric)(1 + round % 3);
        fill_floats(whole(s.queries), QUERIES * DIM, 2 + round);
        eum_similarity_config config = all_of(&s, metric);
        config.executor = (eum_executor)(EUM_EXECUTOR_DEVICE - round / 2); /* then the CPU, then whatever is better */
        eum_job job;
        OK(eum_similarity(default_stream(s.context), &config, &job));
        const float *scores = map(whole(s.scores), EUM_ACCESS_READ);
        for (size_t i = 0; i < QUERIES * ROWS; i++)
            check_near(scores[i], exact(metric, 2 + round, i / ROWS, i % ROWS));
        unmap(s.scores, (void *)(uintptr_t)scores);
        wait_job(job);
    }
    close_set(&s);
}
END_TEST

/* How many rows come before this one, by float64: as many as its place, but for those that are too near to tell. */
static void check_places(const int64_t *indices, const float *scores, eum_metric metric, uint32_t seed)
{
    for (size_t i = 0; i < QUERIES * BEST; i++) {
        size_t nearer = 0, tied = 0;
        ck_assert(indices[i] >= 0 && indices[i] < ROWS);
        double mine = exact(metric, seed, i / BEST, (size_t)indices[i]);
        check_near(scores[i], mine);
        for (size_t r = 0; r < ROWS; r++) {
            double other = exact(metric, seed, i / BEST, r), by = metric == EUM_METRIC_L2_SQUARED ? mine - other : other - mine;
            nearer += by > 1e-5;
            tied += fabs(by) <= 1e-5;
        }
        ck_assert(nearer <= i % BEST && i % BEST < nearer + tied);
    }
}

START_TEST(the_best_rows_are_the_nearest_ones)
{
    set s = open_set();
    for (uint32_t round = 0; round < 3; round++) {
        eum_metric metric = (eum_metric)(1 + round);
        fill_floats(whole(s.queries), QUERIES * DIM, 9 + round);
        eum_job job;
        start_best(&s, metric, ROWS, &job);
        const int64_t *indices = map(whole(s.indices), EUM_ACCESS_READ);
        const float *scores = map(whole(s.scores), EUM_ACCESS_READ);
        check_places(indices, scores, metric, 9 + round);
        unmap(s.indices, (void *)(uintptr_t)indices);
        unmap(s.scores, (void *)(uintptr_t)scores);
        wait_job(job);
    }
    close_set(&s);
}
END_TEST

START_TEST(places_without_a_row_have_index_minus_1_and_score_nan)
{
    set s = open_set();
    fill_floats(whole(s.queries), QUERIES * DIM, 3);
    for (size_t rows = 0; rows < 3; rows += 2) {
        start_best(&s, EUM_METRIC_DOT, rows, NULL);
        const int64_t *indices = map(whole(s.indices), EUM_ACCESS_READ);
        const float *scores = map(whole(s.scores), EUM_ACCESS_READ);
        for (size_t i = 0; i < QUERIES * BEST; i++) {
            bool there = i % BEST < rows;
            ck_assert((indices[i] >= 0) == there && indices[i] >= -1 && indices[i] < (int64_t)rows + !rows);
            ck_assert(isnan(scores[i]) == !there);
        }
        unmap(s.indices, (void *)(uintptr_t)indices);
        unmap(s.scores, (void *)(uintptr_t)scores);
    }
    close_set(&s);
}
END_TEST

START_TEST(row_numbers_are_copied_before_the_call_returns)
{
    enum { COUNT = 77 };
    set s = open_set();
    fill_floats(whole(s.queries), QUERIES * DIM, 5);
    eum_similarity_rows_config config = EUM_SIMILARITY_ROWS_CONFIG_INIT;
    config.executor = EUM_EXECUTOR_DEVICE;
    int64_t numbers[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        numbers[i] = (int64_t)(word_at(6, i) % ROWS);
    config.metric = EUM_METRIC_L2_SQUARED;
    config.queries = whole(s.queries);
    config.targets = whole(s.targets);
    config.scores = whole(s.scores);
    config.query_count = QUERIES;
    config.rows = ROWS;
    config.dim = DIM;
    config.numbers = numbers;
    config.number_count = COUNT;
    eum_job job;
    OK(eum_similarity_rows(default_stream(s.context), &config, &job));
    memset(numbers, 0x7f, sizeof numbers);
    const float *scores = map(whole(s.scores), EUM_ACCESS_READ);
    for (size_t i = 0; i < QUERIES * COUNT; i++)
        check_near(scores[i], exact(EUM_METRIC_L2_SQUARED, 5, i / COUNT, word_at(6, i % COUNT) % ROWS));
    unmap(s.scores, (void *)(uintptr_t)scores);
    wait_job(job);
    close_set(&s);
}
END_TEST

START_TEST(elements_of_16_bits_and_strides_are_read_as_they_are)
{
    /* 1, -2 and 0.5 in both formats; gaps are NaN. */
    static const uint16_t halves[] = {0x3c00, 0xc000, 0x7e00, 0x3800, 0x3c00, 0x7e00},
                          brains[] = {0x3f80, 0xc000, 0x7fc0, 0x3f00, 0x3f80, 0x7fc0};
    static const float queries[] = {2, 1, NAN, 0.5f, 4, NAN};
    set s = open_set();
    for (int brain = 0; brain < 2; brain++) {
        OK(eum_buffer_write((eum_view){s.targets, 2, sizeof halves}, brain ? brains : halves));
        OK(eum_buffer_write((eum_view){s.queries, 4, sizeof queries}, queries));
        eum_similarity_config config = all_of(&s, EUM_METRIC_DOT);
        config.element = brain ? EUM_ELEMENT_BFLOAT16 : EUM_ELEMENT_FLOAT16;
        config.targets.offset = 2;
        config.targets.bytes = 10; /* without the last gap */
        config.queries.offset = 4;
        config.queries.bytes = 20;
        config.query_count = config.rows = config.dim = 2;
        config.row_stride = 6;
        config.query_stride = 12;
        OK(eum_similarity(default_stream(s.context), &config, NULL));
        const float *scores = map(whole(s.scores), EUM_ACCESS_READ);
        ck_assert(scores[0] == 0.0f && scores[1] == 2.0f && scores[2] == -7.5f && scores[3] == 4.25f);
        unmap(s.scores, (void *)(uintptr_t)scores);
    }
    close_set(&s);
}
END_TEST

START_TEST(streams_score_the_same_targets_at_once)
{
    set s = open_set();
    fill_floats(whole(s.queries), QUERIES * DIM, 8);
    eum_stream *streams[3];
    for (int i = 0; i < 3; i++)
        OK(eum_stream_create(s.context, NULL, &streams[i]));
    for (int round = 0; round < 9; round++) {
        eum_similarity_config config = all_of(&s, EUM_METRIC_DOT);
        config.query_count = 1;
        config.queries = (eum_view){s.queries, (size_t)round * DIM * 4, DIM * 4};
        config.scores = (eum_view){s.scores, (size_t)round * ROWS * 4, ROWS * 4};
        OK(eum_similarity(streams[round % 3], &config, NULL));
    }
    const float *scores = map(whole(s.scores), EUM_ACCESS_READ);
    for (size_t i = 0; i < 9 * ROWS; i++)
        check_near(scores[i], exact(EUM_METRIC_DOT, 8, i / ROWS, i % ROWS));
    unmap(s.scores, (void *)(uintptr_t)scores);
    for (int i = 0; i < 3; i++)
        OK(eum_stream_destroy(streams[i]));
    close_set(&s);
}
END_TEST

Suite *scoring_suite(void)
{
    Suite *suite = suite_create("scoring");
    TCase *scoring = tcase_create("scoring");
    tcase_add_test(scoring, scores_of_many_queries_agree_with_float64_again_and_again);
    tcase_add_test(scoring, the_best_rows_are_the_nearest_ones);
    tcase_add_test(scoring, places_without_a_row_have_index_minus_1_and_score_nan);
    tcase_add_test(scoring, row_numbers_are_copied_before_the_call_returns);
    tcase_add_test(scoring, elements_of_16_bits_and_strides_are_read_as_they_are);
    tcase_add_test(scoring, streams_score_the_same_targets_at_once);
    suite_add_tcase(suite, scoring);
    return suite;
}
