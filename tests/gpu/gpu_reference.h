/* gpu_reference: scores in float64 on the GPU, as plainly as can be, for comparison.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TESTS_GPU_REFERENCE_H
#define EUM_TESTS_GPU_REFERENCE_H

#include <stdint.h>

#include "kernels/scoring.h"

typedef struct reference_result {
    uint64_t wrong;       /* scores that are further off than the header allows */
    uint64_t first_wrong; /* the lowest place of one */
    double exact;         /* there */
    double worst;         /* largest error of all, in units of what is allowed */
} reference_result;

/* Compares args->scores (all scores, on the device) with float64. Returns a cudaError_t. Waits. */
int32_t reference_compare(const eum_scoring_args *args, reference_result *out);
/* One exact score, of query q and row r, computed by the reference. */
int32_t reference_score(const eum_scoring_args *args, uint64_t q, uint64_t r, double *out);

#endif
