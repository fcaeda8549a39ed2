/* count: windows of the simulated device's counters, and what a real machine may answer when asked to count.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "device/sim/internal.h"

#include <string.h>

_Static_assert(EUM_SIM_CAUSES == EUM_CAUSES && EUM_SIM_CAUSE_FAULT == EUM_CAUSE_FAULT &&
                   EUM_SIM_CAUSE_PREFETCH == EUM_CAUSE_PREFETCH && EUM_SIM_CAUSE_EVICTION == EUM_CAUSE_EVICTION &&
                   EUM_SIM_CAUSE_LAUNCH == EUM_CAUSE_OTHER,
               "the causes of the simulator are those of the ABI");

bool eum_sim_counting_parse(eum_sim *sim, const char *value, size_t length)
{
    static const struct {
        const char *name;
        eum_status status;
    } answers[] = {{"exact", EUM_OK},
                   {"absent", EUM_ERROR_COUNTING_UNAVAILABLE},
                   {"refused", EUM_ERROR_COUNTING_REFUSED},
                   {"dropped", EUM_ERROR_COUNTING_DROPPED}};
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        if (strlen(answers[i].name) != length || memcmp(answers[i].name, value, length) != 0)
            continue;
        sim->counting = answers[i].status;
        return true;
    }
    return false;
}

static void snapshot(eum_sim *sim, int which)
{
    eum_sim_lock_pages();
    sim->window[which] = sim->counters;
    for (eum_sim_block *block = sim->blocks; block != NULL; block = block->next)
        block->window[which] = block->counters;
    eum_sim_unlock_pages();
}

eum_status eum_sim_count_begin(eum_device *device)
{
    eum_sim *sim = eum_sim_from(device);
    if (sim->counting == EUM_ERROR_COUNTING_UNAVAILABLE)
        return eum_fail(EUM_ERROR_COUNTING_UNAVAILABLE, "the simulated device was told to behave as if faults could not be counted "
                                                        "(count=absent); leave the option out");
    if (sim->counting == EUM_ERROR_COUNTING_REFUSED)
        return eum_fail(
            EUM_ERROR_COUNTING_REFUSED,
            "the simulated device was told to behave as if counting were not allowed (count=refused); leave the option out");
    snapshot(sim, 0);
    return EUM_OK;
}

eum_status eum_sim_count_end(eum_device *device)
{
    eum_sim *sim = eum_sim_from(device);
    snapshot(sim, 1);
    if (sim->counting == EUM_ERROR_COUNTING_DROPPED)
        return eum_fail(EUM_ERROR_COUNTING_DROPPED,
                        "the simulated device was told to behave as if records were lost (count=dropped); leave the option out");
    return EUM_OK;
}

void eum_sim_count_read(eum_device *device, const eum_block *block, eum_faults *out)
{
    eum_sim *sim = eum_sim_from(device);
    eum_sim_counters before, after;
    memset(&before, 0, sizeof before);
    after = before;
    eum_sim_lock_pages();
    if (block == NULL) {
        before = sim->window[0];
        after = sim->window[1];
    } else {
        int side = 0;
        size_t offset = 0;
        const eum_sim_block *found = eum_sim_find(sim, block->device != NULL ? block->device : block->host, &side, &offset);
        if (found != NULL && found->window[1].cpu_faults >= found->window[0].cpu_faults) {
            before = found->window[0];
            after = found->window[1];
        }
    }
    eum_sim_unlock_pages();
    out->source = EUM_FAULT_SOURCE_SIM;
    out->cpu_faults = after.cpu_faults - before.cpu_faults;
    out->gpu_faults = after.gpu_faults - before.gpu_faults;
    for (int i = 0; i < EUM_CAUSES; i++) {
        out->bytes_to_device[i] = after.bytes_to_device[i] - before.bytes_to_device[i];
        out->bytes_to_host[i] = after.bytes_to_host[i] - before.bytes_to_host[i];
    }
}

void eum_sim_note_host_access(eum_device *device, const eum_block *block, size_t offset, size_t bytes, bool write)
{
    if (block->host != NULL)
        eum_sim_host_access(device, (const char *)block->host + offset, bytes, write);
}
