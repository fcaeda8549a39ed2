/* costs: see costs.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Sources of the defaults. Links: payload of PCIe 3.0 x16 (12 GB/s) until compute capability 7.x, 4.0 (25 GB/s) for 8.x, 5.0 (50 GB/s) from 9.0
 * on. Memory: the slowest card of a generation that is likely (224, 320, 1555, 3130 GB/s); it hardly matters beside the link. Fixed costs:
 * one H100 (driver 580): a 4 KiB pinned copy 8 us, a 4 KiB prefetch 16 to 20 us, 3 MB by prefetch 1.75 times as long as by copy, 256 MB 1.1
 * times; before Ampere a prefetch transfers pages of 64 KiB, since then blocks of 2 MiB; an empty kernel's launch and wait 10 us. Multiply-adds: a
 * quarter of what the data sheets give for float32 without tensor cores (GTX 980 2.3, P100 4.7, A100 9.8, H100 25 T/s), for kernels that also
 * load what they multiply; not measured. One call for 16 ranges of 64 KiB: 54 us sooner done than 16 calls, 3.6 us for each range after the first,
 * and it returns when the pages have moved (docs/performance.md).
 *
 * Reading over the link: what the bytes take, and a way there and back, which small ranges do not hide. One H100, eum_cosine again and again on targets
 * in pinned memory beside targets on the device: 0.8 us more for 4 KiB (16 rows of 64), 3.4 us for 63 KiB (21 rows of 768), of which the link explains 0.1 and
 * 1.3; 64 us for 3 MB, where it explains 61. So 0.7 us, and 1.5 us more once the kernel has several loads one after the other. Stores wait for nobody. */
#include "device/costs.h"

#define REACH_NS 700
#define REACH_MORE_NS 1500
#define REACH_BYTES ((uint64_t)64 << 10)

eum_costs eum_costs_default(int32_t compute_major)
{
    eum_costs costs = {.copy_ns = 8000, .prefetch_ns = 16000, .launch_ns = 10000, .macs_mhz = eum_macs_default(compute_major)};
    costs.batch_range_ns = costs.prefetch_ns - 3600;
    costs.batch_waits = 1;
    costs.link_mbps = compute_major >= 9 ? 50000 : compute_major == 8 ? 25000 : 12000;
    costs.memory_mbps = compute_major >= 9 ? 3130000 : compute_major == 8 ? 1555000 : compute_major >= 6 ? 320000 : 224000;
    costs.unit_ns = compute_major >= 8 ? 4600 : 2000;
    costs.unit_bytes = compute_major >= 8 ? (uint64_t)2 << 20 : (uint64_t)64 << 10;
    return costs;
}

uint64_t eum_macs_default(int32_t compute_major)
{
    return compute_major >= 9 ? 6200000 : compute_major == 8 ? 2400000 : compute_major >= 6 ? 1000000 : 580000;
}

bool eum_costs_tensor(const eum_costs *costs)
{
    return costs->macs_mhz >= eum_macs_default(8);
}

uint64_t eum_cost_at(uint64_t amount, uint64_t rate)
{
    return rate == 0 ? 0 : amount / rate * 1000 + amount % rate * 1000 / rate;
}

uint64_t eum_cost_reach(uint64_t bytes)
{
    uint64_t few = bytes < REACH_BYTES ? bytes : REACH_BYTES;
    return bytes == 0 ? 0 : REACH_NS + few * REACH_MORE_NS / REACH_BYTES;
}

uint64_t eum_cost_in_place(const eum_costs *costs, uint64_t bytes)
{
    return costs->link_mbps == 0 ? 0 : eum_cost_reach(bytes) + eum_cost_store(costs, bytes);
}

uint64_t eum_cost_store(const eum_costs *costs, uint64_t bytes)
{
    uint64_t link = costs->in_place_mbps != 0 ? costs->in_place_mbps : costs->link_mbps;
    uint64_t far = eum_cost_at(bytes, link), near = eum_cost_at(bytes, costs->memory_mbps);
    return far > near ? far - near : 0;
}

uint64_t eum_cost_prefetch(const eum_costs *costs, uint64_t bytes)
{
    if (bytes == 0)
        return 0;
    uint64_t units = costs->unit_bytes == 0 ? 0 : (bytes - 1) / costs->unit_bytes + 1;
    return costs->prefetch_ns + units * costs->unit_ns + eum_cost_at(bytes, costs->link_mbps);
}

uint64_t eum_cost_copy(const eum_costs *costs, uint64_t bytes)
{
    return bytes == 0 ? 0 : costs->copy_ns + eum_cost_at(bytes, costs->link_mbps);
}

eum_costs eum_costs_back(const eum_costs *costs)
{
    eum_costs back = *costs;
    if (back.to_host_mbps != 0)
        back.link_mbps = back.to_host_mbps;
    return back;
}

uint64_t eum_cost_kernel(const eum_costs *costs, uint64_t bytes, uint64_t macs)
{
    uint64_t reading = eum_cost_at(bytes, costs->memory_mbps), computing = eum_cost_at(macs, costs->macs_mhz);
    return costs->launch_ns + (reading > computing ? reading : computing);
}
