/* scoring_stream_float32: the streaming kernels for float32 targets.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "kernels/scoring_stream.cuh"

namespace eum_scoring
{

StreamKernels stream_float32(bool distance, uint64_t dim, uint64_t multiple)
{
    return distance ? stream_for<float, true>(dim, multiple) : stream_for<float, false>(dim, multiple);
}

} // namespace eum_scoring
