/* scoring_product_float16: the products of tiles for float16 targets.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "kernels/scoring_product.cuh"

namespace eum_scoring
{

const void *product_float16(ProductShape shape)
{
    return product_for<__half>(shape);
}

} // namespace eum_scoring
