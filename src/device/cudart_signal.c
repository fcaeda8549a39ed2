/* cudart_signal: a word of pinned memory for each stream, which the stream writes when it gets there.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Asking CUDA whether a stream or an event is done takes 1.2 us, so that who asks again and again learns of it half of that late, and the answer
 * itself comes late. Reading a word takes nothing: a kernel and the wait for it take 8.3 us so, and 9.0 by cudaStreamSynchronize (H100,
 * driver 580). Sending a signal takes the caller 1.1 us, while the device works. CUDA orders the stream's writes before it.
 *
 * A signal is a hint: it may be late or never come, if the device fails or another stream, that has ended since, writes to the same place.
 * Whoever waits for one also asks now and then. */
#include "device/device.h"

#if EUM_HAVE_CUDA

#include "device/cudart.h"

#define PAGE ((size_t)4096)
#define APART (PAGE / CUDA_SIGNALS) /* bytes from one to the next: a cache line of its own each */
_Static_assert(APART == 64, "a cache line");

/* Under the device's mutex, inside enter and leave. */
static bool have_page(cuda_device *device)
{
    if (device->signals.page.host != NULL)
        return true;
    if (!device->signals.tried && cuda_pinned_alloc(PAGE, &device->signals.page) != cudaSuccess) {
        (void)cudaGetLastError();
        device->signals.page.host = NULL;
    }
    device->signals.tried = true;
    return device->signals.page.host != NULL;
}

void cuda_signal_open(cuda_stream *stream)
{
    cuda_device *device = cuda_of(stream->base.device);
    /* Elsewhere the CPU may not touch managed memory before CUDA itself has seen the end of the work. */
    if (cuda_calls.write_value == NULL || !device->base.caps.concurrent_managed || stream->wrapped || eum_spin_ns() == 0)
        return;
    (void)pthread_mutex_lock(&device->mutex);
    if (~device->signals.taken != 0 && have_page(device)) {
        int place = __builtin_ctzll(~device->signals.taken);
        device->signals.taken |= (uint64_t)1 << place;
        stream->signal.place = place;
        /* What a stream before it has sent may still come: its numbers are smaller. */
        stream->signal.sent = device->signals.sent[place];
        stream->signal.word = (_Atomic uint32_t *)(void *)((char *)device->signals.page.host + (size_t)place * APART);
        stream->signal.address = (uintptr_t)device->signals.page.device + (size_t)place * APART;
        atomic_store_explicit(stream->signal.word, stream->signal.sent, memory_order_relaxed);
        atomic_store_explicit(&stream->signal.usable, true, memory_order_relaxed);
    }
    (void)pthread_mutex_unlock(&device->mutex);
}

void cuda_signal_close(cuda_stream *stream)
{
    cuda_device *device = cuda_of(stream->base.device);
    if (stream->signal.word == NULL)
        return;
    (void)pthread_mutex_lock(&device->mutex);
    device->signals.sent[stream->signal.place] = stream->signal.sent;
    device->signals.taken &= ~((uint64_t)1 << stream->signal.place);
    (void)pthread_mutex_unlock(&device->mutex);
}

void cuda_signals_destroy(cuda_device *device, bool usable)
{
    if (device->signals.page.host != NULL && usable && cuda_pinned_free(device->signals.page.host) != cudaSuccess)
        (void)cudaGetLastError();
}

bool cuda_signal_send(cuda_stream *stream, uint32_t *out_number)
{
    if (!atomic_load_explicit(&stream->signal.usable, memory_order_relaxed))
        return false;
    (void)pthread_mutex_lock(&stream->mutex);
    uint32_t number = stream->signal.sent + 1;
    bool sent = cuda_calls.write_value(stream->native, stream->signal.address, number, 0) == 0;
    if (sent)
        stream->signal.sent = number;
    else
        atomic_store_explicit(&stream->signal.usable, false, memory_order_relaxed); /* whoever asks learns why, if it matters */
    (void)pthread_mutex_unlock(&stream->mutex);
    *out_number = number;
    return sent;
}

#endif
