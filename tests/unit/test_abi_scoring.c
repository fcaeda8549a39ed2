/* eum_similarity, eum_topk and eum_similarity_rows in the C ABI: what they refuse, and that they then change nothing.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "abi_fixture.h"

Suite *abi_scoring_suite(void);

/* In the fixture's 64 bytes: 2 queries and 3 rows of 2 floats, and results behind them. */
static eum_similarity_config similarity(void)
{
    eum_similarity_config config = EUM_SIMILARITY_CONFIG_INIT;
    config.queries = (eum_view){buffer, 0, 16};
    config.targets = (eum_view){buffer, 16, 24};
    config.scores = (eum_view){buffer, 40, 24};
    config.query_count = 2;
    config.rows = 3;
    config.dim = 2;
    return config;
}

static eum_topk_config topk(void)
{
    eum_topk_config config = EUM_TOPK_CONFIG_INIT;
    config.queries = (eum_view){buffer, 0, 8};
    config.targets = (eum_view){buffer, 8, 24};
    config.indices = (eum_view){buffer, 32, 16};
    config.scores = (eum_view){buffer, 48, 8};
    config.rows = 3;
    config.dim = 2;
    config.k = 2;
    return config;
}

static eum_similarity_rows_config listed(const int64_t *numbers, uint64_t count)
{
    eum_similarity_rows_config config = EUM_SIMILARITY_ROWS_CONFIG_INIT;
    config.queries = (eum_view){buffer, 0, 8};
    config.targets = (eum_view){buffer, 8, 24};
    config.scores = (eum_view){buffer, 32, 32};
    config.rows = 3;
    config.dim = 2;
    config.numbers = numbers;
    config.number_count = count;
    return config;
}

#define REFUSES(function, config, change, status, words)                                                                           \
    do {                                                                                                                           \
        __typeof__(config) wrong = config;                                                                                         \
        change;                                                                                                                    \
        poison();                                                                                                                  \
        expect_words(#function ", " #change, function(stream, &wrong, &out.job), status, words);                                   \
        untouched(#function);                                                                                                      \
    } while (0)

START_TEST(operands_must_fit_their_shape)
{
#define WRONG(change, status, words) REFUSES(eum_similarity, similarity(), wrong.change, status, words)
    WRONG(metric = 0, EUM_ERROR_INVALID_ENUM, "metric is 0");
    WRONG(metric = 4, EUM_ERROR_INVALID_ENUM, "EUM_METRIC_*");
    WRONG(element = 0, EUM_ERROR_INVALID_ENUM, "element is 0");
    WRONG(element = 4, EUM_ERROR_INVALID_ENUM, "EUM_ELEMENT_*");
    WRONG(executor = 3, EUM_ERROR_INVALID_ENUM, "executor is 3, which is none of EUM_EXECUTOR_*");
    WRONG(executor = -1, EUM_ERROR_INVALID_ENUM, "executor is -1");
    WRONG(reserved = 1, EUM_ERROR_INVALID_ARGUMENT, "reserved is 1; it must be 0");
    WRONG(dim = 0, EUM_ERROR_INVALID_ARGUMENT, "dim is 0");
    WRONG(dim = UINT64_MAX / 4 + 1, EUM_ERROR_SIZE_OVERFLOW, "queries: 4611686018427387904 times 4");
    WRONG(query_count = UINT64_MAX / 8 + 1, EUM_ERROR_SIZE_OVERFLOW, "queries: 2305843009213693952 times 8");
    WRONG(rows = UINT64_MAX / 8 + 1, EUM_ERROR_SIZE_OVERFLOW, "targets: 2305843009213693952 times 8");
    WRONG(rows = wrong.query_count = UINT64_C(1) << 32, EUM_ERROR_SIZE_OVERFLOW, "scores: 4294967296 times 4294967296");
    WRONG(query_stride = 10, EUM_ERROR_MISALIGNED, "stride of the queries is 10");
    WRONG(query_stride = 4, EUM_ERROR_INVALID_ARGUMENT, "stride of the queries is 4, shorter than 2 elements (8 bytes)");
    WRONG(row_stride = 10, EUM_ERROR_MISALIGNED, "stride of the targets is 10");
    WRONG(row_stride = 4, EUM_ERROR_INVALID_ARGUMENT, "stride of the targets is 4, shorter than 2 elements");
    WRONG(queries.bytes = 15, EUM_ERROR_BUFFER_TOO_SHORT, "queries has 15 bytes, and the declared shape needs 16");
    WRONG(targets.bytes = 23, EUM_ERROR_BUFFER_TOO_SHORT, "targets has 23 bytes, and the declared shape needs 24");
    WRONG(scores.bytes = 23, EUM_ERROR_BUFFER_TOO_SHORT, "scores has 23 bytes, and the declared shape needs 24");
    WRONG(queries.offset = 2, EUM_ERROR_MISALIGNED, "queries has offset 2");
    WRONG(targets.offset = 18, EUM_ERROR_MISALIGNED, "targets has offset 18, which is not a multiple of 4");
    WRONG(scores.offset = 38, EUM_ERROR_MISALIGNED, "scores has offset 38");
    WRONG(scores.offset = 41, EUM_ERROR_OUT_OF_BOUNDS, "scores has offset 41");
    WRONG(scores.offset = 36, EUM_ERROR_OVERLAP, "targets and scores overlap");
    WRONG(targets.buffer = NULL, EUM_ERROR_INVALID_HANDLE, "targets: ");
#undef WRONG
    poison();
    eum_similarity_config config = similarity();
    EXPECT(eum_similarity(NULL, &config, &out.job), EUM_ERROR_INVALID_HANDLE, "");
    EXPECT(eum_similarity(stream, NULL, &out.job), EUM_ERROR_INVALID_ARGUMENT, "dim is 0");
    untouched("eum_similarity");
}
END_TEST

START_TEST(k_is_from_1_to_1024)
{
#define WRONG(change, status, words) REFUSES(eum_topk, topk(), wrong.change, status, words)
    WRONG(k = 0, EUM_ERROR_INVALID_ARGUMENT, "k is 0; it is 1 to 1024");
    WRONG(k = 1025, EUM_ERROR_INVALID_ARGUMENT, "k is 1025");
    WRONG(k = 3, EUM_ERROR_BUFFER_TOO_SHORT, "scores has 8 bytes, and the declared shape needs 12");
    WRONG(indices.bytes = 15, EUM_ERROR_BUFFER_TOO_SHORT, "indices has 15 bytes, and the declared shape needs 16");
    WRONG(indices.offset = 28, EUM_ERROR_MISALIGNED, "indices has offset 28, which is not a multiple of 8");
    WRONG(metric = 7, EUM_ERROR_INVALID_ENUM, "metric is 7");
    WRONG(executor = 7, EUM_ERROR_INVALID_ENUM, "executor is 7");
    WRONG(reserved = -1, EUM_ERROR_INVALID_ARGUMENT, "reserved is -1");
    WRONG(query_count = UINT64_C(1) << 62, EUM_ERROR_SIZE_OVERFLOW, "queries: ");
#undef WRONG
    EXPECT(eum_topk(stream, NULL, &out.job), EUM_ERROR_INVALID_ARGUMENT, "dim is 0");
}
END_TEST

START_TEST(the_first_row_number_out_of_range_is_named_and_nothing_is_written)
{
    static const int64_t below[] = {0, 2, -1, 3}, above[] = {2, 3, -1, 0}, good[] = {2, 0, 2, 1};
    char *memory = NULL, before[BYTES];
    OK(eum_buffer_map((eum_view){buffer, 0, BYTES}, EUM_ACCESS_READ_WRITE, (void **)&memory));
    memset(memory, 7, BYTES);
    memcpy(before, memory, BYTES);
    OK(eum_buffer_unmap(buffer, memory));
    REFUSES(eum_similarity_rows, listed(below, 4), (void)wrong, EUM_ERROR_OUT_OF_BOUNDS,
            "numbers[2] is -1, and the targets have 3 rows");
    REFUSES(eum_similarity_rows, listed(above, 4), (void)wrong, EUM_ERROR_OUT_OF_BOUNDS,
            "numbers[1] is 3, and the targets have 3 rows");
    REFUSES(eum_similarity_rows, listed(NULL, 4), (void)wrong, EUM_ERROR_INVALID_ARGUMENT, "numbers is NULL and number_count is 4");
    REFUSES(eum_similarity_rows, listed(good, 4), wrong.executor = 4, EUM_ERROR_INVALID_ENUM, "executor is 4");
    REFUSES(eum_similarity_rows, listed(good, 4), wrong.reserved = 4, EUM_ERROR_INVALID_ARGUMENT, "reserved is 4");
    REFUSES(eum_similarity_rows, listed(good, 4), wrong.scores.bytes = 15, EUM_ERROR_BUFFER_TOO_SHORT, "scores has 15 bytes");
    OK(eum_buffer_map((eum_view){buffer, 0, BYTES}, EUM_ACCESS_READ, (void **)&memory));
    ck_assert_int_eq(memcmp(memory, before, BYTES), 0);
    OK(eum_buffer_unmap(buffer, memory));
}
END_TEST

START_TEST(nothing_to_score_is_a_job_that_is_done)
{
    static const int64_t numbers[] = {0};
    eum_similarity_config all = similarity();
    all.rows = 0;
    OK(eum_similarity(stream, &all, &out.job));
    OK(eum_job_wait(out.job, 0));
    all = similarity();
    all.query_count = 0;
    OK(eum_similarity(stream, &all, &out.job));
    OK(eum_job_wait(out.job, 0));
    eum_topk_config best = topk();
    best.query_count = 0;
    OK(eum_topk(stream, &best, NULL));
    eum_similarity_rows_config none = listed(numbers, 0);
    OK(eum_similarity_rows(stream, &none, &out.job));
    OK(eum_job_wait(out.job, 0));
    none.numbers = NULL;
    OK(eum_similarity_rows(stream, &none, NULL));
}
END_TEST

Suite *abi_scoring_suite(void)
{
    Suite *suite = suite_create("abi_scoring");
    TCase *calls = tcase_create("calls");
    tcase_add_checked_fixture(calls, set_up, tear_down);
    tcase_add_test(calls, operands_must_fit_their_shape);
    tcase_add_test(calls, k_is_from_1_to_1024);
    tcase_add_test(calls, the_first_row_number_out_of_range_is_named_and_nothing_is_written);
    tcase_add_test(calls, nothing_to_score_is_a_job_that_is_done);
    suite_add_tcase(suite, calls);
    return suite;
}
