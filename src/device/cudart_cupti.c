/* cudart_cupti: see cudart_cupti.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "device/device.h"

#if EUM_HAVE_CUDA

#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/cudart_cupti.h"

#if defined(__has_include)
#if __has_include(<cupti.h>)
#define HAVE_CUPTI_HEADERS 1
#include <cupti.h>
#endif
#endif

cupti_calls cuda_cupti;
static bool cupti_loaded;

/* ------------------------------------------------------------------------------------ CUPTI's binary interface ------ */

#ifdef HAVE_CUPTI_HEADERS
typedef CUpti_ActivityUnifiedMemoryCounter2 theirs; /* deprecated, and still declared, since 12.8; what 3 adds comes behind */
_Static_assert(offsetof(unified_memory_record, kind) == offsetof(theirs, kind) &&
                   offsetof(unified_memory_record, counter) == offsetof(theirs, counterKind) &&
                   offsetof(unified_memory_record, value) == offsetof(theirs, value) &&
                   offsetof(unified_memory_record, start) == offsetof(theirs, start) &&
                   offsetof(unified_memory_record, address) == offsetof(theirs, address) &&
                   offsetof(unified_memory_record, flags) == offsetof(theirs, flags) &&
                   sizeof(unified_memory_record) == sizeof(theirs),
               "the record is CUPTI's");
_Static_assert(sizeof(counter_config) == sizeof(CUpti_ActivityUnifiedMemoryCounterConfig) &&
                   KIND_UNIFIED_MEMORY == CUPTI_ACTIVITY_KIND_UNIFIED_MEMORY_COUNTER &&
                   FLUSH_FORCED == CUPTI_ACTIVITY_FLAG_FLUSH_FORCED &&
                   COUNTER_HTOD == (int)CUPTI_ACTIVITY_UNIFIED_MEMORY_COUNTER_KIND_BYTES_TRANSFER_HTOD &&
                   COUNTER_DTOH == (int)CUPTI_ACTIVITY_UNIFIED_MEMORY_COUNTER_KIND_BYTES_TRANSFER_DTOH &&
                   COUNTER_CPU_FAULT == (int)CUPTI_ACTIVITY_UNIFIED_MEMORY_COUNTER_KIND_CPU_PAGE_FAULT_COUNT &&
                   COUNTER_GPU_FAULT == (int)CUPTI_ACTIVITY_UNIFIED_MEMORY_COUNTER_KIND_GPU_PAGE_FAULT &&
                   CAUSE_EVICTION == (int)CUPTI_ACTIVITY_UNIFIED_MEMORY_MIGRATION_CAUSE_EVICTION,
               "the numbers are CUPTI's");
#endif

/* CUPTI's results that have a meaning of their own here. */
static eum_status status_of(int result)
{
    switch (result) {
    case 26: /* HARDWARE_BUSY */
    case 31: /* UM_PROFILING_NOT_SUPPORTED_WITH_MPS */
    case 33: /* VIRTUALIZED_DEVICE_NOT_SUPPORTED */
    case 35: /* INSUFFICIENT_PRIVILEGES */
    case 36: /* OLD_PROFILER_API_INITIALIZED */
    case 39: /* MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED */
    case 40: /* VIRTUALIZED_DEVICE_INSUFFICIENT_PRIVILEGES */
    case 41: /* CONFIDENTIAL_COMPUTING_NOT_SUPPORTED */
        return EUM_ERROR_COUNTING_REFUSED;
    default:
        return EUM_ERROR_COUNTING_UNAVAILABLE;
    }
}

static const char *advice_of(int result)
{
    switch (result) {
    case 14:
        return "this CUPTI and the driver do not fit together; name another one in EUM_CUPTI";
    case 27:
    case 28:
    case 29:
        return "this platform or device has no such counters";
    case 30:
        return "the devices cannot reach each other's memory; hide all but one with CUDA_VISIBLE_DEVICES";
    case 31:
        return "it does not work under the Multi-Process Service; run without it";
    case 33:
    case 40:
        return "the virtual machine does not allow it; its host's administrator can";
    case 35:
        return "users may not profile here; see NVreg_RestrictProfilingToAdminUsers, or run as administrator";
    case 26:
    case 36:
    case 39:
        return "another profiler is attached to this process; run without it";
    case 41:
        return "it does not work with confidential computing";
    default:
        return "see the code in CUPTI's documentation";
    }
}

/* ---------------------------------------------------------------------------------------------------- loading ------- */

static bool find(void *library, const char *name, void *out_call)
{
    void *found = dlsym(library, name);
    memcpy(out_call, &found, sizeof found); /* ISO C has no conversion from an object pointer to a function pointer */
    return found != NULL;
}

static bool take_calls(void *library)
{
    cupti_calls calls;
    if (!find(library, "cuptiSubscribe", &calls.subscribe) || !find(library, "cuptiUnsubscribe", &calls.unsubscribe) ||
        !find(library, "cuptiActivityRegisterCallbacks", &calls.register_callbacks) ||
        !find(library, "cuptiActivityConfigureUnifiedMemoryCounter", &calls.configure) ||
        !find(library, "cuptiActivityEnable", &calls.enable) || !find(library, "cuptiActivityDisable", &calls.disable) ||
        !find(library, "cuptiActivityFlushAll", &calls.flush_all) ||
        !find(library, "cuptiActivityGetNextRecord", &calls.next_record) ||
        !find(library, "cuptiActivityGetNumDroppedRecords", &calls.dropped) ||
        !find(library, "cuptiGetResultString", &calls.result_string))
        return false;
    cuda_cupti = calls;
    cupti_loaded = true;
    return true;
}

static bool try_library(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return false;
    if (take_calls(library)) /* and stays: it has threads of its own */
        return true;
    (void)dlclose(library);
    return false;
}

static const char *const cupti_names[] = {"libcupti.so.13", "libcupti.so.12", "libcupti.so"};
#define CUPTI_NAMES (sizeof cupti_names / sizeof cupti_names[0])

static bool try_toolkit(const char *root, int driver)
{
    static const char *const folders[] = {"extras/CUPTI/lib64", "lib64", "lib"};
    for (size_t i = 0; root != NULL && *root != 0 && i < sizeof folders / sizeof folders[0]; i++) {
        for (size_t k = driver >= 13000 ? 0 : 1; k < CUPTI_NAMES; k++) {
            char path[1024];
            int length = snprintf(path, sizeof path, "%s/%s/%s", root, folders[i], cupti_names[k]);
            if (length > 0 && (size_t)length < sizeof path && try_library(path))
                return true;
        }
    }
    return false;
}

eum_status cuda_cupti_load(const cuda_device *device)
{
    if (cupti_loaded)
        return EUM_OK;
    const char *named = getenv("EUM_CUPTI");
    if (named != NULL && *named != 0) {
        if (try_library(named))
            return EUM_OK;
        const char *why = dlerror();
        return eum_fail(EUM_ERROR_COUNTING_UNAVAILABLE,
                        "EUM_CUPTI is \"%.200s\", which is no CUPTI that can be loaded (%.150s); correct or unset it", named,
                        why != NULL ? why : "it lacks functions");
    }
    int driver = device->base.caps.driver_version; /* CUPTI 13 needs a driver that knows CUDA 13 */
    for (size_t i = driver >= 13000 ? 0 : 1; i < CUPTI_NAMES; i++)
        if (try_library(cupti_names[i]))
            return EUM_OK;
    if (try_toolkit(getenv("CUDA_HOME"), driver) || try_toolkit(getenv("CUDA_PATH"), driver) ||
        try_toolkit("/usr/local/cuda", driver))
        return EUM_OK;
    return eum_fail(
        EUM_ERROR_COUNTING_UNAVAILABLE,
        "Page faults are counted through CUPTI, and libcupti was not found; it comes with the CUDA toolkit (extras/CUPTI/lib64): "
        "put its folder into LD_LIBRARY_PATH, or name the file in EUM_CUPTI.");
}

void cuda_stay_loaded(void)
{
    Dl_info self;
    if (dladdr((const void *)cupti_names, &self) != 0 && self.dli_fname != NULL)
        (void)dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
}

eum_status cuda_cupti_failed(const cuda_device *device, int result, const char *what)
{
    const char *name = NULL;
    if (cuda_cupti.result_string(result, &name) != 0 || name == NULL)
        name = "unknown";
    return eum_fail(status_of(result), "Page faults of CUDA device %d cannot be counted: %s gave %s (CUPTI code %d); %s.",
                    (int)device->base.caps.index, what, name, result, advice_of(result));
}

#endif
