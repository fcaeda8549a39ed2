/* workers: a small pool of threads that share one loop at a time with the caller.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_SRC_WORKERS_H
#define EUM_SRC_WORKERS_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"

typedef struct eum_workers eum_workers;

/* count: threads that work on a loop, the caller included; 0: one a core that this process may use (affinity and cgroup quota).
 * Threads start with the first loop that is shared. Errors: EUM_ERROR_OUT_OF_MEMORY. */
eum_status eum_workers_create(uint32_t count, eum_workers **out);
/* How long threads look for the next loop before they sleep, at most: spin.h. Before the first loop; a new pool has the default. */
void eum_workers_set_spin(eum_workers *workers, int64_t most_ns);
void eum_workers_destroy(eum_workers *workers); /* no loop may be running; NULL is fine */
uint32_t eum_workers_count(const eum_workers *workers);
/* How many threads a loop would get that began now: all, or the caller alone because another loop has the pool. */
uint32_t eum_workers_free(const eum_workers *workers);

/* Calls body(arg, begin, end) over disjoint pieces of [0, items) on the pool and the calling thread, and returns when all are done.
 * Pieces are multiples of `grain` (>= 1) except the last; one piece runs on the caller alone. Never fails: if threads cannot be started
 * the caller does the work. Threads begin with the same share in each loop of as many pieces. Loops from several threads at once are
 * safe: one gets the pool, the others run alone. */
typedef void (*eum_loop_fn)(void *arg, uint64_t begin, uint64_t end);
void eum_workers_run(eum_workers *workers, uint64_t items, uint64_t grain, eum_loop_fn body, void *arg);
/* The same, each thread from the end of its share to the beginning: who reads the same items again, to and fro, finds in its core's cache those
 * with which it ended. */
void eum_workers_run_back(eum_workers *workers, uint64_t items, uint64_t grain, eum_loop_fn body, void *arg);

#endif
