/* objects: what stands behind the handles of the C ABI, and how a call holds on to it.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A buffer handle stands for an eum_buf. Context and stream handles stand for the two small objects here: a context's default stream is
 * borrowed by its users, so its handle and the context's belong together. */
#ifndef EUM_FFI_OBJECTS_H
#define EUM_FFI_OBJECTS_H

#include <stdatomic.h>

#include "engine.h"
#include "handle.h"

typedef struct eum_context_object eum_context_object;

typedef struct eum_stream_object {
    eum_strm *stream;
    eum_context *context;      /* the handle, for jobs; it may have ended */
    eum_context_object *owner; /* of a default stream: whose it is. NULL: the stream is its handle's own */
} eum_stream_object;

struct eum_context_object {
    eum_ctx *ctx;
    eum_stream *default_stream; /* its handle */
    eum_stream_object default_object;
    atomic_int references; /* the context's handle and the default stream's */
};

/* Give the object and keep it alive until eum_handle_unpin. Errors: as eum_handle_pin. */
static inline eum_status eum_pin_context(const eum_context *handle, eum_context_object **out)
{
    void *object = NULL;
    eum_status status = eum_handle_pin(handle, EUM_HANDLE_CONTEXT, &object);
    if (status == EUM_OK)
        *out = object;
    return status;
}

static inline eum_status eum_pin_buffer(const eum_buffer *handle, eum_buf **out)
{
    void *object = NULL;
    eum_status status = eum_handle_pin(handle, EUM_HANDLE_BUFFER, &object);
    if (status == EUM_OK)
        *out = object;
    return status;
}

static inline eum_status eum_pin_stream(const eum_stream *handle, eum_stream_object **out)
{
    void *object = NULL;
    eum_status status = eum_handle_pin(handle, EUM_HANDLE_STREAM, &object);
    if (status == EUM_OK)
        *out = object;
    return status;
}

/* Pins the buffer of a view and checks the view. On failure nothing is pinned. Errors: as eum_handle_pin and eum_check_view. */
eum_status eum_pin_view(const char *what, eum_view view, eum_range *out);

#endif
