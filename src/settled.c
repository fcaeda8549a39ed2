/* settled: see settled.h. Each condition stands for something that the long way would find; tests/unit/test_settled.c compares the two.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "settled.h"

/* Is the address that the long way would give the kernel known without making room? Mirrored: the host side's where that was chosen, or the device
 * copy's. Managed memory that was chosen to be used in place has to be looked at with its neighbours. */
static bool has_an_address(const eum_buf *buf, const eum_move *move)
{
    switch (buf->backing) {
    case EUM_BACKING_MIRRORED:
        return move->over_link || (move->use.where != EUM_LOCATION_HOST && buf->mirror.bytes != 0);
    case EUM_BACKING_MANAGED:
        return move->use.concurrent && buf->advised_role == buf->role && !move->use.stay;
    case EUM_BACKING_DEVICE: /* the library's own is made when it is needed */
        return buf->memory.bytes != 0;
    default:
        return true;
    }
}

/* Would it move the bytes, or change what is known of them? */
static bool bytes_are_there(const eum_buf *buf, const eum_use *use)
{
    bool one_place = buf->backing != EUM_BACKING_MIRRORED && buf->backing != EUM_BACKING_MANAGED;
    bool reads = use->access == EUM_ACCESS_READ, in_place = eum_use_in_place(use);
    eum_locations here = eum_at(use->where);
    uint32_t in_the_way = reads ? EUM_EXTENT_UNDEFINED | EUM_EXTENT_ASTRAY : ~0u; /* the others are about writes */
    uint64_t begin, end;
    eum_use_footprint(use, &begin, &end);
    for (size_t i = eum_extents_find(&buf->extents, begin); i < buf->extents.count && buf->extents.items[i].begin < end; i++) {
        const eum_extent *e = &buf->extents.items[i];
        bool nowhere = e->valid == 0 && buf->backing == EUM_BACKING_MIRRORED; /* never written: nothing would be copied */
        bool there = reads ? (e->valid & here) != 0 || nowhere : e->valid == here;
        if (in_place) /* managed */
            there = e->flags == 0 && ((reads && there) || (e->valid == EUM_AT_HOST && (e->accessed_by & here) != 0));
        if ((e->flags & in_the_way) != 0 || (!one_place && !there))
            return false;
    }
    return true;
}

static bool is_in_order(const eum_buf *buf, eum_access access, uint64_t stream)
{
    for (size_t i = 0; i < buf->hazards.count; i++) {
        const eum_hazard *h = &buf->hazards.items[i];
        bool both_read = h->kind == EUM_HAZARD_READ && access == EUM_ACCESS_READ;
        if (h->point.stream != stream && !both_read)
            return false;
    }
    return true;
}

/* Is everything in flight on the buffer on this stream? What others did and is done, such as the copy that brought the bytes, is forgotten, so
 * that it is not asked about again. */
static bool nobody_else_is_there(eum_buf *buf, eum_access access, const eum_strm *stream)
{
    if (is_in_order(buf, access, stream->serial))
        return true;
    eum_hazards_prune(&buf->hazards, eum_point_passed_in, stream->ctx);
    return is_in_order(buf, access, stream->serial);
}

/* hazards: what is to be recorded of the buffer. */
static bool use_is_settled(const eum_strm *stream, eum_move *move, size_t hazards)
{
    eum_buf *buf = move->buf;
    return buf->lease_count == 0 && nobody_else_is_there(buf, move->use.access, stream) && has_an_address(buf, move) &&
           bytes_are_there(buf, &move->use) && eum_hazards_reserve(&buf->hazards, hazards);
}

bool eum_move_is_settled(const eum_strm *stream, eum_move *move)
{
    return use_is_settled(stream, move, 1);
}

bool eum_launch_is_settled(const eum_strm *stream, const eum_launch_request *request, eum_move *moves)
{
    const eum_device_caps *caps = &stream->ctx->device->caps;
    eum_location where = eum_launch_location(stream->ctx);
    if (where != EUM_LOCATION_HOST && !caps->concurrent_managed)
        return false; /* maps of other buffers may matter */
    for (size_t i = 0; i < request->count; i++) {
        const eum_range *range = &request->ranges[i];
        eum_buf *buf = range->buf;
        eum_move *move = &moves[i];
        if (range->bytes == 0 || buf->given_up || (buf->read_only && request->accesses[i] != EUM_ACCESS_READ))
            return false;
        eum_move_init(move, buf, range->offset, range->bytes, request->accesses[i], where);
        eum_move_weigh(move, (request->once >> i & 1) != 0);
        if (!use_is_settled(stream, move, request->count))
            return false;
        move->settled = true;
    }
    for (size_t i = 0; i < request->count; i++) {
        eum_buf *buf = request->ranges[i].buf;
        if (buf->backing == EUM_BACKING_MIRRORED && !moves[i].over_link)
            eum_buf_touch_mirror(buf);
        bool in_place = moves[i].over_link || eum_use_in_place(&moves[i].use) ||
                        (where != EUM_LOCATION_HOST && buf->backing == EUM_BACKING_MAPPED);
        buf->last_bytes = 0;
        buf->last_movement = in_place ? EUM_MOVEMENT_IN_PLACE : EUM_MOVEMENT_NONE;
    }
    return true;
}
