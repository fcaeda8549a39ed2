/* faults: windows in which page faults and movements are counted.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_SRC_FAULTS_H
#define EUM_SRC_FAULTS_H

#include "engram_um.h"

/* Explicit copies of one buffer, or of a whole context, in the newest window. */
typedef struct eum_copied {
    uint64_t window; /* the number of the window that the sums are of */
    uint64_t to_device, to_host;
} eum_copied;

/* The state of a context's windows. */
typedef struct eum_windows {
    uint64_t number; /* of the newest; 0: there was none */
    enum { EUM_WINDOW_NONE, EUM_WINDOW_OPEN, EUM_WINDOW_ENDED } state;
    eum_status status; /* of the window that ended */
    eum_copied copied;
} eum_windows;

#endif
