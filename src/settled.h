/* settled: launches, and copies, that have nothing to move and nothing to wait for, which are most.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_SRC_SETTLED_H
#define EUM_SRC_SETTLED_H

#include "launch.h"

/* Recognizes, by what the state of the buffers says at a glance, a launch for which eum_launch_settle and eum_moves_run would do nothing but look:
 * every byte is where the kernel uses it, nothing is marked that concerns the use, nothing mapped or acquired, and what is in flight is on the same
 * stream, or reads as this does. Then true: the
 * moves are prepared for commit, and all memory that it needs is reserved. Else false, and the moves say nothing: there may be nothing to do all the
 * same. Lock held. */
bool eum_launch_is_settled(const eum_strm *stream, const eum_launch_request *request, eum_move *moves);

/* The same for one use that is prepared already, on a device with concurrent managed memory: eum_moves_run would do nothing for it on that stream. */
bool eum_move_is_settled(const eum_strm *stream, eum_move *move);

#endif
