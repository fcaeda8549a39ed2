/* scoring_filter_float16: the filter and its second pass for float16 targets.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "kernels/scoring_rerank.cuh"

namespace eum_scoring
{

FilterKernels filter_float16(bool distance)
{
    return filter_for<__half>(distance);
}

} // namespace eum_scoring
