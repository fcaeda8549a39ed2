/* From how many rows and uses the device pays: what is told, and what the dispatcher then does.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "break_even.h"
#include "scoring_problem.h"

Suite *break_even_suite(void);

static eum_break_even_question some_question(uint32_t seed, eum_costs *costs)
{
    static const uint64_t dims[] = {1, 3, 100, 384, 768, 4096};
    static const eum_cpu_isa isas[] = {EUM_CPU_SCALAR, EUM_CPU_AVX2, EUM_CPU_AVX512, EUM_CPU_NEON};
    *costs = eum_costs_default((int32_t)(5 + word_at(seed, 0) % 5));
    eum_break_even_question q = {.cpu = eum_cpu_costs_of(isas[word_at(seed, 1) % 4]),
                                 .threads = 1 + word_at(seed, 2) % 32,
                                 .limit = (uint64_t)1 << (30 + word_at(seed, 3) % 12),
                                 .dim = dims[word_at(seed, 4) % 6],
                                 .element_bytes = 2 + 2 * (word_at(seed, 5) % 2),
                                 .queries = 1 + word_at(seed, 6) % 40};
    q.streams = q.queries <= 8;
    q.backing = (eum_backing_question){.device_kind = EUM_DEVICE_SIM,
                                       .managed = true,
                                       .concurrent_managed = word_at(seed, 7) % 4 != 0,
                                       .pinned_room = (uint64_t)1 << (10 + word_at(seed, 8) % 30),
                                       .costs = costs};
    return q;
}

static uint64_t room(const eum_break_even_question *q)
{
    return q->limit < (uint64_t)1 << 40 ? q->limit : (uint64_t)1 << 40;
}

START_TEST(with_the_number_told_the_device_is_chosen_and_with_one_less_the_cpu)
{
    int found = 0, never = 0;
    for (uint32_t seed = 0; seed < 400; seed++) {
        eum_costs costs;
        eum_break_even_question q = some_question(seed, &costs);
        for (int resident = 0; resident < 2; resident++) {
            uint64_t rows = eum_break_even_rows(&q, resident != 0);
            if (rows == EUM_NEVER) {
                uint64_t most = room(&q) / (q.dim * q.element_bytes);
                ck_assert_int_eq(eum_break_even_ask(&q, most, resident != 0, 0).executor, EUM_EXECUTOR_CPU);
                never++;
                continue;
            }
            ck_assert_uint_ge(rows, 1);
            ck_assert_int_eq(eum_break_even_ask(&q, rows, resident != 0, 0).executor, EUM_EXECUTOR_DEVICE);
            if (rows > 1)
                ck_assert_int_eq(eum_break_even_ask(&q, rows - 1, resident != 0, 0).executor, EUM_EXECUTOR_CPU);
            for (uint64_t more = rows * 2; more < rows * 1000 && more * q.dim * q.element_bytes <= room(&q); more *= 2)
                ck_assert_int_eq(eum_break_even_ask(&q, more, resident != 0, 0).executor, EUM_EXECUTOR_DEVICE);
            found++;
        }
    }
    ck_assert_int_gt(found, 100);
    ck_assert_int_gt(never, 10);
}
END_TEST

START_TEST(resident_targets_pay_from_no_more_rows_than_cold_ones)
{
    for (uint32_t seed = 0; seed < 400; seed++) {
        eum_costs costs;
        eum_break_even_question q = some_question(seed, &costs);
        uint64_t cold = eum_break_even_rows(&q, false), resident = eum_break_even_rows(&q, true);
        ck_assert_msg(cold == EUM_NEVER || (resident != EUM_NEVER && resident <= cold + cold / 50 + 1),
                      "seed %u: %llu cold, %llu resident", seed, (unsigned long long)cold, (unsigned long long)resident);
    }
}
END_TEST

/* The rule of calls that nobody announced, call by call: what the CPU takes longer is added up, as eum_stay_used does. */
START_TEST(the_use_told_is_the_first_that_the_device_gets_and_the_one_that_makes_up_for_moving)
{
    int several = 0;
    for (uint32_t seed = 0; seed < 2000; seed++) {
        eum_costs costs;
        eum_break_even_question q = some_question(seed, &costs);
        uint64_t rows = 1 + word_at(seed, 20) % 5000, uses = eum_break_even_uses(&q, rows), spent = 0, use = 1;
        for (; use < 3000; use++) {
            eum_executor_answer answer = eum_break_even_ask(&q, rows, false, spent);
            if (answer.executor == EUM_EXECUTOR_DEVICE || answer.rent_ns == 0)
                break;
            spent += answer.rent_ns;
        }
        eum_executor_answer cold = eum_break_even_ask(&q, rows, false, 0), resident = eum_break_even_ask(&q, rows, true, 0);
        if (uses == EUM_NEVER) {
            ck_assert(cold.executor == EUM_EXECUTOR_CPU && cold.rent_ns == 0);
            continue;
        }
        if (uses >= 3000)
            continue;
        ck_assert_uint_eq(uses, use);
        if (uses == 1)
            continue;
        several++;
        uint64_t move = cold.cpu_ns - cold.rent_ns; /* the device on resident targets */
        ck_assert_uint_le(move, cold.device_ns);
        ck_assert_uint_eq(move, resident.device_ns);
    }
    ck_assert_int_gt(several, 50);
}
END_TEST

static const char *const simulated[] = {"sim:maxwell", "sim:pascal", "sim:turing", "sim:ampere", "sim:hopper"};
#define SIMULATED ((int)(sizeof simulated / sizeof *simulated))

static eum_break_even ask(eum_context *context, const problem *p)
{
    eum_break_even_config config = EUM_BREAK_EVEN_CONFIG_INIT;
    eum_break_even answer = EUM_BREAK_EVEN_INIT;
    config.element = p->element;
    config.dim = p->dim;
    config.query_count = p->queries;
    config.rows = p->rows;
    OK(eum_context_break_even(context, &config, &answer));
    return answer;
}

/* The executors of so many calls on targets of `rows` rows, fresh or brought to the device before. Returns the number of the first call that
 * the device got; 0: none. */
static uint64_t first_on_device(eum_context *context, problem p, uint64_t rows, bool resident, uint64_t calls)
{
    uint64_t first = 0;
    p.rows = rows;
    arrays a = make_arrays(&p);
    operands o = make_operands(context, &p, &a, false);
    if (resident) {
        OK(eum_buffer_prefetch(whole(o.targets), 0, default_stream(context)));
        OK(eum_stream_synchronize(default_stream(context)));
    }
    for (uint64_t call = 1; call <= calls && first == 0; call++) {
        eum_job job;
        OK(start_problem(default_stream(context), &p, &a, &o, EUM_EXECUTOR_AUTO, &job));
        OK(eum_job_wait(job, -1));
        if (operation_stats(context, p.operation).last_executor == EUM_EXECUTOR_DEVICE)
            first = call;
    }
    end_operands(&o);
    free_arrays(&a);
    return first;
}

static const problem shapes[] = {
    {.operation = EUM_OPERATION_SIMILARITY, .metric = 1, .element = 1, .queries = 1, .rows = 500, .dim = 768},
    {.operation = EUM_OPERATION_SIMILARITY, .metric = 2, .element = 2, .queries = 3, .rows = 400, .dim = 384},
    {.operation = EUM_OPERATION_SIMILARITY, .metric = 1, .element = 1, .queries = 32, .rows = 100, .dim = 768},
};
#define SHAPES (sizeof shapes / sizeof *shapes)
#define FEW_ROWS 20000u /* that a test can score */

START_TEST(the_library_does_what_was_told)
{
    eum_context *context = open_on(simulated[_i], EUM_BACKING_AUTO);
    int tried = 0;
    for (size_t i = 0; i < SHAPES; i++) {
        problem p = shapes[i];
        eum_break_even told = ask(context, &p);
        ck_assert_uint_gt(told.cpu_ns, 0);
        ck_assert_uint_gt(told.device_resident_ns, 0);
        ck_assert_uint_ge(told.device_cold_ns, told.device_resident_ns);
        for (int resident = 0; resident < 2; resident++) {
            uint64_t rows = resident ? told.rows_resident : told.rows_cold;
            if (rows > FEW_ROWS || rows == 1)
                continue;
            ck_assert_uint_eq(first_on_device(context, p, rows, resident != 0, 1), 1);
            ck_assert_uint_eq(first_on_device(context, p, rows - 1, resident != 0, 1), 0);
            tried++;
        }
        if (told.uses != EUM_NEVER && told.uses < 40)
            ck_assert_uint_eq(first_on_device(context, p, p.rows, false, told.uses + 2), told.uses);
    }
    ck_assert_int_gt(tried, 0);
    close_context(context);
}
END_TEST

START_TEST(on_the_host_the_device_never_pays)
{
    eum_context *context = open_on("host", EUM_BACKING_AUTO);
    eum_break_even told = ask(context, &shapes[0]);
    ck_assert_uint_eq(told.rows_cold, EUM_NEVER);
    ck_assert_uint_eq(told.rows_resident, EUM_NEVER);
    ck_assert_uint_eq(told.uses, EUM_NEVER);
    ck_assert_uint_gt(told.cpu_ns, 0);
    ck_assert_uint_eq(told.device_cold_ns + told.device_resident_ns, 0);
    close_context(context);
}
END_TEST

START_TEST(without_rows_only_the_rows_are_told)
{
    eum_context *context = open_on("sim:hopper", EUM_BACKING_AUTO);
    problem p = shapes[0];
    p.rows = 0;
    eum_break_even told = ask(context, &p);
    ck_assert_uint_gt(told.rows_cold, 0);
    ck_assert_uint_eq(told.uses + told.cpu_ns + told.device_cold_ns + told.device_resident_ns, 0);
    close_context(context);
}
END_TEST

START_TEST(memory_that_the_cpu_may_not_touch_meanwhile_is_the_devices)
{
    eum_context *context = open_on("sim:maxwell", EUM_BACKING_MANAGED);
    eum_break_even told = ask(context, &shapes[0]);
    ck_assert_uint_eq(told.rows_cold, 1);
    ck_assert_uint_eq(told.uses, 1);
    ck_assert_uint_eq(first_on_device(context, shapes[0], 1, false, 1), 1);
    close_context(context);
}
END_TEST

START_TEST(wrong_shapes_are_refused)
{
    eum_context *context = open_on("host", EUM_BACKING_AUTO);
    eum_break_even_config config = EUM_BREAK_EVEN_CONFIG_INIT;
    eum_break_even answer = EUM_BREAK_EVEN_INIT, untouched = answer;
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_context_break_even(context, NULL, &answer));
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_context_break_even(context, &config, &answer)); /* dim 0 */
    config.dim = 768;
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_context_break_even(context, &config, NULL));
    config.query_count = 0;
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_context_break_even(context, &config, &answer));
    config.query_count = 1;
    config.reserved = 1;
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_context_break_even(context, &config, &answer));
    config.reserved = 0;
    config.element = 4;
    GIVES(EUM_ERROR_INVALID_ENUM, eum_context_break_even(context, &config, &answer));
    config.element = EUM_ELEMENT_FLOAT16;
    config.rows = SIZE_MAX / 768;
    GIVES(EUM_ERROR_SIZE_OVERFLOW, eum_context_break_even(context, &config, &answer));
    config.rows = 1;
    config.query_count = SIZE_MAX / 3000;
    GIVES(EUM_ERROR_SIZE_OVERFLOW, eum_context_break_even(context, &config, &answer));
    ck_assert_mem_eq(&answer, &untouched, sizeof answer);
    config.query_count = 1;
    config.dim = SIZE_MAX / 8; /* more than the search goes: still an answer */
    OK(eum_context_break_even(context, &config, &answer));
    close_context(context);
}
END_TEST

Suite *break_even_suite(void)
{
    Suite *suite = suite_create("break_even");
    TCase *tests = tcase_create("break_even");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, with_the_number_told_the_device_is_chosen_and_with_one_less_the_cpu);
    tcase_add_test(tests, resident_targets_pay_from_no_more_rows_than_cold_ones);
    tcase_add_test(tests, the_use_told_is_the_first_that_the_device_gets_and_the_one_that_makes_up_for_moving);
    tcase_add_loop_test(tests, the_library_does_what_was_told, 0, SIMULATED);
    tcase_add_test(tests, on_the_host_the_device_never_pays);
    tcase_add_test(tests, without_rows_only_the_rows_are_told);
    tcase_add_test(tests, memory_that_the_cpu_may_not_touch_meanwhile_is_the_devices);
    tcase_add_test(tests, wrong_shapes_are_refused);
    suite_add_tcase(suite, tests);
    return suite;
}
