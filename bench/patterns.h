/* patterns: the ways in which programs use a buffer, as steps of the CPU and the GPU, and the sizes of what they use.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_BENCH_PATTERNS_H
#define EUM_BENCH_PATTERNS_H

#include <stdbool.h>

#include "engram_um.h"

/* Targets: rows x dim float32. */
typedef struct bench_shape {
    size_t rows, dim, bytes;
} bench_shape;

typedef enum bench_step {
    BENCH_END,      /* of the list */
    BENCH_FILL,     /* the CPU computes all targets in place */
    BENCH_PUT,      /* the targets, which exist in an array, are handed over */
    BENCH_SCORE,    /* a kernel reads all targets and writes the results */
    BENCH_GET,      /* the CPU gets the results */
    BENCH_EDIT_CPU, /* the CPU reads and rewrites the pattern's part of the targets */
    BENCH_EDIT_GPU, /* the same by a kernel */
    BENCH_LOOK,     /* the CPU reads the pattern's part of the targets */
    BENCH_SETTLE    /* waits for everything, where no other step does */
} bench_step;

typedef enum bench_kernel {
    BENCH_COSINE, /* one query: a result for each row */
    BENCH_SPREAD  /* BENCH_RESULTS_A_ROW results for each row */
} bench_kernel;
#define BENCH_RESULTS_A_ROW ((size_t)64)
#define BENCH_DIM_MOST ((size_t)4096)

typedef enum bench_source { BENCH_SOURCE_PAGEABLE, BENCH_SOURCE_PINNED } bench_source;

typedef struct bench_part {
    bench_step steps[6];
    uint32_t times; /* that the steps are done, one list after the other */
} bench_part;

typedef struct bench_pattern {
    const char *name;
    const char *text;
    bench_part parts[5]; /* one cycle; ends with a part of 0 times */
    bench_kernel kernel;
    bench_source source;
    bool whole;          /* edits and looks are of all targets; otherwise of their second quarter */
    bool array;          /* the targets need no memory beside the array: an operation may be handed that */
    bool bulk;           /* the results are read with a bulk read, not through a map */
    eum_role role;       /* the role that fits the targets; AUTO: none does */
    size_t most;         /* bytes above which a cycle would take too long; 0: none */
    const char *library; /* what the library is told to do, for people */
} bench_pattern;

extern const bench_pattern bench_patterns[];
extern const size_t bench_pattern_count;
/* NULL if there is none of that name (of `length` characters). */
const bench_pattern *bench_pattern_find(const char *name, size_t length);

/* "4K", "64M", or rows x dim ("1000x768"); otherwise rows of 768, or of 64 below 64 KiB. false: it is no size, or not of 1 row to 512 MiB with a
 * dim that is a multiple of 64, at most BENCH_DIM_MOST. */
bool bench_shape_parse(const char *text, size_t length, bench_shape *out);
/* "1000x768". */
void bench_shape_text(bench_shape shape, char *text, size_t capacity);
/* "64 KiB". */
void bench_bytes_text(size_t bytes, char *text, size_t capacity);
/* The rows that edits and looks are about. */
void bench_pattern_part(const bench_pattern *pattern, bench_shape shape, size_t *out_first, size_t *out_rows);
/* What moves in pieces while the CPU makes the next: rows of a piece, of so many that have this length. An eighth, of 512 KiB to 16 MiB. */
#define BENCH_CHUNK_LEAST ((size_t)512 << 10)
#define BENCH_CHUNK_MOST ((size_t)16 << 20)
size_t bench_chunk_rows(size_t rows, size_t row_bytes);
/* float32 results of one score step. */
size_t bench_results(const bench_pattern *pattern, bench_shape shape);

#endif
