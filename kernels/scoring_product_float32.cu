/* scoring_product_float32: the products of tiles for float32 targets.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "kernels/scoring_product.cuh"

namespace eum_scoring
{

const void *product_float32(ProductShape shape)
{
    return product_for<float>(shape);
}

} // namespace eum_scoring
