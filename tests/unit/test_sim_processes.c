/* The simulated GPU among processes, signal handlers and threads.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE 1

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim_fixture.h"

Suite *sim_processes_suite(void);

static void quiet(void) /* a sanitizer that reports the crash we ask for would only confuse */
{
    if (freopen("/dev/null", "w", stderr) == NULL)
        _exit(99);
}

static void assert_crashed(pid_t child)
{
    int status = 0;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    /* A sanitizer's own handler exits instead. */
    ck_assert_msg(WIFSIGNALED(status) ? WTERMSIG(status) == SIGSEGV : WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 99,
                  "status %d", status);
}

START_TEST(a_child_process_shares_nothing_and_can_have_a_device_of_its_own)
{
    eum_device *device = open_with("pascal", NULL);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, PAGE);
    fill(&block, 1);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        quiet();
        fill(&block, 2);
        _exit(0);
    }
    assert_crashed(child);
    assert_all(&block, 1);
    child = fork();
    if (child == 0) {
        eum_device *own = open_with("ampere", NULL);
        eum_dstream *stream = new_stream(own);
        eum_block mine = alloc(own, EUM_MEMORY_MANAGED, SEED_BYTES);
        fill(&mine, 1);
        run(stream, add_one, &mine, EUM_ACCESS_READ_WRITE);
        assert_all(&mine, 2);
        done(own, stream, &mine);
        _exit(0);
    }
    int status = 0;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    done(device, NULL, &block);
}
END_TEST

static volatile int *volatile nowhere = (volatile int *)64;

START_TEST(a_genuine_crash_still_crashes)
{
    eum_device *device = open_with("pascal", NULL);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, PAGE);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        quiet();
        *nowhere = 1;
        _exit(0);
    }
    assert_crashed(child);
    child = fork();
    if (child == 0) {
        eum_device *own = open_with("pascal", NULL);
        eum_block mine = alloc(own, EUM_MEMORY_DEVICE, PAGE);
        quiet();
        ((volatile char *)mine.device)[PAGE] = 1; /* the first byte after a block */
        _exit(0);
    }
    assert_crashed(child);
    child = fork();
    if (child == 0) {
        quiet();
        raise(SIGSEGV); /* sent, not caused */
        _exit(0);
    }
    assert_crashed(child);
    done(device, NULL, &block);
}
END_TEST

static sigjmp_buf after_crash;

static void jump(int number)
{
    (void)number;
    siglongjmp(after_crash, 1);
}

START_TEST(the_handler_that_was_there_before_gets_what_is_not_ours_and_comes_back)
{
    struct sigaction mine = {.sa_handler = jump}, before, now;
    ck_assert_int_eq(sigaction(SIGSEGV, &mine, &before), 0);
    eum_device *device = open_with("pascal", NULL);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, PAGE);
    if (sigsetjmp(after_crash, 1) == 0) {
        *nowhere = 1;
        ck_abort_msg("there is nothing at that address");
    }
    fill(&block, 1);
    ck_assert_uint_eq(counters(device).cpu_faults, 1);
    done(device, NULL, &block);
    ck_assert_int_eq(sigaction(SIGSEGV, NULL, &now), 0);
    ck_assert(now.sa_handler == jump);
    ck_assert_int_eq(sigaction(SIGSEGV, &before, NULL), 0);
}
END_TEST

typedef struct toucher {
    pthread_t thread;
    eum_block *block;
    size_t stride, first;
} toucher;

static void *touch_pages(void *argument)
{
    toucher *self = argument;
    for (size_t at = self->first; at + sizeof(int) <= self->block->bytes; at += self->stride)
        *(volatile int *)((char *)self->block->host + at) = 1;
    return NULL;
}

START_TEST(threads_that_fault_on_the_same_pages_are_counted_once)
{
    eum_device *device = open_with("pascal", NULL);
    eum_block block = alloc(device, EUM_MEMORY_MANAGED, 64 * PAGE);
    toucher touchers[4];
    for (size_t i = 0; i < 4; i++) {
        touchers[i] = (toucher){.block = &block, .stride = PAGE, .first = i * sizeof(int)};
        ck_assert_int_eq(pthread_create(&touchers[i].thread, NULL, touch_pages, &touchers[i]), 0);
    }
    for (size_t i = 0; i < 4; i++)
        pthread_join(touchers[i].thread, NULL);
    ck_assert_uint_eq(counters(device).cpu_faults, 64);
    done(device, NULL, &block);
}
END_TEST

typedef struct worker {
    pthread_t thread;
    eum_device *device;
    int failures;
} worker;

/* Check's assertions are for the main thread. */
static void *use_a_stream(void *argument)
{
    worker *self = argument;
    const struct eum_device_ops *ops = self->device->ops;
    eum_dstream *stream = NULL;
    eum_block block = {0};
    if (ops->stream_create(self->device, &stream) != EUM_OK ||
        ops->alloc(self->device, EUM_MEMORY_MANAGED, 5 * PAGE, &block) != EUM_OK) {
        self->failures++;
        return NULL;
    }
    volatile float *host = block.host;
    size_t count = block.bytes / sizeof(float);
    for (int round = 0; round < 20; round++) {
        job kernel = {.address = {block.device}, .bytes = {block.bytes}, .access = {EUM_ACCESS_READ_WRITE}};
        eum_kernel_call call = {.struct_size = sizeof call, .count = 1, .addresses = kernel.address, .bytes = kernel.bytes};
        kernel.task = (eum_task){.cpu = add_one, .call = call, .accesses = kernel.access, .finish = finished};
        uint64_t sequence = 0;
        for (size_t i = 0; i < count; i += 1000)
            host[i] = (float)round;
        if (round % 2 == 0)
            self->failures += ops->prefetch(stream, &block, 0, block.bytes, 0) != EUM_OK;
        self->failures += ops->submit(stream, &kernel.task) != EUM_OK;
        if (round % 3 == 0)
            self->failures += ops->prefetch(stream, &block, 0, block.bytes, EUM_LOCATION_HOST) != EUM_OK;
        self->failures += ops->mark(stream, &sequence) != EUM_OK;
        self->failures += ops->wait(stream, sequence, -1) != EUM_OK;
        for (size_t i = 0; i < count; i += 1000)
            self->failures += host[i] != (float)(round + 1);
    }
    ops->release(self->device, &block);
    ops->stream_destroy(stream);
    return NULL;
}

START_TEST(eight_threads_with_eight_streams_keep_their_bytes_apart)
{
    eum_device *device = open_with(concurrent[_i], "memory=2M"); /* and evict each other */
    worker workers[8];
    for (int i = 0; i < 8; i++) {
        workers[i] = (worker){.device = device};
        ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, use_a_stream, &workers[i]), 0);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(workers[i].thread, NULL);
        ck_assert_int_eq(workers[i].failures, 0);
    }
    done(device, NULL, NULL);
}
END_TEST

Suite *sim_processes_suite(void)
{
    Suite *suite = suite_create("sim_processes");
    TCase *processes = tcase_create("processes and threads");
    tcase_set_timeout(processes, 60);
    tcase_add_test(processes, a_child_process_shares_nothing_and_can_have_a_device_of_its_own);
    tcase_add_test(processes, a_genuine_crash_still_crashes);
    tcase_add_test(processes, the_handler_that_was_there_before_gets_what_is_not_ours_and_comes_back);
    tcase_add_test(processes, threads_that_fault_on_the_same_pages_are_counted_once);
    tcase_add_loop_test(processes, eight_threads_with_eight_streams_keep_their_bytes_apart, 0, 4);
    suite_add_tcase(suite, processes);
    return suite;
}
