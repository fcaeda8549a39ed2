/* scoring_filter_bfloat16: the filter and its second pass for bfloat16 targets.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "kernels/scoring_rerank.cuh"

namespace eum_scoring
{

FilterKernels filter_bfloat16(bool distance)
{
    return filter_for<__nv_bfloat16>(distance);
}

} // namespace eum_scoring
