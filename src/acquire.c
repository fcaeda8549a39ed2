/* acquire: views in the hands of code that starts work outside eum_launch.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>

#include "launch.h"

/* What the address of an empty view is: never dereferenced, never NULL. */
static char nothing[64];

static eum_launch_request request_of(const eum_range *ranges, const eum_access *accesses, size_t count)
{
    return (eum_launch_request){.ranges = ranges, .accesses = accesses, .count = count};
}

static eum_status reserve_leases(const eum_range *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        eum_status status = eum_buf_reserve_lease(ranges[i].buf);
        if (status != EUM_OK)
            return status;
    }
    return EUM_OK;
}

/* Puts one lease on a range; several on one buffer may need room again. Lock held. */
static eum_status add_leases(const eum_range *ranges, const eum_access *accesses, size_t count, size_t *out_added)
{
    for (*out_added = 0; *out_added < count; (*out_added)++) {
        eum_buf *buf = ranges[*out_added].buf;
        eum_status status = eum_buf_reserve_lease(buf);
        if (status != EUM_OK)
            return status;
        uint64_t begin = ranges[*out_added].offset;
        buf->leases[buf->lease_count++] =
            (eum_lease){.begin = begin, .end = begin + ranges[*out_added].bytes, .access = accesses[*out_added], .external = true};
        buf->acquired++;
    }
    return EUM_OK;
}

static bool remove_external(const eum_range *range, eum_access access)
{
    eum_buf *buf = range->buf;
    for (size_t i = buf->lease_count; i-- > 0;) {
        const eum_lease *lease = &buf->leases[i];
        if (!lease->external || lease->held || lease->access != access || lease->begin != range->offset ||
            lease->end != range->offset + range->bytes)
            continue;
        eum_buf_remove_lease(buf, i);
        buf->acquired--;
        return true;
    }
    return false;
}

eum_status eum_engine_acquire(eum_strm *stream, const eum_range *ranges, const eum_access *accesses, size_t count,
                              void **out_addresses)
{
    eum_ctx *ctx = stream->ctx;
    eum_launch_request request = request_of(ranges, accesses, count);
    eum_status status = eum_ctx_check_device(ctx, "eum_stream_acquire");
    if (status == EUM_OK)
        status = eum_launch_check(stream, &request);
    if (status != EUM_OK || count == 0)
        return status;
    eum_move *moves = malloc(count * sizeof *moves);
    if (moves == NULL)
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory to acquire views; free some host memory");
    status = eum_ctx_lock(ctx, "eum_stream_acquire");
    if (status != EUM_OK) {
        free(moves);
        return status;
    }
    eum_point point;
    size_t added = 0;
    status = eum_launch_settle(stream, &request, moves);
    if (status == EUM_OK)
        status = reserve_leases(ranges, count);
    if (status == EUM_OK)
        status = eum_moves_run(moves, count, stream);
    if (status == EUM_OK) {
        status = eum_strm_mark(stream, &point);
        if (status == EUM_OK)
            eum_moves_commit(moves, count, point, true);
        for (size_t i = 0; i < count && status == EUM_OK; i++)
            eum_move_judge(&moves[i], 1);
        if (status == EUM_OK)
            status = add_leases(ranges, accesses, count, &added);
    }
    for (size_t i = 0; i < count; i++) {
        void *address = eum_move_address(&moves[i]);
        if (status == EUM_OK)
            out_addresses[i] = address != NULL ? address : nothing;
        else if (i < added)
            (void)remove_external(&ranges[i], accesses[i]);
        eum_move_end(&moves[i]);
    }
    eum_ctx_unlock(ctx);
    free(moves);
    return status;
}

/* Are all of them acquired? Takes their leases away to see, and puts them back if not. */
static eum_status take_all(const eum_range *ranges, const eum_access *accesses, size_t count)
{
    size_t taken = 0;
    while (taken < count && remove_external(&ranges[taken], accesses[taken]))
        taken++;
    if (taken == count)
        return EUM_OK;
    size_t added;
    (void)add_leases(ranges, accesses, taken, &added); /* there is room: they have just been taken away */
    return eum_fail(EUM_ERROR_NOT_MAPPED,
                    "argument %zu (bytes %zu to %zu) was not acquired with this access; release what was acquired", taken,
                    ranges[taken].offset, ranges[taken].offset + ranges[taken].bytes);
}

eum_status eum_engine_release(eum_strm *stream, const eum_range *ranges, const eum_access *accesses, size_t count, eum_job *out)
{
    eum_ctx *ctx = stream->ctx;
    eum_launch_request request = request_of(ranges, accesses, count);
    eum_status status = eum_ctx_check_device(ctx, "eum_stream_release");
    if (status == EUM_OK)
        status = eum_launch_check(stream, &request);
    if (status != EUM_OK)
        return status;
    status = eum_ctx_lock(ctx, "eum_stream_release");
    if (status != EUM_OK)
        return status;
    for (size_t i = 0; i < count && status == EUM_OK; i++)
        if (!eum_hazards_reserve(&ranges[i].buf->hazards, count))
            status = eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory to release views; free some host memory");
    eum_point point;
    if (status == EUM_OK)
        status = eum_strm_mark(stream, &point);
    if (status == EUM_OK)
        status = take_all(ranges, accesses, count);
    for (size_t i = 0; i < count && status == EUM_OK; i++)
        eum_hazards_add(&ranges[i].buf->hazards, ranges[i].offset, ranges[i].offset + ranges[i].bytes,
                        accesses[i] == EUM_ACCESS_READ ? EUM_HAZARD_READ : EUM_HAZARD_WRITE, point);
    if (status == EUM_OK && out != NULL) {
        out->stream = point.stream;
        out->sequence = point.sequence;
    }
    eum_ctx_unlock(ctx);
    return status;
}
