/* fp_environment: scores must not depend on the caller's floating-point modes.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A caller may run with denormals flushed to zero or another rounding mode (-ffast-math, torch.set_flush_denormal). The kernels run in the
 * default environment and restore the caller's. Enter and leave order calls, not the arithmetic around them: what must run in between is a
 * function that is not inlined. */
#ifndef EUM_FP_ENVIRONMENT_H
#define EUM_FP_ENVIRONMENT_H

#include <stdint.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
typedef unsigned int fp_environment;
static inline fp_environment fp_enter(void)
{
    fp_environment callers = _mm_getcsr();
    _mm_setcsr(0x1f80); /* exceptions masked, round to nearest, denormals kept */
    return callers;
}
static inline void fp_leave(fp_environment callers)
{
    _mm_setcsr(callers);
}
#elif defined(__aarch64__)
typedef uint64_t fp_environment;
static inline void fp_leave(fp_environment callers)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(callers) : "memory");
}
static inline fp_environment fp_enter(void)
{
    fp_environment callers;
    __asm__ volatile("mrs %0, fpcr" : "=r"(callers) : : "memory");
    fp_leave(0);
    return callers;
}
#else
typedef int fp_environment;
static inline fp_environment fp_enter(void)
{
    return 0;
}
static inline void fp_leave(fp_environment callers)
{
    (void)callers;
}
#endif

#endif
