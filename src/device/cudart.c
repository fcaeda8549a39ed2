/* cudart: the CUDA runtime behind the device table.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "device/device.h"

eum_status eum_cudart_open(const eum_device_config *config, eum_device **out, eum_reason *out_reason)
{
    (void)config, (void)out;
    *out_reason = EUM_REASON_BUILT_WITHOUT;
    return eum_fail(EUM_ERROR_DEVICE_UNAVAILABLE,
                    "This library was built without CUDA; build it with -DEUM_CUDA=ON where a CUDA toolkit is installed to use a GPU.");
}
