/* scoring_sort: a block sorts numbers in shared memory.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_SCORING_SORT_CUH
#define EUM_SCORING_SORT_CUH

#include "kernels/scoring_cuda.cuh"

namespace eum_scoring
{

/* Sorts a power of two of numbers, rising, by the block. Begins and ends with a barrier. */
template <typename Number> __device__ __forceinline__ void sort_block(Number *numbers, int size)
{
    for (int span = 2; span <= size; span *= 2) {
        for (int step = span / 2; step > 0; step /= 2) {
            __syncthreads();
            for (int i = static_cast<int>(threadIdx.x); i < size / 2; i += kThreads) {
                const int low = 2 * i - (i & (step - 1)), high = low + step;
                const Number x = numbers[low], y = numbers[high];
                if ((x > y) == ((low & span) == 0)) {
                    numbers[low] = y;
                    numbers[high] = x;
                }
            }
        }
    }
    __syncthreads();
}

} // namespace eum_scoring

#endif
