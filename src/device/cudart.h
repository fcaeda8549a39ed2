/* cudart: what the files of the CUDA device share: cudart.c (opening, the table), cudart_call.c (how a call is made and how it fails),
 * cudart_memory.c, cudart_pinned.c, cudart_stream.c, cudart_wait.c, cudart_signal.c, cudart_queue.c, cudart_graph.c, cudart_count.c, cudart_cupti.c.
 * Only these include CUDA's headers.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_DEVICE_CUDART_H
#define EUM_DEVICE_CUDART_H

#include <cuda_runtime_api.h>
#include <pthread.h>
#include <stdatomic.h>

#include "device/device.h"
#include "device/repeats.h"
#include "threads.h"

#define CUDA_BLOCK ((size_t)2 << 20) /* the driver's VA block */

/* CUmemLocation, whose types for managed memory are newer than CUDA 12.0. */
typedef struct cuda_location {
    int type;
    int id;
} cuda_location;
#define CUDA_LOCATION_DEVICE 1
#define CUDA_LOCATION_HOST 2

/* Calls of the driver, looked up at run time: they push and pop contexts, which the runtime cannot, or are newer than CUDA 12.0. Their
 * results (CUresult) have the numbers of cudaError_t. */
typedef struct cuda_driver {
    int (*context_push)(void *context);
    int (*context_pop)(void **out);
    int (*context_current)(void **out);
    int (*context_make_current)(void *context);
    int (*primary_retain)(void **out, int device);
    int (*device_name)(char *name, int capacity, int device);
    int (*stream_context)(cudaStream_t stream, void **out);
    int (*pointer_attributes)(unsigned count, const int *attributes, void **out, unsigned long long address);
    /* In every launch: without the runtime's part, which takes about 25 ns a call. */
    int (*exchange_capture_mode)(enum cudaStreamCaptureMode *mode);
    int (*event_record)(cudaEvent_t event, cudaStream_t stream);
    int (*graph_launch)(cudaGraphExec_t graph, cudaStream_t stream); /* NULL: kernels are launched one by one */
    /* NULL: waits do without. */
    int (*write_value)(cudaStream_t stream, unsigned long long address, uint32_t value, unsigned flags);
    /* NULL before CUDA 13. */
    int (*prefetch_batch)(unsigned long long *addresses, size_t *sizes, size_t count, cuda_location *locations,
                          size_t *first_of_location, size_t location_count, unsigned long long flags, cudaStream_t stream);
    int (*discard_batch)(unsigned long long *addresses, size_t *sizes, size_t count, unsigned long long flags, cudaStream_t stream);
} cuda_driver;
extern cuda_driver cuda_calls; /* filled once cuda_load_driver has succeeded */

/* One a CUDA device, for the life of the process: the primary context is retained once and never given back, so that memory that was
 * given up can be freed after its device was closed. */
typedef struct cuda_primary {
    int index;
    void *context; /* NULL: not retained yet */
} cuda_primary;

typedef struct cuda_event {
    cudaEvent_t event;
    uint32_t references;     /* its place among the marks, and each thread that waits; under the stream's mutex */
    struct cuda_event *next; /* among the spare ones */
} cuda_event;
typedef struct cuda_stream cuda_stream;

#define CUDA_SIGNALS 64u /* streams of a device that have one; the others do without */

typedef struct cuda_device {
    eum_device base;
    const eum_log *log;
    const cuda_primary *primary;
    atomic_int fatal; /* the CUDA code that ended the device, 0 while it lives */
    pthread_mutex_t mutex;
    cuda_event *spare_events;   /* of streams that have ended; under the mutex */
    struct cuda_window *window; /* of the counters; NULL until the first */
    struct {
        eum_block page; /* pinned; host NULL: none (yet) */
        bool tried;
        uint64_t taken;              /* a bit for each place */
        uint32_t sent[CUDA_SIGNALS]; /* the last number that the place's last stream has sent */
    } signals;                       /* under the mutex */
} cuda_device;

static inline cuda_device *cuda_of(eum_device *device)
{
    return (cuda_device *)device;
}

/* ---- how a call is made (cudart_call.c) ---- */

/* What this thread had before: CUDA calls are made between enter and leave, which leave its current context and its capture mode as they
 * were. The capture mode is relaxed meanwhile, so that our allocations do not end a capture of the application. */
typedef struct cuda_scope {
    enum cudaStreamCaptureMode mode;
    bool pushed;  /* else the device's context was current already */
    bool relaxed; /* else the capture mode was left alone */
} cuda_scope;
cudaError_t cuda_load_driver(void);
cudaError_t cuda_primary_get(int index, const cuda_primary **out);
cudaError_t cuda_enter_primary(const cuda_primary *primary, cuda_scope *out);
/* The same for an operation: fails with EUM_ERROR_DEVICE_LOST if the device is lost or the process is exiting. */
eum_status cuda_enter(cuda_device *device, cuda_scope *out);
/* The same for the launch of a kernel and nothing else, which no capture minds: the mode is left alone. */
eum_status cuda_enter_to_launch(cuda_device *device, cuda_scope *out);
void cuda_leave(const cuda_scope *scope);

/* From the first moment of exit() on, CUDA must not be called any more: it unloads in an order that nobody knows. */
bool cuda_is_exiting(void);
bool cuda_is_gone(const cuda_device *device); /* lost, or the process is exiting */

/* The device is lost, by that code. */
void cuda_lose(cuda_device *device, int32_t code);
/* The same if it is a code after which CUDA works no more. */
void cuda_note(cuda_device *device, int32_t code);
/* A call that failed: clears CUDA's last error, notes, and makes the detail: "<what> failed: ...". Inside enter and leave. */
eum_status cuda_failed_as(cuda_device *device, eum_status status, cudaError_t error, const char *format, ...) EUM_PRINTF(4, 5);
#define cuda_failed(device, error, ...) cuda_failed_as(device, eum_status_from_cuda((int32_t)(error)), error, __VA_ARGS__)

/* ---- memory (cudart_memory.c) ---- */

eum_status cuda_memory(eum_device *device, uint64_t *out_free, uint64_t *out_total);
eum_status cuda_alloc(eum_device *device, eum_memory kind, size_t bytes, eum_block *out);
void cuda_release(eum_device *device, eum_block *block);
eum_status cuda_adopt(eum_device *device, eum_memory kind, void *address, size_t bytes, bool reg, eum_block *out);
void cuda_unadopt(eum_device *device, eum_block *block);
bool cuda_is_pinned(eum_device *device, const void *address, size_t bytes);
/* Inside enter and leave: is every byte pinned, by one registration or allocation, or by several that lie side by side? */
bool cuda_all_pinned(const void *address, size_t bytes);
/* By one of them? The driver (580) refuses a copy over several. */
bool cuda_pinned_at_once(const void *address, size_t bytes);
void cuda_give_up(eum_device *device, eum_block *block, eum_release_fn *out_release, void **out_user);
eum_status cuda_advise(eum_device *device, const eum_block *block, size_t offset, size_t bytes, eum_advice advice,
                       eum_location where);
/* The whole pages around [offset, offset + bytes) of a managed block. */
void cuda_pages(const eum_device *device, const eum_block *block, size_t offset, size_t bytes, char **out_begin, size_t *out_bytes);

/* Pinned memory (cudart_pinned.c), mapped for every device: fills in the block's addresses. free: by the host address, also after the device was
 * closed. Inside enter and leave. */
cudaError_t cuda_pinned_alloc(size_t bytes, eum_block *block);
cudaError_t cuda_pinned_free(void *address);

/* ---- streams and marks (cudart_stream.c), waiting (cudart_wait.c), and what streams carry (cudart_queue.c) ---- */

struct cuda_stream {
    eum_dstream base;
    cudaStream_t native;
    bool wrapped;
    pthread_mutex_t mutex;
    /* The events of the marks from passed + 1 to newest, which are not known to have passed; mark n lies at n & (capacity - 1). */
    cuda_event **marks;
    uint32_t capacity; /* a power of two */
    uint64_t newest;
    atomic_uint_fast64_t passed;
    cuda_event *spare_events, *last_spare; /* of no mark, first in, first out; last_spare where there is one. Under the mutex */
    /* The mark that was made with the kernel, while CUDA was entered; 0: none, or something came after it. Of the caller who serialises the
     * calls on the stream. */
    uint64_t submitted;
    eum_repeats *repeats;              /* kernels that are submitted again and again; NULL until one may be. As `submitted` */
    atomic_bool unmarked;              /* something was submitted after the newest mark */
    atomic_uint_fast64_t submitted_at; /* when the newest kernel or copy was, in ticks */
    struct {
        _Atomic uint32_t *word; /* NULL: none */
        unsigned long long address;
        int place;
        uint32_t sent;      /* the newest number; under the mutex */
        atomic_bool usable; /* not once others know the stream: after the signal CUDA may still say "not done" to them */
    } signal;
};

eum_status cuda_stream_create(eum_device *device, eum_dstream **out);
eum_status cuda_stream_wrap(eum_device *device, void *native, eum_dstream **out);
void cuda_stream_destroy(eum_dstream *stream);
eum_status cuda_mark(eum_dstream *stream, uint64_t *out_sequence);
void cuda_mark_passed(eum_dstream *stream, uint64_t *out_sequence);
eum_status cuda_order(eum_dstream *stream, eum_dstream *other, uint64_t sequence);
void *cuda_native(eum_dstream *stream);
eum_status cuda_export_event(eum_dstream *stream, uint64_t sequence, void **out);
/* Frees the spare ones. usable: inside enter and leave, so that CUDA's part can be destroyed too. */
void cuda_events_destroy(cuda_device *device, bool usable);

static inline bool cuda_has_passed(const cuda_stream *stream, uint64_t sequence)
{
    return atomic_load_explicit(&stream->passed, memory_order_acquire) >= sequence;
}
/* Inside enter and leave. Success, or NotReady; any other answer about an event of our own means that the device is lost. */
cudaError_t cuda_query_event(cuda_device *device, const cuda_event *event);
/* The event of a mark, held so that it is not used for another one meanwhile; NULL if the mark is known to have passed. */
cuda_event *cuda_hold_event(cuda_stream *stream, uint64_t sequence);
/* The same; NULL also if no such mark has been made. */
cuda_event *cuda_hold_event_if_made(cuda_stream *stream, uint64_t sequence);
/* done: the mark has passed, and all before it. */
void cuda_let_go_event(cuda_stream *stream, cuda_event *event, bool done, uint64_t sequence);

bool cuda_passed(eum_dstream *stream, uint64_t sequence);
eum_status cuda_wait(eum_dstream *stream, uint64_t sequence, int64_t timeout_ns);
eum_status cuda_drain(eum_dstream *stream, uint64_t sequence, int64_t timeout_ns);
eum_status cuda_synchronize(eum_device *device);

/* Signals (cudart_signal.c). Inside enter and leave, but for `came`. */
void cuda_signal_open(cuda_stream *stream);
void cuda_signal_close(cuda_stream *stream);
/* usable: inside enter and leave. */
void cuda_signals_destroy(cuda_device *device, bool usable);
/* Behind all that the stream carries. false: it cannot be sent. */
bool cuda_signal_send(cuda_stream *stream, uint32_t *out_number);
/* Is all done that was in front of it? */
static inline bool cuda_signal_came(const cuda_stream *stream, uint32_t number)
{
    return (int32_t)(atomic_load_explicit(stream->signal.word, memory_order_acquire) - number) >= 0;
}

/* Inside enter and leave, after a kernel: makes the mark that cuda_mark then gives. */
void cuda_mark_submitted(cuda_stream *stream);
/* Enters for an operation on the stream: as cuda_enter, and EUM_ERROR_CAPTURING while a wrapped stream captures. */
eum_status cuda_stream_enter(cuda_stream *stream, cuda_scope *out);

/* Graphs (cudart_graph.c). Inside enter and leave: launches the task as a graph, if it has become one or does now. false: it is to be launched as any
 * other. */
bool cuda_graph_launch(cuda_stream *stream, eum_task *task);
/* usable: inside enter and leave. */
void cuda_graphs_destroy(cuda_stream *stream, bool usable);

eum_status cuda_copy(eum_dstream *stream, void *dst, const void *src, size_t bytes, eum_direction direction);
eum_status cuda_prefetch(eum_dstream *stream, const eum_block *block, size_t offset, size_t bytes, eum_location where);
eum_status cuda_prefetch_many(eum_dstream *stream, const eum_piece *pieces, size_t count);
eum_status cuda_discard(eum_dstream *stream, const eum_block *block, size_t offset, size_t bytes);
eum_status cuda_submit(eum_dstream *stream, eum_task *task);
eum_status cuda_host_call(eum_dstream *stream, void (*fn)(void *user), void *user);

/* ---- counting (cudart_count.c) ---- */

eum_status cuda_count_begin(eum_device *device);
eum_status cuda_count_end(eum_device *device);
void cuda_count_read(eum_device *device, const eum_block *block, eum_faults *out);
/* Ends what counting there is and frees it. usable: inside enter and leave. */
void cuda_count_close(cuda_device *device, bool usable);

#endif
