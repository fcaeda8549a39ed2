/* scoring_stream_float16: the streaming kernels for float16 targets.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "kernels/scoring_stream.cuh"

namespace eum_scoring
{

StreamKernels stream_float16(bool distance, uint64_t dim, uint64_t multiple)
{
    return distance ? stream_for<__half, true>(dim, multiple) : stream_for<__half, false>(dim, multiple);
}

} // namespace eum_scoring
