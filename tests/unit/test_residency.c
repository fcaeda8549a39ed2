/* Residency on the simulated devices, whatever EUM_DEVICE says: exactly what moves, when, and how often it faults (never).
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "residency_fixture.h"

Suite *residency_suite(void);

/* ------------------------------------------------------------------------------------------------ the seed's case -- */

typedef struct look {
    eum_context *context;
    uint64_t migrations, faults; /* of the first argument, when the kernel starts */
} look;

static int32_t look_at_start(const eum_kernel_call *call)
{
    look *l = call->user;
    eum_sim_counters c;
    if (!eum_sim_block_counters(device_of(l->context), call->addresses[0], &c))
        return 1;
    l->migrations = eum_sim_migrations(&c);
    l->faults = c.gpu_faults;
    volatile const uint32_t *words = call->addresses[0];
    uint32_t sum = 0;
    for (size_t i = 0; i < call->bytes[0] / WORD; i++)
        sum += words[i];
    return sum == 1 ? 2 : 0;
}

START_TEST(a_thousand_rows_of_768_floats_migrate_before_the_launch_and_none_during_it)
{
    static const struct {
        int sim;
        uint64_t migrations;
    } cases[] = {{PASCAL, 47}, {TURING, 47}, {AMPERE, 1 + 15}, {HOPPER, 1 + 15}}; /* a whole 2 MiB block, and 15 pages */
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        eum_context *context = open_on(sims[cases[i].sim], EUM_BACKING_MANAGED);
        eum_buffer *targets = new_buffer(context, SEED_BYTES);
        cpu_fill(whole(targets), 1);
        look l = {.context = context};
        eum_argument argument = reads(whole(targets));
        eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
        config.cpu = look_at_start;
        config.arguments = &argument;
        config.argument_count = 1;
        config.user = &l;
        eum_job job;
        OK(eum_launch(default_stream(context), &config, &job));
        wait_job(job);
        eum_sim_counters c = block_of(context, targets);
        ck_assert_uint_eq(l.migrations, cases[i].migrations);
        ck_assert_uint_eq(eum_sim_migrations(&c), cases[i].migrations);
        ck_assert_uint_eq(c.migrations_to_device[EUM_SIM_CAUSE_PREFETCH], cases[i].migrations);
        ck_assert_uint_eq(c.bytes_to_device[EUM_SIM_CAUSE_PREFETCH], 47 * PAGE);
        ck_assert_uint_eq(c.gpu_faults, 0);
        ck_assert_uint_eq(c.cpu_faults, 0);
        OK(eum_buffer_destroy(targets));
        close_context(context);
    }
}
END_TEST

/* ------------------------------------------------------------------------------------------------- little moves ---- */

START_TEST(one_changed_row_of_a_large_buffer_moves_two_mebibytes_at_most)
{
    eum_context *context = open_setup(_i);
    eum_stream *stream = default_stream(context);
    eum_buffer *buffer = new_buffer(context, 64 * MIB);
    const size_t row = 3072, places[] = {0, 3072 * 10923, 64 * MIB - 3072, 2 * MIB - 1536};
    cpu_fill(whole(buffer), 1);
    gpu_expect(stream, whole(buffer), 1);
    for (size_t i = 0; i < 4; i++) {
        for (int how = 0; how < 3; how++) {
            uint32_t words[768];
            fill_words(words, 768, (uint32_t)(10 * i) + (uint32_t)how);
            traffic before = traffic_of(context);
            eum_view view = part(buffer, places[i], row);
            if (how == 0) {
                cpu_fill(view, (uint32_t)(10 * i));
            } else if (how == 1) {
                OK(eum_buffer_write(view, words));
            } else {
                void *address = map(view, EUM_ACCESS_READ_WRITE);
                memcpy(address, words, row);
                unmap(buffer, address);
            }
            wait_job(launch1(stream, (work){.kind = WORK_NOTHING}, reads(whole(buffer))));
            gpu_expect(stream, view, (uint32_t)(10 * i) + (uint32_t)how);
            traffic after = traffic_of(context);
            ck_assert_uint_le(after.to_device - before.to_device + after.to_host - before.to_host, 2 * MIB);
        }
    }
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(one_row_that_a_kernel_changes_moves_two_mebibytes_at_most)
{
    eum_context *context = open_setup(_i);
    eum_stream *stream = default_stream(context);
    for (eum_role role = EUM_ROLE_AUTO; role <= EUM_ROLE_TARGETS; role++) {
        eum_buffer *buffer = new_buffer_as(context, 64 * MIB, role);
        cpu_fill(whole(buffer), 1);
        gpu_expect(stream, whole(buffer), 1);
        traffic before = traffic_of(context);
        gpu_fill(stream, part(buffer, 33 * MIB + 512, 3072), 2);
        cpu_expect(part(buffer, 33 * MIB + 512, 3072), 2);
        if (role == EUM_ROLE_QUERY) /* others of this size leave the host when the device reads them */
            unmap(buffer, map(whole(buffer), EUM_ACCESS_READ));
        traffic after = traffic_of(context);
        ck_assert_uint_le(after.to_device - before.to_device + after.to_host - before.to_host, 2 * MIB);
        OK(eum_buffer_destroy(buffer));
    }
    close_context(context);
}
END_TEST

START_TEST(a_read_after_a_read_moves_nothing_on_either_side)
{
    eum_context *context = open_setup(_i);
    eum_stream *stream = default_stream(context);
    for (eum_role role = EUM_ROLE_AUTO; role <= EUM_ROLE_TARGETS; role++) {
        for (int writer = 0; writer < 2; writer++) {
            eum_buffer *buffer = new_buffer_as(context, SEED_BYTES, role);
            if (writer == 0)
                cpu_fill(whole(buffer), 1);
            else
                gpu_fill(stream, whole(buffer), 1);
            gpu_expect(stream, whole(buffer), 1);
            cpu_expect(whole(buffer), 1);
            traffic before = traffic_of(context);
            for (int round = 0; round < 3; round++) {
                gpu_expect(stream, whole(buffer), 1);
                cpu_expect(whole(buffer), 1);
                gpu_expect(stream, part(buffer, 0, 4), 1);
            }
            traffic after = traffic_of(context);
            ck_assert_uint_eq(after.to_device, before.to_device);
            ck_assert_uint_eq(after.to_host, before.to_host);
            ck_assert_int_eq(explain(buffer).last_movement, EUM_MOVEMENT_NONE);
            OK(eum_buffer_destroy(buffer));
        }
    }
    close_context(context);
}
END_TEST

START_TEST(a_kernel_that_overwrites_what_the_cpu_wrote_moves_nothing)
{
    eum_context *context = open_setup(_i);
    eum_stream *stream = default_stream(context);
    for (int duplicated = 0; duplicated < 2; duplicated++) {
        eum_buffer *buffer = new_buffer(context, SEED_BYTES);
        cpu_fill(whole(buffer), 1);
        if (duplicated)
            gpu_expect(stream, whole(buffer), 1);
        traffic before = traffic_of(context);
        gpu_fill(stream, whole(buffer), 2);
        traffic after = traffic_of(context);
        ck_assert_uint_eq(after.to_device, before.to_device);
        ck_assert_uint_eq(after.to_host, before.to_host);
        cpu_expect(whole(buffer), 2);
        OK(eum_buffer_destroy(buffer));
    }
    close_context(context);
}
END_TEST

START_TEST(a_cpu_that_overwrites_what_a_kernel_wrote_moves_nothing_where_discard_exists)
{
    eum_context *context = open_setup(_i);
    eum_stream *stream = default_stream(context);
    eum_buffer *buffer = new_buffer(context, SEED_BYTES);
    gpu_fill(stream, whole(buffer), 1);
    traffic before = traffic_of(context);
    unmap(buffer, map(whole(buffer), EUM_ACCESS_OVERWRITE));
    traffic after = traffic_of(context);
    bool must_move = is_managed(_i) && !info_of(context).discard;
    ck_assert_uint_eq(after.to_host - before.to_host, must_move ? 47 * PAGE : 0);
    ck_assert_uint_eq(after.to_device, before.to_device);
    if (!must_move)
        ck_assert_uint_gt(stats_of(context).bytes_discarded, 0);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(memory_that_was_never_written_moves_nothing)
{
    eum_context *context = open_setup(_i);
    eum_buffer *buffer = new_buffer(context, SEED_BYTES);
    wait_job(launch1(default_stream(context), (work){.kind = WORK_ADD, .value = 1}, updates(whole(buffer))));
    ck_assert_uint_eq(traffic_of(context).to_device, 0);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(a_bulk_write_to_what_is_on_the_device_goes_there_directly)
{
    eum_context *context = open_setup(_i);
    eum_stream *stream = default_stream(context);
    eum_buffer *buffer = new_buffer(context, SEED_BYTES);
    uint32_t *words = malloc(SEED_BYTES);
    for (eum_role role = EUM_ROLE_AUTO; role <= EUM_ROLE_STREAM; role++) {
        OK(eum_buffer_set_role(buffer, EUM_ROLE_AUTO));
        gpu_fill(stream, whole(buffer), 1);
        OK(eum_buffer_prefetch(whole(buffer), 0, stream));
        gpu_fill(stream, whole(buffer), 1);
        bool there = explain(buffer).bytes_on_host == 0;
        OK(eum_buffer_set_role(buffer, role));
        fill_words(words, SEED_BYTES / WORD, 2);
        traffic before = traffic_of(context);
        OK(eum_buffer_write(whole(buffer), words));
        gpu_expect(stream, whole(buffer),
                   2); /* waits; mirrored bytes go to the device while or after the CPU has copied them to the host side */
        traffic after = traffic_of(context);
        bool in_place = role == EUM_ROLE_STREAM && explain(buffer).backing == EUM_BACKING_MIRRORED;
        if (there) {
            ck_assert_uint_eq(after.to_host, before.to_host);
            ck_assert_uint_eq(after.to_device - before.to_device, in_place ? 0 : SEED_BYTES);
        }
        cpu_expect(whole(buffer), 2);
    }
    free(words);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(the_statistics_say_what_the_device_counted)
{
    eum_context *context = open_setup(_i);
    eum_stream *stream = default_stream(context);
    eum_buffer *buffer = new_buffer(context, SEED_BYTES);
    for (uint32_t round = 0; round < 3; round++) {
        cpu_fill(part(buffer, 100 * KIB * round, 200 * KIB), round);
        wait_job(launch1(stream, (work){.kind = WORK_ADD, .value = 1}, updates(part(buffer, 0, 300 * KIB))));
        wait_job(launch1(stream, (work){.kind = WORK_NOTHING}, reads(part(buffer, 200 * KIB, MIB))));
        unmap(buffer, map(part(buffer, 150 * KIB, 100 * KIB), EUM_ACCESS_READ_WRITE));
        unmap(buffer, map(part(buffer, 0, MIB), EUM_ACCESS_READ));
    }
    traffic t = traffic_of(context);
    eum_stats stats = stats_of(context);
    ck_assert_uint_eq(stats.bytes_to_device, t.to_device);
    ck_assert_uint_eq(stats.bytes_to_host, t.to_host);
    ck_assert_uint_gt(stats.bytes_to_device, 0);
    eum_decision decision = explain(buffer);
    ck_assert_uint_eq(decision.bytes_to_device, t.to_device);
    ck_assert_uint_eq(decision.bytes_to_host, t.to_host);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

/* --------------------------------------------------------------------------- without concurrent managed access ----- */

START_TEST(managed_memory_without_concurrent_access_is_taken_in_turns)
{
    eum_context *context = open_on("sim:maxwell", EUM_BACKING_MANAGED);
    eum_stream *stream = default_stream(context), *other = new_stream(context);
    eum_buffer *a = new_buffer(context, 200 * KIB), *b = new_buffer(context, 200 * KIB), *empty = new_buffer(context, 0);
    cpu_fill(whole(a), 1);
    cpu_fill(whole(b), 2);
    gate g = GATE_INIT;
    eum_job job = launch1(stream, (work){.kind = WORK_ADD, .value = 1, .gate = &g}, updates(whole(a)));
    await_gate(&g, 1);
    pending p = {.view = whole(b), .access = EUM_ACCESS_READ}; /* another buffer: but the whole device must be idle */
    start(&p, call_map);
    assert_waits(&p);
    GIVES(EUM_ERROR_MAPPED, try_launch1(other, (work){.kind = WORK_NOTHING}, reads(whole(a))));
    open_gate(&g);
    OK(finish(&p));
    expect_words(p.address, 200 * KIB / WORD, 2, 0);
    GIVES(EUM_ERROR_MAPPED, try_launch1(stream, (work){.kind = WORK_NOTHING}, reads(whole(a))));
    unmap(b, p.address);
    wait_job(job);
    void *nothing = map(whole(empty), EUM_ACCESS_READ), *inside = map(part(a, 100, 0), EUM_ACCESS_READ);
    gpu_expect(stream, whole(b), 2);
    unmap(empty, nothing);
    unmap(a, inside);
    gpu_expect(other, whole(b), 2);
    void *forgotten = map(whole(b), EUM_ACCESS_READ);
    (void)forgotten;
    OK(eum_buffer_destroy(b)); /* its map ends with it */
    wait_job(launch1(other, (work){.kind = WORK_ADD, .value = 1}, updates(whole(a))));
    cpu_expect_plus(whole(a), 1, 2);
    OK(eum_buffer_destroy(a));
    OK(eum_buffer_destroy(empty));
    OK(eum_stream_destroy(other));
    close_context(context);
}
END_TEST

/* ------------------------------------------------------------------------------------------------ wrapped memory --- */

START_TEST(wrapped_managed_memory_that_begins_inside_a_page_does_not_fault)
{
    for (int sim = PASCAL; sim < SIMS; sim++) {
        eum_context *context = open_on(sims[sim], EUM_BACKING_MANAGED);
        eum_stream *stream = default_stream(context);
        eum_buffer *owned = new_buffer(context, 6 * PAGE), *buffer = NULL;
        cpu_fill(whole(owned), 1);
        eum_raw raw = EUM_RAW_INIT;
        OK(eum_buffer_into_raw(owned, &raw));
        ck_assert_int_eq(raw.memory, EUM_MEMORY_MANAGED);
        eum_wrap_config config = EUM_WRAP_CONFIG_INIT;
        config.address = (char *)raw.address + PAGE / 2;
        config.bytes = 5 * PAGE;
        config.memory = EUM_MEMORY_MANAGED;
        OK(eum_buffer_wrap(context, &config, &buffer));
        for (uint32_t round = 0; round < 4; round++) {
            cpu_fill(whole(buffer), round);
            gpu_expect(stream, part(buffer, 0, PAGE), round); /* reaches into the page of the next part */
            cpu_fill(part(buffer, PAGE, PAGE), round + 10);
            gpu_expect(stream, part(buffer, 0, PAGE), round);
            gpu_expect(stream, part(buffer, PAGE, PAGE), round + 10);
            gpu_fill(stream, part(buffer, 3 * PAGE, PAGE / 2), round + 20);
            cpu_fill(part(buffer, 3 * PAGE + PAGE / 2, PAGE / 2), round + 30);
            gpu_expect(stream, part(buffer, 3 * PAGE, PAGE / 2), round + 20);
            cpu_expect(part(buffer, 3 * PAGE + PAGE / 2, PAGE / 2), round + 30);
        }
        OK(eum_buffer_destroy(buffer));
        raw.release(raw.release_user, raw.address, raw.bytes);
        check_device(context);
        OK(eum_context_destroy(context));
    }
}
END_TEST

Suite *residency_suite(void)
{
    Suite *suite = suite_create("residency");
    TCase *tests = tcase_create("residency");
    if (!runs_cpu_kernels())
        return suite;
    tcase_add_test(tests, a_thousand_rows_of_768_floats_migrate_before_the_launch_and_none_during_it);
    tcase_add_loop_test(tests, one_changed_row_of_a_large_buffer_moves_two_mebibytes_at_most, 0, SETUPS);
    tcase_add_loop_test(tests, one_row_that_a_kernel_changes_moves_two_mebibytes_at_most, 0, SETUPS);
    tcase_add_loop_test(tests, a_read_after_a_read_moves_nothing_on_either_side, 0, SETUPS);
    tcase_add_loop_test(tests, a_kernel_that_overwrites_what_the_cpu_wrote_moves_nothing, 0, SETUPS);
    tcase_add_loop_test(tests, a_cpu_that_overwrites_what_a_kernel_wrote_moves_nothing_where_discard_exists, 0, SETUPS);
    tcase_add_loop_test(tests, memory_that_was_never_written_moves_nothing, 0, SETUPS);
    tcase_add_loop_test(tests, a_bulk_write_to_what_is_on_the_device_goes_there_directly, 0, SETUPS);
    tcase_add_loop_test(tests, the_statistics_say_what_the_device_counted, 0, SETUPS);
    tcase_add_test(tests, managed_memory_without_concurrent_access_is_taken_in_turns);
    tcase_add_test(tests, wrapped_managed_memory_that_begins_inside_a_page_does_not_fault);
    suite_add_tcase(suite, tests);
    return suite;
}
