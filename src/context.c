/* context: see context.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "again.h"
#include "buffer.h"
#include "least.h"
#include "spin.h"
#include "stream.h"
#include "threads.h"

/* ------------------------------------------------------------------------------------------------------- lock ------ */

static eum_status enter(eum_ctx *ctx, const char *function)
{
    pthread_mutex_lock(&ctx->lock);
    if (!ctx->submitting)
        return EUM_OK;
    pthread_mutex_unlock(&ctx->lock);
    return eum_fail(EUM_ERROR_IN_CALLBACK, "%s was called from inside a GPU kernel callback; call it after eum_launch has returned",
                    function);
}

eum_status eum_ctx_lock(eum_ctx *ctx, const char *function)
{
    eum_status status = enter(ctx, function);
    if (status == EUM_OK && ctx->again->count != 0)
        eum_again_forget(ctx);
    return status;
}

eum_status eum_ctx_lock_to_use(eum_ctx *ctx, const char *function)
{
    eum_status status = enter(ctx, function);
    if (status == EUM_OK && ctx->again->count != 0)
        eum_again_doubt(ctx);
    return status;
}

eum_status eum_ctx_lock_to_wait(eum_ctx *ctx, const char *function)
{
    eum_status status = enter(ctx, function);
    if (status == EUM_OK && ctx->again->stopped)
        eum_again_forget(ctx);
    return status;
}

eum_status eum_ctx_lock_to_look(eum_ctx *ctx, const char *function)
{
    eum_status status = eum_ctx_lock_to_wait(ctx, function);
    if (status == EUM_OK && ctx->again->pending)
        eum_again_record(ctx);
    return status;
}

void eum_ctx_relock(eum_ctx *ctx)
{
    pthread_mutex_lock(&ctx->lock);
    if (ctx->again->count != 0)
        eum_again_forget(ctx);
}

void eum_ctx_relock_to_use(eum_ctx *ctx)
{
    pthread_mutex_lock(&ctx->lock);
    if (ctx->again->count != 0)
        eum_again_doubt(ctx);
}

void eum_ctx_unlock(eum_ctx *ctx)
{
    pthread_mutex_unlock(&ctx->lock);
}

eum_status eum_ctx_check_device(const eum_ctx *ctx, const char *function)
{
    if (eum_callback_depth == 0 || ctx->device->caps.kind != EUM_DEVICE_CUDA)
        return EUM_OK;
    return eum_fail(EUM_ERROR_IN_CALLBACK,
                    "%s was called from inside a callback, where CUDA must not be called; call it from another thread", function);
}

void eum_ctx_reap(eum_ctx *ctx)
{
    if (eum_callback_depth > 0 || (ctx->again->stopped && ctx->again->pending))
        return; /* CUDA must not be called there, nor was it where what ended since may still be used; somebody else will reap */
    for (eum_buf **link = &ctx->graveyard; *link != NULL;) {
        eum_buf *buf = *link, *next = buf->next_dead;
        if (eum_buf_reap(buf))
            *link = next;
        else
            link = &buf->next_dead;
    }
    for (size_t i = 0; i < ctx->stream_count; i++) {
        if (ctx->streams[i]->ended) {
            eum_streams_reap(ctx);
            break;
        }
    }
}

/* -------------------------------------------------------------------------------------------------------- pool ----- */

static void free_pooled(eum_ctx *ctx, eum_block *block)
{
    if (block->kind == EUM_MEMORY_MANAGED || block->kind == EUM_MEMORY_DEVICE)
        eum_budget_return(ctx->budget, block->bytes);
    ctx->stats.raw_frees[block->kind]++;
    if (block->kind == EUM_MEMORY_PINNED)
        ctx->pinned -= block->bytes;
    ctx->device->ops->release(ctx->device, block);
}

uint64_t eum_ctx_room(const eum_ctx *ctx)
{
    uint64_t limit, used;
    eum_budget_read(ctx->budget, &limit, &used);
    used -= eum_least(eum_pool_bytes_in_budget(&ctx->pool), used);
    return limit > used ? limit - used : 0;
}

uint64_t eum_ctx_clock(const eum_ctx *ctx)
{
    const struct eum_device_ops *ops = ctx->device->ops;
    return ops->clock_ns == NULL ? (uint64_t)eum_now_ns() : ops->clock_ns(ctx->device);
}

bool eum_ctx_trim_pool(eum_ctx *ctx, uint64_t keep)
{
    eum_block block;
    bool any = false;
    while (eum_pool_evict(&ctx->pool, keep, &block)) {
        free_pooled(ctx, &block);
        any = true;
    }
    return any;
}

eum_status eum_ctx_trim(eum_ctx *ctx, uint64_t keep)
{
    eum_status status = eum_ctx_check_device(ctx, "eum_context_trim");
    if (status == EUM_OK)
        status = eum_ctx_lock(ctx, "eum_context_trim");
    if (status != EUM_OK)
        return status;
    eum_ctx_reap(ctx);
    (void)eum_ctx_trim_pool(ctx, keep);
    eum_ctx_unlock(ctx);
    return EUM_OK;
}

/* -------------------------------------------------------------------------------------------------------- life ----- */

/* The recursion is for GPU callbacks, which run inside eum_launch on the caller's thread: eum_ctx_lock turns a second entry into an error. */
static void init_lock(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

/* Waits for all work and frees everything. Nobody else has the context any more. */
static void end(eum_ctx *ctx)
{
    if (ctx->device != NULL) {
        eum_ctx_relock(ctx);
        for (size_t i = 0; i < ctx->stream_count; i++) {
            ctx->streams[i]->ended = true;
            eum_strm_mark_orders(ctx->streams[i]);
        }
        pthread_mutex_unlock(&ctx->lock);
        for (size_t i = 0; i < ctx->stream_count; i++) {
            eum_strm *stream = ctx->streams[i];
            if (stream->sequence != 0)
                (void)ctx->device->ops->wait(stream->device_stream, stream->sequence, -1);
            stream->ordered = false; /* or the device refused the mark: then all is waited for below */
        }
        if (ctx->unmarked)
            (void)ctx->device->ops->synchronize(ctx->device);
        pthread_mutex_lock(&ctx->lock); /* the last finish callbacks are behind us */
        eum_ctx_reap(ctx);
        eum_streams_reap(ctx);
        (void)eum_ctx_trim_pool(ctx, 0);
        pthread_mutex_unlock(&ctx->lock);
        for (int kind = 1; kind < EUM_MEMORY_KINDS; kind++)
            if (ctx->stats.raw_allocations[kind] != ctx->stats.raw_frees[kind] + ctx->stats.raw_given_up[kind])
                eum_log_write(&ctx->log, EUM_LOG_ERROR, "context ended with %llu allocations of memory kind %d that were not freed",
                              (unsigned long long)(ctx->stats.raw_allocations[kind] - ctx->stats.raw_frees[kind] -
                                                   ctx->stats.raw_given_up[kind]),
                              kind);
        eum_budget_put(ctx->budget);
        ctx->device->ops->close(ctx->device);
    }
    eum_workers_destroy(ctx->workers);
    free(ctx->streams);
    free(ctx->failures);
    free(ctx->again);
    pthread_mutex_destroy(&ctx->lock);
    free(ctx);
}

static void *end_thread(void *arg)
{
    end(arg);
    return NULL;
}

void eum_ctx_hold(eum_ctx *ctx)
{
    ctx->references++;
}

void eum_ctx_drop(eum_ctx *ctx)
{
    pthread_mutex_lock(&ctx->lock);
    bool last = --ctx->references == 0;
    pthread_mutex_unlock(&ctx->lock);
    if (!last)
        return;
    if (eum_callback_depth == 0) {
        end(ctx);
        return;
    }
    /* From inside a callback the wait would be for ourselves: another thread does it. */
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attributes, end_thread, ctx) != 0)
        eum_log_write(&ctx->log, EUM_LOG_ERROR, "no thread to end a context from inside a callback: its memory is not freed");
    pthread_attr_destroy(&attributes);
}

/* By EUM_BACKING_*. */
static const char *const backing_names[] = {"auto", "managed", "mirrored", "mapped", "host"};

const char *eum_backing_name(eum_backing backing)
{
    return backing_names[backing];
}

static eum_status backing_of_name(const char *name, eum_backing *out)
{
    for (eum_backing i = EUM_BACKING_AUTO; i <= EUM_BACKING_HOST; i++) {
        if (strcmp(name, backing_names[i]) == 0) {
            *out = i;
            return EUM_OK;
        }
    }
    return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "EUM_BACKING is \"%s\"; use auto, managed, mirrored, mapped or host, or unset it",
                    name);
}

/* Pinned memory cannot be swapped out: a quarter of the machine's. */
static uint64_t pinned_most_here(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page / 4 : 0;
}

eum_backing_question eum_ctx_backing_question(const eum_ctx *ctx, eum_backing asked, uint64_t bytes)
{
    const eum_device_caps *caps = &ctx->device->caps;
    return (eum_backing_question){.device_kind = caps->kind,
                                  .managed = caps->managed,
                                  .concurrent_managed = caps->concurrent_managed,
                                  .forced = asked != EUM_BACKING_AUTO ? asked : ctx->forced_backing,
                                  .bytes = bytes,
                                  .pinned_room = ctx->pinned < ctx->pinned_most ? ctx->pinned_most - ctx->pinned : 0,
                                  .oversubscribe = (ctx->flags & EUM_CONTEXT_OVERSUBSCRIBE) != 0,
                                  .costs = &ctx->costs};
}

eum_backing_answer eum_ctx_choose_backing(const eum_ctx *ctx, eum_backing asked, uint64_t bytes)
{
    eum_backing_question question = eum_ctx_backing_question(ctx, asked, bytes);
    return eum_choose_backing(&question);
}

static eum_status choose_backing(eum_ctx *ctx, eum_backing configured)
{
    ctx->forced_backing = configured;
    const char *environment = getenv("EUM_BACKING");
    if (configured == EUM_BACKING_AUTO && environment != NULL && environment[0] != '\0') {
        eum_status status = backing_of_name(environment, &ctx->forced_backing);
        if (status != EUM_OK)
            return status;
    }
    ctx->pinned_most = pinned_most_here();
    eum_backing_answer answer = eum_ctx_choose_backing(ctx, EUM_BACKING_AUTO, 0);
    if (answer.backing == EUM_BACKING_AUTO)
        return eum_fail(
            EUM_ERROR_NOT_SUPPORTED,
            "the backing \"%s\" was asked for (by %s), and device \"%s\" does not have it; leave the choice to the library",
            eum_backing_name(ctx->forced_backing), configured == EUM_BACKING_AUTO ? "EUM_BACKING" : "the configuration",
            ctx->device->caps.name);
    ctx->backing = answer.backing;
    ctx->backing_reason = answer.reason;
    return EUM_OK;
}

eum_status eum_ctx_create(const eum_context_config *config, eum_ctx **out)
{
    eum_ctx *ctx = calloc(1, sizeof *ctx);
    eum_again *again = calloc(1, sizeof *again);
    if (ctx == NULL || again == NULL) {
        free(ctx);
        free(again);
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory for a context; free some host memory");
    }
    ctx->again = again;
    init_lock(&ctx->lock);
    ctx->references = 1;
    ctx->flags = config->flags;
    ctx->pool.cap = config->pool_bytes == 0 ? EUM_POOL_DEFAULT_BYTES : config->pool_bytes == EUM_POOL_OFF ? 0 : config->pool_bytes;
    ctx->log = eum_log_from(config->log_fn, config->log_user, config->log_level);
    ctx->isa = eum_cpu_isa_best();
    ctx->stats.struct_size = sizeof ctx->stats;
    eum_status status = eum_workers_create(config->worker_threads, &ctx->workers);
    int64_t spin_ns = 0;
    if (status == EUM_OK && config->log_fn == NULL)
        status = eum_log_check_variable();
    if (status == EUM_OK)
        status = eum_spin_parse(getenv("EUM_SPIN"), &spin_ns);
    if (status == EUM_OK)
        status = eum_batch_parse(getenv("EUM_PREFETCH_BATCH"), &ctx->batch);
    if (status == EUM_OK)
        status = eum_again_parse(getenv("EUM_GRAPHS"), &ctx->graphs);
    if (status == EUM_OK) {
        eum_workers_set_spin(ctx->workers, spin_ns);
        status = eum_device_open(config->device, &ctx->log, ctx->workers, &ctx->device, &ctx->reason, ctx->device_sentence,
                                 sizeof ctx->device_sentence);
    }
    if (status == EUM_OK)
        status = eum_ctx_load_costs(ctx);
    if (status == EUM_OK)
        status = choose_backing(ctx, config->backing);
    if (status == EUM_OK)
        status = eum_budget_get(ctx->device, config->budget_bytes, &ctx->budget);
    if (status == EUM_OK)
        status = eum_strm_open(ctx, true, NULL, &ctx->default_stream);
    if (status == EUM_OK)
        status = eum_strm_open(ctx, true, NULL, &ctx->transfer);
    if (status != EUM_OK) {
        eum_error saved;
        eum_error_save(&saved);
        end(ctx);
        eum_error_restore(&saved);
        return status;
    }
    eum_log_write(&ctx->log, EUM_LOG_INFO, "%s %s", ctx->device_sentence, eum_backing_sentence(ctx->backing, ctx->backing_reason));
    *out = ctx;
    return EUM_OK;
}

void eum_ctx_end(eum_ctx *ctx)
{
    eum_ctx_drop(ctx);
}

/* ---------------------------------------------------------------------------------------------- info and stats ----- */

eum_status eum_ctx_info(eum_ctx *ctx, eum_info *out)
{
    const eum_device_caps *caps = &ctx->device->caps;
    eum_info info;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    eum_status status = ctx->device->ops->memory(ctx->device, &info.memory_free, &info.memory_total);
    if (status != EUM_OK)
        return status;
    info.device_kind = caps->kind;
    info.device_index = caps->index;
    info.device_reason = ctx->reason;
    info.backing = ctx->backing;
    info.worker_threads = eum_workers_count(ctx->workers);
    info.compute_major = caps->compute_major;
    info.compute_minor = caps->compute_minor;
    info.driver_version = caps->driver_version;
    info.runtime_version = caps->runtime_version;
    info.managed = caps->managed;
    info.concurrent_managed = caps->concurrent_managed;
    info.pageable = caps->pageable;
    info.discard = caps->discard;
    info.page_bytes = caps->page;
    if (caps->kind != EUM_DEVICE_HOST)
        eum_budget_read(ctx->budget, &info.budget_bytes, &info.budget_used);
    snprintf(info.device_name, sizeof info.device_name, "%s", caps->name);
    snprintf(info.device_sentence, sizeof info.device_sentence, "%s", ctx->device_sentence);
    snprintf(info.backing_sentence, sizeof info.backing_sentence, "%s", eum_backing_sentence(ctx->backing, ctx->backing_reason));
    snprintf(info.cpu_kernels, sizeof info.cpu_kernels, "%s", eum_cpu_isa_name(ctx->isa));
    *out = info;
    return EUM_OK;
}

eum_status eum_ctx_stats(eum_ctx *ctx, eum_stats *out)
{
    eum_status status = eum_ctx_lock_to_look(ctx, "eum_context_stats");
    if (status != EUM_OK)
        return status;
    eum_ctx_reap(ctx);
    *out = ctx->stats;
    out->pool_bytes = ctx->pool.bytes;
    eum_ctx_unlock(ctx);
    return EUM_OK;
}

eum_status eum_ctx_operation_stats(eum_ctx *ctx, eum_operation operation, eum_operation_stats *out)
{
    eum_status status = eum_ctx_lock_to_look(ctx, "eum_context_operation_stats");
    if (status != EUM_OK)
        return status;
    *out = ctx->operations.stats[operation - 1];
    out->struct_size = sizeof *out;
    out->rest = ctx->operations.rest;
    eum_ctx_unlock(ctx);
    return EUM_OK;
}

eum_strm *eum_ctx_default_stream(eum_ctx *ctx)
{
    return ctx->default_stream;
}
