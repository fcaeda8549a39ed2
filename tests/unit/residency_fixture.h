/* residency_fixture: what the suites of residency share: devices with backings, and what moved on them.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TESTS_RESIDENCY_FIXTURE_H
#define EUM_TESTS_RESIDENCY_FIXTURE_H

#include "engine.h"

#define UNUSED __attribute__((unused)) /* not every suite uses all of this */

#define PAGE (64 * KIB)
#define SEED_BYTES ((size_t)1000 * 768 * sizeof(float))

UNUSED static const char *const sims[] = {"sim:maxwell", "sim:pascal", "sim:turing", "sim:ampere", "sim:hopper"};
enum { MAXWELL, PASCAL, TURING, AMPERE, HOPPER, SIMS };

/* Every device with each backing that it has and that the CPU and kernels can use at once. */
UNUSED static const struct {
    const char *device;
    eum_backing backing;
} setups[] = {
    {"sim:maxwell", EUM_BACKING_MIRRORED}, {"sim:pascal", EUM_BACKING_MANAGED},  {"sim:pascal", EUM_BACKING_MIRRORED},
    {"sim:turing", EUM_BACKING_MANAGED},   {"sim:turing", EUM_BACKING_MIRRORED}, {"sim:ampere", EUM_BACKING_MANAGED},
    {"sim:ampere", EUM_BACKING_MIRRORED},  {"sim:hopper", EUM_BACKING_MANAGED},  {"sim:hopper", EUM_BACKING_MIRRORED},
};
#define SETUPS ((int)(sizeof setups / sizeof setups[0]))

UNUSED static eum_context *open_setup(int i)
{
    return open_on(setups[i].device, setups[i].backing);
}

UNUSED static bool is_managed(int i)
{
    return setups[i].backing == EUM_BACKING_MANAGED;
}

/* What moved over the link, by whatever means. */
typedef struct traffic {
    uint64_t to_device, to_host;
} traffic;

UNUSED static traffic traffic_of(eum_context *context)
{
    eum_sim_counters c;
    ck_assert(eum_sim_counters_get(device_of(context), &c));
    traffic t = {c.bytes_copied[EUM_HOST_TO_DEVICE], c.bytes_copied[EUM_DEVICE_TO_HOST]};
    for (int cause = 0; cause < EUM_SIM_CAUSES; cause++) {
        t.to_device += c.bytes_to_device[cause];
        t.to_host += c.bytes_to_host[cause];
    }
    return t;
}

UNUSED static eum_sim_counters block_of(eum_context *context, eum_buffer *buffer)
{
    void *address = map(part(buffer, 0, 0), EUM_ACCESS_READ);
    eum_sim_counters c;
    ck_assert(eum_sim_block_counters(device_of(context), address, &c));
    unmap(buffer, address);
    return c;
}

UNUSED static eum_sim_page_info page_of(eum_context *context, eum_buffer *buffer, size_t offset)
{
    char *address = map(part(buffer, 0, 0), EUM_ACCESS_READ);
    eum_sim_page_info info;
    ck_assert(eum_sim_page_info_get(device_of(context), address + offset, &info));
    unmap(buffer, address);
    return info;
}

#endif
