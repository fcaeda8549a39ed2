/* schedule: who runs the operations, and when. Two ways: a thread for each stream, or single steps on the threads that wait.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * With schedule=step nothing runs by itself. A wait steps until its point has passed, whatever its timeout, but for a timeout of 0: that
 * takes one step; synchronize steps until nothing is left. `passed` only looks: the library asks with its lock held, and the end of a
 * kernel would change what the lock protects. The stream that a step runs is drawn by the seeded generator from those that can run, so a
 * program with one host thread does the same every time. One step at a time, on whichever thread asks for it. */
#define _GNU_SOURCE 1

#include "device/sim/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* --------------------------------------------------------------------------------------------- one operation -------- */

static bool can_run(const eum_sim_stream *stream)
{
    const eum_sim_op *op = stream->head;
    return op != NULL && !stream->running && !(op->kind == EUM_SIM_OP_ORDER && op->other->passed < op->sequence);
}

/* Runs the operation at the head of the queue. sim->lock held, and let go in between. */
static void run_head(eum_sim *sim, eum_sim_stream *stream)
{
    eum_sim_op *op = stream->head;
    uint64_t cost = 0;
    stream->running = true;
    if (op->kind != EUM_SIM_OP_MARK && op->kind != EUM_SIM_OP_ORDER) {
        pthread_mutex_unlock(&sim->lock);
        cost = eum_sim_op_run(sim, op);
        pthread_mutex_lock(&sim->lock);
    }
    uint64_t start = stream->time > op->submitted ? stream->time : op->submitted;
    if (op->kind == EUM_SIM_OP_ORDER) {
        const eum_sim_mark *mark = eum_sim_mark_find(op->other, op->sequence);
        if (mark != NULL && mark->time > start)
            start = mark->time;
    }
    /* A mark takes no time, and is passed when what is in front of it is. */
    stream->time = op->kind == EUM_SIM_OP_MARK ? stream->time : start + cost;
    if (op->kind == EUM_SIM_OP_MARK) {
        eum_sim_mark *mark = eum_sim_mark_find(stream, op->sequence);
        if (mark != NULL)
            mark->time = stream->time;
        stream->passed = op->sequence;
    }
    stream->head = op->next;
    if (stream->head == NULL)
        stream->tail = NULL;
    stream->running = false;
    eum_sim_op_end(stream, op);
    pthread_cond_broadcast(&sim->progress);
}

/* The queue is empty and the owner is gone. sim->lock held; may free the stream. */
static void retire(eum_sim *sim, eum_sim_stream *stream)
{
    if (stream->retired)
        return;
    stream->retired = true;
    for (eum_sim_stream **at = &sim->streams; *at != NULL; at = &(*at)->next)
        if (*at == stream) {
            *at = stream->next;
            break;
        }
    /* Everything has passed, or it could not be destroyed. So whatever used its component of the clock is known to the host. */
    eum_sim_clock_join(&sim->host, &stream->clock);
    sim->slot_tick[stream->slot] = stream->clock.tick[stream->slot];
    sim->slot_used[stream->slot] = false;
    eum_sim_stream_unref(stream);
}

/* ------------------------------------------------------------------------------------------------- free threads ----- */

static void *run_stream(void *argument)
{
    eum_sim_stream *stream = argument;
    eum_sim *sim = (eum_sim *)stream->base.device;
    pthread_mutex_lock(&sim->lock);
    for (;;) {
        if (can_run(stream))
            run_head(sim, stream);
        else if (stream->head != NULL)
            pthread_cond_wait(&sim->progress, &sim->lock); /* an order */
        else if (stream->stop)
            break;
        else
            pthread_cond_wait(&stream->work, &sim->lock);
    }
    if (!stream->has_thread) /* destroyed from a callback on this very thread: nobody else is there to do it */
        retire(sim, stream);
    eum_sim_stream_unref(stream);
    eum_sim_unref_and_unlock(sim);
    return NULL;
}

eum_status eum_sim_enqueue(eum_sim_stream *stream, eum_sim_op *op)
{
    eum_sim *sim = (eum_sim *)stream->base.device;
    if (!sim->step && !stream->has_thread) {
        stream->references++;
        int error = pthread_create(&stream->thread, NULL, run_stream, stream);
        if (error != 0) {
            stream->references--;
            return eum_fail(EUM_ERROR_SYSTEM, "the simulated GPU could not start a thread for a stream: %s", strerror(error));
        }
        stream->has_thread = true;
        sim->references++;
    }
    if (stream->tail != NULL)
        stream->tail->next = op;
    else
        stream->head = op;
    stream->tail = op;
    pthread_cond_signal(&stream->work);
    return EUM_OK;
}

/* ------------------------------------------------------------------------------------------------- single steps ----- */

static uint64_t draw(eum_sim *sim) /* splitmix64 */
{
    uint64_t z = sim->random += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* One step. sim->lock held, and let go in between. False if nothing can run now. */
static bool take_step(eum_sim *sim)
{
    uint64_t ready = 0;
    for (const eum_sim_stream *stream = sim->streams; stream != NULL; stream = stream->next)
        ready += can_run(stream);
    if (ready == 0 || sim->stepping)
        return false;
    uint64_t chosen = draw(sim) % ready;
    eum_sim_stream *stream = sim->streams;
    while (!can_run(stream) || chosen-- > 0)
        stream = stream->next;
    sim->stepping = true;
    sim->stepper = pthread_self();
    stream->references++;
    run_head(sim, stream);
    sim->stepping = false;
    if (stream->stop && stream->head == NULL) /* destroyed from a callback of its own */
        retire(sim, stream);
    eum_sim_stream_unref(stream);
    pthread_cond_broadcast(&sim->progress);
    return true;
}

/* A step by this thread or by the one that is at it. False if nothing will ever happen, or only after this thread's callback has returned. */
static bool step_or_watch(eum_sim *sim)
{
    if (take_step(sim))
        return true;
    if (!sim->stepping || pthread_equal(sim->stepper, pthread_self()))
        return false;
    pthread_cond_wait(&sim->progress, &sim->lock);
    return true;
}

bool eum_sim_step(eum_device *device)
{
    eum_sim *sim = eum_sim_from(device);
    if (sim == NULL)
        return false;
    pthread_mutex_lock(&sim->lock);
    bool stepped = sim->step && take_step(sim);
    pthread_mutex_unlock(&sim->lock);
    return stepped;
}

bool eum_sim_schedule(eum_device *device, bool step, uint64_t seed)
{
    eum_sim *sim = eum_sim_from(device);
    bool idle = sim != NULL;
    if (sim == NULL)
        return false;
    pthread_mutex_lock(&sim->lock);
    for (const eum_sim_stream *stream = sim->streams; stream != NULL; stream = stream->next)
        idle = idle && stream->head == NULL && !(step && stream->has_thread); /* a thread that is there would go on */
    if (idle) {
        sim->step = step;
        sim->random = seed;
    }
    pthread_mutex_unlock(&sim->lock);
    return idle;
}

/* ----------------------------------------------------------------------------------------------------- waiting ------ */

bool eum_sim_passed(eum_dstream *base, uint64_t sequence)
{
    eum_sim_stream *stream = (eum_sim_stream *)base;
    eum_sim *sim = (eum_sim *)base->device;
    pthread_mutex_lock(&sim->lock);
    bool passed = stream->passed >= sequence;
    if (passed)
        eum_sim_host_joins(stream, sequence);
    pthread_mutex_unlock(&sim->lock);
    return passed;
}

static struct timespec after(int64_t ns)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    if (ns / 1000000000 > (int64_t)1000000000) /* thirty years; keeps the sum in range */
        ns = (int64_t)1000000000 * 1000000000;
    at.tv_sec += (time_t)(ns / 1000000000);
    at.tv_nsec += (long)(ns % 1000000000);
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

static eum_status stuck(void)
{
    return eum_fail(EUM_ERROR_SYSTEM,
                    "nothing on the simulated GPU can run: a wait from inside a callback, or streams that wait for each other");
}

/* sim->lock held. Errors: EUM_ERROR_SYSTEM (stuck), EUM_ERROR_TIMEOUT. */
static eum_status wait_in_steps(eum_sim *sim, const eum_sim_stream *stream, uint64_t sequence, int64_t timeout_ns)
{
    if (timeout_ns == 0 && stream->passed < sequence)
        take_step(sim);
    while (timeout_ns != 0 && stream->passed < sequence)
        if (!step_or_watch(sim))
            return stuck();
    return stream->passed >= sequence ? EUM_OK : EUM_ERROR_TIMEOUT;
}

static eum_status wait_for_threads(eum_sim *sim, const eum_sim_stream *stream, uint64_t sequence, int64_t timeout_ns)
{
    struct timespec deadline = after(timeout_ns < 0 ? 0 : timeout_ns);
    int error = 0;
    while (stream->passed < sequence && error != ETIMEDOUT) {
        if (timeout_ns == 0)
            break;
        if (timeout_ns < 0)
            pthread_cond_wait(&sim->progress, &sim->lock);
        else
            error = pthread_cond_timedwait(&sim->progress, &sim->lock, &deadline);
    }
    return stream->passed >= sequence ? EUM_OK : EUM_ERROR_TIMEOUT;
}

eum_status eum_sim_wait(eum_dstream *base, uint64_t sequence, int64_t timeout_ns)
{
    eum_sim_stream *stream = (eum_sim_stream *)base;
    eum_sim *sim = (eum_sim *)base->device;
    pthread_mutex_lock(&sim->lock);
    stream->references++;
    eum_status status = EUM_OK;
    if (sequence > stream->sequence)
        status = eum_fail(EUM_ERROR_INVALID_ARGUMENT, "point %llu of a stream whose last is %llu would never pass",
                          (unsigned long long)sequence, (unsigned long long)stream->sequence);
    else if (sim->step)
        status = wait_in_steps(sim, stream, sequence, timeout_ns);
    else
        status = wait_for_threads(sim, stream, sequence, timeout_ns);
    if (status == EUM_OK)
        eum_sim_host_joins(stream, sequence);
    eum_sim_stream_unref(stream);
    pthread_mutex_unlock(&sim->lock);
    if (status == EUM_ERROR_TIMEOUT)
        return eum_fail(status, "not finished after %lld ns; nothing was cancelled", (long long)timeout_ns);
    return status != EUM_OK ? status : eum_sim_alive(sim);
}

eum_status eum_sim_synchronize(eum_device *device)
{
    eum_sim *sim = (eum_sim *)device;
    eum_status status = EUM_OK;
    pthread_mutex_lock(&sim->lock);
    while (status == EUM_OK) {
        const eum_sim_stream *busy = sim->streams;
        while (busy != NULL && busy->head == NULL)
            busy = busy->next;
        if (busy == NULL)
            break;
        if (!sim->step)
            pthread_cond_wait(&sim->progress, &sim->lock);
        else if (!step_or_watch(sim))
            status = stuck();
    }
    if (status == EUM_OK)
        eum_sim_host_joins_all(sim);
    pthread_mutex_unlock(&sim->lock);
    return status != EUM_OK ? status : eum_sim_alive(sim);
}

void eum_sim_stream_destroy(eum_dstream *base)
{
    eum_sim_stream *stream = (eum_sim_stream *)base;
    eum_sim *sim = (eum_sim *)base->device;
    pthread_mutex_lock(&sim->lock);
    stream->stop = true;
    stream->references++; /* ours, until we are done */
    if (stream->has_thread && pthread_equal(stream->thread, pthread_self())) {
        pthread_detach(stream->thread);
        stream->has_thread = false; /* it retires the stream when it ends */
        eum_sim_stream_unref(stream);
        pthread_mutex_unlock(&sim->lock);
        return;
    }
    if (stream->has_thread) {
        pthread_cond_signal(&stream->work);
        pthread_mutex_unlock(&sim->lock);
        pthread_join(stream->thread, NULL);
        pthread_mutex_lock(&sim->lock);
    }
    while (stream->head != NULL && !stream->running && step_or_watch(sim))
        continue;
    if (stream->head == NULL)
        retire(sim, stream);
    eum_sim_stream_unref(stream);
    pthread_mutex_unlock(&sim->lock);
}
