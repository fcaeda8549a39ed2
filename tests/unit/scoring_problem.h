/* scoring_problem: one similarity operation on plain arrays, to be answered by different contexts, executors and kinds of memory, and compared.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TESTS_SCORING_PROBLEM_H
#define EUM_TESTS_SCORING_PROBLEM_H

#include <math.h>

#include "engine.h"

typedef struct problem {
    eum_operation operation;
    eum_metric metric;
    eum_element element;
    uint64_t queries, rows, dim, k, numbers; /* numbers: how many, for EUM_OPERATION_ROWS */
    size_t query_gap, row_gap;               /* elements between vectors */
    size_t offset;                           /* elements in front of the targets */
    eum_role role;                           /* of the targets */
    bool source;                             /* they are handed over as the array, without a buffer */
    uint32_t seed;
    bool
        real; /* values whose sums are rounded, so that their order shows; else small whole numbers, so that many scores are equal */
} problem;

/* The arrays of a problem. `scores` and `indices` are poisoned before each answer. */
typedef struct arrays {
    size_t query_bytes, target_bytes, score_count, index_count;
    float *queries;
    void *targets;
    int64_t *numbers;
    float *scores;
    int64_t *indices;
} arrays;

static inline size_t element_size(eum_element element)
{
    return element == EUM_ELEMENT_FLOAT32 ? 4 : 2;
}

static inline uint64_t results_each(const problem *p)
{
    return p->operation == EUM_OPERATION_TOPK ? p->k : p->operation == EUM_OPERATION_ROWS ? p->numbers : p->rows;
}

/* In -1..-0.5 and 0.5..1, or small whole numbers; what is stored in 16 bits is exact or cut off. */
static inline float number_of(const problem *p, uint32_t word, int whole)
{
    float real = 0.5f + (float)(word >> 9) / 16777216.0f;
    return !p->real ? (float)((int)(word % (2 * (uint32_t)whole + 1)) - whole) : (word & 1) != 0 ? real : -real;
}

/* Some rows are zero, and some have a NaN. */
static inline float value_of(const problem *p, size_t row, size_t i)
{
    if (row % 61 == 17)
        return 0;
    if (row % 67 == 23 && i == 0)
        return NAN;
    return number_of(p, word_at(p->seed, row * 977 + i), 2);
}

static inline void store_element(const problem *p, void *targets, size_t at, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (p->element == EUM_ELEMENT_FLOAT32) {
        ((float *)targets)[at] = value;
    } else if (p->element == EUM_ELEMENT_BFLOAT16) {
        ((uint16_t *)targets)[at] = (uint16_t)(bits >> 16);
    } else {
        uint32_t exponent = bits >> 23 & 0xff, half = exponent == 0 ? 0 : exponent == 0xff ? 0x7e00 : (exponent - 112) << 10;
        ((uint16_t *)targets)[at] = (uint16_t)((bits >> 16 & 0x8000u) | half | (bits >> 13 & 0x3ffu));
    }
}

static inline arrays make_arrays(const problem *p)
{
    size_t query_stride = p->dim + p->query_gap, row_stride = p->dim + p->row_gap;
    arrays a = {.query_bytes = p->queries * query_stride * 4,
                .target_bytes = (p->offset + p->rows * row_stride) * element_size(p->element),
                .score_count = p->queries * results_each(p),
                .index_count = p->operation == EUM_OPERATION_TOPK ? p->queries * p->k : 0};
    a.queries = malloc(a.query_bytes + 1);
    a.targets = malloc(a.target_bytes + 1);
    a.scores = malloc(a.score_count * 4 + 1);
    a.indices = malloc(a.index_count * 8 + 1);
    a.numbers = malloc(p->numbers * 8 + 1);
    memset(a.queries, 0xff, a.query_bytes); /* gaps are NaN */
    memset(a.targets, 0xff, a.target_bytes);
    for (size_t q = 0; q < p->queries; q++)
        for (size_t i = 0; i < p->dim; i++)
            a.queries[q * query_stride + i] = number_of(p, word_at(p->seed + 1, q * 977 + i), 4);
    for (size_t r = 0; r < p->rows; r++)
        for (size_t i = 0; i < p->dim; i++)
            store_element(p, a.targets, p->offset + r * row_stride + i, value_of(p, r, i));
    for (size_t i = 0; i < p->numbers; i++)
        a.numbers[i] = (int64_t)(word_at(p->seed + 2, i) % p->rows);
    return a;
}

static inline void free_arrays(arrays *a)
{
    free(a->queries);
    free(a->targets);
    free(a->scores);
    free(a->indices);
    free(a->numbers);
}

typedef struct operands {
    eum_buffer *queries, *targets, *scores, *indices;
} operands;

static inline eum_buffer *wrap_array(eum_context *context, void *address, size_t bytes, eum_role role, bool read_only)
{
    eum_wrap_config config = EUM_WRAP_CONFIG_INIT;
    eum_buffer *buffer = NULL;
    config.address = address;
    config.bytes = bytes;
    config.role = role;
    config.flags = read_only ? EUM_WRAP_READ_ONLY : 0;
    OK(eum_buffer_wrap(context, &config, &buffer));
    return buffer;
}

/* wrapped: buffers of the arrays themselves; else of the library's memory, with the same in them. */
static inline operands make_operands(eum_context *context, const problem *p, arrays *a, bool wrapped)
{
    operands o;
    memset(a->scores, 0xa5, a->score_count * 4);
    memset(a->indices, 0xa5, a->index_count * 8);
    if (wrapped) {
        o.queries = wrap_array(context, a->queries, a->query_bytes, EUM_ROLE_QUERY, true);
        o.targets = p->source ? NULL : wrap_array(context, a->targets, a->target_bytes, p->role, true);
        o.scores = wrap_array(context, a->scores, a->score_count * 4, EUM_ROLE_RESULTS, false);
        o.indices = wrap_array(context, a->indices, a->index_count * 8, EUM_ROLE_RESULTS, false);
        return o;
    }
    o.queries = new_buffer_as(context, a->query_bytes, EUM_ROLE_QUERY);
    o.targets = p->source ? NULL : new_buffer_as(context, a->target_bytes, p->role);
    o.scores = new_buffer_as(context, a->score_count * 4, EUM_ROLE_RESULTS);
    o.indices = new_buffer_as(context, a->index_count * 8, EUM_ROLE_RESULTS);
    OK(eum_buffer_write(whole(o.queries), a->queries));
    if (!p->source)
        OK(eum_buffer_write(whole(o.targets), a->targets));
    return o;
}

static inline void end_operands(operands *o)
{
    OK(eum_buffer_destroy(o->queries));
    OK(eum_buffer_destroy(o->targets));
    OK(eum_buffer_destroy(o->scores));
    OK(eum_buffer_destroy(o->indices));
}

#define FILL_COMMON(c)                                                                                                             \
    do {                                                                                                                           \
        (c).metric = p->metric;                                                                                                    \
        (c).element = p->element;                                                                                                  \
        (c).queries = whole(o->queries);                                                                                           \
        (c).targets = targets;                                                                                                     \
        (c).host_targets = source;                                                                                                 \
        (c).scores = whole(o->scores);                                                                                             \
        (c).query_count = p->queries;                                                                                              \
        (c).rows = p->rows;                                                                                                        \
        (c).dim = p->dim;                                                                                                          \
        (c).query_stride = (p->dim + p->query_gap) * 4;                                                                            \
        (c).row_stride = (p->dim + p->row_gap) * element_size(p->element);                                                         \
        (c).executor = executor;                                                                                                   \
    } while (0)

static inline eum_status start_problem(eum_stream *stream, const problem *p, const arrays *a, const operands *o,
                                       eum_executor executor, eum_job *job)
{
    size_t offset = p->offset * element_size(p->element);
    eum_view targets = {o->targets, offset, EUM_WHOLE_SIZE};
    const void *source = p->source ? (const char *)a->targets + offset : NULL;
    if (p->source)
        targets = (eum_view){NULL, 0, 0};
    if (p->operation == EUM_OPERATION_COSINE) {
        eum_cosine_config c = EUM_COSINE_CONFIG_INIT;
        c.query = whole(o->queries);
        c.targets = targets;
        c.host_targets = source;
        c.scores = whole(o->scores);
        c.rows = p->rows;
        c.dim = p->dim;
        c.row_stride = (p->dim + p->row_gap) * 4;
        c.executor = executor;
        return eum_cosine(stream, &c, job);
    }
    if (p->operation == EUM_OPERATION_TOPK) {
        eum_topk_config c = EUM_TOPK_CONFIG_INIT;
        FILL_COMMON(c);
        c.indices = whole(o->indices);
        c.k = p->k;
        return eum_topk(stream, &c, job);
    }
    if (p->operation == EUM_OPERATION_ROWS) {
        eum_similarity_rows_config c = EUM_SIMILARITY_ROWS_CONFIG_INIT;
        FILL_COMMON(c);
        c.numbers = a->numbers;
        c.number_count = p->numbers;
        return eum_similarity_rows(stream, &c, job);
    }
    eum_similarity_config c = EUM_SIMILARITY_CONFIG_INIT;
    FILL_COMMON(c);
    return eum_similarity(stream, &c, job);
}

/* Answers into the arrays. */
static inline void read_answer(const operands *o, arrays *a)
{
    float *scores = malloc(a->score_count * 4 + 1);
    int64_t *indices = malloc(a->index_count * 8 + 1);
    OK(eum_buffer_read(whole(o->scores), scores)); /* wrapped: brings the array up to date as well */
    OK(eum_buffer_read(whole(o->indices), indices));
    memcpy(a->scores, scores, a->score_count * 4);
    memcpy(a->indices, indices, a->index_count * 8);
    free(scores);
    free(indices);
}

static inline eum_operation_stats operation_stats(eum_context *context, eum_operation operation)
{
    eum_operation_stats stats;
    eum_operation_stats_init(&stats);
    OK(eum_context_operation_stats(context, operation, &stats));
    return stats;
}

/* The same bits: NaN equals NaN here. */
static inline void expect_same_answer(const arrays *a, const arrays *b)
{
    ck_assert_uint_eq(a->score_count, b->score_count);
    ck_assert_mem_eq(a->indices, b->indices, a->index_count * 8);
    for (size_t i = 0; i < a->score_count; i++)
        if (memcmp(&a->scores[i], &b->scores[i], 4) != 0 && !(isnan(a->scores[i]) && isnan(b->scores[i])))
            ck_abort_msg("score %zu of %zu: %a and %a", i, a->score_count, (double)a->scores[i], (double)b->scores[i]);
}

/* Within the documented accuracy of each other. Rows whose scores are that near may have changed places. */
static inline void expect_close_answer(const arrays *a, const arrays *b, double scale)
{
    for (size_t i = 0; i < a->score_count; i++) {
        double x = (double)a->scores[i], y = (double)b->scores[i];
        if (!(fabs(x - y) <= 2e-6 * scale + 2e-5 * fabs(x)) && !(isnan(x) && isnan(y)))
            ck_abort_msg("score %zu of %zu: %g and %g", i, a->score_count, x, y);
    }
}

#endif
