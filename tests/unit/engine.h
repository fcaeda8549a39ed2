/* engine: what the suites that run the engine through the public API share: a context on the device that EUM_DEVICE names (the host where it
 * is unset), kernels that do simple things and can be held up, and the accounts that must be right when a context ends.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TESTS_ENGINE_H
#define EUM_TESTS_ENGINE_H

#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "buffer.h"
#include "device/sim/sim.h"
#include "objects.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define WORD sizeof(uint32_t)

/* ------------------------------------------------------------------------------------------------------ asserts ---- */

static inline void fail_at(const char *file, int line, const char *what, eum_status status, eum_status expected)
{
    eum_error error = EUM_ERROR_INIT;
    eum_last_error(&error);
    ck_abort_msg("%s:%d: %s gives %s instead of %s: %s", file, line, what, eum_status_name(status), eum_status_name(expected),
                 error.sentence);
}

#define GIVES(expected, call)                                                                                                      \
    do {                                                                                                                           \
        eum_status given = (call), wanted = (expected);                                                                            \
        if (given != wanted)                                                                                                       \
            fail_at(__FILE__, __LINE__, #call, given, wanted);                                                                     \
    } while (0)
#define OK(call) GIVES(EUM_OK, call)

static inline void sleep_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

/* ----------------------------------------------------------------------------------------------------- contexts ---- */

static inline const char *device_name(void)
{
    const char *name = getenv("EUM_DEVICE");
    return name != NULL && name[0] != '\0' && strcmp(name, "auto") != 0 ? name : "host";
}

/* The kernels here are CPU callbacks, which CUDA devices do not run. */
static inline bool runs_cpu_kernels(void)
{
    return strncmp(device_name(), "cuda", 4) != 0;
}

/* Managed memory on a device without concurrent access: the CPU and kernels take turns on all of it, so some tests make no sense. */
static inline bool takes_turns(void)
{
    const char *backing = getenv("EUM_BACKING");
    return strncmp(device_name(), "sim:maxwell", 11) == 0 && backing != NULL && strcmp(backing, "managed") == 0;
}

/* Errors are logged where nobody asks: violations of order, and what a context that ends has not freed. Failed jobs are expected. */
static inline void hear_errors(void *user, eum_log_level level, const char *message)
{
    (void)user, (void)level;
    bool lost = strncmp(message, "a wrapped buffer ended, ", 24) == 0 && strstr(message, "EUM_ERROR_DEVICE_LOST") != NULL;
    if (strncmp(message, "a job failed: ", 14) != 0 && !lost) {
        fprintf(stderr, "logged as an error: %s\n", message);
        abort();
    }
}

static inline eum_context *open_with(const eum_context_config *config)
{
    eum_context *context = NULL;
    eum_context_config with_log = *config;
    if (config->log_fn == NULL) {
        with_log.log_level = EUM_LOG_ERROR;
        with_log.log_fn = hear_errors;
    }
    OK(eum_context_create(&with_log, &context));
    return context;
}

static inline eum_context *open_on(const char *device, eum_backing backing)
{
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    config.device = device;
    config.backing = backing;
    config.worker_threads = 2;
    return open_with(&config);
}

static inline eum_context *open_context(void)
{
    return open_on(device_name(), EUM_BACKING_AUTO);
}

static inline eum_ctx *ctx_of(eum_context *context)
{
    eum_context_object *object = NULL;
    OK(eum_pin_context(context, &object));
    eum_ctx *ctx = object->ctx;
    eum_handle_unpin(context);
    return ctx;
}

static inline eum_device *device_of(eum_context *context)
{
    return ctx_of(context)->device;
}

static inline eum_stats stats_of(eum_context *context)
{
    eum_stats stats;
    eum_stats_init(&stats);
    OK(eum_context_stats(context, &stats));
    return stats;
}

static inline eum_info info_of(eum_context *context)
{
    eum_info info;
    eum_info_init(&info);
    OK(eum_context_info(context, &info));
    return info;
}

static inline bool is_host(eum_context *context)
{
    return info_of(context).device_kind == EUM_DEVICE_HOST;
}

/* Whether the library moves bytes between two sides: kernels do not use them in place, and the driver does not move all of them. */
static inline bool moves(eum_context *context)
{
    eum_backing backing = info_of(context).backing;
    return (backing == EUM_BACKING_MANAGED && !takes_turns()) || backing == EUM_BACKING_MIRRORED;
}

/* What must hold at any quiet moment. */
static inline void check_device(eum_context *context)
{
    eum_device *device = device_of(context);
    char text[512];
    uint64_t violations = eum_sim_violations(device, text, sizeof text);
    ck_assert_msg(violations == 0, "%llu violations of order, first: %s", (unsigned long long)violations, text);
    eum_sim_counters counters;
    if (eum_sim_counters_get(device, &counters)) {
        ck_assert_uint_eq(counters.unguarded_blocks, 0);
        ck_assert_msg(counters.gpu_faults_in_kernels == 0, "%llu page faults in kernels",
                      (unsigned long long)counters.gpu_faults_in_kernels);
    }
}

/* All buffers are destroyed: nothing may be left of them. */
static inline void check_empty(eum_context *context)
{
    eum_status idle = device_of(context)->ops->synchronize(device_of(context)); /* which a lost device is */
    ck_assert_msg(idle == EUM_OK || idle == EUM_ERROR_DEVICE_LOST, "%s", eum_status_name(idle));
    OK(eum_context_trim(context, 0));
    eum_stats stats = stats_of(context);
    ck_assert_uint_eq(stats.pool_bytes, 0);
    for (int kind = 1; kind < EUM_MEMORY_KINDS; kind++)
        ck_assert_msg(stats.raw_allocations[kind] == stats.raw_frees[kind] + stats.raw_given_up[kind],
                      "memory kind %d: %llu allocated, %llu freed, %llu given up", kind,
                      (unsigned long long)stats.raw_allocations[kind], (unsigned long long)stats.raw_frees[kind],
                      (unsigned long long)stats.raw_given_up[kind]);
    ck_assert_uint_eq(stats.buffers_live, 0);
    ck_assert_uint_eq(stats.bytes_live, 0);
    ck_assert_uint_eq(stats.maps_live, 0);
    ck_assert_uint_eq(info_of(context).budget_used, 0);
    ck_assert_uint_eq(eum_sim_blocks_live(device_of(context), 0), 0);
}

static inline void close_context(eum_context *context)
{
    check_device(context);
    check_empty(context);
    OK(eum_context_destroy(context));
}

static inline eum_stream *default_stream(eum_context *context)
{
    eum_stream *stream = NULL;
    OK(eum_context_default_stream(context, &stream));
    return stream;
}

static inline eum_stream *new_stream(eum_context *context)
{
    eum_stream *stream = NULL;
    OK(eum_stream_create(context, NULL, &stream));
    return stream;
}

/* ------------------------------------------------------------------------------------------------------ buffers ---- */

static inline eum_buffer *new_buffer_as(eum_context *context, size_t bytes, eum_role role)
{
    eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
    config.role = role;
    eum_buffer *buffer = NULL;
    OK(eum_buffer_create(context, bytes, &config, &buffer));
    return buffer;
}

static inline eum_buffer *new_buffer(eum_context *context, size_t bytes)
{
    return new_buffer_as(context, bytes, EUM_ROLE_AUTO);
}

static inline eum_view part(eum_buffer *buffer, size_t offset, size_t bytes)
{
    return (eum_view){buffer, offset, bytes};
}

static inline eum_view whole(eum_buffer *buffer)
{
    return (eum_view){buffer, 0, EUM_WHOLE_SIZE};
}

static inline eum_decision explain(eum_buffer *buffer)
{
    eum_decision decision;
    eum_decision_init(&decision);
    OK(eum_buffer_explain(buffer, &decision));
    return decision;
}

static inline uint32_t word_at(uint32_t seed, size_t index)
{
    uint32_t x = (uint32_t)index * 2654435761u ^ seed * 2246822519u;
    x ^= x >> 15;
    return x * 2246822519u ^ x >> 13;
}

static inline void fill_words(uint32_t *words, size_t count, uint32_t seed)
{
    for (size_t i = 0; i < count; i++)
        words[i] = word_at(seed, i);
}

/* Tells the simulator's checker what the CPU does with a map. */
static inline void touch(eum_buffer *buffer, const void *address, size_t bytes, bool write)
{
    eum_buf *buf = NULL;
    OK(eum_pin_buffer(buffer, &buf));
    eum_sim_host_access(buf->ctx->device, address, bytes, write);
    eum_handle_unpin(buffer);
}

static inline void *map(eum_view view, eum_access access)
{
    void *address = NULL;
    OK(eum_buffer_map(view, access, &address));
    eum_buffer_info info;
    eum_buffer_info_init(&info);
    OK(eum_buffer_get_info(view.buffer, &info));
    touch(view.buffer, address, view.bytes == EUM_WHOLE_SIZE ? info.bytes - view.offset : view.bytes, access != EUM_ACCESS_READ);
    return address;
}

static inline void unmap(eum_buffer *buffer, void *address)
{
    OK(eum_buffer_unmap(buffer, address));
}

static inline size_t words_of(eum_view view)
{
    eum_buffer_info info;
    eum_buffer_info_init(&info);
    OK(eum_buffer_get_info(view.buffer, &info));
    return (view.bytes == EUM_WHOLE_SIZE ? info.bytes - view.offset : view.bytes) / WORD;
}

/* By the CPU, through a map: word i of the view becomes word_at(seed, i), or is compared with it. */
static inline void cpu_fill(eum_view view, uint32_t seed)
{
    void *address = map(view, EUM_ACCESS_OVERWRITE);
    fill_words(address, words_of(view), seed);
    unmap(view.buffer, address);
}

static inline void expect_words(const uint32_t *words, size_t count, uint32_t seed, uint32_t plus)
{
    for (size_t i = 0; i < count; i++)
        if (words[i] != word_at(seed, i) + plus)
            ck_abort_msg("word %zu of %zu is %08x instead of %08x", i, count, words[i], word_at(seed, i) + plus);
}

static inline void cpu_expect_plus(eum_view view, uint32_t seed, uint32_t plus)
{
    void *address = map(view, EUM_ACCESS_READ);
    expect_words(address, words_of(view), seed, plus);
    unmap(view.buffer, address);
}

static inline void cpu_expect(eum_view view, uint32_t seed)
{
    cpu_expect_plus(view, seed, 0);
}

/* ------------------------------------------------------------------------------------------------------ kernels ---- */

/* Holds kernels up until it is opened. */
typedef struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t change;
    int waiting; /* kernels that have arrived */
    bool open;
} gate;
#define GATE_INIT                                                                                                                  \
    {                                                                                                                              \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, false                                                              \
    }

static inline void pass_gate(gate *g)
{
    pthread_mutex_lock(&g->mutex);
    g->waiting++;
    pthread_cond_broadcast(&g->change);
    while (!g->open)
        pthread_cond_wait(&g->change, &g->mutex);
    pthread_mutex_unlock(&g->mutex);
}

static inline void await_gate(gate *g, int kernels)
{
    pthread_mutex_lock(&g->mutex);
    while (g->waiting < kernels)
        pthread_cond_wait(&g->change, &g->mutex);
    pthread_mutex_unlock(&g->mutex);
}

static inline void open_gate(gate *g)
{
    pthread_mutex_lock(&g->mutex);
    g->open = true;
    pthread_cond_broadcast(&g->change);
    pthread_mutex_unlock(&g->mutex);
}

/* What a kernel does with its arguments, in words. */
typedef enum work_kind {
    WORK_NOTHING,
    WORK_FILL,   /* every argument i that may be written: word k becomes word_at(value + i, k) */
    WORK_ADD,    /* argument 0: each word += value */
    WORK_COPY,   /* argument 1 = argument 0 */
    WORK_EXPECT, /* fails with 77 unless every argument i is word_at(value + i, k) */
} work_kind;

typedef struct work {
    work_kind kind;
    uint32_t value;
    gate *gate;   /* before it touches anything; NULL: none */
    int32_t code; /* returned after the work; not 0: the job fails */
    atomic_int *ran;
} work;

static inline int32_t do_work(const eum_kernel_call *call)
{
    const work *w = call->params;
    if (w->gate != NULL)
        pass_gate(w->gate);
    for (size_t i = 0; i < call->count; i++) {
        uint32_t *words = call->addresses[i];
        size_t count = call->bytes[i] / WORD;
        if (w->kind == WORK_FILL)
            fill_words(words, count, w->value + (uint32_t)i);
        for (size_t k = 0; k < count && w->kind == WORK_ADD && i == 0; k++)
            words[k] += w->value;
        for (size_t k = 0; k < count && w->kind == WORK_EXPECT; k++)
            if (words[k] != word_at(w->value + (uint32_t)i, k))
                return 77;
    }
    if (w->kind == WORK_COPY)
        memcpy(call->addresses[1], call->addresses[0], call->bytes[0]);
    if (w->ran != NULL)
        atomic_fetch_add(w->ran, 1);
    return w->code;
}

static inline eum_status try_launch(eum_stream *stream, const work *w, const eum_argument *arguments, size_t count, eum_job *out)
{
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.cpu = do_work;
    config.arguments = arguments;
    config.argument_count = count;
    config.params = w;
    config.params_bytes = sizeof *w;
    return eum_launch(stream, &config, out);
}

static inline eum_argument reads(eum_view view)
{
    return (eum_argument){view, EUM_ACCESS_READ, 0};
}
static inline eum_argument updates(eum_view view)
{
    return (eum_argument){view, EUM_ACCESS_READ_WRITE, 0};
}
static inline eum_argument overwrites(eum_view view)
{
    return (eum_argument){view, EUM_ACCESS_OVERWRITE, 0};
}

static inline eum_status try_launch1(eum_stream *stream, work w, eum_argument argument)
{
    return try_launch(stream, &w, &argument, 1, NULL);
}

static inline eum_job launch1(eum_stream *stream, work w, eum_argument argument)
{
    eum_job job = {NULL, 0, 0};
    OK(try_launch(stream, &w, &argument, 1, &job));
    return job;
}

static inline eum_job launch2(eum_stream *stream, work w, eum_argument first, eum_argument second)
{
    eum_job job = {NULL, 0, 0};
    const eum_argument arguments[2] = {first, second};
    OK(try_launch(stream, &w, arguments, 2, &job));
    return job;
}

static inline void wait_job(eum_job job)
{
    OK(eum_job_wait(job, -1));
}

static inline void gpu_fill(eum_stream *stream, eum_view view, uint32_t seed)
{
    wait_job(launch1(stream, (work){.kind = WORK_FILL, .value = seed}, overwrites(view)));
}

static inline void gpu_expect(eum_stream *stream, eum_view view, uint32_t seed)
{
    wait_job(launch1(stream, (work){.kind = WORK_EXPECT, .value = seed}, reads(view)));
}

static inline bool is_done(eum_job job)
{
    return eum_job_wait(job, 0) == EUM_OK;
}

/* ---------------------------------------------------------------------------------------- calls that take a while -- */

/* A call on a thread of its own, to see whether it waits. */
typedef struct pending {
    pthread_t thread;
    eum_status (*call)(struct pending *pending);
    eum_view view;
    eum_access access;
    void *address;
    eum_buffer *buffer;
    eum_status status;
    eum_error error;
    atomic_bool done;
} pending;

static inline void *run_pending(void *arg)
{
    pending *p = arg;
    p->status = p->call(p);
    eum_error_init(&p->error);
    eum_last_error(&p->error);
    atomic_store(&p->done, true);
    return NULL;
}

static inline void start(pending *p, eum_status (*call)(pending *))
{
    p->call = call;
    ck_assert_int_eq(pthread_create(&p->thread, NULL, run_pending, p), 0);
}

/* Long enough for a call that does not wait to have returned; a slow machine can only make the assertion weaker, never fail. */
static inline void assert_waits(pending *p)
{
    sleep_ms(30);
    ck_assert_msg(!atomic_load(&p->done), "the call did not wait");
}

static inline eum_status finish(pending *p)
{
    ck_assert_int_eq(pthread_join(p->thread, NULL), 0);
    return p->status;
}

static inline eum_status call_map(pending *p)
{
    return eum_buffer_map(p->view, p->access, &p->address);
}

#endif
