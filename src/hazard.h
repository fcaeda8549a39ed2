/* hazard: what is in flight on the bytes of one buffer, and who has to wait for whom. Pure, like extent.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_SRC_HAZARD_H
#define EUM_SRC_HAZARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A point: done when the stream with this serial number has passed the sequence number. */
typedef struct eum_point {
    uint64_t stream, sequence;
} eum_point;

/* A read waits for everything but reads. So does a copy, a movement that leaves the bytes where they were. A write and a move, which takes bytes
 * away from one location, wait for everything. */
typedef enum eum_hazard_kind { EUM_HAZARD_READ, EUM_HAZARD_WRITE, EUM_HAZARD_MOVE, EUM_HAZARD_COPY } eum_hazard_kind;

typedef struct eum_hazard {
    uint64_t begin, end;
    eum_point point;
    eum_hazard_kind kind;
} eum_hazard;

/* Most entries kept before those of one stream are merged to their hull, which waits for more than needed and never for less. */
#define EUM_HAZARDS_SOFT_CAP 64u

typedef struct eum_hazards {
    eum_hazard *items;
    uint32_t count, capacity;
} eum_hazards;

void eum_hazards_free(eum_hazards *set);
/* Makes room for `more` calls of eum_hazards_add. false: no memory, nothing changed. */
bool eum_hazards_reserve(eum_hazards *set, size_t more);

/* Calls visit for each point in flight that a use of [begin, end) of this kind, on stream `stream` (0: the host), has to wait for. What
 * is on the same stream is in order already. */
void eum_hazards_conflicts(const eum_hazards *set, uint64_t begin, uint64_t end, eum_hazard_kind kind, uint64_t stream,
                           void (*visit)(void *arg, eum_point point), void *arg);
/* Calls visit for each point in flight up to which [begin, end) may be written (a move may stand for writers that it waited for). */
void eum_hazards_writers(const eum_hazards *set, uint64_t begin, uint64_t end, void (*visit)(void *arg, eum_point point),
                         void *arg);
/* Adds a use that was ordered after all its conflicts; drops what it makes superfluous. Empty ranges are not added. */
void eum_hazards_add(eum_hazards *set, uint64_t begin, uint64_t end, eum_hazard_kind kind, eum_point point);
/* Drops what has passed. */
void eum_hazards_prune(eum_hazards *set, bool (*passed)(void *arg, eum_point point), void *arg);

#endif
