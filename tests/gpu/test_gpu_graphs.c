/* Operations that are launched again and again become CUDA graphs: with what was written in between they give what they gave before.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <math.h>
#include <pthread.h>

#include "gpu_fixture.h"

#define ROWS 300u
#define DIM 96u
#define POISON 12345.0f

static float value(uint32_t seed, uint64_t i)
{
    return (float)((double)gpu_hash(seed, i) / 2147483648.0 - 1.0);
}

static uint64_t graphs(void)
{
    eum_stats stats;
    eum_stats_init(&stats);
    OK(eum_context_stats(context, &stats));
    return stats.graph_launches;
}

typedef struct search {
    eum_buffer *query, *targets, *scores;
    float host_query[DIM], host_targets[ROWS * DIM];
} search;

static void fill_and_write(eum_buffer *buffer, float *host, size_t count, uint32_t seed)
{
    for (size_t i = 0; i < count; i++)
        host[i] = value(seed, i);
    OK(eum_buffer_write((eum_view){buffer, 0, count * sizeof *host}, host));
}

static void open_search(search *s, uint32_t seed)
{
    s->query = make_buffer(sizeof s->host_query, EUM_ROLE_AUTO);
    s->targets = make_buffer(sizeof s->host_targets, EUM_ROLE_AUTO);
    s->scores = make_buffer(ROWS * sizeof(float), EUM_ROLE_AUTO);
    fill_and_write(s->query, s->host_query, DIM, seed);
    fill_and_write(s->targets, s->host_targets, ROWS * DIM, seed + 1);
}

static void close_search(search *s)
{
    OK(eum_buffer_destroy(s->query));
    OK(eum_buffer_destroy(s->targets));
    OK(eum_buffer_destroy(s->scores));
}

/* metric 0: eum_cosine. */
static void launch(eum_stream *on, const search *s, eum_metric metric, eum_job *job)
{
    if (metric == 0) {
        eum_cosine_config config = EUM_COSINE_CONFIG_INIT;
        config.query = whole(s->query);
        config.targets = whole(s->targets);
        config.scores = whole(s->scores);
        config.rows = ROWS;
        config.dim = DIM;
        config.executor = EUM_EXECUTOR_DEVICE;
        OK(eum_cosine(on, &config, job));
        return;
    }
    eum_similarity_config config = EUM_SIMILARITY_CONFIG_INIT;
    config.metric = metric;
    config.queries = whole(s->query);
    config.targets = whole(s->targets);
    config.scores = whole(s->scores);
    config.rows = ROWS;
    config.dim = DIM;
    config.executor = EUM_EXECUTOR_DEVICE;
    OK(eum_similarity(on, &config, job));
}

static double exact(const search *s, size_t row, eum_metric metric)
{
    double dot = 0, a = 0, b = 0, apart = 0;
    for (size_t i = 0; i < DIM; i++) {
        double q = (double)s->host_query[i], t = (double)s->host_targets[row * DIM + i];
        dot += q * t;
        a += q * q;
        b += t * t;
        apart += (q - t) * (q - t);
    }
    return metric == EUM_METRIC_DOT ? dot : metric == EUM_METRIC_L2_SQUARED ? apart : dot / sqrt(a * b);
}

/* Reads the scores, and leaves poison. */
static void expect_scores(const search *s, eum_metric metric)
{
    float *scores;
    OK(eum_buffer_map(whole(s->scores), EUM_ACCESS_READ_WRITE, (void **)&scores));
    for (size_t r = 0; r < ROWS; r++) {
        double want = exact(s, r, metric);
        if (!(fabs((double)scores[r] - want) <= 1e-4 + 1e-4 * fabs(want)))
            ck_abort_msg("metric %d, row %zu: %.9g, exactly %.9g", (int)metric, r, (double)scores[r], want);
        scores[r] = POISON;
    }
    OK(eum_buffer_unmap(s->scores, scores));
}

static search one, two;

START_TEST(what_was_written_in_between_is_what_a_graph_reads)
{
    open_context(backings[_i], 0);
    for (eum_metric metric = 0; metric <= EUM_METRIC_L2_SQUARED; metric++) {
        open_search(&one, 10);
        uint64_t before = graphs();
        for (uint32_t i = 0; i < 40; i++) {
            eum_job job;
            fill_and_write(one.query, one.host_query, DIM, 100 + i);
            if (i % 7 == 6)
                fill_and_write(one.targets, one.host_targets, ROWS * DIM, 200 + i);
            launch(stream, &one, metric, &job);
            OK(eum_job_wait(job, -1));
            expect_scores(&one, metric);
        }
        ck_assert_msg(metric > 0 || graphs() - before >= 20, "metric %d on %s memory: only %llu graphs", (int)metric,
                      backing_words[_i], (unsigned long long)(graphs() - before));
        close_search(&one);
    }
    close_context();
}
END_TEST

START_TEST(buffers_that_take_the_place_of_others_have_their_own_results)
{
    open_context(backings[_i], 0);
    for (uint32_t round = 0; round < 12; round++) { /* from the pool: at the addresses of those before */
        open_search(&one, 1000 + round);
        open_search(&two, 2000 + round);
        for (int i = 0; i < 6; i++) {
            launch(stream, &one, 0, NULL);
            launch(stream, &two, 0, NULL);
            expect_scores(&one, 0);
            expect_scores(&two, 0);
        }
        if (round % 2 == 0)
            close_search(&two);
        close_search(&one);
        if (round % 2 != 0)
            close_search(&two);
    }
    ck_assert_uint_gt(graphs(), 0);
    close_context();
}
END_TEST

START_TEST(many_in_a_row_are_graphs_and_counted)
{
    open_context(EUM_BACKING_AUTO, 0);
    open_search(&one, 10);
    eum_stats stats;
    eum_stats_init(&stats);
    for (int i = 0; i < 500; i++)
        launch(stream, &one, 0, NULL);
    expect_scores(&one, 0);
    OK(eum_context_stats(context, &stats));
    ck_assert_uint_eq(stats.launches, 500);
    ck_assert_uint_ge(stats.graph_launches, 490);
    ck_assert_uint_le(stats.graph_launches, 498);
    close_search(&one);
    close_context();
}
END_TEST

START_TEST(none_are_made_where_the_environment_says_so)
{
    setenv("EUM_GRAPHS", "never", 1);
    open_context(EUM_BACKING_AUTO, 0);
    open_search(&one, 10);
    for (int i = 0; i < 50; i++)
        launch(stream, &one, 0, NULL);
    expect_scores(&one, 0);
    ck_assert_uint_eq(graphs(), 0);
    close_search(&one);
    close_context();
}
END_TEST

START_TEST(none_are_made_on_a_stream_that_others_know)
{
    open_context(EUM_BACKING_AUTO, 0);
    void *native = NULL;
    open_search(&one, 10);
    for (int i = 0; i < 10; i++)
        launch(stream, &one, 0, NULL);
    ck_assert_uint_gt(graphs(), 0);
    uint64_t before = graphs();
    OK(eum_stream_native(stream, &native));
    for (int i = 0; i < 10; i++)
        launch(stream, &one, 0, NULL);
    expect_scores(&one, 0);
    ck_assert_uint_eq(graphs(), before);
    close_search(&one);
    close_context();
}
END_TEST

/* Fewer rows, so that it is another call. */
static void launch_rows(eum_stream *on, const search *s, uint64_t rows)
{
    eum_cosine_config config = EUM_COSINE_CONFIG_INIT;
    config.query = whole(s->query);
    config.targets = whole(s->targets);
    config.scores = whole(s->scores);
    config.rows = rows;
    config.dim = DIM;
    config.executor = EUM_EXECUTOR_DEVICE;
    OK(eum_cosine(on, &config, NULL));
}

/* The application captures on a stream of its own, in the mode that forbids most; nothing of ours ends that or gets into it. */
START_TEST(a_capture_of_the_applications_own_goes_on)
{
    cudaStream_t native = NULL;
    cudaGraph_t graph = NULL;
    void *memory = NULL;
    size_t nodes = 0;
    open_context(EUM_BACKING_AUTO, 0);
    open_search(&one, 10);
    open_search(&two, 20);
    launch(stream, &two, 0, NULL);
    expect_scores(&two, 0);
    CUDA(cudaMalloc(&memory, 4096));
    CUDA(cudaStreamCreateWithFlags(&native, cudaStreamNonBlocking));
    CUDA(cudaStreamBeginCapture(native, cudaStreamCaptureModeGlobal));
    CUDA(cudaMemsetAsync(memory, 7, 4096, native));
    uint64_t before = graphs();
    for (int i = 0; i < 8; i++) {
        launch(stream, &one, 0, NULL);
        launch(stream, &two, EUM_METRIC_DOT, NULL);
    }
    expect_scores(&one, 0);
    expect_scores(&two, EUM_METRIC_DOT);
    ck_assert_uint_gt(graphs(), before);
    for (uint64_t less = 1; less < 16; less++) /* graphs end, too */
        for (int i = 0; i < 80; i++)
            launch_rows(stream, &one, ROWS - less);
    launch(stream, &one, 0, NULL);
    expect_scores(&one, 0);
    CUDA(cudaMemsetAsync(memory, 8, 4096, native));
    CUDA(cudaStreamEndCapture(native, &graph));
    CUDA(cudaGraphGetNodes(graph, NULL, &nodes));
    ck_assert_uint_eq(nodes, 2);
    CUDA(cudaGraphDestroy(graph));
    CUDA(cudaStreamDestroy(native));
    CUDA(cudaFree(memory));
    close_search(&one);
    close_search(&two);
    close_context();
}
END_TEST

typedef struct worker {
    pthread_t thread;
    search *s;
    eum_metric metric;
} worker;

static void *search_again_and_again(void *arg)
{
    worker *w = arg;
    eum_stream_config config = EUM_STREAM_CONFIG_INIT;
    eum_stream *own = NULL;
    OK(eum_stream_create(context, &config, &own));
    for (uint32_t i = 0; i < 400; i++) {
        eum_job job;
        fill_and_write(w->s->query, w->s->host_query, DIM, 5000 + i);
        for (int k = 0; k < 3; k++)
            launch(own, w->s, w->metric, &job);
        OK(eum_job_wait(job, -1));
        expect_scores(w->s, w->metric);
    }
    OK(eum_stream_destroy(own));
    return NULL;
}

START_TEST(threads_with_streams_of_their_own)
{
    open_context(EUM_BACKING_AUTO, 0);
    open_search(&one, 10);
    open_search(&two, 20);
    worker workers[] = {{.s = &one, .metric = 0}, {.s = &two, .metric = EUM_METRIC_DOT}};
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, search_again_and_again, &workers[i]), 0);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_join(workers[i].thread, NULL), 0);
    ck_assert_uint_gt(graphs(), 0);
    close_search(&one);
    close_search(&two);
    close_context();
}
END_TEST

Suite *gpu_graphs_suite(void);
Suite *gpu_graphs_suite(void)
{
    Suite *suite = suite_create("gpu_graphs");
    TCase *tests = tcase_create("gpu_graphs");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, what_was_written_in_between_is_what_a_graph_reads, 0, BACKINGS);
    tcase_add_loop_test(tests, buffers_that_take_the_place_of_others_have_their_own_results, 0, BACKINGS);
    tcase_add_test(tests, many_in_a_row_are_graphs_and_counted);
    tcase_add_test(tests, none_are_made_where_the_environment_says_so);
    tcase_add_test(tests, none_are_made_on_a_stream_that_others_know);
    tcase_add_test(tests, a_capture_of_the_applications_own_goes_on);
    tcase_add_test(tests, threads_with_streams_of_their_own);
    suite_add_tcase(suite, tests);
    return suite;
}
