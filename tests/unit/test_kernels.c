/* The CPU kernels against float64: every instruction set that this CPU has, every dim, every kind of number.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE 1

#include <check.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/cosine_cpu.h"
#include "kernels/kernels.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

Suite *kernels_suite(void);

#define SEED 20261123u
#define POISON 12345.0f /* no cosine */

/* ------------------------------------------------------------------------------------------------------- numbers ---- */

static uint64_t random_state = SEED;

static uint32_t random_bits(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 32);
}

static float random_unit(void) /* in [-1, 1) */
{
    return (float)((double)random_bits() / 2147483648.0 - 1.0);
}

typedef enum kind {
    UNIFORM,
    POSITIVE,
    CONSTANT,     /* every addition rounds the same way */
    LARGE,        /* squares overflow */
    LARGEST,      /* all FLT_MAX */
    SMALL,        /* squares underflow */
    DENORMAL,     /* no normal number among them */
    SMALLEST,     /* one 2^-149 */
    MIXED,        /* all exponents */
    ONE_LARGE,    /* one element outweighs the others */
    NEAR_MINIMUM, /* sum of squares around the end of the trusted range */
    NEAR_MAXIMUM,
    KINDS
} kind;

static void fill(float *x, size_t dim, kind what)
{
    for (size_t i = 0; i < dim; i++) {
        float u = random_unit();
        switch (what) {
        case POSITIVE:
            x[i] = fabsf(u);
            break;
        case CONSTANT:
            x[i] = 0.1f;
            break;
        case LARGE:
            x[i] = u * 3e38f;
            break;
        case LARGEST:
            x[i] = FLT_MAX;
            break;
        case SMALL:
            x[i] = u * 1e-25f;
            break;
        case DENORMAL:
            x[i] = u * 1e-38f;
            break;
        case SMALLEST:
            x[i] = i == dim / 2 ? 0x1p-149f : 0.0f;
            break;
        case MIXED:
            x[i] = ldexpf(u, (int)(random_bits() % 270u) - 145);
            break;
        case ONE_LARGE:
            x[i] = i == dim / 3 ? 3e18f : u * 1e-3f;
            break;
        case NEAR_MINIMUM:
            x[i] = u * 0x1p-30f * 1.7f / sqrtf((float)dim);
            break;
        case NEAR_MAXIMUM:
            x[i] = u * 0x1p64f * 1.7f / sqrtf((float)dim);
            break;
        default:
            x[i] = u;
        }
    }
}

/* Rows that stand in a known relation to the query. */
typedef enum relation {
    SAME,
    OPPOSITE,
    SCALED_DOWN,
    HALVES_CANCEL,
    NEIGHBOURS_CANCEL,
    BLOCKS_CANCEL,
    ALMOST_SAME,
    RELATIONS
} relation;

static void fill_related(float *x, const float *query, size_t dim, relation how)
{
    for (size_t i = 0; i < dim; i++) {
        switch (how) {
        case OPPOSITE:
            x[i] = -query[i];
            break;
        case SCALED_DOWN:
            x[i] = query[i] * 0x1p-40f;
            break;
        case HALVES_CANCEL:
            x[i] = i < dim / 2 ? query[i] : -query[dim - 1 - i];
            break;
        case NEIGHBOURS_CANCEL:
            x[i] = i % 2 == 0 ? query[i] : -query[i];
            break;
        case BLOCKS_CANCEL:
            x[i] = i / 16 % 2 == 0 ? query[i] : -query[i];
            break;
        case ALMOST_SAME:
            x[i] = query[i] * (1.0f + 1e-3f * random_unit());
            break;
        default:
            x[i] = query[i];
        }
    }
}

static double reference(const float *query, const float *row, size_t dim)
{
    double dot = 0.0, query_squares = 0.0, row_squares = 0.0;
    for (size_t i = 0; i < dim; i++) {
        dot += (double)query[i] * (double)row[i];
        query_squares += (double)query[i] * (double)query[i];
        row_squares += (double)row[i] * (double)row[i];
    }
    if (!isfinite(query_squares) || !isfinite(row_squares))
        return NAN;
    return query_squares == 0.0 || row_squares == 0.0 ? 0.0 : dot / (sqrt(query_squares) * sqrt(row_squares));
}

/* ------------------------------------------------------------------------------------------------------- helpers ---- */

static float *floats(size_t count)
{
    float *x = calloc(count + 1, sizeof(float));
    if (x == NULL)
        ck_abort_msg("out of memory");
    return x;
}

static uint32_t bits(float x)
{
    uint32_t found;
    memcpy(&found, &x, sizeof found);
    return found;
}

/* Scores rows [first, last) into scores, which the caller has poisoned. */
static void score(const eum_cosine_args *args, uint64_t first, uint64_t last, eum_cpu_isa isa)
{
    eum_cosine_query query = eum_cosine_cpu_prepare(args);
    eum_cosine_cpu(args, &query, first, last, isa);
}

/* Computed apart from the kernels' own addresses. */
static const float *row_of(const eum_cosine_args *args, size_t row)
{
    return args->targets + row * (size_t)(args->row_stride / sizeof(float));
}

static void poison(float *scores, size_t count)
{
    for (size_t i = 0; i < count; i++)
        scores[i] = POISON;
}

static int right(float found, double exact)
{
    if (isnan(exact))
        return isnan(found);
    return found >= -1.0f && found <= 1.0f && fabs((double)found - exact) <= 1e-6 + 1e-5 * fabs(exact);
}

/* All rows by every usable instruction set, against float64. */
static void check_all(const eum_cosine_args *args, const char *what)
{
    float *scores = floats(args->rows + 2);
    for (int isa = EUM_CPU_SCALAR; isa <= EUM_CPU_NEON; isa++) {
        if (!eum_cpu_isa_usable((eum_cpu_isa)isa))
            continue;
        poison(scores, args->rows + 2);
        eum_cosine_args mine = *args;
        mine.scores = scores + 1;
        score(&mine, 0, args->rows, (eum_cpu_isa)isa);
        for (uint64_t r = 0; r < args->rows; r++) {
            double exact = reference(args->query, row_of(args, r), (size_t)args->dim);
            if (!right(scores[r + 1], exact))
                ck_abort_msg("%s, %s, dim %d, row %d: %.9g instead of %.9g (seed %u)", what, eum_cpu_isa_name((eum_cpu_isa)isa),
                             (int)args->dim, (int)r, (double)scores[r + 1], exact, SEED);
        }
        if (scores[0] != POISON || scores[args->rows + 1] != POISON)
            ck_abort_msg("%s: a score was written outside the rows", what);
    }
    free(scores);
}

#define FOR_EACH_ISA(isa)                                                                                                          \
    for (eum_cpu_isa isa = EUM_CPU_SCALAR; isa <= EUM_CPU_NEON; isa = (eum_cpu_isa)(isa + 1))                                      \
        if (eum_cpu_isa_usable(isa))

static const size_t large_dims[] = {255, 256, 257, 768, 1023, 1024, 1025, 1536, 2047, 2048, 2049, 4096, 4099};
#define SMALL_DIMS 130
#define DIMS (SMALL_DIMS + sizeof large_dims / sizeof large_dims[0])

static size_t dim_number(size_t i)
{
    return i < SMALL_DIMS ? i + 1 : large_dims[i - SMALL_DIMS];
}

/* ----------------------------------------------------------------------------------------------------- accuracy ----- */

START_TEST(scores_match_float64_on_random_data_at_every_dim)
{
    for (size_t i = 0; i < DIMS; i++) {
        size_t dim = dim_number(i), rows = 19; /* two whole blocks of 8 and a short one */
        float *query = floats(dim), *targets = floats(rows * dim);
        fill(query, dim, UNIFORM);
        fill(targets, rows * dim, UNIFORM);
        check_all(&(eum_cosine_args){query, targets, NULL, rows, dim, dim * sizeof(float)}, "random");
        free(query);
        free(targets);
    }
}
END_TEST

START_TEST(scores_match_float64_on_numbers_of_every_size)
{
    static const size_t dims[] = {1, 2, 3, 7, 16, 31, 100, 128, 300, 768, 1536, 4099};
    for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++) {
        size_t dim = dims[i];
        float *query = floats(dim), *targets = floats(KINDS * dim);
        for (int q = 0; q < KINDS; q++) {
            char what[32];
            snprintf(what, sizeof what, "query kind %d", q);
            fill(query, dim, (kind)q);
            for (size_t r = 0; r < KINDS; r++)
                fill(targets + r * dim, dim, (kind)r);
            check_all(&(eum_cosine_args){query, targets, NULL, KINDS, dim, dim * sizeof(float)}, what);
        }
        free(query);
        free(targets);
    }
}
END_TEST

START_TEST(scores_match_float64_on_same_opposite_and_cancelling_rows)
{
    for (size_t i = 0; i < DIMS; i++) {
        size_t dim = dim_number(i);
        float *query = floats(dim), *targets = floats(RELATIONS * dim);
        for (int q = 0; q < KINDS; q++) {
            char what[32];
            snprintf(what, sizeof what, "related, query kind %d", q);
            fill(query, dim, (kind)q);
            for (size_t r = 0; r < RELATIONS; r++)
                fill_related(targets + r * dim, query, dim, (relation)r);
            check_all(&(eum_cosine_args){query, targets, NULL, RELATIONS, dim, dim * sizeof(float)}, what);
        }
        free(query);
        free(targets);
    }
}
END_TEST

START_TEST(scores_match_float64_at_a_million_dims)
{
    size_t dim = ((size_t)1 << 20) + 5;
    float *query = floats(dim), *targets = floats(4 * dim);
    static const kind kinds[] = {UNIFORM, POSITIVE, CONSTANT, MIXED};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        fill(query, dim, kinds[i]);
        fill_related(targets, query, dim, SAME);
        fill_related(targets + dim, query, dim, HALVES_CANCEL);
        for (size_t k = 0; k < dim;
             k++) /* long runs that round the same way, and other ways in the dot product than in the squares */
            targets[2 * dim + k] = k < dim / 3 ? 0.3f : -0.1f;
        fill(targets + 3 * dim, dim, kinds[i]);
        check_all(&(eum_cosine_args){query, targets, NULL, 4, dim, dim * sizeof(float)}, "a million dims");
    }
    free(query);
    free(targets);
}
END_TEST

START_TEST(scores_do_not_depend_on_the_callers_floating_point_modes)
{
#if defined(__x86_64__)
    size_t dim = 100, rows = KINDS;
    float *query = floats(dim), *targets = floats(rows * dim), expected[KINDS], found[KINDS];
    static const kind queries[] = {UNIFORM, DENORMAL};
    for (size_t i = 0; i < 2; i++) {
        fill(query, dim, queries[i]);
        for (size_t r = 0; r < rows; r++)
            fill(targets + r * dim, dim, (kind)r);
        eum_cosine_args args = {query, targets, expected, rows, dim, dim * sizeof(float)};
        FOR_EACH_ISA(isa)
        {
            args.scores = expected;
            score(&args, 0, rows, isa);
            args.scores = found;
            poison(found, rows);
            unsigned int usual = _mm_getcsr(), unusual = usual | 0x8040u | 0x4000u; /* flush to zero both ways, round up */
            _mm_setcsr(unusual);
            score(&args, 0, rows, isa);
            unsigned int after = _mm_getcsr();
            _mm_setcsr(usual);
            ck_assert_uint_eq(after, unusual);
            for (size_t r = 0; r < rows; r++)
                if (bits(found[r]) != bits(expected[r]))
                    ck_abort_msg("%s, row kind %d: %.9g, then %.9g", eum_cpu_isa_name(isa), (int)r, (double)expected[r],
                                 (double)found[r]);
        }
    }
    free(query);
    free(targets);
#endif
}
END_TEST

/* ------------------------------------------------------------------------------------------- zero and non-finite ---- */

START_TEST(zero_vectors_score_zero)
{
    for (size_t i = 0; i < DIMS; i++) {
        size_t dim = dim_number(i), rows = 11;
        float *query = floats(dim), *targets = floats(rows * dim), scores[11];
        fill(query, dim, UNIFORM);
        fill(targets, rows * dim, UNIFORM);
        memset(targets + 4 * dim, 0, dim * sizeof(float));
        for (size_t k = 0; k < dim; k++)
            targets[5 * dim + k] = -0.0f;
        eum_cosine_args args = {query, targets, scores, rows, dim, dim * sizeof(float)};
        FOR_EACH_ISA(isa)
        {
            poison(scores, rows);
            score(&args, 0, rows, isa);
            ck_assert_uint_eq(bits(scores[4]), 0);
            ck_assert_uint_eq(bits(scores[5]), 0);
            ck_assert(scores[3] != 0.0f && scores[6] != 0.0f);
        }
        memset(query, 0, dim * sizeof(float));
        targets[7 * dim] = INFINITY;
        targets[8 * dim] = FLT_MAX;
        FOR_EACH_ISA(isa)
        {
            poison(scores, rows);
            score(&args, 0, rows, isa);
            for (size_t r = 0; r < rows; r++)
                ck_assert(r == 7 ? isnan(scores[r]) : scores[r] == 0.0f);
        }
        free(query);
        free(targets);
    }
}
END_TEST

static const size_t nonfinite_dims[] = {1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 130};

START_TEST(a_nonfinite_element_makes_its_row_nan_and_no_other)
{
    const float values[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof nonfinite_dims / sizeof nonfinite_dims[0]; i++) {
        size_t dim = nonfinite_dims[i], rows = 9;
        float *query = floats(dim), *targets = floats(rows * dim), expected[9], scores[9];
        fill(query, dim, UNIFORM);
        query[dim / 2] = dim > 1 ? 0.0f : 1.0f; /* 0 x infinity */
        fill(targets, rows * dim, UNIFORM);
        eum_cosine_args args = {query, targets, expected, rows, dim, dim * sizeof(float)};
        FOR_EACH_ISA(isa)
        {
            args.scores = expected;
            score(&args, 0, rows, isa);
            args.scores = scores;
            for (size_t at = 0; at < 3 * dim; at++) {
                size_t row = at % rows;
                float *element = targets + row * dim + at / 3, saved = *element;
                *element = values[at % 3];
                poison(scores, rows);
                score(&args, 0, rows, isa);
                *element = saved;
                for (size_t r = 0; r < rows; r++)
                    if (r == row ? !isnan(scores[r]) : bits(scores[r]) != bits(expected[r]))
                        ck_abort_msg("%s, dim %d: %g in row %d, element %d: row %d scores %g", eum_cpu_isa_name(isa), (int)dim,
                                     (double)values[at % 3], (int)row, (int)(at / 3), (int)r, (double)scores[r]);
            }
        }
        free(query);
        free(targets);
    }
}
END_TEST

START_TEST(a_nonfinite_query_makes_every_score_nan)
{
    const float values[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof nonfinite_dims / sizeof nonfinite_dims[0]; i++) {
        size_t dim = nonfinite_dims[i], rows = 9;
        float *query = floats(dim), *targets = floats(rows * dim), scores[9];
        fill(targets + dim, (rows - 1) * dim, UNIFORM); /* the first row is zero: NaN wins */
        eum_cosine_args args = {query, targets, scores, rows, dim, dim * sizeof(float)};
        for (size_t at = 0; at < 3 * dim; at++) {
            fill(query, dim, UNIFORM);
            query[at / 3] = values[at % 3];
            FOR_EACH_ISA(isa)
            {
                poison(scores, rows);
                score(&args, 0, rows - 1, isa);
                for (size_t r = 0; r < rows - 1; r++)
                    ck_assert(isnan(scores[r]));
                ck_assert(scores[rows - 1] == POISON);
            }
        }
        free(query);
        free(targets);
    }
}
END_TEST

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

/* ------------------------------------------------------------------------------------------------ preparation ------- */

START_TEST(prepare_gives_the_norm_and_a_scale_that_is_1_for_ordinary_queries)
{
    float query[3] = {3.0f, 0.0f, 4.0f};
    eum_cosine_args args = {query, NULL, NULL, 0, 3, 12};
    eum_cosine_query prepared = eum_cosine_cpu_prepare(&args);
    ck_assert(prepared.norm == 5.0 && prepared.scale == 1.0f && !prepared.nonfinite);

    const float sizes[] = {FLT_MAX, 1e30f, 1e-30f, FLT_MIN, 1e-40f, 0x1p-149f};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        query[0] = query[1] = query[2] = sizes[i];
        prepared = eum_cosine_cpu_prepare(&args);
        double exact = sqrt(3.0) * (double)sizes[i], largest = (double)sizes[i] * (double)prepared.scale;
        ck_assert(fabs(prepared.norm / exact - 1.0) < 1e-14 && !prepared.nonfinite);
        int exponent;
        ck_assert(frexpf(prepared.scale, &exponent) == 0.5f); /* a power of two: scaling is exact */
        ck_assert(largest < 4.0 && largest >= 0x1p-24);
    }

    query[0] = query[1] = query[2] = 0.0f;
    prepared = eum_cosine_cpu_prepare(&args);
    ck_assert(prepared.norm == 0.0 && prepared.scale == 1.0f && !prepared.nonfinite);
    query[1] = NAN;
    ck_assert(eum_cosine_cpu_prepare(&args).nonfinite);
    query[1] = -INFINITY;
    ck_assert(eum_cosine_cpu_prepare(&args).nonfinite);
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

Suite *kernels_suite(void)
{
    Suite *suite = suite_create("kernels");

    TCase *accuracy = tcase_create("accuracy");
    tcase_add_test(accuracy, scores_match_float64_on_random_data_at_every_dim);
    tcase_add_test(accuracy, scores_match_float64_on_numbers_of_every_size);
    tcase_add_test(accuracy, scores_match_float64_on_same_opposite_and_cancelling_rows);
    tcase_add_test(accuracy, scores_match_float64_at_a_million_dims);
    tcase_add_test(accuracy, scores_do_not_depend_on_the_callers_floating_point_modes);
    tcase_add_test(accuracy, prepare_gives_the_norm_and_a_scale_that_is_1_for_ordinary_queries);
    suite_add_tcase(suite, accuracy);

    TCase *special = tcase_create("zero and non-finite");
    tcase_add_test(special, zero_vectors_score_zero);
    tcase_add_test(special, a_nonfinite_element_makes_its_row_nan_and_no_other);
    tcase_add_test(special, a_nonfinite_query_makes_every_score_nan);
    suite_add_tcase(suite, special);

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
