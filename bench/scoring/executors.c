/* What the CPU and the device take for the best 10 of many queries, beside what was predicted of each: what src/dispatch.c decides by.
 *   bench_executors [DEVICE [THREADS]]      as eum_context_create has them; the default device, one thread a core
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Targets and queries stay as they are, so that both sides have them; the time is from the call until its results are in the caller's
 * memory. The two take turns; medians, with the quartiles. */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "engram_um.h"

enum { DIM = 768, K = 10, TURNS = 5, WARM = 4, TIMED = 9, RUNS = TURNS * TIMED, MOST_QUERIES = 256, MOST_ROWS = 21845 };

typedef struct bench {
    eum_context *context;
    eum_stream *stream;
    eum_view targets, queries, indices, scores;
    int64_t *found;
    float *found_scores, *expected;
} bench;

static void check(eum_status status, const char *what)
{
    if (status == EUM_OK)
        return;
    eum_error error = EUM_ERROR_INIT;
    (void)eum_last_error(&error);
    (void)fprintf(stderr, "bench_executors: %s: %s\n", what, error.sentence);
    exit(1);
}

static void *memory(size_t bytes)
{
    void *at = malloc(bytes);
    if (at == NULL) {
        (void)fprintf(stderr, "bench_executors: no memory for %zu bytes\n", bytes);
        exit(1);
    }
    return at;
}

static double now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static eum_view create(bench *b, size_t bytes)
{
    eum_buffer *buffer = NULL;
    check(eum_buffer_create(b->context, bytes, NULL, &buffer), "a buffer");
    return (eum_view){buffer, 0, bytes};
}

static eum_view random_numbers(bench *b, size_t count, uint32_t seed)
{
    eum_view view = create(b, count * sizeof(float));
    float *numbers = memory(count * sizeof *numbers);
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        numbers[i] = (float)(int32_t)seed / 2147483648.0f;
    }
    check(eum_buffer_write(view, numbers), "writing operands");
    free(numbers);
    return view;
}

/* One call, until its results are there. */
static double run(bench *b, uint64_t queries, uint64_t rows, eum_executor executor)
{
    eum_topk_config config = EUM_TOPK_CONFIG_INIT;
    eum_job job;
    config.metric = EUM_METRIC_DOT;
    config.queries = b->queries;
    config.targets = b->targets;
    config.indices = (eum_view){b->indices.buffer, 0, queries * K * sizeof(int64_t)};
    config.scores = (eum_view){b->scores.buffer, 0, queries * K * sizeof(float)};
    config.query_count = queries;
    config.rows = rows;
    config.dim = DIM;
    config.k = K;
    config.executor = executor;
    double begin = now_us();
    check(eum_topk(b->stream, &config, &job), "eum_topk");
    check(eum_job_wait(job, -1), "waiting");
    check(eum_buffer_read(config.indices, b->found), "reading indices");
    check(eum_buffer_read(config.scores, b->found_scores), "reading scores");
    return now_us() - begin;
}

static void print(double *times, double predicted)
{
    qsort(times, RUNS, sizeof *times, by_size);
    printf(" | %9.1f [%.1f, %.1f], %.1f", times[RUNS / 2], times[RUNS / 4], times[RUNS * 3 / 4], predicted);
}

static void measure(bench *b, uint64_t queries, uint64_t rows, bool device)
{
    static double times[EUM_EXECUTORS][RUNS];
    double predicted[EUM_EXECUTORS] = {0};
    const eum_executor last = device ? EUM_EXECUTOR_DEVICE : EUM_EXECUTOR_CPU;
    for (int turn = 0; turn < TURNS; turn++) {
        for (eum_executor executor = EUM_EXECUTOR_CPU; executor <= last; executor++) {
            for (int i = 0; i < WARM; i++)
                (void)run(b, queries, rows, executor);
            for (int i = 0; i < TIMED; i++)
                times[executor][turn * TIMED + i] = run(b, queries, rows, executor);
            eum_operation_stats stats = {.struct_size = sizeof stats};
            check(eum_context_operation_stats(b->context, EUM_OPERATION_TOPK, &stats), "the statistics");
            predicted[executor] = (double)stats.last_predicted_ns[executor] / 1000;
            for (uint64_t i = 0; i < queries * K; i++) {
                if (executor == EUM_EXECUTOR_CPU)
                    b->expected[i] = b->found_scores[i];
                else if (!(fabsf(b->found_scores[i] - b->expected[i]) <= 1e-3f)) {
                    (void)fprintf(stderr, "bench_executors: score %llu differs\n", (unsigned long long)i);
                    exit(1);
                }
            }
        }
    }
    printf("| %llu | %llu", (unsigned long long)queries, (unsigned long long)rows);
    for (eum_executor executor = EUM_EXECUTOR_CPU; executor <= last; executor++)
        print(times[executor], predicted[executor]);
    printf(" |\n");
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    static const uint64_t queries[] = {1, 8, 32, 256}, rows[] = {1000, 5461, MOST_ROWS};
    bench b = {.found = memory(MOST_QUERIES * K * sizeof *b.found),
               .found_scores = memory(MOST_QUERIES * K * sizeof *b.found_scores),
               .expected = memory(MOST_QUERIES * K * sizeof *b.expected)};
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    config.device = argc > 1 ? argv[1] : NULL;
    config.worker_threads = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
    check(eum_context_create(&config, &b.context), "a context");
    check(eum_context_default_stream(b.context, &b.stream), "its stream");
    eum_info info = {.struct_size = sizeof info};
    check(eum_context_info(b.context, &info), "the device");
    const bool device = info.device_kind != EUM_DEVICE_HOST;
    b.targets = random_numbers(&b, (size_t)MOST_ROWS * DIM, 1);
    b.queries = random_numbers(&b, (size_t)MOST_QUERIES * DIM, 2);
    b.indices = create(&b, MOST_QUERIES * K * sizeof(int64_t));
    b.scores = create(&b, MOST_QUERIES * K * sizeof(float));
    printf("%s, %u threads, %s; dot, %d elements, the best %d; us: median [quartiles], predicted\n| queries | rows | CPU |%s\n",
           info.device_name, info.worker_threads, info.cpu_kernels, DIM, K, device ? " device |" : "");
    for (size_t q = 0; q < sizeof queries / sizeof *queries; q++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
            measure(&b, queries[q], rows[r], device);
    const eum_view all[] = {b.targets, b.queries, b.indices, b.scores};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        check(eum_buffer_destroy(all[i].buffer), "ending a buffer");
    check(eum_context_destroy(b.context), "ending the context");
    free(b.found);
    free(b.found_scores);
    free(b.expected);
    return 0;
}
