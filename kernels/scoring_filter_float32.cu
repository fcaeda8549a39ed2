/* scoring_filter_float32: the filter and its second pass for float32 targets.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "kernels/scoring_rerank.cuh"

namespace eum_scoring
{

FilterKernels filter_float32(bool distance)
{
    return filter_for<float>(distance);
}

} // namespace eum_scoring
