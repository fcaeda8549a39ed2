/* handle: the table that turns the opaque numbers of the ABI into objects, and wild numbers into errors.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A handle's value is a number, never dereferenced: lowest bit 1, index (20 bits), generation (36 bits, a slot is retired rather
 * than wrapped), type, a mark of this copy of the library, and top bits that make it non-canonical as an address. Slots live in
 * segments that never move or shrink; a slot's word holds generation, pin count and a dying bit. Free slots are reused
 * first-in-first-out. Pin and unpin are lock-free. */
#ifndef EUM_FFI_HANDLE_H
#define EUM_FFI_HANDLE_H

#include <stdbool.h>

#include "status.h"

typedef enum eum_handle_type { EUM_HANDLE_CONTEXT = 1, EUM_HANDLE_BUFFER = 2, EUM_HANDLE_STREAM = 3 } eum_handle_type;

/* Enters `object` with one reference held by the handle. finalize(object) is called exactly once, with no lock held, by whoever drops
 * the last pin after the handle was retired. Errors: EUM_ERROR_OUT_OF_MEMORY (also when all slots are in use). */
eum_status eum_handle_create(eum_handle_type type, void *object, void (*finalize)(void *object), void **out_handle);

/* The same in two steps, for callers whose object cannot be unmade (an adopted buffer's end calls its release function): reserve can fail
 * and gives the handle, which nobody can pin yet; publish cannot fail and makes it live; cancel gives an unpublished one back. Errors of
 * reserve: as eum_handle_create. */
eum_status eum_handle_reserve(eum_handle_type type, void **out_handle);
void eum_handle_publish(void *handle, void *object, void (*finalize)(void *object));
void eum_handle_cancel(void *handle);

/* Gives the object and keeps it alive until eum_handle_unpin. Errors: EUM_ERROR_INVALID_HANDLE, whose sentence says which kind of wrong
 * it is (NULL, destroyed, of another type, another library's, not a handle); EUM_ERROR_FORKED. */
eum_status eum_handle_pin(const void *handle, eum_handle_type type, void **out_object);
void eum_handle_unpin(const void *handle);

/* Ends the handle: from now on pinning it fails. With wait_for_pins the call waits for the pins of others and runs finalize itself (the
 * caller must not hold a pin); without, finalize runs now or at the last unpin, whichever is later. Exactly one of several threads succeeds.
 * Errors: as eum_handle_pin. */
eum_status eum_handle_retire(const void *handle, eum_handle_type type, bool wait_for_pins);

/* Live handles of a type, for tests. */
size_t eum_handle_live(eum_handle_type type);

#endif
