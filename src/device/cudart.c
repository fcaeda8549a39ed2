/* cudart: the CUDA runtime behind the device table: opening it, and the table.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "device/device.h"

#if !EUM_HAVE_CUDA

eum_status eum_cudart_open(const eum_device_config *config, eum_device **out, eum_reason *out_reason)
{
    (void)config, (void)out;
    *out_reason = EUM_REASON_BUILT_WITHOUT;
    return eum_fail(
        EUM_ERROR_DEVICE_UNAVAILABLE,
        "This library was built without CUDA; build it with -DEUM_CUDA=ON where a CUDA toolkit is installed to use a GPU.");
}

#else

#include <stdlib.h>
#include <unistd.h>

#include "device/cudart.h"

static void cuda_close(eum_device *base)
{
    cuda_device *device = cuda_of(base);
    cuda_scope scope;
    bool usable = cuda_enter_primary(device->primary, &scope) == cudaSuccess;
    cuda_count_close(device, usable);
    cuda_events_destroy(device, usable);
    cuda_signals_destroy(device, usable);
    if (usable)
        cuda_leave(&scope);
    (void)pthread_mutex_destroy(&device->mutex);
    free(device);
}

static const struct eum_device_ops cuda_ops = {
    .name = "cuda",
    .close = cuda_close,
    .memory = cuda_memory,
    .alloc = cuda_alloc,
    .release = cuda_release,
    .adopt = cuda_adopt,
    .unadopt = cuda_unadopt,
    .is_pinned = cuda_is_pinned,
    .give_up = cuda_give_up,
    .stream_create = cuda_stream_create,
    .stream_wrap = cuda_stream_wrap,
    .stream_destroy = cuda_stream_destroy,
    .mark = cuda_mark,
    .passed = cuda_passed,
    .wait = cuda_wait,
    .drain = cuda_drain,
    .mark_passed = cuda_mark_passed,
    .order = cuda_order,
    .copy = cuda_copy,
    .prefetch = cuda_prefetch,
    .prefetch_many = cuda_prefetch_many,
    .discard = cuda_discard,
    .advise = cuda_advise,
    .submit = cuda_submit,
    .host_call = cuda_host_call,
    .synchronize = cuda_synchronize,
    .count_begin = cuda_count_begin,
    .count_end = cuda_count_end,
    .count_read = cuda_count_read,
    .native = cuda_native,
    .export_event = cuda_export_event,
};

/* ---------------------------------------------------------------------------------------- what the device can ------ */

static int32_t attribute(enum cudaDeviceAttr which, int index)
{
    int value = 0;
    if (cudaDeviceGetAttribute(&value, which, index) != cudaSuccess) {
        (void)cudaGetLastError(); /* an attribute that the driver does not know is one that the device does not have */
        value = 0;
    }
    return (int32_t)value;
}

static void fill_caps(eum_device_caps *caps, int index)
{
    *caps = (eum_device_caps){.kind = EUM_DEVICE_CUDA, .index = (int32_t)index, .block = CUDA_BLOCK};
    if (cuda_calls.device_name(caps->name, (int)sizeof caps->name, index) != 0)
        caps->name[0] = 0;
    caps->compute_major = attribute(cudaDevAttrComputeCapabilityMajor, index);
    caps->compute_minor = attribute(cudaDevAttrComputeCapabilityMinor, index);
    int version = 0;
    if (cudaDriverGetVersion(&version) == cudaSuccess)
        caps->driver_version = version;
    if (cudaRuntimeGetVersion(&version) == cudaSuccess)
        caps->runtime_version = version;
    caps->managed = attribute(cudaDevAttrManagedMemory, index) != 0;
    caps->concurrent_managed = caps->managed && attribute(cudaDevAttrConcurrentManagedAccess, index) != 0;
    caps->pageable = attribute(cudaDevAttrPageableMemoryAccess, index) != 0;
    /* Not used: with driver 580 a discard that finds work in front of it on its stream happens after the prefetch that follows it, and what
     * kernels write to such pages is lost at the next migration. tests/gpu has the random launches that show it; what a discard saves
     * is a few percent (docs/verification.md). */
    caps->discard = false;
    caps->overwrite_moves = caps->concurrent_managed;
    caps->prefetch_many = caps->concurrent_managed && cuda_calls.prefetch_batch != NULL;
    caps->costs = eum_costs_default(caps->compute_major);
    long page = sysconf(_SC_PAGESIZE); /* the driver's prefetch works on system pages */
    caps->page = page > 0 ? (size_t)page : 4096;
}

/* ------------------------------------------------------------------------------------------------ opening ---------- */

static eum_status no_driver(eum_reason *out_reason)
{
    *out_reason = EUM_REASON_NO_DRIVER;
    return eum_fail(EUM_ERROR_DRIVER,
                    "There is no CUDA driver on this machine (libcuda.so.1 was not found); install the NVIDIA driver "
                    "to use a GPU.");
}

static eum_status driver_too_old(int driver, eum_reason *out_reason)
{
    *out_reason = EUM_REASON_DRIVER_TOO_OLD;
    return eum_fail_with_cuda(
        EUM_ERROR_DRIVER, (int32_t)cudaErrorInsufficientDriver, NULL,
        "The CUDA driver is too old: it knows CUDA %d.%d, and this library was built with CUDA %d.%d; install a newer "
        "NVIDIA driver, or build the library with an older toolkit.",
        driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
}

static eum_status no_device(cudaError_t error, eum_reason *out_reason)
{
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    bool hidden = visible != NULL && (*visible == 0 || *visible == '-' || access("/dev/nvidia0", F_OK) == 0);
    if (!hidden) {
        *out_reason = EUM_REASON_NO_DEVICE;
        return eum_fail_cuda((int32_t)error, NULL, "There is a CUDA driver but no CUDA device on this machine.");
    }
    *out_reason = EUM_REASON_DEVICES_HIDDEN;
    return eum_fail_cuda((int32_t)error, NULL,
                         "CUDA_VISIBLE_DEVICES is \"%.60s\", which hides every CUDA device; unset it to use a GPU.", visible);
}

static eum_status driver_failed(cudaError_t error, eum_reason *out_reason)
{
    *out_reason = EUM_REASON_DRIVER_FAILED;
    return eum_fail_with_cuda(EUM_ERROR_DRIVER, (int32_t)error, cudaGetErrorName(error),
                              "The CUDA driver would not start: %s (%s, code %d); nvidia-smi may say more.",
                              cudaGetErrorString(error), cudaGetErrorName(error), (int)error);
}

/* How many devices there are, or why there are none. */
static eum_status count_devices(int *out, eum_reason *out_reason)
{
    int driver = 0;
    cudaError_t error = cudaDriverGetVersion(&driver);
    if (error == cudaSuccess && driver == 0)
        return no_driver(out_reason);
    if (error == cudaSuccess && driver / 1000 < CUDART_VERSION / 1000)
        return driver_too_old(driver, out_reason);
    if (error == cudaSuccess)
        error = cudaGetDeviceCount(out);
    if (error == cudaSuccess && *out > 0)
        error = cuda_load_driver();
    else if (error == cudaSuccess)
        error = cudaErrorNoDevice;
    if (error == cudaSuccess)
        return EUM_OK;
    (void)cudaGetLastError();
    if (error == cudaErrorNoDevice)
        return no_device(error, out_reason);
    if (error == cudaErrorInsufficientDriver)
        return driver_too_old(driver, out_reason);
    return driver_failed(error, out_reason);
}

static eum_status open_index(const eum_device_config *config, int index, eum_device **out, eum_reason *out_reason)
{
    const cuda_primary *primary = NULL;
    cuda_scope scope;
    cudaError_t error = cuda_primary_get(index, &primary);
    if (error == cudaSuccess)
        error = cuda_enter_primary(primary, &scope);
    if (error != cudaSuccess) {
        (void)cudaGetLastError();
        *out_reason = EUM_REASON_DRIVER_FAILED;
        return eum_fail_with_cuda(EUM_ERROR_DEVICE_UNAVAILABLE, (int32_t)error, cudaGetErrorName(error),
                                  "CUDA device %d does not start: %s (%s, code %d); another process may hold it for itself.", index,
                                  cudaGetErrorString(error), cudaGetErrorName(error), (int)error);
    }
    cuda_device *device = calloc(1, sizeof *device);
    if (device != NULL)
        fill_caps(&device->base.caps, index);
    cuda_leave(&scope);
    if (device == NULL) {
        *out_reason = EUM_REASON_DRIVER_FAILED;
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "No memory for the record of CUDA device %d (%zu bytes).", index, sizeof *device);
    }
    device->base.ops = &cuda_ops;
    device->log = config->log;
    device->primary = primary;
    (void)pthread_mutex_init(&device->mutex, NULL);
    *out = &device->base;
    return EUM_OK;
}

eum_status eum_cudart_open(const eum_device_config *config, eum_device **out, eum_reason *out_reason)
{
    if (cuda_is_exiting()) {
        *out_reason = EUM_REASON_DRIVER_FAILED;
        return eum_fail(EUM_ERROR_DRIVER, "The process is exiting: CUDA cannot be started any more.");
    }
    int devices = 0;
    eum_status status = count_devices(&devices, out_reason);
    if (status != EUM_OK)
        return status;
    if (config->index >= devices) {
        *out_reason = EUM_REASON_NO_DEVICE;
        return eum_fail(EUM_ERROR_DEVICE_UNAVAILABLE,
                        "There is no CUDA device %d: this process sees %d, numbered from 0; see "
                        "CUDA_VISIBLE_DEVICES.",
                        (int)config->index, devices);
    }
    if (config->index >= 0)
        return open_index(config, (int)config->index, out, out_reason);
    for (int i = 0; i < devices; i++) {
        status = open_index(config, i, out, out_reason);
        if (status == EUM_OK || status == EUM_ERROR_OUT_OF_MEMORY)
            return status;
    }
    return status;
}

#endif
