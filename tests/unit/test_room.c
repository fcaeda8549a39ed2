/* Room on the device: what a launch does without it, and the sizes of the pieces in which similarity operations do with little.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "engine.h"
#include "scoring_shape.h"

Suite *room_suite(void);

static const char *const devices[] = {"sim:maxwell", "sim:pascal", "sim:turing", "sim:ampere", "sim:hopper"};
#define DEVICES ((int)(sizeof devices / sizeof *devices))

static eum_context *open_small(int device, uint64_t budget)
{
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    config.device = devices[device];
    config.budget_bytes = budget;
    config.worker_threads = 2;
    return open_with(&config);
}

/* ------------------------------------------------------------------------------------------------------ launches --- */

START_TEST(a_buffer_larger_than_the_budget_is_used_where_it_is)
{
    eum_context *context = open_small(_i, 1 * MIB);
    eum_stream *stream = default_stream(context);
    eum_buffer *small = new_buffer(context, 512 * KIB), *large = new_buffer(context, 3 * MIB);
    ck_assert_int_eq(explain(large).backing, EUM_BACKING_MIRRORED);
    gpu_fill(stream, whole(small), 1);
    for (uint32_t round = 0; round < 3; round++) {
        cpu_fill(whole(large), 10 + round);
        gpu_expect(stream, whole(large), 10 + round);
        wait_job(launch1(stream, (work){.kind = WORK_ADD, .value = 5}, updates(whole(large))));
        ck_assert_int_eq(explain(large).last_movement, EUM_MOVEMENT_IN_PLACE);
        cpu_expect_plus(whole(large), 10 + round, 5);
        gpu_fill(stream, part(large, MIB, MIB), 20 + round);
        cpu_expect(part(large, MIB, MIB), 20 + round);
        OK(eum_buffer_prefetch(whole(large), info_of(context).device_index, NULL));
        void *address = NULL;
        eum_argument argument = reads(whole(large));
        OK(eum_stream_acquire(stream, &argument, 1, &address));
        OK(eum_stream_release(stream, &argument, 1, NULL));
    }
    ck_assert_uint_eq(explain(small).bytes_on_device, 512 * KIB); /* nothing was spilled for what can never fit */
    ck_assert_uint_eq(explain(small).bytes_to_host, 0);
    cpu_expect(whole(small), 1);
    OK(eum_buffer_destroy(small));
    OK(eum_buffer_destroy(large));
    close_context(context);
}
END_TEST

START_TEST(results_that_are_overwritten_often_push_nobody_out)
{
    eum_context *context = open_small(_i, 1 * MIB);
    eum_stream *stream = default_stream(context);
    eum_buffer *targets = new_buffer(context, 900 * KIB), *results = new_buffer(context, 200 * KIB);
    OK(eum_buffer_set_role(results, EUM_ROLE_RESULTS));
    gpu_fill(stream, whole(targets), 1);
    for (uint32_t round = 0; round < 40; round++) {
        gpu_fill(stream, whole(results), round);
        ck_assert_int_eq(explain(results).last_movement, EUM_MOVEMENT_IN_PLACE);
    }
    ck_assert_uint_eq(explain(targets).bytes_on_device, 900 * KIB);
    ck_assert_uint_eq(explain(targets).bytes_to_host, 0);
    cpu_expect(whole(results), 39);
    OK(eum_buffer_destroy(targets));
    OK(eum_buffer_destroy(results));
    close_context(context);
}
END_TEST

START_TEST(a_buffer_that_fits_alone_spills_the_others)
{
    eum_context *context = open_small(_i, 1 * MIB);
    eum_stream *stream = default_stream(context);
    eum_buffer *a = new_buffer(context, 768 * KIB), *b = new_buffer(context, 768 * KIB);
    gpu_fill(stream, whole(a), 1);
    gpu_fill(stream, whole(b), 2);
    ck_assert_uint_eq(explain(a).bytes_on_device, 0);
    ck_assert_uint_eq(explain(b).bytes_on_device, 768 * KIB);
    cpu_expect(whole(a), 1);
    cpu_expect(whole(b), 2);
    OK(eum_buffer_destroy(a));
    OK(eum_buffer_destroy(b));
    close_context(context);
}
END_TEST

/* Memory of the library's own for kernels, as the selection's on CUDA. */
static eum_status launch_with_own(eum_context *context, size_t bytes, eum_buf *beside, eum_job *out)
{
    eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
    config.backing = EUM_BACKING_DEVICE;
    eum_buf *own = NULL;
    OK(eum_buf_create(ctx_of(context), bytes, &config, &own));
    const eum_range ranges[2] = {{own, 0, bytes}, {beside, 0, beside == NULL ? 0 : eum_buf_bytes(beside)}};
    const eum_access accesses[2] = {EUM_ACCESS_OVERWRITE, EUM_ACCESS_READ};
    const work w = {.kind = WORK_FILL, .value = 3};
    eum_launch_request request = {.cpu = do_work, .ranges = ranges, .accesses = accesses, .params = &w, .params_bytes = sizeof w};
    request.count = beside == NULL ? 1 : 2;
    eum_status status = eum_engine_launch(eum_ctx_default_stream(ctx_of(context)), &request, out);
    eum_buf_end(own);
    return status;
}

START_TEST(memory_of_the_librarys_own_makes_room_for_itself)
{
    eum_context *context = open_small(_i, 1 * MIB);
    eum_stream *stream = default_stream(context);
    eum_buffer *a = new_buffer(context, 512 * KIB), *b = new_buffer(context, 512 * KIB);
    eum_job job = {context, 0, 0};
    gpu_fill(stream, whole(a), 1);
    gpu_fill(stream, whole(b), 2);
    OK(launch_with_own(context, 300 * KIB, NULL, &job));
    wait_job(job);
    ck_assert_uint_eq(explain(a).bytes_on_device, 0);
    ck_assert_uint_eq(explain(b).bytes_on_device, 512 * KIB);
    GIVES(EUM_ERROR_OVER_BUDGET, launch_with_own(context, 2 * MIB, NULL, &job));
    ck_assert_uint_eq(explain(b).bytes_on_device, 512 * KIB); /* which would not have helped */
    cpu_expect(whole(a), 1);
    cpu_expect(whole(b), 2);
    OK(eum_buffer_destroy(a));
    OK(eum_buffer_destroy(b));
    close_context(context);
}
END_TEST

START_TEST(buffers_of_the_same_launch_are_not_spilled_for_the_librarys_own_memory)
{
    eum_context *context = open_small(_i, 1 * MIB);
    eum_buffer *a = new_buffer(context, 768 * KIB);
    eum_buf *beside = NULL;
    eum_job job = {context, 0, 0};
    gpu_fill(default_stream(context), whole(a), 1);
    OK(eum_pin_buffer(a, &beside));
    GIVES(EUM_ERROR_OVER_BUDGET, launch_with_own(context, 512 * KIB, beside, &job));
    eum_handle_unpin(a);
    ck_assert_uint_eq(explain(a).bytes_on_device, 768 * KIB);
    OK(eum_buffer_destroy(a));
    close_context(context);
}
END_TEST

/* -------------------------------------------------------------------------------------------------------- pieces --- */

/* As the CUDA kernels of a selection: a list for each tile of 128 rows and panel of 128 queries, up to a number of blocks. */
static size_t lists(const void *arg, uint64_t queries, uint64_t rows)
{
    const uint64_t *bytes_a_tile = arg;
    uint64_t blocks = (rows + 127) / 128 * ((queries + 127) / 128);
    return (size_t)(queries * 4 + 16 + (blocks < 320 ? blocks : 320) * *bytes_a_tile);
}

static uint64_t staged_bytes(const eum_chunk_question *q, const eum_chunk_shape *s)
{
    uint64_t targets = EUM_CHUNK_ALIGNMENT + (s->rows - 1) * s->row_stride + s->row_bytes;
    uint64_t queries = EUM_CHUNK_ALIGNMENT + (s->queries - 1) * s->query_stride + s->query_bytes;
    uint64_t results = s->queries * (q->k > 0 ? q->k * 12 : s->rows * 4);
    return queries + EUM_CHUNK_STAGES * (targets + results);
}

START_TEST(pieces_leave_room_for_the_scratch_memory_of_a_selection)
{
    const uint64_t a_tile = 128 * 128 * 8;
    eum_chunk_question q = {.query_count = 38, .rows = 88612, .dim = 69, .k = 51, .element_bytes = 2, .scratch_arg = &a_tile};
    q.query_stride = 69 * 4;
    q.row_stride = 69 * 2 + 4;
    q.room = 8 * MIB;
    eum_chunk_shape without = eum_chunk_shape_of(&q);
    ck_assert_uint_gt(lists(&a_tile, without.queries, without.rows), q.room);
    q.scratch = lists;
    eum_chunk_shape s = eum_chunk_shape_of(&q);
    uint64_t scratch = lists(&a_tile, s.queries, s.rows);
    ck_assert_uint_le(staged_bytes(&q, &s) + EUM_CHUNK_STAGES * scratch, q.room);
    ck_assert_uint_gt(lists(&a_tile, s.queries, s.rows + 1), q.room / 12 * 2); /* and no smaller than that takes */
    ck_assert_uint_eq(s.queries, 38);
}
END_TEST

START_TEST(pieces_of_any_shape_cover_it_and_fit)
{
    for (uint32_t seed = 0; seed < 4000; seed++) {
        const uint64_t a_tile = (uint64_t)1 << word_at(seed, 0) % 14;
        eum_chunk_question q = {.query_count = 1 + word_at(seed, 1) % 3000, .rows = word_at(seed, 2) % 2000000};
        q.dim = 1 + word_at(seed, 3) % 2000;
        q.k = word_at(seed, 4) % 3 == 0 ? 0 : 1 + word_at(seed, 4) % 1024;
        q.element_bytes = word_at(seed, 5) % 2 == 0 ? 2 : 4;
        q.query_stride = q.dim * 4 + 4 * (word_at(seed, 6) % 300);
        q.row_stride = q.dim * q.element_bytes + q.element_bytes * (word_at(seed, 7) % 300);
        q.moves = word_at(seed, 9) % 2 != 0;
        q.room = ((uint64_t)32 << 20) << word_at(seed, 8) % 8;
        q.scratch = q.k > 0 ? lists : NULL;
        q.scratch_arg = &a_tile;
        eum_chunk_shape s = eum_chunk_shape_of(&q);
        ck_assert_uint_ge(s.queries, 1);
        ck_assert_uint_le(s.queries, q.query_count);
        ck_assert_uint_le(s.rows, q.rows);
        if (q.rows == 0)
            continue;
        ck_assert_uint_ge(s.rows, 1);
        uint64_t scratch = q.k > 0 ? lists(&a_tile, s.queries, s.rows) : 0;
        ck_assert_msg(staged_bytes(&q, &s) + EUM_CHUNK_STAGES * scratch <= q.room, "seed %u", seed);
        uint64_t first = 0, blocks = 0;
        while (first < q.query_count) {
            uint64_t queries = eum_chunk_block_queries(q.query_count, &s, first);
            ck_assert_msg(queries >= 1 && queries <= s.queries, "seed %u", seed);
            ck_assert_msg((queries > EUM_STREAMED_QUERIES) == (q.query_count > EUM_STREAMED_QUERIES), "seed %u", seed);
            first += queries;
            blocks++;
        }
        ck_assert_uint_eq(first, q.query_count);
    }
}
END_TEST

static uint64_t chunks_of(uint64_t rows, bool moves, uint64_t *out_rows)
{
    eum_chunk_question q = {.query_count = 1, .rows = rows, .dim = 768, .element_bytes = 4, .row_stride = 3072, .moves = moves};
    q.room = (uint64_t)1 << 34;
    *out_rows = eum_chunk_shape_of(&q).rows;
    return (rows + *out_rows - 1) / *out_rows;
}

START_TEST(pieces_are_small_enough_to_overlap_and_no_smaller_and_of_one_size)
{
    static const struct {
        uint64_t rows, chunks, moving;
    } cases[] = {{100, 1, 1},  {1000, 1, 1}, {1365, 1, 1},  {1366, 2, 1},
                 {5461, 4, 1}, {5462, 4, 2}, {21845, 5, 5}, {200000, 37, 37}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) { /* of 3 KiB: 4 MiB are 1365, 16 MiB 5461 */
        uint64_t rows = 0, chunks = chunks_of(cases[i].rows, false, &rows);
        ck_assert_uint_eq(chunks, cases[i].chunks);
        ck_assert_uint_le(chunks * rows - cases[i].rows, chunks); /* the last one is about as large */
        ck_assert_uint_eq(chunks_of(cases[i].rows, true, &rows), cases[i].moving);
    }
}
END_TEST

Suite *room_suite(void)
{
    Suite *suite = suite_create("room");
    TCase *tests = tcase_create("room");
    tcase_add_loop_test(tests, a_buffer_larger_than_the_budget_is_used_where_it_is, 0, DEVICES);
    tcase_add_loop_test(tests, results_that_are_overwritten_often_push_nobody_out, 0, DEVICES);
    tcase_add_loop_test(tests, a_buffer_that_fits_alone_spills_the_others, 0, DEVICES);
    tcase_add_loop_test(tests, memory_of_the_librarys_own_makes_room_for_itself, 0, DEVICES);
    tcase_add_loop_test(tests, buffers_of_the_same_launch_are_not_spilled_for_the_librarys_own_memory, 0, DEVICES);
    tcase_add_test(tests, pieces_leave_room_for_the_scratch_memory_of_a_selection);
    tcase_add_test(tests, pieces_of_any_shape_cover_it_and_fit);
    tcase_add_test(tests, pieces_are_small_enough_to_overlap_and_no_smaller_and_of_one_size);
    suite_add_tcase(suite, tests);
    return suite;
}
