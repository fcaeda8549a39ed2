/* The scoring on a GPU, against the memory: what a read of the same bytes takes, what a selection adds, and so on.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * bench_scoring [ROWS [ROUNDS]] bench_scoring ROWS once        each kernel one time, for a profiler
 *
 * Plain device memory, random data made there, outputs poisoned, results checked against float64 on a sample. Each pair of
 * contenders alternates in a random order; a ratio is the median of the rounds' own ratios with a 95 % bootstrap interval.
 * Kernels are timed by events, calls of the library by the clock, with the wait. */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cuda_runtime_api.h>

#include "bench_scoring.h"
#include "kernels/kernels.h"
#include "kernels/scoring.h"

#define DIM ((uint64_t)768)
#define QUERIES ((uint64_t)1024)
#define MOST_ROUNDS 201
#define CANDIDATES ((uint64_t)100000)
#define SMALL ((uint64_t)1000)

static uint64_t rows = 1000000;
static int rounds = 31;
static int processors;
static cudaStream_t stream;
static float *queries, *targets, *ascending, *scores;
static void *halves, *scratch;
static int64_t *indices, *numbers;
static uint32_t *sink;
static float *host_query, *host_scores;

static void stop(const char *what, const char *why)
{
    fprintf(stderr, "bench_scoring: %s: %s\n", what, why);
    exit(EXIT_FAILURE);
}
#define CUDA(call)                                                                                                                 \
    do {                                                                                                                           \
        cudaError_t error_ = (cudaError_t)(call);                                                                                  \
        if (error_ != cudaSuccess)                                                                                                 \
            stop(#call, cudaGetErrorString(error_));                                                                               \
    } while (0)

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static uint64_t random_state = 88172645463325252ull;
static uint32_t random_number(uint32_t below)
{
    random_state ^= random_state << 13, random_state ^= random_state >> 7, random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32) % below;
}

static int ascends(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *values, int count)
{
    double sorted[MOST_ROUNDS];
    memcpy(sorted, values, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, ascends);
    return count % 2 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

/* --------------------------------------------------------------------------------------------------- contenders ------ */

typedef struct contender {
    enum { READ, SCORE, COSINE, EMPTY } what;
    eum_scoring_args args;
    int variant;           /* of READ */
    const void *from;      /* of READ */
    uint64_t bytes;        /* of READ */
    bool wait;             /* by the clock, with the wait, instead of events */
    cudaGraphExec_t graph; /* what is launched instead, unless NULL */
} contender;

static void enqueue(const contender *c)
{
    if (c->graph != NULL) {
        CUDA(cudaGraphLaunch(c->graph, stream));
    } else if (c->what == READ) {
        CUDA(bench_read(c->variant, c->from, c->bytes, sink, processors, stream));
    } else if (c->what == EMPTY) {
        CUDA(bench_empty(stream));
    } else if (c->what == COSINE) {
        eum_cosine_args args = {c->args.queries, c->args.targets, c->args.scores, c->args.rows, c->args.dim, c->args.row_stride};
        CUDA(eum_cosine_cuda(&args, stream));
    } else {
        CUDA(eum_scoring_cuda(&c->args, scratch, stream));
    }
}

/* The same as a graph. */
static contender captured(contender c)
{
    cudaGraph_t graph;
    cudaGraphExec_t ready;
    CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    enqueue(&c);
    CUDA(cudaStreamEndCapture(stream, &graph));
    CUDA(cudaGraphInstantiate(&ready, graph, 0));
    CUDA(cudaGraphDestroy(graph));
    c.graph = ready;
    return c;
}

static cudaEvent_t before, after;

static double time_us(const contender *c)
{
    if (c->wait) {
        double start = now_us();
        enqueue(c);
        CUDA(cudaStreamSynchronize(stream));
        return now_us() - start;
    }
    float ms = 0;
    CUDA(cudaEventRecord(before, stream));
    enqueue(c);
    CUDA(cudaEventRecord(after, stream));
    CUDA(cudaEventSynchronize(after));
    CUDA(cudaEventElapsedTime(&ms, before, after));
    return (double)ms * 1e3;
}

/* Prints what `a` takes, `b` takes, and a / b. */
static void compare(const char *name, const contender *a, const contender *b, int n, const char *want)
{
    double x[MOST_ROUNDS], y[MOST_ROUNDS], ratio[MOST_ROUNDS], resampled[MOST_ROUNDS], medians[1000];
    n = n < MOST_ROUNDS ? n : MOST_ROUNDS;
    for (int i = -3; i < n; i++) {
        const bool first = random_number(2) == 0;
        double s = time_us(first ? a : b), t = time_us(first ? b : a);
        if (i >= 0) {
            x[i] = first ? s : t;
            y[i] = first ? t : s;
            ratio[i] = x[i] / y[i];
        }
    }
    for (int m = 0; m < 1000; m++) {
        for (int i = 0; i < n; i++)
            resampled[i] = ratio[random_number((uint32_t)n)];
        medians[m] = median(resampled, n);
    }
    qsort(medians, 1000, sizeof *medians, ascends);
    printf("%-58s %10.1f us / %10.1f us = %.3f [%.3f, %.3f]  %s\n", name, median(x, n), median(y, n), median(ratio, n), medians[25],
           medians[974], want);
    fflush(stdout);
}

static contender scoring(const void *to, eum_element element, uint64_t count, uint64_t query_count, uint64_t k)
{
    const uint64_t size = element == EUM_ELEMENT_FLOAT32 ? 4 : 2;
    return (contender){.what = SCORE,
                       .args = {.metric = EUM_METRIC_COSINE,
                                .element = element,
                                .queries = queries,
                                .targets = to,
                                .scores = scores,
                                .indices = k > 0 ? indices : NULL,
                                .query_count = query_count,
                                .rows = count,
                                .dim = DIM,
                                .query_stride = DIM * 4,
                                .row_stride = DIM * size,
                                .k = k}};
}

/* ------------------------------------------------------------------------------------------------------- checks ------ */

static double exact(const float *query, const float *row)
{
    double dot = 0, a = 0, b = 0;
    for (uint64_t i = 0; i < DIM; i++) {
        dot += (double)query[i] * (double)row[i];
        a += (double)query[i] * (double)query[i];
        b += (double)row[i] * (double)row[i];
    }
    return dot / (sqrt(a) * sqrt(b));
}

/* A sample of all scores against float64; the best rows against the scores. */
static void check(const float *of, uint64_t query_count, uint64_t k)
{
    contender c = scoring(of, EUM_ELEMENT_FLOAT32, rows, query_count, 0);
    float row[DIM], *best = malloc(query_count * k * sizeof *best);
    int64_t *found = malloc(query_count * k * sizeof *found);
    const uint64_t all = query_count * rows, shown = query_count <= 8 ? query_count : 1;
    CUDA(cudaMemset(scores, 0xff, all * sizeof(float)));
    enqueue(&c);
    CUDA(cudaStreamSynchronize(stream));
    CUDA(cudaMemcpy(host_scores, scores, shown * rows * sizeof(float), cudaMemcpyDeviceToHost));
    double worst = 0;
    for (int n = 0; n < 300; n++) {
        const uint64_t r = random_number((uint32_t)rows), q = random_number((uint32_t)query_count);
        float score;
        CUDA(cudaMemcpy(row, of + r * DIM, sizeof row, cudaMemcpyDeviceToHost));
        CUDA(cudaMemcpy(&score, scores + q * rows + r, sizeof score, cudaMemcpyDeviceToHost));
        const double want = exact(host_query + q * DIM, row), error = fabs((double)score - want);
        if (!(error <= 1e-6 + 1e-5 * fabs(want)))
            stop("check", "a score is wrong");
        worst = error > worst ? error : worst;
    }
    c = scoring(of, EUM_ELEMENT_FLOAT32, rows, query_count, k);
    CUDA(cudaMemset(scores, 0xff, query_count * k * sizeof(float)));
    CUDA(cudaMemset(indices, 0xff, query_count * k * sizeof *indices));
    enqueue(&c);
    CUDA(cudaStreamSynchronize(stream));
    CUDA(cudaMemcpy(best, scores, query_count * k * sizeof *best, cudaMemcpyDeviceToHost));
    CUDA(cudaMemcpy(found, indices, query_count * k * sizeof *found, cudaMemcpyDeviceToHost));
    for (uint64_t q = 0; q < shown; q++) { /* k - 1 scores or fewer are better than the last */
        uint64_t better = 0;
        for (uint64_t r = 0; r < rows; r++)
            better += host_scores[q * rows + r] > best[q * k + k - 1];
        for (uint64_t i = 0; i < k; i++)
            if (found[q * k + i] < 0 || host_scores[q * rows + (uint64_t)found[q * k + i]] != best[q * k + i] || better >= k ||
                (i > 0 && best[q * k + i] > best[q * k + i - 1]))
                stop("check", "the best rows are wrong");
    }
    printf("  checked: %" PRIu64 " queries, top-%" PRIu64 ", worst error of 300 scores %.2g\n", query_count, k, worst);
    free(best);
    free(found);
}

/* --------------------------------------------------------------------------------------------------------- rows ------ */

static void *allocate(uint64_t bytes)
{
    void *made = NULL;
    CUDA(cudaMalloc(&made, bytes));
    return made;
}

static void prepare(void)
{
    struct cudaDeviceProp properties;
    CUDA(cudaGetDeviceProperties(&properties, 0));
    processors = properties.multiProcessorCount;
    printf("%s, %" PRIu64 " x %" PRIu64 ", cosine, %d rounds\n", properties.name, rows, DIM, rounds);
    CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    CUDA(cudaEventCreate(&before));
    CUDA(cudaEventCreate(&after));
    targets = allocate(rows * DIM * 4);
    ascending = allocate(rows * DIM * 4);
    halves = allocate(rows * DIM * 2);
    queries = allocate(QUERIES * DIM * 4);
    scores = allocate(128 * rows * 4);
    indices = allocate(QUERIES * 1024 * sizeof *indices);
    scratch = allocate((uint64_t)72 << 20);
    numbers = allocate(CANDIDATES * sizeof *numbers);
    sink = allocate(4);
    host_query = malloc(QUERIES * DIM * 4);
    host_scores = malloc(8 * rows * 4);
    int64_t *chosen = malloc(CANDIDATES * sizeof *chosen);
    CUDA(bench_fill(queries, QUERIES * DIM, EUM_ELEMENT_FLOAT32, 1));
    CUDA(bench_fill(targets, rows * DIM, EUM_ELEMENT_FLOAT32, 2));
    CUDA(bench_fill_ascending(ascending, queries, rows, DIM));
    CUDA(cudaMemcpy(host_query, queries, QUERIES * DIM * 4, cudaMemcpyDeviceToHost));
    for (uint64_t i = 0; i < CANDIDATES; i++)
        chosen[i] = (int64_t)random_number((uint32_t)rows);
    CUDA(cudaMemcpy(numbers, chosen, CANDIDATES * sizeof *chosen, cudaMemcpyHostToDevice));
    free(chosen);
    CUDA(cudaDeviceSynchronize());
}

static contender fastest_read(const void *from, uint64_t bytes)
{
    contender best = {.what = READ, .from = from, .bytes = bytes};
    double fastest = DBL_MAX;
    for (int variant = 0; variant < BENCH_READS; variant++) {
        contender c = {.what = READ, .variant = variant, .from = from, .bytes = bytes};
        double times[7];
        for (int i = 0; i < 7; i++)
            times[i] = time_us(&c);
        if (median(times, 7) < fastest) {
            fastest = median(times, 7);
            best = c;
        }
    }
    printf("  fastest read: variant %d, %.1f us, %.3f TB/s\n", best.variant, fastest, (double)bytes / fastest / 1e6);
    return best;
}

static void one_query(void)
{
    const contender read = fastest_read(targets, rows * DIM * 4), all = scoring(targets, EUM_ELEMENT_FLOAT32, rows, 1, 0);
    contender cosine = all, best[2], worst[2];
    cosine.what = COSINE;
    check(targets, 1, 10);
    check(ascending, 1, 100);
    compare("scores against themselves (A/A)", &all, &all, rounds, "");
    compare("scores / reading the same bytes", &all, &read, rounds, "<= 1.020");
    compare("eum_cosine's kernel / reading the same bytes", &cosine, &read, rounds, "");
    static const uint64_t ks[] = {10, 100};
    for (int i = 0; i < 2; i++) {
        char name[64];
        best[i] = scoring(targets, EUM_ELEMENT_FLOAT32, rows, 1, ks[i]);
        worst[i] = scoring(ascending, EUM_ELEMENT_FLOAT32, rows, 1, ks[i]);
        snprintf(name, sizeof name, "top-%" PRIu64 ", random / scores", ks[i]);
        compare(name, &best[i], &all, rounds, "<= 1.030");
        snprintf(name, sizeof name, "top-%" PRIu64 ", ascending / scores", ks[i]);
        compare(name, &worst[i], &all, rounds, "<= 1.100");
    }
    for (eum_element element = EUM_ELEMENT_FLOAT16; element <= EUM_ELEMENT_BFLOAT16; element++) {
        CUDA(bench_fill(halves, rows * DIM, element, 2));
        CUDA(cudaDeviceSynchronize());
        const char *const which = element == EUM_ELEMENT_FLOAT16 ? "float16" : "bfloat16";
        const contender half = scoring(halves, element, rows, 1, 0), half_best = scoring(halves, element, rows, 1, 10),
                        half_eight = scoring(halves, element, rows, 8, 0),
                        eight = scoring(targets, EUM_ELEMENT_FLOAT32, rows, 8, 0);
        char name[64];
        snprintf(name, sizeof name, "%s scores / float32 scores", which);
        compare(name, &half, &all, rounds, "<= 0.550");
        snprintf(name, sizeof name, "%s top-10 / float32 top-10", which);
        compare(name, &half_best, &best[0], rounds, "");
        snprintf(name, sizeof name, "%s scores / float32 scores, 8 queries", which);
        compare(name, &half_eight, &eight, rounds, "");
    }
    contender listed = scoring(targets, EUM_ELEMENT_FLOAT32, CANDIDATES, 1, 0), contiguous = listed;
    listed.args.numbers = numbers;
    compare("100,000 listed rows / as many contiguous ones", &listed, &contiguous, rounds, "<= 1.250");
}

/* What norms that are kept could save at most. */
static void without_norms(const char *what, contender cosine, int n)
{
    contender dot = cosine;
    char name[112];
    dot.args.metric = EUM_METRIC_DOT;
    snprintf(name, sizeof name, "%s: dot product / cosine", what);
    compare(name, &dot, &cosine, n, "");
}

static void many_queries(void)
{
    const contender one = scoring(targets, EUM_ELEMENT_FLOAT32, rows, 1, 10),
                    eight = scoring(targets, EUM_ELEMENT_FLOAT32, rows, 8, 10);
    check(targets, 8, 10);
    check(targets, 128, 10);
    const contender all_of_eight = scoring(targets, EUM_ELEMENT_FLOAT32, rows, 8, 0);
    compare("8 queries, top-10 / 1 query, top-10", &eight, &one, rounds, "<= 1.200");
    compare("8 queries, all scores / 1 query, top-10", &all_of_eight, &one, rounds, "");
    without_norms("8 queries, all scores", all_of_eight, rounds);
    without_norms("8 queries, top-10", eight, rounds);
    static const uint64_t counts[] = {16, 32, 64, 128, 1024};
    for (int i = 0; i < 5; i++) {
        contender tensor = scoring(targets, EUM_ELEMENT_FLOAT32, rows, counts[i], 10), plain = tensor, half = tensor;
        char name[80];
        plain.args.flags = EUM_SCORING_NO_TENSOR_CORES;
        snprintf(name, sizeof name, "%" PRIu64 " queries, top-10: filter / without tensor cores", counts[i]);
        compare(name, &tensor, &plain, counts[i] > 128 ? 5 : 11, "");
        if (counts[i] == 128) {
            const contender all = scoring(targets, EUM_ELEMENT_FLOAT32, rows, counts[i], 0);
            compare("128 queries: top-10 by the filter / all scores", &tensor, &all, 11, "");
        }
        if (counts[i] >= 128) {
            snprintf(name, sizeof name, "%" PRIu64 " queries, top-10", counts[i]);
            without_norms(name, tensor, counts[i] > 128 ? 5 : 11);
            half = scoring(halves, EUM_ELEMENT_BFLOAT16, rows, counts[i], 10);
            snprintf(name, sizeof name, "%" PRIu64 " queries, top-10: bfloat16 / float32 targets", counts[i]);
            compare(name, &half, &tensor, counts[i] > 128 ? 5 : 11, "");
            half = scoring(targets, EUM_ELEMENT_FLOAT32, rows, counts[i], 100);
            snprintf(name, sizeof name, "%" PRIu64 " queries: top-100 / top-10", counts[i]);
            compare(name, &half, &tensor, counts[i] > 128 ? 5 : 11, "");
            half = tensor;
            half.args.metric = EUM_METRIC_L2_SQUARED;
            snprintf(name, sizeof name, "%" PRIu64 " queries, top-10: squared L2 / cosine", counts[i]);
            compare(name, &half, &tensor, counts[i] > 128 ? 5 : 11, "");
        }
    }
    /* All rows are the same one, so that every one of them is a candidate: the filter is in vain. */
    for (uint64_t done = 1; done < rows; done *= 2)
        CUDA(cudaMemcpy(ascending + done * DIM, ascending, (done < rows - done ? done : rows - done) * DIM * 4,
                        cudaMemcpyDeviceToDevice));
    const contender alike = scoring(ascending, EUM_ELEMENT_FLOAT32, rows, 128, 10),
                    different = scoring(targets, EUM_ELEMENT_FLOAT32, rows, 128, 10);
    compare("128 queries, top-10: all rows the same / random", &alike, &different, 11, "");
}

static void few_rows(void)
{
    contender empty = {.what = EMPTY, .wait = true}, all = scoring(targets, EUM_ELEMENT_FLOAT32, SMALL, 1, 0), cosine, best;
    all.wait = true;
    cosine = best = all;
    cosine.what = COSINE;
    best.args.k = 10;
    best.args.indices = indices;
    compare("1000 x 768, launch and wait / an empty kernel's", &all, &empty, MOST_ROUNDS, "<= 4 us more");
    compare("1000 x 768, eum_cosine's kernel / an empty kernel's", &cosine, &empty, MOST_ROUNDS, "");
    compare("1000 x 768, top-10 / an empty kernel's", &best, &empty, MOST_ROUNDS, "");
    const contender nothing = captured(empty), scored = captured(all), selected = captured(best);
    compare("1000 x 768, a graph again: scores / an empty kernel", &scored, &nothing, MOST_ROUNDS, "<= 4 us more");
    compare("1000 x 768, a graph again: top-10 / an empty kernel", &selected, &nothing, MOST_ROUNDS, "");
    CUDA(cudaGraphExecDestroy(nothing.graph));
    CUDA(cudaGraphExecDestroy(scored.graph));
    CUDA(cudaGraphExecDestroy(selected.graph));
    all.wait = cosine.wait = false;
    compare("1000 x 768, by events: scores / eum_cosine's kernel", &all, &cosine, MOST_ROUNDS, "");
}

static void each_once(void)
{
    contender all[] = {scoring(targets, EUM_ELEMENT_FLOAT32, rows, 1, 0),    scoring(halves, EUM_ELEMENT_FLOAT16, rows, 1, 0),
                       scoring(targets, EUM_ELEMENT_FLOAT32, rows, 1, 100),  scoring(targets, EUM_ELEMENT_FLOAT32, rows, 8, 10),
                       scoring(targets, EUM_ELEMENT_FLOAT32, rows, 128, 10), scoring(targets, EUM_ELEMENT_FLOAT32, rows, 128, 10),
                       scoring(halves, EUM_ELEMENT_BFLOAT16, rows, 128, 10)};
    all[5].args.flags = EUM_SCORING_NO_TENSOR_CORES;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        CUDA(bench_fill(halves, rows * DIM, i == 1 ? EUM_ELEMENT_FLOAT16 : EUM_ELEMENT_BFLOAT16, 2));
        CUDA(cudaDeviceSynchronize());
        enqueue(&all[i]);
        CUDA(cudaStreamSynchronize(stream));
    }
}

int main(int argc, char **argv)
{
    const bool once = argc > 2 && strcmp(argv[2], "once") == 0;
    rows = argc > 1 ? strtoull(argv[1], NULL, 10) : rows;
    rounds = argc > 2 && !once ? atoi(argv[2]) : rounds;
    if (rows < CANDIDATES || rows > 0xffffffffu || rounds < 3 || rounds > MOST_ROUNDS) {
        fprintf(stderr, "bench_scoring [ROWS [ROUNDS]]: at least %" PRIu64 " rows, 3 to %d rounds\n", CANDIDATES, MOST_ROUNDS);
        return EXIT_FAILURE;
    }
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
        fprintf(stderr, "bench_scoring: there is no CUDA device here; run it on a machine with one\n");
        return EXIT_FAILURE;
    }
    prepare();
    if (once) {
        each_once();
        return EXIT_SUCCESS;
    }
    one_query();
    few_rows();
    many_queries();
    return EXIT_SUCCESS;
}
