/* cudart_memory: managed, pinned and device memory, memory of others, and advice.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "device/device.h"

#if EUM_HAVE_CUDA

#include "device/cudart.h"

/* token of an adopted block: whether we registered it. */
#define REGISTERED ((uintptr_t)1)

eum_status cuda_memory(eum_device *base, uint64_t *out_free, uint64_t *out_total)
{
    cuda_device *device = cuda_of(base);
    cuda_scope scope;
    eum_status status = cuda_enter(device, &scope);
    if (status != EUM_OK)
        return status;
    size_t unused = 0, total = 0;
    cudaError_t error = cudaMemGetInfo(&unused, &total);
    if (error != cudaSuccess)
        status = cuda_failed(device, error, "Asking for the free memory");
    cuda_leave(&scope);
    if (status == EUM_OK) {
        *out_free = unused;
        *out_total = total;
    }
    return status;
}

/* ---------------------------------------------------------------------------------------------- allocating --------- */

static const char *kind_name(eum_memory kind)
{
    return kind == EUM_MEMORY_PINNED    ? "pinned"
           : kind == EUM_MEMORY_MANAGED ? "managed"
           : kind == EUM_MEMORY_DEVICE  ? "device"
                                        : "pageable host";
}

/* Whole blocks where large, so that a migration is one copy a block; whole pages where small, so that no two share one. */
static size_t rounded(const eum_device *device, size_t bytes)
{
    size_t unit = bytes >= CUDA_BLOCK ? CUDA_BLOCK : device->caps.page;
    return (bytes + unit - 1) / unit * unit;
}

eum_status cuda_alloc(eum_device *base, eum_memory kind, size_t bytes, eum_block *out)
{
    cuda_device *device = cuda_of(base);
    if (kind == EUM_MEMORY_HOST || (kind == EUM_MEMORY_MANAGED && !base->caps.managed))
        return eum_fail(EUM_ERROR_NOT_SUPPORTED, "CUDA device %d has no %s memory to allocate; use another backing.",
                        (int)base->caps.index, kind_name(kind));
    if (bytes > SIZE_MAX - CUDA_BLOCK)
        return eum_fail(kind == EUM_MEMORY_PINNED ? EUM_ERROR_OUT_OF_MEMORY : EUM_ERROR_OUT_OF_DEVICE_MEMORY,
                        "No machine has %zu bytes of memory.", bytes);
    cuda_scope scope;
    eum_status status = cuda_enter(device, &scope);
    if (status != EUM_OK)
        return status;
    eum_block block = {.bytes = bytes, .kind = kind};
    size_t size = rounded(base, bytes);
    cudaError_t error;
    if (kind == EUM_MEMORY_PINNED) {
        error = cuda_pinned_alloc(bytes, &block);
    } else if (kind == EUM_MEMORY_MANAGED) {
        error = cudaMallocManaged(&block.device, size, cudaMemAttachGlobal);
        block.host = block.device;
    } else {
        error = cudaMalloc(&block.device, size);
    }
    if (error != cudaSuccess) {
        status = eum_status_from_cuda((int32_t)error);
        if (kind == EUM_MEMORY_PINNED && status == EUM_ERROR_OUT_OF_DEVICE_MEMORY)
            status = EUM_ERROR_OUT_OF_MEMORY;
        (void)cuda_failed_as(device, status, error, "Allocating %zu bytes of %s memory", size, kind_name(kind));
    }
    cuda_leave(&scope);
    if (status == EUM_OK)
        *out = block;
    return status;
}

/* Also after the device was closed. Frees nothing while the process exits: the driver does then. */
static cudaError_t free_block(const cuda_primary *primary, bool pinned, void *address)
{
    if (cuda_is_exiting())
        return cudaSuccess;
    cuda_scope scope;
    cudaError_t error = cuda_enter_primary(primary, &scope);
    if (error != cudaSuccess)
        return error;
    error = pinned ? cuda_pinned_free(address) : cudaFree(address);
    if (error != cudaSuccess)
        (void)cudaGetLastError();
    cuda_leave(&scope);
    return error;
}

void cuda_release(eum_device *base, eum_block *block)
{
    cuda_device *device = cuda_of(base);
    bool pinned = block->kind == EUM_MEMORY_PINNED;
    cudaError_t error = free_block(device->primary, pinned, pinned ? block->host : block->device);
    if (error == cudaSuccess)
        return;
    cuda_note(device, (int32_t)error);
    eum_log_write(device->log, EUM_LOG_WARN, "%zu bytes of %s memory could not be freed: %s", block->bytes, kind_name(block->kind),
                  cudaGetErrorString(error));
}

static void release_pinned(void *user, void *address, size_t bytes)
{
    (void)bytes;
    (void)free_block(user, true, address);
}

static void release_other(void *user, void *address, size_t bytes)
{
    (void)bytes;
    (void)free_block(user, false, address);
}

void cuda_give_up(eum_device *base, eum_block *block, eum_release_fn *out_release, void **out_user)
{
    *out_release = block->kind == EUM_MEMORY_PINNED ? release_pinned : release_other;
    *out_user = (void *)(uintptr_t)cuda_of(base)->primary; /* lives as long as the process; only read */
}

/* ----------------------------------------------------------------------------------------- memory of others -------- */

/* CUpointer_attribute and CUmemorytype. */
enum { POINTER_MEMORY_TYPE = 2, POINTER_IS_MANAGED = 8, POINTER_RANGE_START = 11, POINTER_RANGE_SIZE = 12 };
#define MEMORY_TYPE_HOST 1u
#define PAGE ((uintptr_t)4096) /* the smallest that is pinned */

/* The end of the pinned range that the address lies in: an allocation, or a registration. 0: it is not pinned. Where the driver knows the range by
 * other addresses only, the end of the page, since pages are pinned whole. */
static uintptr_t pinned_until(uintptr_t address)
{
    static const int attributes[] = {POINTER_MEMORY_TYPE, POINTER_IS_MANAGED, POINTER_RANGE_START, POINTER_RANGE_SIZE};
    unsigned type = 0, managed = 0;
    unsigned long long start = 0;
    size_t size = 0;
    void *out[] = {&type, &managed, &start, &size};
    if (cuda_calls.pointer_attributes(4, attributes, out, address) != 0 || type != MEMORY_TYPE_HOST || managed != 0)
        return 0;
    bool known = address >= start && address - start < size;
    return known ? (uintptr_t)start + size : (address / PAGE + 1) * PAGE;
}

bool cuda_all_pinned(const void *address, size_t bytes)
{
    uintptr_t at = (uintptr_t)address, end = at + bytes;
    while (at != 0 && at < end)
        at = pinned_until(at);
    return at != 0;
}

bool cuda_pinned_at_once(const void *address, size_t bytes)
{
    uintptr_t at = (uintptr_t)address;
    return pinned_until(at) >= at + bytes;
}

/* Is the range of that kind? Looks at both ends, and at every byte of what should be pinned: kernels would fault on the others. Gives the device
 * address of the first. */
static eum_status check_kind(cuda_device *device, eum_memory kind, void *address, size_t bytes, void **out_device)
{
    enum cudaMemoryType wanted = kind == EUM_MEMORY_PINNED    ? cudaMemoryTypeHost
                                 : kind == EUM_MEMORY_MANAGED ? cudaMemoryTypeManaged
                                                              : cudaMemoryTypeDevice;
    struct cudaPointerAttributes first, last;
    cudaError_t error = cudaPointerGetAttributes(&first, address);
    if (error == cudaSuccess)
        error = cudaPointerGetAttributes(&last, (char *)address + (bytes - 1));
    if (error != cudaSuccess)
        return cuda_failed(device, error, "Asking what kind of memory %p is", address);
    if (first.type != wanted || last.type != wanted)
        return eum_fail(EUM_ERROR_NOT_SUPPORTED, "The %zu bytes at %p are not all %s memory of CUDA; name the kind that they are.",
                        bytes, address, kind_name(kind));
    if (kind == EUM_MEMORY_PINNED && !cuda_all_pinned(address, bytes))
        return eum_fail(EUM_ERROR_NOT_SUPPORTED,
                        "Some of the %zu bytes at %p are pinned and some are not; pin all of them, or none.", bytes, address);
    if (kind == EUM_MEMORY_DEVICE && first.device != (int)device->base.caps.index)
        return eum_fail(EUM_ERROR_NOT_SUPPORTED,
                        "The memory at %p is on CUDA device %d, the context on device %d; wrap it in a context there.", address,
                        first.device, (int)device->base.caps.index);
    *out_device = first.devicePointer;
    return EUM_OK;
}

/* Pins the range. Memory that cannot be written (a file mapped read-only) takes the read-only flag; what is pinned already is as good. */
static eum_status register_host(cuda_device *device, eum_block *block)
{
    unsigned flags = cudaHostRegisterPortable | cudaHostRegisterMapped;
    cudaError_t error = cudaHostRegister(block->host, block->bytes, flags);
    if (error != cudaSuccess && error != cudaErrorHostMemoryAlreadyRegistered && error != cudaErrorMemoryAllocation) {
        cudaError_t again = cudaHostRegister(block->host, block->bytes, flags | cudaHostRegisterReadOnly);
        if (again == cudaSuccess) {
            (void)cudaGetLastError();
            error = cudaSuccess;
        }
    }
    if (error == cudaErrorHostMemoryAlreadyRegistered) {
        (void)cudaGetLastError();
        return check_kind(device, EUM_MEMORY_PINNED, block->host, block->bytes, &block->device);
    }
    if (error == cudaSuccess) {
        block->token = REGISTERED;
        error = cudaHostGetDevicePointer(&block->device, block->host, 0);
        if (error != cudaSuccess)
            (void)cudaHostUnregister(block->host);
    }
    if (error == cudaSuccess)
        return EUM_OK;
    eum_status status = eum_status_from_cuda((int32_t)error);
    if (status == EUM_ERROR_OUT_OF_DEVICE_MEMORY)
        status = EUM_ERROR_OUT_OF_MEMORY;
    else if (status == EUM_ERROR_CUDA)
        status = EUM_ERROR_NOT_SUPPORTED; /* memory that cannot be pinned, such as a device's or another driver's */
    return cuda_failed_as(device, status, error, "Registering the %zu bytes at %p", block->bytes, block->host);
}

eum_status cuda_adopt(eum_device *base, eum_memory kind, void *address, size_t bytes, bool reg, eum_block *out)
{
    cuda_device *device = cuda_of(base);
    eum_block block = {.host = address, .bytes = bytes, .kind = kind, .adopted = true};
    cuda_scope scope;
    eum_status status = cuda_enter(device, &scope);
    if (status != EUM_OK)
        return status;
    if (kind != EUM_MEMORY_HOST)
        status = check_kind(device, kind, address, bytes, &block.device);
    else if (reg)
        status = register_host(device, &block);
    else if (base->caps.pageable)
        block.device = address;
    if (kind == EUM_MEMORY_DEVICE)
        block.host = NULL;
    cuda_leave(&scope);
    if (status == EUM_OK)
        *out = block;
    return status;
}

bool cuda_is_pinned(eum_device *base, const void *address, size_t bytes)
{
    cuda_scope scope;
    if (cuda_enter_primary(cuda_of(base)->primary, &scope) != cudaSuccess)
        return false;
    bool pinned = cuda_pinned_at_once(address, bytes);
    cuda_leave(&scope);
    return pinned;
}

void cuda_unadopt(eum_device *base, eum_block *block)
{
    cuda_device *device = cuda_of(base);
    cuda_scope scope;
    if (block->token != REGISTERED || cuda_is_exiting() || cuda_enter_primary(device->primary, &scope) != cudaSuccess)
        return;
    cudaError_t error = cudaHostUnregister(block->host);
    if (error != cudaSuccess) {
        (void)cudaGetLastError();
        cuda_note(device, (int32_t)error);
        eum_log_write(device->log, EUM_LOG_WARN, "the %zu bytes at %p could not be unregistered: %s", block->bytes, block->host,
                      cudaGetErrorString(error));
    }
    cuda_leave(&scope);
}

/* ------------------------------------------------------------------------------------------------ advice ----------- */

void cuda_pages(const eum_device *device, const eum_block *block, size_t offset, size_t bytes, char **out_begin, size_t *out_bytes)
{
    uintptr_t page = device->caps.page, start = (uintptr_t)block->device;
    uintptr_t begin = (start + offset) / page * page;
    uintptr_t end = (start + offset + bytes + page - 1) / page * page;
    if (begin < start)
        begin = start; /* adopted memory may begin inside a page; CUDA rounds by itself and wants addresses of the allocation */
    if (block->adopted && end > start + block->bytes)
        end = start + block->bytes;
    *out_begin = (char *)begin;
    *out_bytes = end - begin;
}

eum_status cuda_advise(eum_device *base, const eum_block *block, size_t offset, size_t bytes, eum_advice advice, eum_location where)
{
    cuda_device *device = cuda_of(base);
    if (!base->caps.concurrent_managed)
        return eum_fail(EUM_ERROR_NOT_SUPPORTED, "CUDA device %d takes no advice: it has no concurrent managed access.",
                        (int)base->caps.index);
    cuda_scope scope;
    eum_status status = cuda_enter(device, &scope);
    if (status != EUM_OK)
        return status;
    _Static_assert((int)cudaMemAdviseSetReadMostly == EUM_ADVICE_READ_MOSTLY &&
                       (int)cudaMemAdviseUnsetReadMostly == EUM_ADVICE_UNSET_READ_MOSTLY &&
                       (int)cudaMemAdviseSetPreferredLocation == EUM_ADVICE_PREFERRED_LOCATION &&
                       (int)cudaMemAdviseUnsetPreferredLocation == EUM_ADVICE_UNSET_PREFERRED_LOCATION &&
                       (int)cudaMemAdviseSetAccessedBy == EUM_ADVICE_ACCESSED_BY &&
                       (int)cudaMemAdviseUnsetAccessedBy == EUM_ADVICE_UNSET_ACCESSED_BY,
                   "advice has CUDA's numbers");
    char *begin;
    size_t length;
    cuda_pages(base, block, offset, bytes, &begin, &length);
#if CUDART_VERSION >= 13000
    struct cudaMemLocation location = {.type = where == EUM_LOCATION_HOST ? cudaMemLocationTypeHost : cudaMemLocationTypeDevice,
                                       .id = where == EUM_LOCATION_HOST ? 0 : (int)where};
    cudaError_t error = cudaMemAdvise(begin, length, (enum cudaMemoryAdvise)advice, location);
#else
    cudaError_t error =
        cudaMemAdvise(begin, length, (enum cudaMemoryAdvise)advice, where == EUM_LOCATION_HOST ? cudaCpuDeviceId : (int)where);
#endif
    if (error != cudaSuccess)
        status = cuda_failed(device, error, "Advice %d on %zu bytes for location %d", (int)advice, length, (int)where);
    cuda_leave(&scope);
    return status;
}

#endif
