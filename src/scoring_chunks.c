/* scoring_chunks: a similarity operation whose operands find no room on the device and cannot be used in place. Pieces of them pass through
 * staging buffers: blocks of queries, and for each of them chunks of rows, of which the CPU fills one while the kernel reads the other.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The scores are the same bits as in one launch. Their order of sums depends on whether there are more than eight queries, so blocks of more
 * stay more; and it may depend on alignment, so what is staged begins at the same place modulo 256 bytes, and rows are as far apart modulo 256. The
 * best rows of a chunk are merged with those so far: rows come in order, so the earlier ones win ties. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "scoring.h"

/* Large enough that a chunk's fixed costs do not show (a copy's is about 10 us, 16 MiB take about 300 us over PCIe 5). */
#define STAGE_BYTES ((uint64_t)16 << 20)
/* What a stage has at least: staging buffers are pinned, so without room on the device kernels use them in place. */
#define LEAST_BYTES ((uint64_t)256 << 10)
#define STAGES 2
#define PARTS                                                                                                                      \
    8 /* of the room that is left: two stages of targets with two each, their results with one each, the queries one, one spare */
#define ALIGNMENT 256
#define BLOCK_QUERIES 64 /* that are not given up for more rows in a chunk */

typedef struct shape {
    uint64_t queries;                                        /* of a block */
    uint64_t rows;                                           /* of a chunk */
    size_t query_bytes, query_stride, row_bytes, row_stride; /* of what is staged */
} shape;

typedef struct stage {
    eum_buf *targets, *scores, *indices;
    eum_job job;
    uint64_t first, rows; /* in flight; rows 0: none */
} stage;

typedef struct passage {
    eum_strm *stream;
    const eum_scoring_request *request;
    shape shape;
    const char *source; /* the targets, held on the host */
    eum_buf *query_stage;
    eum_range query_range; /* of the present block in it */
    stage stages[STAGES];
    char *staged_queries; /* host memory: a block of queries, the results of a chunk, the best so far, the numbers 0 to rows - 1 */
    float *scores, *best_scores;
    int64_t *indices, *best_indices, *numbers;
    uint64_t first_query, queries; /* the present block */
    bool begun;
} passage;

bool eum_scoring_may_chunk(const eum_scoring_request *request, eum_status status)
{
    if ((status != EUM_ERROR_OVER_BUDGET && status != EUM_ERROR_OUT_OF_DEVICE_MEMORY) || eum_callback_depth != 0)
        return false;
    eum_scoring_operands all = eum_scoring_operands_of(request);
    for (size_t i = 0; i < all.count; i++)
        if (all.ranges[i].buf->backing == EUM_BACKING_MIRRORED && all.ranges[i].buf->memory.device == NULL)
            return true;
    return false;
}

/* ------------------------------------------------------------------------------------------------------- shape ----- */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* The gap between vectors, without its whole multiples of the alignment. */
static size_t staged_stride(size_t vector, size_t stride)
{
    return vector + (stride - vector) % ALIGNMENT;
}

static uint64_t row_capacity(uint64_t bytes, size_t vector, size_t stride)
{
    return bytes <= ALIGNMENT + vector ? 1 : 1 + (bytes - ALIGNMENT - vector) / stride;
}

static shape shape_of(eum_ctx *ctx, const eum_scoring_request *request)
{
    size_t element = request->element == EUM_ELEMENT_FLOAT32 ? sizeof(float) : sizeof(uint16_t);
    shape s = {.query_bytes = (size_t)request->dim * sizeof(float), .row_bytes = (size_t)request->dim * element};
    s.query_stride = staged_stride(s.query_bytes, request->query_stride == 0 ? s.query_bytes : request->query_stride);
    s.row_stride = staged_stride(s.row_bytes, request->row_stride);
    uint64_t limit, used;
    eum_budget_read(ctx->budget, &limit, &used);
    uint64_t part = most(limit > used ? (limit - used) / PARTS : 0, LEAST_BYTES);
    uint64_t targets = least(2 * part, STAGE_BYTES), results = least(part, STAGE_BYTES);
    uint64_t rows = least(request->rows, row_capacity(targets, s.row_bytes, s.row_stride));
    bool best = request->indices.buf != NULL;
    uint64_t each = best ? request->k * (sizeof(float) + sizeof(int64_t)) : sizeof(float); /* of results: a query, or a pair */
    uint64_t by_results = best ? results / each : most(results / (rows == 0 ? 1 : rows) / each, BLOCK_QUERIES);
    uint64_t queries = least(row_capacity(least(part, STAGE_BYTES), s.query_bytes, s.query_stride), by_results);
    queries = least(most(queries, 2 * EUM_STREAMED_QUERIES + 2), request->query_count);
    /* Blocks of equal size: where there are more than eight queries, more than eight in each. */
    uint64_t blocks = (request->query_count + queries - 1) / queries;
    s.queries = (request->query_count + blocks - 1) / blocks;
    s.rows = best ? rows : least(rows, most(results / each / s.queries, 1));
    return s;
}

/* Queries of the block that begins at `first`: `queries` for the first blocks, one less for the others, so that none is small. */
static uint64_t block_queries(const eum_scoring_request *request, const shape *s, uint64_t first)
{
    uint64_t blocks = (request->query_count + s->queries - 1) / s->queries, small = request->query_count / blocks;
    uint64_t larger = request->query_count - small * blocks;
    return first < larger * (small + 1) ? small + 1 : small;
}

/* ---------------------------------------------------------------------------------------------------- resources ---- */

static eum_status stage_buffer(eum_ctx *ctx, size_t bytes, eum_buf **out)
{
    eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
    config.backing = EUM_BACKING_MIRRORED;
    return eum_buf_create(ctx, bytes, &config, out);
}

/* Products fit: they are bounded by STAGE_BYTES, or by the operands' own. */
static eum_status prepare(passage *p)
{
    const eum_scoring_request *request = p->request;
    const shape *s = &p->shape;
    eum_ctx *ctx = p->stream->ctx;
    bool best = request->indices.buf != NULL;
    size_t queries = ALIGNMENT + (size_t)(s->queries - 1) * s->query_stride + s->query_bytes;
    size_t targets = s->rows == 0 ? 0 : ALIGNMENT + (size_t)(s->rows - 1) * s->row_stride + s->row_bytes;
    size_t results = (size_t)(s->queries * (best ? request->k : s->rows));
    p->staged_queries = malloc(queries);
    p->scores = malloc(results * sizeof *p->scores);
    bool complete = p->staged_queries != NULL && p->scores != NULL;
    if (best) {
        p->indices = malloc(results * sizeof *p->indices);
        p->best_scores = malloc(results * sizeof *p->best_scores);
        p->best_indices = malloc(results * sizeof *p->best_indices);
        complete = complete && p->indices != NULL && p->best_scores != NULL && p->best_indices != NULL;
    }
    if (request->numbers != NULL) {
        p->numbers = malloc((size_t)s->rows * sizeof *p->numbers);
        complete = complete && p->numbers != NULL;
        for (uint64_t i = 0; p->numbers != NULL && i < s->rows; i++)
            p->numbers[i] = (int64_t)i;
    }
    if (!complete)
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no host memory to pass operands through the device in chunks; free some");
    eum_status status = stage_buffer(ctx, queries, &p->query_stage);
    for (int i = 0; i < STAGES && status == EUM_OK; i++) {
        status = stage_buffer(ctx, targets, &p->stages[i].targets);
        if (status == EUM_OK)
            status = stage_buffer(ctx, results * sizeof(float), &p->stages[i].scores);
        if (status == EUM_OK && best)
            status = stage_buffer(ctx, results * sizeof(int64_t), &p->stages[i].indices);
    }
    return status;
}

static void end_buffer(eum_buf *buf)
{
    if (buf != NULL)
        eum_buf_end(buf); /* freed when the last chunk has passed */
}

static void clean_up(passage *p)
{
    for (int i = 0; i < STAGES; i++) {
        end_buffer(p->stages[i].targets);
        end_buffer(p->stages[i].scores);
        end_buffer(p->stages[i].indices);
    }
    end_buffer(p->query_stage);
    free(p->staged_queries);
    free(p->scores);
    free(p->indices);
    free(p->best_scores);
    free(p->best_indices);
    free(p->numbers);
}

/* ------------------------------------------------------------------------------------------------------- inputs ---- */

static size_t place_of(const eum_range *range, uint64_t number, size_t stride)
{
    return (range->offset + (size_t)number * stride) % ALIGNMENT;
}

/* Copies `count` vectors that are `from_stride` apart. */
static void copy_vectors(char *to, size_t to_stride, const char *from, size_t from_stride, size_t bytes, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        memcpy(to + (size_t)i * to_stride, from + (size_t)i * from_stride, bytes);
}

static eum_status load_queries(passage *p)
{
    const eum_scoring_request *request = p->request;
    const shape *s = &p->shape;
    size_t place = place_of(&request->queries, p->first_query, request->query_stride);
    size_t bytes = (size_t)(p->queries - 1) * s->query_stride + s->query_bytes;
    bool alike = s->query_stride == request->query_stride;
    eum_status status = EUM_OK;
    for (uint64_t q = 0; q < (alike ? 1 : p->queries) && status == EUM_OK; q++) {
        size_t offset = request->queries.offset + (size_t)(p->first_query + q) * request->query_stride;
        eum_range range = {request->queries.buf, offset, alike ? bytes : s->query_bytes};
        status = eum_buf_read(range, p->staged_queries + (size_t)q * s->query_stride);
    }
    p->query_range = (eum_range){p->query_stage, place, bytes};
    return status == EUM_OK ? eum_buf_write(p->query_range, p->staged_queries) : status;
}

/* Fills the stage with rows [first, first + rows) of the targets, or of the list. */
static eum_status load_targets(passage *p, const stage *st, eum_range *out)
{
    const eum_scoring_request *request = p->request;
    const shape *s = &p->shape;
    uint64_t place = request->numbers != NULL ? 0 : st->first;
    *out = (eum_range){st->targets, place_of(&request->targets, place, request->row_stride),
                       (size_t)(st->rows - 1) * s->row_stride + s->row_bytes};
    const char *from = p->source + (request->numbers != NULL ? 0 : (size_t)st->first * request->row_stride);
    if (request->numbers == NULL && s->row_stride == request->row_stride)
        return eum_buf_write(*out, from);
    void *to = NULL;
    uint64_t lease;
    eum_status status = eum_buf_hold(*out, EUM_ACCESS_OVERWRITE, &to, &lease);
    if (status != EUM_OK)
        return status;
    if (request->numbers == NULL)
        copy_vectors(to, s->row_stride, from, request->row_stride, s->row_bytes, st->rows);
    for (uint64_t i = 0; request->numbers != NULL && i < st->rows; i++)
        memcpy((char *)to + (size_t)i * s->row_stride, from + (size_t)request->numbers[st->first + i] * request->row_stride,
               s->row_bytes);
    eum_buf_let_go(st->targets, lease);
    return EUM_OK;
}

static eum_status start(passage *p, stage *st)
{
    eum_scoring_request chunk = *p->request;
    eum_status status = load_targets(p, st, &chunk.targets);
    if (status != EUM_OK)
        return status;
    bool best = chunk.indices.buf != NULL;
    size_t results = (size_t)(p->queries * (best ? chunk.k : st->rows));
    chunk.executor = EUM_EXECUTOR_DEVICE;
    chunk.queries = p->query_range;
    chunk.scores = (eum_range){st->scores, 0, results * sizeof(float)};
    if (best)
        chunk.indices = (eum_range){st->indices, 0, results * sizeof(int64_t)};
    chunk.numbers = p->numbers;
    chunk.query_count = p->queries;
    chunk.rows = st->rows;
    chunk.query_stride = p->shape.query_stride;
    chunk.row_stride = p->shape.row_stride;
    return eum_scoring_launch(p->stream, &chunk, &st->job);
}

/* ------------------------------------------------------------------------------------------------------ results ---- */

static bool nearer(float a, int64_t row_a, float b, int64_t row_b, bool smaller)
{
    if (row_a < 0 || row_b < 0)
        return row_b < 0 && row_a >= 0;
    if (a < b || a > b)
        return (a < b) == smaller;
    return isnan(a) != isnan(b) ? isnan(b) : row_a < row_b;
}

/* Merges the best rows of a chunk into those so far, for one query. */
static void merge(passage *p, const stage *st, uint64_t query)
{
    float scores[EUM_TOPK_MOST];
    int64_t indices[EUM_TOPK_MOST];
    const uint64_t k = p->request->k;
    const bool smaller = p->request->metric == EUM_METRIC_L2_SQUARED;
    const float *new_scores = p->scores + query * k;
    const int64_t *new_indices = p->indices + query * k;
    float *best_scores = p->best_scores + query * k;
    int64_t *best_indices = p->best_indices + query * k;
    for (uint64_t n = 0, a = 0, b = 0; n < k; n++) {
        int64_t row = new_indices[b] < 0 ? -1 : new_indices[b] + (int64_t)st->first;
        bool newer = nearer(new_scores[b], row, best_scores[a], best_indices[a], smaller);
        scores[n] = newer ? new_scores[b] : best_scores[a];
        indices[n] = newer ? row : best_indices[a];
        a += !newer;
        b += newer;
    }
    memcpy(best_scores, scores, (size_t)k * sizeof *scores);
    memcpy(best_indices, indices, (size_t)k * sizeof *indices);
}

static eum_status write_results(passage *p, eum_range results, uint64_t first, uint64_t count, size_t element, const void *from)
{
    p->begun = true;
    results.offset += (size_t)first * element;
    results.bytes = (size_t)count * element;
    return eum_buf_write(results, from);
}

static eum_status write_scores(passage *p, const stage *st)
{
    const eum_scoring_request *request = p->request;
    if (st->rows == request->rows)
        return write_results(p, request->scores, p->first_query * request->rows, p->queries * request->rows, sizeof(float),
                             p->scores);
    eum_status status = EUM_OK;
    for (uint64_t q = 0; q < p->queries && status == EUM_OK; q++)
        status = write_results(p, request->scores, (p->first_query + q) * request->rows + st->first, st->rows, sizeof(float),
                               p->scores + q * st->rows);
    return status;
}

/* Waits for the stage's kernel, if one is in flight, and takes its results. */
static eum_status collect(passage *p, stage *st)
{
    if (st->rows == 0)
        return EUM_OK;
    bool best = p->request->indices.buf != NULL;
    size_t results = (size_t)(p->queries * (best ? p->request->k : st->rows));
    eum_status status = eum_ctx_job_wait(p->stream->ctx, st->job.stream, st->job.sequence, -1);
    if (status == EUM_OK)
        status = eum_buf_read((eum_range){st->scores, 0, results * sizeof(float)}, p->scores);
    if (status == EUM_OK && best)
        status = eum_buf_read((eum_range){st->indices, 0, results * sizeof(int64_t)}, p->indices);
    if (status == EUM_OK && !best)
        status = write_scores(p, st);
    for (uint64_t q = 0; q < p->queries && status == EUM_OK && best; q++)
        merge(p, st, q);
    st->rows = 0;
    return status;
}

/* ---------------------------------------------------------------------------------------------------- operation ---- */

static eum_status score_block(passage *p)
{
    const eum_scoring_request *request = p->request;
    bool best = request->indices.buf != NULL;
    uint64_t kept = p->queries * request->k, n = 0;
    for (uint64_t i = 0; best && i < kept; i++) {
        p->best_scores[i] = NAN;
        p->best_indices[i] = -1;
    }
    eum_status status = load_queries(p);
    for (uint64_t first = 0; first < request->rows && status == EUM_OK; first += p->shape.rows, n++) {
        stage *st = &p->stages[n % STAGES];
        status = collect(p, st);
        if (status != EUM_OK)
            break;
        st->first = first;
        st->rows = least(p->shape.rows, request->rows - first);
        status = start(p, st);
    }
    for (int i = 0; i < STAGES && status == EUM_OK; i++, n++)
        status = collect(p, &p->stages[n % STAGES]);
    if (status == EUM_OK && best)
        status = write_results(p, request->scores, p->first_query * request->k, kept, sizeof(float), p->best_scores);
    if (status == EUM_OK && best)
        status = write_results(p, request->indices, p->first_query * request->k, kept, sizeof(int64_t), p->best_indices);
    return status;
}

eum_status eum_scoring_in_chunks(eum_strm *stream, const eum_scoring_request *request, bool *out_begun)
{
    eum_ctx *ctx = stream->ctx;
    passage p = {.stream = stream, .request = request, .shape = shape_of(ctx, request)};
    void *source = NULL;
    uint64_t lease;
    *out_begun = false;
    eum_status status = eum_buf_hold(request->targets, EUM_ACCESS_READ, &source, &lease);
    if (status != EUM_OK)
        return status;
    p.source = source;
    status = prepare(&p);
    while (status == EUM_OK && p.first_query < request->query_count) {
        p.queries = block_queries(request, &p.shape, p.first_query);
        status = score_block(&p);
        p.first_query += p.queries;
    }
    *out_begun = p.begun;
    eum_error saved;
    eum_error_save(&saved);
    clean_up(&p);
    eum_buf_let_go(request->targets.buf, lease);
    eum_error_restore(&saved);
    return status;
}
