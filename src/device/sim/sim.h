/* sim: what a simulated GPU lets itself be asked and told, for tests and for the counting of faults.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * eum_sim_open (device/device.h) opens one. Every function here takes any eum_device; for one that is not simulated it does nothing and
 * returns false or 0. All may be called from any thread. Addresses may be of the host side or of the device side. */
#ifndef EUM_SIM_H
#define EUM_SIM_H

#include "device/device.h"

/* ---------------------------------------------------------------------------------------------------- counting ------ */

/* Why managed pages moved. */
typedef enum eum_sim_cause {
    EUM_SIM_CAUSE_FAULT = 0,    /* a touch from the other side */
    EUM_SIM_CAUSE_PREFETCH = 1, /* a prefetch operation */
    EUM_SIM_CAUSE_EVICTION = 2, /* device memory was full */
    EUM_SIM_CAUSE_LAUNCH = 3,   /* a launch on a device without concurrent managed access takes all managed memory along */
    EUM_SIM_CAUSES = 4
} eum_sim_cause;

/* Exact, and they only rise. A window is the difference of two snapshots. A migration is one transfer: of a 64 KiB page, or of a whole
 * 2 MiB block where the architecture moves it as one. */
typedef struct eum_sim_counters {
    uint64_t cpu_faults;            /* touches of the host view that had to be serviced, first touches included */
    uint64_t gpu_faults;            /* the same for the device view */
    uint64_t gpu_faults_in_kernels; /* those of them that happened while a kernel ran */
    uint64_t migrations_to_device[EUM_SIM_CAUSES], migrations_to_host[EUM_SIM_CAUSES];
    uint64_t bytes_to_device[EUM_SIM_CAUSES], bytes_to_host[EUM_SIM_CAUSES]; /* moved by those; whole pages */
    uint64_t pages_populated;  /* pages that came into being, zero-filled, without a transfer */
    uint64_t pages_duplicated; /* read-mostly pages that got a second copy (their transfers are counted above) */
    uint64_t pages_collapsed;  /* read-mostly pages that lost their other copies to a write */
    uint64_t bytes_discarded;  /* whole pages */
    uint64_t copies[4];        /* copy operations by eum_direction that ran */
    uint64_t bytes_copied[4];  /* and their bytes */
    uint64_t kernels;          /* kernels that ran; 0 for a block */
    uint64_t unguarded_blocks; /* blocks whose faults cannot be seen: the machine's limit on mappings was met. Should be 0 */
} eum_sim_counters;

/* Of the whole device; false if it is not simulated. */
bool eum_sim_counters_get(eum_device *device, eum_sim_counters *out);
/* Of the block that holds `address`, from its allocation on; false if there is none. */
bool eum_sim_block_counters(eum_device *device, const void *address, eum_sim_counters *out);
/* Sums over causes. */
uint64_t eum_sim_migrations(const eum_sim_counters *counters);
uint64_t eum_sim_bytes_moved(const eum_sim_counters *counters);

/* ------------------------------------------------------------------------------------------------- attributes ------- */

/* The page that holds an address of a managed block: what cudaMemRangeGetAttribute would say, and more. */
typedef struct eum_sim_page_info {
    bool populated, discarded, read_mostly;
    bool on_host, on_device;          /* valid copies; both for duplicated pages */
    bool host_reads, host_writes;     /* the host may, without a fault */
    bool device_reads, device_writes; /* kernels may, without a fault */
    bool prefers_host, prefers_device;
    bool accessed_by_host, accessed_by_device;
} eum_sim_page_info;
bool eum_sim_page_info_get(eum_device *device, const void *address, eum_sim_page_info *out);

/* Blocks of alloc that are neither released nor given up, of a kind; 0 for kind: of all. */
size_t eum_sim_blocks_live(eum_device *device, eum_memory kind);

/* -------------------------------------------------------------------------------------- the happens-before checker -- */

/* How many violations there were, and (text may be NULL) a sentence on the first. Violations are: two operations that conflict and that
 * nothing orders, whatever the timing; memory released while something submitted may still use it; on a device without concurrent
 * managed access, a touch of managed memory by the host between a launch and the synchronisation after it. */
uint64_t eum_sim_violations(eum_device *device, char *text, size_t capacity);
void eum_sim_violations_clear(eum_device *device);
/* Tells the checker that the host reads or writes these bytes now: what it does between map and unmap. */
void eum_sim_host_access(eum_device *device, const void *address, size_t bytes, bool write);
void eum_sim_check(eum_device *device, bool on);

/* --------------------------------------------------------------------------------------------------- scheduling ----- */

/* One step: one operation of one stream, drawn from the seeded generator, runs to its end on the calling thread. Only with schedule=step.
 * Returns: false if there was nothing that could run. */
bool eum_sim_step(eum_device *device);
/* Chooses between single steps and free threads; ignored (false) while anything is submitted that has not run. */
bool eum_sim_schedule(eum_device *device, bool step, uint64_t seed);

/* ------------------------------------------------------------------------------------------------- virtual time ----- */

/* Nanoseconds on the host's timeline: what it would have spent in faults and in waiting. Deterministic with schedule=step. */
uint64_t eum_sim_time(eum_device *device);
/* The host works for so long. */
void eum_sim_time_advance(eum_device *device, uint64_t ns);

/* ------------------------------------------------------------------------------------------------- failures --------- */

typedef enum eum_sim_operation {
    EUM_SIM_ALLOC,
    EUM_SIM_COPY,
    EUM_SIM_PREFETCH,
    EUM_SIM_PREFETCH_MANY,
    EUM_SIM_ADVISE,
    EUM_SIM_DISCARD,
    EUM_SIM_SUBMIT,
    EUM_SIM_MARK,
    EUM_SIM_ORDER,
    EUM_SIM_STREAM_CREATE,
    EUM_SIM_ADOPT,
    EUM_SIM_HOST_CALL,
    EUM_SIM_LOST, /* counts launches: the nth takes the device with it when it runs, as a kernel with a wild pointer does */
    EUM_SIM_ANY,  /* counts calls of all that can fail by themselves: not launches that take the device */
    EUM_SIM_OPERATIONS
} eum_sim_operation;
#define EUM_SIM_FAIL_ALL UINT64_MAX
/* The nth call of `operation` from now fails (1: the next), once; EUM_SIM_FAIL_ALL: every call does; 0: none. */
void eum_sim_fail(eum_device *device, eum_sim_operation operation, uint64_t nth);
/* Calls of `operation` so far, those that were made to fail included: to fail each call of a program in turn, run it once and count. */
uint64_t eum_sim_calls(eum_device *device, eum_sim_operation operation);

#endif
