/* The cosine kernels of the CPU: what they read and write, the same bits in every split, and the choice of an instruction set.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE 1

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cosine_fixture.h"

Suite *kernels_layout_suite(void);

/* ------------------------------------------------------------------------------------------------------- layout ----- */

START_TEST(scores_do_not_depend_on_alignment_or_stride)
{
    static const size_t gaps[] = {0, 1, 3, 16, 17};
    const size_t rows = 13, most = 130;
    float *query = floats(most + 16), *targets = floats(rows * (most + 17) + 16), expected[13], scores[13 + 16];
    for (size_t i = 0; i < 2 * SMALL_DIMS; i++) {
        size_t dim = i / 2 + 1;
        float *plain_query = floats(dim), *plain = floats(rows * dim);
        fill(plain_query, dim, UNIFORM);
        fill(plain, rows * dim, UNIFORM);
        for (size_t g = 0; g < sizeof gaps / sizeof gaps[0]; g++) {
            size_t stride = dim + gaps[g], offset = random_bits() % 16u, query_offset = random_bits() % 16u,
                   score_offset = random_bits() % 16u;
            for (size_t k = 0; k < rows * (most + 17) + 16; k++)
                targets[k] = NAN; /* between the rows: must not count */
            for (size_t k = 0; k < most + 16; k++)
                query[k] = NAN;
            memcpy(query + query_offset, plain_query, dim * sizeof(float));
            for (size_t r = 0; r < rows; r++)
                memcpy(targets + offset + r * stride, plain + r * dim, dim * sizeof(float));
            eum_cosine_args args = {plain_query, plain, expected, rows, dim, dim * sizeof(float)};
            eum_cosine_args moved = {query + query_offset,  targets + offset, scores + score_offset, rows, dim,
                                     stride * sizeof(float)};
            FOR_EACH_ISA(isa)
            {
                score(&args, 0, rows, isa);
                poison(scores, rows + 16);
                score(&moved, 0, rows, isa);
                if (memcmp(expected, scores + score_offset, sizeof expected) != 0)
                    ck_abort_msg("%s, dim %d, stride %d, offset %d: other scores than in place", eum_cpu_isa_name(isa), (int)dim,
                                 (int)stride, (int)offset);
            }
        }
        free(plain_query);
        free(plain);
    }
    free(query);
    free(targets);
}
END_TEST

/* `bytes` that end where a page ends that cannot be touched, as another one in front cannot. */
static unsigned char *guarded(size_t bytes, size_t *mapped)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), inner = (bytes + page - 1) / page * page;
    *mapped = inner + 2 * page;
    unsigned char *base = mmap(NULL, *mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || mprotect(base + page, inner, PROT_READ | PROT_WRITE) != 0)
        ck_abort_msg("cannot map %zu bytes", *mapped);
    return base + page;
}

START_TEST(nothing_is_read_outside_the_rows_and_the_query)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), mapped, query_mapped;
    size_t bytes = 4 * page; /* whole pages, so that an array that fills to the end touches the guard, and so from the start */
    unsigned char *memory = guarded(bytes, &mapped), *query_memory = guarded(bytes, &query_mapped);
    for (size_t i = 0; i < DIMS; i++) {
        size_t dim = dim_number(i), rows = bytes / (dim * sizeof(float));
        rows = rows > 9 ? 9 : rows;
        for (; rows > 0; rows--) {
            for (int at_end = 0; at_end < 2; at_end++) {
                float *targets = (float *)(void *)(at_end ? memory + bytes - rows * dim * sizeof(float) : memory);
                float *query = (float *)(void *)(at_end ? query_memory + bytes - dim * sizeof(float) : query_memory);
                fill(targets, rows * dim, UNIFORM);
                fill(query, dim, UNIFORM);
                check_all(&(eum_cosine_args){query, targets, NULL, rows, dim, dim * sizeof(float)}, "guarded");
            }
        }
    }
    munmap(memory - page, mapped);
    munmap(query_memory - page, query_mapped);
}
END_TEST

START_TEST(nothing_is_read_outside_targets_that_are_prefetched)
{
    static const size_t dims[] = {3, 100, 128, 768, 4099};
    for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE), dim = dims[i], rows = ((size_t)3 << 20) / (dim * sizeof(float)) + 1, mapped;
        size_t bytes = (rows * dim * sizeof(float) + page - 1) / page * page;
        unsigned char *memory = guarded(bytes, &mapped);
        float *targets = (float *)(void *)(memory + bytes - rows * dim * sizeof(float)), *query = floats(dim);
        fill(targets, rows * dim, UNIFORM);
        fill(query, dim, UNIFORM);
        check_all(&(eum_cosine_args){query, targets, NULL, rows, dim, dim * sizeof(float)}, "guarded and prefetched");
        free(query);
        munmap(memory - page, mapped);
    }
}
END_TEST

START_TEST(rows_are_found_beyond_4_gib)
{
    size_t stride = ((size_t)1 << 30) + 4, rows = 6, dim = 37, bytes = stride * rows;
    unsigned char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return; /* an address space limit: nothing to test here */
    float *query = floats(dim);
    fill(query, dim, UNIFORM);
    for (size_t r = 0; r < rows; r++)
        fill((float *)(void *)(memory + r * stride), dim, UNIFORM);
    check_all(&(eum_cosine_args){query, (float *)(void *)memory, NULL, rows, dim, stride}, "beyond 4 GiB");
    free(query);
    munmap(memory, bytes);
}
END_TEST

/* -------------------------------------------------------------------------------------------------- determinism ----- */

START_TEST(a_row_scores_the_same_in_every_split_and_nothing_else_is_written)
{
    static const size_t dims[] = {1, 5, 16, 100, 129, 1030, 2100};
    const size_t rows = 27;
    float expected[27], scores[27];
    for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++) {
        size_t dim = dims[i];
        float *query = floats(dim), *targets = floats(rows * dim);
        fill(query, dim, UNIFORM);
        fill(targets, rows * dim, UNIFORM);
        fill(targets + 3 * dim, dim, LARGE); /* by the slow path */
        fill(targets + 13 * dim, dim, SMALL);
        eum_cosine_args args = {query, targets, expected, rows, dim, dim * sizeof(float)};
        FOR_EACH_ISA(isa)
        {
            args.scores = expected;
            score(&args, 0, rows, isa);
            args.scores = scores;
            for (size_t first = 0; first <= rows; first++) {
                for (size_t last = first; last <= rows; last++) {
                    poison(scores, rows);
                    score(&args, first, last, isa);
                    for (size_t r = 0; r < rows; r++)
                        if (bits(scores[r]) != bits(r >= first && r < last ? expected[r] : POISON))
                            ck_abort_msg("%s, dim %d, rows [%d, %d): row %d scores %.9g", eum_cpu_isa_name(isa), (int)dim,
                                         (int)first, (int)last, (int)r, (double)scores[r]);
                }
            }
        }
        free(query);
        free(targets);
    }
}
END_TEST

START_TEST(a_row_scores_the_same_in_cache_and_prefetched)
{
    static const size_t dims[] = {10, 100, 768, 4099};
    for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++) {
        size_t dim = dims[i], rows = ((size_t)2 << 20) / (dim * sizeof(float));
        float *query = floats(dim), *targets = floats(rows * dim), *whole = floats(rows), *parts = floats(rows);
        fill(query, dim, UNIFORM);
        fill(targets, rows * dim, UNIFORM);
        eum_cosine_args args = {query, targets, whole, rows, dim, dim * sizeof(float)};
        FOR_EACH_ISA(isa)
        {
            args.scores = whole;
            score(&args, 0, rows, isa);
            args.scores = parts;
            for (size_t first = 0; first < rows; first += 7)
                score(&args, first, first + 7 < rows ? first + 7 : rows, isa);
            ck_assert_int_eq(memcmp(whole, parts, rows * sizeof(float)), 0);
        }
        free(query);
        free(targets);
        free(whole);
        free(parts);
    }
}
END_TEST

START_TEST(zero_rows_write_nothing)
{
    float query[3] = {1, 2, 3}, scores[1] = {POISON};
    eum_cosine_args args = {query, query, scores, 0, 3, 12};
    FOR_EACH_ISA(isa)
    {
        score(&args, 0, 0, isa);
        ck_assert(scores[0] == POISON);
    }
}
END_TEST

/* -------------------------------------------------------------------------------------------- instruction sets ------ */

START_TEST(isa_names_are_those_that_the_environment_takes)
{
    ck_assert_str_eq(eum_cpu_isa_name(EUM_CPU_SCALAR), "scalar");
    ck_assert_str_eq(eum_cpu_isa_name(EUM_CPU_AVX2), "avx2");
    ck_assert_str_eq(eum_cpu_isa_name(EUM_CPU_AVX512), "avx512");
    ck_assert_str_eq(eum_cpu_isa_name(EUM_CPU_NEON), "neon");
    ck_assert_str_eq(eum_cpu_isa_name((eum_cpu_isa)99), "unknown");
}
END_TEST

START_TEST(isa_choice_is_the_best_unless_a_usable_one_is_named)
{
    eum_cpu_isa best = eum_cpu_isa_choose(NULL);
    ck_assert(eum_cpu_isa_usable(EUM_CPU_SCALAR));
    ck_assert(!eum_cpu_isa_usable((eum_cpu_isa)99));
    ck_assert(eum_cpu_isa_usable(best));
#if defined(__aarch64__)
    ck_assert_int_eq(best, EUM_CPU_NEON);
#elif defined(__x86_64__)
    ck_assert(!eum_cpu_isa_usable(EUM_CPU_NEON));
    ck_assert_int_eq(best, eum_cpu_isa_usable(EUM_CPU_AVX512) ? EUM_CPU_AVX512
                           : eum_cpu_isa_usable(EUM_CPU_AVX2) ? EUM_CPU_AVX2
                                                              : EUM_CPU_SCALAR);
#endif
    for (int isa = EUM_CPU_SCALAR; isa <= EUM_CPU_NEON; isa++)
        ck_assert_int_eq(eum_cpu_isa_choose(eum_cpu_isa_name((eum_cpu_isa)isa)),
                         eum_cpu_isa_usable((eum_cpu_isa)isa) ? (eum_cpu_isa)isa : best);
    ck_assert_int_eq(eum_cpu_isa_choose(""), best);
    ck_assert_int_eq(eum_cpu_isa_choose("AVX2"), best);
    ck_assert_int_eq(eum_cpu_isa_choose("avx5"), best);
}
END_TEST

/* The choice is made once a process, so each value gets a process of its own. */
START_TEST(the_environment_lowers_the_isa)
{
    const char *forks = getenv("CK_FORK");
    if (forks != NULL && strcmp(forks, "no") == 0)
        return; /* an earlier test may have made the choice in this process */
    static const char *const values[] = {"scalar", "avx2", "avx512", "neon", "", "nonsense"};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        pid_t child = fork();
        if (child == 0) {
            setenv("EUM_CPU_ISA", values[i], 1);
            eum_cpu_isa found = eum_cpu_isa_best();
            setenv("EUM_CPU_ISA", "scalar", 1);
            _exit(found == eum_cpu_isa_choose(values[i]) && eum_cpu_isa_best() == found ? 0 : 1);
        }
        int status = -1;
        ck_assert(child > 0 && waitpid(child, &status, 0) == child);
        if (status != 0)
            ck_abort_msg("EUM_CPU_ISA=%s was not followed", values[i]);
    }
}
END_TEST

START_TEST(an_isa_that_this_cpu_lacks_still_scores)
{
    float query[2] = {1, 0}, targets[2] = {1, 1}, scores[1] = {POISON};
    eum_cosine_args args = {query, targets, scores, 1, 2, 8};
    score(&args, 0, 1, eum_cpu_isa_usable(EUM_CPU_NEON) ? EUM_CPU_AVX512 : EUM_CPU_NEON);
    ck_assert(right(scores[0], sqrt(0.5)));
}
END_TEST

/* -------------------------------------------------------------------------------------------------------- suite ----- */

Suite *kernels_layout_suite(void)
{
    Suite *suite = suite_create("kernels_layout");

    TCase *layout = tcase_create("layout");
    tcase_add_test(layout, scores_do_not_depend_on_alignment_or_stride);
    tcase_add_test(layout, nothing_is_read_outside_the_rows_and_the_query);
    tcase_add_test(layout, nothing_is_read_outside_targets_that_are_prefetched);
    tcase_add_test(layout, rows_are_found_beyond_4_gib);
    tcase_add_test(layout, zero_rows_write_nothing);
    suite_add_tcase(suite, layout);

    TCase *determinism = tcase_create("determinism");
    tcase_add_test(determinism, a_row_scores_the_same_in_every_split_and_nothing_else_is_written);
    tcase_add_test(determinism, a_row_scores_the_same_in_cache_and_prefetched);
    suite_add_tcase(suite, determinism);

    TCase *isas = tcase_create("instruction sets");
    tcase_add_test(isas, isa_names_are_those_that_the_environment_takes);
    tcase_add_test(isas, isa_choice_is_the_best_unless_a_usable_one_is_named);
    tcase_add_test(isas, the_environment_lowers_the_isa);
    tcase_add_test(isas, an_isa_that_this_cpu_lacks_still_scores);
    suite_add_tcase(suite, isas);
    return suite;
}
