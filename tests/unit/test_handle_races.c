/* The handle table among threads and forks: every object ends exactly once, whatever they do.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "handle_fixture.h"

Suite *handle_races_suite(void);

/* ---------------------------------------------------------------------------------------------------- threads ------ */

enum { THREADS = 4 };

typedef struct race {
    pthread_barrier_t start;
    void *handle;
    bool wait;
    atomic_int winners;
} race;

static void *race_body(void *argument)
{
    race *it = argument;
    pthread_barrier_wait(&it->start);
    if (eum_handle_retire(it->handle, EUM_HANDLE_BUFFER, it->wait) == EUM_OK)
        atomic_fetch_add(&it->winners, 1);
    return NULL;
}

START_TEST(of_several_threads_exactly_one_destroys)
{
    for (int round = 0; round < 200; round++) {
        thing object;
        pthread_t threads[THREADS];
        race it = {.handle = make(&object, EUM_HANDLE_BUFFER), .wait = round % 2 == 1};
        atomic_init(&it.winners, 0);
        ck_assert_int_eq(pthread_barrier_init(&it.start, NULL, THREADS), 0);
        for (int i = 0; i < THREADS; i++)
            ck_assert_int_eq(pthread_create(&threads[i], NULL, race_body, &it), 0);
        for (int i = 0; i < THREADS; i++)
            ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        ck_assert_int_eq(it.winners, 1);
        ck_assert_int_eq(object.ends, 1);
        pthread_barrier_destroy(&it.start);
    }
}
END_TEST

/* Handles on a few places; some threads use whatever is there, others replace it. Plain memory behind each handle is written when it is
 * made and ended, so that the thread sanitizer sees every use that nothing orders. */
enum { PLACES = 4, REPLACEMENTS = 3000 };
static struct {
    _Atomic(void *) places[PLACES];
    atomic_int running;
    atomic_long made, ended, pinned;
} stress;

typedef struct stressed {
    unsigned state; /* plain on purpose */
} stressed;

static void end_stressed(void *object)
{
    stressed *it = object;
    ck_assert_uint_eq(it->state, ALIVE);
    it->state = ENDED;
    free(it);
    atomic_fetch_add(&stress.ended, 1);
}

static void *use_places(void *unused)
{
    (void)unused;
    for (unsigned i = 0; atomic_load(&stress.running) > 0; i++) {
        void *handle = atomic_load(&stress.places[i % PLACES]), *object = NULL;
        if (handle == NULL || eum_handle_pin(handle, EUM_HANDLE_BUFFER, &object) != EUM_OK)
            continue;
        if (((stressed *)object)->state != ALIVE)
            ck_abort_msg("an object that has ended was pinned");
        eum_handle_unpin(handle);
        atomic_fetch_add(&stress.pinned, 1);
    }
    return NULL;
}

static void *replace_places(void *seed)
{
    unsigned x = (unsigned)(uintptr_t)seed;
    for (int i = 0; i < REPLACEMENTS; i++) {
        stressed *object = malloc(sizeof *object);
        void *handle = NULL;
        ck_assert_ptr_nonnull(object);
        object->state = ALIVE;
        ck_assert_int_eq(eum_handle_create(EUM_HANDLE_BUFFER, object, end_stressed, &handle), EUM_OK);
        atomic_fetch_add(&stress.made, 1);
        x = x * 1103515245u + 12345u;
        void *old = atomic_exchange(&stress.places[x >> 16 & (PLACES - 1)], handle);
        if (old != NULL)
            ck_assert_int_eq(eum_handle_retire(old, EUM_HANDLE_BUFFER, (x >> 24 & 1) != 0), EUM_OK);
    }
    atomic_fetch_sub(&stress.running, 1);
    return NULL;
}

START_TEST(pins_and_destruction_race_without_harm)
{
    pthread_t users[2], replacers[2];
    atomic_store(&stress.running, 2);
    for (size_t i = 0; i < 2; i++) {
        ck_assert_int_eq(pthread_create(&users[i], NULL, use_places, NULL), 0);
        ck_assert_int_eq(pthread_create(&replacers[i], NULL, replace_places, (void *)(uintptr_t)(i + 1)), 0);
    }
    for (size_t i = 0; i < 2; i++) {
        ck_assert_int_eq(pthread_join(users[i], NULL), 0);
        ck_assert_int_eq(pthread_join(replacers[i], NULL), 0);
    }
    for (size_t i = 0; i < PLACES; i++) {
        void *last = atomic_exchange(&stress.places[i], NULL);
        if (last != NULL)
            ck_assert_int_eq(eum_handle_retire(last, EUM_HANDLE_BUFFER, true), EUM_OK);
    }
    ck_assert_int_eq(atomic_load(&stress.made), atomic_load(&stress.ended));
    ck_assert_int_eq(atomic_load(&stress.made), 2 * REPLACEMENTS);
}
END_TEST

/* -------------------------------------------------------------------------------------------------------- fork ----- */

/* Runs body in a child; it returns 0, or the line that was not as expected. */
static void in_a_child(int (*body)(void *), void *argument)
{
    pid_t child = fork();
    if (child == 0)
        _exit(body(argument) == 0 ? 0 : 1); /* without Check, whose lock another thread may have held */
    ck_assert_int_ge(child, 0);
    int status = 0;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with 0x%x", (unsigned)status);
}

#define EXPECT(condition)                                                                                                          \
    do {                                                                                                                           \
        if (!(condition)) {                                                                                                        \
            fprintf(stderr, "%s:%d: in the child: %s\n", __FILE__, __LINE__, #condition);                                          \
            return 1;                                                                                                              \
        }                                                                                                                          \
    } while (0)

static int child_uses(void *old)
{
    void *object = NULL, *handle = NULL;
    thing it;
    EXPECT(eum_handle_live(EUM_HANDLE_BUFFER) == 0);
    EXPECT(eum_handle_pin(old, EUM_HANDLE_BUFFER, &object) == EUM_ERROR_FORKED);
    EXPECT(strstr(sentence(), "make a new context in the child") != NULL);
    EXPECT(eum_handle_retire(old, EUM_HANDLE_BUFFER, true) == EUM_ERROR_FORKED);
    EXPECT(eum_handle_pin(NULL, EUM_HANDLE_BUFFER, &object) == EUM_ERROR_INVALID_HANDLE);
    atomic_init(&it.state, ALIVE);
    atomic_init(&it.ends, 0);
    EXPECT(eum_handle_create(EUM_HANDLE_BUFFER, &it, end_thing, &handle) == EUM_OK);
    EXPECT(eum_handle_pin(handle, EUM_HANDLE_BUFFER, &object) == EUM_OK && object == &it);
    EXPECT(eum_handle_live(EUM_HANDLE_BUFFER) == 1);
    eum_handle_unpin(handle);
    EXPECT(eum_handle_retire(handle, EUM_HANDLE_BUFFER, true) == EUM_OK);
    EXPECT(atomic_load(&it.ends) == 1);
    EXPECT(eum_handle_pin(handle, EUM_HANDLE_BUFFER, &object) == EUM_ERROR_INVALID_HANDLE);
    pid_t grandchild = fork();
    if (grandchild == 0)
        _exit(eum_handle_pin(old, EUM_HANDLE_BUFFER, &object) == EUM_ERROR_FORKED ? 0 : 1);
    int status = 0;
    EXPECT(waitpid(grandchild, &status, 0) == grandchild && status == 0);
    return 0;
}

START_TEST(handles_stay_behind_in_the_parent_of_a_fork)
{
    thing it;
    void *handle = make(&it, EUM_HANDLE_BUFFER), *object = NULL;
    in_a_child(child_uses, handle);
    ck_assert_int_eq(eum_handle_pin(handle, EUM_HANDLE_BUFFER, &object), EUM_OK);
    eum_handle_unpin(handle);
    ck_assert_int_eq(eum_handle_retire(handle, EUM_HANDLE_BUFFER, true), EUM_OK);
    ck_assert_int_eq(it.ends, 1);
}
END_TEST

static thing *forked_thing;

/* A callback that forks leaves the child inside a call: what it unpins there must not end the parent's object. */
static int child_unpins_what_the_parent_retired(void *handle)
{
    eum_handle_unpin(handle);
    EXPECT(atomic_load(&forked_thing->ends) == 0);
    return 0;
}

START_TEST(the_child_of_a_fork_never_ends_objects_of_its_parent)
{
    thing it;
    void *handle = make(&it, EUM_HANDLE_BUFFER), *object = NULL;
    forked_thing = &it;
    ck_assert_int_eq(eum_handle_pin(handle, EUM_HANDLE_BUFFER, &object), EUM_OK);
    ck_assert_int_eq(eum_handle_retire(handle, EUM_HANDLE_BUFFER, false), EUM_OK);
    in_a_child(child_unpins_what_the_parent_retired, handle);
    ck_assert_int_eq(it.ends, 0);
    eum_handle_unpin(handle);
    ck_assert_int_eq(it.ends, 1);
}
END_TEST

static int child_creates_and_retires(void *unused)
{
    (void)unused;
    for (int i = 0; i < 100; i++) {
        void *handle = NULL;
        EXPECT(eum_handle_create(EUM_HANDLE_STREAM, &stress, NULL, &handle) == EUM_OK);
        EXPECT(eum_handle_retire(handle, EUM_HANDLE_STREAM, true) == EUM_OK);
    }
    return 0;
}

static void *churn(void *running)
{
    while (atomic_load((atomic_int *)running) > 0) {
        void *handle = NULL;
        if (eum_handle_create(EUM_HANDLE_STREAM, &stress, NULL, &handle) != EUM_OK ||
            eum_handle_retire(handle, EUM_HANDLE_STREAM, true) != EUM_OK)
            return running; /* not by ck_assert: it holds a lock that the fork would copy */
    }
    return NULL;
}

START_TEST(a_fork_while_others_create_leaves_the_child_a_working_table)
{
    atomic_int running = 1;
    pthread_t other;
    ck_assert_int_eq(pthread_create(&other, NULL, churn, &running), 0);
    for (int i = 0; i < 50; i++)
        in_a_child(child_creates_and_retires, NULL);
    atomic_store(&running, 0);
    void *failed = NULL;
    ck_assert_int_eq(pthread_join(other, &failed), 0);
    ck_assert_ptr_null(failed);
}
END_TEST

/* ------------------------------------------------------------------------------------------------------- suite ------ */

Suite *handle_races_suite(void)
{
    Suite *suite = suite_create("handle_races");
    TCase *threads = tcase_create("threads");
    tcase_add_test(threads, of_several_threads_exactly_one_destroys);
    tcase_add_test(threads, pins_and_destruction_race_without_harm);
    suite_add_tcase(suite, threads);

    TCase *forks = tcase_create("fork");
    tcase_add_test(forks, handles_stay_behind_in_the_parent_of_a_fork);
    tcase_add_test(forks, the_child_of_a_fork_never_ends_objects_of_its_parent);
    tcase_add_test(forks, a_fork_while_others_create_leaves_the_child_a_working_table);
    suite_add_tcase(suite, forks);
    return suite;
}
