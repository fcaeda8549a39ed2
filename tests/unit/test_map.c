/* Maps: the CPU's turn on a view. Whom they wait for, what they keep away, and which bytes they bring.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "engine.h"

Suite *map_suite(void);

/* Far enough apart that no page and no block is shared. */
#define FAR (4 * MIB)

static void assert_map_waits(eum_view view, eum_access access, gate *g)
{
    pending p = {.view = view, .access = access};
    start(&p, call_map);
    assert_waits(&p);
    open_gate(g);
    OK(finish(&p));
    unmap(view.buffer, p.address);
}

START_TEST(the_address_of_a_byte_is_the_same_at_every_map)
{
    eum_context *context = open_context();
    eum_buffer *buffer = new_buffer(context, 3 * MIB);
    char *base = map(whole(buffer), EUM_ACCESS_OVERWRITE);
    memset(base, 0, 3 * MIB);
    ck_assert_uint_eq((uintptr_t)base % 64, 0);
    unmap(buffer, base);
    gpu_fill(default_stream(context), whole(buffer), 1);
    for (size_t offset = 0; offset < 3 * MIB; offset += 700001) {
        char *address = map(part(buffer, offset, 1000), offset % 2 == 0 ? EUM_ACCESS_READ : EUM_ACCESS_READ_WRITE);
        ck_assert_ptr_eq(address, base + offset);
        unmap(buffer, address);
    }
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(map_waits_for_the_launch_that_writes_what_it_reads)
{
    eum_context *context = open_context();
    eum_buffer *buffer = new_buffer(context, 300 * KIB);
    gate g = GATE_INIT;
    launch1(default_stream(context), (work){.kind = WORK_FILL, .value = 5, .gate = &g}, overwrites(whole(buffer)));
    await_gate(&g, 1);
    assert_map_waits(whole(buffer), EUM_ACCESS_READ, &g);
    cpu_expect(whole(buffer), 5);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(map_for_writing_waits_for_the_launch_that_reads)
{
    for (eum_access access = EUM_ACCESS_READ_WRITE; access <= EUM_ACCESS_OVERWRITE; access++) {
        eum_context *context = open_context();
        eum_buffer *buffer = new_buffer(context, 300 * KIB);
        gate g = GATE_INIT;
        cpu_fill(whole(buffer), 6);
        eum_job job = launch1(default_stream(context), (work){.kind = WORK_EXPECT, .value = 6, .gate = &g}, reads(whole(buffer)));
        await_gate(&g, 1);
        assert_map_waits(whole(buffer), access, &g);
        wait_job(job);
        OK(eum_buffer_destroy(buffer));
        close_context(context);
    }
}
END_TEST

START_TEST(map_for_reading_does_not_wait_for_a_launch_that_reads)
{
    eum_context *context = open_context();
    eum_buffer *buffer = new_buffer(context, 300 * KIB);
    gate g = GATE_INIT;
    cpu_fill(whole(buffer), 7);
    eum_job job = launch1(default_stream(context), (work){.kind = WORK_EXPECT, .value = 7, .gate = &g}, reads(whole(buffer)));
    await_gate(&g, 1);
    cpu_expect(whole(buffer), 7); /* hangs if it waits */
    open_gate(&g);
    wait_job(job);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(map_for_reading_does_not_wait_for_readers_of_what_a_launch_wrote)
{
    eum_context *context = open_context();
    eum_buffer *buffer = new_buffer(context, 300 * KIB);
    gate g = GATE_INIT;
    gpu_fill(default_stream(context), whole(buffer), 8);
    eum_job job = launch1(default_stream(context), (work){.kind = WORK_EXPECT, .value = 8, .gate = &g}, reads(whole(buffer)));
    await_gate(&g, 1);
    cpu_expect(whole(buffer), 8);
    open_gate(&g);
    wait_job(job);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(map_does_not_wait_for_launches_on_other_buffers)
{
    eum_context *context = open_context();
    eum_buffer *busy = new_buffer(context, 100 * KIB), *idle = new_buffer(context, 100 * KIB);
    gate g = GATE_INIT;
    eum_job job = launch1(default_stream(context), (work){.kind = WORK_FILL, .gate = &g}, overwrites(whole(busy)));
    await_gate(&g, 1);
    cpu_fill(whole(idle), 1);
    cpu_expect(whole(idle), 1);
    open_gate(&g);
    wait_job(job);
    OK(eum_buffer_destroy(busy));
    OK(eum_buffer_destroy(idle));
    close_context(context);
}
END_TEST

START_TEST(map_does_not_wait_for_launches_on_other_parts_of_the_buffer)
{
    eum_context *context = open_context();
    eum_buffer *buffer = new_buffer(context, 2 * FAR);
    gate g = GATE_INIT;
    cpu_fill(part(buffer, FAR, 100 * KIB), 3);
    eum_job job = launch1(default_stream(context), (work){.kind = WORK_FILL, .gate = &g}, overwrites(part(buffer, 0, 100 * KIB)));
    await_gate(&g, 1);
    cpu_expect(part(buffer, FAR, 100 * KIB), 3);
    cpu_fill(part(buffer, FAR, 100 * KIB), 4);
    open_gate(&g);
    wait_job(job);
    cpu_expect(part(buffer, FAR, 100 * KIB), 4);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(a_launch_that_conflicts_with_a_live_map_is_refused_and_others_are_not)
{
    static const struct {
        eum_access map, launch;
        bool refused;
    } cases[] = {
        {EUM_ACCESS_READ, EUM_ACCESS_READ, false},
        {EUM_ACCESS_READ, EUM_ACCESS_READ_WRITE, true},
        {EUM_ACCESS_READ, EUM_ACCESS_OVERWRITE, true},
        {EUM_ACCESS_READ_WRITE, EUM_ACCESS_READ, true},
        {EUM_ACCESS_READ_WRITE, EUM_ACCESS_READ_WRITE, true},
        {EUM_ACCESS_OVERWRITE, EUM_ACCESS_READ, true},
        {EUM_ACCESS_OVERWRITE, EUM_ACCESS_OVERWRITE, true},
    };
    eum_context *context = open_context();
    eum_stream *stream = default_stream(context);
    eum_buffer *buffer = new_buffer(context, 2 * FAR);
    cpu_fill(whole(buffer), 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *address = map(part(buffer, 4 * KIB, 4 * KIB), cases[i].map);
        eum_argument argument = {part(buffer, 8 * KIB - 4, 4 * KIB), cases[i].launch, 0};
        GIVES(cases[i].refused ? EUM_ERROR_MAPPED : EUM_OK, try_launch1(stream, (work){WORK_NOTHING, 0, NULL, 0, NULL}, argument));
        argument.view = part(buffer, 8 * KIB, 4 * KIB);
        OK(try_launch1(stream, (work){WORK_NOTHING, 0, NULL, 0, NULL}, argument));
        argument.view = part(buffer, FAR, 4 * KIB);
        OK(try_launch1(stream, (work){WORK_NOTHING, 0, NULL, 0, NULL}, argument));
        OK(eum_stream_synchronize(stream));
        unmap(buffer, address);
        argument.view = part(buffer, 8 * KIB - 4, 4 * KIB);
        OK(try_launch1(stream, (work){WORK_NOTHING, 0, NULL, 0, NULL}, argument));
        OK(eum_stream_synchronize(stream));
    }
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(maps_overlap_when_all_of_them_read)
{
    eum_context *context = open_context();
    eum_buffer *buffer = new_buffer(context, 100 * KIB);
    cpu_fill(whole(buffer), 2);
    void *first = map(part(buffer, 0, 60 * KIB), EUM_ACCESS_READ), *second = map(part(buffer, 30 * KIB, 60 * KIB), EUM_ACCESS_READ);
    void *third = NULL;
    GIVES(EUM_ERROR_MAPPED, eum_buffer_map(part(buffer, 0, 4), EUM_ACCESS_READ_WRITE, &third));
    GIVES(EUM_ERROR_MAPPED, eum_buffer_map(part(buffer, 89 * KIB, 8 * KIB), EUM_ACCESS_OVERWRITE, &third));
    ck_assert_ptr_null(third);
    third = map(part(buffer, 90 * KIB, 10 * KIB), EUM_ACCESS_OVERWRITE);
    memset(third, 0, 10 * KIB);
    ck_assert_uint_eq(stats_of(context).maps_live, 3);
    unmap(buffer, second);
    unmap(buffer, first);
    unmap(buffer, third);
    GIVES(EUM_ERROR_NOT_MAPPED, eum_buffer_unmap(buffer, third));
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(unmap_ends_the_newest_map_of_an_address)
{
    eum_context *context = open_context();
    eum_buffer *buffer = new_buffer(context, 100 * KIB);
    cpu_fill(whole(buffer), 2);
    void *large = map(whole(buffer), EUM_ACCESS_READ), *small = map(part(buffer, 0, 4 * KIB), EUM_ACCESS_READ), *out;
    ck_assert_ptr_eq(large, small);
    unmap(buffer, small);
    GIVES(EUM_ERROR_MAPPED, eum_buffer_map(part(buffer, 50 * KIB, 4), EUM_ACCESS_READ_WRITE, &out)); /* the large one lives */
    unmap(buffer, large);
    GIVES(EUM_ERROR_NOT_MAPPED, eum_buffer_unmap(buffer, large));
    GIVES(EUM_ERROR_NOT_MAPPED, eum_buffer_unmap(buffer, NULL));
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(an_unmap_does_not_end_a_map_of_the_same_address_that_is_still_waiting)
{
    eum_context *context = open_context();
    eum_stream *stream = default_stream(context);
    eum_buffer *buffer = new_buffer(context, 2 * FAR);
    gate g = GATE_INIT;
    cpu_fill(whole(buffer), 1);
    void *small = map(part(buffer, 0, 4 * KIB), EUM_ACCESS_READ);
    launch1(stream, (work){.kind = WORK_FILL, .value = 2, .gate = &g}, overwrites(part(buffer, FAR, FAR)));
    await_gate(&g, 1);
    pending p = {.view = whole(buffer), .access = EUM_ACCESS_READ};
    start(&p, call_map);
    assert_waits(&p);
    unmap(buffer, small);
    open_gate(&g);
    OK(finish(&p));
    ck_assert_ptr_eq(p.address, small);
    GIVES(EUM_ERROR_MAPPED, try_launch1(stream, (work){WORK_NOTHING, 0, NULL, 0, NULL}, updates(part(buffer, FAR, 4))));
    unmap(buffer, p.address);
    GIVES(EUM_ERROR_NOT_MAPPED, eum_buffer_unmap(buffer, p.address));
    cpu_expect(part(buffer, FAR, FAR), 2);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(an_overwrite_of_part_of_what_a_launch_wrote_keeps_the_edges)
{
    static const size_t ranges[][2] = {{100, 200},       {100, 64 * KIB}, {64 * KIB, 128 * KIB}, {64 * KIB - 4, 128 * KIB + 8},
                                       {4, 3 * MIB - 8}, {0, 3 * MIB},    {2 * MIB, MIB}};
    eum_context *context = open_context();
    eum_buffer *buffer = new_buffer(context, 3 * MIB);
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        size_t first = ranges[i][0], end = first + ranges[i][1];
        end = end < 3 * MIB ? end : 3 * MIB;
        gpu_fill(default_stream(context), whole(buffer), 9);
        uint32_t *words = map(part(buffer, first, end - first), EUM_ACCESS_OVERWRITE);
        memset(words, 0xA5, end - first);
        unmap(buffer, words);
        words = map(whole(buffer), EUM_ACCESS_READ);
        for (size_t k = 0; k < 3 * MIB / WORD; k++) {
            bool inside = k * WORD >= first && k * WORD < end;
            if (words[k] != (inside ? 0xA5A5A5A5u : word_at(9, k)))
                ck_abort_msg("range %zu, word %zu is %08x", i, k, words[k]);
        }
        unmap(buffer, words);
    }
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(a_partial_read_write_keeps_the_rest)
{
    eum_context *context = open_context();
    eum_buffer *buffer = new_buffer(context, MIB);
    gpu_fill(default_stream(context), whole(buffer), 10);
    uint32_t *words = map(part(buffer, 100 * KIB, 100 * KIB), EUM_ACCESS_READ_WRITE);
    for (size_t i = 0; i < 100 * KIB / WORD; i += 2)
        words[i] += 1;
    unmap(buffer, words);
    wait_job(launch1(default_stream(context), (work){.kind = WORK_ADD, .value = 1}, updates(part(buffer, 150 * KIB, 100 * KIB))));
    words = map(whole(buffer), EUM_ACCESS_READ);
    for (size_t k = 0; k < MIB / WORD; k++) {
        uint32_t expected = word_at(10, k);
        expected += k * WORD >= 100 * KIB && k * WORD < 200 * KIB && k % 2 == 0;
        expected += k * WORD >= 150 * KIB && k * WORD < 250 * KIB;
        if (words[k] != expected)
            ck_abort_msg("word %zu is %08x instead of %08x", k, words[k], expected);
    }
    unmap(buffer, words);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(an_empty_map_has_an_address_and_keeps_nobody_away)
{
    eum_context *context = open_context();
    eum_buffer *buffer = new_buffer(context, 100 * KIB), *empty = new_buffer(context, 0);
    cpu_fill(whole(buffer), 1);
    gpu_expect(default_stream(context), whole(buffer), 1);
    void *inside = map(part(buffer, 50 * KIB, 0), EUM_ACCESS_OVERWRITE), *none = map(whole(empty), EUM_ACCESS_READ_WRITE);
    ck_assert_ptr_nonnull(inside);
    ck_assert_ptr_nonnull(none);
    gpu_fill(default_stream(context), whole(buffer), 2);
    cpu_fill(whole(buffer), 3);
    unmap(buffer, inside);
    unmap(empty, none);
    OK(eum_buffer_destroy(buffer));
    OK(eum_buffer_destroy(empty));
    close_context(context);
}
END_TEST

START_TEST(what_a_failed_job_was_to_write_cannot_be_mapped_until_it_is_overwritten)
{
    eum_context *context = open_context();
    eum_stream *stream = default_stream(context);
    eum_buffer *buffer = new_buffer(context, 200 * KIB);
    cpu_fill(whole(buffer), 1);
    eum_job job = launch1(stream, (work){.kind = WORK_FILL, .value = 2, .code = 5}, overwrites(part(buffer, 50 * KIB, 50 * KIB)));
    GIVES(EUM_ERROR_JOB_FAILED, eum_job_wait(job, -1));
    void *address = NULL;
    GIVES(EUM_ERROR_UNDEFINED_DATA, eum_buffer_map(whole(buffer), EUM_ACCESS_READ, &address));
    GIVES(EUM_ERROR_UNDEFINED_DATA, eum_buffer_map(part(buffer, 99 * KIB, 4 * KIB), EUM_ACCESS_READ_WRITE, &address));
    GIVES(EUM_ERROR_UNDEFINED_DATA, eum_buffer_map(part(buffer, 99 * KIB, 4 * KIB), EUM_ACCESS_READ, &address));
    ck_assert_ptr_null(address);
    ck_assert_uint_eq(stats_of(context).maps_live, 0);
    cpu_expect(part(buffer, 0, 50 * KIB), 1);
    cpu_fill(part(buffer, 50 * KIB, 25 * KIB), 3);
    cpu_expect(part(buffer, 50 * KIB, 25 * KIB), 3);
    GIVES(EUM_ERROR_UNDEFINED_DATA, eum_buffer_map(part(buffer, 50 * KIB, 25 * KIB + 1), EUM_ACCESS_READ, &address));
    cpu_fill(part(buffer, 75 * KIB, 25 * KIB), 4);
    unmap(buffer, map(whole(buffer), EUM_ACCESS_READ_WRITE));
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(a_map_that_waited_for_a_job_that_failed_finds_undefined_data)
{
    for (eum_access access = EUM_ACCESS_READ; access <= EUM_ACCESS_OVERWRITE; access++) {
        eum_context *context = open_context();
        eum_buffer *buffer = new_buffer(context, 200 * KIB);
        gate g = GATE_INIT;
        eum_job job = launch1(default_stream(context), (work){.kind = WORK_FILL, .gate = &g, .code = 5}, overwrites(whole(buffer)));
        await_gate(&g, 1);
        pending p = {.view = part(buffer, 10 * KIB, 10 * KIB), .access = access};
        start(&p, call_map);
        assert_waits(&p);
        open_gate(&g);
        GIVES(access == EUM_ACCESS_OVERWRITE ? EUM_OK : EUM_ERROR_UNDEFINED_DATA, finish(&p));
        if (access == EUM_ACCESS_OVERWRITE)
            unmap(buffer, p.address);
        GIVES(EUM_ERROR_JOB_FAILED, eum_job_wait(job, -1));
        OK(eum_buffer_destroy(buffer));
        close_context(context);
    }
}
END_TEST

/* ------------------------------------------------------------------------------------------------- page sharing ---- */

/* Both parts are in the first 64 KiB, the largest page there is. */
#define PART (16 * KIB)

START_TEST(part_of_a_page_is_written_by_the_cpu_while_a_kernel_reads_another_part)
{
    eum_context *context = open_context();
    eum_buffer *buffer = new_buffer(context, 64 * KIB);
    gate g = GATE_INIT;
    cpu_fill(part(buffer, 0, PART), 1);
    cpu_fill(part(buffer, 2 * PART, PART), 2);
    uint32_t *words = map(part(buffer, 0, PART), EUM_ACCESS_READ_WRITE);
    eum_job job =
        launch1(default_stream(context), (work){.kind = WORK_EXPECT, .value = 2, .gate = &g}, reads(part(buffer, 2 * PART, PART)));
    await_gate(&g, 1);
    fill_words(words, PART / WORD, 3);
    open_gate(&g);
    wait_job(job);
    fill_words(words, PART / WORD, 4);
    unmap(buffer, words);
    gpu_expect(default_stream(context), part(buffer, 0, PART), 4);
    cpu_expect(part(buffer, 2 * PART, PART), 2);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(part_of_a_page_is_read_by_the_cpu_while_a_kernel_writes_another_part)
{
    eum_context *context = open_context();
    eum_buffer *buffer = new_buffer(context, 64 * KIB);
    gate g = GATE_INIT;
    cpu_fill(whole(buffer), 1);
    gpu_expect(default_stream(context), whole(buffer), 1); /* duplicated, where that exists */
    const uint32_t *words = map(part(buffer, 0, PART), EUM_ACCESS_READ);
    eum_job job = launch1(default_stream(context), (work){.kind = WORK_FILL, .value = 2, .gate = &g},
                          overwrites(part(buffer, 2 * PART, PART)));
    await_gate(&g, 1);
    expect_words(words, PART / WORD, 1, 0);
    open_gate(&g);
    wait_job(job);
    expect_words(words, PART / WORD, 1, 0);
    unmap(buffer, (void *)(uintptr_t)words);
    cpu_expect(part(buffer, 2 * PART, PART), 2);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

/* The kernel is there first: the map may wait for it, because the page cannot be in two places, but the kernel must not fault. */
START_TEST(a_map_of_part_of_a_page_leaves_a_running_kernel_on_another_part_alone)
{
    for (eum_access kernel = EUM_ACCESS_READ; kernel <= EUM_ACCESS_OVERWRITE; kernel++) {
        for (eum_access cpu = EUM_ACCESS_READ; cpu <= EUM_ACCESS_OVERWRITE; cpu++) {
            eum_context *context = open_context();
            eum_buffer *buffer = new_buffer(context, 64 * KIB);
            gate g = GATE_INIT;
            cpu_fill(part(buffer, 0, PART), 1);
            cpu_fill(part(buffer, 2 * PART, PART), 2);
            work w = {.kind = kernel == EUM_ACCESS_READ         ? WORK_EXPECT
                              : kernel == EUM_ACCESS_READ_WRITE ? WORK_ADD
                                                                : WORK_FILL,
                      .value = 2,
                      .gate = &g};
            eum_job job = launch1(default_stream(context), w, (eum_argument){part(buffer, 2 * PART, PART), kernel, 0});
            await_gate(&g, 1);
            pending p = {.view = part(buffer, 0, PART), .access = cpu};
            start(&p, call_map);
            sleep_ms(10);
            open_gate(&g);
            OK(finish(&p));
            wait_job(job);
            if (cpu != EUM_ACCESS_OVERWRITE)
                expect_words(p.address, PART / WORD, 1, 0);
            unmap(buffer, p.address);
            cpu_expect_plus(part(buffer, 2 * PART, PART), 2, kernel == EUM_ACCESS_READ_WRITE ? 2 : 0);
            check_device(context);
            OK(eum_buffer_destroy(buffer));
            close_context(context);
        }
    }
}
END_TEST

START_TEST(the_cpu_reads_what_a_running_kernel_writes_only_after_it_and_the_kernel_does_not_fault)
{
    for (eum_role role = EUM_ROLE_AUTO; role <= EUM_ROLE_STREAM; role++) {
        eum_context *context = open_context();
        eum_buffer *buffer = new_buffer_as(context, 3 * MIB, role);
        gate g = GATE_INIT;
        gpu_fill(default_stream(context), whole(buffer), 1);
        eum_job job = launch1(default_stream(context), (work){.kind = WORK_ADD, .value = 1, .gate = &g}, updates(whole(buffer)));
        await_gate(&g, 1);
        pending p = {.view = whole(buffer), .access = EUM_ACCESS_READ};
        start(&p, call_map);
        assert_waits(&p);
        open_gate(&g);
        OK(finish(&p));
        expect_words(p.address, 3 * MIB / WORD, 1, 1);
        unmap(buffer, p.address);
        wait_job(job);
        OK(eum_buffer_destroy(buffer));
        close_context(context);
    }
}
END_TEST

static int32_t map_in_kernel(const eum_kernel_call *call)
{
    eum_buffer *other = call->user;
    void *address = NULL;
    if (eum_buffer_map(whole(other), EUM_ACCESS_READ, &address) != EUM_ERROR_IN_CALLBACK)
        return 1;
    if (eum_buffer_read(part(other, 0, 4), &address) != EUM_ERROR_IN_CALLBACK)
        return 2;
    return eum_buffer_write(part(other, 0, 4), &address) != EUM_ERROR_IN_CALLBACK ? 3 : 0;
}

START_TEST(a_map_from_inside_a_kernel_callback_is_an_error)
{
    eum_context *context = open_context();
    eum_buffer *buffer = new_buffer(context, 4 * KIB);
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.cpu = map_in_kernel;
    config.user = buffer;
    eum_job job;
    OK(eum_launch(default_stream(context), &config, &job));
    wait_job(job);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(destroying_a_mapped_buffer_ends_its_maps)
{
    eum_context *context = open_context();
    eum_buffer *buffer = new_buffer(context, 4 * KIB);
    void *address = map(whole(buffer), EUM_ACCESS_OVERWRITE);
    ck_assert_uint_eq(stats_of(context).maps_live, 1);
    OK(eum_buffer_destroy(buffer));
    ck_assert_uint_eq(stats_of(context).maps_live, 0);
    GIVES(EUM_ERROR_INVALID_HANDLE, eum_buffer_unmap(buffer, address));
    close_context(context);
}
END_TEST

Suite *map_suite(void)
{
    Suite *suite = suite_create("map");
    TCase *tests = tcase_create("map");
    if (!runs_cpu_kernels())
        return suite;
    tcase_add_test(tests, the_address_of_a_byte_is_the_same_at_every_map);
    tcase_add_test(tests, map_waits_for_the_launch_that_writes_what_it_reads);
    tcase_add_test(tests, map_for_writing_waits_for_the_launch_that_reads);
    tcase_add_test(tests, maps_overlap_when_all_of_them_read);
    tcase_add_test(tests, unmap_ends_the_newest_map_of_an_address);
    tcase_add_test(tests, an_overwrite_of_part_of_what_a_launch_wrote_keeps_the_edges);
    tcase_add_test(tests, a_partial_read_write_keeps_the_rest);
    tcase_add_test(tests, an_empty_map_has_an_address_and_keeps_nobody_away);
    tcase_add_test(tests, what_a_failed_job_was_to_write_cannot_be_mapped_until_it_is_overwritten);
    tcase_add_test(tests, a_map_that_waited_for_a_job_that_failed_finds_undefined_data);
    tcase_add_test(tests, a_map_of_part_of_a_page_leaves_a_running_kernel_on_another_part_alone);
    tcase_add_test(tests, the_cpu_reads_what_a_running_kernel_writes_only_after_it_and_the_kernel_does_not_fault);
    tcase_add_test(tests, a_map_from_inside_a_kernel_callback_is_an_error);
    tcase_add_test(tests, destroying_a_mapped_buffer_ends_its_maps);
    if (!takes_turns()) {
        tcase_add_test(tests, an_unmap_does_not_end_a_map_of_the_same_address_that_is_still_waiting);
        tcase_add_test(tests, map_for_reading_does_not_wait_for_a_launch_that_reads);
        tcase_add_test(tests, map_for_reading_does_not_wait_for_readers_of_what_a_launch_wrote);
        tcase_add_test(tests, map_does_not_wait_for_launches_on_other_buffers);
        tcase_add_test(tests, map_does_not_wait_for_launches_on_other_parts_of_the_buffer);
        tcase_add_test(tests, a_launch_that_conflicts_with_a_live_map_is_refused_and_others_are_not);
        tcase_add_test(tests, part_of_a_page_is_written_by_the_cpu_while_a_kernel_reads_another_part);
        tcase_add_test(tests, part_of_a_page_is_read_by_the_cpu_while_a_kernel_writes_another_part);
    }
    suite_add_tcase(suite, tests);
    return suite;
}
