/* threads: starting threads of the library, the clock they use, and how long they spin before they sleep.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_SRC_THREADS_H
#define EUM_SRC_THREADS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#if defined(__x86_64__) || defined(__i386__)
#define EUM_PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define EUM_PAUSE() __asm__ volatile("yield")
#else
#define EUM_PAUSE() ((void)0)
#endif

/* Starts a joinable thread that no asynchronous signal of the application is delivered to. name: at most 15 characters.
 * Returns 0 or the errno of pthread_create. */
int eum_thread_start(pthread_t *out, const char *name, void *(*body)(void *), void *arg);

/* CLOCK_MONOTONIC in nanoseconds. */
int64_t eum_now_ns(void);
/* For telling "just now" from "a while ago" in a few nanoseconds: 1 to 5 ticks a nanosecond on x86, 1 elsewhere. */
static inline uint64_t eum_ticks(void)
{
#if defined(__x86_64__) || defined(__i386__)
    return __builtin_ia32_rdtsc();
#else
    return (uint64_t)eum_now_ns();
#endif
}

/* A condition variable whose timed wait uses that clock. */
int eum_condition_init(pthread_cond_t *condition);
/* Waits until the time is `deadline_ns` (negative: for ever) or a wake-up; false once the deadline has gone by. The mutex is held. */
bool eum_condition_wait_until(pthread_cond_t *condition, pthread_mutex_t *mutex, int64_t deadline_ns);

/* Sleeps until a wake-up, if *word is `value`; may return at any time. Wakes at most `most` of those who sleep on the word. */
void eum_futex_wait(_Atomic uint32_t *word, uint32_t value);
void eum_futex_wake(_Atomic uint32_t *word, uint32_t most);
/* The same where sleepers have names, bits of a word that is not 0: wakes only those who have one of these. */
void eum_futex_wait_as(_Atomic uint32_t *word, uint32_t value, uint32_t names);
void eum_futex_wake_of(_Atomic uint32_t *word, uint32_t most, uint32_t names);

/* Where a thread may run, and the core of these that it stays off. */
typedef struct eum_thread_cores {
    cpu_set_t allowed;
    cpu_set_t set;    /* by the newest eum_thread_keep_off: another mask is somebody else's will */
    bool several;     /* at least two, and known: at most CPU_SETSIZE */
    atomic_int off;   /* -1: none */
    atomic_flag busy; /* somebody changes the masks */
} eum_thread_cores;
/* Of the calling thread, and of those that it starts. */
void eum_thread_cores_init(eum_thread_cores *cores);
/* The thread leaves the core `cpu` and stays off it, until another one is named; a system call if that is news. By any thread. */
void eum_thread_keep_off(pthread_t thread, eum_thread_cores *cores, int cpu);

/* How long to spin before sleeping: 20 us, about what a sleep and a wake-up cost; 0 where only one core is there to spin on. */
int64_t eum_spin_ns(void);

/* Spins until done(arg) or the time is over; true if done. Never sleeps. */
bool eum_spin_until(bool (*done)(const void *arg), const void *arg);

#endif
