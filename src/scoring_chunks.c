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

#include "least.h"
#include "scoring.h"

/* Bytes of rows that another thread takes at once. */
#define GATHER_BYTES ((size_t)256 << 10)

typedef struct stage {
    eum_buf *targets, *scores, *indices;
    eum_job job;
    uint64_t first, rows; /* in flight; rows 0: none */
} stage;

typedef struct passage {
    eum_strm *stream;
    const eum_scoring_request *request;
    eum_chunk_shape shape;
    const char *source;                  /* the targets, held on the host */
    bool direct_queries, direct_results; /* kernels use the request's own; else what is staged of them */
    eum_buf *query_stage;
    eum_range query_range; /* the present block */
    size_t query_stride;
    stage stages[EUM_CHUNK_STAGES];
    int stage_count;      /* one is enough for one chunk */
    char *staged_queries; /* host memory: a block of queries, the results of a chunk, the best so far, the numbers 0 to rows - 1 */
    float *scores, *best_scores;
    int64_t *indices, *best_indices, *numbers;
    uint64_t first_query, queries; /* the present block */
    bool begun;
} passage;

/* Do kernels use the buffer's bytes even without room for a device copy? */
static bool is_reachable(const eum_buf *buf)
{
    return buf->backing != EUM_BACKING_MIRRORED || buf->memory.device != NULL;
}

bool eum_scoring_may_chunk(const eum_scoring_request *request, eum_status status)
{
    if ((status != EUM_ERROR_OVER_BUDGET && status != EUM_ERROR_OUT_OF_DEVICE_MEMORY) || eum_callback_depth != 0)
        return false;
    eum_scoring_operands all = eum_scoring_operands_of(request);
    bool smaller = eum_scoring_scratch(request->scores.buf->ctx, request) > 0; /* chunks need less of it */
    for (size_t i = 0; i < all.count; i++)
        smaller |= !is_reachable(all.ranges[i].buf);
    return smaller && request->targets.buf->backing != EUM_BACKING_DEVICE; /* the CPU fills the stages */
}

/* ------------------------------------------------------------------------------------------------------- shape ----- */

typedef struct scratch_of {
    const eum_ctx *ctx;
    const eum_scoring_request *request;
} scratch_of;

static size_t scratch(const void *arg, uint64_t queries, uint64_t rows)
{
    const scratch_of *of = arg;
    eum_scoring_request part = *of->request;
    part.query_count = queries;
    part.rows = rows;
    return eum_scoring_scratch(of->ctx, &part);
}

static eum_chunk_shape shape_of(eum_ctx *ctx, const eum_scoring_request *request)
{
    eum_ctx_relock(ctx);
    uint64_t room = eum_ctx_room(ctx);
    eum_ctx_unlock(ctx);
    const scratch_of of = {ctx, request};
    bool needs_scratch = eum_scoring_scratch(ctx, request) > 0;
    eum_chunk_question question = {.query_count = request->query_count,
                                   .rows = request->rows,
                                   .dim = request->dim,
                                   .k = request->indices.buf != NULL ? request->k : 0,
                                   .element_bytes = eum_scoring_element_bytes(request),
                                   .query_stride = request->query_stride,
                                   .row_stride = request->row_stride,
                                   .moves = !eum_scoring_streams(request),
                                   .room = room,
                                   .scratch = needs_scratch ? scratch : NULL,
                                   .scratch_arg = &of};
    return eum_chunk_shape_of(&question);
}

static bool has_one_chunk(const eum_scoring_request *request, const eum_chunk_shape *shape)
{
    return request->rows > 0 && shape->rows >= request->rows && shape->queries >= request->query_count;
}

/* What the kernels can write where it belongs: results of one query lie in the order of rows, and one chunk has them all. */
static bool writes_directly(const eum_scoring_request *request, const eum_chunk_shape *shape)
{
    bool best = request->indices.buf != NULL;
    if (!is_reachable(request->scores.buf) || (best && !is_reachable(request->indices.buf)))
        return false;
    return has_one_chunk(request, shape) || (request->query_count == 1 && !best);
}

/* ---------------------------------------------------------------------------------------------------- resources ---- */

/* Results are written over the link: to copy them back would wait for the targets that are on their way. */
static eum_status stage_buffer(eum_ctx *ctx, eum_role role, size_t bytes, eum_buf **out)
{
    eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
    config.backing = EUM_BACKING_MIRRORED;
    config.role = role;
    return eum_buf_create(ctx, bytes, &config, out);
}

/* Host memory for what is staged. Products fit: they are bounded by the stages' size, or by the operands' own. */
static bool allocate(passage *p, size_t queries, size_t results)
{
    const eum_scoring_request *request = p->request;
    bool best = request->indices.buf != NULL, complete = true;
    if (!p->direct_queries) {
        p->staged_queries = malloc(queries);
        complete = p->staged_queries != NULL;
    }
    if (!p->direct_results) {
        p->scores = malloc(results * sizeof *p->scores);
        complete = complete && p->scores != NULL;
    }
    if (!p->direct_results && best) {
        p->indices = malloc(results * sizeof *p->indices);
        p->best_scores = malloc(results * sizeof *p->best_scores);
        p->best_indices = malloc(results * sizeof *p->best_indices);
        complete = complete && p->indices != NULL && p->best_scores != NULL && p->best_indices != NULL;
    }
    if (request->numbers != NULL) {
        p->numbers = malloc((size_t)p->shape.rows * sizeof *p->numbers);
        complete = complete && p->numbers != NULL;
        for (uint64_t i = 0; p->numbers != NULL && i < p->shape.rows; i++)
            p->numbers[i] = (int64_t)i;
    }
    return complete;
}

static eum_status prepare(passage *p)
{
    const eum_scoring_request *request = p->request;
    const eum_chunk_shape *s = &p->shape;
    eum_ctx *ctx = p->stream->ctx;
    bool best = request->indices.buf != NULL;
    size_t queries = EUM_CHUNK_ALIGNMENT + (size_t)(s->queries - 1) * s->query_stride + s->query_bytes;
    size_t targets = s->rows == 0 ? 0 : EUM_CHUNK_ALIGNMENT + (size_t)(s->rows - 1) * s->row_stride + s->row_bytes;
    size_t results = (size_t)(s->queries * (best ? request->k : s->rows));
    p->direct_queries = is_reachable(request->queries.buf);
    p->direct_results = writes_directly(request, s);
    p->stage_count = has_one_chunk(request, s) ? 1 : EUM_CHUNK_STAGES;
    if (!allocate(p, queries, results)) {
        (void)eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no host memory to pass operands through the device in chunks; free some");
        return EUM_ERROR_OUT_OF_MEMORY; /* which the analysis of this file alone cannot know of eum_fail */
    }
    eum_status status = p->direct_queries ? EUM_OK : stage_buffer(ctx, EUM_ROLE_AUTO, queries, &p->query_stage);
    for (int i = 0; i < p->stage_count && status == EUM_OK; i++) {
        status = stage_buffer(ctx, EUM_ROLE_AUTO, targets, &p->stages[i].targets);
        if (status == EUM_OK && !p->direct_results)
            status = stage_buffer(ctx, EUM_ROLE_RESULTS, results * sizeof(float), &p->stages[i].scores);
        if (status == EUM_OK && !p->direct_results && best)
            status = stage_buffer(ctx, EUM_ROLE_RESULTS, results * sizeof(int64_t), &p->stages[i].indices);
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
    for (int i = 0; i < EUM_CHUNK_STAGES; i++) {
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

/* Where a kernel would have found it; the device copy of mirrored memory is aligned. */
static size_t place_of(const eum_range *range, uint64_t number, size_t stride)
{
    size_t base = range->buf->backing == EUM_BACKING_MIRRORED ? 0 : (uintptr_t)range->buf->memory.device % EUM_CHUNK_ALIGNMENT;
    return (base + range->offset + (size_t)number * stride) % EUM_CHUNK_ALIGNMENT;
}

typedef struct gather {
    char *to;
    const char *from;
    const int64_t *numbers; /* NULL: one after the other */
    size_t to_stride, from_stride, bytes;
} gather;

static void gather_vectors(void *arg, uint64_t begin, uint64_t end)
{
    const gather *g = arg;
    for (uint64_t i = begin; i < end; i++) {
        size_t from = (size_t)(g->numbers != NULL ? (uint64_t)g->numbers[i] : i);
        memcpy(g->to + (size_t)i * g->to_stride, g->from + from * g->from_stride, g->bytes);
    }
}

static eum_status load_queries(passage *p)
{
    const eum_scoring_request *request = p->request;
    const eum_chunk_shape *s = &p->shape;
    if (p->direct_queries) {
        p->query_stride = request->query_stride;
        p->query_range = request->queries;
        p->query_range.offset += (size_t)p->first_query * request->query_stride;
        p->query_range.bytes = (size_t)(p->queries - 1) * request->query_stride + s->query_bytes;
        return EUM_OK;
    }
    size_t place = place_of(&request->queries, p->first_query, request->query_stride);
    size_t bytes = (size_t)(p->queries - 1) * s->query_stride + s->query_bytes;
    bool alike = s->query_stride == request->query_stride;
    eum_status status = EUM_OK;
    for (uint64_t q = 0; q < (alike ? 1 : p->queries) && status == EUM_OK; q++) {
        size_t offset = request->queries.offset + (size_t)(p->first_query + q) * request->query_stride;
        eum_range range = {request->queries.buf, offset, alike ? bytes : s->query_bytes};
        status = eum_buf_read(range, p->staged_queries + (size_t)q * s->query_stride);
    }
    p->query_stride = s->query_stride;
    p->query_range = (eum_range){p->query_stage, place, bytes};
    return status == EUM_OK ? eum_buf_write(p->query_range, p->staged_queries) : status;
}

/* Fills the stage with rows [first, first + rows) of the targets, or of the list. */
static eum_status load_targets(passage *p, const stage *st, eum_range *out)
{
    const eum_scoring_request *request = p->request;
    const eum_chunk_shape *s = &p->shape;
    eum_workers *workers = p->stream->ctx->workers;
    bool listed = request->numbers != NULL;
    *out = (eum_range){st->targets, place_of(&request->targets, listed ? 0 : st->first, request->row_stride),
                       (size_t)(st->rows - 1) * s->row_stride + s->row_bytes};
    const char *from = p->source + (listed ? 0 : (size_t)st->first * request->row_stride);
    if (!listed && s->row_stride == request->row_stride)
        return eum_buf_write(*out, from);
    void *to = NULL;
    uint64_t lease;
    eum_status status = eum_buf_hold(*out, EUM_ACCESS_OVERWRITE, &to, &lease);
    if (status != EUM_OK)
        return status;
    gather rows = {to, from, listed ? request->numbers + st->first : NULL, s->row_stride, request->row_stride, s->row_bytes};
    uint64_t grain = GATHER_BYTES / s->row_bytes;
    eum_workers_run(workers, st->rows, grain > 0 ? grain : 1, gather_vectors, &rows);
    eum_buf_let_go(st->targets, lease);
    return EUM_OK;
}

static eum_status start(passage *p, stage *st)
{
    eum_scoring_request chunk = *p->request;
    bool best = chunk.indices.buf != NULL;
    size_t results = (size_t)(p->queries * (best ? chunk.k : st->rows));
    chunk.executor = EUM_EXECUTOR_DEVICE;
    chunk.key = NULL;
    chunk.numbers = p->numbers;
    chunk.query_count = p->queries;
    chunk.rows = st->rows;
    chunk.row_stride = p->shape.row_stride;
    chunk.queries = p->query_range;
    chunk.query_stride = p->query_stride;
    chunk.scores = (eum_range){st->scores, 0, results * sizeof(float)};
    if (best)
        chunk.indices = (eum_range){st->indices, 0, results * sizeof(int64_t)};
    if (p->direct_results) { /* all of them, or those of some rows for one query */
        chunk.scores = p->request->scores;
        chunk.indices = p->request->indices;
        if (!best) {
            chunk.scores.offset += (size_t)st->first * sizeof(float);
            chunk.scores.bytes = results * sizeof(float);
        }
    }
    eum_status status = load_targets(p, st, &chunk.targets);
    if (status == EUM_OK &&
        !eum_scoring_streams(&chunk)) /* the kernel would move them on its own stream, behind the one before it */
        eum_buf_start_moving(chunk.targets, p->stream->ctx->device->caps.index);
    if (status == EUM_OK)
        status = eum_scoring_launch(p->stream, &chunk, NULL, &st->job);
    p->begun |= status == EUM_OK && p->direct_results;
    return status;
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

static eum_status take_results(passage *p, const stage *st)
{
    bool best = p->best_scores != NULL;
    size_t results = (size_t)(p->queries * (best ? p->request->k : st->rows));
    eum_status status = eum_buf_read((eum_range){st->scores, 0, results * sizeof(float)}, p->scores);
    if (status == EUM_OK && best)
        status = eum_buf_read((eum_range){st->indices, 0, results * sizeof(int64_t)}, p->indices);
    if (status == EUM_OK && !best)
        status = write_scores(p, st);
    for (uint64_t q = 0; q < p->queries && status == EUM_OK && best; q++)
        merge(p, st, q);
    return status;
}

/* Waits for the stage's kernel, if one is in flight, and takes its results. */
static eum_status collect(passage *p, stage *st)
{
    if (st->rows == 0)
        return EUM_OK;
    eum_status status = eum_ctx_job_wait(p->stream->ctx, st->job.stream, st->job.sequence, -1);
    if (status == EUM_OK && !p->direct_results)
        status = take_results(p, st);
    st->rows = 0;
    return status;
}

/* ---------------------------------------------------------------------------------------------------- operation ---- */

static eum_status score_block(passage *p)
{
    const eum_scoring_request *request = p->request;
    bool merges = p->best_scores != NULL;
    uint64_t kept = p->queries * request->k, n = 0;
    for (uint64_t i = 0; merges && i < kept; i++) {
        p->best_scores[i] = NAN;
        p->best_indices[i] = -1;
    }
    eum_status status = load_queries(p);
    for (uint64_t first = 0; first < request->rows && status == EUM_OK; first += p->shape.rows, n++) {
        stage *st = &p->stages[n % (unsigned)p->stage_count];
        status = collect(p, st);
        if (status != EUM_OK)
            break;
        st->first = first;
        st->rows = eum_least(p->shape.rows, request->rows - first);
        status = start(p, st);
    }
    for (int i = 0; i < p->stage_count && status == EUM_OK; i++, n++)
        status = collect(p, &p->stages[n % (unsigned)p->stage_count]);
    if (status == EUM_OK && merges)
        status = write_results(p, request->scores, p->first_query * request->k, kept, sizeof(float), p->best_scores);
    if (status == EUM_OK && merges)
        status = write_results(p, request->indices, p->first_query * request->k, kept, sizeof(int64_t), p->best_indices);
    return status;
}

/* The queries are read again and again, and are to be those of one moment. Results are written piece by piece: nobody else uses them until all are
 * there, or the call fails before it starts. */
static eum_status keep(const eum_range *range, eum_access access, uint64_t *out_lease)
{
    eum_buf *buf = range->buf;
    eum_status status = eum_buf_enter(buf, "a similarity operation");
    if (status != EUM_OK)
        return status;
    status = eum_buf_check_access(buf, range->offset, range->bytes, access);
    if (status == EUM_OK)
        status = access == EUM_ACCESS_READ ? eum_buf_lease(buf, range->offset, range->bytes, access, out_lease)
                                           : eum_buf_keep(buf, range->offset, range->bytes, access, out_lease);
    eum_ctx_unlock(buf->ctx);
    return status;
}

/* The targets are held as a map holds them. */
static eum_status keep_all(const eum_scoring_operands *all, void **out_source, uint64_t *leases, size_t *out_kept)
{
    eum_status status = EUM_OK;
    for (*out_kept = 0; *out_kept < all->count && status == EUM_OK; *out_kept += status == EUM_OK) {
        size_t i = *out_kept;
        status = i == EUM_TARGETS ? eum_buf_hold(all->ranges[i], EUM_ACCESS_READ, out_source, &leases[i])
                                  : keep(&all->ranges[i], all->accesses[i], &leases[i]);
    }
    return status;
}

static void let_all_go(const eum_scoring_operands *all, const uint64_t *leases, size_t kept)
{
    while (kept-- > 0) {
        eum_buf *buf = all->ranges[kept].buf;
        if (kept == EUM_TARGETS) {
            eum_buf_let_go(buf, leases[kept]);
            continue;
        }
        eum_ctx_relock(buf->ctx);
        eum_buf_end_lease(buf, leases[kept]);
        eum_ctx_unlock(buf->ctx);
    }
}

eum_status eum_scoring_in_chunks(eum_strm *stream, const eum_scoring_request *request, bool *out_begun)
{
    eum_ctx *ctx = stream->ctx;
    passage p = {.stream = stream, .request = request, .shape = shape_of(ctx, request)};
    void *source = NULL;
    uint64_t leases[EUM_SCORING_OPERANDS] = {0};
    size_t kept = 0;
    *out_begun = false;
    const eum_scoring_operands all = eum_scoring_operands_of(request);
    eum_status status = eum_scoring_check(ctx, &all);
    if (status == EUM_OK)
        status = keep_all(&all, &source, leases, &kept);
    p.source = source;
    if (status == EUM_OK)
        status = prepare(&p);
    while (status == EUM_OK && p.first_query < request->query_count) {
        p.queries = eum_chunk_block_queries(request->query_count, &p.shape, p.first_query);
        status = score_block(&p);
        p.first_query += p.queries;
    }
    *out_begun = p.begun;
    eum_error saved;
    eum_error_save(&saved);
    clean_up(&p);
    let_all_go(&all, leases, kept);
    eum_error_restore(&saved);
    return status;
}
