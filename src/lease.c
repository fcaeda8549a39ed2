/* lease: who has which range of a buffer, and may it be used now? See buffer.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>

#include "buffer.h"
#include "stream.h"

typedef struct open_writer {
    eum_ctx *ctx;
    bool found;
} open_writer;

static void look_at_writer(void *arg, eum_point point)
{
    open_writer *writer = arg;
    writer->found = writer->found || !eum_point_passed(writer->ctx, point);
}

/* Whether a CPU callback in flight may still write the bytes: then it defines them, or it does not. */
static bool is_being_written(const eum_buf *buf, size_t offset, size_t bytes)
{
    open_writer writer = {.ctx = buf->ctx};
    if (buf->ctx->device->caps.kind != EUM_DEVICE_CUDA) /* there failures are known when the launch returns */
        eum_hazards_writers(&buf->hazards, offset, offset + bytes, look_at_writer, &writer);
    return writer.found;
}

eum_status eum_buf_check_access(eum_buf *buf, size_t offset, size_t bytes, eum_access access)
{
    eum_status status = eum_buf_check_mapped(buf, offset, bytes, access);
    uint64_t where;
    if (status == EUM_OK && bytes > 0 && access != EUM_ACCESS_OVERWRITE &&
        eum_extents_any_flag(&buf->extents, offset, offset + bytes, EUM_EXTENT_UNDEFINED, &where) &&
        !is_being_written(buf, offset, bytes))
        status =
            eum_fail(EUM_ERROR_UNDEFINED_DATA,
                     "a job that was to write byte %" PRIu64 " failed, so what is there is undefined; write it again first", where);
    return status;
}

static bool is_ours(const eum_lease *lease)
{
    return lease->kept && eum_callback_depth == 0 && pthread_equal(lease->by, pthread_self());
}

eum_status eum_buf_check_mapped(eum_buf *buf, size_t offset, size_t bytes, eum_access access)
{
    if (access != EUM_ACCESS_READ && buf->read_only)
        return eum_fail(EUM_ERROR_READ_ONLY, "the buffer was wrapped with EUM_WRAP_READ_ONLY; only EUM_ACCESS_READ is possible");
    if (bytes == 0)
        return EUM_OK;
    for (size_t i = 0; i < buf->lease_count; i++) {
        const eum_lease *lease = &buf->leases[i];
        if (lease->begin >= offset + bytes || lease->end <= offset || lease->begin == lease->end ||
            (lease->access == EUM_ACCESS_READ && access == EUM_ACCESS_READ))
            continue;
        if (is_ours(lease))
            continue;
        if (lease->held) /* nobody can unmap or release that */
            return eum_fail(EUM_ERROR_MAPPED,
                            "another thread's call (eum_buffer_write, eum_buffer_read or one that maps, scores or has a "
                            "host_source) works on bytes %" PRIu64 " to %" PRIu64 "; let it return before using %zu to %zu",
                            lease->begin, lease->end, offset, offset + bytes);
        if (lease->external)
            return eum_fail(EUM_ERROR_MAPPED,
                            "bytes %" PRIu64 " to %" PRIu64 " are acquired for %s; call eum_stream_release before using %zu to %zu",
                            lease->begin, lease->end, lease->access == EUM_ACCESS_READ ? "reading" : "writing", offset,
                            offset + bytes);
        return eum_fail(EUM_ERROR_MAPPED,
                        "bytes %" PRIu64 " to %" PRIu64 " are mapped for %s; call eum_buffer_unmap before using %zu to %zu",
                        lease->begin, lease->end, lease->access == EUM_ACCESS_READ ? "reading" : "writing", offset, offset + bytes);
    }
    return EUM_OK;
}

eum_status eum_buf_reserve_lease(eum_buf *buf)
{
    if (buf->lease_count < buf->lease_capacity)
        return EUM_OK;
    uint32_t capacity = buf->lease_capacity * 2 + 1;
    eum_lease *leases = realloc(buf->leases, capacity * sizeof *leases);
    if (leases == NULL)
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory for a map; free some host memory");
    buf->leases = leases;
    buf->lease_capacity = capacity;
    return EUM_OK;
}

void eum_buf_remove_lease(eum_buf *buf, size_t index)
{
    for (size_t i = index + 1; i < buf->lease_count; i++)
        buf->leases[i - 1] = buf->leases[i];
    if (--buf->lease_count > 0)
        return;
    free(buf->leases); /* most buffers are not mapped most of the time */
    buf->leases = NULL;
    buf->lease_capacity = 0;
}

eum_status eum_buf_lease(eum_buf *buf, size_t offset, size_t bytes, eum_access access, uint64_t *out_id)
{
    eum_status status = eum_buf_reserve_lease(buf);
    if (status != EUM_OK)
        return status;
    *out_id = ++buf->lease_id;
    buf->acquired++;
    buf->leases[buf->lease_count++] =
        (eum_lease){.begin = offset, .end = offset + bytes, .access = access, .id = *out_id, .held = true, .external = true};
    return EUM_OK;
}

eum_status eum_buf_keep(eum_buf *buf, size_t offset, size_t bytes, eum_access access, uint64_t *out_id)
{
    eum_status status = eum_buf_lease(buf, offset, bytes, access, out_id);
    if (status != EUM_OK)
        return status;
    eum_lease *lease = &buf->leases[buf->lease_count - 1];
    lease->kept = true;
    lease->by = pthread_self();
    return EUM_OK;
}

bool eum_buf_is_acquired(const eum_buf *buf)
{
    for (size_t i = 0; i < buf->lease_count && buf->acquired > 0; i++)
        if (buf->leases[i].external && !buf->leases[i].kept)
            return true;
    return false;
}

void eum_buf_end_lease(eum_buf *buf, uint64_t id)
{
    for (size_t i = 0; i < buf->lease_count; i++) {
        if (buf->leases[i].id != id)
            continue;
        eum_buf_remove_lease(buf, i);
        buf->acquired--;
        return; /* else the buffer was destroyed meanwhile, and its leases with it */
    }
}
