/* threads: see threads.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "threads.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cores.h"

#define NS_PER_S INT64_C(1000000000)
#define SPIN_NS INT64_C(20000)
#define SPINS_PER_LOOK 32 /* looks at the clock are worth about 30 pauses */

int eum_thread_start(pthread_t *out, const char *name, void *(*body)(void *), void *arg)
{
    /* Signals that a thread raises by its own instruction must reach it: the simulated device's pages rely on it. */
    static const int synchronous[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (unsigned i = 0; i < sizeof synchronous / sizeof *synchronous; i++)
        sigdelset(&blocked, synchronous[i]);
    int failed = pthread_sigmask(SIG_BLOCK, &blocked, &before);
    if (failed != 0)
        return failed;
    failed = pthread_create(out, NULL, body, arg);
    if (failed == 0)
        (void)pthread_setname_np(*out, name);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

int64_t eum_now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

int eum_condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    int failed = pthread_condattr_init(&attributes);
    if (failed != 0)
        return failed;
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    failed = pthread_cond_init(condition, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    return failed;
}

bool eum_condition_wait_until(pthread_cond_t *condition, pthread_mutex_t *mutex, int64_t deadline_ns)
{
    if (deadline_ns < 0) {
        (void)pthread_cond_wait(condition, mutex);
        return true;
    }
    struct timespec deadline = {.tv_sec = (time_t)(deadline_ns / NS_PER_S), .tv_nsec = (long)(deadline_ns % NS_PER_S)};
    return pthread_cond_timedwait(condition, mutex, &deadline) != ETIMEDOUT;
}

void eum_thread_cores_init(eum_thread_cores *cores)
{
    atomic_store(&cores->off, -1);
    atomic_flag_clear(&cores->busy);
    cores->several = sched_getaffinity(0, sizeof cores->allowed, &cores->allowed) == 0 && CPU_COUNT(&cores->allowed) > 1;
    cores->set = cores->allowed;
}

/* By whoever has `busy`. */
static void keep_off(pthread_t thread, eum_thread_cores *cores, size_t cpu)
{
    cpu_set_t now, others;
    if (pthread_getaffinity_np(thread, sizeof now, &now) != 0)
        return;
    if (!CPU_EQUAL(&now, &cores->set))
        cores->allowed = now; /* somebody else has said where the thread may run */
    others = cores->allowed;
    CPU_CLR(cpu, &others);
    if (CPU_COUNT(&others) == 0)
        others = cores->allowed;
    if (pthread_setaffinity_np(thread, sizeof others, &others) == 0)
        cores->set = others;
}

void eum_thread_keep_off(pthread_t thread, eum_thread_cores *cores, int cpu)
{
    if (!cores->several || cpu < 0 || cpu >= CPU_SETSIZE || atomic_load(&cores->off) == cpu)
        return;
    while (atomic_flag_test_and_set(&cores->busy))
        (void)sched_yield();
    if (atomic_exchange(&cores->off, cpu) != cpu)
        keep_off(thread, cores, (size_t)cpu);
    atomic_flag_clear(&cores->busy);
}

void eum_futex_wait(_Atomic uint32_t *word, uint32_t value)
{
    eum_futex_wait_as(word, value, FUTEX_BITSET_MATCH_ANY);
}

void eum_futex_wake(_Atomic uint32_t *word, uint32_t most)
{
    eum_futex_wake_of(word, most, FUTEX_BITSET_MATCH_ANY);
}

void eum_futex_wait_as(_Atomic uint32_t *word, uint32_t value, uint32_t names)
{
    (void)syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, value, NULL, NULL, names);
}

void eum_futex_wake_of(_Atomic uint32_t *word, uint32_t most, uint32_t names)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE_BITSET_PRIVATE, most < INT_MAX ? most : INT_MAX, NULL, NULL, names);
}

int64_t eum_spin_ns(void)
{
    static atomic_int cores; /* 0: not asked yet */
    int known = atomic_load_explicit(&cores, memory_order_relaxed);
    if (known == 0) {
        known = (int)eum_cores();
        atomic_store_explicit(&cores, known, memory_order_relaxed);
    }
    return known > 1 ? SPIN_NS : 0;
}

bool eum_spin_until(bool (*done)(const void *arg), const void *arg)
{
    if (done(arg))
        return true;
    int64_t spin = eum_spin_ns();
    if (spin == 0)
        return false;
    int64_t deadline = eum_now_ns() + spin;
    do {
        for (int i = 0; i < SPINS_PER_LOOK; i++) {
            EUM_PAUSE();
            if (done(arg))
                return true;
        }
    } while (eum_now_ns() < deadline);
    return false;
}
