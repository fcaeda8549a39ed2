/* launch: launches of the caller's own kernels in the C ABI.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "arguments.h"
#include "objects.h"
#include "structs.h"

#define MAX_ARGUMENTS 64      /* what fits comfortably on the stack here and in a kernel's parameter block there */
#define FEW_ARGUMENTS 4       /* launches of so many are recognized when they are made again */
#define MAX_PARAMS_BYTES 4096 /* CUDA's own limit for kernel parameters before 12.1 */

/* The arguments of one call: checked, and their buffers pinned. */
typedef struct pinned_arguments {
    eum_range ranges[MAX_ARGUMENTS];
    eum_access accesses[MAX_ARGUMENTS];
    const eum_buffer *buffers[MAX_ARGUMENTS];
    size_t count;
    uint64_t once; /* bit i: EUM_ARGUMENT_ONCE of argument i */
} pinned_arguments;

static eum_status check_arguments(const eum_argument *arguments, size_t count)
{
    if (count > MAX_ARGUMENTS)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT,
                        "argument_count is %zu, at most %d are possible; pass views of fewer, larger buffers", count,
                        MAX_ARGUMENTS);
    if (arguments == NULL && count > 0)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "arguments is NULL and argument_count is %zu; pass the arguments, or 0", count);
    return EUM_OK;
}

static bool has_source(const eum_launch_config *config)
{
    return ((uintptr_t)config->host_source | config->source_rows | config->source_row_bytes) != 0;
}

static eum_status check_source(const eum_launch_config *config)
{
    size_t bytes = 0;
    uintptr_t end = 0;
    if (config->source_row_bytes == 0)
        return eum_fail(
            EUM_ERROR_INVALID_ARGUMENT,
            "source_row_bytes is 0, with host_source %p and source_rows %llu; pass the bytes of a row, or none of the three",
            config->host_source, (unsigned long long)config->source_rows);
    if (config->host_source == NULL && config->source_rows > 0)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "host_source is NULL and source_rows is %llu; pass the rows, or 0",
                        (unsigned long long)config->source_rows);
    if (config->argument_count >= MAX_ARGUMENTS)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT,
                        "argument_count is %zu, at most %d are possible beside host_source; pass views of fewer, larger buffers",
                        config->argument_count, MAX_ARGUMENTS - 1);
    if (__builtin_mul_overflow(config->source_rows, config->source_row_bytes, &bytes) || bytes > PTRDIFF_MAX)
        return eum_fail(EUM_ERROR_SIZE_OVERFLOW,
                        "source_rows is %llu and source_row_bytes is %zu, which is more than any array has; check both",
                        (unsigned long long)config->source_rows, config->source_row_bytes);
    if (__builtin_add_overflow((uintptr_t)config->host_source, bytes, &end))
        return eum_fail(EUM_ERROR_SIZE_OVERFLOW,
                        "host_source is %p, and %zu bytes from there end beyond all memory; check source_rows and source_row_bytes",
                        config->host_source, bytes);
    return EUM_OK;
}

static eum_status check_config(const eum_launch_config *config)
{
    if (config->gpu == NULL && config->cpu == NULL)
        return eum_fail(EUM_ERROR_NO_KERNEL, "gpu and cpu are both NULL; pass the callback for the device of the stream, or both");
    eum_status status = check_arguments(config->arguments, config->argument_count);
    if (status != EUM_OK)
        return status;
    if (config->params_bytes > MAX_PARAMS_BYTES)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "params_bytes is %zu, at most %d are possible; pass larger values in a buffer",
                        config->params_bytes, MAX_PARAMS_BYTES);
    if (config->params == NULL && config->params_bytes > 0)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "params is NULL and params_bytes is %zu; pass the parameters, or 0",
                        config->params_bytes);
    return has_source(config) ? check_source(config) : EUM_OK;
}

/* Checks one argument and pins its buffer. On failure nothing is pinned, and the sentence says `what`. */
static eum_status take_argument(const char *what, const eum_argument *argument, const eum_strm *stream, eum_range *out)
{
    eum_status status = eum_check_access(argument->access);
    if (status == EUM_OK)
        status = eum_check_flags("flags", argument->flags, EUM_ARGUMENT_ONCE);
    if (status != EUM_OK)
        return eum_fail_about(what, status);
    status = eum_pin_view(what, argument->view, out);
    if (status != EUM_OK)
        return status;
    status = eum_check_same_context(what, out->buf, stream);
    if (status != EUM_OK)
        eum_handle_unpin(argument->view.buffer);
    return status;
}

static eum_call_key key_of(const eum_argument *few, size_t count)
{
    return (eum_call_key){0, count * sizeof *few, few};
}

static void unpin_arguments(pinned_arguments *pinned)
{
    while (pinned->count > 0)
        eum_handle_unpin(pinned->buffers[--pinned->count]);
}

/* On failure nothing is pinned. */
static eum_status pin_arguments(const eum_argument *arguments, size_t count, const eum_strm *stream, pinned_arguments *out)
{
    eum_status status = EUM_OK;
    out->once = 0;
    for (out->count = 0; status == EUM_OK && out->count < count;) {
        size_t i = out->count;
        eum_argument argument = arguments[i]; /* read once: what is unpinned is what was pinned */
        status = take_argument("an argument", &argument, stream, &out->ranges[i]);
        if (status != EUM_OK) { /* its number is only written where somebody reads it: that takes longer than all the checks */
            char what[32];
            snprintf(what, sizeof what, "argument %zu", i);
            status = take_argument(what, &argument, stream, &out->ranges[i]);
        }
        if (status != EUM_OK)
            break;
        out->accesses[i] = argument.access;
        out->once |= (uint64_t)((argument.flags & EUM_ARGUMENT_ONCE) != 0) << i;
        out->buffers[i] = argument.view.buffer;
        out->count++;
    }
    if (status != EUM_OK)
        unpin_arguments(out);
    return status;
}

/* The long way. key: NULL, or what to remember it by. */
static eum_status look_and_launch(eum_strm *stream, const eum_launch_config *config, const eum_call_key *key, eum_job *job)
{
    pinned_arguments pinned;
    eum_status status = pin_arguments(config->arguments, config->argument_count, stream, &pinned);
    if (status != EUM_OK)
        return status;
    const eum_launch_request request = {.gpu = config->gpu,
                                        .cpu = config->cpu,
                                        .ranges = pinned.ranges,
                                        .accesses = pinned.accesses,
                                        .count = pinned.count,
                                        .params = config->params,
                                        .params_bytes = config->params_bytes,
                                        .user = config->user,
                                        .once = pinned.once,
                                        .key = key};
    if (has_source(config)) {
        const eum_launch_source source = {config->host_source, config->source_rows, config->source_row_bytes};
        status = eum_engine_launch_source(stream, &request, &source, job);
    } else {
        status = eum_engine_launch(stream, &request, job);
    }
    unpin_arguments(&pinned);
    return status;
}

eum_status eum_launch(eum_stream *stream, const eum_launch_config *config, eum_job *out)
{
    eum_launch_config full;
    eum_stream_object *on = NULL;
    eum_job job = {NULL, 0, 0};
    eum_argument few[FEW_ARGUMENTS]; /* read once */
    eum_status status = eum_struct_take(&eum_launch_config_type, config, &full);
    if (status == EUM_OK)
        status = check_config(&full);
    if (status == EUM_OK)
        status = eum_pin_stream(stream, &on);
    if (status != EUM_OK)
        return status;
    bool known = full.argument_count <= FEW_ARGUMENTS && full.argument_count > 0 && !has_source(&full);
    if (known) {
        memcpy(few, full.arguments, full.argument_count * sizeof *few);
        full.arguments = few;
    }
    const eum_call_key key = key_of(few, full.argument_count);
    if (!known || !eum_engine_again(on->stream, &key, &full, &job, &status))
        status = look_and_launch(on->stream, &full, known ? &key : NULL, &job);
    if (status == EUM_OK && out != NULL)
        *out = (eum_job){on->context, job.stream, job.sequence};
    eum_handle_unpin(stream);
    return status;
}

eum_status eum_stream_acquire(eum_stream *stream, const eum_argument *arguments, size_t count, void **out_addresses)
{
    eum_stream_object *on = NULL;
    pinned_arguments pinned;
    eum_status status = check_arguments(arguments, count);
    if (status == EUM_OK && count > 0)
        status = eum_check_pointer("out_addresses", out_addresses);
    if (status == EUM_OK)
        status = eum_pin_stream(stream, &on);
    if (status != EUM_OK)
        return status;
    status = pin_arguments(arguments, count, on->stream, &pinned);
    if (status == EUM_OK) {
        status = eum_engine_acquire(on->stream, pinned.ranges, pinned.accesses, pinned.count, out_addresses);
        unpin_arguments(&pinned);
    }
    eum_handle_unpin(stream);
    return status;
}

eum_status eum_stream_release(eum_stream *stream, const eum_argument *arguments, size_t count, eum_job *out)
{
    eum_stream_object *on = NULL;
    pinned_arguments pinned;
    eum_job job = {NULL, 0, 0};
    eum_status status = check_arguments(arguments, count);
    if (status == EUM_OK)
        status = eum_pin_stream(stream, &on);
    if (status != EUM_OK)
        return status;
    status = pin_arguments(arguments, count, on->stream, &pinned);
    if (status == EUM_OK) {
        status = eum_engine_release(on->stream, pinned.ranges, pinned.accesses, pinned.count, &job);
        if (status == EUM_OK && out != NULL)
            *out = (eum_job){on->context, job.stream, job.sequence};
        unpin_arguments(&pinned);
    }
    eum_handle_unpin(stream);
    return status;
}
