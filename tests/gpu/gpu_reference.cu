/* gpu_reference: see the header.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

extern "C" {
#include "gpu_reference.h"
}

namespace
{

__device__ double element_at(eum_element element, const void *row, uint64_t k)
{
    if (element == EUM_ELEMENT_FLOAT16)
        return static_cast<double>(__half2float(static_cast<const __half *>(row)[k]));
    if (element == EUM_ELEMENT_BFLOAT16)
        return static_cast<double>(__bfloat162float(static_cast<const __nv_bfloat16 *>(row)[k]));
    return static_cast<double>(static_cast<const float *>(row)[k]);
}

/* The exact score and how far off a score may be. */
__device__ double exact_score(const eum_scoring_args &a, uint64_t q, uint64_t r, double *allowed)
{
    const float *query = reinterpret_cast<const float *>(reinterpret_cast<const char *>(a.queries) + q * a.query_stride);
    const uint64_t number = a.numbers != nullptr ? static_cast<uint64_t>(a.numbers[r]) : r;
    const void *row = static_cast<const char *>(a.targets) + number * a.row_stride;
    double dot = 0, distance = 0, squares = 0, query_squares = 0;
    for (uint64_t k = 0; k < a.dim; k++) {
        double x = element_at(a.element, row, k), y = static_cast<double>(query[k]);
        dot += x * y;
        distance += (x - y) * (x - y);
        squares += x * x;
        query_squares += y * y;
    }
    const double norms = sqrt(squares) * sqrt(query_squares);
    double exact = a.metric == EUM_METRIC_DOT ? dot : distance;
    *allowed = 1e-6 + 1e-5 * fabs(exact);
    if (a.metric == EUM_METRIC_DOT)
        *allowed = 1e-6 * fmax(1.0, norms) + 1e-5 * fabs(exact);
    if (a.metric == EUM_METRIC_COSINE) {
        exact = squares == 0 || query_squares == 0 ? 0.0 : dot / norms;
        *allowed = 1e-6 + 1e-5 * fabs(exact);
    }
    return isfinite(squares) && isfinite(query_squares) ? exact : nan("");
}

__global__ void compare_kernel(eum_scoring_args a, reference_result *result)
{
    const uint64_t at = blockIdx.x * static_cast<uint64_t>(blockDim.x) + threadIdx.x;
    if (at >= a.query_count * a.rows)
        return;
    double allowed = 0;
    const double exact = exact_score(a, at / a.rows, at % a.rows, &allowed);
    const float score = a.scores[at];
    double error = fabs(static_cast<double>(score) - exact) / allowed;
    if (isnan(exact))
        error = isnan(score) ? 0.0 : 1e30;
    else if (isinf(static_cast<float>(exact))) /* outside float32's range */
        error = score == static_cast<float>(exact) ? 0.0 : 1e30;
    else if (isinf(score) && fabs(exact) + allowed > 3.4028234e38) /* at its very edge */
        error = 0.0;
    else if (isnan(score) || (a.metric == EUM_METRIC_COSINE && fabsf(score) > 1.0f))
        error = 1e30;
    atomicMax(reinterpret_cast<unsigned long long *>(&result->worst), static_cast<unsigned long long>(__double_as_longlong(error)));
    if (!(error <= 1.0)) {
        atomicAdd(reinterpret_cast<unsigned long long *>(&result->wrong), 1ull);
        atomicMin(reinterpret_cast<unsigned long long *>(&result->first_wrong), static_cast<unsigned long long>(at));
    }
}

__global__ void score_kernel(eum_scoring_args a, uint64_t q, uint64_t r, reference_result *result)
{
    double allowed = 0;
    result->exact = exact_score(a, q, r, &allowed);
}

} // namespace

extern "C" int32_t reference_score(const eum_scoring_args *args, uint64_t q, uint64_t r, double *out)
{
    reference_result *device = nullptr, result;
    cudaError_t error = cudaMalloc(&device, sizeof *device);
    if (error != cudaSuccess)
        return error;
    score_kernel<<<1, 1>>>(*args, q, r, device);
    error = cudaMemcpy(&result, device, sizeof result, cudaMemcpyDeviceToHost);
    (void)cudaFree(device);
    *out = result.exact;
    return error;
}

extern "C" int32_t reference_compare(const eum_scoring_args *args, reference_result *out)
{
    reference_result *device = nullptr, start = {0, UINT64_MAX, 0.0, 0.0};
    const uint64_t scores = args->query_count * args->rows;
    cudaError_t error = cudaMalloc(&device, sizeof *device);
    if (error != cudaSuccess)
        return error;
    error = cudaMemcpy(device, &start, sizeof start, cudaMemcpyHostToDevice);
    if (error == cudaSuccess) {
        compare_kernel<<<static_cast<unsigned>((scores + 127) / 128), 128>>>(*args, device);
        error = cudaMemcpy(out, device, sizeof *out, cudaMemcpyDeviceToHost);
    }
    (void)cudaFree(device);
    if (error == cudaSuccess && out->wrong > 0)
        error = static_cast<cudaError_t>(
            reference_score(args, out->first_wrong / args->rows, out->first_wrong % args->rows, &out->exact));
    return error;
}
