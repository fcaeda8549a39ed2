/* gpu_fixture: what the GPU suites share: a context on the CUDA device, buffers, launches of the tests' kernel.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TESTS_GPU_FIXTURE_H
#define EUM_TESTS_GPU_FIXTURE_H

#include <check.h>
#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engram_um.h"
#include "gpu_kernels.h"

#define UNUSED __attribute__((unused))
#define MIB ((size_t)1 << 20)

UNUSED static const char *sentence(void)
{
    static _Thread_local eum_error error;
    eum_error_init(&error);
    (void)eum_last_error(&error);
    return error.sentence;
}

#define OK(call)                                                                                                                   \
    do {                                                                                                                           \
        eum_status status_ = (call);                                                                                               \
        ck_assert_msg(status_ == EUM_OK, "%s: %s: %s", #call, eum_status_name(status_), sentence());                               \
    } while (0)
#define FAILS(call, wanted)                                                                                                        \
    do {                                                                                                                           \
        eum_status status_ = (call);                                                                                               \
        ck_assert_msg(status_ == (wanted), "%s: %s instead of %s", #call, eum_status_name(status_), #wanted);                      \
    } while (0)
#define CUDA(call)                                                                                                                 \
    do {                                                                                                                           \
        cudaError_t error_ = (call);                                                                                               \
        ck_assert_msg(error_ == cudaSuccess, "%s: %s", #call, cudaGetErrorString(error_));                                         \
    } while (0)

static eum_context *context;
static eum_stream *stream;

/* In each test of a loop: _i is one of these. */
static const eum_backing backings[] = {EUM_BACKING_MANAGED, EUM_BACKING_MIRRORED, EUM_BACKING_MAPPED};
UNUSED static const char *const backing_words[] = {"managed", "mirrored", "mapped"};
#define BACKINGS 3

UNUSED static void open_context(eum_backing backing, uint64_t budget)
{
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    config.device = "cuda";
    config.backing = backing;
    config.budget_bytes = budget;
    config.log_level = EUM_LOG_WARN;
    OK(eum_context_create(&config, &context));
    OK(eum_context_default_stream(context, &stream));
}

/* Nothing may be left of what the library allocated. */
UNUSED static void close_context(void)
{
    eum_stats stats;
    eum_stats_init(&stats);
    OK(eum_stream_synchronize(stream));
    OK(eum_context_stats(context, &stats));
    ck_assert_uint_eq(stats.buffers_live, 0);
    ck_assert_uint_eq(stats.maps_live, 0);
    OK(eum_context_destroy(context));
    CUDA(cudaPeekAtLastError());
}

UNUSED static eum_buffer *make_buffer(size_t bytes, eum_role role)
{
    eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
    eum_buffer *made = NULL;
    config.role = role;
    OK(eum_buffer_create(context, bytes, &config, &made));
    return made;
}

UNUSED static eum_view whole(eum_buffer *buffer)
{
    return (eum_view){buffer, 0, EUM_WHOLE_SIZE};
}

UNUSED static eum_argument argument(eum_buffer *buffer, size_t offset, size_t bytes, eum_access access)
{
    return (eum_argument){{buffer, offset, bytes}, access, 0};
}

UNUSED static eum_status work_on(eum_stream *on, const eum_argument *arguments, uint32_t count, uint32_t seed, uint64_t *checksum,
                                 uint32_t spin_us, eum_job *job)
{
    gpu_work work = {.seed = seed, .views = count, .checksum = checksum, .spin_us = spin_us};
    for (uint32_t i = 0; i < count; i++)
        work.accesses[i] = arguments[i].access;
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.gpu = gpu_work_launch;
    config.arguments = arguments;
    config.argument_count = count;
    config.params = &work;
    config.params_bytes = sizeof work;
    return eum_launch(on, &config, job);
}

/* The model of the same launch; views are the arguments' words in memory of the test's own. */
UNUSED static uint64_t model_work(const eum_argument *arguments, uint32_t count, uint32_t seed, uint32_t *const *views)
{
    gpu_work work = {.seed = seed, .views = count};
    uint64_t words[GPU_VIEWS];
    for (uint32_t i = 0; i < count; i++) {
        work.accesses[i] = arguments[i].access;
        words[i] = arguments[i].view.bytes / sizeof(uint32_t);
    }
    return gpu_work_model(&work, views, words);
}

UNUSED static uint32_t *random_words(size_t words, uint32_t seed)
{
    uint32_t *made = malloc(words * sizeof *made + 1);
    ck_assert_ptr_nonnull(made);
    for (size_t i = 0; i < words; i++)
        made[i] = gpu_hash(seed, i);
    return made;
}

UNUSED static void expect_words(const uint32_t *got, const uint32_t *wanted, size_t words, const char *what)
{
    for (size_t i = 0; i < words; i++) /* each assertion of Check's is a system call */
        if (got[i] != wanted[i])
            ck_abort_msg("%s: word %zu of %zu is %08x, not %08x", what, i, words, got[i], wanted[i]);
}

#endif
