/* learned: how what copies and operations really took refines the costs that are decided by. Pure.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Only what was seen whole teaches: a copy that was alone on its stream and that somebody waited for, and an operation that the CPU did before the
 * call returned. A launch returns before its kernel has run, and what a job took from its call to its end has the work before it in it. */
#ifndef EUM_SRC_LEARNED_H
#define EUM_SRC_LEARNED_H

#include <stdbool.h>

#include "device/costs.h"

/* Smaller copies say little of the rate, beside what they take to start. */
#define EUM_LEARNED_COPY_BYTES ((uint64_t)4 << 20)
/* Of operations: up to eight queries or more, all scores or the best, and the size of the targets in powers of four from 1 KiB on. */
#define EUM_LEARNED_SIZES 16u
#define EUM_LEARNED_CLASSES (4 * EUM_LEARNED_SIZES)

typedef struct eum_learned {
    eum_costs told; /* the costs before anything was learned: defaults, a file's, or measured ones */
    bool measured;  /* not defaults: what was not seen is as it was told, and does not follow what was */
    bool to_host_seen;
    bool
        from_cpu; /* operations teach: not on the host, where nothing is chosen, nor beside a simulated device, where the same is to happen each time */
    uint16_t cpu[EUM_LEARNED_CLASSES]; /* what the CPU takes, in 1024ths of what was predicted; 0: not seen */
} eum_learned;

/* Forgets everything. */
void eum_learned_init(eum_learned *learned, const eum_costs *told, bool measured, bool from_cpu);

/* A copy of so many bytes, at least EUM_LEARNED_COPY_BYTES, took so long, with its wait. The rate comes half the way to a faster one, which is what the link
 * can do, and an eighth of the way to a slower one, which may have shared it; it stays within a quarter and four times of what was told. Until they
 * are seen themselves, the way back and reading in place follow defaults in proportion. */
void eum_learned_copy(eum_learned *learned, eum_costs *costs, bool to_host, uint64_t bytes, uint64_t ns);

uint32_t eum_learned_class(uint64_t queries, bool best, uint64_t bytes);
/* In 1024ths. */
uint32_t eum_learned_cpu(const eum_learned *learned, uint32_t class);
/* The CPU took so long for what was predicted, by what was learned so far: comes an eighth of the way there. */
void eum_learned_cpu_took(eum_learned *learned, uint32_t class, uint64_t predicted_ns, uint64_t actual_ns);
/* The device did one of the class. What was slow may be so no more, and only the CPU could tell: a little of it is forgotten. */
void eum_learned_cpu_idle(eum_learned *learned, uint32_t class);

#endif
