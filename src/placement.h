/* placement: where bytes should be for their next use, and by which movement. Pure: plain data in, plain data out.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_SRC_PLACEMENT_H
#define EUM_SRC_PLACEMENT_H

#include "device/costs.h"
#include "extent.h"

/* What the choice of a backing depends on. */
typedef struct eum_backing_question {
    eum_device_kind device_kind;
    bool managed, concurrent_managed; /* of the device */
    eum_backing forced;               /* EUM_BACKING_AUTO: free choice */
    uint64_t bytes;                   /* of the buffer; 0: of any ordinary one */
    uint64_t pinned_room;             /* how many more bytes may be pinned */
    bool oversubscribe;     /* more memory than the device has was asked for: only managed memory can be evicted by itself */
    const eum_costs *costs; /* of the device */
} eum_backing_question;
typedef struct eum_backing_answer {
    eum_backing backing; /* EUM_BACKING_AUTO: the forced one is not possible here */
    eum_backing_reason reason;
} eum_backing_answer;
eum_backing_answer eum_choose_backing(const eum_backing_question *question);
/* The backing and its reason as a sentence. Static. */
const char *eum_backing_sentence(eum_backing backing, eum_backing_reason reason);

/* One step of a plan, in the order in which the kinds are listed; steps of one kind have disjoint ranges. */
typedef enum eum_step_kind {
    EUM_STEP_UNSET_READ_MOSTLY, /* managed: the copies collapse, nobody knows where to */
    EUM_STEP_SET_READ_MOSTLY,   /* managed: from now on a prefetch copies instead of moving */
    EUM_STEP_DISCARD,           /* managed: worthless bytes are dropped */
    EUM_STEP_BOUNCE,            /* managed: pages to `where`, from where they will come back mapped anew */
    EUM_STEP_PREFETCH,          /* managed: pages to `where` */
    EUM_STEP_IN_PLACE,          /* managed: stay on the host, mapped for device `where` */
    EUM_STEP_COPY,              /* mirrored: bytes between the host side and the device copy of `where`; to_host says which way */
} eum_step_kind;
#define EUM_STEP_KINDS 7

typedef struct eum_step {
    uint64_t begin, end;
    eum_step_kind kind;
    eum_location where;
    bool to_host;       /* EUM_STEP_COPY */
    uint64_t moving;    /* bytes that travel over the link */
    bool after_discard; /* EUM_STEP_PREFETCH: only populates what was discarded; its failure loses nothing */
    bool keeps_host;    /* EUM_STEP_UNSET_READ_MOSTLY for a map: another map is on the pages, so the host keeps them */
    bool duplicates;    /* EUM_STEP_PREFETCH: the bytes stay valid where they were */
    bool maps_anew;     /* EUM_STEP_PREFETCH: the pages are known to have been elsewhere */
} eum_step;

#define EUM_PLAN_INLINE 4
typedef struct eum_plan {
    eum_step few[EUM_PLAN_INLINE];
    eum_step *steps;
    size_t count, capacity;
    uint64_t discarded; /* bytes that were elsewhere, worthless, and did not travel */
    bool no_memory;     /* the plan is incomplete: do not use it */
} eum_plan;
void eum_plan_init(eum_plan *plan);
void eum_plan_free(eum_plan *plan);

/* A use of [begin, end) at a location. */
typedef struct eum_use {
    uint64_t begin, end;
    eum_access access;
    eum_location where;
    eum_backing backing;
    eum_role role;
    uint64_t page;        /* managed: granule of migration; 1 for the others */
    uint64_t skew;        /* bytes of the first page in front of the buffer: wrapped memory may begin inside a page */
    uint64_t bytes;       /* what the extents cover */
    uint64_t length;      /* the buffer's length, <= bytes: what lies between is padding, worthless */
    bool can_discard;     /* the device has the operation, and the pages are all ours */
    bool concurrent;      /* managed: false on devices where everything migrates by itself at launch */
    bool stay;            /* EUM_ROLE_AUTO: it does not pay yet to move the bytes; see stay.h */
    bool duplicate;       /* managed: a read leaves the bytes where they were, too; see eum_read_duplicates */
    bool host_holds_page; /* managed: a live map (another one) is on the same pages: the host must keep them */
    bool busy;            /* not now: something is in flight on these pages, or the device cannot be relied on to discard */
} eum_use;

/* Does a read of managed memory that has to bring bytes copy them (read-mostly), or move them? Copying keeps them readable on the side that
 * they came from. But the advice costs the caller about 100 us a MiB where the host has the pages, and the next write has to collapse the
 * copies: so only where both sides are known to read, or where it costs little. */
typedef struct eum_read_question {
    eum_role role;
    uint64_t bytes;
    bool to_device;
    bool other_side_reads; /* just now: a map, an acquisition or a job */
    bool came_back;        /* since the last write the device had the bytes, and the CPU read them */
    bool
        rewritten; /* EUM_ROLE_QUERY: the CPU has rewritten it for every use, so the copies were for nothing; see contradiction.h */
    bool writers;  /* jobs in flight write these pages, and the advice, which acts at once, would make them fault */
} eum_read_question;
#define EUM_DUPLICATE_FREELY ((uint64_t)4 << 20)
bool eum_read_duplicates(const eum_read_question *question);

/* Appends to an initialised plan the steps after which every byte of the use is reachable at `where` without a fault, and old bytes that
 * the access keeps are there. On failure to get memory sets no_memory. */
void eum_plan_use(eum_plan *plan, const eum_extents *extents, const eum_use *use);

/* What a step that was done changes, and what the use itself changes once its writer is submitted. */
eum_extent_change eum_step_change(const eum_step *step);
eum_extent_change eum_use_change(const eum_use *use);

/* The pages that the use touches (managed), or just its range: where it competes with others. */
void eum_use_footprint(const eum_use *use, uint64_t *begin, uint64_t *end);
/* The roles of bytes that kernels use over the link, where the host has them. */
static inline bool eum_role_stays_on_host(eum_role role)
{
    return role == EUM_ROLE_STREAM || role == EUM_ROLE_RESULTS;
}
/* Does the role say so of this use by a kernel? Of mirrored memory, results are only written there, and only up to some size. */
bool eum_role_in_place(const eum_use *use);
/* Managed: does the device use the bytes over the link, where the host has them? */
bool eum_use_in_place(const eum_use *use);

#endif
