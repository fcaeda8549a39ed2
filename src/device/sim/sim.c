/* sim: opening and closing a simulated GPU, its table of operations, and what can be asked of it.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE 1

#include "device/sim/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DRIVER_VERSION 13000
/* A device must hold what one instruction can touch at once, or that instruction would fault for ever: a gather, 16 pages. */
#define LEAST_MEMORY EUM_SIM_CHUNK

/* ------------------------------------------------------------------------------------------------------ options ----- */

static bool parse_number(const char *at, const char *end, uint64_t *out)
{
    uint64_t number = 0;
    if (at == end)
        return false;
    for (; at < end; at++) {
        if (*at < '0' || *at > '9' || number > (UINT64_MAX - 9) / 10)
            return false;
        number = number * 10 + (uint64_t)(*at - '0');
    }
    *out = number;
    return true;
}

static bool parse_bytes(const char *at, const char *end, uint64_t *out)
{
    int shift = 0;
    if (at < end && (end[-1] == 'K' || end[-1] == 'k'))
        shift = 10;
    else if (at < end && (end[-1] == 'M' || end[-1] == 'm'))
        shift = 20;
    else if (at < end && (end[-1] == 'G' || end[-1] == 'g'))
        shift = 30;
    uint64_t number = 0;
    if (!parse_number(at, shift == 0 ? end : end - 1, &number) || number > (UINT64_MAX >> shift) || number << shift < LEAST_MEMORY)
        return false;
    *out = number << shift;
    return true;
}

static bool is(const char *at, const char *end, const char *word)
{
    return strlen(word) == (size_t)(end - at) && memcmp(at, word, (size_t)(end - at)) == 0;
}

/* One "name=value". */
static bool parse_option(eum_sim *sim, const char *name, const char *end)
{
    const char *equals = memchr(name, '=', (size_t)(end - name));
    if (equals == NULL)
        return false;
    const char *value = equals + 1;
    if (is(name, equals, "memory"))
        return parse_bytes(value, end, &sim->memory);
    if (is(name, equals, "seed"))
        return parse_number(value, end, &sim->random);
    if (is(name, equals, "fail"))
        return eum_sim_inject_parse(sim, value, end);
    if (is(name, equals, "count"))
        return eum_sim_counting_parse(sim, value, (size_t)(end - value));
    if (is(name, equals, "schedule")) {
        sim->step = is(value, end, "step");
        return sim->step || is(value, end, "threads");
    }
    if (is(name, equals, "check")) {
        sim->check = is(value, end, "on");
        return sim->check || is(value, end, "off");
    }
    return false;
}

static eum_status parse_options(eum_sim *sim, const char *options)
{
    for (const char *at = options; at != NULL && *at != '\0';) {
        const char *end = strchr(at, ',');
        if (end == NULL)
            end = at + strlen(at);
        if (end > at && !parse_option(sim, at, end))
            return eum_fail(EUM_ERROR_INVALID_ARGUMENT,
                            "\"%.*s\" is no option of a simulated GPU: there are memory=BYTES (K, M, G; at least 2M), seed=N, "
                            "schedule=threads|step, check=on|off, count=exact|absent|refused|dropped and fail=OPERATION:N|all "
                            "(alloc, copy, prefetch, prefetch_many, advise, discard, submit, "
                            "mark, order, stream_create, adopt, host_call, any)",
                            (int)(end - at), at);
        at = *end == ',' ? end + 1 : end;
    }
    return EUM_OK;
}

/* ------------------------------------------------------------------------------------------------ open and close ---- */

static void fill_caps(const eum_sim *sim, eum_device_caps *caps)
{
    const eum_sim_preset *preset = sim->preset;
    caps->kind = EUM_DEVICE_SIM;
    caps->index = 0;
    snprintf(caps->name, sizeof caps->name, "simulated %s (compute capability %d.%d)", preset->arch, (int)preset->compute_major,
             (int)preset->compute_minor);
    caps->compute_major = preset->compute_major;
    caps->compute_minor = preset->compute_minor;
    caps->driver_version = DRIVER_VERSION;
    caps->runtime_version = preset->toolkit;
    caps->managed = true;
    caps->concurrent_managed = preset->concurrent;
    caps->pageable = false;
    caps->discard = preset->discard;
    caps->prefetch_many = preset->prefetch_many;
    caps->page = EUM_SIM_PAGE;
    caps->block = EUM_SIM_CHUNK;
    caps->costs = (eum_costs){.link_mbps = preset->link_mbps,
                              .memory_mbps = preset->memory_mbps,
                              .copy_ns = preset->copy,
                              .prefetch_ns = preset->prefetch,
                              .unit_ns = preset->whole_chunks ? preset->chunk_move : preset->page_move,
                              .unit_bytes = preset->whole_chunks ? EUM_SIM_CHUNK : EUM_SIM_PAGE,
                              .batch_waits = preset->prefetch_many ? 0 : 1,
                              .batch_range_ns = preset->prefetch_many ? 0 : preset->prefetch,
                              .launch_ns = preset->launch,
                              .macs_mhz = eum_macs_default(preset->compute_major)};
}

static void destroy(eum_sim *sim)
{
    eum_sim_clock_free(&sim->host);
    free(sim->slot_tick);
    free(sim->slot_used);
    pthread_cond_destroy(&sim->progress);
    pthread_mutex_destroy(&sim->lock);
    free(sim);
}

eum_status eum_sim_open(const eum_device_config *config, eum_device **out)
{
    const eum_sim_preset *preset = eum_sim_preset_find(config->arch);
    if (preset == NULL)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "there is no simulated \"%s\": there are %s",
                        config->arch == NULL ? "" : config->arch, eum_sim_preset_names);
    eum_sim *sim = calloc(1, sizeof *sim);
    if (sim == NULL)
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory for a simulated GPU");
    sim->base.ops = &eum_sim_ops;
    sim->preset = preset;
    sim->log = config->log;
    sim->memory = preset->memory;
    sim->check = true;
    sim->random = 1;
    sim->references = 1;
    pthread_mutex_init(&sim->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&sim->progress, &monotonic);
    pthread_condattr_destroy(&monotonic);

    eum_status status = parse_options(sim, config->options);
    if (status == EUM_OK && !eum_sim_clock_reserve(&sim->host, 1))
        status = eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory for a simulated GPU");
    if (status == EUM_OK)
        status = eum_sim_handler_acquire();
    if (status != EUM_OK) {
        destroy(sim);
        return status;
    }
    fill_caps(sim, &sim->base.caps);
    *out = &sim->base;
    return EUM_OK;
}

void eum_sim_unref_and_unlock(eum_sim *sim)
{
    bool last = --sim->references == 0;
    pthread_mutex_unlock(&sim->lock);
    if (last)
        destroy(sim);
}

static void close_sim(eum_device *device)
{
    eum_sim *sim = (eum_sim *)device;
    eum_sim_log_violations(sim);
    eum_sim_orphan_blocks(sim);
    pthread_mutex_lock(&sim->lock);
    eum_sim_unref_and_unlock(sim);
    eum_sim_handler_release();
}

const struct eum_device_ops eum_sim_ops = {
    .name = "sim",
    .close = close_sim,
    .memory = eum_sim_memory,
    .alloc = eum_sim_alloc,
    .release = eum_sim_release,
    .adopt = eum_sim_adopt,
    .is_pinned = eum_sim_is_pinned,
    .unadopt = eum_sim_unadopt,
    .give_up = eum_sim_give_up,
    .stream_create = eum_sim_stream_create,
    .stream_wrap = eum_sim_stream_wrap,
    .stream_destroy = eum_sim_stream_destroy,
    .mark = eum_sim_mark_stream,
    .passed = eum_sim_passed,
    .wait = eum_sim_wait,
    .order = eum_sim_order,
    .copy = eum_sim_copy,
    .prefetch = eum_sim_prefetch,
    .prefetch_many = eum_sim_prefetch_many,
    .discard = eum_sim_discard,
    .advise = eum_sim_advise,
    .submit = eum_sim_submit,
    .host_call = eum_sim_host_call,
    .synchronize = eum_sim_synchronize,
    .count_begin = eum_sim_count_begin,
    .count_end = eum_sim_count_end,
    .count_read = eum_sim_count_read,
    .host_access = eum_sim_note_host_access,
    .clock_ns = eum_sim_time,
};

/* --------------------------------------------------------------------------------------------------- inspection ----- */

eum_sim *eum_sim_from(eum_device *device)
{
    return device != NULL && device->ops == &eum_sim_ops ? (eum_sim *)device : NULL;
}

bool eum_sim_counters_get(eum_device *device, eum_sim_counters *out)
{
    eum_sim *sim = eum_sim_from(device);
    if (sim == NULL)
        return false;
    eum_sim_lock_pages();
    *out = sim->counters;
    eum_sim_unlock_pages();
    return true;
}

bool eum_sim_block_counters(eum_device *device, const void *address, eum_sim_counters *out)
{
    eum_sim *sim = eum_sim_from(device);
    if (sim == NULL)
        return false;
    int side = 0;
    size_t offset = 0;
    eum_sim_lock_pages();
    const eum_sim_block *block = eum_sim_find(sim, address, &side, &offset);
    if (block != NULL)
        *out = block->counters;
    eum_sim_unlock_pages();
    return block != NULL;
}

uint64_t eum_sim_migrations(const eum_sim_counters *counters)
{
    uint64_t sum = 0;
    for (int i = 0; i < EUM_SIM_CAUSES; i++)
        sum += counters->migrations_to_device[i] + counters->migrations_to_host[i];
    return sum;
}

uint64_t eum_sim_bytes_moved(const eum_sim_counters *counters)
{
    uint64_t sum = 0;
    for (int i = 0; i < EUM_SIM_CAUSES; i++)
        sum += counters->bytes_to_device[i] + counters->bytes_to_host[i];
    return sum;
}

bool eum_sim_page_info_get(eum_device *device, const void *address, eum_sim_page_info *out)
{
    eum_sim *sim = eum_sim_from(device);
    if (sim == NULL)
        return false;
    int side = 0;
    size_t offset = 0;
    eum_sim_lock_pages();
    const eum_sim_block *block = eum_sim_find(sim, address, &side, &offset);
    bool found = block != NULL && block->page != NULL;
    if (found) {
        const eum_sim_page *page = &block->page[offset / EUM_SIM_PAGE];
        bool closed = sim->host_closed && !block->opened;
        *out = (eum_sim_page_info){
            .populated = (page->flags & EUM_SIM_POPULATED) != 0,
            .discarded = (page->flags & EUM_SIM_DISCARDED) != 0,
            .read_mostly = (page->flags & EUM_SIM_READ_MOSTLY) != 0,
            .on_host = (page->resident & EUM_SIM_AT_HOST) != 0,
            .on_device = (page->resident & EUM_SIM_AT_DEVICE) != 0,
            .host_reads = !closed && page->map[EUM_SIM_HOST] >= EUM_SIM_READS,
            .host_writes = !closed && page->map[EUM_SIM_HOST] >= EUM_SIM_WRITES,
            .device_reads = page->map[EUM_SIM_DEVICE] >= EUM_SIM_READS,
            .device_writes = page->map[EUM_SIM_DEVICE] >= EUM_SIM_WRITES,
            .prefers_host = page->preferred == EUM_SIM_AT_HOST,
            .prefers_device = page->preferred == EUM_SIM_AT_DEVICE,
            .accessed_by_host = (page->accessed_by & EUM_SIM_AT_HOST) != 0,
            .accessed_by_device = (page->accessed_by & EUM_SIM_AT_DEVICE) != 0,
        };
    }
    eum_sim_unlock_pages();
    return found;
}

size_t eum_sim_blocks_live(eum_device *device, eum_memory kind)
{
    eum_sim *sim = eum_sim_from(device);
    size_t count = 0;
    if (sim == NULL)
        return 0;
    eum_sim_lock_pages();
    for (const eum_sim_block *block = sim->blocks; block != NULL; block = block->next)
        count += !block->external && !block->given_up && !block->dead && (kind == 0 || block->kind == kind);
    eum_sim_unlock_pages();
    return count;
}
