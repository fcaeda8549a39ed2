/* cudart_graph: kernels of the library's own that are submitted again and again become CUDA graphs, whose launch takes half the time of a kernel's.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * They are captured on a stream that is for nothing else: other threads may send signals on the stream itself meanwhile, which must not become part
 * of the graph. A graph that is in flight may be destroyed: CUDA frees it when it is done. */
#include "device/device.h"

#if EUM_HAVE_CUDA

#include <stdlib.h>
#include <string.h>

#include "device/cudart.h"

/* Enqueues on the stream that captures what the task would enqueue. */
static cudaError_t capture(cuda_device *device, const eum_task *task, cudaGraph_t *out)
{
    cudaError_t error = cudaSuccess;
    if (device->capture == NULL)
        error = cudaStreamCreateWithFlags(&device->capture, cudaStreamNonBlocking);
    if (error == cudaSuccess)
        error = cudaStreamBeginCapture(device->capture, cudaStreamCaptureModeRelaxed);
    if (error != cudaSuccess)
        return error;
    eum_kernel_call call = task->call;
    call.stream = device->capture;
    call.device = device->base.caps.index;
    int32_t code = task->gpu(&call);
    error = cudaStreamEndCapture(device->capture, out);
    if (error == cudaSuccess && code != 0) {
        (void)cudaGraphDestroy(*out);
        error = (cudaError_t)code;
    }
    return error;
}

/* NULL: there is none for it. Inside enter and leave. */
static void *make(cuda_device *device, const eum_task *task)
{
    cuda_scope scope;
    if (cuda_enter_primary(device->primary, &scope) != cudaSuccess) /* once more: with a capture mode that lets us */
        return NULL;
    cudaGraph_t graph = NULL;
    cudaGraphExec_t made = NULL;
    (void)pthread_mutex_lock(&device->mutex);
    cudaError_t error = capture(device, task, &graph);
    (void)pthread_mutex_unlock(&device->mutex);
    if (error == cudaSuccess) {
        error = cudaGraphInstantiate(&made, graph, 0);
        (void)cudaGraphDestroy(graph);
    }
    if (error != cudaSuccess) {
        (void)cudaGetLastError();
        cuda_note(device, (int32_t)error);
        eum_log_write(device->log, EUM_LOG_DEBUG,
                      "a kernel that is launched again and again cannot be made a CUDA graph: %s (code %d)",
                      cudaGetErrorString(error), (int)error);
        made = NULL;
    }
    cuda_leave(&scope);
    return made;
}

static void end(eum_repeat *item)
{
    if (item->made != NULL && cudaGraphExecDestroy(item->made) != cudaSuccess)
        (void)cudaGetLastError();
    item->made = NULL;
}

/* The task's place in the stream's table; NULL: it is not known. */
static eum_repeat *see(cuda_stream *stream, eum_task *task)
{
    eum_repeat *item = eum_repeats_see_again(stream->repeats, task->repeat, task->repeat_id);
    if (item != NULL)
        return item;
    struct {
        eum_kernel_fn gpu;
        uint32_t count;
        int32_t kind;
        unsigned char rest[EUM_REPEAT_BYTES];
    } identity = {.gpu = task->gpu, .count = (uint32_t)task->call.count, .kind = task->given_kind};
    size_t addresses = task->call.count * sizeof(void *),
           total = offsetof(__typeof__(identity), rest) + addresses + task->given_bytes;
    if (total > EUM_REPEAT_BYTES)
        return NULL;
    memcpy(identity.rest, task->call.addresses, addresses);
    memcpy(identity.rest + addresses, task->given, task->given_bytes);
    item = eum_repeats_see(stream->repeats, &identity, total);
    if (item != NULL) {
        task->repeat = item;
        task->repeat_id = item->id;
    }
    return item;
}

bool cuda_graph_launch(cuda_stream *stream, eum_task *task)
{
    cuda_device *device = (cuda_device *)stream->base.device;
    if (task->given == NULL || stream->wrapped || cuda_calls.graph_launch == NULL)
        return false;
    if (stream->repeats == NULL)
        stream->repeats = calloc(1, sizeof *stream->repeats);
    eum_repeat *item = stream->repeats != NULL ? see(stream, task) : NULL, *victim = NULL;
    if (item == NULL)
        return false;
    if (eum_repeats_worth(stream->repeats, item, &victim)) {
        if (victim != NULL)
            end(victim);
        item->made = make(device, task);
        item->refused = item->made == NULL;
    }
    if (item->made == NULL)
        return false;
    int error = cuda_calls.graph_launch(item->made, stream->native);
    if (error == 0) {
        return true;
    }
    end(item); /* the kernel itself is launched instead, and says what is wrong if something is */
    item->refused = true;
    return false;
}

void cuda_graphs_destroy(cuda_stream *stream, bool usable)
{
    for (size_t i = 0; stream->repeats != NULL && usable && i < EUM_REPEATS; i++)
        end(&stream->repeats->items[i]);
    free(stream->repeats);
    stream->repeats = NULL;
}

#endif
