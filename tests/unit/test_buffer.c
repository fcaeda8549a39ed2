/* Buffers: creation, wrapping, destruction in any order, giving up.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "engine.h"

Suite *buffer_suite(void);

static const work nothing_to_do = {WORK_NOTHING, 0, NULL, 0, NULL};

/* Counts the calls of a release function. */
typedef struct released {
    atomic_int calls;
    void *address;
    size_t bytes;
} released;

static void note_release(void *user, void *address, size_t bytes)
{
    released *r = user;
    r->address = address;
    r->bytes = bytes;
    atomic_fetch_add(&r->calls, 1);
}

static eum_buffer *wrap(eum_context *context, void *address, size_t bytes, uint32_t flags, released *r)
{
    eum_wrap_config config = EUM_WRAP_CONFIG_INIT;
    config.address = address;
    config.bytes = bytes;
    config.flags = flags;
    config.ownership = r != NULL ? EUM_OWNED : EUM_BORROWED;
    config.release = r != NULL ? note_release : NULL;
    config.release_user = r;
    eum_buffer *buffer = NULL;
    OK(eum_buffer_wrap(context, &config, &buffer));
    return buffer;
}

static eum_buffer_info buffer_info(eum_buffer *buffer)
{
    eum_buffer_info info;
    eum_buffer_info_init(&info);
    OK(eum_buffer_get_info(buffer, &info));
    return info;
}

START_TEST(a_buffer_of_any_size_holds_its_bytes)
{
    static const size_t sizes[] = {1, 3, 64, 4095, 4097, 64 * KIB - 1, 64 * KIB, 2 * MIB - 1, 2 * MIB, 2 * MIB + 1};
    eum_context *context = open_context();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        eum_buffer *buffer = new_buffer(context, sizes[i]);
        unsigned char *bytes = map(whole(buffer), EUM_ACCESS_OVERWRITE);
        ck_assert_uint_eq((uintptr_t)bytes % (sizes[i] >= 2 * MIB ? 2 * MIB : 64), 0);
        for (size_t k = 0; k < sizes[i]; k++)
            bytes[k] = (unsigned char)(k * 31 + i);
        unmap(buffer, bytes);
        wait_job(launch1(default_stream(context), nothing_to_do, updates(whole(buffer))));
        bytes = map(whole(buffer), EUM_ACCESS_READ);
        for (size_t k = 0; k < sizes[i]; k++)
            if (bytes[k] != (unsigned char)(k * 31 + i))
                ck_abort_msg("byte %zu of %zu is wrong", k, sizes[i]);
        unmap(buffer, bytes);
        ck_assert_uint_eq(buffer_info(buffer).bytes, sizes[i]);
        OK(eum_buffer_destroy(buffer));
    }
    close_context(context);
}
END_TEST

START_TEST(a_zeroed_buffer_is_zero_on_both_sides)
{
    eum_context *context = open_context();
    eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
    config.flags = EUM_BUFFER_ZEROED;
    eum_buffer *buffer = NULL;
    for (int round = 0; round < 3; round++) { /* memory that was used before */
        OK(eum_buffer_create(context, 300 * KIB + 4, &config, &buffer));
        wait_job(launch1(default_stream(context), (work){.kind = WORK_ADD, .value = 7}, updates(whole(buffer))));
        uint32_t *words = map(whole(buffer), EUM_ACCESS_READ_WRITE);
        for (size_t i = 0; i < 300 * KIB / WORD + 1; i++)
            if (words[i] != 7)
                ck_abort_msg("word %zu is %u", i, words[i]);
        memset(words, 0xEE, 300 * KIB);
        unmap(buffer, words);
        OK(eum_buffer_destroy(buffer));
    }
    close_context(context);
}
END_TEST

START_TEST(an_empty_buffer_is_legal_everywhere_and_touches_no_device)
{
    eum_context *context = open_context();
    eum_stream *stream = default_stream(context);
    eum_stats before = stats_of(context);
    eum_buffer *buffer = new_buffer(context, 0), *wrapped = wrap(context, NULL, 0, 0, NULL);
    eum_hint hint = EUM_HINT_INIT;
    char byte = 0;
    for (int i = 0; i < 2; i++) {
        eum_buffer *it = i == 0 ? buffer : wrapped;
        OK(eum_buffer_write(whole(it), &byte));
        OK(eum_buffer_read(whole(it), &byte));
        OK(eum_buffer_prefetch(whole(it), EUM_LOCATION_HOST, stream));
        OK(eum_buffer_advise(whole(it), EUM_ADVICE_READ_MOSTLY, EUM_LOCATION_HOST, &hint));
        for (eum_access access = EUM_ACCESS_READ; access <= EUM_ACCESS_OVERWRITE; access++) {
            unmap(it, map(whole(it), access));
            wait_job(launch1(stream, nothing_to_do, (eum_argument){whole(it), access, 0}));
        }
        GIVES(EUM_ERROR_OUT_OF_BOUNDS, eum_buffer_read(part(it, 0, 1), &byte));
        ck_assert_uint_eq(explain(it).bytes_on_host + explain(it).bytes_on_device, 0);
    }
    eum_stats after = stats_of(context);
    for (int kind = 0; kind < EUM_MEMORY_KINDS; kind++)
        ck_assert_uint_eq(after.raw_allocations[kind], before.raw_allocations[kind]);
    ck_assert_uint_eq(after.bytes_to_device + after.bytes_to_host, 0);
    OK(eum_buffer_destroy(wrapped));
    eum_raw raw = EUM_RAW_INIT;
    OK(eum_buffer_into_raw(buffer, &raw));
    ck_assert_ptr_nonnull(raw.release);
    raw.release(raw.release_user, raw.address, raw.bytes);
    close_context(context);
}
END_TEST

START_TEST(destroying_a_buffer_whose_job_runs_returns_at_once_and_frees_the_memory_later)
{
    eum_context *context = open_context();
    eum_buffer *buffer = new_buffer(context, 300 * KIB), *other = new_buffer(context, 4 * KIB);
    gate g = GATE_INIT;
    atomic_int ran = 0;
    eum_job job =
        launch1(default_stream(context), (work){.kind = WORK_FILL, .value = 1, .gate = &g, .ran = &ran}, overwrites(whole(buffer)));
    await_gate(&g, 1);
    OK(eum_buffer_destroy(buffer)); /* hangs if it waits */
    GIVES(EUM_ERROR_INVALID_HANDLE, eum_buffer_destroy(buffer));
    eum_stats stats = stats_of(context);
    uint64_t allocated = 0, freed = 0;
    for (int kind = 1; kind < EUM_MEMORY_KINDS; kind++) {
        allocated += stats.raw_allocations[kind];
        freed += stats.raw_frees[kind];
    }
    ck_assert_uint_eq(freed + stats.pool_bytes, 0);
    ck_assert_uint_gt(allocated, 0);
    ck_assert_uint_eq(stats.buffers_live, 1);
    open_gate(&g);
    wait_job(job);
    ck_assert_int_eq(atomic_load(&ran), 1);
    stats = stats_of(context);
    freed = stats.pool_bytes;
    for (int kind = 1; kind < EUM_MEMORY_KINDS; kind++)
        freed += stats.raw_frees[kind];
    ck_assert_uint_gt(freed, 0);
    OK(eum_buffer_destroy(other));
    close_context(context);
}
END_TEST

/* Every order in which the handles of a small program can end. */
START_TEST(handles_may_be_destroyed_in_any_order)
{
    static const int orders[24][4] = {{0, 1, 2, 3}, {0, 1, 3, 2}, {0, 2, 1, 3}, {0, 2, 3, 1}, {0, 3, 1, 2}, {0, 3, 2, 1},
                                      {1, 0, 2, 3}, {1, 0, 3, 2}, {1, 2, 0, 3}, {1, 2, 3, 0}, {1, 3, 0, 2}, {1, 3, 2, 0},
                                      {2, 0, 1, 3}, {2, 0, 3, 1}, {2, 1, 0, 3}, {2, 1, 3, 0}, {2, 3, 0, 1}, {2, 3, 1, 0},
                                      {3, 0, 1, 2}, {3, 0, 2, 1}, {3, 1, 0, 2}, {3, 1, 2, 0}, {3, 2, 0, 1}, {3, 2, 1, 0}};
    for (int i = 0; i < 24; i++) {
        eum_context *context = open_context();
        eum_stream *stream = new_stream(context);
        released r = {0};
        uint32_t *memory = calloc(4 * KIB, 1);
        eum_buffer *buffer = new_buffer(context, 200 * KIB), *wrapped = wrap(context, memory, 4 * KIB, 0, &r);
        atomic_int ran = 0;
        launch2(stream, (work){.kind = WORK_FILL, .value = 1, .ran = &ran}, overwrites(whole(buffer)), overwrites(whole(wrapped)));
        for (int k = 0; k < 4; k++) {
            switch (orders[i][k]) {
            case 0:
                OK(eum_context_destroy(context));
                break;
            case 1:
                OK(eum_stream_destroy(stream));
                break;
            case 2:
                OK(eum_buffer_destroy(buffer));
                break;
            default:
                OK(eum_buffer_destroy(wrapped));
                ck_assert_int_eq(atomic_load(&ran), 1);
                ck_assert_int_eq(atomic_load(&r.calls), 1);
                expect_words(memory, 4 * KIB / WORD, 2, 0);
            }
        }
        ck_assert_int_eq(atomic_load(&ran), 1);
        free(memory);
    }
}
END_TEST

static eum_status call_destroy(pending *p)
{
    return eum_buffer_destroy(p->buffer);
}

START_TEST(destroying_a_wrapped_buffer_waits_and_releases_exactly_once)
{
    for (int registered = 0; registered < 2; registered++) {
        eum_context *context = open_context();
        released r = {0};
        uint32_t *memory = aligned_alloc(4 * KIB, 64 * KIB);
        fill_words(memory, 64 * KIB / WORD, 3);
        eum_buffer *buffer = wrap(context, memory, 64 * KIB, registered ? EUM_WRAP_REGISTER : 0, &r);
        gate g = GATE_INIT;
        launch1(default_stream(context), (work){.kind = WORK_ADD, .value = 1, .gate = &g}, updates(whole(buffer)));
        await_gate(&g, 1);
        pending p = {.buffer = buffer};
        start(&p, call_destroy);
        assert_waits(&p);
        ck_assert_int_eq(atomic_load(&r.calls), 0);
        open_gate(&g);
        OK(finish(&p));
        ck_assert_int_eq(atomic_load(&r.calls), 1);
        ck_assert_ptr_eq(r.address, memory);
        ck_assert_uint_eq(r.bytes, 64 * KIB);
        expect_words(memory, 64 * KIB / WORD, 3, 1); /* and what the kernel wrote is there */
        free(memory);
        close_context(context);
    }
}
END_TEST

START_TEST(wrapped_memory_is_read_and_written_where_it_is)
{
    eum_context *context = open_context();
    eum_stream *stream = default_stream(context);
    static uint32_t memory[20 * 1024];
    fill_words(memory, 20 * 1024, 5);
    eum_buffer *buffer = wrap(context, memory + 1, sizeof memory - WORD, 0, NULL);
    uint32_t *words = map(whole(buffer), EUM_ACCESS_READ);
    ck_assert_ptr_eq(words, memory + 1);
    unmap(buffer, words);
    wait_job(launch1(stream, (work){.kind = WORK_ADD, .value = 1}, updates(part(buffer, 4 * KIB, 4 * KIB))));
    cpu_fill(part(buffer, 12 * KIB, 4 * KIB), 6);
    gpu_expect(stream, part(buffer, 12 * KIB, 4 * KIB), 6);
    unmap(buffer, map(whole(buffer), EUM_ACCESS_READ));
    for (size_t i = 0; i < 1024; i++)
        if (memory[1 + 1024 + i] != word_at(5, 1 + 1024 + i) + 1)
            ck_abort_msg("word %zu", i);
    ck_assert_uint_eq(memory[0], word_at(5, 0));
    ck_assert_int_eq(buffer_info(buffer).ownership, EUM_BORROWED);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(nothing_is_ever_stored_into_read_only_memory)
{
    eum_context *context = open_context();
    eum_stream *stream = default_stream(context);
    static uint32_t memory[1024];
    fill_words(memory, 1024, 5);
    eum_buffer *buffer = wrap(context, memory, sizeof memory, EUM_WRAP_READ_ONLY, NULL);
    void *address;
    GIVES(EUM_ERROR_READ_ONLY, eum_buffer_map(whole(buffer), EUM_ACCESS_READ_WRITE, &address));
    GIVES(EUM_ERROR_READ_ONLY, eum_buffer_map(whole(buffer), EUM_ACCESS_OVERWRITE, &address));
    GIVES(EUM_ERROR_READ_ONLY, eum_buffer_write(part(buffer, 0, 4), memory));
    GIVES(EUM_ERROR_READ_ONLY, try_launch1(stream, nothing_to_do, updates(whole(buffer))));
    GIVES(EUM_ERROR_READ_ONLY, try_launch1(stream, nothing_to_do, overwrites(part(buffer, 8, 4))));
    gpu_expect(stream, whole(buffer), 5);
    cpu_expect(whole(buffer), 5);
    ck_assert_int_eq(buffer_info(buffer).read_only, 1);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

/* ------------------------------------------------------------------------------------------------------ into_raw --- */

START_TEST(given_up_memory_has_all_bytes_and_outlives_the_context)
{
    for (int after_context = 0; after_context < 2; after_context++) {
        for (int writer = 0; writer < 3; writer++) {
            eum_context *context = open_context();
            eum_buffer *buffer = new_buffer(context, 3 * MIB);
            gate g = GATE_INIT;
            if (writer == 0) {
                cpu_fill(whole(buffer), 1);
            } else if (writer == 1) {
                gpu_fill(default_stream(context), whole(buffer), 1);
            } else { /* in flight: into_raw waits */
                launch1(default_stream(context), (work){.kind = WORK_FILL, .value = 1, .gate = &g}, overwrites(whole(buffer)));
                await_gate(&g, 1);
                open_gate(&g);
            }
            eum_raw raw = EUM_RAW_INIT;
            OK(eum_buffer_into_raw(buffer, &raw));
            GIVES(EUM_ERROR_INVALID_HANDLE, eum_buffer_destroy(buffer));
            ck_assert_uint_eq(raw.bytes, 3 * MIB);
            ck_assert_ptr_nonnull(raw.address);
            ck_assert_ptr_nonnull(raw.release);
            ck_assert_uint_eq(stats_of(context).raw_given_up[raw.memory], 1);
            if (after_context)
                close_context(context);
            expect_words(raw.address, 3 * MIB / WORD, 1, 0);
            memset(raw.address, 1, raw.bytes);
            raw.release(raw.release_user, raw.address, raw.bytes);
            if (!after_context)
                close_context(context);
        }
    }
}
END_TEST

START_TEST(an_adopted_buffer_gives_up_what_it_was_given)
{
    for (uint32_t flags = 0; flags <= EUM_WRAP_REGISTER; flags += EUM_WRAP_REGISTER) {
        eum_context *context = open_context();
        released r = {0};
        uint32_t *memory = aligned_alloc(4 * KIB, 64 * KIB);
        eum_buffer *buffer = wrap(context, memory, 64 * KIB, flags, &r);
        gpu_fill(default_stream(context), whole(buffer), 4);
        eum_raw raw = EUM_RAW_INIT;
        OK(eum_buffer_into_raw(buffer, &raw));
        ck_assert_ptr_eq(raw.address, memory);
        ck_assert_int_eq(raw.memory, EUM_MEMORY_HOST);
        expect_words(memory, 64 * KIB / WORD, 4, 0);
        ck_assert_int_eq(atomic_load(&r.calls), 0);
        close_context(context);
        raw.release(raw.release_user, raw.address, raw.bytes);
        ck_assert_int_eq(atomic_load(&r.calls), 1);
        ck_assert_ptr_eq(r.address, memory);
        free(memory);
    }
}
END_TEST

START_TEST(what_cannot_be_given_up_stays_as_it_is)
{
    eum_context *context = open_context();
    static uint32_t memory[1024];
    eum_buffer *borrowed = wrap(context, memory, sizeof memory, 0, NULL), *mapped = new_buffer(context, 4 * KIB),
               *broken = new_buffer(context, 4 * KIB);
    eum_raw raw = EUM_RAW_INIT;
    GIVES(EUM_ERROR_NOT_OWNED, eum_buffer_into_raw(borrowed, &raw));
    cpu_fill(whole(mapped), 1);
    for (eum_access access = EUM_ACCESS_READ; access <= EUM_ACCESS_OVERWRITE; access++) {
        void *address = map(part(mapped, 0, 16), access);
        GIVES(EUM_ERROR_MAPPED, eum_buffer_into_raw(mapped, &raw));
        unmap(mapped, address);
    }
    (void)eum_job_wait(launch1(default_stream(context), (work){.kind = WORK_FILL, .code = 1}, overwrites(whole(broken))), -1);
    GIVES(EUM_ERROR_UNDEFINED_DATA, eum_buffer_into_raw(broken, &raw));
    ck_assert_ptr_null(raw.address);
    ck_assert_ptr_null((void *)(uintptr_t)raw.release);
    ck_assert_uint_eq(stats_of(context).maps_live, 0);
    cpu_fill(whole(mapped), 2);
    cpu_fill(whole(broken), 2);
    gpu_expect(default_stream(context), whole(mapped), 2);
    gpu_expect(default_stream(context), whole(broken), 2);
    OK(eum_buffer_destroy(borrowed));
    OK(eum_buffer_destroy(mapped));
    OK(eum_buffer_destroy(broken));
    close_context(context);
}
END_TEST

START_TEST(given_up_memory_can_be_wrapped_again)
{
    eum_context *context = open_context();
    eum_buffer *buffer = new_buffer(context, 300 * KIB), *again = NULL;
    gpu_fill(default_stream(context), whole(buffer), 1);
    eum_raw raw = EUM_RAW_INIT;
    OK(eum_buffer_into_raw(buffer, &raw));
    eum_wrap_config config = EUM_WRAP_CONFIG_INIT;
    config.address = raw.address;
    config.bytes = raw.bytes;
    config.memory = raw.memory;
    config.ownership = EUM_OWNED;
    config.release = raw.release;
    config.release_user = raw.release_user;
    OK(eum_buffer_wrap(context, &config, &again));
    gpu_expect(default_stream(context), whole(again), 1);
    cpu_fill(part(again, 0, 100 * KIB), 2);
    gpu_expect(default_stream(context), part(again, 0, 100 * KIB), 2);
    wait_job(launch1(default_stream(context), (work){.kind = WORK_ADD, .value = 1}, updates(part(again, 0, 200 * KIB))));
    cpu_expect_plus(part(again, 0, 100 * KIB), 2, 1);
    OK(eum_buffer_destroy(again));
    close_context(context);
}
END_TEST

/* ------------------------------------------------------------------------------------------------------- explain --- */

START_TEST(explain_says_where_the_bytes_are)
{
    eum_context *context = open_context();
    eum_buffer *buffer = new_buffer(context, 64 * KIB);
    cpu_fill(whole(buffer), 1);
    eum_decision d = explain(buffer);
    ck_assert_int_eq(d.backing, info_of(context).backing);
    if (!takes_turns()) /* there the driver moves all of it at each launch */
        ck_assert_uint_eq(d.bytes_on_host, 64 * KIB);
    ck_assert_uint_eq(d.maps, 1);
    gpu_expect(default_stream(context), whole(buffer), 1);
    d = explain(buffer);
    ck_assert_uint_eq(d.launches, 1);
    if (moves(context)) {
        ck_assert_uint_eq(d.bytes_on_device, 64 * KIB);
        ck_assert_uint_eq(d.last_bytes, 64 * KIB);
        ck_assert_uint_eq(d.bytes_to_device, 64 * KIB);
        ck_assert_int_eq(d.last_movement, d.backing == EUM_BACKING_MIRRORED ? EUM_MOVEMENT_COPY : EUM_MOVEMENT_DUPLICATE);
    }
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

Suite *buffer_suite(void)
{
    Suite *suite = suite_create("buffer");
    TCase *tests = tcase_create("buffer");
    if (!runs_cpu_kernels())
        return suite;
    tcase_add_test(tests, a_buffer_of_any_size_holds_its_bytes);
    tcase_add_test(tests, a_zeroed_buffer_is_zero_on_both_sides);
    tcase_add_test(tests, an_empty_buffer_is_legal_everywhere_and_touches_no_device);
    tcase_add_test(tests, destroying_a_buffer_whose_job_runs_returns_at_once_and_frees_the_memory_later);
    tcase_add_test(tests, handles_may_be_destroyed_in_any_order);
    tcase_add_test(tests, destroying_a_wrapped_buffer_waits_and_releases_exactly_once);
    tcase_add_test(tests, wrapped_memory_is_read_and_written_where_it_is);
    tcase_add_test(tests, nothing_is_ever_stored_into_read_only_memory);
    tcase_add_test(tests, given_up_memory_has_all_bytes_and_outlives_the_context);
    tcase_add_test(tests, an_adopted_buffer_gives_up_what_it_was_given);
    tcase_add_test(tests, what_cannot_be_given_up_stays_as_it_is);
    tcase_add_test(tests, given_up_memory_can_be_wrapped_again);
    tcase_add_test(tests, explain_says_where_the_bytes_are);
    suite_add_tcase(suite, tests);
    return suite;
}
