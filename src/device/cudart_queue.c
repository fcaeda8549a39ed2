/* cudart_queue: what streams carry: copies, movement of managed pages, kernels, calls of the host.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "device/device.h"

#if EUM_HAVE_CUDA

#include <stddef.h>
#include <stdlib.h>

#include "device/cudart.h"

static cuda_device *device_of(eum_dstream *stream)
{
    return (cuda_device *)stream->device;
}

static cudaStream_t native_of(const eum_dstream *stream)
{
    return ((const cuda_stream *)stream)->native;
}

static void note_submitted(eum_dstream *stream)
{
    atomic_store_explicit(&((cuda_stream *)stream)->submitted_at, eum_ticks(), memory_order_relaxed);
}

eum_status cuda_copy(eum_dstream *stream, void *dst, const void *src, size_t bytes, eum_direction direction)
{
    static const enum cudaMemcpyKind kinds[] = {[EUM_HOST_TO_DEVICE] = cudaMemcpyHostToDevice,
                                                [EUM_DEVICE_TO_HOST] = cudaMemcpyDeviceToHost,
                                                [EUM_DEVICE_TO_DEVICE] = cudaMemcpyDeviceToDevice,
                                                [EUM_HOST_TO_HOST] = cudaMemcpyHostToHost};
    cuda_scope scope;
    eum_status status = cuda_stream_enter((cuda_stream *)stream, &scope);
    if (status != EUM_OK)
        return status;
    cudaError_t error = cudaMemcpyAsync(dst, src, bytes, kinds[direction], native_of(stream));
    if (error != cudaSuccess)
        status = cuda_failed(
            device_of(stream), error, "Copying %zu bytes%s", bytes,
            error == cudaErrorInvalidValue ? " (CUDA copies no host memory that is pinned in part: all of it or none)" : "");
    note_submitted(stream);
    cuda_leave(&scope);
    return status;
}

/* -------------------------------------------------------------------------------------------- managed pages -------- */

static eum_status not_concurrent(eum_dstream *stream, const char *what)
{
    return eum_fail(EUM_ERROR_NOT_SUPPORTED,
                    "CUDA device %d cannot %s here: that takes concurrent managed access on every device, a "
                    "recent driver, and a stream that is not the legacy default one.",
                    (int)stream->device->caps.index, what);
}

eum_status cuda_prefetch(eum_dstream *stream, const eum_block *block, size_t offset, size_t bytes, eum_location where)
{
    if (!stream->device->caps.concurrent_managed)
        return not_concurrent(stream, "prefetch");
    cuda_scope scope;
    eum_status status = cuda_stream_enter((cuda_stream *)stream, &scope);
    if (status != EUM_OK)
        return status;
    char *begin;
    size_t length;
    cuda_pages(stream->device, block, offset, bytes, &begin, &length);
#if CUDART_VERSION >= 13000
    struct cudaMemLocation location = {.type = where == EUM_LOCATION_HOST ? cudaMemLocationTypeHost : cudaMemLocationTypeDevice,
                                       .id = where == EUM_LOCATION_HOST ? 0 : (int)where};
    cudaError_t error = cudaMemPrefetchAsync(begin, length, location, 0, native_of(stream));
#else
    int location = where == EUM_LOCATION_HOST ? cudaCpuDeviceId : (int)where;
    cudaError_t error = cudaMemPrefetchAsync(begin, length, location, native_of(stream));
#endif
    if (error != cudaSuccess)
        status = cuda_failed(device_of(stream), error, "Prefetching %zu bytes to location %d", length, (int)where);
    cuda_leave(&scope);
    return status;
}

#if CUDART_VERSION >= 13000
_Static_assert(CUDA_LOCATION_DEVICE == cudaMemLocationTypeDevice && CUDA_LOCATION_HOST == cudaMemLocationTypeHost &&
                   sizeof(cuda_location) == sizeof(struct cudaMemLocation) &&
                   offsetof(cuda_location, id) == offsetof(struct cudaMemLocation, id),
               "the driver's location");
#endif

/* The arrays of the driver's call: a range each, and a location for each run of ranges that go to the same. */
typedef struct batch {
    unsigned long long *addresses;
    size_t *sizes, *firsts;
    cuda_location *locations;
    size_t runs;
} batch;

static void fill_batch(const eum_device *device, const eum_piece *pieces, size_t count, batch *b)
{
    b->runs = 0;
    for (size_t i = 0; i < count; i++) {
        const eum_piece *piece = &pieces[i];
        char *begin;
        cuda_pages(device, piece->block, piece->offset, piece->bytes, &begin, &b->sizes[i]);
        b->addresses[i] = (uintptr_t)begin;
        if (i > 0 && pieces[i - 1].where == piece->where)
            continue;
        bool host = piece->where == EUM_LOCATION_HOST;
        b->firsts[b->runs] = i;
        b->locations[b->runs++] = (cuda_location){host ? CUDA_LOCATION_HOST : CUDA_LOCATION_DEVICE, host ? 0 : (int)piece->where};
    }
}

eum_status cuda_prefetch_many(eum_dstream *stream, const eum_piece *pieces, size_t count)
{
    cudaStream_t native = native_of(stream);
    if (!stream->device->caps.prefetch_many || native == NULL || native == cudaStreamLegacy)
        return not_concurrent(stream, "prefetch many ranges by one call");
    batch b;
    char *room = malloc(count * (sizeof *b.addresses + sizeof *b.sizes + sizeof *b.firsts + sizeof *b.locations));
    if (room == NULL)
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "No memory to prefetch %zu ranges by one call; free some host memory.", count);
    b.addresses = (unsigned long long *)(void *)room; /* all of them are aligned to 8 or less */
    b.sizes = (size_t *)(b.addresses + count);
    b.firsts = b.sizes + count;
    b.locations = (cuda_location *)(b.firsts + count);
    fill_batch(stream->device, pieces, count, &b);
    cuda_scope scope;
    eum_status status = cuda_stream_enter((cuda_stream *)stream, &scope);
    if (status == EUM_OK) {
        int error = cuda_calls.prefetch_batch(b.addresses, b.sizes, count, b.locations, b.firsts, b.runs, 0, native);
        if (error != 0)
            status = cuda_failed(device_of(stream), (cudaError_t)error, "Prefetching %zu ranges by one call", count);
        cuda_leave(&scope);
    }
    free(room);
    return status;
}

eum_status cuda_discard(eum_dstream *stream, const eum_block *block, size_t offset, size_t bytes)
{
    cudaStream_t native = native_of(stream);
    if (!stream->device->caps.discard || native == NULL || native == cudaStreamLegacy)
        return not_concurrent(stream, "discard");
    cuda_scope scope;
    eum_status status = cuda_stream_enter((cuda_stream *)stream, &scope);
    if (status != EUM_OK)
        return status;
    unsigned long long address = (uintptr_t)block->device + offset;
    int error = cuda_calls.discard_batch(&address, &bytes, 1, 0, native);
    if (error != 0)
        status = cuda_failed(device_of(stream), (cudaError_t)error, "Discarding %zu bytes", bytes);
    cuda_leave(&scope);
    return status;
}

/* ------------------------------------------------------------------------------------------------- kernels --------- */

/* Calls the callback with the device current. A launch in it that failed without its noticing shows in CUDA's last error. */
static int32_t call_kernel(cuda_device *device, eum_task *task)
{
    bool clean = cudaPeekAtLastError() == cudaSuccess;
    eum_callback_depth++;
    int32_t code = task->gpu(&task->call);
    eum_callback_depth--;
    void *current = NULL;
    if (cuda_calls.context_current(&current) == 0 && current != device->primary->context)
        (void)cuda_calls.context_make_current(
            device->primary->context); /* the callback chose another device: undone, as leave expects */
    cudaError_t error = cudaPeekAtLastError();
    if (code == 0 && clean && error != cudaSuccess && error != cudaErrorNotReady)
        code = (int32_t)error;
    if (clean && error != cudaSuccess)
        (void)cudaGetLastError();
    return code;
}

eum_status cuda_submit(eum_dstream *stream, eum_task *task)
{
    cuda_device *device = device_of(stream);
    cuda_scope scope;
    bool bare = task->own && task->unmarked; /* a launch and nothing else */
    task->as_graph = false;
    ((cuda_stream *)stream)->submitted = 0;
    atomic_store_explicit(&((cuda_stream *)stream)->unmarked, true, memory_order_relaxed);
    eum_status status = bare ? cuda_enter_to_launch(device, &scope) : cuda_stream_enter((cuda_stream *)stream, &scope);
    if (status != EUM_OK)
        return status;
    task->call.stream = native_of(stream);
    task->call.device = device->base.caps.index;
    int32_t code = 0;
    task->as_graph = cuda_graph_launch((cuda_stream *)stream, task);
    if (!task->as_graph)
        code = task->own ? task->gpu(&task->call) : call_kernel(device, task);
    note_submitted(stream);
    if (code == 0 && !task->unmarked)
        cuda_mark_submitted((cuda_stream *)stream);
    cuda_leave(&scope);
    if (code == 0) {
        task->finish(task, EUM_OK, 0);
        return EUM_OK;
    }
    cuda_note(device, code);
    const char *name = eum_cuda_name(code);
    return eum_fail_with_cuda(EUM_ERROR_LAUNCH_FAILED, code, name,
                              "The kernel could not be started on CUDA device %d: its callback gave code %d (%s).",
                              (int)device->base.caps.index, (int)code, name != NULL ? name : "not a CUDA code");
}

typedef struct call_later {
    cuda_device *device;
    void (*fn)(void *user);
    void *user;
} call_later;

static void CUDART_CB run_later(cudaStream_t stream, cudaError_t error, void *arg)
{
    (void)stream;
    call_later *later = arg;
    if (error != cudaSuccess)
        cuda_note(later->device, (int32_t)error);
    eum_callback_depth++;
    later->fn(later->user);
    eum_callback_depth--;
    free(later);
}

/* Not cudaLaunchHostFunc: that one never calls back once the device has failed, and who waits for the call would wait for ever. */
eum_status cuda_host_call(eum_dstream *stream, void (*fn)(void *user), void *user)
{
    cuda_device *device = device_of(stream);
    call_later *later = malloc(sizeof *later);
    if (later == NULL)
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "No memory for a callback (%zu bytes).", sizeof *later);
    *later = (call_later){device, fn, user};
    cuda_scope scope;
    eum_status status = cuda_stream_enter((cuda_stream *)stream, &scope);
    if (status == EUM_OK) {
        cudaError_t error = cudaStreamAddCallback(native_of(stream), run_later, later, 0);
        if (error != cudaSuccess)
            status = cuda_failed(device, error, "Enqueuing a callback");
        cuda_leave(&scope);
    }
    if (status != EUM_OK)
        free(later);
    return status;
}

#endif
