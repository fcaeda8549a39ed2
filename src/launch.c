/* launch: see launch.h. A launch is planned, then committed or rolled back: see docs/residency.md.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "again.h"
#include "settled.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "threads.h"
#include "trace.h"

/* What the address of an empty view is: never dereferenced, never NULL. */
static char nothing[64];

/* ------------------------------------------------------------------------------------------------------ record ----- */

_Static_assert(_Alignof(max_align_t) >= 16, "malloc aligns to 16");

static size_t align16(size_t bytes)
{
    return (bytes + 15) & ~(size_t)15;
}

static void finish(eum_task *task, eum_status status, int32_t code);
static int32_t run_cpu(const eum_kernel_call *call);

/* In `room` if it is used up before the call returns, as CUDA's is, and fits there. */
static eum_launch_record *record_create(eum_strm *stream, const eum_launch_request *request, char *room, size_t room_bytes)
{
    size_t n = request->count;
    size_t head = align16(sizeof(eum_launch_record)), ranges = align16(n * sizeof(eum_range)),
           accesses = align16(n * sizeof(eum_access));
    size_t addresses = align16(n * sizeof(void *)), bytes = align16(n * sizeof(size_t));
    size_t total = head + ranges + accesses + addresses + bytes + align16(request->params_bytes);
    bool cuda = stream->ctx->device->caps.kind == EUM_DEVICE_CUDA, borrowed = cuda && total <= room_bytes;
    eum_launch_record *record = borrowed ? (void *)room : malloc(total); /* aligned to 16, as params are to be */
    if (record == NULL)
        return NULL;
    *record = (eum_launch_record){.borrowed = borrowed};
    char *at = (char *)record + head;
    record->ranges = (eum_range *)at;
    record->accesses = (eum_access *)(at += ranges);
    record->addresses = (void **)(at += accesses);
    record->bytes = (size_t *)(at += addresses);
    at += bytes;
    record->stream = stream;
    record->count = n;
    record->user_cpu = request->cpu;
    record->user = request->user;
    record->versioned = request->versioned;
    if (request->rows != NULL)
        record->rows = *request->rows;
    for (size_t i = 0; i < n; i++) {
        record->ranges[i] = request->ranges[i];
        record->accesses[i] = request->accesses[i];
        record->bytes[i] = request->ranges[i].bytes;
    }
    if (request->params_bytes > 0)
        memcpy(at, request->params, request->params_bytes);
    record->task = (eum_task){.gpu = request->gpu, .cpu = request->cpu != NULL ? run_cpu : NULL, .accesses = record->accesses};
    record->task.finish = finish;
    record->task.anywhere = record->task.own = request->anywhere;
    /* A CPU callback is called by run_cpu, and the simulated device is to see the staged rows as an argument. */
    record->task.call = (eum_kernel_call){.struct_size = sizeof(eum_kernel_call),
                                          .count = cuda && record->rows.staged ? n - 1 : n,
                                          .addresses = record->addresses,
                                          .bytes = record->bytes,
                                          .params = request->params_bytes > 0 ? at : NULL,
                                          .params_bytes = request->params_bytes,
                                          .user = cuda ? request->user : record,
                                          .source = record->rows.address,
                                          .first_row = record->rows.first,
                                          .rows = record->rows.count};
    return record;
}

static void record_free(eum_launch_record *record)
{
    if (record != NULL && !record->borrowed)
        free(record);
}

/* -------------------------------------------------------------------------------------------------- references ----- */

/* An empty view keeps nothing alive: the job never touches its buffer, whose end does not wait for the job. */
static void hold(eum_launch_record *record)
{
    for (size_t i = 0; i < record->count; i++)
        if (record->bytes[i] > 0)
            record->ranges[i].buf->references++;
    record->stream->references++;
    if (record->rows.parts != NULL)
        record->rows.parts->references++;
}

static void set_addresses(eum_launch_record *record, const eum_move *moves)
{
    for (size_t i = 0; i < record->count; i++) {
        void *address = eum_move_address(&moves[i]);
        record->addresses[i] = address != NULL ? address : nothing;
    }
    if (record->rows.staged)
        record->task.call.source = record->addresses[record->count - 1];
}

void eum_launch_parts_drop(eum_launch_parts *parts)
{
    if (--parts->references == 0)
        free(parts);
}

static void let_go(eum_launch_record *record)
{
    for (size_t i = 0; i < record->count; i++)
        if (record->bytes[i] > 0)
            record->ranges[i].buf->references--;
    record->stream->references--;
    if (record->rows.parts != NULL)
        eum_launch_parts_drop(record->rows.parts);
}

/* --------------------------------------------------------------------------------------------------- completion ---- */

/* Runs on an executor of the device, in front of the user's callback: a job that reads what a failed job was to write fails itself. */
static int32_t run_cpu(const eum_kernel_call *call)
{
    eum_launch_record *record = call->user;
    eum_ctx *ctx = record->stream->ctx;
    pthread_mutex_lock(&ctx->lock);
    record->dependency_failed = eum_launch_reads_undefined(record);
    int32_t failed = record->rows.parts != NULL ? record->rows.parts->code : 0;
    pthread_mutex_unlock(&ctx->lock);
    if (record->dependency_failed)
        return -1;
    if (failed != 0)
        return failed;
    eum_kernel_call user_call = *call;
    user_call.count -= record->rows.staged;
    user_call.user = record->versioned > 0 ? &record->version : record->user;
    return record->user_cpu(&user_call);
}

static void finish(eum_task *task, eum_status status, int32_t code)
{
    eum_launch_record *record = (eum_launch_record *)task;
    eum_ctx *ctx = record->stream->ctx;
    if (ctx->device->caps.kind == EUM_DEVICE_CUDA) { /* inside submit, under its lock; the uses are committed after that */
        ctx->stats.graph_launches += task->as_graph;
        let_go(record);
        record_free(record);
        return;
    }
    pthread_mutex_lock(&ctx->lock);
    eum_launch_parts *parts = record->rows.parts;
    if (status != EUM_OK && parts != NULL && !parts->failed) {
        parts->failed = true;
        parts->code = record->dependency_failed ? 0 : code;
    }
    if (status != EUM_OK)
        ctx->again->stopped = true;                                 /* what it was to write is undefined */
    if (status != EUM_OK && (parts == NULL || record->rows.last)) { /* the job is the last one's, and fails once */
        eum_failure_add(ctx, (eum_point){record->stream->serial, record->sequence}, status, record->dependency_failed ? 0 : code);
        eum_log_write(&ctx->log, EUM_LOG_ERROR, "a job failed: %s, code %" PRId32, eum_status_name(status), code);
    }
    eum_launch_mark_written(record, status != EUM_OK);
    let_go(record);
    pthread_mutex_unlock(&ctx->lock);
    record_free(record);
}

/* ---------------------------------------------------------------------------------------------------- checks ------- */

eum_status eum_launch_check_kernel(const eum_strm *stream, const eum_launch_request *request)
{
    bool cuda = stream->ctx->device->caps.kind == EUM_DEVICE_CUDA;
    if ((cuda ? request->gpu : request->cpu) == NULL)
        return eum_fail(EUM_ERROR_NO_KERNEL, "the launch has no %s callback, and it runs on device \"%s\"; give it one",
                        cuda ? "GPU" : "CPU", stream->ctx->device->caps.name);
    return EUM_OK;
}

eum_status eum_launch_check(const eum_strm *stream, const eum_launch_request *request)
{
    for (size_t i = 0; i < request->count; i++)
        if (request->ranges[i].buf->ctx != stream->ctx)
            return eum_fail(EUM_ERROR_WRONG_CONTEXT,
                            "argument %zu belongs to another context than the stream; use handles of one context in one call", i);
    for (size_t i = 0; i < request->count; i++) {
        const eum_range *a = &request->ranges[i];
        for (size_t k = i + 1; k < request->count; k++) {
            const eum_range *b = &request->ranges[k];
            bool both_read = request->accesses[i] == EUM_ACCESS_READ && request->accesses[k] == EUM_ACCESS_READ;
            if (a->buf != b->buf || both_read || a->offset >= b->offset + b->bytes || b->offset >= a->offset + a->bytes ||
                a->bytes == 0 || b->bytes == 0)
                continue;
            if (request->names != NULL)
                return eum_fail(EUM_ERROR_OVERLAP, "%s and %s overlap, and %s is written; use views that do not", request->names[i],
                                request->names[k], request->names[k]);
            return eum_fail(EUM_ERROR_OVERLAP, "arguments %zu and %zu overlap and one of them is written; use views that do not", i,
                            k);
        }
    }
    return EUM_OK;
}

eum_status eum_launch_check_state(const eum_strm *stream, const eum_launch_request *request)
{
    const eum_ctx *ctx = stream->ctx;
    for (size_t i = 0; i < request->count; i++) {
        eum_buf *buf = request->ranges[i].buf;
        if (buf->given_up)
            return eum_fail(EUM_ERROR_INVALID_HANDLE,
                            "argument %zu is a buffer whose memory was given up by eum_buffer_into_raw; wrap the raw address", i);
        const eum_range *range = &request->ranges[i];
        bool continues = request->rows != NULL && request->rows->continues; /* if what was before it has failed, so does its job */
        eum_status status = continues ? eum_buf_check_mapped(buf, range->offset, range->bytes, request->accesses[i])
                                      : eum_buf_check_access(buf, range->offset, range->bytes, request->accesses[i]);
        if (status != EUM_OK)
            return status;
    }
    uint32_t maps = ctx->device->caps.concurrent_managed ? 0 : eum_budget_maps(ctx->budget);
    if (maps > 0)
        return eum_fail(EUM_ERROR_MAPPED,
                        "device \"%s\" has no concurrent managed access, and %u maps of managed memory are alive; unmap them "
                        "before launching",
                        ctx->device->caps.name, maps);
    return EUM_OK;
}

/* ------------------------------------------------------------------------------------------------------- launch ---- */

eum_location eum_launch_location(const eum_ctx *ctx)
{
    return ctx->device->caps.kind == EUM_DEVICE_HOST ? EUM_LOCATION_HOST : ctx->device->caps.index;
}

eum_status eum_launch_settle(eum_strm *stream, const eum_launch_request *request, eum_move *moves)
{
    eum_ctx *ctx = stream->ctx;
    for (;;) {
        eum_point point;
        for (size_t i = 0; i < request->count; i++)
            eum_move_init(&moves[i], request->ranges[i].buf, request->ranges[i].offset, request->ranges[i].bytes,
                          request->accesses[i], eum_launch_location(ctx));
        eum_moves_weigh(moves, request->count, request->once);
        eum_moves_share_pages(moves, request->count);
        eum_status status = eum_launch_check_state(stream, request);
        bool waited = false;
        if (status == EUM_OK)
            status = eum_moves_make_room(moves, request->count, &waited);
        if (status != EUM_OK)
            return status;
        if (waited)
            continue;
        if (!eum_moves_must_wait(moves, request->count, stream, &point))
            return EUM_OK;
        status = eum_check_may_wait("eum_launch, which here must wait for an earlier job,");
        if (status != EUM_OK)
            return status;
        eum_ctx_unlock(ctx);
        status = eum_point_wait(ctx, point, -1);
        eum_ctx_relock(ctx);
        if (status != EUM_OK)
            return status;
    }
}

/* The submitted kernel has no point: the device refused the mark. Wait for everything, so that nothing is in flight unseen. */
static eum_status without_point(eum_ctx *ctx, eum_move *moves, eum_launch_record *written, eum_status status)
{
    status = eum_moves_quiesce(ctx, moves, written->count, status);
    if (status != EUM_OK)
        eum_launch_mark_written(written, true);
    return status;
}

static bool has_discards(const eum_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++)
        if (plan->steps[i].kind == EUM_STEP_DISCARD)
            return true;
    return false;
}

/* Submit failed: what the job was to write is undefined where need be. */
static void not_submitted(eum_ctx *ctx, const eum_launch_request *request, const eum_move *moves, eum_status status)
{
    eum_error saved;
    eum_error_save(&saved);
    eum_launch_record written = eum_launch_written_by(request);
    /* A GPU callback may have started something; what was discarded is gone in any case. */
    for (size_t i = 0; i < request->count; i++) {
        eum_launch_record one = {.count = 1, .ranges = &written.ranges[i], .accesses = &written.accesses[i]};
        if ((status == EUM_ERROR_LAUNCH_FAILED && ctx->device->caps.kind == EUM_DEVICE_CUDA) || has_discards(&moves[i].plan))
            eum_launch_mark_written(&one, true);
    }
    eum_again_forget(ctx);
    eum_error_restore(&saved);
}

/* To the device, which has the record from then on, if it does not fail. */
static eum_status give_to_device(eum_launch_record *record, const eum_launch_request *request, const eum_move *moves)
{
    eum_strm *stream = record->stream;
    eum_ctx *ctx = stream->ctx;
    hold(record);
    if (record->versioned > 0)
        record->version = record->ranges[record->versioned - 1].buf->version;
    /* Nothing may take the sequence before it is known: finish takes the lock, which we hold. On CUDA it runs inside submit. */
    record->sequence = stream->sequence + 1;
    ctx->submitting = ctx->device->caps.kind == EUM_DEVICE_CUDA;
    eum_status status = ctx->device->ops->submit(stream->device_stream, &record->task);
    ctx->submitting = false;
    if (status == EUM_OK)
        return EUM_OK;
    let_go(record);
    record_free(record);
    not_submitted(ctx, request, moves, status);
    return status;
}

static void finish_nothing(eum_task *task, eum_status status, int32_t code)
{
    (void)task, (void)status, (void)code;
}

/* What the device is given, on CUDA, where it needs that no more when submit returns: there is no record to keep. */
static eum_task task_of(const eum_launch_request *request, eum_again_launch *launch)
{
    eum_task task = {.gpu = request->gpu, .accesses = launch->accesses, .own = request->anywhere, .finish = finish_nothing};
    task.call = (eum_kernel_call){.struct_size = sizeof(eum_kernel_call),
                                  .count = request->count,
                                  .addresses = launch->addresses,
                                  .bytes = launch->bytes,
                                  .params = request->params_bytes > 0 ? request->params : NULL,
                                  .params_bytes = request->params_bytes,
                                  .user = request->user};
    return task;
}

/* So that the device knows it when it is made again. Not where others may enqueue on the stream. */
static void tell_what_was_given(eum_task *task, const eum_strm *stream, const eum_launch_request *request, const eum_call_key *key)
{
    if (key == NULL || request->node == NULL || !task->own || !stream->ctx->graphs || !eum_again_shares(stream))
        return;
    task->given = key->given;
    task->given_bytes = key->bytes;
    task->given_kind = key->kind;
    task->node = request->node;
}

static eum_status submit(eum_launch_record *record, const eum_launch_request *request, eum_move *moves, eum_job *out)
{
    eum_strm *stream = record->stream;
    eum_ctx *ctx = stream->ctx;
    set_addresses(record, moves);
    bool settled = request->count > 0 && moves[0].settled;
    eum_again_launch *known = settled ? eum_again_prepare(stream, request, moves, record->addresses) : NULL;
    record->task.unmarked = known != NULL && eum_again_shares(stream);
    tell_what_was_given(&record->task, stream, request, request->key);
    eum_status status = give_to_device(record, request, moves);
    if (status != EUM_OK)
        return status;
    if (known != NULL) {
        known->task = task_of(&known->request, known); /* for an operation's repeats */
        tell_what_was_given(&known->task, stream, &known->request, &(eum_call_key){known->kind, known->key_bytes, known->key});
        eum_again_made(stream, known, ctx->device->caps.kind == EUM_DEVICE_CUDA ? NULL : &record->sequence);
        *out = (eum_job){NULL, stream->serial, stream->promised};
        return EUM_OK;
    }
    eum_point point;
    eum_error before;
    eum_error_save(&before);
    eum_status marked = eum_strm_mark(stream, &point);
    if (marked != EUM_OK)
        point = (eum_point){0, 0}; /* a job that is done, which it will be on return */
    if (ctx->device->caps.kind != EUM_DEVICE_CUDA)
        record->sequence = point.sequence;
    for (size_t i = 0; i < request->count; i++)
        moves[i].defines_later = ctx->device->caps.kind != EUM_DEVICE_CUDA; /* `finish` says whether it did */
    eum_moves_commit(moves, request->count, point, true);
    bool counts = request->rows == NULL || !request->rows->continues; /* all of them are one launch */
    for (size_t i = 0; i < request->count && counts; i++) {
        eum_move_judge(&moves[i], 1);
        request->ranges[i].buf->launches++;
    }
    ctx->stats.launches += counts;
    if (marked != EUM_OK) {
        eum_launch_record written = eum_launch_written_by(request);
        status = without_point(ctx, moves, &written, marked);
        if (status != EUM_OK)
            return status;
        eum_error_restore(&before);
    }
    *out = (eum_job){NULL, point.stream, point.sequence};
    return EUM_OK;
}

/* ------------------------------------------------------------------------------------------------- launch again --- */

static eum_status submit_known(eum_strm *stream, eum_task *task, const eum_again_launch *launch)
{
    eum_ctx *ctx = stream->ctx;
    task->unmarked = eum_again_shares(stream);
    if (!task->unmarked)
        task->given = NULL; /* others may enqueue on the stream since */
    ctx->submitting = true;
    eum_status status = ctx->device->ops->submit(stream->device_stream, task);
    ctx->submitting = false;
    ctx->stats.graph_launches += status == EUM_OK && task->as_graph;
    if (status != EUM_OK)
        not_submitted(ctx, &launch->request, launch->moves, status);
    return status;
}

/* *out_record: stays until the lock is released. */
static eum_status submit_record(eum_strm *stream, const eum_launch_request *request, eum_again_launch *launch,
                                eum_launch_record **out_record)
{
    eum_launch_record *record = record_create(stream, request, NULL, 0);
    if (record == NULL)
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory for a launch; free some host memory");
    for (size_t i = 0; i < request->count; i++)
        record->addresses[i] = launch->addresses[i];
    *out_record = record;
    return give_to_device(record, request, launch->moves);
}

/* Since it was looked at, somebody has used bytes of a buffer. Would the long way find it settled again, at the same addresses? */
static bool is_settled_still(const eum_strm *stream, eum_again_launch *launch)
{
    eum_move moves[EUM_AGAIN_ARGUMENTS];
    const eum_again *again = stream->ctx->again;
    uint64_t epoch = again->epoch;
    eum_again_record(stream->ctx); /* what others have learned since */
    bool same = again->epoch == epoch && !again->pending && !launch->request.chosen &&
                eum_launch_is_settled(stream, &launch->request, moves);
    for (size_t i = 0; same && i < launch->request.count; i++)
        same = eum_move_address(&moves[i]) == launch->addresses[i];
    return same && eum_again_renew(stream->ctx, launch, moves);
}

/* config: the callbacks and params of this call; NULL: an operation, whose are known. */
static eum_status submit_again(eum_strm *stream, const eum_launch_config *config, eum_again_launch *launch,
                               eum_launch_record **out_record)
{
    bool cuda = stream->ctx->device->caps.kind == EUM_DEVICE_CUDA;
    if (config == NULL && cuda)
        return submit_known(stream, &launch->task, launch);
    if (config == NULL)
        return submit_record(stream, &launch->request, launch, out_record);
    eum_launch_request request = launch->request;
    request.gpu = config->gpu;
    request.cpu = config->cpu;
    request.user = config->user;
    request.params = config->params;
    request.params_bytes = config->params_bytes;
    if (!cuda)
        return submit_record(stream, &request, launch, out_record);
    eum_task task = task_of(&request, launch);
    return submit_known(stream, &task, launch);
}

bool eum_engine_again(eum_strm *stream, const eum_call_key *key, const eum_launch_config *config, eum_job *out,
                      eum_status *out_status)
{
    eum_ctx *ctx = stream->ctx;
    bool cuda = ctx->device->caps.kind == EUM_DEVICE_CUDA;
    pthread_mutex_lock(&ctx->lock);
    eum_again_launch *launch = eum_again_find(stream, key);
    if (launch != NULL && launch->doubts != ctx->again->doubts && !is_settled_still(stream, launch)) {
        launch->left = 0; /* its place is free */
        launch = NULL;
    }
    if (launch == NULL || (config != NULL && (cuda ? config->gpu : config->cpu) == NULL)) {
        pthread_mutex_unlock(&ctx->lock);
        return false;
    }
    if (config == NULL && (launch->times == 0 || ctx->again->over)) { /* it is timed if it is the only one */
        launch->run.start_ns = eum_now_ns();
        launch->run.alone = eum_strm_is_idle(stream);
    }
    EUM_TRACE_PUSH("engram_um: launch again", 0);
    eum_launch_record *record = NULL;
    *out_status = submit_again(stream, config, launch, &record);
    EUM_TRACE_POP();
    if (*out_status == EUM_OK) {
        eum_again_record_over(ctx);
        launch->runs += config == NULL;
        ctx->again->repeated++;
        eum_again_made(stream, launch, record != NULL ? &record->sequence : NULL);
        out->stream = stream->serial;
        out->sequence = stream->promised;
        if (ctx->again->unmarked) /* it would be timed with what came after it */
            eum_operations_forget(&ctx->operations, (eum_point){stream->serial, stream->promised});
    }
    eum_ctx_unlock(ctx);
    return true;
}

/* ------------------------------------------------------------------------------------------------------- launch ---- */

#define FEW 8
#define ROOM_BYTES 1024

eum_status eum_engine_launch(eum_strm *stream, const eum_launch_request *request, eum_job *out)
{
    eum_ctx *ctx = stream->ctx;
    eum_status status = eum_ctx_check_device(ctx, "eum_launch");
    if (status == EUM_OK)
        status = eum_launch_check_kernel(stream, request);
    if (status == EUM_OK)
        status = eum_launch_check(stream, request);
    if (status != EUM_OK)
        return status;
    eum_move few[FEW], *moves = few;
    if (request->count > FEW)
        moves = malloc(request->count * sizeof *moves);
    _Alignas(max_align_t) char room[ROOM_BYTES];
    eum_launch_record *record = record_create(stream, request, room, sizeof room);
    if (moves == NULL || record == NULL) {
        status = eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory for a launch; free some host memory");
        goto free_both;
    }
    status = eum_ctx_lock_to_look(ctx, "eum_launch");
    if (status != EUM_OK)
        goto free_both;
    if (ctx->graveyard != NULL)
        eum_ctx_reap(ctx);
    EUM_TRACE_PUSH("engram_um: launch", 0);
    if (!eum_launch_is_settled(stream, request, moves)) {
        eum_again_forget(ctx);
        status = eum_launch_settle(stream, request, moves);
        if (status == EUM_OK)
            status = eum_moves_run(moves, request->count, stream);
    }
    if (status == EUM_OK) {
        eum_job job = {NULL, 0, 0};
        status = submit(record, request, moves, &job);
        if (status == EUM_OK && out != NULL) {
            out->stream = job.stream;
            out->sequence = job.sequence;
        }
        record = NULL; /* the device's, or freed */
    }
    EUM_TRACE_POP();
    for (size_t i = 0; i < request->count; i++)
        eum_move_end(&moves[i]);
    eum_ctx_unlock(ctx);
free_both:
    record_free(record);
    if (moves != few)
        free(moves);
    return status;
}
