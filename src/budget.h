/* budget: what the contexts of one process share of one device: how much device and managed memory they may use, and, where managed memory must
 * not be touched while kernels run, whether it is mapped.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_SRC_BUDGET_H
#define EUM_SRC_BUDGET_H

#include "device/device.h"

typedef struct eum_budget eum_budget;

/* The budget of the device: CUDA devices share one by index, every simulated device and the host have one of their own. limit 0: 80 % of what
 * is free now; a limit is never more than the device's memory. The first context's limit holds until the last context of the device is gone;
 * a later context that asks for another limit changes it for all. Errors: EUM_ERROR_OUT_OF_MEMORY, device errors. */
eum_status eum_budget_get(eum_device *device, uint64_t limit, eum_budget **out);
void eum_budget_put(eum_budget *budget);

/* Reserves bytes. what: "a managed buffer", for the sentence. Errors: EUM_ERROR_OVER_BUDGET with the numbers, unless oversubscribe. */
eum_status eum_budget_take(eum_budget *budget, uint64_t bytes, bool oversubscribe, const char *what);
void eum_budget_return(eum_budget *budget, uint64_t bytes);
/* Live maps of managed memory on a device without concurrent access: launches are refused while there are any. */
void eum_budget_mapped(eum_budget *budget, int change);
uint32_t eum_budget_maps(eum_budget *budget);
void eum_budget_read(eum_budget *budget, uint64_t *out_limit, uint64_t *out_used);

#endif
