/* learned: how what copies and operations really took refines the costs that are decided by. Pure.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Only what was seen whole teaches: a copy that was alone on its stream and that somebody waited for; an operation that the CPU did before the
 * call returned; and one of the device's that had nothing in front of it on its stream or on its operands, had no targets to move, and that somebody was
 * waiting for when it ended (who shares the device with it, from another stream, is in its time). What else is launched returns before it has run, and what a job takes from its call to its end has the work before it in it. */
#ifndef EUM_SRC_LEARNED_H
#define EUM_SRC_LEARNED_H

#include <stdbool.h>

#include "device/costs.h"

/* Smaller copies say little of the rate, beside what they take to start. */
#define EUM_LEARNED_COPY_BYTES ((uint64_t)4 << 20)
/* Of operations: up to eight queries or more, all scores or the best, and the size of the targets in powers of four from 1 KiB on. */
#define EUM_LEARNED_SIZES 16u
#define EUM_LEARNED_CLASSES (4 * EUM_LEARNED_SIZES)

/* Who did it: the CPU, or the device with its targets there, or over the link. */
typedef enum eum_learned_place { EUM_LEARNED_CPU, EUM_LEARNED_DEVICE, EUM_LEARNED_IN_PLACE, EUM_LEARNED_PLACES } eum_learned_place;

typedef struct eum_learned {
    eum_costs told; /* the costs before anything was learned: defaults, a file's, or measured ones */
    bool measured;  /* not defaults: what was not seen is as it was told, and does not follow what was */
    bool to_host_seen;
    bool
        from_operations; /* they teach: not on the host, where nothing is chosen, nor beside a simulated device, where the same is to happen each time */
    uint16_t times[EUM_LEARNED_PLACES]
                  [EUM_LEARNED_CLASSES]; /* what they take there, in 1024ths of what was predicted; 0: not seen */
} eum_learned;

/* Forgets everything. */
void eum_learned_init(eum_learned *learned, const eum_costs *told, bool measured, bool from_operations);

/* A copy of so many bytes, at least EUM_LEARNED_COPY_BYTES, took so long, with its wait. The rate comes half the way to a faster one, which is what the link
 * can do, and an eighth of the way to a slower one, which may have shared it; it stays within a quarter and four times of what was told. Until they
 * are seen themselves, the way back and reading in place follow defaults in proportion. */
void eum_learned_copy(eum_learned *learned, eum_costs *costs, bool to_host, uint64_t bytes, uint64_t ns);

uint32_t eum_learned_class(uint64_t queries, bool best, uint64_t bytes);
/* Did who began to wait then, and was told now, see the end of what was started at `start`? It was over before, where the wait was short beside all of it. */
bool eum_learned_saw_the_end(int64_t start_ns, int64_t begin_ns, int64_t now_ns);
/* In 1024ths. */
uint32_t eum_learned_times(const eum_learned *learned, eum_learned_place place, uint32_t class);
/* It took so long there for what was predicted when eum_learned_times said `then`, which it may not say any more: comes an eighth of the way there. */
void eum_learned_took(eum_learned *learned, eum_learned_place place, uint32_t class, uint64_t predicted_ns, uint32_t then,
                      uint64_t actual_ns);
/* One of the class was done elsewhere. What was slow may be so no more, and nobody would see it: a little of it is forgotten. */
void eum_learned_idle(eum_learned *learned, eum_learned_place place, uint32_t class);

#endif
