/* What the tool prints: its selection, its JSON, its messages.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/error.h"
#include "tools/json.h"
#include "tools/topk.h"
#include "tools/words.h"

Suite *tool_output_suite(void);

/* xorshift64*: the same numbers on every machine. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

/* ----------------------------------------------------------------------------------------------------- top-k ------- */

static int compare_entries(const void *a, const void *b)
{
    const topk_entry *x = a, *y = b;
    if (isnan(x->score) != isnan(y->score))
        return isnan(x->score) ? 1 : -1;
    if (x->score > y->score)
        return -1;
    if (x->score < y->score)
        return 1;
    return x->row < y->row ? -1 : 1;
}

/* Checks every k from 0 to beyond the rows against a full sort. */
static void check_topk(const float *scores, uint64_t rows, uint64_t skip)
{
    topk_entry sorted[64], best[66];
    size_t count = 0;
    ck_assert_uint_le(rows, 64);
    for (uint64_t row = 0; row < rows; row++)
        if (row != skip)
            sorted[count++] = (topk_entry){row, scores[row]};
    qsort(sorted, count, sizeof sorted[0], compare_entries);
    for (size_t k = 0; k <= rows + 2; k++) {
        const size_t expected = k < count ? k : count;
        ck_assert_uint_eq(topk_select(scores, rows, skip, k, best), expected);
        for (size_t i = 0; i < expected; i++)
            ck_assert_uint_eq(best[i].row, sorted[i].row);
    }
}

START_TEST(topk_agrees_with_a_sort)
{
    uint64_t state = 1;
    for (int i = 0; i < 400; i++) {
        float scores[64];
        const uint64_t rows = next_random(&state) % 65;
        const uint64_t levels = i % 2 == 0 ? 5 : 1000000; /* few levels: many ties */
        for (uint64_t row = 0; row < rows; row++) {
            const uint64_t level = next_random(&state) % levels;
            scores[row] = level == 0 && i % 3 == 0 ? NAN : (float)level / (float)levels - 0.5F;
        }
        check_topk(scores, rows, TOPK_SKIP_NONE);
        check_topk(scores, rows, next_random(&state) % 64);
    }
}
END_TEST

START_TEST(topk_orders_special_values)
{
    const float scores[] = {NAN, -1.0F, 0.0F, -0.0F, NAN, 1.0F, 1.0F, -1.0F, INFINITY, -INFINITY};
    static const uint64_t order[] = {8, 5, 6, 2, 3, 1, 7, 9, 0, 4};
    topk_entry best[10];
    ck_assert_uint_eq(topk_select(scores, 10, TOPK_SKIP_NONE, 10, best), 10);
    for (size_t i = 0; i < 10; i++)
        ck_assert_uint_eq(best[i].row, order[i]);
    check_topk(scores, 10, TOPK_SKIP_NONE);
}
END_TEST

/* ------------------------------------------------------------------------------------------------------ JSON ------- */

static const struct {
    const char *text;
    size_t size;
    const char *json;
} json_texts[] = {
    {"plain", 5, "\"plain\""},
    {"a\"b\\c", 5, "\"a\\\"b\\\\c\""},
    {"\n\t\0\x1F\x7F", 5, "\"\\u000a\\u0009\\u0000\\u001f\\u007f\""},
    {"caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80", 14, "\"caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80\""},
    {"\xFF", 1, "\"\xEF\xBF\xBD\""},
    {"\xC3", 1, "\"\xEF\xBF\xBD\""},                                                 /* cut */
    {"\xC3(", 2, "\"\xEF\xBF\xBD(\""},                                               /* a lead without what it leads */
    {"\xC0\xAF", 2, "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},                                 /* an overlong '/' */
    {"\xED\xA0\x80", 3, "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},                 /* a surrogate */
    {"\xF4\x90\x80\x80", 4, "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""}, /* beyond U+10FFFF */
};

START_TEST(json_text_is_escaped_and_always_utf8)
{
    char *written = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&written, &size);
    ck_assert_ptr_nonnull(out);
    json j = {out, false};
    char *text = malloc(json_texts[_i].size); /* without the 0 byte, so that the sanitizer sees a read beyond */
    ck_assert_ptr_nonnull(text);
    memcpy(text, json_texts[_i].text, json_texts[_i].size);
    json_text(&j, NULL, text, json_texts[_i].size);
    ck_assert_int_eq(fclose(out), 0);
    ck_assert_str_eq(written, json_texts[_i].json);
    free(text);
    free(written);
}
END_TEST

START_TEST(json_nests_and_separates)
{
    char *written = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&written, &size);
    ck_assert_ptr_nonnull(out);
    json j = {out, false};
    json_begin_object(&j, NULL);
    json_begin_array(&j, "empty");
    json_end_array(&j);
    json_begin_array(&j, "numbers");
    json_unsigned(&j, NULL, UINT64_MAX);
    json_float(&j, NULL, 0.1F);
    json_float(&j, NULL, NAN);
    json_float(&j, NULL, -INFINITY);
    json_milliseconds(&j, NULL, 1.25);
    json_end_array(&j);
    json_begin_object(&j, "a\"key");
    json_bool(&j, "yes", true);
    json_null(&j, "none");
    json_end_object(&j);
    json_string(&j, "text", "t");
    json_end_object(&j);
    ck_assert_int_eq(fclose(out), 0);
    ck_assert_str_eq(written, "{\"empty\": [], \"numbers\": [18446744073709551615, 0.100000001, null, null, 1.250], "
                              "\"a\\\"key\": {\"yes\": true, \"none\": null}, \"text\": \"t\"}");
    free(written);
}
END_TEST

START_TEST(excerpts_are_printable_and_short)
{
    char out[TOOL_EXCERPT_BYTES];
    char many[100];
    memset(many, 'x', sizeof many);
    ck_assert_str_eq(tool_excerpt(out, "a\x1B[2J\xFF", 6), "a?[2J?");
    ck_assert_uint_eq(strlen(tool_excerpt(out, many, sizeof many)), TOOL_EXCERPT_BYTES - 1);
    ck_assert_str_eq(out + TOOL_EXCERPT_BYTES - 4, "...");
    ck_assert_str_eq(tool_excerpt(out, "", 0), "");
}
END_TEST

START_TEST(sizes_are_said_in_binary_units)
{
    static const struct {
        uint64_t bytes;
        const char *words;
    } sizes[] = {{0, "0 bytes"},          {1, "1 byte"},           {1023, "1023 bytes"}, {1024, "1.0 KiB"},
                 {65536, "64.0 KiB"},     {1048524, "1023.9 KiB"}, {1048525, "1.0 MiB"}, {136591600, "130.3 MiB"},
                 {UINT64_MAX, "16.0 EiB"}};
    char out[WORD_BYTES];
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        ck_assert_str_eq(size_words(out, sizes[i].bytes), sizes[i].words);
}
END_TEST

START_TEST(backings_are_named_as_they_are_asked_for)
{
    static const char *const names[] = {"auto", "managed", "mirrored", "mapped", "host"};
    eum_backing backing = -1;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        ck_assert(backing_parse(names[i], &backing));
        ck_assert_int_eq(backing, (eum_backing)i);
        ck_assert_str_eq(backing_name(backing), names[i]);
    }
    ck_assert(!backing_parse("device", &backing));
    ck_assert(!backing_parse("", &backing));
    ck_assert_str_eq(backing_name(EUM_BACKING_DEVICE), "device");
    ck_assert_str_eq(backing_name(6), "unknown");
}
END_TEST

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

Suite *tool_output_suite(void)
{
    Suite *suite = suite_create("tool_output");
    TCase *tests = tcase_create("output");
    tcase_add_test(tests, topk_agrees_with_a_sort);
    tcase_add_test(tests, topk_orders_special_values);
    tcase_add_loop_test(tests, json_text_is_escaped_and_always_utf8, 0, COUNT(json_texts));
    tcase_add_test(tests, json_nests_and_separates);
    tcase_add_test(tests, excerpts_are_printable_and_short);
    tcase_add_test(tests, sizes_are_said_in_binary_units);
    tcase_add_test(tests, backings_are_named_as_they_are_asked_for);
    suite_add_tcase(suite, tests);
    return suite;
}
