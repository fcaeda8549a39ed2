/* cudart_stream: streams and points. A point is an event; the events of a stream pass in order, so that one query settles all before.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "device/device.h"

#if EUM_HAVE_CUDA

#include <stdlib.h>

#include "device/cudart.h"

/* A program that submits, waits, and submits again then has each event back only after a wait: recording one of which the driver does
 * not know yet that it is done takes 100 to 300 ns more (H100, driver 580; 190 ns otherwise). */
#define FIRST_CAPACITY 256u
static cuda_stream *stream_of(eum_dstream *stream)
{
    return (cuda_stream *)stream;
}

static cuda_device *device_of(const cuda_stream *stream)
{
    return (cuda_device *)stream->base.device;
}

/* ------------------------------------------------------------------------------------------------- events ---------- */

static cuda_event *take_spare(cuda_stream *stream)
{
    cuda_event *event = stream->spare_events;
    if (event != NULL) {
        stream->spare_events = event->next;
        return event;
    }
    cuda_device *device = device_of(stream);
    (void)pthread_mutex_lock(&device->mutex);
    event = device->spare_events;
    if (event != NULL)
        device->spare_events = event->next;
    (void)pthread_mutex_unlock(&device->mutex);
    return event;
}

/* Under the stream's mutex, inside enter and leave. */
static eum_status take_event(cuda_stream *stream, cuda_event **out)
{
    cuda_device *device = device_of(stream);
    cuda_event *event = take_spare(stream);
    if (event == NULL) {
        event = calloc(1, sizeof *event);
        if (event == NULL)
            return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "No memory for an event of a stream.");
        cudaError_t error = cudaEventCreateWithFlags(&event->event, cudaEventDisableTiming);
        if (error != cudaSuccess) {
            free(event);
            return cuda_failed(device, error, "Creating an event");
        }
    }
    event->references = 1;
    *out = event;
    return EUM_OK;
}

/* The event is free for another mark of the stream once nobody refers to it: after all that were free before. Under the stream's mutex. */
static void drop_event(cuda_stream *stream, cuda_event *event)
{
    if (--event->references != 0)
        return;
    event->next = NULL;
    if (stream->spare_events == NULL)
        stream->spare_events = event;
    else
        stream->last_spare->next = event;
    stream->last_spare = event;
}

/* What an ended stream leaves serves the others. */
static void leave_events(cuda_stream *stream)
{
    cuda_device *device = device_of(stream);
    (void)pthread_mutex_lock(&device->mutex);
    while (stream->spare_events != NULL) {
        cuda_event *event = stream->spare_events;
        stream->spare_events = event->next;
        event->next = device->spare_events;
        device->spare_events = event;
    }
    (void)pthread_mutex_unlock(&device->mutex);
}

void cuda_events_destroy(cuda_device *device, bool usable)
{
    while (device->spare_events != NULL) {
        cuda_event *event = device->spare_events;
        device->spare_events = event->next;
        if (usable && cudaEventDestroy(event->event) != cudaSuccess)
            (void)cudaGetLastError();
        free(event);
    }
}

/* ------------------------------------------------------------------------------------------------- streams --------- */

static eum_status make_stream(eum_device *device, cuda_stream **out)
{
    cuda_stream *stream = calloc(1, sizeof *stream);
    cuda_event **marks = calloc(FIRST_CAPACITY, sizeof(cuda_event *));
    if (stream == NULL || marks == NULL) {
        free(stream);
        free(marks);
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "No memory for the record of a stream.");
    }
    stream->base.device = device;
    stream->marks = marks;
    stream->capacity = FIRST_CAPACITY;
    (void)pthread_mutex_init(&stream->mutex, NULL);
    *out = stream;
    return EUM_OK;
}

static void free_stream(cuda_stream *stream)
{
    (void)pthread_mutex_destroy(&stream->mutex);
    free(stream->marks);
    free(stream);
}

eum_status cuda_stream_create(eum_device *base, eum_dstream **out)
{
    cuda_device *device = cuda_of(base);
    cuda_stream *stream = NULL;
    eum_status status = make_stream(base, &stream);
    if (status != EUM_OK)
        return status;
    cuda_scope scope;
    status = cuda_enter(device, &scope);
    if (status == EUM_OK) {
        cudaError_t error = cudaStreamCreateWithFlags(&stream->native, cudaStreamNonBlocking);
        if (error != cudaSuccess)
            status = cuda_failed(device, error, "Creating a stream");
        else
            cuda_signal_open(stream);
        cuda_leave(&scope);
    }
    if (status == EUM_OK)
        *out = &stream->base;
    else
        free_stream(stream);
    return status;
}

static eum_status check_not_capturing(cuda_stream *stream)
{
    enum cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
    cudaError_t error = cudaStreamIsCapturing(stream->native, &capture);
    if (error != cudaSuccess)
        return cuda_failed(device_of(stream), error, "Asking whether the stream %p is capturing", (void *)stream->native);
    if (capture == cudaStreamCaptureStatusNone)
        return EUM_OK;
    return eum_fail(EUM_ERROR_CAPTURING,
                    "The CUDA stream %p is capturing a graph, in which nothing of this library can take part; end the "
                    "capture first, or use another stream.",
                    (void *)stream->native);
}

/* The stream must be one whose meaning does not depend on the thread, and of the context's device. */
static eum_status check_wrappable(cuda_stream *stream)
{
    cuda_device *device = device_of(stream);
    if (stream->native == cudaStreamPerThread)
        return eum_fail(EUM_ERROR_NOT_SUPPORTED,
                        "cudaStreamPerThread is another stream on every thread; wrap one from cudaStreamCreate.");
    eum_status status = check_not_capturing(stream);
    if (status != EUM_OK)
        return status;
    void *context = NULL;
    int error = cuda_calls.stream_context(stream->native, &context);
    if (error != 0)
        return cuda_failed(device, (cudaError_t)error, "Asking for the context of the stream %p", (void *)stream->native);
    if (context != device->primary->context)
        return eum_fail(EUM_ERROR_NOT_SUPPORTED,
                        "The CUDA stream %p is not of CUDA device %d's primary context; make it after "
                        "cudaSetDevice(%d).",
                        (void *)stream->native, (int)device->base.caps.index, (int)device->base.caps.index);
    return EUM_OK;
}

eum_status cuda_stream_wrap(eum_device *base, void *native, eum_dstream **out)
{
    cuda_stream *stream = NULL;
    eum_status status = make_stream(base, &stream);
    if (status != EUM_OK)
        return status;
    stream->native = native;
    stream->wrapped = true;
    cuda_scope scope;
    status = cuda_enter(cuda_of(base), &scope);
    if (status == EUM_OK) {
        status = check_wrappable(stream);
        cuda_leave(&scope);
    }
    if (status == EUM_OK)
        *out = &stream->base;
    else
        free_stream(stream);
    return status;
}

eum_status cuda_stream_enter(cuda_stream *stream, cuda_scope *out)
{
    stream->submitted = 0;
    atomic_store_explicit(&stream->unmarked, true, memory_order_relaxed);
    eum_status status = cuda_enter(device_of(stream), out);
    if (status != EUM_OK || !stream->wrapped)
        return status;
    status = check_not_capturing(stream);
    if (status != EUM_OK)
        cuda_leave(out);
    return status;
}

/* Under the stream's mutex: mark `sequence` and all before are done. */
static void retire(cuda_stream *stream, uint64_t sequence)
{
    uint64_t passed = atomic_load_explicit(&stream->passed, memory_order_relaxed);
    if (sequence <= passed)
        return;
    for (uint64_t i = passed + 1; i <= sequence; i++)
        drop_event(stream, stream->marks[i & (stream->capacity - 1)]);
    atomic_store_explicit(&stream->passed, sequence, memory_order_release);
}

void cuda_stream_destroy(eum_dstream *base)
{
    cuda_stream *stream = stream_of(base);
    cuda_device *device = device_of(stream);
    (void)pthread_mutex_lock(&stream->mutex);
    retire(stream, stream->newest);
    leave_events(stream);
    (void)pthread_mutex_unlock(&stream->mutex);
    cuda_signal_close(stream);
    cuda_scope scope;
    bool usable = !stream->wrapped && cuda_enter_primary(device->primary, &scope) == cudaSuccess;
    cuda_graphs_destroy(stream, usable);
    if (usable) {
        cudaError_t error = cudaStreamDestroy(stream->native);
        if (error != cudaSuccess) {
            (void)cudaGetLastError();
            cuda_note(device, (int32_t)error);
            eum_log_write(device->log, EUM_LOG_WARN, "a CUDA stream could not be destroyed: %s", cudaGetErrorString(error));
        }
        cuda_leave(&scope);
    }
    free_stream(stream);
}

/* -------------------------------------------------------------------------------------------------- points --------- */

cudaError_t cuda_query_event(cuda_device *device, const cuda_event *event)
{
    cudaError_t error = cudaEventQuery(event->event);
    if (error == cudaSuccess)
        return error;
    (void)cudaGetLastError();
    if (error != cudaErrorNotReady)
        cuda_lose(device, (int32_t)error);
    return error;
}

/* Under the stream's mutex: room for one mark more. Retires half of the marks if they have passed: one query for many. */
static eum_status reserve(cuda_stream *stream)
{
    uint64_t passed = atomic_load_explicit(&stream->passed, memory_order_relaxed);
    if (stream->newest - passed < stream->capacity)
        return EUM_OK;
    uint64_t middle = passed + stream->capacity / 2;
    if (cuda_query_event(device_of(stream), stream->marks[middle & (stream->capacity - 1)]) == cudaSuccess) {
        retire(stream, middle);
        return EUM_OK;
    }
    cuda_event **marks = calloc((size_t)stream->capacity * 2, sizeof(cuda_event *));
    if (marks == NULL)
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "No memory for more than %u pending points of a stream; wait for some of them.",
                        stream->capacity);
    for (uint64_t i = passed + 1; i <= stream->newest; i++)
        marks[i & (stream->capacity * 2 - 1)] = stream->marks[i & (stream->capacity - 1)];
    free(stream->marks);
    stream->marks = marks;
    stream->capacity *= 2;
    return EUM_OK;
}

/* Under the stream's mutex, inside enter and leave. */
static eum_status record(cuda_stream *stream, uint64_t *out_sequence)
{
    cuda_device *device = device_of(stream);
    cuda_event *event = NULL;
    eum_status status = reserve(stream);
    if (status == EUM_OK)
        status = take_event(stream, &event);
    if (status != EUM_OK)
        return status;
    cudaError_t error = (cudaError_t)cuda_calls.event_record(event->event, stream->native);
    if (error != cudaSuccess) {
        drop_event(stream, event);
        return cuda_failed(device, error, "Recording an event");
    }
    stream->newest++;
    stream->marks[stream->newest & (stream->capacity - 1)] = event;
    atomic_store_explicit(&stream->unmarked, false, memory_order_relaxed);
    *out_sequence = stream->newest;
    return EUM_OK;
}

void cuda_mark_submitted(cuda_stream *stream)
{
    eum_error before;
    eum_error_save(&before);
    (void)pthread_mutex_lock(&stream->mutex);
    if (record(stream, &stream->submitted) != EUM_OK) {
        stream->submitted = 0; /* cuda_mark will try again, and say why not */
        eum_error_restore(&before);
    }
    (void)pthread_mutex_unlock(&stream->mutex);
}

eum_status cuda_mark(eum_dstream *base, uint64_t *out_sequence)
{
    cuda_stream *stream = stream_of(base);
    if (stream->submitted != 0) {
        *out_sequence = stream->submitted;
        stream->submitted = 0;
        return EUM_OK;
    }
    cuda_scope scope;
    eum_status status = cuda_stream_enter(stream, &scope);
    if (status != EUM_OK)
        return status;
    (void)pthread_mutex_lock(&stream->mutex);
    status = record(stream, out_sequence);
    (void)pthread_mutex_unlock(&stream->mutex);
    cuda_leave(&scope);
    return status;
}

cuda_event *cuda_hold_event(cuda_stream *stream, uint64_t sequence)
{
    cuda_event *event = NULL;
    (void)pthread_mutex_lock(&stream->mutex);
    if (!cuda_has_passed(stream, sequence)) {
        event = stream->marks[sequence & (stream->capacity - 1)];
        event->references++;
    }
    (void)pthread_mutex_unlock(&stream->mutex);
    return event;
}

void cuda_let_go_event(cuda_stream *stream, cuda_event *event, bool done, uint64_t sequence)
{
    (void)pthread_mutex_lock(&stream->mutex);
    if (done)
        retire(stream, sequence);
    drop_event(stream, event);
    (void)pthread_mutex_unlock(&stream->mutex);
}

cuda_event *cuda_hold_event_if_made(cuda_stream *stream, uint64_t sequence)
{
    (void)pthread_mutex_lock(&stream->mutex);
    bool made = stream->newest >= sequence;
    (void)pthread_mutex_unlock(&stream->mutex);
    return made ? cuda_hold_event(stream, sequence) : NULL;
}

void cuda_mark_passed(eum_dstream *base, uint64_t *out_sequence)
{
    cuda_stream *stream = stream_of(base);
    (void)pthread_mutex_lock(&stream->mutex);
    retire(stream, stream->newest);
    *out_sequence = ++stream->newest;
    atomic_store_explicit(&stream->passed, stream->newest, memory_order_release);
    (void)pthread_mutex_unlock(&stream->mutex);
}

eum_status cuda_order(eum_dstream *base, eum_dstream *other, uint64_t sequence)
{
    cuda_stream *stream = stream_of(base), *first = stream_of(other);
    if (cuda_has_passed(first, sequence))
        return EUM_OK;
    cuda_scope scope;
    eum_status status = cuda_stream_enter(stream, &scope);
    if (status != EUM_OK)
        return status;
    cuda_event *event = cuda_hold_event(first, sequence);
    if (event != NULL) {
        cudaError_t error = cudaStreamWaitEvent(stream->native, event->event, 0);
        if (error != cudaSuccess)
            status = cuda_failed(device_of(stream), error, "Ordering one stream after another");
        cuda_let_go_event(first, event, false, sequence);
    }
    cuda_leave(&scope);
    return status;
}

void *cuda_native(eum_dstream *base)
{
    cuda_stream *stream = stream_of(base);
    atomic_store_explicit(&stream->signal.usable, false, memory_order_relaxed);
    return stream->native;
}

/* Inside enter and leave. Our own event will be used again for other marks, so the exported one is recorded behind it on a stream of its own;
 * destroying that stream leaves what was submitted to it running. */
static cudaError_t record_behind(const cuda_event *event, cudaEvent_t exported)
{
    cudaStream_t behind = NULL;
    cudaError_t error = cudaStreamCreateWithFlags(&behind, cudaStreamNonBlocking);
    if (error != cudaSuccess)
        return error;
    if (event != NULL)
        error = cudaStreamWaitEvent(behind, event->event, 0);
    if (error == cudaSuccess)
        error = cudaEventRecord(exported, behind);
    cudaError_t destroyed = cudaStreamDestroy(behind);
    return error != cudaSuccess ? error : destroyed;
}

eum_status cuda_export_event(eum_dstream *base, uint64_t sequence, void **out)
{
    cuda_stream *stream = stream_of(base);
    cuda_device *device = device_of(stream);
    cuda_scope scope;
    eum_status status = cuda_enter(device, &scope);
    if (status != EUM_OK)
        return status;
    cudaEvent_t exported = NULL;
    cudaError_t error = cudaEventCreateWithFlags(&exported, cudaEventDisableTiming);
    if (error == cudaSuccess) {
        cuda_event *event = cuda_hold_event(stream, sequence);
        error = record_behind(event, exported);
        if (event != NULL)
            cuda_let_go_event(stream, event, false, sequence);
        if (error != cudaSuccess)
            (void)cudaEventDestroy(exported);
    }
    if (error != cudaSuccess)
        status = cuda_failed(device, error, "Exporting an event");
    else
        *out = exported;
    cuda_leave(&scope);
    return status;
}

#endif
