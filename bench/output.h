/* output: what was measured, as a table for people and as JSON.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_BENCH_OUTPUT_H
#define EUM_BENCH_OUTPUT_H

#include <stdio.h>

#include "measure.h"

/* A single figure. */
typedef struct bench_row {
    const char *group; /* "launch" */
    char name[120];
    double value;
    const char *unit;
    bench_estimate ratio; /* count 0: there is none */
    char note[160];       /* may be empty */
} bench_row;

/* table: lines go to stdout as results come; all: every contender has one. */
void bench_output_open(const bench_machine *machine, bool table, bool all);
/* Both copy what they are given. */
void bench_output_case(const bench_result *result);
void bench_output_row(const bench_row *row);
/* Shorthand: no ratio and no note. */
void bench_output_value(const char *group, const char *name, double value, const char *unit);
/* What remains to be said, on stderr: at most every two seconds. */
void bench_output_progress(size_t done, size_t of, const char *what);
/* Everything so far as one JSON object. complete: nothing was left out. */
void bench_output_json(FILE *file, bool complete);

#endif
