/* Decisions as text.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "abi_fixture.h"

/* ---------------------------------------------------------------------------------------------- decision text ------ */

static const char *text_of(const eum_decision *decision)
{
    static char text[4096];
    size_t needed = 0;
    memset(text, POISON, sizeof text);
    OK(eum_decision_text(decision, text, sizeof text, &needed));
    ck_assert_uint_eq(needed, strlen(text) + 1);
    return text;
}

static void says(const eum_decision *decision, const char *words)
{
    ck_assert_msg(strstr(text_of(decision), words) != NULL, "\"%s\" is not in: %s", words, text_of(decision));
}

START_TEST(decisions_read_as_sentences)
{
    eum_decision decision;
    eum_decision_init(&decision);
    decision.backing = EUM_BACKING_MANAGED;
    decision.backing_reason = EUM_BACKING_REASON_CONCURRENT;
    decision.bytes_on_host = 1;
    says(&decision, "Held as managed memory, one pointer on both sides, because CPU and kernels may use managed memory at once on "
                    "this device.");
    says(&decision, "Its role is auto");
    says(&decision, "It has not been used yet.");
    says(&decision, "1 byte on the host, 0 bytes on the device, tracked in 0 ranges.");
    decision.role = EUM_ROLE_AUTO;
    decision.launches = 2;
    decision.maps = 1;
    decision.last_movement = EUM_MOVEMENT_PREFETCH;
    decision.last_bytes = 3 << 20;
    decision.bytes_to_device = (uint64_t)5 << 30;
    decision.extents = 1;
    says(&decision, "The last use: 3145728 bytes (3.0 MiB), prefetched managed pages.");
    says(&decision, "In 2 launches and 1 map so far, 5368709120 bytes (5.0 GiB) moved to the device and 0 bytes back.");
    says(&decision, "tracked in 1 range.");
    says(&decision, "EUM_ROLE_TARGETS");
    decision.bytes_to_host = 1024;
    says(&decision, "1024 bytes (1.0 KiB) back");
    says(&decision, "EUM_ACCESS_OVERWRITE");
    decision.bytes_to_host = UINT64_MAX;
    says(&decision, "18446744073709551615 bytes (16.0 EiB) back");
    decision.last_movement = EUM_MOVEMENT_NONE;
    says(&decision, "nothing moved");
}
END_TEST

START_TEST(every_value_of_a_decision_has_words_of_its_own)
{
    eum_decision decision;
    char seen_texts[8][4096];
    eum_decision_init(&decision);
    decision.launches = 1;
    struct {
        int32_t *field;
        int32_t first, last;
    } fields[] = {{&decision.role, EUM_ROLE_AUTO, EUM_ROLE_STREAM},
                  {&decision.backing, EUM_BACKING_AUTO, EUM_BACKING_DEVICE},
                  {&decision.backing_reason, EUM_BACKING_REASON_FORCED, EUM_BACKING_REASON_COPIES_PAY},
                  {&decision.last_movement, EUM_MOVEMENT_NONE, EUM_MOVEMENT_DISCARD},
                  {&decision.contradiction, EUM_CONTRADICTION_NONE, EUM_CONTRADICTION_RESULTS_REREAD}};
    for (size_t f = 0; f < sizeof fields / sizeof *fields; f++) {
        int32_t before = *fields[f].field;
        size_t count = 0;
        for (int32_t value = fields[f].first; value <= fields[f].last + 1; value++) {
            *fields[f].field = value;
            snprintf(seen_texts[count++], sizeof seen_texts[0], "%s", text_of(&decision));
            for (size_t i = 0; i + 1 < count; i++)
                ck_assert_str_ne(seen_texts[i], seen_texts[count - 1]);
        }
        char words[64];
        snprintf(words, sizeof words, "%d (not known to this version)", (int)fields[f].last + 1);
        ck_assert_ptr_nonnull(strstr(seen_texts[count - 1], words));
        *fields[f].field = INT32_MIN;
        says(&decision, "-2147483648 (not known to this version)");
        *fields[f].field = before;
    }
}
END_TEST

START_TEST(decision_text_is_cut_to_its_capacity)
{
    eum_decision decision;
    char whole_text[4096], text[4096];
    size_t needed = 0, length = 0;
    eum_decision_init(&decision);
    OK(eum_buffer_explain(buffer, &decision));
    OK(eum_decision_text(&decision, NULL, 0, &length));
    OK(eum_decision_text(&decision, whole_text, sizeof whole_text, NULL));
    ck_assert_uint_eq(length, strlen(whole_text) + 1);
    for (size_t capacity = 0; capacity <= length + 1; capacity++) {
        memset(text, POISON, sizeof text);
        OK(eum_decision_text(&decision, text, capacity, &needed));
        ck_assert_uint_eq(needed, length);
        ck_assert_uint_eq((unsigned char)text[capacity], POISON);
        size_t kept = capacity == 0 ? 0 : capacity < length ? capacity - 1 : length - 1;
        ck_assert_mem_eq(text, whole_text, kept);
        if (capacity > 0)
            ck_assert_int_eq(text[kept], 0);
    }
    out.size = 77;
    EXPECT(eum_decision_text(&decision, NULL, 5, &out.size), EUM_ERROR_INVALID_ARGUMENT, "text is NULL and capacity is 5");
    ck_assert_uint_eq(out.size, 77);
}
END_TEST

Suite *decision_text_suite(void);
Suite *decision_text_suite(void)
{
    Suite *suite = suite_create("decision_text");
    TCase *text = tcase_create("text");
    tcase_add_checked_fixture(text, set_up, tear_down);
    tcase_add_test(text, decisions_read_as_sentences);
    tcase_add_test(text, every_value_of_a_decision_has_words_of_its_own);
    tcase_add_test(text, decision_text_is_cut_to_its_capacity);
    suite_add_tcase(suite, text);
    return suite;
}
