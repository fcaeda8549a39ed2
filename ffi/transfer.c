/* transfer: maps, bulk transfers, prefetch and advice in the C ABI.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "arguments.h"
#include "objects.h"
#include "structs.h"

eum_status eum_buffer_map(eum_view view, eum_access access, void **out)
{
    eum_range range;
    void *address = NULL;
    eum_status status = eum_check_pointer("out", out);
    if (status == EUM_OK)
        status = eum_check_access(access);
    if (status == EUM_OK)
        status = eum_check_may_wait("eum_buffer_map");
    if (status == EUM_OK)
        status = eum_pin_view("the view", view, &range);
    if (status != EUM_OK)
        return status;
    status = eum_buf_map(range, access, &address);
    if (status == EUM_OK)
        *out = address;
    eum_handle_unpin(view.buffer);
    return status;
}

eum_status eum_buffer_unmap(eum_buffer *buffer, void *mapped)
{
    eum_buf *buf = NULL;
    eum_status status = eum_pin_buffer(buffer, &buf);
    if (status != EUM_OK)
        return status;
    status = eum_buf_unmap(buf, mapped);
    eum_handle_unpin(buffer);
    return status;
}

/* NULL is an address like any other where there is nothing to copy. */
static eum_status check_memory(const char *name, const void *pointer, size_t bytes)
{
    return bytes == 0 ? EUM_OK : eum_check_pointer(name, pointer);
}

eum_status eum_buffer_write(eum_view view, const void *src)
{
    eum_range range;
    eum_status status = eum_check_may_wait("eum_buffer_write");
    if (status == EUM_OK)
        status = eum_pin_view("the view", view, &range);
    if (status != EUM_OK)
        return status;
    status = check_memory("src", src, range.bytes);
    if (status == EUM_OK)
        status = eum_buf_write(range, src);
    eum_handle_unpin(view.buffer);
    return status;
}

eum_status eum_buffer_read(eum_view view, void *dst)
{
    eum_range range;
    eum_status status = eum_check_may_wait("eum_buffer_read");
    if (status == EUM_OK)
        status = eum_pin_view("the view", view, &range);
    if (status != EUM_OK)
        return status;
    status = check_memory("dst", dst, range.bytes);
    if (status == EUM_OK)
        status = eum_buf_read(range, dst);
    eum_handle_unpin(view.buffer);
    return status;
}

eum_status eum_buffer_prefetch(eum_view view, eum_location where, eum_stream *stream)
{
    eum_range range;
    eum_stream_object *on = NULL;
    eum_status status = eum_check_location(where);
    if (status == EUM_OK)
        status = eum_pin_view("the view", view, &range);
    if (status != EUM_OK)
        return status;
    if (stream != NULL)
        status = eum_pin_stream(stream, &on);
    if (status == EUM_OK && on != NULL)
        status = eum_check_same_context("the view", range.buf, on->stream);
    if (status == EUM_OK)
        status = eum_buf_prefetch(range, where, on == NULL ? NULL : on->stream);
    if (on != NULL)
        eum_handle_unpin(stream);
    eum_handle_unpin(view.buffer);
    return status;
}

/* Whether the advice is about a location; the others ignore `where`. */
static bool has_location(eum_advice advice)
{
    return advice == EUM_ADVICE_PREFERRED_LOCATION || advice == EUM_ADVICE_ACCESSED_BY || advice == EUM_ADVICE_UNSET_ACCESSED_BY;
}

eum_status eum_buffer_advise(eum_view view, eum_advice advice, eum_location where, eum_hint *out)
{
    eum_range range;
    eum_hint full = EUM_HINT_INIT;
    size_t size = 0;
    eum_status status = eum_check_enum("advice", advice, EUM_ADVICE_READ_MOSTLY, EUM_ADVICE_UNSET_ACCESSED_BY, "EUM_ADVICE_*");
    if (status == EUM_OK && has_location(advice))
        status = eum_check_location(where);
    if (status == EUM_OK && out != NULL)
        status = eum_struct_expect(&eum_hint_type, out, &size, &full);
    if (status == EUM_OK)
        status = eum_pin_view("the view", view, &range);
    if (status != EUM_OK)
        return status;
    status = eum_buf_advise(range, advice, has_location(advice) ? where : EUM_LOCATION_HOST, &full);
    if (status == EUM_OK && out != NULL)
        eum_struct_give(&full, out, size);
    eum_handle_unpin(view.buffer);
    return status;
}
