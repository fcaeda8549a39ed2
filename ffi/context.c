/* context: contexts in the C ABI, with their default streams.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <stdlib.h>

#include "arguments.h"
#include "objects.h"
#include "structs.h"

/* Both handles of a context end in this, each when its last user is gone; the second ends the context. */
static void drop_reference(eum_context_object *object)
{
    if (atomic_fetch_sub(&object->references, 1) != 1)
        return;
    eum_ctx_end(object->ctx);
    free(object);
}

static void finalize_context(void *object)
{
    drop_reference(object);
}

static void finalize_default_stream(void *object)
{
    drop_reference(((eum_stream_object *)object)->owner);
}

static eum_status check_config(const eum_context_config *config)
{
    eum_status status = eum_check_backing(config->backing);
    if (status == EUM_OK)
        status = eum_check_flags("eum_context_config.flags", config->flags, EUM_CONTEXT_OVERSUBSCRIBE);
    if (status == EUM_OK)
        status = eum_check_enum("log_level", config->log_level, EUM_LOG_OFF, EUM_LOG_DEBUG, "EUM_LOG_*");
    return status;
}

eum_status eum_context_create(const eum_context_config *config, eum_context **out)
{
    eum_context_config full;
    eum_context_object *object = NULL;
    void *context = NULL, *stream = NULL;
    eum_status status = eum_check_pointer("out", out);
    if (status == EUM_OK)
        status = eum_struct_take(&eum_context_config_type, config, &full);
    if (status == EUM_OK)
        status = check_config(&full);
    if (status != EUM_OK)
        return status;

    object = calloc(1, sizeof *object);
    if (object == NULL)
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory for a context (%zu bytes); free some and try again", sizeof *object);
    status = eum_handle_reserve(EUM_HANDLE_CONTEXT, &context);
    if (status == EUM_OK)
        status = eum_handle_reserve(EUM_HANDLE_STREAM, &stream);
    if (status == EUM_OK)
        status = eum_ctx_create(&full, &object->ctx);
    if (status != EUM_OK)
        goto fail;

    object->default_stream = stream;
    object->default_object = (eum_stream_object){eum_ctx_default_stream(object->ctx), context, object};
    atomic_init(&object->references, 2);
    eum_handle_publish(stream, &object->default_object, finalize_default_stream);
    eum_handle_publish(context, object, finalize_context);
    *out = context;
    return EUM_OK;

fail:
    if (stream != NULL)
        eum_handle_cancel(stream);
    if (context != NULL)
        eum_handle_cancel(context);
    free(object);
    return status;
}

eum_status eum_context_destroy(eum_context *context)
{
    if (context == NULL)
        return EUM_OK;
    eum_context_object *object = NULL;
    eum_status status = eum_check_may_wait("eum_context_destroy");
    if (status == EUM_OK)
        status = eum_pin_context(context, &object);
    if (status != EUM_OK)
        return status;
    status = eum_handle_retire(context, EUM_HANDLE_CONTEXT, false);
    if (status == EUM_OK) /* of several threads, this one: the default stream's handle is still there to end */
        eum_handle_retire(object->default_stream, EUM_HANDLE_STREAM, false);
    eum_handle_unpin(context);
    return status;
}

eum_status eum_context_default_stream(eum_context *context, eum_stream **out)
{
    eum_context_object *object = NULL;
    eum_status status = eum_check_pointer("out", out);
    if (status == EUM_OK)
        status = eum_pin_context(context, &object);
    if (status != EUM_OK)
        return status;
    *out = object->default_stream;
    eum_handle_unpin(context);
    return EUM_OK;
}
