/* status: the status of a call and this thread's error detail. The lowest layer: it calls nothing of ours.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_SRC_STATUS_H
#define EUM_SRC_STATUS_H

#include "engram_um.h"

#if defined(__GNUC__)
#define EUM_PRINTF(format_index, first) __attribute__((format(printf, format_index, first)))
#else
#define EUM_PRINTF(format_index, first)
#endif

/* Records `status` and the sentence as this thread's last error and returns `status`, so that a failing function ends with
 * `return eum_fail(EUM_ERROR_..., "what happened, with the values; what to do", ...)`. status != EUM_OK. */
eum_status eum_fail(eum_status status, const char *format, ...) EUM_PRINTF(2, 3);

/* The same for a CUDA call that failed: the status comes from the table of eum_status_from_cuda. cuda_code != 0; cuda_name may be
 * NULL. */
eum_status eum_fail_cuda(int32_t cuda_code, const char *cuda_name, const char *format, ...) EUM_PRINTF(3, 4);
/* The same with a status of the caller's choice (a kernel callback's code is EUM_ERROR_LAUNCH_FAILED whatever it is). */
eum_status eum_fail_with_cuda(eum_status status, int32_t cuda_code, const char *cuda_name, const char *format, ...)
    EUM_PRINTF(4, 5);
/* "cudaErrorMemoryAllocation" for 2; NULL for a code that the table does not have. Static. */
const char *eum_cuda_name(int32_t cuda_code);

/* This thread's detail, to carry it to another thread or to put back what a clean-up call overwrote. */
void eum_error_save(eum_error *out);
void eum_error_restore(const eum_error *saved);

/* 1 while a kernel or completion callback runs on this thread; the executors of the device layer count it up and down. */
extern _Thread_local int eum_callback_depth;
/* EUM_OK, or EUM_ERROR_IN_CALLBACK naming `function` when called from inside a callback. */
eum_status eum_check_may_wait(const char *function);

#endif
