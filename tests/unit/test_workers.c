/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cores.h"
#include "sanitized.h"
#include "threads.h"
#include "workers.h"

typedef struct loop {
    eum_workers *workers;
    unsigned char *times; /* each item was visited */
    uint64_t items, grain;
    atomic_int pieces, wrong, on_other_threads;
    pthread_t caller;
} loop;

static void visit(void *arg, uint64_t begin, uint64_t end)
{
    loop *l = arg;
    atomic_fetch_add(&l->pieces, 1);
    if (begin % l->grain != 0 || end <= begin || end > l->items || (end % l->grain != 0 && end != l->items))
        atomic_fetch_add(&l->wrong, 1);
    if (!pthread_equal(l->caller, pthread_self())) {
        atomic_fetch_add(&l->on_other_threads, 1);
        if (eum_callback_depth == 0)
            atomic_fetch_add(&l->wrong, 1);
    }
    for (uint64_t i = begin; i < end; i++)
        l->times[i]++;
}

/* Runs one loop and checks that each item was visited once. */
static bool run_loop(eum_workers *workers, uint64_t items, uint64_t grain, int *out_pieces)
{
    loop l = {.workers = workers, .times = calloc(items + 1, 1), .items = items, .grain = grain, .caller = pthread_self()};
    if (l.times == NULL)
        return false;
    eum_workers_run(workers, items, grain, visit, &l);
    bool right = atomic_load(&l.wrong) == 0;
    for (uint64_t i = 0; i < items; i++)
        right = right && l.times[i] == 1;
    *out_pieces = atomic_load(&l.pieces);
    free(l.times);
    return right;
}

START_TEST(every_item_is_visited_once_in_whole_grains)
{
    static const uint64_t sizes[] = {0, 1, 2, 7, 64, 1000, 99999}, grains[] = {1, 3, 64, 1000, 100000, UINT64_MAX};
    for (uint32_t count = 1; count <= 5; count++) {
        eum_workers *workers = NULL;
        ck_assert_int_eq(eum_workers_create(count, &workers), EUM_OK);
        ck_assert_uint_eq(eum_workers_count(workers), count);
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
            for (size_t g = 0; g < sizeof grains / sizeof *grains; g++) {
                int pieces = 0;
                ck_assert_msg(run_loop(workers, sizes[s], grains[g], &pieces), "%u threads, %lu items, grain %lu", count,
                              (unsigned long)sizes[s], (unsigned long)grains[g]);
                if (sizes[s] == 0)
                    ck_assert_int_eq(pieces, 0);
                else if (sizes[s] <= grains[g] || count == 1)
                    ck_assert_int_eq(pieces, 1);
                else
                    ck_assert_int_ge(pieces, 2);
            }
        eum_workers_destroy(workers);
    }
}
END_TEST

static void count_huge(void *arg, uint64_t begin, uint64_t end)
{
    atomic_fetch_add((atomic_uint_fast64_t *)arg, end - begin);
}

START_TEST(item_counts_near_the_end_of_64_bits_do_not_overflow)
{
    eum_workers *workers = NULL;
    atomic_uint_fast64_t sum = 0;
    ck_assert_int_eq(eum_workers_create(3, &workers), EUM_OK);
    eum_workers_run(workers, UINT64_MAX, 7, count_huge, &sum);
    ck_assert(atomic_load(&sum) == UINT64_MAX);
    eum_workers_destroy(workers);
}
END_TEST

static void slow_visit(void *arg, uint64_t begin, uint64_t end)
{
    (void)usleep(20000);
    visit(arg, begin, end);
}

START_TEST(several_threads_share_a_loop)
{
    eum_workers *workers = NULL;
    unsigned char times[8] = {0};
    loop l = {.times = times, .items = 8, .grain = 1, .caller = pthread_self()};
    ck_assert_int_eq(eum_workers_create(4, &workers), EUM_OK);
    eum_workers_run(workers, 8, 1, slow_visit, &l);
    ck_assert_int_ge(atomic_load(&l.on_other_threads), 1);
    ck_assert_int_eq(atomic_load(&l.wrong), 0);
    eum_workers_destroy(workers);
}
END_TEST

/* Two threads, eight pieces. Each waits in its first piece until the other is in one too; the caller then stays until the rest is done. */
typedef struct shares {
    atomic_int first[2], last[2], inside, done;
    pthread_t caller;
} shares;

static void take_share(void *arg, uint64_t begin, uint64_t end)
{
    shares *s = arg;
    int who = !pthread_equal(s->caller, pthread_self());
    ck_assert_uint_eq(end, begin + 1);
    if (atomic_load(&s->first[who]) < 0) {
        atomic_store(&s->first[who], (int)begin);
        atomic_fetch_add(&s->inside, 1);
        while (atomic_load(&s->inside) < 2)
            (void)sched_yield();
        while (who == 0 && atomic_load(&s->done) < 7)
            (void)sched_yield();
    }
    atomic_store(&s->last[who], (int)begin);
    atomic_fetch_add(&s->done, 1);
}

START_TEST(each_thread_begins_with_its_own_share_and_then_takes_from_the_far_end_of_the_others)
{
    eum_workers *workers = NULL;
    ck_assert_int_eq(eum_workers_create(2, &workers), EUM_OK);
    for (int i = 0; i < 50; i++) {
        shares s = {.first = {-1, -1}, .last = {-1, -1}, .caller = pthread_self()};
        eum_workers_run(workers, 8, 1, take_share, &s);
        ck_assert_int_eq(atomic_load(&s.done), 8);
        ck_assert_int_eq(atomic_load(&s.first[0]), 0);
        ck_assert_int_eq(atomic_load(&s.first[1]), 4);
        ck_assert_int_eq(atomic_load(&s.last[1]), 1); /* 4 to 7, then 3, 2, 1 */
        s = (shares){.first = {-1, -1}, .last = {-1, -1}, .caller = pthread_self()};
        eum_workers_run_back(workers, 8, 1, take_share, &s);
        ck_assert_int_eq(atomic_load(&s.done), 8);
        ck_assert_int_eq(atomic_load(&s.first[0]), 3);
        ck_assert_int_eq(atomic_load(&s.first[1]), 7);
        ck_assert_int_eq(atomic_load(&s.last[1]), 2); /* 7 to 4, then 0, 1, 2 */
    }
    eum_workers_destroy(workers);
}
END_TEST

START_TEST(threads_that_never_look_are_woken_for_each_loop)
{
    eum_workers *workers = NULL;
    ck_assert_int_eq(eum_workers_create(8, &workers), EUM_OK);
    eum_workers_set_spin(workers, 0);
    for (int i = 0; i < 20; i++) {
        unsigned char times[64] = {0};
        loop l = {.times = times, .items = 64, .grain = 1, .caller = pthread_self()};
        eum_workers_run(workers, 64, 1, i % 4 == 0 ? slow_visit : visit, &l);
        ck_assert_int_eq(atomic_load(&l.wrong), 0);
        if (i % 4 == 0)
            ck_assert_int_ge(atomic_load(&l.on_other_threads), 1);
    }
    eum_workers_destroy(workers);
}
END_TEST

START_TEST(a_thread_stays_off_one_core_at_a_time_of_those_that_it_may_use)
{
    eum_thread_cores cores;
    cpu_set_t now;
    eum_thread_cores_init(&cores);
    if (cores.several) {
        int cpus[2] = {-1, -1};
        for (int i = 0, n = 0; i < CPU_SETSIZE && n < 2; i++)
            if (CPU_ISSET((size_t)i, &cores.allowed))
                cpus[n++] = i;
        for (int round = 0; round < 4; round++) {
            eum_thread_keep_off(pthread_self(), &cores, cpus[round % 2]);
            ck_assert_int_eq(sched_getaffinity(0, sizeof now, &now), 0);
            ck_assert(!CPU_ISSET((size_t)cpus[round % 2], &now));
            ck_assert_int_eq(CPU_COUNT(&now), CPU_COUNT(&cores.allowed) - 1);
        }
        ck_assert_int_eq(sched_setaffinity(0, sizeof cores.allowed, &cores.allowed), 0);
    }
    CPU_ZERO(&now);
    CPU_SET((size_t)sched_getcpu(), &now);
    ck_assert_int_eq(sched_setaffinity(0, sizeof now, &now), 0); /* where there is one, it is used */
    eum_thread_cores_init(&cores);
    ck_assert(!cores.several);
    eum_thread_keep_off(pthread_self(), &cores, sched_getcpu());
    cpu_set_t after;
    ck_assert_int_eq(sched_getaffinity(0, sizeof after, &after), 0);
    ck_assert(CPU_EQUAL(&now, &after));
}
END_TEST

static void *run_many(void *arg)
{
    bool right = true;
    for (uint64_t i = 0; i < 300; i++) {
        int pieces = 0;
        right = run_loop(arg, 1 + i * 7, 1 + i % 5, &pieces) && right;
    }
    return right ? arg : NULL;
}

START_TEST(loops_from_several_threads_at_once_are_all_right)
{
    eum_workers *workers = NULL;
    pthread_t threads[4];
    ck_assert_int_eq(eum_workers_create(3, &workers), EUM_OK);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_many, workers), 0);
    for (int i = 0; i < 4; i++) {
        void *result = NULL;
        ck_assert_int_eq(pthread_join(threads[i], &result), 0);
        ck_assert_ptr_nonnull(result);
    }
    eum_workers_destroy(workers);
}
END_TEST

static void nested(void *arg, uint64_t begin, uint64_t end)
{
    loop *l = arg;
    for (uint64_t i = begin; i < end; i++) {
        int pieces = 0;
        if (!run_loop(l->workers, 50, 1, &pieces))
            atomic_fetch_add(&l->wrong, 1);
    }
}

START_TEST(a_loop_inside_a_loop_runs_alone)
{
    loop l = {.grain = 1};
    ck_assert_int_eq(eum_workers_create(3, &l.workers), EUM_OK);
    eum_workers_run(l.workers, 20, 1, nested, &l);
    ck_assert_int_eq(atomic_load(&l.wrong), 0);
    eum_workers_destroy(l.workers);
}
END_TEST

START_TEST(sleeping_threads_wake_up_for_the_next_loop)
{
    eum_workers *workers = NULL;
    ck_assert_int_eq(eum_workers_create(4, &workers), EUM_OK);
    for (int i = 0; i < 20; i++) {
        int pieces = 0;
        ck_assert(run_loop(workers, 1000, 10, &pieces));
        (void)usleep(2000); /* longer than they spin */
    }
    eum_workers_destroy(workers);
}
END_TEST

typedef struct who {
    pthread_t caller;
    atomic_int count;
    pthread_t thread[64];
    atomic_bool slow;
} who;

static void note_thread(void *arg, uint64_t begin, uint64_t end)
{
    who *w = arg;
    (void)begin, (void)end;
    if (!pthread_equal(w->caller, pthread_self())) {
        int at = atomic_fetch_add(&w->count, 1);
        if (at < 64)
            w->thread[at] = pthread_self();
    }
    if (atomic_load(&w->slow))
        (void)usleep(2000);
}

static int distinct(const who *w)
{
    int found = 0, count = atomic_load(&w->count) < 64 ? atomic_load(&w->count) : 64;
    for (int i = 0; i < count; i++) {
        bool known = false;
        for (int k = 0; k < i; k++)
            known |= pthread_equal(w->thread[i], w->thread[k]) != 0;
        found += !known;
    }
    return found;
}

/* Which thread of the pool comes first is the system's affair where others want the cores too: what is seen once is true, and what is not seen on a
 * machine that has nothing else to do is not. */
#define ATTEMPTS 20

static bool others_are_busy(void)
{
    double load = 0;
    return getloadavg(&load, 1) != 1 || load > 0.5;
}

/* Threads that ran pieces of 25 loops of three. */
static int threads_of_small_loops(void)
{
    eum_workers *workers = NULL;
    who all = {.caller = pthread_self(), .slow = true}, few = all;
    ck_assert_int_eq(eum_workers_create(8, &workers), EUM_OK);
    eum_workers_set_spin(workers, 0); /* they sleep at once */
    eum_workers_run(workers, 32, 1, note_thread, &all);
    for (int i = 0; i < 25; i++) {
        (void)usleep(1000);
        eum_workers_run(workers, 3, 1, note_thread, &few);
    }
    eum_workers_destroy(workers);
    return distinct(&all) < 5 ? 0 : distinct(&few);
}

START_TEST(loops_of_few_pieces_always_wake_the_same_threads)
{
    int threads = 0;
    for (int i = 0; i < ATTEMPTS && (threads < 1 || threads > 2); i++)
        threads = threads_of_small_loops();
    ck_assert_msg((threads >= 1 && threads <= 2) || others_are_busy(), "%d threads", threads);
}
END_TEST

static double cpu_ms_of(pthread_t thread)
{
    clockid_t clock;
    struct timespec now;
    ck_assert_int_eq(pthread_getcpuclockid(thread, &clock), 0);
    ck_assert_int_eq(clock_gettime(clock, &now), 0);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* How long a thread looks while the caller does everything before it is awake, 100 times. */
static double looks_ms(void)
{
    eum_workers *workers = NULL;
    who w = {.caller = pthread_self(), .slow = true};
    ck_assert_int_eq(eum_workers_create(2, &workers), EUM_OK);
    eum_workers_set_spin(workers, 4000000);
    eum_workers_run(workers, 8, 1, note_thread, &w);
    ck_assert_int_ge(atomic_load(&w.count), 1);
    atomic_store(&w.slow, false);
    (void)usleep(20000); /* all that was earned is spent */
    double before = cpu_ms_of(w.thread[0]);
    for (int i = 0; i < 100; i++) {
        eum_workers_run(workers, 2, 1, note_thread, &w);
        (void)usleep(1000);
    }
    double spent = cpu_ms_of(w.thread[0]) - before;
    eum_workers_destroy(workers);
    return spent;
}

START_TEST(who_is_woken_too_late_looks_for_the_next_loop)
{
    double spent = 0;
    if (eum_spin_ns() == 0)
        return; /* there is no core to look on */
    for (int i = 0; i < ATTEMPTS && spent <= 20; i++)
        spent = looks_ms(); /* 20 us a look and some for each wake-up if it had not learned */
    ck_assert_msg(spent > 20 || others_are_busy(), "%.1f ms of 100", spent);
}
END_TEST

START_TEST(without_threads_to_start_the_caller_does_the_work)
{
    struct rlimit before, none;
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &before), 0);
    eum_workers *workers = NULL;
    int pieces = 0;
    ck_assert_int_eq(eum_workers_create(3, &workers), EUM_OK);
    none = before;
    none.rlim_cur = 1; /* no stack can be mapped */
    unsigned char times[16] = {0};
    loop l = {.times = times, .items = 16, .grain = 1, .caller = pthread_self()};
    bool limited = setrlimit(RLIMIT_AS, &none) == 0;
    eum_workers_run(workers, 16, 1, visit, &l);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &before), 0);
    for (int i = 0; i < 16; i++)
        ck_assert_int_eq(times[i], 1);
    if (limited)
        ck_assert_int_eq(atomic_load(&l.on_other_threads), 0);
    ck_assert(run_loop(workers, 100, 1, &pieces)); /* and later it shares again */
    eum_workers_destroy(workers);
}
END_TEST

START_TEST(count_0_is_one_thread_a_core_that_may_be_used)
{
    cpu_set_t before, one;
    eum_workers *workers = NULL;
    ck_assert_int_eq(sched_getaffinity(0, sizeof before, &before), 0);
    ck_assert_int_eq(eum_workers_create(0, &workers), EUM_OK);
    ck_assert_uint_ge(eum_workers_count(workers), 1);
    ck_assert_uint_le(eum_workers_count(workers), (uint32_t)CPU_COUNT(&before));
    eum_workers_destroy(workers);
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &before))
            CPU_SET(i, &one);
    ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
    ck_assert_uint_eq(eum_cores(), 1);
    ck_assert_int_eq(sched_setaffinity(0, sizeof before, &before), 0);
}
END_TEST

START_TEST(destroying_nothing_is_fine)
{
    eum_workers_destroy(NULL);
    eum_workers *workers = NULL;
    ck_assert_int_eq(eum_workers_create(8, &workers), EUM_OK);
    eum_workers_destroy(workers); /* no thread was ever started */
}
END_TEST

/* ---- the quota of a cgroup, from files as the kernel writes them ---- */

static char root[64];

static void write_file(const char *path, const char *text)
{
    char name[256];
    (void)snprintf(name, sizeof name, "%s/%s", root, path);
    for (char *slash = strchr(name + strlen(root) + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        (void)mkdir(name, 0700);
        *slash = '/';
    }
    FILE *file = fopen(name, "w");
    ck_assert_ptr_nonnull(file);
    (void)fputs(text, file);
    (void)fclose(file);
}

static uint32_t quota(const char *cgroup)
{
    char file[128];
    write_file("cgroup", cgroup);
    (void)snprintf(file, sizeof file, "%s/cgroup", root);
    return eum_cores_quota(file, root);
}

static void make_root(void)
{
    (void)snprintf(root, sizeof root, "%s", "/tmp/eum-cores-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
}

static void remove_root(void)
{
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", root);
    ck_assert_int_eq(system(command), 0);
}

START_TEST(the_quota_of_cgroup_2_is_rounded_up_to_cores)
{
    write_file("a/b/cpu.max", "150000 100000\n");
    ck_assert_uint_eq(quota("0::/a/b\n"), 2);
    write_file("a/b/cpu.max", "max 100000\n");
    ck_assert_uint_eq(quota("0::/a/b\n"), 0);
    write_file("a/cpu.max", "300000 100000\n");
    ck_assert_uint_eq(quota("0::/a/b\n"), 3); /* the parent's holds too */
    ck_assert_uint_eq(quota("0::/a/b/gone\n"), 3);
    write_file("cpu.max", "50000 100000\n"); /* as inside a container */
    ck_assert_uint_eq(quota("0::/elsewhere\n"), 1);
    ck_assert_uint_eq(quota("0::/\n"), 1);
}
END_TEST

START_TEST(the_quota_of_cgroup_1_counts_too)
{
    write_file("cpu/x/cpu.cfs_quota_us", "400000\n");
    write_file("cpu/x/cpu.cfs_period_us", "100000\n");
    ck_assert_uint_eq(quota("5:memory:/x\n4:cpu,cpuacct:/x\n0::/x\n"), 4);
    ck_assert_uint_eq(quota("4:cpuset:/x\n"), 0);
    write_file("cpu/x/cpu.cfs_quota_us", "-1\n");
    ck_assert_uint_eq(quota("4:cpuacct,cpu:/x\n"), 0);
}
END_TEST

START_TEST(files_that_are_missing_or_garbage_are_no_quota)
{
    ck_assert_uint_eq(eum_cores_quota("/nonexistent/cgroup", root), 0);
    ck_assert_uint_eq(quota(""), 0);
    ck_assert_uint_eq(quota("garbage\n::\n0:\n"), 0);
    write_file("a/cpu.max", "0 0\n");
    ck_assert_uint_eq(quota("0::/a\n"), 0);
    write_file("a/cpu.max", "one two\n");
    ck_assert_uint_eq(quota("0::/a\n"), 0);
}
END_TEST

Suite *workers_suite(void)
{
    Suite *suite = suite_create("workers");
    TCase *tests = tcase_create("workers");
    tcase_add_test(tests, every_item_is_visited_once_in_whole_grains);
    tcase_add_test(tests, item_counts_near_the_end_of_64_bits_do_not_overflow);
    tcase_add_test(tests, several_threads_share_a_loop);
    tcase_add_test(tests, each_thread_begins_with_its_own_share_and_then_takes_from_the_far_end_of_the_others);
    tcase_add_test(tests, threads_that_never_look_are_woken_for_each_loop);
    tcase_add_test(tests, a_thread_stays_off_one_core_at_a_time_of_those_that_it_may_use);
    tcase_add_test(tests, loops_from_several_threads_at_once_are_all_right);
    tcase_add_test(tests, a_loop_inside_a_loop_runs_alone);
    tcase_add_test(tests, sleeping_threads_wake_up_for_the_next_loop);
    tcase_add_test(tests, loops_of_few_pieces_always_wake_the_same_threads);
    tcase_add_test(tests, who_is_woken_too_late_looks_for_the_next_loop);
    if (!SANITIZED) {
        TCase *limited = tcase_create("workers, limited");
        tcase_set_tags(limited, "native"); /* qemu does not pass a limit of the address space on */
        tcase_add_test(limited, without_threads_to_start_the_caller_does_the_work);
        suite_add_tcase(suite, limited);
    }
    tcase_add_test(tests, count_0_is_one_thread_a_core_that_may_be_used);
    tcase_add_test(tests, destroying_nothing_is_fine);
    suite_add_tcase(suite, tests);
    TCase *cores = tcase_create("cores");
    tcase_add_checked_fixture(cores, make_root, remove_root);
    tcase_add_test(cores, the_quota_of_cgroup_2_is_rounded_up_to_cores);
    tcase_add_test(cores, the_quota_of_cgroup_1_counts_too);
    tcase_add_test(cores, files_that_are_missing_or_garbage_are_no_quota);
    suite_add_tcase(suite, cores);
    return suite;
}
