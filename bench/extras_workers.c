/* extras_workers: what it costs to share a loop with another thread, by how long nothing was to be done before.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "extras.h"
#include "spin.h"
#include "threads.h"
#include "work.h"
#include "workers.h"

#define RUNS 201
#define PIECES 16
#define PIECE_WORDS ((size_t)8192) /* 64 KiB: some microseconds of a core's own cache */

typedef struct sum_loop {
    const uint64_t *words;
    atomic_uint_fast64_t sum;
} sum_loop;

static void sum_pieces(void *arg, uint64_t begin, uint64_t end)
{
    sum_loop *loop = arg;
    uint64_t sum = 0;
    for (size_t i = (size_t)begin * PIECE_WORDS; i < (size_t)end * PIECE_WORDS; i++)
        sum += loop->words[i];
    atomic_fetch_add_explicit(&loop->sum, sum, memory_order_relaxed);
}

/* The caller has something else to do meanwhile: he does not sleep. */
static void pause_for(double us)
{
    for (double until = bench_wall_ns() + us * 1e3; bench_wall_ns() < until;)
        EUM_PAUSE();
}

static double one_loop(eum_workers *workers, const uint64_t *words, uint64_t wanted)
{
    sum_loop loop = {.words = words};
    double begin = bench_wall_ns();
    eum_workers_run(workers, PIECES, 1, sum_pieces, &loop);
    double spent = bench_wall_ns() - begin;
    if (atomic_load(&loop.sum) != wanted)
        bench_stop("workers: a loop did not do all of its work");
    return spent;
}

static void after_pauses(eum_workers *pair, eum_workers *alone, const uint64_t *words, uint64_t wanted, double us, size_t runs)
{
    double together[RUNS], by_one[RUNS];
    for (int warm = 0; warm < 20; warm++) { /* the threads learn what comes */
        pause_for(us);
        (void)one_loop(pair, words, wanted);
    }
    for (size_t i = 0; i < runs; i++) {
        pause_for(us);
        together[i] = one_loop(pair, words, wanted);
        by_one[i] = one_loop(alone, words, wanted);
    }
    bench_row row = {.group = "workers", .value = bench_median(together, runs) / 1e3, .unit = "us"};
    snprintf(row.name, sizeof row.name, "loop over %d x 64 KiB on two threads, after %.0f us without one, beside one thread",
             PIECES, us);
    snprintf(row.note, sizeof row.note, "one thread: %.1f us", bench_median(by_one, runs) / 1e3);
    row.ratio = bench_estimate_ratio(together, by_one, runs);
    bench_output_row(&row);
}

void bench_extra_workers(const bench_machine *machine, bool quick, double deadline)
{
    static const double pauses[] = {0, 50, 200, 1000};
    eum_workers *pair = NULL, *alone = NULL;
    uint64_t *words = bench_memory(PIECES * PIECE_WORDS * sizeof *words), wanted = 0, random = 11;
    (void)machine;
    for (size_t i = 0; i < PIECES * PIECE_WORDS; i++)
        wanted += words[i] = bench_random(&random);
    OK(eum_workers_create(2, &pair));
    OK(eum_workers_create(1, &alone));
    int64_t spin_ns = 0;
    OK(eum_spin_parse(getenv("EUM_SPIN"), &spin_ns));
    eum_workers_set_spin(pair, spin_ns);
    for (size_t i = 0; i < sizeof pauses / sizeof *pauses && bench_wall_ns() < deadline; i++)
        after_pauses(pair, alone, words, wanted, pauses[i], quick ? 2 : RUNS);
    eum_workers_destroy(pair);
    eum_workers_destroy(alone);
    free(words);
}
