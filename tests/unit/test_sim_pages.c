/* The simulated GPU against written expectations: what each architecture does about faults, movement and advice.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "sim_fixture.h"

Suite *sim_pages_suite(void);

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

/* ------------------------------------------------------------------------------------------------- many ranges ------ */

START_TEST(many_ranges_by_one_call_are_where_one_call_each_brings_them_for_one_fixed_cost)
{
    uint64_t took[2];
    eum_sim_counters counted[2];
    for (int together = 0; together < 2; together++) {
        eum_device *device = open_with("hopper", "schedule=step");
        eum_dstream *stream = new_stream(device);
        eum_block a = alloc(device, EUM_MEMORY_MANAGED, 4 * PAGE), b = alloc(device, EUM_MEMORY_MANAGED, 40 * PAGE);
        memset(a.host, 1, a.bytes);
        memset(b.host, 2, b.bytes);
        device->ops->host_access(device, &a, 0, a.bytes, true);
        device->ops->host_access(device, &b, 0, b.bytes, true);
        ck_assert_int_eq(device->ops->prefetch(stream, &b, 39 * PAGE, PAGE, 0), EUM_OK);
        const eum_piece pieces[] = {
            {&a, PAGE + 10, 10, 0}, {&b, 0, 32 * PAGE, 0}, {&a, 3 * PAGE, PAGE, 0}, {&b, 39 * PAGE, 1, EUM_LOCATION_HOST}};
        const size_t count = sizeof pieces / sizeof *pieces;
        finish_stream(stream);
        const uint64_t begun = eum_sim_time(device);
        if (together)
            ck_assert_int_eq(device->ops->prefetch_many(stream, pieces, count), EUM_OK);
        for (size_t i = 0; i < count && !together; i++)
            ck_assert_int_eq(device->ops->prefetch(stream, pieces[i].block, pieces[i].offset, pieces[i].bytes, pieces[i].where),
                             EUM_OK);
        finish_stream(stream);
        took[together] = eum_sim_time(device) - begun;
        counted[together] = counters(device);
        ck_assert(page_info(device, &a, 0).on_host && page_info(device, &a, PAGE).on_device &&
                  page_info(device, &a, 3 * PAGE).on_device);
        ck_assert(page_info(device, &b, 31 * PAGE).on_device && page_info(device, &b, 32 * PAGE).on_host &&
                  page_info(device, &b, 39 * PAGE).on_host);
        ck_assert_uint_eq(eum_sim_calls(device, EUM_SIM_PREFETCH_MANY), (uint64_t)together);
        assert_no_violation(device);
        device->ops->release(device, &b);
        done(device, stream, &a);
    }
    ck_assert_uint_eq(took[0] - took[1], 3 * 16000);
    ck_assert_mem_eq(&counted[0], &counted[1], sizeof counted[0]);
}
END_TEST

START_TEST(ranges_of_one_call_that_share_a_page_are_a_violation)
{
    eum_device *device = open_with("hopper", NULL);
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, 4 * PAGE);
    const eum_piece apart[] = {{&block, 0, PAGE, 0}, {&block, PAGE, PAGE, 0}},
                    shared[] = {{&block, 0, PAGE + 1, 0}, {&block, PAGE + 5, 10, 0}};
    ck_assert_int_eq(device->ops->prefetch_many(stream, apart, 2), EUM_OK);
    assert_no_violation(device);
    ck_assert_int_eq(device->ops->prefetch_many(stream, shared, 2), EUM_OK);
    assert_violation(device, "ranges 0 and 1 of a prefetch of 2 have pages in common");
    eum_sim_violations_clear(device);
    done(device, stream, &block);
}
END_TEST

START_TEST(what_uses_the_pages_elsewhere_must_be_ordered_before_a_call_for_many)
{
    eum_device *device = open_with("hopper", NULL);
    eum_dstream *stream = new_stream(device), *other = new_stream(device);
    eum_block a = alloc(device, EUM_MEMORY_MANAGED, PAGE), b = alloc(device, EUM_MEMORY_MANAGED, PAGE);
    const eum_piece here[] = {{&a, 0, PAGE, 0}, {&b, 0, PAGE, 0}},
                    back[] = {{&a, 0, PAGE, EUM_LOCATION_HOST}, {&b, 0, PAGE, EUM_LOCATION_HOST}};
    ck_assert_int_eq(device->ops->prefetch_many(stream, here, 2), EUM_OK);
    run(stream, store_ones, &b, EUM_ACCESS_OVERWRITE);
    job later;
    submit(&later, stream, store_ones, &b, EUM_ACCESS_OVERWRITE);
    ck_assert_int_eq(device->ops->prefetch_many(other, back, 2), EUM_OK);
    assert_violation(device, "a prefetch");
    eum_sim_violations_clear(device);
    finish_stream(stream);
    finish_stream(other);
    device->ops->stream_destroy(other);
    device->ops->release(device, &b);
    done(device, stream, &a);
}
END_TEST

START_TEST(a_call_for_many_that_fails_has_changed_nothing)
{
    eum_device *device = open_with("hopper", "fail=prefetch_many:1"), *pascal = open_with("pascal", NULL);
    eum_dstream *stream = new_stream(device), *old = new_stream(pascal);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, 2 * PAGE), older = alloc(pascal, EUM_MEMORY_MANAGED, 2 * PAGE);
    memset(block.host, 1, block.bytes);
    const eum_piece good[] = {{&block, 0, PAGE, 0}, {&block, PAGE, PAGE, 0}},
                    bad[] = {{&block, 0, PAGE, 0}, {&block, PAGE, PAGE, 1}};
    const eum_piece beyond[] = {{&block, 0, PAGE, 0}, {&block, 2 * PAGE, 1, 0}}, olds[] = {{&older, 0, PAGE, 0}};
    ck_assert_int_eq(device->ops->prefetch_many(stream, good, 2), EUM_ERROR_CUDA);
    ck_assert_int_eq(device->ops->prefetch_many(stream, bad, 2), EUM_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(device->ops->prefetch_many(stream, beyond, 2), EUM_ERROR_INVALID_ARGUMENT);
    ck_assert(device->caps.prefetch_many && !pascal->caps.prefetch_many);
    ck_assert_int_eq(pascal->ops->prefetch_many(old, olds, 1), EUM_ERROR_NOT_SUPPORTED);
    finish_stream(stream);
    ck_assert(page_info(device, &block, 0).on_host && page_info(device, &block, PAGE).on_host);
    ck_assert_int_eq(device->ops->prefetch_many(stream, good, 2), EUM_OK);
    finish_stream(stream);
    ck_assert(page_info(device, &block, 0).on_device && page_info(device, &block, PAGE).on_device);
    done(device, stream, &block);
    done(pascal, old, &older);
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

/* -------------------------------------------------------------------------------------------------------- suite ----- */

Suite *sim_pages_suite(void)
{
    Suite *suite = suite_create("sim_pages");
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
    tcase_add_test(advice, many_ranges_by_one_call_are_where_one_call_each_brings_them_for_one_fixed_cost);
    tcase_add_test(advice, ranges_of_one_call_that_share_a_page_are_a_violation);
    tcase_add_test(advice, what_uses_the_pages_elsewhere_must_be_ordered_before_a_call_for_many);
    tcase_add_test(advice, a_call_for_many_that_fails_has_changed_nothing);
    suite_add_tcase(suite, advice);
    return suite;
}
