/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "copy.h"

#define GUARD ((size_t)64)

static void fill(unsigned char *bytes, size_t count, uint32_t seed)
{
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        bytes[i] = (unsigned char)(seed >> 24);
    }
}

/* One copy between these offsets of aligned memory: all bytes are there, and none beside them. */
static void check_copy(eum_workers *workers, size_t bytes, size_t to, size_t from, eum_reader reader)
{
    size_t room = bytes + 2 * GUARD + 64;
    unsigned char *src = aligned_alloc(64, (room + 63) / 64 * 64), *dst = aligned_alloc(64, (room + 63) / 64 * 64);
    ck_assert(src != NULL && dst != NULL);
    fill(src, room, 1 + (uint32_t)bytes);
    memset(dst, 0xa5, room);
    eum_workers_copy(workers, dst + GUARD + to, src + GUARD + from, bytes, reader);
    ck_assert_msg(bytes == 0 || memcmp(dst + GUARD + to, src + GUARD + from, bytes) == 0, "%zu bytes, +%zu from +%zu", bytes, to,
                  from);
    for (size_t i = 0; i < room; i++)
        if (i < GUARD + to || i >= GUARD + to + bytes)
            ck_assert_msg(dst[i] == 0xa5, "%zu bytes, +%zu: byte %zu beside them was written", bytes, to, i);
    free(src);
    free(dst);
}

static const size_t sizes[] = {
    0, 1, 63, 64, 65, 4096, 16383, (size_t)512 << 10, ((size_t)4 << 20) - 1, (size_t)4 << 20, ((size_t)4 << 20) + 4163};

START_TEST(every_byte_arrives_and_no_other_is_touched)
{
    static const size_t offsets[] = {0, 1, 16, 63};
    eum_workers *workers[3] = {NULL};
    ck_assert_int_eq(eum_workers_create(1, &workers[1]), EUM_OK);
    ck_assert_int_eq(eum_workers_create(3, &workers[2]), EUM_OK);
    for (size_t w = 0; w < 3; w++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
            for (size_t o = 0; o < sizeof offsets / sizeof *offsets; o++) {
                check_copy(workers[w], sizes[s], offsets[o], 0, EUM_READER_DEVICE);
                check_copy(workers[w], sizes[s], 16, offsets[o], o % 2 == 0 ? EUM_READER_CPU : EUM_READER_DEVICE);
            }
    eum_workers_destroy(workers[1]);
    eum_workers_destroy(workers[2]);
}
END_TEST

START_TEST(a_copy_that_the_common_cache_does_not_hold_is_whole_too)
{
    eum_workers *workers = NULL;
    ck_assert_int_eq(eum_workers_create(2, &workers), EUM_OK);
    ck_assert(eum_copy_streams((size_t)33 << 20, EUM_READER_CPU));
    check_copy(workers, ((size_t)33 << 20) + 77, 3, 7, EUM_READER_CPU);
    eum_workers_destroy(workers);
}
END_TEST

START_TEST(what_the_device_reads_goes_past_the_caches_sooner)
{
    for (int reader = EUM_READER_CPU; reader <= EUM_READER_DEVICE; reader++) {
        bool before = false;
        for (size_t bytes = 4096; bytes <= (size_t)1 << 30; bytes *= 2) {
            bool streams = eum_copy_streams(bytes, (eum_reader)reader);
            ck_assert(streams || !before); /* and larger ones as well */
            before = streams;
        }
        ck_assert(before);
        ck_assert(!eum_copy_streams((size_t)256 << 10, (eum_reader)reader));
    }
    ck_assert(eum_copy_streams((size_t)1 << 20, EUM_READER_DEVICE)); /* which reads modified lines slowly */
    ck_assert(!eum_copy_streams((size_t)8 << 20, EUM_READER_CPU));
}
END_TEST

Suite *copy_suite(void)
{
    Suite *suite = suite_create("copy");
    TCase *tests = tcase_create("copy");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, every_byte_arrives_and_no_other_is_touched);
    tcase_add_test(tests, a_copy_that_the_common_cache_does_not_hold_is_whole_too);
    tcase_add_test(tests, what_the_device_reads_goes_past_the_caches_sooner);
    suite_add_tcase(suite, tests);
    return suite;
}
