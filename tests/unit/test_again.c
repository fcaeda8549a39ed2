/* Launches that are made again without being looked at: whatever happens in between, they do what they would have done the long way.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <check.h>
#include <string.h>

#include "again_calls.h"

Suite *again_suite(void);

#define BUFFERS 3
#define STEPS 300

static uint64_t seed;

static uint64_t draw(uint64_t below) /* splitmix64 */
{
    uint64_t z = seed += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (z ^ (z >> 31)) % below;
}

START_TEST(the_same_call_is_known_again_and_does_the_same)
{
    for (int library = 0; library < 2; library++) {
        world w = world_open(_i, 1, 0);
        eum_buf *buf = world_buffer(&w, BYTES, EUM_ROLE_TARGETS);
        cpu_fill(buf, 0, BYTES, 5);
        eum_job first = call_of(w.streams[0], buf, buf, library != 0), job = first;
        for (int i = 1; i < 100; i++)
            job = call_of(w.streams[0], buf, buf, library != 0);
        ck_assert_uint_ge(job.sequence, first.sequence);
        if (repeats_here(&w))
            ck_assert_uint_gt(w.ctx->again->repeated, 80); /* not those after EUM_AGAIN_MOST */
        else
            ck_assert_uint_eq(w.ctx->again->repeated, 0);
        wait_job(&w, first);
        wait_job(&w, job);
        expect_added(buf, 5, 100);
        ck_assert_uint_eq(world_stats(&w).launches, 100);
        ck_assert_uint_eq(buf->launches, 100);
        world_close(&w);
    }
}
END_TEST

START_TEST(calls_that_alternate_are_known_each)
{
    world w = world_open(_i, 2, 0);
    eum_buf *from = world_buffer(&w, BYTES, EUM_ROLE_TARGETS), *to[4];
    cpu_fill(from, 0, BYTES, 1);
    for (int i = 0; i < 4; i++)
        to[i] = world_buffer(&w, BYTES, EUM_ROLE_AUTO);
    for (int round = 0; round < 8; round++)
        for (int i = 0; i < 4; i++)
            (void)call_of(w.streams[1], from, to[i], true);
    if (repeats_here(&w) && world_is_simulated(&w))
        ck_assert_uint_ge(w.ctx->again->repeated, 12);
    for (int i = 0; i < 4; i++)
        expect_added(to[i], 1, 1);
    world_close(&w);
}
END_TEST

START_TEST(a_wait_keeps_what_is_known_and_a_use_by_the_cpu_has_it_looked_at_once_more)
{
    world w = world_open(_i, 3, 0);
    eum_buf *buf = world_buffer(&w, BYTES, EUM_ROLE_TARGETS);
    cpu_fill(buf, 0, BYTES, 9);
    wait_job(&w, call_of(w.streams[0], buf, buf, true));
    wait_job(&w, call_of(w.streams[0], buf, buf, true));
    uint64_t before = w.ctx->again->repeated;
    for (int i = 0; i < 3; i++) {
        wait_job(&w, call_of(w.streams[0], buf, buf, true));
        ck_assert_int_eq(eum_strm_synchronize(w.streams[0]), EUM_OK);
    }
    ck_assert_uint_eq(w.ctx->again->repeated - before, repeats_here(&w) ? 3 : 0);
    expect_added(buf, 9, 5);
    for (size_t i = 0; i < 3; i++) {
        before = w.ctx->again->repeated;
        (void)call_of(w.streams[0], buf, buf, true);
        bool stays = world_backing_is(&w, EUM_BACKING_HOST) || world_backing_is(&w, EUM_BACKING_MAPPED);
        ck_assert_uint_eq(w.ctx->again->repeated - before, stays && repeats_here(&w) ? 1 : 0); /* else they are to be moved */
        expect_added(buf, 9, 6 + i);
    }
    world_close(&w);
}
END_TEST

/* One of the things that programs do; the model follows. */
static void do_something(world *w, uint8_t model[BUFFERS][BYTES], eum_job *last)
{
    size_t a = (size_t)draw(BUFFERS), b = (size_t)draw(BUFFERS);
    eum_location device = world_is_simulated(w) ? w->ctx->device->caps.index : EUM_LOCATION_HOST;
    once = draw(2) == 0 ? 3 : 0;
    eum_strm *stream = w->streams[draw(16) < 14 ? 0 : 1 + draw(2)];
    switch (draw(14)) {
    case 0:
        cpu_fill(w->buffers[a], 0, BYTES, (uint8_t)b);
        pattern_into(model[a], 0, BYTES, (uint8_t)b);
        break;
    case 1:
        cpu_expect(w->buffers[a], model[a]);
        break;
    case 2:
        ck_assert_int_eq(eum_buf_set_role(w->buffers[a], (eum_role)(EUM_ROLE_AUTO + (eum_role)draw(5))), EUM_OK);
        break;
    case 3:
        ck_assert_int_eq(eum_buf_prefetch((eum_range){w->buffers[a], 0, BYTES}, draw(2) == 0 ? device : EUM_LOCATION_HOST, stream),
                         EUM_OK);
        break;
    case 4:
        ck_assert_int_eq(eum_strm_synchronize(stream), EUM_OK);
        break;
    case 5:
        wait_job(w, *last);
        break;
    case 6: /* one ends, and one takes its place */
        if (w->buffer_count == BUFFERS && a == BUFFERS - 1) {
            world_end_buffer(w, w->buffers[a]);
            (void)world_buffer(w, BYTES, EUM_ROLE_AUTO);
            cpu_fill(w->buffers[a], 0, BYTES, 3);
            pattern_into(model[a], 0, BYTES, 3);
        }
        break;
    default: { /* mostly the same a few times */
        bool library = draw(3) > 0;
        for (uint64_t times = 1 + draw(5); times > 0; times--) {
            *last = call_of(stream, w->buffers[a], w->buffers[b], library);
            for (size_t i = 0; i < BYTES; i++)
                model[b][i] = (uint8_t)(model[a][i] + 1);
        }
    }
    }
}

START_TEST(whatever_happens_in_between_nothing_is_missed)
{
    static uint8_t model[BUFFERS][BYTES];
    uint64_t repeated = 0;
    for (unsigned run = 1; run <= 8; run++) {
        world w = world_open(_i, run, 0);
        w.may_fault = w.place->backing == EUM_BACKING_MANAGED;
        if (run % 2 == 0)
            give_drain(&w);
        seed = run;
        for (int i = 0; i < BUFFERS; i++) {
            cpu_fill(world_buffer(&w, BYTES, (eum_role)(EUM_ROLE_AUTO + i)), 0, BYTES, (uint8_t)i);
            pattern_into(model[i], 0, BYTES, (uint8_t)i);
        }
        eum_job last = {NULL, 0, 0};
        for (int step = 0; step < STEPS; step++)
            do_something(&w, model, &last);
        for (int i = 0; i < BUFFERS; i++)
            cpu_expect(w.buffers[i], model[i]);
        repeated += w.ctx->again->repeated;
        world_close(&w);
    }
    if (places[_i].concurrent)
        ck_assert_uint_gt(repeated, 100);
}
END_TEST

START_TEST(what_is_learned_is_what_the_long_way_learns)
{
    world w[2] = {world_open(_i, 1, 0), world_open(_i, 1, 0)};
    eum_buf *from[2], *to[2];
    for (int k = 0; k < 2; k++) {
        seed = 7;
        from[k] = world_buffer(&w[k], BYTES, EUM_ROLE_AUTO);
        to[k] = world_buffer(&w[k], BYTES, EUM_ROLE_RESULTS);
        cpu_fill(from[k], 0, BYTES, 1);
        const eum_range ranges[2] = {{from[k], 0, BYTES}, {to[k], 0, BYTES}};
        const eum_access accesses[2] = {EUM_ACCESS_READ, EUM_ACCESS_OVERWRITE};
        const eum_call_key key = {0, sizeof ranges, ranges};
        const eum_launch_request request = {.cpu = add_one,
                                            .ranges = ranges,
                                            .accesses = accesses,
                                            .count = 2,
                                            .once = 3,
                                            .anywhere = true,
                                            .key = k == 0 ? &key : NULL};
        eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
        config.cpu = add_one;
        for (int i = 0; i < 150; i++) {
            eum_job job;
            if (i > 75 && i % 5 == 0)
                cpu_fill(from[k], 0, BYTES, 1);
            if (i > 75 && i % 5 == 3)
                expect_added(to[k], 1, 1);
            eum_status status = EUM_OK;
            if (!eum_engine_again(w[k].streams[0], &key, &config, &job, &status))
                status = eum_engine_launch(w[k].streams[0], &request, &job);
            ck_assert_int_eq(status, EUM_OK);
        }
        ck_assert_uint_eq(world_stats(&w[k]).launches, 150);
    }
    if (places[_i].concurrent)
        ck_assert_uint_gt(w[0].ctx->again->repeated, 60);
    ck_assert_uint_eq(w[1].ctx->again->repeated, 0);
    ck_assert_uint_eq(world_moved(&w[0]), world_moved(&w[1]));
    const eum_buf *of[2][2] = {{from[0], to[0]}, {from[1], to[1]}};
    for (int i = 0; i < 2; i++) {
        ck_assert_uint_eq(of[0][i]->stay.used_ns, of[1][i]->stay.used_ns);
        ck_assert_uint_eq(of[0][i]->stay.spent_ns, of[1][i]->stay.spent_ns);
        ck_assert_uint_eq(of[0][i]->overwritten, of[1][i]->overwritten);
        ck_assert_uint_eq(of[0][i]->launches, of[1][i]->launches);
        ck_assert_int_eq(of[0][i]->habit.contradiction, of[1][i]->habit.contradiction);
        ck_assert_int_eq(of[0][i]->last_movement, of[1][i]->last_movement);
    }
    for (int k = 0; k < 2; k++) {
        expect_added(to[k], 1, 1);
        world_close(&w[k]);
    }
}
END_TEST

START_TEST(a_refused_point_loses_no_launch)
{
    world w = world_open(_i, 4, 0);
    if (world_is_simulated(&w) && repeats_here(&w)) {
        eum_buf *buf = world_buffer(&w, BYTES, EUM_ROLE_TARGETS);
        cpu_fill(buf, 0, BYTES, 2);
        (void)call_of(w.streams[0], buf, buf, true);
        (void)call_of(w.streams[0], buf, buf, true);
        eum_job job = call_of(w.streams[0], buf, buf, true);
        ck_assert(w.ctx->again->pending);
        eum_sim_fail(w.ctx->device, EUM_SIM_MARK, 1);
        wait_job(&w, job);
        wait_job(&w, job);
        ck_assert(!w.ctx->again->pending);
        expect_added(buf, 2, 3);
        job = call_of(w.streams[0], buf, buf, true);
        eum_sim_fail(w.ctx->device, EUM_SIM_MARK, 1);
        expect_added(buf, 2, 4); /* the map meets the refusal */
        wait_job(&w, job);
    }
    world_close(&w);
}
END_TEST

START_TEST(a_refused_launch_is_heard_of_and_what_it_writes_is_as_before)
{
    world w = world_open(_i, 5, 0);
    if (world_is_simulated(&w) && repeats_here(&w)) {
        eum_buf *buf = world_buffer(&w, BYTES, EUM_ROLE_TARGETS);
        cpu_fill(buf, 0, BYTES, 2);
        for (int i = 0; i < 3; i++)
            (void)call_of(w.streams[0], buf, buf, true);
        const eum_range range = {buf, 0, BYTES};
        const eum_call_key key = {0, sizeof range, &range};
        eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
        config.cpu = add_one;
        eum_job job = {NULL, 0, 0};
        eum_status status = EUM_OK;
        eum_sim_fail(w.ctx->device, EUM_SIM_SUBMIT, 1);
        ck_assert(eum_engine_again(w.streams[0], &key, &config, &job, &status));
        ck_assert_int_eq(status, EUM_ERROR_LAUNCH_FAILED);
        ck_assert(!eum_engine_again(w.streams[0], &key, &config, &job, &status)); /* it is looked at now */
        expect_added(buf, 2, 3);
    }
    world_close(&w);
}
END_TEST

START_TEST(who_has_waited_for_the_stream_needs_no_point)
{
    world w = world_open(_i, 6, 0);
    give_drain(&w);
    if (world_is_simulated(&w) && repeats_here(&w)) {
        eum_buf *buf = world_buffer(&w, BYTES, EUM_ROLE_TARGETS);
        cpu_fill(buf, 0, BYTES, 2);
        (void)call_of(w.streams[0], buf, buf, true);
        (void)call_of(w.streams[0], buf, buf, true);
        uint64_t made = w.ctx->again->made;
        ck_assert(eum_again_is_open(w.streams[0]));
        ck_assert(!eum_again_is_open(w.streams[1]));
        (void)call_of(w.streams[0], buf, buf, true);
        pthread_mutex_lock(&w.ctx->lock);
        struct eum_device_ops ops = *w.ctx->device->ops;
        ops.mark_passed = NULL; /* not all is over: it must not be called */
        const struct eum_device_ops *real = w.ctx->device->ops;
        w.ctx->device->ops = &ops;
        eum_again_is_over(w.streams[0], made);
        w.ctx->device->ops = real;
        pthread_mutex_unlock(&w.ctx->lock);
        ck_assert(eum_again_is_open(w.streams[0]));
        ck_assert_int_eq(eum_strm_synchronize(w.streams[0]), EUM_OK);
        ck_assert(!eum_again_is_open(w.streams[0]));
        expect_added(buf, 2, 3);
    }
    world_close(&w);
}
END_TEST

/* Nothing is in flight, so that the CPU's use waits for nobody and takes the lock once. */
START_TEST(what_the_cpu_wrote_meanwhile_is_what_the_same_call_reads)
{
    world w = world_open(_i, 9, 0);
    eum_buf *from = world_buffer(&w, BYTES, EUM_ROLE_TARGETS), *to = world_buffer(&w, BYTES, EUM_ROLE_TARGETS);
    for (uint8_t value = 1; value <= 5; value++) {
        cpu_fill(from, 0, BYTES, value);
        for (int i = 0; i < 3; i++) {
            (void)call_of(w.streams[0], from, to, true);
            ck_assert_int_eq(eum_strm_synchronize(w.streams[0]), EUM_OK);
        }
        expect_added(to, value, 1);
        for (int i = 0; i < 3; i++) /* known once more */
            (void)call_of(w.streams[0], from, to, true);
        ck_assert_int_eq(eum_strm_synchronize(w.streams[0]), EUM_OK);
    }
    world_close(&w);
}
END_TEST

START_TEST(the_next_launch_records_what_somebody_has_waited_for)
{
    world w = world_open(_i, 8, 0);
    give_drain(&w);
    if (repeats_here(&w)) {
        eum_buf *buf = world_buffer(&w, BYTES, EUM_ROLE_TARGETS);
        eum_again *again = w.ctx->again;
        cpu_fill(buf, 0, BYTES, 2);
        uint64_t calls = 0, before = 0;
        for (; calls < 3; calls++)
            wait_job(&w, call_of(w.streams[0], buf, buf, true));
        size_t hazards = buf->hazards.count;
        for (int i = 0; i < 5; i++) {
            uint64_t repeated = again->repeated;
            eum_job job = call_of(w.streams[0], buf, buf, true);
            ck_assert_uint_eq(again->repeated, repeated + 1);
            ck_assert_uint_eq(buf->launches, calls++); /* those before the wait, and not this one */
            ck_assert_uint_gt(job.sequence, before);
            before = job.sequence;
            ck_assert(eum_again_is_open(w.streams[0]));
            if (i % 2 == 0)
                wait_job(&w, job);
            else
                ck_assert_int_eq(eum_strm_synchronize(w.streams[0]), EUM_OK);
            ck_assert(again->over && again->pending && !eum_again_is_open(w.streams[0]));
        }
        wait_job(&w, (eum_job){NULL, w.streams[0]->serial, before});
        ck_assert_int_eq(eum_strm_synchronize(w.streams[0]), EUM_OK);
        ck_assert_uint_eq(world_stats(&w).launches, calls);
        ck_assert(!again->over && !again->pending);
        ck_assert_uint_eq(buf->launches, calls);
        ck_assert_uint_eq(buf->hazards.count, hazards); /* nothing that somebody has waited for is in flight */
        expect_added(buf, 2, calls);
    }
    world_close(&w);
}
END_TEST

START_TEST(things_end_with_launches_that_are_not_recorded_yet)
{
    for (int which = 0; which < 3; which++) {
        world w = world_open(_i, 7, 0);
        eum_stream_config config = EUM_STREAM_CONFIG_INIT;
        eum_strm *stream = NULL;
        ck_assert_int_eq(eum_strm_create(w.ctx, &config, &stream), EUM_OK);
        eum_buf *buf = world_buffer(&w, BYTES, EUM_ROLE_AUTO), *to = world_buffer(&w, BYTES, EUM_ROLE_AUTO);
        cpu_fill(buf, 0, BYTES, 4);
        eum_job job = {NULL, 0, 0};
        for (int i = 0; i < 3; i++)
            job = call_of(stream, buf, to, true);
        if (which == 0)
            world_end_buffer(&w, buf);
        eum_strm_end(stream);
        if (which == 1)
            wait_job(&w, job);
        expect_added(to, 4, 1);
        world_close(&w);
    }
}
END_TEST

Suite *again_suite(void)
{
    Suite *suite = suite_create("again");
    TCase *tcase = tcase_create("again");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, the_same_call_is_known_again_and_does_the_same, 0, place_count);
    tcase_add_loop_test(tcase, calls_that_alternate_are_known_each, 0, place_count);
    tcase_add_loop_test(tcase, a_wait_keeps_what_is_known_and_a_use_by_the_cpu_has_it_looked_at_once_more, 0, place_count);
    tcase_add_loop_test(tcase, whatever_happens_in_between_nothing_is_missed, 0, place_count);
    tcase_add_loop_test(tcase, what_is_learned_is_what_the_long_way_learns, 0, place_count);
    tcase_add_loop_test(tcase, a_refused_point_loses_no_launch, 0, place_count);
    tcase_add_loop_test(tcase, a_refused_launch_is_heard_of_and_what_it_writes_is_as_before, 0, place_count);
    tcase_add_loop_test(tcase, who_has_waited_for_the_stream_needs_no_point, 0, place_count);
    tcase_add_loop_test(tcase, what_the_cpu_wrote_meanwhile_is_what_the_same_call_reads, 0, place_count);
    tcase_add_loop_test(tcase, the_next_launch_records_what_somebody_has_waited_for, 0, place_count);
    tcase_add_loop_test(tcase, things_end_with_launches_that_are_not_recorded_yet, 0, place_count);
    suite_add_tcase(suite, tcase);
    return suite;
}
