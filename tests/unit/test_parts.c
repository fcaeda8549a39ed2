/* Buffers that the CPU writes in parts, each of which moves while it writes the next: nobody waits for more than he needs, the copies overlap with the
 * CPU's work, and all parts together count as a rewrite.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "engine.h"

Suite *parts_suite(void);

#define BYTES (16 * MIB)

static const struct {
    const char *device;
    eum_backing backing;
} places[] = {{"sim:hopper", EUM_BACKING_MIRRORED}, {"sim:maxwell", EUM_BACKING_MIRRORED}, {"sim:hopper", EUM_BACKING_MANAGED}};
#define MIRRORED_PLACES 2
#define PLACES ((int)(sizeof places / sizeof places[0]))

/* So that one part is whole pages. */
static eum_view part_of(eum_buffer *buffer, size_t parts, size_t i)
{
    size_t unit = BYTES / parts / (64 * KIB) * (64 * KIB), begin = i * unit;
    return part(buffer, begin, i + 1 == parts ? BYTES - begin : unit);
}

static void to_device(eum_context *context, eum_view view, eum_stream *stream)
{
    OK(eum_buffer_prefetch(view, info_of(context).device_index, stream));
}

/* The CPU fills the parts, and each goes to the device; word k of part i is word_at(seed + i, k). */
static void fill_parts(eum_context *context, eum_buffer *buffer, size_t parts, uint32_t seed)
{
    for (size_t i = 0; i < parts; i++) {
        cpu_fill(part_of(buffer, parts, i), seed + (uint32_t)i);
        to_device(context, part_of(buffer, parts, i), default_stream(context));
    }
}

/* Kernels that fail unless each part is as it was filled; the first one can be held up. */
static eum_job expect_parts(eum_context *context, eum_buffer *buffer, size_t parts, uint32_t seed, gate *held)
{
    eum_job job = {NULL, 0, 0};
    for (size_t first = 0; first < parts; first += 64) {
        eum_argument arguments[64];
        const work expects = {.kind = WORK_EXPECT, .value = seed + (uint32_t)first, .gate = first == 0 ? held : NULL};
        size_t count = parts - first < 64 ? parts - first : 64;
        for (size_t i = 0; i < count; i++)
            arguments[i] = reads(part_of(buffer, parts, first + i));
        OK(try_launch(default_stream(context), &expects, arguments, count, &job));
    }
    return job;
}

static eum_buf *buf_of(eum_buffer *buffer)
{
    eum_buf *buf = NULL;
    OK(eum_pin_buffer(buffer, &buf));
    eum_handle_unpin(buffer);
    return buf;
}

/* ------------------------------------------------------------------------------------------------- who waits ------- */

static const size_t counts[] = {8, 32, 100};
#define COUNTS ((int)(sizeof counts / sizeof counts[0]))

/* The copies of all parts stand behind a kernel that does not end: whoever waits for one of them hangs. */
START_TEST(the_next_part_does_not_wait_for_the_copy_of_the_one_before)
{
    size_t parts = counts[_i % COUNTS];
    gate held = GATE_INIT;
    eum_context *context = open_on(places[_i / COUNTS].device, places[_i / COUNTS].backing);
    eum_buffer *buffer = new_buffer(context, BYTES), *other = new_buffer(context, 64);
    for (uint32_t cycle = 0; cycle < 2; cycle++) {
        fill_parts(context, buffer, parts, 1000 * cycle);
        wait_job(expect_parts(context, buffer, parts, 1000 * cycle, NULL));
    }
    eum_job before = launch1(default_stream(context), (work){.kind = WORK_NOTHING, .gate = &held}, overwrites(whole(other)));
    fill_parts(context, buffer, parts, 5000);
    eum_job job = expect_parts(context, buffer, parts, 5000, NULL);
    ck_assert(!is_done(before));
    open_gate(&held);
    wait_job(job);
    OK(eum_buffer_destroy(buffer));
    OK(eum_buffer_destroy(other));
    close_context(context);
}
END_TEST

START_TEST(a_part_that_is_written_again_waits_for_the_kernel_that_read_it_and_for_nothing_behind_that)
{
    gate reader = GATE_INIT, behind = GATE_INIT;
    eum_context *context = open_on(places[_i].device, places[_i].backing);
    eum_buffer *buffer = new_buffer(context, BYTES), *other = new_buffer(context, 64);
    fill_parts(context, buffer, 8, 1);
    eum_job read = expect_parts(context, buffer, 8, 1, &reader);
    eum_job later = launch1(default_stream(context), (work){.kind = WORK_NOTHING, .gate = &behind}, overwrites(whole(other)));
    await_gate(&reader, 1);
    pending writer = {.view = part_of(buffer, 8, 3), .access = EUM_ACCESS_OVERWRITE};
    start(&writer, call_map);
    assert_waits(&writer);
    open_gate(&reader);
    OK(finish(&writer));
    ck_assert(is_done(read) && !is_done(later));
    unmap(buffer, writer.address);
    open_gate(&behind);
    wait_job(later);
    OK(eum_buffer_destroy(buffer));
    OK(eum_buffer_destroy(other));
    close_context(context);
}
END_TEST

/* -------------------------------------------------------------------------------------------- in virtual time ------ */

/* The CPU takes `fill_ns` for all of it, in so many parts; a kernel reads it once. */
static uint64_t produce(eum_context *context, eum_buffer *buffer, size_t parts, uint64_t fill_ns)
{
    eum_device *device = device_of(context);
    uint64_t start = eum_sim_time(device), copies = eum_sim_calls(device, EUM_SIM_COPY),
             marks = eum_sim_calls(device, EUM_SIM_MARK), orders = eum_sim_calls(device, EUM_SIM_ORDER);
    for (size_t i = 0; i < parts; i++) {
        uint64_t before = eum_sim_time(device);
        eum_view view = part_of(buffer, parts, i);
        void *address = map(view, EUM_ACCESS_OVERWRITE);
        ck_assert_uint_eq(eum_sim_time(device), before); /* it waits for nothing */
        eum_sim_time_advance(device, fill_ns / parts);
        unmap(buffer, address);
        if (parts > 1)
            to_device(context, view, default_stream(context));
    }
    const work nothing = {.kind = WORK_NOTHING};
    eum_argument once = reads(whole(buffer));
    eum_job job;
    once.flags = EUM_ARGUMENT_ONCE;
    OK(try_launch(default_stream(context), &nothing, &once, 1, &job));
    wait_job(job);
    if (parts > 1) { /* nothing beside what each part needs */
        ck_assert_uint_eq(eum_sim_calls(device, EUM_SIM_COPY) - copies, parts);
        ck_assert_uint_eq(eum_sim_calls(device, EUM_SIM_MARK) - marks, parts + 1);
        ck_assert_uint_eq(eum_sim_calls(device, EUM_SIM_ORDER) - orders, 0);
    }
    return eum_sim_time(device) - start;
}

START_TEST(copies_of_parts_take_no_time_but_the_last)
{
    char device[64];
    snprintf(device, sizeof device, "%s,schedule=step", places[_i].device);
    eum_context *context = open_on(device, places[_i].backing);
    eum_buffer *buffer = new_buffer(context, BYTES), *at_once = new_buffer(context, BYTES);
    const eum_costs *costs = &device_of(context)->caps.costs;
    const size_t parts = 8;
    const uint64_t copy = eum_cost_copy(costs, BYTES / parts), kernel = eum_cost_kernel(costs, BYTES, 0);
    const uint64_t fast = parts * copy / 2, slow = parts * copy * 2;
    for (int cycle = 0; cycle < 6; cycle++) {
        uint64_t slowly = produce(context, buffer, parts, slow), as_one = produce(context, at_once, 1, slow);
        ck_assert_msg(slowly <= slow + copy + kernel + 10, "cycle %d: %llu ns", cycle, (unsigned long long)slowly);
        ck_assert_uint_ge(as_one, slow + kernel + eum_cost_in_place(costs, BYTES));
        uint64_t quickly = produce(context, buffer, parts, fast); /* now the link is the slower one */
        ck_assert_msg(quickly <= parts * copy + fast / parts + kernel + 10, "cycle %d: %llu ns", cycle,
                      (unsigned long long)quickly);
    }
    ck_assert_int_eq(explain(buffer).last_movement, EUM_MOVEMENT_NONE); /* the kernels found everything there */
    OK(eum_buffer_destroy(buffer));
    OK(eum_buffer_destroy(at_once));
    close_context(context);
}
END_TEST

/* Copies on both sides would have to collapse before each part is written again. */
START_TEST(parts_of_managed_memory_move)
{
    eum_context *context = open_on(places[_i].device, places[_i].backing);
    eum_buffer *buffer = new_buffer(context, BYTES);
    for (uint32_t cycle = 0; cycle < 3; cycle++) {
        fill_parts(context, buffer, 8, cycle);
        wait_job(expect_parts(context, buffer, 8, cycle, NULL));
    }
    ck_assert_uint_eq(stats_of(context).hints_applied, 0);
    ck_assert_uint_eq(explain(buffer).bytes_on_host, 0);
    ck_assert_uint_eq(explain(buffer).bytes_to_device, 3 * BYTES);
    ck_assert_uint_eq(explain(buffer).bytes_to_host, 0);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

/* ------------------------------------------------------------------------------------------------- what counts ----- */

static void use_once(eum_context *context, eum_view view)
{
    const work nothing = {.kind = WORK_NOTHING};
    eum_argument once = reads(view);
    eum_job job;
    once.flags = EUM_ARGUMENT_ONCE;
    OK(try_launch(default_stream(context), &nothing, &once, 1, &job));
    wait_job(job);
}

START_TEST(parts_that_make_most_of_it_are_a_rewrite)
{
    eum_context *context = open_on(places[_i].device, places[_i].backing);
    eum_buffer *buffer = new_buffer(context, BYTES);
    const uint64_t far = eum_cost_in_place(&device_of(context)->caps.costs, BYTES);
    const eum_stay *stay = &buf_of(buffer)->stay;
    for (size_t parts = 1; parts <= 64; parts *= 4) {
        for (uint64_t uses = 1; uses <= 3; uses++) {
            fill_parts(context, buffer, parts, 1);
            for (uint64_t use = 0; use < uses; use++)
                use_once(context, whole(buffer));
            fill_parts(context, buffer, parts, 2);
            ck_assert_uint_eq(stay->last_ns, uses * far);
            ck_assert_uint_eq(stay->used_ns, 0);
        }
    }
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(the_same_part_again_and_again_is_none)
{
    eum_context *context = open_on(places[_i].device, places[_i].backing);
    eum_buffer *buffer = new_buffer(context, BYTES);
    const eum_stay *stay = &buf_of(buffer)->stay;
    fill_parts(context, buffer, 1, 1);
    use_once(context, whole(buffer));
    for (uint32_t i = 0; i < 20; i++) {
        cpu_fill(part_of(buffer, 8, 5), i);
        unmap(buffer, map(whole(buffer), EUM_ACCESS_READ)); /* looks count for nothing either */
    }
    ck_assert_uint_eq(stay->last_ns, 0);
    ck_assert_uint_gt(stay->used_ns, 0);
    for (size_t i = 8; i-- > 3;) /* from the end: with the one that was written before, more than half */
        cpu_fill(part_of(buffer, 8, i), 1);
    ck_assert_uint_gt(stay->last_ns, 0);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

/* Each part is written and used by itself, all around. */
START_TEST(parts_that_are_used_one_by_one_make_a_rewrite_when_all_have_had_their_turn)
{
    eum_context *context = open_on(places[_i].device, places[_i].backing);
    eum_buffer *buffer = new_buffer(context, BYTES);
    const uint64_t far = eum_cost_in_place(&device_of(context)->caps.costs, BYTES);
    const eum_stay *stay = &buf_of(buffer)->stay;
    for (uint32_t turn = 0; turn < 4; turn++) {
        for (size_t i = 0; i < 8; i++) {
            cpu_fill(part_of(buffer, 8, i), turn);
            use_once(context, part_of(buffer, 8, i));
        }
        if (turn > 1) {
            ck_assert_uint_gt(stay->last_ns, far / 2);
            ck_assert_uint_lt(stay->last_ns, far * 3 / 2);
        }
    }
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

static void count_warnings(void *user, eum_log_level level, const char *message)
{
    if (level == EUM_LOG_ERROR)
        hear_errors(NULL, level, message);
    *(int *)user += level == EUM_LOG_WARN;
}

START_TEST(targets_that_are_rewritten_in_parts_contradict_their_role_as_those_that_are_rewritten_at_once)
{
    for (size_t parts = 1; parts <= 16; parts *= 4) {
        int warnings = 0;
        eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
        config.device = places[_i].device;
        config.backing = places[_i].backing;
        config.worker_threads = 2;
        config.log_fn = count_warnings;
        config.log_user = &warnings;
        config.log_level = EUM_LOG_WARN;
        eum_context *context = open_with(&config);
        eum_buffer *targets = new_buffer_as(context, BYTES, EUM_ROLE_TARGETS);
        for (uint32_t cycle = 0; cycle <= EUM_CONTRADICTION_CYCLES; cycle++) {
            ck_assert_int_eq(warnings, 0);
            fill_parts(context, targets, parts, cycle);
            wait_job(expect_parts(context, targets, parts, cycle, NULL));
        }
        ck_assert_int_eq(warnings, 1);
        ck_assert_int_eq(explain(targets).contradiction, EUM_CONTRADICTION_TARGETS_REWRITTEN);
        for (uint32_t cycle = 0; cycle <= EUM_CONTRADICTION_CYCLES; cycle++) { /* and those that are used twice do not */
            fill_parts(context, targets, parts, cycle);
            wait_job(expect_parts(context, targets, parts, cycle, NULL));
            wait_job(expect_parts(context, targets, parts, cycle, NULL));
        }
        ck_assert_int_eq(explain(targets).contradiction, EUM_CONTRADICTION_NONE);
        OK(eum_buffer_destroy(targets));
        close_context(context);
    }
}
END_TEST

Suite *parts_suite(void)
{
    Suite *suite = suite_create("parts");
    TCase *tests = tcase_create("parts");
    tcase_set_timeout(tests, 20);
    tcase_add_loop_test(tests, the_next_part_does_not_wait_for_the_copy_of_the_one_before, 0, PLACES * COUNTS);
    tcase_add_loop_test(tests, a_part_that_is_written_again_waits_for_the_kernel_that_read_it_and_for_nothing_behind_that, 0,
                        PLACES);
    tcase_add_loop_test(tests, copies_of_parts_take_no_time_but_the_last, 0, MIRRORED_PLACES);
    tcase_add_loop_test(tests, parts_of_managed_memory_move, MIRRORED_PLACES, PLACES);
    tcase_add_loop_test(tests, parts_that_make_most_of_it_are_a_rewrite, 0, PLACES);
    tcase_add_loop_test(tests, the_same_part_again_and_again_is_none, 0, PLACES);
    tcase_add_loop_test(tests, parts_that_are_used_one_by_one_make_a_rewrite_when_all_have_had_their_turn, 0, PLACES);
    tcase_add_loop_test(tests, targets_that_are_rewritten_in_parts_contradict_their_role_as_those_that_are_rewritten_at_once, 0,
                        PLACES);
    suite_add_tcase(suite, tests);
    return suite;
}
