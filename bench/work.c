/* work: see work.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "work.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cores.h"
#include "statistics.h"
#include "workers.h"

/* Random numbers to compute rows from: 64 KiB, which stay in the cache, so that the memory that is written sets the pace. */
#define TABLE ((size_t)16384)
/* Bytes for which it pays to wake another thread. */
#define GRAIN ((size_t)256 << 10)

static eum_workers *workers;
static float *table; /* TABLE numbers */

void (*bench_before_stop)(void);

void bench_stop(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (bench_before_stop != NULL)
        bench_before_stop();
    fputs("eum-bench: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(EXIT_FAILURE);
}

void *bench_memory(size_t bytes)
{
    void *memory = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (memory == NULL)
        bench_stop("no memory for %zu bytes; use smaller --sizes", bytes);
    return memory;
}

void bench_ok(eum_status status, const char *what)
{
    eum_error error = EUM_ERROR_INIT;
    if (status == EUM_OK)
        return;
    (void)eum_last_error(&error);
    bench_stop("%s: %s: %s", what, eum_status_name(status), error.sentence);
}

double bench_wall_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

float bench_random_float(uint64_t *state)
{
    return (float)(bench_random(state) >> 40) * 0x1p-23f - 1.0f;
}

uint32_t bench_work_open(uint32_t threads)
{
    uint32_t cores = eum_cores();
    if (threads == 0)
        threads = cores / 4 > 4 ? 4 : cores / 4 > 1 ? cores / 4 : 1;
    OK(eum_workers_create(threads, &workers));
    uint64_t state = 7;
    table = bench_memory(TABLE * sizeof *table);
    for (size_t i = 0; i < TABLE; i++)
        table[i] = bench_random_float(&state);
    return threads;
}

void bench_work_close(void)
{
    eum_workers_destroy(workers);
    workers = NULL;
    free(table);
    table = NULL;
}

/* ------------------------------------------------------------------------------------------- loops over threads ----- */

typedef struct loop {
    float *dst;
    const void *src;
    bench_shape shape;
    uint64_t first_row;
    uint32_t epoch;
    float add;
    uint64_t sum; /* atomic */
} loop;

static uint64_t mix(uint64_t x)
{
    return bench_random(&x);
}

void bench_fill_row(float *dst, size_t dim, uint64_t row, uint32_t epoch)
{
    uint64_t random = mix(row << 32 ^ epoch);
    float scale = 0.5f + (float)(random >> 48) * 0x1p-17f;
    for (size_t done = 0; done < dim;) {
        size_t at = (size_t)(random + done) % TABLE, run = TABLE - at < dim - done ? TABLE - at : dim - done;
        for (size_t i = 0; i < run; i++)
            dst[done + i] = table[at + i] * scale;
        done += run;
    }
}

static void fill_piece(void *arg, uint64_t begin, uint64_t end)
{
    const loop *l = arg;
    for (uint64_t row = begin; row < end; row++)
        bench_fill_row(l->dst + row * l->shape.dim, l->shape.dim, l->first_row + row, l->epoch);
}

void bench_fill(float *targets, bench_shape shape, uint64_t first_row, uint32_t epoch)
{
    loop l = {.dst = targets, .shape = shape, .first_row = first_row, .epoch = epoch};
    size_t row = shape.dim * sizeof(float);
    eum_workers_run(workers, shape.rows, row < GRAIN ? GRAIN / row : 1, fill_piece, &l);
}

static void copy_piece(void *arg, uint64_t begin, uint64_t end)
{
    const loop *l = arg;
    memcpy((char *)l->dst + begin, (const char *)l->src + begin, (size_t)(end - begin));
}

void bench_copy(void *dst, const void *src, size_t bytes)
{
    loop l = {.dst = dst, .src = src};
    eum_workers_run(workers, bytes, GRAIN, copy_piece, &l);
}

static void edit_piece(void *arg, uint64_t begin, uint64_t end)
{
    const loop *l = arg;
    for (uint64_t i = begin; i < end; i++)
        l->dst[i] = l->dst[i] * 0.5f + l->add;
}

void bench_edit(float *values, size_t count, float add)
{
    loop l = {.dst = values, .add = add};
    eum_workers_run(workers, count, GRAIN / sizeof(float), edit_piece, &l);
}

float bench_edit_add(uint32_t epoch)
{
    return (float)(mix(epoch) >> 40) * 0x1p-25f;
}

static void look_piece(void *arg, uint64_t begin, uint64_t end)
{
    loop *l = arg;
    const uint32_t *words = l->src;
    uint32_t sum = 0;
    for (uint64_t i = begin; i < end; i++)
        sum += words[i];
    __atomic_fetch_add(&l->sum, sum, __ATOMIC_RELAXED);
}

uint64_t bench_look(const float *values, size_t count)
{
    loop l = {.src = values};
    eum_workers_run(workers, count, GRAIN / sizeof(float), look_piece, &l);
    return (uint32_t)l.sum;
}

static void touch_piece(void *arg, uint64_t begin, uint64_t end)
{
    const loop *l = arg;
    for (uint64_t row = begin; row < end; row++)
        l->dst[row * l->shape.dim + l->epoch % l->shape.dim] = (float)(mix(row << 32 ^ l->epoch) >> 40) * 0x1p-23f - 1.0f;
}

void bench_touch(float *source, bench_shape shape, uint32_t epoch)
{
    loop l = {.dst = source, .shape = shape, .epoch = epoch};
    eum_workers_run(workers, shape.rows, 1024, touch_piece, &l);
}

/* ------------------------------------------------------------------------------------------------- references ------- */

double bench_expected_cosine(const float *query, const float *row, size_t dim)
{
    double dot = 0, query_square = 0, row_square = 0;
    for (size_t i = 0; i < dim; i++) {
        dot += (double)query[i] * (double)row[i];
        query_square += (double)query[i] * (double)query[i];
        row_square += (double)row[i] * (double)row[i];
    }
    return query_square > 0 && row_square > 0 ? dot / sqrt(query_square) / sqrt(row_square) : 0;
}

double bench_expected_spread(const float *row, size_t dim, size_t number, double scale)
{
    size_t group = dim / BENCH_RESULTS_A_ROW;
    double sum = 0;
    for (size_t k = 0; k < group; k++)
        sum += (double)row[number * group + k] * (double)(k + 1);
    return sum * scale;
}

float bench_spread_scale(uint32_t epoch)
{
    return 0.5f + (float)(mix(epoch) >> 40) * 0x1p-24f;
}
