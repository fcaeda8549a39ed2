/* Movement and order, each rule by itself, on every kind of device and backing and in several schedules. What tests/mutations plants is
 * caught here.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "movement_fixture.h"

Suite *movement_suite(void);

/* -------------------------------------------------------------------------------------------------- results -------- */

static uint64_t moved_by_writing_and_looking(world *w, eum_buf *buf, int times)
{
    uint64_t before = world_moved(w);
    for (int i = 0; i < times; i++)
        ck_assert_int_eq(gpu_fill(w->streams[0], buf, 0, LARGE, (uint8_t)i, NULL), EUM_OK);
    pattern_into(expected, 0, LARGE, (uint8_t)(times - 1));
    cpu_expect(buf, expected);
    return world_moved(w) - before;
}

MOVEMENT_TEST(results_that_are_overwritten_again_and_again_are_copied_once)
{
    eum_buf *buf = world_buffer(w, LARGE, EUM_ROLE_RESULTS);
    if (!world_is_simulated(w) || buf->backing != EUM_BACKING_MIRRORED)
        return;
    ck_assert_uint_eq(moved_by_writing_and_looking(w, buf, 1), 0);
    ck_assert_uint_eq(moved_by_writing_and_looking(w, buf, 31), 0);
    ck_assert_uint_eq(moved_by_writing_and_looking(w, buf, 40), LARGE); /* noticed at the 33rd */
    ck_assert_uint_eq(moved_by_writing_and_looking(w, buf, 2), LARGE);  /* as many were expected */
    ck_assert_uint_eq(moved_by_writing_and_looking(w, buf, 2), 0);
}

/* ---------------------------------------------------------------------------------------------------- the bytes ---- */

MOVEMENT_TEST(a_kernel_reads_what_the_cpu_wrote)
{
    eum_buf *result = world_buffer(w, 8, EUM_ROLE_AUTO);
    for (size_t r = 0; r < ROLES; r++) {
        eum_buf *buf = world_buffer(w, LARGE, roles[r]);
        cpu_fill(buf, 0, LARGE, 1);
        pattern_into(expected, 0, LARGE, 1);
        ck_assert_int_eq(gpu_hash(w->streams[0], buf, 0, LARGE, result, NULL), EUM_OK);
        expect_hash(result, expected, LARGE);
        cpu_fill(buf, PAGE + 7, 10, 2);
        pattern_into(expected, PAGE + 7, PAGE + 17, 2);
        ck_assert_int_eq(gpu_hash(w->streams[1], buf, 0, LARGE, result, NULL), EUM_OK);
        expect_hash(result, expected, LARGE);
        world_end_buffer(w, buf);
    }
}

MOVEMENT_TEST(what_a_kernel_does_not_overwrite_is_kept)
{
    for (size_t r = 0; r < ROLES; r++) {
        eum_buf *buf = world_buffer(w, LARGE, roles[r]);
        cpu_fill(buf, 0, LARGE, 1);
        pattern_into(expected, 0, LARGE, 1);
        ck_assert_int_eq(gpu_fill(w->streams[0], buf, 100, 2 * PAGE + 50, 2, NULL), EUM_OK);
        pattern_into(expected, 100, 2 * PAGE + 150, 2);
        cpu_expect(buf, expected);
        cpu_fill(buf, PAGE - 3, PAGE + 9, 3);
        pattern_into(expected, PAGE - 3, 2 * PAGE + 6, 3);
        ck_assert_int_eq(gpu_mix(w->streams[1], buf, 5, 1000), EUM_OK);
        for (size_t i = 5; i < 1005; i++)
            expected[i] = (uint8_t)~expected[i];
        cpu_expect(buf, expected);
        world_end_buffer(w, buf);
    }
}

MOVEMENT_TEST(a_write_reaches_the_copy_on_the_other_side)
{
    eum_buf *buf = world_buffer(w, LARGE, EUM_ROLE_AUTO), *result = world_buffer(w, 8, EUM_ROLE_AUTO);
    cpu_fill(buf, 0, LARGE, 1);
    pattern_into(expected, 0, LARGE, 1);
    ck_assert_int_eq(gpu_hash(w->streams[0], buf, 0, LARGE, result, NULL), EUM_OK); /* both sides have it now */
    ck_assert_int_eq(gpu_fill(w->streams[0], buf, 10, 20, 2, NULL), EUM_OK);
    pattern_into(expected, 10, 30, 2);
    cpu_expect(buf, expected);
    cpu_fill(buf, 20, 20, 3);
    pattern_into(expected, 20, 40, 3);
    ck_assert_int_eq(gpu_hash(w->streams[0], buf, 0, LARGE, result, NULL), EUM_OK);
    expect_hash(result, expected, LARGE);
}

MOVEMENT_TEST(bulk_writes_and_reads_go_to_the_side_that_has_the_bytes)
{
    static uint8_t bytes[LARGE], back[LARGE];
    eum_buf *buf = world_buffer(w, LARGE, EUM_ROLE_AUTO), *result = world_buffer(w, 8, EUM_ROLE_AUTO);
    ck_assert_int_eq(gpu_fill(w->streams[0], buf, 0, LARGE, 1, NULL), EUM_OK);
    pattern_into(expected, 0, LARGE, 1);
    memset(back, 0, sizeof back);
    ck_assert_int_eq(eum_buf_read((eum_range){buf, 0, LARGE}, back), EUM_OK);
    ck_assert_mem_eq(back, expected, LARGE);
    ck_assert_int_eq(gpu_mix(w->streams[1], buf, 0, 300), EUM_OK);
    pattern_into(bytes, 0, LARGE, 4);
    ck_assert_int_eq(eum_buf_write((eum_range){buf, 100, PAGE}, bytes), EUM_OK);
    for (size_t i = 0; i < 100; i++)
        expected[i] = (uint8_t)~expected[i];
    memcpy(expected + 100, bytes, PAGE);
    memset(bytes, 0, sizeof bytes);
    ck_assert_int_eq(gpu_hash(w->streams[2], buf, 0, LARGE, result, NULL), EUM_OK);
    expect_hash(result, expected, LARGE);
    cpu_expect(buf, expected);
}

/* More ranges than a buffer remembers apart. */
MOVEMENT_TEST(hundreds_of_small_writes_from_both_sides_are_all_seen)
{
    size_t bytes = 300 * 64;
    eum_buf *buf = world_buffer(w, bytes, EUM_ROLE_AUTO), *result = world_buffer(w, 8, EUM_ROLE_AUTO);
    if (!world_is_simulated(w))
        return; /* nothing moves */
    cpu_fill(buf, 0, bytes, 1);
    pattern_into(expected, 0, bytes, 1);
    ck_assert_int_eq(gpu_hash(w->streams[0], buf, 0, bytes, result, NULL), EUM_OK);
    for (size_t i = 0; i < 300; i++) {
        size_t at = i * 64;
        if (i % 2 == 0)
            ck_assert_int_eq(gpu_fill(w->streams[0], buf, at, 8, 2, NULL), EUM_OK);
        else
            cpu_fill(buf, at, 8, 2);
        pattern_into(expected, at, at + 8, 2);
    }
    ck_assert_int_eq(gpu_hash(w->streams[0], buf, 0, bytes, result, NULL), EUM_OK);
    expect_hash(result, expected, bytes);
    cpu_expect(buf, expected);
}

/* --------------------------------------------------------------------------------------------- how much moves ------ */

MOVEMENT_TEST(reading_again_moves_nothing_and_hints_nothing)
{
    eum_buf *buf = world_buffer(w, LARGE, EUM_ROLE_AUTO), *result = world_buffer(w, 8, EUM_ROLE_RESULTS);
    cpu_fill(buf, 0, LARGE, 1);
    pattern_into(expected, 0, LARGE, 1);
    ck_assert_int_eq(gpu_hash(w->streams[0], buf, 0, LARGE, result, NULL), EUM_OK);
    expect_hash(result, expected, LARGE);
    cpu_expect(buf, expected);
    eum_stats before = world_stats(w);
    ck_assert_int_eq(gpu_hash(w->streams[0], buf, 0, LARGE, result, NULL), EUM_OK);
    cpu_expect(buf, expected);
    eum_stats after = world_stats(w);
    ck_assert_uint_eq(after.bytes_to_device, before.bytes_to_device);
    ck_assert_uint_eq(after.bytes_to_host, before.bytes_to_host);
    ck_assert_uint_eq(after.hints_applied, before.hints_applied);
    expect_hash(result, expected, LARGE);
}

MOVEMENT_TEST(overwriting_does_not_move_the_old_bytes)
{
    eum_buf *buf = world_buffer(w, LARGE, EUM_ROLE_AUTO);
    cpu_fill(buf, 0, LARGE, 1);
    uint64_t before = world_moved(w);
    ck_assert_int_eq(gpu_fill(w->streams[0], buf, 0, LARGE, 2, NULL), EUM_OK);
    ck_assert_uint_eq(world_moved(w), before);
    pattern_into(expected, 0, LARGE, 2);
    cpu_expect(buf, expected);
    ck_assert_int_eq(gpu_fill(w->streams[0], buf, 0, LARGE, 3, NULL), EUM_OK);
    if (world_backing_is(w, EUM_BACKING_MANAGED) && w->place->concurrent && !w->place->discard)
        return; /* the CPU must have the pages, and they cannot be dropped */
    before = world_moved(w);
    cpu_fill(buf, 0, LARGE, 4);
    ck_assert_uint_eq(world_moved(w), before);
}

MOVEMENT_TEST(one_row_of_a_large_buffer_moves_alone)
{
    static uint8_t bytes[MIB];
    eum_buf *buf = world_buffer(w, MIB, EUM_ROLE_AUTO), *result = world_buffer(w, 8, EUM_ROLE_RESULTS);
    cpu_fill(buf, 0, MIB, 1);
    pattern_into(bytes, 0, MIB, 1);
    ck_assert_int_eq(gpu_hash(w->streams[0], buf, 0, MIB, result, NULL), EUM_OK);
    expect_hash(result, bytes, MIB);

    bool exact = world_backing_is(w, EUM_BACKING_MIRRORED);
    eum_decision before, after;
    cpu_fill(buf, 5000, 100, 2);
    pattern_into(bytes, 5000, 5100, 2);
    ck_assert_int_eq(eum_buf_explain(buf, &before), EUM_OK);
    ck_assert_int_eq(gpu_hash(w->streams[0], buf, 0, MIB, result, NULL), EUM_OK);
    expect_hash(result, bytes, MIB);
    ck_assert_int_eq(eum_buf_explain(buf, &after), EUM_OK);
    uint64_t moved = after.bytes_to_device - before.bytes_to_device;
    ck_assert_msg(exact ? moved == 100 : moved <= PAGE, "%d bytes went to the device", (int)moved);

    ck_assert_int_eq(gpu_fill(w->streams[0], buf, 9001, 60, 3, NULL), EUM_OK);
    pattern_into(bytes, 9001, 9061, 3);
    cpu_expect(buf, bytes);
    ck_assert_int_eq(eum_buf_explain(buf, &after), EUM_OK);
    moved = after.bytes_to_host - before.bytes_to_host;
    ck_assert_msg(exact ? moved == 60 : moved <= PAGE + 100, "%d bytes came to the host", (int)moved);
    eum_sim_counters counters;
    if (exact && eum_sim_counters_get(w->ctx->device, &counters))
        ck_assert_uint_eq(counters.bytes_copied[EUM_DEVICE_TO_HOST], world_stats(w).bytes_to_host);
}

/* ------------------------------------------------------------------------------------------------------- order ----- */

MOVEMENT_TEST(a_reader_waits_for_the_writer_on_another_stream)
{
    eum_buf *buf = world_buffer(w, LARGE, EUM_ROLE_AUTO), *other = world_buffer(w, LARGE, EUM_ROLE_AUTO),
            *result = world_buffer(w, 8, EUM_ROLE_AUTO), *other_result = world_buffer(w, 8, EUM_ROLE_AUTO);
    for (uint8_t value = 1; value <= 4; value++) {
        ck_assert_int_eq(gpu_fill(w->streams[0], other, 0, LARGE, value, NULL), EUM_OK);
        ck_assert_int_eq(gpu_fill(w->streams[0], buf, 0, LARGE, value, NULL), EUM_OK);
        if (value % 2 == 0) /* a reader in between, on the writer's stream */
            ck_assert_int_eq(gpu_hash(w->streams[0], buf, 0, LARGE, other_result, NULL), EUM_OK);
        ck_assert_int_eq(gpu_hash(w->streams[1], buf, 0, LARGE, result, NULL), EUM_OK);
        pattern_into(expected, 0, LARGE, value);
        expect_hash(result, expected, LARGE);
    }
}

MOVEMENT_TEST(a_writer_waits_for_all_readers)
{
    eum_buf *buf = world_buffer(w, LARGE, EUM_ROLE_AUTO), *result = world_buffer(w, 8, EUM_ROLE_AUTO),
            *other_result = world_buffer(w, 8, EUM_ROLE_AUTO);
    cpu_fill(buf, 0, LARGE, 1);
    ck_assert_int_eq(gpu_mix(w->streams[0], buf, 0, LARGE), EUM_OK); /* on the device: the readers need not move it */
    for (int round = 0; round < 3; round++) {
        ck_assert_int_eq(gpu_hash(w->streams[0], buf, 0, LARGE, result, NULL), EUM_OK);
        ck_assert_int_eq(gpu_hash(w->streams[1], buf, 0, LARGE, other_result, NULL), EUM_OK);
        ck_assert_int_eq(gpu_mix(w->streams[2], buf, 0, LARGE), EUM_OK);
        pattern_into(expected, 0, LARGE, 1);
        for (size_t i = 0; round % 2 == 0 && i < LARGE; i++)
            expected[i] = (uint8_t)~expected[i];
        expect_hash(result, expected, LARGE);
        expect_hash(other_result, expected, LARGE);
    }
}

MOVEMENT_TEST(a_writer_waits_for_the_writer_before_it)
{
    eum_buf *buf = world_buffer(w, LARGE, EUM_ROLE_AUTO);
    for (uint8_t value = 1; value <= 3; value++) {
        ck_assert_int_eq(gpu_fill(w->streams[0], buf, 0, LARGE, value, NULL), EUM_OK);
        ck_assert_int_eq(gpu_fill(w->streams[1], buf, 50, LARGE - 50, (uint8_t)(value + 10), NULL), EUM_OK);
        ck_assert_int_eq(gpu_fill(w->streams[2], buf, 100, LARGE - 100, (uint8_t)(value + 20), NULL), EUM_OK);
        pattern_into(expected, 0, 50, value);
        pattern_into(expected, 50, 100, (uint8_t)(value + 10));
        pattern_into(expected, 100, LARGE, (uint8_t)(value + 20));
        cpu_expect(buf, expected);
    }
}

MOVEMENT_TEST(a_map_waits_for_the_launches_that_use_its_bytes)
{
    eum_buf *result = world_buffer(w, 8, EUM_ROLE_AUTO);
    for (size_t r = 0; r < ROLES; r++) {
        eum_buf *buf = world_buffer(w, LARGE, roles[r]);
        ck_assert_int_eq(gpu_fill(w->streams[0], buf, 0, LARGE, 1, NULL), EUM_OK);
        pattern_into(expected, 0, LARGE, 1);
        cpu_expect(buf, expected);
        ck_assert_int_eq(gpu_hash(w->streams[1], buf, 0, LARGE, result, NULL), EUM_OK);
        cpu_fill(buf, 0, LARGE, 2); /* the reader still runs, or has not begun */
        expect_hash(result, expected, LARGE);
        world_end_buffer(w, buf);
    }
}

MOVEMENT_TEST(a_launch_waits_for_a_prefetch_on_another_stream)
{
    eum_location device = world_is_simulated(w) ? w->ctx->device->caps.index : EUM_LOCATION_HOST;
    eum_buf *buf = world_buffer(w, LARGE, EUM_ROLE_AUTO), *other = world_buffer(w, LARGE, EUM_ROLE_AUTO),
            *result = world_buffer(w, 8, EUM_ROLE_AUTO);
    for (uint8_t value = 1; value <= 4; value++) {
        cpu_fill(buf, 0, LARGE, value);
        pattern_into(expected, 0, LARGE, value);
        ck_assert_int_eq(gpu_fill(w->streams[0], other, 0, LARGE, value, NULL), EUM_OK);
        ck_assert_int_eq(eum_buf_prefetch((eum_range){buf, 0, LARGE}, device, w->streams[0]), EUM_OK);
        ck_assert_int_eq(gpu_hash(w->streams[1], buf, 0, LARGE, result, NULL), EUM_OK);
        expect_hash(result, expected, LARGE);
        ck_assert_int_eq(gpu_fill(w->streams[1], buf, 0, LARGE, value, NULL), EUM_OK);
        ck_assert_int_eq(eum_buf_prefetch((eum_range){buf, 0, LARGE}, EUM_LOCATION_HOST, w->streams[2]), EUM_OK);
        ck_assert_int_eq(gpu_mix(w->streams[0], buf, 0, LARGE), EUM_OK);
        for (size_t i = 0; i < LARGE; i++)
            expected[i] = (uint8_t)~expected[i];
        cpu_expect(buf, expected);
    }
}

MOVEMENT_TEST(a_write_to_duplicated_bytes_waits_for_their_readers)
{
    eum_buf *buf = world_buffer(w, LARGE, EUM_ROLE_AUTO), *result = world_buffer(w, 8, EUM_ROLE_AUTO);
    cpu_fill(buf, 0, LARGE, 1);
    pattern_into(expected, 0, LARGE, 1);
    for (int round = 0; round < 4; round++) {
        ck_assert_int_eq(gpu_hash(w->streams[0], buf, 0, LARGE, result, NULL), EUM_OK);
        cpu_expect(buf, expected); /* both sides have it */
        ck_assert_int_eq(gpu_hash(w->streams[0], buf, 0, LARGE, result, NULL), EUM_OK);
        ck_assert_int_eq(gpu_mix(w->streams[1], buf, PAGE, 100), EUM_OK);
        expect_hash(result, expected, LARGE);
        for (size_t i = PAGE; i < PAGE + 100; i++)
            expected[i] = (uint8_t)~expected[i];
        cpu_expect(buf, expected);
    }
}

/* More uses than a buffer remembers apart. */
MOVEMENT_TEST(a_writer_waits_for_the_first_of_a_hundred_readers)
{
    eum_buf *buf = world_buffer(w, LARGE, EUM_ROLE_AUTO), *result = world_buffer(w, 8, EUM_ROLE_AUTO),
            *other_result = world_buffer(w, 8, EUM_ROLE_AUTO);
    if (!world_is_simulated(w))
        return; /* 100 kernels of milliseconds; the order is the same code */
    cpu_fill(buf, 0, LARGE, 1);
    ck_assert_int_eq(gpu_mix(w->streams[0], buf, 0, LARGE), EUM_OK);
    for (size_t i = 0; i < 100; i++)
        ck_assert_int_eq(gpu_hash(w->streams[i % 2], buf, i * 100, 100, i % 2 == 0 ? result : other_result, NULL), EUM_OK);
    for (size_t i = 0; i < 100; i += 9)
        ck_assert_int_eq(gpu_mix(w->streams[2], buf, i * 100, 100), EUM_OK);
}

MOVEMENT_TEST(a_map_of_managed_memory_without_concurrent_access_waits_for_the_device)
{
    eum_buf *used = world_buffer(w, LARGE, EUM_ROLE_AUTO), *mapped = world_buffer(w, LARGE, EUM_ROLE_AUTO);
    void *address;
    cpu_fill(used, 0, LARGE, 1);
    ck_assert_int_eq(gpu_mix(w->streams[0], used, 0, LARGE), EUM_OK);
    ck_assert_int_eq(eum_buf_map((eum_range){mapped, 0, LARGE}, EUM_ACCESS_OVERWRITE, &address), EUM_OK);
    memset(address, 3, LARGE); /* the simulated device sees this */
    bool refused = world_backing_is(w, EUM_BACKING_MANAGED) && !w->place->concurrent;
    ck_assert_int_eq(gpu_mix(w->streams[0], used, 0, LARGE), refused ? EUM_ERROR_MAPPED : EUM_OK);
    ck_assert_int_eq(eum_buf_unmap(mapped, address), EUM_OK);
    ck_assert_int_eq(gpu_mix(w->streams[0], used, 0, LARGE), EUM_OK);
}

Suite *movement_suite(void)
{
    Suite *suite = suite_create("movement");
    for (int i = 0; i < place_count; i++) { /* a test case a place, named after it */
        TCase *tests = tcase_create(places[i].name);
#define ADD(name) tcase_add_loop_test(tests, name, i, i + 1)
        ADD(results_that_are_overwritten_again_and_again_are_copied_once);
        ADD(a_kernel_reads_what_the_cpu_wrote);
        ADD(what_a_kernel_does_not_overwrite_is_kept);
        ADD(a_write_reaches_the_copy_on_the_other_side);
        ADD(bulk_writes_and_reads_go_to_the_side_that_has_the_bytes);
        ADD(hundreds_of_small_writes_from_both_sides_are_all_seen);
        ADD(reading_again_moves_nothing_and_hints_nothing);
        ADD(overwriting_does_not_move_the_old_bytes);
        ADD(one_row_of_a_large_buffer_moves_alone);
        ADD(a_reader_waits_for_the_writer_on_another_stream);
        ADD(a_writer_waits_for_all_readers);
        ADD(a_writer_waits_for_the_writer_before_it);
        ADD(a_map_waits_for_the_launches_that_use_its_bytes);
        ADD(a_launch_waits_for_a_prefetch_on_another_stream);
        ADD(a_write_to_duplicated_bytes_waits_for_their_readers);
        ADD(a_writer_waits_for_the_first_of_a_hundred_readers);
        ADD(a_map_of_managed_memory_without_concurrent_access_waits_for_the_device);
#undef ADD
        suite_add_tcase(suite, tests);
    }
    return suite;
}
