/* measure: see measure.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "measure.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "work.h"

#define WARM_UPS 6 /* cycles, if they take less than this; else BENCH_FIRST */
#define WARM_UP_NS 12e6
#define CYCLES_MOST 25
#define CYCLES_LEAST 3 /* unless so many take longer than so many times the time there is */
/* A rival that takes this many times as long as the best so far takes part in every fourth round only. */
#define SLOW 3.0
#define SLOW_EVERY 4

/* -------------------------------------------------------------------------------------------------- the case -------- */

static void open_case(const bench_machine *machine, const bench_pattern *pattern, bench_shape shape, bench_case *c)
{
    uint64_t state = 11;
    memset(c, 0, sizeof *c);
    c->machine = machine;
    c->pattern = pattern;
    c->shape = shape;
    c->results = bench_results(pattern, shape);
    bench_pattern_part(pattern, shape, &c->part_first, &c->part_rows);
    if (pattern->source == BENCH_SOURCE_PINNED) {
        machine->raw->source(shape.bytes, &c->pinned);
        c->source = c->pinned.host;
    } else {
        c->source = bench_memory(shape.bytes);
    }
    c->query = bench_memory(shape.dim * sizeof(float));
    c->received = bench_memory(c->results * sizeof(float));
    for (size_t i = 0; i < shape.dim; i++)
        c->query[i] = bench_random_float(&state);
    bench_fill(c->source, shape, 0, 0);
    for (size_t i = 0; i < BENCH_SAMPLES; i++)
        c->sample[i] = c->part_first * shape.dim + (size_t)(bench_random(&state) % (c->part_rows * shape.dim));
}

static void close_case(bench_case *c)
{
    if (c->pattern->source == BENCH_SOURCE_PINNED)
        c->machine->raw->release(&c->pinned);
    else
        free(c->source);
    free(c->query);
    free(c->received);
}

/* ------------------------------------------------------------------------------------------------ is it right? ------ */

/* What the samples of the targets become by a step. */
static void follow(bench_case *c, bench_step step)
{
    float row[BENCH_DIM_MOST];
    if (step == BENCH_FILL || step == BENCH_PUT)
        c->filled = step == BENCH_FILL;
    for (size_t i = 0; i < BENCH_SAMPLES; i++) {
        if (step == BENCH_PUT) {
            c->sample_value[i] = (double)c->source[c->sample[i]];
        } else if (step == BENCH_FILL) {
            bench_fill_row(row, c->shape.dim, c->sample[i] / c->shape.dim, c->epoch);
            c->sample_value[i] = (double)row[c->sample[i] % c->shape.dim];
        } else if (step == BENCH_EDIT_CPU || step == BENCH_EDIT_GPU) {
            c->sample_value[i] = c->sample_value[i] * 0.5 + (double)bench_edit_add(c->epoch);
        }
    }
}

static void check_samples(const bench_case *c, const char *who)
{
    for (size_t i = 0; i < BENCH_SAMPLES; i++) {
        double off = fabs((double)c->sample_got[i] - c->sample_value[i]);
        if (!(off <= 1e-6))
            bench_stop("%s, %s: target %zu is %g and must be %g", c->pattern->name, who, c->sample[i], (double)c->sample_got[i],
                       c->sample_value[i]);
    }
}

/* The results of the last score step of a cycle, at some rows, against float64. */
static void check_results(const bench_case *c, const char *who)
{
    float *computed = bench_memory(c->shape.dim * sizeof(float));
    size_t step = c->shape.rows / BENCH_SAMPLES + 1;
    for (size_t r = c->epoch % step; r < c->shape.rows; r += step) {
        const float *row = c->source + r * c->shape.dim;
        if (c->filled) {
            bench_fill_row(computed, c->shape.dim, r, c->epoch);
            row = computed;
        }
        size_t at = c->pattern->kernel == BENCH_COSINE ? r : r * BENCH_RESULTS_A_ROW + c->epoch % BENCH_RESULTS_A_ROW;
        double exact = c->pattern->kernel == BENCH_COSINE ? bench_expected_cosine(c->query, row, c->shape.dim)
                                                          : bench_expected_spread(row, c->shape.dim, at % BENCH_RESULTS_A_ROW,
                                                                                  (double)bench_spread_scale(c->epoch));
        double group = (double)(c->shape.dim / BENCH_RESULTS_A_ROW);
        double allowed = c->pattern->kernel == BENCH_COSINE ? 1e-6 + 1e-5 * fabs(exact) : 1e-6 * group * (group + 1);
        if (!(fabs((double)c->received[at] - exact) <= allowed))
            bench_stop("%s, %s: result %zu is %.9g and must be %.9g", c->pattern->name, who, at, (double)c->received[at], exact);
    }
    free(computed);
}

/* --------------------------------------------------------------------------------------------------- a turn --------- */

static double now_of(const bench_machine *machine, const bench_contender *contender)
{
    return contender->library ? machine->library_now() : machine->raw->now();
}

/* One cycle; returns its ns. */
static double cycle(const bench_contender *contender, void *set, bench_case *c)
{
    bool puts = false, gets = false;
    c->epoch++;
    for (const bench_part *part = c->pattern->parts; part->times > 0; part++)
        for (const bench_step *step = part->steps; *step != BENCH_END; step++) {
            puts = puts || *step == BENCH_PUT;
            gets = gets || *step == BENCH_GET;
        }
    if (puts)
        contender->touch(set);
    memset(c->received, 0xff, c->results * sizeof(float));

    double begin = now_of(c->machine, contender);
    for (const bench_part *part = c->pattern->parts; part->times > 0; part++)
        for (uint32_t i = 0; i < part->times; i++)
            for (const bench_step *step = part->steps; *step != BENCH_END; step++) {
                bench_step next = step[1] != BENCH_END ? step[1] : i + 1 < part->times ? part->steps[0] : part[1].steps[0];
                contender->step(set, *step, next);
            }
    double spent = now_of(c->machine, contender) - begin;

    for (const bench_part *part = c->pattern->parts; part->times > 0; part++)
        for (uint32_t i = 0; i < part->times; i++)
            for (const bench_step *step = part->steps; *step != BENCH_END; step++)
                if (*step != BENCH_SCORE && *step != BENCH_GET)
                    follow(c, *step);
    if (gets)
        check_results(c, contender->name);
    return spent;
}

typedef struct turn {
    double first[BENCH_FIRST];
    double median;
    double moved[2];
} turn;

/* The library keeps no managed memory beside another's set. What else its pool has may stay: pinned memory is slow to get again. */
static void trim_managed(const bench_machine *machine)
{
    eum_stats stats;
    eum_stats_init(&stats);
    OK(eum_context_stats(machine->context, &stats));
    if (stats.raw_allocations[EUM_MEMORY_MANAGED] > stats.raw_frees[EUM_MEMORY_MANAGED])
        OK(eum_context_trim(machine->context, 0));
}

/* Bytes that the library has moved to the device and back. */
static void count_moved(const bench_machine *machine, double out[2])
{
    eum_stats stats;
    eum_stats_init(&stats);
    OK(eum_context_stats(machine->context, &stats));
    out[0] = (double)stats.bytes_to_device;
    out[1] = (double)stats.bytes_to_host;
}

/* At most one set of buffers lives at a time: each turn makes its own and ends it. budget: ns for the cycles that count. */
static turn take_turn(const bench_contender *contender, bool managed, bench_case *c, double budget)
{
    turn result = {{(double)NAN, (double)NAN, (double)NAN}, (double)NAN, {0, 0}};
    double times[CYCLES_MOST], spent = 0, before[2];
    size_t count = 0;
    if (managed && !contender->library)
        trim_managed(c->machine);
    void *set = contender->open(contender, c);
    contender->step(set, BENCH_PUT, BENCH_END);
    contender->step(set, BENCH_SETTLE, BENCH_END);
    follow(c, BENCH_PUT);
    /* The same for all: memory that the CPU writes again and again comes into its caches cycle by cycle. */
    for (unsigned i = 0; i < BENCH_FIRST || (i < WARM_UPS && spent < WARM_UP_NS); i++) {
        double ns = cycle(contender, set, c);
        spent += ns;
        if (i < BENCH_FIRST)
            result.first[i] = ns;
    }
    spent = 0;
    count_moved(c->machine, before);
    while (count < CYCLES_MOST && (count == 0 || spent < budget || (count < CYCLES_LEAST && spent < CYCLES_LEAST * budget))) {
        times[count] = cycle(contender, set, c);
        spent += times[count++];
    }
    result.median = bench_median(times, count);
    count_moved(c->machine, result.moved);
    for (int way = 0; way < 2; way++)
        result.moved[way] = (result.moved[way] - before[way]) / (double)count;
    contender->check(set);
    check_samples(c, contender->name);
    contender->close(set);
    return result;
}

void bench_run_library(const bench_machine *machine, const bench_pattern *pattern, bench_shape shape, unsigned cycles)
{
    bench_case c;
    open_case(machine, pattern, shape, &c);
    for (size_t i = 0; i < bench_library_contender_count; i++) {
        const bench_contender *contender = &bench_library_contenders[i];
        bool managed;
        if (!contender->can(contender, &c, &managed))
            continue;
        void *set = contender->open(contender, &c);
        contender->step(set, BENCH_PUT, BENCH_END);
        follow(&c, BENCH_PUT);
        for (unsigned k = 0; k < cycles; k++)
            (void)cycle(contender, set, &c);
        contender->check(set);
        check_samples(&c, contender->name);
        contender->close(set);
    }
    close_case(&c);
}

/* -------------------------------------------------------------------------------------------------- the rounds ------ */

static void enter(bench_result *r, const bench_contender *contender, const bench_case *c)
{
    bool managed = false;
    if (!contender->can(contender, c, &managed))
        return;
    if (r->entry_count == BENCH_CONTENDERS)
        bench_stop("more than %d contenders", BENCH_CONTENDERS);
    bench_entry *entry = &r->entry[r->entry_count++];
    entry->contender = contender;
    entry->managed = managed;
    for (size_t i = 0; i < BENCH_ROUNDS; i++)
        entry->rounds[i] = (double)NAN;
}

static void conclude(bench_result *r, double first[][BENCH_ROUNDS][BENCH_FIRST])
{
    size_t rivals = r->entry_count - 1; /* the last is the twin */
    for (size_t e = 0; e < r->entry_count; e++) {
        bench_entry *entry = &r->entry[e];
        entry->time = bench_estimate_median(entry->rounds, r->rounds);
        for (size_t k = 0; k < BENCH_FIRST; k++) {
            double values[BENCH_ROUNDS];
            for (size_t i = 0; i < r->rounds && e < r->library_count; i++)
                values[i] = first[e][i][k];
            entry->first[k] = e < r->library_count ? bench_median(values, r->rounds) : (double)NAN;
        }
    }
    r->best = (int)r->library_count;
    for (size_t e = r->library_count; e < rivals; e++)
        if (r->entry[e].time.median < r->entry[r->best].time.median)
            r->best = (int)e;
    for (size_t l = 0; l < r->library_count; l++)
        for (size_t e = r->library_count; e < rivals; e++)
            r->ratio[l][e] = bench_estimate_ratio(r->entry[l].rounds, r->entry[e].rounds, r->rounds);
    r->twin_ratio = bench_estimate_ratio(r->entry[rivals].rounds, r->entry[r->twin].rounds, r->rounds);
}

static bool sits_out(const bench_result *r, size_t e, size_t round)
{
    if (e < r->library_count || round % SLOW_EVERY == 0)
        return false;
    double best = (double)INFINITY;
    for (size_t i = r->library_count; i < r->entry_count; i++)
        best = r->entry[i].rounds[0] < best ? r->entry[i].rounds[0] : best;
    return r->entry[e].rounds[0] > SLOW * best;
}

bool bench_measure(const bench_machine *machine, const bench_pattern *pattern, bench_shape shape, const bench_limits *limits,
                   uint64_t *random, bench_result *out)
{
    static double first[BENCH_LIBRARY][BENCH_ROUNDS][BENCH_FIRST];
    bench_case c;
    memset(out, 0, sizeof *out);
    out->pattern = pattern;
    out->shape = shape;
    open_case(machine, pattern, shape, &c);
    for (size_t i = 0; i < bench_library_contender_count; i++)
        enter(out, &bench_library_contenders[i], &c);
    out->library_count = out->entry_count;
    if (out->library_count > BENCH_LIBRARY)
        bench_stop("more than %d contenders of the library", BENCH_LIBRARY);
    for (size_t i = 0; i < bench_rival_count; i++)
        enter(out, &bench_rivals[i], &c);
    out->twin = (int)out->library_count;
    enter(out, out->entry[out->twin].contender, &c);

    double begin = bench_wall_ns();
    for (size_t round = 0; round < limits->rounds && round < BENCH_ROUNDS; round++) {
        if (round >= 2 && bench_wall_ns() - begin > limits->seconds * 1e9)
            break;
        size_t order[BENCH_CONTENDERS];
        for (size_t i = 0; i < out->entry_count; i++)
            order[i] = i;
        bench_shuffle(order, out->entry_count, random);
        size_t taken = 0;
        for (; taken < out->entry_count && bench_wall_ns() <= limits->deadline; taken++) {
            size_t e = order[taken];
            bench_entry *entry = &out->entry[e];
            if (sits_out(out, e, round))
                continue;
            turn result = take_turn(entry->contender, entry->managed, &c, limits->cycle_budget);
            entry->rounds[round] = result.median;
            if (e < out->library_count) {
                memcpy(first[e][round], result.first, sizeof result.first);
                memcpy(entry->moved, result.moved, sizeof result.moved);
            }
        }
        if (taken < out->entry_count)
            break; /* no time: the round does not count */
        out->rounds = round + 1;
    }
    close_case(&c);
    if (out->rounds == 0)
        return false;
    conclude(out, first);
    return true;
}
