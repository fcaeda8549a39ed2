/* The simulated GPU against written expectations: what each architecture does about faults, movement, advice and memory.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE 1

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device/sim/internal.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define PAGE (64 * KIB)
#define SEED_BYTES ((size_t)1000 * 768 * sizeof(float)) /* the seed's example: 46.9 pages */

Suite *sim_suite(void);

/* ------------------------------------------------------------------------------------------------------- helpers ---- */

static const eum_log silent;

static eum_device *open_with(const char *arch, const char *options)
{
    eum_device_config config = {.options = options, .arch = arch, .log = &silent};
    eum_device *device = NULL;
    ck_assert_int_eq(eum_sim_open(&config, &device), EUM_OK);
    return device;
}

static eum_block alloc(eum_device *device, eum_memory kind, size_t bytes)
{
    eum_block block;
    ck_assert_int_eq(device->ops->alloc(device, kind, bytes, &block), EUM_OK);
    return block;
}

static eum_dstream *new_stream(eum_device *device)
{
    eum_dstream *stream = NULL;
    ck_assert_int_eq(device->ops->stream_create(device, &stream), EUM_OK);
    return stream;
}

static uint64_t mark(eum_dstream *stream)
{
    uint64_t sequence = 0;
    ck_assert_int_eq(stream->device->ops->mark(stream, &sequence), EUM_OK);
    return sequence;
}

static void finish_stream(eum_dstream *stream)
{
    ck_assert_int_eq(stream->device->ops->wait(stream, mark(stream), -1), EUM_OK);
}

static void prefetch(eum_dstream *stream, const eum_block *block, eum_location where)
{
    ck_assert_int_eq(stream->device->ops->prefetch(stream, block, 0, block->bytes, where), EUM_OK);
}

static void advise(eum_device *device, const eum_block *block, eum_advice advice, eum_location where)
{
    ck_assert_int_eq(device->ops->advise(device, block, 0, block->bytes, advice, where), EUM_OK);
}

static eum_sim_counters counters(eum_device *device)
{
    eum_sim_counters now;
    ck_assert(eum_sim_counters_get(device, &now));
    return now;
}

static eum_sim_page_info page_info(eum_device *device, const eum_block *block, size_t offset)
{
    eum_sim_page_info info;
    ck_assert(eum_sim_page_info_get(device, (const unsigned char *)block->host + offset, &info));
    return info;
}

static void assert_no_violation(eum_device *device)
{
    char text[512];
    uint64_t count = eum_sim_violations(device, text, sizeof text);
    ck_assert_msg(count == 0, "%llu violations, first: %s", (unsigned long long)count, text);
}

static void assert_violation(eum_device *device, const char *part)
{
    char text[512];
    ck_assert_uint_gt(eum_sim_violations(device, text, sizeof text), 0);
    ck_assert_msg(strstr(text, part) != NULL, "\"%s\" is not in: %s", part, text);
}

/* A kernel over one block: reads every float, or adds 1 to it. */
typedef struct job {
    eum_task task;
    void *address[4];
    size_t bytes[4];
    eum_access access[4];
    eum_status status;
    int32_t code;
    atomic_int finished;
    void *user;
} job;

static int32_t add_one(const eum_kernel_call *call)
{
    for (size_t i = 0; i < call->count; i++) {
        volatile float *value = call->addresses[i];
        for (size_t k = 0; k < call->bytes[i] / sizeof(float); k++)
            value[k] = value[k] + 1;
    }
    return 0;
}

static int32_t store_ones(const eum_kernel_call *call)
{
    for (size_t i = 0; i < call->count; i++) {
        volatile float *value = call->addresses[i];
        for (size_t k = 0; k < call->bytes[i] / sizeof(float); k++)
            value[k] = 1;
    }
    return 0;
}

static int32_t sum(const eum_kernel_call *call)
{
    double total = 0;
    for (size_t i = 0; i < call->count; i++) {
        const volatile float *value = call->addresses[i];
        for (size_t k = 0; k < call->bytes[i] / sizeof(float); k++)
            total += (double)value[k];
    }
    return total == -1 ? 1 : 0;
}

static void finished(eum_task *task, eum_status status, int32_t code)
{
    job *self = (job *)task;
    self->status = status;
    self->code = code;
    atomic_fetch_add(&self->finished, 1);
}

static void submit(job *self, eum_dstream *stream, eum_kernel_fn kernel, const eum_block *block, eum_access access)
{
    memset(self, 0, sizeof *self);
    self->address[0] = block->device;
    self->bytes[0] = block->bytes;
    self->access[0] = access;
    self->task.cpu = kernel;
    self->task.accesses = self->access;
    self->task.finish = finished;
    eum_kernel_call call = {.struct_size = sizeof call, .count = 1, .addresses = self->address, .bytes = self->bytes, .user = self};
    self->task.call = call;
    ck_assert_int_eq(stream->device->ops->submit(stream, &self->task), EUM_OK);
}

/* Runs it to its end. */
static void run(eum_dstream *stream, eum_kernel_fn kernel, const eum_block *block, eum_access access)
{
    job self;
    submit(&self, stream, kernel, block, access);
    finish_stream(stream);
    ck_assert_int_eq(atomic_load(&self.finished), 1);
    ck_assert_int_eq(self.status, EUM_OK);
}

static void fill(const eum_block *block, float value)
{
    volatile float *at = block->host;
    for (size_t i = 0; i < block->bytes / sizeof(float); i++)
        at[i] = value;
}

static void assert_all(const eum_block *block, float value)
{
    const volatile float *at = block->host;
    for (size_t i = 0; i < block->bytes / sizeof(float); i++)
        if (at[i] != value) /* Check's assertions are slow */
            ck_abort_msg("element %zu is %f, not %f", i, (double)at[i], (double)value);
}

static void done(eum_device *device, eum_dstream *stream, eum_block *block)
{
    assert_no_violation(device);
    ck_assert_uint_eq(counters(device).unguarded_blocks, 0);
    ck_assert_int_eq(device->ops->synchronize(device), EUM_OK);
    if (block != NULL)
        device->ops->release(device, block);
    if (stream != NULL)
        device->ops->stream_destroy(stream);
    ck_assert_uint_eq(eum_sim_blocks_live(device, 0), 0);
    device->ops->close(device);
}

static const char *const concurrent[] = {"pascal", "turing", "ampere", "hopper"};
static const char *const all[] = {"maxwell", "pascal", "turing", "ampere", "hopper"};

/* ------------------------------------------------------------------------------------------------------ faults ------ */

START_TEST(a_kernel_over_host_pages_faults_and_gets_the_bytes)
{
    eum_device *device = open_with(concurrent[_i], NULL);
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, SEED_BYTES);
    ck_assert_ptr_ne(block.host, block.device);
    fill(&block, 1);
    ck_assert_uint_eq(counters(device).cpu_faults, 47); /* first touches, a page each */
    ck_assert_uint_eq(counters(device).pages_populated, 47);
    run(stream, add_one, &block, EUM_ACCESS_READ_WRITE);
    eum_sim_counters after = counters(device);
    /* Density: pages 0, 1, 2, 4, 8, 16 of the first 2 MiB, and 0, 1, 2, 4, 8 of the 15 pages of the second. */
    ck_assert_uint_eq(after.gpu_faults, 11);
    ck_assert_uint_eq(after.gpu_faults_in_kernels, 11);
    ck_assert_uint_eq(after.bytes_to_device[EUM_SIM_CAUSE_FAULT], 47 * PAGE);
    ck_assert_uint_eq(after.bytes_to_device[EUM_SIM_CAUSE_PREFETCH], 0);
    assert_all(&block, 2);
    after = counters(device);
    ck_assert_uint_eq(after.cpu_faults, 47 + 11);
    ck_assert_uint_eq(after.bytes_to_host[EUM_SIM_CAUSE_FAULT], 47 * PAGE);
    done(device, stream, &block);
}
END_TEST

START_TEST(a_kernel_after_a_prefetch_faults_never)
{
    eum_device *device = open_with(concurrent[_i], NULL);
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, SEED_BYTES);
    fill(&block, 1);
    prefetch(stream, &block, 0);
    run(stream, add_one, &block, EUM_ACCESS_READ_WRITE);
    prefetch(stream, &block, EUM_LOCATION_HOST);
    finish_stream(stream);
    assert_all(&block, 2);
    eum_sim_counters after = counters(device);
    ck_assert_uint_eq(after.gpu_faults, 0);
    ck_assert_uint_eq(after.cpu_faults, 47); /* the first touches */
    ck_assert_uint_eq(after.bytes_to_device[EUM_SIM_CAUSE_PREFETCH], 47 * PAGE);
    ck_assert_uint_eq(after.bytes_to_host[EUM_SIM_CAUSE_PREFETCH], 47 * PAGE);
    done(device, stream, &block);
}
END_TEST

START_TEST(the_seeds_example_is_47_migrations_of_64_kib_all_before_the_launch)
{
    eum_device *device = open_with("pascal", NULL);
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, SEED_BYTES);
    fill(&block, 1);
    prefetch(stream, &block, 0);
    finish_stream(stream);
    eum_sim_counters before = counters(device);
    ck_assert_uint_eq(before.migrations_to_device[EUM_SIM_CAUSE_PREFETCH], 47);
    ck_assert_uint_eq(before.bytes_to_device[EUM_SIM_CAUSE_PREFETCH], 47 * PAGE);
    run(stream, sum, &block, EUM_ACCESS_READ);
    eum_sim_counters after = counters(device);
    ck_assert_uint_eq(eum_sim_migrations(&after), eum_sim_migrations(&before));
    ck_assert_uint_eq(after.gpu_faults, 0);
    done(device, stream, &block);
}
END_TEST

START_TEST(ampere_moves_the_same_bytes_in_fewer_larger_migrations)
{
    eum_device *device = open_with("ampere", NULL);
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, SEED_BYTES);
    fill(&block, 1);
    prefetch(stream, &block, 0);
    finish_stream(stream);
    eum_sim_counters after = counters(device);
    ck_assert_uint_eq(after.migrations_to_device[EUM_SIM_CAUSE_PREFETCH], 1 + 15);
    ck_assert_uint_eq(after.bytes_to_device[EUM_SIM_CAUSE_PREFETCH], 47 * PAGE);
    done(device, stream, &block);
}
END_TEST

START_TEST(the_first_touch_by_the_preferred_processor_populates_whole_blocks)
{
    eum_device *device = open_with(concurrent[_i], NULL);
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, SEED_BYTES), other = alloc(device, EUM_MEMORY_MANAGED, SEED_BYTES);
    advise(device, &block, EUM_ADVICE_PREFERRED_LOCATION, 0);
    run(stream, store_ones, &block, EUM_ACCESS_OVERWRITE);
    ck_assert_uint_eq(counters(device).gpu_faults, 2); /* 2 MiB, and the rest */
    run(stream, store_ones, &other, EUM_ACCESS_OVERWRITE);
    ck_assert_uint_eq(counters(device).gpu_faults, 2 + 47); /* without a preference: page by page */
    eum_sim_counters after = counters(device);
    ck_assert_uint_eq(eum_sim_bytes_moved(&after), 0);
    device->ops->release(device, &other);
    done(device, stream, &block);
}
END_TEST

START_TEST(a_prefetch_of_fresh_pages_populates_them_without_a_transfer)
{
    eum_device *device = open_with(concurrent[_i], NULL);
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, SEED_BYTES);
    ck_assert(!page_info(device, &block, 0).populated);
    prefetch(stream, &block, 0);
    run(stream, add_one, &block, EUM_ACCESS_READ_WRITE);
    eum_sim_counters after = counters(device);
    ck_assert_uint_eq(after.gpu_faults, 0);
    ck_assert_uint_eq(after.pages_populated, 47);
    ck_assert_uint_eq(eum_sim_bytes_moved(&after), 0);
    assert_all(&block, 1); /* they were zeros */
    done(device, stream, &block);
}
END_TEST

START_TEST(faults_are_counted_against_their_block)
{
    eum_device *device = open_with("pascal", NULL);
    eum_dstream *stream = new_stream(device);
    eum_block a = alloc(device, EUM_MEMORY_MANAGED, 3 * PAGE), b = alloc(device, EUM_MEMORY_MANAGED, 100);
    fill(&a, 1);
    fill(&b, 1);
    prefetch(stream, &b, 0);
    run(stream, sum, &a, EUM_ACCESS_READ);
    run(stream, sum, &b, EUM_ACCESS_READ);
    eum_sim_counters of_a, of_b;
    ck_assert(eum_sim_block_counters(device, a.device, &of_a));
    ck_assert(eum_sim_block_counters(device, b.host, &of_b));
    ck_assert_uint_eq(of_a.gpu_faults, 2); /* page 0, then 1 of 2, then 2 of 3: the third comes along */
    ck_assert_uint_eq(of_a.cpu_faults, 3);
    ck_assert_uint_eq(of_b.gpu_faults, 0);
    ck_assert_uint_eq(of_b.cpu_faults, 1);
    ck_assert_uint_eq(of_b.migrations_to_device[EUM_SIM_CAUSE_PREFETCH], 1);
    ck_assert(!eum_sim_block_counters(device, &of_a, &of_b));
    device->ops->release(device, &b);
    done(device, stream, &a);
}
END_TEST

static int32_t touch_first(const eum_kernel_call *call)
{
    *(volatile float *)call->addresses[0] = 5;
    return 0;
}

START_TEST(a_host_touch_outside_a_kernel_counts_for_the_host_only)
{
    eum_device *device = open_with("pascal", NULL);
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, PAGE);
    run(stream, touch_first, &block, EUM_ACCESS_OVERWRITE);
    ck_assert_float_eq(*(volatile float *)block.host, 5);
    eum_sim_counters after = counters(device);
    ck_assert_uint_eq(after.gpu_faults_in_kernels, 1);
    ck_assert_uint_eq(after.cpu_faults, 1);
    ck_assert_uint_eq(after.kernels, 1);
    *(volatile float *)block.device = 6; /* the device view, touched by nobody's kernel */
    after = counters(device);
    ck_assert_uint_eq(after.gpu_faults, 2);
    ck_assert_uint_eq(after.gpu_faults_in_kernels, 1);
    done(device, stream, &block);
}
END_TEST

/* ------------------------------------------------------------------------------------------------------ advice ------ */

START_TEST(read_mostly_pages_are_duplicated_and_read_on_both_sides_without_faults)
{
    eum_device *device = open_with(concurrent[_i], NULL);
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, SEED_BYTES);
    fill(&block, 1);
    advise(device, &block, EUM_ADVICE_READ_MOSTLY, 0);
    prefetch(stream, &block, 0);
    run(stream, sum, &block, EUM_ACCESS_READ);
    assert_all(&block, 1);
    eum_sim_counters after = counters(device);
    ck_assert_uint_eq(after.gpu_faults, 0);
    ck_assert_uint_eq(after.cpu_faults, 47);
    ck_assert_uint_eq(after.pages_duplicated, 47);
    ck_assert_uint_eq(after.bytes_to_host[EUM_SIM_CAUSE_FAULT], 0);
    eum_sim_page_info info = page_info(device, &block, PAGE);
    ck_assert(info.on_host && info.on_device && info.host_reads && !info.host_writes && info.device_reads && !info.device_writes);

    /* A write on the CPU collapses its page, and only that; the next read on the device duplicates it again. */
    ((volatile float *)block.host)[0] = 2;
    after = counters(device);
    ck_assert_uint_eq(after.cpu_faults, 48);
    ck_assert_uint_eq(after.pages_collapsed, 1);
    info = page_info(device, &block, 0);
    ck_assert(info.on_host && !info.on_device && info.host_writes);
    run(stream, sum, &block, EUM_ACCESS_READ);
    after = counters(device);
    ck_assert_uint_eq(after.gpu_faults, 1);
    ck_assert_uint_eq(after.pages_duplicated, 48);
    done(device, stream, &block);
}
END_TEST

START_TEST(a_kernels_write_to_a_read_mostly_page_faults_until_the_advice_is_unset)
{
    eum_device *device = open_with(concurrent[_i], NULL);
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, 4 * PAGE);
    fill(&block, 1);
    advise(device, &block, EUM_ADVICE_READ_MOSTLY, 0);
    prefetch(stream, &block, 0);
    run(stream, add_one, &block, EUM_ACCESS_READ_WRITE);
    ck_assert_uint_eq(counters(device).gpu_faults, 4);
    ck_assert_uint_eq(counters(device).pages_collapsed, 4);
    advise(device, &block, EUM_ADVICE_UNSET_READ_MOSTLY, 0);
    prefetch(stream, &block, 0);
    run(stream, add_one, &block, EUM_ACCESS_READ_WRITE);
    ck_assert_uint_eq(counters(device).gpu_faults, 4);
    assert_all(&block, 3);
    done(device, stream, &block);
}
END_TEST

START_TEST(unsetting_read_mostly_keeps_the_copy_at_the_preferred_location)
{
    eum_device *device = open_with("turing", NULL);
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, 2 * PAGE);
    fill(&block, 1);
    advise(device, &block, EUM_ADVICE_READ_MOSTLY, 0);
    ck_assert_int_eq(device->ops->advise(device, &block, 0, PAGE, EUM_ADVICE_PREFERRED_LOCATION, 0), EUM_OK);
    prefetch(stream, &block, 0);
    finish_stream(stream);
    advise(device, &block, EUM_ADVICE_UNSET_READ_MOSTLY, 0);
    eum_sim_page_info first = page_info(device, &block, 0), second = page_info(device, &block, PAGE);
    ck_assert(first.on_device && !first.on_host && first.prefers_device && !first.read_mostly);
    ck_assert(!second.on_device && second.on_host && !second.prefers_device);
    done(device, stream, &block);
}
END_TEST

START_TEST(read_mostly_advice_that_is_given_again_changes_nothing)
{
    eum_device *device = open_with(concurrent[_i], NULL);
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, PAGE);
    fill(&block, 1);
    advise(device, &block, EUM_ADVICE_READ_MOSTLY, 0);
    ck_assert(!page_info(device, &block, 0).host_writes);
    fill(&block, 2); /* its fault makes the page writable */
    uint64_t faults = counters(device).cpu_faults;
    advise(device, &block, EUM_ADVICE_READ_MOSTLY, 0);
    ck_assert(page_info(device, &block, 0).host_writes);
    fill(&block, 3);
    ck_assert_uint_eq(counters(device).cpu_faults, faults);
    done(device, stream, &block);
}
END_TEST

START_TEST(pages_that_were_read_mostly_stay_mapped_for_reading_until_they_move_or_are_written)
{
    eum_device *device = open_with(concurrent[_i], NULL);
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, 4 * PAGE);
    fill(&block, 1);
    advise(device, &block, EUM_ADVICE_READ_MOSTLY, 0);
    advise(device, &block, EUM_ADVICE_UNSET_READ_MOSTLY, 0);
    prefetch(stream, &block, EUM_LOCATION_HOST); /* they are there: nothing is mapped anew */
    finish_stream(stream);
    ck_assert(page_info(device, &block, 0).host_reads && !page_info(device, &block, 0).host_writes);
    uint64_t faults = counters(device).cpu_faults;
    fill(&block, 2);
    ck_assert_uint_eq(counters(device).cpu_faults, faults + 4);
    fill(&block, 3);
    ck_assert_uint_eq(counters(device).cpu_faults, faults + 4);

    /* The same on the device; a way there and back cures it. */
    prefetch(stream, &block, 0);
    finish_stream(stream);
    advise(device, &block, EUM_ADVICE_READ_MOSTLY, 0);
    advise(device, &block, EUM_ADVICE_UNSET_READ_MOSTLY, 0);
    prefetch(stream, &block, 0);
    run(stream, add_one, &block, EUM_ACCESS_READ_WRITE);
    ck_assert_uint_eq(counters(device).gpu_faults, 4);
    advise(device, &block, EUM_ADVICE_READ_MOSTLY, 0);
    advise(device, &block, EUM_ADVICE_UNSET_READ_MOSTLY, 0);
    prefetch(stream, &block, EUM_LOCATION_HOST);
    prefetch(stream, &block, 0);
    run(stream, add_one, &block, EUM_ACCESS_READ_WRITE);
    ck_assert_uint_eq(counters(device).gpu_faults, 4);
    assert_all(&block, 5);
    done(device, stream, &block);
}
END_TEST

START_TEST(accessed_by_lets_a_kernel_write_results_to_the_host_without_faults_or_migrations)
{
    eum_device *device = open_with(concurrent[_i], NULL);
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, SEED_BYTES);
    advise(device, &block, EUM_ADVICE_PREFERRED_LOCATION, EUM_LOCATION_HOST);
    advise(device, &block, EUM_ADVICE_ACCESSED_BY, 0);
    ck_assert(!page_info(device, &block, 0).device_writes); /* maps only what is resident */
    prefetch(stream, &block, EUM_LOCATION_HOST);
    run(stream, store_ones, &block, EUM_ACCESS_OVERWRITE);
    assert_all(&block, 1);
    eum_sim_counters after = counters(device);
    ck_assert_uint_eq(after.gpu_faults + after.cpu_faults, 0);
    ck_assert_uint_eq(eum_sim_bytes_moved(&after), 0);
    ck_assert(page_info(device, &block, 0).accessed_by_device);

    /* Read-mostly overrides it. */
    advise(device, &block, EUM_ADVICE_READ_MOSTLY, 0);
    ck_assert(!page_info(device, &block, 0).device_reads);
    advise(device, &block, EUM_ADVICE_UNSET_READ_MOSTLY, 0);
    ck_assert(page_info(device, &block, 0).device_writes);
    advise(device, &block, EUM_ADVICE_UNSET_ACCESSED_BY, 0);
    ck_assert(!page_info(device, &block, 0).device_reads);
    done(device, stream, &block);
}
END_TEST

START_TEST(pages_that_prefer_the_host_are_mapped_by_a_fault_and_stay)
{
    eum_device *device = open_with(concurrent[_i], NULL);
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, 4 * PAGE);
    fill(&block, 1);
    advise(device, &block, EUM_ADVICE_PREFERRED_LOCATION, EUM_LOCATION_HOST);
    run(stream, add_one, &block, EUM_ACCESS_READ_WRITE);
    eum_sim_counters after = counters(device);
    ck_assert_uint_eq(after.gpu_faults, 4);
    ck_assert_uint_eq(eum_sim_bytes_moved(&after), 0);
    ck_assert(page_info(device, &block, 0).on_host);
    assert_all(&block, 2);
    ck_assert_uint_eq(counters(device).cpu_faults, 4);
    done(device, stream, &block);
}
END_TEST

START_TEST(pages_that_prefer_the_device_come_to_the_cpu_page_by_page)
{
    eum_device *device = open_with("hopper", NULL);
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, 8 * PAGE);
    advise(device, &block, EUM_ADVICE_PREFERRED_LOCATION, 0);
    prefetch(stream, &block, 0);
    run(stream, store_ones, &block, EUM_ACCESS_OVERWRITE);
    assert_all(&block, 1);
    ck_assert_uint_eq(counters(device).cpu_faults, 8);
    ck_assert_uint_eq(counters(device).bytes_to_host[EUM_SIM_CAUSE_FAULT], 8 * PAGE);
    done(device, stream, &block);
}
END_TEST

/* ------------------------------------------------------------------------------------------------------ discard ----- */

START_TEST(a_discard_before_a_prefetch_moves_nothing_and_the_bytes_are_gone)
{
    eum_device *device = open_with(concurrent[1 + _i], NULL);
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, 40 * PAGE);
    fill(&block, 1);
    prefetch(stream, &block, 0);
    finish_stream(stream);
    eum_sim_counters before = counters(device);
    ck_assert_int_eq(device->ops->discard(stream, &block, 0, block.bytes), EUM_OK);
    finish_stream(stream);
    ck_assert(page_info(device, &block, 0).discarded);
    prefetch(stream, &block, EUM_LOCATION_HOST);
    finish_stream(stream);
    eum_sim_counters after = counters(device);
    ck_assert_uint_eq(eum_sim_bytes_moved(&after), eum_sim_bytes_moved(&before));
    ck_assert_uint_eq(after.bytes_discarded, 40 * PAGE);
    assert_all(&block, 0);
    ck_assert_uint_eq(counters(device).cpu_faults, before.cpu_faults);
    ck_assert(page_info(device, &block, 0).on_host);
    done(device, stream, &block);
}
END_TEST

START_TEST(a_kernel_over_discarded_pages_faults_unless_they_are_prefetched_again)
{
    eum_device *device = open_with("ampere", NULL);
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, 2 * PAGE);
    prefetch(stream, &block, 0);
    ck_assert_int_eq(device->ops->discard(stream, &block, 0, PAGE), EUM_OK);
    run(stream, store_ones, &block, EUM_ACCESS_OVERWRITE);
    ck_assert_uint_eq(counters(device).gpu_faults, 1);
    ck_assert_int_eq(device->ops->discard(stream, &block, 0, 2 * PAGE), EUM_OK);
    prefetch(stream, &block, 0);
    run(stream, store_ones, &block, EUM_ACCESS_OVERWRITE);
    ck_assert_uint_eq(counters(device).gpu_faults, 1);
    done(device, stream, &block);
}
END_TEST

START_TEST(what_an_architecture_cannot_do_is_not_supported)
{
    eum_device *pascal = open_with("pascal", NULL), *maxwell = open_with("maxwell", NULL);
    ck_assert(!pascal->caps.discard && !maxwell->caps.discard && pascal->caps.concurrent_managed &&
              !maxwell->caps.concurrent_managed);
    eum_dstream *stream = new_stream(pascal), *old = new_stream(maxwell), *out = NULL;
    eum_block block = alloc(pascal, EUM_MEMORY_MANAGED, PAGE), older = alloc(maxwell, EUM_MEMORY_MANAGED, PAGE), none;
    ck_assert_int_eq(pascal->ops->discard(stream, &block, 0, PAGE), EUM_ERROR_NOT_SUPPORTED);
    ck_assert_int_eq(maxwell->ops->prefetch(old, &older, 0, PAGE, 0), EUM_ERROR_NOT_SUPPORTED);
    ck_assert_int_eq(maxwell->ops->advise(maxwell, &older, 0, PAGE, EUM_ADVICE_READ_MOSTLY, 0), EUM_ERROR_NOT_SUPPORTED);
    ck_assert_int_eq(pascal->ops->stream_wrap(pascal, stream, &out), EUM_ERROR_NOT_SUPPORTED);
    ck_assert_int_eq(pascal->ops->alloc(pascal, EUM_MEMORY_HOST, PAGE, &none), EUM_ERROR_NOT_SUPPORTED);
    ck_assert_int_eq(pascal->ops->prefetch(stream, &block, 0, PAGE, 1), EUM_ERROR_INVALID_ARGUMENT);
    done(maxwell, old, &older);
    done(pascal, stream, &block);
}
END_TEST

/* ------------------------------------------------------------------------------------------------------- memory ----- */

START_TEST(a_full_device_evicts_what_came_longest_ago)
{
    eum_device *device = open_with("pascal", "memory=4M");
    eum_dstream *stream = new_stream(device);
    eum_block a = alloc(device, EUM_MEMORY_MANAGED, 3 * MIB), b = alloc(device, EUM_MEMORY_MANAGED, 3 * MIB);
    uint64_t available = 0, total = 0;
    fill(&a, 1);
    fill(&b, 2);
    prefetch(stream, &a, 0);
    prefetch(stream, &b, 0);
    finish_stream(stream);
    eum_sim_counters after = counters(device);
    ck_assert_uint_eq(after.bytes_to_host[EUM_SIM_CAUSE_EVICTION], 2 * MIB); /* the older half of a */
    ck_assert(page_info(device, &a, 0).on_host && page_info(device, &a, 2 * MIB).on_device && page_info(device, &b, 0).on_device);
    ck_assert_int_eq(device->ops->memory(device, &available, &total), EUM_OK);
    ck_assert_uint_eq(total, 4 * MIB);
    ck_assert_uint_eq(available, 0);
    run(stream, add_one, &b, EUM_ACCESS_READ_WRITE);
    ck_assert_uint_eq(counters(device).gpu_faults, 0);
    run(stream, add_one, &a, EUM_ACCESS_READ_WRITE);
    ck_assert_uint_gt(counters(device).gpu_faults, 0);
    assert_all(&a, 2);
    assert_all(&b, 3);
    device->ops->release(device, &a);
    done(device, stream, &b);
}
END_TEST

START_TEST(device_memory_pushes_managed_pages_out_and_then_runs_out)
{
    eum_device *device = open_with("turing", "memory=4M");
    eum_dstream *stream = new_stream(device);
    eum_block managed = alloc(device, EUM_MEMORY_MANAGED, 3 * MIB), none;
    fill(&managed, 1);
    prefetch(stream, &managed, 0);
    finish_stream(stream);
    eum_block big = alloc(device, EUM_MEMORY_DEVICE, 4 * MIB);
    ck_assert_uint_eq(counters(device).bytes_to_host[EUM_SIM_CAUSE_EVICTION], 3 * MIB);
    ck_assert_int_eq(device->ops->alloc(device, EUM_MEMORY_DEVICE, 1, &none), EUM_ERROR_OUT_OF_DEVICE_MEMORY);
    prefetch(stream, &managed, 0); /* no room: they stay, and the kernel reaches over the link */
    run(stream, add_one, &managed, EUM_ACCESS_READ_WRITE);
    ck_assert_uint_eq(counters(device).gpu_faults, 48);
    assert_all(&managed, 2);
    device->ops->release(device, &big);
    done(device, stream, &managed);
}
END_TEST

START_TEST(pinned_and_device_memory_with_copies_work_on_every_architecture)
{
    eum_device *device = open_with(all[_i], NULL);
    eum_dstream *stream = new_stream(device);
    eum_block pinned = alloc(device, EUM_MEMORY_PINNED, SEED_BYTES), copy = alloc(device, EUM_MEMORY_DEVICE, SEED_BYTES);
    ck_assert_ptr_null(copy.host);
    ck_assert_uint_eq((uintptr_t)pinned.host % (2 * MIB), 0);
    fill(&pinned, 1);
    ck_assert_int_eq(device->ops->copy(stream, copy.device, pinned.host, SEED_BYTES, EUM_HOST_TO_DEVICE), EUM_OK);
    job kernel;
    submit(&kernel, stream, add_one, &copy, EUM_ACCESS_READ_WRITE);
    ck_assert_int_eq(device->ops->copy(stream, pinned.host, copy.device, SEED_BYTES, EUM_DEVICE_TO_HOST), EUM_OK);
    finish_stream(stream);
    assert_all(&pinned, 2);
    run(stream, add_one, &pinned, EUM_ACCESS_READ_WRITE); /* in place */
    assert_all(&pinned, 3);
    float plain[16];
    ck_assert_int_eq(device->ops->copy(stream, plain, pinned.host, sizeof plain, EUM_HOST_TO_HOST), EUM_OK);
    finish_stream(stream);
    ck_assert_float_eq(plain[15], 3);
    eum_sim_counters after = counters(device);
    ck_assert_uint_eq(after.cpu_faults + after.gpu_faults, 0);
    ck_assert_uint_eq(after.copies[EUM_HOST_TO_DEVICE], 1);
    ck_assert_uint_eq(after.bytes_copied[EUM_DEVICE_TO_HOST], SEED_BYTES);
    device->ops->release(device, &pinned);
    done(device, stream, &copy);
}
END_TEST

START_TEST(copies_reach_managed_pages_wherever_they_are_without_faults)
{
    eum_device *device = open_with("ampere", NULL);
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, 2 * PAGE);
    float ones[64], back[64] = {0};
    for (int i = 0; i < 64; i++)
        ones[i] = 1;
    prefetch(stream, &block, 0);
    ck_assert_int_eq(device->ops->copy(stream, block.device, ones, sizeof ones, EUM_HOST_TO_DEVICE), EUM_OK);
    ck_assert_int_eq(device->ops->copy(stream, back, block.device, sizeof back, EUM_DEVICE_TO_HOST), EUM_OK);
    finish_stream(stream);
    ck_assert_mem_eq(ones, back, sizeof back);
    eum_sim_counters after = counters(device);
    ck_assert_uint_eq(after.cpu_faults + after.gpu_faults, 0);
    ck_assert(page_info(device, &block, 0).on_device);
    done(device, stream, &block);
}
END_TEST

START_TEST(copies_outside_of_their_blocks_or_to_the_wrong_side_are_refused)
{
    eum_device *device = open_with("ampere", NULL);
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, 1000);
    char plain[2000];
    ck_assert_int_eq(device->ops->copy(stream, block.device, plain, 1001, EUM_HOST_TO_DEVICE), EUM_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(device->ops->copy(stream, block.host, plain, 10, EUM_HOST_TO_DEVICE), EUM_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(device->ops->copy(stream, plain, block.device, 10, EUM_HOST_TO_DEVICE), EUM_ERROR_INVALID_ARGUMENT);
    job kernel;
    memset(&kernel, 0, sizeof kernel);
    kernel.address[0] = block.host;
    kernel.bytes[0] = 10;
    eum_kernel_call call = {.struct_size = sizeof call, .count = 1, .addresses = kernel.address, .bytes = kernel.bytes};
    kernel.task = (eum_task){.cpu = sum, .call = call, .finish = finished};
    ck_assert_int_eq(device->ops->submit(stream, &kernel.task), EUM_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(atomic_load(&kernel.finished), 0);
    done(device, stream, &block);
}
END_TEST

START_TEST(system_calls_work_on_a_host_view_after_a_prefetch_to_the_host)
{
    eum_device *device = open_with("pascal", NULL);
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, 16 * PAGE);
    FILE *file = tmpfile();
    ck_assert_ptr_nonnull(file);
    prefetch(stream, &block, 0);
    run(stream, store_ones, &block, EUM_ACCESS_OVERWRITE);
    ck_assert_int_eq((int)write(fileno(file), block.host, block.bytes), -1); /* as documented: on the device it is EFAULT */
    ck_assert_int_eq(errno, EFAULT);
    prefetch(stream, &block, EUM_LOCATION_HOST);
    finish_stream(stream);
    ck_assert_int_eq((int)write(fileno(file), block.host, block.bytes), (int)block.bytes);
    fill(&block, 0);
    ck_assert_int_eq((int)pread(fileno(file), block.host, block.bytes, 0), (int)block.bytes);
    assert_all(&block, 1);
    fclose(file);
    done(device, stream, &block);
}
END_TEST

START_TEST(adopted_memory_is_reached_where_the_architecture_can)
{
    eum_device *device = open_with("pascal", NULL);
    eum_dstream *stream = new_stream(device);
    static float plain[256];
    eum_block block;
    ck_assert_int_eq(device->ops->adopt(device, EUM_MEMORY_HOST, plain, sizeof plain, false, &block), EUM_OK);
    ck_assert(block.adopted && block.device == NULL && block.host == plain);
    device->ops->unadopt(device, &block);
    ck_assert_int_eq(device->ops->adopt(device, EUM_MEMORY_HOST, plain, sizeof plain, true, &block), EUM_OK);
    ck_assert_ptr_eq(block.device, plain);
    run(stream, store_ones, &block, EUM_ACCESS_OVERWRITE);
    ck_assert_float_eq(plain[255], 1);
    device->ops->unadopt(device, &block);
    ck_assert_int_eq(device->ops->adopt(device, EUM_MEMORY_MANAGED, plain, sizeof plain, false, &block),
                     EUM_ERROR_INVALID_ARGUMENT);
    eum_block ours = alloc(device, EUM_MEMORY_MANAGED, 4 * PAGE);
    ck_assert_int_eq(device->ops->adopt(device, EUM_MEMORY_MANAGED, (char *)ours.host + PAGE, PAGE, false, &block), EUM_OK);
    ck_assert_ptr_eq(block.device, (char *)ours.device + PAGE);
    prefetch(stream, &block, 0);
    run(stream, store_ones, &block, EUM_ACCESS_OVERWRITE);
    ck_assert_uint_eq(counters(device).gpu_faults, 0);
    ck_assert(page_info(device, &ours, PAGE).on_device && !page_info(device, &ours, 0).populated);
    device->ops->unadopt(device, &block);
    done(device, stream, &ours);
}
END_TEST

START_TEST(memory_that_was_given_up_outlives_its_device_and_another_adopts_it)
{
    eum_device *device = open_with("ampere", NULL), *second = NULL;
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, 3 * PAGE), adopted;
    void *host = block.host, *user = NULL;
    eum_release_fn release = NULL;
    size_t bytes = block.bytes;
    fill(&block, 7);
    prefetch(stream, &block, EUM_LOCATION_HOST);
    finish_stream(stream);
    device->ops->give_up(device, &block, &release, &user);
    done(device, stream, NULL);
    ck_assert_float_eq(*(volatile float *)host, 7);
    *(volatile float *)host = 7;

    second = open_with("pascal", NULL);
    stream = new_stream(second);
    ck_assert_int_eq(second->ops->adopt(second, EUM_MEMORY_MANAGED, host, bytes, false, &adopted), EUM_OK);
    prefetch(stream, &adopted, 0);
    run(stream, add_one, &adopted, EUM_ACCESS_READ_WRITE);
    assert_all(&adopted, 8);
    ck_assert_uint_eq(counters(second).gpu_faults, 0);
    second->ops->unadopt(second, &adopted);
    done(second, stream, NULL);
    ck_assert_float_eq(*(volatile float *)host, 8);
    release(user, host, bytes);
}
END_TEST

START_TEST(many_blocks_come_and_go)
{
    eum_device *device = open_with("pascal", NULL);
    enum { COUNT = 500 };
    static eum_block block[COUNT];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < COUNT; i++) {
            block[i] = alloc(device, i % 3 == 0 ? EUM_MEMORY_PINNED : EUM_MEMORY_MANAGED, 100 + (size_t)i * 100);
            fill(&block[i], (float)i);
        }
        ck_assert_uint_eq(eum_sim_blocks_live(device, EUM_MEMORY_PINNED), (COUNT + 2) / 3);
        for (int i = 0; i < COUNT; i++) {
            assert_all(&block[(i * 7) % COUNT], (float)((i * 7) % COUNT));
            device->ops->release(device, &block[(i * 7) % COUNT]);
        }
    }
    done(device, NULL, NULL);
}
END_TEST

START_TEST(a_gigabyte_costs_nothing_until_it_is_used)
{
    eum_device *device = open_with("ampere", NULL);
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, 1024 * MIB);
    prefetch(stream, &block, 0);
    finish_stream(stream);
    ((volatile float *)block.host)[1000000] = 1; /* one row is changed */
    ck_assert_int_eq(device->ops->prefetch(stream, &block, 4000000, 4, 0), EUM_OK);
    finish_stream(stream);
    eum_sim_counters after = counters(device);
    ck_assert_uint_le(eum_sim_bytes_moved(&after), 4 * MIB);
    done(device, stream, &block);
}
END_TEST

START_TEST(when_the_limit_on_mappings_is_met_a_block_is_open_and_says_so)
{
    eum_device *device = open_with("pascal", NULL);
    eum_dstream *stream = new_stream(device);
    size_t pages = 80000; /* every second one on the other side: more regions than a process may have */
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, pages * PAGE);
    prefetch(stream, &block, EUM_LOCATION_HOST);
    finish_stream(stream);
    for (size_t i = 0; i < pages && counters(device).unguarded_blocks == 0; i += 2) {
        ck_assert_int_eq(device->ops->prefetch(stream, &block, i * PAGE, PAGE, 0), EUM_OK);
        finish_stream(stream);
    }
    if (counters(device).unguarded_blocks > 0)
        ck_assert_uint_eq(counters(device).unguarded_blocks, 1);
    ((volatile char *)block.host)[0] = 1;
    ((volatile char *)block.host)[block.bytes - 1] = 1;
    device->ops->release(device, &block);
    device->ops->stream_destroy(stream);
    device->ops->close(device);
}
END_TEST

/* ------------------------------------------------------------------------------ without concurrent managed access --- */

START_TEST(on_maxwell_a_launch_takes_all_managed_memory_along)
{
    eum_device *device = open_with("maxwell", NULL);
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, SEED_BYTES), other = alloc(device, EUM_MEMORY_MANAGED, PAGE);
    fill(&block, 1);
    fill(&other, 1);
    run(stream, add_one, &block, EUM_ACCESS_READ_WRITE);
    eum_sim_counters after = counters(device);
    ck_assert_uint_eq(after.gpu_faults, 0);
    ck_assert_uint_eq(after.migrations_to_device[EUM_SIM_CAUSE_LAUNCH], 48);
    ck_assert_uint_eq(after.bytes_to_device[EUM_SIM_CAUSE_LAUNCH], 48 * PAGE);
    assert_all(&block, 2);
    assert_all(&other, 1);
    ck_assert_uint_eq(counters(device).cpu_faults, 2 * 48);
    device->ops->release(device, &other);
    done(device, stream, &block);
}
END_TEST

START_TEST(on_maxwell_a_host_touch_before_the_synchronisation_is_a_violation_and_no_crash)
{
    eum_device *device = open_with("maxwell", "schedule=step");
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, 2 * PAGE), other = alloc(device, EUM_MEMORY_MANAGED, PAGE);
    fill(&block, 1);
    fill(&other, 1);
    job kernel;
    submit(&kernel, stream, add_one, &block, EUM_ACCESS_READ_WRITE);
    assert_no_violation(device);
    ck_assert_float_eq(*(volatile float *)other.host, 1); /* not even the kernel's own */
    assert_violation(device, "the host touched managed memory");
    ck_assert_uint_eq(eum_sim_violations(device, NULL, 0), 1);
    eum_sim_violations_clear(device);
    while (eum_sim_step(device))
        continue;
    *(volatile float *)block.host = 3; /* it has run, but nobody has synchronised */
    ck_assert_uint_eq(eum_sim_violations(device, NULL, 0), 1);
    eum_sim_violations_clear(device);
    finish_stream(stream);
    *(volatile float *)block.host = 3;
    ck_assert_float_eq(*(volatile float *)other.host, 1);
    device->ops->release(device, &other);
    done(device, stream, &block);
}
END_TEST

START_TEST(on_maxwell_every_stream_must_be_waited_for)
{
    eum_device *device = open_with("maxwell", NULL);
    eum_dstream *a = new_stream(device), *b = new_stream(device);
    eum_block first = alloc(device, EUM_MEMORY_MANAGED, PAGE), second = alloc(device, EUM_MEMORY_MANAGED, PAGE);
    job one, two;
    submit(&one, a, store_ones, &first, EUM_ACCESS_OVERWRITE);
    submit(&two, b, store_ones, &second, EUM_ACCESS_OVERWRITE);
    finish_stream(a);
    ck_assert(!page_info(device, &first, 0).host_reads);
    *(volatile float *)first.host = 3;
    assert_violation(device, "segmentation fault");
    eum_sim_violations_clear(device);
    finish_stream(b);
    assert_all(&second, 1);
    device->ops->release(device, &first);
    device->ops->stream_destroy(b);
    done(device, a, &second);
}
END_TEST

START_TEST(on_maxwell_managed_memory_cannot_exceed_the_device)
{
    eum_device *device = open_with("maxwell", "memory=8M");
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, 6 * MIB), none;
    ck_assert_int_eq(device->ops->alloc(device, EUM_MEMORY_MANAGED, 3 * MIB, &none), EUM_ERROR_OUT_OF_DEVICE_MEMORY);
    done(device, NULL, &block);
}
END_TEST

/* ------------------------------------------------------------------------------------------------------ streams ----- */

static int32_t record_order(const eum_kernel_call *call)
{
    job *self = call->user;
    atomic_int *next = self->user;
    ck_assert_int_eq(eum_callback_depth, 1);
    ck_assert_int_eq(call->device, 0);
    ck_assert_ptr_null(call->stream);
    self->code = atomic_fetch_add(next, 1);
    return self->code;
}

static void keep_code(eum_task *task, eum_status status, int32_t code)
{
    job *self = (job *)task;
    self->status = status;
    self->code = code;
    atomic_fetch_add(&self->finished, 1);
}

static void submit_recorder(job *self, eum_dstream *stream, atomic_int *next)
{
    memset(self, 0, sizeof *self);
    self->user = next;
    eum_kernel_call call = {.struct_size = sizeof call, .user = self};
    self->task = (eum_task){.cpu = record_order, .call = call, .finish = keep_code};
    ck_assert_int_eq(stream->device->ops->submit(stream, &self->task), EUM_OK);
}

START_TEST(a_stream_runs_in_order_and_finish_comes_before_passed)
{
    eum_device *device = open_with(all[_i], NULL);
    eum_dstream *stream = new_stream(device);
    static job jobs[100];
    atomic_int next = 0;
    uint64_t last = 0;
    for (int i = 0; i < 100; i++) {
        submit_recorder(&jobs[i], stream, &next);
        uint64_t sequence = mark(stream);
        ck_assert_uint_gt(sequence, last);
        last = sequence;
    }
    while (!device->ops->passed(stream, last))
        usleep(100);
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(atomic_load(&jobs[i].finished), 1);
        ck_assert_int_eq(jobs[i].code, i);
        ck_assert_int_eq(jobs[i].status, i == 0 ? EUM_OK : EUM_ERROR_JOB_FAILED); /* the callback's code is its number */
    }
    ck_assert_int_eq(device->ops->wait(stream, last + 1, -1), EUM_ERROR_INVALID_ARGUMENT);
    done(device, stream, NULL);
}
END_TEST

static int32_t wait_for_flag(const eum_kernel_call *call)
{
    job *self = call->user;
    atomic_int *flag = self->user;
    while (atomic_load(flag) == 0)
        usleep(100);
    return 0;
}

static void submit_blocker(job *self, eum_dstream *stream, atomic_int *flag)
{
    memset(self, 0, sizeof *self);
    self->user = flag;
    eum_kernel_call call = {.struct_size = sizeof call, .user = self};
    self->task = (eum_task){.cpu = wait_for_flag, .call = call, .finish = keep_code};
    ck_assert_int_eq(stream->device->ops->submit(stream, &self->task), EUM_OK);
}

START_TEST(a_wait_times_out_and_cancels_nothing)
{
    eum_device *device = open_with("pascal", NULL);
    eum_dstream *stream = new_stream(device), *other = new_stream(device);
    atomic_int flag = 0, next = 0;
    job blocker, after;
    submit_blocker(&blocker, stream, &flag);
    uint64_t sequence = mark(stream);
    ck_assert_int_eq(device->ops->wait(stream, sequence, 0), EUM_ERROR_TIMEOUT);
    ck_assert_int_eq(device->ops->wait(stream, sequence, 1000000), EUM_ERROR_TIMEOUT);
    ck_assert(!device->ops->passed(stream, sequence));
    ck_assert_int_eq(device->ops->order(other, stream, sequence), EUM_OK);
    submit_recorder(&after, other, &next);
    uint64_t later = mark(other);
    ck_assert_int_eq(device->ops->wait(other, later, 2000000), EUM_ERROR_TIMEOUT); /* it is behind the first */
    atomic_store(&flag, 1);
    ck_assert_int_eq(device->ops->wait(other, later, INT64_MAX), EUM_OK);
    ck_assert_int_eq(atomic_load(&blocker.finished), 1);
    device->ops->stream_destroy(other);
    done(device, stream, NULL);
}
END_TEST

typedef struct call_record {
    int depth, calls;
    eum_dstream *destroy;
} call_record;

static void record_call(void *user)
{
    call_record *record = user;
    record->depth = eum_callback_depth;
    record->calls++;
    if (record->destroy != NULL)
        record->destroy->device->ops->stream_destroy(record->destroy);
}

START_TEST(host_calls_run_in_stream_order_as_callbacks)
{
    eum_device *device = open_with("turing", _i == 0 ? NULL : "schedule=step");
    eum_dstream *stream = new_stream(device);
    call_record record = {0};
    ck_assert_int_eq(device->ops->host_call(stream, record_call, &record), EUM_OK);
    ck_assert_int_eq(device->ops->synchronize(device), EUM_OK);
    ck_assert_int_eq(record.calls, 1);
    ck_assert_int_eq(record.depth, 1);
    ck_assert_int_eq(eum_callback_depth, 0);
    done(device, stream, NULL);
}
END_TEST

START_TEST(a_stream_may_be_destroyed_from_its_own_callback)
{
    eum_device *device = open_with("turing", _i == 0 ? NULL : "schedule=step");
    eum_dstream *stream = new_stream(device);
    call_record record = {.destroy = stream};
    ck_assert_int_eq(device->ops->host_call(stream, record_call, &record), EUM_OK);
    ck_assert_int_eq(device->ops->synchronize(device), EUM_OK);
    ck_assert_int_eq(record.calls, 1);
    done(device, NULL, NULL);
}
END_TEST

/* The order in which the kernels of four streams run. */
static void run_steps(const char *options, int *order, uint64_t *out_time)
{
    eum_device *device = open_with("pascal", options);
    eum_dstream *stream[4];
    static job jobs[4][6];
    atomic_int next = 0;
    for (int s = 0; s < 4; s++)
        stream[s] = new_stream(device);
    for (int k = 0; k < 6; k++)
        for (int s = 0; s < 4; s++)
            submit_recorder(&jobs[s][k], stream[s], &next);
    ck_assert_int_eq(atomic_load(&next), 0); /* nothing runs by itself */
    ck_assert_int_eq(device->ops->synchronize(device), EUM_OK);
    for (int s = 0; s < 4; s++) {
        for (int k = 0; k < 6; k++)
            order[s * 6 + k] = jobs[s][k].code;
        device->ops->stream_destroy(stream[s]);
    }
    *out_time = eum_sim_time(device);
    done(device, NULL, NULL);
}

START_TEST(single_steps_are_the_same_for_a_seed_and_others_for_another)
{
    int first[24], again[24], other[24];
    uint64_t time[3];
    run_steps("schedule=step,seed=7", first, &time[0]);
    run_steps("schedule=step,seed=7", again, &time[1]);
    run_steps("schedule=step,seed=8", other, &time[2]);
    ck_assert_mem_eq(first, again, sizeof first);
    ck_assert(memcmp(first, other, sizeof first) != 0);
    ck_assert_uint_eq(time[0], time[1]);
    ck_assert_uint_eq(time[0], 6 * 10000); /* streams do not slow each other down */
}
END_TEST

START_TEST(a_poll_takes_one_step)
{
    eum_device *device = open_with("pascal", NULL);
    ck_assert(eum_sim_schedule(device, true, 3));
    eum_dstream *stream = new_stream(device);
    atomic_int next = 0;
    job jobs[3];
    for (int i = 0; i < 3; i++)
        submit_recorder(&jobs[i], stream, &next);
    ck_assert(!eum_sim_schedule(device, false, 3));
    uint64_t sequence = mark(stream);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(atomic_load(&next), i);
        ck_assert(!device->ops->passed(stream, sequence));
    }
    ck_assert(device->ops->passed(stream, sequence)); /* the mark is a step too */
    done(device, stream, NULL);
}
END_TEST

/* ------------------------------------------------------------------------------------------------------ checker ----- */

typedef struct pair {
    eum_device *device;
    eum_dstream *a, *b;
    eum_block block;
} pair;

static pair make_pair(const char *options)
{
    pair it = {.device = open_with("ampere", options)};
    it.a = new_stream(it.device);
    it.b = new_stream(it.device);
    it.block = alloc(it.device, EUM_MEMORY_MANAGED, 4 * PAGE);
    prefetch(it.a, &it.block, 0);
    finish_stream(it.a);
    return it;
}

static void end_pair(pair *it)
{
    ck_assert_int_eq(it->device->ops->synchronize(it->device), EUM_OK);
    it->device->ops->stream_destroy(it->b);
    done(it->device, it->a, &it->block);
}

START_TEST(the_checker_catches_a_missing_order_whatever_the_timing)
{
    pair it = make_pair(NULL);
    job write, read;
    submit(&write, it.a, add_one, &it.block, EUM_ACCESS_READ_WRITE);
    while (atomic_load(&write.finished) == 0) /* it is long done, but nobody was told */
        usleep(100);
    submit(&read, it.b, sum, &it.block, EUM_ACCESS_READ);
    assert_violation(it.device, "a kernel on stream 2 reads bytes [0, 262144)");
    assert_violation(it.device, "nothing orders it after a kernel on stream 1, which writes");
    eum_sim_violations_clear(it.device);
    end_pair(&it);
}
END_TEST

START_TEST(the_checker_is_silent_when_streams_are_ordered)
{
    pair it = make_pair(NULL);
    job write, read, again;
    submit(&write, it.a, add_one, &it.block, EUM_ACCESS_READ_WRITE);
    ck_assert_int_eq(it.device->ops->order(it.b, it.a, mark(it.a)), EUM_OK);
    submit(&read, it.b, sum, &it.block, EUM_ACCESS_READ);
    ck_assert_int_eq(it.device->ops->order(it.a, it.b, mark(it.b)), EUM_OK);
    submit(&again, it.a, add_one, &it.block, EUM_ACCESS_READ_WRITE);
    finish_stream(it.a);
    run(it.b, add_one, &it.block, EUM_ACCESS_READ_WRITE); /* ordered by the host's wait */
    end_pair(&it);
}
END_TEST

START_TEST(the_checker_catches_a_forgotten_reader)
{
    pair it = make_pair("schedule=step");
    job first, second, write;
    submit(&first, it.a, sum, &it.block, EUM_ACCESS_READ);
    submit(&second, it.b, sum, &it.block, EUM_ACCESS_READ);
    assert_no_violation(it.device); /* readers do not conflict */
    submit(&write, it.b, add_one, &it.block, EUM_ACCESS_READ_WRITE);
    assert_violation(it.device, "which reads");
    eum_sim_violations_clear(it.device);
    end_pair(&it);
}
END_TEST

START_TEST(the_checker_knows_bytes_that_do_not_overlap)
{
    pair it = make_pair(NULL);
    eum_block left = it.block, right = it.block;
    left.bytes = right.bytes = 2 * PAGE;
    right.device = (char *)right.device + 2 * PAGE;
    job one, two;
    submit(&one, it.a, add_one, &left, EUM_ACCESS_READ_WRITE);
    submit(&two, it.b, add_one, &right, EUM_ACCESS_READ_WRITE);
    end_pair(&it);
}
END_TEST

START_TEST(the_checker_catches_pages_moved_away_from_a_kernel)
{
    pair it = make_pair("schedule=step");
    job kernel;
    submit(&kernel, it.a, sum, &it.block, EUM_ACCESS_READ);
    prefetch(it.b, &it.block, 0); /* where they are anyway */
    assert_no_violation(it.device);
    prefetch(it.b, &it.block, EUM_LOCATION_HOST);
    assert_violation(it.device, "a prefetch on stream 2 moves");
    eum_sim_violations_clear(it.device);
    end_pair(&it);
}
END_TEST

START_TEST(the_checker_lets_read_mostly_pages_be_duplicated_under_readers)
{
    pair it = make_pair("schedule=step");
    job kernel;
    advise(it.device, &it.block, EUM_ADVICE_READ_MOSTLY, 0);
    submit(&kernel, it.a, sum, &it.block, EUM_ACCESS_READ);
    prefetch(it.b, &it.block, EUM_LOCATION_HOST);
    eum_sim_host_access(it.device, it.block.host, it.block.bytes, false);
    assert_no_violation(it.device);
    eum_sim_host_access(it.device, it.block.host, 4, true);
    assert_violation(it.device, "the host writes bytes [0, 4)");
    eum_sim_violations_clear(it.device);
    end_pair(&it);
}
END_TEST

START_TEST(the_checker_catches_a_discard_under_a_reader)
{
    pair it = make_pair("schedule=step");
    job kernel;
    submit(&kernel, it.a, sum, &it.block, EUM_ACCESS_READ);
    ck_assert_int_eq(it.device->ops->discard(it.b, &it.block, PAGE, PAGE), EUM_OK);
    assert_violation(it.device, "a discard on stream 2 discards bytes [65536, 131072)");
    eum_sim_violations_clear(it.device);
    end_pair(&it);
}
END_TEST

START_TEST(the_checker_catches_memory_released_while_in_use_and_nothing_crashes)
{
    eum_device *device = open_with("ampere", "schedule=step");
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, PAGE);
    job kernel;
    submit(&kernel, stream, store_ones, &block, EUM_ACCESS_OVERWRITE);
    device->ops->release(device, &block);
    assert_violation(device, "was released");
    eum_sim_violations_clear(device);
    finish_stream(stream);
    done(device, stream, NULL);
}
END_TEST

static void keep_message(void *user, eum_log_level level, const char *message)
{
    ck_assert_int_eq(level, EUM_LOG_ERROR);
    snprintf(user, 1024, "%s", message);
}

START_TEST(violations_are_logged_as_errors)
{
    char message[1024] = "";
    eum_log log = {.fn = keep_message, .user = message, .level = EUM_LOG_ERROR};
    eum_device_config config = {.options = "schedule=step", .arch = "maxwell", .log = &log};
    eum_device *device = NULL;
    ck_assert_int_eq(eum_sim_open(&config, &device), EUM_OK);
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, PAGE);
    job kernel;
    submit(&kernel, stream, sum, &block, EUM_ACCESS_READ);
    *(volatile float *)block.host = 1;
    finish_stream(stream);
    ck_assert_msg(strstr(message, "the host touched managed memory") != NULL, "%s", message);
    eum_sim_violations_clear(device);
    done(device, stream, &block);
}
END_TEST

START_TEST(the_checker_can_be_switched_off)
{
    pair it = make_pair("check=off");
    job one, two;
    submit(&one, it.a, sum, &it.block, EUM_ACCESS_READ_WRITE);
    submit(&two, it.b, sum, &it.block, EUM_ACCESS_READ_WRITE);
    assert_no_violation(it.device);
    end_pair(&it);
}
END_TEST

START_TEST(the_checker_does_not_grow_with_the_length_of_a_run)
{
    pair it = make_pair(NULL);
    const eum_sim_block *block = (const eum_sim_block *)it.block.token;
    job kernel;
    for (int i = 0; i < 300; i++) {
        eum_dstream *stream = i % 2 == 0 ? it.a : it.b, *other = i % 2 == 0 ? it.b : it.a;
        ck_assert_int_eq(it.device->ops->order(stream, other, mark(other)), EUM_OK);
        submit(&kernel, stream, touch_first, &it.block, EUM_ACCESS_READ_WRITE);
        ck_assert_uint_le(block->use_count, 4); /* even while the host waits for nothing it records */
        while (atomic_load(&kernel.finished) == 0)
            continue;
    }
    finish_stream(it.a);
    finish_stream(it.b);
    ck_assert_uint_le(((const eum_sim_stream *)it.a)->mark_count, 1);
    ck_assert_uint_le(((const eum_sim_stream *)it.b)->mark_count, 1);
    end_pair(&it);
}
END_TEST

/* ------------------------------------------------------------------------------------------- failures and time ------ */

static eum_status call_operation(eum_device *device, eum_dstream *stream, eum_dstream *other, eum_block *block, job *kernel,
                                 int which)
{
    static char plain[64];
    eum_block made;
    eum_dstream *fresh = NULL;
    uint64_t sequence = 0;
    eum_status status = EUM_OK;
    switch (which) {
    case EUM_SIM_ALLOC:
        status = device->ops->alloc(device, EUM_MEMORY_PINNED, 100, &made);
        if (status == EUM_OK)
            device->ops->release(device, &made);
        return status;
    case EUM_SIM_COPY:
        return device->ops->copy(stream, block->device, plain, sizeof plain, EUM_HOST_TO_DEVICE);
    case EUM_SIM_PREFETCH:
        return device->ops->prefetch(stream, block, 0, PAGE, 0);
    case EUM_SIM_ADVISE:
        return device->ops->advise(device, block, 0, PAGE, EUM_ADVICE_PREFERRED_LOCATION, 0);
    case EUM_SIM_DISCARD:
        return device->ops->discard(stream, block, 0, PAGE);
    case EUM_SIM_SUBMIT:
        kernel->task.cpu = sum;
        kernel->task.finish = finished;
        return device->ops->submit(stream, &kernel->task);
    case EUM_SIM_MARK:
        return device->ops->mark(stream, &sequence);
    case EUM_SIM_ORDER:
        return device->ops->order(stream, other, 1);
    case EUM_SIM_STREAM_CREATE:
        status = device->ops->stream_create(device, &fresh);
        if (status == EUM_OK)
            device->ops->stream_destroy(fresh);
        return status;
    case EUM_SIM_ADOPT:
        status = device->ops->adopt(device, EUM_MEMORY_HOST, plain, sizeof plain, false, &made);
        if (status == EUM_OK)
            device->ops->unadopt(device, &made);
        return status;
    default:
        return device->ops->host_call(stream, record_call, kernel->user);
    }
}

START_TEST(the_nth_call_of_each_operation_fails_on_demand)
{
    static const char *const names[] = {"alloc", "copy",  "prefetch",      "advise", "discard",  "submit",
                                        "mark",  "order", "stream_create", "adopt",  "host_call"};
    eum_device *device = open_with("ampere", NULL);
    eum_dstream *stream = new_stream(device), *other = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, PAGE);
    call_record record = {0};
    job kernel = {.user = &record};
    mark(other);
    eum_sim_fail(device, (eum_sim_operation)_i, 2);
    ck_assert_int_eq(call_operation(device, stream, other, &block, &kernel, _i), EUM_OK);
    ck_assert_int_ne(call_operation(device, stream, other, &block, &kernel, _i), EUM_OK);
    eum_error error = EUM_ERROR_INIT;
    eum_error_save(&error);
    ck_assert_msg(strstr(error.sentence, "told to fail") != NULL, "%s", error.sentence);
    ck_assert_int_eq(device->ops->synchronize(device), EUM_OK);
    ck_assert_int_eq(call_operation(device, stream, other, &block, &kernel, _i), EUM_OK);
    eum_sim_fail(device, EUM_SIM_ANY, EUM_SIM_FAIL_ALL);
    for (int k = 0; k < 3; k++)
        ck_assert_int_ne(call_operation(device, stream, other, &block, &kernel, _i), EUM_OK);
    eum_sim_fail(device, EUM_SIM_ANY, 0);
    ck_assert_int_eq(device->ops->synchronize(device), EUM_OK);
    device->ops->stream_destroy(other);
    done(device, stream, &block);

    char option[64];
    snprintf(option, sizeof option, "fail=%s:1", names[_i]);
    device = open_with("ampere", option);
    ck_assert_uint_eq(eum_sim_calls(device, (eum_sim_operation)_i), 0);
    eum_sim_fail(device, (eum_sim_operation)_i, 0);
    done(device, NULL, NULL);
}
END_TEST

START_TEST(unknown_architectures_and_options_are_named)
{
    static const char *const wrong[] = {"memroy=1M",   "memory=1M", "memory=",     "memory=12Q",      "seed=x", "schedule=fast",
                                        "check=maybe", "fail=copy", "fail=copy:0", "fail=teleport:1", "step"};
    eum_error error = EUM_ERROR_INIT;
    eum_device *device = NULL;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char options[64];
        snprintf(options, sizeof options, "seed=1,%s", wrong[i]);
        eum_device_config config = {.options = options, .arch = "pascal", .log = &silent};
        ck_assert_int_eq(eum_sim_open(&config, &device), EUM_ERROR_INVALID_ARGUMENT);
        eum_error_save(&error);
        ck_assert_msg(strstr(error.sentence, wrong[i]) != NULL, "%s: %s", wrong[i], error.sentence);
    }
    eum_device_config config = {.arch = "kepler", .log = &silent};
    ck_assert_int_eq(eum_sim_open(&config, &device), EUM_ERROR_INVALID_ARGUMENT);
    eum_error_save(&error);
    ck_assert_ptr_nonnull(strstr(error.sentence, "kepler"));
    ck_assert_ptr_nonnull(strstr(error.sentence, "maxwell, pascal, turing, ampere, hopper"));
    config.arch = NULL;
    ck_assert_int_eq(eum_sim_open(&config, &device), EUM_ERROR_INVALID_ARGUMENT);
    ck_assert_ptr_null(device);
}
END_TEST

/* Virtual ns of: the CPU fills, a kernel reads after a prefetch or without. */
static uint64_t cycle_time(const char *arch, bool ahead)
{
    eum_device *device = open_with(arch, "schedule=step");
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, SEED_BYTES);
    fill(&block, 1);
    uint64_t before = eum_sim_time(device);
    if (ahead)
        prefetch(stream, &block, 0);
    run(stream, sum, &block, EUM_ACCESS_READ);
    uint64_t spent = eum_sim_time(device) - before;
    done(device, stream, &block);
    return spent;
}

START_TEST(the_virtual_clock_has_the_ratios_that_were_measured)
{
    for (int i = 0; i < 4; i++)
        ck_assert_uint_gt(cycle_time(concurrent[i], false), cycle_time(concurrent[i], true) * 7 / 5);
    ck_assert_uint_eq(cycle_time("pascal", true), cycle_time("pascal", true));
    uint64_t faulting = cycle_time("hopper", false); /* measured: 449 us */
    ck_assert_uint_ge(faulting, 400000);
    ck_assert_uint_le(faulting, 500000);
    ck_assert_uint_gt(cycle_time("turing", true) - cycle_time("ampere", true), 100000); /* link, and fewer transfers */
    eum_device *device = open_with("pascal", NULL);
    eum_sim_time_advance(device, 5);
    ck_assert_uint_eq(eum_sim_time(device), 5);
    done(device, NULL, NULL);
}
END_TEST

START_TEST(functions_for_simulated_devices_refuse_others)
{
    static const struct eum_device_ops none = {.name = "none"};
    eum_device device = {.ops = &none};
    eum_sim_counters counted;
    eum_sim_page_info info;
    ck_assert(!eum_sim_counters_get(&device, &counted) && !eum_sim_page_info_get(&device, &device, &info));
    ck_assert(!eum_sim_block_counters(NULL, &device, &counted) && !eum_sim_step(&device) && !eum_sim_schedule(&device, true, 1));
    ck_assert_uint_eq(eum_sim_violations(&device, NULL, 0) + eum_sim_time(&device) + eum_sim_blocks_live(&device, 0), 0);
    eum_sim_host_access(&device, &device, 1, true);
    eum_sim_fail(&device, EUM_SIM_ANY, 1);
}
END_TEST

/* ------------------------------------------------------------------------------------------ processes and threads --- */

static void quiet(void) /* a sanitizer that reports the crash we ask for would only confuse */
{
    if (freopen("/dev/null", "w", stderr) == NULL)
        _exit(99);
}

static void assert_crashed(pid_t child)
{
    int status = 0;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    /* A sanitizer's own handler exits instead. */
    ck_assert_msg(WIFSIGNALED(status) ? WTERMSIG(status) == SIGSEGV : WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 99,
                  "status %d", status);
}

START_TEST(a_child_process_shares_nothing_and_can_have_a_device_of_its_own)
{
    eum_device *device = open_with("pascal", NULL);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, PAGE);
    fill(&block, 1);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        quiet();
        fill(&block, 2);
        _exit(0);
    }
    assert_crashed(child);
    assert_all(&block, 1);
    child = fork();
    if (child == 0) {
        eum_device *own = open_with("ampere", NULL);
        eum_dstream *stream = new_stream(own);
        eum_block mine = alloc(own, EUM_MEMORY_MANAGED, SEED_BYTES);
        fill(&mine, 1);
        run(stream, add_one, &mine, EUM_ACCESS_READ_WRITE);
        assert_all(&mine, 2);
        done(own, stream, &mine);
        _exit(0);
    }
    int status = 0;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    done(device, NULL, &block);
}
END_TEST

static volatile int *volatile nowhere = (volatile int *)64;

START_TEST(a_genuine_crash_still_crashes)
{
    eum_device *device = open_with("pascal", NULL);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, PAGE);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        quiet();
        *nowhere = 1;
        _exit(0);
    }
    assert_crashed(child);
    child = fork();
    if (child == 0) {
        eum_device *own = open_with("pascal", NULL);
        eum_block mine = alloc(own, EUM_MEMORY_DEVICE, PAGE);
        quiet();
        ((volatile char *)mine.device)[PAGE] = 1; /* the first byte after a block */
        _exit(0);
    }
    assert_crashed(child);
    child = fork();
    if (child == 0) {
        quiet();
        raise(SIGSEGV); /* sent, not caused */
        _exit(0);
    }
    assert_crashed(child);
    done(device, NULL, &block);
}
END_TEST

static sigjmp_buf after_crash;

static void jump(int number)
{
    (void)number;
    siglongjmp(after_crash, 1);
}

START_TEST(the_handler_that_was_there_before_gets_what_is_not_ours_and_comes_back)
{
    struct sigaction mine = {.sa_handler = jump}, before, now;
    ck_assert_int_eq(sigaction(SIGSEGV, &mine, &before), 0);
    eum_device *device = open_with("pascal", NULL);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, PAGE);
    if (sigsetjmp(after_crash, 1) == 0) {
        *nowhere = 1;
        ck_abort_msg("there is nothing at that address");
    }
    fill(&block, 1);
    ck_assert_uint_eq(counters(device).cpu_faults, 1);
    done(device, NULL, &block);
    ck_assert_int_eq(sigaction(SIGSEGV, NULL, &now), 0);
    ck_assert(now.sa_handler == jump);
    ck_assert_int_eq(sigaction(SIGSEGV, &before, NULL), 0);
}
END_TEST

typedef struct toucher {
    pthread_t thread;
    eum_block *block;
    size_t stride, first;
} toucher;

static void *touch_pages(void *argument)
{
    toucher *self = argument;
    for (size_t at = self->first; at + sizeof(int) <= self->block->bytes; at += self->stride)
        *(volatile int *)((char *)self->block->host + at) = 1;
    return NULL;
}

START_TEST(threads_that_fault_on_the_same_pages_are_counted_once)
{
    eum_device *device = open_with("pascal", NULL);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, 64 * PAGE);
    toucher touchers[4];
    for (size_t i = 0; i < 4; i++) {
        touchers[i] = (toucher){.block = &block, .stride = PAGE, .first = i * sizeof(int)};
        ck_assert_int_eq(pthread_create(&touchers[i].thread, NULL, touch_pages, &touchers[i]), 0);
    }
    for (size_t i = 0; i < 4; i++)
        pthread_join(touchers[i].thread, NULL);
    ck_assert_uint_eq(counters(device).cpu_faults, 64);
    done(device, NULL, &block);
}
END_TEST

typedef struct worker {
    pthread_t thread;
    eum_device *device;
    int failures;
} worker;

/* Check's assertions are for the main thread. */
static void *use_a_stream(void *argument)
{
    worker *self = argument;
    const struct eum_device_ops *ops = self->device->ops;
    eum_dstream *stream = NULL;
    eum_block block = {0};
    if (ops->stream_create(self->device, &stream) != EUM_OK ||
        ops->alloc(self->device, EUM_MEMORY_MANAGED, 5 * PAGE, &block) != EUM_OK) {
        self->failures++;
        return NULL;
    }
    volatile float *host = block.host;
    size_t count = block.bytes / sizeof(float);
    for (int round = 0; round < 20; round++) {
        job kernel = {.address = {block.device}, .bytes = {block.bytes}, .access = {EUM_ACCESS_READ_WRITE}};
        eum_kernel_call call = {.struct_size = sizeof call, .count = 1, .addresses = kernel.address, .bytes = kernel.bytes};
        kernel.task = (eum_task){.cpu = add_one, .call = call, .accesses = kernel.access, .finish = finished};
        uint64_t sequence = 0;
        for (size_t i = 0; i < count; i += 1000)
            host[i] = (float)round;
        if (round % 2 == 0)
            self->failures += ops->prefetch(stream, &block, 0, block.bytes, 0) != EUM_OK;
        self->failures += ops->submit(stream, &kernel.task) != EUM_OK;
        if (round % 3 == 0)
            self->failures += ops->prefetch(stream, &block, 0, block.bytes, EUM_LOCATION_HOST) != EUM_OK;
        self->failures += ops->mark(stream, &sequence) != EUM_OK;
        self->failures += ops->wait(stream, sequence, -1) != EUM_OK;
        for (size_t i = 0; i < count; i += 1000)
            self->failures += host[i] != (float)(round + 1);
    }
    ops->release(self->device, &block);
    ops->stream_destroy(stream);
    return NULL;
}

START_TEST(eight_threads_with_eight_streams_keep_their_bytes_apart)
{
    eum_device *device = open_with(concurrent[_i], "memory=2M"); /* and evict each other */
    worker workers[8];
    for (int i = 0; i < 8; i++) {
        workers[i] = (worker){.device = device};
        ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, use_a_stream, &workers[i]), 0);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(workers[i].thread, NULL);
        ck_assert_int_eq(workers[i].failures, 0);
    }
    done(device, NULL, NULL);
}
END_TEST

/* -------------------------------------------------------------------------------------------------------- suite ----- */

Suite *sim_suite(void)
{
    Suite *suite = suite_create("sim");
    TCase *faults = tcase_create("faults");
    tcase_add_loop_test(faults, a_kernel_over_host_pages_faults_and_gets_the_bytes, 0, 4);
    tcase_add_loop_test(faults, a_kernel_after_a_prefetch_faults_never, 0, 4);
    tcase_add_test(faults, the_seeds_example_is_47_migrations_of_64_kib_all_before_the_launch);
    tcase_add_test(faults, ampere_moves_the_same_bytes_in_fewer_larger_migrations);
    tcase_add_loop_test(faults, the_first_touch_by_the_preferred_processor_populates_whole_blocks, 0, 4);
    tcase_add_loop_test(faults, a_prefetch_of_fresh_pages_populates_them_without_a_transfer, 0, 4);
    tcase_add_test(faults, faults_are_counted_against_their_block);
    tcase_add_test(faults, a_host_touch_outside_a_kernel_counts_for_the_host_only);
    suite_add_tcase(suite, faults);

    TCase *advice = tcase_create("advice");
    tcase_add_loop_test(advice, read_mostly_pages_are_duplicated_and_read_on_both_sides_without_faults, 0, 4);
    tcase_add_loop_test(advice, a_kernels_write_to_a_read_mostly_page_faults_until_the_advice_is_unset, 0, 4);
    tcase_add_test(advice, unsetting_read_mostly_keeps_the_copy_at_the_preferred_location);
    tcase_add_loop_test(advice, read_mostly_advice_that_is_given_again_changes_nothing, 0, 4);
    tcase_add_loop_test(advice, pages_that_were_read_mostly_stay_mapped_for_reading_until_they_move_or_are_written, 0, 4);
    tcase_add_loop_test(advice, accessed_by_lets_a_kernel_write_results_to_the_host_without_faults_or_migrations, 0, 4);
    tcase_add_loop_test(advice, pages_that_prefer_the_host_are_mapped_by_a_fault_and_stay, 0, 4);
    tcase_add_test(advice, pages_that_prefer_the_device_come_to_the_cpu_page_by_page);
    tcase_add_loop_test(advice, a_discard_before_a_prefetch_moves_nothing_and_the_bytes_are_gone, 0, 3);
    tcase_add_test(advice, a_kernel_over_discarded_pages_faults_unless_they_are_prefetched_again);
    tcase_add_test(advice, what_an_architecture_cannot_do_is_not_supported);
    suite_add_tcase(suite, advice);

    TCase *memory = tcase_create("memory");
    tcase_set_timeout(memory, 60);
    tcase_add_test(memory, a_full_device_evicts_what_came_longest_ago);
    tcase_add_test(memory, device_memory_pushes_managed_pages_out_and_then_runs_out);
    tcase_add_loop_test(memory, pinned_and_device_memory_with_copies_work_on_every_architecture, 0, 5);
    tcase_add_test(memory, copies_reach_managed_pages_wherever_they_are_without_faults);
    tcase_add_test(memory, copies_outside_of_their_blocks_or_to_the_wrong_side_are_refused);
    tcase_add_test(memory, system_calls_work_on_a_host_view_after_a_prefetch_to_the_host);
    tcase_add_test(memory, adopted_memory_is_reached_where_the_architecture_can);
    tcase_add_test(memory, memory_that_was_given_up_outlives_its_device_and_another_adopts_it);
    tcase_add_test(memory, many_blocks_come_and_go);
    tcase_add_test(memory, a_gigabyte_costs_nothing_until_it_is_used);
    tcase_add_test(memory, when_the_limit_on_mappings_is_met_a_block_is_open_and_says_so);
    suite_add_tcase(suite, memory);

    TCase *old = tcase_create("without concurrent access");
    tcase_add_test(old, on_maxwell_a_launch_takes_all_managed_memory_along);
    tcase_add_test(old, on_maxwell_a_host_touch_before_the_synchronisation_is_a_violation_and_no_crash);
    tcase_add_test(old, on_maxwell_every_stream_must_be_waited_for);
    tcase_add_test(old, on_maxwell_managed_memory_cannot_exceed_the_device);
    suite_add_tcase(suite, old);

    TCase *streams = tcase_create("streams");
    tcase_add_loop_test(streams, a_stream_runs_in_order_and_finish_comes_before_passed, 0, 5);
    tcase_add_test(streams, a_wait_times_out_and_cancels_nothing);
    tcase_add_loop_test(streams, host_calls_run_in_stream_order_as_callbacks, 0, 2);
    tcase_add_loop_test(streams, a_stream_may_be_destroyed_from_its_own_callback, 0, 2);
    tcase_add_test(streams, single_steps_are_the_same_for_a_seed_and_others_for_another);
    tcase_add_test(streams, a_poll_takes_one_step);
    suite_add_tcase(suite, streams);

    TCase *checker = tcase_create("checker");
    tcase_add_test(checker, the_checker_catches_a_missing_order_whatever_the_timing);
    tcase_add_test(checker, the_checker_is_silent_when_streams_are_ordered);
    tcase_add_test(checker, the_checker_catches_a_forgotten_reader);
    tcase_add_test(checker, the_checker_knows_bytes_that_do_not_overlap);
    tcase_add_test(checker, the_checker_catches_pages_moved_away_from_a_kernel);
    tcase_add_test(checker, the_checker_lets_read_mostly_pages_be_duplicated_under_readers);
    tcase_add_test(checker, the_checker_catches_a_discard_under_a_reader);
    tcase_add_test(checker, the_checker_catches_memory_released_while_in_use_and_nothing_crashes);
    tcase_add_test(checker, violations_are_logged_as_errors);
    tcase_add_test(checker, the_checker_can_be_switched_off);
    tcase_add_test(checker, the_checker_does_not_grow_with_the_length_of_a_run);
    suite_add_tcase(suite, checker);

    TCase *rest = tcase_create("failures, time, processes, threads");
    tcase_set_timeout(rest, 60);
    tcase_add_loop_test(rest, the_nth_call_of_each_operation_fails_on_demand, 0, 11);
    tcase_add_test(rest, unknown_architectures_and_options_are_named);
    tcase_add_test(rest, the_virtual_clock_has_the_ratios_that_were_measured);
    tcase_add_test(rest, functions_for_simulated_devices_refuse_others);
    tcase_add_test(rest, a_child_process_shares_nothing_and_can_have_a_device_of_its_own);
    tcase_add_test(rest, a_genuine_crash_still_crashes);
    tcase_add_test(rest, the_handler_that_was_there_before_gets_what_is_not_ours_and_comes_back);
    tcase_add_test(rest, threads_that_fault_on_the_same_pages_are_counted_once);
    tcase_add_loop_test(rest, eight_threads_with_eight_streams_keep_their_bytes_apart, 0, 4);
    suite_add_tcase(suite, rest);
    return suite;
}
