/* host_stream: ordered queues, each run by a thread of its own that starts with the first entry and ends after a second without one.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * An entry has the number of the mark that comes next. What has passed is every mark before the oldest unfinished entry, so that one
 * on an idle stream has passed at once and costs no thread. A stream lives as long as its references: the handle, its running
 * thread, and each entry of another stream that waits for it.
 *
 * Who waits without a limit runs the library's own kernels himself if the thread has not begun: waking it takes longer than a small one.
 * Where each launch is followed by such a wait, the thread is not woken at all (a wake is a system call of several microseconds): it naps,
 * and looks at the queue every NAP_NS by itself, so that a launch that nobody waits for starts all the same. */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "device/host.h"
#include "threads.h"

#define IDLE_NS INT64_C(1000000000)
#define NAP_NS INT64_C(250000)   /* a launch that nobody waits for may be two of these late, after one that was waited for */
#define MOMENT_NS INT64_C(30000) /* what one that it finds is left to who may be about to wait for it */
#define NAPS 16u                 /* without a launch, until it sleeps soundly: a nap costs a processor 2 to 3 us */
#define FIRST_CAPACITY 16u       /* a power of two, as all capacities */

struct host_stream {
    eum_dstream base;
    host_stream *next, **link; /* the device's list, under the device's mutex */
    uint32_t references;       /* likewise */

    pthread_mutex_t mutex;
    pthread_cond_t work;    /* the thread sleeps here */
    pthread_cond_t passing; /* those who wait sleep here */
    host_item *items;       /* ring; [head, tail), the head is unfinished until it is taken off */
    uint32_t capacity;
    atomic_uint_fast64_t head; /* written under the mutex by who ran the entry */
    atomic_uint_fast64_t tail;
    uint64_t newest; /* mark */
    atomic_uint_fast64_t passed;
    uint32_t waiting; /* on `passing` */
    atomic_bool busy; /* the head is being run; written under the mutex */
    bool followed;    /* the newest launch was waited for before the next one, and may be run by who waits */
    bool thread_sleeps;
    int64_t look;  /* when it sleeps: the time at which it looks at the queue by itself */
    bool running;  /* the thread is there and will look at the queue again */
    bool joinable; /* `thread` was started and not joined */
    atomic_bool stop;
    pthread_t thread;
};

static host_stream *stream_of(eum_dstream *stream)
{
    return (host_stream *)stream;
}

static host_device *device_of(const host_stream *stream)
{
    return (host_device *)stream->base.device;
}

/* ------------------------------------------------------------------------------------------------ lifetime --------- */

eum_status host_stream_create(eum_device *device, eum_dstream **out)
{
    host_device *host = (host_device *)device;
    host_stream *stream = calloc(1, sizeof *stream);
    host_item *items = malloc(FIRST_CAPACITY * sizeof *items);
    if (stream == NULL || items == NULL) {
        free(stream);
        free(items);
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "No memory for a stream (%zu bytes).",
                        sizeof *stream + FIRST_CAPACITY * sizeof *items);
    }
    stream->base.device = device;
    stream->items = items;
    stream->capacity = FIRST_CAPACITY;
    stream->references = 1;
    (void)pthread_mutex_init(&stream->mutex, NULL);
    (void)eum_condition_init(&stream->work);
    (void)eum_condition_init(&stream->passing);
    (void)pthread_mutex_lock(&host->mutex);
    host->references++;
    stream->next = host->streams;
    stream->link = &host->streams;
    if (stream->next != NULL)
        stream->next->link = &stream->next;
    host->streams = stream;
    (void)pthread_mutex_unlock(&host->mutex);
    *out = &stream->base;
    return EUM_OK;
}

static void stream_ref(host_stream *stream)
{
    host_device *device = device_of(stream);
    (void)pthread_mutex_lock(&device->mutex);
    stream->references++;
    (void)pthread_mutex_unlock(&device->mutex);
}

/* Of a reference that is not the last: the caller has another. */
static void take_back_ref(host_stream *stream)
{
    host_device *device = device_of(stream);
    (void)pthread_mutex_lock(&device->mutex);
    stream->references--;
    (void)pthread_mutex_unlock(&device->mutex);
}

void host_stream_unref(eum_dstream *base)
{
    host_stream *stream = stream_of(base);
    host_device *device = device_of(stream);
    (void)pthread_mutex_lock(&device->mutex);
    bool last = --stream->references == 0;
    if (last) {
        *stream->link = stream->next;
        if (stream->next != NULL)
            stream->next->link = stream->link;
    }
    (void)pthread_mutex_unlock(&device->mutex);
    if (!last)
        return;
    (void)pthread_cond_destroy(&stream->passing);
    (void)pthread_cond_destroy(&stream->work);
    (void)pthread_mutex_destroy(&stream->mutex);
    free(stream->items);
    free(stream);
    host_device_unref(device);
}

void host_stream_destroy(eum_dstream *base)
{
    host_stream *stream = stream_of(base);
    (void)pthread_mutex_lock(&stream->mutex);
    atomic_store(&stream->stop, true);
    (void)pthread_cond_signal(&stream->work);
    bool joinable = stream->joinable;
    stream->joinable = false;
    (void)pthread_mutex_unlock(&stream->mutex);
    if (joinable && pthread_equal(stream->thread, pthread_self()))
        (void)pthread_detach(stream->thread); /* from its own callback: its reference keeps the stream until it has left */
    else if (joinable)
        (void)pthread_join(stream->thread, NULL);
    host_stream_unref(base);
}

/* ----------------------------------------------------------------------------------------------- the thread -------- */

static bool has_work(const void *arg)
{
    const host_stream *stream = arg;
    return (atomic_load(&stream->tail) != atomic_load(&stream->head) && !atomic_load(&stream->busy)) || atomic_load(&stream->stop);
}

/* Under the mutex: every mark before the oldest unfinished entry has passed. */
static void publish_passed(host_stream *stream)
{
    bool empty = stream->head == atomic_load(&stream->tail);
    uint64_t passed = empty ? stream->newest : stream->items[stream->head & (stream->capacity - 1)].own - 1;
    atomic_store_explicit(&stream->passed, passed, memory_order_release);
    if (stream->waiting != 0)
        (void)pthread_cond_broadcast(&stream->passing);
}

/* Under the mutex: wakes the thread if it sleeps. */
static void wake_thread(host_stream *stream)
{
    if (stream->thread_sleeps)
        (void)pthread_cond_signal(&stream->work);
}

/* Under the mutex: an entry that nobody runs, by its place in all that there were, from 1; 0: none. */
static uint64_t waiting_entry(const host_stream *stream)
{
    bool none = atomic_load(&stream->busy) || atomic_load(&stream->tail) == stream->head;
    return none ? 0 : stream->head + 1;
}

/* Under the mutex: waits for an entry that nobody else runs; false if the thread shall end. While somebody does it stays. An entry that a nap
 * finds has most likely just come, and who brought it is about to wait for it, and to run it: it is left to him until the next look. */
static bool wait_for_work(host_stream *stream)
{
    int64_t now = eum_now_ns(), idle = now + IDLE_NS, nap = NAP_NS;
    uint64_t seen = atomic_load(&stream->head), left = 0;
    unsigned naps = stream->followed ? NAPS : 0;
    bool soon = false; /* look again after MOMENT_NS */
    while (atomic_load(&stream->busy) || (has_work(stream) ? left != 0 && waiting_entry(stream) == left : now < idle)) {
        bool busy = atomic_load(&stream->busy);
        stream->look = busy ? now + nap : soon ? now + MOMENT_NS : naps > 0 || left != 0 ? now + NAP_NS : idle;
        stream->thread_sleeps = true;
        bool told = eum_condition_wait_until(&stream->work, &stream->mutex, stream->look);
        stream->thread_sleeps = false;
        now = eum_now_ns();
        naps -= naps > 0;
        nap = nap < IDLE_NS ? nap * 2 : nap;      /* a long kernel needs no company */
        if (seen != atomic_load(&stream->head)) { /* somebody ran one meanwhile */
            seen = atomic_load(&stream->head);
            idle = now + IDLE_NS;
            nap = NAP_NS;
            naps = NAPS;
        }
        uint64_t found = waiting_entry(stream);
        soon = !told && stream->followed && found != 0 && left == 0;
        left = told || !stream->followed || found == left ? 0 : found;
    }
    return atomic_load(&stream->tail) != stream->head;
}

/* Under the mutex, which it releases meanwhile: runs the head. */
static void run_head(host_stream *stream)
{
    host_item item = stream->items[stream->head & (stream->capacity - 1)];
    atomic_store(&stream->busy, true);
    (void)pthread_mutex_unlock(&stream->mutex);
    host_item_run(device_of(stream), &item);
    (void)pthread_mutex_lock(&stream->mutex);
    atomic_store(&stream->busy, false);
    stream->head++;
    publish_passed(stream);
}

/* Runs entries up to `sequence` as long as they may run anywhere and nobody else runs one; the thread shall do what is left. */
static void help(host_stream *stream, uint64_t sequence)
{
    eum_error before;
    eum_error_save(&before);
    (void)pthread_mutex_lock(&stream->mutex);
    while (atomic_load(&stream->tail) != stream->head) {
        const host_item *item = &stream->items[stream->head & (stream->capacity - 1)];
        if (item->own > sequence || !item->anywhere)
            break;
        stream->followed = atomic_load(&stream->tail) == stream->head + 1;
        if (atomic_load(&stream->busy))
            break;
        run_head(stream);
    }
    if (atomic_load(&stream->tail) != stream->head || atomic_load(&stream->stop))
        wake_thread(stream);
    (void)pthread_mutex_unlock(&stream->mutex);
    eum_error_restore(&before);
}

/* For who waits and does not help. */
static void do_not_nap(host_stream *stream)
{
    (void)pthread_mutex_lock(&stream->mutex);
    if (atomic_load(&stream->tail) != stream->head && !atomic_load(&stream->busy))
        wake_thread(stream);
    (void)pthread_mutex_unlock(&stream->mutex);
}

static void *thread_main(void *arg)
{
    host_stream *stream = arg;
    (void)pthread_mutex_lock(&stream->mutex);
    for (;;) {
        if (!has_work(stream) || atomic_load(&stream->busy)) {
            if (!stream->followed) {
                (void)pthread_mutex_unlock(&stream->mutex);
                (void)eum_spin_until(has_work, stream);
                (void)pthread_mutex_lock(&stream->mutex);
            }
            if (!wait_for_work(stream))
                break;
        }
        if (atomic_load(&stream->tail) == stream->head)
            break;                /* told to stop */
        stream->followed = false; /* until somebody waits */
        run_head(stream);
    }
    stream->running = false;
    (void)pthread_mutex_unlock(&stream->mutex);
    host_stream_unref(&stream->base);
    return NULL;
}

/* Under the mutex. */
static eum_status start_thread(host_stream *stream)
{
    if (stream->joinable) {
        (void)pthread_join(stream->thread, NULL); /* has left the loop: it takes no lock of the stream any more */
        stream->joinable = false;
    }
    stream_ref(stream);
    int failed = eum_thread_start(&stream->thread, "eum-stream", thread_main, stream);
    if (failed != 0) {
        take_back_ref(stream);
        return eum_fail(EUM_ERROR_SYSTEM,
                        "The thread of a stream cannot be started: %s (errno %d); end other threads or raise the limit.",
                        strerror(failed), failed);
    }
    stream->joinable = true;
    stream->running = true;
    return EUM_OK;
}

/* Under the mutex: room for one entry more. */
static eum_status reserve(host_stream *stream)
{
    uint64_t tail = atomic_load(&stream->tail);
    if (tail - stream->head < stream->capacity)
        return EUM_OK;
    host_item *items = stream->capacity <= UINT32_MAX / 2 ? malloc((size_t)stream->capacity * 2 * sizeof *items) : NULL;
    if (items == NULL)
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "No memory for more than %u pending entries of a stream; wait for some of them.",
                        stream->capacity);
    for (uint64_t i = stream->head; i != tail; i++)
        items[i & (stream->capacity * 2 - 1)] = stream->items[i & (stream->capacity - 1)];
    free(stream->items);
    stream->items = items;
    stream->capacity *= 2;
    return EUM_OK;
}

eum_status host_stream_push(host_stream *stream, const host_item *item)
{
    (void)pthread_mutex_lock(&stream->mutex);
    eum_status status = reserve(stream);
    if (status == EUM_OK && !stream->running)
        status = start_thread(stream);
    if (status == EUM_OK) {
        uint64_t tail = atomic_load(&stream->tail);
        host_item *place = &stream->items[tail & (stream->capacity - 1)];
        *place = *item;
        place->own = stream->newest + 1;
        atomic_store(&stream->tail, tail + 1);
        stream->followed = stream->followed && tail == stream->head && item->anywhere;
        if (stream->thread_sleeps && !(stream->followed && stream->look - eum_now_ns() <= NAP_NS))
            wake_thread(stream);
    }
    (void)pthread_mutex_unlock(&stream->mutex);
    return status;
}

/* --------------------------------------------------------------------------------------------------- points -------- */

eum_status host_stream_mark(eum_dstream *base, uint64_t *out_sequence)
{
    host_stream *stream = stream_of(base);
    (void)pthread_mutex_lock(&stream->mutex);
    *out_sequence = ++stream->newest;
    publish_passed(stream);
    (void)pthread_mutex_unlock(&stream->mutex);
    return EUM_OK;
}

bool host_stream_passed(eum_dstream *base, uint64_t sequence)
{
    return atomic_load_explicit(&stream_of(base)->passed, memory_order_acquire) >= sequence;
}

typedef struct point {
    eum_dstream *stream;
    uint64_t sequence;
} point;

static bool point_passed(const void *arg)
{
    const point *at = arg;
    return host_stream_passed(at->stream, at->sequence);
}

eum_status host_stream_wait(eum_dstream *base, uint64_t sequence, int64_t timeout_ns)
{
    host_stream *stream = stream_of(base);
    point at = {base, sequence};
    if (point_passed(&at))
        return EUM_OK;
    if (timeout_ns != 0) {
        int64_t now = timeout_ns < 0 ? 0 : eum_now_ns();
        int64_t deadline = timeout_ns < 0 ? -1 : timeout_ns > INT64_MAX - now ? INT64_MAX : now + timeout_ns;
        if (timeout_ns < 0 && eum_callback_depth == 0)
            help(stream, sequence);
        else
            do_not_nap(stream);
        if (eum_spin_until(point_passed, &at))
            return EUM_OK;
        (void)pthread_mutex_lock(&stream->mutex);
        stream->waiting++;
        bool in_time = true;
        while (!point_passed(&at) && in_time)
            in_time = eum_condition_wait_until(&stream->passing, &stream->mutex, deadline);
        stream->waiting--;
        (void)pthread_mutex_unlock(&stream->mutex);
        if (point_passed(&at))
            return EUM_OK;
    }
    return eum_fail(EUM_ERROR_TIMEOUT, "The work on the host is not done after %lld ns; it goes on, wait again.",
                    (long long)timeout_ns);
}

eum_status host_stream_order(eum_dstream *base, eum_dstream *other, uint64_t sequence)
{
    if (host_stream_passed(other, sequence))
        return EUM_OK;
    stream_ref(stream_of(other));
    eum_status status =
        host_stream_push(stream_of(base), &(host_item){.kind = HOST_ITEM_ORDER, .other = other, .sequence = sequence});
    if (status != EUM_OK)
        host_stream_unref(other);
    return status;
}

eum_status host_synchronize(eum_device *device)
{
    host_device *host = (host_device *)device;
    (void)pthread_mutex_lock(&host->mutex);
    host_stream *stream = host->streams;
    if (stream != NULL)
        stream->references++; /* what has a reference stays in the list */
    (void)pthread_mutex_unlock(&host->mutex);
    while (stream != NULL) {
        uint64_t sequence;
        (void)host_stream_mark(&stream->base, &sequence);
        (void)host_stream_wait(&stream->base, sequence, -1);
        (void)pthread_mutex_lock(&host->mutex);
        host_stream *next = stream->next;
        if (next != NULL)
            next->references++;
        (void)pthread_mutex_unlock(&host->mutex);
        host_stream_unref(&stream->base);
        stream = next;
    }
    return EUM_OK;
}
