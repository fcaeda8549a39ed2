/* scoring: the similarity operations in the C ABI: shapes, strides and alignment of their operands.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "arguments.h"
#include "objects.h"
#include "structs.h"

enum { QUERIES, TARGETS, SCORES, INDICES, OPERANDS };

/* What the configurations have in common; strides of 0 replaced by measure(). */
typedef struct call {
    eum_operation operation;
    eum_executor executor;
    int32_t reserved;
    eum_metric metric;
    eum_element element;
    eum_view views[OPERANDS];
    size_t needed[OPERANDS]; /* bytes */
    size_t operands;         /* OPERANDS, or without indices */
    uint64_t query_count, rows, dim, k;
    size_t query_stride, row_stride;
    uint64_t results;       /* scores of each query */
    const int64_t *numbers; /* NULL: all rows */
    const void *source;     /* NULL, or the targets in the caller's memory */
    eum_call_key key;       /* the configuration as it was given */
} call;

static size_t element_bytes(eum_element element)
{
    return element == EUM_ELEMENT_FLOAT32 ? sizeof(float) : sizeof(uint16_t);
}

static eum_status overflow(const char *what, uint64_t count, uint64_t of)
{
    return eum_fail(EUM_ERROR_SIZE_OVERFLOW, "%s: %llu times %llu does not fit in size_t; pass less at once", what,
                    (unsigned long long)count, (unsigned long long)of);
}

/* count vectors of dim elements, *stride bytes apart (0: one after the other). */
static eum_status measure_matrix(const char *what, uint64_t count, uint64_t dim, size_t element, size_t *stride, size_t *bytes)
{
    size_t vector = 0, all = 0;
    if (__builtin_mul_overflow(dim, element, &vector))
        return overflow(what, dim, element);
    if (*stride == 0)
        *stride = vector;
    if (*stride % element != 0)
        return eum_fail(
            EUM_ERROR_MISALIGNED,
            "the stride of the %s is %zu, which is not a multiple of their elements' %zu bytes; it is in bytes, from row to row",
            what, *stride, element);
    if (*stride < vector)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT,
                        "the stride of the %s is %zu, shorter than %llu elements (%zu bytes); pass at least that, or 0", what,
                        *stride, (unsigned long long)dim, vector);
    if (__builtin_mul_overflow(count, *stride, &all))
        return overflow(what, count, *stride);
    *bytes = count == 0 ? 0 : all - *stride + vector;
    return EUM_OK;
}

static eum_status measure_results(const char *what, uint64_t queries, uint64_t each, size_t element, size_t *bytes)
{
    size_t count = 0;
    if (__builtin_mul_overflow(queries, each, &count) || __builtin_mul_overflow(count, element, bytes))
        return overflow(what, queries, each);
    return EUM_OK;
}

static const char *name_of(const call *c, size_t operand)
{
    static const char *const names[OPERANDS] = {"queries", "targets", "scores", "indices"};
    return operand == QUERIES && c->operation == EUM_OPERATION_COSINE ? "query" : names[operand];
}

static eum_status measure(call *c)
{
    eum_status status = eum_check_enum("metric", c->metric, EUM_METRIC_COSINE, EUM_METRIC_L2_SQUARED, "EUM_METRIC_*");
    if (status == EUM_OK)
        status = eum_check_enum("executor", c->executor, EUM_EXECUTOR_AUTO, EUM_EXECUTOR_DEVICE, "EUM_EXECUTOR_*");
    if (status == EUM_OK)
        status = eum_check_zero("reserved", c->reserved);
    if (status == EUM_OK)
        status = eum_check_enum("element", c->element, EUM_ELEMENT_FLOAT32, EUM_ELEMENT_BFLOAT16, "EUM_ELEMENT_*");
    if (status == EUM_OK && c->dim == 0)
        status = eum_fail(EUM_ERROR_INVALID_ARGUMENT, "dim is 0; a vector has at least 1 element");
    if (status == EUM_OK && c->operands == OPERANDS && (c->k == 0 || c->k > EUM_TOPK_MOST))
        status = eum_fail(EUM_ERROR_INVALID_ARGUMENT, "k is %llu; it is 1 to %d", (unsigned long long)c->k, EUM_TOPK_MOST);
    if (status == EUM_OK)
        status = measure_matrix(name_of(c, QUERIES), c->query_count, c->dim, sizeof(float), &c->query_stride, &c->needed[QUERIES]);
    if (status == EUM_OK)
        status = measure_matrix("targets", c->rows, c->dim, element_bytes(c->element), &c->row_stride, &c->needed[TARGETS]);
    if (status == EUM_OK)
        status = measure_results("scores", c->query_count, c->results, sizeof(float), &c->needed[SCORES]);
    if (status == EUM_OK && c->operands == OPERANDS)
        status = measure_results("indices", c->query_count, c->results, sizeof(int64_t), &c->needed[INDICES]);
    return status;
}

/* Pins the operand, and trims its range to what is used. On failure nothing is pinned. */
static eum_status take_operand(const char *what, eum_view view, size_t needed, size_t element, const eum_strm *stream,
                               eum_range *out)
{
    eum_status status = eum_pin_view(what, view, out);
    if (status != EUM_OK)
        return status;
    if (out->offset % element != 0)
        status = eum_fail(EUM_ERROR_MISALIGNED, "%s has offset %zu, which is not a multiple of %zu; begin it at an element", what,
                          out->offset, element);
    else if (needed > 0 && !eum_buf_aligned(out->buf, element))
        status = eum_fail(EUM_ERROR_MISALIGNED,
                          "%s wraps memory whose address is not a multiple of %zu; wrap memory that starts at an element", what,
                          element);
    else if (out->bytes < needed)
        status =
            eum_fail(EUM_ERROR_BUFFER_TOO_SHORT, "%s has %zu bytes, and the declared shape needs %zu; pass a longer view, or less",
                     what, out->bytes, needed);
    else
        status = eum_check_same_context(what, out->buf, stream);
    out->bytes = needed;
    if (status != EUM_OK)
        eum_handle_unpin(view.buffer);
    return status;
}

/* Targets that are no view: what is known of them is their address. */
static eum_status check_source(const call *c)
{
    const eum_view *view = &c->views[TARGETS];
    const size_t element = element_bytes(c->element);
    uintptr_t end = 0;
    if (view->buffer != NULL || view->offset != 0 || view->bytes != 0)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT,
                        "targets and host_targets are both given; leave the view {NULL, 0, 0}, or host_targets NULL");
    if ((uintptr_t)c->source % element != 0)
        return eum_fail(EUM_ERROR_MISALIGNED,
                        "host_targets is %p, which is not a multiple of its elements' %zu bytes; align the array", c->source,
                        element);
    if (__builtin_add_overflow((uintptr_t)c->source, c->needed[TARGETS], &end))
        return eum_fail(EUM_ERROR_SIZE_OVERFLOW,
                        "host_targets is %p, and %zu bytes from there end beyond all memory; check rows and stride", c->source,
                        c->needed[TARGETS]);
    return EUM_OK;
}

/* tried: how it failed when it was launched again. */
static eum_scoring_request request_of(const call *c, const eum_range *ranges, eum_status tried)
{
    bool other_memory = c->source != NULL || c->numbers != NULL; /* what is there may be other values the next time */
    return (eum_scoring_request){.operation = c->operation,
                                 .executor = c->executor,
                                 .metric = c->metric,
                                 .element = c->element,
                                 .queries = ranges[QUERIES],
                                 .targets = ranges[TARGETS],
                                 .scores = ranges[SCORES],
                                 .indices = ranges[INDICES],
                                 .source = c->source,
                                 .numbers = c->numbers,
                                 .query_count = c->query_count,
                                 .rows = c->numbers != NULL ? c->results : c->rows,
                                 .dim = c->dim,
                                 .k = c->k,
                                 .query_stride = c->query_stride,
                                 .row_stride = c->row_stride,
                                 .key = other_memory ? NULL : &c->key,
                                 .tried = tried};
}

/* The long way. */
static eum_status look_and_run(const eum_stream_object *on, call *c, eum_status tried, eum_job *job)
{
    eum_range ranges[OPERANDS] = {{NULL, 0, 0}};
    size_t pinned = 0;
    eum_status status = measure(c);
    if (status == EUM_OK && c->source != NULL)
        status = check_source(c);
    if (status != EUM_OK)
        return status;
    const size_t elements[OPERANDS] = {sizeof(float), element_bytes(c->element), sizeof(float), sizeof(int64_t)};
    while (status == EUM_OK && pinned < c->operands) {
        if (pinned == TARGETS && c->source != NULL)
            ranges[TARGETS].bytes = c->needed[TARGETS];
        else
            status = take_operand(name_of(c, pinned), c->views[pinned], c->needed[pinned], elements[pinned], on->stream,
                                  &ranges[pinned]);
        if (status == EUM_OK)
            pinned++;
    }
    if (status == EUM_OK) {
        const eum_scoring_request request = request_of(c, ranges, tried);
        status = eum_engine_scoring(on->stream, &request, job);
    }
    while (pinned > 0)
        if (c->views[--pinned].buffer != NULL)
            eum_handle_unpin(c->views[pinned].buffer);
    return status;
}

/* What an operation's configuration says, as a call. */
typedef void (*read_fn)(const void *config, call *out);

/* config: as it was given, with defaults for what an older caller's lacks. */
static eum_status run(eum_stream *stream, eum_operation operation, const void *config, size_t config_bytes, read_fn read,
                      eum_job *out)
{
    eum_stream_object *on = NULL;
    eum_job job = {NULL, 0, 0};
    eum_status status = eum_pin_stream(stream, &on), tried = EUM_OK;
    if (status != EUM_OK)
        return status;
    eum_error before; /* what fails on one way and goes well on another leaves no trace */
    eum_error_save(&before);
    const eum_call_key key = {operation, config_bytes, config};
    if (!eum_engine_again(on->stream, &key, NULL, &job, &tried) || tried != EUM_OK) {
        call c;
        read(config, &c);
        c.key = key;
        status = look_and_run(on, &c, tried, &job);
    }
    if (status == EUM_OK && tried != EUM_OK)
        eum_error_restore(&before);
    if (status == EUM_OK && out != NULL)
        *out = (eum_job){on->context, job.stream, job.sequence};
    eum_handle_unpin(stream);
    return status;
}

static void read_cosine(const void *config, call *out)
{
    const eum_cosine_config *full = config;
    *out = (call){.operation = EUM_OPERATION_COSINE,
                  .executor = full->executor,
                  .reserved = full->reserved,
                  .metric = EUM_METRIC_COSINE,
                  .element = EUM_ELEMENT_FLOAT32,
                  .views = {full->query, full->targets, full->scores},
                  .operands = INDICES,
                  .query_count = 1,
                  .rows = full->rows,
                  .dim = full->dim,
                  .row_stride = full->row_stride,
                  .source = full->host_targets,
                  .results = full->rows};
}

eum_status eum_cosine(eum_stream *stream, const eum_cosine_config *config, eum_job *out)
{
    eum_cosine_config full;
    eum_status status = eum_struct_take(&eum_cosine_config_type, config, &full);
    return status != EUM_OK ? status : run(stream, EUM_OPERATION_COSINE, &full, sizeof full, read_cosine, out);
}

/* What the structs of the other three functions have in common. */
#define SHARED(full)                                                                                                               \
    .executor = (full)->executor, .reserved = (full)->reserved, .metric = (full)->metric, .element = (full)->element,              \
    .query_count = (full)->query_count, .rows = (full)->rows, .dim = (full)->dim, .query_stride = (full)->query_stride,            \
    .row_stride = (full)->row_stride, .source = (full)->host_targets

static void read_similarity(const void *config, call *out)
{
    const eum_similarity_config *full = config;
    *out = (call){.operation = EUM_OPERATION_SIMILARITY,
                  SHARED(full),
                  .views = {full->queries, full->targets, full->scores},
                  .operands = INDICES,
                  .results = full->rows};
}

eum_status eum_similarity(eum_stream *stream, const eum_similarity_config *config, eum_job *out)
{
    eum_similarity_config full;
    eum_status status = eum_struct_take(&eum_similarity_config_type, config, &full);
    return status != EUM_OK ? status : run(stream, EUM_OPERATION_SIMILARITY, &full, sizeof full, read_similarity, out);
}

static void read_topk(const void *config, call *out)
{
    const eum_topk_config *full = config;
    *out = (call){.operation = EUM_OPERATION_TOPK,
                  SHARED(full),
                  .views = {full->queries, full->targets, full->scores, full->indices},
                  .operands = OPERANDS,
                  .k = full->k,
                  .results = full->k};
}

eum_status eum_topk(eum_stream *stream, const eum_topk_config *config, eum_job *out)
{
    eum_topk_config full;
    eum_status status = eum_struct_take(&eum_topk_config_type, config, &full);
    return status != EUM_OK ? status : run(stream, EUM_OPERATION_TOPK, &full, sizeof full, read_topk, out);
}

static eum_status check_numbers(const int64_t *numbers, uint64_t count, uint64_t rows)
{
    if (numbers == NULL && count > 0)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "numbers is NULL and number_count is %llu; pass the row numbers, or 0",
                        (unsigned long long)count);
    for (uint64_t i = 0; i < count; i++)
        if (numbers[i] < 0 || (uint64_t)numbers[i] >= rows)
            return eum_fail(EUM_ERROR_OUT_OF_BOUNDS,
                            "numbers[%llu] is %lld, and the targets have %llu rows; row numbers are 0 to rows - 1",
                            (unsigned long long)i, (long long)numbers[i], (unsigned long long)rows);
    return EUM_OK;
}

static void read_rows(const void *config, call *out)
{
    static const int64_t none = 0;
    const eum_similarity_rows_config *full = config;
    *out = (call){.operation = EUM_OPERATION_ROWS,
                  SHARED(full),
                  .views = {full->queries, full->targets, full->scores},
                  .operands = INDICES,
                  .results = full->number_count,
                  .numbers = full->number_count == 0 ? &none : full->numbers};
}

eum_status eum_similarity_rows(eum_stream *stream, const eum_similarity_rows_config *config, eum_job *out)
{
    eum_similarity_rows_config full;
    eum_status status = eum_struct_take(&eum_similarity_rows_config_type, config, &full);
    if (status == EUM_OK)
        status = check_numbers(full.numbers, full.number_count, full.rows);
    return status != EUM_OK ? status : run(stream, EUM_OPERATION_ROWS, &full, sizeof full, read_rows, out);
}
