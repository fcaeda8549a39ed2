/* cudart_call: how a CUDA call is made, and how it fails.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "device/device.h"

#if EUM_HAVE_CUDA

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/cudart.h"

#define DEVICES 63 /* locations are bits of one 64-bit word: the host and 63 devices */

cuda_driver cuda_calls;
static pthread_mutex_t process_mutex = PTHREAD_MUTEX_INITIALIZER; /* for what follows */
static bool loaded;
static cuda_primary primaries[DEVICES];

static atomic_bool exiting;

static void note_exit(void)
{
    atomic_store(&exiting, true);
}

bool cuda_is_exiting(void)
{
    return atomic_load_explicit(&exiting, memory_order_relaxed);
}

/* ---------------------------------------------------------------------------------------------- the driver --------- */

/* cuGetProcAddress of 12.0; the runtime looks that one up, and it the rest, whatever the version that this was compiled with. */
typedef int (*get_proc_fn)(const char *symbol, void **out, int version, uint64_t flags, int *out_found);

static cudaError_t find_get_proc(get_proc_fn *out)
{
    void *found = NULL;
#if CUDART_VERSION >= 12050
    enum cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSuccess;
    cudaError_t error = cudaGetDriverEntryPointByVersion("cuGetProcAddress", &found, 12000, cudaEnableDefault, &result);
#else
    enum cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSuccess;
    cudaError_t error = cudaGetDriverEntryPoint("cuGetProcAddress", &found, cudaEnableDefault, &result);
#endif
    if (error == cudaSuccess && found == NULL)
        error = cudaErrorInsufficientDriver;
    memcpy(out, &found, sizeof found); /* ISO C has no conversion from an object pointer to a function pointer */
    return error;
}

static bool find_call(get_proc_fn get_proc, const char *name, int version, void *out_call)
{
    void *found = NULL;
    int why = 0;
    if (get_proc(name, &found, version, 0, &why) != 0 || found == NULL)
        return false;
    memcpy(out_call, &found, sizeof found);
    return true;
}

static cudaError_t load_driver_once(void)
{
    if (loaded)
        return cudaSuccess;
    get_proc_fn get_proc = NULL;
    cudaError_t error = find_get_proc(&get_proc);
    if (error != cudaSuccess)
        return error;
    cuda_driver calls = {0};
    if (!find_call(get_proc, "cuCtxPushCurrent", 12000, &calls.context_push) ||
        !find_call(get_proc, "cuCtxPopCurrent", 12000, &calls.context_pop) ||
        !find_call(get_proc, "cuCtxGetCurrent", 12000, &calls.context_current) ||
        !find_call(get_proc, "cuCtxSetCurrent", 12000, &calls.context_make_current) ||
        !find_call(get_proc, "cuDevicePrimaryCtxRetain", 12000, &calls.primary_retain) ||
        !find_call(get_proc, "cuDeviceGetName", 12000, &calls.device_name) ||
        !find_call(get_proc, "cuStreamGetCtx", 12000, &calls.stream_context) ||
        !find_call(get_proc, "cuPointerGetAttributes", 12000, &calls.pointer_attributes) ||
        !find_call(get_proc, "cuThreadExchangeStreamCaptureMode", 12000, &calls.exchange_capture_mode) ||
        !find_call(get_proc, "cuEventRecord", 12000, &calls.event_record))
        return cudaErrorInsufficientDriver;
    (void)find_call(get_proc, "cuGraphLaunch", 12000, &calls.graph_launch);
    (void)find_call(get_proc, "cuStreamWriteValue32", 12000, &calls.write_value);
    (void)find_call(get_proc, "cuMemPrefetchBatchAsync", 13000, &calls.prefetch_batch);
    (void)find_call(get_proc, "cuMemDiscardBatchAsync", 13000, &calls.discard_batch);
    /* Registered after CUDA's own handlers, so it runs before them. */
    if (atexit(note_exit) != 0)
        return cudaErrorOperatingSystem;
    cuda_calls = calls;
    loaded = true;
    return cudaSuccess;
}

cudaError_t cuda_load_driver(void)
{
    (void)pthread_mutex_lock(&process_mutex);
    cudaError_t error = load_driver_once();
    (void)pthread_mutex_unlock(&process_mutex);
    return error;
}

cudaError_t cuda_primary_get(int index, const cuda_primary **out)
{
    if (index < 0 || index >= DEVICES)
        return cudaErrorInvalidDevice;
    (void)pthread_mutex_lock(&process_mutex);
    cuda_primary *primary = &primaries[index];
    int error = 0;
    if (primary->context == NULL) {
        void *context = NULL;
        error = cuda_calls.primary_retain(&context, index);
        if (error == 0) {
            primary->index = index;
            primary->context = context;
        }
    }
    (void)pthread_mutex_unlock(&process_mutex);
    *out = primary;
    return (cudaError_t)error;
}

/* ---------------------------------------------------------------------------------------------- entering ----------- */

/* The driver's push and pop put back exactly what was current; cudaSetDevice would replace a context that is not a primary one, and would
 * create one where there was none. */
static cudaError_t make_current(const cuda_primary *primary, cuda_scope *out)
{
    if (cuda_is_exiting())
        return cudaErrorCudartUnloading;
    void *current = NULL;
    out->relaxed = false;
    out->pushed = cuda_calls.context_current(&current) != 0 || current != primary->context;
    return (cudaError_t)(out->pushed ? cuda_calls.context_push(primary->context) : 0);
}

cudaError_t cuda_enter_primary(const cuda_primary *primary, cuda_scope *out)
{
    cudaError_t error = make_current(primary, out);
    if (error != cudaSuccess)
        return error;
    out->mode = cudaStreamCaptureModeRelaxed;
    cudaError_t exchanged = (cudaError_t)cuda_calls.exchange_capture_mode(&out->mode);
    out->relaxed = exchanged == cudaSuccess;
    if (exchanged != cudaSuccess && out->pushed) {
        void *popped;
        (void)cuda_calls.context_pop(&popped);
    }
    return exchanged;
}

void cuda_leave(const cuda_scope *scope)
{
    if (cuda_is_exiting())
        return;
    enum cudaStreamCaptureMode mode = scope->mode;
    if (scope->relaxed)
        (void)cuda_calls.exchange_capture_mode(&mode);
    void *popped;
    if (scope->pushed)
        (void)cuda_calls.context_pop(&popped);
}

bool cuda_is_gone(const cuda_device *device)
{
    return cuda_is_exiting() || atomic_load_explicit(&device->fatal, memory_order_relaxed) != 0;
}

static eum_status enter(cuda_device *device, bool relax, cuda_scope *out)
{
    int32_t fatal = atomic_load_explicit(&device->fatal, memory_order_relaxed);
    if (fatal != 0)
        return eum_fail_with_cuda(
            EUM_ERROR_DEVICE_LOST, fatal, NULL,
            "CUDA device %d was lost by an earlier error (%s, code %d); destroy the context and make a new one, in "
            "a new process if CUDA stays in error.",
            (int)device->base.caps.index, eum_cuda_name(fatal) != NULL ? eum_cuda_name(fatal) : "unknown", (int)fatal);
    if (cuda_is_exiting())
        return eum_fail(EUM_ERROR_DEVICE_LOST, "The process is exiting, and CUDA device %d with it; finish the work before exit().",
                        (int)device->base.caps.index);
    cudaError_t error = relax ? cuda_enter_primary(device->primary, out) : make_current(device->primary, out);
    if (error == cudaSuccess)
        return EUM_OK;
    cuda_lose(device, (int32_t)error); /* its primary context was reset or destroyed by somebody */
    return eum_fail_with_cuda(EUM_ERROR_DEVICE_LOST, (int32_t)error, NULL,
                              "CUDA device %d cannot be made current: %s; was it reset? Destroy the context and make a new one.",
                              (int)device->base.caps.index, cudaGetErrorString(error));
}

eum_status cuda_enter(cuda_device *device, cuda_scope *out)
{
    return enter(device, true, out);
}

eum_status cuda_enter_to_launch(cuda_device *device, cuda_scope *out)
{
    return enter(device, false, out);
}

/* ----------------------------------------------------------------------------------------------- failing ----------- */

void cuda_lose(cuda_device *device, int32_t code)
{
    int alive = 0;
    if (atomic_compare_exchange_strong(&device->fatal, &alive, code))
        eum_log_write(device->log, EUM_LOG_ERROR, "CUDA device %d is lost: %s (code %d)", (int)device->base.caps.index,
                      cudaGetErrorString((cudaError_t)code), (int)code);
}

void cuda_note(cuda_device *device, int32_t code)
{
    if (eum_status_from_cuda(code) == EUM_ERROR_DEVICE_LOST)
        cuda_lose(device, code);
}

eum_status cuda_failed_as(cuda_device *device, eum_status status, cudaError_t error, const char *format, ...)
{
    (void)cudaGetLastError();
    cuda_note(device, (int32_t)error);
    char what[256];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    bool general = status == EUM_ERROR_CUDA; /* its text only points to the code, which the sentence has */
    return eum_fail_with_cuda(status, (int32_t)error, cudaGetErrorName(error), "%s failed on CUDA device %d: %s (code %d).%s%s",
                              what, (int)device->base.caps.index, cudaGetErrorString(error), (int)error, general ? "" : " ",
                              general ? "" : eum_status_text(status));
}

#endif
