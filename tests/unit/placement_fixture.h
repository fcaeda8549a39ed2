/* placement_fixture: what the suites of placement share.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TESTS_PLACEMENT_FIXTURE_H
#define EUM_TESTS_PLACEMENT_FIXTURE_H

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "placement.h"

#define DEVICE 0
/* Check's own assertions note each success, and there are millions here. */
#define demand(condition)                                                                                                          \
    do {                                                                                                                           \
        if (!(condition))                                                                                                          \
            ck_abort_msg("%s", #condition);                                                                                        \
    } while (0)

#endif
