/* scoring_source: a similarity operation whose targets are in memory of the caller's. It becomes a borrowed buffer for the call: of
 * mapped memory where kernels had best read it in place, else of pageable memory, which passes through the device in chunks.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "scoring.h"

/* Kernels read 16 bytes at once where rows allow it, and the order of sums depends on that: elsewhere the bits would not be those of a buffer. */
#define WIDE 16

static bool is_read_in_place(const eum_ctx *ctx, const eum_scoring_request *request)
{
    const struct eum_device_ops *ops = ctx->device->ops;
    return eum_scoring_streams(request) && (uintptr_t)request->source % WIDE == 0 && ops->is_pinned != NULL &&
           request->targets.bytes > 0 && ops->is_pinned(ctx->device, request->source, request->targets.bytes);
}

eum_status eum_engine_scoring(eum_strm *stream, const eum_scoring_request *request, eum_job *out)
{
    if (request->source == NULL)
        return eum_scoring_run(stream, request, out);
    eum_ctx *ctx = stream->ctx;
    eum_status status = eum_check_may_wait("a similarity operation with host_targets");
    if (status == EUM_OK)
        status = eum_ctx_check_device(ctx, "a similarity operation with host_targets");
    if (status != EUM_OK)
        return status;
    eum_wrap_config config = EUM_WRAP_CONFIG_INIT;
    config.address = (void *)(uintptr_t)request->source;
    config.bytes = request->targets.bytes;
    config.memory = is_read_in_place(ctx, request) ? EUM_MEMORY_PINNED : EUM_MEMORY_HOST;
    config.flags = EUM_WRAP_READ_ONLY;
    eum_scoring_request wrapped = *request;
    status = eum_buf_wrap(ctx, &config, &wrapped.targets.buf);
    if (status != EUM_OK)
        return status;
    eum_job job = {NULL, 0, 0};
    status = eum_scoring_run(stream, &wrapped, &job);
    eum_error saved;
    eum_error_save(&saved);
    eum_buf_end(wrapped.targets.buf); /* waits for what may still read it */
    eum_error_restore(&saved);
    if (status == EUM_OK && out != NULL)
        *out = job;
    return status;
}
