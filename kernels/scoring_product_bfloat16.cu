/* scoring_product_bfloat16: the products of tiles for bfloat16 targets.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "kernels/scoring_product.cuh"

namespace eum_scoring
{

const void *product_bfloat16(ProductShape shape)
{
    return product_for<__nv_bfloat16>(shape);
}

} // namespace eum_scoring
