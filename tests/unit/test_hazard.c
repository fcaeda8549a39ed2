/* Hazards against a naive list of everything that was ever submitted.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "hazard.h"

Suite *hazard_suite(void);

#define STREAMS 4
#define BYTES 24
#define HISTORY 200

static uint64_t seed;

static uint64_t draw(uint64_t below) /* splitmix64 */
{
    uint64_t z = seed += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (z ^ (z >> 31)) % below;
}

/* What a new use waits for, as the newest sequence of each stream: the clock of that use. */
typedef struct clock_model {
    uint64_t newest[STREAMS + 1];
} clock_model;

typedef struct past_use {
    eum_hazard hazard;
    clock_model after; /* all that is known to be done when it is */
} past_use;

typedef struct waits {
    uint64_t newest[STREAMS + 1];
} waits;

static void note(void *arg, eum_point point)
{
    waits *w = arg;
    if (point.stream < 1 || point.stream > STREAMS)
        ck_abort_msg("a point of no stream");
    if (w->newest[point.stream] < point.sequence)
        w->newest[point.stream] = point.sequence;
}

static bool conflict(const eum_hazard *past, uint64_t begin, uint64_t end, eum_hazard_kind kind)
{
    if (past->begin >= end || begin >= past->end)
        return false;
    bool past_only_reads = past->kind == EUM_HAZARD_READ;
    bool only_reads = kind == EUM_HAZARD_READ || kind == EUM_HAZARD_COPY;
    return !(past_only_reads && only_reads);
}

static void join(clock_model *into, const clock_model *from)
{
    for (size_t s = 0; s <= STREAMS; s++)
        if (into->newest[s] < from->newest[s])
            into->newest[s] = from->newest[s];
}

static eum_hazards with_room(size_t more)
{
    eum_hazards set = {0};
    ck_assert(eum_hazards_reserve(&set, more));
    return set;
}

static size_t waits_of(const eum_hazards *set, uint64_t begin, uint64_t end, eum_hazard_kind kind, uint64_t stream)
{
    waits w = {{0}};
    eum_hazards_conflicts(set, begin, end, kind, stream, note, &w);
    size_t count = 0;
    for (size_t s = 1; s <= STREAMS; s++)
        count += w.newest[s] != 0;
    return count;
}

START_TEST(readers_wait_for_nobody_but_writers_and_movements)
{
    eum_hazards set = with_room(4);
    eum_hazards_add(&set, 0, 10, EUM_HAZARD_READ, (eum_point){1, 1});
    ck_assert_uint_eq(waits_of(&set, 0, 10, EUM_HAZARD_READ, 2), 0);
    eum_hazards_add(&set, 0, 5, EUM_HAZARD_WRITE, (eum_point){2, 1});
    eum_hazards_add(&set, 5, 10, EUM_HAZARD_MOVE, (eum_point){3, 1});
    ck_assert_uint_eq(waits_of(&set, 0, 5, EUM_HAZARD_READ, 4), 1);
    ck_assert_uint_eq(waits_of(&set, 5, 10, EUM_HAZARD_READ, 4), 1);
    ck_assert_uint_eq(waits_of(&set, 4, 6, EUM_HAZARD_READ, 4), 2);
    eum_hazards_free(&set);
}
END_TEST

START_TEST(a_write_waits_for_the_last_reader_of_each_stream)
{
    eum_hazards set = with_room(6);
    for (uint64_t s = 1; s <= 3; s++)
        for (uint64_t n = 1; n <= 2; n++)
            eum_hazards_add(&set, 0, 10, EUM_HAZARD_READ, (eum_point){s, n});
    waits w = {{0}};
    eum_hazards_conflicts(&set, 9, 10, EUM_HAZARD_WRITE, 4, note, &w);
    for (size_t s = 1; s <= 3; s++)
        ck_assert_uint_eq(w.newest[s], 2);
    ck_assert_uint_eq(set.count, 3);
    eum_hazards_free(&set);
}
END_TEST

START_TEST(what_is_on_the_same_stream_is_in_order_already)
{
    eum_hazards set = with_room(1);
    eum_hazards_add(&set, 0, 10, EUM_HAZARD_WRITE, (eum_point){1, 1});
    ck_assert_uint_eq(waits_of(&set, 0, 10, EUM_HAZARD_WRITE, 1), 0);
    ck_assert_uint_eq(waits_of(&set, 0, 10, EUM_HAZARD_WRITE, 0), 1);
    eum_hazards_free(&set);
}
END_TEST

START_TEST(neighbouring_ranges_do_not_conflict)
{
    eum_hazards set = with_room(1);
    eum_hazards_add(&set, 4, 8, EUM_HAZARD_WRITE, (eum_point){1, 1});
    ck_assert_uint_eq(waits_of(&set, 0, 4, EUM_HAZARD_WRITE, 2), 0);
    ck_assert_uint_eq(waits_of(&set, 8, 12, EUM_HAZARD_WRITE, 2), 0);
    ck_assert_uint_eq(waits_of(&set, 7, 8, EUM_HAZARD_WRITE, 2), 1);
    eum_hazards_free(&set);
}
END_TEST

START_TEST(an_empty_range_is_not_added)
{
    eum_hazards set = with_room(1);
    eum_hazards_add(&set, 3, 3, EUM_HAZARD_WRITE, (eum_point){1, 1});
    ck_assert_uint_eq(set.count, 0);
    eum_hazards_free(&set);
}
END_TEST

START_TEST(a_write_replaces_what_it_waited_for)
{
    eum_hazards set = with_room(8);
    for (uint64_t s = 1; s <= 3; s++)
        eum_hazards_add(&set, s, s + 1, EUM_HAZARD_READ, (eum_point){s, 1});
    eum_hazards_add(&set, 0, 10, EUM_HAZARD_WRITE, (eum_point){4, 1});
    ck_assert_uint_eq(set.count, 1);
    eum_hazards_free(&set);
}
END_TEST

/* A copy to another location leaves the readers alone, so it has not waited for them, and must not stand in for them. */
START_TEST(a_copy_does_not_replace_the_readers_of_other_streams)
{
    eum_hazards set = with_room(4);
    eum_hazards_add(&set, 0, 4, EUM_HAZARD_READ, (eum_point){1, 2});
    eum_hazards_add(&set, 0, 10, EUM_HAZARD_COPY, (eum_point){2, 1});
    ck_assert_uint_eq(waits_of(&set, 0, 4, EUM_HAZARD_WRITE, 3), 2);
    ck_assert_uint_eq(waits_of(&set, 0, 4, EUM_HAZARD_READ, 3), 1);
    eum_hazards_free(&set);
}
END_TEST

START_TEST(what_has_passed_is_dropped)
{
    eum_hazards set = with_room(4);
    bool first_passed(void *arg, eum_point point);
    eum_hazards_add(&set, 0, 4, EUM_HAZARD_READ, (eum_point){1, 1});
    eum_hazards_add(&set, 4, 8, EUM_HAZARD_WRITE, (eum_point){2, 1});
    eum_hazards_prune(&set, first_passed, NULL);
    ck_assert_uint_eq(set.count, 1);
    ck_assert_uint_eq(set.items[0].point.stream, 2);
    eum_hazards_free(&set);
}
END_TEST

bool first_passed(void *arg, eum_point point);
bool first_passed(void *arg, eum_point point)
{
    (void)arg;
    return point.stream == 1;
}

/* Everything that a use conflicts with must be done when it runs, directly or through what it waits for. */
static void run_random_program(uint64_t program, size_t steps)
{
    static past_use history[HISTORY];
    clock_model streams[STREAMS + 1];
    uint64_t sequence[STREAMS + 1] = {0};
    eum_hazards set = {0};
    seed = program;
    memset(streams, 0, sizeof streams);
    for (size_t n = 0; n < steps; n++) {
        uint64_t stream = 1 + draw(STREAMS), begin = draw(BYTES), end = begin + 1 + draw(BYTES - begin);
        eum_hazard_kind kind = (eum_hazard_kind)draw(4);
        waits w = {{0}};
        eum_hazards_conflicts(&set, begin, end, kind, stream, note, &w);
        clock_model *clock = &streams[stream];
        for (uint64_t s = 1; s <= STREAMS; s++)
            for (size_t k = 0; k < n && w.newest[s] != 0; k++)
                if (history[k].hazard.point.stream == s && history[k].hazard.point.sequence <= w.newest[s])
                    join(clock, &history[k].after);
        for (size_t k = 0; k < n; k++) {
            const eum_hazard *past = &history[k].hazard;
            if (past->point.stream != stream && conflict(past, begin, end, kind) &&
                clock->newest[past->point.stream] < past->point.sequence)
                ck_abort_msg("program %llu, use %zu does not wait for use %zu", (unsigned long long)program, n, k);
        }
        eum_point point = {stream, ++sequence[stream]};
        clock->newest[stream] = point.sequence;
        history[n] = (past_use){{begin, end, point, kind}, *clock};
        if (!eum_hazards_reserve(&set, 1))
            ck_abort_msg("no memory");
        eum_hazards_add(&set, begin, end, kind, point);
    }
    eum_hazards_free(&set);
}

START_TEST(every_conflict_of_random_programs_is_waited_for)
{
    for (uint64_t program = 0; program < 2000; program++)
        run_random_program(program, 30);
}
END_TEST

START_TEST(every_conflict_of_long_random_programs_is_waited_for)
{
    for (uint64_t program = 0; program < 40; program++)
        run_random_program(program, HISTORY);
}
END_TEST

static uint64_t visits;
static void count_visit(void *arg, eum_point point)
{
    (void)arg, (void)point;
    visits++;
}

START_TEST(over_the_cap_entries_of_a_stream_merge_and_wait_for_no_less)
{
    eum_hazards set = {0};
    const uint64_t many = 10 * EUM_HAZARDS_SOFT_CAP;
    for (uint64_t i = 0; i < many; i++) {
        ck_assert(eum_hazards_reserve(&set, 1));
        eum_hazards_add(&set, 10 * i, 10 * i + 5, i % 3 == 0 ? EUM_HAZARD_WRITE : EUM_HAZARD_READ,
                        (eum_point){1 + i % STREAMS, i + 1});
        ck_assert_uint_le(set.count, EUM_HAZARDS_SOFT_CAP);
    }
    for (uint64_t i = 0; i < many; i++) {
        waits w = {{0}};
        eum_hazards_conflicts(&set, 10 * i, 10 * i + 5, EUM_HAZARD_WRITE, 0, note, &w);
        ck_assert_uint_ge(w.newest[1 + i % STREAMS], i + 1);
    }
    visits = 0;
    eum_hazards_conflicts(&set, 0, 10 * many, EUM_HAZARD_WRITE, 0, count_visit, NULL);
    ck_assert_uint_eq(visits, set.count);
    eum_hazards_free(&set);
}
END_TEST

Suite *hazard_suite(void)
{
    Suite *suite = suite_create("hazard");
    TCase *tests = tcase_create("hazard");
    tcase_add_test(tests, readers_wait_for_nobody_but_writers_and_movements);
    tcase_add_test(tests, a_write_waits_for_the_last_reader_of_each_stream);
    tcase_add_test(tests, what_is_on_the_same_stream_is_in_order_already);
    tcase_add_test(tests, neighbouring_ranges_do_not_conflict);
    tcase_add_test(tests, an_empty_range_is_not_added);
    tcase_add_test(tests, a_write_replaces_what_it_waited_for);
    tcase_add_test(tests, a_copy_does_not_replace_the_readers_of_other_streams);
    tcase_add_test(tests, what_has_passed_is_dropped);
    tcase_add_test(tests, every_conflict_of_random_programs_is_waited_for);
    tcase_add_test(tests, every_conflict_of_long_random_programs_is_waited_for);
    tcase_add_test(tests, over_the_cap_entries_of_a_stream_merge_and_wait_for_no_less);
    suite_add_tcase(suite, tests);
    return suite;
}
