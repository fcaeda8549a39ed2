/* extras_movement: single figures about bytes and where they are.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "bench_kernels.h"
#include "extras.h"
#include "work.h"

#define RUNS 201     /* of what takes microseconds, */
#define LONG_RUNS 41 /* and of what takes milliseconds */
#define LAUNCHES 20
/* Results that kernels overwrite again and again while nobody reads them are moved to the device, after some tens of launches. */
#define LAUNCHES_TO_SETTLE 64

static eum_view whole(eum_buffer *buffer)
{
    return (eum_view){buffer, 0, EUM_WHOLE_SIZE};
}

static eum_buffer *make(const bench_machine *machine, size_t bytes, eum_role role)
{
    eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
    eum_buffer *made = NULL;
    config.role = role;
    OK(eum_buffer_create(machine->context, bytes, &config, &made));
    return made;
}

static bench_shape shape_of(const char *size)
{
    bench_shape shape = {0, 0, 0};
    if (!bench_shape_parse(size, strlen(size), &shape))
        bench_stop("%s is no size", size);
    return shape;
}

/* The same data for both: targets and a query that live on the device, and room for the scores. */
typedef struct pair {
    const bench_machine *machine;
    bench_shape shape;
    float *values; /* of the targets, on the host */
    eum_buffer *query, *targets, *scores;
    eum_block raw_query, raw_targets, raw_scores;
} pair;

static void score_by_library(const pair *p)
{
    eum_cosine_config config = EUM_COSINE_CONFIG_INIT;
    config.executor = EUM_EXECUTOR_DEVICE; /* this is about movement */
    config.query = whole(p->query);
    config.targets = whole(p->targets);
    config.scores = whole(p->scores);
    config.rows = p->shape.rows;
    config.dim = p->shape.dim;
    OK(eum_cosine(p->machine->stream, &config, NULL));
}

static void score_by_hand(const pair *p)
{
    bench_params params = {p->shape.rows, p->shape.dim, 0, 0};
    bench_launch launch = {.gpu = bench_cosine_gpu,
                           .cpu = bench_cosine_cpu,
                           .count = 3,
                           .addresses = {p->raw_query.device, p->raw_targets.device, p->raw_scores.device},
                           .bytes = {p->raw_query.bytes, p->raw_targets.bytes, p->raw_scores.bytes},
                           .accesses = {EUM_ACCESS_READ, EUM_ACCESS_READ, EUM_ACCESS_OVERWRITE},
                           .params = &params,
                           .params_bytes = sizeof params};
    p->machine->raw->run(0, &launch);
}

static void open_pair(const bench_machine *machine, bench_shape shape, pair *p)
{
    const bench_raw *raw = machine->raw;
    eum_memory kind = raw->device ? EUM_MEMORY_DEVICE : EUM_MEMORY_HOST;
    size_t row = shape.dim * sizeof(float), scores = shape.rows * sizeof(float);
    memset(p, 0, sizeof *p);
    p->machine = machine;
    p->shape = shape;
    p->values = bench_memory(shape.bytes);
    bench_fill(p->values, shape, 0, 1);
    p->query = make(machine, row, EUM_ROLE_QUERY);
    p->targets = make(machine, shape.bytes, EUM_ROLE_TARGETS);
    p->scores = make(machine, scores, EUM_ROLE_RESULTS);
    OK(eum_buffer_write(whole(p->query), p->values));
    OK(eum_buffer_write(whole(p->targets), p->values));
    bench_keep_alloc(raw, kind, row, &p->raw_query);
    bench_keep_alloc(raw, kind, shape.bytes, &p->raw_targets);
    bench_keep_alloc(raw, kind, scores, &p->raw_scores);
    raw->copy(0, p->raw_query.device, p->values, row, EUM_HOST_TO_DEVICE);
    raw->copy(0, p->raw_targets.device, p->values, shape.bytes, EUM_HOST_TO_DEVICE);
    raw->wait(0);
    for (int i = 0; i < LAUNCHES_TO_SETTLE; i++) {
        score_by_library(p);
        OK(eum_stream_synchronize(machine->stream));
        score_by_hand(p);
        raw->wait(0);
    }
}

static void close_pair(pair *p)
{
    float *got = bench_memory(p->shape.rows * sizeof(float));
    OK(eum_buffer_read(whole(p->scores), got));
    for (size_t r = 0; r < p->shape.rows; r += p->shape.rows / 8 + 1) {
        double exact = bench_expected_cosine(p->values, p->values + r * p->shape.dim, p->shape.dim), off = (double)got[r] - exact;
        if (!(off < 2e-5 && off > -2e-5))
            bench_stop("score %zu is %.9g and must be %.9g", r, (double)got[r], exact);
    }
    OK(eum_buffer_destroy(p->query));
    OK(eum_buffer_destroy(p->targets));
    OK(eum_buffer_destroy(p->scores));
    bench_keep_release(p->machine->raw, &p->raw_query);
    bench_keep_release(p->machine->raw, &p->raw_targets);
    bench_keep_release(p->machine->raw, &p->raw_scores);
    free(got);
    free(p->values);
}

/* ------------------------------------------------------------------------------------------------------ resident ---- */

static double launches_by_library(const pair *p, int count)
{
    double begin = p->machine->library_now();
    for (int i = 0; i < count; i++)
        score_by_library(p);
    OK(eum_stream_synchronize(p->machine->stream));
    return (p->machine->library_now() - begin) / count;
}

static double launches_by_hand(const pair *p, int count)
{
    double begin = p->machine->raw->now();
    for (int i = 0; i < count; i++)
        score_by_hand(p);
    p->machine->raw->wait(0);
    return (p->machine->raw->now() - begin) / count;
}

static void resident_row(const bench_machine *machine, const char *size, int launches, size_t runs)
{
    double ours[RUNS], bare[RUNS];
    uint64_t random = 9;
    pair p;
    open_pair(machine, shape_of(size), &p);
    for (size_t i = 0; i < runs; i++) {
        bool first = bench_random(&random) % 2 == 0;
        if (first)
            ours[i] = launches_by_library(&p, launches);
        bare[i] = launches_by_hand(&p, launches);
        if (!first)
            ours[i] = launches_by_library(&p, launches);
    }
    bench_row row = {.group = "resident",
                     .value = bench_median(ours, runs) / 1e3,
                     .unit = "us",
                     .ratio = bench_estimate_ratio(ours, bare, runs)};
    snprintf(row.name, sizeof row.name, "cosine of %s on targets that stay, a launch (%d in a row, then a wait)", size, launches);
    snprintf(row.note, sizeof row.note, "on the device's own memory %.2f us", bench_median(bare, runs) / 1e3);
    bench_output_row(&row);
    close_pair(&p);
}

void bench_extra_resident(const bench_machine *machine, bool quick, double deadline)
{
    static const char *const sizes[] = {"64K", "1000x768", "16M", "64M", "256M"};
    size_t count = quick ? 1 : machine->info.device_kind == EUM_DEVICE_CUDA ? 5 : 3;
    for (size_t i = 0; i < count && bench_wall_ns() < deadline; i++) {
        size_t runs = quick || machine->raw->virtual_time ? 2 : RUNS;
        resident_row(machine, sizes[i], 1, runs);
        resident_row(machine, sizes[i], quick ? 2 : LAUNCHES, runs);
    }
}

/* ------------------------------------------------------------------------------------------------------ copies ------ */

static const char *movement_name(eum_movement movement)
{
    static const char *const names[] = {"none", "prefetch", "duplicate", "in place", "copy", "discard"};
    return movement >= 0 && movement < 6 ? names[movement] : "unknown";
}

/* How the last use of the buffer moved it. */
static void note_transport(eum_buffer *buffer, char *text, size_t capacity)
{
    eum_decision decision;
    eum_decision_init(&decision);
    OK(eum_buffer_explain(buffer, &decision));
    snprintf(text, capacity, "transport: %s", movement_name(decision.last_movement));
}

/* What the library does with bytes that the CPU has written through a map and that a kernel reads once: the transport it chose. */
static void transport_row(const bench_machine *machine, pair *p, const char *size)
{
    void *mapped = NULL;
    eum_buffer *fresh = make(machine, p->shape.bytes, EUM_ROLE_AUTO), *targets = p->targets;
    OK(eum_buffer_map(whole(fresh), EUM_ACCESS_OVERWRITE, &mapped));
    bench_copy(mapped, p->values, p->shape.bytes);
    OK(eum_buffer_unmap(fresh, mapped));
    p->targets = fresh;
    double begin = machine->library_now();
    score_by_library(p);
    OK(eum_stream_synchronize(machine->stream));
    double spent = machine->library_now() - begin;
    p->targets = targets;
    bench_row row = {.group = "copies", .value = spent / 1e3, .unit = "us"};
    snprintf(row.name, sizeof row.name, "%s written through a map, then scored: the launch and its wait", size);
    note_transport(fresh, row.note, sizeof row.note);
    OK(eum_buffer_destroy(fresh));
    bench_output_row(&row);
}

static void copy_row(const char *name, const char *size, const double *ours, const double *pinned, size_t runs, size_t bytes,
                     const char *note)
{
    bench_row row = {.group = "copies", .value = (double)bytes / bench_median(ours, runs), .unit = "GB/s"};
    row.ratio = bench_estimate_ratio(pinned, ours, runs); /* of rates */
    snprintf(row.name, sizeof row.name, "%s of %s: rate, and its part of the rate by hand", name, size);
    snprintf(row.note, sizeof row.note, "%s", note);
    bench_output_row(&row);
}

/* Times of one way to bring the source's bytes to the device. */
typedef struct copy_times {
    double called[RUNS]; /* by the library: until the call has returned. By hand: until the bytes are there */
    double scored[RUNS]; /* until they are there and a kernel has read them */
} copy_times;

static void copy_by_library(const pair *p, const eum_block *source, copy_times *times, size_t run, char *transport, size_t capacity)
{
    double begin = p->machine->library_now();
    OK(eum_buffer_write(whole(p->targets), source->host));
    times->called[run] = p->machine->library_now() - begin;
    note_transport(p->targets, transport, capacity);
    score_by_library(p);
    OK(eum_stream_synchronize(p->machine->stream));
    times->scored[run] = p->machine->library_now() - begin;
}

static void copy_by_hand(const pair *p, const eum_block *source, copy_times *times, size_t run)
{
    const bench_raw *raw = p->machine->raw;
    double begin = raw->now();
    raw->copy(0, p->raw_targets.device, source->host, p->shape.bytes, EUM_HOST_TO_DEVICE);
    raw->wait(0);
    times->called[run] = raw->now() - begin;
    begin = raw->now();
    raw->copy(0, p->raw_targets.device, source->host, p->shape.bytes, EUM_HOST_TO_DEVICE);
    score_by_hand(p);
    raw->wait(0);
    times->scored[run] = raw->now() - begin;
}

/* The same bytes from pinned memory, by hand, by hand again and by the library, in turns. */
static void copy_rows(const bench_machine *machine, const char *size, size_t runs)
{
    static copy_times times[3];
    char transport[64] = "";
    pair p;
    eum_block source;
    open_pair(machine, shape_of(size), &p);
    bench_shape changed = {p.shape.rows - 1, p.shape.dim, p.shape.bytes - p.shape.dim * sizeof(float)};
    bench_fill(p.values + p.shape.dim, changed, 1, 2); /* the first row is the query and stays */
    machine->raw->source(p.shape.bytes, &source);
    memcpy(source.host, p.values, p.shape.bytes);
    uint64_t random = 3;
    for (size_t i = 0; i < runs; i++) {
        size_t order[3] = {0, 1, 2};
        bench_shuffle(order, 3, &random);
        for (int k = 0; k < 3; k++)
            if (order[k] == 2)
                copy_by_library(&p, &source, &times[2], i, transport, sizeof transport);
            else
                copy_by_hand(&p, &source, &times[order[k]], i);
    }
    copy_row("a pinned copy by hand, again (A/A)", size, times[1].called, times[0].called, runs, p.shape.bytes, "");
    if (strcmp(transport, "transport: copy") == 0) /* otherwise the call has not brought them there */
        copy_row("eum_buffer_write from pinned memory", size, times[2].called, times[0].called, runs, p.shape.bytes, transport);
    copy_row("the same and a score, by hand again (A/A)", size, times[1].scored, times[0].scored, runs, p.shape.bytes, "");
    copy_row("eum_buffer_write from pinned memory and a score", size, times[2].scored, times[0].scored, runs, p.shape.bytes,
             transport);
    transport_row(machine, &p, size);
    machine->raw->release(&source);
    close_pair(&p);
}

/* Prefetch by hand of managed memory that the CPU has written. */
static void prefetch_row(const bench_machine *machine, const char *size, size_t runs)
{
    const bench_raw *raw = machine->raw;
    bench_shape shape = shape_of(size);
    double pinned[RUNS], prefetched[RUNS];
    eum_block managed, source, target;
    OK(eum_context_trim(machine->context, 0));
    raw->source(shape.bytes, &source);
    bench_keep_alloc(raw, EUM_MEMORY_DEVICE, shape.bytes, &target);
    raw->alloc(EUM_MEMORY_MANAGED, shape.bytes, &managed);
    bench_fill(source.host, shape, 0, 2);
    for (size_t i = 0; i < runs; i++) {
        raw->prefetch(0, &managed, 0, shape.bytes, EUM_LOCATION_HOST);
        raw->wait(0);
        bench_fill(managed.host, shape, 0, (uint32_t)i);
        double begin = raw->now();
        raw->prefetch(0, &managed, 0, shape.bytes, machine->info.device_index);
        raw->wait(0);
        prefetched[i] = raw->now() - begin;
        begin = raw->now();
        raw->copy(0, target.device, source.host, shape.bytes, EUM_HOST_TO_DEVICE);
        raw->wait(0);
        pinned[i] = raw->now() - begin;
    }
    copy_row("prefetch by hand of managed memory", size, prefetched, pinned, runs, shape.bytes, "");
    raw->release(&managed);
    raw->release(&source);
    bench_keep_release(raw, &target);
}

void bench_extra_copies(const bench_machine *machine, bool quick, double deadline)
{
    static const char *const sizes[] = {"64K", "1M", "1000x768", "16M", "64M", "256M"};
    size_t count = quick ? 1 : machine->info.device_kind == EUM_DEVICE_CUDA ? 6 : 4;
    if (!machine->raw->device)
        return; /* nothing is copied to the host's own device */
    for (size_t i = 0; i < count && bench_wall_ns() < deadline; i++) {
        size_t runs = quick || machine->raw->virtual_time    ? 2
                      : i < 3                                ? RUNS
                      : i + 1 < sizeof sizes / sizeof *sizes ? LONG_RUNS
                                                             : 11;
        copy_rows(machine, sizes[i], runs);
        if (machine->raw->managed)
            prefetch_row(machine, sizes[i], runs);
    }
}

/* ------------------------------------------------------------------------------------------------------ caller ------ */

/* Targets that the CPU rewrote go to the device for a user's kernel: what the caller of the launch waits. */
static void caller_by_library(const bench_machine *machine, const char *size, size_t runs)
{
    bench_shape shape = shape_of(size);
    char name[64];
    double called[RUNS], total[RUNS];
    eum_buffer *targets = make(machine, shape.bytes, EUM_ROLE_AUTO),
               *results = make(machine, shape.rows * BENCH_RESULTS_A_ROW * sizeof(float), EUM_ROLE_RESULTS);
    bench_params params = {shape.rows, shape.dim, 1, 0};
    eum_argument arguments[2] = {{whole(targets), EUM_ACCESS_READ, EUM_ARGUMENT_ONCE},
                                 {whole(results), EUM_ACCESS_OVERWRITE, EUM_ARGUMENT_ONCE}};
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.gpu = bench_spread_gpu;
    config.cpu = bench_spread_cpu;
    config.arguments = arguments;
    config.argument_count = 2;
    config.params = &params;
    config.params_bytes = sizeof params;
    for (size_t i = 0; i < runs; i++) {
        void *mapped = NULL;
        OK(eum_buffer_map(whole(targets), EUM_ACCESS_OVERWRITE, &mapped));
        bench_fill(mapped, shape, 0, (uint32_t)i);
        OK(eum_buffer_unmap(targets, mapped));
        double begin = machine->library_now();
        OK(eum_launch(machine->stream, &config, NULL));
        called[i] = machine->library_now() - begin;
        OK(eum_stream_synchronize(machine->stream));
        total[i] = machine->library_now() - begin;
    }
    snprintf(name, sizeof name, "launch with %s to move: the caller's time", size);
    bench_output_value("caller", name, bench_median(called, runs) / 1e3, "us");
    bench_output_value("caller", "  until it is done", bench_median(total, runs) / 1e3, "us");
    OK(eum_buffer_destroy(targets));
    OK(eum_buffer_destroy(results));
}

static void caller_by_hand(const bench_machine *machine, const char *size, size_t runs)
{
    bench_shape shape = shape_of(size);
    char name[64];
    const bench_raw *raw = machine->raw;
    double called[RUNS], total[RUNS];
    eum_block targets, results;
    OK(eum_context_trim(machine->context, 0));
    raw->alloc(EUM_MEMORY_MANAGED, shape.bytes, &targets);
    raw->alloc(EUM_MEMORY_DEVICE, shape.rows * BENCH_RESULTS_A_ROW * sizeof(float), &results);
    bench_params params = {shape.rows, shape.dim, 1, 0};
    bench_launch launch = {.gpu = bench_spread_gpu,
                           .cpu = bench_spread_cpu,
                           .count = 2,
                           .addresses = {targets.device, results.device},
                           .bytes = {targets.bytes, results.bytes},
                           .accesses = {EUM_ACCESS_READ, EUM_ACCESS_OVERWRITE},
                           .params = &params,
                           .params_bytes = sizeof params};
    for (size_t i = 0; i < runs; i++) {
        raw->prefetch(0, &targets, 0, shape.bytes, EUM_LOCATION_HOST);
        raw->wait(0);
        bench_fill(targets.host, shape, 0, (uint32_t)i);
        double begin = raw->now();
        raw->prefetch(0, &targets, 0, shape.bytes, machine->info.device_index);
        raw->run(0, &launch);
        called[i] = raw->now() - begin;
        raw->wait(0);
        total[i] = raw->now() - begin;
    }
    snprintf(name, sizeof name, "by hand, prefetch of %s + launch: the caller's time", size);
    bench_output_value("caller", name, bench_median(called, runs) / 1e3, "us");
    bench_output_value("caller", "  until it is done by hand", bench_median(total, runs) / 1e3, "us");
    raw->release(&targets);
    raw->release(&results);
}

void bench_extra_caller(const bench_machine *machine, bool quick, double deadline)
{
    const char *size = quick ? "1M" : "64M";
    size_t runs = quick || machine->raw->virtual_time ? 2 : 11;
    (void)deadline; /* a second at most */
    if (!machine->raw->device)
        return;
    caller_by_library(machine, size, runs);
    if (machine->raw->managed)
        caller_by_hand(machine, size, runs);
}
