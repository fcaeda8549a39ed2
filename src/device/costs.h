/* costs: what movement and reading over the link cost on a device. Pure.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_DEVICE_COSTS_H
#define EUM_DEVICE_COSTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Rates in MB/s, which are bytes a microsecond; 0: nothing moves here. */
typedef struct eum_costs {
    uint64_t link_mbps;   /* host link, to the device */
    uint64_t memory_mbps; /* device memory */
    uint64_t copy_ns;     /* an explicit copy, beside its bytes */
    uint64_t prefetch_ns; /* a prefetch, beside its units and its bytes */
    uint64_t unit_ns;     /* one transfer of a prefetch */
    uint64_t unit_bytes;
    uint64_t
        batch_range_ns; /* each range after the first of a call for many, beside its units and its bytes; alone it takes prefetch_ns */
    uint64_t batch_waits; /* 1: that call returns when the pages have moved; 0: before */
    uint64_t launch_ns;   /* a kernel without work: its start and the wait for it */
    uint64_t macs_mhz;    /* multiply-adds of the similarity kernels, millions a second; 0: no limit */
    /* Beside these, 0 where nothing else is known: */
    uint64_t to_host_mbps;                       /* host link, to the host; 0: as link_mbps */
    uint64_t in_place_mbps;                      /* host link, under a kernel that reads in place; 0: as link_mbps */
    uint64_t host_copy_mbps, host_copy_all_mbps; /* the CPU's copies, by one thread and by all workers; told, not decided by */
} eum_costs;

/* The defaults for a compute capability; sources are in costs.c. */
eum_costs eum_costs_default(int32_t compute_major);

/* Times in ns. in_place: what a kernel that reads each byte once over the link takes longer than on device memory; store: one that only
 * writes them. */
uint64_t eum_cost_in_place(const eum_costs *costs, uint64_t bytes);
uint64_t eum_cost_store(const eum_costs *costs, uint64_t bytes);
/* Of in_place, what it waits beside the bytes' own time. */
uint64_t eum_cost_reach(uint64_t bytes);
uint64_t eum_cost_prefetch(const eum_costs *costs, uint64_t bytes);
uint64_t eum_cost_copy(const eum_costs *costs, uint64_t bytes);
/* The costs of the way back: to the host. */
eum_costs eum_costs_back(const eum_costs *costs);
/* A kernel that reads so many bytes of device memory and makes so many multiply-adds. */
uint64_t eum_cost_kernel(const eum_costs *costs, uint64_t bytes, uint64_t macs);
/* amount / rate in ns, where the rate is in millions a second; 0 where that is 0. Without overflow below 2^63. */
uint64_t eum_cost_at(uint64_t amount, uint64_t rate);
/* Multiply-adds a second that kernels without tensor cores reach, by compute capability. */
uint64_t eum_macs_default(int32_t compute_major);
/* Whether kernels for many queries have tensor cores that they use: a device with the multiply-adds of compute capability 8 or more. */
bool eum_costs_tensor(const eum_costs *costs);

#endif
