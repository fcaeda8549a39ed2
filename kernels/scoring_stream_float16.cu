/* scoring_stream_float16: the streaming kernels for float16 targets.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "kernels/scoring_stream.cuh"

namespace eum_scoring
{

StreamKernels stream_float16(bool distance, uint64_t dim, bool wide)
{
    return distance ? stream_for<__half, true>(dim, wide) : stream_for<__half, false>(dim, wide);
}

} // namespace eum_scoring
