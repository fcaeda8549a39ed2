/* batch: from how many ranges on they are prefetched by one call. Pure.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Units and bytes cross the link either way, so they do not decide. What one call for all saves is the fixed part of all ranges but
 * the first, as far as the device saves it; that must be an eighth of all fixed parts, because less is not told from one measurement
 * to the next (H100: 13 % of 2 ranges, 7 % of 16, nothing of 64). And the call must return before the pages have moved: a launch does
 * not wait. */
#ifndef EUM_SRC_BATCH_H
#define EUM_SRC_BATCH_H

#include "device/costs.h"
#include "status.h"

typedef enum eum_batch_setting { EUM_BATCH_AUTO, EUM_BATCH_ALWAYS, EUM_BATCH_NEVER } eum_batch_setting;

#define EUM_BATCH_NONE SIZE_MAX
/* The least number of ranges, 2 or more; EUM_BATCH_NONE: each range has a call of its own. there: the device has the call. */
size_t eum_batch_least(eum_batch_setting setting, bool there, const eum_costs *costs);

/* EUM_PREFETCH_BATCH: auto, always (where the device has the call) or never. NULL and "": auto.
 * Errors: EUM_ERROR_INVALID_ARGUMENT. */
eum_status eum_batch_parse(const char *text, eum_batch_setting *out);

#endif
