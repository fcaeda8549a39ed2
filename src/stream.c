/* stream: see stream.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "again.h"

#include <inttypes.h>
#include <stdlib.h>

#include "threads.h"

eum_status eum_strm_open(eum_ctx *ctx, bool internal, void *const *native, eum_strm **out)
{
    if (ctx->stream_count == ctx->stream_capacity) {
        size_t capacity = ctx->stream_capacity * 2 + 4;
        eum_strm **streams = realloc(ctx->streams, capacity * sizeof *streams);
        if (streams == NULL)
            return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory for a stream; free some host memory");
        ctx->streams = streams;
        ctx->stream_capacity = capacity;
    }
    eum_strm *stream = calloc(1, sizeof *stream);
    if (stream == NULL)
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory for a stream; free some host memory");
    const struct eum_device_ops *ops = ctx->device->ops;
    eum_status status = native != NULL ? ops->stream_wrap(ctx->device, *native, &stream->device_stream)
                                       : ops->stream_create(ctx->device, &stream->device_stream);
    if (status != EUM_OK) {
        free(stream);
        return status;
    }
    stream->ctx = ctx;
    stream->serial = ++ctx->next_serial;
    stream->wrapped = native != NULL;
    stream->internal = internal;
    ctx->streams[ctx->stream_count++] = stream;
    *out = stream;
    return EUM_OK;
}

eum_strm *eum_strm_find(eum_ctx *ctx, uint64_t serial)
{
    for (size_t i = 0; i < ctx->stream_count; i++)
        if (ctx->streams[i]->serial == serial)
            return ctx->streams[i];
    return NULL;
}

eum_status eum_strm_mark(eum_strm *stream, eum_point *out)
{
    uint64_t sequence;
    eum_status status = stream->ctx->device->ops->mark(stream->device_stream, &sequence);
    if (status != EUM_OK) {
        stream->ctx->unmarked = true;
        return status;
    }
    stream->sequence = sequence;
    stream->ordered = false;
    *out = (eum_point){stream->serial, sequence};
    return EUM_OK;
}

void eum_strm_mark_passed(eum_strm *stream)
{
    stream->ctx->device->ops->mark_passed(stream->device_stream, &stream->sequence);
}

bool eum_point_passed(eum_ctx *ctx, eum_point point)
{
    eum_strm *stream = eum_strm_find(ctx, point.stream);
    return stream == NULL || ctx->device->ops->passed(stream->device_stream, point.sequence);
}

bool eum_point_passed_in(void *ctx, eum_point point)
{
    return eum_point_passed(ctx, point);
}

bool eum_strm_is_idle(const eum_strm *stream)
{
    const eum_again *again = stream->ctx->again;
    bool open = again->pending && again->stream == stream && !again->over;
    return !open && stream->waited == stream->sequence && !stream->wrapped && !stream->exposed;
}

eum_status eum_strm_order(eum_strm *stream, eum_point point)
{
    eum_strm *other = eum_strm_find(stream->ctx, point.stream);
    if (other == NULL || other == stream)
        return EUM_OK;
    stream->ordered = !stream->wrapped; /* whose end here waits for nothing, and which the user may have destroyed by then */
    return stream->ctx->device->ops->order(stream->device_stream, other->device_stream, point.sequence);
}

void eum_strm_mark_orders(eum_strm *stream)
{
    eum_point point;
    eum_error saved;
    if (!stream->ordered)
        return;
    eum_error_save(&saved);
    (void)eum_strm_mark(stream, &point);
    eum_error_restore(&saved);
}

void eum_streams_reap(eum_ctx *ctx)
{
    size_t kept = 0;
    for (size_t i = 0; i < ctx->stream_count; i++) {
        eum_strm *stream = ctx->streams[i];
        if (stream->ended)
            eum_strm_mark_orders(stream);
        bool idle = stream->ended && !stream->ordered && stream->references == 0 &&
                    (stream->sequence == 0 || ctx->device->ops->passed(stream->device_stream, stream->sequence));
        if (!idle) {
            ctx->streams[kept++] = stream;
            continue;
        }
        ctx->device->ops->stream_destroy(stream->device_stream);
        free(stream);
    }
    ctx->stream_count = kept;
}

void eum_failure_add(eum_ctx *ctx, eum_point point, eum_status status, int32_t code)
{
    ctx->stats.jobs_failed++;
    if (ctx->failures == NULL)
        ctx->failures = calloc(EUM_FAILURES_KEPT, sizeof *ctx->failures);
    if (ctx->failures == NULL)
        return; /* the ranges that the job wrote are undefined all the same */
    ctx->failures[ctx->failure_next] = (eum_failure){point, status, code, false};
    ctx->failure_next = (ctx->failure_next + 1) % EUM_FAILURES_KEPT;
    if (ctx->failure_count < EUM_FAILURES_KEPT)
        ctx->failure_count++;
}

/* What the device took for an operation that had it to itself, by who waited until it was done. Lock held. */
static void learn_from_device(eum_ctx *ctx, const eum_run *run, int64_t begin, int64_t now)
{
    if (!ctx->learned.from_operations || run->executor != EUM_EXECUTOR_DEVICE || run->moves || !run->alone ||
        !eum_learned_saw_the_end(run->start_ns, begin, now))
        return;
    eum_learned_took(&ctx->learned, run->over_link ? EUM_LEARNED_IN_PLACE : EUM_LEARNED_DEVICE, run->class, run->job_ns, run->times,
                     (uint64_t)(now - run->start_ns));
}

/* As eum_point_wait, with the lock held on entry and exit, and given back in between. open: the point is still to come, see again.h, and who
 * waits for all that was submitted to the stream has waited for it. */
static eum_status wait_for(eum_ctx *ctx, eum_point point, bool open, int64_t timeout_ns)
{
    const struct eum_device_ops *ops = ctx->device->ops;
    eum_strm *stream = eum_strm_find(ctx, point.stream);
    if (stream != NULL && !open && point.sequence > stream->sequence && eum_again_is_open(stream))
        return eum_fail(EUM_ERROR_TIMEOUT,
                        "Whether the work is done cannot be asked from inside a callback; ask from another thread.");
    if (stream == NULL || (!open && point.sequence > stream->sequence))
        return EUM_OK; /* its stream is gone, or the device refused the point: all work was waited for */
    stream->references++;
    uint64_t made = ctx->again->made;
    int watched = eum_operations_watched(&ctx->operations, point);
    bool too_late = watched >= 0 && !open && ops->passed(stream->device_stream, point.sequence);
    pthread_mutex_unlock(&ctx->lock);
    int64_t begin = watched >= 0 && !too_late ? eum_now_ns() : 0;
    eum_status status = open ? ops->drain(stream->device_stream, point.sequence, timeout_ns)
                             : ops->wait(stream->device_stream, point.sequence, timeout_ns);
    int64_t now = watched >= 0 && !too_late ? eum_now_ns() : -1;
    pthread_mutex_lock(&ctx->lock);
    stream->references--;
    if (open && status == EUM_OK)
        eum_again_is_over(stream, made);
    uint64_t waited = open && ctx->again->over && ctx->again->stream == stream ? stream->sequence : open ? 0 : point.sequence;
    if (status == EUM_OK && waited > stream->waited)
        stream->waited = waited;
    const eum_run *run = NULL;
    if (watched >= 0 && status == EUM_OK)
        run = eum_operations_ended(&ctx->operations, watched, point, now);
    if (run != NULL)
        learn_from_device(ctx, run, begin, now);
    return status;
}

static eum_status point_wait(eum_ctx *ctx, eum_point point, int64_t timeout_ns)
{
    return wait_for(ctx, point, false, timeout_ns);
}

/* Is this the point that the stream's newest launches are to have, and can it be waited for as it is? Else they have theirs from now on.
 * Lock held. */
static bool is_open(eum_strm *stream, uint64_t sequence)
{
    bool open = stream != NULL && eum_again_is_open(stream) && stream->ctx->device->ops->drain != NULL &&
                sequence == stream->promised && eum_callback_depth == 0;
    if (!open && stream != NULL)
        eum_again_record(stream->ctx);
    return open;
}

eum_status eum_point_wait(eum_ctx *ctx, eum_point point, int64_t timeout_ns)
{
    pthread_mutex_lock(&ctx->lock);
    eum_status status = point_wait(ctx, point, timeout_ns);
    pthread_mutex_unlock(&ctx->lock);
    return status;
}

static eum_status failed(const eum_failure *failure)
{
    if (failure->status != EUM_ERROR_JOB_FAILED)
        return eum_fail(failure->status, "the job failed (%s); what it was to write is undefined until it is written again",
                        eum_status_name(failure->status));
    if (failure->code == 0)
        return eum_fail(EUM_ERROR_JOB_FAILED,
                        "the job did not run, because a job whose results it reads failed; what it was to write is "
                        "undefined until it is written again");
    return eum_fail(EUM_ERROR_JOB_FAILED,
                    "the job's kernel callback returned %" PRId32 "; what it was to write is undefined until it is written again",
                    failure->code);
}

static bool is_job(const eum_ctx *ctx, const eum_strm *stream, uint64_t serial, uint64_t sequence)
{
    return serial != 0 && serial <= ctx->next_serial && sequence != 0 &&
           (stream == NULL || sequence <= stream->sequence || sequence <= stream->promised);
}

eum_status eum_ctx_job_wait(eum_ctx *ctx, uint64_t serial, uint64_t sequence, int64_t timeout_ns)
{
    if (serial == 0 && sequence == 0)
        return EUM_OK;
    eum_status status = eum_ctx_lock_to_wait(ctx, "eum_job_wait");
    if (status != EUM_OK)
        return status;
    eum_strm *stream = eum_strm_find(ctx, serial);
    bool open = is_open(stream, sequence);
    status = is_job(ctx, stream, serial, sequence) ? wait_for(ctx, (eum_point){serial, sequence}, open, timeout_ns)
                                                   : eum_fail(EUM_ERROR_INVALID_HANDLE,
                                                              "stream %" PRIu64 ", sequence %" PRIu64
                                                              " is no job of this context; pass a job as a launch returned it",
                                                              serial, sequence);
    bool passed = status == EUM_OK;
    for (size_t i = 0; passed && i < ctx->failure_count; i++) {
        eum_failure *failure = &ctx->failures[i];
        if (failure->point.stream != serial || failure->point.sequence != sequence)
            continue;
        failure->reported = true;
        status = failed(failure);
        break;
    }
    if (passed)
        eum_ctx_reap(ctx);
    eum_ctx_unlock(ctx);
    return status;
}

/* The oldest failure on the stream up to `sequence` that nobody heard of yet. Lock held. */
static eum_status take_failure(eum_ctx *ctx, uint64_t serial, uint64_t sequence)
{
    eum_failure *oldest = NULL;
    for (size_t i = 0; i < ctx->failure_count; i++) {
        eum_failure *failure = &ctx->failures[i];
        if (failure->reported || failure->point.stream != serial || failure->point.sequence > sequence)
            continue;
        if (oldest == NULL || failure->point.sequence < oldest->point.sequence)
            oldest = failure;
    }
    eum_status status = oldest == NULL ? EUM_OK : failed(oldest);
    for (size_t i = 0; i < ctx->failure_count; i++)
        if (ctx->failures[i].point.stream == serial && ctx->failures[i].point.sequence <= sequence)
            ctx->failures[i].reported = true;
    return status;
}

/* A point behind all that is on the stream. The library knows what it put there itself, but not what the user did. Lock held. */
static eum_status newest_point(eum_strm *stream, bool *out_open, eum_point *out)
{
    *out_open = is_open(stream, stream->promised);
    *out = (eum_point){stream->serial, *out_open ? stream->promised : stream->sequence};
    bool own = !stream->wrapped && !stream->exposed && !stream->ctx->unmarked && stream->sequence != 0;
    return *out_open || own ? EUM_OK : eum_strm_mark(stream, out);
}

eum_status eum_strm_synchronize(eum_strm *stream)
{
    eum_ctx *ctx = stream->ctx;
    eum_status status = eum_ctx_lock_to_wait(ctx, "eum_stream_synchronize");
    if (status != EUM_OK)
        return status;
    eum_point point;
    bool open;
    status = newest_point(stream, &open, &point);
    if (status == EUM_OK)
        status = wait_for(ctx, point, open, -1);
    if (status == EUM_OK) {
        status = take_failure(ctx, point.stream, point.sequence);
        eum_ctx_reap(ctx);
    }
    eum_ctx_unlock(ctx);
    return status;
}

static eum_status open_user_stream(eum_ctx *ctx, void *const *native, const char *function, eum_strm **out)
{
    eum_status status = eum_ctx_check_device(ctx, function);
    if (status == EUM_OK)
        status = eum_ctx_lock(ctx, function);
    if (status != EUM_OK)
        return status;
    eum_ctx_reap(ctx);
    status = eum_strm_open(ctx, false, native, out);
    if (status == EUM_OK)
        eum_ctx_hold(ctx);
    eum_ctx_unlock(ctx);
    return status;
}

eum_status eum_strm_create(eum_ctx *ctx, const eum_stream_config *config, eum_strm **out)
{
    if (config->device != 0 && config->device != ctx->device->caps.index)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "device %" PRId32 " is not the context's; use 0", config->device);
    return open_user_stream(ctx, NULL, "eum_stream_create", out);
}

eum_status eum_strm_wrap(eum_ctx *ctx, void *cuda_stream, eum_strm **out)
{
    if (ctx->device->caps.kind != EUM_DEVICE_CUDA)
        return eum_fail(EUM_ERROR_NOT_SUPPORTED,
                        "a CUDA stream was wrapped in a context whose device is \"%s\"; use eum_stream_create",
                        ctx->device->caps.name);
    return open_user_stream(ctx, &cuda_stream, "eum_stream_wrap", out);
}

void eum_strm_end(eum_strm *stream)
{
    eum_ctx *ctx = stream->ctx;
    eum_ctx_relock(ctx);
    stream->ended = true;
    if (!ctx->submitting)
        eum_ctx_reap(ctx);
    pthread_mutex_unlock(&ctx->lock);
    eum_ctx_drop(ctx);
}

eum_ctx *eum_strm_context(const eum_strm *stream)
{
    return stream->ctx;
}

/* -------------------------------------------------------------------------------------- for code of CUDA's own ------ */

static eum_status no_cuda(const eum_ctx *ctx, const char *what)
{
    return eum_fail(EUM_ERROR_NOT_SUPPORTED, "device \"%s\" has no %s; only CUDA devices have", ctx->device->caps.name, what);
}

eum_status eum_strm_native(eum_strm *stream, void **out)
{
    const struct eum_device_ops *ops = stream->ctx->device->ops;
    if (ops->native == NULL)
        return no_cuda(stream->ctx, "CUDA streams");
    eum_ctx_relock(stream->ctx);
    stream->exposed = true;
    eum_ctx_unlock(stream->ctx);
    *out = ops->native(stream->device_stream);
    return EUM_OK;
}

eum_status eum_ctx_job_event(eum_ctx *ctx, uint64_t serial, uint64_t sequence, void **out)
{
    if (ctx->device->ops->export_event == NULL)
        return no_cuda(ctx, "CUDA events");
    eum_status status = eum_ctx_check_device(ctx, "eum_job_cuda_event");
    if (status == EUM_OK)
        status = eum_ctx_lock(ctx, "eum_job_cuda_event");
    if (status != EUM_OK)
        return status;
    eum_strm *stream = eum_strm_find(ctx, serial);
    if (serial > ctx->next_serial || (stream != NULL && sequence != 0 && !is_job(ctx, stream, serial, sequence)))
        status = eum_fail(EUM_ERROR_INVALID_HANDLE,
                          "stream %" PRIu64 ", sequence %" PRIu64 " is no job of this context; pass a job as a launch returned it",
                          serial, sequence);
    else if (stream == NULL || sequence > stream->sequence) /* its work is done, like that of any stream at sequence 0 */
        status = ctx->device->ops->export_event(ctx->transfer->device_stream, 0, out);
    else
        status = ctx->device->ops->export_event(stream->device_stream, sequence, out);
    eum_ctx_unlock(ctx);
    return status;
}

/* ------------------------------------------------------------------------------------------- completion callbacks -- */

typedef struct done_call {
    eum_strm *stream;
    uint64_t sequence;
    eum_done_fn fn;
    void *user;
} done_call;

static void run_done(void *arg)
{
    done_call *call = arg;
    eum_ctx *ctx = call->stream->ctx;
    pthread_mutex_lock(&ctx->lock);
    eum_error saved;
    eum_error_save(&saved);
    eum_status status = take_failure(ctx, call->stream->serial, call->sequence);
    eum_error_restore(&saved);
    pthread_mutex_unlock(&ctx->lock);
    call->fn(call->user, status);
    pthread_mutex_lock(&ctx->lock);
    call->stream->references--;
    pthread_mutex_unlock(&ctx->lock);
    free(call);
}

eum_status eum_strm_on_done(eum_strm *stream, eum_done_fn fn, void *user)
{
    eum_ctx *ctx = stream->ctx;
    done_call *call = malloc(sizeof *call);
    if (call == NULL)
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory for a completion callback; free some host memory");
    eum_status status = eum_ctx_check_device(ctx, "eum_stream_on_done");
    if (status == EUM_OK)
        status = eum_ctx_lock(ctx, "eum_stream_on_done");
    if (status != EUM_OK) {
        free(call);
        return status;
    }
    *call = (done_call){stream, stream->sequence, fn, user};
    stream->references++;
    status = ctx->device->ops->host_call(stream->device_stream, run_done, call);
    eum_point point;
    if (status == EUM_OK)
        (void)eum_strm_mark(stream, &point); /* so that the stream counts as busy until the callback has run */
    else {
        stream->references--;
        free(call);
    }
    eum_ctx_unlock(ctx);
    return status;
}
