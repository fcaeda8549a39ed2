/* scoring_stream_float32: the streaming kernels for float32 targets.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "kernels/scoring_stream.cuh"

namespace eum_scoring
{

StreamKernels stream_float32(bool distance, uint64_t dim, bool wide)
{
    return distance ? stream_for<float, true>(dim, wide) : stream_for<float, false>(dim, wide);
}

} // namespace eum_scoring
