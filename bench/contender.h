/* contender: one way to carry out the steps of a pattern: the library's, or one by hand.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_BENCH_CONTENDER_H
#define EUM_BENCH_CONTENDER_H

#include "patterns.h"
#include "raw.h"

#define BENCH_SAMPLES 16

/* The machine: a context of the library, and what is there by hand. */
typedef struct bench_machine {
    const char *device; /* as asked for */
    eum_context *context;
    eum_stream *stream;
    eum_info info;
    const bench_raw *raw;
    double (*library_now)(void); /* ns */
    uint32_t threads;            /* of the CPU's work */
} bench_machine;

/* A pattern at a size, and the data of whoever's turn it is. */
typedef struct bench_case {
    const bench_machine *machine;
    const bench_pattern *pattern;
    bench_shape shape;
    size_t results;
    size_t part_first, part_rows;
    eum_block pinned;             /* the source, where it is pinned */
    float *source;                /* shape.bytes */
    float *query;                 /* dim */
    float *received;              /* results */
    uint32_t epoch;               /* rises with every cycle; the data change with it */
    bool filled;                  /* the targets were computed and not handed over, the last time that they were written whole */
    size_t sample[BENCH_SAMPLES]; /* elements of the part */
    double sample_value[BENCH_SAMPLES]; /* what they must be */
    float sample_got[BENCH_SAMPLES];
} bench_case;

typedef struct bench_contender bench_contender;
struct bench_contender {
    const char *name;
    const char *text;
    bool library;
    int kind; /* the implementation's own */
    /* Whether it exists for this case; *out_managed: its memory is managed. */
    bool (*can)(const bench_contender *self, const bench_case *c, bool *out_managed);
    void *(*open)(const bench_contender *self, bench_case *c);
    void (*close)(void *set);
    /* next: the step that follows, so that a hand can see ahead as a programmer does. */
    void (*step)(void *set, bench_step step, bench_step next);
    void (*touch)(void *set); /* changes the source for the case's epoch; not timed */
    void (*check)(void *set); /* brings the samples of the targets to sample_got; not timed, the last thing before close */
};

extern const bench_contender bench_library_contenders[];
extern const size_t bench_library_contender_count;
extern const bench_contender bench_rivals[];
extern const size_t bench_rival_count;

#endif
