/* launch_source: a launch whose input is still in memory of the caller's. It streams through the device: the kernel works on one chunk of its rows
 * while the next one moves.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A chunk is an ordinary launch with one more argument, a staging buffer that the rows were written to. The first one has the arguments as they were
 * given. Those behind it keep what it has written: what it overwrites they read and write. From the first chunk to the last the call holds the
 * arguments, so nobody sees half of the results, and inputs are of one moment. */
#include "launch.h"

#include <stdlib.h>

#include "least.h"
#include "scoring_shape.h"
#include "stream.h"

/* The CPU fills one, another moves, and the kernel reads the third: with two, a chunk would take half of the sum of the three, which may be more than
 * the longest of them. */
#define STAGES 3

typedef struct passage {
    eum_strm *stream;
    const eum_launch_request *request;
    const eum_launch_source *source;
    size_t count; /* arguments of the caller's; those of a chunk are these and the stage: */
    eum_range *ranges;
    eum_access *accesses;
    uint64_t *leases; /* of the caller's */
    size_t kept;
    uint64_t rows, chunks; /* of a chunk, at most; and how many there are */
    size_t stage_bytes;
    bool roomy; /* the stages find room on the device beside the arguments */
    eum_buf *stages[STAGES];
    eum_launch_parts *parts;
    eum_job job; /* of the newest chunk */
    bool begun;  /* there is one */
} passage;

/* ---------------------------------------------------------------------------------------------------- resources ---- */

static eum_status no_memory(void)
{
    return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory for a launch with host_source; free some host memory");
}

static eum_status allocate(passage *p)
{
    p->count = p->request->count;
    p->ranges = calloc(p->count + 1, sizeof *p->ranges);
    p->accesses = calloc(p->count + 1, sizeof *p->accesses);
    p->leases = calloc(p->count + 1, sizeof *p->leases);
    p->parts = calloc(1, sizeof *p->parts);
    if (p->ranges == NULL || p->accesses == NULL || p->leases == NULL || p->parts == NULL)
        return no_memory();
    p->parts->references = 1;
    for (size_t i = 0; i < p->count; i++) {
        p->ranges[i] = p->request->ranges[i];
        p->accesses[i] = p->request->accesses[i];
    }
    p->accesses[p->count] = EUM_ACCESS_READ;
    return EUM_OK;
}

/* Device memory that stages may take: not what arguments will need for their device copies. Lock held. */
static uint64_t room(const passage *p)
{
    uint64_t left = eum_ctx_room(p->stream->ctx);
    for (size_t i = 0; i < p->count; i++) {
        const eum_buf *buf = p->ranges[i].buf;
        if (buf->backing == EUM_BACKING_MIRRORED && buf->mirror.bytes == 0)
            left -= eum_least(left, buf->bytes);
    }
    return left;
}

/* Lock held. */
static void choose_chunks(passage *p)
{
    const eum_launch_source *source = p->source;
    uint64_t left = room(p);
    p->rows = eum_chunk_rows_of(source->rows, source->row_bytes, left);
    p->chunks = source->rows / p->rows + (source->rows % p->rows != 0);
    p->stage_bytes = EUM_CHUNK_ALIGNMENT + (size_t)p->rows * source->row_bytes;
    p->roomy = left / eum_least(p->chunks, STAGES) >= p->stage_bytes;
}

/* What can be refused is refused here, before anything is written. */
static eum_status hold_arguments(passage *p)
{
    eum_ctx *ctx = p->stream->ctx;
    eum_status status = eum_ctx_lock(ctx, "eum_launch");
    if (status != EUM_OK)
        return status;
    status = eum_launch_check_state(p->stream, p->request);
    while (status == EUM_OK && p->kept < p->count) {
        const eum_range *range = &p->ranges[p->kept];
        eum_access access = p->accesses[p->kept];
        uint64_t *lease = &p->leases[p->kept];
        status = access == EUM_ACCESS_READ ? eum_buf_lease(range->buf, range->offset, range->bytes, access, lease)
                                           : eum_buf_keep(range->buf, range->offset, range->bytes, access, lease);
        p->kept += status == EUM_OK;
    }
    if (status == EUM_OK)
        choose_chunks(p);
    eum_ctx_unlock(ctx);
    return status;
}

static eum_status make_stages(passage *p)
{
    eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
    config.backing = EUM_BACKING_MIRRORED;
    eum_status status = EUM_OK;
    for (uint64_t i = 0; i < eum_least(p->chunks, STAGES) && status == EUM_OK; i++)
        status = eum_buf_create(p->stream->ctx, p->stage_bytes, &config, &p->stages[i]);
    return status;
}

static void clean_up(passage *p)
{
    eum_ctx *ctx = p->stream->ctx;
    for (int i = 0; i < STAGES; i++)
        if (p->stages[i] != NULL)
            eum_buf_end(p->stages[i]); /* freed when the last chunk has passed */
    eum_ctx_relock(ctx);
    while (p->kept-- > 0)
        eum_buf_end_lease(p->ranges[p->kept].buf, p->leases[p->kept]);
    if (p->parts != NULL)
        eum_launch_parts_drop(p->parts);
    eum_ctx_unlock(ctx);
    free(p->ranges);
    free(p->accesses);
    free(p->leases);
}

/* ------------------------------------------------------------------------------------------------------- chunks ---- */

static eum_status launch(passage *p, uint64_t first, uint64_t rows)
{
    const eum_launch_rows chunk = {.staged = true,
                                   .first = first,
                                   .count = rows,
                                   .parts = p->parts,
                                   .continues = p->begun,
                                   .last = first + rows == p->source->rows};
    eum_launch_request request = *p->request;
    request.ranges = p->ranges;
    request.accesses = p->accesses;
    request.count = p->count + 1;
    request.rows = &chunk;
    return eum_engine_launch(p->stream, &request, &p->job);
}

/* Rows [first, first + rows) through the stage, which waits for the kernel that reads it yet. They begin at the same place modulo the alignment as in
 * the caller's memory, so kernels find them aligned as they are there. */
static eum_status pass(passage *p, eum_buf *stage, uint64_t first, uint64_t rows)
{
    const char *from = (const char *)p->source->address + (size_t)first * p->source->row_bytes;
    eum_range *range = &p->ranges[p->count];
    *range = (eum_range){stage, (uintptr_t)from % EUM_CHUNK_ALIGNMENT, (size_t)rows * p->source->row_bytes};
    eum_status status = eum_buf_write(*range, from);
    if (status != EUM_OK)
        return status;
    /* The kernel's launch would move them on its own stream, behind the kernel before it; and does, or uses them over the link, where there is little
     * room: a prefetch would spill the arguments for it. */
    if (p->roomy)
        eum_buf_start_moving(*range, range->buf->ctx->device->caps.index);
    status = launch(p, first, rows);
    if (status != EUM_OK || p->begun)
        return status;
    p->begun = true;
    for (size_t i = 0; i < p->count; i++) /* it is overwritten by all chunks together */
        if (p->accesses[i] == EUM_ACCESS_OVERWRITE)
            p->accesses[i] = EUM_ACCESS_READ_WRITE;
    return EUM_OK;
}

/* Some chunks have written, or will, and the others never: what the launch was to write is undefined once they are done. */
static void leave_undefined(passage *p)
{
    eum_ctx *ctx = p->stream->ctx;
    (void)eum_point_wait(ctx, (eum_point){p->job.stream, p->job.sequence}, -1);
    eum_ctx_relock(ctx);
    eum_launch_leave_undefined(p->request);
    eum_ctx_unlock(ctx);
}

static eum_status in_chunks(passage *p)
{
    eum_status status = allocate(p);
    if (status == EUM_OK)
        status = hold_arguments(p);
    if (status == EUM_OK)
        status = make_stages(p);
    uint64_t n = 0;
    for (uint64_t first = 0; first < p->source->rows && status == EUM_OK; first += p->rows, n++)
        status = pass(p, p->stages[n % STAGES], first, eum_least(p->rows, p->source->rows - first));
    eum_error saved;
    eum_error_save(&saved);
    if (status != EUM_OK && p->begun)
        leave_undefined(p);
    clean_up(p);
    eum_error_restore(&saved);
    return status;
}

eum_status eum_engine_launch_source(eum_strm *stream, const eum_launch_request *request, const eum_launch_source *source,
                                    eum_job *out)
{
    eum_status status = eum_check_may_wait("eum_launch with host_source");
    if (status == EUM_OK)
        status = eum_launch_check_kernel(stream, request);
    if (status == EUM_OK)
        status = eum_launch_check(stream, request);
    if (status != EUM_OK)
        return status;
    if (stream->ctx->device->caps.kind == EUM_DEVICE_HOST ||
        source->rows == 0) { /* the kernel has the caller's memory itself, or needs none */
        const eum_launch_rows all = {.address = source->rows > 0 ? source->address : NULL, .count = source->rows};
        eum_launch_request whole = *request;
        whole.rows = &all;
        return eum_engine_launch(stream, &whole, out);
    }
    passage p = {.stream = stream, .request = request, .source = source};
    status = in_chunks(&p);
    if (status == EUM_OK && out != NULL)
        *out = p.job;
    return status;
}
