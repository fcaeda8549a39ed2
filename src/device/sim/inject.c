/* inject: operations that fail on demand.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "device/sim/internal.h"

#include <string.h>

#define CUDA_LAUNCH_FAILURE 719

static const char *const names[EUM_SIM_OPERATIONS] = {
    [EUM_SIM_ALLOC] = "alloc",       [EUM_SIM_COPY] = "copy",
    [EUM_SIM_PREFETCH] = "prefetch", [EUM_SIM_PREFETCH_MANY] = "prefetch_many",
    [EUM_SIM_ADVISE] = "advise",     [EUM_SIM_DISCARD] = "discard",
    [EUM_SIM_SUBMIT] = "submit",     [EUM_SIM_MARK] = "mark",
    [EUM_SIM_ORDER] = "order",       [EUM_SIM_STREAM_CREATE] = "stream_create",
    [EUM_SIM_ADOPT] = "adopt",       [EUM_SIM_HOST_CALL] = "host_call",
    [EUM_SIM_LOST] = "lost",         [EUM_SIM_ANY] = "any",
};

static bool count_call(eum_sim *sim, eum_sim_operation operation)
{
    uint64_t call = atomic_fetch_add(&sim->calls[operation], 1) + 1;
    uint64_t fail_at = atomic_load(&sim->fail_at[operation]);
    return fail_at == EUM_SIM_FAIL_ALL || (fail_at != 0 && fail_at == call);
}

bool eum_sim_inject(eum_sim *sim, eum_sim_operation operation)
{
    bool own = count_call(sim, operation), any = count_call(sim, EUM_SIM_ANY);
    return own || any;
}

bool eum_sim_inject_loss(eum_sim *sim)
{
    return count_call(sim, EUM_SIM_LOST);
}

eum_status eum_sim_alive(const eum_sim *sim)
{
    if (!atomic_load(&sim->lost))
        return EUM_OK;
    return eum_fail_with_cuda(
        EUM_ERROR_DEVICE_LOST, CUDA_LAUNCH_FAILURE, "cudaErrorLaunchFailure",
        "the simulated GPU was told to be lost at a launch (fail=lost); destroy the context and make a new one");
}

static void arm(eum_sim *sim, eum_sim_operation operation, uint64_t nth)
{
    bool counts = nth != 0 && nth != EUM_SIM_FAIL_ALL;
    atomic_store(&sim->fail_at[operation], counts ? atomic_load(&sim->calls[operation]) + nth : nth);
}

bool eum_sim_inject_parse(eum_sim *sim, const char *text, const char *end)
{
    const char *colon = memchr(text, ':', (size_t)(end - text));
    if (colon == NULL || colon + 1 == end)
        return false;
    uint64_t nth = 0;
    if (end - colon - 1 == 3 && memcmp(colon + 1, "all", 3) == 0) {
        nth = EUM_SIM_FAIL_ALL;
    } else {
        for (const char *at = colon + 1; at < end; at++) {
            if (*at < '0' || *at > '9' || nth > UINT32_MAX)
                return false;
            nth = nth * 10 + (uint64_t)(*at - '0');
        }
        if (nth == 0)
            return false;
    }
    for (int i = 0; i < EUM_SIM_OPERATIONS; i++)
        if (strlen(names[i]) == (size_t)(colon - text) && memcmp(names[i], text, (size_t)(colon - text)) == 0) {
            arm(sim, (eum_sim_operation)i, nth);
            return true;
        }
    return false;
}

void eum_sim_fail(eum_device *device, eum_sim_operation operation, uint64_t nth)
{
    eum_sim *sim = eum_sim_from(device);
    if (sim != NULL && (unsigned)operation < EUM_SIM_OPERATIONS)
        arm(sim, operation, nth);
}

uint64_t eum_sim_calls(eum_device *device, eum_sim_operation operation)
{
    eum_sim *sim = eum_sim_from(device);
    return sim != NULL && (unsigned)operation < EUM_SIM_OPERATIONS ? atomic_load(&sim->calls[operation]) : 0;
}
