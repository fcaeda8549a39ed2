/* Memory that buffers leave for the next ones.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "pool.h"

#include <stdlib.h>

#include "engine.h"

Suite *pool_suite(void);

/* ------------------------------------------------------------------------------------------------ the pool alone --- */

START_TEST(size_classes_rise_with_the_size_four_to_each_doubling)
{
    unsigned last = 0;
    for (uint64_t bytes = 1; bytes < (uint64_t)1 << 50; bytes += bytes / 7 + 1) {
        unsigned bin = eum_pool_bin(bytes);
        ck_assert_uint_ge(bin, last);
        ck_assert_uint_lt(bin, EUM_POOL_BINS);
        last = bin;
    }
    for (int power = 9; power < 50; power++) {
        uint64_t bytes = (uint64_t)1 << power;
        ck_assert_uint_eq(eum_pool_bin(bytes) + 1, eum_pool_bin(bytes + bytes / 4));
        ck_assert_uint_eq(eum_pool_bin(bytes) + 4, eum_pool_bin(2 * bytes));
        ck_assert_uint_eq(eum_pool_bin(bytes), eum_pool_bin(bytes + bytes / 4 - 1));
    }
    ck_assert_uint_lt(eum_pool_bin(UINT64_MAX), EUM_POOL_BINS);
}
END_TEST

#define BLOCKS 200

/* Against a list: what is taken was put, fits, is taken once, and the oldest leave first. */
START_TEST(a_pool_gives_each_block_once_and_only_where_it_fits)
{
    eum_pool pool = {.cap = 1 << 20};
    eum_block kept[BLOCKS];
    uint64_t order[BLOCKS], clock = 0;
    bool in[BLOCKS] = {false};
    uint32_t random = 1;
    for (int step = 0; step < 20000; step++) {
        random = random * 1664525u + 1013904223u;
        size_t i = random / 65536 % BLOCKS;
        uint64_t sum = 0;
        size_t oldest = BLOCKS;
        for (size_t k = 0; k < BLOCKS; k++) {
            sum += in[k] ? kept[k].bytes : 0;
            if (in[k] && (oldest == BLOCKS || order[k] < order[oldest]))
                oldest = k;
        }
        ck_assert_uint_eq(pool.bytes, sum);
        random = random * 1664525u + 1013904223u;
        uint64_t bytes = 256 + random / 65536 % 5000;
        eum_block out;
        switch (random >> 8 & 3) {
        case 0:
            if (in[i])
                break;
            kept[i] = (eum_block){.bytes = (size_t)bytes, .kind = EUM_MEMORY_PINNED, .token = i};
            ck_assert(eum_pool_put(&pool, &kept[i], 0));
            in[i] = true;
            order[i] = ++clock;
            break;
        case 1:
            if (eum_pool_evict(&pool, 50000, &out)) {
                ck_assert_uint_gt(sum, 50000);
                ck_assert_uint_eq(out.token, oldest);
                in[oldest] = false;
            } else {
                ck_assert_uint_le(sum, 50000);
            }
            break;
        default: {
            ck_assert(!eum_pool_take(&pool, EUM_MEMORY_MANAGED, bytes, 0, &out)); /* another kind */
            ck_assert(!eum_pool_take(&pool, EUM_MEMORY_PINNED, bytes, EUM_AT_HOST, &out));
            bool fits = false;
            for (size_t k = 0; k < BLOCKS; k++)
                fits |= in[k] && kept[k].bytes >= bytes && kept[k].bytes <= bytes + bytes / 4;
            bool taken = eum_pool_take(&pool, EUM_MEMORY_PINNED, bytes, 0, &out);
            ck_assert(taken || !fits);
            if (taken) {
                ck_assert(in[out.token] && out.bytes >= bytes);
                in[out.token] = false;
            }
        }
        }
    }
    eum_block out;
    while (eum_pool_evict(&pool, 0, &out))
        continue;
    ck_assert_uint_eq(pool.bytes, 0);
    ck_assert(!eum_pool_put(&pool, &(eum_block){.bytes = (1 << 20) + 1, .kind = EUM_MEMORY_PINNED}, 0)); /* above the cap */
}
END_TEST

/* --------------------------------------------------------------------------------------------- through the ABI ----- */

static uint64_t raw_allocations(eum_context *context)
{
    eum_stats stats = stats_of(context);
    uint64_t sum = 0;
    for (int kind = 1; kind < EUM_MEMORY_KINDS; kind++)
        sum += stats.raw_allocations[kind];
    return sum;
}

START_TEST(buffers_made_again_and_again_cost_the_device_one_allocation)
{
    eum_context *context = open_context();
    uint64_t before = raw_allocations(context);
    for (int round = 0; round < 50; round++) {
        eum_buffer *buffer = new_buffer(context, 300 * KIB - (size_t)round % 3 * 4);
        cpu_fill(whole(buffer), (uint32_t)round);
        cpu_expect(whole(buffer), (uint32_t)round);
        OK(eum_buffer_destroy(buffer));
    }
    ck_assert_uint_eq(raw_allocations(context), before + 1);
    eum_stats stats = stats_of(context);
    ck_assert_uint_eq(stats.pool_hits, 49);
    ck_assert_uint_ge(stats.pool_bytes, 299 * KIB);
    OK(eum_context_trim(context, 0));
    ck_assert_uint_eq(stats_of(context).pool_bytes, 0);
    close_context(context);
}
END_TEST

START_TEST(memory_in_use_by_a_job_is_not_given_to_the_next_buffer)
{
    eum_context *context = open_context();
    eum_buffer *buffer = new_buffer(context, 64 * KIB);
    gate g = GATE_INIT;
    eum_job job = launch1(default_stream(context), (work){.kind = WORK_FILL, .value = 1, .gate = &g}, overwrites(whole(buffer)));
    await_gate(&g, 1);
    OK(eum_buffer_destroy(buffer));
    uint64_t before = stats_of(context).pool_hits;
    eum_buffer *next = new_buffer(context, 64 * KIB);
    cpu_fill(whole(next), 2);
    ck_assert_uint_eq(stats_of(context).pool_hits, before);
    open_gate(&g);
    wait_job(job);
    cpu_expect(whole(next), 2);
    OK(eum_buffer_destroy(next));
    close_context(context);
}
END_TEST

START_TEST(reused_memory_works_in_every_pattern_and_zeroed_is_zeroed)
{
    eum_context *context = open_context();
    eum_stream *stream = default_stream(context);
    for (uint32_t round = 1; round < 40; round++) {
        for (eum_role role = EUM_ROLE_AUTO; role <= EUM_ROLE_STREAM; role++) {
            eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
            eum_buffer *buffer = NULL;
            config.role = role;
            config.flags = round % 2 == 0 ? EUM_BUFFER_ZEROED : 0;
            size_t words = 20000 + 700 * (round % 5);
            OK(eum_buffer_create(context, words * 4, &config, &buffer));
            if (round % 2 == 0) {
                uint32_t *zeros = map(whole(buffer), EUM_ACCESS_READ);
                for (size_t i = 0; i < words; i++)
                    if (zeros[i] != 0)
                        ck_abort_msg("word %zu is %08x", i, zeros[i]);
                unmap(buffer, zeros);
            }
            if (round % 3 == 0)
                gpu_fill(stream, whole(buffer), round);
            else
                cpu_fill(whole(buffer), round);
            gpu_expect(stream, whole(buffer), round);
            if (round % 4 == 0)
                cpu_expect(whole(buffer), round);
            OK(eum_buffer_destroy(buffer));
        }
    }
    ck_assert_uint_gt(stats_of(context).pool_hits, 0);
    close_context(context); /* and no kernel took a page fault */
}
END_TEST

START_TEST(the_pool_makes_way_for_new_buffers_and_keeps_to_its_cap)
{
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    eum_context *context = NULL;
    config.device = "sim:pascal,memory=8M";
    config.pool_bytes = 3 * MIB;
    config.backing = EUM_BACKING_MANAGED;
    OK(eum_context_create(&config, &context));
    eum_buffer *a = new_buffer(context, 2 * MIB), *b = new_buffer(context, 2 * MIB), *c = NULL;
    OK(eum_buffer_destroy(a));
    OK(eum_buffer_destroy(b));
    ck_assert_uint_eq(stats_of(context).pool_bytes, 2 * MIB); /* the older one had to go */
    GIVES(EUM_ERROR_OVER_BUDGET, eum_buffer_create(context, 7 * MIB, NULL, &c));
    ck_assert_uint_eq(stats_of(context).pool_bytes, 2 * MIB); /* nothing gives way for what can never fit */
    c = new_buffer(context, 6 * MIB);                         /* fits, once the pool has given way */
    OK(eum_buffer_destroy(c));
    close_context(context);
    config.pool_bytes = EUM_POOL_OFF;
    OK(eum_context_create(&config, &context));
    a = new_buffer(context, 2 * MIB);
    OK(eum_buffer_destroy(a));
    ck_assert_uint_eq(stats_of(context).pool_bytes, 0);
    ck_assert_uint_eq(info_of(context).budget_used, 0);
    close_context(context);
}
END_TEST

START_TEST(raw_memory_from_the_pool_leaves_it_for_good)
{
    eum_context *context = open_context();
    eum_buffer *buffer = new_buffer(context, 100 * KIB);
    OK(eum_buffer_destroy(buffer));
    buffer = new_buffer(context, 90 * KIB);
    cpu_fill(whole(buffer), 3);
    eum_raw raw = EUM_RAW_INIT;
    OK(eum_buffer_into_raw(buffer, &raw));
    ck_assert_uint_eq(raw.bytes, 90 * KIB);
    raw.release(raw.release_user, raw.address, raw.bytes);
    close_context(context);
}
END_TEST

START_TEST(addresses_do_not_change_hands_while_a_window_counts)
{
    eum_context *context = open_on("sim:hopper", EUM_BACKING_MANAGED);
    eum_buffer *buffer = new_buffer(context, 64 * KIB);
    cpu_fill(whole(buffer), 1);
    OK(eum_buffer_destroy(buffer));
    uint64_t hits = stats_of(context).pool_hits;
    OK(eum_faults_begin(context));
    buffer = new_buffer(context, 64 * KIB);
    ck_assert_uint_eq(stats_of(context).pool_hits, hits);
    eum_faults faults = EUM_FAULTS_INIT;
    OK(eum_faults_end(context, &faults));
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

Suite *pool_suite(void)
{
    Suite *suite = suite_create("pool");
    TCase *tests = tcase_create("pool");
    tcase_add_test(tests, size_classes_rise_with_the_size_four_to_each_doubling);
    tcase_add_test(tests, a_pool_gives_each_block_once_and_only_where_it_fits);
    if (runs_cpu_kernels() && !takes_turns()) { /* managed memory that is used in turns is not pooled */
        tcase_add_test(tests, buffers_made_again_and_again_cost_the_device_one_allocation);
        tcase_add_test(tests, memory_in_use_by_a_job_is_not_given_to_the_next_buffer);
        tcase_add_test(tests, reused_memory_works_in_every_pattern_and_zeroed_is_zeroed);
        tcase_add_test(tests, the_pool_makes_way_for_new_buffers_and_keeps_to_its_cap);
        tcase_add_test(tests, raw_memory_from_the_pool_leaves_it_for_good);
        tcase_add_test(tests, addresses_do_not_change_hands_while_a_window_counts);
    }
    suite_add_tcase(suite, tests);
    return suite;
}
