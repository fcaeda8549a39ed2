/* rivals: the ways to do it by hand.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "bench_kernels.h"
#include "contender.h"
#include "work.h"

typedef enum hand_kind {
    PINNED_COPIES,    /* pinned staging of the user's own, cudaMemcpyAsync, kernel, copy back */
    PAGEABLE_COPIES,  /* the same from and to plain memory */
    PIPELINED,        /* pinned copies in chunks, on two streams, kernels on the chunks that are there */
    IN_PLACE,         /* pinned memory that kernels read and write over the link; on the host: plain memory */
    MANAGED_IN_PLACE, /* managed memory that prefers the host and is accessed by the device */
    NAIVE,            /* managed memory and nothing else */
    RECIPE            /* advice for everything, and a prefetch before each kernel */
} hand_kind;

typedef struct hand {
    const bench_contender *self;
    bench_case *c;
    const bench_raw *raw;
    hand_kind kind;
    bool copies;         /* two memories; otherwise `near` is the only one */
    bool busy[2];        /* a stream may have work */
    bool ahead;          /* the kernels of the next score step are started already */
    float *targets;      /* where the CPU has them */
    eum_block far, near; /* targets on the host's and on the device's side */
    eum_block results_far, results_near, query;
} hand;

static size_t row_bytes(const hand *h)
{
    return h->c->shape.dim * sizeof(float);
}

static bool is_managed(hand_kind kind)
{
    return kind == MANAGED_IN_PLACE || kind == NAIVE || kind == RECIPE;
}

static bool is_copying(hand_kind kind)
{
    return kind == PINNED_COPIES || kind == PAGEABLE_COPIES || kind == PIPELINED;
}

static bool hand_can(const bench_contender *self, const bench_case *c, bool *out_managed)
{
    const bench_raw *raw = c->machine->raw;
    hand_kind kind = (hand_kind)self->kind;
    *out_managed = is_managed(kind);
    if (kind == PIPELINED && (c->shape.bytes < 2 * BENCH_CHUNK_LEAST || raw->virtual_time))
        return false; /* one chunk: pinned copies. And in virtual time each stream has a link of its own */
    if (kind == PAGEABLE_COPIES && c->pattern->source == BENCH_SOURCE_PINNED)
        return false; /* nothing is pageable there */
    if (kind == IN_PLACE)
        return true;
    return raw->device && (!is_managed(kind) || raw->managed);
}

/* ------------------------------------------------------------------------------------------------- memory ---------- */

static void get(hand *h, eum_memory kind, size_t bytes, eum_block *out)
{
    bench_keep_alloc(h->raw, h->raw->device ? kind : EUM_MEMORY_HOST, bytes, out);
}

/* Writes `bytes` there, whatever the memory is. */
static void set_bytes(hand *h, const eum_block *block, const void *from, size_t bytes)
{
    if (block->host != NULL) {
        memcpy(block->host, from, bytes);
        return;
    }
    h->raw->copy(0, block->device, from, bytes, EUM_HOST_TO_DEVICE);
    h->raw->wait(0);
}

static void give_advice(hand *h)
{
    const bench_raw *raw = h->raw;
    eum_location here = h->c->machine->info.device_index;
    const eum_block *home[2] = {&h->results_near, h->kind == MANAGED_IN_PLACE ? &h->near : NULL};
    for (int i = 0; i < 2 && home[i] != NULL; i++) {
        raw->advise(home[i], EUM_ADVICE_PREFERRED_LOCATION, EUM_LOCATION_HOST);
        raw->advise(home[i], EUM_ADVICE_ACCESSED_BY, here);
        raw->prefetch(0, home[i], 0, home[i]->bytes, EUM_LOCATION_HOST);
    }
    raw->advise(&h->query, EUM_ADVICE_READ_MOSTLY, here);
    raw->prefetch(0, &h->query, 0, h->query.bytes, here);
    if (h->kind == RECIPE)
        raw->advise(&h->near, EUM_ADVICE_PREFERRED_LOCATION, here);
    raw->wait(0);
}

static void *hand_open(const bench_contender *self, bench_case *c)
{
    hand *h = calloc(1, sizeof *h);
    if (h == NULL)
        bench_stop("no memory");
    h->self = self;
    h->c = c;
    h->raw = c->machine->raw;
    h->kind = (hand_kind)self->kind;
    h->copies = is_copying(h->kind);
    size_t bytes = c->shape.bytes, results = c->results * sizeof(float);
    eum_memory near = h->copies ? EUM_MEMORY_DEVICE : is_managed(h->kind) ? EUM_MEMORY_MANAGED : EUM_MEMORY_PINNED;
    if (h->kind == IN_PLACE && c->pattern->source == BENCH_SOURCE_PINNED)
        h->near = c->pinned; /* the kernel reads what is there */
    else
        get(h, near, bytes, &h->near);
    get(h, near, results, &h->results_near);
    get(h, near, row_bytes(h), &h->query);
    if (h->kind == PAGEABLE_COPIES) {
        h->targets = bench_memory(bytes);
        bench_copy(h->targets, c->source, bytes); /* what the CPU edits; to be handed over it need not come here */
    } else if (h->copies && c->pattern->source == BENCH_SOURCE_PINNED) {
        h->targets = c->source;
    } else if (h->copies) {
        get(h, EUM_MEMORY_PINNED, bytes, &h->far);
        h->targets = h->far.host;
    } else {
        h->targets = h->near.host;
    }
    if (h->copies && h->kind != PAGEABLE_COPIES)
        get(h, EUM_MEMORY_PINNED, results, &h->results_far);
    set_bytes(h, &h->query, c->query, row_bytes(h));
    memset(c->received, 0xff, results);
    set_bytes(h, &h->results_near, c->received, results);
    if (h->kind == RECIPE || h->kind == MANAGED_IN_PLACE)
        give_advice(h);
    return h;
}

static void settle(hand *h)
{
    for (int i = 0; i < 2; i++)
        if (h->busy[i])
            h->raw->wait(i);
    h->busy[0] = h->busy[1] = false;
}

static void hand_close(void *set)
{
    hand *h = set;
    settle(h);
    if (h->kind == PAGEABLE_COPIES)
        free(h->targets);
    if (h->near.device != h->c->pinned.device || h->near.device == NULL)
        bench_keep_release(h->raw, &h->near);
    bench_keep_release(h->raw, &h->far);
    bench_keep_release(h->raw, &h->results_far);
    bench_keep_release(h->raw, &h->results_near);
    bench_keep_release(h->raw, &h->query);
    free(h);
}

/* ------------------------------------------------------------------------------------------------- kernels ---------- */

static void score(hand *h, int stream, size_t first, size_t rows)
{
    const bench_case *c = h->c;
    size_t row = row_bytes(h), results = c->results / c->shape.rows * sizeof(float);
    bench_params params = {rows, c->shape.dim, bench_spread_scale(c->epoch), 0};
    bench_launch launch = {.params = &params, .params_bytes = sizeof params};
    void *targets = (char *)h->near.device + first * row, *out = (char *)h->results_near.device + first * results;
    if (c->pattern->kernel == BENCH_COSINE) {
        launch.gpu = bench_cosine_gpu;
        launch.cpu = bench_cosine_cpu;
        launch.addresses[launch.count] = h->query.device;
        launch.bytes[launch.count] = row;
        launch.accesses[launch.count++] = EUM_ACCESS_READ;
    } else {
        launch.gpu = bench_spread_gpu;
        launch.cpu = bench_spread_cpu;
    }
    launch.addresses[launch.count] = targets;
    launch.bytes[launch.count] = rows * row;
    launch.accesses[launch.count++] = EUM_ACCESS_READ;
    launch.addresses[launch.count] = out;
    launch.bytes[launch.count] = rows * results;
    launch.accesses[launch.count++] = EUM_ACCESS_OVERWRITE;
    h->raw->run(stream, &launch);
    h->busy[stream] = true;
}

static void edit(hand *h, int stream, size_t first, size_t rows)
{
    bench_params params = {rows, h->c->shape.dim, bench_edit_add(h->c->epoch), 0};
    bench_launch launch = {.gpu = bench_edit_gpu,
                           .cpu = bench_edit_cpu,
                           .count = 1,
                           .addresses = {(char *)h->near.device + first * row_bytes(h)},
                           .bytes = {rows * row_bytes(h)},
                           .accesses = {EUM_ACCESS_READ_WRITE},
                           .params = &params,
                           .params_bytes = sizeof params};
    h->raw->run(stream, &launch);
    h->busy[stream] = true;
}

/* --------------------------------------------------------------------------------------------------- steps ---------- */

static size_t chunk_rows(const hand *h, size_t rows)
{
    return h->kind == PIPELINED ? bench_chunk_rows(rows, row_bytes(h)) : rows;
}

/* The CPU makes rows of the targets on its side. */
static const float *make_rows(hand *h, bench_step step, size_t first, size_t rows)
{
    const bench_case *c = h->c;
    size_t at = first * c->shape.dim;
    bench_shape shape = {rows, c->shape.dim, rows * row_bytes(h)};
    if (step == BENCH_FILL)
        bench_fill(h->targets + at, shape, first, c->epoch);
    else if (step == BENCH_EDIT_CPU)
        bench_edit(h->targets + at, rows * c->shape.dim, bench_edit_add(c->epoch));
    else if (h->kind == PAGEABLE_COPIES)
        return c->source + at; /* goes straight from where it is */
    else if (h->targets != c->source)
        bench_copy(h->targets + at, c->source + at, shape.bytes);
    return h->targets + at;
}

static void write_rows(hand *h, bench_step step, bench_step next, size_t first, size_t rows)
{
    size_t chunk = chunk_rows(h, rows), row = row_bytes(h);
    int stream = 0;
    settle(h); /* nothing uses the memory that is written now */
    for (size_t done = 0; done < rows; done += chunk) {
        size_t count = rows - done < chunk ? rows - done : chunk;
        const float *from = make_rows(h, step, first + done, count);
        if (!h->copies)
            continue;
        h->raw->copy(stream, (char *)h->near.device + (first + done) * row, from, count * row, EUM_HOST_TO_DEVICE);
        h->busy[stream] = true;
        h->ahead = h->kind == PIPELINED && next == BENCH_SCORE;
        if (h->ahead)
            score(h, stream, first + done, count);
        if (h->kind == PIPELINED)
            stream = 1 - stream;
    }
}

/* Stream 0 goes on after stream 1. */
static void join(hand *h)
{
    if (h->busy[1])
        h->raw->order(0, 1);
}

static void score_step(hand *h)
{
    eum_location here = h->c->machine->info.device_index;
    if (h->ahead) {
        h->ahead = false;
        return;
    }
    join(h);
    if (h->kind == RECIPE) {
        h->raw->prefetch(0, &h->near, 0, h->near.bytes, here);
        h->raw->prefetch(0, &h->query, 0, h->query.bytes, here);
    }
    score(h, 0, 0, h->c->shape.rows);
    if (h->kind == RECIPE)
        h->raw->prefetch(0, &h->results_near, 0, h->results_near.bytes, EUM_LOCATION_HOST);
}

static void get_step(hand *h)
{
    size_t bytes = h->c->results * sizeof(float);
    join(h);
    if (h->kind == PAGEABLE_COPIES) {
        h->raw->copy(0, h->c->received, h->results_near.device, bytes, EUM_DEVICE_TO_HOST);
        settle(h);
        return;
    }
    if (h->copies)
        h->raw->copy(0, h->results_far.host, h->results_near.device, bytes, EUM_DEVICE_TO_HOST);
    h->raw->wait(0); /* for both: stream 0 waits for the other */
    h->busy[0] = h->busy[1] = false;
    bench_copy(h->c->received, h->copies ? h->results_far.host : h->results_near.host, bytes);
}

static void edit_step(hand *h)
{
    size_t first = h->c->part_first, rows = h->c->part_rows, chunk = chunk_rows(h, rows), row = row_bytes(h);
    int stream = 0;
    if (h->kind == RECIPE)
        h->raw->prefetch(0, &h->near, first * row, rows * row, h->c->machine->info.device_index);
    for (size_t done = 0; done < rows; done += chunk) { /* the same chunks as those that came over: each stream is in order */
        size_t count = rows - done < chunk ? rows - done : chunk;
        edit(h, stream, first + done, count);
        if (h->copies)
            h->raw->copy(stream, h->targets + (first + done) * h->c->shape.dim, (char *)h->near.device + (first + done) * row,
                         count * row, EUM_DEVICE_TO_HOST);
        if (h->kind == PIPELINED)
            stream = 1 - stream;
    }
}

static void hand_step(void *set, bench_step step, bench_step next)
{
    hand *h = set;
    const bench_case *c = h->c;
    switch (step) {
    case BENCH_FILL:
    case BENCH_PUT:
        write_rows(h, step, next, 0, c->shape.rows);
        break;
    case BENCH_EDIT_CPU:
        write_rows(h, step, next, c->part_first, c->part_rows);
        break;
    case BENCH_SCORE:
        score_step(h);
        break;
    case BENCH_GET:
        get_step(h);
        break;
    case BENCH_EDIT_GPU:
        edit_step(h);
        break;
    case BENCH_LOOK:
        settle(h);
        (void)bench_look(h->targets + c->part_first * c->shape.dim, c->part_rows * c->shape.dim);
        break;
    case BENCH_SETTLE:
    case BENCH_END:
        settle(h);
        break;
    }
}

static void hand_touch(void *set)
{
    const hand *h = set;
    bench_touch(h->c->source, h->c->shape, h->c->epoch);
}

static void hand_check(void *set)
{
    hand *h = set;
    settle(h);
    for (size_t i = 0; i < BENCH_SAMPLES; i++) {
        size_t element = h->c->sample[i];
        if (h->copies) /* what is handed over straight from the source is not in the CPU's own array */
            h->raw->copy(0, &h->c->sample_got[i], (float *)h->near.device + element, sizeof(float), EUM_DEVICE_TO_HOST);
        else
            h->c->sample_got[i] = h->targets[element];
    }
    h->raw->wait(0);
}

#define HAND(kind_, name_, text_)                                                                                                  \
    {                                                                                                                              \
        .name = name_, .text = text_, .kind = kind_, .can = hand_can, .open = hand_open, .close = hand_close, .step = hand_step,   \
        .touch = hand_touch, .check = hand_check                                                                                   \
    }

const bench_contender bench_rivals[] = {
    HAND(PINNED_COPIES, "pinned copies", "pinned memory of one's own, copied to the device and back"),
    HAND(PAGEABLE_COPIES, "pageable copies", "plain memory, copied to the device and back"),
    HAND(PIPELINED, "pipelined", "pinned copies in chunks on two streams, each with its kernel"),
    HAND(IN_PLACE, "in place", "pinned memory that kernels use over the link; on the host plain memory"),
    HAND(MANAGED_IN_PLACE, "managed in place", "managed memory that prefers the host and is mapped for the device"),
    HAND(NAIVE, "naive managed", "managed memory without advice or prefetch"),
    HAND(RECIPE, "recipe", "managed memory with advice for all of it, prefetched before each kernel"),
};
const size_t bench_rival_count = sizeof bench_rivals / sizeof bench_rivals[0];
