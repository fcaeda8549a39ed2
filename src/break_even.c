/* break_even: see break_even.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "break_even.h"

#define MOST_BYTES ((uint64_t)1 << 40)
#define STEPS 64 /* of the search, from a number of rows to its double: about as many */

/* Without overflow: at most 2^62. */
static uint64_t times(uint64_t a, uint64_t b)
{
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) || product >> 62 != 0 ? (uint64_t)1 << 62 : product;
}

static eum_backing backing_of(const eum_break_even_question *q, uint64_t rows)
{
    eum_backing_question question = q->backing;
    question.bytes = rows * q->dim * q->element_bytes;
    return eum_choose_backing(&question).backing;
}

static uint32_t times_of(const eum_break_even_question *q, eum_learned_place place, uint32_t class)
{
    return q->learned == NULL ? 0 : eum_learned_times(q->learned, place, class);
}

eum_executor_answer eum_break_even_ask(const eum_break_even_question *q, uint64_t rows, bool resident, uint64_t spent_ns)
{
    uint64_t bytes = rows * q->dim * q->element_bytes;
    eum_backing backing = backing_of(q, rows);
    bool by_copies = backing == EUM_BACKING_MIRRORED;
    uint32_t class = eum_learned_class(q->queries, false, bytes);
    eum_executor_question question = {.asked = EUM_EXECUTOR_AUTO,
                                      .in_place = q->streams,
                                      .results_in_place = true,
                                      .mapped = backing == EUM_BACKING_MAPPED || (by_copies && bytes > q->limit),
                                      .by_copies = by_copies,
                                      .threads = q->threads,
                                      .cpu_times = times_of(q, EUM_LEARNED_CPU, class),
                                      .device_times = times_of(q, EUM_LEARNED_DEVICE, class),
                                      .in_place_times = times_of(q, EUM_LEARNED_IN_PLACE, class),
                                      .costs = q->backing.costs,
                                      .cpu = q->cpu,
                                      .queries = q->queries,
                                      .rows = rows,
                                      .dim = q->dim,
                                      .element_bytes = q->element_bytes,
                                      .missing_queries = q->queries * q->dim * 4,
                                      .results = times(times(q->queries, rows), 4),
                                      .spent_ns = spent_ns};
    if (!resident || question.mapped)
        question.missing_targets = question.over_link = bytes;
    eum_executor_answer answer = eum_choose_executor(&question);
    if (backing == EUM_BACKING_MANAGED && !q->backing.concurrent_managed) /* the CPU may not touch it while kernels run */
        answer.executor = EUM_EXECUTOR_DEVICE;
    return answer;
}

static bool devices(const eum_break_even_question *q, uint64_t rows, bool resident)
{
    return eum_break_even_ask(q, rows, resident, 0).executor == EUM_EXECUTOR_DEVICE;
}

uint64_t eum_break_even_rows(const eum_break_even_question *q, bool resident)
{
    uint64_t most = (q->limit < MOST_BYTES ? q->limit : MOST_BYTES) / (q->dim * q->element_bytes);
    uint64_t above = most == 0 ? 1 : most, below = above;
    if (q->backing.device_kind == EUM_DEVICE_HOST || !devices(q, above, resident))
        return EUM_NEVER;
    do { /* downwards, to the first number that is the CPU's */
        above = below;
        if (above == 1)
            return 1;
        below = above - (above < STEPS ? 1 : above / STEPS);
    } while (devices(q, below, resident));
    while (above - below > 1) {
        uint64_t middle = below + (above - below) / 2;
        if (devices(q, middle, resident))
            above = middle;
        else
            below = middle;
    }
    return above;
}

uint64_t eum_break_even_uses(const eum_break_even_question *q, uint64_t rows)
{
    if (q->backing.device_kind == EUM_DEVICE_HOST)
        return EUM_NEVER;
    eum_executor_answer first = eum_break_even_ask(q, rows, false, 0);
    if (first.executor == EUM_EXECUTOR_DEVICE)
        return 1;
    if (first.rent_ns == 0) /* nothing is gained by moving them */
        return EUM_NEVER;
    /* Each use by the CPU adds the rent to what was spent, until that and one more exceed what moving costs. */
    uint64_t bytes = rows * q->dim * q->element_bytes;
    uint64_t once = backing_of(q, rows) == EUM_BACKING_MIRRORED ? eum_cost_copy(q->backing.costs, bytes)
                                                                : eum_cost_prefetch(q->backing.costs, bytes);
    return once / first.rent_ns + 1;
}
