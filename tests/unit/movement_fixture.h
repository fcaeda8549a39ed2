/* movement_fixture: a test of movement: a body that runs in a fresh world, once for each schedule.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TESTS_MOVEMENT_FIXTURE_H
#define EUM_TESTS_MOVEMENT_FIXTURE_H

#include "movement_world.h"
#include <check.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define UNUSED __attribute__((unused)) /* not every suite uses all of this */

#define SEEDS 3

/* A test: its body runs in a fresh world, once for each schedule. */
#define MOVEMENT_TEST(name)                                                                                                        \
    static void body_of_##name(world *w);                                                                                          \
    START_TEST(name)                                                                                                               \
    {                                                                                                                              \
        for (unsigned seed = 1; seed <= SEEDS; seed++) {                                                                           \
            world w = world_open(_i, seed, 0);                                                                                     \
            body_of_##name(&w);                                                                                                    \
            world_close(&w);                                                                                                       \
        }                                                                                                                          \
    }                                                                                                                              \
    END_TEST                                                                                                                       \
    static void body_of_##name(world *w)

#define LARGE (3 * PAGE + 100) /* whole pages and a part of one */

UNUSED static uint8_t expected[MIB];

UNUSED static const eum_role roles[] = {EUM_ROLE_AUTO, EUM_ROLE_QUERY, EUM_ROLE_TARGETS, EUM_ROLE_RESULTS, EUM_ROLE_STREAM};
#define ROLES (sizeof roles / sizeof roles[0])

#endif
