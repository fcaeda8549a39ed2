/* workers: see workers.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A loop is published as one word, the ticket: its generation in the upper half, the pieces that nobody has taken yet in the lower.
 * Taking a piece is a compare-and-swap on it, so that a thread that wakes up late takes a piece of the present loop or none; who has
 * taken a piece may read the loop's fields, because the loop cannot end before the piece is done. */
#include "workers.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cores.h"
#include "threads.h"

/* More pieces than threads: who starts late or is interrupted takes fewer. */
#define PIECES_PER_THREAD 4
#define MOST_THREADS 4096u

struct eum_workers {
    uint32_t count;     /* with the caller */
    pthread_t *threads; /* count - 1 places */
    uint32_t started;   /* of them; written by the holder of `busy` */
    atomic_bool busy;   /* a loop has the pool */
    atomic_uint_fast64_t ticket;
    atomic_uint_fast32_t unfinished; /* pieces of the present loop */
    atomic_uint_fast32_t sleeping;   /* threads that wait for work; changed under the mutex */
    atomic_bool caller_sleeps;
    atomic_bool stop;
    pthread_mutex_t mutex;
    pthread_cond_t work, finished;

    /* The present loop. */
    eum_loop_fn body;
    void *arg;
    uint64_t items, grain;
    uint32_t pieces;
};

#define TICKET_LEFT UINT64_C(0xffffffff)

static uint64_t units_of(uint64_t items, uint64_t grain)
{
    return items / grain + (items % grain != 0);
}

/* Piece `index` of `pieces` gets its even share of the units of `grain` items; share * index does not overflow. */
static void run_piece(const eum_workers *workers, uint32_t index)
{
    uint64_t units = units_of(workers->items, workers->grain);
    uint64_t share = units / workers->pieces, rest = units % workers->pieces;
    uint64_t first = share * index + (index < rest ? index : rest);
    uint64_t last = first + share + (index < rest);
    uint64_t end = last == units ? workers->items : last * workers->grain;
    workers->body(workers->arg, first * workers->grain, end);
}

/* Takes and runs pieces until none is left. */
static void run_pieces(eum_workers *workers)
{
    uint_fast64_t ticket = atomic_load(&workers->ticket);
    while ((ticket & TICKET_LEFT) != 0) {
        if (!atomic_compare_exchange_weak(&workers->ticket, &ticket, ticket - 1))
            continue;
        run_piece(workers, (uint32_t)(ticket & TICKET_LEFT) - 1);
        if (atomic_fetch_sub(&workers->unfinished, 1) == 1 && atomic_load(&workers->caller_sleeps)) {
            (void)pthread_mutex_lock(&workers->mutex);
            (void)pthread_cond_signal(&workers->finished);
            (void)pthread_mutex_unlock(&workers->mutex);
        }
        ticket = atomic_load(&workers->ticket);
    }
}

static bool has_work(const void *arg)
{
    const eum_workers *workers = arg;
    return (atomic_load(&workers->ticket) & TICKET_LEFT) != 0 || atomic_load(&workers->stop);
}

static bool is_finished(const void *arg)
{
    const eum_workers *workers = arg;
    return atomic_load(&workers->unfinished) == 0;
}

static void *thread_main(void *arg)
{
    eum_workers *workers = arg;
    eum_callback_depth = 1; /* what runs here is part of a kernel */
    for (;;) {
        if (!eum_spin_until(has_work, workers)) {
            (void)pthread_mutex_lock(&workers->mutex);
            atomic_fetch_add(&workers->sleeping, 1);
            while (!has_work(workers))
                (void)pthread_cond_wait(&workers->work, &workers->mutex);
            atomic_fetch_sub(&workers->sleeping, 1);
            (void)pthread_mutex_unlock(&workers->mutex);
        }
        if (atomic_load(&workers->stop))
            return NULL;
        run_pieces(workers);
    }
}

eum_status eum_workers_create(uint32_t count, eum_workers **out)
{
    if (count == 0)
        count = eum_cores();
    if (count > MOST_THREADS)
        count = MOST_THREADS;
    eum_workers *workers = calloc(1, sizeof *workers);
    if (workers == NULL)
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "No memory for the pool of %u worker threads.", count);
    workers->threads = calloc(count, sizeof *workers->threads);
    if (workers->threads == NULL) {
        free(workers);
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "No memory for the pool of %u worker threads.", count);
    }
    workers->count = count;
    (void)pthread_mutex_init(&workers->mutex, NULL);
    (void)pthread_cond_init(&workers->work, NULL);
    (void)pthread_cond_init(&workers->finished, NULL);
    *out = workers;
    return EUM_OK;
}

void eum_workers_destroy(eum_workers *workers)
{
    if (workers == NULL)
        return;
    (void)pthread_mutex_lock(&workers->mutex);
    atomic_store(&workers->stop, true);
    (void)pthread_cond_broadcast(&workers->work);
    (void)pthread_mutex_unlock(&workers->mutex);
    for (uint32_t i = 0; i < workers->started; i++)
        (void)pthread_join(workers->threads[i], NULL);
    (void)pthread_cond_destroy(&workers->finished);
    (void)pthread_cond_destroy(&workers->work);
    (void)pthread_mutex_destroy(&workers->mutex);
    free(workers->threads);
    free(workers);
}

uint32_t eum_workers_count(const eum_workers *workers)
{
    return workers->count;
}

uint32_t eum_workers_free(const eum_workers *workers)
{
    return atomic_load(&workers->busy) ? 1 : workers->count;
}

/* As many as the loop can use; fewer if the system has no more. */
static void start_threads(eum_workers *workers, uint32_t pieces)
{
    while (workers->started + 1 < workers->count && workers->started + 1 < pieces) {
        if (eum_thread_start(&workers->threads[workers->started], "eum-worker", thread_main, workers) != 0)
            return;
        workers->started++;
    }
}

static void wake_threads(eum_workers *workers, uint32_t wanted)
{
    if (atomic_load(&workers->sleeping) == 0)
        return;
    (void)pthread_mutex_lock(&workers->mutex);
    for (uint_fast32_t i = 0, asleep = atomic_load(&workers->sleeping); i < asleep && i < wanted; i++)
        (void)pthread_cond_signal(&workers->work);
    (void)pthread_mutex_unlock(&workers->mutex);
}

static void wait_until_finished(eum_workers *workers)
{
    if (eum_spin_until(is_finished, workers))
        return;
    (void)pthread_mutex_lock(&workers->mutex);
    atomic_store(&workers->caller_sleeps, true);
    while (!is_finished(workers))
        (void)pthread_cond_wait(&workers->finished, &workers->mutex);
    atomic_store(&workers->caller_sleeps, false);
    (void)pthread_mutex_unlock(&workers->mutex);
}

void eum_workers_run(eum_workers *workers, uint64_t items, uint64_t grain, eum_loop_fn body, void *arg)
{
    if (items == 0)
        return;
    uint64_t units = units_of(items, grain);
    if (units == 1 || workers->count == 1 || atomic_exchange(&workers->busy, true)) {
        body(arg, 0, items);
        return;
    }
    uint64_t most = (uint64_t)workers->count * PIECES_PER_THREAD;
    uint32_t pieces = (uint32_t)(units < most ? units : most);
    start_threads(workers, pieces);
    workers->body = body;
    workers->arg = arg;
    workers->items = items;
    workers->grain = grain;
    workers->pieces = pieces;
    atomic_store(&workers->unfinished, pieces);
    uint_fast64_t generation = (atomic_load(&workers->ticket) | TICKET_LEFT) + 1;
    atomic_store(&workers->ticket, generation | pieces);
    wake_threads(workers, pieces - 1);
    run_pieces(workers);
    wait_until_finished(workers);
    atomic_store(&workers->busy, false);
}

/* ------------------------------------------------------------------------------------------------------- copies --- */

/* Below this a second thread costs more than it saves; one copies 256 KiB in about 10 us. */
#define PIECE_BYTES ((uint64_t)256 << 10)

typedef struct cpu_copy {
    char *dst;
    const char *src;
} cpu_copy;

static void copy_piece(void *arg, uint64_t begin, uint64_t end)
{
    const cpu_copy *copy = arg;
    memcpy(copy->dst + begin, copy->src + begin, (size_t)(end - begin));
}

void eum_workers_copy(eum_workers *workers, void *dst, const void *src, size_t bytes)
{
    cpu_copy copy = {dst, src};
    if (bytes < 2 * PIECE_BYTES)
        memcpy(dst, src, bytes);
    else
        eum_workers_run(workers, bytes, PIECE_BYTES, copy_piece, &copy);
}
