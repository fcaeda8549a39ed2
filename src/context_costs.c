/* context_costs: the costs of a context: where they come from, what they are, what follows from them.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "break_even.h"
#include "context.h"
#include "figures.h"
#include "scoring.h"

/* -------------------------------------------------------------------------------------------------------- file ----- */

static eum_costs_device device_of(const eum_ctx *ctx)
{
    const eum_device_caps *caps = &ctx->device->caps;
    return eum_costs_device_of(caps->name, caps->compute_major, caps->compute_minor);
}

static eum_status not_read(const char *path, int error)
{
    return eum_fail(EUM_ERROR_SYSTEM,
                    "the costs in %s (EUM_COSTS) cannot be read: %s (errno %d); unset EUM_COSTS or name a file that can", path,
                    strerror(error), error);
}

/* At most the first `room` bytes: a longer file is a damaged one. */
static eum_status read_file(const char *path, char *text, size_t room, size_t *out_bytes)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return not_read(path, errno);
    size_t bytes = 0;
    ssize_t got = 1;
    while (bytes < room && got != 0) {
        got = read(file, text + bytes, room - bytes);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            int error = errno;
            close(file);
            return not_read(path, error);
        }
        bytes += (size_t)got;
    }
    close(file);
    *out_bytes = bytes;
    return EUM_OK;
}

static eum_status load_file(eum_ctx *ctx, const char *path)
{
    char text[2 * EUM_FIGURES_TEXT]; /* comments have room */
    size_t bytes = 0;
    eum_costs_device theirs, ours = device_of(ctx);
    eum_costs costs;
    eum_status status = read_file(path, text, sizeof text, &bytes);
    if (status == EUM_OK && bytes == sizeof text)
        status = eum_fail(
            EUM_ERROR_INVALID_ARGUMENT,
            "the costs in %s: such a file is never longer than %zu bytes; make it anew with engram-um calibrate --output FILE, or "
            "unset EUM_COSTS",
            path, sizeof text - 1);
    if (status == EUM_OK)
        status = eum_figures_parse(text, bytes, path, &theirs, &costs);
    if (status != EUM_OK)
        return status;
    bool moves = ctx->costs.link_mbps != 0, moved = costs.link_mbps != 0;
    if (!eum_costs_device_same(&theirs, &ours) || moves != moved) {
        eum_log_write(&ctx->log, EUM_LOG_WARN,
                      "the costs in %s (EUM_COSTS) are of \"%s\" (compute capability %" PRId32 ".%" PRId32
                      "), and this device is \"%s\" (%" PRId32 ".%" PRId32 "): defaults are used",
                      path, theirs.name, theirs.major, theirs.minor, ours.name, ours.major, ours.minor);
        return EUM_OK;
    }
    ctx->costs = costs;
    ctx->costs_source = EUM_COSTS_FILE;
    eum_learned_init(&ctx->learned, &costs, true, ctx->device->caps.kind == EUM_DEVICE_CUDA);
    return EUM_OK;
}

eum_status eum_ctx_load_costs(eum_ctx *ctx)
{
    ctx->costs = eum_figures_settled(&ctx->device->caps.costs);
    ctx->costs_source = EUM_COSTS_DEFAULT;
    eum_learned_init(&ctx->learned, &ctx->costs, false, ctx->device->caps.kind == EUM_DEVICE_CUDA);
    const char *path = getenv("EUM_COSTS");
    return path == NULL || path[0] == '\0' ? EUM_OK : load_file(ctx, path);
}

static bool write_all(int file, const char *text, size_t bytes)
{
    while (bytes > 0) {
        ssize_t written = write(file, text, bytes);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return false;
        text += written;
        bytes -= (size_t)written;
    }
    return true;
}

/* Through a file beside it, which takes its place when it is complete. */
static eum_status write_file(const char *path, const char *text, size_t bytes)
{
    size_t room = strlen(path) + 32;
    char *beside = malloc(room);
    if (beside == NULL)
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory for the name of a file; free some host memory");
    snprintf(beside, room, "%s.%ld.new", path, (long)getpid());
    int file = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    bool fine = file >= 0 && write_all(file, text, bytes) && fsync(file) == 0;
    int error = errno;
    if (file >= 0 && close(file) != 0 && fine) {
        fine = false;
        error = errno;
    }
    if (fine && rename(beside, path) != 0) {
        fine = false;
        error = errno;
    }
    if (!fine && file >= 0)
        unlink(beside);
    free(beside);
    return fine ? EUM_OK
                : eum_fail(EUM_ERROR_SYSTEM, "the costs cannot be written to %s: %s (errno %d); name a file that can be written",
                           path, strerror(error), error);
}

eum_status eum_ctx_save_costs(eum_ctx *ctx, const char *path)
{
    char text[EUM_FIGURES_TEXT];
    eum_status status = eum_ctx_lock(ctx, "eum_context_save_costs");
    if (status != EUM_OK)
        return status;
    eum_costs costs = ctx->costs;
    eum_ctx_unlock(ctx);
    eum_costs_device device = device_of(ctx);
    return write_file(path, text, eum_figures_text(&device, &costs, text));
}

/* ------------------------------------------------------------------------------------------------------- told ------ */

void eum_ctx_tell_costs(const eum_ctx *ctx, eum_costs_info *out)
{
    const eum_costs *costs = &ctx->costs;
    *out = (eum_costs_info){.struct_size = sizeof *out,
                            .source = ctx->costs_source,
                            .to_device_mbps = costs->link_mbps,
                            .to_host_mbps = costs->to_host_mbps,
                            .in_place_mbps = costs->in_place_mbps,
                            .memory_mbps = costs->memory_mbps,
                            .copy_ns = costs->copy_ns,
                            .prefetch_ns = costs->prefetch_ns,
                            .prefetch_unit_ns = costs->unit_ns,
                            .prefetch_unit_bytes = costs->unit_bytes,
                            .launch_ns = costs->launch_ns,
                            .macs_mhz = costs->macs_mhz,
                            .host_copy_mbps = costs->host_copy_mbps,
                            .host_copy_all_mbps = costs->host_copy_all_mbps,
                            .calibration_ns = ctx->calibration_ns,
                            .prefetch_batch_range_ns = costs->batch_range_ns,
                            .prefetch_batch_waits = costs->batch_waits};
}

eum_status eum_ctx_costs(eum_ctx *ctx, eum_costs_info *out)
{
    eum_status status = eum_ctx_lock(ctx, "eum_context_costs");
    if (status != EUM_OK)
        return status;
    eum_ctx_tell_costs(ctx, out);
    eum_ctx_unlock(ctx);
    return EUM_OK;
}

eum_status eum_ctx_break_even(eum_ctx *ctx, const eum_break_even_config *config, eum_break_even *out)
{
    uint64_t used;
    eum_break_even_question question = {.cpu = eum_cpu_costs_of(ctx->isa),
                                        .threads = eum_workers_count(ctx->workers),
                                        .streams = config->query_count <= EUM_STREAMED_QUERIES,
                                        .dim = config->dim,
                                        .element_bytes = config->element == EUM_ELEMENT_FLOAT32 ? 4 : 2,
                                        .queries = config->query_count};
    eum_budget_read(ctx->budget, &question.limit, &used);
    eum_status status = eum_ctx_lock(ctx, "eum_context_break_even");
    if (status != EUM_OK)
        return status;
    eum_costs costs = ctx->costs;
    eum_learned learned = ctx->learned;
    question.backing = eum_ctx_backing_question(ctx, EUM_BACKING_AUTO, 0);
    eum_ctx_unlock(ctx);
    question.backing.costs = &costs;
    question.learned = &learned;
    *out = (eum_break_even){.struct_size = sizeof *out,
                            .rows_cold = eum_break_even_rows(&question, false),
                            .rows_resident = eum_break_even_rows(&question, true)};
    if (config->rows == 0)
        return EUM_OK;
    eum_executor_answer cold = eum_break_even_ask(&question, config->rows, false, 0);
    eum_executor_answer resident = eum_break_even_ask(&question, config->rows, true, 0);
    bool host = ctx->device->caps.kind == EUM_DEVICE_HOST;
    out->uses = eum_break_even_uses(&question, config->rows);
    out->cpu_ns = cold.cpu_ns;
    out->device_cold_ns = host ? 0 : cold.device_ns;
    out->device_resident_ns = host ? 0 : resident.device_ns;
    return EUM_OK;
}
