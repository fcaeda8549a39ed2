/* scoring_shape: how large the pieces are in which a similarity operation passes through the device. Pure.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_SRC_SCORING_SHAPE_H
#define EUM_SRC_SCORING_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is staged begins at the same place modulo this, and vectors are as far apart modulo this, as in the operands. */
#define EUM_CHUNK_ALIGNMENT 256
/* Stages that take turns: the CPU fills one while the kernel reads the other. */
#define EUM_CHUNK_STAGES 2
/* Bytes of targets in a chunk, where there is room: a quarter of them, within these bounds; the largest where they move. */
#define EUM_CHUNKS 4
#define EUM_CHUNK_LEAST ((uint64_t)4 << 20)
#define EUM_CHUNK_MOST ((uint64_t)16 << 20)
/* Queries that are scored in one pass over the targets, which are then read once. With more the order of sums is another one. */
#define EUM_STREAMED_QUERIES 8

typedef struct eum_chunk_question {
    uint64_t query_count, rows, dim; /* rows: 0 is legal, the others are 1 or more */
    uint64_t k;                      /* 0: all scores */
    size_t element_bytes;            /* of the targets */
    size_t query_stride, row_stride; /* of the operands */
    bool moves;                      /* kernels read a chunk on the device and more than once; else once, over the link */
    uint64_t room;                   /* of the budget */
    /* Device memory that the kernels need beside the operands for so many queries and rows: never more for fewer rows. NULL: none. */
    size_t (*scratch)(const void *arg, uint64_t queries, uint64_t rows);
    const void *scratch_arg;
} eum_chunk_question;

typedef struct eum_chunk_shape {
    uint64_t queries;                                        /* of a block, at most */
    uint64_t rows;                                           /* of a chunk, at most */
    size_t query_bytes, query_stride, row_bytes, row_stride; /* of what is staged */
} eum_chunk_shape;

eum_chunk_shape eum_chunk_shape_of(const eum_chunk_question *question);

/* Rows of a chunk, at most, of those that a kernel of the caller's reads: as many bytes as above, but a row at least, however large; chunks are of
 * equal size. rows x row_bytes fits, and neither is 0. room: of the budget, beside what the kernel's other operands need. */
uint64_t eum_chunk_rows_of(uint64_t rows, size_t row_bytes, uint64_t room);

/* Queries of the block that begins at `first`: `shape->queries` for the first blocks, one less for the others, so that none is small. */
uint64_t eum_chunk_block_queries(uint64_t query_count, const eum_chunk_shape *shape, uint64_t first);

#endif
