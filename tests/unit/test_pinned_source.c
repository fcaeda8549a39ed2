/* Writes from pinned memory of the caller's, again and again: what is remembered of it, and what happens when it is pinned no more.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "engine.h"

Suite *pinned_source_suite(void);

#define BYTES (256 * KIB)

/* A device whose questions about pinned memory are counted. */
static struct eum_device_ops counting;
static const struct eum_device_ops *plain;
static int questions;

static bool count_question(eum_device *device, const void *address, size_t bytes)
{
    questions++;
    return plain->is_pinned(device, address, bytes);
}

typedef struct scene {
    eum_context *context;
    eum_buffer *source, *targets; /* the source: somebody's own memory, registered as long as this lives */
    uint32_t *memory;
} scene;

static scene open_scene(void)
{
    scene s = {.context = open_on("sim:hopper", EUM_BACKING_MIRRORED), .memory = aligned_alloc(4 * KIB, BYTES)};
    ck_assert_ptr_nonnull(s.memory);
    eum_wrap_config config = EUM_WRAP_CONFIG_INIT;
    config.address = s.memory;
    config.bytes = BYTES;
    config.memory = EUM_MEMORY_HOST;
    config.flags = EUM_WRAP_REGISTER;
    OK(eum_buffer_wrap(s.context, &config, &s.source));
    s.targets = new_buffer(s.context, BYTES);
    plain = device_of(s.context)->ops;
    counting = *plain;
    counting.is_pinned = count_question;
    device_of(s.context)->ops = &counting;
    questions = 0;
    return s;
}

static void close_scene(scene *s)
{
    device_of(s->context)->ops = plain;
    OK(eum_buffer_destroy(s->targets));
    OK(eum_buffer_destroy(s->source));
    close_context(s->context);
    free(s->memory);
}

/* The memory is the caller's own once more, as after cudaHostUnregister. */
static void unpin(scene *s)
{
    OK(eum_buffer_destroy(s->source));
    s->source = NULL;
}

static void write_value(scene *s, uint32_t value)
{
    fill_words(s->memory, BYTES / WORD, value);
    OK(eum_buffer_write(whole(s->targets), s->memory));
}

/* The simulated device, which is known by its operations. */
static eum_device *sim_of(const scene *s, bool as_it_is)
{
    device_of(s->context)->ops = as_it_is ? plain : &counting;
    return device_of(s->context);
}

static void fail_next(const scene *s, eum_sim_operation operation)
{
    eum_sim_fail(sim_of(s, true), operation, 1);
    (void)sim_of(s, false);
}

static uint64_t copies_of(const scene *s)
{
    eum_sim_counters counters;
    ck_assert(eum_sim_counters_get(sim_of(s, true), &counters));
    (void)sim_of(s, false);
    return counters.copies[EUM_HOST_TO_DEVICE];
}

static eum_status call_write(pending *p)
{
    return eum_buffer_write(p->view, p->address);
}

/* The memory is known to be pinned, and the bytes are on the device. */
static scene open_written(void)
{
    scene s = open_scene();
    write_value(&s, 1);
    write_value(&s, 2);
    return s;
}

START_TEST(each_write_is_one_copy_and_asks_once_while_it_is_under_way)
{
    scene s = open_scene();
    for (uint32_t i = 1; i <= 6; i++) {
        uint64_t copies = copies_of(&s);
        int asked = questions;
        write_value(&s, i);
        ck_assert_uint_eq(copies_of(&s) - copies, 1);
        ck_assert_int_eq(questions - asked, i == 1 ? 2 : 1);
        if (i % 2 == 0)
            gpu_expect(default_stream(s.context), whole(s.targets), i);
    }
    ck_assert_ptr_eq(ctx_of(s.context)->pinned_source, s.memory);
    cpu_expect(whole(s.targets), 6);
    close_scene(&s);
}
END_TEST

START_TEST(a_write_waits_for_a_kernel_that_uses_the_bytes)
{
    scene s = open_written();
    eum_stream *stream = new_stream(s.context);
    gate g = GATE_INIT;
    launch1(stream, (work){.kind = WORK_FILL, .value = 3, .gate = &g}, overwrites(whole(s.targets)));
    await_gate(&g, 1);
    fill_words(s.memory, BYTES / WORD, 4);
    pending p = {.view = whole(s.targets), .address = s.memory};
    start(&p, call_write);
    assert_waits(&p);
    open_gate(&g);
    OK(finish(&p));
    gpu_expect(stream, whole(s.targets), 4);
    OK(eum_stream_destroy(stream));
    close_scene(&s);
}
END_TEST

START_TEST(memory_that_is_pinned_no_more_is_written_all_the_same)
{
    scene s = open_written();
    unpin(&s);
    write_value(&s, 3); /* it is noticed while this is under way */
    ck_assert_ptr_null(ctx_of(s.context)->pinned_source);
    gpu_expect(default_stream(s.context), whole(s.targets), 3);
    write_value(&s, 4);
    gpu_expect(default_stream(s.context), whole(s.targets), 4);
    cpu_expect(whole(s.targets), 4);
    close_scene(&s);
}
END_TEST

START_TEST(a_copy_that_is_refused_because_the_memory_is_pinned_no_more_is_done_another_way)
{
    scene s = open_written();
    unpin(&s);
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_buffer_read(whole(s.targets), NULL));
    fail_next(&s, EUM_SIM_COPY);
    write_value(&s, 3);
    eum_error detail = EUM_ERROR_INIT; /* a call that succeeds leaves the last error as it was */
    OK(eum_last_error(&detail));
    ck_assert_int_eq(detail.status, EUM_ERROR_INVALID_ARGUMENT);
    ck_assert_ptr_null(ctx_of(s.context)->pinned_source);
    gpu_expect(default_stream(s.context), whole(s.targets), 3);
    close_scene(&s);
}
END_TEST

START_TEST(a_copy_that_is_refused_for_another_reason_is_heard_of)
{
    scene s = open_written();
    fill_words(s.memory, BYTES / WORD, 3);
    fail_next(&s, EUM_SIM_COPY);
    ck_assert_int_ne(eum_buffer_write(whole(s.targets), s.memory), EUM_OK);
    gpu_expect(default_stream(s.context), whole(s.targets), 2); /* nothing was copied */
    write_value(&s, 4);
    gpu_expect(default_stream(s.context), whole(s.targets), 4);
    close_scene(&s);
}
END_TEST

START_TEST(a_refused_point_is_waited_for)
{
    scene s = open_written();
    fail_next(&s, EUM_SIM_MARK);
    write_value(&s, 3);
    gpu_expect(default_stream(s.context), whole(s.targets), 3);
    cpu_expect(whole(s.targets), 3);
    close_scene(&s);
}
END_TEST

Suite *pinned_source_suite(void)
{
    Suite *suite = suite_create("pinned_source");
    TCase *tests = tcase_create("pinned_source");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, each_write_is_one_copy_and_asks_once_while_it_is_under_way);
    tcase_add_test(tests, a_write_waits_for_a_kernel_that_uses_the_bytes);
    tcase_add_test(tests, memory_that_is_pinned_no_more_is_written_all_the_same);
    tcase_add_test(tests, a_copy_that_is_refused_because_the_memory_is_pinned_no_more_is_done_another_way);
    tcase_add_test(tests, a_copy_that_is_refused_for_another_reason_is_heard_of);
    tcase_add_test(tests, a_refused_point_is_waited_for);
    suite_add_tcase(suite, tests);
    return suite;
}
