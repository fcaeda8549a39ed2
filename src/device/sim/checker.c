/* checker: vector clocks, and the search for conflicting operations that nothing orders.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Order comes from the calls, not from when things ran: an operation follows what was submitted to its stream before it, what order() and
 * waits brought in, and what the host knew when it submitted it. So a missing order is found in every run, whatever the timing. The host
 * is one timeline, whatever its threads: how those order themselves cannot be seen. A host_call that runs counts as known to the host.
 *
 * A use is kept until the host knows that it has passed, or until a later, ordered use that conflicts with everything that it would
 * conflict with takes its place: so long runs do not grow. */
#define _GNU_SOURCE 1

#include "device/sim/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------------- clocks ----- */

bool eum_sim_clock_reserve(eum_sim_clock *clock, size_t count)
{
    if (clock->count >= count)
        return true;
    uint64_t *larger = realloc(clock->tick, count * sizeof *larger);
    if (larger == NULL)
        return false;
    memset(larger + clock->count, 0, (count - clock->count) * sizeof *larger);
    clock->tick = larger;
    clock->count = count;
    return true;
}

/* `into` has room for every component that counts: stream_create reserves them all. */
void eum_sim_clock_join(eum_sim_clock *into, const eum_sim_clock *from)
{
    for (size_t i = 0; i < from->count && i < into->count; i++)
        if (from->tick[i] > into->tick[i])
            into->tick[i] = from->tick[i];
}

void eum_sim_clock_free(eum_sim_clock *clock)
{
    free(clock->tick);
    *clock = (eum_sim_clock){0};
}

void eum_sim_check_begin(eum_sim_stream *stream)
{
    eum_sim *sim = (eum_sim *)stream->base.device;
    eum_sim_clock_join(&stream->clock, &sim->host);
    stream->clock.tick[stream->slot]++;
}

/* -------------------------------------------------------------------------------------------------- violations ------ */

void eum_sim_violation(eum_sim *sim, const char *format, ...)
{
    if (sim->violations++ > 0)
        return;
    va_list values;
    va_start(values, format);
    vsnprintf(sim->violation, sizeof sim->violation, format, values);
    va_end(values);
}

void eum_sim_log_violations(eum_sim *sim)
{
    char text[sizeof sim->violation];
    eum_sim_lock_pages();
    uint64_t count = sim->violations - sim->violations_logged;
    sim->violations_logged = sim->violations;
    memcpy(text, sim->violation, sizeof text);
    eum_sim_unlock_pages();
    if (count > 0)
        eum_log_write(sim->log, EUM_LOG_ERROR,
                      "simulated GPU: %llu new violation(s) of the rules of unified memory; the first of all: %s",
                      (unsigned long long)count, text);
}

static const char *verb(uint8_t kind)
{
    switch (kind) {
    case EUM_SIM_USE_READ:
        return "reads";
    case EUM_SIM_USE_WRITE:
        return "writes";
    case EUM_SIM_USE_DUPLICATE:
        return "duplicates";
    case EUM_SIM_USE_MOVE:
        return "moves";
    default:
        return "discards";
    }
}

static uint32_t stream_id(const eum_sim *sim, uint32_t slot)
{
    for (const eum_sim_stream *stream = sim->streams; stream != NULL; stream = stream->next)
        if (stream->slot == slot)
            return stream->id;
    return 0;
}

static void report(eum_sim *sim, const eum_sim_block *block, const eum_sim_use *earlier, const eum_sim_use *later)
{
    char who[48] = "the host";
    if (later->slot != 0)
        snprintf(who, sizeof who, "%s on stream %u", later->what, stream_id(sim, later->slot));
    eum_sim_lock_pages();
    eum_sim_violation(
        sim,
        "%s %s bytes [%zu, %zu) of block %llu (%zu bytes), and nothing orders it after %s on stream %u, which %s bytes "
        "[%zu, %zu)",
        who, verb(later->kind), later->begin, later->end, (unsigned long long)block->id, block->bytes, earlier->what,
        stream_id(sim, earlier->slot), verb(earlier->kind), earlier->begin, earlier->end);
    eum_sim_unlock_pages();
}

/* ------------------------------------------------------------------------------------------------------ conflicts --- */

static bool conflict(const eum_sim_use *a, const eum_sim_use *b)
{
    if (a->begin >= b->end || b->begin >= a->end)
        return false;
    if (a->kind == EUM_SIM_USE_DISCARD || b->kind == EUM_SIM_USE_DISCARD)
        return true;
    bool a_moves = a->kind == EUM_SIM_USE_MOVE, b_moves = b->kind == EUM_SIM_USE_MOVE;
    if (a_moves || b_moves)
        /* Pages are taken away from whoever uses them elsewhere. A use where they go is at worst a fault. */
        return ((a_moves ? b->where : a->where) & ~(a_moves ? a->where : b->where)) != 0;
    return a->kind == EUM_SIM_USE_WRITE || b->kind == EUM_SIM_USE_WRITE;
}

/* Whatever is not ordered after `later` and conflicts with `earlier` conflicts with `later` too. */
static bool supersedes(const eum_sim_use *later, const eum_sim_use *earlier)
{
    if (earlier->begin < later->begin || earlier->end > later->end)
        return false;
    if (later->kind == EUM_SIM_USE_DISCARD)
        return true;
    if (later->kind == earlier->kind)
        return later->where == earlier->where;
    return later->kind == EUM_SIM_USE_WRITE && earlier->kind == EUM_SIM_USE_READ && later->where == earlier->where;
}

/* Checks the use against those before it, as ordered by `clock`, and drops those that are settled. Returns whether all was well. */
static bool check(eum_sim *sim, eum_sim_block *block, const eum_sim_use *now, const eum_sim_clock *clock, bool replaces)
{
    bool fine = true;
    size_t kept = 0;
    for (size_t i = 0; i < block->use_count; i++) {
        const eum_sim_use *use = &block->use[i];
        bool ordered = clock->tick[use->slot] >= use->tick;
        if (!ordered && fine && conflict(use, now)) {
            report(sim, block, use, now);
            fine = false;
        }
        if (sim->host.tick[use->slot] >= use->tick || (replaces && ordered && supersedes(now, use)))
            continue;
        block->use[kept++] = *use;
    }
    block->use_count = kept;
    return fine;
}

void eum_sim_check_use(eum_sim_stream *stream, eum_sim_block *block, size_t offset, size_t bytes, eum_sim_use_kind kind, int where,
                       const char *what)
{
    eum_sim *sim = (eum_sim *)stream->base.device;
    if (!sim->check || bytes == 0)
        return;
    eum_sim_use now = {.begin = offset,
                       .end = offset + bytes,
                       .tick = stream->clock.tick[stream->slot],
                       .slot = stream->slot,
                       .kind = (uint8_t)kind,
                       .where = (uint8_t)where,
                       .what = what};
    check(sim, block, &now, &stream->clock, true);
    if (block->use_count == block->use_capacity) {
        size_t capacity = block->use_capacity * 2 + 8;
        eum_sim_use *larger = realloc(block->use, capacity * sizeof *larger);
        if (larger == NULL)
            return; /* a check less; nothing else depends on it */
        block->use = larger;
        block->use_capacity = capacity;
    }
    block->use[block->use_count++] = now;
}

bool eum_sim_check_release(eum_sim *sim, eum_sim_block *block)
{
    if (!sim->check)
        return true;
    for (size_t i = 0; i < block->use_count; i++) {
        const eum_sim_use *use = &block->use[i];
        if (sim->host.tick[use->slot] >= use->tick)
            continue;
        eum_sim_lock_pages();
        eum_sim_violation(
            sim, "block %llu (%zu bytes) was released, and nothing says that %s on stream %u, which %s bytes [%zu, %zu), is done",
            (unsigned long long)block->id, block->bytes, use->what, stream_id(sim, use->slot), verb(use->kind), use->begin,
            use->end);
        eum_sim_unlock_pages();
        return false;
    }
    return true;
}

/* --------------------------------------------------------------------------------------------------- inspection ----- */

void eum_sim_host_access(eum_device *device, const void *address, size_t bytes, bool write)
{
    eum_sim *sim = eum_sim_from(device);
    if (sim == NULL || bytes == 0)
        return;
    int side = 0;
    size_t offset = 0;
    pthread_mutex_lock(&sim->lock);
    eum_sim_lock_pages();
    eum_sim_block *block = eum_sim_find(sim, address, &side, &offset);
    eum_sim_unlock_pages();
    if (sim->check && block != NULL && block->owner == sim) {
        eum_sim_use now = {.begin = offset,
                           .end = offset + bytes,
                           .kind = write ? EUM_SIM_USE_WRITE : EUM_SIM_USE_READ,
                           .where = EUM_SIM_AT_HOST,
                           .what = "the host"};
        check(sim, block, &now, &sim->host, false);
    }
    pthread_mutex_unlock(&sim->lock);
}

uint64_t eum_sim_violations(eum_device *device, char *text, size_t capacity)
{
    eum_sim *sim = eum_sim_from(device);
    if (text != NULL && capacity > 0)
        text[0] = '\0';
    if (sim == NULL)
        return 0;
    eum_sim_lock_pages();
    uint64_t count = sim->violations;
    if (text != NULL && capacity > 0 && count > 0)
        snprintf(text, capacity, "%s", sim->violation);
    eum_sim_unlock_pages();
    return count;
}

void eum_sim_violations_clear(eum_device *device)
{
    eum_sim *sim = eum_sim_from(device);
    if (sim == NULL)
        return;
    eum_sim_lock_pages();
    sim->violations = sim->violations_logged = 0;
    sim->violation[0] = '\0';
    eum_sim_unlock_pages();
}

void eum_sim_check(eum_device *device, bool on)
{
    eum_sim *sim = eum_sim_from(device);
    if (sim == NULL)
        return;
    pthread_mutex_lock(&sim->lock);
    sim->check = on;
    pthread_mutex_unlock(&sim->lock);
}
