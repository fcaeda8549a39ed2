/* cudart_count: page faults and movements of managed memory, from the driver's records, which CUPTI (cudart_cupti.h) hands over.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The records of all windows of the process go to one list, since CUPTI has one pair of callbacks; a window keeps its part. Each end of a
 * window makes one page fault of its own and waits for the record of it: what the driver knew before has then arrived, and a counter that
 * does not count is found out. */
#include "device/device.h"

#if EUM_HAVE_CUDA

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "device/cudart_cupti.h"
#include "threads.h"

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
static bool callbacks_registered;
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
    if (cuda_cupti.dropped(context, stream, &dropped) != 0 || dropped == 0)
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
    while (valid > 0 && cuda_cupti.next_record(buffer, valid, &record) == 0) {
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

#define PATIENCE_NS (2000 * INT64_C(1000000)) /* for a record that was announced */

/* -------------------------------------------------------------------------------------------- starting, stopping ---- */

static int configure(uint32_t enable)
{
    counter_config configs[4];
    for (uint32_t i = 0; i < 4; i++)
        configs[i] = (counter_config){.scope = 1, .kind = COUNTER_HTOD + i, .enable = enable};
    return cuda_cupti.configure(configs, 4);
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
        (void)cuda_cupti.disable(KIND_UNIFIED_MEMORY);
        (void)configure(0);
        (void)cuda_cupti.flush_all(FLUSH_FORCED);
        (void)cuda_cupti.unsubscribe(subscriber);
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
    eum_status status = cuda_cupti_load(device);
    if (status != EUM_OK)
        return status;
    const char *what = "cuptiSubscribe";
    int result = cuda_cupti.subscribe(&subscriber, subscriber_called, NULL);
    if (result != 0)
        subscriber = NULL;
    if (result == 0 && !callbacks_registered) {
        cuda_stay_loaded();
        what = "cuptiActivityRegisterCallbacks";
        result = cuda_cupti.register_callbacks(buffer_requested, buffer_completed);
        callbacks_registered = result == 0;
    }
    if (result == 0) {
        what = "cuptiActivityConfigureUnifiedMemoryCounter";
        result = configure(1);
    }
    if (result == 0) {
        what = "cuptiActivityEnable";
        result = cuda_cupti.enable(KIND_UNIFIED_MEMORY);
    }
    if (result != 0)
        status = cuda_cupti_failed(device, result, what);
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
        return cuda_cupti.flush_all(FLUSH_FORCED) == 0;
    if (!send_witness_away(device))
        return false;
    (void)pthread_mutex_lock(&list_mutex);
    witness_seen = false;
    (void)pthread_mutex_unlock(&list_mutex);
    *(volatile char *)witness = 1; /* the fault */
    for (int64_t begin = eum_now_ns(); !witness_recorded() && eum_now_ns() - begin < PATIENCE_NS;) {
        if (cuda_cupti.flush_all(FLUSH_FORCED) != 0)
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
