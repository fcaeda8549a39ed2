/* isa: which CPU implementation runs.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cosine_cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

static const struct {
    eum_cpu_isa isa;
    const char *name;
} isas[] = {
    {EUM_CPU_AVX512, "avx512"}, {EUM_CPU_NEON, "neon"}, {EUM_CPU_AVX2, "avx2"}, {EUM_CPU_SCALAR, "scalar"}}; /* best first */

#if defined(__x86_64__)
/* Conversions of float16 came with the same processors, but are a feature of their own. Not all compilers' builtins know it. */
static int has_f16c(void)
{
    unsigned int a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) != 0;
}
#endif

static int find_usable(eum_cpu_isa isa)
{
    switch (isa) {
    case EUM_CPU_SCALAR:
        return 1;
#if defined(__x86_64__)
    /* The builtins also ask the operating system whether it saves the wide registers. */
    case EUM_CPU_AVX2:
        __builtin_cpu_init();
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
    case EUM_CPU_AVX512:
        __builtin_cpu_init();
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
#elif defined(__aarch64__)
    case EUM_CPU_NEON:
        return 1; /* part of the base architecture */
#endif
    default:
        return 0;
    }
}

/* Remembered: each call of a kernel asks, and a virtual machine takes 15 us for one cpuid instruction. */
int eum_cpu_isa_usable(eum_cpu_isa isa)
{
    static atomic_int known[4]; /* 0: not yet, 1: no, 2: yes */
    if ((int)isa < 0 || (size_t)isa >= sizeof known / sizeof known[0])
        return 0;
    int answer = atomic_load_explicit(&known[isa], memory_order_relaxed);
    if (answer == 0) {
        answer = find_usable(isa) ? 2 : 1;
        atomic_store_explicit(&known[isa], answer, memory_order_relaxed);
    }
    return answer == 2;
}

#if defined(__x86_64__)
static bool find_follows(void)
{
    unsigned int a = 0, b = 0, c = 0, d = 0;
    bool amd = __get_cpuid(0, &a, &b, &c, &d) != 0 && b == signature_AMD_ebx && c == signature_AMD_ecx && d == signature_AMD_edx;
    return amd && __get_cpuid(1, &a, &b, &c, &d) != 0 && (a >> 8 & 15u) + (a >> 20 & 255u) == 0x19; /* the family of Zen 3 and 4 */
}
#else
static bool find_follows(void)
{
    return false;
}
#endif

static atomic_int follows; /* 0: not known yet, 1: no, 2: yes */

bool eum_cpu_follows(void)
{
    int answer = atomic_load_explicit(&follows, memory_order_relaxed);
    if (answer == 0) {
        answer = find_follows() ? 2 : 1;
        atomic_store_explicit(&follows, answer, memory_order_relaxed);
    }
    return answer == 2;
}

void eum_cpu_set_follows(bool value)
{
    atomic_store_explicit(&follows, value ? 2 : 1, memory_order_relaxed);
}

const char *eum_cpu_isa_name(eum_cpu_isa isa)
{
    for (size_t i = 0; i < sizeof isas / sizeof isas[0]; i++)
        if (isas[i].isa == isa)
            return isas[i].name;
    return "unknown";
}

eum_cpu_isa eum_cpu_isa_choose(const char *wanted)
{
    eum_cpu_isa best = EUM_CPU_SCALAR;
    for (size_t i = sizeof isas / sizeof isas[0]; i-- > 0;) {
        if (!eum_cpu_isa_usable(isas[i].isa))
            continue;
        if (wanted != NULL && strcmp(wanted, isas[i].name) == 0)
            return isas[i].isa;
        best = isas[i].isa;
    }
    return best;
}

eum_cpu_isa eum_cpu_isa_best(void)
{
    static atomic_int chosen; /* 0: not yet, else the isa + 1; threads that race here find the same */
    int value = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (value == 0) {
        value = (int)eum_cpu_isa_choose(getenv("EUM_CPU_ISA")) + 1;
        atomic_store_explicit(&chosen, value, memory_order_relaxed);
    }
    return (eum_cpu_isa)(value - 1);
}
