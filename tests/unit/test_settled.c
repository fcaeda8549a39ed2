/* The short way of a launch against the long one: what it takes for settled must need no step and no wait, and repeated launches must be settled.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <check.h>
#include <string.h>

#include "movement_world.h"
#include "settled.h"

Suite *settled_suite(void);

#define BYTES (2 * PAGE + 100)
#define BUFFERS 4
#define ROUNDS 400

static const eum_role roles[BUFFERS] = {EUM_ROLE_AUTO, EUM_ROLE_TARGETS, EUM_ROLE_QUERY, EUM_ROLE_RESULTS};

static uint64_t seed;

static uint64_t draw(uint64_t below) /* splitmix64 */
{
    uint64_t z = seed += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (z ^ (z >> 31)) % below;
}

/* Writes what is to be written. params: the accesses. */
static int32_t touch(const eum_kernel_call *call)
{
    const eum_access *accesses = call->params;
    for (size_t i = 0; i < call->count; i++)
        if (accesses[i] != EUM_ACCESS_READ)
            memset(call->addresses[i], 7, call->bytes[i]);
    return 0;
}

typedef struct question {
    eum_range ranges[2];
    eum_access accesses[2];
    eum_launch_request request;
} question;

static void ask(question *q, world *w)
{
    *q = (question){.request = {.count = 2, .once = draw(4)}};
    size_t first = draw(BUFFERS);
    for (size_t i = 0; i < 2; i++) {
        size_t offset = draw(2) * draw(PAGE + 40);
        size_t bytes = draw(3) == 0 ? 1 + draw(BYTES - offset - 1) : BYTES - offset;
        q->ranges[i] = (eum_range){w->buffers[(first + i) % BUFFERS], offset, bytes};
        q->accesses[i] = (eum_access)(EUM_ACCESS_READ + (eum_access)draw(3));
    }
    q->request.cpu = touch;
    q->request.ranges = q->ranges;
    q->request.accesses = q->accesses;
    q->request.params = q->accesses;
    q->request.params_bytes = sizeof q->accesses;
}

static eum_location location_of(const eum_strm *stream)
{
    const eum_device_caps *caps = &stream->ctx->device->caps;
    return caps->kind == EUM_DEVICE_HOST ? EUM_LOCATION_HOST : caps->index;
}

static void in_the_way(void *arg, eum_point point)
{
    eum_strm *stream = arg;
    ck_assert_msg(eum_point_passed(stream->ctx, point), "a use that is in flight on another stream was taken for over");
}

/* What the long way finds where the short one saw nothing to do. */
static void expect_nothing_to_do(eum_strm *stream, const question *q, const eum_move *moves)
{
    eum_move by_hand[2];
    for (size_t i = 0; i < 2; i++)
        eum_move_init(&by_hand[i], q->ranges[i].buf, q->ranges[i].offset, q->ranges[i].bytes, q->accesses[i], location_of(stream));
    eum_moves_weigh(by_hand, 2, q->request.once);
    eum_moves_share_pages(by_hand, 2);
    for (size_t i = 0; i < 2; i++) {
        eum_move *move = &by_hand[i];
        eum_buf *buf = move->buf;
        ck_assert_int_eq(eum_buf_check_access(buf, q->ranges[i].offset, q->ranges[i].bytes, q->accesses[i]), EUM_OK);
        ck_assert_int_eq(move->over_link, moves[i].over_link);
        ck_assert(!move->use.stay);
        ck_assert_int_eq(move->weighed, moves[i].weighed);
        ck_assert_int_eq(move->seen, moves[i].seen);
        eum_plan_use(&move->plan, &buf->extents, &move->use);
        ck_assert_msg(move->plan.count == 0, "step %d was left out", move->plan.count > 0 ? (int)move->plan.steps[0].kind : 0);
        ck_assert_ptr_eq(eum_move_address(move), eum_move_address(&moves[i]));
        eum_hazards_conflicts(&buf->hazards, move->use.begin, move->use.end,
                              q->accesses[i] == EUM_ACCESS_READ ? EUM_HAZARD_READ : EUM_HAZARD_WRITE, stream->serial, in_the_way,
                              stream);
        eum_extent_change change = eum_use_change(&move->use); /* commit leaves it out */
        for (size_t k = eum_extents_find(&buf->extents, move->use.begin);
             k < buf->extents.count && buf->extents.items[k].begin < move->use.end; k++) {
            const eum_extent *e = &buf->extents.items[k];
            ck_assert_uint_eq((e->valid & change.valid_keep) | change.valid_add, e->valid);
            ck_assert_uint_eq(e->flags & change.flags_clear, 0);
        }
    }
    eum_point point;
    ck_assert(!eum_moves_must_wait(by_hand, 2, stream, &point));
    for (size_t i = 0; i < 2; i++)
        eum_move_end(&by_hand[i]);
}

/* Something that happens to the buffers between launches. */
static void disturb(world *w)
{
    eum_buf *buf = w->buffers[draw(BUFFERS)];
    eum_strm *stream = w->streams[draw(STREAMS)];
    size_t offset = draw(PAGE), bytes = 1 + draw(BYTES - offset - 1);
    switch (draw(12)) {
    case 0:
        cpu_fill(buf, offset, bytes, 1);
        break;
    case 1:
        cpu_fill(buf, 0, BYTES, 2);
        break;
    case 2:
        ck_assert_int_eq(gpu_fill(stream, buf, offset, bytes, 3, NULL), EUM_OK);
        break;
    case 3:
        (void)eum_buf_advise((eum_range){buf, 0, BYTES}, EUM_ADVICE_READ_MOSTLY, 0, &(eum_hint)EUM_HINT_INIT);
        break;
    case 4:
        (void)eum_buf_advise((eum_range){buf, 0, BYTES}, EUM_ADVICE_UNSET_READ_MOSTLY, 0, &(eum_hint)EUM_HINT_INIT);
        break;
    case 5:
        ck_assert_int_eq(eum_buf_set_role(buf, draw(2) == 0 ? roles[draw(BUFFERS)] : EUM_ROLE_STREAM), EUM_OK);
        break;
    case 6: {
        eum_job failed;
        if (gpu_fails(stream, buf, offset, bytes, &failed) == EUM_OK)
            (void)eum_ctx_job_wait(w->ctx, failed.stream, failed.sequence, -1);
        cpu_fill(buf, 0, BYTES, 4);
        break;
    }
    default: /* most launches follow others */
        (void)gpu_mix(stream, buf, offset, bytes);
    }
}

START_TEST(what_is_taken_for_settled_needs_no_step_and_no_wait)
{
    size_t settled = 0;
    for (unsigned run = 1; run <= 6; run++) {
        world w = world_open(_i, run, 0);
        seed = run;
        for (size_t i = 0; i < BUFFERS; i++)
            cpu_fill(world_buffer(&w, BYTES, roles[i]), 0, BYTES, 1);
        for (int round = 0; round < ROUNDS; round++) {
            disturb(&w);
            void *mapped = NULL;
            eum_buf *held = w.buffers[draw(BUFFERS)];
            if (draw(8) == 0)
                ck_assert_int_eq(eum_buf_map((eum_range){held, draw(PAGE), 9}, EUM_ACCESS_READ, &mapped), EUM_OK);
            question q;
            ask(&q, &w);
            eum_strm *stream = w.streams[draw(STREAMS)];
            if (draw(2) == 0) /* as most launches, after one like it; a map may stand against that */
                (void)eum_engine_launch(stream, &q.request, NULL);
            eum_move moves[2];
            ck_assert_int_eq(eum_ctx_lock(w.ctx, "a test"), EUM_OK);
            if (eum_launch_is_settled(stream, &q.request, moves)) {
                settled++;
                expect_nothing_to_do(stream, &q, moves);
            }
            eum_ctx_unlock(w.ctx);
            if (mapped != NULL)
                ck_assert_int_eq(eum_buf_unmap(held, mapped), EUM_OK);
        }
        for (int i = 0; i < STREAMS; i++)
            (void)eum_strm_synchronize(w.streams[i]);
        world_close(&w);
    }
    if (places[_i].concurrent || places[_i].device[0] == 'h')
        ck_assert_msg(settled > ROUNDS / 20, "%s: only %zu launches were settled", places[_i].name, settled);
}
END_TEST

START_TEST(a_launch_like_the_one_before_is_settled)
{
    world w = world_open(_i, 1, 0);
    question q = {.ranges = {{world_buffer(&w, BYTES, EUM_ROLE_TARGETS), 0, BYTES}, {world_buffer(&w, 8, EUM_ROLE_AUTO), 0, 8}},
                  .accesses = {EUM_ACCESS_READ, EUM_ACCESS_OVERWRITE}};
    q.request = (eum_launch_request){.ranges = q.ranges, .accesses = q.accesses, .count = 2};
    eum_move moves[2];
    cpu_fill(q.ranges[0].buf, 0, BYTES, 1);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(gpu_hash(w.streams[0], q.ranges[0].buf, 0, BYTES, q.ranges[1].buf, NULL), EUM_OK);
    ck_assert_int_eq(eum_ctx_lock(w.ctx, "a test"), EUM_OK);
    bool settled = eum_launch_is_settled(w.streams[0], &q.request, moves);
    eum_ctx_unlock(w.ctx);
    bool device = w.ctx->device->caps.kind != EUM_DEVICE_HOST;
    ck_assert_int_eq(settled, !device || w.ctx->device->caps.concurrent_managed);
    ck_assert_int_eq(eum_strm_synchronize(w.streams[0]), EUM_OK);
    world_close(&w);
}
END_TEST

Suite *settled_suite(void)
{
    Suite *suite = suite_create("settled");
    TCase *tcase = tcase_create("settled");
    tcase_add_loop_test(tcase, what_is_taken_for_settled_needs_no_step_and_no_wait, 0, place_count);
    tcase_add_loop_test(tcase, a_launch_like_the_one_before_is_settled, 0, place_count);
    suite_add_tcase(suite, tcase);
    return suite;
}
