/* The checker of orderings: what it catches, and when it is silent.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE 1

#include <unistd.h>

#include "sim_fixture.h"

Suite *sim_checker_suite(void);

typedef struct pair {
    eum_device *device;
    eum_dstream *a, *b;
    eum_block block;
} pair;

static pair make_pair(const char *options)
{
    pair it = {.device = open_with("ampere", options)};
    it.a = new_stream(it.device);
    it.b = new_stream(it.device);
    it.block = alloc(it.device, EUM_MEMORY_MANAGED, 4 * PAGE);
    prefetch(it.a, &it.block, 0);
    finish_stream(it.a);
    return it;
}

static void end_pair(pair *it)
{
    ck_assert_int_eq(it->device->ops->synchronize(it->device), EUM_OK);
    it->device->ops->stream_destroy(it->b);
    done(it->device, it->a, &it->block);
}

START_TEST(the_checker_catches_a_missing_order_whatever_the_timing)
{
    pair it = make_pair(NULL);
    job write, read;
    submit(&write, it.a, add_one, &it.block, EUM_ACCESS_READ_WRITE);
    while (atomic_load(&write.finished) == 0) /* it is long done, but nobody was told */
        usleep(100);
    submit(&read, it.b, sum, &it.block, EUM_ACCESS_READ);
    assert_violation(it.device, "a kernel on stream 2 reads bytes [0, 262144)");
    assert_violation(it.device, "nothing orders it after a kernel on stream 1, which writes");
    eum_sim_violations_clear(it.device);
    end_pair(&it);
}
END_TEST

START_TEST(the_checker_is_silent_when_streams_are_ordered)
{
    pair it = make_pair(NULL);
    job write, read, again;
    submit(&write, it.a, add_one, &it.block, EUM_ACCESS_READ_WRITE);
    ck_assert_int_eq(it.device->ops->order(it.b, it.a, mark(it.a)), EUM_OK);
    submit(&read, it.b, sum, &it.block, EUM_ACCESS_READ);
    ck_assert_int_eq(it.device->ops->order(it.a, it.b, mark(it.b)), EUM_OK);
    submit(&again, it.a, add_one, &it.block, EUM_ACCESS_READ_WRITE);
    finish_stream(it.a);
    run(it.b, add_one, &it.block, EUM_ACCESS_READ_WRITE); /* ordered by the host's wait */
    end_pair(&it);
}
END_TEST

START_TEST(the_checker_catches_a_forgotten_reader)
{
    pair it = make_pair("schedule=step");
    job first, second, write;
    submit(&first, it.a, sum, &it.block, EUM_ACCESS_READ);
    submit(&second, it.b, sum, &it.block, EUM_ACCESS_READ);
    assert_no_violation(it.device); /* readers do not conflict */
    submit(&write, it.b, add_one, &it.block, EUM_ACCESS_READ_WRITE);
    assert_violation(it.device, "which reads");
    eum_sim_violations_clear(it.device);
    end_pair(&it);
}
END_TEST

START_TEST(the_checker_knows_bytes_that_do_not_overlap)
{
    pair it = make_pair(NULL);
    eum_block left = it.block, right = it.block;
    left.bytes = right.bytes = 2 * PAGE;
    right.device = (char *)right.device + 2 * PAGE;
    job one, two;
    submit(&one, it.a, add_one, &left, EUM_ACCESS_READ_WRITE);
    submit(&two, it.b, add_one, &right, EUM_ACCESS_READ_WRITE);
    end_pair(&it);
}
END_TEST

START_TEST(the_checker_catches_pages_moved_away_from_a_kernel)
{
    pair it = make_pair("schedule=step");
    job kernel;
    submit(&kernel, it.a, sum, &it.block, EUM_ACCESS_READ);
    prefetch(it.b, &it.block, 0); /* where they are anyway */
    assert_no_violation(it.device);
    prefetch(it.b, &it.block, EUM_LOCATION_HOST);
    assert_violation(it.device, "a prefetch on stream 2 moves");
    eum_sim_violations_clear(it.device);
    end_pair(&it);
}
END_TEST

START_TEST(the_checker_lets_read_mostly_pages_be_duplicated_under_readers)
{
    pair it = make_pair("schedule=step");
    job kernel;
    advise(it.device, &it.block, EUM_ADVICE_READ_MOSTLY, 0);
    submit(&kernel, it.a, sum, &it.block, EUM_ACCESS_READ);
    prefetch(it.b, &it.block, EUM_LOCATION_HOST);
    eum_sim_host_access(it.device, it.block.host, it.block.bytes, false);
    assert_no_violation(it.device);
    eum_sim_host_access(it.device, it.block.host, 4, true);
    assert_violation(it.device, "the host writes bytes [0, 4)");
    eum_sim_violations_clear(it.device);
    end_pair(&it);
}
END_TEST

START_TEST(the_checker_catches_a_discard_under_a_reader)
{
    pair it = make_pair("schedule=step");
    job kernel;
    submit(&kernel, it.a, sum, &it.block, EUM_ACCESS_READ);
    ck_assert_int_eq(it.device->ops->discard(it.b, &it.block, PAGE, PAGE), EUM_OK);
    assert_violation(it.device, "a discard on stream 2 discards bytes [65536, 131072)");
    eum_sim_violations_clear(it.device);
    end_pair(&it);
}
END_TEST

START_TEST(the_checker_catches_memory_released_while_in_use_and_nothing_crashes)
{
    eum_device *device = open_with("ampere", "schedule=step");
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, PAGE);
    job kernel;
    submit(&kernel, stream, store_ones, &block, EUM_ACCESS_OVERWRITE);
    device->ops->release(device, &block);
    assert_violation(device, "was released");
    eum_sim_violations_clear(device);
    finish_stream(stream);
    done(device, stream, NULL);
}
END_TEST

static void keep_message(void *user, eum_log_level level, const char *message)
{
    ck_assert_int_eq(level, EUM_LOG_ERROR);
    snprintf(user, 1024, "%s", message);
}

START_TEST(violations_are_logged_as_errors)
{
    char message[1024] = "";
    eum_log log = {.fn = keep_message, .user = message, .level = EUM_LOG_ERROR};
    eum_device_config config = {.options = "schedule=step", .arch = "maxwell", .log = &log};
    eum_device *device = NULL;
    ck_assert_int_eq(eum_sim_open(&config, &device), EUM_OK);
    eum_dstream *stream = new_stream(device);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, PAGE);
    job kernel;
    submit(&kernel, stream, sum, &block, EUM_ACCESS_READ);
    *(volatile float *)block.host = 1;
    finish_stream(stream);
    ck_assert_msg(strstr(message, "the host touched managed memory") != NULL, "%s", message);
    eum_sim_violations_clear(device);
    done(device, stream, &block);
}
END_TEST

START_TEST(the_checker_can_be_switched_off)
{
    pair it = make_pair("check=off");
    job one, two;
    submit(&one, it.a, sum, &it.block, EUM_ACCESS_READ_WRITE);
    submit(&two, it.b, sum, &it.block, EUM_ACCESS_READ_WRITE);
    assert_no_violation(it.device);
    end_pair(&it);
}
END_TEST

START_TEST(the_checker_does_not_grow_with_the_length_of_a_run)
{
    pair it = make_pair(NULL);
    const eum_sim_block *block = (const eum_sim_block *)it.block.token;
    job kernel;
    for (int i = 0; i < 300; i++) {
        eum_dstream *stream = i % 2 == 0 ? it.a : it.b, *other = i % 2 == 0 ? it.b : it.a;
        ck_assert_int_eq(it.device->ops->order(stream, other, mark(other)), EUM_OK);
        submit(&kernel, stream, touch_first, &it.block, EUM_ACCESS_READ_WRITE);
        ck_assert_uint_le(block->use_count, 4); /* even while the host waits for nothing it records */
        while (atomic_load(&kernel.finished) == 0)
            continue;
    }
    finish_stream(it.a);
    finish_stream(it.b);
    ck_assert_uint_le(((const eum_sim_stream *)it.a)->mark_count, 1);
    ck_assert_uint_le(((const eum_sim_stream *)it.b)->mark_count, 1);
    end_pair(&it);
}
END_TEST

Suite *sim_checker_suite(void)
{
    Suite *suite = suite_create("sim_checker");
    TCase *checker = tcase_create("checker");
    tcase_add_test(checker, the_checker_catches_a_missing_order_whatever_the_timing);
    tcase_add_test(checker, the_checker_is_silent_when_streams_are_ordered);
    tcase_add_test(checker, the_checker_catches_a_forgotten_reader);
    tcase_add_test(checker, the_checker_knows_bytes_that_do_not_overlap);
    tcase_add_test(checker, the_checker_catches_pages_moved_away_from_a_kernel);
    tcase_add_test(checker, the_checker_lets_read_mostly_pages_be_duplicated_under_readers);
    tcase_add_test(checker, the_checker_catches_a_discard_under_a_reader);
    tcase_add_test(checker, the_checker_catches_memory_released_while_in_use_and_nothing_crashes);
    tcase_add_test(checker, violations_are_logged_as_errors);
    tcase_add_test(checker, the_checker_can_be_switched_off);
    tcase_add_test(checker, the_checker_does_not_grow_with_the_length_of_a_run);
    suite_add_tcase(suite, checker);
    return suite;
}
