/* The seed's four patterns of use, on every backing: the data are right, kernels do not fault, and nothing is unordered.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "engine.h"

Suite *patterns_suite(void);

static const size_t sizes[] = {4, 4 * KIB, 64 * KIB, 64 * KIB + 4, 1000 * 768 * 4, 2 * MIB, 5 * MIB + 4};
#define SIZES (sizeof sizes / sizeof sizes[0])

START_TEST(cpu_write_then_gpu_read)
{
    eum_context *context = open_context();
    for (size_t i = 0; i < SIZES; i++) {
        for (eum_role role = EUM_ROLE_AUTO; role <= EUM_ROLE_STREAM; role++) {
            eum_buffer *buffer = new_buffer_as(context, sizes[i], role);
            for (uint32_t round = 0; round < 3; round++) {
                cpu_fill(whole(buffer), round);
                gpu_expect(default_stream(context), whole(buffer), round);
                gpu_expect(default_stream(context), whole(buffer), round);
            }
            OK(eum_buffer_destroy(buffer));
        }
    }
    close_context(context);
}
END_TEST

START_TEST(gpu_write_then_cpu_read)
{
    eum_context *context = open_context();
    for (size_t i = 0; i < SIZES; i++) {
        for (eum_role role = EUM_ROLE_AUTO; role <= EUM_ROLE_STREAM; role++) {
            eum_buffer *buffer = new_buffer_as(context, sizes[i], role);
            cpu_fill(whole(buffer), 99); /* poison */
            for (uint32_t round = 0; round < 3; round++) {
                gpu_fill(default_stream(context), whole(buffer), round);
                cpu_expect(whole(buffer), round);
                cpu_expect(whole(buffer), round);
            }
            OK(eum_buffer_destroy(buffer));
        }
    }
    close_context(context);
}
END_TEST

START_TEST(cpu_write_then_gpu_write_then_cpu_read)
{
    eum_context *context = open_context();
    for (size_t i = 0; i < SIZES; i++) {
        for (eum_role role = EUM_ROLE_AUTO; role <= EUM_ROLE_STREAM; role++) {
            eum_buffer *buffer = new_buffer_as(context, sizes[i], role);
            for (uint32_t round = 0; round < 3; round++) {
                cpu_fill(whole(buffer), round);
                launch1(default_stream(context), (work){.kind = WORK_ADD, .value = 5}, updates(whole(buffer)));
                launch1(default_stream(context), (work){.kind = WORK_ADD, .value = 6}, updates(whole(buffer)));
                cpu_expect_plus(whole(buffer), round, 11);
            }
            OK(eum_buffer_destroy(buffer));
        }
    }
    close_context(context);
}
END_TEST

#define THREADS 8
#define ROUNDS 6
#define THEIR_BYTES (200 * KIB)

typedef struct lane {
    pthread_t thread;
    eum_context *context;
    eum_buffer *shared, *common;
    uint32_t number;
} lane;

/* Each thread has a stream, buffers of its own, a strip of a buffer that all of them write (strips share pages), and reads what all share. */
static void *run_lane(void *arg)
{
    lane *l = arg;
    eum_stream *stream = new_stream(l->context);
    eum_buffer *in = new_buffer_as(l->context, THEIR_BYTES, l->number % 5),
               *out = new_buffer_as(l->context, THEIR_BYTES, (l->number + 1) % 5);
    eum_view strip = part(l->shared, l->number * 40 * KIB, 40 * KIB);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint32_t seed = 1000 * l->number + round;
        cpu_fill(whole(in), seed);
        cpu_fill(strip, seed + 500);
        launch2(stream, (work){.kind = WORK_COPY}, reads(whole(in)), overwrites(whole(out)));
        launch1(stream, (work){.kind = WORK_ADD, .value = 2}, updates(whole(out)));
        launch1(stream, (work){.kind = WORK_ADD, .value = 3}, updates(strip));
        eum_job job = launch1(stream, (work){.kind = WORK_EXPECT, .value = 12345}, reads(whole(l->common)));
        cpu_expect_plus(whole(out), seed, 2);
        cpu_expect_plus(strip, seed + 500, 3);
        cpu_expect(whole(l->common), 12345);
        wait_job(job);
    }
    OK(eum_stream_synchronize(stream));
    OK(eum_buffer_destroy(in));
    OK(eum_stream_destroy(stream));
    OK(eum_buffer_destroy(out));
    return NULL;
}

START_TEST(eight_streams_and_eight_threads_at_once)
{
    eum_context *context = open_context();
    eum_buffer *shared = new_buffer(context, THREADS * 40 * KIB), *common = new_buffer_as(context, 300 * KIB, EUM_ROLE_QUERY);
    lane lanes[THREADS];
    cpu_fill(whole(common), 12345);
    for (uint32_t i = 0; i < THREADS; i++) {
        lanes[i] = (lane){.context = context, .shared = shared, .common = common, .number = i};
        ck_assert_int_eq(pthread_create(&lanes[i].thread, NULL, run_lane, &lanes[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(lanes[i].thread, NULL);
    OK(eum_buffer_destroy(shared));
    OK(eum_buffer_destroy(common));
    close_context(context);
}
END_TEST

Suite *patterns_suite(void)
{
    Suite *suite = suite_create("patterns");
    TCase *tests = tcase_create("patterns");
    if (!runs_cpu_kernels())
        return suite;
    tcase_add_test(tests, cpu_write_then_gpu_read);
    tcase_add_test(tests, gpu_write_then_cpu_read);
    tcase_add_test(tests, cpu_write_then_gpu_write_then_cpu_read);
    if (!takes_turns())
        tcase_add_test(tests, eight_streams_and_eight_threads_at_once);
    suite_add_tcase(suite, tests);
    return suite;
}
