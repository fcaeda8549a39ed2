/* The CPU as a device: its streams, their order, their waits and their threads.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>

#include "host_device_fixture.h"
#include "sanitized.h"

#define STREAMS 4
#define ROUNDS 2000

Suite *host_streams_suite(void);

START_TEST(marks_rise_and_pass_at_once_on_an_idle_stream)
{
    eum_dstream *stream = make_stream();
    uint64_t before = 0;
    for (int i = 0; i < 100; i++) {
        uint64_t sequence = 0;
        ck_assert_int_eq(ops->mark(stream, &sequence), EUM_OK);
        ck_assert_uint_gt(sequence, before);
        ck_assert(ops->passed(stream, sequence));
        ck_assert_int_eq(ops->wait(stream, sequence, 0), EUM_OK);
        before = sequence;
    }
    ops->stream_destroy(stream);
}
END_TEST

START_TEST(a_kernel_runs_once_in_a_callback_and_finishes_before_it_has_passed)
{
    eum_dstream *stream = make_stream();
    work w;
    uint64_t sequence;
    init_work(&w, 0);
    w.stream = stream;
    ck_assert_int_eq(ops->submit(stream, &w.task), EUM_OK);
    ck_assert_int_eq(ops->mark(stream, &sequence), EUM_OK);
    ck_assert_int_eq(ops->wait(stream, sequence, -1), EUM_OK);
    ck_assert_int_eq(atomic_load(&w.ran), 1);
    ck_assert_int_eq(atomic_load(&w.finished), 1);
    ck_assert(!w.passed_too_early);
    ck_assert_int_eq(w.status, EUM_OK);
    ck_assert_int_eq(w.depth, 1);
    ck_assert_int_eq(w.where, EUM_LOCATION_HOST);
    ck_assert_ptr_null(w.native);
    ck_assert_int_eq(eum_callback_depth, 0);
    ops->stream_destroy(stream);
}
END_TEST

START_TEST(a_kernel_that_fails_hands_its_code_to_finish_and_stops_nothing)
{
    eum_dstream *stream = make_stream();
    work bad, good;
    init_work(&bad, -42);
    init_work(&good, 0);
    ck_assert_int_eq(ops->submit(stream, &bad.task), EUM_OK);
    ck_assert_int_eq(ops->submit(stream, &good.task), EUM_OK);
    drain(stream);
    ck_assert_int_eq(bad.status, EUM_ERROR_JOB_FAILED);
    ck_assert_int_eq(bad.finish_code, -42);
    ck_assert_int_eq(good.status, EUM_OK);
    ops->stream_destroy(stream);
}
END_TEST

START_TEST(a_wait_that_is_too_short_times_out_and_cancels_nothing)
{
    eum_dstream *stream = make_stream();
    uint64_t sequence;
    ck_assert_int_eq(ops->host_call(stream, wait_at_gate, NULL), EUM_OK);
    ck_assert_int_eq(ops->mark(stream, &sequence), EUM_OK);
    ck_assert(!ops->passed(stream, sequence));
    ck_assert_int_eq(ops->wait(stream, sequence, 0), EUM_ERROR_TIMEOUT);
    int64_t begin = eum_now_ns();
    ck_assert_int_eq(ops->wait(stream, sequence, 30 * MS), EUM_ERROR_TIMEOUT);
    ck_assert_int_ge(eum_now_ns() - begin, 30 * MS);
    ck_assert_int_eq(atomic_load(&calls), 0);
    atomic_store(&gate_open, true);
    ck_assert_int_eq(ops->wait(stream, sequence, INT64_MAX), EUM_OK);
    ck_assert_int_eq(atomic_load(&calls), 1);
    ops->stream_destroy(stream);
}
END_TEST

START_TEST(streams_do_not_wait_for_each_other_unless_ordered)
{
    eum_dstream *blocked = make_stream(), *freely = make_stream(), *after = make_stream();
    uint64_t gate, sequence;
    ck_assert_int_eq(ops->host_call(blocked, wait_at_gate, NULL), EUM_OK);
    ck_assert_int_eq(ops->mark(blocked, &gate), EUM_OK);
    ck_assert_int_eq(ops->host_call(freely, count_call, NULL), EUM_OK);
    drain_and_destroy(freely);
    ck_assert_int_eq(atomic_load(&calls), 1);
    ck_assert_int_eq(ops->order(after, blocked, gate), EUM_OK);
    ck_assert_int_eq(ops->host_call(after, count_call, NULL), EUM_OK);
    ck_assert_int_eq(ops->mark(after, &sequence), EUM_OK);
    ck_assert_int_eq(ops->wait(after, sequence, 30 * MS), EUM_ERROR_TIMEOUT);
    ck_assert_int_eq(atomic_load(&calls), 1);
    atomic_store(&gate_open, true);
    ck_assert_int_eq(ops->wait(after, sequence, -1), EUM_OK);
    ck_assert_int_eq(atomic_load(&calls), 3);
    ops->stream_destroy(blocked);
    ops->stream_destroy(after);
}
END_TEST

/* A kernel that who waits may run, and its point. */
static uint64_t submit_anywhere(eum_dstream *stream, work *w)
{
    uint64_t sequence = 0;
    init_work(w, 0);
    w->task.anywhere = true;
    ck_assert_int_eq(ops->submit(stream, &w->task), EUM_OK);
    ck_assert_int_eq(ops->mark(stream, &sequence), EUM_OK);
    return sequence;
}

/* So that the stream's thread stops looking for work at once. */
static void launch_and_wait_often(eum_dstream *stream)
{
    for (int i = 0; i < 300; i++) {
        work w;
        uint64_t sequence = submit_anywhere(stream, &w);
        ck_assert_int_eq(ops->wait(stream, sequence, -1), EUM_OK);
        ck_assert_int_eq(atomic_load(&w.ran), 1);
        ck_assert_int_eq(atomic_load(&w.finished), 1);
    }
}

static bool passes(eum_dstream *stream, uint64_t sequence)
{
    int64_t end = eum_now_ns() + 20000 * MS;
    while (!ops->passed(stream, sequence) && eum_now_ns() < end)
        (void)usleep(100);
    return ops->passed(stream, sequence);
}

START_TEST(a_kernel_that_nobody_waits_for_runs_after_many_that_were_waited_for)
{
    eum_dstream *stream = make_stream();
    for (int i = 0; i < 20; i++) {
        work w[3];
        uint64_t sequence = 0;
        launch_and_wait_often(stream);
        for (int k = 0; k <= i % 3; k++)
            sequence = submit_anywhere(stream, &w[k]);
        if (i % 2 == 1)
            (void)usleep(10000); /* longer than the thread's naps go on */
        ck_assert(passes(stream, sequence));
        for (int k = 0; k <= i % 3; k++)
            ck_assert_int_eq(atomic_load(&w[k].ran), 1);
    }
    ops->stream_destroy(stream);
}
END_TEST

START_TEST(who_waits_for_a_kernel_leaves_what_is_behind_it_to_the_stream)
{
    eum_dstream *stream = make_stream();
    for (int i = 1; i <= 100; i++) {
        work w;
        uint64_t last = 0;
        launch_and_wait_often(stream);
        uint64_t sequence = submit_anywhere(stream, &w);
        ck_assert_int_eq(ops->host_call(stream, count_call, NULL), EUM_OK);
        ck_assert_int_eq(ops->mark(stream, &last), EUM_OK);
        ck_assert_int_eq(ops->wait(stream, sequence, -1), EUM_OK);
        ck_assert(passes(stream, last));
        ck_assert_int_eq(atomic_load(&calls), i);
    }
    ops->stream_destroy(stream);
}
END_TEST

START_TEST(a_wait_with_a_limit_is_for_a_kernel_that_the_stream_runs)
{
    eum_dstream *stream = make_stream();
    launch_and_wait_often(stream);
    work w;
    uint64_t sequence = submit_anywhere(stream, &w);
    ck_assert_int_eq(ops->wait(stream, sequence, 20000 * MS), EUM_OK);
    ck_assert_int_eq(atomic_load(&w.ran), 1);
    ops->stream_destroy(stream);
}
END_TEST

START_TEST(a_stream_may_end_while_another_is_ordered_after_it)
{
    for (int i = 0; i < 200; i++) {
        eum_dstream *first = make_stream(), *second = make_stream();
        uint64_t sequence;
        ck_assert_int_eq(ops->host_call(first, count_call, NULL), EUM_OK);
        ck_assert_int_eq(ops->mark(first, &sequence), EUM_OK);
        ck_assert_int_eq(ops->order(second, first, sequence), EUM_OK);
        ck_assert_int_eq(ops->host_call(second, count_call, NULL), EUM_OK);
        ck_assert_int_eq(ops->wait(first, sequence, -1), EUM_OK);
        ops->stream_destroy(first);
        drain_and_destroy(second);
    }
    ck_assert_int_eq(atomic_load(&calls), 400);
}
END_TEST

/* Every stream adds to one plain counter, each after the one before it: only the order keeps it right (and a thread sanitizer quiet). */
static uint64_t shared_counter;

static void add_one(void *user)
{
    (void)user;
    shared_counter++;
}

START_TEST(order_between_streams_holds_under_stress)
{
    eum_dstream *streams[STREAMS];
    for (int i = 0; i < STREAMS; i++)
        streams[i] = make_stream();
    uint64_t sequence = 0;
    for (int i = 0; i < ROUNDS; i++) {
        eum_dstream *now = streams[i % STREAMS];
        if (i > 0)
            ck_assert_int_eq(ops->order(now, streams[(i - 1) % STREAMS], sequence), EUM_OK);
        ck_assert_int_eq(ops->host_call(now, add_one, NULL), EUM_OK);
        ck_assert_int_eq(ops->mark(now, &sequence), EUM_OK);
    }
    ck_assert_int_eq(ops->wait(streams[(ROUNDS - 1) % STREAMS], sequence, -1), EUM_OK);
    ck_assert_uint_eq(shared_counter, ROUNDS);
    for (int i = 0; i < STREAMS; i++)
        drain_and_destroy(streams[i]);
}
END_TEST

typedef struct log_entry {
    int *list;
    atomic_int *count;
    int number;
} log_entry;

static void append(void *user)
{
    log_entry *entry = user;
    entry->list[atomic_fetch_add(entry->count, 1)] = entry->number;
}

START_TEST(a_stream_keeps_the_order_of_more_entries_than_its_queue_had_room_for)
{
    static int list[ROUNDS];
    static log_entry entries[ROUNDS];
    atomic_int count = 0;
    eum_dstream *stream = make_stream();
    ck_assert_int_eq(ops->host_call(stream, wait_at_gate, NULL), EUM_OK);
    for (int i = 0; i < ROUNDS; i++) {
        entries[i] = (log_entry){list, &count, i};
        ck_assert_int_eq(ops->host_call(stream, append, &entries[i]), EUM_OK);
    }
    atomic_store(&gate_open, true);
    drain(stream);
    for (int i = 0; i < ROUNDS; i++)
        ck_assert_int_eq(list[i], i);
    ops->stream_destroy(stream);
}
END_TEST

START_TEST(copies_run_in_stream_order_whatever_their_size)
{
    static const size_t sizes[] = {1, 100, 300u << 10, 3u << 20};
    eum_dstream *stream = make_stream();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        eum_block a, b;
        ck_assert_int_eq(ops->alloc(device, EUM_MEMORY_HOST, sizes[i], &a), EUM_OK);
        ck_assert_int_eq(ops->alloc(device, EUM_MEMORY_HOST, sizes[i], &b), EUM_OK);
        memset(a.host, (int)i + 1, sizes[i]);
        memset(b.host, 0, sizes[i]);
        atomic_store(&gate_open, false);
        ck_assert_int_eq(ops->host_call(stream, wait_at_gate, NULL), EUM_OK);
        ck_assert_int_eq(ops->copy(stream, b.device, a.host, sizes[i], EUM_HOST_TO_DEVICE), EUM_OK);
        ck_assert_int_eq(*(char *)b.host, 0);
        atomic_store(&gate_open, true);
        drain(stream);
        ck_assert_int_eq(memcmp(a.host, b.host, sizes[i]), 0);
        ops->release(device, &a);
        ops->release(device, &b);
    }
    ops->stream_destroy(stream);
}
END_TEST

START_TEST(overlapping_copies_move_the_bytes_as_they_were)
{
    char text[] = "abcdefgh";
    eum_dstream *stream = make_stream();
    ck_assert_int_eq(ops->copy(stream, text + 2, text, 6, EUM_DEVICE_TO_DEVICE), EUM_OK);
    drain(stream);
    ck_assert_str_eq(text, "ababcdef");
    ops->stream_destroy(stream);
}
END_TEST

START_TEST(synchronize_waits_for_every_stream)
{
    eum_dstream *streams[STREAMS];
    for (int i = 0; i < STREAMS; i++) {
        streams[i] = make_stream();
        for (int j = 0; j < 100; j++)
            ck_assert_int_eq(ops->host_call(streams[i], count_call, NULL), EUM_OK);
    }
    ck_assert_int_eq(ops->synchronize(device), EUM_OK);
    ck_assert_int_eq(atomic_load(&calls), STREAMS * 100);
    for (int i = 0; i < STREAMS; i++)
        ops->stream_destroy(streams[i]);
    ck_assert_int_eq(ops->synchronize(device), EUM_OK);
}
END_TEST

static void *use_streams(void *arg)
{
    (void)arg;
    for (int i = 0; i < 50; i++) {
        eum_dstream *stream = make_stream();
        work w;
        init_work(&w, 0);
        ck_assert_int_eq(ops->submit(stream, &w.task), EUM_OK);
        if (i % 5 == 0)
            ck_assert_int_eq(ops->synchronize(device), EUM_OK);
        drain(stream);
        ck_assert_int_eq(atomic_load(&w.finished), 1);
        ops->stream_destroy(stream);
    }
    return NULL;
}

START_TEST(streams_come_and_go_on_several_threads_at_once)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, use_streams, NULL), 0);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
}
END_TEST

START_TEST(a_stream_without_a_thread_to_start_says_so_and_works_later)
{
    eum_dstream *stream = make_stream();
    work w;
    init_work(&w, 0);
    struct rlimit before, none;
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &before), 0);
    none = before;
    none.rlim_cur = 1; /* no stack can be mapped */
    bool limited = setrlimit(RLIMIT_AS, &none) == 0;
    eum_status status = ops->submit(stream, &w.task);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &before), 0);
    if (limited && status != EUM_OK) { /* a thread's cached stack may still have been there */
        ck_assert_int_eq(status, EUM_ERROR_SYSTEM);
        ck_assert_int_eq(atomic_load(&w.ran), 0);
        ck_assert_int_eq(ops->submit(stream, &w.task), EUM_OK);
    }
    drain(stream);
    ck_assert_int_eq(atomic_load(&w.ran), 1);
    ck_assert_int_eq(atomic_load(&w.finished), 1);
    ops->stream_destroy(stream);
}
END_TEST

/* Threads of streams, by their name. */
static int count_stream_threads(void)
{
    DIR *tasks = opendir("/proc/self/task");
    if (tasks == NULL)
        return -1;
    int count = 0;
    for (struct dirent *entry = readdir(tasks); entry != NULL; entry = readdir(tasks)) {
        char path[300], name[32] = "";
        (void)snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        FILE *file = fopen(path, "r");
        if (file == NULL)
            continue;
        count += fgets(name, sizeof name, file) != NULL && strcmp(name, "eum-stream\n") == 0;
        (void)fclose(file);
    }
    (void)closedir(tasks);
    return count;
}

START_TEST(idle_streams_cost_no_thread)
{
    eum_dstream *stream = make_stream(), *never_used = make_stream();
    if (count_stream_threads() < 0)
        return; /* no /proc */
    drain(never_used);
    ck_assert_int_eq(count_stream_threads(), 0);
    ck_assert_int_eq(ops->host_call(stream, wait_at_gate, NULL), EUM_OK);
    ck_assert_int_eq(count_stream_threads(), 1);
    atomic_store(&gate_open, true);
    drain(stream);
    int64_t end = eum_now_ns() + 20000 * MS;
    while (count_stream_threads() > 0 && eum_now_ns() < end)
        (void)usleep(20000);
    ck_assert_int_eq(count_stream_threads(), 0);
    ck_assert_int_eq(ops->host_call(stream, count_call, NULL), EUM_OK); /* and a new one starts */
    drain_and_destroy(stream);
    ops->stream_destroy(never_used);
    ck_assert_int_eq(atomic_load(&calls), 2);
}
END_TEST

Suite *host_streams_suite(void)
{
    Suite *suite = suite_create("host_streams");
    TCase *tests = tcase_create("host_streams");
    tcase_add_checked_fixture(tests, open_device, close_device);
    tcase_add_test(tests, marks_rise_and_pass_at_once_on_an_idle_stream);
    tcase_add_test(tests, a_kernel_runs_once_in_a_callback_and_finishes_before_it_has_passed);
    tcase_add_test(tests, a_kernel_that_fails_hands_its_code_to_finish_and_stops_nothing);
    tcase_add_test(tests, a_wait_that_is_too_short_times_out_and_cancels_nothing);
    tcase_add_test(tests, streams_do_not_wait_for_each_other_unless_ordered);
    tcase_add_test(tests, a_kernel_that_nobody_waits_for_runs_after_many_that_were_waited_for);
    tcase_add_test(tests, who_waits_for_a_kernel_leaves_what_is_behind_it_to_the_stream);
    tcase_add_test(tests, a_wait_with_a_limit_is_for_a_kernel_that_the_stream_runs);
    tcase_add_test(tests, a_stream_may_end_while_another_is_ordered_after_it);
    tcase_add_test(tests, order_between_streams_holds_under_stress);
    tcase_add_test(tests, a_stream_keeps_the_order_of_more_entries_than_its_queue_had_room_for);
    tcase_add_test(tests, copies_run_in_stream_order_whatever_their_size);
    tcase_add_test(tests, overlapping_copies_move_the_bytes_as_they_were);
    tcase_add_test(tests, synchronize_waits_for_every_stream);
    tcase_add_test(tests, streams_come_and_go_on_several_threads_at_once);
    if (!SANITIZED)
        tcase_add_test(tests, a_stream_without_a_thread_to_start_says_so_and_works_later);
    tcase_add_test(tests, idle_streams_cost_no_thread);
    suite_add_tcase(suite, tests);
    return suite;
}
