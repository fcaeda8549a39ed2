/* scoring_shape: see scoring_shape.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "scoring_shape.h"

#include "least.h"

/* Chunks are small enough that filling the first and reading the last, during which the other side does nothing, are short; and large
 * enough that what each costs does not show: a kernel, and waking the copying threads, some 45 us on an H100's host. There 4 chunks of 4
 * MiB took 492 us, 2 of 8 MiB 516, one 562, and 8 of 2 MiB 699; with 3 MB, one took 144 us and three 274. Kernels of many queries, for
 * which chunks move, cost more to start, some 200 us: so these are as large as stages get. */
/* What a stage has at least: staging buffers are pinned, so without room on the device kernels use them in place. */
#define LEAST_BYTES ((uint64_t)256 << 10)
/* Of the room that is left: two stages of targets with two each, their results with one each, the queries one, one spare; where there is scratch
 * memory, as much for two launches of it. */
#define PARTS 8
#define PARTS_WITH_SCRATCH 12
#define SCRATCH_PARTS 2
#define BLOCK_QUERIES 64 /* that are not given up for more rows in a chunk */

/* The gap between vectors, without its whole multiples of the alignment. */
static size_t staged_stride(size_t vector, size_t stride)
{
    return vector + (stride - vector) % EUM_CHUNK_ALIGNMENT;
}

static uint64_t capacity(uint64_t bytes, size_t vector, size_t stride)
{
    return bytes <= EUM_CHUNK_ALIGNMENT + vector ? 1 : 1 + (bytes - EUM_CHUNK_ALIGNMENT - vector) / stride;
}

/* Blocks of equal size: where there are more than eight queries, more than eight in each. */
static uint64_t even_blocks(uint64_t query_count, uint64_t queries)
{
    queries = eum_least(eum_most(queries, 2 * EUM_STREAMED_QUERIES + 2), query_count);
    uint64_t blocks = (query_count + queries - 1) / queries;
    return (query_count + blocks - 1) / blocks;
}

/* As many chunks, of equal size: what a chunk costs beside its rows is not paid for a few that are left over. */
static uint64_t even_rows(uint64_t rows, uint64_t capacity_rows)
{
    uint64_t chunks = capacity_rows == 0 ? 0 : rows / capacity_rows + (rows % capacity_rows != 0);
    return chunks == 0 ? 0 : rows / chunks + (rows % chunks != 0);
}

static bool scratch_fits(const eum_chunk_question *q, uint64_t queries, uint64_t rows, uint64_t room)
{
    return q->scratch(q->scratch_arg, queries, rows) <= room;
}

/* As many rows as leave room for the scratch memory; if not even one does, fewer queries. */
static void fit_scratch(const eum_chunk_question *q, uint64_t room, eum_chunk_shape *shape)
{
    while (shape->rows > 0 && !scratch_fits(q, shape->queries, 1, room)) {
        uint64_t fewer = even_blocks(q->query_count, shape->queries / 2);
        if (fewer >= shape->queries)
            break; /* the launch will say what it lacks */
        shape->queries = fewer;
    }
    uint64_t low = 1, high = shape->rows;
    while (low < high) {
        uint64_t middle = high - (high - low) / 2;
        if (scratch_fits(q, shape->queries, middle, room))
            low = middle;
        else
            high = middle - 1;
    }
    shape->rows = eum_least(shape->rows, low);
}

eum_chunk_shape eum_chunk_shape_of(const eum_chunk_question *q)
{
    eum_chunk_shape s = {.query_bytes = (size_t)q->dim * sizeof(float), .row_bytes = (size_t)q->dim * q->element_bytes};
    s.query_stride = staged_stride(s.query_bytes, q->query_stride == 0 ? s.query_bytes : q->query_stride);
    s.row_stride = staged_stride(s.row_bytes, q->row_stride);
    uint64_t part = eum_most(q->room / (q->scratch != NULL ? PARTS_WITH_SCRATCH : PARTS), LEAST_BYTES);
    uint64_t even =
        q->moves ? EUM_CHUNK_MOST : eum_most((q->rows / EUM_CHUNKS + 1) * s.row_stride + EUM_CHUNK_ALIGNMENT, EUM_CHUNK_LEAST);
    uint64_t targets = eum_least(2 * part, eum_least(even, EUM_CHUNK_MOST)), results = eum_least(part, EUM_CHUNK_MOST);
    uint64_t rows = eum_least(q->rows, capacity(targets, s.row_bytes, s.row_stride));
    uint64_t each = q->k > 0 ? q->k * (sizeof(float) + sizeof(int64_t)) : sizeof(float); /* of results: a query, or a pair */
    uint64_t by_results = q->k > 0 ? results / each : eum_most(results / (rows == 0 ? 1 : rows) / each, BLOCK_QUERIES);
    s.queries = even_blocks(q->query_count,
                            eum_least(capacity(eum_least(part, EUM_CHUNK_MOST), s.query_bytes, s.query_stride), by_results));
    s.rows = q->k > 0 ? rows : eum_least(rows, eum_most(results / each / s.queries, 1));
    s.rows = even_rows(q->rows, s.rows);
    if (q->scratch != NULL)
        fit_scratch(q, eum_most(q->room / PARTS_WITH_SCRATCH * SCRATCH_PARTS, 1), &s);
    return s;
}

uint64_t eum_chunk_rows_of(uint64_t rows, size_t row_bytes, uint64_t room)
{
    uint64_t quarter = rows / EUM_CHUNKS * row_bytes + row_bytes + EUM_CHUNK_ALIGNMENT;
    uint64_t bytes = eum_least(eum_most(room / PARTS, LEAST_BYTES), eum_least(eum_most(quarter, EUM_CHUNK_LEAST), EUM_CHUNK_MOST));
    return even_rows(rows, eum_least(rows, capacity(bytes, row_bytes, row_bytes)));
}

uint64_t eum_chunk_block_queries(uint64_t query_count, const eum_chunk_shape *s, uint64_t first)
{
    uint64_t blocks = (query_count + s->queries - 1) / s->queries, small = query_count / blocks;
    uint64_t larger = query_count - small * blocks;
    return first < larger * (small + 1) ? small + 1 : small;
}
