/* workers: see workers.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A loop is published as one word, the ticket: its generation in the upper half, the pieces that nobody has claimed yet in the lower.
 * Claiming one is a compare-and-swap on it, so that a thread that wakes up late claims a piece of the present loop or none; who has
 * claimed a piece may read the loop's fields, because the loop cannot end before the piece is done.
 *
 * Which piece that is, is chosen afterwards. Each thread has a share of neighbouring pieces, the same in each loop of that many, and
 * begins with it, at its beginning or at its end: what it touched the last time is in its core's cache. Who has none left takes from the
 * far end of another's share. There is one for every claim, and a share that is empty stays so until the loop ends, so one look at all
 * of them finds it.
 *
 * Threads without work look for the next loop for a while (spin.h) and then sleep on `epoch`, which each loop changes. The caller wakes
 * few of them, because a wake-up costs who makes it microseconds, and begins; they wake others as long as more are wanted. Loops of few
 * pieces wake the first threads, those that have shares in them: taking turns, all would have slept through several loops each time, and
 * would never have learned that looking pays. (An H100's host, 16 threads: loops of six pieces every 100 us took 50 us longer for ever.) */
#include "workers.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "cores.h"
#include "spin.h"
#include "threads.h"

/* More pieces than threads: who starts late or is interrupted takes fewer. */
#define PIECES_PER_THREAD 4
#define MOST_THREADS 4096u
#define WOKEN_AT_ONCE 4u
#define LOOKS_PER_YIELD 32 /* what a look at the clock and an offer of the core are worth */

/* A thread's place. Seat 0 is that of whoever runs the loop. */
typedef struct seat {
    eum_workers *workers;
    pthread_t thread;
    eum_thread_cores cores;
    _Atomic uint32_t share; /* pieces of it that are left: the first in the lower half, the end in the upper */
} seat;

struct eum_workers {
    uint32_t count; /* with the caller */
    seat *seats;
    uint32_t started; /* threads; written by the holder of `busy` */
    int64_t spin_ns;
    atomic_bool busy; /* a loop has the pool */
    atomic_uint_fast64_t ticket;
    _Atomic uint32_t epoch;      /* threads sleep on it */
    _Atomic uint32_t unfinished; /* pieces of the present loop; the caller sleeps on it */
    _Atomic uint32_t sleeping;   /* threads that sleep, or are about to look a last time */
    _Atomic uint32_t wanted;     /* threads that are still to be woken for the present loop, */
    _Atomic uint32_t names;      /* of those that have these (see name_of) */
    atomic_int caller_cpu;       /* the core on which the newest loop was begun; the threads stay off it */
    atomic_bool caller_sleeps;
    atomic_bool stop;

    /* The present loop. */
    eum_loop_fn body;
    void *arg;
    uint64_t items, grain;
    uint32_t pieces, shares;
    bool back; /* from the ends of the shares */
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

static uint32_t first_of_share(const eum_workers *workers, uint32_t index)
{
    return (uint32_t)((uint64_t)workers->pieces * index / workers->shares);
}

/* The first piece of a share, or the last one. */
static bool take_from(seat *from, bool take_first, uint32_t *out_piece)
{
    uint32_t share = atomic_load(&from->share);
    for (;;) {
        uint32_t first = share & 0xffff, end = share >> 16;
        if (first == end)
            return false;
        uint32_t left = take_first ? (end << 16 | (first + 1)) : ((end - 1) << 16 | first);
        if (atomic_compare_exchange_weak(&from->share, &share, left)) {
            *out_piece = take_first ? first : end - 1;
            return true;
        }
    }
}

/* The piece for a claim: there is one. The owner of a share begins at one end, others take from the other one. */
static uint32_t take_piece(eum_workers *workers, uint32_t index)
{
    uint32_t piece = 0, at = index % workers->shares;
    while (!take_from(&workers->seats[at], (at == index) != workers->back, &piece))
        at = at + 1 == workers->shares ? 0 : at + 1;
    return first_of_share(workers, at) + piece;
}

/* Claims and runs pieces until none is left. */
static void run_pieces(eum_workers *workers, uint32_t index)
{
    uint_fast64_t ticket = atomic_load(&workers->ticket);
    while ((ticket & TICKET_LEFT) != 0) {
        if (!atomic_compare_exchange_weak(&workers->ticket, &ticket, ticket - 1))
            continue;
        run_piece(workers, take_piece(workers, index));
        if (atomic_fetch_sub(&workers->unfinished, 1) == 1 && atomic_load(&workers->caller_sleeps))
            eum_futex_wake(&workers->unfinished, 1);
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

/* By which a sleeping thread is woken; those from 32 on share one. */
static uint32_t name_of(uint32_t place)
{
    return 1u << (place < 32 ? place - 1 : 31);
}

/* Of places 1 to `last`. */
static uint32_t names_until(uint32_t last)
{
    return last < 32 ? (1u << last) - 1 : ~0u;
}

/* Some of the threads that the loop still wants. */
static void wake_some(eum_workers *workers)
{
    uint32_t wanted = atomic_load(&workers->wanted), some;
    do {
        some = wanted < WOKEN_AT_ONCE ? wanted : WOKEN_AT_ONCE;
        if (some == 0)
            return;
    } while (!atomic_compare_exchange_weak(&workers->wanted, &wanted, wanted - some));
    eum_futex_wake_of(&workers->epoch, some, atomic_load(&workers->names));
}

/* First without offering the core to others, then with: true if there is work by `end_ns`. */
static bool look_until(eum_workers *workers, int64_t begin_ns, int64_t end_ns)
{
    for (int64_t now = begin_ns; now < end_ns; now = eum_now_ns()) {
        for (int i = 0; i < LOOKS_PER_YIELD; i++) {
            if (has_work(workers))
                return true;
            EUM_PAUSE();
        }
        if (now - begin_ns > EUM_SPIN_SHORT_NS)
            (void)sched_yield();
    }
    return has_work(workers);
}

/* Until a loop wakes it, which may be over by now: then the thread came too late, and had better look for the next. */
static void sleep_until_woken(eum_workers *workers, uint32_t place)
{
    atomic_fetch_add(&workers->sleeping, 1);
    uint32_t epoch = atomic_load(&workers->epoch); /* before the look: a loop that comes after it changes this */
    while (!has_work(workers) && atomic_load(&workers->epoch) == epoch)
        eum_futex_wait_as(&workers->epoch, epoch, name_of(place));
    atomic_fetch_sub(&workers->sleeping, 1);
}

static void *thread_main(void *arg)
{
    seat *mine = arg;
    eum_workers *workers = mine->workers;
    const uint32_t index = (uint32_t)(mine - workers->seats);
    eum_spin spin = {.most_ns = workers->spin_ns};
    eum_callback_depth = 1; /* what runs here is part of a kernel */
    for (;;) {
        if (!has_work(workers)) {
            eum_thread_keep_off(pthread_self(), &mine->cores, atomic_load(&workers->caller_cpu));
            int64_t begin = eum_now_ns();
            if (!look_until(workers, begin, begin + eum_spin_limit(&spin))) {
                sleep_until_woken(workers, index);
                wake_some(workers);
            }
            eum_spin_waited(&spin, eum_now_ns() - begin);
        }
        if (atomic_load(&workers->stop))
            return NULL;
        run_pieces(workers, index);
    }
}

eum_status eum_workers_create(uint32_t count, eum_workers **out)
{
    if (count == 0)
        count = eum_cores();
    if (count > MOST_THREADS)
        count = MOST_THREADS;
    eum_workers *workers = calloc(1, sizeof *workers);
    seat *seats = calloc(count, sizeof *seats);
    if (workers == NULL || seats == NULL) {
        free(workers);
        free(seats);
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "No memory for the pool of %u worker threads.", count);
    }
    workers->count = count;
    workers->seats = seats;
    atomic_store(&workers->caller_cpu, -1);
    for (uint32_t i = 0; i < count; i++)
        seats[i].workers = workers;
    eum_workers_set_spin(workers, EUM_SPIN_DEFAULT_NS);
    *out = workers;
    return EUM_OK;
}

void eum_workers_set_spin(eum_workers *workers, int64_t most_ns)
{
    workers->spin_ns = eum_spin_ns() == 0 ? 0 : most_ns;
}

void eum_workers_destroy(eum_workers *workers)
{
    if (workers == NULL)
        return;
    atomic_store(&workers->stop, true);
    atomic_fetch_add(&workers->epoch, 1);
    eum_futex_wake(&workers->epoch, MOST_THREADS);
    for (uint32_t i = 0; i < workers->started; i++)
        (void)pthread_join(workers->seats[i + 1].thread, NULL);
    free(workers->seats);
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
        seat *next = &workers->seats[workers->started + 1];
        eum_thread_cores_init(&next->cores);
        if (eum_thread_start(&next->thread, "eum-worker", thread_main, next) != 0)
            return;
        workers->started++;
    }
}

/* A thread that is woken where the caller runs waits for him, often for milliseconds, although he waits for it. Those that are woken first are told
 * here, the others see it when they look. */
static void stay_off(eum_workers *workers, int cpu)
{
    if (atomic_exchange(&workers->caller_cpu, cpu) == cpu)
        return;
    for (uint32_t i = 1; i <= workers->started && i <= WOKEN_AT_ONCE; i++)
        eum_thread_keep_off(workers->seats[i].thread, &workers->seats[i].cores, cpu);
}

static void publish(eum_workers *workers, uint32_t pieces)
{
    workers->pieces = pieces;
    workers->shares = pieces < workers->count ? pieces : workers->count;
    for (uint32_t i = 0; i < workers->shares; i++)
        atomic_store_explicit(&workers->seats[i].share, (first_of_share(workers, i + 1) - first_of_share(workers, i)) << 16,
                              memory_order_relaxed);
    atomic_store(&workers->unfinished, pieces);
    stay_off(workers, sched_getcpu());
    uint_fast64_t generation = (atomic_load(&workers->ticket) | TICKET_LEFT) + 1;
    atomic_store(&workers->ticket, generation | pieces);
    atomic_fetch_add(&workers->epoch, 1);
    uint32_t sleeping = atomic_load(&workers->sleeping), awake = workers->started > sleeping ? workers->started - sleeping : 0;
    uint32_t others = pieces - 1 < workers->started ? pieces - 1 : workers->started;
    atomic_store(&workers->names, names_until(others));
    atomic_store(&workers->wanted, others > awake ? others - awake : 0);
    wake_some(workers);
}

static void wait_until_finished(eum_workers *workers)
{
    if (eum_spin_until(is_finished, workers))
        return;
    atomic_store(&workers->caller_sleeps, true);
    for (uint32_t left; (left = atomic_load(&workers->unfinished)) != 0;)
        eum_futex_wait(&workers->unfinished, left);
    atomic_store(&workers->caller_sleeps, false);
}

static void run(eum_workers *workers, uint64_t items, uint64_t grain, bool back, eum_loop_fn body, void *arg)
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
    workers->back = back;
    publish(workers, pieces);
    run_pieces(workers, 0);
    wait_until_finished(workers);
    atomic_store(&workers->busy, false);
}

void eum_workers_run(eum_workers *workers, uint64_t items, uint64_t grain, eum_loop_fn body, void *arg)
{
    run(workers, items, grain, false, body, arg);
}

void eum_workers_run_back(eum_workers *workers, uint64_t items, uint64_t grain, eum_loop_fn body, void *arg)
{
    run(workers, items, grain, true, body, arg);
}
