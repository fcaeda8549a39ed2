/* cudart_graph: kernels of the library's own that are submitted again and again become CUDA graphs, whose launch takes half the time of a kernel's.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A graph is made of the kernel and its parameter, and not captured: while any stream of a device captures, nobody in the process may synchronise with that
 * device. One that is in flight may be destroyed: CUDA frees it when it is done. */
#include "device/device.h"

#if EUM_HAVE_CUDA

#include <stdlib.h>
#include <string.h>

#include "device/cudart.h"

/* Of one kernel with one parameter, which is copied. */
static cudaError_t build(eum_node *node, cudaGraph_t *out)
{
    void *parameters[] = {node->parameter};
    struct cudaKernelNodeParams kernel = {.func = (void *)(uintptr_t)node->kernel,
                                          .gridDim = {node->blocks, 1, 1},
                                          .blockDim = {node->threads, 1, 1},
                                          .sharedMemBytes = (unsigned)node->shared_bytes,
                                          .kernelParams = parameters};
    cudaGraphNode_t made = NULL;
    cudaError_t error = cudaGraphCreate(out, 0);
    if (error != cudaSuccess)
        return error;
    error = cudaGraphAddKernelNode(&made, *out, NULL, 0, &kernel);
    if (error != cudaSuccess && cudaGraphDestroy(*out) != cudaSuccess)
        (void)cudaGetLastError();
    return error;
}

static void *instantiate(cuda_device *device, eum_node *node)
{
    cudaGraph_t graph = NULL;
    cudaGraphExec_t made = NULL;
    cudaError_t error = build(node, &graph);
    if (error == cudaSuccess) {
        error = cudaGraphInstantiate(&made, graph, 0);
        if (cudaGraphDestroy(graph) != cudaSuccess)
            (void)cudaGetLastError();
    }
    if (error == cudaSuccess)
        return made;
    (void)cudaGetLastError();
    cuda_note(device, (int32_t)error);
    eum_log_write(device->log, EUM_LOG_DEBUG, "a kernel that is launched again and again cannot be made a CUDA graph: %s (code %d)",
                  cudaGetErrorString(error), (int)error);
    return NULL;
}

/* Inside enter and leave of a mode that lets us. */
static void end(eum_repeat *item)
{
    if (item->made != NULL && cudaGraphExecDestroy(item->made) != cudaSuccess)
        (void)cudaGetLastError();
    item->made = NULL;
}

/* Makes the item's graph in place of the victim's (may be NULL), or neither. The launch of a kernel leaves the thread's capture mode alone, in which this
 * would end a capture of the application. */
static void make(cuda_device *device, eum_task *task, eum_repeat *item, eum_repeat *victim)
{
    cuda_scope scope;
    eum_node node;
    if (cuda_enter_primary(device->primary, &scope) != cudaSuccess)
        return;
    if (victim != NULL)
        end(victim);
    item->made = task->node(&task->call, &node) ? instantiate(device, &node) : NULL;
    item->refused = item->made == NULL;
    cuda_leave(&scope);
}

static void end_in_a_scope(cuda_device *device, eum_repeat *item)
{
    cuda_scope scope;
    if (cuda_enter_primary(device->primary, &scope) != cudaSuccess)
        return;
    end(item);
    cuda_leave(&scope);
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
    if (task->given == NULL || task->node == NULL || stream->wrapped || cuda_calls.graph_launch == NULL)
        return false;
    if (stream->repeats == NULL)
        stream->repeats = calloc(1, sizeof *stream->repeats);
    eum_repeat *item = stream->repeats != NULL ? see(stream, task) : NULL, *victim = NULL;
    if (item == NULL)
        return false;
    if (eum_repeats_worth(stream->repeats, item, &victim))
        make(device, task, item, victim);
    if (item->made == NULL)
        return false;
    int error = cuda_calls.graph_launch(item->made, stream->native);
    if (error == 0) {
        return true;
    }
    end_in_a_scope(device, item); /* the kernel itself is launched instead, and says what is wrong if something is */
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
