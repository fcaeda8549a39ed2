/* lock: the page lock.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A spin lock, because the fault handler takes it. Holders never touch a guarded view, so the handler never waits for its own thread. */
#include "device/sim/internal.h"

#include <sched.h>

/* In a file of its own, and opaque to the optimiser: gcc 12 (ipa-reference) sees that these functions write no other static variable of
 * their file, and then keeps such variables in registers across the lock, atomic operations or not. */
#if defined(__has_attribute)
#if __has_attribute(noipa)
#define OPAQUE __attribute__((noipa))
#endif
#endif
#ifndef OPAQUE
#define OPAQUE
#endif

static atomic_flag page_lock = ATOMIC_FLAG_INIT;

OPAQUE void eum_sim_lock_pages(void)
{
    for (unsigned spins = 0; atomic_flag_test_and_set_explicit(&page_lock, memory_order_acquire); spins++)
        if (spins >= 64)
            sched_yield();
}

OPAQUE void eum_sim_unlock_pages(void)
{
    atomic_flag_clear_explicit(&page_lock, memory_order_release);
}
