/* library: the contenders that use engram_um.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "bench_kernels.h"
#include "contender.h"
#include "work.h"

typedef enum library_kind {
    BY_AUTO,      /* no roles */
    BY_ROLE,      /* the roles that fit */
    BY_ONE_MAP,   /* no roles; what those two have in parts is mapped as a whole */
    BY_PARTS,     /* no roles; what those two map as a whole, in parts */
    BY_ACQUIRING, /* by role, but acquired once for all scores of a cycle, which are launched by hand on the library's stream */
    BY_WRAPPING,  /* the pinned source itself is the buffer */
    BY_ARRAY,     /* the source itself is handed to the operation; on the device, */
    BY_ANYWHERE   /* or wherever it is done sooner */
} library_kind;

typedef struct library_set {
    library_kind kind;
    bench_case *c;
    eum_stream *stream;
    eum_buffer *query, *targets, *results;
    bool acquired;
    void *native;       /* BY_ACQUIRING: the CUDA stream */
    void *addresses[3]; /* while it is */
} library_set;

/* From so many launches on the same data on, it is worth a line of code. */
#define MANY_LAUNCHES 4

static bool launches_many(const bench_pattern *pattern)
{
    for (const bench_part *part = pattern->parts; part->times > 0; part++)
        if (part->steps[0] == BENCH_SCORE && part->steps[1] == BENCH_END && part->times >= MANY_LAUNCHES)
            return true;
    return false;
}

/* What a part costs beside its bytes is little beside these; and what is used once before the CPU has it again, so that it could be used in place, gains
 * less by moving. */
#define PARTS_FROM ((size_t)8 << 20)
#define PARTS_USED_ONCE_FROM ((size_t)32 << 20)

static size_t step_bytes(const bench_case *c, bench_step step)
{
    return (step == BENCH_FILL ? c->shape.rows : c->part_rows) * c->shape.dim * sizeof(float);
}

/* Where the CPU begins by computing or changing much: is there anything to move while it does? */
static bool has_parts(const bench_case *c)
{
    bench_step first = c->pattern->parts[0].steps[0];
    return (first == BENCH_FILL || first == BENCH_EDIT_CPU) && step_bytes(c, first) >= PARTS_FROM &&
           c->machine->info.device_kind != EUM_DEVICE_HOST;
}

/* Much that the CPU computes or changes is mapped in parts, which move while it is at the next: from less on where kernels then read it again and
 * again. (docs/residency.md says so.) With a role that keeps bytes in place where kernels rewrite them nothing would move. */
static bool suits_parts(const bench_case *c, library_kind kind)
{
    const bench_step *steps = c->pattern->parts[0].steps;
    bool read = steps[0] == BENCH_FILL && steps[1] == BENCH_SCORE,
         again = read && c->pattern->parts[1].times > 0; /* not only that */
    return has_parts(c) && (read || kind != BY_ROLE) && step_bytes(c, steps[0]) >= (again ? PARTS_FROM : PARTS_USED_ONCE_FROM);
}

static bool library_can(const bench_contender *self, const bench_case *c, bool *out_managed)
{
    *out_managed = c->machine->info.backing == EUM_BACKING_MANAGED;
    switch ((library_kind)self->kind) {
    case BY_ROLE:
        return c->pattern->role != EUM_ROLE_AUTO;
    case BY_ONE_MAP:
        return suits_parts(c, BY_AUTO);
    case BY_PARTS:
        return has_parts(c) && !suits_parts(c, BY_AUTO);
    case BY_ACQUIRING:
        return c->machine->info.device_kind == EUM_DEVICE_CUDA && launches_many(c->pattern);
    case BY_WRAPPING:
        return c->pattern->source == BENCH_SOURCE_PINNED;
    case BY_ARRAY:
    case BY_ANYWHERE:
        return c->pattern->array;
    case BY_AUTO:
        break;
    }
    return true;
}

static bool has_array(const library_set *s)
{
    return s->kind == BY_ARRAY || s->kind == BY_ANYWHERE;
}

static eum_view whole(eum_buffer *buffer)
{
    return (eum_view){buffer, 0, EUM_WHOLE_SIZE};
}

static eum_view rows_of(const library_set *s, size_t first, size_t rows)
{
    size_t row = s->c->shape.dim * sizeof(float);
    return (eum_view){s->targets, first * row, rows * row};
}

/* The rows of the pattern's part. */
static eum_view part(const library_set *s)
{
    return rows_of(s, s->c->part_first, s->c->part_rows);
}

static eum_buffer *make(const library_set *s, size_t bytes, eum_role role)
{
    eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
    eum_buffer *made = NULL;
    config.role = s->kind == BY_AUTO || s->kind == BY_ONE_MAP || s->kind == BY_PARTS ? EUM_ROLE_AUTO : role;
    OK(eum_buffer_create(s->c->machine->context, bytes, &config, &made));
    return made;
}

static eum_buffer *wrap(const library_set *s)
{
    eum_wrap_config config = EUM_WRAP_CONFIG_INIT;
    eum_buffer *made = NULL;
    config.address = s->c->pinned.host;
    config.bytes = s->c->shape.bytes;
    config.memory = s->c->pinned.kind; /* on the host it is plain */
    config.role = s->c->pattern->role;
    OK(eum_buffer_wrap(s->c->machine->context, &config, &made));
    return made;
}

static void *library_open(const bench_contender *self, bench_case *c)
{
    library_set *s = calloc(1, sizeof *s);
    if (s == NULL)
        bench_stop("no memory");
    s->kind = (library_kind)self->kind;
    s->c = c;
    s->stream = c->machine->stream;
    if (s->kind == BY_ACQUIRING) { /* it hands its stream out, which the others' is better without */
        OK(eum_stream_create(c->machine->context, NULL, &s->stream));
        OK(eum_stream_native(s->stream, &s->native));
    }
    s->query = make(s, c->shape.dim * sizeof(float), EUM_ROLE_QUERY);
    s->results = make(s, c->results * sizeof(float), EUM_ROLE_RESULTS);
    if (!has_array(s))
        s->targets = s->kind == BY_WRAPPING ? wrap(s) : make(s, c->shape.bytes, c->pattern->role);
    OK(eum_buffer_write(whole(s->query), c->query));
    memset(c->received, 0xff, c->results * sizeof(float));
    OK(eum_buffer_write(whole(s->results), c->received));
    return s;
}

static void library_close(void *set)
{
    library_set *s = set;
    OK(eum_stream_synchronize(s->stream));
    OK(eum_buffer_destroy(s->query));
    OK(eum_buffer_destroy(s->results));
    OK(eum_buffer_destroy(s->targets));
    if (s->kind == BY_ACQUIRING)
        OK(eum_stream_destroy(s->stream));
    free(s);
}

/* -------------------------------------------------------------------------------------------------- launches -------- */

static void cosine(const library_set *s)
{
    eum_cosine_config config = EUM_COSINE_CONFIG_INIT;
    config.executor = s->kind == BY_ANYWHERE ? EUM_EXECUTOR_AUTO : EUM_EXECUTOR_DEVICE; /* this is about movement */
    config.query = whole(s->query);
    if (has_array(s))
        config.host_targets = s->c->source;
    else
        config.targets = whole(s->targets);
    config.scores = whole(s->results);
    config.rows = s->c->shape.rows;
    config.dim = s->c->shape.dim;
    OK(eum_cosine(s->stream, &config, NULL));
}

/* Between the acquisition and the release what is launched costs what it costs without the library. */
static void cosine_acquired(library_set *s, bool last)
{
    eum_argument arguments[3] = {{whole(s->query), EUM_ACCESS_READ, 0},
                                 {whole(s->targets), EUM_ACCESS_READ, 0},
                                 {whole(s->results), EUM_ACCESS_OVERWRITE, 0}};
    bench_params params = {s->c->shape.rows, s->c->shape.dim, 0, 0};
    eum_kernel_call call = {.addresses = s->addresses, .params = &params};
    if (!s->acquired)
        OK(eum_stream_acquire(s->stream, arguments, 3, s->addresses));
    call.stream = s->native;
    int32_t (*const kernel)(const eum_kernel_call *) =
        bench_cosine_gpu; /* NULL in a build without CUDA, which has no such contender */
    if (kernel == NULL || kernel(&call) != 0)
        bench_stop("the kernel does not start");
    s->acquired = !last;
    if (last)
        OK(eum_stream_release(s->stream, arguments, 3, NULL));
}

static void spread(const library_set *s)
{
    bench_params params = {s->c->shape.rows, s->c->shape.dim, bench_spread_scale(s->c->epoch), 0};
    eum_argument arguments[2] = {{whole(s->targets), EUM_ACCESS_READ, EUM_ARGUMENT_ONCE},
                                 {whole(s->results), EUM_ACCESS_OVERWRITE, EUM_ARGUMENT_ONCE}};
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.gpu = bench_spread_gpu;
    config.cpu = bench_spread_cpu;
    config.arguments = arguments;
    config.argument_count = 2;
    config.params = &params;
    config.params_bytes = sizeof params;
    OK(eum_launch(s->stream, &config, NULL));
}

static void edit(const library_set *s)
{
    bench_params params = {s->c->part_rows, s->c->shape.dim, bench_edit_add(s->c->epoch), 0};
    eum_argument argument = {part(s), EUM_ACCESS_READ_WRITE, EUM_ARGUMENT_ONCE};
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.gpu = bench_edit_gpu;
    config.cpu = bench_edit_cpu;
    config.arguments = &argument;
    config.argument_count = 1;
    config.params = &params;
    config.params_bytes = sizeof params;
    OK(eum_launch(s->stream, &config, NULL));
}

/* --------------------------------------------------------------------------------------------------- steps ---------- */

/* The CPU's turns on the targets. */
static void cpu_step(const library_set *s, bench_step step)
{
    const bench_case *c = s->c;
    eum_view view = step == BENCH_FILL || step == BENCH_PUT ? whole(s->targets) : part(s);
    eum_access access = step == BENCH_FILL ? EUM_ACCESS_OVERWRITE : step == BENCH_LOOK ? EUM_ACCESS_READ : EUM_ACCESS_READ_WRITE;
    void *mapped = NULL;
    OK(eum_buffer_map(view, access, &mapped));
    if (step == BENCH_FILL)
        bench_fill(mapped, c->shape, 0, c->epoch);
    else if (step == BENCH_EDIT_CPU)
        bench_edit(mapped, c->part_rows * c->shape.dim, bench_edit_add(c->epoch));
    else if (step == BENCH_LOOK)
        (void)bench_look(mapped, c->part_rows * c->shape.dim);
    OK(eum_buffer_unmap(s->targets, mapped));
}

/* Do the bytes move while the CPU is at others, as they do for who pipelines by hand? */
static bool in_parts(const library_set *s, bench_step step)
{
    bool wanted = s->kind == BY_PARTS || ((s->kind == BY_AUTO || s->kind == BY_ROLE) && suits_parts(s->c, s->kind));
    return wanted && step_bytes(s->c, step) >= PARTS_FROM;
}

/* The same in parts: those that the device has come to the host one behind the other, and what the CPU has written goes back while it is
 * at the next. */
static void cpu_step_in_parts(const library_set *s, bench_step step)
{
    const bench_case *c = s->c;
    bool fills = step == BENCH_FILL, looks = step == BENCH_LOOK;
    eum_access access = fills ? EUM_ACCESS_OVERWRITE : looks ? EUM_ACCESS_READ : EUM_ACCESS_READ_WRITE;
    size_t begin = fills ? 0 : c->part_first, count = fills ? c->shape.rows : c->part_rows;
    size_t chunk = bench_chunk_rows(count, c->shape.dim * sizeof(float));
    for (int use = fills; use <= 1; use++) {
        for (size_t done = 0; done < count; done += chunk) {
            size_t rows = count - done < chunk ? count - done : chunk;
            eum_view view = rows_of(s, begin + done, rows);
            void *mapped = NULL;
            if (!use) {
                OK(eum_buffer_prefetch(view, EUM_LOCATION_HOST, s->stream));
                continue;
            }
            OK(eum_buffer_map(view, access, &mapped));
            if (fills)
                bench_fill(mapped, (bench_shape){rows, c->shape.dim, view.bytes}, begin + done, c->epoch);
            else if (looks)
                (void)bench_look(mapped, rows * c->shape.dim);
            else
                bench_edit(mapped, rows * c->shape.dim, bench_edit_add(c->epoch));
            OK(eum_buffer_unmap(s->targets, mapped));
            if (!looks)
                OK(eum_buffer_prefetch(view, c->machine->info.device_index, s->stream));
        }
    }
}

static void get_results(const library_set *s)
{
    void *mapped = NULL;
    if (s->c->pattern->bulk) {
        OK(eum_buffer_read(whole(s->results), s->c->received));
        return;
    }
    OK(eum_buffer_map(whole(s->results), EUM_ACCESS_READ, &mapped));
    bench_copy(s->c->received, mapped, s->c->results * sizeof(float));
    OK(eum_buffer_unmap(s->results, mapped));
}

static void library_step(void *set, bench_step step, bench_step next)
{
    library_set *s = set;
    switch (step) {
    case BENCH_PUT:
        if (has_array(s))
            break;
        if (s->kind != BY_WRAPPING)
            OK(eum_buffer_write(whole(s->targets), s->c->source));
        else
            cpu_step(s, step); /* the map in which a program changes them; here that is done already */
        break;
    case BENCH_FILL:
    case BENCH_EDIT_CPU:
    case BENCH_LOOK:
        (in_parts(s, step) ? cpu_step_in_parts : cpu_step)(s, step);
        break;
    case BENCH_SCORE:
        if (s->kind == BY_ACQUIRING)
            cosine_acquired(s, next != BENCH_SCORE); /* beyond that the library does not know what comes */
        else if (s->c->pattern->kernel == BENCH_COSINE)
            cosine(s);
        else
            spread(s);
        break;
    case BENCH_GET:
        get_results(s);
        break;
    case BENCH_EDIT_GPU:
        edit(s);
        break;
    case BENCH_SETTLE:
    case BENCH_END:
        OK(eum_stream_synchronize(s->stream));
        break;
    }
}

static void library_touch(void *set)
{
    const library_set *s = set;
    void *mapped = NULL;
    if (s->kind == BY_WRAPPING)
        OK(eum_buffer_map(whole(s->targets), EUM_ACCESS_READ_WRITE, &mapped));
    bench_touch(s->c->source, s->c->shape, s->c->epoch);
    if (s->kind == BY_WRAPPING)
        OK(eum_buffer_unmap(s->targets, mapped));
}

static void library_check(void *set)
{
    const library_set *s = set;
    for (size_t i = 0; i < BENCH_SAMPLES && has_array(s); i++)
        s->c->sample_got[i] = s->c->source[s->c->sample[i]]; /* it is as it was */
    for (size_t i = 0; i < BENCH_SAMPLES && !has_array(s); i++)
        OK(eum_buffer_read((eum_view){s->targets, s->c->sample[i] * sizeof(float), sizeof(float)}, &s->c->sample_got[i]));
}

#define LIBRARY(kind_, name_, text_)                                                                                               \
    {                                                                                                                              \
        .name = name_, .text = text_, .library = true, .kind = kind_, .can = library_can, .open = library_open,                    \
        .close = library_close, .step = library_step, .touch = library_touch, .check = library_check                               \
    }

const bench_contender bench_library_contenders[] = {
    LIBRARY(
        BY_AUTO, "auto",
        "the library, no roles; 32 MiB and more (8, if reused) that the CPU computes for kernels: in parts, which move meanwhile"),
    LIBRARY(BY_ROLE, "role", "the same, with the roles that fit"),
    LIBRARY(BY_ONE_MAP, "one map", "the library, no roles; what those have in parts in one map"),
    LIBRARY(BY_PARTS, "parts", "the library, no roles; what those have in one map in parts"),
    LIBRARY(BY_ACQUIRING, "acquire", "the library, acquired once for all scores of a cycle, launched by hand on its stream"),
    LIBRARY(BY_WRAPPING, "wrap", "the library, with the pinned memory itself as buffer"),
    LIBRARY(BY_ARRAY, "array", "the library, with the array itself (host_targets), on the device"),
    LIBRARY(BY_ANYWHERE, "anywhere", "the same, on the CPU or the device, whichever is predicted to be done sooner"),
};
const size_t bench_library_contender_count = sizeof bench_library_contenders / sizeof bench_library_contenders[0];
