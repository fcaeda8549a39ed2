/* stream: streams and jobs in the C ABI.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <stdlib.h>

#include "arguments.h"
#include "objects.h"
#include "structs.h"

static void finalize_stream(void *object)
{
    eum_stream_object *stream = object;
    eum_strm_end(stream->stream);
    free(stream);
}

/* What eum_stream_create and eum_stream_wrap have in common; config NULL: wrap cuda_stream. */
static eum_status make_stream(eum_context *context, const eum_stream_config *config, void *cuda_stream, eum_stream **out)
{
    eum_context_object *owner = NULL;
    void *handle = NULL;
    eum_stream_object *object = calloc(1, sizeof *object);
    if (object == NULL)
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory for a stream (%zu bytes); free some and try again", sizeof *object);
    eum_status status = eum_pin_context(context, &owner);
    if (status != EUM_OK)
        goto fail;
    status = eum_handle_reserve(EUM_HANDLE_STREAM, &handle);
    if (status == EUM_OK)
        status = config != NULL ? eum_strm_create(owner->ctx, config, &object->stream)
                                : eum_strm_wrap(owner->ctx, cuda_stream, &object->stream);
    if (status != EUM_OK)
        goto fail;
    object->context = context;
    eum_handle_publish(handle, object, finalize_stream);
    *out = handle;
    eum_handle_unpin(context);
    return EUM_OK;

fail:
    if (handle != NULL)
        eum_handle_cancel(handle);
    if (owner != NULL)
        eum_handle_unpin(context);
    free(object);
    return status;
}

eum_status eum_stream_create(eum_context *context, const eum_stream_config *config, eum_stream **out)
{
    eum_stream_config full;
    eum_status status = eum_check_pointer("out", out);
    if (status == EUM_OK)
        status = eum_struct_take(&eum_stream_config_type, config, &full);
    if (status == EUM_OK)
        status = eum_check_zero("eum_stream_config.device", full.device);
    if (status == EUM_OK)
        status = eum_check_flags("eum_stream_config.flags", full.flags, 0);
    return status == EUM_OK ? make_stream(context, &full, NULL, out) : status;
}

eum_status eum_stream_wrap(eum_context *context, void *cuda_stream, eum_stream **out)
{
    eum_status status = eum_check_pointer("out", out);
    return status == EUM_OK ? make_stream(context, NULL, cuda_stream, out) : status;
}

eum_status eum_stream_destroy(eum_stream *stream)
{
    if (stream == NULL)
        return EUM_OK;
    eum_stream_object *object = NULL;
    eum_status status = eum_pin_stream(stream, &object);
    if (status != EUM_OK)
        return status;
    if (object->owner != NULL)
        status = eum_fail(EUM_ERROR_INVALID_ARGUMENT,
                          "this is the default stream of a context, which ends with eum_context_destroy; destroy "
                          "only streams of eum_stream_create and eum_stream_wrap");
    else
        status = eum_handle_retire(stream, EUM_HANDLE_STREAM, false);
    eum_handle_unpin(stream);
    return status;
}

eum_status eum_stream_synchronize(eum_stream *stream)
{
    eum_stream_object *object = NULL;
    eum_status status = eum_check_may_wait("eum_stream_synchronize");
    if (status == EUM_OK)
        status = eum_pin_stream(stream, &object);
    if (status != EUM_OK)
        return status;
    status = eum_strm_synchronize(object->stream);
    eum_handle_unpin(stream);
    return status;
}

eum_status eum_stream_on_done(eum_stream *stream, eum_done_fn fn, void *user)
{
    eum_stream_object *object = NULL;
    if (fn == NULL)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "fn is NULL; pass the function to call");
    eum_status status = eum_pin_stream(stream, &object);
    if (status != EUM_OK)
        return status;
    status = eum_strm_on_done(object->stream, fn, user);
    eum_handle_unpin(stream);
    return status;
}

eum_status eum_stream_native(eum_stream *stream, void **out_cuda_stream)
{
    eum_stream_object *object = NULL;
    eum_status status = eum_check_pointer("out_cuda_stream", out_cuda_stream);
    if (status == EUM_OK)
        status = eum_pin_stream(stream, &object);
    if (status != EUM_OK)
        return status;
    status = eum_strm_native(object->stream, out_cuda_stream);
    eum_handle_unpin(stream);
    return status;
}

eum_status eum_job_cuda_event(eum_job job, void **out_cuda_event)
{
    eum_context_object *object = NULL;
    eum_status status = eum_check_pointer("out_cuda_event", out_cuda_event);
    if (status != EUM_OK)
        return status;
    status = eum_pin_context(job.context, &object);
    if (status != EUM_OK)
        return eum_fail_about("the job's context", status);
    status = eum_ctx_job_event(object->ctx, job.stream, job.sequence, out_cuda_event);
    eum_handle_unpin(job.context);
    return status;
}

eum_status eum_job_wait(eum_job job, int64_t timeout_ns)
{
    if (job.context == NULL && job.stream == 0 && job.sequence == 0)
        return EUM_OK;
    eum_context_object *object = NULL;
    eum_status status = timeout_ns == 0 ? EUM_OK : eum_check_may_wait("eum_job_wait with a timeout other than 0");
    if (status != EUM_OK)
        return status;
    status = eum_pin_context(job.context, &object);
    if (status != EUM_OK)
        return eum_fail_about("the job's context", status);
    status = eum_ctx_job_wait(object->ctx, job.stream, job.sequence, timeout_ns);
    eum_handle_unpin(job.context);
    return status;
}
