/* cudart_wait: waiting for marks, for a stream, for the device.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "device/device.h"

#if EUM_HAVE_CUDA

#include <time.h>

#include "device/cudart.h"

/* A CUDA program's own default is to spin as long as the kernel takes. We spin for so long (256 MiB over the link) and then nap between
 * looks, each nap a small part of what was waited so far: with a sixteenth, after 1 ms, copies of 64 MiB reached 0.97 of the rate of
 * those that spin. Not cudaEventBlockingSync: recording the 57th such event that is pending waits for the first (driver 580), and a mark
 * must not wait. */
#define SPIN_NS INT64_C(6000000)
#define NAP_PART 64
#define LONGEST_NAP_NS INT64_C(500000)
#define SHORTEST_NAP_NS INT64_C(20000)
/* Who waits for all of a stream looks for its mark, too, once that has taken so long; before, looking would only delay them. */
#define ALONE_NS INT64_C(100000)
/* Work that was submitted so short a time ago is taken to be under way, and a signal is sent without asking first: in ticks, 4 to 8 us. Sending one
 * behind work that is over would take 2 us longer than asking. */
#define JUST_NOW UINT64_C(16384)
/* Who waits for a signal asks that often all the same. */
#define ASK_NS INT64_C(30000)
#define LOOKS_PER_TIME 32

static cuda_stream *stream_of(eum_dstream *stream)
{
    return (cuda_stream *)stream;
}

static cuda_device *device_of(const cuda_stream *stream)
{
    return (cuda_device *)stream->base.device;
}

bool cuda_passed(eum_dstream *base, uint64_t sequence)
{
    cuda_stream *stream = stream_of(base);
    cuda_device *device = device_of(stream);
    if (cuda_has_passed(stream, sequence) || cuda_is_gone(device))
        return true;
    if (eum_callback_depth > 0)
        return false; /* CUDA must not be asked from inside a callback: it is not known */
    cuda_scope scope;
    if (cuda_enter_primary(device->primary, &scope) != cudaSuccess)
        return true; /* exiting, or its context is gone */
    cuda_event *event = cuda_hold_event(stream, sequence);
    bool done = true;
    if (event != NULL) {
        done = cuda_query_event(device, event) == cudaSuccess;
        cuda_let_go_event(stream, event, done, sequence);
    }
    cuda_leave(&scope);
    return done || cuda_is_gone(device);
}

static void nap(int64_t waited, int64_t left)
{
    int64_t length = waited / NAP_PART;
    length = length < SHORTEST_NAP_NS ? SHORTEST_NAP_NS : length > LONGEST_NAP_NS ? LONGEST_NAP_NS : length;
    (void)nanosleep(&(struct timespec){.tv_nsec = (long)(length < left ? length : left)}, NULL);
}

/* Of the event. *event NULL: of all that was submitted to the stream; but others may submit more for ever, so after a while of the mark, if it has
 * been made, whose event then is held. */
static cudaError_t look(cuda_stream *stream, uint64_t sequence, cuda_event **event, int64_t waited)
{
    if (*event == NULL && waited >= ALONE_NS)
        *event = cuda_hold_event_if_made(stream, sequence);
    if (*event == NULL && cuda_has_passed(stream, sequence))
        return cudaSuccess;
    return *event != NULL ? cudaEventQuery((*event)->event) : cudaStreamQuery(stream->native);
}

/* A signal behind what is awaited, if nothing else would be awaited with it. */
static bool send_signal(cuda_stream *stream, uint64_t sequence, const cuda_event *event, uint32_t *out_number)
{
    (void)pthread_mutex_lock(&stream->mutex);
    bool newest = event == NULL || (sequence == stream->newest && !atomic_load_explicit(&stream->unmarked, memory_order_relaxed));
    (void)pthread_mutex_unlock(&stream->mutex);
    return newest && cuda_signal_send(stream, out_number);
}

/* Looks for the signal for a while. */
static bool watch(const cuda_stream *stream, uint32_t number)
{
    for (int i = 0; i < LOOKS_PER_TIME; i++) {
        if (cuda_signal_came(stream, number))
            return true;
        EUM_PAUSE();
    }
    return false;
}

/* NotReady when the time is over. */
static cudaError_t look_until_over(cuda_stream *stream, uint64_t sequence, cuda_event **event, int64_t timeout_ns)
{
    cuda_device *device = device_of(stream);
    uint32_t number = 0;
    bool now = eum_ticks() - atomic_load_explicit(&stream->submitted_at, memory_order_relaxed) < JUST_NOW;
    bool signals = timeout_ns != 0 && now && send_signal(stream, sequence, *event, &number);
    cudaError_t error = signals ? cudaErrorNotReady : look(stream, sequence, event, 0);
    if (error == cudaErrorNotReady && !signals && timeout_ns != 0)
        signals = send_signal(stream, sequence, *event, &number);
    int64_t begin = timeout_ns != 0 ? eum_now_ns() : 0, waited = 0, asked = 0, spin = eum_spin_ns() != 0 ? SPIN_NS : 0;
    int64_t limit = timeout_ns < 0 ? INT64_MAX : timeout_ns;
    while (error == cudaErrorNotReady && waited < limit) {
        if (signals && watch(stream, number)) {
            error = cudaSuccess;
            break;
        }
        if (waited >= spin)
            nap(waited, limit - waited);
        else if (!signals)
            EUM_PAUSE();
        if (!signals || waited >= spin || waited - asked >= ASK_NS) {
            error = look(stream, sequence, event, waited);
            asked = waited;
        }
        waited = eum_now_ns() - begin;
    }
    (void)cudaGetLastError(); /* NotReady leaves its mark there */
    if (error != cudaSuccess && error != cudaErrorNotReady)
        cuda_lose(device, (int32_t)error);
    return error;
}

static eum_status enter_to_wait(cuda_device *device, cuda_scope *out)
{
    if (eum_callback_depth > 0) /* CUDA must not be asked from inside a callback: it is not known */
        return eum_fail(EUM_ERROR_TIMEOUT,
                        "Whether the work is done cannot be asked from inside a callback; ask from another thread.");
    return cuda_enter(device, out);
}

static eum_status waited(cuda_device *device, cudaError_t error, int64_t timeout_ns)
{
    if (error == cudaErrorNotReady)
        return eum_fail(EUM_ERROR_TIMEOUT, "The work on CUDA device %d is not done after %lld ns; it goes on, wait again.",
                        (int)device->base.caps.index, (long long)timeout_ns);
    return error == cudaSuccess ? EUM_OK : cuda_failed(device, error, "The work on a stream");
}

eum_status cuda_wait(eum_dstream *base, uint64_t sequence, int64_t timeout_ns)
{
    cuda_stream *stream = stream_of(base);
    cuda_device *device = device_of(stream);
    if (cuda_has_passed(stream, sequence))
        return EUM_OK;
    cuda_scope scope;
    eum_status status = enter_to_wait(device, &scope);
    if (status != EUM_OK)
        return status;
    cuda_event *event = cuda_hold_event(stream, sequence);
    if (event != NULL) {
        cudaError_t error = look_until_over(stream, sequence, &event, timeout_ns);
        status = waited(device, error, timeout_ns);
        cuda_let_go_event(stream, event, error == cudaSuccess, sequence);
    }
    cuda_leave(&scope);
    return status;
}

eum_status cuda_drain(eum_dstream *base, uint64_t sequence, int64_t timeout_ns)
{
    cuda_stream *stream = stream_of(base);
    cuda_device *device = device_of(stream);
    cuda_scope scope;
    eum_status status = enter_to_wait(device, &scope);
    if (status != EUM_OK)
        return status;
    cuda_event *event = NULL;
    cudaError_t error = look_until_over(stream, sequence, &event, timeout_ns);
    status = waited(device, error, timeout_ns);
    if (event != NULL)
        cuda_let_go_event(stream, event, error == cudaSuccess, sequence);
    cuda_leave(&scope);
    return status;
}

eum_status cuda_synchronize(eum_device *base)
{
    cuda_device *device = cuda_of(base);
    cuda_scope scope;
    eum_status status = cuda_enter(device, &scope);
    if (status != EUM_OK)
        return status;
    cudaError_t error = cudaDeviceSynchronize();
    if (error != cudaSuccess)
        status = cuda_failed(device, error, "Waiting for all work");
    cuda_leave(&scope);
    return status;
}

#endif
