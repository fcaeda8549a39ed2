/* What the tests of the handle table share: objects that know whether they were ended.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TESTS_HANDLE_FIXTURE_H
#define EUM_TESTS_HANDLE_FIXTURE_H

#include <check.h>
#include <stdatomic.h>

#include "handle.h"

#define UNUSED __attribute__((unused)) /* not every suite uses all of this */

#define ALIVE 0x600du
#define ENDED 0xdeadu

typedef struct thing {
    atomic_uint state;
    atomic_int ends;
    pthread_t ended_by;
} thing;

UNUSED static void end_thing(void *object)
{
    thing *it = object;
    ck_assert_uint_eq(atomic_exchange(&it->state, ENDED), ALIVE);
    it->ended_by = pthread_self();
    atomic_fetch_add(&it->ends, 1);
}

UNUSED static void *make(thing *it, eum_handle_type type)
{
    void *handle = NULL;
    atomic_init(&it->state, ALIVE);
    atomic_init(&it->ends, 0);
    ck_assert_int_eq(eum_handle_create(type, it, end_thing, &handle), EUM_OK);
    ck_assert_ptr_nonnull(handle);
    return handle;
}

UNUSED static const char *sentence(void)
{
    static eum_error error;
    eum_error_init(&error);
    eum_error_save(&error);
    return error.sentence;
}

/* Pinning and retiring it fail with that status and words, and write nothing. */
UNUSED static void refused(const void *handle, eum_handle_type type, eum_status status, const char *words)
{
    void *object = &object;
    ck_assert_int_eq(eum_handle_pin(handle, type, &object), status);
    ck_assert_ptr_eq(object, &object);
    ck_assert_msg(strstr(sentence(), words) != NULL, "\"%s\" is not in: %s", words, sentence());
    ck_assert_int_eq(eum_handle_retire(handle, type, false), status);
    ck_assert_msg(strstr(sentence(), words) != NULL, "\"%s\" is not in: %s", words, sentence());
    ck_assert_int_eq(eum_handle_retire(handle, type, true), status);
}

#endif
