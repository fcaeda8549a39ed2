/* scoring: a similarity operation, from the request to a job or to results: where it runs, what happens if that fails, what is counted.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "scoring.h"

#include <inttypes.h>
#include <string.h>

#include "again.h"
#include "dispatch.h"
#include "move.h"
#include "threads.h"

/* ------------------------------------------------------------------------------------------------------- where ----- */

static uint64_t missing(const eum_ctx *ctx, const eum_range *range)
{
    if (range->buf->backing == EUM_BACKING_DEVICE)
        return 0;
    uint64_t begin = range->offset, end = begin + range->bytes;
    return range->bytes - eum_extents_bytes_at(&range->buf->extents, begin, end, eum_at(ctx->device->caps.index));
}

/* Bytes of a result whose pages the host must be given before it writes them. */
static uint64_t elsewhere(const eum_ctx *ctx, const eum_range *range)
{
    if (range->buf == NULL || range->buf->backing != EUM_BACKING_MANAGED || !ctx->device->caps.concurrent_managed)
        return 0;
    return range->bytes - eum_extents_bytes_at(&range->buf->extents, range->offset, range->offset + range->bytes, EUM_AT_HOST);
}

static bool is_reachable(const eum_buf *buf)
{
    return buf->backing != EUM_BACKING_MIRRORED || buf->memory.device != NULL;
}

/* Whether kernels may write results to the host's memory, which they do once. */
static bool takes_results(const eum_buf *buf)
{
    return buf == NULL || (is_reachable(buf) && (buf->role == EUM_ROLE_AUTO || eum_role_stays_on_host(buf->role)));
}

/* What is known of the targets: how kernels reach them. */
static void ask_targets(const eum_ctx *ctx, const eum_scoring_request *request, eum_executor_question *question)
{
    const eum_buf *buf = request->targets.buf;
    uint64_t limit, used;
    eum_budget_read(ctx->budget, &limit, &used);
    bool reachable = is_reachable(buf);
    bool too_large = buf->backing == EUM_BACKING_MIRRORED && buf->mirror.bytes == 0 && buf->bytes > limit;
    question->no_copy = too_large && !reachable;
    question->mapped = buf->backing == EUM_BACKING_MAPPED || buf->backing == EUM_BACKING_HOST || (too_large && reachable) ||
                       (buf->role == EUM_ROLE_STREAM && reachable);
    bool brief = eum_buf_is_brief(buf);
    bool weighed = brief || buf->role == EUM_ROLE_AUTO || (buf->role == EUM_ROLE_QUERY && buf->backing == EUM_BACKING_MIRRORED);
    question->in_place = weighed && eum_scoring_streams(request) && reachable;
    if (request->source != NULL && !question->mapped) { /* through staging memory, which is reachable */
        question->no_copy = true;
        question->in_place = eum_scoring_streams(request);
    }
    question->by_copies = buf->backing == EUM_BACKING_MIRRORED;
    question->reused = buf->role == EUM_ROLE_TARGETS && !brief;
    question->missing_targets = missing(ctx, &request->targets);
    question->over_link = question->by_copies ? request->targets.bytes : question->missing_targets;
    question->spent_ns = buf->stay.spent_ns;
    question->expected_ns = buf->stay.last_ns > buf->stay.used_ns ? buf->stay.last_ns - buf->stay.used_ns : 0;
}

static uint32_t class_of(const eum_scoring_request *request)
{
    uint64_t bytes = request->rows * request->dim * eum_scoring_element_bytes(request); /* those of a list, if there is one */
    return eum_learned_class(request->query_count, request->indices.buf != NULL, bytes);
}

/* What the request alone says. */
static eum_executor_question question_of(const eum_ctx *ctx, const eum_scoring_request *request)
{
    return (eum_executor_question){.asked = request->executor,
                                   .threads = eum_workers_free(ctx->workers),
                                   .costs = &ctx->costs,
                                   .cpu = eum_cpu_costs_of(ctx->isa),
                                   .queries = request->query_count,
                                   .rows = request->rows,
                                   .dim = request->dim,
                                   .k = request->indices.buf == NULL ? 0 : request->k,
                                   .element_bytes = eum_scoring_element_bytes(request),
                                   .results = request->scores.bytes + request->indices.bytes,
                                   .results_in_place = takes_results(request->scores.buf) && takes_results(request->indices.buf)};
}

static eum_executor_answer ask(const eum_ctx *ctx, const eum_scoring_request *request)
{
    eum_executor_question question = question_of(ctx, request);
    uint32_t class = class_of(request);
    question.cpu_times = eum_learned_times(&ctx->learned, EUM_LEARNED_CPU, class);
    question.device_times = eum_learned_times(&ctx->learned, EUM_LEARNED_DEVICE, class);
    question.in_place_times = eum_learned_times(&ctx->learned, EUM_LEARNED_IN_PLACE, class);
    question.missing_queries = missing(ctx, &request->queries);
    question.missing_results = elsewhere(ctx, &request->scores) + elsewhere(ctx, &request->indices);
    ask_targets(ctx, request, &question);
    return eum_choose_executor(&question);
}

static bool cpu_reaches(const eum_scoring_operands *all)
{
    for (size_t i = 0; i < all->count; i++)
        if (all->ranges[i].buf->backing == EUM_BACKING_DEVICE)
            return false;
    return eum_callback_depth == 0;
}

typedef struct any_open {
    eum_ctx *ctx;
    bool found;
} any_open;

static void note_open(void *arg, eum_point point)
{
    any_open *open = arg;
    open->found = open->found || !eum_point_passed(open->ctx, point);
}

/* Is the read ready, or is nothing in flight on the pages that will be written? */
static bool ready(eum_ctx *ctx, const eum_range *range, eum_access access)
{
    eum_move move;
    eum_move_init(&move, range->buf, range->offset, range->bytes, access, EUM_LOCATION_HOST);
    any_open open = {.ctx = ctx};
    if (access != EUM_ACCESS_READ) {
        uint64_t begin, end;
        eum_use_footprint(&move.use, &begin, &end);
        eum_hazards_conflicts(&range->buf->hazards, begin, end, EUM_HAZARD_MOVE, 0, note_open, &open);
    }
    bool idle = access != EUM_ACCESS_READ ? !open.found : eum_moves_idle(&move, 1);
    eum_move_end(&move);
    return idle;
}

/* Would the CPU have to wait for an operand, beyond having the pages of results brought? */
static bool must_wait(eum_ctx *ctx, const eum_scoring_operands *all)
{
    bool turns = !ctx->device->caps.concurrent_managed; /* a map of managed memory waits for the whole device */
    for (size_t i = 0; i < all->count; i++)
        if ((turns && all->ranges[i].buf->backing == EUM_BACKING_MANAGED) || !ready(ctx, &all->ranges[i], all->accesses[i]))
            return true;
    return false;
}

/* May AUTO give it to the CPU? A stream of the user's own may be capturing, or have work on it that the library does not know. */
static bool cpu_may(const eum_strm *stream, const eum_scoring_operands *all)
{
    return cpu_reaches(all) && !stream->wrapped;
}

/* Is anything in flight on an operand that the launch would wait for, on another stream? */
static bool others_are_there(const eum_strm *stream, const eum_scoring_request *request)
{
    eum_scoring_operands all = eum_scoring_operands_of(request);
    any_open open = {.ctx = stream->ctx};
    for (size_t i = 0; i < all.count; i++) {
        const eum_range *range = &all.ranges[i];
        eum_hazard_kind kind = all.accesses[i] == EUM_ACCESS_READ ? EUM_HAZARD_READ : EUM_HAZARD_MOVE;
        eum_hazards_conflicts(&range->buf->hazards, range->offset, range->offset + range->bytes, kind, stream->serial, note_open,
                              &open);
    }
    return open.found;
}

/* Decides, and fills in the run. Errors: EUM_ERROR_IN_CALLBACK. */
static eum_status decide(eum_strm *stream, const eum_scoring_request *request, eum_run *run, uint64_t *out_rent_ns)
{
    eum_ctx *ctx = stream->ctx;
    if (ctx->device->caps.kind == EUM_DEVICE_HOST) { /* nothing to choose, and no buffer's state to look at */
        eum_executor_question question = question_of(ctx, request);
        run->executor = EUM_EXECUTOR_CPU;
        run->predicted_ns[EUM_EXECUTOR_CPU] = eum_predict_cpu(&question);
        return EUM_OK;
    }
    eum_status status = eum_ctx_lock_to_look(ctx, "a similarity operation");
    if (status != EUM_OK)
        return status;
    eum_executor_answer answer = ask(ctx, request);
    run->executor = answer.executor;
    run->predicted_ns[EUM_EXECUTOR_CPU] = answer.cpu_ns;
    run->predicted_ns[EUM_EXECUTOR_DEVICE] = answer.device_ns;
    *out_rent_ns = answer.rent_ns;
    run->class = class_of(request);
    run->job_ns = answer.job_ns;
    run->moves = answer.moves || request->numbers != NULL; /* which are brought in a buffer of their own */
    run->over_link = answer.over_link;
    run->times = eum_learned_times(&ctx->learned, answer.over_link ? EUM_LEARNED_IN_PLACE : EUM_LEARNED_DEVICE, run->class);
    if (request->executor == EUM_EXECUTOR_AUTO) {
        eum_scoring_operands all = eum_scoring_operands_of(request);
        eum_error saved;
        eum_error_save(&saved);
        if (answer.executor == EUM_EXECUTOR_CPU && (!cpu_may(stream, &all) || must_wait(ctx, &all)))
            run->executor = EUM_EXECUTOR_DEVICE;
        eum_error_restore(&saved);
        if (run->executor == EUM_EXECUTOR_DEVICE && cpu_may(stream, &all) && eum_operations_resting(&ctx->operations)) {
            run->executor = EUM_EXECUTOR_CPU;
            run->fallback = true;
        }
    }
    if (ctx->learned.from_operations && run->executor == EUM_EXECUTOR_DEVICE)
        run->alone = eum_strm_is_idle(stream) && !others_are_there(stream, request);
    eum_ctx_unlock(ctx);
    return EUM_OK;
}

/* --------------------------------------------------------------------------------------------------------- run ----- */

/* Results that may have been written in part. Without memory to split extents, more is marked: never less. */
static void leave_undefined(eum_ctx *ctx, const eum_scoring_request *request)
{
    const eum_range results[2] = {request->scores, request->indices};
    eum_extent_change change = EUM_EXTENT_CHANGE_NONE;
    change.flags_set = EUM_EXTENT_UNDEFINED;
    eum_ctx_relock(ctx);
    for (int i = 0; i < 2; i++) {
        eum_buf *buf = results[i].buf;
        if (buf == NULL || results[i].bytes == 0)
            continue;
        bool room = eum_extents_reserve(&buf->extents, 1);
        uint64_t begin = room ? results[i].offset : 0, end = room ? begin + results[i].bytes : eum_buf_extent_bytes(buf);
        eum_extents_change(&buf->extents, begin, end, &change);
    }
    eum_ctx_unlock(ctx);
}

static eum_status finish(eum_ctx *ctx, const eum_scoring_request *request, eum_status status, bool begun)
{
    if (status == EUM_OK || !begun)
        return status;
    eum_error saved;
    eum_error_save(&saved);
    leave_undefined(ctx, request);
    eum_error_restore(&saved);
    return status;
}

static eum_status run_on_host(eum_ctx *ctx, const eum_scoring_request *request)
{
    bool begun = false;
    eum_status status = eum_scoring_on_host(ctx, request, &begun);
    return finish(ctx, request, status, begun);
}

static eum_status run_in_chunks(eum_strm *stream, const eum_scoring_request *request, eum_run *run)
{
    bool begun = false;
    eum_status status = eum_scoring_in_chunks(stream, request, &begun);
    run->chunked = status == EUM_OK;
    return finish(stream->ctx, request, status, begun);
}

/* Is it better to pass targets of the caller's through the device than to make a copy of all of them there, for this one use? */
static bool streams_source(const eum_scoring_request *request)
{
    return request->source != NULL && request->rows > 0 && request->targets.buf->backing == EUM_BACKING_MIRRORED;
}

static eum_status run_on_device(eum_strm *stream, const eum_scoring_request *request, eum_run *run, eum_job *job)
{
    if (streams_source(request))
        return run_in_chunks(stream, request, run);
    eum_error before;
    eum_error_save(&before);
    eum_status status = eum_scoring_launch(stream, request, run, job);
    if (status == EUM_OK && request->source != NULL) {
        status = eum_ctx_job_wait(stream->ctx, job->stream, job->sequence, -1);
        *job = (eum_job){NULL, 0, 0};
    }
    if (status == EUM_OK || !eum_scoring_may_chunk(request, status))
        return status;
    eum_error_restore(&before);
    return run_in_chunks(stream, request, run);
}

/* The device could not, and the CPU may be able to: the inputs are as they were. */
static bool repeatable(const eum_scoring_request *request, eum_status status)
{
    if (status == EUM_ERROR_OUT_OF_MEMORY && request->source != NULL)
        return true; /* for staging, which the CPU does without */
    return status == EUM_ERROR_LAUNCH_FAILED || status == EUM_ERROR_OUT_OF_DEVICE_MEMORY || status == EUM_ERROR_OVER_BUDGET ||
           status == EUM_ERROR_CUDA;
}

static eum_status fall_back(eum_strm *stream, const eum_scoring_request *request, eum_status failed, eum_run *run)
{
    eum_ctx *ctx = stream->ctx;
    eum_scoring_operands all = eum_scoring_operands_of(request);
    eum_error first;
    eum_error_save(&first);
    eum_ctx_relock(ctx);
    bool rests = eum_operations_device(&ctx->operations, true);
    eum_ctx_unlock(ctx);
    if (!cpu_may(stream, &all))
        return failed;
    eum_log_write(&ctx->log, EUM_LOG_WARN, "a similarity operation failed on the device (%s: %s): the CPU does it%s",
                  eum_status_name(failed), first.sentence, rests ? ", and the next ones too, while the device rests" : "");
    if (run_on_host(ctx, request) != EUM_OK) {
        eum_error_restore(&first);
        return failed;
    }
    run->executor = EUM_EXECUTOR_CPU;
    run->fallback = true;
    return EUM_OK;
}

/* What the CPU took longer than the device would is counted with the targets, as uses over the link are. Lock held. */
static void pay_rent(eum_ctx *ctx, const eum_scoring_request *request, uint64_t rent_ns)
{
    eum_buf *buf = request->targets.buf;
    eum_stay_question whole = {
        .costs = &ctx->costs, .bytes = buf->bytes, .by_copies = buf->backing == EUM_BACKING_MIRRORED, .over_link = buf->bytes};
    eum_stay_answer rent = {.stays = true, .in_place_ns = rent_ns};
    eum_stay_used(&buf->stay, &rent, &whole, 1);
}

/* From what the CPU did itself; the device's is seen by who waits for it (stream.c). Lock held. */
static void learn(eum_ctx *ctx, const eum_scoring_request *request, const eum_run *run, int64_t now_ns)
{
    uint32_t class = class_of(request);
    if (!ctx->learned.from_operations || request->tried != EUM_OK)
        return;
    if (run->executor == EUM_EXECUTOR_DEVICE) {
        eum_learned_idle(&ctx->learned, EUM_LEARNED_CPU, class);
        return;
    }
    if (!run->fallback && now_ns > run->start_ns)
        eum_learned_took(&ctx->learned, EUM_LEARNED_CPU, class, run->predicted_ns[EUM_EXECUTOR_CPU],
                         eum_learned_times(&ctx->learned, EUM_LEARNED_CPU, class), (uint64_t)(now_ns - run->start_ns));
    eum_learned_idle(&ctx->learned, EUM_LEARNED_DEVICE, class);
    eum_learned_idle(&ctx->learned, EUM_LEARNED_IN_PLACE, class);
}

/* Runs it, and counts. */
static eum_status run_it(eum_strm *stream, const eum_scoring_request *request, eum_job *job)
{
    eum_ctx *ctx = stream->ctx;
    eum_run run = {.operation = request->operation, .start_ns = eum_now_ns()};
    uint64_t rent_ns = 0;
    bool host = ctx->device->caps.kind == EUM_DEVICE_HOST;
    eum_status status = request->tried;
    if (status != EUM_OK) /* where it ran before */
        run.executor = host ? EUM_EXECUTOR_CPU : EUM_EXECUTOR_DEVICE;
    else
        status = decide(stream, request, &run, &rent_ns);
    bool launches = run.executor == EUM_EXECUTOR_DEVICE || (host && request->source == NULL);
    if (status == EUM_OK)
        status = launches ? run_on_device(stream, request, &run, job) : run_on_host(ctx, request);
    bool automatic = launches && request->executor == EUM_EXECUTOR_AUTO && !host;
    if (automatic && repeatable(request, status)) {
        status = fall_back(stream, request, status, &run);
        automatic = false;
    }
    if (status != EUM_OK)
        return status;
    int64_t now = job->sequence == 0 ? eum_now_ns() : 0; /* it is done: else its end is what counts */
    pthread_mutex_lock(&ctx->lock);
    eum_operations_started(&ctx->operations, &run, (eum_point){job->stream, job->sequence}, now);
    if (automatic)
        (void)eum_operations_device(&ctx->operations, false);
    learn(ctx, request, &run, now);
    if (!launches && request->source == NULL) {
        eum_again_forget(ctx);
        pay_rent(ctx, request, rent_ns);
    }
    eum_ctx_unlock(ctx);
    return EUM_OK;
}

eum_status eum_scoring_run(eum_strm *stream, const eum_scoring_request *request, eum_job *out)
{
    eum_job job = {NULL, 0, 0};
    eum_status status = EUM_OK;
    if (request->query_count > 0 && (request->rows > 0 || request->indices.buf != NULL)) {
        eum_error before; /* what fails on one way and goes well on another leaves no trace */
        eum_error_save(&before);
        status = run_it(stream, request, &job);
        if (status == EUM_OK)
            eum_error_restore(&before);
    }
    if (status == EUM_OK && out != NULL) {
        out->stream = job.stream;
        out->sequence = job.sequence;
    }
    return status;
}
