/* launch_undefined: what a job that failed was to write, and who reads it. See launch.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "launch.h"

void eum_launch_mark_written(const eum_launch_record *record, bool undefined)
{
    for (size_t i = 0; i < record->count; i++) {
        eum_buf *buf = record->ranges[i].buf;
        uint64_t begin = record->ranges[i].offset, end = begin + record->ranges[i].bytes;
        if (record->accesses[i] == EUM_ACCESS_READ || begin == end)
            continue;
        if (!undefined && !eum_extents_any_flag(&buf->extents, begin, end, EUM_EXTENT_UNDEFINED, NULL))
            continue;
        eum_extent_change change = EUM_EXTENT_CHANGE_NONE;
        if (undefined)
            change.flags_set = EUM_EXTENT_UNDEFINED;
        else
            change.flags_clear = EUM_EXTENT_UNDEFINED;
        if (eum_extents_reserve(&buf->extents, 1)) {
            eum_extents_change(&buf->extents, begin, end, &change);
        } else if (undefined) {
            for (size_t k = 0; k < buf->extents.count; k++)
                if (buf->extents.items[k].begin < end && buf->extents.items[k].end > begin)
                    buf->extents.items[k].flags |= EUM_EXTENT_UNDEFINED;
        }
    }
}

bool eum_launch_reads_undefined(const eum_launch_record *record)
{
    if (record->rows.continues) /* the first one has looked, and nobody else has had the bytes since */
        return record->rows.parts->failed && record->rows.parts->code == 0;
    for (size_t i = 0; i < record->count; i++) {
        const eum_range *range = &record->ranges[i];
        if (range->bytes > 0 && record->accesses[i] != EUM_ACCESS_OVERWRITE &&
            eum_extents_any_flag(&range->buf->extents, range->offset, range->offset + range->bytes, EUM_EXTENT_UNDEFINED, NULL))
            return true;
    }
    return false;
}

eum_launch_record eum_launch_written_by(const eum_launch_request *request)
{
    return (eum_launch_record){.count = request->count,
                               .ranges = (eum_range *)(uintptr_t)request->ranges,
                               .accesses = (eum_access *)(uintptr_t)request->accesses};
}

void eum_launch_leave_undefined(const eum_launch_request *request)
{
    eum_launch_record written = eum_launch_written_by(request);
    eum_launch_mark_written(&written, true);
}
