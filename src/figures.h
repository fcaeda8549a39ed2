/* figures: the costs of a machine as a table: their names and bounds, from times that probes took, as text and back. Pure.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The text, for EUM_COSTS: lines "WORD VALUE", in any order but the first, every one once; empty lines and those that begin with # do not count.
 *     engram_um costs 1
 *     device NVIDIA H100 PCIe
 *     compute 9.0
 *     to_device_mbps 50000
 *     ... */
#ifndef EUM_SRC_FIGURES_H
#define EUM_SRC_FIGURES_H

#include <stdbool.h>

#include "device/costs.h"
#include "status.h"

/* The device that costs belong to. */
typedef struct eum_costs_device {
    char name[128]; /* without control characters */
    int32_t major, minor;
} eum_costs_device;
eum_costs_device eum_costs_device_of(const char *name, int32_t major, int32_t minor);
bool eum_costs_device_same(const eum_costs_device *a, const eum_costs_device *b);

/* The defaults with what stands for something else written out, so that of a device with a link no figure of the device is 0. */
eum_costs eum_figures_settled(const eum_costs *costs);

/* What probes took, in ns, and how many bytes they moved. */
typedef struct eum_probes {
    uint64_t small_bytes, large_bytes; /* copies */
    uint64_t to_small, to_large, back_small, back_large;
    uint64_t launch;           /* a kernel without work */
    uint64_t far_bytes, far;   /* a kernel that reads host memory; far 0: none does */
    uint64_t near_bytes, near; /* a kernel that reads device memory */
    uint64_t units;            /* of the longer prefetch; 0: there are none */
    uint64_t prefetch_one, prefetch_units;
    uint64_t ranges;                         /* prefetched by a call each and by one call; 0: there is no such call */
    uint64_t ranges_apart, ranges_together;  /* until all is done */
    uint64_t together_call;                  /* until the one call returned */
    uint64_t host_bytes, host_one, host_all; /* copies of the CPU */
} eum_probes;
/* The device's figures stay as in `now` where large_bytes is 0 (nothing moves there). Everything else is inside its bounds. */
eum_costs eum_figures_from(const eum_costs *now, const eum_probes *probes);

/* Parses `bytes` of text. path: for sentences. Errors: EUM_ERROR_INVALID_ARGUMENT, with the line. */
eum_status eum_figures_parse(const char *text, size_t bytes, const char *path, eum_costs_device *out_device, eum_costs *out);
#define EUM_FIGURES_TEXT 2048 /* room that suffices for any */
/* Returns the length. */
size_t eum_figures_text(const eum_costs_device *device, const eum_costs *costs, char text[EUM_FIGURES_TEXT]);

#endif
