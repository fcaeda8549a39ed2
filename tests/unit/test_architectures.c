/* What each simulated architecture is expected to show, in virtual time: the same cycle (the CPU writes 1000 x 768 floats, a kernel reads them) by
 * the library and by hand.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <check.h>
#include <stdint.h>
#include <string.h>

#include "context.h"
#include "device/sim/sim.h"

#define BYTES ((size_t)1000 * 768 * 4)
#define PAGE ((size_t)64 << 10)

/* Reads its first argument through and adds it up in 64-bit words into its second. */
static int32_t sum_words(const eum_kernel_call *call)
{
    const uint64_t *words = call->addresses[0];
    uint64_t sum = 0;
    for (size_t i = 0; i < call->bytes[0] / sizeof *words; i++)
        sum += words[i];
    memcpy(call->addresses[1], &sum, sizeof sum);
    return 0;
}

/* Pseudo-random, the same for a seed; gives the sum. */
static uint64_t fill(uint64_t *words, size_t bytes, uint64_t seed)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < bytes / sizeof *words; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        words[i] = seed;
        sum += seed;
    }
    return sum;
}

static eum_ctx *open_sim(const char *device)
{
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    config.device = device;
    eum_ctx *ctx = NULL;
    ck_assert_int_eq(eum_ctx_create(&config, &ctx), EUM_OK);
    return ctx;
}

static eum_buf *create(eum_ctx *ctx, size_t bytes, eum_role role, eum_backing backing)
{
    eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
    config.role = role;
    config.backing = backing;
    eum_buf *buf = NULL;
    ck_assert_int_eq(eum_buf_create(ctx, bytes, &config, &buf), EUM_OK);
    return buf;
}

typedef struct cycle_result {
    uint64_t time; /* virtual, from the launch to the result read */
    eum_sim_counters counters;
} cycle_result;

static eum_sim_counters minus(eum_sim_counters after, const eum_sim_counters *before)
{
    after.cpu_faults -= before->cpu_faults;
    after.gpu_faults -= before->gpu_faults;
    after.gpu_faults_in_kernels -= before->gpu_faults_in_kernels;
    for (int i = 0; i < EUM_SIM_CAUSES; i++) {
        after.migrations_to_device[i] -= before->migrations_to_device[i];
        after.bytes_to_device[i] -= before->bytes_to_device[i];
    }
    return after;
}

/* The CPU writes, the library moves, a kernel reads, the CPU reads one word. */
static cycle_result by_library(const char *device, eum_backing backing)
{
    eum_ctx *ctx = open_sim(device);
    eum_buf *in = create(ctx, BYTES, EUM_ROLE_AUTO, backing), *out = create(ctx, 8, EUM_ROLE_RESULTS, backing);
    void *mapped;
    ck_assert_int_eq(eum_buf_map((eum_range){in, 0, BYTES}, EUM_ACCESS_OVERWRITE, &mapped), EUM_OK);
    uint64_t expected = fill(mapped, BYTES, 1), sum = ~expected;
    ck_assert_int_eq(eum_buf_unmap(in, mapped), EUM_OK);

    eum_sim_counters before, after;
    ck_assert(eum_sim_counters_get(ctx->device, &before));
    uint64_t start = eum_sim_time(ctx->device);
    eum_range ranges[2] = {{in, 0, BYTES}, {out, 0, 8}};
    eum_access accesses[2] = {EUM_ACCESS_READ, EUM_ACCESS_OVERWRITE};
    eum_launch_request request = {.cpu = sum_words, .ranges = ranges, .accesses = accesses, .count = 2};
    ck_assert_int_eq(eum_engine_launch(eum_ctx_default_stream(ctx), &request, NULL), EUM_OK);
    ck_assert_int_eq(eum_buf_read((eum_range){out, 0, 8}, &sum), EUM_OK);
    ck_assert_uint_eq(sum, expected);
    cycle_result result = {.time = eum_sim_time(ctx->device) - start};
    ck_assert(eum_sim_counters_get(ctx->device, &after));
    result.counters = minus(after, &before);
    ck_assert_uint_eq(eum_sim_violations(ctx->device, NULL, 0), 0);
    eum_buf_end(in);
    eum_buf_end(out);
    eum_ctx_end(ctx);
    return result;
}

static int finished;
static void note_finish(eum_task *task, eum_status status, int32_t code)
{
    (void)task;
    ck_assert_int_eq(status, EUM_OK);
    ck_assert_int_eq(code, 0);
    finished++;
}

/* The same cycle by hand, on the device's own operations: explicit copies from pinned memory, or managed memory that nobody prefetches. */
static cycle_result by_hand(const char *device, bool copies)
{
    eum_ctx *ctx = open_sim(device);
    eum_device *raw = ctx->device;
    const struct eum_device_ops *ops = raw->ops;
    eum_dstream *stream;
    eum_block host, target, result_host;
    ck_assert_int_eq(ops->stream_create(raw, &stream), EUM_OK);
    ck_assert_int_eq(ops->alloc(raw, copies ? EUM_MEMORY_PINNED : EUM_MEMORY_MANAGED, BYTES, &host), EUM_OK);
    ck_assert_int_eq(ops->alloc(raw, EUM_MEMORY_PINNED, 8, &result_host), EUM_OK);
    if (copies)
        ck_assert_int_eq(ops->alloc(raw, EUM_MEMORY_DEVICE, BYTES, &target), EUM_OK);
    else
        target = host;
    uint64_t expected = fill(host.host, BYTES, 1), sum = ~expected;

    eum_sim_counters before, after;
    ck_assert(eum_sim_counters_get(raw, &before));
    uint64_t start = eum_sim_time(raw), sequence;
    if (copies)
        ck_assert_int_eq(ops->copy(stream, target.device, host.host, BYTES, EUM_HOST_TO_DEVICE), EUM_OK);
    void *addresses[2] = {target.device, result_host.device};
    size_t bytes[2] = {BYTES, 8};
    eum_access accesses[2] = {EUM_ACCESS_READ, EUM_ACCESS_OVERWRITE};
    eum_task task = {.cpu = sum_words, .accesses = accesses, .finish = note_finish};
    task.call = (eum_kernel_call){.struct_size = sizeof(eum_kernel_call), .count = 2, .addresses = addresses, .bytes = bytes};
    ck_assert_int_eq(ops->submit(stream, &task), EUM_OK);
    ck_assert_int_eq(ops->mark(stream, &sequence), EUM_OK);
    ck_assert_int_eq(ops->wait(stream, sequence, -1), EUM_OK);
    memcpy(&sum, result_host.host, sizeof sum);
    ck_assert_uint_eq(sum, expected);
    cycle_result result = {.time = eum_sim_time(raw) - start};
    ck_assert(eum_sim_counters_get(raw, &after));
    result.counters = minus(after, &before);
    if (copies)
        ops->release(raw, &target);
    ops->release(raw, &host);
    ops->release(raw, &result_host);
    ops->stream_destroy(stream);
    eum_ctx_end(ctx);
    return result;
}

static uint64_t sum_of(const uint64_t causes[EUM_SIM_CAUSES])
{
    uint64_t sum = 0;
    for (int i = 0; i < EUM_SIM_CAUSES; i++)
        sum += causes[i];
    return sum;
}

START_TEST(on_maxwell_the_library_mirrors_and_is_as_fast_as_plain_copies)
{
    cycle_result ours = by_library("sim:maxwell,schedule=step", EUM_BACKING_AUTO),
                 plain = by_hand("sim:maxwell,schedule=step", true);
    ck_assert_msg(ours.time <= plain.time + plain.time / 10, "library %llu ns, plain copies %llu ns", (unsigned long long)ours.time,
                  (unsigned long long)plain.time);
    ck_assert_uint_eq(ours.counters.gpu_faults, 0);
    ck_assert_uint_eq(sum_of(ours.counters.migrations_to_device), 0);
}
END_TEST

static const char *const concurrent[] = {"sim:pascal,schedule=step", "sim:turing,schedule=step", "sim:ampere,schedule=step",
                                         "sim:hopper,schedule=step"};

START_TEST(prefetching_is_far_ahead_of_faulting)
{
    cycle_result ours = by_library(concurrent[_i], EUM_BACKING_MANAGED), naive = by_hand(concurrent[_i], false);
    cycle_result plain = by_hand(concurrent[_i], true);
    ck_assert_uint_eq(ours.counters.gpu_faults, 0);
    ck_assert_uint_gt(naive.counters.gpu_faults_in_kernels, 0);
    /* The bytes take their time over the link in any case: what counts is what comes on top of a plain copy. */
    uint64_t lost = ours.time > plain.time ? ours.time - plain.time : 0, lost_to_faults = naive.time - plain.time;
    ck_assert_uint_gt(naive.time, plain.time);
    ck_assert_msg(ours.time < naive.time && lost * 3 < lost_to_faults,
                  "%s: library %llu ns, faulting %llu ns, plain copies %llu ns", concurrent[_i], (unsigned long long)ours.time,
                  (unsigned long long)naive.time, (unsigned long long)plain.time);
}
END_TEST

START_TEST(the_mirrored_path_is_as_fast_as_plain_copies_everywhere)
{
    cycle_result ours = by_library(concurrent[_i], EUM_BACKING_MIRRORED), plain = by_hand(concurrent[_i], true);
    ck_assert_msg(ours.time <= plain.time + plain.time / 5, "%s: library %llu ns, plain copies %llu ns", concurrent[_i],
                  (unsigned long long)ours.time, (unsigned long long)plain.time);
    ck_assert_uint_eq(ours.counters.gpu_faults, 0);
}
END_TEST

START_TEST(on_pascal_1000_x_768_floats_are_47_migrations_before_the_kernel)
{
    cycle_result ours = by_library("sim:pascal,schedule=step", EUM_BACKING_MANAGED);
    ck_assert_uint_eq(ours.counters.migrations_to_device[EUM_SIM_CAUSE_PREFETCH], 47);
    ck_assert_uint_eq(ours.counters.bytes_to_device[EUM_SIM_CAUSE_PREFETCH], 47 * PAGE);
    ck_assert_uint_eq(sum_of(ours.counters.migrations_to_device), 47);
    ck_assert_uint_eq(ours.counters.gpu_faults, 0);
}
END_TEST

START_TEST(from_ampere_on_migrations_are_fewer_and_larger)
{
    cycle_result pascal = by_library("sim:pascal,schedule=step", EUM_BACKING_MANAGED);
    cycle_result ampere = by_library("sim:ampere,schedule=step", EUM_BACKING_MANAGED);
    uint64_t small = sum_of(pascal.counters.migrations_to_device), large = sum_of(ampere.counters.migrations_to_device);
    ck_assert_uint_gt(large, 0);
    ck_assert_uint_lt(large, small / 2);
    ck_assert_uint_ge(sum_of(ampere.counters.bytes_to_device) / large, 2 * PAGE);
    ck_assert_uint_eq(ampere.counters.gpu_faults, 0);
    ck_assert_uint_lt(ampere.time, pascal.time);
}
END_TEST

START_TEST(virtual_time_is_the_same_from_run_to_run)
{
    cycle_result first = by_library(concurrent[_i], EUM_BACKING_MANAGED), second = by_library(concurrent[_i], EUM_BACKING_MANAGED);
    ck_assert_uint_eq(first.time, second.time);
    ck_assert_uint_gt(first.time, 0);
}
END_TEST

Suite *architectures_suite(void)
{
    Suite *suite = suite_create("architectures");
    TCase *tests = tcase_create("architectures");
    int count = (int)(sizeof concurrent / sizeof concurrent[0]);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, on_maxwell_the_library_mirrors_and_is_as_fast_as_plain_copies);
    tcase_add_loop_test(tests, prefetching_is_far_ahead_of_faulting, 0, count);
    tcase_add_loop_test(tests, the_mirrored_path_is_as_fast_as_plain_copies_everywhere, 0, count);
    tcase_add_test(tests, on_pascal_1000_x_768_floats_are_47_migrations_before_the_kernel);
    tcase_add_test(tests, from_ampere_on_migrations_are_fewer_and_larger);
    tcase_add_loop_test(tests, virtual_time_is_the_same_from_run_to_run, 0, count);
    suite_add_tcase(suite, tests);
    return suite;
}
