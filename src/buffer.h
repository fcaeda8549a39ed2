/* buffer: one range of bytes, its blocks, where they are valid, who uses them.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_SRC_BUFFER_H
#define EUM_SRC_BUFFER_H

#include "context.h"
#include "contradiction.h"
#include "extent.h"
#include "placement.h"
#include "stay.h"

/* A live map, the CPU's turn on a range; or a range that code outside eum_launch has acquired. */
typedef struct eum_lease {
    uint64_t begin, end;
    eum_access access;
    void *address;
    uint64_t id;   /* never reused in a buffer */
    bool held;     /* by the library: a map that is still on its way, or a transfer's own. Unmapping by address does not see it */
    bool external; /* eum_acquire: it is the device's turn, not the CPU's */
    bool kept;     /* by one call for the calls that it makes itself, */
    pthread_t by;  /* on this thread */
} eum_lease;

struct eum_buf {
    eum_ctx *ctx;
    eum_buf *next_dead;     /* in the graveyard */
    eum_buf *newer, *older; /* in the list of buffers with a device copy */
    size_t bytes;
    eum_role role, advised_role;
    eum_backing backing;
    eum_backing_reason backing_reason;
    eum_ownership ownership;
    bool wrapped, read_only, ended, given_up;
    bool preferred;       /* managed: some pages may have been given a preferred location, because of the role or by the user */
    bool has_preference;  /* the newest such advice gave one, */
    uint8_t brief_times;  /* times in a row that were EUM_STAY_BRIEF, as far as they matter */
    eum_location prefers; /* this */
    uint32_t acquired;    /* leases of code that works outside eum_launch */
    uint32_t references;  /* launches in flight, waiters */
    eum_release_fn release;
    void *release_user;
    eum_block memory; /* the host side, or the only side */
    eum_block mirror; /* mirrored: the device copy, made at first need; bytes 0 until then */
    uint64_t budgeted;
    eum_extents extents; /* managed: covers whole pages where they are all ours */
    eum_hazards hazards;
    struct eum_norms *norms; /* norms.h; NULL: none */
    eum_lease *leases;
    uint32_t lease_count, lease_capacity;
    uint64_t version; /* writes that there were */
    uint64_t lease_id;
    uint64_t came_back;        /* managed: 1 + the version that the CPU last had to have moved back to read it; 0: never */
    uint64_t overwritten;      /* results: bytes that kernels wrote since the CPU used it */
    uint64_t overwritten_last; /* the same of the time that ended then */
    /* by the CPU, since kernels used what it had rewritten before: sum of bytes, and the range that they are in */
    uint64_t written, written_begin, written_end;
    eum_stay stay;
    eum_habit habit; /* and of its role */
    /* for explain */
    uint64_t in_place_ns, move_ns; /* predicted at the newest choice between the two */
    eum_movement last_movement;
    eum_copied copied;
    uint64_t last_bytes, bytes_to_device, bytes_to_host, launches, maps;
};

/* Locks the context and checks that the buffer still is one. */
eum_status eum_buf_enter(eum_buf *buf, const char *function);
/* The same, by who uses its bytes and changes nothing else (eum_ctx_lock_to_use). */
eum_status eum_buf_enter_to_use(eum_buf *buf, const char *function);
/* Lock held. */
uint64_t eum_buf_extent_bytes(const eum_buf *buf);
void eum_buf_use(const eum_buf *buf, size_t offset, size_t bytes, eum_access access, eum_location where, eum_use *out);
/* EUM_ERROR_MAPPED if a live map conflicts with the access, EUM_ERROR_READ_ONLY. */
eum_status eum_buf_check_mapped(eum_buf *buf, size_t offset, size_t bytes, eum_access access);
/* Also EUM_ERROR_UNDEFINED_DATA. Not while CPU callbacks in flight may write the bytes: look again when they are done. */
eum_status eum_buf_check_access(eum_buf *buf, size_t offset, size_t bytes, eum_access access);
/* The address on the side of `where` (which has a block by now). */
void *eum_buf_address(const eum_buf *buf, size_t offset, eum_location where);
/* It is one of the live ones of eum_stats now. Lock held. */
void eum_buf_count_live(eum_buf *buf);
/* Waits until nothing in flight uses the buffer any more. Lock held on entry and exit. */
void eum_buf_wait_until_unused(eum_buf *buf);
/* Memory from the pool or the device, and back. *out_where: where the pages of a managed block are, whatever is in them; 0: nowhere, or it is no
 * managed memory. Release: nothing in flight uses the block any more. Lock held. Errors: EUM_ERROR_OVER_BUDGET, EUM_ERROR_OUT_OF_MEMORY,
 * EUM_ERROR_OUT_OF_DEVICE_MEMORY. */
eum_status eum_buf_allocate(eum_buf *buf, eum_memory kind, size_t bytes, eum_block *block, eum_locations *out_where);
void eum_buf_release(eum_buf *buf, eum_block *block);
/* Does so much device memory find no room even if nothing else is there? */
bool eum_buf_exceeds_budget(const eum_buf *buf, size_t bytes);
/* Mirrored: makes the device copy if there is none. The library's own device memory: the memory. Errors: EUM_ERROR_OVER_BUDGET,
 * EUM_ERROR_OUT_OF_DEVICE_MEMORY. */
eum_status eum_buf_need_device_side(eum_buf *buf);
/* Mirrored, with a device copy: frees it. What was valid only there is lost, so it must have been brought to the host, and nothing in flight
 * may use it. */
void eum_buf_drop_mirror(eum_buf *buf);
/* The device copy was used just now: others are spilled before it. */
void eum_buf_touch_mirror(eum_buf *buf);
/* Brings the range to the host for the access and waits for it. Lock held on entry and exit, released in between: a lease, or the end of the
 * handle, keeps others away. Errors: EUM_ERROR_UNDEFINED_DATA, EUM_ERROR_OUT_OF_MEMORY, device errors. */
eum_status eum_buf_bring(eum_buf *buf, size_t offset, size_t bytes, eum_access access);
/* A map of the library's own: as eum_buf_map, but ended by its number, so that nobody else's unmap ends it, nor it somebody else's map. */
eum_status eum_buf_hold(eum_range range, eum_access access, void **out, uint64_t *out_id);
/* The same for a kernel that the CPU runs instead of the device: it says nothing about where the bytes are wanted. */
eum_status eum_buf_hold_for_kernel(eum_range range, eum_access access, void **out, uint64_t *out_id);
void eum_buf_let_go(eum_buf *buf, uint64_t id);
/* The same for the bytes before `offset`, which is before the map's end. */
void eum_buf_let_go_until(eum_buf *buf, uint64_t id, size_t offset);
/* Makes room for one more lease. Errors: EUM_ERROR_OUT_OF_MEMORY. */
eum_status eum_buf_reserve_lease(eum_buf *buf);
void eum_buf_remove_lease(eum_buf *buf, size_t index);
/* The CPU used the range. Lock held. */
void eum_buf_used_by_host(eum_buf *buf, size_t offset, size_t bytes, bool writes);
/* The CPU looked at it; part of eum_buf_used_by_host. Lock held. */
void eum_buf_seen_by_host(eum_buf *buf);
/* Targets that are used as without a role, because for some time they were not used again and again. */
bool eum_buf_is_brief(const eum_buf *buf);
/* Will kernels use bytes that the CPU writes now so often that they had better be on the device? */
bool eum_buf_expects_reuse(const eum_buf *buf, size_t bytes);
/* Keeps the range to a transfer that works on its device side: conflicting maps and launches are refused. */
eum_status eum_buf_lease(eum_buf *buf, size_t offset, size_t bytes, eum_access access, uint64_t *out_id);
/* The same for a call that uses the range piece by piece: what this thread does is not refused, except from inside a callback. */
eum_status eum_buf_keep(eum_buf *buf, size_t offset, size_t bytes, eum_access access, uint64_t *out_id);
/* Does somebody have its device side, beyond what calls of this library do with it piece by piece? */
bool eum_buf_is_acquired(const eum_buf *buf);
void eum_buf_end_lease(eum_buf *buf, uint64_t id);
/* Counts an explicit copy for the open window, if there is one. */
void eum_faults_copied(eum_buf *buf, uint64_t bytes, bool to_host);
/* Frees the blocks and the struct if nothing uses it any more. */
bool eum_buf_reap(eum_buf *buf);

/* A prefetch on the transfer stream, behind which others go on. A hint: what it cannot do now happens when the bytes are used. Lock not held. */
void eum_buf_start_moving(eum_range range, eum_location where);

#endif
