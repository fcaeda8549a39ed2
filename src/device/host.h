/* host: what the files of the host device share: host.c (the table), host_memory.c, host_stream.c.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_DEVICE_HOST_H
#define EUM_DEVICE_HOST_H

#include <pthread.h>

#include "device/device.h"

#define HOST_ALIGNMENT ((size_t)256)
#define HOST_BLOCK ((size_t)2 << 20) /* a huge page of x86-64 */

typedef struct host_stream host_stream;

typedef struct host_device {
    eum_device base;
    const eum_log *log;
    eum_workers *workers; /* NULL: copies run on the stream's thread alone */
    pthread_mutex_t mutex;
    uint32_t references;  /* the opener's and one a stream */
    host_stream *streams; /* all whose references are above 0 */
} host_device;

void host_device_unref(host_device *device);

/* Memory. */
eum_status host_alloc(eum_device *device, eum_memory kind, size_t bytes, eum_block *out);
void host_release(eum_device *device, eum_block *block);
eum_status host_adopt(eum_device *device, eum_memory kind, void *address, size_t bytes, bool reg, eum_block *out);
void host_unadopt(eum_device *device, eum_block *block);
void host_give_up(eum_device *device, eum_block *block, eum_release_fn *out_release, void **out_user);

/* One entry of a stream's queue. */
typedef enum host_item_kind { HOST_ITEM_KERNEL, HOST_ITEM_COPY, HOST_ITEM_CALL, HOST_ITEM_ORDER } host_item_kind;
typedef struct host_item {
    host_item_kind kind;
    bool anywhere; /* kernels: as in the task, which is gone when the kernel is done */
    uint64_t own;  /* the mark that comes next, given by host_stream_push */
    union {
        eum_task *task;
        struct {
            void *dst;
            const void *src;
            size_t bytes;
        };
        struct {
            void (*fn)(void *user);
            void *user;
        };
        struct {
            eum_dstream *other; /* a reference */
            uint64_t sequence;
        };
    };
} host_item;
void host_item_run(host_device *device, host_item *item);

/* Streams. */
eum_status host_stream_create(eum_device *device, eum_dstream **out);
void host_stream_destroy(eum_dstream *stream);
void host_stream_unref(eum_dstream *stream);
/* Appends a copy of the entry. Errors: EUM_ERROR_OUT_OF_MEMORY, EUM_ERROR_SYSTEM (no thread); nothing has changed then. */
eum_status host_stream_push(host_stream *stream, const host_item *item);
eum_status host_stream_mark(eum_dstream *stream, uint64_t *out_sequence);
bool host_stream_passed(eum_dstream *stream, uint64_t sequence);
eum_status host_stream_wait(eum_dstream *stream, uint64_t sequence, int64_t timeout_ns);
eum_status host_stream_order(eum_dstream *stream, eum_dstream *other, uint64_t sequence);
eum_status host_synchronize(eum_device *device);

#endif
