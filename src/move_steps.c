/* move_steps: one step of a plan, as calls of the device; see move_parts.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "move_parts.h"
#include "trace.h"

static eum_status advise(eum_buf *buf, const eum_step *step, eum_advice advice, eum_location where)
{
    eum_ctx *ctx = buf->ctx;
    eum_status status = ctx->device->ops->advise(ctx->device, &buf->memory, step->begin, step->end - step->begin, advice, where);
    if (status == EUM_OK)
        ctx->stats.hints_applied++;
    else
        ctx->stats.hints_not_applied++;
    return status;
}

/* Copies collapse to the preferred location, or to the host where there is none. It must not be the writer's side: there the driver would leave
 * the pages mapped for reading only, each one's first write would fault, and a prefetch of what is there already does not help. */
static eum_status collapse(eum_buf *buf, const eum_step *step)
{
    eum_location device = buf->ctx->device->caps.index;
    bool to_device = step->where == EUM_LOCATION_HOST && !step->keeps_host;
    eum_location to = to_device ? device : EUM_LOCATION_HOST;
    bool steer = to_device || buf->preferred;
    eum_error saved;
    eum_error_save(&saved);
    if (steer)
        (void)advise(buf, step, EUM_ADVICE_PREFERRED_LOCATION, to);
    eum_error_restore(&saved);
    eum_status status = advise(buf, step, EUM_ADVICE_UNSET_READ_MOSTLY, step->where);
    eum_error_save(&saved);
    if (steer && buf->has_preference)
        (void)advise(buf, step, EUM_ADVICE_PREFERRED_LOCATION, buf->prefers);
    else if (steer)
        (void)advise(buf, step, EUM_ADVICE_UNSET_PREFERRED_LOCATION, to);
    eum_error_restore(&saved);
    return status;
}

static eum_status submit_step(eum_buf *buf, const eum_step *step, eum_strm *stream)
{
    const struct eum_device_ops *ops = buf->ctx->device->ops;
    eum_dstream *queue = stream->device_stream;
    size_t bytes = step->end - step->begin;
    eum_status status;
    switch (step->kind) {
    case EUM_STEP_UNSET_READ_MOSTLY:
        return collapse(buf, step);
    case EUM_STEP_SET_READ_MOSTLY:
        return advise(buf, step, EUM_ADVICE_READ_MOSTLY, step->where);
    case EUM_STEP_IN_PLACE:
        status = advise(buf, step, EUM_ADVICE_PREFERRED_LOCATION, EUM_LOCATION_HOST);
        return status != EUM_OK ? status : advise(buf, step, EUM_ADVICE_ACCESSED_BY, step->where);
    case EUM_STEP_DISCARD:
        return ops->discard(queue, &buf->memory, step->begin, bytes);
    case EUM_STEP_BOUNCE:
    case EUM_STEP_PREFETCH:
        return ops->prefetch(queue, &buf->memory, step->begin, bytes, step->where);
    case EUM_STEP_COPY: {
        char *host = eum_buf_address(buf, step->begin, EUM_LOCATION_HOST), *device = eum_buf_address(buf, step->begin, step->where);
        return step->to_host ? ops->copy(queue, host, device, bytes, EUM_DEVICE_TO_HOST)
                             : ops->copy(queue, device, host, bytes, EUM_HOST_TO_DEVICE);
    }
    }
    return EUM_OK;
}

static void account(eum_buf *buf, const eum_step *step)
{
    eum_stats *stats = &buf->ctx->stats;
    if (step->moving == 0)
        return;
    bool to_host = step->kind == EUM_STEP_COPY ? step->to_host : step->where == EUM_LOCATION_HOST;
    if (to_host) {
        stats->bytes_to_host += step->moving;
        stats->moves_to_host++;
        buf->bytes_to_host += step->moving;
    } else {
        stats->bytes_to_device += step->moving;
        stats->moves_to_device++;
        buf->bytes_to_device += step->moving;
    }
    buf->last_bytes += step->moving;
    if (step->kind == EUM_STEP_COPY)
        eum_faults_copied(buf, step->moving, to_host);
}

/* A step that failed. Advice is a hint, and so is a prefetch of what was just discarded: without it the bytes are right all the same, and the
 * kernel takes faults, which is said. Everything else stops the operation. */
static eum_status forgive(eum_buf *buf, const eum_step *step, eum_status status)
{
    bool hint = step->kind == EUM_STEP_SET_READ_MOSTLY || step->kind == EUM_STEP_IN_PLACE ||
                step->kind == EUM_STEP_UNSET_READ_MOSTLY || step->kind == EUM_STEP_DISCARD || step->after_discard;
    if (!hint || status == EUM_ERROR_DEVICE_LOST)
        return status;
    eum_log_write(&buf->ctx->log, EUM_LOG_WARN, "a hint was not applied (%s): the next launch may take page faults",
                  eum_status_name(status));
    return EUM_OK;
}

void eum_step_did(eum_buf *buf, const eum_step *step)
{
    eum_extent_change change = eum_step_change(step);
    eum_extents_change(&buf->extents, step->begin, step->end, &change);
    account(buf, step);
}

#if EUM_NVTX
static const char *const step_names[EUM_STEP_KINDS] = {
    "engram_um: unset read-mostly", "engram_um: set read-mostly", "engram_um: discard", "engram_um: bounce",
    "engram_um: prefetch",          "engram_um: in place",        "engram_um: copy",
};
#endif

eum_status eum_step_run(eum_buf *buf, eum_step *step, eum_strm *stream)
{
    eum_error saved;
    eum_error_save(&saved);
    EUM_TRACE_PUSH(step_names[step->kind], step->end - step->begin);
    eum_status status = submit_step(buf, step, stream);
    EUM_TRACE_POP();
    if (status != EUM_OK) {
        status = forgive(buf, step, status);
        if (status != EUM_OK)
            return status;
        eum_error_restore(&saved);
        if (step->kind != EUM_STEP_UNSET_READ_MOSTLY)
            return EUM_OK; /* not done: residency stays as it was; an unset that failed leaves the pages astray at worst */
    }
    eum_step_did(buf, step);
    return EUM_OK;
}

void eum_buf_advise_role(eum_buf *buf, const eum_use *use)
{
    if (buf->backing != EUM_BACKING_MANAGED || !use->concurrent || use->where == EUM_LOCATION_HOST ||
        buf->advised_role == buf->role)
        return;
    eum_error saved;
    eum_error_save(&saved);
    eum_step whole = {.begin = 0, .end = buf->bytes};
    if (buf->role == EUM_ROLE_TARGETS)
        (void)advise(buf, &whole, EUM_ADVICE_PREFERRED_LOCATION, use->where);
    else if (buf->advised_role == EUM_ROLE_TARGETS)
        (void)advise(buf, &whole, EUM_ADVICE_UNSET_PREFERRED_LOCATION, use->where);
    if (buf->role == EUM_ROLE_TARGETS || buf->advised_role == EUM_ROLE_TARGETS) {
        buf->preferred = true;
        buf->has_preference = buf->role == EUM_ROLE_TARGETS;
        buf->prefers = use->where;
    }
    buf->advised_role = buf->role;
    eum_error_restore(&saved);
}
