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

static const eum_cpu_rows none = {UINT64_MAX, UINT64_MAX, 0};

static const eum_cpu_rows *find_following(void)
{
#if defined(__x86_64__)
    static const eum_cpu_rows zen4 = {0, UINT64_MAX, 0}, zen5 = {640, 400, 8196};
    unsigned int a = 0, b = 0, c = 0, d = 0;
    bool amd = __get_cpuid(0, &a, &b, &c, &d) != 0 && b == signature_AMD_ebx && c == signature_AMD_ecx && d == signature_AMD_edx;
    unsigned int family = amd && __get_cpuid(1, &a, &b, &c, &d) != 0 ? (a >> 8 & 15u) + (a >> 20 & 255u) : 0;
    return family == 0x19 ? &zen4 : family == 0x1a ? &zen5 : &none; /* 0x19: Zen 3, too */
#else
    return &none;
#endif
}

static _Atomic(const eum_cpu_rows *) following; /* NULL: not known yet */

const eum_cpu_rows *eum_cpu_following(void)
{
    const eum_cpu_rows *answer = atomic_load_explicit(&following, memory_order_acquire);
    if (answer == NULL) {
        answer = find_following();
        atomic_store_explicit(&following, answer, memory_order_release);
    }
    return answer;
}

void eum_cpu_set_following(const eum_cpu_rows *rows)
{
    atomic_store_explicit(&following, rows, memory_order_release);
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
