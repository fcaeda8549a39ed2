/* cudart_count: page faults and movements of managed memory, from the driver's records, through CUPTI loaded at run time.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The few declarations of CUPTI that this takes are repeated here: their layout and numbers are CUPTI's binary interface, the same in 12.x
 * and 13.x, so that a library built without its headers counts too. Where the headers are, the compiler compares.
 *
 * The records of all windows of the process go to one list, since CUPTI has one pair of callbacks; a window keeps its part. Each end of a
 * window makes one page fault of its own and waits for the record of it: what the driver knew before has then arrived, and a counter that
 * does not count is found out. */
#include "device/device.h"

#if EUM_HAVE_CUDA

#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "device/cudart.h"
#include "threads.h"

#if defined(__has_include)
#if __has_include(<cupti.h>)
#define HAVE_CUPTI_HEADERS 1
#include <cupti.h>
#endif
#endif

/* ------------------------------------------------------------------------------------ CUPTI's binary interface ------ */

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

/* ---------------------------------------------------------------------------------------------------- records ------- */

enum { RECORD_CPU_FAULT, RECORD_GPU_FAULT, RECORD_TO_DEVICE, RECORD_TO_HOST };

typedef struct count_record {
    uint64_t address, value;
    uint32_t what, cause;
} count_record;

struct cuda_window {
    bool open;
    size_t first;          /* while open: its first record in the list */
    uint64_t lost;         /* while open: what was lost before it */
    count_record *records; /* once ended: its own */
    size_t count;
};

/* Called by CUPTI on threads of its own, also while we hold the other mutex: these are under `list_mutex`. */
static pthread_mutex_t list_mutex = PTHREAD_MUTEX_INITIALIZER;
static count_record *list;
static size_t list_count, list_capacity;
static uint64_t list_lost;
static uint64_t witness_begin, witness_end; /* where faults are made on purpose */
static bool witness_seen;

/* Windows begin and end under this one. */
static pthread_mutex_t window_mutex = PTHREAD_MUTEX_INITIALIZER;
static cupti_calls cupti; /* filled, and never changed again, once cupti_loaded */
static bool cupti_loaded, callbacks_registered;
static void *subscriber;
static uint32_t open_windows;
static char *witness; /* the block that it lies in; NULL while nothing is counted */

#define LIST_MOST ((size_t)16 << 20) /* 384 MiB of records: somebody is thrashing, and knows */

static void add_record(const count_record *record)
{
    if (list_count == list_capacity) {
        size_t capacity = list_capacity == 0 ? 1024 : list_capacity * 2;
        count_record *grown = list_count < LIST_MOST ? realloc(list, capacity * sizeof *list) : NULL;
        if (grown == NULL) {
            list_lost++;
            return;
        }
        list = grown;
        list_capacity = capacity;
    }
    list[list_count++] = *record;
}

static uint32_t cause_of(uint32_t flags)
{
    switch (flags) {
    case CAUSE_USER:
        return EUM_CAUSE_PREFETCH;
    case CAUSE_COHERENCE:
    case CAUSE_SPECULATIVE: /* the neighbours of what faulted */
        return EUM_CAUSE_FAULT;
    case CAUSE_EVICTION:
        return EUM_CAUSE_EVICTION;
    default:
        return EUM_CAUSE_OTHER;
    }
}

static void take_record(const unified_memory_record *from)
{
    count_record record = {.address = from->address, .value = from->value};
    if (from->address >= witness_begin && from->address < witness_end) {
        witness_seen = witness_seen || from->counter == COUNTER_CPU_FAULT;
        return;
    }
    switch (from->counter) {
    case COUNTER_CPU_FAULT:
        record.what = RECORD_CPU_FAULT;
        record.value = 1;
        break;
    case COUNTER_GPU_FAULT:
        record.what = RECORD_GPU_FAULT;
        break;
    case COUNTER_HTOD:
        record.what = RECORD_TO_DEVICE;
        record.cause = cause_of(from->flags);
        break;
    case COUNTER_DTOH:
        record.what = RECORD_TO_HOST;
        record.cause = cause_of(from->flags);
        break;
    default:
        return;
    }
    add_record(&record);
}

#define BUFFER_BYTES ((size_t)1 << 20)

static void buffer_requested(uint8_t **out_buffer, size_t *out_size, size_t *out_most)
{
    *out_buffer = aligned_alloc(8, BUFFER_BYTES); /* without one CUPTI drops records, and says so */
    *out_size = *out_buffer != NULL ? BUFFER_BYTES : 0;
    *out_most = 0;
}

/* CUPTI is not called with the mutex held: it may hold locks of its own while it calls us. */
static void note_dropped(void *context, uint32_t stream)
{
    size_t dropped = 0;
    if (cupti.dropped(context, stream, &dropped) != 0 || dropped == 0)
        return;
    (void)pthread_mutex_lock(&list_mutex);
    list_lost += dropped;
    (void)pthread_mutex_unlock(&list_mutex);
}

static void buffer_completed(void *context, uint32_t stream, uint8_t *buffer, size_t size, size_t valid)
{
    (void)size;
    (void)pthread_mutex_lock(&list_mutex);
    void *record = NULL;
    while (valid > 0 && cupti.next_record(buffer, valid, &record) == 0) {
        uint32_t kind;
        memcpy(&kind, record, sizeof kind);
        if (kind == KIND_UNIFIED_MEMORY)
            take_record(record);
    }
    (void)pthread_mutex_unlock(&list_mutex);
    note_dropped(context, stream);
    free(buffer);
}

static void subscriber_called(void *user, int domain, uint32_t id, const void *data)
{
    (void)user, (void)domain, (void)id, (void)data; /* no callback is enabled: subscribing only keeps other profilers out */
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
    cupti = calls;
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

static eum_status load_cupti(const cuda_device *device)
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

/* From the moment on that CUPTI has our callbacks, our code must stay where it is. */
static void stay_loaded(void)
{
    Dl_info self;
    if (dladdr((const void *)cupti_names, &self) != 0 && self.dli_fname != NULL)
        (void)dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
}

static eum_status cupti_failed(const cuda_device *device, int result, const char *what)
{
    const char *name = NULL;
    if (cupti.result_string(result, &name) != 0 || name == NULL)
        name = "unknown";
    return eum_fail(status_of(result), "Page faults of CUDA device %d cannot be counted: %s gave %s (CUPTI code %d); %s.",
                    (int)device->base.caps.index, what, name, result, advice_of(result));
}

#define PATIENCE_NS (2000 * INT64_C(1000000)) /* for a record that was announced */

/* -------------------------------------------------------------------------------------------- starting, stopping ---- */

static int configure(uint32_t enable)
{
    counter_config configs[4];
    for (uint32_t i = 0; i < 4; i++)
        configs[i] = (counter_config){.scope = 1, .kind = COUNTER_HTOD + i, .enable = enable};
    return cupti.configure(configs, 4);
}

/* A block of its own, so that nobody else's pages move along. A device without concurrent access takes no faults, and the CPU may not touch
 * what kernels may use: no witness there. */
static bool make_witness(const cuda_device *device)
{
    void *block = NULL;
    if (!device->base.caps.concurrent_managed)
        return true;
    if (cudaMallocManaged(&block, CUDA_BLOCK, cudaMemAttachGlobal) != cudaSuccess) {
        (void)cudaGetLastError();
        return false;
    }
    (void)pthread_mutex_lock(&list_mutex);
    witness_begin = (uintptr_t)block;
    witness_end = witness_begin + CUDA_BLOCK;
    (void)pthread_mutex_unlock(&list_mutex);
    witness = block;
    return true;
}

static void stop(void)
{
    if (subscriber != NULL) {
        (void)cupti.disable(KIND_UNIFIED_MEMORY);
        (void)configure(0);
        (void)cupti.flush_all(FLUSH_FORCED);
        (void)cupti.unsubscribe(subscriber);
    }
    subscriber = NULL;
    if (witness != NULL)
        (void)cudaFree(witness);
    witness = NULL;
    (void)pthread_mutex_lock(&list_mutex);
    free(list);
    list = NULL;
    list_count = list_capacity = 0;
    (void)pthread_mutex_unlock(&list_mutex);
}

static eum_status start(const cuda_device *device)
{
    eum_status status = load_cupti(device);
    if (status != EUM_OK)
        return status;
    const char *what = "cuptiSubscribe";
    int result = cupti.subscribe(&subscriber, subscriber_called, NULL);
    if (result != 0)
        subscriber = NULL;
    if (result == 0 && !callbacks_registered) {
        stay_loaded();
        what = "cuptiActivityRegisterCallbacks";
        result = cupti.register_callbacks(buffer_requested, buffer_completed);
        callbacks_registered = result == 0;
    }
    if (result == 0) {
        what = "cuptiActivityConfigureUnifiedMemoryCounter";
        result = configure(1);
    }
    if (result == 0) {
        what = "cuptiActivityEnable";
        result = cupti.enable(KIND_UNIFIED_MEMORY);
    }
    if (result != 0)
        status = cupti_failed(device, result, what);
    else if (!make_witness(device)) /* only now: it is an allocation after enabling that starts the driver's recording */
        status = eum_fail(EUM_ERROR_OUT_OF_DEVICE_MEMORY, "No managed memory is left to count page faults with (%zu bytes).",
                          CUDA_BLOCK);
    if (status == EUM_OK)
        return EUM_OK;
    eum_error saved;
    eum_error_save(&saved);
    stop();
    eum_error_restore(&saved);
    return status;
}

static bool witness_recorded(void)
{
    (void)pthread_mutex_lock(&list_mutex);
    bool seen = witness_seen;
    (void)pthread_mutex_unlock(&list_mutex);
    return seen;
}

static bool send_witness_away(const cuda_device *device)
{
#if CUDART_VERSION >= 13000
    struct cudaMemLocation there = {.type = cudaMemLocationTypeDevice, .id = device->primary->index};
    cudaError_t error = cudaMemPrefetchAsync(witness, device->base.caps.page, there, 0, cudaStreamPerThread);
#else
    cudaError_t error = cudaMemPrefetchAsync(witness, device->base.caps.page, device->primary->index, cudaStreamPerThread);
#endif
    if (error == cudaSuccess)
        error = cudaStreamSynchronize(cudaStreamPerThread);
    if (error != cudaSuccess)
        (void)cudaGetLastError();
    return error == cudaSuccess;
}

/* Inside enter and leave. Brings the driver's records here: true once the record of a fault that is made here and now has come. */
static bool collect(const cuda_device *device)
{
    if (witness == NULL)
        return cupti.flush_all(FLUSH_FORCED) == 0;
    if (!send_witness_away(device))
        return false;
    (void)pthread_mutex_lock(&list_mutex);
    witness_seen = false;
    (void)pthread_mutex_unlock(&list_mutex);
    *(volatile char *)witness = 1; /* the fault */
    for (int64_t begin = eum_now_ns(); !witness_recorded() && eum_now_ns() - begin < PATIENCE_NS;) {
        if (cupti.flush_all(FLUSH_FORCED) != 0)
            break;
        if (!witness_recorded())
            (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    note_dropped(NULL, 0);
    return witness_recorded();
}

static eum_status count_begin_locked(cuda_device *device)
{
    struct cuda_window *window = device->window;
    if (window == NULL) {
        window = calloc(1, sizeof *window);
        if (window == NULL)
            return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "No memory for a window of counters (%zu bytes).", sizeof *window);
        device->window = window;
    }
    eum_status status = open_windows == 0 ? start(device) : EUM_OK;
    if (status != EUM_OK)
        return status;
    if (!collect(device)) { /* what happened before must not be counted */
        if (open_windows == 0)
            stop();
        return eum_fail(
            EUM_ERROR_COUNTING_UNAVAILABLE,
            "Page faults of CUDA device %d cannot be counted: CUPTI runs, but a fault that was made to try it was not recorded.",
            (int)device->base.caps.index);
    }
    open_windows++;
    free(window->records);
    (void)pthread_mutex_lock(&list_mutex);
    *window = (struct cuda_window){.open = true, .first = list_count, .lost = list_lost};
    (void)pthread_mutex_unlock(&list_mutex);
    return EUM_OK;
}

eum_status cuda_count_begin(eum_device *base)
{
    cuda_device *device = cuda_of(base);
    cuda_scope scope;
    eum_status status = cuda_enter(device, &scope);
    if (status != EUM_OK)
        return status;
    (void)pthread_mutex_lock(&window_mutex);
    status = count_begin_locked(device);
    (void)pthread_mutex_unlock(&window_mutex);
    cuda_leave(&scope);
    return status;
}

/* Takes the window's part of the list; false where some of it is lost. */
static bool close_window(struct cuda_window *window)
{
    (void)pthread_mutex_lock(&list_mutex);
    bool whole = list_lost == window->lost;
    size_t count = list_count - window->first;
    window->open = false;
    window->records = whole && count > 0 ? malloc(count * sizeof *window->records) : NULL;
    whole = whole && (count == 0 || window->records != NULL);
    if (whole && count > 0)
        memcpy(window->records, list + window->first, count * sizeof *window->records);
    window->count = whole ? count : 0;
    (void)pthread_mutex_unlock(&list_mutex);
    return whole;
}

eum_status cuda_count_end(eum_device *base)
{
    cuda_device *device = cuda_of(base);
    cuda_scope scope;
    eum_status status = cuda_enter(device, &scope);
    (void)pthread_mutex_lock(&window_mutex);
    bool complete = status == EUM_OK && collect(device);
    bool whole = close_window(device->window);
    if (--open_windows == 0 && status == EUM_OK)
        stop();
    (void)pthread_mutex_unlock(&window_mutex);
    if (status != EUM_OK)
        return status;
    cuda_leave(&scope);
    if (complete && whole)
        return EUM_OK;
    return eum_fail(
        EUM_ERROR_COUNTING_DROPPED,
        complete
            ? "CUPTI or this library lost records of CUDA device %d while counting, so the count is unknown; count a shorter piece."
            : "The records of CUDA device %d did not all arrive, so the count is unknown; count again.",
        (int)base->caps.index);
}

/* --------------------------------------------------------------------------------------------------- reading -------- */

void cuda_count_read(eum_device *base, const eum_block *block, eum_faults *out)
{
    const struct cuda_window *window = cuda_of(base)->window;
    out->source = EUM_FAULT_SOURCE_CUPTI;
    if (window == NULL)
        return;
    uint64_t begin = block != NULL ? (uintptr_t)block->device : 0, end = block != NULL ? begin + block->bytes : UINT64_MAX;
    for (size_t i = 0; i < window->count; i++) {
        const count_record *record = &window->records[i];
        if (record->address < begin || record->address >= end)
            continue;
        switch (record->what) {
        case RECORD_CPU_FAULT:
            out->cpu_faults += record->value;
            break;
        case RECORD_GPU_FAULT:
            out->gpu_faults += record->value;
            break;
        case RECORD_TO_DEVICE:
            out->bytes_to_device[record->cause] += record->value;
            break;
        default:
            out->bytes_to_host[record->cause] += record->value;
            break;
        }
    }
}

void cuda_count_close(cuda_device *device, bool usable)
{
    struct cuda_window *window = device->window;
    if (window == NULL)
        return;
    (void)pthread_mutex_lock(&window_mutex);
    if (window->open && --open_windows == 0 && usable)
        stop();
    (void)pthread_mutex_unlock(&window_mutex);
    free(window->records);
    free(window);
    device->window = NULL;
}

#endif
