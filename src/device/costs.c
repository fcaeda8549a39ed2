/* costs: see costs.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Sources of the defaults. Links: payload of PCIe 3.0 x16 (12 GB/s) until compute capability 7.x, 4.0 (25 GB/s) for 8.x, 5.0 (50 GB/s) from 9.0
 * on. Memory: the slowest card of a generation that is likely (224, 320, 1555, 3130 GB/s); it hardly matters beside the link. Fixed costs:
 * one H100 (driver 580): a 4 KiB pinned copy 8 us, a 4 KiB prefetch 16 to 20 us, 3 MB by prefetch 1.75 times as long as by copy, 256 MB 1.1
 * times; before Ampere a prefetch transfers pages of 64 KiB, since then blocks of 2 MiB. */
#include "device/costs.h"

eum_costs eum_costs_default(int32_t compute_major)
{
    eum_costs costs = {.copy_ns = 8000, .prefetch_ns = 16000};
    costs.link_mbps = compute_major >= 9 ? 50000 : compute_major == 8 ? 25000 : 12000;
    costs.memory_mbps = compute_major >= 9 ? 3130000 : compute_major == 8 ? 1555000 : compute_major >= 6 ? 320000 : 224000;
    costs.unit_ns = compute_major >= 8 ? 4600 : 2000;
    costs.unit_bytes = compute_major >= 8 ? (uint64_t)2 << 20 : (uint64_t)64 << 10;
    return costs;
}

/* Without overflow: bytes are at most 2^63. */
static uint64_t transfer_ns(uint64_t bytes, uint64_t mbps)
{
    return mbps == 0 ? 0 : bytes / mbps * 1000 + bytes % mbps * 1000 / mbps;
}

uint64_t eum_cost_in_place(const eum_costs *costs, uint64_t bytes)
{
    uint64_t far = transfer_ns(bytes, costs->link_mbps), near = transfer_ns(bytes, costs->memory_mbps);
    return far > near ? far - near : 0;
}

uint64_t eum_cost_prefetch(const eum_costs *costs, uint64_t bytes)
{
    if (bytes == 0)
        return 0;
    uint64_t units = costs->unit_bytes == 0 ? 0 : (bytes - 1) / costs->unit_bytes + 1;
    return costs->prefetch_ns + units * costs->unit_ns + transfer_ns(bytes, costs->link_mbps);
}

uint64_t eum_cost_copy(const eum_costs *costs, uint64_t bytes)
{
    return bytes == 0 ? 0 : costs->copy_ns + transfer_ns(bytes, costs->link_mbps);
}
