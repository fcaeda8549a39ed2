/* stream: a simulated stream, its marks, and what the host knows of it. What it carries is in submit.c and run.c.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE 1

#include "device/sim/internal.h"

#include <stdlib.h>
#include <string.h>

/* -------------------------------------------------------------------------------------------- streams and marks ----- */

/* Gives every clock of the device room for `slots` components. */
static bool reserve_slots(eum_sim *sim, size_t slots)
{
    if (slots <= sim->slots)
        return true;
    if (!eum_sim_clock_reserve(&sim->host, slots))
        return false;
    for (eum_sim_stream *stream = sim->streams; stream != NULL; stream = stream->next)
        if (!eum_sim_clock_reserve(&stream->clock, slots))
            return false;
    uint64_t *ticks = realloc(sim->slot_tick, slots * sizeof *ticks);
    if (ticks == NULL)
        return false;
    sim->slot_tick = ticks;
    bool *used = realloc(sim->slot_used, slots * sizeof *used);
    if (used == NULL)
        return false;
    sim->slot_used = used;
    for (size_t i = sim->slots; i < slots; i++) {
        ticks[i] = 0;
        used[i] = i == 0; /* the host's */
    }
    sim->slots = slots;
    return true;
}

eum_status eum_sim_stream_create(eum_device *device, eum_dstream **out)
{
    eum_sim *sim = (eum_sim *)device;
    if (eum_sim_alive(sim) != EUM_OK)
        return EUM_ERROR_DEVICE_LOST;
    if (eum_sim_inject(sim, EUM_SIM_STREAM_CREATE))
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "the simulated GPU was told to fail the creation of this stream");
    eum_sim_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL)
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory for a stream of the simulated GPU");
    stream->base.device = device;
    stream->references = 1;
    pthread_cond_init(&stream->work, NULL);

    pthread_mutex_lock(&sim->lock);
    size_t slot = 1;
    while (slot < sim->slots && sim->slot_used[slot])
        slot++;
    size_t slots = slot < sim->slots ? sim->slots : sim->slots + 16;
    bool fine = reserve_slots(sim, slots) && eum_sim_clock_reserve(&stream->clock, slots);
    if (fine) {
        stream->slot = (uint32_t)slot;
        stream->id = ++sim->next_stream_id;
        stream->clock.tick[slot] = sim->slot_tick[slot];
        stream->kernel_tick = 0;
        sim->slot_used[slot] = true;
        stream->next = sim->streams;
        sim->streams = stream;
        sim->references++;
    }
    pthread_mutex_unlock(&sim->lock);
    if (!fine) {
        eum_sim_clock_free(&stream->clock);
        pthread_cond_destroy(&stream->work);
        free(stream);
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory for the clocks of a stream of the simulated GPU");
    }
    *out = &stream->base;
    return EUM_OK;
}

eum_status eum_sim_stream_wrap(eum_device *device, void *native, eum_dstream **out)
{
    (void)device;
    (void)native;
    (void)out;
    return eum_fail(EUM_ERROR_NOT_SUPPORTED, "a simulated GPU has no CUDA streams to wrap; use eum_stream_create");
}

void eum_sim_stream_unref(eum_sim_stream *stream)
{
    eum_sim *sim = eum_sim_of(stream);
    if (--stream->references > 0)
        return;
    for (size_t i = 0; i < stream->mark_count; i++)
        eum_sim_clock_free(&stream->mark[stream->mark_first + i].clock);
    free(stream->mark);
    eum_sim_clock_free(&stream->clock);
    pthread_cond_destroy(&stream->work);
    free(stream);
    sim->references--;
}

eum_sim_mark *eum_sim_mark_find(eum_sim_stream *stream, uint64_t sequence)
{
    size_t low = stream->mark_first, end = stream->mark_first + stream->mark_count, high = end;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (stream->mark[middle].sequence < sequence)
            low = middle + 1;
        else
            high = middle;
    }
    return low < end ? &stream->mark[low] : NULL;
}

bool eum_sim_mark_reserve(eum_sim_stream *stream)
{
    if (stream->mark_first + stream->mark_count < stream->mark_capacity)
        return true;
    if (stream->mark_first >= stream->mark_capacity / 2 && stream->mark_first > 0) {
        memmove(stream->mark, stream->mark + stream->mark_first, stream->mark_count * sizeof *stream->mark);
        stream->mark_first = 0;
        return true;
    }
    size_t capacity = stream->mark_capacity * 2 + 16;
    eum_sim_mark *larger = realloc(stream->mark, capacity * sizeof *larger);
    if (larger == NULL)
        return false;
    stream->mark = larger;
    stream->mark_capacity = capacity;
    return true;
}

/* ------------------------------------------------------------------------------------------- what the host knows ---- */

void eum_sim_host_learned(eum_sim *sim)
{
    bool idle = true;
    for (eum_sim_stream *stream = sim->streams; stream != NULL; stream = stream->next) {
        uint64_t known = sim->host.tick[stream->slot];
        while (stream->mark_count > 0) {
            eum_sim_mark *mark = &stream->mark[stream->mark_first];
            if (mark->sequence > stream->passed || mark->clock.tick[stream->slot] > known)
                break;
            eum_sim_clock_free(&mark->clock);
            stream->mark_first++;
            stream->mark_count--;
        }
        idle = idle && stream->kernel_tick <= known;
    }
    eum_sim_lock_pages();
    if (sim->host_closed && idle)
        eum_sim_pages_reopen_host(sim);
    eum_sim_unlock_pages();
    eum_sim_log_violations(sim);
}

static void host_reaches(eum_sim *sim, uint64_t time)
{
    eum_sim_lock_pages();
    if (time > sim->time)
        sim->time = time;
    eum_sim_unlock_pages();
}

void eum_sim_host_joins(eum_sim_stream *stream, uint64_t sequence)
{
    eum_sim *sim = eum_sim_of(stream);
    const eum_sim_mark *mark = eum_sim_mark_find(stream, sequence);
    if (mark == NULL || mark->sequence > stream->passed)
        return; /* known already */
    eum_sim_clock_join(&sim->host, &mark->clock);
    host_reaches(sim, mark->time);
    eum_sim_host_learned(sim);
}

void eum_sim_host_joins_all(eum_sim *sim)
{
    for (eum_sim_stream *stream = sim->streams; stream != NULL; stream = stream->next) {
        eum_sim_clock_join(&sim->host, &stream->clock);
        host_reaches(sim, stream->time);
    }
    eum_sim_host_learned(sim);
}
