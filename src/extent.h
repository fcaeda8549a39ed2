/* extent: where the valid bytes of one buffer are, range by range. Pure: plain data, no device, no lock, no clock.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A set of extents covers [0, bytes) without gaps or overlaps, sorted, neighbours that say the same merged. */
#ifndef EUM_SRC_EXTENT_H
#define EUM_SRC_EXTENT_H

#include <stdbool.h>

#include "engram_um.h"

/* A set of locations: bit 0 is the host, bit n + 1 is device n. */
typedef uint64_t eum_locations;
#define EUM_AT_HOST ((eum_locations)1)
static inline eum_locations eum_at(eum_location where)
{
    return (eum_locations)1 << (where + 1);
}

#define EUM_EXTENT_UNDEFINED 1u   /* a job that wrote here failed */
#define EUM_EXTENT_READ_MOSTLY 2u /* managed: read-mostly advice is set, so that several locations may hold the bytes */
#define EUM_EXTENT_ASTRAY 4u      /* managed: there are bytes, but nobody knows where (wrapped, or just collapsed) */
#define EUM_EXTENT_STUCK 8u       /* managed: was read-mostly, and may still be mapped for reading only where it is */

typedef struct eum_extent {
    uint64_t begin, end;       /* bytes from the buffer's start */
    eum_locations valid;       /* locations that hold the bytes; 0 and not astray: never written, worthless */
    eum_locations accessed_by; /* managed: devices with accessed-by advice */
    uint32_t flags;
} eum_extent;

/* Most extents a set keeps before it gives up knowledge to stay small. */
#define EUM_EXTENTS_SOFT_CAP 256u

typedef struct eum_extents {
    eum_extent one; /* storage of the common case: a single extent */
    eum_extent *items;
    size_t count, capacity;
} eum_extents;

/* bytes may be 0: the set is then empty. */
void eum_extents_init(eum_extents *set, uint64_t bytes, eum_locations valid, uint32_t flags);
void eum_extents_free(eum_extents *set);

/* Makes room so that `changes` calls of eum_extents_change cannot fail. false: no memory, nothing changed. */
bool eum_extents_reserve(eum_extents *set, size_t changes);
/* The same for changes whose ends are known: `boundaries` is how many of them are none yet. */
bool eum_extents_reserve_boundaries(eum_extents *set, size_t boundaries);
/* 1 if a change that begins or ends at `offset` has to split an extent. */
size_t eum_extents_splits(const eum_extents *set, uint64_t offset);

/* Index of the extent that contains `offset` (< bytes). */
size_t eum_extents_find(const eum_extents *set, uint64_t offset);

typedef struct eum_extent_change {
    eum_locations valid_keep, valid_add;             /* valid = (valid & keep) | add */
    eum_locations accessed_by_keep, accessed_by_add; /* likewise */
    uint32_t flags_clear, flags_set;
} eum_extent_change;
#define EUM_KEEP_ALL (~(eum_locations)0)
#define EUM_EXTENT_CHANGE_NONE                                                                                                     \
    {                                                                                                                              \
        EUM_KEEP_ALL, 0, EUM_KEEP_ALL, 0, 0, 0                                                                                     \
    }

/* Applies the change to exactly [begin, end), splitting and merging as needed; end <= bytes; an empty range changes nothing. Room was
 * reserved. */
void eum_extents_change(eum_extents *set, uint64_t begin, uint64_t end, const eum_extent_change *change);

/* Does any byte of [begin, end) have one of the flags? *where (may be NULL) gets the first such byte. */
bool eum_extents_any_flag(const eum_extents *set, uint64_t begin, uint64_t end, uint32_t flags, uint64_t *where);
/* Bytes of [begin, end) that are valid at `where`. */
uint64_t eum_extents_bytes_at(const eum_extents *set, uint64_t begin, uint64_t end, eum_locations where);

#endif
