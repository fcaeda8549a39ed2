/* clock: virtual time, in which nothing depends on the machine that runs the simulation.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Each stream has a timeline, and the host has one. An operation starts when its stream and the host's submission allow, and takes its
 * cost from the preset; a wait brings the host's timeline to the point that it waited for. Operations of different streams do not slow
 * each other down: the link is not shared out. */
#include "device/sim/internal.h"

uint64_t eum_sim_cost_bytes(uint64_t bytes, uint64_t mbps)
{
    return bytes * 1000 / mbps; /* MB/s are bytes a microsecond */
}

uint64_t eum_sim_cost_copy(const eum_sim *sim, size_t bytes, eum_direction direction)
{
    uint64_t mbps = direction == EUM_DEVICE_TO_DEVICE ? sim->preset->memory_mbps : sim->preset->link_mbps;
    return sim->preset->copy + eum_sim_cost_bytes(bytes, mbps);
}

uint64_t eum_sim_time(eum_device *device)
{
    eum_sim *sim = eum_sim_from(device);
    if (sim == NULL)
        return 0;
    eum_sim_lock_pages();
    uint64_t time = sim->time;
    eum_sim_unlock_pages();
    return time;
}

void eum_sim_time_advance(eum_device *device, uint64_t ns)
{
    eum_sim *sim = eum_sim_from(device);
    if (sim == NULL)
        return;
    eum_sim_lock_pages();
    sim->time += ns;
    eum_sim_unlock_pages();
}
