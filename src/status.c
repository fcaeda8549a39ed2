/* status: see status.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* -------------------------------------------------------------------------------------- names and sentences -------- */

typedef struct status_entry {
    eum_status status;
    const char *name;
    const char *text;
} status_entry;

#define ENTRY(constant, text)                                                                                                      \
    {                                                                                                                              \
        constant, #constant, text                                                                                                  \
    }
static const status_entry statuses[] = {
    ENTRY(EUM_OK, "The call did what it says."),
    ENTRY(EUM_ERROR_INVALID_HANDLE, "The handle is NULL, stale, destroyed, of another type or not a handle of this library."),
    ENTRY(EUM_ERROR_INVALID_ARGUMENT, "An argument is NULL or outside its documented range."),
    ENTRY(EUM_ERROR_INVALID_ENUM, "An enumeration value is not one that this version knows."),
    ENTRY(EUM_ERROR_STRUCT_TOO_SMALL,
          "struct_size is 0 or smaller than the first version of the struct; set it with the _INIT macro."),
    ENTRY(EUM_ERROR_STRUCT_TOO_NEW, "struct_size is larger than this library knows: the library is older than the header."),
    ENTRY(EUM_ERROR_SIZE_OVERFLOW, "A size, or an offset plus a size, does not fit in size_t."),
    ENTRY(EUM_ERROR_OUT_OF_BOUNDS, "The view ends after its buffer does."),
    ENTRY(EUM_ERROR_MISALIGNED, "An address, offset or stride is not a multiple of the element size."),
    ENTRY(EUM_ERROR_BUFFER_TOO_SHORT, "The view is shorter than the declared rows and dim need."),
    ENTRY(EUM_ERROR_READ_ONLY, "The buffer was wrapped read-only and cannot be written."),
    ENTRY(
        EUM_ERROR_MAPPED,
        "The bytes are mapped, acquired or in another thread's call, which conflicts; unmap them, release them, or let it return."),
    ENTRY(EUM_ERROR_NOT_MAPPED, "No live map of this buffer returned that address."),
    ENTRY(EUM_ERROR_OVERLAP, "Two views of one launch overlap and one of them is written."),
    ENTRY(EUM_ERROR_WRONG_CONTEXT, "The handles of one call belong to two contexts."),
    ENTRY(EUM_ERROR_NOT_OWNED, "The buffer is borrowed: there is no ownership to give up."),
    ENTRY(EUM_ERROR_NO_HOST_ACCESS, "The CPU cannot reach this memory; use eum_buffer_read and eum_buffer_write."),
    ENTRY(EUM_ERROR_NO_KERNEL, "The launch has no callback for the device that it would run on."),
    ENTRY(EUM_ERROR_IN_CALLBACK, "A call that would wait was made from inside a kernel or completion callback."),
    ENTRY(EUM_ERROR_UNDEFINED_DATA, "A job that wrote this range failed; write the range again before reading it."),
    ENTRY(EUM_ERROR_FORKED, "The handle was made before fork(); make a new context in the child."),
    ENTRY(EUM_ERROR_CAPTURING, "The CUDA stream is capturing a graph; end the capture first."),
    ENTRY(EUM_ERROR_INVALID_STATE, "Calls that go in pairs came out of order."),
    ENTRY(EUM_ERROR_DEVICE_UNAVAILABLE, "The device that was asked for is not there."),
    ENTRY(EUM_ERROR_NOT_SUPPORTED, "The device or the backing cannot do this."),
    ENTRY(EUM_ERROR_OUT_OF_MEMORY, "Host memory is exhausted."),
    ENTRY(EUM_ERROR_OUT_OF_DEVICE_MEMORY, "Device memory is exhausted; destroy buffers or use smaller ones."),
    ENTRY(EUM_ERROR_OVER_BUDGET, "The allocation would exceed the memory budget; free buffers or raise budget_bytes."),
    ENTRY(EUM_ERROR_TIMEOUT, "Not finished within the time given; nothing was cancelled, wait again."),
    ENTRY(EUM_ERROR_LAUNCH_FAILED, "The kernel could not be started, or its callback reported failure."),
    ENTRY(EUM_ERROR_JOB_FAILED, "The job ran and failed; what it wrote is undefined."),
    ENTRY(EUM_ERROR_DEVICE_LOST, "The device had a fatal error; destroy the context and make a new one."),
    ENTRY(EUM_ERROR_DRIVER, "The CUDA driver is missing, too old, or refused to start."),
    ENTRY(EUM_ERROR_CUDA, "CUDA reported an error; the error detail has its code and name."),
    ENTRY(EUM_ERROR_SYSTEM, "A call to the operating system failed; the sentence has errno."),
    ENTRY(EUM_ERROR_COUNTING_UNAVAILABLE, "Faults cannot be counted here: CUPTI is missing or does not support the device."),
    ENTRY(EUM_ERROR_COUNTING_REFUSED, "Faults may not be counted here: privileges, another profiler, MPS or virtualisation."),
    ENTRY(EUM_ERROR_COUNTING_DROPPED, "Records were lost while counting, so the count is unknown; count a shorter window."),
};
#undef ENTRY

static const status_entry *find_status(eum_status status)
{
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        if (statuses[i].status == status)
            return &statuses[i];
    return NULL;
}

const char *eum_status_name(eum_status status)
{
    const status_entry *entry = find_status(status);
    return entry != NULL ? entry->name : "EUM_ERROR_UNKNOWN";
}

const char *eum_status_text(eum_status status)
{
    const status_entry *entry = find_status(status);
    return entry != NULL ? entry->text : "The number is not a status that this version of the library knows.";
}

/* ------------------------------------------------------------------------------------------------ CUDA codes ------- */

typedef struct cuda_entry {
    int32_t code;
    eum_status status;
    const char *name;
} cuda_entry;

/* cudaError_t of the 12.x and 13.x headers (driver_types.h), ascending; the numbers are permanent there. Written out so that builds
 * without CUDA translate codes too. What is not listed, or has no status of its own here, is EUM_ERROR_CUDA. */
static const cuda_entry cuda_errors[] = {
    {0, EUM_OK, "cudaSuccess"},
    {1, EUM_ERROR_CUDA, "cudaErrorInvalidValue"},
    {2, EUM_ERROR_OUT_OF_DEVICE_MEMORY, "cudaErrorMemoryAllocation"},
    {3, EUM_ERROR_DRIVER, "cudaErrorInitializationError"},
    {4, EUM_ERROR_DRIVER, "cudaErrorCudartUnloading"},
    {5, EUM_ERROR_CUDA, "cudaErrorProfilerDisabled"},
    {6, EUM_ERROR_CUDA, "cudaErrorProfilerNotInitialized"},
    {7, EUM_ERROR_CUDA, "cudaErrorProfilerAlreadyStarted"},
    {8, EUM_ERROR_CUDA, "cudaErrorProfilerAlreadyStopped"},
    {9, EUM_ERROR_LAUNCH_FAILED, "cudaErrorInvalidConfiguration"},
    {12, EUM_ERROR_CUDA, "cudaErrorInvalidPitchValue"},
    {13, EUM_ERROR_CUDA, "cudaErrorInvalidSymbol"},
    {16, EUM_ERROR_CUDA, "cudaErrorInvalidHostPointer"},
    {17, EUM_ERROR_CUDA, "cudaErrorInvalidDevicePointer"},
    {18, EUM_ERROR_CUDA, "cudaErrorInvalidTexture"},
    {19, EUM_ERROR_CUDA, "cudaErrorInvalidTextureBinding"},
    {20, EUM_ERROR_CUDA, "cudaErrorInvalidChannelDescriptor"},
    {21, EUM_ERROR_CUDA, "cudaErrorInvalidMemcpyDirection"},
    {22, EUM_ERROR_CUDA, "cudaErrorAddressOfConstant"},
    {23, EUM_ERROR_CUDA, "cudaErrorTextureFetchFailed"},
    {24, EUM_ERROR_CUDA, "cudaErrorTextureNotBound"},
    {25, EUM_ERROR_CUDA, "cudaErrorSynchronizationError"},
    {26, EUM_ERROR_CUDA, "cudaErrorInvalidFilterSetting"},
    {27, EUM_ERROR_CUDA, "cudaErrorInvalidNormSetting"},
    {28, EUM_ERROR_CUDA, "cudaErrorMixedDeviceExecution"},
    {31, EUM_ERROR_NOT_SUPPORTED, "cudaErrorNotYetImplemented"},
    {32, EUM_ERROR_CUDA, "cudaErrorMemoryValueTooLarge"},
    {34, EUM_ERROR_DRIVER, "cudaErrorStubLibrary"},
    {35, EUM_ERROR_DRIVER, "cudaErrorInsufficientDriver"},
    {36, EUM_ERROR_DRIVER, "cudaErrorCallRequiresNewerDriver"},
    {37, EUM_ERROR_CUDA, "cudaErrorInvalidSurface"},
    {43, EUM_ERROR_CUDA, "cudaErrorDuplicateVariableName"},
    {44, EUM_ERROR_CUDA, "cudaErrorDuplicateTextureName"},
    {45, EUM_ERROR_CUDA, "cudaErrorDuplicateSurfaceName"},
    {46, EUM_ERROR_DEVICE_UNAVAILABLE, "cudaErrorDevicesUnavailable"},
    {49, EUM_ERROR_DRIVER, "cudaErrorIncompatibleDriverContext"},
    {52, EUM_ERROR_LAUNCH_FAILED, "cudaErrorMissingConfiguration"},
    {53, EUM_ERROR_LAUNCH_FAILED, "cudaErrorPriorLaunchFailure"},
    {65, EUM_ERROR_LAUNCH_FAILED, "cudaErrorLaunchMaxDepthExceeded"},
    {66, EUM_ERROR_LAUNCH_FAILED, "cudaErrorLaunchFileScopedTex"},
    {67, EUM_ERROR_LAUNCH_FAILED, "cudaErrorLaunchFileScopedSurf"},
    {68, EUM_ERROR_LAUNCH_FAILED, "cudaErrorSyncDepthExceeded"},
    {69, EUM_ERROR_LAUNCH_FAILED, "cudaErrorLaunchPendingCountExceeded"},
    {98, EUM_ERROR_LAUNCH_FAILED, "cudaErrorInvalidDeviceFunction"},
    {100, EUM_ERROR_DEVICE_UNAVAILABLE, "cudaErrorNoDevice"},
    {101, EUM_ERROR_DEVICE_UNAVAILABLE, "cudaErrorInvalidDevice"},
    {102, EUM_ERROR_DEVICE_UNAVAILABLE, "cudaErrorDeviceNotLicensed"},
    {103, EUM_ERROR_DEVICE_UNAVAILABLE, "cudaErrorSoftwareValidityNotEstablished"},
    {127, EUM_ERROR_DRIVER, "cudaErrorStartupFailure"},
    {200, EUM_ERROR_LAUNCH_FAILED, "cudaErrorInvalidKernelImage"},
    {201, EUM_ERROR_CUDA, "cudaErrorDeviceUninitialized"},
    {205, EUM_ERROR_CUDA, "cudaErrorMapBufferObjectFailed"},
    {206, EUM_ERROR_CUDA, "cudaErrorUnmapBufferObjectFailed"},
    {207, EUM_ERROR_CUDA, "cudaErrorArrayIsMapped"},
    {208, EUM_ERROR_CUDA, "cudaErrorAlreadyMapped"},
    {209, EUM_ERROR_LAUNCH_FAILED, "cudaErrorNoKernelImageForDevice"},
    {210, EUM_ERROR_CUDA, "cudaErrorAlreadyAcquired"},
    {211, EUM_ERROR_CUDA, "cudaErrorNotMapped"},
    {212, EUM_ERROR_CUDA, "cudaErrorNotMappedAsArray"},
    {213, EUM_ERROR_CUDA, "cudaErrorNotMappedAsPointer"},
    {214, EUM_ERROR_DEVICE_LOST, "cudaErrorECCUncorrectable"},
    {215, EUM_ERROR_NOT_SUPPORTED, "cudaErrorUnsupportedLimit"},
    {216, EUM_ERROR_DEVICE_UNAVAILABLE, "cudaErrorDeviceAlreadyInUse"},
    {217, EUM_ERROR_NOT_SUPPORTED, "cudaErrorPeerAccessUnsupported"},
    {218, EUM_ERROR_LAUNCH_FAILED, "cudaErrorInvalidPtx"},
    {219, EUM_ERROR_CUDA, "cudaErrorInvalidGraphicsContext"},
    {220, EUM_ERROR_DEVICE_LOST, "cudaErrorNvlinkUncorrectable"},
    {221, EUM_ERROR_LAUNCH_FAILED, "cudaErrorJitCompilerNotFound"},
    {222, EUM_ERROR_LAUNCH_FAILED, "cudaErrorUnsupportedPtxVersion"},
    {223, EUM_ERROR_LAUNCH_FAILED, "cudaErrorJitCompilationDisabled"},
    {224, EUM_ERROR_NOT_SUPPORTED, "cudaErrorUnsupportedExecAffinity"},
    {225, EUM_ERROR_LAUNCH_FAILED, "cudaErrorUnsupportedDevSideSync"},
    {226, EUM_ERROR_DEVICE_LOST, "cudaErrorContained"},
    {300, EUM_ERROR_LAUNCH_FAILED, "cudaErrorInvalidSource"},
    {301, EUM_ERROR_LAUNCH_FAILED, "cudaErrorFileNotFound"},
    {302, EUM_ERROR_DRIVER, "cudaErrorSharedObjectSymbolNotFound"},
    {303, EUM_ERROR_DRIVER, "cudaErrorSharedObjectInitFailed"},
    {304, EUM_ERROR_SYSTEM, "cudaErrorOperatingSystem"},
    {400, EUM_ERROR_CUDA, "cudaErrorInvalidResourceHandle"},
    {401, EUM_ERROR_CUDA, "cudaErrorIllegalState"},
    {402, EUM_ERROR_CUDA, "cudaErrorLossyQuery"},
    {500, EUM_ERROR_LAUNCH_FAILED, "cudaErrorSymbolNotFound"},
    {600, EUM_ERROR_TIMEOUT, "cudaErrorNotReady"},
    {700, EUM_ERROR_DEVICE_LOST, "cudaErrorIllegalAddress"},
    {701, EUM_ERROR_LAUNCH_FAILED, "cudaErrorLaunchOutOfResources"},
    {702, EUM_ERROR_DEVICE_LOST, "cudaErrorLaunchTimeout"},
    {703, EUM_ERROR_LAUNCH_FAILED, "cudaErrorLaunchIncompatibleTexturing"},
    {704, EUM_ERROR_CUDA, "cudaErrorPeerAccessAlreadyEnabled"},
    {705, EUM_ERROR_CUDA, "cudaErrorPeerAccessNotEnabled"},
    {708, EUM_ERROR_CUDA, "cudaErrorSetOnActiveProcess"},
    {709, EUM_ERROR_DEVICE_LOST, "cudaErrorContextIsDestroyed"},
    {710, EUM_ERROR_DEVICE_LOST, "cudaErrorAssert"},
    {711, EUM_ERROR_CUDA, "cudaErrorTooManyPeers"},
    {712, EUM_ERROR_CUDA, "cudaErrorHostMemoryAlreadyRegistered"},
    {713, EUM_ERROR_CUDA, "cudaErrorHostMemoryNotRegistered"},
    {714, EUM_ERROR_DEVICE_LOST, "cudaErrorHardwareStackError"},
    {715, EUM_ERROR_DEVICE_LOST, "cudaErrorIllegalInstruction"},
    {716, EUM_ERROR_DEVICE_LOST, "cudaErrorMisalignedAddress"},
    {717, EUM_ERROR_DEVICE_LOST, "cudaErrorInvalidAddressSpace"},
    {718, EUM_ERROR_DEVICE_LOST, "cudaErrorInvalidPc"},
    {719, EUM_ERROR_DEVICE_LOST, "cudaErrorLaunchFailure"},
    {720, EUM_ERROR_LAUNCH_FAILED, "cudaErrorCooperativeLaunchTooLarge"},
    {721, EUM_ERROR_DEVICE_LOST, "cudaErrorTensorMemoryLeak"},
    {800, EUM_ERROR_NOT_SUPPORTED, "cudaErrorNotPermitted"},
    {801, EUM_ERROR_NOT_SUPPORTED, "cudaErrorNotSupported"},
    {802, EUM_ERROR_DRIVER, "cudaErrorSystemNotReady"},
    {803, EUM_ERROR_DRIVER, "cudaErrorSystemDriverMismatch"},
    {804, EUM_ERROR_DRIVER, "cudaErrorCompatNotSupportedOnDevice"},
    {805, EUM_ERROR_DRIVER, "cudaErrorMpsConnectionFailed"},
    {806, EUM_ERROR_DRIVER, "cudaErrorMpsRpcFailure"},
    {807, EUM_ERROR_DRIVER, "cudaErrorMpsServerNotReady"},
    {808, EUM_ERROR_DRIVER, "cudaErrorMpsMaxClientsReached"},
    {809, EUM_ERROR_DRIVER, "cudaErrorMpsMaxConnectionsReached"},
    {810, EUM_ERROR_DEVICE_LOST, "cudaErrorMpsClientTerminated"},
    {811, EUM_ERROR_NOT_SUPPORTED, "cudaErrorCdpNotSupported"},
    {812, EUM_ERROR_NOT_SUPPORTED, "cudaErrorCdpVersionMismatch"},
    {900, EUM_ERROR_CAPTURING, "cudaErrorStreamCaptureUnsupported"},
    {901, EUM_ERROR_CAPTURING, "cudaErrorStreamCaptureInvalidated"},
    {902, EUM_ERROR_CAPTURING, "cudaErrorStreamCaptureMerge"},
    {903, EUM_ERROR_CAPTURING, "cudaErrorStreamCaptureUnmatched"},
    {904, EUM_ERROR_CAPTURING, "cudaErrorStreamCaptureUnjoined"},
    {905, EUM_ERROR_CAPTURING, "cudaErrorStreamCaptureIsolation"},
    {906, EUM_ERROR_CAPTURING, "cudaErrorStreamCaptureImplicit"},
    {907, EUM_ERROR_CAPTURING, "cudaErrorCapturedEvent"},
    {908, EUM_ERROR_CAPTURING, "cudaErrorStreamCaptureWrongThread"},
    {909, EUM_ERROR_TIMEOUT, "cudaErrorTimeout"},
    {910, EUM_ERROR_CUDA, "cudaErrorGraphExecUpdateFailure"},
    {911, EUM_ERROR_DEVICE_LOST, "cudaErrorExternalDevice"},
    {912, EUM_ERROR_LAUNCH_FAILED, "cudaErrorInvalidClusterSize"},
    {913, EUM_ERROR_CUDA, "cudaErrorFunctionNotLoaded"},
    {914, EUM_ERROR_CUDA, "cudaErrorInvalidResourceType"},
    {915, EUM_ERROR_CUDA, "cudaErrorInvalidResourceConfiguration"},
    {999, EUM_ERROR_CUDA, "cudaErrorUnknown"},
};

static const cuda_entry *find_cuda(int32_t code)
{
    size_t low = 0, high = sizeof cuda_errors / sizeof *cuda_errors;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (cuda_errors[middle].code == code)
            return &cuda_errors[middle];
        if (cuda_errors[middle].code < code)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

eum_status eum_status_from_cuda(int32_t cuda_code)
{
    const cuda_entry *entry = find_cuda(cuda_code);
    return entry != NULL ? entry->status : EUM_ERROR_CUDA;
}

const char *eum_cuda_name(int32_t cuda_code)
{
    const cuda_entry *entry = find_cuda(cuda_code);
    return entry != NULL ? entry->name : NULL;
}

/* ------------------------------------------------------------------------------------- this thread's detail -------- */

static _Thread_local eum_error last_error = EUM_ERROR_INIT;
_Thread_local int eum_callback_depth;

/* Formats before it stores: an argument may point into the sentence that is replaced. */
static void record(eum_status status, int32_t cuda_code, const char *cuda_name, const char *format, va_list arguments)
{
    int saved_errno = errno;
    eum_error error = EUM_ERROR_INIT;
    error.status = status;
    error.cuda_code = cuda_code;
    (void)snprintf(error.cuda_name, sizeof error.cuda_name, "%s", cuda_name);
    (void)vsnprintf(error.sentence, sizeof error.sentence, format, arguments);
    last_error = error;
    errno = saved_errno;
}

eum_status eum_fail(eum_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    record(status, 0, "", format, arguments);
    va_end(arguments);
    return status;
}

eum_status eum_fail_with_cuda(eum_status status, int32_t cuda_code, const char *cuda_name, const char *format, ...)
{
    if (cuda_name == NULL)
        cuda_name = eum_cuda_name(cuda_code);
    va_list arguments;
    va_start(arguments, format);
    record(status, cuda_code, cuda_name != NULL ? cuda_name : "", format, arguments);
    va_end(arguments);
    return status;
}

eum_status eum_fail_cuda(int32_t cuda_code, const char *cuda_name, const char *format, ...)
{
    eum_status status = eum_status_from_cuda(cuda_code);
    if (cuda_name == NULL)
        cuda_name = eum_cuda_name(cuda_code);
    va_list arguments;
    va_start(arguments, format);
    record(status, cuda_code, cuda_name != NULL ? cuda_name : "", format, arguments);
    va_end(arguments);
    return status;
}

void eum_error_save(eum_error *out)
{
    if (last_error.status != EUM_OK) {
        *out = last_error;
        return;
    }
    /* There is nothing to keep, and every launch asks: without filling the texts. */
    out->struct_size = sizeof *out;
    out->status = EUM_OK;
    out->cuda_code = 0;
    out->cuda_name[0] = out->sentence[0] = 0;
}

void eum_error_restore(const eum_error *saved)
{
    if (saved->status != EUM_OK)
        last_error = *saved;
    else if (last_error.status != EUM_OK)
        last_error = (eum_error)EUM_ERROR_INIT;
}

eum_status eum_check_may_wait(const char *function)
{
    if (eum_callback_depth == 0)
        return EUM_OK;
    return eum_fail(
        EUM_ERROR_IN_CALLBACK,
        "%s would wait, and was called from inside a kernel or completion callback, which must not wait; call it after the "
        "callback has returned, from another thread if need be.",
        function);
}
