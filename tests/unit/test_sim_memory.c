/* The memory of the simulated GPU: kinds, eviction, exhaustion, adoption, and devices without concurrent access.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE 1

#include <errno.h>
#include <unistd.h>

#include "sim_fixture.h"

Suite *sim_memory_suite(void);

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

/* -------------------------------------------------------------------------------------------------------- suite ----- */

Suite *sim_memory_suite(void)
{
    Suite *suite = suite_create("sim_memory");
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
    return suite;
}
