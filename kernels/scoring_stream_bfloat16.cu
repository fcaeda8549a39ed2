/* scoring_stream_bfloat16: the streaming kernels for bfloat16 targets.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "kernels/scoring_stream.cuh"

namespace eum_scoring
{

StreamKernels stream_bfloat16(bool distance, uint64_t dim, uint64_t multiple)
{
    return distance ? stream_for<__nv_bfloat16, true>(dim, multiple) : stream_for<__nv_bfloat16, false>(dim, multiple);
}

} // namespace eum_scoring
