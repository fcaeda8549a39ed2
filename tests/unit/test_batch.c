/* Ranges that are prefetched by one call: when, that it changes nothing but the time, and what a failure leaves. On simulated devices with managed
 * memory, whatever EUM_DEVICE says.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "batch.h"
#include "engine.h"

Suite *batch_suite(void);

#define PAGE (64 * KIB)
#define HOPPER "sim:hopper,schedule=step"

static void tear_down(void)
{
    unsetenv("EUM_PREFETCH_BATCH");
}

static eum_context *open_batching(const char *device, const char *setting)
{
    setenv("EUM_PREFETCH_BATCH", setting, 1);
    return open_on(device, EUM_BACKING_MANAGED);
}

/* ------------------------------------------------------------------------------------------------- the decision ---- */

static eum_costs costs_with(uint64_t prefetch_ns, uint64_t range_ns, uint64_t waits)
{
    eum_costs costs = eum_costs_default(9);
    costs.prefetch_ns = prefetch_ns;
    costs.batch_range_ns = range_ns;
    costs.batch_waits = waits;
    return costs;
}

START_TEST(one_call_is_made_where_it_returns_early_and_saves_an_eighth)
{
    static const struct {
        uint64_t prefetch_ns, range_ns, waits;
        size_t least;
    } cases[] = {
        {16000, 0, 0, 2},
        {16000, 0, 1, EUM_BATCH_NONE},     /* the launch would wait */
        {16000, 12400, 0, 3},              /* 2 save 3.6 of 32 us, 3 save 7.2 of 48 */
        {16000, 12400, 1, EUM_BATCH_NONE}, /* an H100 */
        {16000, 14000, 0, EUM_BATCH_NONE}, /* never quite an eighth */
        {16000, 13999, 0, 2001},           /* with many */
        {16000, 16000, 0, EUM_BATCH_NONE},
        {16000, 50000, 0, EUM_BATCH_NONE},
        {0, 0, 0, EUM_BATCH_NONE}, /* the host */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const eum_costs costs = costs_with(cases[i].prefetch_ns, cases[i].range_ns, cases[i].waits);
        ck_assert_msg(eum_batch_least(EUM_BATCH_AUTO, true, &costs) == cases[i].least, "case %zu: %zu", i,
                      eum_batch_least(EUM_BATCH_AUTO, true, &costs));
        ck_assert_uint_eq(eum_batch_least(EUM_BATCH_ALWAYS, true, &costs), 2);
        ck_assert_uint_eq(eum_batch_least(EUM_BATCH_NEVER, true, &costs), EUM_BATCH_NONE);
        ck_assert_uint_eq(eum_batch_least(EUM_BATCH_AUTO, false, &costs), EUM_BATCH_NONE);
        ck_assert_uint_eq(eum_batch_least(EUM_BATCH_ALWAYS, false, &costs), EUM_BATCH_NONE);
    }
    const eum_costs defaults = eum_costs_default(9); /* of CUDA, as it was measured */
    ck_assert_uint_eq(eum_batch_least(EUM_BATCH_AUTO, true, &defaults), EUM_BATCH_NONE);
}
END_TEST

START_TEST(so_many_ranges_save_an_eighth_and_one_less_does_not)
{
    for (uint32_t seed = 0; seed < 2000; seed++) {
        const eum_costs costs = costs_with(50 + word_at(seed, 0) % 20000, word_at(seed, 1) % 20000, 0);
        const size_t least = eum_batch_least(EUM_BATCH_AUTO, true, &costs);
        const double alone = (double)costs.prefetch_ns, further = (double)costs.batch_range_ns;
        const double most = least == EUM_BATCH_NONE ? 1e9 : (double)least;
        if (least != EUM_BATCH_NONE)
            ck_assert(least >= 2 && alone + (most - 1) * further <= most * alone * 7 / 8 + 1e-6);
        if (least > 2) /* also of NONE: no number does */
            ck_assert(alone + (most - 2) * further > (most - 1) * alone * 7 / 8 - 1e-6 * most);
    }
}
END_TEST

START_TEST(the_environment_chooses_and_a_misspelt_word_is_an_error)
{
    static const struct {
        const char *text;
        eum_batch_setting setting;
    } words[] = {{NULL, EUM_BATCH_AUTO},
                 {"", EUM_BATCH_AUTO},
                 {"auto", EUM_BATCH_AUTO},
                 {"always", EUM_BATCH_ALWAYS},
                 {"never", EUM_BATCH_NEVER}};
    eum_batch_setting setting;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        setting = (eum_batch_setting)77;
        OK(eum_batch_parse(words[i].text, &setting));
        ck_assert_int_eq(setting, words[i].setting);
    }
    setenv("EUM_PREFETCH_BATCH", "Always", 1);
    eum_context *context = NULL;
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_context_create(NULL, &context));
    ck_assert_ptr_null(context);
    eum_error error = EUM_ERROR_INIT;
    OK(eum_last_error(&error));
    ck_assert_ptr_nonnull(strstr(error.sentence, "EUM_PREFETCH_BATCH is \"Always\"; use auto, always or never"));
}
END_TEST

/* ---------------------------------------------------------------------------------------------------- a launch ----- */

#define MANY 16

typedef struct bunch {
    eum_context *context;
    eum_device *device;
    eum_stream *stream;
    eum_buffer *buffers[MANY];
    eum_argument arguments[MANY];
} bunch;

/* Small buffers that the CPU has written: the words of number i are word_at(100 + i, k). */
static bunch open_bunch(const char *device, const char *setting, eum_access access)
{
    bunch b = {.context = open_batching(device, setting)};
    b.device = device_of(b.context);
    b.stream = default_stream(b.context);
    for (uint32_t i = 0; i < MANY; i++) {
        b.buffers[i] = new_buffer(b.context, PAGE + 4 * i);
        cpu_fill(whole(b.buffers[i]), 100 + i);
        b.arguments[i] = (eum_argument){whole(b.buffers[i]), access, 0};
    }
    return b;
}

static void close_bunch(bunch *b)
{
    for (int i = 0; i < MANY; i++)
        OK(eum_buffer_destroy(b->buffers[i]));
    close_context(b->context);
}

static uint64_t calls(const bunch *b, eum_sim_operation operation)
{
    return eum_sim_calls(b->device, operation);
}

static eum_status launch_bunch(const bunch *b, size_t count, work w)
{
    eum_job job;
    eum_status status = try_launch(b->stream, &w, b->arguments, count, &job);
    return status == EUM_OK ? eum_job_wait(job, -1) : status;
}

static const eum_access accesses[] = {EUM_ACCESS_READ, EUM_ACCESS_READ_WRITE, EUM_ACCESS_OVERWRITE};

START_TEST(many_small_arguments_move_by_one_call_which_is_sooner_done_and_otherwise_the_same)
{
    const eum_access access = accesses[_i];
    const work w = {.kind = access == EUM_ACCESS_OVERWRITE ? WORK_FILL : WORK_EXPECT, .value = 100};
    uint64_t took[2];
    eum_stats stats[2];
    eum_decision decisions[2][MANY];
    for (int together = 0; together < 2; together++) {
        bunch b = open_bunch(HOPPER, together ? "auto" : "never", access);
        const uint64_t one = calls(&b, EUM_SIM_PREFETCH), many = calls(&b, EUM_SIM_PREFETCH_MANY), begun = eum_sim_time(b.device);
        OK(launch_bunch(&b, MANY, w));
        took[together] = eum_sim_time(b.device) - begun;
        stats[together] = stats_of(b.context);
        ck_assert_uint_eq(calls(&b, EUM_SIM_PREFETCH) - one, together ? 0 : MANY);
        ck_assert_uint_eq(calls(&b, EUM_SIM_PREFETCH_MANY) - many, (uint64_t)together);
        for (int i = 0; i < MANY; i++)
            decisions[together][i] = explain(b.buffers[i]);
        OK(launch_bunch(&b, MANY, (work){.kind = WORK_EXPECT, .value = 100})); /* settled: there is nothing to call */
        ck_assert_uint_eq(calls(&b, EUM_SIM_PREFETCH) - one, together ? 0 : MANY);
        ck_assert_uint_eq(calls(&b, EUM_SIM_PREFETCH_MANY) - many, (uint64_t)together);
        for (uint32_t i = 0; i < MANY; i++)
            cpu_expect(whole(b.buffers[i]), 100 + i);
        close_bunch(&b);
    }
    ck_assert_uint_eq(stats[0].prefetch_batches, 0);
    ck_assert_uint_eq(stats[1].prefetch_batches, 1);
    stats[1].prefetch_batches = 0;
    ck_assert_mem_eq(&stats[0], &stats[1], sizeof stats[0]);
    ck_assert_mem_eq(decisions[0], decisions[1], sizeof decisions[0]);
    ck_assert_uint_eq(stats[0].moves_to_device, access == EUM_ACCESS_OVERWRITE ? 0 : MANY);
    ck_assert_uint_eq(took[0] - took[1], (MANY - 1) * 16000); /* the preset's fixed cost of a prefetch */
}
END_TEST

START_TEST(so_few_ranges_that_it_does_not_pay_have_a_call_each)
{
    bunch b = open_bunch(HOPPER, "auto", EUM_ACCESS_READ_WRITE);
    ctx_of(b.context)->costs.batch_range_ns = ctx_of(b.context)->costs.prefetch_ns - 3600; /* 3 are needed */
    OK(launch_bunch(&b, 2, (work){.kind = WORK_EXPECT, .value = 100}));
    ck_assert_uint_eq(stats_of(b.context).prefetch_batches, 0);
    b.arguments[0] = b.arguments[13], b.arguments[1] = b.arguments[14], b.arguments[2] = b.arguments[15];
    OK(launch_bunch(&b, 3, (work){.kind = WORK_NOTHING}));
    ck_assert_uint_eq(stats_of(b.context).prefetch_batches, 1);
    close_bunch(&b);
}
END_TEST

START_TEST(where_the_call_waits_it_is_made_by_force_only_and_where_there_is_none_not_even_then)
{
    static const struct {
        const char *device, *setting;
        uint64_t waits, batches;
    } cases[] = {{HOPPER, "auto", 1, 0},   {HOPPER, "always", 1, 1},       {"sim:turing", "auto", 0, 1},
                 {"sim:ampere", "", 0, 1}, {"sim:pascal", "always", 0, 0}, {"sim:pascal", "auto", 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bunch b = open_bunch(cases[i].device, cases[i].setting, EUM_ACCESS_READ_WRITE);
        ctx_of(b.context)->costs.batch_waits = cases[i].waits;
        ctx_of(b.context)->costs.batch_range_ns = 0;
        OK(launch_bunch(&b, MANY, (work){.kind = WORK_EXPECT, .value = 100}));
        ck_assert_uint_eq(stats_of(b.context).prefetch_batches, cases[i].batches);
        ck_assert_uint_eq(stats_of(b.context).moves_to_device, MANY);
        close_bunch(&b);
    }
}
END_TEST

START_TEST(acquired_views_move_by_one_call)
{
    bunch b = open_bunch(HOPPER, "auto", EUM_ACCESS_READ_WRITE);
    void *addresses[MANY];
    OK(eum_stream_acquire(b.stream, b.arguments, MANY, addresses));
    ck_assert_uint_eq(stats_of(b.context).prefetch_batches, 1);
    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(explain(b.buffers[i]).last_movement, EUM_MOVEMENT_PREFETCH);
    eum_job job;
    OK(eum_stream_release(b.stream, b.arguments, MANY, &job));
    wait_job(job);
    for (uint32_t i = 0; i < MANY; i++)
        cpu_expect(whole(b.buffers[i]), 100 + i);
    close_bunch(&b);
}
END_TEST

/* Every other page of a buffer is on the device: the rest of them are many ranges of one use. */
START_TEST(one_view_with_many_ranges_moves_by_one_call_to_either_side)
{
    eum_context *context = open_batching(HOPPER, "auto");
    eum_stream *stream = default_stream(context);
    eum_buffer *buffer = new_buffer(context, 10 * PAGE);
    cpu_fill(whole(buffer), 1);
    for (size_t i = 0; i < 10; i += 2) /* one after the other: no call for many */
        wait_job(launch1(stream, (work){.kind = WORK_NOTHING}, updates(part(buffer, i * PAGE, PAGE))));
    ck_assert_uint_eq(stats_of(context).prefetch_batches, 0);
    gpu_expect(stream, whole(buffer), 1);
    ck_assert_uint_eq(stats_of(context).prefetch_batches, 1);
    for (size_t i = 0; i < 10; i += 2)
        wait_job(launch1(stream, (work){.kind = WORK_NOTHING}, updates(part(buffer, i * PAGE, PAGE))));
    void *address = map(whole(buffer), EUM_ACCESS_READ_WRITE);
    expect_words(address, 10 * PAGE / WORD, 1, 0);
    unmap(buffer, address);
    ck_assert_uint_eq(stats_of(context).prefetch_batches, 2);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

/* Read by two arguments, a page is planned for the second when it has moved for the first: the device would tell of two ranges of one call. */
START_TEST(uses_that_share_pages_are_not_moved_by_the_same_call)
{
    eum_stats stats[2];
    for (int together = 0; together < 2; together++) {
        eum_context *context = open_batching(HOPPER, together ? "auto" : "never");
        eum_stream *stream = default_stream(context);
        eum_buffer *buffer = new_buffer(context, 8 * PAGE), *other = new_buffer(context, 3 * PAGE);
        cpu_fill(whole(buffer), 1);
        cpu_fill(whole(other), 2);
        const eum_argument arguments[] = {updates(part(buffer, 0, PAGE / 2)),    updates(part(buffer, 2 * PAGE, PAGE)),
                                          updates(part(buffer, PAGE / 2, PAGE)), updates(part(other, 0, PAGE)),
                                          updates(part(buffer, 5 * PAGE, PAGE)), updates(part(other, 2 * PAGE, PAGE))};
        const work w = {.kind = WORK_NOTHING};
        eum_job job;
        OK(try_launch(stream, &w, arguments, sizeof arguments / sizeof *arguments, &job));
        wait_job(job);
        check_device(context);
        stats[together] = stats_of(context);
        ck_assert_uint_eq(stats[together].prefetch_batches,
                          together ? 2 : 0); /* pages 0 and 2; then 1, 5, and those of the other */
        ck_assert_uint_eq(explain(buffer).last_bytes, PAGE);
        ck_assert_uint_eq(explain(other).last_bytes, PAGE);
        cpu_expect(whole(buffer), 1);
        cpu_expect(whole(other), 2);
        OK(eum_buffer_destroy(buffer));
        OK(eum_buffer_destroy(other));
        close_context(context);
    }
    stats[1].prefetch_batches = 0;
    ck_assert_mem_eq(&stats[0], &stats[1], sizeof stats[0]);
}
END_TEST

START_TEST(what_is_on_another_stream_is_waited_for)
{
    bunch b = open_bunch("sim:hopper", "auto", EUM_ACCESS_READ_WRITE);
    eum_stream *other = new_stream(b.context);
    gate g = GATE_INIT;
    launch1(other, (work){.kind = WORK_ADD, .value = 5, .gate = &g}, updates(whole(b.buffers[7])));
    await_gate(&g, 1);
    eum_job job;
    const work w = {.kind = WORK_NOTHING};
    OK(try_launch(b.stream, &w, b.arguments, MANY, &job)); /* which does not wait */
    ck_assert_uint_eq(stats_of(b.context).prefetch_batches, 1);
    ck_assert(!is_done(job));
    open_gate(&g);
    wait_job(job);
    cpu_expect_plus(whole(b.buffers[7]), 107, 5);
    OK(eum_stream_destroy(other));
    close_bunch(&b);
}
END_TEST

/* It would wait with the lock held, for a callback that waits for the lock. */
START_TEST(a_call_that_waits_is_not_made_behind_anything)
{
    bunch b = open_bunch("sim:hopper", "always", EUM_ACCESS_READ_WRITE);
    ctx_of(b.context)->costs.batch_waits = 1;
    eum_stream *other = new_stream(b.context);
    eum_buffer *unrelated = new_buffer(b.context, PAGE);
    const work nothing = {.kind = WORK_NOTHING};
    for (int k = 0; k < 3; k++) { /* on the stream itself; on another, in conflict; nowhere */
        gate g = GATE_INIT;
        eum_job job;
        if (k < 2) {
            launch1(k == 0 ? b.stream : other, (work){.kind = WORK_NOTHING, .gate = &g},
                    updates(whole(k == 0 ? unrelated : b.buffers[7])));
            await_gate(&g, 1);
        }
        OK(try_launch(b.stream, &nothing, b.arguments, MANY, &job));
        ck_assert_uint_eq(stats_of(b.context).prefetch_batches, k < 2 ? 0 : 1);
        open_gate(&g);
        wait_job(job);
        for (uint32_t i = 0; i < MANY; i++)
            cpu_fill(whole(b.buffers[i]), 100 + i);
        OK(eum_stream_synchronize(b.stream));
        OK(eum_stream_synchronize(other));
    }
    OK(eum_buffer_destroy(unrelated));
    OK(eum_stream_destroy(other));
    close_bunch(&b);
}
END_TEST

/* --------------------------------------------------------------------------------------------------- differences --- */

#define BUFFERS 5
#define PAGES 24
#define WORDS (PAGES * PAGE / WORD)

typedef struct outcome {
    eum_stats stats;
    eum_decision decisions[BUFFERS];
    uint64_t batches;
} outcome;

/* Parts that do not overlap, so that any access will do; some of them share pages. */
static size_t random_arguments(uint32_t seed, eum_buffer *const *buffers, eum_argument *out)
{
    size_t count = 0;
    for (uint32_t k = 0; k < BUFFERS; k++) {
        size_t at = word_at(seed, 10 * k) % WORDS, parts = word_at(seed, 10 * k + 1) % 6;
        for (uint32_t i = 0; i < parts && at < WORDS; i++) {
            size_t words = 1 + word_at(seed, 1000 + 10 * k + i) % (3 * PAGE / WORD),
                   gap = word_at(seed, 2000 + 10 * k + i) % (2 * PAGE / WORD);
            words = at + words > WORDS ? WORDS - at : words;
            out[count++] =
                (eum_argument){part(buffers[k], at * WORD, words * WORD), accesses[word_at(seed, 3000 + 10 * k + i) % 3], 0};
            at += words + (word_at(seed, 4000 + 10 * k + i) % 2) * gap;
        }
    }
    return count;
}

static void random_map(uint32_t seed, eum_buffer *const *buffers)
{
    size_t begin = word_at(seed, 1) % WORDS, words = 1 + word_at(seed, 2) % (WORDS - begin);
    eum_access access = accesses[word_at(seed, 3) % 3];
    eum_view view = part(buffers[word_at(seed, 4) % BUFFERS], begin * WORD, words * WORD);
    uint32_t *address = map(view, access);
    for (size_t i = 0; i < words && access != EUM_ACCESS_READ; i++)
        address[i] = word_at(seed, i);
    unmap(view.buffer, address);
}

static void random_step(uint32_t seed, eum_stream *stream, eum_buffer *const *buffers)
{
    static const eum_role roles[] = {EUM_ROLE_AUTO, EUM_ROLE_QUERY, EUM_ROLE_TARGETS, EUM_ROLE_RESULTS, EUM_ROLE_STREAM};
    eum_argument arguments[6 * BUFFERS];
    void *addresses[6 * BUFFERS];
    size_t count = random_arguments(seed, buffers, arguments);
    eum_buffer *one = buffers[word_at(seed, 5) % BUFFERS];
    switch (word_at(seed, 6) % 8) {
    case 0:
    case 1:
        random_map(seed, buffers);
        break;
    case 2:
        OK(eum_buffer_set_role(one, roles[word_at(seed, 7) % 5]));
        break;
    case 3:
        OK(eum_buffer_advise(whole(one), word_at(seed, 7) % 2 == 0 ? EUM_ADVICE_READ_MOSTLY : EUM_ADVICE_UNSET_READ_MOSTLY,
                             EUM_LOCATION_HOST, NULL));
        break;
    case 4:
        OK(eum_stream_acquire(stream, arguments, count, addresses));
        OK(eum_stream_release(stream, arguments, count, NULL));
        break;
    default: {
        const work w = {.kind = WORK_FILL, .value = seed};
        for (size_t i = 0; i < count; i++) /* FILL writes all */
            arguments[i].access = arguments[i].access == EUM_ACCESS_READ ? EUM_ACCESS_READ_WRITE : arguments[i].access;
        OK(try_launch(stream, &w, arguments, count, NULL));
    }
    }
    OK(eum_stream_synchronize(stream));
}

static outcome run_randomly(const char *device, const char *setting, uint32_t seed, uint32_t (*words)[WORDS])
{
    eum_context *context = open_batching(device, setting);
    eum_stream *stream = default_stream(context);
    eum_buffer *buffers[BUFFERS];
    outcome o;
    for (uint32_t k = 0; k < BUFFERS; k++) {
        buffers[k] = new_buffer(context, WORDS * WORD);
        cpu_fill(whole(buffers[k]), seed + k);
    }
    for (uint32_t i = 0; i < 40; i++)
        random_step(1000 * seed + i, stream, buffers);
    check_device(context);
    o.stats = stats_of(context);
    o.batches = o.stats.prefetch_batches;
    o.stats.prefetch_batches = 0;
    for (uint32_t k = 0; k < BUFFERS; k++)
        o.decisions[k] = explain(buffers[k]);
    for (uint32_t k = 0; k < BUFFERS; k++) {
        OK(eum_buffer_read(whole(buffers[k]), words[k]));
        OK(eum_buffer_destroy(buffers[k]));
    }
    close_context(context);
    return o;
}

START_TEST(whatever_is_done_bytes_statistics_and_decisions_are_the_same_with_and_without_it)
{
    static const char *const devices[] = {HOPPER, "sim:turing,schedule=step"};
    static uint32_t words[2][BUFFERS][WORDS];
    uint64_t batches = 0;
    for (uint32_t seed = 1; seed <= 12; seed++) {
        outcome apart = run_randomly(devices[_i], "never", seed, words[0]),
                together = run_randomly(devices[_i], "auto", seed, words[1]);
        ck_assert_mem_eq(words[0], words[1], sizeof words[0]);
        ck_assert_uint_eq(apart.batches, 0);
        batches += together.batches;
        ck_assert_mem_eq(&apart.stats, &together.stats, sizeof apart.stats);
        ck_assert_mem_eq(apart.decisions, together.decisions, sizeof apart.decisions);
    }
    ck_assert_uint_gt(batches, 50);
}
END_TEST

/* ------------------------------------------------------------------------------------------------------ failures --- */

static int warnings;
static void count_warnings(void *user, eum_log_level level, const char *message)
{
    (void)user;
    warnings += level == EUM_LOG_WARN &&
                strstr(message, "16 ranges could not be prefetched by one call (EUM_ERROR_CUDA)") != NULL &&
                strstr(message, "EUM_PREFETCH_BATCH=never") != NULL;
}

START_TEST(a_call_for_many_that_fails_is_replaced_by_one_for_each)
{
    bunch b = open_bunch(HOPPER, "auto", accesses[_i]);
    ctx_of(b.context)->log = (eum_log){.fn = count_warnings, .level = EUM_LOG_WARN};
    warnings = 0;
    eum_sim_fail(b.device, EUM_SIM_PREFETCH_MANY, EUM_SIM_FAIL_ALL);
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_buffer_create(b.context, 0, NULL, NULL)); /* the error of this thread: */
    eum_error before = EUM_ERROR_INIT, after = EUM_ERROR_INIT;
    OK(eum_last_error(&before));
    const work w = {.kind = accesses[_i] == EUM_ACCESS_OVERWRITE ? WORK_FILL : WORK_EXPECT, .value = 100};
    const uint64_t one = calls(&b, EUM_SIM_PREFETCH);
    OK(launch_bunch(&b, MANY, w));
    OK(eum_last_error(&after));
    ck_assert_str_eq(after.sentence, before.sentence); /* it stays that */
    ck_assert_uint_eq(calls(&b, EUM_SIM_PREFETCH) - one, MANY);
    ck_assert_uint_eq(stats_of(b.context).prefetch_batches, 0);
    ck_assert_int_eq(warnings, 1);
    check_device(b.context); /* no fault in the kernel */
    for (uint32_t i = 0; i < MANY; i++)
        cpu_expect(whole(b.buffers[i]), 100 + i);
    close_bunch(&b);
}
END_TEST

/* The call for many fails, and then one of the others: a single one, the orders, the mark, the launch. */
START_TEST(whichever_call_fails_after_it_no_byte_is_lost_and_what_is_recorded_is_true)
{
    const work expect = {.kind = WORK_EXPECT, .value = 100}, add = {.kind = WORK_NOTHING};
    int failures = 0;
    for (uint64_t nth = 1; nth < 60; nth++) {
        bunch b = open_bunch(HOPPER, "auto", EUM_ACCESS_READ_WRITE);
        if (_i == 1)
            eum_sim_fail(b.device, EUM_SIM_PREFETCH_MANY, EUM_SIM_FAIL_ALL);
        eum_sim_fail(b.device, EUM_SIM_ANY, nth);
        failures += launch_bunch(&b, MANY, add) != EUM_OK;
        eum_sim_fail(b.device, EUM_SIM_ANY, 0);
        eum_sim_fail(b.device, EUM_SIM_PREFETCH_MANY, 0);
        for (uint32_t i = 0; i < MANY; i += 3) /* some are used by the CPU in between */
            cpu_expect(whole(b.buffers[i]), 100 + i);
        OK(launch_bunch(&b, MANY, expect));
        check_device(b.context);
        for (uint32_t i = 0; i < MANY; i++)
            cpu_expect(whole(b.buffers[i]), 100 + i);
        close_bunch(&b);
    }
    ck_assert_int_gt(failures, _i == 1 ? MANY : 0);
}
END_TEST

START_TEST(a_device_that_is_lost_meanwhile_is_an_error_and_everything_ends)
{
    bunch b = open_bunch(HOPPER, "auto", EUM_ACCESS_READ_WRITE);
    eum_sim_fail(b.device, EUM_SIM_LOST, 1);
    const work w = {.kind = WORK_NOTHING};
    GIVES(EUM_ERROR_DEVICE_LOST, launch_bunch(&b, 1, w));
    memmove(b.arguments, b.arguments + 1, (MANY - 1) * sizeof *b.arguments); /* what the first was to write is undefined */
    GIVES(EUM_ERROR_DEVICE_LOST, launch_bunch(&b, MANY - 1, w));
    ck_assert_uint_eq(stats_of(b.context).prefetch_batches, 0);
    ck_assert_uint_eq(calls(&b, EUM_SIM_PREFETCH_MANY), 0);
    for (int i = 0; i < MANY; i++)
        OK(eum_buffer_destroy(b.buffers[i]));
    close_context(b.context);
}
END_TEST

Suite *batch_suite(void)
{
    Suite *suite = suite_create("batch");
    TCase *tests = tcase_create("batch");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, NULL, tear_down);
    tcase_add_test(tests, one_call_is_made_where_it_returns_early_and_saves_an_eighth);
    tcase_add_test(tests, so_many_ranges_save_an_eighth_and_one_less_does_not);
    tcase_add_test(tests, the_environment_chooses_and_a_misspelt_word_is_an_error);
    tcase_add_loop_test(tests, many_small_arguments_move_by_one_call_which_is_sooner_done_and_otherwise_the_same, 0, 3);
    tcase_add_test(tests, so_few_ranges_that_it_does_not_pay_have_a_call_each);
    tcase_add_test(tests, where_the_call_waits_it_is_made_by_force_only_and_where_there_is_none_not_even_then);
    tcase_add_test(tests, acquired_views_move_by_one_call);
    tcase_add_test(tests, one_view_with_many_ranges_moves_by_one_call_to_either_side);
    tcase_add_test(tests, uses_that_share_pages_are_not_moved_by_the_same_call);
    tcase_add_test(tests, what_is_on_another_stream_is_waited_for);
    tcase_add_test(tests, a_call_that_waits_is_not_made_behind_anything);
    tcase_add_loop_test(tests, whatever_is_done_bytes_statistics_and_decisions_are_the_same_with_and_without_it, 0, 2);
    tcase_add_loop_test(tests, a_call_for_many_that_fails_is_replaced_by_one_for_each, 0, 3);
    tcase_add_loop_test(tests, whichever_call_fails_after_it_no_byte_is_lost_and_what_is_recorded_is_true, 0, 2);
    tcase_add_test(tests, a_device_that_is_lost_meanwhile_is_an_error_and_everything_ends);
    suite_add_tcase(suite, tests);
    return suite;
}
