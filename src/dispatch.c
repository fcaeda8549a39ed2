/* dispatch: see dispatch.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "dispatch.h"

#include "least.h"
#include "scoring_shape.h"

/* What a core's own cache holds, and what the cores' common cache does, of targets that were just written or scored. */
#define NEAR_BYTES ((uint64_t)1 << 20)
#define SHARED_BYTES ((uint64_t)32 << 20)
/* Rows that another thread takes at once, in bytes: the grain of the kernels. */
#define GRAIN_BYTES ((uint64_t)256 << 10)
#define FEW_QUERIES 8
/* More queries are packed: rows that another thread takes at once then. */
#define PACKED_ROWS 16
/* Beside the products, one thread, AVX-512, 256 queries of 768 elements: preparing them 1.1 ns an element, selecting the best 10 of 1,000 rows
 * 1.3 us a query. */
#define PREPARE_ELEMENTS_MHZ 900
#define SELECT_NS 1300
/* The GPU's filter: it and what scores its candidates are launches of their own, panels are whole, and candidates are few for each query. One H100,
 * 1,000 rows of 768: 95 us for 128 queries, 197 for 1,024. */
#define FILTER_NS 75000
/* Products on tensor cores, of eum_costs.macs_mhz: one H100, all scores of 128 queries in split tf32 29 T/s, the filter of 1,024 queries 88 T/s; on
 * Ampere not measured. */
#define TENSOR_TIMES 4
/* The GPU's selection for up to 8 queries: what it takes beside scoring, for each query, and for rows, which disappears behind the
 * reading of many. One H100, 768 elements, the best 10: 1 query over 1,000, 5,461 and 21,845 rows 15, 20 and 26 us more than without, 8
 * queries 34, 45 and 79. */
#define BEST_NS 12000
#define BEST_QUERY_NS 2600
#define BEST_ROWS_MOST_NS 60000
#define FILTER_TIMES 14
#define FILTER_QUERY_NS 100
#define FILTER_PANEL 128
#define FILTER_MOST_K 128
#define FILTER_MOST_DIM 4096
#define FILTER_LEAST_ROWS 256
/* What the CPU's threads copy into staging memory: one, and all together, and waking them for a chunk. On an H100's host one copied 3 MB
 * in 242 to 272 us; the other two are such that cycles of 3, 16 and 64 MiB in 16 threads, measured at 138, 486 and 1581 us, are
 * predicted within a fifth. */
#define COPY_MBPS 11000
#define COPY_MOST_MBPS 60000
#define COPY_WAKE_NS 30000
/* How often targets are scored of which the user said that they are reused: what moving them costs is shared by as many calls. */
#define REUSES 16

/* Measured on two cores of an Intel Xeon with AVX-512, one thread, 100 and 768 elements: 13 GB/s from memory and 28 to 87 GB/s from the
 * caches, where rows that were just written or scored are; 40 to 58 (8 queries) and 36 to 70 G multiply-adds a second. AVX2 on the same: 16 to 30
 * and 18 to 39; the scalar kernels, which work in float64: 1.2 to 1.9 and 3 to 9 GB/s. NEON was not measured, nor how much more than two
 * threads read together: 160 GB/s is what a server's memory gives. */
eum_cpu_costs eum_cpu_costs_of(eum_cpu_isa isa)
{
    eum_cpu_costs costs = {.call_ns = 1500, .threads_ns = 5000, .most_mbps = 160000};
    costs.cached_mbps[0] = 40000;
    costs.cached_mbps[1] = 25000;
    costs.thread_mbps = 13000;
    costs.few_mhz = 45000;
    costs.many_mhz = 45000;
    if (isa == EUM_CPU_AVX2) {
        costs.few_mhz = 22000;
        costs.many_mhz = 30000;
    } else if (isa == EUM_CPU_NEON) {
        costs.few_mhz = 7000;
        costs.many_mhz = 15000;
    } else if (isa == EUM_CPU_SCALAR) {
        costs.cached_mbps[0] = costs.cached_mbps[1] = costs.thread_mbps = 5000;
        costs.few_mhz = costs.many_mhz = 1400;
    }
    return costs;
}

static uint64_t times(uint64_t a, uint64_t b)
{
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) || product >> 62 != 0 ? (uint64_t)1 << 62 : product;
}

static uint64_t plus(uint64_t a, uint64_t b)
{
    uint64_t sum = a + b;
    return sum < a || sum >> 62 != 0 ? (uint64_t)1 << 62 : sum;
}

static uint64_t target_bytes(const eum_executor_question *q)
{
    return times(times(q->rows, q->dim), q->element_bytes);
}

static uint64_t macs(const eum_executor_question *q)
{
    return times(times(q->rows, q->dim), q->queries);
}

/* By one thread. */
static uint64_t read_ns(const eum_cpu_costs *cpu, uint64_t bytes)
{
    uint64_t near = eum_least(bytes, NEAR_BYTES), shared = eum_least(bytes - near, SHARED_BYTES - NEAR_BYTES);
    return eum_cost_at(near, cpu->cached_mbps[0]) + eum_cost_at(shared, cpu->cached_mbps[1]) +
           eum_cost_at(bytes - near - shared, cpu->thread_mbps);
}

/* What one thread takes for each query beside its products. */
static uint64_t queries_ns(const eum_executor_question *q)
{
    uint64_t prepare = eum_cost_at(times(q->queries, q->dim), PREPARE_ELEMENTS_MHZ);
    return plus(prepare, q->k == 0 ? 0 : times(q->queries, SELECT_NS));
}

static uint64_t as_learned(uint64_t ns, uint32_t in_1024ths)
{
    return in_1024ths == 0 ? ns : times(ns, in_1024ths) / 1024;
}

uint64_t eum_predict_cpu(const eum_executor_question *q)
{
    uint64_t bytes = target_bytes(q), pieces = times(bytes, 1 + q->queries / FEW_QUERIES) / GRAIN_BYTES;
    if (q->queries > FEW_QUERIES)
        pieces = eum_least(pieces, q->rows / PACKED_ROWS + 1);
    uint64_t threads = pieces < 1 ? 1 : eum_least(pieces, q->threads), together = eum_cost_at(bytes, q->cpu.most_mbps);
    uint64_t reading = read_ns(&q->cpu, bytes) / threads;
    uint64_t computing = eum_cost_at(macs(q), q->queries > FEW_QUERIES ? q->cpu.many_mhz : q->cpu.few_mhz) / threads;
    uint64_t each = queries_ns(q) / (q->queries > FEW_QUERIES ? threads : 1);
    uint64_t made_the_hosts = q->missing_results == 0 ? 0 : eum_cost_prefetch(q->costs, q->missing_results);
    uint64_t beside = plus(q->cpu.call_ns, plus(each, times(threads - 1, q->cpu.threads_ns)));
    reading = reading > together ? reading : together;
    uint64_t all = plus(plus(beside, made_the_hosts), reading > computing ? reading : computing);
    return as_learned(all, q->cpu_times);
}

static uint64_t move_ns(const eum_executor_question *q, uint64_t bytes)
{
    return q->by_copies ? eum_cost_copy(q->costs, bytes) : eum_cost_prefetch(q->costs, bytes);
}

/* What the results cost, which the host wants back: written over the link by the kernel, or (*out_after) moved after it. */
static uint64_t results_ns(const eum_executor_question *q, uint64_t *out_after)
{
    eum_costs back = eum_costs_back(q->costs);
    uint64_t move = q->by_copies ? eum_cost_copy(&back, q->results) : eum_cost_prefetch(&back, q->results);
    uint64_t far = eum_cost_store(q->costs, q->results);
    bool stored = q->results_in_place && far < move;
    *out_after = stored ? 0 : move;
    return stored ? far : 0;
}

/* What a use of bytes on the device costs that are on the host: over the link, or moved. */
static uint64_t reach_ns(const eum_executor_question *q, uint64_t bytes)
{
    uint64_t move = move_ns(q, bytes), far = eum_cost_in_place(q->costs, bytes);
    return q->in_place && far < move ? far : move;
}

/* Targets that pass through staging memory, beyond what the kernel takes on targets that the device has. The CPU fills a chunk while the one before
 * crosses the link, so the slower of the two shows, with one chunk of the other, and what a chunk takes to start. */
static uint64_t passing_ns(const eum_executor_question *q)
{
    uint64_t bytes = target_bytes(q),
             chunk = q->in_place ? eum_least(eum_most(bytes / EUM_CHUNKS, EUM_CHUNK_LEAST), EUM_CHUNK_MOST) : EUM_CHUNK_MOST;
    uint64_t chunks = bytes / chunk + (bytes % chunk != 0);
    uint64_t threads = bytes < 2 * GRAIN_BYTES ? 1 : q->threads, rate = eum_least(times(threads, COPY_MBPS), COPY_MOST_MBPS);
    uint64_t filling = eum_cost_at(bytes, rate), crossing = q->in_place ? eum_cost_in_place(q->costs, bytes) : move_ns(q, bytes);
    uint64_t other = eum_least(filling, crossing) / eum_most(chunks, 1);
    uint64_t each = plus(q->costs->launch_ns, threads > 1 ? COPY_WAKE_NS : 0);
    return plus(plus(eum_most(filling, crossing), other), times(chunks, each));
}

static uint64_t best_of_few_ns(const eum_executor_question *q)
{
    uint64_t rows = times(q->rows, q->queries + 1) / 4;
    return q->k == 0 ? 0 : BEST_NS + times(q->queries, BEST_QUERY_NS) + eum_least(rows, BEST_ROWS_MOST_NS);
}

/* The kernels on targets that the device has. */
static uint64_t device_kernel_ns(const eum_executor_question *q)
{
    eum_costs costs = *q->costs;
    uint64_t bytes = target_bytes(q), all = macs(q);
    if (q->queries <= FEW_QUERIES)
        return plus(eum_cost_kernel(&costs, bytes, all), best_of_few_ns(q));
    bool tensor = eum_costs_tensor(&costs), filtered = tensor && q->k > 0 && q->k <= FILTER_MOST_K && q->dim <= FILTER_MOST_DIM &&
                                                       q->dim % 4 == 0 && q->rows >= FILTER_LEAST_ROWS;
    if (!filtered) {
        costs.macs_mhz = tensor ? times(costs.macs_mhz, TENSOR_TIMES) : costs.macs_mhz;
        return eum_cost_kernel(&costs, bytes, all);
    }
    uint64_t panels = q->queries / FILTER_PANEL + (q->queries % FILTER_PANEL != 0);
    costs.macs_mhz = times(costs.macs_mhz, FILTER_TIMES);
    return plus(plus(FILTER_NS, times(q->queries, FILTER_QUERY_NS)),
                eum_cost_kernel(&costs, bytes, times(times(q->rows, q->dim), times(panels, FILTER_PANEL))));
}

eum_executor_answer eum_choose_executor(const eum_executor_question *q)
{
    eum_executor_answer answer = {.executor = EUM_EXECUTOR_DEVICE, .cpu_ns = eum_predict_cpu(q)};
    uint64_t kernel = device_kernel_ns(q);
    uint64_t after = 0, each = plus(kernel, plus(reach_ns(q, q->missing_queries), results_ns(q, &after)));
    uint64_t resident = plus(as_learned(each, q->device_times), after);
    uint64_t once = move_ns(q, q->missing_targets), far = eum_cost_in_place(q->costs, q->over_link);
    bool stays = q->mapped || (q->in_place && !q->no_copy && plus(q->spent_ns, far) <= once && q->expected_ns <= once);
    bool passes = !stays && q->no_copy && !q->mapped;
    answer.over_link = stays && far > 0;
    answer.moves = passes || (!stays && once > 0);
    answer.job_ns = answer.over_link ? as_learned(plus(each, far), q->in_place_times)
                                     : plus(as_learned(each, q->device_times), stays    ? 0
                                                                               : passes ? passing_ns(q)
                                                                                        : once);
    answer.device_ns = plus(answer.job_ns, after);
    if (q->missing_targets > 0 && !q->mapped && !q->no_copy && answer.cpu_ns > resident)
        answer.rent_ns = answer.cpu_ns - resident;
    bool sooner = answer.cpu_ns <= answer.device_ns;
    uint64_t use = eum_cost_in_place(q->costs, target_bytes(q)), uses = use == 0 ? 0 : q->expected_ns / use; /* as the last time */
    uint64_t calls = q->reused && uses < REUSES ? REUSES : uses;
    bool may_rent = plus(q->spent_ns, answer.rent_ns) <= once && times(answer.rent_ns, calls) <= once;
    if (q->asked != EUM_EXECUTOR_AUTO)
        answer.executor = q->asked;
    else if (sooner && (answer.rent_ns == 0 || may_rent))
        answer.executor = EUM_EXECUTOR_CPU;
    return answer;
}
