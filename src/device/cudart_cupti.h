/* cudart_cupti: CUPTI, loaded at run time: its binary interface, as far as counting takes it.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The few declarations of CUPTI that this takes are repeated here: their layout and numbers are CUPTI's binary interface, the same in 12.x
 * and 13.x, so that a library built without its headers counts too. Where the headers are, the compiler compares. */
#ifndef EUM_DEVICE_CUDART_CUPTI_H
#define EUM_DEVICE_CUDART_CUPTI_H

#include "device/cudart.h"

#define KIND_UNIFIED_MEMORY 25u
#define FLUSH_FORCED 1u
enum { COUNTER_HTOD = 1, COUNTER_DTOH = 2, COUNTER_CPU_FAULT = 3, COUNTER_GPU_FAULT = 4 };
enum { CAUSE_USER = 1, CAUSE_COHERENCE = 2, CAUSE_SPECULATIVE = 3, CAUSE_EVICTION = 4 };

/* What CUpti_ActivityUnifiedMemoryCounter2 (to 12.7) and 3 (since 12.8) have in common. */
typedef struct unified_memory_record {
    uint32_t kind, counter;
    uint64_t value; /* bytes of a transfer; fault groups of a GPU fault; the program counter of a CPU fault */
    uint64_t start, end;
    uint64_t address;
    uint32_t source, destination, stream, process, flags, pad;
} unified_memory_record;

typedef struct counter_config {
    uint32_t scope, kind, device, enable;
} counter_config;

typedef struct cupti_calls {
    int (*subscribe)(void **out_subscriber, void (*callback)(void *, int, uint32_t, const void *), void *user);
    int (*unsubscribe)(void *subscriber);
    int (*register_callbacks)(void (*request)(uint8_t **, size_t *, size_t *),
                              void (*complete)(void *, uint32_t, uint8_t *, size_t, size_t));
    int (*configure)(counter_config *configs, uint32_t count);
    int (*enable)(uint32_t kind);
    int (*disable)(uint32_t kind);
    int (*flush_all)(uint32_t flag);
    int (*next_record)(uint8_t *buffer, size_t valid, void **record);
    int (*dropped)(void *context, uint32_t stream, size_t *out);
    int (*result_string)(int result, const char **out);
} cupti_calls;

extern cupti_calls cuda_cupti; /* filled, and never changed again, once cuda_cupti_load has succeeded */

/* Finds and loads it, once for the process; callers serialise. Errors: EUM_ERROR_COUNTING_UNAVAILABLE. */
eum_status cuda_cupti_load(const cuda_device *device);
/* From the moment on that CUPTI has our callbacks, our code must stay where it is. */
void cuda_stay_loaded(void);
/* A call of CUPTI's that failed: makes the detail. Returns EUM_ERROR_COUNTING_REFUSED or EUM_ERROR_COUNTING_UNAVAILABLE. */
eum_status cuda_cupti_failed(const cuda_device *device, int result, const char *what);

#endif
