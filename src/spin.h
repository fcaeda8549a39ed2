/* spin: how long a thread of the pool looks for its next loop before it sleeps. Pure: times in, times out.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Looking for a short time costs what sleeping and waking would. Looking longer keeps a core busy, which pays only where loops follow each other:
 * it must be earned. Each loop that comes within the longest time earns EUM_SPIN_REWARD_NS; a long look in vain costs what it took beyond
 * the short one. So all that is ever looked for in vain beyond the short looks is at most EUM_SPIN_REWARD_NS for each loop that came in
 * time, which is four times what a wake-up costs whoever waits for the loop. */
#ifndef EUM_SRC_SPIN_H
#define EUM_SRC_SPIN_H

#include <stdint.h>

#include "status.h"

#define EUM_SPIN_SHORT_NS INT64_C(20000)
#define EUM_SPIN_REWARD_NS INT64_C(200000)  /* a wake-up: 30 to 50 us on a virtual machine with 16 cores */
#define EUM_SPIN_DEFAULT_NS INT64_C(500000) /* a write of 3 MB comes again after some 300 us where a GPU scores it in between */
#define EUM_SPIN_LARGEST_NS INT64_C(1000000000)

typedef struct eum_spin {
    int64_t most_ns;   /* never longer than this; 0: never */
    int64_t credit_ns; /* earned and not spent, at most most_ns */
} eum_spin;

/* How long to look this time. */
int64_t eum_spin_limit(const eum_spin *spin);
/* The next loop came `gap_ns` after the thread began to look, or to sleep. */
void eum_spin_waited(eum_spin *spin, int64_t gap_ns);

/* EUM_SPIN: the longest look in microseconds, up to a second. NULL and "": the default. Errors: EUM_ERROR_INVALID_ARGUMENT. */
eum_status eum_spin_parse(const char *text, int64_t *out_ns);

#endif
