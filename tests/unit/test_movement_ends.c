/* What movement has to do with maps and acquisitions, with failures, and with the end and the room of buffers: on every kind of device and backing
 * and in several schedules.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "movement_fixture.h"

Suite *movement_ends_suite(void);

/* ------------------------------------------------------------------------------------------ maps, acquisitions ----- */

MOVEMENT_TEST(a_live_map_refuses_conflicting_launches_and_no_others)
{
    eum_buf *buf = world_buffer(w, LARGE, EUM_ROLE_AUTO), *result = world_buffer(w, 8, EUM_ROLE_AUTO);
    bool none = world_backing_is(w, EUM_BACKING_MANAGED) && !w->place->concurrent;
    void *address;
    cpu_fill(buf, 0, LARGE, 1);
    ck_assert_int_eq(eum_buf_map((eum_range){buf, 0, LARGE}, EUM_ACCESS_READ, &address), EUM_OK);
    ck_assert_int_eq(gpu_mix(w->streams[0], buf, 100, 8), EUM_ERROR_MAPPED);
    ck_assert_int_eq(gpu_hash(w->streams[0], buf, 0, LARGE, result, NULL), none ? EUM_ERROR_MAPPED : EUM_OK);
    ck_assert_int_eq(eum_buf_unmap(buf, address), EUM_OK);
    ck_assert_int_eq(eum_buf_map((eum_range){buf, 50, 50}, EUM_ACCESS_READ_WRITE, &address), EUM_OK);
    ck_assert_int_eq(gpu_hash(w->streams[0], buf, 0, LARGE, result, NULL), EUM_ERROR_MAPPED);
    ck_assert_int_eq(eum_buf_unmap(buf, address), EUM_OK);
    ck_assert_int_eq(eum_buf_unmap(buf, address), EUM_ERROR_NOT_MAPPED);
    ck_assert_int_eq(gpu_mix(w->streams[0], buf, 0, LARGE), EUM_OK);
}

MOVEMENT_TEST(a_page_that_the_cpu_has_mapped_stays_with_it)
{
    eum_buf *buf = world_buffer(w, LARGE, EUM_ROLE_AUTO);
    if (world_backing_is(w, EUM_BACKING_MANAGED) && !w->place->concurrent)
        return; /* such launches are refused */
    uint8_t *mapped;
    cpu_fill(buf, 0, LARGE, 1);
    pattern_into(expected, 0, LARGE, 1);
    ck_assert_int_eq(eum_buf_map((eum_range){buf, 0, 1000}, EUM_ACCESS_READ_WRITE, (void **)&mapped), EUM_OK);
    ck_assert_int_eq(gpu_fill(w->streams[0], buf, 2000, 1000, 2, NULL), EUM_OK);
    pattern_into(expected, 2000, 3000, 2);
    eum_sim_host_access(w->ctx->device, mapped, 1000, true); /* this moment, while the kernel may run */
    memset(mapped, 9, 1000);
    memset(expected, 9, 1000);
    ck_assert_int_eq(eum_strm_synchronize(w->streams[0]), EUM_OK);
    memset(mapped, 8, 500);
    memset(expected, 8, 500);
    ck_assert_int_eq(eum_buf_unmap(buf, mapped), EUM_OK);
    cpu_expect(buf, expected);
}

static int32_t fives(const eum_kernel_call *call)
{
    memset(call->addresses[0], 5, call->bytes[0]);
    return 0;
}

static atomic_int tasks_finished;
static void finish_outside(eum_task *task, eum_status status, int32_t code)
{
    (void)task;
    ck_assert_int_eq(status, EUM_OK);
    ck_assert_int_eq(code, 0);
    atomic_fetch_add(&tasks_finished, 1);
}

MOVEMENT_TEST(after_a_release_uses_wait_for_the_work_outside)
{
    static const eum_access access = EUM_ACCESS_OVERWRITE;
    eum_buf *buf = world_buffer(w, LARGE, EUM_ROLE_AUTO);
    eum_range range = {buf, 0, LARGE};
    void *address, *mapped;
    cpu_fill(buf, 0, LARGE, 1);
    ck_assert_int_eq(eum_engine_acquire(w->streams[0], &range, &access, 1, &address), EUM_OK);
    ck_assert_int_eq(eum_buf_map(range, EUM_ACCESS_READ, &mapped), EUM_ERROR_MAPPED);
    ck_assert_int_eq(gpu_mix(w->streams[1], buf, 0, 8), EUM_ERROR_MAPPED);

    size_t bytes = LARGE;
    void *addresses[1] = {address};
    eum_task task = {.cpu = fives, .accesses = &access, .finish = finish_outside};
    task.call = (eum_kernel_call){.struct_size = sizeof(eum_kernel_call), .count = 1, .addresses = addresses, .bytes = &bytes};
    ck_assert_int_eq(w->ctx->device->ops->submit(w->streams[0]->device_stream, &task), EUM_OK);
    ck_assert_int_eq(eum_engine_release(w->streams[0], &range, &access, 1, NULL), EUM_OK);
    memset(expected, 5, LARGE);
    cpu_expect(buf, expected);
    ck_assert_int_eq(gpu_mix(w->streams[1], buf, 0, 8), EUM_OK);
    ck_assert_int_eq(eum_strm_synchronize(w->streams[0]), EUM_OK);
}

MOVEMENT_TEST(advice_that_collapses_copies_is_remembered)
{
    eum_buf *buf = world_buffer(w, LARGE, EUM_ROLE_AUTO), *result = world_buffer(w, 8, EUM_ROLE_AUTO);
    eum_range range = {buf, 0, LARGE};
    cpu_fill(buf, 0, LARGE, 1);
    pattern_into(expected, 0, LARGE, 1);
    ck_assert_int_eq(gpu_hash(w->streams[0], buf, 0, LARGE, result, NULL), EUM_OK);
    ck_assert_int_eq(eum_buf_advise(range, EUM_ADVICE_UNSET_READ_MOSTLY, EUM_LOCATION_HOST, NULL), EUM_OK);
    ck_assert_int_eq(gpu_hash(w->streams[1], buf, 0, LARGE, result, NULL), EUM_OK);
    expect_hash(result, expected, LARGE);
    cpu_expect(buf, expected);
}

/* ------------------------------------------------------------------------------------------------------ failures --- */

MOVEMENT_TEST(what_a_failed_job_was_to_write_is_undefined_until_it_is_written_again)
{
    eum_buf *buf = world_buffer(w, LARGE, EUM_ROLE_AUTO), *result = world_buffer(w, 8, EUM_ROLE_AUTO);
    void *mapped;
    uint8_t byte;
    eum_job job;
    cpu_fill(buf, 0, LARGE, 1);
    pattern_into(expected, 0, LARGE, 1);
    ck_assert_int_eq(gpu_fails(w->streams[0], buf, 100, PAGE, &job), EUM_OK);
    ck_assert_int_eq(eum_ctx_job_wait(w->ctx, job.stream, job.sequence, -1), EUM_ERROR_JOB_FAILED);
    ck_assert_int_eq(eum_buf_map((eum_range){buf, 0, LARGE}, EUM_ACCESS_READ, &mapped), EUM_ERROR_UNDEFINED_DATA);
    ck_assert_int_eq(eum_buf_read((eum_range){buf, 100, 1}, &byte), EUM_ERROR_UNDEFINED_DATA);
    ck_assert_int_eq(gpu_hash(w->streams[1], buf, 0, LARGE, result, NULL), EUM_ERROR_UNDEFINED_DATA);
    ck_assert_int_eq(eum_buf_read((eum_range){buf, 99, 1}, &byte), EUM_OK);
    ck_assert_uint_eq(byte, expected[99]);
    ck_assert_int_eq(gpu_fill(w->streams[1], buf, 100, PAGE, 2, NULL), EUM_OK);
    pattern_into(expected, 100, PAGE + 100, 2);
    cpu_expect(buf, expected);
}

MOVEMENT_TEST(a_job_that_reads_what_a_failed_one_was_to_write_fails_too)
{
    eum_buf *buf = world_buffer(w, LARGE, EUM_ROLE_AUTO), *result = world_buffer(w, 8, EUM_ROLE_AUTO);
    eum_job first, second;
    uint64_t hash;
    ck_assert_int_eq(gpu_fails(w->streams[0], buf, 0, LARGE, &first), EUM_OK);
    eum_status status = gpu_hash(w->streams[1], buf, 0, LARGE, result, &second); /* the first may have failed by now */
    ck_assert(status == EUM_OK || status == EUM_ERROR_UNDEFINED_DATA);
    ck_assert_int_eq(eum_ctx_job_wait(w->ctx, first.stream, first.sequence, -1), EUM_ERROR_JOB_FAILED);
    if (status != EUM_OK)
        return;
    ck_assert_int_eq(eum_ctx_job_wait(w->ctx, second.stream, second.sequence, -1), EUM_ERROR_JOB_FAILED);
    ck_assert_int_eq(eum_buf_read((eum_range){result, 0, 8}, &hash), EUM_ERROR_UNDEFINED_DATA);
}

MOVEMENT_TEST(a_movement_that_fails_leaves_every_buffer_with_its_bytes)
{
    static const eum_sim_operation operations[] = {EUM_SIM_PREFETCH, EUM_SIM_COPY, EUM_SIM_ADVISE, EUM_SIM_ORDER, EUM_SIM_ALLOC};
    eum_buf *read = world_buffer(w, LARGE, EUM_ROLE_AUTO), *result = world_buffer(w, 8 + PAGE, EUM_ROLE_AUTO);
    eum_range ranges[2] = {{result, 0, 8 + PAGE}, {read, 0, LARGE}};
    eum_access accesses[2] = {EUM_ACCESS_OVERWRITE, EUM_ACCESS_READ};
    w->may_fault = true;
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
        for (uint64_t nth = 1; nth <= 3; nth++) {
            cpu_fill(read, 0, LARGE, 1);
            cpu_fill(result, 0, 8 + PAGE, 2);
            eum_sim_fail(w->ctx->device, operations[i], nth);
            eum_launch_request request = {.cpu = fives, .ranges = ranges, .accesses = accesses, .count = 2};
            eum_status status = eum_engine_launch(w->streams[0], &request, NULL);
            eum_sim_fail(w->ctx->device, operations[i], 0);
            if (status == EUM_OK)
                memset(expected, 5, 8 + PAGE);
            else
                pattern_into(expected, 0, 8 + PAGE, 2);
            cpu_expect(result, expected);
            pattern_into(expected, 0, LARGE, 1);
            cpu_expect(read, expected);
        }
    }
}

/* --------------------------------------------------------------------------------------- ownership and memory ------ */

static void note_release(void *user, void *address, size_t bytes)
{
    (void)address;
    (void)bytes;
    *(int *)user = atomic_load(&tasks_finished);
}

static int32_t counted_sum(const eum_kernel_call *call)
{
    int32_t code = 0;
    for (int round = 0; round < 10; round++)
        code |= hash_of(call->addresses[0], call->bytes[0]) == 0;
    atomic_fetch_add(&tasks_finished, 1);
    return code;
}

MOVEMENT_TEST(wrapped_memory_is_released_after_the_jobs_that_use_it)
{
    uint8_t *memory = malloc(LARGE);
    int finished_at_release = 0;
    ck_assert_ptr_nonnull(memory);
    pattern_into(memory, 0, LARGE, 1);
    atomic_store(&tasks_finished, 0);
    eum_wrap_config config = EUM_WRAP_CONFIG_INIT;
    config.address = memory;
    config.bytes = LARGE;
    config.memory = EUM_MEMORY_HOST;
    config.ownership = EUM_OWNED;
    config.release = note_release;
    config.release_user = &finished_at_release;
    eum_buf *buf;
    ck_assert_int_eq(eum_buf_wrap(w->ctx, &config, &buf), EUM_OK);
    eum_range range = {buf, 0, LARGE};
    eum_access access = EUM_ACCESS_READ;
    eum_launch_request request = {.cpu = counted_sum, .ranges = &range, .accesses = &access, .count = 1};
    ck_assert_int_eq(eum_engine_launch(w->streams[0], &request, NULL), EUM_OK);
    ck_assert_int_eq(eum_engine_launch(w->streams[1], &request, NULL), EUM_OK);
    eum_buf_end(buf);
    ck_assert_int_eq(finished_at_release, 2);
    ck_assert_int_eq(eum_strm_synchronize(w->streams[0]), EUM_OK);
    ck_assert_int_eq(eum_strm_synchronize(w->streams[1]), EUM_OK);
    free(memory);
}

MOVEMENT_TEST(wrapped_memory_has_what_kernels_wrote_when_its_buffer_ends)
{
    uint8_t *memory = malloc(LARGE);
    ck_assert_ptr_nonnull(memory);
    pattern_into(memory, 0, LARGE, 1);
    pattern_into(expected, 0, LARGE, 1);
    eum_wrap_config config = EUM_WRAP_CONFIG_INIT;
    config.address = memory;
    config.bytes = LARGE;
    config.memory = EUM_MEMORY_HOST;
    config.ownership = EUM_BORROWED;
    eum_buf *buf;
    ck_assert_int_eq(eum_buf_wrap(w->ctx, &config, &buf), EUM_OK);
    ck_assert_int_eq(gpu_fill(w->streams[0], buf, 77, PAGE, 2, NULL), EUM_OK);
    pattern_into(expected, 77, 77 + PAGE, 2);
    eum_buf_end(buf);
    ck_assert_mem_eq(memory, expected, LARGE);
    free(memory);
}

MOVEMENT_TEST(memory_is_freed_after_the_jobs_that_use_it)
{
    eum_buf *result = world_buffer(w, 8, EUM_ROLE_AUTO);
    for (uint8_t value = 1; value <= 3; value++) {
        eum_buf *buf = world_buffer(w, LARGE, EUM_ROLE_AUTO);
        ck_assert_int_eq(gpu_fill(w->streams[0], buf, 0, LARGE, value, NULL), EUM_OK);
        ck_assert_int_eq(gpu_hash(w->streams[1], buf, 0, LARGE, result, NULL), EUM_OK);
        world_end_buffer(w, buf);
        pattern_into(expected, 0, LARGE, value);
        expect_hash(result, expected, LARGE);
    }
}

START_TEST(the_budget_is_given_back)
{
    world w = world_open(_i, 1, 4 * MIB);
    eum_buf *buf;
    eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
    for (int round = 0; round < 6; round++) {
        buf = world_buffer(&w, 2 * MIB, EUM_ROLE_AUTO);
        ck_assert_int_eq(gpu_fill(w.streams[0], buf, 0, 1000, 1, NULL), EUM_OK);
        ck_assert_int_eq(eum_strm_synchronize(w.streams[0]), EUM_OK);
        world_end_buffer(&w, buf);
        ck_assert_int_eq(eum_ctx_trim(w.ctx, 0), EUM_OK); /* the pool would serve it */
        eum_sim_fail(w.ctx->device, EUM_SIM_ALLOC, 1);
        eum_status status = eum_buf_create(w.ctx, 2 * MIB, &config, &buf);
        ck_assert_int_eq(status != EUM_OK, world_is_simulated(&w));
        if (status == EUM_OK)
            eum_buf_end(buf);
    }
    world_close(&w);
}
END_TEST

START_TEST(device_copies_that_make_room_for_others_lose_nothing)
{
    static uint8_t bytes[MIB];
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        world w = world_open(_i, seed, 3 * MIB); /* room for two, and for the results */
        bool simulated = world_is_simulated(&w);
        eum_buf *bufs[4], *result = world_buffer_of(&w, 8, EUM_ROLE_AUTO, simulated ? EUM_BACKING_MIRRORED : EUM_BACKING_AUTO);
        for (uint8_t i = 0; i < 4; i++) {
            bufs[i] = world_buffer_of(&w, MIB, EUM_ROLE_AUTO, simulated ? EUM_BACKING_MIRRORED : EUM_BACKING_AUTO);
            cpu_fill(bufs[i], 0, MIB, i);
            ck_assert_int_eq(gpu_fill(w.streams[i % 2], bufs[i], 1000, 5000, (uint8_t)(i + 50), NULL), EUM_OK);
            ck_assert_int_eq(gpu_fill(w.streams[i % 2], bufs[i], MIB - 500, 500, (uint8_t)(i + 90), NULL), EUM_OK);
        }
        for (uint8_t i = 0; i < 4; i++) {
            pattern_into(bytes, 0, MIB, i);
            pattern_into(bytes, 1000, 6000, (uint8_t)(i + 50));
            pattern_into(bytes, MIB - 500, MIB, (uint8_t)(i + 90));
            ck_assert_int_eq(gpu_hash(w.streams[2], bufs[i], 0, MIB, result, NULL), EUM_OK);
            expect_hash(result, bytes, MIB);
            cpu_expect(bufs[i], bytes);
        }
        world_close(&w);
    }
}
END_TEST

START_TEST(acquired_device_copies_are_not_taken_for_room)
{
    static const eum_access access = EUM_ACCESS_OVERWRITE;
    world w = world_open(_i, 1, 3 * MIB);
    eum_buf *bufs[3];
    void *address;
    if (world_is_simulated(&w)) {
        for (int i = 0; i < 3; i++)
            bufs[i] = world_buffer_of(&w, 2 * MIB, EUM_ROLE_AUTO, EUM_BACKING_MIRRORED);
        eum_range range = {bufs[0], 0, 2 * MIB};
        ck_assert_int_eq(eum_engine_acquire(w.streams[0], &range, &access, 1, &address), EUM_OK);
        ck_assert_int_eq(gpu_fill(w.streams[1], bufs[1], 0, 2 * MIB, 1, NULL), EUM_OK); /* over the link */
        ck_assert_uint_ne(bufs[0]->mirror.bytes, 0);
        ck_assert_int_eq(eum_engine_release(w.streams[0], &range, &access, 1, NULL), EUM_OK);
        ck_assert_int_eq(gpu_fill(w.streams[1], bufs[2], 0, 2 * MIB, 1, NULL), EUM_OK);
    }
    world_close(&w);
}
END_TEST

START_TEST(a_stream_that_was_prefetched_is_read_where_it_is)
{
    world w = world_open(_i, 1, 0);
    if (world_is_simulated(&w) && world_backing_is(&w, EUM_BACKING_MIRRORED)) {
        static uint8_t bytes[2 * PAGE];
        eum_buf *buf = world_buffer(&w, sizeof bytes, EUM_ROLE_STREAM), *hash = world_buffer(&w, 8, EUM_ROLE_AUTO);
        pattern_into(bytes, 0, sizeof bytes, 6);
        cpu_fill(buf, 0, sizeof bytes, 6);
        ck_assert_int_eq(gpu_hash(w.streams[0], buf, 0, sizeof bytes, hash, NULL), EUM_OK);
        ck_assert_int_eq(buf->last_movement, EUM_MOVEMENT_IN_PLACE);
        expect_hash(hash, bytes, sizeof bytes);
        ck_assert_int_eq(eum_buf_prefetch((eum_range){buf, 0, sizeof bytes}, w.ctx->device->caps.index, w.streams[0]), EUM_OK);
        ck_assert_int_eq(gpu_hash(w.streams[0], buf, 0, sizeof bytes, hash, NULL), EUM_OK);
        ck_assert_int_eq(buf->last_movement, EUM_MOVEMENT_NONE);
        expect_hash(hash, bytes, sizeof bytes);
    }
    world_close(&w);
}
END_TEST

Suite *movement_ends_suite(void)
{
    Suite *suite = suite_create("movement_ends");
    for (int i = 0; i < place_count; i++) { /* a test case a place, named after it */
        TCase *tests = tcase_create(places[i].name);
#define ADD(name) tcase_add_loop_test(tests, name, i, i + 1)
        ADD(a_live_map_refuses_conflicting_launches_and_no_others);
        ADD(a_page_that_the_cpu_has_mapped_stays_with_it);
        ADD(after_a_release_uses_wait_for_the_work_outside);
        ADD(advice_that_collapses_copies_is_remembered);
        ADD(what_a_failed_job_was_to_write_is_undefined_until_it_is_written_again);
        ADD(a_job_that_reads_what_a_failed_one_was_to_write_fails_too);
        ADD(a_movement_that_fails_leaves_every_buffer_with_its_bytes);
        ADD(wrapped_memory_is_released_after_the_jobs_that_use_it);
        ADD(wrapped_memory_has_what_kernels_wrote_when_its_buffer_ends);
        ADD(memory_is_freed_after_the_jobs_that_use_it);
        ADD(the_budget_is_given_back);
        ADD(device_copies_that_make_room_for_others_lose_nothing);
        ADD(acquired_device_copies_are_not_taken_for_room);
        ADD(a_stream_that_was_prefetched_is_read_where_it_is);
#undef ADD
        suite_add_tcase(suite, tests);
    }
    return suite;
}
