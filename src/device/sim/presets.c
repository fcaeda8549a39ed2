/* presets: the architectures, as figures.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Sources.
 *   managed, concurrent   CUDA C++ programming guide, "Unified Memory": concurrentManagedAccess needs compute capability 6.0.
 *   whole_chunks          2 MiB transfers of whole VA blocks from Ampere on; 64 KiB pages before.
 *   discard,
 *   prefetch_many         the calls are CUDA 13's, whose oldest architecture is 7.5. Many ranges by one call are as CUDA describes them, in stream order,
 *                         with the fixed cost of one prefetch; driver 580 is not there yet (docs/performance.md).
 *   memory, memory_mbps   data sheets: GTX 980 (4 GB, 224 GB/s), P100 (16 GB, 732 GB/s), T4 (16 GB, 320 GB/s), A100 (40 GB, 1555 GB/s);
 *                         H100: 80 GB and 3.13 TB/s, measured.
 *   link_mbps             PCIe 3.0 x16 (12 GB/s of payload) until Turing, 4.0 (25 GB/s), 5.0 (50 GB/s).
 *   launch, copy          measured on the H100: an empty kernel with its synchronisation 10 us; a 4 KB pinned copy 8 us.
 *   prefetch, *_move      fitted to the H100: 4 KB 16-20 us, 3 MB 1.75 times a pinned copy, 256 MB 1.1 times.
 *   gpu_fault             H100: a kernel that faults 3 MB in takes 449 us instead of 13, in 11 fault groups of growing size.
 *   cpu_first_touch       H100: 0.8-1.0 ms for 3 MB, 47 pages.
 *   cpu_fault             H100: rewriting 3 MB of device-resident pages costs 1.0 ms more than host-resident ones, in 11 groups.
 *   collapse              H100: rewriting 3 MB of duplicated pages costs 10.5 ms, 200 MB 594 ms.
 * The fixed costs of the other architectures are the H100's: nothing better was measured, and the tests use ratios only. */
#include "device/sim/internal.h"

#include <string.h>

#define FIXED_COSTS                                                                                                                \
    .launch = 10000, .copy = 8000, .prefetch = 16000, .page_move = 2000, .chunk_move = 4600, .gpu_fault = 34000,                   \
    .cpu_first_touch = 20000, .cpu_fault = 85000, .collapse = 210000

static const eum_sim_preset presets[] = {
    {.arch = "maxwell",
     .compute_major = 5,
     .compute_minor = 2,
     .toolkit = 12090,
     .memory = (uint64_t)4 << 30,
     .link_mbps = 12000,
     .memory_mbps = 224000,
     FIXED_COSTS},
    {.arch = "pascal",
     .compute_major = 6,
     .compute_minor = 0,
     .toolkit = 12090,
     .concurrent = true,
     .memory = (uint64_t)16 << 30,
     .link_mbps = 12000,
     .memory_mbps = 732000,
     FIXED_COSTS},
    {.arch = "turing",
     .compute_major = 7,
     .compute_minor = 5,
     .toolkit = 13000,
     .concurrent = true,
     .discard = true,
     .prefetch_many = true,
     .memory = (uint64_t)16 << 30,
     .link_mbps = 12000,
     .memory_mbps = 320000,
     FIXED_COSTS},
    {.arch = "ampere",
     .compute_major = 8,
     .compute_minor = 0,
     .toolkit = 13000,
     .concurrent = true,
     .discard = true,
     .prefetch_many = true,
     .whole_chunks = true,
     .memory = (uint64_t)40 << 30,
     .link_mbps = 25000,
     .memory_mbps = 1555000,
     FIXED_COSTS},
    {.arch = "hopper",
     .compute_major = 9,
     .compute_minor = 0,
     .toolkit = 13000,
     .concurrent = true,
     .discard = true,
     .prefetch_many = true,
     .whole_chunks = true,
     .memory = (uint64_t)80 << 30,
     .link_mbps = 50000,
     .memory_mbps = 3130000,
     FIXED_COSTS},
};

const char eum_sim_preset_names[] = "maxwell, pascal, turing, ampere, hopper";

const eum_sim_preset *eum_sim_preset_find(const char *arch)
{
    for (size_t i = 0; arch != NULL && i < sizeof presets / sizeof presets[0]; i++)
        if (strcmp(arch, presets[i].arch) == 0)
            return &presets[i];
    return NULL;
}
