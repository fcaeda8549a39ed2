/* The handle table: every wrong number is an error, and objects end with their last user.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "handle_fixture.h"

/* A second copy of the table, named inner_: its insides can be changed to reach limits, and its handles are another copy's to the first. */
#define eum_handle_reserve inner_handle_reserve
#define eum_handle_publish inner_handle_publish
#define eum_handle_cancel inner_handle_cancel
#define eum_handle_create inner_handle_create
#define eum_handle_pin inner_handle_pin
#define eum_handle_unpin inner_handle_unpin
#define eum_handle_retire inner_handle_retire
#define eum_handle_live inner_handle_live
eum_status inner_handle_reserve(eum_handle_type type, void **out_handle);
void inner_handle_publish(void *handle, void *object, void (*finalize)(void *object));
void inner_handle_cancel(void *handle);
eum_status inner_handle_create(eum_handle_type type, void *object, void (*finalize)(void *object), void **out_handle);
eum_status inner_handle_pin(const void *handle, eum_handle_type type, void **out_object);
void inner_handle_unpin(const void *handle);
eum_status inner_handle_retire(const void *handle, eum_handle_type type, bool wait_for_pins);
size_t inner_handle_live(eum_handle_type type);
#include "../../ffi/handle.c"
#undef eum_handle_reserve
#undef eum_handle_publish
#undef eum_handle_cancel
#undef eum_handle_create
#undef eum_handle_pin
#undef eum_handle_unpin
#undef eum_handle_retire
#undef eum_handle_live

/* An empty inner table of so many slots. Tests that run in one process do not see each other's. */
static void fresh_inner_table(uint32_t capacity)
{
    pthread_mutex_lock(&table.lock);
    for (size_t i = 0; i < SEGMENTS; i++)
        free(atomic_exchange(&table.segments[i], NULL));
    for (size_t i = 0; i < 4; i++)
        atomic_store(&table.live[i], 0);
    table.capacity = capacity;
    table.slots = table.used = 0;
    table.free_head = table.free_tail = NO_SLOT;
    pthread_mutex_unlock(&table.lock);
}

static uint32_t index_in(const void *handle)
{
    return index_of((uint64_t)(uintptr_t)handle);
}

Suite *handle_suite(void);

/* -------------------------------------------------------------------------------------------------- one thread ----- */

START_TEST(pin_gives_the_object_of_each_type)
{
    for (eum_handle_type type = EUM_HANDLE_CONTEXT; type <= EUM_HANDLE_STREAM; type++) {
        thing it;
        size_t live = eum_handle_live(type);
        void *handle = make(&it, type), *object = NULL;
        ck_assert_uint_eq(eum_handle_live(type), live + 1);
        ck_assert_int_eq(eum_handle_pin(handle, type, &object), EUM_OK);
        ck_assert_ptr_eq(object, &it);
        eum_handle_unpin(handle);
        ck_assert_int_eq(eum_handle_retire(handle, type, false), EUM_OK);
        ck_assert_int_eq(it.ends, 1);
        ck_assert_uint_eq(eum_handle_live(type), live);
    }
}
END_TEST

START_TEST(a_handle_is_no_address_a_program_could_have)
{
    thing it;
    void *handle = make(&it, EUM_HANDLE_BUFFER);
    uint64_t bits = (uintptr_t)handle;
    ck_assert_uint_eq(bits & 1, 1);
    ck_assert_uint_eq(bits >> 62, 2);     /* x86-64: bits 63 to 56 of an address are equal */
    ck_assert_uint_eq(bits >> 55 & 1, 1); /* aarch64: the kernel's half, also where the top byte is ignored */
    ck_assert_int_eq(eum_handle_retire(handle, EUM_HANDLE_BUFFER, false), EUM_OK);
}
END_TEST

START_TEST(null_says_so)
{
    refused(NULL, EUM_HANDLE_CONTEXT, EUM_ERROR_INVALID_HANDLE,
            "the context handle is NULL; pass one that eum_context_create gave");
    refused(NULL, EUM_HANDLE_BUFFER, EUM_ERROR_INVALID_HANDLE, "the buffer handle is NULL");
    refused(NULL, EUM_HANDLE_STREAM, EUM_ERROR_INVALID_HANDLE, "the stream handle is NULL");
}
END_TEST

START_TEST(garbage_is_not_a_handle)
{
    static const uint64_t garbage[] = {
        1, 2, 7, 0xdeadbeef, UINT64_MAX, UINT64_MAX - 1, UINT64_C(1) << 63, UINT64_C(1) << 55, INT64_MAX, 0x7fff12345678};
    int local = 0;
    for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++)
        refused((void *)(uintptr_t)garbage[i], EUM_HANDLE_BUFFER, EUM_ERROR_INVALID_HANDLE, "is not a handle");
    refused(&local, EUM_HANDLE_STREAM, EUM_ERROR_INVALID_HANDLE, "is not a handle");
    refused("a string", EUM_HANDLE_CONTEXT, EUM_ERROR_INVALID_HANDLE, "is not a handle");
}
END_TEST

START_TEST(every_single_bit_matters)
{
    enum { MANY = 64 };
    thing things[MANY];
    void *handles[MANY];
    for (size_t i = 0; i < MANY; i++)
        handles[i] = make(&things[i], EUM_HANDLE_BUFFER);
    for (size_t i = 0; i < MANY; i++) {
        for (int bit = 0; bit < 64; bit++) {
            void *object = NULL, *changed = (void *)((uintptr_t)handles[i] ^ (uintptr_t)1 << bit);
            for (eum_handle_type type = EUM_HANDLE_CONTEXT; type <= EUM_HANDLE_STREAM; type++)
                ck_assert_int_eq(eum_handle_pin(changed, type, &object), EUM_ERROR_INVALID_HANDLE);
        }
    }
    for (size_t i = 0; i < MANY; i++)
        ck_assert_int_eq(eum_handle_retire(handles[i], EUM_HANDLE_BUFFER, false), EUM_OK);
}
END_TEST

START_TEST(random_numbers_are_never_handles)
{
    thing it;
    void *handle = make(&it, EUM_HANDLE_BUFFER), *object = NULL;
    uint64_t x = 88172645463325252u;
    for (int i = 0; i < 100000; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        ck_assert_int_eq(eum_handle_pin((void *)(uintptr_t)x, EUM_HANDLE_BUFFER, &object), EUM_ERROR_INVALID_HANDLE);
        /* the same in the shape of a buffer's handle */
        uint64_t shaped = (x & ~(FIXED_MASK | TYPE_MASK)) | FIXED | (uint64_t)EUM_HANDLE_BUFFER << TYPE_SHIFT | 1;
        ck_assert_int_eq(eum_handle_pin((void *)(uintptr_t)shaped, EUM_HANDLE_BUFFER, &object), EUM_ERROR_INVALID_HANDLE);
    }
    ck_assert_int_eq(eum_handle_retire(handle, EUM_HANDLE_BUFFER, false), EUM_OK);
}
END_TEST

START_TEST(another_type_names_both)
{
    thing it;
    void *handle = make(&it, EUM_HANDLE_BUFFER);
    refused(handle, EUM_HANDLE_STREAM, EUM_ERROR_INVALID_HANDLE, "this is a buffer handle");
    refused(handle, EUM_HANDLE_STREAM, EUM_ERROR_INVALID_HANDLE, "a stream is expected");
    refused(handle, EUM_HANDLE_CONTEXT, EUM_ERROR_INVALID_HANDLE, "a context is expected");
    ck_assert_int_eq(eum_handle_retire(handle, EUM_HANDLE_BUFFER, false), EUM_OK);
    ck_assert_int_eq(it.ends, 1);
}
END_TEST

START_TEST(destroyed_stays_destroyed_when_the_slot_is_used_again)
{
    thing first, second;
    void *old = make(&first, EUM_HANDLE_BUFFER);
    ck_assert_int_eq(eum_handle_retire(old, EUM_HANDLE_BUFFER, false), EUM_OK);
    refused(old, EUM_HANDLE_BUFFER, EUM_ERROR_INVALID_HANDLE, "this buffer handle");
    refused(old, EUM_HANDLE_BUFFER, EUM_ERROR_INVALID_HANDLE, "was destroyed");
    void *handle = NULL;
    for (int i = 0; i < 2000; i++) { /* round the queue of free slots, until it is this one's turn */
        handle = make(&second, i % 2 ? EUM_HANDLE_BUFFER : EUM_HANDLE_STREAM);
        if (index_in(handle) == index_in(old))
            break;
        ck_assert_int_eq(eum_handle_retire(handle, i % 2 ? EUM_HANDLE_BUFFER : EUM_HANDLE_STREAM, false), EUM_OK);
    }
    ck_assert_uint_eq(index_in(handle), index_in(old));
    refused(old, EUM_HANDLE_BUFFER, EUM_ERROR_INVALID_HANDLE, "was destroyed");
    refused(old, EUM_HANDLE_STREAM, EUM_ERROR_INVALID_HANDLE, "was destroyed");
    ck_assert_int_eq(second.ends, 0);
    if (eum_handle_retire(handle, EUM_HANDLE_BUFFER, false) != EUM_OK)
        ck_assert_int_eq(eum_handle_retire(handle, EUM_HANDLE_STREAM, false), EUM_OK);
    ck_assert_int_eq(first.ends, 1);
    ck_assert_int_eq(second.ends, 1);
}
END_TEST

START_TEST(free_slots_are_reused_first_in_first_out)
{
    enum { SLOTS = 5 };
    void *handles[SLOTS], *again = NULL;
    static const size_t order[SLOTS] = {3, 0, 4, 1, 2};
    fresh_inner_table(SLOTS);
    for (size_t i = 0; i < SLOTS; i++)
        ck_assert_int_eq(inner_handle_create(EUM_HANDLE_BUFFER, &table, NULL, &handles[i]), EUM_OK);
    for (size_t i = 0; i < SLOTS; i++)
        ck_assert_int_eq(inner_handle_retire(handles[order[i]], EUM_HANDLE_BUFFER, false), EUM_OK);
    for (size_t i = 0; i < SLOTS; i++) {
        ck_assert_int_eq(inner_handle_create(EUM_HANDLE_STREAM, &table, NULL, &again), EUM_OK);
        ck_assert_uint_eq(index_in(again), index_in(handles[order[i]]));
        ck_assert_ptr_ne(again, handles[order[i]]);
    }
}
END_TEST

START_TEST(when_all_slots_are_in_use_create_says_so_and_recovers)
{
    enum { SLOTS = 8 };
    void *handles[SLOTS], *more = &more;
    fresh_inner_table(SLOTS);
    for (size_t i = 0; i < SLOTS; i++)
        ck_assert_int_eq(inner_handle_create(EUM_HANDLE_BUFFER, &table, NULL, &handles[i]), EUM_OK);
    ck_assert_int_eq(inner_handle_create(EUM_HANDLE_BUFFER, &table, NULL, &more), EUM_ERROR_OUT_OF_MEMORY);
    ck_assert_ptr_eq(more, &more);
    ck_assert_ptr_nonnull(strstr(sentence(), "all 8 handles are in use"));
    ck_assert_int_eq(inner_handle_retire(handles[2], EUM_HANDLE_BUFFER, false), EUM_OK);
    ck_assert_int_eq(inner_handle_create(EUM_HANDLE_BUFFER, &table, NULL, &more), EUM_OK);
    ck_assert_uint_eq(inner_handle_live(EUM_HANDLE_BUFFER), SLOTS);
}
END_TEST

START_TEST(the_table_grows_to_several_segments_and_nothing_moves)
{
    enum { MANY = 3 * SEGMENT_SLOTS + 1 };
    static void *handles[MANY];
    static int objects[MANY];
    fresh_inner_table(SEGMENT_SLOTS * SEGMENTS);
    for (size_t i = 0; i < MANY; i++)
        ck_assert_int_eq(inner_handle_create(EUM_HANDLE_BUFFER, &objects[i], NULL, &handles[i]), EUM_OK);
    for (size_t i = 0; i < MANY; i++) {
        void *object = NULL;
        ck_assert_int_eq(inner_handle_pin(handles[i], EUM_HANDLE_BUFFER, &object), EUM_OK);
        ck_assert_ptr_eq(object, &objects[i]);
        inner_handle_unpin(handles[i]);
        ck_assert_int_eq(inner_handle_retire(handles[i], EUM_HANDLE_BUFFER, true), EUM_OK);
    }
}
END_TEST

START_TEST(a_generation_is_retired_rather_than_wrapped)
{
    void *handle = NULL, *object = NULL, *last = NULL;
    fresh_inner_table(1);
    ck_assert_int_eq(inner_handle_create(EUM_HANDLE_BUFFER, &table, NULL, &handle), EUM_OK);
    ck_assert_int_eq(inner_handle_retire(handle, EUM_HANDLE_BUFFER, false), EUM_OK);
    atomic_store(&slot_at(0)->word, identity_of(GENERATION_MAX, 0));
    ck_assert_int_eq(inner_handle_create(EUM_HANDLE_BUFFER, &table, NULL, &last), EUM_OK);
    ck_assert_uint_eq(generation_of((uintptr_t)last), GENERATION_MAX);
    ck_assert_int_eq(inner_handle_pin(last, EUM_HANDLE_BUFFER, &object), EUM_OK);
    inner_handle_unpin(last);
    ck_assert_int_eq(inner_handle_retire(last, EUM_HANDLE_BUFFER, false), EUM_OK);
    ck_assert_int_eq(inner_handle_pin(last, EUM_HANDLE_BUFFER, &object), EUM_ERROR_INVALID_HANDLE);
    ck_assert_ptr_nonnull(strstr(sentence(), "was destroyed"));
    ck_assert_int_eq(inner_handle_pin(handle, EUM_HANDLE_BUFFER, &object), EUM_ERROR_INVALID_HANDLE);
    ck_assert_int_eq(inner_handle_create(EUM_HANDLE_BUFFER, &table, NULL, &handle), EUM_ERROR_OUT_OF_MEMORY);
}
END_TEST

START_TEST(too_many_pins_are_an_error_and_lose_none)
{
    void *handle = NULL, *object = NULL;
    fresh_inner_table(4);
    ck_assert_int_eq(inner_handle_create(EUM_HANDLE_BUFFER, &table, NULL, &handle), EUM_OK);
    for (uint64_t i = 0; i < PINS_MAX; i++)
        if (inner_handle_pin(handle, EUM_HANDLE_BUFFER, &object) != EUM_OK)
            ck_abort_msg("pin %llu: %s", (unsigned long long)i, sentence());
    ck_assert_int_eq(inner_handle_pin(handle, EUM_HANDLE_BUFFER, &object), EUM_ERROR_INVALID_HANDLE);
    ck_assert_ptr_nonnull(strstr(sentence(), "in use by more than"));
    inner_handle_unpin(handle);
    ck_assert_int_eq(inner_handle_pin(handle, EUM_HANDLE_BUFFER, &object), EUM_OK);
    for (uint64_t i = 0; i < PINS_MAX; i++)
        inner_handle_unpin(handle);
    ck_assert_int_eq(inner_handle_retire(handle, EUM_HANDLE_BUFFER, true), EUM_OK);
}
END_TEST

START_TEST(another_copy_of_the_library_is_recognised)
{
    thing it;
    void *ours = make(&it, EUM_HANDLE_BUFFER), *theirs = NULL, *object = NULL;
    fresh_inner_table(4);
    ck_assert_int_eq(inner_handle_create(EUM_HANDLE_BUFFER, &table, NULL, &theirs), EUM_OK);
    refused(theirs, EUM_HANDLE_BUFFER, EUM_ERROR_INVALID_HANDLE, "of another copy of this library");
    ck_assert_int_eq(inner_handle_pin(ours, EUM_HANDLE_BUFFER, &object), EUM_ERROR_INVALID_HANDLE);
    ck_assert_ptr_nonnull(strstr(sentence(), "of another copy of this library"));
    ck_assert_int_eq(inner_handle_retire(theirs, EUM_HANDLE_BUFFER, false), EUM_OK);
    refused(theirs, EUM_HANDLE_BUFFER, EUM_ERROR_INVALID_HANDLE, "of another copy of this library");
    ck_assert_int_eq(eum_handle_retire(ours, EUM_HANDLE_BUFFER, false), EUM_OK);
}
END_TEST

START_TEST(a_reserved_handle_is_nobodys_until_it_is_published)
{
    thing it;
    void *handle = NULL, *object = NULL, *other = NULL;
    size_t live = eum_handle_live(EUM_HANDLE_BUFFER);
    ck_assert_int_eq(eum_handle_reserve(EUM_HANDLE_BUFFER, &handle), EUM_OK);
    refused(handle, EUM_HANDLE_BUFFER, EUM_ERROR_INVALID_HANDLE, "was made up");
    ck_assert_uint_eq(eum_handle_live(EUM_HANDLE_BUFFER), live);
    atomic_init(&it.state, ALIVE);
    atomic_init(&it.ends, 0);
    eum_handle_publish(handle, &it, end_thing);
    ck_assert_int_eq(eum_handle_pin(handle, EUM_HANDLE_BUFFER, &object), EUM_OK);
    ck_assert_ptr_eq(object, &it);
    eum_handle_unpin(handle);
    ck_assert_int_eq(eum_handle_retire(handle, EUM_HANDLE_BUFFER, false), EUM_OK);

    fresh_inner_table(1);
    ck_assert_int_eq(inner_handle_reserve(EUM_HANDLE_BUFFER, &handle), EUM_OK);
    ck_assert_int_eq(inner_handle_reserve(EUM_HANDLE_BUFFER, &other), EUM_ERROR_OUT_OF_MEMORY);
    inner_handle_cancel(handle);
    ck_assert_int_eq(inner_handle_reserve(EUM_HANDLE_BUFFER, &other), EUM_OK);
    inner_handle_cancel(other);
}
END_TEST

START_TEST(success_leaves_the_last_error_alone)
{
    thing it;
    void *object = NULL;
    eum_fail(EUM_ERROR_TIMEOUT, "an earlier failure");
    void *handle = make(&it, EUM_HANDLE_BUFFER);
    ck_assert_int_eq(eum_handle_pin(handle, EUM_HANDLE_BUFFER, &object), EUM_OK);
    eum_handle_unpin(handle);
    ck_assert_int_eq(eum_handle_retire(handle, EUM_HANDLE_BUFFER, true), EUM_OK);
    ck_assert_str_eq(sentence(), "an earlier failure");
}
END_TEST

/* -------------------------------------------------------------------------------------------------- lifetimes ------ */

START_TEST(the_object_ends_with_the_last_pin)
{
    thing it;
    void *handle = make(&it, EUM_HANDLE_BUFFER), *object = NULL;
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(eum_handle_pin(handle, EUM_HANDLE_BUFFER, &object), EUM_OK);
    ck_assert_int_eq(eum_handle_retire(handle, EUM_HANDLE_BUFFER, false), EUM_OK);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(it.ends, 0);
        refused(handle, EUM_HANDLE_BUFFER, EUM_ERROR_INVALID_HANDLE, "was destroyed");
        eum_handle_unpin(handle);
    }
    ck_assert_int_eq(it.ends, 1);
}
END_TEST

static void *waiter_body(void *handle)
{
    ck_assert_int_eq(eum_handle_retire(handle, EUM_HANDLE_BUFFER, true), EUM_OK);
    return NULL;
}

START_TEST(retire_that_waits_ends_the_object_itself_after_the_last_unpin)
{
    thing it;
    void *handle = make(&it, EUM_HANDLE_BUFFER), *object = NULL;
    pthread_t waiter;
    ck_assert_int_eq(eum_handle_pin(handle, EUM_HANDLE_BUFFER, &object), EUM_OK);
    ck_assert_int_eq(eum_handle_pin(handle, EUM_HANDLE_BUFFER, &object), EUM_OK);
    ck_assert_int_eq(pthread_create(&waiter, NULL, waiter_body, handle), 0);
    void *probe = NULL;
    while (eum_handle_pin(handle, EUM_HANDLE_BUFFER, &probe) == EUM_OK) { /* until it is retired */
        eum_handle_unpin(handle);
        sched_yield();
    }
    eum_handle_unpin(handle);
    usleep(20000);
    ck_assert_int_eq(it.ends, 0); /* one pin is left */
    eum_handle_unpin(handle);
    ck_assert_int_eq(pthread_join(waiter, NULL), 0);
    ck_assert_int_eq(it.ends, 1);
    ck_assert(pthread_equal(it.ended_by, waiter));
}
END_TEST

static void end_and_use_handles(void *object)
{
    void *handle = NULL;
    ck_assert_int_eq(eum_handle_create(EUM_HANDLE_STREAM, object, NULL, &handle), EUM_OK);
    ck_assert_int_eq(eum_handle_retire(handle, EUM_HANDLE_STREAM, true), EUM_OK);
    ++*(int *)object;
}

START_TEST(a_finalizer_may_use_handles)
{
    int ended = 0;
    void *handle = NULL;
    for (int wait = 0; wait < 2; wait++) {
        ck_assert_int_eq(eum_handle_create(EUM_HANDLE_BUFFER, &ended, end_and_use_handles, &handle), EUM_OK);
        ck_assert_int_eq(eum_handle_retire(handle, EUM_HANDLE_BUFFER, wait == 1), EUM_OK);
        ck_assert_int_eq(ended, wait + 1);
    }
}
END_TEST

/* ------------------------------------------------------------------------------------------------------- suite ------ */

Suite *handle_suite(void)
{
    Suite *suite = suite_create("handle");
    TCase *numbers = tcase_create("numbers");
    tcase_add_test(numbers, pin_gives_the_object_of_each_type);
    tcase_add_test(numbers, a_handle_is_no_address_a_program_could_have);
    tcase_add_test(numbers, null_says_so);
    tcase_add_test(numbers, garbage_is_not_a_handle);
    tcase_add_test(numbers, every_single_bit_matters);
    tcase_add_test(numbers, random_numbers_are_never_handles);
    tcase_add_test(numbers, another_type_names_both);
    tcase_add_test(numbers, destroyed_stays_destroyed_when_the_slot_is_used_again);
    tcase_add_test(numbers, free_slots_are_reused_first_in_first_out);
    tcase_add_test(numbers, when_all_slots_are_in_use_create_says_so_and_recovers);
    tcase_add_test(numbers, the_table_grows_to_several_segments_and_nothing_moves);
    tcase_add_test(numbers, a_generation_is_retired_rather_than_wrapped);
    tcase_add_test(numbers, too_many_pins_are_an_error_and_lose_none);
    tcase_add_test(numbers, another_copy_of_the_library_is_recognised);
    tcase_add_test(numbers, a_reserved_handle_is_nobodys_until_it_is_published);
    tcase_add_test(numbers, success_leaves_the_last_error_alone);
    suite_add_tcase(suite, numbers);

    TCase *lifetimes = tcase_create("lifetimes");
    tcase_add_test(lifetimes, the_object_ends_with_the_last_pin);
    tcase_add_test(lifetimes, retire_that_waits_ends_the_object_itself_after_the_last_unpin);
    tcase_add_test(lifetimes, a_finalizer_may_use_handles);
    suite_add_tcase(suite, lifetimes);
    return suite;
}
