/* Residency on the simulated devices: what a buffer's role makes of it, and maps beside launches on the same pages.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "residency_fixture.h"

Suite *residency_roles_suite(void);

/* ------------------------------------------------------------------------------------------------------- roles ----- */

START_TEST(results_are_written_in_place_and_never_move)
{
    for (int sim = PASCAL; sim < SIMS; sim++) {
        eum_context *context = open_on(sims[sim], EUM_BACKING_MANAGED);
        eum_buffer *results = new_buffer_as(context, 200 * KIB, EUM_ROLE_RESULTS);
        cpu_fill(whole(results), 99);
        for (uint32_t round = 0; round < 3; round++) {
            gpu_fill(default_stream(context), whole(results), round);
            ck_assert_int_eq(explain(results).last_movement, EUM_MOVEMENT_IN_PLACE);
            cpu_expect(whole(results), round);
        }
        ck_assert_uint_eq(traffic_of(context).to_device + traffic_of(context).to_host, 0);
        eum_sim_page_info page = page_of(context, results, 0);
        ck_assert(page.on_host && page.prefers_host && page.accessed_by_device);
        OK(eum_buffer_destroy(results));
        close_context(context);
    }
}
END_TEST

START_TEST(arguments_that_share_a_page_with_a_map_are_all_used_in_place)
{
    for (int i = 0; i < SETUPS; i++) {
        eum_context *context = open_setup(i);
        eum_stream *stream = default_stream(context);
        eum_buffer *buffer = new_buffer(context, 4000);
        void *mapped = map(part(buffer, 0, 4), EUM_ACCESS_READ);
        /* The first argument writes beside the map. The second only reads, as the map does: alone it could have copies on both sides. */
        wait_job(
            launch2(stream, (work){.kind = WORK_ADD, .value = 1}, overwrites(part(buffer, 800, 8)), reads(part(buffer, 2000, 8))));
        gpu_fill(stream, part(buffer, 2000, 8), 1);
        wait_job(launch2(stream, (work){.kind = WORK_COPY}, reads(part(buffer, 2000, 8)), overwrites(part(buffer, 800, 8))));
        wait_job(
            launch2(stream, (work){.kind = WORK_ADD, .value = 1}, updates(part(buffer, 800, 8)), reads(part(buffer, 2000, 8))));
        cpu_expect_plus(part(buffer, 800, 8), 1, 1);
        unmap(buffer, mapped);
        OK(eum_buffer_destroy(buffer));
        close_context(context);
    }
}
END_TEST

START_TEST(a_stream_of_input_is_read_in_place_and_never_moves)
{
    for (int sim = PASCAL; sim < SIMS; sim++) {
        eum_context *context = open_on(sims[sim], EUM_BACKING_MANAGED);
        eum_buffer *input = new_buffer_as(context, 200 * KIB, EUM_ROLE_STREAM);
        for (uint32_t round = 0; round < 3; round++) {
            cpu_fill(whole(input), round);
            gpu_expect(default_stream(context), whole(input), round);
        }
        ck_assert_uint_eq(traffic_of(context).to_device + traffic_of(context).to_host, 0);
        OK(eum_buffer_destroy(input));
        close_context(context);
    }
}
END_TEST

START_TEST(a_query_is_duplicated_and_stays_valid_on_both_sides)
{
    for (int sim = PASCAL; sim < SIMS; sim++) {
        eum_context *context = open_on(sims[sim], EUM_BACKING_MANAGED);
        eum_buffer *query = new_buffer_as(context, 3072, EUM_ROLE_QUERY);
        cpu_fill(whole(query), 1);
        gpu_expect(default_stream(context), whole(query), 1);
        ck_assert_int_eq(explain(query).last_movement, EUM_MOVEMENT_DUPLICATE);
        eum_sim_page_info page = page_of(context, query, 0);
        ck_assert(page.read_mostly && page.on_host && page.on_device);
        ck_assert_uint_eq(explain(query).bytes_on_host, 3072);
        ck_assert_uint_eq(explain(query).bytes_on_device, 3072);
        cpu_fill(whole(query), 2);
        gpu_expect(default_stream(context), whole(query), 2);
        OK(eum_buffer_destroy(query));
        close_context(context);
    }
}
END_TEST

START_TEST(large_targets_move_and_are_duplicated_once_the_cpu_has_read_them_back)
{
    for (int sim = PASCAL; sim < SIMS; sim++) {
        eum_context *context = open_on(sims[sim], EUM_BACKING_MANAGED);
        eum_buffer *targets = new_buffer_as(context, 6 * MIB, sim % 2 == 0 ? EUM_ROLE_TARGETS : EUM_ROLE_AUTO);
        for (uint32_t cycle = 1; cycle < 3; cycle++) { /* a write begins anew */
            cpu_fill(whole(targets), cycle);
            gpu_expect(default_stream(context), whole(targets), cycle);
            ck_assert_int_eq(explain(targets).last_movement, EUM_MOVEMENT_PREFETCH);
            ck_assert_uint_eq(explain(targets).bytes_on_host, 0);
            cpu_expect(whole(targets), cycle);
            ck_assert_uint_eq(explain(targets).bytes_on_device, 0);
            gpu_expect(default_stream(context), whole(targets), cycle);
            ck_assert_int_eq(explain(targets).last_movement, EUM_MOVEMENT_DUPLICATE);
            traffic before = traffic_of(context);
            cpu_expect(whole(targets), cycle);
            gpu_expect(default_stream(context), whole(targets), cycle);
            traffic after = traffic_of(context);
            ck_assert_uint_eq(after.to_device + after.to_host, before.to_device + before.to_host);
        }
        OK(eum_buffer_destroy(targets));
        close_context(context);
    }
}
END_TEST

START_TEST(large_targets_that_the_cpu_is_reading_are_duplicated_and_it_does_not_wait_for_kernels_that_read)
{
    for (int sim = PASCAL; sim < SIMS; sim++) {
        eum_context *context = open_on(sims[sim], EUM_BACKING_MANAGED);
        eum_buffer *targets = new_buffer_as(context, 6 * MIB, EUM_ROLE_TARGETS);
        cpu_fill(whole(targets), 1);
        void *address = NULL;
        OK(eum_buffer_map(part(targets, 2 * MIB, 8), EUM_ACCESS_READ, &address));
        gpu_expect(default_stream(context), whole(targets), 1);
        ck_assert_int_eq(explain(targets).last_movement, EUM_MOVEMENT_DUPLICATE);
        OK(eum_buffer_unmap(targets, address));
        cpu_fill(whole(targets), 2);
        gate g = GATE_INIT;
        eum_job job = launch1(default_stream(context), (work){.kind = WORK_EXPECT, .value = 2, .gate = &g}, reads(whole(targets)));
        await_gate(&g, 1);
        cpu_expect(whole(targets), 2); /* while the kernel runs */
        open_gate(&g);
        wait_job(job);
        OK(eum_buffer_destroy(targets));
        close_context(context);
    }
}
END_TEST

START_TEST(a_kernel_may_write_pages_that_were_read_mostly_on_the_device_alone)
{
    for (int sim = PASCAL; sim < SIMS; sim++) {
        eum_context *context = open_on(sims[sim], EUM_BACKING_MANAGED);
        eum_stream *stream = default_stream(context);
        for (int unset = 0; unset < 2; unset++) { /* the advice is taken back by the library, or by the user */
            eum_buffer *buffer = new_buffer(context, 256 * KIB);
            cpu_fill(whole(buffer), 1);
            launch1(stream, (work){.kind = WORK_ADD, .value = 1}, updates(whole(buffer)));
            OK(eum_buffer_advise(whole(buffer), EUM_ADVICE_READ_MOSTLY, 0, NULL));
            if (unset)
                OK(eum_buffer_advise(whole(buffer), EUM_ADVICE_UNSET_READ_MOSTLY, 0, NULL));
            for (int i = 0; i < 3; i++) {
                uint64_t moved = explain(buffer).bytes_to_device;
                launch1(stream, (work){.kind = WORK_ADD, .value = 1}, updates(whole(buffer)));
                ck_assert_uint_eq(explain(buffer).bytes_to_device - moved, i == 0 ? 256 * KIB : 0); /* there and back, once */
            }
            OK(eum_stream_synchronize(stream));
            OK(eum_buffer_destroy(buffer));
        }
        close_context(context);
    }
}
END_TEST

static eum_status call_launch_that_writes(pending *p)
{
    return try_launch1(p->address, (work){.kind = WORK_FILL, .value = 2}, overwrites(p->view)); /* on the stream at `address` */
}

START_TEST(copies_do_not_collapse_under_a_kernel_that_reads_them)
{
    for (int sim = PASCAL; sim < SIMS; sim++)
        for (int part_of_it = 0; part_of_it < 2; part_of_it++) {
            eum_context *context = open_on(sims[sim], EUM_BACKING_MANAGED);
            eum_stream *other = new_stream(context);
            eum_buffer *query = new_buffer_as(context, 3072, EUM_ROLE_QUERY);
            cpu_fill(whole(query), 1);
            gpu_expect(default_stream(context), whole(query), 1);
            ck_assert(page_of(context, query, 0).read_mostly);
            gate g = GATE_INIT;
            eum_view read = part(query, 0, 1024), written = part_of_it ? part(query, 2048, 1024) : read;
            eum_job job = launch1(default_stream(context), (work){.kind = WORK_EXPECT, .value = 1, .gate = &g}, reads(read));
            await_gate(&g, 1);
            uint64_t faults = block_of(context, query).gpu_faults;
            pending p = {.view = written, .address = other};
            start(&p, call_launch_that_writes); /* advice acts at once, so the caller waits, also where only the page is shared */
            assert_waits(&p);
            ck_assert(page_of(context, query, 0).read_mostly && page_of(context, query, 0).on_device);
            open_gate(&g);
            OK(finish(&p));
            wait_job(job);
            ck_assert_uint_eq(block_of(context, query).gpu_faults, faults);
            cpu_expect(written, 2);
            OK(eum_stream_destroy(other));
            OK(eum_buffer_destroy(query));
            close_context(context);
        }
}
END_TEST

START_TEST(copies_that_advice_collapses_are_moved_again_before_a_launch_on_the_side_that_lost_them)
{
    for (int sim = PASCAL; sim < SIMS; sim++) {
        eum_context *context = open_on(sims[sim], EUM_BACKING_MANAGED);
        eum_buffer *query = new_buffer_as(context, 3072, EUM_ROLE_QUERY), *beside = new_buffer_as(context, 3072, EUM_ROLE_QUERY);
        cpu_fill(whole(query), 1);
        cpu_fill(whole(beside), 2);
        gpu_expect(default_stream(context), whole(query), 1);
        gpu_expect(default_stream(context), whole(beside), 2);
        OK(eum_buffer_advise(whole(query), EUM_ADVICE_UNSET_READ_MOSTLY, 0, NULL));
        eum_sim_page_info page = page_of(context, query, 0);
        ck_assert(!page.read_mostly && page.on_host != page.on_device);
        ck_assert_uint_eq(explain(query).bytes_on_host + explain(query).bytes_on_device,
                          0); /* the driver chose the side: nobody knows */
        ck_assert_uint_eq(explain(beside).bytes_on_device, 3072);
        uint64_t faults = block_of(context, query).gpu_faults, moved = explain(query).bytes_to_device;
        gpu_expect(default_stream(context), whole(query), 1);
        ck_assert_uint_eq(block_of(context, query).gpu_faults, faults);
        ck_assert_uint_gt(explain(query).bytes_to_device, moved);
        ck_assert(page_of(context, query, 0).on_device);
        OK(eum_buffer_destroy(query));
        OK(eum_buffer_destroy(beside));
        close_context(context);
    }
}
END_TEST

START_TEST(a_map_that_writes_takes_no_page_from_a_map_that_reads_its_neighbours)
{
    for (int sim = PASCAL; sim < SIMS; sim++) {
        eum_context *context = open_on(sims[sim], EUM_BACKING_MANAGED);
        eum_buffer *buffer = new_buffer(context, 64 * KIB);
        cpu_fill(whole(buffer), 1);
        gpu_expect(default_stream(context), whole(buffer), 1); /* a duplicate */
        void *read = map(part(buffer, 0, 4 * KIB), EUM_ACCESS_READ);
        eum_sim_counters before, after;
        ck_assert(eum_sim_counters_get(device_of(context), &before));
        void *written = map(part(buffer, 4 * KIB, 4 * KIB), EUM_ACCESS_OVERWRITE);
        ck_assert(eum_sim_counters_get(device_of(context), &after));
        ck_assert_uint_eq(after.bytes_to_host[EUM_SIM_CAUSE_PREFETCH],
                          before.bytes_to_host[EUM_SIM_CAUSE_PREFETCH]); /* never away */
        eum_sim_page_info page = page_of(context, buffer, 0);
        ck_assert(page.on_host && !page.on_device && page.host_reads);
        ck_assert_uint_eq(((volatile uint32_t *)read)[5], word_at(1, 5));
        ck_assert(eum_sim_counters_get(device_of(context), &after));
        ck_assert_uint_eq(after.cpu_faults, before.cpu_faults);
        fill_words(written, KIB, 2);
        unmap(buffer, written);
        unmap(buffer, read);
        gpu_expect(default_stream(context), part(buffer, 4 * KIB, 4 * KIB), 2);
        OK(eum_buffer_destroy(buffer));
        close_context(context);
    }
}
END_TEST

START_TEST(a_launch_that_reads_beside_a_writer_takes_no_page_from_a_map_that_reads)
{
    for (int sim = PASCAL; sim < SIMS; sim++) {
        eum_context *context = open_on(sims[sim], EUM_BACKING_MANAGED);
        eum_buffer *buffer = new_buffer(context, 64 * KIB);
        eum_stream *second = new_stream(context);
        cpu_fill(whole(buffer), 1);
        volatile uint32_t *read = map(part(buffer, 0, 4 * KIB), EUM_ACCESS_READ);
        gate g = GATE_INIT;
        eum_job writer = launch1(default_stream(context), (work){.kind = WORK_FILL, .value = 2, .gate = &g},
                                 overwrites(part(buffer, 8 * KIB, 4 * KIB)));
        await_gate(&g, 1);
        eum_sim_counters before, after;
        ck_assert(eum_sim_counters_get(device_of(context), &before));
        eum_job reader = launch1(second, (work){.kind = WORK_EXPECT, .value = 1}, reads(part(buffer, 0, 4 * KIB)));
        open_gate(&g);
        wait_job(reader);
        ck_assert_uint_eq(read[7], word_at(1, 7));
        ck_assert(eum_sim_counters_get(device_of(context), &after));
        ck_assert_uint_eq(after.cpu_faults, before.cpu_faults);
        wait_job(writer);
        unmap(buffer, (void *)read);
        OK(eum_stream_destroy(second));
        OK(eum_buffer_destroy(buffer));
        close_context(context);
    }
}
END_TEST

START_TEST(targets_prefer_the_device_until_the_role_changes)
{
    for (int sim = PASCAL; sim < SIMS; sim++) {
        eum_context *context = open_on(sims[sim], EUM_BACKING_MANAGED);
        eum_buffer *targets = new_buffer_as(context, SEED_BYTES, EUM_ROLE_TARGETS);
        cpu_fill(whole(targets), 1);
        gpu_expect(default_stream(context), whole(targets), 1);
        ck_assert(page_of(context, targets, 0).prefers_device);
        ck_assert(page_of(context, targets, SEED_BYTES - 1).prefers_device);
        uint64_t hints = stats_of(context).hints_applied;
        gpu_expect(default_stream(context), whole(targets), 1);
        ck_assert_uint_eq(stats_of(context).hints_applied, hints); /* said once */
        OK(eum_buffer_set_role(targets, EUM_ROLE_AUTO));
        gpu_expect(default_stream(context), whole(targets), 1);
        ck_assert(!page_of(context, targets, 0).prefers_device);
        OK(eum_buffer_destroy(targets));
        close_context(context);
    }
}
END_TEST

Suite *residency_roles_suite(void)
{
    Suite *suite = suite_create("residency_roles");
    TCase *tests = tcase_create("residency_roles");
    if (!runs_cpu_kernels())
        return suite;
    tcase_add_test(tests, results_are_written_in_place_and_never_move);
    tcase_add_test(tests, arguments_that_share_a_page_with_a_map_are_all_used_in_place);
    tcase_add_test(tests, a_stream_of_input_is_read_in_place_and_never_moves);
    tcase_add_test(tests, a_query_is_duplicated_and_stays_valid_on_both_sides);
    tcase_add_test(tests, a_kernel_may_write_pages_that_were_read_mostly_on_the_device_alone);
    tcase_add_test(tests, copies_do_not_collapse_under_a_kernel_that_reads_them);
    tcase_add_test(tests, copies_that_advice_collapses_are_moved_again_before_a_launch_on_the_side_that_lost_them);
    tcase_add_test(tests, a_map_that_writes_takes_no_page_from_a_map_that_reads_its_neighbours);
    tcase_add_test(tests, a_launch_that_reads_beside_a_writer_takes_no_page_from_a_map_that_reads);
    tcase_add_test(tests, large_targets_move_and_are_duplicated_once_the_cpu_has_read_them_back);
    tcase_add_test(tests, large_targets_that_the_cpu_is_reading_are_duplicated_and_it_does_not_wait_for_kernels_that_read);
    tcase_add_test(tests, targets_prefer_the_device_until_the_role_changes);
    suite_add_tcase(suite, tests);
    return suite;
}
