/* The scoring's CUDA kernels for bench/peers/gpu.py, without the engine around them: what is measured beside a peer's kernels.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <cuda_runtime_api.h>

#include "kernels/scoring.h"

#define EXPORTED __attribute__((visibility("default")))

EXPORTED size_t bench_scoring_args_bytes(void); /* for who has the struct in another language */
EXPORTED size_t bench_scoring_args_bytes(void)
{
    return sizeof(eum_scoring_args);
}

size_t bench_scoring_scratch(const eum_scoring_args *args);
EXPORTED int32_t bench_scoring_run(const eum_scoring_args *args, void *scratch);

size_t bench_scoring_scratch(const eum_scoring_args *args)
{
    return eum_scoring_cuda_scratch(args);
}

/* With the wait. Returns a cudaError_t. */
int32_t bench_scoring_run(const eum_scoring_args *args, void *scratch)
{
    int32_t error = eum_scoring_cuda(args, scratch, NULL);
    return error != 0 ? error : (int32_t)cudaStreamSynchronize(NULL);
}
