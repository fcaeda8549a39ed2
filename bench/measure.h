/* measure: runs one case: all contenders in turns, in a random order each round, and what comes out of it.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_BENCH_MEASURE_H
#define EUM_BENCH_MEASURE_H

#include "contender.h"
#include "statistics.h"

#define BENCH_CONTENDERS 12
#define BENCH_LIBRARY 3 /* of them, at most */
#define BENCH_ROUNDS 101
#define BENCH_FIRST 3

/* One contender of a case. */
typedef struct bench_entry {
    const bench_contender *contender;
    bool managed;
    double rounds[BENCH_ROUNDS]; /* ns a cycle; NaN where it did not take part */
    double first[BENCH_FIRST];   /* the library: medians of the first cycles of a turn, ns */
    double moved[2];             /* the library: bytes a cycle that it moved to the device and back, in its newest turn */
    bench_estimate time;
} bench_entry;

typedef struct bench_result {
    const bench_pattern *pattern;
    bench_shape shape;
    size_t entry_count, rounds;
    bench_entry entry[BENCH_CONTENDERS];
    int best;                                              /* the fastest rival */
    int twin;                                              /* the rival that takes part twice... */
    bench_estimate twin_ratio;                             /* ...and how much its two selves differ */
    bench_estimate ratio[BENCH_LIBRARY][BENCH_CONTENDERS]; /* library contender over rival, by entry; the library's come first */
    size_t library_count;
} bench_result;

typedef struct bench_limits {
    size_t rounds;       /* at most */
    double seconds;      /* for this case, of wall time; two rounds are begun in any case */
    double cycle_budget; /* ns that a contender spends on measured cycles in a turn */
    double deadline;     /* bench_wall_ns; what is not measured by then is left */
} bench_limits;

/* false: the deadline came before the first round was over. */
bool bench_measure(const bench_machine *machine, const bench_pattern *pattern, bench_shape shape, const bench_limits *limits,
                   uint64_t *random, bench_result *out);

/* The library's cycles alone, with checks, for a window that counts faults: `cycles` of them with each of its contenders. */
void bench_run_library(const bench_machine *machine, const bench_pattern *pattern, bench_shape shape, unsigned cycles);

#endif
