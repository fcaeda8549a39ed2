/* extras: single figures beside the patterns: what a launch, a copy, a buffer, a context costs; and how many faults there were.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_BENCH_EXTRAS_H
#define EUM_BENCH_EXTRAS_H

#include "output.h"

typedef struct bench_extra {
    const char *name; /* the group of its rows */
    const char *text;
    bool after; /* the patterns: a counting driver would slow them down */
    /* quick: only whether it runs. deadline: bench_wall_ns. */
    void (*run)(const bench_machine *machine, bool quick, double deadline);
} bench_extra;

extern const bench_extra bench_extras[];
extern const size_t bench_extra_count;

void bench_extra_launch(const bench_machine *machine, bool quick, double deadline);
void bench_extra_resident(const bench_machine *machine, bool quick, double deadline);
void bench_extra_caller(const bench_machine *machine, bool quick, double deadline);
void bench_extra_copies(const bench_machine *machine, bool quick, double deadline);
void bench_extra_create(const bench_machine *machine, bool quick, double deadline);
void bench_extra_context(const bench_machine *machine, bool quick, double deadline);
void bench_extra_workers(const bench_machine *machine, bool quick, double deadline);
void bench_extra_faults(const bench_machine *machine, bool quick, double deadline);

/* For the cost of a context: notes the memory of the process and of the device. Called before and after the first context is made. */
void bench_note_before_context(const char *device);
void bench_note_after_context(void);

#endif
