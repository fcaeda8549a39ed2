/* stay: the choice for EUM_ROLE_AUTO between using bytes in place, where the host has them, and moving them to the device. Pure.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * How often bytes will be used before the CPU wants them again, nobody knows; the best guess is: as often as the last time. If that pays they
 * move at once. Else they stay until the uses over the link have cost what moving would have cost, and then they move. Whatever comes, that
 * is at most twice the cheaper of the two, and a fixed cost. What the CPU does with the bytes afterwards gives credit for what it would have
 * cost to bring them back, so the count begins anew when it rewrites them all, and goes on when it looks at a few. */
#ifndef EUM_SRC_STAY_H
#define EUM_SRC_STAY_H

#include <stdbool.h>

#include "device/costs.h"

/* Of one buffer. Begins as zeros. */
typedef struct eum_stay {
    uint64_t spent_ns; /* on uses over the link, less the credit */
    uint64_t used_ns;  /* what all uses since the last rewrite would have cost over the link */
    uint64_t last_ns;  /* the same of the time between the two rewrites before */
} eum_stay;

typedef struct eum_stay_question {
    const eum_costs *costs;
    uint64_t bytes;     /* of the use that the device lacks */
    bool by_copies;     /* how they would move: by an explicit copy, or by a prefetch */
    uint64_t over_link; /* of the use that would be used over the link: what the device lacks; mirrored, all of it */
    bool stores;        /* the kernel only writes them */
} eum_stay_question;

typedef struct eum_stay_answer {
    bool stays;
    uint64_t in_place_ns, move_ns; /* predicted, of this use */
} eum_stay_answer;

eum_stay_answer eum_stay_choose(const eum_stay *stay, const eum_stay_question *question);
/* So many uses in place were made; whole: as in the question, the buffer's length. */
void eum_stay_used(eum_stay *stay, const eum_stay_answer *answer, const eum_stay_question *whole, uint32_t times);
/* The device used the bytes so many times, wherever they were; over_link: all of the use. */
void eum_stay_seen(eum_stay *stay, const eum_stay_question *use, uint32_t times);
/* The CPU used `bytes` of it. */
void eum_stay_credit(eum_stay *stay, const eum_stay_question *used);
/* What a time between two rewrites turned out to have been. */
typedef enum eum_stay_time {
    EUM_STAY_UNUSED,
    EUM_STAY_BRIEF, /* to use the bytes over the link would clearly have cost less than to move them */
    EUM_STAY_LONG
} eum_stay_time;

/* The CPU rewrote most of it: a new time begins, if it was used since it was rewritten before. whole: the buffer's length. */
eum_stay_time eum_stay_rewritten(eum_stay *stay, const eum_stay_question *whole);

#endif
