/* again: see again.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "again.h"

#include <string.h>

/* ------------------------------------------------------------------------------------------------------ remember --- */

/* How often the uses can be made, this time included, before the choice to make them in place has to be made anew. */
static uint32_t repeats_of(const eum_move *moves, size_t count)
{
    uint64_t most = EUM_AGAIN_MOST;
    for (size_t i = 0; i < count; i++) {
        const eum_move *move = &moves[i];
        if (!move->weighed || !move->answer.stays || move->answer.in_place_ns == 0)
            continue;
        uint64_t spent = move->buf->stay.spent_ns, limit = move->answer.move_ns;
        uint64_t more = spent < limit ? (limit - spent) / move->answer.in_place_ns : 0;
        most = more < most ? more : most;
    }
    return (uint32_t)most;
}

/* Each argument of each launch has at most one hazard; one of a range replaces the one before it. */
static bool reserve_hazards(eum_again *again, const eum_launch_request *request)
{
    for (size_t i = 0; i < request->count; i++) {
        eum_buf *buf = request->ranges[i].buf;
        size_t uses = request->count;
        for (uint32_t k = 0; k < again->count; k++)
            for (size_t j = 0; j < again->launches[k].request.count; j++)
                uses += again->launches[k].ranges[j].buf == buf;
        if (!eum_hazards_reserve(&buf->hazards, uses))
            return false;
    }
    return true;
}

/* One whose repeats are used up, or a free place, or the oldest. */
static eum_again_launch *take_place(eum_again *again)
{
    for (uint32_t i = 0; i < again->count; i++)
        if (again->launches[i].left == 0)
            return &again->launches[i];
    if (again->count < EUM_AGAIN_LAUNCHES)
        return &again->launches[again->count++];
    eum_again_launch *oldest = &again->launches[again->next];
    again->next = (again->next + 1) % EUM_AGAIN_LAUNCHES;
    return oldest;
}

static void keep(eum_again_launch *launch, const eum_launch_request *request, const eum_move *moves, void *const *addresses)
{
    launch->kind = request->key->kind;
    launch->key_bytes = request->key->bytes;
    memcpy(launch->key, request->key->given, request->key->bytes);
    launch->request = *request;
    launch->request.ranges = launch->ranges;
    launch->request.accesses = launch->accesses;
    launch->request.params = launch->params;
    launch->request.key = NULL;
    launch->request.run = NULL;
    for (size_t i = 0; i < request->count; i++) {
        launch->ranges[i] = request->ranges[i];
        launch->accesses[i] = request->accesses[i];
        launch->bytes[i] = request->ranges[i].bytes;
        launch->addresses[i] = addresses[i];
        launch->moves[i] = moves[i];
        eum_plan_init(&launch->moves[i].plan);
    }
    if (request->run != NULL) {
        launch->run = *request->run;
        memcpy(launch->params, request->params, request->params_bytes);
    }
    launch->times = launch->runs = 0;
}

bool eum_again_renew(eum_ctx *ctx, eum_again_launch *launch, const eum_move *moves)
{
    const size_t count = launch->request.count;
    launch->left = repeats_of(moves, count);
    if (launch->left == 0 || !reserve_hazards(ctx->again, &launch->request))
        return false;
    for (size_t i = 0; i < count; i++) {
        launch->moves[i] = moves[i];
        eum_plan_init(&launch->moves[i].plan);
    }
    launch->doubts = ctx->again->doubts;
    return true;
}

static bool may_be_kept(const eum_strm *stream, const eum_launch_request *request)
{
    return request->key != NULL && request->key->bytes <= EUM_CALL_KEY_BYTES && request->count <= EUM_AGAIN_ARGUMENTS &&
           (request->run == NULL || request->params_bytes <= EUM_AGAIN_PARAMS_BYTES) && !stream->ended && eum_callback_depth == 0;
}

eum_again_launch *eum_again_prepare(eum_strm *stream, const eum_launch_request *request, const eum_move *moves,
                                    void *const *addresses)
{
    eum_again *again = stream->ctx->again;
    bool kept = may_be_kept(stream, request);
    if (kept && again->stream != stream)
        eum_again_forget(stream->ctx);
    uint32_t left = repeats_of(moves, request->count);
    if (!kept || again->stopped || again->pending || left == 0 || !reserve_hazards(again, request)) {
        eum_again_doubt(stream->ctx); /* it is one more in flight, maybe on another stream, and takes room that was made for them */
        return NULL;
    }
    again->stream = stream;
    eum_again_launch *launch = take_place(again);
    keep(launch, request, moves, addresses);
    launch->left = left;
    launch->doubts = again->doubts;
    return launch;
}

/* ---------------------------------------------------------------------------------------------------------- find --- */

eum_again_launch *eum_again_find(const eum_strm *stream, const eum_call_key *key)
{
    const eum_ctx *ctx = stream->ctx;
    eum_again *again = ctx->again;
    if (again->stream != stream || again->stopped || ctx->submitting || eum_callback_depth > 0 ||
        ctx->graveyard != NULL) /* a launch lets ended buffers go */
        return NULL;
    for (uint32_t k = 0; k < again->count; k++) {
        eum_again_launch *launch = &again->launches[k];
        if (launch->left > 0 && launch->kind == key->kind && launch->key_bytes == key->bytes &&
            memcmp(launch->key, key->given, key->bytes) == 0)
            return launch;
    }
    return NULL;
}

bool eum_again_shares(const eum_strm *stream)
{
    return stream->ctx->device->ops->drain != NULL && !stream->wrapped && !stream->exposed;
}

eum_status eum_again_parse(const char *text, bool *out_graphs)
{
    bool never = text != NULL && strcmp(text, "never") == 0;
    if (!never && text != NULL && *text != '\0' && strcmp(text, "auto") != 0)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "EUM_GRAPHS is \"%s\"; use auto or never, or unset it", text);
    *out_graphs = !never;
    return EUM_OK;
}

/* -------------------------------------------------------------------------------------------------------- record --- */

static void record(eum_again_launch *launch, eum_ctx *ctx, eum_point point, bool alone)
{
    const size_t count = launch->request.count;
    uint32_t times = launch->times;
    if (times == 0)
        return;
    eum_moves_commit(launch->moves, count, point, true);
    for (size_t i = 0; i < count; i++) {
        eum_move *move = &launch->moves[i];
        if (move->buf->backing == EUM_BACKING_MIRRORED && !move->over_link)
            eum_buf_touch_mirror(move->buf);
        eum_move_was_weighed(move, times - 1);
        eum_move_judge(move, times);
        move->buf->launches += times;
    }
    ctx->stats.launches += times;
    if (launch->runs > 0)
        eum_operations_repeated(&ctx->operations, &launch->run, launch->runs, alone ? point : (eum_point){0, 0});
    launch->times = launch->runs = 0;
}

static void record_all(eum_ctx *ctx, eum_point point)
{
    eum_again *again = ctx->again;
    uint64_t times = 0;
    for (uint32_t k = 0; k < again->count; k++)
        times += again->launches[k].times;
    for (uint32_t k = 0; k < again->count; k++)
        record(&again->launches[k], ctx, point, times == 1);
    again->pending = again->unmarked = again->over = false;
}

void eum_again_made(eum_strm *stream, eum_again_launch *launch, uint64_t *out_sequence)
{
    eum_ctx *ctx = stream->ctx;
    eum_again *again = ctx->again;
    launch->times++;
    launch->left--;
    again->pending = again->unmarked = true;
    again->made++;
    stream->promised = stream->sequence + 1;
    if (eum_again_shares(stream))
        return;
    for (size_t i = 0; i < launch->request.count; i++) /* what comes next may ask, and its record comes later */
        launch->ranges[i].buf->version += launch->accesses[i] != EUM_ACCESS_READ;
    eum_error before;
    eum_error_save(&before);
    eum_point point;
    if (eum_strm_mark(stream, &point) == EUM_OK) {
        again->unmarked = false;
        stream->promised = point.sequence;
        if (out_sequence != NULL)
            *out_sequence = point.sequence;
    } else {
        eum_again_record(ctx);
    }
    eum_error_restore(&before);
}

static void forget_all(eum_again *again)
{
    again->count = again->next = 0;
    again->stream = NULL;
    again->stopped = false;
    again->epoch++;
}

/* No point, but all work is over, or the device is lost. What follows finds nothing in flight. */
static void record_without_point(eum_ctx *ctx)
{
    eum_error saved;
    eum_error_save(&saved);
    uint64_t epoch = ctx->again->epoch;
    ctx->again->stopped = true; /* what has no point yet is all that there will be */
    pthread_mutex_unlock(&ctx->lock);
    (void)ctx->device->ops->synchronize(ctx->device);
    pthread_mutex_lock(&ctx->lock);
    eum_error_restore(&saved);
    if (ctx->again->epoch != epoch)
        return; /* somebody else has done it meanwhile */
    record_all(ctx, (eum_point){0, 0});
    forget_all(ctx->again);
}

bool eum_again_is_open(const eum_strm *stream)
{
    const eum_again *again = stream->ctx->again;
    return again->pending && again->unmarked && again->stream == stream;
}

void eum_again_is_over(eum_strm *stream, uint64_t made)
{
    eum_again *again = stream->ctx->again;
    if (!eum_again_is_open(stream) || again->made != made)
        return;
    eum_strm_mark_passed(stream);
    again->unmarked = false;
    again->over = true;
}

void eum_again_record_over(eum_ctx *ctx)
{
    if (ctx->again->over)
        record_all(ctx, (eum_point){0, 0});
}

static bool may_record(const eum_ctx *ctx)
{
    return !ctx->submitting && (eum_callback_depth == 0 || ctx->device->caps.kind != EUM_DEVICE_CUDA);
}

void eum_again_record(eum_ctx *ctx)
{
    eum_again *again = ctx->again;
    if (!again->pending || !may_record(ctx))
        return;
    eum_point point = {again->stream->serial, again->stream->sequence};
    eum_status status = EUM_OK;
    if (again->unmarked) {
        eum_error before;
        eum_error_save(&before);
        status = eum_strm_mark(again->stream, &point);
        eum_error_restore(&before);
    }
    if (status == EUM_OK)
        record_all(ctx, again->over ? (eum_point){0, 0} : point);
    else if (eum_callback_depth == 0)
        record_without_point(ctx);
    else /* the wait would be for ourselves: the next one records it */
        again->stopped = true;
}

void eum_again_doubt(eum_ctx *ctx)
{
    eum_again *again = ctx->again;
    eum_again_record(ctx);
    if (again->pending || again->stopped)
        eum_again_forget(ctx);
    else
        again->doubts++;
}

void eum_again_forget(eum_ctx *ctx)
{
    eum_again *again = ctx->again;
    if (may_record(ctx))
        eum_again_record(ctx);
    if (may_record(ctx) && !again->pending)
        forget_all(again);
    else
        again->stopped = true;
}
